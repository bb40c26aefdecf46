"""What stands behind an adjusted answer, what is kept of it, and what is refused."""

from __future__ import annotations

import csv
import io
import subprocess
import sysconfig
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adjusting import another_catalog, dividend, know, split, warehouse_of
from building import Made, MakeWarehouse
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.errors import RequestError
from warehouse.read.snapshot import Snapshot

DAYS = [date(2024, 1, day) for day in (22, 23, 24, 25, 26, 29, 30, 31)]
SPLIT = split("A", DAYS[4], 1, 4)
LATER = split("A", DAYS[7], 1, 2, id="later")
OF_ANOTHER = split("B", DAYS[4], 1, 10)
RENAMED = [("S", "OLD", date(2020, 1, 2), DAYS[3]), ("S", "NEW", DAYS[4], None)]


def bars(symbol: str, days: list[date], base: int) -> list[dict[str, str]]:
    prices = {day: base + 4 * DAYS.index(day) for day in days}
    return [
        {
            "symbol": symbol,
            "session": str(day),
            **{"open": f"{price}", "high": f"{price + 2}", "low": f"{price - 2}"},
            **{"close": f"{price + 1}", "volume": f"{price * 100}"},
        }
        for day, price in prices.items()
    ]


ROWS = [
    *bars("A", DAYS, 400),
    *bars("B", DAYS, 40),
    *bars("OLD", DAYS[:4], 80),
    *bars("NEW", DAYS[4:], 80),
]


