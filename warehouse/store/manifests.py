"""Manifests: what is published of a data type and month, in a file that is never changed.

A publish writes those of the months that it touches, and names them anew by their content; the
catalog says which ones are its generation's, and shows their rows as `partitions`. So a publish
costs what it changes, however much is there already.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.core.datatypes import is_data_type
from warehouse.core.duckdb_connection import quoted
from warehouse.core.paths import (
    ALL_SYMBOLS,
    Layout,
    PartitionKey,
    glob_literal,
    is_manifest,
    parse_partition,
    partition_name,
)
from warehouse.core.small_files import check_unpacked, parsed_parquet, up_to
from warehouse.errors import DamagedCatalogError, StorageError, one_line
from warehouse.store.partitions import SLICES, Partition

SCHEMA = pa.schema(
    [
        ("data_type", pa.string()),
        ("symbol", pa.string()),
        ("month", pa.date32()),
        ("file", pa.string()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("first_row", pa.int64()),
        ("file_rows", pa.int64()),
        ("first_timestamp", pa.timestamp("ns")),
        ("last_timestamp", pa.timestamp("ns")),
        ("sha256", pa.string()),
        ("fingerprint", pa.string()),
        ("sessions", SLICES.field("sessions").type),
    ]
)
"""A row for each symbol of each file. `file` is the partition's, below the cache folder."""

_SESSION = SLICES.field("sessions").type.value_type
_STORED = pa.schema(
    [
        pa.field(
            "sessions",
            pa.list_(
                pa.field(
                    "element",
                    pa.struct(
                        [
                            field.with_nullable(field.name in ("etag", "fingerprint"))
                            for field in _SESSION
                        ]
                    ),
                    nullable=False,
                )
            ),
            nullable=False,
        )
        if field.name == "sessions"
        else field.with_nullable(field.name in ("first_row", "file_rows"))
        for field in SCHEMA
    ]
)
"""The columns as a file declares them: what may lack no value cannot."""

Key = tuple[str, date]
"""A data type and the first day of a month."""

_ROW_GROUP_ROWS = 2_048
MOST_BYTES, _MOST_ROWS = 256 << 20, 1 << 21
"""Of a manifest: a month of 25,000 symbols in a file a session has a quarter of these rows."""
_NAME = re.compile(r"\d{4}_\d{2}-[0-9a-f]{16}\.parquet", re.ASCII)
_KEPT_SECONDS = 24 * 3600
"""So long a manifest is kept after another has taken its place: who reads an older generation."""


@dataclass(frozen=True)
class Manifest:
    """One manifest; the columns of the catalog's table `manifests`.

    Attributes:
        data_type, month: what it is of; `month` is its first day.
        name: below the folder of all manifests.
        bytes, sha256: of the file.
        partitions, rows: how many it names, and how many rows these have.
        cache_bytes: of their files.
        sessions: of which there are rows, ascending.
        follows: of kept bars, an id of the trades that they were compared with and are up to date
            with; None: nobody has compared them since they were published.
    """

    data_type: str
    month: date
    name: str
    bytes: int
    sha256: str
    partitions: int
    rows: int
    cache_bytes: int
    sessions: tuple[date, ...]
    follows: str | None = field(default=None, compare=False)

    @property
    def key(self) -> Key:
        return self.data_type, self.month

    def path(self, layout: Layout) -> Path:
        return layout.manifests / self.name


