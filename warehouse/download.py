"""From the source into the raw tier: what is new there, what has changed, what is not to be had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from warehouse.catalog import SourceFile
from warehouse.config import Config
from warehouse.errors import ConfigError, SourceError
from warehouse.layout import Layout, RawFile
from warehouse.schema import DataType
from warehouse.sessions import FIRST_SESSION, absent_sessions
from warehouse.source import FolderSource, SourceObject


@dataclass
class DownloadPlan:
    """What a download would do.

    Attributes:
        fetch: files that are new at the source, or have changed there.
        have: files whose present version is in the raw tier, or published.
        set_aside: files whose present version failed verification before; not fetched again.
        absent: (data type, session) the exchange's calendar has and the source has not.
    """

    fetch: list[SourceObject] = field(default_factory=list)
    have: list[SourceObject] = field(default_factory=list)
    set_aside: list[SourceObject] = field(default_factory=list)
    absent: list[tuple[str, date]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.fetch)


def open_source(config: Config, root: Path) -> FolderSource:
    """The source that the configuration names.

    Raises:
        ConfigError: none is named.
        SourceError: it cannot be read.
    """
    url = config.source.url
    if not url:
        raise ConfigError(
            root / "config" / "data_config.yaml",
            "source.url",
            url,
            "is not set; give the folder that holds us_stocks_sip/",
        )
    if "://" in url and not url.startswith("file://"):
        raise SourceError(
            url, "only folders can be read so far; bring the files with: aws s3 sync URL FOLDER"
        )
    return FolderSource((root / Path(url.removeprefix("file://")).expanduser()).resolve())


def plan_download(
    source: FolderSource,
    layout: Layout,
    config: Config,
    kinds: Iterable[DataType],
    first: date,
    last: date,
    known: dict[RawFile, SourceFile],
) -> DownloadPlan:
    """Compare the source with what is here, for the sessions from first to last (inclusive)."""
    plan = DownloadPlan()
    symbols = frozenset(config.source.symbols)
    for kind in kinds:
        days: set[date] = set()
        for item in source.list(kind, config.source.layout, first, last):
            days.add(item.file.day)
            if symbols and item.file.symbol is not None and item.file.symbol not in symbols:
                continue
            record = known.get(item.file)
            same = record is not None and record.etag == item.etag
            if record is not None and same and record.state == "set_aside":
                plan.set_aside.append(item)
            elif record is not None and same and _is_here(layout, record, item.file):
                plan.have.append(item)
            else:
                plan.fetch.append(item)
        if not (kind.monthly_by_symbol and config.source.layout == "symbol"):
            # Without a start nothing is missing before the first day the source has.
            start = min(days, default=last) if first <= FIRST_SESSION else first
            plan.absent += [(kind.name, day) for day in absent_sessions(start, last, days)]
    return plan


def _is_here(layout: Layout, record: SourceFile, file: RawFile) -> bool:
    return record.state == "ingested" or layout.raw_file(file).exists()


def fetched(item: SourceObject) -> SourceFile:
    """The record of a file that has just come into the raw tier."""
    file = item.file
    return SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state="downloaded",
        etag=item.etag,
        bytes=item.size,
    )


def files_to_ingest(
    layout: Layout,
    config: Config,
    kinds: Sequence[DataType],
    first: date,
    last: date,
    known: dict[RawFile, SourceFile],
) -> list[RawFile]:
    """Files of the raw tier whose present version is not published, in the order of work."""
    return [
        file
        for file in raw_files(layout, config, kinds, first, last)
        if not _is_published(layout, config, file, known.get(file))
    ]


def raw_files(
    layout: Layout, config: Config, kinds: Sequence[DataType], first: date, last: date
) -> list[RawFile]:
    """Files of the raw tier in the configured layout that may hold sessions of first to last.

    A symbol's own file and the day's file of all symbols say the same: reading both would count
    everything twice, so only those of `source.layout` are taken.
    """
    names = {kind.name for kind in kinds}
    symbols = frozenset(config.source.symbols)
    return [
        file
        for file in layout.raw_files()
        if file.data_type in names
        and (file.symbol is None) == (config.source.layout == "day")
        and (not symbols or file.symbol is None or file.symbol in symbols)
        and file.overlaps(first, last)
    ]


def _is_published(layout: Layout, config: Config, file: RawFile, record: SourceFile | None) -> bool:
    if record is None or record.state != "ingested":
        return False
    wanted = frozenset(config.source.symbols)
    if file.symbol is None and record.symbols is not None and not wanted <= set(record.symbols):
        return False
    if file.symbol is None and record.symbols is not None and not wanted:
        return False
    stat = layout.raw_file(file).stat()
    return (stat.st_mtime_ns, stat.st_size) == (record.raw_modified_ns, record.bytes)
