"""`rule-runner check`: load and compile rules, and show everything that is wrong or doubtful with them."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.checks.allowances import (
    Allowance,
    JudgedFindings,
    commented_allowances,
    judged,
    stated_allowances,
    with_codes,
    wrong_code,
)
from runner.checks.rule_findings import rule_doubts
from runner.checks.schemas import CheckedSchemas, of_mapping, shipped
from runner.cli.console import counted, out, print_json, print_table, show_problem
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, require_rules, rule_sources
from runner.cli.pages.finding_formats import FORMATS
from runner.cli.pages.type_table import BrokenRules, type_table
from runner.clock import SystemClock
from runner.errors import Problem, SettingsError
from runner.events.fields.schema import Schema
from runner.exceptions import Exceptions, check_exceptions, load_exceptions, missing_lists
from runner.garbage_collection import rarely_collecting
from runner.messages.suggestions import did_you_mean
from runner.rules.load import LoadedRules, is_supported
from runner.rules.saved_queries.saved_query_rules import saved_query_problems
from runner.rules.toml_file import decoded, read_bytes
from runner.search.cluster.request_body import has_filters
from runner.search.compiled_rule import CompiledRule, compile_rules, query_doubts
from runner.search.files.local_program import checked_program, local_program
from runner.search.suppression_checks import suppression_problems
from runner.search.threshold_checks import threshold_problems
from runner.selection import SelectedRules, check_overrides
from runner.settings.settings import Settings

_SHOWN = ("text", "json", *FORMATS)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the findings are judged by, and how they are shown."""

    strict: bool = False
    form: str | None = None
    mapping: Path | None = None
    from_cluster: bool = False
    show_allowed: bool = False


def check(settings: Settings, options: CheckOptions) -> ExitCode:
    """Print every finding about the rules; FINDINGS if one of them is an error, or any if warnings count, too."""
    require_rule_paths(settings)
    form = _form(settings, options)
    selected = replace(rule_sources(settings), place=None).read()
    loaded = selected.loaded
    exceptions = load_exceptions(rule_sources(settings).exception_paths())
    gathered = _gathered(settings, options, selected, exceptions)
    result = _judged(settings, selected, with_codes(gathered.problems))
    problems = sorted(result.counted, key=lambda problem: (str(problem.file), problem.line, problem.column))
    if form == "json":
        counts = {"files": loaded.files, "rules": len(loaded.known)}
        counts |= {"exceptions": len(exceptions.items)} if exceptions.items else {}
        found: dict[str, object] = {"problems": list(map(_as_json, problems))}
        if result.allowed:
            found["allowed"] = len(result.allowed)
        if options.show_allowed:
            found["allowed_problems"] = [_as_json(one) | {"reason": by.reason} for one, by in result.allowed]
        print_json({**counts, **found})
    elif form in FORMATS:
        files = [source.path for source in loaded.sources]
        if text := FORMATS[form](problems, files, strict=options.strict):
            sys.stdout.write(text + "\n")
    else:
        _print(loaded, exceptions, problems, result, show_allowed=options.show_allowed)
        _print_types(loaded, BrokenRules(gathered.failing, gathered.unfiltered))
    require_rules(loaded, settings)
    failing = [problem for problem in problems if options.strict or problem.severity == "error"]
    return ExitCode.FINDINGS if failing else ExitCode.FINE


