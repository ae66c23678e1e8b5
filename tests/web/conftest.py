"""The pages over an SQLite file with a few alerts, as a client of HTTP sees them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from runner.alerts.alert import Alert
from runner.cli.wiring import status_places
from runner.search.lookup.event_lookup import EventLookup
from runner.settings.settings import load_settings
from runner.store.overview import OverviewRequest
from runner.store.protocol import AlertFilter, StoredAlert, Stores
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.triage.triage import TriageView, triage
from runner.web.access import Sessions, WebAccess, own_names
from runner.web.app import web_app
from runner.web.parts import Lookups, WebParts
from tests.scenarios.timeline import rule_text
from tests.web.documents import NOW, event_alerts, sequence_alerts

TOKEN = "a-token-of-the-tests-1"


@dataclass
class Browser:
    """A client of the pages that keeps cookies."""

    client: TestClient[Any, Any]
    parts: WebParts
    store: SqliteStore

    async def get(self, address: str, status: int = 200, **more: Any) -> str:
        answer = await self.client.get(address, **more)
        text = await answer.text()
        assert answer.status == status, text
        return text

    async def sign_in(self) -> None:
        answer = await self.client.get(f"/login?token={TOKEN}", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/alerts")

    async def csrf(self, address: str = "/alerts") -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', await self.get(address))
        assert found is not None
        return found[1]

    async def post(self, address: str, **fields: Any) -> ClientResponse:
        """The answer to a form with the session's own token."""
        csrf = fields.pop("csrf", None) or await self.csrf()
        return await self.client.post(address, data={"csrf": csrf, **fields}, allow_redirects=False)

    async def statuses(self) -> dict[str, int]:
        found = await self.store.overview(OverviewRequest(AlertFilter()))
        return {one.value: one.alerts for one in found.counts["status"]}


Open = Callable[..., Awaitable[Browser]]


async def view(head: StoredAlert, blocks: Sequence[StoredAlert], *, lookup: bool) -> TriageView:
    return triage(head, blocks)


def looked_up(found: EventLookup | None) -> Lookups:
    @asynccontextmanager
    async def lookup(alert: Mapping[str, Any]) -> AsyncIterator[EventLookup | None]:
        yield found

    return lookup


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the pages over these alerts, signed in unless told otherwise."""
    opened: list[Browser] = []

    async def open_(
        *alerts: Alert,
        mode: Any = "full",
        token: str = TOKEN,
        lookup: EventLookup | None = None,
        signed_in: bool = True,
        **rules: dict[str, Any],
    ) -> Browser:
        folder = tmp_path / "rules"
        folder.mkdir(exist_ok=True)
        for name, fields in {"shell": dict[str, Any](), **rules}.items():
            (folder / f"{name}.toml").write_text(rule_text(name, {"query": "process where true", **fields}))
        store = SqliteStore(tmp_path / "state.db")
        await store.create(alerts or [*event_alerts(7), *sequence_alerts()])
        settings = load_settings(
            {"rules": [str(folder)], "state": str(tmp_path / "state.db"), "analyst": "kim"}, environ={}
        )
        parts = WebParts(
            settings=settings,
            stores=Stores(store, store, store, store, store),
            access=WebAccess(mode, token, own_names("127.0.0.1", None)),
            sessions=Sessions(lambda: NOW),
            places=status_places(settings),
            now=lambda: NOW,
            cookie="rule_runner_1",
            place="state.db",
            view=view,
            lookup=looked_up(lookup),
        )
        client = TestClient(TestServer(web_app(parts)))
        await client.start_server()
        made = Browser(client, parts, store)
        opened.append(made)
        if signed_in and token:
            await made.sign_in()
        return made

    yield open_
    for one in opened:
        await one.client.close()
        await one.store.close()
