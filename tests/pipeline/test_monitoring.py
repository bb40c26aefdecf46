"""What runs say of themselves: in the catalog, in the log, and for those who scrape."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from building import (
    REPOSITORY,
    SESSION,
    Made,
    MakeWarehouse,
    bar,
    day_key,
    instant,
    trade,
    with_a_table_of_partitions,
)
from click.testing import CliRunner
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older_families

from warehouse.cli.main import cli
from warehouse.core.request import Request
from warehouse.errors import OutdatedCatalogError, SourceError, SqlFileError, StorageError
from warehouse.ingest import stage as staging
from warehouse.pipeline import pipeline
from warehouse.pipeline.run_watch import BY_A_SIGNAL, outcome
from warehouse.pipeline.watch import logs, openmetrics
from warehouse.store.catalog_tables import CATALOG_FORMAT
from warehouse.store.publishing import next_catalog, publish

TRADES, BARS = day_key("trades", SESSION), day_key("day_aggs", SESSION)
LINES = [trade("A", instant(SESSION, "10:00", n), n) for n in range(1, 8)]
OF_THE_SPECIFICATION = (
    *("download_time", "processing_time", "records_processed", "errors_count"),
    *("cache_hit_rate", "memory_usage"),
)


@pytest.fixture
def made(make_warehouse: MakeWarehouse) -> Made:
    return make_warehouse(
        {TRADES: [*LINES, "too,few"], BARS: [bar("A", instant(SESSION, "00:00"))]}
    )


def runs(made: Made) -> list[dict[str, Any]]:
    """The catalog's runs, the first one first."""
    with duckdb.connect(str(made.layout.catalog), read_only=True) as catalog:
        found = catalog.execute("select * from runs order by started_at, run_id")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def logged(made: Made) -> list[dict[str, Any]]:
    return [json.loads(line) for line in made.layout.log.read_text("utf-8").splitlines()]


