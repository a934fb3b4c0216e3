"""Whether a variant keeps what a service promises to its users."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from butler.errors import ButlerError
from butler.results import Efficiency
from butler.settings.judging_stage import ServiceTarget


@dataclass(frozen=True)
class Promise:
    """One wait of a target in seconds: its key there, what is allowed, and what was measured.

    `measured` is the p90 of the repeat in which it was largest.
    """

    key: str
    limit: float
    measured: float

    @property
    def kept(self) -> bool:
        """Whether every repeat keeps it."""
        return self.measured <= self.limit


@dataclass(frozen=True)
class TargetOutcome:
    """What became of a target at its load: `requests` at a time."""

    requests: int
    promises: Sequence[Promise]

    @property
    def broken(self) -> list[Promise]:
        """Promises that some repeat does not keep."""
        return [one for one in self.promises if not one.kept]

    @property
    def kept(self) -> bool:
        """Whether every promise is kept."""
        return not self.broken

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        promises = [asdict(one) | {"kept": one.kept} for one in self.promises]
        return {"requests": self.requests, "kept": self.kept, "promises": promises}


def meets(efficiency: Efficiency, target: ServiceTarget) -> TargetOutcome:
    """Return whether a variant keeps a target: the p90 of every repeat has to.

    Raises:
        ButlerError: if its speed at that load was not measured.
    """
    loads = {} if efficiency.speed is None else efficiency.speed.loads
    load = loads.get(target.requests)
    measured = (
        {}
        if load is None
        else {
            "first_token_p90_s": load.first_token.worst_p90,
            "between_tokens_p90_s": load.between_tokens.worst_p90,
        }
    )
    if missing := [key for key in target.promises if measured.get(key) is None]:
        raise ButlerError(
            f"decision.target.{missing[0]} is of {target.requests} requests at a time, which were "
            f"not measured of {efficiency.variant}; measure it again in LMDeploy on a GPU, with "
            "that load in efficiency.concurrency"
        )
    promises = [Promise(key, limit, measured[key]) for key, limit in target.promises.items()]
    return TargetOutcome(target.requests, promises)
