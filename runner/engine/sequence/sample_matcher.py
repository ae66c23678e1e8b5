"""Samples: for each key, one event of every filter, in no particular order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.engine.sequence.sequence_matcher import FoundSequence, Key, StageEvent


def match_samples(
    events: Sequence[StageEvent], stages: int, *, max_per_key: int, sort_key: dict[Key, tuple[object, ...]]
) -> Iterator[FoundSequence]:
    """The samples of all keys for which every stage has an event, ascending by key; at most `max_per_key` for each.

    As in Elasticsearch, each stage offers its first `stages + max_per_key - 1` events of a key, in the order given, and
    no event stands twice in one sample. `sort_key` says by what each key is ordered.
    """
    by_key: dict[Key, list[list[int]]] = {}
    room = stages + max_per_key - 1
    for event in events:
        offered = by_key.setdefault(event.key, [[] for _ in range(stages)])[event.stage]
        if len(offered) < room and event.event not in offered:
            offered.append(event.event)
    for key in sorted((key for key, offered in by_key.items() if all(offered)), key=lambda key: sort_key[key]):
        found = _combinations(by_key[key], ())
        for _, combination in zip(range(max_per_key), found, strict=False):
            yield FoundSequence(key, combination)


def _combinations(offered: Sequence[Sequence[int]], chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Depth first, the first filter's events in order, then the second's, ..."""
    if len(chosen) == len(offered):
        yield chosen
        return
    for event in offered[len(chosen)]:
        if event not in chosen:
            yield from _combinations(offered, (*chosen, event))
