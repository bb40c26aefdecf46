"""An editor knows what each answer is, and marks a mistake before it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from building import REPOSITORY

SCRIPT = Path(__file__).parent / "typed" / "backtest.py"
MISTAKES = (
    'wh.trades("AAPL", "2024-01-02", too="arrow")',
    'wh.trades("AAPL", "2024-01-02", to="numpy")',
    'wh.quotes("AAPL", "2024-01-02", colums=["price"])',
    'wh.aggs("AAPL", "2024-01-02", freq="hour")',
    'wh.aggs("AAPL", "2024-01-02", vwap="yes")',
    'wh.trades("AAPL", "2024-01-02", vwap=True)',
    'wh.load("trades", "AAPL", "2024-01-02", missing="maybe")',
    'wh.stream("AAPL", "2024-01-02", types="trades")',
    'wh.stream("AAPL", "2024-01-02", to="pandas")',
    'wh.features("spread", "AAPL", "2024-01-02", to="csv")',
    'wh.map("mean", "AAPL", "2024-01-02")',
    'wh.map(len, "AAPL", "2024-01-02", by="day")',
    'wh.map(len, "AAPL", "2024-01-02", colums=["price"])',
    'wh.query("select 1", "csv")',
    'wh.update("trades", dryrun=True)',
    'wh.trades("AAPL", "2024-01-02").to_arrow()',
)
CHECKERS = {
    "mypy": ("mypy", "--strict", "--no-error-summary", "--cache-dir"),
    "pyright": ("basedpyright", "--level", "error", "--pythonpath"),
}


def checked(checker: str, path: Path, tmp_path: Path) -> str:
    """What a type checker says of a file, as a stranger's project would ask it."""
    name, *options = CHECKERS[checker]
    last = str(tmp_path / "cache") if checker == "mypy" else sys.executable
    done = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *options, last, str(path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "MYPYPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_script_is_clean(checker: str, tmp_path: Path) -> None:
    assert "error" not in checked(checker, SCRIPT, tmp_path).replace("0 errors", "")


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_marked_on_its_line(checker: str, tmp_path: Path) -> None:
    script = tmp_path / "mistakes.py"
    lines = ["from warehouse import Warehouse", 'wh = Warehouse("demo-warehouse")', *MISTAKES]
    script.write_text("\n".join(lines) + "\n")
    told = checked(checker, script, tmp_path)
    for number, line in enumerate(lines, 1):
        assert (f"mistakes.py:{number}:" in told) == (line in MISTAKES), (line, told)
