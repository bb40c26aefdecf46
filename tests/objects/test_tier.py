"""What one machine publishes to a bucket another one answers from, generation by generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from building import Made, make
from objects.machines import SYMBOLS, machine, some_days
from s3server import S3TestServer

from warehouse.api import Warehouse


def answers(made: Made) -> dict[str, Any]:
    """Answers of every kind, as text or values that equal what is equal."""
    start, end = "2024-01-30", "2024-01-31"
    with Warehouse(made.root) as wh:
        return {
            "trades": wh.trades(SYMBOLS, start, end, missing="ignore").to_csv(),
            "quotes": wh.quotes(SYMBOLS[0], start, end, missing="ignore").to_csv(),
            "aggs": wh.aggs(SYMBOLS, start, end, freq="day", missing="ignore").to_csv(),
            "bars": wh.bars(SYMBOLS[:2], start, end, every="30m", missing="ignore").to_csv(),
            "query": wh.query(
                "select symbol, count(*), sum(price * size), count(distinct session) from trades"
                " group by symbol order by symbol"
            ).to_csv(),
            "rejects": wh.query(
                "select reason, count(*) from rejects group by all order by all"
            ).to_csv(),
            "files": wh.query("select source, state from source_files order by all").to_dict(
                "list"
            ),
            "stream": [
                batch.to_pydict() for batch in wh.stream(SYMBOLS, start, end, "trades", to="arrow")
            ],
            "symbols": wh.symbols(),
        }


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_second_machine_answers_as_a_warehouse_without_a_bucket(
    tmp_path: Path, url: str, server: S3TestServer, layout: str
) -> None:
    keys = {"storage__layout": dict.fromkeys(("trades", "quotes", "minute_aggs"), layout)}
    local = make(tmp_path / "local", **keys)
    some_days(local)
    first = machine(tmp_path / "first", url, server.endpoint, local.source, **keys)
    second = machine(tmp_path / "second", url, server.endpoint, **keys)
    assert local.update().state == first.update().state == "done"
    assert first.digests() == local.digests()
    due = answers(local)
    assert due["trades"].count("\n") > 500
    assert answers(first) == due
    assert second.partitions() == {}
    assert answers(second) == due
    assert second.digests().items() <= local.digests().items()
    assert second.verify().faults == first.verify().faults == []
