"""`alerts show --explain`: why a stored alert matched."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.cli.test_commands import state as state

pytestmark = pytest.mark.slow


def test_each_event_is_held_against_its_stage(command: Command, state: str) -> None:
    pair, nc = command("alerts", "list", "-o", "json").json["alerts"]
    answer = command("alerts", "show", pair["id"], "--explain")
    assert answer.code == 0
    assert "  sequence by host.id [process where" in answer.out
    assert '  stage 2: met\n    met      event.category == "process"' in answer.out
    assert "  event 1 to 2: 1s later" in answer.out
    explained = command("alerts", "show", nc["id"], "--explain", "-o", "json").json
    assert [(id_, verdict["met"]) for id_, _, verdict in explained["events"]] == [("e1", True)]
    assert explained["note"] == ""
