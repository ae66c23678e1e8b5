"""`rule-runner status`: the status of every rule, and with `--gaps` every span that was not searched."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.text import Text

from runner.analyst.ledger_status import LedgerStatus, read_status
from runner.cli.commands.notify import read_targets, say_owed
from runner.cli.console import (
    STATUS_STYLES,
    counted,
    err,
    is_narrow,
    moment,
    out,
    print_json,
    print_table,
    printable,
    say,
    show_problem,
    table,
    window_text,
)
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, stores_in_cluster, wanted_source
from runner.cli.own_command import runnable
from runner.cli.pages.exception_table import exception_table, exceptions_as_json
from runner.cli.wiring import opened_stores, status_places
from runner.clock import SystemClock
from runner.messages.quantities import length_text
from runner.rules.model_errors import shortened
from runner.schedule.rule_status import Gap, RuleStatus
from runner.selection import SelectedRules
from runner.settings.settings import Settings
from runner.store.protocol import RuleState
from runner.store.source import EventSource
from runner.windows import Window, iso

_LONGEST_REASON = 200
"""Characters of a reason in a table; `--output json` has all of it."""
_NOTES = {
    "enabled": "",
    "disabled": " (disabled)",
    "broken": " (its file has an error)",
    "gone": " (not in the rule files)",
}
_GAP_STYLES = {
    "failed": "bold red",
    "given up": "red",
    "left over": "yellow",
    "late events": "yellow",
    "never searched": "yellow",
}
_NOTHING = timedelta(0)
_SHOWN_QUIET = 3
"""Most rules without news that are shown all the same."""


def status(settings: Settings, *, everything: bool = False) -> ExitCode:
    """Print the status of every rule."""
    require_rule_paths(settings)
    now = SystemClock().now()
    ledgers, others, selected = asyncio.run(_read(settings, now, with_gaps=False))
    if settings.output == "json":
        rules = [_standing_json(one, now) | named for ledger, named in _named(ledgers) for one in ledger.standings]
        exceptions = [one | named for ledger, named in _named(ledgers) for one in exceptions_as_json(ledger.exceptions)]
        targets = asyncio.run(read_targets(settings))
        told = {"notifications": [one.as_json() for one in targets]} if targets else {}
        print_json({"rules": rules, "exceptions": exceptions, **told, **_others_json(others)})
        return ExitCode.FINE
    for ledger in ledgers:
        _print_source(ledger, ledgers)
        _print_standings(ledger.standings, now, everything=everything)
        if ledger.exceptions:
            out().print()
            print_table(exception_table(ledger.exceptions))
    _say_others(others)
    say_owed(asyncio.run(read_targets(settings)))
    if said := selected.summary():
        say(said)
    return ExitCode.FINE


def gaps(settings: Settings) -> ExitCode:
    """Print every span of every rule that was not searched to the end; the exit code is 0 with or without gaps."""
    require_rule_paths(settings)
    now = SystemClock().now()
    ledgers, others, _ = asyncio.run(_read(settings, now, with_gaps=True))
    if settings.output == "json":
        found = [gap for ledger in ledgers for gap in ledger.gaps]
        rules = len({standing.rule_id for ledger in ledgers for standing in ledger.standings})
        totals = {"rules": rules, "owed_s": _seconds(_owed(found)), "given_up_s": _seconds(_given_up(found))}
        shown = [_gap_json(gap) | named for ledger, named in _named(ledgers) for gap in ledger.gaps]
        print_json({"gaps": shown, **totals, **_others_json(others)})
        return ExitCode.FINE
    for ledger in ledgers:
        _print_source(ledger, ledgers)
        _print_gaps(ledger.gaps, _owed(ledger.gaps), _given_up(ledger.gaps), rules=len(ledger.standings))
    _say_others(others)
    return ExitCode.FINE


async def _read(
    settings: Settings, now: datetime, *, with_gaps: bool
) -> tuple[Sequence[LedgerStatus], Sequence[EventSource], SelectedRules]:
    """The status over the source that the settings name, over all sources if they name none; and the others."""
    async with opened_stores(settings) as stores:
        found = await read_status(status_places(settings), stores, now, with_gaps=with_gaps)
    for problem in found.exceptions.problems:
        show_problem(problem, err())
    return found.ledgers, found.others, found.selected


async def read_ledgers(settings: Settings) -> list[Mapping[str, RuleState]]:
    """The states of all rules, of every source that the settings name; none where nothing is stored yet."""
    if not stores_in_cluster(settings) and not settings.state.exists():
        return []
    async with opened_stores(settings) as stores:
        there = await stores.ledgers.sources()
        wanted = wanted_source(settings)
        shown = [source for source in there if wanted is None or source == wanted or source.is_akin(wanted)]
        return [await stores.of(source).ledger.read() for source in shown]


def _named(ledgers: Sequence[LedgerStatus]) -> Iterator[tuple[LedgerStatus, dict[str, str]]]:
    """The ledgers, each with the part of JSON that names its source, if it has a name."""
    for ledger in ledgers:
        yield ledger, {"source": str(ledger.source)} if ledger.source.kind else {}


def _others_json(others: Sequence[EventSource]) -> dict[str, Any]:
    return {"other_sources": [str(source) for source in others]} if others else {}


def _print_source(ledger: LedgerStatus, ledgers: Sequence[LedgerStatus]) -> None:
    if len(ledgers) > 1:
        line_break = "" if ledger is ledgers[0] else "\n"
        out().print(Text(f"{line_break}{printable(str(ledger.source))}:", style="bold"))


def _say_others(others: Sequence[EventSource]) -> None:
    if others:
        shown = "; ".join(printable(str(source)) for source in others[:3]) + ("; ..." if len(others) > 3 else "")
        say(f"not shown: {counted(len(others), 'ledger')} of other events ({shown}); --events shows those of files")


def _owed(found: Sequence[Gap]) -> timedelta:
    return sum((gap.span.length for gap in found if gap.kind != "given up"), _NOTHING)


def _given_up(found: Sequence[Gap]) -> timedelta:
    return sum((gap.span.length for gap in found if gap.kind == "given up"), _NOTHING)


def _standing_json(standing: RuleStatus, now: datetime) -> dict[str, Any]:
    lag, last = standing.lag(now), standing.last
    return {
        "rule_id": standing.rule_id,
        "name": standing.name,
        "enabled": standing.presence == "enabled",
        "presence": standing.presence,
        "last_run": last.as_json() | {"started": iso(last.started)} if last is not None else None,
        "searched_to": iso(standing.searched_to) if standing.searched_to is not None else None,
        "lag_s": _seconds(lag) if lag is not None else None,
        "next_due": iso(standing.next_due) if standing.next_due is not None else None,
        "owed": [_span_json(span) for span in standing.owed],
        "owed_s": _seconds(standing.owed_length),
        "given_up": [_span_json(span) for span in standing.given_up],
        "given_up_s": _seconds(standing.given_up_length),
        "late": [_span_json(span) for span in standing.late],
    }


def _gap_json(gap: Gap) -> dict[str, Any]:
    return {
        "rule_id": gap.rule_id,
        "name": gap.name,
        **_span_json(gap.span),
        "length_s": _seconds(gap.span.length),
        "due_since": iso(gap.due_since) if gap.due_since is not None else None,
        "kind": gap.kind,
        "reason": gap.reason,
    }


def _span_json(span: Window) -> dict[str, str]:
    return {"from": iso(span.start), "to": iso(span.end)}


def _seconds(length: timedelta) -> float:
    return round(length.total_seconds(), 3)


def _has_news(standing: RuleStatus, shared: Counter[str]) -> bool:
    """Whether the rule's last run found something, failed or said something of its own, or the rule owes time."""
    last = standing.last
    if standing.owed or standing.given_up or standing.presence not in ("enabled", "disabled"):
        return True
    return last is not None and bool(last.matches or any(shared[text] < 2 for text in last.messages))


