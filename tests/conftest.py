"""How many tests run at a time."""

import pytest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One for the marked tests: they run the real tools, which take all cores and the memory."""
    wanted = config.option.markexpr
    return 0 if wanted in ("e2e", "gpu") else None
