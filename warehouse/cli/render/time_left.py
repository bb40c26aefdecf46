"""How far a stage of a run is, and how long what is left of it will take, as far as is known."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from threading import Lock

_LEAST_SECONDS = 5.0
_LEAST_SHARE = 0.02
"""What was measured must come to so much of what is left: nobody foresees fifty times as far."""
_ALIKE = 2
"""Files are alike whose sizes differ by no more than so many powers of two. A file costs time of
its own besides its bytes: small ones say nothing of large ones, nor the other way round."""


@dataclass
class _Spent:
    """What files of about one size have come to.

    Attributes:
        written: of what is done, bytes that are written too, or are being written.
        writing: seconds that this took.
    """

    done: int = 0
    seconds: float = 0.0
    written: int = 0
    writing: float = 0.0


class Pace:
    """Measures a stage while it runs. Safe to use from many threads.

    Attributes:
        bytes, files: of the stage; 0 where that is not known.
        done: bytes of it that are done.
        waits: nothing of it is done, for another stage must go on first.
    """

    def __init__(self, total_bytes: int, files: int = 0) -> None:
        self.bytes, self.files, self.done = total_bytes, files, 0
        self.waits = False
        self._since = self._began = time.monotonic()
        self._ended: float | None = None
        self._begun = 0
        self._spent: defaultdict[int, _Spent] = defaultdict(_Spent)
        self._size = self._of_it = 0
        self._is_writing = False
        self._lock = Lock()

    @property
    def files_done(self) -> int:
        return max(self._begun - 1, 0)

    @property
    def is_done(self) -> bool:
        return 0 < self.bytes <= self.done

    @property
    def rate(self) -> float:
        """Bytes a second since the stage began, until all of it was done."""
        seconds = (self._ended or time.monotonic()) - self._began
        return self.done / seconds if seconds else 0.0

    def begin(self, size: int) -> None:
        """A file of the stage begins; 0 bytes: further work on those before it."""
        with self._lock:
            self._account()
            self.waits = False
            if size:
                self._begun += 1
                self._size, self._of_it = size, 0
            else:
                for spent in self._spent.values():
                    spent.written = spent.done
            self._is_writing = not size

    def advance(self, done: int) -> None:
        with self._lock:
            self.done += done
            self._of_it += done
            if self.is_done:
                self._ended = time.monotonic()
            self._spent[self._size.bit_length()].done += done

    def leave_out(self, size: int) -> None:
        """A file of the stage, of so many bytes, will not begin."""
        with self._lock:
            self.bytes -= size
            self.files -= 1

    def left(self) -> float | None:
        """Seconds that the rest of the stage will take; None: nothing is known of that yet.

        Taken from what files like those that are left took in this run, and from what it took to
        write and publish them, which comes after those of a whole month, the last one too.
        """
        with self._lock:
            self._account()
            rest = self.bytes - self.done
            if rest <= 0:
                return None
            # Of the present file something is left too, unless it is read and being written.
            to_come = self.files - self._begun + (self._of_it < self._size)
            like = round(rest / to_come).bit_length() if self.files and to_come > 0 else None
            alike = [
                spent
                for bits, spent in self._spent.items()
                if like is None or abs(bits - like) <= _ALIKE
            ]
            done, seconds = sum(it.done for it in alike), sum(it.seconds for it in alike)
            written, writing = sum(it.written for it in alike), sum(it.writing for it in alike)
            if seconds + writing < _LEAST_SECONDS or done < rest * _LEAST_SHARE:
                return None
            to_write = rest + done - written
            return rest * seconds / done + (to_write * writing / written if written else 0.0)

    def _account(self) -> None:
        """The time since it was last asked is that of the present file."""
        now = time.monotonic()
        spent = self._spent[self._size.bit_length()]
        if self._is_writing:
            spent.writing += now - self._since
        else:
            spent.seconds += now - self._since
        self._since = now
