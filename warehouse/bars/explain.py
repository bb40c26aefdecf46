"""Why a bar is what it is: every trade of its window, and what each was allowed to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.build import (
    READS,
    bar_steps,
    chain,
    given,
    needs_fewer,
    oversized_named,
    prepared,
    run,
)
from warehouse.bars.spec import BarSpec
from warehouse.bars.tape import on_tape
from warehouse.core.datatypes import DATA_TYPES
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.text import count, some

REJECTED = pa.schema(
    [
        ("timestamp", pa.timestamp("ns")),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("exchange", pa.int16()),
        ("conditions", pa.string()),
        ("sequence_number", pa.int64()),
        ("id", pa.string()),
        ("reason", pa.string()),
    ]
)
"""What is told of trades that cleaning rejected."""


@dataclass(frozen=True)
class Explanation:
    """A window, its bar, and its trades.

    Attributes:
        begin_ns, end_ns: the window [begin, end), nanoseconds UTC.
        bar: its columns by name; None: no trade may set its prices, or there is none.
        prints: the trades in the order of the tape, then those that are no part of it, with the
            reason in `left_out`.
    """

    begin_ns: int
    end_ns: int
    bar: dict[str, Any] | None
    prints: pa.Table


def explain(
    connection: duckdb.DuckDBPyConnection,
    folder: BarFolder,
    spec: BarSpec,
    trades: pa.Table,
    rejected: pa.Table,
    at_ns: int,
    session: date,
) -> Explanation:
    """The window that holds an instant.

    Args:
        connection: of `build.engine`.
        trades: as `build.build` takes them: of one symbol, the instant's whole session.
        rejected: of the columns REJECTED, of that symbol and session.
        at_ns: nanoseconds UTC, in the session.

    Raises:
        SqlFileError: a statement is not what it should be, or fails on these rows.
        OversizedTradeError: it fails for a number that it does not hold.
    """
    values = {**given(spec), "at_ns": at_ns}
    begin_ns, end_ns = _window(connection, folder, spec, at_ns, session)
    before = 0
    if needs_fewer(folder, spec) and folder.is_shipped("explained"):
        # Such a bar rests on the trades of its window alone; of a session these are a few.
        stamps = trades["timestamp"].cast(pa.int64())
        before = on_tape(trades.filter(pc.less(stamps, pa.scalar(begin_ns)))).num_rows
        trades = trades.filter(
            pc.and_(
                pc.greater_equal(stamps, pa.scalar(begin_ns)), pc.less(stamps, pa.scalar(end_ns))
            )
        )
    with prepared(connection, folder, trades) as from_trades, oversized_named(trades):
        steps = bar_steps(spec, from_trades=from_trades)
        explained = folder.chain([*steps, ("explained", "explained")])
        prints = run(connection, explained, values)
        rows = run(connection, chain(folder, spec, from_trades=from_trades), values)
    here = rows.filter(pc.equal(rows["timestamp"].cast(pa.int64()), pa.scalar(begin_ns)))
    bars = [bar for bar in here.to_pylist() if bar.pop("is_bar")]
    connection.register("trades", trades)
    connection.register("rejected", rejected)
    try:
        window = {"begin_ns": begin_ns, "end_ns": end_ns}
        left_out = run(connection, folder.chain([("left_out", "left_out")]), window)
    finally:
        connection.unregister("trades")
        connection.unregister("rejected")
    place = prints.column_names.index("ordinal")
    prints = prints.set_column(place, "ordinal", pc.add(prints["ordinal"], before))
    told = pa.concat_tables([prints, left_out], promote_options="default")
    return Explanation(begin_ns, end_ns, bars[0] if bars else None, told)


def _window(
    connection: duckdb.DuckDBPyConnection,
    folder: BarFolder,
    spec: BarSpec,
    at_ns: int,
    session: date,
) -> tuple[int, int]:
    """The window that a trade of this instant would be in."""
    fields = DATA_TYPES["trades"].fields(READS)
    values = {"timestamp": at_ns, "session": session, "price": 1.0, "size": 1.0, "symbol": ""}
    probe = pa.table(
        [pa.array([values.get(field.name)], field.type) for field in fields],
        schema=fields,
    )
    with prepared(connection, folder, probe) as from_trades:
        steps = bar_steps(spec, from_trades=from_trades)[:-1]
        (window,) = run(connection, folder.chain(steps), given(spec)).to_pylist()
    return window["begin_ns"], window["end_ns"]


def in_words(found: Explanation) -> str:
    """The bar, or why there is none, in a sentence."""
    rows = found.prints.select(
        ["left_out", "high_low_barred_by", "open_close_barred_by", "volume_barred_by"]
    ).to_pylist()
    prints = [row for row in rows if row["left_out"] is None]
    reasons = Counter(row["left_out"] for row in rows if row["left_out"] is not None)
    parts = []
    if found.bar is not None:
        bar = found.bar
        parts.append(
            f"open {bar['open']}, high {bar['high']}, low {bar['low']}, close {bar['close']},"
            f" volume {_shares(bar['volume'])}, {count(bar['trades'], 'trade')}"
        )
    elif not prints:
        parts.append("no bar: there is no trade in this window")
    else:
        parts.append(f"no bar: none of {count(len(prints), 'trade')} may set both open and high")
    for what, column in (
        ("high and low", "high_low_barred_by"),
        ("open and close", "open_close_barred_by"),
        ("the volume", "volume_barred_by"),
    ):
        barred = Counter(row[column] for row in prints if row[column] is not None)
        if barred:
            told = [f"{name} × {number:,}" for name, number in barred.most_common()]
            parts.append(f"kept out of {what}: {some(told, 5)}")
    if reasons:
        told = [f"{name} × {number:,}" for name, number in reasons.most_common()]
        parts.append(f"no part of the tape: {some(told, 5)}")
    return "; ".join(parts)


def _shares(number: float) -> str:
    return f"{number:,.6f}".rstrip("0").rstrip(".")
