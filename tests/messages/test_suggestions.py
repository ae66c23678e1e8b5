"""Near names: the distance is Levenshtein's, the order is by similarity; and what messages make of them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.messages.suggestions import Suggestion, did_you_mean, near_name, near_names, suggestion

NAMES = st.text(st.sampled_from("abcd.é"), min_size=1, max_size=24)


def edits(left: str, right: str) -> int:
    """The textbook table."""
    row = list(range(len(right) + 1))
    for place, char in enumerate(left, start=1):
        previous, row[0] = row[0], place
        for column, other in enumerate(right, start=1):
            previous, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, previous + (char != other))
    return row[-1]


@given(NAMES, st.lists(NAMES, unique=True, max_size=12), st.sampled_from([0.5, 0.6, 0.65, 0.67, 0.75]))
@example("aaaaa", ["aaa"], 0.6)
def test_exactly_the_similar_names_are_found(name: str, candidates: list[str], least: float) -> None:
    def similarity(candidate: str) -> float:
        return 1 - edits(name, candidate) / max(len(name), len(candidate))

    wanted = sorted((other for other in candidates if similarity(other) >= least), key=similarity, reverse=True)
    assert near_names(name, candidates, least=least) == wanted[:5]


def test_at_most_five_are_named() -> None:
    assert near_names("name", [f"name{digit}" for digit in range(9)]) == [f"name{digit}" for digit in range(5)]


@pytest.mark.parametrize(
    ("name", "near"),
    [("risk_scor", "risk_score"), ("RISK_SCORE", "risk_score"), ("rsik_score", "risk_score"), ("query", None),
     ("", None), ("r" * 10_000, None)],
)  # fmt: skip
def test_the_nearest_name(name: str, near: str | None) -> None:
    assert near_name(name, ["risk_score", "severity"]) == near


def test_the_end_of_a_message() -> None:
    assert did_you_mean("severty", ["risk_score", "severity"]) == "; did you mean `severity`?"
    assert did_you_mean("x", ["risk_score", "severity"]) == ""


def test_near_names_are_looked_for_when_they_are_read() -> None:
    searched: list[str] = []

    def near(name: str) -> list[str]:
        searched.append(name)
        return ["pid"]

    hint = Suggestion("pib", near)
    assert hint == Suggestion("pib", lambda name: []) and not searched
    assert f"Unknown column [pib]{hint}" == "Unknown column [pib], did you mean [pid]?" and searched == ["pib"]


def test_suggestions_read_like_elasticsearch() -> None:
    assert suggestion([]) == ""
    assert suggestion(["pid"]) == ", did you mean [pid]?"
    assert suggestion(["pid", "ppid"]) == ", did you mean any of [pid, ppid]?"


@pytest.mark.parametrize(
    ("name", "near"),
    [("risk_scor", "risk_score"), ("RISK_SCORE", "risk_score"), ("rsik_score", "risk_score"), ("query", None),
     ("", None), ("r" * 10_000, None)],
)  # fmt: skip
def test_near_names(name: str, near: str | None) -> None:
    assert near_name(name, ["risk_score", "severity"]) == near
