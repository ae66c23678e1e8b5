"""What a rule makes of the events that its query finds: the keys that it counts, or the terms that are new to it."""

from __future__ import annotations

from dataclasses import replace

from runner import eql
from runner.alerts.bursts import reach_of
from runner.alerts.explain.counted_keys import CountedKeys, count_keys
from runner.alerts.explain.judged_terms import JudgedTerms, judge_terms
from runner.alerts.explain.met_indicators import SHOWN, MetEvent, MetIndicators, compare_fields
from runner.cli.commands.asked_query import AskedQuery
from runner.engine.plan import EventProgram, KeyField, Plan, with_keys
from runner.engine.scope import Scope
from runner.engine.sequence.open_matches import FoundRows
from runner.errors import SettingsError
from runner.events.fields.schema import Schema
from runner.events.files.event_files import EventFiles, ReadProgress, TimeWanted
from runner.messages.query_errors import QueryError
from runner.rules.new_terms import new_terms_of
from runner.search.compiled_rule import time_fields
from runner.search.files.file_pass import matched
from runner.search.files.file_search import date_field
from runner.search.files.indicator_search import IndicatorSearch
from runner.search.files.term_search import term_field
from runner.search.filter_conditions import filtered
from runner.search.protocol import SearchRequest, hit_of
from runner.search.threshold_keys import keyed_program, threshold_of
from runner.windows import Window, from_nanoseconds


def counted_keys(
    files: EventFiles, asked: AskedQuery, program: EventProgram, schema: Schema, advance: ReadProgress
) -> CountedKeys | None:
    """The keys of a threshold rule over all events; None of another rule. Raises SettingsError."""
    if asked.rule is None or (threshold := threshold_of(asked.rule)) is None:
        return None
    try:
        plan = keyed_program(program, threshold, schema).plan
    except QueryError as error:
        raise SettingsError(f'rule "{asked.rule.name}": {error}') from None
    rows = _rows(files, asked, plan, schema, advance)
    return count_keys(() if rows is None else rows.keyed(), threshold, reach_of(asked.rule))


def judged_terms(
    files: EventFiles, asked: AskedQuery, program: EventProgram, schema: Schema, advance: ReadProgress
) -> JudgedTerms | None:
    """The terms of a rule of type new_terms in its window up to the newest event; None of another rule, and without
    events. Raises SettingsError."""
    report = files.report()
    oldest, newest = report.oldest_ns, report.newest_ns
    if asked.rule is None or asked.rule.type != "new_terms" or newest is None:
        return None
    condition = new_terms_of(asked.rule)
    try:
        history = condition.history_at(asked.rule, from_nanoseconds(newest + 999))
    except ValueError as error:
        raise SettingsError(f'rule "{asked.rule.name}": {error}') from None
    plan = with_keys(program.plan, [KeyField(term_field(schema, name)) for name in condition.fields])
    rows = _rows(files, asked, plan, schema, advance)
    return judge_terms(() if rows is None else rows.keyed(), condition.fields, history, oldest)


def met_indicators(
    files: EventFiles,
    asked: AskedQuery,
    program: EventProgram,
    schema: Schema,
    advance: ReadProgress,
    search: IndicatorSearch,
) -> MetIndicators | None:
    """The events of a rule of type threat_match beside its indicators, as of the newest event; None of another rule,
    and without events. Raises SettingsError."""
    newest = files.report().newest_ns
    if asked.rule is None or asked.rule.type != "threat_match" or newest is None:
        return None
    end = from_nanoseconds(newest + 999)
    request = SearchRequest(asked.compiled(), Window(end - asked.rule.look_back, end), 1)
    indicators = search.begun([request], replace(schema, lenient=True))
    answer = indicators.answers[id(request)]
    if answer.table is None:
        raise SettingsError(f'rule "{asked.rule.name}": {answer.error}')
    table = answer.table
    keys = [KeyField(one, optional=True) for one in table.event_fields()]
    rows = _rows(files, asked, with_keys(program.plan, keys), schema, advance) if keys else None
    compared = compare_fields(table, () if rows is None else rows.keyed())
    met: list[MetEvent] = []
    count = 0
    if table.count:
        candidates = _rows(files, asked, filtered(program.plan, table.condition()), schema, advance)
        for match in () if candidates is None else candidates.distinct():
            number = match.events[0]
            found = () if number is None else search.of_event(table, hit_of(files.fetch(number)).source)
            count += bool(found)
            if found and number is not None and len(met) < SHOWN:
                met.append(MetEvent(number, found))
    return MetIndicators(table.count, len(table.groups), compared, count, tuple(met), indicators.told(request))


def _rows(files: EventFiles, asked: AskedQuery, plan: Plan, schema: Schema, advance: ReadProgress) -> FoundRows | None:
    """The events of the rule's indices that the query finds, by their keys, ascending in time."""
    assert asked.rule is not None
    times = time_fields(asked.rule)
    ask = eql.Ask(plan, Scope(asked.index, times), now_ns=0)
    fields = [date_field(schema, name) for name in dict.fromkeys(("@timestamp", *times))]
    (found,), _ = matched(files, [ask], fields, wanted=TimeWanted(times), progress=advance)
    if found.error is not None:
        raise SettingsError(f'rule "{asked.rule.name}": {found.error}')
    return found.matches if isinstance(found.matches, FoundRows) else None
