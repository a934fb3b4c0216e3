"""What a machine cannot do is told before anything is fetched, one sentence each."""

import json
import os
import sys
from pathlib import Path

import pytest

import build_environment
from butler import driver
from butler.driver import Card, check_lmdeploy, check_torch, read_driver, serving_of
from butler.errors import ButlerError
from butler.lmdeploy.release import RELEASES
from butler.tools import find_python
from butler.versions import numbers
from made_machine import ADA, AMPERE, BLACKWELL, HOPPER, OLD, make_torch, put_command
from workflow_state import ROOT

CUDA_13 = ["cuda-toolkit[cublas,cudart]==13.0.3; platform_system == 'Linux'"]
CUDA_12 = ["nvidia-cublas-cu12==12.8.4.1; platform_system == 'Linux'", "nvidia-nccl-cu12==2.27.3"]


def test_the_driver_tells_its_version_and_its_gpus(nvidia_smi):
    nvidia_smi("580.95.05", ADA, HOPPER)
    found = read_driver()
    assert found.version == "580.95.05"
    assert found.cards[0] == Card("NVIDIA GeForce RTX 4090", (8, 9), 24564)
    assert str(found.cards[1]) == "NVIDIA H200 (compute capability 9.0)"
    nvidia_smi("580.95.05", "NVIDIA Unheard Of, [N/A], [N/A]", ADA)
    assert [card.name for card in read_driver().cards] == ["NVIDIA GeForce RTX 4090"]


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("580.95.05", (580, 95, 5)),
        ("9.0\n", (9, 0)),
        ("0.18.0rc1", (0, 18, 0)),
        ("0.7.3+cu128", (0, 7, 3)),
        ("main", ()),
    ],
)
def test_a_version_compares_by_the_numbers_of_its_release(version, found):
    assert numbers(version) == found


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build",
    ],
)
def test_where_nvidia_smi_does_not_answer_the_kernel_module_does(nvidia_smi, line):
    nvidia_smi(says="Failed to initialize NVML: Driver/library version mismatch", code=18)
    with pytest.raises(ButlerError, match="no NVIDIA driver answers.*library version mismatch"):
        read_driver()
    driver.KERNEL_MODULE.write_text(f"{line}\nGCC version:  gcc version 12.2.0\n")
    assert read_driver() == driver.Driver("550.54.14", ())


def test_a_driver_that_is_too_old_for_torch_is_named_with_what_is_needed(nvidia_smi):
    nvidia_smi("570.211.01", ADA)
    with pytest.raises(ButlerError, match="is 570.211.01, and .* CUDA 13 needs 580 or newer"):
        check_torch(read_driver(), 13)
    check_torch(read_driver(), 12)
    nvidia_smi("470.256.02", ADA)
    with pytest.raises(ButlerError, match="CUDA 12 needs 525 or newer; update the driver"):
        check_torch(read_driver(), 12)
    nvidia_smi("580.65.06", ADA)
    check_torch(read_driver(), 13)


def test_a_card_that_torch_has_no_kernels_for_is_named(nvidia_smi):
    nvidia_smi("580.65.06", OLD)
    with pytest.raises(ButlerError, match=r"GTX 1080 \(compute capability 6.1\) is too old .* 7.5"):
        check_torch(read_driver(), 13)
    nvidia_smi("580.65.06", OLD, ADA)  # the old one is for the screen
    check_torch(read_driver(), 13)


@pytest.mark.parametrize(
    ("card", "release", "fits"),
    [
        (ADA, "0.7.3", True),
        (HOPPER, "0.7.3", True),
        (BLACKWELL, "0.7.3", False),
        (BLACKWELL, "latest", True),
        (OLD, "latest", False),
    ],
)
def test_an_engine_without_kernels_for_the_card_is_told(nvidia_smi, card, release, fits):
    nvidia_smi("580.65.06", card)
    chosen = RELEASES[release]
    arguments = read_driver().cards, chosen.version, chosen.newest_capability
    if fits:
        check_lmdeploy(*arguments)
        return
    with pytest.raises(ButlerError) as refused:
        check_lmdeploy(*arguments)
    assert card.split(",")[0] in str(refused.value)
    assert f"LMDeploy {chosen.version} has kernels for" in str(refused.value)
    assert "engine: reference" in str(refused.value)


