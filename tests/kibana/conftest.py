"""A Kibana to talk to, and the command line as a test calls it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command, command
from tests.kibana.stand_in import StandIn, running

__all__ = ["Command", "command"]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with running() as made:
        yield made


@pytest.fixture
def shipped_rules() -> Path:
    return Path(__file__).parents[2] / "rules"
