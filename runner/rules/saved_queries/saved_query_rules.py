"""Rules of type saved_query with the queries that they name: which could be read, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.messages.suggestions import did_you_mean
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule
from runner.rules.saved_queries.saved_query import SavedQuery


@dataclass(frozen=True, slots=True)
class SavedQueries:
    """The saved queries that could be read, by their ids; and of others why they could not."""

    found: Mapping[str, SavedQuery] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def with_saved_query(rule: Rule, queries: SavedQueries) -> Rule:
    """The rule with its saved query in the place of its own, the rule itself if that is not there; one that has no
    query at all then says why it must not be searched."""
    if rule.type != "saved_query" or rule.saved_id is None:
        return rule
    if (saved := queries.found.get(rule.saved_id)) is not None:
        own = {"query": saved.query, "language": saved.language, "filters": saved.filters}
        return rule.model_copy(update={**own, "saved": saved, "query_escaped": "", "query_unread": ""})
    if rule.query.strip() or rule.saved is not None:
        return rule
    return rule.model_copy(update={"query_unread": f"{_unread(rule, queries)}, and the rule has no query of its own"})


def saved_query_problems(rules: Iterable[Rule], queries: SavedQueries) -> list[Problem]:
    """What is to be said of rules whose saved query could not be read: a warning of those with a query of their own."""
    found: list[Problem] = []
    for rule in rules:
        if rule.type != "saved_query" or rule.saved is not None:
            continue
        if rule.query_unread:
            text = (
                f"{rule.query_unread}: it is not searched, and its windows stay owed; put Kibana's export of the query "
                "(Saved Objects, *.ndjson) beside the rule, or set KIBANA_HOST"
            )
            found.append(Problem(rule.path, 0, 0, "error", text, rule.rule_id, code="unread-saved-query"))
        else:
            text = f"{_unread(rule, queries)}; the rule's own query is searched"
            found.append(Problem(rule.path, 0, 0, "warning", text, rule.rule_id, code="unread-saved-query"))
    return found


def _unread(rule: Rule, queries: SavedQueries) -> str:
    saved_id = rule.saved_id or ""
    if why := queries.failures.get(saved_id):
        return f"the saved query `{shortened(saved_id)}` cannot be read: {why}"
    near = did_you_mean(saved_id, queries.found)
    return f"the saved query `{shortened(saved_id)}` is in no *.ndjson file beside the rules{near}"
