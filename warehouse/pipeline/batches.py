"""What a run is to read, and in which portions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import date
from itertools import groupby
from pathlib import Path

from warehouse.core.config import Config
from warehouse.core.datatypes import is_kept_bars
from warehouse.core.file_state import FileState
from warehouse.core.metrics import Progress
from warehouse.core.paths import Layout, RawFile, month_of
from warehouse.core.request import Request
from warehouse.errors import (
    CorruptPartitionError,
    NoDataError,
    OversizedTradeError,
    SqlFileError,
    StorageError,
    WarehouseError,
)
from warehouse.pipeline.run_watch import outcome
from warehouse.sqlfolder.transform_version import is_bar_file, is_step_of
from warehouse.store import journal
from warehouse.store.catalog import SourceFile
from warehouse.text import count, shell_word, some

KEPT_BARS = "kept bars"
"""What is done of bars of all lengths, once the trades are published."""

_NAMED = 5

# So much compressed input is staged before it is published, by each place there is for a unit: what
# a batch sets aside on disk in between is a few times that.
_BATCH_BYTES = 8 << 30


def narrowed(config: Config, symbols: frozenset[str]) -> Config:
    """The configuration, with only these symbols selected; none: as it is."""
    if not symbols:
        return config
    source = config.source.model_copy(update={"symbols": tuple(sorted(symbols))})
    return config.model_copy(update={"source": source})


def batches(
    files: Sequence[RawFile], sizes: Mapping[RawFile, int], places: int = 1
) -> Iterator[list[RawFile]]:
    """The files, in the order of work, by data type and month, each portion of bounded size.

    Args:
        sizes: bytes of each.
        places: so many units may work on one portion.
    """
    for _, group in groupby(files, key=lambda file: (file.data_type, month_of(file.day))):
        batch: list[RawFile] = []
        size = 0
        for file in group:
            if batch and size + sizes[file] > _BATCH_BYTES * places:
                yield batch
                batch, size = [], 0
            batch.append(file)
            size += sizes[file]
        yield batch


def sizes_of(layout: Layout, files: Iterable[RawFile]) -> dict[RawFile, int]:
    """Bytes of files of the raw tier."""
    return {file: layout.raw_file(file).stat().st_size for file in files}


def of_symbols(files: Iterable[RawFile], symbols: frozenset[str]) -> list[RawFile]:
    """Those of the files that may hold rows of the symbols; no symbols: all."""
    return [file for file in files if not symbols or file.symbol is None or file.symbol in symbols]


def by_selection(
    files: Iterable[RawFile], known: Mapping[RawFile, SourceFile], configured: frozenset[str]
) -> list[tuple[frozenset[str], list[RawFile]]]:
    """Files that are read again, in the order of work, by the symbols that they were read for.

    Args:
        configured: the symbols of a file that has no record; empty: all.
    """
    found: defaultdict[frozenset[str], list[RawFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: file.sort_key):
        record = known.get(file)
        if record is None or not record.state.was_published:
            found[configured].append(file)
        else:
            found[frozenset(record.symbols or ())].append(file)
    return list(found.items())


def unread_of(
    layout: Layout, files: Iterable[RawFile], unread: Sequence[StorageError]
) -> dict[RawFile, StorageError]:
    """Those of the raw files that may be there and cannot be looked at, and why."""
    found = {}
    for file in files if unread else ():
        path = layout.raw_file(file)
        for problem in unread:
            if Path(problem.path) in (path, *path.parents):
                found[file] = problem
    return found


def gone(
    layout: Layout,
    request: Request,
    known: Mapping[RawFile, SourceFile],
    planned: Sequence[RawFile],
    unread: Sequence[StorageError],
) -> list[RawFile]:
    """The raw files of published sessions that are no longer there.

    Those that may be, where the raw tier cannot be looked at, are not among them: the run tells of
    `unread`, and what is published of them stands.
    """
    there = set(planned)
    found = [
        file
        for file in published(request, known)
        if file not in there
        # Of one that another has taken over nothing is published any more.
        and (known[file].rows_published != 0 or known[file].rows_rejected == known[file].lines)
    ]
    unseen = unread_of(layout, found, unread)
    # Of the other layout they may be there, and are not read.
    return [file for file in found if file not in unseen and not layout.raw_file(file).exists()]


def not_there(
    layout: Layout, request: Request, files: Sequence[RawFile], why: Mapping[RawFile, str]
) -> NoDataError:
    """What a rebuild says of raw files that are gone, or that it may not read.

    Args:
        why: the source did not have them; empty: it was not asked.
    """
    days = sorted({file.day for file in files})
    command = ["warehouse rebuild"]
    command += ["all"] if request.is_of_every_kind else [kind.name for kind in request.kinds]
    command += [f"--start {request.start}"] if request.start else []
    command += [f"--end {request.end}"] if request.end else []
    command += [f"--symbols {shell_word(','.join(sorted(request.symbols)))}"] * bool(
        request.symbols
    )
    told = some((f"{file.key}: {why[file]}" for file in files if file in why), _NAMED)
    state, missed = "gone from", "is gone"
    if any(layout.raw_file(file).exists() for file in files):
        # Of a bucket's warehouse each machine has raw files of its own.
        state, missed = "gone, or not what was published, in", "was published"
    return NoDataError(
        f"rebuild of {', '.join(sorted({file.data_type for file in files}))}",
        f"{count(len(files), 'raw file')} of {days[0]} to {days[-1]}"
        f" {'is' if len(files) == 1 else 'are'} {state} {layout.raw}",
        told or f"fetch what {missed}, too, with: {' '.join(command)} --fetch",
        [file.key for file in files],
    )


def published(request: Request, known: Mapping[RawFile, SourceFile]) -> list[RawFile]:
    """The files that a request asks for of which some version is published."""
    return _in_state(FileState.INGESTED, request, known)


def rows_lost(request: Request, known: Mapping[RawFile, SourceFile]) -> list[RawFile]:
    """The files that a request asks for of which rows are lost, in the order of work."""
    found = _in_state(FileState.ROWS_LOST, request, known)
    return sorted(found, key=lambda file: file.sort_key)


def _in_state(
    state: FileState, request: Request, known: Mapping[RawFile, SourceFile]
) -> list[RawFile]:
    names = {kind.name for kind in request.kinds}
    return [
        file
        for file, record in known.items()
        if record.state == state
        and file.data_type in names
        and file.overlaps(request.first, request.last)
        and (not request.symbols or file.symbol is None or file.symbol in request.symbols)
    ]


class ByType:
    """Work on several data types, of which one that cannot go on does not stop the others.

    Its SQL fails, or its part of the disk refuses. A damaged partition stops its month alone:
    no other is merged with it. So does a trade that no bar holds.

    Args:
        layout: says where the partitions and rejects of a data type lie; None: such a problem is
            the caller's.

    Attributes:
        stopped: data type, "kept bars", or one of them "of 2024-01" → why nothing more of it is
            done.
    """

    def __init__(self, progress: Progress, layout: Layout | None) -> None:
        self._progress, self._layout = progress, layout
        self.stopped: dict[str, WarehouseError] = {}

    def is_stopped(self, kind: str, month: date) -> bool:
        """Whether nothing more is done of a data type's month."""
        return kind in self.stopped or _of_month(kind, month) in self.stopped

    @contextmanager
    def work_on(
        self, kind: str, what: str | None = None, month: date | None = None
    ) -> Iterator[None]:
        """A part of the work that is of one data type; `raise_stopped` when all is done.

        Args:
            what: it is called so, where no row of the data type is at stake.
            month: no partition of another month is read; None: it is of many.
        """
        what = what or kind
        try:
            yield
        except (SqlFileError, CorruptPartitionError, StorageError, OSError) as error:
            own = self._own(error, kind, what)
            # The next publish would put its journal over one that is still to be ended.
            if own is None or (self._layout is not None and journal.stands(self._layout)):
                raise
            is_of_month = isinstance(error, (CorruptPartitionError, OversizedTradeError))
            if month is not None and is_of_month:
                what = _of_month(what, month)
            self._stop(what, own)

    def _own(
        self,
        error: SqlFileError | CorruptPartitionError | StorageError | OSError,
        kind: str,
        what: str,
    ) -> WarehouseError | None:
        """What has ended the work on a data type alone; None: it is everybody's."""
        if isinstance(error, SqlFileError):
            # What the catalog is made of is everybody's. DuckDB says so when Ctrl-C ends it, too.
            is_bars = what == KEPT_BARS or is_kept_bars(kind)
            is_own = is_bar_file(error.path) if is_bars else is_step_of(error.path, kind)
            return error if is_own and outcome(error)[0] != "interrupted" else None
        if isinstance(error, WarehouseError):
            return error if self._is_of(Path(error.path), kind, what) else None
        place = error.filename
        if not isinstance(place, str) or not self._is_of(Path(place), kind, what):
            return None
        return StorageError(place, f"cannot be written: {error.strerror or error}")

    def _is_of(self, path: Path, kind: str, what: str) -> bool:
        """Whether a path is where rows of this data type alone are published."""
        layout = self._layout
        for tier in (layout.cache, layout.rejects) if layout is not None else ():
            if tier in path.parents:
                name = path.relative_to(tier).parts[0]
                # Bars alone rest on what they read of the trades.
                is_under = is_kept_bars(kind) and name == "trades"
                return name == kind or is_under or (what == KEPT_BARS and is_kept_bars(name))
        return False

    def _stop(self, what: str, error: WarehouseError) -> None:
        self.stopped[what] = error
        self._progress.note(f"{what}: stopped, the rest goes on: {error}")

    def raise_stopped(self) -> None:
        """Say of what nothing more was done.

        Raises:
            WarehouseError: that of the first; those of the others are its notes.
        """
        for kind, error in self.stopped.items():
            told = copy(error)
            told.args = (f"{error}; it stopped {kind} alone",)
            for other in self.stopped.values():
                if other is not error:
                    for note in (str(other), *getattr(other, "__notes__", ())):
                        told.add_note(note)
            raise told from error


def _of_month(what: str, month: date) -> str:
    return f"{what} of {month:%Y-%m}"
