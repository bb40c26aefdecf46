"""The vendor's bars with a vwap: what its files lack is filled from the published trades.

Of each of the vendor's bars the window is filled, whatever of it is asked: of a minute its trades,
of a day the whole session's. They are read piece by piece, as for bars of our own, and of each
piece no more is kept than one number a window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from warehouse.bars.adjustment import Factors, adjusted, columns_to_read
from warehouse.bars.build import bar_steps, engine, run, windows
from warehouse.bars.compare import COVERED
from warehouse.bars.spec import BarSpec
from warehouse.core.calendar import Span, day_bounds_ns
from warehouse.core.datatypes import DataType
from warehouse.errors import RequestError, SqlFileError
from warehouse.read import availability, partition_reader
from warehouse.read.answers import Answers
from warehouse.read.arguments import Question
from warehouse.read.bars.answers import TRADES, BarAnswers, pieces, rules_of, warn
from warehouse.read.cache import Held
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frame_options import shaped
from warehouse.read.market import rows as market_rows
from warehouse.read.partition_reader import Series
from warehouse.read.snapshot import Snapshot

VWAP = "vwap"
_KEYS = ("symbol", "timestamp", "session")
"""Columns by which a bar's window is found."""
_STATEMENT = "vwaps"


def with_vwap(asked: Question, vwap: bool) -> Question:
    """What is asked of aggs, with the column `vwap`, last where it was not named.

    Raises:
        RequestError: it is asked of another data type, or is neither True nor False.
    """
    if not isinstance(vwap, bool):
        raise RequestError("vwap", vwap, "it may be True or False")
    if vwap and asked.kind.name not in COVERED:
        raise RequestError("vwap", vwap, f"{' and '.join(COVERED)} have one, not {asked.kind.name}")
    if not vwap or VWAP in asked.columns:
        return asked
    return replace(asked, columns=(*asked.columns, VWAP))


@dataclass(frozen=True)
class _Sought:
    """What is read for an answer, of one generation.

    Attributes:
        series: symbols, and of each its span; None: all symbols.
        groups: symbols of one span; none: all.
        factors: what the rows are multiplied by.
        facts: all that the answer rests on: equal facts, equal answers.
    """

    series: Series | None
    groups: tuple[tuple[Span, tuple[str, ...]], ...]
    factors: Factors
    facts: tuple[Any, ...]


