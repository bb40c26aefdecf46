"""A disk that fills up, at whatever moment: a clear error, and what was published is served."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from building import (
    SESSION,
    Made,
    day_key,
    instant,
    make,
    quote,
    random_trades,
    small_disk,
)

from warehouse import Warehouse
from warehouse.errors import StorageError
from warehouse.ingest import incoming_rules, rejects, row_sorter, symbol_builder
from warehouse.pipeline.watch import openmetrics
from warehouse.source import folder as source
from warehouse.store.publishing import empty_catalog, kept_tables, next_catalog, publish
from warehouse.store.reference import reference_files

MONDAY, TUESDAY = date(2024, 1, 29), date(2024, 1, 30)
SYMBOLS = ("AAPL", "BCPC", "BCpC", "NA")


def fill(folder: Path, left: int) -> Path:
    """Leave so many bytes free."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        free = os.statvfs(folder)
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - left)))
    return filler


# Each stage, at its first step that writes. The kernel refuses, not a stand-in for it.
STAGES: dict[str, tuple[Any, str]] = {
    "download": (source.FolderSource, "_copy"),
    "rows that exceed the memory": (row_sorter.RowSorter, "spill"),
    "partitions": (symbol_builder, "write_partition"),
    "rejects": (rejects.RejectsWriter, "_flush"),
    "catalog": (next_catalog, "build"),
    "journal": (publish, "_sync"),
    "figures": (openmetrics, "write"),
}
TRADES = "select count(*) as n, sum(sequence_number)::bigint as s, max(price) as m from trades"


def published(made: Made) -> tuple[Any, ...]:
    """All that a reader can see of trades, the second kind that a run publishes."""
    digests, rejected, partitions, files, *_ = made.everything()
    return (
        {name: digest for name, digest in digests.items() if name.startswith("trades/")},
        [row for row in rejected if row["data_type"] == "trades"],
        [row for row in partitions if row[0] == "trades"],
        [row for row in files if "trades" in row[0] and row[1] == "ingested"],
        made.sql(TRADES),
    )


def filled_before(
    patch: pytest.MonkeyPatch, where: Any, name: str, disk: Path, left: int
) -> list[Path]:
    """Fill a disk when something is called first; what fills it is listed from then on."""
    real: Callable[..., Any] = getattr(where, name)
    filled: list[Path] = []

    def fill_first(*arguments: Any, **options: Any) -> Any:
        if not filled:
            filled.append(fill(disk, left))
        return real(*arguments, **options)

    patch.setattr(where, name, fill_first)
    return filled


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Made, Path]]:
    """A warehouse on a disk of 24 MB with one session published, and the next one to come."""
    disk = tmp_path / "disk"
    with small_disk(disk, 24):
        made = make(
            disk,
            source__url=str(tmp_path / "source"),
            processing__chunk_size=1000,
        )
        made.source = tmp_path / "source"
        for day in (MONDAY, TUESDAY):
            lines = [*random_trades(SYMBOLS, 3000, day), "too,few"]
            made.put(day_key("trades", day), lines)
        # Every piece is spilled, so that this stage is there.
        monkeypatch.setattr(row_sorter.RowSorter, "is_full", property(lambda self: self._held > 0))
        # The first of its kind, so that a view of it is made when it is in place.
        made.put(day_key("quotes", TUESDAY), [quote("AAPL", instant(TUESDAY)), "too,few"])
        made.update("trades", start=MONDAY, end=MONDAY)
        yield made, disk


