"""What `check` says of a rule's `alert_suppression`: fields that cannot group, windows that are too short."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from runner import eql
from runner.eql.syntax import ast
from runner.errors import Problem
from runner.esql import EsqlQuery
from runner.events.fields.schema import DataType, Schema
from runner.expressions.nodes import Name
from runner.messages.quantities import in_whole_units
from runner.messages.suggestions import did_you_mean
from runner.messages.text_positions import Source
from runner.rules.model_errors import FieldFinding
from runner.rules.rule_tables import AlertSuppression, staged_field
from runner.rules.toml_file import decoded, places_in, problem_of, read_bytes
from runner.search.compiled_rule import CompiledRule

_PLACE = ("rule", "alert_suppression")


def suppression_problems(compiled: CompiledRule, schema: Schema) -> list[Problem]:
    """Every warning about the rule's alert suppression, with its place in the rule's file."""
    rule = compiled.rule
    if rule.alert_suppression is None:
        return []
    findings = [*_fields(compiled, rule.alert_suppression, schema), *_duration(compiled, rule.alert_suppression)]
    if not findings:
        return []
    try:
        text, _ = decoded(rule.path, read_bytes(rule.path)[0])
    except OSError:
        text = ""
    source, places = Source(text), places_in(text)
    return [problem_of(one, rule.path, source=source, places=places, rule_id=rule.rule_id) for one in findings]


def _fields(compiled: CompiledRule, suppression: AlertSuppression, schema: Schema) -> Iterator[FieldFinding]:
    query = compiled.query
    body = query.statement.body if isinstance(query, eql.ParsedQuery) else None
    for position, name in enumerate(suppression.group_by):
        stage, field = staged_field(name)
        if isinstance(query, EsqlQuery) and query.computes(field):
            continue
        for code, text in (_of_type(field, schema), _of_stage(stage, field, body)):
            if text:
                at = (*_PLACE, "group_by", position)
                yield FieldFinding(at, f"`{name}` {text}", severity="warning", code=code)


def _of_type(name: str, schema: Schema) -> tuple[str, str]:
    """The code and the text of what is wrong with a field that alerts are grouped by; "" if nothing is."""
    found = schema.find(name)
    if found is None:
        near = did_you_mean(name, schema.fields)
        return "unknown-field", f"in `group_by` is no field that the field table has{near}: it may never have a value"
    if found.type is DataType.TEXT:
        text = "in `group_by` is a text field: every different text makes a group; take its keyword, if there is one"
        return "text-in-group-by", text
    if found.type in (DataType.OBJECT, DataType.NESTED, DataType.FLATTENED):
        text = f"in `group_by` is of type {found.type.value}, which has no value of its own: name a field below it"
        return "field-without-value", text
    return "", ""


def _of_stage(
    stage: int | None, name: str, body: ast.EventQuery | ast.SequenceQuery | ast.SampleQuery | None
) -> tuple[str, str]:
    """The same of the stage; `body` None: of a query that is not EQL, for single events."""
    if body is None or isinstance(body, ast.EventQuery):
        text = f"names stage {stage} of a query of single events: it never has a value"
        return ("stage-without-event", text) if (stage or 1) > 1 else ("", "")
    count = sum(term.runs for term in body.terms)
    if stage is not None:
        if stage > count:
            return "stage-without-event", f"names stage {stage}, but the query has {count}: it never has a value"
        missing = [term.missing for term in body.terms for _ in range(term.runs)]
        text = f"names stage {stage}, which is a missing event: it never has a value"
        return ("stage-without-event", text) if missing[stage - 1] else ("", "")
    joined = {key.name for key in body.keys if isinstance(key, Name)}
    own = [{key.name for key in term.keys if isinstance(key, Name)} for term in body.terms if not term.missing]
    if name in joined or (own and all(name in keys for keys in own)):
        return "", ""
    text = (
        "in `group_by` is no join key of the query: sequences in whose events it differs are all of one group, that "
        f"without a value; `[1] {name}` takes the value of the first stage"
    )
    return "group-by-no-join-key", text


def _duration(compiled: CompiledRule, suppression: AlertSuppression) -> Iterator[FieldFinding]:
    lasts, every = suppression.lasts, compiled.rule.every
    if lasts is not None and lasts < every:
        text = (
            f"`duration` is {_words(lasts)}, shorter than the interval of {_words(every)}: a group hardly ever "
            "outlives a run, so that the next run makes new alerts"
        )
        yield FieldFinding((*_PLACE, "duration"), text, at="key", severity="warning", code="short-suppression")


def _words(length: timedelta) -> str:
    return in_whole_units(length // timedelta(milliseconds=1))
