"""Warehouses and files of the vendor's format, made for one test; what is on disk, read plainly."""

from __future__ import annotations

import gc
import gzip
import hashlib
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from warehouse.core import config as configuration
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, completed
from warehouse.core.metrics import Silent
from warehouse.core.paths import Layout
from warehouse.core.request import Request
from warehouse.maintenance.repair import RepairReport, repair
from warehouse.maintenance.verify import VerifyReport, verify
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.sqlfolder import shipped_files
from warehouse.store import manifests

REPOSITORY = Path(__file__).resolve().parent.parent
NEW_YORK = ZoneInfo("America/New_York")
SESSION = date(2024, 1, 31)
"""A Wednesday in winter, the last session of its month."""

HEADERS = {name: ",".join(kind.header) for name, kind in DATA_TYPES.items()}
_SECOND = 1_000_000_000
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A folder on a disk of its own; skips the test where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    ) if shutil.which("mount") else None  # fmt: skip
    if done is None or done.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only_mount(folder: Path, target: Path) -> Iterator[None]:
    """`folder` once more, where nobody may write; skips the test where that is not permitted."""
    is_mounted = False
    try:
        for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
            command = ["mount", *options, str(target)]
            if (
                not shutil.which("mount")
                or subprocess.run(command, capture_output=True, check=False).returncode
            ):
                pytest.skip("mounting a folder for reading alone is not permitted here")
            is_mounted = True
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(target)], check=True)


def instant(day: date, clock: str = "09:30", nanoseconds: int = 0) -> int:
    """Nanoseconds since the epoch of a time in New York, plus some."""
    moment = datetime.combine(day, time.fromisoformat(clock), NEW_YORK)
    return int(moment.timestamp()) * _SECOND + nanoseconds


def day_key(data_type: str, day: date) -> str:
    """The vendor's key of a file that holds all symbols of a day."""
    return f"us_stocks_sip/{data_type}_v1/{day:%Y/%m}/{day:%Y-%m-%d}.csv.gz"


def symbol_key(data_type: str, day: date, symbol: str) -> str:
    """The key of a symbol's own file (of day_aggs: of its month)."""
    folder = DATA_TYPES[data_type].symbol_folder
    below = f"{day:%Y/%m}" if data_type == "day_aggs" else f"{day:%Y/%m/%d}"
    return f"us_stocks_sip/{folder}/{below}/{symbol}.csv.gz"


def csv_text(data_type: str, rows: Sequence[str], header: str | None = None) -> str:
    """A file's text: the vendor's header and lines."""
    return "\n".join([header or HEADERS[data_type], *rows]) + "\n"


def trade(
    symbol: str,
    stamp: int | str,
    sequence: int | str = 1,
    *,
    price: object = 10.5,
    size: object = 100,
    correction: object = 0,
    exchange: object = 4,
    id: str = "1",
    conditions: str = "",
) -> str:
    """A line of a trades file."""
    start = f"{symbol},{conditions},{correction},{exchange},{id},0"
    return f"{start},{price},{sequence},{stamp},{size},1,0,0"


def quote(symbol: str, stamp: int, sequence: int = 1, *, bid: object = 10, ask: object = 11) -> str:
    """A line of a quotes file."""
    return f"{symbol},8,{ask},1,11,{bid},2,1,,{stamp},{sequence},{stamp},1,0"


def bar(symbol: str, stamp: int, *, volume: object = 100, trades: object = 3) -> str:
    """A line of a minute_aggs or day_aggs file."""
    return f"{symbol},{volume},10.1,10.2,10.4,10.0,{stamp},{trades}"


def random_trades(
    symbols: Sequence[str], count: int, day: date = SESSION, seed: int = 0, *, by_time: bool = False
) -> list[str]:
    """Lines of a trades file, symbol by symbol as the vendor writes them, or mixed, by time."""
    dice = random.Random(f"{seed} {day}")
    start = instant(day, "04:00")
    rows = []
    for sequence in range(1, count + 1):
        stamp = start + dice.randrange(16 * 3600 * _SECOND)
        symbol = dice.choice(symbols)
        # A few of them are refused, for several reasons.
        correction = dice.choices((0, 1, 8, 10, 12), (100, 1, 1, 1, 1))[0]
        price = dice.choices((f"{dice.randrange(1, 10**7) / 10**4}", "0", "1_0"), (200, 1, 1))[0]
        line = trade(
            symbol,
            stamp,
            sequence,
            price=price,
            size=dice.choice((1, 100, 0, 0.25)),
            correction=correction,
            exchange=dice.randrange(1, 20),
            id=str(dice.randrange(10**9)),
            conditions=dice.choice(("", "12", '"12,37"')),
        )
        rows.append((symbol, stamp, sequence, line))
        if dice.random() < 0.01:
            rows.append((symbol, stamp, sequence, line))
    rows.sort(key=lambda row: row[1:3] if by_time else (symbols.index(row[0]), *row[1:3]))
    return [row[3] for row in rows]


