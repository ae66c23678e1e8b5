"""Which messages are made of waiting alerts: groups, digests, quiet hours, rate limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.notify.planning import plan_messages
from runner.notify.target import NotificationTarget, QuietHours, RateLimit
from runner.store.outbox import OutboxItem, TargetRecord
from tests.notify.owing import HOOK, an_item
from tests.store.alerts import START, at

RECORD = TargetRecord(START)
ROOM = 200


def messages(target: NotificationTarget, items: list[OutboxItem], now: datetime = START) -> list[int]:
    """How many alerts each message has."""
    return [len(message.items) for message in plan_messages(target, items, RECORD, now, room=ROOM).messages]


def test_each_alert_is_a_message_of_its_own_unless_the_target_groups() -> None:
    items = [an_item(1, group="web"), an_item(2, group="db"), an_item(3, group="web")]
    assert messages(HOOK, items) == [1, 1, 1]
    assert messages(replace(HOOK, group_by=("host.name",)), items) == [2, 1]


def test_a_digest_waits_for_its_time_from_the_first_alert_on() -> None:
    target = replace(HOOK, digest=timedelta(minutes=15))
    items = [an_item(1, at(0)), an_item(2, at(10))]
    plan = plan_messages(target, items, RECORD, at(14), room=ROOM)
    assert (plan.messages, plan.next_at) == ((), at(15))
    assert messages(target, items, at(15)) == [2]


def test_over_the_rate_limit_the_rest_is_one_message() -> None:
    target = replace(HOOK, rate=RateLimit(3, timedelta(minutes=10)))
    items = [an_item(number) for number in range(10)]
    plan = plan_messages(target, items, RECORD, START, room=ROOM)
    assert [len(message.items) for message in plan.messages] == [1, 1, 8]
    after = replace(RECORD, sent=plan.sent)
    later = plan_messages(target, [an_item("late")], after, at(5), room=ROOM)
    assert (later.messages, later.next_at) == ((), at(10))
    assert len(plan_messages(target, [an_item("late")], after, at(10), room=ROOM).messages) == 1


BERLIN = QuietHours(time(22), time(7), zone=ZoneInfo("Europe/Berlin"))


def test_quiet_hours_hold_back_what_is_not_urgent_and_tell_it_together_after_them() -> None:
    target = replace(HOOK, quiet=BERLIN)
    night, morning = datetime(2026, 3, 2, 23, 30, tzinfo=UTC), datetime(2026, 3, 3, 6, 0, tzinfo=UTC)
    items = [an_item(1, night), an_item(2, night), an_item(3, night, severity="critical")]
    plan = plan_messages(target, items, RECORD, night, room=ROOM)
    assert [item.rank for message in plan.messages for item in message.items] == [4]
    assert plan.next_at is not None
    assert messages(target, items[:2], morning) == [2]


def test_quiet_hours_go_by_the_clocks_of_their_zone_also_when_these_change() -> None:
    """In Berlin clocks go from 2:00 to 3:00 on 29 March 2026: 05:30 UTC is 6:30 the day before and 7:30 on that day."""
    assert BERLIN.holds(3, datetime(2026, 3, 28, 5, 30, tzinfo=UTC))
    assert not BERLIN.holds(3, datetime(2026, 3, 29, 5, 30, tzinfo=UTC))


def test_quiet_hours_of_some_days_begin_on_these_and_end_on_the_next() -> None:
    friday = QuietHours(time(22), time(7), frozenset({4}))
    assert friday.holds(3, datetime(2026, 3, 6, 23, 0, tzinfo=UTC))  # a Friday
    assert friday.holds(3, datetime(2026, 3, 7, 6, 59, tzinfo=UTC))
    assert not friday.holds(3, datetime(2026, 3, 7, 23, 0, tzinfo=UTC))


TARGETS = st.builds(
    lambda digest, rate, quiet, group, most: replace(
        HOOK, digest=digest, rate=rate, quiet=quiet, group_by=group, most_items=most
    ),
    st.sampled_from([None, timedelta(minutes=5)]),
    st.sampled_from([None, RateLimit(1, timedelta(minutes=10)), RateLimit(5, timedelta(minutes=10))]),
    st.sampled_from([None, QuietHours(time(10, 10), time(10, 50)), BERLIN]),
    st.sampled_from([(), ("host.name",)]),
    st.sampled_from([1, 3, 500]),
)
ITEMS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["low", "high", "critical"]), st.sampled_from(["", "a", "b"])),
    max_size=30,
)


@settings(max_examples=40)
@given(target=TARGETS, found=ITEMS)
def test_every_alert_is_told_once_in_the_end(target: NotificationTarget, found: list[tuple[int, str, str]]) -> None:
    items = [an_item(number, at(m), severity=rank, group=group) for number, (m, rank, group) in enumerate(found)]
    record, told = RECORD, list[str]()
    for minute in range(0, 24 * 60, 5):
        waiting = [item for item in items if item.added <= at(minute) and item.id not in told]
        plan = plan_messages(target, waiting, record, at(minute), room=ROOM)
        record = replace(record, sent=plan.sent)
        made = [item.id for message in plan.messages for item in message.items]
        assert len(made) == len(set(made)) and set(made).isdisjoint(told)
        assert plan.next_at is not None or len(made) == len(waiting)
        if target.rate is not None:
            window = [time for time in plan.sent if time > at(minute) - target.rate.per]
            assert len(window) <= target.rate.count
        told += made
    assert sorted(told) == sorted(item.id for item in items)
