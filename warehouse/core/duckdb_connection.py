"""The one place where DuckDB is opened: a connection reaches what it was opened for and no more.

What a warehouse brings along (SQL files, views and macros of its catalog) is run, and may be a
stranger's. So every connection, a writer's too, is confined before any of it runs: it reads and
writes below the folders that it was given, fetches no extension, sees no variable of the caller's,
and nothing of this can be changed any more. DuckDB resolves links itself: one that leads out of
the folders is refused, wherever in a path it stands; a folder that is given may be a link.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, TypeVar

import duckdb

from warehouse.core import process
from warehouse.core.process import available_bytes, resident_bytes
from warehouse.errors import StorageError, TooLargeError
from warehouse.text import is_utf8

_SETTINGS = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}

_LOCKED = "Could not set lock on file"
_FOREIGN_LOG = "while replaying WAL"
_HELD_HERE = "Unique file handle conflict"
_ATTEMPTS = 5
_ASKED_AGAIN_SECONDS = 0.05
_LOOK_SECONDS = 0.05
_MACRO_SECONDS = 20.0
"""What names the files of a whole market is read in a few milliseconds."""

T = TypeVar("T")

_OF_THREAD: ContextVar[threading.Event | None] = ContextVar("ended", default=None)


def connect(
    file: Path | None = None,
    *,
    read_only: bool = False,
    compatible_with: str | None = None,
    folders: Iterable[Path] = (),
    paths: Iterable[str] = (),
    attached: Mapping[str, Path] | None = None,
    on_copy: Callable[[str], None] | None = None,
    spill: Path | None = None,
    threads: int | None = None,
    memory_bytes: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB, confined and locked; its time zone is UTC. Close it, or use `with`.

    Args:
        file: the database; None: one in memory.
        compatible_with: the earliest DuckDB that is to open a file that is made.
        folders: what may be read, and written by a statement that writes; they need not exist.
        paths: single files that may be, too.
        attached: databases by the name that they get, read-only. They are opened before the
            connection is confined: their own files need not be in `folders`.
        on_copy: told who holds one of `attached` for writing, where a copy takes its place.
        spill: where it puts what does not fit into memory; None: nowhere.
        threads: how many it may use; None: all cores.
        memory_bytes: its memory limit; None: DuckDB's own.

    Raises:
        duckdb.Error: the file, or one that is attached, cannot be opened.
        StorageError: this very process has one that is attached open for writing.
    """
    settings: dict[str, Any] = {**_SETTINGS, "temp_directory": "" if spill is None else str(spill)}
    if threads is not None:
        settings["threads"] = threads
    if memory_bytes is not None:
        settings["memory_limit"] = f"{memory_bytes}B"
    if compatible_with is not None:
        settings["storage_compatibility_version"] = compatible_with
    for path in (*(() if file is None else (file,)), *(attached or {}).values()):
        _check_file(path)
    connection = duckdb.connect(
        ":memory:" if file is None else str(file), read_only=read_only, config=settings
    )
    try:
        connection.execute("set global TimeZone = 'UTC'")
        _show_no_progress(connection)
        for name, path in (attached or {}).items():
            _attach(connection, name, path, spill, on_copy)
        # The order matters: once external access is off nothing more can be allowed, and once the
        # configuration is locked, nothing be set.
        connection.execute(f"set allowed_directories = {_list(_resolved(folders))}")
        connection.execute(f"set allowed_paths = {_list(paths)}")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


