"""`rule-runner search --language kuery|lucene`: a query in KQL or Lucene's syntax, answered as `_search` answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import kql, lucene
from runner.cli.commands.asked_query import AskedQuery, print_answer, tell_left_out
from runner.cli.commands.search import documents, excepted_answer, filtered_program, limited, read_mapping
from runner.cli.console import counted, progress_bar, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import NO_SOURCE, has_cluster
from runner.engine.plan import EventProgram
from runner.errors import ClusterError, SettingsError
from runner.events.fields.schema import Schema, schema_from_field_caps, shipped_schema
from runner.events.files.event_files import EventFiles, ReadProgress, TimeWanted
from runner.file_formats.inner_events import InnerEvents
from runner.kql.search_api import ParsedText, answer, ask_for, parse_text, resolve_text, schema_of_text
from runner.lucene import LuceneQuery
from runner.messages.suggestions import did_you_mean
from runner.search.files.file_pass import matched
from runner.search.files.file_search import date_field
from runner.settings.settings import Settings

if TYPE_CHECKING:
    from runner.cluster.elasticsearch import Elastic

LANGUAGES = {"eql": "eql", "kuery": "kuery", "kql": "kuery", "lucene": "lucene"}
"""The languages by the names that they have on the command line."""


def language_named(name: str) -> str:
    """The language of that name. Raises SettingsError."""
    found = LANGUAGES.get(name.lower())
    if found is None:
        raise SettingsError(f"--language {name}: expected eql, kuery (kql) or lucene{did_you_mean(name, LANGUAGES)}")
    return found


def search(settings: Settings, asked: AskedQuery, *, mapping: Path | None) -> ExitCode:
    """Print the answer to a query in KQL (`kuery`) or Lucene's syntax (`lucene`), as `_search` gives it."""
    if asked.options.size < 0 or asked.options.result_position not in ("head", "tail"):
        raise SettingsError("expected --size 0 or more, and --result-position head or tail")
    if asked.remark:
        say(asked.remark)
    if settings.events:
        found, code = _search_files(settings, asked, read_mapping(mapping))
        print_answer(asked, found)
        return max(code, asked.code)
    if not has_cluster(settings):
        raise SettingsError(NO_SOURCE)
    print_answer(asked, asyncio.run(_search_cluster(settings, asked)))
    return asked.code


def _search_files(settings: Settings, asked: AskedQuery, mapped: Schema | None) -> tuple[dict[str, Any], ExitCode]:
    """The answer, and an exit code that is not 0 if a file, or every line, could not be read."""
    started, options = time.perf_counter(), asked.options
    inner = InnerEvents(settings.unwrap)
    with EventFiles(settings.events, inner=inner) as files, progress_bar("reading events", files.size) as shown:
        advance = limited(shown, settings)
        program, schema = compiled_text(files, asked, mapped, advance)
        for finding in program.warnings:
            line, column = program.source.place(finding.span.start)
            warn(f"query:{line}:{column}: {finding.text}")
        program = filtered_program(asked, program, schema, has_mapping=mapped is not None)
        left_out = excepted_answer(asked, schema, has_mapping=mapped is not None)
        program = left_out.excepting(program)
        ask = ask_for(program, size=options.size, result_position=options.result_position)
        wanted = TimeWanted((program.plan.timestamp.name,))
        fields = [date_field(schema, "@timestamp")]
        (found,), _ = matched(files, [left_out.asked(ask)], fields, wanted=wanted, progress=advance)
        found = left_out.left(found, ask, files.fetch)
        took = int((time.perf_counter() - started) * 1000)
        made = answer(found, files.fetch, size=options.size, took_ms=took)
        report = files.report()
        for text in report.warnings():
            warn(text)
        if report.left_out:
            warn(f"{counted(len(report.left_out), 'file')} left out, such as {report.left_out[0]}")
    tell_left_out(asked.exceptions, left_out.events, left_out.matches)
    made["is_partial"] = not report.is_whole or bool(report.broken or report.oversized)
    is_refused = not report.is_whole or (report.broken and not report.events)
    return made, ExitCode.FINDINGS if is_refused else ExitCode.FINE


def compiled_text(
    files: EventFiles, asked: AskedQuery, mapped: Schema | None, advance: ReadProgress
) -> tuple[EventProgram, Schema]:
    """The query's program, and the schema that it was resolved with.

    Without a mapping, the types of fields that the shipped table has not are inferred from the events, and a text in
    all fields is searched in those that the events have.
    """
    parsed = parse_text(asked.text, asked.language)
    schema = mapped if mapped is not None else shipped_schema()
    is_known = not parsed.needs_all_fields and all(schema.find(name) is not None for name in parsed.names())
    if mapped is None and not is_known:
        schema = schema_of_text(parsed, schema, documents(files, schema, advance))
    return resolve_text(parsed, schema, timestamp_field=asked.options.timestamp_field), schema


async def _search_cluster(settings: Settings, asked: AskedQuery) -> dict[str, Any]:
    from runner.cli.cluster_wiring import opened_client

    if asked.exceptions or (asked.rule is not None and asked.rule.filters):
        raise SettingsError(
            "with exceptions or filters, KQL and Lucene's syntax are searched in files alone (--events)"
        )
    parsed = parse_text(asked.text, asked.language)
    async with opened_client(settings) as client:
        return await _answer(client, parsed, asked)


async def _answer(client: Elastic, parsed: ParsedText, asked: AskedQuery) -> dict[str, Any]:
    """The answer of the cluster, its hits in the order of time. Raises KqlError where the place of a fault is known."""
    options, schema = asked.options, None
    if isinstance(parsed, LuceneQuery):
        query = {"bool": {"filter": [lucene.query_dsl(parsed)]}}
    else:
        wanted = ["*"] if parsed.needs_all_fields else sorted(_with_parents(parsed.names()))
        schema = schema_from_field_caps(await client.field_caps(asked.index, wanted)) if wanted else Schema()
        query = kql.query_dsl(parsed, schema)
    order = "asc" if options.result_position == "head" else "desc"
    sort = [{options.timestamp_field: {"order": order, "unmapped_type": "date", "missing": "_last"}}]
    body = {"query": query, "size": options.size, "sort": sort}
    try:
        found = await client.search(asked.index, body, params={"allow_partial_search_results": False})
    except ClusterError as error:
        if schema is not None and error.status == 400:
            resolve_text(parsed, schema)  # which says in its own words what a search fails on, and where
        raise
    if options.result_position == "tail":
        found["hits"]["hits"].reverse()
    return found


def _with_parents(names: Iterable[str]) -> Iterator[str]:
    """The names with those of the fields above them, which may be nested, and below them."""
    for name in names:
        yield from (name, f"{name}.*")
        while "." in name:
            name = name.rpartition(".")[0]
            yield name
