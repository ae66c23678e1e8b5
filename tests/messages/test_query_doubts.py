"""The language of a text by its marks, characters that look like others, and brackets that nothing closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.messages.foreign_queries import foreign_hint, language_of
from runner.messages.query_doubts import lost_backslashes, text_doubts, unclosed_bracket

LANGUAGES = [
    ('process where process.name : "nc*"', "EQL"),
    ("// why\n/* and how */ sequence by host.id\n  [process where true] [network where true]", "EQL"),
    ("SEQUENCE WITH maxspan=1m [any WHERE true]", "EQL"),
    ("FROM logs-* metadata _id | where a == 1", "ES|QL"),
    ("row a = 1", "ES|QL"),
    ("select name from processes where pid = 4", "SQL"),
    ("WITH x AS (select 1) SELECT 2", "SQL"),
    ("index=win EventCode=4688 | stats count by host", "SPL of Splunk"),
    ("| tstats count where index=main", "SPL of Splunk"),
    ("DeviceProcessEvents\n| where FileName == 'nc'", "Kusto, the KQL of Microsoft"),
    ("title: x\nlogsource:\n  product: linux\ndetection:\n  selection:\n", "a Sigma rule"),
    ('{"bool": {"filter": []}}', "Query DSL"),
    ("process.name : nc and not user.name : (root or bin)", "KQL"),
    ("destination.port >= 1024", "KQL"),
    ("process.name:nc AND destination.port:[1 TO 5]", "Lucene's syntax"),
    ("+process.name:nc -user.name:root", "Lucene's syntax"),
    ("process.args:/ba?sh/ && user.name:root", "Lucene's syntax"),
    ("process.name:nc", "KQL or Lucene's syntax"),
    ("process.executable:/usr/bin/nc", "KQL or Lucene's syntax"),
    ("powershell", ""),
    ("", ""),
]
DOUBTS = [
    ("kuery", "any where true", "any where true", "this looks like EQL, not KQL"),
    ("kuery", " from logs-* | where a == 1 ", "from logs-* | where a == 1", "this looks like ES|QL, not KQL"),
    ("kuery", "port:[1 TO 5]", "port:[1 TO 5]", "this looks like Lucene's syntax, not KQL"),
    ("kuery", "name:\u201cnc\u201d", "\u201c", "this is a typographic quote (U+201C)"),
    ("kuery", 'name:"\u201cnc\u201d"', "", ""),
    ("lucene", "name:nc and user:root", "name:nc and user:root", "this looks like KQL, not Lucene's syntax"),
    ("lucene", "name:nc\u200b", "\u200b", "this is a character that is not seen (U+200B): delete it"),
    ("eql", 'any where name == "net\u00a0user"', "\u00a0", "this is a blank that is no plain one (U+00A0)"),
    ("esql", "from a | where b == 1", "", ""),
    ("kuery", "name:nc and user:root", "", ""),
    ("lucene", "name:nc AND user:root", "", ""),
]


@pytest.mark.parametrize(("text", "language"), LANGUAGES)
def test_the_language_of_a_text(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(("language", "text", "place", "message"), DOUBTS)
def test_what_is_doubtful_though_it_can_be_read(language: str, text: str, place: str, message: str) -> None:
    found = list(text_doubts(text, language))
    assert [text[one.span.start : one.span.end] for one in found] == ([place] if place else [])
    assert all(one.text.startswith(message) for one in found)


def test_a_condition_alone_gets_its_category() -> None:
    hint = "; a query begins with a category of events: [process where ...], or [any where ...] for all of them"
    assert foreign_hint('process.name == "nc" and process.pid > 4', "EQL") == hint
    assert foreign_hint('wildcard(process.name, "nc*")', "EQL") == hint


@pytest.mark.parametrize(
    ("text", "place"),
    [("(a:b", 0), ("(a:b) and (c", 10), ('a:"(" or b:(c', 11), (r"a:\( or (b", 8), ("a:{b:(c)", 2), ("(a)", None)],
)
def test_the_bracket_that_nothing_closes(text: str, place: int | None) -> None:
    found = unclosed_bracket(text, len(text))
    assert (None if found is None else found.span.start) == place


@pytest.mark.parametrize(
    ("language", "text", "message"),
    [
        ("eql", r'any where path == "C:\temp\x"', "EQL reads `\\t` as a tab; a backslash is written as two"),
        ("eql", r'any where path == "C:\\temp\\x"', ""),
        ("eql", r'any where path == """C:\temp\x"""', ""),
        ("eql", r'any where text == "a\tb"', ""),
        ("kuery", r'path: "C:\new\x"', "KQL reads `\\n` as a line end; a backslash is written as two"),
        ("kuery", r'path: "C:\\new\\x"', ""),
        ("lucene", r'path: "C:\new\x"', ""),
    ],
)
def test_backslashes_of_paths(language: str, text: str, message: str) -> None:
    assert [one.text for one in lost_backslashes(text, language)] == ([message] if message else [])


@given(st.text(alphabet='ab:=()[]{}"|/\\*<>& \n\u201c\u00a0', max_size=60))
def test_any_text_is_looked_at(text: str) -> None:
    for language in ("eql", "kuery", "lucene", "esql"):
        for finding in text_doubts(text, language):
            assert 0 <= finding.span.start < finding.span.end <= len(text)
    unclosed_bracket(text, len(text))