def _form(settings: Settings, options: CheckOptions) -> str:
    """How findings are shown. Raises SettingsError for a form that is not known."""
    form = options.form or ("json" if settings.output == "json" else "text")
    if form not in _SHOWN:
        near = did_you_mean(form, _SHOWN)
        raise SettingsError(f"--format is `{form}`, expected one of {', '.join(_SHOWN)}{near}")
    if options.mapping is not None and options.from_cluster:
        raise SettingsError("--mapping beside --from-cluster: the fields come from the one or the other")
    return form


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Every finding, in no particular order; the ids of the rules whose queries have errors, and of those that filters
    keep from running over files."""

    problems: list[Problem] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    unfiltered: set[str] = field(default_factory=set)


def _gathered(settings: Settings, options: CheckOptions, selected: SelectedRules, exceptions: Exceptions) -> _Gathered:
    loaded = selected.loaded
    compiled, faults = compile_rules(loaded.rules)
    compiled = [replace(one, exceptions=tuple(exceptions.all_for_rule(one.rule))) for one in compiled]
    doubts = [*_doubts(selected, settings), *_exception_problems(exceptions, selected, settings)]
    if not settings.kibana_exceptions:
        doubts += missing_lists(exceptions, loaded.sources)
    if settings.kibana_api is None:
        doubts += saved_query_problems(loaded.rules, loaded.saved.queries)
    schemas = _schemas(settings, options, compiled)
    gathered = _Gathered([*loaded.problems, *doubts, *faults, *schemas.problems], _with_errors(faults))
    with rarely_collecting():
        for one in compiled:
            schema = schemas.of(one)
            unfit = checked_program(replace(one, exceptions=()), schema)[1] if one.is_local else []
            unfiltered = list(_not_over_files(one, schema, unfit))
            gathered.failing.update(_with_errors(unfit))
            gathered.unfiltered.update(str(problem.rule_id) for problem in unfiltered)
            gathered.problems.extend((*unfit, *unfiltered, *_doubts_of_rule(one, schema)))
    return gathered


def _not_over_files(compiled: CompiledRule, schema: Schema, told: Sequence[Problem]) -> Iterator[Problem]:
    """A warning of a rule that a filter keeps from running over files; nothing that is `told` already."""
    if not compiled.is_local or not has_filters(compiled.rule):
        return
    bare = replace(compiled, exceptions=())
    program = bare.resolved(schema)[0]
    if program is None:
        return
    known = {str(problem) for problem in told}
    for problem in local_program(bare, program, [], schema)[1]:
        if str(problem) not in known:
            yield replace(problem, severity="warning")


def _with_errors(problems: Iterable[Problem]) -> set[str]:
    return {problem.rule_id for problem in problems if problem.severity == "error" and problem.rule_id}


def _schemas(settings: Settings, options: CheckOptions, compiled: Sequence[CompiledRule]) -> CheckedSchemas:
    if options.mapping is not None:
        return of_mapping(options.mapping)
    return asyncio.run(_of_cluster(settings, compiled)) if options.from_cluster else shipped()


async def _of_cluster(settings: Settings, compiled: Sequence[CompiledRule]) -> CheckedSchemas:
    from runner.checks.cluster_schemas import of_cluster
    from runner.cli.cluster_wiring import opened_client, read_runtime_fields

    async with opened_client(settings) as client:
        return await of_cluster(client, compiled, read_runtime_fields(settings.runtime_fields))


def _doubts_of_rule(compiled: CompiledRule, schema: Schema) -> Iterator[Problem]:
    """What is doubtful in a rule whose query can be read."""
    yield from suppression_problems(compiled, schema)
    yield from query_doubts(compiled)
    yield from threshold_problems(compiled, schema)
    yield from rule_doubts(compiled, schema)


def _judged(settings: Settings, selected: SelectedRules, problems: Sequence[Problem]) -> JudgedFindings:
    """The findings, without those that are allowed. What an override's allowance is for may not be looked at: of
    single files and selections none is unused."""
    rules = selected.loaded.known
    texts = {source.path: _text(source.path) for source in selected.loaded.sources}
    ids = {source.path: source.rule.rule_id for source in selected.loaded.sources if source.rule is not None}
    allowances, wrong = commented_allowances(texts, ids)
    stated = selected.overrides.allowances
    wrong += [
        one.place.problem("error", text, "unreadable-allowance")
        for one in stated
        for code in one.codes
        if (text := wrong_code(code))
    ]
    sound = [one for one in stated if not any(map(wrong_code, one.codes))]
    allowances += stated_allowances(sound, rules)
    result = judged([*problems, *wrong], allowances)
    if any(path.is_dir() for path in settings.rules) and not settings.select:
        return result
    own = {source.path for source in selected.loaded.sources}
    kept = (one for one in result.counted if one.code != "unused-allowance" or one.file in own)
    return replace(result, counted=tuple(kept))


def _text(path: Path) -> str:
    try:
        return decoded(path, read_bytes(path)[0])[0]
    except (OSError, ValueError):
        return ""  # a finding of its own


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
        "code": problem.code,
    }


def _print(
    loaded: LoadedRules,
    exceptions: Exceptions,
    problems: Sequence[Problem],
    result: JudgedFindings,
    *,
    show_allowed: bool,
) -> None:
    console = out()
    for problem in problems:
        show_problem(problem, console, with_code=True)
    _print_allowed(result.allowed, shown=show_allowed)
    counts = Counter(problem.severity for problem in problems)
    parts = (counted(counts["error"], "error"), counted(counts["warning"], "warning"))
    read = [counted(loaded.files, "file"), counted(len(loaded.rules), "rule")]
    read += [counted(len(exceptions.items), "exception")] if exceptions.items or exceptions.problems else []
    allowed = f" ({counted(len(result.allowed), 'allowed finding')})" if result.allowed else ""
    console.print(f"{', '.join(read)}: {', '.join(parts)}{allowed}")
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


def _print_allowed(allowed: Sequence[tuple[Problem, Allowance]], *, shown: bool) -> None:
    for problem, allowance in allowed if shown else ():
        told = replace(problem, picture="", hint=f"{problem.hint}; allowed: {allowance.reason}")
        show_problem(told, out(), with_code=True)
