"""A catalog that is gone, of another format, or another warehouse's, never passes for an answer."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest
from building import SESSION, Made, bar, day_key, instant, keep, make, put_back, trade
from click.testing import CliRunner
from refusing import refused

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.core.request import Request
from warehouse.errors import DamagedCatalogError, NoDataError


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    lines = [trade("AAPL", instant(SESSION))]
    made = make(tmp_path_factory.mktemp("lost"), {day_key("trades", SESSION): lines})
    made.update("trades")
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    put_back(template)
    return template


ASKED: dict[str, Callable[[Warehouse], object]] = {
    "trades": lambda wh: wh.trades("AAPL", SESSION),
    "query": lambda wh: wh.query("select count(*) from trades"),
    "report": lambda wh: wh.report(),
}


@pytest.mark.parametrize("name", ASKED)
def test_without_a_catalog_published_rows_are_not_called_never_ingested(
    name: str, made: Made
) -> None:
    made.layout.catalog.unlink()
    with (
        Warehouse(made.root) as wh,
        pytest.raises(DamagedCatalogError, match=r"it is missing, and .*verify --repair"),
    ):
        ASKED[name](wh)


@pytest.mark.parametrize("command", [["status"], ["shell", "-c", "select 1"]])
def test_commands_say_what_brings_a_missing_catalog_back(command: list[str], made: Made) -> None:
    made.layout.catalog.unlink()
    done = CliRunner().invoke(cli, ["-C", str(made.root), *command])
    assert done.exit_code == 2
    repair = f"warehouse -C {made.root} verify --repair"
    assert f"make it anew from the files with: {repair}" in done.output
    assert not made.repair().left
    assert made.sql("select count(*) from trades") == [(1,)]


def test_where_nothing_was_ever_published_nothing_is_missing(tmp_path: Path) -> None:
    made = make(tmp_path)
    with Warehouse(made.root) as wh, pytest.raises(NoDataError, match="nothing has been ingested"):
        wh.query("select 1")


def test_a_catalog_of_a_later_format_is_kept_when_it_is_made_anew(made: Made) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("update warehouse set catalog_format = 99")
    made.update("trades")
    assert made.sql("select count(*) from trades") == [(1,)]
    (kept,) = made.layout.set_aside.glob("warehouse-*.duckdb")
    with duckdb.connect(str(kept), read_only=True) as catalog:
        assert catalog.execute("select count(*) from runs").fetchall() == [(1,)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Another warehouse, whose catalog knows of nothing that the first has."""
    lines = [trade("MSFT", instant(SESSION)), trade("MSFT", instant(SESSION), 2)]
    made = make(tmp_path_factory.mktemp("other"), {day_key("trades", SESSION): lines})
    made.update("trades")
    return made


@pytest.mark.parametrize("name", ASKED)
def test_another_warehouses_catalog_answers_no_question(name: str, made: Made, other: Made) -> None:
    shutil.copy(other.layout.catalog, made.layout.catalog)
    with (
        pytest.raises(DamagedCatalogError, match=r"it is another warehouse's\); .*verify --repair"),
        Warehouse(made.root) as wh,
    ):
        ASKED[name](wh)


def test_the_shell_does_not_open_another_warehouses_catalog(made: Made, other: Made) -> None:
    shutil.copy(other.layout.catalog, made.layout.catalog)
    done = CliRunner().invoke(cli, ["-C", str(made.root), "shell", "-c", "select 1"])
    assert done.exit_code == 2
    assert "it is another warehouse's" in done.output


def test_a_repair_puts_the_warehouses_own_catalog_in_place_of_another(
    made: Made, other: Made
) -> None:
    shutil.copy(other.layout.catalog, made.layout.catalog)
    (fault,) = made.verify().faults
    assert (fault.kind, fault.problem) == ("catalog", "damaged: it is another warehouse's")
    digests = made.digests()
    assert not made.repair().left
    assert made.digests() == digests
    assert made.sql("select symbol from trades") == [("AAPL",)]
    (kept,) = made.layout.set_aside.glob("warehouse-*.duckdb")
    with duckdb.connect(str(kept), read_only=True) as catalog:
        assert catalog.execute("select trades_names()").fetchall() == [("MSFT 2024_01",)]


