"""The journal of a replay: what was done is known again, whatever became of the process that wrote it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import SettingsError, StoreError
from runner.rule_run import RuleRun
from runner.service.replay_journal import Done, Journal, identity_of
from runner.windows import Window

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def rule_run(minute: int, rule_id: str = "a", **changes: Any) -> RuleRun:
    window = Window(START + timedelta(minutes=minute - 9), START + timedelta(minutes=minute, microseconds=7))
    run = RuleRun(rule_id, "Ä", "", "succeeded", window, START, 5, 4, 3, 2, 1, 99, True, ("said",))
    return replace(run, **changes)


RUNS = (rule_run(5), rule_run(5, "b"), rule_run(10, status="warning", complete=False), rule_run(10))


def written(path: Path, *runs: RuleRun, identity: str = "i") -> None:
    journal = Journal(path)
    journal.begin(identity, anew=True)
    for run in runs:
        journal.record(run)
    journal.close(finished=False)


def begun(path: Path, identity: str = "i", *, anew: bool = False) -> Done:
    journal = Journal(path)
    try:
        return journal.begin(identity, anew=anew)
    finally:
        journal.close(finished=False)


def test_what_was_done_is_known_again_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "j"
    assert begun(path) == Done()
    written(path, *RUNS)
    assert begun(path).runs == RUNS
    assert begun(path).windows == {(run.rule_id, run.window.end) for run in RUNS if run.complete}
    journal = Journal(path)
    journal.begin("i")
    journal.record(rule_run(15))
    journal.close(finished=False)
    assert begun(path).runs == (*RUNS, rule_run(15))
    assert path.stat().st_mode & 0o777 == 0o600


def test_failed_windows_are_to_be_searched_again(tmp_path: Path) -> None:
    failed = rule_run(20, status="failed", complete=False)
    written(tmp_path / "j", *RUNS, failed)
    done = begun(tmp_path / "j")
    assert failed not in done.runs and (failed.rule_id, failed.window.end) not in done.windows


def test_another_replay_or_a_new_beginning_forgets_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, *RUNS)
    assert begun(path, "other") == Done()
    assert begun(path) == Done()
    written(path, *RUNS)
    assert begun(path, anew=True) == Done()


def test_a_finished_replay_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.begin("i")
    journal.record(rule_run(5))
    journal.close(finished=True)
    journal.close(finished=True)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(min_value=0), st.binary(max_size=20))
def test_a_file_that_is_cut_off_or_damaged_is_believed_up_to_there(
    tmp_path_factory: pytest.TempPathFactory, cut: int, rubbish: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    written(path, *RUNS)
    text = path.read_bytes()
    path.write_bytes(text[: cut % (len(text) + 1)] + rubbish)
    done = begun(path)
    assert done.runs == RUNS[: len(done.runs)]
    journal = Journal(path)
    before = journal.begin("i").runs
    journal.record(rule_run(30))
    journal.close(finished=False)
    assert begun(path).runs == (*before, rule_run(30))


def test_two_replays_with_one_state_are_refused(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j")
    first.begin("i")
    with pytest.raises(SettingsError, match="another replay is under way with this state; name another --state"):
        Journal(tmp_path / "j").begin("i")
    first.close(finished=False)
    assert begun(tmp_path / "j") == Done()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no/j cannot be opened: No such file or directory"):
        Journal(tmp_path / "no" / "j").begin("i")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(StoreError):
        Journal(tmp_path / "link").begin("i")


def test_identities_tell_parts_apart() -> None:
    assert identity_of(["a", "b"]) == identity_of(("a", "b"))
    assert len({identity_of(parts) for parts in (["ab"], ["a", "b"], ["b", "a"], [1], ["1", ""])}) == 5
