"""What is read out of a training's log, also of one that was cut."""

import json

import pytest

from butler.errors import ButlerError
from butler.training_log import judge, loss_ends, read_log


def write(work, run, rows, tail=""):
    path = work / run / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    text = "".join(
        json.dumps({"lr": 1e-3, "loss": loss, "step": step}) + "\n" for step, loss in rows
    )
    path.write_text(text + tail, encoding="utf-8")


def test_of_a_step_run_twice_the_resumed_run_counts(tmp_path):
    write(tmp_path, "20260101_000000", [(10, 5.0), (20, 4.0), (30, 3.5)], tail='{"lr": 1e-3, "lo')
    write(tmp_path, "20260101_000100", [(30, 3.0), (40, 2.0)])
    assert [(s.step, s.loss) for s in read_log(tmp_path)] == [(10, 5), (20, 4), (30, 3), (40, 2)]


def test_no_loss_at_all_is_an_error(tmp_path):
    with pytest.raises(ButlerError, match="logged no loss"):
        read_log(tmp_path)


def test_a_loss_that_is_not_finite_or_does_not_fall_is_caught(tmp_path):
    write(tmp_path, "a", [(step, 2.0) for step in range(1, 21)])
    passed, sentence, _ = judge(read_log(tmp_path))
    assert not passed and "did not learn" in sentence
    write(tmp_path, "b", [(5, float("nan"))])
    passed, sentence, _ = judge(read_log(tmp_path))
    assert not passed and "not finite at step 5" in sentence


def test_the_ends_are_the_first_and_last_tenth(tmp_path):
    write(tmp_path, "a", [(step, 100.0 - step) for step in range(1, 21)])
    assert loss_ends(read_log(tmp_path)) == (98.5, 80.5)


def test_steps_are_updates_and_carry_the_speed(tmp_path):
    path = tmp_path / "a" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    rows = [{"lr": 1e-3, "loss": 2.0, "step": step, "time": 0.5} for step in (8, 16, 20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    steps = read_log(tmp_path, accumulation=8, tokens=4096)
    # An epoch may end in the middle of an update, which then is a short one.
    assert [(s.step, s.tokens_per_second) for s in steps] == [(1, 8192), (2, 8192), (3, 8192)]
