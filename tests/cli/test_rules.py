"""The group `rules`, and overrides and selections on the command line."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.paths import SHARED
from tests.scenarios.timeline import ndjson, rule_text

CORPUS = SHARED / "corpus" / "detection-rules-types"
DEPRECATED = '[metadata]\nmaturity = "deprecated"\n'


def write(folder: Path, name: str, more: str = "", **fields: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(rule_text(name, {"query": "any where true", **fields}) + more)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Rules of several kinds, an event that those of EQL find, and overrides beside the rules."""
    folder = tmp_path / "rules"
    write(folder / "linux", "nc", tags=["OS: Linux", "Tactic: Execution"])
    write(folder / "linux", "curl", tags=["OS: Linux", "Tactic: Discovery"], severity="low")
    write(folder / "windows", "whoami", tags=["OS: Windows"], enabled=False)
    esql = {"type": "esql", "language": "esql", "query": "from logs-* metadata _id, _version, _index | keep *"}
    write(folder, "logons", **esql)
    write(folder / "_deprecated", "old", tags=["OS: Linux"])
    (tmp_path / "overrides.toml").write_text(
        '[[override]]\nselect = "os:linux"\nseverity = "critical"\nreason = "servers"\n'
        '[[override]]\nrules = "curl"\nenabled = false\n'
    )
    (tmp_path / "events.ndjson").write_text(ndjson(["e1 exec 10:01:00.000 name=nc"]))
    return folder


def states(command: Command, *arguments: object, env: dict[str, str] | None = None) -> dict[str, str]:
    answer = command("rules", "list", "--output", "json", *arguments, env=env)
    assert answer.code == 0, answer.err
    return {one["rule_id"]: one["state"] for one in answer.json["rules"]}


def test_list_tells_what_becomes_of_every_rule_and_why(command: Command, rules: Path) -> None:
    answer = command("rules", "list", "--output", "json")
    by_id = {one["rule_id"]: one for one in answer.json["rules"]}
    assert {name: one["state"] for name, one in by_id.items()} == {
        "nc": "on", "curl": "off", "whoami": "off", "logons": "on", "old": "deprecated",
    }  # fmt: skip
    assert by_id["logons"]["why"] == "runs in a cluster only"
    assert states(command, env={"RUNNER_EVENTS": "events.ndjson"})["logons"] == "unsupported"
    override = {"file": "overrides.toml", "line": 1, "reason": "servers"}
    change = {"key": "severity", "before": "medium", "after": "critical", "override": override}
    assert (by_id["nc"]["severity"], by_id["nc"]["changes"]) == ("critical", [change])
    assert by_id["whoami"]["why"] == "`enabled = false` in rules/windows/whoami.toml"
    shown = command("rules", "list").out
    assert "overrides.toml:1 (servers): severity low -> critical; overrides.toml:5: enabled true -> false" in shown
    over_files = command("rules", "list", env={"RUNNER_EVENTS": "events.ndjson"}).out
    assert "rules in ES|QL run in a cluster only" in " ".join(over_files.split())


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--os", "linux"], ["curl", "nc", "old"]),
        (["--os", "LINUX", "--enabled"], ["nc"]),
        (["--disabled"], ["curl", "whoami", "old"]),
        (["--severity", "critical", "--tactic", "discovery"], ["curl"]),
        (["--severity", "low"], []),
        (["--type", "esql", "--type", "eql", "--os", "windows"], ["whoami"]),
        (["--tag", "OS: Linux", "--tag", "Tactic: Execution"], ["nc"]),
        (["--select", "-os:linux"], ["logons", "whoami"]),
        (["--select", "path:windows +id:old"], ["whoami", "old"]),
        (["--overrides", "off", "--severity", "low"], ["curl"]),
    ],
)
def test_list_filters(command: Command, rules: Path, arguments: list[str], ids: list[str]) -> None:
    assert list(states(command, *arguments)) == ids


def test_list_refuses_what_it_does_not_know(command: Command, rules: Path) -> None:
    answer = command("rules", "list", "--severity", "hihg")
    assert (answer.code, "did you mean `high`?" in answer.err) == (3, True)
    answer = command("rules", "list", "--select", "sevrity:high")
    assert (answer.code, "did you mean `severity`?" in answer.err) == (3, True)


