"""Bytes of an object that are here are right, whoever fetched them, and whatever happened since."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from building import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from objects.elsewhere import ROWS, SESSIONS
from synthetic_partitions import rows_of

from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import ObjectStorageError
from warehouse.objects.partial_object import PartialObject, kept_in, remove
from warehouse.objects.range_reader import places_in
from warehouse.objects.ranges import Range, cut, joined, missing
from warehouse.source.partfile import part_of, state_of
from warehouse.store.partitions import SessionSource, write_partition

SIZE = 5_000_000


class Shelf:
    """Objects in memory, and what of them was asked for."""

    url = "s3://shelf"

    def __init__(self, **objects: bytes) -> None:
        self.objects, self.asked = objects, list[Range]()

    def get_range(self, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        self.asked.append((start, end))
        return self.objects[key][start:end]


def opened(shelf: Shelf, folder: Path, body: bytes) -> PartialObject:
    sha256 = hashlib.sha256(body).hexdigest()
    return PartialObject(lambda: shelf, "one", len(body), sha256, folder / "one")


# --- ranges

some_ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def members(ranges: list[Range]) -> set[int]:
    return {place for start, end in ranges for place in range(start, end)}


@given(wanted=some_ranges, held=some_ranges, gap=st.integers(0, 9), most=st.integers(1, 20))
def test_what_is_asked_for_is_what_is_missing(
    wanted: list[Range], held: list[Range], gap: int, most: int
) -> None:
    there = joined(held)
    assert members(there) == members(held)
    assert all(one[1] < other[0] for one, other in pairwise(there))
    due = missing(wanted, there)
    assert members(due) == members(wanted) - members(held)
    nearer = joined(due, gap)
    assert members(nearer) >= members(due)
    assert all(other[0] - one[1] > gap for one, other in pairwise(nearer))
    # What is fetched along lies between.
    assert len(members(nearer)) <= len(members(due)) + gap * max(len(due) - 1, 0)
    parts = cut(nearer, most)
    assert members(parts) == members(nearer)
    assert sum(end - start for start, end in parts) == len(members(nearer))
    assert all(0 < end - start <= most for start, end in parts)


# --- what is here


@pytest.mark.parametrize("seed", range(6))
def test_reads_are_the_objects_bytes_and_come_once(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    body = dice.randbytes(SIZE)
    shelf = Shelf(one=body)
    file = opened(shelf, tmp_path, body)
    for _ in range(12):
        start, count = dice.randrange(SIZE), dice.randrange(1, 300_000)
        for _ in range(2):
            assert file.read_at(start, count) == body[start : start + count]
            if seed % 2:
                file.close()
                file = opened(shelf, tmp_path, body)
        assert sum(end - begin for begin, end in shelf.asked) <= count
        shelf.asked.clear()
    file.bring([(0, SIZE)])
    assert file.is_whole
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert (tmp_path / "one").read_bytes() == body


def test_a_file_that_became_whole_is_asked_for_no_more(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(100_000)
    shelf = Shelf(one=body)
    first, other = opened(shelf, tmp_path, body), opened(shelf, tmp_path, body)
    first.bring([(0, len(body))])
    # The other one looked before.
    assert other.read_at(50, 10) == body[50:60]
    shelf.asked.clear()
    third = opened(shelf, tmp_path, body)
    assert third.read() == body
    assert shelf.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_is_whole_and_something_else_is_told_and_not_kept(tmp_path: Path) -> None:
    body = random.Random(2).randbytes(100_000)
    wrong = bytes([body[0] ^ 1]) + body[1:]
    file = opened(Shelf(one=wrong), tmp_path, body)
    with pytest.raises(ObjectStorageError, match="ask again"):
        file.bring([(0, len(body))])
    assert not (tmp_path / "one").exists()
    again = opened(Shelf(one=body), tmp_path, body)
    assert again.read() == body


def test_too_few_bytes_are_not_taken(tmp_path: Path) -> None:
    body = random.Random(3).randbytes(100_000)
    file = opened(Shelf(one=body[:60_000]), tmp_path, body)
    assert file.read_at(10, 20) == body[10:30]
    with pytest.raises(ObjectStorageError, match="came where"):
        file.read_at(50_000, 20_000)


@pytest.mark.parametrize("harm", ["state", "part", "shorter", "other version", "no json"])
def test_no_hole_is_read_whatever_became_of_the_files(tmp_path: Path, harm: str) -> None:
    body = random.Random(4).randbytes(3_000_000)
    shelf = Shelf(one=body)
    file = opened(shelf, tmp_path, body)
    file.bring([(0, 10), (2_500_000, 2_600_000)])
    file.close()
    part, state = part_of(tmp_path / "one"), state_of(tmp_path / "one")
    if harm == "state":
        state.unlink()
    elif harm == "part":
        part.unlink()
    elif harm == "shorter":
        os.truncate(part, 2_550_000)
    elif harm == "other version":
        state.write_text(json.dumps({**json.loads(state.read_text()), "etag": "another"}))
    else:
        state.write_text("{")
    file = opened(shelf, tmp_path, body)
    assert file.held == []
    assert file.read_at(2_500_000, 100_000) == body[2_500_000:2_600_000]


def test_making_room_takes_nothing_from_who_reads(tmp_path: Path) -> None:
    body = random.Random(5).randbytes(3_000_000)
    shelf = Shelf(one=body)
    file = opened(shelf, tmp_path / "a", body)
    file.bring([(0, 1_000), (2_500_000, 2_600_000)])
    ((_, size, path),) = kept_in(tmp_path)
    # What is sparse takes little.
    assert 100_000 <= size < 200_000
    remove(path)
    assert list((tmp_path / "a").iterdir()) == []
    shelf.asked.clear()
    assert file.read_at(2_500_000, 50_000) == body[2_500_000:2_550_000]
    assert shelf.asked == []
    # Something that is missing comes into a new one, and so does all else from then on.
    assert file.read_at(1_500_000, 10) == body[1_500_000:1_500_010]
    assert file.read_at(2_500_000, 50_000) == body[2_500_000:2_550_000]
    assert len(shelf.asked) == 2


def test_what_is_damaged_is_forgotten_and_comes_again(tmp_path: Path) -> None:
    body = random.Random(6).randbytes(3_000_000)
    file = opened(Shelf(one=body), tmp_path, body)
    file.bring([(0, 1_000)])
    with open(part_of(tmp_path / "one"), "r+b") as raw:
        raw.write(b"damage")
    assert file.read_at(0, 6) == b"damage"
    file.discard()
    assert file.read_at(0, 6) == body[:6]


# --- several processes

READER = """
import hashlib, random, sys, time
from pathlib import Path
from warehouse.objects.partial_object import PartialObject

