"""The commands that answer as the methods of the same names do: features, coverage."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, trade
from click.testing import CliRunner, Result

from warehouse import Warehouse, coverage_report
from warehouse.cli.main import cli

DAY = pd.Timestamp("2024-01-31").date()
SPAN = ("--symbols", "A,B", "--start", "2024-01-30", "--end", "2024-01-31")


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    lines = [trade("A", instant(DAY, "10:00", n), n) for n in range(1, 9)]
    minutes = [bar("A", instant(DAY, f"10:{n:02}"), volume=n * 100) for n in range(1, 9)]
    made = make_warehouse(
        {
            day_key("trades", DAY): [*lines, trade("B", instant(DAY), 1)],
            day_key("minute_aggs", DAY): minutes,
        }
    )
    made.update()
    return made


def run(made: Made, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(made.root), *arguments])


ASKED = ("features", "volume_ma", "--symbols", "A", "--start", "2024-01-31", "-p", "periods=3")


def test_a_feature_prints_the_rows_that_python_gets(made: Made) -> None:
    result = run(made, *ASKED, "--format", "csv")
    assert result.exit_code == 0, result.output
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    with Warehouse(made.root) as wh:
        frame = wh.features("volume_ma", "A", DAY, periods=3)
    assert list(found[0]) == list(frame.columns)
    means = [float(row["volume_ma"]) if row["volume_ma"] else None for row in found]
    assert means == [None if pd.isna(mean) else mean for mean in frame["volume_ma"]]
    assert found[-1]["timestamp"] == "2024-01-31 15:08:00.000000000"


def test_a_feature_goes_to_a_file(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    result = run(made, *ASKED, "-o", str(file))
    assert result.exit_code == 0, result.output
    rows = pq.read_table(file).num_rows
    assert rows
    assert result.stderr == f"{rows} rows in {file}\n"


def test_coverage_says_in_words_what_python_says(made: Made) -> None:
    result = run(made, "coverage", "trades", *SPAN)
    with Warehouse(made.root) as wh:
        frame = wh.coverage("trades", ["A", "B"], "2024-01-30", "2024-01-31")
    assert result.exit_code == 0, result.output
    assert result.stdout == coverage_report(frame) + "\n"


def test_coverage_says_where_there_is_no_session(made: Made) -> None:
    asked = ("coverage", "trades", "--symbols", "A", "--start", "2024-01-27")
    said = run(made, *asked, "--end", "2024-01-28")
    assert said.stdout == "2024-01-27 to 2024-01-28: the exchange has no session then\n"
    assert run(made, *asked).stdout == "2024-01-27: the exchange has no session then\n"


def test_coverage_has_a_row_for_each_session_and_symbol(made: Made) -> None:
    result = run(made, "coverage", "all", *SPAN, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 4 * 2 * 2
    assert {(row["session"], row["state"]) for row in rows if row["data_type"] == "trades"} == {
        ("2024-01-30", "not_ingested"),
        ("2024-01-31", "present"),
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("features", "spred", "--symbols", "A", "--start", "2024-01-31"), "did you mean spread?"),
        (("features", "spread", "--symbols", "A"), "--start"),
        (("features", "spread", "--symbols", "A,", "--start", "2024-01-31"), "empty name"),
        (("features", "spread", "--symbols", "A", "--start", "yesterday"), "start = 'yesterday'"),
        (("coverage", "ticks", *SPAN), "ticks"),
        (("coverage", "trades", *SPAN, "--limit", "3", "--format", "csv"), "--limit is for tables"),
        (("coverage", "trades", *SPAN, "-o", "x.xlsx"), "xlsx"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: tuple[str, ...], said: str, made: Made) -> None:
    result = run(made, *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
