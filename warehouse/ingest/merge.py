"""Merge: what comes in of a batch of raw files, and what it makes of the partitions that there are.

Merge rule: a new version of a partition = the rows of its present version that are of other files
and of sessions of which nothing comes in + the rows that come in. A file replaces all that it
brought before, and what another file (a symbol's own, or the day's of all symbols) brought of just
the symbols and sessions that it has rows of. So a file ingested twice changes nothing, no file
takes away what it does not bring, and raw files may be pruned. A file that is read again as it was
takes nothing over: who did so last is who brings a session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from warehouse.core.datatypes import DataType
from warehouse.core.paths import Layout, PartitionKey, RawFile
from warehouse.ingest.incoming_rules import IncomingRules
from warehouse.ingest.row_sorter import SortedRows
from warehouse.store.partitions import Partition


@dataclass(frozen=True)
class Origin:
    """What a partition says of a raw file it has rows of.

    Attributes:
        etag: the source's, where it depends on the content alone.
        rejects: rejected rows by symbol and session.
    """

    file: RawFile
    etag: str | None
    sha256: str
    rejects: Counter[tuple[str, date]]


@dataclass(frozen=True)
class Merge:
    """The rows of a batch, and how partitions are to be made of them.

    Attributes:
        fingerprint: of what made the rows that come in.
        rows: those of its files, each in order.
        selected: the only symbols that are made anew; empty: all.
        folder: an existing folder for the finished files.
        workers: how many threads encode.
        incoming_rules: is handed the rows that are new, as they are written; None: nobody.
        changed_only: leave partitions alone that would become what they are.
        settled: files that take over no session that another brings.
    """

    layout: Layout
    kind: DataType
    fingerprint: str
    rows: Mapping[RawFile, SortedRows]
    selected: frozenset[str]
    folder: Path
    workers: int
    incoming_rules: IncomingRules | None
    changed_only: bool
    settled: AbstractSet[RawFile]


@dataclass
class Merged:
    """What became of the partitions of a month, or of a session.

    Attributes:
        written: each with its staged file.
        removed: partitions that have no rows any more.
        unchanged: partitions whose rows were read again and come from the same file and the same
            SQL as before.
        passed_over: rows of files of the batch, by key, that another file brings too.
        brought: rows of files of the batch, by key, that were written, or are there already.
    """

    written: list[tuple[Partition, str]] = field(default_factory=list)
    removed: list[PartitionKey] = field(default_factory=list)
    unchanged: list[Partition] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    brought: Counter[str] = field(default_factory=Counter)
