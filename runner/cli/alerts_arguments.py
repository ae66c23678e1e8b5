"""The commands of `rule-runner alerts` with their arguments and their help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Argument, Option

from runner.cli import options
from runner.cli.options import read_moment, read_settings
from runner.cli.rules_arguments import report_rules
from runner.cli.shell import completion
from runner.cli.shell.command_form import Commands, PagedCommand
from runner.errors import SettingsError

if TYPE_CHECKING:
    from runner.cli.commands.verdicts import Chosen
    from runner.store.protocol import AlertFilter

alerts = Commands(help="Look at alerts, and say what they turned out to be.", no_args_is_help=True)

_LENGTH = re.compile(r"\d+[smhdwMy]")

IdsArgument = Annotated[
    list[str] | None,
    Argument(
        metavar="ID",
        help="Ids, or how they begin; without one all that the filters find.",
        autocompletion=completion.alerts,
    ),
]
AlertId = Argument(metavar="ID", help="The alert's id, or how it begins.", autocompletion=completion.alerts)
ReasonOption = Annotated[
    str | None,
    Option(
        "--reason",
        metavar="false-positive|true-positive|duplicate|benign",
        help="What they turned out to be.",
        autocompletion=completion.choice("false-positive", "true-positive", "duplicate", "benign"),
    ),
]
NoteOption = Annotated[str | None, Option("--note", metavar="TEXT", help="A note to keep with them.")]
DryRunOption = Annotated[bool, Option("--dry-run", help="Show the alerts and change nothing.")]
ConfirmOption = Annotated[
    int | None, Option("--confirm", metavar="N", min=0, help="Only go on if the filters find exactly N alerts.")
]
YesOption = Annotated[bool, Option("--yes", "-y", help="On a terminal: do not ask.")]


def _filters(
    rule: options.RuleOption = None,
    host: options.HostOption = None,
    user: options.UserOption = None,
    status: options.StatusOption = None,
    severity: options.SeverityOption = None,
    tag: options.TagOption = None,
    text: options.TextOption = None,
    since: options.SinceOption = None,
    until: options.UntilOption = None,
) -> AlertFilter:
    """The filter of the options. Raises SettingsError."""
    from runner.settings.value_checks import choice_of
    from runner.store.alert_filter import STATUSES, AlertFilter

    def choices(flag: str, values: list[str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(choice_of(*names), values or ()))
        except ValueError as error:
            raise SettingsError(f"{flag} {' '.join(values or ())}: {error}") from None

    return AlertFilter(
        rule=rule,
        host=host,
        user=user,
        statuses=choices("--status", status, STATUSES),
        severities=choices("--severity", severity, ("low", "medium", "high", "critical")),
        tag=tag,
        text=text,
        since=read_moment(since, "--since"),
        until=read_moment(until, "--until"),
    )


def _filtered(command: Callable[..., int]) -> Callable[..., int]:
    """The command with the options of `_filters` in place of its parameter `wanted`, which gets the filter."""
    options_of_it = inspect.signature(_filters).parameters
    hints = get_type_hints(command, include_extras=True, localns={"AlertFilter": Any})
    filter_hints = get_type_hints(_filters, include_extras=True, localns={"AlertFilter": Any})

    def run(**given: Any) -> int:
        wanted = _filters(**{name: given.pop(name) for name in options_of_it})
        return command(wanted=wanted, **given)

    parameters = [
        shown.replace(annotation={**filter_hints, **hints}[shown.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, own in inspect.signature(command).parameters.items()
        for shown in (options_of_it.values() if name == "wanted" else (own,))
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    run.__annotations__ = {shown.name: shown.annotation for shown in parameters}
    return run


@alerts.command("list", cls=PagedCommand)
@_filtered
def list_alerts(
    wanted: AlertFilter,
    state: options.StateOption = None,
    limit: Annotated[int, Option(metavar="N", min=1, help="How many to show at most, the newest.")] = 50,
    building_blocks: options.BlocksOption = False,
    excepted: Annotated[
        bool,
        Option("--excepted", help="The events that exceptions left out, if RUNNER_KEEP_EXCEPTED keeps them."),
    ] = False,
    output: options.OutputOption = None,
) -> int:
    """List alerts, those of the newest events first."""
    settings = read_settings(state=state, output=output)
    if excepted:
        from runner.cli.commands import excepted_events

        return excepted_events.list_excepted(settings, wanted, limit=limit)
    from runner.cli.commands import alerts

    return alerts.list_alerts(settings, wanted, limit=limit, building_blocks=building_blocks)


@alerts.command("show", cls=PagedCommand)
def show_alert(
    id_: Annotated[str, AlertId],
    events: options.EventsOption = None,
    state: options.StateOption = None,
    lookup: Annotated[
        bool,
        Option("--lookup/--no-lookup", help="Look up unknown ancestors and counted events, for 5 seconds at most."),
    ] = True,
    explain: Annotated[
        bool, Option("--explain", help="Instead: why it matched, each event against the rule's query as it was then.")
    ] = False,
    output: options.OutputOption = None,
) -> int:
    """Show one alert for triage: its events in order, process chain, network, host, user, guide, next searches."""
    settings = read_settings(events=events, state=state, output=output)
    from runner.cli.commands import alerts

    if explain:
        from runner.cli.commands import explained_alert

        return explained_alert.explain_alert(settings, id_)
    return alerts.show(settings, id_, lookup=lookup)


@alerts.command("export")
@_filtered
def export_alerts(
    wanted: AlertFilter,
    state: options.StateOption = None,
    out_file: Annotated[
        Path | None, Option("--out", metavar="FILE", help="Where to write; default: standard output.")
    ] = None,
    building_blocks: Annotated[
        bool,
        Option(
            "--building-blocks/--no-building-blocks",
            help="With the single events of sequences, and alerts of building-block rules.",
        ),
    ] = True,
) -> int:
    """Write alerts as NDJSON, one stored document a line, newest detection first."""
    settings = read_settings(state=state)
    from runner.cli.commands import alerts

    return alerts.export(settings, wanted, out_file, building_blocks=building_blocks)


@alerts.command("ack")
@_filtered
def acknowledge_alerts(
    wanted: AlertFilter,
    ids: IdsArgument = None,
    reason: ReasonOption = None,
    note: NoteOption = None,
    building_blocks: options.BlocksOption = False,
    dry_run: DryRunOption = False,
    confirm: ConfirmOption = None,
    yes: YesOption = False,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """Mark alerts as acknowledged: someone is at work on them."""
    settings = read_settings(state=state, output=output)
    from runner.cli.commands import verdicts

    chosen = _chosen(ids, wanted, building_blocks, dry_run=dry_run, confirm=confirm, yes=yes)
    return verdicts.set_status(settings, chosen, "acknowledged", reason=reason, note=note)


@alerts.command("close")
@_filtered
def close_alerts(
    wanted: AlertFilter,
    ids: IdsArgument = None,
    reason: ReasonOption = None,
    note: NoteOption = None,
    building_blocks: options.BlocksOption = False,
    dry_run: DryRunOption = False,
    confirm: ConfirmOption = None,
    yes: YesOption = False,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """Close alerts, and say what they turned out to be."""
    settings = read_settings(state=state, output=output)
    from runner.cli.commands import verdicts

    chosen = _chosen(ids, wanted, building_blocks, dry_run=dry_run, confirm=confirm, yes=yes)
    return verdicts.set_status(settings, chosen, "closed", reason=reason, note=note)


@alerts.command("reopen")
@_filtered
def reopen_alerts(
    wanted: AlertFilter,
    ids: IdsArgument = None,
    note: NoteOption = None,
    building_blocks: options.BlocksOption = False,
    dry_run: DryRunOption = False,
    confirm: ConfirmOption = None,
    yes: YesOption = False,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """Open alerts again; the reason that they were closed for is taken away."""
    settings = read_settings(state=state, output=output)
    from runner.cli.commands import verdicts

    chosen = _chosen(ids, wanted, building_blocks, dry_run=dry_run, confirm=confirm, yes=yes)
    return verdicts.set_status(settings, chosen, "open", note=note)


@alerts.command("assign")
@_filtered
def assign_alerts(
    wanted: AlertFilter,
    to: Annotated[list[str], Option("--to", metavar="USER", help='Who they are for; "" for no one. May be repeated.')],
    ids: IdsArgument = None,
    building_blocks: options.BlocksOption = False,
    dry_run: DryRunOption = False,
    confirm: ConfirmOption = None,
    yes: YesOption = False,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """Give alerts to someone, in place of those who had them."""
    settings = read_settings(state=state, output=output)
    from runner.cli.commands import verdicts

    chosen = _chosen(ids, wanted, building_blocks, dry_run=dry_run, confirm=confirm, yes=yes)
    return verdicts.assign(settings, chosen, to)


@alerts.command("tag")
@_filtered
def tag_alerts(
    wanted: AlertFilter,
    ids: IdsArgument = None,
    add: Annotated[list[str] | None, Option("--add", metavar="TAG", help="A tag to add. May be repeated.")] = None,
    remove: Annotated[
        list[str] | None, Option("--remove", metavar="TAG", help="A tag to take away. May be repeated.")
    ] = None,
    building_blocks: options.BlocksOption = False,
    dry_run: DryRunOption = False,
    confirm: ConfirmOption = None,
    yes: YesOption = False,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """Add tags to alerts, or take them away."""
    settings = read_settings(state=state, output=output)
    from runner.cli.commands import verdicts

    chosen = _chosen(ids, wanted, building_blocks, dry_run=dry_run, confirm=confirm, yes=yes)
    return verdicts.tag(settings, chosen, add or (), remove or ())


@alerts.command("except")
def except_alert(
    id_: Annotated[str, AlertId],
    field: Annotated[
        str | None,
        Option("--field", metavar="FIELD[=VALUE]", help="The field whose value is excepted; without it a choice."),
    ] = None,
    also: Annotated[
        list[str] | None,
        Option("--also", metavar="FIELD[=VALUE]", help="A further field that has to fit. May be repeated."),
    ] = None,
    reason: Annotated[str | None, Option("--reason", metavar="TEXT", help="Why it is no alert.")] = None,
    expires: Annotated[
        str | None, Option("--expires", metavar="TIME", help="Up to when: 90d, a date, or never.")
    ] = None,
    name: Annotated[str | None, Option("--name", metavar="TEXT", help="Default: rule and value.")] = None,
    all_rules: Annotated[bool, Option("--all-rules", help="For all rules, not for the alert's rule alone.")] = False,
    scope: Annotated[
        str, Option("--scope", metavar="event|alert", help="Leave out the event (as Kibana), or the finished alert.")
    ] = "event",
    to: Annotated[
        Path | None,
        Option("--to", metavar="FILE", help="Default: a file for the rule in the folder `exceptions`."),
    ] = None,
    close: Annotated[bool, Option("--close", help="Close the alerts that it hits, as false positives.")] = False,
    dry_run: DryRunOption = False,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """Make an exception of an alert's values, show which other alerts it would have removed, close them if asked."""
    if scope not in ("event", "alert"):
        raise SettingsError(f"--scope {scope}: expected event or alert")
    settings = read_settings(rules=rules, exceptions=exceptions, state=state, output=output)
    from runner.analyst.alert_exception import ExceptOptions
    from runner.cli.commands import alert_exception

    fields = tuple(filter(None, (field, *(also or ()))))
    wanted = ExceptOptions(fields, reason, expires, name, all_rules, scope, to, close=close, dry_run=dry_run)
    return alert_exception.except_alert(settings, id_, wanted)


