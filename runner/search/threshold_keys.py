"""The fields of a threshold rule: those of the key, and the one whose values are counted."""

from __future__ import annotations

from dataclasses import replace

from runner.engine.plan import EventProgram, KeyField, Plan, with_keys
from runner.events.fields.schema import DataType, Schema
from runner.expressions.mapped_fields import field_for, nested_above
from runner.rules.model_errors import FieldFinding, RuleKeyError
from runner.rules.rule import Rule
from runner.rules.rule_tables import Threshold

_WITHOUT_VALUES = frozenset({DataType.TEXT, DataType.OBJECT, DataType.NESTED})


def threshold_of(rule: Rule) -> Threshold | None:
    """The condition of a threshold rule; None for a rule of any other type."""
    return rule.threshold if rule.type == "threshold" else None


def least_cardinality(threshold: Threshold) -> int:
    """How many different values the cardinality field must have; 0 without one. Of several fields the first counts."""
    return threshold.cardinality[0].value if threshold.cardinality else 0


def threshold_fields(threshold: Threshold) -> tuple[str, ...]:
    """The fields that are read with each event: those of the key, then the one whose values are counted."""
    return (*threshold.field, *(one.field for one in threshold.cardinality[:1]))


def keyed_program(program: EventProgram, threshold: Threshold, schema: Schema) -> EventProgram:
    """The program of a threshold rule's query, with the rule's fields as keys. Raises RuleKeyError for a field
    that cannot be grouped by."""
    keys: list[KeyField] = []
    for place, name in enumerate(threshold_fields(threshold)):
        is_counted = place >= len(threshold.field)
        where = ("cardinality", 0, "field") if is_counted else ("field", place)
        try:
            found = field_for(name, schema)
        except ValueError as error:
            raise _refused(program, where, str(error)) from None
        if parent := nested_above(name, schema):
            raise _refused(program, where, f"field `{name}` lies in the nested field `{parent}`: no event has a value")
        if found is not None and found.type in _WITHOUT_VALUES:
            reason = f"field `{name}` is of type [{found.type.value}], which events cannot be grouped by"
            near = ": take its keyword, if there is one" if found.type is DataType.TEXT else ": name a field below it"
            raise _refused(program, where, f"{reason}{near}")
        if found is not None:
            keys.append(KeyField(found, optional=is_counted))
        elif not is_counted:
            return replace(program, plan=_of_nothing(program.plan))  # no document has a value of the field
    return replace(program, plan=with_keys(program.plan, keys))


def _refused(program: EventProgram, place: tuple[str | int, ...], message: str) -> RuleKeyError:
    return RuleKeyError(program.source, FieldFinding(("rule", "threshold", *place), message))


def _of_nothing(plan: Plan) -> Plan:
    return replace(plan, stages=tuple(replace(stage, empty=True) for stage in plan.stages))
