"""What a run writes into the catalog's tables: a record of each file, and one of itself."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from warehouse.catalog import Run, SourceFile
from warehouse.metrics import RunMetrics
from warehouse.staging import StagedFile


def of_file(item: StagedFile, selected: Iterable[str], run_id: str) -> SourceFile:
    """The record of a raw file that was read, whether it was ingested or set aside.

    Args:
        selected: the only symbols that were published; empty: all.
    """
    file = item.file
    if item.problem is not None:
        return SourceFile(
            file.data_type,
            file.day,
            file.symbol,
            file.key,
            state="set_aside",
            problem=item.problem,
            etag=item.etag,
            run_id=run_id,
        )
    return SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state="ingested",
        etag=item.etag,
        bytes=item.facts.bytes,
        sha256=item.facts.sha256,
        lines=item.facts.lines,
        rows_published=item.rows_published,
        rows_rejected=item.rows_rejected,
        rows_unselected=item.rows_unselected,
        rejects_by_reason=dict(item.reasons),
        symbols=tuple(sorted(selected)) or None,
        raw_modified_ns=item.path.stat().st_mtime_ns,
        run_id=run_id,
    )


def of_run(metrics: RunMetrics, state: str, problem: str | None = None) -> Run:
    """The record of a run as far as it has come.

    Args:
        state: running, done, failed or interrupted.
    """
    return Run(
        run_id=metrics.run_id,
        command=metrics.command,
        started_at=metrics.started_at,
        state=state,
        problem=problem,
        version=version("flatfile-warehouse"),
        **metrics.figures(),  # type: ignore[arg-type]
    )
