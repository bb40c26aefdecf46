"""What a run did and what it cost, told while it happens and after."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from warehouse.core.process import peak_memory_bytes, resident_bytes

logger = logging.getLogger("warehouse")


class Progress(Protocol):
    """Is told of a run's progress. Calls may come from any thread."""

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        """A stage begins; `total_bytes` is 0 where it is not known, `files` too.

        `download` and `ingest` are the stages of a run, which may go on at the same time: whatever
        else begins after them is a part of the one that began last, whose bytes are among its own:
        a file, or, where it has none, further work on those before it.
        """

    def advance(self, stage: str, done_bytes: int) -> None:
        """So many bytes more of a stage are done; of one that did not begin it is not told."""

    def wait(self) -> None:
        """The ingest waits for the download, until its next part begins."""

    def leave_out(self, total_bytes: int) -> None:
        """A file of the ingest, of so many bytes, is not to be read after all."""

    def note(self, text: str) -> None:
        """Something a person should know, in one line."""


class Silent:
    """Tells nobody."""

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        return

    def advance(self, stage: str, done_bytes: int) -> None:
        return

    def wait(self) -> None:
        return

    def leave_out(self, total_bytes: int) -> None:
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
    _stages: dict[str, tuple[float, float | None]] = field(default_factory=dict, repr=False)

    def begin(self, stage: str) -> None:
        """From here on time is that of `stage`, "download" or "processing", until it ends.

        Both may go on at the same time; then a second counts for both.
        """
        spent, _ = self._stages.get(stage, (0.0, None))
        self._stages[stage] = (spent, time.monotonic())

    def end(self, stage: str) -> None:
        """Time is no longer that of `stage`. May be called from any thread, and twice."""
        self._stages[stage] = (self._time_of(stage), None)

    def _time_of(self, stage: str) -> float:
        spent, began = self._stages.get(stage, (0.0, None))
        return spent if began is None else spent + time.monotonic() - began

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def cpu_seconds(self) -> float:
        """Of the whole process since the run began, on all threads."""
        return time.process_time() - self._cpu_began

    @property
    def download_time(self) -> float:
        """From the first look at the source until all that is to come had come."""
        return self._time_of("download")

    @property
    def processing_time(self) -> float:
        """Of reading and publishing, without the time in which it waited for a file to come."""
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
        return resident_bytes()

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


@dataclass(frozen=True)
class PipelineMetrics:
    """The last run that wrote, and this process.

    Attributes:
        download_time, processing_time: seconds the run spent on fetching, and on reading and
            publishing what was fetched. They may overlap.
        records_processed: lines the run read, headers left out.
        errors_count: files of it that could not be fetched or were set aside.
        cache_hit_rate: share of this process's questions answered from memory, from 0 to 1.
        memory_usage: bytes this process holds resident.
    """

    download_time: float
    processing_time: float
    records_processed: int
    errors_count: int
    cache_hit_rate: float
    memory_usage: float

    @classmethod
    def of(
        cls, run: Mapping[str, Any], cache_hit_rate: float, memory_usage: float
    ) -> PipelineMetrics:
        """From a row of the catalog's `runs`; what it does not say is 0."""
        processing_time = run.get("processing_time")
        return cls(
            download_time=run.get("download_time") or 0.0,
            processing_time=run.get("seconds", 0.0) if processing_time is None else processing_time,
            records_processed=run.get("lines", 0),
            errors_count=run.get("errors_count") or run.get("files_set_aside", 0),
            cache_hit_rate=cache_hit_rate,
            memory_usage=memory_usage,
        )

    def log_metrics(self) -> None:
        """Write them to the log `warehouse`, at level INFO."""
        logger.info("pipeline metrics: %s", asdict(self))
