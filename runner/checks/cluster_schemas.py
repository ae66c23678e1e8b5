"""`of_cluster`: the fields that a cluster has in the indices of each rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.checks.schemas import CheckedSchemas, shipped
from runner.cluster.elasticsearch import Elastic
from runner.events.fields.schema import Schema
from runner.rules.model_errors import FieldFinding
from runner.search.cluster.field_caps import FieldCapsCache
from runner.search.compiled_rule import CompiledRule, found_in_file


async def of_cluster(
    client: Elastic, compiled: Sequence[CompiledRule], runtime_mappings: Mapping[str, Any]
) -> CheckedSchemas:
    """The schemas of the rules; of those without an index the shipped one, with a finding. Raises RunnerError."""
    local = [one for one in compiled if one.is_local and one.rule.index]
    by_rule: dict[str, Schema] = {}
    problems = []
    cache = FieldCapsCache(client, runtime_mappings=runtime_mappings)
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