class AttachedDatabase:
    """A database attached read-only to a DuckDB that is confined and locked, as `connect` makes it.

    To make a DuckDB takes many times as long as to attach a file to one. So this one stays when it
    is closed, with nothing attached and no file open, and the next that is asked for the same
    folders takes it: one at a time, each with a session of its own.

    Attributes:
        connection: whose names are not those of the database yet: see `within`.

    Args:
        name, path: of the database.
        folders: what may be read beside it, as `connect` has it.

    Raises:
        duckdb.Error: it cannot be opened.
        StorageError: this very process has it open for writing.
    """

    _idle: ClassVar[list[tuple[tuple[str, Path, tuple[Path, ...]], duckdb.DuckDBPyConnection]]] = []

    def __init__(self, name: str, path: Path, folders: Iterable[Path]) -> None:
        folders = tuple(folders)
        # One that was a link when it was allowed is not what stands there once it is none.
        self._key = (name, path, tuple(Path(os.path.realpath(folder)) for folder in folders))
        self._folders = folders
        _check_file(path)
        self._root: duckdb.DuckDBPyConnection | None = self._taken()
        try:
            _attach(self._root, name, path, None, None)
        except (duckdb.Error, StorageError):
            # Where it is a link, or in use: what is attached first may lie anywhere.
            self._root.close()
            self._root = None
            self.connection = connect(folders=folders, attached={name: path})
        else:
            self.connection = self._root.cursor()

    def _taken(self) -> duckdb.DuckDBPyConnection:
        with suppress(IndexError):
            key, root = self._idle.pop()
            if key == self._key:
                return root
            root.close()
        _, path, _ = self._key
        return connect(folders=self._folders, paths=[str(path), f"{path}.wal"])

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()
        root, self._root = self._root, None
        if root is None:
            return
        try:
            root.execute(f"detach {self._key[0]}")
        except duckdb.Error:
            # After some errors a DuckDB answers no more.
            root.close()
        else:
            self._idle.append((self._key, root))
            for _, more in self._idle[:-1]:
                more.close()
            del self._idle[:-1]

    @classmethod
    def in_child(cls) -> None:
        """After a fork: the parent's DuckDB is none of the child's."""
        while cls._idle:
            process.abandon(cls._idle.pop())


os.register_at_fork(after_in_child=AttachedDatabase.in_child)


def _show_no_progress(connection: duckdb.DuckDBPyConnection) -> None:
    """In an interactive Python, and with `python -c`, DuckDB would print to standard output.

    In a notebook without ipywidgets it does not, and refuses to be told.
    """
    shows = connection.execute("select current_setting('enable_progress_bar')").fetchall()[0][0]
    if shows:
        connection.execute("set enable_progress_bar = false")


@contextmanager
def ended_with(ended: threading.Event) -> Iterator[None]:
    """What this thread asks meanwhile is ended, too, where `ended` is set.

    A thread of a pool hears of no signal: who waits for it does.
    """
    before = _OF_THREAD.set(ended)
    try:
        yield
    finally:
        _OF_THREAD.reset(before)


def end_of_thread() -> threading.Event | None:
    """What ends all that this thread asks."""
    return _OF_THREAD.get()


def watched(
    connection: duckdb.DuckDBPyConnection,
    asked: str | None,
    work: Callable[[], T],
    is_ended: Callable[[], bool] | None = None,
) -> T:
    """What `work` gives, which asks the connection, for as long as it may go on.

    Ctrl-C ends it, however long it would take. So does an answer that takes up the memory: DuckDB
    bounds what it needs itself, not what it hands on. Only the main thread is told of a signal, and
    not while it is inside DuckDB, which looks for one in some of its operators alone. So another
    thread asks, and this one waits.

    Args:
        asked: what is asked, for an error; None: its answers are small, whatever they take.
        is_ended: whether it is to end; None: where that of the thread is set.

    Raises:
        TooLargeError: it has taken most of the memory that was free.
        duckdb.InterruptException: it was to end.
        What `work` raises.
    """
    came: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def ask() -> None:
        try:
            came.put((work(), None))
        except BaseException as error:
            came.put((None, error))

    asking = threading.Thread(target=ask, name="warehouse-query", daemon=True)
    try:
        asking.start()
    except RuntimeError:  # the interpreter ends, or the system gives no more threads
        return work()
    try:
        answer, error = _waited_for(came, asked, is_ended or _is_thread_to_end)
    except BaseException:
        while asking.is_alive():
            connection.interrupt()
            asking.join(_ASKED_AGAIN_SECONDS)
        raise
    asking.join()
    if error is not None:
        try:
            raise error
        finally:
            del error  # or this frame and the error's traceback would keep each other
    return answer  # type: ignore[return-value]


def _is_thread_to_end() -> bool:
    ended = _OF_THREAD.get()
    return ended is not None and ended.is_set()


