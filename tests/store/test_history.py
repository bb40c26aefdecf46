"""Runs, findings and restatements outlive the catalog: they stand in files of their own."""

from __future__ import annotations

import gc
import math
import os
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made, day_key, instant, keep, make, put_back, trade
from click.testing import CliRunner
from killing import Killed, killed_at

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.core.paths import HISTORY_TABLES
from warehouse.core.request import Request
from warehouse.errors import CorruptPartitionError
from warehouse.store.catalog_tables import REQUIRED
from warehouse.store.publishing import kept_tables

JANUARY, FEBRUARY = date(2024, 1, 31), date(2024, 2, 1)
DAYS = (JANUARY, FEBRUARY)


def lines(day: date, price: float = 10) -> list[str]:
    """Trades of a session; one stands out, so that rules find something."""
    prices = [price] * 40 + [price * 100]
    return [
        trade("A", instant(day, "10:00", at), at, price=each) for at, each in enumerate(prices, 1)
    ]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make(tmp_path_factory.mktemp("history"), {day_key("trades", d): lines(d) for d in DAYS})
    made.update("trades")
    made.put(day_key("trades", JANUARY), lines(JANUARY, 11))
    made.update("trades")
    made.pipeline.validate(Request.of(["trades"]))
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    put_back(template)
    return template


def told(made: Made) -> dict[str, list[tuple[Any, ...]]]:
    """What the catalog says of all that once was, but for how a run is under way."""
    return {
        table: made.sql(f"select * from {table} order by all")
        for table in ("restatements", "findings", "runs")
    }


def pages(made: Made) -> dict[str, bytes]:
    folder = made.layout.history
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")
    }


def update(made: Made) -> str:
    done = CliRunner().invoke(cli, ["-C", str(made.root), "update", "trades"])
    assert done.exit_code == 0, done.output
    return done.output


def lose(made: Made) -> None:
    made.layout.catalog.unlink()


def damage(made: Made) -> None:
    content = bytearray(made.layout.catalog.read_bytes())
    content[: len(content) // 2] = os.urandom(len(content) // 2)
    made.layout.catalog.write_bytes(content)


def say_nonsense(made: Made) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("update manifests set sha256 = 'x'")
        catalog.execute("drop table findings")


@pytest.mark.parametrize("spoil", [lose, damage, say_nonsense])
def test_a_catalog_that_is_made_anew_knows_what_once_was(
    spoil: Callable[[Made], None], made: Made
) -> None:
    before = told(made)
    assert {len(rows) > 0 for rows in before.values()} == {True}
    spoil(made)
    assert "the catalog is made anew from the files" in update(made)
    after = told(made)
    assert after["restatements"] == before["restatements"]
    assert after["findings"] == before["findings"]
    assert [run for run in after["runs"] if run in before["runs"]] == before["runs"]
    assert made.verify().faults == []


def test_a_warehouse_without_a_history_gets_it_with_the_first_command_that_writes(
    made: Made,
) -> None:
    before = pages(made)
    for path in sorted(made.layout.history.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert made.verify().faults == []
    made.put(day_key("trades", FEBRUARY), lines(FEBRUARY, 12))
    made.update("trades")
    assert before.keys() <= pages(made).keys()
    assert made.verify().faults == []


def test_a_publish_writes_the_pages_of_its_months_alone(made: Made) -> None:
    before = pages(made)
    march = date(2024, 3, 1)
    made.put(day_key("trades", march), lines(march))
    made.update("trades")
    after = pages(made)
    changed = {name for name, content in after.items() if before.get(name) != content}
    (runs,) = (name for name in before if name.startswith("runs/"))
    assert {runs} <= changed <= {runs, "findings/trades/2024_03.parquet"}
    assert after.keys() >= before.keys()


def test_a_page_that_no_finding_is_on_any_more_goes(made: Made) -> None:
    page = made.layout.history / "findings/trades/2024_02.parquet"
    assert page.exists()
    made.put(day_key("trades", FEBRUARY), [trade("A", instant(FEBRUARY, "10:00"), 1)])
    made.update("trades")
    made.pipeline.validate(Request.of(["trades"], start=FEBRUARY, end=FEBRUARY))
    left = made.sql(f"select count(*) from findings where session = '{FEBRUARY}'") == [(0,)]
    assert page.exists() != left
    assert made.verify().faults == []


def test_a_publish_that_is_killed_leaves_a_history_that_is_its_catalogs(made: Made) -> None:
    number, kills = 0, 0
    while True:
        put_back(made)
        made.put(day_key("trades", FEBRUARY), lines(FEBRUARY, 12))
        with killed_at(number):
            try:
                made.update("trades")
            except Killed:
                kills += 1
            else:
                break
        # A process that is dead holds no lock; here frames that the kill went through may.
        gc.collect()
        if number % 2:
            lose(made)
        update(made)
        assert made.verify().faults == []
        known = {row[0] for row in made.sql("select run_id from runs")}
        assert len(known) == len(made.sql("select run_id from runs")) >= 4
        number += 3
    assert kills > 3


def test_a_run_that_was_killed_a_month_ago_is_told_so_on_its_page(made: Made) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute(
            """
            update runs
            set state = 'running', started_at = '2024-01-31'
            where started_at = (select min(started_at) from runs)
            """
        )
    made.put(day_key("trades", FEBRUARY), lines(FEBRUARY, 12))
    made.update("trades")
    page = kept_tables.Page("runs", None, date(2024, 1, 1))
    (run,) = kept_tables.read_page(made.layout, page).to_pylist()
    assert (run["state"], run["problem"]) == ("interrupted", "it was killed")
    assert made.verify().faults == []


BAD: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda path: path.write_bytes(
        bytes(b ^ (at == 60) for at, b in enumerate(path.read_bytes()))
    ),
    "no Parquet": lambda path: path.write_bytes(b"PAR1 none of it"),
    "nothing": lambda path: path.write_bytes(b""),
    "a link": lambda path: (path.rename(f"{path}.1"), path.symlink_to(f"{path.name}.1"))[1],
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path))[1],
    "a folder": lambda path: (path.unlink(), path.mkdir())[1],
    "another month's": lambda path: path.rename(path.with_name("2001_01.parquet")) and None,
    "other columns": lambda path: pq.write_table(pa.table({"run_id": ["x"], "odd": [1]}), path),
    "a NULL": lambda path: rewritten(path, "run_id", None),
    "a day of no calendar": lambda path: rewritten(path, "started_at", 2**60),
    "seconds that are no number": lambda path: rewritten(path, "seconds", math.nan),
    "a text of half a gigabyte": lambda path: rewritten(path, "problem", "x" * (1 << 19), 1000),
}


