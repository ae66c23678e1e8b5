"""`NoiseReport`: what the alerts of each rule have in common, counted as they are read, a bounded part of them kept."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runner.alerts.event_fields import text_at, texts_at, value_at
from runner.alerts.event_time import event_time_ns
from runner.triage.proposal import NotedEvent, ProposedException, noted, propose
from runner.triage.verdict import REASON, STATUS

FEATURES: Final = ("hosts", "users", "parents", "processes", "arguments")
"""What alerts are counted by."""
_FIELDS: Final = {
    "hosts": ("host.name", "host.id"),
    "users": ("user.name", "user.id"),
    "parents": ("process.parent.executable", "process.parent.name"),
    "processes": ("process.executable", "process.name"),
}
"""The fields of which the first that has a value counts."""
_KEPT = 2_000
"""Alerts of a rule that proposals are made of, those that were read first."""
_MOST_VALUES = 5_000
"""Distinct values of a feature that are counted; the rarer half of them is forgotten when there are more."""
DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class CommonValue:
    """A value with the count of the alerts that have it."""

    value: str
    alerts: int


@dataclass(slots=True)
class _Place:
    """What was counted of single events, or of the events at one place of a sequence."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in FEATURES})
    events: deque[NotedEvent] = field(default_factory=deque)

    def add(self, document: Mapping[str, Any]) -> None:
        for name, values in _features(document).items():
            counter = self.counts[name]
            counter.update(values)
            if len(counter) > _MOST_VALUES:
                self.counts[name] = Counter(dict(counter.most_common(_MOST_VALUES // 2)))
        if len(self.events) < _KEPT:
            self.events.append(noted(document))


@dataclass(slots=True)
class RuleNoise:
    """The alerts of one rule."""

    rule_id: str
    name: str = ""
    severity: str = ""
    query: str = ""
    alerts: int = 0
    suppressed: int = 0
    """Alerts that alert suppression has counted into others."""
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Kibana's reasons of the alerts that have one."""
    _places: dict[int | None, _Place] = field(default_factory=dict)

    def add(self, document: Mapping[str, Any]) -> None:
        """Count an alert, or the event of a sequence."""
        position = value_at(document, "kibana.alert.group.index")
        if position is None:
            self.alerts += 1
            self.name = self.name or text_at(document, "kibana.alert.rule.name")
            self.severity = self.severity or text_at(document, "kibana.alert.severity")
            self.query = self.query or text_at(document, "kibana.alert.rule.parameters.query")
            self.suppressed += _whole(value_at(document, "kibana.alert.suppression.docs_count"))
            self.statuses[text_at(document, STATUS) or "open"] += 1
            if reason := text_at(document, REASON):
                self.reasons[reason] += 1
            if value_at(document, "kibana.alert.group.id") is not None:
                return  # its events are what is counted of a sequence
        self._places.setdefault(position, _Place()).add(document)

    @property
    def false_positive_share(self) -> float:
        """The part of all alerts that was closed as false positives."""
        return self.reasons["false_positive"] / self.alerts if self.alerts else 0.0

    def top(self, feature: str, count: int) -> list[CommonValue]:
        """The values that the most alerts have; of a sequence, at the same place of it."""
        best: Counter[str] = Counter()
        for place in self._places.values():
            best |= place.counts[feature]
        found = sorted(best.items(), key=lambda item: (-item[1], item[0]))
        return [CommonValue(value, alerts) for value, alerts in found[:count]]

    def proposal(self) -> ProposedException | None:
        """The proposed exception that would have kept the most alerts from being made."""
        found = [propose(place.events, self.query) for place in self._places.values()]
        return max(filter(None, found), key=lambda one: (one.hits, len(one.when)), default=None)


class NoiseReport:
    """The alerts of all rules, added one by one in any order."""

    def __init__(self) -> None:
        self.rules: dict[str, RuleNoise] = {}
        self.oldest_ns: int | None = None
        self.newest_ns: int | None = None

    def add(self, document: Mapping[str, Any]) -> None:
        """Count an alert, or the event of a sequence."""
        rule_id = text_at(document, "kibana.alert.rule.rule_id")
        self.rules.setdefault(rule_id, RuleNoise(rule_id)).add(document)
        if (time := event_time_ns(document)) is not None:
            self.oldest_ns = time if self.oldest_ns is None else min(self.oldest_ns, time)
            self.newest_ns = time if self.newest_ns is None else max(self.newest_ns, time)

    @property
    def noisiest(self) -> Sequence[RuleNoise]:
        """The rules with alerts, those with the most first."""
        found = [rule for rule in self.rules.values() if rule.alerts]
        return sorted(found, key=lambda rule: (-rule.alerts, rule.name, rule.rule_id))

    def period(self, since_ns: int | None, now_ns: int) -> tuple[int, int] | None:
        """The time that the alerts are counted over; None without any alert, nor a start.

        It goes from `since_ns` to now, unless all events were before: as after a replay it is that of the events then.
        """
        if since_ns is not None and (self.newest_ns is None or self.newest_ns >= since_ns):
            return since_ns, now_ns
        if self.oldest_ns is None or self.newest_ns is None:
            return None
        return self.oldest_ns, self.newest_ns


def days_of(period: tuple[int, int] | None) -> float:
    """The length of a period in days, one at least."""
    return 1.0 if period is None else max(1.0, (period[1] - period[0]) / DAY_NS)


def _features(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values of an event by what they are counted as, each once."""
    found = {
        name: next((texts for path in paths if (texts := texts_at(document, path))), ())
        for name, paths in _FIELDS.items()
    }
    arguments = texts_at(document, "process.args")[1:] or texts_at(document, "process.command_line")
    return {name: list(dict.fromkeys(values)) for name, values in (*found.items(), ("arguments", arguments))}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
