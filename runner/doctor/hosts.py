"""Checks of each host and its certificate, and of the cluster's version, licence, EQL API and clocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from runner.cluster import answer_shapes
from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import ClusterInfo, Elastic, Retry, open_client
from runner.cluster.http_node import addresses
from runner.cluster.kibana import Kibana
from runner.cluster.proxies import proxy_for
from runner.cluster.tls import read_chain, valid_until
from runner.cluster.transport import ApiCall, targets_part
from runner.doctor.checks import Check, moment_of, ok, spoken
from runner.errors import AccessError, ClusterError, RunnerError, UnreachableError

CurrentTime = Callable[[], datetime]

_ENDS_SOON = timedelta(days=30)
_SKEW_NOTED, _SKEW_HARMFUL = timedelta(seconds=5), timedelta(seconds=60)
_MOST_SECONDS = 10.0
_UNREAD = "the certificate could not be read"


@dataclass(frozen=True, slots=True)
class HostResult:
    """The checks of one host."""

    checks: tuple[Check, ...]
    is_reachable: bool
    cluster: str = ""
    """The UUID of its cluster; empty if unknown."""


async def check_host(connection: Connection, host: str, *, now: CurrentTime) -> HostResult:
    """The checks of one host, from a single request; `host` is empty for a cloud id."""
    timeout = min(connection.request_timeout, _MOST_SECONDS)
    own = replace(connection, hosts=(host,) if host else (), request_timeout=timeout)
    (shown,) = own.shown_hosts
    client = open_client(own, retry=Retry(attempts=1))
    try:
        checks, reachable, cluster = await _answer_of(client, shown)
    finally:
        await client.close()
    (address,) = addresses(own)
    if address.startswith("https:"):
        tls = await _check_tls(own, address, now=now)
        # A host that does not answer has a problem already.
        checks += (tls,) if reachable or tls.found != _UNREAD else ()
    return HostResult(checks, reachable, cluster)


def compare_hosts(hosts: Sequence[HostResult]) -> list[Check]:
    """A problem if the hosts belong to different clusters, else nothing."""
    found = sorted({host.cluster for host in hosts if host.cluster})
    if len(found) < 2:
        return []
    text = f"the hosts belong to {len(found)} different clusters ({', '.join(found)})"
    return [Check("host", "all", "problem", text, "name hosts of one cluster in ELASTICSEARCH_HOSTS")]


async def _answer_of(client: Elastic, shown: str) -> tuple[tuple[Check, ...], bool, str]:
    connection = client.connection
    proxies = (proxy_for(connection, address) for address in addresses(connection))
    proxy = next((f" through the proxy {found}" for found in proxies if found), "")
    try:
        info = await client.info(retry=False)
    except UnreachableError as error:
        remedy = "see to the host, or correct ELASTICSEARCH_HOSTS (ELASTICSEARCH_CLOUD_ID)"
        return (Check("host", shown, "problem", str(error), remedy),), False, ""
    except AccessError:
        # It answers; identity and privileges have checks of their own.
        return (ok("host", shown, f"answers{proxy}"),), True, ""
    except RunnerError as error:
        return (ok("host", shown, f"answers{proxy} ({error})"),), True, ""
    return (ok("host", shown, f"answers{proxy}, cluster {info.name}"),), True, info.uuid


async def _check_tls(connection: Connection, shown: str, *, now: CurrentTime) -> Check:
    try:
        chain = await read_chain(connection, shown, seconds=connection.request_timeout)
        ends, *others = map(valid_until, chain)
    except (aiohttp.ClientError, OSError, ValueError):
        return Check("tls", shown, "warning", _UNREAD)
    left = ends - now()
    if left < timedelta(0):
        return Check("tls", shown, "problem", f"the certificate ended on {ends:%Y-%m-%d}", "renew it")
    if connection.fingerprint:
        trust = "checked by its fingerprint"
    elif not connection.verify_certs:
        found = (
            f"the certificate is not checked (it ends on {ends:%Y-%m-%d}): anybody in between can read and change all"
        )
        remedy = "set ELASTICSEARCH_CA_CERTS or ELASTICSEARCH_FINGERPRINT, and ELASTICSEARCH_VERIFY_CERTS=true"
        return Check("tls", shown, "warning", found, remedy)
    else:
        trust = f"checked against {connection.ca_certs or 'the CAs of the system'}"
    if left < _ENDS_SOON:
        return Check("tls", shown, "warning", f"the certificate ends on {ends:%Y-%m-%d}, in {spoken(left)}", "renew it")
    if others and (first := min(others)) - now() < _ENDS_SOON:
        # A warning only: there may be another path to a trusted CA.
        found = f"the certificate ends on {ends:%Y-%m-%d}, but that of a CA, sent along with it, on {first:%Y-%m-%d}"
        return Check("tls", shown, "warning", found, "renew that of the CA, or leave it out if it is not needed")
    return ok("tls", shown, f"the certificate is {trust} and ends on {ends:%Y-%m-%d}")


async def check_version(client: Elastic) -> list[Check]:
    """The check of the cluster's version."""
    try:
        info = await client.info()
    except AccessError:
        return [ok("version", "cluster", "may not be read without the cluster privilege `monitor`")]
    return [_version_check(info)]


