"""What the report says of the run: its jobs' time and memory, its hashes, its commit."""

import os
from pathlib import Path

import pytest

from butler.errors import ButlerError
from butler.report_sections import run_section as run
from report_stages import write_rest


def test_stages_are_read_from_the_benchmarks_longest_first(tmp_path: Path) -> None:
    header = "s\th:m:s\tmax_rss\tmax_vms\n"
    (tmp_path / "train.tsv").write_text(header + "357.6\t0:05:57\t3867.02\t1\n")
    (tmp_path / "merge.tsv").write_text(header + "0.4\t0:00:00\t-\t-\n")
    (tmp_path / "report.tsv").write_text(header + "5\t0:00:05\t99\t1\n")
    found = run.job_costs(tmp_path)
    assert [job.job for job in found] == ["train", "merge"]
    assert found[0].peak_bytes == pytest.approx(3867.02 * 2**20)
    assert found[1].peak_bytes is None
    whole = run_with(tmp_path)
    assert whole.seconds == pytest.approx(358) and whole.largest == found[0]
    for odd in ("a\n1\n", "", header + "soon\t0:00:00\t-\t-\n", "\udcff\n"):
        (tmp_path / "odd.tsv").write_text(odd, "utf-8", "surrogateescape")
        with pytest.raises(ButlerError, match=r"odd\.tsv is not a benchmark file .*; delete it"):
            run.job_costs(tmp_path)


def run_with(logs: Path) -> run.RunSection:
    """Return the section of a run with these logs."""
    rest = logs / "rest"
    rest.mkdir()
    write_rest(rest)
    files = (rest / name for name in ("config.yaml", "sha256.txt", "plan.csv"))
    return run.run_section([], logs, [], *files)


def test_time_by_the_clock_counts_jobs_side_by_side_once_and_no_pause(tmp_path: Path) -> None:
    header = "s\th:m:s\tmax_rss\tmax_vms\n"
    # 0 to 100 and 40 to 70 s together, 90 to 130 s; a day later 10 s more
    for name, seconds, ended in (("a", 100, 100), ("b", 30, 70), ("c", 40, 130), ("d", 10, 86400)):
        (tmp_path / f"{name}.tsv").write_text(f"{header}{seconds}\t-\t1\t1\n")
        os.utime(tmp_path / f"{name}.tsv", (ended, ended))
    found = run_with(tmp_path)
    assert found.seconds == 180 and found.clock_seconds == 140


def test_a_broken_list_of_hashes_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "sha256.txt"
    path.write_text(f"{'a' * 64}  one file\nnonsense\n")
    with pytest.raises(ButlerError, match="line 2 is not a hash"):
        run.read_hashes(path)
    path.write_text(f"{'a' * 64}  one file\n")
    assert run.read_hashes(path) == [run.ListedHash("a" * 64, "one file")]


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert run.commit(tmp_path) is None
