"""Workers and drivers are killed at random moments: no row is lost, and none stands twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from building import Made, day_key, make, random_trades
from executors.apart import in_two_stages
from executors.engines import OF_EXTRA, cluster, problem, settings
from executors.test_engines import published
from executors.units import killed_in

from warehouse.core.datatypes import DATA_TYPES

pytestmark = pytest.mark.torture

KILLS = 15 if os.environ.get("WAREHOUSE_TEST_LONG") else 2
"""Of workers, and as many of drivers."""
DAYS = [date(2024, 1, 2) + timedelta(days) for days in range(4)]
SYMBOLS = ("AAPL", "BCpC", "MSFT")
STAGES = {"one stage": "market", "two stages": "symbol"}
"""How batches are staged, and in which layout."""
COMMAND = (
    "from executors.apart import in_two_stages\n"
    "from warehouse.cli.main import cli\n"
    "with in_two_stages():\n"
    "    cli()\n"
)
OF_RAY = ("ray::IDLE", "ray::perform")
OF_SPARK = ("pyspark.daemon", "org.apache.spark.executor.CoarseGrainedExecutorBackend")


@pytest.fixture(scope="module", params=list(STAGES))
def layout(request: pytest.FixtureRequest) -> Iterator[str]:
    # Nothing is staged in stages in the layout `market`.
    with in_two_stages():
        yield STAGES[request.param]


def market(folder: Path, layout: str, **more: Any) -> Made:
    files = {day_key("trades", day): random_trades(SYMBOLS, 5_000, day) for day in DAYS}
    return make(folder, files, storage__layout=dict.fromkeys(DATA_TYPES, layout), **more)


@pytest.fixture(scope="module")
def expected(layout: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    made = market(tmp_path_factory.mktemp("expected"), layout)
    made.update()
    return published(made)


@pytest.fixture(params=list(OF_EXTRA))
def engine(request: pytest.FixtureRequest) -> str:
    if why := problem(request.param):
        pytest.skip(why)
    return str(request.param)


def workers() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        # Ray's agents are of the machine, which dies with them.
        if words and (words[0].startswith(OF_RAY) or {*OF_SPARK} & {*words}):
            yield process


def test_a_worker_that_is_killed_costs_no_row(
    engine: str, layout: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    dice = random.Random(16)
    killed = 0
    with cluster(engine):
        for number in range(KILLS):
            made = market(tmp_path / f"{number}", layout, **settings(engine))
            done = threading.Event()

            def kill(done: threading.Event = done) -> None:
                nonlocal killed
                done.wait(dice.uniform(0, 2))
                for process in dice.sample(found := list(workers()), min(len(found), 1)):
                    process.kill()
                    killed += 1

            killer = threading.Thread(target=kill)
            killer.start()
            try:
                made.update()
            finally:
                done.set()
                killer.join()
            assert published(made) == expected
            assert made.verify().faults == []
    assert killed > 0


@pytest.mark.parametrize("stage", ["read", "build"])
def test_a_worker_that_is_killed_in_either_stage_costs_no_row(
    stage: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(stage)
    here = market(tmp_path / "here", "symbol")
    here.update()
    with cluster(engine), in_two_stages():
        # Once when all is written and nobody has been told, and else in the midst of it.
        for number, seconds in enumerate(
            [60.0, *(dice.uniform(0, 0.3) for _ in range(KILLS // 2))]
        ):
            made = market(tmp_path / f"{number}", "symbol", **settings(engine))
            mark = tmp_path / f"{number} was killed"
            monkeypatch.setattr(
                "warehouse.pipeline.side_by_side.on_worker",
                partial(killed_in, stage, mark, seconds),
            )
            made.update()
            assert mark.exists()
            assert published(made) == published(here)
            assert made.verify().faults == []
            assert list(made.layout.staging.iterdir()) == []


def test_a_driver_that_is_killed_is_followed_by_one_that_finishes(
    engine: str,
    layout: str,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(61)
    # A loaded machine takes its time to begin a cluster.
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "240")
    # What the command imports.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), os.pathsep)
    made = market(tmp_path / "whole", layout, **settings(engine))
    command = [sys.executable, "-c", COMMAND, "-C", str(made.root), "update"]
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    took = time.monotonic() - begun
    assert published(made) == expected
    for number in range(KILLS):
        made = market(tmp_path / f"{number}", layout, **settings(engine))
        command[4] = str(made.root)
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(took / 3, took))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        made.update()
        assert published(made) == expected
        assert made.verify().faults == []
        assert list(made.layout.staging.iterdir()) == []
