"""SQL answers from the files that its generation names, wherever the warehouse stands."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from building import REPOSITORY, SESSION, Made, bar, day_key, instant, make, quote, trade

from warehouse import Warehouse, symbolfacts
from warehouse.facts import gather as facts_of

SHELL = Path(sysconfig.get_path("scripts")) / "duckdb"
NOON = instant(SESSION, "12:00")
FILES = {
    day_key("trades", SESSION): [
        *(trade("AAPL", NOON + n * 10**9, n, price=10 + n / 8, size=100 + n) for n in range(8)),
        trade("MSFT", NOON, 1, price=0),
        trade("MSFT", NOON + 1, 2, price=400),
        "x",
    ],
    day_key("quotes", SESSION): [
        *(quote("AAPL", NOON + n * 10**9 - 5, n, bid=10, ask=10.25) for n in range(8)),
        quote("AAPL", 5),
    ],
    day_key("minute_aggs", SESSION): [bar("AAPL", NOON + n * 60 * 10**9) for n in range(3)],
    day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))],
}
QUESTIONS = (
    "select symbol, session, avg(price), sum(size), count(*) from trades group by all order by all",
    "select symbol, session, avg(bid_price), count(*) from quotes group by all order by all",
    "select symbol, session, sum(volume), min(open) from minute_aggs group by all order by all",
    "select symbol, session, volume, open, epoch_ns(timestamp) from day_aggs order by all",
    "select data_type, reason, symbol, session, price, source, line from rejects order by all",
    "select symbol, session, price, size from trades_of('AAPL') order by all",
    "select symbol, session, price, size from trades_of('AAPL', '2024-01-31', '2024-01-31')"
    " order by all",
    "select symbol, session, price from trades_beyond_quantile_of('AAPL', '2024-01-31',"
    " '2024-01-31', q := 0.5) order by all",
    "select symbol, session, price from trades_beyond_deviations_of('AAPL', '2024-01-31',"
    " '2024-01-31', n := 1) order by all",
    "select * from vwap_of('AAPL', '2024-01-31', '2024-01-31') order by all",
    "select * from effective_spread_of('AAPL', '2024-01-31', '2024-01-31') order by all",
    "select * from returns_of('AAPL', '2024-01-31', '2024-01-31', freq := 'day') order by all",
    "select id, name, updates_volume from trade_conditions order by all",
    "select * from quote_conditions order by all",
    "select * from exchanges order by all",
)


def by_shell(made: Made, *questions: str) -> str:
    """The answers of the real shell, started in the warehouse's folder."""
    if not SHELL.exists():
        pytest.skip("no duckdb shell beside this Python")
    done = subprocess.run(
        [str(SHELL), "-readonly", "-csv", "data/warehouse.duckdb"],
        cwd=made.root, input="".join(f"{one};\n" for one in questions),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def told(made: Made) -> dict[str, Any]:
    """What every interface says of a warehouse."""
    verified = made.verify()
    assert verified.faults == []
    with Warehouse(made.root) as wh:
        found: dict[str, Any] = {
            f"query {one}": wh.query(one).to_csv(index=False) for one in QUESTIONS
        }
        for name, frame in (
            ("trades", wh.trades("AAPL", SESSION, SESSION)),
            ("quotes", wh.quotes("AAPL", SESSION, SESSION)),
            ("minutes", wh.aggs("AAPL", SESSION, SESSION, freq="minute")),
            ("days", wh.aggs("AAPL", SESSION, SESSION, freq="day")),
            *((one, wh.features(one, "AAPL", SESSION, SESSION)) for one in ("vwap", "spread")),
        ):
            found[name] = frame.to_csv(index=False)
        with wh.stream(["AAPL"], SESSION, SESSION) as stream:
            found["stream"] = [batch.to_pylist() for batch in stream]
        validated = wh.validate()
        found["validate"] = [
            (one.rule, one.data_type, one.symbol, one.session, one.count, one.examples)
            for one in validated.results
        ]
        facts = facts_of(made.layout, made.config)
        (report,) = symbolfacts.added(facts, wh, made.layout, made.config, ["AAPL"]).symbols
    found["report"] = (facts.holdings, facts.coverage, facts.rejects, report)
    for each in facts.holdings.values():
        # A footer says in what folder of the source its rows stood, in so many bytes.
        each.pop("bytes")
    found["shell"] = by_shell(made, *QUESTIONS)
    found["rejects"] = made.rejects()
    found["rows"] = [made.table(name).to_pylist() for name in ("trades", "quotes", "day_aggs")]
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = make(tmp_path_factory.mktemp("plain"), FILES)
    made.update()
    return told(made)


@pytest.mark.parametrize(
    "folder",
    [
        "price=9",
        "symbol=prod/session=2020-01-01",
        "volume=5/open=1/size=7/bid_price=3/reason=none",
        "id=4/name=x/timestamp=2020-01-01/data_type=trades/line=1",
    ],
)
def test_a_folder_named_like_a_column_changes_no_answer(
    folder: str, plain: dict[str, Any], tmp_path: Path
) -> None:
    made = make(tmp_path / folder, FILES)
    made.update()
    # What stays is read back and written anew, beside what is replaced.
    made.rebuild("trades", symbols=["AAPL"])
    assert told(made) == plain


def test_every_reader_says_that_a_folder_is_no_column() -> None:
    """DuckDB and pyarrow take `price=9/` above a file for a column, unless they are told."""
    said = {
        r"\b(?:read_parquet|parquet_scan|read_csv)\s*\(": "hive_partitioning = false",
        r"\bpq\.read_table\(": "partitioning=None",
        r"\b(?:ds|dataset)\.dataset\(": "partitioning=None",
        r"\bpd\.read_parquet\(": "partitioning=None",
        r"\bpl\.(?:read|scan)_(?:parquet|csv)\(": "hive_partitioning=False",
    }
    found = 0
    for path in [
        *(REPOSITORY / "sql").rglob("*.sql"),
        *(REPOSITORY / "warehouse").rglob("*.py"),
        *(REPOSITORY / "examples").rglob("*.py"),
    ]:
        text = path.read_text("utf-8")
        for reader, wanted in said.items():
            for match in re.finditer(reader, text):
                found += 1
                call = _call(text, match.end())
                assert wanted in call, f"{path}: {match[0]}{call}"
    assert found > 10


def _call(text: str, start: int) -> str:
    """What stands between the parentheses of a call that opens just before `start`."""
    depth = 1
    for place, letter in enumerate(text[start:], start):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return text[start:place]
    raise AssertionError("a call without an end")
