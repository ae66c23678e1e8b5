"""Files and folders to exceptions: every problem at once, and what a file had before it was broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from runner.errors import Problem
from runner.exceptions.exception_file import ExceptionFile, read_exception_file
from runner.exceptions.item import ExceptionItem
from runner.exceptions.item_index import ItemIndex
from runner.exceptions.kibana_form import ListKey
from runner.exceptions.listed import ListedExceptions
from runner.exceptions.value_lists import SUFFIXES, ValueLists
from runner.rules.discovery import FoundFile, find_files
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule

LISTS = Path("exception lists")
"""What messages about lists that are in no file name as the place."""
_FORMS = (".toml", ".ndjson", ".jsonl", ".json")


@dataclass(frozen=True)
class Exceptions:
    """All exceptions of some paths at one time."""

    items: tuple[ExceptionItem, ...] = ()
    problems: tuple[Problem, ...] = ()
    references: Mapping[str, frozenset[ListKey]] = field(default_factory=dict)
    """The lists that rules in exports refer to, by rule id."""
    sources: tuple[ExceptionFile, ...] = field(default=(), repr=False)
    unread: Mapping[ListKey, str] = field(default_factory=dict)
    """Lists whose items are not known, each with the reason: the rules that refer to them must not run."""
    lists: ValueLists = field(default_factory=ValueLists, repr=False, compare=False)

    def for_rule(self, rule: Rule, at: datetime) -> tuple[ExceptionItem, ...]:
        """The items that apply to a rule in a run that starts at a time."""
        return tuple(item for item in self.all_for_rule(rule) if not item.is_over(at))

    def all_for_rule(self, rule: Rule) -> tuple[ExceptionItem, ...]:
        """The same whether they have expired or not."""
        named = self.references.get(rule.rule_id, frozenset())
        return self._index.for_rule(rule, named)

    @cached_property
    def _index(self) -> ItemIndex:
        return ItemIndex(self.items)

    def withheld(self, rule: Rule) -> str:
        """Why a rule must not run now, as a part of its exceptions is not known; an empty text if it may."""
        reasons = (self.unread.get((one.list_id, one.namespace_type), "") for one in rule.exceptions_list)
        return next(filter(None, reasons), "")

    def with_listed(self, listed: ListedExceptions) -> Exceptions:
        """These of files with those of lists that were read elsewhere; of two items with one id that of a file counts.

        A list that does not exist there may have its items in files.
        """
        items = {item.id: item for item in self.items}
        here = {key for item in self.items for key in item.lists}
        problems = [*self.problems, *listed.problems]
        for item in listed.items:
            first = items.setdefault(item.id, item)
            if first is not item:
                message = f"the exception of this id in {first.place.file}:{first.place.line} counts, not this one"
                problems.append(item.place.problem("warning", message, "duplicate-exception"))
        absent = {key: why for key, why in listed.absent.items() if key not in here}
        unread = {**listed.unread, **absent}
        problems += [Problem(LISTS, 0, 0, "error", why, code="unread-list") for why in unread.values()]
        return replace(self, items=tuple(items.values()), problems=tuple(problems), unread=unread)


def load_exceptions(paths: Sequence[Path], previous: Exceptions | None = None) -> Exceptions:
    """The exceptions in the named files and folders.

    A broken file or item removes nothing, and stops nothing. With `previous`, only files that have changed are read,
    and what is broken since then keeps its last good version, with a problem that says so.
    """
    found = find_files(paths, _is_wanted, "exceptions (*.toml, *.ndjson)")
    before = previous if previous is not None else Exceptions()
    values = [file.path for file in found.files if _is_list(file.path.name)]
    lists = ValueLists(values, before.lists)
    known = {source.path: source for source in before.sources}
    unchanged = not before.lists.changed() and values == before.lists.paths
    sources = [
        _read_again(file, known.get(file.path), lists, unchanged=unchanged)
        for file in found.files
        if not _is_list(file.path.name)
    ]
    here = {source.path for source in sources}
    kept = [
        source
        for source in before.sources
        if source.path not in here and any(lost in source.path.parents for lost in found.lost)
    ]
    problems = [*found.problems, *(_kept(source.path, source.items, "cannot be looked at") for source in kept)]
    return _assembled([*sources, *kept], problems, lists)


def _is_wanted(name: str) -> bool:
    return name.endswith((*_FORMS, *SUFFIXES)) and not name.endswith(".test.toml")


def _is_list(name: str) -> bool:
    return not name.endswith(_FORMS)


def _read_again(found: FoundFile, before: ExceptionFile | None, lists: ValueLists, *, unchanged: bool) -> ExceptionFile:
    """The file as it is now; items that are broken now are those of before."""
    if before is not None and before.stamp == found.stamp and unchanged:
        return before
    now = read_exception_file(found.path, lists, named=found.named)
    if before is None or not now.is_broken:
        return now
    have = {item.id for item in now.items}
    lost = tuple(item for item in before.items if item.id not in have)
    if not lost:
        return now
    notice = _kept(found.path, lost, "is broken since its last change")
    return replace(now, items=(*now.items, *lost), problems=(*now.problems, notice))


def _kept(path: Path, items: Sequence[ExceptionItem], why: str) -> Problem:
    names = ", ".join(f"`{shortened(item.name)}`" for item in items[:3]) + (", ..." if len(items) > 3 else "")
    message = f"kept the last good version of {names or 'no exception'}: the file {why}"
    return Problem(path, 0, 0, "error", message, code="kept-version")


def _assembled(sources: Sequence[ExceptionFile], problems: Iterable[Problem], lists: ValueLists) -> Exceptions:
    """All files together; of several items with one id the first counts."""
    all_problems = list(problems)
    items: dict[str, ExceptionItem] = {}
    references: dict[str, frozenset[ListKey]] = {}
    for source in sources:
        all_problems += source.problems
        for item in source.items:
            first = items.setdefault(item.id, item)
            if first is not item:
                message = f"another exception is called `{shortened(item.id)}`: {first.place.file}:{first.place.line}"
                all_problems.append(item.place.problem("error", message, "duplicate-exception"))
        for rule_id, named in source.references.items():
            references[rule_id] = references.get(rule_id, frozenset()) | named
    return Exceptions(tuple(items.values()), tuple(all_problems), references, tuple(sources), lists=lists)
