"""What a run did and what it cost, told while it happens and after."""

from __future__ import annotations

import logging
import resource
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

logger = logging.getLogger("warehouse")


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
    """Tells nobody but the log."""

    def begin(self, task: str, total_bytes: int) -> None:
        logger.info("%s", task)

    def advance(self, done_bytes: int) -> None:
        return

    def note(self, text: str) -> None:
        logger.warning("%s", text)


@dataclass
class RunMetrics:
    """Counts and costs of one run. Bytes and rows are plain numbers, times are seconds.

    Attributes:
        retries: requests to the source that were made again.
        errors: files that could not be fetched, or were set aside.
    """

    command: str
    run_id: str = field(
        default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    )
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    download_time: float = 0.0
    processing_time: float = 0.0
    files_fetched: int = 0
    bytes_fetched: int = 0
    retries: int = 0
    errors: int = 0
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

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def peak_memory_bytes() -> int:
    """The most this process has held resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class PipelineMetrics:
    """The last run that wrote, and this process.

    Attributes:
        download_time, processing_time: seconds the run spent on fetching, and on reading and
            publishing what was fetched.
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
