"""The keys that a threshold rule counts: which make alerts, and how near the others come, against plain counting."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.alerts.explain.counted_keys import count_keys
from runner.engine.sequence.open_matches import KeyedEvent
from runner.rules.rule_tables import Threshold, ThresholdCardinality

TIMES = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.sampled_from("xyz")), max_size=12)


@settings(max_examples=200)
@given(rows=TIMES, value=st.integers(1, 5), least=st.integers(0, 3), reach=st.integers(1, 12))
def test_a_key_comes_as_near_as_its_best_span(
    rows: list[tuple[int, str, str]], value: int, least: int, reach: int
) -> None:
    cardinality = (ThresholdCardinality(field="v", value=least),) if least else ()
    threshold = Threshold(field=("k",), value=value, cardinality=cardinality)
    rows.sort()
    events = [KeyedEvent(time, number, (key, of) if least else (key,)) for number, (time, key, of) in enumerate(rows)]
    counts = count_keys(events, threshold, reach)
    found = {one.terms[0]: one for one in (*counts.shown, *counts.near)}
    assert counts.keys == len(found) == len({key for _, key, _ in rows})
    for key, one in found.items():
        own = [(time, of) for time, name, of in rows if name == key]
        spans = [own[first:last] for first, last in combinations(range(len(own) + 1), 2)]
        spans = [span for span in spans if span[-1][0] - span[0][0] <= reach]
        nearest = max(min(1, len(span) / value, len({of for _, of in span}) / least if least else 1) for span in spans)
        assert min(1, one.count / value, one.values / least if least else 1) == nearest
        assert (one.alerts > 0) == (nearest == 1)
        assert one.events == len(own)
        assert one.last - one.first <= reach
