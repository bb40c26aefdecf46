"""What of a question the warehouse has no answer to: symbols it never saw, sessions never ingested.

A symbol that did not trade in an ingested session is no gap; a session of which no file was ever
ingested is, and so is a symbol whose rows were all refused, or that has none of a data type.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from difflib import get_close_matches
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.core.calendar import (
    FIRST_SESSION,
    Span,
    absent_sessions,
    day_bounds_ns,
    days_between,
    hours_of,
    today,
    trading_days,
    weekdays_absent,
)
from warehouse.core.config import CONFIG_FILE
from warehouse.core.datatypes import DATA_TYPES, KEPT, DataType, is_kept_bars
from warehouse.core.duckdb_connection import watched
from warehouse.core.file_state import WORDS, FileState
from warehouse.core.paths import RawFile, month_of
from warehouse.errors import CorruptPartitionError, NoDataError, SqlFileError, one_line
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.files import SqlFile, SqlFolder, answer_of
from warehouse.sqlfolder.select_check import READING_REJECTS, check_file
from warehouse.store.manifests import followed
from warehouse.store.partitions import unreadable
from warehouse.text import listed, some

_NAMED = 4
_UPDATE = "warehouse update"
_SEE_REJECTS = (
    'see them with: warehouse query "select * from rejects", or take what is there with'
    " missing='ignore'"
)
STATES = "coverage/states"
INGESTED = frozenset(("present", "no_rows", "unknown", "rejected"))
"""States of sessions whose file was ingested, whether or not a symbol has rows in it."""


def check(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> None:
    """Make sure that what is asked is in the warehouse, as far as it can be.

    Of kept bars that is also what they are made of.

    Raises:
        NoDataError: a symbol is unknown to the whole warehouse, a trading day of the span was never
            ingested for a symbol, or the span lies outside what was.
    """
    snapshot.once(
        ("covered", kind.name, tuple(symbols), span.first, span.last),
        lambda: _check(snapshot, kind, symbols, span),
    )


def check_series(snapshot: Snapshot, kind: DataType, series: Sequence[tuple[str, Span]]) -> None:
    """The same of symbols of which each is asked for in a span of its own."""
    for symbol, span in series:
        check(snapshot, kind, (symbol,), span)


def _check(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> bool:
    _check_kept(snapshot, kind, symbols, span)
    if snapshot.generation == 0:
        raise NoDataError(
            asked(kind, symbols, span),
            "nothing has been ingested yet",
            _get(span.first, span.last),
        )
    if is_kept_bars(kind.name):
        # Where a symbol has no bar its trades may have set no price, or they may not be here: of
        # some symbols a session's trades were left out, or were all refused.
        check(snapshot, DATA_TYPES["trades"], symbols, span)
    _check_symbols(snapshot, kind, symbols, span)
    empty = _without_rows(snapshot, kind, symbols, span)
    first, last = max(span.first, FIRST_SESSION), min(span.last, today())
    ingested = _of_all_symbols(snapshot, kind)
    days = _absent_days(first, last, ingested)
    if not days and any(first <= day <= last for day in ingested):
        _check_rows(snapshot, kind, symbols, span, empty)
        return True
    # What follows looks at every partition, to say just what is missing and what there is.
    there = sessions(snapshot, kind)
    absent = _absent(snapshot, kind, symbols, days)
    outside = not there or span.last < there[0] or span.first > there[-1]
    if absent or outside:
        raise _gap(kind, symbols, span, absent, there)
    _check_rows(snapshot, kind, symbols, span, empty)
    return True


def check_market(snapshot: Snapshot, kind: DataType, span: Span) -> None:
    """Make sure that each trading day of the span was ingested, for all symbols together.

    Raises:
        NoDataError: one never was, or the span lies outside what was.
    """
    snapshot.once(
        ("covered", kind.name, None, span.first, span.last),
        lambda: _check_market(snapshot, kind, span),
    )


def _check_market(snapshot: Snapshot, kind: DataType, span: Span) -> bool:
    _check_kept(snapshot, kind, (), span)
    if snapshot.generation == 0:
        raise NoDataError(
            asked(kind, (), span),
            "nothing has been ingested yet",
            _get(span.first, span.last),
        )
    first, last = max(span.first, FIRST_SESSION), min(span.last, today())
    ingested = _of_all_symbols(snapshot, kind)
    days = _absent_days(first, last, ingested)
    if not days and any(first <= day <= last for day in ingested):
        _check_not_refused(snapshot, kind, span)
        return True
    there = sessions(snapshot, kind)
    table = states(snapshot, kind, None, days)
    columns = (table[name].to_pylist() for name in ("session", "state", "file_state"))
    absent = {
        session: _why(state, file_state)
        for session, state, file_state in zip(*columns, strict=True)
        if state not in INGESTED
    }
    if absent or not there or span.last < there[0] or span.first > there[-1]:
        raise _gap(kind, (), span, absent, there)
    _check_not_refused(snapshot, kind, span)
    return True


def _check_not_refused(snapshot: Snapshot, kind: DataType, span: Span) -> None:
    """Somebody has rows in the span, or nobody's were refused there.

    Raises:
        NoDataError: all rows of all symbols in the span were refused.
    """
    rows = DATA_TYPES["trades"] if is_kept_bars(kind.name) else kind
    refused = snapshot.fetch(
        """
        select day, rows_rejected
        from source_files
        where
            data_type = $data_type
            and day between $first and $last
            and state = 'ingested'
            and rows_published = 0
            and rows_rejected > 0
        order by day
        """,
        data_type=rows.name,
        first=span.first,
        last=span.last,
    )
    if refused and not any(span.first <= day <= span.last for day in sessions(snapshot, rows)):
        raise NoDataError(
            asked(kind, (), span),
            f"all rows were rejected: {some((f'{n:,} of {day}' for day, n in refused), _NAMED)}",
            _SEE_REJECTS,
        )


def _check_kept(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> None:
    """Make sure that bars are kept, or are there still: else no update brings them.

    Raises:
        NoDataError: they are not; it says what the configuration is to say.
    """
    keep = snapshot.config.bars.keep
    if not is_kept_bars(kind.name) or kind in snapshot.config.bars.kept:
        return
    if not _of_bars(snapshot, kind):
        every = kind.name.removeprefix(KEPT)
        raise NoDataError(
            asked(kind, symbols, span),
            f"such bars are not kept, bars.keep has {', '.join(keep) or 'none'}",
            f"write keep: [{', '.join((*keep, every))}] under bars: in {CONFIG_FILE}, then:"
            f" {_UPDATE}; or take them from the trades with: wh.bars(…, every={every!r},"
            " hours='all')",
        )


def _without_rows(
    snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span
) -> list[str]:
    """Symbols that have no row in the sessions of the span, be it of a part of one."""
    found = snapshot.partitions(kind.name, symbols)
    start_ns, end_ns = day_bounds_ns(span.first, span.last)
    touched = {
        symbol: [one for one in found[symbol] if one.overlaps(start_ns, end_ns)]
        for symbol in symbols
    }
    # What reaches out of the span on both sides may have nothing within.
    around = [
        one
        for each in touched.values()
        if len(each) == 1
        for one in each
        if one.first_ns < start_ns and one.last_ns >= end_ns
    ]
    counts = snapshot.rows_by_session(around)
    nothing = {
        one.symbol
        for one in around
        if not any(
            rows for day, rows in zip(*counts[one], strict=True) if span.first <= day <= span.last
        )
    }
    return [symbol for symbol in symbols if not touched[symbol] or symbol in nothing]


def _check_rows(
    snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span, empty: Sequence[str]
) -> None:
    """Who has no row in the span has not traded: none was refused, and there are some elsewhere.

    Raises:
        NoDataError: all rows that a symbol has in the span were refused, or it has none at all.
    """
    if not empty:
        return
    refused, _ = rejected(snapshot, kind, empty, _days_of(span))
    if refused:
        named = (
            f"{rows:,} of {symbol!r} on {day} ({reasons})"
            for (day, symbol), (rows, reasons) in refused.items()
        )
        raise NoDataError(
            asked(kind, symbols, span),
            f"all rows were rejected: {some(named, _NAMED)}",
            _SEE_REJECTS,
            sorted({symbol for _, symbol in refused}),
        )
    found = snapshot.partitions(kind.name, empty)
    without = [symbol for symbol in empty if not found[symbol]]
    if without:
        raise NoDataError(
            asked(kind, symbols, span),
            f"no {kind.name} of {some(map(repr, without), _NAMED)} in the warehouse; there are"
            f" {listed(_kinds_of(snapshot, without[0]))} of {without[0]!r}",
            "take what is there with missing='ignore'",
            without,
        )


def _days_of(span: Span) -> list[date]:
    """The days of a span of which there may be a file."""
    first, last = max(span.first, FIRST_SESSION), min(span.last, today())
    return days_between(first, last)


def rejected(
    snapshot: Snapshot, kind: DataType, symbols: Sequence[str], days: Sequence[date]
) -> tuple[dict[tuple[date, str], tuple[int, str]], dict[str, tuple[int, str]]]:
    """How many rows of a session and symbol were refused, and for what reasons.

    And how many of a symbol's that bear no session: of a file of its own that holds a month.

    Raises:
        CorruptPartitionError: a file of rejects that the catalog knows of is gone or unreadable.
    """
    wanted, months, named = set(days), {month_of(day) for day in days}, set(symbols)
    files = [
        str(snapshot.layout.rejects_of(RawFile(kind.name, day, symbol, monthly=is_monthly)))
        for day, symbol, is_monthly in _refusing(snapshot, kind)
        if (month_of(day) in months if is_monthly else day in wanted)
        if symbol is None or symbol in named
    ]
    folder = SqlFolder(snapshot.config.sql_dir(snapshot.layout.root))
    there = [file for file in files if os.path.isfile(file)]
    if len(there) < len(files) and snapshot.layout.tier is None:
        gone = Path(next(file for file in files if file not in there))
        problem = "it is no regular file" if gone.exists() else "missing"
        raise snapshot.or_moved(CorruptPartitionError(gone, problem, "warehouse verify --repair"))
    # A warehouse of an earlier version gets the file with its first update.
    if not there or not (folder.folder / "coverage/rejected.sql").exists():
        return {}, {}
    # A list of files is one of globs.
    values = {
        "files": [escape(file) for file in there],
        "sessions": list(days),
        "symbols": list(symbols),
    }
    with snapshot.connection() as connection:
        statement = folder["coverage/rejected"]
        check_file(connection, statement, READING_REJECTS)
        try:
            rows = _asked(connection, statement, values).to_pylist()
        except duckdb.Error:
            for file in there:
                try:
                    _asked(connection, statement, {**values, "files": [escape(file)]})
                except duckdb.Error as error:
                    raise snapshot.or_moved(unreadable(Path(file), one_line(error))) from error
            raise
    found = [(row["session"], row["symbol"], (row["rows"], row["reasons"])) for row in rows]
    return (
        {(day, symbol): told for day, symbol, told in found if day is not None},
        {symbol: told for day, symbol, told in found if day is None},
    )


def _refusing(snapshot: Snapshot, kind: DataType) -> list[tuple[date, str | None, bool]]:
    """The published files of which rows were refused: day, symbol, and whether it is a month's."""
    return snapshot.once(
        ("refusing", kind.name),
        lambda: [
            (day, symbol, symbol is not None and kind.monthly_by_symbol)
            for day, symbol in snapshot.fetch(
                """
                select day, symbol
                from source_files
                where data_type = $data_type and rows_rejected > 0
                order by day, symbol
                """,
                data_type=kind.name,
            )
        ],
    )


