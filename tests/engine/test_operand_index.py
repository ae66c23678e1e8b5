"""A disjunction of many conditions: its index finds the conditions that hold one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner import eql
from runner.engine.filter.value_tests import OperandIndex, whole_test
from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import Schema, schema_from_mapping
from runner.expressions import nodes
from runner.messages.text_positions import Span

TYPES = {"@timestamp": "date", "k": "keyword", "w": "keyword", "n": "long", "ip": "ip"}
MAPPED = schema_from_mapping({"properties": {name: {"type": kind} for name, kind in TYPES.items()}})
FILES = Schema(MAPPED.fields, lenient=True)
LEAVES = (
    'k == "a"', 'k in ("a", "b")', 'k : "A*"', "n == 1", "n > 1", "not n == 1", 'not k == "a"', "k == null",
    "w != null", 'w == "1"', "new == 1", 'new == "1"', "new == true", "not new == 1", "length(k) > 1", "number(w) == 1",
    'ip == "10.0.0.1"', 'ip == "10.0.0.0/24"', 'ip == "::1"', 'not ip == "10.0.0.1"',
)  # fmt: skip
CONDITIONS = st.lists(
    st.lists(st.sampled_from(LEAVES), min_size=1, max_size=3).map(" and ".join), min_size=1, max_size=6
)
VALUES = st.sampled_from(("a", "A", "ab", "b", "1", "", None, ["a", "b"], []))
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "k": VALUES,
        "w": VALUES,
        "n": st.sampled_from((1, 2, [1, 2], None)),
        "ip": st.sampled_from(("10.0.0.1", "::ffff:10.0.0.1", "0:0::1", "none", ["10.0.0.2", "10.0.0.1"], None)),
        "new": st.sampled_from((1, 1.0, True, "1", [1, True], None)),
    },
)


def conjunction(text: str) -> nodes.Expression:
    (stage,) = eql.compile(f"any where {text}", FILES).plan.stages
    parts = stage.conjuncts
    return parts[0] if len(parts) == 1 else nodes.And(Span(0, 0), parts)


@given(CONDITIONS, st.lists(DOCUMENTS, min_size=1, max_size=8))
def test_the_index_finds_what_holds(texts: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> None:
    operands = [conjunction(text) for text in texts]
    index = OperandIndex(operands, 0)
    decoder = RowDecoder(index.fields)
    rows: list[dict[str, Any]] = []
    for document in documents:
        row = decoder.row(document)
        rows.append({name: decoder.gatherer(name)(row) for name in decoder.fields})
    expected = [[number for number, operand in enumerate(operands) if holds(operand, values)] for values in rows]
    assert [list(index.holding(values)) for values in rows] == expected
    columns = [[values[field.name] for values in rows] for field in index.fields]
    found = {place: list(numbers) for place, numbers in index.holding_rows(columns)}
    assert found == {place: numbers for place, numbers in enumerate(expected) if numbers}


def holds(operand: nodes.Expression, values: Mapping[str, Any]) -> bool:
    """A condition with a script that fails on a value does not hold."""
    try:
        return whole_test(operand, 0)(values)
    except ValueError:
        return False
