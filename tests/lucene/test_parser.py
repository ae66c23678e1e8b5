"""Texts in Lucene's syntax: how their clauses are joined, and what is said of those that cannot be parsed."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import lucene
from runner.lucene.ast import LuceneGroup, LuceneNode, LuceneRange
from runner.lucene.errors import LuceneSyntaxError
from runner.lucene.parser import parse
from tests.paths import SPECS

ERRORS: list[dict[str, str]] = tomllib.loads((SPECS / "lucene/errors.toml").read_text())["case"]
SIGNS = {"should": "", "must": "+", "must not": "-"}


def show(node: LuceneNode) -> str:
    """A node on one line: a group in brackets, the kind of each term, `+` and `-` before what must and must not be."""
    if isinstance(node, LuceneGroup):
        return f"({' '.join(SIGNS[clause.occurrence] + show(clause.part) for clause in node.clauses)})"
    name = "" if node.field is None else f"{node.field}:"
    if isinstance(node, LuceneRange):
        return f"{name}{'[' if node.with_low else '{'}{node.low} {node.high}{']' if node.with_high else '}'}"
    return f"{name}{node.kind}<{node.text}>"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a:b", "(a:words<b>)"),
        ("a b c", "(words<a b c>)"),
        ("a:b c d", "(a:words<b> words<c d>)"),
        ("a b OR c", "(words<a> words<b> words<c>)"),
        ("a AND b OR c", "(+words<a> +words<b> words<c>)"),
        ("a OR b && !c", "(words<a> +words<b> -words<c>)"),
        ("+a -b NOT c", "(+words<a> -words<b> -words<c>)"),
        ("a:(b OR (c d))", "((a:words<b> (a:words<c d>)))"),
        ('a:"b \\" c"~3 x^2', '(a:phrase<b " c> words<x>)'),
        ("b* b?c* \\*b /b.c/ b~1 *", "(prefix<b> wildcard<b?c*> words<*b> regexp<b.c> fuzzy<b> any<*>)"),
        ('a:[1 TO *] a:{x TO "y z"}', "(a:[1 None] a:{x y z})"),
        ("and or not", "(words<and or not>)"),
        ("a\\ b c\\:d", "(words<a b c:d>)"),
        ("a - b", "(words<a> words<-> words<b>)"),
    ],
)
def test_tree(text: str, tree: str) -> None:
    assert show(parse(text)) == tree


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case["query"])
def test_error(case: dict[str, str]) -> None:
    with pytest.raises(LuceneSyntaxError) as caught:
        parse(case["query"])
    assert str(caught.value) == case["error"]


PIECES = [
    "a",
    "b",
    ":",
    "(",
    ")",
    "[",
    "1 TO 2",
    "]",
    '"',
    "/",
    "\\",
    "*",
    "?",
    "~",
    "^2",
    " AND ",
    " OR ",
    "NOT ",
    "+",
    "-",
    " ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_parsed_or_has_an_error_with_a_place_in_it(text: str) -> None:
    try:
        query = lucene.parse(text)
    except LuceneSyntaxError as error:
        (finding,) = error.findings
        assert 0 <= finding.span.start <= len(text)
        return
    assert (query.tree is None) == (not text.strip())
