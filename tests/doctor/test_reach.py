"""What the doctor says of hosts, TLS, version, licence, EQL and clocks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runner.cluster.connection import Connection
from runner.cluster.tls import valid_until
from tests.cluster.forward_proxy import forward_proxy
from tests.cluster.tls import Authority, tls_before
from tests.doctor.examination import examined, the, told
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.search.lab import rule

CLOSED = "http://127.0.0.1:9"


async def test_every_host_is_asked_by_itself(elasticsearch_url: str) -> None:
    checks = await examined(Connection(hosts=(CLOSED, elasticsearch_url)))
    down = the(checks, "host", CLOSED)
    assert down.outcome == "problem"
    assert "connection refused" in down.found
    assert "ELASTICSEARCH_HOSTS" in down.remedy
    up = the(checks, "host", elasticsearch_url)
    assert up.outcome == "ok"
    assert "answers, cluster" in up.found
    assert told(checks, "version")[0].startswith("ok ")


async def test_nothing_else_is_asked_where_no_host_answers() -> None:
    checks = await examined(Connection(hosts=(CLOSED,)), [rule()])
    assert [(check.name, check.outcome) for check in checks] == [("host", "problem")]


async def test_hosts_of_two_clusters_are_a_problem(eql_proxy: Proxy, elasticsearch_url: str) -> None:
    other = {"cluster_name": "other", "cluster_uuid": "another-one", "version": {"number": "8.19.0"}}
    eql_proxy.answer_next(200, other, times=EVERY)
    checks = await examined(Connection(hosts=(eql_proxy.url, elasticsearch_url)))
    assert "different clusters" in the(checks, "host", "all").found


@pytest.mark.parametrize(
    ("number", "outcome", "expected"),
    [("9.1.2", "ok", "Elasticsearch 9.1.2"), ("10.0.0", "warning", "newer than"), ("7.17.9", "problem", "too old")],
)
async def test_versions(eql_proxy: Proxy, number: str, outcome: str, expected: str) -> None:
    root = {"cluster_name": "c", "cluster_uuid": "u", "version": {"number": number, "build_flavor": "default"}}
    eql_proxy.answer_next(200, root, times=EVERY)
    checks = await examined(Connection(hosts=(eql_proxy.url,)))
    found = the(checks, "version", "c")
    assert found.outcome == outcome
    assert expected in found.found


async def test_eql_is_found_out_from_the_answer(eql_proxy: Proxy, plain_proxy: Proxy) -> None:
    rules = [rule(index=["logs-*", "berlin:logs-*"])]
    there = the(await examined(Connection(hosts=(eql_proxy.url,)), rules), "eql", "cluster")
    assert "there: rules are asked through the EQL search API" in there.found
    (request,) = eql_proxy.requests_on("_eql/search")
    assert request.path == "/logs-*/_eql/search"
    absent = the(await examined(Connection(hosts=(plain_proxy.url,)), rules), "eql", "cluster")
    assert absent.outcome == "ok"
    assert "fetch and match" in absent.found


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"license": {"type": "basic", "status": "active"}}, "ok cluster: basic, active"),
        (200, {"license": {"type": "gold", "status": "expired"}}, "warning cluster: the gold licence has expired"),
        (404, {}, "ok cluster: none that could be read"),
    ],
)
async def test_licences(eql_proxy: Proxy, status: int, body: dict[str, object], expected: str) -> None:
    eql_proxy.answer_next(status, body, on="_license")
    assert told(await examined(Connection(hosts=(eql_proxy.url,))), "licence") == [expected]


@pytest.mark.parametrize(
    ("ahead", "outcome", "expected"),
    [
        (timedelta(0), "ok", "agrees with ours"),
        (timedelta(seconds=20), "warning", "20 s behind ours"),
        (timedelta(minutes=3), "problem", "3 m behind ours"),
        (timedelta(hours=-2), "problem", "2 h ahead of ours"),
    ],
)
async def test_the_clocks_of_the_nodes(eql_proxy: Proxy, ahead: timedelta, outcome: str, expected: str) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    theirs = now - ahead
    nodes = {"nodes": {"a": {"name": "one", "timestamp": int(theirs.timestamp() * 1_000)}}}
    eql_proxy.answer_next(200, nodes, on="_nodes/stats")
    found = the(await examined(Connection(hosts=(eql_proxy.url,)), now=now), "clock", "node one")
    assert found.outcome == outcome
    assert expected in found.found


async def test_a_real_node_says_what_time_it_is(elasticsearch_url: str) -> None:
    (said,) = told(await examined(Connection(hosts=(elasticsearch_url,))), "clock")
    assert said.startswith("ok node ")


async def test_the_header_date_stands_in_where_the_nodes_say_nothing(eql_proxy: Proxy) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    eql_proxy.fail_next(403, on="_nodes/stats", kind="security_exception")
    eql_proxy.fail_next(403, on="/", kind="none", headers={"Date": format_datetime(now + timedelta(hours=1))}, times=9)
    checks = await examined(Connection(hosts=(eql_proxy.url,)), now=now)
    assert told(checks, "clock") == ["problem the server before the cluster: its clock is 1 h ahead of ours"]


async def test_certificates(elasticsearch_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("server")
    async with tls_before(elasticsearch_url, certificate) as url:
        soon = the(await examined(Connection(hosts=(url,), ca_certs=authority.certificate.file)), "tls", url)
        assert soon.outcome == "warning"
        assert "the certificate ends on" in soon.found
        assert soon.remedy == "renew it"
        unchecked = the(await examined(Connection(hosts=(url,), verify_certs=False)), "tls", url)
        assert unchecked.outcome == "warning"
        assert "not checked" in unchecked.found
        last_year = datetime.now(UTC) - timedelta(days=365)
        connection = Connection(hosts=(url,), fingerprint=certificate.fingerprint)
        known = the(await examined(connection, now=last_year), "tls", url)
        assert known.outcome == "ok"
        assert "checked by its fingerprint" in known.found
    assert not told(await examined(Connection(hosts=(url,))), "tls")


async def test_a_cloud_id_through_a_proxy(elasticsearch_url: str, tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue("server", names="DNS:4f2a.cloud.internal")
    async with tls_before(elasticsearch_url, certificate) as url:
        inner = base64.b64encode(b"cloud.internal:9243$4f2a").decode()
        async with forward_proxy({"4f2a.cloud.internal": urlsplit(url).port or 0}, login="me:secret-1") as proxy:
            way = proxy.url.replace("//", "//me:secret-1@")
            connection = Connection(cloud_id=f"mine:{inner}", fingerprint=certificate.fingerprint, proxy=way)
            checks = await examined(connection)
    host = the(checks, "host", "cloud mine")
    assert host.found.startswith(f"answers through the proxy {proxy.url} (ELASTICSEARCH_PROXY), cluster ")
    assert the(checks, "tls", "https://4f2a.cloud.internal:9243").found.startswith("the certificate ends on")
    assert "secret-1" not in str(checks)


async def test_answers_that_make_no_sense_are_findings(eql_proxy: Proxy) -> None:
    for on in ("_license", "_nodes/stats", "_security/_authenticate", "_eql/search", "_resolve"):
        eql_proxy.answer_next(200, b'["no", "object"]', on=on, times=EVERY)
    checks = await examined(Connection(hosts=(eql_proxy.url,)), [rule()])
    assert {"host", "identity", "licence", "clock", "eql", "index", "setup"} <= {check.name for check in checks}


async def test_an_expired_certificate_is_a_problem_even_if_it_is_not_checked(
    elasticsearch_url: str, tmp_path: Path
) -> None:
    certificate = Authority(tmp_path).issue("old", dates=("20200101000000Z", "20200102030405Z"))
    async with tls_before(elasticsearch_url, certificate) as url:
        found = the(await examined(Connection(hosts=(url,), verify_certs=False)), "tls", url)
    assert (found.outcome, found.found) == ("problem", "the certificate ended on 2020-01-02")


async def test_a_ca_that_ends_before_the_certificate_does(elasticsearch_url: str, tmp_path: Path) -> None:
    """The CA of these tests is good for two days."""
    certificate = Authority(tmp_path).issue("long", dates=("20200101000000Z", "20990102030405Z"))
    async with tls_before(elasticsearch_url, certificate) as url:
        found = the(await examined(Connection(hosts=(url,), fingerprint=certificate.fingerprint)), "tls", url)
    assert found.outcome == "warning"
    assert "the certificate ends on 2099-01-02, but that of a CA, sent along with it, on " in found.found


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20200102030405Z", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        # From 2050 on the year has four digits in the certificate, too.
        ("20510203040506Z", datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC)),
    ],
)
def test_the_end_of_a_certificate_is_read(tmp_path: Path, written: str, expected: datetime) -> None:
    certificate = Authority(tmp_path).issue("dated", dates=("20200101000000Z", written))
    assert valid_until(certificate.der) == expected


@pytest.mark.parametrize("junk", [b"", b"\x30", b"\x30\x03abc", b"\x30\x05\x30\x03\x02\x01\x00"])
def test_what_is_no_certificate_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        valid_until(junk)
