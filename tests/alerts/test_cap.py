"""Repeats out, the earliest first, no more new ones than allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.cap import Candidate, Selection, take_new
from runner.search.protocol import Match


def candidates(*texts: str) -> list[Candidate]:
    """One candidate per text, whose ids are its words, the head last."""
    return [Candidate(Match((), is_sequence=True), tuple(text.split())) for text in texts]


def items(chosen: Sequence[Candidate]) -> list[str]:
    return [" ".join(candidate.ids) for candidate in chosen]


def taken(texts: Sequence[str], known: Collection[str], *, limit: int) -> tuple[list[str], list[str], list[str], int]:
    selection = take_new(candidates(*texts), frozenset(known), limit=limit)
    return items(selection.taken), items(selection.duplicates), items(selection.capped), selection.created


def test_known_ones_do_not_use_up_the_limit() -> None:
    assert taken(["a", "b", "c", "d"], ["a", "b"], limit=1) == (["c"], ["a", "b"], ["d"], 1)


def test_the_earliest_come_first() -> None:
    assert taken(["c", "a", "b"], [], limit=2) == (["c", "a"], [], ["b"], 2)


def test_a_half_written_group_is_completed() -> None:
    group = "block0 block1 head"
    assert taken([group], ["block0"], limit=5) == ([group], [], [], 1)
    assert taken([group], ["block0", "block1"], limit=0) == ([], [], [group], 0)
    assert taken([group], ["head", "block1"], limit=0) == ([group], [], [], 0)
    assert taken([group], ["head", "block0", "block1"], limit=0) == ([], [group], [], 0)


def test_a_repeat_counts_once() -> None:
    assert taken(["a", "a", "b", "b", "c", "c"], ["a"], limit=1) == (["b"], ["a"], ["c"], 1)


def test_no_limit_left_takes_nothing_new() -> None:
    assert taken(["a"], [], limit=-3) == ([], [], ["a"], 0)


IDS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True).map(" ".join), max_size=12)


@given(IDS, st.frozensets(st.sampled_from("abcdefgh")), st.integers(0, 5))
def test_every_head_is_in_exactly_one_part(texts: list[str], known: frozenset[str], limit: int) -> None:
    selection = take_new(candidates(*texts), known, limit=limit)
    heads = [candidate.head for part in (selection.taken, selection.duplicates, selection.capped) for candidate in part]
    assert sorted(heads) == sorted({text.split()[-1] for text in texts})
    assert selection.heads == frozenset(heads)
    assert selection.created == len([one for one in selection.taken if one.head not in known]) <= limit
    assert not selection.capped or selection.created == limit


@given(IDS, st.frozensets(st.sampled_from("abcdefgh")), st.integers(0, 5), st.integers(0, 12))
def test_a_run_may_be_split_into_parts(texts: list[str], known: frozenset[str], limit: int, cut: int) -> None:
    whole = take_new(candidates(*texts), known, limit=limit)
    first = take_new(candidates(*texts[:cut]), known, limit=limit)
    second = take_new(candidates(*texts[cut:]), known, limit=limit - first.created, seen=first.heads)
    assert whole == Selection(
        first.taken + second.taken,
        first.duplicates + second.duplicates,
        first.capped + second.capped,
        first.created + second.created,
    )
