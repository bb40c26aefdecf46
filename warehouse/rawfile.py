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
import re
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from isal import igzip

from warehouse.errors import RawFileError, StorageError

MAX_LINE_BYTES = 1 << 20
"""No line of the vendor's is a thousandth of this; a longer one is no line, and never held whole."""

_FIELD = r'(?:"(?:[^"]|"")*"|[^",]*)'
_ROW = re.compile(rf"{_FIELD}(?:,{_FIELD})*")
_MAX_BLOCK = 4 << 20
_MIN_BLOCK = 1 << 16


class Piece:
    """Some consecutive lines of a raw file as a plain CSV file of its own, header included.

    Attributes:
        path: what `read_csv` opens. In memory where the system can name memory as a file,
            otherwise in the staging folder.
        header: the file's column names, in its order.
        first_line: the line number, in the raw file, of the first row.
        rows: how many lines follow the header.
    """

    def __init__(self, header: tuple[str, ...], first_line: int, scratch: Path) -> None:
        self.header, self.first_line, self.rows = header, first_line, 0
        self.bytes = 0
        if hasattr(os, "memfd_create"):
            # A piece lives for a second: on a disk's page cache the same bytes cost up to four
            # times the CPU, unevenly. It is bounded by the memory limit.
            self._file: IO[bytes] = open(os.memfd_create("piece"), "w+b", buffering=0)
            self.path = f"/proc/self/fd/{self._file.fileno()}"
        else:
            name = scratch / f"piece-{os.getpid()}-{first_line}.csv"
            self._file = open(name, "w+b", buffering=0)
            self.path = str(name)
        self._write(",".join(header).encode() + b"\n")

    def append(self, block: bytes | bytearray | memoryview, rows: int) -> None:
        self._write(block)
        self.rows += rows

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                raise StorageError(self.path, f"cannot hold a piece of a file: {error}") from error
        self.bytes += len(data)

    def lines(self) -> Iterator[bytes]:
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
    """What is known of a raw file once it has been read to its end."""

    bytes: int = 0
    sha256: str = ""
    lines: int = 0
    """Lines after the header."""