def rewritten(path: Path, column: str, value: Any, times: int = 1) -> None:
    """The page with this value in each row, its rows so many times."""
    table = pa.concat_tables([pq.read_table(path, partitioning=None)] * times)
    at = table.schema.get_field_index(column)
    values = pa.repeat(pa.scalar(value, table.schema.field(column).type), table.num_rows)
    pq.write_table(table.set_column(at, column, values), path)


@pytest.mark.parametrize("bad", BAD)
def test_a_damaged_page_is_told_in_a_line_and_stops_no_answer_about_rows(
    bad: str, made: Made
) -> None:
    before = told(made)
    (page,) = (made.layout.history / "runs").iterdir()
    BAD[bad](page)
    with Warehouse(made.root) as wh:
        assert len(wh.trades("A", FEBRUARY)) == 41
    assert [(fault.kind, fault.path.parent.name) for fault in made.verify().faults][:1] == [
        ("history", "runs")
    ]
    lose(made)
    output = update(made)
    assert sum("its part of the history is lost" in line for line in output.splitlines()) == 1
    after = told(made)
    assert (after["findings"], after["restatements"]) == (
        before["findings"],
        before["restatements"],
    )
    assert not {row[0] for row in before["runs"]} & {row[0] for row in after["runs"]}
    with Warehouse(made.root) as wh:
        assert len(wh.trades("A", FEBRUARY)) == 41
    (_,) = made.layout.set_aside.glob("history-*")


def test_repair_makes_a_page_anew_from_the_catalog(made: Made) -> None:
    before = pages(made)
    for name in before:
        BAD["no Parquet"](made.layout.history / name)
    stray = made.layout.history / "runs/2024_13.parquet"
    stray.write_bytes(b"x")
    report = made.repair()
    assert report.left == []
    assert not stray.exists()
    assert made.verify().faults == []
    after = pages(made)
    assert {name: after[name] for name in before if not name.startswith("runs")} == {
        name: content for name, content in before.items() if not name.startswith("runs")
    }


def test_the_history_bears_the_files_mode(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", JANUARY): lines(JANUARY)}, storage__file_mode="0640")
    made.update("trades")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in made.layout.history.rglob("*.parquet")}
    assert modes == {0o640}


def test_a_catalog_that_speaks_of_no_data_type_leads_no_page_astray(made: Made) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("update findings set data_type = '../../x'")
    made.put(day_key("trades", FEBRUARY), lines(FEBRUARY, 12))
    made.update("trades")
    assert not list(made.root.rglob("x"))
    for page in kept_tables.pages_there(made.layout):
        kept_tables.read_page(made.layout, page)


def test_every_column_of_the_history_is_kept(made: Made) -> None:
    for table in HISTORY_TABLES:
        there = made.sql(f"select column_name, column_type from (describe {table})")
        kept = {name: kind for kind, names in REQUIRED[table].items() for name in names.split()}
        assert dict(there) == kept


def test_a_page_that_is_too_large_is_not_read(made: Made) -> None:
    page = next(iter(kept_tables.pages_there(made.layout, ["runs"])))
    with open(page.path(made.layout), "ab") as file:
        file.truncate(100 << 20)
    with pytest.raises(CorruptPartitionError, match="bytes"):
        kept_tables.read_page(made.layout, page)
