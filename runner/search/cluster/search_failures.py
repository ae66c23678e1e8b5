"""Messages of failed searches: the rule, the failed shards, the place of a query's error in the rule's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.cluster import answer_shapes
from runner.cluster.elasticsearch import Elastic, reason_of
from runner.cluster.transport import ApiCall
from runner.errors import AccessError, ClusterError, SearchError
from runner.rules.rule import Rule

PLACE = re.compile(r"^line (?P<line>-?\d+):(?P<column>-?\d+): (?P<text>.+)$", re.MULTILINE)
"""One finding about a query, as Elasticsearch writes it."""

_UNKNOWN_COLUMN = re.compile(
    r"Unknown column \[(?P<field>[^\]]+)\](?:, did you mean (?:any of )?\[(?P<near>[^\]]+)\])?"
)


def subject_of(rule: Rule) -> str:
    """The rule, to begin an error message with."""
    return f'rule "{rule.name}" ({rule.rule_id})'


def failed_shards(failures: Sequence[Mapping[str, Any]]) -> str:
    """How many shards failed, and why the first one did."""
    index = failures[0].get("index")
    where = f" of {index}" if index else ""
    return f"failed shards: {len(failures)}, the first{where}: {reason_of(failures[0].get('reason'))[1]}"


def left_out(answer: Mapping[str, Any]) -> str | None:
    """What makes an answer less than the whole: failed shards, a time-out, remote clusters without an answer; or None.

    A remote cluster with `skip_unavailable` that is away makes no error; only `_clusters` shows it.
    """
    shards = answer.get("_shards") or {}
    if failures := answer.get("shard_failures") or shards.get("failures"):
        return failed_shards(failures)
    if shards.get("failed"):
        return f"failed shards: {shards['failed']}"
    if answer.get("timed_out"):
        return "the search timed out on the server"
    clusters = answer.get("_clusters") or {}
    if any(clusters.get(state) for state in ("skipped", "partial", "failed", "running")):
        details = clusters.get("details") or {}
        names = [name for name, about in details.items() if about.get("status") != "successful"]
        return f"the answer is partial: no whole answer of the remote clusters {', '.join(names) or '(not named)'}"
    if answer.get("is_partial"):
        return "the answer is partial: some shards did not answer"
    return None


def unreadable_indices(answer: Mapping[str, Any]) -> str | None:
    """Which indices or remote clusters gave no field capabilities, and why the first did not; None if all did."""
    if not (failures := answer.get("failures")):
        return None
    names = [name for failure in failures for name in failure.get("indices") or ()]
    why = reason_of(failures[0].get("failure"))[1] or "no reason given"
    return f"{', '.join(names) or 'some indices'} did not answer: {why}"


def is_remote(pattern: str) -> bool:
    """Whether an index pattern names another cluster: `cluster:index`.

    >>> is_remote("berlin:logs-*"), is_remote("<logs-{now/d{yyyy.MM.dd|+12:00}}>")
    (True, False)
    """
    return ":" in pattern and not pattern.startswith(("<", "-<"))


def local_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns that include indices of this cluster: not those of remote clusters, nor exclusions."""
    every = [part.strip() for given in patterns for part in given.split(",")]
    return tuple(name for name in every if name and not name.startswith("-") and not is_remote(name))


def query_error(reason: str, rule: Rule) -> SearchError:
    """The error for a query that the indices cannot answer; `reason` is Elasticsearch's, or the local engine's."""
    problems = [_problem(found, rule) for found in PLACE.finditer(reason)] or [reason]
    return SearchError(f"{subject_of(rule)}: {'; '.join(problems)}", rule_id=rule.rule_id, retryable=False)


def _problem(found: re.Match[str], rule: Rule) -> str:
    """One of the findings about the query, with its place in the rule's file."""
    line, column, text = int(found["line"]), int(found["column"]), found["text"]
    if unknown := _UNKNOWN_COLUMN.search(text):
        near = f"; did you mean {_quoted(unknown['near'])}?" if unknown["near"] else ""
        text = f"no index of {', '.join(rule.index)} has the field `{unknown['field']}`{near}"
    if line < 1:
        return text
    if rule.saved is not None:
        return f"{rule.saved.file}:{rule.saved.line}: line {line}, column {column} of the saved query: {text}"
    if rule.path.name:
        shift = rule.query_column - 1 if line == 1 else 0
        return f"{rule.path}:{rule.query_line + line - 1}:{column + shift}: {text}"
    return f"query line {line}, column {column}: {text}"


def _quoted(names: str) -> str:
    return " or ".join(f"`{name.strip()}`" for name in names.split(","))


async def no_index(client: Elastic, patterns: Sequence[str]) -> str:
    """The warning that nothing was searched, since no index matches the patterns.

    Raises AccessError if none of them may be read: Elasticsearch expands a wildcard to readable indices only, so there
    may be indices, and the window must not count as searched.
    """
    warning = f"no index matches {', '.join(patterns)}: nothing was searched"
    own = local_patterns(patterns)
    body = {"index": [{"names": [name], "privileges": ["read"]} for name in own]}
    if not own:
        return warning
    try:
        answer = await client.transport.send_for_object(
            ApiCall(
                "POST",
                "/_security/user/_has_privileges",
                "ask which indices may be read",
                body=body,
                expects=answer_shapes.PRIVILEGES,
            )
        )
    except ClusterError:
        return warning  # Without security everything may be read.
    granted = answer.get("index") or {}
    hidden = [name for name in own if (granted.get(name) or {}).get("read") is False]
    if len(hidden) == len(own):
        raise AccessError(
            f"no index matches {', '.join(patterns)} that may be read, and nothing was searched: the privilege `read` "
            f"is missing on {', '.join(hidden)} (`rule-runner doctor` shows what else is)"
        )
    return f"{warning}; `read` is missing on {', '.join(hidden)}" if hidden else warning
