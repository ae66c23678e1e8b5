"""The fields that `check` judges rules by: the shipped table, a mapping beside it, or those of the cluster."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from runner.errors import Problem, SettingsError
from runner.events.fields.schema import Schema, schema_from_field_caps, schema_from_mapping, shipped_schema
from runner.rules.model_errors import FieldFinding
from runner.search.compiled_rule import CompiledRule, found_in_file
from runner.settings.settings import Settings


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


async def of_cluster(settings: Settings, compiled: Sequence[CompiledRule]) -> CheckedSchemas:
    """The fields that the cluster has in the indices of each rule; those of rules without an index are the shipped
    ones. Raises RunnerError."""
    from runner.cli.cluster_wiring import opened_client, read_runtime_fields
    from runner.search.cluster.field_caps import FieldCapsCache

    local = [one for one in compiled if one.is_local and one.rule.index]
    by_rule: dict[str, Schema] = {}
    problems = []
    async with opened_client(settings) as client:
        cache = FieldCapsCache(client, runtime_mappings=read_runtime_fields(settings.runtime_fields))
        for one in local:
            cache.want(one)
        for one in local:
            caps = await cache.types(one.rule.index)
            if caps.indices:
                by_rule[one.rule.rule_id] = replace(caps.schema, lenient=one.rule.language != "eql")
            else:
                text = "no index of the cluster fits: the rule searches nothing, and its fields are not checked there"
                finding = FieldFinding(("rule", "index"), text, severity="warning", code="no-index")
                problems.append(found_in_file(one.rule, finding))
    return CheckedSchemas(shipped().shared, by_rule, problems)
