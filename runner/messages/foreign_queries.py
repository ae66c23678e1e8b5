"""Queries in another language than the one expected: which it is by its marks, and the cure as the end of a message."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

QueryLanguage: TypeAlias = Literal["EQL", "KQL", "Lucene's syntax", "ES|QL"]
"""The languages that rules are written in."""

_READ = 5_000
"""Characters that are looked at, so that a huge text is refused as fast as a small one."""
_COMMENTS = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_EQL = re.compile(
    r"(?:sequence|sample)(?:\s+(?:by|with)\b|\s*!?\[)|(?:\"[^\"\n]*\"|[a-z_][\w-]*)\s+where\b", re.IGNORECASE
)
_ESQL = re.compile(r"(?:from|ts)\s+[^\s|=:][^|=:]*(?:\||\Z)|row\s+\w+\s*=|show\s+info\b", re.IGNORECASE)
_OTHERS = (
    ("SQL", re.compile(r"select\b.+?\bfrom\b|with\s+\w+\s+as\s*\(", re.IGNORECASE | re.DOTALL)),
    ("a Sigma rule", re.compile(r"(?s:.*?)^(?:detection|logsource)\s*:\s*$", re.MULTILINE)),
    ("Query DSL", re.compile(r"\{\s*\"")),
    (
        "Kusto, the KQL of Microsoft",
        re.compile(
            r"let\s+\w+\s*=|[A-Za-z]\w*\s*\|\s*(?:where|project|extend|summarize|take|join|distinct)\b", re.DOTALL
        ),
    ),
    (
        "SPL of Splunk",
        re.compile(
            r"(?:search\s+)?(?:index|sourcetype|eventtype)\s*=|\|\s*(?:tstats|inputlookup|from|search)\b"
            r"|[^|\[{]*?=[^|]*\|\s*(?:stats|table|eval|rex|dedup|timechart|transaction|fields|rename|search|where)\b"
        ),
    ),
)
_FIELD = r"(?:[\w@*-][\w.@*-]*|_exists_)"
_BY_FIELD = re.compile(rf"(?:\(|[+!-]|not\s+)*\s*{_FIELD}\s*:\s*\S", re.IGNORECASE)
_BY_RANGE = re.compile(rf"(?:\(|not\s+)*\s*{_FIELD}\s*(?:<=|>=|<|>)\s*[\w\"-]", re.IGNORECASE)
_LUCENE = re.compile(
    rf":\s*(?:[\[{{]\s*\S+\s+TO\s|/[^/\s]*[.*+?|(\[\\][^/\s]*/|[<>]=?)|_exists_:|&&|\|\||[\w\"](?:~[\d\s)]|\^\d)"
    rf"|(?:\A|[\s(])[+!-]{_FIELD}:"
)
_JOINED = re.compile(r"\s(?:and|or)\s|(?:\A|[\s(])not\s")
_KQL = re.compile(r":\s*\{|[\w.]\s*[<>]=?\s*[\w\"]")
_BARE_CONDITION = re.compile(
    rf"(?:\(|not\s+)*\s*\??{_FIELD}\s*(?:==?|!=|(?:in|like|regex)~?\s*\()|\w+~?\s*\([^)]*[,)]", re.IGNORECASE
)

_RULES = {
    "EQL": 'a rule in it has type = "eql" and language = "eql", a search --language eql',
    "KQL": 'a rule in it has type = "query" and language = "kuery", a search --language kuery',
    "Lucene's syntax": 'a rule in it has type = "query" and language = "lucene", a search --language lucene',
    "ES|QL": 'a rule in it has type = "esql" and language = "esql", and runs in a cluster',
    "KQL or Lucene's syntax": 'a rule in it has type = "query" and language = "kuery" or "lucene", '
    "a search --language kuery or lucene",
}
_EXAMPLES = {
    "EQL": 'EQL is written as in: process where process.name : "nc*" and destination.port > 1024',
    "KQL": 'KQL is written as in: process.name : "nc" and destination.port > 1024',
    "Lucene's syntax": "Lucene's syntax is written as in: process.name:nc* AND destination.port:[1024 TO *]",
    "ES|QL": 'ES|QL is written as in: FROM logs-* METADATA _id | WHERE process.name == "nc"',
}


def foreign_hint(text: str, expected: QueryLanguage) -> str:
    """The end of a message about a text that is none in the language expected; empty where nothing tells the language.

    >>> foreign_hint("SELECT a FROM b", "EQL")[:43]
    '; this looks like SQL, which no rule takes;'
    """
    found = language_of(text)
    if not found or found == expected or (expected in ("KQL", "Lucene's syntax") and found.startswith("KQL or")):
        if expected == "EQL" and not found and _BARE_CONDITION.match(_begun(text)):
            return "; a query begins with a category of events: [process where ...], or [any where ...] for all of them"
        return ""
    cure = _RULES.get(found)
    if cure is None:
        return f"; this looks like {found}, which no rule takes; {_EXAMPLES[expected]}"
    return f"; this looks like {found}, not {expected}: {cure}; {_EXAMPLES[expected]}"


def language_of(text: str) -> str:
    """The name of the language that a text is in by its marks; empty if they tell nothing.

    >>> language_of("process.name:nc AND destination.port:[1 TO 5]")
    "Lucene's syntax"
    """
    begun = _begun(text)
    if _EQL.match(begun):
        return "EQL"
    if _ESQL.match(begun):
        return "ES|QL"
    for name, marks in _OTHERS:
        if marks.match(begun):
            return name
    if not _BY_FIELD.match(begun) and not _BY_RANGE.match(begun):
        return ""
    outside = re.sub(r'"(?:\\.|[^"\\])*"', '""', begun)
    if _JOINED.search(outside):
        return "KQL"
    if _LUCENE.search(outside):
        return "Lucene's syntax"
    return "KQL" if _KQL.search(outside) else "KQL or Lucene's syntax"


def _begun(text: str) -> str:
    """The beginning of a text without comments before it."""
    comments = _COMMENTS.match(text[:_READ])
    return text[comments.end() if comments else 0 : _READ]
