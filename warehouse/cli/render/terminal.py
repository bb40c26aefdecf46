"""What a person sees: tables, progress on a terminal and in a log."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import IO, TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from warehouse.cli.render.time_left import Pace
from warehouse.core.paths import BUCKET_PREFIX
from warehouse.text import count, duration, printable, size

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

    from warehouse.core.metrics import Progress

STAGES = ("download", "ingest", "verify")
"""What a run's progress begins with; whatever else begins is a part of the stage before it."""

_UNLIMITED = 100_000
_WIDEST_CELL = 60
_LABEL = 10
"""Columns that the labels of lines take up."""
_BAR_WIDTH = 96
"""Columns that a bar and its numbers take up; what is being done stands behind them. On a narrower
terminal the bar is short."""
_LONG_BAR, _SHORT_BAR = 16, 5
_LOG_SECONDS, _QUIET_SECONDS = 5.0, 30.0
"""A log is told of the next file after so long, and of the same one."""


def labelled(name: str, text: str, width: int | None = None) -> list[str]:
    """A label and a text, folded between words; what goes on stands below the text.

    Args:
        width: columns of the terminal; None: nothing is folded.
    """
    if width is None:
        return [f"{name:<{_LABEL}} {text}"]
    room = max(width - _LABEL - 1, _LABEL)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [f"{'' if place else name:<{_LABEL}} {line}" for place, line in enumerate(lines or [""])]


def columns_of(file: IO[str]) -> int | None:
    """The columns of the terminal that the file is; None where it is none."""
    return shutil.get_terminal_size().columns if file.isatty() else None


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    numbers: Sequence[bool],
    width: int | None = None,
) -> tuple[list[str], int]:
    """A table as lines of text. (A table of rich's own takes 200 times as long for many rows.)

    Args:
        rows: cells as text; None is NULL.
        numbers: which columns stand to the right.
        width: columns of the middle that do not fit are left out, and long cells are cut; None:
            nothing is.

    Returns:
        The lines, and how many columns were left out.
    """
    columns = [
        [printable(header), *("NULL" if cell is None else printable(cell) for cell in cells)]
        for header, cells in zip(
            headers, zip(*rows, strict=True) if rows else [()] * len(headers), strict=True
        )
    ]
    if width is not None:
        columns = [[_cut(cell, min(width, _WIDEST_CELL)) for cell in cells] for cells in columns]
    widths = [max(map(_cells, cells)) for cells in columns]
    shown = _fitting(widths, _UNLIMITED if width is None else width)
    padded = [
        ["…"] * (len(rows) + 1)
        if index is None
        else [_pad(cell, widths[index], right=numbers[index]) for cell in columns[index]]
        for index in shown
    ]
    title, *lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    rule = "─" * (
        sum(1 if index is None else widths[index] for index in shown) + 2 * len(shown) - 2
    )
    return [title, rule, *lines], len(columns) + (None in shown) - len(shown)


def _cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else cell_len(text)


