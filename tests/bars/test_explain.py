"""What is said of a bar is so: who set its prices, who might not and why, who never came in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import plain_bars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bar_cases import FOLDER, Bench, Case, benches, folders
from building import Made, day_key, instant, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.bars.explain import REJECTED, explain, in_words
from warehouse.cli.main import cli
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import NoDataError, OversizedTradeError, RequestError

MakeWarehouse = Callable[..., Made]
TIMED = [
    folder
    for folder in folders()
    if json.loads((folder / "question.json").read_text()).get("by", "time") == "time"
]
DAY = date(2024, 1, 31)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benches(1) as (made,):
        yield made


@pytest.mark.parametrize("folder", TIMED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_who_set_each_price_is_named_in_every_case(folder: Path, bench: Bench) -> None:
    case = Case.read(folder)
    spec = replace(case.spec, is_filled=False)
    rules = case.conditions.to_pylist()
    stamps = case.trades["timestamp"].cast(pa.int64()).to_pylist()
    rows = [
        {**row, "timestamp": stamp}
        for row, stamp in zip(case.trades.to_pylist(), stamps, strict=True)
    ]
    windows = plain_bars.windows(rows, rules, spec.every_ns, spec.hours)
    assert windows or not [row for row in rows if row["correction"] in (None, 0, 1)]
    bench.connection.register("trade_conditions", case.conditions)
    for window in windows[:2] + windows[2:][-1:]:
        own = case.trades.filter(
            [(row["symbol"], row["session"]) == (window.symbol, window.session) for row in rows]
        )
        last = window.trades[-1][0]["timestamp"]
        found = explain(
            bench.connection, FOLDER, spec, own, REJECTED.empty_table(), last, window.session
        )
        assert (found.begin_ns, found.end_ns) == (window.begin, window.end)
        prints = [row for row in found.prints.to_pylist() if row["left_out"] is None]
        may = ("sets_high_low", "sets_open_close", "counts")
        assert [(row["price"], row["size"], *(row[name] for name in may)) for row in prints] == [
            (each["price"], each["size"], *flags) for each, *flags in window.trades
        ]
        reasons = ("high_low_barred_by", "open_close_barred_by", "volume_barred_by")
        for row in prints:
            assert [row[name] is None for name in reasons] == [row[name] for name in may]
        _check_setters(prints, found.bar, window)
        assert in_words(found).startswith("open " if window.is_bar else "no bar: none of ")


def _check_setters(
    prints: list[dict[str, Any]], bar: dict[str, Any] | None, window: plain_bars.Plain
) -> None:
    setters = {
        name: [place for place, row in enumerate(prints) if name in (row["sets"] or "").split(",")]
        for name in ("open", "high", "low", "close")
    }
    if not window.is_bar:
        assert bar is None
        assert setters == {name: [] for name in setters}
        return
    assert bar is not None
    flags = [each[1:] for each in window.trades]
    prices = [each[0]["price"] for each in window.trades]
    ranges = [place for place, (high_low, _, _) in enumerate(flags) if high_low]
    ends = [place for place, (_, open_close, _) in enumerate(flags) if open_close]
    assert setters == {
        "open": [ends[0]],
        "high": [max(ranges, key=lambda place: (prices[place], -place))],
        "low": [min(ranges, key=lambda place: (prices[place], place))],
        "close": [ends[-1]],
    }
    for name, (place,) in setters.items():
        assert prints[place]["price"] == bar[name]


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    at = instant(DAY, "10:00")
    second = 10**9
    made = make_warehouse(
        {
            day_key("trades", DAY): [
                trade("AAPL", at, 1, price=10),
                trade("AAPL", at + second, 2, price=12, size=5, conditions="37"),
                trade("AAPL", at + 2 * second, 3, price=9, conditions="14"),
                trade("AAPL", at + 3 * second, 4, price=50, correction=8, id="4"),
                trade("AAPL", at + 3 * second, 5, price=50, correction=10, id="4"),
                trade("AAPL", at + 4 * second, 6, price=-1),
                trade("AAPL", at + 59 * second, 7, price=11, conditions="32"),
                trade("AAPL", instant(DAY, "10:05"), 8, price=8, size=3, conditions='"12,37"'),
                trade("AAPL", instant(DAY, "10:07"), 9, price=8, size=3, conditions="37"),
                trade("AAPL", instant(DAY, "10:09"), 10, price=10.5),
            ]
        }
    )
    made.update("trades")
    return made


@pytest.fixture(scope="module")
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


def test_what_never_came_in_is_shown_with_its_reason(wh: Warehouse) -> None:
    found = wh.explain_bar("AAPL", f"{DAY} 10:00:30")
    out = found[found["left_out"].notna()]
    assert out["left_out"].tolist() == ["cancelled", "cancel_record", "price_not_positive"]
    assert out["price"].tolist() == [50, 50, -1]
    assert out["sets"].isna().all()
    assert "no part of the tape: " in found.attrs["text"]
    assert "cancelled × 1" in found.attrs["text"]


def test_a_bar_says_who_made_it(wh: Warehouse) -> None:
    found = wh.explain_bar("AAPL", f"{DAY} 10:00:59.999999999")
    told = found[found["left_out"].isna()].set_index("sequence_number")
    assert [each if isinstance(each, str) else None for each in told["sets"]] == [
        "open",
        None,
        "low,close",
        "high",
    ]
    assert told.loc[2, "high_low_barred_by"] == "37 Odd Lot Trade"
    assert told.loc[7, "open_close_barred_by"] == "32 Sold (Out Of Sequence)"
    assert pd.isna(told.loc[7, "high_low_barred_by"])
    bar = found.attrs["bar"]
    assert [bar[name] for name in ("open", "high", "low", "close", "volume")] == [10, 11, 9, 9, 305]
    begins, ends = found.attrs["window"]
    assert (ends - begins) == pd.Timedelta("1m")
    same = wh.bars("AAPL", DAY, columns=["open", "high", "low", "close"]).iloc[0]
    assert same.to_dict() == {name: bar[name] for name in same.index}


@pytest.mark.parametrize("clock", ["10:00:30", "10:05", "10:07", "10:09", "11:00"])
@pytest.mark.parametrize("every", ["1m", "5m", "1s", "1d"])
def test_a_window_alone_is_explained_as_it_is_within_its_session(
    wh: Warehouse, clock: str, every: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = wh.explain_bar("AAPL", f"{DAY} {clock}", every=every)
    # As of statements of the user's own, which may look at other trades too.
    monkeypatch.setattr("warehouse.bars.explain.needs_fewer", lambda folder, spec: False)
    within = wh.explain_bar("AAPL", f"{DAY} {clock}", every=every)
    pd.testing.assert_frame_equal(alone, within)
    assert alone.attrs == within.attrs


def test_a_window_without_a_trade_says_so(wh: Warehouse) -> None:
    found = wh.explain_bar("AAPL", f"{DAY} 11:00")
    assert len(found) == 0
    assert found.attrs["bar"] is None
    assert found.attrs["text"] == "no bar: there is no trade in this window"


@pytest.mark.parametrize(("column", "beyond"), [("price", 1e13), ("size", 1e308)])
def test_a_trade_that_no_bar_holds_is_named(
    make_warehouse: MakeWarehouse, column: str, beyond: float
) -> None:
    large = trade("A", instant(DAY, "10:00"), **{column: beyond})
    made = make_warehouse({day_key("trades", DAY): [large]})
    made.update("trades")
    with (
        Warehouse(made.root) as wh,
        pytest.raises(OversizedTradeError, match="the trade of A at 2024-01-31 15:00") as caught,
    ):
        wh.explain_bar("A", f"{DAY} 10:00", every="1m")
    assert (caught.value.column, caught.value.value) == (column, beyond)


def test_a_window_of_odd_lots_says_why_there_is_no_bar(wh: Warehouse) -> None:
    found = wh.explain_bar("AAPL", f"{DAY} 10:07")
    assert found.attrs["bar"] is None
    assert found.attrs["text"].startswith("no bar: none of 1 trade may set both open and high; ")
    assert "kept out of high and low: 37 Odd Lot Trade × 1" in found.attrs["text"]
    assert found["sets"].isna().all()


def test_a_day_is_explained_by_its_session(wh: Warehouse) -> None:
    found = wh.explain_bar("AAPL", DAY, every="1d")
    bar = wh.bars("AAPL", DAY, every="1d").iloc[0]
    assert found.attrs["bar"]["volume"] == bar["volume"]
    setters = found[found["sets"].notna()]
    assert {each: row.price for row in setters.itertuples() for each in row.sets.split(",")} == {
        name: bar[name] for name in ("open", "high", "low", "close")
    }
    begins, ends = (each.tz_convert("America/New_York") for each in found.attrs["window"])
    assert (f"{begins:%F %T}", f"{ends:%F %T}") == ("2024-01-31 00:00:00", "2024-02-01 00:00:00")


@pytest.mark.parametrize(
    ("symbol", "at", "every", "told"),
    [
        ("AAPL", "2024-01-31", "1m", "say the time too"),
        (["AAPL", "MSFT"], "2024-01-31 10:00", "1m", "a bar is of one symbol"),
        ("AAPL", "2024-01-31 10:00", "1w", "it is a length such as"),
        ("AAPL", "yesterday", "1m", "yesterday"),
    ],
)
def test_an_argument_that_makes_no_sense_is_one_line(
    wh: Warehouse, symbol: Any, at: str, every: str, told: str
) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        wh.explain_bar(symbol, at, every=every)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_an_error(wh: Warehouse) -> None:
    with pytest.raises(NoDataError, match="NOPE"):
        wh.explain_bar("NOPE", f"{DAY} 10:00")
    with pytest.raises(NoDataError):
        wh.explain_bar("AAPL", "2024-01-30 10:00")


# --- the command line


def ask(made: Made, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["-C", str(made.root), *arguments])


def test_the_command_writes_the_bars(made: Made, wh: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    done = ask(made, "bars", "AAPL", "--start", str(DAY), "--every", "5m", "-o", str(path))
    assert done.exit_code == 0, done.output
    written, asked = pq.read_table(path), wh.bars("AAPL", DAY, every="5m", to="arrow")
    assert written.column_names == asked.column_names
    for name in written.column_names:
        kind = asked[name].type
        whole = pa.int64() if pa.types.is_timestamp(kind) else kind
        assert written[name].cast(whole).to_pylist() == asked[name].cast(whole).to_pylist()


def test_the_command_shows_bars(made: Made) -> None:
    done = ask(made, "bars", "AAPL", "--start", str(DAY), "--every", "1d")
    assert done.exit_code == 0, done.output
    head, _, line, *_ = done.stdout.splitlines()
    assert head.split()[:6] == ["symbol", "timestamp", "open", "high", "low", "close"]
    assert line.split()[:2] == ["AAPL", "2024-01-31"]


def test_an_explanation_is_one_object(made: Made, wh: Warehouse) -> None:
    done = ask(made, "explain-bar", "AAPL", f"{DAY} 10:00", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    found = wh.explain_bar("AAPL", f"{DAY} 10:00")
    assert told["text"] == found.attrs["text"]
    assert [row["sets"] for row in told["trades"]] == [
        each if isinstance(each, str) else None for each in found["sets"]
    ]
    assert told["bar"]["close"] == 9


def test_an_explanation_is_shown_with_its_trades(made: Made) -> None:
    done = ask(made, "explain-bar", "AAPL", f"{DAY} 10:00:30")
    assert done.exit_code == 0, done.output
    assert "AAPL 2024-01-31 10:00:00 to 10:01:00, New York" in done.stdout
    for told in ("37: 37 Odd Lot Trade", "low,close", "no part of the tape"):
        assert told in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("bars", "AAPL", "--start", str(DAY), "--every", "1w"), 2),
        (("bars", "AAPL", "--start", str(DAY), "--hours", "rth"), 2),
        (("bars", "NOPE", "--start", str(DAY)), 2),
        (("bars", "AAPL"), 2),
        (("explain-bar", "AAPL", str(DAY)), 2),
        (("explain-bar", "NOPE", f"{DAY} 10:00"), 2),
        (("explain-bar", "AAPL", f"{DAY} 11:00"), 0),
    ],
)
def test_exit_codes(made: Made, arguments: tuple[str, ...], code: int) -> None:
    done = ask(made, *arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output


def test_an_explanation_has_the_columns_of_a_trade(wh: Warehouse) -> None:
    found = wh.explain_bar("AAPL", f"{DAY} 10:00", to="arrow")
    own = DATA_TYPES["trades"].columns
    for name in ("price", "size", "exchange", "conditions", "sequence_number", "id"):
        assert found.schema.field(name).type == own.field(name).type
