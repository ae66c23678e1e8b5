"""`AppriseSink`: messages to people through apprise: mail, Slack, Teams, ntfy and a hundred more.

https://github.com/caronc/apprise/wiki has the addresses.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from runner.errors import SettingsError
from runner.messages.suggestions import did_you_mean
from runner.notify.message_text import message_text
from runner.notify.secret_text import shown_address
from runner.notify.sinks.aside import Aside, HangingError
from runner.notify.sinks.delivery import DELIVERED, Delivery
from runner.notify.target import NotificationTarget
from runner.notify.template import on_one_line
from runner.store.outbox import OutboxMessage
from runner.store.protocol import StoredAlert

_SAID: ContextVar[list[str] | None] = ContextVar("said", default=None)
"""Of the call that logs: apprise passes the context on to its threads."""
_INSTALL: Final = "it is not installed; install it with: pip install 'rule-runner[notify]'"


class AppriseSink:
    """Sends to one address of apprise. Raises SettingsError where apprise is missing or does not know the address."""

    def __init__(self, target: NotificationTarget) -> None:
        self._target = target
        self._aside = Aside(f"notify {target.name}")
        try:
            self._apprise: Any = importlib.import_module("apprise")
        except ImportError:
            raise SettingsError(f"target `{target.name}` of type apprise: {_INSTALL}") from None
        with _captured():
            is_known = self._apprise.Apprise().add(target.url)
        if not is_known:
            scheme = urlsplit(target.url).scheme
            services = self._apprise.Apprise().details()["schemas"]
            groups = (one[key] or () for one in services for key in ("protocols", "secure_protocols"))
            known = [name for names in groups for name in names]
            near = "" if scheme in known else did_you_mean(scheme, known)
            what = "an address that apprise cannot use" if scheme in known else f"no service of apprise: {scheme}://"
            raise SettingsError(f"target `{target.name}`: `url` is {what}{near}")

    async def send(self, message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        text = message_text(self._target, message, alerts)
        body = f"{text.body}\n\nid: {message.id}"
        limit, place = self._target.timeout.total_seconds(), shown_address(self._target.url)
        try:
            async with asyncio.timeout(limit):
                is_sent, said = await self._aside.run(lambda: self._notify(text.title, body))
        except TimeoutError:
            return Delivery(False, f"{place} did not answer within {limit:g} s")
        except HangingError as error:
            return Delivery(False, f"{place}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever one of a hundred services raises is a failed try
            return Delivery(False, f"{place}: {on_one_line(f'{type(error).__name__}: {error}')}")
        if is_sent:
            return DELIVERED
        return Delivery(False, f"{place}: {on_one_line('; '.join(said)) or 'apprise could not send it'}")

    async def close(self) -> None:
        """Nothing is open."""

    def _notify(self, title: str, body: str) -> tuple[bool, list[str]]:
        """Whether it was sent, and what apprise has said meanwhile."""
        with _captured() as said:
            sender = self._apprise.Apprise(asset=self._apprise.AppriseAsset(app_id="rule-runner"))
            sender.add(self._target.url)
            for service in sender:
                if "overflow=" not in self._target.url:
                    # Too long for the service, it would be refused again and again.
                    service.overflow_mode = self._apprise.OverflowMode.SPLIT
            is_sent = sender.notify(title=title, body=body, body_format=self._apprise.NotifyFormat.TEXT)
        return bool(is_sent), said


@contextmanager
def _captured() -> Iterator[list[str]]:
    """What apprise logs for this call meanwhile, from warnings on: kept from the log, as secrets may be in it."""
    said: list[str] = []
    logger = logging.getLogger("apprise")

    class _Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if _SAID.get() is said and record.levelno >= logging.WARNING:
                said.append(record.getMessage())

    handler, token = _Kept(), _SAID.set(said)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        _SAID.reset(token)
