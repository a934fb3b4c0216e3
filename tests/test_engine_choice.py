"""Which engine serves: one rule, for the plan, the checks, the doctor, the rules and their jobs."""

import re
import sys
from types import SimpleNamespace

import pytest

import doctor
from butler.devices import resolve_engine
from butler.errors import ButlerError
from butler.plan.host_memory import Task
from butler.plan.model_size import ModelSize
from butler.settings.cross_checks import check_speed
from butler.settings.run import Settings
from workflow_state import CONFIG, ROOT, overlay, plan

# engine, device, whether there is a GPU here; what serves.
CASES = [
    ("auto", "auto", True, "lmdeploy"),
    ("auto", "auto", False, "reference"),
    ("auto", "cpu", True, "reference"),
    ("auto", "cpu", False, "reference"),
    ("auto", "cuda", True, "lmdeploy"),
    ("auto", "cuda", False, "lmdeploy"),
    ("reference", "cuda", True, "reference"),
    ("lmdeploy", "cpu", True, "lmdeploy"),
]


def settings_of(engine, device):
    return Settings.check(CONFIG | {"engine": engine, "device": device})


@pytest.mark.parametrize(("engine", "device", "gpu", "serves"), CASES)
def test_plan_check_and_doctor_name_the_same_engine(engine, device, gpu, serves):
    settings = settings_of(engine, device)
    assert settings.serving_engine(gpu) == serves
    size = ModelSize.read(ROOT / "data" / "base" / "tiny")
    assert Task(settings, size, settings.on_gpu(gpu)).lmdeploy == (serves == "lmdeploy")
    faster = Settings.check(settings.model_dump() | {"decision": {"prefer": "speed"}})
    if serves == "lmdeploy":
        check_speed(faster, gpu)
    else:
        with pytest.raises(ButlerError, match="the reference engine, which serves here"):
            check_speed(faster, gpu)
    said = doctor.engine_without_gpu(SimpleNamespace(engine=engine, device=device))
    assert gpu or said.startswith("LMDeploy") == (serves == "lmdeploy")


@pytest.mark.parametrize(("engine", "device", "gpu", "serves"), CASES)
def test_jobs_are_told_the_same_on_every_machine_and_come_to_the_same_engine(
    engine, device, gpu, serves, monkeypatch
):
    told = settings_of(engine, device).engine_for_jobs()
    assert told == ("auto" if (engine, device) == ("auto", "auto") else serves)
    cuda = SimpleNamespace(is_available=lambda: gpu)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert resolve_engine(told) == serves


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("device", "told"), [("auto", "auto"), ("cpu", "reference"), ("cuda", "lmdeploy")]
)
def test_the_rules_hand_the_jobs_the_engine_that_the_device_says(tmp_path, device, told):
    text = plan(tmp_path, "-n", "-p", *overlay(tmp_path, device=device), "all")
    assert set(re.findall(r"--engine (\w+)", text)) == {told}
