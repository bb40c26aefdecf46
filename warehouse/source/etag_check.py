"""Whether a file's bytes are those that the source has, and a whole gzip."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

from isal import igzip, isal_zlib

MAX_RATIO = 100
"""The vendor's files inflate to 3 to 8 times their size. What is made to burst goes up to 1,000."""

DAMAGED: tuple[type[Exception], ...] = (
    igzip.BadGzipFile,
    isal_zlib.error,  # type: ignore[assignment]
    zlib.error,
    OverflowError,  # a header, whose name and comment have no length of their own, without end
)
"""What isal raises of bytes that are no gzip."""

_HARMLESS = 64 << 20
_BLOCK = 1 << 20
_BLOCKS = 8
# Some servers write the MD5 in capitals.
_ETAG = re.compile(r"([0-9a-f]{32})(?:-([1-9]\d{0,4}))?", re.IGNORECASE)
_FORMS = {
    b"PK\x03\x04": "a zip",
    b"BZh": "a bzip2",
    b"\xfd7zXZ\0": "an xz",
    b"\x28\xb5\x2f\xfd": "a zstd",
}
"""How files begin that other programs compress."""
_MIB, _MB = 1 << 20, 1_000_000
# What upload tools cut large objects into, the likeliest first.
_PART_SIZES = (
    *(n * _MIB for n in (8, 5, 16, 64, 15, 10, 50, 100, 128, 32, 20, 25, 256, 512)),
    *(n * _MB for n in (5, 8, 10, 16, 50, 64, 100)),
)
# Each costs an MD5 of the file.
_MAX_GUESSES = 4


def parts_of(etag: str) -> int | None:
    """Of how many parts an object was put together; None where the ETag does not say."""
    match = _ETAG.fullmatch(etag)
    return int(match[2]) if match and match[2] else None


