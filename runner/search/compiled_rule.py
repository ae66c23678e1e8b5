"""`CompiledRule`: a rule with its query parsed, once per version of the rule, when rules are loaded.

`compile_rule` is the only place that chooses a front end by the rule's language. Searches resolve the parsed query
against the fields that they find (`CompiledRule.program`). Which types of rules are run is another question, which
`rules/load.py` answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeAlias

from runner import eql, esql, kql, lucene
from runner.engine.plan import EventProgram
from runner.eql.syntax import ast
from runner.errors import Problem, Severity
from runner.esql import EsqlQuery
from runner.events.fields.schema import Schema
from runner.exceptions.conditions import ResolvedItems, excepting, resolve_items
from runner.exceptions.item import ExceptionItem, ExceptionScope
from runner.expressions import nodes
from runner.expressions.mapped_fields import is_mapped
from runner.garbage_collection import rarely_collecting
from runner.kql import KqlQuery
from runner.lucene import LuceneQuery
from runner.messages.query_doubts import CONTROLS, lost_backslashes, text_doubts
from runner.messages.query_errors import QueryError, QueryFinding
from runner.messages.text_positions import IN_QUERY, Source, Span
from runner.rules.model_errors import FieldFinding, RuleKeyError, shortened
from runner.rules.new_terms import new_terms_of
from runner.rules.rule import Rule, place_in_file
from runner.rules.threat_match import threat_match_of
from runner.rules.toml_file import decoded, places_in, problem_of, read_bytes
from runner.rules.toml_positions import spelled_offset
from runner.search.threshold_keys import keyed_program, threshold_fields, threshold_of
from runner.windows import Window


@dataclass(frozen=True, slots=True)
class AnomalyQuery:
    """What a rule of type machine_learning asks for: the anomaly records of jobs, from a score on."""

    jobs: tuple[str, ...]
    score: int


RuleQuery: TypeAlias = eql.ParsedQuery | KqlQuery | LuceneQuery | EsqlQuery | AnomalyQuery
RuleProgram: TypeAlias = eql.Program | EventProgram


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the matches of a rule reach in time.

    `maxspan` is the longest time between the events of a match (zero for single events and for sequences without one:
    nothing is known of those). `leading` and `trailing` say that the first or the last term is a missing event.
    `bounded` is False where the events of a match may lie anywhere in the window, or where one match depends on all
    others: sequences without a maxspan, samples, queries with pipes.

    `step` is the interval of a rule whose matches depend on where the window lies, such as counts over all of it: then
    each window stands for the runs of the last `step` of it alone, and none is joined, divided or made longer.
    """

    maxspan: timedelta = timedelta(0)
    leading: bool = False
    trailing: bool = False
    bounded: bool = True
    step: timedelta | None = None

    def shown(self, window: Window) -> Window:
        """The times at which a match may end that lies wholly in the window: all but its first `maxspan`; or what of
        the rule's runs the window stands for."""
        if self.step is not None:
            return Window(max(window.start, window.end - self.step), window.end)
        return Window(min(window.start + self.maxspan, window.end), window.end)


