"""What came of a run: as lines for a person, as JSON for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from warehouse.cli.render.shortfalls import shortfalls
from warehouse.core.calendar import FIRST_SESSION, trading_days
from warehouse.core.config import CONFIG_FILE
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import BUCKET_PREFIX, RawFile
from warehouse.core.process import peak_memory_bytes
from warehouse.core.representation import as_object, plain
from warehouse.core.request import Request
from warehouse.errors import RawFileError, WarehouseError
from warehouse.maintenance.init import Laid
from warehouse.maintenance.prune import PruneReport
from warehouse.pipeline.download_plan import DownloadPlan, did_not_come
from warehouse.pipeline.estimate import Estimate
from warehouse.pipeline.report import RunReport
from warehouse.text import count, duration, shell_word, size, some

NAMED = 8
"""So many things of a kind are named, the others counted."""


def label(file: RawFile) -> str:
    """A raw file in a few words: `trades 2024-01-02`, `day_aggs 2024-01 AAPL`."""
    day = f"{file.day:%Y-%m}" if file.monthly else f"{file.day}"
    return " ".join(filter(None, (file.data_type, day, file.symbol)))


def absent_sessions(report: RunReport, request: Request) -> dict[str, list[date]]:
    """Those of the sessions that the plan found absent which were asked for, by data type.

    What is absent is the plan's to say, also in a dry run: the catalog keeps it as missing, and
    sql/coverage/states answers from that. A side that the request leaves open ends where the
    source's own files end: who names no end asks for what there is.
    """
    if report.download is None:
        return {}
    plan = report.download
    there: dict[str, list[date]] = {}
    for item in (*plan.fetch, *plan.have, *plan.set_aside):
        there.setdefault(item.file.data_type, []).append(item.file.day)
    absent: dict[str, list[date]] = {}
    for name, session in plan.absent:
        days = there.get(name)
        first = request.start or (min(days) if days else date.max)
        last = request.end or (max(days) if days else date.min)
        if first <= session <= last:
            absent.setdefault(name, []).append(session)
    return absent


def exit_code(report: RunReport, request: Request) -> int:
    """0 where all is well, 1 where a file was not to be had, or failed, or a batch was refused.

    A session that the source has not counts where it was asked for, so where a start or an end was
    given: who gives neither asks for what there is. Who names no data type does not ask for one
    that the source has nothing of, where it has others. A rule that incoming rows were to be asked
    by, and were not, counts as one that failed; so does a rebuild that found no file to read.
    """
    unasked = any(one.on_ingest for one in report.broken)
    if report.raw_there is not None:
        return 1
    if unasked or report.set_aside or report.not_fetched or report.refused or report.unread:
        return 1
    if report.why_absent or report.rows_lost:
        return 1
    if report.download is None or not (request.start or request.end):
        return 0
    plan = report.download
    there = {item.file.data_type for item in (*plan.fetch, *plan.have, *plan.set_aside)}
    is_named = len(request.kinds) < len(DATA_TYPES)
    absent = absent_sessions(report, request)
    return 1 if any(is_named or not there or name in there for name in absent) else 0


def run_as_json(report: RunReport, request: Request, *, dry_run: bool) -> dict[str, Any]:
    """A run as one JSON object."""
    metrics, plan = report.metrics, report.download
    return {
        **as_object(metrics, "command", "run_id"),
        "dry_run": dry_run,
        **as_object(metrics, "started_at"),
        "seconds": round(metrics.seconds, 3),
        "nothing_new": report.did_nothing and not (dry_run and report.planned),
        **as_object(metrics, "retries", "errors"),
        "download": plan and _download_as_json(plan, report, request, dry_run=dry_run),
        **as_object(report, "planned", "estimate"),
        "files": [
            {
                "file": item.file.key,
                "lines": item.facts.lines,
                **as_object(item, "rows_published", "rows_rejected", "rows_unselected"),
                "rejects_by_reason": plain(item.reasons),
            }
            for item in report.files
            if item.problem is None
        ],
        "set_aside": [as_object(item, "file", "problem") for item in report.set_aside],
        **as_object(metrics, "lines", "rows_published", "rows_rejected", "rows_unselected"),
        "rejects_by_reason": plain(_reasons(report)),
        **as_object(metrics, "partitions", "bytes_read", "bytes_written"),
        "ingest_seconds": round(metrics.processing_time, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "metrics": metrics.figures(),
        "unread": [str(problem) for problem in report.unread],
        **as_object(report, "without_rows", "replaced", "rows_lost", "other_layout"),
        "not_fetched": plain(report.why_absent),
    }


def _download_as_json(
    plan: DownloadPlan, report: RunReport, request: Request, *, dry_run: bool
) -> dict[str, Any]:
    not_yet: dict[str, list[date]] = {}
    for name, session in plan.not_yet:
        not_yet.setdefault(name, []).append(session)
    records = [did_not_come(outcome)[1] for outcome in plan.problems]
    return {
        "fetched" if not dry_run else "to_fetch": plain(plan.fetch),
        "bytes": plan.bytes,
        "seconds": round(report.metrics.download_time, 3),
        "already_here": len(plan.have),
        **as_object(plan, "changed", "replaced", "replaced_left", "changed_before"),
        "problems": [as_object(one, "state", "problem", file=one.source) for one in records],
        "left_out": plan.left_out,
        "set_aside_before": plain(plan.set_aside),
        "not_in_plan_before": plain(plan.not_in_plan),
        "not_yet": plain(not_yet),
        "absent": plain(absent_sessions(report, request)),
    }


def run_lines(report: RunReport, request: Request, warehouse: str) -> Iterator[str]:
    """What a run did, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    metrics, plan = report.metrics, report.download
    if report.did_nothing:
        said = "nothing new" if report.raw_there is None else "nothing done"
        yield f"{said}: {_nothing(report, request, warehouse)}"
    if plan is not None and plan.fetch:
        yield row("fetched", f"{count(len(plan.fetch), 'file')}, {_transfer(report, plan)}")
    if report.files:
        yield from _ingested(report)
    if report.bars:
        names = some((f"{name} {month:%Y-%m}" for name, month in report.bars), NAMED)
        yield row("bars", names)
    if not report.did_nothing:
        yield row("took", _costs(report))
    if plan is not None:
        yield from _shortfalls(plan)
    yield from _not_to_be_had(report, request)
    if report.without_rows:
        yield row("no rows", f"of {some(report.without_rows, NAMED)} are published (case counts)")
    if report.replaced:
        files = some((label(file) for file in report.replaced), NAMED)
        yield row("replaced", f"{files}: published, with other bytes than came from the source;")
        yield row("", "update fetches those again")
    if report.rows_lost:
        what, remedy = _lost(report, warehouse)
        yield row("lost", what)
        yield row("", remedy)
    if plan is not None and plan.set_aside:
        before = some((label(item.file) for item in plan.set_aside), NAMED)
        yield row("skipped", f"{before}: set aside before, and the same at the source since")
    for item in report.set_aside:
        what = "gone" if item.is_gone else "set aside"
        yield row(what, f"{label(item.file)}: {why(item.problem, item.path.name)}")
    if any(not item.is_gone for item in report.set_aside) or any(
        isinstance(each.problem, RawFileError) for each in report.not_fetched
    ):
        yield row(
            "",
            "kept beside the cache in set_aside/; update fetches a new version when there is one",
        )
    if metrics.command == "download" and plan is not None and plan.fetch:
        yield row("next", f"{warehouse} ingest")


