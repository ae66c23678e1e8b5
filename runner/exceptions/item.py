"""`ExceptionItem`: what is no alert although a rule finds it; and what it is made of.

An item is a conjunction of entries, which are those of Kibana's exception lists, or a condition in EQL.
https://www.elastic.co/docs/solutions/security/detect-and-alert/add-manage-exceptions
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from runner import eql
from runner.errors import Problem, Severity
from runner.messages.text_positions import Span

EntryType: TypeAlias = Literal["match", "match_any", "wildcard", "exists", "list", "nested"]
ExceptionScope: TypeAlias = Literal["event", "alert"]
NO_SPAN = Span(0, 0)


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where something stands in a file, with a picture of the line; lines and columns count from 1."""

    file: Path = Path()
    line: int = 0
    column: int = 0
    picture: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)

    def problem(self, severity: Severity, message: str, code: str = "wrong-value") -> Problem:
        return Problem(self.file, self.line, self.column, severity, message, picture=self.picture, code=code)


@dataclass(frozen=True, eq=False, slots=True)
class ValueList:
    """The values of a file, one a line; equal only to itself. `id` is the file's name."""

    id: str
    path: Path
    values: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, eq=False, slots=True)
class ExceptionEntry:
    """One condition on a field; `included` False: its opposite.

    `values` are texts, whatever the field's type: one of match and wildcard, one or more of match_any. Those of a list
    stand in `value_list`; the fields of the `entries` of a nested one have their full names.
    """

    field: str
    type: EntryType
    included: bool = True
    values: tuple[str, ...] = ()
    value_list: ValueList | None = None
    of_spans: bool = False
    """The values of the list are addresses, blocks and `from-to`."""
    entries: tuple[ExceptionEntry, ...] = ()
    any_case: bool = False
    place: FilePlace = FilePlace()


@dataclass(frozen=True, eq=False, slots=True)
class ExceptionItem:
    """One exception, and the rules that it is for; equal only to itself.

    `entries` must all hold, or `where` does. `expires` is the first moment at which it no longer applies. Of `rules`
    (ids or names), `tags` and `lists` (that a rule refers to) one has to fit, or it is for `all_rules`.
    """

    id: str
    """Unique among all items: the name, or the list's and the item's ids."""
    name: str
    reason: str = ""
    owner: str = ""
    expires: datetime | None = None
    rules: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    all_rules: bool = False
    lists: tuple[tuple[str, str], ...] = ()
    """Pairs of `list_id` and `namespace_type`."""
    os: tuple[str, ...] = ()
    entries: tuple[ExceptionEntry, ...] = ()
    where: eql.ParsedQuery | None = None
    where_text: str = ""
    scope: ExceptionScope = "event"
    place: FilePlace = FilePlace()

    def is_over(self, at: datetime) -> bool:
        """Whether it has expired for a run that starts at a time."""
        return self.expires is not None and self.expires < at

    def names(self) -> tuple[str, ...]:
        """The fields that the item reads, those for its operating systems among them."""
        found = [name for entry in self.entries for name in _names_of(entry)]
        found += [name.name for name in self.where.names()] if self.where is not None else []
        return tuple(dict.fromkeys((*found, *(OS_FIELDS if self.os else ()))))


OS_FIELDS = ("host.os.type", "host.os.name.caseless")
"""An event is of an operating system if one of them says so."""


def _names_of(entry: ExceptionEntry) -> tuple[str, ...]:
    return (entry.field, *(name for inner in entry.entries for name in _names_of(inner)))
