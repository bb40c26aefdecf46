"""What is asked of `map`: every argument is checked before work, and cut by symbol or session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, TypeAlias

from warehouse.core.calendar import Moment
from warehouse.errors import RequestError
from warehouse.read import arguments, availability, partition_reader
from warehouse.read.arguments import Question, choice
from warehouse.read.partition_reader import narrowed_span
from warehouse.read.snapshot import Snapshot

By: TypeAlias = Literal["symbol", "session"]
_BY = ("symbol", "session")


@dataclass(frozen=True)
class MapQuestion:
    """What is asked, checked.

    Attributes:
        asked: the rows that the function is handed, all together.
        by: what they are cut by.
    """

    function: Callable[[Any], Any]
    asked: Question
    by: str

    def check(self, snapshot: Snapshot) -> None:
        """Make sure that all that is asked is there.

        Raises:
            NoDataError: it is not.
        """
        kind, symbols, span = self.asked.kind, self.asked.symbols, self.asked.span
        if not symbols:
            availability.check_market(snapshot, kind, span)
            return
        series = None
        if self.asked.comparison.follow_renames:
            series = partition_reader.series_of(snapshot, symbols, span)
        if series is None:
            availability.check(snapshot, kind, symbols, span)
        else:
            availability.check_series(snapshot, kind, series)

    def parts(self, snapshot: Snapshot) -> Iterator[tuple[str | date, Question]]:
        """Each symbol, or session, and what is asked of it, in the order of the answer."""
        asked = replace(self.asked, whole=False)
        if self.by == "symbol":
            symbols = asked.symbols or self._traded(snapshot)
            # All at once: they are asked for one by one.
            snapshot.partitions(asked.kind.name, symbols)
            for symbol in symbols:
                yield symbol, replace(asked, symbols=(symbol,))
            return
        span, how = asked.span, asked.comparison
        series = None
        if how.follow_renames:
            # Whose a symbol is says the end of the whole span.
            series = partition_reader.series_of(snapshot, asked.symbols, span)
            asked = replace(asked, comparison=replace(how, follow_renames=False))
        for session in availability.sessions(snapshot, asked.kind):
            if not span.first <= session <= span.last:
                continue
            symbols = asked.symbols
            if series is not None:
                borne = (name for name, own in series if own.first <= session <= own.last)
                symbols = tuple(borne)
                if not symbols:
                    continue
            own_span = narrowed_span(span, session, session)
            yield session, replace(asked, symbols=symbols, span=own_span)

    def _traded(self, snapshot: Snapshot) -> tuple[str, ...]:
        """All symbols that may have rows in the span, in byte order."""
        kind, span = self.asked.kind, self.asked.span
        every = availability.symbols_of(snapshot, kind.name)
        found = partition_reader.touched(snapshot, kind, every, span)
        return tuple(dict.fromkeys(one.symbol for one in found))


def question(
    function: Callable[[Any], Any],
    symbols: str | Sequence[str],
    start: Moment,
    end: Moment | None = None,
    data_type: str = "trades",
    *,
    by: str = "symbol",
    to: str = "pandas",
    **options: Any,
) -> MapQuestion:
    """What is asked of `Warehouse.map`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    if not callable(function):
        raise RequestError("function", function, "it must be a function of a frame")
    asked = arguments.question(data_type, symbols, start, end, to=to, **options)
    return MapQuestion(function, asked, choice("by", by, _BY))
