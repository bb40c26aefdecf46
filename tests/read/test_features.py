"""Features of a warehouse: the same rows in Python and in the shell, wherever a question begins."""

from __future__ import annotations

import csv
import io
import logging
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from building import Made, MakeWarehouse, day_key, instant, quote, trade
from featuring import FEATURES

from warehouse import Warehouse
from warehouse.errors import LookAheadError, NoDataError, QueryError, RequestError, SqlFileError
from warehouse.read.snapshot import Snapshot

SHELL = Path(sysconfig.get_path("scripts")) / "duckdb"
DAYS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))
MONTH = [date(2024, 1, 2) + timedelta(days=n) for n in range(31)]
WEEKDAYS = tuple(day for day in MONTH if day.weekday() < 5 and day != date(2024, 1, 15))
SYMBOLS = ("A", "BCpC")
SHORT: dict[str, dict[str, Any]] = {
    "volume_ma": {"periods": 7},
    "realized_spread": {"horizon_seconds": 30, "strictly_before": True},
    "amihud": {"days": 5},
    "volatility": {"periods": 6, "periods_a_year": 12.5},
}
MINE = """-- features/mine: the sum of sizes over a few trades.
-- grain: symbol, timestamp, sequence_number
-- params: $trades_back integer (1 or more) = 3
-- lookback: {lookback}
-- source: of my own
select
    symbol,
    timestamp,
    sequence_number,
    {what} as recent,
    session
from trades
order by symbol, timestamp, sequence_number
"""
RECENT = """sum(size) over (
        partition by symbol
        order by timestamp, sequence_number
        rows between $trades_back - 1 preceding and current row
    )"""


def bar_line(symbol: str, stamp: int, number: int) -> str:
    open_, close = 10 + number % 5 * 0.25, 10 + number % 7 * 0.25
    low, high = min(open_, close) - 0.25, max(open_, close) + 0.5
    return f"{symbol},{number % 4 * 100},{open_},{close},{high},{low},{stamp},3"


