"""Pictures made on the server, as SVG without scripts and styles of their own: classes say what the CSS colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from markupsafe import Markup

from runner.dates.dates import date_text
from runner.messages.printable import printable
from runner.store.overview import TimeBin

_WIDTH, _HEIGHT = 1_000, 96
_ORDER: Final = ("low", "medium", "high", "critical")
"""From the bottom of a bar up; what is of no known severity lies below."""
_DAY: Final = timedelta(days=1)
_CELL: Final = 15


def histogram(bins: Sequence[TimeBin], address: Callable[[int, int], str]) -> Markup:
    """Bars of alerts over time, each a link to the alerts of its time; "" without any.

    `address` gives the link for a start and an end in nanoseconds.
    """
    if not bins:
        return Markup("")
    width_ns, first = bins[0].width_ns, bins[0].start_ns
    count = (bins[-1].start_ns - first) // width_ns + 1
    step = _WIDTH / count
    tallest = max(one.alerts for one in bins)
    parts = [
        _bar(one, (one.start_ns - first) // width_ns * step, step, tallest=tallest, address=address) for one in bins
    ]
    ends = (first, first + count // 2 * width_ns, bins[-1].start_ns + width_ns)
    alerts = sum(one.alerts for one in bins)
    title = f"{alerts:,} alerts over time, up to {tallest:,} in one bar"
    return Markup(
        '<svg class="histogram" viewBox="0 0 {} {}" preserveAspectRatio="none" role="group" aria-label="{}">'
        '<line class="axis" x1="0" y1="{}" x2="{}" y2="{}"/>{}</svg><div class="ticks" aria-hidden="true">{}</div>'
    ).format(
        _WIDTH,
        _HEIGHT,
        title,
        _HEIGHT - 0.5,
        _WIDTH,
        _HEIGHT - 0.5,
        Markup("").join(parts),
        Markup("").join(Markup("<span>{}</span>").format(short_time(time)) for time in ends),
    )


def _bar(one: TimeBin, x: float, step: float, *, tallest: int, address: Callable[[int, int], str]) -> Markup:
    parts: list[Markup] = []
    y = float(_HEIGHT - 1)
    unknown = sum(count for severity, count in one.severities.items() if severity not in _ORDER)
    for severity in ("", *_ORDER):
        count = one.severities.get(severity, 0) if severity else unknown
        if count:
            height = max((_HEIGHT - 6) * count / tallest, 1.5)
            y -= height
            parts.append(
                Markup('<rect class="s-{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                    severity or "none", f"{x:.2f}", f"{max(y, 0):.2f}", f"{max(step - 1, 1):.2f}", f"{height:.2f}"
                )
            )
    label = f"{short_time(one.start_ns)}: {one.alerts:,} alert{'s' * (one.alerts != 1)}"
    whole = Markup('<rect class="hit" x="{}" y="0" width="{}" height="{}"/>').format(f"{x:.2f}", f"{step:.2f}", _HEIGHT)
    link = address(one.start_ns, one.start_ns + one.width_ns - 1)
    return Markup('<a href="{}" aria-label="{}"><title>{}</title>{}{}</a>').format(
        link, label, label, whole, Markup("").join(parts)
    )


def short_time(nanoseconds: int) -> str:
    """A time in UTC to the second, as text."""
    return date_text(nanoseconds)[:19].replace("T", " ")


@dataclass(frozen=True, slots=True)
class LaneMark:
    """Something at a moment of a time line."""

    time: datetime
    lane: int
    kind: str
    """The class that colours it, such as `s-high`."""
    label: str
    href: str = ""


def lanes(marks: Sequence[LaneMark], names: Sequence[str]) -> Markup:
    """Marks on one time line, a lane for each name; "" without any."""
    if not marks:
        return Markup("")
    first, last = min(mark.time for mark in marks), max(mark.time for mark in marks)
    span = max((last - first).total_seconds(), 1.0)
    height = 22
    parts = []
    for mark in marks:
        label = printable(mark.label)
        x = 8 + (_WIDTH - 16) * (mark.time - first).total_seconds() / span
        shape = Markup('<rect class="{}" x="{}" y="{}" width="4" height="{}" rx="1"><title>{}</title></rect>').format(
            mark.kind, f"{x - 2:.1f}", mark.lane * height + 4, height - 8, label
        )
        parts.append(
            Markup('<a href="{}" aria-label="{}">{}</a>').format(mark.href, label, shape) if mark.href else shape
        )
    lines = [
        Markup('<line class="axis" x1="0" y1="{}" x2="{}" y2="{}"/>').format(y, _WIDTH, y)
        for y in (lane * height + height - 1 for lane in range(len(names)))
    ]
    title = f"{', '.join(names)} from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    return Markup(
        '<div class="lanes"><div class="lane-names" aria-hidden="true">{}</div>'
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="group" aria-label="{}">{}{}</svg></div>'
        '<div class="ticks" aria-hidden="true"><span>{}</span><span>{}</span></div>'
    ).format(
        Markup("").join(Markup("<span>{}</span>").format(name) for name in names),
        _WIDTH,
        len(names) * height,
        title,
        Markup("").join(lines),
        Markup("").join(parts),
        f"{first:%Y-%m-%d %H:%M:%S}",
        f"{last:%Y-%m-%d %H:%M:%S}",
    )


def calendar(hours: Mapping[datetime, int], *, days: Sequence[datetime], most: int) -> Markup:
    """A strip of days, a row each, and their hours: how many rules lack a part of the hour, of `most` rules."""
    rows = []
    for row, day in enumerate(days):
        y = row * (_CELL + 2)
        rows.append(Markup('<text class="tick" x="0" y="{}">{}</text>').format(y + _CELL - 3, f"{day:%Y-%m-%d}"))
        for hour in range(24):
            count = hours.get(day + timedelta(hours=hour), 0)
            level = 0 if not count else 1 + min(3, (4 * count - 1) // max(most, 1))
            text = f"{day:%Y-%m-%d} {hour:02}:00: {f'{count:,} of {most:,} rules' if count else 'no gap'}"
            rows.append(
                Markup(
                    '<rect class="gap-{}" x="{}" y="{}" width="{}" height="{}" rx="2"><title>{}</title></rect>'
                ).format(level, 80 + hour * (_CELL + 2), y, _CELL, _CELL, text)
            )
    top = [
        Markup('<text class="tick" x="{}" y="{}">{}</text>').format(80 + hour * (_CELL + 2), -4, f"{hour:02}")
        for hour in range(0, 24, 6)
    ]
    lacking = sum(1 for count in hours.values() if count)
    label = f"{lacking:,} hours of {len(days)} days with time that was not searched"
    return Markup('<svg class="calendar" viewBox="0 -16 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        80 + 24 * (_CELL + 2), 16 + len(days) * (_CELL + 2), label, Markup("").join(top), Markup("").join(rows)
    )
