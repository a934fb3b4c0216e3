"""What is read out of a training's log, also of one that was cut."""

import json

import pytest

from butler.errors import ButlerError
from butler.training_log import check_finite, read_log, training_status


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


def test_a_loss_that_is_not_finite_is_told(tmp_path):
    write(tmp_path, "a", [(step, 2.0 + step) for step in range(1, 21)])
    check_finite(read_log(tmp_path))  # whether it fell is judged on held-out text
    write(tmp_path, "b", [(5, float("nan"))])
    with pytest.raises(ButlerError, match=r"diverged.* at step 5; lower train\.learning_rate"):
        check_finite(read_log(tmp_path))


def test_before_the_first_step_is_logged_the_phase_is_told(tmp_path):
    # As mmengine 0.10.7 logs them.
    begun = "- mmengine - INFO - "
    lines = [
        ("starting XTuner", None),
        ("loading the base model", "System environment:"),
        ("preparing samples and model", "Hooks will be executed in the following order:"),
        ("running the first steps", "Checkpoints will be saved to /work."),
        (
            "step 5 of 160, loss 3.3460, about 0:03:22 left",
            "Iter(train) [ 10/320]  lr: 2.0000e-03  eta: 0:03:22  time: 0.6529  loss: 3.3460  ",
        ),
    ]
    log = tmp_path / "20260101_000000" / "20260101_000000.log"
    log.parent.mkdir()
    for expected, line in lines:
        if line is not None:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(begun + line + "\n")
        assert training_status(tmp_path, accumulation=2) == expected


def test_steps_are_updates_and_carry_speed_and_gradient_norm(tmp_path):
    path = tmp_path / "a" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    rows = [{"lr": 1e-3, "loss": 2.0, "step": step, "time": 0.5} for step in (8, 16, 20)]
    rows[1]["grad_norm"] = 0.25
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    steps = read_log(tmp_path, accumulation=8, tokens=4096)
    # An epoch may end in the middle of an update, which then is a short one.
    assert [(s.step, s.tokens_per_second) for s in steps] == [(1, 8192), (2, 8192), (3, 8192)]
    assert [s.gradient_norm for s in steps] == [None, 0.25, None]
