"""`Warehouse.aggs(vwap=True)`: what the vendor's bars lack is what the trades of each come to."""

from __future__ import annotations

import csv
import gzip
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from io import StringIO
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from adjusting import dividend, know, split
from building import (
    REPOSITORY,
    Made,
    MakeWarehouse,
    bar,
    csv_text,
    day_key,
    instant,
    keep,
    put_back,
    trade,
)

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import NoDataError, RequestError, SqlFileError
from warehouse.read.bars import answers as bar_answers
from warehouse.read.bars import vwap as vwaps
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO

MARKET = replace(DEMO, sessions=DEMO.sessions[1:4], symbols=DEMO.symbols[:6],
                 trades_per_session=2_500)  # fmt: skip
FIRST, HALF_DAY, LAST = MARKET.sessions
DAYS = [date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)]
LAYOUTS = ("symbol", "market")
MINUTE = 60 * 10**9
_CLOSE_ENOUGH = 4e-16
"""A quotient of two sums that are rounded once each, and itself once."""

Key = tuple[str, date, int]
"""A symbol, a session, and where a bar of it begins: nanoseconds UTC."""


def is_near(found: float | None, expected: Fraction | None) -> bool:
    """Whether it is the same number; what is not there is NaN or None."""
    if expected is None or found is None or math.isnan(found):
        return expected is None and (found is None or math.isnan(found))
    return math.isclose(found, float(expected), rel_tol=_CLOSE_ENOUGH)


def counting() -> frozenset[str]:
    """Conditions that keep a trade out of the volume."""
    with open(REPOSITORY / "config/trade_conditions.csv", encoding="utf-8", newline="") as lines:
        return frozenset(
            row["id"] for row in csv.DictReader(lines) if row["updates_volume"] == "false"
        )


def plain(files: Iterable[tuple[date, str]], freq: str) -> dict[Key, Fraction]:
    """The vwap of each window by a plain loop over the vendor's files, exact.

    Args:
        files: of trades, each with its session.
    """
    barring = counting()
    sums: dict[Key, list[Fraction]] = {}
    seen = set()
    for day, text in files:
        for row in csv.DictReader(StringIO(text)):
            identity = (*(row[name] for name in ("ticker", "sip_timestamp", "sequence_number")),
                        row["exchange"], row["id"])  # fmt: skip
            is_barred = barring.intersection(row["conditions"].split(","))
            if identity in seen or is_barred or row["correction"] not in ("0", "1"):
                continue
            seen.add(identity)
            stamp = int(row["sip_timestamp"])
            begin = instant(day, "00:00") if freq == "day" else stamp - stamp % MINUTE
            total = sums.setdefault((row["ticker"], day, begin), [Fraction(), Fraction()])
            total[0] += Fraction(row["price"]) * Fraction(row["size"])
            total[1] += Fraction(row["size"])
    return {key: dollars / shares for key, (dollars, shares) in sums.items() if shares}


def by_key(table: pa.Table) -> dict[Key, float | None]:
    stamps = table["timestamp"].cast(pa.int64()).to_pylist()
    names, days, found = (table[name].to_pylist() for name in ("symbol", "session", "vwap"))
    return dict(zip(zip(names, days, stamps, strict=True), found, strict=True))


# --- against what is independent


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Trades and the vendor's bars of a generated market, key → file."""
    folder = tmp_path_factory.mktemp("market")
    paths = write(MARKET, folder, ["trades", "minute_aggs", "day_aggs"])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def tape(files: Mapping[str, bytes]) -> list[tuple[date, str]]:
    """The files of trades, each with its session."""
    return [
        (date.fromisoformat(key[-17:-7]), gzip.decompress(content).decode())
        for key, content in files.items()
        if "trades" in key
    ]


@pytest.fixture(scope="module", params=LAYOUTS)
def made(
    request: pytest.FixtureRequest, make_warehouse: MakeWarehouse, files: Mapping[str, bytes]
) -> Made:
    made = make_warehouse(files, storage__layout=dict.fromkeys(DATA_TYPES, request.param))
    made.update()
    return made


@pytest.fixture
def wh(made: Made) -> Any:
    with Warehouse(made.root) as opened:
        yield opened


