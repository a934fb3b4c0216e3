"""The documentation: links lead somewhere, both READMEs say the same, and examples are settings."""

import re
import subprocess

import pytest

from butler.settings.overlays import configuration
from butler.settings.run import read_settings
from workflow_state import ROOT

READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def files_of(*patterns):
    """Return the repository's own files, also those that are not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(path for path in map(ROOT.joinpath, names.splitlines()) if path.is_file())


PAGES = files_of("*.md")


def prose(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """Return the anchors that GitHub gives to a page's headings."""
    found = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in found]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    dead = []
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert dead == []


def test_every_page_that_code_and_settings_name_is_there():
    named = {
        name
        for path in files_of("*.py", "*.smk", "Snakefile", "*.yaml", "*.in", "*.lock", "*.rst")
        for name in re.findall(r"\bdocs/\w+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_page_can_be_reached_from_the_readme():
    listed = set(LINK.findall(READMES[0].read_text(encoding="utf-8")))
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages - {target.partition("#")[0] for target in listed} == set()


@pytest.mark.parametrize("page", READMES, ids=lambda path: path.name)
def test_a_readme_is_short(page):
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 150


def test_both_readmes_are_in_step():
    def told(page):
        text = prose(page)
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        return (
            [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)],
            sorted(set(LINK.findall(text)) - {"README.md", "README.zh.md"}),
            [re.findall(r"\d[\d.,]*\d|\d", row) for row in rows[1:]],
            len(FENCE.findall(page.read_text(encoding="utf-8"))),
        )

    english, chinese = map(told, READMES)
    assert english == chinese


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_files_that_are_there(page):
    blocks = [
        block for block in FENCE.findall(page.read_text(encoding="utf-8")) if "```sh" in block
    ]
    named = set(
        re.findall(r"\b((?:workflow|benchmarks|config|profiles|tests)/[\w./-]+)", "".join(blocks))
    )
    assert [name for name in sorted(named) if not (ROOT / name.rstrip(".")).exists()] == []


def examples():
    """Yield the overlays that pages give as mine.yaml, with the shipped one that they go with."""
    for page in [*READMES, *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```yaml\n(# mine\.yaml.*?)^```", text, re.MULTILINE | re.DOTALL):
            shipped = re.findall(r"overlays=(config/\w+\.yaml),mine\.yaml", text)
            yield pytest.param(shipped[0], block, id=page.name)


@pytest.mark.parametrize(("shipped", "block"), list(examples()))
def test_an_example_overlay_is_one(shipped, block, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(block, encoding="utf-8")
    settings = read_settings(configuration(ROOT, [str(ROOT / shipped), str(mine)]))
    assert settings.base.revision
    assert settings.base.model in (ROOT / shipped).read_text(encoding="utf-8")
