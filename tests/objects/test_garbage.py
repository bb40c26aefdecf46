"""What was replaced in a bucket goes once nobody reads it, and what anybody reads stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from building import SESSION, Made
from objects.machines import a_day, machine
from s3server import S3TestServer

from warehouse.api import Warehouse
from warehouse.errors import LeaseLostError, LockedError, ObjectStorageError
from warehouse.maintenance.prune import PruneReport, prune
from warehouse.objects import lease
from warehouse.objects.bucket import PROBES, Bucket, bucket_of
from warehouse.objects.generation import (
    CURRENT,
    GENERATIONS,
    OBJECTS,
    contents,
    current,
    key_of,
)
from warehouse.store.tier import garbage
from warehouse.store.tier.writing import writing

SQL = "select count(*), sum(sequence_number) from trades"


def pruned(made: Made, hours: float, *, dry_run: bool = False) -> PruneReport:
    """`warehouse prune`, so many hours from now."""
    now = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=hours)
    made.configure(storage__retention_days=36500)
    return prune(made.layout, made.config, dry_run=dry_run, now=now)


def keys(made: Made, prefix: str = "") -> set[str]:
    tier = made.layout.tier
    assert tier is not None
    return {one.key for one in bucket_of(tier).list(prefix)}


@pytest.fixture
def made(tmp_path: Path, url: str, server: S3TestServer) -> Made:
    """A machine that has published three versions of one day."""
    made = machine(tmp_path / "first", url, server.endpoint, storage__keep_replaced_hours=2)
    for version in range(3):
        a_day(made, SESSION, rows=100 + version, seed=version)
        made.update()
    return made


def test_what_was_replaced_stays_for_so_many_hours_and_then_goes(
    made: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    reader = machine(tmp_path / "reader", url, server.endpoint, storage__keep_replaced_hours=2)
    before = keys(made)
    assert pruned(made, 1.5, dry_run=True).replaced == 0
    assert pruned(made, 1.5).replaced == 0
    assert keys(made) >= before
    told = pruned(made, 3, dry_run=True)
    assert told.replaced
    assert keys(made) >= before
    report = pruned(made, 3)
    assert report.replaced is not None
    assert report.replaced >= told.replaced
    after = keys(made)
    tier = made.layout.tier
    assert tier is not None
    newest = current(bucket_of(tier))
    assert newest is not None
    assert {key for key in after if key.startswith(GENERATIONS)} == {newest.key}
    named = {one.key for one in contents(made.layout, bucket_of(tier), newest.key).values()}
    named |= {key_of(digest) for digest in made.digests().values()}
    assert {key for key in after if key.startswith(OBJECTS)} == named
    with Warehouse(reader.root) as wh, Warehouse(made.root) as own:
        assert wh.query(SQL).equals(own.query(SQL))
    assert reader.verify().faults == made.verify().faults == []
    assert pruned(made, 3).replaced == 0


def test_a_reader_of_an_older_generation_finds_its_objects(
    made: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    reader = machine(tmp_path / "reader", url, server.endpoint, storage__keep_replaced_hours=2)
    with Warehouse(made.root) as own, Warehouse(reader.root) as wh:
        due = own.query(SQL)
        a_day(made, SESSION, rows=200, seed=9)
        made.update()
        pruned(made, 1.5)
        assert wh.query(SQL).equals(due)


def test_what_a_killed_writer_left_goes_too_and_nothing_that_is_new(made: Made) -> None:
    tier = made.layout.tier
    assert tier is not None
    bucket = bucket_of(tier)
    orphan = f"{OBJECTS}{'ab' * 32}"
    bucket.create(orphan, b"never named")
    probe = f"{PROBES}{'cd' * 16}"
    bucket.create(probe, b"x")
    pruned(made, 1.5)
    assert {orphan, probe} <= keys(made)
    pruned(made, 3)
    assert not {orphan, probe} & keys(made)
    assert made.verify().faults == []


def test_what_no_writer_has_made_stays_whatever_folder_it_is_in(made: Made) -> None:
    tier = made.layout.tier
    assert tier is not None
    others = {"objects/thesis.pdf", f"objects/{'a' * 64}.bak", "generations/x.json", "probe/notes"}
    for key in others:
        bucket_of(tier).create(key, b"mine")
    assert pruned(made, 48).replaced
    assert keys(made) >= others


def test_nothing_is_collected_while_another_writes_or_where_nothing_can_be_read(
    made: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    other = machine(tmp_path / "other", url, server.endpoint)
    before = keys(made, OBJECTS)
    with writing(other.layout, other.pipeline.writer.sql), pytest.raises(LockedError):
        pruned(made, 3)
    tier = made.layout.tier
    assert tier is not None
    bucket = bucket_of(tier)
    content, etag = bucket.get(CURRENT)
    bucket.replace(CURRENT, b"{}", etag)
    with pytest.raises(ObjectStorageError, match="not what a warehouse writes"):
        garbage.collect(made.layout, None, now=datetime.now(UTC) + timedelta(hours=3))
    assert keys(made, OBJECTS) >= before
    assert content


def test_who_has_lost_the_lease_removes_nothing(made: Made, url: str, server: S3TestServer) -> None:
    """Another may have published a content again that was garbage when this one looked."""
    bucket = Bucket(url, server.endpoint)
    orphan = f"{OBJECTS}{'ab' * 32}"
    bucket.create(orphan, b"garbage by now")
    before = keys(made)
    with writing(made.layout, made.pipeline.writer.sql) as committer:
        content, etag = bucket.get(lease.KEY)
        bucket.replace(lease.KEY, content + b" ", etag)
        with pytest.raises(LeaseLostError, match="taken over"):
            garbage.collect(
                made.layout, committer.prove, now=datetime.now(UTC) + timedelta(hours=3)
            )
    assert keys(made) >= before


def test_where_a_manifest_is_damaged_nothing_that_it_may_have_named_is_removed(
    made: Made, url: str, server: S3TestServer
) -> None:
    bucket = Bucket(url, server.endpoint)
    newest = current(bucket)
    assert newest is not None
    name = min(
        path for path in contents(made.layout, bucket, newest.key) if path.startswith("manifests/")
    )
    key = contents(made.layout, bucket, newest.key)[name].key
    content, etag = bucket.get(key)
    bucket.replace(key, content[:-1] + b"?", etag)
    (made.layout.data / name).unlink()
    before = keys(made)
    with pytest.raises(ObjectStorageError, match="nothing is removed"):
        garbage.collect(made.layout, pytest.fail, now=datetime.now(UTC) + timedelta(hours=3))
    assert keys(made) == before