@pytest.mark.parametrize("freq", ["minute", "day"])
@pytest.mark.parametrize("symbols", [list(MARKET.symbols), "*"])
def test_every_vwap_is_that_of_a_plain_loop_over_the_trades(
    wh: Warehouse, tape: list[tuple[date, str]], freq: Any, symbols: Any
) -> None:
    expected = plain(tape, freq)
    found = wh.aggs(symbols, FIRST, LAST, freq, vwap=True, to="arrow")
    assert found.num_rows > (1_000 if freq == "minute" else 15)
    for key, value in by_key(found).items():
        assert is_near(value, expected.get(key)), key
    rest = wh.aggs(symbols, FIRST, LAST, freq, to="arrow")
    assert found.drop_columns(["vwap"]) == rest.drop_columns(["vwap"])
    assert found.column_names == rest.column_names
    assert rest["vwap"].null_count == rest.num_rows


def test_in_sql_it_is_a_join_of_the_macros(wh: Warehouse) -> None:
    asked = f"'SPY', '{FIRST}', '{LAST}'"
    for freq, bars in (
        ("minute", f"bars_of({asked}, hours := 'all')"),
        ("day", f"day_bars_of({asked})"),
    ):
        found = wh.query(
            "select aggs.* replace (coalesce(aggs.vwap, bars.vwap) as vwap)"
            f" from {freq}_aggs_of({asked}) as aggs"
            f" left join {bars} as bars on bars.session = aggs.session"
            " and bars.timestamp = aggs.timestamp order by aggs.timestamp",
            "arrow",
        )
        table = wh.aggs("SPY", FIRST, LAST, freq, vwap=True, to="arrow")  # type: ignore[arg-type]
        assert found["vwap"].to_pylist() == table["vwap"].to_pylist()


@pytest.mark.parametrize("freq", ["minute", "day"])
@pytest.mark.parametrize("rows", [1, 700])
def test_what_is_read_at_once_has_no_say(
    made: Made, monkeypatch: pytest.MonkeyPatch, freq: Any, rows: int
) -> None:
    with Warehouse(made.root) as one, Warehouse(made.root) as other:
        whole = one.aggs(list(MARKET.symbols), FIRST, LAST, freq, vwap=True)
        monkeypatch.setattr(bar_answers, "_PIECE_ROWS", rows)
        sizes = []
        windows = vwaps.windows

        def watched(*given: Any) -> Any:
            sizes.append(given[-1].num_rows)
            return windows(*given)

        monkeypatch.setattr(vwaps, "windows", watched)
        pieces = other.aggs(list(MARKET.symbols), FIRST, LAST, freq, vwap=True)
    pd.testing.assert_frame_equal(pieces, whole, check_exact=True)
    assert len(sizes) > 3
    # A session of a symbol is never divided.
    largest = made.answers(
        "select count(*) from trades group by symbol, session order by 1 desc limit 1"
    )
    assert max(sizes) <= max(rows, largest[0][0][0])


