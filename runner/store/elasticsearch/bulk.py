"""`write_bulk`: many write actions through the bulk API, each with its own outcome.

Chunks are bounded by count and bytes; what the cluster puts off (429, 503) or leaves unanswered is sent again.
API: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/docs-bulk.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tenacity import retry_if_result

from runner.cluster.elasticsearch import Elastic, reason_of
from runner.cluster.transport import BUSY_STATUSES
from runner.errors import ClusterError, UnreachableError, WrongAnswerError

MOST_ACTIONS = 500
MOST_BYTES = 1_000_000
"""Of one request; the HTTP client copes badly with bodies of more than a megabyte."""

_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class Action:
    """One line pair of a bulk request, as JSON without line ends; a deletion is one line."""

    header: bytes
    body: bytes | None

    @property
    def lines(self) -> tuple[bytes, ...]:
        return (self.header,) if self.body is None else (self.header, self.body)

    @property
    def size(self) -> int:
        return sum(len(line) + 1 for line in self.lines)


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """What became of one action."""

    status: int
    type: str = ""
    reason: str = ""
    resent: bool = False
    """True if an earlier sending had no answer, so that a conflict may be with our own document."""
    item: Mapping[str, Any] = field(default_factory=dict)
    """The answer's item, with `_seq_no` and `_primary_term` after a success."""

    @property
    def stored(self) -> bool:
        return 200 <= self.status < 300

    @property
    def conflict(self) -> bool:
        return self.status == 409

    @property
    def refused(self) -> bool:
        """True if the document is at fault, so that it would be refused again."""
        if self.type == "index_closed_exception" or self.reason.startswith(("no write index", "pipeline with id [")):
            return False
        return self.status in (400, _TOO_LARGE)

    @property
    def explained(self) -> str:
        """The reason with its status, and with what helps where that is known."""
        return f"{self.reason} (HTTP {self.status}){_help_for(self)}"


async def write_bulk(
    client: Elastic, actions: Sequence[Action], *, index: str, refresh: bool = False, require_alias: bool = False
) -> list[ActionOutcome]:
    """One outcome per action, in order; raises the errors of `Elastic` if nothing was answered."""
    work = _BulkWrite(client, actions, index=index, require_alias=require_alias)
    retry = client.transport.retry
    retrying = retry.attempting(
        again=retry_if_result(bool),
        wait=lambda state: retry.wait_after(state.attempt_number, requested=work.requested_wait),
    )
    await retrying(work.send_pending, refresh=refresh)
    return work.outcomes()


def _require_items(answer: Mapping[str, Any], count: int, index: str) -> None:
    """Raises WrongAnswerError unless the answer has one item for each of the actions."""
    found = len(answer["items"])
    if found != count or not all(len(item) == 1 for item in answer["items"]):
        raise WrongAnswerError(f"could not write to {index}: the answer has {found} items, expected {count}")


def _help_for(outcome: ActionOutcome) -> str:
    """What helps against a failure that is not of the document."""
    if outcome.type == "cluster_block_exception" and "read-only-allow-delete" in outcome.reason:
        return ": a disk of the cluster is full; with room on it the cluster lifts the block by itself"
    if outcome.type == "cluster_block_exception":
        return ": the index is set to be read only (index.blocks.*); take the setting away"
    if outcome.type == "index_closed_exception":
        return ": open the index, or roll its alias over"
    if outcome.reason.startswith("pipeline with id ["):
        return ": make the pipeline, or take it out of the settings of the index"
    if outcome.reason.startswith("no write index"):
        return ": set `is_write_index` on one of the indices behind the alias"
    return ""


class _BulkWrite:
    """The actions of one call that have no final outcome yet."""

    def __init__(self, client: Elastic, actions: Sequence[Action], *, index: str, require_alias: bool) -> None:
        self._client = client
        self._actions = actions
        self._index = index
        self._require_alias = require_alias
        self._done: dict[int, ActionOutcome] = {}
        self._unanswered: set[int] = set()
        self._put_off: dict[int, ActionOutcome] = {}
        self._failure: UnreachableError | ClusterError | None = None
        self._pending = list(range(len(actions)))
        self.requested_wait = 0.0
        """Seconds of the longest `Retry-After` in the last round."""

    async def send_pending(self, *, refresh: bool) -> bool:
        """Send every pending action once; returns whether some were put off, and are pending still."""
        chunks = list(self._chunks(self._pending))
        self._pending = []
        self.requested_wait = 0.0
        while chunks:
            chunk = chunks.pop(0)
            lines = [line for number in chunk for line in self._actions[number].lines]
            try:
                # One refresh at the end is enough to make all of them visible.
                visible: Literal["true", "false"] = "true" if refresh and not chunks else "false"
                alias = self._require_alias
                answer = await self._client.bulk(lines, index=self._index, refresh=visible, require_alias=alias)
                _require_items(answer, len(chunk), self._index)
            except WrongAnswerError:
                raise  # it would be no better the next time
            except UnreachableError as error:
                self._unanswered.update(chunk)
                self._put_off_all(chunk, error)
            except ClusterError as error:
                chunks[:0] = self._after_error(error, chunk)
            else:
                self._read(answer, chunk)
        return bool(self._pending)

    def outcomes(self) -> list[ActionOutcome]:
        """The outcome of every action; those that were put off to the end have the status that put them off."""
        lost = [number for number in self._pending if number not in self._put_off]
        if lost and self._failure is not None:
            raise self._failure
        return [(self._done.get(number) or self._put_off[number]) for number in range(len(self._actions))]

    def _after_error(self, error: ClusterError, chunk: list[int]) -> list[list[int]]:
        """The chunks to send in place of one that was refused as a whole."""
        if error.status in BUSY_STATUSES:
            self._put_off_all(chunk, error)
            return []
        if error.status != _TOO_LARGE:
            raise error
        if len(chunk) > 1:
            middle = len(chunk) // 2
            return [chunk[:middle], chunk[middle:]]
        size = self._actions[chunk[0]].size
        text = f"its {size:,} bytes are more than the cluster takes in one request (http.max_content_length)"
        self._done[chunk[0]] = ActionOutcome(_TOO_LARGE, error.type, text)
        return []

    def _put_off_all(self, chunk: list[int], error: UnreachableError | ClusterError) -> None:
        self._pending += chunk
        self._failure = error
        self.requested_wait = max(self.requested_wait, error.retry_after)

    def _read(self, answer: Mapping[str, Any], chunk: list[int]) -> None:
        for number, item in zip(chunk, answer["items"], strict=True):
            result = next(iter(item.values()))
            kind, reason = reason_of({"error": result["error"]}) if "error" in result else ("", "")
            outcome = ActionOutcome(int(result["status"]), kind, reason, number in self._unanswered, result)
            if outcome.status in BUSY_STATUSES:
                self._put_off[number] = outcome
                self._pending.append(number)
            else:
                self._done[number] = outcome

    def _chunks(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        chunk: list[int] = []
        size = 0
        for number in numbers:
            more = self._actions[number].size
            if chunk and (len(chunk) >= MOST_ACTIONS or size + more > MOST_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(number)
            size += more
        if chunk:
            yield chunk
