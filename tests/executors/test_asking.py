"""Questions that are answered on a cluster have the answers that they have here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from building import Made, day_key, instant, make, random_trades, trade
from executors.engines import cluster, settings
from executors.units import restated_meanwhile
from featuring import FEATURES

from warehouse import Warehouse
from warehouse.bars.adjustment import Factors
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.request import Request
from warehouse.errors import EngineError, FunctionError
from warehouse.executors.work import Executor, results
from warehouse.read.answers import Answers
from warehouse.read.bars.answers import BarPart, Piece
from warehouse.read.bars.question import question
from warehouse.store.catalog import await_generation
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 2, 1), date(2024, 2, 2)]
SYMBOLS = ("AAPL", "BCpC", "MSFT")


@pytest.fixture(scope="module", params=["ray", pytest.param("spark", marks=pytest.mark.torture)])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    with cluster(request.param):
        yield request.param


@pytest.fixture(scope="module", params=["symbol", "market"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    files = {day_key("trades", day): random_trades(SYMBOLS, 200, day) for day in DAYS}
    laid = dict.fromkeys(DATA_TYPES, request.param)
    made = make(tmp_path_factory.mktemp(request.param), files, storage__layout=laid)
    made.update()
    return made


@pytest.fixture
def here(made: Made) -> Iterator[Warehouse]:
    made.configure(processing__engine="local")
    with Warehouse(made.root) as opened:
        yield opened


@pytest.fixture
def there(made: Made, here: Warehouse, engine: str) -> Iterator[Warehouse]:
    made.configure(**settings(engine))
    with Warehouse(made.root) as opened:
        yield opened


@pytest.fixture(scope="module", params=["demo", pytest.param("real", marks=pytest.mark.torture)])
def market(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Made, date, date]:
    """A warehouse of the demo market, or of real days; its first and its last session."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "demo":
        made = make(folder, storage__layout=dict.fromkeys(DATA_TYPES, "market"))
        write(replace(DEMO, trades_per_session=3_000, quotes_per_session=2_000), made.source)
        first, last = DEMO.sessions[0], DEMO.sessions[-1]
    else:
        source = request.getfixturevalue("real_flatfiles")
        made = make(folder, source__url=str(source), source__symbols=["BAC", "IBM"])
        first, last = date(2013, 10, 7), date(2013, 10, 9)
    made.pipeline.update(Request.of((), first, last))
    return made, first, last


@contextmanager
def both(made: Made, engine: str) -> Iterator[tuple[Warehouse, Warehouse]]:
    """The warehouse, opened to answer here and on a cluster."""
    made.configure(processing__engine="local")
    with Warehouse(made.root) as here:
        made.configure(**settings(engine))
        with Warehouse(made.root) as there:
            yield here, there


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """The numbers of the units that come back from a cluster, by way of what bears that name."""
    found: list[int] = []

    def counts(executor: Executor, units: Any) -> Any:
        for number, result in results(executor, units):
            found.append(number)
            yield number, result

    monkeypatch.setattr(name, counts)
    return found


NEVER = """-- validate/{name}: {name}.
-- grain: one row per row
-- severity: warning
-- data_types: trades
-- on_ingest: no
select symbol, session, timestamp, {what} as what
from checked
"""