def _cut(text: str, width: int) -> str:
    return text if _cells(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _pad(text: str, width: int, *, right: bool) -> str:
    room = " " * (width - _cells(text))
    return room + text if right else text + room


def _fitting(widths: Sequence[int], width: int) -> list[int | None]:
    """Which columns fit; None stands where those of the middle are left out."""
    room = [each + 2 for each in widths]
    last = len(room) - 1
    if sum(room) <= width + 2 or last < 2:
        return list(range(len(room)))
    left, right = 1, 1
    free = width - room[0] - widths[last] - 3
    while True:
        # Two of three stand to the left, where rows are named, as long as they fit.
        sides = [left, last - right] if left <= 2 * right else [last - right, left]
        index = next((each for each in sides if room[each] <= free), None)
        if index is None:
            return [*range(left), None, *range(last - right + 1, last + 1)]
        free -= room[index]
        if index == left:
            left += 1
        else:
            right += 1


def told(pace: Pace) -> str:
    """How far a stage is: `20.0 MB of 30.0 MB, 2 of 3 files, 2.5 MB/s, 4.0 s left`.

    One that waits says so in place of the time that is left.

    What is not known is left out.
    """
    parts = [f"{size(pace.done)} of {size(pace.bytes)}" if pace.bytes else size(pace.done)]
    if pace.files:
        parts.append(f"{pace.files_done:,} of {count(pace.files, 'file')}")
    if pace.rate:
        parts.append(f"{size(int(pace.rate))}/s")
    left = pace.left()
    if pace.waits:
        parts.append("waiting")
    elif left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


class LogProgress:
    """Tells a run's progress in plain lines, one every few seconds.

    Stages that go on at the same time stand on one line.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._stages: dict[str, Pace] = {}
        self._last, self._part = "", ""
        self._told, self._lock = 0.0, Lock()

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        if task in STAGES:
            self._stages[task] = Pace(total_bytes, files)
            self._last, self._part = task, ""
            if total_bytes:
                self._say(f"{task}: {size(total_bytes)}")
        elif not self._last:
            self._say(task)
        else:
            self._part = f"; {task}"
            self._stages[self._last].begin(total_bytes)
            self._say_after(_LOG_SECONDS)

    def advance(self, stage: str, done_bytes: int) -> None:
        if stage in self._stages:
            self._stages[stage].advance(done_bytes)
            self._say_after(_QUIET_SECONDS)

    def wait(self) -> None:
        self._stages[self._last].waits, self._part = True, ""

    def leave_out(self, total_bytes: int) -> None:
        self._stages[self._last].leave_out(total_bytes)

    def note(self, text: str) -> None:
        self._say(text)

    def _say_after(self, seconds: float) -> None:
        if time.monotonic() - self._told >= seconds:
            going_on = [
                f"{stage}: {told(pace)}"
                for stage, pace in list(self._stages.items())
                if stage == self._last or (pace.bytes and not pace.is_done)
            ]
            self._say(f"{'; '.join(going_on)}{self._part}")

    def _say(self, text: str) -> None:
        with self._lock:
            self._told = time.monotonic()
            self._file.write(printable(text) + "\n")
            self._file.flush()


class TerminalProgress:
    """Tells a run's progress in a bar for each stage; behind it stands what is being done."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._stages: dict[str, tuple[TaskID, Pace]] = {}
        self._last = ""

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        if task in STAGES:
            self._end_part()
            pace = Pace(total_bytes, files)
            bar = self._display.add_task(task, total=total_bytes, part="", pace=pace)
            self._stages[task], self._last = (bar, pace), task
        elif not self._last:
            bar = self._display.add_task("", total=None, part=task, pace=None)
            self._stages[task], self._last = (bar, Pace(0)), task
        else:
            bar, pace = self._stages[self._last]
            pace.begin(total_bytes)
            part = printable(task.removeprefix(f"{BUCKET_PREFIX}/"))
            room = max(self._display.console.width - _BAR_WIDTH, 0)
            self._display.update(bar, part=part[:room])

    def advance(self, stage: str, done_bytes: int) -> None:
        if stage in self._stages:
            bar, pace = self._stages[stage]
            pace.advance(done_bytes)
            self._display.advance(bar, done_bytes)

    def wait(self) -> None:
        bar, pace = self._stages[self._last]
        pace.waits = True
        self._display.update(bar, part="")

    def leave_out(self, total_bytes: int) -> None:
        bar, pace = self._stages[self._last]
        pace.leave_out(total_bytes)
        self._display.update(bar, total=pace.bytes)

    def note(self, text: str) -> None:
        self._display.console.print(printable(text), markup=False, soft_wrap=True)

    def _end_part(self) -> None:
        if self._last:
            bar, pace = self._stages[self._last]
            self._display.update(bar, part="", visible=bool(pace.bytes))


class _Warnings(logging.Handler):
    """Shows what the library warns of, but for what a run tells its progress itself."""

    def __init__(self, shown: Progress) -> None:
        super().__init__(logging.WARNING)
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, "fields"):
            self._shown.note(record.getMessage())


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress on standard error, and warnings: bars on a terminal, plain lines elsewhere."""
    with _display() as shown:
        warnings = _Warnings(shown)
        logging.getLogger("warehouse").addHandler(warnings)
        try:
            yield shown
        finally:
            logging.getLogger("warehouse").removeHandler(warnings)


@contextmanager
def _display() -> Iterator[Progress]:
    # One that knows no way back to the beginning of a line would be shown nothing at all.
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield LogProgress(sys.stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Told(ProgressColumn):
        """How far the stage is, asked when it is drawn."""

        def render(self, task: Task) -> Text:
            pace = task.fields["pace"]
            return Text("" if pace is None else told(pace))

    console = Console(stderr=True, highlight=False)
    with Progress(
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(_LONG_BAR if console.width >= _BAR_WIDTH else _SHORT_BAR),
        Told(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[part]}", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    ) as display:
        yield TerminalProgress(display)
