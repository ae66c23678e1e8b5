"""`rule-runner rules list`: every rule, and what applies to it."""

from __future__ import annotations

from runner.cli.console import print_json, print_table, table
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, require_rules, rule_sources
from runner.settings.settings import Settings


def list_rules(settings: Settings) -> ExitCode:
    """Print all rules."""
    require_rule_paths(settings)
    loaded = rule_sources(settings).read().loaded
    require_rules(loaded, settings)
    rows = [*loaded.rules, *loaded.unsupported, *loaded.deprecated]
    if settings.output == "json":
        print_json({"rules": [{"rule_id": rule.rule_id, "name": rule.name, "type": rule.type} for rule in rows]})
        return ExitCode.FINE
    shown = table("id", "name", "type", "severity")
    for rule in rows:
        shown.add_row(rule.rule_id, rule.name, rule.type, rule.severity)
    print_table(shown)
    return ExitCode.FINE
