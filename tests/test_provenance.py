"""Provenance: what is on record for a run, and that verify.py names whatever is no longer so."""

import io
import json
import os
import sys
from base64 import urlsafe_b64encode
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import hash_artefacts
import keep_config
import provenance as scripts_provenance
import verify as scripts_verify
from butler.artefact_records import Roots, read_records, script_of
from butler.errors import ButlerError, run_cli
from butler.rerun import rerun_command
from butler.settings.run import Settings, read_settings
from butler.settings.training_stage import TrainSettings
from butler.yaml_files import read_yaml
from workflow_state import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
TARGET, MODEL, CONFIG = "results/report.html", "build/base", "results/config.yaml"
SCRIPT = str(SCRIPTS / "report.py")


@dataclass
class Done:
    """How a command line ended."""

    returncode: int
    stdout: str
    stderr: str


def run_script(folder: Path, module: ModuleType, *arguments: str) -> Done:
    """Run a script's command line in this process: pandas is slow to import."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module.__name__, *arguments])
        try:
            run_cli(module.main)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def provenance(folder: Path) -> Done:
    options = ["--targets", TARGET, "--hashes", "results/sha256.txt", "--config", CONFIG]
    out = ["--out", "results/provenance.json"]
    return run_script(folder, scripts_provenance, *options, "--locks", "one.lock", *out)


def verify(folder: Path, *arguments: str) -> Done:
    # From anywhere: the run's folder is that of the file.
    return run_script(ROOT, scripts_verify, str(folder / "results/provenance.json"), *arguments)


def record(folder: Path, name: str, rule: str, inputs: list[str], command: str = "") -> None:
    """Leave the record that Snakemake leaves of an output."""
    path = folder / ".snakemake" / "metadata" / urlsafe_b64encode(name.encode()).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"rule": rule, "input": inputs, "shellcmd": command}
    content["endtime"] = (folder / name).stat().st_mtime
    path.write_text(json.dumps(content))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run in a folder of its own: a report from a model from a corpus outside of both."""
    folder, data = tmp_path / "run", tmp_path / "my data" / "recipes.jsonl"
    exam = tmp_path / "an exam" / "val.csv"
    for path in (data, exam, folder / MODEL / "sub/w.bin", folder / TARGET, folder / "one.lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    config = {
        "environments": ".envs",
        "corpus": {"path": str(data)},
        "base": {"model": "data/base/tiny", "revision": None, "remote_code": False},
        "benchmarks": [
            {"name": "exam.v-1", "path": str(tmp_path / "an exam")},
            {"name": "own", "path": None},
        ],
    }
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    hashed = run_script(
        folder, hash_artefacts, "--out", "results/sha256.txt", MODEL, CONFIG, "one.lock"
    )
    assert hashed.returncode == 0, hashed.stderr
    (folder / MODEL / ".snakemake_timestamp").touch()
    record(folder, MODEL, "base_model", [str(data), str(exam)])
    record(folder, CONFIG, "run_config", [])
    record(folder, "results/sha256.txt", "hashes", [MODEL, CONFIG])
    record(folder, TARGET, "report", [SCRIPT, MODEL], f"python {SCRIPT} --out {TARGET}")
    return folder


def test_each_artefact_has_its_rule_script_inputs_and_hashes(finished: Path) -> None:
    done = provenance(finished)
    assert done.returncode == 0, done.stderr
    text = (finished / "results/provenance.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert set(found["artefacts"]) == {TARGET, MODEL, CONFIG, "results/sha256.txt"}
    report = found["artefacts"][TARGET]
    assert report["rule"] == "report"
    assert report["script"] == "repository:workflow/scripts/report.py"
    assert report["inputs"] == ["repository:workflow/scripts/report.py", MODEL]
    assert list(found["artefacts"][MODEL]["files"]) == ["sub/w.bin"]
    assert found["artefacts"][MODEL]["inputs"] == [
        "corpus.path:.",
        "benchmarks.exam.v-1.path:val.csv",
    ]
    assert set(found["sources"]) == {
        "corpus.path:.",
        "benchmarks.exam.v-1.path:val.csv",
        "repository:workflow/scripts/report.py",
    }
    ((lock, sha256),) = found["environments"][0]["lock_sha256"].items()
    assert lock == "one.lock" and len(sha256) == 64
    # Nothing of this machine, though the corpus lies elsewhere.
    assert str(finished.parent) not in text and str(ROOT) not in text
    assert verify(finished, "--inputs").returncode == 0


def test_the_kept_configuration_is_read_as_it_was_and_repeats_the_run(tmp_path: Path) -> None:
    settings = Settings(train=TrainSettings(learning_rate=2e-5))  # JSON's 2e-05 is a text in YAML
    kept = ["--config", settings.to_argument(), "--out", "config.yaml"]
    assert run_script(tmp_path, keep_config, *kept).returncode == 0
    assert read_settings(read_yaml(tmp_path / "config.yaml")) == settings
    assert settings.corpus.system in (tmp_path / "config.yaml").read_text(encoding="utf-8")


def test_a_run_as_it_was_made_is_one_line(finished: Path) -> None:
    assert provenance(finished).returncode == 0
    moved = finished.rename(finished.with_name("elsewhere"))
    done = verify(moved)
    assert done.returncode == 0, done.stdout
    assert done.stdout == "all 4 files of 4 artefacts are as they were made\n"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda run: (run / TARGET).write_text("other"), f"{TARGET} was changed"),
        (lambda run: (run / TARGET).unlink(), f"{TARGET} is missing"),
        (lambda run: (run / MODEL / "sub/w.bin").unlink(), f"{MODEL}/sub/w.bin is missing"),
        (lambda run: (run / MODEL / "x.py").touch(), f"{MODEL}/x.py is an extra file"),
        (lambda run: (run / CONFIG).write_text("a: ["), f"{CONFIG} was changed"),
        (lambda run: (run / CONFIG).unlink(), f"{CONFIG} is missing"),
    ],
)
def test_each_damaged_artefact_is_named(finished: Path, damage, sentence: str) -> None:
    assert provenance(finished).returncode == 0
    damage(finished)
    done = verify(finished)
    assert done.returncode == 1
    assert done.stdout.startswith(sentence) and len(done.stdout.splitlines()) == 1
    assert done.stderr.startswith("error: 1 files are not as the run left them")
    artefact = MODEL if sentence.startswith(MODEL) else sentence.split()[0]
    if artefact == CONFIG:
        assert f"{CONFIG} no longer tells it" in done.stderr
    else:
        assert done.stderr.endswith(f"make them again: {rerun_command([artefact], finished)}\n")
    intact = "results/sha256.txt"
    assert verify(finished, intact).returncode == 0
    assert verify(finished, f"./{intact}").returncode == 0


