"""Lines to rows: the fast way and the way over whole documents give the same; odd lines are counted or read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.columns.row_decoder import RowDecoder
from runner.events.documents import flatten
from runner.events.fields.schema import DataType, Field
from runner.json_text import BrokenLine, is_blank, read_document

FIELDS = (
    Field("k", DataType.KEYWORD),
    Field("p.k", DataType.KEYWORD, ignore_above=3),
    Field("p.n", DataType.LONG),
    Field("p.q.d", DataType.DOUBLE),
    Field("p.q.b", DataType.BOOLEAN),
    Field("p.q.r.t", DataType.DATE),
    Field("t.ns", DataType.DATE_NANOS, null_value=0),
    Field("u", DataType.UNSIGNED_LONG),
    Field("h", DataType.HALF_FLOAT),
    Field("any", DataType.NULL),
    Field("w", DataType.WILDCARD, null_value="none"),
    Field("c.k", DataType.CONSTANT_KEYWORD, constant="fixed"),
    Field("text", DataType.TEXT, exact="text.keyword"),
    Field("text.keyword", DataType.KEYWORD, path="text", ignore_above=2),
    Field("multi", DataType.INTEGER),
    Field("multi.text", DataType.KEYWORD, path="multi"),
    Field("both", DataType.KEYWORD),
    Field("both.below", DataType.LONG),
    Field("ip", DataType.IP),
    Field("v", DataType.VERSION),
)
EVERYTHING = RowDecoder(FIELDS)
THREE = RowDecoder([Field("p.k", DataType.KEYWORD), Field("p.n", DataType.LONG), Field("p.q.d", DataType.DOUBLE)])
NAMES = [field.name for field in FIELDS if not field.path]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.sampled_from(["", "1", "a", "fixed", "true", "10.0.0.1", "2026-01-01", "😀a", "abcd"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "n", "x", "q.d"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of the fields and others, nested, dotted and mixed, now and then with arrays of objects."""
    document: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from([*NAMES, "p", "other.field", "_source"]), max_size=6)):
        value = draw(VALUES)
        parts = name.split(".")
        at: Any = document
        cut = draw(st.integers(0, len(parts) - 1))
        for part in parts[:cut]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at
            if isinstance(at, list):
                at.append({})
                at = at[-1]
        if isinstance(at, dict):
            at[".".join(parts[cut:])] = draw(st.sampled_from([value, value, [value], [value, None]]))
    return document


def recorder(broken: list[int]) -> Callable[[int, str], None]:
    return lambda position, reason: broken.append(position)


def ignore(position: int, reason: str) -> None:
    raise AssertionError(f"line {position}: {reason}")


def values_of(decoder: RowDecoder, row: Any) -> dict[str, Any]:
    """Every field's value, the ways of writing one value or none made one."""
    found = {}
    for name in decoder.fields:
        value = decoder.gatherer(name)(row)
        if isinstance(value, tuple) and len(value) < 2:
            value = value[0] if value else None
        found[name] = (repr(value), value)
    return found


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(st.lists(documents(), max_size=6), st.booleans(), st.booleans())
def test_lines_and_documents_give_the_same_rows(sources: list[dict[str, Any]], hits: bool, escaped: bool) -> None:
    decoder = EVERYTHING
    sources = [source for source in sources if hits or not isinstance(source.get("_source"), dict)]
    lines = []
    for number, source in enumerate(sources):
        is_hit = (hits and number % 3 != 2) or isinstance(source.get("_source"), dict)
        event = {"_index": "i", "_id": str(number), "_source": source} if is_hit else source
        lines.append(json.dumps(event, ensure_ascii=escaped).encode())
    rows, positions, origins = decoder.read_lines(lines, ignore)
    assert len(rows) == len(lines)
    assert positions is None or list(positions) == list(range(len(lines)))
    for number, (source, row) in enumerate(zip(sources, rows, strict=True)):
        assert values_of(decoder, row) == values_of(decoder, decoder.row(source)), source
        is_hit = (hits and number % 3 != 2) or isinstance(source.get("_source"), dict)
        if is_hit:
            assert origins is not None
            assert (origins.indices[number], origins.ids[number]) == ("i", str(number))
        elif origins is not None:
            assert (origins.indices[number], origins.ids[number]) == (None, None)


