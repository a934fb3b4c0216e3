"""The report's page: what its templates get, and what they may call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from butler.benchmarks.text_metrics import has_han
from butler.report_sections.accuracy_section import AccuracySection
from butler.report_sections.answers_section import AnswersSection
from butler.report_sections.charts import Charts, library
from butler.report_sections.corpus_section import CorpusSection
from butler.report_sections.decision_section import DecisionSection
from butler.report_sections.evidence_section import EvidenceSection
from butler.report_sections.run_section import RunSection
from butler.report_sections.speed_section import SpeedSection
from butler.report_sections.training_section import TrainingSection
from butler.report_sections.visible_text import all_visible, visible
from butler.schemes import BASELINE, VARIANTS
from butler.texts import LANGUAGES, named, phrase, say, variant_label

TEMPLATES = Path(__file__).resolve().parents[3] / "report"
MIB = 2**20
_TAGS = {"zh": "zh-CN", "en": "en"}


class Page(Protocol):
    """What the template shows: a title, and sections by name, each with a template of that name."""

    @property
    def title(self) -> str:
        """What a browser's tab says beside our name."""

    @property
    def sections(self) -> dict[str, Any]:
        """The sections in their order."""

    @property
    def charts(self) -> Charts:
        """The charts of all sections."""


@dataclass(frozen=True)
class ReportPage:
    """The sections in their order; one that has nothing to show is None."""

    decision: DecisionSection
    accuracy: AccuracySection
    evidence: EvidenceSection | None
    speed: SpeedSection
    training: TrainingSection
    answers: AnswersSection | None
    corpus: CorpusSection
    run: RunSection

    @property
    def title(self) -> str:
        """The variant to ship."""
        return self.decision.decision.variant

    @property
    def sections(self) -> dict[str, Any]:
        """The sections that there are, by name."""
        return {name: section for name, section in vars(self).items() if section is not None}

    @property
    def charts(self) -> Charts:
        """The charts of all sections."""
        found: Charts = {}
        for section in (self.decision, self.accuracy, self.speed, self.training, self.corpus):
            found |= section.charts
        return found


def render(page: Page) -> str:
    """Fill the template; every value is escaped, a missing one is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=all_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mib": lambda value: f"{value / MIB:,.1f}",
        "signed": lambda value: f"{value:+.2f}",
        "point": lambda value: f"{value:+.1f}",
        "nats": lambda value: f"{value:.{5 if value < 0.001 else 4 if value < 0.1 else 2}f}",
        "number": _number,
        "duration": _duration,
        "embedded": _embedded,
        "both": both,
        "language": lambda text: "zh-CN" if has_han(text) else "",
    }
    environment.globals |= {
        "t": lambda key, **values: both(phrase(key, **values)),
        "name_of": named,
        "named": lambda kind, name: both(named(kind, name)),
        "variant_label": lambda name: both(variant_label(name)),
        "check_name": check_name,
        "baseline": BASELINE,
        "gap": Markup('<span class="en"> </span>'),  # between sentences: Chinese has none
        "mib": MIB,
        "style": _source("report.css"),
        "script": _source("report.js"),
        "library": Markup(library()),
    }
    return environment.get_template("report.html.j2").render(page=page)


def both(value: Any) -> Markup:
    """Return a phrase in every language; the page shows one of them."""
    return _spans({language: visible(say(value, language)) for language in LANGUAGES})


def _spans(said: Mapping[str, str]) -> Markup:
    if len(set(said.values())) == 1:
        return escape(said[LANGUAGES[0]])
    spans = (
        Markup('<span class="{}" lang="{}">{}</span>').format(name, _TAGS[name], text)
        for name, text in said.items()
    )
    return Markup("").join(spans)


def check_name(name: str) -> Markup:
    """Say what a check proves; those made per model, benchmark or KV cache share a text."""
    if name in VARIANTS:  # or called as the weights are, which have a check too
        one = VARIANTS[name]
        if one.kv.quantised:
            return both(phrase("check.kv_cache", cache=one.kv.label))
        return both(phrase("check.weights", weights=one.weights.label))
    kind = name.split("_")[0]
    for key in (name, kind):
        text = named("check", key)
        if text != key:
            return both(text)
    return escape(name)


def _source(name: str) -> Markup:
    """Our own style or script as it stands."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _embedded(value: Any) -> Markup:
    """Return a value as JSON that may stand in a script element (no `<`, so no end of it)."""
    text = json.dumps(all_visible(value), ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _duration(seconds: float) -> str:
    """Write seconds as 0.8 s, 42 s, 5:57 min or 1:02:03 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _number(value: Any) -> str:
    """Write a measured value for a reader: 4 significant digits, thousands apart."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
