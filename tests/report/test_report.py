"""The report: what it says is what there is, and a browser shows it to everyone, as text."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from building import Made, add_partitions, bar, day_key, instant, make, quote, symbol_key, trade
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, Page, sync_playwright

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.cli.render.brief import sparkline
from warehouse.core.calendar import today
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.request import Request
from warehouse.errors import RequestError
from warehouse.read.availability import states_asked
from warehouse.report import charts, html, symbol_facts
from warehouse.report.answers import Verdict, is_complete, is_right
from warehouse.report.collect import Facts, gather, named_states
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.catalog import Catalog
from warehouse.text import as_json

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

FIRST, LAST = date(2024, 1, 19), date(2024, 1, 31)
TRADING_DAYS = [FIRST + timedelta(days=n) for n in (0, 3, 4, 5, 6, 7, 10, 11, 12)]
DAYS_SHOWN = 13
HERE = TRADING_DAYS[1:4]
STRANDED = (*TRADING_DAYS[4:7], LAST)
SCRIPT = "<script>alert(1)</script>"
FROM_RIGHT = "</script>&lt;b&gt;\"'א\u202eב"
SYMBOLS = ("AAPL", SCRIPT, FROM_RIGHT)
HOSTILE = "<img src=x onerror=alert(1)>"
STATES = ("failed", "not_in_plan", "not_yet", "downloaded")


def quoted(symbol: str) -> str:
    return '"' + symbol.replace('"', '""') + '"'


def tape_of(day: date) -> list[str]:
    """Trades of each symbol, once a minute of the first hour, with every kind of condition."""
    lines = []
    for symbol in SYMBOLS:
        for minute in range(60):
            stamp = instant(day, f"{9 + (30 + minute) // 60:02}:{(30 + minute) % 60:02}")
            conditions = ("", "37", "15", "2", "<b>9</b>&lt;")[minute % 5]
            price = 10 + minute % 7 / 100
            lines.append(
                trade(quoted(symbol), stamp, minute + 1, price=price, conditions=conditions)
            )
        lines.append(trade(quoted(symbol), instant(day, "10:40"), 99, correction=8))
    return lines


def quotes_of(day: date) -> list[str]:
    """A quote a minute, its spread 1, 2 or 3 cents; every tenth is one-sided."""
    lines = []
    for minute in range(390):
        stamp = instant(day, "09:30") + minute * 60_000_000_000
        ask = 0 if minute % 10 == 9 else f"{10 + (1 + minute % 3) / 100:.2f}"
        lines.append(quote("AAPL", stamp, minute + 1, bid=10, ask=ask))
    return lines


def bars_of(day: date) -> list[str]:
    """A bar a minute of regular hours, but for 12:00 to 12:20."""
    minutes = [minute for minute in range(390) if not 150 <= minute < 170]
    return [bar("AAPL", instant(day, "09:30") + minute * 60_000_000_000) for minute in minutes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A warehouse in which everything that may happen to a session has happened to one."""
    files: dict[str, Any] = {}
    for day in HERE:
        files[day_key("trades", day)] = tape_of(day)
        files[day_key("quotes", day)] = quotes_of(day)
        files[day_key("minute_aggs", day)] = bars_of(day)
    files[day_key("trades", TRADING_DAYS[0])] = b"\x1f\x8b this is no gzip"
    made = make(tmp_path_factory.mktemp("report"), files)
    made.update("trades", "quotes", "minute_aggs", start=FIRST, end=LAST)
    made.put(day_key("trades", HERE[0]), tape_of(HERE[0])[:-1])
    made.update("trades", start=FIRST, end=LAST)
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        for day, state in zip(STRANDED, STATES, strict=True):
            catalog.execute(
                "update source_files set state = ?, problem = ? where data_type = 'trades'"
                " and day = ?",
                [state, HOSTILE, day],
            )
        catalog.execute(
            "delete from source_files where data_type = 'trades' and day = ?", [TRADING_DAYS[7]]
        )
        catalog.execute(
            "update source_files set rejects_by_reason = map {'cancelled': 15, ?: 4}"
            " where data_type = 'trades' and day = ?",
            [HOSTILE, HERE[1]],
        )
        catalog.execute("delete from findings")
        rows = json.dumps([{"price": 1.5, "note": HOSTILE}, {"price": None, "note": SCRIPT}])
        for rule, severity, symbol, count, allowed in (
            ("crossed_quotes", "error", SCRIPT, 12, None),
            ("crossed_quotes", "error", "AAPL", 3, None),
            ("<b>my_rule</b>", "warning", FROM_RIGHT, 2, None),
            ("stale_quotes", "warning", None, 7, f"known since {HOSTILE}"),
        ):
            catalog.execute(
                "insert into findings"
                " values ('r', now()::timestamp, ?, ?, 'quotes', ?, ?, ?, ?, ?)",
                [rule, severity, symbol, HERE[0], count, rows, allowed],
            )
    return made


@pytest.fixture(scope="module")
def facts(made: Made) -> Facts:
    with Warehouse(made.root) as warehouse:
        return warehouse.report(symbols=SYMBOLS)


