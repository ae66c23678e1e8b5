"""`RuleRun`: what one execution of one rule over one window did."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from runner.windows import Window, iso

Status = Literal["succeeded", "warning", "failed"]
COUNTS = ("matches", "created", "duplicates", "suppressed", "capped")
"""The counts of a run by their names in logs, stores and output, in their order there."""


@dataclass(frozen=True, slots=True)
class ExceptedCount:
    """The events that an exception has kept from a rule; `newest` is their newest time, if it is known."""

    exception: str
    """The exception's id."""
    events: int
    newest: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        return {"exception": self.exception, "events": self.events}


@dataclass(frozen=True, slots=True)
class RuleRun:
    """The outcome of one rule over one window.

    `matches` counts what the search found, as far as it was read, without what exceptions leave out; `created` new
    event and shell alerts; `duplicates` matches whose alerts were there already or that were counted before;
    `suppressed` matches that alert suppression counted in the alert of another match; `capped` new matches over
    `max_signals`, left for the next run (counted as far as known). `complete` says that the window was searched to the
    end and nothing is left over.
    """

    rule_id: str
    name: str
    execution_id: str
    status: Status
    window: Window
    started: datetime
    matches: int = 0
    created: int = 0
    duplicates: int = 0
    suppressed: int = 0
    capped: int = 0
    took_ms: int = 0
    complete: bool = True
    messages: tuple[str, ...] = ()
    shown: Window | None = field(default=None, compare=False)
    """The times at which a match may end that the window shows whole, if those are not all of the window. No store
    keeps it."""
    blind: bool = field(default=False, compare=False)
    """Whether nothing was there that the rule's index patterns name. No store keeps it."""
    excepted: tuple[ExceptedCount, ...] = field(default=(), compare=False)
    """What exceptions removed of times that were not searched before. Stores add it to what they know of the rule."""

    @property
    def counts(self) -> dict[str, int]:
        """The counts by name."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def searched(self) -> Window:
        """The times at which a match may have ended that the run has searched."""
        return self.shown or self.window

    def as_json(self) -> dict[str, Any]:
        """The object that `once --output json` prints for this run."""
        return {
            "rule_id": self.rule_id,
            "name": self.name,
            "status": self.status,
            "window": {"from": iso(self.window.start), "to": iso(self.window.end)},
            **self.counts,
            **({"excepted": [one.as_json() for one in self.excepted]} if self.excepted else {}),
            "took_ms": self.took_ms,
            "messages": list(self.messages),
        }


@dataclass(frozen=True, slots=True)
class RunCost:
    """The totals of a rule's runs. Over files `took_ms` has the time of whole passes, which rules share."""

    runs: int = 0
    failed: int = 0
    matches: int = 0
    suppressed: int = 0
    took_ms: int = 0

    def plus(self, run: RuleRun) -> RunCost:
        """The totals with one more run."""
        return RunCost(
            self.runs + 1,
            self.failed + (run.status == "failed"),
            self.matches + run.matches,
            self.suppressed + run.suppressed,
            self.took_ms + run.took_ms,
        )


def shared_messages(runs: Sequence[RuleRun]) -> Mapping[str, int]:
    """The messages that concern several rules, each with the count of them."""
    rules: dict[str, set[str]] = {}
    for run in runs:
        for text in run.messages:
            rules.setdefault(text, set()).add(run.rule_id)
    return {text: len(of) for text, of in rules.items() if len(of) > 1}


def has_news(run: RuleRun, shared: Container[str]) -> bool:
    """Whether the run found something, or has a message that is not `shared` with other rules."""
    return bool(run.matches) or any(text not in shared for text in run.messages)
