"""The commands of the group `rules`, with their arguments and their help."""

from __future__ import annotations

from typer import Typer

from runner.cli import options
from runner.cli.options import read_settings

rules = Typer(help="Look at rules: what is in use and why, and what differs between releases.", no_args_is_help=True)


@rules.command("list")
def list_rules(
    rules: options.RulesOption = None,
    output: options.OutputOption = None,
) -> int:
    """List all rules, those that are not run with the reason."""
    settings = read_settings(rules=rules, output=output)
    from runner.cli.commands import rule_list

    return rule_list.list_rules(settings)
