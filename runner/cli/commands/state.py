"""`rule-runner state`: what the SQLite file holds, and the removal of what is old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from runner.cli.console import counted, out, print_json, say
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import has_cluster
from runner.cli.own_command import state_flag
from runner.clock import SystemClock
from runner.engine.terms.term_table import read_table
from runner.errors import SettingsError, StoreError
from runner.search.term_store import TermRecord
from runner.settings.settings import Settings
from runner.store.sqlite.retention import Contents, Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import from_nanoseconds, iso

T = TypeVar("T")


def show(settings: Settings) -> ExitCode:
    """Print what is in the file, how large it is, and how long it is kept."""

    async def read(store: SqliteStore) -> tuple[Contents, list[dict[str, Any]]]:
        records = (await store.terms.all_terms()).values()
        return await store.contents(), [_terms_of(record) for record in sorted(records, key=lambda one: one.rule_id)]

    found, terms = asyncio.run(_with_store(settings, read, reading=True))
    if settings.output == "json":
        print_json(
            {name: getattr(found, name) for name in ("alerts", "pruned", "runs", "size", "free")} | {"terms": terms}
        )
        return ExitCode.FINE
    kept = {"alerts": settings.keep_alerts, "runs": settings.keep_runs}
    words = {name: "for good" if time is None else f"for {time.days} days" for name, time in kept.items()}
    console = out()
    console.print(f"{settings.state}: {_size(found.size)}, of which {_size(found.free)} are free")
    console.print(f"alerts: {found.alerts:,}, kept {words['alerts']}; {found.pruned:,} older ones have left their ids")
    console.print(f"runs: {found.runs:,}, kept {words['runs']}, of a rule never more than its last 1,000")
    if terms:
        since = min((str(one["since"]) for one in terms if one["since"]), default="the next run on")
        rules = counted(len(terms), "rule")
        count = sum(one["terms"] for one in terms)
        console.print(f"terms: {count:,}, as {rules} of type new_terms saw them from {since} on")
    return ExitCode.FINE


def _terms_of(record: TermRecord) -> dict[str, Any]:
    """What is known of the terms of a rule."""
    try:
        table = read_table(record.table)
    except ValueError:
        return {"rule_id": record.rule_id, "terms": 0, "since": None}
    since = iso(from_nanoseconds(table.covered[0][0])) if table.covered else None
    return {"rule_id": record.rule_id, "terms": table.terms, "since": since}


def prune(settings: Settings) -> ExitCode:
    """Remove what is older than it is kept, and say what that was."""

    async def remove(store: SqliteStore) -> tuple[str, Contents]:
        removed = await store.prune(SystemClock().now())
        left = await store.contents()
        text = f"{counted(removed.alerts, 'alert')} and {counted(removed.runs, 'run')} removed"
        return text + (f"; {counted(removed.excepted, 'excepted event')}, too" if removed.excepted else ""), left

    text, left = asyncio.run(_with_store(settings, remove))
    if settings.keep_alerts is None:
        text += "; alerts are kept for good: --keep-alerts 90d (or RUNNER_KEEP_ALERTS) removes those older than that"
    say(text)
    if left.free and not left.gives_back:
        again = f"`rule-runner state vacuum{state_flag(settings)}`"
        say(f"{_size(left.free)} of {settings.state} are free for new ones: {again} gives them back")
    return ExitCode.FINE


def vacuum(settings: Settings) -> ExitCode:
    """Write the file anew without free space, and say what that gave back."""

    async def shrink(store: SqliteStore) -> tuple[Contents, Contents]:
        before = await store.contents()
        await store.vacuum()
        return before, await store.contents()

    before, after = asyncio.run(_with_store(settings, shrink))
    say(f"{settings.state}: {_size(before.size)} before, {_size(after.size)} now")
    return ExitCode.FINE


async def _with_store(settings: Settings, action: Callable[[SqliteStore], Awaitable[T]], *, reading: bool = False) -> T:
    """What the action returns, for the file that is there."""
    if has_cluster(settings):
        raise SettingsError(
            "alerts and state are in the cluster, where lifecycle policies say how long they are kept (docs/kibana.md)"
        )
    if not settings.state.exists():
        raise StoreError(f"{settings.state}: there is no such file; it is made by the first run that writes alerts")
    kept = Retention(settings.keep_alerts, settings.keep_runs)
    store = SqliteStore(settings.state, must_exist=reading, retention=kept)
    try:
        return await action(store)
    finally:
        await store.close()


def _size(size: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point.

    >>> _size(0), _size(40_960), _size(3_500_000)
    ('0 bytes', '41.0 kB', '3.5 MB')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
