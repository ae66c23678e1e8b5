"""Exceptions: what is no alert although a rule finds it. `load_exceptions` reads them, `resolve_items` applies them."""

from runner.exceptions.checks import check_exceptions, missing_lists
from runner.exceptions.conditions import ResolvedItems, excepting, resolve_items
from runner.exceptions.item import ExceptionItem
from runner.exceptions.load import Exceptions, load_exceptions

__all__ = [
    "ExceptionItem",
    "Exceptions",
    "ResolvedItems",
    "check_exceptions",
    "excepting",
    "load_exceptions",
    "missing_lists",
    "resolve_items",
]
