"""Time bars by numpy: the twin of the statements of sql/bars, in a fraction of their time.

It gives what the shipped statements give, bit for bit (a test holds the two against each other),
and is asked only while they are the shipped ones. Where it cannot be sure that a sum is exact, or
where rules are valid for a time, it steps aside.

Trades are worked on in portions, each of whole bars: what numpy puts down between two steps stays
in the processor's cache, and threads have something to share. Sums are of whole numbers (dollars of
ticks times millionths of a share), so neither portions nor threads have a say in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import bar_type
from warehouse.core.process import Threads

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
_FORM_T = 12
_BEFORE_OPEN_NS = 19_800_000_000_000
_AFTER_CLOSE_NS = 14_400_000_000_000
_REGULAR, _EVENING = 1, 3
_PORTION_ROWS = 100_000
"""Of fewer what a step costs at all counts for more, of more threads wait for the last one."""
_FREED_BYTES = (32 << 20) - 8_192
"""Just what the C library still takes as a sign of what is usual, see `_keep_memory`."""
_STEP_ROWS = 1_024
_PRICE_SCALES = (2, 4, 6)
_SIZE_SCALE = 6
_MOST = 10**9
"""No price and no size of a trade is as large."""
_EXACT = 1 << 53
"""Whole numbers below it are doubles."""
_INT64 = 1 << 63
_FEW_ROWS = 512
_RULES = ("high_low", "open_close", "volume")
_MAY = (1, 2, 4)
"""What a trade may do is the sum of some of these, in the order of the rules."""
_BITS = 21
_PACKED = np.array(
    [sum((kind & what > 0) << _BITS * n for n, what in enumerate(_MAY)) for kind in range(8)]
)
"""A number for each such sum: fewer than 2^21 of them, added, count all three at once."""
_STAMP = np.dtype("datetime64[ns]")
_NULLABLE = ("open", "high", "low", "close", "vwap")
_COLUMNS = bar_type().columns


class Windows(NamedTuple):
    """What is of each window, in the columns of a bar.

    Attributes:
        bars: of those in which some trade may set the open and some the high.
        rest: of the others.
    """

    bars: pa.Table
    rest: pa.Table

    @property
    def rows(self) -> pa.Table:
        """All of them as sql/bars/bars has them, but the bars first."""
        return pa.concat_tables(
            table.append_column("is_bar", pa.array(np.full(table.num_rows, is_bar)))
            for table, is_bar in zip(self, (True, False), strict=True)
        )


def time_bars(
    trades: pa.Table,
    conditions: Conditions,
    sessions: pa.Table,
    every_ns: int,
    hours: str,
    threads: int = 1,
) -> Windows | None:
    """What the statements eligible, time and bars make of the tape.

    Args:
        trades: the tape in order, as `tape.on_tape` gives it; texts may be dictionaries.
        conditions: what they allow; it learns the texts that there are.
        sessions: the table of that name of the statements.
        every_ns, hours: the parameters of sql/bars/time.
        threads: so many portions are worked on side by side.

    Returns:
        The rows of sql/bars/bars, in its order, or None: it cannot tell.
    """
    if conditions.are_dated:
        return None
    _keep_memory()
    clock = _Clock.of(sessions, every_ns)

    def made(portion: pa.Table) -> Windows | None:
        return _bars(portion, conditions, clock, hours)

    portions = _portions(trades, clock)
    if threads > 1 and trades.num_rows > _PORTION_ROWS:
        with Threads(threads, thread_name_prefix="warehouse-bars") as pool:
            found = list(pool.map(made, portions))
    else:
        found = list(map(made, portions))
    made_of = [each for each in found if each is not None]
    if not made_of or len(made_of) < len(found):
        return None
    return Windows(*(pa.concat_tables(tables) for tables in zip(*made_of, strict=True)))


@dataclass(frozen=True)
class _Parts:
    """What trades are of: a symbol's session before the open, the regular hours, after the close.

    Attributes:
        firsts: the first trade of each.
        numbers: 0 before the open, 1 within the regular hours, 2 and 3 (the evening's end) behind.
        opens, closes: the hours of its session, nanoseconds UTC.
        places: which of the clock's sessions it is of.
        days: that session, as days since 1970.
    """

    firsts: Ints
    numbers: npt.NDArray[np.int8]
    opens: Ints
    closes: Ints
    places: Ints
    days: npt.NDArray[np.int32]

    @property
    def is_extended(self) -> Flags:
        found: Flags = self.numbers != _REGULAR
        return found

    @property
    def origins(self) -> Ints:
        """Where the grid of windows begins."""
        after = self.closes + (self.numbers == _EVENING) * _AFTER_CLOSE_NS
        before = self.opens - (self.numbers < _REGULAR) * _BEFORE_OPEN_NS
        return np.where(self.numbers > _REGULAR, after, before)

    def lengths(self, rows: int) -> Ints:
        """How many trades each has, of so many in all."""
        return _lengths(self.firsts, rows)

    def take(self, which: Ints, firsts: Ints) -> _Parts:
        """Some of them, whose first trades have other places now."""
        return _Parts(
            firsts,
            self.numbers[which],
            self.opens[which],
            self.closes[which],
            self.places[which],
            self.days[which],
        )


@dataclass(frozen=True)
class _Clock:
    """The sessions and their windows, as sql/bars/time has them.

    Attributes:
        every_ns: the length of a window.
        days: the sessions as days since 1970, ascending.
        opens, closes: their hours, nanoseconds UTC.
        midnights, next_midnights: where they begin and end, likewise.
    """

    every_ns: int
    days: npt.NDArray[np.int32]
    opens: Ints
    closes: Ints
    midnights: Ints
    next_midnights: Ints

    @classmethod
    def of(cls, sessions: pa.Table, every_ns: int) -> _Clock:
        days = _numpy(sessions["session"].cast(pa.int32()))
        instants = ("open_ns", "close_ns", "midnight_ns", "next_midnight_ns")
        return cls(every_ns, days, *(_numpy(sessions[name]) for name in instants))

    def parts(self, trades: pa.Table, stamps: Ints) -> _Parts:
        days = _numpy(trades["session"].cast(pa.int32()))
        changes = days[1:] != days[:-1]
        symbols = trades["symbol"]
        # One symbol comes after the other: where the last is the first, there is no other.
        if symbols[0] != symbols[-1]:
            changes |= _changes(symbols)
        firsts = _firsts(changes)
        places = np.searchsorted(self.days, days[firsts])
        lengths = _lengths(firsts, len(days))
        opens, closes = (np.repeat(each[places], lengths) for each in (self.opens, self.closes))
        numbers = (stamps >= opens).view(np.int8)
        is_after = stamps >= closes
        if is_after.any():
            numbers += is_after
            closes += _AFTER_CLOSE_NS
            numbers += stamps >= closes
            closes -= _AFTER_CLOSE_NS
        changes |= numbers[1:] != numbers[:-1]
        firsts = _firsts(changes)
        places = np.searchsorted(self.days, days[firsts])
        return _Parts(firsts, numbers[firsts], opens[firsts], closes[firsts], places, days[firsts])

    def ends(self, parts: _Parts) -> Ints:
        """Where each part ends, and with it the last of its windows."""
        evening = parts.closes + _AFTER_CLOSE_NS
        by_number = (parts.opens, parts.closes, evening, self.next_midnights[parts.places])
        return np.choose(parts.numbers, by_number)

    def windows(self, parts: _Parts, stamps: Ints) -> tuple[Ints, Ints]:
        """The first trade of each window that has some, and when its grid has it begin."""
        origins = np.repeat(parts.origins, parts.lengths(len(stamps)))
        # To divide by one number is quick, to take the remainder is not.
        numbers = np.subtract(stamps, origins)
        numbers //= self.every_ns
        changes = numbers[1:] != numbers[:-1]
        changes[parts.firsts[1:] - 1] = True
        firsts = _firsts(changes)
        return firsts, origins[firsts] + numbers[firsts] * self.every_ns


def _keep_memory() -> None:
    """Let the C library keep what numpy gives back between two steps, some megabytes.

    Else it returns it to the system each time and gets it back page by page: a fifth of the time.
    glibc stops that once a block of this size was freed, whose pages nobody needs to have touched.
    """
    np.empty(_FREED_BYTES, np.uint8)


def _portions(trades: pa.Table, clock: _Clock) -> Iterator[pa.Table]:
    """All of the trades, some after the other; no window has trades of two portions."""
    low = 0
    while low < trades.num_rows:
        high, step = low + _PORTION_ROWS, _STEP_ROWS
        while high < trades.num_rows:
            # From the last trade of this portion to the first that begins a window.
            rows = trades.slice(high - 1, step)
            stamps = _numpy(rows["timestamp"].cast(pa.int64()))
            firsts, _ = clock.windows(clock.parts(rows, stamps), stamps)
            if len(firsts) > 1:
                high += int(firsts[1]) - 1
                break
            high, step = high + step - 1, 2 * step
        yield trades.slice(low, high - low)
        low = high


def _bars(trades: pa.Table, conditions: Conditions, clock: _Clock, hours: str) -> Windows | None:
    """The windows of a portion; None: it cannot tell."""
    stamps, prices, sizes = (_numpy(trades[name]) for name in ("timestamp", "price", "size"))
    stamps = stamps.view(np.int64)
    parts = clock.parts(trades, stamps)
    codes, texts = _codes(trades["conditions"])
    symbols = trades["symbol"].take(pa.array(parts.firsts))
    if hours != "all":
        which = np.flatnonzero(parts.is_extended == (hours == "extended"))
        if not len(which):
            return Windows(_COLUMNS.empty_table(), _COLUMNS.empty_table())
        if len(which) < len(parts.firsts):
            lengths = parts.lengths(len(stamps))
            asked = np.zeros(len(lengths), bool)
            asked[which] = True
            rows = np.flatnonzero(np.repeat(asked, lengths))
            stamps, codes, prices, sizes = stamps[rows], codes[rows], prices[rows], sizes[rows]
            parts = parts.take(which, np.cumsum(lengths[which]) - lengths[which])
            symbols = symbols.take(pa.array(which))
    if parts.is_extended.any():
        is_extended = np.repeat(parts.is_extended, parts.lengths(len(stamps)))
        codes = codes + is_extended * np.int32(len(texts))
    firsts, grid = clock.windows(parts, stamps)
    found = _sums(firsts, conditions.allow(texts).take(codes, mode="clip"), prices, sizes)
    if found is None:
        return None
    # Of each window the part that it is in: every part begins one.
    counts = _lengths(np.searchsorted(firsts, parts.firsts), len(firsts))
    place = np.repeat(np.arange(len(counts)), counts)
    begins = np.maximum(grid, clock.midnights[parts.places][place])
    ends = np.minimum(grid + clock.every_ns, clock.ends(parts)[place])
    found |= {
        "timestamp": begins.view(_STAMP),
        "end_timestamp": ends.view(_STAMP),
        "is_short": ends - begins < clock.every_ns,
    }
    is_bar = ~(np.isnan(found["open"]) | np.isnan(found["high"]))
    tables = []
    for rows in map(np.flatnonzero, (is_bar, ~is_bar)):
        chosen = {name: _array(name, values[rows]) for name, values in found.items()}
        chosen["symbol"] = symbols.take(pa.array(place[rows])).cast(pa.string())
        chosen["session"] = pa.array(parts.days[place[rows]]).view(pa.date32())
        tables.append(pa.table([chosen[name] for name in _COLUMNS.names], schema=_COLUMNS))
    return Windows(*tables)


def _array(name: str, values: npt.NDArray[Any]) -> pa.Array:
    if name not in _NULLABLE:
        return pa.array(values)
    is_absent = np.isnan(values)
    # A mask takes longer than all else of a column.
    return pa.array(values, mask=is_absent) if is_absent.any() else pa.array(values)


def _numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column without NULL as an array; nothing is copied where it is of one piece."""
    found: npt.NDArray[Any] = _whole(column).to_numpy(zero_copy_only=False)
    return found


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _firsts(changes: Flags) -> Ints:
    """The first row of each run, of whether a row's neighbour, the next, is of another."""
    rows = np.flatnonzero(changes)
    found = np.zeros(len(rows) + 1, np.int64)
    np.add(rows, 1, out=found[1:])
    return found


def _lengths(firsts: Ints, rows: int) -> Ints:
    """How many rows each run has, of so many in all."""
    found = np.empty(len(firsts), np.int64)
    np.subtract(firsts[1:], firsts[:-1], out=found[:-1])
    found[-1] = rows - firsts[-1]
    return found


def _changes(texts: pa.ChunkedArray) -> Flags:
    """Of all rows but the last whether the next has another text."""
    if pa.types.is_dictionary(texts.type):
        codes, _ = _codes(texts)
        changed: Flags = codes[1:] != codes[:-1]
        return changed
    whole = _whole(texts)
    found: Flags = pc.not_equal(whole[1:], whole[:-1]).to_numpy(zero_copy_only=False)
    return found


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str | None]]:
    """Of each row the number of its text, and the texts; that of NULL is None."""
    whole = _whole(column)
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    texts = [None, *whole.dictionary.to_pylist()]
    indices = whole.indices
    codes = np.frombuffer(indices.buffers()[1], np.int32, len(indices), 4 * indices.offset) + 1
    if indices.null_count:
        codes *= indices.is_valid().to_numpy(zero_copy_only=False)
    return codes, texts


