"""The events of a test that a rule's window does not hold, each with its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from runner.alerts.event_fields import value_at
from runner.dates.dates import date_text
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Schema
from runner.events.fields.timestamp_column import NO_TIME
from runner.messages.quantities import length_of_time
from runner.search.files.file_search import date_field
from runner.windows import Window


def outside(
    documents: Iterable[Mapping[str, Any]],
    wanted: Sequence[str],
    window: Window,
    *,
    names: Sequence[str],
    schema: Schema,
) -> Iterator[str]:
    """A sentence for each event of the wanted ids, or for each without any, whose time is not in the window.

    `names` are the fields of the time, of which the first that an event has counts.
    """
    columns = Columns([date_field(schema, name) for name in names])
    start, end = date_text(window.start_ns), date_text(window.end_ns)
    for number, document in enumerate(documents, 1):
        id_ = str(value_at(document, "event.id") or f"number {number}")
        if wanted and id_ not in wanted:
            continue
        batch = EventBatch(columns, [columns.decoder.row(document)], base=0)
        times = ((name, int(batch.timestamps(name)[0])) for name in names)
        name, time = next((one for one in times if one[1] != NO_TIME), ("", 0))
        if not name or window.start_ns <= time <= window.end_ns:
            continue
        side, gap = ("before", window.start_ns - time) if time < window.start_ns else ("after", time - window.end_ns)
        yield (
            f"event {id_} is {length_of_time(gap)} {side} the window: its {name} is {date_text(time)}, the window goes "
            f"from {start} to {end}"
        )