def _not_to_be_had(report: RunReport, request: Request) -> Iterator[str]:
    """What was asked for and cannot be read, or is nowhere: a run ends with 1, dry or not."""
    yield from _unread_lines(report.unread)
    yield from _of_other_layout(report)
    yield from _not_here(report)
    for name, sessions in absent_sessions(report, request).items():
        yield row("absent", f"{name} {spans(sessions)}: the source has no file")


def _of_other_layout(report: RunReport) -> Iterator[str]:
    """Raw files that no run reads as `source.layout` is now, and none has read."""
    found = report.other_layout
    if found:
        mine, other = ("symbol", "day") if found[0].symbol is None else ("day", "symbol")
        named = some((label(file) for file in found), NAMED)
        yield row("not read", f"{count(len(found), 'raw file')} of source.layout {other}: {named};")
        yield row("", f"source.layout is {mine}, and files of one layout alone are read")


def _not_here(report: RunReport) -> Iterator[str]:
    """Files that a rebuild would have read, and could not have."""
    absent = list(report.why_absent.items())
    for place, (file, problem) in enumerate(absent[:NAMED]):
        yield row("" if place else "not here", f"{label(file)}: {problem}")
    if len(absent) > NAMED:
        yield row("", f"and {len(absent) - NAMED:,} more (--json names all)")
    if absent:
        whose = "it" if len(absent) == 1 else "them"
        yield row("", f"what is published of {whose} stands as it was")