class Conditions:
    """What trades may do, by the text of their conditions.

    Args:
        rules: the table `trade_conditions` of the statements.

    Attributes:
        are_dated: some rule is valid for a time.
    """

    def __init__(self, rules: pa.Table) -> None:
        dates = [rules[name] for name in ("valid_from", "valid_to")]
        self.are_dated = any(each.null_count < len(each) for each in dates)
        self._rules = {str(rule["id"]): rule for rule in rules.to_pylist()}
        self._known: dict[str | None, tuple[int, int]] = {}

    def allow(self, texts: Sequence[str | None]) -> npt.NDArray[np.uint8]:
        """What each text allows, and behind these what each does outside of the regular hours."""
        for text in texts:
            if text not in self._known:
                self._known[text] = self._of(text, freed=False), self._of(text, freed=True)
        found = [self._known[text][place] for place in (0, 1) for text in texts]
        return np.array(found, np.uint8)

    @property
    def has_unknown(self) -> bool:
        """Whether a text that was asked for has a code which the table does not have."""
        return any(self._unknown(text) for text in self._known)

    def unknown(self, texts: pa.ChunkedArray) -> dict[str, int]:
        """Codes that the table does not have, and how many of these rows carry each."""
        found = Counter[str]()
        for chunk in texts.chunks:
            for each in pc.value_counts(chunk).to_pylist():
                for code in self._unknown(each["values"]):
                    found[code] += each["counts"]
        return dict(sorted(found.items()))

    def _unknown(self, text: str | None) -> list[str]:
        codes = [code.strip(" ") for code in (text or "").split(",")]
        return [code for code in codes if code and code not in self._rules]

    def _of(self, text: str | None, *, freed: bool) -> int:
        """What all conditions of a text allow; `freed`: Form T forbids no price."""
        found = sum(_MAY)
        for code in (text or "").split(","):
            rule = self._rules.get(code.strip(" "))
            if rule is None:
                continue
            for what, name in zip(_MAY, _RULES, strict=True):
                is_form_t = rule["id"] == _FORM_T and name != "volume"
                if not (freed if is_form_t else rule[f"updates_{name}"]):
                    found &= ~what
        return found


