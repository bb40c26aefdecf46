"""The tape of one symbol and data type, decoded a little at a time.

Of a partition that is being read only a page of each column is in memory, not yet decoded, and the
rows of one batch, decoded. Every page's checksum is verified, and the footer believed as little,
as in `partition_reader`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.bars.adjustment import Step, adjusted_batch
from warehouse.core.datatypes import DataType
from warehouse.errors import CorruptPartitionError
from warehouse.read.partition_reader import Piece, check_symbols, holding, narrowed
from warehouse.read.stream.held_object import HeldObject
from warehouse.read.stream.pinned_file import HeldFile
from warehouse.store.partitions import (
    check_no_link,
    check_size,
    coded_file,
    columns_of,
    damaged,
    decoded,
    edges_of,
    has_room,
    refuse,
    texts_of,
)

Stamps = np.ndarray[Any, np.dtype[np.int64]]
Rows = tuple[pa.RecordBatch, Stamps]

END_NS = 2**63 - 1
"""Later than every stamp."""

# So much of each column is read at a time. More is no faster, and each open partition holds it.
_BUFFER_BYTES = 16_384


class Tape:
    """The rows of a span, partition after partition.

    Args:
        pieces: in the order of time, each with its file and how many of its rows are decoded at
            once.
        columns: what of them is wanted; the stamps are always read.
        from_ns: no row wanted is stamped before this.
        steps: what prices and sizes are multiplied by, from the first session to the last.

    Attributes:
        fetched_ns: all rows stamped before this have been fetched; `END_NS`: all there are.
        rows: how many are fetched and not taken.
    """

    def __init__(
        self,
        kind: DataType,
        pieces: Sequence[tuple[Piece, HeldFile | HeldObject, int]],
        columns: Sequence[str],
        from_ns: int,
        steps: Sequence[Step] = (),
    ) -> None:
        self._kind, self._steps = kind, steps
        names = ["timestamp", *(name for name in columns if name not in ("timestamp", "symbol"))]
        # By it steps are found; who did not ask for it has other tapes that lack it.
        self._is_session_extra = bool(steps) and "session" not in names
        if self._is_session_extra:
            names.append("session")
        self._names = [name for name in kind.columns.names if name in names]
        self._waiting = deque(pieces)
        self._open: _Reader | None = None
        self._fetched: deque[Rows] = deque()
        self._taken = 0
        self.rows = 0
        self.fetched_ns = max(from_ns, pieces[0][0].stored.first_ns) if pieces else END_NS

    def fetch(self) -> int:
        """Decode the next rows; how many they were, which may be none.

        Raises:
            Replaced: a partition is no longer the one that was noted.
            CorruptPartitionError: a partition is damaged, or not the one the catalog knows.
            StorageError: a partition cannot be opened.
        """
        try:
            return self._decode()
        except CorruptPartitionError:
            file = self._waiting[0][1] if self._open is None else self._open.file
            if isinstance(file, HeldObject):
                # Who reads it next fetches it anew.
                file.discard()
            raise

    def _decode(self) -> int:
        if self._open is None:
            self._open = _Reader(self._kind, self._names, *self._waiting[0])
            self._waiting.popleft()
        count = 0
        if self._open.due:
            batch, stamps = self._open.next()
            if self._steps:
                batch = adjusted_batch(batch, self._steps)
            if self._is_session_extra:
                batch = batch.drop_columns(["session"])
            count = batch.num_rows
            self._fetched.append((batch, stamps))
            self.rows += count
            self.fetched_ns = int(stamps[-1])
        if not self._open.due:
            self._open.close()
            self._open = None
            # The next partition is not opened before the merge gets there.
            self.fetched_ns = self._waiting[0][0].stored.first_ns if self._waiting else END_NS
        return count

    def take(self, before_ns: int) -> list[Rows]:
        """The fetched rows stamped before an instant, which will not come again."""
        taken: list[Rows] = []
        while self._fetched:
            batch, stamps = self._fetched[0]
            start, stop = self._taken, len(stamps)
            if before_ns < END_NS and stamps[-1] >= before_ns:
                stop = int(np.searchsorted(stamps, np.int64(before_ns), side="left"))
            if stop > start:
                taken.append((batch.slice(start, stop - start), stamps[start:stop]))
                self.rows -= stop - start
            if stop < len(stamps):
                self._taken = max(start, stop)
                break
            self._fetched.popleft()
            self._taken = 0
        return taken

    def close(self) -> None:
        """Let go of every file."""
        self._fetched.clear()
        if self._open is not None:
            self._open.close()
            self._open = None
        while self._waiting:
            self._waiting.popleft()[1].close()


class _Reader:
    """The rows of one piece of a partition, a batch at a time.

    Attributes:
        due: how many are still to come.
    """

    def __init__(
        self,
        kind: DataType,
        names: list[str],
        piece: Piece,
        file: HeldFile | HeldObject,
        batch_rows: int,
    ) -> None:
        self._piece, self.file = piece, file
        self._fields = kind.fields(names)
        stored, path = piece.stored, piece.path
        try:
            file.hold()
            source = pa.PythonFile(file, mode="r")
            # Read ahead, each partition would keep a whole row group of its bytes in memory.
            parquet = pq.ParquetFile(
                source,
                page_checksum_verification=True,
                pre_buffer=False,
                buffer_size=_BUFFER_BYTES,
            )
            check_no_link(path, kind.name, stored.whose, os.path.islink(path))
            check_size(path, kind.name, stored.whose, file.size, stored.bytes)
            edges = edges_of(parquet, path, stored.file, stored.file_rows)
            low, high = narrowed(parquet, edges, piece)
            self.due = max(high - low, 0)
            if not self.due:
                return
            groups = holding(edges, low, high)
            self._skip = low - edges[groups.start]
            counts = [edges[group + 1] - edges[group] for group in groups]
            there = columns_of(parquet, kind, names)
            if stored.first_row is not None:
                # Among the symbols of a file it is looked at whose rows they are.
                there.append("symbol")
            texts = texts_of(there)
            self._schema = None
            if texts and not has_room(source, edges, groups, texts):
                self._schema = parquet.schema_arrow
                parquet = coded_file(source, texts)
            self._batches = _decoded(parquet, groups, counts, there, batch_rows)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise damaged(path, stored.data_type, stored.whose, error) from error

    def next(self) -> Rows:
        """The next rows, of which there must be some due."""
        stored, path = self._piece.stored, self._piece.path
        try:
            batch = next(self._batches, None)
            while batch is not None and self._skip >= batch.num_rows:
                self._skip -= batch.num_rows
                batch = next(self._batches, None)
            if batch is None:
                refuse(
                    path,
                    stored.data_type,
                    stored.whose,
                    f"it ends {self.due:,} rows too early",
                )
            batch = batch.slice(self._skip, min(self.due, batch.num_rows - self._skip))
            if self._schema is not None:
                (batch,) = decoded(pa.table(batch), self._schema).to_batches()
            if stored.first_row is not None:
                check_symbols(batch, pa.scalar(stored.symbol), stored, path)
                batch = batch.drop_columns(["symbol"])
            # Partitions differ in which of their columns are declared to lack no value.
            batch = pa.RecordBatch.from_arrays(self._columns(batch), schema=self._fields)
            stamps = batch.column("timestamp").cast(pa.int64()).to_numpy()
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise damaged(path, stored.data_type, stored.whose, error) from error
        self._skip = 0
        self.due -= batch.num_rows
        return batch, stamps

    def _columns(self, batch: pa.RecordBatch) -> list[pa.Array]:
        if batch.num_columns == len(self._fields):
            return list(batch.columns)
        there = set(batch.schema.names)
        return [
            batch.column(field.name)
            if field.name in there
            else pa.nulls(batch.num_rows, field.type)
            for field in self._fields
        ]

    def close(self) -> None:
        self.file.close()


def _decoded(
    file: pq.ParquetFile,
    groups: Iterable[int],
    counts: Iterable[int],
    names: list[str],
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """The rows of row groups, one group after the other.

    Of several at once a page that claims a row too many would shift those of the next group.
    """
    for group, due in zip(groups, counts, strict=True):
        for batch in file.iter_batches(
            batch_rows, row_groups=[group], columns=names, use_threads=False
        ):
            due -= batch.num_rows
            yield batch
        if due:
            raise pa.ArrowInvalid(f"row group {group} ends {due:,} rows too early")
