"""The engine that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock

from warehouse.core import process
from warehouse.core.config import ProcessingConfig
from warehouse.executors.local import LocalExecutor
from warehouse.executors.work import Executor, Share


def whole(processing: ProcessingConfig) -> Share:
    """All that the configuration lets this process take of its machine."""
    return Share(processing.parallel_workers, processing.memory_limit_bytes)


def open_executor(processing: ProcessingConfig) -> AbstractContextManager[Executor]:
    """What runs units of work, as `processing.engine` says; use it with `with`.

    Raises:
        EngineError: it is not installed, or cannot begin.
    """
    if processing.engine == "spark":
        from warehouse.executors.spark import SparkExecutor

        return SparkExecutor(processing.spark_master, processing.memory_limit_bytes)
    if processing.engine == "ray":
        from warehouse.executors.ray import RayExecutor

        return RayExecutor(whole(processing))
    return LocalExecutor(whole(processing))


class Engine:
    """The engine that questions are put to: begun with the first of them, and kept until `close`.

    Each question has an executor of its own, so one that fails ends no other's units.

    Attributes:
        is_here: it is this process.
    """

    def __init__(self, processing: ProcessingConfig) -> None:
        self._processing = processing
        self.is_here = processing.engine == "local"
        self._lock = Lock()
        self._kept: ExitStack | None = None
        process.prepare_for_fork(self)

    def in_child(self) -> None:
        """The parent's connection to a cluster is not there."""
        self._lock = Lock()
        process.abandon(self._kept)
        self._kept = None

    def close(self) -> None:
        """End what was begun here; a session that was there stays."""
        with self._lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """What runs the units of one question.

        Raises:
            EngineError: it is not installed, or cannot begin.
        """
        with self._lock:
            if self._kept is None and not self.is_here:
                # What is begun within finds it, and does not begin one each.
                kept = ExitStack()
                kept.enter_context(open_executor(self._processing))
                self._kept = kept
        with open_executor(self._processing) as executor:
            yield executor
