"""The node is an Elasticsearch: what the other tests rest on."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import (
    AuthenticationException,
    AuthorizationException,
    ConnectionTimeout,
    Elasticsearch,
    NotFoundError,
)
from elasticsearch import ConnectionError as Unreachable

from tests.elasticsearch.events import EVENTS, make_stream
from tests.elasticsearch.fixture import remove_all
from tests.elasticsearch.node import SECURE_PASSWORD, Node, NodeFailedError
from tests.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url) as client:
        yield client


def test_says_what_it_is(client: Elasticsearch) -> None:
    told = client.info()

    assert told["tagline"] == "You Know, for Search"
    assert told["version"]["number"].split(".")[0] in {"8", "9"}


def test_data_stream_takes_a_document_once(client: Elasticsearch, namespace: str) -> None:
    stream = make_stream(client, namespace)

    again = client.bulk(index=stream, operations=[{"create": {"_id": "e0"}}, EVENTS[0]], refresh=True)

    assert again["items"][0]["create"]["status"] == 409
    assert again["items"][0]["create"]["error"]["type"] == "version_conflict_engine_exception"
    assert client.count(index=stream)["count"] == len(EVENTS)


def test_data_stream_rolls_over_and_goes(client: Elasticsearch, namespace: str) -> None:
    stream = make_stream(client, namespace)

    assert client.indices.rollover(alias=stream)["rolled_over"]
    told = client.indices.get_data_stream(name=stream)["data_streams"][0]
    assert (told["name"], told["generation"], len(told["indices"])) == (stream, 2, 2)

    client.indices.delete_data_stream(name=stream)
    with pytest.raises(NotFoundError):
        client.indices.get_data_stream(name=stream)


def test_field_caps_report_family_types(client: Elasticsearch, namespace: str) -> None:
    stream = make_stream(client, namespace)

    fields = client.field_caps(index=stream, fields="*")["fields"]

    types = {
        name: set(fields[name]) for name in ("process.command_line", "process.command_line.text", "data_stream.type")
    }
    assert types == {
        "process.command_line": {"keyword"},
        "process.command_line.text": {"text"},
        "data_stream.type": {"keyword"},
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"term": {"process.name": {"value": "curl", "case_insensitive": True}}}, {"e1", "e2"}),
        (
            {"wildcard": {"process.command_line": {"value": "*-C r?n", "case_insensitive": True}}},
            {f"e{n}" for n in range(6)},
        ),
        ({"regexp": {"process.name": {"value": "[bn]a?.*c|nc"}}}, {"e3"}),
        ({"term": {"source.ip": "10.0.0.0/8"}}, {f"e{n}" for n in range(6)}),
        ({"range": {"@timestamp": {"gte": "2026-01-01T12:00:05Z"}}}, {"e4", "e5"}),
        ({"term": {"process.name.caseless": "CURL"}}, {"e1", "e2"}),
    ],
)
def test_queries_over_ecs_types(
    client: Elasticsearch, namespace: str, query: dict[str, object], expected: set[str]
) -> None:
    stream = make_stream(client, namespace)

    found = client.search(index=stream, query=query)["hits"]["hits"]

    assert {hit["_id"] for hit in found} == expected


def test_point_in_time_pages_in_order(client: Elasticsearch, namespace: str) -> None:
    stream = make_stream(client, namespace)
    point = client.open_point_in_time(index=stream, keep_alive="1m")["id"]
    seen: list[str] = []
    after = None

    while True:
        page = client.search(
            size=2, pit={"id": point}, sort=[{"@timestamp": "asc"}], **({"search_after": after} if after else {})
        )["hits"]["hits"]
        if not page:
            break
        seen += [hit["_id"] for hit in page]
        after = page[-1]["sort"]
    client.close_point_in_time(id=point)

    assert seen == ["e0", "e1", "e2", "e3", "e4", "e5"]


def test_namespace_leaves_nothing(client: Elasticsearch, namespace: str) -> None:
    stream = make_stream(client, namespace)
    client.indices.create(index=f"alerts-{namespace}", aliases={f"alias-{namespace}": {}})

    remove_all(client, f"*{namespace}*")

    assert not client.indices.exists(index=stream)
    assert not client.indices.exists(index=f"alias-{namespace}")
    assert not client.indices.exists_index_template(name=f"template-{namespace}")


def test_restart_and_kill_keep_data_and_address(node: Node) -> None:
    address = node.url
    with Elasticsearch(node.url, max_retries=0) as client:
        client.index(index="kept", id="1", document={"a": 1})
        node.stop()
        with pytest.raises(Unreachable):
            client.info()
        assert node.start() == address
        client.index(index="kept", id="2", document={"a": 2})
        node.kill()
        node.start()
        client.indices.refresh(index="kept")
        assert client.count(index="kept")["count"] == 2


def test_frozen_node_answers_after_thaw(node: Node) -> None:
    with Elasticsearch(node.url, max_retries=0) as client:
        client.info()
        node.freeze()
        with pytest.raises(ConnectionTimeout):
            client.options(request_timeout=0.2).info()
        node.thaw()
        assert client.info()["cluster_name"] == "runner-tests"


def test_failure_shows_the_log() -> None:
    node = Node(["no.such.setting=1"])
    try:
        with pytest.raises(NodeFailedError, match=r"unknown setting \[no\.such\.setting\]"):
            node.start()
    finally:
        node.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a foreign process the Linux way")
@pytest.mark.parametrize("frozen", [False, True])
def test_node_ends_with_its_starter(frozen: bool) -> None:
    code = f"""
