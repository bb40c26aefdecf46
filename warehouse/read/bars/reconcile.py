"""Our bars against the vendor's: what is read for it, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.bars.build import engine
from warehouse.bars.compare import AGGS, COVERED, REJECTED, TRADES, Comparer
from warehouse.core.calendar import Moment, Span, day_bounds_ns, parse_span
from warehouse.core.datatypes import DATA_TYPES, DataType
from warehouse.errors import NoDataError, RequestError
from warehouse.read import availability, partition_reader
from warehouse.read.answers import Answers
from warehouse.read.arguments import kinds_of, symbols_of
from warehouse.read.bars.answers import pieces
from warehouse.read.bars.reconciliation import ReconcileReport, TypeReconciliation
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder
from warehouse.text import some

_TRADES = DATA_TYPES["trades"]
_NAMED = 5
_FIRST, _LAST = date(1970, 1, 2), date(2200, 1, 1)


@dataclass(frozen=True)
class Reconciled:
    """What is to be reconciled, checked.

    Attributes:
        kinds: of the vendor's bars, in the order asked.
        symbols: none: all that have trades.
        span: whole sessions.
    """

    kinds: tuple[DataType, ...]
    symbols: tuple[str, ...]
    span: Span


def asked(
    data_types: str | Sequence[str] = tuple(COVERED),
    start: Moment | None = None,
    end: Moment | None = None,
    symbols: str | Sequence[str] | None = None,
) -> Reconciled:
    """What is asked of `Warehouse.reconcile`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    kinds = kinds_of(data_types, COVERED)
    first = _FIRST if start is None else parse_span(start).first
    last = _LAST if end is None else parse_span(end, named="end").last
    if last < first:
        raise RequestError("end", str(end), f"it lies before start = {start}")
    names = () if symbols is None else symbols_of(symbols)
    return Reconciled(kinds, names, Span(*day_bounds_ns(first, last), first, last))


class ReconcileAnswers:
    """Holds our bars against the vendor's; safe to use from many threads."""

    def __init__(self, answers: Answers, sql_dir: Path) -> None:
        self._answers, self._sql_dir = answers, sql_dir

    def reconcile(self, what: Reconciled) -> ReconcileReport:
        """The report, as `Warehouse.reconcile` says."""

        def answer(snapshot: Snapshot) -> ReconcileReport:
            traded = availability.symbols_of(snapshot, _TRADES.name)
            names = what.symbols or traded
            unknown = {*what.symbols} - {*availability.symbols_of(snapshot)}
            if unknown or not {*names} & {*traded}:
                of_all = availability.every_symbol(snapshot)
                near = availability.near_symbols(min(unknown), of_all) if unknown else []
                hint = f"; near it: {', '.join(near)}" if near else ""
                raise NoDataError(
                    f"reconcile {some(sorted(unknown or what.symbols), _NAMED) or 'bars'}",
                    f"the warehouse has no trades of that{hint}",
                    "get them with: warehouse update trades",
                )
            results = tuple(self._of_type(snapshot, kind, names, what) for kind in what.kinds)
            rules = snapshot.trade_conditions().select(["id", "name"]).to_pylist()
            known = {f"{rule['id']}": rule["name"] for rule in rules}
            return ReconcileReport(datetime.now(UTC), results, known)

        return self._answers.snapshots.read(answer)

    def _of_type(
        self, snapshot: Snapshot, kind: DataType, names: Sequence[str], what: Reconciled
    ) -> TypeReconciliation:
        """One data type of the vendor's, a piece of the trades after the other."""
        rest = _Rest(snapshot, kind, what)
        first, last = date.max, date.min
        held: set[str] = set()
        with engine(snapshot.config, snapshot.trade_conditions()) as connection:
            folder = BarFolder(SqlFolder(self._sql_dir))
            comparer = Comparer(connection, folder, COVERED[kind.name])
            for piece in pieces(snapshot, names, what.span):
                symbols = list(piece.stored)
                theirs = _by_symbol(partition_reader.touched(snapshot, kind, symbols, piece.span))
                if not theirs:
                    continue
                trades = self._rows(snapshot, _TRADES, piece.stored, TRADES, piece.span)
                aggs = self._rows(snapshot, kind, theirs, AGGS, piece.span)
                comparer.add(trades, _rejected(snapshot, symbols, piece.span), aggs)
                rest.given(theirs, piece.span)
                held |= {*symbols}
                first, last = min(first, piece.span.first), max(last, piece.span.last)
            comparison = comparer.compare()
        days = [each for each in availability.sessions(snapshot, _TRADES) if first <= each <= last]
        return TypeReconciliation(
            kind.name,
            days[0] if days else None,
            days[-1] if days else None,
            len(held),
            comparison.untold + rest.rows(),
            rest.unheld(),
            comparison,
        )

    def _rows(
        self,
        snapshot: Snapshot,
        kind: DataType,
        stored: dict[str, list[Stored]],
        columns: Sequence[str],
        span: Span,
    ) -> pa.Table:
        answers = self._answers
        return answers.with_room(
            lambda: (
                partition_reader.read(
                    snapshot, kind, stored, columns, span, answers.workers()
                ).table
            )
        )


class _Rest:
    """The vendor's bars that no piece of trades goes with."""

    def __init__(self, snapshot: Snapshot, kind: DataType, what: Reconciled) -> None:
        self._snapshot, self._kind, self._what = snapshot, kind, what
        self._names = what.symbols or availability.symbols_of(snapshot, kind.name)
        self._spans: dict[Stored, list[Span]] = {}

    def given(self, stored: dict[str, list[Stored]], span: Span) -> None:
        """These sessions of these partitions have been compared."""
        for each in stored.values():
            for one in each:
                self._spans.setdefault(one, []).append(span)

    def rows(self) -> int:
        """Bars of the span that were not."""
        span = self._what.span
        theirs = partition_reader.touched(self._snapshot, self._kind, self._names, span)
        total = 0
        for one, (sessions, rows) in self._snapshot.rows_by_session(theirs).items():
            done = self._spans.get(one, [])
            total += sum(
                number
                for session, number in zip(sessions, rows, strict=True)
                if span.first <= session <= span.last
                and not any(each.first <= session <= each.last for each in done)
            )
        return total

    def unheld(self) -> tuple[str, ...]:
        """Symbols that have the vendor's bars in the span, and no trades at all."""
        trades = {*availability.symbols_of(self._snapshot, _TRADES.name)}
        wanted = [name for name in self._names if name not in trades]
        found = partition_reader.touched(self._snapshot, self._kind, wanted, self._what.span)
        return tuple(dict.fromkeys(one.symbol for one in found))


def _by_symbol(stored: Sequence[Stored]) -> dict[str, list[Stored]]:
    found: dict[str, list[Stored]] = {}
    for one in stored:
        found.setdefault(one.symbol, []).append(one)
    return found


def _rejected(snapshot: Snapshot, symbols: Sequence[str], span: Span) -> pa.Table:
    """Trades that cleaning rejected as cancelled or corrected, or records of that."""
    kinds = DATA_TYPES["trades"].fields(REJECTED)
    found: list[dict[str, Any]] = snapshot.records(
        f"select {', '.join(REJECTED)} from rejects where data_type = 'trades'"
        " and symbol in (select unnest($symbols)) and correction not in (0, 1)"
        " and epoch_ns(timestamp) >= $first and epoch_ns(timestamp) < $end"
        " and price > 0 and size >= 0",
        symbols=list(symbols),
        first=span.start_ns,
        end=span.end_ns,
    )
    return pa.Table.from_pylist(found, kinds)
