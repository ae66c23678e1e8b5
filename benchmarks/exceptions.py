"""What exceptions cost: `python benchmarks/exceptions.py --rules FOLDER`.

Rules over events, without exceptions and with 2,000 of them and two lists of 65,000 values; the ratio of the two. Then
2,000 rules that are given those of many exceptions and overrides which are for them: ten times as many, as a ratio.
`--given` measures that alone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

from run import CORPUS, SEED_RULES
from searches import RuleSet, rule_set, searched
from timing import Case, measure

from runner.exceptions import load_exceptions
from runner.rules.rule import Rule
from runner.sample_data.write import write_sample
from runner.selection.apply import Refusals, apply_overrides
from runner.selection.override_file import read_override_file

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
_VALUES = 65_000
_RULES = 2_000
_GIVEN = ((500, 200), (5_000, 2_000))
"""How many exceptions and overrides there are in the cases that are compared."""


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        events = Path(folder) / "events.ndjson"
        rules = rule_set("without exceptions", options.rules)
        _measure_giving(rules, Path(folder), options.rounds)
        if options.given:
            return
        rules = rules.part(rules.name, options.most)
        write_sample(events, events=options.events, attacks=20, seed=1, end=END)
        started = time.process_time()
        excepted = _excepted(rules, Path(folder) / "exceptions", options.exceptions)
        print(f"exceptions written, read and given to {len(rules.rules)} rules: {time.process_time() - started:.2f} s")
        cases = [_case(events, one) for one in (rules, excepted)]
        measure(cases, options.rounds, lambda text: print(text, file=sys.stderr, flush=True))
        for case in cases:
            print(f"{case.name:24} {len(rules.rules):>5} rules {options.events / case.best:>10,.0f} events/s")
        print(f"with / without: {cases[1].best / cases[0].best:.3f}")
        for one in (rules, excepted):
            found, preparing = asyncio.run(searched(str(events), one))
            print(f"{one.name:24} {found:,} matches; {preparing:.2f} s to prepare")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = CORPUS if CORPUS.is_dir() else SEED_RULES
    parser.add_argument("--rules", type=Path, default=default, metavar="FOLDER")
    parser.add_argument("--most", type=int, default=350, help="rules of it (default: 350)")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--exceptions", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--given", action="store_true", help="only how exceptions and overrides are given to rules")
    return parser.parse_args()


def _measure_giving(rules: RuleSet, folder: Path, rounds: int) -> None:
    """Print what it takes to find the exceptions and overrides of each rule among many: it must not grow with these."""
    many = [
        one.rule.model_copy(update={"rule_id": f"rule-{number}", "name": f"{number} {one.rule.name}"})
        for number, one in zip(range(_RULES), cycle(rules.rules), strict=False)
    ]
    cases = [_giving(many, folder, exceptions, overrides) for exceptions, overrides in _GIVEN]
    measure(cases, rounds, lambda text: print(text, file=sys.stderr, flush=True))
    for case in cases:
        print(f"{case.name}: {case.best:.3f} s for {len(many):,} rules")
    print(f"ten times as many: {cases[1].best / cases[0].best:.2f} times as long")


def _giving(rules: Sequence[Rule], folder: Path, exceptions: int, overrides: int) -> Case:
    """Exceptions by tag and overrides by id, found for all rules, as at the start of a run."""
    items, changes = folder / f"{exceptions}.toml", folder / f"{overrides}-overrides.toml"
    texts = [_text(f"e{number}", f"tags = ['team {number}']", _condition(number, random.Random(number)))
             for number in range(exceptions)]  # fmt: skip
    items.write_text("\n".join(texts))
    changes.write_text("".join(f'[[override]]\nrules = ["rule-{n}"]\nmax_signals = 50\n' for n in range(overrides)))
    loaded, read = load_exceptions([items]), read_override_file(changes)
    if loaded.problems or read.problems:
        raise RuntimeError(str((*loaded.problems, *read.problems)[0]))

    def work() -> float:
        again = replace(loaded)  # nothing of the round before
        for rule in rules:
            again.for_rule(rule, END)
        apply_overrides(rules, read.overrides, {}, Refusals())
        return 0.0

    return Case(f"{exceptions:,} exceptions and {overrides:,} overrides", work)


def _case(events: Path, rules: RuleSet) -> Case:
    return Case(rules.name, lambda: asyncio.run(searched(str(events), rules))[1], len(rules.rules))


def _excepted(rules: RuleSet, folder: Path, count: int) -> RuleSet:
    """The rules with exceptions as teams have them: half for one rule, some for a tag, a tenth for all."""
    folder.mkdir()
    chance = random.Random(5)
    (folder / "hosts.txt").write_text("\n".join(f"host-{number:06}" for number in range(_VALUES)))
    (folder / "nets.txt").write_text("\n".join(f"10.{n >> 8 & 255}.{n & 255}.0/28" for n in range(_VALUES)))
    texts = [
        _text("hosts", "all_rules = true", '"host.name" = { in = "hosts.txt" }'),
        _text("nets", "all_rules = true", '"source.ip" = { in_net = "nets.txt" }'),
    ]
    tags = sorted({tag for one in rules.rules for tag in one.rule.tags}) or ["none"]
    for number in range(count - 2):
        kind = number % 10
        target = f'rules = ["{chance.choice(rules.rules).rule.rule_id}"]'
        if kind == 0:
            target = "all_rules = true"
        elif kind < 5:
            target = f"tags = ['{chance.choice(tags)}']"
        texts.append(_text(f"exception {number}", target, _condition(number, chance)))
    (folder / "own.toml").write_text("\n".join(texts))
    loaded = load_exceptions([folder])
    for problem in loaded.problems:
        raise RuntimeError(str(problem))
    given = tuple(replace(one, exceptions=loaded.for_rule(one.rule, END)) for one in rules.rules)
    return replace(rules, name=f"with {count:,} exceptions", rules=given)


def _text(name: str, target: str, when: str) -> str:
    return f'[[exception]]\nname = "{name}"\nreason = "r"\nexpires = "never"\n{target}\n[exception.when]\n{when}\n'


def _condition(number: int, chance: random.Random) -> str:
    """Conditions of all kinds; few of them hit anything, as most of a team's are about things long gone."""
    path = f"/opt/vendor-{number}/bin/agent"
    return chance.choice(
        (
            f'"process.parent.executable" = "{path}"\n"host.name" = ["db-{number}", "db-{number + 1}"]',
            f'"process.executable" = "{path}"',
            f'"process.command_line" = {{ like = "*{path} --nightly*" }}\n"user.name" = "backup"',
            f'"process.name" = "tool-{number}"\n"process.args" = {{ like = "--id={number}*" }}',
            f'"process.name" = {{ is = "updater-{number}", any_case = true }}',
            f'"host.name" = "lab-{number}"\n"process.parent.name" = {{ is_not = "sshd" }}',
            f'"file.path" = {{ like = "/var/lib/app-{number}/*" }}',
            f'"destination.ip" = "10.9.{number >> 8}.{number & 255}"\n"process.name" = {{ exists = true }}',
        )
    )


if __name__ == "__main__":
    main()
