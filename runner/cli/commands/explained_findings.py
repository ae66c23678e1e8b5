"""What a rule makes of the events that its query finds: the keys that it counts, or the terms that are new to it."""

from __future__ import annotations

from runner import eql
from runner.alerts.bursts import reach_of
from runner.alerts.explain.counted_keys import CountedKeys, count_keys
from runner.alerts.explain.judged_terms import JudgedTerms, judge_terms
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
from runner.search.files.term_search import term_field
from runner.search.threshold_keys import keyed_program, threshold_of
from runner.windows import from_nanoseconds


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
