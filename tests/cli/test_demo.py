"""The demo takes a small market all the way, and shows it through all three doors."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from building import REPOSITORY
from click.testing import CliRunner

from warehouse.cli import demo
from warehouse.cli.main import cli
from warehouse.core import paths

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


def test_a_feature_that_is_left_out_is_said_loudly_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_shell", lambda: None)
    root = tmp_path / "d"
    CliRunner().invoke(cli, ["init", str(root), "--source", "s3://nowhere"])
    config = root / "config/data_config.yaml"
    config.write_text(config.read_text().replace("s3://nowhere", "./flatfiles"))
    feature = root / "sql/features/vwap.sql"
    feature.write_text(feature.read_text().replace("-- source:", "-- sauce:"))
    result = CliRunner().invoke(cli, ["demo", str(root)])
    assert result.exit_code == 2
    assert "the demo is not whole: of its features vwap are left out" in result.stderr
    status = CliRunner().invoke(cli, ["-C", str(root), "status"])
    assert re.match(r"LEFT OUT +the feature vwap: .*no `source:`", status.stdout)
    told = json.loads(CliRunner().invoke(cli, ["-C", str(root), "status", "--json"]).stdout)
    assert list(told["left_out"]) == ["vwap"]


def test_the_last_lines_can_be_pasted(tmp_path: Path) -> None:
    """As after `make demo`, where the environment is not active."""
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["PATH"] = "/usr/bin:/bin"

    def shell(command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = shell(".venv/bin/warehouse demo").splitlines()
    [asked] = [line.removeprefix("Try it: ") for line in said if line.startswith("Try it: ")]
    assert asked.startswith(".venv/bin/warehouse -C demo-warehouse query")
    assert "5 rows" in shell(asked)
    activate = said[-1].partition("`: ")[2]
    assert "5 rows" in shell(f"{activate} && {asked.replace('.venv/bin/', '')}")


def test_in_the_projects_clone_a_newcomer_is_told_where_he_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sql", "config"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "warehouse")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["status"])
    assert result.exit_code == 0
    told = "this is the project's clone, a warehouse that holds nothing yet; "
    assert result.stderr == f"{told}make the demo's with: warehouse demo\n"
    shutil.copytree(tmp_path / "config", tmp_path / "demo-warehouse/config")
    result = CliRunner().invoke(cli, ["query", "select 1 from trades"])
    assert f"{told}the demo's is beside: warehouse -C demo-warehouse status\n" in result.stderr
    assert (
        "this is the project"
        not in CliRunner().invoke(cli, ["-C", "demo-warehouse", "status"]).stderr
    )
