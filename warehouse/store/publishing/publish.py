"""Publish: finished files become visible together, or not at all.

Every file of a run is finished and synced in the staging folder. Then a journal says what is to
be renamed where and what is to go; then all is renamed in one sweep and the catalog replaced; then
the journal goes. Whoever writes next and finds a journal whose writer is dead carries it out: each
step may be done twice. Without a journal nothing of a killed run is visible. Readers finish
nothing (`journal.settle`).
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import is_beside_foreign_log, keep_copy
from warehouse.core.paths import (
    OWN_FOLDERS,
    SHELF_STAGING,
    STAGED_CATALOG,
    Layout,
    explained,
    parse_partition,
    sync_folder,
)
from warehouse.core.permissions import check_links
from warehouse.errors import DamagedJournalError, LockedError, StorageError
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import data_folder_id, journal
from warehouse.store.catalog import Catalog, CatalogChange, id_in, names_any
from warehouse.store.catalog_tables import note_sound
from warehouse.store.journal import Change
from warehouse.store.manifests import Key
from warehouse.store.publishing import kept_tables, next_catalog
from warehouse.store.publishing.set_aside import make_way, rename, set_aside

_SYNC_SINGLY = 64
_LEAST_WAIT = 0.2
"""So many seconds every writer tries: a reader may hold the lock for a moment to see who does."""

logger = logging.getLogger("warehouse")


_turns: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
"""By the lock's file: whose turn it is among this process's writers, who wait for each other."""

# Who held one in a parent is not in the child.
os.register_at_fork(after_in_child=_turns.clear)

_NO_LOCK = "is no file, and writers lock one of this name: move it elsewhere"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What a disk says that keeps no locks, as one on the network may."""


@contextmanager
def _turn(layout: Layout, wait: float | None) -> Iterator[None]:
    turn = _turns[os.path.realpath(layout.lock)]
    if not turn.acquire(timeout=-1 if wait is None else wait):
        raise LockedError(layout.lock, journal.holder(layout), wait or 0)
    try:
        yield
    finally:
        turn.release()


@contextmanager
def writer_lock(
    layout: Layout,
    wait: float = 0,
    told: Callable[[], str | None] = lambda: None,
    turn: float | None = None,
) -> Iterator[None]:
    """Hold the one writer's lock; what a killed writer left is finished or cleared first.

    Args:
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.
        told: says the id of a warehouse of which nothing is here yet.
        turn: seconds to wait for a writer of this very process, on another thread; None: as long
            as it takes.

    Raises:
        LockedError: another process holds it.
        StorageError: the folder cannot be written to, or is another's.
        ForeignWarehouseError: it is another user's, and a link in it leads out.
    """
    with _turn(layout, turn), _locked(layout, wait, told):
        yield