def test_only_trades_of_the_symbols_and_of_the_time_asked_are_read(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[pa.Table] = []
    windows = vwaps.windows

    def watched(*given: Any) -> Any:
        read.append(given[-1])
        return windows(*given)

    monkeypatch.setattr(vwaps, "windows", watched)
    wh.aggs(["F", "SPY"], f"{LAST} 10:00", f"{LAST} 10:30", vwap=True)
    (trades,) = read
    assert set(trades["symbol"].to_pylist()) == {"F", "SPY"}
    stamps = trades["timestamp"].cast(pa.int64()).to_pylist()
    # To the end of the last minute that begins before the end.
    assert min(stamps) >= instant(LAST, "10:00")
    assert max(stamps) < instant(LAST, "10:31")


# --- which trades, and where there are none


def own_market(make_warehouse: MakeWarehouse, trades: Sequence[str], layout: str) -> Made:
    """The vendor's bars of two symbols in two sessions, and some trades of the first session."""
    stamps = [instant(DAYS[1], clock) for clock in ("08:00", "10:00", "10:01", "16:05")]
    names = ("AAPL", "MSFT")
    days = DAYS[1:3]
    made = make_warehouse(
        {
            day_key("trades", DAYS[1]): trades,
            day_key("minute_aggs", DAYS[1]): [bar(name, at) for name in names for at in stamps],
            day_key("minute_aggs", DAYS[2]): [bar("AAPL", instant(DAYS[2], "10:00"))],
            **{
                day_key("day_aggs", day): [bar(name, instant(day, "00:00")) for name in names]
                for day in days
            },
        },
        storage__layout=dict.fromkeys(DATA_TYPES, layout),
    )
    made.update()
    return made


TRADES = [
    trade("AAPL", instant(DAYS[1], "08:00"), 1, price=9, size=10, conditions="12"),
    trade("AAPL", instant(DAYS[1], "10:00"), 2, price=10, size=100),
    trade("AAPL", instant(DAYS[1], "10:00", 59 * 10**9), 3, price=13, size=50, conditions="37"),
    trade("AAPL", instant(DAYS[1], "10:00"), 4, price=99, size=100, conditions="16"),
    trade("AAPL", instant(DAYS[1], "10:00"), 5, price=99, size=100, correction=8),
    trade("AAPL", instant(DAYS[1], "10:01"), 6, price=11, size=3, conditions="37"),
    trade("AAPL", instant(DAYS[1], "16:05"), 7, price=50, size=1000, conditions="15"),
]
"""Form T before the open; a trade and an odd lot, an official open and a cancelled one; an odd
lot alone; the official close alone."""


@pytest.fixture(scope="module", params=LAYOUTS)
def own(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Made:
    return own_market(make_warehouse, TRADES, request.param)


def minutes(own: Made, *asked: Any, **options: Any) -> list[float | None]:
    with Warehouse(own.root) as wh:
        found = wh.aggs(*asked, vwap=True, to="arrow", **options)
    return found["vwap"].to_pylist()


def test_a_trade_that_counts_counts_though_it_sets_no_price(own: Made) -> None:
    """And a minute in which none may set a price has no bar of ours, but its vwap."""
    of_day = minutes(own, "AAPL", DAYS[1])
    assert of_day[:3] == [9.0, (10 * 100 + 13 * 50) / 150, 11.0]
    with Warehouse(own.root) as wh:
        assert instant(DAYS[1], "10:01") not in [
            stamp.value for stamp in wh.bars("AAPL", DAYS[1], hours="all")["timestamp"]
        ]


def test_where_no_trade_counts_there_is_none(own: Made) -> None:
    assert minutes(own, "AAPL", DAYS[1])[3] is None


def test_a_symbol_without_trades_has_none(own: Made) -> None:
    assert minutes(own, "MSFT", DAYS[1]) == [None] * 4
    assert minutes(own, ["MSFT", "AAPL"], DAYS[1])[:5] == [None] * 4 + [9.0]


def test_a_session_without_trades_has_none_and_is_no_error(own: Made) -> None:
    found = minutes(own, "AAPL", DAYS[1], DAYS[2])
    assert [value is None for value in found] == [False] * 3 + [True] * 2
    dollars, shares = 9 * 10 + 10 * 100 + 13 * 50 + 11 * 3, 10 + 100 + 50 + 3
    assert minutes(own, "AAPL", DAYS[1], DAYS[2], "day") == [dollars / shares, None]
    assert minutes(own, "*", DAYS[1], DAYS[2], "day") == [dollars / shares] + [None] * 3


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("10:00:00", "10:00:01", [1650 / 150]),
        ("09:59:59", "10:01:00", [1650 / 150]),
        ("10:00:01", "10:01:01", [11.0]),
        ("10:00:01", "10:01:00", []),
    ],
)
def test_a_bar_has_the_trades_of_its_whole_window_wherever_the_question_ends(
    own: Made, start: str, end: str, expected: list[float]
) -> None:
    assert minutes(own, "AAPL", f"{DAYS[1]} {start}", f"{DAYS[1]} {end}") == expected
    every = minutes(own, "*", f"{DAYS[1]} {start}", f"{DAYS[1]} {end}")
    assert [value for value in every if value is not None] == expected


