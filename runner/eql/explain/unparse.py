"""`unparse`: the EQL text of a syntax tree; parsing it gives an equivalent tree."""

from __future__ import annotations

import math
import re
from enum import IntEnum

from runner.eql.syntax import ast, tokens
from runner.expressions import nodes
from runner.expressions.functions import FUNCTIONS, text_of

_IDENTIFIER = re.compile(r"[A-Za-z_@][A-Za-z0-9_]*")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


class _Level(IntEnum):
    """Operator precedence: decides which operands need parentheses."""

    OR = 1
    AND = 2
    NOT = 3
    COMPARISON = 4
    SUM = 5
    PRODUCT = 6
    SIGNED = 7
    PREDICATE = 8
    PRIMARY = 9


def unparse(node: nodes.Expression | ast.Statement | ast.EventQuery | ast.Term) -> str:
    """The EQL text of a node: an expression on one line, a sequence or sample with one line for each term.

    `not a == b` is written `a != b`, which is equivalent in EQL. Conditions that EQL has not are written as functions
    that it does not know.

    >>> from runner.eql.syntax.parser import parse
    >>> unparse(parse('process where (pid+1)*2 == 4 and not `a-b`  in ("x")'))
    'process where (pid + 1) * 2 == 4 and `a-b` not in ("x")'
    """
    if isinstance(node, ast.Statement):
        return " ".join([_body(node.body), *(f"| {pipe.name} {pipe.count}" for pipe in node.pipes)])
    if isinstance(node, ast.EventQuery):
        category = "any" if node.category is None else _category(node.category)
        return f"{category} where {unparse(node.condition)}"
    if isinstance(node, ast.Term):
        runs = f" with runs={node.runs}" if node.runs != 1 else ""
        return f"{'!' if node.missing else ''}[{unparse(node.query)}]{_keys(node.keys)}{runs}"
    return _written(node)[0]


def field_name(name: str) -> str:
    """A field's name in a query: parts that are not identifiers are in backquotes.

    >>> field_name("process.my-arg")
    'process.`my-arg`'
    """
    parts = name.split(".")
    if not all(parts):
        return _quoted(name)
    return ".".join(part if _is_plain(part) else _quoted(part) for part in parts)


def string(text: str) -> str:
    """A string constant in double quotes, escaped as needed.

    >>> string("C:\\\\a\\tb")
    '"C:\\\\\\\\a\\\\tb"'
    """
    return f'"{"".join(map(_char, text))}"'


def duration(milliseconds: int) -> str:
    """A time interval in the syntax of `maxspan`, in the largest unit that gives a whole number.

    >>> duration(90_000), duration(3_600_000)
    ('90s', '1h')
    """
    unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def _body(body: ast.EventQuery | ast.SequenceQuery | ast.SampleQuery) -> str:
    if isinstance(body, ast.EventQuery):
        return unparse(body)
    lines = [unparse(term) for term in body.terms]
    if isinstance(body, ast.SampleQuery):
        return "\n  ".join([f"sample{_keys(body.keys)}", *lines])
    maxspan = "" if body.maxspan is None else f" with maxspan={duration(body.maxspan)}"
    head = f"sequence{_keys(body.keys)}{maxspan}"
    return "\n  ".join([head, *lines]) + ("" if body.until is None else f"\nuntil {unparse(body.until)}")


def _keys(keys: tuple[ast.KeyExpression, ...]) -> str:
    return f" by {', '.join(_written(key)[0] for key in keys)}" if keys else ""


def _category(name: str) -> str:
    return name if _is_plain(name) else string(name)


