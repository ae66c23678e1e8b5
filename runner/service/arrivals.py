"""`ArrivalWatch`: what came into the event files since the last look, and which windows are owed again for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.arrivals import KnownFiles
from runner.messages.quantities import counted
from runner.schedule.late_events import NEAR, LateEvents, late_events, late_limits, replayed
from runner.search.compiled_rule import CompiledRule
from runner.search.files.file_search import FileSearch
from runner.store.protocol import FileRecord, Ledger, RuleState
from runner.windows import from_nanoseconds, iso

_FORGOTTEN_AFTER = timedelta(days=7)
"""How long a file that is gone is remembered at least."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at the event files has found."""

    at: datetime
    events: int = 0
    """Events that are new since the last look; of files that were there at the first one none."""
    newest: datetime | None = None
    """The newest time of these events that is not ahead of the clock."""
    ahead: int = 0
    """Events whose time is ahead of the clock."""
    late: LateEvents = field(default_factory=LateEvents)

    def remarks(self, flags: str = "") -> tuple[str, ...]:
        """What is to be said of late events, one sentence each; `flags` are those that `replay` needs."""
        late, texts = self.late, []
        if late.oldest is not None and late.owed:
            spans = f"{counted(late.owed, 'span')} of {counted(late.rules, 'rule')}"
            texts.append(
                f"{counted(late.events_owed, 'event')} came late, after the windows of their time were searched, the "
                f"oldest of {iso(late.oldest)}: {spans} {'is' if late.owed == 1 else 'are'} owed again"
            )
        if late.beyond is not None:
            span = replayed(late.beyond)
            texts.append(
                f"{counted(late.events_beyond, 'event')} came later than RUNNER_CATCH_UP reaches back: `rule-runner "
                f"replay --from {iso(span.start)} --to {iso(span.end)}{flags}` searches that time"
            )
        return tuple(texts)


class ArrivalWatch:
    """Looks for new events in the files of a search, and makes owed again what was searched before they came."""

    def __init__(self, search: FileSearch, record: FileRecord, ledger: Ledger, *, horizon: timedelta) -> None:
        self._search = search
        self._record = record
        self._ledger = ledger
        self._horizon = horizon
        self._known: KnownFiles | None = None

    async def look(self, rules: Sequence[CompiledRule], states: Mapping[str, RuleState], now: datetime) -> Looked:
        """What has come since the last look, by this process or one before it. The marks are in the ledger then.

        A process that dies before the files are recorded finds the same again. Raises StoreError.
        """
        if self._known is None:
            self._known = KnownFiles(await self._record.read_files())
        kept = max(self._horizon, _FORGOTTEN_AFTER)
        found = await self._search.arrivals(self._known, late_limits(rules, states), now=now, kept=kept)
        gap = NEAR // timedelta(microseconds=1) * 1_000
        arrived = {names: slots.stretches(gap) for names, slots in found.early.items()}
        late = late_events(rules, states, arrived, now=now, horizon=self._horizon)
        if late.marks:
            await self._ledger.add_marks(late.marks)
        changed = {path: text for path, text in found.known.texts.items() if text != self._known.texts.get(path)}
        if changed:
            await self._record.keep_files(changed)
        self._known = found.known
        newest = None if found.newest == NO_TIME else from_nanoseconds(found.newest)
        return Looked(now, found.events, newest, found.ahead, late)
