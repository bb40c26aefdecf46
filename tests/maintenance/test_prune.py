"""Raw files are removed when they are old, published and unchanged; their rows stay."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from building import (
    SESSION,
    Made,
    day_key,
    instant,
    make,
    read_only_mount,
    small_disk,
    trade,
)
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.core.paths import Layout, RawFile
from warehouse.errors import LockedError, StorageError
from warehouse.maintenance.prune import prune
from warehouse.source.partfile import superseded
from warehouse.store.publishing.publish import Committer, writer_lock

EARLIER, NEXT = SESSION - timedelta(days=1), SESSION + timedelta(days=1)
NOW = datetime.now(UTC).replace(tzinfo=None)
LATER = NOW + timedelta(days=31)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Two sessions, published."""
    found = make(
        tmp_path,
        {
            day_key("trades", day): [trade("AAPL", instant(day, nanoseconds=n)) for n in range(3)]
            for day in (EARLIER, SESSION)
        },
        storage__retention_days=30,
    )
    report = found.update("trades", start=EARLIER, end=SESSION)
    assert len(report.files) == 2
    return found


def raw(layout: Layout) -> list[RawFile]:
    return layout.raw_files()


@contextmanager
def unread(path: Path) -> Iterator[None]:
    """The disk does not read this file."""

    def refused(file: BinaryIO, digest: str) -> Any:
        if Path(file.name) == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest_of(file, digest)

    digest_of = hashlib.file_digest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "file_digest", refused)
        yield


def test_what_is_past_its_retention_goes_and_its_rows_stay(made: Made) -> None:
    layout = made.layout
    digests = made.digests()
    report = prune(layout, made.config, now=LATER)
    assert made.digests() == digests
    assert [file.day for file in report.removed] == [EARLIER, SESSION]
    assert report.bytes > 0
    assert report.kept == []
    assert list(layout.raw.rglob("*")) == []
    # It counts as fetched and published all the same.
    again = made.update("trades", start=EARLIER, end=SESSION)
    assert again.did_nothing


def test_what_is_younger_stays(made: Made) -> None:
    report = prune(made.layout, made.config, now=NOW + timedelta(days=29))
    assert report.removed == report.kept == []
    assert len(raw(made.layout)) == 2


def test_a_dry_run_lists_what_would_go_and_removes_nothing(made: Made) -> None:
    report = prune(made.layout, made.config, dry_run=True, now=LATER)
    assert len(report.removed) == 2
    assert raw(made.layout) == report.removed
    assert prune(made.layout, made.config, now=LATER) == report


def test_what_was_never_published_stays(made: Made) -> None:
    waiting = made.put_raw("trades", EARLIER - timedelta(days=1), [trade("AAPL", instant(EARLIER))])
    report = prune(made.layout, made.config, now=LATER)
    assert len(report.removed) == 2
    assert waiting.exists()


@pytest.mark.parametrize("damage", ["flipped", "longer"])
def test_a_file_whose_bytes_are_not_those_published_stays_and_is_named(
    made: Made, damage: str
) -> None:
    path = made.layout.raw_file(RawFile("trades", SESSION))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content += b"\0"
    path.unlink()
    path.write_bytes(content)
    report = prune(made.layout, made.config, now=LATER)
    assert [file.day for file in report.removed] == [EARLIER]
    ((file, why),) = report.kept
    assert file.day == SESSION
    assert "not " in why
    assert path.read_bytes() == bytes(content)


def test_the_version_that_was_kept_beside_a_file_goes_with_it(made: Made) -> None:
    path = made.layout.raw_file(RawFile("trades", SESSION))
    superseded(path).write_bytes(b"old")
    prune(made.layout, made.config, now=LATER)
    assert not superseded(path).exists()


