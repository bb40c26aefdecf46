"""Compares formats to keep a symbol's month in: CSV.gz, our Parquet, HDF5 and Feather.

    make bench-formats                              a generated day
    make bench-formats ARGS="--source FOLDER"       files of your own, laid out as the vendor's
    make bench-formats ARGS="--source FOLDER --data-type quotes --runs 5"

The warehouse takes the files in. What it publishes, a frame for each symbol and month, is then
written in each format, read back whole, and asked one question: of the busiest hour of the busiest
symbol, the last and the mean price of each minute. Each step starts and ends with pandas, and asks
for as little as its format allows: Parquet for two columns of the row groups whose statistics
match, HDF5 for the rows that its index names, Feather for two columns, CSV for two columns of every
line. The formats take turns, in one process and from the system's page cache; nothing is synced.
The figures are medians. What comes back is compared with what was written, column by column, and
the answers with one another.

HDF5 needs PyTables: `make bench-formats` has it in an environment of its own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from warehouse.core.datatypes import DataType, data_type
from warehouse.store.parquet_writer import encode
from warehouse.synthetic.files import write
from warehouse.synthetic.market import benchmark_market

PRICES = {"trades": "price", "quotes": "bid_price", "minute_aggs": "close"}
"""Data type -> the column that is asked for."""


class Format(Protocol):
    """A way to keep a frame in a file."""

    def write(self, frame: pd.DataFrame, path: Path) -> None: ...
    def read(self, path: Path) -> pd.DataFrame: ...
    def between(self, path: Path, price: str, start: pd.Timestamp, end: pd.Timestamp) -> Any:
        """The columns `timestamp` and `price` of the rows in [start, end)."""


class CsvGz:
    """The vendor's own: stamps as nanoseconds, gzip as pandas does it by default."""

    def __init__(self, kind: DataType, frame: pd.DataFrame) -> None:
        dtypes = frame.dtypes.to_dict()
        self._stamps = {name: dtype for name, dtype in dtypes.items() if dtype.kind == "M"}
        self._others = {name: dtype for name, dtype in dtypes.items() if dtype.kind != "M"}

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        numbers = {
            name: frame[name].astype("datetime64[ns]").astype("int64[pyarrow]")
            for name in self._stamps
        }
        frame.assign(**numbers).to_csv(path, index=False, compression="gzip")

    def read(self, path: Path) -> pd.DataFrame:
        return self._read(path, None)

    def between(self, path: Path, price: str, start: pd.Timestamp, end: pd.Timestamp) -> Any:
        return _cut(self._read(path, ["timestamp", price]), start, end)

    def _read(self, path: Path, columns: list[str] | None) -> pd.DataFrame:
        stamps = [name for name in self._stamps if columns is None or name in columns]
        frame = pd.read_csv(
            path,
            usecols=columns,
            compression="gzip",
            dtype={**self._others, **dict.fromkeys(stamps, "Int64")},
            # There is a symbol NA.
            keep_default_na=False,
            na_values=[""],
        )
        times = {
            name: pd.to_datetime(frame[name], unit="ns").astype(self._stamps[name])
            for name in stamps
        }
        return frame.assign(**times)


class Parquet:
    """Ours: the encoder of the layout `symbol`, with its row groups and page checksums."""

    def __init__(self, kind: DataType, frame: pd.DataFrame) -> None:
        self._kind = kind

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        table = pa.Table.from_pandas(frame, self._kind.columns, preserve_index=False)
        sessions = frame.groupby("session", sort=False).size().tolist()
        with pa.OSFile(str(path), "wb") as sink:
            encode(sink, self._kind, table.to_batches(), {}, sessions)

    def read(self, path: Path) -> pd.DataFrame:
        return _to_pandas(pq.read_table(path))

    def between(self, path: Path, price: str, start: pd.Timestamp, end: pd.Timestamp) -> Any:
        inside = [("timestamp", ">=", start), ("timestamp", "<", end)]
        return _to_pandas(pq.read_table(path, columns=["timestamp", price], filters=inside))


