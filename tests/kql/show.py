"""Syntax trees of KQL on one line, as the specs write them."""

from __future__ import annotations

import json

from runner.kql.ast import KqlAnd, KqlIs, KqlNested, KqlNode, KqlNot, KqlOr, KqlPattern, KqlRange, KqlValue


def show(node: KqlNode) -> str:
    """A node, operators first: `(and (: "a" "1") (not (: "b" "x"*"")))`; a value that was quoted has `q` before it."""
    match node:
        case KqlIs(field=field, value=value):
            return f"(: {'free' if field is None else _value(field)} {_value(value)})"
        case KqlRange(field=field, operator=operator, value=value):
            return f"({operator} {_value(field)} {_value(value)})"
        case KqlNested(path=path, condition=condition):
            return f"(nested {_value(path)} {show(condition)})"
        case KqlNot(operand=operand):
            return f"(not {show(operand)})"
        case KqlAnd(operands=operands) | KqlOr(operands=operands):
            return f"({'and' if isinstance(node, KqlAnd) else 'or'} {' '.join(map(show, operands))})"


def _value(value: KqlValue) -> str:
    if isinstance(value, KqlPattern):
        return "*".join(json.dumps(part, ensure_ascii=False) for part in value.parts)
    return ("q" if value.quoted else "") + json.dumps(value.value, ensure_ascii=False)
