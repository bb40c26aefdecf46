"""What came of a run, and how a warehouse stands: as lines for a person, as JSON for a program."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from warehouse.config import CONFIG_FILE
from warehouse.console import count, duration, size, table
from warehouse.layout import BUCKET_PREFIX, RawFile
from warehouse.metrics import peak_memory_bytes
from warehouse.run import Request, RunReport
from warehouse.scaffold import Laid
from warehouse.status import Status

_NAMED = 8
"""So many things of a kind are named, the others counted."""


def label(file: RawFile) -> str:
    """A raw file in a few words: `trades 2024-01-02`, `day_aggs 2024-01 AAPL`."""
    day = f"{file.day:%Y-%m}" if file.monthly else f"{file.day}"
    return " ".join(filter(None, (file.data_type, day, file.symbol)))


def absent_sessions(report: RunReport, request: Request) -> dict[str, list[date]]:
    """Sessions of the exchange's calendar that the source has no file of, by data type.

    A side that the request leaves open ends where the source's own files end: before its first
    and after its last session it is not expected to have any.
    """
    if report.download is None:
        return {}
    plan = report.download
    there: dict[str, list[date]] = {}
    for item in (*plan.fetch, *plan.have, *plan.set_aside):
        there.setdefault(item.file.data_type, []).append(item.file.day)
    absent: dict[str, list[date]] = {}
    today = date.today()
    for name, session in plan.absent:
        days = there.get(name)
        first = request.start or (min(days) if days else date.max)
        last = request.end or (max(days) if days else date.min)
        if first <= session <= last and session < today:
            absent.setdefault(name, []).append(session)
    return absent


def exit_code(report: RunReport) -> int:
    """0 where all is well, 1 where a file failed verification."""
    return 1 if report.set_aside else 0


def run_as_json(report: RunReport, request: Request, *, dry_run: bool) -> dict[str, Any]:
    """A run as one JSON object."""
    metrics, plan = report.metrics, report.download
    return {
        "command": metrics.command,
        "run_id": metrics.run_id,
        "dry_run": dry_run,
        "started_at": _instant(metrics.started_at),
        "seconds": round(metrics.seconds, 3),
        "nothing_new": report.did_nothing and not (dry_run and report.planned),
        "download": None
        if plan is None
        else {
            "fetched" if not dry_run else "to_fetch": [item.key for item in plan.fetch],
            "bytes": plan.bytes,
            "seconds": round(metrics.download_time, 3),
            "already_here": len(plan.have),
            "set_aside_before": [item.key for item in plan.set_aside],
            "absent": {
                name: [session.isoformat() for session in sessions]
                for name, sessions in absent_sessions(report, request).items()
            },
        },
        "planned": [file.key for file in report.planned],
        "files": [
            {
                "file": item.file.key,
                "lines": item.facts.lines,
                "rows_published": item.rows_published,
                "rows_rejected": item.rows_rejected,
                "rows_unselected": item.rows_unselected,
                "rejects_by_reason": dict(item.reasons),
            }
            for item in report.files
            if item.problem is None
        ],
        "set_aside": [
            {"file": item.file.key, "problem": item.problem} for item in report.set_aside
        ],
        "lines": metrics.lines,
        "rows_published": metrics.rows_published,
        "rows_rejected": metrics.rows_rejected,
        "rows_unselected": metrics.rows_unselected,
        "rejects_by_reason": dict(_reasons(report)),
        "partitions": metrics.partitions,
        "bytes_read": metrics.bytes_read,
        "bytes_written": metrics.bytes_written,
        "ingest_seconds": round(metrics.processing_time, 3),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def run_lines(report: RunReport, request: Request, warehouse: str) -> Iterator[str]:
    """What a run did, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    metrics, plan = report.metrics, report.download
    if report.did_nothing:
        yield f"nothing new: {_nothing(report, request, warehouse)}"
    if plan is not None and plan.fetch:
        yield _row("fetched", f"{count(len(plan.fetch), 'file')}, {size(plan.bytes)}")
    if report.files:
        yield from _ingested(report)
    if not report.did_nothing:
        yield _row("took", _costs(report))
    for name, sessions in absent_sessions(report, request).items():
        yield _row("absent", f"{name} {_spans(sessions)}: the source has no file")
    if plan is not None and plan.set_aside:
        before = some(label(item.file) for item in plan.set_aside)
        yield _row("skipped", f"{before}: set aside before, and the same at the source since")
    for item in report.set_aside:
        yield _row("set aside", f"{label(item.file)}: {_why(item.problem, item.path.name)}")
    if report.set_aside:
        yield _row(
            "",
            "kept beside the cache in set_aside/; update fetches a new version when there is one",
        )
    if metrics.command == "download" and plan is not None and plan.fetch:
        yield _row("next", f"{warehouse} ingest")


