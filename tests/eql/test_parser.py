"""The parser against its specifications: trees of queries, messages and pictures of texts that are none."""

from __future__ import annotations

import tomllib

import pytest

from runner.eql.syntax import ast
from runner.eql.syntax.errors import ParsingError
from runner.eql.syntax.parser import MAX_DEPTH, MAX_NESTING, parse
from runner.expressions import nodes
from tests.eql.show import show
from tests.paths import SHARED, SPECS

FOLDER = SPECS / "eql"
CORPUS = SHARED / "corpus" / "detection-rules"
TOO_LARGE = "line 1:1: EQL statement is too large, causing stack overflow when generating the parsing tree: ["


def cases(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = tomllib.loads((FOLDER / f"{name}.toml").read_text())["case"]
    return found


@pytest.mark.parametrize("case", cases("parse"), ids=lambda case: case["query"])
def test_tree(case: dict[str, str]) -> None:
    assert show(parse(case["query"])) == case["tree"]


@pytest.mark.parametrize("case", [*cases("errors"), *cases("meant")], ids=lambda case: case["query"])
def test_error(case: dict[str, str]) -> None:
    with pytest.raises(ParsingError) as caught:
        parse(case["query"])
    assert str(caught.value) == case["error"]
    assert caught.value.picture(caught.value.findings[0]) == case["picture"]
    assert len(caught.value.findings) == 1


def test_picture_of_a_long_line_shows_the_part_around_the_place() -> None:
    text = "any where " + "a == 1 or " * 1_000 + "\x1b[31m" + " or b == 2" * 1_000
    with pytest.raises(ParsingError) as caught:
        parse(text)
    assert str(caught.value) == "line 1:10011: token recognition error at: '\x1b'"
    line, carets = caught.value.picture(caught.value.findings[0]).split("\n")
    assert len(line) == len("     1 | ") + 110
    assert line.startswith("     1 | ...")
    assert line.endswith("...")
    assert line[carets.index("^") :].startswith(" [31m or b == 2 or b == 2")
    assert carets.strip(" |^") == ""


def spans(text: str) -> list[str]:
    """The source text of each node of the condition, parents first."""
    body = parse(text).body
    assert isinstance(body, ast.EventQuery)
    found = [node.span for node in nodes.walk(body.condition)]
    return [text[span.start : span.end] for span in found]


def test_nodes_know_their_text() -> None:
    assert spans('any where (a + 1) * -b >= 2 and not f( x ) : "y" or ( c )') == [
        '(a + 1) * -b >= 2 and not f( x ) : "y" or ( c )',
        '(a + 1) * -b >= 2 and not f( x ) : "y"',
        "(a + 1) * -b >= 2", "(a + 1) * -b", "a + 1", "a", "1", "-b", "b", "2",
        'not f( x ) : "y"', 'f( x ) : "y"', "f( x )", "x", '"y"',
        "c",
    ]  # fmt: skip
    assert spans("any where `a b`.c not in (1,2) == ?d") == [
        "`a b`.c not in (1,2) == ?d", "`a b`.c not in (1,2)", "`a b`.c not in (1,2)", "`a b`.c", "1", "2", "?d",
    ]  # fmt: skip


def test_statement_and_terms_know_their_text() -> None:
    text = (
        " sequence by k with maxspan=1s [a where x] by y with runs=2 ![b where z] by w until [c where v] by u | head 3 "
    )
    statement = parse(text)
    sequence = statement.body
    assert isinstance(sequence, ast.SequenceQuery)
    assert sequence.until is not None
    parts = [statement.span, sequence.span, *(term.span for term in sequence.terms), sequence.until.span]
    parts += [term.query.span for term in sequence.terms] + [key.span for key in sequence.keys]
    parts += [pipe.span for pipe in statement.pipes]
    assert [text[span.start : span.end] for span in parts] == [
        text.strip(),
        text.strip().removesuffix(" | head 3"),
        "[a where x] by y with runs=2",
        "![b where z] by w",
        "[c where v] by u",
        "a where x",
        "b where z",
        "k",
        "head 3",
    ]


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 10_000 + "a" + ")" * 10_000,
        "(" * 10_000,
        "not " * 5_000 + "a",
        "- " * 5_000 + "a == 1",
        "f(" * 5_000,
        "a in (" * 5_000,
        "1" + "+1" * 5_000 + " == 1",
        "1" + "*1" * 5_000 + " == 1",
        "not (" * 300 + "a" + ")" * 300,
    ],
    ids=lambda condition: condition[:12],
)
def test_too_deep_is_refused(condition: str) -> None:
    with pytest.raises(ParsingError) as caught:
        parse(f"any where {condition}")
    assert str(caught.value).startswith(TOO_LARGE)
    assert len(str(caught.value)) < 1_000


def test_deepest_tree_can_be_compared_and_hashed() -> None:
    text = "any where " + "not " * (MAX_DEPTH - 1) + "a"
    assert parse(text) == parse(text)
    assert hash(parse(text)) == hash(parse(text))
    assert repr(parse(text)) == repr(parse(text))
    nested = "any where " + "(a or b and " * (MAX_NESTING // 2) + "c" + ")" * (MAX_NESTING // 2)
    assert show(parse(nested)).count("(or a (and b") == MAX_NESTING // 2


@pytest.mark.slow
def test_long_is_not_deep() -> None:
    body = parse("any where " + " or ".join(f"a == {number}" for number in range(5_000))).body
    assert isinstance(body, ast.EventQuery)
    assert isinstance(body.condition, nodes.Or)
    assert len(body.condition.operands) == 5_000
    body = parse("any where a in (" + ", ".join(map(str, range(100_000))) + ")").body
    assert isinstance(body, ast.EventQuery)
    assert isinstance(body.condition, nodes.Membership)
    assert len(body.condition.items) == 100_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ['any where a == "' + "x" * 1_000_000, "any where " + "/*" * 500_000, "any where a == " + "9" * 1_000_000,
     "any where " + "`" * 999_999, "x" * 1_000_000, "any where a : " + '"' * 999_999, "\\" * 1_000_000,
     'any where a == "' + "\\" * 999_999, "any where a " + "b " * 500_000, "/* */ " * 150_000, "any where a." * 80_000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_megabyte_of_nonsense_is_refused_briefly(text: str) -> None:
    with pytest.raises(ParsingError) as caught:
        parse(text)
    assert len(str(caught.value)) < 2_000


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no rule corpus beside the project")
def test_every_rule_of_the_corpus_parses() -> None:
    rules = [tomllib.loads(path.read_text())["rule"] for path in sorted(CORPUS.glob("*.toml"))]
    queries = [rule["query"] for rule in rules if rule.get("language") == "eql"]
    assert len(queries) >= 300
    for query in queries:
        parse(query)
