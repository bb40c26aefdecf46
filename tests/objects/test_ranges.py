"""Rows come by range as they do from a folder, with few requests and few bytes beside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made
from objects.elsewhere import FEW, ROWS, SESSIONS, counted, forget
from objects.machines import SYMBOLS, machine, some_days
from s3server import S3TestServer

from warehouse.api import Warehouse
from warehouse.objects import range_reader
from warehouse.objects.bucket import Bucket
from warehouse.objects.disk_cache import make_room
from warehouse.objects.partial_object import kept_in
from warehouse.read.stream import stream as streaming


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the ranges that are asked for."""
    sizes: list[int] = []
    get_range = Bucket.get_range

    def noted(self: Bucket, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        sizes.append(end - start)
        return get_range(self, key, start, end, etag)

    monkeypatch.setattr(Bucket, "get_range", noted)
    return sizes


def random_question(dice: random.Random) -> tuple[str, dict[str, Any]]:
    data_type = dice.choice(["trades", "trades", "quotes"])
    symbols = dice.sample(FEW if data_type == "quotes" else list(ROWS), dice.randint(1, 3))
    days = SESSIONS[:4] if data_type == "quotes" else SESSIONS
    first, last = sorted(dice.choices(days, k=2))
    asked: dict[str, Any] = {"symbols": symbols, "start": f"{first}", "end": f"{last}"}
    if dice.random() < 0.4:
        asked["start"] += f" {dice.randint(4, 11):02}:{dice.randint(0, 59):02}"
        asked["end"] += f" {dice.randint(12, 19):02}:{dice.randint(0, 59):02}"
    columns = ["timestamp", "sequence_number", "conditions", "session"]
    if dice.random() < 0.5:
        asked["columns"] = dice.sample(columns, dice.randint(1, 4))
    return data_type, asked


def loaded(wh: Warehouse, question: tuple[str, dict[str, Any]]) -> pa.Table:
    data_type, asked = question
    return wh.load(data_type, to="arrow", missing="ignore", **asked)


def streamed(wh: Warehouse, question: tuple[str, dict[str, Any]]) -> pa.Table:
    data_type, asked = question
    stream = wh.stream(data_types=data_type, missing="ignore", **asked)
    return pa.Table.from_batches(stream, stream.schema)


def test_random_questions_are_answered_as_from_a_folder(local: Made, there: Made) -> None:
    dice = random.Random(16)
    with Warehouse(local.root) as near:
        for _ in range(12):
            if dice.random() < 0.3:
                forget(there)
            # A new one each time: what it has read is not in its memory.
            with Warehouse(there.root) as far:
                for _ in range(2):
                    question = random_question(dice)
                    assert loaded(far, question).equals(loaded(near, question)), question
                    question = random_question(dice)
                    assert streamed(far, question).equals(streamed(near, question)), question


MONTH = f"{SESSIONS[0]}", f"{SESSIONS[-1]}"


def requests(there: Made, ask: Callable[[Warehouse], object]) -> int:
    """How many a question sends, the catalog and its manifests being here."""
    with Warehouse(there.root) as wh:
        wh.symbols()
        with counted(there) as count:
            ask(wh)
    return count[0]


def test_questions_take_few_requests(local: Made, there: Made) -> None:
    """A month in a file of its own is one; of a large file it is the footer and a range."""
    is_market = any("/market/" in name for name in local.partitions())
    for symbol in ("S03", "SPY"):
        forget(there)
        month = partial(Warehouse.trades, symbols=symbol, start=MONTH[0], end=MONTH[1])
        due = 2 * len(SESSIONS) if is_market else 1
        assert (requests(there, month), requests(there, month)) == (due, 0)
    forget(there)
    session = partial(Warehouse.trades, symbols="SPY", start=SESSIONS[3])
    assert (requests(there, session), requests(there, session)) == (2, 0)
    # Other rows of the same file: its footer is here.
    other = ("S03", SESSIONS[3]) if is_market else ("SPY", SESSIONS[6])
    assert requests(there, lambda wh: wh.trades(*other)) == 1
    # All of a session: the file whole; or each symbol's.
    forget(there)
    every = partial(Warehouse.trades, symbols=list(ROWS), start=SESSIONS[3])
    assert requests(there, every) == (1 if is_market else len(ROWS) + 1)


def test_a_stream_takes_no_more_requests_for_many_symbols_of_a_file(
    local: Made, there: Made
) -> None:
    forget(there)
    asked = {"symbols": FEW, "start": MONTH[0], "end": MONTH[1]}
    found = requests(there, lambda wh: streamed(wh, ("trades", asked)))
    is_market = any("/market/" in name for name in local.partitions())
    # Of the layout market a footer, and the ranges in which the symbols lie.
    assert found <= (3 * len(SESSIONS) if is_market else len(FEW))


def test_few_more_bytes_come_than_the_rows_and_their_neighbours_have(
    local: Made, there: Made, fetched: list[int]
) -> None:
    forget(there)
    with Warehouse(there.root) as wh:
        rows = len(wh.trades("SPY", SESSIONS[3]))
    name = next(
        name
        for name in local.partitions()
        if name.startswith("trades") and (f"/{SESSIONS[3]:%d}_" in name or "/SPY/" in name)
    )
    path = local.partitions()[name]
    total = pq.read_metadata(path).num_rows
    share = path.stat().st_size * rows / total
    # The end with the footer, and a row group before and after.
    assert sum(fetched) < share + 65_536 + 2 * path.stat().st_size * 10_000 / total
    assert sum(fetched) < 0.6 * path.stat().st_size


def test_bars_and_features_of_a_session_come_by_range_too(local: Made, there: Made) -> None:
    """All of them answer as from a folder."""
    day = SESSIONS[3]
    asks: list[Callable[[Warehouse], pd.DataFrame]] = [
        lambda wh: wh.bars("SPY", day, every="5m"),
        lambda wh: wh.features("spread", "SPY", day),
        lambda wh: wh.trades("SPY", day, adjust="splits"),
    ]
    with Warehouse(local.root) as near:
        for ask in asks:
            forget(there)
            with Warehouse(there.root) as far:
                far.symbols()
                with counted(there) as count:
                    found = ask(far)
            assert found.equals(ask(near))
            assert len(found) > 5
            assert count[0] <= 4


def test_hours_of_a_long_stretch_are_searched_for(
    local: Made, there: Made, monkeypatch: pytest.MonkeyPatch, fetched: list[int]
) -> None:
    monkeypatch.setattr(range_reader, "_SEARCHED_BYTES", 1)
    forget(there)
    hours = f"{SESSIONS[3]} 10:00", f"{SESSIONS[3]} 10:10"
    with Warehouse(there.root) as far, Warehouse(local.root) as near:
        assert far.trades("SPY", *hours).equals(near.trades("SPY", *hours))
    # The footer, and a row group for each look.
    assert 2 <= len(fetched) <= 5


def test_a_stream_without_descriptors_opens_what_it_reads_each_time(
    local: Made, there: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"symbols": FEW, "start": MONTH[0], "end": MONTH[1]}
    with Warehouse(local.root) as near:
        due = streamed(near, ("trades", asked))
    monkeypatch.setattr(streaming, "_most_descriptors", lambda: 1)
    forget(there)
    with Warehouse(there.root) as far:
        assert streamed(far, ("trades", asked)).equals(due)
        # And once more, of what is here.
        assert streamed(far, ("trades", asked)).equals(due)


def test_what_came_by_range_goes_when_room_is_made(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_reader, "WHOLE_BYTES", 1)
    first = machine(tmp_path / "first", url, server.endpoint)
    days = some_days(first)
    first.update("trades")
    second = machine(tmp_path / "second", url, server.endpoint)
    with Warehouse(second.root) as wh, Warehouse(first.root) as due:
        ask = partial(Warehouse.trades, symbols=SYMBOLS[0], start=days[0])
        assert ask(wh).equals(ask(due))
        held = list(kept_in(second.layout.partial))
        assert len(held) == 1
        assert second.partitions() == {}
        # Within the bound nothing goes.
        assert make_room(second.layout) == 0
        second.configure(storage__max_cache_disk_gb=1 / 1024**3)
        assert make_room(second.layout) == 1
        assert not [path for path in second.layout.partial.rglob("*") if path.is_file()]
        wh.cache.clear()
        assert ask(wh).equals(ask(due))


def test_what_came_by_range_is_not_fetched_again_once_it_is_whole(local: Made, there: Made) -> None:
    forget(there)
    asked = {"symbols": list(ROWS), "start": MONTH[0], "end": MONTH[1]}
    with Warehouse(there.root) as far, Warehouse(local.root) as near:
        with counted(there):
            streamed(far, ("trades", asked))
        with counted(there) as count:
            sql = "select count(*), sum(sequence_number) from trades"
            assert far.query(sql).equals(near.query(sql))
    assert count[0] <= 1
