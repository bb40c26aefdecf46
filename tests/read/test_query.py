"""The query door runs one SELECT that reads, on the warehouse's data and nothing else."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from building import (
    Made,
    MakeWarehouse,
    day_key,
    edit_catalog,
    instant,
    quote,
    random_trades,
    trade,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.core.calendar import NEW_YORK
from warehouse.errors import QueryError
from warehouse.read.query.provenance import behind, in_words
from warehouse.store.partitions import unreadable

DAY = date(2024, 1, 31)
LAST = instant(DAY, "19:59:59", 999_999_999)
SECRET = "the caller's own"


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    trades = [trade("AAPL", instant(DAY, "10:00", n), n + 1, price=n + 0.5) for n in range(9)]
    trades += [trade("AAPL", LAST, 99), trade("O'Neil", instant(DAY), 1)]
    files = {
        day_key("trades", DAY): trades,
        day_key("quotes", DAY): [quote("AAPL", instant(DAY))],
    }
    warehouse = make_warehouse(files)
    warehouse.update()
    return warehouse


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


def one(frame: pd.DataFrame) -> Any:
    """The only value of an answer."""
    assert frame.shape == (1, 1)
    return frame.iloc[0, 0]


# What may not run


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "select 1; select 2",
        "select 1; drop table partitions",
        "select 1; copy (select 1) to '{data}/stolen.csv'",
        "copy (select 1) to '{data}/stolen.csv'",
        "copy (select 1) to '{outside}/stolen.csv'",
        "copy partitions from '{data}/stolen.csv'",
        "with t as (copy (select 1) to '{data}/stolen.csv') select * from t",
        "select (with t as (copy (select 1) to '{data}/stolen.csv') select count(*) from t)",
        "with t as (delete from partitions returning *) select * from t",
        "with t as (insert into runs select * from runs returning *) select * from t",
        "with t as (update partitions set rows = 0 returning *) select * from t",
        "from query('with t as (copy (select 1) to ''{data}/stolen.csv'') select * from t')",
        "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "export database '{data}/stolen'",
        "attach '{outside}/stolen.duckdb' as stolen",
        "attach '{data}/stolen.duckdb' as stolen",
        "detach warehouse",
        "install httpfs",
        "load httpfs",
        "set threads = 1",
        "set enable_external_access = true",
        "reset enable_external_access",
        "pragma database_list",
        "pragma enable_logging",
        "call enable_logging()",
        "from enable_logging(storage := 'file', storage_path := '{data}/stolen')",
        "from pandas_scan(0)",
        "from arrow_scan(0, 0, 0)",
        "from python_map_function(0)",
        "from checkpoint()",
        "from truncate_duckdb_logs()",
        "from duckdb_secrets()",
        "create table stolen as select 1",
        "create temp table stolen as select 1",
        "create view stolen as select 1",
        "create macro stolen() as 1",
        "drop view trades",
        "delete from partitions",
        "insert into partitions select * from partitions",
        "update partitions set rows = 0",
        "truncate partitions",
        "alter table partitions rename to stolen",
        "use memory",
        "begin",
        "checkpoint",
        "vacuum",
        "prepare stolen as select 1",
        "explain drop table runs",
        "import database '{data}'",
        "from read_text('/etc/passwd')",
        "from read_blob('/etc/passwd')",
        "from read_csv('/etc/passwd')",
        "from read_parquet('/etc/*')",
        "from glob('/etc/*')",
        "from '/etc/passwd'",
        "from read_text('{data}/../config/data_config.yaml')",
        "from read_text('{root}/config/data_config.yaml')",
        "from secret",
        "from frame",
        "from made",
        "select getenv('HOME')",
        "select ?",
        "select $1",
    ],
)
def test_what_is_no_single_select_of_the_warehouse_is_refused_and_has_no_effect(
    made: Made, wh: Warehouse, sql: str, tmp_path: Path
) -> None:
    secret = frame = pd.DataFrame({"x": [SECRET]})
    assert len(secret) == len(frame) == 1
    places = {"data": made.layout.data, "outside": tmp_path, "root": made.root}
    before = _files(made.root)
    with made.unchanged(), pytest.raises(QueryError) as caught:
        wh.query(sql.format(**places))
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert _files(made.root) == before
    assert not list(tmp_path.iterdir())
    assert one(wh.query("select current_setting('enable_external_access')")) is np.False_
    assert one(wh.query("select count(*) from trades")) == 11


def _files(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}


ATTACKS = (
    *("'; drop table partitions; --", "' or 1 = 1 --", "$$; select 1; $$", "O'Neil"),
    *("\"; copy (select 1) to 'x'; --", "\\'; select 1", "/* */", "1; select 2", "\x00", "%", "_"),
    *("read_text('/etc/passwd')", "🦆'--", "', (select max(price) from trades), '", ""),
)


@pytest.mark.parametrize("text", ATTACKS)
def test_a_value_is_a_value_and_never_sql(made: Made, wh: Warehouse, text: str) -> None:
    with made.unchanged():
        assert one(wh.query("select $text", text=text)) == text
        count = wh.query("select count(*) from trades where symbol = $text", text=text)
        assert one(count) == (1 if text == "O'Neil" else 0)
        nested = wh.query("select $texts as texts", texts=[text, "other"])
        assert list(one(nested)) == [text, "other"]


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text())
def test_any_text_comes_back_as_it_went_in(wh: Warehouse, text: str) -> None:
    assert one(wh.query("select $text", text=text)) == text


def test_names_of_the_catalog_cannot_be_shadowed_by_the_callers_frames(wh: Warehouse) -> None:
    trades = partitions = pd.DataFrame({"x": [SECRET]})
    assert one(wh.query("select count(*) from trades")) == 11
    assert one(wh.query("select count(*) from partitions")) == 3
    assert len(trades) == len(partitions) == 1


# Values


def test_missing_and_surplus_values_are_named(wh: Warehouse) -> None:
    for ask, message in (
        (lambda: wh.query("select $a, $b", a=1), r"no value is given for \$b; add b=…"),
        (lambda: wh.query("select $price", prise=1), r"\$price \(there is one for \$prise\)"),
        (lambda: wh.query("select $a", a=1, b=2), r"has no parameter \$b; it wants \$a$"),
        (lambda: wh.query("select 1", b=2), r"has no parameter \$b; it wants none$"),
        (lambda: wh.query("select 1", to="arrow"), r"form goes second: query\(sql, 'arrow'\)"),
    ):
        with pytest.raises(QueryError, match=message):
            ask()


def test_a_parameter_may_have_any_name(wh: Warehouse) -> None:
    frame = wh.query("select $to, $self, $sql", self=1, sql=2, to=3)
    assert list(frame.iloc[0]) == [3, 1, 2]


def test_an_instant_keeps_its_nanoseconds(wh: Warehouse) -> None:
    ask = "select epoch_ns($t), count(*) from trades where timestamp >= $t"
    stamp = pd.Timestamp(LAST, tz="UTC")
    for value in (
        stamp,
        stamp.tz_convert("Asia/Tokyo"),
        stamp.tz_convert("America/New_York").tz_localize(None),
    ):
        assert list(wh.query(ask, t=value).iloc[0]) == [LAST, 1]
    assert list(wh.query(ask, t=stamp + pd.Timedelta(1)).iloc[0]) == [LAST + 1, 0]
    ten = instant(DAY, "10:00")
    for at in (
        datetime(2024, 1, 31, 10),
        datetime(2024, 1, 31, 15, tzinfo=UTC),
        datetime.fromtimestamp(ten / 1e9, UTC),
    ):
        assert list(wh.query(ask, t=at).iloc[0]) == [ten, 10]
    both = wh.query("select count(*) from trades where timestamp in (select unnest($ts))",
                    ts=[stamp, datetime(2024, 1, 31, 10)])  # fmt: skip
    assert one(both) == 2


@pytest.mark.parametrize(
    "text",
    [
        *("2024-01-31T10:00:00-05:00", "2024-01-31 10:00:00+05:30", "2024-01-31T10:00:00+01"),
        *("2024-01-31 10:00 America/New_York", "2024-01-31 10:00:00.5 EST"),
        *("2024/01/31 10:00-05:00", "2024-1-31  9:00 -5:00", "2024-01-31 10:00:00-05:00:00"),
    ],
)
def test_a_text_whose_zone_sql_passes_over_is_refused_where_it_is_compared(
    wh: Warehouse, text: str
) -> None:
    for where in (
        *("timestamp < $t", "timestamp between $t and '2030-01-01'"),
        *("timestamp in ($t)", "timestamp not in ('2030-01-01', $t)"),
        *("timestamp < $t::timestamp", "timestamp < try_cast($t as timestamp_ns)"),
    ):
        with pytest.raises(QueryError, match=r"\$t = .*passes over the zone of a text"):
            wh.query(f"select count(*) as n from trades where {where}", t=text)
    for literal in (f"'{text}'", f"timestamp '{text}'", f"'{text}'::datetime"):
        with pytest.raises(QueryError, match="passes over the zone of a text"):
            wh.query(f"select count(*) as n from trades where timestamp < {literal}")
    one_of_two = f"select count(*) as n from trades where timestamp in ('2030-01-01', '{text}')"
    with pytest.raises(QueryError, match="passes over the zone of a text"):
        wh.query(one_of_two)
    assert len(wh.query(f"select try_cast('{text}' as timestamptz)")) == 1
    assert wh.query("select $t as t, try_cast($t as timestamptz) as u", t=text)["t"][0] == text
    for utc in ("", "Z", " UTC", "+00:00", "-00", "+00:00:00"):
        wh.query("select 1 from trades where timestamp < $t", t=f"2024-01-31 10:00{utc}")


def test_a_text_whose_zone_counts_is_compared(wh: Warehouse) -> None:
    question = "select count(*) as n from trades where "
    stamp = "timestamp '2024-01-31 15:00'"
    hour = "'2024-01-31 10:00-05:00'"
    for found in (
        *(f"{stamp}::timestamptz = {hour}", f"{stamp} at time zone 'UTC' = {hour}"),
        *(f"{hour} = {stamp}::timestamp with time zone", f"{stamp}::timestamptz in ({hour})"),
        f"{stamp}::timestamptz between {hour} and {hour}",
        f"({stamp} at time zone 'UTC' at time zone 'UTC')::timestamptz = {hour}",
    ):
        assert one(wh.query(question + found)) == one(wh.query(question + "true")) > 0
    assert one(wh.query(f"{question}{stamp}::timestamptz = $t", t=hour.strip("'"))) > 0
    with pytest.raises(QueryError, match="or cast both sides to timestamptz"):
        wh.query(f"{question}{stamp} at time zone 'UTC' at time zone 'UTC' = {hour}")
    with pytest.raises(QueryError):
        wh.query(f"{question}timezone() = {hour}")


@pytest.mark.parametrize(
    "where",
    [
        *("session = $s", "$s <= trades.session", "session between $s and '2030-01-01'"),
        *("session in ($s)", "trades.session not in ('2030-01-01', $s)", '"Session" >= $s'),
    ],
)
def test_an_instant_that_a_session_is_compared_with_is_refused(wh: Warehouse, where: str) -> None:
    question = f"select count(*) as n from trades where {where}"
    midnight = pd.Timestamp(DAY, tz="America/New_York")
    for value in (midnight, midnight.tz_convert("UTC"), datetime.combine(DAY, time(10))):
        with pytest.raises(QueryError, match=r"\$s = .*a session .* is a date; give its \.date"):
            wh.query(question, s=value)
    for value in (DAY, np.datetime64(DAY), f"{DAY}", None, pd.NaT):
        wh.query(question, s=value)
    # Beside a stamp it is what it says, and so is what is made of it.
    wh.query("select 1 from trades where timestamp >= $s and session > $s::date", s=midnight)


def test_values_of_every_usual_type(wh: Warehouse) -> None:
    for value, expected in (
        *((1, 1), (np.int64(2), 2), (1.5, 1.5), (np.float64(2.5), 2.5), (True, True)),
        *((np.bool_(False), False), ("text", "text"), (np.str_("text"), "text")),
        *((Decimal("1.25"), 1.25), (b"bytes", b"bytes"), (timedelta(days=1), None)),
        *((DAY, pd.Timestamp(DAY)), (2**62, 2**62), (-(2**63), -(2**63))),
    ):
        found = one(wh.query("select $v", v=value))
        assert expected is None or found == expected
    for empty in (None, pd.NaT, pd.NA):
        assert pd.isna(one(wh.query("select $v::varchar", v=empty)))
    assert math.isnan(one(wh.query("select $v", v=math.nan)))
    for many in ([1, 2], (1, 2), {1, 2}, np.array([1, 2]), pd.Series([1, 2]), pd.Index([1, 2])):
        assert one(wh.query("select list_sum($v)", v=many)) == 3
    assert one(wh.query("select count(*) from trades where session = $d", d=DAY)) == 11
    day = np.datetime64(DAY)
    assert one(wh.query("select count(*) from trades where session = $d", d=day)) == 11
    assert one(wh.query("select count(*) from trades where session = $d", d="2024-01-31")) == 11


def test_a_duration_is_as_long_in_sql(wh: Warehouse) -> None:
    for value in (
        timedelta(seconds=90, microseconds=1),
        pd.Timedelta("90s") + pd.Timedelta(1, "us"),
        np.timedelta64(90_000_001_000, "ns"),
        pa.scalar(90_000_001, pa.duration("us")),
    ):
        assert one(wh.query("select epoch_us($v)", v=value)) == 90_000_001
    assert one(wh.query("select date '2024-01-31' + $v = '2024-02-14'", v=np.timedelta64(2, "W")))


def test_a_time_within_another_value_keeps_its_instant_and_its_nanoseconds(wh: Warehouse) -> None:
    stamp = pd.Timestamp(LAST, tz="America/New_York").tz_localize(None)
    of_arrow = pa.array([stamp], pa.timestamp("ns"))
    for sql, value in (
        ("$v.at", {"at": stamp}),
        ("$v.at[1]", {"at": [stamp]}),
        ("$v[1]", [stamp, pd.NaT]),
        ("$v[1]", of_arrow),
        ("$v", of_arrow[0]),
        ("$v[1]", pl.Series(of_arrow)),
    ):
        assert one(wh.query(f"select epoch_ns({sql})", v=value)) == LAST


def test_values_of_arrow_polars_and_pandas_are_values_and_lists(wh: Warehouse) -> None:
    for symbols in (
        pa.array(["AAPL", "MSFT"]),
        pa.chunked_array([["AAPL"], ["MSFT"]]),
        pl.Series(["AAPL", "MSFT"]),
        pd.Categorical(["AAPL", "MSFT"]),
        pd.array(["AAPL", "MSFT"]),
        {"AAPL", None},
    ):
        assert one(wh.query("select list_contains($v, 'AAPL')", v=symbols))
    for value, kind in (
        (pa.scalar("AAPL"), "VARCHAR"),
        (pa.scalar(DAY), "DATE"),
        (np.array(5), "INTEGER"),
        (np.datetime64("NaT"), '"NULL"'),
        (np.timedelta64("NaT"), '"NULL"'),
    ):
        assert one(wh.query("select typeof($v)", v=value)) == kind


@pytest.mark.parametrize(
    "value",
    [
        object(),
        np.datetime64("2024-01-31T10:00"),
        # A session or an instant? SQL would take it for midnight UTC.
        pd.Timestamp("2024-01-31"),
        datetime(2024, 1, 31),
        [datetime(2024, 1, 31), datetime(2024, 1, 31, 10)],
        datetime(2024, 3, 10, 2, 30),
        datetime(9999, 12, 31),
        # In UTC it is in a year that Python's clock has not.
        datetime.max,
        {"until": [datetime.max]},
        10**60,
        lambda: 1,
        pd.DataFrame({"a": [1]}),
        # An INTERVAL ends at microseconds, and has no length of which nobody knows the unit.
        pd.Timedelta(1, "ns"),
        [pd.Timedelta("1s"), pd.Timedelta(1_500, "ns")],
        {"wait": np.timedelta64(1, "ns")},
        np.timedelta64(5),
        np.timedelta64(2, "M"),
        np.timedelta64(1_500, "ps"),
        np.timedelta64(2**62, "W"),
        time(9, 30, tzinfo=NEW_YORK),
        {"at": datetime(2024, 1, 31)},
        pl.Series([datetime(2024, 1, 31)]),
    ],
)
def test_a_value_that_sql_has_not_is_an_error(wh: Warehouse, value: object) -> None:
    with pytest.raises(QueryError) as caught:
        wh.query("select $v", v=value)
    assert "\n" not in str(caught.value)


# Answers


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "select prise from trades",
            'Referenced column "prise" not found .* Candidate bindings: "pr',
        ),
        ("select * from tradez", 'Table with name tradez does not exist! Did you mean "trades"'),
        ("select cuont(*) from trades", 'cuont does not exist! Did you mean "count"'),
        ("selekt 1", 'syntax error at or near "selekt"$'),
        ("select 'a'::integer", "Could not convert string 'a' to INT32$"),
        ("from trades_of('AAPLE')", r"there are no trades of 'AAPLE' \(case counts\)"),
        ("from trades_of('../x')", r"there are no trades of '\.\./x' \(case counts\)"),
        (
            "pivot trades on symbol using sum(size)",
            r"write out PIVOT's values: on x in \('a', 'b'\)",
        ),
        ("select " + "(" * 3000 + "1" + ")" * 3000, "."),
    ],
)
def test_duckdbs_errors_come_in_one_line_with_its_hint(
    wh: Warehouse, sql: str, message: str
) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        wh.query(sql)
    assert "\n" not in str(caught.value)
    assert caught.value.sql == sql
    assert one(wh.query("select count(*) from trades")) == 11


def test_the_warehouses_stamps_come_out_as_instants_and_other_types_as_sql_has_them(
    wh: Warehouse,
) -> None:
    frame = wh.query("""
        select
            max(timestamp) as stamp, max(session) as day, sum(sequence_number) as hugeint,
            max(size) as number, 1.5 as decimal, max(timestamp)::timestamp as micros,
            timestamptz '2024-01-31 10:00' as zoned, count(*) as count, null::integer as none,
            [1, 2] as list, {'a': 1} as struct, map {'a': 1} as map, time '10:00' as clock,
            true as flag, 'text' as text, 12345678901234567890123::hugeint as huge
        from trades
    """)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        **{"stamp": "datetime64[ns, UTC]", "day": "datetime64[s]", "hugeint": "int64"},
        **{"number": "float64", "decimal": "float64", "micros": "datetime64[us]"},
        **{"zoned": "datetime64[us, UTC]", "count": "int64", "none": "Int32", "list": "object"},
        **{"struct": "object", "map": "object", "clock": "object", "flag": "bool", "text": "str"},
        **{"huge": "object"},
    }
    assert frame["stamp"][0].value == LAST
    assert list(frame["list"][0]) == [1, 2]
    assert (frame["struct"][0], frame["map"][0]) == ({"a": 1}, {"a": 1})
    assert frame["huge"][0] == 12345678901234567890123


def test_what_a_form_does_not_know_is_an_error_and_an_empty_map_is_none(wh: Warehouse) -> None:
    for sql, form in (
        ("select union_value(a := 1)", "pandas"),
        ("select interval 1 day", "polars"),
    ):
        with pytest.raises(QueryError, match=f"cannot be had as {form}") as caught:
            wh.query(sql, form)
        assert "\n" not in str(caught.value)
        assert wh.query(sql, "arrow").num_rows == 1
    # To cast a table with such a column ends the process.
    assert one(wh.query("select map {} as m")) == {}


def test_whole_numbers_with_gaps_stay_whole(wh: Warehouse) -> None:
    big = 2**62 + 1
    frame = wh.query("select unnest([$big, null, 1]) as n", big=big)
    assert str(frame["n"].dtype) == "Int64"
    assert list(frame["n"].dropna()) == [big, 1]


def test_whole_numbers_beside_a_gap_stay_whole_within_lists_structs_and_maps(
    wh: Warehouse,
) -> None:
    big = 2**62 + 1
    row = wh.query(
        """
        select
            [$big, null] as list, [$big, null]::bigint[2] as array,
            [{'n': $big}, {'n': null}] as structs, {'list': [$big, null]} as struct,
            map {'a': $big, 'b': null} as map
        """,
        big=big,
    ).iloc[0]
    assert list(row["list"]) == list(row["array"]) == [big, None]
    assert list(row["structs"]) == [{"n": big}, {"n": None}]
    assert list(row["struct"]["list"]) == [big, None]
    assert row["map"] == {"a": big, "b": None}
    stamps = wh.query("select list(epoch_ns(trf_timestamp)) as n, count(*) as rows from trades")
    assert {type(stamp) for stamp in stamps["n"][0]} <= {int, type(None)}


def test_columns_of_the_same_name_are_told_apart_in_every_form(wh: Warehouse) -> None:
    for form in ("pandas", "polars", "arrow"):
        answer = wh.query("select 1 as n, 2 as n, 3 as n_1", form)
        names = answer.column_names if form == "arrow" else list(answer.columns)
        assert len(set(names)) == 3


def test_the_forms_hold_the_same(wh: Warehouse) -> None:
    ask = "select symbol, timestamp, price from trades order by timestamp"
    table, frame, polars = (wh.query(ask, form) for form in ("arrow", "pandas", "polars"))
    assert isinstance(table, pa.Table)
    assert isinstance(polars, pl.DataFrame)
    assert polars.equals(pl.from_arrow(table))
    assert list(frame["price"]) == table["price"].to_pylist()
    assert table.schema.field("timestamp").type == pa.timestamp("ns", "UTC")


def test_an_answer_without_rows_keeps_its_types(wh: Warehouse) -> None:
    full = wh.query("select * from trades")
    none = wh.query("select * from trades where false")
    assert len(none) == 0
    assert none.dtypes.equals(full.dtypes)


def test_a_query_may_need_more_memory_than_it_may_have(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse(
        {day_key("trades", DAY): [trade("AAPL", instant(DAY))]}, processing__memory_limit_gb=0.5
    )
    made.update()
    with Warehouse(made.root) as wh:
        ask = (
            "select count(*) from (select i, repeat(i::varchar, 8) as t from range($n) r(i)"
            " order by t desc, i)"
        )
        assert one(wh.query(ask, n=3_000_000)) == 3_000_000
        with pytest.raises(QueryError, match="Out of Memory"):
            wh.query(
                "select list(i::varchar || repeat('x', 100)) as l from range($n) r(i)", n=10**8
            )
        assert one(wh.query("select 1")) == 1


# The cache


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) as n from trades",
        "from trades_of('AAPL')",
        "from trades_of('AAPL', '2024-01-31', '2024-01-31')",
        "with t as (from trades) select max(price) from t",
        "select date_trunc('minute', timestamp) as m, list_sum(list(size)) from trades group by m",
        "select path_name('BCpC')",
        "select symbol, lag(price) over (order by timestamp) from trades",
        "from trades asof join quotes using (symbol, timestamp)",
        "pivot trades on symbol in ('AAPL') using sum(size)",
        "select 'random()', 1 as user -- now()",
        "select * from trade_conditions union all by name select * from exchanges",
        "from range(3)",
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) from t",
        "select session + 1 - session, age(timestamp, timestamp), hour(timestamp) from trades",
        "select year(session), strftime(timestamp, '%H'), time_bucket(interval 1 hour, timestamp),"
        " date_diff('day', session, session) from trades",
        "select if(size > 0, 'some', error('none')) from trades",
    ],
)
def test_an_answer_that_cannot_change_is_kept(wh: Warehouse, sql: str) -> None:
    first = wh.query(sql)
    second = wh.query(sql)
    assert wh.cache.stats.hits == 1
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    "sql",
    [
        "select random()",
        'select "random"()',
        "select RANDOM ( )",
        "select random/**/()",
        "select 1 + (select random())",
        "select * from trades order by random()",
        "select * from trades where price > random()",
        "with t as (select random() as r) from t",
        "select list_transform([1], lambda x: x + random())",
        "select now()",
        "select current_date",
        "select Current_Timestamp",
        'select "current_timestamp"',
        "select today()",
        "select uuid()",
        "select gen_random_uuid()",
        "select * from trades limit (select 1 + floor(random()))",
        "select * from trades using sample 3 rows",
        "select * from trades tablesample 50%",
        "select count(*) from read_parquet('{data}/cache/trades/*/*.parquet')",
        "select count(*) from '{data}/cache/trades/AAPL/2024_01.parquet'",
        "with t as (select 1) select (from t), count(*) from glob('{data}/cache/*')",
        "show tables",
        "describe trades",
        "select * from duckdb_settings()",
        "select count(*) from information_schema.tables",
        "select * exclude (id) replace (random() as price) from trades",
        "select current_setting('threads')",
        "select getvariable('x')",
        "select age(timestamp) from trades",
        "select reservoir_quantile(price, 0.5) from trades",
    ],
)
def test_an_answer_that_may_change_by_itself_is_not_kept(
    made: Made, wh: Warehouse, sql: str
) -> None:
    sql = sql.format(data=made.layout.data)
    for _ in range(2):
        wh.query(sql)
    stats = wh.cache.stats
    assert (stats.entries, stats.hits) == (0, 0)


def test_values_and_their_types_tell_answers_apart(wh: Warehouse) -> None:
    answers = [
        wh.query("select $v::varchar as v, typeof($v) as t", v=value)
        for value in (1, 1.0, "1", True, Decimal(1), date(2024, 1, 1), None, [1], ["1"])
    ]
    assert len({tuple(answer.iloc[0]) for answer in answers}) == len(answers)
    assert wh.cache.stats.hits == 0
    wh.query("select $v::varchar as v, typeof($v) as t", v=1.0)
    assert wh.cache.stats.hits == 1


def test_a_macro_of_the_users_own_that_rolls_dice_is_not_trusted(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", DAY): [trade("AAPL", instant(DAY))]})
    file = made.root / "sql/catalog/path_name.sql"
    file.write_text(
        file.read_text("utf-8")
        + "create or replace macro dice(n) as floor(random() * n);\n"
        + "create or replace macro throw(n) as dice(n) + 1;\n"
        + "create or replace macro twice(n) as 2 * n;\n"
        + "create or replace macro table_of(n) as table (select throw(n) as x);\n"
        + "create or replace view rolled as select throw(6) as x;\n"
    )
    made.update()
    with Warehouse(made.root) as wh:
        for sql in (
            *("select dice(6)", "select throw(6)", "from table_of(6)", "from rolled"),
            "select count(*) from rolled, trades",
        ):
            wh.query(sql)
        assert wh.cache.stats.entries == 0
        wh.query("select twice(6)")
        assert wh.cache.stats.entries == 1


# Constructs that a later DuckDB may parse into another tree.
FORMS = """
create or replace macro half(n, parts := 2) as n / parts + case when n is null then 0 else 1 end;
create or replace view shaped as
    with found as (
        select
            symbol, timestamp, size::decimal(18, 6) as size, timestamp + interval 5 minute as later,
            {'a': price, 'b': [1, 2]} as pair, half(size) as half,
            not (size between 1 and 2) as odd,
            count(*) filter (where price > 1.5e3) over (
                partition by symbol order by timestamp rows between 2 preceding and current row
            ) as counted
        from trades
        where session in (date '2024-01-02', $$2024-01-03$$) and exchange is distinct from 'x''y'
        qualify row_number() over () > -1
    )
    select found.* exclude (odd), quote.bid_price, list_transform([1, 2], lambda x: x + 1) as listed
    from found asof left join quotes as quote using (symbol, timestamp)
    order by all;
