"""The rejects tier: every row that cleaning refused, with its reason and where it stood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.core.datatypes import DataType, completed
from warehouse.core.paths import ALL_SYMBOLS, RawFile
from warehouse.core.small_files import plain
from warehouse.errors import StorageError
from warehouse.store.partitions import check_texts, damaged

_HELD_ROWS = 200_000
_HELD_BYTES = 8 << 20
_READ_ROWS = 8_192
MALFORMED_LINE = "malformed_line"


def rejected_rows(path: Path, kind: DataType) -> Iterator[pa.Table]:
    """The rows of a file of rejects, some at a time, page checksums verified.

    Raises:
        OSError, pa.ArrowException: it cannot be read, or its texts would fill the memory.
    """
    schema = kind.rejects_columns
    # A text that is said often stands in a dictionary once: read so, it takes no more.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    with pq.ParquetFile(
        plain(path), page_checksum_verification=True, read_dictionary=texts
    ) as file:
        for batch in file.iter_batches(_READ_ROWS, use_threads=False):
            check_texts(rows := pa.table(batch))
            yield completed(rows, schema)


class RejectsWriter:
    """Writes the rejects of one raw file to a staged Parquet file; no rejects, no file.

    Args:
        file: the raw file.
        path: the staged file.
    """

    def __init__(self, file: RawFile, kind: DataType, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.carried: Counter[tuple[str, str]] = Counter()
        self.by_symbol: Counter[tuple[str, date]] = Counter()
        self._file, self._kind = file, kind
        self._schema = kind.rejects_columns
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._held_rows = self._held_bytes = 0

    def add(self, rows: pa.RecordBatch, texts: pa.Table) -> None:
        """Rows with `reason` and `line_number`; `texts` has the `line` of those that are kept."""
        table = pa.Table.from_batches([rows])
        place = pc.index_in(table["line_number"], texts["line_number"], skip_nulls=True)
        columns = {name: table[name] for name in self._kind.columns.names}
        same = table.num_rows
        self._append(
            pa.table(
                {
                    "data_type": pa.array([self._kind.name] * same, pa.string()),
                    "reason": table["reason"],
                    "source": pa.array([self._file.key] * same, pa.string()),
                    "line_number": table["line_number"],
                    "line": texts["line"].take(place),
                    **columns,
                },
                self._schema,
            )
        )

    def add_lines(self, lines: pa.Table) -> None:
        """Lines that are no rows at all: `line_number` and `line`."""
        # Of lines without a letter a piece has millions.
        for start in range(0, lines.num_rows, _HELD_ROWS):
            self._add_lines(lines.slice(start, _HELD_ROWS))

    def _add_lines(self, lines: pa.Table) -> None:
        session = None if self._file.monthly else self._file.day
        columns = {
            "data_type": pa.repeat(pa.scalar(self._kind.name, pa.string()), lines.num_rows),
            "reason": pa.repeat(pa.scalar(MALFORMED_LINE, pa.string()), lines.num_rows),
            "source": pa.repeat(pa.scalar(self._file.key, pa.string()), lines.num_rows),
            "line_number": lines["line_number"],
            "line": lines["line"],
            "session": pa.repeat(pa.scalar(session, pa.date32()), lines.num_rows),
        }
        nothing = {
            field.name: pa.nulls(lines.num_rows, field.type)
            for field in self._schema
            if field.name not in columns
        }
        every = columns | nothing
        self._append(pa.table([every[name] for name in self._schema.names], self._schema))

    def carry(self, published: Path, replaced: frozenset[str]) -> None:
        """Keep what `published` says of symbols that are not being made anew.

        Raises:
            CorruptPartitionError: it cannot be read.
        """
        if not published.exists():
            return
        try:
            for old in rejected_rows(published, self._kind):
                self._carry(old, replaced)
        except (OSError, pa.ArrowException) as error:
            raise damaged(published, self._kind.name, ALL_SYMBOLS, error) from error

    def _carry(self, old: pa.Table, replaced: frozenset[str]) -> None:
        replaced_rows = pc.is_in(old["symbol"], pa.array(sorted(replaced), pa.string()))
        # A row without a symbol is met again whichever symbols are selected.
        gone = pc.or_(replaced_rows, pc.is_null(old["symbol"]))
        kept = old.filter(pc.invert(gone))
        pairs = zip(kept["symbol"].to_pylist(), kept["reason"].to_pylist(), strict=True)
        self.carried.update(pairs)
        self._append(kept, count=False)

    def _append(self, table: pa.Table, *, count: bool = True) -> None:
        if table.num_rows == 0:
            return
        if count:
            self.rows += table.num_rows
            by_symbol = table.group_by(["symbol", "session"]).aggregate([([], "count_all")])
            for row in by_symbol.to_pylist():
                self.by_symbol[row["symbol"], row["session"]] += row["count_all"]
        self._held.append(table)
        self._held_rows += table.num_rows
        self._held_bytes += table.nbytes
        if self._held_rows >= _HELD_ROWS or self._held_bytes >= _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        try:
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self.path, self._schema, compression="zstd", write_page_checksum=True
                )
            self._writer.write_table(pa.concat_tables(self._held))
        except OSError as error:
            raise StorageError(self.path, f"cannot hold rejected rows: {error}") from error
        self._held, self._held_rows, self._held_bytes = [], 0, 0

    def close(self) -> bool:
        """Finish the file; returns whether there is one."""
        if self._held:
            self._flush()
        if self._writer is None:
            return False
        self._writer.close()
        return True