@dataclass
class Made:
    """A warehouse in a folder of its own, and the folder that its files come from.

    What is asked of it reads the configuration anew and opens a new `Pipeline`, as a new process
    would.
    """

    root: Path
    source: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return configuration.load(self.root / configuration.CONFIG_FILE, {})

    @property
    def layout(self) -> Layout:
        return self.config.layout(self.root)

    @property
    def pipeline(self) -> Pipeline:
        config = self.config
        return Pipeline(config.layout(self.root), config)

    def configure(self, **overrides: Any) -> None:
        """Set keys of the configuration file: `processing__chunk_size=1000`."""
        path = self.root / configuration.CONFIG_FILE
        settings = yaml.load(path.read_text("utf-8"), _Loader)
        for name, value in overrides.items():
            section, _, key = name.partition("__")
            settings[section][key] = value
        path.write_text(yaml.dump(settings, Dumper=_Dumper), "utf-8")

    def put(self, key: str, content: str | bytes | Sequence[str]) -> Path:
        """A file of the source. Text is compressed, lines get their header, bytes stay."""
        return _put(self.source / key, key, content)

    def put_raw(self, data_type: str, day: date, content: str | bytes | Sequence[str]) -> Path:
        """A day's file of the raw tier, as if a download had brought it."""
        path = self.root / "data/raw" / data_type / f"{day:%Y/%m/%Y-%m-%d}.csv.gz"
        return _put(path, day_key(data_type, day), content)

    def update(
        self, *data_types: str, start: date | None = None, end: date | None = None
    ) -> RunReport:
        # Without bounds the calendar of twenty years would be asked for, run by run.
        first, last = self._days()
        return self.pipeline.update(Request.of(data_types, start or first, end or last))

    def ingest(self, *data_types: str) -> RunReport:
        return self.pipeline.ingest(Request.of(data_types))

    def verify(self, *data_types: str, **narrowed: Any) -> VerifyReport:
        request = Request.of(data_types, **narrowed)
        return verify(self.layout, self.config, request, Silent())

    def repair(self, *data_types: str, **narrowed: Any) -> RepairReport:
        return repair(self.pipeline, Request.of(data_types, **narrowed))

    def rebuild(self, *data_types: str, symbols: Sequence[str] = ()) -> RunReport:
        return self.pipeline.rebuild(Request.of(data_types, symbols=symbols))

    def _days(self) -> tuple[date, date]:
        days = []
        for path in self.source.rglob("*.csv.gz"):
            if found := re.search(r"/(\d{4})/(\d{2})/(?:\1-\2-)?(\d{2})[/.]", path.as_posix()):
                days.append(date(*map(int, found.groups())))
            elif found := re.search(r"/(\d{4})/(\d{2})/[^/]+$", path.as_posix()):
                days.append(date(int(found[1]), int(found[2]), 28))
        return (min(days), max(days)) if days else (SESSION, SESSION)

    # What is on disk, without the library.

    def partitions(self) -> dict[str, Path]:
        """Every partition, by its path below the cache."""
        return _below(self.root / "data/cache", "*/*/**/*.parquet")

    def digests(self) -> dict[str, str]:
        """The SHA-256 of every partition."""
        return {name: _sha256(path) for name, path in self.partitions().items()}

    def data_digests(self) -> dict[str, str]:
        """The SHA-256 of everything that is published: partitions, rejects, catalog."""
        data = self.root / "data"
        found = {
            **_below(data, "cache/**/*"),
            **_below(data, "rejects/**/*"),
            **_below(data, "warehouse.duckdb"),
        }
        return {name: _sha256(path) for name, path in found.items()}

    def table(self, data_type: str) -> pa.Table:
        """All rows of a data type, symbols in the order of their folders, each in its file's."""
        paths = [path for name, path in self.partitions().items() if name.startswith(data_type)]
        tables = [pq.read_table(path, partitioning=None) for path in paths]
        return pa.concat_tables(tables).replace_schema_metadata() if tables else pa.table({})

    def rejects(self, data_type: str | None = None) -> list[dict[str, Any]]:
        """All rejects, by source and line."""
        found = _below(self.root / "data/rejects", "*/*/*.parquet")
        rows: list[dict[str, Any]] = []
        for name, path in found.items():
            if data_type is None or name.startswith(data_type):
                rows += pq.read_table(path, partitioning=None).to_pylist()
        return sorted(rows, key=lambda row: (row["source"], row["line_number"]))

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the catalog, as another process would."""
        return self.answers(query)[0]

    def answers(self, *queries: str) -> list[list[tuple[Any, ...]]]:
        with duckdb.connect(str(self.root / "data/warehouse.duckdb"), read_only=True) as catalog:
            return [catalog.execute(query).fetchall() for query in queries]

    def everything(self) -> tuple[Any, ...]:
        """All that a reader can see."""
        return (
            self.digests(),
            self.rejects(),
            *self.answers(
                "select data_type, symbol, month, sha256 from partitions order by all",
                "select source, state, sha256 from source_files order by all",
                "select count(*), sum(sequence_number), max(price) from trades",
                "select source, line_number from rejects order by all",
            ),
        )

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is done within must leave all that is published as it is, to the byte."""
        before = self.data_digests()
        yield
        assert self.data_digests() == before

    def check_catalog(self) -> None:
        """The catalog must name just the partitions on disk, each with its rows and its hash."""
        listed = self.sql(
            "select data_type, symbol, month, path, rows, bytes, sha256, first_row, file_rows"
            " from partitions"
        )
        assert {Path(row[3]) for row in listed} == set(self.partitions().values())
        for data_type, symbol, month, path, rows, size, sha256, first_row, file_rows in listed:
            file = Path(path)
            assert (file.stat().st_size, _sha256(file)) == (size, sha256)
            assert pq.read_metadata(file).num_rows == (rows if first_row is None else file_rows)
            table = pq.read_table(file, columns=["symbol", "session"], partitioning=None)
            if first_row is not None:
                table = table.slice(first_row, rows)
            assert table["symbol"].unique().to_pylist() == [symbol]
            assert {day.replace(day=1) for day in table["session"].unique().to_pylist()} == {month}
            assert Path(path).relative_to(self.layout.cache).parts[0] == data_type


