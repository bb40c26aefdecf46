"""From the source into the raw tier: what is new there, what has changed, what is not to be had."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from warehouse.core.calendar import (
    FIRST_SESSION,
    NEW_YORK,
    absent_sessions,
    last_day_of_month,
    today,
)
from warehouse.core.config import Config, check_server, source_confines
from warehouse.core.datatypes import DATA_TYPES, DataType
from warehouse.core.file_state import FileState
from warehouse.core.paths import Layout, RawFile, month_of, parse_raw_path, source_folder
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.errors import (
    ConfigError,
    CredentialsError,
    DamagedInTransitError,
    MissingFileError,
    NotInPlanError,
    RawFileError,
    RequestError,
    SourceError,
    StorageError,
    TransferError,
)
from warehouse.ingest.raw_check import as_it_came, is_recorded, no_md5, restamped
from warehouse.source.folder import FolderSource, Unlisted
from warehouse.source.transfer import Fetched, SourceObject
from warehouse.source.unexpected_layout import instead
from warehouse.store import data_folder_id
from warehouse.store.catalog import SourceFile
from warehouse.text import count, printable, some

if TYPE_CHECKING:
    from warehouse.source.s3 import S3Source

Source: TypeAlias = "FolderSource | S3Source"

PUBLISHED_AT = time(11)
"""When, New York time, the vendor's file of a session appears on the next day; about."""

_NAMED = 5

# A source whose last file is older is an archive: nobody waits for what would follow.
_LIVING = timedelta(days=10)


@dataclass(repr=False)
class DownloadPlan(Face):
    """What a download would do, and once it has run what came of it.

    Attributes:
        fetch: files that are new at the source, or have changed there. While they come, and
            after it, those that came, in the version that came.
        have: files whose present version is in the raw tier, or published.
        set_aside: files whose present version failed verification before; not fetched again.
        changed: those of `fetch` of which an earlier version is here.
        replaced: those of `fetch` in whose place other bytes stand here than came from the source,
            or than it has; these are set aside.
        replaced_left: files that came before, and whose bytes were replaced here since, of which
            the source's are not to be had; what was published of them stands.
        changed_before: files that have changed, too long ago to be looked at; not fetched.
        not_in_plan: files that the vendor refused before; not asked for again.
        absent: (data type, session) the exchange's calendar has, and neither the source nor the
            warehouse.
        not_yet: the same, of sessions whose file is not due yet.
        problems: files that were to be fetched and did not come.
        seconds: what the files that came took.
        vouched_by: what says that their bytes are the source's; see `source.Fetched`.
        unread: places of the source that cannot be looked at, or held files and hold none now.
        left_out: what was left out, and why, without being an error.
        hint: what was looked for and what there is instead, where the source has nothing at all.
        restamped: records of files that only look new: copied since, their bytes are the same.
        records: what the catalog is to say of all these, and does not say yet.
    """

    fetch: list[SourceObject] = field(default_factory=list)
    have: list[SourceObject] = field(default_factory=list)
    set_aside: list[SourceObject] = field(default_factory=list)
    changed: list[SourceObject] = field(default_factory=list)
    replaced: list[SourceObject] = field(default_factory=list)
    replaced_left: list[RawFile] = field(default_factory=list)
    changed_before: list[SourceObject] = field(default_factory=list)
    not_in_plan: list[SourceObject] = field(default_factory=list)
    absent: list[tuple[str, date]] = field(default_factory=list)
    not_yet: list[tuple[str, date]] = field(default_factory=list)
    problems: list[Fetched] = field(default_factory=list)
    seconds: dict[RawFile, float] = field(default_factory=dict)
    vouched_by: dict[RawFile, str | None] = field(default_factory=dict)
    unread: list[SourceError] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    hint: str | None = None
    restamped: list[tuple[RawFile, SourceFile]] = field(default_factory=list)
    records: dict[RawFile, SourceFile] = field(default_factory=dict)

    def _face(self) -> dict[str, Any]:
        return {
            "fetch": len(self.fetch),
            "bytes": self.bytes,
            "have": len(self.have),
            "changed": len(self.changed) or None,
            "replaced": len(self.replaced) or None,
            "replaced_left": len(self.replaced_left) or None,
            "set_aside": len(self.set_aside) or None,
            "problems": len(self.problems) or None,
            "unread": len(self.unread) or None,
            "not_in_plan": len(self.not_in_plan) or None,
            "absent": len(self.absent),
            "not_yet": len(self.not_yet),
        }

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.fetch)


