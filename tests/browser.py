"""A headless Chromium for the tests of pages, where there is one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

AXE = "BUTLER_AXE"  # where axe.min.js of the npm package axe-core is
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a headless browser; skip the test, and say why, where none is installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        own = Path(driver.chromium.executable_path)
        path = str(own) if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if path is None:
            pytest.skip(
                "no Chromium here: install the package chromium, or run `playwright install`"
            )
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def axe() -> str:
    """Return the source of axe; skip the test, and say why, where there is none."""
    path = os.environ.get(AXE)
    if not path:
        pytest.skip(f"{AXE} names no axe.min.js: npm pack axe-core, and unpack it")
    return Path(path).read_text(encoding="utf-8")


def serious(page: Any, axe: str) -> list[str]:
    """Return the serious and critical findings of `axe` on a page."""
    page.evaluate(axe)
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in page.evaluate("axe.run()")["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
