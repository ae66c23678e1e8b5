"""`WebhookSink`: messages as signed POST requests with a JSON body.

Headers and signature are those of https://www.standardwebhooks.com: `webhook-id`, `webhook-timestamp` and
`webhook-signature: v1,` with the HMAC-SHA256 in base64 over `id.timestamp.body`. docs/notifications.md shows how to
verify it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from runner import __version__
from runner.json_text import write_json
from runner.notify.message_text import message_json
from runner.notify.secret_text import shown_address
from runner.notify.sinks.delivery import DELIVERED, Delivery
from runner.notify.target import NotificationTarget
from runner.notify.template import on_one_line
from runner.store.outbox import OutboxMessage
from runner.store.protocol import StoredAlert

_PREFIX: Final = "whsec_"
_REFUSING: Final = (400, 406, 410, 411, 413, 415, 422)
"""Statuses that say something of the message, not of the target."""
_LONGEST_WAIT: Final = timedelta(days=1)
_ANSWER: Final = 2_000
"""Bytes of an answer that are read for the message of an error."""


class WebhookSink:
    """Sends to one address. Certificates are verified always; redirects are not followed."""

    def __init__(self, target: NotificationTarget) -> None:
        self._target = target
        self._key = signing_key(target.secret) if target.secret else b""
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        place = shown_address(self._target.url)
        limit = self._target.timeout.total_seconds()
        try:
            body = write_json(message_json(self._target, message, alerts))
            headers = {**self._target.headers, **_headers(message, body, now, key=self._key)}
            async with (
                asyncio.timeout(limit),
                self._opened().post(self._target.url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                if 200 <= answer.status < 300:
                    return DELIVERED
                text = await answer.content.read(_ANSWER)
                return _refusal(answer, text, place, now)
        except TimeoutError:
            return Delivery(False, f"{place} did not answer within {limit:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Delivery(False, f"{place}: {_reason_of(error)}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        """The session; a connection for each request, as one that the target has closed would make a try unsure."""
        if self._session is None:
            context = ssl.create_default_context()
            if self._target.ca_file is not None:
                context.load_verify_locations(self._target.ca_file)
            connector = aiohttp.TCPConnector(ssl=context, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=True)
        return self._session


def signing_key(secret: str) -> bytes:
    """The key that a secret stands for: base64 after `whsec_`, else its own bytes.

    >>> signing_key("whsec_a2V5"), signing_key("key")
    (b'key', b'key')
    """
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            return secret.encode("utf-8")
    return secret.encode("utf-8")


def signature(key: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    digest = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _headers(message: OutboxMessage, body: bytes, now: datetime, *, key: bytes) -> dict[str, str]:
    timestamp = int(now.timestamp())
    signed = {"webhook-signature": signature(key, message.id, timestamp, body)} if key else {}
    return {
        "Content-Type": "application/json",
        "User-Agent": f"rule-runner/{__version__}",
        "Idempotency-Key": message.id,
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        **signed,
    }


def _refusal(answer: aiohttp.ClientResponse, text: bytes, place: str, now: datetime) -> Delivery:
    said = on_one_line(text.decode("utf-8", "replace"))
    reason = f"{place} answered {answer.status}{f': {said}' if said else ''}"
    if 300 <= answer.status < 400:
        reason = f"{place} answered {answer.status}, a redirect, which is not followed: name the address it leads to"
    wait = retry_after(answer.headers.get("Retry-After", ""), now)
    return Delivery(False, reason, is_refused=answer.status in _REFUSING, retry_after=wait)


def retry_after(value: str, now: datetime) -> timedelta | None:
    """How long a `Retry-After` asks to wait, in seconds or up to a date, at most a day; None without a readable one.

    >>> retry_after("120", datetime(2026, 1, 1, tzinfo=UTC))
    datetime.timedelta(seconds=120)
    """
    value = value.strip()
    try:
        wait = timedelta(seconds=float(value)) if value[:1].isdigit() and "," not in value else _until(value, now)
    except (ValueError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), _LONGEST_WAIT)


def _until(value: str, now: datetime) -> timedelta:
    moment = parsedate_to_datetime(value)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - now


def _reason_of(error: Exception) -> str:
    """What went wrong, without the address that libraries put into their messages."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            reason = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
            return f"the certificate was not accepted: {on_one_line(str(reason))}"
        case aiohttp.ClientConnectorDNSError():
            return "the name of its host was not found (DNS)"
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | ConnectionError():
            return "the connection was closed before an answer came"
    return on_one_line(f"{type(error).__name__}: {error}")
