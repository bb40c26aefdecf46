"""Each rule of sql/validate finds what it is for and no more, and keeps to the conventions.

A case is a folder `validation/<rule>/<case>` with

    <table>.csv     rows of the data types, and of rejects, partitions (symbol, session, rows),
                    source_files or splits, that the rule reads; a column that is absent is NULL, a
                    timestamp is the clock in New York on the row's session
    trade_conditions.csv  where the case wants another table than the shipped one
    expected.csv    some of the columns of the rule's answer, in its order; none: it finds nothing
    settings.json   where the case wants them: `validation` (thresholds), `data_type` (which is
                    asked about, where there are no rows of one)
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from building import REPOSITORY, instant
from featuring import conditions

from warehouse.core.config import ValidationConfig
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import RequestError, SqlFileError
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.rule_file import Rule, chosen, rules
from warehouse.store.publishing.catalog_sql import make_reference
from warehouse.store.reference.reference_files import SCHEMAS
from warehouse.validation.evaluate import ask, checked_as, show_sessions

CASES = Path(__file__).parent / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/*/expected.csv"))
SQL = SqlFolder(REPOSITORY / "sql")
RULES = {rule.name: rule for rule in rules(SQL)}
PARTS = pa.schema([("symbol", pa.string()), ("session", pa.date32()), ("rows", pa.int64())])
FILES = pa.schema(
    [
        ("day", pa.date32()),
        ("state", pa.string()),
        ("problem", pa.string()),
        ("rows_rejected", pa.int64()),
    ]
)
TABLES = {
    **{name: kind.columns for name, kind in DATA_TYPES.items()},
    "rejects": DATA_TYPES["trades"].rejects_columns,
    "partitions": PARTS,
    "source_files": FILES,
    "splits": SCHEMAS["splits"],
}


def stamp(session: str, clock: str) -> int:
    """Nanoseconds of a clock in New York: `09:30:00.000000001`."""
    whole, _, fraction = clock.partition(".")
    return instant(date.fromisoformat(session), whole, int(fraction.ljust(9, "0") or 0))


def value(kind: pa.DataType, text: str, session: str) -> Any:
    if text == "":
        return None
    if pa.types.is_timestamp(kind):
        return stamp(session, text)
    if pa.types.is_date(kind):
        return date.fromisoformat(text)
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_boolean(kind):
        return text == "true"
    return float(text) if pa.types.is_floating(kind) else text


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def empty() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with all tables that a rule may read; the data is not there yet."""
    with duckdb.connect(config={"threads": 1}) as connection:
        config = REPOSITORY / "config"
        make_reference(connection, SQL, config, config / "trade_conditions.csv")
        for name, columns in TABLES.items():
            connection.register("given", columns.empty_table())
            connection.execute(f"create table {name} as select * from given")
        yield connection


class Case:
    """A rule's input in a DuckDB, and what it is to answer."""

    def __init__(self, folder: Path, empty: duckdb.DuckDBPyConnection) -> None:
        self.rule = RULES[folder.parent.name]
        self.expected = rows_of(folder / "expected.csv")
        with open(folder / "expected.csv", encoding="utf-8") as file:
            self.columns = file.readline().strip().split(",")
        path = folder / "settings.json"
        settings = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.config = ValidationConfig(**settings.get("validation", {}))
        given = {path.stem: rows_of(path) for path in folder.glob("*.csv")}
        del given["expected"]
        has_own_conditions = given.pop("trade_conditions", None) is not None
        assert set(given) <= set(TABLES), folder
        own = [name for name in self.rule.data_types if name in given]
        self.data_type = settings.get("data_type") or own[0]
        # What is temporary goes before what is not, and is this connection's alone.
        self.connection = empty.cursor()
        if has_own_conditions:
            self.connection.register(
                "trade_conditions", conditions(folder / "trade_conditions.csv")
            )
        for name, rows in given.items():
            self._make(name, rows)
        self._run(checked_as(self.data_type))
        rows_of_days = [row for name, rows in given.items() if name != "splits" for row in rows]
        days = sorted(row.get("session") or row["day"] for row in rows_of_days)
        first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
        show_sessions(self.connection, first, last)

    def _run(self, sql: str) -> None:
        self.connection.execute(sql)

    def _make(self, name: str, rows: list[dict[str, str]]) -> None:
        columns = TABLES[name]
        for row in rows:
            assert set(row) <= set(columns.names), (name, set(row) - set(columns.names))
        arrays = [
            pa.array(
                [value(c.type, row.get(c.name, ""), row.get("session", "")) for row in rows],
                pa.int64() if pa.types.is_timestamp(c.type) else c.type,
            ).cast(c.type)
            for c in columns
        ]
        self.connection.register("given", pa.table(arrays, columns))
        if name == "partitions":
            self._run(
                "create temp table partitions as select symbol,"
                " list({'session': session, 'rows': rows} order by session) as sessions"
                " from given group by symbol"
            )
        else:
            self._run(f"create temp table {name} as select * from given")

    def answer(self) -> list[dict[str, Any]]:
        """The rule's rows; stamps as nanoseconds."""
        values = {name: getattr(self.config, name) for name in self.rule.file.parameters}
        found = self.connection.sql(self.rule.file.body, params=values).to_arrow_table()
        for place, field in enumerate(found.schema):
            if pa.types.is_timestamp(field.type):
                stamps = found.column(place).cast(pa.timestamp("ns")).cast(pa.int64())
                found = found.set_column(place, field.name, stamps)
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows


