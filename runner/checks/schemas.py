"""The fields that `check` judges rules by: the shipped table, a mapping beside it, or those of the cluster."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from runner.errors import Problem, SettingsError
from runner.events.fields.schema import Schema, schema_from_field_caps, schema_from_mapping, shipped_schema
from runner.search.compiled_rule import CompiledRule


@dataclass(frozen=True, slots=True)
class CheckedSchemas:
    """The schema of most rules, those of others by the rule's id, and what was found while they were read."""

    shared: Schema
    by_rule: Mapping[str, Schema] = field(default_factory=dict)
    problems: Sequence[Problem] = ()

    def of(self, compiled: CompiledRule) -> Schema:
        return self.by_rule.get(compiled.rule.rule_id, self.shared)


def shipped() -> CheckedSchemas:
    """The shipped table alone: an unknown field is a warning."""
    return CheckedSchemas(replace(shipped_schema(), lenient=True))


def of_mapping(path: Path) -> CheckedSchemas:
    """The fields of a file, before those of the shipped table: a mapping, the answer of `GET index/_mapping` or of
    `_field_caps`. Raises SettingsError."""
    try:
        given = orjson.loads(path.read_bytes())
        is_caps = isinstance(given, dict) and isinstance(given.get("fields"), dict) and "properties" not in given
        own = schema_from_field_caps(given) if is_caps else schema_from_mapping(given)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--mapping {path}: {error}") from None
    fields = ChainMap(dict(own.fields), shipped_schema().fields)  # type: ignore[arg-type]
    return CheckedSchemas(Schema(fields, lenient=True))