@alerts.command("report")
def report_alerts(
    rule: options.RuleOption = None,
    host: options.HostOption = None,
    user: options.UserOption = None,
    status: options.StatusOption = None,
    severity: options.SeverityOption = None,
    tag: options.TagOption = None,
    text: options.TextOption = None,
    since: Annotated[
        str | None, Option("--since", metavar="TIME", help="Detected at or after: 7d, an ISO time or date math.")
    ] = None,
    until: options.UntilOption = None,
    out_file: Annotated[
        str | None, Option("--out", metavar="FILE", help="Write a report on the alerts to this file, or to - .")
    ] = None,
    form: Annotated[
        str | None, Option("--format", metavar="html|md|csv|navigator", help="Its format; default: by FILE, or html.")
    ] = None,
    limit: Annotated[
        int, Option(metavar="N", min=0, help="Of how many alerts, the newest, the report has the whole view.")
    ] = 100,
    state: options.StateOption = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="table|json|csv", help="Of the report on rules: how to print it.")
    ] = None,
) -> int:
    """Write a report on alerts as one file, with --out or --format; without them print the report on rules.

    The file needs nothing else: to mail, to attach, to keep.
    """
    if out_file is None and form is None:
        if any(given for given in (host, user, status, severity, tag, text, until)):
            raise SettingsError("these filters are for a report on alerts: name a file with --out, or a --format")
        return report_rules(since=since, rule=rule, state=state, output=output)
    if since is not None and _LENGTH.fullmatch(since):
        since = f"now-{since}"
    wanted = _filters(rule, host, user, status, severity, tag, text, since, until)
    settings = read_settings(state=state)
    from runner.cli.commands import alert_report

    return alert_report.report(settings, wanted, out_file, form, limit=limit)


def _chosen(
    ids: list[str] | None, wanted: AlertFilter, blocks: bool, *, dry_run: bool, confirm: int | None, yes: bool
) -> Chosen:
    from runner.cli.commands.verdicts import Chosen

    return Chosen(tuple(ids or ()), wanted, blocks, dry_run, confirm, is_asked=not yes)