def told(row: dict[str, str]) -> dict[str, Any]:
    """A row of expected.csv, its clocks as nanoseconds."""
    return {
        name: stamp(row["session"], text) if text.count(":") == 2 else text
        for name, text in row.items()
    }


def as_told(found: Any, expected: Any) -> Any:
    """A value as expected.csv writes it."""
    if isinstance(expected, int):
        return found
    if isinstance(found, (int, float)) and not isinstance(found, bool) and expected:
        return expected if float(expected) == pytest.approx(float(found)) else found
    return "" if found is None else str(found)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_rule_finds_what_the_case_says(folder: Path, empty: duckdb.DuckDBPyConnection) -> None:
    case = Case(folder, empty)
    found = case.answer()
    expected = [told(row) for row in case.expected]
    assert [
        {name: as_told(row[name], wanted[name]) for name in case.columns}
        for row, wanted in zip(found, expected, strict=True)
    ] == expected
    # What is counted of it adds up, whatever stands for how many rows.
    results = ask(case.connection, case.rule, case.data_type, case.config)
    assert sum(one.count for one in results) == sum(row.get("row_count", 1) for row in found)
    assert {(one.symbol, one.session) for one in results} == {
        (row["symbol"], row["session"]) for row in found
    }


def test_every_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: dict[bool, set[str]] = {True: set(), False: set()}
    for folder in FOLDERS:
        fires[bool(rows_of(folder / "expected.csv"))].add(folder.parent.name)
    assert fires[True] == fires[False] == set(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_shipped_rule_says_what_it_is_for(rule: Rule) -> None:
    assert rule.sentence.endswith(".")
    assert rule.file.text.startswith(f"-- validate/{rule.name}: ")
    assert rule.file.header["on_ingest"] in ("yes", "no")


def test_a_parameter_is_a_threshold_of_the_configuration() -> None:
    used = {name for rule in RULES.values() for name in rule.file.parameters}
    assert used == set(ValidationConfig.model_fields)


GOOD = """-- validate/mine: trades of one share.
-- severity: error
-- data_types: trades
-- grain: one row per trade
select symbol, session, timestamp, size from trades where size = 1 order by all
"""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("severity: error", "severity: fatal"), "error or warning"),
        (("data_types: trades", "data_types: ticks"), "one or more of trades, quotes"),
        (("-- grain: one row per trade\n", ""), "no grain:"),
        (("-- grain", "-- params: $most\n-- grain"), "its header declares params"),
        (("size = 1", "size = $size"), "its header declares params"),
        (("from trades", "from tradez"), "has a table 'tradez'"),
        (("from trades", "from 'x.csv' as trades"), "has a table 'x.csv'"),
        (("select symbol", "delete from trades; select symbol"), "is no single SELECT"),
        (("select symbol", "selekt symbol"), "is no single SELECT"),
        (("select symbol", "with x as (copy (select 1) to 'x') select symbol"), "holds a COPY"),
        (("from trades", "from trades, read_text('x')"), "may not select from read_text()"),
        (("order by all", "order by all; select 1"), "exactly one SELECT; this is SELECT, SELECT"),
        (("-- grain", "-- on_ingest: maybe\n-- grain"), "yes or no"),
        (("from trades", "from trades, quotes"), None),
        (("-- grain", "-- on_ingest: yes\n-- grain"), None),
    ],
)
def test_a_rule_that_breaks_the_conventions_is_refused(
    tmp_path: Path, change: tuple[str, str], problem: str | None
) -> None:
    (tmp_path / "validate").mkdir()
    (tmp_path / "validate/mine.sql").write_text(GOOD.replace(*change))
    if problem is None:
        assert [rule.name for rule in rules(SqlFolder(tmp_path))] == ["mine"]
        return
    with pytest.raises(SqlFileError) as caught:
        rules(SqlFolder(tmp_path))
    assert problem in str(caught.value)
    assert "validate/mine.sql" in str(caught.value)


