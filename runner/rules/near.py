"""Near names: what a user may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
