"""`rule-runner doctor`: check everything without a change, and print the remedies."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from runner.cli.cluster_wiring import (
    kibana_connection,
    kibana_lists,
    kibana_queries,
    opened_client,
    read_runtime_fields,
    store_names,
)
from runner.cli.console import counted, out, print_json, printable, progress_bar
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import NO_SOURCE, has_cluster, require_rule_paths, rule_sources
from runner.cli.own_command import runnable
from runner.clock import SystemClock
from runner.cluster.elasticsearch import Retry
from runner.cluster.kibana import Kibana
from runner.doctor.checks import Check, CheckResult, RuleName
from runner.doctor.doctor import Examination, check_rules, examine_cluster
from runner.doctor.files import check_files
from runner.doctor.hosts import check_kibana
from runner.doctor.lists import check_lists
from runner.doctor.saved_queries import check_saved_queries, unread_saved_queries
from runner.errors import SettingsError
from runner.file_formats.inner_events import InnerEvents
from runner.rules.load import LoadedRules
from runner.rules.rule import Rule
from runner.rules.saved_queries.saved_query_rules import saved_query_problems
from runner.search.compiled_rule import compile_rules
from runner.search.files.file_search import FileSearch
from runner.service.kibana.kibana_queries import KibanaQueries
from runner.settings.settings import Settings

_STYLES: dict[CheckResult, str] = {"problem": "bold red", "warning": "yellow", "ok": "green"}
_NAMED = 4
"""Most rules listed by name per finding."""
_SHOWN = 4
"""Most checks without a finding shown per kind."""


def doctor(settings: Settings) -> ExitCode:
    """Print all checks. The exit code is FINDINGS if one is a problem, UNREACHABLE if no host answers."""
    if not settings.events and not has_cluster(settings):
        raise SettingsError(NO_SOURCE)
    require_rule_paths(settings)
    loaded = _loaded(settings)
    broken = {problem.rule_id for problem in loaded.errors}
    rules = [rule for rule in loaded.rules if rule.enabled and rule.rule_id not in broken]
    checks = check_rules(loaded)
    reachable = True
    if has_cluster(settings):
        found = asyncio.run(_examined(settings, [] if settings.events else rules))
        checks += found.checks
        reachable = found.is_reachable
    if settings.events:
        checks += _files(settings, rules)
    if settings.kibana_exceptions:
        checks += asyncio.run(_lists(settings, rules))
    if settings.kibana_api is not None and any(rule.type == "saved_query" for rule in rules):
        checks += asyncio.run(_saved_queries(settings, rules))
    if settings.output == "json":
        print_json(_as_json(checks, rules))
    else:
        _print(checks, rules)
    if not reachable:
        return ExitCode.UNREACHABLE
    return ExitCode.FINDINGS if any(check.outcome == "problem" for check in checks) else ExitCode.FINE


def _loaded(settings: Settings) -> LoadedRules:
    """The rules, with the problems of their files and queries."""
    loaded = rule_sources(settings).read().loaded
    compiled, faults = compile_rules(rule for rule in loaded.rules if rule.enabled)
    problems = list(asyncio.run(FileSearch(settings.events).prepare(compiled)))
    if settings.kibana_api is None:
        problems += saved_query_problems((one.rule for one in compiled), loaded.saved.queries)
    return dataclasses.replace(loaded, problems=(*loaded.problems, *faults, *problems))


async def _examined(settings: Settings, rules: Sequence[Rule]) -> Examination:
    """The checks of the cluster, and of Kibana if one is configured."""
    clock = SystemClock()
    mappings = read_runtime_fields(settings.runtime_fields)
    async with opened_client(settings) as client:
        found = await examine_cluster(client, rules, store_names(settings), now=clock.now, runtime_mappings=mappings)
    if settings.kibana_api is None:
        return found
    kibana = Kibana(kibana_connection(settings, settings.kibana_api), space=settings.space, retry=Retry(attempts=1))
    try:
        checks = await check_kibana(kibana, settings.kibana_api)
    finally:
        await kibana.close()
    return dataclasses.replace(found, checks=(*found.checks, *checks))


async def _lists(settings: Settings, rules: Sequence[Rule]) -> list[Check]:
    """The checks of the exception lists in Kibana."""
    lists = kibana_lists(settings)
    try:
        return await check_lists(lists, rules)
    finally:
        await lists.close()


async def _saved_queries(settings: Settings, rules: Sequence[Rule]) -> list[Check]:
    """The checks of the saved queries that rules name."""
    kibana = KibanaQueries(lambda: kibana_queries(settings), SystemClock())
    try:
        return check_saved_queries(await kibana.read(unread_saved_queries(rules)), rules)
    finally:
        await kibana.close()


def _files(settings: Settings, rules: Sequence[Rule]) -> list[Check]:
    size = FileSearch(settings.events).bytes_to_read
    with progress_bar("reading events", size) as advance:
        inner = InnerEvents(settings.unwrap)
        return check_files(settings.events, rules, now=SystemClock().now, progress=advance, inner=inner)


def _as_json(checks: Sequence[Check], rules: Sequence[Rule]) -> dict[str, Any]:
    counts = Counter(check.outcome for check in checks)
    return {
        "outcome": _worst(counts),
        "problems": counts["problem"],
        "warnings": counts["warning"],
        "rules": len(rules),
        "rules_without_problems": len(rules) - len(_hindered(checks, rules)),
        "checks": [dataclasses.asdict(check) for check in checks],
    }


def _worst(counts: Mapping[CheckResult, int]) -> CheckResult:
    return next((outcome for outcome in _STYLES if counts[outcome]), "ok")


def _hindered(checks: Sequence[Check], rules: Sequence[Rule]) -> set[str]:
    """The ids of rules that a problem of their own keeps from finding alerts."""
    named = {rule.rule_id for check in checks if check.outcome == "problem" for rule in check.rules}
    return named.intersection(rule.rule_id for rule in rules)


def _print(checks: Sequence[Check], rules: Sequence[Rule]) -> None:
    console = out()
    counts = Counter(check.outcome for check in checks)
    summary = f"{counted(counts['problem'], 'problem')}, {counted(counts['warning'], 'warning')}, {counts['ok']} fine"
    console.print(Text(f"{counted(len(checks), 'check')}: {summary}", style=_STYLES[_worst(counts)]))
    if hindered := _hindered(checks, rules):
        console.print(f"{counted(len(rules), 'rule')} turned on, {len(hindered):,} of them with a problem of their own")
    for alike in _alike(checks):
        _print_finding(alike, console)
    _print_fine([check for check in checks if check.outcome == "ok"], console)


def _alike(checks: Sequence[Check]) -> list[list[Check]]:
    """The findings, problems first; those that differ in the subject alone are one entry."""
    groups: dict[Check, list[Check]] = {}
    for check in sorted(checks, key=lambda check: check.outcome):
        if check.outcome != "ok":
            groups.setdefault(dataclasses.replace(check, subject=""), []).append(check)
    return list(groups.values())


def _print_finding(alike: Sequence[Check], console: Console) -> None:
    check, subject = alike[0], ", ".join(printable(check.subject) for check in alike)
    head = Text.assemble((check.outcome, _STYLES[check.outcome]), f" {check.name} ", (subject, "bold"))
    console.print(Text("\n") + head, soft_wrap=True)
    console.print(Text(f"  {printable(check.found)}"), soft_wrap=True)
    if check.rules:
        console.print(Text(f"  {counted(len(check.rules), 'rule')}: {_named(check.rules)}"), soft_wrap=True)
    if check.remedy:
        console.print(Text(f"  -> {runnable(check.remedy)}", style="dim"), soft_wrap=True)


def _named(rules: Sequence[RuleName]) -> str:
    """The first few names, and the count of the others."""
    more = len(rules) - _NAMED
    names = ", ".join(printable(rule.name) for rule in rules[:_NAMED])
    return f"{names} and {more} more" if more > 0 else names


def _print_fine(checks: Sequence[Check], console: Console) -> None:
    console.print()
    for name in dict.fromkeys(check.name for check in checks):
        found = [check for check in checks if check.name == name]
        for check in found[:_SHOWN]:
            line = Text.assemble(("ok", "green"), f" {name} {printable(check.subject)}: {printable(check.found)}")
            console.print(line, soft_wrap=True)
        if len(found) > _SHOWN:
            console.print(Text(f"   {name}: {len(found) - _SHOWN} more are fine (all with --output json)", style="dim"))
