"""`FieldFinding`: one thing wrong with a parsed rule file, by the keys that lead to it, before its line is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.errors import Severity
from runner.messages.query_errors import QueryError, QueryFinding
from runner.messages.suggestions import did_you_mean, near_name
from runner.messages.text_positions import Source, Span
from runner.rules.rule import Rule, RuleFields
from runner.rules.rule_tables import Metadata
from runner.rules.toml_positions import KeyPath

RULE_KEYS = tuple(str(field.validation_alias or name) for name, field in RuleFields.model_fields.items())
"""The keys of `[rule]`, as a file spells them."""
METADATA_KEYS = tuple(Metadata.model_fields)


@dataclass(frozen=True, slots=True)
class FieldFinding:
    """What is wrong at `path`: with the key itself, or with its value."""

    path: KeyPath
    message: str
    at: Literal["key", "value"] = "value"
    severity: Severity = "error"
    code: str = "wrong-value"


class RuleKeyError(QueryError):
    """A rule that cannot be searched because of another key than its query; `finding` has the place in its file."""

    def __init__(self, source: Source, finding: FieldFinding) -> None:
        super().__init__(source, [QueryFinding(Span(0, 0), finding.message)])
        self.finding = finding


def findings_of(error: ValidationError, document: Mapping[str, Any]) -> list[FieldFinding]:
    """Every refusal of the model, in the words of a rule file; `document` is the file's TOML."""
    details = error.errors(include_url=False)
    unknown: dict[KeyPath, list[str]] = {}
    for detail in details:
        if detail["type"] == "extra_forbidden":
            unknown.setdefault(detail["loc"][:-1], []).append(str(detail["loc"][-1]))
    findings = []
    for detail in details:
        table, name = detail["loc"][:-1], str(detail["loc"][-1])
        if detail["type"] == "missing" and near_name(name, unknown.get(table, ())):
            continue  # its misspelling is reported
        findings.append(_finding_of(detail, document))
    return findings


def _finding_of(detail: ErrorDetails, document: Mapping[str, Any]) -> FieldFinding:
    path = _path_of(detail["loc"])
    name = _name_of(path)
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "missing":
        return FieldFinding(path[:-1], f"`{name}` is missing in {table_name(path[:-1])}", at="key", code="missing-key")
    if kind == "extra_forbidden":
        return FieldFinding(path, unknown_key(path, _known_at(path)), at="key", code="unknown-key")
    if kind == "literal_error":
        return FieldFinding(path, _unknown_value(name, value, str(context["expected"])))
    if kind in _EXPECTED_KINDS:
        return FieldFinding(path, f"`{name}` is {kind_of(value)}, expected {_EXPECTED_KINDS[kind]}")
    if kind == "value_error":
        return FieldFinding(path, f"`{name}`: {shortened(str(context['error']), 300)}")
    return FieldFinding(path, f"`{name}` {_bounds(kind, context, value) or 'is not accepted: ' + detail['msg']}")


_EXPECTED_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "mapping_type": "a table",
    "dict_type": "a table",
}


def _bounds(kind: str, context: Mapping[str, Any], value: Any) -> str:
    """The end of the message on a value that is out of bounds, or "" if that is not what is wrong."""
    if kind == "greater_than_equal":
        return f"is {_number(value)}, expected {context['ge']} or more"
    if kind == "less_than_equal":
        return f"is {_number(value)}, expected {context['le']} or less"
    if kind == "string_too_short" or (kind == "too_short" and not value):
        return "is empty"
    if kind == "too_long":
        return f"has {len(value)} items, expected {context['max_length']} or fewer"
    return ""


def _number(value: Any) -> str:
    return str(value) if -(10**18) < value < 10**18 else "a huge number"


def _unknown_value(name: str, value: Any, expected: str) -> str:
    if not isinstance(value, str):
        return f"`{name}` is {kind_of(value)}, expected {expected}"
    known = [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]
    listed = f"`{known[0]}`" if len(known) == 1 else "one of " + ", ".join(known)
    return f"`{name}` is `{shortened(value)}`, expected {listed}{did_you_mean(value, known)}"


def unknown_key(path: KeyPath, known: Iterable[str]) -> str:
    """The message on a key that its table does not have: with a near name, or with the table that has such a key."""
    name = str(path[-1])
    message = f"unknown key `{shortened(name)}` in {table_name(path[:-1])}"
    near = did_you_mean(name, known)
    if near or path[0] not in ("rule", "metadata"):
        return message + near
    if name in RULE_KEYS:
        sub_table = len(path) > 2
        where = "in [rule], above the first table inside it" if sub_table else "in [rule]"
        return f"{message}; it belongs {where}"
    return f"{message}; it belongs in [metadata]" if name in METADATA_KEYS else message


def _path_of(location: Sequence[str | int]) -> KeyPath:
    """The path in the file of a place in the model, which has the keys of `[rule]` at its top."""
    if location and location[0] in ("metadata", "transform"):
        return tuple(location)
    return ("rule", *location)


def _known_at(path: KeyPath) -> tuple[str, ...]:
    """The keys that the table around `path` may have."""
    model: Any = Rule
    for step in path[1:-1] if path[0] == "rule" else path[:-1]:
        if isinstance(step, int):
            continue
        field = next((f for n, f in model.model_fields.items() if step in (n, f.validation_alias)), None)
        model = _model_in(field.annotation) if field else None
        if model is None:
            return ()
    if model is Rule:
        return RULE_KEYS
    return tuple(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `tuple[Threat, ...]` or `Threshold | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)


def _name_of(path: KeyPath) -> str:
    """The last key of a path, with the index of an item: `tags[2]`."""
    names = ""
    for step in path[next((i for i in range(len(path) - 1, -1, -1) if isinstance(path[i], str)), 0) :]:
        names += f"[{step}]" if isinstance(step, int) else step
    return shortened(names)


def table_name(path: KeyPath) -> str:
    """A table as its header is written: `[rule.threat.tactic]`; indices are left out."""
    return f"[{'.'.join(str(step) for step in path if isinstance(step, str))}]" if path else "the file"


def kind_of(value: object) -> str:
    """What a TOML value is, in words."""
    for kinds, words in _KINDS:
        if isinstance(value, kinds):
            return words
    return "something else"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (str, "a string"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    ((date, time), "a date or time"),
    (list, "a list"),
    (dict, "a table"),
)


def shortened(text: str, longest: int = 60) -> str:
    """The text on one line, cut if it is long, without characters that a terminal would obey."""
    text = text if len(text) <= longest else text[: longest - 3] + "..."
    return "".join(char if char.isprintable() else " " for char in text)
