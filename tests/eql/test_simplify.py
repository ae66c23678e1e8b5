"""The simplifier: conditions before and after, what holds of every result, and that the meaning stays."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.eql.analysis.check import check
from runner.eql.analysis.simplify import PASSES, simplify
from runner.eql.syntax import ast
from runner.eql.syntax.parser import parse
from runner.events.fields.schema import DataType, Field, Schema
from runner.expressions import nodes
from runner.expressions.constants import evaluate
from runner.messages.text_positions import Source
from tests.eql.show import show
from tests.eql.test_check import FIELDS
from tests.paths import SPECS

CASES = tomllib.loads((SPECS / "eql" / "simplify.toml").read_text())["case"]
SCHEMA = Schema(FIELDS)
VALUES: dict[str, nodes.Value] = {"n": 3, "m": -1, "s": "abc", "t": "x", "b": True, "c": False}
SMALL = Schema(
    {name: Field(name, {int: DataType.LONG, str: DataType.KEYWORD, bool: DataType.BOOLEAN}[type(value)])
     for name, value in VALUES.items()} | {"@timestamp": Field("@timestamp", DataType.DATE)}
)  # fmt: skip


def checked(text: str, schema: Schema = SCHEMA) -> ast.Statement:
    return check(
        parse(text), Source(text), schema,
        category_field="event.category", timestamp_field="@timestamp", tiebreaker_field=None,
    ).statement  # fmt: skip


def condition(statement: ast.Statement) -> nodes.Expression:
    assert isinstance(statement.body, ast.EventQuery)
    return statement.body.condition


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["before"])
def test_case(case: dict[str, str]) -> None:
    statement = checked(f"any where {case['before']}")
    assert show(condition(simplify(statement))) == case["after"]


def test_every_condition_of_a_statement_is_simplified() -> None:
    statement = checked(
        "sequence by name with maxspan=1s [any where 1 < pid] by md5 ![any where pid != 1] by md5"
        " until [any where pid == 1 + 1] by path | head 2"
    )
    assert show(simplify(statement)) == (
        "(sequence by name maxspan 1000 [(event any (> pid 1)) by md5] ![(event any (not (== pid 1))) by md5]"
        " until [(event any (== pid 2)) by path]) | head 2"
    )
    sample = checked("sample by name [any where 1 < pid] [any where true and elevated]")
    assert show(simplify(sample)) == "(sample by name [(event any (> pid 1))] [(event any elevated)])"


def test_untouched_conditions_are_the_same_object() -> None:
    before = condition(checked('any where pid == 1 and name : ("a", "b") or not elevated'))
    for one_pass in PASSES:
        assert nodes.rewrite(before, one_pass) is before


def numbers() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["n", "m", "0", "2", "7", "1.5", "length(s)", 'length("four")'])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
            inner.map(lambda text: f"-{text}"),
            st.tuples(inner, inner).map(lambda parts: f"add({', '.join(parts)})"),
        ),
        max_leaves=4,
    )


STRINGS = st.sampled_from(["s", "t", '"abc"', '"X"', 'concat(s, "!")', 'substring("abcd", 1)'])
PATTERNS = st.sampled_from([":", "like", "like~", "regex", "regex~"])
COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
CONSTANT_NUMBERS = st.sampled_from(["0", "3", "2 + 1", '-length("a")', "7 / 2"])


def conditions() -> st.SearchStrategy[str]:
    leaves = st.one_of(
        st.sampled_from(["b", "c", "true", "false", "b == true", "c != true", "false == b"]),
        st.tuples(numbers(), COMPARISONS, CONSTANT_NUMBERS).map(" ".join),
        st.tuples(CONSTANT_NUMBERS, COMPARISONS, numbers()).map(" ".join),
        st.tuples(STRINGS, PATTERNS, st.just('("a*", "x")')).map(" ".join),
        st.tuples(STRINGS, st.sampled_from(["in", "in~", "not in"]), st.just('("abc", "x", null)')).map(" ".join),
        STRINGS.map(lambda text: f'startsWith({text}, "a")'),
    )  # fmt: skip
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
            inner.map(lambda text: f"not ({text})"),
            st.tuples(inner, st.sampled_from(["== true", "!= true", "== false"])).map(
                lambda parts: f"({parts[0]}) {parts[1]}"
            ),
        ),
        max_leaves=8,
    )


def value_of(expression: nodes.Expression) -> nodes.Value:
    """What an expression comes to for the one event `VALUES`."""

    def rule(node: nodes.Expression) -> nodes.Expression:
        if isinstance(node, nodes.FieldRef):
            return nodes.Constant(node.span, VALUES[node.field.name])
        return nodes.Constant(node.span, evaluate(node)) if nodes.children(node) else node

    result = nodes.rewrite(expression, rule)
    assert isinstance(result, nodes.Constant)
    return result.value


@given(conditions())
def test_meaning_stays_and_the_result_has_the_promised_form(text: str) -> None:
    statement = checked(f"any where {text}", SMALL)
    simplified = simplify(statement)
    assert simplify(simplified) == simplified
    after = condition(simplified)
    assert value_of(after) is value_of(condition(statement))
    for node in nodes.walk(after):
        parts = nodes.children(node)
        assert not parts or not all(isinstance(part, nodes.Constant) for part in parts)
        if isinstance(node, nodes.Comparison):
            assert node.operator != "!="
            assert not isinstance(node.left, nodes.Constant)
        if isinstance(node, (nodes.And, nodes.Or)):
            assert len(parts) >= 2
            assert not any(isinstance(part, (nodes.Constant, type(node))) for part in parts)
        if isinstance(node, nodes.Not):
            assert not isinstance(node.operand, nodes.Not)
