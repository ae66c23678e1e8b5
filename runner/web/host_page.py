"""The page of a host: its alerts and its processes on one time line."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from aiohttp import web

from runner.alerts.event_time import event_time_ns
from runner.analyst.alert_summary import summary
from runner.errors import SettingsError
from runner.store.alert_filter import AlertFilter
from runner.store.overview import OverviewRequest
from runner.web.charts import LaneMark, lanes
from runner.web.filters import moment_of
from runner.web.host_events import HostEvents, processes_of
from runner.web.parts import PARTS, page
from runner.windows import from_nanoseconds

_MOST: Final = 200
_AROUND: Final = timedelta(minutes=15)
_LONGEST: Final = timedelta(days=1)
_SEVERITIES: Final = ("low", "medium", "high", "critical")


async def host_page(request: web.Request) -> web.Response:
    """The host that the address names, in the time it names: else around its newest alert."""
    parts = request.app[PARTS]
    host = request.query.get("name", "").strip()
    if not host:
        raise SettingsError("name: expected the name or the id of a host")
    now = parts.now()
    start, end = (moment_of(request.query.get(name), name, now) for name in ("from", "to"))
    newest = await parts.stores.alerts.overview(OverviewRequest(AlertFilter(host=host, event_until=end), 0, 1))
    start, end = _span(start, end, newest.alerts[0].document if newest.alerts else {}, now)
    wanted = AlertFilter(host=host, event_since=start, event_until=end)
    found = await parts.stores.alerts.overview(OverviewRequest(wanted, 0, _MOST))
    events = HostEvents(())
    if request.query.get("processes") != "no":
        of = newest.alerts[0].document if newest.alerts else {}
        async with parts.lookup(of) as lookup:
            events = await processes_of(lookup, host, start, end)
    entries: list[tuple[datetime, str, Any]] = []
    marks: list[LaneMark] = []
    for alert in found.alerts:
        row = summary(alert)
        time = event_time_ns(alert.document)
        if time is not None:
            at = from_nanoseconds(time)
            entries.append((at, "alert", row))
            kind = row["severity"] if row["severity"] in _SEVERITIES else "none"
            marks.append(LaneMark(at, 0, f"s-{kind}", f"{row['severity']}: {row['rule']}", f"/alerts/{alert.id}"))
    for event in events.events:
        if event.time is not None:
            entries.append((event.time, "event", event))
            marks.append(LaneMark(event.time, 1, "mark", f"{event.process} {event.action}"))
    return page(
        request,
        "host.html",
        host=host,
        start=start,
        end=end,
        given={name: request.query.get(name, "") for name in ("from", "to")},
        total=newest.total,
        shown=len(found.alerts),
        of=found.total,
        entries=sorted(entries, key=itemgetter(0)),
        chart=lanes(marks, ("alerts", "processes")),
        note=events.note,
        earlier=start - (end - start),
        later=end + (end - start),
    )


def _span(start: datetime | None, end: datetime | None, newest: Any, now: datetime) -> tuple[datetime, datetime]:
    """The time that is shown, a day at most. Raises SettingsError if it ends before it begins."""
    if start is None and end is None:
        time = event_time_ns(newest)
        middle = from_nanoseconds(time) if time is not None else now - _AROUND
        return middle - _AROUND, middle + _AROUND
    if end is None:
        assert start is not None
        end = min(start + _LONGEST, max(now, start))
    if start is None:
        start = end - _LONGEST
    if start > end:
        raise SettingsError("from: it is later than `to`")
    return max(start, end - _LONGEST), end
