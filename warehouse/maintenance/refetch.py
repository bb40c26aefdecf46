"""Raw files fetched again: damaged ones, lost ones, and those that were pruned and are needed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import ConfigError, SourceError, StorageError
from warehouse.ingest import raw_check
from warehouse.pipeline.download_plan import (
    DownloadPlan,
    Source,
    fetched,
    is_copy,
    leading_out,
    of_another_source,
    open_source,
    put_aside,
)
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.source.partfile import superseded
from warehouse.source.transfer import SourceObject
from warehouse.store.catalog import CatalogChange, SourceFile

_STOOD = "what stood here is not what is published, and was fetched again"


@dataclass
class Refetched:
    """What came of an attempt.

    Attributes:
        why: files that are not to be had, and why.
        restated: files of which another version came than the one that was ingested.
    """

    why: dict[RawFile, str] = field(default_factory=dict)
    restated: set[RawFile] = field(default_factory=set)


def rebuild(
    pipeline: Pipeline, request: Request, *, fetch: bool = False, dry_run: bool = False
) -> RunReport:
    """Make partitions anew, as `Pipeline.rebuild` does.

    Args:
        fetch: raw files that are gone are fetched again before.

    Raises:
        NoDataError: they are gone, and the source has them no more, or was not asked.
    """

    def bring(run: RunReport, wanted: Iterable[RawFile]) -> Mapping[RawFile, str]:
        if dry_run:
            return plan(pipeline, run, wanted)
        return refetch(pipeline, run, wanted).why

    return pipeline.rebuild(request, dry_run=dry_run, bring=bring if fetch else None)


def plan(pipeline: Pipeline, run: RunReport, wanted: Iterable[RawFile]) -> Mapping[RawFile, str]:
    """Tell the run what `refetch` would bring; returns why which files are not to be had."""
    why: dict[RawFile, str] = {}
    files = sorted(set(wanted), key=lambda file: file.sort_key)
    _, items = _at_the_source(pipeline, files, why)
    run.download = DownloadPlan(fetch=list(items.values()))
    return why


def refetch(
    pipeline: Pipeline,
    run: RunReport,
    wanted: Iterable[RawFile],
    set_aside: Callable[[Path], None] | None = None,
) -> Refetched:
    """Bring files of the source into the raw tier again, each compared with what was ingested.

    What comes damaged takes no good file's place. Within `pipeline.run`.

    Args:
        set_aside: takes the copies that were replaced; None: they are kept as those are that an
            update replaces.

    Raises:
        StorageError: the disk refuses.
    """
    result = Refetched()
    files = sorted(set(wanted), key=lambda file: file.sort_key)
    if not files:
        return result
    source, items = _at_the_source(pipeline, files, result.why)
    if source is None:
        return result
    for item in list(items.values()):
        if (problem := leading_out(pipeline.layout, source, item)) is not None:
            result.why[item.file] = str(problem)
            del items[item.file]
    known = pipeline.known()
    found = DownloadPlan(fetch=list(items.values()))
    layout, stood = pipeline.layout, set[RawFile]()

    def keep(file: RawFile, name: str) -> None:
        old = superseded(layout.raw_file(file))
        if set_aside is not None:
            set_aside(old)
        elif file in stood:
            shelf = layout.set_aside / f"replaced-{run.metrics.run_id}"
            place = (shelf / file.raw_path).with_name(name)
            put_aside(layout, file, old, _STOOD, place=place)
            pipeline.progress.note(f"{file.key}: {_STOOD}; it is kept as {place}")

    for file in items:
        path = layout.raw_file(file)
        if os.path.lexists(path):
            stood.add(file)
            if os.path.lexists(superseded(path)):
                # It is in the way of what is to be superseded now.
                keep(file, superseded(path).name)
    broken_off: SourceError | StorageError | None = None
    try:
        pipeline.fetch(source, run, found, known)
    except (SourceError, StorageError) as error:
        broken_off = error
    for outcome in found.problems:
        result.why[outcome.item.file] = str(outcome.problem)
    if broken_off is not None:
        # What had come by then is here, and what needs none of it can be mended.
        came = {item.file for item in found.fetch}
        for file in items:
            if file not in came:
                result.why.setdefault(file, str(broken_off))
    records = []
    for item in found.fetch:
        before = known.get(item.file)
        record = _received(
            item,
            layout.raw_file(item.file),
            before,
            partial(keep, item.file, item.file.raw_path.name),
            found.vouched_by.get(item.file),
            is_instead=item.file in stood,
        )
        if record is None:
            result.why[item.file] = "the source's copy of it is damaged as well"
            continue
        records.append(record)
        if (
            before is not None
            and before.state == FileState.INGESTED
            and record.state != FileState.INGESTED
        ):
            result.restated.add(item.file)
    pipeline.writer.publish(CatalogChange(files=records))
    return result


def _at_the_source(
    pipeline: Pipeline, files: list[RawFile], why: dict[RawFile, str]
) -> tuple[Source | None, dict[RawFile, SourceObject]]:
    """The source and what it has of the files; None: it cannot be asked.

    Args:
        why: takes those that are not to be had.
    """
    try:
        source = open_source(pipeline.config, pipeline.layout.root)
        items = _listed(source, pipeline.config.source.layout, files, why)
    except (ConfigError, SourceError) as error:
        why.update(dict.fromkeys(files, str(error)))
        return None, {}
    for file in files:
        if file not in items:
            why.setdefault(file, "the source has no such file (any more)")
    layout, known = pipeline.layout, pipeline.known()
    for item in list(items.values()):
        record = known.get(item.file)
        if record is not None and is_copy(source, item, record, layout):
            continue
        if other := of_another_source(layout, pipeline.config, source, [item], known):
            why[item.file] = str(other)
            del items[item.file]
    return source, items


def _listed(
    source: Source, layout: str, wanted: list[RawFile], why: dict[RawFile, str]
) -> dict[RawFile, SourceObject]:
    """What the source has of the files.

    Args:
        why: takes those of a data type that it does not list.

    Raises:
        SourceError: it does not answer at all.
    """
    found: dict[RawFile, SourceObject] = {}
    by_kind: defaultdict[str, set[RawFile]] = defaultdict(set)
    for file in wanted:
        by_kind[file.data_type].add(file)
    for name, files in by_kind.items():
        days = [file.day for file in files]
        try:
            for item in source.list(DATA_TYPES[name], layout, min(days), max(days)):
                if item.file in files:
                    found[item.file] = item
        except SourceError as error:
            if not source.answers:
                raise
            why.update((file, str(error)) for file in files if file not in found)
    return found


def _received(
    item: SourceObject,
    path: Path,
    before: SourceFile | None,
    keep: Callable[[], None],
    vouched_by: str | None,
    *,
    is_instead: bool,
) -> SourceFile | None:
    """The record of a raw file that has come; None where it is no good.

    Args:
        keep: takes the copy that was replaced.
        is_instead: another stood in its place, which is `superseded` now.
    """
    old = superseded(path)
    same = None if before is None else raw_check.restamped(path, before)
    is_same = same is not None or (before is not None and raw_check.problem(path, before) is None)
    if not is_same and raw_check.problem(path, None) is not None:
        if is_instead and old.exists():
            os.replace(old, path)
        return None
    if old.exists():
        keep()
    if same is not None and same.state == FileState.INGESTED:
        return replace(same, etag=item.etag, vouched_by=vouched_by)
    return fetched(item, vouched_by)
