"""Near names for messages ("did you mean ...?"), by edit distance as Elasticsearch measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

_MOST = 5
_LONGEST = 200
"""Characters of a name; a longer one has no near names."""
_ROUNDING = 1e-6
"""Lets in names that are exactly as similar as they must be: 1 - 2 / 5 against 0.6."""


def near_names(name: str, candidates: Iterable[str], *, least: float = 0.5) -> list[str]:
    """The best few candidates whose similarity to `name` is at least `least`, best first, ties in the order given.

    Similarity is 1 - edits / length of the longer name, of Levenshtein's edits.

    >>> near_names("pib", ["pid", "ppid", "command_line"])
    ['pid', 'ppid']
    """
    if not name or len(name) > _LONGEST:
        return []
    from rapidfuzz import process  # takes longer to import than most commands to start
    from rapidfuzz.distance.Levenshtein import normalized_similarity

    found = process.extract(
        name, list(candidates), scorer=normalized_similarity, score_cutoff=least - _ROUNDING, limit=_MOST
    )
    return [candidate for candidate, _, _ in found]


def suggestion(names: list[str]) -> str:
    """The near names in Elasticsearch's words, to be put after a message; empty if there is none."""
    if not names:
        return ""
    return f", did you mean {'' if len(names) == 1 else 'any of '}[{', '.join(names)}]?"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The same for one name, as the text of this object: `near` is called when the text is made, as few ever are."""

    name: str
    near: Callable[[str], list[str]] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return suggestion(self.near(self.name))


Hint: TypeAlias = str | Suggestion
"""The end of a message, made a text by `str`."""


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, whatever its letter case; None if none is like it.

    Edits are insertions and deletions here, out of the letters of both: two letters swapped, the usual slip, cost as
    much as one replaced, so that `high` is near to `hihg`, and `eql` not to `kql`.

    >>> near_name("risk_scor", ["risk_score", "rule_id"])
    'risk_score'
    """
    if len(name) > _LONGEST:
        return None
    from rapidfuzz import process
    from rapidfuzz.distance.Indel import normalized_similarity

    by_folded = {each.casefold(): each for each in known}
    found = process.extractOne(
        name.casefold(), list(by_folded), scorer=normalized_similarity, score_cutoff=0.7 - _ROUNDING
    )
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message that names the near name, or "" if there is none."""
    near = near_name(name, known)
    return f"; did you mean `{near}`?" if near is not None else ""
