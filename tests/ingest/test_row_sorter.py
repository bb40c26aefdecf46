"""Rows of all symbols are put in order as a sort would put them, and as sql/dedupe leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from building import SESSION, day_key, instant, make, trade
from hypothesis import given
from hypothesis import strategies as st

from warehouse.ingest.row_sorter import _order_of
from warehouse.ingest.tape_order import Keys

PRICE = "    symbol,\n    timestamp,\n    price,"
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(-2, 2)), max_size=40
)


@given(
    rows=ROWS,
    grouped=st.booleans(),
    by_time=st.booleans(),
    numbers=st.sampled_from(["all", "some", "none"]),
)
def test_the_order_is_that_of_a_stable_sort(
    rows: list[tuple[int, int, bool, int]], grouped: bool, by_time: bool, numbers: str
) -> None:
    if by_time:
        rows.sort(key=lambda row: row[1])
    if grouped:
        # As the vendor has it: each symbol's rows together, the symbols in an order of their own.
        rows.sort(key=lambda row: (row[0] * 7) % 4)
    ranks, times, has_number, number = (
        np.array([row[place] for row in rows], kind)
        for place, kind in enumerate((np.int64, np.int64, np.bool_, np.int64))
    )
    if numbers == "some":
        number = np.where(has_number, number, 0)
    keys = Keys(
        times,
        None if numbers == "none" else number,
        has_number if numbers == "some" else None,
    )
    due = sorted(
        range(len(rows)),
        key=lambda n: (
            ranks[n],
            times[n],
            *(() if keys.numbered is None else (keys.numbered[n],)),
            *(() if keys.number is None else (keys.number[n],)),
        ),
    )
    if rows:
        assert _order_of(ranks, keys).tolist() == due


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (PRICE, PRICE),
        # Rows of one event are those of one stamp, whatever their numbers.
        ("symbol, timestamp, sequence_number, exchange, id", "symbol, timestamp, exchange, id"),
        # The latest line stands for an event.
        ("order by line_number nulls first", "order by line_number desc nulls first"),
        # What is kept is not as it came.
        (
            "    symbol,\n    timestamp,\n    price,",
            "    symbol,\n    timestamp,\n    price + 1 as price,",
        ),
    ],
    ids=["shipped", "by stamp", "latest line", "changed"],
)
@pytest.mark.parametrize("is_mixed", [False, True], ids=["by symbol", "by time"])
def test_both_layouts_hold_what_sql_dedupe_leaves(
    written: str, instead: str, is_mixed: bool, tmp_path: Path
) -> None:
    at = instant(SESSION)
    rows = [
        (n, trade(symbol, at + n // 3, 9 - n % 3 // 2, id=str(n // 3), price=1 + n % 7))
        for symbol in ("B", "A", "b")
        for n in range(60)
    ]
    if is_mixed:
        rows.sort(key=lambda row: row[0])
    found = []
    for layout in ("symbol", "market"):
        made = make(
            tmp_path / layout,
            {day_key("trades", SESSION): [line for _, line in rows]},
            storage__layout={"trades": layout},
        )
        path = made.root / "sql/dedupe/trades.sql"
        text = path.read_text("utf-8")
        assert written in text
        path.write_text(text.replace(written, instead), "utf-8")
        (file,) = made.update("trades").files
        assert file.problem is None
        stored = [made.sql(f"select * from trades_of('{symbol}')") for symbol in ("A", "B", "b")]
        found.append((file.reasons, stored))
    assert found[0] == found[1]
    assert found[0][0]
