"""Forks: what a child must let go of, and what it makes anew.

A DuckDB has threads, and of those a fork takes none along: to ask the parent's connection waits for
ever, and to close it, or to let Python destroy it at the end, kills the process. So a child lets go
of such things without destroying them, and opens its own where it asks. Locks may have been held by
a thread that is not there any more; they are made anew.
"""

from __future__ import annotations

import ctypes
import os
from typing import Protocol
from weakref import WeakSet


class Inherited(Protocol):
    """What a child of a fork finds in its memory."""

    def in_child(self) -> None:
        """Let go of what is the parent's; called in the child before anything else is."""


_inherited: WeakSet[Inherited] = WeakSet()


def prepare(one: Inherited) -> None:
    """Have a child of a fork call `in_child` of this, if it still is there then."""
    _inherited.add(one)


def abandon(thing: object) -> None:
    """Let go of a thing that is never to be destroyed, not even when the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def is_child() -> bool:
    """Whether this process came of a fork since this was imported."""
    return os.getpid() != _process


_process = os.getpid()


def _in_child() -> None:
    for one in list(_inherited):
        one.in_child()


os.register_at_fork(after_in_child=_in_child)
