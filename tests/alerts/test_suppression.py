"""The groups of alert suppression: keys, instance ids by Kibana's hash, and which group a match belongs to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.alert_texts import suppressed_text
from runner.alerts.cap import candidate_for
from runner.alerts.event_fields import FieldTypes
from runner.alerts.groups import Group, KeyGroups, KeyPlan, Placeable, Suppressing
from runner.alerts.object_hash import number_text, object_hash
from runner.alerts.suppression import hashed_terms, instance_id, keyed, raised, shaped, terms_of
from runner.events.fields.schema import shipped_schema
from runner.rules.rule import Rule
from runner.rules.rule_tables import staged_field
from runner.search.protocol import Hit, Match
from runner.store.group_store import groups_json, read_groups
from tests.paths import SPECS

SPEC: dict[str, Any] = json.loads((SPECS / "alerts" / "suppression.json").read_text(encoding="utf-8"))
TYPES = FieldTypes.of(shipped_schema())
NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rule(group_by: list[str], **more: Any) -> Rule:
    suppression = {"group_by": group_by, **more}
    return Rule.model_validate(
        {
            "rule_id": "r",
            "name": "r",
            "description": "r",
            "type": "eql",
            "language": "eql",
            "query": "any where true",
            "severity": "low",
            "risk_score": 1,
            "alert_suppression": suppression,
        }
    )


def match(*sources: Any, is_sequence: bool = False, **more: Any) -> Match:
    hits = tuple(Hit("i", f"d{n}", one or {}, missing=one is None, **more) for n, one in enumerate(sources))
    return Match(hits, is_sequence)


@pytest.mark.parametrize("vector", SPEC["hashes"])
def test_hashes_are_those_of_the_npm_package(vector: dict[str, Any]) -> None:
    assert object_hash(vector["of"]) == vector["hash"]


@pytest.mark.parametrize("vector", SPEC["hashed_terms"])
def test_what_is_hashed_is_of_the_rule_type_s_shape(vector: dict[str, Any]) -> None:
    terms = [{"field": field, "value": value} for field, value in vector["terms"]]
    assert hashed_terms(terms, vector["type"]) == vector["hashed"]


@pytest.mark.parametrize("vector", SPEC["shapes"])
def test_values_have_the_shape_of_the_rule_type(vector: dict[str, Any]) -> None:
    assert shaped(vector["values"], vector["type"]) == vector["value"]


@pytest.mark.parametrize("vector", SPEC["events"], ids=lambda one: one["what"])
def test_terms_of_events(vector: dict[str, Any]) -> None:
    found = terms_of(match(vector["source"], fields=vector.get("fields", {})), rule(vector["group_by"]), TYPES)
    assert [term["value"] for term in found] == vector["values"]
    assert [term["field"] for term in found] == vector["group_by"]


@pytest.mark.parametrize("vector", SPEC["sequences"], ids=lambda one: one["what"])
def test_terms_of_sequences(vector: dict[str, Any]) -> None:
    found = terms_of(match(*vector["sources"], is_sequence=True), rule(vector["group_by"]), TYPES)
    assert [term["value"] for term in found] == vector["values"]


def test_an_event_and_a_sequence_with_equal_values_are_of_different_groups() -> None:
    one = rule(["host.name"])
    source = {"host": {"name": "web"}}
    event = terms_of(match(source), one, TYPES)
    sequence = terms_of(match(source, source, is_sequence=True), one, TYPES)
    assert instance_id(event, one, "default") != instance_id(sequence, one, "default")
    assert instance_id(event, one, "default") != instance_id(event, one, "other")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (4624, "4624"),
        (1.5, "1.5"),
        (2.0, "2"),
        (2**53 + 1, "9007199254740992"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.25e-7, "1.25e-7"),
        (1e-6, "0.000001"),
        (-1.5e-5, "-0.000015"),
        (float("inf"), "Infinity"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_are_written_as_in_javascript(value: float, text: str) -> None:
    assert number_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_s_text_is_that_number(value: float) -> None:
    assert float(number_text(value)) == value


def test_a_field_without_value_is_a_group_or_an_alert_of_its_own() -> None:
    candidate = candidate_for(match({"host": {"name": "web"}}), rule(["host.name"]), "default")
    for strategy, is_grouped in (("suppress", True), ("doNotSuppress", False)):
        one = rule(["host.name", "user.name"], missing_fields_strategy=strategy)
        assert (keyed(candidate, one, space="default", types=TYPES, now=NOW) is not None) is is_grouped


def test_times_of_a_group_are_those_of_the_override() -> None:
    sources = [
        {"@timestamp": "2026-03-02T10:00:05Z", "event": {"ingested": "2026-03-02T10:01:00Z"}},
        {"@timestamp": "2026-03-02T10:00:01Z"},
    ]
    found = match(*sources, is_sequence=True)
    one = rule(["host.name"]).model_copy(update={"timestamp_override": "event.ingested"})
    made = keyed(candidate_for(found, one, "default"), one, space="default", types=TYPES, now=NOW)
    assert made is not None
    minute = 60 * 10**9
    assert (made.place.end - made.place.start) == minute - 10**9


def place(name: int, start: int = 0) -> Placeable:
    return Placeable(f"{name:064x}", name.to_bytes(12), start, start)


def planned(
    before: KeyGroups, at: datetime, *matches: Placeable, lasts: timedelta | None = HOUR, **status: Any
) -> tuple[KeyGroups, list[str]]:
    """What is stored after a run with these matches, and what became of each."""
    how = Suppressing(at, lasts, at, timedelta(days=8))
    known: dict[str, Any] = {group.alert_id: status.get("status", "open") for group in before.groups}
    plan = KeyPlan(before, how, known)
    found: list[str] = []
    for one in matches:
        where = plan.place(one, is_stored=False)
        if where == "new":
            plan.open_new(one, is_written=True)
        found.append(where)
    return plan.after() or before, found


def test_a_window_begins_with_the_run_that_made_the_alert_and_is_not_prolonged() -> None:
    record = KeyGroups("k", "r")
    expected = {0: "new", 30: "counted", 60: "counted", 61: "new", 121: "counted", 122: "new"}
    for number, (minute, outcome) in enumerate(expected.items()):
        record, found = planned(record, NOW + timedelta(minutes=minute), place(number))
        assert found == [outcome], minute
    assert [group.count for group in record.groups] == [2, 1, 0]


def test_without_a_duration_a_group_is_of_one_run() -> None:
    record, found = planned(KeyGroups("k", "r"), NOW, place(1), place(2), lasts=None)
    assert found == ["new", "counted"]
    record, found = planned(record, NOW, place(1), place(2), place(3), lasts=None)
    assert found == ["known", "known", "counted"]
    _, found = planned(record, NOW + timedelta(minutes=5), place(3), place(4), lasts=None)
    assert found == ["known", "new"]


@pytest.mark.parametrize("status", ["closed", "missing"])
def test_an_alert_that_was_closed_or_deleted_takes_no_more(status: str) -> None:
    record, _ = planned(KeyGroups("k", "r"), NOW, place(1))
    _, found = planned(record, NOW + timedelta(minutes=5), place(1), place(2), place(3), status=status)
    assert found == ["known", "new", "counted"]


def test_a_run_that_comes_late_counts_in_the_nearest_alert() -> None:
    record, _ = planned(KeyGroups("k", "r"), NOW, place(1))
    record, found = planned(record, NOW - timedelta(minutes=30), place(2, start=-5))
    assert found == ["counted"]
    assert (record.groups[0].start, record.groups[0].created) == (-5, NOW)
    record, found = planned(record, NOW - timedelta(minutes=61), place(3))
    assert found == ["new"]
    record, _ = planned(record, NOW - timedelta(minutes=20), place(4))
    assert [group.count for group in record.groups] == [1, 1]


def test_old_groups_are_forgotten_when_their_key_is_written() -> None:
    record, _ = planned(KeyGroups("k", "r"), NOW, place(1))
    later, _ = planned(record, NOW + timedelta(days=9), place(2))
    assert [group.alert_id for group in later.groups] == [place(2).head]
    assert later.until == NOW + timedelta(days=17)


def test_a_count_is_never_lowered() -> None:
    digests = frozenset(number.to_bytes(12) for number in range(4))
    group = Group("a", NOW, 10**18, 10**18 + 10**9, digests, NOW)
    changes = raised({}, group, NOW)
    assert changes["kibana.alert.suppression.docs_count"] == 3
    assert raised(changes, group, NOW) == {}
    higher = changes | {"kibana.alert.suppression.docs_count": 9}
    assert raised(higher, group, NOW) == {}
    lower = changes | {"kibana.alert.suppression.docs_count": 1}
    assert raised(lower, group, NOW) == {
        "kibana.alert.suppression.docs_count": 3,
        "kibana.alert.last_detected": "2026-03-02T10:00:00.000Z",
    }


GROUPS = st.builds(
    Group,
    alert_id=st.text("0123456789abcdef", min_size=1),
    created=st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)),
    start=st.integers(-(2**62), 2**62),
    end=st.integers(-(2**62), 2**62),
    counted=st.frozensets(st.binary(min_size=12, max_size=12), min_size=1),
    touched=st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)),
    is_written=st.booleans(),
)


@given(st.lists(GROUPS))
def test_groups_are_read_back_equal(groups: list[Group]) -> None:
    assert read_groups(json.loads(json.dumps(groups_json(KeyGroups("k", "r", tuple(groups)))))) == tuple(groups)


@given(
    st.lists(st.integers(0, 600), min_size=1, max_size=12, unique=True).map(sorted),
    st.lists(st.integers(0, 11), min_size=1, max_size=30),
    st.integers(1, 300),
)
def test_every_match_is_counted_once_in_an_alert_of_its_time(
    minutes: list[int], repeats: list[int], lasts: int
) -> None:
    """Runs in their order, with repeats of earlier matches: the windows of alerts made one after another are apart."""
    record = KeyGroups("k", "r")
    for number, minute in enumerate(minutes):
        again = [place(one) for one in repeats if one < number]
        length = timedelta(minutes=lasts)
        record, _ = planned(record, NOW + timedelta(minutes=minute), *again, place(number), lasts=length)
    assert sum(len(group.counted) for group in record.groups) == len(minutes)
    created = [group.created for group in record.groups]
    assert all(after - before > timedelta(minutes=lasts) for before, after in pairwise(created))


def test_what_an_alert_stands_for_is_told() -> None:
    name = "kibana.alert.suppression"
    document: dict[str, Any] = {f"{name}.docs_count": 1_041, f"{name}.end": "2026-03-02T10:35:00.000Z"}
    document[f"{name}.terms"] = [{"field": "host.name", "value": ["a"]}, {"field": "user.name", "value": None}]
    assert suppressed_text(document) == "and 1,041 more until 2026-03-02 10:35:00 UTC, by host.name, user.name"
    assert suppressed_text(document | {f"{name}.docs_count": 0}) == suppressed_text({}) == ""
    assert suppressed_text({f"{name}.docs_count": 2, f"{name}.end": {"x": 1}}) == "and 2 more"


@pytest.mark.parametrize("name", ["host.name", "[x] host", "[0] host", "[2]", "2 host"])
def test_other_names_are_fields(name: str) -> None:
    assert staged_field(name) == (None, name)
