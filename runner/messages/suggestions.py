"""Near names for messages, by edit distance as Elasticsearch measures it, in time that thousands of names allow."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

_MOST = 5


def near_names(name: str, candidates: Iterable[str], *, least: float = 0.5) -> list[str]:
    """The best few candidates whose similarity to `name` is at least `least`, best first, ties in the order given.

    Similarity is 1 - edits / length of the longer name.

    >>> near_names("pib", ["pid", "ppid", "command_line"])
    ['pid', 'ppid']
    """
    if not name or len(name) > 200:
        return []
    scored: list[tuple[float, str]] = []
    letters = _letters(name)
    size = len(name)
    for candidate in candidates:
        longer = max(size, len(candidate))
        allowed = (1 - least) * longer + 1e-9
        if abs(size - len(candidate)) > allowed:
            continue
        if _fewest_edits(letters, _letters(candidate)) > allowed:
            continue
        score = 1 - _edits(name, candidate) / longer
        if score >= least:
            scored.append((-score, candidate))
    scored.sort(key=lambda pair: pair[0])
    return [candidate for _, candidate in scored[:_MOST]]


def suggestion(names: list[str]) -> str:
    """The near names in Elasticsearch's words, to be put after a message; empty if there is none."""
    if not names:
        return ""
    return f", did you mean {'' if len(names) == 1 else 'any of '}[{', '.join(names)}]?"


@lru_cache(maxsize=20_000)
def _letters(name: str) -> int:
    """How often each character occurs in a name, up to eight times, as that many bits of its own."""
    bits = 0
    for char in name:
        group = (ord(char) & 63) * 8
        count = bits >> group & 0xFF
        bits |= (count << 1 | 1) << group & 0xFF << group
    return bits


def _fewest_edits(left: int, right: int) -> int:
    """A lower bound of the edits between two names, from their letters: each that the other lacks costs an edit."""
    return max((left & ~right).bit_count(), (right & ~left).bit_count())


def _edits(left: str, right: str) -> int:
    """The Levenshtein distance, by Myers' bit-parallel algorithm (J. ACM 46/3, 1999) as Hyyrö restated it in 2003."""
    positions: dict[str, int] = {}
    for place, char in enumerate(left):
        positions[char] = positions.get(char, 0) | 1 << place
    last = 1 << (len(left) - 1)
    full = (1 << len(left)) - 1
    up, down, distance = full, 0, len(left)
    for char in right:
        equal = positions.get(char, 0)
        diagonal = ((((equal & up) + up) ^ up) | equal | down) & full
        increase = down | ~(diagonal | up)
        decrease = up & diagonal
        if increase & last:
            distance += 1
        elif decrease & last:
            distance -= 1
        shifted = (increase << 1) | 1
        up = ((decrease << 1) | ~(diagonal | shifted)) & full
        down = diagonal & shifted & full
    return distance


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, whatever its letter case; None if none is like it.

    >>> near_name("risk_scor", ["risk_score", "rule_id"])
    'risk_score'
    """
    if len(name) > 100:
        return None
    by_folded = {each.casefold(): each for each in known}
    found = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.7)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message that names the near name, or "" if there is none."""
    near = near_name(name, known)
    return f"; did you mean `{near}`?" if near is not None else ""
