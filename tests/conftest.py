"""The fixtures that tests of several folders use, what is slow, how hypothesis looks for examples, and which signals
the processes of tests obey."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.elasticsearch.fixture import (
    elasticsearch_url,
    eql_proxy,
    esql_url,
    namespace,
    node,
    plain_proxy,
    secured_url,
)

# How long an example takes says more of the machine than of the code. A change is judged by the same examples as the
# one before it; at a desk every run tries new ones.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("desk", _PATIENT)
settings.register_profile("ci", _PATIENT, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

__all__ = ["elasticsearch_url", "eql_proxy", "esql_url", "namespace", "node", "plain_proxy", "secured_url"]


def pytest_configure() -> None:
    """Let no process that a test starts inherit an ignored signal, as from `nohup` or a shell's background job.

    A handler is not inherited. This one does nothing: pytest itself goes on ignoring the signal.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


_NODES = frozenset({"elasticsearch_url", "esql_url", "node", "secured_url"})
"""Fixtures that start a real Elasticsearch."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that needs a real Elasticsearch is a slow one: a start takes seconds, and the first one a build."""
    for item in items:
        if isinstance(item, pytest.Function) and not _NODES.isdisjoint(item.fixturenames):
            item.add_marker("slow")


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    """A test that gets a node by `getfixturevalue` alone has to be marked by hand."""
    if fixturedef.argname in _NODES and request.config.getoption("markexpr") == "not slow":
        pytest.fail(f"a test that needs `{fixturedef.argname}` is to be marked `slow`", pytrace=False)
