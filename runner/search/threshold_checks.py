"""What `check` says of a threshold rule's fields: those that no event may ever have a value of."""

from __future__ import annotations

from runner.errors import Problem
from runner.events.fields.schema import DataType, Schema
from runner.expressions.mapped_fields import is_mapped
from runner.messages.suggestions import did_you_mean
from runner.rules.model_errors import FieldFinding
from runner.search.compiled_rule import CompiledRule, found_in_file
from runner.search.threshold_keys import threshold_fields, threshold_of

_CONTAINERS = frozenset({DataType.OBJECT, DataType.NESTED, DataType.FLATTENED})


def threshold_problems(compiled: CompiledRule, schema: Schema) -> list[Problem]:
    """Every warning about the fields of a threshold rule, with its place in the rule's file."""
    threshold = threshold_of(compiled.rule)
    if threshold is None:
        return []
    findings: list[FieldFinding] = []
    for place, name in enumerate(threshold_fields(threshold)):
        code, text = _doubt(name, schema)
        if text:
            is_counted = place >= len(threshold.field)
            where = ("cardinality", 0, "field") if is_counted else ("field", place)
            at = ("rule", "threshold", *where)
            findings.append(FieldFinding(at, f"`{name}` {text}", severity="warning", code=code))
    return [found_in_file(compiled.rule, finding) for finding in findings]


def _doubt(name: str, schema: Schema) -> tuple[str, str]:
    """The code and the text of what is doubtful about a field; "" if nothing is."""
    found = schema.find(name)
    if found is None and is_mapped(name, schema):
        return "field-without-value", "is an object, which has no value of its own: name a field below it"
    if found is None:
        near = did_you_mean(name, schema.fields)
        text = f"in `threshold` is no field that the field table has{near}: without a value, events are not counted"
        return "unknown-field", text
    if found.type in _CONTAINERS:
        text = f"in `threshold` is of type {found.type.value}, which has no value of its own: name a field below it"
        return "field-without-value", text
    return "", ""
