"""`RuleTest`: the content of a test file: events, and the alerts that the rule must make of them.

A test file is TOML. `reverse_shell.test.toml` belongs to the rule file `reverse_shell.toml` beside it, unless it names
another one with `rule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, model_validator

from runner.rules.rule_tables import OneOrMore

SUFFIX = ".test.toml"
"""The end of a test file's name."""


class _CaseTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


T = TypeVar("T")
Listed = Annotated[T, BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
"""A tuple, written as a list."""


class ExpectedAlert(_CaseTable):
    """An expected alert: its events and the values of its fields."""

    events: Listed[tuple[str, ...]] = ()
    """The ids of its events in order (`_id` of a hit, else `event.id`); empty: any."""
    fields: Mapping[str, Any] = Field(default_factory=dict)
    """Fields of the alert document, by their dotted names."""


def _in_full(value: Any) -> Any:
    """A list of excepted events, each as a table."""
    if isinstance(value, (str, int, Mapping)) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list):
        return value
    return tuple({"event": one} if isinstance(one, (str, int)) and not isinstance(one, bool) else one for one in value)


class ExceptedEvent(_CaseTable):
    """An event that an exception must leave out: its id as in `ExpectedAlert.events`, and the exception's name."""

    event: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
    by: str = ""


class RuleTest(_CaseTable):
    """One test of a rule."""

    name: str = Field(min_length=1)
    files: Listed[OneOrMore] = ()
    """Event files (NDJSON, plain or packed), relative to the test file."""
    events: Listed[tuple[Mapping[str, Any], ...]] = Field(default=(), alias="event")
    """Inline events, each with the file's `defaults` for missing fields."""
    history: Listed[tuple[Mapping[str, Any], ...]] = ()
    """Inline events that came before the others, for rules of type new_terms: the window of a test without `now` is
    that of the other events."""
    indicators: Listed[tuple[Mapping[str, Any], ...]] = Field(default=(), alias="indicator")
    """Inline documents of indicators, as they are, for rules of type threat_match."""
    now: AwareDatetime | None = None
    """The time of a run with the rule's own window; None: a window over the time of all events."""
    alert_count: NonNegativeInt | None = Field(default=None, alias="alerts")
    alerts: Listed[tuple[ExpectedAlert, ...] | None] = Field(default=None, alias="alert")
    excepted: Annotated[tuple[ExceptedEvent, ...] | None, BeforeValidator(_in_full)] = None
    """Events that an exception must leave out."""
    exceptions: bool | None = None
    """Whether the rule's exceptions apply; None: if there are `excepted` events."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.files and not self.events:
            raise ValueError("has no events: give `files`, or [[test.event]] tables")
        if self.alert_count is None and self.alerts is None:
            raise ValueError("says nothing of what is expected: give `alerts = 0`, another count, or [[test.alert]]")
        if self.alert_count is not None and self.alerts is not None and self.alert_count != len(self.alerts):
            listed = len(self.alerts)
            raise ValueError(f"expects {self.alert_count} alerts by `alerts` and lists {listed} as [[test.alert]]")
        if self.excepted is not None and not self.excepted:
            raise ValueError("has an empty `excepted`: name events, or run it with the exceptions: `exceptions = true`")
        if self.excepted and self.exceptions is False:
            raise ValueError("has `excepted` events, but `exceptions = false`")
        return self

    @property
    def has_exceptions(self) -> bool:
        """Whether the rule's exceptions apply."""
        return bool(self.excepted or self.exceptions)


class CaseFile(_CaseTable):
    """The content of a test file."""

    rule: str | None = None
    """The rule's file, relative to the test file."""
    defaults: Mapping[str, Any] = Field(default_factory=dict)
    """Default values for every [[test.event]] of the file; tables are merged."""
    tests: Listed[tuple[RuleTest, ...]] = Field(alias="test", min_length=1)


@dataclass(frozen=True, slots=True)
class RuleCase:
    """A test with its rule file, place and defaults."""

    path: Path
    line: int
    """The line of the test in its file, from 1."""
    rule_path: Path
    test: RuleTest
    defaults: Mapping[str, Any]

    def documents(self) -> tuple[Mapping[str, Any], ...]:
        """The inline events of the test, as JSON values."""
        return tuple(_plain(_merged(self.defaults, event)) for event in self.test.events)

    def history(self) -> tuple[Mapping[str, Any], ...]:
        """The inline events that came before, as JSON values."""
        return tuple(_plain(_merged(self.defaults, event)) for event in self.test.history)

    def indicators(self) -> tuple[Mapping[str, Any], ...]:
        """The inline documents of indicators, as JSON values."""
        return tuple(map(_plain, self.test.indicators))

    def event_files(self) -> tuple[Path, ...]:
        """The event files of the test."""
        return tuple(self.path.parent / name for name in self.test.files)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables merged; `over` takes precedence."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _plain(value: Any) -> Any:
    """The value with times as ISO text, as in events."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, (datetime, date)) else value
