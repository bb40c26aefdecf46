"""One file or folder that is gone, damaged, or something else: what hangs on it alone stops."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from building import SESSION, Made, bar, day_key, instant, make, quote, trade
from click.testing import CliRunner

from warehouse.cli.main import cli

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))
EARLIER = SESSION.replace(day=30)
DAYS = ("--start", str(EARLIER), "--end", str(SESSION))
TYPES = ("trades", "quotes", "day_aggs")
DAMAGE = ("missing", "garbage", "other", "dangling", "empty")
PLACES = (
    *("cache", "cache/quotes", "cache/quotes/AAPL", "cache/quotes/AAPL/*.parquet"),
    *("cache/bars_1h", "cache/bars_1h/AAPL", "cache/bars_1h/AAPL/*.parquet"),
    *("raw", "raw/quotes", "raw/quotes/2024", "raw/quotes/2024/01", "raw/quotes/*/*/*.csv.gz"),
    *("rejects", "rejects/quotes", "rejects/quotes/2024_01", "rejects/quotes/*/*.parquet"),
    *("ledger", "ledger/quotes", "ledger/quotes/*.parquet"),
    *("manifests", "manifests/quotes", "manifests/quotes/*.parquet"),
    *("manifests/bars_1h", "manifests/bars_1h/*.parquet"),
    *("history", "history/runs", "history/runs/*.parquet", "history/findings"),
    *("history/findings/trades", "history/findings/trades/*.parquet"),
    *("schema", "schema/quotes.parquet", "schema/partitions.parquet", "schema/bars_1h.parquet"),
    *("recipes", "logs", "logs/warehouse.jsonl", "metrics", "metrics/warehouse.prom", "staging"),
    *("warehouse.duckdb", "source.txt", "warehouse.id", "writer.lock"),
)
NOWHERE = "/nowhere/at/all"
FOR_ALL = {
    "missing": {"cache"},
    "empty": {"cache"},
    "other": {"cache", "raw", "ledger", "manifests", "history", "recipes", "schema", "staging"}
    | {"source.txt", "warehouse.id", "writer.lock"},
    "dangling": {"cache", "raw", "rejects", "ledger", "manifests", "history", "recipes", "schema"}
    | {"staging", "logs", "metrics", "ledger/quotes", "manifests/quotes", "manifests/bars_1h"}
    | {"history/runs", "history/findings", "history/findings/trades", "writer.lock"},
}
"""What an update of trades cannot do without, though it is not of trades alone."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make(
        tmp_path_factory.mktemp("published"),
        {
            day_key("trades", SESSION): [trade("AAPL", instant(SESSION)), "too,few"],
            day_key("quotes", SESSION): [quote("AAPL", instant(SESSION)), "too,few"],
            day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))],
        },
        bars__keep=["1h"],
    )
    made.update(*TYPES)
    return made


def damage(path: Path, how: str) -> None:
    is_folder = path.is_dir()
    if how == "empty" and is_folder:
        for below in list(path.iterdir()):
            shutil.rmtree(below) if below.is_dir() else below.unlink()
        return
    shutil.rmtree(path) if is_folder else path.unlink()
    if how in ("empty", "garbage"):
        path.write_bytes(b"" if how == "empty" else b"\0garbage\xff" * 50)
    elif how == "dangling":
        path.symlink_to(NOWHERE)
    elif how == "other" and is_folder:
        path.write_text("the user's")
    elif how == "other":
        path.mkdir()
        (path / "theirs").write_text("the user's")


def clear(path: Path) -> None:
    """What a person does who is told that it is in the way."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def asked(made: Made, *command: str, may_fail: bool = False) -> str:
    done = CliRunner().invoke(cli, ["-C", str(made.root), *command])
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert may_fail or done.exit_code == 0, (command, done.output)
    return str(done.output)


def rows(made: Made, data_type: str) -> int:
    found = asked(made, "query", f"select count(*) as n from {data_type}", "--format", "csv")
    return int(found.split()[1])


def cells() -> Iterator[tuple[str, str]]:
    for number, place in enumerate(PLACES):
        applicable = [how for how in DAMAGE if "." in place or how != "garbage"]
        # In the short form each place is tried in one way, and each way at many places.
        yield from (
            ((place, how) for how in applicable)
            if LONG
            else [(place, applicable[number % len(applicable)])]
        )


@pytest.mark.torture
@pytest.mark.parametrize(("place", "how"), [*cells()])
def test_one_bad_place_stops_what_hangs_on_it_alone_and_the_advice_settles_it(
    place: str, how: str, published: Made, tmp_path: Path
) -> None:
    shutil.copytree(published.root.parent, tmp_path / "copy", symlinks=True)
    made = Made(tmp_path / "copy/warehouse", tmp_path / "copy/source")
    made.configure(source__url=str(made.source))
    (path,) = made.layout.data.glob(place)
    damage(path, how)
    made.put(day_key("trades", EARLIER), [trade("AAPL", instant(EARLIER))])

    for command in (("status",), ("query", "select count(*) from trades"), ("verify",)):
        asked(made, *command, may_fail=True)
    told = asked(made, "update", *TYPES, *DAYS, may_fail=True)
    if place in FOR_ALL.get(how, ()):
        assert str(path) in told
    else:
        assert rows(made, "trades") == 2, told

    asked(made, "verify", "--repair", may_fail=True)
    verified = asked(made, "verify", may_fail=True)
    if "by hand" in verified:
        assert str(path.relative_to(made.root)) in verified
        clear(path)
        asked(made, "update", *TYPES, *DAYS, may_fail=True)
        asked(made, "verify", "--repair")
    asked(made, "verify")
    asked(made, "update", *TYPES)
    assert [rows(made, one) for one in TYPES] == [2, 1, 1]
