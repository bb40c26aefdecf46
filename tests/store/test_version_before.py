"""A warehouse that a version before made goes on with its first update.

`earlier/warehouse-of-catalog-3.tar.xz` is one, whole, with its source: made by the version of
catalog format 3, which kept no record of the shipped files and named no files in its catalog. It is
carried along: what a later version cannot take over is found here.
"""

from __future__ import annotations

import gzip
import tarfile
from datetime import date
from pathlib import Path

import pytest
from building import REPOSITORY, csv_text, instant, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
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
