"""SQL answers from the files that its generation names, wherever the warehouse stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import (
    REPOSITORY,
    SESSION,
    Made,
    bar,
    day_key,
    instant,
    keep,
    make,
    put_back,
    quote,
    read_only_mount,
    trade,
)

from warehouse import Warehouse
from warehouse.cli.shell import shell_arguments
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import ConfigError, CorruptPartitionError, QueryError, StorageError

SHELL = Path(sysconfig.get_path("scripts")) / "duckdb"
NOON = instant(SESSION, "12:00")
FILES = {
    day_key("trades", SESSION): [
        *(trade("AAPL", NOON + n * 10**9, n, price=10 + n / 8, size=100 + n) for n in range(8)),
        trade("MSFT", NOON, 1, price=0),
        trade("MSFT", NOON + 1, 2, price=400),
        "x",
    ],
    day_key("quotes", SESSION): [
        *(quote("AAPL", NOON + n * 10**9 - 5, n, bid=10, ask=10.25) for n in range(8)),
        quote("AAPL", 5),
    ],
    day_key("minute_aggs", SESSION): [bar("AAPL", NOON + n * 60 * 10**9) for n in range(3)],
    day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))],
}
QUESTIONS = (
    "select symbol, session, avg(price), sum(size), count(*) from trades group by all order by all",
    "select symbol, session, avg(bid_price), count(*) from quotes group by all order by all",
    "select symbol, session, sum(volume), min(open) from minute_aggs group by all order by all",
    "select symbol, session, volume, open, epoch_ns(timestamp) from day_aggs order by all",
    "select data_type, reason, symbol, session, price, source, line from rejects order by all",
    "select symbol, session, price, size from trades_of('AAPL') order by all",
    "select symbol, session, price, size from trades_of('AAPL', '2024-01-31', '2024-01-31')"
    " order by all",
    "select symbol, session, price from trades_beyond_quantile_of('AAPL', '2024-01-31',"
    " '2024-01-31', q := 0.5) order by all",
    "select symbol, session, price from trades_beyond_deviations_of('AAPL', '2024-01-31',"
    " '2024-01-31', n := 1) order by all",
    "select * from vwap_of('AAPL', '2024-01-31', '2024-01-31') order by all",
    "select * from effective_spread_of('AAPL', '2024-01-31', '2024-01-31') order by all",
    "select * from returns_of('AAPL', '2024-01-31', '2024-01-31', freq := 'day') order by all",
    "select id, name, updates_volume from trade_conditions order by all",
    "select * from quote_conditions order by all",
    "select * from exchanges order by all",
)


def by_shell(made: Made, *questions: str) -> str:
    """The answers of the real shell, started in the warehouse's folder."""
    if not SHELL.exists():
        pytest.skip("no duckdb shell beside this Python")
    done = subprocess.run(
        [str(SHELL), "-readonly", "-csv", "data/warehouse.duckdb"],
        cwd=made.root, input="".join(f"{one};\n" for one in questions),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def told(made: Made) -> dict[str, Any]:
    """What every interface says of a warehouse."""
    verified = made.verify()
    assert verified.faults == []
    with Warehouse(made.root) as wh:
        found: dict[str, Any] = {
            f"query {one}": wh.query(one).to_csv(index=False) for one in QUESTIONS
        }
        for name, frame in (
            ("trades", wh.trades("AAPL", SESSION, SESSION)),
            ("quotes", wh.quotes("AAPL", SESSION, SESSION)),
            ("minutes", wh.aggs("AAPL", SESSION, SESSION, freq="minute")),
            ("days", wh.aggs("AAPL", SESSION, SESSION, freq="day")),
            *((one, wh.features(one, "AAPL", SESSION, SESSION)) for one in ("vwap", "spread")),
        ):
            found[name] = frame.to_csv(index=False)
        with wh.stream(["AAPL"], SESSION, SESSION) as stream:
            found["stream"] = [batch.to_pylist() for batch in stream]
        validated = wh.validate()
        found["validate"] = [
            (one.rule, one.data_type, one.symbol, one.session, one.count, one.examples)
            for one in validated.results
        ]
        facts = wh.report(symbols="AAPL")
        (report,) = facts.symbols
    found["report"] = (facts.holdings, facts.coverage, facts.rejects, report)
    for each in facts.holdings.values():
        # A footer says in what folder of the source its rows stood, in so many bytes.
        each.pop("bytes")
    found["shell"] = by_shell(made, *QUESTIONS)
    found["rejects"] = made.rejects()
    found["rows"] = [made.table(name).to_pylist() for name in ("trades", "quotes", "day_aggs")]
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = make(tmp_path_factory.mktemp("plain"), FILES)
    made.update()
    return told(made)


@pytest.mark.parametrize(
    "folder",
    [
        "price=9",
        "symbol=prod/session=2020-01-01",
        "volume=5/open=1/size=7/bid_price=3/reason=none",
        "id=4/name=x/timestamp=2020-01-01/data_type=trades/line=1",
    ],
)
def test_a_folder_named_like_a_column_changes_no_answer(
    folder: str, plain: dict[str, Any], tmp_path: Path
) -> None:
    made = make(tmp_path / folder, FILES)
    made.update()
    # What stays is read back and written anew, beside what is replaced.
    made.rebuild("trades", symbols=["AAPL"])
    assert told(made) == plain


def test_every_reader_says_that_a_folder_is_no_column() -> None:
    """DuckDB and pyarrow take `price=9/` above a file for a column, unless they are told."""
    said = {
        r"\b(?:read_parquet|parquet_scan|read_csv)\s*\(": "hive_partitioning = false",
        r"\bpq\.read_table\(": "partitioning=None",
        r"\b(?:ds|dataset)\.dataset\(": "partitioning=None",
        r"\bpd\.read_parquet\(": "partitioning=None",
        r"\bpl\.(?:read|scan)_(?:parquet|csv)\(": "hive_partitioning=False",
    }
    found = 0
    for path in [
        *(REPOSITORY / "sql").rglob("*.sql"),
        *(REPOSITORY / "warehouse").rglob("*.py"),
        *(REPOSITORY / "examples").rglob("*.py"),
    ]:
        text = path.read_text("utf-8")
        for reader, wanted in said.items():
            for match in re.finditer(reader, text):
                found += 1
                call = _call(text, match.end())
                assert wanted in call, f"{path}: {match[0]}{call}"
    assert found > 10


def _call(text: str, start: int) -> str:
    """What stands between the parentheses of a call that opens just before `start`."""
    depth = 1
    for place, letter in enumerate(text[start:], start):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return text[start:place]
    raise AssertionError("a call without an end")


# The files that a generation names


def fresh(folder: Path) -> Made:
    made = make(folder, FILES)
    made.update()
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = fresh(tmp_path_factory.mktemp("fresh"))
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    """A warehouse of FILES that was not touched since it was made."""
    put_back(template)
    return template


def by_query(made: Made) -> list[str]:
    with Warehouse(made.root) as wh:
        return [wh.query(one).to_csv(index=False) for one in QUESTIONS]


def stray(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_what_stands_beside_a_partition_changes_no_answer(made: Made) -> None:
    before = by_query(made), by_shell(made, *QUESTIONS)
    with Warehouse(made.root) as wh:
        findings = wh.validate().results
    files = [*made.partitions().values(), *made.layout.rejects.rglob("*.parquet")]
    for path in files:
        whole, folder = path.read_bytes(), path.parent
        stray(folder / f"._{path.name}", b"\0\5\26\7 no Parquet")
        stray(folder / f".{path.name}.swp", b"")
        stray(folder / f"{path.stem} (conflicted copy).parquet", whole)
        stray(folder / f"{path.stem}(1).parquet", whole)
        stray(folder / "2031_01.parquet", whole)
        stray(folder / "2024_1.parquet", whole)
        stray(folder / "2023_12.parquet" / path.name, whole)
        stray(folder / "copy" / path.name, whole)
        stray(folder.parent / f"{folder.name} copy" / path.name, whole)
        stray(folder.parent / "ZZZZ" / path.name, whole)
        stray(folder.parent / path.name, whole)
    stray(made.layout.schema / "trades (1).parquet", b"no Parquet")
    assert (by_query(made), by_shell(made, *QUESTIONS)) == before
    with Warehouse(made.root) as wh:
        assert [(one.rule, one.count) for one in wh.validate().results] == [
            (one.rule, one.count) for one in findings
        ]
        with pytest.raises(QueryError, match="there are no trades of 'ZZZZ'"):
            wh.query("from trades_of('ZZZZ')")
    # A catalog that is made anew names them no more than the one before did.
    made.rebuild("trades", symbols=["MSFT"])
    assert by_query(made) == before[0]


def test_what_stands_beside_the_files_without_rows_changes_no_answer(tmp_path: Path) -> None:
    made = fresh(tmp_path)
    before = by_query(made), by_shell(made, *QUESTIONS)
    for name in ("trades", "quotes", "day_aggs", "rejects"):
        path = made.layout.schema / f"{name}.parquet"
        found = [*made.partitions().values(), *made.layout.rejects.rglob("*.parquet")]
        rows = next(each for each in found if name in each.parts).read_bytes()
        for letter in map(chr, (*range(0x20, 0x2F), *range(0x30, 0x7F), 0xE9)):
            for place in ("parque{}", "par{}uet"):
                if (ending := place.format(letter)) != "parquet":
                    stray(path.with_suffix(f".{ending}"), rows)
        stray(path.with_name(f"{name}.parquets"), rows)
    assert (by_query(made), by_shell(made, *QUESTIONS)) == before


DAMAGE = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_sql_leaves_no_partition_out(damage: str, made: Made) -> None:
    path = made.layout.partition("trades", "MSFT", SESSION.replace(day=1))
    DAMAGE[damage](path)
    with Warehouse(made.root) as wh:
        for sql in ("select count(*), sum(price) from trades", "from trades_of('MSFT')"):
            with pytest.raises(CorruptPartitionError, match="verify --repair") as caught:
                wh.query(sql)
            assert caught.value.path == path
    assert "MSFT/2024_01.parquet" in refused(made, "select sum(price) from trades")
    assert "MSFT/2024_01.parquet" in refused(made, "from trades_of('MSFT')")


def test_sql_takes_no_other_parquet_file_for_a_partition(made: Made) -> None:
    path = made.layout.partition("trades", "MSFT", SESSION.replace(day=1))
    for other in (
        made.layout.partition("trades", "AAPL", SESSION.replace(day=1)),
        made.layout.schema / "trades.parquet",
    ):
        path.write_bytes(other.read_bytes())
        with Warehouse(made.root) as wh:
            for sql in ("select count(*), sum(price) from trades", "from trades_of('MSFT')"):
                with pytest.raises(CorruptPartitionError, match="bytes, the catalog says") as found:
                    wh.query(sql)
                assert found.value.path == path
            assert len(wh.query("from quotes")) > 0
    made.repair()
    assert len(by_query(made)) == len(QUESTIONS)


def test_sql_notices_a_partition_that_is_replaced_between_two_questions(made: Made) -> None:
    path = made.layout.partition("trades", "MSFT", SESSION.replace(day=1))
    published = path.read_bytes()
    other = path.with_name("other")
    questions = "select sum(price) as s from trades -- {}", "from trades_of('MSFT') -- {}"
    with Warehouse(made.root) as wh:
        before = [wh.query(one.format(0)).to_csv() for one in questions]
        # The same bytes in a new file are no other partition.
        other.write_bytes(published)
        other.replace(path)
        time.sleep(0.2)
        assert [wh.query(one.format(1)).to_csv() for one in questions] == before
        table = pq.ParquetFile(path).read()
        prices = pa.array([999.0] * len(table))
        pq.write_table(table.set_column(table.column_names.index("price"), "price", prices), other)
        other.replace(path)
        time.sleep(0.2)
        for one in questions:
            with pytest.raises(CorruptPartitionError, match="was replaced") as caught:
                wh.query(one.format(2))
            assert caught.value.path == path
        assert len(wh.query("from quotes")) > 0
        # Nor does it go unnoticed where it is as large and as old as the one before it.
        facts = path.stat()
        content = bytearray(published)
        at = content.index(b"MSFT")
        content[at : at + 4] = b"MSFU"
        other.write_bytes(content)
        os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        other.replace(path)
        time.sleep(0.2)
        with pytest.raises(CorruptPartitionError, match="was replaced"):
            wh.query(questions[0].format(3))


def test_sql_leaves_no_file_of_rejects_out(made: Made) -> None:
    (path,) = (made.layout.rejects / "quotes").rglob("*.parquet")
    path.unlink()
    with Warehouse(made.root) as wh, pytest.raises(CorruptPartitionError, match="missing"):
        wh.query("select count(*) from rejects")
    assert path.name in refused(made, "select count(*) from rejects")
    made.repair()
    assert len(by_query(made)) == len(QUESTIONS)


def test_a_filter_on_the_symbol_opens_no_other_partition(made: Made) -> None:
    made.layout.partition("trades", "MSFT", SESSION.replace(day=1)).write_bytes(b"no Parquet")
    question = "select count(*) from trades where symbol = 'AAPL'"
    with Warehouse(made.root) as wh:
        assert wh.query(question).iloc[0, 0] == 8
    assert by_shell(made, question).split() == ["count_star()", "8"]


def test_a_file_of_an_earlier_version_of_the_sql_names_files_too(tmp_path: Path) -> None:
    """A user may have edited one; the paths in it are those of `init` then."""
    made = make(tmp_path, FILES)
    folder = made.root / "sql/catalog"
    (folder / "files.sql").unlink()
    (folder / "trades.sql").write_text(
        """-- catalog/trades: mine
create or replace view trades as
select * exclude (filename) replace (url_decode(parse_path(filename)[-2]) as symbol), 1 as mine
from
    read_parquet(
        ['data/schema/trades.parquet', 'data/cache/trades/*/*.parquet'],
        filename = true
    );
create or replace macro trades_of(symbol) as table (
    select * from read_parquet('data/cache/trades/' || path_name(symbol) || '/*.parquet')
),
(symbol, first, last) as table (
    select *
    from read_parquet('data/cache/trades/' || path_name(symbol) || '/*.parquet')
    where session between first::date and last::date
);
"""
    )
    made.update()
    stray(made.layout.cache / "trades/AAPL/._2024_01.parquet", b"no Parquet")
    assert made.sql("select count(*), sum(mine) from trades") == [(9, 9)]
    assert made.sql("select count(*) from trades_of('AAPL')") == [(8,)]


# The place where a warehouse stands


def refused(made: Made, question: str, *before: str) -> str:
    """What the real shell says where it cannot answer."""
    if not SHELL.exists():
        pytest.skip("no duckdb shell beside this Python")
    done = subprocess.run(
        [str(SHELL), "-readonly", "-bail", "data/warehouse.duckdb"],
        cwd=made.root, input="".join(f"{one};\n" for one in (*before, question)),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.mark.parametrize("is_copy", [True, False])
def test_a_warehouse_answers_where_it_stands(is_copy: bool, tmp_path: Path) -> None:
    made = fresh(tmp_path / "first [1]")
    before = by_query(made), by_shell(made, *QUESTIONS)
    there = Made(tmp_path / "then '*'", made.source)
    if is_copy:
        shutil.copytree(made.root, there.root)
    else:
        made.root.rename(there.root)
    with there.unchanged():
        assert by_query(there) == before[0]
        # In the shell it says so, and how to read it all the same.
        for question in ("select count(*) from trades", "from trades_of('AAPL')", "from rejects"):
            said = refused(there, question)
            assert "warehouse update" in said
            assert str(made.root).replace("[", "[[]") in said or str(made.root) in said
        if is_copy:
            assert "warehouse shell" in refused(
                there, "from vwap_of('AAPL', '2024-01-31', '2024-01-31')"
            )
            # The one that it was copied from goes on.
            made.put(day_key("trades", SESSION), [trade("AAPL", NOON, 1, price=77)])
            made.update()
            assert by_query(there) == before[0]
            assert str(tmp_path / "first ") in refused(there, "from trades")
        here = str(there.layout.data).replace("'", "''")
        setting = f"create temp macro data_folder() as '{here}'"
        assert by_shell(there, setting, *QUESTIONS) == before[1]
        arguments = shell_arguments(there.layout, ["-csv", "-c", "from trades_of('AAPL')"])
        done = subprocess.run([str(SHELL), *arguments], capture_output=True, text=True, check=True)
        assert len(done.stdout.splitlines()) == 9
    # Whoever writes there adapts it.
    there.rebuild("quotes")
    assert by_shell(there, *QUESTIONS) == before[1]


def test_the_shell_answers_by_whatever_name_it_is_told_the_place(tmp_path: Path) -> None:
    made = fresh(tmp_path / "real")
    (tmp_path / "link").symlink_to(made.root)
    made.root.parent.joinpath("below").mkdir()
    for folder, path in (
        (made.root, "./data/../data/warehouse.duckdb"),
        (made.root.parent / "below", "../warehouse/data/warehouse.duckdb"),
        (tmp_path, "link/data/warehouse.duckdb"),
        (tmp_path, str(tmp_path / "link/data/warehouse.duckdb")),
    ):
        done = subprocess.run(
            [str(SHELL), "-readonly", "-csv", "-noheader", "-c", "select count(*) from trades",
             path],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == "9"
    done = subprocess.run(
        [str(SHELL), "-csv", "-noheader", "-c",
         f"attach '{tmp_path}/link/data/warehouse.duckdb' as mine (read_only);"
         " select count(*) from mine.trades; use mine; select count(*) from trades_of('AAPL')"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["9", "8"]
    # The library, too, however it is told.
    with Warehouse(tmp_path / "link") as wh:
        assert wh.query("select count(*) from trades").iloc[0, 0] == 9


def test_a_way_back_leads_where_the_system_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB takes `link/..` for the folder of the link: another one, without a catalog."""
    made = fresh(tmp_path / "store")
    below, desk = made.root.parent / "below", tmp_path / "desk"
    below.mkdir()
    desk.mkdir()
    (desk / "link").symlink_to(below)
    monkeypatch.chdir(below)
    behind_a_link = os.path.relpath(desk / "link")
    for named in ("../warehouse", f"{behind_a_link}/../warehouse", desk / "link/../warehouse"):
        with Warehouse(named) as wh:
            assert repr(str(made.root)) in repr(wh)
            wh.rebuild("quotes")
            assert len(wh.trades("AAPL", SESSION)) == 8
    assert not made.layout.set_aside.exists()
    folder = made.layout.data
    assert by_shell(made, "select data_folder from warehouse") == f"data_folder\n{folder}\n"


def test_a_folder_that_a_path_only_leads_out_of_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh(tmp_path)
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    with Warehouse("../warehouse") as wh:
        below.rmdir()
        assert len(wh.trades("AAPL", SESSION)) == 8
        wh.update()
        assert not below.exists()
        with pytest.raises(StorageError, match="the working directory is gone"):
            Warehouse("../warehouse")


@pytest.mark.parametrize("is_mount", [False, True])
def test_a_warehouse_that_is_gone_is_said_to_be_and_none_begun_in_its_place(
    is_mount: bool, tmp_path: Path
) -> None:
    made = fresh(tmp_path)
    with Warehouse(made.root) as wh:
        assert len(wh.trades("AAPL", SESSION)) == 8
        made.root.rename(tmp_path / "away")
        if is_mount:
            made.root.mkdir()  # what an unmounted disk leaves
        for asked in (
            lambda: wh.trades("AAPL", SESSION),
            lambda: wh.query("select count(*) from trades"),
            lambda: wh.coverage("trades", "AAPL", SESSION),
            lambda: wh.features("vwap", "AAPL", SESSION),
            wh.update,
            wh.validate,
            wh.verify,
            wh.prune,
        ):
            with pytest.raises(StorageError, match="is gone: moved, or its disk is not mounted"):
                asked()
        if is_mount:
            made.root.rmdir()
        (tmp_path / "away").rename(made.root)
        assert len(wh.trades("AAPL", SESSION)) == 8


def test_a_partition_under_the_name_of_another_is_not_read(tmp_path: Path) -> None:
    """Their sizes and numbers of rows are equal: what each says of itself tells them apart."""
    rows = [trade(symbol, NOON + n, n) for symbol in ("AAPL", "MSFT") for n in range(3)]
    made = make(tmp_path, {day_key("trades", SESSION): rows})
    made.update()
    one, other = (
        made.layout.partition("trades", symbol, SESSION.replace(day=1))
        for symbol in ("AAPL", "MSFT")
    )
    assert one.stat().st_size == other.stat().st_size
    aside = tmp_path / "aside"
    for source, target in ((one, aside), (other, one), (aside, other)):
        source.rename(target)
    with Warehouse(made.root) as wh:
        for ask in (
            lambda: wh.trades("AAPL", SESSION),
            lambda: list(wh.stream("AAPL", SESSION, data_types="trades")),
            lambda: wh.features("vwap", "AAPL", SESSION, SESSION),
        ):
            with pytest.raises(CorruptPartitionError, match="it does not say that it is AAPL's"):
                ask()
    # Nor are its rows carried into the next version.
    later = SESSION.replace(day=30)
    made.put(day_key("trades", later), [trade("AAPL", instant(later), 1)])
    with pytest.raises(CorruptPartitionError, match="it does not say that it is"):
        made.update()
    assert not made.repair().left
    made.update()
    with Warehouse(made.root) as wh:
        assert set(wh.query("select symbol, session from trades_of('AAPL')")["symbol"]) == {"AAPL"}
        assert len(wh.trades("AAPL", later, SESSION)) == 4


def test_a_partition_that_is_a_link_is_told_and_mended(made: Made, tmp_path: Path) -> None:
    path = made.layout.partition("trades", "MSFT", SESSION.replace(day=1))
    path.rename(tmp_path / "kept.parquet")
    path.symlink_to(tmp_path / "kept.parquet")
    faults = made.verify("trades").faults
    assert [(fault.path, "is a link" in fault.problem) for fault in faults] == [(path, True)]
    assert not made.repair("trades").left
    assert not path.is_symlink()
    assert by_query(made)


DAMAGED_SCHEMAS = {
    "rows": lambda path, rows: path.write_bytes(rows.read_bytes()),
    "gone": lambda path, _: path.unlink(),
    "empty": lambda path, _: path.write_bytes(b""),
    "link": lambda path, _: (path.rename(path.with_suffix(".x")), path.symlink_to("trades.x")),
}


@pytest.mark.parametrize("damage", DAMAGED_SCHEMAS)
def test_a_file_that_gives_views_their_columns_is_verified_and_mended(
    damage: str, made: Made
) -> None:
    before = by_query(made)
    path = made.layout.schema / "trades.parquet"
    rows = made.layout.partition("trades", "AAPL", SESSION.replace(day=1))
    DAMAGED_SCHEMAS[damage](path, rows)
    assert path in [fault.path for fault in made.verify().faults if fault.kind == "schema"]
    assert not made.repair().left
    assert not made.verify().faults
    assert by_query(made) == before


def test_a_folder_that_duckdb_cannot_open_is_refused_by_its_letter(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="may be in the path"):
        make(tmp_path / "a\\b", FILES).update()


@pytest.mark.parametrize("used", ["one", "other"])
def test_of_two_warehouses_in_one_shell_none_answers_for_the_other(
    used: str, tmp_path: Path
) -> None:
    one, other = fresh(tmp_path / "one"), make(tmp_path / "other", FILES)
    other.put(day_key("trades", SESSION), [trade("AAPL", NOON, 1, price=999)])
    other.update()
    with duckdb.connect() as shell:
        for name, made in (("one", one), ("other", other)):
            shell.execute(f"attach '{made.layout.catalog}' as {name} (read_only)")
        shell.execute(f"use {used}")
        assert shell.sql("select max(price) from other.trades").fetchall() == [(999,)]
        assert shell.sql("select max(price) from one.trades").fetchall() == [(400,)]
        for asked in ("trades_of('AAPL')", "vwap_of('AAPL', '2024-01-31', '2024-01-31')"):
            for name in ("one", "other"):
                with pytest.raises(duckdb.Error, match="several warehouses are attached"):
                    shell.sql(f"select count(*) from {name}.{asked}").fetchall()
        shell.execute("use memory")
        shell.execute(f"detach {'one' if used == 'other' else 'other'}")
        shell.execute(f"use {used}")
        assert shell.sql("select count(*) from trades_of('AAPL')").fetchall() != [(0,)]


def two(folder: Path) -> tuple[Made, Made]:
    """Two warehouses whose partitions have the same names, and other prices."""
    found = []
    for price in (10, 77):
        made = make(folder / str(price), {day_key("trades", SESSION): [trade("AAPL", NOON, 1)]})
        made.put(day_key("trades", SESSION), [trade("AAPL", NOON, 1, price=price)])
        made.update()
        found.append(made)
    return found[0], found[1]


def in_shell(arguments: list[str], *statements: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SHELL), *arguments], input="".join(f"{one};\n" for one in statements),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_shell_of_one_warehouse_gives_none_of_its_rows_for_those_of_another_attached_to_it(
    tmp_path: Path,
) -> None:
    one, other = two(tmp_path)
    arguments = shell_arguments(one.layout, ["-csv", "-noheader"])
    attach = f"attach '{other.layout.catalog}' as other (read_only)"
    assert in_shell(arguments, "select price from trades").stdout.split() == ["10.0"]
    done = in_shell(arguments, attach, "select price from other.trades")
    assert (done.stdout, done.returncode != 0) == ("", True)
    assert "another warehouse is attached" in done.stderr
    done = in_shell(arguments, attach, "detach other", "select price from trades")
    assert (done.stdout.split(), done.stderr) == (["10.0"], "")
    # Nor does one that was told where the one stands.
    moved = tmp_path / "moved"
    one.root.rename(moved)
    with duckdb.connect() as shell:
        shell.execute(f"attach '{moved}/data/warehouse.duckdb' as one (read_only)")
        shell.execute(f"create temp macro data_folder() as '{moved}/data'")
        assert shell.sql("select price from one.trades").fetchall() == [(10,)]
        shell.execute(attach)
        with pytest.raises(duckdb.Error, match="ask each in a shell of its own"):
            shell.sql("select price from other.trades").fetchall()


def test_a_shell_that_stays_open_has_no_rows_of_a_warehouse_put_in_the_place_of_its_own(
    tmp_path: Path,
) -> None:
    one, other = two(tmp_path)
    arguments = shell_arguments(one.layout, ["-csv", "-noheader"])
    asked = "select price from trades;\n"
    with subprocess.Popen(
        [str(SHELL), *arguments], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as shell:  # fmt: skip
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(asked)
        shell.stdin.flush()
        assert shell.stdout.readline().strip() == "10.0"
        one.root.rename(tmp_path / "before")
        other.root.rename(one.root)
        rest, told = shell.communicate(
            asked + "select price from trades_of('AAPL');\n", timeout=120
        )
    assert rest == ""
    assert told.count("another warehouse stands here now") == 2


@pytest.mark.parametrize("is_asked_before", [True, False])
def test_of_a_warehouse_put_in_the_place_of_one_that_is_open_nothing_is_answered_nor_written(
    is_asked_before: bool, tmp_path: Path
) -> None:
    one, other = two(tmp_path)
    with Warehouse(one.root) as wh:
        if is_asked_before:
            assert list(wh.trades("AAPL", SESSION)["price"]) == [10]
        one.root.rename(tmp_path / "before")
        other.root.rename(one.root)
        before = {path: path.read_bytes() for path in one.layout.cache.rglob("*.parquet")}
        for asked in (
            lambda: wh.trades("AAPL", SESSION),
            lambda: wh.query("from trades"),
            lambda: wh.stream(["AAPL"], SESSION, SESSION, data_types=["trades"]),
            *(wh.symbols, wh.report, wh.verify, wh.repair, wh.validate, wh.update, wh.prune),
            lambda: wh.coverage("trades", "AAPL", SESSION),
            lambda: wh.rebuild("trades", symbols="AAPL"),
        ):
            with pytest.raises(StorageError, match="another warehouse stands here now"):
                asked()
        assert before == {path: path.read_bytes() for path in one.layout.cache.rglob("*.parquet")}
        with Warehouse(one.root) as anew:
            assert list(anew.trades("AAPL", SESSION)["price"]) == [77]
        # It goes on where its own is back, or a copy of it.
        one.root.rename(tmp_path / "after")
        shutil.copytree(tmp_path / "before", one.root)
        assert list(wh.trades("AAPL", SESSION)["price"]) == [10]


def test_a_warehouse_that_is_open_goes_on_where_its_mark_was_lost_or_made(tmp_path: Path) -> None:
    made = make(tmp_path, FILES)
    with Warehouse(made.root) as wh:
        made.update()
        assert len(wh.trades("AAPL", SESSION)) == 8
        made.layout.marker.unlink()
        made.rebuild("quotes")
        assert len(wh.trades("AAPL", SESSION)) == 8
        made.layout.marker.unlink()
        made.layout.catalog.unlink()
        wh.repair()
        assert len(wh.quotes("AAPL", SESSION)) == 8


OWN = ("table {} as from warehouse.{} limit 0", "view {} as from warehouse.{}")
MACROS = (
    "trades_of('AAPL')",
    f"day_aggs_of('AAPL', '{SESSION}', '{SESSION}', adjust := 'all')",
    f"bars_of('AAPL', '{SESSION}', '{SESSION}')",
    f"returns_of('AAPL', '{SESSION}', '{SESSION}', freq := 'day')",
    f"factors_of('AAPL', 'all', '{SESSION}')",
)


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize(
    "name", ["actions", "partitions", "securities", "sessions", "trade_conditions"]
)
def test_a_macro_takes_no_table_of_the_users_own_for_the_warehouses(
    name: str, own: str, tmp_path: Path
) -> None:
    catalog = fresh(tmp_path).layout.catalog
    with duckdb.connect(catalog, read_only=True) as shell:
        # Under other names, those of data types among them, it may be.
        shell.execute("create temp table trades as from warehouse.trades limit 1")
        for asked in MACROS:
            shell.sql(f"select count(*) from {asked}").fetchall()
        shell.execute("create temp " + own.format(name, name))
        for asked in MACROS:
            with pytest.raises(duckdb.Error, match=f"your own {name} for the warehouse's"):
                shell.sql(f"select count(*) from {asked}").fetchall()
    with duckdb.connect() as shell:
        shell.execute(f"attach '{catalog}' as warehouse (read_only)")
        shell.execute("create " + own.format(name, name))
        shell.execute("use warehouse")
        assert shell.sql("select count(*) from trades_of('AAPL')").fetchall() == [(8,)]
        shell.execute("set search_path = 'memory,warehouse'")
        for asked in MACROS:
            with pytest.raises(duckdb.Error, match=f"your own {name} for the warehouse's"):
                shell.sql(f"select count(*) from {asked}").fetchall()


@pytest.mark.parametrize(
    "name", ["actions", "partitions", "securities", "sessions", "trade_conditions"]
)
def test_a_macro_takes_nothing_that_the_with_of_a_query_so_calls(name: str, tmp_path: Path) -> None:
    made = fresh(tmp_path)
    asked = [
        *MACROS,
        f"filled_bars_of('AAPL', '{SESSION}', '{SESSION}')",
        f"day_bars_of('AAPL', '{SESSION}', '{SESSION}')",
        f"vwap_of('AAPL', '{SESSION}', '{SESSION}')",
        f"(select sessions_before('trades', 'AAPL', '{SESSION}', 1))",
        f"(select rows_before('trades', 'AAPL', '{SESSION}', 1))",
    ]
    other = f"with {name} as (select 1 as other)"
    with duckdb.connect(made.layout.catalog, read_only=True) as shell, Warehouse(made.root) as wh:
        for each in asked:
            found = shell.sql(f"select count(*) from {each}").fetchall()
            assert shell.sql(f"{other} select count(*) from {each}").fetchall() == found, each
            assert wh.query(f"{other} select count(*) from {each}").iat[0, 0] == found[0][0]


@pytest.mark.parametrize(
    ("attached_as", "own"),
    [("w", "memory.main.Sessions"), ("w", "Own.main.sessions"), ("warehouse", None)],
)
def test_which_table_a_macro_would_take_is_told_by_whole_names_in_any_case(
    attached_as: str, own: str | None, tmp_path: Path
) -> None:
    catalog = fresh(tmp_path).layout.catalog
    with duckdb.connect() as shell:
        shell.execute(f"attach '{catalog}' as {attached_as} (read_only)")
        # `house.main` is within `warehouse.main`, and nothing looks into the other schema.
        shell.execute("attach ':memory:' as house")
        shell.execute("attach ':memory:' as Own")
        shell.execute("create schema Own.other")
        for name in ("house.main.sessions", "Own.other.sessions", *([own] if own else [])):
            shell.execute(f"create table {name} as from {attached_as}.sessions")
        shell.execute(f"set search_path = 'memory,Own,{attached_as}'")
        asked = f"select count(*) > 0 from bars_of('AAPL', '{SESSION}', '{SESSION}')"
        if own is None:
            assert shell.sql(asked).fetchall() == [(True,)]
        else:
            with pytest.raises(duckdb.Error, match="your own sessions for the warehouse's"):
                shell.sql(asked).fetchall()


def test_a_macro_knows_all_tables_that_it_may_not_take_from_the_user(tmp_path: Path) -> None:
    with duckdb.connect(fresh(tmp_path).layout.catalog, read_only=True) as shell:
        macros = dict(
            shell.sql(
                "select function_name, any_value(macro_definition) from duckdb_functions()"
                " where not internal group by function_name"
            ).fetchall()
        )
        names = shell.sql(
            "select table_name from duckdb_tables() union"
            " select view_name from duckdb_views() where not internal"
        ).fetchall()
    read = {
        name
        for (name,) in names
        if any(
            re.search(rf"(from|join) \(*(main\.)?{name}\b", text, re.I) for text in macros.values()
        )
    }
    # Rows of data types a macro reads from files; these names are its own within it.
    assert read - set(DATA_TYPES) == set(re.findall("'([a-z_]+)'", macros["is_the_only_one"])) & {
        name for (name,) in names
    }


def test_a_shell_that_orders_downwards_gets_no_row_that_looks_ahead(tmp_path: Path) -> None:
    with duckdb.connect(fresh(tmp_path).layout.catalog, read_only=True) as shell:
        for order in ("desc", "DESCENDING"):
            shell.execute(f"set default_order = '{order}'")
            for asked in MACROS:
                with pytest.raises(duckdb.Error, match="look ahead: reset default_order"):
                    shell.sql(f"select count(*) from {asked}").fetchall()
            assert shell.sql("select count(*) from trades").fetchall() == [(9,)]
        for order in ("set default_order = 'asc'", "reset default_order"):
            shell.execute(order)
            assert shell.sql("select count(*) from trades_of('AAPL')").fetchall() == [(8,)]


@pytest.mark.parametrize("used", ["one", "copy"])
def test_a_warehouse_attached_with_its_copy_does_not_answer_for_it(
    used: str, tmp_path: Path
) -> None:
    one = fresh(tmp_path / "one")
    copy = tmp_path / "copy"
    shutil.copytree(one.root, copy)
    alone = Path(shutil.copy(one.layout.catalog, tmp_path / "alone.duckdb"))
    for path in (copy / "data/warehouse.duckdb", alone):
        with duckdb.connect() as shell:
            shell.execute(f"attach '{one.layout.catalog}' as one (read_only)")
            assert shell.sql("select max(price) from one.trades").fetchall() == [(400,)]
            shell.execute(f"attach '{path}' as copy (read_only)")
            shell.execute(f"use {used}")
            for asked in ("one.trades", "copy.trades", f"{used}.trades_of('AAPL')"):
                with pytest.raises(duckdb.Error, match=r"a copy of it|several warehouses"):
                    shell.sql(f"select count(*) from {asked}").fetchall()
    # Once it was published there, it is a warehouse of its own.
    Made(copy, one.source).update()
    with duckdb.connect() as shell:
        for name, root in (("one", one.root), ("copy", copy)):
            shell.execute(f"attach '{root}/data/warehouse.duckdb' as {name} (read_only)")
        for name in ("one", "copy"):
            assert shell.sql(f"select max(price) from {name}.trades").fetchall() == [(400,)]


def test_a_warehouse_on_a_read_only_mount_answers_and_is_verified(tmp_path: Path) -> None:
    made = fresh(tmp_path)
    before = by_query(made), by_shell(made, *QUESTIONS)
    there = Made(tmp_path / "mounted", made.source)
    there.root.mkdir()
    with read_only_mount(made.root, there.root), there.unchanged():
        assert by_query(there) == before[0]
        with Warehouse(there.root) as wh:
            assert len(wh.trades("AAPL", SESSION)) == 8
        assert there.verify().faults == []
        with pytest.raises(StorageError, match="Read-only file system"):
            there.update()
        assert "warehouse shell" in refused(there, "from trades_of('AAPL')")
    # Nor does anything of it stand in the way of who may write.
    made.update()
    assert by_query(made) == before[0]
