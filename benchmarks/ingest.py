"""Times our ingest beside what a user would convert the same files with, and compares the rows.

    make bench                              5 M trades, 8,000 symbols: one day, and four at once
    make bench ARGS="--days 1 --shape few"            200 symbols
    make bench ARGS="--days 1 --shape interleaved"    lines by time, not by symbol
    make bench ARGS="--days 1 --data-type quotes --rows 20000000 --symbols 3000"
    make bench ARGS="--days 21 --data-type minute_aggs --symbols 11000"
    make bench ARGS="--only symbol market polars"     fewer contenders
    make bench ARGS=--memory                our peak memory, and of a day four times as large
    make bench-check                        small days of each shape: is our CPU within bounds?

Each contender is a process of its own, whole from start to exit. Ours is `warehouse update` on a
new warehouse: it verifies the files, rejects and accounts for rows, writes page checksums and
provenance, validates, publishes and syncs; the others (`contenders.py`) only convert. They take
turns; the first round warms the caches and is not counted. The figures are medians, and the ratios
medians of the ratios to polars' partitioned sink of the same round. Busy is CPU / wall / cores.

After the first round the output of each is compared with the source, symbol by symbol: how many
rows, the sum of their sizes, the first and the last stamp; of ours with its rejects. One that
differs ends the benchmark.

Peak memory is that of a cgroup of its own (page cache counts) where the system lets us make one.
Elsewhere it is what the process and its children held besides shared memory, and the growth of the
system's shared memory, where our inflated pieces lie; both sampled together.

The default needs an hour or more and 30 GB in the folder for temporary files: nothing is deleted in
between, for ext4 makes files slowly for minutes after many were deleted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import contenders
import duckdb
from contenders import SIZE, STAMP, WORKERS, files_of, sql_types
from process_cost import CommandError, Cost, cost_of

from warehouse.core.calendar import trading_days
from warehouse.synthetic.files import HEADERS, write
from warehouse.synthetic.market import benchmark_market

SYMBOLS = {"market": 8_000, "few": 200, "interleaved": 8_000}
"""Shape -> symbols. Lines stand by symbol, as the vendor's do, or by time across symbols."""
BASE = "polars"
NAMES = {  # in the table
    "symbol": "ours, `symbol`",
    "market": "ours, `market`",
    "unvalidated": "ours, `symbol`, without rules",
    "polars": "polars, partitioned",
    "polars-file": "polars, one sorted file",
    "duckdb": "DuckDB, `COPY … PARTITION_BY`",
    "pandas": "pandas, a file a symbol",
    "speedup": "massive-speedup",
}
OURS = ("symbol", "market", "unvalidated")

# Shape, rows, symbols. With few symbols polars is quickest, so these have more rows.
CHECKED = (("market", 300_000, 800), ("few", 600_000, 50), ("interleaved", 300_000, 800))
# 1.6 times the median of five checks on two busy cores (3.0 and 2.1; 3.4 and 3.4; 2.7 and 2.1, a
# fifth more or less): room for noise and for other machines. On days so small our start is half of
# our CPU, so these are no ratios of real days; who makes the ingest cheaper lowers them.
BOUNDS = {
    ("market", "symbol"): 4.8,
    ("market", "market"): 3.4,
    ("few", "symbol"): 5.4,
    ("few", "market"): 5.5,
    ("interleaved", "symbol"): 4.4,
    ("interleaved", "market"): 3.5,
}
"""Shape and layout -> at most so many times the CPU of polars' partitioned sink."""


@dataclass(frozen=True)
class Job:
    """What is ingested in one go: days of so many rows each (bars: of so many trades)."""

    kind: str
    shape: str
    rows: int
    symbols: int
    days: int

    def make(self, folder: Path) -> Path:
        """Write its files, laid out as the vendor's; returns their folder."""
        source = folder / f"{self.kind}-{self.shape}-{self.rows}-{self.symbols}-{self.days}"
        sessions = trading_days(date(2026, 3, 2), date(2026, 3, 31))[: self.days]
        market = benchmark_market(self.rows, self.symbols)
        market = replace(market, sessions=tuple(sessions), quotes_per_session=self.rows)
        write(market, source, (self.kind,))
        if self.shape == "interleaved":
            for path in files_of(self.kind, source):
                _interleave(self.kind, path)
        return source


def _interleave(kind: str, path: Path) -> None:
    """Put a file's lines in the order of time."""
    by_time = path.with_name("by_time.csv.gz")
    later = ", sequence_number::bigint" if "sequence_number" in HEADERS[kind] else ""
    duckdb.sql(
        f"""
        copy (
            select * from read_csv('{path}', all_varchar = true)
            order by {STAMP[kind]}::bigint{later}, ticker
        ) to '{by_time}' (format csv, header)
        """
    )
    by_time.replace(path)