@pytest.fixture(scope="module", params=["symbol", "market"])
def made(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Made:
    return warehouse_of(make_warehouse, "day_aggs", ROWS, request.param)


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    know(made, [SPLIT, OF_ANOTHER], RENAMED)
    with Warehouse(made.root) as opened:
        yield opened


def asked(end: date = DAYS[6], **options: Any) -> dict[str, Any]:
    return {"data_type": "day_aggs", "symbols": "A", "start": DAYS[0], "end": end, **options}


def closes(wh: Warehouse, **question: Any) -> list[float]:
    return list(wh.load(**asked(**question))["close"])


# Fingerprints and the cache


def test_a_new_split_makes_old_answers_unreachable_and_an_unrelated_one_does_not(
    made: Made, wh: Warehouse
) -> None:
    question = asked(adjust="splits")
    before, plain = wh.fingerprint(**question), wh.fingerprint(**asked())
    assert wh.load(**question).attrs["fingerprint"] == before != plain
    first = closes(wh, adjust="splits")
    # Of another symbol, after the end, before the start: none of them reaches these rows.
    others = [split("B", DAYS[2], 1, 7, id="b"), LATER, split("A", DAYS[0], 1, 5, id="old")]
    know(made, [SPLIT, OF_ANOTHER, *others], RENAMED)
    assert wh.fingerprint(**question) == before
    misses = wh.cache.stats.misses
    assert closes(wh, adjust="splits") == first
    assert wh.cache.stats.misses == misses
    know(made, [SPLIT, split("A", DAYS[2], 1, 2, id="new")], RENAMED)
    assert wh.fingerprint(**question) != before
    assert closes(wh, adjust="splits") == [
        *(close / 2 for close in first[:2]),
        *first[2:],
    ]
    # What is not adjusted knows nothing of all that.
    assert wh.fingerprint(**asked()) == plain


def test_an_action_after_as_of_changes_neither_the_answer_nor_its_id(
    made: Made, wh: Warehouse
) -> None:
    doors = (
        lambda: wh.load(**asked(adjust="all")),
        lambda: wh.load(**asked(adjust="all") | {"symbols": "*"}),
        lambda: wh.panel("day_aggs", "close", DAYS[0], DAYS[6], adjust="all"),
        lambda: wh.panel("day_aggs", "close", DAYS[0], DAYS[6], symbols=["A"], adjust="all"),
        lambda: wh.features("returns", "A", DAYS[0], DAYS[6], freq="day", adjust="all"),
    )
    before = [door() for door in doors]
    know(made, [SPLIT, OF_ANOTHER, LATER, dividend("A", DAYS[7], 0.5)], RENAMED)
    for door, frame in zip(doors, before, strict=True):
        pd.testing.assert_frame_equal(door(), frame)
        assert door().attrs["fingerprint"] == frame.attrs["fingerprint"]
    know(made, [OF_ANOTHER, LATER], RENAMED)
    assert [door().attrs["fingerprint"] != frame.attrs["fingerprint"]
            for door, frame in zip(doors, before, strict=True)] == [True] * len(doors)  # fmt: skip


def test_where_nothing_is_multiplied_it_is_the_answer_that_was_not_adjusted(wh: Warehouse) -> None:
    question = asked(end=DAYS[3])
    assert wh.fingerprint(**question) == wh.fingerprint(**question, adjust="all")
    wh.load(**question)
    misses = wh.cache.stats.misses
    wh.load(**question, adjust="all")
    wh.load(**question, adjust="splits", follow_renames=True)
    assert wh.cache.stats.misses == misses
    assert (
        wh.cross_section("day_aggs", DAYS[3], adjust="all").attrs["fingerprint"]
        == (wh.cross_section("day_aggs", DAYS[3]).attrs["fingerprint"])
    )


def test_a_narrower_answer_is_cut_out_only_where_its_factors_are_the_same(wh: Warehouse) -> None:
    wide = wh.load(**asked(adjust="splits"))
    misses = wh.cache.stats.misses
    # Its own end is before the split: it is as traded, and the wide answer is not.
    before = wh.load(**asked(end=DAYS[3], adjust="splits"))
    assert list(before["close"]) == [401.0, 405.0, 409.0, 413.0]
    assert wh.cache.stats.misses == misses + 1
    # As of the same session it is a part of the wide one.
    within = wh.load(**asked(end=DAYS[3], adjust="splits", as_of=DAYS[6]))
    assert list(within["close"]) == list(wide["close"])[:4]
    # After the split nothing is multiplied in either.
    after = {**asked(), "start": DAYS[5]}
    assert list(wh.load(**after, adjust="splits")["close"]) == list(wide["close"])[5:]
    assert list(wh.load(**after)["close"]) == list(wide["close"])[5:]
    assert wh.cache.stats.misses == misses + 1
    # And nobody who asks for what was traded gets what was multiplied.
    assert closes(wh) == [401.0 + 4 * number for number in range(7)]
    assert wh.cache.stats.misses == misses + 2


def test_a_plain_answer_from_the_cache_asks_the_catalog_nothing(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = closes(wh)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the catalog was asked")

    monkeypatch.setattr(Snapshot, "fetch", refuse)
    assert closes(wh) == expected


def test_a_catalog_of_an_earlier_version_knows_no_actions(made: Made, wh: Warehouse) -> None:
    plain = closes(wh)
    with another_catalog(made) as catalog:
        catalog.execute("drop table actions")
        catalog.execute("drop table securities")
    assert closes(wh, adjust="all") == plain
    assert closes(wh, adjust="all", follow_renames=True) == plain
    with another_catalog(made) as catalog:
        catalog.execute("create table actions (n integer)")
        catalog.execute("create table securities (n integer)")


# Series


def test_a_series_follows_the_security_in_every_door(wh: Warehouse) -> None:
    options: dict[str, Any] = {"follow_renames": True}
    loaded = wh.load("day_aggs", "NEW", DAYS[0], DAYS[6], **options)
    assert list(loaded["symbol"]) == ["OLD"] * 4 + ["NEW"] * 3
    assert list(loaded["close"]) == [81.0 + 4 * number for number in range(7)]
    # Nobody bears the old symbol any longer: it is the last who did, and comes once.
    both = wh.load("day_aggs", ["OLD", "NEW", "B"], DAYS[0], DAYS[6], **options)
    assert list(both["symbol"].unique()) == ["OLD", "NEW", "B"]
    assert len(both) == 14
    panel = wh.panel("day_aggs", "close", DAYS[0], DAYS[6], symbols=["B", "NEW"], **options)
    assert list(panel["NEW"]) == list(loaded["close"])
    assert list(panel["B"]) == [41.0 + 4 * number for number in range(7)]
    aggs = wh.aggs("NEW", DAYS[0], DAYS[6], "day", **options)
    pd.testing.assert_frame_equal(aggs, loaded)
    returns = wh.features("returns", "NEW", DAYS[1], DAYS[6], freq="day", **options)
    assert list(returns["symbol"]) == ["OLD"] * 3 + ["NEW"] * 3
    # The first under the new symbol follows the last under the old, and the first of all one
    # before the start.
    expected = [(81.0 + 4 * n) / (77.0 + 4 * n) - 1 for n in range(1, 7)]
    assert list(returns["returns"]) == expected
    alone = wh.features("returns", "NEW", DAYS[4], DAYS[6], freq="day")
    assert pd.isna(alone["returns"].iloc[0])
    assert wh.features("returns", "NEW", DAYS[4], DAYS[6], freq="day", **options)[
        "returns"
    ].tolist() == expected[3:]  # fmt: skip


def test_a_security_that_several_symbols_name_comes_once_in_features_too(made: Made) -> None:
    know(made, securities=RENAMED)
    options: dict[str, Any] = {"freq": "day", "follow_renames": True}
    with Warehouse(made.root) as wh:
        once = wh.features("returns", ["NEW", "B"], DAYS[1], DAYS[6], **options)
        for symbols in (["OLD", "NEW", "B"], ["NEW", "B", "OLD"]):
            found = wh.features("returns", symbols, DAYS[1], DAYS[6], **options)
            pd.testing.assert_frame_equal(found, once)
        loaded = wh.load("day_aggs", ["OLD", "NEW", "B"], DAYS[1], DAYS[6], follow_renames=True)
        assert once["timestamp"].tolist() == loaded["timestamp"].tolist()


@pytest.mark.parametrize("columns", [["price"], ["price", "session"], None])
def test_a_stream_holds_rows_that_are_multiplied_beside_rows_that_are_not(
    make_warehouse: MakeWarehouse, columns: list[str] | None
) -> None:
    rows = [
        {"symbol": symbol, "session": str(day), "clock": "10:00", "price": price, "size": "4"}
        for day in DAYS[3:6]
        for symbol, price in (("A", "400"), ("B", "40"))
    ]
    made = warehouse_of(make_warehouse, "trades", rows, "symbol")
    know(made, [SPLIT])
    with Warehouse(made.root) as wh:
        options: dict[str, Any] = {"data_types": "trades", "adjust": "splits"}
        question = ["A", "B"], DAYS[3], DAYS[5]
        batches = [*wh.stream(*question, columns=columns, **options)]
        prices = [price for batch in batches for price in batch["price"].to_pylist()]
        assert prices == [100.0, 40.0, 400.0, 40.0, 400.0, 40.0]
        assert [name for name in batches[0].schema.names if name == "session"] == (
            ["session"] if columns is None or "session" in columns else []
        )
        told = [
            (row.symbol, row.price, row.size) for row in wh.stream(*question, to="rows", **options)
        ]
        assert told == [
            (row, price, 16 if price == 100 else 4)
            for row, price in zip("ABABAB", prices, strict=True)
        ]


def test_who_follows_bears_another_id_than_who_does_not(wh: Warehouse) -> None:
    question = {**asked(), "symbols": "NEW", "missing": "ignore"}
    plain = wh.fingerprint(**question)
    followed = wh.fingerprint(**question, follow_renames=True)
    assert plain != followed
    assert wh.load(**question).attrs["fingerprint"] == plain
    assert wh.load(**question, follow_renames=True).attrs["fingerprint"] == followed
    assert len(wh.load(**question)) == 3


# Features


def test_a_feature_is_asked_of_adjusted_rows_those_of_its_lookback_too(wh: Warehouse) -> None:
    # The split is on the first session asked: the row before it is in the lookback.
    (first, *_), (plain, *_) = (
        wh.features("returns", "A", DAYS[4], DAYS[6], freq="day", adjust=adjust)["returns"]
        for adjust in ("splits", "none")
    )
    assert plain == 417 / 413 - 1
    assert first == 417 / (413 * 0.25) - 1


@pytest.mark.parametrize(("name", "values"), [("returns", {}), ("volume_ma", {"periods": 2})])
def test_the_macro_of_a_feature_takes_adjust_too(
    name: str, values: dict[str, Any], wh: Warehouse
) -> None:
    question = (name, "A", DAYS[2], DAYS[6])
    given = "".join(f", {parameter} := {value}" for parameter, value in values.items())
    asked_of = f"{name}_of('A', $first, $last, adjust := $adjust, as_of := $as_of, freq := 'day'"
    for how in ({"adjust": "splits"}, {"adjust": "all", "as_of": str(DAYS[7])}):
        loaded = wh.features(*question, freq="day", **values, **how)  # type: ignore[arg-type]
        bound = {"first": DAYS[2], "last": DAYS[6], "as_of": None, **how}
        found = wh.query(f"from {asked_of}{given})", **bound)
        pd.testing.assert_frame_equal(found, loaded)
        assert not found.equals(wh.features(*question, freq="day", **values))


def test_a_feature_keeps_its_word_on_adjusted_rows_as_of_one_session(
    made: Made, wh: Warehouse
) -> None:
    question = ("returns", ["A", "B"], DAYS[0], DAYS[6])
    wh.check_feature(*question, freq="day", adjust="all")
    wh.check_feature(*question, freq="day", adjust="all", as_of=DAYS[7])
    levels = made.root / "sql/features/closes.sql"
    # Of closes themselves: as of each part's own end they would be others before the split.
    levels.write_text(
        "-- features/closes: the close of each bar.\n-- grain: symbol, timestamp\n"
        "-- lookback: none\n-- freq: day\n-- columns: close dollars\n-- source: none\n"
        + "select symbol, timestamp, close, session\nfrom aggs\norder by symbol, timestamp\n"
    )
    with Warehouse(made.root) as fresh:
        fresh.check_feature("closes", "A", DAYS[0], DAYS[6], adjust="splits")
    levels.unlink()


# The shell and the command line


def test_the_shell_gives_what_python_gives(made: Made, wh: Warehouse) -> None:
    loaded = wh.load(**asked(adjust="splits"))
    sql = f"""
        select close::varchar from day_aggs_of(
            'A', '{DAYS[0]}', '{DAYS[6]}', adjust := 'splits'
        )
        order by session
    """
    shell = Path(sysconfig.get_path("scripts")) / "duckdb"
    command = [str(shell), "-readonly", "-csv", "-noheader", str(made.layout.catalog), "-c"]
    done = subprocess.run([*command, sql], capture_output=True, text=True, check=True, timeout=60)
    assert [float(line) for line in done.stdout.split()] == list(loaded["close"])
    wrong = sql.replace("'splits'", "'split'")
    done = subprocess.run(
        [*command, wrong], capture_output=True, text=True, check=False, timeout=60
    )
    assert "adjust = split: it may be none, splits, all" in done.stderr


def test_a_macro_asks_nothing_of_actions_where_nothing_is_adjusted(wh: Warehouse) -> None:
    plans = [
        wh.query(f"explain from day_aggs_of('A', $first, $last{how})", **bounds).iloc[0, 1]
        for how in ("", ", adjust := 'splits'")
        for bounds in [{"first": DAYS[0], "last": DAYS[6]}]
    ]
    assert ["Type: LEFT" in plan for plan in plans] == [False, True]


def test_the_command_line_asks_for_adjusted_features(made: Made, wh: Warehouse) -> None:
    command = ["-C", str(made.root), "features", "returns", "--symbols", "A", "--freq", "day"]
    command += ["--start", str(DAYS[4]), "--end", str(DAYS[6]), "--format", "csv"]
    adjusted = ["--adjust", "splits", "--as-of", str(DAYS[7]), "--follow-renames"]
    for options, expected in (([], 417 / 413 - 1), (adjusted, 417 / (413 * 0.25) - 1)):
        result = CliRunner().invoke(cli, [*command, *options])
        assert result.exit_code == 0, result.output
        first = next(csv.DictReader(io.StringIO(result.stdout)))
        assert float(first["returns"]) == expected
    result = CliRunner().invoke(cli, [*command, "--as-of", str(DAYS[7])])
    assert result.exit_code == 2
    assert "nothing is adjusted" in result.output


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adjust": "split"}, "adjust = 'split': it may be none, splits, all; did you mean splits"),
        ({"adjust": True}, "adjust = True: it may be none, splits, all"),
        ({"adjust": "all", "as_of": "soon"}, "as_of = 'soon': it must be a session"),
        ({"adjust": "all", "as_of": 3}, "as_of = 3: it must be a session"),
        (
            {"adjust": "all", "as_of": "2024-01-29"},
            "as_of = '2024-01-29': it lies before the end of what is asked, 2024-01-30",
        ),
        ({"as_of": "2024-01-31"}, "as_of = '2024-01-31': nothing is adjusted: add adjust="),
        ({"follow_renames": "yes"}, "follow_renames = 'yes': it may be True or False"),
        ({"adjusted": "all"}, "did you mean adjust"),
    ],
)
def test_what_makes_no_adjustment_is_refused(
    wh: Warehouse, options: dict[str, Any], message: str
) -> None:
    for ask in (wh.load, wh.fingerprint):
        with pytest.raises(RequestError) as refused:
            ask(**asked(**options))
        assert message in str(refused.value)
    with pytest.raises(RequestError, match=message.split(":")[0].split(" ")[0]):
        wh.stream("A", DAYS[0], DAYS[6], "day_aggs", **options)


