"""The commands about the state file, with their arguments; see `runner.cli.arguments`."""

from __future__ import annotations

from runner.cli import options
from runner.cli.options import read_settings
from runner.cli.shell.command_form import Commands

state_file = Commands(
    help="The SQLite file of alerts and state: its size, and what is old in it.", no_args_is_help=True
)


@state_file.command("show")
def show_state(
    state: options.StateOption = None,
    output: options.OutputOption = None,
) -> int:
    """What is in the file, and how large it is."""
    settings = read_settings(state=state, output=output)
    from runner.cli.commands import state as command

    return command.show(settings)


@state_file.command("prune")
def prune_state(
    state: options.StateOption = None,
    keep_alerts: options.KeepAlertsOption = None,
    keep_runs: options.KeepRunsOption = None,
) -> int:
    """Remove the documents of alerts, and runs, that are older; `run` and `once` do it by themselves.

    The ids of the alerts stay, so that none is created again.
    """
    settings = read_settings(state=state, keep_alerts=keep_alerts, keep_runs=keep_runs)
    from runner.cli.commands import state as command

    return command.prune(settings)


@state_file.command("vacuum")
def vacuum_state(state: options.StateOption = None) -> int:
    """Write the file anew without free space; what runs beside it waits meanwhile."""
    settings = read_settings(state=state)
    from runner.cli.commands import state as command

    return command.vacuum(settings)