def _sums(
    firsts: Ints, allowed: npt.NDArray[np.uint8], prices: Floats, sizes: Floats
) -> dict[str, Any] | None:
    """What there is of each window; None: a sum might not be exact.

    Args:
        firsts: the first trade of each window.
        allowed: of each trade what it may do.
    """
    priced, sized = _multiples(prices, _PRICE_SCALES), _multiples(sizes, (_SIZE_SCALE,))
    counts = _lengths(firsts, len(allowed))
    if priced is None or sized is None or counts.max() >= 1 << _BITS:
        return None
    (ticks, scale), (shares, _) = priced, sized
    if int(shares.max()) * int(counts.max()) >= _INT64:
        return None
    packed = np.add.reduceat(_PACKED.take(allowed, mode="clip"), firsts)
    numbers = [packed >> _BITS * place & (1 << _BITS) - 1 for place in range(len(_MAY))]
    may = [allowed & what != 0 for what in _MAY]
    volume = np.add.reduceat(shares, firsts) - _few(firsts, shares, ~may[2])
    dollars = _dollars(firsts, ticks, shares, may, scale + _SIZE_SCALE)
    shown = _double(volume, _SIZE_SCALE)
    found = {
        "volume": shown,
        "vwap": np.divide(dollars[0], shown, out=np.full(len(shown), np.nan), where=volume > 0),
        "dollar_volume": dollars[0],
        "trades": numbers[2].astype(np.int32),
    }
    for rule, number, kept_out in zip(_RULES, numbers, dollars[1:], strict=True):
        found[f"{rule}_barred_trades"] = (counts - number).astype(np.int32)
        found[f"{rule}_barred_dollars"] = kept_out
    return found | _prices(prices, may, numbers)


