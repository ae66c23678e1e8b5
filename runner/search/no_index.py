"""What it means that no index matches the patterns of a rule: there is none, or none that may be read."""

from __future__ import annotations

from collections.abc import Sequence

from runner.elastic import Elastic
from runner.errors import AccessError, ClusterError
from runner.search.findings import local_patterns
from runner.transport import Call


async def no_index(client: Elastic, patterns: Sequence[str]) -> str:
    """The warning that nothing was searched, since no index matches the patterns.

    Raises AccessError if none of them may be read: to Elasticsearch a wildcard means what one may read, so indices may
    well be there, and the window must not count as searched.
    """
    warning = f"no index matches {', '.join(patterns)}: nothing was searched"
    own = local_patterns(patterns)
    body = {"index": [{"names": [name], "privileges": ["read"]} for name in own]}
    if not own:
        return warning
    try:
        answer = await client.request_object(
            Call("POST", "/_security/user/_has_privileges", "ask which indices may be read", body=body)
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
