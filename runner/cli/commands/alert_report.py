"""`rule-runner alerts report --out FILE`: the chosen alerts as one file to mail or attach."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final, cast

from runner.analyst.alert_summary import shown_alerts
from runner.cli.console import counted, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.wiring import opened_stores
from runner.clock import SystemClock
from runner.errors import AccessError, SettingsError
from runner.messages.suggestions import did_you_mean
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter
from runner.web.report import FORMATS, MOST_ALERTS, ReportedAlerts, ReportFormat, gather, report_text
from runner.windows import iso

_BY_ENDING: Final = {".html": "html", ".htm": "html", ".md": "md", ".csv": "csv", ".json": "navigator"}
SHOWN: Final = 100
"""Alerts of which a report has the whole view, if nothing else is said."""


def report(settings: Settings, selected: AlertFilter, to: str | None, form: str | None, *, limit: int) -> ExitCode:
    """Write a report on the alerts that meet the filter."""
    wanted = shown_alerts(selected, False)
    format_ = format_for(to, form)

    async def found() -> ReportedAlerts:
        async with opened_stores(settings) as stores:
            return await gather(stores.alerts, wanted, chosen=filter_text(selected), most=MOST_ALERTS)

    write_report(asyncio.run(found()), to, format_, limit=limit)
    return ExitCode.FINE


def format_for(to: str | None, form: str | None) -> ReportFormat:
    """The format that is named, else that of the file's ending, else HTML. Raises SettingsError."""
    if form is None:
        return cast(ReportFormat, _BY_ENDING.get(Path(to or "").suffix.lower(), "html"))
    name = form.strip().lower()
    if name not in FORMATS:
        raise SettingsError(f"--format {form}: expected {', '.join(FORMATS)}{did_you_mean(name, FORMATS)}")
    return cast(ReportFormat, name)


def write_report(found: ReportedAlerts, to: str | None, form: ReportFormat, *, limit: int = SHOWN) -> None:
    """Write the report to the file, or to standard output without one and for `-`. Raises AccessError."""
    text = report_text(found, form, SystemClock().now(), full=limit).encode("utf-8", "backslashreplace")
    if to in (None, "-"):
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    else:
        assert to is not None
        try:
            Path(to).write_bytes(text)
        except OSError as error:
            raise AccessError(f"{to}: cannot be written: {error.strerror or error}") from None
        say(f"{counted(len(found.alerts), 'alert')} in {to}, {len(text):,} bytes")
    if len(found.alerts) < found.overview.total:
        warn(f"only the newest {len(found.alerts):,} of {counted(found.overview.total, 'alert')} are in the report")
    if not found.overview.is_whole:
        warn("so many alerts had to be looked into for --text that only the newest were: other filters narrow them")


def filter_text(wanted: AlertFilter) -> str:
    """The filter in words."""
    parts = [
        *(f"{name} {value}" for name, value in (("rule", wanted.rule), ("host", wanted.host), ("user", wanted.user),
                                                 ("tag", wanted.tag), ("text", wanted.text)) if value),
        *([f"status {' or '.join(wanted.statuses)}"] if wanted.statuses else []),
        *([f"severity {' or '.join(wanted.severities)}"] if wanted.severities else []),
        *([f"detected since {iso(wanted.since)}"] if wanted.since else []),
        *([f"detected until {iso(wanted.until)}"] if wanted.until else []),
        *([f"events since {iso(wanted.event_since)}"] if wanted.event_since else []),
        *([f"events until {iso(wanted.event_until)}"] if wanted.event_until else []),
    ]  # fmt: skip
    return ", ".join(parts) or "all alerts"
