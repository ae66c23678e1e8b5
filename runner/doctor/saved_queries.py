"""Checks of the saved queries that rules name: whether a file beside the rules or Kibana has them."""

from __future__ import annotations

from collections.abc import Sequence

from runner.doctor.checks import Check, CheckResult, names_of, ok
from runner.rules.rule import Rule
from runner.rules.saved_queries.saved_query_rules import SavedQueries

_NEEDED = "make the query in Kibana, put its export beside the rules, or give the rule a query of its own; until then "


def unread_saved_queries(rules: Sequence[Rule]) -> frozenset[str]:
    """The saved queries that rules name and that no file beside them has."""
    return frozenset(
        rule.saved_id for rule in rules if rule.type == "saved_query" and rule.saved_id and rule.saved is None
    )


def check_saved_queries(queries: SavedQueries, rules: Sequence[Rule]) -> list[Check]:
    """A check for each saved query: whether it can be read, and from where; `queries` are those of Kibana."""
    users: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.type == "saved_query" and rule.saved_id is not None:
            users.setdefault(rule.saved_id, []).append(rule)
    asked = unread_saved_queries(rules)
    checks: list[Check] = []
    for id_, those in sorted(users.items()):
        if id_ not in asked:
            checks.append(ok("saved_query", id_, "is in a file beside the rules"))
        elif id_ in queries.found:
            checks.append(ok("saved_query", id_, "can be read from Kibana"))
        else:
            owed = any(not rule.query.strip() for rule in those)
            fate = "its rules are not searched, and their windows stay owed" if owed else "the rule's own is searched"
            outcome: CheckResult = "problem" if owed else "warning"
            checks.append(Check("saved_query", id_, outcome, queries.failures[id_], _NEEDED + fate, names_of(those)))
    return checks
