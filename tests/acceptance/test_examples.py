"""The examples run, and the backtest's numbers are those of an independent computation."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from building import REPOSITORY
from click.testing import CliRunner
from nbclient import NotebookClient

from warehouse import Warehouse
from warehouse.cli.main import cli

sys.path.insert(0, str(REPOSITORY / "examples"))
import backtest

# bt 1.4.1 on pandas 3.1.
OF_BT = pytest.mark.filterwarnings("ignore:Sorting by default:DeprecationWarning")
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "demo-warehouse"
    result = CliRunner().invoke(cli, ["demo", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def prices(demo: Path) -> pd.DataFrame:
    with Warehouse(demo) as wh:
        return backtest.closes(wh, ["AAPL", "F", "SPY"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_from_start_to_end(path: Path, demo: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path), str(demo)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel_and_shows_its_pictures(
    path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE", str(demo))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # of nobody's machine
    # Without ipywidgets, as here, DuckDB refuses to be told anything of its progress bar.
    assert importlib.util.find_spec("ipywidgets") is None
    NotebookClient(notebook, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 2
    assert "Warehouse" in outputs[0]["data"]["text/html"]


def test_bars_stand_at_the_five_minutes_of_regular_hours(prices: pd.DataFrame) -> None:
    by_day = prices.groupby(prices.index.tz_convert("America/New_York").date).size()
    assert set(by_day[1:]) == {78, 42}  # a whole session, and the half-day after Thanksgiving


def test_a_bar_has_the_last_close_that_was_known_at_its_end(
    demo: Path, prices: pd.DataFrame
) -> None:
    with Warehouse(demo) as wh:
        bars = wh.aggs("F", "2025-11-25", "2025-12-02")
    for end in prices.index[::17]:
        known = bars[bars["timestamp"] + pd.Timedelta(minutes=1) <= end]
        assert prices.loc[end, "F"] == known["close"].iloc[-1]


def test_a_weight_is_unchanged_when_later_prices_are_taken_away(prices: pd.DataFrame) -> None:
    whole = backtest.target_weights(prices)
    for cut in (40, 133, 250):
        part = backtest.target_weights(prices.iloc[:cut])
        pd.testing.assert_frame_equal(part, whole[whole.index <= prices.index[cut - 1]])


@OF_BT
def test_holding_earns_what_the_prices_did(prices: pd.DataFrame) -> None:
    result = backtest.run(prices)
    shares = np.floor(backtest.CAPITAL / 3 / prices.iloc[0])
    earned = (shares * (prices.iloc[-1] - prices.iloc[0])).sum()
    commission = shares.sum() * backtest.COMMISSION_PER_SHARE
    value = result.backtests["hold"].strategy.values.iloc[-1]
    # bt keeps the commission back, so that it buys a few shares less.
    assert value == pytest.approx(backtest.CAPITAL + earned - commission, abs=20)


@OF_BT
def test_the_crossover_is_accounted_for_fill_by_fill(prices: pd.DataFrame) -> None:
    strategy = backtest.run(prices).backtests["crossover"].strategy
    cash, held = backtest.CAPITAL, dict.fromkeys(prices.columns, 0.0)
    for (_, symbol), fill in strategy.get_transactions().iterrows():
        cash -= fill["quantity"] * fill["price"]
        cash -= abs(fill["quantity"]) * backtest.COMMISSION_PER_SHARE
        held[symbol] += fill["quantity"]
    value = cash + sum(held[symbol] * prices[symbol].iloc[-1] for symbol in held)
    assert strategy.values.iloc[-1] == pytest.approx(value, rel=1e-9)
