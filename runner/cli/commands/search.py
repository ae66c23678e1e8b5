"""`rule-runner search`: one EQL query, answered as `_eql/search` answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from runner import eql
from runner.cli.console import print_json, progress_bar, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import NO_SOURCE, has_cluster
from runner.eql.explain.query_reading import unmapped_names
from runner.errors import ClusterError, SearchError, SettingsError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema, with_inferred
from runner.events.files.event_files import EventFiles, ReadProgress, TimeWanted
from runner.search.files.file_pass import matched
from runner.search.files.file_search import date_field
from runner.settings.settings import Settings

if TYPE_CHECKING:
    from runner.cluster.elasticsearch import Elastic


def search(
    settings: Settings,
    query: str,
    *,
    wanted: Mapping[str, Any],
    mapping: Path | None,
    index: str,
    partial: Mapping[str, bool],
) -> ExitCode:
    """Print the answer to a query, as `_eql/search` gives it; `wanted` are the options by their names there."""
    chosen = eql.SearchOptions(**wanted).validated()
    text = query_text(query)
    if settings.events:
        print_json(_search_files(settings, text, chosen, read_mapping(mapping)))
    elif has_cluster(settings):
        print_json(asyncio.run(_search_cluster(settings, text, chosen, index=index, partial=partial)))
    else:
        raise SettingsError(NO_SOURCE)
    return ExitCode.FINE


def query_text(query: str) -> str:
    """The query itself, or the text of the file that `@FILE` names. Raises SettingsError."""
    if not query.startswith("@"):
        return query
    try:
        return Path(query[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"query file {query[1:]}: {error}") from None


def read_mapping(path: Path | None) -> Schema | None:
    """The schema of a mapping file, None without one. Raises SettingsError."""
    if path is None:
        return None
    try:
        return schema_from_mapping(orjson.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--mapping {path}: {error}") from None


def _search_files(settings: Settings, query: str, chosen: eql.SearchOptions, mapped: Schema | None) -> dict[str, Any]:
    started = time.perf_counter()
    with EventFiles(settings.events) as files, progress_bar("reading events", files.size) as advance:
        program, _ = compiled(files, query, chosen, mapped if mapped is not None else shipped_schema(), advance)
        wanted = TimeWanted((program.plan.timestamp.name,))
        fields = [date_field(Schema(), "@timestamp")]
        (found,), _ = matched(files, [chosen.ask(program)], fields, wanted=wanted, progress=advance)
        answer = eql.answer(program, found, files.fetch, took_ms=int((time.perf_counter() - started) * 1000))
        for text in files.report().warnings():
            warn(text)
    return answer


def compiled(
    files: EventFiles, query: str, chosen: eql.SearchOptions, schema: Schema, advance: ReadProgress
) -> tuple[eql.Program, Schema]:
    """The query compiled, and the schema that it was compiled with.

    If it names fields that the schema has not, optional ones too, the events are asked for them.
    """
    try:
        program = chosen.program(query, schema)
    except eql.VerificationError:
        program = None
    if program is not None and not unmapped_names(query, schema):
        return program, schema
    inferred = with_inferred(schema, _documents(files, advance))
    return chosen.program(query, inferred), inferred


def _documents(files: EventFiles, advance: ReadProgress) -> Iterator[dict[str, Any]]:
    """Every document of the files, whole."""
    for batch in files.batches(Columns([date_field(Schema(), "@timestamp")]), progress=advance):
        files.keep(batch, batch.all_rows())
        for number in range(batch.base, batch.base + len(batch)):
            document = files.fetch(number)
            source = document.get("_source")
            yield source if isinstance(source, dict) else document


async def _search_cluster(
    settings: Settings, query: str, chosen: eql.SearchOptions, *, index: str, partial: Mapping[str, bool]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "query": query,
        "size": chosen.size,
        "fetch_size": chosen.fetch_size,
        "result_position": chosen.result_position,
        "event_category_field": chosen.event_category_field,
        "timestamp_field": chosen.timestamp_field,
        **{name: True for name, wanted in partial.items() if wanted},
    }
    if chosen.tiebreaker_field is not None:
        body["tiebreaker_field"] = chosen.tiebreaker_field
    if chosen.max_samples_per_key != 1:
        body["max_samples_per_key"] = chosen.max_samples_per_key
    from runner.cli.cluster_wiring import opened_client

    async with opened_client(settings) as client:
        return await _answer(client, index, body, timeout=settings.search_timeout.total_seconds())


async def _answer(client: Elastic, index: str, body: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    """The completed answer; a search that takes longer than `timeout` seconds is stopped on the server."""
    from runner.search.cluster.eql_api import GRACE, completed

    deadline = asyncio.get_running_loop().time() + timeout
    waiting = {"wait_for_completion_timeout": "5s", "keep_alive": "5m"}
    try:
        answer = await client.eql_submit(
            [index], body, params=waiting, deadline=deadline + GRACE, opaque_id="rule-runner:search"
        )
    except ClusterError as error:
        if error.no_such_api:
            raise SettingsError(
                "this cluster has no EQL search API, which `search` needs; rules run without it, and `search --events` "
                "searches files"
            ) from None
        raise
    late = SearchError(f"the search took longer than {timeout:g} s and was stopped")
    return dict(await completed(client, answer, deadline=deadline, patience=lambda left: waiting, late=late))
