"""Which libraries an environment lacks, told from the ELF headers, without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from build_environment import Use, check_environment, lock_of, site_packages
from butler.errors import ButlerError
from butler.shared_libraries import missing_libraries, torch_cuda
from real_tools import ENVIRONMENTS
from tiny_library import write_library
from workflow_state import ROOT

CUDA_FOLDER = os.environ.get("BUTLER_CUDA_ENVIRONMENTS")
ENGINE = "lmdeploy/lib/_turbomind.cpython-312-x86_64-linux-gnu.so"
ENGINE_RPATH = "$ORIGIN:$ORIGIN/../../nvidia/cublas/lib/:$ORIGIN/../../nvidia/nccl/lib/"


@pytest.fixture
def site(tmp_path):
    """An environment like that of LMDeploy 0.7.3: torch for CUDA 13, an engine for CUDA 12."""
    site = tmp_path / "site-packages"
    write_library(site / "torch/_C.cpython-312.so", ["libtorch.so", "libc.so.6"], "$ORIGIN/lib")
    torch = ["libnccl.so.2", "libcudart.so.13", "libcuda.so.1", "libstdc++.so.6"]
    folders = "$ORIGIN:$ORIGIN/../../nvidia/cu13/lib:${ORIGIN}/../../nvidia/nccl/lib"
    write_library(site / "torch/lib/libtorch.so", torch, folders)
    write_library(site / "nvidia/cu13/lib/libcudart.so.13", ["libpthread.so.0"])
    write_library(site / "nvidia/nccl/lib/libnccl.so.2")
    write_library(site / "nvidia/cublas/lib/libcublas.so.12", ["libcublasLt.so.12"], "$ORIGIN")
    write_library(site / "nvidia/cublas/lib/libcublasLt.so.12")
    needs = ["libcublas.so.12", "libcublasLt.so.12", "libnccl.so.2", "libcuda.so.1"]
    write_library(site / ENGINE, needs, ENGINE_RPATH)
    built_for(site, "'13.0'")
    return site


def built_for(site, cuda):
    text = f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n"
    (site / "torch/version.py").write_text(text)


def missing(site):
    return [(one.library, one.needed_by.name) for one in missing_libraries(site)]


def test_an_environment_with_all_that_is_named_lacks_nothing(site):
    assert torch_cuda(site) == "13.0"
    assert missing(site) == []


def test_a_library_that_is_not_there_is_named_with_what_needs_it(site):
    (site / "nvidia/cublas/lib/libcublasLt.so.12").unlink()
    engine = Path(ENGINE).name
    assert ("libcublasLt.so.12", engine) in missing(site)
    (site / "nvidia/cublas/lib/libcublas.so.12").unlink()
    assert missing(site) == [("libcublas.so.12", engine), ("libcublasLt.so.12", engine)]


def test_what_torch_has_loaded_serves_others_by_its_name(site):
    write_library(site / ENGINE, ["libcudart.so.13"], "$ORIGIN")
    assert missing(site) == []


def test_a_library_beside_the_way_of_the_loader_does_not_count(site):
    write_library(site / "nvidia/curand/lib/libcurand.so.10")
    write_library(site / ENGINE, ["libcurand.so.10"], ENGINE_RPATH)
    assert missing(site) == [("libcurand.so.10", Path(ENGINE).name)]


def test_the_folders_of_whoever_names_a_library_serve_what_it_names_in_turn(site):
    between = site / "nvidia/cublas/lib/libcublas.so.12"
    write_library(between, ["libcublasLt.so.12"])  # itself without folders: found by the engine's
    write_library(site / ENGINE, ["libcublas.so.12"], ENGINE_RPATH)
    assert missing(site) == []
    # RUNPATH holds for the file alone that has it (man 8 ld.so).
    write_library(site / ENGINE, ["libcublas.so.12"], runpath=ENGINE_RPATH)
    assert missing(site) == [("libcublasLt.so.12", "libcublas.so.12")]
    # All that the engine names is loaded before what these name.
    both = ["libcublas.so.12", "libcublasLt.so.12"]
    write_library(site / ENGINE, both, runpath=ENGINE_RPATH)
    assert missing(site) == []


def test_an_environment_that_lacks_a_library_does_not_pass_for_built(site):
    site.rename(site.parent / "moved")
    (site.parent / "tool" / "lib" / "python3.12").mkdir(parents=True)
    site = (site.parent / "moved").rename(site.parent / "tool/lib/python3.12/site-packages")
    use = Use(imports=[], gpu_imports=[], gpu=False, serving=None)
    check_environment(site.parents[2], use)
    (site / "nvidia/nccl/lib/libnccl.so.2").unlink()
    sentence = r"tool was built but lacks libnccl.so.2, which torch/lib/libtorch.so needs; a lock"
    with pytest.raises(ButlerError, match=sentence):
        check_environment(site.parents[2], use)


def test_on_a_cpu_nobody_loads_the_engine(site):
    built_for(site, "None")
    (site / "nvidia/cublas/lib/libcublas.so.12").unlink()
    assert torch_cuda(site) is None
    assert missing(site) == []


@pytest.mark.parametrize(("cuda", "loaded"), [("'13.0'", "cuda130"), ("None", "cpu")])
def test_of_bitsandbytes_the_build_for_this_torch_counts(site, cuda, loaded):
    built_for(site, cuda)
    for build in ("cuda118", "cuda130", "cpu"):
        write_library(site / f"bitsandbytes/libbitsandbytes_{build}.so", [f"lib_of_{build}.so.1"])
    assert missing(site) == [(f"lib_of_{loaded}.so.1", f"libbitsandbytes_{loaded}.so")]
    (site / f"bitsandbytes/libbitsandbytes_{loaded}.so").unlink()
    assert missing(site) == [(f"libbitsandbytes_{loaded}.so", "bitsandbytes")]


def test_a_file_that_is_no_library_and_an_environment_without_torch_are_told(site, tmp_path):
    (site / ENGINE).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ButlerError, match="_turbomind.* is no shared library"):
        missing_libraries(site)
    with pytest.raises(ButlerError, match="there is no torch in"):
        missing_libraries(tmp_path)


@pytest.mark.parametrize("tool", ["xtuner", "lmdeploy", "opencompass"])
def test_the_environments_that_are_built_here_lack_nothing(tool):
    if not (ENVIRONMENTS / f"{tool}.json").is_file():
        pytest.skip(f"{ENVIRONMENTS / tool} is not built")
    assert missing(site_packages(ENVIRONMENTS / tool)) == []


@pytest.mark.cuda_environment
@pytest.mark.skipif(
    CUDA_FOLDER is None,
    reason="fetches 4 GB: name a folder in BUTLER_CUDA_ENVIRONMENTS, and let pip ask an index "
    "whose torch is built for CUDA",
)
@pytest.mark.parametrize(
    ("tool", "module"), [("lmdeploy", "lmdeploy.version"), ("xtuner", "bitsandbytes")]
)
def test_an_environment_for_cuda_has_every_library_that_is_named(tool, module):
    into = Path(CUDA_FOLDER) / tool
    script = ROOT / "workflow" / "scripts" / "build_environment.py"
    command = [sys.executable, script, "--lock", lock_of(tool), "--into", into, "--gpu"]
    command += ["--stamp", into.with_suffix(".json"), "--imports", "torch", module]
    subprocess.run([*map(str, command)], check=True)
    site = site_packages(into)
    assert torch_cuda(site)
    assert missing(site) == []
    assert list(site.glob("nvidia/nccl/lib/libnccl.so*"))
    owners = [one.name for one in site.glob("nvidia_nccl*.dist-info")]
    assert len(owners) == 1, "two packages wrote libnccl.so.2"
