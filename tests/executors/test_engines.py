"""On a cluster the same bytes are written, and errors are told, as they are here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from building import Made, day_key, make, random_trades
from executors.engines import OF_EXTRA, REQUIRED, cluster, problem, settings
from executors.units import killed_once, raises, share_and_process

from warehouse.core.config import ProcessingConfig
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import EngineError, StorageError
from warehouse.executors.engine import open_executor
from warehouse.executors.work import Executor, Share, packed, perform, unpacked

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 2, 1), date(2024, 2, 2)]
SYMBOLS = ("AAPL", "BCpC", "MSFT")
PUBLISHED = ("cache", "rejects", "schema", "recipes")


@pytest.fixture(scope="module", params=["ray", pytest.param("spark", marks=pytest.mark.torture)])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with cluster(request.param):
        yield request.param


@pytest.fixture(scope="module")
def executor(engine: str) -> Iterator[Executor]:
    made = {name.removeprefix("processing__"): value for name, value in settings(engine).items()}
    with open_executor(ProcessingConfig(**made)) as opened:
        yield opened


def test_one_engine_at_least_is_tried_where_that_is_asked_for() -> None:
    left_out = [why for engine in OF_EXTRA if (why := problem(engine))]
    if REQUIRED in os.environ:
        assert len(left_out) < len(OF_EXTRA), left_out
    elif left_out:
        pytest.skip("; ".join(left_out))


def files() -> dict[str, Any]:
    found: dict[str, Any] = {
        day_key(kind, day): [*random_trades(SYMBOLS, 200, day), "too,few"]
        for kind in ("trades",)
        for day in DAYS
    }
    return found | {day_key("trades", date(2024, 2, 5)): b"this is no gzip"}


def published(made: Made) -> dict[str, bytes]:
    """What is written of the market, below data/, byte for byte.

    A file that says when sessions were last cut into other files has the time in its name. Of the
    manifests it is those that the catalog names: whether one was published before them rests on
    which file came in time.
    """
    data = made.layout.data
    timed = made.layout.schemas_of_cuts()
    with duckdb.connect(str(made.layout.catalog), read_only=True) as catalog:
        named = {name for (name,) in catalog.execute("select name from manifests").fetchall()}
    found = {f"manifests/{name}": (made.layout.manifests / name).read_bytes() for name in named}
    return found | {
        path.relative_to(data).as_posix(): path.read_bytes()
        for tier in PUBLISHED
        for path in sorted((data / tier).rglob("*"))
        if path.is_file() and path not in timed
    }


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_the_bytes_are_those_that_are_written_here(
    layout: str, engine: str, tmp_path: Path
) -> None:
    laid = {"storage__layout": dict.fromkeys(DATA_TYPES, layout)}
    here = make(tmp_path / "here", files(), **laid)
    there = make(tmp_path / "there", files(), **laid, **settings(engine))
    told = [made.update() for made in (here, there)]

    assert published(there) == published(here)
    assert there.everything() == here.everything()
    assert there.verify().faults == []
    assert list(there.layout.staging.iterdir()) == []
    first, second = (sorted((one.file.key, one.problem) for one in each.files) for each in told)
    assert [key for key, _ in first] == [key for key, _ in second]
    assert [key for key, why in first if why] == [key for key, why in second if why] != []


def test_a_batch_in_which_rules_find_errors_is_refused_as_it_is_here(
    engine: str, tmp_path: Path
) -> None:
    rule = (
        "-- validate/never: every trade is one too many.\n-- grain: one row per trade\n"
        "-- severity: error\n-- data_types: trades\n-- on_ingest: yes\n"
        "select symbol, session, timestamp from checked\n"
    )
    refused = []
    for name, more in (("here", {}), ("there", settings(engine))):
        made = make(
            tmp_path / name,
            {day_key("trades", DAYS[0]): random_trades(SYMBOLS, 20, DAYS[0])},
            **more,
        )
        (made.root / "sql/validate/never.sql").write_text(rule, "utf-8")
        (one,) = made.update().refused
        assert list(made.layout.staging.iterdir()) == []
        record = json.loads((one.folder / "refused.json").read_text("utf-8"))
        found = sorted(record["partitions"])
        assert all((one.folder / path).is_file() for path in record["partitions"].values())
        refused.append((found, [error.count for error in one.errors]))
        assert made.partitions() == {}
    assert refused[0] == refused[1]
    assert len(refused[0][0]) == len(SYMBOLS)


def test_a_unit_has_its_share_of_the_worker_and_not_this_process(executor: Executor) -> None:
    share, process = executor.submit(share_and_process).result()
    assert share.threads >= 1
    assert share.memory_bytes >= 100 << 20
    assert process != os.getpid()


@pytest.mark.parametrize(
    "error",
    [StorageError("/some/place", "is full"), ValueError("not of ours"), OSError(28, "full")],
)
def test_what_a_unit_raises_is_raised_here_with_what_it_says(
    error: Exception, executor: Executor
) -> None:
    with pytest.raises(type(error)) as told:
        executor.submit(partial(raises, error)).result()
    assert str(told.value) == str(error)
    assert getattr(told.value, "path", None) == getattr(error, "path", None)


def test_a_function_of_the_users_own_travels_too(executor: Executor) -> None:
    factor = 7
    assert executor.submit(lambda share: factor * 6).result() == 42


def test_what_another_thread_has_begun_is_used_and_not_ended(
    engine: str, executor: Executor
) -> None:
    made = {name.removeprefix("processing__"): value for name, value in settings(engine).items()}

    def ask() -> int:
        with open_executor(ProcessingConfig(**made)) as own:
            return own.submit(share_and_process).result()[1]

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(ask).result() != os.getpid()
    assert executor.submit(share_and_process).result()[1] != os.getpid()


def test_a_worker_that_is_killed_is_replaced_and_its_unit_done_again(
    executor: Executor, tmp_path: Path
) -> None:
    assert executor.submit(partial(killed_once, tmp_path / "been here")).result() == "done"


def test_workers_with_another_version_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = packed(share_and_process)
    share = Share(1, 1 << 30)
    assert unpacked(perform(message, share)) == (share, os.getpid())
    monkeypatch.setattr("warehouse.executors.work.version", lambda name: "0.0.1")
    with pytest.raises(EngineError, match=r"duckdb 0\.0\.1 in place of 2.*pyarrow 0\.0\.1"):
        unpacked(perform(message, share))


def test_a_worker_that_does_not_share_the_folder_is_refused(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, files(), **settings(engine))
    monkeypatch.setattr("warehouse.store.data_folder_id.id_of", lambda layout: "another's")
    with pytest.raises(EngineError, match="on a path that all its machines share"):
        made.update()
    monkeypatch.undo()
    made.update()
    assert made.verify().faults == []


@pytest.mark.parametrize("missing", sorted(OF_EXTRA.values()))
def test_an_engine_that_is_not_installed_is_told_with_what_installs_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (engine,) = (name for name, module in OF_EXTRA.items() if module == missing)
    made = make(tmp_path, files(), **settings(engine))
    for name in (missing, f"{missing}.errors", f"{missing}.sql"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(EngineError, match=rf"pip install 'flatfile-warehouse\[{engine}\]'"):
        made.update()
