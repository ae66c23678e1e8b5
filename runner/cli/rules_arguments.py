"""The commands of the group `rules`, with their arguments and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from runner.cli import options
from runner.cli.options import read_settings
from runner.cli.shell import completion
from runner.cli.shell.command_form import Commands, PagedCommand

rules = Commands(help="Look at rules: what is in use and why, and what differs between releases.", no_args_is_help=True)

_Texts = list[str] | None


@rules.command("list", cls=PagedCommand)
def list_rules(
    rules: options.RulesOption = None,
    overrides: options.OverridesOption = None,
    tag: Annotated[_Texts, Option(metavar="TAG", help="Only rules with this tag; with all of several.")] = None,
    severity: Annotated[_Texts, Option(metavar="SEVERITY", help="Only rules of this severity, as it is used.")] = None,
    os: Annotated[_Texts, Option("--os", metavar="OS", help="Only rules for linux, macos or windows.")] = None,
    tactic: Annotated[_Texts, Option(metavar="TACTIC", help="Only rules of this tactic: a name or TA0007.")] = None,
    data_source: Annotated[_Texts, Option(metavar="SOURCE", help="Only rules that read this data source.")] = None,
    type_: Annotated[_Texts, Option("--type", metavar="TYPE", help="Only rules of this type, such as eql.")] = None,
    enabled: Annotated[
        bool | None, Option("--enabled/--disabled", help="Only rules that are run, or only those that are not.")
    ] = None,
    select: Annotated[
        _Texts, Option("--select", metavar="EXPR", help="Only rules that the expression selects (docs/selection.md).")
    ] = None,
    output: options.OutputOption = None,
) -> int:
    """List all rules of every type: whether they are run, and if not why not; what overrides change in them."""
    settings = read_settings(rules=rules, overrides=overrides, output=output)
    from runner.cli.commands import rule_list

    wanted = {
        "tag": tag, "severity": severity, "os": os, "tactic": tactic, "data_source": data_source, "type": type_,
    }  # fmt: skip
    return rule_list.list_rules(settings, {key: given for key, given in wanted.items() if given}, select or (), enabled)


@rules.command("show", cls=PagedCommand)
def show_rule(
    rule: Annotated[
        str,
        Argument(
            metavar="ID|NAME|FILE",
            help="The rule's id or how it begins, its name or file.",
            autocompletion=completion.rules,
        ),
    ],
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    output: options.OutputOption = None,
) -> int:
    """Show one rule as it is used: what was changed by which override, its query, the exceptions that apply."""
    settings = read_settings(**options.rule_flags(rules, exceptions, overrides, select), output=output)
    from runner.cli.commands import rule_list

    return rule_list.show_rule(settings, rule)


@rules.command("import")
def import_rules(
    file: Annotated[Path, Argument(metavar="FILE", help="NDJSON: Kibana, Rules, Bulk actions, Export.")],
    to: Annotated[Path, Option("--to", metavar="FOLDER", help="Where to write the files.")] = Path("rules"),
    overwrite: Annotated[bool, Option("--overwrite", help="Also those that are there.")] = False,
    output: options.OutputOption = None,
) -> int:
    """Write the rules of an export from Kibana as rule files, one a rule (docs/migrating.md)."""
    settings = read_settings(output=output)
    from runner.cli.commands import rule_import

    return rule_import.import_rules(settings, file, to, overwrite=overwrite)


@rules.command("diff", cls=PagedCommand)
def diff_rules(
    old: Annotated[str, Argument(metavar="OLD", help="Rules as they were: a file, a folder, a zip or tar file.")],
    new: Annotated[str, Argument(metavar="NEW", help="Rules as they are now.")],
    exit_code: Annotated[bool, Option("--exit-code", help="Exit with 1 if they differ.")] = False,
    output: options.OutputOption = None,
) -> int:
    """Compare two releases, checkouts or folders: what is new, gone, deprecated or changed, with the queries."""
    settings = read_settings(output=output)
    from runner.cli.commands import rule_diff

    return rule_diff.diff_rules(settings, old, new, exit_code=exit_code)


@rules.command("report", cls=PagedCommand)
def report_rules(
    since: Annotated[
        str | None,
        Option(
            "--since", metavar="TIME", help="Only alerts detected since: 7d, yesterday, 2026-03-02 10:00. Not set: all."
        ),
    ] = None,
    rule: options.RuleOption = None,
    state: options.StateOption = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="table|json|csv", help="How to print the result.")
    ] = None,
) -> int:
    """Report on each rule: how many alerts, how many false, what makes the noise, what it costs, what to except."""
    as_csv = output is not None and output.strip().lower() == "csv"
    settings = read_settings(state=state, output=None if as_csv else output)
    from runner.cli.commands import rule_report

    return rule_report.report(settings, since=since, rule=rule, as_csv=as_csv)
