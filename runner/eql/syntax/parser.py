"""From text to syntax tree: `parse`. A recursive descent over the tokens, after the rules of Elasticsearch's grammar.

Errors read like those of Elasticsearch's parser. Columns are those of the place itself; where Elasticsearch counts one
too many (maxspan, keys, pipes), this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, NoReturn, TypeVar, cast

from runner.eql.syntax import ast, tokens
from runner.eql.syntax.advice import PIPES, UNITS, advice, unit_hint
from runner.eql.syntax.errors import ParsingError, QueryFinding
from runner.eql.syntax.tokens import Token
from runner.expressions import nodes
from runner.messages.foreign_queries import foreign_hint
from runner.messages.suggestions import near_names, suggestion
from runner.messages.text_positions import Source, Span

MAX_NESTING = 150
"""Brackets inside brackets; each costs four frames of Python's stack."""
MAX_DEPTH = 200
"""Nodes above each other in the tree, so that whatever walks, compares or hashes it can do so recursively."""
MAX_RUNS = 100

_T = TypeVar("_T")

_CONSTANTS = frozenset({tokens.STRING, tokens.INTEGER, tokens.DECIMAL, "true", "false", "null"})
_NAMES = frozenset({tokens.IDENTIFIER, tokens.QUOTED_IDENTIFIER})
_OPERAND = _CONSTANTS | _NAMES | {tokens.TILDE_IDENTIFIER, "(", "?", "+", "-"}
_STATEMENT = frozenset({"any", "join", "sample", "sequence", tokens.STRING, tokens.IDENTIFIER})
_CATEGORY = frozenset({"any", tokens.STRING, tokens.IDENTIFIER})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_PATTERNS = frozenset({":", "like", "like~", "regex", "regex~"})
_MEMBERSHIPS = frozenset({"in", "in~"})
_SIGNS = frozenset({"+", "-"})
_ITEM_ENDS = frozenset({",", ")"})
_FACTORS = frozenset({"*", "/", "%"})
_UNSUPPORTED_PIPES = frozenset({"count", "filter", "sort", "unique", "unique_count"})
_ENDS = frozenset({tokens.END, "|"})
_LONGEST = 2**63 - 1


def parse(text: str) -> ast.Statement:
    """The syntax tree of a query. Raises ParsingError at the first thing that is not EQL.

    >>> parse("any where pid == 4").body.category is None
    True
    """
    parser = _Parser(text)
    try:
        statement = parser.statement()
    except RecursionError:  # MAX_NESTING leaves room, but the caller's own stack may be deep already
        parser.too_large()
    for query in ast.event_queries(statement):
        if nodes.depth_of(query.condition, MAX_DEPTH) > MAX_DEPTH:
            parser.too_large()
    return statement


