"""`rule-runner search`: one EQL query, answered as `_eql/search` answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from runner import eql
from runner.cli.commands.asked_query import AskedQuery, print_answer, tell_left_out, tell_refused
from runner.cli.console import counted, progress_bar, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import NO_SOURCE, has_cluster
from runner.engine.plan import EventProgram
from runner.eql.explain.query_reading import unmapped_names
from runner.errors import ClusterError, SearchError, SettingsError, StoppedError, UnreadableEventError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema, with_inferred
from runner.events.files.event_files import EventFiles, ReadProgress, TimeWanted
from runner.file_formats.inner_events import InnerEvents
from runner.search.files.excepted_answer import ExceptedAnswer
from runner.search.files.file_pass import matched
from runner.search.files.file_search import date_field
from runner.search.filter_conditions import FilterRefusedError, with_filters
from runner.settings.settings import Settings

if TYPE_CHECKING:
    from runner.cluster.elasticsearch import Elastic

_Program = TypeVar("_Program", eql.Program, EventProgram, eql.Program | EventProgram)


def search(settings: Settings, asked: AskedQuery, *, mapping: Path | None) -> ExitCode:
    """Print the answer to a query, as `_eql/search` gives it."""
    asked.options.validated()
    if settings.events:
        answer, code = _search_files(settings, asked, read_mapping(mapping))
        print_answer(asked, answer)
        return max(code, asked.code)
    if has_cluster(settings):
        print_answer(asked, asyncio.run(_search_cluster(settings, asked)))
    else:
        raise SettingsError(NO_SOURCE)
    return asked.code


def read_mapping(path: Path | None) -> Schema | None:
    """The schema of a mapping file, None without one. Raises SettingsError."""
    if path is None:
        return None
    try:
        return schema_from_mapping(orjson.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--mapping {path}: {error}") from None


def _search_files(settings: Settings, asked: AskedQuery, mapped: Schema | None) -> tuple[dict[str, Any], ExitCode]:
    """The answer, and an exit code that is not 0 if a file, or every line, could not be read."""
    started, options = time.perf_counter(), asked.options
    inner = InnerEvents(settings.unwrap)
    with EventFiles(settings.events, inner=inner) as files, progress_bar("reading events", files.size) as shown:
        advance = limited(shown, settings)
        program, schema = compiled(
            files, options.parsed(asked.text), options, mapped if mapped is not None else shipped_schema(), advance
        )
        program = filtered_program(asked, program, schema, has_mapping=mapped is not None)
        left_out = excepted_answer(asked, schema, has_mapping=mapped is not None)
        program = left_out.excepting(program)
        ask = options.ask(program)
        wanted = TimeWanted((program.plan.timestamp.name,))
        fields = [date_field(schema, "@timestamp")]
        (found,), _ = matched(files, [left_out.asked(ask)], fields, wanted=wanted, progress=advance)
        found = left_out.left(found, ask, files.fetch)
        answer = eql.answer(program, found, files.fetch, took_ms=int((time.perf_counter() - started) * 1000))
        report = files.report()
        for text in report.warnings():
            warn(text)
        if report.left_out:
            warn(f"{counted(len(report.left_out), 'file')} left out, such as {report.left_out[0]}")
    tell_left_out(asked.exceptions, left_out.events, left_out.matches)
    answer["is_partial"] = not report.is_whole or bool(report.broken or report.oversized or found.crowded)
    is_refused = not report.is_whole or (report.broken and not report.events)
    return answer, ExitCode.FINDINGS if is_refused else ExitCode.FINE


def filtered_program(asked: AskedQuery, program: _Program, schema: Schema, *, has_mapping: bool) -> _Program:
    """The program over the events of files that a rule's filters let through. Raises SettingsError."""
    if asked.rule is None:
        return program
    try:
        return with_filters(program, asked.rule, schema if has_mapping else replace(schema, lenient=True))
    except FilterRefusedError as error:
        raise SettingsError(f'rule "{asked.rule.name}" has a filter that cannot be applied: {error}') from None


