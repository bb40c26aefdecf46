"""The command line: every command, what it prints where, and the exit status it ends with."""

import asyncio
import csv
import errno
import gzip
import io
import json
import logging
import os
import random
import re
import resource
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import click
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import yaml
from building import csv_text, instant, symbol_key, trade
from click.testing import CliRunner, Result
from filelock import FileLock

from warehouse import Warehouse
from warehouse.cli import shell, start
from warehouse.cli.main import StandardError, cli
from warehouse.cli.options import Failure, Place, say
from warehouse.cli.render import answer, status, terminal, time_left
from warehouse.core.paths import RawFile, shipped
from warehouse.errors import (
    NoDataError,
    NotAWarehouseError,
    NotInPlanError,
    QueryError,
    RawFileError,
    RequestError,
    SourceError,
    StorageError,
    TooLargeError,
    TransferError,
)
from warehouse.maintenance import init
from warehouse.pipeline import pipeline
from warehouse.pipeline.report import RunReport
from warehouse.pipeline.watch.logs import RunLog
from warehouse.report.status import status as status_of
from warehouse.source.folder import FolderSource
from warehouse.source.transfer import SourceObject
from warehouse.synthetic.files import write
from warehouse.synthetic.market import Market
from warehouse.text import as_json, escaped_json, printable, shell_word

SCRIPTS = Path(sysconfig.get_path("scripts"))
WAREHOUSE = str(SCRIPTS / "warehouse")
SYMBOLS = ("AAPL", "BCPC", "BCpC", "BRK.B", "NA")
SESSIONS = tuple(date(2025, 11, day) for day in (25, 26, 28))
MARKET = Market(
    sessions=SESSIONS,
    half_days=frozenset({SESSIONS[2]}),
    symbols=SYMBOLS,
    trades_per_session=300,
    quotes_per_session=300,
    corrections_ppm=20_000,
    duplicates_ppm=20_000,
)
needs_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def run(*arguments: str, exit_code: int = 0, stdin: str | None = None) -> Result:
    """Run a command in this process; it must end with `exit_code`."""
    result = CliRunner().invoke(cli, arguments, input=stdin, prog_name="warehouse")
    problem = f"{arguments}\n{result.output}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, problem
    return result


def fails(*arguments: str, stdin: str | None = None) -> str:
    """Run a command that cannot; its error, which is one line on stderr and all there is."""
    result = run(*arguments, exit_code=2, stdin=stdin)
    assert result.stdout == ""
    assert re.fullmatch(r"Error: .+\n", result.stderr), result.stderr
    return result.stderr.removeprefix("Error: ").rstrip()