class _HashingReader:
    """The compressed bytes on their way to the inflater, hashed as they pass."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def readinto(self, buffer: memoryview) -> int:
        count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self.sha256.update(memoryview(buffer)[:count])
        self.bytes += count
        return count

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self.bytes += len(data)
        return data

    def seekable(self) -> bool:
        return False


class Inflater:
    """Reads one raw file, once.

    Args:
        path: the .csv.gz.
        required: the column names its header must hold, each once, in any order.
        chunk_rows: about how many rows a piece holds.
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
        self._reader: _HashingReader | None = None

    @property
    def bytes_read(self) -> int:
        """Compressed bytes read so far."""
        return self._reader.bytes if self._reader is not None else 0

    def pieces(self) -> Iterator[Piece]:
        """The file's rows, piece by piece; the caller closes each. `facts` is complete after it.

        Raises:
            RawFileError: the file is not whole, or not what it should be.
        """
        try:
            with open(self.path, "rb", buffering=0) as compressed:
                yield from self._pieces(compressed)
        except PermissionError as error:
            raise RawFileError(self.path, "no permission to read it") from error
        except FileNotFoundError as error:
            raise RawFileError(self.path, "there is no such file") from error

    def _pieces(self, compressed: IO[bytes]) -> Iterator[Piece]:
        reader = self._reader = _HashingReader(compressed)
        blocks = self._blocks(reader)
        header_line = next(blocks, b"")
        header = self._header(bytes(header_line))
        piece = None
        try:
            for block in blocks:
                rows = block.count(b"\n")
                if piece is None:
                    piece = Piece(header, self.facts.lines + 2, self._scratch)
                piece.append(self._checked(block, rows), rows)
                self.facts.lines += rows
                if piece.rows >= self._chunk_rows or piece.bytes >= self._chunk_bytes:
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
        self.facts.bytes, self.facts.sha256 = reader.bytes, reader.sha256.hexdigest()

    def _blocks(self, reader: _HashingReader) -> Iterator[bytearray]:
        """The inflated text in blocks of whole lines; the first is the header's line alone."""
        size = min(_MAX_BLOCK, max(_MIN_BLOCK, self._chunk_rows * 32))
        buffer = bytearray(size + MAX_LINE_BYTES + 1)
        view = memoryview(buffer)
        held = 0
        is_header = True
        gzip = igzip.IGzipFile(fileobj=reader, mode="rb")
        line_count = 0
        while True:
            count = self._inflate(gzip, view[held : held + size], reader)
            filled = held + count
            if count == 0:
                # A last line that is not ended is a line all the same: the CRC says it is whole.
                if held:
                    yield buffer[:held] + b"\n"
                return
            start = 0
            if is_header:
                end = buffer.find(b"\n", 0, filled) + 1
                if end:
                    yield buffer[:end]
                    is_header, start, line_count = False, end, 1
            end = buffer.rfind(b"\n", start, filled) + 1 if not is_header else 0
            if end > start:
                block = buffer[start:end]
                line_count += block.count(b"\n")
                yield block
                start = end
            held = filled - start
            if held > MAX_LINE_BYTES:
                raise RawFileError(
                    self.path, f"has a line of more than {MAX_LINE_BYTES:,} bytes", line_count + 1
                )
            view[:held] = bytes(view[start:filled])

    def _inflate(
        self, gzip: igzip.IGzipFile, into: memoryview, reader: _HashingReader
    ) -> int:
        try:
            return gzip.readinto(into)
        except EOFError as error:
            if reader.bytes == 0:
                raise RawFileError(self.path, "is empty (0 bytes)") from error
            raise RawFileError(
                self.path, f"is cut short: its gzip stream does not end ({reader.bytes:,} bytes)"
            ) from error
        except (igzip.BadGzipFile, zlib.error, OSError) as error:
            raise RawFileError(self.path, self._explain(error, reader)) from error

    def _explain(self, error: Exception, reader: _HashingReader) -> str:
        with open(self.path, "rb") as file:
            start = file.read(24)
        if not start.startswith(b"\x1f\x8b"):
            return f"is no gzip file: it begins with {start.decode('ascii', 'replace')!r}"
        if "Not a gzipped" in str(error):
            return f"has bytes that are no gzip after its end ({reader.bytes:,} bytes read)"
        return f"is damaged: {str(error).rstrip('.')}"

    def _header(self, line: bytes) -> tuple[str, ...]:
        if not line:
            raise RawFileError(self.path, "is empty once inflated: no header")
        self._crlf = line.endswith(b"\r\n")
        try:
            text = line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise RawFileError(self.path, "its header is no UTF-8 text", 1) from error
        names = next(csv.reader([text]), [])
        missing = [name for name in self._required if name not in names]
        if missing:
            unknown = [name for name in names if name not in self._required]
            beside = f"; it has {', '.join(map(repr, unknown[:5]))} instead" if unknown else ""
            raise RawFileError(
                self.path, f"its header lacks {', '.join(missing)}{beside}"[:300], 1
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RawFileError(self.path, f"its header repeats {', '.join(map(repr, twice))}", 1)
        # Names that we do not read are ours to choose: a strange one cannot get into SQL.
        return tuple(
            name if name in self._required else f"extra_{n}" for n, name in enumerate(names)
        )

    def _checked(self, block: bytearray, rows: int) -> bytearray:
        if not block.isascii():
            try:
                block.decode("utf-8")
            except UnicodeDecodeError as error:
                self._blame(block, error.start, "is no UTF-8 text")
        if b"\0" in block:
            self._blame(block, block.index(b"\0"), "holds a NUL byte")
        returns = block.count(b"\r")
        if self._crlf or returns:
            both = block.count(b"\r\n")
            if returns != both:
                lone = next(
                    n for n, byte in enumerate(block) if byte == 13 and block[n + 1 : n + 2] != b"\n"
                )
                self._blame(block, lone, "has a carriage return within a line")
            if both != (rows if self._crlf else 0):
                self._blame(block, block.index(b"\n"), "mixes line ends (LF and CRLF)")
            block = block.replace(b"\r\n", b"\n")
        return block

    def _blame(self, block: bytearray, offset: int, problem: str) -> None:
        line = self.facts.lines + 2 + block.count(b"\n", 0, offset)
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


def isolate_malformed(piece: Piece, scratch: Path) -> tuple[Piece, list[int], list[tuple[int, str]]]:
    """Split a piece that DuckDB cannot read line by line: the good lines, and the bad ones.

    Returns:
        A piece of the well-formed lines alone; the line number of each of its rows; the malformed
        lines as (line number, text). A line stands for itself: an opening quote that is not
        closed on it makes it malformed, not the next one.
    """
    good = Piece(piece.header, piece.first_line, scratch)
    numbers: list[int] = []
    bad: list[tuple[int, str]] = []
    try:
        for number, line in enumerate(piece.lines(), piece.first_line):
            text = line.decode("utf-8")
            if _is_row(text, len(piece.header)):
                good.append(line + b"\n", 1)
                numbers.append(number)
            else:
                bad.append((number, text))
    except BaseException:
        good.close()
        raise
    return good, numbers, bad


def _is_row(text: str, fields: int) -> bool:
    if len(text) > MAX_LINE_BYTES:
        return False
    # csv.reader alone would let a quote stand inside an unquoted field; DuckDB, rightly, does not.
    return _ROW.fullmatch(text) is not None and len(next(csv.reader([text]), [])) == fields
