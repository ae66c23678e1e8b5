"""Timing of cases in rounds: the best round of each, as ratios within the run."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Case:
    """A measured operation on all events; `work` does it once and returns the seconds to subtract."""

    name: str
    work: Callable[[], float]
    rules: int = 0
    seconds: list[float] = field(default_factory=list)
    """Processor time of each round."""

    @property
    def best(self) -> float:
        return min(self.seconds)


@dataclass(frozen=True, slots=True)
class Report:
    """The measurements of a run, as written to JSON."""

    events: int
    size: int
    rows: list[dict[str, Any]]
    other: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(cases: list[Case], rounds: int, say: Callable[[str], None]) -> None:
    """Measure the cases in turn, `rounds` times, so that a slow phase of the machine affects all of them."""
    for number in range(rounds):
        for case in cases:
            say(f"round {number + 1} of {rounds}: {case.name}")
            gc.collect()
            started = time.process_time()
            left_out = case.work()
            case.seconds.append(time.process_time() - started - left_out)


def rows_of(cases: list[Case], events: int, size: int) -> list[dict[str, Any]]:
    """A row per case; the first case is the bare scan, the one named `orjson.loads` the other baseline."""
    bare = cases[0].best
    loads = next((case.best for case in cases if case.name == "orjson.loads"), bare)
    return [
        {
            "case": case.name,
            "rules": case.rules,
            "seconds": round(case.best, 4),
            "events_per_second": round(events / case.best),
            "megabytes_per_second": round(size / case.best / 1e6, 1),
            "of_bare_scan": round(bare / case.best, 3),
            "of_orjson_loads": round(loads / case.best, 3),
        }
        for case in cases
    ]