def test_a_day_has_its_whole_session_wherever_the_question_ends(own: Made) -> None:
    whole = minutes(own, "AAPL", DAYS[1], freq="day")
    assert minutes(own, "AAPL", DAYS[1], f"{DAYS[1]} 10:00", "day") == whole != [None]


def test_no_bar_of_the_vendors_none_at_all(own: Made) -> None:
    with Warehouse(own.root) as wh:
        for symbols in ("AAPL", "*"):
            empty = wh.aggs(symbols, f"{DAYS[1]} 12:00", f"{DAYS[1]} 13:00", vwap=True)
            usual = wh.aggs(symbols, f"{DAYS[1]} 12:00", f"{DAYS[1]} 13:00")
            pd.testing.assert_frame_equal(empty, usual)


def test_an_unknown_condition_is_told_once(
    make_warehouse: MakeWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    trades = [trade("AAPL", instant(DAYS[1], "10:00"), 1, price=10, conditions="56")]
    made = own_market(make_warehouse, trades, "symbol")
    with Warehouse(made.root) as wh, caplog.at_level(logging.WARNING, "warehouse"):
        for _ in range(2):
            bars = wh.aggs("AAPL", DAYS[1], vwap=True)
            assert bars.attrs["unknown_conditions"] == {"56": 1}
            assert caplog.text.count("56 (1)") == 1


def test_a_vwap_that_a_source_does_have_stands(make_warehouse: MakeWarehouse) -> None:
    """A user's own sql/ingest may read one, of which only the place in the header is told."""
    made = make_warehouse(storage__layout=dict.fromkeys(DATA_TYPES, "symbol"))
    path = made.root / "sql/ingest/minute_aggs.sql"
    text = path.read_text("utf-8")
    assert "null::double as vwap" in text
    trades = "try_cast(transactions as integer) as trades,"
    text = text.replace(trades, f"{trades} try_cast(extra_8 as double) as vwap,")
    path.write_text(text.replace("null::double as vwap", "vwap"), "utf-8")
    header = "ticker,volume,open,close,high,low,window_start,transactions,vw"
    lines = [
        f"{bar('AAPL', instant(DAYS[1], clock))},{vwap}"
        for clock, vwap in (("10:00", "10.25"), ("10:01", ""))
    ]
    made.put(day_key("minute_aggs", DAYS[1]), csv_text("minute_aggs", lines, header))
    made.put(day_key("trades", DAYS[1]), TRADES)
    made.update()
    with Warehouse(made.root) as wh:
        assert [*wh.aggs("AAPL", DAYS[1], vwap=True)["vwap"]] == [10.25, 11.0]
        assert wh.aggs("AAPL", DAYS[1])["vwap"].isna().tolist() == [False, True]


# --- adjusted, and under other names


SPLIT, PAID = split("NEW", DAYS[2], 1, 4), dividend("NEW", DAYS[3], 0.75)
PRICES = {DAYS[0]: 100.5, DAYS[1]: 101.25, DAYS[2]: 25.5, DAYS[3]: 26.0}


@pytest.fixture(scope="module", params=LAYOUTS)
def renamed(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Made:
    """A security that is OLD, and NEW from the split on; and who bears OLD then."""
    bearing = [*zip(("OLD", "OLD", "NEW", "NEW"), DAYS, strict=True), ("OLD", DAYS[3])]
    made = make_warehouse(
        {
            **{
                day_key("day_aggs", day): [
                    bar(symbol, instant(day, "00:00")) for symbol, each in bearing if each == day
                ]
                for day in DAYS
            },
            **{
                day_key("trades", day): [
                    trade(
                        symbol,
                        instant(day, clock),
                        number,
                        price=PRICES[day] + number + (1000 if symbol == "OLD" == bearing[-1][0]
                                                      and day == DAYS[3] else 0),
                        size=number,
                    )
                    for symbol, each in bearing
                    if each == day
                    for number, clock in ((1, "10:00"), (3, "11:00"))
                ]
                for day in DAYS
            },
        },
        storage__layout=dict.fromkeys(DATA_TYPES, request.param),
    )  # fmt: skip
    made.update()
    know(
        made,
        [SPLIT, PAID],
        [
            ("S", "OLD", DAYS[0], DAYS[1]),
            ("S", "NEW", DAYS[2], None),
            ("T", "OLD", DAYS[3], None),
        ],
    )
    return made


RAW = {day: price + (1 * 1 + 3 * 3) / 4 for day, price in PRICES.items()}


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"adjust": "splits"}, [0.25, 0.25, 1, 1]),
        ({"adjust": "all"}, [0.25 * 0.75, 0.25 * 0.75, 0.75, 1]),
    ],
)
def test_it_is_adjusted_as_prices_are_and_follows_a_rename(
    renamed: Made, options: dict[str, Any], factors: list[float]
) -> None:
    with Warehouse(renamed.root) as wh:
        asked: dict[str, Any] = {"freq": "day", "follow_renames": True, **options}
        days = wh.aggs("NEW", DAYS[0], DAYS[3], vwap=True, **asked)
        assert days["symbol"].tolist() == ["OLD", "OLD", "NEW", "NEW"]
        expected = [RAW[day] * factor for day, factor in zip(DAYS, factors, strict=True)]
        assert days["vwap"].tolist() == expected
        usual = wh.aggs("NEW", DAYS[0], DAYS[3], **asked)
        pd.testing.assert_frame_equal(
            days.drop(columns="vwap"), usual.drop(columns="vwap"), check_exact=True
        )
        both = wh.aggs(["OLD", "NEW"], DAYS[0], DAYS[3], vwap=True, **asked)
        assert both["symbol"].tolist() == ["OLD", *days["symbol"]]
        assert both["vwap"].tolist() == [RAW[DAYS[3]] + 1000, *expected]


