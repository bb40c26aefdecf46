"""Rows come by range as they do from a folder, with few requests and few bytes beside them."""

from __future__ import annotations

import random
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from building import Made, make
from objects.elsewhere import elsewhere, forget
from s3server import S3TestServer
from synthetic_partitions import catalog, fill, rows_of, weekdays

from warehouse.api import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import ALL_SYMBOLS
from warehouse.store.partitions import Partition, SessionSource, describe, write_partition

SESSIONS = weekdays(date(2024, 1, 2), date(2024, 1, 12))
ROWS = {"SPY": 20_000, **{f"S{number:02}": 2_500 for number in range(20)}}
"""Rows a session of each symbol: a session of them all is a file of more than a MiB."""
FEW = ["S03", "S04", "S11", "SPY"]


def by_session(
    made: Made, data_type: str, rows: dict[str, int], days: list[date]
) -> list[Partition]:
    """Files of all symbols, one for each session."""
    found = []
    for day in days:
        part = f"{day:%d}_00"
        path = made.layout.partition(data_type, ALL_SYMBOLS, date(2024, 1, 1), part)
        path.parent.mkdir(parents=True, exist_ok=True)
        tape = [
            rows_of(data_type, symbol, [day], count, seed=number + day.toordinal())
            for number, (symbol, count) in enumerate(sorted(rows.items()))
        ]
        source = SessionSource(day, sum(rows.values()), 0, "made", None, "0" * 64)
        about = ALL_SYMBOLS, date(2024, 1, 1), (source,), "made", part
        write_partition(str(path), DATA_TYPES[data_type], tape, *about)
        found.append(describe(path))
    return found


@pytest.fixture(scope="module", params=["symbol", "market"])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Some sessions of trades, and fewer of quotes, in a folder."""
    made = make(tmp_path_factory.mktemp("local"))
    quotes = dict.fromkeys(FEW, 3_000)
    if request.param == "market":
        partitions = by_session(made, "trades", ROWS, SESSIONS)
        partitions += by_session(made, "quotes", quotes, SESSIONS[:4])
    else:
        partitions = fill(made, "trades", SESSIONS, ROWS)
        partitions += fill(made, "quotes", SESSIONS[:4], quotes)
    catalog(made, partitions)
    return made


@pytest.fixture(scope="module")
def module_url(local: Made) -> str:
    import hashlib

    from s3server import BUCKET

    return f"s3://{BUCKET}/{hashlib.sha256(str(local.root).encode()).hexdigest()[:12]}"


@pytest.fixture(scope="module")
def there(
    local: Made,
    module_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    server: S3TestServer,
) -> Made:
    return elsewhere(local, tmp_path_factory.mktemp("there"), module_url, server)


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