@settings(max_examples=80, deadline=None)
@given(documents(), st.randoms(use_true_random=False))
def test_the_spelling_of_a_document_changes_nothing(source: dict[str, Any], rng: Any) -> None:
    decoder = THREE
    pairs = [("p.k", "x"), ("p.n", [1, 2]), ("p.q.d", 1.5), ("p.q.other", source)]
    nested = {"p": {"k": "x", "n": [1, 2], "q": {"d": 1.5, "other": source}}}
    mixed: dict[str, Any] = {}
    for name, value in pairs:
        parts = name.split(".")
        cut = rng.randint(0, len(parts) - 1)
        at = mixed
        for part in parts[:cut]:
            at = at.setdefault(part, {})
        at[".".join(parts[cut:])] = value
    lines = [json.dumps(document).encode() for document in (nested, dict(pairs), mixed, {"p": [nested["p"]]})]
    rows, _, _ = decoder.read_lines(lines, ignore)
    assert [values_of(decoder, row) for row in rows] == [values_of(decoder, decoder.row(nested))] * 4


def field_values(line: bytes, *fields: Field) -> list[Any]:
    decoder = RowDecoder(fields)
    rows, _, _ = decoder.read_lines([line], ignore)
    return [decoder.gatherer(field.name)(rows[0]) for field in fields]


@pytest.mark.parametrize(
    ("line", "kind", "value"),
    [
        (b'{"f": "a"}', DataType.KEYWORD, "a"),
        (b'{"f": 1}', DataType.KEYWORD, "1"),
        (b'{"f": true}', DataType.KEYWORD, "true"),
        (b'{"f": {"a": 1}}', DataType.KEYWORD, None),
        (b'{"f": ["a", 1, null, ["b"]]}', DataType.KEYWORD, ("a", "1", "b")),
        (b'{"f": 200}', DataType.BYTE, None),
        (b'{"f": [200, 1]}', DataType.BYTE, 1),
        (b'{"f": "12"}', DataType.INTEGER, 12),
        (b'{"f": 1.9}', DataType.LONG, 1),
        (b'{"f": 18446744073709551615}', DataType.UNSIGNED_LONG, 2**64 - 1),
        (b'{"f": 18446744073709551615}', DataType.LONG, None),
        (b'{"f": 3}', DataType.DOUBLE, 3.0),
        (b'{"f": "3e2"}', DataType.DOUBLE, 300.0),
        (b'{"f": "true"}', DataType.BOOLEAN, True),
        (b'{"f": 1}', DataType.BOOLEAN, None),
        (b'{"f": 5}', DataType.DATE, 5),
        (b'{"f": true}', DataType.DATE, None),
        (b'{"f": [1, "a", true]}', DataType.NULL, (1, "a", True)),
        (b'{"f": [1, {"a": 1}]}', DataType.NULL, 1),
        (b'{"f": {"a": {"b": 1}, "c": ["x", 2]}}', DataType.FLATTENED, ("1", "x", "2")),
        (b'{"f": 1}', DataType.OBJECT, None),
        (b'{"f": 1, "f": 2}', DataType.LONG, 2),
        (b'{"f": "\\u00e9"}', DataType.KEYWORD, "\u00e9"),
    ],
)
def test_values(line: bytes, kind: DataType, value: Any) -> None:
    (found,) = field_values(line, Field("f", kind))
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'{"p": {"x": 1}, "p": {"x": 2}}', 2),
        (b'{"p": {"x": 1, "x": 2}}', 2),
        (b'{"p": {"x": 1}, "p.x": 2}', (1, 2)),
        (b'{"p": [{"x": 1}, {"y": 3}, {"x": [2]}]}', (1, 2)),
        (b'{"p": [[{"x": 1}], null, 7]}', 1),
        (b'{"p": null}', None),
        (b'{"p": 3}', None),
        (b'{"p": []}', None),
    ],
)
def test_parents_in_odd_forms(line: bytes, value: Any) -> None:
    assert field_values(line, Field("p.x", DataType.LONG)) == [value]