def _version_check(info: ClusterInfo) -> Check:
    kind = "" if info.distribution == "default" else f" ({info.distribution})"
    found = f"Elasticsearch {info.version}{kind}"
    major = re.match(r"\d+", info.version)
    if info.distribution == "serverless" or (major and major[0] in ("8", "9")):
        return ok("version", info.name, found)
    if major and int(major[0]) > 9:
        remedy = "look whether there is a newer rule-runner"
        return Check("version", info.name, "warning", f"{found}: newer than what rule-runner was tried with", remedy)
    return Check("version", info.name, "problem", f"{found}: too old, expected 8 or 9", "upgrade the cluster")


async def check_licence(client: Elastic) -> list[Check]:
    """The check of the licence, if it can be read. EQL needs the basic one only."""
    try:
        answer = await client.transport.send_for_object(
            ApiCall("GET", "/_license", "read the licence", expects=answer_shapes.LICENCE)
        )
    except (AccessError, ClusterError):
        return [ok("licence", "cluster", "none that could be read")]
    licence: Mapping[str, Any] = answer.get("license") or {}
    kind, status = str(licence.get("type", "?")), str(licence.get("status", "?"))
    if status == "expired":
        remedy = "renew it, or start the basic one; what it covers may be refused"
        return [Check("licence", "cluster", "warning", f"the {kind} licence has expired", remedy)]
    return [ok("licence", "cluster", f"{kind}, {status}")]


async def check_eql(client: Elastic, indices: Sequence[str]) -> list[Check]:
    """The check of the EQL search API, by a request as in a search, not by version or licence."""
    body = {"query": "any where false", "size": 1, "fetch_size": 2}
    params = {"allow_no_indices": True, "ignore_unavailable": True}
    action = f"search with EQL in {', '.join(indices)}"
    path = f"/{targets_part(indices)}/_eql/search"
    try:
        answer = await client.transport.send_for_object(
            ApiCall("POST", path, action, params=params, body=body, expects=answer_shapes.EQL_DONE)
        )
    except AccessError as error:
        return [Check("eql", "cluster", "problem", str(error), "grant `read` on the index patterns of the rules")]
    except ClusterError as error:
        if error.no_such_api:
            found = "not there: candidates are fetched from the cluster and matched here (fetch and match)"
            return [ok("eql", "cluster", found)]
        if error.status >= 500:
            raise
        answer = {}  # The API exists: the error is about an index.
    if search_id := answer.get("id"):
        await client.eql_delete(str(search_id))
    return [ok("eql", "cluster", "there: rules are asked through the EQL search API")]


async def check_clock(client: Elastic, *, now: CurrentTime) -> list[Check]:
    """A check per node of its clock's skew from ours; rules select events by time.

    The time is that of the nodes' statistics, or of the header `Date`, which a proxy may have added.
    """
    path, fields = "/_nodes/stats/process", "nodes.*.name,nodes.*.timestamp"
    params, expected = {"filter_path": fields}, answer_shapes.NODES
    call = ApiCall("GET", path, "read the nodes' statistics", params=params, expects=expected)
    try:
        answer = await client.transport.send_for_answer(call)
    except (AccessError, ClusterError):
        answer = await client.transport.send_for_answer(
            ApiCall("GET", "/", "read the cluster's version", ignore=(401, 403))
        )
    after = now()
    # The span of the attempt that succeeded, without those before it at hosts that are away.
    before = after - timedelta(seconds=answer.took)
    nodes = (answer.body.get("nodes") or {}) if isinstance(answer.body, Mapping) else {}
    checks = [
        _skew_check(
            f"node {node.get('name', '?')}",
            (moment_of(node["timestamp"]),) * 2,
            before=before,
            after=after,
        )
        for node in nodes.values()
        if isinstance(node.get("timestamp"), int)
    ]
    if not checks and (second := _date_of(answer.headers)) is not None:
        span = (second, second + timedelta(seconds=1))
        checks.append(_skew_check("the server before the cluster", span, before=before, after=after))
    return checks or [ok("clock", "cluster", "not compared: the cluster does not say what time it is, or not to us")]


def _date_of(headers: Mapping[str, str]) -> datetime | None:
    """The time of the header `Date`; None without one, or if it is none in UTC."""
    try:
        found = parsedate_to_datetime(headers.get("date") or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _skew_check(subject: str, theirs: tuple[datetime, datetime], *, before: datetime, after: datetime) -> Check:
    """The check of a clock that showed a time within `theirs` while ours went from `before` to `after`."""
    ahead, behind = theirs[0] - after, before - theirs[1]
    skew = max(ahead, behind)
    if skew <= _SKEW_NOTED:
        return ok("clock", subject, f"agrees with ours (to {spoken(max(skew, after - before))})")
    found = f"its clock is {spoken(skew)} {'ahead of' if ahead > behind else 'behind'} ours"
    remedy = (
        "set both clocks by the same time server: rules search spans of our time, events bear the time of their hosts"
    )
    return Check("clock", subject, "problem" if skew > _SKEW_HARMFUL else "warning", found, remedy)


async def check_kibana(kibana: Kibana, address: str) -> list[Check]:
    """The check of Kibana's version. Searches and alerts do not need Kibana."""
    try:
        version = await kibana.check_version()
    except RunnerError as error:
        remedy = "correct KIBANA_HOST (or KIBANA_URL); only `setup` and the links in alerts need it"
        return [Check("kibana", address, "warning", str(error), remedy)]
    return [ok("kibana", address, f"Kibana {version} answers" if version else "answers, without saying its version")]
