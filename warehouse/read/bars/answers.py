"""Bars from published trades: read piece by piece, built, and kept.

A session's bars rest on that session's trades alone. So a question is cut into months, and months
of many rows into sessions: memory is bounded by one piece, however long the span.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.adjustment import Factors, adjusted, factors
from warehouse.bars.build import (
    FEWER,
    READS,
    Bars,
    Unbarred,
    build,
    by_kernel,
    chain,
    engine,
    needs_fewer,
    plain,
)
from warehouse.bars.explain import REJECTED, explain, in_words
from warehouse.bars.spec import BarSpec
from warehouse.bars.tape import is_in_order
from warehouse.core.calendar import Span, day_bounds_ns, last_day_of_month
from warehouse.core.datatypes import DATA_TYPES
from warehouse.read import availability, partition_reader
from warehouse.read.answers import Answers, check_same
from warehouse.read.bars.question import BarQuestion, Window
from warehouse.read.cache import Held
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frame_options import shaped
from warehouse.read.frames import as_form, check_form, check_zone, in_zone
from warehouse.read.market import rows as market_rows
from warehouse.read.partition_reader import Series
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.partitions import ranks_of
from warehouse.text import some

logger = logging.getLogger("warehouse")

TRADES = DATA_TYPES["trades"]
CODED_TRADES = TRADES.with_codes(("symbol", "conditions"))
_PIECE_ROWS = 2_000_000
"""So many trades are read and built at once, unless a single session of one symbol has more."""


@dataclass(frozen=True)
class Piece:
    """Trades that are read at once.

    Attributes:
        stored: by symbol; none: of all symbols.
        span: whole sessions of the question's, or a part of the one at its edge.
    """

    stored: dict[str, list[Stored]]
    span: Span


@dataclass(frozen=True)
class BarPart:
    """A question about a piece of its trades.

    Attributes:
        sql_dir: of the warehouse.
        by: what prices are multiplied by.
        rests_on: all that its bars rest on.
    """

    sql_dir: Path
    asked: BarQuestion
    piece: Piece
    by: Factors
    rests_on: Hashable

    @property
    def key(self) -> Hashable:
        return self.piece.span, self.rests_on

    def __call__(self, answers: Answers) -> Bars | None:
        """The bars; None: there are no trades.

        Raises:
            EngineError: something else was published.
        """
        own = BarAnswers(answers, self.sql_dir)

        def answer(snapshot: Snapshot) -> Bars | None:
            check_same(self.rests_on, own.rests_on(snapshot, self.asked.spec, self.piece))
            made = answers.snapshots.whole(
                snapshot, lambda: list(own.made(snapshot, self.asked, [self.piece], self.by))
            )
            return made[0] if made else None

        return answers.snapshots.read(answer)


class BarAnswers:
    """Answers questions about bars of one warehouse; safe to use from many threads."""

    def __init__(self, answers: Answers, sql_dir: Path) -> None:
        self._answers, self._sql_dir = answers, sql_dir

    @property
    def folder(self) -> BarFolder:
        """The statements as they are now: a file that is changed is noticed."""
        return BarFolder(SqlFolder(self._sql_dir))

    def load(self, asked: BarQuestion) -> Any:
        """The bars, as `Warehouse.bars` says."""

        def answer(snapshot: Snapshot) -> Any:
            series = self._series(snapshot, asked, asked.span)
            if asked.whole and series is not None:
                availability.check_series(snapshot, TRADES, series)
            elif asked.whole and asked.symbols:
                availability.check(snapshot, TRADES, asked.symbols, asked.span)
            elif asked.whole:
                availability.check_market(snapshot, TRADES, asked.span)
            facts = self._facts(snapshot, asked)

            def read() -> Held:
                bars = self.build(snapshot, asked)
                warn(bars.unknown_conditions)
                names = dict.fromkeys([*asked.shape.index, *asked.columns])
                frame = shaped(bars.table.select(list(names)), asked.shape)
                if isinstance(frame, pd.DataFrame):
                    frame.attrs["fingerprint"] = fingerprint("bars", *facts)
                    frame.attrs["unbarred"] = vars(bars.unbarred)
                    frame.attrs["unknown_conditions"] = dict(bars.unknown_conditions)
                return Held(frame)

            return self._answers.cache.get_or_make(
                ("bars", repr(facts), asked.columns, astuple(asked.shape)),
                lambda: self._answers.snapshots.whole(snapshot, read),
            )

        return self._answers.snapshots.read(answer)

    def build(self, snapshot: Snapshot, asked: BarQuestion) -> Bars:
        """The bars with all columns, symbol by symbol in the order asked, each by time.

        Raises:
            TooLargeError: a piece of the trades would not fit into memory.
            CorruptPartitionError: a file is damaged, or not the one the catalog knows.
            SqlFileError: a statement of sql/bars is not what it should be, or fails.
        """
        series, by = self._series(snapshot, asked, asked.reads), self._factors(snapshot, asked)
        pieces = list(_every(snapshot, asked, series))
        if self._answers.engine.is_here or not _are_many(pieces):
            return self._put_together(asked, series, self.made(snapshot, asked, pieces, by))
        statements = self._statements(snapshot, asked.spec)
        parts = [
            BarPart(self._sql_dir, asked, piece, by, (statements, content_of(snapshot, piece)))
            for piece in pieces
        ]
        made = self._answers.side_by_side(snapshot, parts, {})
        return self._put_together(asked, series, (one for one in made if one is not None))

    def made(
        self, snapshot: Snapshot, asked: BarQuestion, pieces: Iterable[Piece], by: Factors
    ) -> Iterator[Bars]:
        """The bars of each piece that has trades, adjusted."""
        of_trades, of_bars = (Factors(), by) if asked.is_adjusted_when_built else (by, Factors())
        folder, rules = self.folder, snapshot.trade_conditions()
        threads = min(snapshot.config.processing.parallel_workers, os.cpu_count() or 1)
        with ExitStack() as stack:
            connection = None
            for piece in pieces:
                trades, is_ordered = self.trades_of(snapshot, piece, folder, asked.spec)
                if not trades.num_rows:
                    continue
                if of_trades:
                    trades = adjusted(plain(trades), of_trades)
                bars = None
                if is_ordered:
                    bars = by_kernel(asked.spec, trades, rules, threads, asked.span)
                if bars is None:
                    # To open a DuckDB takes as long as the bars of a month of most symbols.
                    if connection is None:
                        connection = stack.enter_context(engine(snapshot.config, rules))
                    bars = build(connection, folder, asked.spec, trades, asked.span)
                yield replace(bars, table=adjusted(bars.table, of_bars))

    @staticmethod
    def _put_together(asked: BarQuestion, series: Series | None, made: Iterable[Bars]) -> Bars:
        """The bars of all pieces, in the order asked."""
        tables, unbarred, unknown = [], Unbarred(0, 0, 0.0, 0.0), Counter[str]()
        for bars in made:
            tables.append(bars.table)
            unbarred = Unbarred(
                *(
                    one + other
                    for one, other in zip(astuple(unbarred), astuple(bars.unbarred), strict=True)
                )
            )
            unknown.update(bars.unknown_conditions)
        # Never an empty chunk before others: pyarrow writes it into a CSV as a second header.
        table = pa.concat_tables(tables or [asked.kind.columns.empty_table()])
        if series is None and (len(tables) > 1 or len(asked.symbols) > 1):
            table = table.take(pa.array(_order(table, asked.symbols)))
        return Bars(table, unbarred, dict(sorted(unknown.items())))

    def rests_on(self, snapshot: Snapshot, spec: BarSpec, piece: Piece) -> Hashable:
        """All that the bars of a piece rest on, but for the question."""
        return self._statements(snapshot, spec), content_of(snapshot, piece)

    def _statements(self, snapshot: Snapshot, spec: BarSpec) -> Hashable:
        """What bars are built by, whichever trades they are of."""
        return chain(self.folder, spec, from_trades=True).fingerprints, repr(rules_of(snapshot))

    def check(self, spec: BarSpec) -> None:
        """Look at the statements of such bars.

        Raises:
            SqlFileError: one is not what it should be.
        """
        chain(self.folder, spec, from_trades=True)

    def explain(self, asked: Window, to: str, tz: str) -> Any:
        """Every trade of one window, as `Warehouse.explain_bar` says."""
        form, zone = check_form(to), check_zone(tz)

        def answer(snapshot: Snapshot) -> Any:
            day = Span(*day_bounds_ns(asked.session, asked.session), asked.session, asked.session)
            names = (asked.symbol,)
            availability.check(snapshot, TRADES, names, day)
            stored = partition_reader.touched(snapshot, TRADES, names, day)
            trades = self.trades(snapshot, Piece({asked.symbol: stored}, day), READS)
            with engine(snapshot.config, snapshot.trade_conditions()) as connection:
                found = explain(
                    connection,
                    self.folder,
                    asked.spec,
                    trades,
                    _rejected(snapshot, asked.symbol, day),
                    asked.at_ns,
                    asked.session,
                )
            frame = as_form(in_zone(found.prints, zone), form)
            if isinstance(frame, pd.DataFrame):
                frame.attrs["window"] = tuple(
                    pd.Timestamp(each, tz="UTC").tz_convert(zone)
                    for each in (found.begin_ns, found.end_ns)
                )
                frame.attrs["bar"] = found.bar
                frame.attrs["text"] = in_words(found)
            return frame

        return self._answers.snapshots.read(answer)

    def trades_of(
        self, snapshot: Snapshot, piece: Piece, folder: BarFolder, spec: BarSpec
    ) -> tuple[pa.Table, bool]:
        """A piece's trades with the columns that such bars rest on.

        Returns:
            They, and whether they are the kernel's: symbols and conditions are dictionaries then.
        """
        if needs_fewer(folder, spec):
            trades = self.trades(snapshot, piece, FEWER, is_coded=True)
            if is_in_order(trades):
                return trades, True
        return self.trades(snapshot, piece, READS), False

    def trades(
        self, snapshot: Snapshot, piece: Piece, columns: Sequence[str], *, is_coded: bool = False
    ) -> pa.Table:
        """Columns of a piece's trades, symbol by symbol, each as the tape has them.

        Args:
            is_coded: symbols and conditions come as dictionaries, as they are stored.
        """
        answers, kind = self._answers, CODED_TRADES if is_coded else TRADES

        def read() -> pa.Table:
            if not piece.stored:
                return market_rows.read(snapshot, kind, columns, piece.span, answers.workers())
            return partition_reader.read(
                snapshot, kind, piece.stored, columns, piece.span, answers.workers()
            ).table

        return answers.with_room(read)

    def _facts(self, snapshot: Snapshot, asked: BarQuestion) -> tuple[Any, ...]:
        """All that an answer rests on: equal facts, equal answers."""
        span = (asked.span.start_ns, asked.span.end_ns)
        series, by = self._series(snapshot, asked, asked.reads), self._factors(snapshot, asked)
        content: list[tuple[Any, ...]]
        if series is not None:
            content = [
                (symbol, span.start_ns, span.end_ns, one.sha256)
                for symbol, span in series
                for one in partition_reader.touched(snapshot, TRADES, [symbol], span)
            ]
        elif asked.symbols:
            found = partition_reader.touched(snapshot, TRADES, asked.symbols, asked.reads)
            content = [(one.symbol, one.sha256) for one in found]
        else:
            content = [("*", sha) for sha in market_rows.content(snapshot, TRADES, asked.reads)]
        statements = chain(self.folder, asked.spec, from_trades=True).fingerprints
        rules = rules_of(snapshot)
        facts = (astuple(asked.spec), asked.symbols, span, statements, rules, content)
        return (*facts, by.facts) if by else facts

    @staticmethod
    def _series(snapshot: Snapshot, asked: BarQuestion, span: Span) -> Series | None:
        """What is read of a span where renames are followed; None: the symbols as asked."""
        if not asked.comparison.follow_renames:
            return None
        return partition_reader.series_of(snapshot, asked.symbols, span)

    def _factors(self, snapshot: Snapshot, asked: BarQuestion) -> Factors:
        series = self._series(snapshot, asked, asked.reads)
        symbols = [symbol for symbol, _ in series] if series else asked.symbols or None
        how, span = asked.comparison, asked.reads
        return factors(snapshot, symbols, how.adjust, span.first, span.last, how.as_of)


def content_of(snapshot: Snapshot, piece: Piece) -> tuple[Hashable, ...]:
    """What the catalog knows of what is read for a piece."""
    if not piece.stored:
        return tuple(market_rows.content(snapshot, TRADES, piece.span))
    known = snapshot.partitions(TRADES.name, tuple(piece.stored))
    return tuple(
        one for symbol, stored in piece.stored.items() for one in stored if one in known[symbol]
    )


def _are_many(pieces: Sequence[Piece]) -> bool:
    """Whether it is worth the while to divide them: fewer take a second or two."""
    rows = sum(one.rows for piece in pieces for each in piece.stored.values() for one in each)
    return len(pieces) > 1 and (not pieces[0].stored or rows > _PIECE_ROWS)


def rules_of(snapshot: Snapshot) -> list[list[str]]:
    """The table of trade conditions as a fingerprint has it."""
    return [list(map(str, row.values())) for row in snapshot.trade_conditions().to_pylist()]


def warn(unknown_conditions: Mapping[str, int]) -> None:
    """Tell of codes that the table of conditions does not have, and of how many trades."""
    if unknown_conditions:
        told = [f"{code} ({number:,})" for code, number in unknown_conditions.items()]
        logger.warning(
            "conditions that the table of trade conditions does not have, and trades that carry"
            " them: %s; they forbid nothing",
            some(told, 5),
        )


def _rejected(snapshot: Snapshot, symbol: str, day: Span) -> pa.Table:
    """The symbol's trades of a session that cleaning rejected, as far as they could be read."""
    names = ", ".join(REJECTED.names)
    found = snapshot.records(
        f"select {names} from rejects where data_type = 'trades' and symbol = $symbol"
        " and epoch_ns(timestamp) >= $first and epoch_ns(timestamp) < $end",
        symbol=symbol,
        first=day.start_ns,
        end=day.end_ns,
    )
    return pa.Table.from_pylist(found, REJECTED)