def _order(standing: RuleStatus) -> tuple[bool, bool, int]:
    last = standing.last
    return last is None or last.status != "failed", not standing.owed, 0 if last is None else -last.created


def _print_standings(standings: Sequence[RuleStatus], now: datetime, *, everything: bool) -> None:
    console = out()
    if not standings:
        console.print("No rules.")
        return
    columns = ["rule", "last run (UTC)", "outcome", "lag", "owed", "created"]
    suppressed = ["suppressed"] if any(one.last is not None and one.last.suppressed for one in standings) else []
    columns += [] if is_narrow() else ["known", *suppressed, "over cap", "took", "window (UTC)", "next due (UTC)"]
    shown = table(*columns, right=("lag", "owed", "created", "known", "suppressed", "over cap", "took"))
    shared = Counter(text for standing in standings if standing.last is not None for text in standing.last.messages)
    told = sorted((standing for standing in standings if _has_news(standing, shared)), key=_order)
    others = [standing for standing in standings if standing not in told]
    if everything or len(others) <= _SHOWN_QUIET:
        told, others = [*told, *others], []
    for standing in told:
        shown.add_row(*_cells(standing, now, with_suppressed=bool(suppressed))[: len(columns)])
    if told:
        print_table(shown)
    if others:
        _print_others(others, now, is_all=not told)
    for text, count in shared.items():
        runs = [(one.name, one.last) for one in standings if one.last is not None and text in one.last.messages]
        subject = printable(runs[0][0]) if count == 1 else f"{count} rules"
        style = STATUS_STYLES[runs[0][1].status]
        console.print(Text(f"{subject}: {printable(text)}", style=style), soft_wrap=True)
    if any(standing.owed or standing.given_up for standing in standings):
        owed = sum((standing.owed_length for standing in standings), _NOTHING)
        given_up = sum((standing.given_up_length for standing in standings), _NOTHING)
        lengths = ((owed, "owed"), (given_up, "given up"))
        parts = [f"{length_text(length)} {what}" for length, what in lengths if length]
        text = f"{' and '.join(parts)} over all rules; `rule-runner status --gaps` lists it."
        console.print(runnable(text), soft_wrap=True)
    if late := sum(bool(standing.late) for standing in standings):
        console.print(f"Of {counted(late, 'rule')} time is owed again, as events came late.", soft_wrap=True)


