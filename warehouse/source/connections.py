"""Threads that do first what matters most: one for each connection that may be open."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from heapq import heappop, heappush
from threading import Condition, Thread


class Connections:
    """Does what is submitted on so many threads at most, the smallest rank first; `close` it."""

    def __init__(self, count: int) -> None:
        self._count, self._numbers = count, itertools.count()
        self._changed = Condition()
        self._waiting: list[tuple[int, int, Future[None], Callable[[], None]]] = []
        self._threads: list[Thread] = []
        self._idle, self._is_closed = 0, False

    def submit(self, rank: int, work: Callable[[], None]) -> Future[None]:
        """Have something done; what has the same rank is begun in the order of the calls."""
        future: Future[None] = Future()
        with self._changed:
            heappush(self._waiting, (rank, next(self._numbers), future, work))
            if self._is_closed:
                self._forget()
            elif self._idle >= len(self._waiting) or len(self._threads) == self._count:
                self._changed.notify()
            else:
                name = f"fetch_{len(self._threads)}"
                self._threads.append(Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        return future

    def close(self) -> None:
        """Cancel what has not begun, and wait until the rest has ended."""
        with self._changed:
            self._is_closed = True
            self._forget()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _forget(self) -> None:
        for _, _, future, _ in self._waiting:
            if future.cancel():
                future.set_running_or_notify_cancel()
        self._waiting.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                self._idle -= 1
                if not self._waiting:
                    return
                _, _, future, work = heappop(self._waiting)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
