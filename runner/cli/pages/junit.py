"""The outcomes of rule tests as JUnit XML, for CI services.

The form is the common subset of https://github.com/testmoapp/junitxml: `testsuites`, a `testsuite` per file, `testcase`
with `failure` or `error`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from runner.errors import Problem
from runner.rule_tests.outcome import TestOutcome

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, not even escaped."""


def junit_report(outcomes: Sequence[TestOutcome], problems: Sequence[Problem], missing: Mapping[str, str]) -> bytes:
    """The XML document; a test file that could not be read counts as an error of its suite, and tests that are missing
    as failures: what is said, by what they are missing for."""
    root = ElementTree.Element("testsuites", name="rule-runner test")
    for path, group in groupby(outcomes, key=lambda outcome: outcome.case.path):
        _suite(root, path, list(group))
    for problem in problems:
        suite = ElementTree.SubElement(
            root, "testsuite", name=_text(str(problem.file)), tests="1", failures="0", errors="1", time="0"
        )
        case = ElementTree.SubElement(suite, "testcase", name="test file", classname=_text(str(problem.file)), time="0")
        ElementTree.SubElement(case, "error", message=_text(str(problem)))
    if missing:
        count = str(len(missing))
        suite = ElementTree.SubElement(
            root, "testsuite", name="missing tests", tests=count, failures=count, errors="0", time="0"
        )
        for name, said in missing.items():
            case = ElementTree.SubElement(suite, "testcase", name=_text(name), classname="missing tests", time="0")
            ElementTree.SubElement(case, "failure", message=_text(said))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: ElementTree.Element, path: Path, outcomes: Sequence[TestOutcome]) -> None:
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_text(str(path)),
        tests=str(len(outcomes)),
        failures=str(sum(outcome.status == "failed" for outcome in outcomes)),
        errors=str(sum(outcome.status == "error" for outcome in outcomes)),
        time=_seconds(sum(outcome.took_ms for outcome in outcomes)),
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            name=_text(outcome.case.test.name),
            classname=_text(outcome.rule_name),
            file=_text(str(path)),
            line=str(outcome.case.line),
            time=_seconds(outcome.took_ms),
        )
        if outcome.status != "passed":
            found = ElementTree.SubElement(
                case, "failure" if outcome.status == "failed" else "error", message=_text(outcome.messages[0])
            )
            found.text = _text("\n".join(outcome.messages))


def _seconds(took_ms: int) -> str:
    return f"{took_ms / 1000:.3f}"


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
