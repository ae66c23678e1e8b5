"""Rule files to rules: every problem of every file at once, and changed files picked up while the rules run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from runner.errors import Problem
from runner.rules.discovery import FoundFile, find_rule_files
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule, RuleType
from runner.rules.rule_file import RuleFile, read_rule_file
from runner.rules.saved_queries.saved_query_files import SavedQueryFiles, read_saved_queries
from runner.rules.saved_queries.saved_query_rules import with_saved_query

EventPlace = Literal["files", "cluster"]
"""Where the events are that rules search."""
_ANYWHERE: frozenset[EventPlace] = frozenset({"files", "cluster"})
_IN_A_CLUSTER: frozenset[EventPlace] = frozenset({"cluster"})
RUN: Mapping[RuleType, frozenset[EventPlace]] = {
    "eql": _ANYWHERE,
    "new_terms": _ANYWHERE,
    "query": _ANYWHERE,
    "saved_query": _ANYWHERE,
    "threat_match": _ANYWHERE,
    "threshold": _ANYWHERE,
    "esql": _IN_A_CLUSTER,
    "machine_learning": _IN_A_CLUSTER,
}
"""The types of rules that the runner can search for, and where."""
_ONLY_THERE: Mapping[RuleType, str] = {
    "esql": "rules in ES|QL run in a cluster only, which evaluates the query",
    "machine_learning": "rules of type machine_learning run in a cluster only, whose jobs find the anomalies",
}


@dataclass(frozen=True, slots=True)
class RuleReplacement:
    """A statement that the rules of a file or folder are used in the place of others with their ids."""

    place: Path
    rules: frozenset[str] = frozenset()
    """The ids that it is for; all of them if empty."""

    def covers(self, rule: Rule) -> bool:
        """Whether a rule is one to be used."""
        if self.rules and rule.rule_id not in self.rules:
            return False
        return rule.path.resolve().is_relative_to(self.place.resolve())


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """All rules of some paths at one time; `reload` makes a newer one of it."""

    rules: tuple[Rule, ...] = ()
    """Those of the types that are `RUN` at the `place`, enabled or not, in the order of their files."""
    problems: tuple[Problem, ...] = ()
    files: int = 0
    """How many files were looked at."""
    unsupported: tuple[Rule, ...] = ()
    """Sound rules of the other types, which the runner cannot search for, or not at the `place`; see `why_not`."""
    deprecated: tuple[Rule, ...] = ()
    """Sound rules of any type that are deprecated, found in folders: they are not run unless a selection names them."""
    left_out: tuple[Rule, ...] = ()
    """Sound rules of any type that a selection leaves out: they are not run, and nothing is owed for them."""
    replaced: tuple[tuple[Rule, Path], ...] = ()
    """Sound rules in whose place a rule of the same id is used, with the file of that."""
    place: EventPlace | None = None
    """Where the rules are to search; None: anywhere."""
    sources: tuple[RuleFile, ...] = field(default=(), repr=False)
    saved: SavedQueryFiles = field(default_factory=SavedQueryFiles, repr=False)
    """The saved queries beside the rules; none are looked for without a rule that names one."""

    @property
    def known(self) -> tuple[Rule, ...]:
        """The sound rules of all files, run or not, but those that are replaced."""
        return (*self.rules, *self.unsupported, *self.deprecated, *self.left_out)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that cost a rule."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def is_supported(rule: Rule, place: EventPlace | None = None) -> bool:
    """Whether the runner can search for rules of this type, there if a place is given."""
    places = RUN.get(rule.type)
    return places is not None and (place is None or place in places)


def why_not(*kinds: RuleType) -> str:
    """Why rules of some types that are not supported at some place are not run there."""
    reasons = [
        f"{_ONLY_THERE[kind]}: name one with ELASTICSEARCH_HOSTS, without --events" for kind in kinds if kind in RUN
    ]
    if others := [kind for kind in kinds if kind not in RUN]:
        reasons.append(f"rules of type {', '.join(others)} are not supported yet")
    return "; ".join(reasons)


def types_of(rules: Iterable[Rule]) -> list[RuleType]:
    """The types of rules, each once."""
    return sorted({rule.type for rule in rules})


def is_deprecated(rule: Rule) -> bool:
    """Whether the rule's `maturity` says so, or its folder: Elastic keeps such rules in `_deprecated`."""
    return rule.metadata.maturity == "deprecated" or "_deprecated" in rule.path.parts[:-1]


def load_rules(paths: Sequence[Path]) -> LoadedRules:
    """The rules in the named files and folders; a file with an error yields problems and no rule."""
    return reload(LoadedRules(), paths)


def reload(previous: LoadedRules, paths: Sequence[Path], replacements: Sequence[RuleReplacement] = ()) -> LoadedRules:
    """The rules as the files are now, for the place of `previous`; only files that changed since that are read.

    A file that had a rule and is now broken, or a folder that cannot be looked at, keeps what it had, with a problem
    that says so; a file that is gone takes its rule with it.
    """
    found = find_rule_files(paths)
    before = {source.path: source for source in previous.sources}
    sources = [_read_again(file, before.get(file.path)) for file in found.files]
    here = {file.path for file in found.files}
    kept = [source for source in previous.sources if source.path not in here and _is_lost(source.path, found.lost)]
    problems = [
        *found.problems,
        *(_kept(source.path, source.rule, "cannot be looked at") for source in kept if source.rule),
    ]
    everything = [*sources, *kept]
    replacing = _replacing(everything, replacements)
    owners = {rule.rule_id: rule.path for rule in (*previous.rules, *previous.unsupported)} | replacing
    made = _assemble(everything, problems, owners=owners, replacing=replacing)
    return at_place(_with_saved_queries(made, previous, paths), previous.place)