import os
from tests.elasticsearch.node import Node
node = Node()
node.start()
print(node.pid, node.home, flush=True)
if {frozen}:
    node.freeze()
os._exit(9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, timeout=120, check=False
    )
    pid, home = done.stdout.decode().split()

    assert done.returncode == 9
    try:
        watch = os.pidfd_open(int(pid))
    except ProcessLookupError:
        watch = None
    if watch is not None:
        ended, _, _ = select.select([watch], [], [], 60)
        os.close(watch)
        assert ended
    assert frozen or not Path(home).exists()
    shutil.rmtree(home, ignore_errors=True)


def test_security_has_users_roles_and_keys(secured_url: str) -> None:
    with Elasticsearch(secured_url) as admin:
        role = {"cluster": ["monitor"], "indices": [{"names": ["logs-*"], "privileges": ["read"]}]}
        key = admin.security.create_api_key(name="reader", expiration="1h", role_descriptors={"reader": role})
        admin.index(index="logs-secured", id="1", document={"a": 1}, refresh=True)
        bare = secured_url.replace(f"elastic:{SECURE_PASSWORD}@", "")
        with Elasticsearch(bare, api_key=key["encoded"]) as reader:
            assert reader.count(index="logs-secured")["count"] == 1
            with pytest.raises(AuthorizationException):
                reader.index(index="logs-secured", document={"a": 2})
            admin.security.invalidate_api_key(ids=[key["id"]])
            with pytest.raises(AuthenticationException):
                reader.count(index="logs-secured")
        with Elasticsearch(bare) as nobody, pytest.raises(AuthenticationException):
            nobody.info()


@pytest.mark.parametrize(
    ("required", "code", "word"), [("0", 0, "1 skipped"), ("1", 1, "RUNNER_REQUIRE_ELASTICSEARCH=1")]
)
def test_without_any_elasticsearch(tmp_path: Path, required: str, code: int, word: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "RUNNER_TEST_ELASTICSEARCH")}
    bare = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:9"}
    one = "tests/elasticsearch/test_node.py::test_says_what_it_is"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", one],
        cwd=ROOT,
        env={**kept, **bare, "RUNNER_REQUIRE_ELASTICSEARCH": required},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == code, done.stdout
    assert word in done.stdout
    assert "no `mvn` found" in done.stdout
