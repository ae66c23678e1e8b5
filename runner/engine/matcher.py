"""Many plans over one pass of event batches: the engine's front door.

One stage filter finds the events of all stages of all plans; each plan keeps its own open matches.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from runner.engine.exclusions import Excluded, ExclusionCounts, Spans
from runner.engine.filter.predicates import Conjuncts, may_fail
from runner.engine.filter.stage_filter import OnExcluded, StageFilter, StageFilterPool, StageSearch
from runner.engine.plan import Limit, Plan
from runner.engine.repeats import NO_DOCUMENTS, Repeats
from runner.engine.scope import Mask, Scope
from runner.engine.sequence.join_keys import KeyCodes
from runner.engine.sequence.open_matches import OpenEvents, OpenSamples, OpenSequences
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.engine.sequence.stage_gate import NO_WATERMARK, BatchGate, BatchSearch, GatedStage, StageGate
from runner.engine.sequence.stage_rows import StageRows, joined
from runner.engine.sequence.stage_sink import StageSink
from runner.engine.stage_sets import bits_of
from runner.engine.watermark import Watermark
from runner.events.columns.batch import Columns, EventBatch, Rows
from runner.events.fields.schema import Field

__all__ = ["Ask", "Found", "Matcher", "Scope", "Watermark"]

ROWS_HELD = 1 << 15
"""Rows held before the open matches are advanced: about 1 MB, and their join keys take 8 MB more."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One plan over one scope. `limits` replace those of the plan if given."""

    plan: Plan
    scope: Scope = field(default_factory=Scope)
    limits: tuple[Limit, ...] | None = None
    max_samples_per_key: int = 1
    now_ns: int = 0
    """What `now` in date math means, in nanoseconds since 1970."""
    counted: Spans | None = None
    """The times whose excluded events count; None: all."""
    history: tuple[int, int] | None = None
    """Of single events with keys: the time before which they count as sightings of their keys alone, and the gap that
    tells sightings apart, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """Matches of one ask, ascending: of each the join keys (as the API prints them) and the ids of its events.

    `error` is set if there is no answer: a script of the query failed on a value. `crowded` are the events that were
    left out, as they have over `MOST_KEYS` join keys.
    """

    matches: Sequence[FoundSequence] = ()
    error: str | None = None
    crowded: frozenset[int] = frozenset()
    excluded: tuple[Excluded, ...] = ()


@dataclass(frozen=True, slots=True)
class Handover:
    """Stage rows of a matcher in a worker process, for the parent's matcher of the same asks."""

    stage_rows: tuple[tuple[int, StageRows], ...]
    """Each with the index of its ask."""
    keys: tuple[object, ...]
    """The values of join keys, indexed by the codes in the stage rows."""
    errors: Mapping[int, str]
    documents: tuple[NDArray[np.int64], NDArray[np.uint64]]
    """Numbers and digests of the events that are documents of an index."""
    crowded: tuple[frozenset[int], ...]
    """By ask."""
    excluded: tuple[tuple[int, Excluded], ...] = ()
    """Each with the index of its ask."""


