"""`Snapshot`: what a store holds at one moment, read past the runner, and what must hold of it at any moment."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import open_client
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.elasticsearch_store import elasticsearch_stores
from runner.store.protocol import AlertFilter
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.scenarios.incidents import Incident

_RULE, _EXECUTION = "kibana.alert.rule.rule_id", "kibana.alert.rule.execution.uuid"
_GROUP, _PLACE = "kibana.alert.group.id", "kibana.alert.group.index"
_COUNT = "kibana.alert.suppression.docs_count"
_RESULT, _TERMS = "kibana.alert.threshold_result", "kibana.alert.new_terms"
_OF_THE_RUN = (
    "@timestamp",
    "kibana.alert.intended_timestamp",
    "kibana.alert.last_detected",
    "kibana.alert.start",
    "kibana.alert.rule.execution.timestamp",
    "kibana.alert.rule.execution.type",
    "kibana.alert.rule.execution.uuid",
)
"""What says by which run and when an alert was found; everything else must not depend on that."""


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One line of the run log."""

    rule_id: str
    execution: str
    created: int
    status: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Alerts, run log and ledger at one moment."""

    alerts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The documents by id."""
    runs: Sequence[LoggedRun] = ()
    spans: Mapping[str, Sequence[Window]] = field(default_factory=dict)
    """What was searched to the end, by rule."""
    twice: Collection[str] = ()
    """Ids that are stored more than once."""

    @property
    def heads(self) -> dict[str, Mapping[str, Any]]:
        """The alerts that an analyst sees: those of single events and the shells of sequences."""
        return {id_: alert for id_, alert in self.alerts.items() if _PLACE not in alert}

    def contents(self) -> dict[str, Mapping[str, Any]]:
        """The documents by id without what says which run found them, and when; none whose events depend on that."""
        return {
            id_: {name: value for name, value in alert.items() if name not in _OF_THE_RUN}
            for id_, alert in self.alerts.items()
            if _COUNT not in alert and not _depends_on_runs(alert)
        }

    def counts(self) -> dict[str, list[int]]:
        """How many events the alerts of a threshold rule with one field have counted, by the field's value."""
        found: dict[str, list[int]] = {}
        for alert in self.alerts.values():
            if (result := alert.get(_RESULT)) is not None:
                found.setdefault(str(result["terms"][0]["value"]), []).append(result["count"])
        return found

    def new_terms(self) -> dict[str, list[str]]:
        """The events of the alerts of a rule of type new_terms with one field, by the field's value."""
        found: dict[str, list[str]] = {}
        for alert in self.alerts.values():
            if (terms := alert.get(_TERMS)) is not None:
                found.setdefault(str(terms[0]), []).append(_event(alert))
        return found

    def grouped(self) -> Counter[tuple[str, str]]:
        """How many matches the alerts of each rule and group of alert suppression stand for."""
        found: Counter[tuple[str, str]] = Counter()
        for alert in self.heads.values():
            if _COUNT in alert:
                found[(alert[_RULE], alert["kibana.alert.instance.id"])] += 1 + alert[_COUNT]
        return found

    def incidents(self) -> Counter[Incident]:
        """What the alerts are about, and how many there are about each; but those of alert suppression."""
        return Counter(incident for incident, _ in self._told())

    def about(self, incidents: Collection[Incident]) -> set[str]:
        """The ids of all alerts of these incidents."""
        return {id_ for incident, ids in self._told() if incident in incidents for id_ in ids}

    def _told(self) -> Iterator[tuple[Incident, list[str]]]:
        """What each alert that an analyst sees is about, with its id and those of its building blocks."""
        blocks: dict[str, list[tuple[int, str, str]]] = {}
        for id_, alert in self.alerts.items():
            if _PLACE in alert:
                blocks.setdefault(alert[_GROUP], []).append((alert[_PLACE], _event(alert), id_))
        for id_, head in self.heads.items():
            if _COUNT in head or _depends_on_runs(head):
                continue
            parts = sorted(blocks.get(head[_GROUP], ())) if _GROUP in head else [(0, _event(head), id_)]
            yield (head[_RULE], tuple(event for _, event, _ in parts)), [id_, *(block for _, _, block in parts)]

    def unrecorded(self) -> int:
        """Alerts of runs that the run log does not know: their process died before the ledger was written."""
        known = {run.execution for run in self.runs}
        return sum(alert[_EXECUTION] not in known for alert in self.alerts.values())

    def torn_groups(self) -> int:
        """Sequences of which building blocks are there, and no shell."""
        shells = {alert[_GROUP] for alert in self.heads.values() if _GROUP in alert}
        return len({alert[_GROUP] for alert in self.alerts.values() if _PLACE in alert} - shells)

    def faults(self) -> list[str]:
        """What must not be at any moment, however the process ended: empty."""
        found = [f"stored twice: {id_}" for id_ in self.twice]
        found += [f"two alerts about {what}" for what, count in self.incidents().items() if count > 1]
        found += [f"two alerts about the term {term}" for term, events in self.new_terms().items() if len(events) > 1]
        made = Counter(head[_EXECUTION] for head in self.heads.values())
        for run in self.runs:
            have = made[run.execution]
            if have < run.created or (have > run.created and run.status != "failed"):
                found.append(f"{run.rule_id}: the run log says {run.created} created, {have} are there")
        blocks = {alert[_GROUP] for alert in self.alerts.values() if _PLACE in alert}
        found += [f"shell without building blocks: {id_}" for id_, one in self.heads.items() if _lonely(one, blocks)]
        return found

    def gaps(self, rules: Collection[str], until: datetime) -> list[str]:
        """What is owed of the time from the first window of each rule to that moment: empty once all was searched."""
        found = []
        for rule in sorted(rules):
            spans = self.spans.get(rule, ())
            if not spans:
                found.append(f"{rule}: never searched")
            elif spans[0].end < until:
                found.append(f"{rule}: searched to {spans[0].end:%H:%M:%S}, not to {until:%H:%M:%S}")
        return found