def _is_plain(part: str) -> bool:
    return _IDENTIFIER.fullmatch(part) is not None and part not in tokens.KEYWORDS


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _char(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable() or 0xD800 <= ord(char) <= 0xDFFF:
        return char
    return f"\\u{{{ord(char):02x}}}"


def _written(node: nodes.Expression) -> tuple[str, _Level]:
    """The text of an expression and its precedence."""
    match node:
        case nodes.Constant(_, value):
            return _literal(value)
        case nodes.Name(_, name, optional):
            return f"{'?' if optional else ''}{field_name(name)}", _Level.PRIMARY
        case nodes.FieldRef(_, field, _, optional):
            return f"{'?' if optional else ''}{field_name(field.name)}", _Level.PRIMARY
        case nodes.Call(_, name, arguments, insensitive):
            function = FUNCTIONS.get(name)
            written = function.name if function is not None else node.written.removesuffix("~") or name
            inner = ", ".join(_written(argument)[0] for argument in arguments)
            return f"{written}{'~' if insensitive else ''}({inner})", _Level.PRIMARY
        case nodes.Not(_, nodes.Membership() as membership):
            return _membership(membership, "not "), _Level.PREDICATE
        case nodes.Not(_, nodes.Comparison(_, "==", left, right)):
            return f"{_at(left, _Level.SUM)} != {_at(right, _Level.SUM)}", _Level.COMPARISON
        case nodes.Membership():
            return _membership(node, ""), _Level.PREDICATE
        case nodes.Pattern():
            return _pattern(node), _Level.PREDICATE
        case nodes.Not(_, operand):
            return f"not {_at(operand, _Level.NOT)}", _Level.NOT
        case nodes.Phrase(_, value, phrase, slop):
            moved = f", {slop}" if slop else ""
            return f"phrase({_written(value)[0]}, {string(phrase)}{moved})", _Level.PRIMARY
        case nodes.Fuzzy(_, value, text, edits):
            return f"fuzzy({_written(value)[0]}, {string(text)}, {edits})", _Level.PRIMARY
        case nodes.Between(_, value, above, low, below, high):
            ends = f"{string(f'{above} {text_of(low.value)}')}, {string(f'{below} {text_of(high.value)}')}"
            return f"between({_written(value)[0]}, {ends})", _Level.PRIMARY
        case nodes.Wildcard(_, value, pattern, insensitive):
            return f"wildcard{'~' if insensitive else ''}({_written(value)[0]}, {string(pattern)})", _Level.PRIMARY
        case nodes.Listed(_, value, listed):
            return f"listed({_written(value)[0]}, {len(listed.texts)} values)", _Level.PRIMARY
        case nodes.Nested(_, value, condition):
            return f"nested({_written(value)[0]}, {_written(condition)[0]})", _Level.PRIMARY
        case nodes.AnyOf(_, operands):
            return f"anyOf({len(operands)} conditions)", _Level.PRIMARY
        case nodes.Negative(_, operand):
            return f"-{_at(operand, _Level.SIGNED)}", _Level.SIGNED
    return _infix(node)


def _infix(node: nodes.Arithmetic | nodes.Comparison | nodes.And | nodes.Or) -> tuple[str, _Level]:
    if isinstance(node, nodes.Arithmetic):
        level = _Level.SUM if node.operator in ("+", "-") else _Level.PRODUCT
        return f"{_at(node.left, level)} {node.operator} {_at(node.right, _Level(level + 1))}", level
    if isinstance(node, nodes.Comparison):
        left, right = _at(node.left, _Level.SUM), _at(node.right, _Level.SUM)
        return f"{left} {node.operator} {right}", _Level.COMPARISON
    level = _Level.AND if isinstance(node, nodes.And) else _Level.OR
    word = " and " if level is _Level.AND else " or "
    return word.join(_at(operand, _Level(level + 1)) for operand in node.operands), level


def _at(node: nodes.Expression, least: _Level) -> str:
    """The text of an operand, in parentheses if its precedence is lower than required."""
    text, level = _written(node)
    return text if level >= least else f"({text})"


def _membership(node: nodes.Membership, negation: str) -> str:
    items = ", ".join(_written(item)[0] for item in node.items)
    return f"{_at(node.value, _Level.PRIMARY)} {negation}in{'~' if node.insensitive else ''} ({items})"


def _pattern(node: nodes.Pattern) -> str:
    patterns = [_written(pattern)[0] for pattern in node.patterns]
    listed = patterns[0] if len(patterns) == 1 else f"({', '.join(patterns)})"
    return f"{_at(node.value, _Level.PRIMARY)} {node.operator} {listed}"


def _literal(value: nodes.Value) -> tuple[str, _Level]:
    if isinstance(value, str):
        return string(value), _Level.PRIMARY
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value], _Level.PRIMARY
    if isinstance(value, float) and not math.isfinite(value):
        return _infix_of_zero(value), _Level.PRODUCT
    return str(value) if isinstance(value, int) else repr(value), (
        _Level.SIGNED if math.copysign(1, value) < 0 else _Level.PRIMARY
    )


def _infix_of_zero(value: float) -> str:
    """Infinities and NaN have no literal; a division by zero gives them."""
    if math.isnan(value):
        return "0.0 / 0.0"
    return "1.0 / 0.0" if value > 0 else "-1.0 / 0.0"
