"""Exceptions in the runner's own form: `[[exception]]` tables of a TOML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from runner import eql
from runner.eql.syntax import ast
from runner.eql.syntax.errors import EqlError
from runner.exceptions.conditions import WHERE
from runner.exceptions.item import ExceptionEntry, ExceptionItem, ExceptionScope
from runner.exceptions.tables import Findings, Table
from runner.exceptions.value_lists import ValueLists
from runner.messages.suggestions import did_you_mean
from runner.rules.model_errors import kind_of, shortened
from runner.rules.toml_positions import KeyPath

KEYS = (
    "name", "reason", "owner", "expires", "rules", "tags", "all_rules", "os", "when", "where", "scope",
)  # fmt: skip
OPERATORS = (
    "is", "is_not", "like", "not_like", "exists", "in", "not_in", "in_net", "not_in_net", "any_object",
)  # fmt: skip
_OS = ("linux", "macos", "windows")
_END_OF_DAY = time(23, 59, 59, 999_999, tzinfo=UTC)


def read_plain(document: Mapping[str, Any], findings: Findings, lists: ValueLists, file: Path) -> list[ExceptionItem]:
    """The sound items of a document with `[[exception]]`."""
    top = Table(document, (), findings, "the file")
    top.keys(("exception",))
    found = []
    for table in top.tables("exception", "[[exception]]"):
        before = findings.errors()
        item = _item(table, lists, file)
        if findings.errors() == before:
            found.append(item)
    return found


def _item(table: Table, lists: ValueLists, file: Path) -> ExceptionItem:
    table.keys(KEYS)
    for key in ("name", "reason"):
        table.needed(key)
    table.needed("expires", ': a date, or "never"')
    _exactly_one(table, ("rules", "tags", "all_rules"))
    _exactly_one(table, ("when", "where"))
    name = table.text("name")
    os = table.texts("os")
    for one in os:
        if one not in _OS:
            message = f"`os` is `{shortened(one)}`, expected {', '.join(_OS)}{did_you_mean(one, _OS)}"
            table.findings.add((*table.path, "os"), message)
    scope: ExceptionScope = "alert" if table.choice("scope", ("event", "alert"), "event") == "alert" else "event"
    where_text = table.text("where")
    if "all_rules" in table and table.value["all_rules"] is False:
        table.findings.add((*table.path, "all_rules"), "`all_rules` is false: name `rules` or `tags` instead")
    return ExceptionItem(
        id=name,
        name=name,
        reason=table.text("reason"),
        owner=table.text("owner"),
        expires=_expires(table),
        rules=table.texts("rules"),
        tags=table.texts("tags"),
        all_rules=table.flag("all_rules"),
        os=os,
        entries=tuple(_when(table, lists, file)),
        where=_where(table, where_text) if where_text else None,
        where_text=where_text,
        scope=scope,
        place=table.findings.place(table.path, "key"),
    )


def _exactly_one(table: Table, keys: tuple[str, ...]) -> None:
    given = [key for key in keys if key in table]
    listed = ", ".join(f"`{key}`" for key in keys)
    if not given:
        message = f"one of {listed} is missing in [[exception]]"
        table.findings.add(table.path, message, at="key", code="missing-key")
    elif len(given) > 1:
        table.findings.add((*table.path, given[1]), f"only one of {listed} may stand in [[exception]]", at="key")


def _expires(table: Table) -> datetime | None:
    """The last moment at which the item applies; a date is the end of that day in UTC."""
    value = table.value.get("expires", "never")
    if value == "never":
        return None
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == len("2026-01-31") else datetime.fromisoformat(value)
        except ValueError:
            message = f'`expires` is `{shortened(value)}`, expected a date such as 2026-09-30, or "never"'
            table.findings.add((*table.path, "expires"), message)
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, _END_OF_DAY)
    table.wrong("expires", 'a date, or "never"')
    return None


def _where(table: Table, text: str) -> eql.ParsedQuery | None:
    try:
        query = eql.parse(WHERE + text)
    except EqlError as error:
        for finding in error.findings:
            message = f"`where`: {finding.message}{finding.hint}"
            table.findings.add((*table.path, "where", finding.span.start - len(WHERE)), message)
        return None
    if query.statement.pipes or not isinstance(query.statement.body, ast.EventQuery):
        table.findings.add((*table.path, "where"), "`where` is a query, expected a condition on one event")
        return None
    return query


def _when(table: Table, lists: ValueLists, file: Path) -> Iterator[ExceptionEntry]:
    when = table.table("when", "[exception.when]")
    if when is None:
        return
    if not when.value:
        table.findings.add(when.path, "`when` is empty: it would hit every event", at="key")
    for name, value in when.value.items():
        yield from _entries(name, value, when, lists, file)


def _entries(name: str, value: Any, when: Table, lists: ValueLists, file: Path) -> Iterator[ExceptionEntry]:
    """The conditions on one field: a value, a list of values, or a table of operators that must all hold."""
    path = (*when.path, name)
    if not isinstance(value, Mapping):
        value = {"is": value}
        path_of: dict[str, KeyPath] = {"is": path}
    else:
        path_of = {operator: (*path, operator) for operator in value}
    table = Table(value, path, when.findings, f"the conditions on `{shortened(name)}`")
    table.keys((*OPERATORS, "any_case"))
    given = [operator for operator in OPERATORS if operator in value]
    if not given:
        when.findings.add(path, f"no condition on `{shortened(name)}`, expected one of {', '.join(OPERATORS)}")
    any_case = table.flag("any_case")
    for operator in given:
        entry = _entry(name, operator, value[operator], table=table, path=path_of[operator], lists=lists, file=file)
        if entry is not None:
            if any_case and entry.type not in ("match", "match_any", "wildcard"):
                when.findings.add((*path, "any_case"), f"`any_case` does not go with `{operator}`", at="key")
            yield _with_case(entry, any_case=any_case)


def _with_case(entry: ExceptionEntry, *, any_case: bool) -> ExceptionEntry:
    if not any_case:
        return entry
    return ExceptionEntry(entry.field, entry.type, entry.included, entry.values, any_case=True, place=entry.place)


def _entry(
    name: str, operator: str, value: Any, *, table: Table, path: KeyPath, lists: ValueLists, file: Path
) -> ExceptionEntry | None:
    findings, place = table.findings, table.findings.place(path, "value")
    included, plain = not (operator == "is_not" or operator.startswith("not_")), operator.removeprefix("not_")
    if plain == "exists":
        if not isinstance(value, bool):
            findings.add(path, f"`exists` is {kind_of(value)}, expected true or false")
            return None
        return ExceptionEntry(name, "exists", value, place=place)
    if plain == "any_object":
        if not isinstance(value, Mapping) or not value:
            findings.add(path, "`any_object` needs a table of conditions on the fields of one object")
            return None
        inner = Table({f"{name}.{key}": one for key, one in value.items()}, path, findings, "`any_object`")
        entries = tuple(entry for key, one in inner.value.items() for entry in _entries(key, one, inner, lists, file))
        return ExceptionEntry(name, "nested", entries=entries, place=place)
    if plain in ("in", "in_net") and isinstance(value, str):
        try:
            found = lists.at(file.parent / value)
        except ValueError as error:
            findings.add(path, str(error))
            return None
        return ExceptionEntry(name, "list", included, value_list=found, of_spans=plain == "in_net", place=place)
    texts = _texts(value, path, findings)
    if not texts:
        return None
    if plain == "in_net":
        inline = lists.inline(texts, file)
        return ExceptionEntry(name, "list", included, value_list=inline, of_spans=True, place=place)
    if plain == "like":
        return ExceptionEntry(name, "wildcard", included, texts, place=place)
    return ExceptionEntry(name, "match" if len(texts) == 1 else "match_any", included, texts, place=place)


def _texts(value: Any, path: KeyPath, findings: Findings) -> tuple[str, ...]:
    """A value, or each of a list, as Kibana has them: texts."""
    found: list[str] = []
    several = value if isinstance(value, list) else [value]
    if not several:
        findings.add(path, "an empty list of values, expected at least one")
    for item in several:
        if isinstance(item, bool):
            found.append("true" if item else "false")
        elif isinstance(item, (datetime, date)):
            found.append(item.isoformat())
        elif isinstance(item, (int, float)):
            found.append(repr(item))
        elif isinstance(item, str) and item:
            found.append(item)
        else:
            message = "an empty value matches nothing that is there" if item == "" else f"found {kind_of(item)}"
            findings.add(path, f"{message}, expected a text, a number, true or false, or a date")
    return tuple(found) if len(found) == len(several) else ()