class VwapAnswers:
    """The vendor's bars, filled; safe to use from many threads."""

    def __init__(self, answers: Answers, bars: BarAnswers) -> None:
        self._answers, self._bars = answers, bars

    def load(self, asked: Question) -> Any:
        """The rows, as `Warehouse.aggs` says."""

        def answer(snapshot: Snapshot) -> Any:
            sought = self._sought(snapshot, asked)

            def read() -> Held:
                table, unknown = self._filled(snapshot, asked, sought)
                warn(unknown)
                columns = dict.fromkeys([*asked.shape.index, *asked.columns])
                frame = shaped(adjusted(table, sought.factors).select(list(columns)), asked.shape)
                if isinstance(frame, pd.DataFrame):
                    frame.attrs["fingerprint"] = fingerprint(VWAP, *sought.facts)
                    frame.attrs["unknown_conditions"] = dict(unknown)
                return Held(frame)

            return self._answers.cache.get_or_make(
                (VWAP, repr(sought.facts)), lambda: self._answers.snapshots.whole(snapshot, read)
            )

        return self._answers.snapshots.read(answer)

    def fingerprint(self, asked: Question) -> str:
        """The id that an answer of `load` bears, as `Warehouse.fingerprint` says."""
        return self._answers.snapshots.read(
            lambda snapshot: fingerprint(VWAP, *self._sought(snapshot, asked).facts)
        )

    def _sought(self, snapshot: Snapshot, asked: Question) -> _Sought:
        """What is to be read; raises NoDataError where bars of the vendor's are not there."""
        series = _series(snapshot, asked)
        groups: tuple[tuple[Span, tuple[str, ...]], ...] = ((asked.span, ()),)
        if series is not None:
            groups = tuple(
                (span, tuple(symbol for symbol, _ in each))
                for span, each in groupby(series, key=lambda one: one[1])
            )
        symbols = None if series is None else {symbol for symbol, _ in series}
        factors = self._answers.factors(snapshot, symbols, asked)
        spec, folder = COVERED[asked.kind.name], self._bars.folder
        steps = [*bar_steps(spec, from_trades=True), (VWAP, _STATEMENT)]
        facts = (
            *(asked.kind.name, astuple(asked.shape), asked.columns),
            [_content(snapshot, asked.kind, spec, *each) for each in groups],
            folder.chain(steps).fingerprints,
            rules_of(snapshot),
            factors.facts,
        )
        return _Sought(series, groups, factors, facts)

    def _filled(
        self, snapshot: Snapshot, asked: Question, sought: _Sought
    ) -> tuple[pa.Table, Mapping[str, int]]:
        """The rows as traded, `vwap` filled, and the unknown conditions of the trades."""
        names = columns_to_read((*asked.shape.index, *asked.columns), sought.factors)
        table = self._rows(snapshot, asked, sought, list(dict.fromkeys([*names, *_KEYS])))
        if not table[VWAP].null_count:
            return table, {}
        spec, folder = COVERED[asked.kind.name], self._bars.folder
        unknown, found = Counter[str](), []
        with engine(snapshot.config, snapshot.trade_conditions()) as connection:
            for trades in self._trades(snapshot, spec, sought):
                rows, own = windows(connection, folder, spec, trades)
                found.append(rows.select([*_KEYS, VWAP]))
                unknown.update(own)
            if not found:
                return table, {}
            place = pa.array(np.arange(table.num_rows))
            given = {
                "bars": pa.concat_tables(found),
                "aggs": table.select([*_KEYS, VWAP]).append_column("place", place),
            }
            for name, relation in given.items():
                connection.register(name, relation)
            filled = run(connection, folder.chain([(VWAP, _STATEMENT)]), {})
        if filled.num_rows != table.num_rows:
            problem = f"gives {filled.num_rows:,} rows of {table.num_rows:,} bars; one each is due"
            raise SqlFileError(folder[_STATEMENT].file.path, problem)
        at = table.schema.get_field_index(VWAP)
        column = filled[VWAP].cast(pa.float64())
        return table.set_column(at, table.schema.field(at), column), dict(sorted(unknown.items()))

    def _rows(
        self, snapshot: Snapshot, asked: Question, sought: _Sought, columns: list[str]
    ) -> pa.Table:
        """The vendor's bars, as traded."""
        answers, series = self._answers, sought.series

        def read() -> pa.Table:
            if series is None:
                return market_rows.read(
                    snapshot, asked.kind, columns, asked.span, answers.workers()
                )
            return partition_reader.read_series(
                snapshot, asked.kind, series, columns, asked.span, answers.workers()
            )

        return answers.with_room(read)

    def _trades(self, snapshot: Snapshot, spec: BarSpec, sought: _Sought) -> Iterator[pa.Table]:
        """The trades of all windows, a piece after the other."""
        for span, symbols in sought.groups:
            for piece in pieces(snapshot, symbols, _of_windows(spec, span)):
                trades, _ = self._bars.trades_of(snapshot, piece, self._bars.folder, spec)
                if trades.num_rows:
                    yield trades


def _series(snapshot: Snapshot, asked: Question) -> Series | None:
    """Which symbols are read, and when; None: all.

    Raises:
        NoDataError: as `Warehouse.load` says, of the vendor's bars. Trades need not be there.
    """
    if not asked.symbols:
        if asked.whole:
            availability.check_market(snapshot, asked.kind, asked.span)
        return None
    followed = None
    if asked.comparison.follow_renames:
        followed = partition_reader.series_of(snapshot, asked.symbols, asked.span)
    if asked.whole and followed is not None:
        availability.check_series(snapshot, asked.kind, followed)
    elif asked.whole:
        availability.check(snapshot, asked.kind, asked.symbols, asked.span)
    if followed is not None:
        return followed
    return [(symbol, asked.span) for symbol in asked.symbols]


def _of_windows(spec: BarSpec, span: Span) -> Span:
    """The span of the trades of all windows that begin in a span."""
    start_ns, end_ns = day_bounds_ns(span.first, span.last)
    if not spec.is_day:
        start_ns, end_ns = span.start_ns, min(span.end_ns + spec.every_ns, end_ns)
    return Span(start_ns, end_ns, span.first, span.last)


def _content(
    snapshot: Snapshot, kind: DataType, spec: BarSpec, span: Span, symbols: tuple[str, ...]
) -> tuple[Any, ...]:
    """What the vendor's bars of a span and their trades are read from."""
    found: list[Any] = []
    for each, own in ((kind, span), (TRADES, _of_windows(spec, span))):
        if symbols:
            touched = partition_reader.touched(snapshot, each, symbols, own)
            found.append([(one.symbol, one.sha256) for one in touched])
        else:
            found.append(market_rows.content(snapshot, each, own))
    return (span.start_ns, span.end_ns, symbols or "*", *found)
