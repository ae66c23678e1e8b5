"""The buttons of a guide, `!{investigate{...}}` and `!{osquery{...}}`, filled in with an alert's values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from runner.alerts.event_fields import text_at, value_at, values_at
from runner.events.fields.schema import DECIMALS, INTEGERS, DataType, shipped_schema
from runner.rules.date_math import resolve
from runner.triage.next_searches import (
    Clause,
    alerts_command,
    eql_clause,
    eql_literal,
    kql_clause,
    kql_literal,
    search_command,
)
from runner.windows import iso

_BUTTON: Final = re.compile(r"!\{(?P<plugin>investigate|insight|osquery)(?=\{)")
_PLACEHOLDER: Final = re.compile(r"\{\{\s*(?P<field>[^{}\s]+)\s*\}\}")
_QUOTES: Final = "'\""
_FILTERS: Final = {"host.id": "host", "host.name": "host", "user.id": "user", "user.name": "user"}
"""Filters of `alerts list` by the field that they look in."""
_OPERATORS: Final = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}


@dataclass(frozen=True, slots=True)
class GuideButton:
    """A button of a guide: a search, or a query of osquery to run on the host."""

    number: int
    """From 1, in the order of the guide, which names it by this number."""
    label: str
    description: str
    eql: str = ""
    kql: str = ""
    command: str = ""
    """For a shell; "" without a search."""
    osquery: str = ""
    period: str = ""
    """The relative range that the guide gives, such as `now-1h to now`."""
    missing: tuple[str, ...] = ()
    """Fields that it asks for and the alert does not have: what needs them is left out of the search."""
    problem: str = ""
    """Why there is no search, or one without its range."""


@dataclass(frozen=True, slots=True)
class _Values:
    """The values that a button's placeholders stand for."""

    documents: Sequence[Mapping[str, Any]]
    missing: dict[str, None] = field(default_factory=dict)
    """Fields that were asked for in vain."""

    def of(self, name: str) -> list[Any]:
        found = dict.fromkeys(
            value
            for document in self.documents
            for value in values_at(document, name)
            if not isinstance(value, (Mapping, list)) and value != ""
        )
        if not found:
            self.missing[name] = None
        return list(found)


def resolved_guide(
    guide: str,
    documents: Sequence[Mapping[str, Any]],
    span: tuple[datetime, datetime] | None,
    search_options: Sequence[str] = (),
) -> tuple[str, tuple[GuideButton, ...]]:
    """The guide with its buttons as numbered labels, and these buttons.

    Relative ranges begin before the first and end after the last moment of `span`: the first event, and the detection.
    A button that cannot be read stays in the text.
    """
    buttons: list[GuideButton] = []
    texts: list[str] = []
    place = 0
    while (found := _BUTTON.search(guide, place)) is not None:
        try:
            entry, end = json.JSONDecoder().raw_decode(guide, found.end())
        except (ValueError, RecursionError):
            entry, end = None, found.end()
        texts.append(guide[place : found.start()])
        if not isinstance(entry, Mapping) or guide[end : end + 1] != "}":
            texts.append(guide[found.start() : end])
            place = end
            continue
        is_query = found["plugin"] == "osquery"
        number = len(buttons) + 1
        made = _osquery(number, entry, documents) if is_query else _search(number, entry, documents, span)
        if made.eql and not made.command:
            made = replace(made, command=search_command(made.eql, search_options))
        buttons.append(made)
        texts.append(f"**({number}) {made.label}**")
        place = end + 1
    return "".join([*texts, guide[place:]]), tuple(buttons)


def _osquery(number: int, entry: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]) -> GuideButton:
    """The query with the alert's values as literals of SQL, or within the quotes that are there."""
    values, text = _Values(documents), text_at(entry, "query")

    def literal(found: re.Match[str]) -> str:
        of_field = values.of(found["field"])
        if not of_field:
            return found[0]
        before = text[: found.start()]
        if any(before.count(quote) % 2 for quote in _QUOTES):
            return str(of_field[0]).replace("'", "''")
        first = of_field[0]
        return str(first) if isinstance(first, (int, float)) else "'" + str(first).replace("'", "''") + "'"

    query = _PLACEHOLDER.sub(literal, text)
    label = text_at(entry, "label") or "Osquery"
    return GuideButton(number, label, text_at(entry, "description"), osquery=query, missing=tuple(values.missing))


def _search(
    number: int,
    entry: Mapping[str, Any],
    documents: Sequence[Mapping[str, Any]],
    span: tuple[datetime, datetime] | None,
) -> GuideButton:
    """The search of an `investigate` button: groups of which one, and in each providers of which all are met."""
    values = _Values(documents)
    groups = [found for group in _groups(entry) if (found := _group(group, values)) is not None]
    label, description = text_at(entry, "label") or "Investigate", text_at(entry, "description")
    missing = tuple(values.missing)
    if not groups:
        problem = "the alert has no value for it" if missing else "it names no condition"
        return GuideButton(number, label, description, missing=missing, problem=problem)
    period, within, problem = _period(entry, span)
    eql = _either([[one.eql for one in group] for group in groups], within)
    kql = _either([[one.kql for one in group] for group in groups], within)
    eql = f"any where {eql}"
    command = _alerts_command(groups)
    return GuideButton(number, label, description, eql, kql, command, "", period, missing, problem)


