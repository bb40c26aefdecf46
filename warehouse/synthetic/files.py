"""What the vendor makes of a market: its bars, and files of all four data types.

Both ways of laying files out are written: the vendor's bucket, one file a day, and one file a
symbol. Files are deflated by isal, since zlib takes five times as long to make them as small; of
neither are the deflated bytes the same in every version. The bytes inside are the same always, and
so is the gzip header (no name, no time).
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from isal import igzip

from warehouse.core.paths import shipped
from warehouse.synthetic.market import (
    QUOTE_CONDITIONS,
    QUOTE_INDICATORS,
    SHARE,
    TICK,
    TRADE_CONDITIONS,
    Columns,
    Hours,
    Ints,
    Market,
    hours,
    quotes,
    trades,
)

Rules = Mapping[int, tuple[bool, bool, bool]]
"""Condition id -> may such a trade set high/low, set open/close, count in the volume."""

HEADERS = {
    "trades": "ticker,conditions,correction,exchange,id,participant_timestamp,price,"
    "sequence_number,sip_timestamp,size,tape,trf_id,trf_timestamp",
    "quotes": "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,conditions,"
    "indicators,participant_timestamp,sequence_number,sip_timestamp,tape,trf_timestamp",
    "minute_aggs": "ticker,volume,open,close,high,low,window_start,transactions",
    "day_aggs": "ticker,volume,open,close,high,low,window_start,transactions",
}
"""Data type -> the first line of its files."""

_FOLDERS = {
    "trades": "trades",
    "quotes": "quotes",
    "minute_aggs": "aggregates/minute",
    "day_aggs": "aggregates/day",
}
_PRICES = {"price", "ask_price", "bid_price", "open", "close", "high", "low"}
_BLOCK = 1 << 16
"""Rows turned into text at once: enough to hide what a call costs, and bounded in memory."""
_MINUTE = 60_000_000_000
_FORM_T = 12


def load_rules(path: Path | None = None, session: date | None = None) -> Rules:
    """The rules of `trade_conditions.csv` that are valid in a session; None: in every one.

    By default those that come with the project.
    """
    if path is None:
        path = shipped("config") / "trade_conditions.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [(int(row["id"]), row) for row in csv.DictReader(lines) if _holds(row, session)]
    names = ("updates_high_low", "updates_open_close", "updates_volume")
    flags = {number: [row[name].lower() == "true" for name in names] for number, row in rows}
    return {number: (a, b, c) for number, (a, b, c) in flags.items()}


def _holds(row: Mapping[str, str], session: date | None) -> bool:
    first, last = row.get("valid_from") or "", row.get("valid_to") or ""
    if session is None:
        return not (first or last)
    return first <= session.isoformat() <= (last or "9999-12-31")


def bars(table: Columns, at: Hours, rules: Rules, every: Literal["minute", "day"]) -> Columns:
    """The bars of one symbol and session by the vendor's rules, from its trades.

    Of the clean tape (`correction` 0 or 1, no copies), bucketed by the SIP's clock. A bar exists
    where some trade may set its open and some its high. Its `volume` (millionths of a share) and
    `transactions` count every trade whose conditions all let it. Outside the regular hours Form T
    forbids a minute's bar nothing; to the day's bar and to minutes in regular hours it always
    gives no price. A condition that `rules` does not know forbids nothing. `window_start` is the
    minute's start, or midnight New York of the session; prices are ticks.
    """
    order = np.lexsort((table["sequence_number"], table["sip_timestamp"]))
    order = order[np.isin(table["correction"][order], (0, 1))]
    # A copy stands beside its original once sorted, and nothing else repeats a sequence number.
    order = order[np.diff(table["sequence_number"][order], prepend=-1) != 0]
    sip, conditions = table["sip_timestamp"][order], table["conditions"][order]
    sets_range, sets_ends, counts = _allowed(rules)[:, conditions]
    if every == "minute":
        window = sip // _MINUTE * _MINUTE
        extended = (window < at.open) | (window >= at.close)
        freed = _allowed({**rules, _FORM_T: (True, True, True)})[:, conditions]
        sets_range = np.where(extended, freed[0], sets_range)
        sets_ends = np.where(extended, freed[1], sets_ends)
    else:
        window = np.full(len(sip), at.midnight)
    exists = np.intersect1d(window[sets_range], window[sets_ends])
    inside = np.isin(window, exists)
    window, order = window[inside], order[inside]
    sets_range, counts = sets_range[inside], counts[inside]
    price, size = table["price"][order], table["size"][order]
    first = np.searchsorted(window, exists)
    ends = np.flatnonzero(sets_ends[inside])
    opens = np.searchsorted(window[ends], exists)
    closes = np.searchsorted(window[ends], exists, side="right") - 1
    return {
        "volume": np.add.reduceat(np.where(counts, size, 0), first),
        "open": price[ends[opens]],
        "close": price[ends[closes]],
        "high": np.maximum.reduceat(np.where(sets_range, price, 0), first),
        "low": np.minimum.reduceat(np.where(sets_range, price, np.iinfo(np.int64).max), first),
        "window_start": exists,
        "transactions": np.add.reduceat(counts.astype(np.int64), first),
    }


def _allowed(rules: Rules) -> npt.NDArray[np.bool_]:
    """Three rows (high/low, open/close, volume) by the entries of `TRADE_CONDITIONS`."""
    ids = [[int(number) for number in text.split(",") if number] for text in TRADE_CONDITIONS]
    known = [[rules[number] for number in entry if number in rules] for entry in ids]
    return np.array([[all(rule[k] for rule in entry) for entry in known] for k in range(3)])


def write(
    market: Market,
    folder: Path,
    data_types: Sequence[str] = tuple(HEADERS),
    layout: Literal["day", "symbol"] = "day",
    rules: Rules | None = None,
) -> list[Path]:
    """Write a market as the vendor's files below `folder`; returns their paths, sorted.

    Layout "day" is the vendor's bucket, `us_stocks_sip/trades_v1/2024/11/2024-11-25.csv.gz`;
    "symbol" has `us_stocks_sip/trades/2024/11/25/AAPL.csv.gz`, `…/aggregates/minute/2024/11/25/…`
    and `…/aggregates/day/2024/11/…` (a month in one), a symbol's characters outside
    `A-Z a-z 0-9 . _ -` percent-encoded. A file of no rows is not written. On a disk that folds
    case, symbols that differ in nothing else share a file of layout "symbol", as they would for
    its user. `rules` (default: `load_rules()`) decide the aggregates. Memory is bounded by the
    busiest symbol's session.
    """
    if unknown := set(data_types) - set(HEADERS):
        raise ValueError(f"data_types: {sorted(unknown)} not among {', '.join(HEADERS)}")
    if layout not in ("day", "symbol"):
        raise ValueError(f"layout: {layout!r} is neither 'day' nor 'symbol'")
    rules = load_rules() if rules is None else rules
    written: list[Path] = []
    for group in _groups(market, layout):
        with ExitStack() as stack:
            sheets: dict[Path, _Sheet] = {}
            for session, symbol in group:
                six_decimals = session >= market.fractional_from
                for data_type, table in _tables(market, session, symbol, data_types, rules):
                    if not _length(table):
                        continue
                    path = folder / _key(layout, data_type, session, symbol)
                    if path not in sheets:
                        sheets[path] = stack.enter_context(_Sheet(path, data_type))
                    sheets[path].add(symbol, table, six_decimals)
        written += sheets
    return sorted(written)


def _groups(market: Market, layout: str) -> Iterator[list[tuple[date, str]]]:
    """Sessions and symbols in an order in which no file goes on from one group to another."""
    symbols = file_order(market.symbols)
    if layout == "day":
        yield from ([(session, symbol) for symbol in symbols] for session in market.sessions)
        return
    for symbol in symbols:
        for _, month in groupby(market.sessions, key=lambda session: (session.year, session.month)):
            yield [(session, symbol) for session in month]


def _key(layout: str, data_type: str, session: date, symbol: str) -> str:
    if layout == "day":
        return f"us_stocks_sip/{data_type}_v1/{session:%Y/%m/%Y-%m-%d}.csv.gz"
    day = f"{session:%Y/%m}" if data_type == "day_aggs" else f"{session:%Y/%m/%d}"
    # quote() lets a tilde stand.
    name = quote(symbol, safe="").replace("~", "%7E")
    return f"us_stocks_sip/{_FOLDERS[data_type]}/{day}/{name}.csv.gz"


def file_order(symbols: Iterable[str]) -> list[str]:
    """Symbols as a file has them: lower case before upper, unlike bytes (`ABR, ABRpD, ABRC`)."""
    return sorted(symbols, key=lambda symbol: (symbol.swapcase(), symbol))


def _tables(
    market: Market, session: date, symbol: str, data_types: Sequence[str], rules: Rules
) -> Iterator[tuple[str, Columns]]:
    """The tables of one symbol and session, by data type."""
    if "quotes" in data_types:
        yield "quotes", quotes(market, session, symbol)
    if set(data_types) == {"quotes"}:
        return
    traded, at = trades(market, session, symbol), hours(market, session)
    if "trades" in data_types:
        yield "trades", traded
    if "minute_aggs" in data_types:
        yield "minute_aggs", bars(traded, at, rules, "minute")
    if "day_aggs" in data_types:
        yield "day_aggs", bars(traded, at, rules, "day")


def _length(table: Columns) -> int:
    return len(next(iter(table.values())))


class _Sheet:
    """One csv.gz in the making: tables gather until a block of them is worth a call."""

    def __init__(self, path: Path, data_type: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._data_type = data_type
        self._names = HEADERS[data_type].split(",")[1:]
        self._file = path.open("wb")
        self._gzip = igzip.IGzipFile("", "wb", fileobj=self._file, mtime=0)
        self._gzip.write(HEADERS[data_type].encode() + b"\n")
        self._pending: list[tuple[str, Columns]] = []
        self._rows = 0
        self._six_decimals = False

    def __enter__(self) -> "_Sheet":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error the file stays unfinished, so that nobody takes it for whole.
        with self._file:
            if kind is None:
                self._flush()
                self._gzip.close()

    def add(self, symbol: str, table: Columns, six_decimals: bool) -> None:
        if six_decimals != self._six_decimals or self._rows >= _BLOCK:
            self._flush()
        self._six_decimals = six_decimals
        self._pending.append((symbol, table))
        self._rows += _length(table)

    def _flush(self) -> None:
        pending, rows = self._pending, self._rows
        self._pending, self._rows = [], 0
        if not rows:
            return
        tickers = pa.array([_quoted(symbol) for symbol, _ in pending])
        ticker = np.repeat(np.arange(len(pending)), [_length(table) for _, table in pending])
        columns = [np.concatenate([table[name] for _, table in pending]) for name in self._names]
        for block in (slice(row, row + _BLOCK) for row in range(0, rows, _BLOCK)):
            fields = [tickers.take(pa.array(ticker[block]))]
            fields += [
                _field(self._data_type, name, column[block], self._six_decimals)
                for name, column in zip(self._names, columns, strict=True)
            ]
            lines = _joined(_joined(*fields, by=","), "\n")
            # The values of a string array stand end to end: they are the text of the file.
            length = pc.sum(pc.binary_length(lines)).as_py()
            self._gzip.write(memoryview(lines.buffers()[2])[:length])


def _field(data_type: str, name: str, values: Ints, six_decimals: bool) -> pa.StringArray:
    """A column as the vendor writes it."""
    if name == "indicators":
        return _words(QUOTE_INDICATORS).take(pa.array(values))
    if name == "conditions":
        vocabulary = QUOTE_CONDITIONS if data_type == "quotes" else TRADE_CONDITIONS
        return _words(vocabulary).take(pa.array(values))
    if name in _PRICES:
        absent = (data_type == "quotes") & (values == 0)
        style = "six" if six_decimals else "quotes" if data_type == "quotes" else "short"
        ticks = np.where(absent, TICK, values % TICK)
        return _joined(_digits(values // TICK), _fractions(style).take(pa.array(ticks)))
    if name in ("size", "volume"):
        whole = _digits(values // SHARE)
        thousands = (pa.array(values // 1_000 % 1_000), pa.array(values % 1_000))
        parts = (_thousandths().take(part) for part in thousands)
        return _joined(whole, ".", *parts) if six_decimals else whole
    return _digits(values)


def _digits(values: Ints) -> pa.StringArray:
    return pa.array(values).cast(pa.string())


def _joined(*parts: pa.StringArray | str, by: str = "") -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, by)


def _quoted(text: str) -> str:
    special = any(character in text for character in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if special else text


@cache
def _words(vocabulary: tuple[str, ...]) -> pa.StringArray:
    return pa.array([_quoted(text) for text in vocabulary])


@cache
def _thousandths() -> pa.StringArray:
    return pa.array([f"{number:03}" for number in range(1_000)])


@cache
def _fractions(style: Literal["short", "quotes", "six"]) -> pa.StringArray:
    """What follows the dollars, by ticks below one; the last entry is that of no price at all.

    Trades end in no zero (`49`, `49.5`), quotes neither but for `180.0` and the bare `0`; since
    2026 both have six decimals.
    """
    if style == "six":
        return pa.array([f".{ticks:04}00" for ticks in range(TICK)] + [".000000"])
    short = [f".{ticks:04}".rstrip("0").rstrip(".") for ticks in range(TICK)] + [""]
    return pa.array([".0", *short[1:]] if style == "quotes" else short)
