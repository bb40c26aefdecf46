"""Answers of the facade: from the cache, or else read whole from one generation and kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from warehouse import coverage, queries, reading
from warehouse.arguments import Question
from warehouse.cache import FrameCache
from warehouse.config import Config
from warehouse.errors import QueryError
from warehouse.frames import as_form, in_zone
from warehouse.layout import Layout
from warehouse.snapshot import Snapshot, Snapshots


class Answers:
    """Answers questions about one warehouse; safe to use from many threads.

    Attributes:
        cache: answers given, by what was asked and the content that was read.
        snapshots: the warehouse's generations.
    """

    def __init__(self, layout: Layout, config: Config) -> None:
        self.cache = FrameCache(int(config.storage.max_cache_memory_gb * 1024**3))
        self.snapshots = Snapshots(layout, config)
        self._workers = min(config.processing.parallel_workers, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def close(self) -> None:
        """Close the catalog and let go of the cache."""
        self.snapshots.close()
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
        self.cache.clear()

    def load(self, asked: Question) -> Any:
        """Rows of one data type, as `Warehouse.load` says."""

        def answer(snapshot: Snapshot) -> Any:
            if asked.whole:
                coverage.check(snapshot, asked.kind, asked.symbols, asked.span)
            stored = reading.touched(snapshot, asked.kind, asked.symbols, asked.span)
            hashes = tuple((one.symbol, one.sha256) for one in stored)
            span = asked.span
            form = (asked.columns, asked.form, asked.zone)
            key = (asked.kind.name, span.start_ns, span.end_ns, form, hashes)

            def read() -> Any:
                table = reading.read(
                    snapshot, asked.kind, stored, asked.columns, span, self.workers()
                )
                return as_form(in_zone(table, asked.zone), asked.form)

            return self.cache.get_or_make(key, lambda: self.snapshots.whole(snapshot, read))

        return self.snapshots.read(answer)

    def query(self, sql: str, form: str, parameters: Mapping[str, Any]) -> Any:
        """The answer to one SELECT, as `Warehouse.query` says."""

        def answer(snapshot: Snapshot) -> Any:
            query = queries.check(snapshot, sql)
            values = queries.values(query, parameters)

            def run() -> Any:
                table = in_zone(queries.run(snapshot, query, values), "UTC")
                try:
                    return as_form(table, form)
                except Exception as error:  # each package has its own
                    raise QueryError(
                        sql,
                        f"the answer cannot be had as {form} ({queries.one_line(error)});"
                        " cast the column, or ask for 'arrow'",
                    ) from error

            if not query.stable:
                return self.snapshots.whole(snapshot, run)
            key = (sql, queries.key_of(parameters), form, snapshot.generation, snapshot.identity)
            return self.cache.get_or_make(key, lambda: self.snapshots.whole(snapshot, run))

        return self.snapshots.read(answer)

    def workers(self) -> ThreadPoolExecutor | None:
        """Threads that read partitions side by side; None where one is allowed."""
        if self._workers == 1:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="warehouse")
            return self._pool
