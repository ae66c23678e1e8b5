"""Rules of type new_terms in a cluster: no term is lost, however many there are and whatever lists bring them."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, open_client
from runner.search.cluster.cluster_search import ClusterSearch
from runner.search.cluster.new_terms.new_terms_search import NewTermsSearch
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import NOON, fill, process, request, results, rule, save_hits

LONG_AGO = -2 * 86_400.0
WIDE = Window(NOON - timedelta(days=3), NOON + timedelta(minutes=9))


def terms_rule(*fields: str, query: str = "*", **more: Any) -> Any:
    given = {"type": "new_terms", "language": "kuery", "new_terms_fields": fields, "history_window_start": "now-7d"}
    return rule(query, **given | {"from": "now-9m", "rule_id": f"{query} {fields}"} | more)


def found_terms(result: SearchResult) -> list[tuple[str, tuple[Any, ...]]]:
    assert result.error is None
    return sorted((match.hits[0].id, match.join_keys) for match in result.matches)


async def answer(proxy: Proxy, asked: Any, *, page: int = 10_000, **more: Any) -> SearchResult:
    client = open_client(Connection(hosts=(proxy.url,)))
    try:
        (found,) = await results(NewTermsSearch(client, page=page), request(asked, **more))
    finally:
        await client.close()
    return found


@pytest.mark.parametrize("page", [10_000, 2])
async def test_lists_make_every_combination_and_lose_none(plain_proxy: Proxy, namespace: str, page: int) -> None:
    letters = list("abcdefghij")
    events = [
        process(LONG_AGO, "a", **{"user.name": letters}),
        process(1, "x", **{"process.name": ["a", "k"], "user.name": ["a", "b", "z"]}),
        process(2, "k", **{"user.name": "z"}),
        process(3, "l"),
    ]
    fill(plain_proxy.url, f"{namespace}-logs", events)
    asked = terms_rule("process.name", "user.name", index=(f"{namespace}-logs",))
    found = await answer(plain_proxy, asked, page=page)
    new = [("1", term) for term in product(("a", "k"), ("a", "b", "z")) if term not in (("a", "a"), ("a", "b"))]
    assert found_terms(found) == sorted(new)
    assert [len(match.others) for match in found.matches if match.join_keys == ("k", "z")] == [1]
    single = await answer(plain_proxy, terms_rule("process.name", index=(f"{namespace}-logs",)), page=page)
    assert found_terms(single) == [("1", ("k",)), ("3", ("l",))]


async def test_values_of_every_type_are_told_as_files_tell_them(
    plain_proxy: Proxy, namespace: str, tmp_path: Any
) -> None:
    events = [
        process(LONG_AGO, "a", **{"process.pid": 1, "source.ip": "::1"}),
        process(1, "a", **{"process.pid": 1, "source.ip": "203.0.113.7"}),
        process(2, "a", **{"process.pid": [2, 3], "source.ip": "::1"}),
    ]
    fill(plain_proxy.url, f"{namespace}-logs", events)
    save_hits(plain_proxy.url, f"{namespace}-logs", tmp_path / "hits.ndjson")
    expected = {
        "process.pid": [("2", (2,)), ("2", (3,))],
        "source.ip": [("1", ("203.0.113.7",))],
    }
    for field, terms in expected.items():
        asked = terms_rule(field, index=(f"{namespace}-logs",))
        files = FileSearch([tmp_path])
        await files.prepare([compiled(asked)])
        (local,) = await results(files, request(asked))
        assert found_terms(await answer(plain_proxy, asked)) == found_terms(local) == terms
        await files.close()


async def test_a_long_window_is_that_of_all_runs_in_it(plain_proxy: Proxy, namespace: str, tmp_path: Any) -> None:
    hours = (-70, -69.5, -60, -40, -39, -5, 0)
    events = [process(3_600.0 * hour, "a" if place % 3 else "b") for place, hour in enumerate(hours)]
    fill(plain_proxy.url, f"{namespace}-logs", events)
    save_hits(plain_proxy.url, f"{namespace}-logs", tmp_path / "hits.ndjson")
    asked = terms_rule("process.name", index=(f"{namespace}-logs",), history_window_start="now-1d")
    files = FileSearch([tmp_path])
    await files.prepare([compiled(asked)])
    (local,) = await results(files, request(asked, window=WIDE))
    whole = await answer(plain_proxy, asked, window=WIDE)
    assert found_terms(whole) == found_terms(local) == [
        ("0", ("b",)), ("1", ("a",)), ("3", ("b",)), ("5", ("a",)), ("6", ("b",)),
    ]  # fmt: skip
    await files.close()


async def test_more_than_the_size_are_left_and_told(plain_proxy: Proxy, namespace: str) -> None:
    fill(plain_proxy.url, f"{namespace}-logs", [process(60 - number, f"p{number}") for number in range(50)])
    asked = terms_rule("process.name", index=(f"{namespace}-logs",))
    found = await answer(plain_proxy, asked, page=7, size=25)
    assert ([match.hits[0].id for match in found.matches], found.exhausted) == (
        [str(number) for number in range(49, 24, -1)],
        False,
    )


async def test_what_cannot_be_asked_is_the_error_of_that_rule(plain_proxy: Proxy, namespace: str) -> None:
    index = (f"{namespace}-logs",)
    fill(plain_proxy.url, index[0], [process(1, "a", **{"message": "a b"})])
    client = open_client(Connection(hosts=(plain_proxy.url,)))
    rules = [
        terms_rule("message", index=index),
        terms_rule("process.name", index=index, query="process.pid: seven"),
        terms_rule("no.field", index=index),
        terms_rule("process.name", index=("nothing-there",), rule_id="nowhere"),
        terms_rule("process.name", index=index),
    ]
    found = {one.request.rule.rule_id: one for one in await results(ClusterSearch(client), *map(request, rules))}
    text, pid, missing, nowhere, fine = (found[one.rule_id] for one in rules)
    await client.close()
    assert text.error is not None and "message" in text.error
    assert pid.error is not None and 'cannot read ["seven"] as a value of field [process.pid]' in pid.error
    assert (missing.error, list(missing.matches), nowhere.blind) == (None, [], True)
    assert found_terms(fine) == [("0", ("a",))]
