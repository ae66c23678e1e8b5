"""`EsqlQuery`: the commands of a query in ES|QL, its sources, and which columns tell its rows apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import takewhile

from runner.esql.errors import EsqlError
from runner.esql.sent_text import now_calls
from runner.esql.tokens import SOURCE_COMMANDS, EsqlToken, read_tokens, string_value, tokens_of
from runner.messages.foreign_queries import foreign_hint
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

DOCUMENT_COLUMNS = ("_id", "_index", "_version")
"""The metadata that a query without an aggregation has to keep, so that its rows are documents."""
_WINDOW_COMMANDS = frozenset({"stats", "inlinestats", "limit", "change_point", "sample", "fork", "fuse", "rerank"})
"""Commands by which a row depends on other rows of the window."""
_SOURCES = frozenset({*SOURCE_COMMANDS, "row", "show", "metrics", "promql"})


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name in small letters, and its tokens without spaces, the name among them."""

    name: str
    tokens: tuple[EsqlToken, ...]

    @property
    def span(self) -> Span:
        return self.tokens[0].span

    @property
    def arguments(self) -> tuple[EsqlToken, ...]:
        """What stands behind the name."""
        return self.tokens[2 if self.name == "inlinestats" and len(self.tokens) > 1 and _is_two(self.tokens) else 1 :]


def _is_two(tokens: Sequence[EsqlToken]) -> bool:
    return tokens[0].is_name("inline") and tokens[1].is_name("stats")


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A grouping column of STATS: its name, and whether it is computed."""

    name: str
    is_computed: bool


@dataclass(frozen=True, eq=False)
class EsqlQuery:
    """A query as its commands. Commands that are not known are kept: the cluster judges them."""

    source: Source
    commands: tuple[Command, ...]
    tokens: tuple[EsqlToken, ...]

    @property
    def text(self) -> str:
        return self.source.text

    def named(self, *names: str) -> Iterator[Command]:
        """The commands of these names."""
        return (command for command in self.commands if command.name in names)

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """The index patterns of the first FROM, as they stand there."""
        return tuple(pattern for pattern, _ in _sources(self.commands[0]))

    @cached_property
    def metadata(self) -> frozenset[str]:
        """What METADATA of the first FROM names."""
        words = _past(self.commands[0].arguments, "metadata")
        return frozenset(token.text for token in words if token.text not in (",", "]", "["))

    @cached_property
    def is_aggregating(self) -> bool:
        """Whether it has a STATS command: its rows are groups, not documents."""
        return any(self.named("stats"))

    @cached_property
    def uses_now(self) -> bool:
        return bool(now_calls(self.tokens))

    @cached_property
    def depends_on_window(self) -> bool:
        """Whether a row depends on more than its own document, so that where a window lies decides what is found."""
        return self.uses_now or any(self.named(*_WINDOW_COMMANDS))

    @cached_property
    def is_pageable(self) -> bool:
        """Whether the rows that are left without some documents are the same rows."""
        return self.makes_documents and not any(self.named(*_WINDOW_COMMANDS))

    @cached_property
    def expanded(self) -> tuple[str, ...]:
        """The columns of MV_EXPAND, by which a document has several rows."""
        return tuple("".join(_name_of(command.arguments)) for command in self.named("mv_expand"))

    @cached_property
    def keeps_document(self) -> bool:
        """Whether the rows have `_id`, so that their documents can be found."""
        return "_id" in self.metadata and "_id" in self._surviving(("_id",), self.commands)

    @cached_property
    def makes_documents(self) -> bool:
        """Whether the rows are documents; else they are groups, or rows that only all of their columns tell apart."""
        return not self.is_aggregating and self.keeps_document

    @cached_property
    def events_text(self) -> str:
        """The query up to its first aggregation, with the documents' ids in its rows."""
        first = next((one for one in self.commands if one.name in ("stats", "inlinestats")), None)
        end = len(self.text) if first is None else self.text.rindex("|", 0, first.span.start)
        text = self.text[:end]
        if self.metadata >= {"_id", "_index"}:
            return text
        head = self.commands[0].tokens
        place = head[-1].span.end
        added = ", ".join(sorted({"_id", "_index"} - self.metadata))
        return f"{text[:place]}{', ' if self.metadata else ' METADATA '}{added}{text[place:]}"

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The columns that the query names: its keys, what KEEP names without a pattern, what it computes."""
        kept = ["".join(_name_of(part)) for command in self.named("keep") for part in _parts(command.arguments)]
        names = [name for name in (*self.key_columns, *kept) if "*" not in name and not name.startswith("_")]
        return tuple(dict.fromkeys((*names, *sorted(self._computed))))

    def computes(self, name: str) -> bool:
        """Whether a command of the query makes a column of this name."""
        return name in self._computed or any(
            name in string_value(token)
            for command in self.named("grok", "dissect")
            for token in command.tokens
            if token.kind == "string"
        )

    @cached_property
    def _computed(self) -> frozenset[str]:
        found = {new for command in self.named("rename") for _, new in _renamed(command)}
        for command in self.named("eval", "stats", "inlinestats"):
            given = command.arguments
            for part in (*_parts(_before(given, "by")), *_parts(_past(given, "by"))):
                place = next((number for number, token in enumerate(part) if token.text == "="), 0)
                found.add("".join(_name_of(part[:place])))
        return frozenset(found - {""})

    @cached_property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of BY of the last STATS that the answer still has, under the names that they have there."""
        last = max((number for number, one in enumerate(self.commands) if one.name == "stats"), default=None)
        if last is None:
            return ()
        names = tuple(column.name for column in groupings(self.commands[last], self.text))
        return self._surviving(names, self.commands[last + 1 :])

    @cached_property
    def drops_keys(self) -> bool:
        """Whether the answer lacks some of the columns that rows are grouped by."""
        last = [command for command in self.commands if command.name == "stats"][-1:]
        return any(len(tuple(groupings(one, self.text))) > len(self.key_columns) for one in last)

    def _surviving(self, names: Sequence[str], commands: Sequence[Command]) -> tuple[str, ...]:
        """What commands leave of some columns, under their new names."""
        left = list(names)
        for command in commands:
            patterns = ["".join(_name_of(part)) for part in _parts(command.arguments)]
            if command.name == "keep":
                left = [name for name in left if any(fnmatchcase(name, pattern) for pattern in patterns)]
            elif command.name == "drop":
                left = [name for name in left if not any(fnmatchcase(name, pattern) for pattern in patterns)]
            elif command.name == "rename":
                renamed = dict(_renamed(command))
                left = [renamed.get(name, name) for name in left]
            elif command.name == "stats" and names == ("_id",):
                grouped = {column.name for column in groupings(command, self.text)}
                left = [name for name in left if name in grouped]
        return tuple(left)


