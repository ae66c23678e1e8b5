"""`EventTimes`: stretches of time with events, and what is taken for the newest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.events.columns.batch import Columns
from runner.events.fields.schema import DataType, Field
from runner.events.files import event_times
from runner.events.files.event_files import EventFiles, TimeWanted
from runner.events.files.event_times import EventTimes, read_event_times

MINUTE, HOUR, DAY = (seconds * 10**9 for seconds in (60, 3_600, 86_400))
NOW = 20_000 * DAY
NAMES = ("@timestamp", "event.ingested")


def read(path: Path, times: Sequence[tuple[int | None, int | None]], *selecting: tuple[str, ...]) -> EventTimes:
    """The times of events with these times of both fields, in nanoseconds."""
    fields = [dict(zip(NAMES, pair, strict=True)) for pair in times]
    lines = [json.dumps({name: time // 10**6 for name, time in each.items() if time is not None}) for each in fields]
    path.write_text("".join(f"{line}\n" for line in lines))
    columns = Columns([Field(name, DataType.DATE) for name in NAMES])
    with EventFiles([path]) as files:
        return read_event_times(files, columns, TimeWanted(NAMES), selecting or (("@timestamp",),))


def stretch(*moments: int) -> EventTimes:
    return EventTimes(moments, [moment + MINUTE for moment in moments], moments, moments)


def test_minutes_beside_each_other_are_one_stretch(tmp_path: Path) -> None:
    found = read(tmp_path / "e", [(NOW + 90 * 10**9, None), (NOW + 5, None), (NOW + HOUR, None)])
    assert found == EventTimes([NOW, NOW + HOUR], [NOW + 2 * MINUTE, NOW + HOUR + MINUTE], [NOW, NOW + HOUR], [
        NOW + 90 * 10**9, NOW + HOUR,
    ])  # fmt: skip
    assert (found.oldest, found.newest) == (NOW, NOW + HOUR)
    assert [found.next_event(moment) for moment in (0, NOW + 7, NOW + 2 * MINUTE, NOW + 2 * HOUR)] == [
        *(NOW, NOW + 7, NOW + HOUR, None)
    ]


def test_no_event_has_a_time(tmp_path: Path) -> None:
    found = read(tmp_path / "e", [(None, None)])
    assert (found.oldest, found.newest, found.next_event(0), found.newest_by(NOW)) == (None, None, None, (None, ()))


def test_the_fields_that_select_count_with_their_fallbacks(tmp_path: Path) -> None:
    times = [(NOW, NOW + HOUR), (NOW + MINUTE, None)]
    assert read(tmp_path / "e", times).newest == NOW + MINUTE
    assert read(tmp_path / "e", times, ("event.ingested", "@timestamp")).first == [NOW + MINUTE, NOW + HOUR]
    assert read(tmp_path / "e", times, ("event.ingested",)).first == [NOW + HOUR]


def test_many_minutes_become_longer_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_times, "_MOST_SLOTS", 4)
    moments = [NOW + place * 10 * MINUTE for place in range(30)]
    found = read(tmp_path / "e", [(moment, None) for moment in moments])
    assert len(found.starts) <= 4
    assert all(found.next_event(moment) == moment for moment in moments)
    assert (found.oldest, found.newest) == (moments[0], moments[-1])


@pytest.mark.parametrize(
    ("moments", "newest", "outliers"),
    [
        ([NOW - HOUR, NOW + 9 * DAY], NOW - HOUR, (NOW + 9 * DAY,)),
        ([NOW - HOUR, NOW + 9 * DAY, NOW + 9 * DAY + HOUR], NOW - HOUR, (NOW + 9 * DAY, NOW + 9 * DAY + HOUR)),
        ([NOW - HOUR, NOW + HOUR], NOW + HOUR, ()),
        ([NOW - 900 * DAY, NOW - 300 * DAY], NOW - 300 * DAY, ()),
        ([NOW + DAY, NOW + 9 * DAY], NOW + 9 * DAY, ()),
    ],
    ids=["alone in the future", "a few there", "a clock ahead", "old events", "a clock behind"],
)
def test_outliers_are_not_the_newest(moments: list[int], newest: int, outliers: tuple[int, ...]) -> None:
    assert stretch(*moments).newest_by(NOW) == (newest, outliers)
