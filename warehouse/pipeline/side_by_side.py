"""Portions of a run, staged one after the other, or side by side where they are small.

A small one has little to do at a time: read, put in order, written, it keeps no two processors
busy. Whichever is done first, they are taken in in the order of work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from warehouse.core.config import Config, PartitionLayout
from warehouse.core.datatypes import DataType
from warehouse.ingest.stage import StagedBatch
from warehouse.pipeline.batches import ByType
from warehouse.store.partitions import Partition

SMALL_BYTES = 32 << 20
"""Bytes of raw files; what has more keeps all processors busy by itself."""
_MEMORY_OF_ONE = 1 << 30


@dataclass(frozen=True)
class Portion:
    """Raw files that are published together, and what there is of their month, or session.

    Attributes:
        folder: of the staging tier.
        stage: reads them and writes the partitions that they change.
        is_last: the run is done with it.
    """

    kind: DataType
    folder: Path
    place: PartitionLayout
    present: list[Partition]
    entries: pa.Table
    stage: Callable[[], StagedBatch]
    is_last: bool = False


class SideBySide:
    """Stages portions and has each taken in. Use it with `with`; `finish` it.

    Args:
        take_in: is handed each with what came of it, in the order in which they were added.
        at_once: how many are staged at once.
        by_type: of a data type that is stopped nothing more is taken in.
    """

    def __init__(
        self, take_in: Callable[[Portion, StagedBatch], None], at_once: int, by_type: ByType
    ) -> None:
        self._take_in, self._at_once, self._by_type = take_in, at_once, by_type
        self._begun: deque[tuple[Portion, Future[StagedBatch]]] = deque()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="stage")

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def add(self, portion: Portion, *, is_alone: bool) -> None:
        """Stage a portion; alone, or beside those before it and those to come."""
        if is_alone:
            self.finish()
            self._end(portion, portion.stage)
            return
        self._begun.append((portion, self._threads.submit(portion.stage)))
        self._end_begun(self._at_once)

    def finish(self) -> None:
        """Take in all that were added."""
        self._end_begun(0)

    def _end_begun(self, most: int) -> None:
        while len(self._begun) > most:
            portion, staged = self._begun.popleft()
            self._end(portion, staged.result)

    def _end(self, portion: Portion, staged: Callable[[], StagedBatch]) -> None:
        if portion.kind.name not in self._by_type.stopped:
            with self._by_type.work_on(portion.kind.name):
                self._take_in(portion, staged())


def shares_of(config: Config) -> int:
    """How many portions are staged at once, as the workers and the memory allow."""
    processing = config.processing
    by_memory = int(processing.memory_limit_bytes // _MEMORY_OF_ONE)
    return max(min(processing.parallel_workers, by_memory), 1)


def one_share(config: Config, shares: int) -> Config:
    """The configuration of one of so many that are staged side by side."""
    if shares == 1:
        return config
    processing = config.processing
    each = {
        "parallel_workers": max(processing.parallel_workers // shares, 1),
        "memory_limit_gb": processing.memory_limit_gb / shares,
    }
    return config.model_copy(update={"processing": processing.model_copy(update=each)})
