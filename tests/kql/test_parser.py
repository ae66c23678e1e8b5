"""The parser of KQL against its specifications: trees of texts, messages and pictures of texts that are none."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.kql.errors import KqlSyntaxError
from runner.kql.parser import MAX_DEPTH, parse
from tests.kql.show import show
from tests.paths import SPECS


def cases(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = tomllib.loads((SPECS / "kql" / f"{name}.toml").read_text())["case"]
    return found


@pytest.mark.parametrize("case", cases("parse"), ids=lambda case: case["query"])
def test_tree(case: dict[str, str]) -> None:
    assert show(parse(case["query"])) == case["tree"]


@pytest.mark.parametrize("case", cases("errors"), ids=lambda case: case["query"])
def test_error(case: dict[str, str]) -> None:
    with pytest.raises(KqlSyntaxError) as caught:
        parse(case["query"])
    (finding,) = caught.value.findings
    assert str(caught.value) == case["error"]
    assert caught.value.picture(finding) == case["picture"]


PIECES = [
    "a",
    "b.c",
    ":",
    "(",
    ")",
    "{",
    "}",
    '"',
    "\\",
    "*",
    " and ",
    " or ",
    "not ",
    "<",
    ">=",
    "x y",
    "\n",
    "null",
    "\\u0041",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_a_query_or_has_an_error_with_a_place_in_it(text: str) -> None:
    try:
        parse(text)
    except KqlSyntaxError as error:
        (finding,) = error.findings
        assert 0 <= finding.span.start <= len(text)
        assert str(error).startswith("line ")


@given(st.text(min_size=1, max_size=20))
def test_a_quoted_text_is_that_text(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert show(parse(f'a:"{quoted}"')) == show(parse('a:"x"')).replace('"x"', show_text(text))


def show_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def test_brackets_within_brackets_have_a_limit() -> None:
    assert show(parse("(" * MAX_DEPTH + "a:b" + ")" * MAX_DEPTH)) == '(: "a" "b")'
    with pytest.raises(KqlSyntaxError, match=rf"line 1:{MAX_DEPTH + 1}: more than {MAX_DEPTH} brackets"):
        parse("(" * (MAX_DEPTH + 1) + "a:b")


def test_a_long_query_is_parsed_in_linear_time() -> None:
    text = " or ".join(f"field.{number}: {' ' * 50}value{number}*" for number in range(5_000))
    assert show(parse(text)).count("(:") == 5_000
    with pytest.raises(KqlSyntaxError):
        parse(f"a: x{' ' * 20_000}y:z")