def open_source(config: Config, root: Path) -> Source:
    """The source that the configuration names. An S3 server is not spoken to yet.

    Raises:
        ConfigError: none is named.
        SourceError: it cannot be read.
        ForeignWarehouseError: somebody else's configuration names a server.
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
        check_server(root, config)
        # Imported here: boto3 takes half a second that a folder need not wait for.
        from warehouse.source.s3 import S3Source

        return S3Source(url, config.source.endpoint, config.download, modes=config.modes)
    folder = config.source_folder(root)
    if folder is None:
        raise SourceError(url, "must be a folder, or s3://BUCKET")
    # Of a link that leads back to itself `Path.resolve` raises what is no OSError.
    folder = Path(os.path.realpath(folder))
    return FolderSource(folder, config.modes, source_confines(root, config))


def address(config: Config, source: Source) -> str:
    """The source in words that tell it from others, and that a file of one line takes."""
    if isinstance(source, FolderSource):
        return printable(source.url)
    return printable(f"{source.url.rstrip('/')} at {config.source.endpoint.rstrip('/')}")


def of_another_source(
    layout: Layout,
    config: Config,
    source: Source,
    items: Iterable[SourceObject],
    known: Mapping[RawFile, SourceFile],
) -> SourceError | None:
    """Why the rows of published files are not to be replaced by what the source has of them.

    Two configurations that name one cache folder are one warehouse, and should have one source.
    Of two, each would take what the other brought for earlier versions of its own files.

    Args:
        items: what the source has under another mark; no copies of what is published.
    """
    here, before = address(config, source), data_folder_id.source_of(layout)
    if before in (None, here):
        return None
    others = [
        item.file.key
        for item in items
        if (record := known.get(item.file))
        and record.state.was_published
        and _is_another(source, item, record)
    ]
    if not others:
        return None
    return SourceError(
        here,
        f"{count(len(others), 'file')} that came from {printable(before or '')} and"
        f" {'is' if len(others) == 1 else 'are'} published differ here: {some(others, _NAMED)};"
        " nothing is replaced: where that is the source of another configuration with this"
        " cache_dir, give this one a cache_dir of its own; where all is to come from here from now"
        f" on, remove {layout.source_note} and run the command again",
    )


def _is_another(source: Source, item: SourceObject, record: SourceFile) -> bool:
    """Whether the source has other bytes of a published file than came, where that can be told.

    A folder's mark is never a server's, and ETags of several parts differ by the parts' size alone:
    files of the same size are then taken for the same.
    """
    if record.etag in (None, item.etag):
        return False
    if record.bytes not in (None, item.size):
        return True
    # Of a folder the bytes were compared. Both marks without a hyphen are MD5s of the bytes.
    return isinstance(source, FolderSource) or "-" not in f"{record.etag}{item.etag}"


def is_copy(source: Source, item: SourceObject, record: SourceFile, layout: Layout) -> bool:
    """Whether what looks new at the source has the bytes that came before.

    So it is of a folder alone: a server's ETag is another where the bytes are.
    """
    if not isinstance(source, FolderSource):
        return False
    raw = layout.raw_file(item.file)
    return source.is_copy(item, record.etag, record.bytes, record.sha256, raw)


def glance(config: Config, root: Path) -> list[str]:
    """What a source holds, in lines for a person: how many files, or what is there instead of any.

    A folder alone is looked at; a server is not spoken to, and gives no line.

    Raises:
        SourceError: it cannot be read.
    """
    source = open_source(config, root)
    if not isinstance(source, FolderSource):
        return []
    layout, said = config.source.layout, []
    odd: list[Unlisted] = []
    for kind in DATA_TYPES.values():
        days = [item.file.day for item in source.list(kind, layout, date.min, date.max, odd.append)]
        if days:
            said.append(f"{count(len(days), 'file')} of {kind.name}, {min(days)} to {max(days)}")
    odd = [each for each in odd if said or not each.is_misnamed]
    said = said or [instead(source.names(), source.url, DATA_TYPES["trades"], layout)]
    said += [f"{each.key} {each.problem}" for each in odd[:_NAMED]]
    if len(odd) > _NAMED:
        said.append(f"and {len(odd) - _NAMED:,} more that cannot be taken")
    return said


def plan_download(
    source: Source,
    layout: Layout,
    config: Config,
    kinds: Sequence[DataType],
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

    Raises:
        SourceError: none of the data types can be listed; where some can, the others are `unread`.
    """
    plan = DownloadPlan()
    now = now or datetime.now(NEW_YORK)
    symbols = frozenset(config.source.symbols)
    kept = {(file.data_type, file.day) for file, record in known.items() if record.state.is_here}
    holdings = _Holdings(config, known)
    bare: list[DataType] = []
    failed: list[SourceError] = []
    has_listed = False
    for kind in kinds:
        days: set[date] = set()
        published: list[SourceObject] = []
        unlisted: list[Unlisted] = []
        for item in _listed(source, kind, config, first, last, unlisted, failed):
            days.add(item.file.day)
            has_listed = True
            if symbols and item.file.symbol is not None and item.file.symbol not in symbols:
                continue
            record = known.get(item.file)
            same = record is not None and record.etag == item.etag
            if (
                record is not None
                and not same
                and record.state.is_here
                and is_copy(source, item, record, layout)
            ):
                record, same = replace(record, etag=item.etag), True
                plan.restamped.append((item.file, record))
            if record is None:
                plan.fetch.append(item)
            elif same and record.state == FileState.SET_ASIDE:
                aside = layout.set_aside / item.file.raw_path
                # What rotted here after it had come is whole there.
                rotted = not no_md5(record) and source.differs(item, aside)
                (plan.fetch if rotted else plan.set_aside).append(item)
            elif same and record.state == FileState.NOT_IN_PLAN and open_start:
                plan.not_in_plan.append(item)
            elif same and holdings.has(layout, item.file, record):
                came = as_it_came(layout.raw_file(item.file), record)
                if came is None:
                    plan.fetch.append(item)
                    continue
                plan.have.append(item)
                if came != record:
                    plan.restamped.append((item.file, came))
            elif record.state == FileState.INGESTED and not same and record.etag is not None:
                published.append(item)
            else:
                plan.fetch.append(item)
                if record.state == FileState.DOWNLOADED and not same:
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
        # Where nothing is named rightly all of it is told at once.
        unlisted = [
            one
            for one in unlisted
            if not one.is_misnamed or (days and (kind.name, one.first) not in kept)
        ]
        _note_unlisted(plan, source, config, unlisted)
        if not days and not unlisted:
            bare.append(kind)
        # A day of another year by its misspelling alone is not where the source begins.
        begin = min(days, default=date.min)
        days |= {
            each.file.day
            for each in unlisted
            if each.file is not None and not (each.is_misnamed and each.file.day < begin)
        }
        unseen = [(each.first, each.last) for each in unlisted if each.file is None]
        if not (kind.monthly_by_symbol and config.source.layout == "symbol"):
            _find_absent(plan, kind, days, kept, (first, last), unseen, open_end, now)
    if failed and len(failed) == len(kinds) and not has_listed:
        raise failed[0]
    looked_at = [(item, leading_out(layout, source, item)) for item in plan.fetch]
    elsewhere = {item.file: Fetched(item, why) for item, why in looked_at if why is not None}
    plan.problems += elsewhere.values()
    plan.fetch = [item for item in plan.fetch if item.file not in elsewhere]
    plan.changed = [item for item in plan.changed if item.file not in elsewhere]
    plan.replaced = [item for item in plan.fetch if _is_replaced(source, layout, item, known)]
    for kind in bare:
        _note_bare(plan, source, config, kind, known, (first, last))
    if len(bare) == len(kinds) and plan.hint is None:
        plan.hint = instead(source.names(), source.url, bare[0], config.source.layout)
        # Who has files of before gets them, and who had some is told what has become of them.
        if last < FIRST_SESSION and not any(day < FIRST_SESSION for _, day in kept):
            problem = f"the vendor's files begin on {FIRST_SESSION}; {plan.hint}"
            raise RequestError("end", str(last), f"{problem}; is the year right?")
    ahead = max((day for _, day in kept), default=last)
    if open_end and ahead > today():
        plan.left_out.append(
            f"days after {today()}, which is today by this computer's clock: {ahead} is here"
            " already, so set the clock right"
        )
    plan.fetch.sort(key=lambda item: item.file.sort_key)
    return plan


