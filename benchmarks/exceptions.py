"""What exceptions cost: `python benchmarks/exceptions.py --rules FOLDER`.

Rules over events, without exceptions and with 2,000 of them and two lists of 65,000 values; the ratio of the two.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from run import CORPUS, SEED_RULES
from searches import RuleSet, rule_set, searched
from timing import Case, measure

from runner.exceptions import load_exceptions
from runner.sample_data.write import write_sample

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
_VALUES = 65_000


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        events = Path(folder) / "events.ndjson"
        write_sample(events, events=options.events, attacks=20, seed=1, end=END)
        rules = rule_set("without exceptions", options.rules)
        rules = rules.part(rules.name, options.most)
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
    return parser.parse_args()


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
