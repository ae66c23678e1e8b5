"""The commands of `rule-runner config` with their arguments and their help."""

from __future__ import annotations

from runner.cli import options
from runner.cli.options import read_settings
from runner.cli.shell.command_form import Commands, PagedCommand

config = Commands(
    help="The settings in force and where each comes from; the schema of config files.", no_args_is_help=True
)


@config.command("show", cls=PagedCommand)
def show_config(
    events: options.EventsOption = None,
    indicators: options.IndicatorsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    on_cap: options.OnCapOption = None,
    workers: options.WorkersOption = None,
    listen: options.ListenOption = None,
    output: options.OutputOption = None,
) -> int:
    """Show every setting as it is in force, and where it comes from: flag, environment, .env, file or default.

    Secrets are masked. With the flags of another command it shows what that would run with.
    """
    settings = read_settings(
        events=events,
        indicators=indicators,
        unwrap=unwrap,
        **options.rule_flags(rules, exceptions, overrides, select),
        state=state,
        now=now,
        on_cap=on_cap,
        workers=workers,
        listen=listen,
        output=output,
    )
    from runner.cli.commands import config as command

    return command.show(settings)


@config.command("schema")
def show_schema() -> int:
    """Print the JSON schema of config files, for editors: `#:schema FILE` in the first line names it."""
    from runner.cli.commands import config as command

    return command.schema()