def test_a_series_is_not_asked_of_all_symbols(wh: Warehouse) -> None:
    for ask in (
        lambda: wh.load(**asked(follow_renames=True) | {"symbols": "*"}),
        lambda: wh.panel("day_aggs", "close", DAYS[0], DAYS[6], follow_renames=True),
    ):
        with pytest.raises(RequestError, match="name the symbols, not all"):
            ask()


def test_an_instant_is_as_of_its_session(wh: Warehouse) -> None:
    day = asked(adjust="splits", as_of=DAYS[6])
    instant = asked(adjust="splits", as_of=f"{DAYS[6]} 09:30")
    assert wh.fingerprint(**day) == wh.fingerprint(**instant)


def test_a_cross_section_as_of_later_is_in_shares_of_later(wh: Warehouse) -> None:
    as_traded = wh.cross_section("day_aggs", DAYS[0], adjust="splits")
    later = wh.cross_section("day_aggs", DAYS[0], adjust="splits", as_of=DAYS[6])
    assert as_traded.loc["A", "close"] == 401.0
    assert later.loc["A", "close"] == 401.0 / 4
    assert later.loc["B", "volume"] == 40000.0
    assert later.loc["OLD", "close"] == 81.0
    ratio = Fraction(later.loc["A", "close"]) * Fraction(later.loc["A", "volume"])
    assert ratio == Fraction(401) * Fraction(40000)
