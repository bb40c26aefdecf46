"""What is asked about bars from trades: every argument is checked before work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from warehouse.bars.spec import BarSpec
from warehouse.core.calendar import Moment, Span, day_bounds_ns, midnight_ns, parse_span
from warehouse.core.datatypes import DataType, bar_type
from warehouse.errors import RequestError
from warehouse.read.arguments import (
    ALL,
    Comparison,
    choice,
    columns_of,
    comparison_of,
    index_of,
    symbols_of,
)
from warehouse.read.frame_options import Shape
from warehouse.read.frames import check_form, check_zone


@dataclass(frozen=True)
class BarQuestion:
    """What is asked about bars, checked.

    Attributes:
        kind: what such bars hold.
        symbols: in the order asked, none twice; none: all that there are.
        span: bars that lie wholly within it are the answer.
        columns: in the order asked, none twice.
        whole: what is not there is an error, and not left out.
        comparison: what makes bars of different days comparable.
    """

    spec: BarSpec
    kind: DataType
    symbols: tuple[str, ...]
    span: Span
    columns: tuple[str, ...]
    shape: Shape
    whole: bool
    comparison: Comparison

    @property
    def is_adjusted_when_built(self) -> bool:
        """Whether bars are adjusted, and not their trades.

        A bar is of one session, and so of one factor. But where shares or dollars fill a bar, they
        are adjusted ones.
        """
        return "volume" not in self.spec.by and "dollar" not in self.spec.by

    @property
    def reads(self) -> Span:
        """The span whose trades the bars rest on: whole sessions, where a bar rests on what was
        before it."""
        if self.spec.by == "time" and not self.spec.is_day and not self.spec.is_filled:
            return self.span
        first, last = self.span.first, self.span.last
        return Span(*day_bounds_ns(first, last), first, last)


@dataclass(frozen=True)
class Window:
    """The one window that is to be explained.

    Attributes:
        at_ns: an instant in it, nanoseconds UTC.
        session: of the instant.
    """

    spec: BarSpec
    symbol: str
    at_ns: int
    session: date


def window(symbol: str, at: Moment, every: str = "1m") -> Window:
    """What is asked of `Warehouse.explain_bar`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    spec = BarSpec.of(every, hours="all")
    names, span = symbols_of(symbol), parse_span(at, named="at")
    if len(names) > 1:
        raise RequestError("symbol", symbol, "a bar is of one symbol; name one")
    is_session = span.start_ns == midnight_ns(span.first)
    if is_session and not spec.is_day:
        raise RequestError(
            "at", str(at), 'of a bar shorter than a day say the time too: "2024-01-02 10:31"'
        )
    return Window(spec, names[0], span.start_ns, span.first)


def question(
    symbols: str | Sequence[str],
    start: Moment,
    end: Moment | None = None,
    *,
    every: str | float = "1m",
    by: str = "time",
    hours: str | None = None,
    excess: str = "next",
    span: int = 20,
    fill: bool = False,
    columns: Sequence[str] | None = None,
    to: str = "pandas",
    tz: str = "UTC",
    index: str | Sequence[str] | None = None,
    missing: str = "raise",
    adjust: str = "none",
    as_of: Moment | None = None,
    follow_renames: bool = False,
) -> BarQuestion:
    """What is asked of `Warehouse.bars`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    spec = BarSpec.of(every, by=by, hours=hours, excess=excess, span=span, fill=fill)
    kind = bar_type(is_day=spec.is_day, is_filled=spec.is_filled)
    is_all = isinstance(symbols, str) and symbols == ALL
    names, asked = () if is_all else symbols_of(symbols), parse_span(start, end)
    wanted = columns_of(kind, columns)
    form, zone = check_form(to), check_zone(tz)
    keys = index_of(index, form)
    whole = choice("missing", missing, ("raise", "ignore")) == "raise"
    return BarQuestion(
        spec,
        kind,
        names,
        asked,
        tuple(name for name in wanted if name not in keys),
        Shape(form, zone, keys),
        whole,
        comparison_of(asked, adjust, as_of, follow_renames, is_all=is_all),
    )
