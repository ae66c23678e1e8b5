"""Whether each host answers, what TLS says of it, and what the cluster is: version, licence, EQL, clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from runner.cluster.connection import Connection, without_user
from runner.cluster.elasticsearch import ClusterInfo, Elastic, Retry, open_client
from runner.cluster.http_node import addresses
from runner.cluster.kibana import Kibana
from runner.cluster.proxies import proxy_for
from runner.cluster.tls import read_chain, valid_until
from runner.cluster.transport import ApiCall, targets_part
from runner.doctor.checks import Check, ok, spoken
from runner.errors import AccessError, ClusterError, RunnerError, UnreachableError

CurrentTime = Callable[[], datetime]

_ENDS_SOON = timedelta(days=30)
_SKEW_NOTED, _SKEW_HARMFUL = timedelta(seconds=5), timedelta(seconds=60)
_MOST_SECONDS = 10.0
_UNREAD = "the certificate could not be read"


@dataclass(frozen=True, slots=True)
class HostResult:
    """One host of the connection, as it answered."""

    checks: tuple[Check, ...]
    is_reachable: bool
    cluster: str = ""
    """The unique id of the cluster that it belongs to; empty if it did not say."""


async def look_at_host(connection: Connection, host: str, *, now: CurrentTime) -> HostResult:
    """One host, asked by itself, once; `host` is empty for a cloud id."""
    patience = min(connection.request_timeout, _MOST_SECONDS)
    own = replace(connection, hosts=(host,) if host else (), request_timeout=patience)
    (shown,) = own.shown_hosts
    client = open_client(own, retry=Retry(attempts=1))
    try:
        checks, reachable, cluster = await _answer_of(client, shown)
    finally:
        await client.close()
    (address,) = addresses(own)
    if address.startswith("https:"):
        tls = await _look_at_tls(own, address, now=now)
        # Where nobody answers at all, that is said already.
        checks += (tls,) if reachable or tls.found != _UNREAD else ()
    return HostResult(checks, reachable, cluster)


def compare_hosts(hosts: Sequence[HostResult]) -> list[Check]:
    """A problem if the hosts belong to different clusters."""
    found = sorted({host.cluster for host in hosts if host.cluster})
    if len(found) < 2:
        return []
    text = f"the hosts belong to {len(found)} different clusters ({', '.join(found)})"
    return [Check("host", "all", "problem", text, "name hosts of one cluster in ELASTICSEARCH_HOSTS")]


async def _answer_of(client: Elastic, shown: str) -> tuple[tuple[Check, ...], bool, str]:
    proxy = next((f" through the proxy {found}" for found in _proxies(client.connection) if found), "")
    try:
        info = await client.info(retry=False)
    except UnreachableError as error:
        remedy = "see to the host, or correct ELASTICSEARCH_HOSTS (ELASTICSEARCH_CLOUD_ID)"
        return (Check("host", shown, "problem", str(error), remedy),), False, ""
    except AccessError:
        # It answers: who we are and what we may do is said elsewhere.
        return (ok("host", shown, f"answers{proxy}"),), True, ""
    except RunnerError as error:
        return (ok("host", shown, f"answers{proxy} ({error})"),), True, ""
    return (ok("host", shown, f"answers{proxy}, cluster {info.name}"),), True, info.uuid


def _proxies(connection: Connection) -> list[object]:
    return [proxy_for(connection, address) for address in addresses(connection)]


async def _look_at_tls(connection: Connection, host: str, *, now: CurrentTime) -> Check:
    shown = without_user(host)
    try:
        chain = await read_chain(connection, host, seconds=connection.request_timeout)
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
        # No problem by itself: there may be another way to a CA that is trusted.
        found = f"the certificate ends on {ends:%Y-%m-%d}, but that of a CA, sent along with it, on {first:%Y-%m-%d}"
        return Check("tls", shown, "warning", found, "renew that of the CA, or leave it out if it is not needed")
    return ok("tls", shown, f"the certificate is {trust} and ends on {ends:%Y-%m-%d}")


async def look_at_version(client: Elastic) -> list[Check]:
    """Which product and version the cluster is."""
    try:
        info = await client.info()
    except AccessError:
        return [ok("version", "cluster", "may not be read without the cluster privilege `monitor`")]
    return [_judged_version(info)]


def _judged_version(info: ClusterInfo) -> Check:
    kind = "" if info.distribution == "default" else f" ({info.distribution})"
    found = f"Elasticsearch {info.version}{kind}"
    major = re.match(r"\d+", info.version)
    if info.distribution == "serverless" or (major and major[0] in ("8", "9")):
        return ok("version", info.name, found)
    if major and int(major[0]) > 9:
        remedy = "look whether there is a newer rule-runner"
        return Check("version", info.name, "warning", f"{found}: newer than what rule-runner was tried with", remedy)
    return Check("version", info.name, "problem", f"{found}: too old, expected 8 or 9", "upgrade the cluster")


async def look_at_licence(client: Elastic) -> list[Check]:
    """The licence, where there is one that can be read; EQL is part of the free one."""
    try:
        answer = await client.request_object(ApiCall("GET", "/_license", "read the licence"))
    except (AccessError, ClusterError):
        return [ok("licence", "cluster", "none that could be read")]
    licence: Mapping[str, Any] = answer.get("license") or {}
    kind, status = str(licence.get("type", "?")), str(licence.get("status", "?"))
    if status == "expired":
        remedy = "renew it, or start the basic one; what it covers may be refused"
        return [Check("licence", "cluster", "warning", f"the {kind} licence has expired", remedy)]
    return [ok("licence", "cluster", f"{kind}, {status}")]


async def look_for_eql(client: Elastic, indices: Sequence[str]) -> list[Check]:
    """Whether the cluster has EQL, as searching finds it out too: from its answer, not from version or licence."""
    body = {"query": "any where false", "size": 1, "fetch_size": 2}
    params = {"allow_no_indices": True, "ignore_unavailable": True}
    action = f"search with EQL in {', '.join(indices)}"
    path = f"/{targets_part(indices)}/_eql/search"
    try:
        answer = await client.request_object(ApiCall("POST", path, action, params=params, body=body))
    except AccessError as error:
        return [Check("eql", "cluster", "problem", str(error), "grant `read` on the index patterns of the rules")]
    except ClusterError as error:
        if error.no_such_api:
            found = "not there: candidates are fetched from the cluster and matched here (fetch and match)"
            return [ok("eql", "cluster", found)]
        if error.status >= 500:
            raise
        # The API is there: it looked at the request and disliked an index.
        return [ok("eql", "cluster", "there: rules are asked through the EQL search API")]
    if search_id := answer.get("id"):
        await client.eql_delete(str(search_id))
    return [ok("eql", "cluster", "there: rules are asked through the EQL search API")]


async def look_at_clock(client: Elastic, *, now: CurrentTime) -> list[Check]:
    """How far our clock is from those of the nodes; rules select events by time.

    The nodes say their time in their statistics; a proxy before them may say it in the header `Date`.
    """
    path, fields = "/_nodes/stats/process", "nodes.*.name,nodes.*.timestamp"
    call = ApiCall("GET", path, "read the nodes' statistics", params={"filter_path": fields})
    try:
        answer = await client.answer_to(call)
    except (AccessError, ClusterError):
        answer = await client.answer_to(ApiCall("GET", "/", "read the cluster's version", ignore=(401, 403)))
    after = now()
    # Of the attempt that was answered: those before it, of hosts that are away, say nothing.
    before = after - timedelta(seconds=answer.took)
    nodes = answer.body.get("nodes", {}) if isinstance(answer.body, Mapping) else {}
    checks = [
        _judged_skew(
            f"node {node.get('name', '?')}",
            (datetime.fromtimestamp(node["timestamp"] / 1_000, UTC),) * 2,
            before=before,
            after=after,
        )
        for node in nodes.values()
        if isinstance(node.get("timestamp"), int)
    ]
    if not checks and (date := answer.headers.get("date")):
        said = parsedate_to_datetime(date)
        span = (said, said + timedelta(seconds=1))
        checks.append(_judged_skew("the server before the cluster", span, before=before, after=after))
    return checks or [ok("clock", "cluster", "not compared: the cluster does not say what time it is, or not to us")]


def _judged_skew(subject: str, theirs: tuple[datetime, datetime], *, before: datetime, after: datetime) -> Check:
    """Their clock showed something in a span while ours went from `before` to `after`."""
    ahead, behind = theirs[0] - after, before - theirs[1]
    skew = max(ahead, behind)
    if skew <= _SKEW_NOTED:
        return ok("clock", subject, f"agrees with ours (to {spoken(max(skew, after - before))})")
    found = f"its clock is {spoken(skew)} {'ahead of' if ahead > behind else 'behind'} ours"
    remedy = (
        "set both clocks by the same time server: rules search spans of our time, events bear the time of their hosts"
    )
    return Check("clock", subject, "problem" if skew > _SKEW_HARMFUL else "warning", found, remedy)


async def look_at_kibana(kibana: Kibana, address: str) -> list[Check]:
    """Its version, or why that could not be read. Searching and writing alerts do without Kibana."""
    try:
        version = await kibana.check_version()
    except RunnerError as error:
        remedy = "correct KIBANA_HOST (or KIBANA_URL); only `setup` and the links in alerts need it"
        return [Check("kibana", address, "warning", str(error), remedy)]
    return [ok("kibana", address, f"Kibana {version} answers" if version else "answers, without saying its version")]