@pytest.fixture(scope="module")
def page_file(facts: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    html.save(facts, path, "warehouse -C w")
    return path


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("what", ["rows", "file_bytes"])
def test_a_session_alone_has_a_bar_as_wide_as_one_of_many(
    facts: Facts, made: Made, what: str
) -> None:
    alone = charts.by_session(gather(made.layout, made.config, HERE[0], HERE[0]), what)
    many = charts.by_session(facts, what)
    assert alone is not None
    assert many is not None
    assert len({bars.x for bars in alone.figure.data}) == 1
    day = timedelta(days=1) / timedelta(milliseconds=1)
    for chart in (alone, many):
        assert all(0.5 * day < bars.width < day for bars in chart.figure.data)


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(cli, arguments, prog_name="warehouse")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result


def row_of(facts: Facts, data_type: str, day: date) -> dict[str, Any]:
    (row,) = (
        row
        for row in facts.coverage
        if (row["data_type"], row["session"]) == (data_type, day.isoformat())
    )
    return row


# The facts


def test_each_session_is_in_the_state_that_its_file_is_in(facts: Facts) -> None:
    states = [row_of(facts, "trades", day)["state"] for day in TRADING_DAYS]
    assert states == [
        "set_aside", "here", "here", "here", "failed", "not_in_plan", "not_yet", "never", "waiting",
    ]  # fmt: skip
    assert {row_of(facts, "quotes", day)["state"] for day in TRADING_DAYS[4:]} == {"missing"}


def test_rows_and_symbols_of_a_session_are_those_of_its_partitions(
    made: Made, facts: Facts
) -> None:
    for name in ("trades", "quotes", "minute_aggs"):
        table = made.table(name)
        for day in HERE:
            rows = [
                symbol
                for symbol, session in zip(
                    table["symbol"].to_pylist(), table["session"].to_pylist(), strict=True
                )
                if session == day
            ]
            row = row_of(facts, name, day)
            assert (row["rows"], row["symbols"]) == (len(rows), len(set(rows)))


def test_a_range_that_is_asked_for_is_expected_whole(made: Made) -> None:
    early = gather(made.layout, made.config, date(2024, 1, 16), HERE[0])
    states = {
        row["session"]: row["state"] for row in early.coverage if row["data_type"] == "quotes"
    }
    assert states == {
        "2024-01-16": "never", "2024-01-17": "never", "2024-01-18": "never",
        "2024-01-19": "missing", "2024-01-22": "here",
    }  # fmt: skip
    assert early.complete.answer == "no"


def test_sessions_before_and_after_what_there_is_of_a_data_type_are_no_gap(made: Made) -> None:
    days = [date(2024, 1, 16), *TRADING_DAYS]
    with Catalog(made.layout) as catalog:
        statement = SqlFolder(made.root / "sql")["coverage/states"]
        rows = catalog.rows_of(statement, **states_asked(DATA_TYPES["trades"], None, days))

    def state(*, whole: bool) -> str:
        found = {row["session"]: row["state"] for row in named_states(rows, set(days), whole=whole)}
        return found[days[0]]

    assert (state(whole=False), state(whole=True)) == ("outside", "never")


def test_the_report_and_coverage_say_the_same_of_each_session(made: Made) -> None:
    now = today()
    first = now - timedelta(days=6)
    for start, end in ((FIRST, LAST), (first, now)):
        reported = gather(made.layout, made.config, start, end).coverage
        with Warehouse(made.root) as wh:
            frame = wh.coverage(list(DATA_TYPES), "AAPL", start, end)
        same = {"present": "here", "no_rows": "here", "unknown": "here"}
        days = frame["session"].dt.date.astype(str)
        for name, day, state in zip(frame["data_type"], days, frame["state"], strict=True):
            told = [row for row in reported if (row["data_type"], row["session"]) == (name, day)]
            if told and state == "not_ingested":
                assert told[0]["state"] in ("never", "waiting")
            elif told:
                assert told[0]["state"] == same.get(state, state)
            else:
                assert state in ("not_ingested", "not_yet")
        # What is not due yet was never missing.
        assert {row["state"] for row in reported if row["session"] == str(now)} <= {"not_yet"}


def test_a_months_file_of_a_symbol_that_failed_is_told_of_its_sessions(tmp_path: Path) -> None:
    day = HERE[0]
    made = make(
        tmp_path,
        {
            symbol_key("trades", day, "A"): [trade("A", instant(day))],
            symbol_key("day_aggs", day, "A"): b"\x1f\x8b this is no gzip",
        },
        source__layout="symbol",
    )
    made.update("trades", "day_aggs", start=day, end=day)
    row = row_of(gather(made.layout, made.config, day, day), "day_aggs", day)
    assert (row["state"], row["rows"]) == ("set_aside", 0)


def test_one_file_a_symbol_covers_its_sessions_too(tmp_path: Path) -> None:
    first, second = HERE[:2]
    files: dict[str, Any] = {
        symbol_key("trades", first, "A"): [trade("A", instant(first))],
        symbol_key("trades", first, "B"): [trade("B", instant(first))],
        symbol_key("trades", second, "B"): [trade("B", instant(second))],
        symbol_key("day_aggs", first, "A"): [
            bar("A", instant(first, "00:00")),
            bar("A", instant(second, "00:00")),
        ],
    }
    made = make(tmp_path, files, source__layout="symbol")
    made.update("trades", "day_aggs", start=first, end=second)
    found = gather(made.layout, made.config)
    assert (found.start, found.end) == (first.isoformat(), second.isoformat())
    counts = [row_of(found, "trades", day)["symbols"] for day in (first, second)]
    assert counts == [2, 1]
    assert [row_of(found, "day_aggs", day)["rows"] for day in (first, second)] == [1, 1]
    assert found.complete.answer == "yes"


def test_the_command_that_is_advised_asks_for_no_data_type_that_nobody_asked_for(
    tmp_path: Path,
) -> None:
    first, last = HERE[0], HERE[1]
    made = make(tmp_path, {day_key("trades", first): [trade("A", instant(first))]})
    made.pipeline.update(Request.of(["trades", "quotes"], first, last))
    found = gather(made.layout, made.config)
    assert found.complete.answer == "no"
    assert found.complete.command == f"update trades quotes --start {first} --end {last}"


def test_a_data_type_that_ends_before_others_is_said_to(tmp_path: Path) -> None:
    first, last = HERE[:2]
    files = {day_key("quotes", day): [quote("A", instant(day))] for day in (first, last)}
    made = make(tmp_path, {**files, day_key("trades", first): [trade("A", instant(first))]})
    made.pipeline.update(Request.of(["trades", "quotes"]))
    found = gather(made.layout, made.config).complete
    assert found.answer == "yes"
    assert f" There are no trades after {first}. " in found.text
    made.put(day_key("trades", last), [trade("A", instant(last))])
    made.pipeline.update(Request.of(["trades", "quotes"]))
    assert " after " not in gather(made.layout, made.config).complete.text


def test_a_later_version_that_failed_is_pointed_out_and_the_rows_are_here(tmp_path: Path) -> None:
    day = HERE[0]
    made = make(tmp_path, {day_key("trades", day): [trade("A", instant(day))]})
    made.update()
    made.put(day_key("trades", day), b"\x1f\x8b this is no gzip")
    made.update()
    found = gather(made.layout, made.config)
    row = row_of(found, "trades", day)
    assert (row["state"], row["rows"], row["unfinished"]) == ("here", 1, 1)
    assert "a later version of its file is not published" in html.html(found, "warehouse")


def test_what_is_missing_makes_the_answer_no_and_names_the_command(facts: Facts) -> None:
    assert facts.complete.answer == "no"
    types = "trades quotes minute_aggs"
    assert facts.complete.command == f"update {types} --start 2024-01-19 --end 2024-01-31"
    assert "missing at the vendor" in facts.complete.text


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (("update", "interrupted"), "The last update was interrupted: what it had yet to fetch"),
        (("download", "interrupted"), "The last download was interrupted: what it had yet to"),
        (("update", "failed"), "The last update failed: what it had yet to fetch, if anything, is"),
        (("download", "done"), ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("state", ["waiting", "here", "missing"])
def test_after_a_run_that_was_cut_short_what_is_known_is_not_said_to_be_all(
    state: str, last: tuple[str, str] | None, said: str
) -> None:
    row = {"data_type": "trades", "session": FIRST, "state": state, "rows": 0, "rejects": 0}
    # What was done since brings nothing more.
    runs = [{"command": command, "state": "done"} for command in ("validate", "ingest")]
    runs += [{"command": last[0], "state": last[1]}] if last else []
    found = is_complete(1, [row], FIRST, FIRST, runs)
    assert (said in found.text) if said else ("The last" not in found.text)


def test_a_session_whose_rows_were_all_rejected_is_not_said_to_be_all_there(
    tmp_path: Path,
) -> None:
    # Of trades each line is of another session than its file's.
    rows = {
        "trades": [trade("A", instant(HERE[1]), n) for n in range(3)],
        "quotes": [quote("A", instant(HERE[0]))],
        "minute_aggs": [bar("A", instant(HERE[0]))],
        "day_aggs": [bar("A", instant(HERE[0], "00:00"))],
    }
    made = make(tmp_path, {day_key(name, HERE[0]): lines for name, lines in rows.items()})
    made.update()
    found = gather(made.layout, made.config).complete
    assert (found.answer, found.command) == ("mostly", 'query "from rejects"'), found.text
    assert found.text.endswith(" 1 of trades had all rows rejected.")


def test_errors_make_the_answer_no_warnings_mostly_and_what_is_allowed_yes(facts: Facts) -> None:
    assert facts.right.answer == "no"
    assert facts.right.command == "validate"
    assert "2 errors by 1 rule and 1 warning by 1 rule" in facts.right.text
    warnings = [rule for rule in facts.rules if rule["severity"] == "warning"]
    assert is_right(1, facts.files, warnings, "all").answer == "mostly"
    allowed = [rule for rule in facts.rules if rule["allowed"] is not None]
    assert is_right(1, facts.files, allowed, "all").answer == "yes"
    assert is_right(1, facts.files, [], "all").answer == "yes"
    assert is_right(1, facts.files, [], "ingest").answer == "mostly"
    assert is_right(1, facts.files, [], "never").answer == "unknown"


def test_what_came_in_after_a_validation_was_asked_by_the_rules_of_ingest_alone(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, {day_key("trades", HERE[0]): [trade("A", instant(HERE[0]))]})
    checked = []
    for step in (made.update, lambda: made.pipeline.validate(Request.of()), made.update):
        step()
        checked.append(gather(made.layout, made.config).checked)
        made.put(day_key("trades", HERE[1]), [trade("A", instant(HERE[1]))])
    assert checked == ["ingest", "all", "ingest"]


@pytest.mark.parametrize("asked", ["a session that is not there", "a type", "a symbol", "a rule"])
def test_a_validation_in_part_does_not_pass_for_one_of_all(tmp_path: Path, asked: str) -> None:
    made = make(tmp_path, {day_key("trades", HERE[0]): [trade("A", instant(HERE[0]))]})
    made.update()
    request = {
        "a session that is not there": Request.of((), HERE[0] + timedelta(days=3000)),
        "a type": Request.of(("trades",)),
        "a symbol": Request.of((), None, None, ("A",)),
        "a rule": Request.of(),
    }[asked]
    made.pipeline.validate(request, ("time_gaps",) if asked == "a rule" else ())
    assert gather(made.layout, made.config).checked == "ingest"
    made.pipeline.validate(Request.of())
    assert gather(made.layout, made.config).checked == "all"


def test_a_file_whose_lines_do_not_add_up_makes_the_answer_no(facts: Facts) -> None:
    off = [{**row, "off": row["off"] + 1} for row in facts.files]
    assert sum(row["off"] for row in facts.files) == 0
    assert is_right(1, off, [], "all").answer == "no"


def test_a_file_that_the_vendor_replaced_is_remembered(tmp_path: Path) -> None:
    first, second = HERE[:2]
    lines = [trade("A", instant(first), 1), trade("A", instant(first), 2)]
    made = make(tmp_path, {day_key("trades", first): lines})
    made.update()
    assert gather(made.layout, made.config).restatements == []
    made.put(day_key("trades", first), lines[:1])
    made.update()
    made.put(day_key("trades", second), [trade("B", instant(second))])
    made.update()
    found = gather(made.layout, made.config)
    (one,) = found.restatements
    assert one["source"] == day_key("trades", first)
    assert (one["earlier_rows"], one["rows_published"]) == (2, 1)
    assert one["sha256"] != one["earlier_sha256"]
    assert one["source"] in html.html(found, "warehouse")


def test_an_empty_warehouse_has_facts_too(empty: Made) -> None:
    found = gather(empty.layout, empty.config)
    assert (found.complete.answer, found.right.answer) == ("unknown", "unknown")
    assert (found.start, found.coverage, found.generation) == (None, [], 0)
    assert all(held["rows"] == 0 for held in found.holdings.values())


@pytest.mark.parametrize(("start", "end"), [(HERE[0], None), (None, HERE[0])])
def test_of_an_empty_warehouse_a_range_with_one_end_is_drawn_too(
    empty: Made, start: date | None, end: date | None
) -> None:
    page = html.html(gather(empty.layout, empty.config, start, end), "warehouse")
    day = f"{HERE[0].day} {HERE[0]:%b %Y}"
    assert f"Sessions {'from ' if start else ' to '}{day}" in page
    # There is nothing that these would look at.
    assert "warehouse validate" not in page
    assert "warehouse reconcile" not in page


def test_a_range_of_which_there_is_nothing_is_not_all_that_the_warehouse_has(made: Made) -> None:
    first, last = date(2015, 1, 5), date(2015, 1, 9)
    found = gather(made.layout, made.config, first, last)
    assert found.complete == Verdict(
        "no",
        "There is nothing of 2015-01-05 to 2015-01-09.",
        "update --start 2015-01-05 --end 2015-01-09",
    )
    assert (found.right.answer, found.right.command) == ("unknown", "")
    weekend = gather(made.layout, made.config, date(2015, 1, 10), date(2015, 1, 11))
    assert "the exchange has no session" in weekend.complete.text.lower()
    ahead = gather(made.layout, made.config, date(2090, 1, 2), date(2090, 1, 6))
    assert ahead.complete.text == "No session of 2090-01-02 to 2090-01-06 is due yet."


# What is drawn of a symbol


def symbol_of(facts: Facts, name: str) -> dict[str, Any]:
    (found,) = (row for row in facts.symbols if row["symbol"] == name)
    return found


def test_few_trades_are_drawn_all_and_each_as_its_conditions_allow(facts: Facts) -> None:
    found = symbol_of(facts, "AAPL")["trades"]
    assert found["of_trades"] == len(found["rows"]) == 60 * len(HERE)
    kinds = {row["conditions"]: row["may_set"] for row in found["rows"]}
    assert kinds[""] == "everything"
    assert kinds["37"] == "volume only"
    # A condition that the table does not know forbids nothing.
    assert kinds["<b>9</b>&lt;"] == "everything"


def test_of_many_trades_no_kinds_extreme_is_lost_and_the_choice_is_always_the_same(
    tmp_path: Path,
) -> None:
    day = HERE[0]
    lines = [
        trade(
            "A",
            instant(day, "09:30", number * 7_000_000_000),
            number,
            price=f"{10 + (number * 7919 % 1009) / 100:.2f}",
            conditions=("", "37")[number % 2],
        )
        for number in range(1, 3_001)
    ]
    made = make(tmp_path, {day_key("trades", day): lines})
    made.update("trades", start=day, end=day)
    drawn = []
    for _ in range(2):
        with Warehouse(made.root) as warehouse:
            whole = warehouse.report(symbols="A")
        drawn.append(whole.symbols[0]["trades"])
    assert drawn[0] == drawn[1]
    assert drawn[0]["of_trades"] == 3_000
    assert len(drawn[0]["rows"]) < symbol_facts.MOST_TRADES
    for kind, parity in (("everything", 0), ("volume only", 1)):
        prices = [
            10 + (number * 7919 % 1009) / 100 for number in range(1, 3_001) if number % 2 == parity
        ]
        shown = [row["price"] for row in drawn[0]["rows"] if row["may_set"] == kind]
        assert min(shown) == pytest.approx(min(prices))
        assert max(shown) == pytest.approx(max(prices))
    page = html.html(whole, "warehouse")
    assert f"{len(drawn[0]['rows']):,} of 3,000 trades" in page


def test_the_quoted_spread_is_weighted_by_the_time_that_each_quote_stood(facts: Facts) -> None:
    rows = symbol_of(facts, "AAPL")["quoted"]["rows"]
    assert len(rows) == 78
    for place, row in enumerate(rows):
        # Second by second, as the quotes were made.
        seconds: list[float] = []
        out = 0
        for second in range(place * 300, place * 300 + 300):
            minute = second // 60
            if minute % 10 == 9:
                out += 1
            else:
                seconds.append(1 + minute % 3)
        assert row["spread_cents"] == pytest.approx(statistics.fmean(seconds), abs=1e-3)
        assert row["seconds_out"] == out * len(HERE)
    assert (rows[0]["time"], rows[-1]["time"]) == ("09:30", "15:55")


def test_minutes_are_drawn_together_until_they_fit_and_lose_no_volume(facts: Facts) -> None:
    found = symbol_of(facts, "AAPL")["candles"]
    assert found["width"] == "5 minutes"
    assert found["of_bars"] == 370 * len(HERE) == sum(row["bars"] for row in found["rows"])
    assert len(found["rows"]) <= symbol_facts.MOST_CANDLES
    assert sum(row["volume"] for row in found["rows"]) == 100 * found["of_bars"]
    assert found["rows"][0]["start"] == "2024-01-22T09:30:00-05:00"


def test_a_stretch_without_bars_and_a_session_without_any_are_gaps(facts: Facts) -> None:
    gaps = symbol_of(facts, "AAPL")["gaps"]["rows"]
    within = [gap for gap in gaps if not gap["is_session"]]
    assert [(gap["start"][11:16], gap["end"][11:16], gap["minutes"]) for gap in within] == [
        ("12:00", "12:20", 20.0)
    ] * len(HERE)
    missing = [date.fromisoformat(gap["session"]) for gap in gaps if gap["is_session"]]
    assert missing == [day for day in TRADING_DAYS if day not in HERE]


# For programs


def test_json_holds_what_the_charts_are_drawn_from(made: Made, page_file: Path) -> None:
    printed = run("-C", str(made.root), "report", "--json", "--symbols", ",".join(SYMBOLS)).stdout
    assert printed.isascii()
    found = json.loads(printed)
    drawn = embedded(page_file)
    charts = drawn["charts"]
    rows = {
        (row["data_type"], row["session"]): row["rows"] for row in found["coverage"] if row["rows"]
    }
    shown = {
        (trace["name"], session): value
        for trace in charts["rows"]["data"]
        for session, value in zip(trace["x"], trace["y"], strict=True)
    }
    assert shown == rows
    assert charts["rejects"]["data"][0]["x"] == [row["rows"] for row in found["rejects"]]
    symbol = found["symbols"][0]
    assert charts["candles-1"]["data"][0]["high"] == [
        row["high"] for row in symbol["candles"]["rows"]
    ]
    assert sum(len(trace["x"]) for trace in charts["trades-1"]["data"]) == len(
        symbol["trades"]["rows"]
    )
    assert charts["depth-1"]["data"][1]["y"] == [
        row["ask_size"] for row in symbol["quoted"]["rows"] if row["seconds"]
    ]


def embedded(page_file: Path) -> Any:
    text = page_file.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="drawn">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_file_stands_where_it_was_asked_and_is_opened_where_that_was_asked(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.chdir(tmp_path)
    said = run("-C", str(made.root), "report").stdout
    assert re.fullmatch(r"report\.html: \d\.\d MB\n", said)
    run("-C", str(made.root), "report", "-o", "other.html", "--open")
    assert opened == [(tmp_path / "other.html").as_uri()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.html", "report.html"]
    json.loads(run("-C", str(made.root), "report", "--json").stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.html", "report.html"]


def test_where_no_file_is_named_none_is_written_through_a_link(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("keep")
    folder = tmp_path / "of a stranger"
    folder.mkdir()
    (folder / "report.html").symlink_to(mine)
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(cli, ["-C", str(made.root), "report"])
    assert result.exit_code == 2
    assert result.stderr == "Error: report.html: is a link; name the file to write with -o\n"
    assert mine.read_text() == "keep"
    run("-C", str(made.root), "report", "-o", "report.html")
    assert mine.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--symbols", "aapl"), "near it: AAPL"),
        (("--symbols", "NOPE"), "no such symbol"),
        (("--symbols", "A,"), "an empty name is no symbol"),
        (("--start", "2024-01-31", "--end", "2024-01-02"), "lies before start"),
        (("--start", "yesterday"), "YYYY-MM-DD"),
        (("-o", "no/such/folder/x.html"), "cannot be written"),
        (("-o", "report.pdf"), "which nothing opens as .pdf; let it end in .html"),
        (("-o", "report.JSON"), "which nothing opens as .json; let it end in .html"),
    ],
)
def test_what_cannot_be_is_one_line(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("-C", str(made.root), "report", *arguments, exit_code=2)
    assert complaint in result.stderr
    assert re.fullmatch(r"Error: .+\n", result.stderr)
    assert not list(tmp_path.iterdir())


def test_a_page_of_python_has_no_name_of_a_picture_either(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh, pytest.raises(RequestError, match=r"let it end in \.html"):
        wh.report(tmp_path / "report.png")
    assert not list(tmp_path.iterdir())


def test_days_that_wait_for_their_files_are_no_end_of_what_is_here(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("quotes", HERE[0]): quotes_of(HERE[0])})
    made.update("quotes", start=HERE[0], end=HERE[0])
    made.update("quotes", start=date(2990, 1, 2), end=date(2990, 1, 3))
    facts = gather(made.layout, made.config)
    assert (facts.start, facts.end) == (str(HERE[0]), str(HERE[0]))
    # Those that were to be there count wherever they are.
    made.update("quotes", start=date(2024, 3, 1), end=date(2024, 3, 1))
    assert gather(made.layout, made.config).end == "2024-03-01"


def test_status_tells_it_in_short(made: Made) -> None:
    said = run("-C", str(made.root), "status").stdout
    assert re.search(r"^all there  no\. ", said, re.MULTILINE)
    assert re.search(r"^right      no\. ", said, re.MULTILINE)
    assert re.search(r"^trades +×███××××? ", said, re.MULTILINE)
    assert re.search(r"^quotes .* 2 errors, 1 warning$", said, re.MULTILINE)
    assert "\u202e" not in said
    # A command is one line, whatever the folder's name: it is there to be pasted.
    lines = [line for line in said.splitlines() if f"warehouse -C {made.root}" not in line]
    assert max(map(len, lines)) <= 120


def test_a_sparkline_shows_zero_the_highest_and_what_is_not_there() -> None:
    assert sparkline([0, 1, 50, 100, None]) == "·▁▄█×"
    assert sparkline([None, 0]) == "×·"
    assert sparkline([]) == ""


# The page


class Elements(HTMLParser):
    """Names of all elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_asks_for_nothing_from_anywhere(page_file: Path) -> None:
    found = Elements(page_file.read_text("utf-8")).found
    addresses = [
        value
        for _, attributes in found
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert addresses
    assert all(value and value.startswith(("#", "data:,")) for value in addresses)
    assert len([tag for tag, _ in found if tag == "script"]) == 3


def test_what_has_no_data_says_so_and_names_the_command(empty: Made) -> None:
    text = html.html(gather(empty.layout, empty.config), "warehouse -C w")
    said = re.sub(r"<[^>]+>", " ", text.partition("<main")[2].partition("<script")[0])
    said = " ".join(said.split())
    for sentence in (
        "Nothing has been ingested yet. warehouse -C w update",
        "No session is known of yet. Get the vendor's files with: warehouse -C w update --start",
        "There are no rows in this range. Get some with: warehouse -C w update",
        "There is nothing to validate in this range. Get some with: warehouse -C w update",
        "Nothing has been read yet. Start with: warehouse -C w update",
        "No file is known of. Look at the source with: warehouse -C w update --dry-run",
        "The catalog remembers no run. The first is: warehouse -C w update",
        "No symbol was asked for.",
    ):
        assert sentence in said.replace("&#39;", "'"), sentence


@pytest.mark.parametrize(
    ("first", "last", "command"),
    [
        (date(2024, 2, 3), date(2024, 2, 4), None),  # a weekend
        (date(2024, 2, 1), date(2024, 2, 2), "update --start 2024-02-01 --end 2024-02-02"),
    ],
)
def test_of_a_range_without_anything_no_command_is_named_that_brings_nothing(
    made: Made, first: date, last: date, command: str | None
) -> None:
    text = html.html(gather(made.layout, made.config, first, last), "warehouse")
    main = text.partition("<main")[2].partition("<script")[0]
    said = " ".join(re.sub(r"<[^>]+>", " ", main).split())
    more = f" Get some with: warehouse {command}" if command else ""
    for sentence in (
        "No session of this range is known of.",
        "There are no rows in this range.",
        "There is nothing to validate in this range.",
        "There is nothing to compare in this range.",
    ):
        assert f"{sentence}{more} " in said, sentence
    assert "No file of this range is known of." in said
    assert "See the calendars" not in said
    assert "Get some with: warehouse update " not in said or command


def test_a_symbol_without_quotes_says_so(facts: Facts) -> None:
    found = html.html(facts, "warehouse")
    assert found.count("There are no quotes of it in this range.") == len(SYMBOLS) - 1


def test_what_no_update_brings_is_not_sought_by_one(made: Made) -> None:
    day = str(HERE[0])
    with Warehouse(made.root) as warehouse:
        here = html.html(warehouse.report(symbols=[SCRIPT], start=day, end=day), "warehouse")
        all_days = html.html(warehouse.report(symbols=[SCRIPT]), "warehouse")
    said = " ".join(unescape(re.sub(r"<[^>]+>", " ", here)).split())
    assert (
        "There are no quotes of it in this range. The sessions are here; why it has none in them is"
        f" told by: warehouse coverage quotes --symbols='{SCRIPT}' --start {day} --end {day}"
    ) in said
    assert "update quotes" not in here
    assert "update quotes" in all_days


def test_a_report_of_a_long_time_draws_months_and_says_so(facts: Facts) -> None:
    (row,) = facts.coverage[:1]
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(900)]
    long = replace(
        facts,
        start="2020-01-01",
        end=days[-1].isoformat(),
        coverage=[
            {**row, "data_type": "trades", "state": "here", "rows": 5, "session": day.isoformat()}
            for day in days
        ],
        symbols=[],
    )
    page = html.html(long, "warehouse")
    assert "900 sessions are more than a screen shows apart" in page
    assert page.count('<details class="year"') == 3 * 1
    assert page.count('data-state="here"') == 900


def test_the_catalog_of_5000_symbols_and_a_month_takes_less_than_10_seconds(
    tmp_path: Path,
) -> None:
    day = HERE[0]
    made = make(tmp_path, {day_key("trades", day): [trade("A", instant(day))]})
    made.update("trades", start=day, end=day)
    add_partitions(
        made,
        """
        select
            data_type, 'S' || n as symbol, date '2024-01-01' as month,
            data_type || '/S' || n || '/2024_01.parquet' as file,
            21000::bigint as rows, 100000::bigint as bytes,
            timestamp_ns '2024-01-02' as first_timestamp,
            timestamp_ns '2024-01-31' as last_timestamp, 'x' as sha256, 'y' as fingerprint,
            list_transform(range(21), lambda d: struct_pack(
                session := date '2024-01-02' + (d * 29 // 20)::integer, rows := 1000::bigint,
                rejects := 1::bigint, source := 's', etag := 'e', sha256 := 'h',
                fingerprint := null::varchar)) as sessions
        from range(5000) t(n), (select unnest(['trades', 'quotes', 'minute_aggs']) as data_type)
        """,
    )
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute(
            """
            insert into findings
            select 'r', now()::timestamp, 'rule' || n % 30, 'warning', 'trades', 'S' || n % 5000,
                date '2024-01-02' + (n % 20)::integer, n, '[{"price": 1}]', null
            from range(100000) t(n)
            """
        )
    began = time.process_time()
    found = gather(made.layout, made.config)
    html.save(found, tmp_path / "report.html", "warehouse")
    assert time.process_time() - began < 10
    assert found.holdings["quotes"]["rows"] == 5000 * 21 * 1000
    made_up = [rule["findings"] for rule in found.rules if rule["rule"].startswith("rule")]
    assert (len(made_up), sum(made_up)) == (30, 100_000)


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


OpenPage = Callable[..., Page]


def wait_until(page: Page, condition: str) -> None:
    """Wait until JavaScript is true; Playwright's own wait needs `eval`, which the page forbids."""
    deadline = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


@pytest.fixture(scope="module")
def open_page(browser: Browser, page_file: Path) -> Iterator[OpenPage]:
    """Opens the report: `open_page(width=360, color_scheme="dark")`; nothing may go wrong in it."""
    problems: list[str] = []

    def opened(width: int = 1100, file: Path = page_file, **options: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.on("console", lambda said: problems.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:"))
                else problems.append(f"request: {request.url}")
            ),
        )
        page.goto(file.as_uri())
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        wait_until(page, "!document.querySelector('.plot:not(:has(.main-svg))')")
        return page

    yield opened
    assert problems == []


@pytest.fixture(scope="module")
def page(open_page: OpenPage) -> Page:
    """The report on a desk, in the light. What a test opens in it stays open."""
    return open_page()


def test_every_chart_is_drawn_without_an_error_or_a_request(page: Page, page_file: Path) -> None:
    charts = embedded(page_file)["charts"]
    assert {"rows", "file-bytes", "rejects", "runs", "candles-1", "spread-1", "depth-1"} < {*charts}
    assert page.locator(".plot .main-svg").count() >= len(charts)
    bars = page.locator("#rows .bars .point").count()
    assert bars == sum(len(trace["x"]) for trace in charts["rows"]["data"])


def test_the_page_may_not_reach_the_network_even_if_it_tried(
    browser: Browser, page_file: Path
) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
            addEventListener("securitypolicyviolation", (e) => resolve(e.violatedDirective));
            fetch("https://example.invalid/").catch(() => {});
        })"""
    )
    assert blocked == "connect-src"
    injected = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = true";
            document.body.append(script);
            return window.injected === true;
        }"""
    )
    assert injected is False
    page.close()


def test_the_calendars_have_a_cell_for_each_day_and_a_state_for_each_session(
    page: Page, facts: Facts
) -> None:
    for name in ("trades", "quotes", "minute_aggs"):
        calendar = page.locator(f'section[aria-labelledby="calendar-{name}"]')
        assert calendar.locator("td.d").count() == DAYS_SHOWN
        assert calendar.locator("td.closed").count() == DAYS_SHOWN - len(TRADING_DAYS)
        states = calendar.locator("td[data-state]").evaluate_all(
            "cells => cells.map(cell => cell.dataset.state)"
        )
        assert states == [row["state"] for row in facts.coverage if row["data_type"] == name]
    none = page.locator('section[aria-labelledby="calendar-day_aggs"]')
    assert "There are no day_aggs." in none.inner_text()


def test_no_two_states_look_alike_without_their_colours(page: Page) -> None:
    texts = page.locator(
        'section[aria-labelledby="calendar-trades"] td[data-state]'
    ).all_inner_texts()
    assert texts == ["!", "22", "23", "24", "#", "–", "○", "?", "…"]


def test_a_click_on_a_rule_shows_its_rows(page: Page) -> None:
    rule = page.locator('details[data-rule="crossed_quotes"]')
    rows = rule.locator("tbody tr")
    assert not rows.first.is_visible()
    rule.locator("summary").click()
    assert rows.first.is_visible()
    assert "ask" in rule.locator("> p").first.inner_text()
    assert rows.count() == 4
    assert rows.first.locator("td").all_inner_texts() == [
        SCRIPT, HERE[0].isoformat(), "quotes", "12", "1.5", HOSTILE,
    ]  # fmt: skip


def test_the_keyboard_alone_reaches_everything(page: Page) -> None:
    wanted = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll("a[href], summary, input, [tabindex='0']")]
                .filter((one) => one.checkVisibility());
            all.forEach((one, n) => { one.dataset.stop = n; });
            return all.length;
        }"""
    )
    page.locator("a.skip").focus()
    reached = [page.evaluate("document.activeElement.dataset.stop")]
    for _ in range(wanted - 1):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.stop"))
    assert reached == [str(n) for n in range(wanted)]
    kinds = page.evaluate(
        "[...new Set([...document.querySelectorAll('[data-stop]')].map((one) => one.localName))]"
    )
    assert {*kinds} == {"a", "div", "input", "summary", "td"}


def test_the_keyboard_opens_a_rule_and_walks_through_a_calendar(page: Page) -> None:
    rule = page.locator('details[data-rule="<b>my_rule</b>"]')
    rule.locator("summary").focus()
    page.keyboard.press("Enter")
    assert rule.locator("tbody tr").first.is_visible()

    calendar = page.locator('section[aria-labelledby="calendar-trades"]')
    calendar.locator("td[tabindex='0']").focus()
    readout = calendar.locator(".readout")
    assert "19 Jan 2024" in readout.inner_text()
    assert "set aside (2024-01-19.csv.gz: is damaged" in readout.inner_text()
    page.keyboard.press("ArrowRight")
    assert "20 Jan 2024, trades: exchange closed" in readout.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert "26 Jan 2024" in readout.inner_text()
    page.keyboard.press("End")
    assert "31 Jan 2024" in readout.inner_text()
    assert "not ingested" in readout.inner_text()
    assert calendar.locator("td[tabindex='0']").count() == 1


def test_on_the_axis_of_time_sessions_follow_each_other_over_nights_and_weekends(
    open_page: OpenPage, tmp_path: Path
) -> None:
    days = [date(2024, 1, 11), date(2024, 1, 12), date(2024, 1, 16), date(2024, 1, 17)]
    files = {
        day_key("minute_aggs", day): [
            bar("A", instant(day, clock)) for clock in ("04:00", "09:30", "15:59", "19:59")
        ]
        for day in days
    }
    made = make(tmp_path, files)
    made.update("minute_aggs", start=days[0], end=days[-1])
    with Warehouse(made.root) as warehouse:
        warehouse.report(tmp_path / "report.html", symbols="A")
    page = open_page(file=tmp_path / "report.html")
    places = page.evaluate(
        """() => {
            const plot = document.getElementById("candles-1");
            return plot.data[0].x.map((x) => plot._fullLayout.xaxis.d2p(x));
        }"""
    )
    hour = (places[3] - places[0]) / (15 + 59 / 60)
    assert len(places) == 16
    hours = [place / hour for place in places]
    expected = [day * 16 + at for day in range(4) for at in (0, 5.5, 11 + 59 / 60, 15 + 59 / 60)]
    assert [at - hours[0] for at in hours] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("days", [HERE[:1], HERE[:3]], ids=["one session", "three sessions"])
@pytest.mark.parametrize("kinds", [("day_aggs",), ("minute_aggs", "trades")], ids=" ".join)
def test_of_the_least_there_can_be_no_axis_says_the_same_twice_or_half_as_500m(
    kinds: tuple[str, ...], days: list[date], open_page: OpenPage, tmp_path: Path
) -> None:
    files: dict[str, Any] = {}
    for day in days:
        files[day_key("day_aggs", day)] = [bar("A", instant(day, "00:00"))]
        files[day_key("minute_aggs", day)] = [bar("A", instant(day, "09:30"))]
        files[day_key("trades", day)] = [trade("A", instant(day, "11:15:41"), 1)]
    made = make(tmp_path, files)
    made.update(*kinds, start=days[0], end=days[-1])
    with Warehouse(made.root) as warehouse:
        warehouse.report(tmp_path / "report.html", symbols="A")
    for width in (1100, 390):
        page = open_page(width, tmp_path / "report.html")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        axes = page.evaluate(
            """() => [...document.querySelectorAll(".plot .main-svg g")]
                .map((axis) => [...axis.children].filter((tick) => /^[xy][0-9]*tick$/.test(
                    tick.getAttribute("class"))).map((tick) => tick.textContent.trim()))
                .filter((ticks) => ticks.length)"""
        )
        assert len(axes) >= 4
        for ticks in axes:
            assert len({*ticks}) == len(ticks)
            assert not any(re.search(r"\dm\b", tick) for tick in ticks)
            # Of days, an axis tells days.
            assert "minute_aggs" in kinds or not any(":" in tick for tick in ticks)
        if kinds == ("day_aggs",):
            seen = "document.querySelector('#candles-1 .{} path').getBoundingClientRect().width > 9"
            assert all(page.evaluate(seen.format(what)) for what in ("boxlayer", "barlayer"))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert re.findall(r"\b1 (?:rows|trades|gaps|stretches|sessions|findings)\b", text) == []


def test_a_kind_of_trades_can_be_switched_off(page: Page) -> None:
    points = page.locator("#trades-1 .point")
    before = points.count()
    page.get_by_label("volume only", exact=False).first.uncheck()
    wait_until(page, f"document.querySelectorAll('#trades-1 .point').length < {before}")
    assert 0 < points.count() < before


def test_every_chart_and_every_calendar_is_also_a_table(page: Page, page_file: Path) -> None:
    tables = embedded(page_file)["tables"]
    assert {*embedded(page_file)["charts"], "coverage-table"} <= {*tables}
    for name in ("coverage-table", "rows", "rejects", "candles-1", "gaps-1", "trades-1"):
        details = page.locator(f'details[data-of="{name}"]')
        details.locator("summary").click()
        rows = details.locator("tbody tr")
        rows.first.wait_for()
        assert rows.count() == len(tables[name]["rows"])
        assert details.locator("thead th").all_inner_texts() == tables[name]["columns"]
        assert details.locator("caption").count() == 1


def test_hostile_names_show_as_text_everywhere(page: Page) -> None:
    headings = page.locator(".symbol > h3").all_inner_texts()
    assert headings == list(SYMBOLS)
    assert page.locator("main img, main script").count() == 0
    assert page.locator("main b").count() == 0
    # Those that plotly draws: a label of an axis, and what it says of a point.
    labels = page.locator("#rejects .ytick text").all_text_contents()
    assert f"trades: {HOSTILE}" in labels
    for chart, point, expected in (
        ("rejects", "data[0].y.findIndex((name) => name.includes('img'))", HOSTILE),
        ("trades-1", "data[0].customdata.findIndex((one) => one[1] !== 'none')", "<b>9</b>&lt;"),
    ):
        page.evaluate(
            f"""() => {{
                const plot = document.getElementById("{chart}");
                const {{ data }} = plot;
                plot.scrollIntoView();
                Plotly.Fx.hover(plot, [{{ curveNumber: 0, pointNumber: {point} }}]);
            }}"""
        )
        hover = f'document.querySelector("#{chart} .hoverlayer").textContent'
        wait_until(page, f"{hover}.includes({json.dumps(expected)})")


def test_what_runs_from_right_to_left_keeps_to_itself(page: Page) -> None:
    heading = page.locator(".symbol > h3", has_text="א").locator("bdi")
    assert heading.evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 360)])
def test_axe_finds_nothing_serious(open_page: OpenPage, scheme: str, width: int) -> None:
    page = open_page(width, color_scheme=scheme)
    # Long tables are alike and take axe long: one of each kind is open.
    page.evaluate(
        """document.querySelectorAll(
            "details:not([data-of]), [data-of=rejects], [data-of=coverage-table]"
        ).forEach((one) => { one.open = true; })"""
    )
    wait_until(page, "document.querySelector('[data-of=rejects] td') !== null")
    violations = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_charts_are_dark_in_the_dark_and_follow_a_change(open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    colours = """[
        getComputedStyle(document.querySelector("#rows .bars .point path")).fill,
        getComputedStyle(document.querySelector("#rejects .xtick text")).fill,
        getComputedStyle(document.body).backgroundColor,
    ].join(" ")"""
    assert page.evaluate(colours) == "rgb(31, 95, 168) rgb(89, 98, 107) rgb(246, 247, 248)"
    page.emulate_media(color_scheme="dark")
    wait_until(page, f"{colours} == 'rgb(125, 180, 240) rgb(163, 173, 183) rgb(20, 23, 26)'")


def test_on_a_phone_the_page_never_scrolls_sideways(open_page: OpenPage) -> None:
    page = open_page(360, has_touch=True, is_mobile=True)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for plot in page.locator(".plot").all():
        box = plot.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_an_empty_report_opens_too(open_page: OpenPage, empty: Made, tmp_path: Path) -> None:
    html.save(gather(empty.layout, empty.config), tmp_path / "empty.html", "warehouse")
    page = open_page(file=tmp_path / "empty.html")
    assert page.locator(".answer .word").all_inner_texts() == ["?Not known", "?Not known"]


def test_sums_beyond_a_double_are_null_in_json_and_no_traceback(tmp_path: Path) -> None:
    day = HERE[0]
    huge = "1" + "0" * 308
    stamps = [instant(day, clock) for clock in ("09:30", "09:31")]
    made = make(
        tmp_path,
        {
            day_key("minute_aggs", day): [bar("A", stamp, volume=huge) for stamp in stamps],
            day_key("quotes", day): [quote("A", stamp, bid=huge, ask=huge) for stamp in stamps],
            day_key("trades", day): [trade("A", stamp, size=huge) for stamp in stamps],
        },
    )
    made.update("minute_aggs", "quotes", "trades", start=day, end=day)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    printed = run("-C", str(made.root), "report", "--json", "--symbols", "A").stdout
    (symbol,) = json.loads(printed, parse_constant=refuse)["symbols"]
    assert [kind["shares"] for kind in symbol["trades"]["kinds"]] == [None]
    run("-C", str(made.root), "report", "--symbols", "A", "-o", str(tmp_path / "x.html"))
    rows = run("-C", str(made.root), "query", "select 'nan'::double as n", "--format", "json")
    assert json.loads(rows.stdout, parse_constant=refuse) == [{"n": None}]


def test_json_for_programs_has_no_nan_wherever_it_is() -> None:
    value = {"a": [math.nan, 1.5, (math.inf, -math.inf)], "b": {"c": math.nan}}
    assert json.loads(as_json(value)) == {"a": [None, 1.5, [None, None]], "b": {"c": None}}


# On paper and on a phone


def test_on_paper_calendars_keep_their_colours_and_nothing_is_cut(open_page: OpenPage) -> None:
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 700, "height": 1000})
    style = "getComputedStyle(document.querySelector('td.l5'))"
    assert page.evaluate(f"{style}.printColorAdjust") == "exact"
    # Paper is white: the colours are those of the light page.
    assert page.evaluate(f"{style}.backgroundColor") == "rgb(23, 79, 143)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = """[...document.querySelectorAll('.scroll, table, .chart, .calendar, .main-svg')]
        .filter((each) => each.offsetParent !== null || each.tagName === 'svg')
        .map((each) => each.getBoundingClientRect())
        .filter((box) => box.right > 701 || box.left < -1).length"""
    assert page.evaluate(cut) == 0
    assert page.evaluate("[...document.querySelectorAll('details.year')].every((it) => it.open)")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.querySelectorAll('.main-svg[viewBox]').length") == 0


def test_on_paper_each_mark_that_is_drawn_is_said_to_be_what_it_is(open_page: OpenPage) -> None:
    page = open_page()
    first = page.locator(".legend input").first
    shown = page.locator(".legend label:visible").count()
    assert shown > 2
    page.emulate_media(media="print")
    assert page.locator(".legend label:visible").count() == shown
    assert page.locator(".legend input:visible").count() == 0
    page.emulate_media(media="screen")
    first.uncheck()
    page.emulate_media(media="print")
    assert page.locator(".legend label:visible").count() == shown - 1


def test_a_high_contrast_theme_leaves_the_states_of_the_calendars_apart(
    open_page: OpenPage,
) -> None:
    page = open_page()
    looks = """[...document.querySelectorAll('.steps .d')]
        .map((each) => getComputedStyle(each).backgroundColor).join(" ")"""
    as_drawn = page.evaluate(looks)
    assert len(set(as_drawn.split(" rgb"))) == 5
    page.emulate_media(forced_colors="active")
    assert page.evaluate(looks) == as_drawn


def test_a_table_that_goes_on_shows_that_it_scrolls(open_page: OpenPage) -> None:
    page = open_page(width=360)
    shade = "getComputedStyle(document.querySelector('.scroll')).backgroundImage"
    assert page.evaluate(shade).count("linear-gradient") == 4
    # What lies above the shadow would hide it.
    ground = "getComputedStyle(document.querySelector('.scroll > table')).backgroundColor"
    assert page.evaluate(ground) == "rgba(0, 0, 0, 0)"


def test_labels_of_run_times_stand_apart_on_a_phone(facts: Facts, open_page: OpenPage,
                                                    tmp_path: Path) -> None:  # fmt: skip
    run_of = {**facts.runs[0], "state": "done"}
    for number in (2, 5, 12, 30):
        runs = [{**run_of, "started_at": f"2026-03-{30 - n:02}T10:00:00Z"} for n in range(number)]
        file = tmp_path / f"{number}.html"
        html.save(dataclasses.replace(facts, runs=runs), file, "warehouse")
        page = open_page(width=360, file=file)
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        boxes = page.evaluate(
            "[...document.querySelectorAll('#runs .xtick text')]"
            ".map((each) => each.getBoundingClientRect()).map((box) => [box.left, box.right])"
        )
        assert boxes
        assert all(left[1] < right[0] for left, right in itertools.pairwise(sorted(boxes)))


def test_no_calendar_says_that_no_day_is_chosen(page_file: Path) -> None:
    assert "No day is chosen" not in page_file.read_text("utf-8")
