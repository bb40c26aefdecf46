"""The partitions of each symbol of a month: what there is and what comes in.

The rows that come in are taken by ranges of symbols, so that no more than a few ranges are in
memory, and each symbol's are a slice of them: nothing is copied once more. A symbol that has more
rows than a range is read and written a part at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain, count

import pyarrow as pa

from warehouse.core.paths import PartitionKey, encode_symbol
from warehouse.ingest.merge import Merge, Merged, Origin
from warehouse.ingest.row_sorter import SortedRows
from warehouse.store.partitions import (
    Partition,
    SessionSource,
    brought,
    read_sessions,
    write_partition,
)

_RANGE_ROWS = 262_144
# ext4 looks for a free inode near the folder's others: where thousands of files lie in one folder,
# and thousands were deleted a minute ago, that takes ten times as long.
_SHELF_FILES = 32
_LOT = 64
"""So many partitions one thread writes in one go."""


@dataclass(frozen=True)
class _Arrival:
    """The rows of a symbol's session that a raw file brings: from `low` on, as they are sorted."""

    session: date
    origin: Origin
    place: int
    low: int
    rows: int

    @property
    def end(self) -> int:
        return self.low + self.rows


@dataclass(frozen=True)
class _Job:
    """One partition to write: its sessions in order, each as it comes, or (None) as it is there.

    Attributes:
        made_by: fingerprint of the partition; what was made by another says so itself.
    """

    symbol: str
    old: Partition | None
    parts: list[tuple[SessionSource, _Arrival | None]]
    made_by: str

    @property
    def sessions(self) -> tuple[SessionSource, ...]:
        return tuple(source for source, _ in self.parts)

    @property
    def coming(self) -> list[_Arrival]:
        return [arrival for _, arrival in self.parts if arrival is not None]

    @property
    def changes_nothing(self) -> bool:
        old = self.old
        return old is not None and (old.fingerprint, old.sessions) == (self.made_by, self.sessions)


@dataclass
class _Range:
    """Partitions to write whose symbols follow on each other, and what is read for them.

    Attributes:
        low, end: of each file that brings rows, by its place, from where and to where it is read.
    """

    jobs: list[_Job] = field(default_factory=list)
    low: dict[int, int] = field(default_factory=dict)
    end: dict[int, int] = field(default_factory=dict)
    rows: int = 0

    def rows_with(self, job: _Job) -> int:
        """How many rows are read with one more."""
        first = {one.place: one.low for one in reversed(job.coming)}
        last = {one.place: one.end for one in job.coming}
        return self.rows + sum(last[at] - self.end.get(at, first[at]) for at in last)

    def add(self, job: _Job) -> None:
        self.rows = self.rows_with(job)
        self.jobs.append(job)
        for one in job.coming:
            self.low.setdefault(one.place, one.low)
            self.end[one.place] = one.end


@dataclass(frozen=True)
class _Rows:
    """The rows that are read for a range, of each file from `low` on."""

    low: Mapping[int, int]
    tables: Mapping[int, pa.Table]

    def of(self, arrival: _Arrival) -> pa.Table:
        low = arrival.low - self.low[arrival.place]
        return self.tables[arrival.place].slice(low, arrival.rows)