@contextmanager
def _locked(layout: Layout, wait: float, told: Callable[[], str | None]) -> Iterator[None]:
    data_folder_id.look(layout)
    try:
        layout.modes.make_folders(layout.data)
        lock = FileLock(
            layout.lock,
            timeout=max(wait, _LEAST_WAIT),
            mode=layout.modes.file,
            poll_interval=_LEAST_WAIT / 4,
        )
        try:
            lock.acquire()
        except Timeout:
            raise LockedError(layout.lock, journal.holder(layout), wait) from None
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            problem = (
                f"cannot be locked: {error.strerror}; two writers could not be told from one there:"
                " let its disk keep locks (of NFS: the service for locks), or set"
                " storage.cache_dir to a folder on another disk"
            )
            raise StorageError(layout.data, problem) from error
        if _is_no_lock(layout.lock):
            raise StorageError(layout.lock, _NO_LOCK) from error
        raise data_folder_id.refused(layout, error, "cannot be written to", layout.data) from error
    try:
        # Anew, for the last one may have been another's.
        layout.lock_note.unlink(missing_ok=True)
        # A full disk has no room for it, and a prune is to make some.
        with (
            suppress(OSError),
            open(layout.lock_note, "w", encoding="utf-8", opener=layout.modes.opener) as file,
        ):
            file.write(
                f"process {os.getpid()} on {socket.gethostname()}"
                f" since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            )
        _check_folders(layout)
        try:
            # Others make and remove folders until it is locked.
            check_links(layout.data, layout.data_confines, layout.raw)
        except OSError as error:
            raise data_folder_id.refused(layout, error, "cannot be looked into") from error
        try:
            data_folder_id.claim(layout, lambda: id_in(layout) or told())
            recover(layout)
        except OSError as error:
            problem = "cannot end what a run before left"
            raise data_folder_id.refused(layout, error, problem) from error
        yield
    finally:
        layout.lock_note.unlink(missing_ok=True)
        lock.release()


def _is_no_lock(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isfile(path)


def _check_folders(layout: Layout) -> None:
    """Refuse where what every publish needs is no folder, or leads nowhere.

    What lies elsewhere is not gone: a catalog that speaks of it is sound, and is not to be set
    aside.
    """
    for path, problem in misplaced(layout):
        if _is_for_all(layout, path):
            raise StorageError(path, problem)


def _is_for_all(layout: Layout, path: Path) -> bool:
    """Whether no publish can do without a place; what has to write to another tells of it."""
    if path.is_relative_to(layout.raw):
        return False
    if os.path.islink(path):
        # Of a single data type the rows alone cannot be had.
        return path.parent not in (layout.cache, layout.rejects)
    return path not in (layout.rejects, layout.reference, layout.source_note)


def misplaced(layout: Layout) -> Iterator[tuple[Path, str]]:
    """Places of the warehouse's folders where there is none, but a file or a link to nowhere.

    And those of its marks and its lock where there is no file.

    Yields:
        Each place, what is wrong with it, and what to do by hand: no repair moves what may be a
        disk that is not mounted.
    """
    for name in sorted(OWN_FOLDERS - layout.tiers):
        try:
            layout.check_own(layout.data / name)
        except StorageError as error:
            yield layout.data / name, error.problem
    names = {"schema", "staging", *layout.tiers}
    for path in (layout.raw, *(layout.data / name for name in sorted(names))):
        if os.path.isfile(path):
            yield path, "is a file, not a folder; move it away"
    for path in (layout.marker, layout.source_note):
        if os.path.isdir(path):
            yield path, data_folder_id.A_FOLDER_IS_THERE
    if _is_no_lock(layout.lock):
        yield layout.lock, _NO_LOCK
    raw = (layout.raw, *(layout.raw / name for name in DATA_TYPES))
    for path in (*raw, *(layout.data / shelf for shelf in layout.shelves())):
        # A folder that may not be looked into is told by what has to write there.
        if os.path.islink(path):
            try:
                os.stat(path)
            except OSError as error:
                yield path, f"{explained(path, error)}; mount its disk, or mend the link"


def recover(layout: Layout) -> bool:
    """Finish what a killed publish began and clear the staging folder; hold the writer's lock.

    Returns:
        Whether there was a publish to finish.

    Raises:
        OSError, StorageError: the disk refuses.
    """
    found = journal.stands(layout)
    if found:
        try:
            change = journal.read(layout)
        except DamagedJournalError as error:
            # The disk has lost what it said, or it is none of ours. What it left half done shows.
            _set_journal_aside(layout, error)
        else:
            if change is not None and _is_lost(layout, change):
                problem = "what it was to put in place is lost"
                _set_journal_aside(layout, DamagedJournalError(layout.journal, problem))
            elif change is not None:
                _make_folders(layout, change)
                _carry_out(layout, change)
    if os.path.ismount(layout.staging):
        raise StorageError(
            layout.staging,
            "is a disk of its own; unfinished work must lie beside the cache folder: unmount it",
        )
    if layout.staging.exists():
        remove(layout.staging)
    _clear_shelves(layout)
    layout.modes.make_folders(layout.staging)
    _set_foreign_log_aside(layout)
    return found


def _is_lost(layout: Layout, change: Change) -> bool:
    """Whether of a publish nothing but its removals is left to do, and the rest was never done.

    As in a copy that was made without the staging folder: what is to go the catalog in place still
    names. Of a publish that was done but for its removals that is its own, and does not.
    """
    staged = [change.catalog, *(name for name, _ in change.renames)]
    if any(os.path.lexists(layout.data / name) for name in staged):
        return False
    gone = [name for name in change.removals if os.path.lexists(layout.data / name)]
    return bool(gone) and names_any(layout, gone)


def _set_journal_aside(layout: Layout, error: DamagedJournalError) -> None:
    logger.warning(
        "a publish was interrupted and %s; kept as %s;"
        " look what it left with: warehouse verify --repair",
        error.problem,
        set_aside(layout, layout.journal),
    )


def _set_foreign_log_aside(layout: Layout) -> None:
    """Keep elsewhere what a shell that writes has put beside the catalog after the one it opened.

    Or this one's own, if it is damaged. No shell opens a catalog beside such a log, and where
    nothing is to be published no other catalog would come.
    """
    try:
        is_foreign = is_beside_foreign_log(layout.catalog)
    except duckdb.Error:
        # What else is wrong with the catalog is told by who opens it.
        return
    if is_foreign:
        logger.warning(
            "%s.wal does not fit the catalog that it stands beside: it is damaged, or of one that"
            " stood here before, which a duckdb has open for writing, or had; kept as %s;"
            " open the catalog with: duckdb -readonly",
            layout.catalog,
            set_aside(layout, Path(f"{layout.catalog}.wal")),
        )


def publish(layout: Layout, change: Change) -> None:
    """Make `change` visible. Hold the writer's lock.

    Raises:
        StorageError: the disk refuses; before the journal stands nothing has changed, after it the
            next writer finishes.
    """
    try:
        for staged in (*(staged for staged, _ in change.renames), change.catalog):
            layout.modes.settle(f"{layout.data}/{staged}")
        _check_ways(layout, change.renames)
        _make_folders(layout, change)
        try:
            change = _beside_their_places(layout, change)
            _sync(layout, [staged for staged, _ in change.renames] + [change.catalog])
        except OSError:
            _clear_shelves(layout)
            raise
        try:
            # What no writer would carry out is not begun.
            journal.check(layout, change)
        except DamagedJournalError as error:
            _check_no_folder(layout, change)
            raise StorageError(
                layout.data, f"cannot publish: {error.reason}; {_may_be_links(layout)}"
            ) from error
        text = journal.text_of(change)
        if len(text.encode()) > journal.MOST_BYTES:
            # Nobody would believe it, nor end what it began.
            count = len(change.renames) + len(change.removals)
            raise StorageError(
                layout.data,
                f"cannot publish {count:,} files at once; ask for fewer sessions or symbols",
            )
        draft = layout.staging / "publish.json"
        with open(draft, "w", encoding="utf-8", opener=layout.modes.opener) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, layout.journal)
        _sync_folder(layout.data)
        _carry_out(layout, change)
    except OSError as error:
        raise _refused(layout, error) from error


def check_places(
    layout: Layout,
    moves: Sequence[tuple[str, str]],
    waiting: Iterable[tuple[str, str]] = (),
    removals: Iterable[Path] = (),
) -> None:
    """Look whether files can be put where they go, before anything else is published with them.

    Args:
        moves: (staged, final), absolute.
        waiting: those that are to be published before them, and were looked at.
        removals: files that are to go, absolute.

    Raises:
        StorageError: a folder cannot be made or written to, or is a link, another stands in a
            file's place, or a disk that is not the data folder's has no room.
    """
    here = f"{layout.data}/"
    going = [str(path) for path in removals if os.path.lexists(path)]
    try:
        renames = [(start, final.removeprefix(here)) for start, final in moves]
        ways = [*renames, *(("", path.removeprefix(here)) for path in going)]
        _check_ways(layout, ways)
        _make_folders(layout, Change("", ways, []))
        for final in (*(final for _, final in moves), *going):
            if os.path.isdir(final) and not os.path.islink(final):
                raise IsADirectoryError(None, data_folder_id.A_FOLDER_IS_THERE, final)
        _check_room(layout, moves, waiting)
    except OSError as error:
        raise _refused(layout, error) from error


def _check_room(
    layout: Layout, moves: Iterable[tuple[str, str]], waiting: Iterable[tuple[str, str]]
) -> None:
    """Of a disk of the data folder's own the staging tier knows already."""

    def shelf_of(final: str) -> str:
        return f"{layout.data}/{_shelf_of(layout, final.removeprefix(f'{layout.data}/'))}"

    device = os.stat(layout.staging).st_dev
    shelves = {shelf_of(final) for _, final in moves}
    needed = {shelf: 0 for shelf in shelves if os.stat(shelf).st_dev != device}
    for staged, final in [*waiting, *moves] if needed else ():
        if (shelf := shelf_of(final)) in needed:
            needed[shelf] += os.stat(staged).st_size
    for shelf, size in needed.items():
        disk = os.statvfs(shelf)
        if disk.f_bfree * disk.f_frsize < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), shelf)


