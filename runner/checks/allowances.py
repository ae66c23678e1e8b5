"""`Allowance`: a finding that a person lets stand, as stated in the rule's file or in a file of overrides.

In a rule's file it is a comment: `# rule-runner: allow CODE [NAME...] -- REASON`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.checks.codes import CODES
from runner.errors import Problem
from runner.exceptions.item import FilePlace
from runner.messages.suggestions import did_you_mean
from runner.messages.text_positions import IN_FILE, Source, Span
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule
from runner.selection.criteria import RuleFacts
from runner.selection.override_file import StatedAllowance

NEVER_ALLOWED = frozenset({"unused-allowance", "unreadable-allowance"})
_COMMENT = re.compile(r"^[ \t]*#[ \t]*rule-runner:(?P<rest>[^\n]*)$", re.MULTILINE)
_ALLOW = re.compile(r"\s*allow\s+(?P<code>\S+)(?P<about>[^\n]*?)(?:\s+--\s*(?P<reason>.*))?\s*$")


@dataclass(frozen=True, slots=True)
class Allowance:
    """Which findings may stand: of the code, in the file or about the rules, about all or some names."""

    code: str
    place: FilePlace
    about: tuple[str, ...] = ()
    reason: str = ""
    file: Path | None = None
    rule_ids: frozenset[str] | None = None

    def allows(self, problem: Problem) -> bool:
        """Whether the finding may stand. Errors never may: the rule could not be run."""
        if problem.code != self.code or problem.severity == "error":
            return False
        is_of_rule = self.rule_ids is None or problem.rule_id in self.rule_ids
        if not (is_of_rule if self.file is None else problem.file == self.file or (self.rule_ids and is_of_rule)):
            return False
        return not self.about or any(_names(problem, name) for name in self.about)


def _names(problem: Problem, name: str) -> bool:
    """Whether the finding's message has the name; a `*` stands for any part of one."""
    wanted = re.escape(name).replace(r"\\*", r"[^\s`\]]*").replace(r"\*", r"[^\s`\]]*")
    return re.search(rf"(?<![\w.*]){wanted}(?![\w*]|\.\w)", problem.message) is not None


@dataclass(frozen=True, slots=True)
class JudgedFindings:
    """The findings that count, and those that are allowed, each with its allowance."""

    counted: tuple[Problem, ...]
    allowed: tuple[tuple[Problem, Allowance], ...]


def judged(problems: Sequence[Problem], allowances: Sequence[Allowance]) -> JudgedFindings:
    """The findings by what becomes of them; an allowance that allows none is a finding itself."""
    by_code: dict[str, list[Allowance]] = {}
    for one in allowances:
        by_code.setdefault(one.code, []).append(one)
    counted: list[Problem] = []
    allowed: list[tuple[Problem, Allowance]] = []
    used: set[int] = set()
    for problem in problems:
        fitting = [one for one in by_code.get(problem.code, ()) if one.allows(problem)]
        used.update(map(id, fitting))
        if fitting:
            allowed.append((problem, fitting[0]))
        else:
            counted.append(problem)
    counted += [_unused(one) for one in allowances if id(one) not in used]
    return JudgedFindings(tuple(counted), tuple(allowed))


def _unused(allowance: Allowance) -> Problem:
    names = f" about {', '.join(allowance.about)}" if allowance.about else ""
    text = f"allows `{allowance.code}`{shortened(names, 200)}, but there is no such finding: take it away"
    return allowance.place.problem("warning", text, "unused-allowance")


# Where they are stated.


def stated_allowances(stated: Iterable[StatedAllowance], rules: Sequence[Rule]) -> Iterator[Allowance]:
    """Those of `[[allow]]` tables, for the rules that each selects."""
    facts = [RuleFacts(rule) for rule in rules]
    for one in stated:
        ids = None
        if one.selection:
            ids = frozenset(fact.rule.rule_id for fact in facts if one.selection.covers(fact))
        for code in one.codes:
            yield Allowance(code, one.place, one.about, one.reason, rule_ids=ids)


def commented_allowances(
    files: Mapping[Path, str], rule_ids: Mapping[Path, str]
) -> tuple[list[Allowance], list[Problem]]:
    """Those in the comments of rule files, by path as the ids of their rules, and what is wrong with others."""
    found: list[Allowance] = []
    problems: list[Problem] = []
    for path, text in files.items():
        if "rule-runner:" not in text:
            continue
        source = Source(text)
        for comment in _COMMENT.finditer(text):
            span = Span(comment.start("rest") - len("rule-runner:"), comment.end())
            place = FilePlace(path, *source.place(span.start), source.picture(span, IN_FILE))
            read = _ALLOW.match(comment["rest"])
            if read is None or not (read["reason"] or "").strip():
                text_ = "expected `rule-runner: allow CODE [NAME...] -- REASON`"
                problems.append(place.problem("error", text_, "unreadable-allowance"))
            elif wrong := wrong_code(read["code"]):
                problems.append(place.problem("error", wrong, "unreadable-allowance"))
            else:
                about = tuple(name.strip(",`") for name in read["about"].split())
                ids = frozenset({rule_ids[path]}) if path in rule_ids else frozenset()
                found.append(Allowance(read["code"], place, about, read["reason"].strip(), path, ids))
    return found, problems


def wrong_code(code: str) -> str:
    """What is wrong with the code of an allowance; "" if nothing is."""
    if code in NEVER_ALLOWED:
        return f"`{code}` cannot be allowed"
    if code not in CODES:
        return f"`{shortened(code)}` is no code of a finding{did_you_mean(code, CODES)}"
    return ""


def with_codes(problems: Iterable[Problem]) -> list[Problem]:
    """The findings, each with a code: a finding without one of its own is about a value."""
    return [problem if problem.code else replace(problem, code="wrong-value") for problem in problems]
