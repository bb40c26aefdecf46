"""The kernel gives what the statements of sql/bars give, to the bit, or says that it cannot."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from building import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.bars import build, kernel
from warehouse.bars.spec import HOURS, BarSpec
from warehouse.bars.tape import on_tape
from warehouse.core.calendar import midnight_ns
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder

FOLDER = BarFolder(SqlFolder(REPOSITORY / "sql"))
HOUR = 3_600_000_000_000
SESSIONS = (date(2024, 3, 8), date(2024, 3, 11), date(2024, 7, 3), date(2024, 3, 10))
"""Before and after a change of the clock, a half-day, and a Sunday that no calendar has."""
RULES = {
    2: (False, False, True),
    12: (False, False, True),
    15: (False, False, False),
    33: (True, False, True),
    37: (False, False, True),
    40: (False, True, True),
}

texts = st.lists(st.sampled_from([*map(str, RULES), "99", " 37"]), max_size=3).map(",".join)
prices = st.sampled_from([9.99, 10.0, 10.0001, 10.01, 33.3333, 0.0])
sizes = st.sampled_from([0.0, 1.0, 100.0, 123456789.0, 0.000001, 7.5, 1234.567891])
# Of a session: mostly its regular hours, with the edges of every part.
moments = st.one_of(
    st.integers(0, 24 * HOUR - 1),
    st.integers(9 * HOUR, 17 * HOUR),
    st.sampled_from([4 * HOUR, 9 * HOUR + HOUR // 2, 13 * HOUR, 16 * HOUR, 20 * HOUR]),
    st.sampled_from([9 * HOUR + HOUR // 2 - 1, 13 * HOUR - 1, 16 * HOUR - 1]),
)
trade = st.tuples(
    st.sampled_from(["A", "B"]),
    st.sampled_from(SESSIONS),
    moments,
    prices,
    sizes,
    st.one_of(st.none(), texts),
)


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = DATA_TYPES["trades"].fields(build.READS)
    records = [
        {
            "symbol": symbol,
            "timestamp": midnight_ns(session) + at,
            "price": price,
            "size": size,
            "conditions": conditions,
            "sequence_number": number,
            "session": session,
        }
        for number, (symbol, session, at, price, size, conditions) in enumerate(
            sorted(rows, key=lambda row: row[:3])
        )
    ]
    return pa.Table.from_pylist(records, columns)


def rules(**more: Any) -> pa.Table:
    rows = [
        {
            "id": number,
            "name": str(number),
            "updates_high_low": flags[0],
            "updates_open_close": flags[1],
            "updates_volume": flags[2],
            **more,
        }
        for number, flags in RULES.items()
    ]
    return pa.Table.from_pylist(rows, TRADE_CONDITIONS)


def by_kernel(
    trades: pa.Table, spec: BarSpec, conditions: pa.Table, threads: int = 1
) -> pa.Table | None:
    sessions = build.sessions_of(trades)
    rules = kernel.Conditions(conditions)
    found = kernel.time_bars(on_tape(trades), rules, sessions, spec.every_ns, spec.hours, threads)
    if found is None:
        return None
    return found.rows.sort_by([(name, "ascending") for name in ("symbol", "timestamp")])


def by_statements(trades: pa.Table, spec: BarSpec, conditions: pa.Table) -> pa.Table:
    with (
        build.engine(Config(), conditions) as connection,
        build.prepared(connection, FOLDER, trades) as from_trades,
    ):
        steps = build.bar_steps(spec, from_trades=from_trades)
        return build.run(connection, FOLDER.chain(steps), build.given(spec))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(trade, min_size=1, max_size=60),
    st.sampled_from(["1s", "1m", "7m", "1h", "5h"]),
    st.sampled_from(HOURS),
)
def test_the_kernel_gives_what_the_statements_give(
    rows: list[tuple[Any, ...]], every: str, hours: str
) -> None:
    trades, spec = table(rows), BarSpec.of(every, hours=hours)
    expected = by_statements(trades, spec, rules())
    found = by_kernel(trades, spec, rules())
    if found is None:
        assert not expected.num_rows
    else:
        assert found.schema == expected.schema
        assert found.to_pylist() == expected.to_pylist()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(trade, min_size=1, max_size=60),
    st.sampled_from(["1s", "1m", "5h"]),
    st.sampled_from(HOURS),
)
def test_neither_portions_nor_threads_nor_dictionaries_change_a_bar(
    rows: list[tuple[Any, ...]], every: str, hours: str
) -> None:
    trades, spec = table(rows), BarSpec.of(every, hours=hours)
    expected = by_kernel(trades, spec, rules())
    pieces = [trades.slice(low, 7) for low in range(0, len(rows), 7)]
    for name in ("symbol", "conditions"):
        place = trades.column_names.index(name)
        pieces = [one.set_column(place, name, one[name].dictionary_encode()) for one in pieces]
    coded = pa.concat_tables(pieces)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel, "_PORTION_ROWS", 5)
        patched.setattr(kernel, "_STEP_ROWS", 2)
        for threads in (1, 2, 4):
            found = by_kernel(coded, spec, rules(), threads)
            assert (found and found.to_pylist()) == (expected and expected.to_pylist())


def test_dollars_that_no_int64_holds_are_exact() -> None:
    rows = [
        ("A", SESSIONS[0], 10 * HOUR, 450.0001, 3_000_000.000001, None),
        ("A", SESSIONS[0], 10 * HOUR + 1, 450.0003, 2_000_000.5, "37"),
        ("A", SESSIONS[0], 10 * HOUR + 2, 450.0007, 999.999999, "15"),
        ("A", SESSIONS[0], 11 * HOUR, 1.0, 1.0, None),
    ]
    trades, spec = table(rows), BarSpec.of("1m")
    found = by_kernel(trades, spec, rules())
    assert found is not None
    assert found.to_pylist() == by_statements(trades, spec, rules()).to_pylist()


@pytest.mark.parametrize(
    ("rows", "conditions"),
    [
        ([("A", SESSIONS[0], 10 * HOUR, 1 / 3, 1.0, None)], rules()),
        ([("A", SESSIONS[0], 10 * HOUR, 1.0, 1e-7, None)], rules()),
        ([("A", SESSIONS[0], 10 * HOUR, 9e9, 9e9, None)], rules()),
        ([("A", SESSIONS[0], 10 * HOUR, 1.0, 1.0, None)], rules(valid_to=SESSIONS[0])),
    ],
    ids=["a price of many decimals", "a size of many decimals", "large sums", "rules with dates"],
)
def test_the_kernel_steps_aside_where_the_statements_alone_are_exact(
    rows: list[tuple[Any, ...]], conditions: pa.Table
) -> None:
    assert by_kernel(table(rows), BarSpec.of("1m"), conditions) is None


def test_a_statement_of_ones_own_is_asked_and_not_the_kernel(tmp_path: Path) -> None:
    trades, spec = table([("A", SESSIONS[0], 10 * HOUR, 2.0, 3.0, None)]), BarSpec.of("1m")
    (tmp_path / "bars").mkdir()
    text = (REPOSITORY / "sql/bars/bars.sql").read_text("utf-8")
    (tmp_path / "bars/bars.sql").write_text(text.replace("max(price)", "max(price + 1)"))
    with build.engine(Config(), rules()) as connection:
        shipped = build.build(connection, FOLDER, spec, trades).table
        own = build.build(connection, BarFolder(SqlFolder(tmp_path)), spec, trades).table
    assert (shipped["high"].to_pylist(), own["high"].to_pylist()) == ([2.0], [3.0])
