"""A rule's query as the local engine runs it over files: with the rule's filters, and with what hinders it told."""

from __future__ import annotations

from collections.abc import Iterator

from runner.errors import Problem
from runner.events.fields.schema import Schema
from runner.messages.query_errors import QueryError
from runner.rules.model_errors import FieldFinding
from runner.rules.rule import Rule
from runner.rules.threat_match import threat_match_of
from runner.search.compiled_rule import CompiledRule, RuleProgram, found_in_file, query_problems
from runner.search.filter_conditions import FilterRefusedError, with_filters
from runner.search.indicators.pairs import compares_whole_text, pair_groups
from runner.search.indicators.programs import indicator_program


def checked_program(compiled: CompiledRule, schema: Schema) -> tuple[RuleProgram | None, list[Problem]]:
    """The program without the filters, which a cluster may take although they cannot be applied here; and what is
    wrong with it anywhere."""
    program, problems = compiled.resolved(schema)
    return program, [*problems, *_mapping_problems(compiled, schema)]


def local_program(
    compiled: CompiledRule, program: RuleProgram | None, problems: list[Problem], schema: Schema
) -> tuple[RuleProgram | None, list[Problem]]:
    """The program over the events that the filters let through, and all problems; None if the rule cannot be run."""
    found = [*problems, *_mapping_problems(compiled, schema)]
    if compiled.rule.type == "threat_match":
        try:
            indicator_program(compiled, schema)
        except QueryError as error:
            found += query_problems(compiled.rule, error)
    try:
        made = None if program is None else with_filters(program, compiled.rule, schema)
    except FilterRefusedError as error:
        return None, [*found, _unfiltered(compiled.rule, error)]
    return (None if any(one.severity == "error" for one in found) else made), found


def _unfiltered(rule: Rule, error: FilterRefusedError) -> Problem:
    """The error of a rule with a filter that cannot be applied: without it, it would find what its author excluded."""
    message = f"a filter cannot be applied, so that over files the rule is not run: {error}"
    finding = FieldFinding(("rule", "filters", error.number), message, code="filter-not-applied")
    return found_in_file(rule, finding)


def _mapping_problems(compiled: CompiledRule, schema: Schema) -> Iterator[Problem]:
    """What is wrong with the mapping of a rule of type threat_match, and how its text fields are compared."""
    condition = threat_match_of(compiled.rule)
    if condition is None:
        return
    try:
        pair_groups(condition, schema, schema)
    except QueryError as error:
        yield from query_problems(compiled.rule, error)
    for number, group in enumerate(condition.groups):
        for place, entry in enumerate(group):
            for key, name in (("field", entry.field), ("value", entry.value)):
                if compares_whole_text(name, schema):
                    at = ("rule", "threat_mapping", number, "entries", place, key)
                    message = f"`{name}` is of type [text]: all of its text is compared, where Kibana compares words"
                    finding = FieldFinding(at, message, severity="warning", code="text-in-mapping")
                    yield found_in_file(compiled.rule, finding)
