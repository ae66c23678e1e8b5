"""What `check` doubts in a query in ES|QL."""

from __future__ import annotations

import pytest

from runner import esql

KEPT = " | keep _id, _index, _version"
HEAD = "from a metadata _id, _index, _version | where "


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from a | where x == 1 | keep x", "needs `METADATA _id, _index, _version` behind FROM"),
        ("from a metadata _id | where x == 1 | keep x", "the answer has no `_id`"),
        (f'{HEAD}event.category == "process"{KEPT}', "`event.category` often holds several values"),
        (f'{HEAD}x == 1 and event.type not in ("start", "end"){KEPT}', "`event.type` often holds several values"),
        (f"{HEAD}x == 1 | eval y = URL_DECODE(z){KEPT}", "URL_DECODE is of Elasticsearch 9"),
        (f"{HEAD}x == 1 | inline stats c = count(*) by z{KEPT}", "INLINE STATS is of Elasticsearch 9"),
        (f'{HEAD}x == 1 | completion p with {{"inference_id": "m"}}{KEPT}', "COMPLETION needs a language model"),
        (f"{HEAD}x == 1 | limit 5{KEPT}", "which rows LIMIT leaves"),
    ],
)
def test_what_is_doubted(query: str, said: str) -> None:
    (finding,) = esql.doubts(esql.parse(query))
    assert said in finding.text


@pytest.mark.parametrize(
    "query",
    [
        f"{HEAD}x == 1{KEPT}",
        f'{HEAD}kql("event.category: process and event.type: start"){KEPT}',
        f'{HEAD}event.category : "process" and mv_first(event.type) == "start"{KEPT}',
        f'{HEAD}event.category is not null | mv_expand event.type | where event.type == "start"{KEPT}',
        f'from logs-endpoint.events.process-* metadata _id, _index, _version | where event.type == "start"{KEPT}',
        f"{HEAD}x == 1 | sort y | limit 5{KEPT}",
        'from a | where m == "event.category == 1 | limit 5" | stats c = count(*) by x',
    ],
)
def test_what_is_not(query: str) -> None:
    assert list(esql.doubts(esql.parse(query))) == []
