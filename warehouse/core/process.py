"""This process: its version, the memory it may take, and what a child of a fork lets go of.

A DuckDB has threads, and of those a fork takes none along: to ask the parent's connection waits for
ever, and to close it, or to let Python destroy it at the end, kills the process. So a child lets go
of such things without destroying them, and opens its own where it asks. Locks may have been held by
a thread that is not there any more. Ours are made anew. Those inside DuckDB and the C++ library
cannot be: a fork waits until no answer is under way, and answers wait for the fork.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_LONGEST_WAIT_SECONDS = 5.0
_CGROUPS, _GROUPS_OF_THIS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable", "launch worker thread")
_NOT_LOADED = ("failed to map segment", "cannot allocate memory", "cannot map")
"""What is said of a thread, and of a library, where the system has none to give, or no memory."""


class Threads(ThreadPoolExecutor):
    """Threads for tasks that wait for no other; where the program is over the caller does them.

    Python gives no pool of threads any more work then: within a handler of atexit, and in threads
    that outlive the main one.
    """

    _is_shut = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._is_shut = True
        super().shutdown(wait, cancel_futures=cancel_futures)

    def submit(self, task: Callable[..., T], /, *given: Any, **named: Any) -> Future[T]:
        if not is_ending():
            try:
                return super().submit(task, *given, **named)
            except RuntimeError as error:
                # Python shuts all pools before it lets anybody know that the program is over.
                if self._is_shut or "cannot schedule" not in str(error):
                    raise
        done: Future[T] = Future()
        try:
            done.set_result(task(*given, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


def is_ending() -> bool:
    """Whether the program is over, and Python runs what was registered with atexit."""
    return not threading.main_thread().is_alive()


@cache
def version() -> str:
    """That of the project, as it is installed."""
    return metadata.version("flatfile-warehouse")


def available_bytes() -> int:
    """What this process may still take without swapping, by the system, its container and limits.

    Where the system does not say (macOS) it is all the memory that is built in.
    """
    return max(0, min(_bounds()))


def resident_bytes() -> int:
    """What this process holds in memory; where the system does not say, the most it has held."""
    with suppress(OSError, ValueError, IndexError):
        return _statm()[1]
    return peak_memory_bytes()


def peak_memory_bytes() -> int:
    """The most this process has held resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def no_memory(error: BaseException) -> str | None:
    """What to do where the system gave no memory, or no thread; None: it is another error."""
    kind, told = type(error).__name__, str(error)
    if any(sign in told for sign in _NO_THREAD) and kind in ("RuntimeError", "ArrowException"):
        what = "thread"
    elif (
        isinstance(error, MemoryError)
        or kind == "OutOfMemoryException"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM and error.filename is None)
        or (isinstance(error, ImportError) and any(sign in told for sign in _NOT_LOADED))
    ):
        what = "memory"
    else:
        return None
    begin = f"the system gives no more {what}"
    limited = of_addresses()
    if limited is not None:
        return f"{begin}: {limited}"
    if what == "thread":
        return (
            f"{begin}: raise `ulimit -u`, or the limit of the container (pids), or lower"
            " processing.parallel_workers"
        )
    return (
        f"{begin}: end what else takes it, raise the limit of the container, ask for less at a"
        " time, or lower processing.memory_limit_gb"
    )


def of_addresses() -> str | None:
    """What to do about `ulimit -v`; None: there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return (
        f"`ulimit -v` lets this process have {limit / 2**30:,.1f} GiB of addresses, and DuckDB and"
        " Arrow take far more of these than of memory; say `ulimit -v unlimited`, and bound it by"
        " processing.memory_limit_gb"
    )


def _bounds() -> Iterator[int]:
    yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        yield int(facts["MemAvailable"].split()[0]) * 1024
    with suppress(OSError, ValueError, IndexError):
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft - _statm()[0]
    with suppress(OSError, ValueError):
        yield from _container()


def _container() -> Iterator[int]:
    """What the control groups that the process is in, one within another, leave free."""
    for line in _GROUPS_OF_THIS.read_text().splitlines():
        number, controllers, name = line.split(":", 2)
        if number == "0":
            top, files = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            # The first version, which older systems have: a tree for each controller.
            top = _CGROUPS / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        most, now, given_up = files
        folder = top / name.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(top):
                break
            with suppress(OSError, ValueError, KeyError):
                limit = (group / most).read_text().strip()
                if limit == "max":
                    continue
                used = int((group / now).read_text())
                facts = dict(
                    fact.split() for fact in (group / "memory.stat").read_text().splitlines()
                )
                # Pages of files count as used and are given up when they are wanted.
                yield int(limit) - used + int(facts[given_up])


def _statm() -> list[int]:
    """The process's sizes in bytes: all its addresses, then what of them is resident."""
    pages = Path("/proc/self/statm").read_text().split()
    return [int(count) * os.sysconf("SC_PAGE_SIZE") for count in pages[:2]]


class Inherited(Protocol):
    """What a child of a fork finds in its memory."""

    def in_child(self) -> None:
        """Let go of what is the parent's; called in the child before anything else is."""


_inherited: WeakSet[Inherited] = WeakSet()


def prepare_for_fork(one: Inherited) -> None:
    """Have a child of a fork call `in_child` of this, if it still is there then."""
    _inherited.add(one)


def abandon(thing: object) -> None:
    """Let go of a thing that is never to be destroyed, not even when the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def is_child() -> bool:
    """Whether this process came of a fork since this was imported."""
    return os.getpid() != _process_id


_process_id = os.getpid()


class _Answers:
    """The answers that are under way, in which no fork may fall: `with process.answers: …`.

    A thread within may begin another, and may fork. Neither waits for the other longer than a few
    seconds: what takes more is not worth a program that stands still, and may be what waits for
    the fork.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._depths: dict[int, int] = {}
        self._forks = 0

    def __enter__(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            if self._forks and thread not in self._depths:
                self._changed.wait_for(lambda: not self._forks, _LONGEST_WAIT_SECONDS)
            self._depths[thread] = self._depths.get(thread, 0) + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._depths[thread] -= 1
            if not self._depths[thread]:
                del self._depths[thread]
                if self._forks:
                    self._changed.notify_all()

    def before_fork(self) -> None:
        own = {threading.get_ident()}
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: self._depths.keys() <= own, _LONGEST_WAIT_SECONDS)

    def after_fork(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def in_child(self) -> None:
        """Of the parent's threads there is the one that forked."""
        thread = threading.get_ident()
        depth = self._depths.get(thread)
        self._changed = threading.Condition()
        self._depths = {} if depth is None else {thread: depth}
        self._forks = 0


answers = _Answers()


def _in_child() -> None:
    answers.in_child()
    for one in list(_inherited):
        one.in_child()


os.register_at_fork(
    before=answers.before_fork,
    after_in_parent=answers.after_fork,
    after_in_child=_in_child,
)
