"""A rule that cannot be read is said loudly, and stops neither what comes in nor the others."""

from __future__ import annotations

import os
import shutil
from datetime import date
from pathlib import Path

import pytest
from building import REPOSITORY, SESSION, Made, day_key, instant, make, random_trades, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.cli.render.run import exit_code
from warehouse.core.request import Request
from warehouse.errors import SqlFileError
from warehouse.ingest import incoming_rules, symbol_builder


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = make(tmp_path, {day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    shutil.rmtree(made.root / "sql", ignore_errors=True)
    shutil.copytree(REPOSITORY / "sql", made.root / "sql")
    made.configure(storage__sql_dir="./sql")
    return made


def broken(made: Made, name: str, on_ingest: str) -> Path:
    path = made.root / f"sql/validate/{name}.sql"
    path.write_text(f"-- validate/{name}: x.\n-- severity: fatal\n-- on_ingest: {on_ingest}\nx\n")
    return path


@pytest.mark.parametrize(("on_ingest", "status"), [("no", 0), ("yes", 1), ("maybe", 1)])
def test_an_update_goes_on_and_names_the_rule_that_it_did_not_ask(
    made: Made, on_ingest: str, status: int
) -> None:
    path = broken(made, "mine", on_ingest)
    report = made.update()
    assert made.sql("select count(*) from trades") == [(1,)]
    assert [one.error.path for one in report.broken] == [path]
    assert exit_code(report, Request.of(())) == status


@pytest.mark.parametrize("stands", ["nothing", "a file"])
def test_a_folder_of_rules_that_cannot_be_listed_is_said_of_each_run(
    made: Made, stands: str
) -> None:
    folder = made.root / "sql/validate"
    made.update()
    shutil.rmtree(folder)
    if stands == "a file":
        folder.write_text("x")
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), 1, price=7)])
    done = CliRunner().invoke(cli, ["-C", str(made.root), "update"])
    assert done.exit_code == 1
    assert f"{folder}: no rule is asked: " in done.output
    assert made.sql("select price from trades") == [(7,)]
    status = CliRunner().invoke(cli, ["-C", str(made.root), "status"])
    assert "no rule is asked" in " ".join(status.output.split())


def test_validate_asks_the_others_and_ends_with_the_one_that_cannot_be(made: Made) -> None:
    made.update()
    path = broken(made, "mine", "no")
    done = CliRunner().invoke(cli, ["-C", str(made.root), "validate"])
    assert done.exit_code == 1
    assert f"mine: {path}: has severity: 'fatal'" in done.output
    assert "asked" in done.output
    with pytest.raises(SqlFileError, match="severity"):
        made.pipeline.validate(Request.of(()), ["mine"])


def test_sql_that_an_editor_has_saved_with_a_mark_before_it_is_read_as_it_is(made: Made) -> None:
    made.update()
    fingerprints = made.sql("select distinct fingerprint from partitions")
    for name in ("clean/trades", "catalog/trades", "validate/zero_sizes", "features/vwap"):
        path = made.root / f"sql/{name}.sql"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    made.rebuild("trades")
    assert made.sql("select distinct fingerprint from partitions") == fingerprints
    assert made.pipeline.validate(Request.of(())).broken == []
    with Warehouse(made.root) as wh:
        assert len(wh.features("vwap", "AAPL", SESSION)) == 1


