"""The files that `verify` looks at, each with what is recorded of it: here, or group by group on a
cluster.

What a worker finds wrong is looked at again here, before it is said: a worker's mount may be at
fault, or may remember what has been replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from warehouse.core.paths import Layout, PartitionKey, RawFile
from warehouse.core.process import Threads
from warehouse.executors.engine import Engine
from warehouse.executors.work import Share, Unit, results
from warehouse.ingest import raw_check
from warehouse.maintenance import file_checks
from warehouse.source.partfile import superseded
from warehouse.store import data_folder_id
from warehouse.store.catalog import SourceFile
from warehouse.store.partitions import Partition

_UNIT_BYTES = 256 << 20
_UNIT_FILES = 1_000

Looked: TypeAlias = tuple[str | None, int | None]
"""What is wrong, None: nothing; and the bytes that were read, None: there is no file."""


@dataclass(frozen=True)
class Check:
    """A file that is to be looked at.

    Attributes:
        subject: which raw file, or partition, it is about.
        record: what is recorded of it.
    """

    kind: Literal["partition", "raw", "rejects"]
    path: Path
    subject: RawFile | PartitionKey
    record: Partition | SourceFile | None

    @property
    def bytes(self) -> int:
        """About so many are to be read."""
        return (self.record.bytes or 0) if self.record is not None else 0

    def look(self) -> Looked:
        """Read the file to its end."""
        if isinstance(self.record, Partition):
            return file_checks.partition(self.path, self.record), self.record.bytes
        if self.kind == "rejects" and self.record is not None:
            problem = file_checks.rejects(self.path, self.record)
            return problem, 0 if os.path.exists(self.path) else None
        return raw_problem(self.path, self.record), _size(self.path)


@dataclass(frozen=True)
class OnWorker:
    """Files that are looked at in another process, on another machine perhaps."""

    layout: Layout
    folder_id: str
    checks: Sequence[Check]

    def __call__(self, share: Share) -> list[Looked]:
        data_folder_id.check_shared(self.layout, self.folder_id)
        with Threads(share.threads, thread_name_prefix="verify") as threads:
            return list(threads.map(Check.look, self.checks))


def looked_at(
    checks: Iterable[Sequence[Check]], size: int, layout: Layout, engine: Engine, threads: int
) -> Iterator[tuple[Check, Looked]]:
    """Each check and what came of it.

    Args:
        checks: of a month each; no more of them are taken than there is work to hand out.
        size: about so many bytes are to be read, all in all. Few are read here.

    Raises:
        EngineError: the engine cannot begin, or a worker cannot do what it is asked.
    """
    folder_id = data_folder_id.id_of(layout)
    if engine.is_here or folder_id is None or size <= _UNIT_BYTES:
        for some in checks:
            with Threads(threads, thread_name_prefix="verify") as pool:
                yield from zip(some, pool.map(Check.look, some), strict=True)
        return
    begun: dict[int, Sequence[Check]] = {}

    def units() -> Iterator[Unit[list[Looked]]]:
        for number, group in enumerate(_groups(checks)):
            begun[number] = group
            yield OnWorker(layout, folder_id, group)

    with engine.executor() as executor:
        for number, found in results(executor, units()):
            for check, looked in zip(begun.pop(number), found, strict=True):
                yield check, looked if looked[0] is None else check.look()


def _groups(checks: Iterable[Sequence[Check]]) -> Iterator[list[Check]]:
    group: list[Check] = []
    size = 0
    for check in (one for some in checks for one in some):
        if group and (size + check.bytes > _UNIT_BYTES or len(group) == _UNIT_FILES):
            yield group
            group, size = [], 0
        group.append(check)
        size += check.bytes
    if group:
        yield group


def raw_problem(path: Path, record: SourceFile | None) -> str | None:
    """What is wrong with the raw file that is at `path`, or should be; None: nothing."""
    if record is None or not record.state.is_here:
        return raw_check.problem(path, None)
    problem = raw_check.problem(path, record)
    if problem is not None and os.path.exists(superseded(path)):
        # A later version has come, of which there is no record yet.
        return raw_check.problem(path, None)
    return problem


def _size(path: Path) -> int:
    """Bytes of a file; 0 where it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
