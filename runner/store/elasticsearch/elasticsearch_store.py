"""`ElasticsearchStores`: alerts, ledger, run log and lease board in one cluster."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from runner.cluster.elasticsearch import Elastic
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.elasticsearch.file_record import ElasticsearchFileRecord
from runner.store.elasticsearch.installation import Installation
from runner.store.elasticsearch.lease_board import ElasticsearchBoard
from runner.store.elasticsearch.ledger import ElasticsearchLedger
from runner.store.elasticsearch.run_log import ElasticsearchRunLog
from runner.store.protocol import Stores


@dataclass(frozen=True, slots=True)
class ElasticsearchStores(Stores):
    """The stores in one cluster, created before the first write; they raise StoreError and the client's errors."""

    board: ElasticsearchBoard
    """Where runners with the same state index leave notes for each other."""
    installation: Installation


def elasticsearch_stores(client: Elastic, names: StoreNames) -> ElasticsearchStores:
    """The stores with these names; nothing is sent yet."""
    installation = Installation(client, names)
    return ElasticsearchStores(
        alerts=ElasticsearchAlerts(client, names, installation),
        ledger=ElasticsearchLedger(client, names, installation),
        run_log=ElasticsearchRunLog(client, names.runs),
        files=ElasticsearchFileRecord(client, names, installation, socket.gethostname()),
        board=ElasticsearchBoard(client, names.state, installation),
        installation=installation,
    )
