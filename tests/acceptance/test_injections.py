"""Whatever is typed at a door of the warehouse stays a value or is refused: nothing happens.

Beside the warehouse lies what an attacker would like to read: each file, and the environment, holds
a canary. After every attempt all files are as they were, and the canary is in no answer and in no
error. Attempts that name their door alone (a symbol, a column, a date) are below the table.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from building import SESSION, Made, day_key, instant, make, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.errors import CorruptPartitionError, NoDataError, QueryError, WarehouseError

CANARY = "CANARY-7f3a91"
ODD = ["A", "O'Neil", 'Q"uote', "per%cent", "sl/ash", "..", "semi;colon", "sp ace", "*"]

ATTEMPTS = {
    # one statement, and one that reads
    "two statements": "select 1; select 2",
    "a second that writes": "select 1; copy (select 1) to '{outside}/new.csv'",
    "a quote and a second": "select '' ; drop table partitions; --'",
    "copy": "copy (select 1) to '{outside}/new.csv'",
    "copy over": "copy (select 1) to '{outside}/secret.csv'",
    "copy into data": "copy (select 1) to '{data}/cache/trades/A/2024_01.parquet'",
    "copy in a with": "with t as (copy (select 1) to '{outside}/new.csv') select * from t",
    "insert in a with": "with t as (insert into runs from runs returning *) select * from t",
    "delete in a subquery": "select (with t as (delete from partitions returning 1) from t)",
    "query in a text": "from query('copy (select 1) to ''{outside}/new.csv''')",
    "attach": "attach '{outside}/secret.duckdb' as stolen",
    "attach to write": "attach '{outside}/new.duckdb' as stolen",
    "export": "export database '{outside}/new'",
    "install": "install httpfs",
    "install from a folder": "install '{outside}/secret.csv'",
    "load": "load '{outside}/secret.duckdb'",
    "set": "set enable_external_access = true",
    "set a folder": "set allowed_directories = ['/']",
    "set home": "set home_directory = '{outside}'",
    "reset": "reset lock_configuration",
    "pragma": "pragma enable_profiling",
    "pragma that writes": "pragma profiling_output = '{outside}/new.json'",
    "call": "call pragma_table_info('partitions')",
    "create a secret": "create secret (type s3, key_id 'a', secret 'b')",
    "secrets": "from duckdb_secrets()",
    "prepare": "prepare stolen as select 1",
    # files
    "passwd": "select content from read_text('/etc/passwd')",
    "text outside": "select content from read_text('{outside}/secret.txt')",
    "blob outside": "select content from read_blob('{outside}/secret.txt')",
    "csv outside": "from read_csv('{outside}/secret.csv')",
    "json outside": "from read_json('{outside}/secret.json')",
    "parquet outside": "from read_parquet('{outside}/secret.parquet')",
    "footer outside": "from parquet_kv_metadata('{outside}/secret.parquet')",
    "sniffing outside": "from sniff_csv('{outside}/secret.csv')",
    "a list of files": "from read_text(['{data}/schema/trades.parquet', '{outside}/secret.txt'])",
    "a file as a table": "from '{outside}/secret.csv'",
    "a table by its name": "from query_table('{outside}/secret.csv')",
    "two dots": "select content from read_text('{data}/../../outside/secret.txt')",
    "two dots and a glob": "select content from read_text('{data}/*/../../../outside/secret.*')",
    "the configuration": "select content from read_text('{data}/../config/data_config.yaml')",
    "a link to a file": "select content from read_text('{data}/link.txt')",
    "a link to a folder": "select content from read_text('{data}/folder/secret.txt')",
    "a glob over links": "select content from read_text('{data}/*.txt')",
    "a glob through links": "select content from read_text('{data}/**/secret.txt')",
    "a link in the cache": "select content from read_text('{data}/cache/link.txt')",
    "a linked folder in the cache": "from read_text('{data}/cache/folder/secret.txt')",
    "a glob over the cache": "select content from read_text('{data}/cache/*.txt')",
    "a glob through the cache": "select content from read_text('{data}/cache/**/secret.txt')",
    "what the last runs said": "select content from read_text('{data}/logs/warehouse.jsonl')",
    "the source's own files": "select content from read_text('{data}/raw/**')",
    "a link as a partition": "from read_parquet('{data}/cache/trades/LINK/*.parquet')",
    "a symbol that is a link": "from trades_of('LINK')",
    "a glob of everything": "from glob('/*')",
    "a glob outside": "from glob('{outside}/*')",
    "a relative path": "select content from read_text('outside/secret.txt')",
    "a url": "from read_csv('http://127.0.0.1:9/x.csv')",
    "a file url": "select content from read_text('file://{outside}/secret.txt')",
    "standard input": "from read_csv('/dev/stdin')",
    "the environment": "select content from read_text('/proc/self/environ')",
    "its command line": "select content from read_text('/proc/self/cmdline')",
    # what the program has
    "a variable of the environment": "select getenv('CANARY')",
    "a frame by its name": "from frame",
    "a frame in quotes": 'from "frame"',
    "an address in memory": "from arrow_scan(0, 0, 0)",
    "python": "from python_map_function(0)",
    # macros
    "a symbol with dots": "from trades_of('../../../../outside')",
    "a symbol with a quote": "from trades_of('x'' || content from read_text(''/etc/passwd'') --')",
    "a symbol with a percent sign": "from trades_of('%2E%2E/%2E%2E')",
    "a symbol with a glob": "from trades_of('*')",
    "a symbol with a NUL": "from trades_of('A' || chr(0) || '/../../x')",
    "a symbol that is a query": "from trades_of((select content from read_text('/etc/passwd')))",
    "a session that is a query": "from trades_of('A', '2024-01-31''; drop table x; --', now())",
}
"""What → SQL. Where the words {outside} and {data} stand, stands the folder."""

HARMLESS = {"a symbol with a glob", "a glob through the cache"}
"""Of these the answer is an answer: the rows of the symbol `*`, and no file."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A warehouse with links in it that lead out, beside a folder that is none of its business."""
    folder = tmp_path_factory.mktemp("attacked")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(CANARY)
    (outside / "secret.csv").write_text(f"x\n{CANARY}\n")
    (outside / "secret.json").write_text(f'[{{"x": "{CANARY}"}}]')
    with duckdb.connect(str(outside / "secret.duckdb")) as database:
        database.execute(f"create table stolen as select '{CANARY}' as x")
    lines = [
        trade('"' + symbol.replace('"', '""') + '"', instant(SESSION, "10:00", n), n + 1)
        for n, symbol in enumerate(ODD)
    ]
    made = make(folder, {day_key("trades", SESSION): lines})
    made.update()
    data = made.layout.data
    # A partition outside, whose rows nobody may see.
    table = pq.read_table(data / "cache/trades/A/2024_01.parquet", partitioning=None)
    rows = [{**row, "conditions": CANARY, "symbol": "LINK"} for row in table.to_pylist()]
    pq.write_table(table.from_pylist(rows, table.schema), outside / "secret.parquet")
    for tier in (data, data / "cache"):
        (tier / "link.txt").symlink_to(outside / "secret.txt")
        (tier / "folder").symlink_to(outside)
    return made


