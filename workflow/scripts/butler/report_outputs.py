"""What a report leaves, of a run and across runs: a page, a table and a decision."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from butler.files import atomic_write_json, atomic_write_text, spreadsheet_safe


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the files."""
    for name in ("--summary", "--decision", "--report"):
        parser.add_argument(name, required=True, type=Path)


def write_outputs(
    arguments: argparse.Namespace, table: pd.DataFrame, decision: Mapping[str, Any], page: str
) -> None:
    """Write all three, the page last; `table` may be opened in a spreadsheet."""
    text = table.map(spreadsheet_safe).to_csv(index=False)
    atomic_write_text(arguments.summary, text)
    atomic_write_json(arguments.decision, decision)
    atomic_write_text(arguments.report, page)
