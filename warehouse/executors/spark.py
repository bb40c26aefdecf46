"""Units as tasks of Spark: each is a job of its own, of one task.

They are elements of an RDD, which a session of Spark Connect does not have.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

from warehouse.errors import EngineError, one_line
from warehouse.executors.work import AHEAD, Share, T, Unit, packed, perform, unpacked

_NEEDED = "the Python of its workers (PYSPARK_PYTHON) needs flatfile-warehouse"
_OURS = {
    "spark.app.name": "flatfile-warehouse",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}


class SparkExecutor:
    """Runs units on the executors of a Spark session: the one that is active, or one of its own.

    Each task has `spark.task.cpus` threads, and of the memory its part of
    `spark.executor.pyspark.memory`; where that is not set, what it is given here.

    Args:
        master: `spark://…`, `yarn`, `k8s://…`, `local-cluster[…]` or `local[…]`; of no use where
            a session is active.
        memory_bytes: of a task.

    Raises:
        EngineError: there is no PySpark or no Java, or the session cannot begin.
    """

    is_here = False

    def __init__(self, master: str, memory_bytes: int) -> None:
        session, self._is_ours = _session(master)
        self._session = session
        conf = session.conf
        cpus = int(conf.get("spark.task.cpus", "1"))
        cores = session.sparkContext.defaultParallelism
        self.at_once = max(cores // cpus, 1) * AHEAD
        own = conf.get("spark.executor.pyspark.memory", "")
        if own:
            of_executor = int(conf.get("spark.executor.cores", "1"))
            memory_bytes = _bytes(own) // max(of_executor // cpus, 1)
        self.share = Share(cpus, memory_bytes)
        self._group = uuid4().hex
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="spark")

    def __enter__(self) -> SparkExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        if any(exception):
            self._session.sparkContext.cancelJobGroup(self._group)
        self._threads.shutdown(cancel_futures=True)
        if self._is_ours:
            self._session.stop()

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Begin a unit as a job of one task."""
        from pyspark.cloudpickle import dumps

        return self._threads.submit(self._run, packed(unit, dumps))

    def _run(self, message: bytes) -> Any:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        context = self._session.sparkContext
        try:
            context.setJobGroup(self._group, "units of flatfile-warehouse")
            task = context.parallelize([message], 1)
            (answer,) = task.map(partial(perform, share=self.share)).collect()
        except (Py4JError, PySparkException) as error:
            told = f"could not run a unit: {_cause(error)}; {_NEEDED}"
            raise EngineError("spark", told) from error
        return unpacked(answer)


def _session(master: str) -> tuple[Any, bool]:
    """The session that is active, or one of our own; whether it is our own."""
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EngineError(
            "spark", "is not installed; pip install 'flatfile-warehouse[spark]'"
        ) from error
    try:
        # That of another thread too: it is somebody's, and not ours to stop.
        return SparkSession.active(), False
    except PySparkException:
        pass
    if master.startswith("local"):
        # Without it executors take the system's Python.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        builder = SparkSession.builder.master(master)
        for key, value in _OURS.items():
            builder = builder.config(key, value)
        return builder.getOrCreate(), True
    except (PySparkException, OSError, ValueError, RuntimeError) as error:
        raise EngineError(
            f"spark with processing.spark_master = {master!r}",
            f"cannot begin: {one_line(error)}; it needs a master that it knows, and Java 17 or"
            " newer (JAVA_HOME)",
        ) from error


def _cause(error: Exception) -> str:
    """What went wrong on a worker, without the stack of the JVM around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line.split(":")[0] and not line.startswith("at ")]
    return (told or lines or [type(error).__name__])[-1 if told else 0]


def _bytes(text: str) -> int:
    """A size as Spark writes it: 512m, 2g; a bare number is in MiB."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    text = text.lower().removesuffix("b")
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text) << 20
