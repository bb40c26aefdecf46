"""Two configurations that name one cache folder are one warehouse, and must have one source."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
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