source, folder, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
body = source.read_bytes()

class Shelf:
    url = "s3://shelf"
    def get_range(self, key, start, end, etag=None):
        time.sleep(0.001)
        return body[start:end]

shelf, dice = Shelf(), random.Random(seed)
sha256 = hashlib.sha256(body).hexdigest()
print("begun", flush=True)
for _ in range(60):
    file = PartialObject(lambda: shelf, "one", len(body), sha256, folder / "one")
    for _ in range(3):
        start, count = dice.randrange(len(body)), dice.randrange(1, 40_000)
        assert file.read_at(start, count) == body[start:start + count], (start, count)
    if dice.random() < 0.05:
        file.discard()
    file.close()
print("done", flush=True)
"""


def reader(tmp_path: Path, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", READER, str(tmp_path / "source"), str(tmp_path / "here")]
    return subprocess.Popen(
        [*command, str(seed)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_read_one_object_and_what_they_bring_is_right(tmp_path: Path) -> None:
    """Each now and then throws away what both have."""
    body = random.Random(7).randbytes(3_000_000)
    (tmp_path / "source").write_bytes(body)
    both = [reader(tmp_path, seed) for seed in (1, 2)]
    for each in both:
        told, _ = each.communicate(timeout=120)
        assert told == "begun\ndone\n", told
    file = opened(Shelf(one=body), tmp_path / "here", body)
    assert file.read() == body


def test_what_a_killed_process_left_is_right(tmp_path: Path) -> None:
    body = random.Random(8).randbytes(3_000_000)
    (tmp_path / "source").write_bytes(body)
    dice = random.Random(8)
    for seed in range(4):
        process = reader(tmp_path, seed)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        shelf = Shelf(one=body)
        file = opened(shelf, tmp_path / "here", body)
        for start, end in file.held:
            assert file.read_at(start, end - start) == body[start:end]
        assert shelf.asked == []
        file.close()


# --- where row groups stand


@pytest.fixture(scope="module", params=["symbol", "market"])
def partition(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partition with several row groups."""
    path = tmp_path_factory.mktemp("partition") / "one.parquet"
    symbols = ["SPY"] if request.param == "symbol" else ["SPY", "S01", "S02"]
    tape = [rows_of("trades", symbol, SESSIONS[:3], ROWS["SPY"], seed=1) for symbol in symbols]
    sources = tuple(
        SessionSource(day, ROWS["SPY"] * len(symbols), 0, "made", None, "0" * 64)
        for day in SESSIONS[:3]
    )
    month = SESSIONS[0].replace(day=1)
    symbol = "SPY" if request.param == "symbol" else ""
    write_partition(str(path), DATA_TYPES["trades"], tape, symbol, month, sources, "made")
    return path


def test_row_groups_stand_where_pyarrow_says(partition: Path, tmp_path: Path) -> None:
    body = partition.read_bytes()
    found = places_in(opened(Shelf(one=body), tmp_path, body))
    assert found is not None
    metadata = pq.read_metadata(partition)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert len(groups) > 2
    firsts = [
        min(
            place
            for column in range(metadata.num_columns)
            for place in (
                group.column(column).dictionary_page_offset,
                group.column(column).data_page_offset,
            )
            if place
        )
        for group in groups
    ]
    assert found.starts[1:-1] == firsts[1:]
    assert found.rows == [
        0,
        *(sum(g.num_rows for g in groups[: n + 1]) for n in range(len(groups))),
    ]
    assert found.starts[-1] == len(body) - 8 - metadata.serialized_size


def test_a_footer_with_a_flipped_bit_is_right_or_not_believed(
    partition: Path, tmp_path: Path
) -> None:
    """And never ends the process."""
    body = partition.read_bytes()
    due = places_in(opened(Shelf(one=body), tmp_path / "due", body))
    (length,) = struct.unpack("<I", body[-8:-4])
    dice = random.Random(9)
    disbelieved = 0
    for number in range(150):
        flipped = bytearray(body)
        place = len(body) - 8 - dice.randrange(length + 1) + dice.randrange(8)
        flipped[place] ^= 1 << dice.randrange(8)
        shelf = Shelf(one=bytes(flipped))
        file = opened(shelf, tmp_path / str(number), bytes(flipped))
        found = places_in(file)
        assert found in (None, due)
        disbelieved += found is None
        file.close()
    assert 0 < disbelieved < 150
