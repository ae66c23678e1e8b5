"""Notifications through the command line: a single run sends, what is owed stays owed, secrets are shown nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_once import write_rule
from tests.notify.receiver import Receiver, Reply

pytestmark = pytest.mark.slow

TOKEN = "T0k3nThatIsSecret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def write_targets(folder: Path, *targets: str) -> Path:
    path = folder / "notifications.toml"
    path.write_text("".join(f"[[target]]\n{target}\n" for target in targets), encoding="utf-8")
    return path


def webhook(receiver: Receiver, name: str = "soc", **fields: object) -> str:
    values = {"name": name, "type": "webhook", "url": f"{receiver.url}/{TOKEN}", **fields}
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())


@pytest.fixture
def once(sample: Path, shipped: Path) -> tuple[object, ...]:
    """A run that finds four alerts the first time."""
    return ("once", "--events", sample, "--rules", shipped, "--now", "latest")


def by_id(alert: dict[str, object]) -> str:
    return str(alert["kibana.alert.uuid"])


def exported(command: Command) -> list[dict[str, object]]:
    """The stored alerts, without the single events of sequences."""
    found = [json.loads(line) for line in command("alerts", "export").out.splitlines()]
    return [alert for alert in found if "kibana.alert.building_block_type" not in alert]


def alert_ids(receiver: Receiver) -> list[str]:
    return [alert["id"] for request in receiver.taken for alert in request.json["alerts"]]


def test_a_run_sends_its_alerts_once(
    command: Command, once: tuple[object, ...], receiver: Receiver, tmp_path: Path
) -> None:
    write_targets(tmp_path, webhook(receiver, secret="abc"))
    answer = command(*once)
    assert (answer.code, answer.err) == (0, "")
    assert sorted(alert_ids(receiver)) == sorted(str(alert["kibana.alert.uuid"]) for alert in exported(command))
    assert all(request.json["title"].startswith("[medium] Potential") for request in receiver.taken)
    assert command(*once).code == 0
    assert len(receiver.requests) == 4


def test_what_a_target_does_not_take_stays_owed_and_is_told(
    command: Command, once: tuple[object, ...], receiver: Receiver, tmp_path: Path
) -> None:
    write_targets(tmp_path, webhook(receiver))
    receiver.reply = lambda request: Reply(429, {"Retry-After": "3600"}, text=f"too much for {TOKEN}")
    answer = command(*once)
    assert answer.code == 4
    assert "target soc: 4 alerts not sent yet, the next run tries again" in answer.err
    assert "answered 429: too much for [redacted]" in answer.err
    (found,) = command("notify", "status", "--output", "json").json
    assert (found["target"], found["pending"], found["failing"], found["given_up"]) == ("soc", 4, True, 0)
    assert "answered 429" in command("notify", "status").out
    assert "target soc: 4 alerts not sent yet" in command("status", "--rules", once[4]).err
    assert TOKEN.encode() not in (tmp_path / "rule-runner.db").read_bytes()
    tries = len(receiver.requests)
    assert command(*once).code == 4  # the target has asked for an hour
    assert len(receiver.requests) == tries
    answer = command("notify", "forget", "soc")
    assert "owed 4 alerts; --yes drops them" in answer.err
    assert "with 4 alerts that it was owed" in command("notify", "forget", "soc", "--yes").err
    assert command("notify", "forget", "sco").err.startswith("error: nothing is stored of a target `sco`")


def test_one_failing_target_holds_up_no_other(
    command: Command, once: tuple[object, ...], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.reply = lambda request: Reply(-1 if "hangs" in request.path else 0 if "closes" in request.path else 200)
    targets = [
        webhook(receiver, "good", url=f"{receiver.url}/good"),
        webhook(receiver, "hangs", url=f"{receiver.url}/hangs", timeout="1s"),
        webhook(receiver, "closes", url=f"{receiver.url}/closes"),
        webhook(receiver, "nobody", url="http://127.0.0.1:1/"),
    ]
    write_targets(tmp_path, *targets)
    answer = command(*once)
    assert answer.code == 4
    assert len(set(alert_ids(receiver))) == len(alert_ids(receiver)) == 4
    for name in ("hangs", "closes", "nobody"):
        assert f"target {name}: 4 alerts not sent yet" in answer.err


def test_a_file_with_problems_ends_the_command_before_it_searches(
    command: Command, once: tuple[object, ...], tmp_path: Path
) -> None:
    write_targets(tmp_path, 'name = "soc"\ntype = "webhok"\nurl = "${NOT_SET}"')
    answer = command(*once)
    assert answer.code == 3
    assert answer.err.startswith("error: 2 problems in notifications.toml:")
    assert "notifications.toml:3:8: `type` is `webhok`" in answer.err
    assert not (tmp_path / "rule-runner.db").exists()
    assert command(*once, "--notifications", "off").code == 0
    assert "there is none" in command(*once, "--notifications", "gone.toml").err


def test_a_test_message(command: Command, receiver: Receiver, tmp_path: Path) -> None:
    path = write_targets(tmp_path, webhook(receiver), webhook(receiver, "away", url=f"{receiver.url}/away/{TOKEN}"))
    receiver.reply = lambda request: Reply(500 if "away" in request.path else 200)
    answer = command("notify", "test")
    assert answer.code == 4
    assert answer.out.splitlines()[0] == f"soc (webhook, {receiver.url}/...): sent"
    assert answer.out.splitlines()[1].startswith("away (webhook, ") and "answered 500" in answer.out
    assert TOKEN not in answer.out + answer.err
    assert receiver.taken[0].json["title"] == "[rule-runner] test message"
    found = command("notify", "test", "soc", "--notifications", path, "--output", "json")
    assert (found.code, found.json) == (0, [{"target": "soc", "sent": True, "error": None}])
    assert "no target `sco` in" in command("notify", "test", "sco").err
    path.unlink()
    assert "no notification targets" in command("notify", "test").err
    assert "nothing was ever sent" in command("notify", "status").err


def test_alerts_of_a_replay_are_sent_only_where_that_is_asked_for(
    command: Command, sample: Path, shipped: Path, receiver: Receiver, tmp_path: Path
) -> None:
    write_targets(tmp_path, webhook(receiver, "live"), webhook(receiver, "all", replayed=True))
    past = ("once", "--events", sample, "--rules", shipped, "--now", "2026-03-01T00:00:00Z")
    assert command(*past).code == 0
    assert command("replay", "--events", sample, "--rules", shipped).code == 0
    assert command(*past).code == 0
    assert {request.json["target"] for request in receiver.taken} == {"all"}
    assert len(set(alert_ids(receiver))) == 4


def test_alerts_on_standard_output_are_alone_there(command: Command, once: tuple[object, ...]) -> None:
    answer = command(*once, "--alerts-to", "-")
    assert answer.code == 0
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert sorted(lines, key=by_id) == sorted(exported(command), key=by_id)
    assert "4 new alerts" in answer.err
    assert command(*once, "--alerts-to", "-").out == ""


def test_alerts_in_a_file(command: Command, once: tuple[object, ...], tmp_path: Path) -> None:
    assert command(*once, "--alerts-to", "alerts.ndjson").code == 0
    assert len((tmp_path / "alerts.ndjson").read_text(encoding="utf-8").splitlines()) == 4
    assert "there is no folder nowhere" in command(*once, "--alerts-to", "nowhere/alerts.ndjson").err
    full = command(*once, "--alerts-to", "/dev/full", "--state", "other.db")
    assert full.code == 4
    assert "target stream /dev/full: 4 alerts not sent yet" in full.err
    assert "No space left on device" in full.err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_apprise(command: Command, once: tuple[object, ...], receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    place = receiver.url.removeprefix("http://")
    write_targets(tmp_path, f'name = "chat"\ntype = "apprise"\nurl = "json://{place}/{TOKEN}"')
    assert command(*once).code == 0
    titles = [request.json["title"] for request in receiver.taken]
    assert len(titles) == 4 and all(title.startswith("[medium] Potential Reverse Shell") for title in titles)
    assert all("\nid: " in request.json["message"] for request in receiver.taken)
    receiver.reply = lambda request: Reply(500, text=TOKEN)
    answer = command("notify", "test")
    assert answer.code == 4
    assert answer.out.startswith("chat (apprise, json://...): failed: json://...: ")
    assert "Failed to send JSON" in answer.out
    assert TOKEN not in answer.out + answer.err
    write_targets(tmp_path, 'name = "chat"\ntype = "apprise"\nurl = "slak://a/b/c"')
    assert command("notify", "test").err.startswith(
        "error: target `chat`: `url` is no service of apprise: slak://; did you mean `slack`?"
    )


def test_a_file_in_the_folder_of_rules_is_no_rule(
    command: Command, sample: Path, receiver: Receiver, tmp_path: Path
) -> None:
    rules = write_rule(tmp_path, query='process where process.name == "nc"').parent
    write_targets(rules, webhook(receiver))
    assert command("check", rules).code == 0
    assert command("once", "--events", sample, "--rules", rules, "--now", "latest").code == 0
    assert command("notify", "test", "--rules", rules).code == 0
    assert receiver.taken[-1].json["title"] == "[rule-runner] test message"
    write_targets(tmp_path, webhook(receiver))
    answer = command("notify", "test", "--rules", rules)
    assert answer.code == 3 and "several files of notifications; name one with --notifications" in answer.err
