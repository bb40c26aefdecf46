"""The journal of a publish: what is renamed and removed, and how far that has come.

It stands in a folder that may be a stranger's, so what it says is believed only where it is what a
publish of ours would have written: files of the staging folder to places that a publish fills,
by their names, with no link on the way. Writers carry it out. Readers only look how far it has
come: nothing is done yet, or all of it, and the files are those of one generation; in between they
are of two, and no answer is given.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NoReturn, TypeAlias

from warehouse.core import small_files
from warehouse.core.paths import STAGED_CATALOG, Layout
from warehouse.core.small_files import plain
from warehouse.errors import DamagedJournalError, InterruptedPublishError, StorageError

WAIT_SECONDS = 60.0
"""So long a reader waits for a publish that is under way; it takes seconds at most."""

_PAUSE_SECONDS = 0.02
MOST_BYTES = 1 << 26
"""Of a journal. Some 10,000 symbols of a month, each with rejects of each day, take half of it; to
read one takes ten times as much memory."""
_SHOWN = 500
_KEYS = frozenset(("catalog", "renames", "removals"))

Progress: TypeAlias = Literal["begun", "torn", "done"]
"""How far a publish has come: nothing is renamed yet; some of it; all of it, the catalog too."""
Identity: TypeAlias = tuple[int, int, int]
"""A file's inode, modification time (nanoseconds UTC) and bytes."""


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


@dataclass(frozen=True)
class Standing:
    """A journal whose writer is dead, and how far its publish had come; never "torn"."""

    identity: Identity
    change: Change
    progress: Progress


# Reading and checking


def read(layout: Layout) -> Change | None:
    """What the journal says; None where there is none.

    Raises:
        DamagedJournalError: no publish of this warehouse would have written it.
    """
    try:
        text, facts = small_files.read_sidecar(layout.journal, MOST_BYTES)
        _check_owner(layout, facts)
    except FileNotFoundError:
        return None
    except OSError as error:
        if os.path.islink(layout.journal):
            _refuse(layout, "it is a link")
        _refuse(layout, f"it cannot be read: {error.strerror or error}")
    except ValueError as error:
        _refuse(layout, str(error))
    change = _parsed(layout, text)
    check(layout, change)
    return change


def text_of(change: Change) -> str:
    """A change as the journal holds it."""
    return json.dumps(vars(change), ensure_ascii=False)


def check(layout: Layout, change: Change) -> None:
    """Look whether a change is one that a publish of this warehouse makes.

    Raises:
        DamagedJournalError: a name of it is none of ours, comes twice, or has a link on its way.
    """
    if change.catalog != STAGED_CATALOG:
        _refuse(layout, f"{change.catalog!r} is no staged catalog")
    staged = [name for name, _ in change.renames]
    final = [name for _, name in change.renames] + change.removals
    for name in staged:
        if not layout.is_staged(name):
            _refuse(layout, f"{name!r} is no staged file")
    for name in final:
        if not layout.is_published(name):
            _refuse(layout, f"{name!r} is no place that a publish fills")
    for names in ([*staged, change.catalog], final):
        if len(set(names)) < len(names):
            _refuse(layout, "it names a file twice")
    try:
        odd = obstructed(layout, [*staged, *final, change.catalog])
        if odd is not None:
            folder, is_link = odd
            _refuse(layout, f"{folder!r} is {'a link' if is_link else 'no folder'}")
        for name in (*staged, change.catalog):
            facts = _facts(layout, name)
            if facts is not None and not stat.S_ISREG(facts.st_mode):
                _refuse(layout, f"{name!r} is no file")
        for name in final:
            facts = _facts(layout, name)
            if facts is not None and stat.S_ISDIR(facts.st_mode):
                _refuse(layout, f"{name!r} is a folder")
    except OSError as error:
        _refuse(layout, f"{error.filename}: {error.strerror or error}")


def _refuse(layout: Layout, problem: str) -> NoReturn:
    shown = problem if len(problem) <= _SHOWN else f"{problem[:_SHOWN]}…"
    raise DamagedJournalError(layout.journal, shown)


def _check_owner(layout: Layout, facts: os.stat_result) -> None:
    """It must be the folder's owner who wrote it, or whoever reads; or one of a group that shares.

    The administrator's word needs no other's.
    """
    folder = os.stat(layout.data)
    if facts.st_uid in (folder.st_uid, os.geteuid(), 0):
        return
    if layout.modes.file & stat.S_IWGRP and facts.st_gid == folder.st_gid:
        return
    _refuse(layout, f"user {facts.st_uid} wrote it, and the folder is of user {folder.st_uid}")


