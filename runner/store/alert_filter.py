"""`AlertFilter`: which stored alerts are read, and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from runner.alerts.event_fields import flat_values, text_at, texts_at, value_at
from runner.alerts.event_time import event_time_ns
from runner.windows import nanoseconds

STATUSES: Final = ("open", "acknowledged", "closed")
"""The values of `kibana.alert.workflow_status`."""
_OTHERS: Final = frozenset({"kibana", "rule_runner", "ecs", "rule", "threat"})
"""First parts of the names of fields that are not of the event."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to read; None, or an empty tuple, means no restriction."""

    rule_id: str | None = None
    since: datetime | None = None
    """Detection time (`@timestamp`) at or after."""
    until: datetime | None = None
    host: str | None = None
    """`host.name` or `host.id`."""
    building_blocks: bool = False
    """With the single events of sequences."""
    limit: int | None = None
    rule: str | None = None
    """The rule's id, or its name in any letter case."""
    statuses: tuple[str, ...] = ()
    """Some of `STATUSES`."""
    severities: tuple[str, ...] = ()
    user: str | None = None
    """`user.name` or `user.id`."""
    tag: str | None = None
    """One of the rule's tags, or one that was put on the alert."""
    text: str | None = None
    """What is in the alert's reason, its rule's name or a value of its event, in any letter case."""
    of_building_block_rules: bool = True
    """With alerts of rules that are there only to be built on, which Kibana's page leaves out."""
    event_since: datetime | None = None
    """Time of the event (`kibana.alert.original_time`) at or after; alerts without a readable one are left out."""
    event_until: datetime | None = None
    newest: Literal["detected", "event"] = "detected"
    """What goes first: the newest detections, or the newest events, with those without a readable time last."""

    def admits(self, document: Mapping[str, Any]) -> bool:
        """Whether the document meets what only a look into it can decide: the conditions from `rule` on."""
        return (
            (not self.statuses or value_at(document, "kibana.alert.workflow_status") in self.statuses)
            and (not self.severities or value_at(document, "kibana.alert.severity") in self.severities)
            and (self.user is None or self.user in _either(document, "user.name", "user.id"))
            and (self.tag is None or self.tag in _either(document, "kibana.alert.rule.tags", _TAGS))
            and (self.of_building_block_rules or not is_of_building_block_rule(document))
            and (self.rule is None or self._is_of_rule(document, self.rule))
            and self._is_in_time(document)
            and self.has_text(document)
        )

    def has_text(self, document: Mapping[str, Any]) -> bool:
        """Whether the document has the wanted text."""
        wanted = (self.text or "").casefold()
        return not wanted or any(wanted in text.casefold() for text in _texts(document))

    def _is_of_rule(self, document: Mapping[str, Any], rule: str) -> bool:
        id_, name = (text_at(document, f"kibana.alert.rule.{part}") for part in ("rule_id", "name"))
        return rule == id_ or rule.casefold() == name.casefold()

    def _is_in_time(self, document: Mapping[str, Any]) -> bool:
        if self.event_since is None and self.event_until is None:
            return True
        time = event_time_ns(document)
        return (
            time is not None
            and (self.event_since is None or time >= nanoseconds(self.event_since))
            and (self.event_until is None or time <= nanoseconds(self.event_until))
        )


_TAGS: Final = "kibana.alert.workflow_tags"


def is_of_building_block_rule(document: Mapping[str, Any]) -> bool:
    """Whether the alert is of a rule that is only to be built on; the single event of a sequence is not for that."""
    is_event_of_sequence = value_at(document, "kibana.alert.group.index") is not None
    return not is_event_of_sequence and value_at(document, "kibana.alert.building_block_type") is not None


def _either(document: Mapping[str, Any], *names: str) -> frozenset[str]:
    return frozenset(text for name in names for text in texts_at(document, name))


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the alert sees of it: its reason, its rule's name and every value of its event."""
    yield text_at(document, "kibana.alert.reason")
    yield text_at(document, "kibana.alert.rule.name")
    for name, value in flat_values(document):
        if name.partition(".")[0] not in _OTHERS:
            yield from map(str, value if isinstance(value, list) else (value,))