def leading_out(layout: Layout, source: Source, item: SourceObject) -> TransferError | None:
    """Why a file is not to be brought: a link in a stranger's raw tier leads its place elsewhere.

    What stands there would be written over, or set aside, under the user's name.
    """
    target = layout.raw_file(item.file)
    problem = layout.leads_out(target)
    if problem is None:
        return None
    return TransferError(source.url, item.key, f"{target} {problem}; move away the link")


def _is_replaced(
    source: Source, layout: Layout, item: SourceObject, known: Mapping[RawFile, SourceFile]
) -> bool:
    """Whether bytes stand in a file's place that did not come from the source, and it has not.

    What was changed in place where the raw file is a link to the source's own is the source's.
    """
    path, record = layout.raw_file(item.file), known.get(item.file)
    if record is not None and record.state.is_here and record.etag is not None:
        if as_it_came(path, record) is not None:
            return False
        if record.etag == item.etag:
            return True
    return source.differs(item, path)


def _listed(
    source: Source,
    kind: DataType,
    config: Config,
    first: date,
    last: date,
    unlisted: list[Unlisted],
    failed: list[SourceError],
) -> Iterator[SourceObject]:
    """What the source has of a data type; one that it does not list keeps no other.

    Args:
        unlisted: takes what cannot be taken.
        failed: takes why not all was listed.
    """
    layout = config.source.layout
    try:
        yield from source.list(kind, layout, first, last, unlisted.append)
    except SourceError as error:
        if isinstance(error, CredentialsError) or not source.answers:
            raise
        failed.append(error)
        problem = f"cannot be listed: {error.problem}"
        unlisted.append(Unlisted(source_folder(kind, layout), problem, None, first, last))