def excepted_answer(asked: AskedQuery, schema: Schema, *, has_mapping: bool) -> ExceptedAnswer:
    """The exceptions over the events of files; without a mapping other fields keep the types of their values."""
    left_out = ExceptedAnswer(asked.exceptions, schema if has_mapping else replace(schema, lenient=True))
    tell_refused(left_out)
    return left_out


def limited(progress: ReadProgress, settings: Settings) -> ReadProgress:
    """The progress, which raises StoppedError once a time limit that was set is over."""
    if settings.is_default("search_timeout"):
        return progress
    limit = settings.search_timeout.total_seconds()
    deadline = time.monotonic() + limit

    def advance(count: int) -> None:
        progress(count)
        if time.monotonic() > deadline:
            text = f"the search took longer than {limit:g} s (RUNNER_SEARCH_TIMEOUT) and was stopped"
            raise StoppedError(f"{', '.join(settings.events)}: {text}")

    return advance


def compiled(
    files: EventFiles, query: eql.ParsedQuery, options: eql.SearchOptions, schema: Schema, advance: ReadProgress
) -> tuple[eql.Program, Schema]:
    """The query's program, and the schema that it was resolved with.

    If the query names fields that the schema does not have, optional ones too, types are inferred from the events.
    """
    try:
        program = options.program(query, schema)
    except eql.VerificationError:
        program = None
    if program is not None and not unmapped_names(query, schema):
        return program, schema
    inferred = with_inferred(schema, documents(files, schema, advance))
    return options.program(query, inferred), inferred


def documents(files: EventFiles, schema: Schema, advance: ReadProgress) -> Iterator[dict[str, Any]]:
    """Every document of the files, whole."""
    for batch in files.batches(Columns([date_field(schema, "@timestamp")]), progress=advance):
        files.keep(batch, batch.all_rows())
        for number in range(batch.base, batch.base + len(batch)):
            try:
                document = files.fetch(number)
            except UnreadableEventError:
                continue  # a match of it is an error of its own
            source = document.get("_source")
            yield source if isinstance(source, dict) else document


async def _search_cluster(settings: Settings, asked: AskedQuery) -> dict[str, Any]:
    from runner.cli.cluster_wiring import opened_client
    from runner.search.cluster.excepted_query import ExceptedQuery

    body, timeout = asked.options.body(asked.text), settings.search_timeout.total_seconds()
    async with opened_client(settings) as client:
        if not asked.exceptions and asked.rule is None:
            return await _answer(client, asked.index, body, timeout=timeout)
        query = ExceptedQuery(client, asked.compiled())
        answer = await _answer(client, asked.index, await query.body(body), timeout=timeout)
        answer = await query.left(answer, asked.now)
    for text in query.warnings:
        warn(text)
    tell_left_out(asked.exceptions, query.events, query.matches)
    return answer


async def _answer(client: Elastic, index: Sequence[str], body: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    """The completed answer; a search that takes longer than `timeout` seconds is stopped on the server."""
    from runner.cluster.answer_shapes import EQL_DONE
    from runner.search.cluster.eql_api import GRACE, completed, read_matches

    deadline = asyncio.get_running_loop().time() + timeout
    waiting = {"wait_for_completion_timeout": "5s", "keep_alive": "5m"}
    try:
        answer = await client.eql_submit(
            index, body, params=waiting, deadline=deadline + GRACE, opaque_id="rule-runner:search"
        )
    except ClusterError as error:
        if error.no_such_api:
            raise SettingsError(
                "this cluster has no EQL search API, which `search` needs; rules run without it, and `search --events` "
                "searches files"
            ) from None
        raise
    late = SearchError(f"the search took longer than {timeout:g} s and was stopped")
    found = await completed(client, answer, deadline=deadline, patience=lambda left: waiting, late=late)
    action = f"search with EQL in {','.join(index)}"
    client.transport.require(found, EQL_DONE, action=action)
    if read_matches(found) is None:
        raise client.transport.wrong(found, action, "expected `hits.events` or `hits.sequences`")
    return dict(found)
