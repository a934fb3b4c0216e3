"""How many tests run at a time, and on how many cores each."""

import os

import pytest

import workflow_state

# A test's arithmetic is small: to spread it over all cores takes longer, the more so beside others.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the engine does, before torch is imported


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One for the marked tests: they run the real tools, which take all cores and the memory."""
    wanted = config.option.markexpr
    return 0 if wanted in ("e2e", "gpu") else None


def pytest_unconfigure() -> None:
    """End what the tests share."""
    workflow_state.end_forks()
