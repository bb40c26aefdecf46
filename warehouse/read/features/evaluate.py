"""Features of what is published: rows are read with what lies before them, measured, and cut.

A feature's rows rest on others up to its lookback before them. All of those are read, so that a row
is the same whatever the start of the question, and those before the start are cut off at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.adjustment import Factors, adjusted, columns_to_read, factors
from warehouse.bars.securities import Bearing, cut
from warehouse.core.calendar import Span, midnight_ns
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS, DataType
from warehouse.core.duckdb_connection import connect, spill_folder, watched
from warehouse.errors import SqlFileError
from warehouse.read import partition_reader
from warehouse.read.arguments import Comparison
from warehouse.read.frames import (
    distinct,
    infinite_time,
    nanoseconds,
    symbol_column,
    unfit_type,
)
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_select import CONDITIONS, complaint

_LATE = 3
"""Partitions of a symbol before a question, that its lookback most often ends in."""


@dataclass(frozen=True)
class Source:
    """What is read of one symbol for one of a feature's tables.

    Attributes:
        symbol: as it was asked for.
        span: the question's, begun earlier by the lookback.
        series: the symbols that are read, and when.
        factors: what their prices and sizes are multiplied by.
    """

    table: str
    kind: DataType
    symbol: str
    stored: tuple[Stored, ...]
    span: Span
    series: tuple[tuple[str, Span], ...]
    factors: Factors

    @property
    def is_cut(self) -> bool:
        """Whether its rows are not simply those of the symbol in the span."""
        return self.series != ((self.symbol, self.span),)


@dataclass(frozen=True)
class Plan:
    """A question for a feature, and the files that its answer rests on, symbol by symbol."""

    feature: Feature
    values: Mapping[str, Any]
    span: Span
    sources: tuple[tuple[Source, ...], ...]
    conditions: tuple[tuple[Any, ...], ...]

    @property
    def rows(self) -> int:
        """So many, at most, are read."""
        return sum(map(_rows_of, self.sources))

    def groups(self, most_rows: int) -> Iterator[Plan]:
        """The question cut into questions about some symbols each, one after the other.

        Args:
            most_rows: of one of them, unless a single symbol has more.
        """
        group: list[tuple[Source, ...]] = []
        rows = 0
        for sources in self.sources:
            more = _rows_of(sources)
            if group and rows + more > most_rows:
                yield replace(self, sources=tuple(group))
                group, rows = [], 0
            group.append(sources)
            rows += more
        yield replace(self, sources=tuple(group))

    @property
    def facts(self) -> tuple[Any, ...]:
        """What stands behind the answer: as `key`, but the SELECT counts as what it says."""
        name, _, *rest = self.key
        return (name, self.feature.fingerprint, *rest)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal keys, equal answers: the question and the content that it is put to."""
        every = [source for sources in self.sources for source in sources]
        followed = [(one.table, one.series) for one in every if one.is_cut]
        multiplied = [(one.table, one.factors.facts) for one in every if one.factors]
        return (
            *(self.feature.name, self.feature.file.body, tuple(self.values.items())),
            *(self.span.start_ns, self.span.end_ns, self.conditions),
            tuple(
                (source.table, source.kind.name, one.symbol, one.sha256)
                for source in every
                for one in source.stored
            ),
            *(tuple(each) for each in (followed, multiplied) if each),
        )


def _rows_of(sources: Sequence[Source]) -> int:
    return sum(one.rows for source in sources for one in source.stored)


def plan(
    snapshot: Snapshot,
    feature: Feature,
    symbols: Sequence[str],
    span: Span,
    values: Mapping[str, Any],
    freq: str | None,
    how: Comparison,
) -> Plan:
    """What has to be read to answer. A security that several symbols name comes once, as in `load`.

    Args:
        values, freq: as `Feature.values` and `Feature.frequency` give them.
    """
    if feature.lookback.unit in ("rows", "sessions"):
        for name in feature.tables(freq).values():
            _count_rows_of_late(snapshot, name, symbols, span.first)
    if how.follow_renames:
        pieces = snapshot.securities().pieces
        every = {pieces(one, span.first, span.last): one for one in reversed(symbols)}
        first_named = set(every.values())
        symbols = [one for one in symbols if one in first_named]
    sources = []
    for symbol in symbols:
        of_symbol = []
        whole: Sequence[Bearing] = [Bearing(None, symbol, date.min, date.max)]
        if how.follow_renames:
            whole = snapshot.securities().series(symbol, span.first, span.last)
        for table, name in feature.tables(freq).items():
            kind = DATA_TYPES[name]
            wider = _with_lookback(snapshot, feature, kind, whole, span, values)
            series = partition_reader.within(wider, cut(whole, wider.first, wider.last))
            stored = [
                stored
                for traded, own in series
                for stored in partition_reader.touched(snapshot, kind, [traded], own)
            ]
            names = [traded for traded, _ in series]
            by = factors(snapshot, names, how.adjust, wider.first, wider.last, how.as_of)
            of_symbol.append(Source(table, kind, symbol, tuple(stored), wider, tuple(series), by))
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
                source.table: _read(snapshot, source, asked.feature.reads[source.table], pool)
                for source in sources
            }
            rows = run(connection, asked.feature, tables, asked.values)
            parts.append(_as_traded(_within(rows, asked.span), sources[0]))
    return pa.concat_tables(parts)