def _note_unlisted(
    plan: DownloadPlan, source: Source, config: Config, unlisted: Iterable[Unlisted]
) -> None:
    """Files that cannot be taken are as good as files that did not come."""
    symbols = frozenset(config.source.symbols)
    for each in unlisted:
        file = each.file
        if file is not None and file.symbol is not None and symbols and file.symbol not in symbols:
            continue
        if each.is_double:
            plan.left_out.append(f"{each.key} {each.problem}")
            continue
        problem = SourceError(source.url, f"{each.key} {each.problem}")
        if file is None:
            plan.unread.append(problem)
        else:
            plan.problems.append(Fetched(SourceObject(file, each.key, 0, ""), problem))


def gone(config: Config, root: Path, known: Mapping[RawFile, SourceFile]) -> str | None:
    """Why nothing can come from the source any more, though something did; None: it can.

    A folder alone is looked at; a server is not spoken to.
    """
    if not config.source.url or config.source.url.startswith("s3://"):
        return None
    try:
        source = open_source(config, root)
    except SourceError as error:
        return error.problem
    if not isinstance(source, FolderSource):
        return None
    for kind in DATA_TYPES.values():
        before = _came(config, kind, known)
        if before and not source.holds(kind, config.source.layout):
            return _went(source, config, kind, before).problem
    return None


def _came(config: Config, kind: DataType, known: Mapping[RawFile, SourceFile]) -> list[date]:
    """Days of the files of a data type that came from the source."""
    return sorted(
        file.day
        for file, record in known.items()
        if file.data_type == kind.name
        and record.etag is not None
        and (record.state.is_here or record.state == FileState.SET_ASIDE)
        and (file.symbol is None) == (config.source.layout == "day")
    )


