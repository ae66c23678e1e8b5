"""Tokens of ES|QL: every character once, and strings, comments and names that end where Elasticsearch ends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.esql import EsqlError
from runner.esql.tokens import string_value, tokens_of

PIECES = st.sampled_from(
    [
        "from logs-*, .alerts-security.* metadata _id", "| where ", "NOW()", "now ( )", '"NOW()"', '"""a "NOW()" b"""',
        "`NOW()`", "`a``b`", "// NOW() |\n", "/* NOW() /* | */ | */", "host.id", "x.now()", " ", "\n", "==",
        "=", "::date", '"\\" NOW()"', "5 minutes", "1.5e3", "(", ")", "|", ",", "é", '""', "/", "*", "?p", "@timestamp",
        '""""quoted""""',
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@given(TEXTS)
def test_the_tokens_are_the_text(text: str) -> None:
    try:
        tokens = tokens_of(text)
    except EsqlError:
        return
    assert "".join(token.text for token in tokens) == text
    assert all(text[token.span.start : token.span.end] == token.text for token in tokens)


@given(st.text(max_size=60))
def test_any_text_has_tokens_or_an_error_with_a_place(text: str) -> None:
    try:
        assert "".join(token.text for token in tokens_of(text)) == text
    except EsqlError as error:
        assert error.findings[0].span.start < len(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('from a | where b == "c', "line 1:21: this string does not end"),
        ("from a | where `b", "line 1:16: this name between backquotes does not end"),
        ("from a /* /* */", "line 1:8: this comment does not end"),
        ('from a\n| where b == """c""', "line 2:19: this string does not end"),
    ],
)
def test_what_does_not_end_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(EsqlError) as caught:
        tokens_of(text)
    assert str(caught.value) == message


def test_values_of_strings_and_names() -> None:
    text = r'where "a\"b\\c\n" == """x"y\""" and `k``l`'
    values = [string_value(token) for token in tokens_of(text) if token.kind in ("string", "quoted")]
    assert values == ['a"b\\c\n', 'x"y\\', "k`l"]


def test_sources_are_read_as_such_until_the_next_command() -> None:
    words = [(one.kind, one.text) for one in tokens_of("FROM logs-*,-x:.ds-y /*c*/| WHERE a-b") if one.is_word]
    assert words == [
        ("name", "FROM"), ("source", "logs-*"), ("mark", ","), ("source", "-x"), ("mark", ":"), ("source", ".ds-y"),
        ("mark", "|"), ("name", "WHERE"), ("name", "a"), ("mark", "-"), ("name", "b"),
    ]  # fmt: skip
