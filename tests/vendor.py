"""A vendor that restates its files, and what of them must be in the warehouse."""

from __future__ import annotations

from collections import Counter
from datetime import date
from functools import cache

from building import Made, day_key, instant, quote, trade

DAYS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))
SYMBOLS = ("A", "BRK.B", "NA", "TpC")
KINDS = ("trades", "quotes", "day_aggs")
COLUMNS = {
    "trades": ("sequence_number", "price"),
    "quotes": ("sequence_number", "bid_price"),
    "day_aggs": ("trades", "close"),
}
"""What tells the rows of a symbol and session apart, and a price of each."""

Row = tuple[str, date, int, float]


@cache
def lines_of(kind: str, day: date, version: int) -> tuple[list[str], Counter[Row]]:
    """A file's lines in one version, and the rows that must come of them.

    Each version has other prices, some other rows, and a symbol that the one before had not.
    """
    lines: list[str] = []
    rows: Counter[Row] = Counter()
    symbols = [*SYMBOLS, f"V{version % 3}"]
    for symbol in symbols if kind == "day_aggs" else ():
        price = 10.0 + version
        bar = f"{symbol},100,{price},{price},{price},{price},{instant(day, '00:00')},{version}"
        lines.append(bar)
        rows[symbol, day, version, round(price, 6)] += 1
    for symbol in symbols if kind != "day_aggs" else ():
        for number in range(40 + version % 5):
            stamp, price = instant(day, "10:00", number // 2), 10.0 + version + number / 100
            if kind == "trades":
                line = trade(symbol, stamp, number, price=price, id=str(number))
            else:
                line = quote(symbol, stamp, number, bid=price, ask=price + 1)
            lines.append(line)
            rows[symbol, day, number, round(price, 6)] += 1
    return lines, rows


class Source:
    """What the vendor has now, and what the warehouse must come to when all is done.

    Attributes:
        versions: of each file that is there.
    """

    def __init__(self, made: Made) -> None:
        self._made = made
        self.versions: dict[tuple[str, date], int] = {}

    def restate(self, kind: str, day: date) -> None:
        version = self.versions.get((kind, day), -1) + 1
        self.versions[kind, day] = version
        self._made.put(day_key(kind, day), lines_of(kind, day, version)[0])

    def restate_all(self) -> None:
        for kind in KINDS:
            for day in DAYS:
                self.restate(kind, day)


def rows_of(versions: dict[tuple[str, date], int], kind: str) -> Counter[Row]:
    """The rows of a data type, where these versions of its files are published."""
    files = (key for key in versions if key[0] == kind)
    return sum((lines_of(*key, versions[key])[1] for key in files), Counter())


def published(made: Made, kind: str) -> Counter[Row]:
    table = made.table(kind)
    names = ("symbol", "session", *COLUMNS[kind])
    columns = [table[name].to_pylist() for name in names] if table.num_rows else [[]] * 4
    return Counter((*key, round(value, 6)) for *key, value in zip(*columns, strict=True))