def _either(groups: Sequence[Sequence[str]], within: str) -> str:
    """The text of a condition that one of the groups meets, in the range."""
    if len(groups) == 1:
        return " and ".join([*groups[0], *([within] if within else [])])
    text = " or ".join(f"({' and '.join(group)})" for group in groups)
    return f"({text}) and {within}" if within else text


@dataclass(frozen=True, slots=True)
class _Condition:
    """A provider of a button as a condition of both languages."""

    field: str
    eql: str
    kql: str
    values: tuple[Any, ...] = ()
    is_plain: bool = False
    """Whether it asks for the values and nothing else."""


def _groups(entry: Mapping[str, Any]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The groups of providers; one provider alone is a group."""
    for group in values_at(entry, "providers"):
        members = group if isinstance(group, list) else [group]
        if found := [one for one in members if isinstance(one, Mapping) and text_at(one, "field")]:
            yield found


def _group(group: Sequence[Mapping[str, Any]], values: _Values) -> list[_Condition] | None:
    """The conditions of a group; None if the alert has no value for one of them."""
    found = [_condition(provider, values) for provider in group]
    return None if None in found else [one for one in found if one is not None]


def _condition(provider: Mapping[str, Any], values: _Values) -> _Condition | None:
    name, kind = text_at(provider, "field"), text_at(provider, "queryType") or "phrase"
    unwanted = value_at(provider, "excluded") is True
    made: _Condition | None
    if kind == "exists":
        made = _Condition(name, f"{name} != null", f"{name} : *")
    elif kind == "range":
        made = _range(name, value_at(provider, "value"))
    else:
        found = [_typed(name, one, provider) for one in _provided(value_at(provider, "value"), values)]
        if not found:
            return None
        clause = Clause(name, found)
        made = _Condition(name, eql_clause(clause), kql_clause(clause), tuple(found), not unwanted)
    if made is None or not unwanted:
        return made
    return _Condition(name, f"not ({made.eql})", f"not ({made.kql})")


def _provided(value: Any, values: _Values) -> list[Any]:
    """The values that a provider asks for: those of its placeholder, or its own with each placeholder's first value."""
    if isinstance(value, list):
        return [one for member in value for one in _provided(member, values)]
    if not isinstance(value, str):
        return [] if value is None else [value]
    if (whole := _PLACEHOLDER.fullmatch(value.strip())) is not None:
        return values.of(whole["field"])
    parts = {found["field"]: values.of(found["field"]) for found in _PLACEHOLDER.finditer(value)}
    if not all(parts.values()):
        return []
    return [_PLACEHOLDER.sub(lambda found: str(parts[found["field"]][0]), value)]


def _typed(name: str, value: Any, provider: Mapping[str, Any]) -> Any:
    """The value in the field's type: EQL compares no number with a text."""
    known = shipped_schema().find(name)
    kind = text_at(provider, "valueType")
    if known is not None:
        is_number, is_truth = known.type in INTEGERS | DECIMALS, known.type is DataType.BOOLEAN
    else:
        is_number, is_truth = kind in ("number", "integer", "long"), kind == "boolean"
    if is_truth and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if not is_number:
        return value if known is None and not isinstance(value, str) else str(value)
    try:
        return int(value)
    except ValueError:
        return value


def _range(name: str, value: Any) -> _Condition | None:
    """The condition of a range such as `{"gte": 1024, "lt": 2048}`, given as an object or as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    bounds = value.items() if isinstance(value, Mapping) else ()
    parts = [(sign, bound) for word, bound in bounds if (sign := _OPERATORS.get(word)) and bound is not None]
    if not parts:
        return None
    eql = " and ".join(f"{name} {sign} {eql_literal(bound)}" for sign, bound in parts)
    return _Condition(name, eql, " and ".join(f"{name} {sign} {kql_literal(bound)}" for sign, bound in parts))


def _period(entry: Mapping[str, Any], span: tuple[datetime, datetime] | None) -> tuple[str, str, str]:
    """The relative range in words, as a condition of both languages, and why there is none."""
    since, until = text_at(entry, "relativeFrom"), text_at(entry, "relativeTo")
    if not since:
        return "", "", ""
    period = f"{since} to {until or 'now'}"
    if span is None:
        return period, "", "the alert has no time"
    try:
        first, last = resolve(since, span[0]), resolve(until or "now", span[1])
    except (ValueError, OverflowError) as error:
        return period, "", f"its range cannot be read: {error}"
    return period, f'@timestamp >= "{iso(first)}" and @timestamp <= "{iso(last)}"', ""


def _alerts_command(groups: Sequence[Sequence[_Condition]]) -> str:
    """The command that lists alerts, for a button that asks for alerts by host or user; "" for any other."""
    if len(groups) != 1 or not any(one.field == "event.kind" and "signal" in one.values for one in groups[0]):
        return ""
    filters: dict[str, str] = {}
    for one in groups[0]:
        if one.field == "event.kind":
            continue
        name = _FILTERS.get(one.field, "text")
        if not one.is_plain or len(one.values) != 1 or name in filters:
            return ""
        filters[name] = str(one.values[0])
    return alerts_command(**filters)
