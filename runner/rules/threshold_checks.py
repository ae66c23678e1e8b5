"""What a threshold rule's condition must be beyond the form of each key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.rules.model_errors import FieldFinding

_MOST_FIELDS = 5
_PLACE = ("rule", "threshold")


def threshold_findings(rule: Mapping[str, Any]) -> Iterator[FieldFinding]:
    """Every finding about the condition, and about its suppression, of a parsed `[rule]` table."""
    if rule.get("type") != "threshold":
        return
    yield from _suppression(rule.get("alert_suppression"))
    condition = rule.get("threshold")
    if not isinstance(condition, dict):
        return
    given = condition.get("field", [])
    fields = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if len(fields) > _MOST_FIELDS:
        message = f"`field` has {len(fields)} names in [rule.threshold], expected at most {_MOST_FIELDS}"
        yield FieldFinding((*_PLACE, "field"), message)
    for place, name in enumerate(fields):
        if name in fields[:place]:
            message = f"`{name}` stands twice in `field` of [rule.threshold]"
            yield FieldFinding((*_PLACE, "field", place) if isinstance(given, list) else (*_PLACE, "field"), message)
    cardinality = condition.get("cardinality")
    for place, entry in enumerate(cardinality if isinstance(cardinality, list) else []):
        name = entry.get("field") if isinstance(entry, dict) else None
        if place:
            message = f"`cardinality` of `{name}` has no effect: only the first entry counts"
            yield FieldFinding((*_PLACE, "cardinality", place), message, severity="warning", code="without-effect")
        elif name in fields:
            message = f"`cardinality` is of `{name}`, which is in `field`, too: within a key it has one value"
            yield FieldFinding((*_PLACE, "cardinality", place, "field"), message)


def _suppression(suppression: object) -> Iterator[FieldFinding]:
    if not isinstance(suppression, dict):
        return
    for name in ("group_by", "missing_fields_strategy"):
        if name in suppression:
            message = f"`{name}` has no effect in a rule of type threshold, whose alerts are grouped by its fields"
            at = ("rule", "alert_suppression", name)
            yield FieldFinding(at, message, at="key", severity="warning", code="without-effect")
