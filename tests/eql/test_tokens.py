"""Tokens: kinds, places, values, and where the text stops being EQL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.eql.syntax import tokens
from runner.eql.syntax.tokens import END, UNKNOWN, Token, read_number, read_string, tokenize


def kinds(text: str) -> list[str]:
    return [token.kind for token in tokenize(text).tokens]


def only(text: str) -> Token:
    found = tokenize(text).tokens
    assert [token.kind for token in found[1:]] == [END]
    return found[0]


@pytest.mark.parametrize("word", tokens.KEYWORDS)
def test_keywords_are_case_sensitive_and_whole_words(word: str) -> None:
    assert kinds(word) == [word, END]
    assert kinds(word.rstrip("~").upper()) == [tokens.IDENTIFIER, END]
    assert kinds(word.rstrip("~") + "x") == [tokens.IDENTIFIER, END]


@pytest.mark.parametrize("operator", tokens.OPERATORS)
def test_operators(operator: str) -> None:
    assert kinds(f"a {operator} b") == [tokens.IDENTIFIER, operator, tokens.IDENTIFIER, END]


def test_longest_operator_wins() -> None:
    assert kinds("<=>===!=![") == ["<=", ">=", "==", "!=", "![", END]


def test_tilde_belongs_to_the_word_before_it() -> None:
    assert kinds("in~ like~ regex~ endsWith~(") == ["in~", "like~", "regex~", tokens.TILDE_IDENTIFIER, "(", END]
    assert kinds("in ~") == ["in", UNKNOWN]
    assert kinds("_x~") == [tokens.IDENTIFIER, UNKNOWN]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("007", 7), ("4294967296", 2**32), ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64), ("0" * 5000 + "5", 5), ("9" * 300, float("9" * 300)),
        ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("1.5E-3", 0.0015), (".5e+1", 5.0),
    ],
)  # fmt: skip
def test_numbers(text: str, value: float) -> None:
    number = read_number(only(text))
    assert number == value
    assert type(number) is type(value)


@pytest.mark.parametrize("text", ["1e400", "9" * 5000, "1" + "0" * 309])
def test_numbers_beyond_a_double_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Number \[.*\] is too large$"):
        read_number(only(text))


def test_number_and_unit_are_two_tokens() -> None:
    assert kinds("30s 5 m") == [tokens.INTEGER, tokens.IDENTIFIER] * 2 + [END]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('""', ""), ('"a\\"b"', 'a"b'), (r'"\b\t\n\f\r\\\'"', "\b\t\n\f\r\\'"), (r'"\u{41}\u{1f600}"', "A😀"),
        (r'"\\u{41}"', r"\u{41}"), (r'"\\n"', r"\n"), ("\"it's\"", "it's"), ('"é\t"', "é\t"),
        ('"""C:\\n"""', "C:\\n"), ('""""""', ""), ('"""a""""', 'a"'), ('"""a"""""', 'a""'), ('""""a"""', '"a'),
        ('"""a"b""c"""', 'a"b""c'),
    ],
)  # fmt: skip
def test_strings(text: str, value: str) -> None:
    assert read_string(only(text)) == value


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_can_be_written_as_an_ordinary_string(value: str) -> None:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
    written = "".join(escapes.get(char, char) for char in value)
    assert read_string(only(f'"{written}"')) == value
    assert read_string(only('"' + "".join(f"\\u{{{ord(char):02x}}}" for char in value) + '"')) == value


def test_blanks_and_comments_are_skipped() -> None:
    assert kinds("a // x\n b /* c /* d */ e */ f /**/ g") == [tokens.IDENTIFIER] * 4 + [END]
    assert kinds("// only") == [END]
    assert kinds("") == [END]


def test_comment_with_more_openings_ends_at_the_last_closing() -> None:
    assert kinds("/* in /tmp/* */ a") == [tokens.IDENTIFIER, END]
    assert kinds("/* /* */ a /* */ b") == [tokens.IDENTIFIER, END]


@pytest.mark.parametrize("text", ["/*", "/*/", "/* /* ", "/* x /* y"])
def test_comment_without_end(text: str) -> None:
    found = tokenize(text)
    assert [token.kind for token in found.tokens] == [UNKNOWN]
    assert found.finding is not None
    assert found.finding.hint == "; the comment is not closed"


def test_quoted_names_keep_every_character() -> None:
    found = tokenize("`a``b\n.c` ``").tokens
    assert [(token.kind, token.text) for token in found[:2]] == [
        (tokens.QUOTED_IDENTIFIER, "`a``b\n.c`"),
        (tokens.QUOTED_IDENTIFIER, "``"),
    ]


def test_names_are_ascii() -> None:
    assert kinds("@timestamp _a a_1") == [tokens.IDENTIFIER] * 3 + [END]
    assert kinds("aé") == [tokens.IDENTIFIER, UNKNOWN]


@given(st.text(st.sampled_from("ab1 .\"'`\\/*\n\r\t~?!=<>[]()|:{}u-+eE_@é\u2028")))
def test_tokens_cover_the_text_in_order(text: str) -> None:
    found, finding = tokenize(text)
    position = 0
    for token in found[:-1]:
        assert token.start >= position
        assert text[token.start : token.end] == token.text
        gap = text[position : token.start]
        assert not gap.strip(" \t\r\n") or gap.lstrip().startswith(("//", "/*"))
        position = token.end
    assert (found[-1].kind == END) is (finding is None)
    if finding is not None:
        assert 0 <= finding.span.start < finding.span.end <= len(text)
