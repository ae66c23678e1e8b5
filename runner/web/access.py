"""Who may look at the pages and change something: the token, its sessions, the names of this place."""

from __future__ import annotations

import hmac
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

WebMode = Literal["off", "read-only", "full"]
_SESSION: Final = timedelta(hours=12)
"""How long a session lasts that is not used."""
_MOST_SESSIONS: Final = 500
_MOST_FLASHES: Final = 20
_LONGEST_HOST: Final = 255


@dataclass(frozen=True, slots=True)
class WebAccess:
    """What the pages allow, and to whom."""

    mode: WebMode
    token: str = ""
    """Without one everybody who reaches the port may read; only for `read-only` at a loopback address."""
    hosts: frozenset[str] = frozenset()
    """Names, in lower case and without a port, that a request may be addressed to, beside IP addresses."""
    is_https: bool = False
    """Whether browsers reach the pages by https alone, so that the cookie may be kept to it."""

    @property
    def may_change(self) -> bool:
        return self.mode == "full"

    def opens(self, token: str) -> bool:
        """Whether this is the token; how long that takes says nothing about it."""
        return bool(self.token) and hmac.compare_digest(token.encode(), self.token.encode())

    def answers_to(self, host: str) -> bool:
        """Whether a request with this `Host` is meant for this place.

        A page of somebody else that has its name point here (DNS rebinding) cannot use an address for a name.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if not name or len(host) > _LONGEST_HOST:
            return False
        return is_address(name) or name in self.hosts


def is_address(name: str) -> bool:
    """Whether this is an IP address rather than a name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    return is_address(host) and ip_address(host).is_loopback


def own_names(listen_host: str, public_url: str | None) -> frozenset[str]:
    """The names that the pages answer to."""
    names = {"localhost", listen_host, socket.gethostname()}
    if public_url is not None:
        names.add(urlsplit(public_url).hostname or "")
    return frozenset(name.lower() for name in names if name)


@dataclass(slots=True)
class WebSession:
    """What is known of one browser that has signed in."""

    csrf: str
    used: datetime
    analyst: str = ""
    """The name given when signing in; "" for the one of the settings."""
    flashes: list[tuple[str, str]] = field(default_factory=list)
    """(kind, text) to be shown on the next page."""

    def flash(self, kind: Literal["done", "failed"], text: str) -> None:
        """Show this on the next page."""
        self.flashes = [*self.flashes, (kind, text)][-_MOST_FLASHES:]

    def take_flashes(self) -> list[tuple[str, str]]:
        taken, self.flashes = self.flashes, []
        return taken


class Sessions:
    """The sessions of all browsers, a bounded number: the one that was not used for longest goes first."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._by_id: OrderedDict[str, WebSession] = OrderedDict()

    def find(self, id_: str) -> WebSession | None:
        """The session with this id, if it has not expired."""
        found = self._by_id.get(id_)
        if found is None:
            return None
        now = self._now()
        if now - found.used > _SESSION:
            del self._by_id[id_]
            return None
        found.used = now
        self._by_id.move_to_end(id_)
        return found

    def begin(self, analyst: str = "") -> tuple[str, WebSession]:
        """A new session with its id."""
        id_ = secrets.token_urlsafe(32)
        made = WebSession(secrets.token_urlsafe(32), self._now(), analyst)
        self._by_id[id_] = made
        while len(self._by_id) > _MOST_SESSIONS:
            self._by_id.popitem(last=False)
        return id_, made

    def end(self, id_: str) -> None:
        self._by_id.pop(id_, None)
