"""`rule-runner search --explain`: how a query was read, how far the events got, why given events match or do not."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from runner import eql
from runner.alerts.explain.counted_keys import CountedKeys
from runner.alerts.explain.judged_terms import JudgedTerms
from runner.alerts.explain.met_indicators import MetIndicators
from runner.cli.commands.asked_query import AskedQuery
from runner.cli.commands.explained_exceptions import ExplainedExceptions
from runner.cli.commands.explained_findings import counted_keys, judged_terms, met_indicators
from runner.cli.commands.search import compiled, excepted_answer, filtered_program, read_mapping
from runner.cli.commands.text_search import compiled_text
from runner.cli.console import out, print_json, progress_bar, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.explain_page import ExplainedEvent, Explanation, page
from runner.engine.plan import EventProgram, Plan
from runner.eql.explain.event_chain import ChainEvent, link, prefixes
from runner.eql.explain.event_verdict import Judge
from runner.eql.explain.funnel import Funnel
from runner.eql.explain.partial_trace import Trace, trace
from runner.eql.explain.query_reading import explain, origin_in, unmapped_names
from runner.errors import SettingsError
from runner.events.columns.batch import Columns
from runner.events.event_references import EventLine, find_events, places_of
from runner.events.fields.schema import Schema, shipped_schema
from runner.events.files.event_files import EventFiles
from runner.file_formats.inner_events import InnerEvents
from runner.search.files.excepted_answer import ExceptedAnswer
from runner.search.files.file_search import date_field
from runner.search.files.indicator_search import IndicatorSearch
from runner.settings.settings import Settings

_NO_FILES = (
    "--explain works on files, with the local engine: name files or folders with --events; "
    "a cluster does not say why an event does not match"
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Searched:
    """One pass over the files: what was found, and how far each event got."""

    program: eql.Program | EventProgram
    """The query without exceptions; `plan` is with them."""
    plan: Plan
    unmapped: tuple[str, ...]
    known: Schema
    funnel: Funnel
    all_matches: int
    returned: tuple[tuple[int | None, ...], ...]
    error: str
    now_ns: int
    left_out: ExceptedAnswer
    counts: CountedKeys | None = None
    terms: JudgedTerms | None = None
    met: MetIndicators | None = None


def explain_search(
    settings: Settings,
    asked: AskedQuery,
    *,
    mapping: Path | None,
    references: Sequence[str],
    form: str,
) -> ExitCode:
    """Print how a query was read and what came of it over the files, or why the referenced events match or do not.

    `references` are as `find_events` takes them, `form` is text or json. Raises SettingsError, EventsError, QueryError.
    """
    if form not in ("text", "json"):
        raise SettingsError(f"--explain-format {form}: expected text or json")
    if not settings.events:
        raise SettingsError(_NO_FILES)
    asked.options.validated()
    mapped = read_mapping(mapping)
    with _files_on_disk(settings.events) as (paths, names):
        known = mapped if mapped is not None else shipped_schema()
        inner = InnerEvents(settings.unwrap)
        indicators = IndicatorSearch(settings.indicators, paths, inner=inner)
        with EventFiles(paths, inner=inner) as files, closing(indicators):
            searched = _search(files, asked, known, has_mapping=mapped is not None, indicators=indicators)
            listed = files.paths
        lines = find_events(listed, references, inner) if references else []
        explanation = _explanation(searched, lines, asked, has_mapping=mapped is not None)
        explanation = _with_places(explanation, listed, names, inner)
    if form == "json":
        print_json(dataclasses.asdict(explanation) | {"places": {str(n): at for n, at in explanation.places.items()}})
    else:
        console = out()
        for line in page(explanation):
            console.print(line, soft_wrap=True)
    return asked.code


@contextmanager
def _files_on_disk(paths: Sequence[str | Path]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The paths with standard input as a file, because it is read more than once; and what such a file is called."""
    if "-" not in map(str, paths):
        yield [str(path) for path in paths], {}
        return
    with tempfile.NamedTemporaryFile(prefix="rule-runner-", suffix=".ndjson") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield [copy.name if str(path) == "-" else str(path) for path in paths], {copy.name: "standard input"}


