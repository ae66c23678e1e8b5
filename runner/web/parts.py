"""What all pages work with, and the answer that a page is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from runner import __version__
from runner.analyst.ledger_status import StatusPlaces
from runner.search.lookup.event_lookup import EventLookup
from runner.selection import SelectedRules
from runner.settings.settings import Settings
from runner.store.protocol import StoredAlert, Stores
from runner.telemetry.health import HealthReport
from runner.triage.triage import TriageView
from runner.web.access import Sessions, WebAccess, WebSession
from runner.web.rendering import render

NAVIGATION: Final = (
    ("Alerts", "/alerts"),
    ("Rules", "/rules"),
    ("Coverage", "/coverage"),
    ("Health", "/health"),
)


class ViewMaker(Protocol):
    """Makes the view of an alert, with what is looked up beside it if that is wanted."""

    async def __call__(self, head: StoredAlert, blocks: Sequence[StoredAlert], *, lookup: bool) -> TriageView: ...


Lookups = Callable[[Mapping[str, Any]], AbstractAsyncContextManager[EventLookup | None]]


@dataclass(slots=True)
class WebParts:
    """Everything that the pages work with."""

    settings: Settings
    stores: Stores
    access: WebAccess
    sessions: Sessions
    places: StatusPlaces
    now: Callable[[], datetime]
    cookie: str
    """The name of the session's cookie."""
    place: str
    """Where the alerts are, as text."""
    view: ViewMaker
    """Makes the view of an alert."""
    lookup: Lookups
    """Opens the look-up of events for an alert's document; None where no events can be looked up."""
    readiness: Callable[[], HealthReport] | None = None
    """The health of the service in this process, if it is one."""
    cleaned: Callable[[str], str] = field(default=lambda text: text)
    """The text with secrets masked."""
    selected: SelectedRules | None = None
    """The rules as they were last read."""


PARTS: Final = web.AppKey("parts", WebParts)


def page(request: web.Request, template: str, /, *, status: int = 200, **values: Any) -> web.Response:
    """The answer with a page made of a template."""
    parts = request.app[PARTS]
    session = session_of(request)
    signed_in = session is not None or not parts.access.token
    body = render(
        template,
        navigation=NAVIGATION if signed_in else (),
        path=request.path,
        version=__version__,
        place=parts.place,
        may_change=parts.access.may_change and signed_in,
        has_token=bool(parts.access.token) and signed_in,
        csrf=session.csrf if session is not None else "",
        flashes=session.take_flashes() if session is not None else [],
        **values,
    )
    return web.Response(status=status, text=body, content_type="text/html", charset="utf-8")


def session_of(request: web.Request) -> WebSession | None:
    """The session that the browser's cookie names; None without one, or if it has ended."""
    parts = request.app[PARTS]
    return parts.sessions.find(request.cookies.get(parts.cookie, ""))


def signed_session(request: web.Request) -> WebSession:
    """The session of who has signed in. Raises HTTPForbidden."""
    session = session_of(request)
    if session is None:
        raise web.HTTPForbidden(text="sign in again: this session has ended")
    return session


def own_address(text: str) -> str:
    """The address if it is one of a page of ours, else that of the alerts: nobody is sent elsewhere."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return NAVIGATION[0][1]
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return text if is_ours and text.isprintable() and "\\" not in text else NAVIGATION[0][1]
