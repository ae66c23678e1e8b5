"""The report of a single run: what it found first, then the rules with news; the others in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from runner.analyst.alert_lookup import SHORT_ID
from runner.analyst.alert_summary import summary
from runner.cli.console import STATUS_STYLES, counted, out, print_places, print_table, printable, table, window_text
from runner.cli.own_command import own_command
from runner.cli.pages.alert_table import alert_table
from runner.rule_run import RuleRun, has_news, shared_messages
from runner.store.protocol import StoredAlert

_SHOWN_ALERTS = 20
_SHOWN_EXCEPTIONS = 5
_SHOWN_QUIET = 3
"""Most rules without news that are shown all the same: folding so few would save nothing."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The runs and the alerts that they created; `state_flag` is the `--state` that a following command needs."""

    runs: Sequence[RuleRun]
    alerts: Sequence[StoredAlert]
    places: tuple[str, str]
    """Where the events came from, and where the alerts go."""
    state_flag: str = ""

    @property
    def created(self) -> int:
        return sum(run.created for run in self.runs)

    def news(self) -> list[RuleRun]:
        """The runs that found something, or have a message of their own; failures first, then by new alerts."""
        shared = shared_messages(self.runs)
        found = [run for run in self.runs if has_news(run, shared)]
        return sorted(found, key=lambda run: (run.status != "failed", -run.created))

    def is_quiet(self, told: Mapping[str, Collection[str]]) -> bool:
        """Whether nobody has to be told: no new alert, no failure, no message that is not among those `told` before of
        its rule."""
        return not self.created and all(
            run.status != "failed" and set(run.messages) <= set(told.get(run.rule_id, ())) for run in self.runs
        )

    def as_json(self, *, everything: bool) -> dict[str, Any]:
        """The object that `--output json` prints, without the runs that had nothing to tell unless `everything`."""
        shown = [run for run in self.runs if everything or run.matches or run.messages or run.status != "succeeded"]
        return {
            "runs": [run.as_json() for run in shown],
            "left_out": len(self.runs) - len(shown),
            "created": self.created,
            "alerts": [summary(alert) for alert in self.alerts],
            "events": self.places[0],
            "alerts_to": self.places[1],
        }

    def print(self, *, everything: bool) -> None:
        """Print the new alerts, then the runs with news and all messages."""
        console = out()
        windows = {run.window for run in self.runs}
        if len(windows) == 1:
            console.print(f"Window {window_text(*windows)} UTC")
        self._print_alerts()
        news = self.news()
        others = [run for run in self.runs if run not in news]
        if everything or len(others) <= _SHOWN_QUIET:
            news, others = [*news, *others], []
        if news:
            console.print()
            _print_table(news, with_window=len(windows) > 1)
        if others:
            failed = sum(run.status == "failed" for run in others)
            rules = len({run.rule_id for run in others})
            subject = counted(rules, "other rule" if news else "rule")
            console.print(f"{subject} {'could not be searched to the end' if failed else 'found nothing'}.")
        for text in dict.fromkeys(text for run in self.runs for text in run.messages):
            names = list({run.rule_id: run.name for run in self.runs if text in run.messages}.values())
            subject = printable(names[0]) if len(names) == 1 else f"{len(names)} rules"
            told = printable(text) if text.startswith(f'rule "{names[0]}"') else f"{subject}: {printable(text)}"
            console.print(Text(told, style="yellow"), soft_wrap=True)
        self._print_excepted()
        console.print()
        print_places(*self.places)
        if self.alerts:
            follow = f"{own_command()} alerts show {self.alerts[0].id[:SHORT_ID]}{self.state_flag}"
            console.print(f"Look at one: {follow}", soft_wrap=True)

    def _print_excepted(self) -> None:
        """Print how many events exceptions have left out of times that were not searched before."""
        events: Counter[str] = Counter()
        for run in self.runs:
            for one in run.excepted:
                events[one.exception] += one.events
        if not events:
            return
        shown = [f"{printable(name)} {count:,}" for name, count in events.most_common(_SHOWN_EXCEPTIONS)]
        more = f", and {len(events) - len(shown)} more" if len(events) > len(shown) else ""
        text = f"Left out by exceptions: {counted(events.total(), 'event')} ({', '.join(shown)}{more})"
        out().print(text, soft_wrap=True, markup=False, highlight=False)

    def _print_alerts(self) -> None:
        console = out()
        if not self.alerts:
            console.print("No new alerts.")
            return
        console.print(f"{counted(len(self.alerts), 'new alert')}:")
        print_table(alert_table(self.alerts[:_SHOWN_ALERTS]))
        if len(self.alerts) > _SHOWN_ALERTS:
            more = len(self.alerts) - _SHOWN_ALERTS
            console.print(f"... and {more} more: {own_command()} alerts list{self.state_flag}", soft_wrap=True)


def _print_table(runs: Sequence[RuleRun], *, with_window: bool) -> None:
    suppressed = ("suppressed",) if any(run.suppressed for run in runs) else ()
    counts = ("matches", "created", "known", *suppressed, "over cap", "ms")
    shown = table("rule", "outcome", *(("window (UTC)",) if with_window else ()), *counts, right=counts)
    for run in runs:
        more = (run.suppressed,) if suppressed else ()
        numbers = (run.matches, run.created, run.duplicates, *more, run.capped, run.took_ms)
        window = (window_text(run.window),) if with_window else ()
        shown.add_row(run.name, Text(run.status, style=STATUS_STYLES[run.status]), *window, *map(str, numbers))
    print_table(shown)
