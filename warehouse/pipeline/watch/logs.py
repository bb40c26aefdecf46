"""The warehouse's log: what runs did, one JSON object a line, in data/logs/warehouse.jsonl.

Everything is told to the logger `warehouse` too, for the program that uses the library to show or
not. The file has it in any case: levels and handlers of that program are left as they are.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any

from warehouse.core.metrics import Progress
from warehouse.core.paths import Layout
from warehouse.errors import one_line
from warehouse.text import as_json

LOGGER = logging.getLogger("warehouse")
LOGGER.addHandler(logging.NullHandler())

_MAX_BYTES = 10_000_000
_OLDER_FILES = 9


class _Lines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, run_id, event, then the event's fields."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        entry = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "run_id": self._run_id,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return as_json(entry)


class _File(RotatingFileHandler):
    """The log's file. A disk that refuses stops no run: what it has no room for is not logged.

    Attributes:
        problem: why something was not; None: all was.
    """

    def __init__(self, layout: Layout, run_id: str) -> None:
        self._modes = layout.modes
        self.problem: str | None = None
        with suppress(OSError):
            self._modes.make_folders(layout.log.parent)
        super().__init__(
            layout.log, maxBytes=_MAX_BYTES, backupCount=_OLDER_FILES, encoding="utf-8", delay=True
        )
        self.setFormatter(_Lines(run_id))

    def _open(self) -> Any:
        folder = os.path.dirname(self.baseFilename)
        if os.path.islink(folder):
            # It is opened before the folders are looked at, and there it may be somebody else's.
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), folder)
        # A symbol in a file's name may be no text.
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors="backslashreplace",
            opener=self._modes.opener,
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        problem = sys.exception()
        assert problem is not None  # it is called while one is handled
        self.problem = one_line(problem)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self.problem = one_line(error)


class RunLog:
    """The log of one warehouse.

    Before `opened` and after it what is said goes to the logger alone.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._file: _File | None = None

    @contextmanager
    def opened(self, run_id: str) -> Iterator[None]:
        """Write to the file what is said within, and what the library logs meanwhile.

        What could not be written stops nothing; the logger is told that it is not there.
        """
        file = self._file = _File(self._layout, run_id)
        LOGGER.addHandler(file)
        try:
            yield
        finally:
            LOGGER.removeHandler(file)
            file.close()
            self._file = None
            if file.problem is not None:
                LOGGER.warning("not all of the run is in the log: %s", file.problem)

    def say(self, level: int, event: str, **fields: Any) -> None:
        """Log an event with its fields: plain values, that JSON knows."""
        record = LOGGER.makeRecord(
            LOGGER.name, level, __file__, 0, event, (), None, extra={"fields": fields}
        )
        if LOGGER.isEnabledFor(level):
            LOGGER.handle(record)
        elif self._file is not None:
            self._file.handle(record)


class LoggedProgress:
    """Passes a run's progress on, and logs its stages and its notes."""

    def __init__(self, progress: Progress, log: RunLog) -> None:
        self._progress, self._log = progress, log
        self.advance, self.wait = progress.advance, progress.wait
        self.leave_out = progress.leave_out

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        self._log.say(logging.INFO, task, bytes=total_bytes)
        self._progress.begin(task, total_bytes, files)

    def note(self, text: str) -> None:
        self._log.say(logging.WARNING, text)
        self._progress.note(text)
