"""The catalog: what DuckDB, from wherever it is opened, answers about and out of a warehouse."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from building import (
    REPOSITORY,
    SESSION,
    Made,
    bar,
    day_key,
    instant,
    make,
    quote,
    random_trades,
    trade,
)
from hypothesis import example, given
from hypothesis import strategies as st

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import decode_symbol, encode_symbol, parse_raw_path, partition_name
from warehouse.errors import ConfigError, StorageError
from warehouse.store.publishing import file_names

SHELL = Path(sysconfig.get_path("scripts")) / "duckdb"
FEBRUARY = date(2024, 2, 1)
ODD = ["NA", "NULL", "BCpC", "BCPC", "../../x", "O'K", 'A"B', "🚀", "A*", "A[1]", "%", "CON", ".."]

Ask = Callable[[str], list[tuple[str, ...]]]


def quoted(symbol: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([symbol, ""])
    return text.getvalue()[:-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A warehouse in a folder that is hard to name, with odd symbols and two months."""
    folder = tmp_path_factory.mktemp("catalog") / 'my data (50%) o\'clock [1] * "x" ünd {y}'
    made = make(folder)
    lines = [trade(quoted(symbol), instant(SESSION, "10:00", n), n) for n, symbol in enumerate(ODD)]
    made.put(
        day_key("trades", SESSION),
        [*lines, trade("NA", instant(SESSION), 1, correction=8), trade("NA", "1_0"), "x"],
    )
    made.put(day_key("trades", FEBRUARY), [trade("NA", instant(FEBRUARY), 7, price=2)])
    made.put(day_key("quotes", SESSION), [quote("NA", instant(SESSION)), quote("NA", 5)])
    made.put(day_key("day_aggs", SESSION), [bar("NA", instant(SESSION, "00:00"))])
    made.update(start=SESSION, end=FEBRUARY)
    return made


NO_TEXTS = ["1", "1.5", "true", "['NA']", "date '2024-01-31'"]


def by_python(made: Made) -> Ask:
    def ask(sql: str) -> list[tuple[str, ...]]:
        path = str(made.root / "data/warehouse.duckdb")
        with duckdb.connect(path, read_only=True) as connection:
            rows = connection.execute(sql).fetchall()
        return [tuple("" if item is None else str(item) for item in row) for row in rows]

    return ask


