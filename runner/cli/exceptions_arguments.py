"""The commands of `rule-runner exceptions` with their arguments and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from runner.cli import options
from runner.cli.options import read_moment, read_settings
from runner.cli.shell.command_form import Commands, PagedCommand

exceptions = Commands(help="Look at exceptions: what they removed, what they would remove.", no_args_is_help=True)


@exceptions.command("list", cls=PagedCommand)
def list_exceptions(
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    events: options.EventsOption = None,
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """List all exceptions: whether they are in force, for how many rules, what they removed and when last."""
    flags = options.rule_flags(rules, exceptions, overrides, select)
    settings = read_settings(**flags, events=events, state=state, output=output)
    from runner.cli.commands import exceptions as command

    return command.list_exceptions(settings)


@exceptions.command("preview", cls=PagedCommand)
def preview_exceptions(
    paths: Annotated[
        list[Path] | None,
        Argument(metavar="[PATH]...", help="Files and folders of exceptions to try; default: those that are in force."),
    ] = None,
    events: options.EventsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    rule: options.OnlyRuleOption = None,
    state: options.StateOption = None,
    since: Annotated[
        str | None,
        Option(metavar="TIME", help="From when on: ISO or date math. Default: now-7d; of files all of their time."),
    ] = None,
    until: Annotated[str | None, Option(metavar="TIME", help="Up to when.")] = None,
    stored_only: Annotated[
        bool, Option("--stored-only", help="Look at stored alerts alone; search no events.")
    ] = False,
    output: options.OutputOption = None,
) -> int:
    """Show which stored alerts and which matches exceptions would have removed, before they are in force."""
    rules, rule = options.rule_files(rules, rule)
    flags = options.rule_flags(rules, exceptions, overrides, select)
    settings = read_settings(**flags, events=events, unwrap=unwrap, state=state, output=output)
    from runner.cli.commands import exception_preview

    wanted = exception_preview.PreviewOptions(
        tuple(paths or ()), tuple(rule or ()), read_moment(since, "--since"), read_moment(until, "--until"), stored_only
    )
    return exception_preview.preview_exceptions(settings, wanted)


@exceptions.command("export")
def export_exceptions(
    paths: Annotated[
        list[Path] | None,
        Argument(metavar="[PATH]...", help="Files and folders of exceptions; default: those that are in force."),
    ] = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    out_file: Annotated[
        Path | None, Option("--out", metavar="FILE", help="Where to write; default: standard output.")
    ] = None,
) -> int:
    """Write exceptions as Kibana's lists (NDJSON); exit code 1 if some cannot be said there."""
    settings = read_settings(rules=rules, exceptions=exceptions)
    from runner.cli.commands import exceptions as command

    return command.export_exceptions(settings, paths or [], out_file)