@pytest.fixture
def attacked(made: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Runs an attempt; gives what came of it: the answer and errors, as text."""
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.chdir(made.root.parent)
    before = everything_around(made)
    said: list[str] = []

    def attempt(door: Callable[[], object]) -> list[str]:
        try:
            said.append(str(door()))
        except WarehouseError as error:
            said.append(f"{type(error).__name__}: {error}")
        return said

    yield attempt

    assert said, "nothing was tried"
    for text in said:
        assert CANARY not in text
        assert "root:" not in text
    assert everything_around(made) == before


def everything_around(made: Made) -> dict[str, str]:
    """Every file and folder of the warehouse and beside it, but for what runs say of themselves."""
    found = {}
    for path in sorted(made.root.parent.rglob("*")):
        if path.parent.name in ("logs", "metrics"):
            continue
        name = path.relative_to(made.root.parent).as_posix()
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


@pytest.fixture
def linked(made: Made) -> Iterator[None]:
    """A partition that leads out, for as long as a test lasts: views look at all of them."""
    link = made.layout.cache / "trades/LINK"
    link.mkdir()
    (link / "2024_01.parquet").symlink_to(made.root.parent / "outside/secret.parquet")
    yield
    shutil.rmtree(link)


@pytest.mark.usefixtures("linked")
@pytest.mark.torture
@pytest.mark.parametrize("what", ATTEMPTS)
def test_an_attempt_has_no_effect_through_python_and_through_the_command_line(
    what: str, made: Made, attacked: Callable[..., list[str]]
) -> None:
    frame = pd.DataFrame({"x": [CANARY]})
    sql = ATTEMPTS[what].format(outside=made.root.parent / "outside", data=made.layout.data)

    def by_python() -> object:
        assert len(frame) == 1
        with Warehouse(made.root) as wh:
            return wh.query(sql)

    def by_command() -> object:
        done = CliRunner().invoke(
            cli, ["-C", str(made.root), "query", sql, "--format", "csv"], input=CANARY
        )
        assert done.exit_code in (0, 2), done.output
        assert isinstance(done.exception, SystemExit | None)
        return f"{done.exit_code} {done.output}"

    attacked(by_python)
    first, second = attacked(by_command)

    if what in HARMLESS:
        assert second.startswith("0 ")
    else:
        assert first.startswith(("QueryError: ", "NoDataError: "))
        assert second.startswith("2 Error: ")
        assert "\n" not in first


def test_there_are_enough_of_them() -> None:
    assert len(ATTEMPTS) >= 30
    assert set(ATTEMPTS) > HARMLESS


VALUES = [
    *("'", "''", '"', ";", "'; drop table partitions; --", "' union select getenv('CANARY') --"),
    *("$text", "?", "%", "..", "../../outside/secret.txt", "a\nb", "\\", "\\'", "-- ", "/*"),
    "' || (select content from read_text('/etc/passwd')) || '",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_of_the_command_line_stays_a_value(
    value: str, made: Made, attacked: Callable[..., list[str]]
) -> None:
    sql = "select $text = $text and length($text) > 0 as same, count(*) as n from trades"
    sql += " where symbol = $text"
    command = ["-C", str(made.root), "query", sql, "--format", "csv", "-p", f"text={value}"]
    (said,) = attacked(lambda: CliRunner().invoke(cli, command).output)
    assert said == f"same,n\ntrue,{1 if value in ODD else 0}\n"


@pytest.mark.parametrize("name", ["a;b", "a b", "1", "", "a-b", "a'b", "$a"])
def test_a_name_of_a_value_is_a_name(
    name: str, made: Made, attacked: Callable[..., list[str]]
) -> None:
    command = ["-C", str(made.root), "query", "select 1", "-p", f"{name}=1"]
    (said,) = attacked(lambda: CliRunner().invoke(cli, command).output)
    assert said.startswith("Error: -p = ")


@pytest.mark.parametrize("symbol", [*ODD, *VALUES, "\x00", "A\x00", "/etc/passwd", "x" * 5000])
def test_a_symbol_is_a_symbol_at_every_door(
    symbol: str, made: Made, attacked: Callable[..., list[str]]
) -> None:
    with Warehouse(made.root) as wh:

        def load() -> object:
            # Alone and no list, "*" is all of them.
            return len(wh.trades([symbol], SESSION, SESSION))

        def macro() -> object:
            return len(wh.query("from trades_of($symbol)", symbol=symbol))

        attacked(load)
        said = attacked(macro)
    if symbol in ODD:
        assert said == ["1", "1"]
    else:
        assert said[0].startswith("NoDataError: ")
        assert said[1] == "0" or said[1].startswith("QueryError: ")
    if "\x00" not in symbol:
        rebuild = ["-C", str(made.root), "rebuild", "trades", "--symbols", symbol, "--dry-run"]
        said = attacked(lambda: CliRunner().invoke(cli, rebuild).output)
        assert said[-1].startswith("would read 1 file" if symbol in ODD else "Error: ")


ARGUMENTS = ["'; drop table partitions; --", "trades'", "../cache", "read_text('/etc/passwd')", ""]


@pytest.mark.parametrize("text", ARGUMENTS)
def test_every_other_argument_is_one_of_the_things_it_may_be(
    text: str, made: Made, attacked: Callable[..., list[str]]
) -> None:
    with Warehouse(made.root) as wh:
        for door in (
            lambda: wh.load(text, "A", SESSION, SESSION),
            lambda: wh.trades("A", text, SESSION),
            lambda: wh.trades("A", SESSION, text),
            lambda: wh.trades("A", SESSION, SESSION, columns=[text]),
            lambda: wh.trades("A", SESSION, SESSION, to=text),
            lambda: wh.trades("A", SESSION, SESSION, tz=text),
            lambda: wh.aggs("A", SESSION, SESSION, freq=text),
            lambda: wh.catalog(text),
            lambda: wh.symbols(text),
            lambda: wh.query("select 1", text),
        ):
            said = attacked(door)
            assert "Error: " in said[-1]
    for command in (["update", text], ["update", "--start", text], ["query", "-p", text, "from x"]):
        said = attacked(
            lambda command=command: CliRunner().invoke(cli, ["-C", str(made.root), *command]).output
        )
        assert said[-1].startswith(("Error: ", "Usage: "))


def test_a_partition_that_is_a_link_is_not_followed(made: Made) -> None:
    """Not even where what it leads to is just what the catalog says."""
    path = made.layout.partition("trades", "A", SESSION.replace(day=1))
    for linked in (path, path.parent):
        away = made.root.parent / "outside" / "away"
        shutil.move(linked, away)
        linked.symlink_to(away)
        try:
            with Warehouse(made.root) as wh:
                with pytest.raises(CorruptPartitionError, match="it is a link"):
                    wh.trades("A", SESSION, SESSION)
                with pytest.raises((QueryError, NoDataError)):
                    wh.query("from trades_of('A')")
        finally:
            linked.unlink()
            shutil.move(away, linked)
    with Warehouse(made.root) as wh:
        assert len(wh.trades("A", SESSION, SESSION)) == 1


@pytest.mark.skipif(
    not Path(sysconfig.get_path("scripts"), "duckdb").exists(), reason="no DuckDB shell"
)
def test_the_shell_is_the_users_own_and_cannot_write_to_the_catalog(made: Made) -> None:
    command = [str(Path(sysconfig.get_path("scripts"), "warehouse")), "-C", str(made.root)]
    done = subprocess.run(
        [*command, "shell", "-c", "drop table partitions"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "read-only" in done.stderr
    made.check_catalog()