def _went(source: Source, config: Config, kind: DataType, before: Sequence[date]) -> SourceError:
    """That a source has nothing of a data type, and had something before."""
    hint = instead(source.names(), source.url, kind, config.source.layout)
    held = f"{count(len(before), 'file')} of {kind.name} came from here"
    return SourceError(
        source.url, f"{held} ({before[0]} to {before[-1]}), and now it has none; {hint}"
    )


def _note_bare(
    plan: DownloadPlan,
    source: Source,
    config: Config,
    kind: DataType,
    known: dict[RawFile, SourceFile],
    span: tuple[date, date],
) -> None:
    """Say so where the source has nothing of a data type, and had something before."""
    before = _came(config, kind, known)
    if not any(span[0] <= day <= span[1] for day in before):
        return
    unlisted: list[Unlisted] = []
    failed: list[SourceError] = []
    everything = _listed(source, kind, config, before[0], today(), unlisted, failed)
    if any(True for _ in everything):
        return
    if failed:
        # It may have what came before, and keeps no other data type.
        _note_unlisted(plan, source, config, [one for one in unlisted if one.file is None])
        return
    plan.hint = instead(source.names(), source.url, kind, config.source.layout)
    plan.unread.append(_went(source, config, kind, before))


def _find_absent(
    plan: DownloadPlan,
    kind: DataType,
    days: set[date],
    kept: AbstractSet[tuple[str, date]],
    span: tuple[date, date],
    unseen: Sequence[tuple[date, date]],
    open_end: bool,
    now: datetime,
) -> None:
    first, last = span
    # Without a start nothing is missing before the first day the source has.
    start = min(days, default=last) if first <= FIRST_SESSION else first
    # A source without a file since the first day ends before it.
    newest = max(days, default=start - timedelta(days=1))
    if open_end and last - newest > _LIVING:
        last = newest
    for day in absent_sessions(start, last, days):
        due = datetime.combine(day + timedelta(days=1), PUBLISHED_AT, NEW_YORK)
        # What came before the source let go of it is not missing here, and what cannot be looked
        # at may be there.
        is_unseen = any(begin <= day <= end for begin, end in unseen)
        if (kind.name, day) not in kept and not is_unseen:
            (plan.not_yet if now < due else plan.absent).append((kind.name, day))


def put_aside(
    layout: Layout,
    file: RawFile,
    path: Path,
    problem: str,
    etag: str | None = None,
    place: Path | None = None,
) -> None:
    """Move what failed verification out of the raw tier, with a record of why beside it.

    Args:
        place: where to; None: where such a version of the file is looked for.
    """
    target = place or layout.set_aside / file.raw_path
    layout.make_aside(target.parent)
    record = {"file": file.key, "problem": problem, "etag": etag}
    beside = target.with_name(f"{target.name}.json")
    with open(beside, "w", encoding="utf-8", opener=layout.modes.opener) as written:
        written.write(json.dumps(record, indent=2) + "\n")
    if os.path.lexists(path):
        if target.exists() and target.samefile(path):
            # Two names of one file, set aside before: a rename would leave both.
            target.unlink()
        try:
            os.replace(path, target)
        except OSError:
            shutil.move(path, target)


def did_not_come(outcome: Fetched) -> tuple[RawFile, SourceFile]:
    """The record of a file that was to be fetched and did not come."""
    item, problem = outcome.item, outcome.problem
    state, etag = FileState.FAILED, None
    if isinstance(problem, NotInPlanError):
        state, etag = FileState.NOT_IN_PLAN, item.etag
    elif isinstance(problem, MissingFileError):
        state = FileState.MISSING
    elif isinstance(problem, RawFileError):
        state = FileState.SET_ASIDE
        # What was damaged on the way may come whole the next time: it is to be asked for again.
        etag = None if isinstance(problem, DamagedInTransitError) else item.etag
    file = item.file
    record = SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state,
        str(problem),
        etag,
        vouched_by=outcome.vouched_by,
    )
    return file, record


