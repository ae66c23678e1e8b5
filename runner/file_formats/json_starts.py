"""Whether the documents of a text are a line each, by how it starts."""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder

import orjson

from runner.file_formats.kinds import decoded, encoding_of
from runner.file_formats.records import is_record

START = 1 << 16
"""Bytes, or characters, of a start that are looked at."""
CUT = 16
"""Characters at the end of what has been read in which an error may be that of a value whose end is still to come."""
_ARRAY = re.compile(r"\[\s*(?:null\s*,\s*)*(?:\{|\]\s*\Z)")
_SPREAD = re.compile(r'\{[ \t\r]*\n\s*"')
_SEVERAL = re.compile(r"\}[ \t]*,?[ \t]*\{")
REQUEST = re.compile(r"(?:POST|PUT|GET) +/?\S*_bulk\S*[ \t\r]*\n")
"""The first line of a request as Kibana's console has it."""
_ANSWER = re.compile(
    r'\{\s*"(?:took|timed_out|_shards|hits|max_score|_scroll_id|pit_id|is_partial|is_running|id|response|num_reduce_phases'
    r"|_clusters|terminated_early|responses|rawResponse|isPartial|isRunning|isRestored|total|loaded|requestParams|result"
    r'|completion_status|start_time_in_millis|expiration_time_in_millis|completion_time_in_millis)"\s*:'
)
_HITS = re.compile(
    r'"hits"\s*:\s*\{\s*"(?:total|max_score|hits|events|sequences)"\s*:|"responses"\s*:\s*\[\s*[{\]]'
    r'|"hits"\s*:\s*\[\s*\{\s*"_(?:index|id)"\s*:'
)
_LIST = re.compile(r'\{\s*"(?:expected|events|docs)"\s*:\s*\[\s*(?:null\s*,\s*)*(?:\{|null\s*\]|\])')


def is_wrapped(start: bytes) -> bool:
    """Whether a text with this start has its events in an array, an answer or records, over several lines each, or
    several in a line; or in another encoding than UTF-8.

    >>> [is_wrapped(text) for text in (b'[{"a": 1},\\n {"a": 2}]', b'{"hits": {"hits": []}}', b'{\\n "a": 1}', b'{}{}')]
    [True, True, True, True]
    >>> [is_wrapped(text) for text in (b'{"a": 1}\\n{"a": 2}', b'[1]\\n{"a": 2}')]
    [False, False]
    """
    text = decoded(start).lstrip("\ufeff \t\r\n\0")
    if encoding_of(start) != "utf-8-sig" or REQUEST.match(text):
        return True
    line, _, other_lines = text.partition("\n")
    if _ARRAY.match(text):
        # A complete array in the first of several lines is a broken line of NDJSON.
        return not other_lines.strip() or not _is_json(line)
    if not text.startswith("{"):
        return False
    if _SPREAD.match(text) or is_envelope(text, 0) or is_record(line):
        return True
    if _SEVERAL.search(text) and any(map(_is_several, text.split("\n"))):
        return True
    return not _is_json(line) and _is_spread(text, len(line), is_cut=len(start) >= START)


def is_envelope(text: str, at: int) -> bool:
    """Whether the object that begins at a place has the events below some of its keys."""
    return is_answer(text, at) or _LIST.match(text, at) is not None


def is_answer(text: str, at: int) -> bool:
    """Whether the object that begins at a place is an answer of Elasticsearch or Kibana."""
    return _ANSWER.match(text, at) is not None and _HITS.search(text, at, at + START) is not None


def _is_several(line: str) -> bool:
    """Whether a line holds several documents."""
    for found in _SEVERAL.finditer(line):
        first = line[: found.start() + 1]
        if _is_json(first) and first.lstrip().startswith("{"):
            return True
    return False


def _is_spread(text: str, line_end: int, *, is_cut: bool) -> bool:
    """Whether the value at the start of a text goes on after the end of its first line."""
    try:
        _, end = SCANNER.raw_decode(text)
    except JSONDecodeError as error:
        return is_cut and line_end < len(text) and error.pos > len(text) - CUT
    except RecursionError:
        return False
    return end > line_end


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


SCANNER = JSONDecoder(strict=False, parse_int=bool, parse_float=bool)
"""Finds where a value ends; what it reads numbers as does not matter."""
