"""The demo takes a small market all the way, and shows it through all three doors."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from warehouse import demo
from warehouse.cli import cli

SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(folder: Path, *arguments: str) -> str:
    """Run the demo as a user does, with `folder` as the working directory."""
    environment = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [SCRIPTS / "warehouse", "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def refuse(folder: Path) -> str:
    result = CliRunner().invoke(cli, ["demo", str(folder)])
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def test_the_demo_shows_all_three_doors_and_then_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    found = re.search(r"([\d,]+) lines = ([\d,]+) published \+ ([\d,]+) rejected", first)
    assert found is not None, first
    lines, published, rejected = (int(number.replace(",", "")) for number in found.groups())
    assert lines == published + rejected > 100_000
    doors = re.split(r"^\d\. ", first, flags=re.MULTILINE)
    assert len(doors) == 4
    assert re.search(r"│ 2025-11-28 │ +\d+ │ 2025-11-28 \d\d:\d\d:\d\d\.\d{8,9} ", doors[1])
    assert re.search(r">>> len\(.*\n\(\d+, \d+\)\n", doors[2])
    assert re.search(r"^trades +cancelled +\d+$", doors[3], re.MULTILINE)
    assert re.search(r"^first session( +2025-11-25){4}$", doors[3], re.MULTILINE)
    assert str(tmp_path) not in first
    assert "Error" not in first

    again = run(tmp_path, "demo-warehouse")
    assert "nothing new: all 20 files at the source are published" in again
    after = re.split(r"^\d\. ", again, flags=re.MULTILINE)
    assert after[1:3] == doors[1:3]


def test_half_a_market_is_made_anew_and_a_missing_shell_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_shell", lambda: None)
    (tmp_path / "d/flatfiles.part/us_stocks_sip").mkdir(parents=True)
    (tmp_path / "d/flatfiles.part/us_stocks_sip/half.csv.gz").write_bytes(b"")
    result = CliRunner().invoke(cli, ["demo", str(tmp_path / "d")])
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "d/flatfiles.part").exists()
    assert not list((tmp_path / "d/flatfiles").rglob("half*"))
    assert "pip install duckdb-cli" in result.stdout
    assert re.search(r"^2025-11-28 +\d+  2025-11-28 ", result.stdout, re.MULTILINE)


def test_the_demo_touches_no_folder_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("")
    (tmp_path / "file").write_text("")
    CliRunner().invoke(cli, ["init", str(tmp_path / "w"), "--source", str(tmp_path)])
    assert "it is not empty" in refuse(tmp_path / "notes")
    assert "it is a file" in refuse(tmp_path / "file")
    assert "a warehouse of its own" in refuse(tmp_path / "w")
    assert sorted(path.name for path in (tmp_path / "notes").iterdir()) == ["mine.txt"]
    assert not (tmp_path / "w/flatfiles").exists()
