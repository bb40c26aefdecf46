"""A data type whose own SQL is broken is stopped alone: the others go on, and it is said."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest
from building import REPOSITORY, SESSION, Made, bar, day_key, instant, make, quote, trade
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.core.request import Request
from warehouse.errors import SqlFileError
from warehouse.maintenance.rebuild_stale import rebuild_changed

KINDS = ("day_aggs", "trades", "quotes")
LATER = date(2024, 2, 1)
BROKEN = {
    "nonsense": lambda path: path.write_text("select nonsense from nowhere"),
    "without rows": lambda path: path.write_text(f"{path.read_text()}where false"),
    "gone": lambda path: path.unlink(),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
}


def made_of_three_types(tmp_path: Path) -> Made:
    files = {}
    for day in (SESSION, LATER):
        files[day_key("day_aggs", day)] = [bar("AAPL", instant(day, "00:00"))]
        files[day_key("quotes", day)] = [quote("AAPL", instant(day))]
        files[day_key("trades", day)] = [trade("AAPL", instant(day))]
    made = make(tmp_path, files)
    shutil.rmtree(made.root / "sql", ignore_errors=True)
    shutil.copytree(REPOSITORY / "sql", made.root / "sql")
    made.configure(storage__sql_dir="./sql")
    return made


def counts(made: Made) -> list[int]:
    return [made.sql(f"select count(*) from {kind}")[0][0] for kind in KINDS]


@pytest.mark.parametrize(
    ("step", "how"),
    [("clean", "nonsense"), ("ingest", "without rows"), ("dedupe", "gone"), ("clean", "no text")],
)
def test_an_update_goes_on_with_the_other_data_types_and_fails(
    step: str, how: str, tmp_path: Path
) -> None:
    made = made_of_three_types(tmp_path)
    path = made.root / f"sql/{step}/quotes.sql"
    BROKEN[how](path)

    span = ["--start", str(SESSION), "--end", str(LATER)]
    done = CliRunner().invoke(cli, ["-C", str(made.root), "update", *KINDS, *span])

    told = " ".join(done.output.split())
    assert done.exit_code == 2, told
    assert f"quotes: stopped, the other data types go on: {made.root}/sql/" in told
    assert "it stopped quotes alone" in told
    assert counts(made) == [2, 2, 0]
    ((state, problem),) = made.sql("select state, problem from runs")
    assert state == "failed"
    assert "/quotes.sql: " in problem

    shutil.copy(REPOSITORY / f"sql/{step}/quotes.sql", path)
    made.update(*KINDS)
    assert counts(made) == [2, 2, 2]


def test_a_rebuild_of_what_changed_goes_on_with_the_other_data_types(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    (made.root / "sql/clean/quotes.sql").unlink()
    path = made.root / "sql/clean/trades.sql"
    path.write_text(path.read_text().replace("'no_price'", "'without_price'"))

    with pytest.raises(SqlFileError, match=r"clean/quotes\.sql: .*it stopped quotes alone"):
        rebuild_changed(made.pipeline, Request.of(KINDS))

    assert made.sql("select rows_published from runs order by started_at desc limit 1") == [(2,)]
    assert counts(made) == [2, 2, 2]


def test_a_repair_mends_the_other_data_types_and_says_why_one_is_left(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    digests = made.digests()
    for path in made.layout.cache.rglob("*.parquet"):
        if path.parent.name == "AAPL" and path.parent.parent.name in ("quotes", "trades"):
            path.unlink()
    (made.root / "sql/clean/quotes.sql").write_text("select nonsense from nowhere")

    report = made.repair()

    assert {fault.path.parent.parent.name for fault in report.mended} == {"trades"}
    assert all("clean/quotes.sql" in why for _, why in report.left)
    assert {fault.path.parent.parent.name for fault, _ in report.left} == {"quotes"}
    shutil.copy(REPOSITORY / "sql/clean/quotes.sql", made.root / "sql/clean/quotes.sql")
    made.repair()
    assert made.digests() == digests