def followed(trades: Manifest, hours: Mapping[date, str]) -> str:
    """One id of a month's trades as they are published, and of the hours of their sessions.

    What a manifest says is in its name. Where the id is the same no bar is of other trades.
    """
    facts = [trades.name, [hours[session] for session in trades.sessions]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def rows_of(partitions: Sequence[Partition]) -> pa.Table:
    """What a manifest says of partitions, of one of all symbols a row for each symbol."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    shared = [item for item in partitions if item.slices is not None]
    for item in partitions:
        if item.slices is not None:
            continue
        columns["data_type"].append(item.data_type)
        columns["symbol"].append(item.symbol)
        columns["month"].append(item.month)
        columns["file"].append(partition_name(*item.key))
        columns["rows"].append(item.rows)
        columns["bytes"].append(item.bytes)
        columns["first_row"].append(None)
        columns["file_rows"].append(None)
        columns["first_timestamp"].append(item.first_ns)
        columns["last_timestamp"].append(item.last_ns)
        columns["sha256"].append(item.sha256)
        columns["fingerprint"].append(item.fingerprint)
        columns["sessions"].append([vars(session) for session in item.sessions])
    own = pa.Table.from_pydict(columns, SCHEMA)
    return pa.concat_tables([own, *map(_rows_of_shared, shared)])


def _rows_of_shared(item: Partition) -> pa.Table:
    assert item.slices is not None
    same = {
        "data_type": item.data_type,
        "month": item.month,
        "file": partition_name(*item.key),
        "bytes": item.bytes,
        "sha256": item.sha256,
        "fingerprint": item.fingerprint,
        "file_rows": item.rows,
    }
    return pa.Table.from_arrays(
        [
            pa.repeat(pa.scalar(same[field.name], field.type), item.slices.num_rows)
            if field.name in same
            else item.slices[field.name].cast(field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def changed(before: pa.Table, added: pa.Table, removed: Iterable[PartitionKey]) -> pa.Table:
    """The rows of a month after a change, by file and symbol, whatever came first.

    Args:
        before: its rows, as `SCHEMA`.
        added: rows that take the place of those of their files.
        removed: what is no more.
    """
    names = {partition_name(*key) for key in removed}
    files = pa.array(sorted(names | set(pc.unique(added["file"]).to_pylist())), pa.string())
    rows = pa.concat_tables([before.filter(pc.invert(pc.is_in(before["file"], files))), added])
    order = pc.sort_indices(rows, [("file", "ascending"), ("symbol", "ascending")])
    # What is new mostly comes last, and to take lists by their places is slow.
    is_ordered = np.array_equal(order.to_numpy(), np.arange(rows.num_rows))
    return (rows if is_ordered else rows.take(order)).combine_chunks()


def write(folder: Path, key: Key, rows: pa.Table) -> tuple[Manifest, Path]:
    """Write the manifest of a month below an existing folder of the staging tier.

    Returns:
        It, and where it is staged. The same rows give the same file.

    Raises:
        OSError: the disk refuses.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows.cast(_STORED),
        sink,
        compression="zstd",
        row_group_size=_ROW_GROUP_ROWS,
        write_page_checksum=True,
        store_schema=False,
    )
    content = sink.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    data_type, month = key
    name = f"{data_type}/{month:%Y_%m}-{sha256[:16]}.parquet"
    path = folder / name.replace("/", "-")
    with open(path, "wb") as file:
        file.write(content)
    return Manifest(data_type, month, name, content.size, sha256, *_sums(rows)), path


def _sums(rows: pa.Table) -> tuple[int, int, int, tuple[date, ...]]:
    """How many partitions, rows, bytes of files, and which sessions."""
    # Those of a file that all symbols share count once.
    first = pc.equal(pc.fill_null(rows["first_row"], 0), 0)
    size = pc.sum(rows["bytes"].filter(first), min_count=0).as_py()
    sessions = pc.unique(rows["sessions"].combine_chunks().flatten().field("session"))
    count = pc.sum(rows["rows"], min_count=0).as_py()
    return rows.num_rows, count, size, tuple(sorted(sessions.to_pylist()))


def expired(layout: Layout, data_type: str, in_use: AbstractSet[str]) -> list[Path]:
    """Manifests of a data type that were superseded so long ago that nobody reads them any more."""
    since = time.time() - _KEPT_SECONDS
    try:
        with os.scandir(layout.manifests / data_type) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if f"{data_type}/{entry.name}" not in in_use
                and _NAME.fullmatch(entry.name)
                and entry.stat(follow_symlinks=False).st_mtime < since
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_superseded(path: Path) -> bool:
    """Whether a manifest that no catalog names is one that readers may still be reading."""
    if not _NAME.fullmatch(path.name):
        return False
    return path.lstat().st_mtime > time.time() - 2 * _KEPT_SECONDS


def listed(connection: duckdb.DuckDBPyConnection, database: str) -> list[Manifest]:
    """The manifests that an attached catalog names, by data type and month."""
    relation = f"{database}.main.manifests"
    # A catalog of an earlier version does not say it, and of another kind it is a stranger's.
    kinds = connection.execute(f"describe {relation}").fetchall()
    follows = "follows" if ("follows", "VARCHAR") in {kind[:2] for kind in kinds} else "null"
    rows = connection.execute(
        f"""
        select
            data_type, month, name, bytes, sha256, partitions, rows, cache_bytes, sessions,
            {follows}
        from {relation}
        order by data_type, month
        """
    ).fetchall()
    return [
        Manifest(kind, month, name, size, sha256, partitions, count, cached, tuple(days), trades)
        for kind, month, name, size, sha256, partitions, count, cached, days, trades in rows
    ]


