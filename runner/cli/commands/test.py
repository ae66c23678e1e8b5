"""`rule-runner test`: run the tests that stand beside the rules."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

from rich.text import Text

from runner.cli.console import counted, err, out, print_json, say, show_problem
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, rule_sources
from runner.cli.pages.explain_page import stage_verdict
from runner.cli.pages.junit import junit_report
from runner.cli.signals import Interrupted, name_of
from runner.errors import SettingsError
from runner.exceptions import Exceptions, load_exceptions
from runner.rule_tests.load import LoadedTests, load_tests
from runner.rule_tests.outcome import TestOutcome
from runner.rule_tests.run import run_tests
from runner.rules.rule import Rule
from runner.selection import OFF, OverrideFiles, load_overrides, select_rules
from runner.settings.settings import Settings

NO_TESTS = "No tests: a test of `RULE.toml` stands beside it in `RULE.test.toml`."
_MARKS = {"passed": ("passed", "green"), "failed": ("FAILED", "bold red"), "error": ("ERROR", "bold red")}


def test(settings: Settings, *, junit: Path | None, require_tests: bool, explain: bool = False) -> int:
    """Run every test of the paths and print what came of it; FINDINGS if one did not pass, a test file is broken, or
    there is no test at all.

    With `explain`, of each missing alert the verdict on its events, condition by condition.

    After a signal what came of those that were run by then.
    """
    require_rule_paths(settings)
    found = load_tests(settings.rules)
    is_untested = not found.cases and not found.problems
    loaded = _selected(settings, found)
    overrides = load_overrides(settings.overrides, settings.rules)
    for problem in overrides.problems:
        show_problem(problem, err())
    exceptions = load_exceptions(rule_sources(settings).exception_paths())
    doubts = [problem for problem in exceptions.problems if problem.severity == "warning"]
    loaded = replace(loaded, problems=(*loaded.problems, *(one for one in exceptions.problems if one not in doubts)))
    for problem in doubts:
        show_problem(problem, err())
    outcomes: list[TestOutcome] = []
    interrupted: Interrupted | None = None
    try:
        asyncio.run(_run(loaded, overrides, exceptions, outcomes))
    except Interrupted as error:
        interrupted = error
    untested = _untested(settings, loaded)
    if junit is not None:
        try:
            missing = {"tests": NO_TESTS} if is_untested else {}
            missing |= {one.name: f"no test: {one.path}" for one in untested if require_tests}
            junit.write_bytes(junit_report(outcomes, loaded.problems, missing))
        except OSError as error:
            raise SettingsError(f"--junit {junit}: cannot be written: {error.strerror}") from None
    if settings.output == "json":
        print_json(_as_json(outcomes, loaded, untested, explain=explain))
    else:
        _print(outcomes, loaded, explain=explain)
    if untested and require_tests:
        say(f"{counted(len(untested), 'rule')} without a test: {', '.join(rule.name for rule in untested)}", "red")
    elif untested and settings.output != "json":
        say(f"{counted(len(untested), 'rule')} without a test")
    if interrupted is not None:
        name = name_of(interrupted.number)
        say(f"interrupted by {name}: {len(outcomes)} of {counted(len(loaded.cases), 'test')} were run", "yellow")
        return interrupted.code
    failed = any(outcome.status != "passed" for outcome in outcomes)
    has_findings = failed or is_untested or loaded.problems or (untested and require_tests)
    return ExitCode.FINDINGS if has_findings else ExitCode.FINE


def _selected(settings: Settings, loaded: LoadedTests) -> LoadedTests:
    """The tests of the rules that are selected."""
    if not settings.select:
        return loaded
    rules = list(dict.fromkeys(case.rule_path for case in loaded.cases))
    chosen = select_rules(rules, settings.overrides or [OFF], settings.select).loaded
    left_out = {rule.path for rule in chosen.left_out}
    kept = tuple(case for case in loaded.cases if case.rule_path not in left_out)
    if len(kept) < len(loaded.cases):
        say(f"{counted(len(loaded.cases) - len(kept), 'test')} of rules that are not selected left out")
    return replace(loaded, cases=kept)


async def _run(
    loaded: LoadedTests, overrides: OverrideFiles, exceptions: Exceptions, outcomes: list[TestOutcome]
) -> None:
    async for outcome in run_tests(loaded.cases, overrides, exceptions):
        outcomes.append(outcome)  # noqa: PERF401 - what is there at a signal counts


def _untested(settings: Settings, loaded: LoadedTests) -> list[Rule]:
    """The rules of the paths that no test is for."""
    tested = {case.rule_path.resolve() for case in loaded.cases}
    paths = [path for path in settings.rules if not path.name.endswith(".test.toml")]
    if not paths:
        return []
    rules = select_rules(paths, settings.overrides, settings.select, place="files").loaded.rules
    return [rule for rule in rules if rule.path.resolve() not in tested]


def _as_json(
    outcomes: Sequence[TestOutcome], loaded: LoadedTests, untested: Sequence[Rule], *, explain: bool
) -> dict[str, object]:
    counts = Counter(outcome.status for outcome in outcomes)
    return {
        "tests": [
            {
                "file": str(outcome.case.path),
                "line": outcome.case.line,
                "name": outcome.case.test.name,
                "rule_id": outcome.rule_id,
                "rule": outcome.rule_name,
                "status": outcome.status,
                "messages": list(outcome.messages),
                "took_ms": outcome.took_ms,
                **({"events": _judged(outcome)} if explain else {}),
            }
            for outcome in outcomes
        ],
        "problems": [
            {"file": str(found.file), "line": found.line, "column": found.column, "message": found.text}
            for found in loaded.problems
        ],
        "passed": counts["passed"],
        "failed": counts["failed"],
        "errors": counts["error"],
        "rules_without_tests": [rule.rule_id for rule in untested],
    }


def _judged(outcome: TestOutcome) -> list[dict[str, object]]:
    return [{"event": name, **asdict(verdict)} for name, verdict in outcome.verdicts]


def _print(outcomes: Sequence[TestOutcome], loaded: LoadedTests, *, explain: bool) -> None:
    console = out()
    for problem in loaded.problems:
        show_problem(problem, err())
    for path, group in groupby(outcomes, key=lambda outcome: outcome.case.path):
        console.print(Text(str(path), style="bold"), soft_wrap=True)
        for outcome in group:
            word, style = _MARKS[outcome.status]
            place = "" if outcome.status == "passed" else f" (line {outcome.case.line})"
            console.print(Text.assemble("  ", (word, style), f"  {outcome.case.test.name}{place}"), soft_wrap=True)
            for message in outcome.messages:
                console.print(Text(f"          {message}"), soft_wrap=True)
            for name, verdict in outcome.verdicts if explain else ():
                console.print(Text(f"          event {name}", style="bold"), soft_wrap=True)
                for line in stage_verdict(verdict):
                    console.print(Text.assemble(" " * 10, line), soft_wrap=True)
    counts = Counter(outcome.status for outcome in outcomes)
    if not outcomes and not loaded.problems:
        console.print(NO_TESTS)
        return
    told = [f"{counts['passed']} passed", *(f"{counts[name]} {name}" for name in ("failed", "error") if counts[name])]
    console.print(f"{counted(len(outcomes), 'test')} in {counted(loaded.files, 'file')}: {', '.join(told)}")
