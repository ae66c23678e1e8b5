"""Events that are not a line each: arrays, saved search answers, documents printed over several lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.columns.batch import Columns
from runner.events.files.event_files import MAX_LINE, EventFiles, ReadReport
from tests.events.files.test_event_files import TIME, line, read

DOCUMENTS: list[dict[str, Any]] = [json.loads(line(number)) for number in range(3)]
HITS = [{"_index": "logs", "_id": str(place), "_source": source} for place, source in enumerate(DOCUMENTS)]
MISSING = {"_index": "", "_id": "", "_source": {}, "missing": True}
ANSWERS: dict[str, Any] = {
    "an array": DOCUMENTS,
    "an array of hits": HITS,
    "a search answer": {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 1, "failed": 0},
        "hits": {"total": {"value": 3, "relation": "eq"}, "max_score": 1.0, "hits": HITS},
    },
    "an EQL answer": {"is_partial": False, "is_running": False, "hits": {"total": {"value": 3}, "events": HITS}},
    "sequences": {
        "took": 1,
        "hits": {
            "sequences": [
                {"join_keys": ["a", 1], "events": [HITS[0], MISSING, HITS[1]]},
                {"join_keys": [], "events": [HITS[2]]},
            ]
        },
    },
    "an async search": {"id": "x", "is_running": False, "response": {"took": 1, "hits": {"hits": HITS}}},
}


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
def test_saved_answers_and_exports_are_read(tmp_path: Path, name: str, packed: bool, indent: int | None) -> None:
    text = json.dumps(ANSWERS[name], indent=indent).encode()
    path = tmp_path / "saved.json"
    path.write_bytes(gzip.compress(text) if packed else text)
    numbers, report = read_sources(path)
    assert numbers == [0, 1, 2]
    assert (report.events, report.broken, report.untimed, report.warnings()) == (3, 0, 0, ())


def read_sources(path: Path) -> tuple[list[int], ReadReport]:
    """The numbers of the documents, which may be within hits."""

    with EventFiles([path]) as files:
        found: list[int] = []
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
            found.extend(range(batch.base, batch.base + len(batch)))
        documents = [files.fetch(number) for number in found]
        return [document.get("_source", document)["number"] for document in documents], files.report()


@given(
    indents=st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=6),
    separator=st.sampled_from(["\n", "\r\n", "\n\n", " "]),
    text=st.text(max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_documents_over_several_lines_are_read_as_if_on_one(
    tmp_path_factory: pytest.TempPathFactory, indents: list[int | None], separator: str, text: str
) -> None:
    documents = [{"number": place, "text": text, "list": [1, {"a": [text]}]} for place in range(len(indents))]
    shown = [
        json.dumps(document, indent=indent, ensure_ascii=False)
        for document, indent in zip(documents, [1, *indents[1:]], strict=True)
    ]
    path = tmp_path_factory.mktemp("read") / "events.json"
    path.write_bytes(separator.join(shown).encode(errors="replace"))
    numbers, report = read(path)
    assert numbers == list(range(len(indents)))
    assert report.broken == 0


@pytest.mark.parametrize(
    ("text", "numbers", "said"),
    [
        ('[{"number": 0},\n{"number": 1}', [0, 1], "the text ends within an array"),
        ('[{"number": 0},\n{"number": 1, "a": [}]}]', [0], "line 2: expecting value"),
        ('{\n"number": 0}\n{\n "number": ', [0], "line 4: expecting value"),
        ('{"took": 1, "hits": {"hits": [{"number": 0}', [0], "the text ends within an array"),
    ],
)
def test_of_a_damaged_one_what_can_be_read_is_read(tmp_path: Path, text: str, numbers: list[int], said: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text(text)
    found, report = read(path)
    assert found == numbers
    assert report.failures == (f"{path}: could not be read to its end: {said}",)


_GOOD = [f'{{"number": {number}, "list": [{{"a": 1}}]}}' for number in range(5)]
_BAD = {
    "a wrong literal": '{"number": 9, "x": tru}',
    "no value": '{"number": 9, "x": }',
    "a quote too many": '{"number": 9, "x": "a"b"}',
    "no comma": '{"number": 9 "x": [{"a": 1}]}',
    "a wrong escape": '{"number": 9, "x": "\\x41"}',
}


@pytest.mark.parametrize("separator", [",\n", ", ", ",\r\n  ", "\n,"])
@pytest.mark.parametrize("name", _BAD)
@pytest.mark.parametrize("answer", [False, True])
def test_one_bad_document_of_an_array_spoils_only_itself(
    tmp_path: Path, name: str, separator: str, answer: bool
) -> None:
    if name == "a quote too many" and separator == ", ":
        pytest.skip("nothing says where such a document ends")
    text = separator.join([*_GOOD[:2], _BAD[name], *_GOOD[2:4], _BAD[name], _GOOD[4]])
    path = tmp_path / "saved.json"
    path.write_text(f'{{"took": 1,\n"hits": {{"hits": [{text}]}}}}' if answer else f"[{text}]")
    numbers, report = read(path)
    assert (numbers, report.broken, report.failures) == ([0, 1, 2, 3, 4], 2, ())
    assert (
        f"{path}, document 3: line {text[: text.index(_BAD[name])].count(chr(10)) + 1 + answer}: not JSON"
        in (report.examples[0])
    )


@pytest.mark.parametrize("indent", [0, 1, 4])
@pytest.mark.parametrize("in_array", [False, True])
@pytest.mark.parametrize(
    ("found", "put"), [('"bad"', "tru"), ('"bad"', '"b'), ("},", ","), ('"bad"', "9" * 5_000), ('"bad"', "[" * 2_000)]
)
def test_one_bad_document_over_several_lines_spoils_only_itself(
    tmp_path: Path, indent: int, in_array: bool, found: str, put: str
) -> None:
    if indent == 0 and found == "},":
        pytest.skip("nothing says where such a document ends")
    documents = [json.dumps({"o": {"a": "bad"}, "number": number}, indent=indent) for number in range(5)]
    documents[2] = documents[2].replace(found, put + "]" * put.count("["), 1)
    text = (",\n" if in_array else "\n").join(documents)
    if in_array:
        text = "[\n" + "\n".join(" " * indent + line for line in text.splitlines()) + "\n]"
    path = tmp_path / "saved.json"
    path.write_text(text)
    numbers, report = read(path)
    expected = [0, 1, 2, 3, 4] if put.isdigit() else [0, 1, 3, 4]
    assert (numbers, report.broken, report.failures) == (expected, 5 - len(expected), ())
    if report.broken and "[" not in put:  # the reader may be able to hold those
        first = 2 * len(documents[0].splitlines()) + in_array + 1
        assert f"{path}, document 3: line {first}: " in report.examples[0]


def test_elements_that_are_no_documents_are_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text('[{"number": 0}, 7, "x", {"number": 3}]')
    found, report = read(path)
    assert (found, report.broken) == ([0, 3], 2)
    assert report.examples[0].startswith(f"{path}, document 2: ")


def test_a_text_is_read_in_pieces_and_a_document_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    many = [{"number": number, "text": "é" * 40_000} for number in range(40)]
    path.write_text(json.dumps(many, ensure_ascii=False))
    assert read(path)[0] == list(range(40))
    path.write_text('[{"number": 0}, {"number": "' + "x" * (MAX_LINE + 5_000_000) + '"}]')
    found, report = read(path)
    assert (found, report.oversized_examples) == ([0], (f"{path}, document 2",))


@pytest.mark.parametrize("text", ['{"id": "a", "hits": 3}\n{"id": "b"}\n', '{"took": 1}\n', "{\n" + '{"number": 1}\n'])
def test_lines_of_documents_stay_lines_of_documents(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text(text)
    with EventFiles([path]) as files:
        events = sum(map(len, files.batches(Columns([TIME]))))
    assert events == sum(one.startswith('{"') for one in text.splitlines())


@pytest.mark.parametrize(
    "head", [b'"@timestamp","host.name"', b"\xef\xbb\xbf@timestamp,_id,_index\r", b"_source\tmessage"]
)
def test_csv_is_refused_in_one_sentence(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(head + b'\n"Mar 1, 2026 @ 10:00:00.000","a"\n' * 100)
    numbers, report = read(path)
    assert (numbers, report.broken) == ([], 0)
    said = "it is CSV; expected NDJSON, a JSON array or a saved answer of Elasticsearch; Kibana's inspector"
    assert report.unread[0].startswith(f"{path}: cannot be read: {said}")
