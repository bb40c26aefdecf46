"""Coverage says of every session and symbol asked for whether it is there, and why not."""

import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import duckdb
import pandas as pd
import pytest
from building import Made, MakeWarehouse, add_partitions, bar, day_key, instant, symbol_key, trade

from warehouse import Warehouse
from warehouse.core import calendar
from warehouse.core.calendar import trading_days
from warehouse.core.paths import RawFile
from warehouse.errors import CorruptPartitionError, NoDataError, RequestError
from warehouse.read.coverage import STATES, coverage_report

# A Friday to the Friday after, with a holiday on the first Monday.
DAYS = trading_days(date(2024, 1, 12), date(2024, 1, 19))


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    """Of five sessions: two ingested, one damaged, one that the vendor lacks, one never fetched."""
    made = make_warehouse(
        {
            day_key("trades", DAYS[0]): [
                *(trade("AAPL", instant(DAYS[0], "10:00", n), n) for n in range(1, 4)),
                trade("MSFT", instant(DAYS[0])),
            ],
            day_key("trades", DAYS[1]): [trade("AAPL", instant(DAYS[1]))],
            day_key("trades", DAYS[2]): b"this is no gzip",
        }
    )
    made.update("trades", start=DAYS[0], end=DAYS[3])
    return made


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


def states(frame: pd.DataFrame) -> dict[tuple[str, date], str]:
    days = frame["session"].dt.date
    return dict(zip(zip(frame["symbol"], days, strict=True), frame["state"], strict=True))


@pytest.mark.parametrize("state", ["gone", "a folder", "damaged"])
def test_rejects_that_cannot_be_read_are_named_where_a_symbol_has_no_rows(
    make_warehouse: MakeWarehouse, state: str
) -> None:
    day, before = DAYS[1], DAYS[0]
    made = make_warehouse(
        {
            day_key("trades", one): [
                trade("AAPL", instant(one)),
                trade("MSFT", instant(one), price=0),
            ]
            for one in (before, day)
        }
    )
    made.update("trades", start=before, end=day)
    path = made.layout.rejects_of(RawFile("trades", day))
    size = path.stat().st_size
    path.unlink()
    if state == "a folder":
        path.mkdir()
    elif state == "damaged":
        path.write_bytes(b"x" * size)
    with Warehouse(made.root) as wh:
        # Its rows would count as never traded.
        for ask in (wh.coverage, wh.load):
            with pytest.raises(CorruptPartitionError, match="verify --repair") as caught:
                ask("trades", "MSFT", before, day)
            assert caught.value.path == path
            assert "\n" not in str(caught.value)
        assert len(wh.load("trades", "AAPL", before, day)) == 2


def test_a_window_without_rows_is_empty_though_others_of_its_session_were_rejected(
    make_warehouse: MakeWarehouse,
) -> None:
    day = DAYS[0]
    refused = trade("AAPL", instant(day, "12:00"), 2, price=-1)
    made = make_warehouse({day_key("trades", day): [trade("AAPL", instant(day)), refused]})
    made.update("trades", start=day, end=day)
    with Warehouse(made.root) as wh:
        # Before the first row of all, after the last, and where the one that was refused would be.
        for start, end in (("04:00", "05:00"), ("18:00", "19:00"), ("11:59", "12:01")):
            assert wh.trades("AAPL", f"{day} {start}", f"{day} {end}").empty


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_session_whose_rows_were_all_rejected_is_no_empty_market(
    layout: str, make_warehouse: MakeWarehouse
) -> None:
    first, late = DAYS[0], DAYS[1]
    made = make_warehouse(
        {
            day_key("day_aggs", first): [bar("AAPL", instant(late, "00:00"))] * 2,
            day_key("day_aggs", late): [bar("AAPL", instant(late, "00:00"))],
        },
        storage__layout={"day_aggs": layout},
    )
    made.update("day_aggs", start=first, end=late)
    with Warehouse(made.root) as wh:
        questions = [
            lambda **how: wh.load("day_aggs", "*", first, **how),
            lambda **how: wh.panel("day_aggs", "close", first, **how),
        ]
        for ask in questions:
            with pytest.raises(NoDataError, match=r"all rows were rejected: 2 of 2024-01-12; see"):
                ask()
            assert len(ask(missing="ignore")) == 0
        with pytest.raises(NoDataError, match="all rows were rejected"):
            wh.cross_section("day_aggs", first)
        assert len(wh.load("day_aggs", "*", late)) == 1
        # A range has its other rows.
        assert len(wh.load("day_aggs", "*", first, late)) == 1


