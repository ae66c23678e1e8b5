"""The sample holds what it says: attacks that match once each, near misses and a background that never match."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import SettingsError
from runner.sample_data import RuleId, Sample, generate
from tests.paths import SHARED
from tests.sample_data import seed_rules

pytestmark = pytest.mark.slow

END = datetime(2026, 3, 1, 10, 2, 31, 412764, tzinfo=UTC)
END_NANOSECONDS = 1_772_359_351_412_764_000
FIELD_TYPES = SHARED / "reference" / "field-types.csv"


def sample(events: int, attacks: int, *, seed: int = 7, end: datetime = END, **more: Any) -> Sample:
    return generate(events=events, attacks=attacks, seed=seed, end=end, **more)


def documents(made: Sample) -> list[dict[str, Any]]:
    return [orjson.loads(orjson.dumps(event.document)) for event in made.events]


def planted_matches(made: Sample) -> set[seed_rules.Match]:
    return {(item.rule.value, *item.event_ids) for item in made.truth if item.kind == "attack"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("events", "attacks", "seed", "rule"),
    [
        (20_000, 0, 1, None),
        (3_000, 60, 2, None),
        (6_000, 250, 3, RuleId.REVERSE_SHELL.value),
        (6_000, 250, 4, RuleId.CHILD_PROCESS.value),
        (12_000, 120, 5, None),
        (12_000, 1, 2**63, None),
    ],
)
def test_matches_are_exactly_the_planted_attacks(events: int, attacks: int, seed: int, rule: str | None) -> None:
    made = sample(events, attacks, seed=seed, rule=rule)
    assert seed_rules.matches_of(documents(made)) == planted_matches(made)
    kinds = Counter(item.kind for item in made.truth)
    assert (kinds["attack"], kinds["near_miss"]) == (attacks, attacks)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    attacks=st.integers(0, 40),
    near_misses=st.integers(0, 60),
    seconds=st.integers(15, 900),
    end=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
)
def test_any_arguments_give_the_promised_sample(
    seed: int, attacks: int, near_misses: int, seconds: int, end: datetime
) -> None:
    span = timedelta(seconds=seconds)
    made = sample(1_200, attacks, seed=seed, near_misses=near_misses, span=span, end=end)
    events = list(made.events)
    assert len(events) == 1_200
    times = [event.at for event in events]
    last = (end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
    assert times == sorted(times)
    assert times[-1] == last
    assert last - times[0] <= seconds * 1_000_000_000 + 1_000_000
    assert [seed_rules.nanoseconds(event.document) for event in events] == times
    assert len([item for item in made.truth if item.kind == "near_miss"]) == near_misses
    assert seed_rules.matches_of(event.document for event in events) == planted_matches(made)
    ids = {event.document["event"]["id"]: event.at for event in events}
    margins = [
        min(ids[name] - times[-1] + seconds * 10**9, times[-1] - ids[name])
        for item in made.truth
        for name in item.event_ids
    ]
    assert all(margin >= 2_000_000_000 for margin in margins)


def test_near_misses_are_events_of_the_sample_and_of_many_kinds() -> None:
    made = sample(6_000, 80)
    ids = {document["event"]["id"] for document in documents(made)}
    near_misses = [item for item in made.truth if item.kind == "near_miss"]
    assert all(ids.issuperset(item.event_ids) for item in made.truth)
    for rule in RuleId:
        assert len({item.variant for item in near_misses if item.rule is rule}) >= 12
        assert any(item.variant == "1.001 s apart" and item.gap == 1_001_000_000 for item in near_misses)


def test_near_misses_fail_in_one_thing_only() -> None:
    made = sample(6_000, 0, near_misses=80)
    by_id = {document["event"]["id"]: document for document in documents(made)}
    for item in made.truth:
        first, second = (by_id[name] for name in item.event_ids)
        shells = item.rule is RuleId.REVERSE_SHELL
        stages = (
            (seed_rules.shell_connects, seed_rules.shell_starts)
            if shells
            else (seed_rules.utility_starts, seed_rules.utility_connects)
        )
        entity = seed_rules.value(second, "process.parent.entity_id" if shells else "process.entity_id")
        checks = {
            "first stage": stages[0](first),
            "second stage": stages[1](second),
            "system": all(document["host"]["os"]["type"] == "linux" for document in (first, second)),
            "host": first["host"]["id"] == second["host"]["id"],
            "entity": first["process"]["entity_id"] == entity,
            "order": item.gap > 0,
            "span": abs(item.gap) <= 1_000_000_000,
        }
        assert list(checks.values()).count(False) == 1, (item, checks)


def test_attacks_lie_at_both_limits_of_the_span_of_the_rules() -> None:
    made = sample(4_000, 100)
    for rule in RuleId:
        gaps = [item.gap for item in made.truth if item.kind == "attack" and item.rule is rule]
        assert 1_000_000_000 in gaps
        assert min(gaps) == (0 if rule is RuleId.REVERSE_SHELL else 1_000_000)
        assert max(gaps) == 1_000_000_000


def test_every_alternative_of_the_second_rule_is_attacked_with() -> None:
    made = sample(4_000, 100)
    first_stages = {item.event_ids[0] for item in made.truth if item.kind == "attack"}
    names = {
        document["process"]["name"].rstrip("0123456789.")
        for document in documents(made)
        if document["event"]["id"] in first_stages and document["event"]["category"] == ["process"]
    }
    assert names >= {"python", "perl", "ruby", "lua", "php", "awk", "openssl", "nc", "ncat", "netcat", "telnet"}


def test_attacks_are_spread_over_hosts_and_time() -> None:
    made = sample(6_000, 60)
    attacks = [item for item in made.truth if item.kind == "attack"]
    assert len({item.host for item in attacks}) >= 5
    minutes = {(END_NANOSECONDS - item.at) // 60_000_000_000 for item in attacks}
    assert minutes == set(range(8))


@pytest.mark.slow
def test_background_has_the_ingredients_of_both_rules() -> None:
    found = documents(sample(20_000, 0))
    linux = [document for document in found if document["host"]["os"]["type"] == "linux"]
    assert sum(seed_rules.shell_starts(document) for document in linux) > 500
    assert any(seed_rules.shell_connects(document) for document in linux)
    assert any(seed_rules.utility_starts(document) for document in linux)
    assert sum(seed_rules.utility_connects(document) for document in linux) > 50
    assert any("-z" in document["process"].get("args", ()) for document in linux)


@pytest.mark.slow
def test_mix_and_size_are_those_of_a_real_fleet() -> None:
    lines = [orjson.dumps(event.document) for event in sample(20_000, 20).events]
    assert 2_100 <= sum(map(len, lines)) / len(lines) <= 2_500
    found = [orjson.loads(line) for line in lines]
    streams = Counter(document["data_stream"]["dataset"].removeprefix("endpoint.events.") for document in found)
    shares = {name: count / len(found) for name, count in streams.items()}
    assert shares["process"] == pytest.approx(0.55, abs=0.03)
    assert shares["network"] == pytest.approx(0.20, abs=0.03)
    assert shares["file"] == pytest.approx(0.20, abs=0.03)
    assert shares["registry"] + shares["library"] + shares["security"] == pytest.approx(0.05, abs=0.02)
    assert {document["host"]["os"]["platform"] for document in found} == {"ubuntu", "debian", "rhel", "windows"}


@pytest.mark.slow
def test_values_differ_as_real_ones_do() -> None:
    found = documents(sample(20_000, 20))
    assert len({document["event"]["id"] for document in found}) == len(found)
    assert len({document["process"]["name"] for document in found}) > 200
    assert len({document["process"].get("command_line") for document in found}) > 2_000
    actions = {str(document["event"]["action"]) for document in found}
    assert actions >= {"fork", "exec", "end", "connection_attempted", "connection_accepted", "creation", "rename"}
    assert any(isinstance(document["event"]["action"], list) for document in found)
    digits = {len(document["@timestamp"]) for document in found}
    assert digits == {24, 28, 30}


def test_processes_are_born_once_and_events_are_counted_per_host() -> None:
    forks: set[str] = set()
    counts: dict[str, int] = {}
    for event in sample(8_000, 10).events:
        document = event.document
        name = document["host"]["name"]
        assert document["event"]["sequence"] > counts.get(name, 0)
        counts[name] = document["event"]["sequence"]
        if document["event"]["action"] in ("fork", "start"):
            assert document["process"]["entity_id"] not in forks
            forks.add(document["process"]["entity_id"])
    assert len(counts) == 13
    assert len(forks) > 1_000


def test_equal_arguments_give_equal_events_and_other_seeds_others() -> None:
    def text(seed: int) -> bytes:
        return b"\n".join(orjson.dumps(event.document) for event in sample(2_000, 10, seed=seed).events)

    assert text(11) == text(11)
    assert text(11) != text(12)
    assert sample(2_000, 10, seed=11).truth == sample(2_000, 10, seed=11).truth


def test_events_are_made_as_they_are_asked_for() -> None:
    made = sample(10**7, 3)
    first = [next(made.events) for _ in range(100)]
    assert len({event.document["event"]["id"] for event in first}) == 100


@pytest.mark.skipif(not FIELD_TYPES.exists(), reason="the table of field types is not beside the project")
def test_every_field_is_known_and_of_its_type() -> None:
    with FIELD_TYPES.open(newline="") as file:
        types = {row["field"]: row["type"] for row in csv.DictReader(file)}
    leaves: dict[str, Any] = {}
    wrong: list[str] = []
    for event in sample(12_000, 80).events:
        for name, content in leaves_of(event.document):
            leaves[name] = content
            if not fits(types.get(name, ""), content):
                wrong.append(f"{name} ({types.get(name, 'unknown')}): {content!r}")
    assert wrong == []
    assert len(leaves) > 120


def leaves_of(content: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(content, dict):
        return [leaf for key, part in content.items() for leaf in leaves_of(part, f"{name}.{key}" if name else key)]
    if isinstance(content, list | tuple):
        return [leaf for part in content for leaf in leaves_of(part, name)]
    return [(name, content)]


def fits(kind: str, content: Any) -> bool:
    match kind:
        case "keyword" | "constant_keyword" | "wildcard" | "match_only_text":
            return isinstance(content, str)
        case "long" | "unsigned_long":
            return type(content) is int
        case "double" | "float":
            return isinstance(content, float)
        case "boolean":
            return isinstance(content, bool)
        case "ip":
            return bool(ip_address(content))
        case "date":
            return bool(datetime.fromisoformat(content[:19])) and content.endswith("Z")
        case _:
            return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": 0}, "the number of events must be 1 or more, found 0"),
        ({"attacks": -1}, "the number of attacks must be 0 or more, found -1"),
        ({"near_misses": -3}, "the number of near misses must be 0 or more, found -3"),
        ({"events": 30, "attacks": 40}, "ask for"),
        ({"span": timedelta(seconds=3)}, "the span must be 15 seconds or more"),
        ({"end": datetime(2026, 3, 1)}, "the end needs a time zone"),
        ({"rule": "76e4d92b-61c1-4a95-ab61-5fd94179a1ef"}, "did you mean 76e4d92b-61c1-4a95-ab61-5fd94179a1ee?"),
    ],
)
def test_arguments_that_cannot_be_met_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        generate(**{"events": 1_000, "attacks": 5, "seed": 1, "end": END, **arguments})
    assert message in str(caught.value)