class Hdf5:
    """PyTables' table, compressed by blosc and lz4, indexed by its stamps."""

    def __init__(self, kind: DataType, frame: pd.DataFrame) -> None:
        pass

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        frame.to_hdf(
            path, key="rows", mode="w", format="table", index=True, data_columns=["timestamp"],
            complib="blosc:lz4", complevel=5,
        )  # fmt: skip

    def read(self, path: Path) -> pd.DataFrame:
        return pd.read_hdf(path, "rows")

    def between(self, path: Path, price: str, start: pd.Timestamp, end: pd.Timestamp) -> Any:
        inside = f"timestamp >= '{start}' & timestamp < '{end}'"
        return pd.read_hdf(path, "rows", where=inside, columns=["timestamp", price])


class Feather:
    """Arrow's own, with lz4, its default."""

    def __init__(self, kind: DataType, frame: pd.DataFrame) -> None:
        pass

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        feather.write_feather(frame, str(path))

    def read(self, path: Path) -> pd.DataFrame:
        return _to_pandas(feather.read_table(str(path)))

    def between(self, path: Path, price: str, start: pd.Timestamp, end: pd.Timestamp) -> Any:
        table = feather.read_table(str(path), columns=["timestamp", price])
        return _cut(_to_pandas(table), start, end)


FORMATS: Mapping[str, Callable[[DataType, pd.DataFrame], Format]] = {
    "CSV.gz": CsvGz,
    "Parquet": Parquet,
    "HDF5": Hdf5,
    "Feather": Feather,
}


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(date_as_object=False)