def _put(path: Path, key: str, content: str | bytes | Sequence[str]) -> Path:
    if isinstance(content, (list, tuple)):
        folder = key.split("/20")[0].removeprefix("us_stocks_sip/")
        kind = next(
            kind
            for kind in DATA_TYPES.values()
            if folder in (kind.vendor_folder, kind.symbol_folder)
        )
        content = csv_text(kind.name, content)
    if isinstance(content, str):
        content = gzip.compress(content.encode(), 1, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A new file, as a download writes: the old one may have a hard link in the raw tier.
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(bytes(content))
    new.replace(path)
    return path


def _below(folder: Path, pattern: str) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


MakeWarehouse = Callable[..., Made]
"""Makes one with `make`, in a folder of a test's own."""


def make(folder: Path, files: Mapping[str, Any] | None = None, **overrides: Any) -> Made:
    """A warehouse at `folder`/warehouse with its source beside it.

    Args:
        files: key → text, lines or bytes (see `Made.put`).
        overrides: keys of the configuration, as `processing__chunk_size`.
    """
    made = Made(folder / "warehouse", folder / "source")
    made.source.mkdir(parents=True, exist_ok=True)
    _copy_shipped(made.root)
    (made.root / shipped_files.RECORD).write_bytes(_record_of_shipped())
    made.configure(**{"source__url": str(made.source), **overrides})
    for key, content in (files or {}).items():
        made.put(key, content)
    return made


def _copy_shipped(root: Path) -> None:
    for name in ("config", "sql"):
        shutil.copytree(REPOSITORY / name, root / name)


@cache
def _record_of_shipped() -> bytes:
    """What `warehouse init` notes of the shipped files, so that no first run compares them all."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _copy_shipped(root)
        shipped_files.refresh(root, configuration.load(root / configuration.CONFIG_FILE, {}))
        return (root / shipped_files.RECORD).read_bytes()


def edit_catalog(made: Made, *statements: str) -> None:
    """Change the catalog, and the rows of its manifests, as a stranger could.

    Args:
        statements: on the catalog's tables, or on a table `partitions` of the manifests' rows.
    """
    # A reader whose error an earlier test has caught may have it open until it is swept up.
    gc.collect()
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        own = [one for one in statements if not re.search(r"\bpartitions\b", one)]
        for statement in own:
            catalog.execute(statement)
        rest = [one for one in statements if one not in own]
        named = catalog.execute("select name from manifests").fetchall() if rest else []
        for (name,) in named:
            with duckdb.connect() as rows:
                path = str(made.layout.manifests / name)
                rows.execute(f"create table partitions as from read_parquet('{path}')")
                for statement in rest:
                    rows.execute(statement)
                table = rows.sql("from partitions").to_arrow_table()
            _name(made, catalog, _written(made, name, table), name)


def with_a_table_of_partitions(made: Made) -> None:
    """Make the catalog one of a format in which no manifest names what is published."""
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        for statement in (
            "create table listed as select * exclude (part, first_row, file_rows) from partitions",
            "drop view partitions",
            "alter table listed rename to partitions",
            "drop table manifests",
        ):
            catalog.execute(statement)
    shutil.rmtree(made.layout.manifests)


def add_partitions(made: Made, select: str, **values: Any) -> None:
    """Let the catalog name partitions that are not there: `select` gives rows of a manifest."""
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        rows = catalog.sql(select, params=values).to_arrow_table()
        months = {*zip(rows["data_type"].to_pylist(), rows["month"].to_pylist(), strict=True)}
        for data_type, month in sorted(months):
            of_type = pc.equal(rows["data_type"], data_type)
            own = rows.filter(pc.and_(of_type, pc.equal(rows["month"], pa.scalar(month))))
            tables = [completed(own, manifests.SCHEMA)]
            values = {"data_type": data_type, "month": month}
            asked = "from manifests where data_type = $data_type and month = $month"
            found = catalog.execute(f"select name {asked}", values).fetchall()
            for (name,) in found:
                there = pq.read_table(made.layout.manifests / name, partitioning=None)
                tables.append(there.cast(manifests.SCHEMA))
            name = f"{data_type}/{month:%Y_%m}-{0:016}.parquet"
            written = _written(made, name, pa.concat_tables(tables))
            if found:
                _name(made, catalog, written, found[0][0])
            else:
                one = (data_type, month, *written)
                catalog.execute(
                    f"insert into manifests values (?, ?{', ?' * len(written)}, null)", one
                )


def _written(made: Made, name: str, table: pa.Table) -> tuple[Any, ...]:
    """A manifest's name, bytes, SHA-256 and sums, written in place of the one of a name."""
    sink = pa.BufferOutputStream()
    sums: tuple[Any, ...] = (1, 1, 1, [])
    # A stranger writes what he likes.
    with suppress(ValueError, TypeError, AttributeError, OverflowError, pa.ArrowException):
        *counts, sessions = manifests._sums(table)
        sums = (*counts, list(sessions)) if None not in sessions else sums
    with suppress(ValueError, TypeError, pa.ArrowException):
        if [field.type for field in table.schema] == [field.type for field in manifests.SCHEMA]:
            table = table.cast(manifests._STORED)
    pq.write_table(table, sink, store_schema=False)
    content = sink.getvalue().to_pybytes()
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{name.rpartition('-')[0]}-{sha256[:16]}.parquet"
    path = made.layout.manifests / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name, len(content), sha256, *sums


def _name(
    made: Made, catalog: duckdb.DuckDBPyConnection, written: tuple[Any, ...], before: str
) -> None:
    catalog.execute(
        "update manifests set name = ?, bytes = ?, sha256 = ?, partitions = ?, rows = ?,"
        " cache_bytes = ?, sessions = ? where name = ?",
        [*written, before],
    )


def keep(made: Made) -> None:
    """Keep a warehouse, its source too, as it is now."""
    folder = made.root.parent
    shutil.copytree(folder, folder.with_name(f"{folder.name}-kept"))


def put_back(made: Made) -> None:
    """Make a warehouse what it was when it was kept: in a tenth of the time of making it."""
    folder = made.root.parent
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name(f"{folder.name}-kept"), folder)


def check_accounts(made: Made, report: RunReport) -> None:
    """Lines of every file = rows published + rows rejected, counted on disk."""
    published: dict[str, int] = {}
    for name, path in made.partitions().items():
        sessions = pq.read_table(path, columns=["session"], partitioning=None)["session"]
        for count in sessions.value_counts().to_pylist():
            key = day_key(name.partition("/")[0], count["values"])
            published[key] = published.get(key, 0) + count["counts"]
    rejected: dict[str, int] = {}
    for row in made.rejects():
        rejected[row["source"]] = rejected.get(row["source"], 0) + 1
    assert report.files
    for item in report.files:
        key = item.file.key
        assert item.problem is None, item.problem
        assert item.facts.lines == item.rows_published + item.rows_rejected
        assert item.rows_published == published.get(key, 0), key
        assert item.rows_rejected == rejected.get(key, 0), key