def likely_part_sizes(size: int, parts: int) -> list[int]:
    """The sizes of parts, likeliest first, that cut an object of `size` bytes into so many.

    The usual ones, then whole MiB, then whole MB, of those that fit; at most four.
    """
    if parts == 1:
        return [max(size, 1)]
    least, most = -(-size // parts), (size - 1) // (parts - 1)
    whole = (n * unit for unit in (_MIB, _MB) for n in range(-(-least // unit), most // unit + 1))
    fitting = (each for each in chain(_PART_SIZES, whole) if least <= each <= most)
    return list(islice(dict.fromkeys(fitting), _MAX_GUESSES))


class _PartDigest:
    """The MD5 of the MD5s of a file's parts, fed in any pieces."""

    def __init__(self, part_size: int) -> None:
        self._part_size, self._left, self._parts = part_size, part_size, 0
        self._part = hashlib.md5(usedforsecurity=False)
        self._whole = hashlib.md5(usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        rest = data
        while rest:
            piece, rest = rest[: self._left], rest[self._left :]
            self._part.update(piece)
            self._left -= len(piece)
            if self._left == 0:
                self._next()

    def hexdigest(self) -> str:
        # An object of nothing has one part, of nothing.
        if self._left < self._part_size or not self._parts:
            self._next()
        return self._whole.hexdigest()

    def _next(self) -> None:
        self._whole.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._left = self._part_size
        self._parts += 1


class EtagCheck:
    """Compares bytes, fed in order, with an S3 ETag.

    That of an object uploaded in one go is its MD5; of one uploaded in parts the MD5 of the
    parts' MD5s, then `-N`. The size of the parts is not in it: where the server does not tell
    (`part_size`), likely ones that make N parts are tried.
    """

    def __init__(self, etag: str, size: int, part_size: int | None = None) -> None:
        match = _ETAG.fullmatch(etag)
        self._wanted = match[1].lower() if match else ""
        self._certain = match is not None
        self._digests: list[_PartDigest] = []
        self._md5 = None
        parts = parts_of(etag)
        if parts is not None:
            told = part_size is not None and max(1, -(-size // part_size)) == parts
            sizes = [part_size] if told and part_size else likely_part_sizes(size, parts)
            self._digests = [_PartDigest(each) for each in sizes]
            self._certain = told or parts == 1
        elif match:
            self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        if self._md5 is not None:
            self._md5.update(data)
        for digest in self._digests:
            digest.update(data)

    def matches(self) -> bool | None:
        """Whether the bytes are the source's; None where the ETag cannot tell."""
        found = [digest.hexdigest() for digest in self._digests]
        if self._md5 is not None:
            found.append(self._md5.hexdigest())
        if self._wanted in found:
            return True
        return False if self._certain else None


def other_form(start: bytes) -> str | None:
    """What a file that begins so is instead of a gzip, and what to do; None: nobody knows."""
    for mark, name in _FORMS.items():
        if start.startswith(mark):
            return f"is no gzip file but {name}; unpack it, and gzip the CSV that is in it"
    return None


def is_bomb(inflated: int, compressed: int) -> bool:
    """Whether so many bytes came out of so few as no file of the vendor's has; a little may."""
    return inflated > max(_HARMLESS, MAX_RATIO * compressed)


@dataclass(frozen=True)
class Verdict:
    """What is known of a file once every byte has been looked at.

    Attributes:
        same: the bytes are those that the ETag was made of; None: it cannot tell.
        problem: why it is no whole gzip; None: its CRC and length are right.
    """

    same: bool | None
    problem: str | None

    @property
    def good(self) -> bool:
        return self.same is not False and self.problem is None


Read = Callable[[memoryview, int], int]
"""Fills a buffer with a file's bytes from an offset on; how many there were, 0 at its end."""


def read_into(file: io.FileIO) -> Read:
    """Reads an open file."""
    return lambda buffer, offset: os.preadv(file.fileno(), [buffer], offset)


class _Reader:
    """The bytes on their way to the inflater, put to the ETag's test as they pass.

    The test has a thread of its own: it takes half as long as inflating does.
    """

    def __init__(self, read: Read, etag: EtagCheck, thread: ThreadPoolExecutor) -> None:
        self._read, self._etag, self._thread = read, etag, thread
        # Each block is tested where it was read to, while the next ones are filled.
        self._blocks = deque(memoryview(bytearray(_BLOCK)) for _ in range(_BLOCKS))
        self._tests: deque[Future[None]] = deque()
        self.at = 0

    def readinto(self, buffer: memoryview) -> int:
        block = self._next(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._next(_BLOCK if size < 0 else size))

    def seekable(self) -> bool:
        return False

    def finish(self) -> None:
        """Read what the inflater left, and wait for the test."""
        while self._next(_BLOCK):
            pass
        while self._tests:
            self._tests.popleft().result()

    def _next(self, size: int) -> memoryview:
        if len(self._tests) == _BLOCKS:
            self._tests.popleft().result()
        self._blocks.rotate(-1)
        whole = self._blocks[0]
        block = whole[: self._read(whole[:size], self.at)]
        self.at += len(block)
        self._tests.append(self._thread.submit(self._etag.update, block))
        return block


def check(read: Read, etag: EtagCheck) -> Verdict:
    """Read a file to its end, once."""
    problem = None
    into = memoryview(bytearray(_BLOCK))
    with ThreadPoolExecutor(1, "etag") as thread:
        reader = _Reader(read, etag, thread)
        try:
            gzip = igzip.IGzipFile(fileobj=reader, mode="rb")
            inflated = 0
            while problem is None and (count := gzip.readinto(into)):
                inflated += count
                if is_bomb(inflated, reader.at):
                    problem = f"it inflates to more than {MAX_RATIO} times its size"
        except EOFError:
            problem = f"its gzip stream does not end ({reader.at:,} bytes)"
        except DAMAGED as error:
            form = other_form(bytes(into[: read(into, 0)]))
            problem = form and f"it {form}"
            problem = problem or f"its gzip is damaged: {str(error).rstrip('.')}"
        reader.finish()
    if reader.at == 0:
        problem = "it is empty (0 bytes)"
    return Verdict(etag.matches(), problem)
