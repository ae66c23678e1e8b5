"""`examine_cluster`: every check of a cluster, few requests at a time; each stands for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.doctor.access import Access, look_at_identity, look_at_privileges
from runner.doctor.checks import Check, RuleName, guarded
from runner.doctor.concurrency import Concurrency
from runner.doctor.hosts import (
    CurrentTime,
    compare_hosts,
    look_at_clock,
    look_at_host,
    look_at_licence,
    look_at_version,
    look_for_eql,
)
from runner.doctor.indices import look_at_events, look_at_fields, look_at_indices
from runner.doctor.setup import look_at_setup
from runner.errors import AccessError, RunnerError
from runner.rules.load import LoadedRules
from runner.rules.rule import Rule
from runner.search.cluster.search_failures import local_patterns
from runner.setup.index_objects import StoreNames

_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class Examination:
    """All checks of a cluster, and whether any of its hosts answered."""

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
    """Everything that can be seen of a cluster without changing it; `runtime_mappings` are fields beside its own.

    Without rules nothing of events is asked, as where these are in files. If no host answers, nothing else is asked.
    """
    limit = Concurrency(_AT_A_TIME)
    connection = client.connection
    hosts = await limit.gather(look_at_host(connection, host, now=now) for host in connection.hosts or ("",))
    checks = [check for host in hosts for check in host.checks] + compare_hosts(hosts)
    if not any(host.is_reachable for host in hosts):
        return Examination(tuple(checks), is_reachable=False)
    try:
        identity, has_security = await look_at_identity(client, now=now)
        checks += identity
    except RunnerError as error:
        if isinstance(error, AccessError) and not any(host.cluster for host in hosts):
            # Whoever is not let in can look at nothing.
            remedy = "correct the credentials: an API key, a user and password, or a bearer token"
            refused = Check("identity", "cluster", "problem", str(error), remedy)
            return Examination((*checks, refused), is_reachable=True)
        has_security = True
        checks.append(Check("identity", "cluster", "warning", str(error)))
    looks = [
        guarded("version", "cluster", look_at_version(client)),
        guarded("licence", "cluster", look_at_licence(client)),
        guarded("clock", "cluster", look_at_clock(client, now=now)),
        _access_and_setup(client, rules, names, has_security=has_security),
    ]
    if rules:
        # Of remote clusters nothing is asked here: they may be away, and may be of another version.
        searched = next((own for rule in rules if (own := local_patterns(rule.index))), rules[0].index)
        looks += [
            guarded("eql", "cluster", look_for_eql(client, searched)),
            _events(client, rules, now=now, limit=limit),
            guarded("field", "fields", look_at_fields(client, rules, limit=limit, runtime_mappings=runtime_mappings)),
        ]
    # Not within the limit: these wait for others that are.
    found = await Concurrency(len(looks)).gather(looks)
    return Examination((*checks, *(check for each in found for check in each)), is_reachable=True)


async def _access_and_setup(
    client: Elastic, rules: Sequence[Rule], names: StoreNames, *, has_security: bool
) -> list[Check]:
    access = Access()
    checks: list[Check] = []
    if has_security:
        try:
            access = await look_at_privileges(client, rules, names)
            checks += access.checks
        except RunnerError as error:
            checks.append(Check("privilege", "all", "warning", str(error)))
    return checks + await guarded("setup", "objects", look_at_setup(client, names, access))


async def _events(client: Elastic, rules: Sequence[Rule], *, now: CurrentTime, limit: Concurrency) -> list[Check]:
    try:
        checks, there = await look_at_indices(client, rules, limit=limit)
    except RunnerError as error:
        return [Check("index", "indices", "problem", str(error))]
    return checks + await guarded("events", "events", look_at_events(client, rules, there, now=now, limit=limit))


def look_at_rules(loaded: LoadedRules) -> list[Check]:
    """Every error of the rules' files and queries, and how many rules there are to run."""
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
    found = f"{enabled} EQL {'rule is' if enabled == 1 else 'rules are'} turned on"
    if off := len(loaded.rules) - enabled:
        found += f", {off} off"
    if loaded.unsupported:
        found += f", {len(loaded.unsupported)} are of other types and not run"
    if not enabled:
        remedy = "name rule files or folders with --rules (RUNNER_RULES)"
        return [*checks, Check("rule", "all", "problem", found, remedy)]
    return [*checks, Check("rule", "all", "ok", found)]
