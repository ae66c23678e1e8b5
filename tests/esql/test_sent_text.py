"""The text that is sent: a time for NOW() and nothing else changed, and places told back."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given

from runner.esql import EsqlError, sent_text
from runner.esql.sent_text import now_calls
from runner.esql.tokens import tokens_of
from runner.messages.text_positions import Source
from tests.esql.test_tokens import TEXTS
from tests.paths import ROOT

NOW = datetime(2026, 3, 2, 10, 5, tzinfo=UTC)
LITERAL = '"2026-03-02T10:05:00.000Z"::datetime'
CORPUS = ROOT.parent / "shared/corpus"


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("from a | where t > NOW() - 1h", f"from a | where t > {LITERAL} - 1h"),
        ("from a | where t > now  ( /* x */ )", f"from a | where t > {LITERAL}"),
        ('from a | where m == "NOW()" or n == """NOW()"""', 'from a | where m == "NOW()" or n == """NOW()"""'),
        ("from a // NOW()\n| keep `NOW()`", "from a // NOW()\n| keep `NOW()`"),
        ("from a /* NOW() /* */ NOW() */ | where x", "from a /* NOW() /* */ NOW() */ | where x"),
        ("from a | where known() and a.now() and now", "from a | where known() and a.now() and now"),
        ("from a | eval x = CASE(NOW()>t,Now(),null)", f"from a | eval x = CASE({LITERAL}>t,{LITERAL},null)"),
    ],
)
def test_only_calls_of_now_are_replaced(query: str, sent: str) -> None:
    assert sent_text(query, now=NOW).text == sent


def test_the_limit_stands_behind_a_comment() -> None:
    assert sent_text("from a // all", now=NOW, limit=101).text == "from a // all\n| LIMIT 101"


@given(TEXTS)
def test_what_is_no_call_stays_and_every_place_is_told_back(query: str) -> None:
    try:
        calls = now_calls(tokens_of(query))
    except EsqlError:
        return
    sent = sent_text(query, now=NOW, limit=5)
    kept, at = "", 0
    for span in calls:
        kept, at = kept + query[at : span.start] + LITERAL, span.end
    assert sent.text == kept + query[at:] + "\n| LIMIT 5"
    offset = 0
    for number, character in enumerate(query):
        if any(span.start <= number < span.end for span in calls):
            offset += len(LITERAL) if any(span.start == number for span in calls) else 0
            continue
        assert sent.text[offset] == character
        assert sent.place(*Source(sent.text).place(offset)) == Source(query).place(number)
        offset += 1


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the rule corpus is not beside the project")
def test_elastics_rules_are_sent_as_they_are_but_for_now() -> None:
    count = 0
    for path in sorted(CORPUS.glob("detection-rules*/**/*.toml")):
        rule = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("rule", {})
        if rule.get("type") == "esql":
            count += 1
            query = rule["query"]
            sent = sent_text(query, now=NOW).text
            assert sent.replace(LITERAL, "NOW()").lower() == query.replace("now()", "NOW()").lower()
    assert count > 100