def _read(
    snapshot: Snapshot, source: Source, columns: Sequence[str], pool: Executor | None
) -> pa.Table:
    """The rows that a feature is asked of, multiplied; all under the symbol that was asked for.

    A feature looks from one row of a symbol to others of the same.
    """
    wanted = columns_to_read(columns, source.factors)
    table = partition_reader.read_series(
        snapshot, source.kind, source.series, wanted, source.span, pool
    )
    table = adjusted(table, source.factors).select(list(columns))
    if source.is_cut and "symbol" in columns:
        place = table.schema.get_field_index("symbol")
        name = symbol_column(source.symbol, table.num_rows)
        table = table.set_column(place, table.schema.field(place), name)
    return table


def _as_traded(rows: pa.Table, source: Source) -> pa.Table:
    """The rows of a feature under the symbols that the security traded under at their stamps."""
    if not source.is_cut or "symbol" not in rows.column_names:
        return rows
    begins = [span.start_ns for _, span in source.series]
    at = np.searchsorted(begins, nanoseconds(rows["timestamp"]), side="right") - 1
    names = pa.array([symbol for symbol, _ in source.series], pa.string())
    place = rows.schema.get_field_index("symbol")
    return rows.set_column(place, rows.schema.field(place), names.take(pa.array(np.maximum(at, 0))))


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
        SqlFileError: DuckDB cannot run it, or no answer can hold what it gives.
    """

    def ask() -> pa.Table:
        relation = connection.sql(feature.file.body, params=dict(values) or None)
        unfit = unfit_type(relation.columns, relation.types)
        if unfit is None:
            found = relation.to_arrow_table()
            unfit = infinite_time(found)
        if unfit is not None:
            raise SqlFileError(feature.file.path, unfit)
        return found

    for name, table in tables.items():
        connection.register(name, table)
    try:
        rows = watched(connection, feature.name, ask)
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
    series: Sequence[Bearing],
    span: Span,
    values: Mapping[str, Any],
) -> Span:
    """The span, begun so much earlier that every row that its rows rest on is in it."""
    unit, count = feature.lookback.unit, feature.lookback.given(values)
    if unit == "none":
        return span
    first = span.first
    if unit != "session":
        first = _sessions_before(snapshot, kind, series, span.first, unit, count)
    return Span(min(midnight_ns(first), span.start_ns), span.end_ns, first, span.last)


def _count_rows_of_late(
    snapshot: Snapshot, data_type: str, symbols: Sequence[str], first: date
) -> None:
    """Ask at once for what most symbols' lookback begins in: one by one takes a second for 40."""
    found = snapshot.partitions(data_type, symbols)
    until = {symbol: [one for one in found[symbol] if one.month <= first] for symbol in symbols}
    snapshot.rows_by_session([one for each in until.values() for one in each[-_LATE:]])


def _sessions_before(
    snapshot: Snapshot,
    kind: DataType,
    series: Sequence[Bearing],
    first: date,
    unit: str,
    count: int,
) -> date:
    """The latest session from which on there are `count` rows, or sessions, before `first`.

    Where there are not so many, the first session that there is.
    """
    before = first
    for piece in reversed(cut(series, date.min, first)):
        stored = snapshot.partitions(kind.name, [piece.symbol])[piece.symbol]
        for one in reversed([one for one in stored if one.month <= first]):
            sessions, rows = snapshot.rows_by_session([one])[one]
            for session, number in zip(reversed(sessions), reversed(rows), strict=True):
                if count <= 0:
                    return before
                if session < first and number and piece.first <= session <= piece.last:
                    before = session
                    count -= number if unit == "rows" else 1
    return before