@dataclass(frozen=True, slots=True)
class UnknownFields:
    """The unknown fields of a rule: those without a `?`; and those with one below a `not`, where it matters whether a
    missing value is that of a field or a null."""

    required: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """One version of a rule, its parsed query, and what follows from the query without a schema.

    `field_names` are all fields that a search of the rule reads: those of the query, its category, time and tiebreaker.
    """

    rule: Rule
    query: RuleQuery
    reach: Reach
    field_names: frozenset[str]
    exceptions: tuple[ExceptionItem, ...] = ()
    """What is excepted in the run at hand. `program` leaves out events; see `excepted_alert` for those of scope alert.
    """
    indicator_query: KqlQuery | LuceneQuery | None = None
    """What the indicators of a rule of type threat_match must meet, beside its filters for them."""
    withheld: str = ""
    """Why the rule must not be searched now: a part of its exceptions is not known."""

    def program(self, schema: Schema) -> RuleProgram:
        """The query over events of the schema, without those that an exception hits. Raises QueryError."""
        program = self.bare_program(schema)
        condition = self.excepted(schema).condition
        return program if condition is None else replace(program, plan=excepting(program.plan, condition))

    def excepted(self, schema: Schema, scope: ExceptionScope = "event") -> ResolvedItems:
        """The exceptions of a scope over events of the schema."""
        return resolve_items([item for item in self.exceptions if item.scope == scope], schema)

    def excepted_alert(
        self, documents: Iterable[Mapping[str, Any]], schema: Schema, now_ns: int
    ) -> ExceptionItem | None:
        """The exception of scope alert that hits one of a match's documents (the content of `_source`); None if none
        does. `now_ns` is what `now` means in date math."""
        resolved = self.excepted(schema, "alert")
        if not resolved.items:
            return None
        found = (resolved.item_for(document, now_ns) for document in documents)
        return next((item for item in found if item is not None), None)

    @property
    def is_local(self) -> bool:
        """Whether the query can be evaluated here, not in a cluster alone."""
        return not isinstance(self.query, EsqlQuery | AnomalyQuery)

    @property
    def same_for(self) -> timedelta:
        """The time for which the same row of another window is the same finding: while the windows overlap. Zero for
        queries whose matches are documents, which an id tells from each other."""
        if not isinstance(self.query, EsqlQuery) or self.query.makes_documents:
            return timedelta(0)
        return max(self.rule.look_back - timedelta(milliseconds=1), timedelta(0))

    @property
    def names_read(self) -> frozenset[str]:
        """The `field_names` and those of the exceptions."""
        return self.field_names.union(*(item.names() for item in self.exceptions))

    def bare_program(self, schema: Schema) -> RuleProgram:
        """The query without its exceptions; of a threshold rule with its fields as keys. Raises QueryError."""
        program, threshold = self._query_program(schema), threshold_of(self.rule)
        if threshold is None or not isinstance(program, EventProgram):
            return program
        return keyed_program(program, threshold, schema)

    def _query_program(self, schema: Schema) -> RuleProgram:
        fields: Any = {"timestamp_field": _timestamp_field(self.rule), "tiebreaker_field": self.rule.tiebreaker_field}
        match self.query:
            case KqlQuery():
                return kql.resolve(self.query, schema, **fields)
            case LuceneQuery():
                return lucene.resolve(self.query, schema, **fields)
            case EsqlQuery() | AnomalyQuery():
                raise TypeError(f"rule {self.rule.rule_id}: a cluster alone can evaluate its query")
        return eql.resolve(self.query, schema, event_category_field=_category_field(self.rule), **fields)

    @property
    def eql_query(self) -> eql.ParsedQuery:
        """The query of a rule in EQL. Raises TypeError for any other."""
        if not isinstance(self.query, eql.ParsedQuery):
            raise TypeError(f"rule {self.rule.rule_id}: its query is not EQL")
        return self.query

    def unknown_fields(self, schema: Schema) -> UnknownFields:
        """The fields of the rule that the schema has not. In KQL and Lucene's syntax one without a value is like one
        that nobody knows."""
        if not isinstance(self.query, eql.ParsedQuery):
            names = (name for name in self.field_names if "*" not in name)
            return UnknownFields(frozenset(name for name in names if not is_mapped(name, schema)))
        optional = {name.name for name in self.query.names() if name.optional}
        negated = (
            node.operand
            for query in ast.event_queries(self.query.statement)
            for node in nodes.walk(query.condition)
            if isinstance(node, nodes.Not)
        )
        below = {
            name.name for node in negated for name in nodes.walk(node) if isinstance(name, nodes.Name) and name.optional
        }
        unknown = {name for name in self.field_names if schema.find(name) is None}
        return UnknownFields(frozenset(unknown - optional), frozenset(unknown & below))

    def resolved(self, schema: Schema) -> tuple[RuleProgram | None, list[Problem]]:
        """The program, None if the query does not fit the schema; and every problem with its place in the file."""
        try:
            program = self.program(schema)
        except QueryError as error:
            return None, query_problems(self.rule, error)
        refused = (*self.excepted(schema).refused, *self.excepted(schema, "alert").refused)
        return program, [
            *(query_problem(self.rule, program.source, finding) for finding in program.warnings),
            *(one.problem(self.rule.rule_id) for one in refused),
        ]


def compile_rules(
    rules: Iterable[Rule], known: Iterable[CompiledRule] = ()
) -> tuple[list[CompiledRule], list[Problem]]:
    """The rules whose queries parse, and the problems of the others; those in `known` are not parsed again."""
    before = {id(compiled.rule): compiled for compiled in known}
    compiled: list[CompiledRule] = []
    problems: list[Problem] = []
    with rarely_collecting():
        for rule in rules:
            try:
                compiled.append(before.get(id(rule)) or compile_rule(rule))
            except QueryError as error:
                problems += query_problems(rule, error)
    return compiled, problems + escape_problems(one.rule for one in compiled)


