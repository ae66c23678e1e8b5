"""`ElasticsearchStores`: alerts, ledger, run log and lease board in one cluster."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from runner.cluster.elasticsearch import Elastic
from runner.rule_run import RunCost
from runner.search.term_store import TermStore
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.elasticsearch.file_record import ElasticsearchFileRecord
from runner.store.elasticsearch.installation import Installation
from runner.store.elasticsearch.lease_board import ElasticsearchBoard
from runner.store.elasticsearch.ledger import ElasticsearchLedger, read_sources
from runner.store.elasticsearch.run_log import ElasticsearchRunLog, read_costs
from runner.store.elasticsearch.terms import ElasticsearchTerms
from runner.store.protocol import Stores
from runner.store.source import UNNAMED, EventSource


@dataclass(frozen=True, slots=True)
class ElasticsearchStores(Stores):
    """The stores in one cluster, created before the first write; they raise StoreError and the client's errors."""

    board: ElasticsearchBoard
    """Where runners with the same state index and source leave notes for each other."""
    installation: Installation


class ElasticsearchLedgers:
    """The ledgers, run logs and boards of all sources in one cluster. Implements `Ledgers`."""

    def __init__(self, client: Elastic, names: StoreNames, installation: Installation) -> None:
        self._client = client
        self._names = names
        self._installation = installation
        self.terms: TermStore = ElasticsearchTerms(client, names, installation)

    async def sources(self) -> Sequence[EventSource]:
        return await read_sources(self._client, self._names.state)

    def ledger(self, source: EventSource) -> ElasticsearchLedger:
        return ElasticsearchLedger(self._client, self._names, self._installation, source=source)

    def run_log(self, source: EventSource) -> ElasticsearchRunLog:
        return ElasticsearchRunLog(self._client, self._names.runs, source=source)

    def files(self, source: EventSource) -> ElasticsearchFileRecord:
        return ElasticsearchFileRecord(self._client, self._names, self._installation, socket.gethostname(), source)

    async def costs(self, since: datetime | None) -> Mapping[str, RunCost]:
        return await read_costs(self._client, self._names.runs, since)

    def board(self, source: EventSource) -> ElasticsearchBoard:
        return ElasticsearchBoard(self._client, self._names.state, self._installation, source=source)


def elasticsearch_stores(client: Elastic, names: StoreNames, source: EventSource = UNNAMED) -> ElasticsearchStores:
    """The stores with these names and the ledger of the source, that of the cluster's own events if none is given.

    Nothing is sent yet.
    """
    installation = Installation(client, names)
    ledgers = ElasticsearchLedgers(client, names, installation)
    return ElasticsearchStores(
        alerts=ElasticsearchAlerts(client, names, installation),
        ledger=ledgers.ledger(source),
        run_log=ledgers.run_log(source),
        files=ledgers.files(source),
        ledgers=ledgers,
        board=ledgers.board(source),
        installation=installation,
    )
