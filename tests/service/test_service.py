"""The service's parts: rules in use and their last good versions, and the sign of life for health checks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from runner.search.files.file_search import FileSearch
from runner.service.rules_in_use import RuleSources, load_active
from runner.telemetry.heartbeat import Heartbeat, HeartbeatFile, read_heartbeat, write_heartbeat
from tests.scenarios.timeline import rule_text

NOW = datetime(2026, 3, 2, 10, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def write(folder: Path, name: str, query: str, **fields: object) -> None:
    (folder / f"{name}.toml").write_text(rule_text(name, {"query": query, **fields}))


async def test_rules_that_did_not_change_are_the_same_object(tmp_path: Path) -> None:
    write(tmp_path, "a", "any where true")
    search = FileSearch(())
    first = await load_active(RuleSources((tmp_path,)), search, at=NOW)
    assert await load_active(RuleSources((tmp_path,)), search, first, at=NOW) is first
    write(tmp_path, "b", "any where false")
    second = await load_active(RuleSources((tmp_path,)), search, first, at=NOW)
    assert [rule.rule_id for rule in second.rules] == ["a", "b"]


async def test_disabled_rules_are_left_out_and_their_faults_are_not(tmp_path: Path) -> None:
    write(tmp_path, "a", "any where true", enabled=False)
    write(tmp_path, "b", "any where", enabled=False)
    write(tmp_path, "c", "any where")
    active = await load_active(RuleSources((tmp_path,)), FileSearch(()), at=NOW)
    assert active.rules == ()
    assert {problem.rule_id for problem in active.problems} == {"c"}


async def test_a_query_that_was_broken_and_mended(tmp_path: Path) -> None:
    search = FileSearch(())
    write(tmp_path, "a", "any where true")
    first = await load_active(RuleSources((tmp_path,)), search, at=NOW)
    write(tmp_path, "a", "any where nonsense ==")
    broken = await load_active(RuleSources((tmp_path,)), search, first, at=NOW)
    assert [rule.query for rule in broken.rules] == ["any where true"]
    assert "last good version" in str(broken.problems[0])
    write(tmp_path, "a", "any where false")
    mended = await load_active(RuleSources((tmp_path,)), search, broken, at=NOW)
    assert [rule.query for rule in mended.rules] == ["any where false"]
    assert mended.problems == ()


async def test_a_new_rule_that_is_broken_runs_in_no_version(tmp_path: Path) -> None:
    write(tmp_path, "a", "any where")
    active = await load_active(RuleSources((tmp_path,)), FileSearch(()), at=NOW)
    assert (active.rules, len(active.problems)) == ((), 1)


def test_a_heartbeat_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "beat"
    assert read_heartbeat(file) is None
    for heartbeat in (Heartbeat(NOW, MINUTE), Heartbeat(NOW + MINUTE, 2 * MINUTE, "away: ü")):
        write_heartbeat(file, heartbeat)
        assert read_heartbeat(file) == heartbeat
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_heartbeat_is_none(tmp_path: Path) -> None:
    file = tmp_path / "beat"
    for text in ("", "{", "[]", "{}", '{"at": "noon", "patience_s": 1, "trouble": ""}'):
        file.write_text(text)
        assert read_heartbeat(file) is None


def test_a_heartbeat_complains_of_silence_and_of_trouble() -> None:
    assert Heartbeat(NOW, MINUTE).complaint(NOW + MINUTE) is None
    assert "silent since 2026-03-02T10:05:00.000Z, for 61 s" in str(
        Heartbeat(NOW, MINUTE).complaint(NOW + MINUTE + timedelta(seconds=1))
    )
    assert Heartbeat(NOW, MINUTE, "no route").complaint(NOW) == "nothing is searched: no route"


def test_the_file_is_written_once_a_second_or_when_the_trouble_changes(tmp_path: Path) -> None:
    said: list[str] = []
    file = HeartbeatFile(tmp_path / "beat", MINUTE, on_failure=said.append)

    def seen() -> tuple[float, str]:
        heartbeat = read_heartbeat(tmp_path / "beat")
        assert heartbeat is not None
        return (heartbeat.at - NOW).total_seconds(), heartbeat.trouble

    for seconds, trouble, expected in (
        (0.0, "", (0.0, "")),
        (0.9, "", (0.0, "")),
        (0.95, "away", (0.95, "away")),
        (1.0, "away", (0.95, "away")),
        (3.0, "away", (3.0, "away")),
        (3.1, "", (3.1, "")),
        (-60.0, "", (-60.0, "")),
    ):
        file.update(NOW + timedelta(seconds=seconds), trouble)
        assert seen() == expected
    file.remove()
    assert read_heartbeat(tmp_path / "beat") is None
    assert said == []


def test_a_heartbeat_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    file = HeartbeatFile(tmp_path / "no" / "folder", MINUTE, on_failure=said.append)
    for number in range(3):
        file.update(NOW + number * MINUTE, "")
    assert len(said) == 1 and "cannot be written: No such file or directory" in said[0]
    file.remove()


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "beat").symlink_to(target)
    write_heartbeat(tmp_path / "beat", Heartbeat(NOW, MINUTE))
    assert target.read_text() == "precious"
    assert read_heartbeat(tmp_path / "beat") == Heartbeat(NOW, MINUTE)
