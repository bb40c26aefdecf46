"""A cluster that cannot be joined, or cannot do the work, is told in one line, and soon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executors.engines import problem

from warehouse.core.config import ProcessingConfig
from warehouse.errors import EngineError
from warehouse.executors.engine import open_executor

SOON = 60


def test_a_ray_that_does_not_answer_is_told_before_ray_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if why := problem("ray"):
        pytest.skip(why)
    with socket.socket() as taken:
        # Bound, and nobody listens.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        begun = time.monotonic()
        with (
            pytest.raises(EngineError, match=f"joined at RAY_ADDRESS = {address}"),
            open_executor(ProcessingConfig(engine="ray")),
        ):
            pass
        assert time.monotonic() - begun < SOON


def told_of_spark(master: str, folder: Path, **environment: str) -> str:
    """What a process of its own says: the JVM stays with the one that began it."""
    asked = (
        "from operator import attrgetter\n"
        "from warehouse.core.config import ProcessingConfig\n"
        "from warehouse.errors import EngineError\n"
        "from warehouse.executors.engine import open_executor\n"
        "try:\n"
        f"    config = ProcessingConfig(engine='spark', spark_master={master!r})\n"
        "    with open_executor(config) as one:\n"
        "        one.submit(attrgetter('threads')).result()\n"
        "except EngineError as error:\n"
        "    print(error)\n"
    )
    if why := problem("spark"):
        pytest.skip(why)
    # Where the library could be found by chance.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=folder,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    return line


@pytest.mark.torture
def test_a_master_that_spark_does_not_know_is_told_with_what_it_needs(tmp_path: Path) -> None:
    told = told_of_spark("nonsense", tmp_path)
    assert "spark_master = 'nonsense' cannot begin" in told
    assert "a master that it knows, and Java 17" in told


@pytest.mark.torture
def test_a_spark_without_java_says_what_it_needs(tmp_path: Path) -> None:
    told = told_of_spark("local[2]", tmp_path, JAVA_HOME=str(tmp_path))
    assert told.endswith("Java 17 or newer (JAVA_HOME)")


@pytest.mark.torture
def test_a_worker_without_the_library_is_told_with_what_it_needs(tmp_path: Path) -> None:
    python = Path(sys.base_prefix) / "bin/python3"
    told = told_of_spark("local[1]", tmp_path, PYSPARK_PYTHON=str(python))
    assert "No module named 'warehouse'; the Python of its workers (PYSPARK_PYTHON)" in told