def _may_be_links(layout: Layout) -> str:
    tiers = ", ".join(sorted(layout.tiers))
    return (
        f"of the folders here only a tier ({tiers}), or what it holds of a data type, may be a link"
    )


def _refused(layout: Layout, error: OSError) -> StorageError:
    place = error.filename or layout.data
    return StorageError(place, f"cannot publish: {error.strerror or error}")


def _check_ways(layout: Layout, renames: Iterable[tuple[str, str]]) -> None:
    """Look where the ways to the places lead, before a folder is made there."""
    odd = journal.obstructed(layout, [final for _, final in renames])
    if odd is not None and odd[1]:
        problem = f"cannot publish: it is a link; {_may_be_links(layout)}"
        raise StorageError(layout.data / odd[0], problem)


def _check_no_folder(layout: Layout, change: Change) -> None:
    for final in (*(final for _, final in change.renames), *change.removals):
        path = layout.data / final
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(None, data_folder_id.A_FOLDER_IS_THERE, str(path))


def _make_folders(layout: Layout, change: Change) -> None:
    """The folders of what is renamed, each of which can be written to."""
    for folder in {os.path.dirname(final) for _, final in change.renames}:
        layout.modes.make_folders(layout.data / folder)
        if not os.access(f"{layout.data}/{folder}", os.W_OK | os.X_OK):
            is_read_only = os.statvfs(layout.data / folder).f_flag & os.ST_RDONLY
            number = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(number, os.strerror(number), f"{layout.data}/{folder}")


