"""A whole runner on a cluster: rules, events in an index, the search and the store that the commands use, and a clock.

What a test plants is an incident for each of the rules; what has been found is read from the cluster, past the runner.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from runner.alerts.build import AlertContext
from runner.clock import FakeClock
from runner.cluster.elasticsearch import Connection, Retry, open_client
from runner.rule_run import RuleRun
from runner.schedule.schedule import Schedule
from runner.search.cluster.cluster_search import ClusterSearch
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, RuleSources
from runner.service.service import Service, ServiceObserver
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.elasticsearch_store import elasticsearch_stores
from runner.telemetry.health import HealthState, readiness
from runner.telemetry.logs import log_run
from tests.scenarios.incidents import Incident
from tests.scenarios.places import MAPPINGS
from tests.scenarios.snapshot import Snapshot, read_cluster
from tests.scenarios.timeline import at, document_of, rule_text

QUERIES = {
    "nc": 'process where process.name == "nc"',
    "socat": 'process where process.name == "socat"',
    "pair": 'sequence by process.entity_id with maxspan=1m [process where process.name == "nc"] '
    '[process where process.name == "sh"]',
}
START = at("10:05:00")
STEP = timedelta(minutes=5)
MOST_STEPS = 15
QUICK = Retry(attempts=2, first_wait=0.01, longest_wait=0.05)
_PATIENCE = timedelta(minutes=30)


class ClusterWorld(ServiceObserver):
    """One runner at `url`, which a proxy may stand before; `node_url` is where events are written and results read.

    The rules start every five minutes and look nine minutes back, as the shipped ones do.
    """

    def __init__(self, folder: Path, url: str, *, node_url: str, name: str, **connection: Any) -> None:
        self.node_url, self.name = node_url, name
        self.index = f"logs-{name}-events"
        self.clock = FakeClock(START)
        self.runs: list[RuleRun] = []
        self.troubles: list[str] = []
        self.planted: set[Incident] = set()
        self.health = HealthState(self.clock.now())
        self._rules = folder / "rules"
        self._rules.mkdir(exist_ok=True)
        for rule, query in QUERIES.items():
            text = rule_text(rule, {"query": query, "index": [f"logs-{name}-*"]})
            (self._rules / f"{rule}.toml").write_text(text, encoding="utf-8")
        self.connect(url, **connection)

    def connect(self, url: str, **connection: Any) -> None:
        """Be a new runner, which knows only what the store knows."""
        self.url = url
        plain = replace(Connection(hosts=(url,), request_timeout=60.0), **connection)
        self._client = open_client(plain, retry=QUICK)
        self._search = ClusterSearch(self._client, timeout=60.0)
        names = StoreNames(f"{self.name}-alerts", f"{self.name}-runs", f"{self.name}-state")
        self.stores = elasticsearch_stores(self._client, names)
        context = AlertContext(now=self.clock.now(), execution_id="")
        execution = Execution(
            self._search, self.stores.alerts, self.stores.ledger, clock=self.clock.now, context=context
        )
        self.service = Service(
            RuleSources((self._rules,)),
            execution,
            clock=self.clock,
            schedule=Schedule(together=True),
            observer=self,
        )

    async def close(self) -> None:
        await self._search.close()
        await self._client.close()

    def make_index(self, index: str = "", **settings: Any) -> None:
        """An index for events, with the mapping of all of them."""
        with Elasticsearch(self.node_url) as client:
            client.indices.create(index=index or self.index, mappings=dict(MAPPINGS), settings=settings or None)
            shown = document_of("shown exec 08:00:00.000 name=cat")
            client.index(index=index or self.index, document=shown, refresh=not settings)

    def plant(self, name: str, *, index: str = "", before: timedelta = timedelta(minutes=2), **more: Any) -> None:
        """An incident for every rule, that long before now."""
        moment = self.clock.now() - before
        lines = [f"{name} exec {moment:%H:%M:%S.000} name=nc entity={name}"]
        lines.append(f"{name}-sh exec {moment + timedelta(seconds=1):%H:%M:%S.000} name=sh entity={name}")
        lines.append(f"{name}-socat exec {moment:%H:%M:%S.000} name=socat")
        with Elasticsearch(self.node_url) as client:
            for document in map(document_of, lines):
                client.index(index=index or self.index, id=document["event"]["id"], document=document | more)
            client.indices.refresh(index=index or self.index)
        self.planted |= {("nc", (name,)), ("pair", (name, f"{name}-sh")), ("socat", (f"{name}-socat",))}

    def later(self, name: str, **more: Any) -> None:
        """Let an interval pass, in which there is an incident."""
        self.clock.advance(STEP)
        self.plant(name, **more)

    async def tick(self, after: timedelta = timedelta(0)) -> tuple[list[RuleRun], list[str]]:
        """Let time pass and tick: the runs of the tick, and what it said of trouble."""
        self.clock.advance(after)
        runs, troubles = len(self.runs), len(self.troubles)
        await self.service.tick()
        return self.runs[runs:], self.troubles[troubles:]

    async def snapshot(self) -> Snapshot:
        names = {part: f"{self.name}-{part}" for part in ("alerts", "runs", "state")}
        return await read_cluster(self.node_url, **names)

    async def recovered(self) -> None:
        """Tick until nothing is owed: then everything planted is there once, and the ledger has no gap."""
        for _ in range(MOST_STEPS):
            await self.tick(STEP)
            now = await self.snapshot()
            if not now.gaps(QUERIES, self.clock.now()):
                break
        assert now.gaps(QUERIES, self.clock.now()) == []
        assert now.faults() == []
        assert now.incidents() == Counter(self.planted)

    def not_ready(self) -> str:
        """What readiness says is wrong; empty if the service is ready."""
        verdict = readiness(self.health.snapshot, self.clock.now(), _PATIENCE)
        return "; ".join(f"{check.name}: {check.reason}" for check in verdict.checks if not check.ok)

    def on_run(self, run: RuleRun) -> None:
        log_run(run)
        self.runs.append(run)
        self.health.record_run(run)

    def on_rules(self, active: ActiveRules) -> None:
        self.health.record_rules(active)

    def on_tick(self, trouble: Exception | None) -> None:
        self.health.record_tick(self.clock.now(), trouble)

    def on_trouble(self, error: Exception) -> None:
        self.troubles.append(f"{type(error).__name__}: {error}")


@contextmanager
def logged() -> Iterator[list[str]]:
    """Everything that is logged meanwhile, as text."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.getMessage()}")

    handler = Keep()
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)
