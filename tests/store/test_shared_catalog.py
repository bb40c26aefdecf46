"""The catalog while somebody else's shell has it open, and what that shell makes in it."""

from __future__ import annotations

import json
import logging
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import duckdb
import pytest
from building import SESSION, Made, day_key, instant, keep, make, put_back, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.errors import DamagedCatalogError, StorageError

SHELL = Path(sysconfig.get_path("scripts")) / "duckdb"
pytestmark = pytest.mark.skipif(not SHELL.exists(), reason="no duckdb shell beside this Python")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    lines = [trade("AAPL", instant(SESSION))]
    made = make(tmp_path_factory.mktemp("shared"), {day_key("trades", SESSION): lines})
    made.update()
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    put_back(template)
    return template


@contextmanager
def open_shell(made: Made, *statements: str) -> Iterator[IO[str]]:
    """A shell that writes, left open after what it was told; it has carried it out."""
    with subprocess.Popen(
        [str(SHELL), "-csv", "-noheader", "data/warehouse.duckdb"],
        cwd=made.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as shell:  # fmt: skip
        assert shell.stdin is not None
        assert shell.stdout is not None
        tell(shell.stdin, *statements, "select 'ready'")
        assert shell.stdout.readline() == "ready\n"
        yield shell.stdin
        shell.stdin.close()


def tell(shell: IO[str], *statements: str) -> None:
    shell.write("".join(f"{one};\n" for one in statements))
    shell.flush()


def ask_all(made: Made) -> tuple[int, int]:
    """Every way to read; rows by SQL, and by Python."""
    for arguments in (["status"], ["verify"], ["report", "-o", str(made.root / "report.html")]):
        result = CliRunner().invoke(cli, ["-C", str(made.root), *arguments])
        assert result.exit_code == 0, result.output
    with Warehouse(made.root) as wh:
        rows = wh.query("select count(*) from trades").iloc[0, 0]
        return int(rows), len(wh.trades("AAPL", SESSION, SESSION))


def test_every_rule_is_asked_while_a_shell_writes(made: Made) -> None:
    alone = CliRunner().invoke(cli, ["-C", str(made.root), "validate", "trades", "--json"])
    assert alone.exit_code == 0, alone.output
    with open_shell(made, "create table mine as select 42 as answer"):
        beside = CliRunner().invoke(cli, ["-C", str(made.root), "validate", "trades", "--json"])
    assert beside.exit_code == 0, beside.output
    told = [json.loads(one.stdout) for one in (alone, beside)]
    assert told[0]["rules"]
    assert told[0]["rules"] == told[1]["rules"]


def test_a_shell_that_writes_locks_nobody_out(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with open_shell(made) as shell:
        assert ask_all(made) == (1, 1)
        made.put(
            day_key("trades", SESSION),
            [trade("AAPL", instant(SESSION), n) for n in range(3)],
        )
        with caplog.at_level(logging.WARNING, "warehouse"):
            made.update()
        assert "PID" in caplog.text
        assert "duckdb -readonly" in caplog.text
        assert ask_all(made) == (3, 3)
        # It goes on writing where the catalog was; nobody else takes that for theirs.
        tell(shell, "create table late as select 1 as one", "select 'done'")
        assert ask_all(made) == (3, 3)
        made.update()
        assert ask_all(made) == (3, 3)
    assert ask_all(made) == (3, 3)
    assert made.sql("select count(*) from trades") == [(3,)]


def test_who_writes_to_the_catalog_in_the_same_process_is_told_to_close_it_and_it_is_no_damage(
    made: Made,
) -> None:
    before = made.layout.catalog.read_bytes()
    with Warehouse(made.root) as wh:
        asked: dict[str, Callable[[], object]] = {
            "SQL": lambda: wh.query("select count(*) from trades"),
            "rows": lambda: wh.trades("AAPL", SESSION),
            "verify": wh.verify,
            "repair": wh.repair,
            "validate": wh.validate,
            "update": wh.update,
        }
        with duckdb.connect(str(made.layout.catalog)):
            for name, ask in asked.items():
                with pytest.raises(StorageError, match="process has it open for writing") as caught:
                    ask()
                assert "read_only=True" in str(caught.value), name
                assert not isinstance(caught.value, DamagedCatalogError), name
        assert made.layout.catalog.read_bytes() == before
        assert not made.layout.set_aside.exists()
        with duckdb.connect(str(made.layout.catalog), read_only=True):
            for ask in asked.values():
                ask()


@pytest.mark.parametrize("is_open", [True, False])
def test_what_somebody_made_in_the_catalog_is_kept_and_named(
    is_open: bool, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    statements = ("create table notes as select 42 as answer", "create view mine as from notes")
    if is_open:
        with open_shell(made, *statements), caplog.at_level(logging.WARNING, "warehouse"):
            made.rebuild()
    else:
        with open_shell(made, *statements):
            pass
        with caplog.at_level(logging.WARNING, "warehouse"):
            made.rebuild()
    assert "mine, notes in the catalog" in caplog.text
    (kept,) = made.layout.set_aside.glob("*.duckdb")
    assert str(kept) in caplog.text
    modes = {path.stat().st_mode & 0o777 for path in kept.parent.glob("*.duckdb*")}
    assert modes == {0o600}
    with duckdb.connect(str(kept)) as connection:
        assert connection.execute("select answer from mine").fetchall() == [(42,)]
    # It is told once: what was made anew holds nothing of it.
    caplog.clear()
    made.rebuild()
    assert caplog.text == ""
    assert ask_all(made) == (1, 1)


def test_a_column_that_somebody_added_is_kept_named_and_stops_no_publish(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    with open_shell(
        made, 'alter table runs add column "a note" varchar', "update runs set \"a note\" = 'mine'"
    ):
        pass  # fmt: skip
    before = made.sql("select count(*) from runs")[0][0]
    with caplog.at_level(logging.WARNING, "warehouse"):
        made.rebuild()
    assert "runs.a note in the catalog" in caplog.text
    assert made.sql("select count(*) from runs")[0][0] > before
    (kept,) = made.layout.set_aside.glob("*.duckdb")
    with duckdb.connect(str(kept)) as connection:
        assert connection.execute('select distinct "a note" from runs').fetchall() == [("mine",)]
    caplog.clear()
    made.rebuild()
    assert caplog.text == ""
    assert ask_all(made) == (1, 1)


def test_a_sequence_and_a_type_that_somebody_made_are_kept_and_named(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    with open_shell(made, "create sequence counted", "create type mood as enum ('good', 'bad')"):
        pass
    with caplog.at_level(logging.WARNING, "warehouse"):
        made.rebuild()
    assert "counted, mood in the catalog" in caplog.text
    (kept,) = made.layout.set_aside.glob("*.duckdb")
    with duckdb.connect(str(kept)) as connection:
        assert connection.execute("select nextval('counted'), 'bad'::mood").fetchall() == [
            (1, "bad")
        ]


def test_a_publish_that_nobody_disturbs_sets_nothing_aside(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    made.rebuild()
    assert caplog.text == ""
    assert not list(made.layout.data.glob("set_aside/*.duckdb*"))
    assert not list(made.layout.data.glob("*.wal"))


def test_a_table_of_ones_own_stands_in_a_file_of_ones_own(made: Made, tmp_path: Path) -> None:
    told = subprocess.run(
        [str(SHELL), "-json", str(tmp_path / "mine.duckdb"), "-c",
         f"attach '{made.layout.catalog}' as warehouse (read_only); use warehouse;"
         " create table mine.kept as select symbol, price from trades_of('AAPL');"
         " from mine.kept"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout) == [{"symbol": "AAPL", "price": 10.5}]