class OutError(Exception):
    """Why a contender is out."""


# --- one run ---


def prepare(name: str, kind: str, source: Path, out: Path, speedup: Path | None) -> Sequence[str]:
    """The command of a contender, which puts a source's rows into a new folder."""
    if name == "speedup":
        files = [str(path) for path in files_of(kind, source)]
        return [
            str(speedup),
            "-m",
            "massive_speedup.build_database",
            "--database",
            str(out),
            *files,
        ]
    if name not in OURS:
        return [sys.executable, contenders.__file__, name, kind, str(source), str(out)]
    warehouse = [sys.executable, "-m", "warehouse"]
    layout = "market" if name == "market" else "symbol"
    init = ["init", str(out), "--source", str(source), "--layout", f"{kind}={layout}"]
    subprocess.run([*warehouse, *init], check=True, capture_output=True)
    if name == "unvalidated":
        shutil.rmtree(out / "sql" / "validate")
    return [*warehouse, "-C", str(out), "update", kind]


def run(name: str, command: Sequence[str]) -> Cost:
    """Run it.

    Raises:
        OutError: it failed.
    """
    environment = {"WAREHOUSE_PROCESSING__PARALLEL_WORKERS": str(WORKERS)}
    if name == "speedup":
        environment |= PRELOAD
    try:
        return cost_of(command, environment)
    except CommandError as error:
        last = (error.told.strip().splitlines() or [""])[-1]
        raise OutError(f"it fails: {last}") from error


# --- massive-speedup, which has an environment of its own ---

# Its wheel for Linux uses zlib and does not say so.
PRELOAD = {"LD_PRELOAD": "libz.so.1"} if sys.platform == "linux" else {}

_ITS_ROWS = """
import sys, massive_speedup
from pathlib import Path
kind, folder = sys.argv[1], Path(sys.argv[2])
of, size = {
    "trades": (massive_speedup.StockTradeDatabase, "size"),
    "quotes": (massive_speedup.StockQuoteDatabase, "bid_size"),
}[kind]
print("symbol,rows,total,first,last")
for path in sorted(folder.glob("*/*/*")):
    rows = of(str(folder), path.parent.name, path.name)
    total = sum(getattr(row, size) for row in rows)
    stamps = [row.sip_timestamp for row in rows]
    print(path.name, len(rows), total, min(stamps), max(stamps), sep=",")
"""


