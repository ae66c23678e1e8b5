"""The buttons of investigation guides as searches."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.eql.syntax.parser import parse
from runner.kql.search_api import parse_text
from runner.triage.guide_buttons import resolved_guide
from tests.paths import SPECS

CASES = tomllib.loads((SPECS / "triage/guide_buttons.toml").read_text(encoding="utf-8"))["case"]
SPAN = (datetime(2026, 3, 2, 10, tzinfo=UTC), datetime(2026, 3, 2, 10, 5, tzinfo=UTC))
ALERT: dict[str, Any] = {
    "process": {"pid": 7},
    "user": {"name": 'ann"', "id": "o'neil"},
    "host": {"ip": ["10.0.0.1", "::1"]},
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_button_with_the_values_of_an_alert(case: dict[str, Any]) -> None:
    plugin = case.get("plugin", "investigate")
    guide, (button,) = resolved_guide(f"See !{{{plugin}{case['button']}}} first.", [ALERT], SPAN)
    assert guide == f"See **(1) {button.label}** first."
    for name in ("eql", "kql", "osquery", "period"):
        assert getattr(button, name) == case.get(name, "")
    assert button.missing == tuple(case.get("missing", ()))
    assert button.problem.startswith(case.get("problem", "")) and bool(button.problem) is ("problem" in case)
    if button.eql:
        assert parse(button.eql) and parse_text(button.kql, "kuery")
        assert button.command == case.get("command") or button.command.startswith("rule-runner search 'any where ")


@pytest.mark.parametrize(
    "text",
    ["!{investigate{no json}}", "!{osquery{}", "!{investigate[1]}", "!{lens{}}", "$investigate_3", "!{investigate"],
)
def test_what_is_no_button_stays_in_the_guide(text: str) -> None:
    assert resolved_guide(f"a {text} b", [ALERT], SPAN) == (f"a {text} b", ())


def test_buttons_are_numbered_and_search_with_the_options() -> None:
    one = '!{investigate{"label":"A","providers":[[{"field":"x","value":"1"}]]}}'
    guide, buttons = resolved_guide(f"{one} {one}", [ALERT], None, ("--events", "a b.ndjson"))
    assert guide == "**(1) A** **(2) A**"
    assert [button.command for button in buttons] == [
        "rule-runner search 'any where x == \"1\"' --events 'a b.ndjson'"
    ] * 2


@given(st.text(alphabet='!{}investgaosqury":[],ab1 \\', max_size=60))
def test_any_text_is_a_guide(text: str) -> None:
    resolved_guide(text, [ALERT], SPAN)