def _ingested(report: RunReport) -> Iterator[str]:
    metrics = report.metrics
    lines = (
        f"{count(metrics.lines, 'line')} = {metrics.rows_published:,} published"
        f" + {metrics.rows_rejected:,} rejected"
    )
    if metrics.rows_unselected:
        lines += f" + {metrics.rows_unselected:,} of other symbols"
    yield _row("read", f"{count(len(report.files) - len(report.set_aside), 'file')}: {lines}")
    reasons = _reasons(report)
    if reasons:
        yield _row("rejected", some((f"{reason} {n:,}" for reason, n in reasons.most_common()), 12))
    written = f"{count(metrics.partitions, 'partition')}, {size(metrics.bytes_written)}"
    yield _row("wrote", written)


def _costs(report: RunReport) -> str:
    metrics = report.metrics
    parts = [duration(metrics.seconds)]
    if metrics.lines and metrics.processing_time:
        parts.append(f"{int(metrics.lines / metrics.processing_time):,} rows/s")
    parts.append(f"peak memory {size(peak_memory_bytes())}")
    return ", ".join(parts)


def _nothing(report: RunReport, request: Request, warehouse: str) -> str:
    plan = report.download
    names = ", ".join(kind.name for kind in request.kinds)
    span = _span(request)
    if plan is None:
        if report.metrics.command == "rebuild":
            return f"the raw tier holds no file of {names}{span}; fetch with: {warehouse} download"
        return f"all raw files of {names}{span} are published"
    if plan.have or plan.set_aside:
        state = "in the raw tier" if report.metrics.command == "download" else "published"
        every = "all " if len(plan.have) > 1 and not plan.set_aside else ""
        files = f"{every}{count(len(plan.have), 'file')}{span} at the source"
        return f"{files} {'is' if len(plan.have) == 1 else 'are'} {state}"
    return f"the source has no file of {names}{span} below {BUCKET_PREFIX}/"


def _why(problem: str | None, name: str) -> str:
    """Why a file was set aside, where its name stands beside it."""
    return (problem or "").removeprefix(f"{name}: ")


def _span(request: Request) -> str:
    if request.start and request.end:
        return f" of {request.start} to {request.end}"
    if request.start:
        return f" from {request.start} on"
    return f" up to {request.end}" if request.end else ""


def dry_run_lines(report: RunReport) -> Iterator[str]:
    """What a run would do, line by line."""
    fetch = report.download.fetch if report.download else []
    new = {item.file for item in fetch}
    if report.download is not None:
        yield f"would fetch {count(len(fetch), 'file')}, {size(report.download.bytes)}"
        yield from (f"  {item.key}  {size(item.size)}" for item in fetch)
    if report.metrics.command != "download":
        yield f"would read {count(len(report.planned), 'file')}"
        here = [file for file in report.planned if file not in new]
        if new and len(here) < len(report.planned):
            yield f"  the {count(len(report.planned) - len(here), 'file')} just named"
        yield from (f"  {file.key}" for file in here)


def status_as_json(status: Status) -> dict[str, Any]:
    """A warehouse's state as one JSON object."""
    return {
        "warehouse": str(status.root),
        "source": status.source,
        "generation": status.generation,
        "data_types": {
            name: {
                key: value.isoformat() if isinstance(value, date) else value
                for key, value in asdict(holdings).items()
            }
            for name, holdings in status.holdings.items()
        },
        "waiting": [file.key for file in status.waiting],
        "set_aside": [
            {"file": record.source, "problem": record.problem} for record in status.set_aside
        ],
        "runs": [
            {
                **asdict(run),
                "started_at": _instant(run.started_at),
                "seconds": round(run.seconds, 3),
            }
            for run in status.runs
        ],
    }