def _print_others(others: Sequence[RuleStatus], now: datetime, *, is_all: bool) -> None:
    """Print one line for the rules without news."""
    subject = counted(len(others), "rule" if is_all else "other rule")
    ran = [standing for standing in others if standing.last is not None]
    lag = max((standing.lag(now) or _NOTHING for standing in ran), default=_NOTHING)
    off = sum(standing.presence == "disabled" for standing in others)
    disabled = f", {off} of them {'is' if off == 1 else 'are'} disabled" if off else ""
    never = f", {len(others) - len(ran)} of them never ran" if len(ran) < len(others) else ""
    since = f", the longest lag is {length_text(lag)}" if ran else ""
    out().print(f"{subject} found nothing{disabled}{never}{since}; --all shows them.", soft_wrap=True)


def _cells(standing: RuleStatus, now: datetime, *, with_suppressed: bool) -> list[Text | str]:
    """The row of a rule, the most important cells first."""
    last, lag = standing.last, standing.lag(now)
    name = Text(standing.name + _NOTES[standing.presence])
    next_due = moment(standing.next_due)
    if last is None:
        return [name, "never", *["-"] * (9 if with_suppressed else 8), next_due]
    gap = standing.owed_length
    return [
        name,
        moment(last.started),
        Text(last.status, style=STATUS_STYLES[last.status]),
        length_text(lag) if lag is not None else "-",
        length_text(gap) if gap else "none",
        *map(str, (last.created, last.duplicates, *((last.suppressed,) if with_suppressed else ()), last.capped)),
        f"{last.took_ms / 1000:.1f}s" if last.took_ms >= 1000 else f"{last.took_ms}ms",
        window_text(last.window),
        next_due,
    ]


def _print_gaps(found: Sequence[Gap], owed: timedelta, given_up: timedelta, *, rules: int) -> None:
    console = out()
    if not found:
        console.print(f"No gaps: all due time of {counted(rules, 'rule')} was searched to the end.")
        return
    columns = ["rule", "from (UTC)", "to (UTC)", "length", "kind", "due since (UTC)", "reason"]
    shown = table(*columns, right=("length",), wrapped=("rule", "reason"))
    for gap in found:
        span, kind = gap.span, Text(gap.kind, style=_GAP_STYLES[gap.kind])
        times = (moment(span.start), moment(span.end), length_text(span.length))
        reason = Text(shortened(gap.reason, _LONGEST_REASON))
        shown.add_row(Text(gap.name), *times, kind, moment(gap.due_since), reason)
    print_table(shown)
    lacking = len({gap.rule_id for gap in found})
    text = f"{counted(len(found), 'gap')} in {lacking} of {counted(rules, 'rule')}: {length_text(owed)} owed"
    console.print(text + (f", {length_text(given_up)} given up." if given_up else "."))
