"""`StoredAlertSearch`: rules that read alerts, over the alerts that are stored, as events.

They are written to a file as hits of Kibana's alias, with the names that they had before Kibana 8 (`signal.*`), and
searched by the local engine as any other events.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Protocol

from runner.errors import RunnerError
from runner.json_text import write_json
from runner.rules.new_terms import new_terms_of
from runner.search.files.file_search import FileSearch
from runner.search.own_alerts import ALERTS, SIGNAL_NAMES
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window, from_nanoseconds


class AlertReader(Protocol):
    """Reads stored alerts, in no particular order. Raises RunnerError."""

    def __call__(self, window: Window) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The ids and documents of those that were detected from the start of the window on, those of building blocks
        among them, and of one that was detected before, if there is one."""
        ...


class StoredAlertSearch:
    """The alerts of one store. `paths` are the files of events, `learn` is as in `TermSearch`."""

    def __init__(self, read: AlertReader, paths: Sequence[str | Path], *, space: str, learn: timedelta) -> None:
        self._read, self._paths, self._index, self._learn = read, tuple(paths), f"{ALERTS}{space}", learn

    async def with_alerts(self, held: Sequence[SearchResult]) -> AsyncIterator[SearchResult]:
        """Results over the stored alerts for those over files; where both have something, over both together."""
        requests = [result.request for result in held if result.error is None]
        with tempfile.TemporaryDirectory(prefix="rule-runner-alerts-") as folder:
            path = Path(folder, "alerts.ndjson")
            try:
                await self._write(path, requests)
            except (RunnerError, OSError) as error:
                for result in held:
                    yield result if result.error else SearchResult(result.request, error=f"stored alerts: {error}")
                return
            found = await self._searched([str(path)], requests) if path.stat().st_size else {}
            both = [one.request for one in held if _has_found(one) and _has_found(found.get(id(one.request)))]
            if both and "-" not in self._paths:  # standard input cannot be read again
                found |= await self._searched([*map(str, self._paths), str(path)], both)
            for result in held:
                yield _joined(result, found.get(id(result.request)))

    async def _write(self, path: Path, requests: Sequence[SearchRequest]) -> None:
        with path.open("wb") as file:
            if requests:
                window = Window(min(map(_start, requests)), max(request.window.end for request in requests))
                async for id_, document in self._read(window):
                    self._add(file, id_, document)

    def _add(self, file: IO[bytes], id_: str, document: dict[str, Any]) -> None:
        former = {old: document[new] for old, new in SIGNAL_NAMES.items() if new in document}
        hit = {"_index": self._index, "_id": id_, "_source": {**document, **former}}
        file.write(write_json(hit, default=str) + b"\n")

    async def _searched(self, paths: Sequence[str], requests: Sequence[SearchRequest]) -> dict[int, SearchResult]:
        """The results by the identity of their requests, with all documents that they need: the files are gone then."""
        search = FileSearch(paths, names_unknown=False)
        search.terms.learn = self._learn
        try:
            await search.prepare(list({request.compiled: None for request in requests}))
            found: dict[int, SearchResult] = {}
            async for result in search.run(requests):
                hits = result.buckets
                if hits is not None:
                    known = {event.number: hits.hit(event.number) for one in hits.found for event in one.events}
                    hits = replace(hits, hit=known.__getitem__)
                found[id(result.request)] = replace(result, matches=tuple(result.matches), buckets=hits)
            return found
        finally:
            await search.close()


def _start(request: SearchRequest) -> Any:
    """Since when alerts are needed for a request."""
    if request.rule.type != "new_terms":
        return request.window.start
    history = new_terms_of(request.rule).history_at(request.rule, request.window.end)
    return min(request.window.start, from_nanoseconds(history.start))


def _has_found(result: SearchResult | None) -> bool:
    return result is not None and (len(result.matches) > 0 or bool(result.buckets and result.buckets.found))


def _joined(of_files: SearchResult, of_alerts: SearchResult | None) -> SearchResult:
    """The one of two results that has found something, complete if both are. That no event is of an index of alerts is
    not said."""
    if of_files.error is not None or (_has_found(of_files) and of_alerts is None):
        return of_files
    if of_alerts is None:
        return replace(of_files, warnings=_told(of_files), blind=False)
    if _has_found(of_files) and not _has_found(of_alerts):
        return of_files
    told = tuple(dict.fromkeys((*_told(of_files), *_told(of_alerts))))
    return replace(of_alerts, complete=of_files.complete and of_alerts.complete, warnings=told, blind=False)


def _told(result: SearchResult) -> tuple[str, ...]:
    """The warnings of a result, without any of one that saw no event."""
    return () if result.blind and result.complete else result.warnings
