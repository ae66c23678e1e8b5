"""`rule-runner check`: load and compile rules, and show everything that is wrong with them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from runner.cli.console import counted, out, print_json, print_table, show_problem
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, require_rules, rule_sources
from runner.cli.pages.type_table import BrokenRules, type_table
from runner.clock import SystemClock
from runner.errors import Problem
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions import Exceptions, check_exceptions, load_exceptions, missing_lists
from runner.rules.load import LoadedRules, is_supported
from runner.rules.saved_queries.saved_query_rules import saved_query_problems
from runner.search.cluster.request_body import has_filters
from runner.search.compiled_rule import CompiledRule, compile_rules, query_doubts
from runner.search.files.file_search import FileSearch
from runner.search.files.local_program import local_program
from runner.search.suppression_checks import suppression_problems
from runner.search.threshold_checks import threshold_problems
from runner.selection import SelectedRules, check_overrides
from runner.settings.settings import Settings


def check(settings: Settings) -> ExitCode:
    """Print every problem of the rules; FINDINGS if one of them is an error."""
    require_rule_paths(settings)
    selected = replace(rule_sources(settings), place=None).read()
    loaded = selected.loaded
    compiled, faults = compile_rules(loaded.rules)
    exceptions = load_exceptions(rule_sources(settings).exception_paths())
    doubts = [*_doubts(selected, settings), *_exception_problems(exceptions, selected, settings)]
    if not settings.kibana_exceptions:
        doubts += missing_lists(exceptions, loaded.sources)
    if settings.kibana_api is None:
        doubts += saved_query_problems(loaded.rules, loaded.saved.queries)
    unfit = asyncio.run(FileSearch(()).prepare(compiled))
    unfiltered = _not_over_files(compiled, {str(problem) for problem in unfit})
    problems = [*loaded.problems, *doubts, *faults, *unfit, *unfiltered]
    problems += [problem for one in compiled for problem in suppression_problems(one, shipped_schema())]
    problems += [problem for one in compiled for problem in query_doubts(one)]
    problems += [problem for one in compiled for problem in threshold_problems(one, shipped_schema())]
    problems.sort(key=lambda problem: (str(problem.file), problem.line, problem.column))
    if settings.output == "json":
        counts = {"files": loaded.files, "rules": len(loaded.known)}
        counts |= {"exceptions": len(exceptions.items)} if exceptions.items else {}
        print_json({**counts, "problems": [_as_json(problem) for problem in problems]})
    else:
        _print(loaded, exceptions, problems)
        broken = BrokenRules(_with_errors([*faults, *unfit]), {str(one.rule_id) for one in unfiltered})
        _print_types(loaded, broken)
    require_rules(loaded, settings)
    return ExitCode.FINDINGS if any(problem.severity == "error" for problem in problems) else ExitCode.FINE


def _not_over_files(compiled: Sequence[CompiledRule], told: Collection[str]) -> list[Problem]:
    """Warnings of rules that a filter keeps from running over files; without those that are `told` already."""
    found: list[Problem] = []
    schema = Schema(shipped_schema().fields, lenient=True)
    for one in compiled:
        if one.is_local and has_filters(one.rule) and (program := one.resolved(schema)[0]) is not None:
            _, problems = local_program(one, program, [], schema)
            found += [replace(problem, severity="warning") for problem in problems if str(problem) not in told]
    return found


def _with_errors(problems: Iterable[Problem]) -> set[str]:
    return {problem.rule_id for problem in problems if problem.severity == "error" and problem.rule_id}


def _print_types(loaded: LoadedRules, broken: BrokenRules) -> None:
    """The rules by type, if they are of several, with where they run."""
    rules = (*loaded.rules, *loaded.unsupported)
    if len({rule.type for rule in rules}) > 1:
        out().print()
        print_table(type_table(rules, broken))


def _doubts(selected: SelectedRules, settings: Settings) -> list[Problem]:
    """What is doubtful in the overrides; nothing for single files, as their overrides are for others as well."""
    return check_overrides(selected) if any(path.is_dir() for path in settings.rules) else []


def _exception_problems(exceptions: Exceptions, selected: SelectedRules, settings: Settings) -> Sequence[Problem]:
    """What is wrong or doubtful in the exceptions; of single files only the former, as they are for others as well."""
    if not any(path.is_dir() for path in settings.rules) and not settings.exceptions:
        return exceptions.problems
    return check_exceptions(exceptions, selected.loaded.known, SystemClock().now())


def _as_json(problem: Problem) -> dict[str, object]:
    return {
        "file": str(problem.file),
        "line": problem.line,
        "column": problem.column,
        "rule_id": problem.rule_id,
        "severity": problem.severity,
        "message": problem.text,
    }


def _print(loaded: LoadedRules, exceptions: Exceptions, problems: list[Problem]) -> None:
    console = out()
    for problem in problems:
        show_problem(problem, console)
    counts = Counter(problem.severity for problem in problems)
    parts = (counted(counts["error"], "error"), counted(counts["warning"], "warning"))
    read = [counted(loaded.files, "file"), counted(len(loaded.rules), "rule")]
    read += [counted(len(exceptions.items), "exception")] if exceptions.items or exceptions.problems else []
    console.print(f"{', '.join(read)}: {', '.join(parts)}")
    if loaded.deprecated:
        console.print(f"{counted(len(loaded.deprecated), 'deprecated rule')}, which no run searches for")
    if bound := Counter(rule.type for rule in loaded.rules if not is_supported(rule, "files")):
        listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(bound.items()))
        console.print(f"{counted(bound.total(), 'rule')} that run in a cluster only, not over files: {listed}")
    if loaded.unsupported:
        kinds = Counter(rule.type for rule in loaded.unsupported)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        console.print(
            f"{counted(len(loaded.unsupported), 'rule')} of other types, which are not supported yet: {listed}"
        )
