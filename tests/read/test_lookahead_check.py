"""No feature looks ahead: what a row holds does not change with what comes after it.

Nor does it depend on the threads. That it does not depend on where the question begins is held on
warehouses, in test_features.py: there the lookback is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from featuring import FEATURES, Bench, Tables, tapes, until
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from warehouse.read.features.lookahead_check import Difference, first_difference, instants
from warehouse.read.frames import nanoseconds
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_file import FeatureFolder

SHORT = {
    "amihud": [{}, {"days": 1}, {"days": 3}],
    "order_flow_imbalance": [{}, {"window_seconds": 0}, {"window_seconds": 1e-9}],
    "realized_spread": [{"horizon_seconds": 1}, {"horizon_seconds": 0, "strictly_before": True}],
    "effective_spread": [{}, {"strictly_before": True}],
    "trade_sign": [{}, {"strictly_before": True}],
    "volatility": [{"periods": 2}, {"periods": 4}],
    "volume_ma": [{"periods": 1}, {"periods": 3}],
}
"""Values that make a feature's window fit into a small tape."""
USERS = """-- features/dearest: the dearest trade of the session so far, and the trades since it.
-- grain: symbol, timestamp, sequence_number, exchange, id
-- params: $least_size integer (0 or more) = 1
-- lookback: session
-- source: a user's own
select
    symbol,
    timestamp,
    sequence_number,
    exchange,
    id,
    max(price) over (
        partition by symbol, session
        order by timestamp, sequence_number nulls first, exchange, id
        rows between unbounded preceding and current row
    ) as dearest,
    session
from trades
where size >= $least_size
order by symbol, timestamp, sequence_number nulls first, exchange, id
"""
HEADER = """-- features/{name}: what must not be.
-- grain: symbol, timestamp
-- lookback: session
-- source: a user's own
"""
FORWARD = {
    "a global rank": "select *, rank() over (order by price, timestamp, id) as f from trades",
    "the future by descending order": (
        "select *, lag(price) over (order by timestamp desc, id desc) as f from trades"
    ),
    "a whole partition's aggregate": (
        "with highs as (select session, max(price) as f from trades group by session)"
        " select trades.*, f from trades join highs using (session)"
    ),
    "an average of everything": "select *, (select avg(price) from trades) as f from trades",
    "how many there will be": (
        "with counts as (select count(*) as f from trades) select trades.*, f from trades, counts"
    ),
    "a quote that comes later": (
        "with later as (select *, epoch_ns(timestamp) as ns from quotes)"
        " select trades.*, later.bid_price as f from trades"
        " asof join later on trades.symbol = later.symbol and epoch_ns(trades.timestamp) < later.ns"
    ),
    "the last of the session left out": (
        "with ends as (select session, max(timestamp) as last from trades group by session)"
        " select trades.* from trades join ends using (session) where timestamp < last"
    ),
}
REFUSED = {
    "lead": "select *, lead(price) over (order by timestamp, id) as f from trades",
    "unbounded following": (
        "select *, max(price) over (order by timestamp, id rows between unbounded preceding and"
        " unbounded following) as f from trades"
    ),
}
"""Those that are refused before they are run; by the check alone they would be found too."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture(scope="module")
def single() -> Iterator[Bench]:
    made = Bench(threads=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Feature:
    folder = tmp_path_factory.mktemp("sql")
    (folder / "features").mkdir()
    (folder / "features/dearest.sql").write_text(USERS)
    return FeatureFolder(folder)["dearest"]


def difference(
    bench: Bench, feature: Feature, tables: Tables, values: Mapping[str, Any]
) -> Difference | None:
    """The first row that changes when the tape is cut at one of its own stamps, or a row's."""

    def ask(start: int, end: int) -> pa.Table:
        rows = bench.rows(feature, until(tables, end), values)
        stamps = nanoseconds(rows["timestamp"])
        return rows.filter(pa.array((stamps >= start) & (stamps < end)))

    whole = bench.rows(feature, tables, values)
    stamps = {
        int(stamp)
        for table in (*(tables[kind] for kind in feature.tables(feature.freq).values()), whole)
        for stamp in nanoseconds(table["timestamp"])
    }
    if not stamps:
        return None
    cuts = instants(pa.chunked_array([pa.array(sorted(stamps), pa.timestamp("ns"))]), 6)
    return first_difference(ask, min(stamps), 2**62, cuts)


quick = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", FEATURES)
@quick
@given(tables=tapes(), choice=st.integers(0, 2))
def test_no_row_changes_with_what_comes_after_it(
    name: str, tables: Tables, choice: int, bench: Bench
) -> None:
    values = SHORT.get(name, [{}])
    found = difference(bench, FEATURES[name], tables, values[choice % len(values)])
    assert found is None, str(found)


@quick
@given(tables=tapes())
def test_a_users_own_feature_is_held_to_the_same(
    tables: Tables, bench: Bench, users: Feature
) -> None:
    assert difference(bench, users, tables, {}) is None


def forward(sql: str, folder: Path) -> Feature:
    """A feature that runs this SELECT, whatever its file says."""
    text = HEADER.format(name="f") + FORWARD["a global rank"]
    (folder / "features").mkdir()
    (folder / "features/f.sql").write_text(text)
    feature = FeatureFolder(folder)["f"]
    file = replace(feature.file, text=HEADER.format(name="f") + sql)
    # What a tape of trades and quotes is read for.
    known = FEATURES["effective_spread"].reads
    reads = {table: columns for table, columns in known.items() if table in sql}
    return replace(feature, file=file, reads=reads)


@pytest.mark.parametrize("how", FORWARD | REFUSED)
def test_a_feature_that_looks_ahead_is_found_out(how: str, bench: Bench, tmp_path: Path) -> None:
    feature = forward((FORWARD | REFUSED)[how], tmp_path)

    @settings(quick, max_examples=200, database=None, derandomize=True, phases=[Phase.generate])
    @given(tables=tapes())
    def search(tables: Tables) -> None:
        assert difference(bench, feature, tables, {}) is None

    with pytest.raises(AssertionError):
        search()


@pytest.mark.parametrize("name", FEATURES)
@settings(quick, max_examples=6)
@given(tables=tapes())
def test_the_number_of_threads_and_the_order_of_the_rows_change_nothing(
    name: str, tables: Tables, bench: Bench, single: Bench
) -> None:
    feature = FEATURES[name]
    values = SHORT.get(name, [{}])[0]
    turned = {
        kind: table.take(pa.array(range(len(table))[::-1], pa.int64()))
        for kind, table in tables.items()
    }
    expected = single.rows(feature, tables, values)
    assert bench.rows(feature, turned, values).to_pylist() == expected.to_pylist()


def sorts_as(value: Any) -> tuple[Any, ...]:
    """A key under which None comes first."""
    return () if value is None else (value,)


@pytest.mark.parametrize("name", FEATURES)
@settings(quick, max_examples=6)
@given(tables=tapes())
def test_the_grain_is_unique_and_the_rows_come_in_its_order(
    name: str, tables: Tables, bench: Bench
) -> None:
    feature = FEATURES[name]
    rows = bench.rows(feature, tables, SHORT.get(name, [{}])[0]).to_pylist()
    keys = [tuple(sorts_as(row[part]) for part in feature.grain) for row in rows]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
