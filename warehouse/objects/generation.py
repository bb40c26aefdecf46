"""Generations: what the files of the warehouse are, but for its partitions, at one moment.

A generation is an object that names each small file (manifests, ledger, history, rejects, recipes,
reference, the catalog) and its content; the partitions stand in the manifests. Contents are objects
called by their SHA-256, partitions too. `current.json` names the newest generation, and is the one
object that is ever replaced, on the condition that nobody else did.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

from warehouse.core import small_files
from warehouse.core.paths import Layout
from warehouse.errors import ObjectMissingError, ObjectStorageError

if TYPE_CHECKING:
    from warehouse.objects.bucket import Bucket

T = TypeVar("T")

CURRENT, OBJECTS, GENERATIONS = "current.json", "objects/", "generations/"
CATALOG = "warehouse.duckdb"
FORM = 1
"""Of what lies in a bucket. A later one is refused."""

_MOST_CURRENT, _MOST_BYTES, _MOST_INFLATED = 4_096, 64 << 20, 1 << 30
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"generations/(\d{10})-[0-9a-f]{8}\.json\.gz")
_OF_WRITERS = re.compile(rf"objects/[0-9a-f]{{64}}|{_NAME.pattern}|probe/[0-9a-f]{{32}}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}")


class Content(NamedTuple):
    """What a file holds: its SHA-256, in hexadecimal digits, and how many bytes."""

    sha256: str
    size: int

    @property
    def key(self) -> str:
        """The object that has it."""
        return f"{OBJECTS}{self.sha256}"


@dataclass(frozen=True)
class Current:
    """Which generation is the newest.

    Attributes:
        key: of its object.
        number: counts publishes, from 1.
        warehouse: id of the warehouse.
        sha256: of the object.
        etag: of `current.json`, which says all this.
    """

    key: str
    number: int
    warehouse: str
    sha256: str
    etag: str


def key_of(sha256: str) -> str:
    """The object that holds a partition whose SHA-256 the manifest names."""
    return f"{OBJECTS}{sha256}"


def number_of(key: str) -> int | None:
    """The number of the generation of that key; None: it is no key of one."""
    match = _NAME.fullmatch(key)
    return None if match is None else int(match[1])


def is_of_writers(key: str) -> bool:
    """Whether an object is called as writers call those that may be garbage one day."""
    return bool(_OF_WRITERS.fullmatch(key))


def current(bucket: Bucket) -> Current | None:
    """The newest generation, with one request; None: nothing was ever published.

    Raises:
        ObjectStorageError: the bucket cannot be read, or says what no writer of ours would.
    """
    try:
        content, etag = bucket.get(CURRENT, _MOST_CURRENT)
    except ObjectMissingError:
        return None
    try:
        told = small_files.parsed_json(content)
        form = _of(int, told["form"])
        found = Current(
            _of(str, told["generation"]),
            _of(int, told["number"]),
            _of(str, told["warehouse"]),
            _of(str, told["sha256"]),
            etag,
        )
    except (ValueError, TypeError, KeyError):
        raise _odd(bucket, CURRENT) from None
    if form > FORM:
        raise ObjectStorageError(
            bucket.url,
            "was written by a later version; upgrade with:"
            " pip install --upgrade flatfile-warehouse",
        )
    names = number_of(found.key) == found.number and _SHA256.fullmatch(found.sha256)
    if not names or not _ID.fullmatch(found.warehouse):
        raise _odd(bucket, CURRENT)
    return found


def contents(
    layout: Layout, bucket: Bucket, key: str, sha256: str | None = None
) -> dict[str, Content]:
    """What a generation names: contents by path below the data folder.

    Args:
        layout: of the data folder, whose files they may be.
        sha256: of the object; None: it is not known.

    Raises:
        ObjectMissingError: it was removed, being old.
        ObjectStorageError: it is none.
    """
    packed, _ = bucket.get(key, _MOST_BYTES)
    if sha256 is not None and hashlib.sha256(packed).hexdigest() != sha256:
        raise _odd(bucket, key)
    try:
        inflating = zlib.decompressobj(wbits=31)
        text = inflating.decompress(packed, _MOST_INFLATED)
        if inflating.unconsumed_tail:
            raise ValueError
        found = _parsed(layout, small_files.parsed_names(text)["files"])
        if CATALOG not in found:
            raise ValueError
        return found
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error):
        raise _odd(bucket, key) from None


def _parsed(layout: Layout, files: Any) -> dict[str, Content]:
    """Contents as JSON has them; each is of a file that a publish puts into the data folder.

    Raises:
        ValueError, TypeError, AttributeError: they are none.
    """
    found = {}
    for path, (sha256, size) in files.items():
        # It is read, compared and removed by its path: one that leads out is nobody's.
        if path != CATALOG and not layout.is_published(path):
            raise ValueError
        if not _SHA256.fullmatch(sha256) or _of(int, size) < 0:
            raise ValueError
        found[path] = Content(sha256, size)
    return found


def _of(kind: type[T], value: Any) -> T:
    """The value, which is of that very type: true is no number.

    Raises:
        TypeError: it is of another.
    """
    if type(value) is not kind:
        raise TypeError
    return value


def make_visible(
    bucket: Bucket, before: Current | None, warehouse: str, files: dict[str, Content]
) -> Current:
    """Write a generation, and make it the newest, all at once or not at all.

    Args:
        before: the one that it follows; None: it is the first.

    Raises:
        ObjectExistsError, ObjectChangedError: another one follows that, or is the first.
        ObjectStorageError: the bucket cannot be written to.
    """
    number = 1 if before is None else before.number + 1
    key = f"{GENERATIONS}{number:010}-{uuid4().hex[:8]}.json.gz"
    text = json.dumps({"form": FORM, "files": files}, ensure_ascii=False)
    packed = gzip.compress(text.encode(), 6, mtime=0)
    bucket.create(key, packed)
    sha256 = hashlib.sha256(packed).hexdigest()
    told = {
        "form": FORM,
        "generation": key,
        "number": number,
        "warehouse": warehouse,
        "sha256": sha256,
        "published_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    body = json.dumps(told).encode()
    if before is None:
        etag = bucket.create(CURRENT, body)
    else:
        etag = bucket.replace(CURRENT, body, before.etag)
    return Current(key, number, warehouse, sha256, etag)


def _odd(bucket: Bucket, key: str) -> ObjectStorageError:
    return ObjectStorageError(
        bucket.url, f"{key} is not what a warehouse writes; is the prefix one of its own?"
    )


# What of it is here


@dataclass(frozen=True)
class Record:
    """Which generation this machine's folder holds.

    Attributes:
        url: of the bucket.
        etag: of its `current.json`.
        files: contents by path.
        doubtful: paths that a publish has begun to change since, and may have changed.
        number: of the generation; 0: an earlier version did not say.
    """

    url: str
    etag: str
    files: dict[str, Content]
    doubtful: frozenset[str] = field(default_factory=frozenset)
    number: int = 0


def record(layout: Layout) -> Record | None:
    """What is here; None: nobody knows."""
    assert layout.tier is not None
    try:
        text, _ = small_files.read_sidecar(layout.generation, _MOST_INFLATED)
        told = small_files.parsed_names(text)
        found = Record(
            _of(str, told["url"]),
            _of(str, told["etag"]),
            _parsed(layout, told["files"]),
            frozenset(_of(str, path) for path in _of(list, told["doubtful"])),
            _of(int, told.get("number", 0)),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if found.url == layout.tier.url else None


def note(layout: Layout, found: Record | None, doubtful: Iterable[str] = ()) -> None:
    """Say what is here; hold the writer's lock.

    Args:
        found: None: nobody knows any more.
        doubtful: paths that are about to be changed.

    Raises:
        OSError: the disk refuses.
    """
    if found is None:
        layout.generation.unlink(missing_ok=True)
        return
    told = {
        "url": found.url,
        "etag": found.etag,
        "number": found.number,
        "files": found.files,
        "doubtful": sorted(found.doubtful.union(doubtful)),
    }
    draft = layout.generation.with_name(f"{layout.generation.name}.new")
    draft.unlink(missing_ok=True)
    with open(draft, "x", encoding="utf-8", opener=layout.modes.opener) as file:
        json.dump(told, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, layout.generation)
