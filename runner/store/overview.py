"""`Overview`: one page of alerts with the counts around it: how many, when, and by severity, rule, host and user.

`OverviewTally` counts documents one by one, and is what the quicker ways of a store are compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runner.alerts.event_fields import text_at, texts_at
from runner.alerts.event_time import event_order, event_time_ns
from runner.store.alert_filter import AlertFilter
from runner.store.stored_alert import StoredAlert

COUNTED: Final = ("severity", "status", "rule", "host", "user")
"""What alerts are counted by."""
MOST_BINS: Final = 72
"""Bars of a histogram at most."""
_SECOND: Final = 10**9
_WIDTHS: Final = tuple(
    seconds * _SECOND
    for seconds in (
        *(1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 86_400, 7 * 86_400),
        *(30 * 86_400, 91 * 86_400, 365 * 86_400, 3_650 * 86_400),
    )
)
"""Widths of bars in nanoseconds."""


@dataclass(frozen=True, slots=True)
class OverviewRequest:
    """What is asked for; the filter's `limit` and `newest` are not looked at: the newest events come first."""

    wanted: AlertFilter
    offset: int = 0
    size: int = 50
    most_values: int = 10
    """How many values of each of `COUNTED` are named."""


@dataclass(frozen=True, slots=True)
class ValueCount:
    """How many alerts have a value; the `label` of a rule's id is its name, the last by the alphabet of several."""

    value: str
    label: str
    alerts: int


@dataclass(frozen=True, slots=True)
class TimeBin:
    """The alerts whose events are of a span of time, by severity."""

    start_ns: int
    width_ns: int
    severities: Mapping[str, int]

    @property
    def alerts(self) -> int:
        return sum(self.severities.values())


@dataclass(frozen=True, slots=True)
class Overview:
    """A page of alerts and what it is a page of."""

    alerts: tuple[StoredAlert, ...]
    total: int
    counts: Mapping[str, tuple[ValueCount, ...]]
    """By the names of `COUNTED`: the values with the most alerts, those first. Of several users of an alert the first
    counts, in a cluster each."""
    bins: tuple[TimeBin, ...]
    """Ascending; those without alerts are left out."""
    is_whole: bool = True
    """False if so many alerts had to be looked into that not all were: the newest ones were."""


@dataclass(slots=True)
class OverviewTally:
    """The counts of alerts that are added one by one."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in COUNTED})
    labels: dict[str, str] = field(default_factory=dict)
    times: list[tuple[int, str]] = field(default_factory=list)
    """(event time in nanoseconds, severity)."""
    total: int = 0

    def add(self, document: Mapping[str, Any]) -> None:
        """Count an alert."""
        values = counted_values(document)
        self.total += 1
        for one in COUNTED:
            self.counts[one][values[one]] += 1
        name = text_at(document, "kibana.alert.rule.name")
        self.labels[values["rule"]] = max(name, self.labels.get(values["rule"], ""))
        if (time := event_time_ns(document)) is not None:
            self.times.append((time, values["severity"]))

    def overview(self, alerts: Iterable[StoredAlert], most: int, *, is_whole: bool = True) -> Overview:
        """The counts beside these alerts."""
        counts = {
            name: tuple(
                ValueCount(value, (self.labels.get(value) if name == "rule" else "") or value, alerts)
                for value, alerts in sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:most]
            )
            for name, counter in self.counts.items()
        }
        return Overview(tuple(alerts), self.total, counts, time_bins(self.times), is_whole)


def counted_values(document: Mapping[str, Any]) -> dict[str, str]:
    """The value of an alert by which it is counted, by the names of `COUNTED`; "" for none."""
    return {
        "severity": text_at(document, "kibana.alert.severity"),
        "status": text_at(document, "kibana.alert.workflow_status"),
        "rule": text_at(document, "kibana.alert.rule.rule_id"),
        "host": first_text(document, "host.name", "host.id"),
        "user": first_text(document, "user.name", "user.id"),
    }


def first_text(document: Mapping[str, Any], *names: str) -> str:
    """The first value of the first of the fields that has one; "" for none."""
    return next((texts[0] for name in names if (texts := texts_at(document, name))), "")


def overview_of(alerts: Sequence[StoredAlert], request: OverviewRequest, *, is_whole: bool = True) -> Overview:
    """The overview of alerts that meet the filter, in any order."""
    tally = OverviewTally()
    for alert in alerts:
        tally.add(alert.document)
    ordered = sorted(alerts, key=lambda alert: event_order(alert.document), reverse=True)
    page = ordered[request.offset : request.offset + request.size]
    return tally.overview(page, request.most_values, is_whole=is_whole)


def bin_width(first_ns: int, last_ns: int) -> int:
    """The least width of bars, in nanoseconds, with which no more than `MOST_BINS` cover the span."""
    span = max(last_ns - first_ns, 1)
    return next((width for width in _WIDTHS if span // width < MOST_BINS - 1), _WIDTHS[-1])


def time_bins(times: Iterable[tuple[int, str]]) -> tuple[TimeBin, ...]:
    """The bars of (time, severity) pairs."""
    found = list(times)
    if not found:
        return ()
    width = bin_width(min(found)[0], max(found)[0])
    bins: dict[int, Counter[str]] = {}
    for time, severity in found:
        bins.setdefault(time - time % width, Counter())[severity] += 1
    return tuple(TimeBin(start, width, dict(bins[start])) for start in sorted(bins))