def _beside_their_places(layout: Layout, change: Change) -> Change:
    """The change, with what goes to another disk copied to that disk first."""
    data = layout.data
    here = os.stat(layout.staging).st_dev
    shelves = {final: _shelf_of(layout, final) for _, final in change.renames}
    elsewhere = {shelf for shelf in set(shelves.values()) if os.stat(data / shelf).st_dev != here}
    if not elsewhere:
        return change
    renames = []
    for number, (staged, final) in enumerate(change.renames):
        shelf = shelves[final]
        if shelf in elsewhere:
            layout.modes.make_folder(data / shelf / SHELF_STAGING)
            near = f"{shelf}/{SHELF_STAGING}/{number}"
            _copy(layout, f"{data}/{staged}", f"{data}/{near}")
            os.unlink(data / staged)
            staged = near
        renames.append((staged, final))
    return Change(change.catalog, renames, change.removals)


def _shelf_of(layout: Layout, final: str) -> str:
    """The folder of a file that may be a disk of its own."""
    shelf = "/".join(final.split("/")[:2])
    return shelf if layout.is_shelf(shelf) else shelf.partition("/")[0]


def _carry_out(layout: Layout, change: Change) -> None:
    data = layout.data
    for name in change.removals:
        if name.startswith(f"{layout.schema.name}/"):
            # From now on a shell with the catalog before is told: it would look for a symbol in
            # the file that had it, and find no row.
            (data / name).unlink(missing_ok=True)
    for staged, final in change.renames:
        # A rename that is no longer to be done was done before this process came.
        with suppress(FileNotFoundError):
            _put(layout, f"{data}/{staged}", f"{data}/{final}")
    for gone in change.removals:
        (data / gone).unlink(missing_ok=True)
        with suppress(OSError):
            (data / gone).parent.rmdir()
    if (data / change.catalog).exists():
        os.replace(data / change.catalog, layout.catalog)
        _drop_log(layout)
    _sync(layout, [final for _, final in change.renames])
    _sync_folder(data)
    layout.journal.unlink(missing_ok=True)
    _sync_folder(data)
    _clear_shelves(layout)


