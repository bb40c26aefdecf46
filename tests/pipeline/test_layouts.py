"""A day's file of all symbols and a symbol's own file: who brings a session's rows, and who did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date

import duckdb
import pytest
from building import SESSION, Made, bar, day_key, instant, symbol_key, trade

from warehouse import Warehouse
from warehouse.cli.render.run import run_lines
from warehouse.core.paths import RawFile, parse_key
from warehouse.core.request import Request
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.maintenance.verify import VerifyReport
from warehouse.report.status import status

MakeWarehouse = Callable[..., Made]
DAYS = (date(2024, 1, 29), date(2024, 1, 30), SESSION)


def trades(*symbols: str, rows: int = 3, price: int = 1) -> list[str]:
    start = instant(SESSION)
    return [trade(s, start + n, n, price=price) for s in symbols for n in range(1, rows + 1)]


def prices(made: Made, data_type: str = "trades") -> dict[str, set[float]]:
    found: dict[str, set[float]] = {}
    column = "price" if data_type == "trades" else "volume"
    for row in made.table(data_type).to_pylist():
        found.setdefault(row["symbol"], set()).add(row[column])
    return found


def faults(report: VerifyReport) -> list[str]:
    return [f"{fault.kind}: {fault.problem}" for fault in report.faults]


def counts(made: Made) -> dict[str, tuple[int, int, int]]:
    """By source: rows published, rejected and left out."""
    rows = made.sql(
        "select source, rows_published, rows_rejected, rows_unselected from source_files"
    )
    return {source: tuple(numbers) for source, *numbers in rows}  # type: ignore[misc]


def test_a_symbols_own_file_takes_over_its_rows_and_leaves_those_of_others(
    make_warehouse: MakeWarehouse,
) -> None:
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    made = make_warehouse({whole: trades("A", "B")})
    made.update("trades")
    made.put(own, trades("A", rows=2, price=2))
    made.configure(source__layout="symbol")

    made.update("trades")

    assert prices(made) == {"A": {2.0}, "B": {1.0}}
    assert counts(made) == {whole: (3, 0, 3), own: (2, 0, 0)}
    assert faults(made.verify()) == []
    repaired = made.repair()
    assert (repaired.mended, repaired.left) == ([], [])
    made.check_catalog()


def test_a_days_file_takes_over_what_it_has_and_leaves_the_symbols_that_it_has_not(
    make_warehouse: MakeWarehouse,
) -> None:
    whole = day_key("trades", SESSION)
    owns = {symbol: symbol_key("trades", SESSION, symbol) for symbol in "AC"}
    files = {key: trades(symbol, price=2) for symbol, key in owns.items()}
    made = make_warehouse(files, source__layout="symbol")
    made.update("trades")
    made.put(whole, trades("A", "B"))
    made.configure(source__layout="day")

    made.update("trades")

    assert prices(made) == {"A": {1.0}, "B": {1.0}, "C": {2.0}}
    assert counts(made) == {whole: (6, 0, 0), owns["A"]: (0, 0, 3), owns["C"]: (3, 0, 0)}
    assert faults(made.verify()) == []

    made.put(whole, trades("B"))
    made.update("trades")

    assert prices(made) == {"B": {1.0}, "C": {2.0}}
    assert faults(made.verify()) == []


@pytest.mark.parametrize("layout", ["day", "symbol"])
def test_raw_files_of_the_other_layout_that_were_never_read_are_told(
    make_warehouse: MakeWarehouse, layout: str
) -> None:
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "C")
    mine, other = (whole, own) if layout == "day" else (own, whole)
    others = "symbol" if layout == "day" else "day"
    made = make_warehouse({mine: trades("C")}, source__layout=layout)
    made.update("trades")
    raw = parse_key(other)
    assert raw is not None
    path = made.layout.raw_file(raw)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(made.layout.raw_file(next(iter(made.layout.raw_files()))), path)

    request = Request.of(["trades"])
    ingest = made.ingest("trades")
    said = "\n".join(run_lines(ingest, request, "warehouse"))
    assert ingest.other_layout == made.rebuild("trades").other_layout == [raw]
    assert said.startswith(f"nothing new: all raw files of source.layout {layout} of trades are")
    assert f"not read   1 raw file of source.layout {others}: trades {SESSION}" in said
    of_another = made.pipeline.ingest(Request.of(["trades"], symbols=["D"])).other_layout
    assert of_another == ([] if layout == "day" else [raw])


def test_raw_files_that_brought_rows_before_the_layout_was_another_are_not_told(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", SESSION): trades("A", "B")})
    made.update("trades")
    made.put(symbol_key("trades", SESSION, "A"), trades("A"))
    made.configure(source__layout="symbol")

    assert made.update("trades").other_layout == []


def test_a_symbols_month_of_day_bars_leaves_the_sessions_that_it_has_not(
    make_warehouse: MakeWarehouse,
) -> None:
    files = {
        day_key("day_aggs", day): [bar(s, instant(day, "00:00")) for s in "AB"] for day in DAYS
    }
    made = make_warehouse(files)
    made.update("day_aggs")
    own = symbol_key("day_aggs", SESSION, "A")
    made.put(own, [bar("A", instant(day, "00:00"), volume=7) for day in DAYS[:2]])
    made.configure(source__layout="symbol")

    made.update("day_aggs")

    rows = [(r["symbol"], r["session"], r["volume"]) for r in made.table("day_aggs").to_pylist()]
    of_a = [("A", day, volume) for day, volume in zip(DAYS, (7, 7, 100), strict=True)]
    assert rows == of_a + [("B", day, 100) for day in DAYS]
    assert [counts(made)[key][0] for key in [*files, own]] == [1, 1, 2, 2]
    assert faults(made.verify()) == []


def test_a_change_of_layout_and_back_ends_with_every_row_counted_once(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", SESSION): trades("A", "B")})
    for symbol in "AB":
        made.put(symbol_key("trades", SESSION, symbol), trades(symbol, price=2))
    for layout, price in (("day", 1), ("symbol", 2), ("day", 1), ("symbol", 2)):
        made.configure(source__layout=layout)
        made.update("trades")
        made.rebuild("trades")

        assert prices(made) == {"A": {price}, "B": {price}}
        assert sum(published for published, _, _ in counts(made).values()) == 6
        assert faults(made.verify()) == []


@pytest.mark.parametrize("is_raw_kept", [True, False])
@pytest.mark.parametrize("first", ["day", "symbol"])
def test_an_update_takes_back_what_the_other_layout_brought_once_its_own_is_configured_again(
    make_warehouse: MakeWarehouse, first: str, is_raw_kept: bool
) -> None:
    """The files are known, and none is new: who brings the rows is what has changed."""
    files = {day_key("trades", SESSION): trades("A", "B")}
    files |= {symbol_key("trades", SESSION, s): trades(s, price=2) for s in "AB"}
    price = {"day": 1.0, "symbol": 2.0}
    made = make_warehouse(files, source__layout=first)
    made.update("trades")
    other = "symbol" if first == "day" else "day"
    made.configure(source__layout=other)
    made.update("trades")
    made.configure(source__layout=first)
    if not is_raw_kept:
        shutil.rmtree(made.root / "data/raw")

    report = made.update("trades")

    assert prices(made) == {"A": {price[first]}, "B": {price[first]}}
    assert sum(published for published, _, _ in counts(made).values()) == 6
    assert len(report.download.fetch) == (0 if is_raw_kept else len(report.files))
    assert faults(made.verify()) == [] or not is_raw_kept
    assert made.update("trades").files == []
    assert made.ingest("trades").files == []


def test_what_was_taken_over_comes_back_for_the_symbols_that_are_asked_for(
    make_warehouse: MakeWarehouse,
) -> None:
    whole = day_key("trades", SESSION)
    files = {whole: trades("A", "B", "C")}
    files |= {symbol_key("trades", SESSION, s): trades(s, price=2) for s in "AB"}
    made = make_warehouse(files, source__symbols=["A", "B"])
    made.update("trades")
    made.configure(source__layout="symbol")
    made.update("trades")
    made.configure(source__layout="day")

    made.pipeline.update(Request.of(["trades"], SESSION, SESSION, symbols=["A"]))
    assert prices(made) == {"A": {1.0}, "B": {2.0}}
    assert made.pipeline.update(Request.of(["trades"], SESSION, SESSION, symbols=["A"])).files == []
    assert faults(made.verify()) == []

    made.configure(source__symbols=["A"])
    assert made.update("trades").files == []
    made.configure(source__symbols=["A", "B"])
    made.update("trades")
    assert prices(made) == {"A": {1.0}, "B": {1.0}}
    assert counts(made)[whole] == (6, 0, 3)
    assert faults(made.verify()) == []
    assert made.update("trades").files == []


def test_a_symbol_that_the_other_layout_alone_has_is_asked_for_once(
    make_warehouse: MakeWarehouse,
) -> None:
    files = {day_key("trades", SESSION): trades("A")}
    files |= {symbol_key("trades", SESSION, s): trades(s, price=2) for s in "AC"}
    made = make_warehouse(files)
    made.update("trades")
    for layout in ("symbol", "day"):
        made.configure(source__layout=layout)
        made.update("trades")

    assert prices(made) == {"A": {1.0}, "C": {2.0}}
    assert made.update("trades").files == []


def test_a_catalog_of_the_version_before_tells_who_was_taken_over(
    make_warehouse: MakeWarehouse,
) -> None:
    files = {day_key("trades", SESSION): trades("A", "B")}
    files |= {symbol_key("trades", SESSION, s): trades(s, price=2) for s in "AB"}
    made = make_warehouse(files)
    for layout in ("day", "symbol"):
        made.configure(source__layout=layout)
        made.update("trades")
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("alter table source_files drop column rows_taken_over")
    with Warehouse(made.root) as wh:
        assert set(wh.trades("A", SESSION)["price"]) == {2.0}
    made.configure(source__layout="day")

    made.update("trades")

    assert prices(made) == {"A": {1.0}, "B": {1.0}}
    assert made.update("trades").files == []


def test_kept_bars_of_a_session_of_both_layouts_files_are_verified_and_outlive_the_catalog(
    make_warehouse: MakeWarehouse,
) -> None:
    """In a file of all symbols each one's bars are of the file that its trades came from."""
    files = {day_key("trades", SESSION): trades("A", "B", "C")}
    files |= {symbol_key("trades", SESSION, s): trades(s, price=2) for s in "AB"}
    places = dict.fromkeys(("trades", "bars"), "market")
    made = make_warehouse(files, bars__keep=["1m"], storage__layout=places)
    for layout in ("day", "symbol"):
        made.configure(source__layout=layout)
        made.update("trades")
    assert faults(made.verify()) == []
    before = made.digests()

    made.layout.catalog.unlink()
    assert made.repair().left == []

    assert faults(made.verify()) == []
    assert made.update("trades").bars == []
    assert made.digests() == before


