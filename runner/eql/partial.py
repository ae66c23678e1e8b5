"""What is known of a condition when only some of its fields are: partial evaluation, over predicates.

The fields whose values are known are called telling. `bound` gives a condition on them alone that is surely met
wherever the whole one is; `settled` gives what is left of a condition once they have been looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from runner.eql.predicates import Junction, Lookup, Negation, Predicate, fields_of


def reads_only(predicate: Predicate, telling: Collection[str]) -> bool:
    """Whether the telling fields decide the predicate. A script is never decided: it may fail on a value."""
    if isinstance(predicate, Lookup):
        return predicate.field in telling and not predicate.scripted
    return not predicate.scripted and all(name in telling for name in fields_of(predicate))


def bound(predicate: Predicate, telling: Collection[str], *, upper: bool = True) -> Predicate | bool:
    """A condition on the telling fields that holds wherever the predicate holds (`upper`), or nowhere else.

    True is the upper bound of a condition that the telling fields say nothing about, False its lower one.
    """
    if reads_only(predicate, telling):
        return predicate
    match predicate:
        case Negation(part=part):
            found = bound(part, telling, upper=not upper)
            return not found if isinstance(found, bool) else replace(predicate, part=found, scripted=found.scripted)
        case Junction(parts=parts, decisive=decisive):
            return _junction(predicate, [bound(part, telling, upper=upper) for part in parts], decisive=decisive)
        case _:
            return upper


def parts_within(predicate: Predicate, telling: Collection[str]) -> Iterator[Predicate]:
    """The largest parts of the predicate that the telling fields decide."""
    if reads_only(predicate, telling):
        yield predicate
        return
    match predicate:
        case Negation(part=part):
            yield from parts_within(part, telling)
        case Junction(parts=parts):
            for part in parts:
                yield from parts_within(part, telling)


def settled(predicate: Predicate, truths: Mapping[int, bool]) -> Predicate | bool:
    """The predicate without the parts whose truth is given, by `id` of the part."""
    known = truths.get(id(predicate))
    if known is not None:
        return known
    match predicate:
        case Negation(part=part):
            found = settled(part, truths)
            if isinstance(found, bool):
                return not found
            return predicate if found is part else replace(predicate, part=found)
        case Junction(parts=parts, decisive=decisive):
            return _junction(predicate, [settled(part, truths) for part in parts], decisive=decisive)
        case _:
            return predicate


def _junction(predicate: Junction, found: list[Predicate | bool], *, decisive: bool) -> Predicate | bool:
    """The junction of these parts instead; True or False where they decide it."""
    if decisive in found:
        return decisive
    parts = tuple(part for part in found if not isinstance(part, bool))
    if len(parts) < 2:
        return parts[0] if parts else not decisive
    return replace(predicate, parts=parts, scripted=any(part.scripted for part in parts))
