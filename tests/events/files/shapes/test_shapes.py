"""Shapes of files that people have: bodies and answers of requests, archives, encodings, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.columns.batch import Columns
from runner.events.files.event_files import EventFiles, ReadReport
from runner.events.files.shapes import archives
from runner.events.files.time_index import TimeIndex
from tests.events.files.test_event_files import TIME, line, read

DOCUMENTS: list[dict[str, Any]] = [json.loads(line(number)) for number in range(3)]
FIELDS = [{name: [value] for name, value in document.items()} for document in DOCUMENTS]
HITS = [{"_index": "logs", "_id": str(place), "_source": source} for place, source in enumerate(DOCUMENTS)]
HITS_OF_FIELDS = [{"_index": "logs", "_id": str(place), "fields": fields} for place, fields in enumerate(FIELDS)]
HIT = ("logs", "0", 0), ("logs", "1", 1), ("logs", "2", 2)
PLAIN = (None, None, 0), (None, None, 1), (None, None, 2)
SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}


def answer(hits: list[Any], total: object = None) -> dict[str, Any]:
    total = {"value": len(hits), "relation": "eq"} if total is None else total
    return {"took": 3, "timed_out": False, "_shards": SHARDS, "hits": {"total": total, "max_score": None, "hits": hits}}


def archived(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "value": value}


SHAPES: dict[str, tuple[Any, Any]] = {
    "an answer of several searches": ({"took": 3, "responses": [answer(HITS[:2]), answer([]), answer(HITS[2:])]}, HIT),
    "Kibana's inspector": ({"id": "F", "rawResponse": answer(HITS), "isPartial": False, "total": 1}, HIT),
    "a newer inspector": ({"isPartial": False, "isRunning": False, "rawResponse": answer(HITS)}, HIT),
    "an answer of Kibana's search": ({"result": {"id": "F", "rawResponse": answer(HITS)}}, HIT),
    "hits of fields": (answer(HITS_OF_FIELDS), HIT),
    "an array of hits of fields": (HITS_OF_FIELDS, HIT),
    "outputs of a pipeline test": ({"expected": [DOCUMENTS[0], None, *DOCUMENTS[1:]]}, PLAIN),
    "inputs of a pipeline test": ({"events": [None, *DOCUMENTS]}, PLAIN),
    "the hits of an answer alone": (answer(HITS)["hits"], HIT),
    "an array of answers": ([answer(HITS[:1]), answer(HITS[1:])], HIT),
    "an answer of a get": ({"docs": [{**hit, "found": True, "_version": 1} for hit in HITS]}, HIT),
    "a try of a pipeline": ({"docs": [{"doc": {**hit, "_ingest": {"timestamp": "x"}}} for hit in HITS]}, HIT),
    "a verbose try": (
        {"docs": [{"processor_results": [{"doc": HITS[1]}, {"status": "success", "doc": hit}]} for hit in HITS]},
        HIT,
    ),
}


def events_of(path: Path) -> tuple[tuple[tuple[str | None, str | None, int], ...], ReadReport]:
    """Index, id and number of each event, from the documents that are fetched again."""
    with EventFiles([path]) as files:
        found: list[int] = []
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
            found.extend(range(batch.base, batch.base + len(batch)))
        documents = [files.fetch(number) for number in found]
        report = files.report()
    return tuple(
        (document.get("_index"), document.get("_id"), document.get("_source", document)["number"])
        for document in documents
    ), report


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_its_documents_with_index_and_id(tmp_path: Path, name: str, indent: int | None) -> None:
    value, expected = SHAPES[name]
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(value, indent=indent))
    found, report = events_of(path)
    assert found == expected
    assert (report.events, report.broken, report.untimed, report.warnings()) == (3, 0, 0, ())


ACTIONS = [{"index": {"_index": "logs", "_id": "0"}}, {"create": {"_id": "1", "_index": "logs"}}, {"index": {}}]


@pytest.mark.parametrize("request_line", ["", "POST _bulk\n", "PUT /logs/_bulk?refresh\n"])
@pytest.mark.parametrize("separator", ["\n", "\r\n", "\n\n"])
def test_lines_of_actions_are_no_events(tmp_path: Path, separator: str, request_line: str) -> None:
    lines: list[Any] = [part for pair in zip(ACTIONS, DOCUMENTS, strict=True) for part in pair]
    lines[2:2] = [{"delete": {"_index": "logs", "_id": "9"}}]
    update = {"_index": "logs", "_id": "7"}
    lines += [{"update": update}, {"doc": {**DOCUMENTS[0], "number": 7}, "doc_as_upsert": True}]
    lines += [{"update": update}, {"script": {"source": "x"}}]
    path = tmp_path / "bulk.ndjson"
    path.write_text(request_line + separator.join(map(json.dumps, lines)) + separator)
    found, report = events_of(path)
    assert found == (("logs", "0", 0), ("logs", "1", 1), (None, None, 2), ("logs", "7", 7))
    assert report.notes == (
        f"{path}: 1 `delete` actions hold no event",
        f"{path}: 1 `update` actions without a document hold no event",
    )


def test_documents_with_a_key_like_an_action_stay_documents(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    texts = [f'{{"index": {{"name": "x"}}, "number": {number}}}' for number in range(2)]
    path.write_text("\n".join([*texts, '{"number": 2, "fields": {"env": "a"}}', '{"number": 3, "events": [{"a": 1}]}']))
    assert read(path)[0] == [0, 1, 2, 3]


@pytest.mark.parametrize("indent", [None, 2])
def test_records_of_es_archiver_are_documents_or_no_events(tmp_path: Path, indent: int | None) -> None:
    records = [
        archived("index", {"aliases": {}, "index": "logs", "mappings": {"properties": {}}, "settings": {}}),
        *(archived("doc", {"id": hit["_id"], "index": "logs", "source": hit["_source"]}) for hit in HITS[:2]),
        archived("doc", {"id": "2", "data_stream": "logs", "index": ".ds-logs-000001", "source": DOCUMENTS[2]}),
    ]
    path = tmp_path / "data.json.gz"
    path.write_bytes(gzip.compress("\n\n".join(json.dumps(record, indent=indent) for record in records).encode()))
    found, report = events_of(path)
    assert found == HIT
    assert report.notes == (f"{path}: 1 `index` records of es_archiver hold no event",)


def test_lines_of_hits_of_fields_are_hits(tmp_path: Path) -> None:
    path = tmp_path / "hits.ndjson"
    path.write_text("\n".join(map(json.dumps, HITS_OF_FIELDS)))
    assert events_of(path)[0] == HIT


@given(
    separators=st.lists(st.sampled_from(["", " ", ",", ", ", "\n", ",\n"]), min_size=2, max_size=5),
    text=st.text(max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_documents_one_behind_the_other_are_read(
    tmp_path_factory: pytest.TempPathFactory, separators: list[str], text: str
) -> None:
    path = tmp_path_factory.mktemp("read") / "events.json"
    documents = [json.dumps({"number": number, "text": text}) for number in range(len(separators) + 1)]
    separators[0] = separators[0].replace("\n", "")
    path.write_text("".join(map("".join, zip(documents, [*separators, ""], strict=True))))
    numbers, report = read(path)
    assert numbers == list(range(len(documents)))
    assert report.broken == 0


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{**answer(HITS), "timed_out": True}], "an answer's search timed out"),
        ([{**answer(HITS), "_shards": {"total": 3, "failed": 2}}], "an answer lacks 2 of 3 shards"),
        ([{"is_partial": True, "hits": {"total": {"value": 3}, "events": HITS}}], "an answer is partial"),
        (
            [
                {
                    "took": 1,
                    "responses": [answer(HITS), {"error": {"type": "x", "reason": "no such index"}, "status": 404}],
                }
            ],
            "one of its answers is an error: no such index",
        ),
    ],
)
def test_an_answer_that_is_not_whole_says_so(tmp_path: Path, answers: list[Any], said: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text("\n".join(map(json.dumps, answers)))
    found, report = events_of(path)
    assert found == HIT
    assert report.failures == (f"{path}: could not be read to its end: {said}",)
    assert not report.is_whole


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([answer(HITS, {"value": 10_000, "relation": "gte"})], "3 of 10,000 or more"),
        ([answer(HITS, 7)], "3 of 7"),
        ([answer(HITS[:2], 4), answer(HITS[2:], 4)], "3 of 4"),  # pages of one search
        ([{"responses": [answer(HITS[:2], 2), answer(HITS[2:], 4)]}], "3 of 6"),
    ],
)
def test_hits_that_were_not_saved_are_counted(tmp_path: Path, values: list[Any], held: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text("\n".join(map(json.dumps, values)))
    found, report = events_of(path)
    assert (found, report.is_whole) == (HIT, True)
    assert report.notes == (f"{path}: it holds {held} hits of its search: search again with a larger `size` for all",)


ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("shape", ["lines", "array", "printed"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str, shape: str) -> None:
    documents = [{**document, "text": "é\u20ac😀"} for document in DOCUMENTS]
    text = {
        "lines": "\r\n".join(json.dumps(document, ensure_ascii=False) for document in documents),
        "array": json.dumps(documents, ensure_ascii=False),
        "printed": "\n".join(json.dumps(document, ensure_ascii=False, indent=1) for document in documents),
    }[shape]
    path = tmp_path / "events.json"
    path.write_bytes(text.encode(encoding))
    found, report = events_of(path)
    assert (found, report.warnings()) == (PLAIN, ())


def test_a_broken_line_of_utf_16_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes('{"number": 0}\n{"number": tru}\n{"number": 2}\n'.encode("utf-16"))
    numbers, report = read(path)
    assert (numbers, report.broken) == ([0, 2], 1)
    assert report.examples[0].startswith(f"{path}, document 2: line 2: not JSON")


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressed_files_are_read_whatever_their_name(tmp_path: Path, kind: str) -> None:
    text = b"".join(line(number) + b"\n" for number in range(5_000))
    path = tmp_path / "events.ndjson"
    path.write_bytes(COMPRESS[kind](text[:100_000]) + COMPRESS[kind](text[100_000:]))
    assert read(path)[0] == list(range(5_000))
    whole = COMPRESS[kind](text)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    numbers, report = read(path)
    assert numbers == list(range(len(numbers)))
    assert f"{path}: could not be read to its end" in report.warnings()[0]


def test_a_header_of_xz_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson.xz"
    much = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}]
    small = lzma.compress(line(0) * 100, filters=[{**much[0], "dict_size": 1 << 20}])
    # The byte of the dictionary's size, and the checksum of the header that it is in.
    header = bytearray(small[12:24])
    header[header.index(b"\x21\x01") + 2] = 34
    header[8:] = zlib_crc(bytes(header[:8]))
    path.write_bytes(small[:12] + bytes(header) + small[24:])
    numbers, report = read(path)
    assert numbers == []
    assert "memory" in report.failures[0].lower()


def zlib_crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def tar_of(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.ndjson")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


PACKED: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "tar": tar_of,
    "GNU tar": lambda members: tar_of(members, tarfile.GNU_FORMAT),
    "old tar": lambda members: tar_of(members, tarfile.USTAR_FORMAT),
    "tar.gz": lambda members: gzip.compress(tar_of(members)),
    "tar.xz": lambda members: lzma.compress(tar_of(members)),
    "tar.bz2": lambda members: bz2.compress(tar_of(members)),
    "two tars": lambda members: b"".join(tar_of({name: content}) for name, content in members.items()),
    "zip": zip_of,
    "stored zip": lambda members: zip_of(members, zipfile.ZIP_STORED),
    "lzma zip": lambda members: zip_of(members, zipfile.ZIP_LZMA),
    "bzip2 zip": lambda members: zip_of(members, zipfile.ZIP_BZIP2),
    "zip in a zip": lambda members: zip_of({"inner.zip": zip_of(members)}),
}


@pytest.mark.parametrize("kind", PACKED)
def test_event_files_in_archives_are_read_with_their_places(tmp_path: Path, kind: str) -> None:
    members = {
        "README.md": b"# no events",
        "../logs/a.ndjson": line(0) + b"\nbroken\n" + line(1),
        "logs/" + "deep/" * 18 + "b.json": json.dumps([DOCUMENTS[2]], indent=1).encode(),
        "empty.ndjson": b"",
        "c.ndjson.gz": gzip.compress(line(3) + b"\n"),
        "__MACOSX/._a.ndjson": b"\0\0",
        "Security.evtx": b"ElfFile\0",
        "d.ndjson": line(4) + b"\n",
    }
    path = tmp_path / "events.bin"
    path.write_bytes(PACKED[kind](members))
    numbers, report = read(path)
    assert (numbers, report.broken, report.failures) == ([0, 1, 2, 3, 4], 1, ())
    inner = "inner.zip/" * (kind == "zip in a zip")
    assert report.examples[0].startswith(f"{path}, document 2: {inner}../logs/a.ndjson:2: not JSON")
    assert report.left_out == (f"{path}: {inner}Security.evtx",)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_an_archive_without_event_files_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"events.{kind}"
    path.write_bytes(PACKED[kind]({"notes.txt": b"x", "events": b"y"}))
    _, report = read(path)
    word = kind[:3]
    assert report.unread[0].startswith(
        f"{path}: cannot be read: it is a {word} archive without an event file, with notes.txt and the like; files are"
    )
    numbers, report = read(tmp_path)  # in a folder it is one of those that are left out
    assert (numbers, report.unread, report.left_out) == ([], (), (str(path),))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_of_a_damaged_archive_what_can_be_read_is_read(tmp_path: Path, kind: str) -> None:
    members = {f"{place}.ndjson": b"".join(line(number) + b"\n" for number in range(3_000)) for place in range(3)}
    whole = PACKED[kind](members)
    path = tmp_path / "events.bin"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    numbers, report = read(path)
    assert f"{path}: could not be read to its end: " in report.failures[0]
    assert kind == "zip" or len(numbers) > 3_000  # the table of contents of a zip archive is at its end
    if kind == "zip":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + b"\0" * 50 + whole[middle + 50 :])
        numbers, report = read(path)
        assert len(numbers) >= 6_000
        assert "1.ndjson" in report.failures[0]


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a.ndjson": line(0), "b.ndjson": line(1)}, zipfile.ZIP_STORED))
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    content[6] |= 1
    path = tmp_path / "events.zip"
    path.write_bytes(content)
    numbers, report = read(path)
    assert numbers == [1]
    assert "a.ndjson: it is encrypted" in report.failures[0]


def bomb(kind: str) -> bytes:
    blank = b'{"number": 0}\n' + b'{"number": 1, "x": "%s"}\n' % (b"x" * 1_000_000) * 30
    if kind == "array":
        return gzip.compress(b"[" + blank.replace(b"}\n{", b"},\n{") + b"]")
    return PACKED[kind]({"a.ndjson": blank, "b.ndjson": blank})


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "zip in a zip", "array"])
def test_what_unpacks_to_much_more_is_bounded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_LEAST_ROOM", 10 << 20)
    path = tmp_path / "events.bin"
    path.write_bytes(bomb(kind))
    numbers, report = read(path)
    assert len(numbers) < 30
    assert "it unpacks to over 250 times its size" in report.failures[0]


def test_archives_within_archives_have_a_limit(tmp_path: Path) -> None:
    content = zip_of({"a.ndjson": line(0)})
    for _ in range(5):
        content = zip_of({"next.zip": content})
    path = tmp_path / "events.zip"
    path.write_bytes(content)
    assert "an archive within 3 others" in read(path)[1].failures[0]


def test_a_header_of_tar_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    path = tmp_path / "events.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    assert "a header of over 1 MiB" in read(path)[1].failures[0]


@pytest.mark.parametrize(
    ("start", "said", "cure"),
    [
        (b"ElfFile\0" + b"\0" * 100, "a Windows event log (EVTX)", "evtx_dump -o jsonl"),
        (b"PAR1\x15\x04", "Parquet", "duckdb"),
        (b"Obj\x01\x04", "Avro", "avro-tools"),
        (b"%PDF-1.7\n", "a PDF document", "export"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive", "unpack"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive", "unpack"),
        (b"\x04\x22\x4d\x18d@", "compressed with lz4", "lz4 -d"),
        (b"SQLite format 3\0", "a SQLite database", "--state"),
        (b"\xd4\xc3\xb2\xa1\2\0", "a network capture (pcap)", "zeek -r"),
        (b"LPKSHHRH", "a journal of systemd", "journalctl"),
        (b"<!DOCTYPE html><html>", "a page of HTML", "fetch"),
        (b'<?xml version="1.0"?><Events>', "XML", "evtx_dump"),
        ("<Events><Event xmlns=".encode("utf-16"), "XML", "evtx_dump"),
        (b"#separator \\x09\n", "a log of Zeek", "use_json"),
        (b"type=SYSCALL msg=audit(1772359200.1:1): arch=c000003e\n", "the audit log of Linux", "Auditbeat"),
        (b"Mar  1 10:00:00 fw CEF:0|Vendor|Product|1|100|x|5|src=10.0.0.1\n", "CEF or LEEF", "decode_cef"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS", "git lfs pull"),
        (b"@timestamp,host.name\n1,2\n", "CSV", "mlr --icsv --ojsonl"),
        (b'"@timestamp","host name"\r\n"1","2"\r\n', "CSV", "inspector"),
        (b'{"took": 3, "errors": false, "items": [{"index": {"_id": "1"}}]}', "the answer to a _bulk request", "body"),
        (b'{"took": 1, "columns": [{"name": "a", "type": "long"}], "values": [[1]]}', "an answer of ES|QL", "_search"),
        (b'{"columns": [{"name": "a", "type": "long"}], "rows": [[1]]}', "an answer of ES|QL or SQL", "_search"),
        (
            b'{"error": {"root_cause": [], "type": "x", "reason": "no such index"}, "status": 404}',
            "an error that Elasticsearch answered (no such index)",
            "search again",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_not_read_is_named_with_a_cure(
    tmp_path: Path, start: bytes, said: str, cure: str, packed: bool
) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(gzip.compress(start) if packed else start)
    numbers, report = read(path)
    assert (numbers, report.broken, len(report.unread)) == ([], 0, 1)
    assert f"{path}: cannot be read: it is {said}" in report.unread[0]
    assert cure in report.unread[0]


def test_a_member_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.zip"
    path.write_bytes(zip_of({"a.json": b"%PDF-1.7\n", "b.json": line(0)}))
    numbers, report = read(path)
    assert numbers == [0]
    assert f"{path}: could not be read to its end: a.json: it is a PDF document" in report.failures[0]


def test_an_archive_of_a_live_folder_is_unpacked_once_for_each_state(tmp_path: Path) -> None:
    path = tmp_path / "events.zip"
    path.write_bytes(zip_of({"a.ndjson": line(0)}))
    os.utime(path, (0, 0))
    index = TimeIndex()
    counts = []
    for _ in range(2):
        with EventFiles([tmp_path], index=index, modified_after=2e9) as files:
            counts.append(sum(map(len, files.batches(Columns([TIME])))))
    assert counts == [1, 0]
    with EventFiles([tmp_path], index=index, modified_after=1e9) as files:
        assert sum(map(len, files.batches(Columns([TIME])))) == 1


def test_a_list_of_another_name_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "trail.json"
    path.write_text(json.dumps({"Records": DOCUMENTS}))
    with EventFiles([path]) as files:
        assert sum(map(len, files.batches(Columns([TIME])))) == 1
        (note,) = files.report().notes
    assert (
        note.startswith(f"{path}: its only document holds a list in `Records`: ") and "jq -c '.Records[]' FILE" in note
    )


def test_several_documents_in_a_later_line_are_a_broken_line_with_a_cure(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    lines = [line(number).decode() for number in range(3_000)]
    lines[2_000] += lines[2_000]
    path.write_text("\n".join(lines))
    numbers, report = read(path)
    assert (len(numbers), report.broken) == (2_999, 1)
    assert report.examples[0] == (
        f"{path}:2001: not JSON: several documents in one line; `jq -c .` writes each on its own"
    )