def _drop_log(layout: Layout) -> None:
    """Remove what a shell that writes had not yet put into the catalog that stood here."""
    log = Path(f"{layout.catalog}.wal")
    try:
        log.unlink(missing_ok=True)
    except OSError:
        if not log.is_dir():
            raise
        # A folder is no log: it is somebody's, and DuckDB opens nothing beside it.
        set_aside(layout, log)


def _put(layout: Layout, staged: str, final: str) -> None:
    """Rename a file; over the edge of a disk, or of a mount, copy it and rename the copy."""
    try:
        os.replace(staged, final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = f"{final}.new"
        _copy(layout, staged, draft)
        os.replace(draft, final)
        os.unlink(staged)


def _copy(layout: Layout, source: str, target: str) -> None:
    try:
        with (
            open(source, "rb") as old,
            open(target, "wb", opener=layout.modes.opener) as new,
        ):
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())
    except OSError as error:
        # A write that is refused names no file, and the disk may be another than the data folder's.
        error.filename = error.filename or target
        raise


def _clear_shelves(layout: Layout) -> None:
    """Remove what waited on disks of their own, and is not to be published any more.

    Such a disk may be somebody else's too, and a folder of that name theirs: only files are removed
    that are named as ours are. Where the disk refuses, what has to write there tells it; the next
    writer tries again.
    """
    for shelf in layout.shelves():
        folder = layout.data / shelf / SHELF_STAGING
        with suppress(OSError):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                continue
            with os.scandir(folder) as entries:
                ours = [each.path for each in entries if layout.is_staged_name(each.name)]
            for path in ours:
                os.unlink(path)
            os.rmdir(folder)


def remove(folder: Path) -> None:
    """Remove a folder of the warehouse with all that is in it.

    Raises:
        OSError: the system refuses; or it is nested more deeply than Python follows, as no run of
            ours leaves it.
    """
    try:
        shutil.rmtree(folder)
    except RecursionError:
        problem = f"folders in it are nested too deeply; remove it with: rm -r {folder}"
        raise OSError(errno.ENAMETOOLONG, problem, str(folder)) from None


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
        sync_folder(folder)


def publish_here(layout: Layout, change: Change, superseded: Sequence[Path]) -> None:
    """Make `change` visible where the folder is all there is; see `publish`."""
    publish(layout, change)


def _is_file(path: Path) -> bool:
    """Whether a file, or a link, stands at a place: a folder there refuses the publish."""
    try:
        return not stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _unknown(layout: Layout, paths: Iterable[Path]) -> Iterator[Path]:
    """Those that stand where partitions or rejects do, and of which the catalog says nothing."""
    partitions: dict[Path, Key] = {}
    rejects: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        tier, kind, *below = path.relative_to(layout.data).parts
        if tier == layout.rejects.name:
            rejects[kind].append(path)
        elif tier == layout.cache.name and (key := parse_partition("/".join([kind, *below]))):
            partitions[path] = kind, key.month
    if not partitions and not rejects:
        return
    # Manifests of other months are not read for it.
    keys = {*partitions.values()}
    with Catalog(layout, keys) as catalog:
        known = {
            layout.cache / name
            for kind, month in keys
            for name in catalog.partition_names(kind, month, month)
        }
        for kind, there in rejects.items():
            months = {path.parent.name for path in there}
            known |= {layout.rejects_of(file) for file in catalog.files_of(kind, months)}
    yield from (path for path in [*partitions, *chain(*rejects.values())] if path not in known)


