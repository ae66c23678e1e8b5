"""Printing: results to stdout, everything else to stderr, as tables or JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderHook,
    RenderResult,
    RichCast,
)
from rich.control import Control
from rich.measure import Measurement
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from runner.cli.own_command import runnable
from runner.errors import Problem
from runner.json_text import write_json
from runner.messages.printable import escaped_json
from runner.messages.printable import printable as printable  # these two are for every page and command
from runner.messages.quantities import counted as counted
from runner.messages.query_errors import QueryError
from runner.windows import Window

SEVERITY_STYLES = {"low": "cyan", "medium": "yellow", "high": "red", "critical": "bold white on red"}
STATUS_STYLES = {"succeeded": "green", "warning": "yellow", "failed": "bold red"}
_WIDTH_WITHOUT_TERMINAL = 160
_WIDTH_OF_TABLES_WITHOUT_TERMINAL = 10_000  # a row stays one line, so that grep and cut work
_NARROW = 120
_LONGEST_CELL, _SHORTEST_CUT = 500, 40
"""Characters of a cell; on a terminal one that is not wrapped has a third of the width, but the smaller at least."""


class _Escaped:
    """A renderable whose text cannot control a terminal, whoever wrote it, and that has no hidden links."""

    def __init__(self, shown: ConsoleRenderable | RichCast | str) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options):
            if segment.control:
                yield segment
                continue
            style = segment.style
            if style is not None and style.link:
                style = style.update_link(None)
            yield Segment(printable(segment.text, but="\n"), style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._shown)


class _Escaping(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [one if isinstance(one, Control) else _Escaped(one) for one in renderables]


class _Console(Console):
    """The console of every command: control characters of rules, events and names are shown escaped.

    It raises BrokenPipeError, handled by `main`, when the reader closes the pipe (`| head`).
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.push_render_hook(_Escaping())

    def print(self, *objects: Any, **more: Any) -> None:
        """Print; on stderr nothing is an error, as a command is not ended because nobody can read its remarks."""
        with suppress(OSError) if self.stderr else nullcontext():
            super().print(*objects, **more)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Table(Table):
    """A table whose cells are escaped, and cut where they are long, before their widths are measured."""

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        longest = max(_SHORTEST_CUT, out().width // 3) if sys.stdout.isatty() else _LONGEST_CELL
        ends = (longest if column.no_wrap else _LONGEST_CELL for column in self.columns)
        super().add_row(*map(_cell, cells, ends), **more)


def _cell(cell: RenderableType | None, longest: int) -> RenderableType | None:
    if not isinstance(cell, str | Text):
        return cell
    plain, style = (cell, "") if isinstance(cell, str) else (cell.plain, cell.style)
    text = printable(plain[: longest + 1])
    if text == plain and len(text) <= longest:
        return Text(text) if isinstance(cell, str) else cell
    return Text(text if len(text) <= longest else f"{text[: longest - 3]}...", style=style)


def out() -> Console:
    """The console for results; without a terminal it is wide and plain."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)


def err() -> Console:
    """The console for everything but results."""
    return _Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _WIDTH_WITHOUT_TERMINAL)


def may_color() -> bool:
    """Whether logs may be coloured: not if NO_COLOR is set and not empty (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def is_narrow() -> bool:
    """Whether results go to a terminal too narrow for a table of many columns."""
    return sys.stdout.isatty() and out().width < _NARROW


def print_table(rows: Table) -> None:
    """Print a table on stdout; without a terminal each row stays on one line."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_TABLES_WITHOUT_TERMINAL
    _Console(highlight=False, width=width).print(rows)


def print_json(value: Any, *, indented: bool = False) -> None:
    """Print a JSON value on stdout: indented on a terminal or if `indented`, else on one line."""
    text = write_json(value, indented=indented or sys.stdout.isatty(), default=str)
    sys.stdout.write(escaped_json(text.decode()) + "\n")
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """Print a remark on stderr."""
    err().print(Text(runnable(text), style=style), soft_wrap=True)


def warn(text: str) -> None:
    say(f"warning: {text}", "yellow")


def show_problem(problem: Problem, console: Console, *, with_code: bool = False) -> None:
    """Print a problem with its place and, if known, its line with carets."""
    style = "bold red" if problem.severity == "error" else "yellow"
    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else str(problem.file)
    code = (f" [{problem.code}]" if with_code else "", "dim")
    said = Text.assemble((f"{place}: ", "bold"), (f"{problem.severity}: ", style), problem.text, code)
    console.print(said, soft_wrap=True)
    if problem.picture:
        console.print(Text(problem.picture, style="dim"), soft_wrap=True)


def show_query_error(error: QueryError) -> None:
    """Print every finding about a query on stderr, with its place and its line with carets."""
    console = err()
    for finding in error.findings:
        line, column = error.source.place(finding.span.start)
        place = f"query:{line}:{column}: " if error.source.text else ""
        console.print(Text.assemble((place, "bold"), finding.text), soft_wrap=True)
        if error.source.text:
            console.print(Text(error.picture(finding), style="dim"), soft_wrap=True)


def table(*headings: str, right: Sequence[str] = (), wrapped: Sequence[str] = ("rule",)) -> Table:
    """An empty table; columns in `right` are aligned to the right, only those in `wrapped` may take several lines."""
    empty = _Table(header_style="bold", box=None, pad_edge=False)
    for heading in headings:
        side: Literal["left", "right"] = "right" if heading in right else "left"
        empty.add_column(heading, justify=side, overflow="fold", no_wrap=heading not in wrapped)
    return empty


def moment(value: object) -> str:
    """A time in UTC, to the second; another value as text, `-` for None."""
    if value is None:
        return "-"
    if not isinstance(value, datetime):
        return printable(str(value)).replace("T", " ").split(".")[0].removesuffix("Z")
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def window_text(window: Window) -> str:
    """A window as text; without the second date if both ends are on the same day."""
    start, end = moment(window.start), moment(window.end)
    return f"{start} to {end[11:] if start[:10] == end[:10] else end}"


def print_places(source: str, alerts: str) -> None:
    """Print where the events came from and where the alerts go."""
    out().print(Text(printable(f"Events from {source}; alerts go to {alerts}")), soft_wrap=True)


@contextmanager
def progress_bar(text: str, total: Callable[[], int], *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A progress bar over bytes on stderr, if that is a terminal; yields the function that advances it.

    `total` is called after the first bytes. Another pass over the same bytes starts the bar again.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=err(), transient=True) as bar:
        task = bar.add_task(text, total=None)

        def advance(count: int) -> None:
            state = bar.tasks[task]
            if state.total is None:
                bar.update(task, total=total())
            if state.total is not None and state.completed >= state.total and count:
                bar.reset(task, total=state.total)
            bar.advance(task, count)

        yield advance
