"""Rule files to rules: every problem of every file at once, and changed files picked up while the rules run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Problem
from runner.rules.discovery import FoundFile, find_rule_files
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule
from runner.rules.rule_file import RuleFile, read_rule_file


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """All rules of some paths at one time; `reload` makes a newer one of it."""

    rules: tuple[Rule, ...] = ()
    """Those of type eql, enabled or not, in the order of their files."""
    problems: tuple[Problem, ...] = ()
    files: int = 0
    """How many files were looked at."""
    unsupported: tuple[Rule, ...] = ()
    """Sound rules of the other types, which the runner cannot search for yet."""
    deprecated: tuple[Rule, ...] = ()
    """Sound rules of any type whose `maturity` is `deprecated`, found in folders: they are not run."""
    sources: tuple[RuleFile, ...] = field(default=(), repr=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that cost a rule."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def load_rules(paths: Sequence[Path]) -> LoadedRules:
    """The rules in the named files and folders; a file with an error yields problems and no rule."""
    return reload(LoadedRules(), paths)


def reload(previous: LoadedRules, paths: Sequence[Path]) -> LoadedRules:
    """The rules as the files are now; only files that changed since `previous` are read.

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
    owners = {rule.rule_id: rule.path for rule in (*previous.rules, *previous.unsupported)}
    return _assemble([*sources, *kept], problems, owners=owners)


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
    return Problem(path, 0, 0, "error", message, rule.rule_id)


def _assemble(sources: Sequence[RuleFile], problems: Iterable[Problem], *, owners: Mapping[str, Path]) -> LoadedRules:
    """All files together. Of rules with one `rule_id` the one that ran before stays, else the first."""
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
    rules = []
    for source in sources:
        all_problems.extend(source.problems)
        rule = source.rule
        if rule is None or _is_retired(source):
            continue
        if rule.metadata.maturity == "deprecated":
            message = "the rule is deprecated; it is run because its file was named itself"
            all_problems.append(Problem(source.path, 0, 0, "warning", message, rule.rule_id))
        if (owner := owner_of[rule.rule_id]) != source.path:
            message = f"`rule_id` {shortened(rule.rule_id)} is taken already, by {owner}"
            all_problems.append(_marked(source, "rule_id", Problem(source.path, 0, 0, "error", message, rule.rule_id)))
            continue
        first = first_named.setdefault(rule.name.casefold(), source.path)
        if first != source.path:
            message = f"another rule has the name `{shortened(rule.name)}`: {first}"
            all_problems.append(_marked(source, "name", Problem(source.path, 0, 0, "warning", message, rule.rule_id)))
        rules.append(rule)
    return LoadedRules(
        rules=tuple(rule for rule in rules if rule.type == "eql"),
        problems=tuple(all_problems),
        files=len(sources),
        unsupported=tuple(rule for rule in rules if rule.type != "eql"),
        deprecated=tuple(deprecated),
        sources=tuple(sources),
    )


def _is_retired(source: RuleFile) -> bool:
    """Whether the rule of a file is deprecated, and the file was found in a folder, as those of `_deprecated` are."""
    return source.rule is not None and source.rule.metadata.maturity == "deprecated" and not source.named


def _marked(source: RuleFile, key: str, problem: Problem) -> Problem:
    line, column, drawn = source.marks.get(key, (0, 0, ""))
    return replace(problem, line=line, column=column, picture=drawn)
