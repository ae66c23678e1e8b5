"""The fixtures that give a test a real Elasticsearch: from `RUNNER_TEST_ELASTICSEARCH`, Docker, or Maven Central."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch.node import Node, NodeUnavailableError
from tests.elasticsearch.proxy import Proxy

DOCKER_IMAGE = "docker.elastic.co/elasticsearch/elasticsearch:8.19.21"
DOCKER_SECONDS = 3


def _go_without(reason: str) -> NoReturn:
    """Skip, or fail where a real Elasticsearch is a must."""
    if os.environ.get("RUNNER_REQUIRE_ELASTICSEARCH") == "1":
        pytest.fail(f"RUNNER_REQUIRE_ELASTICSEARCH=1, but there is no Elasticsearch: {reason}", pytrace=False)
    pytest.skip(f"no Elasticsearch: {reason}")


def _docker_answers() -> bool:
    """Whether a Docker daemon is there; asks nobody if there is neither an address nor a socket."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return False
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        client = docker.from_env(timeout=DOCKER_SECONDS)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


def _start_container(stack: ExitStack) -> str | None:
    """The address of a container, or None if Docker cannot give one, as without the image and a network."""
    if not _docker_answers():
        return None
    from docker.errors import DockerException

    with warnings.catch_warnings():
        # testcontainers' own deprecations are not ours to mend.
        warnings.simplefilter("ignore")
        from testcontainers.elasticsearch import ElasticSearchContainer

        try:
            container = ElasticSearchContainer(DOCKER_IMAGE, mem_limit="2G")
            container.with_env("ES_JAVA_OPTS", "-Xms512m -Xmx512m").with_env("xpack.security.enabled", "false")
            stack.enter_context(container)
        except DockerException:
            return None
        return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(container.port)}"


def _start(make: Callable[[], Node], stack: ExitStack) -> Node:
    try:
        return stack.enter_context(make())
    except NodeUnavailableError as error:
        _go_without(str(error))


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """The address of an Elasticsearch without security that all tests of the run share."""
    given = os.environ.get("RUNNER_TEST_ELASTICSEARCH")
    with ExitStack() as stack:
        yield given or _start_container(stack) or _start(Node, stack).url


@pytest.fixture(scope="session")
def esql_url() -> Iterator[str]:
    """The address of an Elasticsearch with ES|QL and without security: the given one, or a node of its own."""
    given = os.environ.get("RUNNER_TEST_ELASTICSEARCH")
    with ExitStack() as stack:
        yield given or _start_container(stack) or _start(lambda: Node(esql=True), stack).url


@pytest.fixture
def namespace(elasticsearch_url: str) -> Iterator[str]:
    """A lower-case string for the names of one test; what bears it in its name is removed afterwards."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    with Elasticsearch(elasticsearch_url) as client:
        remove_all(client, f"*{name}*")


def remove_all(client: Elasticsearch, pattern: str) -> None:
    """Delete the data streams, indices and templates whose names fit."""
    found = client.indices.resolve_index(name=pattern, expand_wildcards="all")
    for stream in found["data_streams"]:
        client.indices.delete_data_stream(name=stream["name"], expand_wildcards="all")
    for index in found["indices"]:
        if "data_stream" not in index:
            client.indices.delete(index=index["name"], ignore_unavailable=True)
    # Where no template fits, servers differ between an empty list and 404.
    quiet = client.options(ignore_status=404)
    for template in quiet.indices.get_index_template(name=pattern).get("index_templates", ()):
        client.indices.delete_index_template(name=template["name"])
    for component in quiet.cluster.get_component_template(name=pattern).get("component_templates", ()):
        client.cluster.delete_component_template(name=component["name"])


@pytest.fixture
def node() -> Iterator[Node]:
    """A node of this test's own, started, for `kill`, `start`, `stop`, `freeze` and `thaw`."""
    with ExitStack() as stack:
        yield _start(Node, stack)


@pytest.fixture(scope="session")
def secured_url() -> Iterator[str]:
    """The address, with user and password of the superuser, of a node with users, roles and API keys."""
    with ExitStack() as stack:
        yield _start(lambda: Node(security=True), stack).url


@pytest.fixture
def eql_proxy(elasticsearch_url: str) -> Iterator[Proxy]:
    """A proxy before the shared node that answers EQL searches and has faults on demand."""
    with Proxy(elasticsearch_url) as proxy:
        yield proxy


@pytest.fixture
def plain_proxy(elasticsearch_url: str) -> Iterator[Proxy]:
    """A proxy before the shared node that has faults on demand and answers as a cluster without EQL."""
    with Proxy(elasticsearch_url, eql=False) as proxy:
        yield proxy