@pytest.mark.torture
@pytest.mark.parametrize(
    ("stage", "left"),
    [*((stage, 0) for stage in STAGES), ("partitions", 12_000), ("journal", 12_000)],
)
def test_a_disk_that_fills_up_in_any_stage_is_an_error_and_old_data_is_served(
    stage: str,
    left: int,
    full: tuple[Made, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made, disk = full
    old = published(made)
    where, name = STAGES[stage]
    problem = None
    with Warehouse(made.root) as reader, Warehouse(made.root) as newcomer:
        assert len(reader.query("select * from trades")) == old[-1][0][0]
        with monkeypatch.context() as patch:
            filled = filled_before(patch, where, name, disk, left)
            try:
                made.update("trades", "quotes", start=MONDAY, end=TUESDAY)
            except StorageError as error:
                problem = error
        assert filled, "the stage was not come by"
        if problem is None:
            # There was room enough; or it was what the run says of itself that had none.
            assert left or stage == "figures"
        else:
            assert "\n" not in str(problem)
            assert re.search("full|No space left", str(problem)), problem
        if not made.layout.journal.exists():
            if problem is not None:
                assert published(made) == old
            # Asked anew while there is no room, by who was there before and by who comes now.
            for asker in (reader, newcomer):
                assert asker.query(TRADES, "arrow").to_pylist() == [
                    dict(zip(("n", "s", "m"), made.sql(TRADES)[0], strict=True))
                ]
                assert len(asker.trades("AAPL", MONDAY, MONDAY)) > 0
    assert capfd.readouterr() == ("", "")

    filled[0].unlink()
    made.update("trades", "quotes", start=MONDAY, end=TUESDAY)
    made.check_catalog()
    assert set(made.table("trades")["session"].to_pylist()) == {MONDAY, TUESDAY}
    assert made.sql("select count(*) from trades") == [(made.table("trades").num_rows,)]
    assert made.sql("select count(*) from quotes") == [(1,)]
    assert list(made.layout.staging.iterdir()) == []
    assert not list(made.layout.raw.rglob("*.part*"))
    last = json.loads(made.layout.log.read_text().splitlines()[-1])
    assert (last["event"], last["state"]) == ("run ended", "done")


@pytest.mark.torture
def test_a_full_disk_is_an_error_and_leaves_what_is_published(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 24):
        made = make(disk)
        made.put_raw("trades", MONDAY, [*random_trades(SYMBOLS, 3000, MONDAY), "too,few"])
        made.ingest("trades")
        made.put_raw("trades", TUESDAY, [*random_trades(SYMBOLS, 3000, TUESDAY), "too,few"])
        shutil.copytree(made.root / "data", tmp_path / "before")
        old = made.everything()

        outcomes: dict[int, str] = {}
        for kilobytes in (0, 4, 64, 200, 300, 12_000):
            filler = fill(disk, kilobytes * 1024)
            try:
                made.ingest("trades")
                outcomes[kilobytes] = "done"
            except StorageError as error:
                outcomes[kilobytes] = "refused" if "\n" not in str(error) else repr(error)
            except Exception as error:
                outcomes[kilobytes] = repr(error)
            finally:
                filler.unlink()
            # With room again, the next one finds all of the old or all of the new.
            made.ingest("quotes")
            made.check_catalog()
            if made.everything() != old:
                assert set(made.table("trades")["session"].to_pylist()) == {MONDAY, TUESDAY}
                shutil.rmtree(made.root / "data")
                shutil.copytree(tmp_path / "before", made.root / "data")
        assert set(outcomes.values()) == {"done", "refused"}, outcomes


@pytest.mark.parametrize("kilobytes", [32, 100, 400, 1000, 1600])
def test_a_catalog_that_may_not_grow_is_told_in_the_systems_own_words(
    kilobytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in it that is; as a quota or `ulimit -f` has it."""
    made = make(tmp_path, {day_key("trades", MONDAY): random_trades(SYMBOLS, 9, MONDAY)})
    # What this process keeps of the last one would be written at once.
    monkeypatch.setattr(empty_catalog, "_frames", {})
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, most))
    try:
        with pytest.raises(StorageError, match="File too large") as caught:
            made.update()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
    assert "\n" not in str(caught.value)
    made.update()
    assert made.sql("select count(*) > 0 from trades") == [(True,)]


STAGES_OF_A_LOAD: dict[str, tuple[Any, str]] = {
    "tables": (reference_files, "write"),
    "catalog": (next_catalog, "build"),
    "journal": (publish, "_sync"),
}


def splits_of(*symbols: str) -> str:
    """An export of many splits, so that its table is no small file."""
    rows = [
        {
            "id": f"E{number}{symbol}",
            "ticker": symbol,
            "execution_date": f"{date(2004, 1, 1) + timedelta(days=number)}",
            "split_from": 1,
            "split_to": 2,
            "adjustment_type": "forward_split",
            "historical_adjustment_factor": 1,
        }
        for symbol in symbols
        for number in range(3_000)
    ]
    return json.dumps({"results": rows})


@pytest.mark.torture
@pytest.mark.parametrize(
    ("stage", "left"),
    [*((stage, 0) for stage in STAGES_OF_A_LOAD), ("tables", 12_000), ("journal", 12_000)],
)
def test_a_disk_that_fills_up_while_actions_are_loaded_leaves_those_of_before(
    stage: str, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, first, second = tmp_path / "disk", tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(splits_of("A"), "utf-8")
    second.write_text(splits_of("A", "B"), "utf-8")
    with small_disk(disk, 24):
        made = make(disk)
        with Warehouse(made.root) as wh:
            wh.load_reference(first)
        old = made.sql("from splits order by all")
        where, name = STAGES_OF_A_LOAD[stage]
        problem = None
        with Warehouse(made.root) as reader:
            with monkeypatch.context() as patch, Warehouse(made.root) as wh:
                filled = filled_before(patch, where, name, disk, left)
                try:
                    wh.load_reference(second)
                except StorageError as error:
                    problem = error
            assert filled, "the stage was not come by"
            if problem is None:
                assert left
            else:
                assert "\n" not in str(problem)
                assert re.search("full|No space left", str(problem)), problem
            if not made.layout.journal.exists():
                assert (made.sql("from splits order by all") == old) == (problem is not None)
                assert len(reader.actions("A")) == len(old)

        filled[0].unlink()
        with Warehouse(made.root) as wh:
            wh.load_reference(second)
            assert len(wh.actions("A")) == len(wh.actions("B")) == len(old)
            assert wh.verify().faults == []
        assert list(made.layout.staging.iterdir()) == []
        last = json.loads(made.layout.log.read_text().splitlines()[-1])
        assert (last["event"], last["state"]) == ("run ended", "done")


@pytest.mark.torture
def test_a_full_disk_stops_a_copy_from_the_source(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 2):
        made = make(disk)
        made.configure(source__url=str(tmp_path / "source"))
        path = tmp_path / "source" / day_key("trades", SESSION)
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(3_000_000))

        with pytest.raises(StorageError):
            made.update("trades", start=SESSION, end=SESSION)

        assert list((made.root / "data/raw").rglob("*.csv.gz*")) == []


@pytest.mark.parametrize(
    "refused",
    [duckdb.IOException("No space left\non device"), duckdb.OutOfMemoryException("no\nmemory")],
    ids=["disk", "memory"],
)
@pytest.mark.parametrize(
    ("place", "name", "told"),
    [
        (kept_tables, "_all", "warehouse.duckdb: cannot be read back: "),
        (incoming_rules.IncomingRules, "_judge_rows", "data: DuckDB cannot go on: "),
    ],
    ids=["ledger", "rules"],
)
def test_what_duckdb_is_refused_is_one_line_of_the_place_wherever_it_happens(
    place: Any,
    name: str,
    told: str,
    refused: duckdb.Error,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make(tmp_path, {day_key("trades", MONDAY): random_trades(SYMBOLS, 9, MONDAY)})

    def refuse(*arguments: Any, **named: Any) -> None:
        # One of its own each time: what is raised twice would be its own cause.
        raise type(refused)(str(refused))

    with monkeypatch.context() as patch:
        patch.setattr(place, name, refuse)
        with pytest.raises(StorageError) as caught:
            made.update()
    assert told + " ".join(str(refused).split()) in str(caught.value)
    assert made.update().set_aside == []
    assert made.sql("select count(*) > 0 from trades") == [(True,)]