def test_a_rule_of_incoming_rows_reads_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "validate").mkdir()
    text = GOOD.replace("-- grain", "-- on_ingest: yes\n-- grain")
    (tmp_path / "validate/mine.sql").write_text(text.replace("from trades", "from trades, rejects"))
    with pytest.raises(SqlFileError, match="on_ingest: yes, and reads rejects"):
        rules(SqlFolder(tmp_path))


def test_a_rule_without_the_agreed_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "validate").mkdir()
    (tmp_path / "validate/mine.sql").write_text(GOOD.replace("select symbol, session,", "select"))
    (rule,) = rules(SqlFolder(tmp_path))
    with duckdb.connect() as connection:
        connection.register("given", DATA_TYPES["trades"].columns.empty_table())
        connection.execute("create table trades as select * from given")
        with pytest.raises(SqlFileError, match="returns no symbol, session;"):
            ask(connection, rule, "trades", ValidationConfig())


def test_an_unknown_rule_is_named_with_those_there_are() -> None:
    every = list(RULES.values())
    assert chosen(every, []) == every
    assert [rule.name for rule in chosen(every, ["time_gaps", "time_gaps"])] == ["time_gaps"]
    with pytest.raises(RequestError, match=r"rule = 'time_gap': it may be coarse_bars, "):
        chosen(every, ["time_gap"])


def test_a_rule_runs_in_duckdb_alone() -> None:
    """As a person would try one: the statement and the values, nothing of ours."""
    rule = RULES["locked_quotes"]
    with duckdb.connect() as connection:
        connection.execute(
            "create table quotes as select 'A' as symbol, date '2024-01-31' as session,"
            " timestamp_ns '2024-01-31 15:00:00' as timestamp, 10.0 as bid_price, 10.0 as ask_price"
            " from range(3)"
        )
        opens, closes = 1706711400000000000, 1706734800000000000
        connection.execute(
            f"create table sessions as select date '2024-01-31' as session, {opens} as open_ns,"
            f" {closes} as close_ns, false as is_half_day"
        )
        found = connection.execute(rule.file.body, {"max_locked_share": 0.1}).fetchall()
    assert [row[:2] for row in found] == [("A", date(2024, 1, 31))]
    assert found[0][3] == 3


SEEN = [
    ("select symbol, count(*) from trades group by all", {"symbol"}),
    ('select Price, "SIZE" from trades', {"price", "size"}),
    ("select symbol from trades where id = '1'", {"symbol", "id"}),
    ("select symbol from trades where exchange in (select id from exchanges)", {"exchange"}),
    ("select symbol from trades join sessions using (session)", {"session"}),
    ("with few as (select count(*) as trades from trades) select trades from few", {"trades"}),
    ("select trades.price from trades, range(2)", {"price"}),
]
WHOLE = [
    "from trades",
    "table trades",
    "select *, count(*) from trades group by all",
    "select t.* exclude (price) from trades as t",
    "select columns('p.*') from trades",
    "select trades from trades",
    "select to_json(t) from trades as t",
    "select (select to_json(checked)) from checked",
    "select unnest(trades) from trades",
    "select symbol from trades natural join sessions",
    "select symbol from trades positional join sessions",
    "select a, b from trades as t(a, b)",
    "unpivot trades on price, size into name what value number",
    "summarize trades",
]


@pytest.mark.parametrize(("sql", "seen"), SEEN)
def test_a_rule_may_see_the_columns_that_it_names_however_they_are_written(
    sql: str, seen: set[str], tmp_path: Path
) -> None:
    rule = on_ingest(sql, tmp_path)

    assert rule.names is not None
    assert {name for name in DATA_TYPES["trades"].columns.names if rule.may_see(name)} >= seen - {
        "trades"
    }
    assert not rule.may_see("trf_id")


@pytest.mark.parametrize("sql", WHOLE)
def test_a_rule_that_takes_rows_whole_may_see_every_column(sql: str, tmp_path: Path) -> None:
    assert all(map(on_ingest(sql, tmp_path).may_see, DATA_TYPES["trades"].columns.names))


def on_ingest(sql: str, folder: Path) -> Rule:
    """A rule of incoming trades."""
    path = folder / "validate" / "mine.sql"
    path.parent.mkdir()
    head = "-- validate/mine: mine.\n-- severity: error\n-- data_types: trades\n"
    path.write_text(f"{head}-- grain: one row\n-- params:\n-- on_ingest: yes\n{sql}\n", "utf-8")
    (rule,) = rules(SqlFolder(folder))
    return rule