@pytest.mark.parametrize("layout", ["symbol", "market"])
@pytest.mark.parametrize(
    "broken",
    [
        lambda line: f"{line},",
        lambda line: line.rpartition(",")[0],
        lambda line: line.replace("MSFT,,", 'MSFT, "12",'),
        lambda line: line.replace("MSFT", '"MSFT"') + ",9",
    ],
    ids=["a comma too many", "a field too few", "a blank before a quote", "quoted"],
)
def test_a_symbol_of_which_no_line_is_a_row_is_no_symbol_that_did_not_trade(
    broken: Callable[[str], str], layout: str, make_warehouse: MakeWarehouse
) -> None:
    first, late = DAYS[0], DAYS[1]
    whole = [trade("AAPL", instant(late)), trade("MSFT", instant(late)), trade("ZZ", instant(late))]
    made = make_warehouse(
        {
            day_key("trades", first): [
                trade("AAPL", instant(first)),
                trade("MSFT", instant(first)),
            ],
            day_key("trades", late): [whole[0], *map(broken, whole[1:])],
        },
        storage__layout={"trades": layout},
    )
    made.update("trades", start=first, end=late)
    # Of ZZ there never was a row, nor a line where the blank is put before a quote of MSFT's.
    lines = {"MSFT", "ZZ"} if broken(whole[2]) != whole[2] else {"MSFT"}
    with Warehouse(made.root) as wh:
        frame = wh.coverage("trades", ["AAPL", "MSFT", "NONE"], late)
        assert states(frame) == {
            ("AAPL", late): "present",
            ("MSFT", late): "rejected",
            ("NONE", late): "unknown",
        }
        assert frame["problem"].dropna().tolist() == ["1 row rejected: malformed_line 1"]
        for symbol in sorted(lines):
            for ask in (wh.trades, wh.bars):
                with pytest.raises(NoDataError, match=f"all rows were rejected: 1 of '{symbol}'"):
                    ask(symbol, late)
        assert len(wh.trades("MSFT", first, late)) == 1


def test_rows_that_were_all_rejected_are_no_day_without_trades(
    make_warehouse: MakeWarehouse,
) -> None:
    first, late = DAYS[0], DAYS[1]
    made = make_warehouse(
        {
            # Day bars that are stamped a day late, and a symbol that has no others.
            day_key("day_aggs", first): [
                bar("AAPL", instant(first, "00:00")), bar("MSFT", instant(late, "00:00")),
                bar("ZZ", instant(late, "00:00")),
            ],
            day_key("day_aggs", late): [
                bar("AAPL", instant(late, "00:00")), bar("MSFT", instant(late, "00:00")),
            ],
            day_key("trades", first): [trade("AAPL", instant(first)), trade("NA", instant(first))],
        }
    )  # fmt: skip
    made.update("day_aggs", "trades", start=first, end=late)
    with Warehouse(made.root) as wh:
        frame = wh.coverage("day_aggs", ["AAPL", "MSFT", "ZZ", "NA"], first, late)
        assert states(frame) == {
            ("AAPL", first): "present",
            ("MSFT", first): "rejected",
            ("ZZ", first): "rejected",
            ("NA", first): "no_rows",
            ("AAPL", late): "present",
            ("MSFT", late): "present",
            ("ZZ", late): "unknown",
            ("NA", late): "no_rows",
        }
        (problem,) = frame.loc[frame["state"] == "rejected", "problem"].unique()
        assert problem == "1 row rejected: outside_session 1"
        assert "all its rows were rejected: 2" in coverage_report(frame)
        for span in ((first,), (f"{first} 00:00", f"{first} 16:00")):
            with pytest.raises(NoDataError, match=r"rejected: 1 of 'MSFT' on 2024-01-12 \(outside"):
                wh.aggs(["AAPL", "MSFT"], *span, freq="day")
        assert len(wh.aggs("MSFT", first, freq="day", missing="ignore")) == 0
        # A range has its other rows.
        assert len(wh.aggs("MSFT", first, late, freq="day")) == 1
        with pytest.raises(NoDataError, match="rejected: 1 of 'ZZ' on 2024-01-12"):
            wh.aggs("ZZ", first, freq="day")
        with pytest.raises(NoDataError, match="no symbol 'ZY' in"):
            wh.aggs(["ZZ", "ZY"], first, freq="day")


