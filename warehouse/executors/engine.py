"""The engine that the configuration names."""

from __future__ import annotations

from contextlib import AbstractContextManager

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
