"""What there is to be done about the kept bars of a month: which are stale, and which are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

import pyarrow as pa

from warehouse.core import calendar
from warehouse.core.config import PartitionLayout
from warehouse.core.datatypes import DataType
from warehouse.core.paths import ALL_SYMBOLS, PartitionKey, part_name
from warehouse.pipeline.bars import origin
from warehouse.pipeline.bars.trades import Unit
from warehouse.sqlfolder.transform_version import Recipe
from warehouse.store.manifests import Key
from warehouse.store.partitions import ENTRIES, Partition, SessionSource


@dataclass(frozen=True)
class Scope:
    """Which kept bars are looked at, and what is done.

    Attributes:
        kinds: data types of bars; None: those that `bars.keep` names. What else there is goes.
        first, last: first days of months, both inclusive.
        symbols: in the layout `symbol` only these; empty: all.
        sessions: in the layout `market` only these, where a file is of a session; empty: all.
        by_recipe: what another recipe made is stale, too.
        anew: whatever there is, it is made again.
        place: the layout that they are to have, and then only months of the other; None: a month
            that there is stays as it is.
    """

    kinds: tuple[DataType, ...] | None = None
    first: date = date.min
    last: date = date.max
    symbols: frozenset[str] = frozenset()
    sessions: frozenset[date] = frozenset()
    by_recipe: bool = False
    anew: bool = False
    place: PartitionLayout | None = None


@dataclass
class Work:
    """What is to be made of a month's bars of one length.

    Attributes:
        place: the layout that they will have.
        recipe: what they are made by; None: they only go.
        present: as they are published; of all symbols with the `entries`.
        due: of each symbol and session, what its bars are to say of themselves, but for the rows.
        made_by: fingerprints of what is written at once: of a symbol's month, of a session, or of
            the month of all symbols.
        stale: what is written: its symbol, session or (of day bars of all symbols) the month; and
            of it what is built, for what else there is of it is taken over.
        gone: partitions of which there are no trades any more, or in the other layout.
        others: (its fingerprint, or None; that of the trades that is due; partitions) of what is
            stale.
        is_whole: nothing of the month was left out.
        follows: the id of the trades that all of it is up to date with once this is done; None: of
            those that were looked at some were left out, or there are none.
        reasons: why → the partitions that are stale for it.
    """

    kind: DataType
    month: date
    place: PartitionLayout
    recipe: Recipe | None
    present: list[Partition] = field(default_factory=list)
    entries: pa.Table = field(default_factory=ENTRIES.empty_table)
    due: dict[Unit, SessionSource] = field(default_factory=dict)
    made_by: dict[str | date, str] = field(default_factory=dict)
    stale: dict[str | date, set[Unit]] = field(default_factory=dict)
    gone: list[PartitionKey] = field(default_factory=list)
    others: list[tuple[str | None, str, list[PartitionKey]]] = field(default_factory=list)
    is_whole: bool = True
    follows: str | None = None
    reasons: dict[str, list[PartitionKey]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.kind.name, self.month

    @property
    def is_due(self) -> bool:
        """Whether partitions are to be made, or to go."""
        return bool(self.stale or self.gone)

    @property
    def there(self) -> set[str | date]:
        """What is published of it: symbols, sessions or the month."""
        return {self.place_of(one.key) for one in self.present}

    def place_of(self, key: PartitionKey) -> str | date:
        """What a partition is of, as `stale` names it."""
        return key.symbol or key.session or key.month

    def barren(self, written: Iterable[PartitionKey]) -> dict[str | date, str]:
        """What has no bars once these are written, and the fingerprint that they would have."""
        left = {self.place_of(key) for key in written} | (self.there - self.stale.keys())
        return {place: each for place, each in self.made_by.items() if place not in left}


def look(
    work: Work,
    scope: Scope,
    trades: Mapping[Unit, SessionSource],
    is_kept: Callable[[str], bool],
) -> None:
    """Note what is stale, and what is gone.

    Args:
        trades: what there is, by symbol and session.
        is_kept: whether there is a note of that name: see `origin.note_of`.
    """
    hours = calendar.hours_of([session for _, session in trades])
    if work.place == "symbol":
        _symbols(work, scope, trades, hours)
    elif work.kind.by_session:
        _sessions(work, scope, trades, hours)
    else:
        _month(work, scope, trades, hours)
    work.is_whole = not (scope.symbols or scope.sessions)
    without = {place: work.made_by[place] for place in work.made_by if place not in work.there}
    if scope.anew or not work.is_whole or not without:
        return
    if is_kept(origin.note_of(work.kind, work.month, without, by_recipe=scope.by_recipe)):
        for place in without:
            del work.stale[place]
        work.others = [one for one in work.others if one[0] is not None]


def _is_current(work: Work, scope: Scope, fingerprint: str, due: str) -> bool:
    """Whether what has a fingerprint need not be made again where another is due."""
    if scope.anew:
        return False
    if scope.by_recipe:
        return fingerprint == due
    return origin.trades_in(fingerprint) == origin.trades_in(due)


def _symbols(
    work: Work, scope: Scope, trades: Mapping[Unit, SessionSource], hours: dict[date, str]
) -> None:
    assert work.recipe is not None
    by_symbol: defaultdict[str, list[tuple[str, SessionSource]]] = defaultdict(list)
    for (symbol, session), one in trades.items():
        by_symbol[symbol].append((symbol, one))
        made = origin.made_by(work.recipe, origin.of_trades([(symbol, one)], hours))
        work.due[symbol, session] = _source(one, made)
    present = {one.symbol: one for one in work.present}
    work.gone += [one.key for symbol, one in present.items() if symbol not in by_symbol]
    for symbol, units in by_symbol.items():
        whole = origin.of_trades(units, hours)
        due = work.made_by[symbol] = origin.made_by(work.recipe, whole)
        if scope.symbols and symbol not in scope.symbols:
            continue
        old = present.get(symbol)
        own = {(symbol, one.session) for _, one in units}
        key = PartitionKey(work.kind.name, symbol, work.month)
        if old is None:
            work.stale[symbol] = own
            work.others.append((None, whole, [key]))
            continue
        there = {one.session: one for one in old.sessions}
        fresh = {
            unit
            for unit in own
            if (known := there.get(unit[1])) is not None
            and _is_current(work, scope, known.fingerprint or "", work.due[unit].fingerprint or "")
        }
        is_fresh = {session for _, session in fresh} == there.keys()
        if not (is_fresh and _is_current(work, scope, old.fingerprint, due)):
            work.stale[symbol] = own - fresh
            work.others.append((old.fingerprint, whole, [key]))
            by = {one.fingerprint for one in old.sessions if (symbol, one.session) not in fresh}
            recipes = {origin.recipe_in(each or "") for each in by}
            for each in sorted(recipes - {origin.recipe_in(old.fingerprint)}):
                work.others.append((each + whole, whole, [key]))


def _sessions(
    work: Work, scope: Scope, trades: Mapping[Unit, SessionSource], hours: dict[date, str]
) -> None:
    present: defaultdict[date, list[Partition]] = defaultdict(list)
    for one in work.present:
        if one.key.session is not None:
            present[one.key.session].append(one)
    due = _by_session(work, trades, hours, is_told=False)
    for session, files in present.items():
        if session not in due:
            work.gone += [one.key for one in files]
    for session, whole in due.items():
        work.made_by[session] = whole
        if scope.sessions and session not in scope.sessions:
            continue
        files = present.get(session, [])
        old = files[0].fingerprint if files else None
        if old is None or not _is_current(work, scope, old, whole):
            work.stale[session] = {unit for unit in trades if unit[1] == session}
            first = PartitionKey(work.kind.name, ALL_SYMBOLS, work.month, part_name(session, 0))
            keys = [one.key for one in files] or [first]
            work.others.append((old, origin.trades_in(whole), keys))


def _month(
    work: Work, scope: Scope, trades: Mapping[Unit, SessionSource], hours: dict[date, str]
) -> None:
    """Day bars of all symbols, which share one file; each entry says what its session is of."""
    assert work.recipe is not None
    due = _by_session(work, trades, hours, is_told=True)
    if not due:
        work.gone += [one.key for one in work.present]
        return
    units = list(trades.items())
    every = [(symbol, one) for (symbol, _), one in units]
    whole = origin.made_by(work.recipe, origin.of_trades(every, hours))
    work.made_by[work.month] = whole
    there: dict[date, str] = {}
    for row in work.entries.select(["session", "fingerprint"]).to_pylist():
        there[row["session"]] = row["fingerprint"] or ""
    fresh = {
        session
        for session, made in due.items()
        if session in there and _is_current(work, scope, there[session], made)
    }
    old = work.present[0].fingerprint if work.present else None
    is_fresh = old is not None and there.keys() == fresh
    if not (is_fresh and old is not None and _is_current(work, scope, old, whole)):
        work.stale[work.month] = {unit for unit in trades if unit[1] not in fresh}
        key = PartitionKey(work.kind.name, ALL_SYMBOLS, work.month)
        work.others.append((old, origin.trades_in(whole), [key]))
        recipes = {origin.recipe_in(each) for day, each in there.items() if day not in fresh}
        for each in sorted(recipes - {origin.recipe_in(old or "")}):
            trades_due = origin.trades_in(whole)
            work.others.append((each + trades_due, trades_due, [key]))


def _by_session(
    work: Work, trades: Mapping[Unit, SessionSource], hours: dict[date, str], *, is_told: bool
) -> dict[date, str]:
    """The fingerprint that each session is to have, of all symbols' trades.

    Args:
        is_told: each entry says it; else the file does.
    """
    assert work.recipe is not None
    by_session: defaultdict[date, list[tuple[str, SessionSource]]] = defaultdict(list)
    for (symbol, session), one in trades.items():
        by_session[session].append((symbol, one))
    found = {
        session: origin.made_by(work.recipe, origin.of_trades(units, hours))
        for session, units in sorted(by_session.items())
    }
    for (symbol, session), one in trades.items():
        work.due[symbol, session] = _source(one, found[session] if is_told else None)
    return found


def _source(trades: SessionSource, fingerprint: str | None) -> SessionSource:
    """What bars of these trades say of themselves; the number of their rows is still to come."""
    return replace(
        trades, rows=0, rejects=0, source=origin.source_of(trades), fingerprint=fingerprint
    )