def fails_after_progress(*arguments: str) -> str:
    result = run(*arguments, exit_code=2)
    assert result.stdout == ""
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def json_of(*arguments: str, exit_code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", exit_code=exit_code).stdout)


def raw_of(root: Path, data_type: str, session: date) -> Path:
    return root / f"data/raw/{data_type}/{session:%Y/%m}/{session}.csv.gz"


def partitions(root: Path) -> dict[str, bytes]:
    cache = root / "data/cache"
    return {
        path.relative_to(cache).as_posix(): path.read_bytes() for path in cache.rglob("*.parquet")
    }


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file, but for those that each run writes about itself."""
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name not in ("logs", "metrics")
    }


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write(MARKET, folder)
    return folder


@pytest.fixture(scope="module")
def filled(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with all of the market; nobody changes it."""
    root = tmp_path_factory.mktemp("filled") / "w"
    run("init", str(root), "--source", str(source))
    run("-C", str(root), "update")
    return root


@pytest.fixture
def own_source(source: Path, tmp_path: Path) -> Path:
    """A copy of the source to be spoilt."""
    folder = tmp_path / "own_source"
    shutil.copytree(source, folder)
    return folder


@pytest.fixture
def root(own_source: Path, tmp_path: Path) -> Path:
    """A warehouse that has been laid out and holds nothing yet."""
    folder = tmp_path / "w"
    run("init", str(folder), "--source", str(own_source))
    return folder


def source_file(folder: Path, data_type: str, session: date) -> Path:
    return folder / f"us_stocks_sip/{data_type}_v1/{session:%Y/%m}/{session}.csv.gz"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


# Help, version, how it starts


def commands() -> Iterator[tuple[str, click.Command]]:
    yield "warehouse", cli
    for name, command in cli.commands.items():
        yield f"warehouse {name}", command


def help_of(name: str) -> str:
    return run(*name.split()[1:], "--help").stdout


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_help_text_ends_with_an_example_that_parses(name: str) -> None:
    text = help_of(name)
    examples = text.partition("Example:\n")[2].splitlines()
    assert examples, text
    for line in examples:
        words = shlex.split(line)
        assert words[0] == "warehouse"
        context = cli.make_context("warehouse", words[1:])
        found, command, arguments = cli.resolve_command(context, context._protected_args)
        assert name in ("warehouse", f"warehouse {found}")
        assert command is not None
        command.make_context(found, arguments + context.args)


def test_the_commands_stand_in_the_order_of_work() -> None:
    listed = re.findall(
        r"^  ([\w-]+)  ", help_of("warehouse").partition("Commands:")[2], re.MULTILINE
    )
    order = (
        "init demo download ingest update rebuild validate prune verify status coverage report"
        " query bars explain-bar reconcile features reference pull shell"
    )
    assert listed == order.split()


def test_help_imports_nothing_that_takes_long() -> None:
    code = "import sys, warehouse.cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"pandas", "duckdb", "pyarrow", "pydantic", "rich", "numpy", "exchange_calendars"}
    assert not heavy & set(loaded.stdout.split())


def test_version_and_python_m_say_the_same() -> None:
    done = [
        subprocess.run([*start, "--version"], capture_output=True, text=True, check=True).stdout
        for start in ([WAREHOUSE], [sys.executable, "-m", "warehouse"])
    ]
    assert done == [f"flatfile-warehouse {version('flatfile-warehouse')}\n"] * 2


def test_an_unknown_command_or_option_is_bad_usage() -> None:
    assert "No such command 'upate'" in run("upate", exit_code=2).stderr
    assert "No such option" in run("status", "--jsn", exit_code=2).stderr


# init


def test_init_lays_out_config_sql_and_data(source: Path, tmp_path: Path) -> None:
    said = run("init", str(tmp_path / "w"), "--source", str(source)).stdout
    root = tmp_path / "w"
    assert (root / "data").is_dir()
    for folder in ("config", "sql"):
        theirs = {path.relative_to(root / folder) for path in (root / folder).rglob("*.*")}
        assert theirs - {Path(".shipped.json")} == {
            path.relative_to(shipped(folder)) for path in shipped(folder).rglob("*.*")
        }
    assert f"warehouse -C {root} update" in said


def test_init_changes_one_line_of_the_shipped_configuration(source: Path, tmp_path: Path) -> None:
    run("init", str(tmp_path / "w"), "--source", str(source))
    theirs = (tmp_path / "w/config/data_config.yaml").read_text().splitlines()
    ours = (shipped("config") / "data_config.yaml").read_text().splitlines()
    changed = [(old, new) for old, new in zip(ours, theirs, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][1].startswith(f"  url: {source}  # a folder laid out")


def test_a_relative_source_is_kept_as_an_absolute_path(
    own_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_source.parent)
    run("init", "w", "--source", "own_source")
    run("init", "v", "--source", "./w/../own_source/", "--layout", "symbol")
    for name in "wv":
        assert init.lay_out(Path(name)).config.source.url == str(own_source)
    assert init.lay_out(Path("v")).config.source.layout == "symbol"


@pytest.mark.parametrize("name", ["with space", 'it\'s #1: "a"', "{x} & *", "ünïcode 📈"])
def test_any_folder_name_survives_the_configuration(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    run("init", str(tmp_path / "w"), "--source", str(tmp_path / name))
    settings = yaml.safe_load((tmp_path / "w/config/data_config.yaml").read_text())
    assert settings["source"]["url"] == str(tmp_path / name)


def test_an_s3_source_is_kept_as_it_is(tmp_path: Path) -> None:
    run("init", str(tmp_path), "--source", "s3://flatfiles")
    assert init.lay_out(tmp_path).config.source.url == "s3://flatfiles"


def test_a_source_that_cannot_be_is_an_error_and_lays_out_nothing(
    source: Path, tmp_path: Path
) -> None:
    root = str(tmp_path / "w")
    assert "there is no such folder" in fails("init", root, "--source", str(tmp_path / "gone"))
    assert "s3://BUCKET" in fails("init", root, "--source", "https://example.com/x")
    assert "folder above" in fails("init", root, "--source", str(source / "us_stocks_sip"))
    assert "may be day, symbol" in fails("init", root, "--layout", "week")
    assert not (tmp_path / "w").exists()


def test_init_keeps_edits_adds_what_is_missing_and_names_what_differs(
    source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "w"
    run("init", str(root), "--source", str(source))
    clean, rules = root / "sql/clean/trades.sql", root / "config/exchanges.csv"
    clean.write_text(clean.read_text() + "-- mine\n")
    rules.write_text("id\n")
    settings = (root / "config/data_config.yaml").read_text()
    (root / "config/data_config.yaml").write_text(settings + "# mine\n")
    (root / "sql/ingest/quotes.sql").unlink()
    before = snapshot(root)
    said = run("init", str(root), "--source", "s3://other").stdout
    after = snapshot(root)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {str(root / "sql/ingest/quotes.sql")}
    assert re.search(r"^kept .*sql/clean/trades.sql", said, re.MULTILINE)
    assert "config/exchanges.csv" in said
    assert "kept, not s3://other" in said
    assert "sql/ingest/quotes.sql" in said


def test_init_fills_in_a_source_that_was_left_empty(source: Path, tmp_path: Path) -> None:
    said = run("init", str(tmp_path)).stdout
    assert "set source.url in config/data_config.yaml" in said
    assert "source.url" in fails("-C", str(tmp_path), "update")
    run("init", str(tmp_path), "--source", str(source))
    assert init.lay_out(tmp_path).config.source.url == str(source)


def test_init_lays_out_the_folder_it_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "this folder is a warehouse now" in run("init").stdout
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert json_of("status")["warehouse"] == str(tmp_path)


def test_init_does_not_touch_an_sql_folder_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "w"
    run("init", str(root))
    settings = root / "config/data_config.yaml"
    settings.write_text(settings.read_text().replace("./sql", str(tmp_path / "shared")))
    (tmp_path / "shared/clean").mkdir(parents=True)
    (tmp_path / "shared/clean/trades.sql").write_text("select 1")
    said = run("init", str(root)).stdout
    assert "../shared/clean/trades.sql" in said
    assert len(list((tmp_path / "shared").rglob("*.sql"))) == 1


def test_init_says_what_stands_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails("init", str(tmp_path / "file"))


@needs_a_user
def test_init_says_that_it_may_not_write(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "ermission" in fails("init", str(tmp_path / "w"))


# update, download, ingest, rebuild


def test_update_accounts_for_every_line_and_does_it_once(root: Path, source: Path) -> None:
    there = json_of("-C", str(root), "update")
    assert len(there["files"]) == 12
    for each in there["files"]:
        path = source / each["file"]
        lines = gzip.decompress(path.read_bytes()).count(b"\n") - 1
        assert lines == each["lines"] == each["rows_published"] + each["rows_rejected"]
        assert each["rows_rejected"] == sum(each["rejects_by_reason"].values())
    assert there["rows_rejected"] > 0
    before = snapshot(root / "data")
    again = run("-C", str(root), "update")
    assert again.stdout == "nothing new: all 12 files at the source are published\n"
    assert snapshot(root / "data") == before
    assert json_of("-C", str(root), "update")["nothing_new"] is True


def test_the_report_says_what_was_done(root: Path) -> None:
    said = run("-C", str(root), "update", "--start", "2025-11-26").stdout
    assert re.search(r"^fetched +8 files, [\d.]+ kB(, [\d.]+ [kM]B/s)?$", said, re.MULTILINE)
    found = re.search(
        r"^read +8 files: ([\d,]+) lines = ([\d,]+) published \+ ([\d,]+) rejected$",
        said,
        re.MULTILINE,
    )
    assert found is not None, said
    lines, published, rejected = (int(number.replace(",", "")) for number in found.groups())
    assert lines == published + rejected
    assert re.search(r"^rejected +.*duplicate \d+", said, re.MULTILINE)
    # Of each type and month four; of day_aggs one for all symbols of a month.
    files = len(partitions(root))
    assert re.search(rf"^wrote +{files} partitions, [\d.]+ [kM]B$", said, re.MULTILINE)
    assert re.search(r"^took +[\d.]+ s, [\d,]+ rows/s, peak memory", said, re.MULTILINE)


def test_the_shape_of_a_runs_json(root: Path) -> None:
    found = json_of("-C", str(root), "update", "quotes")
    assert list(found) == [
        "command", "run_id", "dry_run", "started_at", "seconds", "nothing_new", "retries",
        "errors", "download", "planned", "estimate", "files", "set_aside", "lines",
        "rows_published", "rows_rejected", "rows_unselected", "rejects_by_reason", "partitions",
        "bytes_read", "bytes_written", "ingest_seconds", "peak_memory_bytes", "metrics",
        "unread", "without_rows", "replaced", "rows_lost", "other_layout", "not_fetched",
        "findings", "refused",
    ]  # fmt: skip
    assert (found["command"], found["dry_run"], found["nothing_new"]) == ("update", False, False)
    assert list(found["download"]) == [
        "fetched", "bytes", "seconds", "already_here", "changed", "replaced", "replaced_left",
        "changed_before", "problems",
        "left_out", "set_aside_before", "not_in_plan_before", "not_yet", "absent",
    ]  # fmt: skip
    assert found["started_at"].endswith("Z")
    assert found["lines"] == sum(each["lines"] for each in found["files"])


def test_sessions_are_inclusive_at_both_ends(root: Path) -> None:
    run("-C", str(root), "update", "trades", "--start", "2025-11-26", "--end", "2025-11-28")
    held = json_of("-C", str(root), "status")["data_types"]
    assert (held["trades"]["first"], held["trades"]["last"]) == ("2025-11-26", "2025-11-28")
    assert held["quotes"]["rows"] == 0


def test_a_file_that_came_has_a_line(root: Path) -> None:
    lines = run("-C", str(root), "update", "day_aggs").stdout.splitlines()
    assert lines[0].split() == ["file", "bytes", "took", "state"]
    found = [re.fullmatch(r"day_aggs (\S+) +[\d.,]+ \w+ +[\d.]+ s  new", row) for row in lines[2:5]]
    assert [each and each[1] for each in found] == ["2025-11-25", "2025-11-26", "2025-11-28"]
    assert lines[5] == ""
    assert lines[6].startswith("fetched    3 files")
    again = run("-C", str(root), "update", "day_aggs").stdout
    assert again.startswith("nothing new")


def test_all_and_repeated_types_mean_what_they_say(root: Path) -> None:
    assert len(json_of("-C", str(root), "update", "all", "--dry-run")["planned"]) == 12
    found = json_of("-C", str(root), "update", "day_aggs", "day_aggs", "trades", "--dry-run")
    assert len(found["planned"]) == 6


def test_download_brings_and_ingest_publishes(root: Path) -> None:
    command = ("-C", str(root))
    said = run(*command, "download", "day_aggs").stdout
    assert re.search(r"^fetched +3 files", said, re.MULTILINE)
    assert f"warehouse -C {root} ingest" in said
    waiting = json_of(*command, "status")["waiting"]
    assert len(waiting) == 3
    assert "waiting    3 raw files (day_aggs 2025-11-25" in run(*command, "status").stdout
    said = run(*command, "download", "day_aggs").stdout
    assert said == "nothing new: all 3 files at the source are in the raw tier or published\n"
    assert json_of(*command, "ingest")["rows_published"] == 3 * len(SYMBOLS)
    assert run(*command, "ingest").stdout.startswith("nothing new: all raw files of trades, ")


def test_an_ingest_of_what_was_never_fetched_does_not_say_that_it_is_published(root: Path) -> None:
    command = ("-C", str(root))
    assert run(*command, "ingest").stdout == (
        "nothing new: no raw file of trades, quotes, minute_aggs, day_aggs is here or was"
        f" published; fetch with: warehouse -C {root} download\n"
    )
    run(*command, "update", "day_aggs")
    said = run(*command, "ingest", "day_aggs", "--start", "2030-01-02").stdout
    assert "no raw file of day_aggs from 2030-01-02 on is here" in said
    assert said.endswith(f"warehouse -C {root} download day_aggs --start 2030-01-02\n")


@pytest.mark.parametrize("command", ["download", "update"])
def test_a_dry_run_names_the_files_and_writes_nothing(command: str, root: Path) -> None:
    before = snapshot(root)
    said = run("-C", str(root), command, "trades", "--end", "2025-11-25", "--dry-run").stdout
    assert "would fetch 1 file, " in said
    assert "  us_stocks_sip/trades_v1/2025/11/2025-11-25.csv.gz  " in said
    assert snapshot(root) == before


@pytest.mark.parametrize("command", ["download", "ingest", "update"])
def test_a_dry_run_that_ends_with_1_says_why(command: str, root: Path) -> None:
    asked: tuple[str, ...] = ("-C", str(root), command, "trades")
    run("-C", str(root), "update", "trades")
    if command == "ingest":
        odd = root / f"data/raw/trades/2025/11/{SESSIONS[1]}.csv.gz"
        odd.unlink()
        odd.symlink_to("nowhere")
        rows = [f"unread     {odd}: is a link to nowhere, which is not there"]
    else:
        asked += ("--start", "2025-11-28", "--end", "2025-12-01")
        rows = ["absent     trades 2025-12-01: the source has no file"]
    real = run(*asked, exit_code=1).stdout.splitlines()
    dry = run(*asked, "--dry-run", exit_code=1).stdout.splitlines()
    assert rows == [line for line in dry if line in rows] == [line for line in real if line in rows]


def test_a_dry_run_that_finds_nothing_says_what_there_is(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    for command, told in (
        ("update", "nothing new: all 3 files at the source are published"),
        ("ingest", "nothing new: all raw files of trades are published"),
    ):
        assert told in run("-C", str(root), command, "trades", "--dry-run").stdout.splitlines()


def test_a_dry_run_names_a_rule_that_incoming_rows_could_not_be_asked_by(root: Path) -> None:
    rule = root / "sql/validate/price_spikes.sql"
    header = (
        rule.read_text("utf-8").partition("with\n")[0].replace("on_ingest: no", "on_ingest: yes")
    )
    rule.write_text(f"{header}selekt 1\n", "utf-8")
    for dry in ([], ["--dry-run"]):
        said = run("-C", str(root), "update", "trades", *dry, exit_code=1).stdout
        assert "sql/validate/price_spikes.sql" in said


def test_a_file_that_fails_is_set_aside_and_the_rest_goes_on(root: Path, own_source: Path) -> None:
    truncate(source_file(own_source, "trades", SESSIONS[1]))
    result = run("-C", str(root), "update", "trades", exit_code=1)
    line = r"^set aside +trades 2025-11-26: is cut short.+$"
    assert re.search(line, result.stdout, re.MULTILINE)
    assert re.search(r"^read +2 files: ", result.stdout, re.MULTILINE)
    held = json_of("-C", str(root), "status")
    assert held["data_types"]["trades"]["sessions"] == 2
    assert [each["file"] for each in held["set_aside"]] == [
        "us_stocks_sip/trades_v1/2025/11/2025-11-26.csv.gz"
    ]
    again = run("-C", str(root), "update", "trades")
    assert "nothing new" in again.stdout
    assert re.search(r"^skipped +trades 2025-11-26: set aside before", again.stdout, re.MULTILINE)
    assert re.search(line, run("-C", str(root), "status").stdout, re.MULTILINE)
    truncate(source_file(own_source, "trades", SESSIONS[1]))
    found = json_of("-C", str(root), "update", "trades", exit_code=1)
    assert len(found["set_aside"]) == 1


def test_a_session_the_source_lacks_is_named(root: Path, own_source: Path) -> None:
    source_file(own_source, "quotes", SESSIONS[1]).unlink()
    said = run("-C", str(root), "update", "trades", "quotes").stdout
    assert re.findall(r"^absent.*$", said, re.MULTILINE) == [
        "absent     quotes 2025-11-26: the source has no file"
    ]
    # Asked for by date they count.
    asked = ("update", "trades", "quotes", "--start", "2025-11-24")
    found = json_of("-C", str(root), *asked, exit_code=1)
    assert found["download"]["absent"]["quotes"] == ["2025-11-24", "2025-11-26"]
    assert found["download"]["absent"]["trades"] == ["2025-11-24"]


def test_an_empty_source_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    run("init", str(tmp_path / "w"), "--source", str(tmp_path / "source"))
    said = run("-C", str(tmp_path / "w"), "update", "trades", "--start", "2025-11-25").stdout
    assert said.startswith("nothing new: the source has no file of trades from 2025-11-25 on")


@pytest.mark.parametrize("command", ["update", "download", "ingest", "rebuild"])
def test_of_days_without_a_session_no_file_is_looked_for(filled: Path, command: str) -> None:
    days = ("--start", "2025-11-29", "--end", "2025-11-30")
    asked = ("-C", str(filled), command, "trades", *days)
    is_rebuild = command == "rebuild"
    said = run(*asked, exit_code=int(is_rebuild)).stdout
    found = "2025-11-29 to 2025-11-30: the exchange has no session then"
    assert said == f"nothing {'done' if is_rebuild else 'new'}: {found}\n"


class Refusing(FolderSource):
    """A folder that gives one session not at all, and the next not to this account."""

    retries = 3

    def fetch(self, item: SourceObject, target: Path, stop: Event | None = None) -> SourceObject:
        bad: dict[date, SourceError] = {
            SESSIONS[0]: TransferError(self.url, "trades of the 25th", "it was cut"),
            SESSIONS[1]: NotInPlanError(self.url, "trades of the 26th", "403"),
        }
        if item.file.day in bad:
            raise bad[item.file.day]
        return super().fetch(item, target, stop)


def test_what_could_not_be_fetched_is_told_once_and_ends_with_1(
    root: Path, own_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "open_source", lambda config, root: Refusing(own_source))
    command = ("-C", str(root))
    done = run(*command, "update", "trades", exit_code=1)
    assert re.search(
        r"^download +failed: .*trades of the 25th.* it was cut$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^ +not in your plan: trades 2025-11-26$", done.stdout, re.MULTILINE)
    assert re.search(r"^trades 2025-11-25 +\S+ \w+ +failed to download$", done.stdout, re.MULTILINE)
    assert re.search(r"^trades 2025-11-26 .+  not in your plan$", done.stdout, re.MULTILINE)
    assert re.search(r"^took .*, 3 retries, 2 errors$", done.stdout, re.MULTILINE)
    assert "it was cut" not in done.stderr
    assert re.search(r"^read +1 file: ", done.stdout, re.MULTILINE)

    # The first is tried again, the second is not; nothing came, and that is not "nothing new".
    found = json_of(*command, "update", "trades", exit_code=1)
    assert (found["nothing_new"], found["retries"], found["errors"]) == (False, 3, 1)
    download = found["download"]
    assert [each["state"] for each in download["problems"]] == ["failed"]
    assert download["problems"][0]["problem"].endswith("it was cut")
    assert download["not_in_plan_before"] == ["us_stocks_sip/trades_v1/2025/11/2025-11-26.csv.gz"]

    said = run(*command, "status").stdout
    assert re.search(r"^failed +trades 2025-11-25: .*it was cut$", said, re.MULTILINE)
    assert re.search(r"^refused +trades 2025-11-26: not in your plan; ", said, re.MULTILINE)
    states = [each["state"] for each in json_of(*command, "status")["not_here"]]
    assert states == ["failed", "not_in_plan"]

    # Where nothing else is there, it says so and does not claim that the source is empty.
    span = ("--end", "2025-11-26")
    for path in (own_source / "us_stocks_sip/trades_v1").rglob("2025-11-2[58]*"):
        path.unlink()
    said = run(*command, "update", "trades", *span).stdout
    assert said.startswith("nothing new: 1 file up to 2025-11-26 at the source, none of them to be")
    assert "download   not in your plan: trades 2025-11-26; give --start" in said


def test_what_changed_at_the_source_is_told(root: Path, own_source: Path) -> None:
    command = ("-C", str(root), "update", "trades")
    run(*command)
    path = source_file(own_source, "trades", SESSIONS[2])
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:-5])))
    line = "changed at the vendor: trades 2025-11-28"
    assert line in run(*command, "--dry-run").stdout.splitlines()
    assert f"download   {line}" in run(*command).stdout.splitlines()
    assert json_of(*command)["download"]["changed"] == []


def test_a_session_the_source_lacks_is_in_the_status(root: Path, own_source: Path) -> None:
    for session in SESSIONS[:2]:
        source_file(own_source, "quotes", session).unlink()
    run("-C", str(root), "update", "quotes", "--start", "2025-11-25", exit_code=1)
    said = run("-C", str(root), "status").stdout
    assert "missing    quotes 2025-11-25, 2025-11-26: the source has no file" in said.splitlines()


def test_download_takes_the_symbols_of_one_file_a_symbol(tmp_path: Path) -> None:
    day = SESSIONS[0]
    for symbol in SYMBOLS:
        path = tmp_path / "source" / symbol_key("trades", day, symbol)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(csv_text("trades", [trade(symbol, instant(day))]).encode()))
    source = str(tmp_path / "source")
    run("init", str(tmp_path / "w"), "--source", source, "--layout", "symbol")
    command = ("-C", str(tmp_path / "w"), "download", "trades", "--symbols")
    assert "empty name" in fails(*command, "NA,")
    found = json_of(*command, "BCpC,NA")
    fetched = [Path(key).name for key in found["download"]["fetched"]]
    assert fetched == ["BCpC.csv.gz", "NA.csv.gz"]


def test_prune_removes_what_is_old_enough(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("-C", str(root), "prune")
    run("-C", str(root), "update", "trades")
    assert run(*command).stdout == (
        "nothing to remove: no raw file was published more than 30 days ago\n"
    )
    monkeypatch.setenv("WAREHOUSE_STORAGE__RETENTION_DAYS", "0")
    with raw_of(root, "trades", SESSIONS[0]).open("ab") as raw:
        raw.write(b"x")
    before = snapshot(root)
    said = run(*command, "--dry-run").stdout.splitlines()
    assert re.fullmatch(
        r"would remove 2 raw files, [\d.]+ kB, published more than 0 days ago", said[0]
    )
    assert said[1] == "  us_stocks_sip/trades_v1/2025/11/2025-11-26.csv.gz"
    assert said[3].startswith("kept       trades 2025-11-25: it is not the version that was")
    assert json_of(*command, "--dry-run")["to_remove"] == [each.strip() for each in said[1:3]]
    assert snapshot(root) == before
    found = json_of(*command)
    assert list(found) == ["dry_run", "removed", "bytes", "kept", "unread"]
    assert (len(found["removed"]), len(found["kept"])) == (2, 1)
    assert not raw_of(root, "trades", SESSIONS[1]).exists()
    assert run(*command).stdout.startswith("nothing to remove: no other raw file was")


def test_python_downloads_without_holding_the_loop_up(root: Path) -> None:
    async def both(wh: Warehouse) -> tuple[RunReport, int]:
        task = asyncio.create_task(wh.download_async("trades", "2025-11-26", SESSIONS[2]))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        return await task, turns

    with Warehouse(root) as wh:
        report, turns = asyncio.run(both(wh))
        assert report.metrics.files_fetched == 2
        assert turns > 1
        assert len(wh.update("trades").files) == 3
        assert wh.update("trades").did_nothing
        assert wh.sessions("trades") == list(SESSIONS)
        with pytest.raises(RequestError, match="trade"):
            wh.update("trade")


def test_rebuild_gives_the_same_bytes(root: Path) -> None:
    run("-C", str(root), "update", "trades", "day_aggs")
    before = partitions(root)
    found = json_of("-C", str(root), "rebuild", "all")
    assert found["partitions"] == len(before) == 6
    assert partitions(root) == before


def test_rebuild_takes_symbols_with_commas_or_repeated(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    command = ("-C", str(root), "rebuild", "trades", "--symbols")
    assert json_of(*command, "BCpC,AAPL")["partitions"] == 2
    found = json_of(*command, "BCpC", "--symbols", "NA", "--start", "2025-11-28")
    assert found["partitions"] == 2
    assert found["rows_unselected"] > 0
    said = run(*command, "NA").stdout
    assert re.search(r"^read .* left out$", said, re.MULTILINE)


def test_rebuild_refuses_symbols_it_does_not_have(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    command = ("-C", str(root), "rebuild", "trades", "--symbols")
    before = snapshot(root / "data")
    assert "there is AAPL (symbols are case-sensitive)" in fails(*command, "aapl")
    assert "ZZZ: not among the symbols of trades" in fails(*command, "AAPL,ZZZ")
    assert "empty name" in fails(*command, "AAPL,,NA")
    many = ",".join(f"Z{number}" for number in range(5_000))
    told = fails(*command, many)
    assert " and 4,992 more: not among the symbols" in told
    assert len(told) < 500
    assert snapshot(root / "data") == before


def test_rebuild_wants_to_know_what(filled: Path) -> None:
    assert "say which: TYPE" in run("-C", str(filled), "rebuild", exit_code=2).stderr


def test_rebuild_changed_says_why_and_what_it_did(root: Path) -> None:
    run("-C", str(root), "update", "trades", "quotes")
    out = run("-C", str(root), "rebuild", "--changed").stdout
    assert out == "nothing to do: all partitions are what SQL, settings and files make of now\n"
    path = root / "sql/clean/trades.sql"
    path.write_text(path.read_text("utf-8").replace("price <= 0", "price <= 0.01"), "utf-8")
    would = run("-C", str(root), "rebuild", "--changed", "--dry-run").stdout.splitlines()
    assert would[:2] == [
        f"stale      sql/clean/trades changed: {len(SYMBOLS)} partitions",
        f"would read {len(SESSIONS)} raw files",
    ]
    done = json_of("-C", str(root), "rebuild", "--changed")
    assert done["reasons"] == {"sql/clean/trades changed": len(SYMBOLS)}
    assert len(done["partitions"]) == done["partitions_written"] == len(SYMBOLS)
    assert (done["to_fetch"], done["not_fetched"]) == ([], {})


def test_rebuild_changed_ends_with_1_where_a_raw_file_is_gone_and_fetches_it_on_request(
    root: Path,
) -> None:
    run("-C", str(root), "update", "trades")
    (root / "data/raw/trades").rename(root / "elsewhere")
    config = root / "config/data_config.yaml"
    config.write_text(config.read_text("utf-8").replace("[0, 1]", "[0]"), "utf-8")
    out = run("-C", str(root), "rebuild", "--changed", exit_code=1).stdout
    assert "cleaning.corrections changed from [0, 1] to [0]" in out
    assert f"trades {SESSIONS[0]}" in out
    assert f"warehouse -C {root} rebuild --changed --fetch" in out
    said = run("-C", str(root), "rebuild", "--changed", "--fetch", "--dry-run").stdout
    files = len(SESSIONS)
    assert f"would read {files} raw files, {files} of them fetched again\n" in said
    assert "not here" not in said
    assert run("-C", str(root), "rebuild", "--changed", "--fetch").stdout.count("wrote") == 1


def test_verify_says_what_is_wrong_and_repair_mends_it(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    before = partitions(root)
    assert "sound" in run("-C", str(root), "verify").stdout
    path = root / "data/cache/trades/AAPL/2025_11.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    stranger = root / "data/cache/trades/AAPL/notes.txt"
    stranger.write_text("mine")
    out = run("-C", str(root), "verify", "trades", exit_code=1).stdout
    assert f"wrong      {path.relative_to(root)}: " in out
    assert f"next       warehouse -C {root} verify --repair" in out
    found = json_of("-C", str(root), "verify", exit_code=1)
    assert not found["is_clean"]
    assert [(fault["path"], fault["kind"]) for fault in found["faults"]] == [
        (str(path), "partition"),
        (str(stranger), "unknown"),
    ]
    assert {"problem", "remedy"} <= set(found["faults"][0])
    mended = run("-C", str(root), "verify", "--repair").stdout
    assert "restored   1 partition, byte for byte" in mended
    assert "moved      data/cache/trades/AAPL/notes.txt to data/set_aside/" in mended
    assert partitions(root) == before
    again = json_of("-C", str(root), "verify", "--repair")
    assert (again["mended"], again["left"], again["found"]["is_clean"]) == ([], [], True)


def test_repair_ends_with_1_where_something_is_left(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    raw_of(root, "trades", SESSIONS[0]).unlink()
    config = root / "config/data_config.yaml"
    config.write_text(re.sub(r"(?m)^  url: .*$", '  url: ""', config.read_text("utf-8")), "utf-8")
    out = run("-C", str(root), "verify", "--repair", exit_code=1).stdout
    assert "left" in out
    assert "source.url" in out
    assert json_of("-C", str(root), "verify", "--repair", exit_code=1)["left"][0]["why"]


def test_a_dry_run_of_update_says_what_it_will_come_to(root: Path) -> None:
    first, rest = str(SESSIONS[0]), str(SESSIONS[1])
    out = run("-C", str(root), "update", "trades", "--dry-run").stdout
    assert "how many rows and how long, no past run tells" in out
    run("-C", str(root), "update", "trades", "--end", first)
    told = json_of("-C", str(root), "update", "trades", "--start", rest, "--dry-run")["estimate"]
    assert told["partitions"] == len(SYMBOLS)
    assert 300 < told["rows"] < 700
    assert told["seconds"] > 0
    out = run("-C", str(root), "update", "trades", "--start", rest, "--dry-run").stdout
    assert re.search(r"about \d+ rows, 5 partitions, [\d.]+ s$", out.rstrip())


def test_an_error_names_the_warehouse_in_the_commands_that_it_advises(filled: Path) -> None:
    asked = ["bars", "AAPL", "--start", "2024-01-02"]
    said = run("-C", str(filled), *asked, exit_code=2).output
    assert f"warehouse -C {filled} update --start" in said
    assert "warehouse update" not in said


@pytest.mark.parametrize(
    ("name", "instead"),
    [("freq", ": give --freq"), ("as_of", ": give --as-of"), ("to", ""), ("self", "")],
)
def test_a_parameter_of_a_feature_is_none_of_the_commands_own_arguments(
    filled: Path, name: str, instead: str
) -> None:
    asked = ["features", "returns", "--symbols", "AAPL", "--start", "2024-01-02"]
    said = run("-C", str(filled), *asked, "-p", f"{name}=1", exit_code=2).output
    assert said.rstrip().endswith(f"no parameter can be called {name}{instead}")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_a_question_of_the_shell_without_a_traceback(filled: Path) -> None:
    endless = "select count(*) from range(100000000) a, range(100000000) b"
    command = [WAREHOUSE, "-C", str(filled), "shell", "-c", endless]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while "range" not in Path(f"/proc/{process.pid}/cmdline").read_text() or (
            Path(os.readlink(f"/proc/{process.pid}/exe")).name != "duckdb"
        ):
            assert process.poll() is None
            sleep(0.02)
        sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert "Traceback" not in told


def test_an_update_says_of_which_symbols_nothing_is_published(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    said = run("-C", str(root), "update", "trades", "--symbols", "aapl,NA,NOPE").output
    assert "no rows    of NOPE, aapl are published (case counts)" in said
    told = run("-C", str(root), "update", "trades", "--symbols", "aapl,NA", "--json").output
    assert json.loads(told)["without_rows"] == ["aapl"]


def test_update_takes_symbols(root: Path) -> None:
    run("-C", str(root), "update", "trades", "--symbols", "AAPL,NA")
    assert {name.split("/")[1] for name in partitions(root)} == {"AAPL", "NA"}
    run("-C", str(root), "update", "trades")
    assert len(partitions(root)) == len(SYMBOLS)


def test_rebuild_says_how_to_get_raw_files_back(root: Path) -> None:
    run("-C", str(root), "update", "trades")
    raw_of(root, "trades", SESSIONS[0]).unlink()
    before = partitions(root)
    asked = ("-C", str(root), "rebuild", "trades", "--start", "2025-11-25", "--symbols", "AAPL,NA")
    problem = fails(*asked)
    advised = problem.partition("with: warehouse ")[2]
    assert shlex.split(advised) == [*asked, "--fetch"]
    run(*shlex.split(advised))
    assert raw_of(root, "trades", SESSIONS[0]).exists()
    assert partitions(root) == before


def test_a_rebuild_after_a_prune_fetches_what_is_gone_where_it_is_told_to(root: Path) -> None:
    run("-C", str(root), "update", "day_aggs")
    for session in SESSIONS:
        raw_of(root, "day_aggs", session).unlink()
    # No download brings back what is published, nor does it say that its file is here.
    assert "in the raw tier or published" in run("-C", str(root), "download", "day_aggs").stdout
    said = run("-C", str(root), "rebuild", "all", "--fetch", "--dry-run").stdout.splitlines()
    assert said[0].startswith("would fetch 3 files, ")
    assert "would read 3 files" in said
    assert not raw_of(root, "day_aggs", SESSIONS[0]).exists()
    done = json_of("-C", str(root), "rebuild", "all", "--fetch")
    assert done["rows_published"] == done["lines"] == 3 * len(SYMBOLS)


def test_a_rebuild_names_what_the_source_has_no_more_leaves_it_and_makes_the_rest_anew(
    root: Path,
) -> None:
    run("-C", str(root), "update", "day_aggs")
    before = partitions(root)
    for session in SESSIONS[:2]:
        raw_of(root, "day_aggs", session).unlink()
    source_file(root.parent / "own_source", "day_aggs", SESSIONS[0]).unlink()
    lost = f"day_aggs {SESSIONS[0]}: the source has no such file (any more)"
    said = run("-C", str(root), "rebuild", "all", "--fetch", "--dry-run", exit_code=1).stdout
    assert said.startswith("would fetch 1 file, ")
    assert f"not here   {lost}\n" in said
    said = run("-C", str(root), "rebuild", "all", "--fetch", exit_code=1).stdout
    assert f"not here   {lost}\n           what is published of it stands as it was\n" in said
    assert "read       2 files: " in said
    assert partitions(root) == before
    found = json_of("-C", str(root), "rebuild", "all", "--fetch", exit_code=1)
    key = RawFile("day_aggs", SESSIONS[0]).key
    assert found["not_fetched"] == {key: "the source has no such file (any more)"}
    # Of that session alone nothing can be done.
    day = ("--start", str(SESSIONS[0]), "--end", str(SESSIONS[0]))
    problem = fails("-C", str(root), "rebuild", "day_aggs", *day, "--fetch")
    assert f"{key}: the source has no such file (any more)" in problem
    assert fails("-C", str(root), "rebuild", "day_aggs", *day, "--fetch", "--dry-run") == problem
    assert partitions(root) == before


def test_one_writer_at_a_time(root: Path) -> None:
    (root / "data").mkdir(exist_ok=True)
    with FileLock(root / "data/writer.lock"):
        assert "is being written by" in fails("-C", str(root), "update")
    run("-C", str(root), "update", "day_aggs")


def test_interrupted_it_says_so_and_the_same_command_does_the_rest(tmp_path: Path) -> None:
    # Seconds of work, so that the run is in the midst of it when the signal comes.
    market = Market(
        SESSIONS, frozenset(), SYMBOLS, trades_per_session=300_000, quotes_per_session=0
    )
    write(market, tmp_path / "source")
    run("init", str(tmp_path / "w"), "--source", str(tmp_path / "source"))
    command = [WAREHOUSE, "-C", str(tmp_path / "w"), "update"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while not line.startswith("ingest"):
            assert line, "it ended before it began"
            line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == (
        "interrupted; what was published stays, run the same command again"
    )
    assert "Traceback" not in stderr
    run("-C", str(tmp_path / "w"), "update")
    held = json_of("-C", str(tmp_path / "w"), "status")
    assert held["waiting"] == []
    assert held["data_types"]["trades"]["sessions"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whoever_is_ended_by_a_signal_leaves_nothing_temporary(
    number: signal.Signals, filled: Path, tmp_path: Path
) -> None:
    """As of a scheduler, of a container, or where a terminal is closed."""
    for name in ("out", "spill"):
        (tmp_path / name).mkdir()
    command = [WAREHOUSE, "-C", str(filled), "query", "select * from range(20_000_000)"]
    command += ["-o", str(tmp_path / "out/x.csv")]
    environ = {**os.environ, "TMPDIR": str(tmp_path / "spill")}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        # These tests may run under nohup, or behind a shell's `&`: what is ignored is inherited.
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    ) as process:
        while not any((tmp_path / "out").iterdir()):
            assert process.poll() is None
            sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (128 + number, "interrupted\n")
    assert [*(tmp_path / "out").iterdir(), *(tmp_path / "spill").iterdir()] == []


# Signals that a command gets at the same moment: while it works, while it says that it was
# interrupted, as it ends, or before it has begun.
SIGNALS_AT_ONCE = """
import atexit, os, signal, sys
import click
from warehouse.cli.main import cli, main
place, *names = sys.argv[1:]
numbers = [getattr(signal, name) for name in names]
def come():
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
def one():
    os.kill(os.getpid(), numbers[0])
def begun(ctx, param, value):
    if place == "parse":
        come()
echo = click.echo
def tell(message=None, **options):
    if place == "tell":
        come()
    echo(message, **options)
click.echo = tell
if place == "end":
    atexit.register(come)
work = click.Command(
    "status",
    callback=lambda wide: come() if place == "work" else one(),
    params=[click.Option(["--wide"], is_flag=True, callback=begun)],
)
cli.commands["status"] = work
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
sys.argv = ["warehouse", "status"]
main()
"""


@pytest.mark.parametrize("place", ["parse", "work", "tell", "end"])
@pytest.mark.parametrize(
    "names", [["SIGTERM", "SIGHUP"], ["SIGINT", "SIGTERM", "SIGHUP"], ["SIGHUP"]], ids=len
)
def test_signals_that_come_at_once_end_it_as_one_does(place: str, names: list[str]) -> None:
    """A scheduler and a closed terminal send several."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS_AT_ONCE, place, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {128 + signal.Signals[name] for name in names}, done.stderr
    assert done.stderr == "interrupted\n"


def test_nohup_keeps_it_from_ending_with_its_terminal() -> None:
    program = """
import signal, sys
from warehouse.cli.main import main
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv = ["warehouse", "--version"]
try:
    main()
finally:
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_bars_go_to_the_terminal_and_results_to_stdout(root: Path) -> None:
    ours, theirs = os.openpty()
    command = [WAREHOUSE, "-C", str(root), "update", "trades"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:
            # Linux says so when the other side has closed.
            pass
        stdout, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0
    assert b"ingest" in shown
    assert b"\x1b" in shown
    assert re.search(r"^fetched    3 files", stdout, re.MULTILINE)
    assert "\x1b" not in stdout


# What cannot be


def test_bad_input_is_one_line_that_says_what_may_be(filled: Path) -> None:
    command = ("-C", str(filled), "update")
    assert fails(*command, "trade") == (
        "data type = 'trade': it may be trades, quotes, minute_aggs, day_aggs; did you mean trades?"
    )
    assert "start = '2025-13-01'" in fails(*command, "--start", "2025-13-01")
    assert "end = 'yesterday'" in fails(*command, "--end", "yesterday")
    problem = fails(*command, "--start", "2025-11-28", "--end", "2025-11-25")
    assert problem == "end = '2025-11-25': it lies before start = 2025-11-28"


@pytest.mark.parametrize(
    "command",
    [["update"], ["download"], ["ingest"], ["rebuild", "all"], ["prune"], ["status"],
     ["query", "select 1"], ["shell"]],
)  # fmt: skip
def test_a_folder_that_is_no_warehouse_is_named(
    command: list[str], filled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Not even below a warehouse: a mistyped name must not write to another one.
    monkeypatch.chdir(filled)
    assert fails("-C", "tpyo", *command).startswith("tpyo is not a warehouse")
    monkeypatch.chdir(tmp_path)
    assert "warehouse init" in fails(*command)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("version: 1", "version: 2", "later version of flatfile-warehouse"),
        ("chunk_size", "chunksize", "processing.chunksize = '1000000': unknown key"),
        ("parallel_workers: 4", "parallel_workers: 0", "processing.parallel_workers"),
        ("  url:", "\turl:", "is no valid YAML"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained(
    old: str, new: str, problem: str, root: Path
) -> None:
    settings = root / "config/data_config.yaml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))
    for command in ("update", "status", "query x", "shell"):
        assert problem in fails("-C", str(root), *command.split())


@needs_a_user
def test_it_says_that_it_may_not_write(root: Path) -> None:
    (root / "data").chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert "ermission" in fails("-C", str(root), "update")
    finally:
        (root / "data").chmod(stat.S_IRWXU)


def test_a_full_disk_below_stdout_is_an_error_not_a_traceback(filled: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    for command in (["status"], ["query", "from trades", "--format", "csv"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [WAREHOUSE, "-C", str(filled), *command],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr == "Error: standard output: cannot be written: No space left on device\n"


# status


def test_status_says_what_there_is(filled: Path) -> None:
    said = run("-C", str(filled), "status").stdout
    assert re.search(r"^ +trades +quotes +minute_aggs +day_aggs$", said, re.MULTILINE)
    assert re.search(r"^first session( +2025-11-25){4}$", said, re.MULTILINE)
    assert re.search(r"^symbols( +5){4}$", said, re.MULTILINE)
    assert re.search(r"^runs +[\d-]+ [\d:]+ UTC  update    12 files, ", said, re.MULTILINE)
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 120


def test_the_shape_of_the_statuss_json(filled: Path, source: Path) -> None:
    found = json_of("-C", str(filled), "status")
    assert list(found) == [
        "warehouse", "source", "source_problem", "generation", "complete", "right",
        "last_sessions", "checked", "findings", "reconciliations", "data_types", "broken_rules",
        "rules_not_asked", "left_out", "outdated", "waiting", "copied", "set_aside", "not_here",
        "runs",
    ]  # fmt: skip
    assert (found["left_out"], found["outdated"]) == ({}, [])
    assert found["source"] == str(source)
    trades = found["data_types"]["trades"]
    raw = [raw_of(filled, "trades", session).stat().st_size for session in SESSIONS]
    cached = [path.stat().st_size for path in (filled / "data/cache/trades").rglob("*.parquet")]
    with duckdb.connect(str(filled / "data/warehouse.duckdb"), read_only=True) as catalog:
        rows, rejects = catalog.sql(
            "select (select count(*) from trades), count(*) from rejects where data_type = 'trades'"
        ).fetchall()[0]
    assert trades == {
        "first": "2025-11-25", "last": "2025-11-28", "sessions": 3, "symbols": 5, "partitions": 5,
        "rows": rows, "rejects": rejects, "raw_files": 3, "raw_bytes": sum(raw),
        "cache_bytes": sum(cached),
    }  # fmt: skip
    assert list(found["runs"][0]) == [
        "run_id", "command", "started_at", "state", "problem", "download_time", "processing_time",
        "records_processed", "errors_count", "cache_hit_rate", "memory_usage", "seconds",
        "cpu_seconds", "files_fetched", "bytes_fetched", "files", "files_set_aside",
        "rows_published", "rows_rejected", "partitions", "peak_memory_bytes",
    ]  # fmt: skip


def test_the_status_of_an_empty_warehouse_says_how_to_go_on(root: Path) -> None:
    said = run("-C", str(root), "status").stdout
    assert re.search(r"^rows( +0){4}$", said, re.MULTILINE)
    assert re.search(rf"^next +warehouse -C {root} update$", said, re.MULTILINE)


# query

STAMPED = (
    "select make_timestamp_ns(1764167400123456789) as timestamp, 9007199254740993 as id,"
    " 'a,\"b' as text, null as nothing, 1.5 as price, [1, 2] as list, {'x': true} as struct"
)


def query(root: Path, *arguments: str) -> str:
    return run("-C", str(root), "query", *arguments).stdout


def test_a_table_shows_the_first_rows_and_counts_all(filled: Path) -> None:
    everything = "select symbol, price from trades order by timestamp"
    lines = query(filled, everything).splitlines()
    assert lines[0].split() == ["symbol", "price"]
    rows = int(query(filled, "select count(*) as n from trades", "--format", "csv").split()[1])
    assert lines[-1] == f"{rows} rows, 40 shown (--limit 0 shows all)"
    assert len(lines) == 40 + 3
    assert len(query(filled, everything, "--limit", "0").splitlines()) == rows + 3
    assert query(filled, everything, "--limit", "2").endswith("2 shown (--limit 0 shows all)\n")
    assert query(filled, "select 1 as one").splitlines() == ["one", "───", "  1", "1 row"]


def test_nanoseconds_and_long_integers_are_whole_in_every_format(
    filled: Path, tmp_path: Path
) -> None:
    stamp = "2025-11-26 14:30:00.123456789"
    assert stamp in query(filled, STAMPED)
    row = next(csv.DictReader(io.StringIO(query(filled, STAMPED, "--format", "csv"))))
    assert (row["timestamp"], row["id"]) == (stamp, "9007199254740993")
    assert (row["text"], row["nothing"]) == ('a,"b', "")
    found = json.loads(query(filled, STAMPED, "--format", "json"))
    assert found == [
        {
            "timestamp": stamp,
            "id": 9007199254740993,
            "text": 'a,"b',
            "nothing": None,
            "price": 1.5,
            "list": [1, 2],
            "struct": {"x": True},
        }
    ]
    query(filled, STAMPED, "-o", str(tmp_path / "x.parquet"))
    table = pq.read_table(tmp_path / "x.parquet")
    assert str(table.schema.field("timestamp").type).startswith("timestamp[ns")
    assert table["timestamp"].cast("int64").to_pylist() == [1764167400123456789]
    assert table["id"].to_pylist() == [9007199254740993]


def test_columns_of_one_name_stay_apart(filled: Path) -> None:
    sql = "select 1 as n, 2 as n, 3 as n_1, 4 as n"
    assert json.loads(query(filled, sql, "--format", "json")) == [
        {"n": 1, "n_1": 2, "n_1_1": 3, "n_2": 4}
    ]


def test_a_null_does_not_cost_an_integer_its_digits(filled: Path) -> None:
    sql = "select unnest([9007199254740993, null]) as id"
    assert json.loads(query(filled, sql, "--format", "json")) == [
        {"id": 9007199254740993},
        {"id": None},
    ]


def test_all_rows_come_in_csv_json_and_parquet(filled: Path, tmp_path: Path) -> None:
    sql = "select * from quotes order by symbol, timestamp, sequence_number"
    rows = json.loads(query(filled, sql, "--format", "json"))
    assert len(rows) > 500
    read = list(csv.DictReader(io.StringIO(query(filled, sql, "--format", "csv"))))
    assert [row["timestamp"] for row in read] == [row["timestamp"] for row in rows]
    query(filled, sql, "-o", str(tmp_path / "x.parquet"))
    assert pq.read_table(tmp_path / "x.parquet").num_rows == len(rows)
    assert query(filled, sql, "-o", str(tmp_path / "x.csv")) == ""
    assert len((tmp_path / "x.csv").read_text().splitlines()) == len(rows) + 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


OF_BCPC = ("--symbols", "BCpC", "--start", "2025-11-28", "--end", "2025-11-28")
ANSWERS = {
    "query": ("select * exclude (participant_timestamp) from trades order by all",),
    "features": ("volume_ma", *OF_BCPC),
    "coverage": ("trades", *OF_BCPC),
    "bars": ("BCpC", "--start", "2025-11-28"),
    "explain-bar": ("BCpC", "2025-11-28", "--every", "1d"),
}
"""Each command whose answer is a table that may go into a file."""


def cell(value: Any) -> Any:
    """A value of JSON or of a text table: numbers as numbers, what is absent as nothing."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


@pytest.mark.parametrize("ending", ["csv", "tsv", "ndjson", "csv.gz"])
@pytest.mark.parametrize("command", ANSWERS)
def test_every_cell_of_an_answer_is_in_its_file(
    filled: Path, tmp_path: Path, command: str, ending: str
) -> None:
    asked = ("-C", str(filled), command, *ANSWERS[command])
    rows = json.loads(run(*asked, "--format", "json").stdout)
    assert rows
    file = tmp_path / f"x.{ending}"
    run(*asked, "-o", str(file))
    found = [{name: cell(value) for name, value in row.items()} for row in read_back(file)]
    assert found == [{name: cell(value) for name, value in row.items()} for row in rows]
    if not ending.endswith(".gz"):
        assert run(*asked, "--format", ending).stdout == file.read_text("utf-8")


@pytest.mark.parametrize("lengths", [(0, 2), (0, 0, 2), (1, 0, 1), (2, 0), (0, 1, 0, 1)])
def test_a_chunk_without_rows_writes_nothing_into_a_csv(lengths: tuple[int, ...]) -> None:
    texts = pa.chunked_array([pa.array(["x"] * length, pa.string()) for length in lengths])
    numbers = pa.chunked_array([pa.array([7] * length, pa.int64()) for length in lengths])
    file = io.BytesIO()
    answer.write_csv(pa.table({"text": texts, "number": numbers}), file)
    assert file.getvalue() == b'text,number\n"x",7\n"x",7\n'


def test_no_rows_are_no_rows_in_every_format(filled: Path, tmp_path: Path) -> None:
    sql = "select symbol, price from trades where false"
    assert json.loads(query(filled, sql, "--format", "json")) == []
    assert query(filled, sql, "--format", "csv") == "symbol,price\n"
    assert query(filled, sql).endswith("0 rows\n")
    query(filled, sql, "-o", str(tmp_path / "x.parquet"))
    assert pq.read_table(tmp_path / "x.parquet").column_names == ["symbol", "price"]


def test_parameters_are_compared_as_literals_are(filled: Path) -> None:
    counted = "select count(*) as n, any_value(symbol) as symbol from trades where "
    found = json.loads(
        query(
            filled,
            counted + "symbol = $symbol and session = $day and price > $price",
            *("-p", "symbol=BCpC", "-p", "day=2025-11-28", "-p", "price=0.5", "--format", "json"),
        )
    )
    assert found[0]["symbol"] == "BCpC"
    assert found[0]["n"] > 0


def test_sql_comes_from_stdin_too(filled: Path) -> None:
    found = run("-C", str(filled), "query", "-", "--format", "csv", stdin="select 1 as x\n;\n")
    assert found.stdout == "x\n1\n"


def test_a_standard_input_without_end_is_not_read_to_its_end(filled: Path) -> None:
    command = [WAREHOUSE, "-C", str(filled), "query", "-"]
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(command, stdin=endless, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: a query is no longer than 4,000,000 letters\n"


def test_what_would_disturb_a_terminal_is_spelt_out(filled: Path) -> None:
    sql = r"select 'a' || chr(27) || '[31m' || chr(10) || 'b' as x, '[bold]' as y"
    assert r"a\x1b[31m\nb  [bold]" in query(filled, sql)


def test_a_closed_pipe_ends_it_quietly(filled: Path) -> None:
    sql = "select a.* from trades a cross join range(40)"
    for form in ("csv", "table"):
        command = shlex.join(
            [WAREHOUSE, "-C", str(filled), "query", sql, "--format", form]
            + (["--limit", "0"] if form == "table" else [])
        )
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (141, "")
        assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("ending", ["csv", "json", "arrow"])
def test_an_empty_map_ends_no_query(ending: str, filled: Path, tmp_path: Path) -> None:
    sql = "select map {} as m, {'a': map {}} as s, max(timestamp) as t from trades"
    for command in (["query", sql], ["query", sql, "-o", str(tmp_path / f"answer.{ending}")]):
        # In a process of its own, which it would end.
        found = subprocess.run(
            [sys.executable, "-m", "warehouse", "-C", str(filled), *command],
            capture_output=True,
            text=True,
        )
        assert (found.returncode, "1 row" in found.stdout + found.stderr) == (0, True)


def test_queries_that_cannot_be_are_explained(filled: Path, tmp_path: Path) -> None:
    command = ("-C", str(filled), "query")
    assert "nosuch" in fails(*command, "select * from nosuch")
    fails(*command, "selec 1")
    fails(*command, "drop view trades")
    fails(*command, "select $x")
    assert "-p = 'novalue'" in fails(*command, "select 1", "-p", "novalue")
    twice = fails(*command, "select $a as a", "-p", "a=1", "-p", "a=2")
    assert "-p = 'a=2': a = 1 is given, too; leave one" in twice
    gone = str(tmp_path / "gone/x.csv")
    assert fails(*command, "select 1", "-o", gone).startswith(f"{gone}: cannot be written")
    for arguments in (["--format", "parquet"], ["--limit", "3", "--format", "csv"]):
        assert "Usage" in run(*command, "select 1", *arguments, exit_code=2).stderr


WAYS = ("csv", "csv.gz", "tsv", "tsv.gz", "json", "json.gz", "jsonl", "ndjson", "ndjson.gz",
        "parquet", "pq", "arrow", "feather", "txt", "txt.gz")  # fmt: skip


def read_back(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that `query -o` wrote, whatever it ends in."""
    *_, ending = path.name.removesuffix(".gz").split(".")
    if ending in ("parquet", "pq"):
        return pq.read_table(path).to_pylist()
    if ending in ("arrow", "feather"):
        return feather.read_table(path).to_pylist()
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    if ending == "json":
        return list(json.loads(text))
    if ending in ("jsonl", "ndjson"):
        return [json.loads(line) for line in text.splitlines()]
    if ending == "txt":
        header, _, *lines, _ = text.splitlines()
        return [dict(zip(header.split(), re.split(r" {2,}", line), strict=True)) for line in lines]
    return list(csv.DictReader(io.StringIO(text), delimiter="\t" if ending == "tsv" else ","))


@pytest.mark.parametrize("ending", WAYS)
def test_a_file_has_all_rows_and_the_count_told_is_the_count_written(
    filled: Path, tmp_path: Path, ending: str
) -> None:
    sql = "select symbol, timestamp, bid_price from quotes order by all"
    rows = json.loads(query(filled, sql, "--format", "json"))
    file = tmp_path / f"all.{ending}"
    told = run("-C", str(filled), "query", sql, "-o", str(file)).stderr
    assert told == f"{len(rows):,} rows in {file}\n"
    found = read_back(file)
    assert [row["symbol"] for row in found] == [row["symbol"] for row in rows]
    if ending in ("parquet", "pq", "arrow", "feather"):
        assert [pd.Timestamp(row["timestamp"]) for row in found] == [
            pd.Timestamp(row["timestamp"]) for row in rows
        ]
    else:
        assert [row["timestamp"] for row in found] == [row["timestamp"] for row in rows]
    assert [float(row["bid_price"]) for row in found] == [row["bid_price"] for row in rows]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "jsonl", "pq", "arrow"])
def test_a_file_has_all_nanoseconds_whatever_it_ends_in(
    filled: Path, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"x.{ending}"
    query(filled, STAMPED, "-o", str(file))
    (row,) = read_back(file)
    assert pd.Timestamp(row["timestamp"]).value == 1764167400123456789
    assert int(row["id"]) == 9007199254740993


def test_the_same_answer_gives_the_same_bytes(filled: Path, tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        query(filled, STAMPED, "-o", str(tmp_path / name))
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("x.xlsx", [], "ends in .xlsx"),
        ("x.csv.zst", [], "ends in .zst"),
        ("x.csv.zst", ["--format", "csv"], "ends in .zst"),
        ("x.parquet.gz", [], "parquet is compressed within"),
        ("x", [], "no ending"),
        ("x.pq", ["--format", "csv"], "it ends as parquet does, and --format is csv"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_by_name_before_the_query_runs(
    filled: Path, tmp_path: Path, name: str, arguments: list[str], said: str
) -> None:
    file = tmp_path / name
    error = fails("-C", str(filled), "query", "no sql at all", "-o", str(file), *arguments)
    assert said in error
    assert repr(str(file)) in error
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    filled: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for name, said in (("folder.csv", "is a folder"), ("gone/x.csv", "no folder"),
                       ("file/x.csv", "no folder"), ("n\0l.csv", "null")):  # fmt: skip
        for command in (["query", "no sql at all"], ["report"]):
            error = fails("-C", str(filled), *command, "-o", f"{tmp_path}/{name}")
            assert said in error


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.jsonl.gz", "x.arrow", "x.txt"])
def test_a_file_that_fails_half_way_leaves_what_was_there(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = tmp_path / name
    file.write_text("before")

    def full(target: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr("warehouse.report.output_file.os.replace", full)
    error = fails("-C", str(filled), "query", "select 1 as x", "-o", str(file))
    assert error == f"{file}: cannot be written: No space left on device"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "before")]


def test_a_link_named_with_o_stays_a_link(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "x.csv").symlink_to("there/y.csv")
    query(filled, "select 1 as x", "-o", str(tmp_path / "x.csv"))
    assert (tmp_path / "x.csv").is_symlink()
    assert (tmp_path / "there/y.csv").read_text() == "x\n1\n"


def test_a_limit_of_a_table_in_a_file_is_told(filled: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "x.txt")
    sql = "select unnest(range(100)) as n"
    told = run("-C", str(filled), "query", sql, "-o", file, "--limit", "7").stderr
    assert told == f"7 rows of 100 in {file}\n"


def test_safe_csv_disarms_what_a_spreadsheet_would_run(filled: Path) -> None:
    sql = (
        "select '=1+1' as a, '+1' as b, '-1' as c, '@x' as d, chr(9) || 'y' as e,"
        " chr(13) || 'z' as f, 'a=b' as g, -1 as h, null::varchar as i, ['=1'] as \"=j\""
    )
    plain = next(csv.DictReader(io.StringIO(query(filled, sql, "--format", "csv"))))
    assert list(plain.values())[:3] == ["=1+1", "+1", "-1"]
    safe = next(csv.DictReader(io.StringIO(query(filled, sql, "--format", "csv", "--safe-csv"))))
    assert safe == {
        "a": "'=1+1", "b": "'+1", "c": "'-1", "d": "'@x", "e": "'\ty", "f": "'\rz", "g": "a=b",
        "h": "-1", "i": "", "'=j": '["=1"]',
    }  # fmt: skip
    refused = run("-C", str(filled), "query", sql, "--safe-csv", exit_code=2).stderr
    assert "--safe-csv is for csv and tsv" in refused


def test_sql_may_begin_with_a_comment(filled: Path) -> None:
    for sql in ("-- why\nselect 1 as x", "--why\nselect 1 as x", "/* why */ select 1 as x"):
        assert query(filled, sql, "--format", "csv") == "x\n1\n"
    for nothing in ("", "  ", ";", "-- nothing but a comment", "/* nothing */"):
        assert "exactly one SELECT" in fails("-C", str(filled), "query", nothing)


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        (["query", "select 1"], ">&-"),
        (["query", "select 1", "--format", "csv"], ">&-"),
        (["status"], ">&-"),
        (["status", "--json"], ">/dev/full"),
        (["--help"], ">&-"),
        (["query", "--help"], ">/dev/full"),
        (["query", "-"], "<&-"),
    ],
)
def test_a_closed_or_full_stream_is_told_in_one_line(
    filled: Path, arguments: list[str], closed: str
) -> None:
    command = shlex.join([WAREHOUSE, "-C", str(filled), *arguments])
    done = subprocess.run(
        ["bash", "-c", f"{command} {closed}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(r"Error: .+\n", done.stderr)


def test_a_command_works_although_nobody_can_hear_it(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    command = shlex.join([WAREHOUSE, "-C", str(filled), "query", "select 1 as x", "-o", str(file)])
    done = subprocess.run(["bash", "-c", f"{command} >&- 2>&- <&-"], check=False)
    assert done.returncode == 0
    assert file.read_text() == "x\n1\n"


@pytest.mark.parametrize("command", ["update", "rebuild trades", "verify", "validate", "ingest"])
def test_a_log_on_a_full_disk_stops_no_run(filled: Path, tmp_path: Path, command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    root = tmp_path / "warehouse"
    shutil.copytree(filled, root)
    command = shlex.join([WAREHOUSE, "-C", str(root), *command.split(), "--json"])
    done = {
        stream: subprocess.run(
            ["bash", "-c", f"{command} 2>{stream}"], capture_output=True, text=True, check=False
        )
        for stream in ("/dev/null", "/dev/full")
    }
    heard, full = done["/dev/null"], done["/dev/full"]
    assert (full.returncode, list(json.loads(full.stdout))) == (
        heard.returncode,
        list(json.loads(heard.stdout)),
    )


def test_an_error_that_nobody_can_be_told_keeps_its_exit_status(filled: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    for asked in ("query 'select x'", "query", "status --json >/dev/full"):
        command = f"{shlex.quote(WAREHOUSE)} -C {shlex.quote(str(filled))} {asked} 2>/dev/full"
        assert subprocess.run(["bash", "-c", command], check=False).returncode == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_who_has_gone_from_standard_error_ends_a_command_as_from_its_output(
    filled: Path, unbuffered: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [WAREHOUSE, "-C", str(filled), "verify"],
        stdout=subprocess.PIPE,
        stderr=writer,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert done.returncode == 141


def test_a_standard_error_that_refuses_to_be_waited_for_is_waited_for() -> None:
    """As of a terminal that another program has set so."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    words = b"told in one line\n" * 100_000
    with (
        open(reader, "rb") as heard,
        StandardError(writer, "w") as stream,
        ThreadPoolExecutor(1) as pool,
    ):
        writing = pool.submit(stream.write, words)
        assert heard.read(len(words)) == words
        assert writing.result() == len(words)


def test_the_shell_never_takes_the_catalog_for_its_standard_input(filled: Path) -> None:
    command = shlex.join([WAREHOUSE, "-C", str(filled), "shell"])
    done = subprocess.run(
        ["bash", "-c", f"{command} <&-"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@pytest.mark.parametrize("command", ["status", "update", "verify", "report", "shell", "prune"])
def test_a_data_folder_that_may_not_be_entered_is_one_line(
    filled: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_stat, real_lstat, real_open = os.stat, os.lstat, os.open
    data = str(filled / "data")

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and os.fspath(path).startswith(f"{data}/"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return real(path, *arguments, **options)

        return ask

    for name, real in (("stat", real_stat), ("lstat", real_lstat), ("open", real_open)):
        monkeypatch.setattr(os, name, refusing(real))
    told = fails("-C", str(filled), command)
    assert told.startswith(data)
    assert "Permission denied" in told


# What strangers name

STRANGE = "a\x1b[31m\u202eb\x9bc\nd\u2066"
SPELT = r"a\x1b[31m\u202eb\x9bc\nd\u2066"


def test_names_that_a_terminal_would_obey_are_spelt_out_everywhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert printable(STRANGE) == SPELT
    assert printable("é λ 日本 BRK.B") == "é λ 日本 BRK.B"
    errors = [
        SourceError("s3://x", STRANGE),
        StorageError(Path(f"/{STRANGE}"), "is odd"),
        RawFileError(Path(f"/x/{STRANGE}.csv.gz"), "is odd"),
        NoDataError(STRANGE, "is not here", "look", [STRANGE]),
        RequestError("symbols", STRANGE, "no"),
        QueryError("select", f"no column {STRANGE}"),
        NotAWarehouseError(Path(STRANGE)),
    ]
    for error in errors:
        assert str(error).isprintable()
        assert SPELT in str(error)
    assert errors[3].missing == (STRANGE,)  # type: ignore[attr-defined]
    say([f"name {STRANGE}"])
    assert capsys.readouterr().out == f"name {SPELT}\n"
    with pytest.raises(click.ClickException) as told:
        raise Failure(STRANGE)
    assert told.value.format_message() == SPELT
    log = io.StringIO()
    terminal.LogProgress(log).begin(STRANGE, 0)
    assert log.getvalue() == f"{SPELT}\n"
    for line in (as_json({STRANGE: [STRANGE, Path("x")]}), escaped_json(json.dumps(STRANGE))):
        assert line.isprintable()
    assert json.loads(escaped_json(json.dumps([STRANGE, "é"], ensure_ascii=False))) == [
        STRANGE,
        "é",
    ]
    assert "é" in escaped_json(json.dumps("é", ensure_ascii=False))


def test_json_of_a_query_holds_no_letter_that_a_terminal_would_obey(filled: Path) -> None:
    sql = r"select 'x' || chr(27) || chr(155) || chr(8238) || chr(10) || 'é' as a"
    for form in ("json", "ndjson"):
        said = query(filled, sql, "--format", form)
        assert all(line.isprintable() for line in said.splitlines())
        found = json.loads(said)
        assert (found[0] if form == "json" else found) == {"a": "x\x1b\x9b\u202e\né"}


def test_the_log_and_the_metrics_have_names_spelt_out(filled: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(filled, root)
    with duckdb.connect(str(root / "data/warehouse.duckdb")) as catalog:
        catalog.execute("update source_files set state = ? where data_type = 'quotes'", [STRANGE])
    said = run("-C", str(root), "status", "--openmetrics").stdout
    assert all(line.isprintable() for line in said.split("\n"))
    assert r"a\\x1b[31m" in said
    log = RunLog(Warehouse(root)._layout)
    with log.opened("r"):
        log.say(logging.WARNING, STRANGE, file=STRANGE)
    line = (root / "data/logs/warehouse.jsonl").read_text().splitlines()[-1]
    assert line.isprintable()
    assert (json.loads(line)["event"], json.loads(line)["file"]) == (STRANGE, STRANGE)


def test_a_folder_that_is_no_utf_8_is_one_line(filled: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")
    said = fails("init", odd)
    assert "no UTF-8" in said
    assert not Path(odd).exists()
    shutil.copytree(filled, odd)
    for command in (["status"], ["query", "select 1"], ["report"], ["update"], ["verify"]):
        assert "no UTF-8" in fails("-C", odd, *command)
    with pytest.raises(StorageError, match="no UTF-8"):
        Warehouse(odd)
    made = os.fsdecode(os.fsencode(tmp_path) + b"/out\xff.csv")
    assert r"out\udcff.csv" in run("-C", str(filled), "query", "select 1", "-o", made).stderr


def test_a_text_that_is_no_utf_8_is_one_line(filled: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"x\xe9")
    assert "no UTF-8" in fails("-C", str(filled), "query", f"select '{odd}'")
    source = ("--source", str(tmp_path))
    for given in (("--source", f"s3://{odd}"), (*source, "--symbols", odd)):
        assert "must be UTF-8" in fails("init", str(tmp_path / "new"), *given)
    with Warehouse(filled) as wh, pytest.raises(RequestError, match="symbols"):
        wh.trades(odd, "2025-11-28")


def test_a_working_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for command in (["status"], ["init", "new"]):
        assert "the working directory is gone" in fails(*command)
    with pytest.raises(StorageError, match="the working directory is gone"):
        Warehouse()


def test_the_file_of_a_warehouse_that_is_gone_is_not_told_to_be_made_a_folder(
    tmp_path: Path,
) -> None:
    for file in ("config/data_config.yaml", "own.yaml"):
        with pytest.raises(NotAWarehouseError) as caught:
            Warehouse(tmp_path / file)
        assert str(caught.value).endswith(f"init {tmp_path} --source FOLDER_OR_S3_URL")


def test_a_folder_named_like_a_users_home_is_that_folder(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("init", "./~nobody-of-that-name", "--source", str(tmp_path))
    for name in ("~nobody-of-that-name", "./~nobody-of-that-name"):
        with Warehouse(name) as warehouse:
            assert repr(str(tmp_path / "~nobody-of-that-name")) in repr(warehouse)
        assert "rows" in run("-C", name, "status").stdout
    assert "'~gone'" in fails("-C", "./~gone", "status")


def test_the_status_folds_between_words_and_says_what_settles_it(filled: Path) -> None:
    layout, config = Place(str(filled)).open()
    found = status_of(layout, config)
    wide = list(status.status_lines(found, "warehouse"))
    for width in (40, 60, 80, 200):
        lines = list(status.status_lines(found, "warehouse", width))
        assert max(map(len, lines)) <= max(width, 65)
        assert " ".join(" ".join(lines).split()).startswith("all there yes.")
        words = {word for line in wide for word in line.split() if word.isalpha()}
        assert {word for word in words if word in "\n".join(lines)} >= words - {"rejects"}
    assert found.facts.right.answer == "mostly"
    assert any(line.strip() == "warehouse validate" for line in wide)
    assert not any("here before" in line for line in wide)


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (("bars", "AAPL", "--start", "2024-01-02", "--by", "dolar"), "did you mean dollar?"),
        (("bars", "AAPL", "--start", "2024-01-02", "--hours", "regula"), "did you mean regular?"),
        (("bars", "AAPL", "--start", "2024-01-02", "--adjust", "split"), "did you mean splits?"),
        (("query", "select 1", "--format", "parqet"), "did you mean parquet?"),
        (("rebuild", "trades", "--layout", "markt"), "did you mean market?"),
        (("reconcile", "minute"), "it may be minute_aggs, day_aggs; did you mean minute_aggs?"),
        (("reconcile", "--end", "2024-13-01"), "end = '2024-13-01'"),
        (("explain-bar", "AAPL", "2024-01-02 25:31"), "at = '2024-01-02 25:31'"),
        (("report", "--symbols", "APL", "--json"), "near it: AAPL"),
        (("report", "--symbols", "aapl", "--json"), "near it: AAPL"),
    ],
)
def test_a_misspelt_word_is_told_by_its_name_and_with_the_one_that_was_meant(
    command: tuple[str, ...], meant: str, filled: Path
) -> None:
    said = run("-C", str(filled), *command, exit_code=2).stderr
    assert meant in said.splitlines()[-1]


def test_the_status_is_coloured_on_a_terminal_alone(filled: Path) -> None:
    assert "\x1b" not in run("-C", str(filled), "status").stdout
    command = ["-C", str(filled), "status"]
    coloured = CliRunner().invoke(cli, command, color=True).stdout
    assert "\x1b[32m\x1b[1myes\x1b[0m" in coloured
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = CliRunner(env=environment).invoke(cli, command, color=True).stdout
        assert "\x1b" not in plain


def test_explain_shows_the_plan_of_what_may_run_and_of_nothing_else(filled: Path) -> None:
    asked = "select count(*) from trades where symbol = $symbol"
    for how in ("explain", "EXPLAIN ANALYZE", "-- why\nexplain /* so */", "explain(analyze)"):
        drawn = query(filled, f"{how} {asked}", "-p", "symbol=AAPL")
        assert "Aggregate" in drawn
        assert len(drawn.splitlines()) > 3
    found = json.loads(query(filled, "explain (format json) select 1", "--format", "json"))
    assert json.loads(found[0]["explain_value"])[0]["name"]
    command = ("-C", str(filled), "query")
    for refused in ("drop view trades", "copy (select 1) to 'x.csv'", "explain select 1",
                    "with t as (insert into runs values (1)) select 1"):  # fmt: skip
        fails(*command, f"explain {refused}")
        fails(*command, f"explain analyze {refused}")
    assert not Path("x.csv").exists()


def completed(words: str, **environ: str) -> list[str]:
    """What bash is offered for the last of the words."""
    given = words.split(" ")
    told = {
        "_WAREHOUSE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(given) - 1),
    }
    done = subprocess.run(
        [WAREHOUSE],
        env={**os.environ, **told, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.removeprefix("plain,") for line in done.stdout.split()]


def test_the_shell_completes_data_types_rules_and_features(filled: Path) -> None:
    assert completed("warehouse update t") == ["trades"]
    assert completed("warehouse rebuild ") == ["trades", "quotes", "minute_aggs", "day_aggs", "all"]
    assert completed("warehouse pull m") == ["minute_aggs"]
    assert completed("warehouse verify q") == ["quotes"]
    assert completed("warehouse reconcile ") == ["minute_aggs", "day_aggs"]
    assert completed(f"warehouse -C {filled} validate --rule crossed") == ["crossed_quotes"]
    assert completed(f"warehouse -C {filled} ingest --allow crossed") == ["crossed_quotes="]
    assert completed("warehouse -C /nowhere validate --rule crossed") == []
    assert completed(f"warehouse -C {filled} features quote_") == ["quote_imbalance"]


def test_the_shell_is_not_handed_a_strangers_file_name_that_is_a_command(
    filled: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(filled, root)
    for folder in ("features", "validate"):
        for name in ("zz;touch HIT;", "zz$(id)", "zz a", "zz\u202ea", "zz\x1b[31m"):
            (root / "sql" / folder / f"{name}.sql").write_text("select 1", "utf-8")
        (root / "sql" / folder / "zz_good.sql").write_text("select 1", "utf-8")
    assert completed(f"warehouse -C {root} features zz") == ["zz_good"]
    assert completed(f"warehouse -C {root} validate --rule zz") == ["zz_good"]


def test_the_shell_completes_folders_and_files(filled: Path) -> None:
    for words in ("warehouse -C x", "warehouse init x", "warehouse init w --source x"):
        assert completed(words) == ["dir,x"]
    makers = ("reference conditions 1 -o x", "explain-bar A 1 --picture x")
    for words in ("query 1 -o x", "report -o x", *makers):
        assert completed(f"warehouse -C {filled} {words}") == ["file,x"]


def test_a_misspelt_name_is_told_the_name_that_was_meant(filled: Path) -> None:
    at = ("-C", str(filled))
    for arguments, meant in (
        (("update", "trade"), "trades"),
        (("download", "QUOTES"), "quotes"),
        (("validate", "--rule", "crossed_quote"), "crossed_quotes"),
        (("ingest", "--allow", "crossed_quote=so"), "crossed_quotes"),
        (("validate", "--symbols", "AAPLE"), "AAPL"),
        (("init", "x", "--layout", "days"), "day"),
    ):
        assert f"did you mean {meant}?" in fails(*at, *arguments)
    for words in (["updat"], ["status", "--jsn"], ["query", "select 1", "--format", "parket"]):
        assert "Usage" in run(*at, *words, exit_code=2).stderr


def test_what_an_error_advises_can_be_done_on_the_command_line(filled: Path) -> None:
    at = ("-C", str(filled))
    absent = fails(*at, "bars", "AAPL", "--start", "2024-01-02", "--end", "2024-03-28")
    assert absent.rstrip().endswith("--end 2024-03-28")
    assert "say --by" in fails(*at, "bars", "AAPL", "--start", "2024-01-02", "--every", "5min")
    assert "; add -p s=…" in fails(*at, "query", "select $s")
    by_symbol = fails(*at, "features", "spread", "--symbols", "AAPL", "--start", "2024-01-02")
    for told in (absent, by_symbol):
        assert "missing=" not in told
    place = Place(str(filled))
    told = place.told(str(TooLargeError("trades of all symbols", 10**9, 10**11, 10**11, 10**9)))
    assert told.endswith("of memory are free; ask for less at a time")


def test_init_says_which_layout_of_partitions_is_kept(root: Path) -> None:
    out = run("init", str(root), "--layout", "quotes=market", "--layout", "day_aggs=market").stdout
    assert "layout     quotes: kept symbol; to change it edit config/data_config.yaml" in out
    assert "day_aggs: market\n" in out


def test_a_symbol_that_is_not_there_is_no_sound_one_to_repair(filled: Path) -> None:
    for option in ((), ("--repair",)):
        problem = fails_after_progress("-C", str(filled), "verify", *option, "--symbols", "AAPLE")
        assert "did you mean AAPL?" in problem


def test_a_rule_is_not_asked_of_a_data_type_that_it_is_not_of(filled: Path) -> None:
    at = ("-C", str(filled), "validate")
    problem = fails(*at, "trades", "--rule", "crossed_quotes")
    assert problem == "rule = 'crossed_quotes': it is of quotes, not of trades"
    assert json_of(*at, "--rule", "crossed_quotes")["data_types"] == ["quotes"]
    of_trades = json_of(*at, "trades")["rules"]
    assert "test_symbols" in of_trades
    assert "crossed_quotes" not in of_trades


def test_what_an_option_cannot_do_beside_another_is_refused(filled: Path) -> None:
    explain = ("-C", str(filled), "explain-bar", "AAPL", "2025-11-28 10:30", "--json")
    for option in (("-o", "x.csv"), ("--format", "csv"), ("--limit", "1")):
        assert "--json goes without" in run(*explain, *option, exit_code=2).stderr
    coverage = ("-C", str(filled), "coverage", "all", "--symbols", "AAPL", "--start", "2025-11-28")
    assert "add --format table" in run(*coverage, "--limit", "2", exit_code=2).stderr
    assert run(*coverage, "--limit", "2", "--format", "table").stdout.count("present") == 2


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_every_answer_can_be_disarmed(filled: Path, form: str) -> None:
    for command, asked in ANSWERS.items():
        plain = ("-C", str(filled), command, *asked, "--format", form)
        assert run(*plain, "--safe-csv").stdout == run(*plain).stdout


def test_a_picture_of_a_bar_is_a_page_and_has_no_other_name(filled: Path, tmp_path: Path) -> None:
    asked = ("-C", str(filled), "explain-bar", "AAPL", f"{SESSIONS[0]} 10:00", "--picture")
    for name in ("bar.png", "bar.SVG", "bar.pdf"):
        problem = fails(*asked, str(tmp_path / name))
        assert problem.startswith("picture = ")
        assert problem.endswith("; let it end in .html")
    assert not list(tmp_path.iterdir())
    for name in ("bar.htm", "2025-11-28"):
        run(*asked, str(tmp_path / name))
        assert "<html>" in (tmp_path / name).read_text("utf-8")


def test_advice_is_for_the_one_who_asked(filled: Path) -> None:
    at = ("-C", str(filled))
    as_of = ("--start", "2025-11-28", "--as-of", "2025-11-28")
    assert fails(*at, "bars", "AAPL", *as_of).endswith("add --adjust splits or --adjust all")
    # One bar is asked about: there is no --by.
    assert "by" not in fails(*at, "explain-bar", "AAPL", "2025-11-28 10:30", "--every", "1w")
    # A time is refused there too.
    assert "HH:MM" not in fails(*at, "update", "--start", "2025-13-01")
    day = run(*at, "explain-bar", "AAPL", "2025-11-28", "--every", "1d", "--limit", "1").stdout
    assert day.startswith("AAPL 2025-11-28 00:00:00 to 2025-11-29 00:00:00, New York\n")
    no_list = fails(*at, "reference", "conditions", "no.json", "-o", "c.csv")
    assert no_list == "no.json: cannot be read: No such file or directory"


def test_init_takes_no_star_for_all_symbols(tmp_path: Path) -> None:
    refused = fails("init", str(tmp_path / "new"), "--symbols", "AAPL,*")
    assert "without --symbols all are taken" in refused
    assert not (tmp_path / "new").exists()


def test_init_takes_the_endpoint_and_the_symbols(tmp_path: Path) -> None:
    root = tmp_path / "w"
    address = "http://127.0.0.1:9000"
    given = ("--source", "s3://bucket", "--endpoint", address, "--symbols", "BRK.B,NO,ÄÖ")
    said = run("init", str(root), *given).stdout
    assert f"endpoint   {address}\n" in said
    _, config = Place(str(root)).open()
    assert config.source.url == "s3://bucket"
    assert config.source.endpoint == address
    assert config.source.symbols == ("BRK.B", "NO", "ÄÖ")
    before = (root / "config/data_config.yaml").read_bytes()
    said = run("init", str(root), "--endpoint", "https://other.example", "--symbols", "A").stdout
    assert f"endpoint   kept {address}; to change it edit config/data_config.yaml" in said
    assert "symbols    kept BRK.B, NO, ÄÖ; to change it edit" in said
    assert (root / "config/data_config.yaml").read_bytes() == before
    assert "endpoint = 'ftp://x'" in fails("init", str(tmp_path / "v"), "--endpoint", "ftp://x")
    assert not (tmp_path / "v").exists()


# shell


def test_the_real_shell_answers(filled: Path) -> None:
    sql = "select count(*) as n from trades_of('BCpC', '2025-11-28', '2025-11-28')"
    done = subprocess.run(
        [WAREHOUSE, "-C", str(filled), "shell", "-csv", "-c", sql],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert re.fullmatch(r"n\n[1-9]\d*\n", done.stdout)
    done = subprocess.run(
        [WAREHOUSE, "-C", str(filled), "shell"],
        capture_output=True,
        text=True,
        check=False,
        input="drop view trades;\n",
    )
    assert "read-only" in done.stderr


def test_without_a_shell_it_says_how_to_get_one(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "find_shell", lambda: None)
    assert "pip install duckdb-cli" in fails("-C", str(filled), "shell")


def test_the_shell_is_found_beside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    assert shell.find_shell() is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/duckdb").write_text("#!/bin/sh\n")
    (tmp_path / "bin/duckdb").chmod(0o755)
    assert shell.find_shell() == str(tmp_path / "bin/duckdb")


def test_without_a_catalog_the_shell_names_the_command_that_makes_one(root: Path) -> None:
    assert f"start with: warehouse -C {root} update" in fails("-C", str(root), "shell")


# Words and tables


@pytest.mark.parametrize(
    "name",
    [
        "BRK.B",
        "it's",
        "A\x1b[31mB",
        "C\u202eD",
        "two\nlines",
        "a\\b'\t",
        "Latin-1 \udce9",
        "e\u0301\u200b",
    ],
)
def test_a_word_of_a_command_that_is_advised_can_be_seen_and_pasted(name: str) -> None:
    word = shell_word(name)
    assert word.isprintable()
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert said.stdout == os.fsencode(name)


def test_sizes_counts_and_durations_read_well() -> None:
    sizes = [0, 999, 1_000, 999_949, 999_950, 26_361_008, 9_400_000_000]
    assert [terminal.size(each) for each in sizes] == [
        "0 bytes", "999 bytes", "1.0 kB", "999.9 kB", "1.0 MB", "26.4 MB", "9.4 GB",
    ]  # fmt: skip
    assert (terminal.count(1, "file"), terminal.count(1234, "file")) == ("1 file", "1,234 files")
    assert [terminal.duration(each) for each in (0.04, 9.96, 75, 700, 12_000)] == [
        "0.0 s", "10.0 s", "75 s", "12 min", "3 h 20 min",
    ]  # fmt: skip


def test_columns_that_do_not_fit_are_left_out_of_the_middle() -> None:
    headers = [f"column{number}" for number in range(9)]
    rows: list[list[str | None]] = [[str(number) for number in range(9)]] * 2
    lines, left_out = terminal.table(headers, rows, [True] * 9, width=50)
    assert left_out == 4
    assert lines[0].split() == ["column0", "column1", "column2", "…", "column7", "column8"]
    assert max(map(len, lines)) <= 50
    lines, left_out = terminal.table(headers, rows, [True] * 9)
    assert (lines[0].split(), left_out) == (headers, 0)


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    monkeypatch.setattr(time_left, "time", clock)
    log = io.StringIO()
    progress = terminal.LogProgress(log)
    progress.begin("download", 0)
    progress.begin("ingest", 30_000_000)
    for number in range(3):
        progress.begin(f"file {number}", 10_000_000)
        clock.now += 4
        progress.advance("ingest", 10_000_000)
    progress.note("set aside: x\n")
    assert log.getvalue().splitlines() == [
        "ingest: 30.0 MB",
        "ingest: 20.0 MB of 30.0 MB, 2.5 MB/s, 4.0 s left; file 2",
        r"set aside: x\n",
    ]


def test_a_log_is_told_of_a_long_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    monkeypatch.setattr(time_left, "time", clock)
    log = io.StringIO()
    progress = terminal.LogProgress(log)
    progress.begin("download", 100_000_000)
    for _ in range(7):
        clock.now += 10
        progress.advance("download", 10_000_000)
    assert log.getvalue().splitlines() == [
        "download: 100.0 MB",
        "download: 30.0 MB of 100.0 MB, 1.0 MB/s, 70 s left",
        "download: 60.0 MB of 100.0 MB, 1.0 MB/s, 40 s left",
    ]


def test_a_log_tells_of_both_stages_on_one_line_while_both_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    monkeypatch.setattr(time_left, "time", clock)
    log = io.StringIO()
    progress = terminal.LogProgress(log)
    progress.begin("download", 30_000_000)
    progress.begin("ingest", 30_000_000, 3)
    progress.wait()
    clock.now += 40
    progress.advance("download", 20_000_000)
    progress.begin("file 1", 10_000_000)
    progress.leave_out(10_000_000)
    clock.now += 10
    progress.advance("ingest", 10_000_000)
    progress.advance("download", 10_000_000)
    progress.begin("file 2", 10_000_000)
    assert log.getvalue().splitlines() == [
        "download: 30.0 MB",
        "ingest: 30.0 MB",
        "download: 20.0 MB of 30.0 MB, 500.0 kB/s, 20 s left;"
        " ingest: 0 bytes of 30.0 MB, 0 of 3 files, waiting",
        "ingest: 10.0 MB of 20.0 MB, 1 of 2 files, 200.0 kB/s, 10 s left; file 2",
    ]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80, 96, 140])
def test_each_stage_has_a_line_of_its_own_however_narrow_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress() as shown:
        assert isinstance(shown, terminal.TerminalProgress)
        shown.begin("download", 12_345_678_901)
        shown.begin("ingest", 12_345_678_901, 1263)
        shown.begin("us_stocks_sip/trades_v1/2024/01/2024-01-02.csv.gz", 120_000_000)
        shown.advance("download", 1_234_567_890)
        shown.advance("ingest", 123_456_789)
        shown.wait()
        before = len(screen.getvalue())
        shown._display.refresh()
        drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.getvalue()[before:])
    lines = drawn.rstrip("\n").splitlines()
    assert [line[:4] for line in lines] == ["down", "inge"]
    assert "1.2 GB of 12.3 GB" in lines[0]
    assert "123.5 MB of 12.3 GB, 0 of 1,263 files" in lines[1]
    assert max(map(len, lines)) <= columns
    assert columns < 80 or "waiting" in lines[1]


def test_a_terminal_that_cannot_draw_is_told_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "dumb")
    with terminal.progress() as shown:
        shown.begin("download", 30_000_000)
    assert screen.getvalue() == "download: 30.0 MB\n"


def test_the_time_left_is_measured_on_files_like_those_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three large files, then a year of small ones, each of which takes a second."""
    clock = Clock()
    monkeypatch.setattr(time_left, "time", clock)
    large, small = [6_000_000] * 3, [400] * 250
    stage = time_left.Pace(sum(large) + sum(small), len(large) + len(small))
    assert stage.left() is None
    said: list[tuple[float, float | None]] = []
    end = 3 * 10.0 + 250 * 1.0
    for size in (*large, *small):
        stage.begin(size)
        stage.advance(size // 2)
        clock.now += 10.0 if size > 1000 else 1.0
        stage.advance(size - size // 2)
        said.append((clock.now, stage.left()))
    # Nothing is said of the small ones while only large ones were seen.
    assert [left for _, left in said[2:6]] == [None] * 4
    assert stage.files_done == 252
    for now, left in said[12:-1]:
        assert left is not None
        assert left == pytest.approx(end - now, rel=0.2)
    assert said[-1] == (end, None)


def test_the_time_left_has_the_writing_of_the_last_month_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three months of ten files: each takes a second, and 20 more when a month is written."""
    clock = Clock()
    monkeypatch.setattr(time_left, "time", clock)
    stage = time_left.Pace(30 * 1_000_000, 30)
    left = []
    for month in range(3):
        for _ in range(10):
            stage.begin(1_000_000)
            clock.now += 1.0
            stage.advance(1_000_000)
            if month:
                left.append((clock.now, stage.left()))
        stage.begin(0)
        clock.now += 20.0
    assert left[-1][1] is None
    for now, seconds in left[:-1]:
        assert seconds == pytest.approx(90.0 - now)


def test_nothing_is_said_of_the_time_left_before_enough_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(time_left, "time", clock)
    stage = time_left.Pace(1_000_000_000, 1)
    stage.begin(1_000_000_000)
    stage.advance(10_000_000)
    clock.now = 60.0
    assert stage.left() is None
    stage.advance(90_000_000)
    assert stage.left() == pytest.approx(540.0)


def test_json_has_all_digits_of_a_decimal_and_texts_those_within_lists(filled: Path) -> None:
    sql = (
        "select 12345678901234567890123456789.12::decimal(38, 2) as d, [0.10::decimal(3, 2)] as l,"
        " {'h': 170141183460469231731687303715884105727::hugeint, 'n': 'nan'::double} as s"
    )
    expected = (
        '{"d": 12345678901234567890123456789.12, "l": [0.10],'
        ' "s": {"h": 170141183460469231731687303715884105727, "n": null}}\n'
    )
    assert query(filled, sql, "--format", "ndjson") == expected
    cells = next(csv.DictReader(io.StringIO(query(filled, sql, "--format", "csv"))))
    assert cells["l"] == "[0.10]"


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "ndjson", "table"])
def test_a_time_that_has_no_text_is_refused(filled: Path, form: str) -> None:
    sql = "select timestamp '290000-01-01 00:00:00' as far"
    error = fails("-C", str(filled), "query", sql, "--format", form)
    assert error == "column far has a date or time that has no text; cast it"


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.parquet", "x.arrow"])
def test_a_day_without_end_is_written_to_no_file(filled: Path, name: str, tmp_path: Path) -> None:
    sql = "select 'infinity'::timestamp_ns as far"
    error = fails("-C", str(filled), "query", sql, "-o", str(tmp_path / name))
    assert error == "column far has an infinite date or time, which no answer can hold; cast it"
    assert not any(tmp_path.glob("x.*"))


def test_safe_csv_disarms_signs_in_full_width(filled: Path) -> None:
    for sign in "\uff1d\uff0b\uff0d\uff20":
        sql = f"select '{sign}1' as \"{sign}\", '\uff111' as b"
        lines = query(filled, sql, "--format", "csv", "--safe-csv").splitlines()
        assert lines == [f"'{sign},b", f'"\'{sign}1","\uff111"']


@pytest.mark.parametrize(
    "name",
    [
        "data/warehouse.duckdb",
        "data/warehouse.id",
        "data/cache/new.csv",
        "data/raw/trades/new.csv",
        "data/rejects/../schema/trades.parquet",
    ],
)
@pytest.mark.parametrize("command", [("query", "select 1 as x"), ("report",)])
def test_o_takes_the_place_of_no_file_of_the_warehouse(
    filled: Path, name: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    file = filled / name
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_bytes() if file.exists() else None
    link = tmp_path / f"link{file.suffix}"
    link.symlink_to(file)
    form = (
        ("--format", "csv") if command[0] == "query" and file.suffix in (".duckdb", ".id") else ()
    )
    for named in (file, link):
        error = fails("-C", str(filled), *command, "-o", str(named), *form)
        assert error == f"{named}: is where the warehouse keeps its own files; name another place"
    assert (file.read_bytes() if file.exists() else None) == before


@pytest.mark.parametrize("folder", ["data", "nowhere", "config/data_config.yaml"])
def test_c_takes_a_warehouse_itself_and_names_the_one_around(root: Path, folder: str) -> None:
    problem = fails("-C", str(root / folder), "status")
    assert "(no config/data_config.yaml there); the one around it: warehouse -C" in problem
    assert "init" not in problem


def test_a_misspelt_macro_is_told_the_one_that_was_meant(root: Path) -> None:
    run("-C", str(root), "update", "day_aggs")
    problem = fails("-C", str(root), "query", "from day_agg_of('AAPL')")
    assert problem == "a query may not select from day_agg_of(); did you mean day_aggs_of?"


def test_ctrl_c_while_it_still_begins_is_no_traceback() -> None:
    program = """
import os, signal, sys
from warehouse.cli.start import main

class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_while_duckdb_is_being_loaded_is_no_crash(filled: Path) -> None:
    program = """
import _imp, os, signal, sys
from warehouse.cli.start import main

loading = _imp.create_dynamic, _imp.exec_dynamic

def interrupt(frame, event, argument):
    while frame is not None and event == "call":
        is_import = frame.f_code.co_name == "_call_with_frames_removed"
        is_import = is_import and frame.f_locals.get("f") in loading
        if is_import and "duckdb" in str(frame.f_locals["args"]):
            calls.append(frame)
            if len(calls) == 5:
                sys.setprofile(None)
                os.kill(os.getpid(), signal.SIGINT)
            return
        frame = frame.f_back

calls = []
sys.setprofile(interrupt)
main()
"""
    endless = (
        "select count(*) from range(100_000_000) a, range(100_000_000) b where a.range > b.range"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "-C", str(filled), "query", endless],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_while_arrow_still_reads_ahead_is_no_crash(tmp_path: Path) -> None:
    """As after a second Ctrl-C, that waits for no thread of the ingest."""
    program = """
import atexit, os, pathlib, signal, sys, time
import pyarrow as pa
from pyarrow import csv
from warehouse.cli import main

class Slow:
    begun = closed = False
    def read(self, size=-1):
        until = time.monotonic() + 2 * self.begun
        while time.monotonic() < until:
            time.sleep(0.0001)
        self.begun = True
        return b"1\\n" * size
    def close(self): pass
    def readable(self): return True
    def writable(self): return False
    def seekable(self): return False

def read(folder):
    atexit.register(left.touch)
    main.kept = csv.open_csv(pa.PythonFile(Slow(), mode="r"))
    os.kill(os.getpid(), signal.SIGINT)

main.cli.commands["status"].callback = lambda **options: read(options)
left, sys.argv[1:] = pathlib.Path(sys.argv[1]), ["status"]
main.main()
"""
    left = tmp_path / "left"
    done = subprocess.run(
        [sys.executable, "-c", program, str(left)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert left.exists()  # what was to be done at the end was done


def test_no_line_of_help_is_wider_than_a_terminal() -> None:
    for name in cli.commands:
        assert max(map(len, run(name, "--help").stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "named", ["'x.csv'", "read_csv('/etc/passwd')", "glob('/etc/*')", "'https://x.org/a.parquet'"]
)
def test_a_query_of_a_file_elsewhere_is_told_where_it_may_read(named: str, filled: Path) -> None:
    said = fails("-C", str(filled), "query", f"select * from {named}")
    assert "lies outside of the warehouse's folders" in said
    assert "configuration" not in said


def test_a_verify_of_what_is_not_there_says_so(filled: Path) -> None:
    told = "holds no file of what was asked about"
    command = ("-C", str(filled), "verify", "trades")
    assert told in run(*command, "--start", "2020-01-02", "--end", "2020-01-31").stdout
    assert told not in run(*command).stdout


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_rebuild_of_what_has_no_raw_file_says_what_there_is_and_ends_with_1(
    root: Path, is_dry: bool
) -> None:
    run("-C", str(root), "update", "trades")
    before = snapshot(root / "data/cache")
    asked = ("rebuild", "trades", "--start", "2020-01-02", "--end", "2020-01-31")
    dry = ("--dry-run",) if is_dry else ()
    said = run("-C", str(root), *asked, *dry, exit_code=1).stdout
    there = "the raw tier holds 3 files of trades, 2025-11-25 to 2025-11-28"
    if is_dry:
        assert said == f"would read 0 files\n  {there}\n"
    else:
        assert said == (
            f"nothing done: looked for raw files of trades of 2020-01-02 to 2020-01-31; {there};"
            f" fetch with: warehouse -C {root} download trades --start 2020-01-02"
            " --end 2020-01-31\n"
        )
        said = run("-C", str(root), "rebuild", "quotes", exit_code=1).stdout
        assert "the raw tier holds no file of quotes; fetch with" in said
    assert snapshot(root / "data/cache") == before


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no /dev/fd")
def test_a_dash_is_standard_output_wherever_a_file_is_named(filled: Path, tmp_path: Path) -> None:
    def said(code: int, *arguments: str) -> tuple[str, str]:
        command = [WAREHOUSE, "-C", str(filled), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code
        return done.stdout.rstrip(), done.stderr.rstrip()

    bar = ("explain-bar", "AAPL", f"{SESSIONS[0]} 10:00")
    page, beside = said(0, "report", "-o", "-")
    assert page.endswith("</html>")
    assert beside.startswith("/dev/stdout: ")
    page, beside = said(0, *bar, "-o", "trades.csv", "--picture", "-")
    assert page.endswith("</html>")
    assert "drawn in /dev/stdout" in beside
    for also in ("--json", "--open"):
        assert said(2, "report", also, "-o", "-")[1].endswith("want a file: name one with -o FILE")
    assert said(2, *bar, "--picture", "-")[1].endswith("name a file for --picture")
    assert [file.name for file in tmp_path.iterdir()] == ["trades.csv"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no /dev/fd")
def test_an_answer_goes_plainly_to_what_is_open_already(filled: Path, tmp_path: Path) -> None:
    program = shlex.join([WAREHOUSE, "-C", str(filled), "query", "select 1 as a"])

    def said(rest: str) -> tuple[bytes, bytes]:
        done = subprocess.run(
            ["bash", "-c", f"{program} {rest}"], capture_output=True, check=False, cwd=tmp_path
        )
        return done.stdout, done.stderr

    assert said("-o /dev/stdout --format csv") == (b"a\n1\n", b"1 row in /dev/stdout\n")
    assert said("-o /dev/fd/1 --format json | cat")[0] == b'[\n{"a": 1}\n]\n'
    assert said("-o /dev/stdout --format parquet")[0].startswith(b"PAR1")
    (tmp_path / "x.csv").write_text("before\n")
    assert said("-o /dev/stdout --format csv >> x.csv")[1] == b"1 row in /dev/stdout\n"
    assert said("-o /dev/fd/7 --format tsv 7>> x.csv")[1] == b"1 row in /dev/fd/7\n"
    assert (tmp_path / "x.csv").read_text() == "before\na\n1\na\n1\n"
    told = b"Error: /dev/fd/9: cannot be written: Bad file descriptor\n"
    assert said("-o /dev/fd/9 --format csv") == (b"", told)


def test_an_interval_is_written_as_duckdb_prints_it(filled: Path) -> None:
    dice = random.Random(7)
    texts = ["0 days", "-00:00:00.000001", "-1 month 12 months", "1 year -1 day 100:00:00.5"]
    texts += [
        f"{dice.choice((0, dice.randint(-30, 30)))} months {dice.choice((0, dice.randint(-2, 2)))}"
        f" days {dice.choice((0, dice.randint(-(10**11), 10**11)))} microseconds"
        for _ in range(200)
    ]
    listed = ", ".join(f"interval '{text}'" for text in texts)
    sql = "select a, a::varchar as text, [a] as many, {'x': a} as one"
    sql += f" from (select unnest([{listed}]) as a)"
    rows = list(csv.DictReader(io.StringIO(query(filled, sql, "--format", "csv"))))
    assert len(rows) == len(texts)
    assert [row["a"] for row in rows] == [row["text"] for row in rows]
    found = json.loads(query(filled, sql, "--format", "json"))
    for row in found:
        assert row == {**row, "a": row["text"], "many": [row["text"]], "one": {"x": row["text"]}}


def test_symbols_may_be_named_in_a_file(root: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\ufeffNA\r\n\r\n  BCpC \n", "utf-8")
    run("-C", str(root), "update", "trades", "--symbols", f"@{listed}")
    with Warehouse(root) as wh:
        assert wh.symbols("trades") == ["BCpC", "NA"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
def test_a_list_of_symbols_that_cannot_be_read_is_one_line(
    root: Path, tmp_path: Path, content: bytes | None
) -> None:
    listed = tmp_path / "list.txt"
    if content is not None:
        listed.write_bytes(content)
    done = CliRunner().invoke(cli, ["-C", str(root), "update", "trades", "--symbols", f"@{listed}"])
    assert done.exit_code == 2
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    said = fails("-C", str(root), "update", "trades", "--symbols", f"@{tmp_path}")
    assert said.endswith("the file cannot be read: it is no regular file")


def test_a_new_warehouse_is_laid_out_as_init_is_told(tmp_path: Path) -> None:
    for given, due in ((), "market"), (("--layout", "day_aggs=symbol"), "symbol"):
        folder = tmp_path / due
        run("init", str(folder), *given)
        assert Warehouse(folder)._config.storage.layout.of("day_aggs") == due
    for given in ("day_aggs=heap", "news=market", "day_aggs="):
        said = run("init", str(tmp_path / "no"), "--layout", given, exit_code=2).stderr
        assert said.startswith(f"Error: layout = '{given}': it may be ")
        assert said.count("\n") == 1
    assert not (tmp_path / "no").exists()


def test_a_conversion_says_what_it_did_and_what_new_months_will_be(root: Path) -> None:
    run("-C", str(root), "update", "day_aggs")
    before = partitions(root)
    convert = ("-C", str(root), "rebuild", "day_aggs", "--layout")
    said = run(*convert, "symbol", "--dry-run").stdout
    assert said.startswith("would convert day_aggs 2025-11\n")
    assert partitions(root) == before
    said = run(*convert, "symbol").stdout
    assert said.startswith("converted  day_aggs 2025-11\n")
    assert "storage.layout.day_aggs is market" in said
    assert "nothing published of day_aggs is laid out" in run(*convert, "symbol").stdout
    # What is published is laid out otherwise; only nothing of these sessions is.
    elsewhere = run(*convert, "market", "--start", "2024-01-01", "--end", "2024-06-30").stdout
    assert "nothing published of day_aggs of 2024-01-01 to 2024-06-30 is laid out" in elsewhere
    told = json_of(*convert, "market")
    assert (told["layout"], told["files_after"]) == ("market", 1)
    assert told["rows"] > 0
    assert partitions(root) == before
    for wrong in (("--symbols", "NA"), ("--changed",), ("--fetch",)):
        assert "--layout goes with" in run(*convert, "market", *wrong, exit_code=2).output


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "memory"),
        (pa.ArrowMemoryError("malloc of size 64 failed"), "memory"),
        (duckdb.OutOfMemoryException("Out of Memory Error: Allocation failure"), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (ImportError("lib.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("can't start new thread"), "thread"),
        (pa.ArrowException("Unknown error: Failed to launch worker thread"), "thread"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_machine_that_gives_no_more_memory_or_thread_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    what: str,
) -> None:
    def refused() -> None:
        raise error

    monkeypatch.setattr("warehouse.cli.main.main", refused)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for limit, told in ((resource.RLIM_INFINITY, "lower processing."), (3 << 29, "ulimit -v")):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        with pytest.raises(SystemExit) as ended:
            start.main()
        problem = capsys.readouterr().err
        assert ended.value.code == 2
        assert re.fullmatch(rf"Error: the system gives no more {what}: .*{told}.*\n", problem)


@pytest.mark.parametrize(
    ("name", "command"),
    [("rejects", ["status"]), ("minute_candles", ["report", "--symbols", "AAPL", "--json"])],
)
def test_a_report_file_with_rows_without_end_is_refused_by_name(
    root: Path, name: str, command: list[str]
) -> None:
    run("-C", str(root), "update")
    file = root / f"sql/report/{name}.sql"
    header, body = shipped_parts(file.read_text())
    many = f"select * from (\n{body}\n) cross join range(100000000000) as many(number)"
    file.write_text(f"{header}{many}\n")

    problem = fails("-C", str(root), *command)

    assert problem.endswith(
        f"sql/report/{name}.sql: gives more than 100,000 rows; let it sum them, or end with LIMIT"
    )


def shipped_parts(text: str) -> tuple[str, str]:
    """The header of a file of sql/, and its statement."""
    lines = text.splitlines(keepends=True)
    header = list(takewhile(lambda line: line.startswith("--"), lines))
    return "".join(header), "".join(lines[len(header) :]).rstrip().rstrip(";")


@pytest.mark.parametrize("name", ["x.csv.br", "x.br", "x.tgz", "x.tar.gz", "x.csv.zst"])
def test_an_ending_of_another_compression_is_refused_whatever_the_format(
    filled: Path, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    problem = fails("-C", str(filled), "query", "select 1", "-o", str(file), "--format", "csv")
    assert f"a file that ends in {file.suffix} cannot be written" in problem
    assert not file.exists()


def test_an_ingest_of_days_before_the_vendors_first_advises_no_download(root: Path) -> None:
    said = run("-C", str(root), "ingest", "trades", "--start", "1990-01-02", "--end", "1990-02-01")
    assert "the vendor's files begin on 2003-09-10: is the year right?" in said.output
    assert "download" not in said.output