def _kinds_of(snapshot: Snapshot, symbol: str) -> list[str]:
    """The data types that a symbol has rows of."""
    return [name for name in DATA_TYPES if snapshot.partitions(name, [symbol])[symbol]]


def symbols_of(snapshot: Snapshot, data_type: str | None = None) -> tuple[str, ...]:
    """Symbols that have rows, in byte order; of one data type or of any."""
    return snapshot.once(
        ("symbols", data_type),
        lambda: tuple(
            symbol
            for (symbol,) in snapshot.fetch(
                """
                select distinct symbol
                from partitions
                where $data_type is null or data_type = $data_type
                order by symbol
                """,
                data_type=data_type,
            )
        ),
    )


def last_ns(snapshot: Snapshot, kind: DataType, symbol: str) -> int | None:
    """The stamp of a symbol's last row, nanoseconds UTC; None where it has none."""
    stored = snapshot.partitions(kind.name, [symbol])[symbol]
    return stored[-1].last_ns if stored else None


def sessions(snapshot: Snapshot, kind: DataType) -> tuple[date, ...]:
    """Sessions of which there are rows, ascending."""
    return snapshot.once(
        ("sessions", kind.name),
        lambda: tuple(
            session
            for (session,) in snapshot.fetch(
                """
                select distinct unnest(list_transform(sessions, lambda entry: entry.session)) as day
                from partitions
                where data_type = $data_type
                order by day
                """,
                data_type=kind.name,
            )
        ),
    )