def _every(snapshot: Snapshot, asked: BarQuestion, series: Series | None) -> Iterator[Piece]:
    """All pieces of a question: of a series symbol by symbol, in its order."""
    if series is None:
        yield from pieces(snapshot, asked.symbols, asked.reads)
    for symbol, span in series or ():
        yield from pieces(snapshot, (symbol,), span)


def pieces(snapshot: Snapshot, symbols: Sequence[str], span: Span) -> Iterator[Piece]:
    """What is to be read for the trades of a span, in the order of time.

    Args:
        symbols: none: all; then each piece is a session.
    """
    if not symbols:
        for session in availability.sessions(snapshot, TRADES):
            if span.first <= session <= span.last:
                yield Piece({}, _part(span, session, session))
        return
    found = partition_reader.touched(snapshot, TRADES, symbols, span)
    by_month = sorted(found, key=lambda one: one.month)
    for _, of_month in groupby(by_month, key=lambda one: one.month):
        group: dict[str, list[Stored]] = {}
        rows = 0
        for one in of_month:
            if one.rows > _PIECE_ROWS:
                yield from _sessions_of(snapshot, one, span)
                continue
            if rows + one.rows > _PIECE_ROWS and group:
                yield Piece(group, _part_of(span, group))
                group, rows = {}, 0
            group.setdefault(one.symbol, []).append(one)
            rows += one.rows
        if group:
            yield Piece(group, _part_of(span, group))


