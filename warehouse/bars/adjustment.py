"""Splits and dividends: what prices and sizes are multiplied by to be those of a later session.

A row of a session is multiplied by the factors of all actions of its security after that session,
up to a session `as_of`, inclusive: the session of an action is the first in new shares, or without
the dividend, and its pre-market is, too. A split `from` : `to` multiplies prices by from / to and
sizes by to / from; a dividend multiplies prices alone, by what its action says (1 less cash /
the close before). So dollars (price × size) stay through a split, and lose with each dividend what
the price does. What is stored stays as traded, and so do rows after the last action.

Products are made in a written order, the latest action first (of one session by id, the last
first): the numerators of splits, their denominators, and dividends, each by themselves; then
numerators / denominators × dividends. The same actions give the same factors to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.securities import Securities
from warehouse.core.datatypes import DOLLARS, PRICES, SIZES

Adjust: TypeAlias = Literal["none", "splits", "all"]

ADJUSTMENTS: tuple[str, ...] = ("none", "splits", "all")
"""What is adjusted for: nothing, splits alone, splits and dividends."""

KEYS = ("symbol", "session")
"""Columns by which the factors of a row are found."""

_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1)
_OF_A_SYMBOL = 1 << 40
"""More than there are days: a symbol's number and a day are one number."""


class Action(NamedTuple):
    """A split or a dividend that counts.

    Attributes:
        session: the first in new shares, or without the dividend.
        kind: split or dividend.
        split_from, split_to: of a split: so many shares become so many.
        price_factor: of a dividend.
    """

    symbol: str
    session: date
    kind: str
    id: str
    split_from: float
    split_to: float
    price_factor: float


class Step(NamedTuple):
    """What prices, sizes and dollars of the sessions [first, until) are multiplied by."""

    first: date
    until: date
    price: float
    size: float
    dollars: float


@dataclass(frozen=True)
class Factors:
    """Steps by symbol, as rows bear it; where there is no step a row stays as it is.

    Attributes:
        steps: of symbols that have some, in the order of time.
    """

    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def facts(self) -> tuple[Any, ...]:
        """All of it as what JSON can say: equal facts, equal factors."""
        return tuple(
            (symbol, *((str(one.first), str(one.until), *one[2:]) for one in steps))
            for symbol, steps in sorted(self.steps.items())
        )

    def within(self, symbols: Iterable[str], first: date, last: date) -> Factors:
        """Those of some symbols and of the sessions from `first` to `last`, both inclusive."""
        found = {symbol: _cut(self.steps.get(symbol, ()), first, last) for symbol in symbols}
        return Factors({symbol: steps for symbol, steps in found.items() if steps})


class Reference(Protocol):
    """Who knows actions and securities."""

    def actions(self, symbols: Collection[str]) -> Mapping[str, Sequence[Action]]:
        """By symbol all of its actions that count; a symbol that has none may be left out."""

    def actions_between(self, after: date, until: date) -> Mapping[str, Sequence[Action]]:
        """The same of all symbols, of the sessions (after, until]."""

    def securities(self) -> Securities:
        """Who bore which symbol when."""


def factors(
    reference: Reference,
    symbols: Collection[str] | None,
    adjust: str,
    first: date,
    last: date,
    as_of: date,
) -> Factors:
    """The factors of rows of these symbols and of the sessions from `first` to `last`.

    An action is of the security that bore its symbol in its session, or else the day before, and
    reaches that one's rows alone, under whatever symbol they traded.

    Args:
        symbols: as rows bear them; None: all.
        adjust: one of `ADJUSTMENTS`.
        first, last: both inclusive.
        as_of: no action after this session counts.
    """
    if adjust == "none":
        return Factors()
    securities = reference.securities()
    if symbols is None:
        of_symbol = reference.actions_between(first, as_of)
        symbols = securities.related(of_symbol)
    else:
        of_symbol = reference.actions(securities.related(symbols))
    of_owner: dict[tuple[str | None, str], list[Action]] = {}
    for each in of_symbol.values():
        for one in each:
            if first < one.session <= as_of and (adjust == "all" or one.kind == "split"):
                owner = _owner(securities.subject(one.symbol, one.session), one.symbol)
                of_owner.setdefault(owner, []).append(one)
    if not of_owner:
        return Factors()
    by_owner = {owner: steps_of(actions) for owner, actions in of_owner.items()}
    steps = {
        symbol: tuple(
            step
            for one in securities.bearings(symbol)
            for step in _cut(
                by_owner.get(_owner(one.security, symbol), ()),
                max(first, one.first),
                min(last, one.last),
            )
        )
        for symbol in symbols
    }
    return Factors({symbol: some for symbol, some in steps.items() if some})