def check_there(layout: Layout, manifests: Iterable[Manifest]) -> None:
    """Look whether manifests that a catalog names are there, as large as it says; none is read.

    Raises:
        DamagedCatalogError: one is missing, of another size, or none of ours.
        StorageError: the system refuses to look, which says nothing of it.
    """
    seen: set[Key] = set()
    for one in manifests:
        if not is_data_type(one.data_type) or not is_manifest(one.name, one.data_type, one.month):
            problem = f"it names {one.name!r}, which is no manifest of {one.data_type}"
            raise DamagedCatalogError(layout.catalog, problem)
        if one.bytes > MOST_BYTES:
            problem = f"it names {one.name!r}, of {one.bytes:,} bytes"
            raise DamagedCatalogError(layout.catalog, problem)
        if one.key in seen:
            problem = f"it names two manifests of {one.data_type} {one.month:%Y-%m}"
            raise DamagedCatalogError(layout.catalog, problem)
        seen.add(one.key)
        _facts(layout, one, f"{layout.manifests}/{one.name}")


def _facts(layout: Layout, one: Manifest, path: str) -> os.stat_result:
    try:
        facts = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedCatalogError(layout.catalog, f"{path} is missing") from error
    except OSError as error:
        raise _refused(Path(path), error) from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != one.bytes:
        problem = f"{path} is not what it names: {facts.st_size:,} bytes, not {one.bytes:,}"
        raise DamagedCatalogError(layout.catalog, problem)
    return facts


def check(layout: Layout, manifests: Iterable[Manifest], *, deeply: bool = False) -> None:
    """Look whether manifests are those that a catalog names. Each file is read once a process.

    Args:
        deeply: their values are looked at, too: a stranger's file may be as its catalog says, and
            say what no publish writes. It takes some milliseconds for each.

    Raises:
        DamagedCatalogError: one is missing, or is another.
        StorageError: the system refuses to read one, which says nothing of it.
    """
    manifests = list(manifests)
    check_there(layout, manifests)
    for one in manifests:
        path = one.path(layout)
        facts = _facts(layout, one, str(path))
        identity = (str(path), one, facts.st_ino, facts.st_mtime_ns)
        try:
            found = _problem(*identity)
            if found is None and deeply:
                found = _odd_value(*identity)
        except OSError as error:
            raise _refused(path, error) from error
        if found is not None:
            raise DamagedCatalogError(layout.catalog, f"{path} {found}")


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(path, f"cannot be read: {error.strerror or error}")


@lru_cache(maxsize=1 << 14)
def _problem(path: str, one: Manifest, _inode: int, _modified_ns: int) -> str | None:
    """What is wrong with a manifest's bytes or its columns; None: nothing.

    Raises:
        OSError: the system refuses; it is asked again the next time.
    """
    with open(path, "rb") as file:
        content = up_to(file, one.bytes)
    if hashlib.sha256(content).hexdigest() != one.sha256:
        return "is not what it names (SHA-256)"
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            schema = file.schema_arrow.remove_metadata()
            check_unpacked(file.metadata, _MOST_ROWS)
    except MemoryError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        return f"cannot be read: {one_line(error, 200)}"
    return None if schema.equals(_STORED) else "has other columns than a manifest"


@lru_cache(maxsize=1 << 14)
def _odd_value(path: str, one: Manifest, _inode: int, _modified_ns: int) -> str | None:
    """A value that no publish writes, in words."""
    try:
        rows = _rows(Path(path))
    except ValueError as error:
        return f"cannot be read: {one_line(error, 200)}"
    sessions = rows["sessions"].combine_chunks().flatten()
    days = sessions.field("session").cast(pa.int32())
    first, last = (day.toordinal() - _EPOCH for day in (date(1, 1, 1), date(9999, 11, 30)))
    inside = pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last))
    if not pc.all(inside, min_count=0).as_py():
        return "has an impossible value: a session that no calendar has"
    if pc.any(pc.not_equal(rows["data_type"], one.data_type), min_count=0).as_py():
        return "speaks of another data type"
    if pc.any(pc.not_equal(rows["month"], pa.scalar(one.month)), min_count=0).as_py():
        return "speaks of another month"
    if pc.any(pc.less(rows["rows"], 1), min_count=0).as_py():
        return "has an impossible value: a partition without rows"
    counts = pc.list_value_length(rows["sessions"].combine_chunks()).to_numpy()
    symbols = rows["symbol"].take(pa.array(np.repeat(np.arange(len(counts)), counts)))
    pairs = pa.table({"symbol": symbols, "session": days})
    if pairs.group_by(["symbol", "session"]).aggregate([]).num_rows < pairs.num_rows:
        return "names a symbol twice"
    shared = set(pc.unique(rows["file"].filter(rows["first_row"].is_valid())).to_pylist())
    for file in pc.unique(rows["file"]).to_pylist():
        key = parse_partition(file)
        if key is None or (key.data_type, key.month) != one.key:
            return f"names {file!r}, which no partition of its month is called"
        if (key.symbol == ALL_SYMBOLS) != (file in shared):
            return f"says otherwise than its name whether all symbols share {file}"
    if _sums(rows) != (one.partitions, one.rows, one.cache_bytes, one.sessions):
        return "has an impossible value: other sums than the catalog names"
    return None


