"""A month in two stages on a cluster is, byte for byte, what one unit makes of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from building import (
    Made,
    bar,
    day_key,
    instant,
    make,
    quote,
    random_trades,
    symbol_key,
    trade,
)
from executors.apart import Apart, apart, in_two_stages
from executors.engines import cluster, settings
from executors.test_engines import published

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.errors import SqlFileError
from warehouse.ingest.row_sorter import RowSorter, SortedRows
from warehouse.ingest.two_stages import symbol_ranges
from warehouse.ingest.two_stages.symbol_ranges import SymbolRanges
from warehouse.pipeline.report import RunReport
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO

DAYS = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10)]
# Not in the order of their bytes, so that a file's rows are stored in another order than theirs.
SYMBOLS = ("é", "AAPL", "a", "BCpC", "MSFT", "ZZZ")


@pytest.fixture(scope="module", params=["ray", pytest.param("spark", marks=pytest.mark.torture)])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with cluster(request.param):
        yield request.param


def first_days() -> dict[str, Any]:
    """An ordinary session, one that is nearly all of one symbol, one without a line, and one of
    which every line is refused."""
    of_spy = random_trades(["SPY"], 5_000, DAYS[1], seed=1)
    return {
        day_key("trades", DAYS[0]): [*random_trades(SYMBOLS, 300, DAYS[0]), "too,few", ",,,"],
        day_key("trades", DAYS[1]): [*random_trades(SYMBOLS, 60, DAYS[1]), *of_spy],
        day_key("trades", DAYS[2]): [],
        day_key("trades", DAYS[6]): [trade("AAPL", instant(DAYS[0])), "too,few"],
        day_key("quotes", DAYS[0]): [quote("AAPL", instant(DAYS[0]) + n, n) for n in range(9)],
        day_key("minute_aggs", DAYS[0]): [bar("AAPL", instant(DAYS[0])), bar("A", 1)],
    }


def other_days() -> dict[str, Any]:
    """A symbol of one session alone, one with a file of its own, no gzip, symbols mixed."""
    own = [trade("AAPL", instant(DAYS[3]) + n, n, price=7) for n in range(5)]
    return {
        day_key("trades", DAYS[3]): random_trades(("AAPL", "ONLY"), 80, DAYS[3]),
        symbol_key("trades", DAYS[3], "AAPL"): own,
        day_key("trades", DAYS[4]): b"this is no gzip",
        day_key("trades", DAYS[5]): random_trades(SYMBOLS, 300, DAYS[5], by_time=True),
        day_key("quotes", DAYS[3]): [
            quote(symbol, instant(DAYS[3]) + n, n) for symbol in ("AAPL", "B") for n in range(9)
        ],
    }


def restated() -> dict[str, Any]:
    """The same sessions anew, of which one no longer has a symbol that it alone had."""
    return {
        day_key("trades", DAYS[3]): random_trades(("AAPL", "SPY"), 90, DAYS[3], seed=5),
        day_key("trades", DAYS[0]): random_trades(SYMBOLS, 200, DAYS[0], seed=5),
    }


def told(report: RunReport, made: Made) -> list[Any]:
    """What a run says of each file, wherever the warehouse lies."""
    return [
        (
            item.file.key,
            item.problem and item.problem.replace(str(made.root), ""),
            item.rows_published,
            item.rows_rejected,
            item.rows_unselected,
            item.reasons,
            item.carried,
            item.facts.lines,
            item.etag is None,
        )
        for item in sorted(report.files, key=lambda item: item.file.key)
    ]


def put_and_update(files: Callable[[], dict[str, Any]]) -> Callable[[Made], RunReport]:
    def step(made: Made) -> RunReport:
        for key, content in files().items():
            made.put(key, content)
        return made.update()

    return step


STEPS = (
    put_and_update(first_days),
    put_and_update(other_days),
    put_and_update(restated),
    lambda made: made.rebuild("trades", symbols=["SPY", "AAPL", "ONLY"]),
    lambda made: made.rebuild(),
)


def findings(report: RunReport) -> list[Any]:
    return [vars(found) for found in report.findings]


def check_equal(
    here: Made, there: Made, on_cluster: Callable[[], AbstractContextManager[Any]]
) -> None:
    """Take every step here, and on a cluster there."""
    for step in STEPS:
        first = step(here)
        with on_cluster():
            second = step(there)
        assert told(second, there) == told(first, here)
        assert published(there) == published(here)
        assert there.everything() == here.everything()
        assert findings(second) == findings(first) != []
        assert there.verify().faults == []
        assert list(there.layout.staging.iterdir()) == []


def test_the_bytes_are_those_of_one_unit_on_an_engine(engine: str, tmp_path: Path) -> None:
    here = make(tmp_path / "here")
    there = make(tmp_path / "there", **settings(engine))
    check_equal(here, there, in_two_stages)


@pytest.mark.parametrize(
    "at_once",
    [2, 50, *(pytest.param(some, marks=pytest.mark.torture) for some in (1, 3, 5, 8))],
)
def test_where_the_ranges_are_cut_changes_no_byte(at_once: int, tmp_path: Path) -> None:
    here, there = (make(tmp_path / name) for name in ("here", "there"))
    executor = Apart(at_once)
    check_equal(here, there, partial(apart, executor))
    assert set(executor.begun) == {"read", "build"}
    assert executor.most <= at_once + 1
    if at_once == 50:  # each symbol is a range
        assert executor.begun.count("build") > len(STEPS) * len(SYMBOLS)


def test_rows_that_go_by_the_disk_in_every_step_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (make(tmp_path / name, first_days() | other_days()) for name in "ab")
    here.update()
    monkeypatch.setattr(RowSorter, "is_full", property(lambda self: True))
    there.configure(processing__chunk_size=1000)
    with apart(Apart(3)):
        there.update()
    assert published(there) == published(here)


def test_the_demo_market_is_the_same(tmp_path: Path) -> None:
    write(DEMO, tmp_path / "market")
    here, there = (
        make(tmp_path / name, source__url=str(tmp_path / "market")) for name in ("here", "there")
    )
    for made in (here, there):
        made.source = tmp_path / "market"
    here.update()
    executor = Apart(4)
    with apart(executor):
        there.update()
    assert "build" in executor.begun
    assert published(there) == published(here)
    assert {path.split("/")[0] for path in here.partitions()} == set(DATA_TYPES)
    assert there.verify().faults == []


@pytest.mark.parametrize("kind", ["trades", "quotes"])
def test_real_ticks_are_the_same(kind: str, real_flatfiles: Path, tmp_path: Path) -> None:
    days = {"start": date(2013, 10, 7), "end": date(2013, 10, 9)}
    here, there = (make(tmp_path / name, source__url=str(real_flatfiles)) for name in "ab")
    here.update(kind, **days)
    executor = Apart(4)
    with apart(executor):
        there.update(kind, **days)
    assert executor.begun == ["read"] * 3 + ["build"] * (4 if kind == "trades" else 2)
    assert published(there) == published(here)
    assert len(here.partitions()) == (4 if kind == "trades" else 2)


@pytest.mark.parametrize("step", ["ingest", "clean", "dedupe"])
def test_sql_that_fails_is_told_as_it_is_here(step: str, tmp_path: Path) -> None:
    errors = []
    for name in ("here", "there"):
        made = make(tmp_path / name, first_days())
        path = made.root / f"sql/{step}/trades.sql"
        text = path.read_text("utf-8")
        at = text.rindex("from ")
        path.write_text(f"{text[:at]}from nowhere where", "utf-8")
        on = apart(Apart(4)) if name == "there" else nullcontext()
        with on, pytest.raises(SqlFileError) as caught:
            made.update()
        errors.append(str(caught.value).replace(str(made.root), ""))
        # The others went on.
        assert {path.split("/")[0] for path in made.partitions()} == {"quotes", "minute_aggs"}
    assert errors[0] == errors[1]
    assert f"{step}/trades.sql" in errors[0]


def test_a_batch_in_which_rules_find_errors_is_refused_as_it_is_here(tmp_path: Path) -> None:
    rule = (
        "-- validate/never: every trade is one too many.\n-- grain: one row per trade\n"
        "-- severity: error\n-- data_types: trades\n-- on_ingest: yes\n"
        "select symbol, session, timestamp from checked\n"
    )
    refused = []
    for name in ("here", "there"):
        made = make(tmp_path / name, first_days())
        (made.root / "sql/validate/never.sql").write_text(rule, "utf-8")
        with apart(Apart(4)) if name == "there" else nullcontext():
            (one,) = made.update().refused
        assert list(made.layout.staging.iterdir()) == []
        record = json.loads((one.folder / "refused.json").read_text("utf-8"))
        kept = {symbol: (one.folder / path) for symbol, path in record.pop("partitions").items()}
        # Of what was read nothing else is left but rejects.
        others = {path.name for path in one.folder.rglob("*.*")} - {kept[s].name for s in kept}
        assert {name.split("-")[0] for name in others} == {"refused.json", "rejects"}
        refused.append((record, {symbol: path.read_bytes() for symbol, path in kept.items()}))
        assert not any(path.startswith("trades") for path in made.partitions())
    assert refused[0] == refused[1]
    assert len(refused[0][1]) == len(SYMBOLS) + 1


def test_a_file_whose_rows_do_not_add_up_is_set_aside_and_the_others_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = RowSorter.add

    def loses_a_row(self: RowSorter, file: RawFile, rows: pa.Table) -> None:
        is_bad = (file.data_type, file.day) in (("trades", DAYS[0]), ("trades", DAYS[1]))
        add(self, file, rows.slice(1) if is_bad else rows)

    monkeypatch.setattr(RowSorter, "add", loses_a_row)
    here, there = (make(tmp_path / name, first_days() | other_days()) for name in "ab")
    first = here.update()
    executor = Apart(3)
    with apart(executor):
        second = there.update()
    assert told(second, there) == told(first, here)
    assert [problem for _, problem, *_ in told(second, there) if problem and "kept" in problem]
    assert published(there) == published(here)
    # The files are read once, whatever is wrong with one.
    assert executor.begun.count("read") == 7 + 2 + 1
    assert list(there.layout.staging.iterdir()) == []


def test_a_small_batch_is_one_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path, first_days())
    executor = Apart(3)
    with apart(executor):
        monkeypatch.setattr("warehouse.pipeline.pipeline.LARGE_BYTES", 1 << 20)
        made.update()
    assert set(executor.begun) == {"stage"}
    # With what it is merged with it is large.
    made.put(day_key("trades", DAYS[3]), [trade("AAPL", instant(DAYS[3]))])
    size = sum(path.stat().st_size for path in made.partitions().values())
    with apart(executor):
        monkeypatch.setattr("warehouse.pipeline.pipeline.LARGE_BYTES", size // 2)
        made.update("trades")
    assert executor.begun[-2:] == ["read", "build"]


def test_ranges_follow_on_each_other_and_none_but_a_lone_symbol_has_much_more_than_its_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(symbol_ranges, "LEAST_ROWS", 1)
    dice = random.Random(61)
    for _ in range(200):
        names = {"".join(dice.choices("aAzZ9é", k=dice.randrange(1, 5))) for _ in range(60)}
        rows = {name: int(10 ** dice.uniform(0, 7)) for name in names}
        most = dice.randrange(1, 20)
        found = SymbolRanges(rows, most)
        places = [found.place(name) for name in sorted(names)]
        assert places == sorted(places)
        assert set(places) == set(range(len(found)))
        each: list[list[int]] = [[] for _ in range(len(found))]
        for name in names:
            low, end = found.bounds(found.place(name))
            assert low <= name < (end or chr(0x10FFFF))
            each[found.place(name)].append(rows[name] + 4_096)
        part = sum(map(sum, each)) / most
        assert all(sum(some) <= part + 1 or len(some) == 1 for some in each)
        assert len(found) <= 2 * most
        # Those that no file brings have their place too.
        assert found.place("\0") == 0
        assert found.place(chr(0x10FFFF)) == len(found) - 1


def test_rows_of_a_range_are_those_of_its_symbols_wherever_they_are_stored() -> None:
    dice = random.Random(7)
    for _ in range(100):
        names = sorted(dice.sample(SYMBOLS, dice.randrange(1, len(SYMBOLS))))
        stored = dice.sample(names, len(names))
        told_of = [(name, day, dice.randrange(1, 5)) for name in stored for day in DAYS[:2]]
        held = [(name, day, n) for name, day, rows in told_of for n in range(rows)]
        columns = dict(zip(("symbol", "session", "rows"), zip(*told_of, strict=True), strict=True))
        table = pa.table(
            dict(zip(("symbol", "session", "n"), zip(*held, strict=True), strict=True))
        )
        every = SortedRows(pa.table(columns), table.num_rows, 0, held=table)
        first, end = sorted((dice.choice(["", *SYMBOLS]), dice.choice(SYMBOLS)))
        bounds = (first, dice.choice((end, None)))
        some = every.of_symbols(*bounds)
        expected = sorted(
            row for row in held if bounds[0] <= row[0] and (bounds[1] is None or row[0] < bounds[1])
        )
        assert some.rows == len(expected)
        assert sum(some.entries["rows"].to_pylist()) == len(expected)
        for low in range(some.rows):
            high = dice.randrange(low + 1, some.rows + 1)
            rows = some.between(low, high).to_pylist()
            assert [tuple(row.values()) for row in rows] == expected[low:high]