def by_shell(made: Made, folder: Path) -> Ask:
    def ask(sql: str) -> list[tuple[str, ...]]:
        done = subprocess.run(
            [str(SHELL), "-readonly", "-csv", "-noheader", "-nullvalue", "", "-c", sql,
             str(made.root / "data/warehouse.duckdb")],
            cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return [tuple(row) for row in csv.reader(io.StringIO(done.stdout))]

    return ask


@pytest.fixture(params=["python", "shell"])
def ask(
    request: pytest.FixtureRequest,
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Ask:
    """Asks the catalog from a folder that has nothing to do with the warehouse."""
    monkeypatch.chdir(tmp_path)
    if request.param == "python":
        return by_python(made)
    if not SHELL.exists():
        pytest.skip("no duckdb shell beside this Python")
    return by_shell(made, tmp_path)


def test_the_views_and_tables_answer_from_another_folder(ask: Ask) -> None:
    answers = ask(
        """
        select 'trades', count(*) from trades
        union all select 'quotes', count(*) from quotes
        union all select 'minute_aggs', count(*) from minute_aggs
        union all select 'day_aggs', count(*) from day_aggs
        union all select 'rejects', count(*) from rejects
        union all select 'partitions', count(*) from partitions
        union all select 'published files', count(*) from source_files where state = 'ingested'
        union all select 'runs', count(*) from runs
        union all select 'findings', count(*) from findings
        """
    )
    assert dict(answers) == {
        "trades": str(len(ODD) + 1),
        "quotes": "1",
        "minute_aggs": "0",
        "day_aggs": "1",
        "rejects": "4",
        "partitions": str(len(ODD) + 3),
        "published files": "4",
        "runs": "1",
        # Each of them traded once.
        "findings": str(len(ODD) + 1),
    }


def test_a_symbols_macro_answers_for_that_symbol_alone(ask: Ask) -> None:
    assert ask("select symbol, session from trades_of('NA') order by session") == [
        ("NA", "2024-01-31"),
        ("NA", "2024-02-01"),
    ]
    assert ask("select symbol from trades_of('BCpC')") == [("BCpC",)]
    assert ask("select symbol from trades_of('BCPC')") == [("BCPC",)]
    assert ask("select count(*) from quotes_of('NA')") == [("1",)]
    assert ask("select count(*) from day_aggs_of('NA')") == [("1",)]


def test_a_symbols_macro_answers_for_a_range_of_sessions(ask: Ask) -> None:
    query = "select sequence_number from trades_of('NA', {}, {}) order by 1"
    assert ask(query.format("'2024-01-31'", "'2024-01-31'")) == [("0",)]
    assert ask(query.format("'2024-02-01'", "'2024-02-28'")) == [("7",)]
    assert ask(query.format("'2024-01-01'", "'2024-12-31'")) == [("0",), ("7",)]
    assert ask(query.format("date '2024-02-01'", "date '2024-02-01'")) == [("7",)]
    assert ask(query.format("'2024-03-01'", "'2024-03-31'")) == []


def test_every_odd_symbol_is_found_by_its_name(ask: Ask) -> None:
    macros = " union all ".join(
        "select symbol from trades_of('{}')".format(symbol.replace("'", "''")) for symbol in ODD
    )
    found = ask(f"select distinct symbol from ({macros})")
    assert sorted(found) == sorted((symbol,) for symbol in ODD)


def test_rejects_say_what_stood_where_and_why(ask: Ask) -> None:
    rows = ask(
        "select data_type, reason, line_number, symbol, line, source from rejects"
        " order by data_type, line_number"
    )
    n = len(ODD)
    key, malformed = day_key("trades", SESSION), trade("NA", "1_0")
    assert rows == [
        ("quotes", "outside_session", "3", "NA", "", day_key("quotes", SESSION)),
        ("trades", "cancelled", str(n + 2), "NA", "", key),
        ("trades", "malformed_sip_timestamp", str(n + 3), "NA", malformed, key),
        ("trades", "malformed_line", str(n + 4), "", "x", key),
    ]


def test_the_reference_tables_can_be_joined(ask: Ask) -> None:
    assert ask("select name from trade_conditions where id = 37") == [("Odd Lot Trade",)]
    assert ask("select name from quote_conditions where id = 1") == [("Regular Two-Sided Open",)]
    joined = ask(
        "select mic, count(*) from trades join exchanges on exchange = exchanges.id group by all"
    )
    assert [count for _, count in joined] == [str(len(ODD) + 1)]


def test_the_reference_tables_hold_each_row_of_their_files(ask: Ask) -> None:
    for name in ("trade_conditions", "quote_conditions", "exchanges"):
        with open(REPOSITORY / f"config/{name}.csv", encoding="utf-8", newline="") as lines:
            expected = list(csv.reader(lines))[1:]
        names = ask(f"select column_name from (describe {name})")
        listed = ", ".join(f"{column}::varchar" for (column,) in names)
        assert sorted(ask(f"select {listed} from {name}")) == sorted(map(tuple, expected))


def test_the_partitions_table_says_where_each_row_came_from(made: Made) -> None:
    ((rows, sessions, first, last),) = made.sql(
        "select rows, sessions, epoch_ns(first_timestamp), epoch_ns(last_timestamp)"
        " from partitions where symbol = 'NA' and data_type = 'trades' and month = '2024-02-01'"
    )
    (session,) = sessions
    assert rows == session["rows"] == 1
    assert session["session"] == FEBRUARY
    assert session["source"] == day_key("trades", FEBRUARY)
    assert first == last == instant(FEBRUARY)
    assert (
        session["sha256"]
        == made.sql(f"select sha256 from source_files where source = '{session['source']}'")[0][0]
    )
    ((rejects,),) = made.sql(
        "select sessions[1].rejects from partitions"
        " where symbol = 'NA' and data_type = 'trades' and month = '2024-01-01'"
    )
    assert rejects == 2
    made.check_catalog()


def test_a_partition_says_of_itself_what_the_catalog_says_of_it(made: Made) -> None:
    import json

    import pyarrow.parquet as pq

    path = made.partitions()["trades/NA/2024_01.parquet"]
    record = json.loads(pq.read_metadata(path).metadata[b"flatfile_warehouse"])
    ((fingerprint, sessions),) = made.sql(
        "select fingerprint, sessions from partitions"
        " where symbol = 'NA' and data_type = 'trades' and month = '2024-01-01'"
    )
    assert (record["symbol"], record["month"]) == ("NA", "2024-01")
    assert record["fingerprint"] == fingerprint
    (said,) = record["sessions"]
    # It was made by what made the partition, and need not say so.
    told = {**said, "session": date.fromisoformat(said["session"]), "fingerprint": None}
    assert told == sessions[0]


def test_timestamps_are_nanoseconds_in_the_shell_too(ask: Ask) -> None:
    query = "select typeof(timestamp), epoch_ns(timestamp) from trades_of('BCpC')"
    assert ask(query) == [("TIMESTAMP_NS", str(instant(SESSION, "10:00", ODD.index("BCpC"))))]


def test_a_folder_that_is_hard_to_name_holds_all_there_is(made: Made) -> None:
    top = {path.name for path in made.root.parent.iterdir()}
    assert top == {"warehouse", "source"}
    # Nothing in the paths of the views was taken for a pattern or a quote.
    assert made.sql("select count(*) from trades") == [(len(ODD) + 1,)]


# Empty views


def test_a_type_that_nothing_came_of_is_an_empty_view_with_its_columns(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00"))])
    made.ingest()

    for kind in DATA_TYPES.values():
        described = made.sql(f"select column_name, column_type from (describe {kind.name})")
        assert [name for name, _ in described] == kind.columns.names
        count = 1 if kind.name == "day_aggs" else 0
        assert made.sql(f"select count(*) from {kind.name}") == [(count,)]
    assert made.sql("select count(*), count(reason) from rejects") == [(0, 0)]


def test_an_empty_view_has_the_types_that_the_full_one_has(
    make_warehouse: Callable[..., Made],
) -> None:
    empty, full = make_warehouse(), make_warehouse()
    empty.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00"))])
    full.put_raw("trades", SESSION, [trade("A", instant(SESSION)), trade("A", 5)])
    full.put_raw("quotes", SESSION, [quote("A", instant(SESSION))])
    full.put_raw("minute_aggs", SESSION, [bar("A", instant(SESSION))])
    for made in (empty, full):
        made.ingest()
    for name in ("trades", "quotes", "minute_aggs", "rejects"):
        query = f"select column_name, column_type from (describe {name})"
        assert empty.sql(query) == full.sql(query)


def test_views_fill_and_empty_with_their_partitions(make_warehouse: Callable[..., Made]) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00")), "x"])
    made.ingest()
    assert made.sql("select count(*) from rejects") == [(1,)]

    made.put_raw("trades", SESSION, [trade("A", instant(SESSION))])
    made.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00"), volume=-1)])
    made.ingest()
    assert made.sql("select count(*) from trades") == [(1,)]
    # The last partition of a type is gone, its view is still there.
    assert made.sql("select count(*) from day_aggs") == [(0,)]
    assert made.sql("select reason from rejects") == [("volume_negative",)]

    made.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00"))])
    made.ingest()
    assert made.sql("select count(*) from day_aggs") == [(1,)]
    assert made.sql("select count(*) from rejects") == [(0,)]


def test_a_catalog_does_not_rest_on_what_happens_while_it_is_closed(
    make_warehouse: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB says nothing of a write that fails then: what it was about would be lost unseen."""
    connect = duckdb.connect

    def closing_badly(*which: Any, **settings: Any) -> duckdb.DuckDBPyConnection:
        connection = connect(*which, **settings)
        connection.execute("pragma disable_checkpoint_on_shutdown")
        return connection

    monkeypatch.setattr(duckdb, "connect", closing_badly)
    made = make_warehouse({day_key("trades", SESSION): [trade("AAPL", instant(SESSION)), "a,b"]})
    made.update()
    assert made.sql("select count(*) from rejects") == [(1,)]
    # The last reject goes, so the view must change when the files are in place already.
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), 2)])
    made.update()
    assert made.sql("select sequence_number from trades") == [(2,)]
    assert made.sql("select count(*) from rejects") == [(0,)]
    assert not list(made.layout.data.rglob("*.wal"))


@pytest.mark.parametrize("symbol", ["'NOSUCH'", "'na'", "''", "null", "'NA '", "'O''k'", *NO_TEXTS])
def test_a_question_about_an_unknown_symbol_says_that_there_is_none(
    made: Made, symbol: str
) -> None:
    span = f"'{SESSION}', '{SESSION}'"
    for asked in (
        f"trades_of({symbol})",
        f"bars_of({symbol}, {span})",
        f"vwap_of({symbol}, {span})",
    ):
        with pytest.raises(duckdb.Error, match=r"there are no trades of .* \(case counts\)"):
            made.sql(f"select * from {asked}")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("trades_beyond_quantile_of('NA', {}, {}, q := -1)", "q := -1: it is a number from 0 to 1"),
        ("trades_beyond_quantile_of('NA', {}, {}, q := 1.5)", "q := 1.5: it is"),
        ("trades_beyond_quantile_of('NA', {}, {}, q := null)", "q := NULL: it is"),
        ("trades_beyond_quantile_of('NA', {}, {}, q := 'much')", "q := much: it is"),
        ("trades_beyond_deviations_of('NA', {}, {}, n := -1)", "n := -1: it is a number of dev"),
        ("trades_beyond_deviations_of('NA', {}, {}, n := null)", "n := NULL: it is"),
        ("trades_beyond_deviations_of('NA', {}, {}, n := 'nan')", "n := nan: it is"),
        ("trades_of('NA', {}, {}, adjust := 1)", "adjust = 1: it may be none, splits, all"),
        ("factors_of('NA', 'split', {})", "adjust = split: it may be none, splits, all"),
        ("factors_of('NA', null, {})", "adjust = NULL: it may be"),
        ("factors_of('NA', 'all', null)", "as_of = NULL: name the session"),
    ],
)
def test_a_macro_refuses_what_its_argument_cannot_be(made: Made, asked: str, told: str) -> None:
    asked = asked.replace("{}", f"'{SESSION}'")
    with pytest.raises(duckdb.Error, match=re.escape(told)):
        made.sql(f"select * from {asked}")


def test_a_number_of_deviations_may_be_a_text_as_a_quantile_may(made: Made) -> None:
    for macro, number in (("quantile", "q := {}"), ("deviations", "n := {}")):
        asked = f"from trades_beyond_{macro}_of('NA', '{SESSION}', '{SESSION}', {number})"
        assert made.sql(asked.format("'0.5'")) == made.sql(asked.format("0.5"))


# Generations


def test_whoever_has_the_old_catalog_open_keeps_it_and_the_next_sees_the_new(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse()
    made.put_raw("trades", SESSION, [trade("A", instant(SESSION))])
    made.ingest()
    path = str(made.root / "data/warehouse.duckdb")
    with duckdb.connect(path, read_only=True) as old:
        before = old.execute("select generation from warehouse").fetchall()
        made.put_raw("trades", FEBRUARY, [trade("B", instant(FEBRUARY))])
        made.ingest()
        assert old.execute("select generation from warehouse").fetchall() == before
        assert old.execute("select count(*) from partitions").fetchall() == [(1,)]
    assert made.sql("select generation from warehouse") == [(before[0][0] + 1,)]
    assert made.sql("select count(*) from partitions") == [(2,)]


def test_a_warehouse_that_was_moved_answers_from_where_it_is_after_its_next_run(
    tmp_path: Path,
) -> None:
    made = make(tmp_path / "old")
    made.put_raw("trades", SESSION, random_trades(["A", "B"], 20))
    made.ingest()
    rows = made.sql("select count(*) from trades")
    shutil.move(tmp_path / "old", tmp_path / "new")
    moved = Made(tmp_path / "new/warehouse", tmp_path / "new/source")
    moved.put_raw("quotes", SESSION, [quote("A", instant(SESSION))])

    moved.ingest()

    assert moved.sql("select count(*) from trades") == rows
    assert moved.sql("select count(*) from trades_of('A')") != [(0,)]
    moved.check_catalog()


def test_a_question_mark_in_the_folders_name_works_or_is_refused_by_name(tmp_path: Path) -> None:
    """DuckDB takes what follows it for the query of a URL, and puts its log beside another file."""
    made = make(tmp_path / "which?")
    made.put_raw("trades", SESSION, [trade("A", instant(SESSION))])
    try:
        made.ingest()
        said = f"{made.root}: {made.sql('select count(*) from trades')}"
    except (ConfigError, StorageError) as error:
        said = str(error)
    assert "which?" in said


# Prices that stand out


def test_a_price_that_stands_out_is_shown_on_request_and_never_deleted(tmp_path: Path) -> None:
    made = make(tmp_path)
    prices = [10 + n % 7 / 100 for n in range(999)] + [250]
    lines = [trade("A", instant(SESSION, "10:00", n), n + 1, price=p) for n, p in enumerate(prices)]
    calm = [trade("B", instant(SESSION, "10:00", n), n + 1, price=10) for n in range(50)]
    made.put_raw("trades", SESSION, [*lines, *calm])
    made.ingest()
    asked = f"('{{}}', '{SESSION}', '{SESSION}')"

    assert made.sql("select count(*) from trades_of('A')") == [(1000,)]
    for macro in ("trades_beyond_quantile_of", "trades_beyond_deviations_of"):
        assert made.sql(f"select price from {macro}{asked.format('A')}") == [(250,)]
        assert made.sql(f"select price from {macro}{asked.format('B')}") == []
    lower = (
        f"select count(*) from trades_beyond_quantile_of('A', '{SESSION}', '{SESSION}', q := 0.5)"
    )
    assert made.sql(lower)[0][0] > 100


# Symbols as names


SYMBOL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TRICKY = st.text(st.sampled_from("ABCONPRUXLMT019.-_%apc/\\ é"), max_size=8)


@given(SYMBOL | TRICKY)
@example("CON")
@example("CON.X")
@example("COM1")
@example("LPT9.A.B")
@example(".")
@example("..")
@example("A.")
@example("..A")
@example("._A")
@example("%41")
@example("")
def test_a_symbol_comes_back_from_its_name(symbol: str) -> None:
    assert decode_symbol(encode_symbol(symbol)) == symbol


@given(SYMBOL | TRICKY)
def test_a_name_is_one_component_that_any_disk_takes(symbol: str) -> None:
    name = encode_symbol(symbol)
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-%")
    assert name not in {".", ".."}
    assert not name.endswith(".")
    assert name.partition(".")[0] not in {
        "CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)),
    }  # fmt: skip


@given(st.sets(SYMBOL | TRICKY, max_size=30))
def test_no_two_symbols_share_a_name_even_where_case_is_folded(symbols: set[str]) -> None:
    assert len({encode_symbol(symbol).casefold() for symbol in symbols}) == len(symbols)


@given(SYMBOL.filter(bool) | TRICKY.filter(bool))
@example("._")
@example("._A")
@example("._\n")
def test_a_symbols_file_of_the_raw_tier_is_found_for_what_it_is(symbol: str) -> None:
    below = f"2024/01/31/{encode_symbol(symbol)}.csv.gz"
    found = parse_raw_path("trades", below)
    assert found is not None
    assert (found.symbol, found.day) == (symbol, SESSION)
    assert str(found.raw_path) == f"trades/{below}"


@pytest.mark.parametrize(
    "symbol", ["AAPL", "BRK.B", "A", "NA", "CONX", "XCON", "COM", "A-B", "A_B"]
)
def test_plain_symbols_are_spelled_as_they_are(symbol: str) -> None:
    assert encode_symbol(symbol) == symbol


def test_a_partition_stands_where_the_specification_has_it() -> None:
    path = partition_name("trades", "AAPL", date(2024, 1, 1))
    assert path == "trades/AAPL/2024_01.parquet"
    assert partition_name("trades", "BCpC", date(2024, 1, 1)) == "trades/BC%70C/2024_01.parquet"


@pytest.fixture(scope="module")
def path_names() -> Iterator[Callable[[list[str]], list[str]]]:
    with duckdb.connect() as connection:
        connection.execute((REPOSITORY / "sql/catalog/path_name.sql").read_text("utf-8"))

        def names(symbols: list[str]) -> list[str]:
            query = "select list_transform($symbols::varchar[], lambda s: path_name(s))"
            row: Any = connection.execute(query, {"symbols": symbols}).fetchone()
            return list(row[0])

        yield names


@given(symbols=st.lists(SYMBOL | TRICKY, min_size=1, max_size=30))
@example(symbols=["CON", "CON.X", "con", "COM1", "COMX", "LPT0.", ".", "..", "A.", "%", "e\u0301"])
@example(symbols=["👨\u200d👩\u200d👧", "🇺🇸", "ǅ", "\u2028", "'", '"', "A\nB", "CON.\n", "A\r"])
def test_sql_names_a_symbol_as_python_does(
    symbols: list[str], path_names: Callable[[list[str]], list[str]]
) -> None:
    assert path_names(symbols) == [encode_symbol(symbol) for symbol in symbols]


@pytest.fixture(scope="module")
def months_in() -> Iterator[Callable[[str], list[str]]]:
    with duckdb.connect() as connection:
        for file in ("path_name", "files"):
            connection.execute((REPOSITORY / f"sql/catalog/{file}.sql").read_text("utf-8"))
        yield lambda spans: connection.sql(f"select months_in('{spans}')").fetchall()[0][0]


MONTHS = st.sets(st.integers(2014 * 12, 2016 * 12 - 1), max_size=24)


@given(months=MONTHS, more=st.integers(2014 * 12, 2016 * 12 - 1))
@example(months={2014 * 12 + 11, 2015 * 12}, more=2015 * 12 + 1)
def test_spans_of_months_say_each_month_once_in_sql_too(
    months_in: Callable[[str], list[str]], months: set[int], more: int
) -> None:
    spelled = [f"{one // 12:04}_{one % 12 + 1:02}" for one in sorted(months | {more})]
    name = f"{more // 12:04}_{more % 12 + 1:02}"
    spans = file_names._with(file_names._spans(tuple(sorted(months))), name)
    assert months_in(spans) == spelled
    # Its length follows from the gaps, not from the months.
    gaps = sum(one + 1 not in months | {more} for one in months | {more})
    assert len(spans) <= 16 * gaps
    without = file_names._without(spans, name)
    assert without == file_names._spans(tuple(sorted(months - {more})))