def files() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for day in DAYS:
        trades, quotes, bars = [], [], []
        for symbol in SYMBOLS:
            for n in range(40):
                stamp = instant(day, "10:00", n // 2 * 7 * 10**9)
                trades.append(
                    trade(
                        symbol,
                        stamp,
                        n + 1,
                        price=10 + n % 9 * 0.125,
                        size=n % 6 * 50,
                        id=str(n),
                        conditions="12" if n % 5 else "15",
                    )
                )
                quotes.append(
                    quote(
                        symbol,
                        stamp - n % 3,
                        n + 1,
                        bid=10 + n % 4 * 0.125,
                        ask=0 if n == 30 else 10.5 + n % 5 * 0.125,
                    )
                )
                bars.append(bar_line(symbol, instant(day, "09:30", n * 60 * 10**9), n))
        found[day_key("trades", day)] = trades
        found[day_key("quotes", day)] = quotes
        found[day_key("minute_aggs", day)] = bars
    for number, day in enumerate(WEEKDAYS):
        stamp = instant(day, "00:00")
        found[day_key("day_aggs", day)] = [bar_line(symbol, stamp, number) for symbol in SYMBOLS]
    return found


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse(files())
    made.update()
    return made


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


@pytest.fixture
def own(made: Made, make_warehouse: MakeWarehouse, tmp_path: Path) -> Made:
    """A warehouse of a test's own, with the same rows."""
    copy = make_warehouse(folder=tmp_path)
    shutil.copytree(made.root / "data", copy.root / "data", dirs_exist_ok=True)
    copy.configure(source__url=str(made.source))
    copy.source = made.source
    return copy


def put(made: Made, text: str, name: str = "mine") -> Path:
    path = made.root / f"sql/features/{name}.sql"
    path.write_text(text)
    return path


def mine(lookback: str = "$trades_back rows", what: str = RECENT) -> str:
    return MINE.format(lookback=lookback, what=what)


def by_shell(made: Made, sql: str) -> list[list[str]]:
    done = subprocess.run(
        [str(SHELL), "-readonly", "-csv", "-nullvalue", "", "-c", sql,
         str(made.root / "data/warehouse.duckdb")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return list(csv.reader(io.StringIO(done.stdout)))


def call(name: str, symbol: str, first: date, last: date, values: dict[str, Any]) -> str:
    given = "".join(f", {key} := {value}" for key, value in values.items())
    return f"from {name}_of('{symbol}', '{first}', '{last}'{given})"


# Three doors


@pytest.mark.parametrize("name", FEATURES)
def test_the_macro_and_python_agree_row_for_row(name: str, wh: Warehouse) -> None:
    for values in ({}, SHORT.get(name, {})):
        for symbol, first, last in (("A", DAYS[1], DAYS[2]), ("BCpC", DAYS[0], DAYS[0])):
            asked = wh.query(call(name, symbol, first, last, values))
            frame = wh.features(name, symbol, first, last, **values)
            assert len(frame) > 0
            pd.testing.assert_frame_equal(asked, frame, check_exact=True)


@pytest.mark.skipif(not SHELL.exists(), reason="no duckdb shell beside this Python")
def test_the_shell_of_1_5_answers_as_python_does(made: Made, wh: Warehouse) -> None:
    calls = {name: call(name, "A", DAYS[1], DAYS[2], SHORT.get(name, {})) for name in FEATURES}
    for sql in calls.values():
        texts = f"select columns(*)::varchar {sql}"
        header, *rows = by_shell(made, texts)
        expected = wh.query(texts, "arrow")
        types = wh.query(sql, "arrow").schema
        assert (header, len(rows)) == (expected.column_names, expected.num_rows)
        for column, found in zip(header, zip(*rows, strict=True), strict=True):
            wanted = [text or "" for text in expected[column].to_pylist()]
            if pa.types.is_floating(types.field(column).type):
                # From DECIMAL to DOUBLE it is a last bit from one version of DuckDB to another.
                numbers = [float(text or "nan") for text in wanted]
                assert [float(text or "nan") for text in found] == pytest.approx(
                    numbers, rel=4e-16, nan_ok=True
                )
            else:
                assert list(found) == wanted


def test_the_catalog_lists_the_features(wh: Warehouse) -> None:
    found = wh.catalog("features").set_index("name")
    assert list(found.index) == list(FEATURES)
    assert found["problem"].isna().all()
    assert found.loc["volume_ma", "parameters"] == "$periods integer (1 or more) = 20"
    assert found.loc["volume_ma", "lookback"] == "$periods rows"
    assert found.loc["spread", "description"].startswith("the quoted spread")


def test_minute_and_day_bars_are_read_as_asked(wh: Warehouse) -> None:
    for name in ("returns", "volume_ma", "volatility"):
        for freq in ("minute", "day"):
            frame = wh.features(name, "A", DAYS[0], DAYS[1], freq=freq)
            assert len(frame) == (2 if freq == "day" else 80)
            asked = wh.query(f"from {name}_of('A', '{DAYS[0]}', '{DAYS[1]}', freq := '{freq}')")
            pd.testing.assert_frame_equal(asked, frame, check_exact=True)


@pytest.mark.parametrize("name", FEATURES)
def test_the_macro_refuses_the_values_that_python_refuses(name: str, wh: Warehouse) -> None:
    tried = {"integer": (0, 2.5, "x"), "double": (-1, float("nan"), "x"), "boolean": ("x",)}
    feature = FEATURES[name]
    bad = [(one.name, value) for one in feature.parameters for value in tried[one.kind]]
    bad += [(one.name, None) for one in feature.parameters]
    bad += [("freq", value) for value in ("hour", None) if feature.freq is not None]
    for parameter, value in bad:
        with pytest.raises(RequestError, match=parameter):
            wh.features(name, "A", DAYS[1], DAYS[2], **{parameter: "x" if value is None else value})
        given = "'nan'::double" if value != value else repr(value) if value is not None else "null"
        # No column is asked for, so that nothing of the SELECT's own need be worked out.
        for more in ({}, {"adjust": "'splits'"}):
            sql = call(name, "A", DAYS[1], DAYS[2], {**more, parameter: given})
            with pytest.raises(QueryError, match=f"{parameter} := .*: it (must be of type|may be)"):
                wh.query(f"select count(*) {sql}")


# Where a question begins and ends


@pytest.mark.parametrize("name", FEATURES)
def test_a_row_does_not_depend_on_where_the_question_begins_or_ends(
    name: str, wh: Warehouse
) -> None:
    values = SHORT.get(name, {})
    wh.check_feature(name, "A", DAYS[0], DAYS[2], **values)
    whole = wh.features(name, "A", WEEKDAYS[0], DAYS[2], missing="ignore", **values)
    for first, last in (
        (DAYS[2], DAYS[2]),
        (DAYS[1], "2024-01-31 10:01"),
        ("2024-01-31 10:00:14", DAYS[2]),
        ("2024-02-01 09:59:59.999999998", "2024-02-01 10:01:10.000000001"),
    ):
        start, end = (pd.Timestamp(at, tz="America/New_York") for at in (first, last))
        end += timedelta(days=not isinstance(last, str))
        part = wh.features(name, "A", first, last, missing="ignore", **values)
        inside = whole[(whole["timestamp"] >= start) & (whole["timestamp"] < end)]
        pd.testing.assert_frame_equal(part, inside.reset_index(drop=True), check_exact=True)


def test_a_rolling_feature_is_full_from_its_first_row_where_there_are_rows_before(
    wh: Warehouse,
) -> None:
    assert wh.features("volume_ma", "A", DAYS[1], DAYS[1])["volume_ma"].notna().all()
    assert wh.features("volume_ma", "A", DAYS[0], DAYS[0])["volume_ma"].isna().sum() == 19
    year = wh.features("volatility", "A", DAYS[2], DAYS[2])
    assert year[["close_to_close", "parkinson", "garman_klass"]].notna().all(axis=None)


# A user's own


def test_a_session_that_is_missing_among_those_that_rows_rest_on_is_an_error(
    make_warehouse: MakeWarehouse, tmp_path: Path
) -> None:
    held = {
        day_key("day_aggs", day): [bar_line("A", instant(day, "00:00"), number)]
        for number, day in enumerate(WEEKDAYS)
        if not date(2024, 1, 16) <= day <= date(2024, 1, 17)
    }
    made = make_warehouse(held, folder=tmp_path)
    made.update("day_aggs")
    with Warehouse(made.root) as wh:
        for name, values in (("returns", {"freq": "day"}), ("amihud", {"days": 2})):
            with pytest.raises(NoDataError) as found:
                wh.features(name, "A", "2024-01-18", **values)
            assert found.value.missing == ("2024-01-16", "2024-01-17")
            assert f"on which {name} from 2024-01-18 rests: never ingested" in str(found.value)
            with pytest.raises(NoDataError, match="rests"):
                wh.check_feature(name, "A", "2024-01-18", "2024-01-22", **values)
            wh.features(name, "A", "2024-01-18", missing="ignore", **values)
        # As far back as the lookback goes, and where the warehouse begins.
        assert wh.features("returns", "A", "2024-01-19", freq="day")["returns"].notna().all()
        assert wh.features("volume_ma", "A", "2024-01-12", freq="day")["volume_ma"].isna().all()


def test_the_catalog_is_not_asked_symbol_by_symbol(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, counts = Snapshot.fetch, []

    def counted(self: Snapshot, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        counts[-1] += 1
        return fetch(self, sql, **parameters)

    monkeypatch.setattr(Snapshot, "fetch", counted)
    for symbols in (SYMBOLS[:1], SYMBOLS):
        with Warehouse(made.root) as wh:
            counts.append(0)
            wh.features("volume_ma", symbols, DAYS[2], freq="day", periods=10)
    assert counts[0] == counts[1] > 0


def test_a_users_file_is_called_by_its_name_at_once_and_in_the_shell_with_the_next_command(
    own: Made,
) -> None:
    put(own, mine())
    with Warehouse(own.root) as wh:
        frame = wh.features("mine", "A", DAYS[1], DAYS[1], trades_back=2)
        sizes = wh.trades("A", DAYS[0], DAYS[1])["size"]
        assert list(frame["recent"]) == list(sizes.rolling(2).sum()[40:])
        wh.check_feature("mine", SYMBOLS, DAYS[0], DAYS[2])

        report = own.update()
        assert report.did_nothing
        asked = wh.query(f"from mine_of('A', '{DAYS[1]}', '{DAYS[1]}', trades_back := 2)")
        pd.testing.assert_frame_equal(asked, frame, check_exact=True)
        generation = own.sql("select generation from warehouse")
        own.update()
        assert own.sql("select generation from warehouse") == generation

        # Changed, it answers anew.
        put(own, mine(what=RECENT.replace("size", "2 * size")))
        again = wh.features("mine", "A", DAYS[1], DAYS[1], trades_back=2)
        assert list(again["recent"]) == list(2 * frame["recent"])


def test_a_file_that_looks_ahead_or_further_back_than_it_says_is_found_out(own: Made) -> None:
    with Warehouse(own.root) as wh:
        what = "(select max(t.price) from trades as t where t.session = trades.session)"
        put(own, mine("session", f"{what} + 0 * $trades_back"))
        with pytest.raises(
            LookAheadError, match=r"mine.sql: looks ahead: at .* recent is "
        ) as found:
            wh.check_feature("mine", "A", DAYS[0], DAYS[2])
        assert found.value.difference.ahead
        put(own, mine("none"))
        with pytest.raises(LookAheadError, match="needs more than its lookback") as found:
            wh.check_feature("mine", "A", DAYS[0], DAYS[2])
        assert found.value.difference.row != found.value.difference.other
        for lookback in ("$trades_back rows", "2 rows", "1 session"):
            put(own, mine(lookback))
            wh.check_feature("mine", SYMBOLS, DAYS[0], DAYS[2])


def test_a_check_that_has_no_row_to_be_tried_on_does_not_pass(wh: Warehouse) -> None:
    wh.check_feature("volume_ma", "A", DAYS[0])
    for symbols in ("NOPE", ["A", "NOPE"]):
        with pytest.raises(NoDataError, match=r"no symbol 'NOPE' .* ask for symbols"):
            wh.check_feature("volume_ma", symbols, DAYS[0])
    with pytest.raises(NoDataError, match="volume_ma: it has no row of 'A' to be tried on"):
        wh.check_feature("volume_ma", "A", f"{DAYS[0]} 00:01", f"{DAYS[0]} 00:02")


def test_a_broken_file_keeps_neither_the_others_nor_a_publish_from_working(
    own: Made, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(own, mine().replace("order by timestamp, sequence_number\n", "", 1))
    put(own, mine().replace("features/mine", "features/good"), "good")
    with Warehouse(own.root) as wh, caplog.at_level(logging.WARNING):
        own.ingest("day_aggs")
        assert f"a feature is left out: {path}: sum() over a window without ORDER BY" in caplog.text
        assert caplog.text.count("left out") == 1
        listed = wh.catalog("features").set_index("name")["problem"]
        assert "without ORDER BY" in listed["mine"]
        assert listed.drop("mine").isna().all()
        assert len(wh.query(f"from good_of('A', '{DAYS[0]}', '{DAYS[0]}')")) == 40
        assert len(wh.features("spread", "A", DAYS[0], DAYS[0])) == 40
        with pytest.raises(SqlFileError, match="without ORDER BY") as caught:
            wh.features("mine", "A", DAYS[0], DAYS[0])
        assert caught.value.path == path


def test_a_file_that_fails_on_some_rows_is_an_error_that_names_it(own: Made) -> None:
    path = put(own, mine("none", "(timestamp::varchar || 'x')::integer + $trades_back"))
    with (
        Warehouse(own.root) as wh,
        pytest.raises(SqlFileError, match="fails on these rows") as error,
    ):
        wh.features("mine", "A", DAYS[0], DAYS[0])
    assert error.value.path == path
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("340282366920938463463374607431768211455::uhugeint", "is of type UHUGEINT"),
        ("{'t': '12:00:00+05:00'::timetz}", "is of type TIME WITH TIME ZONE"),
        ("date 'infinity'", "has an infinite date or time"),
    ],
)
def test_a_value_that_no_answer_can_hold_is_an_error_that_names_file_and_column(
    own: Made, value: str, told: str
) -> None:
    path = put(own, mine("none", f"if($trades_back > 0, {value}, null)"))
    with Warehouse(own.root) as wh:
        for form in ("pandas", "polars", "arrow"):
            with pytest.raises(
                SqlFileError, match=f"column recent {told}, which no .*cast"
            ) as error:
                wh.features("mine", "A", DAYS[0], DAYS[0], to=form)  # type: ignore[call-overload]
            assert error.value.path == path


def test_a_feature_of_an_enum_is_a_category(own: Made) -> None:
    put(own, mine("none", "if($trades_back > 0, 'up', null)::enum('down', 'up')"))
    with Warehouse(own.root) as wh:
        assert set(wh.features("mine", "A", DAYS[0], DAYS[0])["recent"]) == {"up"}


def test_a_warehouse_of_an_earlier_version_has_none_and_works(own: Made) -> None:
    shutil.rmtree(own.root / "sql/features")
    (own.root / "sql/catalog/features.sql").unlink()
    own.rebuild("day_aggs")
    own.update()
    with Warehouse(own.root) as wh:
        assert len(wh.query("from trades_of('A')")) == 120
        with pytest.raises(RequestError, match=r"there are none in .*; `warehouse init DIR` adds"):
            wh.features("spread", "A", DAYS[0], DAYS[0])
        with pytest.raises(duckdb.Error):
            own.sql("from features")


# Arguments and answers


def test_what_is_asked_wrongly_is_told_what_is_right(wh: Warehouse) -> None:
    day = DAYS[0]
    for ask, message in (
        (lambda: wh.features("spraed", "A", day, day), "did you mean spread?"),
        (lambda: wh.features("volume_ma", "A", day, day, window=3),
         r"window = 3: volume_ma has the parameters periods \(integer, 1 or more\) = 20"),
        (lambda: wh.features("spread", "A", day, day, periods=3), "spread has no parameters"),
        (lambda: wh.features(["spread"], "A", day), "it is the name of one feature, a text"),
        (lambda: wh.features("volume_ma", "A", day, day, periods="3"), "must be of type integer"),
        (lambda: wh.features("volume_ma", "A", day, day, freq="hour"), "may be minute, day"),
        (lambda: wh.features("spread", "A", day, day, freq="day"), "spread reads quotes alone"),
        (lambda: wh.features("spread", "A", day, day, missing="x"), "may be raise, ignore"),
        (lambda: wh.features("spread", "A", day, day, to="x"), "pandas, polars, arrow"),
        (lambda: wh.features("spread", "A", day, day, tz="x"), "time zone's name"),
        (lambda: wh.features("spread", "A", day, day, tz="America/NewYork"),
         r"did you mean America/New_York\?"),
        (lambda: wh.features("spread", "A", DAYS[1], day), "lies before start"),
        (lambda: wh.features("spread", [], day, day), "must be a symbol"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=message):
            ask()


def test_what_is_not_there_is_an_error_or_is_left_out(
    wh: Warehouse, make_warehouse: MakeWarehouse
) -> None:
    with pytest.raises(NoDataError, match=r"no symbol 'bcpc'.*near it: BCpC"):
        wh.features("effective_spread", "bcpc", DAYS[0], DAYS[0])
    with pytest.raises(NoDataError, match="never ingested: 2024-01-29"):
        wh.features("spread", "A", "2024-01-29", DAYS[0])
    assert len(wh.features("spread", ["A", "none"], "2024-01-29", DAYS[0], missing="ignore")) == 40

    made = make_warehouse({day_key("trades", DAYS[0]): [trade("A", instant(DAYS[0]))]})
    made.update()
    with Warehouse(made.root) as other:
        with pytest.raises(NoDataError, match="quotes of 'A', 2024-01-30: there are no quotes at"):
            other.features("effective_spread", "A", DAYS[0], DAYS[0])
        frame = other.features("effective_spread", "A", DAYS[0], DAYS[0], missing="ignore")
        assert list(frame["effective_spread"].isna()) == [True]
        assert len(other.features("vwap", "A", DAYS[0], DAYS[0])) == 1
        nothing = other.features("spread", "A", DAYS[0], DAYS[0], missing="ignore")
        assert nothing.dtypes.equals(wh.features("spread", "A", DAYS[0], DAYS[0]).dtypes)


def test_symbols_come_in_the_order_asked_and_forms_hold_the_same(wh: Warehouse) -> None:
    symbols = ["BCpC", "A", "BCpC"]
    frame = wh.features("vwap", symbols, DAYS[0], DAYS[2], tz="America/New_York")
    assert list(dict.fromkeys(frame["symbol"])) == ["BCpC", "A"]
    assert str(frame["timestamp"].dtype) == "datetime64[ns, America/New_York]"
    assert str(frame["session"].dtype) == "datetime64[s]"
    parts = [wh.features("vwap", symbol, DAYS[0], DAYS[2]) for symbol in symbols[:2]]
    joined = pd.concat(parts, ignore_index=True)
    assert list(frame["vwap"].dropna()) == list(joined["vwap"].dropna())
    table = wh.features("vwap", symbols, DAYS[0], DAYS[2], to="arrow", tz="America/New_York")
    polars = wh.features("vwap", symbols, DAYS[0], DAYS[2], to="polars", tz="America/New_York")
    assert isinstance(table, pa.Table)
    assert polars.equals(pl.from_arrow(table))


def test_answers_are_kept_by_what_was_asked_and_what_was_read(own: Made) -> None:
    with Warehouse(own.root) as wh:
        first = wh.features("volume_ma", "A", DAYS[1], DAYS[1])
        first["volume_ma"] = 0.0
        second = wh.features("volume_ma", "A", DAYS[1], DAYS[1], periods=20)
        assert (wh.cache.stats.hits, wh.cache.stats.misses) == (1, 1)
        assert second["volume_ma"].gt(0).all()
        wh.features("volume_ma", "A", DAYS[1], DAYS[1], periods=21)
        wh.features("volume_ma", "A", DAYS[1], DAYS[1], freq="day")
        wh.features("volume_ma", "A", DAYS[1], DAYS[1], tz="America/New_York")
        assert wh.cache.stats.hits == 1

        # The session before is another: what the window reaches back to has changed.
        lines = [bar_line("A", instant(DAYS[0], "09:30", n * 60 * 10**9), 3) for n in range(40)]
        own.configure(source__url=str(own.root.parent / "other"))
        own.layout.source_note.unlink()
        own.source = own.root.parent / "other"
        own.put(day_key("minute_aggs", DAYS[0]), lines)
        own.update("minute_aggs", start=DAYS[0], end=DAYS[0])
        third = wh.features("volume_ma", "A", DAYS[1], DAYS[1])
        assert not third["volume_ma"].equals(second["volume_ma"])
        assert third["volume_ma"][20:].equals(second["volume_ma"][20:])


def test_a_frame_bears_the_id_of_all_that_stands_behind_it(own: Made) -> None:
    path = put(own, mine())
    with Warehouse(own.root) as wh:

        def ask(**values: int) -> str:
            return str(wh.features("mine", "A", DAYS[1], DAYS[1], **values).attrs["fingerprint"])

        first = ask()
        wh.cache.clear()
        assert ask(trades_back=3) == first
        assert ask(trades_back=4) != first
        path.write_text(mine().replace("select\n", "-- a word\nselect\n", 1))
        assert ask() == first
        put(own, mine(what=RECENT.replace("size", "2 * size")))
        assert ask() != first
