"""The SQL files: each can be read, run and trusted without the tool."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from building import HEADERS, REPOSITORY, SESSION, Made, bar, csv_text, instant, quote, trade

from warehouse.core.calendar import midnight_ns
from warehouse.core.config import ValidationConfig
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import shipped
from warehouse.errors import AccountingError, SqlFileError
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.sqlfolder.files import SqlFile, SqlFolder

SQL = REPOSITORY / "sql"
NAMES = sorted(path.relative_to(SQL).with_suffix("").as_posix() for path in SQL.rglob("*.sql"))
STATEMENTS = [name for name in NAMES if not name.startswith("catalog/")]
T = instant(SESSION)
MIDNIGHT = instant(SESSION, "00:00")
LINES = {
    "trades": [trade("A", T), trade("A", T), trade("B", T, 2, correction=8)],
    "quotes": [quote("A", T), quote("A", T), quote("B", T, bid=-1)],
    "minute_aggs": [bar("A", T), bar("A", T), bar("B", T, volume=-1)],
    "day_aggs": [bar("A", MIDNIGHT), bar("A", MIDNIGHT), bar("B", MIDNIGHT, volume=-1)],
}
REASONS = {
    "trades": "cancelled",
    "quotes": "price_negative",
    "minute_aggs": "volume_negative",
    "day_aggs": "volume_negative",
}


@pytest.fixture(scope="module")
def folder() -> SqlFolder:
    return SqlFolder(SQL)


def sql_file(text: str) -> SqlFile:
    return SqlFile(Path("x.sql"), "clean/x", text)


# Conventions

KEYS = (
    *("grain", "reads", "params", "severity", "data_types", "on_ingest"),
    *("lookback", "freq", "columns", "source"),
)
"""Keys of a header in the order in which they stand."""
NEEDED = {
    "catalog": set(),
    "validate": {"grain", "severity", "data_types", "on_ingest"},
    "features": {"grain", "lookback", "columns", "source"},
    "bars": {"grain", "reads"},
}
ALSO = {"catalog": set(), "features": {"params", "freq"}}
DECLARED = re.compile(
    r"\$(?P<name>[a-z_]+) (?P<type>[a-z]+(?:\[\])?)"
    r"(?: \((?P<least>[\d.]+) or more\))?(?: = (?P<default>[\w.]+))?"
)
TYPES = ("boolean", "integer", "bigint", "double", "varchar", "date", "struct")
FULL = 80
"""A line of a comment that the next one's first word would still leave so short was torn."""


@pytest.mark.parametrize("name", NAMES)
def test_a_header_is_a_name_a_sentence_and_the_keys_of_its_folder(
    name: str, folder: SqlFolder
) -> None:
    file = folder[name]
    step = name.partition("/")[0]
    assert file.comment[0].startswith(f"{name}: ")
    assert re.fullmatch(r"[^.]*(\.\w[^.]*)*\.", file.sentence), file.sentence
    # The keys follow the sentence at once; what else there is to say stands after an empty line.
    head = file.comment[: [*file.comment, ""].index("")]
    found = [line.partition(":")[0] for line in head if re.match(r"\w+:", line)]
    needed = NEEDED.get(step, {"grain"})
    assert found == [key for key in KEYS if key in found]
    assert needed <= {*found} <= needed | ALSO.get(step, {"params"})
    assert list(file.header) == found or step == "catalog"
    assert all(file.header.values())


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_parameter_has_a_type_and_the_default_that_it_has_elsewhere(
    name: str, folder: SqlFolder
) -> None:
    file = folder[name]
    declared = file.header.get("params")
    found = [DECLARED.fullmatch(part) for part in declared.split(", ")] if declared else []
    for each in found:
        assert each, declared
        assert each["type"].removesuffix("[]") in TYPES
        used_as = re.findall(rf"\${each['name']}::(\w+(?:\[\])?)", file.body)
        assert {*used_as} <= {each["type"]}
        if name.startswith("validate/"):
            field = ValidationConfig.model_fields[each["name"]]
            assert each["default"] == f"{field.default:g}"
            assert each["type"] == {int: "integer", float: "double"}[field.annotation]
        else:
            assert (each["default"] is None) != name.startswith("features/")