def samples(text: str) -> dict[tuple[str, str], float]:
    """Value by metric and by the values of its labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(made: Made) -> dict[tuple[str, str], float]:
    return samples(made.layout.openmetrics.read_text("utf-8"))


# The catalog


def test_a_run_is_in_the_catalog_with_what_it_did_and_what_it_cost(made: Made) -> None:
    report = made.update("trades")

    (run,) = runs(made)

    assert (run["state"], run["problem"], run["command"]) == ("done", None, "update")
    assert run["run_id"] == report.metrics.run_id
    assert (run["records_processed"], run["lines"]) == (8, 8)
    assert (run["rows_published"], run["rows_rejected"], run["rows_unselected"]) == (7, 1, 0)
    assert (run["files"], run["files_fetched"], run["errors_count"]) == (1, 1, 0)
    assert run["bytes_fetched"] == run["bytes_read"] == (made.source / TRADES).stat().st_size
    assert run["bytes_written"] == sum(p.stat().st_size for p in made.partitions().values())
    assert 0 < run["download_time"] < run["seconds"]
    assert 0 < run["processing_time"] < run["seconds"]
    assert run["cpu_seconds"] > 0
    assert 10_000_000 < run["memory_usage"] <= run["peak_memory_bytes"] + (1 << 20)
    assert run["cache_hit_rate"] == 0


def test_the_share_of_files_that_needed_no_work_is_the_hit_rate(made: Made) -> None:
    made.update("trades")
    report = made.update()

    assert (report.metrics.files_here, report.metrics.files) == (1, 1)
    assert runs(made)[-1]["cache_hit_rate"] == 0.5
    again = made.update()
    assert again.did_nothing
    assert again.metrics.cache_hit_rate == 1
    assert made.ingest().metrics.cache_hit_rate == 1
    assert made.rebuild("trades").metrics.cache_hit_rate == 0


def test_every_batch_says_that_the_run_goes_on_and_the_last_that_it_is_done(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    build = next_catalog.build

    def note(*arguments: Any) -> Any:
        states.extend(run.state for run in arguments[-1].runs)
        return build(*arguments)

    monkeypatch.setattr(next_catalog, "build", note)
    # As where files are large.
    monkeypatch.setattr(pipeline, "_TOGETHER_BYTES", 1)
    made.update()

    assert states == ["running", "done"]
    assert [run["state"] for run in runs(made)] == ["done"]


def test_a_run_that_was_killed_is_called_interrupted_by_the_next(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    stage = staging.Stager.stage

    def kill(self: Any, files: Any, *more: Any) -> Any:
        if files[0].data_type == "trades":
            raise Killed
        return stage(self, files, *more)

    with monkeypatch.context() as patch:
        patch.setattr(staging.Stager, "stage", kill)
        patch.setattr(pipeline, "_TOGETHER_BYTES", 1)
        with pytest.raises(Killed):
            made.update()
    assert [run["state"] for run in runs(made)] == ["running"]

    made.update()

    assert [(run["state"], run["problem"]) for run in runs(made)] == [
        ("interrupted", "it was killed"),
        ("done", None),
    ]


def test_a_run_that_fails_says_so_and_what_it_fetched_is_not_fetched_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise StorageError("/somewhere", "is full")

    with monkeypatch.context() as patch:
        patch.setattr(staging.Stager, "stage", refuse)
        with pytest.raises(StorageError):
            made.update("trades")

    (failed,) = runs(made)
    assert (failed["state"], failed["problem"]) == ("failed", "/somewhere: is full")
    assert (failed["files_fetched"], failed["errors_count"]) == (1, 1)
    assert made.sql("select state from source_files") == [("downloaded",)]
    report = made.update("trades")
    assert report.download is not None
    assert not report.download.fetch
    assert made.table("trades").num_rows == 7


def test_a_source_that_is_not_there_is_a_failed_run(made: Made) -> None:
    made.update("trades")
    made.configure(source__url="/does/not/exist")
    with pytest.raises(SourceError):
        made.update("trades", start=SESSION, end=SESSION)

    run = runs(made)[-1]
    assert run["state"] == "failed"
    assert "/does/not/exist" in run["problem"]
    assert made.sql("select count(*) from trades") == [(7,)]
    status = CliRunner().invoke(cli, ["-C", str(made.root), "status"]).stdout
    assert re.search(r"^runs .*update    failed after .*: source /does/not/exist", status, re.M)


@pytest.mark.parametrize(
    "consequence",
    [
        duckdb.InterruptException("INTERRUPT Error: Interrupted!"),
        RuntimeError("Query interrupted"),
        SqlFileError(Path("clean/trades.sql"), "INTERRUPT Error: Interrupted!"),
    ],
)
def test_ctrl_c_is_a_word_of_its_own(
    made: Made, monkeypatch: pytest.MonkeyPatch, consequence: Exception
) -> None:
    def interrupt(*arguments: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            # What DuckDB makes of it, or we of that.
            raise consequence from None

    made.update("day_aggs")
    with monkeypatch.context() as patch:
        patch.setattr(staging.Stager, "stage", interrupt)
        with pytest.raises(type(consequence)):
            made.update("trades")

    run = runs(made)[-1]
    assert (run["state"], run["problem"], run["errors_count"]) == ("interrupted", BY_A_SIGNAL, 0)
    assert logged(made)[-1]["state"] == "interrupted"


def test_the_error_that_duckdb_makes_of_ctrl_c_without_a_cause_is_known(made: Made) -> None:
    assert outcome(RuntimeError("Query interrupted")) == ("interrupted", BY_A_SIGNAL)
    assert outcome(RuntimeError("a bug"))[0] == "failed"


def test_a_publish_that_was_broken_off_is_done_once_the_next_one_finishes_it(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", "/x")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_carry_out", refuse)
        with pytest.raises(StorageError):
            made.update("trades")
    assert made.layout.journal.exists()
    assert [each["state"] for each in logged(made) if each["event"] == "run ended"] == ["failed"]

    made.ingest("quotes")

    assert made.sql("select count(*) from trades") == [(7,)]
    assert [run["state"] for run in runs(made)] == ["done"]


def as_of_an_earlier_format(made: Made) -> None:
    """The catalog as format 1 had it: its partitions stood in a table."""
    with_a_table_of_partitions(made)
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("update warehouse set catalog_format = 1")
        for name in ("download_time", "processing_time", "records_processed", "cpu_seconds"):
            catalog.execute(f"alter table runs drop column {name}")


def test_a_catalog_of_an_earlier_format_mends_itself_and_keeps_its_runs(made: Made) -> None:
    made.configure(storage__layout={"day_aggs": "symbol"})
    made.update()
    before = made.answers(
        "select * from partitions order by all", "select * from source_files order by all"
    )
    as_of_an_earlier_format(made)
    with pytest.raises(OutdatedCatalogError, match="warehouse update"):
        made.pipeline.ingest(Request.of(), dry_run=True)

    made.update()

    assert made.sql("select catalog_format from warehouse") == [(CATALOG_FORMAT,)]
    assert before == made.answers(
        "select * from partitions order by all", "select * from source_files order by all"
    )
    (run,) = runs(made)
    assert (run["state"], run["rows_published"]) == ("done", 8)
    assert run["records_processed"] is None
    assert CliRunner().invoke(cli, ["-C", str(made.root), "status"]).exit_code == 0
    made.check_catalog()


def test_a_table_that_an_earlier_format_had_not_is_empty(made: Made) -> None:
    made.update("trades")
    with_a_table_of_partitions(made)
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("update warehouse set catalog_format = 1; drop table runs")

    made.ingest("quotes")

    assert runs(made) == []
    made.check_catalog()


def test_a_catalog_of_a_later_format_is_made_anew_from_the_partitions(made: Made) -> None:
    made.update("trades")
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute("update warehouse set catalog_format = 999")

    made.update("trades")

    made.check_catalog()
    assert made.sql("select count(*) from trades") == [(7,)]


# The log


def test_the_log_tells_a_run_from_its_beginning_to_its_end(made: Made) -> None:
    report = made.update("trades")

    entries = logged(made)

    assert [each["event"] for each in entries] == [
        *("run began", "download", "ingest", TRADES, "trades 2024-01: writing partitions"),
        *("read", "run ended"),
    ]
    for each in entries:
        assert list(each)[:4] == ["time", "level", "run_id", "event"]
        assert each["run_id"] == report.metrics.run_id
        age = datetime.now(UTC) - datetime.fromisoformat(each["time"])
        assert 0 <= age.total_seconds() < 60
        assert each["time"].endswith("Z")
    end = entries[-1]
    assert (end["level"], end["state"], end["problem"]) == ("info", "done", None)
    assert end["nothing_new"] is False
    assert {*OF_THE_SPECIFICATION} < set(end)
    assert (end["records_processed"], end["partitions"]) == (8, 1)


def test_a_file_set_aside_is_a_warning_in_the_log(made: Made) -> None:
    made.put(TRADES, b"no gzip")
    made.update()

    (warning,) = [each for each in logged(made) if each["level"] == "warning"]
    assert warning["event"].startswith(f"set aside: {TRADES}: 2024-01-31.csv.gz: is no gzip")
    assert logged(made)[-1]["errors_count"] == 1


def test_a_run_that_fails_is_an_error_in_the_log(made: Made) -> None:
    made.configure(source__url="/does/not/exist")
    with pytest.raises(SourceError) as caught:
        made.update("trades", start=SESSION, end=SESSION)
    end = logged(made)[-1]
    assert (end["level"], end["event"], end["state"]) == ("error", "run ended", "failed")
    assert end["problem"] == str(caught.value)


def test_a_dry_run_leaves_no_word(made: Made) -> None:
    made.pipeline.update(Request.of(["trades"], SESSION, SESSION), dry_run=True)
    assert not made.layout.log.exists()
    assert not made.layout.openmetrics.exists()


def test_what_the_library_warns_of_is_in_the_log_and_on_the_terminal_once(made: Made) -> None:
    made.configure(source__layout="symbol")
    # A name that no symbol can have.
    made.put(f"us_stocks_sip/trades/2024/01/31/{'x' * 70}.csv.gz", LINES)

    done = CliRunner().invoke(cli, ["-C", str(made.root), "update", "trades"])

    assert done.stderr.count("left out") == 1
    assert [each["level"] for each in logged(made) if "left out" in each["event"]] == ["warning"]


def test_the_log_is_turned_over_and_old_lines_go(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 2000)
    monkeypatch.setattr(logs, "_OLDER_FILES", 2)
    for _ in range(6):
        made.update()
    files = sorted(made.layout.log.parent.iterdir())
    assert [path.name for path in files] == [
        *("warehouse.jsonl", "warehouse.jsonl.1", "warehouse.jsonl.2")
    ]
    for path in files:
        assert path.stat().st_size <= 2000
        assert [json.loads(line)["event"] for line in path.read_text().splitlines()]


LIBRARY = """
import logging, sys
from warehouse import Warehouse
if sys.argv[2] == "shown":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stdout)
wh = Warehouse(sys.argv[1])
wh.update(["trades"], "2024-01-31", "2024-01-31")
logger = logging.getLogger("warehouse")
assert logger.level == logging.NOTSET and logging.getLogger().level in (20, 30)
assert [type(each).__name__ for each in logger.handlers] == ["NullHandler"]
"""


@pytest.mark.parametrize("how", ["silent", "shown"])
def test_the_library_leaves_the_programs_logging_alone(made: Made, how: str) -> None:
    made.put(BARS, b"no gzip")
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, str(made.root), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    if how == "silent":
        assert done.stdout == ""
    else:
        assert "warehouse run began" in done.stdout.splitlines()
    assert logged(made)[-1]["event"] == "run ended"


def test_a_log_that_cannot_be_written_stops_no_run_and_is_told_to_the_logger(
    made: Made, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made.layout.data.mkdir(exist_ok=True)
    made.layout.log.parent.write_text("a file in its place")
    made.layout.openmetrics.parent.write_text("here too")

    made.update("trades")

    assert made.table("trades").num_rows == 7
    assert capfd.readouterr() == ("", "")
    figures, log = [record.getMessage() for record in caplog.records][-2:]
    assert figures.startswith("the figures for those who scrape cannot be written: ")
    assert figures.endswith(f"'{made.layout.openmetrics.parent}'")
    assert log.startswith("not all of the run is in the log: ")
    assert f"'{made.layout.log}'" in log
    made.put(BARS, [bar("A", instant(SESSION, "00:00"))])
    shown = CliRunner().invoke(cli, ["-C", str(made.root), "update"], prog_name="warehouse")
    assert shown.exit_code == 0
    assert f"\n{figures}\n{log}\n" in shown.stderr


# For those who scrape


def test_the_figures_for_those_who_scrape_are_those_of_the_run(made: Made) -> None:
    report = made.update("trades")

    found = scraped(made)

    given = report.metrics.figures()
    for name, other in (
        ("records_processed", "records_processed"),
        ("rows_published", "rows_published"),
        ("errors", "errors_count"),
        ("cache_hit_ratio", "cache_hit_rate"),
        ("fetched_bytes", "bytes_fetched"),
        ("written_bytes", "bytes_written"),
        ("download_seconds", "download_time"),
        ("processing_seconds", "processing_time"),
    ):
        assert found[f"warehouse_run_{name}", "update"] == given[other], name
    assert found["warehouse_run_memory_bytes", "update"] > 1e7
    assert found["warehouse_run_success", "update"] == 1
    assert found["warehouse_rows", "trades"] == 7
    assert found["warehouse_rejects", "trades"] == 1
    assert found["warehouse_rows", "quotes"] == 0
    assert found["warehouse_source_files", "trades,ingested"] == 1
    last = datetime.fromtimestamp(found["warehouse_last_session_timestamp_seconds", "trades"], UTC)
    assert last.date() == SESSION
    assert ("warehouse_last_session_timestamp_seconds", "quotes") not in found


def test_a_run_that_fails_keeps_the_moment_of_the_last_one_that_did_not(made: Made) -> None:
    made.update("trades")
    good = scraped(made)
    made.rebuild("trades")
    made.configure(source__url="/does/not/exist")
    with pytest.raises(SourceError):
        made.update("trades", start=SESSION, end=SESSION)

    found = scraped(made)

    at = "warehouse_run_success_timestamp_seconds"
    assert found["warehouse_run_success", "update"] == 0
    assert found["warehouse_run_errors", "update"] == 1
    assert found[at, "update"] == good[at, "update"]
    assert found["warehouse_run_end_timestamp_seconds", "update"] > found[at, "update"]
    assert found["warehouse_run_success", "rebuild"] == 1
    assert found["warehouse_run_rows_published", "rebuild"] == 7


def test_a_run_with_nothing_to_do_is_seen_by_those_who_scrape(made: Made) -> None:
    made.update()
    before = scraped(made)
    with made.unchanged():
        made.update()
    at = ("warehouse_run_success_timestamp_seconds", "update")
    assert scraped(made)[at] > before[at]
    assert scraped(made)["warehouse_run_cache_hit_ratio", "update"] == 1


def test_status_prints_the_same_text(made: Made) -> None:
    made.update()
    printed = CliRunner().invoke(cli, ["-C", str(made.root), "status", "--openmetrics"])
    assert printed.exit_code == 0
    assert samples(printed.stdout) == scraped(made)
    assert printed.stdout.endswith("# EOF\n")


def test_nodes_collector_reads_the_same_figures_in_the_older_format(made: Made) -> None:
    made.update()
    text = made.layout.openmetrics.read_text("utf-8")
    older = {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in older_families(text)
        for sample in family.samples
    }
    assert older == samples(text)


def test_figures_that_are_no_figures_are_written_anew(made: Made) -> None:
    made.update("trades")
    histogram = "# TYPE warehouse_run_files histogram\n"
    native = "warehouse_run_files {count:1,sum:2,schema:3,zero_threshold:4,zero_count:1}\n"
    for spoilt in (
        "warehouse_run_rows_published{command=\n",
        "warehouse_run_files 3\n# EOF\n",
        f"{histogram}{native}# EOF\n",
    ):
        made.layout.openmetrics.write_text(spoilt)
        made.rebuild("trades")
        assert scraped(made)["warehouse_run_rows_published", "rebuild"] == 7


def test_figures_that_cannot_be_had_spoil_no_run(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise duckdb.IOException("IO Error: gone")

    monkeypatch.setattr(openmetrics, "published", refuse)
    assert made.update("trades").metrics.rows_published == 7
    told = "the figures for those who scrape cannot be written: IO Error: gone"
    assert logged(made)[-1]["event"] == told


def test_a_second_run_leaves_no_draft_behind(made: Made) -> None:
    made.update()
    made.update()
    assert os.listdir(made.layout.openmetrics.parent) == ["warehouse.prom"]


def test_levels_that_are_on_reach_the_program(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="warehouse")
    made.put(TRADES, b"no gzip")
    made.update()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len([each for each in logged(made) if each["level"] == "info"]) > 4


def test_what_the_page_on_monitoring_names_is_there(made: Made) -> None:
    page = (REPOSITORY / "docs/guides/monitoring.md").read_text("utf-8")
    made.put(TRADES, b"no gzip")
    made.update("trades")
    made.put(TRADES, LINES)
    made.update()

    figures = {name for name, _ in scraped(made)}
    named = set(re.findall(r"\b(warehouse_\w+)\{", page))
    assert len(named) == 5
    assert named <= figures
    (table,) = re.findall(r"\| column \| what \|\n\|---\|---\|\n((?:\|.*\n)+)", page)
    columns = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines())))
    assert columns > set(OF_THE_SPECIFICATION)
    assert columns <= set(runs(made)[0])
    events = re.findall(r'\.event == "([^"]+)"', page)
    assert set(events) < {each["event"] for each in logged(made)}
    for path in re.findall(r"`(data/\S+\.\w+)`", page):
        assert (made.root / path).is_file(), path


def test_an_error_that_is_its_own_cause_ends_the_run_all_the_same() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert outcome(first) == ("failed", "ValueError: first")
