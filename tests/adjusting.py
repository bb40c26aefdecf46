"""Corporate actions in the catalog of a warehouse made for a test, and rows to be adjusted."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
from building import Made, MakeWarehouse, day_key, instant, trade

ACTIONS = {
    "symbol": "varchar",
    "session": "date",
    "kind": "varchar",
    "id": "varchar",
    "split_from": "double",
    "split_to": "double",
    "price_factor": "double",
    "size_factor": "double",
    "counts": "boolean",
    "problem": "varchar",
}
SECURITIES = {
    "security": "varchar",
    "symbol": "varchar",
    "first_session": "date",
    "last_session": "date",
}


def split(
    symbol: str, session: date, of: float, into: float, id: str = "s", counts: bool = True
) -> tuple[object, ...]:
    """A row of `actions`: so many shares become so many."""
    return (symbol, session, "split", id, of, into, of / into, into / of, counts, None)


def dividend(symbol: str, session: date, factor: float, id: str = "d") -> tuple[object, ...]:
    """A row of `actions`: prices before it are multiplied by a factor."""
    return (symbol, session, "dividend", id, None, None, factor, 1.0, True, None)


@contextmanager
def another_catalog(made: Made) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalog, to be changed, which takes the place of the present one as a publish does it."""
    draft = made.layout.catalog.with_name("draft.duckdb")
    shutil.copy(made.layout.catalog, draft)
    with duckdb.connect(str(draft)) as catalog:
        yield catalog
    draft.replace(made.layout.catalog)


def know(
    made: Made,
    actions: Iterable[Sequence[object]] = (),
    securities: Iterable[Sequence[object]] = (),
) -> None:
    """Let the catalog know these actions and securities, and no others, until the next publish."""
    given = {"actions": (ACTIONS, actions), "securities": (SECURITIES, securities)}
    with another_catalog(made) as catalog:
        for name, (columns, rows) in given.items():
            views = "select count(*) from duckdb_views() where view_name = ?"
            is_view = catalog.execute(views, [name]).fetchall() != [(0,)]
            catalog.execute(f"drop {'view' if is_view else 'table'} {name}")
            fields = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            catalog.execute(f"create table {name} ({fields})")
            for row in rows:
                places = ", ".join("?" * len(columns))
                catalog.execute(f"insert into {name} values ({places})", list(row))


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV as text; none where there is no such file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table_of(path: Path) -> list[list[object]]:
    """The same as values for `know`; an empty field is NULL."""
    return [[value or None for value in row.values()] for row in rows_of(path)]


def line(data_type: str, row: dict[str, str], sequence: int) -> str:
    """A line of the vendor's file of a row with `session` and `clock`, New York's."""
    day = date.fromisoformat(row["session"])
    if data_type == "trades":
        stamp = instant(day, row["clock"])
        return trade(
            row["symbol"], stamp, sequence, price=row["price"], size=row["size"], id=str(sequence)
        )
    if data_type == "quotes":
        # Bid size 2 and ask size 1.
        stamp = instant(day, row["clock"])
        symbol, bid, ask = row["symbol"], row["bid"], row["ask"]
        return f"{symbol},8,{ask},1,11,{bid},2,1,,{stamp},{sequence},{stamp},1,0"
    names = ("volume", "open", "close", "high", "low")
    values = ",".join(row[name] for name in names)
    return f"{row['symbol']},{values},{instant(day, '00:00')},3"


def warehouse_of(
    make_warehouse: MakeWarehouse, data_type: str, rows: Sequence[dict[str, str]], layout: str
) -> Made:
    """A warehouse that holds these rows, each session's in a file of its own."""
    lines: dict[date, list[str]] = {}
    for sequence, row in enumerate(rows, 1):
        day = date.fromisoformat(row["session"])
        lines.setdefault(day, []).append(line(data_type, row, sequence))
    made = make_warehouse(
        {day_key(data_type, day): each for day, each in lines.items()},
        storage__layout={data_type: layout},
    )
    made.update(data_type)
    return made
