"""The pages as the settings want them: who may sign in, what they work with, and how to reach them."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from runner.cli.console import say
from runner.cli.locations import alerts_place, heartbeat_path
from runner.cli.lookup_wiring import completed_view, event_paths, opened_lookup
from runner.cli.wiring import opened_stores, status_places
from runner.clock import SystemClock
from runner.errors import SettingsError
from runner.search.lookup.event_lookup import EventLookup
from runner.settings.settings import Settings
from runner.store.protocol import Stores
from runner.telemetry.health import HealthReport
from runner.telemetry.http_server import Pages, split_address
from runner.telemetry.logs import Redactor
from runner.web.access import Sessions, WebAccess, is_loopback, own_names
from runner.web.app import web_pages
from runner.web.parts import WebParts

_LOG = structlog.get_logger("runner.web")
_LONGEST_TOKEN: Final = 4_096


@dataclass(slots=True)
class WebPages:
    """The pages of the settings. Implements `ServedPages`."""

    settings: Settings
    access: WebAccess
    token_file: Path | None
    """The file that a token was made in, as none was set."""
    readiness: Callable[[], HealthReport] | None = None
    show_token: bool = False
    """Whether the address to sign in with is printed, as for a person at a terminal."""
    port: int = field(default=0, init=False)

    @property
    def opening(self) -> AbstractAsyncContextManager[Pages]:
        return web_pages(self._parts())

    def say_where(self, port: int) -> None:
        host = (split_address(self.settings.listen) or ("", 0))[0]
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        base = self.settings.public_url or f"http://{shown}:{port}"
        kind = "read-only pages" if not self.access.may_change else "pages"
        if not self.access.token:
            _LOG.info(f"{kind} for a browser at {base}/")
        elif self.token_file is None:
            _LOG.info(f"{kind} for a browser at {base}/; sign in with the token of RUNNER_WEB_TOKEN")
        elif self.show_token:
            say(f"open {base}/login?token={self.access.token}")
        else:
            _LOG.info(f"{kind} for a browser at {base}/; sign in with the token in {self.token_file}")

    @asynccontextmanager
    async def _parts(self) -> AsyncIterator[WebParts]:
        settings, clock = self.settings, SystemClock()
        async with AsyncExitStack() as opened:
            stores = await opened.enter_async_context(opened_stores(settings, writable=True))
            yield WebParts(
                settings=settings,
                stores=stores,
                access=self.access,
                sessions=Sessions(clock.now),
                places=status_places(settings),
                now=clock.now,
                cookie=f"rule_runner_{(split_address(settings.listen) or ('', 0))[1]}",
                place=alerts_place(settings),
                view=partial(completed_view, settings, stores),
                lookup=partial(_lookup, settings, stores),
                readiness=self.readiness,
                cleaned=Redactor((*settings.secrets(), self.access.token)).text,
            )


def pages_of(settings: Settings, *, readiness: Callable[[], HealthReport] | None = None) -> WebPages | None:
    """The pages that the settings want; None for none. Raises SettingsError."""
    address = split_address(settings.listen)
    if settings.web == "off" or address is None:
        return None
    host = address[0]
    token, file = "", None
    if settings.web_token is not None:
        token = settings.web_token.get_secret_value()
    elif settings.web == "full" or not is_loopback(host):
        file = heartbeat_path(settings).with_suffix(".web-token")
        token = kept_token(file)
    names = own_names(host, settings.public_url)
    is_https = (settings.public_url or "").startswith("https:")
    access = WebAccess(settings.web, token, names, is_https)
    return WebPages(settings, access, file, readiness, show_token=sys.stderr.isatty())


def kept_token(file: Path) -> str:
    """The token in a file that this user alone can read; made if it is not there. Raises SettingsError."""
    try:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return _read_token(file)
        with os.fdopen(handle, "w", encoding="ascii") as made:
            token = secrets.token_urlsafe(32)
            made.write(token + "\n")
            return token
    except OSError as error:
        raise SettingsError(
            f"{file}: the token of the pages cannot be kept there: {error.strerror or error}; "
            "set RUNNER_WEB_TOKEN_FILE, or RUNNER_WEB=off"
        ) from None


def _read_token(file: Path) -> str:
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, encoding="utf-8", errors="replace") as kept:
        state = os.fstat(handle)
        is_ours = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o077
        token = kept.read(_LONGEST_TOKEN).strip() if is_ours else ""
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"{file}: expected a token that this user alone can read; remove the file, set RUNNER_WEB_TOKEN_FILE, "
            "or set RUNNER_WEB=off"
        )
    return token


@asynccontextmanager
async def _lookup(settings: Settings, stores: Stores, alert: Mapping[str, Any]) -> AsyncIterator[EventLookup | None]:
    """The look-up of events for an alert, in the files or the cluster that its events are in."""
    async with opened_lookup(settings, await event_paths(settings, stores, alert), alert) as lookup:
        yield lookup
