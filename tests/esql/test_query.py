"""A query in ES|QL as its commands: indices, what its rows are, and the columns that tell them apart."""

from __future__ import annotations

import pytest

from runner import esql
from runner.esql import EsqlError


@pytest.mark.parametrize(
    ("query", "indices"),
    [
        ("FROM logs-*", ("logs-*",)),
        (
            "from logs-a, logs-b* , .alerts-security.* metadata _id | keep a",
            ("logs-a", "logs-b*", ".alerts-security.*"),
        ),
        ('from "logs-a, logs-b", """logs-c""" METADATA _id', ("logs-a", "logs-b", "logs-c")),
        ("from berlin:logs-*,-logs-x [metadata _id]", ("berlin:logs-*", "-logs-x")),
        ("// from nothing\nfrom /* a, */ logs-<x>", ("logs-<x>",)),
    ],
)
def test_indices_of_from(query: str, indices: tuple[str, ...]) -> None:
    assert esql.parse(query).indices == esql.sources_of(query) == indices


@pytest.mark.parametrize(
    ("query", "documents", "window"),
    [
        ("from a metadata _id, _index, _version | where x == 1 | keep *", True, False),
        ("from a metadata _id | keep x", False, False),
        ("from a metadata _id | keep _*, x | drop _id", False, False),
        ("from a | where stats == 1", False, False),
        ("from a metadata _id | stats c = count(*) by x", False, True),
        ("from a metadata _id, _index | inline stats c = count(*) by x | where c > 1 | keep _id, x", True, True),
        ("from a metadata _id | where t > now() - 1h | keep *", True, True),
        ('from a metadata _id | where m == "now() | stats" // now() | stats', True, False),
        ("from a metadata _id | sort t | limit 5 | keep *", True, True),
    ],
)
def test_what_rows_are_and_whether_the_window_decides(query: str, documents: bool, window: bool) -> None:
    parsed = esql.parse(query)
    assert (parsed.makes_documents, parsed.depends_on_window) == (documents, window)


@pytest.mark.parametrize(
    ("query", "key", "drops"),
    [
        ("from a | stats c = count(*) by host.id, user.name | keep host.id, user.name, c", "host.id user.name", False),
        ("from a | stats c = count(*) by h = host.id | keep h*, c", "h", False),
        ("from a | stats c = count(*) by b = date_trunc(5 minutes, t), `odd name` | keep b, c", "b", True),
        ("from a | stats c = count(*) by bucket(t, 5 minutes), x", "bucket(t, 5 minutes) x", False),
        ("from a | stats c = count(*) by x | rename x as y | keep y", "y", False),
        ("from a | stats c = count(*) by x | rename y = x | drop y", "", True),
        ("from a | stats c = count(*) by x, y | stats d = count(*) by x", "x", False),
        ("from a | stats c = count(*) where p == 1, d = count(*) by x | keep c", "", True),
    ],
)
def test_the_key_of_a_row(query: str, key: str, drops: bool) -> None:
    parsed = esql.parse(query)
    assert " ".join(parsed.key_columns) == key
    assert parsed.drops_keys is drops


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "any where true",
            "line 1:1: the query does not begin with FROM: a rule searches indices, which FROM names; this looks like "
            'EQL, not ES|QL: a rule in it has type = "eql" and language = "eql", a search --language eql; ES|QL is '
            'written as in: FROM logs-* METADATA _id | WHERE process.name == "nc"',
        ),
        ("ROW a = 1", "line 1:1: the query begins with ROW: a rule searches indices, which FROM names"),
        ("from logs-* | | keep a", "line 1:13: a command is missing here, such as WHERE"),
        ("from metadata _id", "line 1:1: FROM names no index pattern"),
        ("", "line 1:1: a command is missing here, such as WHERE"),
    ],
)
def test_what_no_cluster_could_run(query: str, message: str) -> None:
    with pytest.raises(EsqlError) as caught:
        esql.parse(query)
    assert str(caught.value) == message


def test_the_events_of_an_aggregation() -> None:
    query = "from a, b\n| where x == 1 | stats c = count(*) by y | keep y"
    assert esql.parse(query).events_text == "from a, b METADATA _id, _index\n| where x == 1 "
    query = "from a metadata _index | keep x"
    assert esql.parse(query).events_text == "from a metadata _index, _id | keep x"


def test_columns_that_the_query_makes() -> None:
    parsed = esql.parse(
        'from a | eval Esql.x = 1, y = 2 | grok m "%{WORD:w}" | stats c = count(*) by z = k | rename c as n'
    )
    assert [name for name in ("Esql.x", "y", "w", "c", "z", "n", "k", "m") if parsed.computes(name)] == [
        "Esql.x", "y", "w", "c", "z", "n",
    ]  # fmt: skip


def test_columns_that_an_alert_shows() -> None:
    query = "from a metadata _id | eval x.y = 1 | stats Esql.c = count(*) by host.id | keep host.id, Esql.*, x.y, _id"
    assert esql.parse(query).column_names == ("host.id", "x.y", "Esql.c")