def _few(firsts: Ints, values: Ints, which: Flags) -> Ints:
    """Sums by window of some rows; quick where they are few."""
    rows = np.flatnonzero(which)
    found = np.zeros(len(firsts), np.int64)
    np.add.at(found, np.searchsorted(firsts, rows, side="right") - 1, values[rows])
    return found


def _dollars(
    firsts: Ints, ticks: Ints, shares: Ints, may: Sequence[Flags], scale: int
) -> list[Floats]:
    """The dollars of the trades that count, and those that each rule kept out, by window."""
    ranges, ends, counts = may
    each = ticks * shares
    # Most trades that one of the two price rules bars the other bars, too, and most trades count.
    unranged = np.add.reduceat(each * ~ranges, firsts)
    unended = unranged + _few(firsts, each, ranges & ~ends) - _few(firsts, each, ends & ~ranges)
    uncounted = _few(firsts, each, ~counts)
    sums = [np.add.reduceat(each, firsts) - uncounted, unranged, unended, uncounted]
    found = [_double(whole, scale) for whole in sums]
    if int(ticks.max()) * int(shares.sum()) >= _INT64:
        # What int64 cannot hold, by an estimate that is nearer than the factor of two that is
        # left, is summed by Python's own numbers.
        estimates = np.add.reduceat(ticks.astype(float) * shares, firsts)
        until = np.append(firsts[1:], len(ticks))
        for window in np.flatnonzero(estimates >= _INT64 / 2).tolist():
            rows = slice(firsts[window], until[window])
            exact = ticks[rows].astype(object) * shares[rows]
            for doubles, which in zip(found, (counts, ~ranges, ~ends, ~counts), strict=True):
                doubles[window] = int((exact * which[rows]).sum()) / 10**scale
    return found