def test_every_session_and_symbol_has_its_state_and_holidays_have_no_row(wh: Warehouse) -> None:
    frame = wh.coverage("trades", ["MSFT", "AAPL"], "2024-01-12", "2024-01-19")
    assert len(DAYS) == 5
    assert list(frame.columns) == ["data_type", "session", "symbol", "state", "rows", "problem"]
    assert states(frame) == {
        ("AAPL", DAYS[0]): "present",
        ("MSFT", DAYS[0]): "present",
        ("AAPL", DAYS[1]): "present",
        ("MSFT", DAYS[1]): "no_rows",
        **{(symbol, DAYS[2]): "set_aside" for symbol in ("AAPL", "MSFT")},
        **{(symbol, DAYS[3]): "missing" for symbol in ("AAPL", "MSFT")},
        **{(symbol, DAYS[4]): "not_ingested" for symbol in ("AAPL", "MSFT")},
    }
    assert list(frame["symbol"][:2]) == ["MSFT", "AAPL"]
    assert list(frame["session"].dt.date) == sorted(DAYS * 2)
    assert list(frame.loc[frame["state"] == "present", "rows"]) == [1, 3, 1]
    assert (frame.loc[frame["state"] != "present", "rows"] == 0).all()
    said = frame["problem"].notna()
    assert set(frame.loc[said, "state"]) == {"set_aside"}
    assert frame.loc[said, "problem"].str.contains("gzip").all()
    assert set(frame["state"]) <= set(STATES)


def test_what_is_present_is_just_what_can_be_loaded(wh: Warehouse) -> None:
    frame = wh.coverage(["trades", "quotes"], ["AAPL", "MSFT"], DAYS[0], DAYS[-1])
    for row in frame.itertuples():
        day = row.session.date()
        loaded = wh.load(row.data_type, row.symbol, day, day, missing="ignore")
        assert len(loaded) == row.rows
        is_ingested = row.state in ("present", "no_rows")
        if is_ingested:
            wh.load(row.data_type, row.symbol, day, day)
        else:
            with pytest.raises(NoDataError):
                wh.load(row.data_type, row.symbol, day, day)


def test_what_cannot_be_loaded_is_named_with_the_reason_that_coverage_has(wh: Warehouse) -> None:
    with pytest.raises(NoDataError) as caught:
        wh.trades("AAPL", DAYS[0], DAYS[-1])
    assert (
        f"never ingested: {DAYS[2]} (set aside), {DAYS[3]} (missing at the vendor), {DAYS[4]};"
        in str(caught.value)
    )
    today = calendar.today()
    if trading_days(today, today):
        with pytest.raises(NoDataError, match=rf"{today} \(not yet published\)"):
            wh.trades("AAPL", today)


def test_the_report_says_it_in_a_few_lines(wh: Warehouse) -> None:
    frame = wh.coverage(["trades", "quotes"], ["AAPL", "MSFT"], DAYS[0], DAYS[-1])
    assert coverage_report(frame).splitlines() == [
        "trades, 2024-01-12 to 2024-01-19: 3 of 10 present (5 sessions, 2 symbols)",
        "  no rows: 1",
        "    MSFT: 2024-01-16",
        "  not ingested: 2",
        "    all symbols: 2024-01-19",
        "  set aside: 2",
        "    all symbols: 2024-01-17",
        "  missing at the vendor: 2",
        "    all symbols: 2024-01-18",
        "quotes, 2024-01-12 to 2024-01-19: 0 of 10 present (5 sessions, 2 symbols)",
        "  not ingested: 10",
        "    all symbols: 2024-01-12, 2024-01-16, 2024-01-17, 2024-01-18 and 1 more",
    ]
    assert coverage_report(frame[frame["state"] == "present"]).count("\n") == 0
    assert coverage_report(frame[:0]) == ""


def test_a_session_of_today_is_not_yet_and_one_to_come_has_no_row(wh: Warehouse) -> None:
    today = calendar.today()
    frame = wh.coverage("trades", "AAPL", today - timedelta(days=10), today + timedelta(days=400))
    assert len(frame) >= 5
    found = states(frame)
    assert all(state == "not_ingested" for (_, day), state in found.items()
               if day < today - timedelta(days=1))  # fmt: skip
    assert found.get(("AAPL", today), "not_yet") == "not_yet"


