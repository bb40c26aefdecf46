"""Whether a file's bytes are those that the source has, and a whole gzip."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from isal import igzip, isal_zlib

MAX_RATIO = 100
"""The vendor's files inflate to 3 to 8 times their size. What is made to burst goes up to 1,000."""

_HARMLESS = 64 << 20
_BLOCK = 1 << 20
_MAX_BEHIND = 8
_ETAG = re.compile(r"([0-9a-f]{32})(?:-([1-9]\d{0,4}))?")
# What upload tools cut large objects into, in MiB and in MB; asked only where the server does not
# say. The likeliest come first.
_PART_SIZES = tuple(n << 20 for n in (8, 5, 16, 64, 15, 10, 50, 100, 128, 32, 20, 25, 256, 512)) + (
    tuple(n * 1_000_000 for n in (5, 8, 10, 16, 50, 64, 100))
)
_MAX_GUESSES = 4


def parts_of(etag: str) -> int | None:
    """Of how many parts an object was put together; None where the ETag does not say."""
    match = _ETAG.fullmatch(etag)
    return int(match[2]) if match and match[2] else None


class _PartDigest:
    """The MD5 of the MD5s of a file's parts, fed in any pieces."""

    def __init__(self, part_size: int) -> None:
        self._part_size, self._left = part_size, part_size
        self._part = hashlib.md5(usedforsecurity=False)
        self._whole = hashlib.md5(usedforsecurity=False)

    def update(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            piece, rest = rest[: self._left], rest[self._left :]
            self._part.update(piece)
            self._left -= len(piece)
            if self._left == 0:
                self._next()

    def hexdigest(self) -> str:
        if self._left < self._part_size:
            self._next()
        return self._whole.hexdigest()

    def _next(self) -> None:
        self._whole.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._left = self._part_size


class EtagCheck:
    """Compares bytes, fed in order, with an S3 ETag.

    That of an object uploaded in one go is its MD5; of one uploaded in parts the MD5 of the
    parts' MD5s, then `-N`. The size of the parts is not in it: where the server does not tell
    (`part_size`), the usual ones that make N parts are tried.
    """

    def __init__(self, etag: str, size: int, part_size: int | None = None) -> None:
        match = _ETAG.fullmatch(etag)
        self._wanted = match[1] if match else ""
        self._certain = match is not None
        self._digests: list[_PartDigest] = []
        self._md5 = None
        parts = parts_of(etag)
        if parts is not None:
            sizes = (part_size,) if part_size else _PART_SIZES
            self._digests = [
                _PartDigest(each) for each in sizes if max(1, -(-size // each)) == parts
            ][:_MAX_GUESSES]
            self._certain = part_size is not None and bool(self._digests)
        elif match:
            self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, data: bytes) -> None:
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


class _Reader:
    """The bytes on their way to the inflater, put to the ETag's test as they pass.

    The test has a thread of its own: it takes half as long as inflating does.
    """

    def __init__(
        self, read: Callable[[int, int], bytes], etag: EtagCheck, thread: ThreadPoolExecutor
    ) -> None:
        self._read, self._etag, self._thread = read, etag, thread
        self._behind: deque[Future[None]] = deque()
        self.at = 0

    def read(self, size: int = -1) -> bytes:
        data = self._read(self.at, _BLOCK if size < 0 else size)
        self.at += len(data)
        self._behind.append(self._thread.submit(self._etag.update, data))
        if len(self._behind) > _MAX_BEHIND:
            self._behind.popleft().result()
        return data

    def readinto(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seekable(self) -> bool:
        return False

    def finish(self) -> None:
        """Read what the inflater left, and wait for the test."""
        while self.read(_BLOCK):
            pass
        while self._behind:
            self._behind.popleft().result()


def check(read: Callable[[int, int], bytes], etag: EtagCheck) -> Verdict:
    """Read a file to its end, once.

    Args:
        read: gives up to so many bytes (second) at an offset (first); none at the end.
    """
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
        except (igzip.BadGzipFile, isal_zlib.error, zlib.error) as error:  # type: ignore[misc]
            problem = f"its gzip is damaged: {str(error).rstrip('.')}"
        reader.finish()
    if reader.at == 0:
        problem = "it is empty (0 bytes)"
    return Verdict(etag.matches(), problem)
