"""Objects are written whole, once or on a condition, whatever the link does to the answers."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3server
from faultproxy import Fault, FaultProxy, Request
from oddserver import OddServer, http, listing, xml
from s3server import BUCKET, S3TestServer

from warehouse.core.paths import Tier
from warehouse.errors import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectStorageError,
)
from warehouse.objects import bucket as bucket_module
from warehouse.objects.bucket import Bucket, bucket_of, check_conditional_writes


@pytest.fixture
def bucket(server: S3TestServer, url: str) -> Bucket:
    return Bucket(url, server.endpoint)


@pytest.fixture
def proxy(server: S3TestServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as between:
        yield between


def impatient(url: str, endpoint: str, attempts: int = 4) -> Bucket:
    return Bucket(url, endpoint, timeout=1, attempts=attempts, first_pause=0.01)


def test_an_object_is_what_was_put_and_its_ranges_are_exactly_those_bytes(bucket: Bucket) -> None:
    body = bytes(range(256)) * 4
    etag = bucket.create("a/b", body)
    assert bucket.get("a/b") == (body, etag)
    assert bucket.get_range("a/b", 10, 300) == body[10:300]
    assert bucket.get_range("a/b", 1023, 1024, etag) == body[1023:]
    assert bucket.get_range("a/b", 5, 5) == b""
    with pytest.raises(ObjectChangedError):
        bucket.get_range("a/b", 1000, 1025)
    with pytest.raises(ObjectChangedError):
        bucket.get_range("a/b", 2000, 2025)
    with pytest.raises(ObjectChangedError):
        bucket.get_range("a/b", 0, 1, "0" * 32)
    with pytest.raises(ObjectMissingError):
        bucket.get("a/c")
    with pytest.raises(ObjectMissingError):
        bucket.get_range("a/c", 0, 1)
    assert bucket.head("a/c") is None
    found = bucket.head("a/b")
    assert found is not None
    assert found.size == 1024


def test_of_many_who_create_one_object_one_does_and_of_many_who_replace_it_one(
    bucket: Bucket,
) -> None:
    def race(write: Callable[[bytes], str]) -> list[bytes]:
        won: list[bytes] = []
        begin = threading.Barrier(8)

        def run(name: bytes) -> None:
            begin.wait()
            try:
                write(name)
            except (ObjectExistsError, ObjectChangedError):
                return
            won.append(name)

        threads = [threading.Thread(target=run, args=(b"%d" % n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return won

    for number in range(2):
        key = f"one-{number}"
        (first,) = race(lambda body, key=key: bucket.create(key, body))
        body, etag = bucket.get(key)
        assert body == first
        (second,) = race(
            lambda body, key=key, etag=etag: bucket.replace(key, b"then " + body, etag)
        )
        assert bucket.get(key)[0] == b"then " + second


def test_what_is_not_there_cannot_be_replaced(bucket: Bucket) -> None:
    with pytest.raises(ObjectChangedError):
        bucket.replace("nothing", b"x", "0" * 32)
    assert bucket.head("nothing") is None


@pytest.mark.parametrize("size", [0, 1, 1000, 11 << 20])
def test_a_file_goes_up_and_comes_down_as_it_is(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(bucket_module, "_PART", 5 << 20)
    path, back = tmp_path / "up", tmp_path / "down"
    path.write_bytes(hashlib.shake_128(b"x").digest(size))
    for _ in range(2):
        assert bucket.put_file("f", path) == size
    bucket.download("f", back, size)
    assert back.read_bytes() == path.read_bytes()
    assert back.stat().st_mode & 0o777 == 0o600
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(ObjectChangedError):
        bucket.download("f", tmp_path / "longer", size + 4)
    # What was cut is not what its name stands for.
    assert bucket.put_file("f", path) == size + 4
    bucket.download("f", tmp_path / "whole", size + 4)
    assert (tmp_path / "whole").read_bytes() == path.read_bytes()


def test_a_list_has_every_object_over_several_pages_and_what_is_deleted_is_gone(
    server: S3TestServer, bucket: Bucket, url: str
) -> None:
    keys = {f"many/{n:04}" for n in range(1_203)}
    prefix = url.removeprefix(f"s3://{BUCKET}/")
    for key in keys:
        server.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=b"x")
    assert [each.key for each in bucket.list("many/")] == sorted(keys)
    assert bucket.requests["list"] == 2
    gone = sorted(keys)[:1_100]
    bucket.delete([*gone, "many/never"])
    assert {each.key for each in bucket.list("many/")} == keys - set(gone)
    assert bucket.requests["delete"] == 2


def test_requests_are_counted_by_operation(server: S3TestServer, url: str) -> None:
    with FaultProxy(server.port) as proxy:
        bucket = Bucket(url, proxy.endpoint)
        etag = bucket.create("a", b"1")
        bucket.replace("a", b"2", etag)
        bucket.get("a")
        bucket.get_range("a", 0, 1)
        bucket.head("a")
        list(bucket.list())
        bucket.delete(["a"])
        assert dict(bucket.requests) == {"put": 2, "get": 2, "head": 1, "list": 1, "delete": 1}
        assert bucket.requests.total() == len(proxy.requests)


FAULTS = {
    "cut": Fault("cut", 100),
    "reset": Fault("reset", 100),
    "stall": Fault("stall", 100),
    "busy": Fault("status", status=503),
    "broken": Fault("status", status=500),
    "unanswered": Fault("cut", -1),
    "unanswered, reset": Fault("reset", -1),
    "unanswered, silent": Fault("stall", -1),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_whatever_befalls_two_answers_of_three_all_is_read_and_written(
    proxy: FaultProxy, url: str, tmp_path: Path, fault: Fault
) -> None:
    proxy.plan = lambda request: fault if request.number % 3 else None
    bucket = impatient(url, proxy.endpoint)
    body = bytes(range(256)) * 40
    etag = bucket.create("a", body)
    assert bucket.get("a") == (body, etag)
    assert bucket.get_range("a", 1, 5000) == body[1:5000]
    path = tmp_path / "up"
    path.write_bytes(body)
    bucket.put_file("b", path)
    bucket.download("b", tmp_path / "down", len(body))
    assert (tmp_path / "down").read_bytes() == body
    second = bucket.replace("a", body + b"2", etag)
    assert bucket.get("a") == (body + b"2", second)
    assert [each.key for each in bucket.list()] == ["a", "b"]


def test_a_download_that_breaks_off_goes_on_where_it_broke(
    proxy: FaultProxy, url: str, server: S3TestServer, tmp_path: Path
) -> None:
    body = bytes(n * 11 % 256 for n in range(1_000_000))
    Bucket(url, server.endpoint).create("a", body)
    proxy.plan = lambda request: Fault("cut", 400_000)
    bucket = impatient(url, proxy.endpoint)
    bucket.download("a", tmp_path / "down", len(body))
    assert (tmp_path / "down").read_bytes() == body
    assert sum(request.sent for request in proxy.gets()) == len(body)


def test_a_write_that_another_made_meanwhile_is_not_taken_for_ones_own(
    proxy: FaultProxy, url: str, server: S3TestServer
) -> None:
    """The answer to ours is lost, and before it is asked again another writer was there."""
    other = Bucket(url, server.endpoint)
    etag = other.create("a", b"first")

    def meddle(request: Request) -> Fault | None:
        if request.number == 0:
            return Fault("cut", -1)
        if request.number == 1:
            other.replace("a", b"of the other", other.get("a")[1])
        return None

    proxy.plan = meddle
    with pytest.raises(ObjectChangedError):
        impatient(url, proxy.endpoint).replace("a", b"mine", etag)
    assert other.get("a")[0] == b"of the other"


def test_a_server_that_never_answers_is_told_in_one_line(proxy: FaultProxy, url: str) -> None:
    proxy.plan = lambda request: Fault("status", status=503)
    with pytest.raises(ObjectStorageError, match=r"^s3://.*: a cannot be had: .*503.*\(3 times\)"):
        impatient(url, proxy.endpoint, attempts=2).get("a")
    assert len(proxy.requests) == 3


def test_what_is_wrong_is_told_by_the_names_of_the_tier(
    server: S3TestServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = "http://127.0.0.1:9"
    with pytest.raises(ObjectStorageError, match=r"cannot be reached.*storage.cache_endpoint"):
        impatient(url, nobody, 0).get("a")
    with pytest.raises(ObjectStorageError, match=r"no bucket.*storage.cache_dir"):
        list(impatient("s3://other-bucket/x", server.endpoint).list())
    with pytest.raises(ObjectStorageError, match=r"storage.cache_dir holds credentials"):
        Bucket("s3://key:secret@bucket", server.endpoint)
    with pytest.raises(ObjectStorageError, match=r"storage.cache_endpoint"):
        Bucket(url, "no url")
    for odd in (f"{url}?version=2", f"{url}#2", "s3://flatfiles/./x", "s3://flatfiles/x/.."):
        # Else it would be the prefix without what follows, of another warehouse perhaps.
        with pytest.raises(ObjectStorageError, match=r"storage.cache_dir has \? or #"):
            Bucket(odd, server.endpoint)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ObjectStorageError, match="refuses the access key"):
        Bucket(url, server.endpoint).get("a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3server.LIST_ONLY_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.LIST_ONLY_SECRET)
    with pytest.raises(ObjectStorageError, match="has no right to this: a"):
        Bucket(url, server.endpoint).create("a", b"x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The vendor's key is for the vendor alone.
    monkeypatch.setenv("POLYGON_S3_ACCESS_KEY", s3server.ACCESS_KEY)
    monkeypatch.setenv("POLYGON_S3_SECRET", s3server.SECRET)
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(ObjectStorageError, match="no credentials"):
        Bucket(url, server.endpoint).get("a")


def test_a_program_signs_in_anew_once_its_credentials_were_refused(
    server: S3TestServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = Tier(url, server.endpoint, 1 << 30, 3600)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the one that was rotated away")
    with pytest.raises(ObjectStorageError, match="refuses the access key"):
        bucket_of(tier).get("a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.SECRET)
    bucket_of(tier).create("a", b"x")
    assert bucket_of(tier) is bucket_of(tier)


def test_a_server_with_conditional_writes_passes_and_nothing_is_left(bucket: Bucket) -> None:
    check_conditional_writes(bucket)
    assert list(bucket.list()) == []
    assert bucket.requests.total() == 5


@pytest.mark.parametrize(
    ("honoured", "told"),
    [
        ((), "If-None-Match: [*] and If-Match"),
        (("if-none-match",), "honour If-Match"),
        (("if-match",), "honour If-None-Match: [*]:"),
    ],
)
def test_a_server_that_takes_no_notice_of_conditions_is_refused(
    honoured: tuple[str, ...], told: str
) -> None:
    there: dict[str, bytes] = {}

    def answer(line: str, head: bytes, body: bytes) -> bytes:
        method, path, _ = line.split(" ")
        if method == "POST":
            return xml("<DeleteResult></DeleteResult>")
        said = dict(re.findall(r"(?m)^([\w-]+): (.*?)\r?$", head.decode().lower()))
        failed = http("412 Precondition Failed", b"<Error><Code>PreconditionFailed</Code></Error>")
        if "if-none-match" in said and "if-none-match" in honoured and path in there:
            return failed
        if "if-match" in said and "if-match" in honoured:
            return failed
        there[path] = body
        return http("200 OK", b"", f'ETag: "{hashlib.md5(body).hexdigest()}"')

    with OddServer(takes=answer) as odd, pytest.raises(ObjectStorageError, match=told):
        check_conditional_writes(impatient("s3://b/x", odd.endpoint))


def test_a_list_without_end_and_an_object_too_large_are_refused() -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"

    def answer(line: str) -> object:
        if "list-type" in line:
            return xml(listing([("x/a", 1, "e")], more))
        return [b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 99999999999\r\n\r\n']

    with OddServer(answers=answer) as odd:
        bucket = impatient("s3://b/x", odd.endpoint)
        with pytest.raises(ObjectStorageError, match="does not end"):
            list(bucket.list())
        with pytest.raises(ObjectStorageError, match="99,999,999,999 bytes"):
            bucket.get("a")
