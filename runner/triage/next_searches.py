"""Follow-up searches of an alert, as EQL for `rule-runner search` and as KQL for Kibana."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runner.windows import iso

NEARBY: Final = timedelta(minutes=15)
"""Time searched before the first and after the last event of an alert."""

_EQL_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_KQL_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNSAFE: Final = re.compile(r'[\\"\x00-\x1f\x7f-\x9f\u2028\u2029]')


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A search: its title, and its text in both languages."""

    title: str
    eql: str
    kql: str


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition: the field has one of the values."""

    field: str
    values: Sequence[str]


def follow_up(
    title: str, category: str, *, clauses: Sequence[Clause], around: tuple[datetime, datetime] | None
) -> FollowUp:
    """A search for events of a category, or `any`, that meet one of the clauses, `NEARBY` the two times if given."""
    eql = " or ".join(_eql_clause(clause) for clause in clauses)
    kql = " or ".join(_kql_clause(clause) for clause in clauses)
    if around is not None:
        first, last = iso(around[0] - NEARBY), iso(around[1] + NEARBY)
        within = f'@timestamp >= "{first}" and @timestamp <= "{last}"'
        if len(clauses) > 1:
            eql, kql = f"({eql})", f"({kql})"
        eql, kql = f"{eql} and {within}", f"{kql} and {within}"
    elif category != "any" and len(clauses) > 1:
        kql = f"({kql})"
    if category != "any":
        kql = f"event.category : {kql_string(category)} and {kql}"
    return FollowUp(title, f"{category} where {eql}", kql)


def eql_string(text: str) -> str:
    r"""The text as a string literal of EQL.

    >>> print(eql_string('C:\\temp\n"x"'))
    "C:\\temp\n\"x\""
    """
    return '"' + _UNSAFE.sub(lambda found: _EQL_ESCAPES.get(found[0], f"\\u{{{ord(found[0]):02x}}}"), text) + '"'


def kql_string(text: str) -> str:
    """The text as a quoted string of KQL, in which wildcards are literal."""
    return '"' + _UNSAFE.sub(lambda found: _KQL_ESCAPES.get(found[0], found[0]), text) + '"'


def _eql_clause(clause: Clause) -> str:
    if len(clause.values) == 1:
        return f"{clause.field} == {eql_string(clause.values[0])}"
    return f"{clause.field} in ({', '.join(map(eql_string, clause.values))})"


def _kql_clause(clause: Clause) -> str:
    if len(clause.values) == 1:
        return f"{clause.field} : {kql_string(clause.values[0])}"
    return f"{clause.field} : ({' or '.join(map(kql_string, clause.values))})"
