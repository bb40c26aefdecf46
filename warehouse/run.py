"""What a run was asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from warehouse.catalog import SourceFile
from warehouse.download import DownloadPlan
from warehouse.errors import StorageError, WarehouseError
from warehouse.estimate import Estimate
from warehouse.faces import Face
from warehouse.gate import Refused
from warehouse.judging import ValidationResult
from warehouse.layout import RawFile
from warehouse.metrics import RunMetrics
from warehouse.rules import BrokenRule
from warehouse.schema import DATA_TYPES, DataType, data_type
from warehouse.sessions import FIRST_SESSION, check_order, today
from warehouse.source import Fetched
from warehouse.staging import StagedFile


@dataclass(repr=False)
class RunReport(Face):
    """What a run did.

    Attributes:
        files: what came of each raw file that was read.
        download: what was fetched, and what was not to be had; None where nothing was asked for.
        planned: the raw files that a dry run would read.
        copied: new records of raw files that were copied since they were published.
        raw_unread: places of the raw tier that cannot be looked at.
        estimate: what a dry run would come to.
        findings: what validation found in the rows that came in.
        refused: batches that it kept out.
        broken: rules that could not be asked.
    """

    metrics: RunMetrics
    files: list[StagedFile] = field(default_factory=list)
    download: DownloadPlan | None = None
    planned: list[RawFile] = field(default_factory=list)
    copied: dict[RawFile, SourceFile] = field(default_factory=dict)
    raw_unread: list[StorageError] = field(default_factory=list)
    estimate: Estimate | None = None
    findings: list[ValidationResult] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)

    def _face(self) -> dict[str, Any]:
        return {
            "": self.metrics.command,
            "files_read": len(self.files),
            "rows_published": self.metrics.rows_published,
            "rows_rejected": self.metrics.rows_rejected,
            "files_fetched": self.metrics.files_fetched if self.download else None,
            "planned": None if self.files else len(self.planned) or None,
            "refused": len(self.refused) or None,
            "set_aside": len(self.set_aside) or None,
            "not_fetched": len(self.not_fetched) or None,
            "unread": len(self.unread) or None,
            "findings": len(self.findings) or None,
            "broken": len(self.broken) or None,
        }

    def refuse(self, refused: Refused) -> None:
        self.refused.append(refused)
        self.metrics.errors += 1
        self.metrics.failed = True

    @property
    def read(self) -> int:
        """A number that grows with every batch."""
        return len(self.files) + len(self.refused)

    @property
    def state(self) -> str:
        """How it ends where nothing else happens: done, or failed."""
        return "failed" if self.refused else "done"

    @property
    def problem(self) -> str | None:
        kept_out = ", ".join(f"{one.data_type} {one.month:%Y-%m}" for one in self.refused)
        return f"validation refused {kept_out}" if kept_out else None

    @property
    def set_aside(self) -> list[StagedFile]:
        return [file for file in self.files if file.problem is not None]

    @property
    def not_fetched(self) -> list[Fetched]:
        """Files that were to be fetched and did not come."""
        return self.download.problems if self.download else []

    @property
    def unread(self) -> list[WarehouseError]:
        """Places of the source, and of the raw tier, that cannot be looked at."""
        return [*(self.download.unread if self.download else ()), *self.raw_unread]

    @property
    def did_nothing(self) -> bool:
        fetched = self.download is not None and self.download.fetch
        return not (self.files or fetched or self.not_fetched or self.refused or self.unread)


@dataclass(frozen=True)
class Request:
    """What a command was asked for.

    Attributes:
        kinds: data types.
        start, end: sessions, both inclusive; None is open.
        symbols: only these; empty: all that the configuration selects.
        allow: findings that this once count for nothing, each as "RULE=REASON".
    """

    kinds: tuple[DataType, ...]
    start: date | None = None
    end: date | None = None
    symbols: frozenset[str] = frozenset()
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_order(self.start, self.end)

    @property
    def first(self) -> date:
        return self.start or FIRST_SESSION

    @property
    def last(self) -> date:
        return self.end or today()

    @property
    def is_of_all(self) -> bool:
        """Whether nothing is left out of it: no data type, session or symbol."""
        is_bounded = self.start is not None or self.end is not None or self.symbols
        return len(self.kinds) == len(DATA_TYPES) and not is_bounded

    def published(self, known: Mapping[RawFile, SourceFile]) -> list[RawFile]:
        """The files that it asks for of which some version is published."""
        names = {kind.name for kind in self.kinds}
        return [
            file
            for file, record in known.items()
            if record.state == "ingested"
            and file.data_type in names
            and file.overlaps(self.first, self.last)
            and (not self.symbols or file.symbol is None or file.symbol in self.symbols)
        ]

    @classmethod
    def of(
        cls,
        data_types: Sequence[str] = (),
        start: date | None = None,
        end: date | None = None,
        symbols: Iterable[str] = (),
        allow: Sequence[str] = (),
    ) -> Request:
        """A request; no data types mean all.

        Raises:
            RequestError: a data type is unknown, or `end` lies before `start`.
        """
        kinds = tuple(data_type(name) for name in (data_types or DATA_TYPES))
        return cls(kinds, start, end, frozenset(symbols), tuple(allow))
