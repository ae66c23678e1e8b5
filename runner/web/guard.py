"""What every request has to pass, and what every answer carries: host, session, origin, limits, security headers."""

from __future__ import annotations

import asyncio
import hmac
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_exceptions import HTTPException

from runner.errors import RunnerError, SettingsError
from runner.web.access import WebSession
from runner.web.parts import PARTS, page, session_of

_LOG = structlog.get_logger("runner.web")
SECONDS: Final = 30.0
"""Time for one request, with that to read its body."""
LARGEST_BODY: Final = 256 * 1024
_AT_ONCE: Final = 4
"""Pages that are made at a time; others wait for them."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_OPEN: Final = ("/login", "/static/")
"""Paths that are answered without a session: those that are needed to sign in."""


def limited() -> Middleware:
    """A middleware that bounds time and how many pages are made at once, and adds the headers to every answer."""
    slots = asyncio.Semaphore(_AT_ONCE)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(SECONDS):
                if request.path.startswith("/static/"):
                    answer = await handler(request)
                else:
                    async with slots:
                        answer = await _answered(request, handler)
        except TimeoutError:
            text = f"this took longer than {SECONDS:g} s; try again, or narrow what is asked for"
            answer = page(request, "problem.html", status=HTTPStatus.SERVICE_UNAVAILABLE, text=text)
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.force_close()
        return answer

    return middleware


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            return web.Response(status=error.status, headers={"Location": error.headers.get("Location", "/")})
        return page(request, "problem.html", status=error.status, text=error.text or error.reason)
    except SettingsError as error:
        return page(request, "problem.html", status=HTTPStatus.BAD_REQUEST, text=str(error))
    except RunnerError as error:
        text = request.app[PARTS].cleaned(str(error))
        return page(request, "problem.html", status=HTTPStatus.SERVICE_UNAVAILABLE, text=text)
    except Exception:  # noqa: BLE001 - one page that cannot be made ends neither the server nor the service
        _LOG.exception("a page could not be made", path=request.path)
        text = "this page could not be made; the log has the reason"
        return page(request, "problem.html", status=HTTPStatus.INTERNAL_SERVER_ERROR, text=text)


@web.middleware
async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware that lets a request through which is meant for this place, from somebody who may make it."""
    parts = request.app[PARTS]
    if not parts.access.answers_to(request.headers.get("Host", "")):
        text = "this name is not one of this place; RUNNER_PUBLIC_URL says by which the pages are reached"
        return web.Response(status=HTTPStatus.MISDIRECTED_REQUEST, text=f"{text}\n")
    if request.path.startswith("/static/"):
        return await handler(request)
    session = session_of(request)
    if parts.access.token and session is None and not request.path.startswith(_OPEN):
        if request.method in ("GET", "HEAD"):
            raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs, safe='')}")
        raise web.HTTPForbidden(text="sign in again: this session has ended")
    if request.method not in ("GET", "HEAD"):
        await _check_change(request, session)
    return await handler(request)


async def _check_change(request: web.Request, session: WebSession | None) -> None:
    """Raise an error unless the request comes from a form of ours."""
    if not _is_same_origin(request):
        raise web.HTTPForbidden(text="this request comes from another page")
    if request.path == "/login":
        return
    if not request.app[PARTS].access.may_change and request.path != "/logout":
        raise web.HTTPForbidden(text="these pages are read-only (RUNNER_WEB=read-only)")
    given = (await request.post()).get("csrf", "")
    expected = session.csrf if session is not None else ""
    if not isinstance(given, str) or not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise web.HTTPForbidden(text="this form is not of this session: open the page again")


def _is_same_origin(request: web.Request) -> bool:
    """Whether the browser says that a page of this place has sent the request; a client that says nothing is none."""
    site, origin = request.headers.get("Sec-Fetch-Site", ""), request.headers.get("Origin", "")
    if site and site not in ("same-origin", "none"):
        return False
    if origin and origin != "null":  # null: our pages ask for no referrer
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    return origin != "null" or site == "same-origin"


async def without_server(request: web.Request, answer: web.StreamResponse) -> None:
    """Leave out of an answer which software made it."""
    answer.headers.popall("Server", None)


def set_cookie(request: web.Request, answer: web.StreamResponse, id_: str) -> None:
    """Let the browser keep the id of its session."""
    parts = request.app[PARTS]
    answer.set_cookie(parts.cookie, id_, httponly=True, samesite="Strict", secure=parts.access.is_https, path="/")
