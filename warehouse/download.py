"""From the source into the raw tier: what is new there, what has changed, what is not to be had."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from warehouse.catalog import SourceFile
from warehouse.config import Config
from warehouse.errors import (
    ConfigError,
    DamagedInTransitError,
    MissingFileError,
    NotInPlanError,
    RawFileError,
    SourceError,
)
from warehouse.layout import Layout, RawFile
from warehouse.partfile import part_of
from warehouse.schema import DataType
from warehouse.sessions import FIRST_SESSION, NEW_YORK, absent_sessions
from warehouse.source import Fetched, FolderSource, SourceObject

if TYPE_CHECKING:
    from warehouse.s3 import S3Source

Source: TypeAlias = "FolderSource | S3Source"

PUBLISHED_AT = time(11)
"""When, New York time, the vendor's file of a session appears on the next day; about."""

# A source whose last file is older is an archive: nobody waits for what would follow.
_LIVING = timedelta(days=10)


@dataclass
class DownloadPlan:
    """What a download would do, and once it has run what came of it.

    Attributes:
        fetch: files that are new at the source, or have changed there. After the download those
            that came, in the version that came.
        have: files whose present version is in the raw tier, or published.
        set_aside: files whose present version failed verification before; not fetched again.
        changed: those of `fetch` of which an earlier version is here.
        changed_before: files that have changed, too long ago to be looked at; not fetched.
        not_in_plan: files that the vendor refused before; not asked for again.
        absent: (data type, session) the exchange's calendar has, and neither the source nor the
            warehouse.
        not_yet: the same, of sessions whose file is not due yet.
        problems: files that were to be fetched and did not come.
        seconds: what the files that came took.
        records: what the catalog is to say of all these.
    """

    fetch: list[SourceObject] = field(default_factory=list)
    have: list[SourceObject] = field(default_factory=list)
    set_aside: list[SourceObject] = field(default_factory=list)
    changed: list[SourceObject] = field(default_factory=list)
    changed_before: list[SourceObject] = field(default_factory=list)
    not_in_plan: list[SourceObject] = field(default_factory=list)
    absent: list[tuple[str, date]] = field(default_factory=list)
    not_yet: list[tuple[str, date]] = field(default_factory=list)
    problems: list[Fetched] = field(default_factory=list)
    seconds: dict[RawFile, float] = field(default_factory=dict)
    records: dict[RawFile, SourceFile] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.fetch)