@pytest.mark.parametrize("name", NAMES)
def test_the_formatter_has_torn_no_comment_apart(name: str, folder: SqlFolder) -> None:
    lines = folder[name].text.splitlines()
    for line, below in pairwise(lines):
        is_one = all(re.match(r" *-- (?!\w+: )", each) for each in (line, below))
        if is_one or (re.match("-- ", line) and re.match(r"-- (?!\w+: )", below)):
            word = below.split()[1]
            assert len(f"{line} {word}") > FULL, f"{line!r} goes on with {word!r}: wrap it anew"


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_declares_just_the_parameters_it_uses(name: str, folder: SqlFolder) -> None:
    file = folder[name]
    in_code = re.sub(r"--[^\n]*", "", file.text)
    assert file.parameters == frozenset(re.findall(r"\$([a-z_]+)", in_code))


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_file_holds_one_statement_that_sqlglot_parses(name: str, folder: SqlFolder) -> None:
    trees = [tree for tree in sqlglot.parse(folder[name].text, dialect="duckdb") if tree]
    assert len(trees) == 1
    assert trees[0].find(sqlglot.exp.Select)


@pytest.mark.parametrize("name", NAMES)
def test_no_file_has_a_template_in_it(name: str, folder: SqlFolder) -> None:
    assert not re.search(r"\{\{|\{%|%\(|\{\w+\}", folder[name].body)


def test_every_data_type_has_its_files() -> None:
    expected = {f"{step}/{kind}" for step in ("ingest", "clean", "dedupe") for kind in DATA_TYPES}
    assert expected <= set(NAMES)


# Each runs in DuckDB alone


def values(kind: str, path: Path) -> dict[str, Any]:
    return {
        "file": str(path),
        "columns": dict.fromkeys(HEADERS[kind].split(","), "VARCHAR"),
        "day": SESSION,
        "start": midnight_ns(SESSION),
        "end": midnight_ns(SESSION + timedelta(days=1)),
        "corrections": [0, 1],
        "symbol": None,
    }


def run(
    connection: duckdb.DuckDBPyConnection, file: SqlFile, given: dict[str, Any]
) -> duckdb.DuckDBPyRelation:
    return connection.sql(file.text, params={name: given[name] for name in file.parameters})