_EPOCH = date(1970, 1, 1).toordinal()


def read(layout: Layout, one: Manifest) -> pa.Table:
    """The rows of a manifest that was looked at with `check`, as `SCHEMA`.

    Raises:
        DamagedCatalogError: its texts do not fit into memory.
    """
    try:
        return _rows(one.path(layout))
    except ValueError as error:
        path = one.path(layout)
        problem = f"{path} cannot be read: {one_line(error, 200)}"
        raise DamagedCatalogError(layout.catalog, problem) from error


def _rows(path: Path) -> pa.Table:
    return parsed(content_of(path))


def content_of(path: Path) -> bytes:
    """The bytes of a manifest; of what is larger than any, too few."""
    with open(path, "rb") as file:
        return up_to(file, MOST_BYTES)


def parsed(content: bytes) -> pa.Table:
    """The rows of a manifest, as `SCHEMA`.

    Raises:
        ValueError: it is none, or its rows would take far more memory than those of one do.
    """
    return parsed_parquet(content, _MOST_ROWS).cast(SCHEMA)


def as_query(layout: Layout, manifests: Iterable[Manifest]) -> str:
    """A SELECT of the table `partitions` from these manifests."""
    by_type: dict[str, list[Manifest]] = {}
    for one in manifests:
        by_type.setdefault(one.data_type, []).append(one)
    path = quoted(layout.schema / "partitions.parquet")
    empty = f"from read_parquet({path}, hive_partitioning = false)"
    parts = [f"select {_columns(layout)} {empty}"] if not by_type else []
    for data_type, some in sorted(by_type.items()):
        paths = ", ".join(f"'{glob_literal(one.path(layout))}'" for one in some)
        # The constant lets a question about one data type pass over the files of the others.
        parts.append(
            f"select {_columns(layout, quoted(data_type))}"
            f" from read_parquet([{paths}], hive_partitioning = false)"
        )
    return " union all ".join(parts)


def _columns(layout: Layout, data_type: str = "data_type") -> str:
    folder = quoted(f"{layout.cache}/")
    names = [name for name in SCHEMA.names if name not in ("data_type", "symbol", "month", "file")]
    place = f"{folder} || file as path, {_PART} as part"
    return f"{data_type} as data_type, symbol, month, {place}, {', '.join(names)}"


_PART = r"regexp_extract(file, '/market/[0-9_]+/([0-9][0-9]_[0-9][0-9])\.parquet$', 1)"


def as_view(layout: Layout, manifests: Iterable[Manifest], name: str = "partitions") -> str:
    """The statement after which `partitions` are those of these manifests.

    A temporary view goes before one of the catalog, which could be a stranger's.
    """
    return f"create or replace temp view {name} as {as_query(layout, manifests)}"


def table(manifests: Iterable[Manifest]) -> Mapping[str, list[Any]]:
    """The columns of the catalog's table `manifests`."""
    ordered = sorted(manifests, key=lambda one: one.key)
    return {
        "data_type": [one.data_type for one in ordered],
        "month": [one.month for one in ordered],
        "name": [one.name for one in ordered],
        "bytes": [one.bytes for one in ordered],
        "sha256": [one.sha256 for one in ordered],
        "partitions": [one.partitions for one in ordered],
        "rows": [one.rows for one in ordered],
        "cache_bytes": [one.cache_bytes for one in ordered],
        "sessions": [list(one.sessions) for one in ordered],
        "follows": [one.follows for one in ordered],
    }