def open_source(config: Config, root: Path) -> Source:
    """The source that the configuration names. An S3 server is not spoken to yet.

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
            "is not set; give the folder that holds us_stocks_sip/, or s3://flatfiles",
        )
    if url.startswith("s3://"):
        # Imported here: boto3 takes half a second that a folder need not wait for.
        from warehouse.s3 import S3Source

        return S3Source(url, config.source.endpoint, config.download, modes=config.modes)
    if "://" in url and not url.startswith("file://"):
        raise SourceError(url, "must be a folder, or s3://BUCKET")
    folder = (root / Path(url.removeprefix("file://")).expanduser()).resolve()
    return FolderSource(folder, config.modes)


def plan_download(
    source: Source,
    layout: Layout,
    config: Config,
    kinds: Iterable[DataType],
    first: date,
    last: date,
    known: dict[RawFile, SourceFile],
    *,
    open_start: bool = False,
    open_end: bool = False,
    now: datetime | None = None,
) -> DownloadPlan:
    """Compare the source with what is here, for the sessions from first to last (inclusive).

    A file that is new is fetched wherever it lies in the range. One that is published here and has
    been replaced at the source (it has another ETag) is fetched too, but where the range was left
    open at its start (`open_start`) only if it lies among the last
    `download.restatement_window_days` days that the source has: the vendor has been known to
    rewrite years of files, and a daily update is not to fetch them all unasked. Files that the
    vendor refused before are asked for again only where a start is given.

    Args:
        open_start, open_end: nobody asked for just this first, or last, session.
        now: the present moment, for tests.
    """
    plan = DownloadPlan()
    now = now or datetime.now(NEW_YORK)
    symbols = frozenset(config.source.symbols)
    kept = {
        (file.data_type, file.day)
        for file, record in known.items()
        if record.state in ("ingested", "downloaded")
    }
    for kind in kinds:
        days: set[date] = set()
        published: list[SourceObject] = []
        for item in source.list(kind, config.source.layout, first, last):
            days.add(item.file.day)
            if symbols and item.file.symbol is not None and item.file.symbol not in symbols:
                continue
            record = known.get(item.file)
            same = record is not None and record.etag == item.etag
            if record is None:
                plan.fetch.append(item)
            elif same and record.state == "set_aside":
                aside = layout.set_aside / item.file.raw_path
                # What rotted here after it had come is whole there.
                rotted = source.differs(item, aside)
                (plan.fetch if rotted else plan.set_aside).append(item)
            elif same and record.state == "not_in_plan" and open_start:
                plan.not_in_plan.append(item)
            elif same and _is_here(layout, config, record, item.file):
                plan.have.append(item)
            elif record.state == "ingested" and not same and record.etag is not None:
                published.append(item)
            else:
                plan.fetch.append(item)
                if record.state == "downloaded" and not same:
                    plan.changed.append(item)
        since = first
        if open_start:
            window = timedelta(days=config.download.restatement_window_days - 1)
            since = max(days, default=last) - window
        for item in published:
            if item.file.overlaps(since, last):
                plan.fetch.append(item)
                plan.changed.append(item)
            else:
                plan.changed_before.append(item)
        if not (kind.monthly_by_symbol and config.source.layout == "symbol"):
            _find_absent(plan, kind, days, kept, (first, last), open_end, now)
    plan.fetch.sort(key=lambda item: item.file.sort_key)
    return plan


def _find_absent(
    plan: DownloadPlan,
    kind: DataType,
    days: set[date],
    kept: AbstractSet[tuple[str, date]],
    span: tuple[date, date],
    open_end: bool,
    now: datetime,
) -> None:
    first, last = span
    # Without a start nothing is missing before the first day the source has.
    start = min(days, default=last) if first <= FIRST_SESSION else first
    if open_end and days and last - max(days) > _LIVING:
        last = max(days)
    for day in absent_sessions(start, last, days):
        due = datetime.combine(day + timedelta(days=1), PUBLISHED_AT, NEW_YORK)
        # What came before the source let go of it is not missing here.
        if (kind.name, day) not in kept:
            (plan.not_yet if now < due else plan.absent).append((kind.name, day))


def take(plan: DownloadPlan, layout: Layout, outcomes: Iterable[Fetched]) -> Iterator[Fetched]:
    """Enter into the plan what came of it, and set aside what came damaged; passes all on.

    However it ends, `plan.fetch` holds what has come by then.
    """
    plan.fetch = []
    changed = {item.file: item for item in plan.changed}
    try:
        yield from _taken(plan, layout, outcomes, changed)
    finally:
        plan.changed = list(changed.values())
        plan.fetch.sort(key=lambda item: item.file.sort_key)


def _taken(
    plan: DownloadPlan,
    layout: Layout,
    outcomes: Iterable[Fetched],
    changed: dict[RawFile, SourceObject],
) -> Iterator[Fetched]:
    for outcome in outcomes:
        file = outcome.item.file
        if outcome.problem is None:
            plan.fetch.append(outcome.item)
            plan.seconds[file] = outcome.seconds
            if file in changed:
                changed[file] = outcome.item
        else:
            plan.problems.append(outcome)
            changed.pop(file, None)
            if isinstance(outcome.problem, RawFileError):
                part = part_of(layout.raw_file(file))
                put_aside(layout, file, part, str(outcome.problem), outcome.item.etag)
        yield outcome


def put_aside(layout: Layout, file: RawFile, path: Path, problem: str, etag: str | None) -> None:
    """Move what failed verification out of the raw tier, with a record of why beside it."""
    target = layout.set_aside / file.raw_path
    layout.modes.make_folders(target.parent)
    record = {"file": file.key, "problem": problem, "etag": etag}
    beside = target.with_name(f"{target.name}.json")
    with open(beside, "w", encoding="utf-8", opener=layout.modes.opener) as written:
        written.write(json.dumps(record, indent=2) + "\n")
    if path.exists():
        try:
            os.replace(path, target)
        except OSError:
            shutil.move(path, target)


def records_of(plan: DownloadPlan, known: dict[RawFile, SourceFile]) -> dict[RawFile, SourceFile]:
    """What the catalog is to say of the files of a download, where it does not say so already.

    A file that did not come, but of which an earlier version is published, keeps the record of
    that: its rows still stand.
    """
    found = {item.file: fetched(item) for item in plan.fetch}
    news = [did_not_come(outcome) for outcome in plan.problems]
    for state, sessions in (("missing", plan.absent), ("not_yet", plan.not_yet)):
        news += [
            (file, SourceFile(name, day, None, file.key, state))
            for name, day in sessions
            for file in [RawFile(name, day)]
        ]
    for file, record in news:
        before = known.get(file)
        if before is not None and (
            before.state in ("ingested", "downloaded")
            or (before.state, before.etag) == (record.state, record.etag)
        ):
            continue
        found[file] = record
    return found


def did_not_come(outcome: Fetched) -> tuple[RawFile, SourceFile]:
    """The record of a file that was to be fetched and did not come."""
    item, problem = outcome.item, outcome.problem
    state, etag = "failed", None
    if isinstance(problem, NotInPlanError):
        state, etag = "not_in_plan", item.etag
    elif isinstance(problem, MissingFileError):
        state = "missing"
    elif isinstance(problem, RawFileError):
        state = "set_aside"
        # What was damaged on the way may come whole the next time: it is to be asked for again.
        etag = None if isinstance(problem, DamagedInTransitError) else item.etag
    file = item.file
    record = SourceFile(file.data_type, file.day, file.symbol, file.key, state, str(problem), etag)
    return file, record


def _is_here(layout: Layout, config: Config, record: SourceFile, file: RawFile) -> bool:
    if record.state == "ingested" and _covers(config, file, record):
        return True
    return record.state in ("downloaded", "ingested") and layout.raw_file(file).exists()


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
    if not _covers(config, file, record):
        return False
    stat = layout.raw_file(file).stat()
    return (stat.st_mtime_ns, stat.st_size) == (record.raw_modified_ns, record.bytes)


def _covers(config: Config, file: RawFile, record: SourceFile) -> bool:
    """Whether all symbols that are selected now were selected when the file was published."""
    if file.symbol is not None or record.symbols is None:
        return True
    wanted = frozenset(config.source.symbols)
    return bool(wanted) and wanted <= set(record.symbols)