def test_where_no_symbol_changed_to_follow_renames_changes_no_id(renamed: Made) -> None:
    with Warehouse(renamed.root) as wh:
        for freq in ("minute", "day"):
            kind, asked = f"{freq}_aggs", ("NEW", DAYS[2], DAYS[3])
            plain = wh.fingerprint(kind, *asked, vwap=True, missing="ignore")
            followed = {"vwap": True, "missing": "ignore", "follow_renames": True}
            assert wh.fingerprint(kind, *asked, **followed) == plain  # type: ignore[arg-type]
            longer = wh.fingerprint(kind, "NEW", DAYS[1], DAYS[3], vwap=True, missing="ignore")
            assert longer != plain


def test_all_symbols_are_adjusted_as_each_by_name(renamed: Made) -> None:
    with Warehouse(renamed.root) as wh:
        asked: dict[str, Any] = {"freq": "day", "adjust": "all", "vwap": True}
        every = wh.aggs("*", DAYS[0], DAYS[3], **asked)
        for symbol in ("OLD", "NEW"):
            own = every[every["symbol"] == symbol].reset_index(drop=True)
            alone = wh.aggs(symbol, DAYS[0], DAYS[3], **asked)
            pd.testing.assert_frame_equal(own, alone, check_exact=True)
            assert alone["vwap"].notna().all()


def test_an_action_after_as_of_changes_nothing(renamed: Made) -> None:
    with Warehouse(renamed.root) as wh:
        asked: dict[str, Any] = {"freq": "day", "vwap": True, "adjust": "all"}
        assert wh.aggs("NEW", DAYS[2], **asked)["vwap"].tolist() == [RAW[DAYS[2]]]
        later = wh.aggs("NEW", DAYS[2], as_of=DAYS[3], **asked)["vwap"].tolist()
        assert later == [RAW[DAYS[2]] * 0.75]


# --- forms


def test_every_form_has_the_same_numbers(wh: Warehouse) -> None:
    asked: tuple[Any, ...] = (["SPY", "F"], FIRST, LAST)
    table = wh.aggs(*asked, vwap=True, to="arrow")
    frame = wh.aggs(*asked, vwap=True)
    assert isinstance(wh.aggs(*asked, vwap=True, to="polars"), pl.DataFrame)
    numbers = table["vwap"].to_pylist()
    assert None in numbers
    assert wh.aggs(*asked, vwap=True, to="polars")["vwap"].to_list() == numbers
    assert [None if math.isnan(each) else each for each in frame["vwap"]] == numbers
    assert frame["vwap"].dtype == "float64"
    assert frame.columns.tolist() == DATA_TYPES["minute_aggs"].columns.names
    indexed = wh.aggs(*asked, vwap=True, index=("timestamp", "symbol"))
    assert (
        indexed["vwap"]
        .sort_index()
        .equals(frame.set_index(["timestamp", "symbol"])["vwap"].sort_index())
    )
    narrow = wh.aggs(*asked, vwap=True, categories=True, downcast=True)
    assert narrow["vwap"].equals(frame["vwap"])