def parse(text: str) -> EsqlQuery:
    """The commands of a query. Raises EsqlError for one that ends inside a string, or that does not begin with FROM."""
    tokens = tuple(tokens_of(text))
    parts: list[list[EsqlToken]] = [[]]
    for token in tokens:
        if token.kind == "mark" and token.text == "|" and token.depth == 0:
            parts.append([])
        elif token.is_word:
            parts[-1].append(token)
    empty = next((number for number, part in enumerate(parts) if not part), None)
    if empty is not None:
        place = Span(0, len(text)) if len(parts) == 1 else _bar(tokens, empty)
        raise EsqlError(Source(text), [QueryFinding(place, "a command is missing here, such as WHERE")])
    query = EsqlQuery(Source(text), tuple(map(_command, parts)), tokens)
    first = query.commands[0]
    if first.name not in SOURCE_COMMANDS:
        known = f"begins with {first.name.upper()}" if first.name in _SOURCES else "does not begin with FROM"
        message = f"the query {known}: a rule searches indices, which FROM names"
        raise EsqlError(query.source, [QueryFinding(first.span, message, foreign_hint(text, "ES|QL"))])
    if not query.indices:
        raise EsqlError(query.source, [QueryFinding(first.span, "FROM names no index pattern")])
    return query


def sources_of(text: str) -> tuple[str, ...]:
    """The index patterns of a query, of which only the first command is read; none where it is no FROM."""
    words = [token for token in takewhile(lambda token: token.text != "|", read_tokens(text)) if token.is_word]
    if not words or words[0].text.lower() not in SOURCE_COMMANDS:
        return ()
    return tuple(pattern for pattern, _ in _sources(_command(words)))


def _bar(tokens: Sequence[EsqlToken], number: int) -> Span:
    bars = [token for token in tokens if token.text == "|" and token.kind == "mark" and token.depth == 0]
    return bars[max(0, number - 1)].span


def _command(tokens: Sequence[EsqlToken]) -> Command:
    name = "inlinestats" if len(tokens) > 1 and _is_two(tokens) else tokens[0].text.lower()
    return Command(name, tuple(tokens))


def _sources(command: Command) -> Iterator[tuple[str, Span]]:
    """The patterns of FROM, with the cluster's name where there is one."""
    for part in _parts(_before(command.arguments, "metadata")):
        if part:
            text = "".join(string_value(token) if token.kind == "string" else token.text for token in part)
            yield from ((one.strip(), part[0].span) for one in text.split(",") if one.strip())


def _before(tokens: Sequence[EsqlToken], word: str) -> list[EsqlToken]:
    found: list[EsqlToken] = []
    for token in tokens:
        if token.is_name(word) or token.text == "[":
            break
        found.append(token)
    return found


def _past(tokens: Sequence[EsqlToken], word: str) -> list[EsqlToken]:
    place = next((number for number, token in enumerate(tokens) if token.is_name(word)), len(tokens))
    return list(tokens[place + 1 :])


def _parts(tokens: Sequence[EsqlToken]) -> list[list[EsqlToken]]:
    """The arguments that commas part, outside of brackets."""
    parts: list[list[EsqlToken]] = [[]]
    depth = tokens[0].depth if tokens else 0
    for token in tokens:
        if token.kind == "mark" and token.text == "," and token.depth == depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _name_of(tokens: Sequence[EsqlToken]) -> list[str]:
    return [string_value(token) if token.kind in ("quoted", "string") else token.text for token in tokens]


def groupings(command: Command, text: str) -> Iterator[Column]:
    """The columns of BY of a STATS command, by the names that Elasticsearch gives them."""
    words = _past(command.arguments, "by")
    for part in _parts(words):
        place = next((n for n, token in enumerate(part) if token.text == "=" and token.depth == part[0].depth), None)
        if place is not None:
            yield Column("".join(_name_of(part[:place])), True)
        elif all(token.kind in ("name", "quoted", "number") or token.text in (".", "*") for token in part) and part:
            yield Column("".join(_name_of(part)), False)
        elif part:
            yield Column(text[part[0].start : part[-1].span.end], True)


def _renamed(command: Command) -> Iterator[tuple[str, str]]:
    """Old and new names of RENAME: `old AS new`, or `new = old`."""
    for part in _parts(command.arguments):
        for number, token in enumerate(part):
            if token.is_name("as"):
                yield "".join(_name_of(part[:number])), "".join(_name_of(part[number + 1 :]))
            elif token.text == "=":
                yield "".join(_name_of(part[number + 1 :])), "".join(_name_of(part[:number]))
