"""What a run was asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from warehouse.core.metrics import RunMetrics
from warehouse.core.paths import RawFile
from warehouse.core.representation import Face
from warehouse.errors import SourceError, StorageError, WarehouseError
from warehouse.ingest.stage import StagedFile
from warehouse.pipeline.download_plan import DownloadPlan
from warehouse.pipeline.estimate import Estimate
from warehouse.pipeline.validation_gate import Refused
from warehouse.source.transfer import Fetched
from warehouse.sqlfolder.rule_file import BrokenRule, not_asked
from warehouse.store.catalog import SourceFile
from warehouse.validation.evaluate import ValidationResult


@dataclass(repr=False)
class RunReport(Face):
    """What a run did.

    Attributes:
        files: what came of each raw file that was read.
        download: what was fetched, and what was not to be had; None where nothing was asked for.
        planned: the raw files that a dry run would read.
        copied: new records of raw files that were copied since they were published.
        raw_there: what the raw tier holds, where a rebuild found nothing in it of what was asked.
        raw_unread: places of the raw tier that cannot be looked at.
        other_layout: raw files that were never read, and are not: `source.layout` is the other.
        why_absent: raw files that a rebuild would have read, and that the source has not either,
            each with the reason; what is published of them stands.
        estimate: what a dry run would come to.
        findings: what validation found in the rows that came in.
        refused: batches that it kept out.
        broken: rules that could not be asked.
        broken_off: what ended the download, or a part of it, before all had come.
        without_rows: symbols that were asked for, and of which nothing is published.
        replaced: files that were published with other bytes than came from the source.
        rows_lost: files that were asked for, and of which rows are lost still.
        bars: kept bars that were built, or would be, by data type and month.
    """

    metrics: RunMetrics
    files: list[StagedFile] = field(default_factory=list)
    download: DownloadPlan | None = None
    planned: list[RawFile] = field(default_factory=list)
    copied: dict[RawFile, SourceFile] = field(default_factory=dict)
    raw_there: str | None = None
    raw_unread: list[StorageError] = field(default_factory=list)
    other_layout: list[RawFile] = field(default_factory=list)
    why_absent: dict[RawFile, str] = field(default_factory=dict)
    estimate: Estimate | None = None
    findings: list[ValidationResult] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)
    broken_off: SourceError | StorageError | None = None
    bars: list[tuple[str, date]] = field(default_factory=list)
    without_rows: list[str] = field(default_factory=list)
    replaced: list[RawFile] = field(default_factory=list)
    rows_lost: list[RawFile] = field(default_factory=list)

    def _face(self) -> dict[str, Any]:
        return {
            "": self.metrics.command,
            "files_read": len(self.files),
            "rows_published": self.metrics.rows_published,
            "rows_rejected": self.metrics.rows_rejected,
            "files_fetched": self.metrics.files_fetched if self.download else None,
            "planned": None if self.files else len(self.planned) or None,
            "bars": len(self.bars) or None,
            "refused": len(self.refused) or None,
            "set_aside": len(self.set_aside) or None,
            "replaced": len(self.replaced) or None,
            "rows_lost": len(self.rows_lost) or None,
            "not_fetched": len(self.not_fetched) or None,
            "unread": len(self.unread) or None,
            "other_layout": len(self.other_layout) or None,
            "absent": len(self.why_absent) or None,
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
        return "failed" if self.refused or self.broken_off else "done"

    @property
    def problem(self) -> str | None:
        kept_out = ", ".join(f"{one.data_type} {one.month:%Y-%m}" for one in self.refused)
        refused = f"validation refused {kept_out}" if kept_out else ""
        unasked = not_asked([one for one in self.broken if one.on_ingest])
        broken_off = str(self.broken_off or "")
        return "; ".join(filter(None, (broken_off, refused, unasked))) or None

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
        did = self.files or fetched or self.not_fetched or self.refused or self.unread
        return not (did or self.bars)
