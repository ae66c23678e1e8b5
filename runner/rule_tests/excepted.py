"""What exceptions have left out of a test, which exception took which event, and why none took another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from runner.alerts.event_fields import value_at
from runner.dates.dates import read_date
from runner.eql.explain.event_verdict import Judge
from runner.events.event_references import EventLine, read_lines
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.item import ExceptionItem
from runner.exceptions.item_verdict import ItemVerdict, item_label, judge_item, nearest_item
from runner.exceptions.load import Exceptions
from runner.file_formats.inner_events import InnerEvents
from runner.messages.suggestions import did_you_mean
from runner.rule_tests.case import ExceptedEvent
from runner.rule_tests.missing_alert import stage_reason
from runner.rules.model_errors import shortened
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.windows import Window

_SHOWN = 10
"""Events that exceptions took, named beside what a test expects."""


@dataclass(frozen=True)
class TestedExceptions:
    """The exceptions of one test, and the events of the test's files.

    `compiled` has those that count for the rule at the time `at`. `dropped` are the alerts that exceptions of scope
    alert have left out, each as the ids of its events.
    """

    compiled: CompiledRule
    exceptions: Exceptions
    paths: tuple[Path, ...]
    window: Window
    at: datetime
    dropped: tuple[tuple[str, ...], ...] = ()
    schema: Schema = field(default_factory=lambda: Schema(shipped_schema().fields, lenient=True))

    def faults(self, expected: Sequence[ExceptedEvent]) -> tuple[str, ...]:
        """A sentence for every expected event that no exception took, or not the one named."""
        found = self._events({one.event for one in expected})
        return tuple(text for one in expected if (text := self._fault(one, found.get(one.event))))

    def takings(self, known: Collection[str] = (), only: Collection[str] | None = None) -> tuple[str, ...]:
        """Which exception took which events, a sentence each, at most some; without the `known` ones."""
        lines = (line for line in self._lines() if line.event_id not in known and line.document_id not in known)
        wanted = (line for line in lines if only is None or line.event_id in only or line.document_id in only)
        return tuple(islice((text for line in wanted for text in self._taken(line)), _SHOWN))

    def _taken(self, line: EventLine) -> Iterator[str]:
        verdicts = self._takers(line.source(), _ids(line))
        if verdicts:
            first = verdicts[0]
            yield f"event {_name(line)} is excepted by {item_label(first.item)}: {first.reason()}"

    def _fault(self, expected: ExceptedEvent, line: EventLine | None) -> str:
        if line is None:
            return f"`excepted`: no event of this test has the id {shortened(expected.event)}"
        document = line.source()
        took = self._takers(document, _ids(line))
        if not expected.by:
            why = "" if took else self._why_none(document, line)
            return why and f"event {_name(line)} is not excepted: {why}"
        if any(expected.by in (one.item.name, one.item.id) for one in took):
            return ""
        named = shortened(expected.by)
        other = f" but by {item_label(took[0].item)} ({took[0].reason()})" if took else ""
        return f'event {_name(line)} is not excepted by "{named}"{other}: {self._why_not(expected.by, document, line)}'

    def _takers(self, document: Mapping[str, Any], ids: Collection[str]) -> list[ItemVerdict]:
        """The exceptions that have kept the event from the rule, or an alert of it from being made."""
        hit = [verdict for item in self.compiled.exceptions if (verdict := self._verdict(item, document)).met]
        is_seen = bool(hit) and self._seen(document) == ""
        is_dropped = any(not set(ids).isdisjoint(events) for events in self.dropped)
        took = [one for one in hit if (is_dropped if one.item.scope == "alert" else is_seen)]
        if took or not is_dropped:
            return took
        # Another event of the same alert is the one that was hit.
        others = self._events({event for events in self.dropped if not set(ids).isdisjoint(events) for event in events})
        by_other = (self._verdict(item, line.source()) for item in self._of_alerts for line in others.values())
        return [verdict for verdict in by_other if verdict.met][:1]

    def _why_none(self, document: Mapping[str, Any], line: EventLine) -> str:
        items = self.compiled.exceptions
        if not items:
            over = [item for item in self.exceptions.all_for_rule(self.compiled.rule) if item.is_over(self.at)]
            some = f"; {item_label(over[0])} has expired by then" if over else ""
            return f"no exception is for this rule at the time of the test{some}"
        hit = next((one for one in items if self._verdict(one, document).met), None)
        if hit is not None:
            return self._why_not(hit.name, document, line)
        nearest = nearest_item(items, self.schema, document, now_ns=self.window.end_ns)
        if nearest is None:
            return self._why_not(items[0].name, document, line)
        return f"of the nearest exception, {item_label(nearest.item)}, {nearest.reason()}"

    def _why_not(self, name: str, document: Mapping[str, Any], line: EventLine) -> str:
        """Why the exception of that name took nothing of the event."""
        named = [item for item in self.exceptions.items if name in (item.name, item.id)]
        if not named:
            return f"there is no such exception{did_you_mean(name, (item.name for item in self.exceptions.items))}"
        here = [item for item in named if item in self.compiled.exceptions]
        if not here:
            over = [item for item in self.exceptions.all_for_rule(self.compiled.rule) if item in named]
            text = "has expired at the time of the test" if over else "is not for this rule"
            return f"{item_label(named[0])} {text}"
        verdict = self._verdict(here[0], document)
        if not verdict.met:
            return f"of {item_label(here[0])} {verdict.reason()}"
        if here[0].scope == "alert":
            return f"{item_label(here[0])} hits it, but the rule makes no alert of it"
        return f"{item_label(here[0])} hits it, but it is no event for the rule: {self._seen(document)}"

    def _verdict(self, item: ExceptionItem, document: Mapping[str, Any]) -> ItemVerdict:
        return judge_item(item, self.schema, document, now_ns=self.window.end_ns)

    def _seen(self, document: Mapping[str, Any]) -> str:
        """Why the rule's query would not see the event without exceptions; empty if it would."""
        texts = (value_at(document, name) for name in time_fields(self.compiled.rule))
        times = [time for text in texts if text is not None and (time := _time(text)) is not None]
        if times and not self.window.start_ns <= times[0] <= self.window.end_ns:
            return "it is not of the time of the rule's window"
        stages = self._judge.judge(document).stages
        if any(stage.met for stage in stages):
            return ""
        if len(stages) > 1:
            return "it meets no stage of the query"
        return f"it does not meet the query: {stage_reason(stages[0])}"

    @cached_property
    def _judge(self) -> Judge:
        return Judge(self.compiled.bare_program(self.schema).plan, now_ns=self.window.end_ns)

    @property
    def _of_alerts(self) -> Iterable[ExceptionItem]:
        return (item for item in self.compiled.exceptions if item.scope == "alert")

    def _events(self, ids: Collection[str]) -> dict[str, EventLine]:
        """The events of some ids, each by its `_id` and its `event.id`."""
        found: dict[str, EventLine] = {}
        for line in self._lines():
            for name in _ids(line):
                if name in ids:
                    found.setdefault(name, line)
        return found

    def _lines(self) -> Iterator[EventLine]:
        return read_lines(list(map(str, self.paths)), InnerEvents())


def _ids(line: EventLine) -> tuple[str, ...]:
    return tuple(filter(None, (line.document_id, line.event_id)))


def _name(line: EventLine) -> str:
    return shortened(line.document_id or line.event_id or f"in line {line.line}")


def _time(value: Any) -> int | None:
    try:
        return read_date(value[0] if isinstance(value, list) else value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
