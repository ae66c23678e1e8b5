"""What a file is by its first bytes: its encoding, an archive, or something that is not read, with the cure."""

from __future__ import annotations

import codecs
import re
import tarfile
from typing import Literal

Archive = Literal["zip", "tar"]

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF_16 = (
    (re.compile(rb"[\[{][\0][\t\n\r \"{\[][\0]"), "utf-16-le"),
    (re.compile(rb"\0[\[{]\0[\t\n\r \"{\[]"), "utf-16-be"),
)
_HEADER = re.compile(r'(?:"[\w@. -]+"|[\w@.-]+)(?:[,;\t](?:"[\w@. -]+"|[\w@.-]+))+')
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_READ = "expected NDJSON, a JSON array or a saved answer of Elasticsearch"
_UNPACK = "unpack it, and name what is in it"

_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (
        b"ElfFile\0",
        "a Windows event log (EVTX)",
        "`evtx_dump -o jsonl FILE > events.ndjson` makes documents of it, with fields such as Event.System.EventID; "
        "rules ask for ECS fields: Winlogbeat, which reads a file that `winlogbeat.event_logs` names, and its "
        "pipelines for Security and Sysmon make those",
    ),
    (
        b"\x30\0\0\0LfLe",
        "a Windows event log of before Vista (EVT)",
        "`wevtutil epl FILE new.evtx /lf:true` makes EVTX of it",
    ),
    (b"PAR1", "Parquet", "`duckdb -c \"COPY (FROM 'FILE') TO 'events.ndjson' (FORMAT json)\"` makes lines of it"),
    (b"Obj\x01", "Avro", "`avro-tools tojson FILE > events.ndjson` makes lines of it"),
    (b"ORC", "ORC", "`orc-contents FILE > events.ndjson` makes lines of it"),
    (b"ARROW1", "an Arrow file", "write it as NDJSON"),
    (b"SQLite format 3\0", "a SQLite database", "a state file of rule-runner is named by --state"),
    (b"\xd4\xc3\xb2\xa1", "a network capture (pcap)", "`zeek -r FILE LogAscii::use_json=T` makes logs of it"),
    (b"\xa1\xb2\xc3\xd4", "a network capture (pcap)", "`zeek -r FILE LogAscii::use_json=T` makes logs of it"),
    (b"\x0a\x0d\x0d\x0a", "a network capture (pcapng)", "`zeek -r FILE LogAscii::use_json=T` makes logs of it"),
    (b"LPKSHHRH", "a journal of systemd", "`journalctl --file FILE --output json > journal.ndjson` makes lines of it"),
    (b"%PDF-", "a PDF document", "export the events themselves"),
    (b"\x7fELF", "a program", "name files with events"),
    (b"MZ", "a program of Windows", "name files with events"),
    (b"\xd0\xcf\x11\xe0", "a document of an office program", "export the events themselves"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"!<arch>\n", "an ar archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "`lz4 -d FILE` unpacks it"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed with snappy", "unpack it first"),
    (b"\x1f\x9d", "compressed with compress (.Z)", "`uncompress FILE` unpacks it"),
    (b"\x5d\x00\x00", "compressed in the old format of lzma", "`xz -d FILE` unpacks it"),
    (b"\x89LZO", "compressed with lzop", "`lzop -d FILE` unpacks it"),
)
_TEXTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"version https://git-lfs\."), "a pointer of Git LFS", "`git lfs pull` fetches the file itself"),
    (re.compile(r"#separator\b"), "a log of Zeek in its own format", "`LogAscii::use_json=T` has Zeek write JSON"),
    (re.compile(r"<(?:!doctype html|html)\b", re.I), "a page of HTML, perhaps one to sign in", "fetch the file again"),
    (
        re.compile(r"<(?:\?xml\b|Events?\b|!--)", re.I),
        "XML",
        "an event log is better exported as .evtx, which `evtx_dump -o jsonl FILE` makes documents of",
    ),
    (
        re.compile(r"type=[A-Z_]+ msg=audit\("),
        "the audit log of Linux as text",
        "Auditbeat, Auditd Manager or laurel make documents of it",
    ),
    (
        re.compile(r"[^\n|{]{0,200}?\b(?:CEF:\d|LEEF:[\d.]+)\|"),
        "CEF or LEEF",
        "Filebeat's `decode_cef` makes documents of it",
    ),
)
_ERROR = re.compile(r'\{\s*"error"\s*:\s*(?:\{|"(?P<text>[^"]{1,500})").*?"status"\s*:\s*\d+', re.DOTALL)
_REASON = re.compile(r'"reason"\s*:\s*"(?P<text>(?:[^"\\]|\\.){1,500})"')
_COLUMNS = re.compile(r'\{[^\[\]{}]{0,500}"(?:all_)?columns"\s*:\s*\[\s*\{\s*"name"\s*:')
_BULK_ANSWER = re.compile(r'\{\s*"(?:errors|took)"\s*:\s*\w+\s*,\s*(?:"\w+"\s*:\s*\w+\s*,\s*)*"items"\s*:\s*\[')


def encoding_of(start: bytes) -> str:
    """The name of Python's codec for a text with this start.

    >>> encoding_of(b'{"a": 1}'), encoding_of('{"a": 1}'.encode("utf-16")), encoding_of('{"a": 1}'.encode("utf-16-be"))
    ('utf-8-sig', 'utf-16', 'utf-16-be')
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name
    return next((name for pattern, name in _UTF_16 if pattern.match(start)), "utf-8-sig")


def decoded(start: bytes) -> str:
    """The text of a file's first bytes, which may end within a character."""
    decoder = codecs.getincrementaldecoder(encoding_of(start))(errors="replace")
    return decoder.decode(start)


def archive_of(start: bytes) -> Archive | None:
    """Which archive begins with these bytes."""
    if start.startswith(_ZIP):
        return "zip"
    if len(start) < tarfile.BLOCKSIZE or start[:1] in (b"{", b"["):
        return None
    try:
        tarfile.TarInfo.frombuf(start[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return "tar"


def refusal(start: bytes) -> str | None:
    """Why a file with these first bytes is not read: what it is, and what makes events of it; None if nothing is known.

    >>> refusal(b'PAR1...')[:14], refusal(b'{"a": 1}')
    ('it is Parquet;', None)
    """
    for magic, name, cure in _BINARY:
        if start.startswith(magic):
            return f"it is {name}; {cure}"
    text = decoded(start).lstrip("\ufeff \t\r\n")
    for pattern, name, cure in _TEXTS:
        if pattern.match(text):
            return f"it is {name}; {cure}"
    line, line_break, _ = text.partition("\n")
    if line_break and _HEADER.fullmatch(line.strip()):
        return (
            f"it is CSV; {_READ}; Kibana's inspector shows the answer of a search, which is read as it is saved, and "
            "`mlr --icsv --ojsonl cat FILE` makes documents of rows"
        )
    if _BULK_ANSWER.match(text):
        return "it is the answer to a _bulk request, which holds no documents; the body of the request has them"
    if _COLUMNS.match(text):
        return "it is an answer of ES|QL or SQL, which has columns, not documents; ask for the events with `_search`"
    if found := _ERROR.match(text):
        reason = _REASON.search(found[0])
        said = found["text"] or (reason["text"] if reason else "")
        return f"it is an error that Elasticsearch answered ({said}); search again, and save the answer"
    return None
