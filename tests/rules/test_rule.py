from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runner.rules.load import load_rules
from runner.rules.rule import DEFAULT_INDEX, Rule, place_in_file
from runner.rules.rule_tables import Technique
from tests.paths import SPECS

GOOD = SPECS / "rules" / "good"
LEAST = {
    "rule_id": "r",
    "name": "A rule",
    "description": "Finds something.",
    "type": "eql",
    "language": "eql",
    "severity": "low",
    "risk_score": 21,
    "query": "process where true",
}


def rule_of(name: str) -> Rule:
    loaded = load_rules([GOOD / f"{name}.toml"])
    return (loaded.rules + loaded.unsupported)[0]


def test_absent_keys_have_the_defaults_of_kibana() -> None:
    rule = rule_of("minimal")
    assert rule.index == DEFAULT_INDEX
    assert (rule.interval, rule.from_, rule.to) == ("5m", "now-6m", "now")
    assert (rule.max_signals, rule.enabled, rule.version) == (100, True, 1)
    assert (rule.note, rule.setup, rule.license, rule.author, rule.references) == ("", "", "", (), ())
    assert (rule.threat, rule.tags, rule.exceptions_list, rule.alert_suppression) == ((), (), (), None)
    assert not rule.timestamp_override_fallback_disabled


def test_every_key_is_read() -> None:
    rule = rule_of("every_key")
    unset = set(Rule.model_fields) - rule.model_fields_set
    of_other_types = {
        "data_view_id", "saved_id", "saved", "query_unread", "threshold", "new_terms", "new_terms_fields",
            "history_window_start",
        "threat_index", "threat_query", "threat_language", "threat_filters", "threat_mapping", "threat_indicator_path",
        "concurrent_searches", "items_per_search", "anomaly_threshold", "machine_learning_job_id",
    }  # fmt: skip
    assert unset == of_other_types
    assert rule.enabled is False
    assert rule.metadata.maturity == "beta"
    assert rule.metadata.integration == ("endpoint",)
    assert rule.threat[0].technique[0].subtechnique[0].id == "T1059.004"
    assert rule.threat[1].tactic.name == "Persistence"
    assert rule.alert_suppression is not None
    assert rule.alert_suppression.group_by == ("host.id", "user.id")
    assert rule.filters == ({"meta": {"negate": True}, "query": {"match_phrase": {"host.name": "lab"}}},)


def test_dumping_gives_the_fields_as_the_file_wrote_them() -> None:
    dumped = rule_of("every_key").model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert dumped["from"] == "now-119m"
    assert dumped["severity_mapping"] == [
        {"field": "event.severity", "operator": "equals", "severity": "high", "value": "3"}
    ]
    assert "technique" not in dumped["threat"][1]


def test_the_guide_has_its_buttons_filled_in() -> None:
    first, second, third = rule_of("every_key").guide.splitlines()[1].split(" and ")
    assert first == (
        '!{osquery{"ecs_mapping":{"user.name":{"field":"username"}},"label":"Users","query":"SELECT * FROM users"}}'
    )
    assert second.startswith('!{investigate{"description":"Alerts of this host","label":"Same host","providers":[[{')
    assert third == "$osquery_7"


def test_times_of_a_rule() -> None:
    rule = rule_of("every_key")
    window = rule.window_at(datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
    assert str(window) == "2026-03-02T10:01:00.000Z to 2026-03-02T11:59:00.000Z"
    assert rule.every == timedelta(hours=1)
    assert rule.look_back == timedelta(minutes=118)


def test_a_rule_does_not_change() -> None:
    rule = rule_of("minimal")
    with pytest.raises(ValidationError):
        rule.name = "Another"
    with pytest.raises(ValidationError):
        Technique(id="T1", name="x", reference="y").name = "z"
    assert {rule: 1}[rule_of("minimal")] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"query": "process where false"},
        {"index": ["logs-*"]},
        {"from": "now-9m"},
        {"interval": "1m"},
        {"timestamp_override": "event.ingested"},
        {"event_category_override": "event.kind"},
        {"exceptions_list": [{"list_id": "office"}]},
        {"filters": [{"query": {}}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_changes_with_what_decides_the_search(change: dict[str, object]) -> None:
    assert Rule.model_validate(LEAST | change).fingerprint != Rule.model_validate(LEAST).fingerprint


def test_the_fingerprint_stays_when_prose_changes() -> None:
    prose = {"name": "Other", "note": "n", "severity": "high", "tags": ["x"], "version": 2, "max_signals": 5}
    fingerprint = Rule.model_validate(LEAST).fingerprint
    assert Rule.model_validate(LEAST | prose).fingerprint == fingerprint
    assert fingerprint == "4cc365890e1702fc20bc25370a6f2abec5787338b85e710903ae71b7ba3da45e"


def basic(text: str) -> str:
    """The text as a basic string spells it, everything that may be escaped in one of its escapes."""
    spelled = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t", "é": r"\u00E9"}
    return "".join(spelled.get(char, char) for char in text)


SPELLINGS = {
    "literal lines": lambda text: f"'''\n{text}'''",
    "literal lines on one": lambda text: f"'''{text}'''",
    "basic lines": lambda text: '"""\n' + basic(text).replace(r"\n", "\n") + '"""',
    "basic lines, broken by backslashes": lambda text: '"""' + basic(text).replace(" ", " \\\n   \n ") + '"""',
    "basic": lambda text: f'"{basic(text)}"',
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(deadline=None)
@given(text=st.text('ab ="\\\n\té', min_size=1, max_size=40))
@example(text='process where a : "b\\\\c" and\n\n  x == "é"')
def test_places_in_the_query_are_places_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, spelling: str, text: str
) -> None:
    if spelling == "literal lines on one" and text.startswith("\n"):
        text = "a" + text  # that line end would be trimmed
    if "broken" in spelling:
        text = "a" + " ".join(text.split()) + "a"  # the backslash takes all blanks after it
    head = "".join(f"{name} = {value!r}\n" for name, value in LEAST.items() if name != "query")
    content = f"[rule]\n{head}query = {SPELLINGS[spelling](text + 'z')}\n"
    file = tmp_path_factory.getbasetemp() / "place.toml"
    file.write_bytes(content.encode())
    (rule,) = load_rules([file]).rules
    assert rule.query == text + "z"
    file_lines = content.split("\n")
    for number, line in enumerate(rule.query.split("\n"), 1):
        for index, char in enumerate(line):
            at_line, at_column = place_in_file(rule, number, index + 1)
            found = file_lines[at_line - 1][at_column - 1 :]
            assert found.startswith((char, basic(char))), (number, index, char, found)


def test_the_place_after_the_last_character() -> None:
    rule = Rule.model_validate({**LEAST, "query": "a\nbc", "query_line": 10, "query_column": 4})
    assert place_in_file(rule, 1, 1) == (10, 4)
    assert place_in_file(rule, 2, 3) == (11, 3)
