"""The tables of new-terms rules, asked of each of the stores."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from runner.search.term_store import TermRecord
from runner.store.protocol import Stores
from tests.store.test_contract import store as store


def record(key: str, table: bytes = b"\x00table\xff") -> TermRecord:
    return TermRecord(key, "rule-1", "of this query", table)


async def test_tables_are_read_back_equal(store: Stores) -> None:
    terms = store.ledgers.terms
    assert await terms.read_terms(["a", "b"]) == {}
    assert await terms.replace_terms([]) == {}
    written = await terms.replace_terms([record("a"), record("b", bytes(range(256)) * 900)])
    assert written.keys() == {"a", "b"} and None not in written.values()
    assert await terms.read_terms(["a", "b", "c"]) == written


async def test_only_what_was_read_is_replaced(store: Stores) -> None:
    terms = store.ledgers.terms
    (first,) = (await terms.replace_terms([record("a")])).values()
    assert first is not None
    assert await terms.replace_terms([record("a", b"other")]) == {"a": None}
    outcome = await terms.replace_terms([replace(first, table=b"second"), record("b")])
    assert {key: one is not None for key, one in outcome.items()} == {"a": True, "b": True}
    assert await terms.replace_terms([replace(first, table=b"late")]) == {"a": None}
    assert (await terms.read_terms(["a"]))["a"].table == b"second"


async def test_of_writers_at_once_each_adds_or_knows_that_it_did_not(store: Stores) -> None:
    terms = store.ledgers.terms
    await terms.replace_terms([record("a", b"")])

    async def add(letter: bytes) -> None:
        while True:
            one = (await terms.read_terms(["a"]))["a"]
            if (await terms.replace_terms([replace(one, table=one.table + letter)]))["a"] is not None:
                return

    await asyncio.gather(*(add(letter.encode()) for letter in "abcdef"))
    assert bytes(sorted((await terms.read_terms(["a"]))["a"].table)) == b"abcdef"
