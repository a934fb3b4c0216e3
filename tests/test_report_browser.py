"""The report in a real browser: both languages, wide and narrow, no error and no request."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import chromium
from butler.schemes import VARIANTS
from report_stages import make_stages, run
from test_report_lists import HOSTILE, exam, graded, made, make

WIDTHS = {"desktop": 1280, "phone": 360}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


class Reader:
    """A page with the report open, and all that the browser complained of or asked for."""

    def __init__(self, browser: Any, path: Path, width: int, locale: str) -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, locale=locale)
        self.page = context.new_page()
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.troubles.append(said.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(path.as_uri())

    def wait(self, language: str) -> None:
        ready = f"document.documentElement.dataset.ready === {json.dumps(language)}"
        self.page.wait_for_function(ready, timeout=20_000)

    def overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stages = make_stages(tmp_path_factory.mktemp("report"))
    assert run(stages).returncode == 0
    return stages / "out" / "report.html"


@pytest.mark.parametrize("width", WIDTHS)
def test_report_in_both_languages_at_each_width(browser: Any, report: Path, width: str) -> None:
    reader = Reader(browser, report, WIDTHS[width], "zh-CN")
    page = reader.page
    reader.wait("zh")
    assert page.locator(".answer").inner_text().startswith("发布 w4")
    assert page.locator("h1").inner_text() == "该发布哪个变体？"
    assert reader.overflow() <= 0
    charts = page.locator(".chart").count()
    assert charts >= 6 and page.locator(".chart svg").count() == charts
    page.get_by_role("button", name="English").click()
    reader.wait("en")
    assert page.locator(".answer").inner_text().startswith("Ship w4")
    assert "规则" not in page.locator(".verdict").inner_text()
    assert "optimiser step" in page.locator("[data-chart=loss] svg").text_content()
    assert page.locator(".chart svg").count() == charts
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert reader.overflow() <= 0
    assert reader.troubles == []
    assert [url for url in reader.requests if not url.startswith(("file:", "data:"))] == []


def test_an_english_browser_opens_the_english_page(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, 1280, "en-GB")
    reader.wait("en")
    assert reader.page.locator("h1").inner_text() == "Which variant should I ship?"


def test_a_click_sorts_the_answers_by_one_variant(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, 1280, "en")
    reader.wait("en")
    page = reader.page
    page.locator("[data-sort=w4]").click()
    texts = page.locator("#answers .items .item").evaluate_all(
        "items => items.map(item => JSON.parse(item.dataset.changes).w4)"
    )
    assert len(texts) == 20 and texts == sorted(texts)
    page.locator("[data-sort=w4kv8]").click()
    assert page.locator("[data-sort=w4kv8]").get_attribute("aria-pressed") == "true"
    worst = page.locator("#answers .items .item").first.get_attribute("data-changes")
    assert json.loads(worst)["w4kv8"] == -80
    assert reader.troubles == []


def test_all_is_printed_and_in_one_language(browser: Any, report: Path, tmp_path: Path) -> None:
    reader = Reader(browser, report, 1280, "zh-CN")
    reader.wait("zh")
    page = reader.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("nav").is_hidden()
    page.set_viewport_size({"width": 720, "height": 1000})  # what margins leave of A4
    assert reader.overflow() <= 0
    assert page.locator(".en:visible").count() == 0 < page.locator(".zh:visible").count()
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("variants", [["fp16"], list(VARIANTS)], ids=["one", "all"])
@pytest.mark.parametrize("width", WIDTHS)
def test_any_number_of_variants_and_odd_names_are_drawn(
    browser: Any, tmp_path: Path, variants: list[str], width: str
) -> None:
    def asked(variant: str, number: int) -> dict[str, Any]:
        own = exam(variant, number)
        return own | {"dataset": own["dataset"] + HOSTILE[1] * 3}

    options = make(tmp_path, variants, **{"exam-0.1": (HOSTILE[0], asked), "qa": ("chrf", graded)})
    options["benchmarks"] = [f"exam-0.1={HOSTILE[0]}", "qa=" + "a long name " * 9]
    made(tmp_path, options)
    reader = Reader(browser, tmp_path / "out" / "report.html", WIDTHS[width], "en")
    reader.wait("en")
    # two against memory, one of groups, one of the data sets of each group, the loss, the funnel,
    # and the verdicts
    assert reader.page.locator(".chart svg").count() == 7 + (len(variants) > 1)
    reader.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert reader.overflow() <= 0
    assert reader.troubles == []


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_phone_shows_every_column_of_the_decision_with_its_name(
    browser: Any, report: Path, language: str
) -> None:
    reader = Reader(browser, report, 390, language)
    reader.wait(language)
    rows = reader.page.locator("#decision + section tbody tr")
    seen = rows.evaluate_all(
        """rows => rows.map(row => [...row.children].map(cell => {
             const box = cell.getBoundingClientRect();
             return {left: box.left, right: box.right, wide: cell.scrollWidth > cell.clientWidth,
                     text: cell.innerText};
           }))"""
    )
    assert len(seen) == 4
    for cells in seen:
        assert all(cell["left"] >= 0 and cell["right"] <= 390 for cell in cells)
        assert not any(cell["wide"] for cell in cells)
    heads = {"zh": ("权重 + KV", "C-Eval", "结论"), "en": ("Weights + KV", "C-Eval", "Verdict")}
    for head in heads[language]:
        assert all(any(head in cell["text"] for cell in cells) for cells in seen)
    assert reader.overflow() <= 0


def test_a_phone_need_not_scroll_sideways_for_any_table(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, 390, "zh-CN")
    reader.wait("zh")
    reader.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    folded = "#corpus details .cards"
    reader.page.wait_for_function(f"document.querySelector({json.dumps(folded)})")
    wide = reader.page.locator(".scroll").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    )
    assert wide == []
    row = reader.page.locator("#accuracy .cards tbody tr").first.inner_text()
    assert "w4kv8" in row and "题数" in row, "each figure is named"
    assert reader.overflow() <= 0


@pytest.mark.parametrize("width", [1366, 700])
def test_a_decision_over_many_benchmarks_has_room_on_any_screen(
    browser: Any, tmp_path: Path, width: int
) -> None:
    names = [f"benchmark {number}" for number in range(6)]
    options = make(tmp_path, ["fp16", "w4"], **dict.fromkeys(names, ("chrf", graded)))
    made(tmp_path, options)
    reader = Reader(browser, tmp_path / "out" / "report.html", width, "en")
    reader.wait("en")
    table = reader.page.locator("#decision + section .scroll").first
    assert table.evaluate("one => one.scrollWidth <= one.clientWidth")
    assert "Weights + KV" in table.locator("tbody tr").last.inner_text()
    reader.page.set_viewport_size({"width": 3000, "height": 800})
    assert reader.overflow() <= 0


def test_a_wide_screen_names_each_column_once(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, 1366, "en")
    reader.wait("en")
    table = reader.page.locator("#decision + section table").first.inner_text()
    assert table.count("Weights + KV") == 1


def test_no_table_is_wider_than_a_laptops_screen(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, 1366, "zh-CN")
    reader.wait("zh")
    reader.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    wide = reader.page.locator(".scroll").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    )
    assert wide == []
