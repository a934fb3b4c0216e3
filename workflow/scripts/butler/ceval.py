"""C-Eval: the rows of its tables."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from butler.errors import ButlerError


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a C-Eval table (UTF-8, with or without a byte order mark) as texts.

    Raises:
        ButlerError: if it is no such table, lacks one of `columns`, or a row lacks a cell of them.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            names = next(reader, [])
            missing = [name for name in columns if name not in names]
            if missing:
                tests = ": C-Eval publishes no answers of its test split"
                why = tests if "answer" in missing else ""
                raise ButlerError(f"{path} has no column {', '.join(missing)}{why}")
            for cells in reader:
                row = dict(zip(names, cells, strict=False))
                empty = [name for name in columns if name not in row]
                if empty and cells:
                    raise ButlerError(f"{path} line {reader.line_num} has no cell {empty[0]}")
                if cells:
                    yield row
    except UnicodeDecodeError as error:
        raise ButlerError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise ButlerError(f"{path} is no CSV table: {error}; check its quotes") from error