@dataclass(frozen=True)
class Committer:
    """Publishes to one warehouse; hold its writer's lock.

    Attributes:
        sql: the folder whose catalog/ makes the catalog.
        publish: makes a change visible; it is told what files of the data folder are superseded,
            and stay for a day.
        prove: makes sure, at this very moment, that nobody else writes: before what a publish
            does not protect.
    """

    layout: Layout
    sql: SqlFolder
    publish: Callable[[Layout, Change, Sequence[Path]], None] = publish_here
    prove: Callable[[], None] = lambda: None

    @property
    def _config_dir(self) -> Path:
        return self.layout.root / "config"

    def commit(
        self,
        change: CatalogChange,
        moves: Iterable[tuple[str, str]] = (),
        removals: Iterable[Path] = (),
    ) -> None:
        """Make a change visible, all of it or nothing.

        Args:
            moves: (staged, final), absolute.
            removals: files that are no more, absolute.

        Raises:
            StorageError: the disk refuses.
            SqlFileError: a file of sql/catalog or config/ fails.
        """
        layout = self.layout
        here = f"{layout.data}/"
        staged = layout.data / STAGED_CATALOG
        staged.unlink(missing_ok=True)
        with next_catalog.build(staged, layout, self.sql, self._config_dir, change) as (
            connection,
            built,
        ):
            if built.others:
                self._keep(built.others)
            kept, gone = kept_tables.stage(connection, layout, change, built.broken_off)
        moves = list(moves)
        self._make_way([Path(end) for _, end in moves])
        note_sound(staged, layout.catalog, data_folder_id.id_of(layout))
        pages = [(str(start), str(end)) for start, end in [*built.moves, *kept]]
        make_way(layout, [Path(end) for _, end in pages])
        self.publish(
            layout,
            Change(
                catalog=STAGED_CATALOG,
                renames=[
                    (start.removeprefix(here), end.removeprefix(here))
                    for start, end in [*moves, *pages]
                ],
                removals=[
                    str(path).removeprefix(here) for path in [*removals, *built.removals, *gone]
                ],
            ),
            built.superseded,
        )
        for path in built.superseded:
            # From now on it is kept for a day.
            with suppress(OSError):
                os.utime(path)

    def _make_way(self, places: Iterable[Path]) -> None:
        """Keep what stands where partitions and rejects are to go, and the catalog knows not.

        Somebody else has put it there: a rename onto it would destroy it.
        """
        layout = self.layout
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        for path in _unknown(layout, [path for path in places if _is_file(path)]):
            kept = layout.set_aside / f"unknown-{stamp}" / path.relative_to(layout.data)
            try:
                layout.make_aside(kept.parent)
                rename(path, kept)
            except OSError as error:
                raise StorageError(
                    path, f"is no file that the catalog knows, and cannot be kept: {error.strerror}"
                ) from error
            logger.warning(
                "%s was no file that the catalog knows; what is published takes its place, and it"
                " is kept as %s",
                path,
                kept,
            )

    def _keep(self, others: list[str]) -> None:
        """Keep the catalog that is about to be replaced: somebody else made something in it."""
        layout = self.layout
        kept = layout.set_aside / f"warehouse-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.duckdb"
        try:
            layout.modes.make_folders(kept.parent)
            for file in keep_copy(layout.catalog, kept):
                layout.modes.settle(file)
        except OSError as error:
            raise StorageError(
                kept, f"cannot keep {', '.join(others)}: {error.strerror or error}"
            ) from error
        logger.warning(
            "%s in the catalog: each publish makes it anew, and takes nothing over that is not its"
            " own; kept in %s. Tables of your own go into a file of your own: duckdb mine.duckdb,"
            " then: attach 'data/warehouse.duckdb' as warehouse (read_only)",
            ", ".join(others),
            kept,
        )
