"""Whether two runs of one configuration made the same files, but for times and speeds."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path


def _without_seconds(data: bytes) -> bytes:
    record = json.loads(data)
    kept = {name: value for name, value in record["measured"].items() if not name.endswith("_s")}
    return json.dumps(record | {"measured": kept, "sha256": None}).encode()


def _without_column(name: str) -> Callable[[bytes], bytes]:
    def kept(data: bytes) -> bytes:
        rows = csv.DictReader(io.StringIO(data.decode()))
        return json.dumps([{k: v for k, v in row.items() if k != name} for row in rows]).encode()

    return kept


def _hashed_files(data: bytes) -> bytes:
    """The lines of files that are the same each time, and the names of the rest."""
    lines = []
    for line in data.decode().splitlines():
        digest, name = line.split("  ", 1)
        lines.append(name if any(fnmatch(name, pattern) for pattern in VARYING) else line)
    return "\n".join(lines).encode()


def _tensors(data: bytes) -> bytes:
    """A whole checkpoint's tensors, by their checksums; the rest of it holds the steps' times."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        broken = archive.testzip()
        kept = [(item.filename, item.CRC) for item in archive.infolist()]
    return json.dumps([broken, *(pair for pair in kept if "/data/" in pair[0])]).encode()


def _decided(data: bytes) -> bytes:
    record = json.loads(data)
    return json.dumps(sorted(record)).encode()


def _whole_page(data: bytes) -> bytes:
    return str(data.rstrip().endswith(b"</html>")).encode()


# What holds times or speeds, and what of it is compared.
VARYING: dict[str, Callable[[bytes], bytes]] = {
    "build/train/checkpoint/*": _tensors,
    "build/train/loss.csv": _without_column("tokens_per_second"),
    "results/checks/evaluation_*.json": _without_seconds,
    "results/checks/efficiency_*.json": _decided,
    "results/efficiency_*.csv": _without_column("value"),
    "results/sha256.txt": _hashed_files,
    "results/decision.json": _decided,
    "results/summary.csv": lambda data: data.splitlines()[0],
    "results/report.html": _whole_page,
}


def digest(name: str, path: Path) -> str:
    """Return the SHA-256 of a file's repeatable part; of broken ones, that they are broken."""
    data = path.read_bytes()
    for pattern, reduce in VARYING.items():
        if fnmatch(name, pattern):
            try:
                data = reduce(data)
            except (ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
                return f"broken: {error}"
    return hashlib.sha256(data).hexdigest()


def digests(folder: Path, outputs: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of each file of these outputs, by its path below `folder`.

    Hidden files are left out: Snakemake dates a folder by one.
    """
    found = {}
    for output in outputs:
        top = folder / output
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            name = str(path.relative_to(folder))
            if path.is_file() and not path.name.startswith("."):
                found[name] = digest(name, path)
    return found


def differences(whole: Path, other: Path, outputs: tuple[str, ...]) -> list[str]:
    """Return the files of these outputs that are not the same in both folders."""
    left, right = digests(whole, outputs), digests(other, outputs)
    return sorted(name for name in left | right if left.get(name) != right.get(name))
