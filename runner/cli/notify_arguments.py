"""The commands of `rule-runner notify` with their arguments and their help."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from runner.cli import options
from runner.cli.options import read_settings
from runner.cli.shell.command_form import Commands

notify = Commands(help="Whom alerts are sent to: try it, and see what is owed.", no_args_is_help=True)


@notify.command("test")
def test_targets(
    target: Annotated[
        list[str] | None, Argument(metavar="[TARGET]...", help="Names of targets; all of them without.")
    ] = None,
    notifications: options.NotificationsOption = None,
    state: options.StateOption = None,
    rules: options.RulesOption = None,
    output: options.OutputOption = None,
) -> int:
    """Send a test message to each target, and print what became of it; exit code 4 if one did not take it."""
    settings = read_settings(notifications=notifications, state=state, rules=rules, output=output)
    from runner.cli.commands import notify as command

    return command.test(settings, target or [])


@notify.command("status")
def status_of_targets(
    notifications: options.NotificationsOption = None,
    alerts_to: options.AlertsToOption = None,
    state: options.StateOption = None,
    rules: options.RulesOption = None,
    output: options.OutputOption = None,
) -> int:
    """Per target: what was sent, what is owed and since when, and the last error."""
    settings = read_settings(notifications=notifications, alerts_to=alerts_to, state=state, rules=rules, output=output)
    from runner.cli.commands import notify as command

    return command.status(settings)


@notify.command("forget")
def forget_target(
    target: Annotated[str, Argument(metavar="TARGET", help="Its name, as `status` shows it.")],
    state: options.StateOption = None,
    yes: Annotated[bool, Option("--yes", help="Do it; without, only say what would be lost.")] = False,
) -> int:
    """Drop everything that a target is owed, as of one that is gone for good; used again, it begins anew."""
    settings = read_settings(state=state)
    from runner.cli.commands import notify as command

    return command.forget(settings, target, yes=yes)
