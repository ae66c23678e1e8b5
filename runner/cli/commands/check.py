"""`rule-runner check`: load and compile rules, and show everything that is wrong with them."""

from __future__ import annotations

import asyncio
from collections import Counter

from runner.cli.console import counted, out, print_json, show_problem
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, require_rules, rule_sources
from runner.errors import Problem
from runner.rules.load import LoadedRules
from runner.search.compiled_rule import compile_rules
from runner.search.files.file_search import FileSearch
from runner.selection import SelectedRules, check_overrides
from runner.settings.settings import Settings


def check(settings: Settings) -> ExitCode:
    """Print every problem of the rules; FINDINGS if one of them is an error."""
    require_rule_paths(settings)
    selected = rule_sources(settings).read()
    loaded = selected.loaded
    compiled, faults = compile_rules(loaded.rules)
    problems = [*loaded.problems, *_doubts(selected, settings), *faults, *asyncio.run(FileSearch(()).prepare(compiled))]
    problems.sort(key=lambda problem: (str(problem.file), problem.line, problem.column))
    if settings.output == "json":
        print_json(
            {"files": loaded.files, "rules": len(loaded.known), "problems": [_as_json(problem) for problem in problems]}
        )
    else:
        _print(loaded, problems)
    require_rules(loaded, settings)
    return ExitCode.FINDINGS if any(problem.severity == "error" for problem in problems) else ExitCode.FINE


def _doubts(selected: SelectedRules, settings: Settings) -> list[Problem]:
    """What is doubtful in the overrides; nothing for single files, as their overrides are for others as well."""
    return check_overrides(selected) if any(path.is_dir() for path in settings.rules) else []


def _as_json(problem: Problem) -> dict[str, object]:
    return {
        "file": str(problem.file),
        "line": problem.line,
        "column": problem.column,
        "rule_id": problem.rule_id,
        "severity": problem.severity,
        "message": problem.text,
    }


def _print(loaded: LoadedRules, problems: list[Problem]) -> None:
    console = out()
    for problem in problems:
        show_problem(problem, console)
    counts = Counter(problem.severity for problem in problems)
    parts = (counted(counts["error"], "error"), counted(counts["warning"], "warning"))
    console.print(f"{counted(loaded.files, 'file')}, {counted(len(loaded.rules), 'EQL rule')}: {', '.join(parts)}")
    if loaded.deprecated:
        console.print(f"{counted(len(loaded.deprecated), 'deprecated rule')}, which no run searches for")
    if loaded.unsupported:
        kinds = Counter(rule.type for rule in loaded.unsupported)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        console.print(
            f"{counted(len(loaded.unsupported), 'rule')} of other types, which are not supported yet: {listed}"
        )