def _transfer(report: RunReport, plan: DownloadPlan) -> str:
    metrics = report.metrics
    parts = [size(plan.bytes)]
    if metrics.download_time >= 1:
        parts.append(f"{size(int(plan.bytes / metrics.download_time))}/s")
    return ", ".join(parts)


def _shortfalls(plan: DownloadPlan) -> Iterator[str]:
    """What could not be had and what has changed; of files that failed the first few."""
    lines = list(shortfalls(plan))
    failed = [line for line in lines if line.startswith(("failed: ", "set aside: "))]
    rest = [line for line in lines if line not in failed]
    shown = failed[:NAMED]
    if len(failed) > NAMED:
        shown.append(f"and {len(failed) - NAMED:,} more that failed (--json names all)")
    for place, line in enumerate(shown + rest):
        yield row("" if place else "download", line)


def _ingested(report: RunReport) -> Iterator[str]:
    metrics = report.metrics
    lines = (
        f"{count(metrics.lines, 'line')} = {metrics.rows_published:,} published"
        f" + {metrics.rows_rejected:,} rejected"
    )
    if metrics.rows_unselected:
        lines += f" + {metrics.rows_unselected:,} left out"
    yield row("read", f"{count(len(report.files) - len(report.set_aside), 'file')}: {lines}")
    reasons = _reasons(report)
    if reasons:
        yield row("rejected", some((f"{reason} {n:,}" for reason, n in reasons.most_common()), 12))
    written = f"{count(metrics.partitions, 'partition')}, {size(metrics.bytes_written)}"
    yield row("wrote", written)


def _costs(report: RunReport) -> str:
    metrics = report.metrics
    parts = [duration(metrics.seconds)]
    if metrics.lines and metrics.processing_time:
        parts.append(f"{int(metrics.lines / metrics.processing_time):,} rows/s")
    parts.append(f"peak memory {size(peak_memory_bytes())}")
    if metrics.retries:
        parts.append(f"{metrics.retries:,} {'retry' if metrics.retries == 1 else 'retries'}")
    if metrics.errors:
        parts.append(count(metrics.errors, "error"))
    return ", ".join(parts)


def _nothing(report: RunReport, request: Request, warehouse: str) -> str:
    plan = report.download
    names = ", ".join(kind.name for kind in request.kinds)
    span = span_of(request)
    first, last = request.start, request.end
    is_here = bool(plan.have if plan else report.metrics.files_here)
    # Of a weekend no source has a file, and none is to be looked for.
    if not is_here and first and last and not trading_days(first, last):
        return f"{first} to {last}: the exchange has no session then"
    if plan is None:
        if report.raw_there is not None:
            return _no_raw_file(report.raw_there, request, warehouse)
        if report.other_layout:
            mine = "symbol" if report.other_layout[0].symbol is None else "day"
            names = f"source.layout {mine} of {names}"
        if not report.metrics.files_here:
            if last and last < FIRST_SESSION:
                return (
                    f"no raw file of {names}{span} is here; the vendor's files begin on"
                    f" {FIRST_SESSION}: is the year right?"
                )
            fetch = _download(request, warehouse)
            return f"no raw file of {names}{span} is here or was published; fetch with: {fetch}"
        return f"all raw files of {names}{span} are published"
    others = len(plan.set_aside) + len(plan.not_in_plan) + len(plan.changed_before)
    if plan.have:
        # Of what is published the raw file may have been pruned.
        is_download = report.metrics.command == "download"
        state = "in the raw tier or published" if is_download else "published"
        every = "all " if len(plan.have) > 1 and not others else ""
        files = f"{every}{count(len(plan.have), 'file')}{span} at the source"
        return f"{files} {'is' if len(plan.have) == 1 else 'are'} {state}"
    if others:
        return f"{count(others, 'file')}{span} at the source, none of them to be fetched"
    hint = f"; {plan.hint}" if plan.hint else ""
    return f"the source has no file of {names}{span}{hint or f' below {BUCKET_PREFIX}/'}"


