"""Which sessions and symbols of what is asked are not in the warehouse, and why.

frame = wh.coverage("trades", ["AAPL", "NA"], "2024-01-02", "2024-01-31")
print(report(frame))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import pandas as pd
import pyarrow as pa

from warehouse.core.calendar import FIRST_SESSION, today, trading_days
from warehouse.core.datatypes import DataType
from warehouse.core.file_state import WORDS
from warehouse.read.availability import every_symbol, near_symbols, rejected, states
from warehouse.read.frames import as_form
from warehouse.read.snapshot import Snapshot
from warehouse.text import count, some

STATES = {
    state: WORDS[state]
    for state in (
        *("present", "no_rows", "rejected", "unknown", "not_selected", "not_ingested"),
        *("rows_lost", "set_aside", "missing", "not_yet", "not_in_plan", "failed"),
    )
}
"""What may be said of a session and symbol, and what it means."""

_NAMED = 4
_COLUMNS = ["session", "symbol", "state", "rows", "problem"]


def coverage(
    snapshot: Snapshot,
    kinds: Sequence[DataType],
    symbols: Sequence[str],
    first: date,
    last: date,
) -> pd.DataFrame:
    """What is there, as `Warehouse.coverage` says.

    Raises:
        NoDataError: nothing was ever ingested.
        SqlFileError: sql/coverage/states.sql is no SELECT of the catalog.
    """
    days = trading_days(max(first, FIRST_SESSION), min(last, today()))
    tables = []
    for kind in kinds:
        table = states(snapshot, kind, symbols, days).select(_COLUMNS)
        table = _with_rejected(snapshot, kind, table)
        names = pa.repeat(pa.scalar(kind.name), table.num_rows)
        tables.append(table.add_column(0, "data_type", names))
    frame: pd.DataFrame = as_form(pa.concat_tables(tables), "pandas")
    return frame


def _with_rejected(snapshot: Snapshot, kind: DataType, table: pa.Table) -> pa.Table:
    """Who seems not to have traded, and of whom rows were refused, is said to have these.

    So is one of whom alone there was a file, for a month, of which a session's rows were refused:
    that the session was in it no partition says.
    """
    told, problems = table["state"].to_pylist(), table["problem"].to_pylist()
    unsure = ("no_rows", "unknown", "not_ingested")
    places = [place for place, state in enumerate(told) if state in unsure]
    days, symbols = table["session"].to_pylist(), table["symbol"].to_pylist()
    refused, of_any = rejected(
        snapshot,
        kind,
        sorted({symbols[place] for place in places}),
        sorted({days[place] for place in places}),
    )
    for place in places:
        if found := refused.get((days[place], symbols[place])):
            told[place] = "rejected"
            problems[place] = f"{count(found[0], 'row')} rejected: {found[1]}"
        elif found := of_any.get(symbols[place]):
            problems[place] = (
                f"{count(found[0], 'rejected line')} of its month may be of any session: {found[1]}"
            )
    near = _near(snapshot, (symbols[place] for place in places if told[place] == "unknown"))
    for place in places:
        if told[place] == "unknown":
            problems[place] = near.get(symbols[place])
    for name, values in (("state", told), ("problem", problems)):
        column = table.schema.get_field_index(name)
        table = table.set_column(column, table.schema.field(name), pa.array(values, pa.string()))
    return table


def _near(snapshot: Snapshot, unknown: Iterator[str]) -> dict[str, str]:
    """The names that are near those that nobody knows: each is compared with all there are."""
    names = dict.fromkeys(unknown)
    found = {name: near_symbols(name, every_symbol(snapshot)) for name in [*names][:_NAMED]}
    return {name: f"near it: {', '.join(near)}" for name, near in found.items() if near}


def coverage_report(coverage: pd.DataFrame) -> str:
    """What of a coverage is not there, data type by data type, as lines for a person.

    Args:
        coverage: as `Warehouse.coverage` returns it, or rows of it.
    """
    return "\n".join(line for _, part in coverage.groupby("data_type", sort=False)
                     for line in _lines(part))  # fmt: skip


def _lines(part: pd.DataFrame) -> Iterator[str]:
    symbols, sessions = part["symbol"].nunique(), part["session"].nunique()
    present = int((part["state"] == "present").sum())
    first, last = part["session"].min(), part["session"].max()
    yield (
        f"{part['data_type'].iloc[0]}, {first:%Y-%m-%d} to {last:%Y-%m-%d}: {present:,} of"
        f" {len(part):,} present ({count(sessions, 'session')}, {count(symbols, 'symbol')})"
    )
    for state, meaning in STATES.items():
        of_state = part[part["state"] == state]
        if state == "present" or of_state.empty:
            continue
        yield f"  {meaning}: {len(of_state):,}"
        counts = of_state.groupby("session")["symbol"].size()
        whole = counts.index[counts == symbols]
        if len(whole) and symbols > 1:
            yield f"    all symbols: {some((f'{day:%Y-%m-%d}' for day in whole), _NAMED)}"
            of_state = of_state[~of_state["session"].isin(whole)]
        names = of_state["symbol"].unique()
        for symbol in names[:_NAMED]:
            those = of_state[of_state["symbol"] == symbol]
            near = those["problem"].iloc[0] if state in ("unknown", "no_rows") else None
            named = f"{symbol} ({near})" if isinstance(near, str) else symbol
            days = those["session"]
            yield f"    {named}: {some((f'{day:%Y-%m-%d}' for day in days), _NAMED)}"
        if len(names) > _NAMED:
            yield f"    and {count(len(names) - _NAMED, 'symbol')} more"
