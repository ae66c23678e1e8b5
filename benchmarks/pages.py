"""How long the pages take over many alerts: `python benchmarks/pages.py [--alerts N]`.

The first page of all alerts, the same with filters, and a search for a text, as the server makes them of an SQLite
file: the query and the HTML, without the network. Beside each time stands its ratio to what the same numbers cost when
every document is looked into, as a store without columns has to. Exits with 1 if the first page takes more than 200 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from runner.alerts.alert import Alert
from runner.cli.lookup_wiring import completed_view, opened_lookup
from runner.cli.wiring import status_places
from runner.settings.settings import load_settings
from runner.store.overview import OverviewRequest, overview_of
from runner.store.protocol import AlertFilter, Stores
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.web.access import Sessions, WebAccess
from runner.web.app import web_app
from runner.web.parts import WebParts
from runner.windows import iso

LIMIT_MS = 200.0
START = datetime(2026, 3, 1, tzinfo=UTC)
SEVERITIES = ("low", "low", "low", "medium", "medium", "high", "critical")
PAGES = {
    "first page": "/alerts",
    "page 400": "/alerts?page=400",
    "open, high, of a host": "/alerts?status=open&severity=high&host=host-17",
    "of a user": "/alerts?user=user-3",
    "of two hours": "/alerts?from=2026-03-02T10:00:00Z&to=2026-03-02T12:00:00Z",
    "grouped by rule": "/alerts?group=rule",
    "with a text": "/alerts?text=argument-77",
}


def alerts(count: int) -> list[Alert]:
    """Alerts of 300 rules, 200 hosts and 50 users over a week, each of a few kilobytes."""
    made = []
    for number in range(count):
        moment = iso(START + timedelta(days=7) * (number / count))
        id_ = f"{number:064x}"
        document = {
            "@timestamp": moment,
            "kibana.alert.uuid": id_,
            "kibana.alert.original_time": moment,
            "kibana.alert.severity": SEVERITIES[number % len(SEVERITIES)],
            "kibana.alert.risk_score": 47,
            "kibana.alert.workflow_status": "closed" if number % 3 == 0 else "open",
            "kibana.alert.rule.rule_id": f"rule-{number % 300}",
            "kibana.alert.rule.name": f"Rule number {number % 300}",
            "kibana.alert.rule.tags": ["OS: Linux", "Tactic: Execution"],
            "kibana.alert.rule.parameters": {"query": "process where true " * 20},
            "kibana.alert.rule.note": "Look at the parent. " * 60,
            "kibana.alert.reason": f"process event on host-{number % 200} created an alert",
            "host": {"name": f"host-{number % 200}", "id": f"h{number % 200}", "os": {"full": "Ubuntu 24.04"}},
            "user": {"name": f"user-{number % 50}", "id": str(number % 50)},
            "process": {"name": "bash", "args": ["bash", "-c", f"argument-{number}"], "pid": number},
        }
        made.append(Alert(id_, f"rule-{number % 300}", "event", document))
    return made


async def best(action: Callable[[], Awaitable[object]], times: int) -> float:
    """The median of some runs, in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        await action()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


async def measure(count: int, folder: Path) -> float:
    """Print the times; returns that of the first page."""
    store = SqliteStore(folder / "state.db")
    made = alerts(count)
    for first in range(0, count, 5_000):
        await store.create(made[first : first + 5_000])
    started = time.perf_counter()
    await store.overview(OverviewRequest(AlertFilter(), 0, 0, 0))
    print(f"{count:,} alerts, {(folder / 'state.db').stat().st_size / 1e6:,.0f} MB; "
          f"the columns are made once in {time.perf_counter() - started:.1f} s")  # fmt: skip
    settings = load_settings({"state": str(folder / "state.db"), "rules": [str(folder)]}, environ={})
    parts = WebParts(
        settings=settings,
        stores=Stores(store, store, store, store, store),
        access=WebAccess("read-only"),
        sessions=Sessions(lambda: START),
        places=status_places(settings),
        now=lambda: START + timedelta(days=7),
        cookie="c",
        place="state.db",
        view=partial(completed_view, settings, Stores(store, store, store, store, store)),
        lookup=lambda alert: opened_lookup(settings, (), alert),
    )

    async def looked_into() -> object:
        return overview_of([alert async for alert in store.find(AlertFilter())], OverviewRequest(AlertFilter()))

    plain = await best(looked_into, 1)
    first_page = 0.0
    async with TestClient(TestServer(web_app(parts))) as client:

        async def page(address: str) -> None:
            answer = await client.get(address)
            assert answer.status == 200, await answer.text()
            await answer.read()

        for name, address in PAGES.items():
            taken = await best(lambda address=address: page(address), 7)  # type: ignore[misc]
            first_page = first_page or taken
            print(f"{name:24} {taken:8.1f} ms   1 : {plain / taken:,.0f}")
    print(f"{'every document read':24} {plain:8.1f} ms")
    await store.close()
    return first_page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--smoke", action="store_true", help="few alerts, to see that it works")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first_page = asyncio.run(measure(5_000 if options.smoke else options.alerts, Path(folder)))
    if first_page > LIMIT_MS:
        print(f"the first page takes more than {LIMIT_MS:g} ms", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
