"""Which waiting items become messages now: a pure function of target, items, time and what was sent before.

Quiet hours hold items back. Those that were held, and those that a rate limit leaves over, are told together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runner.notify.target import NotificationTarget
from runner.store.outbox import MessageKind, OutboxItem, OutboxMessage, TargetRecord, message_id

_LOOK_AGAIN = timedelta(minutes=1)
"""How exactly the end of quiet hours is met."""


@dataclass(frozen=True, slots=True)
class SendingPlan:
    """The messages to make now, and when the next ones may be due; None if nothing waits for a time."""

    messages: tuple[OutboxMessage, ...] = ()
    next_at: datetime | None = None
    sent: tuple[datetime, ...] = ()
    """The times that count under the rate limit, those of these messages among them."""


def plan_messages(
    target: NotificationTarget, waiting: Sequence[OutboxItem], record: TargetRecord, now: datetime, *, room: int
) -> SendingPlan:
    """The messages of the items; what is left waits on. Beside notices and rate limits there are at most `room`.

    Notices of health are neither grouped nor counted under the rate limit.
    """
    held = [item for item in waiting if target.quiet is not None and target.quiet.holds(item.rank, now)]
    quiet = {item.id for item in held}
    free = sorted((item for item in waiting if item.id not in quiet), key=lambda item: (item.added, item.id))
    notices = [_message(target, (item,), now, kind="health") for item in free if item.is_health]
    bundles, later = _bundles(target, [item for item in free if not item.is_health], now)
    times = [now + _LOOK_AGAIN] if held else []
    times += [later] if later is not None else []
    if target.rate is None and not target.is_stream:
        bundles = bundles[: max(room - len(notices), 0)]
    bundles, sent, opens = _limited(target, bundles, record, now)
    times += [opens] if opens is not None else []
    made = [_message(target, part, now) for bundle in bundles for part in _parts(bundle, target.most_items)]
    return SendingPlan((*notices, *made), min(times, default=None), tuple(sent))


def _bundles(
    target: NotificationTarget, items: Sequence[OutboxItem], now: datetime
) -> tuple[list[tuple[OutboxItem, ...]], datetime | None]:
    """The items of each message that is due, and when the next one is."""
    if target.is_stream:
        return ([tuple(items)] if items else []), None
    groups: dict[str, list[OutboxItem]] = {}
    for item in items:
        was_held = target.quiet is not None and target.quiet.holds(item.rank, item.added)
        together = bool(target.group_by or target.digest) or was_held
        groups.setdefault(f"{item.group}\n" if together else f"{item.group}\n{item.id}", []).append(item)
    due, later = [], list[datetime]()
    for group in groups.values():
        at = group[0].added + (target.digest or timedelta(0))
        # An item from a time at which the clock was ahead waits no longer than the others.
        if at <= now or group[0].added > now:
            due.append(tuple(group))
        else:
            later.append(at)
    return due, min(later, default=None)


def _limited(
    target: NotificationTarget, bundles: list[tuple[OutboxItem, ...]], record: TargetRecord, now: datetime
) -> tuple[list[tuple[OutboxItem, ...]], list[datetime], datetime | None]:
    """As many as the rate limit allows, the last of them with all that is over it; the times sent; and, if none is
    allowed, when the next one is."""
    if target.rate is None:
        return bundles, [], None
    sent = [time for time in record.sent if now - target.rate.per < time <= now]
    left = target.rate.count - len(sent)
    if not bundles:
        return [], sent, None
    if left <= 0:
        return [], sent, sent[0] + target.rate.per
    if len(bundles) > left:
        rest = tuple(item for bundle in bundles[left - 1 :] for item in bundle)
        bundles = [*bundles[: left - 1], rest]
    return bundles, [*sent, *[now] * len(bundles)], None


def _parts(items: tuple[OutboxItem, ...], most: int) -> list[tuple[OutboxItem, ...]]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _message(
    target: NotificationTarget, items: tuple[OutboxItem, ...], now: datetime, *, kind: MessageKind | None = None
) -> OutboxMessage:
    found: MessageKind = kind or ("alert" if len(items) == 1 else "digest")
    return OutboxMessage(message_id(target.name, items), found, items, now)
