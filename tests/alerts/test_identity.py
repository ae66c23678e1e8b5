"""Identities of events and ids of alerts: equal for the same events, different for all others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.identity import (
    alert_ids,
    block_id,
    content_hash,
    document_row_id,
    event_alert_id,
    event_identity,
    former_alert_ids,
    group_id,
    grouped_row_id,
    rule_uuid,
)
from runner.alerts.object_hash import object_hash
from runner.events.fields.index_patterns import data_stream_of, first_name_of
from runner.search.protocol import Hit, Match
from runner.windows import Window
from tests.alerts.cases import event, hit, indexed, rule, sequence

STREAM = "logs-endpoint.events.process-default"
BACKING = f".ds-{STREAM}-2026.03.01-000009"


@pytest.mark.parametrize(
    ("index", "stream"),
    [
        (BACKING, STREAM),
        (f".ds-{STREAM}-2026.03.01-1000009", STREAM),
        (f".ds-{STREAM}-000009", STREAM),
        (STREAM, STREAM),
        (f"partial-{BACKING}", STREAM),
        (f"restored-{BACKING}", STREAM),
        (f"partial-restored-{BACKING}", STREAM),
        (f"shrink-fh5k-{BACKING}", STREAM),
        (f"partial-shrink-fh5k-{BACKING}", STREAM),
        (f".reindexed-v8-ds-{STREAM}-2026.03.01-000009", STREAM),
        (f".migrated-ds-{STREAM}-2026.03.01-000009", STREAM),
        (f"berlin:partial-{BACKING}", f"berlin:{STREAM}"),
        ("auditbeat-8.19.0-2026.03.01-000001", "auditbeat-8.19.0-2026.03.01-000001"),
        ("partial-logs", "partial-logs"),
        (".ds-x", ".ds-x"),
        (".fs-logs-a-b-2026.03.01-000001", ".fs-logs-a-b-2026.03.01-000001"),
        (".ds-logs-a-2026.02.02-2026.03.01-000001", "logs-a-2026.02.02"),
    ],
)
def test_the_data_stream_of_an_index(index: str, stream: str) -> None:
    assert data_stream_of(index) == stream


@pytest.mark.parametrize(
    ("index", "first"),
    [
        (BACKING, BACKING),
        (f"partial-{BACKING}", BACKING),
        (f"partial-shrink-fh5k-{BACKING}", BACKING),
        (f"berlin:restored-{BACKING}", f"berlin:{BACKING}"),
        ("partial-logs", "partial-logs"),
    ],
)
def test_the_first_name_of_an_index(index: str, first: str) -> None:
    assert first_name_of(index) == first


OWNER = "0b6f4e0c-52a1-5d8e-8f57-3c1e9a7d2b64"
WINDOW = Window(datetime(2026, 3, 2, 9, 56, 1, tzinfo=UTC), datetime(2026, 3, 2, 10, 5, 1, tzinfo=UTC))


@pytest.mark.parametrize("before", ["", "partial-", "shrink-fh5k-"])
def test_the_id_of_a_documents_row_is_kibanas(before: str) -> None:
    one = hit({}, index=before + BACKING, id_="AZyn0Prc0000000000bb")
    assert document_row_id(one, OWNER, "default") == "6de0048b9ecb3484fcb14652f82029e906d83200"
    assert document_row_id(one, OWNER, "default", ["a"]) != document_row_id(one, OWNER, "default", ["b"])


def test_the_id_of_a_groups_row_is_kibanas_recipe() -> None:
    query = "from logs-* | stats c = count(*) by host.id | where c > 5 | keep host.id, c"
    assert grouped_row_id(WINDOW, query, OWNER, "default", 0) == "664c689bd5377002b8a32ddf9c01c3b8942ab371"
    assert object_hash([["a", 5, 1.5, True, None], "x"]) == "a07c2275e22e28937a9dd1f3f56e7732730c5941"


def test_an_indexed_event_is_known_by_stream_and_id() -> None:
    one = event_identity(hit({"a": 1}, index=BACKING, id_="x"))
    assert one == event_identity(hit({"a": 2}, index=f"partial-.ds-{STREAM}-2026.04.01-000010", id_="x"))
    assert one != event_identity(hit({"a": 1}, index=BACKING, id_="y"))
    assert one != event_identity(hit({"a": 1}, index=f"berlin:{BACKING}", id_="x"))


def test_plain_events_are_known_by_their_content() -> None:
    one = {"a": {"b": [1, {"c": {"d": 2}}], "e": "f"}, "empty": {}}
    other = {"a.e": "f", "a": {"b": [1, {"c.d": 2}]}}
    assert event_identity(hit(one)) == event_identity(hit(other))
    for changed in ({"a.e": "f", "a.b": [{"c.d": 2}, 1]}, {"a.e": "f", "a.b": [True, {"c.d": 2}]}, {"a.e": "f"}):
        assert content_hash(one) != content_hash(changed)


@pytest.mark.parametrize(
    "other", [{"data_stream.dataset": "zeek.http"}, {"@timestamp": "2026-03-01T10:00:01Z"}, {"event.action": "x"}]
)
def test_events_may_share_agent_and_event_id(other: dict[str, str]) -> None:
    one = {
        "@timestamp": "2026-03-01T10:00:00Z", "agent.id": "a", "event.id": "CYu", "data_stream.dataset": "zeek.dns",
    }  # fmt: skip
    events = [event(one), event(one | other)]
    assert len({alert_ids(match, rule(), "default") for match in events}) == 2
    assert len({former_alert_ids(match, rule(), "default") for match in events}) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.randoms(use_true_random=False))
def test_content_does_not_depend_on_order_and_spelling(document: dict[str, Any], random: Any) -> None:
    def respelled(value: Any) -> Any:
        if isinstance(value, list):
            return [respelled(member) for member in value]
        if not isinstance(value, dict):
            return value
        items: list[tuple[str, Any]] = []
        for key, inner in value.items():
            changed = respelled(inner)
            if isinstance(changed, dict) and random.random() < 0.5:
                items += [(f"{key}.{below}", leaf) for below, leaf in changed.items()]
            else:
                items.append((key, changed))
        random.shuffle(items)
        return dict(items)

    assert content_hash(respelled(document)) == content_hash(document)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_groups_have_one_id_for_one_list_of_events(one: list[str], other: list[str]) -> None:
    assert (group_id("r", one) == group_id("r", other)) is (one == other)
    assert group_id("r", one) != group_id("s", one)


def test_kinds_of_ids_do_not_meet() -> None:
    ids = [event_alert_id("r", "e"), group_id("r", ["e"]), block_id("r", 0), block_id("r", 1), block_id("s", 0)]
    assert len(set(ids)) == 5
    assert all(len(id_) == 64 and set(id_) <= set("0123456789abcdef") for id_ in ids)


def test_ids_of_a_match_rest_on_rule_space_and_events_alone() -> None:
    match = sequence(indexed(1), Hit("", "", {}, missing=True), indexed(2))
    ids = alert_ids(match, rule(), "default")
    assert len(set(ids)) == 3
    assert ids == alert_ids(
        sequence(indexed(1, {"x": 1}), indexed(2)), rule(name="New name", query="any where false"), "default"
    )
    for other in (sequence(indexed(2), indexed(1)), sequence(indexed(1), indexed(3)), sequence(indexed(1))):
        assert not set(ids) & set(alert_ids(other, rule(), "default"))
    assert not set(ids) & set(alert_ids(match, rule(), "blue"))
    assert not set(ids) & set(alert_ids(match, rule(rule_id="another"), "default"))


def test_the_recipe_stays_as_it_is() -> None:
    """Ids that were given out must be found again by every later version."""
    assert rule_uuid("2f1d9c80-7b3a-4f6e-8d25-91c4e0a6b7d3", "default") == "dda8999c-bf2f-5dd7-8e52-732db88f8be1"
    assert former_alert_ids(event({"agent.id": "a", "event.id": "e"}), rule(), "default") == (
        "f533b5866e95ccd9f80ee89093f8569ff672393ac4c4b69f88ea0ef7f2fcd9eb",
    )
    for match in (event({"a": 1}), sequence(indexed(1), indexed(2))):
        assert former_alert_ids(match, rule(), "default") == alert_ids(match, rule(), "default")
    assert alert_ids(event({"a": 1}), rule(), "default") == (
        "3c36db489736770f75697e97555013ecb1d430ed958bfb913e5e99eca3b5ff02",
    )
    assert (
        alert_ids(Match((indexed(1), indexed(2)), is_sequence=True), rule(), "default")[-1]
        == "f3944bb236300c0aea02a5cfa3de84fe820217a8cccfd2eacf10fc420fa057f2"
    )
