from __future__ import annotations

import pytest

from runner.messages.suggestions import did_you_mean, near_name


@pytest.mark.parametrize(
    ("name", "near"),
    [("risk_scor", "risk_score"), ("RISK_SCORE", "risk_score"), ("rsik_score", "risk_score"), ("query", None),
     ("", None), ("r" * 10_000, None)],
)  # fmt: skip
def test_near_names(name: str, near: str | None) -> None:
    assert near_name(name, ["risk_score", "severity"]) == near


def test_the_end_of_a_message() -> None:
    assert did_you_mean("severty", ["risk_score", "severity"]) == "; did you mean `severity`?"
    assert did_you_mean("x", ["risk_score", "severity"]) == ""
