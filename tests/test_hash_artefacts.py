"""The list of hashes: that `sha256sum --check` agrees, and that every file is really read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from butler.manifest import write_manifest

SCRIPT = Path(__file__).resolve().parents[1] / "workflow" / "scripts" / "hash_artefacts.py"


def hashed(folder: Path, *paths: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--out", "sha256.txt", *paths]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model/a.bin", "model/sub/b.json", "model/.snakemake_timestamp", "made/w", "one"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path / "made")
    return tmp_path


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not here")
def test_sha256sum_agrees(folder: Path) -> None:
    done = hashed(folder, "model", "made", "one")
    assert done.returncode == 0, done.stderr
    names = [line.split("  ")[1] for line in (folder / "sha256.txt").read_text().splitlines()]
    assert names == ["made/manifest.json", "made/w", "model/a.bin", "model/sub/b.json", "one"]
    check = ["sha256sum", "--check", "--strict", "sha256.txt"]
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 0
    (folder / "model/a.bin").write_text("other")
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 1


@pytest.mark.parametrize("name", ["w", "extra.py"])
def test_a_folder_that_is_not_as_it_was_made_is_not_put_on_record(folder: Path, name: str) -> None:
    (folder / "made" / name).write_text("another")
    done = hashed(folder, "model", "made")
    assert done.returncode == 1 and done.stderr.startswith(f"error: made/{name} is ")
    assert len(done.stderr.splitlines()) == 1 and not (folder / "sha256.txt").exists()


def test_a_missing_artefact_is_one_sentence(folder: Path) -> None:
    done = hashed(folder, "model", "gone")
    assert done.returncode == 1 and done.stderr == "error: gone is missing; run its stage first\n"
    assert not (folder / "sha256.txt").exists()
