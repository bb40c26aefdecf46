"""Units of work, and how one gets to another process and its result back."""

from __future__ import annotations

import pickle
import platform
import socket
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

from warehouse.errors import EngineError, WarehouseError, one_line

T = TypeVar("T")

OF_RESULTS = ("flatfile-warehouse", "duckdb", "pyarrow", "sqlglot")
"""The packages whose versions decide which bytes are written."""
AHEAD = 2
"""So many units for each place of a cluster: one that comes free finds the next there."""


@dataclass(frozen=True)
class Share:
    """What a unit may take of the machine it runs on."""

    threads: int
    memory_bytes: int


Unit: TypeAlias = Callable[[Share], T]
"""A unit may be run again, or twice at once: what it writes goes into a folder of each attempt."""
Stages: TypeAlias = Generator[list[Unit[Any]], list[Any], T]
"""Work in stages, run where it was begun: it hands out the units of a stage, one at least, and is
sent what they returned, in their order, when all are done. What one of them raised is thrown in."""


class Executor(Protocol):
    """Runs units of work; use it with `with`.

    Attributes:
        is_here: units run in this process, so one may wait for what another thread brings.
        at_once: so many units keep it busy.
        threads: of all units together.
    """

    is_here: bool
    at_once: int

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Begin a unit. Its future raises what the unit raised, or EngineError."""
        ...


def one_stage(unit: Unit[T]) -> Stages[T]:
    """Work that is one unit."""
    result: T
    (result,) = yield [unit]
    return result


def results(executor: Executor, units: Iterable[Unit[T]]) -> Iterator[tuple[int, T]]:
    """What units return, each as it is done, with its place among them.

    No more than `at_once` are begun at a time, however many there are. Where one raises, those that
    are under way end with the executor.
    """
    waiting = enumerate(units)
    begun: dict[Future[T], int] = {}
    while True:
        for place, unit in islice(waiting, executor.at_once - len(begun)):
            begun[executor.submit(unit)] = place
        if not begun:
            return
        done, _ = wait(begun, return_when=FIRST_COMPLETED)
        for one in [one for one in begun if one in done]:
            yield begun.pop(one), one.result()


def versions() -> dict[str, str]:
    """Of what decides the bytes of a result, package → version, here."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python} | {name: version(name) for name in OF_RESULTS}


def packed(unit: Unit[object], dumps: Callable[[object], bytes] = pickle.dumps) -> bytes:
    """A unit as it travels, with the versions that it is to be run by.

    Args:
        dumps: pickles what stands in no module too, where the engine has one that does.

    Raises:
        EngineError: it holds what cannot travel: a lock, an open file.
    """
    try:
        return pickle.dumps((versions(), dumps(unit)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        told = f"cannot be sent to a worker: {one_line(error)}"
        raise EngineError("what is to be run", told) from error


def perform(message: bytes, share: Share) -> bytes:
    """Run a unit that was packed, where it has come to; `unpacked` reads the answer.

    What it raises travels back: it would be raised by another attempt too. Only a process that
    dies is the engine's to replace.
    """
    result: object
    try:
        wanted, unit = pickle.loads(message)
        _check_versions(wanted)
        result, is_error = _loaded(unit)(share), False
    except Exception as error:
        if not isinstance(error, WarehouseError):
            error.add_note(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
        result, is_error = error, True
    try:
        return pickle.dumps((is_error, result))
    except Exception as error:
        told = EngineError("a result", f"cannot be sent back from a worker: {error}: {result!r}")
        return pickle.dumps((True, told))


def _loaded(unit: bytes) -> Unit[object]:
    try:
        found: Unit[object] = pickle.loads(unit)
    except (ImportError, AttributeError) as error:
        told = f"cannot import what it is to run: {one_line(error)}; install it there"
        raise EngineError(f"worker {socket.gethostname()}", told) from error
    return found


def unpacked(answer: bytes) -> object:
    """What a unit returned.

    Raises:
        Exception: what it raised.
    """
    is_error, result = pickle.loads(answer)
    if is_error:
        raise result
    return result


def _check_versions(wanted: dict[str, str]) -> None:
    """Refuse to run on other versions than the driver's: the bytes might be others.

    Raises:
        EngineError: names each that differs.
    """
    here = versions()
    differing = [
        f"{name} {here[name]} in place of {one}"
        for name, one in wanted.items()
        if here[name] != one
    ]
    if differing:
        raise EngineError(
            f"worker {socket.gethostname()}",
            f"has {', '.join(differing)}; install there what the driver has",
        )