"""


def test_what_stands_behind_a_query_is_the_same_whatever_the_version_of_duckdb(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({})
    with (made.root / "sql/catalog/outliers.sql").open("a") as file:
        file.write(FORMS)
    made.update()
    with Warehouse(made.root) as wh:
        facts = wh._answers.snapshots.read(lambda snapshot: behind(snapshot, {"shaped", "half"}))
    said = {name: facts[name] for name in ("shaped", "half", "trades")}
    assert (
        hashlib.sha256(json.dumps(said).encode()).hexdigest()
        == "ab27215784dbb29536acace57444895eb1ac9ae89ae4830bf237e64d48f16f00"
    )


def test_the_order_in_which_duckdb_keeps_what_a_star_replaces_has_no_say_in_an_id(
    make_warehouse: MakeWarehouse,
) -> None:
    """It changes by itself from one publish to the next, and from one warehouse to another."""
    made = make_warehouse({day_key("trades", DAY): [trade("AAPL", LAST, 99)]})
    made.update()
    entries = ["price + 1 as price", "least(size, 2) as size", "upper(conditions) as conditions"]

    def id_of(entries: list[str]) -> str:
        star = f"* exclude (tape, trf_id) replace ({', '.join(entries)})"
        edit_catalog(made, f"create or replace view shown as select {star} from trades")
        with Warehouse(made.root) as wh:
            found: str = wh.query("select count(*) from shown").attrs["fingerprint"]
            return found

    assert len({id_of(list(each)) for each in permutations(entries)}) == 1
    assert id_of(entries) != id_of(["price + 2 as price", *entries[1:]])
    assert in_words("select t.* REPLACE (f(b, 1) AS x, [b, a] AS y) from t") == (
        "select t . * replace ( [ b , a ] as y , f ( b , 1 ) as x ) from t"
    )
    assert in_words("select replace (b, a, c), (d) from t") == (
        "select replace ( b , a , c ) , ( d ) from t"
    )


class Liar(str):
    """A text that shows itself as another."""

    def __repr__(self) -> str:
        return "'nothing'"


def test_values_that_look_alike_are_not_taken_for_each_other(wh: Warehouse) -> None:
    for first, second in (
        (Liar("a"), Liar("b")),
        ([1], [True]),
        ([1], [1.0]),
        (0.0, -0.0),
        ([0.0], [-0.0]),
        (Decimal("1.0"), Decimal("1.00")),
        (np.float32(0.1), np.float64(0.1)),
        (date(2024, 1, 31), datetime(2024, 1, 31, tzinfo=UTC)),
        ({"a": 1}, {"a": True}),
        (b"a", "a"),
        (list(range(5000)), [*range(2500), 0, *range(2501, 5000)]),
        (np.arange(5000), np.concatenate([np.arange(2500), [0], np.arange(2501, 5000)])),
    ):
        said = [wh.query("select $x::varchar as text, typeof($x) as kind", x=each).iloc[0].tolist()
                for each in (first, second, first)]  # fmt: skip
        assert said[0] == said[2] != said[1], (first, second)
    hits = wh.cache.stats.hits
    assert one(wh.query("select $x as x", x=Liar("a"))) == "a"
    assert one(wh.query("select $x as x", x=Liar("b"))) == "b"
    assert wh.cache.stats.hits == hits


def test_stamps_within_lists_and_structs_are_instants_too(wh: Warehouse) -> None:
    sql = """
        select
            [max(timestamp), null] as list, {'t': max(timestamp), 'n': 1} as struct,
            [{'t': max(timestamp)}] as both, map {'t': max(timestamp)} as map,
            [max(timestamp)]::timestamp_ns[1] as array
        from trades
    """
    row = wh.query(sql).iloc[0]
    stamp = pd.Timestamp(LAST, tz="UTC")
    assert row["list"] == [stamp, None]
    assert row["struct"] == {"t": stamp, "n": 1}
    assert row["both"] == [{"t": stamp}]
    assert row["array"] == [stamp]
    # Arrow cannot give those of a map a zone.
    assert row["map"] == {"t": stamp.tz_localize(None)}
    table = wh.query(sql, "arrow")
    assert table.schema.field("list").type.value_type == pa.timestamp("ns", "UTC")
    polars = wh.query(sql.replace("map {'t': max(timestamp)} as map,", ""), "polars")
    assert polars.schema["list"] == pl.List(pl.Datetime("ns", "UTC"))
    empty = wh.query(sql.replace("from trades", "from trades where false"))
    assert empty["struct"][0] == {"t": None, "n": 1}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("340282366920938463463374607431768211455::uhugeint", "UHUGEINT"),
        ("[bit '0101']", "BIT"),
        ("{'at': '12:00:00+05:00'::timetz}", "TIME WITH TIME ZONE"),
        ("map {'a': ['1'::bignum]}", "BIGNUM"),
    ],
)
def test_a_type_that_no_answer_can_hold_is_refused_by_its_name(
    wh: Warehouse, value: str, kind: str
) -> None:
    with pytest.raises(QueryError, match=f"column odd is of type {kind}, .*; cast it"):
        wh.query(f"select 1 as n, {value} as odd")
    assert len(wh.query(f"select ({value})::varchar as odd")) == 1


@pytest.mark.parametrize(
    "value",
    [
        *("date 'infinity'", "date '-infinity'", "timestamptz 'infinity'"),
        *(f"'infinity'::timestamp{unit}" for unit in ("_s", "_ms", "", "_ns")),
        *("[date '2024-01-31', null, 'infinity']", "{'t': [timestamp '-infinity']}"),
        *("map {'t': date 'infinity'}", "array_value(date 'infinity')"),
        "union_value(t := timestamp 'infinity')",
    ],
)
def test_a_day_without_end_is_refused_and_never_becomes_another_day(
    wh: Warehouse, value: str
) -> None:
    for form in ("pandas", "polars", "arrow"):
        with pytest.raises(QueryError, match=r"column odd has an infinite date or time, .*cast it"):
            wh.query(f"select 1 as n, {value} as odd from range(3)", form)
    assert len(wh.query(f"select ({value})::varchar as odd")) == 1


def test_an_enum_is_a_category_in_every_form(wh: Warehouse) -> None:
    sql = "select unnest(['up', null, 'down'])::enum('down', 'up', 'flat') as odd"
    frame = wh.query(sql)
    assert list(frame["odd"].cat.categories) == ["down", "up", "flat"]
    assert frame["odd"].fillna("flat").to_list() == ["up", "flat", "down"]
    assert wh.query(sql, "polars")["odd"].to_list() == ["up", None, "down"]
    assert wh.query(sql, "arrow")["odd"].to_pylist() == ["up", None, "down"]


def test_the_last_days_before_that_are_days(wh: Warehouse) -> None:
    last = "timestamp_ns '2262-04-11 23:47:16.854775806'"
    row = wh.query(f"select {last} as t, date '9999-12-31' as d, null::date as n").iloc[0]
    assert row["t"] == pd.Timestamp("2262-04-11 23:47:16.854775806", tz="UTC")
    assert row["d"] == pd.Timestamp(9999, 12, 31)
    assert pd.isna(row["n"])


def test_a_function_of_duckdbs_that_never_ends_is_refused(wh: Warehouse) -> None:
    with pytest.raises(QueryError, match="a query may not select from summary"):
        wh.query("select * from summary(trades)")
    assert "symbol" in set(wh.query("summarize trades")["column_name"])


def test_a_partition_that_too_many_open_files_keep_from_being_read_is_not_called_damaged(
    tmp_path: Path,
) -> None:
    path = tmp_path / "2024_01.parquet"
    path.write_bytes(b"sound")
    told = f'IO Error: Cannot open file "{path}": Too many open files'
    error = unreadable(path, told)
    assert str(error) == f"{path}: cannot be read: Too many open files"


@pytest.mark.parametrize("name", ["trades", "quotes", "spread", "bars"])
def test_a_macro_that_is_asked_from_a_time_to_a_time_does_not_take_the_whole_sessions(
    wh: Warehouse, name: str
) -> None:
    for first, last in (
        (f"'{DAY} 12:00'", f"'{DAY} 13:00'"),
        (f"'{DAY}'", f"timestamp '{DAY} 16:00'"),
        (f"timestamptz '{DAY} 05:00+00'", f"date '{DAY}'"),
        ("$first", "$last"),
    ):
        values = {"first": f"{DAY}T09:30", "last": f"{DAY}"} if first == "$first" else {}
        with pytest.raises(QueryError, match="sessions are dates, without a time"):
            wh.query(f"from {name}_of('AAPL', {first}, {last})", **values)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, "") for name in ("trades", "quotes", "spread", "bars", "eligible_trades")),
        *((name, ", adjust := 'splits'") for name in ("trades", "quotes", "spread")),
    ],
)
def test_a_macro_asked_from_a_later_session_to_an_earlier_one_says_so(
    wh: Warehouse, name: str, more: str
) -> None:
    for first, last, told in (
        (DAY, date(2020, 1, 2), "the last session, 2020-01-02, lies before the first"),
        (date(2099, 1, 2), date(2000, 1, 3), "the last session, 2000-01-03, lies before"),
        (None, DAY, "a session is NULL"),
        (DAY, None, "a session is NULL"),
    ):
        for written in ("$first, $last", f"{_sql(first)}, {_sql(last)}"):
            values = {"first": first, "last": last} if written == "$first, $last" else {}
            with pytest.raises(QueryError, match=told):
                wh.query(f"from {name}_of('AAPL', {written}{more})", **values)


def _sql(day: date | None) -> str:
    return "null" if day is None else f"date '{day}'"


def test_a_macro_takes_sessions_however_they_are_typed(wh: Warehouse) -> None:
    whole = len(wh.trades("AAPL", DAY))
    for day in (f"'{DAY}'", f"date '{DAY}'", f"timestamp '{DAY}'", f"'{DAY} 00:00:00'"):
        assert len(wh.query(f"from trades_of('AAPL', {day}, {day})")) == whole
    assert len(wh.query("from trades_of('AAPL', '-infinity', 'infinity')")) == whole
    assert len(wh.query("from trades_of('AAPL', $day, $day)", day=DAY)) == whole


@pytest.mark.parametrize("adjust", ["", ", adjust := 'splits'"])
def test_a_macro_gives_rows_in_the_order_of_the_tape_each_time(
    make_warehouse: MakeWarehouse, adjust: str
) -> None:
    day = date(2024, 1, 29)
    made = make_warehouse({day_key("trades", day): random_trades(("A",), 40_000, day)})
    made.configure(processing__parallel_workers=4)
    made.update("trades")
    sql = f"select sequence_number from trades_of('A', '{day}', '{day}'{adjust})"
    with Warehouse(made.root) as wh:
        due = wh.trades("A", day, to="arrow", columns=["sequence_number"])
    for _ in range(3):
        with Warehouse(made.root) as wh:
            assert wh.query(sql, "arrow").equals(due)