def test_a_card_too_old_for_fp8_in_triton_is_told(nvidia_smi):
    serving = serving_of(("0.18.0", "12", "8.9"))
    nvidia_smi("580.65.06", HOPPER)
    check_lmdeploy(read_driver().cards, *serving)
    nvidia_smi("580.65.06", AMPERE)
    with pytest.raises(ButlerError, match="need compute capability 8.9 or newer, and NVIDIA A100"):
        check_lmdeploy(read_driver().cards, *serving)
    check_lmdeploy(read_driver().cards, *serving[:2])


@pytest.fixture
def offered(tmp_path, monkeypatch, nvidia_smi):
    """Return a function that asks an index with one torch whether this machine can use it."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(build_environment, "gpu_present", lambda: True)
    put_command(tmp_path / "python", f'exec "{sys.executable}" "$@"')
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "python").rename(tmp_path / "env" / "bin" / "python")
    lock = tmp_path / "tool.lock"
    (tmp_path / "tool.torch.lock").write_text("# why\ntorch==2.13.0\n")

    def ask(version, requires, serving=None):
        make_torch(tmp_path / "index", version, requires)
        build_environment.check_offer(lock, tmp_path / "env", serving)

    return ask


@pytest.mark.parametrize(
    ("version", "requires", "cuda"),
    [
        ("2.13.0+cpu", [], None),
        ("2.13.0", ["filelock", "sympy>=1.13.3"], None),
        ("2.13.0", CUDA_13, 13),
        ("2.13.0", CUDA_12, 12),
        ("2.13.0+cu126", [], 12),
        ("2.13.0+cu130", CUDA_13, 13),
        ("2.13.0+rocm7.0", [], None),
    ],
)
def test_what_a_torch_is_built_for_is_read_from_its_metadata(version, requires, cuda):
    assert build_environment.cuda_of(version, requires) == cuda


@pytest.mark.parametrize(
    ("version", "requires", "sentence"),
    [
        ("2.13.0+cpu", [], "the package index offers a torch for CPUs alone"),
        ("2.13.0", CUDA_13, "CUDA 13 needs 580"),
        ("2.13.0", CUDA_12, None),
    ],
)
def test_the_torch_that_the_index_offers_must_fit_the_driver(
    nvidia_smi, offered, version, requires, sentence
):
    nvidia_smi("570.211.01", ADA)
    if sentence is None:
        offered(version, requires)
        return
    with pytest.raises(ButlerError, match=sentence):
        offered(version, requires)


def test_the_engine_is_judged_before_the_index_is_asked(nvidia_smi, offered):
    nvidia_smi("580.65.06", BLACKWELL)
    with pytest.raises(ButlerError, match="LMDeploy 0.7.3 has kernels for"):
        offered("2.13.0+cpu", [], ("0.7.3", 9))


def test_newer_pythons_build_the_environments_with_one_that_is_found(tmp_path, monkeypatch):
    version = "python{}.{}".format(*sys.version_info)
    assert find_python() == sys.executable
    monkeypatch.setattr("sys.version_info", (3, 14, 0, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ButlerError, match=r"are for Python 3.11 and 3.12, this is 3.14.*uv python"):
        find_python()
    put_command(tmp_path / version, f"echo '{version}: command not found' >&2; exit 127")  # pyenv's
    with pytest.raises(ButlerError, match="there is no python3.12 on PATH that can make"):
        find_python()
    put_command(tmp_path / version, f'exec "{sys.executable}" "$@"')
    assert find_python() == str(tmp_path / version)


def test_an_environment_is_known_by_the_lock_that_it_was_built_from(tmp_path):
    lock, stamp = ROOT / "envs" / "lmdeploy.lock", tmp_path / "lmdeploy.json"
    assert not build_environment.is_built_from(stamp, lock)
    stamp.write_text(json.dumps({"lock_sha256": build_environment.sha256(lock)}))
    assert build_environment.is_built_from(stamp, lock)
    assert not build_environment.is_built_from(stamp, ROOT / "envs" / "xtuner.lock")
    assert Path(build_environment.lock_of("lmdeploy")) == lock
