"""A batch in two stages: its sessions are read side by side, then its symbols built side by side.

Between the two lie the rows of each raw file, in order, on the path that all machines share. The
ranges of symbols follow from how many rows were read. A partition is of one symbol, and all that is
asked of several sessions is asked of one symbol's: so where ranges are cut changes no byte.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path

from warehouse.core.paths import month_of
from warehouse.errors import AccountingError
from warehouse.executors.work import Stages, Unit
from warehouse.ingest.merge import Merged
from warehouse.ingest.row_sorter import SortedRows
from warehouse.ingest.stage import (
    BuiltRange,
    SortedFile,
    StagedBatch,
    StagedFile,
    Stager,
    batch_of,
)
from warehouse.ingest.two_stages.symbol_ranges import SymbolRanges, rows_by_symbol
from warehouse.store.partitions import ENTRIES, Partition

LARGE_BYTES = 256 << 20
"""Raw files and the partitions they go into, together. Less takes a machine a minute of CPU at
most; in two stages it takes an eighth more, and other batches keep the cluster busy."""
_NO_ROWS = SortedRows(ENTRIES.empty_table(), 0, 0)


def batch_stages(
    stager: Stager,
    items: Sequence[StagedFile],
    present: Sequence[Partition],
    folder: Path,
    ranges: int,
) -> Stages[StagedBatch]:
    """What a unit that staged the batch would return.

    Args:
        items: the batch's files, one at least, in the order of work; all are to be read.
        present: the month's partitions as they are published.
        folder: of the staging tier; the stager's.
        ranges: about so many units of the second stage keep the cluster busy.

    Raises:
        StorageError, SqlFileError: nothing is published.
    """
    data_type, month = items[0].file.data_type, month_of(items[0].file.day)
    by_session = [list(some) for _, some in groupby(items, key=lambda item: item.file.day)]
    read: list[list[SortedFile]] = yield [partial(stager.read, some) for some in by_session]
    files = [one for some in read for one in some]
    refused: dict[Path, str] = {}
    while True:
        good = [one for one in files if one.origin is not None and one.item.path not in refused]
        cuts = SymbolRanges(rows_by_symbol(good, present), ranges)
        built: list[BuiltRange] = []
        if good:
            units: list[Unit[BuiltRange]] = [
                partial(stager.build, own, month, kept)
                for own, kept in zip(
                    _by_range(good, cuts), _present_by_range(present, cuts), strict=True
                )
            ]
            built = yield units
        told = [_told(one.item, refused) for one in files]
        try:
            batch = batch_of(data_type, month, told, _together(folder, built))
        except AccountingError as error:
            if error.path in refused:
                raise
            refused[error.path] = str(error)
            continue
        _clear(folder, built, told, files)
        return batch


def _by_range(files: Iterable[SortedFile], cuts: SymbolRanges) -> list[list[SortedFile]]:
    """The files as each range is to see them: with the rows, and the rejects, of its symbols."""
    found: list[list[SortedFile]] = [[] for _ in range(len(cuts))]
    for one in files:
        assert one.origin is not None
        assert one.rows is not None
        rejects: list[Counter[tuple[str, date]]] = [Counter() for _ in range(len(cuts))]
        for (symbol, session), number in one.origin.rejects.items():
            # What names no symbol is in no partition.
            if symbol is not None:
                rejects[cuts.place(symbol)][symbol, session] = number
        item = StagedFile(one.item.file, one.item.path)
        symbols = one.rows.entries["symbol"]
        touched = {cuts.place(symbols[at].as_py()) for at in (0, -1) if len(symbols)}
        rows = [_NO_ROWS] * len(cuts)
        for place in range(min(touched, default=0), max(touched, default=-1) + 1):
            rows[place] = one.rows.of_symbols(*cuts.bounds(place))
        for own, some, of_range in zip(found, rows, rejects, strict=True):
            own.append(SortedFile(item, replace(one.origin, rejects=of_range), some))
    return found


def _present_by_range(present: Iterable[Partition], cuts: SymbolRanges) -> list[list[Partition]]:
    found: list[list[Partition]] = [[] for _ in range(len(cuts))]
    for partition in present:
        found[cuts.place(partition.symbol)].append(partition)
    return found


def _told(item: StagedFile, refused: Mapping[Path, str]) -> StagedFile:
    """What is told of a file: of one that is refused, that it was not read."""
    if item.path in refused:
        return StagedFile(item.file, item.path, item.etag, problem=refused[item.path])
    return replace(item)


def _together(folder: Path, built: Iterable[BuiltRange]) -> BuiltRange:
    """What came of all ranges, in the order of symbols."""
    found = BuiltRange(folder, Merged())
    for one in built:
        found.merged.written += one.merged.written
        found.merged.removed += one.merged.removed
        found.merged.unchanged += one.merged.unchanged
        found.merged.passed_over += one.merged.passed_over
        found.merged.brought += one.merged.brought
        found.findings += one.findings
        found.asked += one.asked
        known = {rule.name for rule in found.broken}
        found.broken += [rule for rule in one.broken if rule.name not in known]
    return found


def _clear(
    folder: Path,
    built: Iterable[BuiltRange],
    items: Iterable[StagedFile],
    files: Iterable[SortedFile],
) -> None:
    """Leave nothing but partitions and rejects: no rows between, nor what lost attempts wrote."""
    kept = {one.folder for one in built}
    kept |= {item.rejects.parent for item in items if item.rejects is not None}
    for attempt in folder.iterdir():
        if attempt not in kept:
            # One that is lost may still be writing.
            shutil.rmtree(attempt, ignore_errors=True)
    for one in files:
        if one.rows is not None and one.rows.on_disk is not None:
            one.rows.on_disk.path.unlink(missing_ok=True)