def test_rules_find_what_they_find_here_and_fail_as_they_do(
    engine: str, market: tuple[Made, date, date], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, first, last = market
    with Warehouse(made.root) as wh:
        rows = int(wh.catalog()["rows"].sum())
    monkeypatch.setattr("warehouse.validation.validate._UNIT_ROWS", rows // 8)
    sent = counted(monkeypatch, "warehouse.validation.validate.results")
    rules = {"found": "'every row'", "failing": "error('as it is meant to')"}
    for name, what in rules.items():
        path = made.root / f"sql/validate/{name}.sql"
        path.write_text(NEVER.format(name=name, what=what), "utf-8")
    told = []
    for options in ({"processing__engine": "local"}, settings(engine)):
        made.configure(**options)
        sent.clear()
        report = made.pipeline.validate(Request.of((), first, last))
        with Warehouse(made.root) as wh:
            findings = wh.catalog("findings").drop(columns=["run_id", "checked_at"]).to_csv()
        broken = [(one.name, str(one.error), one.on_ingest) for one in report.broken]
        told.append((report.results, broken, report.rules, report.held, report.looked_at, findings))
    assert len(sent) > 2
    assert told[0] == told[1]
    assert [name for name, *_ in told[0][1]] == ["failing"]
    assert any(one.rule == "found" for one in told[0][0])
    for name in rules:
        (made.root / f"sql/validate/{name}.sql").unlink()


def test_verify_finds_the_faults_that_it_finds_here(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, Any] = {
        day_key("trades", day): [*random_trades(SYMBOLS, 50, day), "too,few"] for day in DAYS
    }
    made = make(tmp_path, files)
    made.update()
    partitions, data = sorted(made.partitions().values()), made.root / "data"
    flipped = bytearray(partitions[0].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    partitions[0].write_bytes(flipped)
    partitions[1].unlink()
    (raw, other) = sorted((data / "raw").rglob("*.csv.gz"))[:2]
    raw.write_bytes(raw.read_bytes()[:-1])
    other.unlink()
    next(iter(sorted((data / "rejects").rglob("*.parquet")))).write_bytes(b"")
    monkeypatch.setattr("warehouse.maintenance.verify_units._UNIT_BYTES", 10_000)
    sent = counted(monkeypatch, "warehouse.maintenance.verify_units.results")
    told = []
    for options in ({"processing__engine": "local"}, settings(engine)):
        made.configure(**options)
        sent.clear()
        report = made.verify()
        facts = [(one.path, one.kind, one.problem, one.subject) for one in report.faults]
        told.append((facts, report.files, report.bytes, report.waiting, report.pruned))
    assert len(sent) > 2
    assert told[0] == told[1]
    assert {kind for _, kind, *_ in told[0][0]} >= {"partition", "raw", "rejects"}


def test_what_a_worker_faults_is_looked_at_here_before_it_is_said(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {day_key("trades", day): random_trades(SYMBOLS, 50, day) for day in DAYS}
    made = make(tmp_path, files, **settings(engine))
    made.update()
    monkeypatch.setattr("warehouse.maintenance.verify_units._UNIT_BYTES", 10_000)
    monkeypatch.setattr("warehouse.maintenance.verify_units.results", all_missing)
    assert made.verify().faults == []


def all_missing(executor: Executor, units: Any) -> Any:
    """As if a worker saw an empty folder."""
    for number, result in results(executor, units):
        yield number, [("missing", 0) for _ in result]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The units that go to a cluster, however little is asked."""
    monkeypatch.setattr("warehouse.read.features.question._MANY_ROWS", 0)
    monkeypatch.setattr("warehouse.read.features.question._PART_ROWS", 1)
    return counted(monkeypatch, "warehouse.read.answers.results")


@pytest.mark.parametrize(
    "names",
    [
        ("amihud", "effective_spread", "volume_ma"),
        pytest.param([*FEATURES], marks=pytest.mark.torture),
    ],
    ids=["few", "all"],
)
def test_a_feature_has_the_rows_that_it_has_here(
    names: list[str], engine: str, market: tuple[Made, date, date], sent: list[int]
) -> None:
    made, first, last = market
    with both(made, engine) as (here, there):
        symbols = here.symbols("quotes")
        for name in names:
            sent.clear()
            asked: tuple[Any, ...] = (name, symbols, first, last)
            expected = here.features(*asked, missing="ignore")
            assert sent == []
            found = there.features(*asked, missing="ignore")
            assert len(sent) > 1
            pd.testing.assert_frame_equal(found, expected)
            assert found.attrs == expected.attrs
            assert len(found) > 0


BARS: tuple[dict[str, Any], ...] = (
    {"every": "5m", "hours": "all"},
    {"every": "1d", "columns": ["timestamp", "open", "official_open", "volume"]},
    {"every": "1h", "fill": True, "tz": "America/New_York"},
    {"every": 300, "by": "tick"},
    {"every": 20_000, "by": "dollar", "excess": "split"},
)


@pytest.mark.parametrize(("which", "to"), [("*", "arrow"), ("named", "pandas")])
def test_bars_are_those_that_are_built_here(
    which: str,
    to: Any,
    engine: str,
    market: tuple[Made, date, date],
    sent: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, first, last = market
    with both(made, engine) as (here, there):
        symbols = "*" if which == "*" else here.symbols("trades")[::-1]
        rows = here.query("select count(*) from trades").iat[0, 0]
        monkeypatch.setattr("warehouse.read.bars.answers._PIECE_ROWS", rows // 4)
        for options in BARS:
            sent.clear()
            expected = here.bars(symbols, first, last, missing="ignore", to=to, **options)
            assert sent == []
            found = there.bars(symbols, first, last, missing="ignore", to=to, **options)
            assert len(sent) > 1
            if to == "arrow":
                assert found.equals(expected, check_metadata=True)
            else:
                pd.testing.assert_frame_equal(found, expected)
                assert found.attrs == expected.attrs
            assert len(found) > 0


@pytest.mark.parametrize("asked", ["features", "bars"])
def test_a_publish_while_it_is_measured_is_in_the_rows_whole(
    asked: str, engine: str, tmp_path: Path, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.read.bars.answers._PIECE_ROWS", 20)
    made = make(tmp_path, {day_key("trades", DAYS[0]): random_trades(SYMBOLS, 60, DAYS[0])})
    made.update()
    made.configure(**settings(engine))
    made.put(day_key("trades", DAYS[0]), random_trades(SYMBOLS, 60, DAYS[0], seed=1))

    def published_meanwhile(executor: Executor, units: Any) -> Any:
        for number, result in results(executor, units):
            if not sent:
                made.configure(processing__engine="local")
                made.update()
            sent.append(number)
            yield number, result

    monkeypatch.setattr("warehouse.read.answers.results", published_meanwhile)

    def rows(wh: Warehouse) -> pd.DataFrame:
        if asked == "features":
            return wh.features("trade_sign", SYMBOLS, DAYS[0], missing="ignore")
        return wh.bars(SYMBOLS, DAYS[0], every="1h", hours="all")

    with Warehouse(made.root) as wh:
        found = rows(wh)
    times = len(sent)
    with Warehouse(made.root) as wh:
        expected = rows(wh)
    pd.testing.assert_frame_equal(found, expected)
    assert found.attrs == expected.attrs
    # What was asked before is void.
    assert times > len(SYMBOLS)


def test_a_part_that_rests_on_something_else_is_refused(made: Made) -> None:
    made.configure(processing__engine="local")
    asked = question("AAPL", DAYS[0], every="1h")
    piece = Piece({"AAPL": []}, asked.span)
    part = BarPart(made.root / "sql", asked, piece, Factors(), "of another generation")
    answers = Answers(made.layout, made.config)
    with pytest.raises(EngineError, match="finds other partitions, statements or settings"):
        part(answers)
    answers.close()


def test_a_worker_that_sees_an_earlier_generation_waits_and_then_says_so(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([1, 1, 2])
    await_generation(made.layout, 2, lambda: next(seen))
    assert list(seen) == []
    monkeypatch.setattr("warehouse.store.catalog._PATIENCE_SECONDS", 0)
    with pytest.raises(
        EngineError, match=r"sees generation 1 of .*, and not 2, which is published"
    ):
        await_generation(made.layout, 2, lambda: 1)


def test_few_rows_are_measured_here(made: Made, engine: str) -> None:
    with both(made, engine) as (_, there), pytest.MonkeyPatch.context() as patch:
        patch.setattr("warehouse.executors.engine.open_executor", None)
        assert len(there.features("vwap", SYMBOLS, DAYS[0], freq=None, missing="ignore")) > 0
        assert len(there.bars(SYMBOLS, DAYS[0], DAYS[-1], missing="ignore", every="1h")) > 0


@pytest.mark.parametrize("by", ["symbol", "session"])
@pytest.mark.parametrize("symbols", ["*", ("MSFT", "AAPL")])
def test_a_function_comes_to_the_same(
    symbols: Any, by: Any, here: Warehouse, there: Warehouse
) -> None:
    factor = 7

    def scaled(trades: pd.DataFrame) -> pd.DataFrame:
        # Neither it nor what it holds stands in a module that a worker could import.
        return trades.assign(scaled=trades["price"] * factor, day=trades["session"].dt.day_name())

    asked: tuple[Any, ...] = (symbols, DAYS[0], DAYS[-1])
    options: dict[str, Any] = {"by": by, "missing": "ignore", "categories": True}
    found = there.map(scaled, *asked, **options)
    pd.testing.assert_frame_equal(found, here.map(scaled, *asked, **options))
    assert len(found) > 100


def test_a_function_is_called_in_processes_of_the_cluster(there: Warehouse) -> None:
    found = there.map(lambda rows: os.getpid(), SYMBOLS, DAYS[0])
    assert os.getpid() not in found["value"].tolist()


def test_of_one_symbol_it_is_called_here(there: Warehouse) -> None:
    found = there.map(lambda rows: os.getpid(), "AAPL", DAYS[0])
    assert found["value"].tolist() == [os.getpid()]


def test_what_a_function_raises_is_told_as_it_is_here(here: Warehouse, there: Warehouse) -> None:
    told = []
    for one in (here, there):
        with pytest.raises(FunctionError) as error:
            one.map(lambda rows: 1 / (rows["symbol"].iloc[0] != "BCpC"), "*", DAYS[0])
        told.append((str(error.value), error.value.function, error.value.key))
        assert "ZeroDivisionError" in error.value.__notes__[0]
    assert told[0] == told[1]
    # It is as it was.
    assert len(there.map(len, "*", DAYS[0])) == len(SYMBOLS)


def test_a_worker_that_is_killed_while_it_is_asked_costs_no_row(
    here: Warehouse, there: Warehouse, tmp_path: Path
) -> None:
    mark = tmp_path / "been here"

    def kills_once(rows: pd.DataFrame) -> int:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return len(rows)
        os.kill(os.getpid(), signal.SIGKILL)
        return -1

    found = there.map(kills_once, "*", DAYS[0])
    assert mark.exists()
    pd.testing.assert_frame_equal(found, here.map(len, "*", DAYS[0]))


def test_a_function_that_cannot_travel_is_told(there: Warehouse) -> None:
    lock = threading.Lock()
    with pytest.raises(EngineError, match=r"what is to be run cannot be sent to a worker.*lock"):
        there.map(lambda rows: lock.locked(), "*", DAYS[0])


def test_a_publish_in_between_is_in_the_answer_whole(engine: str, tmp_path: Path) -> None:
    days = (date(2024, 1, 31), date(2024, 2, 1))
    files = {day_key("trades", day): [trade("AAPL", instant(day), price=1)] for day in days}
    made = make(tmp_path, files, **settings(engine))
    made.update()
    made.put(day_key("trades", days[1]), [trade("AAPL", instant(days[1]), price=2)])
    with Warehouse(made.root) as wh:
        published = partial(restated_meanwhile, made, days[1])
        found = wh.map(published, "AAPL", *days, by="session")
    assert found["price"].tolist() == [1.0, 2.0]
    asked = [line.split()[0] for line in (made.root / "asked.txt").read_text().splitlines()]
    # Of the session that was not restated it was not asked again.
    assert sorted(asked) == [str(days[0]), str(days[1]), str(days[1])]


def test_a_worker_that_does_not_share_the_folder_is_refused(
    there: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert there.symbols() == list(SYMBOLS)
    monkeypatch.setattr("warehouse.store.data_folder_id.id_of", lambda layout: "another's")
    with pytest.raises(EngineError, match="on a path that all its machines share"):
        there.map(len, "*", DAYS[0])


def test_what_a_worker_cannot_import_is_told(there: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "of_mine_alone.py").write_text("def rows(frame): return len(frame)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        from of_mine_alone import rows  # type: ignore[import-not-found]

        with pytest.raises(EngineError, match=r"cannot import what it is to run.*of_mine_alone"):
            there.map(rows, "*", DAYS[0])
