"""Checks of the identity at the cluster, its expiry and its privileges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from runner.cluster import answer_shapes
from runner.cluster.elasticsearch import Elastic
from runner.cluster.transport import ApiCall
from runner.doctor.checks import SETUP_SHOWN, Check, moment_of, names_of, ok, spoken
from runner.doctor.hosts import CurrentTime
from runner.errors import AccessError, ClusterError
from runner.messages.quantities import counted
from runner.rules.rule import Rule
from runner.search.cluster.search_failures import local_patterns
from runner.setup.index_objects import StoreNames, role_bodies

_ENDS_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Access:
    """The checks of the privileges."""

    checks: tuple[Check, ...] = ()
    lacks_for_setup: str = ""
    """The missing privileges that `setup` needs; empty if there are none."""


@dataclass(frozen=True, slots=True)
class _Lacking:
    """Missing privileges of a role: on the cluster, and by index name."""

    cluster: tuple[str, ...] = ()
    indices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"on {names}: {', '.join(privileges)}" for privileges, names in _by_privileges(self.indices)]
        return "; ".join([f"on the cluster: {', '.join(self.cluster)}"] * bool(self.cluster) + parts)


async def check_identity(client: Elastic, *, now: CurrentTime) -> tuple[list[Check], bool]:
    """The checks of the user and API key, and whether the cluster has security at all."""
    try:
        answer = await client.transport.send_for_object(
            ApiCall("GET", "/_security/_authenticate", "ask who we are", expects=answer_shapes.IDENTITY)
        )
    except ClusterError as error:
        # Without security the path does not exist, or is taken for an index to write to.
        if not error.no_such_api and error.status not in (404, 405):
            raise
        found = "this cluster has no security: everybody who reaches it may read and change everything"
        remedy = "turn security on (xpack.security.enabled), unless this is a trial"
        return [Check("identity", "cluster", "warning", found, remedy)], False
    kind, realm = str(answer.get("authentication_type", "")), answer.get("authentication_realm") or {}
    roles = ", ".join(answer.get("roles") or ()) or "none"
    key = answer.get("api_key") or {}
    if not key:
        who = f'user "{answer.get("username")}" of the realm {realm.get("name", "?")} ({kind}), roles: {roles}'
        return [ok("identity", "cluster", who)], True
    who = f'API key "{key.get("name")}" (id {key.get("id")}) of user "{answer.get("username")}"'
    return [ok("identity", "cluster", who), await _check_key(client, str(key.get("id")), now=now)], True


async def _check_key(client: Elastic, key_id: str, *, now: CurrentTime) -> Check:
    params = {"id": key_id, "owner": True}
    try:
        answer = await client.transport.send_for_object(
            ApiCall("GET", "/_security/api_key", "read our API key", params=params, expects=answer_shapes.API_KEYS)
        )
    except (AccessError, ClusterError):
        return ok("api_key", key_id, "when it expires may not be read with it")
    keys: Sequence[Mapping[str, Any]] = answer.get("api_keys") or ()
    ends = next((key["expiration"] for key in keys if key.get("id") == key_id and key.get("expiration")), None)
    if ends is None:
        return ok("api_key", key_id, "does not expire")
    moment = moment_of(ends)
    left = moment - now()
    found = f"expires on {moment:%Y-%m-%d %H:%M} UTC, in {spoken(left)}"
    if left < _ENDS_SOON:
        return Check("api_key", key_id, "warning", found, "make a new one in time, and set ELASTICSEARCH_API_KEY")
    return ok("api_key", key_id, found)


async def check_privileges(client: Elastic, rules: Sequence[Rule], names: StoreNames) -> Access:
    """The missing privileges of the three roles that `setup` creates: read events, write alerts and state, set up."""
    patterns = sorted({name for rule in rules for name in local_patterns(rule.patterns_read)})
    bodies = role_bodies(names, events=patterns or ("logs-*",))
    read, write, set_up = bodies.values()
    checks = _reading_checks(await _lacking(client, read), rules, patterns)
    checks.append(_writing_check(await _lacking(client, write)))
    try:
        lacks = str(await _lacking(client, set_up))
    except ClusterError as error:
        # Serverless has no lifecycle policies, and no privilege for them.
        return Access((*checks, ok("privilege", "set up", f"can not be asked for here: {error.reason}")))
    if lacks:
        checks.append(ok("privilege", "set up", f"missing, and needed for `setup` only: {lacks}"))
    else:
        checks.append(ok("privilege", "set up", "may create and change the runner's templates, indices and aliases"))
    return Access(tuple(checks), lacks_for_setup=lacks)


def _reading_checks(lacking: _Lacking, rules: Sequence[Rule], patterns: Sequence[str]) -> list[Check]:
    checks = []
    if lacking.cluster:
        found = f"missing on the cluster: {', '.join(lacking.cluster)}"
        remedy = "grant it to see versions, clocks and remote clusters; searching does without it"
        checks.append(Check("privilege", "cluster", "warning", found, remedy))
    for pattern, privileges in lacking.indices.items():
        if pattern not in patterns:
            continue  # Without rules the role has index patterns of its own.
        concerned = names_of(rule for rule in rules if pattern in local_patterns(rule.patterns_read))
        found = f"may not read all of it, missing: {', '.join(privileges)}"
        remedy = f"grant `read` and `view_index_metadata` on it ({SETUP_SHOWN})"
        checks.append(Check("privilege", pattern, "problem", found, remedy, concerned))
    if patterns and not lacking.indices:
        found = f"may read what the rules search ({counted(len(patterns), 'index pattern')})"
        checks.append(ok("privilege", "read events", found))
    return checks


def _writing_check(lacking: _Lacking) -> Check:
    if not lacking.indices:
        return ok("privilege", "write alerts", "may write alerts, runs and state")
    found = f"may not write alerts, runs and state, missing {_Lacking(indices=lacking.indices)}"
    return Check("privilege", "write alerts", "problem", found, f"grant what is missing ({SETUP_SHOWN})")


async def _lacking(client: Elastic, role: Mapping[str, Any]) -> _Lacking:
    """The missing privileges of a role; the request itself needs none."""
    body = {"cluster": role.get("cluster", []), "index": role.get("indices", [])}
    action = "ask which privileges we have"
    answer = await client.transport.send_for_object(
        ApiCall("POST", "/_security/user/_has_privileges", action, body=body, expects=answer_shapes.PRIVILEGES)
    )
    indices = {
        name: missing
        for name, granted in (answer.get("index") or {}).items()
        if (missing := tuple(privilege for privilege, has in granted.items() if not has))
    }
    return _Lacking(tuple(name for name, has in (answer.get("cluster") or {}).items() if not has), indices)


def _by_privileges(indices: Mapping[str, tuple[str, ...]]) -> list[tuple[tuple[str, ...], str]]:
    """Lists of missing privileges, each with the names of its indices."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for name, privileges in indices.items():
        grouped.setdefault(privileges, []).append(name)
    return [(privileges, ", ".join(names)) for privileges, names in grouped.items()]