def test_an_update_does_not_publish_into_another_warehouses_catalog(
    made: Made, other: Made
) -> None:
    shutil.copy(other.layout.catalog, made.layout.catalog)
    made.update("trades")
    assert made.sql("select symbol from trades") == [("AAPL",)]


def test_a_copy_of_a_warehouse_and_one_without_its_mark_keep_their_catalog(
    made: Made, tmp_path: Path
) -> None:
    (before,) = made.sql("select warehouse_id from warehouse")
    made.layout.marker.unlink()
    made.rebuild("trades")
    assert made.sql("select warehouse_id from warehouse") == [before]
    assert len(made.sql("from runs")) == 2
    shutil.copytree(made.root, tmp_path / "copy")
    with Warehouse(tmp_path / "copy") as wh:
        assert len(wh.trades("AAPL", SESSION)) == 1


def test_a_catalog_of_an_earlier_version_which_has_no_id_is_read_and_gets_one(made: Made) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("alter table warehouse drop column warehouse_id")
    with Warehouse(made.root) as wh:
        assert len(wh.trades("AAPL", SESSION)) == 1
    made.rebuild("trades")
    ((found,),) = made.sql("select warehouse_id from warehouse")
    assert found in made.layout.marker.read_text("utf-8")
    assert len(made.sql("from runs")) == 2


def test_a_copy_beside_a_file_of_rejects_is_not_counted_when_the_catalog_is_made_anew(
    tmp_path: Path,
) -> None:
    lines = [trade("AAPL", instant(SESSION)), trade("AAPL", instant(SESSION), 2, price=-1)]
    made = make(tmp_path, {day_key("trades", SESSION): lines})
    made.update("trades")
    asked = "select rows_published, rows_rejected from source_files"
    assert made.sql(asked) == [(1, 1)]
    (path,) = made.layout.rejects.rglob("*.parquet")
    shutil.copy(path, path.with_name("copy.parquet"))
    shutil.rmtree(made.layout.ledger)
    made.layout.catalog.unlink()

    made.repair()

    assert made.sql(asked) == [(1, 1)]


UNREAD = {
    "a partition": "cache/trades/AAPL/2024_01.parquet",
    "the folder of a symbol": "cache/trades/AAPL",
    "a page of the ledger": "ledger/trades/2024_01.parquet",
    "a page of the history": "history/runs",
}


@pytest.mark.parametrize("command", [["update", "trades"], ["verify", "--repair"]])
@pytest.mark.parametrize("what", UNREAD)
def test_no_catalog_is_made_of_the_files_that_happen_to_be_readable(
    what: str, command: list[str], made: Made
) -> None:
    # Its rows would be missing in each answer from then on, though the file is sound.
    shutil.rmtree(made.layout.raw)
    shutil.rmtree(made.source)
    made.source.mkdir()
    before = made.sql("select count(*) from runs")
    made.layout.catalog.unlink()
    with refused(made.layout.data / UNREAD[what]):
        done = CliRunner().invoke(cli, ["-C", str(made.root), *command])
    assert done.exit_code == 2
    assert re.search(r"Error: .*cannot be read: Permission denied\n", done.output)
    assert "Traceback" not in done.output
    assert not made.layout.catalog.exists()
    made.repair()
    assert made.sql("select count(*) from trades") == [(1,)]
    assert made.sql("select count(*) from runs") > before


