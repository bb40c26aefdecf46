"""The memory cache: answers in the form they were given, the least recently used go first.

Keys are built from what was asked and from the content that was read, so an answer never needs to
be taken back: once something else is published, nobody asks by the old key again. An answer that
says what it covers also answers what lies within.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from warehouse.core import process
from warehouse.core.representation import Face
from warehouse.read.cache_ranges import Edges, Range
from warehouse.read.frames import shared, size_of


@dataclass(frozen=True)
class CacheStats:
    """What a cache has done and holds.

    Attributes:
        hits, misses: questions answered from the cache, and those that were not. Who waited for
            another's load of the same key counts as a hit, and so does an answer that was cut out
            of a wider one; it is not kept.
        evictions: answers that had to go to make room.
        entries, bytes: what is held now.
        max_bytes: what may be held.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int
    max_bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of the questions answered from the cache, from 0 to 1; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


@dataclass(frozen=True)
class Held:
    """An answer.

    Attributes:
        frame: pandas, polars or Arrow.
        range: what it covers; None: nothing can be cut out of it.
        edges: where in it each symbol's rows stand.
    """

    frame: Any
    range: Range | None = None
    edges: Edges = field(default_factory=dict)


class FrameCache(Face):
    """Frames by key, within a number of bytes; safe to use from many threads.

    A frame is handed out as a shallow copy: it costs microseconds, and since its memory cannot be
    written to (see `frames`), what a caller does to its frame never shows in the next answer.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes = {max_bytes}: it must not be negative")
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._held: OrderedDict[Hashable, tuple[Held, int]] = OrderedDict()
        # Those held that cover a symbol, the latest last.
        self._covering: dict[tuple[Hashable, str], dict[Hashable, Held]] = {}
        self._making: dict[Hashable, Future[Any]] = {}
        self._bytes = self._hits = self._misses = self._evictions = 0
        process.prepare_for_fork(self)

    def in_child(self) -> None:
        """What is held is the child's too, but not what the parent's threads were about."""
        was_changing = self._lock.locked()
        self._lock = Lock()
        self._making = {}
        if was_changing:
            self._held, self._covering = OrderedDict(), {}
            self._bytes = 0

    def _face(self) -> dict[str, Any]:
        # Without the lock: a debugger may ask while it is held.
        return {
            "entries": len(self._held),
            "bytes": self._bytes,
            "max_bytes": self._max_bytes,
            "hits": self._hits,
            "misses": self._misses,
            "evictions": self._evictions,
        }

    @property
    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(
                self._hits,
                self._misses,
                self._evictions,
                len(self._held),
                self._bytes,
                self._max_bytes,
            )

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Hashable) -> bool:
        """Whether the key is held; does not count as use."""
        return key in self._held

    def get(self, key: Hashable) -> Any | None:
        """The frame held under the key, now the most recently used; None where there is none."""
        with self._lock:
            found = self._take(key)
            if found is None:
                self._misses += 1
            return found

    def put(self, key: Hashable, held: Held) -> bool:
        """Hold an answer under a key, in place of what was held there; others go to make room.

        Returns:
            Whether it is held: one larger than the whole cache is not, and nothing goes for it.
        """
        size = size_of(held.frame)
        with self._lock:
            if key in self._held:
                self._drop(key)
            if size > self._max_bytes:
                return False
            while self._bytes + size > self._max_bytes:
                self._drop(next(iter(self._held)))
                self._evictions += 1
            held = replace(held, frame=shared(held.frame))
            self._held[key] = held, size
            self._bytes += size
            for place in _places(held):
                self._covering.setdefault(place, {})[key] = held
            return True

    def get_or_make(
        self, key: Hashable, make: Callable[[], Held], wanted: Range | None = None
    ) -> Any:
        """The frame held under the key, or one cut out of a wider one, or else what `make` makes.

        Of many that ask for the same key at once one makes it and the others wait for it. What
        `make` raises is raised to who called it; those who waited then try for themselves.

        Args:
            wanted: what is asked, where it may lie within what is held.
        """
        while True:
            with self._lock:
                found = self._take(key)
                if found is not None:
                    return found
                wider = self._wider(wanted)
                if wider is None:
                    making = self._making.get(key)
                    if making is None:
                        self._misses += 1
                        making = self._making[key] = Future()
                        break
            if wider is not None and wanted is not None and wider.range is not None:
                return wider.range.cut(wider.frame, wider.edges, wanted)
            assert making is not None
            if making.exception() is None:
                with self._lock:
                    self._hits += 1
                    return shared(making.result())
        try:
            held = make()
            self.put(key, held)
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            # Others may be waiting, so the one returned is a copy like theirs.
            making.set_result(held.frame)
            return shared(held.frame)

    def make_room(self, size: int) -> bool:
        """Let go of at least so many bytes, if there are; whether anything went."""
        with self._lock:
            due = self._bytes - size
            before = len(self._held)
            while self._held and self._bytes > due:
                self._drop(next(iter(self._held)))
                self._evictions += 1
            return len(self._held) < before

    def clear(self) -> None:
        """Let go of every frame; the counts of hits and misses go on."""
        with self._lock:
            self._held.clear()
            self._covering.clear()
            self._bytes = 0

    def _take(self, key: Hashable) -> Any | None:
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        self._hits += 1
        return shared(self._held[key][0].frame)

    def _wider(self, wanted: Range | None) -> Held | None:
        """An answer that holds the one wanted, for this caller alone; it counts as used."""
        if wanted is None:
            return None
        first = next(iter(wanted.stored))
        for key, held in self._covering.get((wanted.group, first), {}).items():
            if held.range is not None and held.range.holds(wanted):
                self._held.move_to_end(key)
                self._hits += 1
                return replace(held, frame=shared(held.frame))
        return None

    def _drop(self, key: Hashable) -> None:
        held, size = self._held.pop(key)
        self._bytes -= size
        for place in _places(held):
            covering = self._covering[place]
            del covering[key]
            if not covering:
                del self._covering[place]


def _places(held: Held) -> Iterable[tuple[Hashable, str]]:
    """Where an answer is looked for by those that lie within."""
    if held.range is None:
        return ()
    return [(held.range.group, symbol) for symbol in held.range.stored]
