"""Portions of a run, staged side by side where that keeps more of the machines busy.

Here a small one is staged beside others: it has little to do at a time, and keeps no two processors
busy. A large one is staged alone, and reads each of its files as soon as that has come. On a
cluster all are staged side by side, each once its files are here; a very large one is many units,
in stages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.core.config import PartitionLayout
from warehouse.core.datatypes import DataType
from warehouse.core.paths import Layout
from warehouse.executors.work import Executor, Share, Stages, T, Unit, one_stage
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
        stages: the same by many units; None: `stage` is to do it.
        is_last: the run is done with it.
    """

    kind: DataType
    month: date
    folder: Path
    place: PartitionLayout
    present: list[Partition]
    entries: pa.Table
    stage: Unit[StagedBatch]
    stages: Stages[StagedBatch] | None = None
    is_last: bool = False


class _Begun:
    """A portion that is being staged.

    Attributes:
        due: units of the present stage that are still to begin, with their places.
        running: those that were begun.
    """

    def __init__(self, portion: Portion) -> None:
        self.portion = portion
        self.due: deque[tuple[int, Unit[Any]]] = deque()
        self.running: dict[Future[Any], int] = {}
        self._stages = portion.stages or one_stage(portion.stage)
        self._results: list[Any] = []
        self._problem: tuple[int, BaseException] | None = None
        self._begin(next(self._stages))

    @property
    def units(self) -> int:
        """Of the present stage those that are not done."""
        return len(self.due) + len(self.running)

    def _begin(self, units: list[Unit[Any]]) -> None:
        self.due.extend(enumerate(units))
        self._results = [None] * len(units)

    def note(self, done: Future[Any]) -> None:
        """A unit is done."""
        place = self.running.pop(done)
        error = done.exception()
        if error is None:
            self._results[place] = done.result()
            return
        # Those that run are waited for, since they write into the portion's folder. Of several
        # problems the first in the order of work is told.
        self.due.clear()
        if self._problem is None or place < self._problem[0]:
            self._problem = place, error

    def go_on(self) -> StagedBatch | None:
        """A stage is done: begin the next one; None. Or there is none: what was staged."""
        try:
            if self._problem is not None:
                self._begin(self._stages.throw(self._problem[1]))
            else:
                self._begin(self._stages.send(self._results))
        except StopIteration as done:
            batch: StagedBatch = done.value
            return batch
        return None


class SideBySide:
    """Stages portions and has each taken in; `finish` it.

    Here they are taken in in the order of work, whichever is done first. On a cluster one that
    takes long would keep the others waiting: they are taken in as they are done.

    Args:
        layout: the warehouse's.
        take_in: is handed each with what came of it.
        executor: stages those that are not alone.
        whole: what one that is alone may take of this machine.
        by_type: of a data type, or month, that is stopped nothing more is taken in.
    """

    def __init__(
        self,
        layout: Layout,
        take_in: Callable[[Portion, StagedBatch], None],
        executor: Executor,
        whole: Share,
        by_type: ByType,
    ) -> None:
        self._layout, self._take_in = layout, take_in
        self._executor, self._whole, self._by_type = executor, whole, by_type
        self._begun: list[_Begun] = []

    def add(self, portion: Portion, *, is_alone: bool) -> None:
        """Stage a portion; alone, or beside those before it and those to come."""
        if is_alone:
            self.finish()
            with self._by_type.work_on(portion.kind.name, month=portion.month):
                self._take_in(portion, portion.stage(self._whole))
            return
        self._begun.append(_Begun(portion))
        self._end_begun(self._executor.at_once)

    def is_staging(self, kind: DataType, month: date) -> bool:
        """Whether there is a portion of that month which was not taken in."""
        return any((one.portion.kind, one.portion.month) == (kind, month) for one in self._begun)

    def pause(self) -> None:
        """There is time to take in what is done; here, all that was added."""
        if self._executor.is_here:
            self.finish()
        for begun in list(self._begun):
            for done in [one for one in begun.running if one.done()]:
                self._end(begun, done)
        self._submit()

    def finish(self) -> None:
        """Take in all that were added."""
        self._end_begun(0)

    def _end_begun(self, most: int) -> None:
        self._submit()
        while sum(one.units for one in self._begun) > most:
            running = {unit: one for one in self._begun for unit in one.running}
            if self._executor.is_here:
                unit = next(iter(running))
                wait([unit])
            else:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                unit = next(one for one in running if one in done)
            self._end(running[unit], unit)
            self._submit()

    def _submit(self) -> None:
        """Begin units that are due, those of the first portion first.

        One more than keeps all busy: it begins while what is done is taken in.
        """
        room = self._executor.at_once + 1 - sum(len(one.running) for one in self._begun)
        for begun in self._begun:
            while begun.due and room > 0:
                place, unit = begun.due.popleft()
                if not self._executor.is_here:
                    folder_id = data_folder_id.id_of(self._layout)
                    unit = partial(on_worker, self._layout, folder_id, unit)
                begun.running[self._executor.submit(unit)] = place
                room -= 1

    def _end(self, begun: _Begun, done: Future[Any]) -> None:
        """A unit is done, and perhaps a stage with it, and perhaps the portion."""
        kind, month = begun.portion.kind.name, begun.portion.month
        begun.note(done)
        is_stopped = self._by_type.is_stopped(kind, month)
        if is_stopped:
            begun.due.clear()
        if begun.units:
            return
        if is_stopped:
            self._begun.remove(begun)
            return
        with self._by_type.work_on(kind, month=month):
            try:
                batch = begun.go_on()
            except BaseException:
                self._begun.remove(begun)
                raise
            if batch is not None:
                self._begun.remove(begun)
                self._take_in(begun.portion, batch)


def on_worker(layout: Layout, folder_id: str | None, unit: Unit[T], share: Share) -> T:
    """Run a unit in another process, on another machine perhaps.

    Args:
        folder_id: of the warehouse's data folder.

    Raises:
        EngineError: the machine does not see that folder.
    """
    data_folder_id.check_shared(layout, folder_id)
    return unit(share)
