"""The findings of `check` for machines: JUnit XML, SARIF, annotations of GitHub, code quality reports of GitLab."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from runner import __version__
from runner.checks.codes import CODES
from runner.errors import Problem
from runner.json_text import write_json
from runner.messages.printable import escaped_json

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_junit(problems: Sequence[Problem], files: Sequence[Path], *, strict: bool) -> str:
    """A `testcase` for each file, with a failure for each finding that counts; warnings count where it is `strict`.

    The form is the common subset of https://github.com/testmoapp/junitxml.
    """
    by_file: dict[Path, list[Problem]] = {path: [] for path in files}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    failing = {
        path: [one for one in found if strict or one.severity == "error"] for path, found in by_file.items()
    }  # fmt: skip
    count = {"tests": str(len(by_file)), "failures": str(sum(map(bool, failing.values()))), "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "rule-runner check", **count})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "rule-runner check", **count, "time": "0"})
    for path, found in by_file.items():
        name = _xml(str(path))
        case = ElementTree.SubElement(suite, "testcase", name=name, classname="check", file=name, time="0")
        for one in failing[path]:
            what = {"message": _xml(f"{one.text} [{one.code}]"), "type": one.code}
            ElementTree.SubElement(case, "failure", what).text = _xml(f"{one.severity}: {one}\n{one.picture}".rstrip())
        if told := [one for one in found if one not in failing[path]]:
            ElementTree.SubElement(case, "system-out").text = _xml("\n".join(f"{one} [{one.code}]" for one in told))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def as_sarif(problems: Sequence[Problem], files: Sequence[Path], *, strict: bool) -> str:
    """A log of SARIF 2.1.0 with one run: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html"""
    codes = sorted({problem.code for problem in problems})
    rules = [{"id": code, "shortDescription": {"text": CODES.get(code, code)}} for code in codes]
    log = {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "rule-runner", "version": __version__, "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(problem, codes.index(problem.code), mark)
                    for problem, mark in zip(problems, _fingerprints(problems), strict=True)
                ],
            }
        ],
    }
    return _json(log)


def _result(problem: Problem, number: int, mark: str) -> dict[str, Any]:
    region = {"startLine": problem.line, "startColumn": max(problem.column, 1)} if problem.line else None
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(problem.file)}}
    return {
        "ruleId": problem.code,
        "ruleIndex": number,
        "level": problem.severity,
        "message": {"text": problem.text},
        "locations": [{"physicalLocation": place | ({"region": region} if region else {})}],
        "partialFingerprints": {"ruleRunnerFinding/v1": mark},
    }


def _uri(path: Path) -> str:
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _fingerprints(problems: Sequence[Problem]) -> list[str]:
    """A text for each finding that no other has, the same while it stays, also where lines are put in above it."""
    met: Counter[tuple[str, str, str]] = Counter()
    marks = []
    for problem in problems:
        key = (problem.file.as_posix(), problem.code, problem.message)
        met[key] += 1
        marks.append(hashlib.sha256("\0".join((*key, str(met[key]))).encode()).hexdigest())
    return marks


def as_github(problems: Sequence[Problem], files: Sequence[Path], *, strict: bool) -> str:
    """Workflow commands, a line each, that GitHub shows at the lines of a pull request."""
    return "\n".join(map(_command, problems))


def _command(problem: Problem) -> str:
    place = {"file": str(problem.file), "line": problem.line, "col": problem.column, "title": problem.code}
    told = ",".join(f"{name}={_property(str(value))}" for name, value in place.items() if value)
    return f"::{problem.severity} {told}::{_data(problem.text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_gitlab(problems: Sequence[Problem], files: Sequence[Path], *, strict: bool) -> str:
    """A code quality report: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format"""
    severities = {"error": "critical", "warning": "minor"}
    return _json(
        [
            {
                "description": problem.text,
                "check_name": problem.code,
                "fingerprint": mark,
                "severity": severities[problem.severity],
                "location": {"path": problem.file.as_posix(), "lines": {"begin": max(problem.line, 1)}},
            }
            for problem, mark in zip(problems, _fingerprints(problems), strict=True)
        ]
    )


def _json(value: Any) -> str:
    return escaped_json(write_json(value, indented=True).decode())


FORMATS: dict[str, Callable[..., str]] = {
    "junit": as_junit, "sarif": as_sarif, "github": as_github, "gitlab": as_gitlab,
}  # fmt: skip
"""Findings, the files that were looked at and whether warnings count, to the text of a format."""
