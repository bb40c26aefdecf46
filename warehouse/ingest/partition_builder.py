"""Merge: what a batch's rows make of the partitions of its month, written to the staging folder.

Merge rule: a new version of a partition = the rows of its present version that are of other files
and of sessions of which nothing comes in + the rows that come in. A file replaces all that it
brought before, and what another file (a symbol's own, or the day's of all symbols) brought of just
the symbols and sessions that it has rows of. So a file ingested twice changes nothing, no file
takes away what it does not bring, and raw files may be pruned. A file that is read again as it was
takes nothing over: who did so last is who brings a session.

Partitions are written while the batch's last file is still being read, as soon as the file has
left a symbol behind: rows need not wait in memory, and no processor waits for the other. What was
written too early (the symbol came back, a line of it was rejected later, the file turned out to be
damaged) is written again at the end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.core.datatypes import DataType
from warehouse.core.paths import Layout, PartitionKey, RawFile, encode_symbol
from warehouse.ingest.incoming_rules import Auditor
from warehouse.ingest.row_store import Gatherer, Slice, Stretch
from warehouse.store.partitions import Partition, SessionSource, read_sessions, write_partition

# ext4 looks for a free inode near the folder's others: where thousands of files lie in one folder,
# and thousands were deleted a minute ago, that takes ten times as long.
_SHELF_FILES = 32
_EARLY_JOBS = 64

_Written = Future[list[tuple[Partition, str]]]


@dataclass(frozen=True)
class Origin:
    """What a partition says of a raw file it has rows of.

    Attributes:
        etag: the source's, where it depends on the content alone.
        rejects: rejected rows by symbol and session.
    """

    file: RawFile
    etag: str | None
    sha256: str
    rejects: Counter[tuple[str, date]]


class _Read:
    """The files of a batch that were read, found without a look at each."""

    def __init__(self, origins: Sequence[Origin]) -> None:
        self.by_file = {origin.file: origin for origin in origins}
        self.keys = frozenset(origin.file.key for origin in origins)


@dataclass(frozen=True)
class _Job:
    """One partition to write: its sessions in order, each from raw or (None) from the old file.

    The slices are those of the moment: more may come to the stretch while they are written.

    Attributes:
        made_by: fingerprint of the partition; what was made by another says so itself.
    """

    symbol: str
    old: Partition | None
    parts: list[tuple[SessionSource, tuple[Slice, ...] | None]]
    made_by: str

    @property
    def sessions(self) -> tuple[SessionSource, ...]:
        return tuple(source for source, _ in self.parts)

    @property
    def changes_nothing(self) -> bool:
        old = self.old
        return old is not None and (old.fingerprint, old.sessions) == (self.made_by, self.sessions)


@dataclass
class Merged:
    """What became of a month's partitions.

    Attributes:
        written: each with its staged file.
        removed: partitions that have no rows any more.
        unchanged: partitions whose rows were read again and come from the same file and the same
            SQL as before.
        passed_over: rows of files of the batch, by key, that another file brings too.
        brought: rows of files of the batch, by key, that were written, or are there already.
    """

    written: list[tuple[Partition, str]] = field(default_factory=list)
    removed: list[PartitionKey] = field(default_factory=list)
    unchanged: list[Partition] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    brought: Counter[str] = field(default_factory=Counter)


class Merger:
    """Writes the partitions of one data type and month.

    Args:
        gatherer: holds the batch's rows.
        present: the partitions as they are published, by symbol.
        selected: the only symbols that are made anew; empty: all.
        folder: an existing folder for the finished files.
        workers: threads.
        auditor: is handed the rows that are new, as they are written; None: nobody.
        changed_only: leave a partition alone that would become what it is.
        settled: files that take over no session that another brings.
    """

    def __init__(
        self,
        layout: Layout,
        kind: DataType,
        month: date,
        fingerprint: str,
        gatherer: Gatherer,
        present: dict[str, Partition],
        selected: frozenset[str],
        folder: Path,
        workers: int,
        auditor: Auditor | None,
        *,
        changed_only: bool = False,
        settled: AbstractSet[RawFile] = frozenset(),
    ) -> None:
        self._auditor, self._settled = auditor, settled
        self._changed_only = changed_only
        self._layout, self._kind, self._month = layout, kind, month
        self._fingerprint, self._gatherer = fingerprint, gatherer
        self._present, self._selected = present, selected
        self._folder, self._workers = folder, workers
        self._count = 0
        layout.modes.make_folders(layout.cache / kind.name)
        # One thread while DuckDB reads: two would spend their time waiting for the interpreter.
        self._early_thread = ThreadPoolExecutor(max(1, workers // 2), thread_name_prefix="encode")
        self._early: dict[str, tuple[_Written, int]] = {}
        self._unreleased: deque[tuple[RawFile, tuple[str, date]]] = deque()

    def __enter__(self) -> Merger:
        return self

    def __exit__(self, *exception: object) -> None:
        self._early_thread.shutdown(cancel_futures=True)

    def write_ended(self, origins: Sequence[Origin]) -> None:
        """Begin to write what the last file of the batch has left behind, release what is written.

        Args:
            origins: the batch's good files; the last is the one being read.
        """
        file, read = origins[-1].file, _Read(origins)
        jobs: list[tuple[_Job, str]] = []
        keys: list[tuple[str, date]] = []
        for key in self._gatherer.take_ended(file):
            symbol = key[0]
            stretch = self._gatherer.files[file].stretches[key]
            if symbol in self._early or not stretch.ascending:
                continue
            job = self._job(symbol, read)
            if job is not None and job.sessions and not self._may_stay(job):
                jobs.append((job, self._next_path()))
                keys.append(key)
        for start in range(0, len(jobs), _EARLY_JOBS):
            some = jobs[start : start + _EARLY_JOBS]
            written = self._early_thread.submit(self._write_some, some)
            for place, key in enumerate(keys[start : start + _EARLY_JOBS]):
                self._early[key[0]] = (written, place)
                self._unreleased.append((file, key))
        self.release(wait=self._gatherer.is_full)

    def release(self, *, wait: bool) -> None:
        """Give the memory of written rows back; with `wait`, of those under way too."""
        while self._unreleased:
            file, (symbol, session) = self._unreleased[0]
            written, place = self._early[symbol]
            if not (wait or written.done()):
                return
            partition, path = written.result()[place]
            written_of = (s for s in partition.sessions if s.session == session)
            rows = sum(s.rows for s in written_of if s.source == file.key)
            load = _reader(partition, path, session)
            self._gatherer.release(file, (symbol, session), rows, load)
            self._unreleased.popleft()

    def finish(self, origins: Sequence[Origin]) -> Merged:
        """Write all that is still to be written."""
        # What has not begun is shared among all threads from here on.
        for symbol, (written, _) in list(self._early.items()):
            if written.cancel():
                del self._early[symbol]
        self._unreleased = deque(item for item in self._unreleased if item[1][0] in self._early)
        self.release(wait=True)
        merged = Merged()
        todo: deque[tuple[_Job, str]] = deque()
        read = _Read(origins)
        # In the order in which the file had them: the rows of neighbours share memory.
        for symbol in dict.fromkeys([*self._gatherer.symbols(), *self._present]):
            job = self._job(symbol, read, merged.passed_over)
            if job is None:
                continue
            early = None
            if symbol in self._early:
                written, place = self._early[symbol]
                early = written.result()[place]
            if not job.sessions:
                merged.removed.append(PartitionKey(self._kind.name, symbol, self._month))
            elif self._may_stay(job):
                assert job.old is not None
                merged.unchanged.append(job.old)
            elif early is not None and early[0].sessions == job.sessions:
                merged.written.append(early)
            else:
                todo.append((job, self._next_path()))
        if todo:
            merged.written += self._write_all(todo)
        for partition in [*(found for found, _ in merged.written), *merged.unchanged]:
            for session in partition.sessions:
                merged.brought[session.source] += session.rows
        return merged

    def _may_stay(self, job: _Job) -> bool:
        return self._changed_only and job.changes_nothing

    def _write_all(self, todo: deque[tuple[_Job, str]]) -> list[tuple[Partition, str]]:
        def work() -> list[tuple[Partition, str]]:
            written: list[tuple[Partition, str]] = []
            while True:
                try:
                    job, path = todo.popleft()
                except IndexError:
                    return written
                written.append(self._write(job, path))

        done = []
        with ThreadPoolExecutor(self._workers, thread_name_prefix="encode") as threads:
            futures = [threads.submit(work) for _ in range(self._workers)]
            try:
                for future in as_completed(futures):
                    done += future.result()
            except BaseException:
                todo.clear()
                raise
        return done

    def _write_some(self, jobs: list[tuple[_Job, str]]) -> list[tuple[Partition, str]]:
        return [self._write(job, path) for job, path in jobs]

    def _next_path(self) -> str:
        # Paths are plain strings here: thousands of Path objects cost more than their files.
        shelf = f"{self._folder}/{self._count // _SHELF_FILES}"
        if self._count % _SHELF_FILES == 0:
            self._layout.modes.make_folder(shelf)
        self._count += 1
        return f"{shelf}/{self._count}.parquet"

    def _job(
        self, symbol: str, read: _Read, passed_over: Counter[str] | None = None
    ) -> _Job | None:
        """What a symbol's new partition is made of; None where nothing about it changes.

        Args:
            passed_over: is told of rows that come in twice, by the key of the file whose rows are
                not taken.
        """
        old = self._present.get(symbol)
        fresh = self._fresh(symbol, old, read, passed_over)
        coming = {session for session, _, _ in fresh}
        kept = [
            session
            for session in (old.sessions if old else ())
            if session.session not in coming and not self._is_read_again(session, symbol, read)
        ]
        if not fresh and (old is None or len(kept) == len(old.sessions)):
            return None
        parts: list[tuple[SessionSource, tuple[Slice, ...] | None]] = []
        parts += [(present, None) for present in kept]
        for session, stretch, file in fresh:
            origin = read.by_file[file]
            rejects = origin.rejects[symbol, session]
            source = SessionSource(
                session,
                stretch.rows,
                rejects,
                file.key,
                origin.etag,
                origin.sha256,
            )
            parts.append((source, tuple(stretch.slices)))
        parts.sort(key=lambda part: part[0].session)
        # What has the present fingerprint does not say so: the same rows give the same bytes,
        # whatever was made before what.
        made_by = self._fingerprint
        if old is not None and kept and (not fresh or old.fingerprint != made_by):
            made_by = made_by if fresh else kept[-1].fingerprint or old.fingerprint
            parts = [
                (source if rows is not None else _marked(source, old, made_by), rows)
                for source, rows in parts
            ]
        return _Job(symbol, old, parts, made_by)

    def _fresh(
        self,
        symbol: str,
        old: Partition | None,
        read: _Read,
        passed_over: Counter[str] | None,
    ) -> list[tuple[date, Stretch, RawFile]]:
        """The rows that come in of a symbol, by session, each session from one file.

        Where two have it, the one that it came from before stays; else it is the symbol's own.
        """
        found: dict[date, tuple[Stretch, RawFile]] = {}
        sources = {session.session: session.source for session in (old.sessions if old else ())}
        others = {
            present.session
            for present in (old.sessions if old and self._settled else ())
            if not self._is_read_again(present, symbol, read)
        }
        for session, stretch, file in self._gatherer.of_symbol(symbol):
            if session in others and file in self._settled:
                if passed_over is not None:
                    passed_over[file.key] += stretch.rows
                continue
            taken = found.get(session)
            if taken is not None:
                is_better = file.key == sources.get(session) or (
                    file.symbol is not None and taken[1].key != sources.get(session)
                )
                left = taken if is_better else (stretch, file)
                if passed_over is not None:
                    passed_over[left[1].key] += left[0].rows
                if not is_better:
                    continue
            found[session] = (stretch, file)
        return [(session, *found[session]) for session in sorted(found)]

    def _is_read_again(self, session: SessionSource, symbol: str, read: _Read) -> bool:
        """Whether the file that a session came from is read again, for this symbol too."""
        if self._selected and symbol not in self._selected:
            return False
        return session.source in read.keys

    def _write(self, job: _Job, path: str) -> tuple[Partition, str]:
        partition = write_partition(
            path,
            self._kind,
            self._rows(job),
            job.symbol,
            self._month,
            job.sessions,
            job.made_by,
        )
        if job.old is None:
            # Made here, on many threads, so that the publish has nothing to do but rename.
            folder = f"{self._layout.cache}/{self._kind.name}/{encode_symbol(job.symbol)}"
            self._layout.modes.make_folder(folder)
        return partition, path

    def _rows(self, job: _Job) -> Iterator[pa.RecordBatch]:
        kept = frozenset(source.session for source, slices in job.parts if slices is None)
        old: Any = iter(())
        if kept:
            assert job.old is not None
            path = self._layout.partition(self._kind.name, job.symbol, self._month)
            old = read_sessions(path, job.old, kept)
        taken = self._auditor.begin(job.symbol) if self._auditor else None
        for _, slices in job.parts:
            if slices is None:
                _, batches = next(old)
                yield from batches
                continue
            for batch in self._gatherer.batches(slices):
                if taken is not None:
                    taken.add(batch)
                yield batch
        if taken is not None:
            taken.done()


def _marked(kept: SessionSource, old: Partition, made_by: str) -> SessionSource:
    """A session of an old partition, in one of another fingerprint."""
    by = kept.fingerprint or old.fingerprint
    return replace(kept, fingerprint=None if by == made_by else by)


def _reader(partition: Partition, path: str, session: date) -> Callable[[], Iterator[Any]]:
    def read() -> Iterator[pa.RecordBatch]:
        for _, batches in read_sessions(Path(path), partition, frozenset({session})):
            yield from batches

    return read
