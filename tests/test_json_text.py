"""Documents that are odd: read as Elasticsearch reads them, and written again as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import DataType, Field
from runner.json_text import MAX_DEPTH, BrokenLine, WrittenNumber, deep_stack, read_document, write_json


def deep(levels: int, inner: str = "1") -> bytes:
    return f'{{"a": {"[" * (levels - 1)}{inner}{"]" * (levels - 1)}}}'.encode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"9" * 400, 10**400 - 1),
        (b'"\\ud83d"', "\ud83d"),
        (b'"x\\udce9y"', "x\udce9y"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"\\ud83d": 1}', {"\ud83d": 1}),
        (b'"\xff\xed\xa0\xbd"', "\ufffd\ufffd\ufffd\ufffd"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"\0\0\0", b"\xef\xbb\xbf", b"\xef\xbb\xbf\0 ", b'{"half": "a\0\0'])
def test_odd_values_are_read_and_written_as_they_were(before: bytes, text: bytes, value: Any) -> None:
    line = before + b'{"other": 1, "a": ' + text + b"}"
    assert read_document(line) == {"other": 1, "a": value}
    assert read_document(write_json(read_document(line))) == {"other": 1, "a": value}


@pytest.mark.parametrize("text", ["1e400", "-1e400", "9" * 5_000])
def test_a_number_beyond_all_types_keeps_its_text(text: str) -> None:
    document = read_document(f'{{"a": {text}}}'.encode())
    assert isinstance(document["a"], WrittenNumber) and str(document["a"]) == text
    assert write_json(document) == f'{{"a":{text}}}'.encode()


@pytest.mark.parametrize("inner", ["1", '"\\ud83d"', "1e400"])
def test_nesting_up_to_the_limit_of_elasticsearch(inner: str) -> None:
    line = deep(MAX_DEPTH, inner)
    with deep_stack():
        assert read_document(write_json(read_document(line))) == read_document(line)
    with pytest.raises(BrokenLine, match="nested over 1,000 levels"):
        read_document(deep(MAX_DEPTH + 1, inner))
    assert read_document(b'{"a": "' + b"[" * 5_000 + b'"}') == {"a": "[" * 5_000}
    assert len(read_document(b'{"a": [' + b",".join([b'{"b": [1]}'] * 2_000) + b"]}")["a"]) == 2_000


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "01", "1.", "tru", '"\\x41"', '"a\tb"', "1}{"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BrokenLine, match="not JSON"):
        read_document(f'{{"a": {text}}}'.encode())


def test_values_of_other_types_need_a_default() -> None:
    assert write_json({"a": {1}, "b": 2**70}, default=lambda value: sorted(value)) == b'{"a":[1],"b":%d}' % 2**70
    for value in ({"a": {1}}, {"a": 2**70, "b": {1}}, {1: "a"}):
        with pytest.raises(TypeError):
            write_json(value)


@pytest.mark.parametrize(
    ("written", "indexed"),
    [
        ("18446744073709551616", "18446744073709551616"),
        ("1e400", "1e400"),
        ("1.50", "1.50"),
        ("1E5", "1E5"),
        ('"\\ud83d!"', "\ufffd!"),
        ("[7, 1.0]", ("7", "1.0")),
    ],
)
def test_a_keyword_has_the_text_of_a_value(written: str, indexed: object) -> None:
    decoder = RowDecoder([Field("a", DataType.KEYWORD), Field("b", DataType.LONG)])
    for line in (f'{{"a": {written}, "b": 1}}', f'{{"_source": {{"a": {written}, "b": 1}}}}'):
        (row,), _, _ = decoder.read_lines([line.encode()], lambda place, reason: pytest.fail(reason))
        assert decoder.gatherer("a")(row) == indexed


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(codec=None)), JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_again(document: dict[str, Any]) -> None:
    read = read_document(write_json(document))
    assert write_json(read) == write_json(document)
