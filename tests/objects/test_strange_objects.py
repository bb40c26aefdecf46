"""Objects that no writer of ours would write end in one line, and in little memory."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from oddserver import OddServer, http, xml

from warehouse.core.paths import Layout
from warehouse.errors import LockedError, ObjectStorageError
from warehouse.objects import lease
from warehouse.objects.bucket import Bucket
from warehouse.objects.generation import CURRENT, contents, current, record

KEY = "generations/0000000001-00000000.json.gz"
SHA256 = "ab" * 32
TOLD = {"form": 1, "generation": KEY, "number": 1, "warehouse": "c" * 32, "sha256": SHA256}
DEEP = "[" * 4_000
LAYOUT = Layout(Path("/w"), Path("/w/data/raw"), Path("/w/data/cache"))
OUTSIDE = [
    "../../victim",
    "manifests/../../../victim",
    "manifests/trades/../../../../dev/zero",
    "/etc/passwd",
    "raw/trades/2024_01.parquet",
    "manifests/trades/x",
    "ledger/trades/2024_01.parquet\0",
    "\ud800",
    "",
]
MODIFIED = "Last-Modified: Tue, 02 Jan 2024 00:00:00 GMT"


def holding(content: bytes, *headers: str) -> OddServer:
    """A server each of whose objects holds this."""
    headers = headers or (MODIFIED,)
    return OddServer(answers=lambda line: http("200 OK", content, 'ETag: "e"', *headers))


def bucket_of(odd: OddServer) -> Bucket:
    return Bucket("s3://bucket/folder", odd.endpoint, attempts=0)


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        json.dumps({**TOLD, "form": None}).replace("null", "1e999"),
        json.dumps({**TOLD, "number": None}).replace("null", "1e999"),
        json.dumps({**TOLD, "number": 1.5}),
        json.dumps({**TOLD, "form": True}),
        json.dumps({**TOLD, "number": "1"}),
        json.dumps(TOLD).replace("{", '{"form": 1, '),
        "[]",
    ],
)
def test_a_word_of_the_newest_generation_that_is_none_is_one_line(text: str) -> None:
    with (
        holding(text.encode()) as odd,
        pytest.raises(ObjectStorageError, match=r"current\.json is not what a warehouse writes"),
    ):
        current(bucket_of(odd))


@pytest.mark.parametrize(
    "text",
    [
        *(DEEP, '{"files": {"warehouse.duckdb": ["' + SHA256 + '", true]}}', '{"files": []}', "{}"),
        *(
            json.dumps({"files": {key: [SHA256, 0] for key in ("warehouse.duckdb", one)}})
            for one in OUTSIDE
        ),
    ],
)
def test_a_generation_that_is_none_is_one_line(text: str) -> None:
    with (
        holding(gzip.compress(text.encode())) as odd,
        pytest.raises(ObjectStorageError, match="is not what a warehouse writes"),
    ):
        contents(LAYOUT, bucket_of(odd), KEY)


@pytest.mark.parametrize("piece", ["{},", "[[[[[[[[]]]]]]]],", '"",'])
def test_a_generation_of_values_too_short_for_names_takes_no_memory(piece: str) -> None:
    text = f"[{piece * ((20 << 20) // len(piece))}0]".encode()
    with holding(gzip.compress(text, 1)) as odd:
        tracemalloc.start()
        try:
            with pytest.raises(ObjectStorageError, match="is not what a warehouse writes"):
                contents(LAYOUT, bucket_of(odd), KEY)
            assert tracemalloc.get_traced_memory()[1] < 100 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [5, 200])
def test_a_server_that_gives_no_etag_for_what_is_written_is_one_line(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.objects.bucket._PART", 100)
    (tmp_path / "file").write_bytes(b"x" * size)

    def answer(line: str, head: bytes, body: bytes) -> bytes:
        return http("404 Not Found", b"") if line.startswith("HEAD") else http("200 OK", b"")

    with (
        OddServer(takes=answer) as odd,
        pytest.raises(ObjectStorageError, match=r"none of S3's \(KeyError\)") as caught,
    ):
        bucket_of(odd).put_file("key", tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_generation_of_the_shortest_names_is_read() -> None:
    months = (f"{1000 + number // 12}_{number % 12 + 1:02}" for number in range(5_000))
    files = {f"ledger/trades/{month}.parquet": [SHA256, 1] for month in months}
    text = json.dumps({"form": 1, "files": {**files, "warehouse.duckdb": [SHA256, 1]}})
    with holding(gzip.compress(text.encode())) as odd:
        assert len(contents(LAYOUT, bucket_of(odd), KEY)) == 5_001


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "[" + "{}," * 1_000_000 + "0]",
        '{"url": "u", "etag": [], "files": {}, "doubtful": []}',
        '{"url": "u", "etag": "e", "files": {}, "doubtful": "text"}',
        *(
            json.dumps({"url": "u", "etag": "e", "files": {one: [SHA256, 0]}, "doubtful": []})
            for one in OUTSIDE
        ),
    ],
)
def test_a_word_of_what_is_here_that_is_none_is_as_if_it_were_not_there(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.objects.generation._MOST_INFLATED", 4 << 20)
    place = tmp_path / "generation.json"
    place.write_text(text)
    layout: Any = SimpleNamespace(
        generation=place, tier=SimpleNamespace(url="u"), is_published=LAYOUT.is_published
    )
    tracemalloc.start()
    try:
        assert record(layout) is None
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


HELD = '{"holder": "me", "place": "p", "seconds": %s, "is_free": false}'


@pytest.mark.parametrize(
    "seconds",
    ["NaN", "Infinity", "-Infinity", "0", "-1", "true", '"60"', "null", "1" + "0" * 400],
)
def test_a_lease_of_no_finite_time_ends_all_the_same(seconds: str) -> None:
    holder, _, lasts = lease._told((HELD % seconds).encode(), 60.0)
    assert holder == "me"
    assert 0 < lasts <= 3_600


@pytest.mark.parametrize(
    "text",
    [DEEP, "[]", "{}", '{"is_free": "no"}', (HELD % 60).replace('"me"', "[" * 900 + "]" * 900)],
)
def test_a_lease_that_says_nothing_is_another_processs(text: str, tmp_path: Path) -> None:
    holder, _, lasts = lease._told(text.encode(), 60.0)
    assert (holder, lasts) == ("another process", 60.0)
    now = f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}"
    with (
        holding(text.encode(), f"Last-Modified: {now}", f"Date: {now}") as odd,
        pytest.raises(LockedError, match="another process"),
        lease.hold(bucket_of(odd), tmp_path),
    ):
        pass


def test_a_lease_that_is_there_and_is_not_there_is_told(tmp_path: Path) -> None:
    def answer(line: str) -> bytes:
        if line.startswith("GET"):
            return http("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
        return http("412 Precondition Failed", b"<Error><Code>PreconditionFailed</Code></Error>")

    with (
        OddServer(answers=answer) as odd,
        pytest.raises(ObjectStorageError, match=r"lease\.json can neither be read nor made"),
        lease.hold(bucket_of(odd), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        *(("X: no word of when",), (MODIFIED, "Date: today"), ("Last-Modified: today",)),
        *((f"Last-Modified: {moment}",) for moment in ("99999999999999999", "1e999", "Jan")),
    ],
)
def test_an_object_without_its_time_is_one_line(headers: tuple[str, ...]) -> None:
    with holding(b"{}", *headers) as odd, pytest.raises(ObjectStorageError) as caught:
        bucket_of(odd).get(CURRENT)
    assert "\n" not in str(caught.value)


def test_of_a_refused_removal_no_more_is_shown_than_is_fit() -> None:
    long = "x" * 1_000_000
    answer = f"<DeleteResult><Error><Key>{long}</Key><Code>{long}</Code></Error></DeleteResult>"
    with (
        OddServer(answers=lambda line: xml(answer)) as odd,
        pytest.raises(ObjectStorageError, match="cannot be removed") as caught,
    ):
        bucket_of(odd).delete(["key"])
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("prefix", ["", "generations/"])
def test_a_list_with_entities_is_refused_before_it_is_put_together(prefix: str) -> None:
    entity = f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'
    answer = xml(
        f"{entity}<ListBucketResult><Contents><Key>{'&a;' * 95}</Key></Contents></ListBucketResult>"
    )
    with (
        OddServer(answers=lambda line: answer) as odd,
        pytest.raises(ObjectStorageError, match="is no S3 server") as caught,
    ):
        list(bucket_of(odd).list(prefix))
    assert len(str(caught.value)) < 300


def sent_without_end(length: str, *headers: str) -> OddServer:
    """A server that says that its answers are so long, and sends bytes without end."""
    head = ["HTTP/1.1 206 Partial Content", 'ETag: "e"', MODIFIED, f"Content-Length: {length}"]
    start = "\r\n".join([*head, *headers, "", ""]).encode()
    return OddServer(
        answers=lambda line: itertools.chain([start], itertools.repeat(b"x" * (1 << 16)))
    )


@pytest.mark.parametrize("length", ["1000000000000", "-7", "9" * 5_000])
@pytest.mark.parametrize("how", ["get", "get_range", "download"])
def test_no_more_is_taken_of_an_answer_than_was_asked_for(
    how: str, length: str, tmp_path: Path
) -> None:
    span = "X: none" if how == "get" else "Content-Range: bytes 0-9/10"
    asked: dict[str, Callable[[Bucket], object]] = {
        "get": lambda bucket: bucket.get("key", 100),
        "get_range": lambda bucket: bucket.get_range("key", 0, 10),
        "download": lambda bucket: bucket.download("key", tmp_path / "file", 10),
    }
    with sent_without_end(length, span) as odd:
        with pytest.raises(ObjectStorageError) as caught:
            asked[how](bucket_of(odd))
        assert odd.sent < 50 << 20
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


FREE = b'{"is_free": true}'
SIZE, END = len(FREE), len(FREE) - 1


def test_a_lease_that_is_free_and_is_never_given_is_told(tmp_path: Path) -> None:
    def answer(line: str) -> bytes:
        if line.startswith("GET"):
            return http("200 OK", FREE, 'ETag: "e"', MODIFIED)
        return http("412 Precondition Failed", b"<Error><Code>PreconditionFailed</Code></Error>")

    with (
        OddServer(answers=answer) as odd,
        pytest.raises(ObjectStorageError, match="is nobody's and cannot be taken"),
        lease.hold(bucket_of(odd), tmp_path, wait=math.inf),
    ):
        pass


def test_an_etag_that_a_proxy_marks_as_weak_is_the_one_of_the_object(tmp_path: Path) -> None:
    """Conditions are asked with the ETag that the server itself knows."""
    asked = []

    def answer(line: str, head: bytes, body: bytes) -> bytes:
        asked.append(head.lower())
        if b"if-match" in head.lower() and b'"e"' not in head:
            return http(
                "412 Precondition Failed", b"<Error><Code>PreconditionFailed</Code></Error>"
            )
        status = "206 Partial Content" if b"range: bytes" in head.lower() else "200 OK"
        content = b"" if line.startswith("PUT") else FREE
        return http(
            status, content, 'ETag: W/"e"', MODIFIED, f"Content-Range: bytes 0-{END}/{SIZE}"
        )

    with OddServer(takes=answer) as odd:
        bucket = bucket_of(odd)
        assert bucket.get("key")[1] == "e"
        assert bucket.get_range("key", 0, SIZE, "e") == FREE
        assert bucket.replace("key", b"other", bucket.get("key")[1]) == "e"
        with lease.hold(bucket, tmp_path):
            pass
    assert any(b'if-match: "e"' in head for head in asked)


@pytest.mark.parametrize(
    ("moment", "is_known"),
    [("2024-01-02T00:00:00Z", True), ("2024-01-02T00:00:00", False), ("10:10", False)],
)
def test_of_a_time_without_its_zone_nobody_knows_when_an_object_was_written(
    moment: str, is_known: bool
) -> None:
    """What is to be removed is compared with the clock: without its zone that is a traceback."""
    item = f"<Key>folder/probe/{'a' * 32}</Key><Size>1</Size><ETag>e</ETag>"
    answer = xml(
        "<ListBucketResult><IsTruncated>false</IsTruncated>"
        f"<Contents>{item}<LastModified>{moment}</LastModified></Contents></ListBucketResult>"
    )
    with OddServer(answers=lambda line: answer) as odd:
        (found,) = bucket_of(odd).list("probe/")
    assert (found.modified is not None) == is_known
    assert found.modified is None or found.modified <= datetime.now(UTC)