@pytest.mark.parametrize("name", ["lost+found", ".Trashes", "System Volume Information"])
def test_what_a_disk_keeps_for_itself_does_not_keep_the_catalog_from_being_made(
    name: str, made: Made
) -> None:
    """The cache, or what it holds of a data type, may be a disk; such a folder of it is root's."""
    before = made.sql("select count(*) from runs")
    tops = ["cache", "cache/trades", "rejects", "rejects/trades"]
    kept = [made.layout.data / top / name for top in tops]
    for folder in kept:
        folder.mkdir(parents=True, exist_ok=True)
    made.layout.catalog.unlink()
    with refused(*kept):
        done = CliRunner().invoke(cli, ["-C", str(made.root), "update", "trades"])
        assert done.exit_code == 0, done.output
        assert made.verify().faults == []
    assert made.sql("select count(*) from trades") == [(1,)]
    assert made.sql("select count(*) from runs") > before


EARLIER = date(2024, 1, 30)


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two symbols on two days, of trades in a file each, of day bars together."""
    days = (EARLIER, SESSION)
    files: dict[str, object] = {
        day_key("trades", day): [trade("AAPL", instant(day)), trade("MSFT", instant(day))]
        for day in days
    }
    files |= {day_key("day_aggs", day): [bar("AAPL", instant(day, "00:00"))] for day in days}
    made = make(tmp_path_factory.mktemp("lost-rows"), files)
    made.update("trades", "day_aggs")
    keep(made)
    return made


LOST = {
    "all partitions, all manifests and the catalog": ["cache", "manifests", "warehouse.duckdb"],
    "a partition of one symbol and the catalog": ["cache/trades/AAPL", "warehouse.duckdb"],
    "a partition of all symbols and the catalog": ["cache/day_aggs", "warehouse.duckdb"],
    "a partition and the manifests": ["cache/trades/MSFT", "manifests"],
}


@pytest.mark.parametrize("is_raw_here", [True, False], ids=["raw here", "raw gone"])
@pytest.mark.parametrize("what", LOST)
def test_an_update_brings_rows_back_that_were_lost_with_the_catalog_and_says_so(
    what: str, is_raw_here: bool, two_days: Made
) -> None:
    made = two_days
    put_back(made)
    before = made.digests()
    _lose(made, LOST[what])
    if not is_raw_here:
        shutil.rmtree(made.layout.raw)
    done = _update(made)
    assert re.search(r"rows of \d files that were published are in no partition any more", done)
    assert made.digests() == before
    # Raw files that were taken away, and of which nothing was lost, are not fetched.
    assert [fault for fault in made.verify().faults if fault.kind != "raw"] == []


def test_rows_that_cannot_be_had_again_are_told_by_each_update_and_by_answers(
    two_days: Made,
) -> None:
    made = two_days
    put_back(made)
    at_the_source = made.source / day_key("trades", EARLIER)
    kept = at_the_source.read_bytes()
    at_the_source.unlink()
    shutil.rmtree(made.layout.raw)
    _lose(made, ["cache/trades/AAPL", "warehouse.duckdb"])
    try:
        for _ in range(2):
            assert "lost       trades 2024-01-30: rows that were published" in _update(made, 1)
        with Warehouse(made.root) as wh:
            assert len(wh.trades("AAPL", SESSION)) == 1
            assert len(wh.trades("MSFT", EARLIER)) == 1
            for ask in (
                lambda: wh.trades("AAPL", EARLIER),
                lambda: wh.trades("*", EARLIER),
            ):
                with pytest.raises(NoDataError, match=r"not here: 2024-01-30 \(.*rows of it are"):
                    ask()
            told = wh.coverage("trades", ["AAPL", "MSFT"], EARLIER, EARLIER)
            assert list(told["state"]) == ["rows_lost", "present"]
        done = CliRunner().invoke(cli, ["-C", str(made.root), "status"])
        assert "lost       trades 2024-01-30: 2 rows of it were published, its" in done.output
        assert "all there  no." in done.output
        assert "no trades" not in done.output.split("right  ")[0]
        problems = [fault.problem for fault in made.verify().faults]
        assert "2 rows of it were published, its partitions have 1" in problems
    finally:
        at_the_source.write_bytes(kept)
    _update(made)
    assert made.sql("select count(*) from trades") == [(4,)]


def test_a_repair_brings_rows_back_that_were_lost_with_the_catalog(two_days: Made) -> None:
    made = two_days
    put_back(made)
    before = made.digests()
    _lose(made, LOST["a partition of one symbol and the catalog"])
    assert not made.repair().left
    assert made.digests() == before


def test_what_an_update_of_some_symbols_leaves_of_a_loss_is_told_the_update_that_mends_it(
    two_days: Made,
) -> None:
    made = two_days
    put_back(made)
    before = made.digests()
    _lose(made, LOST["a partition of one symbol and the catalog"])
    made.pipeline.update(Request.of(("trades",), EARLIER, SESSION, ["AAPL"]))
    for command in (["verify"], ["verify", "--repair"]):
        done = CliRunner().invoke(cli, ["-C", str(made.root), *command])
        assert "update, without --symbols: it reads whole what was" in done.output, done.output
        assert "verify --repair" not in done.output
    made.update()
    assert not made.verify().faults
    assert made.digests() == before


@pytest.fixture
def of_two_versions(two_days: Made) -> Iterator[Made]:
    """Of one symbol rows of the later version of a file, of the other those of the first."""
    put_back(two_days)
    later = [trade("AAPL", instant(SESSION), price=9), trade("MSFT", instant(SESSION), price=9)]
    two_days.put(day_key("trades", SESSION), later)
    try:
        two_days.pipeline.update(Request.of(("trades",), EARLIER, SESSION, ["AAPL"]))
        yield two_days
    finally:
        put_back(two_days)


def test_a_catalog_alone_that_is_made_anew_has_lost_no_rows(of_two_versions: Made) -> None:
    """Nor where some symbols alone were read, or a later version of some alone."""
    made = of_two_versions
    states = made.sql("select source, state from source_files order by all")
    made.layout.catalog.unlink()
    made.rebuild("day_aggs")
    assert made.sql("select source, state from source_files order by all") == states


def test_of_files_that_no_ledger_tells_of_no_rows_are_called_lost(of_two_versions: Made) -> None:
    made = of_two_versions
    _lose(made, ["ledger", "warehouse.duckdb"])
    made.rebuild("day_aggs")
    assert made.sql("select distinct state from source_files") == [("ingested",)]


def test_a_dry_run_fails_only_for_lost_rows_that_no_run_would_read_and_names_them(
    two_days: Made,
) -> None:
    made = two_days
    put_back(made)
    _lose(made, ["cache/trades/AAPL", "warehouse.duckdb"])
    made.rebuild("day_aggs")
    asked = ["-C", str(made.root), "update", "trades", "--dry-run"]
    done = CliRunner().invoke(cli, [*asked, "--start", f"{EARLIER}", "--end", f"{SESSION}"])
    assert (done.exit_code, "would read 2 files" in done.output) == (0, True)
    assert "lost" not in done.output
    shutil.rmtree(made.layout.raw)
    at_the_source = made.source / day_key("trades", EARLIER)
    kept = at_the_source.read_bytes()
    at_the_source.unlink()
    try:
        done = CliRunner().invoke(cli, asked)
        assert done.exit_code == 1
        assert "lost: trades 2024-01-30: rows that were published" in done.output
    finally:
        at_the_source.write_bytes(kept)


def _lose(made: Made, names: list[str]) -> None:
    for name in names:
        path = made.layout.data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _update(made: Made, exit_code: int = 0) -> str:
    asked = ["update", "trades", "day_aggs", "--start", f"{EARLIER}", "--end", f"{SESSION}"]
    if exit_code:
        # Of days that are asked for by name the source's lack is told as well.
        asked = ["update", "trades", "day_aggs"]
    done = CliRunner().invoke(cli, ["-C", str(made.root), *asked])
    assert done.exit_code == exit_code, done.output
    return done.output
