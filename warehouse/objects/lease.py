"""The one writer of a bucket: an object that says who it is, and that it still is at work.

It is renewed all the time; whoever finds it older than it may be takes its place. How old it is
says the server, which knows when it was written: no two machines' clocks are compared. What is
published is protected by its own condition; the lease keeps writers from doing work in vain.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from warehouse.core.small_files import parsed_json
from warehouse.errors import (
    LeaseLostError,
    LockedError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectStorageError,
)
from warehouse.text import printable

if TYPE_CHECKING:
    from warehouse.objects.bucket import Bucket

logger = logging.getLogger("warehouse")

KEY = "lease.json"
SECONDS = 60.0
"""A lease that was not renewed for so long is taken over."""

_MARGIN = 2.0
"""Seconds: what is written is stamped with whole ones."""
_MOST_BYTES, _SHOWN = 4_096, 200
_MOST_SECONDS = 3_600.0
_PAUSE = 1.0
_RACES = 10
"""So often in turn others may make and remove it between two requests, which they do not do."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where the system has one that does."""


class Lease:
    """Held by whoever publishes; made by `hold`. `check` it before anything becomes visible."""

    def __init__(self, bucket: Bucket, place: str, seconds: float) -> None:
        self._bucket, self._place, self.seconds = bucket, place, seconds
        self._etag, self._renewed, self._problem = "", 0.0, ""
        self._nonce, self._beats = uuid4().hex, 0
        self._holder = (
            f"process {os.getpid()} on {socket.gethostname()}"
            f" since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        self._ended, self._turn = threading.Event(), threading.Lock()

    def check(self) -> None:
        """Look whether it is still held.

        Raises:
            LeaseLostError: it is not, or nobody can tell.
        """
        if not self._problem and _now() - self._renewed > self.seconds:
            self._problem = f"the lease could not be renewed for {self.seconds:.0f} s"
        if self._problem:
            raise LeaseLostError(
                self._bucket.url,
                f"{self._problem}; nothing more is published by this run: run it again",
            )

    def _body(self, *, is_free: bool = False) -> bytes:
        self._beats += 1
        told = {
            "holder": self._holder,
            "place": self._place,
            "seconds": self.seconds,
            "is_free": is_free,
            # So that no two of them are alike, and each has an ETag of its own.
            "beat": f"{self._nonce}-{self._beats}",
        }
        return json.dumps(told).encode()

    def _take(self, wait: float) -> None:
        deadline, races = time.monotonic() + wait, 0
        while True:
            began = _now()
            try:
                content, etag, age = self._bucket.get_aged(KEY, _MOST_BYTES)
            except ObjectMissingError:
                with suppress(ObjectExistsError):
                    self._etag, self._renewed = self._bucket.create(KEY, self._body()), began
                    return
                races += 1
                if races < _RACES:
                    continue
                raise ObjectStorageError(
                    self._bucket.url,
                    f"{KEY} can neither be read nor made, being there for the one and not for the"
                    " other; remove what stands there, a folder perhaps",
                ) from None
            holder, place, seconds = _told(content, self.seconds)
            # Of this very folder, whose lock is held: who wrote it is dead.
            if holder is None or place == self._place or age > seconds + _MARGIN:
                with suppress(ObjectChangedError):
                    self._etag = self._bucket.replace(KEY, self._body(), etag)
                    self._renewed = began
                    if holder is not None and place != self._place:
                        logger.warning("the lease of %s is taken over after %.0f s", holder, age)
                    return
                races += 1
                if races < _RACES:
                    continue
                raise ObjectStorageError(
                    self._bucket.url,
                    f"{KEY} is nobody's and cannot be taken: the server answers each time that it"
                    " was replaced meanwhile; does a proxy on the way change ETags?",
                )
            races = 0
            if time.monotonic() >= deadline:
                last = f"; it was last heard of {max(age, 0):.0f} s ago"
                raise LockedError(f"{self._bucket.url}/{KEY}", f"{holder}{last}", wait)
            time.sleep(min(_PAUSE, max(deadline - time.monotonic(), 0)))

    def renew(self) -> None:
        """Renew it now: no other writer can have it for its time from here on.

        Raises:
            LeaseLostError: it is not held any more.
            ObjectStorageError: the bucket cannot be spoken to.
        """
        self._beat()
        self.check()

    def _beat(self) -> None:
        with self._turn:
            if self._problem:
                return
            began = _now()
            try:
                self._etag = self._bucket.replace(KEY, self._body(), self._etag)
            except ObjectChangedError:
                self._problem = "another writer has taken over the lease"
            else:
                self._renewed = began

    def _keep(self) -> None:
        while not self._problem and not self._ended.wait(self.seconds / 4):
            # Again, as long as it holds; `check` tells when it no longer does.
            with suppress(ObjectStorageError):
                self._beat()

    def _release(self) -> None:
        with suppress(ObjectStorageError):
            self._bucket.replace(KEY, self._body(is_free=True), self._etag)


@contextmanager
def hold(
    bucket: Bucket, data: Path, wait: float = 0, seconds: float | None = None
) -> Iterator[Lease]:
    """Hold the lease; who it was taken from, and is not dead, publishes nothing more.

    Args:
        data: this machine's data folder, whose lock is held.
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.
        seconds: after so long without a renewal another may take it over; None: `SECONDS`.

    Raises:
        LockedError: another writer holds it.
        ObjectStorageError: the bucket cannot be spoken to.
    """
    lease = Lease(bucket, _place(data), SECONDS if seconds is None else seconds)
    lease._take(wait)
    renewing = threading.Thread(target=lease._keep, name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        lease._ended.set()
        renewing.join()
        lease._release()


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _told(content: bytes, seconds: float) -> tuple[str | None, str, float]:
    """Who holds a lease, where, and for how long; None: nobody."""
    try:
        told = parsed_json(content)
        if told["is_free"] is True:
            return None, "", 0.0
        holder, place, lasts = told["holder"], told["place"], told["seconds"]
    except (ValueError, TypeError, KeyError):
        return "another process", "", seconds
    holder = printable(holder)[:_SHOWN] if type(holder) is str else "another process"
    # Of NaN nothing is ever more.
    if type(lasts) not in (int, float) or not 0 < lasts < math.inf:
        lasts = seconds
    return holder, place if type(place) is str else "", min(lasts, _MOST_SECONDS)


def _place(data: Path) -> str:
    """What stands for a data folder of a machine that has not been started anew since."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = uuid4().hex
    # Containers of one machine may have its name, and folders of their own by one path.
    folder = ""
    with suppress(OSError):
        facts = os.stat(data)
        folder = f"{facts.st_dev}:{facts.st_ino}"
    told = "\n".join([boot, socket.gethostname(), os.path.realpath(data), folder])
    return hashlib.sha256(told.encode()).hexdigest()
