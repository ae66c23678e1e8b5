"""Rules of type threat_match in a cluster and over files: the same events, with the same indicators.

Random events and indicators are also compared with a plain join, pair by pair, of all of them.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, Retry, open_client
from runner.exceptions.item import ExceptionEntry, ExceptionItem
from runner.rules.rule import Rule
from runner.search.cluster.cluster_search import ClusterSearch
from runner.search.cluster.threat_match.threat_match_search import ThreatMatchSearch
from runner.search.compiled_rule import CompiledRule, compile_rule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search, SearchRequest, SearchResult
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import KEYWORDS, WINDOW, fill, process, results, rule, save_hits

INDICATORS: dict[str, Any] = {
    "dynamic_templates": list(KEYWORDS),
    "properties": {
        "@timestamp": {"type": "date"},
        "threat": {"properties": {"indicator": {"properties": {"ip": {"type": "ip"}, "port": {"type": "long"}}}}},
    },
}
Entry = tuple[str, str] | tuple[str, str, bool]


def indicator(day: str = "2026-02-28", **fields: Any) -> dict[str, Any]:
    """An indicator of a day; `__` in a name stands for a dot."""
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return {"@timestamp": f"{day}T00:00:00Z", "event.module": "ti_lab", "threat.feed.name": "lab"} | named


def matching(index: str, *groups: Sequence[Entry], **fields: Any) -> Rule:
    """A rule with groups of pairs of an event's field and an indicator's; a third value negates."""
    mapping = [
        {
            "entries": [
                {"field": one[0], "value": one[1], "type": "mapping"} | ({"negate": True} if len(one) > 2 else {})
                for one in group
            ]
        }
        for group in groups
    ]
    given = {"threat_index": (f"{index}-ti",), "threat_query": "*:*", "threat_mapping": mapping, "language": "kuery"}
    more = {"type": "threat_match", "from": "now-65m", "interval": "1h", "index": (f"{index}-logs",)}
    return rule(**{"query": "*:*"} | more | given | fields)


Found = list[tuple[str, list[tuple[str, Any, str]]]]


def found_in(result: SearchResult) -> Found:
    """Of each match the event's id and, of each indicator, the event's field, its value and the indicator's id."""
    assert result.error is None, result.error
    return sorted(
        (match.hits[0].id, sorted((one.field, one.value, one.hit.id if one.hit else "") for one in match.indicators))
        for match in result.matches
    )


async def searched(search: Search, of: CompiledRule, size: int = 101) -> SearchResult:
    problems = [problem for problem in await search.prepare([of]) if problem.severity == "error"]
    assert not problems, problems
    (found,) = await results(search, SearchRequest(of, WINDOW, size))
    return found


