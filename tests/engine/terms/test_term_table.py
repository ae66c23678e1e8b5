"""A table of terms answers exactly what all sightings would, for spans that are longer than its gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.terms.term_table import Stretches, TermTable, read_table, stretches_of, term_digest

GAP = 7_000_000
SIGHTINGS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=40)


def stretches(sightings: list[tuple[str, int]]) -> Stretches:
    terms = np.frombuffer(b"".join(term_digest((name,)) for name, _ in sightings), dtype=np.uint64).reshape(-1, 2)
    return stretches_of(terms, np.array([time * 1_000_000 for _, time in sightings], dtype=np.int64))


def table(*parts: list[tuple[str, int]]) -> TermTable:
    made = TermTable(GAP)
    for part in parts:
        made = made.with_sightings(stretches(part))
    return made


def shown(made: TermTable) -> list[tuple[bytes, int, int | None]]:
    return [(one.term, one.time, one.before) for one in made.appearances((0, 10**9))]


@given(SIGHTINGS, st.integers(0, 40))
def test_stretches_begin_where_a_term_was_not_seen_for_longer_than_the_gap(
    sightings: list[tuple[str, int]], cut: int
) -> None:
    expected: set[tuple[bytes, int, int | None]] = set()
    for name in "abc":
        times = sorted({time * 1_000_000 for one, time in sightings if one == name})
        for number, time in enumerate(times):
            before = times[number - 1] if number else None
            if before is None or time - before > GAP:
                expected.add((term_digest((name,)), time, before))
    found = shown(table(sightings))
    assert (set(found), len(found)) == (expected, len(expected))
    assert shown(table(sightings[:cut], sightings[cut:])) == found
    assert shown(table(sightings[cut:], sightings[:cut])) == found
    assert shown(table(sightings[:cut]).merged(table(sightings[cut:]))) == found
    assert shown(read_table(table(sightings).written())) == found
    assert [time for _, time, _ in found] == sorted(time for _, time, _ in found)


def test_what_is_covered_is_merged_and_what_is_not_is_told() -> None:
    made = TermTable(GAP).with_sightings(stretches([]), [(10, 19), (30, 39)]).with_sightings(stretches([]), [(20, 24)])
    assert made.covered == ((10, 24), (30, 39))
    assert made.uncovered((0, 50)) == ((0, 9), (25, 29), (40, 50))
    assert made.uncovered((12, 24)) == ()
    assert made.uncovered((40, 39)) == ()


def test_what_is_too_old_or_too_much_goes_and_is_covered_no_longer() -> None:
    made = table([("a", 1), ("b", 20), ("c", 40)]).with_sightings(stretches([]), [(0, 50_000_000)], oldest=3)
    kept = made.kept(10_000_000)
    assert (len(kept), kept.covered, kept.oldest) == (2, ((10_000_000, 50_000_000),), 3)
    fewest = made.kept(0, most=1)
    assert (fewest.terms, fewest.covered) == (1, ((20_000_001, 50_000_000),))


@pytest.mark.parametrize("text", [b"", b"{}\n", b'{"format": 2}\nx', b'{"format": 1, "rows": 4, "gap": 1}\nx', b"\xff"])
def test_what_is_no_table_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_table(text)


def test_equal_values_are_one_term() -> None:
    assert term_digest((1, "x")) == term_digest((1.0, "x")) != term_digest(("1", "x"))
    assert term_digest((True,)) != term_digest((1,))
    assert term_digest(("a", "b")) != term_digest(("b", "a"))
