"""What has come of a file is taken up again, and its ETag told, whoever cut it and however."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.source.etag_check import EtagCheck, likely_part_sizes
from warehouse.source.partfile import PartFile, part_of, state_of

MIB, MB = 1 << 20, 1_000_000


# --- what has come


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 3_000),
    first_cut=st.integers(1, 1_000),
    second_cut=st.integers(1, 1_000),
    chance=st.randoms(use_true_random=False),
)
def test_what_was_safe_is_taken_up_again_however_the_rest_is_cut(
    size: int, first_cut: int, second_cut: int, chance: random.Random
) -> None:
    body = chance.randbytes(size)
    with TemporaryDirectory() as folder:
        target = Path(folder, "file.csv.gz")
        part = PartFile(target, "v1", size, lambda at, rest: first_cut)
        for index in part.missing():
            start, end = part.at(index), part.end(index)
            part.write(index, body[start : start + chance.randrange(end - start + 1)])
        part.save()
        received = part.received
        part.close()

        part = PartFile(target, "v1", size, lambda at, rest: second_cut)
        assert part.received == received
        for index in part.missing():
            assert part.end(index) - part.at(index) <= second_cut
            part.write(index, body[part.at(index) : part.end(index)])
        assert (part.received, part.missing()) == (size, [])
        part.finish()
        part.close()
        assert target.read_bytes() == body
        assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_of_another_version_nothing_is_taken_up(tmp_path: Path) -> None:
    target = tmp_path / "file.csv.gz"
    part = PartFile(target, "v1", 10, lambda at, rest: 5)
    part.write(0, b"01234")
    part.save()
    part.close()
    assert json.loads(state_of(target).read_text())["received"] == [[0, 5]]
    part = PartFile(target, "v2", 10, lambda at, rest: 5)
    assert part.received == 0
    assert part_of(target).stat().st_size == 0
    part.close()


def test_who_waits_for_bytes_gets_them_when_they_are_here_or_hears_that_none_will_come(
    tmp_path: Path,
) -> None:
    part = PartFile(tmp_path / "file.csv.gz", "v1", 10, lambda at, rest: 6)
    broken = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(part.wait, 0, 4, broken.is_set)
        part.write(0, b"012")
        part.write(1, b"6789")
        assert not waiting.done()
        part.write(0, b"345")
        # As many as were asked for, and never beyond the chunk, whose neighbour has its own fate.
        assert waiting.result(5) == 4
        assert part.wait(4, 100, broken.is_set) == 2
        assert part.wait(6, 100, broken.is_set) == 4
        assert part.wait(10, 100, broken.is_set) == 0
    part.close()

    part = PartFile(tmp_path / "other.csv.gz", "v1", 10, lambda at, rest: 6)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(part.wait, 0, 4, broken.is_set)
        part.write(0, b"012")
        broken.set()
        part.wake()
        assert waiting.result(5) == 3
    part.close()


# --- what an ETag says


def etag_of(body: bytes, part_size: int) -> str:
    """As S3 makes that of an object uploaded in parts."""
    parts = [hashlib.md5(body[at : at + part_size]) for at in range(0, len(body), part_size)]
    parts = parts or [hashlib.md5()]
    return f"{hashlib.md5(b''.join(each.digest() for each in parts)).hexdigest()}-{len(parts)}"


def says(body: bytes, etag: str, part_size: int | None = None) -> bool | None:
    check = EtagCheck(etag, len(body), part_size)
    check.update(memoryview(body))
    return check.matches()


@pytest.mark.parametrize(
    "part_size", [5 * MIB, 6 * MIB, 7 * MIB, 8 * MIB, 15 * MIB, 16 * MIB, 5 * MB, 10 * MB]
)
def test_parts_of_a_size_that_nobody_tells_are_found_and_vouch_for_the_bytes(
    part_size: int,
) -> None:
    body = random.Random(1).randbytes(33 * MB)
    etag = etag_of(body, part_size)
    assert says(body, etag) is True
    # A size that was only guessed cannot tell damage from a wrong guess; the gzip's CRC can.
    assert says(body[:-1] + b"?", etag) is None
    assert says(body[:-1] + b"?", etag, part_size) is False


@pytest.mark.parametrize(
    "body", [b"", b"x", gzip.compress(b"a" * 1000, mtime=0)], ids=["nothing", "a byte", "a gzip"]
)
def test_one_part_is_sure_whatever_its_size(body: bytes) -> None:
    etag = etag_of(body, 5 * MIB)
    assert etag.endswith("-1")
    assert says(body, etag) is True
    assert says(body + b"?", etag) is False


def test_parts_of_a_size_that_does_not_make_so_many_are_not_believed() -> None:
    body = random.Random(2).randbytes(12 * MB)
    assert says(body, etag_of(body, 5 * MIB), 8 * MIB) is True


@given(size=st.integers(0, 1 << 40), parts=st.integers(1, 10_000))
def test_only_sizes_that_make_so_many_parts_are_tried_and_few(size: int, parts: int) -> None:
    found = likely_part_sizes(size, parts)
    assert len(found) == len(set(found)) <= 4
    assert all(max(1, -(-size // each)) == parts for each in found)


@given(st.integers(1, 10_000), st.integers(5, 512), st.sampled_from([MIB, MB]))
def test_of_many_parts_every_whole_size_is_found(parts: int, units: int, unit: int) -> None:
    size = units * unit * parts
    if parts > units:
        assert units * unit in likely_part_sizes(size, parts)


def test_an_etag_in_capitals_is_compared_as_one_in_small_letters_is() -> None:
    body = random.Random(1).randbytes(6 * MB)
    for etag in (hashlib.md5(body).hexdigest(), etag_of(body, 5 * MIB)):
        assert says(body, etag.upper(), 5 * MIB) is True
        assert says(body[::-1], etag.upper(), 5 * MIB) is False