def _waited_for(came: SimpleQueue[T], asked: str | None, is_ended: Callable[[], bool]) -> T:
    """What comes, unless it is to end, or the memory is used up before."""
    with suppress(Empty):
        return came.get(timeout=_LOOK_SECONDS)
    free, before = available_bytes(), resident_bytes()
    while True:
        with suppress(Empty):
            return came.get(timeout=_LOOK_SECONDS)
        if is_ended():
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")
        if asked is None:
            continue
        taken = resident_bytes() - before
        # Where others take the memory, it is not this answer that has to go.
        if taken > free // 2 and available_bytes() < free // 8:
            raise TooLargeError(asked, None, taken, taken, free)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is what DuckDB makes of Ctrl-C: in the main thread not KeyboardInterrupt."""
    return isinstance(error, duckdb.InterruptException) or (
        isinstance(error, RuntimeError) and "Query interrupted" in str(error)
    )


def within(database: str) -> str:
    """The statement after which names are those of an attached database.

    DuckDB's own come first: what a catalog calls `max` or `count` is asked by nobody, unless by
    its own views.
    """
    return f"set search_path = 'system.main,{database}.main'"


def in_time(connection: duckdb.DuckDBPyConnection, what: str, ask: Callable[[], T]) -> T:
    """What `ask` gives, which asks the connection for what a catalog's views or macros say.

    A stranger's may be any SQL, and one that never ends is interrupted.

    Raises:
        duckdb.InterruptException: it did not answer in time.
        What `ask` raises.
    """
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        connection.interrupt()

    clock = threading.Timer(_MACRO_SECONDS, end)
    try:
        clock.start()
        return ask()
    except (duckdb.Error, RuntimeError) as error:
        if is_late.is_set() and is_interrupt(error):
            told = f"{what}: no answer in {_MACRO_SECONDS:g} s"
            raise duckdb.InterruptException(told) from error
        raise
    finally:
        clock.cancel()


def macro_texts(connection: duckdb.DuckDBPyConnection, *macros: str) -> tuple[str, ...]:
    """The texts that macros without parameters give.

    A catalog of ours tells in this way which files there are.

    Raises:
        duckdb.CatalogException: there is no such macro.
        duckdb.InterruptException: they did not answer in time.
        duckdb.Error: another refusal; or what one gives is no text.
    """
    asked = f"select {', '.join(f'{macro}()' for macro in macros)}"
    (texts,) = in_time(connection, ", ".join(macros), lambda: connection.execute(asked).fetchall())
    for macro, text in zip(macros, texts, strict=True):
        if not isinstance(text, str):
            raise duckdb.InvalidInputException(f"{macro}() is no text")
    return texts


def _check_file(path: Path) -> None:
    """Refuse a pipe or a device in the place of a database or its log: DuckDB would wait for it.

    Nor may the log be a link: what is attached is carried out as it stands, wherever it leads.
    """
    log = f"{os.fspath(path)}.wal"
    for name in (os.fspath(path), log):
        if os.path.exists(name) and not os.path.isfile(name):
            raise duckdb.IOException(f"{name} is no regular file")
    if os.path.islink(log):
        raise duckdb.IOException(f"{log} is a link; a log is a file beside its database")


def _attach(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    path: Path,
    spill: Path | None,
    on_copy: Callable[[str], None] | None,
) -> None:
    """Attach a database read-only; where another process holds it for writing, a copy of it.

    DuckDB lets one process write or many read, and refuses a database beside the log of another
    that stood there before. The copy is gone from its folder as soon as it is open.

    What this very process holds for writing is not copied: to read its file would let go of the
    lock that keeps others from writing to it.
    """
    try:
        connection.execute(f"attach {quoted(path)} as {name} (read_only)")
    except duckdb.Error as error:
        if _HELD_HERE in str(error):
            problem = (
                "a connection of this very process has it open for writing; close that one, or open"
                f" it for reading alone: duckdb.connect({str(path)!r}, read_only=True)"
            )
            raise StorageError(path, problem) from error
        if not isinstance(error, duckdb.IOException):
            raise
        if not any(sign in str(error) for sign in (_LOCKED, _FOREIGN_LOG)):
            raise
        try:
            places = () if spill is None else (spill, spill.parent)
            near = next((place for place in places if place.is_dir()), None) or _temporary()
            with tempfile.TemporaryDirectory(prefix="warehouse-", dir=near) as folder:
                # What another writes into its log while it is copied may be torn.
                for logs in (True, False):
                    copy = _copied(path, Path(folder, f"{logs}.duckdb"), logs=logs)
                    try:
                        connection.execute(f"attach {quoted(copy)} as {name} (read_only)")
                        if on_copy is not None:
                            on_copy(_holder(error))
                        return
                    except duckdb.Error:
                        connection.execute(f"detach database if exists {name}")
        except OSError as refused:
            raise error from refused
        raise


def _holder(error: duckdb.Error) -> str:
    """Who holds a database, as DuckDB names it where it is refused."""
    found = re.search(r"held in (.*?\(PID \d+\))", str(error))
    return found[1] if found else "another process"


def is_beside_foreign_log(path: Path) -> bool:
    """Whether DuckDB refuses a database since the log of another stands beside it.

    It is named after the database. So one that was opened for writing before another took its place
    writes its log beside that one.
    """
    if not os.path.isfile(f"{path}.wal"):
        return False
    _check_file(path)
    connection = connect(paths=[str(path), f"{path}.wal"])
    try:
        connection.execute(f"attach {quoted(path)} as beside (read_only)")
    except duckdb.Error as error:
        return _FOREIGN_LOG in str(error)
    finally:
        connection.close()
    return False


def keep_copy(path: Path, target: Path) -> list[Path]:
    """Copy a database, and its log where it has one, though another process may hold it.

    Returns:
        The files that were made.

    Raises:
        OSError: the disk refuses, or the file changes all the time.
    """
    copies = (_copied(path, target, logs=True), Path(f"{target}.wal"))
    return [copy for copy in copies if copy.exists()]


def _copied(path: Path, target: Path, *, logs: bool) -> Path:
    """A copy of a database as it is at one moment."""
    for _ in range(_ATTEMPTS):
        before = os.stat(path)
        shutil.copyfile(path, target)
        if logs and os.path.exists(f"{path}.wal"):
            shutil.copyfile(f"{path}.wal", f"{target}.wal")
        after = os.stat(path)
        if (before.st_ino, before.st_mtime_ns, before.st_size) == (
            after.st_ino,
            after.st_mtime_ns,
            after.st_size,
        ):
            return target
    raise OSError(errno.EBUSY, "changes while it is copied", str(path))


def quoted(path: Path | str) -> str:
    """A path (or any text) as a literal of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _resolved(folders: Iterable[Path]) -> list[str]:
    """Each folder as it is named, without links above it, and without any.

    DuckDB resolves what is there alone. A list of files is one of patterns, which it looks at
    before it expands them.
    """
    found: dict[str, None] = {}
    for folder in folders:
        above = os.path.join(os.path.realpath(folder.parent), folder.name)
        for name in (os.fspath(folder), above, os.path.realpath(folder)):
            found |= dict.fromkeys((name, re.sub(r"([*?\[])", r"[\1]", name)))
    return list(found)


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(quoted(text) for text in texts)}]"


