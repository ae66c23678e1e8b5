"""`FieldCapsCache`: the field capabilities of the indices of rules, kept for some minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.errors import SearchError
from runner.events.columns.event_groups import STREAM_FIELDS
from runner.events.fields.schema import Schema, schema_from_field_caps
from runner.search.cluster.search_failures import unreadable_indices
from runner.search.compiled_rule import CompiledRule

_DOT = "·"
_STREAM_NAMES = frozenset(stream.name for stream in STREAM_FIELDS)


@dataclass(frozen=True, slots=True)
class FieldCaps:
    """The fields of the indices behind some patterns. `unsearchable` are those that some index cannot search in,
    `remotes` the remote clusters that have some of the indices."""

    indices: tuple[str, ...]
    schema: Schema
    unsearchable: frozenset[str] = frozenset()
    remotes: frozenset[str] = frozenset()


@dataclass(slots=True)
class _KnownCaps:
    """The fields of one list of patterns; `asked` are the names in the last request, with `*` for all."""

    wanted: set[str] = field(default_factory=set)
    seen: set[frozenset[str]] = field(default_factory=set)
    """The field names of rules that are in `wanted` already, with their relatives."""
    asked: frozenset[str] = frozenset()
    read_at: float = 0.0
    types: FieldCaps | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class FieldCapsCache:
    """The types of the fields that rules name, read once for all rules over the same indices.

    They are used for `fresh_for` seconds. `runtime_mappings` are fields beside those of the indices.
    """

    def __init__(
        self, client: Elastic, *, fresh_for: float = 300.0, runtime_mappings: Mapping[str, Any] | None = None
    ) -> None:
        self._client = client
        self._fresh_for = fresh_for
        self._runtime_mappings = dict(runtime_mappings or {})
        self._known: dict[tuple[str, ...], _KnownCaps] = {}

    def want(self, compiled: CompiledRule) -> None:
        """Add this rule's fields to those that are read next of its indices."""
        self.want_names(compiled.rule.index, compiled.names_read)

    def want_names(self, patterns: tuple[str, ...], names: frozenset[str]) -> None:
        """The same for the fields of some indices."""
        known = self._known.setdefault(patterns, _KnownCaps())
        if names not in known.seen:
            known.seen.add(names)
            known.wanted.update(_with_relatives(names))

    def want_excepted(self, rules: Iterable[CompiledRule]) -> None:
        """The same for the rules that have exceptions, for searches that need no types otherwise."""
        for rule in rules:
            if rule.exceptions:
                self.want(rule)

    async def types(
        self, patterns: tuple[str, ...], *, all_fields: bool = False, deadline: float | None = None
    ) -> FieldCaps:
        """The types of the wanted fields, or of all; those may have been read a while ago.

        Raises RunnerError, also if only a part of the indices answered: the fields of the others are unknown then.
        """
        known = self._known.setdefault(patterns, _KnownCaps())
        async with known.lock:
            now = asyncio.get_running_loop().time()
            asked = frozenset({"*"} if all_fields or "*" in known.asked else known.wanted)
            if known.types is None or not asked <= known.asked or now - known.read_at > self._fresh_for:
                answer = await self._client.field_caps(
                    patterns, sorted(asked), runtime_mappings=self._runtime_mappings, deadline=deadline
                )
                if trouble := unreadable_indices(answer):
                    raise SearchError(f"the fields of {', '.join(patterns)} could not be read: {trouble}")
                types = _read(answer)
                known.types = known.types if known.types == types else types
                known.asked, known.read_at = asked, now
            return known.types

    def forget(self, patterns: tuple[str, ...]) -> None:
        """Read the fields of these indices again when they are needed next."""
        if (known := self._known.get(patterns)) is not None:
            known.asked = frozenset()


def _read(answer: Mapping[str, Any]) -> FieldCaps:
    schema = schema_from_field_caps(answer)
    own = {
        name: found if name in _STREAM_NAMES else replace(found, path=name.replace(".", _DOT))
        for name, found in schema.fields.items()
    }
    unsearchable = {
        name
        for name, kinds in answer["fields"].items()
        for kind, about in kinds.items()
        if kind != "unmapped" and not about.get("searchable", True)
    }
    indices = tuple(answer.get("indices") or ())
    remotes = {name.rpartition(":")[0] for name in indices if ":" in name}
    return FieldCaps(indices, Schema(own), frozenset(unsearchable), frozenset(remotes))


def _with_relatives(names: Iterable[str]) -> Iterator[str]:
    """The names of the fields, of those below them (keyword sub-fields) and above them (flattened, nested)."""
    for name in names:
        yield name
        yield f"{name}.*"
        end = name.rfind(".")
        while end > 0:
            yield name[:end]
            end = name.rfind(".", 0, end)
