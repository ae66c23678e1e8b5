"""`rule-runner alerts except`: an exception made of an alert's own values, and what else it would have removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.text import Text

from runner.analyst.alert_exception import (
    ExceptionDraft,
    ExceptOptions,
    TellingField,
    close_hits,
    draft_exception,
    telling_fields,
    write_draft,
)
from runner.analyst.alert_lookup import only
from runner.analyst.alert_summary import summary
from runner.cli.console import counted, out, print_json, print_table, printable, say, table, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.own_command import runnable, state_flag
from runner.cli.pages.alert_table import alert_table
from runner.cli.wiring import opened_stores
from runner.clock import SystemClock
from runner.rules.model_errors import shortened
from runner.settings.settings import Settings
from runner.store.protocol import StoredAlert

_SHOWN = 20
_LONGEST = 60


def except_alert(settings: Settings, id_: str, wanted: ExceptOptions) -> ExitCode:
    """Write an exception that hits the alert, and show what else it would have removed."""
    return asyncio.run(_except(settings, id_, wanted))


async def _except(settings: Settings, id_: str, wanted: ExceptOptions) -> ExitCode:
    async with opened_stores(settings, writable=wanted.close and not wanted.dry_run) as stores:
        alert = await only(stores.alerts, id_)
        if not wanted.fields:
            return _propose(settings, alert, *await telling_fields(stores, alert))
        draft = await draft_exception(settings, stores, alert, wanted, now=SystemClock().now())
        closed = None
        if not wanted.dry_run:
            write_draft(draft)
            closed = await close_hits(settings, stores, draft) if wanted.close else None
    _report(settings, draft, alert=alert, wanted=wanted)
    if closed is not None and settings.output != "json":
        out().print(f"{counted(len(closed.changed), 'alert')} closed as false positive.")
    problems = (
        () if closed is None else (*closed.rejected.items(), *((one, "it kept changing") for one in closed.conflicts))
    )
    for other, why in problems:
        warn(f"alert {other} was not closed: {why}")
    return ExitCode.FINDINGS if problems else ExitCode.FINE


def _propose(settings: Settings, alert: StoredAlert, rows: Sequence[TellingField], alerts: int) -> ExitCode:
    """Print the fields that an exception could be about, with how many alerts of the rule share the values."""
    if settings.output == "json":
        print_json({"fields": [{"field": row.name, "value": row.text, "alerts": row.alerts} for row in rows]})
        return ExitCode.USAGE
    shown = table("field", "value", f"of {counted(alerts, 'alert')} of the rule", right=("alerts",))
    for row in rows:
        shown.add_row(row.name, Text(printable(shortened(row.text, _LONGEST))), str(row.alerts))
    print_table(shown)
    text = f"rule-runner alerts except {alert.id[:12]} --field FIELD [--also FIELD] --reason TEXT --expires 90d"
    text += state_flag(settings)
    say(runnable(f"name what is excepted: `{text}`"))
    return ExitCode.USAGE


def _report(settings: Settings, draft: ExceptionDraft, *, alert: StoredAlert, wanted: ExceptOptions) -> None:
    new, path, others = draft.new, draft.path, draft.hits
    rest = [one for one in others if one.id != alert.id]
    if settings.output == "json":
        print_json(
            {
                "exception": new.name,
                "file": str(path),
                "written": not wanted.dry_run,
                "text": new.text(),
                "alerts": [summary(one) for one in others],
            }
        )
        return
    console = out()
    console.print(f"{'Would be added to' if wanted.dry_run else 'Added to'} {printable(str(path))}:", soft_wrap=True)
    console.print(Text(printable(new.text().rstrip("\n"), but="\n"), style="cyan"), soft_wrap=True)
    if not rest:
        console.print("It would have removed this alert alone.")
        return
    rules = len({str(one.document.get("kibana.alert.rule.rule_id")) for one in rest})
    console.print(f"It would also have removed {counted(len(rest), 'other alert')} of {counted(rules, 'rule')}:")
    print_table(alert_table(rest[:_SHOWN]))
    if len(rest) > _SHOWN:
        console.print(f"... and {len(rest) - _SHOWN:,} more")
    if not wanted.close:
        say("stored alerts stay as they are; --close closes all of these as false positives")
