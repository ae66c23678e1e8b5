"""The exceptions as a table and as JSON: what each is for, when it ends, and what it has removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from runner.cli.console import is_narrow, moment, printable, table
from runner.schedule.exception_status import ExceptionStatus
from runner.windows import iso

_STYLES = {"active": "green", "expired": "yellow", "no rule": "yellow", "refused": "red",
           "unread": "yellow", "gone": "dim"}  # fmt: skip


def exception_table(statuses: Iterable[ExceptionStatus]) -> Table:
    """One row per exception."""
    columns = ["exception", "state", "removed", "last event (UTC)", "rules", "expires (UTC)"]
    columns += [] if is_narrow() else ["scope", "file"]
    shown = table(*columns, right=("removed", "rules"), wrapped=("exception",))
    for one in statuses:
        item = one.item
        cells: list[Text | str] = [
            Text(printable(one.name)),
            Text(one.state, style=_STYLES[one.state]),
            f"{one.events:,}",
            moment(one.newest),
            str(one.rules),
            "-" if item is None else "never" if item.expires is None else moment(item.expires),
            "-" if item is None else item.scope,
            "-" if item is None else printable(str(item.place)),
        ]
        shown.add_row(*cells[: len(columns)])
    return shown


def exceptions_as_json(statuses: Sequence[ExceptionStatus]) -> list[dict[str, Any]]:
    """The objects that `--output json` prints."""
    return [_as_json(one) for one in statuses]


def _as_json(one: ExceptionStatus) -> dict[str, Any]:
    item = one.item
    about: dict[str, Any] = {
        "exception": one.id,
        "name": one.name,
        "state": one.state,
        "events": one.events,
        "newest": None if one.newest is None else iso(one.newest),
        "rules": one.rules,
    }
    if item is not None:
        about |= {
            "reason": item.reason,
            "owner": item.owner,
            "expires": None if item.expires is None else iso(item.expires),
            "scope": item.scope,
            "file": str(item.place.file),
            "line": item.place.line,
        }
    return about
