"""Raw files: inflated once, checked whole, handed on as plain CSV in pieces.

DuckDB inflates on one thread and checks neither the CRC nor the length of a gzip, so it never
sees one. A file's text may be larger than disk and memory, so nobody sees it whole: pieces end at
a line end, each is checked before it is handed on, and gone once it is read. Whether the gzip's
CRC and length are right is known only at its end: until `Inflater.pieces` is exhausted, nothing
that came from the file may be published.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal import igzip

from warehouse.errors import RawFileError, StorageError
from warehouse.ingest.lines import LF, no_rows, texts_of, without
from warehouse.ingest.typed.typed_read import Signs
from warehouse.source.etag_check import DAMAGED, MAX_RATIO, is_bomb, other_form
from warehouse.source.file_identity import Stamp

MAX_LINE_BYTES = 1 << 20
"""No line of the vendor's is a thousandth of this, newline included; a longer one is never held
whole, nor would DuckDB read it.
"""

_MAX_BLOCK = 4 << 20
_MIN_BLOCK = 1 << 16
_GZIP = b"\x1f\x8b"
_NOT_WHOLE: tuple[type[Exception], ...] = (*DAMAGED, OSError)
_WINDOW = MAX_LINE_BYTES // 2
_FIRST = 8
"""The first piece is so many times smaller than the others: until it is there nobody has work."""
_CR, _LAST_ASCII = 13, 127
GONE = "is gone from the raw tier; update fetches it again"

LINES = pa.schema([("line_number", pa.int64()), ("line", pa.string())])


_MEMORY_NAME = "piece"
# What a DuckDB that reads pieces must be allowed: the one has it that 2.0.0 takes a file in memory
# for where it is opened, 2.0.1 where the system says that it is.
MEMORY_FOLDERS = (Path("/proc/self/fd"),)
MEMORY_FILES = (f"/memfd:{_MEMORY_NAME} (deleted)",)


class Piece:
    """Some consecutive lines of a raw file: the rows as a plain CSV file, and what is no row.

    Attributes:
        path: what `read_csv` opens, header included. In memory where the system can name memory
            as a file, otherwise in the staging folder.
        header: the file's column names, in its order.
        first_line: the line number, in the raw file, of the first line.
        lines: how many lines there are.
        rows: how many of them are rows (see `warehouse.lines`), and follow the header in `path`.
        bytes: of all of them.
        row_bytes: of those that are rows, and `signs` what there is among these.
    """

    def __init__(self, header: tuple[str, ...], first_line: int, scratch: Path) -> None:
        self.header, self.first_line = header, first_line
        self.lines = self.rows = self.bytes = self.row_bytes = 0
        self.signs = Signs()
        self._malformed: list[pa.RecordBatch] = []
        if hasattr(os, "memfd_create"):
            # A piece lives for a second: on a disk's page cache the same bytes cost up to four
            # times the CPU, unevenly. It is bounded by the memory limit.
            self._file = io.FileIO(os.memfd_create(_MEMORY_NAME), "w+b")
            self.path = f"/proc/self/fd/{self._file.fileno()}"
        else:
            name = scratch / f"piece-{os.getpid()}-{first_line}.csv"
            self._file = io.FileIO(name, "w+b")
            self.path = str(name)
        self._write(",".join(header).encode() + b"\n")

    def append(self, block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        """Take a block of whole lines, whose newlines stand at `ends`."""
        size = block.size
        bad = no_rows(block, ends, len(self.header))
        if bad.size:
            numbers = bad + (self.first_line + self.lines)
            texts = pa.array(texts_of(block, ends, bad), pa.string())
            self._malformed.append(pa.record_batch([pa.array(numbers), texts], LINES))
            block = without(block, ends, bad)
        self._write(block.data)
        self.signs.count(block)
        self.row_bytes += block.size
        self.lines += ends.size
        self.rows += ends.size - bad.size
        self.bytes += size

    @property
    def malformed(self) -> pa.Table:
        """The lines that are no rows: `line_number` and `line`, its text."""
        return pa.Table.from_batches(self._malformed, LINES)

    @property
    def line_numbers(self) -> npt.NDArray[np.int64]:
        """The line number of each row."""
        every = np.arange(self.first_line, self.first_line + self.lines)
        bad = self.malformed["line_number"].to_numpy()
        return np.delete(every, bad - self.first_line) if bad.size else every

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                raise StorageError(self.path, f"cannot hold a piece of a file: {error}") from error

    def texts(self) -> Iterator[bytes]:
        """The rows' text, without line ends, in order."""
        self._file.seek(0)
        lines = io.BufferedReader(io.FileIO(os.dup(self._file.fileno())))
        with lines:
            next(lines)
            for line in lines:
                yield line.rstrip(b"\n")

    def close(self) -> None:
        """Give its memory (or disk) back. Safe to call twice."""
        self._file.close()
        if not self.path.startswith("/proc/"):
            Path(self.path).unlink(missing_ok=True)