def test_a_file_of_sql_whose_name_is_no_text_is_told_and_stops_nothing(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("validate/zero_sizes", "features/vwap", "catalog/trades", "clean/trades"):
        path = made.root / f"sql/{name}.sql"
        (path.parent / os.fsdecode(b"\xff.sql")).write_bytes(path.read_bytes())
    report = made.update()
    assert [(one.name, one.error.problem) for one in report.broken] == [
        (r"\udcff", "its name is no UTF-8 text; rename it")
    ]
    assert "a feature is left out" in caplog.text
    assert made.sql("select count(*) from trades") == [(1,)]
    assert made.sql("select name from features where problem is not null") == [(r"\udcff",)]
    assert [one.name for one in made.pipeline.validate(Request.of(())).broken] == [r"\udcff"]
    with pytest.raises(SqlFileError, match="no UTF-8"):
        made.pipeline.validate(Request.of(()), [r"\udcff"])


FAILS = """-- validate/mine: fails.
-- severity: error
-- data_types: trades
-- grain: one row per symbol and session
-- on_ingest: {}
select symbol, session, timestamp, cast('x' || symbol as integer) as number from trades
"""


@pytest.mark.parametrize(("on_ingest", "status"), [("no", 0), ("yes", 1)])
def test_a_rule_that_fails_when_it_is_asked_keeps_no_rows_out_and_is_named(
    made: Made, on_ingest: str, status: int
) -> None:
    path = made.root / "sql/validate/mine.sql"
    path.write_text(FAILS.format(on_ingest))
    made.put(day_key("trades", date(2024, 2, 1)), [trade("AAPL", instant(date(2024, 2, 1)))])
    report = made.update()
    assert made.sql("select count(*) from trades") == [(2,)]
    assert {one.error.path for one in report.broken} == ({path} if status else set())
    assert len(report.broken) == status
    assert exit_code(report, Request.of(())) == status


NO_FINDINGS = {
    "returns symbol as INTEGER; a rule returns it as VARCHAR": "1 as symbol, session",
    "returns session as VARCHAR; a rule returns it as DATE": "symbol, 'x' as session",
    "returns session 290000-01-01": "symbol, date '290000-01-01' as session",
    "a row_count that is NULL or below 0": "symbol, session, null::bigint as row_count",
    "returns a row_count that is NULL or below 0": "symbol, session, -1 as row_count",
}


@pytest.mark.parametrize("problem", NO_FINDINGS)
def test_a_rule_that_returns_no_findings_keeps_no_rows_out_and_is_named(
    made: Made, problem: str
) -> None:
    path = made.root / "sql/validate/mine.sql"
    header = FAILS.format("yes").partition("select")[0]
    path.write_text(f"{header}select {NO_FINDINGS[problem]}, timestamp from trades\n")
    report = made.update()
    assert made.sql("select count(*) from trades") == [(1,)]
    assert [problem in str(one.error) for one in report.broken] == [True]
    assert exit_code(report, Request.of(())) == 1
    # What is published is asked about by the others.
    told = made.pipeline.validate(Request.of(()))
    assert [problem in str(one.error) for one in told.broken] == [True]
    assert "few_trades" in {one.rule for one in told.results}


FEW_SYMBOLS = """-- validate/mine: sessions of few symbols.
-- severity: error
-- data_types: trades
-- grain: one row per session
-- on_ingest: yes
select null::varchar as symbol, session, min(timestamp) as timestamp, count(*) as trades
from trades
group by session
having count(distinct symbol) < 2
order by session
"""


@pytest.mark.parametrize("pool", [500, 500_000])
def test_a_rule_of_all_symbols_is_not_judged_by_some_of_them(
    made: Made, monkeypatch: pytest.MonkeyPatch, pool: int
) -> None:
    monkeypatch.setattr(incoming_rules, "_POOL_ROWS", pool)
    # As where a symbol has very many rows.
    monkeypatch.setattr(symbol_builder, "_RANGE_ROWS", 500)
    made.put(day_key("trades", SESSION), random_trades(["A", "B", "C"], 3_000))
    (made.root / "sql/validate/mine.sql").write_text(FEW_SYMBOLS)
    report = made.update()
    assert made.sql("select count(distinct symbol) from trades") == [(3,)]
    assert ["write on_ingest: no" in str(one.error) for one in report.broken] == [True] * (
        pool == 500
    )
    assert made.pipeline.validate(Request.of(()), ["mine"]).results == []


def test_a_rule_of_all_symbols_counts_where_it_was_shown_all(made: Made) -> None:
    (made.root / "sql/validate/mine.sql").write_text(FEW_SYMBOLS)
    (refused,) = made.update().refused
    assert [(one.rule, one.symbol) for one in refused.errors] == [("mine", None)]


def test_validate_asks_the_other_rules_beside_one_that_fails(made: Made) -> None:
    made.put(day_key("trades", SESSION), [trade("ZVZZT", instant(SESSION))])
    made.update()
    (made.root / "sql/validate/mine.sql").write_text(FAILS.format("no"))
    report = made.pipeline.validate(Request.of(()))
    assert [one.name for one in report.broken] == ["mine"]
    assert "mine" not in report.rules
    assert "test_symbols" in {one.rule for one in report.results}
    with pytest.raises(SqlFileError, match="Conversion"):
        made.pipeline.validate(Request.of(()), ["mine"])


def status(made: Made) -> str:
    return CliRunner().invoke(cli, ["-C", str(made.root), "status"]).output


def test_status_names_a_broken_rule_file_and_the_command_that_asks_it(made: Made) -> None:
    made.update()
    path = broken(made, "mine", "no")
    said = status(made)
    assert f"\nrules      mine cannot be asked: {path}: has severity: 'fatal'" in said
    assert f"mend it, then: warehouse -C {made.root} validate\n" in said


@pytest.mark.parametrize("on_ingest", ["no", "yes"])
def test_status_names_a_rule_that_failed_when_it_was_asked_until_all_were(
    made: Made, on_ingest: str
) -> None:
    path = made.root / "sql/validate/mine.sql"
    path.write_text(FAILS.format(on_ingest))
    made.update()
    if on_ingest == "no":
        made.pipeline.validate(Request.of(()))
    said = status(made)
    (line,) = [line for line in said.splitlines() if line.startswith("rules ")]
    assert "rules not asked: mine (Conversion Error" in line
    assert line.endswith(f"; mend it, then: warehouse -C {made.root} validate")
    path.write_text(
        FAILS.format(on_ingest).replace("'x' || symbol", "'1'").replace("error", "warning")
    )
    made.pipeline.validate(Request.of(()))
    assert "\nrules " not in status(made)


def test_what_a_mac_leaves_beside_the_files_is_neither_a_rule_nor_a_part_of_the_catalog(
    made: Made,
) -> None:
    for name in ("catalog/._trades.sql", "validate/._crossed.sql", "clean/._trades.sql"):
        (made.root / "sql" / name).write_bytes(b"\0\5\26\7 \xff no SQL")
    report = made.update()
    assert report.broken == []
    assert made.sql("select count(*) from trades") == [(1,)]
