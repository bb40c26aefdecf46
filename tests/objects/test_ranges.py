"""Rows come by range as they do from a folder, with few requests and few bytes beside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made
from objects.elsewhere import FEW, ROWS, SESSIONS, counted, forget

from warehouse.api import Warehouse
from warehouse.objects.bucket import Bucket


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
