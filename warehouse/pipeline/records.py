"""What a run writes into the catalog's tables of each file that it read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from warehouse.core.file_state import FileState
from warehouse.core.paths import RawFile, parse_key
from warehouse.ingest.stage import StagedFile
from warehouse.store.catalog import SourceFile
from warehouse.store.partitions import FileVersion


def of_file(
    item: StagedFile,
    selected: AbstractSet[str],
    run_id: str,
    fingerprint: str,
    before: SourceFile | None = None,
    rows_before: int = 0,
) -> SourceFile:
    """The record of a raw file that was read, whether it was ingested, set aside or gone.

    Args:
        selected: the only symbols that were published; empty: all.
        fingerprint: of the SQL and settings that made its rows.
        before: the record it had. Where the same bytes were read before for other symbols too,
            the new record counts those in.
        rows_before: rows of the selected symbols that came from that version of the file before.
    """
    file = item.file
    # Of these very bytes, as they came.
    vouched_by = before.vouched_by if before is not None and before.etag == item.etag else None
    if item.problem is not None:
        return SourceFile(
            file.data_type,
            file.day,
            file.symbol,
            file.key,
            state=FileState.FAILED if item.is_gone else FileState.SET_ASIDE,
            problem=item.problem,
            etag=item.etag,
            vouched_by=vouched_by,
            run_id=run_id,
        )
    etag = item.etag
    if (
        before is not None
        and before.etag == etag
        and not (
            before.sha256 in (None, item.facts.sha256) and before.bytes in (None, item.facts.bytes)
        )
    ):
        # Other bytes came under that ETag: of these it says nothing, and the next update is to
        # fetch the source's own.
        etag, vouched_by = None, None
    stamp = item.facts.stamp
    record = SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state=FileState.INGESTED,
        etag=etag,
        bytes=item.facts.bytes,
        sha256=item.facts.sha256,
        lines=item.facts.lines,
        rows_published=item.rows_published,
        rows_rejected=item.rows_rejected,
        rows_unselected=item.rows_unselected,
        rows_taken_over=item.rows_taken_over,
        rejects_by_reason=dict(item.reasons),
        symbols=tuple(sorted(selected)) or None,
        raw_modified_ns=stamp.modified_ns if stamp else None,
        raw_inode=stamp.inode if stamp else None,
        vouched_by=vouched_by,
        fingerprint=fingerprint,
        run_id=run_id,
    )
    if (
        not selected
        or file.symbol is not None
        or before is None
        or before.state != FileState.INGESTED
    ):
        return record
    if before.sha256 != record.sha256 or before.rows_published is None:
        return record
    return _joined(before, record, item, rows_before)


def _joined(
    before: SourceFile, record: SourceFile, item: StagedFile, rows_before: int
) -> SourceFile:
    """One record of a file that was read for some symbols before, and for others now."""
    assert before.rows_published is not None
    assert record.rows_published is not None
    assert record.lines is not None
    symbols = None
    if before.symbols is not None and record.symbols is not None:
        symbols = tuple(sorted({*before.symbols, *record.symbols}))
    published = before.rows_published - rows_before + record.rows_published
    reasons = item.reasons.copy()
    for (symbol, reason), rows in item.carried.items():
        # Of other symbols they are of an earlier version.
        if before.symbols is None or symbol in before.symbols:
            reasons[reason] += rows
    unselected = record.lines - published - reasons.total()
    taken_over = item.rows_taken_over
    if before.symbols is None or not set(before.symbols) <= set(record.symbols or ()):
        # Some of it may be of symbols that were not read now.
        taken_over = min(taken_over + (before.rows_taken_over or 0), unselected)
    return replace(
        record,
        rows_published=published,
        rows_rejected=reasons.total(),
        rows_unselected=unselected,
        rows_taken_over=taken_over,
        rejects_by_reason=dict(reasons),
        symbols=symbols,
        # Some of it was made by other SQL.
        fingerprint=record.fingerprint if before.fingerprint == record.fingerprint else None,
    )


def taken_over(
    known: Mapping[RawFile, SourceFile],
    before: Counter[FileVersion],
    after: Counter[FileVersion],
) -> list[SourceFile]:
    """Records of files whose rows, or some of them, another file now brings.

    They are left out of what the file brings, as rows of symbols that are not selected are.

    Args:
        known: what is known of the vendor's files.
        before, after: published rows by the version of their file, of those that are not read anew.
    """
    found = []
    for (key, sha256), rows in (before - after).items():
        file = parse_key(key)
        record = known.get(file) if file is not None else None
        if record is None or record.state != FileState.INGESTED or record.rows_published is None:
            continue
        if record.sha256 != sha256:
            # Rows of an earlier version are not among those that it counts.
            continue
        found.append(
            replace(
                record,
                rows_published=record.rows_published - rows,
                rows_unselected=(record.rows_unselected or 0) + rows,
                rows_taken_over=(record.rows_taken_over or 0) + rows,
            )
        )
    return found
