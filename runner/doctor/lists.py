"""Checks of the exception lists in Kibana that rules refer to."""

from __future__ import annotations

from collections.abc import Sequence

from runner.cluster.kibana_lists import KibanaLists
from runner.doctor.checks import Check, RuleName, names_of, ok
from runner.errors import RunnerError
from runner.exceptions.kibana_form import ListKey
from runner.exceptions.listed import list_users, value_lists_of
from runner.messages.quantities import counted
from runner.rules.rule import Rule

_AWAY = "rules are not searched while a list of theirs was never read, and their windows stay owed"


async def check_lists(lists: KibanaLists, rules: Sequence[Rule]) -> list[Check]:
    """A check for each list: whether it is there, and whether it and the value lists of its items can be read."""
    users = list_users(rules)
    if not users:
        return [ok("exception_list", "all", "no rule that is turned on refers to an exception list")]
    return [await _checked(lists, key, users[key]) for key in sorted(users)]


async def _checked(lists: KibanaLists, key: ListKey, users: Sequence[Rule]) -> Check:
    names = names_of(users)
    try:
        items = await lists.items(*key)
        if items is None:
            return _absent(key, lists.place, names)
        missing = [id_ for id_ in sorted(value_lists_of(items)) if await lists.values(id_) is None]
    except RunnerError as error:
        remedy = f"{_AWAY}; RUNNER_KIBANA_EXCEPTIONS=false searches without the lists of Kibana"
        return Check("exception_list", key[0], "problem", str(error), remedy, names)
    found = f"{counted(len(items), 'item')} can be read"
    if missing:
        found = f"{found}, but there is no value list {', '.join(missing)}: the items that name it except nothing"
        return Check("exception_list", key[0], "problem", found, "import it in Kibana, or correct the items", names)
    return ok("exception_list", key[0], found)


def _absent(key: ListKey, place: str, names: tuple[RuleName, ...]) -> Check:
    found = f"there is no such list in {place}"
    if key[0].startswith("endpoint"):
        return ok("exception_list", key[0], f"{found}: it excepts nothing")
    remedy = f"make it, put its items into a file of exceptions, or take it out of the rules; {_AWAY}"
    return Check("exception_list", key[0], "problem", found, remedy, names)