def _owner(security: str | None, symbol: str) -> tuple[str | None, str]:
    """Whose an action is, or a row: a security's, or whoever's who bore the symbol."""
    return (None, symbol) if security is None else (security, "")


def steps_of(actions: Iterable[Action]) -> list[Step]:
    """What the sessions before each of one security's actions are multiplied by, in order."""
    latest_first = sorted(actions, key=lambda one: (one.session, one.id), reverse=True)
    shares_from = shares_to = dividends = 1.0
    steps: list[Step] = []
    for session, of_session in groupby(latest_first, key=lambda one: one.session):
        for one in of_session:
            if one.kind == "split":
                shares_from *= one.split_from
                shares_to *= one.split_to
            else:
                dividends *= one.price_factor
        price, size = shares_from / shares_to * dividends, shares_to / shares_from
        if steps:
            steps[-1] = steps[-1]._replace(first=session)
        steps.append(Step(date.min, session, price, size, dividends))
    return steps[::-1]


def _cut(steps: Iterable[Step], first: date, last: date) -> tuple[Step, ...]:
    """The steps as far as they are of the sessions from `first` to `last`, both inclusive."""
    until = last + _DAY if last < date.max else last
    cut = (one._replace(first=max(one.first, first), until=min(one.until, until)) for one in steps)
    return tuple(one for one in cut if one.first < one.until)


_MULTIPLIED: dict[str, Literal["price", "size", "dollars"]] = {
    **dict.fromkeys(PRICES, "price"),
    **dict.fromkeys(SIZES, "size"),
    **dict.fromkeys(DOLLARS, "dollars"),
}
"""By which of a step's factors a column is multiplied; all others stay as they are."""


def columns_to_read(columns: Sequence[str], factors: Factors) -> list[str]:
    """The columns, and those by which factors are found where one of them is multiplied."""
    if factors and any(name in _MULTIPLIED for name in columns):
        return list(dict.fromkeys([*columns, *KEYS]))
    return list(columns)


def adjusted(table: pa.Table, factors: Factors) -> pa.Table:
    """Rows with their prices, sizes and dollars multiplied; other columns stay as they are.

    Args:
        table: of any columns, of trades, quotes, aggs or bars; `KEYS` among them where one of these
            is multiplied.
    """
    names = [name for name in table.column_names if name in _MULTIPLIED]
    if not factors or not names:
        return table
    symbols = sorted(factors.steps)
    places = pc.index_in(table["symbol"], value_set=pa.array(symbols, pa.string()))
    numbers = places.fill_null(-1).to_numpy().astype(np.int64)
    by = _Multipliers([factors.steps[symbol] for symbol in symbols], numbers, table["session"])
    for name in names:
        place = table.schema.get_field_index(name)
        column = pc.multiply(table[name], by.of(name))
        table = table.set_column(place, table.schema.field(place), column)
    return table


def adjusted_batch(batch: pa.RecordBatch, steps: Sequence[Step]) -> pa.RecordBatch:
    """The same for rows of one symbol, which need not bear it."""
    by = _Multipliers([steps], np.zeros(batch.num_rows, np.int64), batch.column("session"))
    columns = [
        pc.multiply(column, by.of(name)) if name in _MULTIPLIED else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class _Multipliers:
    """What each of some rows is multiplied by; 1 where no step is its.

    Args:
        steps: by symbol.
        numbers: of each row, the place of its symbol's steps; negative: it has none.
        sessions: of each row.
    """

    def __init__(
        self,
        steps: Sequence[Sequence[Step]],
        numbers: np.ndarray[Any, np.dtype[np.int64]],
        sessions: pa.Array | pa.ChunkedArray,
    ) -> None:
        every = [(number, one) for number, each in enumerate(steps) for one in each]
        begins = np.array([number * _OF_A_SYMBOL + _number(one.first) for number, one in every])
        ends = np.array([number * _OF_A_SYMBOL + _number(one.until) for number, one in every])
        rows = numbers * _OF_A_SYMBOL + sessions.cast(pa.int32()).to_numpy()
        at = np.searchsorted(ends, rows, side="right")
        at[at == len(ends)] = 0
        is_within = (begins[at] <= rows) & (rows < ends[at])
        self._steps = [one for _, one in every]
        # A row that is of no step is of the last, which is added below.
        self._at = np.where(is_within, at, len(every))

    def of(self, column: str) -> pa.Array:
        """What the values of a column are multiplied by."""
        factors = [getattr(one, _MULTIPLIED[column]) for one in self._steps]
        return pa.array(np.array([*factors, 1.0])[self._at])


def _number(day: date) -> int:
    return (day - _EPOCH).days
