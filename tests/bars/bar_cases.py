"""Golden cases of bars: folders of a small tape, what is asked of it, and what it comes to.

A case is a folder `cases/<topic>/<claim>` with

    trades.csv       the trades; `timestamp` and `participant_timestamp` are the clock of New York
                     on the session ("09:30:00.000000001"); `session`, where there are several; a
                     column that is left out and an empty field are NULL, but for `symbol` (A)
    question.json    `session` of the trades, and arguments of the bars: every, hours, fill, by …
    conditions.csv   where the case wants it: a user's table of conditions, of 5 or 7 columns
    expected.csv     the bars, with the columns that the case is about; an empty field is NULL;
                     stamps as above, or with a day before them where they are of another one
    expected.json    where the case is about it: `unbarred`, `unknown_conditions`
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from building import REPOSITORY

from warehouse.bars.build import READS, Bars, build, chain, engine, given, run
from warehouse.bars.build import sessions_of as sessions
from warehouse.bars.spec import BarSpec
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS, bar_type
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder

CASES = Path(__file__).parent / "cases"
FOLDER = BarFolder(SqlFolder(REPOSITORY / "sql"))
TRADES = DATA_TYPES["trades"].fields(READS)
SHIPPED = REPOSITORY / "config/trade_conditions.csv"
_NEW_YORK = ZoneInfo("America/New_York")
_CLOSE_ENOUGH = 4e-16
"""A quotient of two sums that are rounded once each, and itself once."""


def clock(session: date, text: str) -> int:
    """Nanoseconds UTC of "09:30:00.000000001" in New York on the session, or of a day and that."""
    day, _, of_day = text.rpartition(" ")
    whole, _, fraction = of_day.partition(".")
    at = datetime.combine(
        date.fromisoformat(day) if day else session, time.fromisoformat(whole), _NEW_YORK
    )
    return int(at.timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def conditions(path: Path = SHIPPED) -> pa.Table:
    """A table of conditions; of one without dates each rule is valid always."""
    with open(path, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return pa.Table.from_pylist(
        [
            {
                "id": int(row["id"]),
                "name": row["name"],
                **{name: row[name] == "true" for name in TRADE_CONDITIONS.names[2:5]},
                **{
                    name: date.fromisoformat(row[name]) if row.get(name) else None
                    for name in TRADE_CONDITIONS.names[5:]
                },
            }
            for row in rows
        ],
        TRADE_CONDITIONS,
    )


def tape_of(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Trades of the columns READS, symbol by symbol as partitions hold them; the rest is NULL."""
    table = pa.Table.from_pylist(list(rows), TRADES)
    order = [("symbol", "ascending", "at_start"), ("timestamp", "ascending", "at_start")]
    return table.sort_by([*order, ("sequence_number", "ascending", "at_start")])


@dataclass(frozen=True)
class Case:
    """One folder, read."""

    folder: Path
    spec: BarSpec
    trades: pa.Table
    conditions: pa.Table
    session: date | None

    @classmethod
    def read(cls, folder: Path) -> Case:
        question = json.loads((folder / "question.json").read_text("utf-8"))
        named = question.pop("session", None)
        session = date.fromisoformat(named) if named else None
        own = folder / "conditions.csv"
        return cls(
            folder,
            BarSpec.of(**question),
            tape_of([_trade(row, session) for row in _rows(folder / "trades.csv")]),
            conditions(own if own.exists() else SHIPPED),
            session,
        )

    def check(self, found: Bars) -> None:
        """The bars are those of expected.csv, and what is in none those of expected.json."""
        wanted = _rows(self.folder / "expected.csv")
        assert found.table.num_rows == len(wanted), found.table.to_pylist()
        for row, (bar, expected) in enumerate(zip(found.table.to_pylist(), wanted, strict=True)):
            for name, text in expected.items():
                field = found.table.schema.field(name)
                value = self._value(field, text, bar["session"])
                if pa.types.is_timestamp(field.type):
                    is_same = found.table[name].cast(pa.int64())[row].as_py() == value
                elif name == "vwap" and value is not None and bar[name] is not None:
                    is_same = math.isclose(bar[name], value, rel_tol=_CLOSE_ENOUGH)
                else:
                    is_same = bar[name] == value
                assert is_same, (row, name, bar[name], text)
        more = self.folder / "expected.json"
        for name, value in json.loads(more.read_text("utf-8")).items() if more.exists() else ():
            told = getattr(found, name)
            assert (vars(told) if hasattr(told, "windows") else dict(told)) == value

    @staticmethod
    def _value(field: pa.Field, text: str, session: date) -> Any:
        if text == "":
            return None
        if pa.types.is_timestamp(field.type):
            return clock(session, text)
        if pa.types.is_boolean(field.type):
            return {"true": True, "false": False}[text]
        if pa.types.is_date(field.type):
            return date.fromisoformat(text)
        kinds = {pa.float64(): float, pa.int32(): int}
        return kinds.get(field.type, str)(text)