def test_inputs_that_a_damaged_configuration_does_not_tell_are_one_sentence(finished: Path) -> None:
    assert provenance(finished).returncode == 0
    (finished / CONFIG).write_text("a: 1")
    done = verify(finished, "--inputs")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "does not say where the inputs are" in done.stderr


def test_changed_data_is_named_where_inputs_are_asked_for(finished: Path) -> None:
    assert provenance(finished).returncode == 0
    data = finished.parent / "my data" / "recipes.jsonl"
    data.write_text("other")
    assert verify(finished).returncode == 0
    done = verify(finished, "--inputs")
    assert done.returncode == 1 and f"{data} was changed" in done.stdout


def test_an_environment_elsewhere_that_the_run_built_is_compared_with_its_inputs(
    finished: Path,
) -> None:
    stamp = finished.parent / "tools" / "xtuner.json"
    stamp.parent.mkdir()
    stamp.write_text("{}")
    config = yaml.safe_load((finished / CONFIG).read_text())
    (finished / CONFIG).write_text(yaml.safe_dump(config | {"environments": str(stamp.parent)}))
    hashed = run_script(finished, hash_artefacts, "--out", "results/sha256.txt", MODEL, CONFIG)
    assert hashed.returncode == 0
    record(finished, str(stamp), "environment", [])
    record(finished, CONFIG, "run_config", [])
    record(finished, MODEL, "base_model", [str(stamp)])
    record(finished, "results/sha256.txt", "hashes", [MODEL, CONFIG])
    assert provenance(finished).returncode == 0
    done = verify(finished)
    assert done.returncode == 0, done.stdout
    assert verify(finished, "--inputs").returncode == 0
    stamp.write_text("{ }")
    done = verify(finished, "--inputs")
    assert done.returncode == 1 and done.stdout == f"{stamp} was changed: its hash is another\n"
    assert "snakemake" not in done.stderr


def test_a_file_changed_after_its_rule_is_not_put_on_record(finished: Path) -> None:
    path = finished / TARGET
    path.write_text("a nicer report")
    os.utime(path, (path.stat().st_mtime + 60,) * 2)
    done = provenance(finished)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {TARGET} was changed after rule report made it")
    assert done.stderr.endswith(f"{rerun_command([TARGET], finished)}\n")
    assert not (finished / "results/provenance.json").exists()


def test_an_output_without_a_record_is_named(finished: Path) -> None:
    path = finished / ".snakemake" / "metadata" / urlsafe_b64encode(MODEL.encode()).decode()
    path.unlink()
    done = provenance(finished)
    assert done.returncode == 1
    assert f"no record of how {MODEL} was made" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"artefacts": {"a": {}}, "sources": {}}',
        '{"artefacts": {"a": {"sha256": "x"}}, "sources": {}}',
    ],
)
def test_what_is_no_provenance_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results" / "provenance.json"
    path.parent.mkdir()
    path.write_text(content)
    done = verify(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path} is not a provenance.json")
    assert len(done.stderr.splitlines()) == 1


def test_the_script_that_ran_is_none_of_the_python_files_that_it_read() -> None:
    found = {"input": ["build/train/config.py", SCRIPT], "shellcmd": ""}
    found["shellcmd"] = f"python {SCRIPT} --config build/train/config.py"
    assert script_of(found) == SCRIPT


def test_long_names_of_records_are_read_whole(tmp_path: Path) -> None:
    name = "build/" + "很长的名字" * 40
    coded = urlsafe_b64encode(name.encode()).decode()
    *firsts, last = [coded[start : start + 254] for start in range(0, len(coded), 254)]
    path = tmp_path.joinpath(*(f"@{piece}" for piece in firsts), last)
    assert firsts
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert set(read_records(tmp_path)) == {name}


def test_a_path_from_nowhere_is_not_told(tmp_path: Path) -> None:
    roots = Roots(tmp_path / "run", {"repository": ROOT})
    assert roots.label("build/base") == "build/base"
    assert roots.path(roots.label(str(ROOT / "envs/x.lock"))) == ROOT / "envs/x.lock"
    with pytest.raises(ButlerError, match="/etc/passwd"):
        roots.label("/etc/passwd")
