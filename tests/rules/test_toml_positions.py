from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.messages.text_positions import IN_FILE, Source, picture
from runner.rules.toml_positions import TomlPlace, find_places, string_end, string_start
from tests.paths import SHARED

CORPUS = SHARED / "corpus" / "detection-rules"

MIXED = '''\
# a comment with = and [brackets]
title = "x" # [no.table]
a.b . "c d" = 'lit # eral'
[t]
"quoted.key" = """
first = 1 \\
   [not]
""\\" still"""
list = [ 1, # ] comment
  [ "]", \'\'\'}\'\'\' ], { x = 1, y.z = [ 2 ] } ,
]
[[t.many]]
k = 1979-05-27 07:32:00
[t.many.sub]
k = 1
[[ t . many ]]
k = """a""""" # five quotes
[[t.many.deep]]
[[t.many.deep]]
k = \'\'\'\'a\'\'\'\'
[z]
"\\u0041\\"" = inf
'''


def leaves(path: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every path of a document with its value, tables and lists included."""
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves((*path, key), item)


def assert_true(text: str, places: Mapping[tuple[str | int, ...], TomlPlace]) -> None:
    """Each place holds its key, and each value, read again from its place alone, is the document's."""
    document = tomllib.loads(text)
    expected = dict(leaves((), document))
    assert set(places) == set(expected)
    for path, value in expected.items():
        place = places[path]
        if isinstance(path[-1], str):
            spelled = text[place.key : place.key_end]
            assert list(tomllib.loads(f"{spelled} = 1")) == [path[-1]]
        if not isinstance(value, dict | list) or text[place.value : place.value + 1] in ("{",):
            read = tomllib.loads(f"v = {text[place.value : place.end]}")["v"]
            assert repr(read) == repr(value)  # nan is not equal to itself
        if isinstance(value, str):
            spelled = text[string_start(text, place.value) : string_end(text, place)]
            assert "\\" in spelled or spelled == value


def test_a_text_with_everything() -> None:
    assert_true(MIXED, find_places(MIXED))


def test_places_of_an_array_of_tables() -> None:
    places, lines = find_places(MIXED), Source(MIXED)
    assert lines.place(places["t", "many", 0, "sub", "k"].key) == (15, 1)
    assert lines.place(places["t", "many", 1].key) == (16, 8)
    assert lines.place(places["t", "many", 1, "deep", 1, "k"].value) == (20, 5)
    assert lines.place(places["a", "b", "c d"].key) == (3, 7)


STRINGS = st.text("ab \"'\\#=[]{},.\n\té", max_size=12)


def _basic(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\t", r"\t")
    return '"' + escaped.replace("\n", r"\n") + '"'


def _basic_lines(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"""', r'""\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + r"\""
    return '"""\n' + escaped + '"""'


def _literal_lines(text: str) -> str:
    return "'''\n" + text.replace("'", "") + "'''"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "").replace("\n", "") + "'"


spelled_strings = st.tuples(STRINGS, st.sampled_from([_basic, _basic_lines, _literal, _literal_lines])).map(
    lambda pair: pair[1](pair[0])
)
scalars = st.one_of(
    spelled_strings,
    st.sampled_from(["0", "-17", "1_000", "0xff", "3.5", "1e9", "nan", "true", "false", "1979-05-27", "07:32:00"]),
    st.sampled_from(["1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "1979-05-27T07:32:00.5+01:00"]),
)
blanks = st.sampled_from(["", " ", "\t", "\n", " # ] } comment\n", "\n  "])
names = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True), STRINGS.map(_basic), STRINGS.map(_literal))


@st.composite
def arrays(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    parts = draw(st.lists(items, max_size=3))
    comma = draw(st.sampled_from(["", ","])) if parts else ""
    pieces = [draw(blanks) + part + draw(blanks) for part in parts]
    return "[" + ",".join(pieces) + comma + draw(blanks) + "]"


@st.composite
def inline_tables(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    parts = draw(st.lists(st.tuples(names, items), max_size=3))
    pairs = [f" {_unique(name, number)} = {value} " for number, (name, value) in enumerate(parts)]
    return "{" + ",".join(pairs) + "}"


def _unique(name: str, number: int) -> str:
    """A dotted key that no other number gives."""
    return f"k{number}.{name}"


values = st.recursive(scalars, lambda inner: st.one_of(arrays(inner), inline_tables(inner)), max_leaves=6)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A valid TOML text: pairs, tables, arrays of tables and tables inside of those, with comments in between."""
    out = []
    for section in range(draw(st.integers(0, 4))):
        name = draw(names)
        many = draw(st.booleans())
        for _ in range(draw(st.integers(1, 3)) if many else 1):
            if section:
                out.append(f"[[ s{section} . {name} ]]" if many else f"[s{section}.{name}]")
            start = 0 if section or not out else 100
            for number, (key, value) in enumerate(draw(st.lists(st.tuples(names, values), max_size=3)), start):
                out.append(f"{_unique(key, number)} = {value}" + draw(st.sampled_from(["", " # [c]"])))
            if not section:
                break
            if draw(st.booleans()):
                out.append(f"[s{section}.{name}.sub]\nx = {draw(values)}")
    return "\n".join(out) + draw(st.sampled_from(["", "\n"]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_places_hold_what_they_say(text: str) -> None:
    assert_true(text, find_places(text))


@settings(deadline=None)
@given(st.text("ab.=[]{},\"'#\n 1", max_size=40))
def test_whatever_tomllib_accepts_has_its_places(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert_true(text, find_places(text))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the rule corpus is not beside the project")
def test_places_in_real_rules() -> None:
    for file in sorted(CORPUS.glob("*.toml")):
        text = file.read_text()
        assert_true(text, find_places(text))


@settings(deadline=None)
@given(st.text("ab\n\x0b\u2028", max_size=30), st.integers(0, 30))
def test_lines_and_offsets_are_inverse(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    lines = Source(text)
    line, column = lines.place(offset)
    assert lines.offset(line, column) == offset
    assert lines.line(line) == text.split("\n")[line - 1]


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(1, 400), st.integers(0, 500))
def test_carets_stand_under_the_place(text: str, column: int, width: int) -> None:
    text = text.replace("\n", " ") + "x"
    column = min(column, len(text))
    shown, carets = picture(text, 7, IN_FILE, column=column, width=width).split("\n")
    at = carets.index("^")
    expected = text[column - 1]
    assert shown[at] == (expected if expected.isprintable() else " ")
    assert len(shown) <= 8 + 160 + 6
    assert len(carets) <= max(len(shown), at + 1)