def test_what_is_to_come_back_is_told_before_it_does(make_warehouse: MakeWarehouse) -> None:
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    files = {whole: trades("A"), own: trades("A", price=2)}
    made = make_warehouse(files)
    for layout in ("day", "symbol"):
        made.configure(source__layout=layout)
        made.update("trades")
    told = status(made.layout, made.config)
    assert told.waiting == []
    assert "6 read = 3 published + 0 rejected + 3 left out." in told.facts.right.text
    made.configure(source__layout="day")

    assert status(made.layout, made.config).waiting == [RawFile("trades", SESSION)]
    reasons = rebuild_changed(made.pipeline, Request.of(["trades"]), dry_run=True).reasons
    assert list(reasons) == ["source.layout is day, and files of the other bring its rows"]
    rebuild_changed(made.pipeline, Request.of(["trades"]))
    assert prices(made) == {"A": {1.0}}
    assert status(made.layout, made.config).waiting == []


def test_a_warehouse_that_counts_rows_twice_is_mended_once(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before this one left it: who took over said nothing of whom from."""
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    made = make_warehouse({whole: trades("A", "B")})
    made.update("trades")
    made.put(own, trades("A", rows=2, price=2))
    made.configure(source__layout="symbol")
    monkeypatch.setattr("warehouse.pipeline.records.taken_over", lambda *_: [])
    made.update("trades")
    monkeypatch.undo()
    assert [fault.kind for fault in made.verify().faults] == ["rows"]

    repaired = made.repair()

    assert [fault.kind for fault in repaired.mended] == ["rows"]
    assert repaired.left == []
    assert faults(made.verify()) == []
    assert prices(made) == {"A": {2.0}, "B": {1.0}}
    assert counts(made) == {whole: (3, 0, 3), own: (2, 0, 0)}
    assert made.table("trades").num_rows == 5


def test_a_fault_that_comes_up_in_mending_is_told(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    made = make_warehouse({whole: trades("A", "B")})
    made.update("trades")
    made.put(own, trades("A", rows=2, price=2))
    made.configure(source__layout="symbol")
    made.update("trades")
    # The source has another version of what is damaged here: that one takes over.
    made.configure(source__layout="day")
    made.put(whole, trades("A", "B", price=3))
    made.layout.raw_file(RawFile("trades", SESSION)).write_bytes(b"damaged")
    monkeypatch.setattr("warehouse.pipeline.records.taken_over", lambda *_: [])

    repaired = made.repair()

    assert [fault.kind for fault, _ in repaired.left] == ["rows"]


def test_two_files_of_one_batch_that_have_the_same_rows_bring_them_once(
    make_warehouse: MakeWarehouse,
) -> None:
    """A repair reads whatever files the partitions of a month came from together."""
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    made = make_warehouse({whole: trades("A", "B")})
    made.update("trades")
    made.put(own, trades("A", price=2))
    made.configure(source__layout="symbol")
    made.update("trades")
    for name, path in made.partitions().items():
        assert name.startswith("trades/")
        path.write_bytes(b"damaged")

    repaired = made.repair()

    assert repaired.left == []
    assert prices(made) == {"A": {2.0}, "B": {1.0}}
    assert faults(made.verify()) == []


def change_cleaning(made: Made, data_type: str) -> None:
    """Have everything that was made before be stale."""
    path = made.root / f"sql/clean/{data_type}.sql"
    text = path.read_text("utf-8")
    path.write_text(text.replace("when", "when false then 'never' when", 1), "utf-8")


@pytest.mark.parametrize("first", ["day", "symbol"])
def test_a_file_that_another_took_over_takes_nothing_back_when_its_sql_has_changed(
    make_warehouse: MakeWarehouse, first: str
) -> None:
    """It alone was made by the SQL before: who took over was read by that of now."""
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    files = {whole: trades("A"), own: trades("A", rows=2, price=2)}
    made = make_warehouse(files, source__layout=first)
    made.update("trades")
    change_cleaning(made, "trades")
    made.configure(source__layout="symbol" if first == "day" else "day")
    made.update("trades")
    before, rows = prices(made), counts(made)

    changed = rebuild_changed(made.pipeline, Request.of(["trades"]))

    assert [file.key for file in changed.files] == [whole if first == "day" else own]
    assert prices(made) == before
    assert counts(made) == rows
    assert faults(made.verify()) == []


def test_a_month_of_which_a_day_was_taken_over_takes_back_no_session_of_it(
    make_warehouse: MakeWarehouse,
) -> None:
    own = symbol_key("day_aggs", SESSION, "A")
    bars = [bar("A", instant(day, "00:00"), volume=7) for day in DAYS]
    made = make_warehouse({own: bars}, source__layout="symbol")
    made.update("day_aggs")
    change_cleaning(made, "day_aggs")
    made.put(day_key("day_aggs", DAYS[1]), [bar("A", instant(DAYS[1], "00:00"))])
    made.configure(source__layout="day")
    made.update("day_aggs")

    rebuild_changed(made.pipeline, Request.of(["day_aggs"]))

    found = [(row["session"], row["volume"]) for row in made.table("day_aggs").to_pylist()]
    assert found == list(zip(DAYS, (7, 100, 7), strict=True))
    assert counts(made)[own] == (2, 0, 1)
    assert faults(made.verify()) == []


@pytest.mark.parametrize("selected", [(), ("A", "B")])
@pytest.mark.parametrize("first", ["day", "symbol"])
def test_files_of_several_selections_are_made_anew_and_none_takes_back(
    make_warehouse: MakeWarehouse, first: str, selected: tuple[str, ...]
) -> None:
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    files = {whole: trades("A", "B"), own: trades("A", rows=2, price=2)}
    made = make_warehouse(files, source__layout=first, source__symbols=list(selected))
    made.update("trades")
    other = "symbol" if first == "day" else "day"
    made.configure(source__layout=other, source__symbols=[] if selected else ["A"])
    made.update("trades")
    before, rows = prices(made), counts(made)
    change_cleaning(made, "trades")

    rebuild_changed(made.pipeline, Request.of(["trades"]))

    assert prices(made) == before
    assert counts(made) == rows
    assert faults(made.verify()) == []


@pytest.mark.parametrize("first", ["day", "symbol"])
def test_a_repair_of_rejects_takes_over_no_rows(make_warehouse: MakeWarehouse, first: str) -> None:
    bad = [trade("A", instant(SESSION), 9, price=-1)]
    whole, own = day_key("trades", SESSION), symbol_key("trades", SESSION, "A")
    files = {whole: trades("A") + bad, own: trades("A", rows=2, price=2) + bad}
    made = make_warehouse(files, source__layout=first)
    made.update("trades")
    made.configure(source__layout="symbol" if first == "day" else "day")
    made.update("trades")
    before, rows = prices(made), counts(made)
    for path in (made.root / "data/rejects").glob("*/*/*.parquet"):
        path.write_bytes(b"damaged")

    repaired = made.repair()

    assert [fault.kind for fault in repaired.mended] == ["rejects", "rejects"]
    assert prices(made) == before
    assert counts(made) == rows
    assert faults(made.verify()) == []
