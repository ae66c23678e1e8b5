"""What `unparse` writes can be parsed, and means what was parsed."""

from __future__ import annotations

import random
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.eql.analysis.simplify import not_equal
from runner.eql.explain.unparse import duration, field_name, unparse
from runner.eql.syntax import ast
from runner.eql.syntax.errors import EqlError
from runner.eql.syntax.parser import parse
from runner.expressions import nodes
from tests.eql.show import show
from tests.eql.test_parse_fuzz import query as random_query
from tests.paths import SHARED

CORPUS = SHARED / "corpus" / "detection-rules"
SPAN = parse("any where true").span


def same(statement: ast.Statement) -> str:
    """The tree as text, with `a != b` and `not a == b`, which mean the same, made one."""

    def query(one: ast.EventQuery) -> ast.EventQuery:
        return replace(one, condition=nodes.rewrite(one.condition, not_equal))

    body = statement.body
    if isinstance(body, ast.EventQuery):
        return show(replace(statement, body=query(body)))
    terms = tuple(replace(term, query=query(term.query)) for term in body.terms)
    body = replace(body, terms=terms)
    if isinstance(body, ast.SequenceQuery) and body.until is not None:
        body = replace(body, until=replace(body.until, query=query(body.until.query)))
    return show(replace(statement, body=body))


@pytest.mark.parametrize(
    ("query", "written"),
    [
        ("any where a+1 in (2)", "any where a + 1 in (2)"),
        ("any where (a+1) in (2)", "any where (a + 1) in (2)"),
        ("any where -(a : 'x')".replace("'", '"'), 'any where -a : "x"'),
        ("any where not (a and b) or c", "any where not (a and b) or c"),
        ("any where a - (b - c) == 1", "any where a - (b - c) == 1"),
        ("any where not a == 1", "any where a != 1"),
        ("any where not a in (1)", "any where a not in (1)"),
        ('"my cat" where `a b`.`any` == """C:\\x"""', '"my cat" where `a b`.`any` == "C:\\\\x"'),
        ('any where ENDSWITH~(a, "x")', 'any where endsWith~(a, "x")'),
        ('any where a : ("\\u{7f}", "\\n")', 'any where a : ("\\u{7f}", "\\n")'),
        ("any where a < 1e30", "any where a < 1e+30"),
        (
            "sequence by a with maxspan=60s [x where true] by b with runs=2 ![y where ?c] by c "
            "until [any where d] by e | tail 2",
            "sequence by a with maxspan=1m\n  [x where true] by b with runs=2\n  ![y where ?c] by c\n"
            "until [any where d] by e | tail 2",
        ),
        ("sample by a [x where b] [y where c]", "sample by a\n  [x where b]\n  [y where c]"),
    ],
)
def test_the_text_that_is_written(query: str, written: str) -> None:
    assert unparse(parse(query)) == written


def test_parsing_what_was_written_gives_the_same_tree() -> None:
    chance = random.Random(7)
    read = 0
    for _ in range(4000):
        text = random_query(chance)
        try:
            statement = parse(text)
        except EqlError:
            continue
        read += 1
        assert same(parse(unparse(statement))) == same(statement), text
    assert read > 500


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_every_text_can_be_a_constant_and_a_name(text: str) -> None:
    tree = nodes.Comparison(SPAN, "==", nodes.Name(SPAN, text), nodes.Constant(SPAN, text))
    read = parse(f"any where {unparse(tree)}").body
    assert isinstance(read, ast.EventQuery)
    assert show(read.condition) == show(tree)


@given(st.integers(1, 10**12))
def test_durations_are_read_back(milliseconds: int) -> None:
    body = parse(f"sequence with maxspan={duration(milliseconds)} [any where true] [any where true]").body
    assert isinstance(body, ast.SequenceQuery)
    assert body.maxspan == milliseconds


def test_names_that_need_no_quotes_have_none() -> None:
    assert field_name("@timestamp") == "@timestamp"
    assert field_name("a.where.b") == "a.`where`.b"
    assert field_name("a..b") == "`a..b`"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no public rules beside the project")
def test_public_rules_mean_the_same_after_writing() -> None:
    read = 0
    for file in sorted(CORPUS.rglob("*.toml")):
        rule = tomllib.loads(file.read_text()).get("rule", {})
        if rule.get("language") == "eql":
            read += 1
            statement = parse(rule["query"])
            assert same(parse(unparse(statement))) == same(statement), file
    assert read > 100
