"""Memory of each variant as measured and, from LMDeploy on a GPU, its speed with its spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from butler.decision import Decision
from butler.efficiency.speed import PERCENTILES, LoadSpeed, Speed
from butler.efficiency.target import TargetOutcome
from butler.report_sections.charts import Charts, Colours
from butler.report_sections.findings import Findings
from butler.report_sections.speed_charts import Wait, speed_against_wait, speed_by_concurrency
from butler.results import Efficiency
from butler.schemes import BASELINE

CHART = "loads"
WAITS: tuple[Wait, ...] = ("first", "between")


@dataclass(frozen=True)
class SpeedSection:
    """The figures of each variant.

    `machines` measured them; `on_reference` says that the reference engine did some of it, which
    shows no speed, and `others` are the variants that another of LMDeploy's engines than the
    baseline's serves. `speeds` are by variant, of those that have one, and `loads` by requests at a
    time and variant, with `percentiles` of the waits as far as they are known; `targets` says by
    variant what became of the rule's target, if it has one. `room_tokens` are the tokens that
    TurboMind's KV cache had room for.
    """

    efficiencies: Mapping[str, Efficiency]
    chosen: str
    machines: Sequence[str]
    on_reference: bool
    others: Sequence[str]
    speeds: Mapping[str, Speed]
    loads: Mapping[int, Mapping[str, LoadSpeed]]
    targets: Mapping[str, TargetOutcome]
    room_tokens: float | None
    charts: Charts
    percentiles: Sequence[int] = PERCENTILES


def speed_section(decision: Decision, findings: Findings, colours: Colours) -> SpeedSection:
    """Return the section beside a decision that was made from the findings."""
    measured = findings.efficiencies
    speeds = {name: one.speed for name, one in measured.items() if one.speed is not None}
    drawn = {CHART: speed_by_concurrency(speeds, colours)}
    drawn |= {f"{CHART}/{wait}": speed_against_wait(speeds, wait, colours) for wait in WAITS}
    counts = sorted({count for speed in speeds.values() for count in speed.loads})
    return SpeedSection(
        efficiencies=measured,
        chosen=decision.variant,
        machines=sorted({one.machine for one in measured.values()}),
        on_reference=any(one.engine == "reference" for one in measured.values()),
        others=[name for name, one in measured.items() if one.engine != measured[BASELINE].engine],
        speeds=speeds,
        loads={
            count: {name: one.loads[count] for name, one in speeds.items() if count in one.loads}
            for count in counts
        },
        targets={one.variant: one.target for one in decision.judged if one.target is not None},
        room_tokens=measured[BASELINE].values.get("room_tokens"),
        charts={name: chart for name, chart in drawn.items() if chart},
    )