def fetched(item: SourceObject, vouched_by: str | None) -> SourceFile:
    """The record of a file that has just come into the raw tier.

    Args:
        vouched_by: what says that its bytes are the source's.
    """
    file = item.file
    return SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state=FileState.DOWNLOADED,
        etag=item.etag,
        bytes=item.size,
        vouched_by=vouched_by,
    )


def files_to_ingest(
    layout: Layout,
    config: Config,
    kinds: Sequence[DataType],
    first: date,
    last: date,
    known: dict[RawFile, SourceFile],
    copied: dict[RawFile, SourceFile] | None = None,
    left: list[RawFile] | None = None,
) -> list[RawFile]:
    """Files of the raw tier whose present version is not published, in the order of work.

    Of a bucket's warehouse a file that came from the source and is published is not among them,
    whatever this machine has of it.

    Args:
        copied: takes the new records of files that hold what was published and were copied since,
            which a hash tells; None: such files count as not published.
        left: takes files of a bucket's warehouse that hold other bytes than were published.
    """
    found = []
    holdings = _Holdings(config, known)
    for file in raw_files(layout, config, kinds, first, last):
        if is_ahead(file, known):
            continue
        record = known.get(file)
        if record is not None and holdings.publishes(file, record):
            path = layout.raw_file(file)
            if is_recorded(path, record):
                continue
            if copied is not None and (renewed := restamped(path, record)) is not None:
                copied[file] = renewed
                continue
            if layout.tier is not None and record.etag is not None:
                # Another machine's, which came later; `update` fetches it here.
                if left is not None:
                    left.append(file)
                continue
        found.append(file)
    return found


def replaced_here(
    layout: Layout, files: Iterable[RawFile], known: Mapping[RawFile, SourceFile]
) -> list[RawFile]:
    """Those of the files that came from the source, were published, and have other bytes now."""
    found = []
    for file in files:
        record = known.get(file)
        if (
            record is not None
            and record.state == FileState.INGESTED
            and record.etag is not None
            and as_it_came(layout.raw_file(file), record) is None
        ):
            found.append(file)
    return sorted(found, key=lambda file: file.sort_key)


def of_other_machines(
    layout: Layout, files: Iterable[RawFile], known: Mapping[RawFile, SourceFile]
) -> set[RawFile]:
    """Those of the files of which another machine has published other bytes.

    Of a bucket's warehouse each has raw files of its own, and the source may change them meanwhile.
    """
    return set() if layout.tier is None else set(replaced_here(layout, files, known))


def may_be_copied(
    layout: Layout,
    config: Config,
    files: Iterable[RawFile],
    known: Mapping[RawFile, SourceFile],
) -> list[RawFile]:
    """Those of `files_to_ingest` that may hold what was published; nothing is read."""
    holdings, found = _Holdings(config, known), []
    for file in files:
        record = known.get(file)
        if record is None or record.sha256 is None or not holdings.publishes(file, record):
            continue
        with suppress(OSError):
            if layout.raw_file(file).stat().st_size == record.bytes:
                found.append(file)
    return found


def passed_over(
    layout: Layout,
    config: Config,
    request: Request,
    known: Mapping[RawFile, SourceFile],
) -> tuple[list[StorageError], list[RawFile]]:
    """What of the raw tier is not read, where it may hold what is asked for.

    Returns:
        What cannot be looked at, or is of a day to come; and files of the layout that
        `source.layout` is not, where they never brought their rows.
    """
    first, last = request.first, request.last
    names = sorted({kind.name for kind in request.kinds})
    files, unread = layout.raw_tier(names, first, last)
    symbols = request.symbols or frozenset(config.source.symbols)
    others = [
        file
        for file in files
        if (file.symbol is None) != (config.source.layout == "day")
        and (not symbols or file.symbol is None or file.symbol in symbols)
        and file.overlaps(first, last)
        and not ((record := known.get(file)) and record.state == FileState.INGESTED)
    ]
    found = []
    for name, entry in unread:
        begin, end = entry.span if entry.is_folder else (date.min, date.max)
        file = None if entry.is_folder else parse_raw_path(name, entry.below)
        is_asked = begin <= last and first <= end and (file is None or file.overlaps(first, last))
        if is_asked:
            path = layout.raw / name / entry.below if entry.below else layout.raw / name
            found.append(StorageError(path, entry.problem or ""))
    problem = (
        f"is of a day after {today()}, which is today by this computer's clock; take it away, or"
        " set the clock right"
    )
    found += [
        StorageError(layout.raw_file(file), problem) for file in files if is_ahead(file, known)
    ]
    return found, [file for file in others if not is_ahead(file, known)]