def make_spill_folder() -> Path | None:
    """A folder for what does not fit into a reader's memory; nobody else can read it.

    It goes with its process; what a killed one left behind is removed by the next that makes one.
    None where none of the system's temporary folders can be written to, or named to DuckDB.
    """
    try:
        parent = _temporary()
        _sweep(parent)
        return Path(tempfile.mkdtemp(prefix=f"{_spill_prefix()}{os.getpid()}-", dir=parent))
    except OSError:
        return None


def remove_spill_folder(folder: Path | None) -> None:
    """Remove such a folder with all that is in it."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def spill_folder() -> Iterator[Path | None]:
    """Such a folder for as long as the block lasts."""
    made = make_spill_folder()
    try:
        yield made
    finally:
        remove_spill_folder(made)


def _temporary() -> Path:
    """The system's folder for what is temporary.

    Raises:
        OSError: there is none, or none that DuckDB takes: its names are UTF-8.
    """
    folder = tempfile.gettempdir()
    if not is_utf8(folder):
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ), folder)
    return Path(folder)


def _sweep(parent: Path) -> None:
    """Remove folders of processes that are gone: of this machine, by its name, and this user."""
    pattern = re.compile(re.escape(_spill_prefix()) + r"(\d+)-.+")
    with os.scandir(parent) as entries:
        for entry in entries:
            found = pattern.fullmatch(entry.name)
            if found is None or _is_alive(int(found[1])):
                continue
            with suppress(OSError):
                is_ours = entry.stat(follow_symlinks=False).st_uid == os.getuid()
                if is_ours and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _spill_prefix() -> str:
    # A container may share the folder, and with the host's network its name; it counts its
    # processes from 1, and sees none of the others.
    machine = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:40]
    with suppress(OSError):
        machine = f"{machine}.{os.stat('/proc/self/ns/pid').st_ino}"
    return f"warehouse-{machine}-"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # Another user's; or a number that no process has: the folder is none of ours.
        return True
    return True
