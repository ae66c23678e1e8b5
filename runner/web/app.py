"""The application of the pages: what is at which address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from typing import Final

import structlog
from aiohttp import web

from runner.errors import RunnerError
from runner.store.alert_filter import AlertFilter
from runner.store.overview import OverviewRequest
from runner.web.actions import change_alerts, except_page, make_exception
from runner.web.alert_pages import alert_page, alerts_page, around_page, document_page
from runner.web.guard import LARGEST_BODY, admitted, limited, set_cookie, without_server
from runner.web.host_page import host_page
from runner.web.parts import PARTS, WebParts, own_address, page, session_of
from runner.web.rule_pages import coverage_page, health_page, navigator_file, rule_page, rules_page

_LOG = structlog.get_logger("runner.web")
_STATIC: Final = {"web.css": "text/css", "web.js": "text/javascript", "icon.svg": "image/svg+xml"}
_LINE: Final = 8_190
"""Bytes of the request line and of a header field."""


def web_app(parts: WebParts) -> web.Application:
    """The application. Middlewares from the outside in: limits and headers, then who may do what."""
    app = web.Application(middlewares=[limited(), admitted], client_max_size=LARGEST_BODY)
    app[PARTS] = parts
    app.on_response_prepare.append(without_server)
    app.router.add_get("/", _home)
    app.router.add_get("/static/{name}", _static)
    app.router.add_get("/login", _login_page)
    app.router.add_post("/login", _login)
    app.router.add_post("/logout", _logout)
    app.router.add_get("/alerts", alerts_page)
    app.router.add_post("/alerts", change_alerts)
    app.router.add_get("/alerts/{id}", alert_page)
    app.router.add_get("/alerts/{id}/around", around_page)
    app.router.add_get("/alerts/{id}/document", document_page)
    app.router.add_get("/alerts/{id}/except", except_page)
    app.router.add_post("/alerts/{id}/except", make_exception)
    app.router.add_get("/host", host_page)
    app.router.add_get("/rules", rules_page)
    app.router.add_get("/rules/{id}", rule_page)
    app.router.add_get("/coverage", coverage_page)
    app.router.add_get("/coverage/navigator.json", navigator_file)
    app.router.add_get("/health", health_page)
    return app


@asynccontextmanager
async def web_pages(
    opened: AbstractAsyncContextManager[WebParts],
) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    """The pages as a factory of protocols, one for each connection, on the running loop; closed at the end."""
    async with opened as parts, asyncio.TaskGroup() as beside:
        # A first look at a large file takes seconds: it is taken before somebody waits for it.
        looking = beside.create_task(_look(parts))
        runner = web.AppRunner(
            web_app(parts), access_log=None, handle_signals=False, max_line_size=_LINE, max_field_size=_LINE
        )
        await runner.setup()
        try:
            assert runner.server is not None
            yield runner.server
        finally:
            looking.cancel()
            await runner.cleanup()


async def _look(parts: WebParts) -> None:
    try:
        await parts.stores.alerts.overview(OverviewRequest(AlertFilter(), 0, 0, 0))
    except RunnerError as error:  # every page that needs them says so, too
        _LOG.warning(f"the alerts cannot be read yet: {parts.cleaned(str(error))}")


async def _home(request: web.Request) -> web.Response:
    raise web.HTTPFound("/alerts")


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in _STATIC:
        raise web.HTTPNotFound
    body = files("runner.web").joinpath("static", name).read_bytes()
    return web.Response(body=body, content_type=_STATIC[name], charset="utf-8")


async def _login_page(request: web.Request) -> web.Response:
    """The form to sign in; with the token in the address, as it is printed at the start, that is done at once."""
    token = request.query.get("token", "")
    if session_of(request) is not None or not request.app[PARTS].access.token:
        raise web.HTTPSeeOther(own_address(request.query.get("next", "")))
    if token:
        return _signed_in(request, token, "", own_address(request.query.get("next", "")))
    return page(request, "login.html", problem="", next=own_address(request.query.get("next", "")))


async def _login(request: web.Request) -> web.Response:
    form = await request.post()
    token, analyst, next_ = (str(form.get(name, "")) for name in ("token", "analyst", "next"))
    return _signed_in(request, token.strip(), analyst.strip(), own_address(next_))


def _signed_in(request: web.Request, token: str, analyst: str, next_: str) -> web.Response:
    """The way to the pages, for whoever has the token."""
    parts = request.app[PARTS]
    problem = ""
    if not parts.access.opens(token):
        problem = "this is not the token"
    elif len(analyst) > 200 or not analyst.isprintable():
        problem = "expected a name of up to 200 printable characters"
    if problem:
        return page(request, "login.html", status=403, problem=problem, next=next_)
    id_, _ = parts.sessions.begin(analyst)
    answer = web.Response(status=303, headers={"Location": next_})
    set_cookie(request, answer, id_)
    return answer


async def _logout(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    parts.sessions.end(request.cookies.get(parts.cookie, ""))
    answer = web.Response(status=303, headers={"Location": "/login"})
    answer.del_cookie(parts.cookie, path="/")
    return answer