def test_a_selection_leaves_rules_out_everywhere(command: Command, rules: Path) -> None:
    env = {"RUNNER_SELECT": "os:windows +id:old"}
    assert states(command, env=env) == {
        "whoami": "off", "old": "on", "nc": "left out", "curl": "left out", "logons": "left out",
    }  # fmt: skip
    answer = command("once", "--events", "events.ndjson", "--now", "latest", "--output", "json", env=env)
    assert [run["name"] for run in answer.json["runs"]] == ["old"]
    assert "3 rules left out by `os:windows +id:old`" in answer.err
    named = command("once", "--events", "events.ndjson", "--rule", "nc", env=env)
    assert (named.code, "--select (RUNNER_SELECT) leaves the rule out" in named.err) == (3, True)
    status = command("status", "--output", "json", env=env)
    assert [one["rule_id"] for one in status.json["rules"]] == ["whoami", "old"]
    assert command("once", "--events", "events.ndjson", "--select", "id:old", "--select", "-os:linux").code == 2
    replayed = command("replay", "--events", "events.ndjson", "--select", "-os:linux +id:old", "--dry-run")
    first_words = {line.split(" ")[0] for line in replayed.out.splitlines()}
    assert ("old" in first_words, "nc" in first_words, "2 rules left out by" in replayed.err) == (True, False, True)


def test_a_selection_that_cannot_be_read_ends_the_command(command: Command, rules: Path) -> None:
    answer = command("once", "--events", "events.ndjson", "--select", "os:linux tactc:Execution")
    assert answer.code == 3
    assert "--select: found os:linux tactc:Execution, at character 10: rules are not selected by `tactc`" in answer.err


def test_alerts_of_once_have_the_severity_of_the_override(command: Command, rules: Path) -> None:
    answer = command("once", "--events", "events.ndjson", "--now", "latest", "--output", "json")
    assert [(one["rule"], one["severity"]) for one in answer.json["alerts"]] == [("nc", "critical")]
    assert "2 overrides of overrides.toml change 3 rules, 1 switched off" in answer.err
    off = command("once", "--events", "events.ndjson", "--now", "latest", "--rule", "curl")
    assert "the rule is disabled (`enabled = false` in overrides.toml:5)" in off.err


def test_check_reports_on_overrides(command: Command, rules: Path) -> None:
    assert command("check").code == 0
    with (rules.parent / "overrides.toml").open("a") as file:
        file.write('[[override]]\ntags = "OS: Lnux"\nrisk_score = 1\n[[override]]\nrules = "nc"\nseverty = "low"\n')
    answer = command("check", "--output", "json")
    assert answer.code == 1
    found = {(one["line"], one["severity"]): one["message"] for one in answer.json["problems"]}
    assert found[9, "warning"] == "no rule has the tag `OS: Lnux`; did you mean `OS: Linux`?"
    assert found[13, "error"] == "unknown key `severty` in [[override]]; did you mean `severity`?"
    assert command("check", "rules/linux/nc.toml", "--overrides", "off").code == 0
    missing = command("check", "--overrides", "overides.toml")
    assert (missing.code, "did you mean overrides.toml?" in missing.err) == (3, True)


def test_broken_overrides_stop_no_run_and_are_told_at_each(command: Command, rules: Path) -> None:
    with (rules.parent / "overrides.toml").open("a") as file:
        file.write('[[override]]\nrules = "nc"\nseverty = "low"\n')
    for _ in range(2):
        answer = command("once", "--events", "events.ndjson", "--now", "latest")
        assert answer.code == 0
        assert "overrides.toml:10:1: error: unknown key `severty`" in answer.err
    assert command("status").code == 0
    assert "overrides.toml:10:1" in command("doctor", "--events", "events.ndjson").out


def test_rule_tests_run_with_overrides(command: Command, rules: Path) -> None:
    (rules / "linux/nc.test.toml").write_text(
        '[[test]]\nname = "t"\n[[test.event]]\n"@timestamp" = 2026-03-02T10:01:00Z\n'
        'event = { id = "e", category = ["x"] }\n'
        'data_stream = { type = "logs", dataset = "endpoint.events.process", namespace = "d" }\n'
        '[[test.alert]]\nevents = ["e"]\nfields = { "kibana.alert.severity" = "critical" }\n'
    )
    assert command("test").code == 0
    (rules.parent / "overrides.toml").write_text('[[override]]\nrules = "nc"\nindex = ["other-*"]\n')
    assert command("test").code == 1
    (off,) = command("test", "--overrides", "off", "--output", "json").json["tests"]
    assert "kibana.alert.severity" in str(off["messages"])
    skipped = command("test", "--select", "id:curl")
    assert (skipped.code, "1 test of rules that are not selected left out" in skipped.err) == (0, True)