@dataclass
class FileFacts:
    """What is known of a raw file: `bytes`, `sha256` and `stamp` (of what is read, whatever takes
    its name meanwhile) before its first piece, `lines` (after the header) once it has been read to
    its end.
    """

    bytes: int = 0
    sha256: str = ""
    lines: int = 0
    stamp: Stamp | None = None


class Inflater:
    """Reads one raw file, once.

    Args:
        path: the .csv.gz.
        required: the column names its header must hold, each once, in any order.
        chunk_rows: about how many rows a piece holds; the first holds fewer.
        chunk_bytes: how large, at most by one block, a piece grows whatever its rows.
        scratch: folder for pieces where they cannot lie in memory.
    """

    def __init__(
        self, path: Path, required: Sequence[str], chunk_rows: int, chunk_bytes: int, scratch: Path
    ) -> None:
        self.path = path
        self.facts = FileFacts()
        self._required = required
        self._chunk_rows, self._chunk_bytes = chunk_rows, chunk_bytes
        self._scratch = scratch
        self._crlf = False
        self.bytes_read = 0
        """Compressed bytes inflated so far."""

    def pieces(self) -> Iterator[Piece]:
        """The file's rows, piece by piece; the caller closes each. Then `facts` is complete.

        Raises:
            RawFileError: the file is not whole, or not what it should be.
        """
        try:
            with io.FileIO(self.path) as compressed:
                yield from self._pieces(compressed)
        except PermissionError as error:
            raise RawFileError(self.path, "no permission to read it") from error
        except FileNotFoundError as error:
            raise RawFileError(self.path, GONE) from error

    def _pieces(self, compressed: io.FileIO) -> Iterator[Piece]:
        before = os.fstat(compressed.fileno())
        self.facts.bytes, self.facts.stamp = before.st_size, Stamp.of(before)
        try:
            self.facts.sha256 = hashlib.file_digest(compressed, "sha256").hexdigest()
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise RawFileError(self.path, problem) from error
        compressed.seek(0)
        blocks = self._blocks(compressed)
        header_line = next(blocks, b"")
        header = self._header(bytes(header_line))
        piece = None
        # All others wait for the first.
        most_rows, most_bytes = self._chunk_rows // _FIRST, self._chunk_bytes // _FIRST
        try:
            for block in blocks:
                checked, ends = self._checked(block)
                if piece is None:
                    piece = Piece(header, self.facts.lines + 2, self._scratch)
                piece.append(checked, ends)
                self.facts.lines += ends.size
                if piece.lines >= most_rows or piece.bytes >= most_bytes:
                    most_rows, most_bytes = self._chunk_rows, self._chunk_bytes
                    full, piece = piece, None
                    yield full
            if piece is not None:
                full, piece = piece, None
                yield full
        finally:
            if piece is not None:
                piece.close()
        if self.facts.lines == 0:
            raise RawFileError(self.path, "holds a header but no rows")
        after = os.fstat(compressed.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise RawFileError(self.path, "was changed while it was read")

    def _blocks(self, compressed: io.FileIO) -> Iterator[memoryview]:
        """The inflated text in blocks of whole lines; the first is the header's line alone.

        A block is good until the next one is asked for.
        """
        size = min(_MAX_BLOCK, max(_MIN_BLOCK, self._chunk_rows * 32))
        buffer = bytearray(size + MAX_LINE_BYTES + 2)
        view = memoryview(buffer)
        gzip = igzip.IGzipFile(fileobj=compressed, mode="rb")
        held = 0
        is_header = True
        inflated = 0
        while count := self._inflate(gzip, view[held : held + size]):
            self.bytes_read = compressed.tell()
            inflated += count
            if is_bomb(inflated, self.bytes_read):
                raise RawFileError(self.path, f"inflates to more than {MAX_RATIO} times its size")
            filled = held + count
            start = 0
            if is_header:
                if buffer.startswith(_GZIP):
                    problem = "is a gzip within a gzip; decompress it once, and put it there again"
                    raise RawFileError(self.path, problem)
                start = buffer.find(b"\n", 0, filled) + 1
                if start:
                    is_header = False
                    yield view[:start]
            if not is_header:
                end = buffer.rfind(b"\n", start, filled) + 1
                if end > start:
                    yield view[start:end]
                    start = end
            held = filled - start
            if held >= MAX_LINE_BYTES:
                line = 1 if is_header else self.facts.lines + 2
                raise RawFileError(
                    self.path, f"has a line of more than {MAX_LINE_BYTES:,} bytes", line
                )
            view[:held] = bytes(view[start:filled])
        # A last line that is not ended is a line all the same: the CRC says that it is whole.
        if held:
            line_end = b"\r\n" if self._crlf else b"\n"
            view[held : held + len(line_end)] = line_end
            yield view[: held + len(line_end)]

    def _inflate(self, gzip: igzip.IGzipFile, into: memoryview) -> int:
        try:
            return gzip.readinto(into)
        except EOFError as error:
            if self.facts.bytes == 0:
                raise RawFileError(self.path, "is empty (0 bytes)") from error
            raise RawFileError(self.path, self._explain(error)) from error
        except _NOT_WHOLE as error:
            raise RawFileError(self.path, self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        with open(self.path, "rb") as file:
            start = file.read(24)
        if not start.startswith(_GZIP):
            if form := other_form(start):
                return form
            return f"is no gzip file: it begins with {start.decode('ascii', 'replace')!r}"
        if isinstance(error, EOFError):
            return f"is cut short: its gzip stream does not end ({self.facts.bytes:,} bytes)"
        if "Not a gzipped" in str(error):
            return "has bytes that are no gzip after its end"
        return f"is damaged: {str(error).rstrip('.')}"

    def _header(self, line: bytes) -> tuple[str, ...]:
        if not line:
            raise RawFileError(self.path, "is empty once inflated: no header")
        self._crlf = line.endswith(b"\r\n")
        try:
            text = line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise RawFileError(self.path, "its header is no UTF-8 text", 1) from error
        if "\r" in text:
            raise RawFileError(self.path, "has a carriage return within a line", 1)
        names = _names(text)
        missing = [name for name in self._required if name not in names]
        if missing:
            unknown = [name for name in names if name not in self._required]
            beside = f"; it has {', '.join(map(repr, unknown[:5]))} instead" if unknown else ""
            raise RawFileError(self.path, f"its header lacks {', '.join(missing)}{beside}"[:300], 1)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RawFileError(self.path, f"its header repeats {', '.join(map(repr, twice))}", 1)
        # Names that we do not read are ours to choose: a strange one cannot get into SQL.
        return tuple(
            name if name in self._required else f"extra_{n}" for n, name in enumerate(names)
        )

    def _checked(self, block: memoryview) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The block, its lines ended by LF alone, and where these stand.

        numpy looks at the bytes without holding the interpreter's lock, so that others can work.
        """
        octets = np.frombuffer(block, np.uint8)
        is_end = octets == LF
        ends = np.flatnonzero(is_end)
        # A line that is too long covers one of these windows whole.
        for start in range(0, octets.size - _WINDOW + 1, _WINDOW):
            if not is_end[start : start + _WINDOW].any():
                self._find_long_line(octets, ends)
        if octets.max() > _LAST_ASCII:
            try:
                str(block, "utf-8")
            except UnicodeDecodeError as error:
                self._blame(octets, error.start, "is no UTF-8 text")
        if octets.min() == 0:
            self._blame(octets, int(np.argmin(octets)), "holds a NUL byte")
        if not (octets == _CR).any():
            if self._crlf:
                self._blame(octets, 0, "mixes line ends (CRLF and LF)")
            return octets, ends
        returns = np.flatnonzero(octets == _CR)
        lone = returns[octets[returns + 1] != LF]
        if len(lone):
            self._blame(octets, int(lone[0]), "has a carriage return within a line")
        odd = ends[(octets[ends - 1] == _CR) != self._crlf]
        if len(odd):
            self._blame(octets, int(odd[0]), "mixes line ends (CRLF and LF)")
        octets = octets[octets != _CR]
        return octets, np.flatnonzero(octets == LF)

    def _find_long_line(self, octets: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        long = np.flatnonzero(np.diff(ends, prepend=-1) > MAX_LINE_BYTES)
        if long.size:
            at = int(ends[long[0]])
            self._blame(octets, at, f"has a line of more than {MAX_LINE_BYTES:,} bytes")

    def _blame(self, octets: npt.NDArray[np.uint8], offset: int, problem: str) -> NoReturn:
        line = self.facts.lines + 2 + int(np.count_nonzero(octets[:offset] == LF))
        raise RawFileError(self.path, problem, line)


def read_ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, the next one being inflated on a thread while the caller has the last."""
    with ThreadPoolExecutor(1, thread_name_prefix="inflate") as thread:
        ahead: Future[Piece | None] = thread.submit(next, pieces, None)
        try:
            while (piece := ahead.result()) is not None:
                ahead = thread.submit(next, pieces, None)
                yield piece
        finally:
            # The caller has left early: what is under way is nobody's.
            with suppress(Exception):
                if (orphan := ahead.result()) is not None:
                    orphan.close()


def _names(header: str) -> list[str]:
    """The names in a header; none where the csv module refuses it (a field over 128 KiB, say)."""
    try:
        return next(csv.reader([header], strict=True), [])
    except csv.Error:
        return []