@pytest.mark.parametrize("line", [b'{"p.x": "\\u0000\\u0000"}', b'{"p": {"x": "\\u0000\\u0000"}}'])
def test_no_text_is_taken_for_a_missing_value(line: bytes) -> None:
    assert field_values(line, Field("p.x", DataType.KEYWORD)) == ["\0\0"]


def test_unreadable_values_are_counted_by_field() -> None:
    decoder = RowDecoder([Field("n", DataType.LONG), Field("b", DataType.BOOLEAN)])
    decoder.read_lines([b'{"n": "x", "b": true}', b'{"n": ["x", 1], "b": 2}', b'{"n": 1}'], ignore)
    assert decoder.unreadable == {"n": 2, "b": 1}


def test_a_field_and_one_below_it() -> None:
    fields = (Field("a", DataType.KEYWORD), Field("a.b", DataType.LONG), Field("a.b.c", DataType.LONG))
    assert field_values(b'{"a": "x"}', *fields) == ["x", None, None]
    assert field_values(b'{"a": {"b": 1}}', *fields) == [None, 1, None]
    assert field_values(b'{"a": {"b": {"c": 2}}}', *fields) == [None, None, 2]
    assert field_values(b'{"a": ["x", {"b": [1, {"c": 2}]}]}', *fields) == ["x", 1, 2]
    decoder = RowDecoder(fields)
    decoder.read_lines([b'{"a": {"b": {"c": 2}}}', b'{"a.b": 1}'], ignore)
    assert decoder.unreadable == {}


# Lines that hold no event.


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON: "),
        (b"nonsense", "not JSON: "),
        (b'{"a": 1} x', "not JSON: "),
        (b"[1]", "a JSON array where an object was expected"),
        (b'"a"', "a JSON string where an object was expected"),
        (b"1", "a JSON number where an object was expected"),
        (b"true", "a JSON boolean where an object was expected"),
        (b"null", "a JSON null where an object was expected"),
        (b'\xff{"a": 1}', "not JSON: "),
        (b'{"a": \xff}', "not JSON: "),
        (b'{"a": NaN}', "not JSON: "),
    ],
)
def test_broken_lines(line: bytes, reason: str) -> None:
    decoder = RowDecoder([Field("a", DataType.LONG), Field("b", DataType.LONG)])
    seen: list[tuple[int, str]] = []
    lines = [b'{"a": 1}', b"", line, b"  \t\r", b'{"_source": {"a": 2}}', b'{"a": 3}']
    rows, positions, origins = decoder.read_lines(lines, lambda position, why: seen.append((position, why)))
    assert [position for position, _ in seen] == [2]
    assert seen[0][1].startswith(reason)
    assert [decoder.gatherer("a")(row) for row in rows] == [1, 2, 3]
    assert positions is not None and list(positions) == [0, 4, 5]
    assert origins is None
    with pytest.raises(BrokenLine):
        read_document(line)


@pytest.mark.parametrize("levels", [10, 100, 10_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('{"_source":', "}"), ('[{"a":', "}]"), ('{"p":{"x":', "}}")]
)
def test_deep_lines_are_broken_or_read(levels: int, opening: str, closing: str) -> None:
    line = f'{{"k": "v", "deep": {opening * levels}1{closing * levels}}}'.encode()
    odd = f'{{"k": ["v", null], "p.x": 1, "deep": {opening * levels}1{closing * levels}}}'.encode()
    wanted = f'{{"k": "v", "p": {opening * levels}1{closing * levels}}}'.encode()
    decoder = RowDecoder([Field("k", DataType.KEYWORD), Field("p.x", DataType.LONG), Field("p.x.p.x", DataType.LONG)])
    for text in (line, odd, wanted, b'{"_source": ' + line + b"}"):
        broken: list[int] = []
        rows, _, _ = decoder.read_lines([text, b'{"k": "v"}'], recorder(broken))
        assert len(rows) + len(broken) == 2
        assert len(broken) <= (levels > 1000)
        assert {decoder.gatherer("k")(row) for row in rows} == {"v"}