def is_ahead(file: RawFile, known: Mapping[RawFile, SourceFile]) -> bool:
    """Whether there can be no such file yet, by this computer's clock, and none has come."""
    return file.day > today() and file not in known


def raw_files(
    layout: Layout, config: Config, kinds: Sequence[DataType], first: date, last: date
) -> list[RawFile]:
    """Files of the raw tier in the configured layout that may hold sessions of first to last.

    A symbol's own file and the day's file of all symbols say the same: reading both would count
    everything twice, so only those of `source.layout` are taken.
    """
    symbols = frozenset(config.source.symbols)
    names = sorted({kind.name for kind in kinds})
    return [
        file
        for file in layout.raw_tier(names, first, last)[0]
        if (file.symbol is None) == (config.source.layout == "day")
        and (not symbols or file.symbol is None or file.symbol in symbols)
        and file.overlaps(first, last)
    ]


def raw_there(layout: Layout, config: Config, kinds: Sequence[DataType]) -> str:
    """What the raw tier holds of some data types, of whichever days, in words."""
    held = list(layout.raw_files())
    said = []
    for kind in kinds:
        for name in ("day", "symbol"):
            days = [
                file.day
                for file in held
                if file.data_type == kind.name and (file.symbol is None) == (name == "day")
            ]
            other = "" if name == config.source.layout else f" (of source.layout {name})"
            if days:
                files = f"{count(len(days), 'file')} of {kind.name}"
                said.append(f"{files}, {min(days)} to {max(days)}{other}")
    return "; ".join(said) or f"no file of {', '.join(kind.name for kind in kinds)}"


class _Holdings:
    """What is published of the vendor's files, as the configuration has it now.

    Args:
        known: what is known of each of them.
    """

    def __init__(self, config: Config, known: Mapping[RawFile, SourceFile]) -> None:
        self._known = known
        self._is_day = config.source.layout == "day"
        self._symbols = frozenset(config.source.symbols)

    def has(self, layout: Layout, file: RawFile, record: SourceFile) -> bool:
        """Whether a file need not be fetched: it is published, or in the raw tier."""
        if self.publishes(file, record):
            return True
        return record.state.is_here and os.path.exists(layout.raw_file(file))

    def publishes(self, file: RawFile, record: SourceFile) -> bool:
        """Whether all of a file's rows that are wanted now were published, and are still.

        What files of the other layout took over is to come from those of this layout again.
        """
        return (
            record.state == FileState.INGESTED
            and self._covers(file, record)
            and not (record.is_taken_over and self._rivals(file))
        )

    def _covers(self, file: RawFile, record: SourceFile) -> bool:
        """Whether all symbols that are selected now were selected when it was published."""
        if file.symbol is not None or record.symbols is None:
            return True
        return bool(self._symbols) and self._symbols <= set(record.symbols)

    def _rivals(self, file: RawFile) -> bool:
        """Whether files of the other layout bring rows of its sessions that are wanted now."""
        if (file.symbol is None) != self._is_day:
            return False
        last = last_day_of_month(file.day) if file.monthly else file.day
        return any(
            other.overlaps(file.day, last)
            and (not self._symbols or other.symbol is None or other.symbol in self._symbols)
            for other in self._published[file.data_type, month_of(file.day)]
        )

    @cached_property
    def _published(self) -> Mapping[tuple[str, date], list[RawFile]]:
        """Files of the other layout that bring rows, by data type and month."""
        found: defaultdict[tuple[str, date], list[RawFile]] = defaultdict(list)
        for file, record in self._known.items():
            if (
                (file.symbol is None) != self._is_day
                and record.state == FileState.INGESTED
                and record.rows_published
            ):
                found[file.data_type, month_of(file.day)].append(file)
        return found
