"""A warehouse that a version before made goes on with its first update.

`earlier/warehouse-of-catalog-3.tar.xz` is one, whole, with its source: made by the version of
catalog format 3, which kept no record of the shipped files and named no files in its catalog. It is
carried along: what a later version cannot take over is found here.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from building import REPOSITORY, csv_text, instant, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.cli.shell import shell_arguments
from warehouse.core.config import CONFIG_FILE, load
from warehouse.core.paths import Layout
from warehouse.errors import MovedCatalogError
from warehouse.store.catalog_tables import CATALOG_FORMAT

BEFORE = Path(__file__).parent / "earlier" / "warehouse-of-catalog-3.tar.xz"
OLD, NEW = date(2024, 1, 30), date(2024, 1, 31)
ROWS = {"trades": 20, "quotes": 5, "minute_aggs": 3, "day_aggs": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The warehouse, taken to another place with its source; of the source one day more."""
    with tarfile.open(BEFORE) as archive:
        archive.extractall(tmp_path, filter="data")
    config = tmp_path / "warehouse/config/data_config.yaml"
    text = config.read_text("utf-8")
    assert "/srv/flatfiles" in text
    config.write_text(text.replace("/srv/flatfiles", str(tmp_path / "flatfiles")), "utf-8")
    (old,) = tmp_path.glob("flatfiles/us_stocks_sip/trades_v1/2024/01/*.csv.gz")
    lines = [trade("A", instant(NEW, "10:00", number), number) for number in range(1, 4)]
    new = old.with_name(f"{NEW}.csv.gz")
    new.write_bytes(gzip.compress(csv_text("trades", lines).encode()))
    return tmp_path / "warehouse"


def run(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["-C", str(root), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def counts(root: Path) -> dict[str, int]:
    with Warehouse(root) as wh:
        return {
            name: wh.query(f"select count(*) as n from {name} where session = $d", d=OLD)["n"][0]
            for name in ROWS
        }


def test_its_first_update_takes_over_what_is_there_and_adds_what_is_new(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.glob("data/cache/*/*/*.parquet")}
    assert before
    told = run(root, "update")
    assert "replaced by the present version's" in told
    assert "trades" in told

    assert counts(root) == ROWS
    with Warehouse(root) as wh:
        assert len(wh.trades("A", NEW)) == 3
        assert len(wh.trades("A", OLD, NEW)) == len(wh.trades("A", OLD)) + 3
        found = wh.query("select max(catalog_format) as form, count(*) as n from warehouse")
        assert (found["form"][0], found["n"][0]) == (CATALOG_FORMAT, 1)
        assert set(wh.catalog("runs")["command"]) == {"update"}
    # What nothing was added to is as it was.
    changed = {path for path, content in before.items() if path.read_bytes() != content}
    assert all(path.parts[-3:-1] == ("trades", "A") for path in changed)
    assert "sound" in run(root, "verify")
    assert "nothing" in run(root, "update")


def test_its_lost_catalog_is_made_anew_from_its_own_ledger(root: Path) -> None:
    assert [*root.glob("data/ledger/*/*.parquet")]
    (root / "data/warehouse.duckdb").unlink()
    told = run(root, "update")
    assert "made anew from the files" in told
    assert "damaged" not in told
    assert counts(root) == ROWS
    with Warehouse(root) as wh:
        assert len(wh.trades("A", NEW)) == 3
    assert "sound" in run(root, "verify")


def test_its_copies_of_the_shipped_files_follow(root: Path) -> None:
    run(root, "update")
    for path in (REPOSITORY / "sql").rglob("*.sql"):
        copy = root / "sql" / path.relative_to(REPOSITORY / "sql")
        assert copy.read_bytes() == path.read_bytes(), copy


def test_it_is_made_anew_by_the_present_sql_row_for_row(root: Path) -> None:
    run(root, "update")
    before = counts(root)
    run(root, "rebuild", "--changed")
    run(root, "rebuild", "all")
    assert counts(root) == before
    assert "sound" in run(root, "verify")


def test_it_can_be_read_before_anything_is_written(root: Path) -> None:
    with Warehouse(root) as wh:
        assert len(wh.quotes("A", OLD)) == ROWS["quotes"]
        assert list(wh.sessions("trades")) == [OLD]


def layout_of(root: Path) -> Layout:
    return load(root / CONFIG_FILE, {}).layout(root)


@pytest.fixture
def copy(root: Path) -> Path:
    """A copy of one that stands where it was made, and has more rows since."""
    data = root / "data"
    with duckdb.connect(data / "warehouse.duckdb") as catalog:
        views = "select sql from duckdb_views() where not internal"
        for (sql,) in catalog.execute(views).fetchall():
            here = sql.replace("/srv/warehouse/data", str(data))
            catalog.execute(here.replace("CREATE VIEW", "create or replace view"))
        catalog.execute("update warehouse set data_folder = ?", [str(data)])
    there = root.with_name("copy")
    shutil.copytree(root, there)
    shutil.copytree(data / "cache/trades/A", data / "cache/trades/B")
    return there


def test_a_copy_of_it_gives_a_shell_no_rows_of_its_original(root: Path, copy: Path) -> None:
    told = CliRunner().invoke(cli, ["-C", str(copy), "shell", "-c", "from trades"])
    assert told.exit_code == 2
    (line,) = told.output.splitlines()
    assert str(root / "data") in line
    assert f"warehouse -C {copy} update" in line
    # Where it was made it opens as before.
    assert str(layout_of(root).catalog) in shell_arguments(layout_of(root), [])
    run(copy, "update")
    assert counts(copy) == ROWS
    assert shell_arguments(layout_of(copy), [])


@pytest.mark.parametrize(
    "asked",
    [
        lambda wh: wh.query("select count(*) from trades"),
        lambda wh: wh.query("select count(*) from trades_of('A')"),
        lambda wh: wh.query("explain from rejects"),
        lambda wh: wh.explain_bar("A", datetime(2024, 1, 30, 9, 55)),
    ],
    ids=["view", "macro", "plan", "explain_bar"],
)
def test_what_its_copy_cannot_read_is_told_with_what_to_run(asked: Any, copy: Path) -> None:
    with Warehouse(copy) as wh:
        with pytest.raises(MovedCatalogError, match="warehouse update"):
            asked(wh)
        # Its own rows are read from where it stands.
        assert len(wh.trades("A", OLD)) == 8
        assert wh.symbols("trades") == ["A", "BCpC"]
        assert wh.query("select count(*) from partitions").iloc[0, 0] == 5


def test_a_file_that_a_query_of_its_copy_names_itself_is_no_matter_of_an_update(
    root: Path, copy: Path
) -> None:
    with Warehouse(copy) as wh, pytest.raises(Exception, match="outside of the warehouse's"):
        wh.query(f"from read_parquet('{root}/data/cache/trades/A/*.parquet')")
