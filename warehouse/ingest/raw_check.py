"""A raw file against what is recorded of it: what is wrong with it, or None where all is right."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

from warehouse.core.small_files import plain
from warehouse.source.etag_check import EtagCheck, check, read_into
from warehouse.source.file_identity import Stamp
from warehouse.store.catalog import SourceFile


def problem(path: Path, record: SourceFile | None) -> str | None:
    """What is wrong with a raw file.

    One that was ingested must have the bytes that were. Of one that waits to be, the size, the
    ETag and the gzip's CRC are what there is to go by; of one nobody has a record of, the CRC.
    """
    try:
        with io.FileIO(plain(path)) as file:
            size = os.fstat(file.fileno()).st_size
            if record is not None and record.bytes is not None and size != record.bytes:
                return f"{size:,} bytes, {record.bytes:,} came"
            if record is not None and record.sha256 is not None:
                if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
                    return "its bytes are not those that were ingested (SHA-256)"
                return None
            return _unread(file, size, record)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def is_recorded(path: Path, record: SourceFile) -> bool:
    """Whether the path names the very file that the record speaks of; nothing is read.

    Records of an earlier version know no inode.
    """
    try:
        stamp = Stamp.of(path.stat())
    except OSError:
        return False
    return (
        record.raw_inode in (None, stamp.inode)
        and record.raw_modified_ns == stamp.modified_ns
        and record.bytes == stamp.bytes
    )


def restamped(path: Path, record: SourceFile) -> SourceFile | None:
    """The record with the stamp of the file at `path`, where that has the bytes of the record.

    Copied files have other stamps and the same bytes; a hash tells. None: other bytes, or none.
    """
    if record.sha256 is None:
        return None
    try:
        with io.FileIO(plain(path)) as file:
            stamp = Stamp.of(os.fstat(file.fileno()))
            if stamp.bytes != record.bytes:
                return None
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
            if not is_same or Stamp.of(os.fstat(file.fileno())) != stamp:
                return None
    except OSError:
        return None
    return replace(record, raw_modified_ns=stamp.modified_ns, raw_inode=stamp.inode)


def as_it_came(path: Path, record: SourceFile) -> SourceFile | None:
    """The record, with the stamp of now, where the raw file is the one that came, or is gone.

    None: other bytes stand in its place, as after a backup of the raw tier was put back.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return record
    if record.bytes is not None and size != record.bytes:
        return None
    # What cannot be read is told elsewhere.
    if record.sha256 is None or is_recorded(path, record) or not os.access(path, os.R_OK):
        return record
    return restamped(path, record)


def no_md5(record: SourceFile) -> bool:
    """Whether the file's ETag says nothing of its bytes, as was seen when it came."""
    return record.vouched_by in ("gzip", "repeat")


def _unread(file: io.FileIO, size: int, record: SourceFile | None) -> str | None:
    etag = record.etag if record is not None and not no_md5(record) else None
    verdict = check(read_into(file), EtagCheck(etag or "", size))
    if verdict.problem is not None:
        return verdict.problem
    return "its bytes are not those that the source has (ETag)" if verdict.same is False else None
