"""The command line as a test calls it: arguments in, exit code and both outputs out."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from runner.cli import main
from runner.sample_data.write import write_sample
from tests.paths import ROOT

END = datetime(2026, 3, 2, 10, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


Command = Callable[..., Answer]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command line in an empty folder of its own, without any settings from outside."""
    for name in list(os.environ):
        if name.startswith(("RUNNER_", "ELASTICSEARCH_", "KIBANA_")) or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, env: dict[str, str] | None = None) -> Answer:
        with monkeypatch.context() as changed:
            changed.setattr(sys, "argv", ["rule-runner", *map(str, arguments)])
            for name, value in (env or {}).items():
                changed.setenv(name, value)
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Answer(int(ended.value.code or 0), out, err)

    yield run
    logging.captureWarnings(False)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if each.get_name() == "rule-runner"]:
        root.removeHandler(handler)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 2,000 events that end at `END`, with two attacks for each shipped rule."""
    path = tmp_path_factory.mktemp("sample") / "events.ndjson"
    write_sample(path, events=2_000, attacks=4, seed=1, end=END)
    return path


@pytest.fixture
def shipped() -> Path:
    return ROOT / "rules" / "linux"
