"""Scenarios in every way of searching: the EQL API, fetch and match, files. The same runs, and alerts of the same ids.

The scenarios are those of `specs/scenarios` that say nothing of files, and those of `specs/search/three_ways.toml`. An
event is a document of a data stream for the cluster, and the hit of that document for the files.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner.clock import FakeClock
from runner.cluster.elasticsearch import Connection, Retry, open_client
from runner.events.fields.schema import DataType, shipped_schema
from runner.rule_run import RuleRun
from runner.search.cluster.cluster_search import ClusterSearch
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search
from runner.service.due_requests import requests_at
from runner.service.rules_in_use import load_active
from runner.service.service import Service
from runner.store.memory import MemoryStore
from tests.elasticsearch.proxy import Proxy
from tests.paths import SPECS
from tests.scenarios.timeline import at, document_of, rule_text
from tests.scenarios.world import SHIPPED_RULES, World, told
from tests.search.lab import MAPPINGS, write

FILES = (
    *(SPECS / "scenarios" / f"{name}.toml" for name in ("cap", "sequences", "windows", "backlog_edges", "suppression")),
    SPECS / "search" / "three_ways.toml",
    SPECS / "search" / "exceptions.toml",
    SPECS / "search" / "query_rules.toml",
    SPECS / "search" / "threshold_rules.toml",
    SPECS / "search" / "new_terms_rules.toml",
)


@dataclass
class SearchedWorld(World):
    """A world that is searched in one of the ways; its events are written by whoever made it."""

    made: Callable[[], Search] = field(kw_only=True)
    in_use: Search | None = None

    def service(self, search: Search | None = None) -> Service:
        if self.in_use is None:
            self.in_use = self.made()
        return super().service(search or self.in_use)

    async def restart(self) -> None:
        if self.in_use is not None:
            await self.in_use.close()
            self.in_use = None
        await super().restart()

    async def once(self) -> list[RuleRun]:
        search = self.made()
        active = await load_active(self.sources, search, at=self.clock.now())
        asked = requests_at(active.compiled, self.clock.now())
        runs = [run async for run in self.execution(search).run(asked)]
        await search.close()
        return runs


@dataclass
class Events:
    """The events of a scenario, in two data streams of a namespace and in a file of hits."""

    client: Elasticsearch
    namespace: str
    file: Path

    def begin(self) -> None:
        self.client.indices.put_index_template(
            name=f"template-{self.namespace}",
            index_patterns=[f"logs-*-{self.namespace}"],
            data_stream={},
            priority=500,
            template={"settings": {"number_of_replicas": 0}, "mappings": mappings()},
        )
        for kind in ("network", "process"):
            self.client.indices.create_data_stream(name=f"logs-endpoint.events.{kind}-{self.namespace}")

    def add(self, lines: list[str]) -> None:
        documents = [document_of(line) for line in lines]
        for document in documents:
            document["data_stream"]["namespace"] = self.namespace
        hits = [
            (f"logs-{one['data_stream']['dataset']}-{self.namespace}", one["event"]["id"], one) for one in documents
        ]
        write(self.client, hits)
        with self.file.open("a", encoding="utf-8") as file:
            for index, id_, document in hits:
                file.write(json.dumps({"_index": self._backing(index), "_id": id_, "_source": document}) + "\n")

    def _backing(self, stream: str) -> str:
        """The index behind a data stream that has its documents."""
        (found,) = self.client.indices.get_data_stream(name=stream)["data_streams"]
        return str(found["indices"][-1]["index_name"])

    def pattern(self, given: str) -> str:
        """An index pattern of a scenario, for the streams of this namespace."""
        if given.endswith("-default"):
            return f"{given.removesuffix('default')}{self.namespace}"
        return f"{given}-{self.namespace}"

    def rule(self, name: str, fields: Mapping[str, Any]) -> str:
        index = [self.pattern(pattern) for pattern in fields.get("index", ["logs-endpoint.events.*"])]
        return rule_text(name, {**fields, "index": index})

    def shipped_rules(self) -> Iterator[tuple[str, str]]:
        """The shipped rules over these streams, with the names of their files."""
        index = json.dumps([self.pattern("logs-endpoint.events.*")])
        for path in SHIPPED_RULES.rglob("*.toml"):
            text = path.read_text(encoding="utf-8")
            yield path.name, re.sub(r"^index = \[[^\]]*\]", f"index = {index}", text, count=1, flags=re.MULTILINE)


def mappings() -> dict[str, Any]:
    """The mapping of the tests, with every field that a shipped rule names."""
    rules = "".join(path.read_text(encoding="utf-8") for path in SHIPPED_RULES.rglob("*.toml"))
    named = {
        name: {"type": found.type.value}
        for name, found in shipped_schema().fields.items()
        if found.type in (DataType.KEYWORD, DataType.IP, DataType.LONG, DataType.BOOLEAN) and f"{name} " in rules
    }
    return {**MAPPINGS, "properties": {**named, **MAPPINGS["properties"]}}


def scenarios() -> Iterator[Any]:
    for file in FILES:
        for scenario in tomllib.loads(file.read_text(encoding="utf-8"))["scenario"]:
            if not any("remarks" in step for step in scenario["step"]):  # late events are recognised in files alone
                yield pytest.param(scenario, id=f"{file.stem}: {scenario['name']}")


@pytest.fixture
async def worlds(eql_proxy: Proxy, plain_proxy: Proxy, tmp_path: Path) -> AsyncIterator[dict[str, SearchedWorld]]:
    """A world for each way, with an empty store and a folder of its own; the files are in `events` beside them."""
    (tmp_path / "events").mkdir()
    retry = Retry(first_wait=0.0, longest_wait=0.0)
    clients = [open_client(Connection(hosts=(proxy.url,)), retry=retry) for proxy in (eql_proxy, plain_proxy)]
    made: dict[str, Callable[[], Search]] = {
        "EQL API": lambda: ClusterSearch(clients[0]),
        "fetch and match": lambda: ClusterSearch(clients[1]),
        "files": lambda: FileSearch([tmp_path / "events"], live=True),
    }
    found: dict[str, SearchedWorld] = {}
    for way, make in made.items():
        folder = tmp_path / way
        folder.mkdir()
        found[way] = SearchedWorld(folder, MemoryStore(), FakeClock(at("00:00:00")), made=make)
    yield found
    for world in found.values():
        await world.restart()
    for client in clients:
        await client.close()


@pytest.mark.parametrize("scenario", list(scenarios()))
async def test_scenario(
    elasticsearch_url: str,
    namespace: str,
    tmp_path: Path,
    worlds: dict[str, SearchedWorld],
    scenario: dict[str, Any],
) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        events = Events(client, namespace, tmp_path / "events" / "events.ndjson")
        events.begin()
        events.add(["earlier exec 00:00:00 day=2026-02-01"])  # a sensor that has seen events before
        known: dict[str, str] = {}
        for number, step in enumerate(scenario["step"], 1):
            for lines in step.get("write", {}).values():
                events.add(lines)
            for what in step.get("closes", []):
                for world in worlds.values():
                    await world.close_alert(what)
            found = {way: await outcome(world, scenario, step, events) for way, world in worlds.items()}
            heads = {way: await world.heads() for way, world in worlds.items()}
            new = [what for id_, what in heads["files"].items() if id_ not in known]
            known = heads["files"]
            assert found["EQL API"] == found["fetch and match"] == found["files"], f"step {number}"
            expected = sorted(map(without_over, step["runs"]))
            assert (found["files"], sorted(new)) == (expected, sorted(step.get("new", []))), f"step {number}"
            assert heads["EQL API"] == heads["fetch and match"] == heads["files"], f"step {number}"
            counted = {way: await world.counted() for way, world in worlds.items()}
            assert counted["EQL API"] == counted["fetch and match"] == counted["files"], f"step {number}"
            assert sorted(counted["files"]) == sorted(step.get("counted", counted["files"])), f"step {number}"
            groups = [await world.groups() for world in worlds.values()]
            assert groups[0] == groups[1] == groups[2], f"step {number}"


async def outcome(
    world: SearchedWorld, scenario: Mapping[str, Any], step: Mapping[str, Any], events: Events
) -> list[str]:
    """What one way's runs of a step come to.

    How many matches are over the cap is not told of runs that leave some: a cluster is asked for one more than the cap.
    """
    world.on_cap = scenario.get("on_cap", "carry")
    rules = dict(events.shipped_rules()) if scenario.get("shipped_rules") else {}
    rules |= {f"{name}.toml": events.rule(name, fields) for name, fields in step.get("rules", {}).items()}
    for name, text in rules.items():
        (world.folder / "rules" / name).write_text(text, encoding="utf-8")
    for name, text in step.get("exceptions", {}).items():
        (world.folder / "exceptions").mkdir(exist_ok=True)
        (world.folder / "exceptions" / name).write_text(text, encoding="utf-8")
    world.go_to(at(step["at"]))
    if step["do"] == "restart":
        await world.restart()
    runs = await (world.once() if step["do"] == "once" else world.tick())
    return sorted(without_over(told(run)) for run in runs)


def without_over(text: str) -> str:
    return re.sub(r" over=\d+", "", text)
