"""Memory and speed of each variant as measured, one request at a time and many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from butler.report_sections.charts import Charts, Colours, speed_by_concurrency
from butler.report_sections.findings import Findings
from butler.results import Efficiency
from butler.schemes import BASELINE

CHART = "loads"


@dataclass(frozen=True)
class SpeedSection:
    """The figures of each variant.

    `machines` measured them; `on_reference` says that the reference engine did some of it, whose
    speeds do not show what quantisation gains. `loads` are the numbers of requests at a time that
    were tried, and `room_tokens` the tokens that TurboMind's KV cache had room for.
    """

    efficiencies: Mapping[str, Efficiency]
    chosen: str
    machines: Sequence[str]
    on_reference: bool
    loads: Sequence[int]
    room_tokens: float | None
    charts: Charts


def speed_section(findings: Findings, chosen: str, colours: Colours) -> SpeedSection:
    """Return the section; `chosen` is the variant to mark."""
    measured = findings.efficiencies
    drawn = speed_by_concurrency(measured, colours)
    return SpeedSection(
        efficiencies=measured,
        chosen=chosen,
        machines=sorted({one.machine for one in measured.values()}),
        on_reference=any(one.engine == "reference" for one in measured.values()),
        loads=sorted({count for one in measured.values() for count in one.loads()}),
        room_tokens=measured[BASELINE].values.get("room_tokens"),
        charts={CHART: drawn} if drawn else {},
    )