class Matcher:
    """Runs asks over batches of events; `found` gives the matches of each."""

    def __init__(
        self,
        asks: Sequence[Ask],
        *,
        room: int = ROWS_HELD,
        codes: int = ROWS_HELD,
        conjuncts: Conjuncts | None = None,
        filters: StageFilterPool | None = None,
        field: str = "@timestamp",
        unordered: Collection[int] = (),
        repeats: Repeats | None = None,
        keeps_excluded: bool = False,
    ) -> None:
        """`room` is the count of rows held before open matches are advanced, `codes` that of join key values before the
        unused ones are dropped. `conjuncts` and `filters` keep what other passes can use
        again; who gives `filters` feeds batches of `columns`, and calls `close` at the end.

        `field` is the timestamp field of the watermarks given to `feed` and `advance`. Sequences by another field wait
        for all events, and so do `unordered` asks. With `repeats` a document that comes again is no event of its own.
        `keeps_excluded`: `feed` returns some rows that were excluded, too.
        """
        self._conjuncts = conjuncts = conjuncts if conjuncts is not None else Conjuncts()
        self._asks = asks
        self._errors: dict[int, str] = {}
        self._key_codes = KeyCodes()
        self._repeats = repeats
        self._open: list[OpenEvents] = []
        self._sinks: list[StageSink] = []
        wanted: list[StageSearch] = []
        gated: list[GatedStage] = []
        self._field, self._unordered = field, frozenset(unordered)
        self._least_room = self._room = room
        self._most_codes = codes
        for number, ask in enumerate(asks):
            open_events = _open(ask)
            self._open.append(open_events)
            for place, stage in enumerate(ask.plan.all_stages()):
                if stage.empty or (ask.plan.kind == "sequence" and _never_complete(ask.plan)):
                    continue
                shown_from = None if ask.history is None else ask.history[0]
                self._sinks.append(StageSink(number, place, ask.plan, open_events, ask.scope.times, shown_from))
                carried = [key.exact for key in stage.keys if key is not None]
                carried += [] if ask.plan.tiebreaker is None else [ask.plan.tiebreaker]
                predicates = conjuncts.of(stage.conjuncts, ask.now_ns)
                wanted.append(StageSearch(predicates, ask.scope, frozenset(field.name for field in carried)))
                gated.append(GatedStage(number, place, ask.plan, any(map(may_fail, predicates))))
        self._equals = _equals(wanted)
        self._gate = StageGate(gated, field=field, unordered=self._unordered)
        self._filters = filters
        self._wanted = wanted
        counts = ExclusionCounts([one.plan for one in asks], [one.counted for one in asks], keeps=keeps_excluded)
        self._exclusions = counts if counts else None
        self._filter = StageFilter(wanted) if filters is None else filters.take(wanted)

    def fields(self) -> frozenset[Field]:
        """Every field that the asks read."""
        return frozenset().union(*(self._conjuncts.fields(ask.plan) for ask in self._asks))

    def columns(self, fields: Iterable[Field] = ()) -> Columns:
        """Columns for the batches: with every field that the asks read, and these. Those of an earlier pass where they
        are the same."""
        wanted = (*self.fields(), *fields)
        known = self._filter.columns
        if known is not None and known.are_of(wanted):
            return known
        if known is not None:
            self._filter = StageFilter(self._wanted)
        columns = Columns(wanted)
        self._filter.prepare(columns)
        return columns

    def close(self) -> None:
        """End the pass: the filter, with what it has cached, is free for later passes."""
        if self._filters is not None:
            self._filters.give_back(self._filter)
            self._filters = None

    def feed(self, batch: EventBatch, watermark: Watermark | None = None) -> Rows:
        """Search the next batch; returns the rows that may become part of a match: their documents have to be kept.

        With this batch all events up to the watermark have come; None: nothing is known of that.
        """
        kept = np.zeros(len(batch), dtype=np.bool_)
        if not self._gate.gated:
            for number, met in self._filter.filter(batch, on_excluded=self._on_excluded(batch)):
                kept[self._take_in(batch, number, met)] = True
            return self._kept_rows(batch, kept)
        times = batch.timestamps(self._field)
        batch_gate = BatchGate(self._gate, times, batch.base, NO_WATERMARK if watermark is None else watermark)
        everywhere: dict[int, Rows | ValueError] = {}  # of all rows those that meet a stage, by any of its equals
        for search in batch_gate.searches():
            for number, met in self._met(batch, search, everywhere):
                rows = self._take_in(batch, number, met)
                kept[rows] = True
                batch_gate.record_rows(number, rows)
        return self._kept_rows(batch, kept)

    def _on_excluded(self, batch: EventBatch) -> OnExcluded | None:
        if (counts := self._exclusions) is None:
            return None
        return lambda number, one, found: counts.add(batch, self._sinks[number].ask, one.identity[1], found)

    def _kept_rows(self, batch: EventBatch, kept: Mask) -> Rows:
        if self._exclusions is not None and (excluded := self._exclusions.end_batch()):
            kept[list(excluded)] = True
        return np.flatnonzero(kept)

    def _met(
        self, batch: EventBatch, search: BatchSearch, everywhere: dict[int, Rows | ValueError]
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """Rows found by stage. Stages equal to one that was searched for `everywhere` are not searched again."""
        if search.rows is None:
            for number, met in self._filter.filter(batch, search.stages, on_excluded=self._on_excluded(batch)):
                everywhere[self._equals[number]] = met
                yield number, met
            return
        known = [number for number in bits_of(search.stages) if self._equals[number] in everywhere]
        inside = np.zeros(len(batch), dtype=np.bool_)
        inside[search.rows] = True
        for number in known:
            met = everywhere[self._equals[number]]
            yield number, met if isinstance(met, ValueError) else met[inside[met]]
        rest = search.stages & ~sum(1 << number for number in known)
        if rest:
            yield from self._filter.filter(batch, rest, search.rows, self._on_excluded(batch))

    def _take_in(self, batch: EventBatch, number: int, met: Rows | ValueError) -> Rows:
        """Add the rows that met a stage; returns those that may become part of a match."""
        sink = self._sinks[number]
        if isinstance(met, ValueError):
            self._errors.setdefault(sink.ask, str(met))
            return np.zeros(0, dtype=np.intp)
        return sink.add(batch, met if self._repeats is None else self._repeats.first(batch, met), self._key_codes)

    def found(self) -> Iterator[Found]:
        """The matches of each ask, in the order of the asks."""
        for number, ask in enumerate(self._asks):
            excluded = () if self._exclusions is None else self._exclusions.found(number)
            if number in self._errors:
                yield Found(error=self._errors[number], excluded=excluded)
            else:
                open_events = self._open[number]
                found = _limited(open_events.found(self._key_codes), ask)
                yield Found(found, crowded=frozenset(open_events.crowded), excluded=excluded)

    def advance(self, watermarks: Iterable[Watermark]) -> None:
        """Advance open matches if many rows are held.

        All events up to each of the `watermarks` have come; they are tried in order while too many rows are left.
        """
        able = [
            open_events
            for number, open_events in enumerate(self._open)
            if number not in self._unordered
            and (open_events.plan.kind == "sample" or open_events.plan.timestamp.name == self._field)
        ]
        if sum(map(len, able)) < self._room:
            return
        least = sum(open_events.added for open_events in able) // (2 * len(able))
        grown = [open_events for open_events in able if open_events.added and open_events.added >= least]
        for watermark in watermarks:
            for open_events in grown:
                open_events.advance(watermark, self._key_codes)
            if sum(map(len, able)) < self._room // 2:
                break
        self._room = max(self._least_room, 2 * sum(map(len, able)))
        if len(self._key_codes) > self._most_codes:
            self._forget_codes()

    def settle(self, watermark: Watermark) -> None:
        """Keep only the matches that no later event can change, after a pass that was stopped on its way.

        All events up to the watermark have come. Samples, limited queries and sequences in another order have none.
        """
        late = self.late()
        for number, (ask, open_events) in enumerate(zip(self._asks, self._open, strict=True)):
            kind, limits = ask.plan.kind, ask.plan.limits if ask.limits is None else ask.limits
            if kind == "event" and not limits:
                continue
            is_ordered = ask.plan.timestamp.name == self._field and number not in self._unordered | late
            if kind == "sequence" and not limits and is_ordered:
                open_events.advance(watermark, self._key_codes)
            elif isinstance(open_events, OpenSequences):
                open_events.events, open_events.keys = [], []
            open_events.parts, open_events.advanced, open_events.added = [], 0, 0

    def hand_over(self) -> Handover:
        """The stage rows added since the last call, which are dropped here."""
        stage_rows = tuple(
            (number, joined(open_events.parts)) for number, open_events in enumerate(self._open) if open_events.parts
        )
        keys = tuple(self._key_codes.all_values())
        self._key_codes.forget_but(np.zeros(0, dtype=np.int32))
        for open_events in self._open:
            open_events.parts, open_events.added = [], 0
        documents = self._repeats.hand_over() if self._repeats is not None else NO_DOCUMENTS
        crowded = tuple(frozenset(open_events.crowded) for open_events in self._open)
        excluded = () if self._exclusions is None else self._exclusions.hand_over()
        return Handover(stage_rows, keys, dict(self._errors), documents, crowded, excluded)

    def take_over(self, handover: Handover) -> None:
        """Add the stage rows of another matcher. No batch may be fed any more: they open no gate here."""
        codes = self._key_codes.codes_for(handover.keys)
        repeated = self._repeats.take_over(*handover.documents) if self._repeats is not None else ()
        for number, stage_rows in handover.stage_rows:
            if len(repeated):
                stage_rows = stage_rows.at(~np.isin(stage_rows.events, repeated))
            self._open[number].add(replace(stage_rows, keys=codes[stage_rows.keys]))
        for open_events, crowded in zip(self._open, handover.crowded, strict=True):
            open_events.crowded |= crowded
        for number, error in handover.errors.items():
            self._errors.setdefault(number, error)
        if self._exclusions is not None:
            self._exclusions.take_over(handover.excluded)

    def held(self) -> int:
        """Count of rows held: events of stages that may yet become part of a match."""
        return sum(map(len, self._open))

    def needed(self) -> list[int]:
        """Ids of the events that a match has or may yet have, ascending; no other document is needed."""
        columns = [column for open_events in self._open for column in open_events.event_columns()]
        return list(np.unique(np.concatenate(columns)).tolist()) if columns else []

    def late(self) -> frozenset[int]:
        """Asks that met an event older than their watermark; their result is invalid and they must be run again."""
        return frozenset(self._gate.late).union(
            number
            for number, open_events in enumerate(self._open)
            if isinstance(open_events, OpenSequences) and open_events.late
        )

    def _forget_codes(self) -> None:
        """Drop the join key values that no held row has."""
        columns = [column for open_events in self._open for column in open_events.key_columns()]
        wanted = np.unique(np.concatenate([column.ravel() for column in columns] or [np.zeros(0, dtype=np.int32)]))
        if 2 * len(wanted) < len(self._key_codes):
            new_codes = self._key_codes.forget_but(wanted)
            for open_events in self._open:
                open_events.recode(new_codes)


def _equals(wanted: Sequence[StageSearch]) -> list[int]:
    """For each stage the index of the first one that the very same events meet; `with runs` makes such stages."""
    firsts: dict[Hashable, int] = {}
    return [
        firsts.setdefault((tuple(part.identity for part in one.predicates), one.scope, one.carried), number)
        for number, one in enumerate(wanted)
    ]


def _open(ask: Ask) -> OpenEvents:
    limits = ask.plan.limits if ask.limits is None else ask.limits
    limit = limits[0] if limits else None
    match ask.plan.kind:
        case "event":
            return OpenEvents(ask.plan, limit, ask.history)
        case "sample":
            return OpenSamples(ask.plan, limit, most=ask.max_samples_per_key)
        case "sequence":
            return OpenSequences(ask.plan, limit)


def _never_complete(plan: Plan) -> bool:
    """Whether some stage that every sequence needs can have no event."""
    return any(stage.empty and not stage.missing for stage in plan.stages)


def _limited(matches: Sequence[FoundSequence], ask: Ask) -> Sequence[FoundSequence]:
    limits = ask.plan.limits if ask.limits is None else ask.limits
    for limit in limits:
        start = 0 if limit.side == "head" else max(0, len(matches) - limit.count)
        matches = matches[start : start + limit.count]
    return matches