class SymbolBuilder:
    """Writes the partitions of one data type and month, a symbol each.

    Args:
        merge: the rows that come in.
        present: the partitions as they are published.
    """

    def __init__(self, merge: Merge, month: date, present: Sequence[Partition]) -> None:
        self._merge, self._month = merge, month
        self._present = {one.symbol: one for one in present}
        self._numbers = count()
        merge.layout.modes.make_folders(merge.layout.cache / merge.kind.name)

    def finish(self, origins: Sequence[Origin]) -> Merged:
        """Write them.

        Args:
            origins: the batch's good files.
        """
        merged = Merged()
        files = [self._merge.rows[origin.file] for origin in origins]
        arrivals = _by_symbol(origins, files)
        again = frozenset(origin.file.key for origin in origins)
        todo = []
        # In the order in which they are sorted, so that those of a range follow on each other.
        for symbol in sorted({*arrivals, *self._present}):
            job = self._job(symbol, arrivals.get(symbol, []), again, merged.passed_over)
            if job is None:
                continue
            if not job.sessions:
                merged.removed.append(PartitionKey(self._merge.kind.name, symbol, self._month))
            elif self._merge.changed_only and job.changes_nothing:
                assert job.old is not None
                merged.unchanged.append(job.old)
            else:
                todo.append(job)
        merged.written += self._write_all(todo, files)
        for partition in [*(found for found, _ in merged.written), *merged.unchanged]:
            for session in partition.sessions:
                merged.brought[session.source] += session.rows
        return merged

    def _job(
        self,
        symbol: str,
        arrivals: Sequence[_Arrival],
        again: AbstractSet[str],
        passed_over: Counter[str],
    ) -> _Job | None:
        """What a symbol's new partition is made of; None where nothing about it changes.

        Args:
            again: keys of the files that are read.
            passed_over: is told of rows that come in twice, by the key of the file whose rows are
                not taken.
        """
        old = self._present.get(symbol)
        sessions = old.sessions if old is not None else ()
        is_asked = not self._merge.selected or symbol in self._merge.selected
        stays = [one for one in sessions if not (is_asked and one.source in again)]
        fresh = self._fresh(sessions, stays, arrivals, passed_over)
        coming = {arrival.session for arrival in fresh}
        kept = [one for one in stays if one.session not in coming]
        if not fresh and len(kept) == len(sessions):
            return None
        # What has the present fingerprint does not say so: the same rows give the same bytes,
        # whatever was made before what.
        made_by = self._merge.fingerprint
        if old is not None and kept and (not fresh or old.fingerprint != made_by):
            made_by = made_by if fresh else kept[-1].fingerprint or old.fingerprint
            kept = [_marked(one, old, made_by) for one in kept]
        parts: list[tuple[SessionSource, _Arrival | None]] = [(one, None) for one in kept]
        for arrival in fresh:
            origin = arrival.origin
            source = SessionSource(
                arrival.session,
                arrival.rows,
                origin.rejects[symbol, arrival.session],
                origin.file.key,
                origin.etag,
                origin.sha256,
            )
            parts.append((source, arrival))
        parts.sort(key=lambda part: part[0].session)
        return _Job(symbol, old, parts, made_by)

    def _fresh(
        self,
        sessions: Sequence[SessionSource],
        stays: Sequence[SessionSource],
        arrivals: Sequence[_Arrival],
        passed_over: Counter[str],
    ) -> list[_Arrival]:
        """Of what comes in of a symbol, what is taken: each session from one file.

        Where two have it, the one that it came from before stays; else it is the symbol's own.
        """
        found: dict[date, _Arrival] = {}
        sources = {one.session: one.source for one in sessions}
        others = {one.session for one in stays} if self._merge.settled else ()
        for arrival in arrivals:
            file = arrival.origin.file
            if file in self._merge.settled and arrival.session in others:
                passed_over[file.key] += arrival.rows
                continue
            taken = found.get(arrival.session)
            if taken is not None:
                before = sources.get(arrival.session)
                is_better = file.key == before or (
                    file.symbol is not None and taken.origin.file.key != before
                )
                left = taken if is_better else arrival
                passed_over[left.origin.file.key] += left.rows
                if not is_better:
                    continue
            found[arrival.session] = arrival
        return [found[session] for session in sorted(found)]

    def _write_all(
        self, todo: Sequence[_Job], files: Sequence[SortedRows]
    ) -> list[tuple[Partition, str]]:
        begun: deque[list[Future[list[tuple[Partition, str]]]]] = deque()
        written: list[tuple[Partition, str]] = []
        with ThreadPoolExecutor(self._merge.workers, thread_name_prefix="encode") as threads:
            try:
                for some in _ranges(todo):
                    jobs = [(job, self._next_path()) for job in some.jobs]
                    if some.rows > _RANGE_ROWS:
                        ((job, path),) = jobs
                        begun.append([threads.submit(self._write_large, job, path, files)])
                    else:
                        rows = self._of_range(some, files)
                        lots = [jobs[at : at + _LOT] for at in range(0, len(jobs), _LOT)]
                        begun.append([threads.submit(self._write_some, lot, rows) for lot in lots])
                    # Rows are put together here while others are encoded.
                    if len(begun) > self._merge.workers:
                        for one in begun.popleft():
                            written += one.result()
                for one in chain.from_iterable(begun):
                    written += one.result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        return written

    def _of_range(self, some: _Range, files: Sequence[SortedRows]) -> _Rows:
        """The rows that come in of a range; they go to the rules."""
        tables = {
            place: files[place].between(low, some.end[place]).combine_chunks()
            for place, low in some.low.items()
        }
        found = _Rows(some.low, tables)
        if self._merge.incoming_rules is not None and tables:
            coming = [arrival for job in some.jobs for arrival in job.coming]
            if sum(arrival.rows for arrival in coming) == some.rows:
                self._merge.incoming_rules.take(pa.concat_tables(tables.values()))
            else:  # what another file brings too is not taken
                self._merge.incoming_rules.take(pa.concat_tables(map(found.of, coming)))
        return found

    def _of_large(self, job: _Job, files: Sequence[SortedRows]) -> Iterator[pa.RecordBatch]:
        """The rows of a partition of which very many come in, a few at a time."""
        taken = self._merge.incoming_rules.begin() if self._merge.incoming_rules else None
        old = self._kept(job)
        for _, arrival in job.parts:
            if arrival is None:
                yield from next(old)
                continue
            for low in range(arrival.low, arrival.end, _RANGE_ROWS):
                rows = files[arrival.place].between(low, min(low + _RANGE_ROWS, arrival.end))
                for batch in rows.combine_chunks().to_batches():
                    if taken is not None:
                        taken.add(batch)
                    yield batch
        if taken is not None:
            taken.done()

    def _of_job(self, job: _Job, rows: _Rows) -> Iterator[pa.RecordBatch]:
        old = self._kept(job)
        for _, arrival in job.parts:
            yield from next(old) if arrival is None else rows.of(arrival).to_batches()

    def _kept(self, job: _Job) -> Iterator[Iterator[pa.RecordBatch]]:
        """The rows of each session that stays as it is."""
        kept = frozenset(source.session for source, arrival in job.parts if arrival is None)
        if kept:
            assert job.old is not None
            path = brought(self._merge.layout, job.old)
            for _, batches in read_sessions(path, job.old, kept):
                yield batches

    def _write_some(
        self, jobs: Sequence[tuple[_Job, str]], rows: _Rows
    ) -> list[tuple[Partition, str]]:
        return [self._write(job, path, self._of_job(job, rows)) for job, path in jobs]

    def _write_large(
        self, job: _Job, path: str, files: Sequence[SortedRows]
    ) -> list[tuple[Partition, str]]:
        return [self._write(job, path, self._of_large(job, files))]

    def _write(self, job: _Job, path: str, rows: Iterator[pa.RecordBatch]) -> tuple[Partition, str]:
        kind, month = self._merge.kind, self._month
        partition = write_partition(path, kind, rows, job.symbol, month, job.sessions, job.made_by)
        if job.old is None:
            # Made here, on many threads, so that the publish has nothing to do but rename.
            folder = f"{self._merge.layout.cache}/{kind.name}/{encode_symbol(job.symbol)}"
            self._merge.layout.modes.make_folder(folder)
        return partition, path

    def _next_path(self) -> str:
        # Paths are plain strings here: thousands of Path objects cost more than their files.
        number = next(self._numbers)
        shelf = f"{self._merge.folder}/{number // _SHELF_FILES}"
        if number % _SHELF_FILES == 0:
            self._merge.layout.modes.make_folder(shelf)
        return f"{shelf}/{number}.parquet"


def _by_symbol(origins: Sequence[Origin], files: Sequence[SortedRows]) -> dict[str, list[_Arrival]]:
    """What comes in of each symbol."""
    found: dict[str, list[_Arrival]] = {}
    for place, (origin, rows) in enumerate(zip(origins, files, strict=True)):
        low = 0
        entries = (rows.entries[name].to_pylist() for name in ("symbol", "session", "rows"))
        for symbol, session, number in zip(*entries, strict=True):
            found.setdefault(symbol, []).append(_Arrival(session, origin, place, low, number))
            low += number
    return found


def _ranges(jobs: Sequence[_Job]) -> Iterator[_Range]:
    """The jobs in ranges of at most so many rows, or of one job that has more."""
    found = _Range()
    for job in jobs:
        if found.jobs and found.rows_with(job) > _RANGE_ROWS:
            yield found
            found = _Range()
        found.add(job)
    if found.jobs:
        yield found


def _marked(kept: SessionSource, old: Partition, made_by: str) -> SessionSource:
    """A session of an old partition, in one of another fingerprint."""
    by = kept.fingerprint or old.fingerprint
    return replace(kept, fingerprint=None if by == made_by else by)
