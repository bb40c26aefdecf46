"""Units on threads of this process."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from warehouse.core.duckdb_connection import ended_with
from warehouse.executors.work import Share, T, Unit

_MEMORY_OF_ONE = 1 << 30


class LocalExecutor:
    """Runs units side by side; each has an equal share of the threads and the memory.

    Args:
        whole: of all units together.
    """

    is_here = True

    def __init__(self, whole: Share) -> None:
        self.whole = whole
        self.at_once = max(min(whole.threads, whole.memory_bytes // _MEMORY_OF_ONE), 1)
        self.share = Share(
            max(whole.threads // self.at_once, 1), whole.memory_bytes // self.at_once
        )
        self._ended = Event()
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="unit")

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is not None:
            # What is under way is nobody's any more, and may be SQL that never ends.
            self._ended.set()
        self._threads.shutdown(cancel_futures=True)

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Begin a unit, on a share; it waits for its turn where all threads are busy."""
        return self._threads.submit(self._run, unit)

    def _run(self, unit: Unit[T]) -> T:
        with ended_with(self._ended):
            return unit(self.share)