def folders(cases: Path = CASES) -> list[Path]:
    """All cases, by topic and claim."""
    return sorted(path.parent for path in cases.glob("*/*/question.json"))


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _trade(row: dict[str, str], session: date | None) -> dict[str, Any]:
    day = date.fromisoformat(row["session"]) if row.get("session") else session
    assert day is not None
    trade: dict[str, Any] = {"symbol": "A", "session": day}
    for name, text in row.items():
        if text == "" or name == "session":
            continue
        if name.endswith("timestamp"):
            trade[name] = clock(day, text)
        elif name in ("price", "size"):
            trade[name] = float(text)
        else:
            trade[name] = text if name in ("symbol", "conditions", "id") else int(text)
    return {name: trade.get(name) for name in READS}


class Bench:
    """Builds bars over tables of trades, with some threads."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: BarFolder = FOLDER) -> None:
        self._connection, self._folder = connection, folder

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        return self._connection

    def bars(self, spec: BarSpec, trades: pa.Table, rules: pa.Table) -> Bars:
        """As the library builds them from rows in the order of their partitions."""
        self._connection.register("trade_conditions", rules)
        return build(self._connection, self._folder, spec, trades)

    def from_any_order(self, spec: BarSpec, trades: pa.Table, rules: pa.Table) -> pa.Table:
        """The same by statements alone, which put the tape in order themselves."""
        named = {"trade_conditions": rules, "trades": trades, "sessions": sessions(trades)}
        for name, table in named.items():
            self._connection.register(name, table)
        rows = run(self._connection, chain(self._folder, spec, from_trades=True), given(spec))
        self._connection.unregister("trades")
        return rows.filter(rows["is_bar"]).drop_columns(["is_bar"])


@contextmanager
def benches(*threads: int) -> Iterator[list[Bench]]:
    """One for each number of threads."""
    with ExitStack() as stack:
        yield [
            Bench(
                stack.enter_context(
                    engine(
                        Config.model_validate({"processing": {"parallel_workers": number}}),
                        conditions(),
                    )
                )
            )
            for number in threads
        ]


def content(table: pa.Table, spec: BarSpec) -> bytes:
    """A table's bytes (Arrow IPC), as one batch of the columns that such bars have.

    Made anew of its values, since what lies in memory under a NULL is nobody's business.
    """
    columns = bar_type(is_day=spec.is_day, is_filled=spec.is_filled).columns
    assert table.schema.names == columns.names
    batch = pa.RecordBatch.from_pylist(table.cast(columns).to_pylist(), columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def shuffled(trades: pa.Table, seed: int) -> pa.Table:
    """The rows in another order, in batches of a few, so that threads have something to share."""
    order = np.random.default_rng(seed).permutation(trades.num_rows)
    table = trades.take(pa.array(order)).combine_chunks()
    size = max(1, math.ceil(table.num_rows / 4))
    return pa.Table.from_batches(table.to_batches(max_chunksize=size), table.schema)


def of_session(table: pa.Table, session: date) -> pa.Table:
    """The rows of a session."""
    return table.filter(pc.equal(table["session"], pa.scalar(session)))
