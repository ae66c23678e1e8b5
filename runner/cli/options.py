"""The options of several commands, and the settings made of them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from runner.cli.shell import completion
from runner.cli.shell.command_form import config_flag
from runner.errors import SettingsError

if TYPE_CHECKING:
    from runner.settings.settings import Settings

EventsOption = Annotated[
    list[str] | None,
    Option(
        "--events",
        "-e",
        metavar="PATH",
        help="File or folder of events (NDJSON and more, docs/files.md), or - for standard input. May be repeated.",
    ),
]
IndicatorsOption = Annotated[
    list[str] | None,
    Option(
        "--indicators",
        metavar="PATH",
        help="File or folder of threat indicators, for rules of type threat_match (docs/threat_match.md). May be "
        "repeated.",
    ),
]
UnwrapOption = Annotated[
    list[str] | None,
    Option(
        "--unwrap",
        metavar="FIELD",
        help="Where documents of files hold the events as JSON: a field such as message, log or event.original, or "
        "`line` for the end of lines with a prefix. May be repeated.",
    ),
]
RulesOption = Annotated[
    list[str] | None, Option("--rules", "-r", metavar="PATH", help="Rule file or folder. May be repeated.")
]
ExceptionsOption = Annotated[
    list[str] | None,
    Option(
        "--exceptions",
        metavar="PATH",
        help="Files and folders of exceptions; default: `exceptions` beside the rules.",
    ),
]
OverridesOption = Annotated[
    list[str] | None,
    Option(
        "--overrides",
        metavar="FILE|off",
        help="Files that change rules (docs/selection.md); default: `overrides.toml` in and beside the rules' folders.",
    ),
]
SelectOption = Annotated[
    list[str] | None,
    Option(
        "--select",
        metavar="EXPR",
        help="Only these rules: 'os:linux severity:high,critical -tactic:Discovery +id:ID' (docs/selection.md).",
    ),
]
NotificationsOption = Annotated[
    str | None,
    Option(
        "--notifications",
        metavar="FILE|off",
        help="File of notification targets; default: `notifications.toml` beside the state file, or in or beside the "
        "rules' folders.",
    ),
]
AlertsToOption = Annotated[
    str | None,
    Option(
        "--alerts-to",
        metavar="FILE|-",
        help="Append each new alert to FILE as a line of JSON, or write it to standard output.",
    ),
]
StateOption = Annotated[
    str | None, Option("--state", metavar="FILE", help="SQLite file for alerts and state, also if a cluster is set.")
]
NowOption = Annotated[
    str | None,
    Option("--now", metavar="TIME", help="The time to run at (docs/times.md), or `latest` for the newest event read."),
]
WorkersOption = Annotated[
    int | None, Option("--workers", metavar="N", help="How many processes search large event files (1 GiB or more).")
]
ListenOption = Annotated[
    str | None,
    Option("--listen", metavar="HOST:PORT|off", help="Where to serve /metrics, /healthz and /readyz meanwhile."),
]
OnCapOption = Annotated[
    str | None,
    Option(
        "--on-cap",
        metavar="carry|drop",
        help="What happens to matches over a rule's max_signals.",
        autocompletion=completion.choice("carry", "drop"),
    ),
]
AllOption = Annotated[bool, Option("--all", help="Show the rules without news one by one, too.")]
OutputOption = Annotated[
    str | None,
    Option(
        "--output",
        "-o",
        metavar="table|json",
        help="How to print the result.",
        autocompletion=completion.choice("table", "json"),
    ),
]
KeepAlertsOption = Annotated[
    str | None,
    Option("--keep-alerts", metavar="TIME", help="How long alerts are kept after their detection: 90d, or forever."),
]
KeepRunsOption = Annotated[
    str | None,
    Option("--keep-runs", metavar="TIME", help="How long the record of single runs is kept: 30d, or forever."),
]
AlertsAsOption = Annotated[
    str | None,
    Option(
        "--alerts-as",
        metavar="own|external|security",
        help="How alerts are shown in Kibana.",
        autocompletion=completion.choice("own", "external", "security"),
    ),
]
RuleOption = Annotated[
    str | None,
    Option("--rule", metavar="ID|NAME", help="Only alerts of this rule.", autocompletion=completion.rules),
]
OnlyRuleOption = Annotated[
    list[str] | None,
    Option(
        "--rule",
        metavar="ID|NAME|FILE",
        help="Only the rule of this id, name or file. May be repeated.",
        autocompletion=completion.rules,
    ),
]
StatusOption = Annotated[
    list[str] | None,
    Option(
        "--status",
        metavar="open|acknowledged|closed",
        help="Only alerts of this status. May be repeated.",
        autocompletion=completion.choice("open", "acknowledged", "closed"),
    ),
]
SeverityOption = Annotated[
    list[str] | None,
    Option(
        "--severity",
        metavar="low|medium|high|critical",
        help="Only of this severity. May be repeated.",
        autocompletion=completion.choice("low", "medium", "high", "critical"),
    ),
]
UserOption = Annotated[str | None, Option("--user", metavar="NAME", help="Only alerts of this user (name or id).")]
TagOption = Annotated[
    str | None, Option("--tag", metavar="TAG", help="Only alerts with this tag, of the rule or put on the alert.")
]
TextOption = Annotated[
    str | None,
    Option("--text", metavar="TEXT", help="Only with this in the reason, the rule's name or a value of the event."),
]
BlocksOption = Annotated[
    bool,
    Option("--building-blocks", help="Also the single events of sequences, and alerts of building-block rules."),
]
HostOption = Annotated[str | None, Option("--host", metavar="NAME", help="Only alerts of this host (name or id).")]
SinceOption = Annotated[
    str | None,
    Option("--since", metavar="TIME", help="Detected at or after: 1d, yesterday, 2026-03-02 10:00 (docs/times.md)."),
]
UntilOption = Annotated[str | None, Option("--until", metavar="TIME", help="Detected at or before.")]


def read_settings(**flags: Any) -> Settings:
    """The settings of a command. Raises SettingsError."""
    from runner.settings.settings import load_settings

    settings = load_settings(flags, environ=os.environ, env_file=Path(".env"), config_file=config_flag())
    if found := settings.warnings():
        from runner.cli.console import warn

        for text in found:
            warn(text)
    return settings


def rule_flags(
    rules: list[str] | None,
    exceptions: list[str] | None,
    overrides: list[str] | None = None,
    select: list[str] | None = None,
) -> dict[str, list[str] | None]:
    """The flags of the rules and of what goes with them, for `read_settings`."""
    return {"rules": rules, "exceptions": exceptions, "overrides": overrides, "select": select}


def rule_files(rules: list[str] | None, named: list[str] | None) -> tuple[list[str] | None, list[str] | None]:
    """The values of `--rules` and `--rule`: rule files that `--rule` alone names are all that is loaded."""
    if rules is None and named and all(Path(name).exists() for name in named):
        return named, None
    return rules, named


def read_moment(text: str | None, flag: str) -> datetime | None:
    """The time that the value of a flag names; None for None. Raises SettingsError."""
    if text is None:
        return None
    from runner.settings.moments import read_moment

    try:
        return read_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise SettingsError(f"{flag}: {error}") from None
