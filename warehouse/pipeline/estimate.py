"""What a run will come to, from what past runs came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from warehouse.core.paths import RawFile, month_of
from warehouse.store.catalog import Catalog

_PAST_RUNS = 10
_ALIKE = 8.0
"""Files are of about one size whose means differ by no more than this factor."""


@dataclass(frozen=True)
class Estimate:
    """None where no past run tells.

    Attributes:
        bytes: of the raw files that are to be read.
        rows: lines that they hold.
        partitions: that will be written.
        seconds: for fetching, reading and publishing.
    """

    bytes: int
    rows: int | None
    partitions: int | None
    seconds: float | None


def estimate(
    catalog: Catalog,
    files: Mapping[RawFile, int],
    fetch: Sequence[int] = (),
    symbols: frozenset[str] = frozenset(),
) -> Estimate:
    """What is to be expected of a run.

    Rows go by the lines a byte of each data type's files has had, partitions by the symbols of its
    last session, seconds by the bytes a second of the last ten runs that fetched, or read, files
    of about that size: a file costs time of its own, so that a run of small ones says nothing of
    large ones. A file is read while the next ones come.

    Args:
        files: that are to be read, each with its bytes.
        fetch: bytes of each file that is to be fetched.
        symbols: the only ones that are published; empty: all.
    """
    size, fetch_bytes = sum(files.values()), sum(fetch)
    if not files and not fetch_bytes:
        return Estimate(0, 0, 0, 0.0)
    lines = {row["data_type"]: row["lines_a_byte"] for row in catalog.rows(_LINES)}
    names = {file.data_type for file in files}
    rows = partitions = None
    if names <= set(lines):
        rows = round(sum(lines[file.data_type] * count for file, count in files.items()))
        widths = {row["data_type"]: row["symbols"] for row in catalog.rows(_WIDTHS)}
        if names <= set(widths):
            partitions = sum(
                len(symbols) or (len(own) or widths[name])
                for (name, _), own in _months(files).items()
            )
    mean = (size or fetch_bytes) / max(len(files), 1)
    return Estimate(size, rows, partitions, _seconds(catalog, size, fetch, mean))


def _months(files: Mapping[RawFile, int]) -> dict[tuple[str, date], set[str]]:
    """Data types and months of the files, with the symbols where those have files of their own."""
    found: defaultdict[tuple[str, date], set[str]] = defaultdict(set)
    for file in files:
        own = found[file.data_type, month_of(file.day)]
        if file.symbol is not None:
            own.add(file.symbol)
    return found


def _seconds(catalog: Catalog, size: int, fetch: Sequence[int], mean: float) -> float | None:
    like = {"least": mean / _ALIKE, "most": mean * _ALIKE}
    (rates,) = catalog.rows(_RATES, runs=_PAST_RUNS, **like) or [{"fetch": None, "read": None}]
    spent = []
    for wanted, rate in ((sum(fetch), rates["fetch"]), (size, rates["read"])):
        if wanted and rate is None:
            return None
        spent.append(wanted / rate if wanted else 0.0)
    # Both go on at once, but for the first file to come, and the last to be read.
    return max(spent) + min(spent) / max(len(fetch), 1)


_LINES = """
    select data_type, sum(lines) / sum(bytes) as lines_a_byte
    from source_files
    where state = 'ingested' and lines is not null and bytes > 0
    group by data_type
"""
_WIDTHS = """
    with
        lasts as (
            select data_type, sessions[-1].session as session
            from partitions
        )
    select data_type, count(*) as symbols
    from lasts
    where (data_type, session) in (select (data_type, max(session)) from lasts group by data_type)
    group by data_type
"""
_RATES = """
    with
        fetching as (
            select bytes_fetched, download_time
            from runs
            where
                download_time > 0
                and bytes_fetched between $least * files_fetched and $most * files_fetched
                and bytes_fetched > 0
            order by started_at desc
            limit $runs
        ),
        reading as (
            select bytes_read, processing_time
            from runs
            where
                processing_time > 0
                and bytes_read between $least * files and $most * files
                and bytes_read > 0
            order by started_at desc
            limit $runs
        )
    select
        (select sum(bytes_fetched) / sum(download_time) from fetching) as fetch,
        (select sum(bytes_read) / sum(processing_time) from reading) as read
"""