def _parsed(layout: Layout, text: bytes) -> Change:
    try:
        found = small_files.parsed_names(text)
    except ValueError:
        _refuse(layout, "it is not what was written")
    if not isinstance(found, dict) or found.keys() != _KEYS:
        _refuse(layout, "it has other keys than a journal")
    catalog, renames, removals = found["catalog"], found["renames"], found["removals"]
    if not (
        isinstance(catalog, str)
        and isinstance(renames, list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in renames)
        and isinstance(removals, list)
        and all(isinstance(name, str) for pair in (*renames, removals) for name in pair)
    ):
        _refuse(layout, "its values are of other types than a journal's")
    return Change(catalog, [(staged, final) for staged, final in renames], removals)


def obstructed(layout: Layout, names: Iterable[str]) -> tuple[str, bool] | None:
    """A folder on the way to a file that is none, and whether it is a link; None: all are folders.

    A link is none, but for a whole shelf that stands elsewhere.

    Args:
        names: below the data folder.
    """
    seen: set[str] = set()
    for name in names:
        folder = name
        while (folder := os.path.dirname(folder)) and folder not in seen:
            seen.add(folder)
            facts = _facts(layout, folder)
            if facts is None:
                continue
            if stat.S_ISLNK(facts.st_mode):
                if not layout.is_shelf(folder):
                    return folder, True
            elif not stat.S_ISDIR(facts.st_mode):
                return folder, False
    return None


def _facts(layout: Layout, name: str) -> os.stat_result | None:
    try:
        return os.lstat(f"{layout.data}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        return None


# What readers see


def stands(layout: Layout) -> bool:
    """Whether a publish is under way, or was broken off."""
    return _identity(layout) is not None


def settle(layout: Layout) -> Standing | None:
    """Wait for a publish that is under way; of one whose writer is dead, how far it had come.

    Readers finish nothing: that is for whoever writes next.

    Raises:
        InterruptedPublishError: it was broken off half-way, or its journal cannot be believed.
        StorageError: it is not done in time.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while (identity := _identity(layout)) is not None:
        if not _is_held(layout):
            try:
                change = read(layout)
                found = None if change is None else progress_of(layout, change)
                problem = "half of it is done"
            except DamagedJournalError as error:
                change = found = None
                problem = error.problem
            # Meanwhile another may have begun to finish it, or have done so.
            if _identity(layout) == identity and not _is_held(layout):
                if change is None or found is None or found == "torn":
                    raise InterruptedPublishError(layout.journal, problem)
                return Standing(identity, change, found)
        if time.monotonic() > deadline:
            raise StorageError(
                layout.journal,
                f"a publish by {holder(layout)} is not done after {WAIT_SECONDS:.0f} s;"
                " try again when it is",
            )
        time.sleep(_PAUSE_SECONDS)
    return None


def is_as_it_was(layout: Layout, standing: Standing | None) -> bool:
    """Whether no publish has begun, or gone on, since `settle` said how it stands."""
    if standing is None:
        return not stands(layout)
    # How far it is first: the journal goes last.
    there = progress_of(layout, standing.change) == standing.progress
    return there and _identity(layout) == standing.identity


def progress_of(layout: Layout, change: Change) -> Progress:
    """How far a change has been carried out."""
    try:
        waiting = {
            _facts(layout, name) is not None
            for name in (*(staged for staged, _ in change.renames), change.catalog)
        }
        present = {_facts(layout, name) is not None for name in change.removals}
    except OSError:
        return "torn"
    if False not in waiting | present:
        return "begun"
    return "torn" if True in waiting | present else "done"


def holder(layout: Layout) -> str:
    """Who is writing, and since when."""
    try:
        with open(plain(layout.lock_note), encoding="utf-8", errors="replace") as file:
            return file.read(200) or "another process"
    except OSError:
        return "another process"


def _identity(layout: Layout) -> Identity | None:
    try:
        facts = os.lstat(layout.journal)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(layout.journal, f"cannot be read: {error.strerror or error}") from error
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _is_held(layout: Layout) -> bool:
    """Whether a process holds the writer's lock; whoever cannot tell waits.

    Held for a moment by a reader, and shared, it keeps out a writer who tries once; those try for
    longer than that.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(layout.lock, flags)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def catalog_identity(layout: Layout) -> Identity | None:
    """What tells the present catalog file from one before or after; None where there is none."""
    try:
        stat = os.stat(layout.catalog)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(layout.catalog, f"cannot be read: {error.strerror or error}") from error
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