@pytest.mark.parametrize("kind", DATA_TYPES)
def test_ingest_clean_and_dedupe_run_one_after_the_other_in_duckdb(
    kind: str, folder: SqlFolder, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(csv_text(kind, LINES[kind]))
    given = values(kind, path)
    with duckdb.connect() as connection:
        run(connection, folder[f"ingest/{kind}"], given).create("ingested")
        cleaned = run(connection, folder[f"clean/{kind}"], given)
        columns = DATA_TYPES[kind].columns
        assert cleaned.columns == [*columns.names, "reason"]
        assert cleaned.to_arrow_table().schema.types[:-1] == columns.types
        cleaned.create("cleaned")
        reasons = connection.sql("select reason from cleaned").fetchall()
        assert reasons == [(None,), (None,), (REASONS[kind],)]

        connection.execute(
            "create table kept as"
            " select * exclude (reason), row_number() over () + 1 as line_number"
            " from cleaned where reason is null"
        )
        deduped = run(connection, folder[f"dedupe/{kind}"], {})
        assert {*columns.names, "line_number", "reason"} <= set(deduped.columns)
        assert deduped.order("line_number").project("line_number, reason").fetchall() == [
            (2, None),
            (3, "duplicate"),
        ]


@pytest.mark.parametrize("kind", DATA_TYPES)
def test_ingest_reads_the_compressed_file_as_it_is_too(
    kind: str, folder: SqlFolder, tmp_path: Path
) -> None:
    """So that who looks at the SQL can try it on a file of the raw tier."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(csv_text(kind, LINES[kind]).encode()))
    with duckdb.connect() as connection:
        rows = run(connection, folder[f"ingest/{kind}"], values(kind, path)).fetchall()
    assert len(rows) == len(LINES[kind])


def test_the_catalogs_files_run_as_they_stand_from_the_warehouses_folder(
    make_warehouse: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, folder: SqlFolder
) -> None:
    made = make_warehouse(storage__layout={"day_aggs": "symbol"})
    for kind, lines in LINES.items():
        made.put_raw(kind, SESSION, lines)
    made.ingest()
    monkeypatch.chdir(made.root)
    with duckdb.connect() as connection:
        names = ("tables", "path_name", "reference", "files", "partitions", "rejects", *DATA_TYPES)
        for name in names:
            connection.execute(folder[f"catalog/{name}"].text)
        assert connection.execute("select count(*) from partitions").fetchall() == [(4,)]
        for kind in DATA_TYPES:
            assert connection.execute(f"select symbol from {kind}").fetchall() == [("A",)]
            assert connection.execute(f"select symbol from {kind}_of('A')").fetchall() == [("A",)]
        reasons = connection.execute("select data_type, count(*) from rejects group by all")
        assert dict(reasons.fetchall()) == dict.fromkeys(DATA_TYPES, 2)


# Fingerprints


STATEMENT = """-- clean/x: a sentence.
-- grain: one row
-- params: $start
select a, b
from t
where a >= $start and b <> 'x y'
"""
SAME = {
    "a comment": STATEMENT.replace("where", "-- why\nwhere"),
    "a comment within a line": STATEMENT.replace("from t", "from t -- the table"),
    "a block comment": STATEMENT.replace("from t", "from /* the table */ t"),
    "another header": STATEMENT.replace("a sentence", "another sentence"),
    "line breaks": " ".join(
        line for line in STATEMENT.splitlines() if not line.startswith("--")
    ).replace("and", "\n\n\nand"),
    "more spaces": STATEMENT.replace("a, b", "a  ,   b"),
    "capitals in keywords": STATEMENT.replace("select", "SELECT").replace("where", "Where"),
    "a semicolon": STATEMENT.rstrip() + ";\n",
    "a semicolon and a comment": STATEMENT.rstrip() + "; -- all\n/* of /* it */ */\n",
    "a comment between signs": STATEMENT.replace(">= $start", ">=/**/$start--\n"),
    "windows line ends": STATEMENT.replace("\n", "\r\n"),
}
OTHER = {
    "a condition": STATEMENT.replace(">=", ">"),
    "a literal": STATEMENT.replace("'x y'", "'x  y'"),
    "a literal in capitals": STATEMENT.replace("'x y'", "'X y'"),
    "a literal that looks like a comment": STATEMENT.replace("'x y'", "'x --y'"),
    "a table": STATEMENT.replace("from t", "from u"),
    "a column": STATEMENT.replace("a, b", "a, c"),
    "the columns' order": STATEMENT.replace("a, b", "b, a"),
    "a parameter": STATEMENT.replace("$start", "$end"),
    "a literal that ends in a quote": STATEMENT.replace("'x y'", "'x y''z'"),
    "a literal of another kind": STATEMENT.replace("'x y'", "E'x y'"),
    "a literal in dollars": STATEMENT.replace("'x y'", "$$x y$$"),
    "quotes": STATEMENT.replace("from t", 'from "T"'),
    "a sign": STATEMENT.replace("$start", "-$start"),
    "a number": STATEMENT.replace("$start", "1.5e3"),
    "a number and a name": STATEMENT.replace("$start", "1.5 e3"),
    "a condition less": STATEMENT.replace(" and b <> 'x y'", ""),
}


@pytest.mark.parametrize("change", SAME)
def test_a_fingerprint_is_unchanged_by(change: str) -> None:
    assert sql_file(SAME[change]).fingerprint() == sql_file(STATEMENT).fingerprint()


@pytest.mark.parametrize("change", OTHER)
def test_a_fingerprint_is_changed_by(change: str) -> None:
    assert sql_file(OTHER[change]).fingerprint() != sql_file(STATEMENT).fingerprint()


def test_a_fingerprint_is_the_same_whatever_the_versions_of_other_packages() -> None:
    assert (
        sql_file(STATEMENT).fingerprint()
        == "da230889c7113e39f137d59e1f2a3e8c439b0cbe60482dc5a651528bcb30d7db"
    )
    assert (
        sql_file(OTHER["a number and a name"]).fingerprint()
        == "8e63aeee292d5c2ff93a00b94b452ee52818b712f052869c85a8e5becb7d902b"
    )


def test_a_literal_keeps_a_line_that_looks_like_a_comment() -> None:
    one = STATEMENT.replace("'x y'", "'x\n-- y\n'")
    other = STATEMENT.replace("'x y'", "'x\n'")
    assert sql_file(one).fingerprint() != sql_file(other).fingerprint()


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_line_ends_where_it_does_in_duckdb(odd: str) -> None:
    file = sql_file(f"-- a: one.{odd}select 0\nselect '{odd}' as x -- and{odd}, 2 as y\n")
    assert duckdb.sql(file.body).fetchall() == duckdb.sql(file.text).fetchall() == [(odd,)]
    assert file.comment == [f"a: one.{odd}select 0"]


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_shipped_statement_keeps_its_fingerprint_when_it_is_reformatted(
    name: str, folder: SqlFolder
) -> None:
    file = folder[name]
    lines = [line for line in file.text.splitlines() if not line.lstrip().startswith("--")]
    squeezed = re.sub(r"\s+", " ", " ".join(lines))

    assert sql_file(squeezed).fingerprint() == file.fingerprint()
    assert sql_file(f"-- something\n{file.text}\n").fingerprint() == file.fingerprint()


def test_together_a_setting_a_statement_and_a_name_count(tmp_path: Path) -> None:
    for name, text in (("a", STATEMENT), ("b", STATEMENT), ("c", OTHER["a condition"])):
        (tmp_path / f"{name}.sql").write_text(text)
    folder = SqlFolder(tmp_path)
    settings = {"corrections": [0, 1], "x": 1}
    first = folder.fingerprint(("a", "b"), settings)

    assert first == SqlFolder(tmp_path).fingerprint(("a", "b"), {"x": 1, "corrections": [0, 1]})
    assert re.fullmatch("[0-9a-f]{16}", first)
    others = {
        folder.fingerprint(("a", "b"), {**settings, "corrections": [0]}),
        folder.fingerprint(("a", "c"), settings),
        folder.fingerprint(("a",), settings),
    }
    assert len(others) == 3
    assert first not in others


# Complaints


def test_an_undeclared_parameter_is_an_error_that_names_it() -> None:
    file = sql_file(STATEMENT.replace("b <> 'x y'", "b <> $other"))
    with pytest.raises(SqlFileError, match="'other'"):
        _ = file.parameters


def test_a_declared_parameter_that_is_not_used_is_an_error() -> None:
    file = sql_file(STATEMENT.replace("$start\n", "$start, $more\n"))
    with pytest.raises(SqlFileError, match="'more'"):
        _ = file.parameters


def test_a_missing_file_is_an_error_that_says_where_the_shipped_ones_are(tmp_path: Path) -> None:
    with pytest.raises(SqlFileError, match="cannot be read") as caught:
        _ = SqlFolder(tmp_path)["clean/trades"]
    assert str(shipped("sql")) in str(caught.value)
    assert caught.value.path == tmp_path / "clean/trades.sql"


def test_a_statement_that_cannot_be_parsed_is_one_line_of_complaint() -> None:
    for text in ("select 'a", 'select "a', "select 1 /* a /* b */"):
        with pytest.raises(SqlFileError, match=r"cannot be parsed: .* has no end") as caught:
            sql_file(text).fingerprint()
        assert "\n" not in str(caught.value)


def spoil(made: Made, name: str, old: str, new: str) -> None:
    path = made.root / "sql" / f"{name}.sql"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("clean/day_aggs", "volume < 0", "volum < 0"),
        ("clean/day_aggs", "end as reason", "end as cause"),
        ("clean/day_aggs", "    vwap,\n", ""),
        ("ingest/day_aggs", "ticker as symbol", "tickr as symbol"),
        ("dedupe/day_aggs", "from compared", "from compare"),
        ("catalog/day_aggs", "create or replace view", "create or replace vew"),
    ],
)
def test_a_users_broken_sql_is_an_error_that_names_the_file_and_publishes_nothing(
    name: str, old: str, new: str, make_warehouse: Callable[..., Made]
) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, LINES["day_aggs"])
    spoil(made, name, old, new)

    with pytest.raises(SqlFileError) as caught:
        made.ingest("day_aggs")

    assert caught.value.path == made.root / "sql" / f"{name}.sql"
    assert "\n" not in str(caught.value)
    assert made.partitions() == {}


@pytest.mark.parametrize("change", ["from ingested where volume >= 0", "from ingested, range(2)"])
def test_a_users_sql_that_loses_or_makes_rows_is_not_blamed_on_the_file(
    change: str, make_warehouse: Callable[..., Made]
) -> None:
    """Set aside it would not come again once the SQL is mended: it is the same at the source."""
    made = make_warehouse()
    path = made.put_raw("day_aggs", SESSION, LINES["day_aggs"])
    spoil(made, "clean/day_aggs", "from ingested", change)

    with pytest.raises((SqlFileError, AccountingError)):
        made.ingest("day_aggs")

    assert path.exists()
    assert made.partitions() == {}


def test_a_catalog_that_could_not_be_made_is_made_once_its_sql_is_mended(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, LINES["day_aggs"])
    spoil(made, "catalog/day_aggs", "create or replace view", "create or replace vew")
    with pytest.raises(SqlFileError):
        made.ingest("day_aggs")

    spoil(made, "catalog/day_aggs", "create or replace vew", "create or replace view")
    made.ingest("day_aggs")

    made.check_catalog()
    assert made.sql("select symbol from day_aggs") == [("A",)]


def test_users_may_clean_by_rules_of_their_own(make_warehouse: Callable[..., Made]) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, [bar("A", MIDNIGHT), bar("B", MIDNIGHT, volume=5)])
    spoil(made, "clean/day_aggs", "when trades < 0", "when volume < 10 then 'thin' when trades < 0")

    made.ingest("day_aggs")

    assert made.table("day_aggs")["symbol"].to_pylist() == ["A"]
    assert [row["reason"] for row in made.rejects()] == ["thin"]


LARGE = "select [" + ",".join(["1"] * 70_000) + "] as a"


def test_a_file_of_sql_that_is_larger_than_any_that_a_person_writes_is_not_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "clean/trades.sql"
    path.parent.mkdir()
    path.write_text(f"-- clean/trades: all.\n{LARGE}\n", "utf-8")
    with pytest.raises(SqlFileError, match="larger than 131,072 bytes"):
        SqlFolder(tmp_path)["clean/trades"]


def test_a_feature_that_is_larger_than_any_that_a_person_writes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "features/large.sql"
    path.parent.mkdir()
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    folder = FeatureFolder(tmp_path)
    (found,) = folder
    assert isinstance(found, SqlFileError)
    assert "larger than 131,072 bytes" in str(found)
    assert len(folder.texts()["large"]) == 131_072