def why_not(speedup: Path | None, kind: str, shape: str) -> str:
    """Why massive-speedup cannot take part; empty: it can."""
    if kind not in ("trades", "quotes"):
        return "it makes files of trades and quotes only"
    if shape == "interleaved":
        return "it wants a symbol's lines together"
    if speedup is None or not speedup.exists():
        return "it is not installed (`make bench` installs it where there is a wheel)"
    tried = [str(speedup), "-c", "import massive_speedup._native"]
    done = subprocess.run(
        tried, env={**os.environ, **PRELOAD}, capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


# --- the rows ---


class Rows:
    """What a source holds, and whether an output holds the same."""

    def __init__(self, kind: str, source: Path) -> None:
        self._kind = kind
        self._sql = duckdb.connect()
        files = [str(path) for path in files_of(kind, source)]
        columns = HEADERS[kind].split(",")
        self._sql.execute(
            f"create table source as {_by_symbol('ticker', STAMP[kind], SIZE[kind])}"
            f" from read_csv($files, types = $types) group by all",
            {"files": files, "types": sql_types(columns)},
        )

    def check(self, name: str, out: Path, speedup: Path | None) -> str:
        """How many rows it holds, in words.

        Raises:
            OutError: they are not those of the source.
        """
        stamp, size = STAMP[self._kind], SIZE[self._kind]
        rejected = 0
        # A sum depends on the order of its doubles; massive-speedup's sizes have 24 bits.
        tolerance = 1e-6 if name == "speedup" else 1e-9
        if name == "speedup":
            asked = [str(speedup), "-c", _ITS_ROWS, self._kind, str(out)]
            told = out.with_name("rows.csv")
            with told.open("wb") as file:
                subprocess.run(asked, env={**os.environ, **PRELOAD}, stdout=file, check=True)
            by_symbol = f"""
                from read_csv('{told}', nullstr = '', types = {{'symbol': 'VARCHAR',
                    'rows': 'BIGINT', 'total': 'DOUBLE', 'first': 'BIGINT', 'last': 'BIGINT'}})
            """
        elif name in OURS:
            files = [f"{out}/data/cache/{self._kind}/**/*.parquet"]
            if refused := sorted(map(str, out.glob(f"data/rejects/{self._kind}/*/*.parquet"))):
                (rejected,) = self._one(f"select count(*) from read_parquet({refused})")
            by_symbol = f"""
                {_by_symbol("symbol", "epoch_ns(timestamp)", size)}
                from read_parquet({files + refused}, union_by_name = true) group by all
            """
        else:
            by_symbol = f"""
                {_by_symbol("ticker", stamp, size)}
                from read_parquet('{out}/**/*.parquet', hive_partitioning = false) group by all
            """
        self._sql.execute(f"create or replace table output as {by_symbol}")
        different = self._sql.execute(
            """
            select symbol
            from source s
            full join output o using (symbol)
            where (s.rows, s.first, s.last) is distinct from (o.rows, o.first, o.last)
                or abs(s.total - o.total) > $tolerance * s.total
            order by symbol
            """,
            {"tolerance": tolerance},
        ).fetchall()
        if different:
            some = ", ".join(str(symbol) for (symbol,) in different[:5])
            raise OutError(f"of {len(different):,} symbols it has other rows: {some} …")
        (rows,) = self._one("select sum(rows) from output")
        return f"{rows - rejected:,} + {rejected:,} rejected" if rejected else f"{rows:,}"

    def _one(self, statement: str) -> tuple[int, ...]:
        found = self._sql.execute(statement).fetchone()
        assert found is not None
        return found


def _by_symbol(symbol: str, stamp: str, size: str) -> str:
    return (
        f"select {symbol} as symbol, count(*) as rows, sum({size}) as total,"
        f" min({stamp}) as first, max({stamp}) as last"
    )


# --- all runs ---


@dataclass(frozen=True)
class Result:
    """What a contender took, round by round; how many rows it holds."""

    costs: list[Cost]
    rows: str

    def median(self, of: Callable[[Cost], float]) -> float:
        return statistics.median(of(cost) for cost in self.costs)

    def ratio(self, to: Result, of: Callable[[Cost], float]) -> float:
        """The median of the ratios of the same round."""
        return statistics.median(of(a) / of(b) for a, b in zip(self.costs, to.costs, strict=True))


@dataclass(frozen=True)
class Outcome:
    """Of a job: what the contenders took, and of those that are out, why."""

    job: Job
    results: Mapping[str, Result]
    left_out: Mapping[str, str]


def compare(
    job: Job, folder: Path, names: Sequence[str], runs: int, speedup: Path | None, warm: bool = True
) -> Outcome:
    """Let the contenders take turns.

    Args:
        warm: one more round comes first, and is not counted.
    """
    source = job.make(folder)
    rows = Rows(job.kind, source)
    results = {name: Result([], "") for name in names}
    left_out: dict[str, str] = {}
    if "speedup" in results and (reason := why_not(speedup, job.kind, job.shape)):
        del results["speedup"]
        left_out["speedup"] = reason
    for number in range(runs + warm):
        for name in list(results):
            out = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder)) / "out"
            try:
                cost = run(name, prepare(name, job.kind, source, out, speedup))
                if number == 0:
                    results[name] = Result([], rows.check(name, out, speedup))
            except OutError as error:
                if name in (*OURS, BASE):
                    sys.exit(f"{NAMES[name]}: {error}")
                del results[name]
                left_out[name] = str(error)
                continue
            if number or not warm:
                results[name].costs.append(cost)
            print(f"{job.days}d {name} {cost.wall:.1f} s, {cost.cpu:.1f} CPU s", file=sys.stderr)
    return Outcome(job, results, left_out)


