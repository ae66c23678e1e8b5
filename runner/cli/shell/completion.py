"""What a shell offers after Tab: words of a choice, ids of rules, ids of alerts.

Nothing is asked of a cluster, nothing is printed, and what cannot be read offers nothing.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from runner.settings.settings import Settings


Offer = tuple[str, str]
"""A word, and what is said of it."""

_HEAD = 16_384
"""Bytes of a rule file that are read: id and name stand before the query in most."""
_FIELD = re.compile(rb"""^\s*(rule_id|name)\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')""", re.MULTILINE)
_MOST = 100
_SHORT_ID = 12


def choice(*words: str) -> Callable[[str], list[str]]:
    """Offers the words that begin as what is typed."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def rules(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offers the ids of rules that begin so, with their names."""
    settings = _settings(ctx)
    if settings is None:
        return []
    offers = (_id_and_name(path) for path in _rule_files(settings))
    return sorted({offer for offer in offers if offer is not None and offer[0].startswith(incomplete)})[:_MOST]


def alerts(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offers the ids of the newest alerts that begin so, of the SQLite file; none of a cluster."""
    settings = _settings(ctx)
    if settings is None or not settings.state.is_file():
        return []
    query = """
        SELECT substr(id, 1, ?), rule_id, host_name FROM alerts
        WHERE id >= ? AND id < ? AND kind != 'building_block' ORDER BY detected DESC, seq DESC LIMIT ?
    """
    try:
        with closing(
            sqlite3.connect(f"{settings.state.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)
        ) as database:
            values = (_SHORT_ID, incomplete, f"{incomplete}\U0010ffff", _MOST)
            rows = database.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
    return [(str(id_), f"{rule} {host}".strip()) for id_, rule, host in rows]


def _settings(ctx: typer.Context) -> Settings | None:
    from runner.errors import RunnerError
    from runner.settings.settings import load_settings

    flags = {name: ctx.params.get(name) for name in ("rules", "state")}
    try:
        return load_settings(flags, environ=os.environ, env_file=Path(".env"))
    except RunnerError:
        return None


def _rule_files(settings: Settings) -> Iterator[Path]:
    from runner.rules.discovery import find_rule_files

    yield from (file.path for file in find_rule_files(settings.rules).files)


def _id_and_name(path: Path) -> Offer | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            found = _fields(head)
            if "rule_id" not in found:
                found = _fields(head + file.read())
    except OSError:
        return None
    return (found["rule_id"], found.get("name", "")) if "rule_id" in found else None


def _fields(text: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for key, double, single in _FIELD.findall(text):
        fields.setdefault(key.decode(), (double or single).decode("utf-8", "replace"))
    return fields
