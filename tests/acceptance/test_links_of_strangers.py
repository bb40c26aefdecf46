"""A link in somebody else's warehouse leads no command to what is the user's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from building import SESSION, Made, day_key, instant, make, trade
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.errors import ForeignWarehouseError

STRANGER = 12_345
EARLIER = SESSION.replace(day=30)
PLACES = (
    *("raw", "raw/trades", "raw/trades/2024", "raw/trades/2024/01"),
    *("raw/trades/2024/01/2024-01-31.csv.gz", "raw/trades/2024/01/2024-01-31.csv.gz.old"),
    *("cache", "cache/trades", "cache/trades/AAPL", "cache/trades/AAPL/2024_01.parquet"),
    *("rejects", "rejects/trades", "rejects/trades/2024_01"),
    *("ledger", "ledger/trades", "ledger/trades/2024_01.parquet"),
    *("manifests", "manifests/trades", "history", "history/runs", "recipes", "schema"),
    *("schema/trades.parquet", "set_aside", "staging", "refused", "logs", "metrics"),
    *("logs/warehouse.jsonl", "metrics/warehouse.prom", "warehouse.duckdb", "source.txt"),
    *("writer.lock", "writer.txt", "publish.json", "warehouse.duckdb.wal", "warehouse.id"),
)
COMMANDS = (
    ("update", "trades", "--start", str(EARLIER), "--end", str(SESSION)),
    ("verify", "--repair"),
    ("rebuild", "trades", "--fetch"),
    ("prune",),
    ("validate",),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make(
        tmp_path_factory.mktemp("published"),
        {day_key("trades", SESSION): [trade("AAPL", instant(SESSION)), "too,few"]},
        storage__retention_days=0,
    )
    made.update("trades")
    return made


def copied(published: Made, folder: Path) -> Made:
    """The warehouse once more, with a file to fetch and one that was restated at its source."""
    shutil.copytree(published.root.parent, folder, symlinks=True)
    made = Made(folder / "warehouse", folder / "source")
    made.configure(source__url=str(made.source), storage__retention_days=0)
    # Else nothing would be replaced: the files come from elsewhere now.
    made.layout.source_note.unlink()
    made.put(day_key("trades", EARLIER), [trade("AAPL", instant(EARLIER))])
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), price=9), "too,few"])
    return made


def given_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, STRANGER, STRANGER)


def all_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """What stands in a folder: its names, whose they are, and what is in the files."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (facts.st_uid, facts.st_mode, facts.st_nlink, content)
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another")
@pytest.mark.parametrize("place", PLACES)
def test_what_a_link_of_a_strangers_leads_to_stays_as_it_is(
    place: str, published: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    made = copied(published, tmp_path / "theirs")
    own = tmp_path / "own"
    own.mkdir()
    link = made.layout.data / place
    target = own / link.name
    if os.path.lexists(link):
        shutil.move(link, target)
    elif link.suffix:
        target.write_text("the user's")
    else:
        target.mkdir()
        (target / "theirs").write_text("the user's")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    given_away(tmp_path / "theirs")
    before = all_of(own)

    for command in COMMANDS:
        done = CliRunner().invoke(cli, ["-C", str(made.root), *command])
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert all_of(own) == before, (command, done.output)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another")
@pytest.mark.parametrize("is_theirs", [False, True], ids=["of the user", "of the stranger"])
def test_no_row_of_the_users_comes_through_a_partition_of_a_strangers_that_is_a_link(
    is_theirs: bool, published: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    made = copied(published, tmp_path / "theirs")
    private = make(
        tmp_path / "own", {day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]}
    )
    private.update("trades")
    link = made.layout.cache / "trades/AAPL/2024_01.parquet"
    target = private.layout.cache / "trades/AAPL/2024_01.parquet"
    link.unlink()
    link.symlink_to(target)
    given_away(tmp_path / "theirs")
    if is_theirs:
        given_away(tmp_path / "own")
        assert made.update("trades").files
    else:
        with pytest.raises(ForeignWarehouseError, match="nothing is written into somebody else's"):
            made.update("trades")
        assert link.is_symlink()
        assert CliRunner().invoke(cli, ["-C", str(made.root), "status"]).exit_code == 0
