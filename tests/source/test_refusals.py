"""What a disk or a folder refuses keeps the files that go there, and no others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from building import small_disk

from warehouse.errors import StorageError
from warehouse.source.partfile import part_of, storage_error
from warehouse.source.refusals import Refusals


def refused(target: Path, number: int, place: Path | None = None) -> StorageError:
    cause = OSError(number, os.strerror(number), str(place or target))
    error = storage_error(target, cause)
    error.__cause__ = cause
    return error


def test_each_disk_has_to_have_room_for_what_goes_to_it_alone(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 2):
        here, there = tmp_path / "here/2024", tmp_path / "small/2024"
        refusals = Refusals()
        refusals.add_short([(here / "a", 4 << 20), (there / "b", 1 << 20)])
        assert refusals.error() is None

        refusals.add_short([(here / "a", 4 << 20), (there / "b", 4 << 20)])
        error = refusals.error()
        assert error is not None
        assert error.path == tmp_path / "small"
        assert "4,194,304 bytes are to be fetched and 2,097,152 are free; make room" in str(error)
        assert (refusals.keep(there / "b"), refusals.keep(here / "a")) == (True, False)


def test_what_came_of_a_file_takes_no_room_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 2):
        target = tmp_path / "small/b"
        part_of(target).write_bytes(bytes(1 << 20))
        refusals = Refusals()
        refusals.add_short([(target, 2 << 20)])
        assert refusals.error() is None


def test_a_full_disk_keeps_all_that_goes_there_and_a_refused_folder_its_own_alone(
    tmp_path: Path,
) -> None:
    for name in ("2024", "2025"):
        (tmp_path / name).mkdir()
    target, other, new = (tmp_path / name / "a" for name in ("2024", "2025", "2026"))
    refusals = Refusals()
    refusals.add(target, refused(target, errno.EACCES))
    assert [refusals.keep(path) for path in (target, other, new)] == [True, False, False]
    refusals.add(target, refused(target, errno.ENOSPC))
    assert [refusals.keep(path) for path in (target, other, new)] == [True, True, True]


def test_a_data_types_folder_that_refuses_keeps_no_other_type_that_has_none_yet(
    tmp_path: Path,
) -> None:
    refusals = Refusals()
    trades, quotes = tmp_path / "trades/2024/01/a", tmp_path / "quotes/2024/01/a"
    refusals.add(trades, refused(trades, errno.EACCES, tmp_path / "trades"))
    later = tmp_path / "trades/2025/06/a"
    assert [refusals.keep(path) for path in (trades, later, quotes)] == [True, True, False]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_all_places_that_refused_are_told_in_one_line(count: int, tmp_path: Path) -> None:
    refusals = Refusals()
    for number in range(count):
        (tmp_path / f"{number}").mkdir()
        for name in ("a", "b"):
            target = tmp_path / f"{number}" / name
            refusals.add(target, refused(target, errno.EACCES))
    told = str(refusals.error())
    for number in range(min(count, 3)):
        assert f"{tmp_path}/{number}/a: cannot be written: Permission denied" in told
    assert told.count("Permission denied") == min(count, 3)
    assert ("; and 6 places more" in told) == (count == 9)