def test_a_file_that_came_down_anew_leaves_what_was_ingested_before(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", DAYS[0]): [trade("AAPL", instant(DAYS[0]))]})
    made.update()
    made.put(day_key("trades", DAYS[0]), b"this is no gzip")
    made.update()
    with Warehouse(made.root) as wh:
        frame = wh.coverage("trades", ["AAPL", "aapl"], DAYS[0], DAYS[0])
        assert list(frame["state"]) == ["present", "unknown"]


def test_a_symbol_that_nobody_knows_is_told_those_that_are_near(wh: Warehouse) -> None:
    frame = wh.coverage("trades", ["AAPL", "aapl", "MSTF", "QQQQQQ"], DAYS[0], DAYS[0])
    told = dict(zip(frame["symbol"], frame["problem"], strict=True))
    assert (told["aapl"], told["MSTF"]) == ("near it: AAPL", "near it: MSFT")
    assert pd.isna(told["AAPL"])
    assert pd.isna(told["QQQQQQ"])
    said = coverage_report(frame)
    assert f"    aapl (near it: AAPL): {DAYS[0]}" in said
    assert f"    QQQQQQ: {DAYS[0]}" in said


def test_symbols_that_were_left_out_are_told_from_those_that_did_not_trade(
    make_warehouse: MakeWarehouse,
) -> None:
    lines = [trade("AAPL", instant(DAYS[0])), trade("MSFT", instant(DAYS[0]))]
    made = make_warehouse({day_key("trades", DAYS[0]): lines}, source__symbols=["AAPL", "NONE"])
    made.update()
    with Warehouse(made.root) as wh:
        frame = wh.coverage("trades", ["AAPL", "NONE", "MSFT"], DAYS[0], DAYS[0])
        assert list(frame["state"]) == ["present", "unknown", "not_selected"]
        with pytest.raises(NoDataError, match=r"source\.symbols leaves 'MSFT' out"):
            wh.trades(["AAPL", "MSFT"], DAYS[0])


def test_files_of_one_symbol_each_speak_for_their_symbol_and_months_for_their_sessions(
    make_warehouse: MakeWarehouse,
) -> None:
    first, second = DAYS[:2]
    files: dict[str, Any] = {
        symbol_key("trades", first, "AAPL"): [trade("AAPL", instant(first))],
        symbol_key("trades", first, "MSFT"): [trade("MSFT", instant(first))],
        symbol_key("trades", second, "AAPL"): [trade("AAPL", instant(second))],
        symbol_key("day_aggs", first, "AAPL"): [
            bar("AAPL", instant(day, "00:00")) for day in (first, second)
        ],
        symbol_key("day_aggs", first, "MSFT"): [bar("MSFT", instant(first, "00:00"))],
    }
    made = make_warehouse(files, source__layout="symbol")
    made.update(start=first, end=second)
    with Warehouse(made.root) as wh:
        frame = wh.coverage(["trades", "day_aggs"], ["AAPL", "MSFT"], first, DAYS[2])
        trades, bars = (states(part) for _, part in frame.groupby("data_type", sort=False))
        assert trades == {
            ("AAPL", first): "present",
            ("MSFT", first): "present",
            ("AAPL", second): "present",
            ("MSFT", second): "not_ingested",
            ("AAPL", DAYS[2]): "not_ingested",
            ("MSFT", DAYS[2]): "not_ingested",
        }
        assert bars == {
            ("AAPL", first): "present",
            ("MSFT", first): "present",
            ("AAPL", second): "present",
            ("MSFT", second): "no_rows",
            ("AAPL", DAYS[2]): "not_ingested",
            ("MSFT", DAYS[2]): "not_ingested",
        }


def test_what_makes_no_sense_is_refused(wh: Warehouse, make_warehouse: MakeWarehouse) -> None:
    with pytest.raises(RequestError, match="it may be trades, quotes, minute_aggs, day_aggs"):
        wh.coverage("bars", "AAPL", DAYS[0], DAYS[1])
    with pytest.raises(RequestError, match="it lies before start"):
        wh.coverage("trades", "AAPL", DAYS[1], DAYS[0])
    with pytest.raises(RequestError, match="name at least one of trades"):
        wh.coverage([], "AAPL", DAYS[0], DAYS[1])
    with Warehouse(make_warehouse().root) as empty, pytest.raises(NoDataError):
        empty.coverage("trades", "AAPL", DAYS[0], DAYS[1])


@pytest.mark.torture
def test_five_thousand_symbols_over_a_year_take_seconds(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", DAYS[0]): [trade("AAPL", instant(DAYS[0]))]})
    made.update()
    days = trading_days(date(2023, 1, 1), date(2023, 12, 31))
    add_partitions(
        made,
        """
        select
            'trades' as data_type, 'S' || number as symbol, date_trunc('month', day)::date as month,
            'trades/S' || number || strftime(month, '/%Y_%m.parquet') as file,
            count(*) as rows, 1::bigint as bytes,
            now()::timestamp_ns as first_timestamp, now()::timestamp_ns as last_timestamp,
            '' as sha256, '' as fingerprint,
            list({session: day, rows: 1::bigint, rejects: 0::bigint, source: '',
                etag: null::varchar, sha256: '', fingerprint: null::varchar} order by day)
                as sessions
        from range(5000) as numbers(number), (select unnest($days) as day)
        where (number + dayofyear(day)) % 10 > 0
        group by all
        """,
        days=list(days),
    )
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute(
            """
            insert into source_files by name
            select 'trades' as data_type, day, '' || day as source, 'ingested' as state,
                now()::timestamp as recorded_at
            from (select unnest($days) as day)
            """,
            {"days": list(days)},
        )
    with Warehouse(made.root) as wh:
        began = time.process_time()
        frame = wh.coverage("trades", [f"S{n}" for n in range(5000)], days[0], days[-1])
        assert time.process_time() - began < 15
    assert len(frame) == 5000 * len(days) == 1_250_000
    number = frame["symbol"].str.slice(1).astype("int64")
    traded = (number + frame["session"].dt.day_of_year) % 10 > 0
    assert frame["state"].eq("present").equals(traded)
    assert frame["state"].isin(("present", "no_rows")).all()


def test_a_session_of_a_symbols_own_month_of_which_all_was_rejected_is_no_session_never_ingested(
    make_warehouse: MakeWarehouse,
) -> None:
    first, late = DAYS[0], DAYS[1]
    made = make_warehouse(
        {
            symbol_key("day_aggs", first, "AAPL"): [
                bar("AAPL", instant(first, "00:00"), volume=-1),
                bar("AAPL", instant(late, "00:00")),
            ],
        },
        source__layout="symbol",
    )
    made.update("day_aggs")
    with Warehouse(made.root) as wh:
        frame = wh.coverage("day_aggs", ["AAPL", "MSFT"], first, late)
    assert states(frame) == {
        ("AAPL", first): "rejected",
        ("MSFT", first): "not_ingested",
        ("AAPL", late): "present",
        ("MSFT", late): "not_ingested",
    }


def test_a_malformed_line_of_a_symbols_own_month_is_told_of_its_session(
    make_warehouse: MakeWarehouse,
) -> None:
    first, second, third = DAYS[:3]
    made = make_warehouse(
        {
            symbol_key("day_aggs", first, "AAPL"): [
                f"{bar('AAPL', instant(first, '00:00'))},",
                bar("AAPL", instant(second, "00:00")),
                bar("AAPL", instant(third, "00:00")),
            ],
            symbol_key("day_aggs", first, "MSFT"): [
                "MSFT,100",
                bar("MSFT", instant(first, "00:00")),
                bar("MSFT", instant(second, "00:00")),
            ],
        },
        source__layout="symbol",
    )
    made.update("day_aggs")
    with Warehouse(made.root) as wh:
        frame = wh.coverage("day_aggs", ["AAPL", "MSFT"], first, third)
        with pytest.raises(NoDataError, match="all rows were rejected: 1 of 'AAPL' on"):
            wh.aggs("AAPL", first, freq="day")
    told = frame[frame["problem"].notna()].set_index(["symbol", "session"])
    assert states(frame)["AAPL", first] == "rejected"
    assert told["problem"].to_dict() == {
        ("AAPL", pd.Timestamp(first)): "1 row rejected: malformed_line 1",
        ("MSFT", pd.Timestamp(third)): (
            "1 rejected line of its month may be of any session: malformed_line 1"
        ),
    }


def test_rejects_of_a_symbols_other_months_are_not_read(make_warehouse: MakeWarehouse) -> None:
    day, later = DAYS[0], date(2024, 3, 1)
    made = make_warehouse(
        {
            symbol_key("day_aggs", each, "AAPL"): [
                bar("AAPL", instant(each, "00:00"), volume=-1),
                bar("AAPL", instant(each + timedelta(days=4), "00:00")),
            ]
            for each in (day, later)
        },
        source__layout="symbol",
    )
    made.update("day_aggs")
    found = sorted(made.layout.rejects.rglob("*.parquet"))
    assert len(found) == 2
    found[1].unlink()
    with Warehouse(made.root) as wh:
        assert states(wh.coverage("day_aggs", ["AAPL"], day, day)) == {("AAPL", day): "rejected"}
        with pytest.raises(CorruptPartitionError):
            wh.coverage("day_aggs", ["AAPL"], later, later)
