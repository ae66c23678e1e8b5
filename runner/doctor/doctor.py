"""`examine_cluster`: all checks of a cluster, independent of each other, a few requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.doctor.access import Access, check_identity, check_privileges
from runner.doctor.checks import Check, RuleName, gather, guarded
from runner.doctor.esql_queries import check_esql
from runner.doctor.hosts import (
    CurrentTime,
    check_clock,
    check_eql,
    check_host,
    check_licence,
    check_version,
    compare_hosts,
)
from runner.doctor.indices import check_events, check_fields, check_indices
from runner.doctor.setup import check_setup
from runner.errors import AccessError, RunnerError
from runner.rules.load import LoadedRules
from runner.rules.rule import Rule
from runner.search.cluster.search_failures import local_patterns
from runner.setup.index_objects import StoreNames

_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class Examination:
    """The checks of a cluster, and whether any of its hosts answered."""

    checks: tuple[Check, ...]
    is_reachable: bool


async def examine_cluster(
    client: Elastic,
    rules: Sequence[Rule],
    names: StoreNames,
    *,
    now: CurrentTime,
    runtime_mappings: Mapping[str, Any] | None = None,
) -> Examination:
    """The checks of a cluster, none of which changes it; `runtime_mappings` are fields in addition to its own.

    Without rules, events are not checked: pass none if the events are in files. If no host answers, or none accepts
    the credentials, the checks end there.
    """
    limit = asyncio.Semaphore(_AT_A_TIME)
    connection = client.connection
    hosts = await gather((check_host(connection, host, now=now) for host in connection.hosts or ("",)), limit)
    checks = [check for host in hosts for check in host.checks] + compare_hosts(hosts)
    if not any(host.is_reachable for host in hosts):
        return Examination(tuple(checks), is_reachable=False)
    try:
        identity, has_security = await check_identity(client, now=now)
        checks += identity
    except RunnerError as error:
        if isinstance(error, AccessError) and not any(host.cluster for host in hosts):
            remedy = "correct the credentials: an API key, a user and password, or a bearer token"
            refused = Check("identity", "cluster", "problem", str(error), remedy)
            return Examination((*checks, refused), is_reachable=True)
        has_security = True
        checks.append(Check("identity", "cluster", "warning", str(error)))
    pending = [
        guarded("version", "cluster", check_version(client)),
        guarded("licence", "cluster", check_licence(client)),
        guarded("clock", "cluster", check_clock(client, now=now)),
        _access_and_setup(client, rules, names, has_security=has_security),
    ]
    if rules:
        # Local patterns only: remote clusters may be away, and may have another version.
        searched = next((own for rule in rules if (own := local_patterns(rule.index))), rules[0].index)
        pending += [
            guarded("eql", "cluster", check_eql(client, searched)),
            _events(client, rules, now=now, limit=limit),
            guarded("esql", "queries", check_esql(client, rules, limit=limit)),
            guarded("field", "fields", check_fields(client, rules, limit=limit, runtime_mappings=runtime_mappings)),
        ]
    # Outside the limit: these wait for requests inside it.
    found = await asyncio.gather(*pending)
    return Examination((*checks, *chain.from_iterable(found)), is_reachable=True)


async def _access_and_setup(
    client: Elastic, rules: Sequence[Rule], names: StoreNames, *, has_security: bool
) -> list[Check]:
    access = Access()
    checks: list[Check] = []
    if has_security:
        try:
            access = await check_privileges(client, rules, names)
            checks += access.checks
        except RunnerError as error:
            checks.append(Check("privilege", "all", "warning", str(error)))
    return checks + await guarded("setup", "objects", check_setup(client, names, access))


async def _events(client: Elastic, rules: Sequence[Rule], *, now: CurrentTime, limit: asyncio.Semaphore) -> list[Check]:
    try:
        checks, existing = await check_indices(client, rules, limit=limit)
    except RunnerError as error:
        return [Check("index", "indices", "problem", str(error))]
    return checks + await guarded("events", "events", check_events(client, rules, existing, now=now, limit=limit))


def check_rules(loaded: LoadedRules) -> list[Check]:
    """A check per error of the rules' files and queries, and one with the count of rules to run."""
    names = {rule.rule_id: rule.name for rule in (*loaded.rules, *loaded.unsupported)}
    remedy = "correct the file; `rule-runner check` shows the line"
    checks = [
        Check(
            "rule",
            str(problem.file),
            "problem",
            str(problem),
            remedy,
            (RuleName(problem.rule_id, names[problem.rule_id]),) if problem.rule_id in names else (),
        )
        for problem in loaded.errors
    ]
    enabled = sum(rule.enabled for rule in loaded.rules)
    found = f"{enabled} {'rule is' if enabled == 1 else 'rules are'} turned on"
    if off := len(loaded.rules) - enabled:
        found += f", {off} off"
    if loaded.unsupported:
        found += f", {len(loaded.unsupported)} are of other types and not run"
    if loaded.left_out:
        found += f", {len(loaded.left_out)} are not selected"
    if loaded.deprecated:
        found += f", {len(loaded.deprecated)} are deprecated and not run"
    if not enabled:
        remedy = "name rule files or folders with --rules (RUNNER_RULES)"
        return [*checks, Check("rule", "all", "problem", found, remedy)]
    return [*checks, Check("rule", "all", "ok", found)]