def machine() -> str:
    """What all this ran on."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{WORKERS} cores ({model}), {memory:.1f} GiB, {platform.system()} {platform.release()}"


def versions(speedup: Path | None) -> str:
    """Of everything that takes part."""
    packages = ("flatfile-warehouse", "duckdb", "pyarrow", "polars", "pandas")
    told = [f"Python {platform.python_version()}"]
    told += [f"{name} {importlib.metadata.version(name)}" for name in packages]
    if speedup:
        ask = "from importlib.metadata import version; print(version('massive-speedup'))"
        found = subprocess.run([speedup, "-c", ask], capture_output=True, text=True, check=True)
        told.append(f"massive-speedup {found.stdout.strip()}")
    return ", ".join(told)


def table(outcomes: Sequence[Outcome]) -> None:
    """Print what the contenders took, and why others are out."""
    print("| days | contender | CPU s | wall s | busy | peak MB | CPU × | wall × | rows |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for outcome in outcomes:
        for name, result in outcome.results.items():
            ratios = ["", ""]
            if base := outcome.results.get(BASE):
                of = (lambda cost: cost.cpu, lambda cost: cost.wall)
                ratios = [f"{result.ratio(base, one):.2f}" for one in of]
            cells = [
                f"{outcome.job.days}",
                NAMES[name],
                f"{result.median(lambda cost: cost.cpu):.2f}",
                f"{result.median(lambda cost: cost.wall):.2f}",
                f"{result.median(lambda cost: cost.busy):.0%}",
                f"{result.median(lambda cost: cost.memory) / 1e6:,.0f}",
                *ratios,
                result.rows,
            ]
            print(f"| {' | '.join(cells)} |")
    reasons = {(name, why) for outcome in outcomes for name, why in outcome.left_out.items()}
    for name, why in sorted(reasons):
        print(f"\nWithout {NAMES[name]}: {why}.")


def memory(job: Job, folder: Path) -> None:
    """Print our peak memory for a day, and for one four times as large."""
    print("| layout | rows | wall s | peak MB | × |\n|---|---:|---:|---:|---:|")
    for layout in ("symbol", "market"):
        first = 0
        for rows in (job.rows, 4 * job.rows):
            source = replace(job, rows=rows, days=1).make(folder)
            out = Path(tempfile.mkdtemp(prefix=f"{layout}-", dir=folder)) / "out"
            cost = run(layout, prepare(layout, job.kind, source, out, None))
            first = first or cost.memory
            print(
                f"| `{layout}` | {rows:,} | {cost.wall:.1f} | {cost.memory / 1e6:,.0f}"
                f" | {cost.memory / first:.2f} |"
            )


def check(folder: Path) -> None:
    """Compare our CPU with polars' on small days; exits where it is above a bound."""
    failed = []
    print("| shape | layout | CPU × | at most |\n|---|---|---:|---:|")
    for shape, rows, symbols in CHECKED:
        job = Job("trades", shape, rows, symbols, days=1)
        results = compare(job, folder, ("symbol", "market", BASE), 3, None, warm=False).results
        for layout in ("symbol", "market"):
            ratio = results[layout].ratio(results[BASE], lambda cost: cost.cpu)
            bound = BOUNDS[shape, layout]
            print(f"| {shape} | `{layout}` | {ratio:.2f} | {bound:.1f} |", flush=True)
            if ratio > bound:
                failed.append(f"{shape}, {layout}")
    if failed:
        sys.exit(f"Above the bound: {'; '.join(failed)}.")


def main() -> None:
    """Parse the arguments, make the files, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SYMBOLS, default="market")
    parser.add_argument("--data-type", choices=STAMP, default="trades")
    parser.add_argument(
        "--rows", "--trades", type=int, default=5_000_000, help="of a day; for bars: its trades"
    )
    parser.add_argument("--symbols", type=int, help="default: 8,000; of the shape few 200")
    parser.add_argument("--days", type=int, nargs="+", default=[1, 4], help="of a batch, each")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each (default 3)")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="default: all but unvalidated")
    parser.add_argument("--speedup", type=Path, help="an interpreter that has massive-speedup")
    parser.add_argument("--memory", action="store_true", help="our peaks instead")
    parser.add_argument("--check", action="store_true", help="small days and bounds instead")
    told = parser.parse_args()
    if min(told.runs, *told.days) < 1:
        parser.error("--runs and --days: at least 1")
    names = told.only or [name for name in NAMES if name != "unvalidated"]
    symbols = told.symbols or SYMBOLS[told.shape]
    jobs = [Job(told.data_type, told.shape, told.rows, symbols, days) for days in told.days]
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as temporary:
        folder = Path(temporary)
        if told.check:
            check(folder)
            return
        if told.memory:
            memory(jobs[0], folder)
            return
        outcomes = [compare(job, folder, names, told.runs, told.speedup) for job in jobs]
    of = f"{told.rows:,} {'quotes' if told.data_type == 'quotes' else 'trades'} a day"
    takes_part = any("speedup" in outcome.results for outcome in outcomes)
    print(f"{told.data_type}, shape `{told.shape}`: {of}, {symbols:,} symbols.")
    print(f"{machine()}.")
    print(f"{versions(told.speedup if takes_part else None)}.")
    print(f"Medians of {told.runs} alternating runs; × polars' partitioned sink of the same round.")
    print("The outputs hold the rows of the source, symbol by symbol.\n")
    table(outcomes)


if __name__ == "__main__":
    main()
