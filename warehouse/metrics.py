"""What a run did and what it cost, told while it happens and after."""

from __future__ import annotations

import os
import resource
import secrets
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Is told of a run's progress. Calls may come from any thread."""

    def begin(self, task: str, total_bytes: int) -> None:
        """A stage begins; `total_bytes` is 0 where it is not known.

        `download` and `ingest` are the stages of a run: whatever else begins after them is a part
        of them, whose bytes are among theirs.
        """

    def advance(self, done_bytes: int) -> None:
        """So many bytes more of the present stage are done."""

    def note(self, text: str) -> None:
        """Something a person should know, in one line."""


class Silent:
    """Tells nobody."""

    def begin(self, task: str, total_bytes: int) -> None:
        return

    def advance(self, done_bytes: int) -> None:
        return

    def note(self, text: str) -> None:
        return


@dataclass
class RunMetrics:
    """Counts and costs of one run. Bytes and rows are plain numbers, times are seconds.

    Attributes:
        retries: requests to the source that were made again.
        errors: files that could not be fetched or were set aside.
        failed: the run itself did not do what it could.
        files_here: files that were asked for and needed nothing: they are here in the version that
            the source has.
        files: raw files that were read; `lines`, `bytes_read` and the rows are theirs.
    """

    command: str
    run_id: str = field(
        default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    )
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    files_here: int = 0
    files_fetched: int = 0
    bytes_fetched: int = 0
    retries: int = 0
    errors: int = 0
    failed: bool = False
    files: int = 0
    files_set_aside: int = 0
    lines: int = 0
    rows_published: int = 0
    rows_rejected: int = 0
    rows_unselected: int = 0
    partitions: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    _began: float = field(default_factory=time.monotonic, repr=False)
    _cpu_began: float = field(default_factory=time.process_time, repr=False)
    _stage: str = field(default="", repr=False)
    _stage_began: float = field(default=0.0, repr=False)
    _times: dict[str, float] = field(default_factory=lambda: defaultdict(float), repr=False)

    def begin(self, stage: str) -> None:
        """From here on time is that of `stage`, "download" or "processing"; of none: ""."""
        now = time.monotonic()
        self._times[self._stage] += now - self._stage_began
        self._stage, self._stage_began = stage, now

    def _time_of(self, stage: str) -> float:
        running = time.monotonic() - self._stage_began if self._stage == stage else 0.0
        return self._times[stage] + running

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def cpu_seconds(self) -> float:
        """Of the whole process since the run began, on all threads."""
        return time.process_time() - self._cpu_began

    @property
    def download_time(self) -> float:
        return self._time_of("download")

    @property
    def processing_time(self) -> float:
        return self._time_of("processing")

    @property
    def records_processed(self) -> int:
        """Lines that were read, headers left out: published, rejected or unselected in the end."""
        return self.lines

    @property
    def errors_count(self) -> int:
        return self.errors + self.failed

    @property
    def cache_hit_rate(self) -> float:
        """Share of the files asked for that needed no work, from 0 to 1; 0 where none was.

        What Python holds in memory has a rate of its own: `Warehouse.cache.stats.hit_rate`.
        """
        asked = self.files_here + max(self.files, self.files_fetched)
        return self.files_here / asked if asked else 0.0

    @property
    def memory_usage(self) -> int:
        """Bytes this process holds resident now; where the system does not say, its peak."""
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return peak_memory_bytes()
        return pages * os.sysconf("SC_PAGE_SIZE")

    def figures(self) -> dict[str, float]:
        """All of them by name: the specification's six, then ours."""
        names = (
            *("download_time", "processing_time", "records_processed", "errors_count"),
            *("cache_hit_rate", "memory_usage", "seconds", "cpu_seconds", "files_here"),
            *("files_fetched", "bytes_fetched", "retries", "files", "files_set_aside", "lines"),
            *("rows_published", "rows_rejected", "rows_unselected", "partitions", "bytes_read"),
            "bytes_written",
        )
        found = {name: getattr(self, name) for name in names}
        found = {name: round(x, 3) if isinstance(x, float) else x for name, x in found.items()}
        return {**found, "peak_memory_bytes": peak_memory_bytes()}


def peak_memory_bytes() -> int:
    """The most this process has held resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