def _search(
    files: EventFiles, asked: AskedQuery, known: Schema, *, has_mapping: bool, indicators: IndicatorSearch
) -> _Searched:
    now_ns, options = time.time_ns(), asked.options
    bare: eql.Program | EventProgram
    unmapped: tuple[str, ...] = ()
    with progress_bar("reading events", files.size) as advance:
        if asked.language == "eql":
            query = options.parsed(asked.text)
            bare, schema = compiled(files, query, options, known, advance)
            unmapped = unmapped_names(query, schema)
        else:
            bare, schema = compiled_text(files, asked, known if has_mapping else None, advance)
        bare = filtered_program(asked, bare, schema, has_mapping=has_mapping)
        left_out = excepted_answer(asked, schema, has_mapping=has_mapping)
        program = left_out.excepting(bare)
        plan = program.plan
        limited = options.ask(program, now_ns=now_ns)
        whole = dataclasses.replace(limited, limits=())
        matcher = eql.Matcher([left_out.asked(limited), whole])
        funnel = Funnel(plan, now_ns=now_ns)
        columns = Columns([*matcher.fields(), date_field(schema, "@timestamp")])
        for batch in files.batches(columns, time_field=plan.timestamp.name, progress=advance):
            rows = matcher.feed(batch)
            if left_out.of_alerts.items:
                files.keep(batch, rows)
            funnel.feed(batch)
        found, everything = matcher.found()
        found = left_out.left(found, limited, files.fetch)
        if left_out.of_alerts.items:
            left_out.events.clear()
            left_out.matches.clear()
            everything = left_out.left(everything, whole, files.fetch)
        counts, terms, met = None, None, None
        if isinstance(program, EventProgram):
            lenient = schema if has_mapping else dataclasses.replace(schema, lenient=True)
            counts = counted_keys(files, asked, program, lenient, advance)
            terms = judged_terms(files, asked, program, lenient, advance)
            met = met_indicators(files, asked, program, lenient, advance, indicators)
    for text in files.report().warnings():
        warn(text)
    return _Searched(
        program=bare,
        plan=plan,
        unmapped=unmapped,
        known=known,
        funnel=funnel,
        all_matches=len(everything.matches),
        returned=tuple(match.events for match in found.matches),
        error=found.error or "",
        now_ns=now_ns,
        left_out=left_out,
        counts=counts,
        terms=terms,
        met=met,
    )


def _explanation(
    searched: _Searched, lines: Sequence[EventLine], asked: AskedQuery, *, has_mapping: bool
) -> Explanation:
    program, plan, funnel = searched.program, searched.plan, searched.funnel
    judge = Judge(program.plan, now_ns=searched.now_ns)
    excepting = ExplainedExceptions(asked.exceptions, searched.left_out, searched.now_ns)
    judged = [excepting.judged(judge.judge(line.source()), line.source()) for line in lines]
    given = [ChainEvent(line.number, event.verdict) for line, event in zip(lines, judged, strict=True)]
    positive = [place for place, stage in enumerate(plan.stages) if not stage.missing]
    as_chain = len(given) > 1
    if as_chain:
        _check_chain(plan, len(given), len(positive))
    groups = funnel.groups() if plan.kind == "sequence" else []
    traced: Trace | None = None
    if plan.kind == "sequence" and not searched.error:
        traced = trace(plan, groups, watch=prefixes([one.number for one in given]) if as_chain else ())
    events = tuple(
        ExplainedEvent(
            line.number,
            line.event_id,
            event.verdict,
            positive[place] if as_chain else None,
            event.exceptions,
            event.nearest,
        )
        for place, (event, line) in enumerate(zip(judged, lines, strict=True))
    )
    return Explanation(
        reading=explain(
            program,
            origin_in(searched.known, "the mapping" if has_mapping else "shipped table"),
            unmapped=searched.unmapped,
            limits=asked.options.ask(program, now_ns=searched.now_ns).limits,
        ),
        stages=excepting.named(funnel.stages(), program.plan),
        steps=traced.steps if traced is not None else (),
        keys=funnel.key_steps() if plan.kind == "sample" else (),
        complete=searched.all_matches,
        refused=traced.refused if traced is not None else (),
        returned=len(searched.returned),
        error=searched.error,
        events=events,
        chain=link(plan, given, groups, traced, returned=searched.returned) if as_chain else None,
        maxspan_ns=plan.maxspan,
        places={},
        exceptions=excepting.listed(),
        counts=searched.counts,
        terms=searched.terms,
        met=searched.met,
    )


def _check_chain(plan: Plan, count: int, most: int) -> None:
    if plan.kind == "event":
        raise SettingsError(
            "several --event name the events of a sequence in stage order: an event query has no stages"
        )
    if count > most:
        raise SettingsError(f"--event was given {count} times, but the {plan.kind} has {most} stages with an event")


def _with_places(
    explanation: Explanation, paths: Sequence[str], names: dict[str, str], inner: InnerEvents
) -> Explanation:
    """The explanation with `file:line` for every event that it names."""
    numbers = {event.number for event in explanation.events}
    chain = explanation.chain
    numbers.update(term.event for term in (explanation.terms.new if explanation.terms is not None else ()))
    numbers.update(one.event for one in (explanation.met.shown if explanation.met is not None else ()))
    endings = [*explanation.refused[:1]]
    if chain is not None:
        numbers.update(link.until for link in chain.links if link.until is not None)
        endings += chain.endings
    for step in explanation.steps:
        endings += [*step.examples, *([step.nearest] if step.nearest is not None else [])]
        if step.near_key is not None:
            numbers.update((step.near_key.last, step.near_key.next))
    numbers.update(number for ending in endings for number in (*ending.events, ending.by) if number is not None)
    found = places_of(paths, numbers, inner)
    places = {number: f"{names.get(line.path, line.path)}:{line.line}" for number, line in found.items()}
    return dataclasses.replace(explanation, places=places)
