"""Webhooks through a real server: what is sent, how it is signed, and what counts as delivered."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.notify.message_text import message_json
from runner.notify.sinks.delivery import Delivery
from runner.notify.sinks.webhook import WebhookSink, retry_after
from runner.notify.target import NotificationTarget
from runner.store.outbox import OutboxMessage, message_id
from runner.store.protocol import StoredAlert
from tests.cluster.tls import Authority
from tests.notify.owing import HOOK, an_alert, an_item
from tests.notify.receiver import Receiver, Reply
from tests.store.alerts import START, alert_id

ITEM = an_item("a")
MESSAGE = OutboxMessage(message_id("soc", (ITEM,)), "alert", (ITEM,), START)
ALERTS = {alert_id("a"): StoredAlert(alert_id("a"), "sqlite", an_alert("a").document)}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


async def sent(target: NotificationTarget, message: OutboxMessage = MESSAGE) -> Delivery:
    sink = WebhookSink(target)
    try:
        return await sink.send(message, ALERTS, START)
    finally:
        await sink.close()


async def test_a_message_is_signed_json_with_the_same_id_at_each_try(receiver: Receiver) -> None:
    key = base64.b64encode(b"thirty-two bytes of a secret key").decode()
    target = replace(HOOK, url=f"{receiver.url}/hook", secret=f"whsec_{key}", headers={"X-Team": "soc"})
    assert (await sent(target)).ok
    assert (await sent(target)).ok
    one, two = receiver.requests
    assert one.headers["Idempotency-Key"] == two.headers["Idempotency-Key"] == one.json["id"] == MESSAGE.id
    assert one.body == two.body
    assert (one.headers["X-Team"], one.headers["Content-Type"]) == ("soc", "application/json")
    signed = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    digest = hmac.new(b"thirty-two bytes of a secret key", signed, hashlib.sha256).digest()
    assert one.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert one.headers["webhook-timestamp"] == str(int(START.timestamp()))


def test_the_body_of_one_alert_and_of_several() -> None:
    one = message_json(HOOK, MESSAGE, ALERTS)
    assert (one["type"], one["count"], one["target"]) == ("alert", 1, "soc")
    assert one["title"] == "[high] Netcat on web-01"
    (alert,) = one["alerts"]
    assert (alert["id"], alert["rule"], alert["index"]) == (alert_id("a"), "Netcat", "sqlite")
    assert alert["document"]["process"]["args"] == ["nc", "-e", "/bin/sh"]
    items = tuple(an_item(number) for number in range(30))
    many = message_json(replace(HOOK, documents=False), OutboxMessage("x", "digest", items, START), {})
    assert (many["count"], len(many["alerts"]), many["title"]) == (30, 30, "30 alerts, highest high")
    assert "30 x Netcat" in many["text"] and "and 10 more alerts" in many["text"]


@pytest.mark.parametrize(
    ("reply", "reason", "refused"),
    [
        (Reply(500, text="oops"), "answered 500: oops", False),
        (Reply(401), "answered 401", False),
        (Reply(413), "answered 413", True),
        (Reply(302, {"Location": "http://elsewhere/"}), "a redirect, which is not followed", False),
        (Reply(500, text="\x1b[31mred\n"), "answered 500: \\x1b[31mred", False),
        (Reply(0), "the connection was closed before an answer came", False),
        (Reply(-1), "did not answer within 0.2 s", False),
    ],
)
async def test_what_is_no_delivery(receiver: Receiver, reply: Reply, reason: str, refused: bool) -> None:
    receiver.reply = lambda request: reply
    target = replace(
        HOOK, url=f"{receiver.url}/secret-token", timeout=timedelta(seconds=0.2 if reply.status == -1 else 60)
    )
    outcome = await sent(target)
    assert (outcome.ok, outcome.is_refused) == (False, refused)
    assert reason in outcome.reason and "secret-token" not in outcome.reason


async def test_a_target_says_when_it_wants_to_be_tried_again(receiver: Receiver) -> None:
    receiver.reply = lambda request: Reply(429, {"Retry-After": "120"})
    outcome = await sent(replace(HOOK, url=receiver.url))
    assert outcome.retry_after == timedelta(minutes=2)
    assert retry_after("Mon, 02 Mar 2026 10:05:00 GMT", START) == timedelta(minutes=5)
    assert retry_after("99999999999", START) == timedelta(days=1)
    for text in ("", "soon", "-5", "Mon, 99 Mar 2026"):
        assert retry_after(text, START) is None


async def test_nobody_there() -> None:
    gone = await sent(replace(HOOK, url="http://127.0.0.1:1/x"))
    unknown = await sent(replace(HOOK, url="http://host.invalid/x"))
    assert "no connection: " in gone.reason
    assert "the name of its host was not found (DNS)" in unknown.reason


async def test_certificates_are_verified_always(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Receiver(certificate=authority.issue("hook")) as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        refused = await sent(replace(HOOK, url=url))
        assert not refused.ok and "the certificate was not accepted" in refused.reason
        assert (await sent(replace(HOOK, url=url, ca_file=authority.certificate.file))).ok
