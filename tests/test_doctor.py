"""`snakemake doctor`: a line for each thing that a run needs, and exit 1 only if it must fail."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

import doctor
from build_environment import lock_of, sha256
from butler import driver
from made_machine import ADA, BLACKWELL, make_torch
from tiny_library import write_library
from workflow_state import ROOT, plan

TOOLS = ["xtuner", "lmdeploy", "opencompass"]


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that wants a token."""

    def do_HEAD(self):
        self.send_response(401)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def environments(tmp_path):
    """The three environments as a build leaves them, for a CPU."""
    folder = tmp_path / "environments"
    for tool in TOOLS:
        site = folder / tool / "lib" / "python3.12" / "site-packages"
        write_library(site / "torch/_C.cpython-312.so", ["libtorch.so"], "$ORIGIN/lib")
        write_library(site / "torch/lib/libtorch.so", ["libc.so.6"])
        (site / "torch/version.py").write_text("cuda: Optional[str] = None\n")
        stamp = {"lock_sha256": sha256(lock_of(tool))}
        (folder / f"{tool}.json").write_text(json.dumps(stamp))
    return folder


def run(folder, environments, *more, **variables):
    command = [sys.executable, ROOT / "workflow/scripts/doctor.py", "--environments", environments]
    command += ["--tools", *TOOLS, "--serving", "0.7.3", "9", "7.0", "--device", "auto"]
    command += ["--engine", "auto", "--hub", "huggingface", *more]
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    return subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=os.environ | index | variables,
        capture_output=True,
        text=True,
    )


def lines(text):
    return {name: rest.strip() for name, _, rest in (li.partition(":") for li in text.splitlines())}


def test_a_new_machine_with_a_network_has_nothing_built_and_nothing_to_fear(tmp_path, hub):
    make_torch(tmp_path, "2.13.0", [])
    done = run(tmp_path, tmp_path / "environments", HF_ENDPOINT=hub)
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert [said[tool] for tool in TOOLS] == ["not built yet"] * 3
    assert said["index"] == "answers, and has torch 2.13.0"
    assert said["hub"] == f"{hub} answers"
    assert said["verdict"].startswith("nothing here is certain to fail")
    assert "GiB" in said["memory"] and "GiB free" in said["disk"] and said["Python"]


def test_what_must_fail_is_named_and_is_the_exit_code(tmp_path):
    done = run(tmp_path, tmp_path / "environments", HF_ENDPOINT="http://127.0.0.1:9")
    said = lines(done.stdout)
    assert done.returncode == 1
    assert said["index"].startswith("FAILS: ERROR: No matching distribution found for torch")
    assert "set HF_ENDPOINT to a mirror" in said["hub"]
    assert done.stderr == "error: a run here will fail by: index, hub (above)\n"


def test_what_is_built_and_fetched_needs_no_network(tmp_path, environments):
    (tmp_path / "build" / "base").mkdir(parents=True)
    done = run(tmp_path, environments, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "does not answer" in lines(done.stdout)["hub"]
    assert "every library is found" in lines(done.stdout)["lmdeploy"]


def test_an_environment_that_lacks_a_library_is_found(tmp_path, environments):
    (environments / "xtuner/lib/python3.12/site-packages/torch/lib/libtorch.so").unlink()
    done = run(tmp_path, environments, "--model-is-folder")
    assert done.returncode == 1
    said = lines(done.stdout)["xtuner"]
    assert "libtorch.so is missing, which torch/_C" in said
    assert f"delete {environments}/xtuner.json, and" in said, "without its stamp it is built again"


def test_an_environment_whose_folder_is_gone_is_told_in_a_sentence(tmp_path, environments):
    shutil.rmtree(environments / "xtuner")
    done = run(tmp_path, environments, "--model-is-folder")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "xtuner.json, and give the same command again" in lines(done.stdout)["xtuner"]


@pytest.mark.parametrize(
    ("engine", "device", "said"),
    [
        ("auto", "auto", "the reference engine"),
        ("auto", "cuda", "LMDeploy"),
        ("lmdeploy", "cpu", "LMDeploy"),
        ("reference", "cuda", "the reference engine"),
    ],
)
def test_the_engine_of_a_machine_without_a_gpu_is_the_one_that_is_set(engine, device, said):
    given = doctor.argparse.Namespace(engine=engine, device=device)
    assert doctor.engine_without_gpu(given).startswith(said)


@pytest.mark.parametrize(
    ("version", "card", "given", "says", "failures"),
    [
        ("580.95.05", ADA, {}, "LMDeploy 0.7.3 will serve", []),
        ("580.95.05", BLACKWELL, {}, "LMDeploy 0.7.3 has kernels for", ["engine"]),
        ("580.95.05", BLACKWELL, {"engine": "reference"}, "the reference engine, on the CPU", []),
        ("550.54.14", ADA, {}, "ask an index that has one for CUDA 12", []),
        ("470.256.02", ADA, {}, "the NVIDIA driver is 470.256.02", ["torch"]),
        ("470.256.02", ADA, {"device": "cpu"}, "nothing is trained on the GPU", []),
        ("470.256.02", ADA, {"device": "cpu"}, "the reference engine, on the CPU", []),
        ("470.256.02", ADA, {"device": "cpu", "engine": "lmdeploy"}, "will serve", ["torch"]),
    ],
)
def test_a_gpu_is_judged_by_what_the_run_asks_of_it(
    nvidia_smi, monkeypatch, capsys, version, card, given, says, failures
):
    nvidia_smi(version, card)
    monkeypatch.setattr(doctor, "gpu_present", lambda: True)
    wanted = {"device": "auto", "engine": "auto"} | given
    words = [f"--{name}={value}" for name, value in wanted.items()]
    words += ["--environments=.", "--tools=xtuner", "--hub=huggingface"]
    words += ["--serving", "0.7.3", "9", "7.0"]
    monkeypatch.setattr("sys.argv", ["doctor.py", *words])
    findings = doctor.MachineFindings()
    doctor.look_at_gpu(doctor.parse_arguments(), findings)
    text = capsys.readouterr().out
    assert card.split(",")[0] in text and version in text and says in text
    assert findings.failures == failures


def test_a_gpu_without_a_driver_fails_unless_it_is_not_used(nvidia_smi, monkeypatch):
    nvidia_smi(says="NVIDIA-SMI has failed because it could not communicate", code=9)
    monkeypatch.setattr(doctor, "gpu_present", lambda: True)
    assert not driver.KERNEL_MODULE.exists()
    for device, failures in (("auto", ["GPU"]), ("cpu", [])):
        findings = doctor.MachineFindings()
        doctor.look_at_gpu(doctor.argparse.Namespace(device=device, engine="auto"), findings)
        assert findings.failures == failures


def test_the_workflow_runs_it_with_the_settings_of_the_run(tmp_path):
    text = plan(tmp_path, "--dry-run", "--printshellcmds", "doctor")
    assert (
        "doctor.py --environments .envs --tools xtuner lmdeploy opencompass --device auto" in text
    )
    assert "--serving 0.7.3 9 7.0" in text and "--model-is-folder" in text