def _check_symbols(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> None:
    found = snapshot.partitions(kind.name, symbols)
    without = [symbol for symbol in symbols if not found[symbol]]
    if not without:
        return
    every = every_symbol(snapshot)
    unknown = [symbol for symbol in without if symbol not in every]
    if unknown:
        # The vendor's files have it, and each of its rows was refused: that is told as such.
        of_sessions, of_none = rejected(snapshot, kind, unknown, _days_of(span))
        refused = {symbol for _, symbol in of_sessions} | of_none.keys()
        unknown = [symbol for symbol in unknown if symbol not in refused]
    if not unknown or _has_lost_rows(snapshot, kind, span):
        # Of files that have lost rows nobody knows whose they were: that is told of the sessions.
        return
    selected = snapshot.config.source.symbols
    left_out = [symbol for symbol in unknown if selected and symbol not in selected]
    if left_out:
        named = some(map(repr, left_out), _NAMED)
        hint = f"source.symbols leaves {named} out: add it there, then {_UPDATE}"
    else:
        hint = f"new sessions come with: {_get(span.first, span.last, '')}"
    near = near_symbols(unknown[0], every) if len(unknown) == 1 else []
    known = f"; near it: {', '.join(near)}" if near else ""
    raise NoDataError(
        asked(kind, symbols, span),
        f"no symbol {some(map(repr, unknown), _NAMED)} in the warehouse (case counts){known}",
        hint,
        unknown,
    )


def _has_lost_rows(snapshot: Snapshot, kind: DataType, span: Span) -> bool:
    ((count,),) = snapshot.fetch(
        """
        select count(*)
        from source_files
        where data_type = $data_type and state = 'rows_lost' and day between $first and $last
        """,
        data_type=kind.name,
        first=span.first.replace(day=1) if kind.monthly_by_symbol else span.first,
        last=span.last,
    )
    return bool(count)


def every_symbol(snapshot: Snapshot) -> frozenset[str]:
    """The symbols of all data types."""
    return snapshot.once("every symbol", lambda: frozenset(symbols_of(snapshot)))


def near_symbols(symbol: str, every: Iterable[str]) -> list[str]:
    """Other spellings: in another case first, then those that differ by little.

    Of several that were given as one text, `AAPL, MSFT`, these.
    """
    names = sorted(every)
    parts = dict.fromkeys(re.split(r"[\s,;]+", symbol))
    if several := [part for part in parts if part in names]:
        return several[:_NAMED]
    folded = [other for other in names if other.casefold() == symbol.casefold()]
    close = get_close_matches(symbol.upper(), names, n=_NAMED, cutoff=0.6)
    return list(dict.fromkeys([*folded, *close]))[:_NAMED]


def _of_bars(snapshot: Snapshot, kind: DataType) -> frozenset[date]:
    """Sessions that kept bars were built of, as manifests say: no row of theirs is read."""
    return snapshot.once(("built", kind.name), lambda: _built(snapshot, kind))


def _built(snapshot: Snapshot, kind: DataType) -> frozenset[date]:
    listed = snapshot.manifests or ()
    trades = {one.month: one for one in listed if one.data_type == "trades"}
    found: set[date] = set()
    for bars in (one for one in listed if one.data_type == kind.name):
        found.update(bars.sessions)
        of_month = trades.get(bars.month)
        if of_month is None or found.issuperset(of_month.sessions):
            continue
        # Of the others no bar came, or nobody has looked at them yet.
        if bars.follows == followed(of_month, hours_of(of_month.sessions)):
            found.update(of_month.sessions)
    return frozenset(found)


def _without_a_trade(snapshot: Snapshot) -> frozenset[date]:
    """Sessions of which trades were ingested and none is there: all were refused.

    Nothing is built of them, and no update brings a bar.
    """
    trades = DATA_TYPES["trades"]
    return snapshot.once(
        "without a trade",
        lambda: frozenset(
            day
            for (day,) in snapshot.fetch(
                """
                select day
                from source_files
                where data_type = $data_type and state = 'ingested'
                group by day
                having sum(rows_published) = 0
                """,
                data_type=trades.name,
            )
        ).difference(sessions(snapshot, trades)),
    )


def _of_all_symbols(snapshot: Snapshot, kind: DataType) -> frozenset[date]:
    """Sessions of which a file with all symbols was ingested.

    Kept bars are built of all symbols together: of one that has none there no trade set a price.
    """
    if is_kept_bars(kind.name):
        return _of_bars(snapshot, kind) | _without_a_trade(snapshot)
    return snapshot.once(
        ("ingested", kind.name),
        lambda: frozenset(
            day
            for (day,) in snapshot.fetch(
                """
                select day
                from source_files
                where
                    data_type = $data_type
                    and symbol is null
                    and symbols is null
                    and state = 'ingested'
                """,
                data_type=kind.name,
            )
        ),
    )


def _absent(
    snapshot: Snapshot, kind: DataType, symbols: Sequence[str], days: Sequence[date]
) -> dict[date, str]:
    """Those of the days that were not ingested for all of the symbols, and why in words."""
    asked = [
        (symbol, wanted)
        for symbol, present in _sessions_of(snapshot, kind, symbols, days).items()
        if (wanted := [day for day in days if day not in present])
        and (wanted := sorted({*wanted} - _ingested(snapshot, kind, symbol)))
    ]
    if not asked:
        return {}
    wanted = sorted({day for _, absent in asked for day in absent})
    table = states(snapshot, kind, [symbol for symbol, _ in asked], wanted)
    columns = (table[name].to_pylist() for name in ("session", "state", "file_state"))
    return {
        session: _why(state, file_state)
        for session, state, file_state in zip(*columns, strict=True)
        if state not in INGESTED
    }


def _why(state: str, file_state: str | None) -> str:
    if state != "not_ingested":
        return WORDS[state]
    return WORDS[file_state] if file_state else ""


def _ingested(snapshot: Snapshot, kind: DataType, symbol: str) -> set[date]:
    """Sessions of which a file with this symbol was ingested: of them nothing need be asked."""
    found = set()
    for day, is_own in snapshot.fetch(
        """
        select day, symbol is not null
        from source_files
        where
            data_type = $data_type
            and state = 'ingested'
            and (symbol = $symbol or (symbol is null and list_contains(symbols, $symbol)))
        """,
        data_type=kind.name,
        symbol=symbol,
    ):
        found.add(day)
        if is_own and kind.monthly_by_symbol:
            # A symbol's own file holds its month as far as there was one when it was made.
            found.update(s for s in sessions(snapshot, kind) if month_of(s) == month_of(day))
    return found


def _sessions_of(
    snapshot: Snapshot, kind: DataType, symbols: Sequence[str], days: Sequence[date]
) -> dict[str, set[date]]:
    """The sessions that each symbol has rows in, in the months of the days."""
    months = {month_of(day) for day in days}
    found = snapshot.partitions(kind.name, symbols)
    stored = {symbol: [one for one in found[symbol] if one.month in months] for symbol in symbols}
    counts = snapshot.rows_by_session([one for each in stored.values() for one in each])
    return {
        symbol: {day for one in each for day, rows in zip(*counts[one], strict=True) if rows}
        for symbol, each in stored.items()
    }


def states(
    snapshot: Snapshot, kind: DataType, symbols: Sequence[str] | None, days: Sequence[date]
) -> pa.Table:
    """What sql/coverage/states says of each of the days and symbols; None: of all together."""
    statement = snapshot.once(STATES, lambda: _checked(snapshot))
    with snapshot.connection() as connection:
        try:
            return _asked(connection, statement, states_asked(kind, symbols, days))
        except duckdb.Error as error:
            raise snapshot.refused(error) from error


def _asked(
    connection: duckdb.DuckDBPyConnection, statement: SqlFile, values: Mapping[str, Any]
) -> pa.Table:
    try:
        found = answer_of(
            statement,
            values,
            lambda sql, given: watched(
                connection,
                str(statement.path),
                lambda: connection.sql(sql, params=given).to_arrow_table(),
            ),
        )
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise SqlFileError(statement.path, one_line(error)) from error
    assert found is not None
    return found


def _checked(snapshot: Snapshot) -> SqlFile:
    statement = SqlFolder(snapshot.config.sql_dir(snapshot.layout.root)).or_shipped(STATES)
    with snapshot.connection() as connection:
        check_file(connection, statement)
    return statement


def states_asked(
    kind: DataType, symbols: Sequence[str] | None, days: Sequence[date]
) -> dict[str, Any]:
    """The parameters of sql/coverage/states; symbols None: of all of them together."""
    return {
        "data_type": kind.name,
        "sessions": list(days),
        "symbols": None if symbols is None else list(symbols),
        "is_monthly": kind.monthly_by_symbol,
        # A day's file comes in the course of the next.
        "due": today() - timedelta(days=1),
    }


def _absent_days(first: date, last: date, present: AbstractSet[date]) -> list[date]:
    """Trading days from first to last that are not present."""
    if not weekdays_absent(first, last, present):
        return []
    # Whole years: a calendar takes a tenth of a second to make, and the last few are kept.
    absent = absent_sessions(date(first.year, 1, 1), date(last.year, 12, 31), present)
    return [day for day in absent if first <= day <= last]


def _gap(
    kind: DataType,
    symbols: Sequence[str],
    span: Span,
    absent: Mapping[date, str],
    there: Sequence[date],
) -> NoDataError:
    if there:
        have = f"there are {kind.name} from {there[0]} to {there[-1]}"
    else:
        have = f"there are no {kind.name} at all"
    found = have
    is_lost = WORDS[FileState.ROWS_LOST] in absent.values()
    if absent and (there or is_lost):
        told = [f"{day} ({why})" if why else f"{day}" for day, why in sorted(absent.items())]
        found = f"{'not here' if is_lost else 'never ingested'}: {some(told, _NAMED)}; {have}"
    if span.first > today():
        return NoDataError(
            asked(kind, symbols, span),
            f"those days are still to come; {have}",
            "ask for days that have been, or take what is there with missing='ignore'",
        )
    if span.last < FIRST_SESSION and not (there and there[0] < FIRST_SESSION):
        return NoDataError(
            asked(kind, symbols, span),
            f"the vendor's files begin on {FIRST_SESSION}; {have}",
            "ask for later days (is the year right?), or take what is there with missing='ignore'",
        )
    first, last = (min(absent), max(absent)) if absent else (span.first, span.last)
    is_past = FIRST_SESSION <= first <= last <= today()
    if not absent and is_past and not trading_days(first, last):
        return NoDataError(
            asked(kind, symbols, span),
            f"the exchange has no session then; {have}",
            "ask for sessions, or take what is there with missing='ignore'",
        )
    return NoDataError(
        asked(kind, symbols, span),
        found,
        f"{_get(first, last)}, or take what is there with missing='ignore'",
        [session.isoformat() for session in sorted(absent)],
    )


def asked(kind: DataType, symbols: Sequence[str], span: Span) -> str:
    """What is asked, in words; no symbols: of all."""
    days = f"{span.first}" if span.first == span.last else f"{span.first} to {span.last}"
    whose = some(map(repr, symbols), _NAMED) if symbols else "all symbols"
    return f"{kind.name} of {whose}, {days}"


def _get(first: date, last: date, what: str = "get the rest with: ") -> str:
    return f"{what}{_UPDATE} --start {first} --end {last}"
