"""`FileLookup`: events looked up in files, by the local engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import RunnerError, StoppedError, UnreadableEventError
from runner.events.fields.schema import Schema, shipped_schema
from runner.events.files.event_files import EventFiles, TimeWanted
from runner.file_formats.inner_events import InnerEvents
from runner.kql.search_api import ask_for, parse_text, resolve_text
from runner.messages.query_errors import QueryError
from runner.search.files.file_pass import matched
from runner.search.files.file_search import date_field
from runner.search.lookup.event_lookup import LookedUp
from runner.search.protocol import hit_of


class FileLookup:
    """Events of files, read anew for each look-up. Implements `EventLookup`."""

    def __init__(self, paths: Sequence[str | Path], inner: InnerEvents | None = None) -> None:
        self._paths = tuple(paths)
        self._inner = inner or InnerEvents()

    async def newest(self, kql: str, *, size: int, seconds: float) -> LookedUp:
        if "-" in map(str, self._paths):
            return LookedUp(incomplete="standard input is not read again")
        try:
            return await asyncio.to_thread(self._newest, kql, size, time.monotonic() + seconds)
        except (RunnerError, QueryError, OSError) as error:
            return LookedUp(incomplete=str(error))

    def _newest(self, kql: str, size: int, deadline: float) -> LookedUp:
        schema: Schema = replace(shipped_schema(), lenient=True)
        program = resolve_text(parse_text(kql, "kuery"), schema)

        def advance(_: int) -> None:
            if time.monotonic() > deadline:
                raise StoppedError("the time for it was over")

        with EventFiles(self._paths, inner=self._inner) as files:
            ask = ask_for(program, size=size, result_position="tail")
            wanted = TimeWanted((program.plan.timestamp.name,))
            (found,), _ = matched(files, [ask], [date_field(schema, "@timestamp")], wanted=wanted, progress=advance)
            documents: list[Mapping[str, Any]] = []
            for number in (one for match in found.matches for one in match.events if one is not None):
                with suppress(UnreadableEventError):  # broken lines are reported where rules are run
                    documents.append(hit_of(files.fetch(number)).source)
            report = files.report()
        reason = "" if report.is_whole else (*report.unread, *report.failures)[0]
        return LookedUp(tuple(reversed(documents)), reason)