class _Parser:
    """The tokens of one query and the place reached in them."""

    def __init__(self, text: str) -> None:
        self._source = Source(text)
        read = tokens.tokenize(text)
        self._tokens = read.tokens
        self._unreadable = read.finding
        self._index = 0
        self._token = self._tokens[0]
        self._wanted: list[Iterable[str]] = []
        self._nesting = 0

    # Tokens.

    def _at(self, kinds: frozenset[str]) -> bool:
        """Whether the current token is one of these; if not, they are kept for the message of an error here."""
        if self._token.kind in kinds:
            return True
        self._wanted.append(kinds)
        return False

    def _advance(self) -> Token:
        token = self._token
        self._index += 1
        self._token = self._tokens[self._index]
        self._wanted.clear()
        return token

    def _accept(self, kind: str) -> bool:
        if self._token.kind == kind:
            self._advance()
            return True
        self._wanted.append((kind,))
        return False

    def _expect(self, kinds: frozenset[str]) -> Token:
        if not self._at(kinds):
            self._unexpected()
        return self._advance()

    def _next_kind(self) -> str:
        return self._tokens[min(self._index + 1, len(self._tokens) - 1)].kind

    def _since(self, start: int) -> Span:
        """From an offset to the end of the token before the current one."""
        return Span(start, self._tokens[self._index - 1].end)

    # Errors.

    def _fail(self, span: Span, message: str, hint: str = "") -> NoReturn:
        raise ParsingError(self._source, [QueryFinding(span, message, hint)])

    def too_large(self) -> NoReturn:
        """Refuse the query because it nests too deep."""
        text = self._source.excerpt(Span(0, len(self._source.text)), 500)
        self._fail(
            Span(0, 1), f"EQL statement is too large, causing stack overflow when generating the parsing tree: [{text}]"
        )

    def _unexpected(self) -> NoReturn:
        """Refuse the current token; the message lists what could stand here."""
        token = self._token
        if token.kind == tokens.UNKNOWN and self._unreadable is not None:
            foreign = foreign_hint(self._source.text, "EQL")
            finding = replace(self._unreadable, hint=foreign) if foreign else self._unreadable
            raise ParsingError(self._source, [finding])
        wanted: set[str] = set().union(*self._wanted)
        extra = self._next_kind() in wanted and token.kind != tokens.END
        verb = "extraneous" if extra else "mismatched"
        shown = token.text if len(token.text) <= 80 else token.text[:80] + "..."
        message = f"{verb} input '{shown}' expecting {tokens.expected(wanted)}"
        hint, other = advice(self._source.text, self._tokens, self._index, wanted)
        raise ParsingError(self._source, [QueryFinding(token.span, message, hint, other=other)])

    # Statements.

    def statement(self) -> ast.Statement:
        """The whole query, to its end."""
        if not self._at(_STATEMENT):
            self._unexpected()
        first = self._token
        body: ast.EventQuery | ast.SequenceQuery | ast.SampleQuery
        if first.kind == "sequence":
            body = self._sequence()
        elif first.kind == "sample":
            body = self._sample()
        elif first.kind == "join":
            self._fail(first.span, "Join is not supported")
        else:
            body = self._event_query()
        pipes: list[ast.Pipe] = []
        while self._accept("|"):
            pipes.append(self._pipe(on_sample=isinstance(body, ast.SampleQuery)))
        if not self._at(frozenset({tokens.END})):
            self._unexpected()
        return ast.Statement(self._since(first.start), body, tuple(pipes))

    def _event_query(self) -> ast.EventQuery:
        start = self._token
        if start.kind == "?" and self._tokens[self._index + 1].kind == tokens.STRING:
            self._old_raw_string(start)
        category = self._expect(_CATEGORY)
        if category.kind == "any":
            name = None
        else:
            name = self._string(category) if category.kind == tokens.STRING else category.text
        self._expect(frozenset({"where"}))
        condition = self._condition()
        return ast.EventQuery(self._since(start.start), name, condition)

    def _sequence(self) -> ast.SequenceQuery:
        start = self._advance()
        keys: tuple[ast.KeyExpression, ...] = ()
        maxspan: int | None = None
        if self._at(frozenset({"by"})):
            keys = self._keys()
            if self._accept("with"):
                maxspan = self._maxspan()
        elif self._accept("with"):
            maxspan = self._maxspan()
            if self._token.kind == "by":
                hint = "; it is written [sequence by KEY with maxspan=...]"
                self._fail(self._token.span, "Please specify sequence [by] before [with] not after", hint)
        terms = self._terms(frozenset({"[", "!["}))
        until: ast.Term | None = None
        if self._accept("until"):
            until = self._term(frozenset({"["}))
            if until.runs != 1:
                self._fail(until.span, "Option [runs] is not supported in [until]")
        if not self._at(_ENDS):
            self._unexpected()
        self._check_keys(terms if until is None else (*terms, until))
        count = sum(term.runs for term in terms)
        if count < 2:
            self._fail(start.span, f"A sequence requires a minimum of 2 queries, found [{count}]")
        if any(term.missing for term in terms):
            if maxspan is None:
                self._fail(start.span, "[maxspan] is required for sequences with missing events queries; found none")
            if all(term.missing for term in terms):
                self._fail(start.span, "A sequence requires at least one positive event query; found none")
        return ast.SequenceQuery(self._since(start.start), terms, keys, maxspan, until)

    def _sample(self) -> ast.SampleQuery:
        start = self._advance()
        keys = self._keys() if self._at(frozenset({"by"})) else ()
        terms = self._terms(frozenset({"["}))
        for term in terms:
            if term.runs != 1:
                self._fail(term.span, "Option [runs] is not supported in samples")
        if self._token.kind == "![":
            self._fail(self._token.span, "Missing events are not supported in samples")
        if not self._at(_ENDS):
            self._unexpected()
        self._check_keys(terms)
        if len(terms) < 2:
            self._fail(start.span, f"A sample requires a minimum of 2 queries, found [{len(terms)}]")
        if not keys and not terms[0].keys:
            self._fail(start.span, "A sample must have at least one join key, found none")
        return ast.SampleQuery(self._since(start.start), terms, keys)

    def _terms(self, openings: frozenset[str]) -> tuple[ast.Term, ...]:
        terms = [self._term(openings)]
        while self._at(openings):
            terms.append(self._term(openings))
        return tuple(terms)

    def _term(self, openings: frozenset[str]) -> ast.Term:
        opening = self._expect(openings)
        query = self._event_query()
        self._expect(frozenset({"]"}))
        keys = self._keys() if self._at(frozenset({"by"})) else ()
        runs = self._runs() if self._accept("with") else 1
        return ast.Term(self._since(opening.start), query, keys, opening.kind == "![", runs)

    def _keys(self) -> tuple[ast.KeyExpression, ...]:
        self._advance()
        keys = [self._key()]
        while self._accept(","):
            keys.append(self._key())
        return tuple(keys)

    def _key(self) -> ast.KeyExpression:
        start = self._token.start
        key = self._condition()
        if not isinstance(key, nodes.Name):
            span = self._since(start)
            self._fail(span, f"Unsupported join key [{self._source.excerpt(span)}]")
        return key

    def _check_keys(self, terms: tuple[ast.Term, ...]) -> None:
        """Refuse terms that have not as many keys as the first."""
        expected = len(terms[0].keys)
        for term in terms:
            found = len(term.keys)
            if found != expected:
                span = term.keys[0].span.to(term.keys[-1].span) if term.keys else term.span
                self._fail(
                    span, f"Inconsistent number of join keys specified; expected [{expected}] but found [{found}]"
                )

    def _maxspan(self) -> int:
        """Milliseconds, after `with`."""
        self._expect(frozenset({"maxspan"}))
        start, negative, number = self._option_value()
        if number.kind == tokens.DECIMAL:
            message = f"Decimal time interval [{number.text}] not supported; please use an positive integer"
            self._fail(number.span, message)
        count = self._number(number)
        if negative or count <= 0:
            shown = self._source.excerpt(self._since(start.start), 40)
            self._fail(self._since(start.start), f"A positive maxspan value is required; found [{shown}]")
        unit = self._token
        if unit.kind != tokens.IDENTIFIER:
            shown = number.text
            self._fail(number.span, f"No time unit specified, did you mean [s] as in [{shown}s]?")
        self._advance()
        if unit.text not in UNITS:
            span = self._since(number.start)
            message = f"Unrecognized time unit [{unit.text}] in [{self._source.excerpt(span, 80)}]"
            message += ", please specify one of [ms, s, m, h, d]"
            self._fail(unit.span, message, unit_hint(number.text, unit.text))
        milliseconds = int(count) * UNITS[unit.text]
        if milliseconds > _LONGEST:
            self._fail(self._since(number.start), f"Time interval [{number.text}{unit.text}] is too large")
        return milliseconds

    def _runs(self) -> int:
        """The N of `with runs=N`, after `with`."""
        option = self._expect(frozenset({tokens.IDENTIFIER}))
        if option.text != "runs":
            self._fail(option.span, f"Unrecognized option [{option.text}], expecting [runs]")
        start, negative, number = self._option_value()
        span = self._since(start.start)
        shown = self._source.excerpt(span, 40)
        if number.kind == tokens.DECIMAL:
            self._fail(span, f"Decimal runs value [{shown}] not supported; please use a positive integer")
        count = self._number(number)
        if negative or count <= 0:
            self._fail(span, f"A positive runs value is required; found [{shown}]")
        if count > MAX_RUNS:
            self._fail(span, f"A query cannot be repeated more than {MAX_RUNS} times, found [{shown}]")
        return int(count)

    def _option_value(self) -> tuple[Token, bool, Token]:
        """The first token of an option's value, whether it is a minus, and its number, after the option's name."""
        self._expect(frozenset({"="}))
        start = self._token
        negative = start.kind == "-"
        if negative:
            self._advance()
        return start, negative, self._expect(frozenset({tokens.INTEGER, tokens.DECIMAL}))

    def _pipe(self, *, on_sample: bool) -> ast.Pipe:
        """One pipe, after its bar."""
        name = self._expect(frozenset({tokens.IDENTIFIER}))
        if name.text not in ("head", "tail", *_UNSUPPORTED_PIPES):
            near = suggestion(near_names(name.text.lower(), ("head", "tail")))
            self._fail(name.span, f"Unrecognized pipe [{name.text}]", near or PIPES)
        if on_sample:
            self._fail(name.span, "Samples do not support pipes yet")
        arguments: list[nodes.Expression] = []
        if self._at(_OPERAND | {"not"}):
            arguments.append(self._condition())
            while self._accept(","):
                arguments.append(self._condition())
        if name.text not in ("head", "tail"):
            self._fail(self._since(name.start), f"Pipe [{name.text}] is not supported", PIPES)
        if len(arguments) != 1:
            message = f"Pipe [{name.text}] expects exactly one argument but found [{len(arguments)}]"
            self._fail(self._since(name.start), message, "" if arguments else f"; it is written [{name.text} 10]")
        count = arguments[0].value if isinstance(arguments[0], nodes.Constant) else None
        if not isinstance(count, int) or isinstance(count, bool) or count >= 2**31:
            shown = self._source.excerpt(arguments[0].span)
            self._fail(arguments[0].span, f"Pipe [{name.text}] expects a positive integer but found [{shown}]")
        kind = cast(Literal["head", "tail"], name.text)
        return ast.Pipe(self._since(name.start), kind, count)

    # Expressions. `_condition`, `_arithmetic` and `_operand` hold several levels of the grammar each, because every
    # nested bracket passes through all of them and Python's stack is short.

    def _condition(self) -> nodes.Expression:
        """Disjunctions of conjunctions of negations of comparisons."""
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            self.too_large()
        start = self._token.start
        disjuncts: list[nodes.Expression] = []
        disjunct_start = start
        conjuncts: list[nodes.Expression] = []
        while True:
            nots: list[int] = []
            while self._token.kind == "not":
                nots.append(self._advance().start)
            self._wanted.append(("not",))
            self._refuse_relationship()
            test_start = self._token.start
            test = self._arithmetic()
            if self._at(_COMPARISONS):
                operator = cast(Literal["==", "!=", "<", "<=", ">", ">="], self._advance().kind)
                right = self._arithmetic()
                test = nodes.Comparison(self._since(test_start), operator, test, right)
            while nots:
                test = nodes.Not(self._since(nots.pop()), test)
            conjuncts.append(test)
            if self._accept("and"):
                continue
            disjuncts.append(test if len(conjuncts) == 1 else nodes.And(self._since(disjunct_start), tuple(conjuncts)))
            if not self._accept("or"):
                break
            conjuncts = []
            disjunct_start = self._token.start
        self._nesting -= 1
        return disjuncts[0] if len(disjuncts) == 1 else nodes.Or(self._since(start), tuple(disjuncts))

    def _refuse_relationship(self) -> None:
        if self._token.kind == tokens.IDENTIFIER and self._next_kind() == "of":
            self._fail(self._token.span, "Process relationships are not supported")

    def _arithmetic(self) -> nodes.Expression:
        """Sums of products of signed operands."""
        start = self._token.start
        total: nodes.Expression | None = None
        total_operator: Token | None = None
        product: nodes.Expression | None = None
        product_start = start
        product_operator: Token | None = None
        while True:
            signs: list[Token] = []
            while self._at(_SIGNS):
                signs.append(self._advance())
            operand = self._operand()
            while signs:
                sign = signs.pop()
                if sign.kind == "-":
                    operand = nodes.Negative(self._since(sign.start), operand)
            if product is None or product_operator is None:
                product = operand
            else:
                product = self._binary(product_start, product_operator, product, operand)
            if self._at(_FACTORS):
                product_operator = self._advance()
                continue
            if total is None or total_operator is None:
                total = product
            else:
                total = self._binary(start, total_operator, total, product)
            if not self._at(_SIGNS):
                return total
            total_operator = self._advance()
            product = product_operator = None
            product_start = self._token.start

    def _binary(self, start: int, operator: Token, left: nodes.Expression, right: nodes.Expression) -> nodes.Arithmetic:
        kind = cast(Literal["+", "-", "*", "/", "%"], operator.kind)
        return nodes.Arithmetic(self._since(start), kind, left, right)

    def _operand(self) -> nodes.Expression:
        """A constant, a field, a call or something in parentheses, with the predicate that may follow it."""
        token = self._token
        operand: nodes.Expression
        if not self._at(_OPERAND):
            self._unexpected()
        if token.kind in _CONSTANTS:
            operand = self._constant()
        elif token.kind == "(":
            self._advance()
            operand = self._condition()
            self._expect(frozenset({")"}))
        elif token.kind == tokens.TILDE_IDENTIFIER or (token.kind == tokens.IDENTIFIER and self._next_kind() == "("):
            operand = self._call()
        else:
            operand = self._field()
        if self._at(_PATTERNS):
            operator = cast(Literal[":", "like", "like~", "regex", "regex~"], self._advance().kind)
            patterns = self._patterns()
            return nodes.Pattern(self._since(token.start), operator, operand, patterns)
        negated = self._accept("not")
        if self._at(_MEMBERSHIPS):
            insensitive = self._advance().kind == "in~"
            self._expect(frozenset({"("}))
            items = self._items()
            span = self._since(token.start)
            membership = nodes.Membership(span, operand, items, insensitive)
            return nodes.Not(span, membership) if negated else membership
        if negated:
            self._unexpected()
        return operand

    def _items(self) -> tuple[nodes.Expression, ...]:
        """One or more expressions and the parenthesis that closes them."""
        return self._listed(self._item)

    def _item(self) -> nodes.Expression:
        """An expression of a list; a constant alone, as nearly all are, skips the levels of the grammar."""
        alone = self._token.kind in _CONSTANTS and self._next_kind() in _ITEM_ENDS
        return self._constant() if alone else self._condition()

    def _listed(self, read: Callable[[], _T]) -> tuple[_T, ...]:
        """What `read` gives once or more, between commas, and the parenthesis that closes the list."""
        items = [read()]
        while self._accept(","):
            items.append(read())
        self._expect(frozenset({")"}))
        return tuple(items)

    def _call(self) -> nodes.Call:
        name = self._advance()
        self._expect(frozenset({"("}))
        arguments = () if self._accept(")") else self._items()
        insensitive = name.kind == tokens.TILDE_IDENTIFIER
        written = name.text[:-1] if insensitive else name.text
        return nodes.Call(self._since(name.start), written.lower(), arguments, insensitive, name.text)

    def _field(self) -> nodes.Name:
        start = self._token
        optional = self._accept("?")
        if optional and self._token.kind == tokens.STRING:
            self._old_raw_string(start)
        parts = [self._name_part()]
        while True:
            if self._token.kind == "[" and self._next_kind() == tokens.INTEGER:
                self._advance()
                self._fail(self._token.span, "Array indexes are not supported")
            if not self._accept("."):
                break
            parts.append(self._name_part())
        return nodes.Name(self._since(start.start), ".".join(parts), optional)

    def _name_part(self) -> str:
        token = self._expect(_NAMES)
        return token.text if token.kind == tokens.IDENTIFIER else token.text[1:-1].replace("``", "`")

    def _patterns(self) -> tuple[nodes.Constant, ...]:
        if not self._accept("("):
            return (self._constant(),)
        return self._listed(self._constant)

    def _constant(self) -> nodes.Constant:
        token = self._token
        if token.kind == "?" and self._next_kind() == tokens.STRING:
            self._old_raw_string(token)
        self._expect(_CONSTANTS)
        value: nodes.Value
        if token.kind == tokens.STRING:
            value = self._string(token)
        elif token.kind == "null":
            value = None
        elif token.kind in ("true", "false"):
            value = token.kind == "true"
        else:
            value = self._number(token)
        return nodes.Constant(token.span, value)

    def _string(self, token: Token) -> str:
        try:
            return tokens.read_string(token)
        except ValueError as error:
            self._fail(token.span, str(error))

    def _number(self, token: Token) -> int | float:
        try:
            return tokens.read_number(token)
        except ValueError as error:
            self._fail(token.span, str(error))

    def _old_raw_string(self, mark: Token) -> NoReturn:
        string = self._tokens[self._tokens.index(mark, max(0, self._index - 1)) + 1]
        self._fail(Span(mark.start, string.end), tokens.old_raw_string(string.text[0]))