def test_a_deep_document_is_read() -> None:
    document: Any = {"k": "v"}
    for _ in range(10_000):
        document = {"deep": [document]}
    decoder = RowDecoder([Field("k", DataType.KEYWORD)])
    assert decoder.gatherer("k")(decoder.row(document)) is None
    assert list(flatten(document)) == [f"{'deep.' * 10_000}k"]
    arrays: Any = "v"
    for _ in range(10_000):
        arrays = [arrays]
    assert decoder.gatherer("k")(decoder.row({"k": arrays})) == "v"


def test_stray_bytes_in_strings_are_replaced() -> None:
    fields = (Field("a", DataType.KEYWORD), Field("b", DataType.LONG))
    assert field_values(b'{"a": "x\xffy", "b": 1}', *fields) == ["x\ufffdy", 1]
    assert field_values(b'{"other": "x\xffy", "a": "z", "b": 1}', *fields) == ["z", 1]
    assert read_document(b'{"a": "\xe9"}') == {"a": "\ufffd"}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text('{}[]":,\\ utf8a1.e-n', max_size=40).map(str.encode))
def test_any_bytes_are_a_row_or_broken(line: bytes) -> None:
    decoder = RowDecoder([Field("a", DataType.KEYWORD), Field("a.b", DataType.LONG)])
    broken: list[str] = []
    rows, _, _ = decoder.read_lines([line], lambda position, reason: broken.append(reason))
    assert len(rows) + len(broken) == (0 if is_blank(line) else 1)
    if broken:
        with pytest.raises(orjson.JSONDecodeError):
            document = orjson.loads(line.decode(errors="replace"))
            assert not isinstance(document, dict)
            raise orjson.JSONDecodeError("an object", "", 0)


def test_no_fields_at_all() -> None:
    decoder = RowDecoder([])
    rows, positions, origins = decoder.read_lines([b'{"a": 1}', b'{"_index": "i", "_source": {"a": 1}}'], ignore)
    assert len(rows) == 2
    assert positions is not None and list(positions) == [0, 1]
    assert origins is not None and origins.indices == (None, "i")
    assert decoder.row({"a": 1}) is not None


@pytest.mark.parametrize(
    ("line", "index", "id_"),
    [
        (b'{"_index": "i", "_id": "1", "_source": {"a": 1}}', "i", "1"),
        (b'{"_source": {"a": 1}, "_index": "i", "sort": [1, {"x": 2}]}', "i", None),
        (b'{"_index": 3, "_id": {"x": 1}, "_source": {"a": 1}}', None, None),
        (b'{"_index": "i", "_id": "1", "_source": {"a": ["1"]}}', "i", "1"),
        (b'{"_index": "i", "_id": "1", "_source": "a", "a": 1}', None, None),
        (b'{"_index": "i", "_id": "1", "a": 1}', None, None),
    ],
)
def test_hits(line: bytes, index: str | None, id_: str | None) -> None:
    decoder = RowDecoder([Field("a", DataType.LONG)])
    for lines in ([line], [b'{"a": 2}', line], [b'{"_source": {"a": 2}, "_index": "x"}', line, line]):
        rows, _, origins = decoder.read_lines(lines, ignore)
        assert decoder.gatherer("a")(rows[-1]) == 1
        found = (origins.indices[-1], origins.ids[-1]) if origins is not None else (None, None)
        assert found == (index, id_)
