"""A Kibana and a store in Elasticsearch to talk to, and the command line as a test calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command, command
from tests.cluster.kibana_stand_in import stand_in
from tests.paths import ROOT
from tests.store.conftest import client, store

__all__ = ["Command", "client", "command", "stand_in", "store"]


@pytest.fixture
def shipped_rules() -> Path:
    return ROOT / "rules"
