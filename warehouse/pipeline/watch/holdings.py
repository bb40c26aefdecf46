"""What there is of each data type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from warehouse.core.datatypes import with_bars
from warehouse.store.catalog import Catalog

_PUBLISHED = """
    select
        data_type,
        list_min(flatten(list(sessions))) as first,
        list_max(flatten(list(sessions))) as last,
        list_unique(flatten(list(sessions)))::bigint as sessions,
        sum(partitions)::bigint as partitions,
        sum(rows)::bigint as rows,
        sum(cache_bytes)::bigint as cache_bytes
    from manifests
    group by data_type
"""
_REJECTS = """
    select data_type, sum(rows_rejected)::bigint as rejects
    from source_files
    where state = 'ingested'
    group by data_type
"""


@dataclass(frozen=True)
class Holdings:
    """What there is of one data type.

    Attributes:
        first, last: sessions; None where there are none.
        rows, rejects: of what is published.
        raw_files, raw_bytes: in the raw tier, published or not.
        cache_bytes: of the partitions.
    """

    first: date | None = None
    last: date | None = None
    sessions: int = 0
    symbols: int = 0
    partitions: int = 0
    rows: int = 0
    rejects: int = 0
    raw_files: int = 0
    raw_bytes: int = 0
    cache_bytes: int = 0


def published(catalog: Catalog) -> dict[str, Holdings]:
    """What is published of each data type, and of kept bars; the raw tier is not looked at."""
    rows: dict[str, Any] = {row.pop("data_type"): row for row in catalog.rows(_PUBLISHED)}
    rejects = {row["data_type"]: row["rejects"] for row in catalog.rows(_REJECTS)}
    return {
        name: Holdings(
            **rows.get(name, {}),
            symbols=len(catalog.folders(name)),
            rejects=rejects.get(name, 0),
        )
        for name in with_bars(rows)
    }
