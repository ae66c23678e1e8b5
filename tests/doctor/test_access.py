"""What the doctor says of credentials and privileges on a node with security."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from elasticsearch import Elasticsearch

from runner.cluster.connection import Connection
from runner.setup.index_objects import role_bodies
from tests.doctor.examination import examined, names_in, the, told
from tests.search.lab import NOON, rule


class Users:
    """Makes users of a node with security."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self.host = f"http://{parts.hostname}:{parts.port}"
        self.namespace = f"u{uuid.uuid4().hex[:12]}"

    def connection(self, name: str, *roles: Mapping[str, Any]) -> Connection:
        """How a new user with these roles reaches the node."""
        user = f"{self.namespace}-{name}"
        with Elasticsearch(self._url) as superuser:
            for number, role in enumerate(roles):
                superuser.security.put_role(name=f"{user}-{number}", **role)
            named = [f"{user}-{number}" for number in range(len(roles))]
            superuser.security.put_user(username=user, password="user-password", roles=named)
        return Connection(hosts=(self.host,), username=user, password="user-password")

    def key(self, **options: Any) -> Connection:
        with Elasticsearch(self._url) as superuser:
            made = superuser.security.create_api_key(name=f"{self.namespace}-key", **options)
        return Connection(hosts=(self.host,), api_key=made["encoded"])


@pytest.fixture
def users(secured_url: str) -> Users:
    return Users(secured_url)


async def test_each_role_is_told_from_what_is_missing(users: Users) -> None:
    names = names_in(users.namespace)
    pattern = f"{users.namespace}-events-*"
    reading, writing, setting_up = role_bodies(names, events=[pattern]).values()
    rules = [
        rule(index=[pattern], name="mine"),
        rule("any where 2 == 2", index=[pattern, "-x*", "b:c"], name="mine too"),
    ]

    checks = await examined(users.connection("all", reading, writing, setting_up), rules, names=names)
    assert {check.outcome for check in checks if check.name == "privilege"} == {"ok"}
    assert the(checks, "setup", names.alerts).found == "not there yet: the first run creates it"

    checks = await examined(users.connection("runs", reading, writing), rules, names=names)
    assert the(checks, "privilege", "read events").outcome == "ok"
    assert the(checks, "privilege", "write alerts").outcome == "ok"
    for_setup = the(checks, "privilege", "set up")
    assert for_setup.outcome == "ok"
    assert "needed for `setup` only: on the cluster: manage_ilm, manage_index_templates" in for_setup.found
    absent = the(checks, "setup", names.alerts)
    assert absent.outcome == "problem"
    assert "not there, and we may not create it" in absent.found

    checks = await examined(users.connection("reads", reading), rules, names=names)
    assert the(checks, "privilege", "read events").outcome == "ok"
    denied = the(checks, "privilege", "write alerts")
    assert denied.outcome == "problem"
    assert names.alerts in denied.found and "index" in denied.found

    checks = await examined(users.connection("writes", writing), rules, names=names)
    unread = the(checks, "privilege", pattern)
    assert unread.outcome == "problem"
    assert unread.found == "may not read all of it, missing: read, view_index_metadata"
    assert [one.name for one in unread.rules] == ["mine", "mine too"]
    assert the(checks, "privilege", "write alerts").outcome == "ok"


async def test_a_part_of_a_pattern_is_not_all_of_it(users: Users) -> None:
    part = {"indices": [{"names": [f"{users.namespace}-a-*"], "privileges": ["read"]}]}
    pattern = f"{users.namespace}-*"
    checks = await examined(users.connection("part", part), [rule(index=[pattern], name="whole")])
    assert the(checks, "privilege", pattern).rules[0].name == "whole"
    assert the(checks, "privilege", "cluster").found == "missing on the cluster: monitor"
    assert told(checks, "version") == ["ok cluster: may not be read without the cluster privilege `monitor`"]


async def test_a_user_without_any_role_gets_a_whole_answer(users: Users) -> None:
    checks = await examined(users.connection("nobody"), [rule(index=["logs-*"])])
    assert f'user "{users.namespace}-nobody"' in the(checks, "identity", "cluster").found
    assert {"host", "version", "licence", "clock", "privilege", "setup", "eql"} <= {check.name for check in checks}
    assert the(checks, "privilege", "logs-*").outcome == "problem"


async def test_wrong_credentials_are_said_once(users: Users) -> None:
    checks = await examined(Connection(hosts=(users.host,), username="nobody", password="wrong-password"), [rule()])
    assert [(check.name, check.outcome) for check in checks] == [("host", "ok"), ("identity", "problem")]
    assert 'does not accept user "nobody"' in checks[1].found
    assert "wrong-password" not in str(checks)


async def test_api_keys_and_their_end(users: Users) -> None:
    lasting = await examined(users.key())
    assert "API key" in the(lasting, "identity", "cluster").found
    assert told(lasting, "api_key")[0].endswith("does not expire")
    ending = await examined(users.key(expiration="4290m"))
    (said,) = told(ending, "api_key")
    assert said.startswith("warning ")
    assert "in 2 d 23 h" in said
    later = await examined(users.key(expiration="90d"))
    assert told(later, "api_key")[0].startswith("ok ")
    narrow = {"none": {"cluster": ["monitor"]}}
    blind = await examined(users.key(expiration="1h", role_descriptors=narrow))
    assert told(blind, "api_key")[0].startswith(("ok ", "warning "))


async def test_a_cluster_without_security_is_named(elasticsearch_url: str) -> None:
    checks = await examined(Connection(hosts=(elasticsearch_url,)), [rule()], now=NOON)
    found = the(checks, "identity", "cluster")
    assert (found.outcome, "no security" in found.found) == ("warning", True)
    assert not [check for check in checks if check.name == "privilege"]


async def test_without_rules_nothing_of_events_is_asked_for(users: Users) -> None:
    writing = role_bodies(names_in(users.namespace))[f"{users.namespace}-alerts-write"]
    checks = await examined(users.connection("files", writing), names=names_in(users.namespace))
    assert not [check for check in checks if check.name in ("eql", "index", "field", "events")]
    said = {check.subject: check.outcome for check in checks if check.name == "privilege"}
    assert said == {"write alerts": "ok", "set up": "ok"}
