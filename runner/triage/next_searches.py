"""Follow-up searches of an alert, as EQL for `rule-runner search` and as KQL for Kibana."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from runner.windows import iso

NEARBY: Final = timedelta(minutes=15)
"""Time searched before the first and after the last event of an alert."""

_EQL_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_KQL_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNSAFE: Final = re.compile(r'[\\"\x00-\x1f\x7f-\x9f\u2028\u2029]')


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A search: its title, its text in both languages, and the command that does it."""

    title: str
    eql: str
    kql: str
    command: str = ""
    """For a shell; "" where no command of `rule-runner` finds it."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition: the field has one of the values."""

    field: str
    values: Sequence[Any]
    """Texts, or numbers and truth values as they are."""


def follow_up(
    title: str, category: str, *, clauses: Sequence[Clause], around: tuple[datetime, datetime] | None
) -> FollowUp:
    """A search for events of a category, or `any`, that meet one of the clauses, `NEARBY` the two times if given."""
    eql = " or ".join(eql_clause(clause) for clause in clauses)
    kql = " or ".join(kql_clause(clause) for clause in clauses)
    if around is not None:
        within = nearby(around)
        if len(clauses) > 1:
            eql, kql = f"({eql})", f"({kql})"
        eql, kql = f"{eql} and {within}", f"{kql} and {within}"
    elif category != "any" and len(clauses) > 1:
        kql = f"({kql})"
    if category != "any":
        kql = f"event.category : {kql_string(category)} and {kql}"
    eql = f"{category} where {eql}"
    return FollowUp(title, eql, kql, search_command(eql))


def nearby(around: tuple[datetime, datetime]) -> str:
    """The condition of both languages that an event lies `NEARBY` the two times."""
    first, last = iso(around[0] - NEARBY), iso(around[1] + NEARBY)
    return f'@timestamp >= "{first}" and @timestamp <= "{last}"'


def search_command(query: str, options: Sequence[str] = ()) -> str:
    """The command line that searches events with a query, in EQL unless the options name a language, for a shell."""
    return " ".join(["rule-runner search", shlex.quote(query), *map(shlex.quote, options)])


def alerts_command(**filters: str) -> str:
    """The command line that lists the alerts of these filters, quoted for a shell."""
    return " ".join(["rule-runner alerts list", *(f"--{name} {shlex.quote(text)}" for name, text in filters.items())])


def eql_literal(value: Any) -> str:
    """The value as a literal of EQL: numbers and truth values as they are, all else as a string."""
    return _plain(value) or eql_string(str(value))


def kql_literal(value: Any) -> str:
    """The value as a literal of KQL: numbers and truth values as they are, all else as a quoted string."""
    return _plain(value) or kql_string(str(value))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else ""


def eql_string(text: str) -> str:
    r"""The text as a string literal of EQL.

    >>> print(eql_string('C:\\temp\n"x"'))
    "C:\\temp\n\"x\""
    """
    return '"' + _UNSAFE.sub(lambda found: _EQL_ESCAPES.get(found[0], f"\\u{{{ord(found[0]):02x}}}"), text) + '"'


def kql_string(text: str) -> str:
    """The text as a quoted string of KQL, in which wildcards are literal."""
    return '"' + _UNSAFE.sub(lambda found: _KQL_ESCAPES.get(found[0], found[0]), text) + '"'


def eql_clause(clause: Clause) -> str:
    if len(clause.values) == 1:
        return f"{clause.field} == {eql_literal(clause.values[0])}"
    return f"{clause.field} in ({', '.join(map(eql_literal, clause.values))})"


def kql_clause(clause: Clause) -> str:
    if len(clause.values) == 1:
        return f"{clause.field} : {kql_literal(clause.values[0])}"
    return f"{clause.field} : ({' or '.join(map(kql_literal, clause.values))})"
