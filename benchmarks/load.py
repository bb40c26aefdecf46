"""Times our loads beside ArcticDB's of the same frames, and what only we have.

    python benchmarks/load.py --arcticdb PYTHON [--trades N] [--runs N]

PYTHON is an interpreter that can import arcticdb (`make bench-load` makes one: ArcticDB wants an
older pandas than we do). A month of a synthetic market goes through the warehouse; the frames that
come out are what ArcticDB is given to keep (LMDB, its defaults). Then both are asked the same
questions in turn, each in a process of its own that is warm, from files in the system's page
cache, and ours with its memory cache emptied before each question. Rows and the sum of every column
are compared once. The figures are medians, and the ratio is the median of the ratios pair by pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

NUMBERS = ["timestamp", "price", "size", "exchange", "sequence_number", "participant_timestamp",
           "tape", "trf_id"]  # fmt: skip
TEXT = [*NUMBERS[:-1], "conditions"]
MONTH = [date(2026, 3, 2) + timedelta(days) for days in range(30)]
SESSIONS = [day for day in MONTH if day.weekday() < 5]
HOUR = ("2026-03-11 15:00", "2026-03-11 16:00")
"""New York time is four hours behind UTC then."""
SYMBOLS = 500

Ask = Callable[[], Any]
Answer = tuple[float, dict[str, float]]


def questions(busiest: str, symbols: list[str]) -> dict[str, dict[str, Any]]:
    """What is asked: symbols, first and last session or instants of New York, columns."""
    month = {"symbols": [busiest], "start": str(SESSIONS[0]), "end": str(SESSIONS[-1])}
    return {
        "a month of one symbol": {**month, "columns": NUMBERS},
        "the same with text": {**month, "columns": TEXT},
        "an hour of it": {
            "symbols": [busiest],
            "start": HOUR[0],
            "end": HOUR[1],
            "columns": NUMBERS,
        },
        f"{SYMBOLS} symbols, one session": {
            "symbols": symbols,
            "start": str(SESSIONS[7]),
            "end": str(SESSIONS[7]),
            "columns": NUMBERS,
        },
    }


def sums(frames: list[Any]) -> dict[str, float]:
    """Rows, and the sum of each column, however the rows are divided among frames."""
    found: dict[str, float] = {"rows": sum(len(frame) for frame in frames)}
    for frame in frames:
        for name in frame.columns:
            column = frame[name]
            if name.endswith("timestamp"):
                # Of stamps the nanoseconds that floats can hold.
                total = int((column.dropna().dt.tz_localize(None).astype("int64") % 10**6).sum())
            elif column.dtype.kind in "iuf":
                total = float(column.sum())
            else:
                total = int(column.str.len().sum())
            found[name] = found.get(name, 0) + total
    return found


# --- the contender, in its own interpreter ---


def arcticdb(folder: Path) -> None:
    """Keep the frames of `folder`, then answer questions from standard input."""
    import pandas as pd
    from arcticdb import Arctic, ReadRequest

    library = Arctic(f"lmdb://{folder / 'arcticdb'}?map_size=8GB").create_library("trades")
    for path in sorted(folder.glob("frames/*.parquet")):
        library.write(path.stem, pd.read_parquet(path).set_index("timestamp"))
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        columns = [name for name in asked["columns"] if name != "timestamp"]
        span = (pd.Timestamp(asked["first"]), pd.Timestamp(asked["last"]))
        wanted = [
            ReadRequest(symbol, columns=columns, date_range=span) for symbol in asked["symbols"]
        ]
        began = time.perf_counter()
        if len(wanted) == 1:
            frames = [library.read(wanted[0].symbol, columns=columns, date_range=span).data]
        else:
            frames = [item.data for item in library.read_batch(wanted)]
        seconds = time.perf_counter() - began
        found = sums([frame.reset_index() for frame in frames]) if asked["sums"] else {}
        print(json.dumps([seconds, found]), flush=True)


@contextmanager
def arcticdb_process(python: str, folder: Path) -> Iterator[Callable[[dict[str, Any]], Answer]]:
    process = subprocess.Popen(
        [python, __file__, "--serve", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        sys.exit("ArcticDB did not start")

    def ask(question: dict[str, Any]) -> Answer:
        process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        seconds, found = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        return seconds, found

    yield ask
    process.stdin.close()
    process.wait()


# --- ours ---


def make(folder: Path, trades: int) -> Any:
    """A month of a market, through the whole warehouse."""
    from warehouse import Warehouse
    from warehouse.core.request import Request
    from warehouse.maintenance.init import lay_out
    from warehouse.pipeline.pipeline import Pipeline
    from warehouse.synthetic.files import write
    from warehouse.synthetic.market import Market, benchmark_market

    names = benchmark_market(0, SYMBOLS).symbols
    market = Market(tuple(SESSIONS), frozenset(), names, trades // len(SESSIONS), 0)
    write(market, folder / "flatfiles", ("trades",))
    laid = lay_out(folder / "warehouse", str(folder / "flatfiles"))
    Pipeline(laid.config.layout(folder / "warehouse"), laid.config).update(Request.of())
    wh = Warehouse(folder / "warehouse")
    (folder / "frames").mkdir()
    for symbol in names:
        frame = wh.trades(symbol, SESSIONS[0], SESSIONS[-1], columns=[*NUMBERS, "conditions"])
        frame.to_parquet(folder / "frames" / f"{symbol}.parquet")
    wh.cache.clear()
    return wh


def timed(ask: Ask) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = ask()
    return time.perf_counter() - began, answer


def in_utc(question: dict[str, Any]) -> dict[str, Any]:
    """The question with its span as ArcticDB takes it: instants, both inclusive."""
    import pandas as pd

    from warehouse.core.calendar import parse_span

    span = parse_span(question["start"], question["end"])
    first, last = (str(pd.Timestamp(ns, tz="UTC")) for ns in (span.start_ns, span.end_ns - 1))
    return {**question, "first": first, "last": last}


def compare(wh: Any, name: str, question: dict[str, Any], theirs: Any, runs: int) -> None:
    def ask() -> Any:
        return wh.trades(
            question["symbols"], question["start"], question["end"], columns=question["columns"]
        )

    asked = in_utc(question)
    pairs = []
    for number in range(runs + 1):
        wh.cache.clear()
        ours, frame = timed(ask)
        seconds, found = theirs({**asked, "sums": number == 0})
        if number == 0:
            check(name, sums([frame]), found)
        else:
            pairs.append((ours, seconds))
    mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:32}{len(frame):>11,}{mine * 1e3:>10.1f}{other * 1e3:>11.1f}{ratio:>9.2f}")


def check(name: str, ours: dict[str, float], theirs: dict[str, float]) -> None:
    for column, value in ours.items():
        if abs(value - theirs[column]) > 1e-9 * abs(value):
            sys.exit(f"{name}: the answers differ in {column}: {value} and {theirs[column]}")


def alone(wh: Any, busiest: str, runs: int) -> None:
    """Questions that are answered from memory."""
    month = (busiest, SESSIONS[0], SESSIONS[-1])
    wh.trades(*month)
    times = [timed(lambda: wh.trades(*month))[0] for _ in range(runs * 20)]
    print(f"{'the same question again':32}{'':11}{statistics.median(times) * 1e3:>10.3f}")
    hours = [
        (f"{day} {hour}:00", f"{day} {hour + 1}:00") for day in SESSIONS for hour in range(10, 16)
    ]
    times = [timed(lambda hour=hour: wh.trades(busiest, *hour))[0] for hour in hours]
    print(f"{'an hour inside a month held':32}{'':11}{statistics.median(times) * 1e3:>10.3f}")


def main() -> None:
    """Parse the arguments, make the market, ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arcticdb", metavar="PYTHON", help="an interpreter that has arcticdb")
    parser.add_argument("--trades", type=int, default=5_500_000, help="of the month")
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each (default 15)")
    parser.add_argument("--serve", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        arcticdb(arguments.serve)
        return
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as temporary:
        folder = Path(temporary)
        wh = make(folder, arguments.trades)
        symbols = wh.symbols("trades")
        partitions = wh.catalog("partitions").sort_values("rows")
        busiest = partitions["symbol"].iloc[-1]
        if arguments.arcticdb:
            print(f"{'':32}{'rows':>11}{'ours ms':>10}{'ArcticDB':>11}{'ratio':>9}")
            with arcticdb_process(arguments.arcticdb, folder) as theirs:
                for name, question in questions(busiest, symbols).items():
                    compare(wh, name, question, theirs, arguments.runs)
        alone(wh, busiest, arguments.runs)
        wh.close()


if __name__ == "__main__":
    main()