@pytest.mark.parametrize("step", ["read", "remove"])
def test_a_file_that_cannot_be_pruned_is_named_and_the_others_go(step: str, made: Made) -> None:
    path = made.layout.raw_file(RawFile("trades", EARLIER))
    made.put(day_key("trades", NEXT), [trade("AAPL", instant(NEXT))])
    made.update("trades", start=EARLIER, end=NEXT)
    with read_only_mount(path.parent, path.parent) if step == "remove" else unread(path):
        report = prune(made.layout, made.config, now=LATER)
        made.configure(storage__retention_days=0)
        done = CliRunner().invoke(cli, ["-C", str(made.root), "prune", "--dry-run"])
        assert done.exit_code == (0 if step == "remove" else 1), done.output
    made.configure(storage__retention_days=30)
    assert made.verify().faults == []

    stay = [EARLIER, SESSION] if step == "remove" else [EARLIER]
    why = "Read-only file system" if step == "remove" else "Input/output error"
    assert [file.day for file, _ in report.kept] == stay
    assert {said for _, said in report.kept} == {f"it cannot be pruned: {why}"}
    assert report.refused == len(stay)
    assert [file.day for file in raw(made.layout)] == stay
    assert made.update("trades", start=EARLIER, end=NEXT).did_nothing
    report = prune(made.layout, made.config, now=LATER)
    assert (len(report.removed), report.refused, raw(made.layout)) == (len(stay), 0, [])
    assert made.verify().faults == []


@pytest.mark.parametrize("left", [0, 12_000, 400_000])
def test_a_full_disk_is_pruned(left: int, tmp_path: Path) -> None:
    disk, source = tmp_path / "disk", tmp_path / "source"
    days = [EARLIER, SESSION]
    with small_disk(disk, 32):
        made = make(disk, source__url=str(source), storage__retention_days=0)
        made.source = source
        for day in days:
            made.put(day_key("trades", day), [trade("AAPL", instant(day))])
            with gzip.open(made.source / day_key("trades", day), "ab", compresslevel=0) as file:
                file.write(b"too,few\n" * 600_000)
        made.update("trades", start=EARLIER, end=SESSION)
        digests = made.digests()
        with open(disk / "filler", "wb", buffering=0) as filler:
            room = os.statvfs(disk)
            filler.write(bytes(room.f_bavail * room.f_frsize - left))
        done = CliRunner().invoke(cli, ["-C", str(made.root), "prune"])
        assert done.exit_code == 0, done.output
        assert raw(made.layout) == []
        assert made.digests() == digests
        assert made.verify().faults == []
        assert made.update("trades", start=EARLIER, end=SESSION).did_nothing


def test_what_is_to_stay_makes_no_room_on_a_full_disk(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is published and changed since, or has a second name, as a local source's file has."""
    path = made.layout.raw_file(RawFile("trades", SESSION))
    path.unlink()
    path.write_bytes(b"another")
    other = made.layout.raw_file(RawFile("trades", EARLIER))
    if other.stat().st_nlink == 1:
        os.link(other, made.root / "second")

    def full(*of: Any, **options: Any) -> None:
        raise StorageError(made.layout.data, f"cannot publish: {os.strerror(errno.ENOSPC)}")

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "commit", full)
        with pytest.raises(StorageError, match="No space left"):
            prune(made.layout, made.config, now=LATER)
    assert path.exists()
    assert other.exists()


def test_a_month_that_cannot_be_looked_at_is_named_and_the_others_go(made: Made) -> None:
    month = made.layout.raw / "trades/2023"
    month.symlink_to("nowhere")
    made.configure(storage__retention_days=0)

    done = CliRunner().invoke(cli, ["-C", str(made.root), "prune", "--json"])

    report = json.loads(done.output)
    assert (done.exit_code, len(report["unread"])) == (1, 1)
    assert report["unread"][0].startswith(f"{month}: ")
    assert report["removed"]
    told = CliRunner().invoke(cli, ["-C", str(made.root), "prune"])
    assert (told.exit_code, f"unread     {month}: " in told.output) == (1, True)
    month.unlink()
    assert CliRunner().invoke(cli, ["-C", str(made.root), "prune"]).exit_code == 0


def test_nothing_is_removed_while_another_process_writes(made: Made) -> None:
    with (
        writer_lock(made.layout),
        pytest.raises(LockedError),
    ):
        prune(made.layout, made.config, now=LATER)
    assert len(raw(made.layout)) == 2


def test_the_log_names_what_was_removed(made: Made) -> None:
    prune(made.layout, made.config, dry_run=True, now=LATER)
    report = prune(made.layout, made.config, now=LATER)
    lines = [json.loads(line) for line in made.layout.log.read_text("utf-8").splitlines()]
    assert [each["file"] for each in lines if each["event"] == "pruned"] == [
        file.key for file in report.removed
    ]
