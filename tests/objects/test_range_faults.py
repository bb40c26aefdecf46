"""Whatever befalls a link, an object or the disk, rows by range are right or the error is typed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from building import Made
from faultproxy import Fault, FaultProxy, Request
from objects.elsewhere import FEW, SESSIONS, forget
from objects.machines import SYMBOLS, machine, some_days
from oddserver import OddServer, http
from s3server import S3TestServer

from warehouse.api import Warehouse
from warehouse.errors import (
    CorruptPartitionError,
    ObjectMissingError,
    ObjectStorageError,
    SupersededError,
    WarehouseError,
)
from warehouse.objects import bucket as bucket_module
from warehouse.objects import range_reader
from warehouse.objects.bucket import Bucket, bucket_of

MONTH = f"{SESSIONS[0]}", f"{SESSIONS[-1]}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent for a second is given up."""
    buckets: dict[Any, Bucket] = {}

    def bucket_of(tier: Any) -> Bucket:
        if tier not in buckets:
            options = {"timeout": 1, "attempts": 9, "first_pause": 0.01}
            buckets[tier] = Bucket(tier.url, tier.endpoint, **options)
        return buckets[tier]

    monkeypatch.setattr(bucket_module, "bucket_of", bucket_of)


@pytest.fixture
def proxy(server: S3TestServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as between:
        yield between


@pytest.fixture
def far(there: Made, proxy: FaultProxy, server: S3TestServer) -> Iterator[Made]:
    """The warehouse in the bucket, by way of the proxy; nothing of it is here."""
    forget(there)
    there.configure(storage__cache_endpoint=proxy.endpoint)
    yield there
    there.configure(storage__cache_endpoint=server.endpoint)
    forget(there)


def _is_footer(request: Request) -> bool:
    """Whether it asks for the end of a file, of the size of which nothing else is."""
    return request.span is not None and request.span[1] - request.span[0] == 65_536


def asked(wh: Warehouse) -> list[pa.Table]:
    stream = wh.stream(FEW[:2], *MONTH, "trades")
    return [
        wh.trades("SPY", SESSIONS[3], to="arrow"),
        wh.trades(["S03", "SPY"], f"{SESSIONS[1]} 10:00", f"{SESSIONS[2]} 12:00", to="arrow"),
        wh.trades("S04", *MONTH, to="arrow"),
        pa.Table.from_batches(stream, stream.schema),
    ]


def same(one: list[pa.Table], other: list[pa.Table]) -> bool:
    return all(a.equals(b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ["cut", "reset", "stall", "status"])
def test_what_fails_for_a_while_is_asked_for_again(
    local: Made, far: Made, proxy: FaultProxy, kind: Any
) -> None:
    """Three answers of ten: at the beginning, in the midst, or a byte before the end."""
    dice = random.Random(kind)
    lock = threading.Lock()

    def plan(request: Request) -> Fault | None:
        with lock:
            if request.span is None or dice.random() > 0.3:
                return None
            start, end = request.span
            after = dice.choice([-1, 0, dice.randrange(end - start), end - start - 1])
        return Fault(kind, 0 if kind == "status" else after)

    proxy.plan = plan
    with Warehouse(local.root) as near, Warehouse(far.root) as wh:
        assert same(asked(wh), asked(near))
    assert len(proxy.gets()) > 4


def test_a_flipped_byte_is_noticed_and_fetched_again(
    local: Made, far: Made, proxy: FaultProxy
) -> None:
    flipped: list[Request] = []

    def plan(request: Request) -> Fault | None:
        # Of each file's rows, once: not of its end, where the footer is.
        if request.span is None or any(one.path == request.path for one in flipped):
            return None
        if _is_footer(request):
            return None
        start, end = request.span
        flipped.append(request)
        return Fault("flip", (end - start) // 2)

    proxy.plan = plan
    with Warehouse(local.root) as near, Warehouse(far.root) as wh:
        assert wh.trades("SPY", SESSIONS[3]).equals(near.trades("SPY", SESSIONS[3]))
    assert len(flipped) == 1


def test_a_flipped_byte_in_a_stream_is_told_and_the_next_one_is_right(
    local: Made, far: Made, proxy: FaultProxy
) -> None:
    flipped: list[Request] = []

    def plan(request: Request) -> Fault | None:
        if request.span is None or _is_footer(request) or flipped:
            return None
        flipped.append(request)
        return Fault("flip", (request.span[1] - request.span[0]) // 2)

    def rows(wh: Warehouse) -> pa.Table:
        stream = wh.stream("SPY", SESSIONS[3], SESSIONS[3], "trades")
        return pa.Table.from_batches(stream, stream.schema)

    proxy.plan = plan
    with Warehouse(local.root) as near, Warehouse(far.root) as wh:
        with pytest.raises(CorruptPartitionError):
            rows(wh)
        assert rows(wh).equals(rows(near))


def test_a_link_that_is_dead_is_told_in_one_line_and_later_all_is_right(
    local: Made, far: Made, proxy: FaultProxy
) -> None:
    with Warehouse(far.root) as wh, Warehouse(local.root) as near:
        # The footer comes, and then nothing more.
        proxy.plan = lambda request: None if _is_footer(request) else Fault("cut", -1)
        for ask in (asked, lambda wh: wh.trades("SPY", SESSIONS[3])):
            with pytest.raises(ObjectStorageError) as caught:
                ask(wh)
            assert "\n" not in str(caught.value)
        proxy.plan = lambda request: None
        assert same(asked(wh), asked(near))


def test_a_server_that_sends_the_whole_in_place_of_a_range_is_told(
    far: Made, local: Made, server: S3TestServer
) -> None:
    body = next(iter(local.partitions().values())).read_bytes()
    with OddServer(answers=lambda line: http("200 OK", body, 'ETag: "0"')) as odd:
        far.configure(storage__cache_endpoint=odd.endpoint)
        with Warehouse(far.root) as wh, pytest.raises(WarehouseError) as caught:
            wh.trades("SPY", SESSIONS[3])
    assert isinstance(caught.value, ObjectStorageError | CorruptPartitionError)
    assert "\n" not in str(caught.value)


def overwritten(local: Made, far: Made, change: Callable[[bytes], bytes | None]) -> None:
    """Change what the bucket has of each partition of SPY's; None: it is gone."""
    tier = far.layout.tier
    assert tier is not None
    bucket = Bucket(tier.url, tier.endpoint)
    for name, path in local.partitions().items():
        if name.startswith(("trades/SPY/", "trades/market/")):
            key = f"objects/{local.digests()[name]}"
            bucket.delete([key])
            body = change(path.read_bytes())
            if body is not None:
                bucket.create(key, body)


def test_an_object_that_is_another_or_gone_is_told(
    local: Made, far: Made, proxy: FaultProxy
) -> None:
    def damaged(body: bytes) -> bytes:
        middle = len(body) - 200_000
        return bytes(255 - byte for byte in body[:middle]) + body[middle:]

    ask: list[Callable[[Warehouse], object]] = [
        lambda wh: wh.trades("SPY", SESSIONS[3]),
        lambda wh: list(wh.stream("SPY", SESSIONS[3], SESSIONS[3], "trades")),
    ]
    errors: list[tuple[Callable[[bytes], bytes | None], tuple[type[Exception], ...]]] = [
        (damaged, (CorruptPartitionError, ObjectStorageError)),
        (lambda body: body[:1_000_000], (CorruptPartitionError, ObjectStorageError)),
        (lambda body: None, (ObjectMissingError, SupersededError)),
    ]
    try:
        for change, due in errors:
            overwritten(local, far, change)
            forget(far)
            for one in ask:
                with Warehouse(far.root) as wh, pytest.raises(due) as caught:
                    one(wh)
                assert "\n" not in str(caught.value)
    finally:
        overwritten(local, far, lambda body: body)


def test_who_reads_what_is_garbage_by_now_is_answered_from_the_next_generation(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By range, however small.
    monkeypatch.setattr(range_reader, "WHOLE_BYTES", 1)
    first = machine(tmp_path / "first", url, server.endpoint)
    days = some_days(first)
    first.update()
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    with Warehouse(second.root) as wh:
        wh.symbols()
        before = first.digests()
        some_days(first, seed=1)
        first.update()
        changed = {key for name, key in before.items() if first.digests()[name] != key}
        assert changed
        bucket_of(second.layout.tier).delete([f"objects/{sha256}" for sha256 in changed])
        found = wh.trades(SYMBOLS[0], days[0])
    with Warehouse(first.root) as due:
        assert found.equals(due.trades(SYMBOLS[0], days[0]))