def _no_raw_file(there: str, request: Request, warehouse: str) -> str:
    """What a rebuild looked for, what there is, and what would bring it."""
    names = ", ".join(kind.name for kind in request.kinds)
    symbols = f" of {some(sorted(request.symbols), NAMED)}" if request.symbols else ""
    return (
        f"looked for raw files of {names}{symbols}{span_of(request)}; the raw tier holds {there};"
        f" fetch with: {_download(request, warehouse)}"
    )


def _download(request: Request, warehouse: str) -> str:
    command = [warehouse, "download"]
    command += [kind.name for kind in request.kinds if len(request.kinds) < len(DATA_TYPES)]
    command += ["--start", f"{request.start}"] if request.start else []
    command += ["--end", f"{request.end}"] if request.end else []
    return " ".join(command)


def why(problem: str | None, name: str) -> str:
    """Why a file was set aside, where its name stands beside it."""
    return (problem or "").removeprefix(f"{name}: ")


def span_of(request: Request) -> str:
    """The sessions that are asked about, in words; empty: all."""
    if request.start and request.end:
        return f" of {request.start} to {request.end}"
    if request.start:
        return f" from {request.start} on"
    return f" up to {request.end}" if request.end else ""


def dry_run_lines(report: RunReport, request: Request, warehouse: str) -> Iterator[str]:
    """What a run would do, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    fetch = report.download.fetch if report.download else []
    new = {item.file for item in fetch}
    if report.download is not None:
        yield f"would fetch {count(len(fetch), 'file')}, {size(report.download.bytes)}"
        yield from (f"  {item.key}  {size(item.size)}" for item in fetch)
        yield from shortfalls(report.download)
    if report.metrics.command != "download":
        yield f"would read {count(len(report.planned), 'file')}"
        if report.raw_there is not None:
            yield f"  the raw tier holds {report.raw_there}"
        here = [file for file in report.planned if file not in new]
        if new and len(here) < len(report.planned):
            yield f"  the {count(len(report.planned) - len(here), 'file')} just named"
        yield from (f"  {file.key}" for file in here)
    if report.did_nothing and not report.planned and report.raw_there is None:
        yield f"nothing new: {_nothing(report, request, warehouse)}"
    yield from _not_to_be_had(report, request)
    if report.rows_lost:
        yield f"lost: {' '.join(_lost(report, warehouse))}"
    if report.bars:
        months = (f"{name} {month:%Y-%m}" for name, month in report.bars)
        yield f"would build {some(months, NAMED)}"
    if report.estimate is not None and report.planned:
        yield _expected(report.estimate)


def _lost(report: RunReport, warehouse: str) -> tuple[str, str]:
    """Of which files rows are lost, and what to do."""
    files = some((label(file) for file in report.rows_lost), NAMED)
    return (
        f"{files}: rows that were published are in no partition any more;",
        f"give the source or data/raw the files back, then: {warehouse} update",
    )


def _expected(estimate: Estimate) -> str:
    if estimate.rows is None:
        return f"{size(estimate.bytes)}; how many rows and how long, no past run tells"
    parts = [f"about {count(estimate.rows, 'row')}"]
    if estimate.partitions is not None:
        parts.append(count(estimate.partitions, "partition"))
    if estimate.seconds is not None:
        parts.append(duration(estimate.seconds))
    told = "" if estimate.seconds is not None else "; how long, no past run tells"
    return f"{size(estimate.bytes)}, {', '.join(parts)}{told}"


def _unread_lines(unread: Sequence[WarehouseError]) -> Iterator[str]:
    """Places that cannot be looked at."""
    for problem in unread[:NAMED]:
        yield row("unread", str(problem))
    if len(unread) > NAMED:
        yield row("", f"and {len(unread) - NAMED:,} more (--json names all)")


def pruned_as_json(report: PruneReport, *, dry_run: bool) -> dict[str, Any]:
    """What was removed from the raw tier, and from a bucket, as one JSON object."""
    of_bucket = {}
    if report.replaced is not None:
        of_bucket = {"replaced": report.replaced, "replaced_bytes": report.replaced_bytes}
    return {
        "dry_run": dry_run,
        "to_remove" if dry_run else "removed": plain(report.removed),
        "bytes": report.bytes,
        "kept": [{"file": file.key, "why": why} for file, why in report.kept],
        "unread": [str(problem) for problem in report.unread],
        **of_bucket,
    }


def pruned_lines(report: PruneReport, days: int, *, dry_run: bool) -> Iterator[str]:
    """What was removed from the raw tier, line by line.

    Args:
        days: `storage.retention_days`.
    """
    old = f"published more than {count(days, 'day')} ago"
    if report.removed:
        done = "would remove" if dry_run else "removed"
        yield f"{done} {count(len(report.removed), 'raw file')}, {size(report.bytes)}, {old}"
        if dry_run:
            yield from (f"  {file.key}" for file in report.removed)
    else:
        yield f"nothing to remove: no {'other ' if report.kept else ''}raw file was {old}"
    for file, reason in report.kept[:NAMED]:
        yield row("kept", f"{label(file)}: {reason}")
    if len(report.kept) > NAMED:
        yield row("", f"and {len(report.kept) - NAMED:,} more (--json names all)")
    yield from _unread_lines(report.unread)
    if report.replaced is not None:
        done = "would remove" if dry_run else "removed"
        told = f"{count(report.replaced, 'object')}, {size(report.replaced_bytes or 0)}"
        yield f"{done} {told}, replaced and read by nobody any more"


def laid_lines(
    laid: Laid,
    folder: str,
    source: str,
    layout: str,
    seen: Sequence[str] = (),
    endpoint: str = "",
    symbols: Sequence[str] = (),
    partitions: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """What `init` did, line by line.

    Args:
        folder: as the user named it.
        source, layout, endpoint, symbols, partitions: what the user asked for; empty: nothing.
        seen: what the source holds.
    """
    command = "warehouse" if folder == "." else f"warehouse -C {shell_word(folder)}"
    named = "this folder" if folder == "." else folder
    if laid.is_new:
        yield f"{named} is a warehouse now"
        tops = Counter(name.split("/")[0] for name in laid.added)
        yield row("added", ", ".join(_folder(top, n, laid.added) for top, n in tops.items()))
    else:
        state = "added" if laid.added else "nothing is missing"
        yield f"{named} is a warehouse already; {state}"
        yield from (row("", name) for name in laid.added)
    if laid.replaced:
        yield row("replaced", f"{some(laid.replaced, 50)}: as shipped now, and not changed by you")
    if laid.removed:
        yield row("removed", f"{some(laid.removed, 50)}: shipped no more, and not changed by you")
    if laid.differing:
        yield row("kept", f"{some(laid.differing, 50)}: not as shipped, and yours to change")
    settings = laid.config.source
    if settings.url:
        yield row("source", f"{settings.url} (one file a {settings.layout})")
        yield from (row("", line) for line in seen)
    if source and settings.url != source:
        yield row("", f"kept, not {source}; to change it edit {CONFIG_FILE.as_posix()}")
    if layout and settings.layout != layout:
        yield row("layout", f"kept {settings.layout}; to change it edit {CONFIG_FILE.as_posix()}")
    for name, wanted in (partitions or {}).items():
        there = laid.config.storage.layout.of(name)
        kept = "" if there == wanted else "kept "
        changed = f"; to change it edit {CONFIG_FILE.as_posix()}" if kept else ""
        yield row("layout", f"{name}: {kept}{there}{changed}")
    if endpoint:
        kept = "" if settings.endpoint == endpoint else "kept "
        changed = f"; to change it edit {CONFIG_FILE.as_posix()}" if kept else ""
        yield row("endpoint", f"{kept}{settings.endpoint}{changed}")
    if symbols:
        kept = "" if settings.symbols == tuple(symbols) else "kept "
        changed = f"; to change it edit {CONFIG_FILE.as_posix()}" if kept else ""
        yield row("symbols", f"{kept}{some(settings.symbols, NAMED) or 'all'}{changed}")
    if settings.url:
        yield row("next", f"{command} update")
    else:
        yield row("next", f"set source.url in {CONFIG_FILE.as_posix()}, then: {command} update")


def _folder(top: str, files: int, added: Sequence[str]) -> str:
    return f"{top}/" if f"{top}/" in added else f"{top}/ ({count(files, 'file')})"


def row(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def _reasons(report: RunReport) -> Counter[str]:
    return sum((item.reasons for item in report.files if item.problem is None), Counter())


def spans(sessions: list[date]) -> str:
    if len(sessions) <= NAMED:
        return ", ".join(f"{session}" for session in sessions)
    return f"{len(sessions):,} sessions from {sessions[0]} to {sessions[-1]}"