def _cut(frame: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return frame[(frame["timestamp"] >= start) & (frame["timestamp"] < end)]


def by_minute(rows: pd.DataFrame, price: str) -> pd.DataFrame:
    """The last and the mean price of each minute."""
    return rows.groupby(rows["timestamp"].dt.floor("min"))[price].agg(["last", "mean"])


@dataclass
class Taken:
    """What a format took, run by run: (seconds, CPU seconds) of each step, and bytes."""

    steps: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {"write": [], "read": [], "query": []}
    )
    size: int = 0
    lost: list[str] = field(default_factory=list)

    def time(self, step: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        self.steps[step].append((time.perf_counter() - wall, time.process_time() - cpu))
        return found

    def cell(self, step: str, scale: float) -> str:
        wall, cpu = (
            statistics.median(column) * scale for column in zip(*self.steps[step], strict=True)
        )
        return f"{wall:,.2f} ({cpu:,.2f})" if scale == 1 else f"{wall:,.1f} ({cpu:,.1f})"


def lost(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """What a format did not give back, in words; rows are compared at their places."""
    if list(before.columns) != list(after.columns) or len(before) != len(after):
        return [f"{len(before)} rows became {len(after)}, or the columns are others"]
    found = []
    for name in before.columns:
        old, new = before[name].reset_index(drop=True), after[name].reset_index(drop=True)
        if old.dtype != new.dtype:
            found.append(f"{name}: {old.dtype} became {new.dtype}")
        is_other = (old.isna() != new.isna()) | ((old != new) & old.notna())
        if count := int(is_other.sum()):
            found.append(f"{name}: {count:,} values differ")
    return found


def take_in(source: Path, folder: Path, name: str) -> list[tuple[str, pd.DataFrame]]:
    """The frames that a new warehouse publishes of a source: of each symbol and month."""
    command = [sys.executable, "-m", "warehouse"]
    for arguments in (
        ["init", str(folder), "--source", str(source)],
        ["-C", str(folder), "update", name],
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"warehouse {' '.join(arguments)}:\n{done.stderr}")
    files = sorted((folder / "data" / "cache" / name).glob("*/*.parquet"))
    return [(f"{path.parent.name}-{path.stem}", _to_pandas(pq.read_table(path))) for path in files]


def compare(
    kind: DataType,
    frames: list[tuple[str, pd.DataFrame]],
    folder: Path,
    names: list[str],
    runs: int,
) -> dict[str, Taken]:
    """Let the formats take turns; exits if two answer differently."""
    price = PRICES[kind.name]
    busiest, largest = max(frames, key=lambda item: len(item[1]))
    hours = largest["timestamp"].dt.floor("h")
    start = hours.mode()[0]
    end = start + pd.Timedelta(hours=1)
    expected = by_minute(_cut(largest, start, end), price)
    formats = {name: FORMATS[name](kind, largest) for name in names}
    taken = {name: Taken() for name in names}
    for name, one in formats.items():  # what is loaded at the first use is not counted
        one.write(largest.head(1_000), folder / "first")
        one.read(folder / "first")
        one.between(folder / "first", price, start, end)
        (folder / name).mkdir()
    for run in range(runs):
        for name, one in formats.items():
            cost = taken[name]
            paths = {label: folder / name / f"{run}-{label}" for label, _ in frames}

            def write_all(one: Format = one, paths: Mapping[str, Path] = paths) -> None:
                for label, frame in frames:
                    one.write(frame, paths[label])

            def read_all(one: Format = one, paths: Mapping[str, Path] = paths) -> None:
                for path in paths.values():
                    one.read(path)

            def ask(one: Format = one, path: Path = paths[busiest]) -> pd.DataFrame:
                return by_minute(one.between(path, price, start, end), price)

            cost.time("write", write_all)
            cost.time("read", read_all)
            answer = cost.time("query", ask)
            if not answer.equals(expected):
                sys.exit(f"{name} answers differently:\n{answer}\nnot\n{expected}")
            if run == 0:
                cost.size = sum(path.stat().st_size for path in paths.values())
                whole = [
                    text for label, frame in frames for text in lost(frame, one.read(paths[label]))
                ]
                cost.lost = list(dict.fromkeys(whole))
    return taken


def main() -> None:
    """Parse the arguments, take the files in, compare, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="a folder laid out as the vendor's flat files")
    parser.add_argument("--data-type", choices=PRICES, default="trades")
    parser.add_argument("--trades", type=int, default=2_000_000, help="of the generated day")
    parser.add_argument("--symbols", type=int, default=20, help="of the generated day")
    parser.add_argument("--runs", type=int, default=3, help="of each format (default 3)")
    arguments = parser.parse_args()
    kind = data_type(arguments.data_type)
    names = list(FORMATS)
    if importlib.util.find_spec("tables") is None:
        names.remove("HDF5")
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as temporary:
        folder = Path(temporary)
        source = arguments.source
        if source is None:
            source = folder / "market"
            market = benchmark_market(arguments.trades, arguments.symbols)
            write(market, source, (kind.name,))
        frames = take_in(source.resolve(), folder / "warehouse", kind.name)
        taken = compare(kind, frames, folder, names, arguments.runs)
    rows = sum(len(frame) for _, frame in frames)
    packages = ["pandas", "pyarrow", *(["tables"] if "HDF5" in names else [])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(
        f"{rows:,} {kind.name} in {len(frames)} files, one for each symbol and month; wall (CPU),"
    )
    print(f"medians of {arguments.runs} alternating runs; {os.cpu_count()} cores; Python", end=" ")
    print(f"{platform.python_version()}, {versions}\n")
    print("| format | write s | read s | query ms | MiB | bytes a row | lost |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for name, cost in taken.items():
        print(
            f"| {name} | {cost.cell('write', 1)} | {cost.cell('read', 1)}"
            f" | {cost.cell('query', 1e3)} | {cost.size / 2**20:,.1f} | {cost.size / rows:.1f}"
            f" | {'; '.join(cost.lost) or 'nothing'} |"
        )
    if "HDF5" not in names:
        print("\nNo HDF5: this interpreter has no PyTables; `make bench-formats` has.")


if __name__ == "__main__":
    main()