def _with_saved_queries(made: LoadedRules, previous: LoadedRules, paths: Sequence[Path]) -> LoadedRules:
    """The rules with the saved queries that they name, as far as these are in files beside them."""
    if not any(rule.type == "saved_query" for rule in made.known):
        return made
    saved = read_saved_queries(paths, previous.saved)
    queries = saved.queries
    return replace(
        made,
        rules=tuple(with_saved_query(rule, queries) for rule in made.rules),
        deprecated=tuple(with_saved_query(rule, queries) for rule in made.deprecated),
        problems=(*made.problems, *queries.problems),
        saved=saved,
    )


def at_place(loaded: LoadedRules, place: EventPlace | None) -> LoadedRules:
    """The same rules in use for events at a place."""
    if loaded.place == place:
        return loaded
    every = (*loaded.rules, *loaded.unsupported)
    can, cannot = (tuple(rule for rule in every if is_supported(rule, place) is fits) for fits in (True, False))
    return replace(loaded, rules=can, unsupported=cannot, place=place)


def _replacing(sources: Sequence[RuleFile], replacements: Sequence[RuleReplacement]) -> dict[str, Path]:
    """The file of each rule that is to be used in the place of others, by rule id; of several the first."""
    found: dict[str, Path] = {}
    for rule in (source.rule for source in sources if replacements and source.rule and not _is_retired(source)):
        if any(one.covers(rule) for one in replacements):
            found.setdefault(rule.rule_id, rule.path)
    return found


def _is_lost(path: Path, lost: Iterable[Path]) -> bool:
    """Whether `path` stood in a folder that cannot be looked at now; a named file that is gone is gone."""
    return any(folder in path.parents for folder in lost)


def _read_again(found: FoundFile, before: RuleFile | None) -> RuleFile:
    """The file as it is now, or as it was where it has not changed or has lost its rule to an edit."""
    if before is not None and before.stamp == found.stamp and before.named == found.named:
        return before
    now = read_rule_file(found.path, named=found.named)
    if now.rule is not None or before is None or before.rule is None:
        return now
    notice = _kept(found.path, before.rule, "is broken since its last change")
    return replace(now, rule=before.rule, problems=(*now.problems, notice), marks=before.marks)


def _kept(path: Path, rule: Rule, why: str) -> Problem:
    message = f"kept the last good version of rule `{shortened(rule.name)}`: the file {why}"
    return Problem(path, 0, 0, "error", message, rule.rule_id, code="kept-version")


def _assemble(
    sources: Sequence[RuleFile],
    problems: Iterable[Problem],
    *,
    owners: Mapping[str, Path],
    replacing: Mapping[str, Path],
) -> LoadedRules:
    """All files together. Of rules with one `rule_id` the replacing one or the one that ran before stays, else the
    first."""
    all_problems = list(problems)
    deprecated = [source.rule for source in sources if source.rule and _is_retired(source)]
    owner_of: dict[str, Path] = {}
    for source in sources:
        if (
            source.rule
            and not _is_retired(source)
            and (source.rule.rule_id not in owner_of or owners.get(source.rule.rule_id) == source.path)
        ):
            owner_of[source.rule.rule_id] = source.path
    first_named: dict[str, Path] = {}
    rules: list[Rule] = []
    replaced: list[tuple[Rule, Path]] = []
    for source in sources:
        all_problems.extend(source.problems)
        rule = source.rule
        if rule is None or _is_retired(source):
            continue
        if is_deprecated(rule):
            message = "the rule is deprecated; it is run because its file was named itself"
            all_problems.append(Problem(source.path, 0, 0, "warning", message, rule.rule_id, code="deprecated-rule"))
        if (owner := owner_of[rule.rule_id]) != source.path:
            if replacing.get(rule.rule_id) == owner:
                replaced.append((rule, owner))
                continue
            message = f"`rule_id` {shortened(rule.rule_id)} is taken already, by {owner}"
            taken = Problem(source.path, 0, 0, "error", message, rule.rule_id, code="duplicate-rule-id")
            all_problems.append(_marked(source, "rule_id", taken))
            continue
        first = first_named.setdefault(rule.name.casefold(), source.path)
        if first != source.path:
            message = f"another rule has the name `{shortened(rule.name)}`: {first}"
            taken = Problem(source.path, 0, 0, "warning", message, rule.rule_id, code="duplicate-name")
            all_problems.append(_marked(source, "name", taken))
        rules.append(rule)
    return LoadedRules(
        rules=tuple(rule for rule in rules if is_supported(rule)),
        problems=tuple(all_problems),
        files=len(sources),
        unsupported=tuple(rule for rule in rules if not is_supported(rule)),
        deprecated=tuple(deprecated),
        replaced=tuple(replaced),
        sources=tuple(sources),
    )


def _is_retired(source: RuleFile) -> bool:
    """Whether the rule of a file is deprecated, and the file was found in a folder."""
    return source.rule is not None and is_deprecated(source.rule) and not source.named


def _marked(source: RuleFile, key: str, problem: Problem) -> Problem:
    line, column, drawn = source.marks.get(key, (0, 0, ""))
    return replace(problem, line=line, column=column, picture=drawn)
