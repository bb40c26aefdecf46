"""The engines, each as a cluster of two workers on this machine; a test names what is left out."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from building import REPOSITORY

OF_EXTRA = {"ray": "ray", "spark": "pyspark"}
SPARK_MASTER = "local-cluster[2,1,1536]"
"""Two executors in processes of their own: nothing may rest on shared memory."""
REQUIRED = "WAREHOUSE_TEST_ENGINE"
"""Where it is set, one of the engines at least has to be there."""


def problem(engine: str) -> str:
    """Why an engine cannot be tried here; empty: it can."""
    if importlib.util.find_spec(OF_EXTRA[engine]) is None:
        return f"{engine} is left out: {OF_EXTRA[engine]} is not installed"
    if engine == "spark" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        return "spark is left out: there is no Java"
    return ""


def settings(engine: str) -> dict[str, Any]:
    return {"processing__engine": engine, "processing__spark_master": SPARK_MASTER}


@contextmanager
def cluster(engine: str) -> Iterator[None]:
    """A cluster that the warehouses made within join, rather than begin one each."""
    if why := problem(engine):
        pytest.skip(why)
    with pytest.MonkeyPatch.context() as patch:
        # What tests hand to workers stands in their modules; the library is this checkout's.
        folders = Path(__file__).parents[1], REPOSITORY
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
        patch.setenv("RAY_raylet_start_wait_time_s", "240")
        yield from _cluster(engine)


def _cluster(engine: str) -> Iterator[None]:
    if engine == "ray":
        import ray

        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=200 << 20,
        )
        try:
            yield
        finally:
            ray.shutdown()
        return
    from warehouse.executors.spark import SparkExecutor

    with SparkExecutor(SPARK_MASTER, 1 << 30):
        yield