def compile_rule(rule: Rule) -> CompiledRule:
    """The rule with its query parsed by the front end of its language. Raises QueryError; ValueError without one."""
    if rule.type == "machine_learning":
        return CompiledRule(
            rule,
            AnomalyQuery(rule.machine_learning_job_id, rule.anomaly_threshold or 0),
            Reach(),
            frozenset({"timestamp"}),
        )
    match rule.language:
        case "eql":
            return _compile_eql(rule)
        case "kuery":
            return _compile_events(rule, kql.parse(rule.query))
        case "lucene":
            return _compile_events(rule, lucene.parse(rule.query))
        case "esql":
            return _compile_esql(rule)
        case other:
            raise ValueError(f"rule {rule.rule_id}: no front end for queries in {other}")


def _compile_eql(rule: Rule) -> CompiledRule:
    query = eql.parse(rule.query)
    implicit = (_category_field(rule), _timestamp_field(rule), rule.tiebreaker_field)
    names = (*(name.name for name in query.names()), *(name for name in implicit if name))
    return CompiledRule(rule, query, _eql_reach(query.statement), frozenset(names))


def _compile_esql(rule: Rule) -> CompiledRule:
    query = esql.parse(rule.query)
    reach = Reach(bounded=False, step=rule.every) if query.depends_on_window else Reach()
    return CompiledRule(rule, query, reach, frozenset(time_fields(rule)))


def _compile_events(rule: Rule, query: KqlQuery | LuceneQuery) -> CompiledRule:
    """A rule whose query finds single events."""
    implicit = (_timestamp_field(rule), rule.tiebreaker_field)
    names = (*query.names(), *(name for name in implicit if name))
    if (indicators := threat_match_of(rule)) is not None:
        fields = frozenset((*names, *indicators.event_fields))
        return CompiledRule(rule, query, Reach(), fields, indicator_query=_indicator_query(rule))
    terms = new_terms_of(rule).fields if rule.type == "new_terms" else ()
    if (threshold := threshold_of(rule)) is None:
        return CompiledRule(rule, query, Reach(), frozenset((*names, *terms)), withheld=rule.query_unread)
    # The events of a burst are as far apart as a run looks back, like those of a sequence.
    reach = Reach(max(rule.look_back, rule.every))
    return CompiledRule(rule, query, reach, frozenset((*names, *threshold_fields(threshold))))


def _indicator_query(rule: Rule) -> KqlQuery | LuceneQuery:
    """The query for a rule's indicators. Raises RuleKeyError with its place."""
    text = (rule.threat_query or "").strip() or "*:*"
    try:
        return lucene.parse(text) if rule.threat_language == "lucene" else kql.parse(text)
    except QueryError as error:
        raise RuleKeyError(error.source, FieldFinding(("rule", "threat_query"), f"`threat_query`: {error}")) from None


def _eql_reach(statement: ast.Statement) -> Reach:
    body, is_alone = statement.body, not statement.pipes
    if isinstance(body, ast.EventQuery):
        return Reach(bounded=is_alone)
    if not isinstance(body, ast.SequenceQuery) or body.maxspan is None:
        return Reach(bounded=False)
    maxspan = timedelta(milliseconds=body.maxspan)
    return Reach(maxspan, body.terms[0].missing, body.terms[-1].missing, bounded=is_alone)


def query_problems(rule: Rule, error: QueryError) -> list[Problem]:
    """Every finding about the rule's query, with its place in the rule's file."""
    if isinstance(error, RuleKeyError):
        return [found_in_file(rule, error.finding)]
    return [query_problem(rule, error.source, finding, "error", error.code) for finding in error.findings]


def query_doubts(compiled: CompiledRule) -> list[Problem]:
    """Warnings about a query that can be read, as far as they show without a cluster or a schema."""
    rule, query = compiled.rule, compiled.query
    findings = list(text_doubts(rule.query, rule.language))
    if not rule.query_escaped:  # else `escape_problems` has said it
        findings += lost_backslashes(rule.query, rule.language)
    if isinstance(query, EsqlQuery):
        stack = rule.metadata.min_stack_version or ""
        known = {"esql-newer-version"} if re.match(r"9\.|[1-9]\d", stack) else set()
        findings += [finding for finding in esql.doubts(query) if finding.code not in known]
    return [query_problem(rule, Source(rule.query), finding) for finding in findings]


def found_in_file(rule: Rule, finding: FieldFinding) -> Problem:
    """A finding about a key of the rule's file, with its place."""
    try:
        text, _ = decoded(rule.path, read_bytes(rule.path)[0])
    except OSError:
        text = ""
    return problem_of(finding, rule.path, source=Source(text), places=places_in(text), rule_id=rule.rule_id)


