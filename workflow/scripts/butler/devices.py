"""Which device the tools run on, and which engine serves there."""

import platform
from pathlib import Path

from butler.errors import ButlerError

DEVICES = ("auto", "cpu", "cuda")  # where jobs run, as config.yaml names it
ENGINES = ("auto", "reference", "lmdeploy")  # what serves, as config.yaml names it


def gpu_present() -> bool:
    """Say whether an NVIDIA GPU is there, without torch: jobs then share it one at a time.

    In a container it may be any of the machine's, not the first.
    """
    return any(Path("/dev").glob("nvidia[0-9]*"))


def resolve_device(wanted: str) -> str:
    """Return "cpu" or "cuda" for `wanted`, which may be "auto".

    Raises:
        ButlerError: if CUDA is asked for and absent.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ButlerError("device: cuda is set, but torch finds no CUDA GPU; set device: auto")
    if wanted == "auto":
        return "cuda" if available else "cpu"
    return wanted


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def uses_gpu(device: str, present: bool) -> bool:
    """Say whether what config.yaml has as `device` is a GPU; `present`: there is one here."""
    return device == "cuda" or (device == "auto" and present)


def serving_engine(engine: str, device: str, present: bool) -> str:
    """Return which engine serves: `auto` is lmdeploy where `device` is a GPU.

    `engine` and `device` are as config.yaml has them; `present`: there is a GPU here.
    """
    if engine != "auto":
        return engine
    return "lmdeploy" if uses_gpu(device, present) else "reference"


def resolve_engine(engine: str) -> str:
    """Return which engine a script serves with where no more is set; torch tells of a GPU."""
    if engine == "auto":
        import torch

        return serving_engine(engine, "auto", torch.cuda.is_available())
    return engine


def engine_shown(engine: str, backend: str) -> str:
    """Return which engine computes: of LMDeploy the one that `backend` names."""
    return backend if engine == "lmdeploy" else engine