def _depends_on_runs(alert: Mapping[str, Any]) -> bool:
    """Whether what the alert is about depends on which events had arrived when: counts, and first events of terms."""
    return _RESULT in alert or _TERMS in alert


def _event(alert: Mapping[str, Any]) -> str:
    return str(alert["kibana.alert.original_event.id"])


def _lonely(head: Mapping[str, Any], blocks: Collection[str]) -> bool:
    return _GROUP in head and head[_GROUP] not in blocks


def copy_sqlite(path: Path, target: Path) -> Path:
    """A copy of the file and its log as they are now, which is what a power cut would leave of what was written."""
    shutil.copyfile(path, target)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        shutil.copyfile(log, target.with_name(target.name + "-wal"))
    return target


def read_sqlite(path: Path) -> Snapshot:
    """What the file holds, which must not be in use; raises AssertionError if the file is damaged."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return Snapshot()
        stored = Counter(row[0] for row in connection.execute("SELECT id FROM alerts"))
        query = "SELECT rule_id, execution_id, created, status FROM runs ORDER BY rule_id, seq DESC"
        runs = [LoggedRun(*row) for row in connection.execute(query)]
    return asyncio.run(_read_sqlite(path, stored, runs))


async def _read_sqlite(path: Path, stored: Counter[str], runs: list[LoggedRun]) -> Snapshot:
    store = SqliteStore.open_existing(path)
    try:
        alerts = {alert.id: alert.document async for alert in store.find(AlertFilter(building_blocks=True))}
        # Every command of a round reads the same events.
        ledgers = [await store.ledger(source).read() for source in await store.sources()]
    finally:
        await store.close()
    twice = [id_ for id_, count in stored.items() if count > 1]
    spans = {rule: state.searched for states in ledgers for rule, state in states.items()}
    return Snapshot(alerts, runs, spans, twice)


def unfinished_write(log: Path) -> bool:
    """Whether the log of a SQLite file ends in pages of a transaction that was not committed.

    Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
    """
    data = log.read_bytes() if log.exists() else b""
    if len(data) < 32:
        return False
    (size,) = struct.unpack(">I", data[8:12])
    salts, place, open_pages = data[16:24], 32, 0
    while place + 24 <= len(data) and data[place + 8 : place + 16] == salts:
        (committed,) = struct.unpack(">I", data[place + 4 : place + 8])
        open_pages = 0 if committed else open_pages + 1
        place += 24 + size
    return open_pages > 0 or 0 < len(data) - place < 24 + size


async def read_cluster(url: str, *, alerts: str, state: str, runs: str) -> Snapshot:
    """What the indices hold."""
    client = open_client(Connection(hosts=(url,)))
    try:
        states = await elasticsearch_stores(client, StoreNames(alerts, runs, state)).ledger.read()
    finally:
        await client.close()
    with Elasticsearch(url, request_timeout=60) as raw:
        raw.indices.refresh(index=f"{alerts},{runs}", ignore_unavailable=True)
        stored = [(hit["_id"], hit["_source"]) for hit in _hits(raw, alerts)]
        logged = [_logged_run(hit["_source"]) for hit in _hits(raw, runs)]
    twice = [id_ for id_, count in Counter(id_ for id_, _ in stored).items() if count > 1]
    return Snapshot(dict(stored), logged, {rule: one.searched for rule, one in states.items()}, twice)


def _logged_run(source: Mapping[str, Any]) -> LoggedRun:
    execution = source["kibana"]["alert"]["rule"]["execution"]["uuid"]
    return LoggedRun(source["rule"]["id"], execution, source["runner"]["created"], source["runner"]["status"])


def _hits(client: Elasticsearch, index: str) -> list[Any]:
    if not client.indices.exists(index=index):
        return []
    found: list[Any] = []
    point = client.open_point_in_time(index=index, keep_alive="1m")["id"]
    after: Any = None
    while True:
        more = {} if after is None else {"search_after": after}
        page = client.search(pit={"id": point}, sort=["_shard_doc"], size=1_000, **more)["hits"]["hits"]
        found += page
        if len(page) < 1_000:
            client.close_point_in_time(id=point)
            return found
        after = page[-1]["sort"]
