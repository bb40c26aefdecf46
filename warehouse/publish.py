"""Publish: finished files become visible together, or not at all.

Every file of a run is finished and synced in the staging folder. Then a journal says what is to
be renamed where and what is to go; then all is renamed in one sweep and the catalog replaced; then
the journal goes. Whoever opens the warehouse next and finds a journal whose writer is dead carries
it out: each step may be done twice. Without a journal nothing of a killed run is visible.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from warehouse.errors import LockedError, StorageError
from warehouse.layout import Layout

Complete = Callable[[Path], None]

_SYNC_SINGLY = 64

logger = logging.getLogger("warehouse")


@dataclass
class Change:
    """What a publish does: paths are relative to the folder that holds cache and staging.

    Attributes:
        renames: (staged, final), each a file.
        removals: files that are no more.
        catalog: the staged catalog.
    """

    catalog: str
    renames: list[tuple[str, str]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)


_turns: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
"""By the lock's file: whose turn it is among this process's writers, who wait for each other."""

# Who held one in a parent is not in the child.
os.register_at_fork(after_in_child=_turns.clear)


@contextmanager
def _turn(layout: Layout) -> Iterator[None]:
    with _turns[os.path.realpath(layout.lock)]:
        yield


@contextmanager
def writer_lock(layout: Layout, complete: Complete, wait: float = 0) -> Iterator[None]:
    """Hold the one writer's lock; what a killed writer left is finished or cleared first.

    A writer of this very process, on another thread, is waited for as long as it takes.

    Args:
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.

    Raises:
        LockedError: another process holds it.
        StorageError: the folder cannot be written to.
    """
    with _turn(layout), _locked(layout, complete, wait):
        yield


@contextmanager
def _locked(layout: Layout, complete: Complete, wait: float) -> Iterator[None]:
    try:
        layout.modes.make_folders(layout.data)
        lock = FileLock(layout.lock, timeout=wait, mode=layout.modes.file)
        try:
            lock.acquire()
        except Timeout:
            raise LockedError(layout.lock, _holder(layout), wait) from None
    except OSError as error:
        raise StorageError(
            layout.data, f"cannot be written to: {error.strerror or error}"
        ) from error
    try:
        # Anew, for the last one may have been another's.
        _note(layout).unlink(missing_ok=True)
        with open(_note(layout), "w", encoding="utf-8", opener=layout.modes.opener) as file:
            file.write(
                f"process {os.getpid()} on {socket.gethostname()}"
                f" since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            )
        recover(layout, complete)
        yield
    finally:
        _note(layout).unlink(missing_ok=True)
        lock.release()


def _note(layout: Layout) -> Path:
    return layout.lock.with_suffix(".txt")


def _holder(layout: Layout) -> str:
    """Who is writing, and since when."""
    try:
        return _note(layout).read_text() or "another process"
    except OSError:
        return "another process"


def recover(layout: Layout, complete: Complete) -> bool:
    """Finish what a killed publish began and clear the staging folder; hold the writer's lock.

    Returns:
        Whether there was a publish to finish.
    """
    found = layout.journal.exists()
    if found:
        try:
            change = Change(**json.loads(layout.journal.read_text("utf-8")))
        except (ValueError, TypeError):
            # It was whole when it got its name: the disk has lost it. What it left half done shows.
            _set_journal_aside(layout)
        else:
            _carry_out(layout, change, complete)
    if layout.staging.exists():
        shutil.rmtree(layout.staging)
    layout.modes.make_folders(layout.staging)
    return found


def _set_journal_aside(layout: Layout) -> None:
    layout.modes.make_folders(layout.set_aside)
    aside = layout.set_aside / f"publish-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json"
    os.replace(layout.journal, aside)
    logger.warning(
        "a publish was interrupted and its journal is damaged (kept as %s);"
        " look what it left with: warehouse verify --repair",
        aside,
    )


def publish(layout: Layout, change: Change, complete: Complete) -> None:
    """Make `change` visible. Hold the writer's lock.

    Args:
        complete: finishes the staged catalog once the files are in place, and may do it twice.

    Raises:
        StorageError: the disk refuses; before the journal stands nothing has changed, after it the
            next opener finishes.
    """
    try:
        for staged in (*(staged for staged, _ in change.renames), change.catalog):
            layout.modes.settle(f"{layout.data}/{staged}")
        _sync(layout, [staged for staged, _ in change.renames] + [change.catalog])
        for folder in {os.path.dirname(final) for _, final in change.renames}:
            layout.modes.make_folders(layout.data / folder)
        draft = layout.staging / "publish.json"
        with open(draft, "w", encoding="utf-8", opener=layout.modes.opener) as file:
            file.write(json.dumps(vars(change), ensure_ascii=False))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, layout.journal)
        _sync_folder(layout.data)
        _carry_out(layout, change, complete)
    except OSError as error:
        raise StorageError(
            error.filename or layout.data, f"cannot publish: {error.strerror or error}"
        ) from error


def _carry_out(layout: Layout, change: Change, complete: Complete) -> None:
    data = layout.data
    for staged, final in change.renames:
        # A rename that is no longer to be done was done before this process came.
        with suppress(FileNotFoundError):
            os.replace(f"{data}/{staged}", f"{data}/{final}")
    for gone in change.removals:
        (data / gone).unlink(missing_ok=True)
        with suppress(OSError):
            (data / gone).parent.rmdir()
    if (data / change.catalog).exists():
        complete(data / change.catalog)
        os.replace(data / change.catalog, layout.catalog)
    _sync(layout, [final for _, final in change.renames])
    _sync_folder(data)
    layout.journal.unlink(missing_ok=True)
    _sync_folder(data)


def _sync(layout: Layout, paths: Iterable[str]) -> None:
    paths = list(paths)
    if len(paths) > _SYNC_SINGLY:
        # One call for all of them beats one each from some dozens on.
        os.sync()
        return
    for path in paths:
        with suppress(FileNotFoundError), open(layout.data / path, "rb") as file:
            os.fsync(file.fileno())
    for folder in {(layout.data / path).parent for path in paths}:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
