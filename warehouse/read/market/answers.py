"""Answers about all symbols: each read whole from one generation, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import pandas as pd
import pyarrow as pa

from warehouse.bars.adjustment import Factors, adjusted, columns_to_read, factors
from warehouse.bars.securities import Bearing
from warehouse.core.calendar import NEW_YORK, Span
from warehouse.core.datatypes import DataType, is_kept_bars
from warehouse.errors import NoDataError
from warehouse.read import availability, partition_reader
from warehouse.read.answers import Answers
from warehouse.read.arguments import Question
from warehouse.read.cache import Held
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frame_options import shaped
from warehouse.read.frames import guarded
from warehouse.read.market import rows
from warehouse.read.market.panel import Panel, Renamed, as_panel, with_series
from warehouse.read.snapshot import Snapshot


class MarketAnswers:
    """Answers questions about all symbols of one warehouse; safe to use from many threads."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def load(self, asked: Question, *, by_symbol: bool = False) -> Any:
        """Rows of all symbols, as `Warehouse.load` says.

        Args:
            by_symbol: symbols become the index of a pandas frame.
        """

        def answer(snapshot: Snapshot) -> Any:
            if asked.whole:
                availability.check_market(snapshot, asked.kind, asked.span)
            by = self._answers.factors(snapshot, None, asked)
            facts = self._facts(snapshot, asked, by)

            def read() -> Held:
                columns = tuple(dict.fromkeys([*asked.shape.index, *asked.columns]))
                table = self._rows(snapshot, asked.kind, columns, asked.span, by)
                if by_symbol and is_kept_bars(asked.kind.name) and not table.num_rows:
                    raise _no_bars(asked)
                frame = shaped(table, asked.shape)
                if isinstance(frame, pd.DataFrame):
                    if by_symbol:
                        frame = guarded(frame.set_index("symbol"))
                    frame.attrs["fingerprint"] = fingerprint("load", *facts)
                return Held(frame)

            return self._answers.cache.get_or_make(
                ("market", by_symbol, repr(facts)),
                lambda: self._answers.snapshots.whole(snapshot, read),
            )

        return self._answers.snapshots.read(answer)

    def panel(self, asked: Panel) -> Any:
        """One column as sessions (or stamps) by symbols, as `Warehouse.panel` says."""

        def answer(snapshot: Snapshot) -> Any:
            renamed = self._renamed(snapshot, asked)
            if asked.whole and asked.symbols is not None:
                self._check(snapshot, asked, asked.symbols, renamed)
            elif asked.whole:
                availability.check_market(snapshot, asked.kind, asked.span)
            content = rows.content(snapshot, asked.kind, asked.span)
            span = (asked.span.start_ns, asked.span.end_ns)
            by = self._factors(snapshot, asked, renamed)
            facts: tuple[Any, ...] = (asked.kind.name, asked.column, asked.symbols, asked.form)
            facts = (*facts, span, content)
            if by or renamed:
                # Else the answer is the one that was not to be adjusted.
                series = [(symbol, *map(_told, pieces)) for symbol, pieces in renamed.items()]
                facts = (*facts, by.facts, series)

            def read() -> Held:
                columns = ("symbol", asked.by, asked.column, *(["session"] if renamed else []))
                columns = tuple(dict.fromkeys(columns))
                table = self._rows(snapshot, asked.kind, columns, asked.span, by)
                frame = as_panel(with_series(table, asked.symbols, renamed), asked)
                if isinstance(frame, pd.DataFrame):
                    frame.attrs["fingerprint"] = fingerprint("panel", *facts)
                return Held(frame)

            return self._answers.cache.get_or_make(
                ("panel", repr(facts)),
                lambda: self._answers.snapshots.whole(snapshot, read),
            )

        return self._answers.snapshots.read(answer)

    @staticmethod
    def _renamed(snapshot: Snapshot, asked: Panel) -> Renamed:
        """Of the symbols that are followed over a rename, the series of each."""
        if asked.symbols is None or not asked.comparison.follow_renames:
            return {}
        span, securities = asked.span, snapshot.securities()
        series = {
            symbol: securities.pieces(symbol, span.first, span.last) for symbol in asked.symbols
        }
        return {
            symbol: pieces
            for symbol, pieces in series.items()
            if [one[1:] for one in pieces] != [(symbol, span.first, span.last)]
        }

    @staticmethod
    def _check(snapshot: Snapshot, asked: Panel, symbols: Sequence[str], renamed: Renamed) -> None:
        kept = [symbol for symbol in symbols if symbol not in renamed]
        if kept:
            availability.check(snapshot, asked.kind, kept, asked.span)
        for pieces in renamed.values():
            series = partition_reader.within(asked.span, pieces)
            availability.check_series(snapshot, asked.kind, series)

    @staticmethod
    def _factors(snapshot: Snapshot, asked: Panel, renamed: Renamed) -> Factors:
        how, span = asked.comparison, asked.span
        symbols = asked.symbols
        if symbols is not None:
            symbols = (*symbols, *(one.symbol for pieces in renamed.values() for one in pieces))
        return factors(snapshot, symbols, how.adjust, span.first, span.last, how.as_of)

    def fingerprint(self, asked: Question) -> str:
        """The id that an answer of `load` bears, as `Warehouse.fingerprint` says."""

        def answer(snapshot: Snapshot) -> str:
            if asked.whole:
                availability.check_market(snapshot, asked.kind, asked.span)
            by = self._answers.factors(snapshot, None, asked)
            return fingerprint("load", *self._facts(snapshot, asked, by))

        return self._answers.snapshots.read(answer)

    @staticmethod
    def _facts(snapshot: Snapshot, asked: Question, by: Factors) -> tuple[Any, ...]:
        """All that an answer rests on: equal facts, equal answers."""
        content = rows.content(snapshot, asked.kind, asked.span)
        span = (asked.span.start_ns, asked.span.end_ns)
        facts = (asked.kind.name, astuple(asked.shape), asked.columns, span, "*", content)
        return (*facts, by.facts) if by else facts

    def _rows(
        self, snapshot: Snapshot, kind: DataType, columns: tuple[str, ...], span: Span, by: Factors
    ) -> pa.Table:
        """All rows of a span, multiplied by their factors."""
        answers, wanted = self._answers, columns_to_read(columns, by)
        table = answers.with_room(
            lambda: rows.read(snapshot, kind, wanted, span, answers.workers())
        )
        return adjusted(table, by).select(list(columns))


def _no_bars(asked: Question) -> NoDataError:
    """No symbol has a bar at a moment, which may be none that bars of that length begin at."""
    moment = pd.Timestamp(asked.span.start_ns, tz=NEW_YORK)
    return NoDataError(
        f"{asked.kind.name} of {moment:%Y-%m-%d %H:%M:%S}, New York",
        "no symbol has a bar that begins then",
        f"see when they begin: wh.load({asked.kind.name!r}, SYMBOL, '{moment:%Y-%m-%d}')",
    )


def _told(one: Bearing) -> tuple[str, str, str]:
    """Under which symbol which sessions are read, as text."""
    return one.symbol, str(one.first), str(one.last)