def status_lines(status: Status, warehouse: str) -> Iterator[str]:
    """A warehouse's state, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    held = status.holdings.values()
    rows = [
        ["first session", *(str(each.first or "–") for each in held)],
        ["last session", *(str(each.last or "–") for each in held)],
        ["sessions", *(f"{each.sessions:,}" for each in held)],
        ["symbols", *(f"{each.symbols:,}" for each in held)],
        ["partitions", *(f"{each.partitions:,}" for each in held)],
        ["rows", *(f"{each.rows:,}" for each in held)],
        ["rejects", *(f"{each.rejects:,}" for each in held)],
        ["raw files", *(f"{each.raw_files:,}" for each in held)],
        ["raw tier", *(size(each.raw_bytes) for each in held)],
        ["cache", *(size(each.cache_bytes) for each in held)],
    ]
    lines, _ = table(["", *status.holdings], rows, [False] + [True] * len(held))
    yield from lines
    yield ""
    if status.source:
        yield _row("source", _below(status.source, status.root))
    else:
        yield _row("source", "none yet; set source.url in config/data_config.yaml")
    for record in status.set_aside[:_NAMED]:
        name = " ".join(filter(None, (record.data_type, str(record.day), record.symbol)))
        why = _why(record.problem, record.source.rpartition("/")[2])
        yield _row("set aside", f"{name}: {why}")
    if len(status.set_aside) > _NAMED:
        yield _row("", f"and {len(status.set_aside) - _NAMED:,} more (--json names all)")
    if status.waiting:
        named = some(label(file) for file in status.waiting)
        yield _row("waiting", f"{count(len(status.waiting), 'raw file')} ({named})")
    for place, run in enumerate(status.runs):
        parts = [
            f"{run.started_at:%Y-%m-%d %H:%M} UTC  {run.command:<8}  {count(run.files, 'file')}",
            f"{count(run.rows_published, 'row')} published",
            f"{run.rows_rejected:,} rejected",
            duration(run.seconds),
        ]
        if run.files_set_aside:
            parts.insert(1, f"{run.files_set_aside:,} set aside")
        if run.state != "done":
            parts.append(run.state)
        yield _row("" if place else "runs", ", ".join(parts))
    if status.waiting or not status.generation:
        yield _row("next", f"{warehouse} {'ingest' if status.waiting else 'update'}")


def laid_lines(laid: Laid, folder: str, source: str, layout: str) -> Iterator[str]:
    """What `init` did, line by line.

    Args:
        folder: as the user named it.
        source, layout: what the user asked for; empty: nothing.
    """
    command = "warehouse" if folder == "." else f"warehouse -C {shlex.quote(folder)}"
    named = "this folder" if folder == "." else folder
    if laid.is_new:
        yield f"{named} is a warehouse now"
        tops = Counter(name.split("/")[0] for name in laid.added)
        yield _row("added", ", ".join(_folder(top, n, laid.added) for top, n in tops.items()))
    else:
        yield f"{named} is a warehouse already; {'added' if laid.added else 'nothing is missing'}"
        yield from (_row("", name) for name in laid.added)
    if laid.differing:
        yield _row("kept", f"{some(laid.differing, 50)}: not as shipped, and yours to change")
    settings = laid.config.source
    if settings.url:
        yield _row("source", f"{settings.url} (one file a {settings.layout})")
    if source and settings.url != source:
        yield _row("", f"kept, not {source}; to change it edit {CONFIG_FILE.as_posix()}")
    if layout and settings.layout != layout:
        yield _row("layout", f"kept {settings.layout}; to change it edit {CONFIG_FILE.as_posix()}")
    if settings.url:
        yield _row("next", f"{command} update")
    else:
        yield _row("next", f"set source.url in {CONFIG_FILE.as_posix()}, then: {command} update")


def _folder(top: str, files: int, added: Sequence[str]) -> str:
    return f"{top}/" if f"{top}/" in added else f"{top}/ ({count(files, 'file')})"


def some(items: Iterable[str], limit: int = _NAMED) -> str:
    """The first few of many, and how many more there are."""
    named = list(items)
    more = f" and {len(named) - limit:,} more" if len(named) > limit else ""
    return ", ".join(named[:limit]) + more


def _row(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def _reasons(report: RunReport) -> Counter[str]:
    return sum((item.reasons for item in report.files if item.problem is None), Counter())


def _spans(sessions: list[date]) -> str:
    if len(sessions) <= _NAMED:
        return ", ".join(f"{session}" for session in sessions)
    return f"{len(sessions):,} sessions from {sessions[0]} to {sessions[-1]}"


def _below(source: str, root: Path) -> str:
    path = Path(source)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else source


def _instant(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
