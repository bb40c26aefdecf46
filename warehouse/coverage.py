"""What of a question the warehouse has no answer to: symbols it never saw, sessions never ingested.

A symbol that did not trade in an ingested session is no gap; a session of which no file was ever
ingested is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from difflib import get_close_matches

from warehouse.errors import NoDataError
from warehouse.schema import DataType
from warehouse.sessions import FIRST_SESSION, Span, absent_sessions, last_day_of_month, today
from warehouse.snapshot import Snapshot

_NAMED = 4
_SATURDAY = 5
_UPDATE = "warehouse update"
# Why a session is not there, by the state of its file.
_WHY = {
    "downloaded": "not ingested yet",
    "set_aside": "set aside",
    "failed": "download failed",
    "missing": "missing at the vendor",
    "not_yet": "not yet published",
    "not_in_plan": "not in your plan",
}


def check(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> None:
    """Make sure that what is asked is in the warehouse, as far as it can be.

    Raises:
        NoDataError: a symbol is unknown to the whole warehouse, a trading day of the span was never
            ingested for a symbol, or the span lies outside what was.
    """
    snapshot.once(
        ("covered", kind.name, tuple(symbols), span.first, span.last),
        lambda: _check(snapshot, kind, symbols, span),
    )


def _check(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> bool:
    if snapshot.generation == 0:
        raise NoDataError(
            asked(kind, symbols, span),
            "nothing has been ingested yet",
            _get(span.first, span.last),
        )
    _check_symbols(snapshot, kind, symbols, span)
    first, last = max(span.first, FIRST_SESSION), min(span.last, today())
    ingested = _of_all_symbols(snapshot, kind)
    absent = _absent_days(first, last, ingested)
    if not absent and any(first <= day <= last for day in ingested):
        return True
    # What follows looks at every partition, to say just what is missing and what there is.
    there = sessions(snapshot, kind)
    if absent:
        present = ingested | _earlier(snapshot, kind)
        absent = sorted(
            {
                session
                for symbol in symbols
                for session in _absent(snapshot, kind, symbol, first, last, present)
            }
        )
    outside = not there or span.last < there[0] or span.first > there[-1]
    if absent or outside:
        raise _gap(kind, symbols, span, absent, there, _states(snapshot, kind, absent))
    return True


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
    every = snapshot.once("every symbol", lambda: frozenset(symbols_of(snapshot)))
    unknown = [symbol for symbol in without if symbol not in every]
    if not unknown:
        return
    selected = snapshot.config.source.symbols
    left_out = [symbol for symbol in unknown if selected and symbol not in selected]
    if left_out:
        hint = f"source.symbols leaves {_listed(left_out)} out: add it there, then {_UPDATE}"
    else:
        hint = f"new sessions come with: {_get(span.first, span.last, '')}"
    near = _near(unknown[0], sorted(every)) if len(unknown) == 1 else []
    known = f"; near it: {', '.join(near)}" if near else ""
    raise NoDataError(
        asked(kind, symbols, span),
        f"no symbol {_listed(unknown)} in the warehouse (case counts){known}",
        hint,
        unknown,
    )


def _near(symbol: str, every: list[str]) -> list[str]:
    """Other spellings: in another case first, then those that differ by little."""
    folded = [other for other in every if other.casefold() == symbol.casefold()]
    close = get_close_matches(symbol.upper(), every, n=_NAMED, cutoff=0.6)
    return list(dict.fromkeys([*folded, *close]))[:_NAMED]


def _of_all_symbols(snapshot: Snapshot, kind: DataType) -> frozenset[date]:
    """Sessions of which a file with all symbols was ingested."""
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


def _earlier(snapshot: Snapshot, kind: DataType) -> set[date]:
    """Sessions whose file has come down anew since, or was refused then: its rows still stand."""
    again = snapshot.fetch(
        """
        select day
        from source_files
        where data_type = $data_type and symbol is null and state <> 'ingested'
        """,
        data_type=kind.name,
    )
    return {day for (day,) in again} & set(sessions(snapshot, kind))


def _absent(
    snapshot: Snapshot,
    kind: DataType,
    symbol: str,
    first: date,
    last: date,
    ingested: AbstractSet[date],
) -> list[date]:
    """Trading days from first to last of which nothing was ingested for the symbol."""
    present = set(ingested)
    for day, is_own in snapshot.fetch(
        """
        select day, symbol is not null
        from source_files
        where
            data_type = $data_type
            and state = 'ingested'
            and (symbol = $symbol or (symbol is null and list_contains(symbols, $symbol)))
        union
        select unnest(list_transform(sessions, lambda entry: entry.session)), false
        from partitions
        where data_type = $data_type and symbol = $symbol
        """,
        data_type=kind.name,
        symbol=symbol,
    ):
        present.add(day)
        if is_own and kind.monthly_by_symbol:
            # A symbol's own file holds its month as far as there was one when it was made.
            end = last_day_of_month(day)
            present.update(s for s in sessions(snapshot, kind) if day <= s <= end)
    return _absent_days(first, last, present)


def _absent_days(first: date, last: date, present: AbstractSet[date]) -> list[date]:
    """Trading days from first to last that are not present."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    if all(day in present for day in days if day.weekday() < _SATURDAY):
        return []
    # Whole years: a calendar takes a tenth of a second to make, and the last few are kept.
    absent = absent_sessions(date(first.year, 1, 1), date(last.year, 12, 31), present)
    return [day for day in absent if first <= day <= last]


def _states(snapshot: Snapshot, kind: DataType, days: Sequence[date]) -> dict[date, str]:
    """What is known of the days' files that hold all symbols."""
    return dict(
        snapshot.fetch(
            """
            select day, state
            from source_files
            where
                data_type = $data_type
                and symbol is null
                and day between $first and $last
            """,
            data_type=kind.name,
            first=min(days, default=None),
            last=max(days, default=None),
        )
    )


def _gap(
    kind: DataType,
    symbols: Sequence[str],
    span: Span,
    absent: Sequence[date],
    there: Sequence[date],
    states: Mapping[date, str],
) -> NoDataError:
    if there:
        have = f"there are {kind.name} from {there[0]} to {there[-1]}"
    else:
        have = f"there are no {kind.name} at all"
    found = have
    if absent and there:
        named = ", ".join(
            f"{day} ({_WHY[states[day]]})" if states.get(day) in _WHY else f"{day}"
            for day in absent[:_NAMED]
        )
        more = f" and {len(absent) - _NAMED:,} more" if len(absent) > _NAMED else ""
        found = f"never ingested: {named}{more}; {have}"
    first, last = (absent[0], absent[-1]) if absent else (span.first, span.last)
    return NoDataError(
        asked(kind, symbols, span),
        found,
        f"{_get(first, last)}, or take what is there with missing='ignore'",
        [session.isoformat() for session in absent],
    )


def asked(kind: DataType, symbols: Sequence[str], span: Span) -> str:
    """What is asked, in words."""
    days = f"{span.first}" if span.first == span.last else f"{span.first} to {span.last}"
    return f"{kind.name} of {_listed(symbols)}, {days}"


def _get(first: date, last: date, what: str = "get the rest with: ") -> str:
    return f"{what}{_UPDATE} --start {first} --end {last}"


def _listed(symbols: Sequence[str]) -> str:
    named = ", ".join(repr(symbol) for symbol in symbols[:_NAMED])
    return f"{named} and {len(symbols) - _NAMED:,} more" if len(symbols) > _NAMED else named
