"""Portions of a run, staged side by side where that keeps more of the machines busy.

Here a small one is staged beside others: it has little to do at a time, and keeps no two processors
busy. A large one is staged alone, and reads each of its files as soon as that has come. On a
cluster all are staged side by side, each once its files are here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from warehouse.core.config import PartitionLayout
from warehouse.core.datatypes import DataType
from warehouse.core.paths import Layout
from warehouse.executors.work import Executor, Share, Unit
from warehouse.ingest.stage import StagedBatch
from warehouse.pipeline.batches import ByType
from warehouse.store import data_folder_id
from warehouse.store.partitions import Partition

SMALL_BYTES = 32 << 20
"""Bytes of raw files; what has more keeps all processors busy by itself."""


@dataclass(frozen=True)
class Portion:
    """Raw files that are published together, and what there is of their month, or session.

    Attributes:
        month: its first day.
        folder: of the staging tier.
        stage: reads them and writes the partitions that they change.
        is_last: the run is done with it.
    """

    kind: DataType
    month: date
    folder: Path
    place: PartitionLayout
    present: list[Partition]
    entries: pa.Table
    stage: Unit[StagedBatch]
    is_last: bool = False


class SideBySide:
    """Stages portions and has each taken in; `finish` it.

    Here they are taken in in the order of work, whichever is done first. On a cluster one that
    takes long would keep the others waiting: they are taken in as they are done.

    Args:
        take_in: is handed each with what came of it.
        executor: stages those that are not alone.
        whole: what one that is alone may take of this machine.
        by_type: of a data type that is stopped nothing more is taken in.
    """

    def __init__(
        self,
        take_in: Callable[[Portion, StagedBatch], None],
        executor: Executor,
        whole: Share,
        by_type: ByType,
    ) -> None:
        self._take_in, self._executor, self._whole = take_in, executor, whole
        self._by_type = by_type
        self._begun: dict[Future[StagedBatch], Portion] = {}

    def add(self, portion: Portion, *, is_alone: bool) -> None:
        """Stage a portion; alone, or beside those before it and those to come."""
        if is_alone:
            self.finish()
            self._end(portion, lambda: portion.stage(self._whole))
            return
        self._begun[self._executor.submit(portion.stage)] = portion
        self._end_begun(self._executor.at_once)

    def is_staging(self, kind: DataType, month: date) -> bool:
        """Whether there is a portion of that month which was not taken in."""
        return any((one.kind, one.month) == (kind, month) for one in self._begun.values())

    def pause(self) -> None:
        """There is time to take in what is done; here, all that was added."""
        if self._executor.is_here:
            self.finish()
        for staged in [one for one in self._begun if one.done()]:
            self._end(self._begun.pop(staged), staged.result)

    def finish(self) -> None:
        """Take in all that were added."""
        self._end_begun(0)

    def _end_begun(self, most: int) -> None:
        while len(self._begun) > most:
            if self._executor.is_here:
                staged = next(iter(self._begun))
            else:
                done, _ = wait(self._begun, return_when=FIRST_COMPLETED)
                staged = next(one for one in self._begun if one in done)
            self._end(self._begun.pop(staged), staged.result)

    def _end(self, portion: Portion, staged: Callable[[], StagedBatch]) -> None:
        if portion.kind.name not in self._by_type.stopped:
            with self._by_type.work_on(portion.kind.name):
                self._take_in(portion, staged())


def on_worker(
    layout: Layout, folder_id: str | None, stage: Unit[StagedBatch], share: Share
) -> StagedBatch:
    """Stage a portion in another process, on another machine perhaps.

    Args:
        folder_id: of the warehouse's data folder.

    Raises:
        EngineError: the machine does not see that folder.
    """
    data_folder_id.check_shared(layout, folder_id)
    return stage(share)
