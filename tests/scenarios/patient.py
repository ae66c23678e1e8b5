"""`rule-runner` whose end takes as long as it takes: `python -m tests.scenarios.patient ARGUMENTS`.

A command has two seconds after a signal, then it is cut off as by a kill. How much it gets done in them is up to the
machine; what an end in order leaves behind is the same on every machine.

With `--hold-after COUNT` before the arguments, a replay says `held` once so many of its windows are in its journal, and
goes on when its standard input ends.
"""

from __future__ import annotations

import sys

from runner.cli import main, signals
from runner.cli.commands import replay
from runner.rule_run import RuleRun
from runner.service.replay_journal import Journal


class HeldJournal(Journal):
    """A journal that waits after so many runs."""

    left = 0

    def record(self, run: RuleRun) -> None:
        super().record(run)
        HeldJournal.left -= 1
        if HeldJournal.left == 0:
            sys.stdout.write("held\n")
            sys.stdout.flush()
            sys.stdin.read()


if __name__ == "__main__":
    signals.MOST_S = 600.0
    if sys.argv[1] == "--hold-after":
        HeldJournal.left = int(sys.argv[2])
        del sys.argv[1:3]
        replay.Journal = HeldJournal  # type: ignore[attr-defined]
    main()