class Lab:
    """Events and indicators in a node, and the same as files."""

    def __init__(self, proxy: Proxy, index: str, folder: Path) -> None:
        self.url, self.index, self.folder = proxy.url, index, folder

    def fill(self, events: Sequence[Mapping[str, Any]], indicators: Sequence[Mapping[str, Any]]) -> None:
        fill(self.url, f"{self.index}-logs", events)
        fill(self.url, f"{self.index}-ti", indicators, mappings=INDICATORS)
        for kind in ("logs", "ti"):
            save_hits(self.url, f"{self.index}-{kind}", self.folder / f"{kind}.ndjson")

    async def cluster(self, of: CompiledRule, *, size: int = 101, **limits: Any) -> SearchResult:
        client = open_client(Connection(hosts=(self.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
        try:
            search: Search = ThreatMatchSearch(client, **limits) if limits else ClusterSearch(client)
            return await searched(search, of, size)
        finally:
            await client.close()

    async def files(self, of: CompiledRule) -> SearchResult:
        search = FileSearch([self.folder / "logs.ndjson"], indicators=[self.folder / "ti.ndjson"])
        try:
            found = await searched(search, of)
            return SearchResult(found.request, tuple(found.matches), warnings=found.warnings)
        finally:
            await search.close()

    async def both(self, of: Rule | CompiledRule) -> Found:
        compiled = of if isinstance(of, CompiledRule) else compile_rule(of)
        here, there = found_in(await self.cluster(compiled)), found_in(await self.files(compiled))
        assert here == there
        return here


@pytest.fixture
def lab(plain_proxy: Proxy, namespace: str, tmp_path: Path) -> Lab:
    return Lab(plain_proxy, namespace, tmp_path)


SOURCE = ("source.ip", "threat.indicator.ip")
HASH = ("file.hash.sha256", "threat.indicator.file.hash.sha256")


async def test_one_entry_or_another(lab: Lab) -> None:
    events = [
        process(0, "a", **{"source.ip": "10.0.0.1", "file.hash.sha256": "aa"}),
        process(1, "b", **{"source.ip": ["10.0.0.9", "2001:DB8::1"]}),
        process(2, "c", **{"file.hash.sha256": "AA"}),
        process(3, "d", **{"source.ip": "10.0.0.2"}),
        process(4_000, "late", **{"source.ip": "10.0.0.1"}),
    ]
    indicators = [
        indicator(threat__indicator__ip="10.0.0.1"),
        indicator(threat__indicator__file__hash__sha256=["bb", "aa"]),
        indicator(threat__indicator__ip="2001:db8:0:0::1"),
        indicator(threat__indicator__ip=["10.0.0.1", "10.0.0.7"]),
        indicator(threat__indicator__name="none"),
    ]
    lab.fill(events, indicators)
    found = await lab.both(matching(lab.index, [SOURCE], [HASH]))
    assert found == [
        ("0", [("file.hash.sha256", "aa", "1"), ("source.ip", "10.0.0.1", "0"), ("source.ip", "10.0.0.1", "3")]),
        ("1", [("source.ip", "2001:db8::1", "2")]),
    ]


async def test_all_entries_of_a_group_are_of_one_indicator(lab: Lab) -> None:
    port = ("destination.port", "threat.indicator.port")
    events = [
        process(0, "a", **{"source.ip": "10.0.0.1", "destination.port": 80}),
        process(1, "b", **{"source.ip": "10.0.0.1", "destination.port": 81}),
        process(2, "c", **{"source.ip": "10.0.0.2", "destination.port": "81"}),
        process(3, "d", **{"source.ip": "10.0.0.1"}),
    ]
    indicators = [
        indicator(threat__indicator__ip="10.0.0.1", threat__indicator__port=80),
        indicator(threat__indicator__ip="10.0.0.2", threat__indicator__port=81),
        indicator(threat__indicator__ip="10.0.0.1"),
        indicator(threat__indicator__port=81),
    ]
    lab.fill(events, indicators)
    assert [id_ for id_, _ in await lab.both(matching(lab.index, [SOURCE, port]))] == ["0", "2"]


async def test_what_does_not_match(lab: Lab) -> None:
    name = ("user.name", "threat.indicator.name", True)
    events = [
        process(0, "same", **{"source.ip": "10.0.0.1", "user.name": "root"}),
        process(1, "other", **{"source.ip": "10.0.0.1", "user.name": "bob"}),
        process(2, "none", **{"source.ip": "10.0.0.1"}),
        process(3, "one of two", **{"source.ip": "10.0.0.2", "user.name": "root"}),
        process(4, "no name", **{"source.ip": "10.0.0.3", "user.name": "root"}),
    ]
    indicators = [
        indicator(threat__indicator__ip="10.0.0.1", threat__indicator__name=["root", "toor"]),
        indicator(threat__indicator__ip="10.0.0.2", threat__indicator__name="root"),
        indicator(threat__indicator__ip="10.0.0.2", threat__indicator__name="bob"),
        indicator(threat__indicator__ip="10.0.0.3"),
    ]
    lab.fill(events, indicators)
    found = await lab.both(matching(lab.index, [SOURCE, name]))
    assert found == [("1", [("source.ip", "10.0.0.1", "0")]), ("3", [("source.ip", "10.0.0.2", "2")])]


async def test_blocks_of_addresses_stand_for_all_of_theirs(lab: Lab) -> None:
    listed = ("source.ip", "threat.indicator.block")
    events = [process(n, "x", **{"source.ip": ip}) for n, ip in enumerate(["10.1.2.3", "10.2.0.0", "::1", "10.1.0.9"])]
    indicators = [
        indicator(threat__indicator__block="10.1.0.0/16"),
        indicator(threat__indicator__block="10.1.0.9"),
        indicator(threat__indicator__block="no address"),
        indicator(threat__indicator__block="::/127"),
    ]
    lab.fill(events, indicators)
    found = await lab.both(matching(lab.index, [listed]))
    assert [(id_, [one[2] for one in each]) for id_, each in found] == [("0", ["0"]), ("2", ["3"]), ("3", ["0", "1"])]


async def test_the_query_and_the_filters_choose_the_indicators(lab: Lab) -> None:
    events = [process(n, "x", **{"source.ip": f"10.0.0.{n}"}) for n in range(6)]
    indicators = [
        indicator("2026-01-31", threat__indicator__ip="10.0.0.0"),
        indicator("2026-01-30", threat__indicator__ip="10.0.0.1"),
        indicator(threat__indicator__ip="10.0.0.2") | {"event.module": "other"},
        indicator(threat__indicator__ip="10.0.0.3", labels__old="true"),
        indicator(threat__indicator__ip="10.0.0.4", event__kind="enrichment"),
        indicator(threat__indicator__ip="10.0.0.5"),
    ]
    lab.fill(events, indicators)
    query = '@timestamp >= "now-30d/d" and event.module:ti_* and not labels.old:"true"'
    found = await lab.both(matching(lab.index, [SOURCE], threat_query=query))
    assert [id_ for id_, _ in found] == ["0", "4", "5"]
    filters = ({"meta": {"negate": True}, "query": {"match_phrase": {"event.kind": "enrichment"}}},)
    of = matching(lab.index, [SOURCE], threat_query="event.module:ti_lab", threat_language="lucene")
    found = await lab.both(of.model_copy(update={"threat_filters": filters}))
    assert [id_ for id_, _ in found] == ["0", "1", "3", "5"]


async def test_exceptions_are_about_events_and_about_indicators(lab: Lab) -> None:
    events = [process(n, "x", **{"source.ip": f"10.0.0.{n}"}) for n in range(3)]
    indicators = [indicator(threat__indicator__ip=f"10.0.0.{n}", threat__feed__name=f"f{n}") for n in range(3)]
    lab.fill(events, indicators)
    of_event = ExceptionItem("a", "a", entries=(ExceptionEntry("source.ip", "match", values=("10.0.0.0",)),))
    of_feed = ExceptionItem("b", "b", entries=(ExceptionEntry("threat.feed.name", "match", values=("f1",)),))
    made = compile_rule(matching(lab.index, [SOURCE]))
    excepting = CompiledRule(
        made.rule, made.query, made.reach, made.field_names, (of_event, of_feed), made.indicator_query
    )
    assert [id_ for id_, _ in await lab.both(excepting)] == ["2"]


async def test_the_earliest_events_come_first_and_many_values_are_looked_up_here(lab: Lab) -> None:
    events = [process(n / 10, "x", **{"source.ip": f"10.0.{n // 250}.{n % 250}"}) for n in range(600)]
    lab.fill(events, [indicator(threat__indicator__ip=f"10.0.{n // 250}.{n % 250}") for n in range(0, 600, 2)])
    of = compile_rule(matching(lab.index, [SOURCE]))
    for most_values in (1, 1_000):
        found = await lab.cluster(of, size=20, page_size=50, most_values=most_values)
        assert (found.exhausted, [match.hits[0].id for match in found.matches][:20]) == (
            False,
            [str(n) for n in range(0, 40, 2)],
        )
        whole = await lab.cluster(of, size=1_000, page_size=50, most_values=most_values)
        assert (whole.exhausted, len(whole.matches)) == (True, 300)
    assert len(found_in(await lab.files(of))) == 300


async def test_more_indicators_than_an_alert_shows(lab: Lab) -> None:
    lab.fill(
        [process(0, "x", **{"source.ip": "10.0.0.1"})],
        [indicator(threat__indicator__ip="10.0.0.1") for _ in range(250)],
    )
    ((_, shown),) = await lab.both(matching(lab.index, [SOURCE]))
    assert len({id_ for _, _, id_ in shown}) == 200


async def test_what_is_not_there_is_told(lab: Lab) -> None:
    lab.fill([process(0, "x", **{"source.ip": "10.0.0.1"})], [indicator(threat__indicator__name="x")])
    of = matching(lab.index, [SOURCE])
    for found in (await lab.cluster(compile_rule(of)), await lab.files(compile_rule(of))):
        assert not found.matches
        assert any("finds nothing" in text for text in found.warnings), found.warnings
    absent = matching(lab.index, [SOURCE], threat_index=(f"{lab.index}-none",))
    (warning,) = (await lab.cluster(compile_rule(absent))).warnings
    assert "indicators: " in warning and f"{lab.index}-none" in warning
    unmapped = compile_rule(matching(lab.index, [("no.such", "threat.indicator.ip")]))
    assert "no document has the fields" in " ".join((await lab.cluster(unmapped)).warnings)


VALUES: dict[str, Sequence[Any]] = {
    "source.ip": ("10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"),
    "destination.ip": ("10.0.0.1", "10.0.0.4", "::1"),
    "user.name": ("root", "Root", "bob"),
    "process.pid": (1, 2, 3),
}
OWN: dict[str, str] = {
    "source.ip": "threat.indicator.ip",
    "destination.ip": "threat.indicator.ip",
    "user.name": "threat.indicator.name",
    "process.pid": "threat.indicator.port",
}


def some(chance: random.Random, values: Sequence[Any]) -> Any:
    """One value, several or none."""
    count = chance.choice((0, 1, 1, 1, 2, 3))
    picked = chance.sample(list(values), min(count, len(values)))
    return picked[0] if len(picked) == 1 else picked


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value is not None else []


def plain_join(
    events: Sequence[Mapping[str, Any]], indicators: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[Entry]]
) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Of each event that an indicator matches the fields that are equal, with the indicators."""
    for number, event in enumerate(events):
        found: set[tuple[str, str]] = set()
        for place, one in enumerate(indicators):
            for group in groups:
                equal = [keys(event.get(e[0]), e[0]) & keys(one.get(e[1]), e[0]) for e in group]
                both = [as_list(event.get(e[0])) and as_list(one.get(e[1])) for e in group]
                if all(both) and all(bool(same) is (len(e) == 2) for same, e in zip(equal, group, strict=True)):
                    found.update((e[0], str(place)) for e in group if len(e) == 2)
        if found:
            yield str(number), found


def keys(value: Any, field: str) -> set[Any]:
    given = as_list(value)
    return {ipaddress.ip_address(one) for one in given} if field.endswith("ip") else set(given)


@pytest.mark.parametrize("seed", range(6))
async def test_random_events_and_indicators_are_joined_as_pair_by_pair(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    events = [
        process(n, "x", **{name: some(chance, values) for name, values in VALUES.items()} | {"event.id": str(n)})
        for n in range(80)
    ]
    own = {own: name for name, own in OWN.items()}
    indicators = [
        indicator() | {name: some(chance, VALUES[of]) for name, of in own.items()} | {"event.id": str(n)}
        for n in range(25)
    ]
    lab.fill(events, indicators)
    for _ in range(4):
        groups: list[list[Entry]] = []
        for _ in range(chance.randint(1, 3)):
            names = chance.sample(list(VALUES), chance.randint(1, 3))
            first, *rest = names
            group: list[Entry] = [(first, OWN[first])]
            group += [(name, OWN[name], True) if chance.random() < 0.4 else (name, OWN[name]) for name in rest]
            groups.append(group)
        found = await lab.both(matching(lab.index, *groups))
        expected = sorted(plain_join(events, indicators, groups))
        assert [(id_, {(field, one) for field, _, one in each}) for id_, each in found] == expected