def test_the_column_stands_where_it_is_named_or_last(wh: Warehouse) -> None:
    whole = wh.aggs("F", FIRST, vwap=True)["vwap"]
    for columns, expected in (
        (["close"], ["close", "vwap"]),
        (["vwap", "close"], ["vwap", "close"]),
        (["timestamp"], ["timestamp", "vwap"]),
    ):
        found = wh.aggs("F", FIRST, vwap=True, columns=columns)
        assert found.columns.tolist() == expected
        assert found["vwap"].equals(whole)
    assert "vwap" not in wh.aggs("F", FIRST, columns=["close"]).columns


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda wh: wh.aggs("F", FIRST, vwap=1), "vwap = 1: it may be True or False"),
        (lambda wh: wh.aggs("F", FIRST, vwap="yes"), "it may be True or False"),
        (lambda wh: wh.aggs("F", FIRST, vwpa=True), "vwap"),
        (lambda wh: wh.trades("F", FIRST, vwap=True), "vwap"),
        (lambda wh: wh.load("day_aggs", "F", FIRST, vwap=True), "vwap"),
        (lambda wh: wh.fingerprint("trades", "F", FIRST, vwap=True), "not trades"),
    ],
)
def test_a_mistake_is_told_in_one_line(wh: Warehouse, ask: Callable[[Any], Any], told: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(wh)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bars_of_the_vendors_that_are_not_there_are_an_error_or_left_out(wh: Warehouse) -> None:
    with pytest.raises(NoDataError, match="NOPE"):
        wh.aggs(["SPY", "NOPE"], FIRST, vwap=True)
    with pytest.raises(NoDataError):
        wh.aggs("*", FIRST - timedelta(days=30), vwap=True)
    found = wh.aggs(["SPY", "NOPE"], FIRST, vwap=True, missing="ignore")
    assert set(found["symbol"]) == {"SPY"}


# --- what an answer rests on


def test_an_answer_is_kept_apart_from_the_one_without(wh: Warehouse) -> None:
    plain = wh.aggs("F", FIRST)
    before = wh.cache.stats.hits
    filled = wh.aggs("F", FIRST, vwap=True)
    assert wh.cache.stats.hits == before
    assert wh.aggs("F", FIRST, vwap=True).equals(filled)
    assert wh.aggs("F", FIRST).equals(plain)
    assert wh.cache.stats.hits == before + 2
    assert plain.attrs["fingerprint"] != filled.attrs["fingerprint"]
    assert plain["vwap"].isna().all()


@pytest.mark.parametrize("symbols", [["SPY", "F"], "*"])
@pytest.mark.parametrize("options", [{}, {"columns": ["close"]}, {"adjust": "all"}])
def test_the_id_is_known_without_reading(
    wh: Warehouse, symbols: Any, options: dict[str, Any]
) -> None:
    for freq in ("minute", "day"):
        told = wh.fingerprint(f"{freq}_aggs", symbols, LAST, vwap=True, **options)
        frame = wh.aggs(symbols, LAST, None, freq, vwap=True, **options)  # type: ignore[arg-type]
        assert frame.attrs["fingerprint"] == told
        assert wh.fingerprint(f"{freq}_aggs", symbols, LAST, **options) != told


@pytest.fixture(scope="module")
def unchanged(make_warehouse: MakeWarehouse) -> Made:
    made = own_market(make_warehouse, TRADES, "symbol")
    keep(made)
    return made


@pytest.fixture
def changed(unchanged: Made) -> Made:
    put_back(unchanged)
    return unchanged


def told(made: Made, **options: Any) -> tuple[str, list[float | None]]:
    with Warehouse(made.root) as wh:
        frame = wh.aggs("AAPL", DAYS[1], **{"vwap": True, **options})
        values = [None if math.isnan(value) else value for value in frame["vwap"]]
        return frame.attrs["fingerprint"], values


def restate(made: Made, trades: Sequence[str], day: date = DAYS[1]) -> None:
    made.put(day_key("trades", day), trades)
    (made.root / f"data/raw/trades/{day:%Y/%m/%Y-%m-%d}.csv.gz").unlink(missing_ok=True)
    made.update("trades")


def test_restated_trades_make_old_answers_unreachable(changed: Made) -> None:
    without = told(changed, vwap=False)
    with Warehouse(changed.root) as wh:
        before = wh.aggs("AAPL", DAYS[1], vwap=True)
        restate(changed, [trade("AAPL", instant(DAYS[1], "10:00"), 1, price=20)])
        after = wh.aggs("AAPL", DAYS[1], vwap=True)
    assert after["vwap"].dropna().tolist() == [20.0]
    assert after.attrs["fingerprint"] != before.attrs["fingerprint"]
    assert told(changed, vwap=False) == without


def test_a_changed_rule_makes_old_answers_unreachable(changed: Made) -> None:
    with Warehouse(changed.root) as wh:
        before = wh.aggs("AAPL", DAYS[1], vwap=True)
        path = changed.root / "config/trade_conditions.csv"
        text = path.read_text("utf-8")
        odd_lot = "37,Odd Lot Trade,false,false,"
        assert f"{odd_lot}true" in text
        path.write_text(text.replace(f"{odd_lot}true", f"{odd_lot}false"), "utf-8")
        restate(changed, [trade("X", instant(DAYS[0]))], DAYS[0])
        after = wh.aggs("AAPL", DAYS[1], vwap=True)
    assert after["vwap"].tolist()[:2] == [9.0, 10.0]
    assert after["vwap"].isna().tolist() == [False, False, True, True]
    assert after.attrs["fingerprint"] != before.attrs["fingerprint"]


def test_a_changed_statement_makes_old_answers_unreachable_and_a_comment_does_not(
    changed: Made,
) -> None:
    before = told(changed)
    path = changed.root / "sql/bars/vwaps.sql"
    text = path.read_text("utf-8")
    path.write_text(text.replace("select aggs.place", "-- mine\nselect aggs.place"), "utf-8")
    assert told(changed) == before
    path.write_text(text.replace("bars.vwap)", "2 * bars.vwap)"), "utf-8")
    after = told(changed)
    assert after[0] != before[0]
    assert after[1] == [None if value is None else 2 * value for value in before[1]]
    path.write_text(text.replace("order by", "where bars.vwap > 0\norder by"), "utf-8")
    with pytest.raises(SqlFileError, match=r"vwaps\.sql: gives 3 rows of 4 bars"):
        told(changed)


def test_what_has_no_part_in_it_changes_no_id(changed: Made) -> None:
    before = told(changed)
    path = changed.root / "sql/bars/filled.sql"
    path.write_text(path.read_text("utf-8").replace("true as is_bar", "not false as is_bar"))
    restate(changed, [trade("MSFT", instant(DAYS[2]))], DAYS[2])
    restate(changed, [trade("AAPL", instant(DAYS[3]))], DAYS[3])
    assert told(changed) == before


def test_a_new_split_makes_adjusted_answers_new_and_no_others(changed: Made) -> None:
    know(changed)
    plain, adjusted = told(changed), told(changed, adjust="all", as_of=DAYS[3])
    assert plain == adjusted
    know(changed, [split("AAPL", DAYS[2], 1, 2)])
    assert told(changed) == plain
    after = told(changed, adjust="all", as_of=DAYS[3])
    assert after[0] != adjusted[0]
    assert after[1] == [None if value is None else value / 2 for value in adjusted[1]]


def test_a_warehouse_without_the_statement_uses_the_shipped_one(changed: Made) -> None:
    before = told(changed)
    (changed.root / "sql/bars/vwaps.sql").unlink()
    assert told(changed) == before