def _sessions_of(snapshot: Snapshot, one: Stored, span: Span) -> Iterator[Piece]:
    """The pieces of one large partition: some of its sessions each."""
    sessions, rows = snapshot.rows_by_session([one])[one]
    first: date | None = None
    last, total = span.first, 0
    for session, number in zip(sessions, rows, strict=True):
        if not span.first <= session <= span.last:
            continue
        if first is not None and total + number > _PIECE_ROWS:
            yield Piece({one.symbol: [one]}, _part(span, first, last))
            first, total = None, 0
        first, last, total = first or session, session, total + number
    if first is not None:
        yield Piece({one.symbol: [one]}, _part(span, first, last))


def _part_of(span: Span, group: dict[str, list[Stored]]) -> Span:
    """The span within the month of these partitions."""
    month = next(iter(group.values()))[0].month
    return _part(span, max(span.first, month), min(span.last, last_day_of_month(month)))


def _part(span: Span, first: date, last: date) -> Span:
    start_ns, end_ns = day_bounds_ns(first, last)
    return Span(max(start_ns, span.start_ns), min(end_ns, span.end_ns), first, last)


def _order(table: pa.Table, symbols: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows by symbol, in the order asked or of their bytes, and by time."""
    if symbols:
        ranks = pc.index_in(table["symbol"], value_set=pa.array(symbols)).to_numpy()
    else:
        ranks = ranks_of(table["symbol"])[0]
    days = table["session"].cast(pa.int32()).to_numpy()
    return np.lexsort((table["timestamp"].cast(pa.int64()).to_numpy(), days, ranks))