def _multiples(values: Floats, scales: tuple[int, ...]) -> tuple[Ints, int] | None:
    """Numbers as whole multiples of 10^-scale, of the coarsest of the scales that holds them."""
    # With NaN among them nothing of this is so.
    if not (values.min() >= 0 and values.max() < _MOST):
        return None
    for scale in scales:
        factor = 10.0**scale
        # Of most numbers that are no multiples the first few tell it.
        for some in (values[:_FEW_ROWS], values):
            whole = some * factor
            np.rint(whole, out=whole)
            if not (whole / factor == some).all():
                break
        else:
            return whole.astype(np.int64), scale
    return None


def _double(whole: Ints, scale: int) -> Floats:
    """Multiples of 10^-scale as doubles that were rounded once."""
    found: Floats = whole / 10.0**scale
    # A whole number below 2^53 is exact, and its division is rounded once; so is Python's own.
    places = np.flatnonzero(whole >= _EXACT)
    found[places] = [each / 10**scale for each in whole[places].tolist()]
    return found


def _prices(prices: Floats, may: Sequence[Flags], numbers: Sequence[Ints]) -> dict[str, Floats]:
    """open, high, low, close; NaN where no trade may set one.

    Args:
        may, numbers: which trades may set what, and of each window how many.
    """
    ranging, ending = prices[np.flatnonzero(may[0])], np.flatnonzero(may[1])
    has_range, has_ends = (number > 0 for number in numbers[:2])
    high, low, first, last = np.full((4, len(has_range)), np.nan)
    if len(ranging):
        begins = (np.cumsum(numbers[0]) - numbers[0])[has_range]
        high[has_range] = np.maximum.reduceat(ranging, begins)
        low[has_range] = np.minimum.reduceat(ranging, begins)
    until = np.cumsum(numbers[1])
    first[has_ends] = prices[ending[(until - numbers[1])[has_ends]]]
    last[has_ends] = prices[ending[until[has_ends] - 1]]
    return {"open": first, "high": high, "low": low, "close": last}