def time_fields(rule: Rule) -> tuple[str, ...]:
    """The fields whose time decides whether an event is in the rule's window: the override first, then its fallback."""
    if rule.timestamp_override in (None, "@timestamp"):
        return ("@timestamp",)
    if rule.timestamp_override_fallback_disabled:
        return (rule.timestamp_override,)
    return rule.timestamp_override, "@timestamp"


def _category_field(rule: Rule) -> str:
    return rule.event_category_override or "event.category"


def _timestamp_field(rule: Rule) -> str:
    return rule.timestamp_field or "@timestamp"


def query_problem(
    rule: Rule, source: Source, finding: QueryFinding, severity: Severity = "warning", code: str = ""
) -> Problem:
    """A finding about the text of the rule's query, with its place in the rule's file."""
    line, column = source.place(finding.span.start)
    if rule.saved is not None:
        return Problem(
            file=rule.saved.file,
            line=rule.saved.line,
            column=0,
            severity=severity,
            message=f"saved query `{shortened(rule.saved.title)}`: {finding.message}",
            rule_id=rule.rule_id,
            picture=source.picture(finding.span, IN_QUERY),
            hint=finding.hint,
            code=finding.code or code,
        )
    file_line, file_column = place_in_file(rule, line, column)
    span, hint, other = finding.span, finding.hint, finding.other
    if rule.query_escaped:  # what is shown is what stands in the file
        source, span = Source(rule.query_escaped), _spelled(rule, span)
        other = replace(other, span=_spelled(rule, other.span)) if other is not None else None
        if "\\" in source.text[span.start : span.end]:
            hint = f"{hint}{_QUOTES}"
    return Problem(
        file=rule.path,
        line=file_line,
        column=file_column,
        severity=severity,
        message=finding.message,
        rule_id=rule.rule_id,
        picture=source.picture(span, IN_QUERY, shown_line=file_line, other=other),
        hint=hint,
        code=finding.code or code,
    )


_QUOTES = (
    "; in double quotes TOML reads backslashes itself, before the query is read: write the query between ''' and ''', "
    "which keep all of them"
)
_STRING = re.compile(r'"""(?:[^"]|"{1,2}(?!"))*"{3,5}|"(?P<text>(?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(?P<letter>.)|(?P<read>[\t\b\f\r\n])", re.DOTALL)
_LOST = re.compile(r"(?<=[\w:.*?\\])[\t\b\f\r](?=\w)")
"""Outside of quotes: a control character within a word."""
_LETTERS = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def escape_problems(rules: Iterable[Rule]) -> list[Problem]:
    """Warnings of rules in whose texts double quotes have made a control character of a backslash and a letter."""
    found = (_escape_problem(rule) for rule in rules if rule.query_escaped)
    return [problem for problem in found if problem is not None]


def _escape_problem(rule: Rule) -> Problem | None:
    """The first such place in a rule."""
    for place, length, letter in _lost_backslashes(rule.query, in_eql=rule.language == "eql"):
        span = _spelled(rule, Span(place, place + length))
        spelled = rule.query_escaped[span.start : span.end]
        if length == 1 and not spelled.startswith("\\"):
            continue  # written as the character itself
        source = Source(rule.query_escaped)
        line, column = source.place(span.start)
        line, column = rule.query_line + line - 1, column + (rule.query_column - 1 if line == 1 else 0)
        reader = "TOML" if length == 1 else "EQL"
        text = f"{reader} has read `{spelled}` as {CONTROLS[letter]}, not as a backslash and the letter {letter}"
        picture = source.picture(span, IN_QUERY, shown_line=line)
        problem = Problem(rule.path, line, column, "warning", text + _QUOTES, rule.rule_id, picture)
        return replace(problem, code="control-character")
    return None


def _lost_backslashes(query: str, *, in_eql: bool) -> Iterator[tuple[int, int, str]]:
    """Where a query has control characters, as such or as an escape of EQL: offset, length, letter of the escape."""
    for string in _STRING.finditer(query):
        for escape in _ESCAPE.finditer(string["text"] or ""):
            letter = _LETTERS[escape["read"]] if escape["read"] else escape["letter"]
            if escape["read"] or (in_eql and letter in CONTROLS):
                yield string.start("text") + escape.start(), len(escape[0]), letter
    if not in_eql:
        outside = _STRING.sub(lambda string: " " * len(string[0]), query)
        yield from ((found.start(), 1, _LETTERS[found[0]]) for found in _LOST.finditer(outside))


def _spelled(rule: Rule, span: Span) -> Span:
    """The span of a query's text in the spelling of its file."""
    return Span(spelled_offset(rule.query_escaped, span.start), spelled_offset(rule.query_escaped, span.end))
