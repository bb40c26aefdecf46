"""What the data here says of the days of corporate actions: the close before, and the first price.

The vendor's day bars say it where they are held; else the trades do, by the tape's rules.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from warehouse.bars.securities import Bearing, Securities, cut
from warehouse.core.calendar import today, trading_days, trading_hours
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import Layout, month_of
from warehouse.errors import DamagedCatalogError, StorageError
from warehouse.objects.disk_cache import Wanted, bring
from warehouse.sqlfolder.files import SqlFile, SqlFolder
from warehouse.store.catalog import Catalog
from warehouse.store.manifests import Manifest

Day = tuple[str, date]
"""A symbol and a session: the day on which an action takes effect."""

_SPAN = timedelta(days=10)
"""A close is at most so old."""
_FAR = timedelta(days=400)
"""Actions are told no longer before they take effect."""

PRICES = pa.schema(
    [
        ("symbol", pa.string()),
        ("session", pa.date32()),
        ("first_price", pa.float64()),
        ("close_before", pa.float64()),
        ("close_session", pa.date32()),
    ]
)
DAYS = pa.schema([("day", pa.date32()), ("session", pa.date32())])
SUBJECTS = pa.schema([("symbol", pa.string()), ("day", pa.date32()), ("subject", pa.string())])


@dataclass(frozen=True)
class Tape:
    """What is held.

    Attributes:
        days: of each day that was asked for the first session that is not before it, as `DAYS`.
        prices: of these sessions, as `PRICES`; NULL, or no row: none is held. They are those of the
            security that the symbol is told of, under whatever symbol it traded.
        symbols: that have rows of any data type.
        subjects: which security that is, of each day that was asked for, as `SUBJECTS`; no row:
            none is known.
    """

    days: pa.Table
    prices: pa.Table
    symbols: frozenset[str]
    subjects: pa.Table


def on_tape(
    layout: Layout,
    sql: SqlFolder,
    splits: Collection[Day],
    dividends: Collection[Day],
    securities: Securities,
) -> Tape:
    """The prices of the days of splits and dividends, as far as they are held.

    Of a dividend's day the close before is wanted, of a split's the first price too. On the day of
    a change of symbol an action is told under either, and its close stands under the old one.

    Raises:
        SqlFileError: a file of sql/reference fails.
        StorageError: a partition cannot be read.
    """
    with Catalog(layout, ()) as catalog:
        symbols = frozenset().union(*map(catalog.symbols, DATA_TYPES))
        sessions = {
            kind: sorted({s for one in catalog.manifests if one.data_type == kind
                          for s in one.sessions})
            for kind in ("day_aggs", "trades")
        }  # fmt: skip
        held = sorted({*sessions["day_aggs"], *sessions["trades"]})
        subjects = {day: securities.subject(*day) for day in sorted({*splits, *dividends})}
        session_of = _sessions_of({at for _, at in subjects}, held)
        splits = {(symbol, session_of[at]) for symbol, at in splits}
        owners: dict[Day, str | None] = {}
        for (symbol, at), subject in subjects.items():
            day = symbol, session_of[at]
            owners[day] = owners.get(day) or subject
        # Most of an export's are of other times or symbols.
        asked = sorted(
            (symbol, at)
            for (symbol, at), owner in owners.items()
            if held
            and held[0] < at <= held[-1] + _SPAN
            and (owner is not None or symbol in symbols)
        )
        series = {
            (symbol, at): securities.borne(owners[symbol, at], symbol, at - _SPAN, at + _SPAN)
            for symbol, at in asked
        }
        borne = {day: cut(series[day], day[1] - _SPAN, day[1]) for day in asked}
        named = catalog.manifests
        _bring(layout, named, "day_aggs")
        near = _near(_places(borne, asked), symbols, sessions["day_aggs"])
        last_held = _last_held(layout, "day_aggs", series)
        of_bars = _of_day_bars(layout, catalog, sql, near, last_held)
    found = {day: _of_security(borne[day], day[1], of_bars) for day in asked}
    lacking = [
        day for day in asked if found[day][1] is None or (found[day][0] is None and day in splits)
    ]
    near = _near(_places(borne, lacking), symbols, sessions["trades"])
    if near:
        months = {("trades", month_of(at)) for _, day in near for at in (day, day - _SPAN)}
        _bring(layout, named, "trades", {symbol for symbol, _ in near})
        last_held = _last_held(layout, "trades", {day: series[day] for day in lacking})
        first_of = {*_places(borne, (day for day in lacking if day in splits))}
        with Catalog(layout, months) as catalog:
            of_trades = _of_trades(layout, catalog, sql, near, first_of, last_held)
        for day in lacking:
            prices = _of_security(borne[day], day[1], of_trades)
            # Of both what is compared is of one kind.
            if None not in prices or (found[day][1] is None and prices[1] is not None):
                found[day] = prices
    rows = [(*day, *prices) for day, prices in found.items() if prices != _NOTHING]
    return Tape(
        _table([*session_of.items()], DAYS),
        _table(rows, PRICES),
        symbols,
        _table([(*day, name) for day, name in subjects.items() if name is not None], SUBJECTS),
    )


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([list(column) for column in columns], schema=schema)


def _places(borne: dict[Day, tuple[Bearing, ...]], days: Iterable[Day]) -> list[Day]:
    """Under which symbols the prices of some days stand."""
    return sorted({(one.symbol, day[1]) for day in days for one in borne[day]})


def _of_security(pieces: Iterable[Bearing], session: date, found: _Prices) -> _Price:
    """The prices of a session, of a security that traded under these symbols before it."""
    first_price = close = close_session = None
    for piece in pieces:
        first, before, at = found.get((piece.symbol, session), _NOTHING)
        if piece.last == session:
            first_price = first
        if at is not None and piece.first <= at <= piece.last:
            close, close_session = before, at
    return first_price, close, close_session


_Price: TypeAlias = tuple[float | None, float | None, date | None]
_Prices: TypeAlias = dict[Day, _Price]
"""Of each day the first price, the close before, and of which session that is."""
_NOTHING: _Price = (None, None, None)


def _sessions_of(days: Collection[date], held: list[date]) -> dict[date, date]:
    """Of each day the first session of the exchange that is not before it.

    Of days before all that is held, which change no row, and of those years from now it is the day
    itself: nobody need make a calendar of a century.
    """
    if not held or not days:
        return {day: day for day in days}
    last = min(max(days), today() + _FAR)
    calendar = trading_days(held[0] - _SPAN, last + _SPAN)
    found = {}
    for day in sorted(days):
        place = bisect_left(calendar, day)
        is_known = held[0] <= day <= last and place < len(calendar)
        found[day] = calendar[place] if is_known else day
    return found


def _near(days: Iterable[Day], symbols: frozenset[str], sessions: list[date]) -> list[Day]:
    """The days of which there may be a price."""
    if not sessions:
        return []
    last = sessions[-1] + _SPAN
    return [day for day in days if sessions[0] < day[1] <= last and day[0] in symbols]


def _last_held(
    layout: Layout, data_type: str, series: dict[Day, tuple[Bearing, ...]]
) -> dict[Day, date]:
    """The last session before a day that is held under a symbol that its security gave up.

    It is there where rows of the security are held of the day, or of soon after it, under whatever
    symbol: then no close is still to come under the old one.
    """
    changed = {day: some for day, some in series.items() if len({one.symbol for one in some}) > 1}
    if not changed:
        return {}
    near = (at for _, day in changed for at in (day - _SPAN, day, day + _SPAN))
    symbols = {one.symbol for some in changed.values() for one in some}
    with Catalog(layout, {(data_type, month_of(at)) for at in near}) as catalog:
        held = _sessions_held(catalog, data_type, symbols)
    found: dict[Day, date] = {}
    for (_, day), some in changed.items():
        before: dict[str, date] = {}
        goes_on = False
        for one in some:
            of_symbol = held[one.symbol]
            place = bisect_left(of_symbol, day)
            if place and one.first <= of_symbol[place - 1] <= one.last:
                before[one.symbol] = of_symbol[place - 1]
            place = bisect_left(of_symbol, max(day, one.first))
            goes_on = goes_on or (place < len(of_symbol) and of_symbol[place] <= one.last)
        if goes_on:
            found |= {(symbol, day): session for symbol, session in before.items()}
    return found


def _sessions_held(
    catalog: Catalog, data_type: str, symbols: Collection[str]
) -> defaultdict[str, list[date]]:
    held: defaultdict[str, list[date]] = defaultdict(list)
    for row in catalog.rows(_HELD, data_type=data_type, symbols=sorted(symbols)):
        held[row["symbol"]].append(row["session"])
    return held


def _of_day_bars(
    layout: Layout,
    catalog: Catalog,
    sql: SqlFolder,
    days: list[Day],
    last_held: dict[Day, date],
) -> _Prices:
    if not days:
        return {}
    first, last = min(at for _, at in days), max(at for _, at in days)
    calendar = trading_days(first - _SPAN, last)
    rows = _rows(
        layout,
        catalog,
        sql.or_shipped("reference/day_prices"),
        symbols=[symbol for symbol, _ in days],
        sessions=[session for _, session in days],
        previous=[last_held.get(day) or _before(calendar, day[1]) for day in days],
    )
    return {
        (row["symbol"], row["session"]): (
            row["first_price"],
            row["close_before"],
            row["close_session"],
        )
        for row in rows
    }


def _before(calendar: tuple[date, ...], session: date) -> date | None:
    place = bisect_left(calendar, session)
    return calendar[place - 1] if place else None


def _of_trades(
    layout: Layout,
    catalog: Catalog,
    sql: SqlFolder,
    days: list[Day],
    first_of: Collection[Day],
    last_held: dict[Day, date],
) -> _Prices:
    """The prices of days, and of those in `first_of` the first one even where no close is held."""
    held = _sessions_held(catalog, "trades", {symbol for symbol, _ in days})
    wanted: defaultdict[str, set[date]] = defaultdict(set)
    before: dict[Day, date | None] = {}
    first, last = min(at for _, at in days) - _SPAN, max(at for _, at in days)
    hours = {each.session: each for each in trading_hours(first, last)}
    calendar = tuple(hours)
    for symbol, session in days:
        of_symbol = held[symbol]
        place = bisect_left(of_symbol, session)
        earlier = of_symbol[place - 1] if place else None
        # As in reference/day_prices: it must be known that none is still to come.
        is_last = place < len(of_symbol) or earlier in (
            _before(calendar, session),
            last_held.get((symbol, session)),
        )
        if earlier is None or not is_last or earlier < session - _SPAN:
            earlier = None
        before[symbol, session] = earlier
        if earlier is not None or (symbol, session) in first_of:
            wanted[symbol] |= {earlier or session, session} & {*of_symbol} & {*hours}
    found: dict[Day, dict[str, Any]] = {}
    for symbol, sessions in sorted(wanted.items()):
        for some in _together(sorted(sessions)):
            rows = _rows(
                layout,
                catalog,
                sql.or_shipped("reference/trade_prices"),
                symbol=symbol,
                sessions=some,
                open_ns=[hours[each].open_ns for each in some],
                close_ns=[hours[each].close_ns for each in some],
            )
            found |= {(symbol, row["session"]): row for row in rows}
    prices: _Prices = {}
    for symbol, session in days:
        earlier = before[symbol, session]
        first_row = found.get((symbol, session), {})
        last_row = found.get((symbol, earlier), {}) if earlier is not None else {}
        close = last_row.get("last_price")
        prices[symbol, session] = (
            first_row.get("first_price"),
            close,
            None if close is None else earlier,
        )
    return prices


def _together(sessions: list[date]) -> list[list[date]]:
    """Sessions that are asked at once: those between the first and the last of them are read."""
    found: list[list[date]] = []
    for session in sessions:
        if found and session - found[-1][-1] <= _SPAN:
            found[-1].append(session)
        else:
            found.append([session])
    return found


def _bring(
    layout: Layout, named: Iterable[Manifest], data_type: str, symbols: Collection[str] = ()
) -> None:
    """Have the files here that the views and macros of a data type read, where there is a bucket.

    Args:
        symbols: whose own files are wanted; none: all.
    """
    if layout.tier is None:
        return
    with Catalog(layout, {one.key for one in named if one.data_type == data_type}) as catalog:
        rows = catalog.rows(_FILES, data_type=data_type, symbols=sorted(symbols))
    bring(layout, [Wanted(Path(one["path"]), one["bytes"], one["sha256"]) for one in rows])


def _rows(layout: Layout, catalog: Catalog, file: SqlFile, **values: Any) -> list[dict[str, Any]]:
    try:
        return catalog.rows_of(file, may_call={"trades_of"}, **values)
    except (DamagedCatalogError, duckdb.Error) as error:
        problem = getattr(error, "problem", str(error))
        raise StorageError(
            layout.cache, f"a partition cannot be read ({problem}); see: warehouse verify"
        ) from error


_FILES = """
    select distinct path, bytes, sha256
    from partitions
    where
        data_type = $data_type
        and (first_row is not null or len($symbols) = 0 or list_contains($symbols, symbol))
"""
_HELD = """
    select symbol, entry.session as session
    from (
        select symbol, unnest(sessions) as entry
        from partitions
        where data_type = $data_type and symbol in (select unnest($symbols))
    )
    order by symbol, session
"""
