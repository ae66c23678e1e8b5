"""`rule-runner exceptions list|export`: the exceptions that there are, and the same for Kibana."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.cli.commands.status import read_ledgers
from runner.cli.console import counted, err, out, print_json, print_table, printable, say, show_problem, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_exceptions, require_rule_paths, rule_sources
from runner.cli.pages.exception_table import exception_table, exceptions_as_json
from runner.cli.wiring import known_exceptions
from runner.clock import SystemClock
from runner.errors import AccessError
from runner.exceptions import Exceptions, load_exceptions
from runner.exceptions.kibana_export import KibanaExport, kibana_export
from runner.json_text import write_json
from runner.schedule.exception_status import exception_statuses
from runner.settings.settings import Settings
from runner.store.protocol import RuleState


def list_exceptions(settings: Settings) -> ExitCode:
    """Print every exception with what it removed; FINDINGS if a file is broken."""
    require_rule_paths(settings)
    sources = rule_sources(settings)
    loaded = sources.read().loaded
    found = asyncio.run(known_exceptions(settings, loaded.rules))
    now = SystemClock().now()
    states = asyncio.run(read_ledgers(settings))
    statuses = exception_statuses(found, loaded.known, _merged(states), now)
    _show(found)
    if settings.output == "json":
        print_json({"exceptions": exceptions_as_json(statuses)})
    elif statuses:
        print_table(exception_table(statuses))
    else:
        places = ", ".join(map(str, sources.exception_paths())) or "a folder `exceptions` beside the rules"
        out().print(f"No exceptions in {printable(places)}.", soft_wrap=True)
    return ExitCode.FINDINGS if any(one.severity == "error" for one in found.problems) else ExitCode.FINE


def export_exceptions(settings: Settings, paths: Sequence[Path], to: Path | None) -> ExitCode:
    """Write exceptions as the lines of a Kibana export; FINDINGS if one cannot be said there."""
    if not paths:
        require_rule_paths(settings)
    found = load_exceptions(require_exceptions(settings, paths))
    _show(found)
    export = kibana_export(found.items)
    data = b"".join(write_json(line) + b"\n" for line in export.lines)
    if to is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        try:
            to.write_bytes(data)
        except OSError as error:
            raise AccessError(f"{to}: cannot be written: {error.strerror or error}") from None
    _say(export)
    broken = any(one.severity == "error" for one in found.problems)
    return ExitCode.FINDINGS if export.refused or broken else ExitCode.FINE


def _say(export: KibanaExport) -> None:
    count = sum(line.get("type") == "simple" for line in export.lines)
    say(f"{counted(count, 'item')} in {counted(len(export.lists), 'list')}")
    for list_id, rules in export.lists.items():
        if rules:
            say(f"the `exceptions_list` of {', '.join(rules)} has to name {list_id} (type detection, namespace single)")
    for name in export.value_lists:
        say(f"the value list {name} is not part of an export: import its file in Kibana, under this name")
    for item, why in export.refused:
        warn(f"exception `{item.name}` ({item.place.file}:{item.place.line}) cannot be said in Kibana: {why}")


def _show(found: Exceptions) -> None:
    for problem in found.problems:
        show_problem(problem, err())


def _merged(states: Sequence[Mapping[str, RuleState]]) -> dict[str, RuleState]:
    """The states of all sources, each under a key of its own."""
    return {f"{number}:{rule_id}": state for number, one in enumerate(states) for rule_id, state in one.items()}
