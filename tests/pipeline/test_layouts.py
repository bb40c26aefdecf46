"""A day's file of all symbols and a symbol's own file: who brings a session's rows, and who did."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from building import SESSION, Made, bar, day_key, instant, symbol_key, trade

from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.maintenance.verify import VerifyReport

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
