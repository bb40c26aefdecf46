"""Answers of the facade: from the cache, or else read whole from one generation and kept.

A question of many parts is put in groups of them, side by side, where `processing.engine` says.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from operator import attrgetter
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd
import pyarrow as pa

from warehouse.bars.adjustment import Factors, adjusted, columns_to_read, factors
from warehouse.core import process
from warehouse.core.config import Config
from warehouse.core.paths import Layout
from warehouse.core.process import Threads
from warehouse.errors import EngineError, TooLargeError
from warehouse.executors.engine import Engine
from warehouse.executors.work import Share, Unit, results
from warehouse.read import availability, partition_reader
from warehouse.read.arguments import Question
from warehouse.read.cache import FrameCache, Held
from warehouse.read.cache_ranges import Range
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frame_options import shaped
from warehouse.read.partition_reader import Series
from warehouse.read.snapshot import Snapshot, Snapshots, Stored
from warehouse.store import data_folder_id
from warehouse.store.catalog import await_generation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_GROUPS = 4
"""So many groups for each unit that may be under way: none is left to work alone for long."""


class Answers:
    """Answers questions about one warehouse; safe to use from many threads.

    Attributes:
        cache: answers given, by what was asked and the content that was read.
        snapshots: the warehouse's generations.
        engine: where questions of many parts are answered.
    """

    def __init__(self, layout: Layout, config: Config) -> None:
        self._layout, self._config = layout, config
        self.engine = Engine(config.processing)
        self.cache = FrameCache(config.storage.max_cache_bytes)
        self.snapshots = Snapshots(layout, config)
        self._workers = min(config.processing.parallel_workers, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()
        process.prepare_for_fork(self)

    def check_stands(self) -> None:
        """Look whether the warehouse is still there, where something of it is not found.

        Raises:
            StorageError: it is gone from where it was opened.
        """
        data_folder_id.check_stands(self._layout)

    def in_child(self) -> None:
        """The parent's threads are not there."""
        self._lock = Lock()
        process.abandon(self._pool)
        self._pool = None

    def close(self) -> None:
        """Close the catalog, let go of the cache, and end an engine that was begun."""
        self.engine.close()
        self.snapshots.close()
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
        self.cache.clear()

    def load(self, asked: Question) -> Any:
        """Rows of one data type, as `Warehouse.load` says."""

        def answer(snapshot: Snapshot) -> Any:
            series = self._series(snapshot, asked)
            if series is not None:
                return self._load_series(snapshot, asked, series)
            if asked.whole:
                availability.check(snapshot, asked.kind, asked.symbols, asked.span)
            wanted = self._range(snapshot, asked)

            def read() -> Held:
                columns = columns_to_read(wanted.everything, wanted.factors)
                rows = self.with_room(
                    lambda: partition_reader.read(
                        snapshot, asked.kind, wanted.stored, columns, asked.span, self.workers()
                    )
                )
                frame = self._frame(asked, rows.table, wanted.factors, wanted.fingerprint)
                return Held(frame, wanted, rows.edges)

            return self.cache.get_or_make(
                wanted.key, lambda: self.snapshots.whole(snapshot, read), wanted
            )

        return self.snapshots.read(answer)

    def _load_series(self, snapshot: Snapshot, asked: Question, series: Series) -> Any:
        """Rows of securities under all symbols that they had; nothing is cut out of them."""
        if asked.whole:
            availability.check_series(snapshot, asked.kind, series)
        factors, facts = self._facts(snapshot, asked, series)

        def read() -> Held:
            columns = columns_to_read((*asked.shape.index, *asked.columns), factors)
            table = self.with_room(
                lambda: partition_reader.read_series(
                    snapshot, asked.kind, series, columns, asked.span, self.workers()
                )
            )
            return Held(self._frame(asked, table, factors, fingerprint("series", *facts)))

        return self.cache.get_or_make(
            ("series", *facts), lambda: self.snapshots.whole(snapshot, read)
        )

    @staticmethod
    def _frame(asked: Question, table: pa.Table, factors: Factors, bears: str) -> Any:
        """The rows in the form asked for; where they are to be multiplied, with `KEYS`."""
        if factors:
            columns = dict.fromkeys([*asked.shape.index, *asked.columns])
            table = adjusted(table, factors).select(list(columns))
        frame = shaped(table, asked.shape)
        if isinstance(frame, pd.DataFrame):
            frame.attrs["fingerprint"] = bears
        return frame

    def fingerprint(self, asked: Question) -> str:
        """The id that an answer of `load` bears, as `Warehouse.fingerprint` says."""
        return self.snapshots.read(lambda snapshot: self.fingerprint_in(snapshot, asked))

    def fingerprint_in(self, snapshot: Snapshot, asked: Question) -> str:
        """That of an answer of this generation."""
        series = self._series(snapshot, asked)
        if series is not None:
            if asked.whole:
                availability.check_series(snapshot, asked.kind, series)
            return fingerprint("series", *self._facts(snapshot, asked, series)[1])
        if asked.whole:
            availability.check(snapshot, asked.kind, asked.symbols, asked.span)
        return self._range(snapshot, asked).fingerprint

    @staticmethod
    def _series(snapshot: Snapshot, asked: Question) -> Series | None:
        """What is read where renames are followed and there are some; None: rows as asked."""
        if not asked.comparison.follow_renames:
            return None
        return partition_reader.series_of(snapshot, asked.symbols, asked.span)

    def _facts(
        self, snapshot: Snapshot, asked: Question, series: Series
    ) -> tuple[Factors, tuple[Any, ...]]:
        """The factors of a series, and all that its answer rests on."""
        factors = self.factors(snapshot, {symbol for symbol, _ in series}, asked)
        content = tuple(
            (symbol, span.start_ns, span.end_ns, *(one.sha256 for one in stored))
            for symbol, span in series
            for stored in [partition_reader.touched(snapshot, asked.kind, [symbol], span)]
        )
        shape = (asked.kind.name, astuple(asked.shape), asked.columns)
        return factors, (*shape, content, factors.facts)

    @staticmethod
    def factors(snapshot: Snapshot, symbols: Collection[str] | None, asked: Question) -> Factors:
        """What the rows of these symbols, None: of all, are multiplied by."""
        how, span = asked.comparison, asked.span
        return factors(snapshot, symbols, how.adjust, span.first, span.last, how.as_of)

    def _range(self, snapshot: Snapshot, asked: Question) -> Range:
        span = asked.span
        stored: dict[str, list[Stored]] = {symbol: [] for symbol in asked.symbols}
        for one in partition_reader.touched(snapshot, asked.kind, asked.symbols, span):
            stored[one.symbol].append(one)
        return Range(
            asked.kind,
            asked.shape,
            asked.columns,
            span.start_ns,
            span.end_ns,
            stored,
            self.factors(snapshot, asked.symbols, asked),
        )

    def side_by_side(
        self,
        snapshot: Snapshot,
        parts: Sequence[Part[T]],
        done: dict[Hashable, T],
        together: int = 1,
    ) -> list[T]:
        """What the parts of a question come to, in their order, whichever is done first.

        One alone is answered here: a cluster has nothing to divide.

        Args:
            done: by their keys, parts that are not asked any more; takes the others. Who asks again
                after a publish brings it along.
            together: so many parts, at most, are handed over at once: a worker opens the warehouse
                for them, and sends back what they come to.

        Raises:
            EngineError: the engine cannot begin, or a worker cannot do what it is asked.
        """
        due = [part for part in parts if part.key not in done]
        if len(due) == 1:
            done[due[0].key] = due[0](self)
        elif due:
            with self.engine.executor() as executor:
                size = min(max(len(due) // (_GROUPS * executor.at_once), 1), together)
                groups = [tuple(due[at : at + size]) for at in range(0, len(due), size)]
                folder_id, generation = data_folder_id.id_of(self._layout), snapshot.generation

                def unit(group: tuple[Part[T], ...]) -> Unit[list[T]]:
                    if executor.is_here:
                        return lambda share: [part(self) for part in group]
                    return OnWorker(self._layout, self._config, folder_id, generation, group)

                for number, found in results(executor, map(unit, groups)):
                    done |= {part.key: one for part, one in zip(groups[number], found, strict=True)}
        return [done[part.key] for part in parts]

    def with_room(self, read: Callable[[], T]) -> T:
        """What `read` reads; while there is no room for it, the cache makes some.

        Raises:
            TooLargeError: there is none when the cache is empty.
        """
        while True:
            try:
                return read()
            except TooLargeError as error:
                if not self.cache.make_room(error.needed - error.available):
                    raise
                pa.default_memory_pool().release_unused()

    def workers(self) -> ThreadPoolExecutor | None:
        """Threads that read partitions side by side; None where one is allowed."""
        if self._workers == 1:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = Threads(self._workers, thread_name_prefix="warehouse")
            return self._pool


class Part(Protocol[T_co]):
    """A part of a question, as it travels."""

    @property
    def key(self) -> Hashable:
        """What it asks, and all that its answer rests on: equal keys, equal answers."""
        ...

    def __call__(self, answers: Answers) -> T_co:
        """The answer; it makes sure that it rests on what `key` says (`check_same`)."""
        ...


@dataclass(frozen=True)
class OnWorker(Generic[T]):
    """A unit of work that opens the warehouse anew, in another process, and asks it there.

    Attributes:
        folder_id: of its data folder.
        generation: that the question is about.
    """

    layout: Layout
    config: Config
    folder_id: str | None
    generation: int
    parts: tuple[Part[T], ...]

    def __call__(self, share: Share) -> list[T]:
        data_folder_id.check_shared(self.layout, self.folder_id)
        answers = Answers(self.layout, self.config.within(share.threads, share.memory_bytes))
        try:
            seen = partial(answers.snapshots.read, attrgetter("generation"))
            await_generation(self.layout, self.generation, seen)
            return [part(answers) for part in self.parts]
        finally:
            answers.close()


def check_same(expected: object, found: object) -> None:
    """Make sure that a part of a question rests on what the whole of it rests on.

    Raises:
        EngineError: something else was published; who asked looks whether that is so, and asks
            again.
    """
    if found != expected:
        raise EngineError(
            f"worker {socket.gethostname()}",
            "finds other partitions, statements or settings than the process that asks",
        )
