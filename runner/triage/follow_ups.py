"""The searches with which an analyst goes on from an alert, of those for which it has values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from runner.alerts.event_fields import texts_at
from runner.triage.lookups import counted_query
from runner.triage.network import connection_of
from runner.triage.next_searches import (
    Clause,
    FollowUp,
    alerts_command,
    eql_clause,
    follow_up,
    kql_clause,
    nearby,
    search_command,
)
from runner.triage.process_chain import pid_at

_REMOTE: Final = frozenset({"public", "private", "shared", "unknown"})
_SAME: Final = (
    ("file hash", "file.hash.sha256"),
    ("executable", "process.hash.sha256"),
    ("DNS name", "dns.question.name"),
    ("file", "file.path"),
    ("registry path", "registry.path"),
    ("module", "dll.hash.sha256"),
    ("script", "powershell.file.script_block_id"),
    ("source address", "source.ip"),
    ("sender", "email.from.address"),
)
"""(title, field) of what is searched for on all hosts; of an address only if it is not of a host of the alert."""


def follow_ups(
    head: Mapping[str, Any],
    documents: Sequence[Mapping[str, Any]],
    span: tuple[datetime, datetime] | None,
    search_options: Sequence[str] = (),
) -> tuple[FollowUp, ...]:
    """The searches for an alert's documents, whose events lie in `span`."""
    host_field = "host.id" if _all(documents, "host.id") else "host.name"
    hosts = Clause(host_field, _all(documents, host_field))
    found = [*_counted(head), *_of_host(documents, hosts, span), *_elsewhere(documents, span)]
    searches = (
        replace(one, command=search_command(one.eql, search_options))
        if one.eql
        else replace(one, command=search_command(one.kql, ("--language", "kuery", *search_options)))
        for one in found
    )
    return (*searches, *_other_alerts(hosts))


def _counted(head: Mapping[str, Any]) -> Iterator[FollowUp]:
    """The search for the events that a threshold rule has counted; its query may be in KQL, which is no EQL."""
    if query := counted_query(head):
        yield FollowUp("The events that were counted", "", " ".join(query.split()))


def _of_host(
    documents: Sequence[Mapping[str, Any]], hosts: Clause, around: tuple[datetime, datetime] | None
) -> Iterator[FollowUp]:
    """What else happened on the host, and what the processes did there."""
    if hosts.values:
        yield follow_up("Everything on the same host around that time", "any", clauses=(hosts,), around=around)
    entities, parents = _all(documents, "process.entity_id"), _all(documents, "process.parent.entity_id")
    title = "All that these processes and their children did"
    siblings = "Other children of the same parent process"
    if entities:
        clauses = (Clause("process.entity_id", entities), Clause("process.parent.entity_id", entities))
        yield follow_up(title, "any", clauses=clauses, around=None)
    elif pids := _pids(documents, "process.pid"):
        own = (Clause("process.pid", pids), Clause("process.parent.pid", pids))
        yield _by_pid(title, hosts, own, around)
    if parents:
        yield follow_up(siblings, "process", clauses=(Clause("process.parent.entity_id", parents),), around=None)
    elif pids := _pids(documents, "process.parent.pid"):
        yield _by_pid(siblings, hosts, (Clause("process.parent.pid", pids),), around)


def _by_pid(title: str, hosts: Clause, clauses: Sequence[Clause], around: tuple[datetime, datetime] | None) -> FollowUp:
    """A search by process ids, which only on one host and around one time mean the same process."""
    within = [nearby(around)] if around is not None else []
    eql, kql = (
        " and ".join([
            *([one(hosts)] if hosts.values else []),
            f"({' or '.join(map(one, clauses))})" if len(clauses) > 1 else one(clauses[0]),
            *within,
        ])
        for one in (eql_clause, kql_clause)
    )  # fmt: skip
    return FollowUp(title, f"any where {eql}", kql)


def _elsewhere(documents: Sequence[Mapping[str, Any]], around: tuple[datetime, datetime] | None) -> Iterator[FollowUp]:
    """The same values on all hosts."""
    connections = [found for found in map(connection_of, documents) if found is not None]
    remote = dict.fromkeys(c.destination_ip for c in connections if c.destination_scope in _REMOTE)
    remote.pop("", None)
    if remote:
        destinations = (Clause("destination.ip", tuple(remote)),)
        yield follow_up("The same destination, on all hosts", "network", clauses=destinations, around=None)
    user_field = "user.name" if _all(documents, "user.name") else "user.id"
    if users := _all(documents, user_field):
        title = "The same user around that time, on all hosts"
        yield follow_up(title, "any", clauses=(Clause(user_field, users),), around=around)
    own = {*_all(documents, "host.ip"), *(c.source_ip for c in connections if c.source_scope not in _REMOTE)}
    for title, field in _SAME:
        values = [value for value in _all(documents, field) if field != "source.ip" or value not in own]
        if field == "source.ip" and remote:
            continue  # the source of a connection that the host has made
        if values:
            yield follow_up(f"The same {title}, on all hosts", "any", clauses=(Clause(field, values),), around=None)


def _other_alerts(host: Clause) -> list[FollowUp]:
    if not host.values:
        return []
    of_host = follow_up("Other alerts of the same host", "any", clauses=(host,), around=None)
    condition = of_host.eql.removeprefix("any where ")
    eql = f'any where event.kind == "signal" and {condition}'
    command = alerts_command(host=str(host.values[0])) if len(host.values) == 1 else ""
    return [FollowUp(of_host.title, eql, f"kibana.alert.uuid : * and {of_host.kql}", command)]


def _all(documents: Sequence[Mapping[str, Any]], path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for document in documents for text in texts_at(document, path)))


def _pids(documents: Sequence[Mapping[str, Any]], path: str) -> tuple[int, ...]:
    found = (pid_at(document, path) for document in documents)
    return tuple(dict.fromkeys(pid for pid in found if pid is not None))
