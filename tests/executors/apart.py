"""A cluster that begins at once: units run on threads, from what would travel to a worker."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from warehouse.core.config import ProcessingConfig
from warehouse.executors.work import Share, T, Unit, packed, perform, unpacked
from warehouse.ingest.two_stages import symbol_ranges
from warehouse.pipeline import pipeline

SHARE = Share(1, 1 << 30)


class Apart:
    """Runs units of which nothing is shared with who submits them.

    Attributes:
        begun: name of each unit's function, in the order in which they were submitted.
        most: so many were under way at a time.
    """

    is_here = False

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.begun: list[str] = []
        self.most = 0
        self._running = 0

    def __enter__(self) -> Apart:
        self._threads = ThreadPoolExecutor(2)
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def submit(self, unit: Unit[T]) -> Future[T]:
        message = packed(unit)
        self.begun.append(pickle.loads(pickle.loads(message)[1]).args[-1].func.__name__)
        self._running += 1
        self.most = max(self.most, self._running)
        return self._threads.submit(self._run, message)

    def _run(self, message: bytes) -> Any:
        try:
            return unpacked(perform(message, SHARE))
        finally:
            self._running -= 1


@contextmanager
def in_two_stages() -> Iterator[None]:
    """On a cluster every batch is staged in two stages, in as many ranges as are wanted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "LARGE_BYTES", 0)
        patch.setattr(symbol_ranges, "LEAST_ROWS", 1)
        yield


@contextmanager
def apart(executor: Apart) -> Iterator[None]:
    """Warehouses made within are staged so by this one, whatever their configuration says."""

    def opened(processing: ProcessingConfig) -> Apart:
        return executor

    with in_two_stages(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "open_executor", opened)
        yield
