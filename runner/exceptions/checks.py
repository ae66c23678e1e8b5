"""What is doubtful in exceptions, given the rules and a time: `check_exceptions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from runner import eql
from runner.eql.syntax import ast
from runner.eql.syntax.errors import EqlError
from runner.errors import Problem
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.conditions import resolve_items
from runner.exceptions.item import NO_SPAN, ExceptionEntry, ExceptionItem, FilePlace
from runner.exceptions.load import Exceptions
from runner.expressions import nodes
from runner.expressions.mapped_fields import field_for, nested_above
from runner.messages.suggestions import did_you_mean, near_name
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule
from runner.rules.rule_file import RuleFile

SOON = timedelta(days=30)
"""How long before its end an exception is said to expire."""


def check_exceptions(exceptions: Exceptions, rules: Sequence[Rule], at: datetime) -> list[Problem]:
    """Every problem of the exceptions: those found when they were read, and what is wrong or doubtful in the items."""
    check = _Check(exceptions, rules, at)
    return [*exceptions.problems, *(problem for item in exceptions.items for problem in check.item(item))]


def missing_lists(exceptions: Exceptions, sources: Iterable[RuleFile]) -> list[Problem]:
    """A warning for each exception list that a rule refers to and no file of exceptions has an item of.

    The list of Elastic Defend's agents is not missed: they apply it themselves.
    """
    here = {key for item in exceptions.items for key in item.lists}
    found: list[Problem] = []
    for source in sources:
        rule = source.rule
        if rule is None or not rule.enabled:
            continue
        for one in rule.exceptions_list:
            if one.type == "endpoint" or (one.list_id, one.namespace_type) in here:
                continue
            line, column, drawn = source.marks.get("exceptions_list", (0, 0, ""))
            message = (
                f"no file of exceptions has an item of the list `{shortened(one.list_id)}`: what it excepts is found, "
                "too; export it from Kibana into a folder `exceptions` beside the rules, or have it read from there "
                "(RUNNER_KIBANA_EXCEPTIONS=true)"
            )
            problem = Problem(source.path, line, column, "warning", message, rule.rule_id, drawn, code="missing-list")
            found.append(problem)
    return found


class _Check:
    """The rules, by what exceptions name them by, and the fields that are known."""

    def __init__(self, exceptions: Exceptions, rules: Sequence[Rule], at: datetime) -> None:
        self._exceptions, self._rules, self._at = exceptions, rules, at
        self._schema = Schema(shipped_schema().fields, lenient=True)
        self._by_name = {name: rule for rule in rules for name in (rule.name, rule.rule_id)}
        self._tags = {tag for rule in rules for tag in rule.tags}
        self._names = {one.name for rule in rules for one in rule.required_fields}
        self._missing: dict[str, bool] = {}
        for rule in rules:
            if (query := _parsed(rule)) is not None:
                self._names.update(name.name for name in query.names())
                self._missing[rule.rule_id] = _has_missing(query)

    def item(self, item: ExceptionItem) -> Iterator[Problem]:
        yield from self._of_rules(item)
        yield from self._of_time(item)
        yield from self._of_fields(item)
        yield from self._of_entries(item)
        yield from self._of_absences(item)

    # What it is for.

    def _of_rules(self, item: ExceptionItem) -> Iterator[Problem]:
        for name in item.rules:
            if name not in self._by_name and not item.lists:
                yield _warning(
                    item, f"names no rule that is here: `{shortened(name)}`{self._near(name)}", code="exception-rule"
                )
        for tag in item.tags:
            if tag not in self._tags:
                yield _warning(
                    item,
                    f"no rule has the tag `{shortened(tag)}`{did_you_mean(tag, self._tags)}",
                    code="exception-rule",
                )
        if not item.lists:
            return
        referring = {rule.rule_id for rule in self._rules if self._refers(rule, item)}
        named = {rule_id for rule_id in item.rules if rule_id in self._by_name}
        list_id = shortened(item.lists[0][0])
        if not referring and not named:
            yield _warning(
                item, f"no rule that is here refers to its list `{list_id}`: it removes nothing", code="exception-list"
            )
        elif item.rules:
            for rule_id in sorted(named - referring):
                yield _warning(
                    item,
                    f"is for rule {rule_id}, but that rule's `exceptions_list` has no `{list_id}`",
                    code="exception-list",
                )
            for rule_id in sorted(referring - set(item.rules)):
                yield _warning(
                    item,
                    f"rule {rule_id} refers to its list `{list_id}`, but `rule_ids` has it not",
                    code="exception-list",
                )

    def _refers(self, rule: Rule, item: ExceptionItem) -> bool:
        own = {(one.list_id, one.namespace_type) for one in rule.exceptions_list}
        return not (own | self._exceptions.references.get(rule.rule_id, frozenset())).isdisjoint(item.lists)

    def _near(self, name: str) -> str:
        near = near_name(name, self._by_name)
        return "" if near is None else f"; did you mean `{shortened(near)}` ({self._by_name[near].rule_id})?"

    def _of_time(self, item: ExceptionItem) -> Iterator[Problem]:
        if item.expires is None:
            return
        day = item.expires.date().isoformat()
        if item.is_over(self._at):
            yield _warning(item, f"has expired on {day}: it removes nothing", code="exception-expired")
        elif item.expires - self._at < SOON:
            yield _warning(item, f"expires on {day}", code="exception-expires")

    # What it says of events.

    def _of_fields(self, item: ExceptionItem) -> Iterator[Problem]:
        named = {entry.field: entry.place for entry in reversed(tuple(_flat(item.entries)))}
        named |= {one.name: item.place for one in (item.where.names() if item.where else ()) if not one.optional}
        for name, place in named.items():
            if not self._is_known(name):
                near = near_name(name, (*self._names, *self._schema.fields))
                hint = f"; did you mean `{near}`?" if near is not None else ""
                text = f"unknown field `{shortened(name)}`, which neither the field table nor a rule has{hint}"
                yield _warning(item, text, place, code="unknown-field")
        for entry in item.entries:
            if entry.type != "nested" and (above := nested_above(entry.field, self._schema)):
                text = f"`{entry.field}` lies below the nested field `{above}`: only a condition on its objects sees it"
                yield _warning(item, text, entry.place, code="nested-field")
        for refused in resolve_items([item], self._schema).refused:
            yield replace(refused.problem(), severity="error")

    def _is_known(self, name: str) -> bool:
        if name in self._names or self._schema.find(name) is not None:
            return True
        try:
            found = field_for(name, self._schema)
        except ValueError:
            return True
        return found is not None and bool(found.path)

    def _of_entries(self, item: ExceptionItem) -> Iterator[Problem]:
        for entry in _flat(item.entries):
            stars = [value for value in entry.values if not value.strip("*")]
            if entry.type == "wildcard" and stars:
                text = f"`{stars[0]}` fits every value: say that the field exists"
                yield _warning(item, text, entry.place, code="pattern-fits-all")
        if item.entries and not any(entry.included for entry in item.entries) and not item.os:
            names = ", ".join(f"`{entry.field}`" for entry in item.entries)
            text = f"has only negative conditions: it hits every event without {names}"
            yield _warning(item, text, code="exception-too-wide")
        if nodes.Constant(NO_SPAN, True) in resolve_items([item], self._schema).conditions:
            yield _warning(item, "hits every event", code="exception-too-wide")

    def _of_absences(self, item: ExceptionItem) -> Iterator[Problem]:
        if item.scope == "alert":
            return
        for rule in self._rules:
            if self._missing.get(rule.rule_id) and item in self._exceptions.all_for_rule(rule):
                text = f"rule `{shortened(rule.name)}` looks for events that are absent (`![...]`): one that is "
                text += 'excepted counts as absent, which can make alerts; `scope = "alert"` cannot'
                yield _warning(item, text, code="exception-of-absence")


def _warning(item: ExceptionItem, message: str, place: FilePlace | None = None, *, code: str) -> Problem:
    return (place or item.place).problem("warning", f"exception `{shortened(item.name)}`: {message}", code)


def _flat(entries: Iterable[ExceptionEntry]) -> Iterator[ExceptionEntry]:
    for entry in entries:
        yield entry
        yield from _flat(entry.entries)


def _parsed(rule: Rule) -> eql.ParsedQuery | None:
    if rule.language != "eql":
        return None
    try:
        return eql.parse(rule.query)
    except EqlError:
        return None  # a problem of the rule, reported with it


def _has_missing(query: eql.ParsedQuery) -> bool:
    body = query.statement.body
    return isinstance(body, ast.SequenceQuery) and any(term.missing for term in body.terms)
