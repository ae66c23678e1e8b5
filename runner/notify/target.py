"""`NotificationTarget`: where alerts are sent, which of them, when, how many at a time, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from runner.alerts.event_fields import value_at, values_at
from runner.notify.template import MessageTemplate

RANKS: Final[Mapping[str, int]] = {"low": 1, "medium": 2, "high": 3, "critical": 4}
"""The severities of alerts, ascending."""
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LINES: Final = 100
"""Of a stream that are written at a time: as many may be written again after a kill."""
TargetType: TypeAlias = Literal["apprise", "webhook", "stream"]


@dataclass(frozen=True, slots=True)
class TargetFilter:
    """Which alerts a target wants: those that all of it fits. Names are compared without regard to letter case."""

    min_severity: str = "low"
    min_risk: float = 0
    rules: tuple[str, ...] = ()
    """Ids, names, or patterns of either with `*` and `?`; all rules without any."""
    tags: tuple[str, ...] = ()
    """Tags of the rule, one of which has to be there; patterns."""
    hosts: tuple[str, ...] = ()
    """Names or ids of hosts; patterns."""
    replayed: bool = False
    """Alerts of `replay`, too."""

    def admits(self, document: Mapping[str, Any]) -> bool:
        """Whether the target wants this alert; never one of a building-block rule."""
        if value_at(document, "kibana.alert.building_block_type") is not None:
            return False
        if not self.replayed and value_at(document, "kibana.alert.rule.execution.type") == "manual":
            return False
        if rank_of(document) < RANKS[self.min_severity] or _risk_of(document) < self.min_risk:
            return False
        return (
            _fits(self.rules, document, "kibana.alert.rule.rule_id", "kibana.alert.rule.name")
            and _fits(self.tags, document, "kibana.alert.rule.tags")
            and _fits(self.hosts, document, "host.name", "host.id")
        )


def rank_of(document: Mapping[str, Any]) -> int:
    """The number of the alert's severity; that of the highest for one that is not known, so that it is not missed."""
    return RANKS.get(str(value_at(document, "kibana.alert.severity")), RANKS["critical"])


def _risk_of(document: Mapping[str, Any]) -> float:
    risk = value_at(document, "kibana.alert.risk_score")
    return float(risk) if isinstance(risk, int | float) else 100.0


def _fits(patterns: tuple[str, ...], document: Mapping[str, Any], *names: str) -> bool:
    if not patterns:
        return True
    values = [str(value).lower() for name in names for value in values_at(document, name)]
    return any(fnmatchcase(value, pattern.lower()) for value in values for pattern in patterns)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Times of the day at which only what is urgent is sent, by the clocks of a time zone."""

    start: time
    end: time
    """The first moment after them; before `start` it is one of the next day."""
    days: frozenset[int] = frozenset(range(7))
    """Of the week on which they begin, from 0 for Monday."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    through: int = RANKS["critical"]
    """The lowest rank that is sent all the same."""

    def holds(self, rank: int, at: datetime) -> bool:
        """Whether something of that rank has to wait at that time."""
        if rank >= self.through:
            return False
        local = at.astimezone(self.zone)
        now, today = local.time(), local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= now < self.end
        return (today in self.days and now >= self.start) or ((today - 1) % 7 in self.days and now < self.end)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most so many messages within each length of time."""

    count: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """One target, checked. Whatever may hold a secret is not in its `repr`."""

    name: str
    type: TargetType
    url: str = field(default="", repr=False)
    """What is sent to; of a stream the path, or `-` for standard output."""
    secret: str = field(default="", repr=False)
    """What a webhook's messages are signed with; "" for none."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    filter: TargetFilter = TargetFilter()
    alerts: bool = True
    health: bool = False
    group_by: tuple[str, ...] = ()
    digest: timedelta | None = None
    rate: RateLimit | None = None
    quiet: QuietHours | None = None
    max_age: timedelta = timedelta(days=7)
    timeout: timedelta = timedelta(seconds=15)
    most_items: int = 500
    """Alerts in one message."""
    documents: bool = True
    """Whether a webhook gets whole documents."""
    link: str = ""
    """The page's address, whose alerts are linked; "kibana" or "": Kibana's, where the alert has one."""
    template: MessageTemplate = field(default_factory=MessageTemplate)

    @property
    def is_stream(self) -> bool:
        return self.type == "stream"

    def link_to(self, id_: str, document: Mapping[str, Any]) -> str:
        """The address at which a person sees the alert; "" where there is none."""
        if self.link and self.link != "kibana":
            return f"{self.link.rstrip('/')}/alerts/{id_}"
        return str(value_at(document, "kibana.alert.url") or "")


def stream_to(place: str) -> NotificationTarget:
    """The target of `--alerts-to`: every alert, a line each."""
    name = "stream -" if place == "-" else f"stream {Path(place).absolute()}"
    return NotificationTarget(name, "stream", place, filter=TargetFilter(replayed=True), most_items=_LINES)
