"""`RuleCriterion`: what a rule must be to be selected, by one of its properties."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from runner.messages.suggestions import did_you_mean
from runner.rules.load import is_deprecated
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule

KEYS = (
    "id", "name", "rule", "tag", "os", "severity", "tactic", "technique", "data_source", "maturity", "type", "path",
)  # fmt: skip
"""What rules are selected by; `rule` is an id or a name."""
ALIASES = {"tags": "tag", "rules": "rule", "rule_id": "id", "data-source": "data_source", "file": "path"}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "severity": ("low", "medium", "high", "critical"),
    "maturity": ("development", "experimental", "beta", "production", "deprecated"),
    "type": ("eql", "esql", "machine_learning", "new_terms", "query", "saved_query", "threat_match", "threshold"),
}
"""The only values of some keys."""
_WORDS = {
    "id": "id", "name": "name", "rule": "id or name", "tag": "tag", "os": "operating system", "tactic": "tactic",
    "technique": "technique", "data_source": "data source", "path": "file",
}  # fmt: skip


class RuleFacts:
    """The properties of one rule by which it is selected, in small letters; looked up once."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._known: dict[str, tuple[str, ...]] = {}

    def folded(self, key: str) -> tuple[str, ...]:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = tuple(text.casefold() for text in values_of(self.rule, key))
        return found

    @property
    def is_deprecated(self) -> bool:
        return is_deprecated(self.rule)


def values_of(rule: Rule, key: str) -> Iterable[str]:
    """What a rule has of a key, as it is written: of `tactic` names and ids, of `os` that of tags and of metadata."""
    return _READERS[key](rule)


def _tagged(rule: Rule, prefix: str) -> tuple[str, ...]:
    start = f"{prefix}:"
    return tuple(tag[len(start) :].strip() for tag in rule.tags if tag[: len(start)].casefold() == start.casefold())


def _tactics(rule: Rule) -> tuple[str, ...]:
    entries = (text for threat in rule.threat for text in (threat.tactic.name, threat.tactic.id))
    return (*entries, *_tagged(rule, "tactic"))


def _techniques(rule: Rule) -> Iterable[str]:
    for threat in rule.threat:
        for technique in threat.technique:
            for entry in (technique, *technique.subtechnique):
                yield from (entry.id, entry.name)


_READERS: Mapping[str, Callable[[Rule], Iterable[str]]] = {
    "id": lambda rule: (rule.rule_id,),
    "name": lambda rule: (rule.name,),
    "rule": lambda rule: (rule.rule_id, rule.name),
    "tag": lambda rule: rule.tags,
    "os": lambda rule: (*_tagged(rule, "os"), *rule.metadata.os_type_list),
    "severity": lambda rule: (rule.severity,),
    "tactic": _tactics,
    "technique": _techniques,
    "data_source": lambda rule: (*_tagged(rule, "data source"), *rule.metadata.integration),
    "maturity": lambda rule: ("deprecated" if is_deprecated(rule) else rule.metadata.maturity or "production",),
    "type": lambda rule: (rule.type,),
    "path": lambda rule: (rule.path.as_posix(),),
}


@dataclass(frozen=True)
class RuleCriterion:
    """One property that a rule must have: one of the `values` of a `key`, in any letter case.

    `*` stands for any characters and `?` for one, also in ids; in a path `*` ends at a `/` and `**` does not, and the
    pattern may be any run of whole folder and file names.
    """

    key: str
    values: tuple[str, ...]
    offset: int = field(default=0, compare=False)
    """Where it begins in the expression."""

    def __str__(self) -> str:
        return f"{self.key}:{','.join(map(_quoted, self.values))}"

    def holds(self, facts: RuleFacts) -> bool:
        found = facts.folded(self.key)
        if not self._exact.isdisjoint(found):
            return True
        pattern = self._pattern
        return pattern is not None and any(pattern.search(text) for text in found)

    def names_deprecated(self) -> bool:
        """Whether it names rules, or what only deprecated ones have: it selects deprecated rules, too."""
        if self.key in ("id", "name", "rule"):
            return not any(_has_wildcard(value) for value in self.values)
        if self.key == "maturity":
            return any(value.casefold() == "deprecated" for value in self.values)
        return self.key == "path" and any("_deprecated" in value for value in self.values)

    def unknown(self, rules: Iterable[RuleFacts]) -> list[str]:
        """A message for each value that no rule has, with a near name."""
        rules = list(rules)
        found = []
        for value in self.values:
            alone = RuleCriterion(self.key, (value,))
            if self.key in CHOICES or any(alone.holds(facts) for facts in rules):
                continue
            near = "" if self.key == "path" else _near(value, self.key, rules)
            found.append(f"no rule has the {_WORDS[self.key]} `{shortened(value)}`{near}")
        return found

    @property
    def choices(self) -> frozenset[str] | None:
        """The values in small letters of which a rule must have one; None if there are patterns among them."""
        return self._exact if self._pattern is None else None

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(value.casefold() for value in self.values) if self.key != "path" else frozenset()

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if self.key == "path":
            choices = "|".join(map(_path_pattern, self.values))
            return re.compile(f"(?:^|/)(?:{choices})(?:/|$)", re.DOTALL)
        wild = [value for value in self.values if _has_wildcard(value)]
        return re.compile(f"^(?:{'|'.join(map(_text_pattern, wild))})\\Z", re.DOTALL) if wild else None


_PLAIN = re.compile(r"[^\s,\"']+")


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'


def _has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def _text_pattern(value: str) -> str:
    return re.escape(value.casefold()).replace(r"\*", ".*").replace(r"\?", ".")


def _path_pattern(value: str) -> str:
    folded = re.escape(value.casefold().strip("/") if value.strip("/") else value.casefold())
    return folded.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _near(value: str, key: str, rules: Iterable[RuleFacts]) -> str:
    known = dict.fromkeys(text for facts in rules for text in values_of(facts.rule, key))
    if key == "tag":  # the value without its prefix is the usual slip
        whole = [tag for tag in known if tag.rpartition(": ")[2].casefold() == value.casefold()]
        if whole:
            return f"; did you mean `{whole[0]}`?"
    return did_you_mean(value, known)
