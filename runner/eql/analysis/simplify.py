"""Conditions in a simpler form that means the same: `simplify`, a tuple of passes over checked expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias

from runner.eql.analysis.check import type_of
from runner.eql.syntax import ast
from runner.events.fields.schema import DataType
from runner.expressions import nodes
from runner.expressions.constants import evaluate

Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]

_MIRRORED: dict[Operator, Operator] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_PREDICATES = (nodes.Comparison, nodes.Membership, nodes.Pattern, nodes.Not, nodes.And, nodes.Or)


def simplify(statement: ast.Statement) -> ast.Statement:
    """The statement with every condition taken through all passes; it matches what it matched before.

    Where a constant expression cannot be computed (the checker refuses it), it stays as it is.
    """
    body = statement.body
    if isinstance(body, ast.EventQuery):
        return replace(statement, body=_query(body))
    terms = tuple(_term(term) for term in body.terms)
    if isinstance(body, ast.SampleQuery):
        return replace(statement, body=replace(body, terms=terms))
    until = _term(body.until) if body.until else None
    return replace(statement, body=replace(body, terms=terms, until=until))


def _term(term: ast.Term) -> ast.Term:
    return replace(term, query=_query(term.query))


def _query(query: ast.EventQuery) -> ast.EventQuery:
    return replace(query, condition=nodes.rewrite(query.condition, _simplified))


def _simplified(node: nodes.Expression) -> nodes.Expression:
    """A node after all passes; its parts are through them."""
    for simplification in PASSES:
        node = simplification(node)
    return node


def fold_constants(node: nodes.Expression) -> nodes.Expression:
    """`1 + 2` as `3`, `f(1)` as its value, `x and true` as `x`; operations that a null makes null as null.

    An `and` with a null is null and an `or` drops one, as Elasticsearch's optimizer has it: `not (x and null)` is null.
    """
    parts = nodes.children(node)
    if not parts:
        return node
    if all(isinstance(part, nodes.Constant) for part in parts):
        try:
            return nodes.Constant(node.span, evaluate(node))
        except (ValueError, OverflowError):
            return node
    if isinstance(node, (nodes.And, nodes.Or)):
        return _fold_junction(node)
    if isinstance(node, nodes.Membership):
        return _without_nulls(node)
    if isinstance(node, nodes.Pattern):
        patterns = tuple(pattern for pattern in node.patterns if pattern.value is not None)
        if not patterns:
            return nodes.Constant(node.span, None)
        return node if len(patterns) == len(node.patterns) else replace(node, patterns=patterns)
    if isinstance(node, nodes.Arithmetic) or (isinstance(node, nodes.Comparison) and node.operator not in ("==", "!=")):
        return nodes.Constant(node.span, None) if any(_is_null(part) for part in parts) else node
    return node


def _fold_junction(node: nodes.And | nodes.Or) -> nodes.Expression:
    """`and` without its trues, `or` without its falses and nulls; one operand that decides stands for all.

    A null decides an `and`, after a false.
    """
    deciding = isinstance(node, nodes.Or)
    constants = [operand.value for operand in node.operands if isinstance(operand, nodes.Constant)]
    if not constants:
        return node
    if deciding in constants:
        return nodes.Constant(node.span, deciding)
    if not deciding and None in constants:
        return nodes.Constant(node.span, None)
    kept = [operand for operand in node.operands if not isinstance(operand, nodes.Constant)]
    return kept[0] if len(kept) == 1 else replace(node, operands=tuple(kept))


def _without_nulls(node: nodes.Membership) -> nodes.Expression:
    if _is_null(node.value):
        return nodes.Constant(node.span, None)
    items = tuple(item for item in node.items if not _is_null(item))
    if not items:
        return nodes.Constant(node.span, False)
    return node if len(items) == len(node.items) else replace(node, items=items)


def _is_null(node: nodes.Expression) -> bool:
    return isinstance(node, nodes.Constant) and node.value is None


def constants_right(node: nodes.Expression) -> nodes.Expression:
    """`5 > f` as `f < 5`."""
    if isinstance(node, nodes.Comparison) and isinstance(node.left, nodes.Constant):
        return nodes.Comparison(node.span, _MIRRORED[node.operator], node.right, node.left)
    return node


def not_equal(node: nodes.Expression) -> nodes.Expression:
    """`f != x` as `not f == x`."""
    if isinstance(node, nodes.Comparison) and node.operator == "!=":
        return nodes.Not(node.span, replace(node, operator="=="))
    return node


def boolean_equality(node: nodes.Expression) -> nodes.Expression:
    """`predicate == true` as the predicate, `predicate != true` as `not predicate`; fields stay compared."""
    if not (isinstance(node, nodes.Comparison) and isinstance(node.right, nodes.Constant)):
        return node
    if node.operator not in ("==", "!=") or not isinstance(node.right.value, bool) or not _is_predicate(node.left):
        return node
    return node.left if node.right.value is (node.operator == "==") else nodes.Not(node.span, node.left)


def _is_predicate(node: nodes.Expression) -> bool:
    return isinstance(node, _PREDICATES) or (isinstance(node, nodes.Call) and type_of(node) is DataType.BOOLEAN)


def flatten(node: nodes.Expression) -> nodes.Expression:
    """`a and (b and c)` as one conjunction of three, the same for `or`; `not not a` as `a`."""
    if isinstance(node, nodes.Not) and isinstance(node.operand, nodes.Not):
        return node.operand.operand
    if not isinstance(node, (nodes.And, nodes.Or)):
        return node
    if not any(type(operand) is type(node) for operand in node.operands):
        return node
    operands: list[nodes.Expression] = []
    for operand in node.operands:
        if isinstance(operand, (nodes.And, nodes.Or)) and type(operand) is type(node):
            operands.extend(operand.operands)
        else:
            operands.append(operand)
    return replace(node, operands=tuple(operands))


Pass: TypeAlias = Callable[[nodes.Expression], nodes.Expression]
PASSES: tuple[Pass, ...] = (fold_constants, constants_right, boolean_equality, not_equal, flatten)
"""Each works on one node whose parts are through all of them; later passes rely on the earlier ones."""