def test_show_has_the_rule_as_it_is_used(command: Command, rules: Path) -> None:
    (rules.parent / "exceptions").mkdir()
    (rules.parent / "exceptions/a.toml").write_text(
        '[[exception]]\nname = "Backup"\nreason = "r"\nexpires = "never"\ntags = ["OS: Linux"]\n'
        '[exception.when]\n"host.name" = "db"\n'
    )
    shown = command("rules", "show", "curl").out
    for text in (
        "state       off",
        "severity low -> critical, by overrides.toml:1: servers",
        "Backup: r",
        "any where true",
    ):
        assert text in shown
    found = command("rules", "show", "rules/linux/curl.toml", "--output", "json").json
    assert (found["rule"]["severity"], found["state"]) == ("critical", "off")
    assert [one["name"] for one in found["exceptions"]] == ["Backup"]
    assert command("rules", "show", "CURL").code == command("rules", "show", "whoa").code == 0
    wrong = command("rules", "show", "crul")
    assert (wrong.code, "no rule has this id, name or file; did you mean `curl`?" in wrong.err) == (3, True)


def test_a_replaced_rule_is_told(command: Command, rules: Path) -> None:
    write(rules.parent / "own", "nc", severity="low")
    paths = ("--rules", "rules", "--rules", "own")
    assert command("check", *paths).code == 1
    (rules.parent / "overrides.toml").write_text('[[replace]]\nwith = "own"\nrules = ["nc"]\n')
    assert command("check", *paths).code == 0
    answer = command("rules", "list", *paths, "--output", "json", "--select", "id:nc")
    assert [(one["state"], one["file"], one["why"]) for one in answer.json["rules"]] == [
        ("on", "own/nc.toml", ""), ("replaced", "rules/linux/nc.toml", "replaced by own/nc.toml"),
    ]  # fmt: skip


def test_diff(command: Command, rules: Path) -> None:
    new = rules.parent / "new"
    write(new, "nc", tags=["OS: Linux", "Tactic: Execution"], query="any where true and\n  false", severity="high")
    write(new, "whoami", tags=["OS: Windows"], enabled=False)
    write(new, "curl", DEPRECATED, tags=["OS: Linux", "Tactic: Discovery"], severity="low")
    write(new, "old", tags=["OS: Linux"])
    write(new, "fresh", index=["logs-x*"])
    answer = command("rules", "diff", "rules", "new", "--output", "json")
    found = answer.json
    kinds = {kind: [one["rule_id"] for one in found[kind]] for kind in ("new", "gone", "deprecated", "back", "changed")}
    assert kinds == {"new": ["fresh"], "gone": ["logons"], "deprecated": ["curl"], "back": ["old"], "changed": ["nc"]}
    (changed,) = found["changed"]
    assert changed["keys"]["severity"] == {"before": "medium", "after": "high"}
    assert changed["query_diff"][2:] == ["@@ -1 +1,2 @@", "-any where true", "+any where true and", "+  false"]
    assert (answer.code, found["unchanged"]) == (0, 1)
    shown = command("rules", "diff", "rules", "new", "--exit-code")
    assert (shown.code, "severity: medium -> high" in shown.out, "+any where true and" in shown.out) == (1, True, True)
    assert command("rules", "diff", "rules", "rules", "--exit-code").code == 0
    assert command("rules", "diff", "rules", "nowhere").code == 3


def test_diff_of_archives(command: Command, rules: Path) -> None:
    top = rules.parent
    with tarfile.open(top / "release.tar.gz", "w:gz") as packed:
        packed.add(rules, "detection-rules-1/rules")
    with zipfile.ZipFile(top / "release.zip", "w") as zipped:
        for file in sorted(rules.rglob("*.toml")):
            zipped.write(file, file.relative_to(top))
        zipped.writestr("../../escaped.toml", "[rule]\n")
        zipped.writestr("readme.txt", "no rule")
    for archive in ("release.tar.gz", "release.zip"):
        answer = command("rules", "diff", "rules", archive, "--exit-code")
        assert answer.code == 0, answer.out
    assert not (top.parent / "escaped.toml").exists()
    assert "not compared what is broken; the first: release.zip/escaped.toml:1:2" in answer.err
    (top / "broken.zip").write_bytes(b"PK nothing")
    broken = command("rules", "diff", "rules", "broken.zip")
    assert (broken.code, "broken.zip: cannot be read as an archive" in broken.err) == (3, True)
    (top / "cut.tar.gz").write_bytes((top / "release.tar.gz").read_bytes()[:200])
    assert command("rules", "diff", "rules", "cut.tar.gz").code == 3


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no rule corpus beside the project")
def test_public_rules_of_every_type_are_listed(command: Command) -> None:
    found = command("rules", "list", "--rules", CORPUS, "--output", "json").json["rules"]
    assert len({one["type"] for one in found}) >= 5
    assert command("rules", "show", found[0]["rule_id"], "--rules", CORPUS).code == 0
    assert command("rules", "diff", CORPUS, CORPUS, "--exit-code").code == 0
    assert os.fspath(CORPUS) in found[0]["file"]
