"""Features of what is published: rows are read with what lies before them, measured, and cut.

A feature's rows rest on others up to its lookback before them. All of those are read, so that a row
is the same whatever the start of the question, and those before the start are cut off at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.calendar import Span, midnight_ns
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS, DataType
from warehouse.core.duckdb_connection import connect, interruptible, spill_folder
from warehouse.errors import SqlFileError
from warehouse.read import partition_reader
from warehouse.read.frames import distinct
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_select import CONDITIONS, complaint


@dataclass(frozen=True)
class Source:
    """What is read of one symbol for one of a feature's tables.

    Attributes:
        span: the question's, begun earlier by the lookback.
    """

    table: str
    kind: DataType
    symbol: str
    stored: tuple[Stored, ...]
    span: Span


@dataclass(frozen=True)
class Plan:
    """A question for a feature, and the files that its answer rests on, symbol by symbol."""

    feature: Feature
    values: Mapping[str, Any]
    span: Span
    sources: tuple[tuple[Source, ...], ...]
    conditions: tuple[tuple[Any, ...], ...]

    @property
    def facts(self) -> tuple[Any, ...]:
        """What stands behind the answer: as `key`, but the SELECT counts as what it says."""
        name, _, *rest = self.key
        return (name, self.feature.fingerprint, *rest)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal keys, equal answers: the question and the content that it is put to."""
        return (
            *(self.feature.name, self.feature.file.body, tuple(self.values.items())),
            *(self.span.start_ns, self.span.end_ns, self.conditions),
            tuple(
                (source.table, source.kind.name, one.symbol, one.sha256)
                for symbol in self.sources
                for source in symbol
                for one in source.stored
            ),
        )


def plan(
    snapshot: Snapshot,
    feature: Feature,
    symbols: Sequence[str],
    span: Span,
    values: Mapping[str, Any],
    freq: str | None,
) -> Plan:
    """What has to be read to answer.

    Args:
        values, freq: as `Feature.values` and `Feature.frequency` give them.
    """
    sources = []
    for symbol in symbols:
        of_symbol = []
        for table, name in feature.tables(freq).items():
            kind = DATA_TYPES[name]
            wider = _with_lookback(snapshot, feature, kind, symbol, span, values)
            stored = tuple(partition_reader.touched(snapshot, kind, [symbol], wider))
            of_symbol.append(Source(table, kind, symbol, stored, wider))
        sources.append(tuple(of_symbol))
    return Plan(
        feature,
        dict(values),
        span,
        tuple(sources),
        _conditions(snapshot) if CONDITIONS in feature.statement.tables else (),
    )


def answer(snapshot: Snapshot, asked: Plan, pool: Executor | None) -> pa.Table:
    """The feature's rows, symbol by symbol; memory is bounded by what one symbol's rows need.

    Raises:
        CorruptPartitionError: a file is damaged, or not the one the catalog knows.
        SqlFileError: the feature fails on these rows.
    """
    parts = []
    conditions = TRADE_CONDITIONS.empty_table()
    if CONDITIONS in asked.feature.statement.tables:
        conditions = snapshot.trade_conditions()
    with engine(snapshot.config, conditions) as connection:
        for sources in asked.sources:
            tables = {
                source.table: partition_reader.read(
                    snapshot,
                    source.kind,
                    {source.symbol: source.stored},
                    asked.feature.reads[source.table],
                    source.span,
                    pool,
                ).table
                for source in sources
            }
            rows = run(connection, asked.feature, tables, asked.values)
            parts.append(_within(rows, asked.span))
    return pa.concat_tables(parts)


@contextmanager
def engine(config: Config, conditions: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that computes and can reach nothing but what is handed to it.

    Args:
        conditions: of the columns `TRADE_CONDITIONS`.
    """
    with (
        spill_folder() as folder,
        connect(
            spill=folder,
            threads=config.processing.parallel_workers,
            memory_bytes=config.processing.memory_limit_bytes,
        ) as connection,
    ):
        connection.register(CONDITIONS, conditions)
        yield connection


def run(
    connection: duckdb.DuckDBPyConnection,
    feature: Feature,
    tables: Mapping[str, pa.Table],
    values: Mapping[str, Any],
) -> pa.Table:
    """The feature's SELECT over these tables, in the order that it ends with.

    Raises:
        SqlFileError: DuckDB cannot run it.
    """
    for name, table in tables.items():
        connection.register(name, table)
    try:
        rows = interruptible(
            connection,
            lambda: connection.sql(feature.file.body, params=dict(values) or None).to_arrow_table(),
        )
    except duckdb.Error as error:
        raise SqlFileError(feature.file.path, f"fails on these rows: {complaint(error)}") from error
    finally:
        for name in tables:
            connection.unregister(name)
    return rows.rename_columns(distinct(rows.column_names))


def _conditions(snapshot: Snapshot) -> tuple[tuple[Any, ...], ...]:
    """The rules as what can be compared."""
    return snapshot.once(
        "conditions' rules",
        lambda: tuple(tuple(row.values()) for row in snapshot.trade_conditions().to_pylist()),
    )


def _within(rows: pa.Table, span: Span) -> pa.Table:
    """Rows whose stamps lie in [start, end) of the span."""
    stamps = pc.cast(rows["timestamp"], pa.int64())
    inside = pc.and_(
        pc.greater_equal(stamps, pa.scalar(span.start_ns, pa.int64())),
        pc.less(stamps, pa.scalar(span.end_ns, pa.int64())),
    )
    if rows.num_rows == pc.sum(inside, min_count=0).as_py():
        return rows
    return rows.filter(inside)


def _with_lookback(
    snapshot: Snapshot,
    feature: Feature,
    kind: DataType,
    symbol: str,
    span: Span,
    values: Mapping[str, Any],
) -> Span:
    """The span, begun so much earlier that every row that its rows rest on is in it."""
    unit, count = feature.lookback.unit, feature.lookback.given(values)
    if unit == "none":
        return span
    first = span.first
    if unit != "session":
        first = _sessions_before(snapshot, kind, symbol, span.first, unit, count)
    return Span(min(midnight_ns(first), span.start_ns), span.end_ns, first, span.last)


def _sessions_before(
    snapshot: Snapshot, kind: DataType, symbol: str, first: date, unit: str, count: int
) -> date:
    """The latest session from which on there are `count` rows, or sessions, before `first`.

    Where there are not so many, the first session that there is.
    """
    before = first
    stored = snapshot.partitions(kind.name, [symbol])[symbol]
    for one in reversed([one for one in stored if one.month <= first]):
        sessions, rows = snapshot.rows_by_session([one])[one]
        for session, number in zip(reversed(sessions), reversed(rows), strict=True):
            if count <= 0:
                return before
            if session < first and number:
                before = session
                count -= number if unit == "rows" else 1
    return before
