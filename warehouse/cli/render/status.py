"""How a warehouse stands: as lines for a person, as JSON for a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from warehouse.cli.render.brief import brief_as_json, brief_lines
from warehouse.cli.render.run import NAMED, label, spans, why
from warehouse.cli.render.terminal import labelled, table
from warehouse.core.file_state import FileState
from warehouse.core.representation import as_object, plain
from warehouse.report.status import RunRecord, Status
from warehouse.store.catalog import SourceFile
from warehouse.text import count, duration, printable, size, some

_WIDTH = 108
"""Columns that a line of many figures takes at most, where no terminal says less."""
_NOT_HERE = {
    FileState.MISSING: ("missing", "the source has no file"),
    FileState.NOT_YET: ("not yet", "not published when last looked for"),
    FileState.NOT_IN_PLAN: ("refused", "not in your plan; download with --start asks again"),
}
"""States of files that need no reason of their own: how a line of them begins and ends."""


def status_as_json(status: Status) -> dict[str, Any]:
    """A warehouse's state as one JSON object."""
    return {
        "warehouse": str(status.root),
        **as_object(status, "source", "source_problem", "generation"),
        **brief_as_json(status.facts),
        "data_types": plain(status.holdings),
        **as_object(status, "broken_rules", "rules_not_asked"),
        **as_object(status, "left_out", "outdated", "waiting", "copied"),
        "set_aside": [as_object(each, "problem", file=each.source) for each in status.set_aside],
        "not_here": [
            as_object(each, "state", "problem", file=each.source) for each in status.not_here
        ],
        "runs": [as_object(run) | {"seconds": round(run.seconds, 3)} for run in status.runs],
    }


def status_lines(status: Status, warehouse: str, width: int | None = None) -> Iterator[str]:
    """A warehouse's state, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
        width: columns of the terminal, at which lines are folded; None: they are not.
    """

    def row(name: str, text: str) -> list[str]:
        return labelled(name, text, width)

    yield from left_out_lines(status.left_out, width)
    yield from brief_lines(status.facts, warehouse, width)
    yield ""
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
        yield from row("source", _below(status.source, status.root))
    else:
        yield from row("source", "none yet; set source.url in config/data_config.yaml")
    if status.source_problem:
        again = f"{warehouse} update, once it is there"
        yield from row("gone", f"{printable(status.source_problem)}; then: {again}")
    yield from _broken_rules(status, warehouse, row)
    if status.outdated:
        told = "changed by you, and the project's have changed since"
        yield from row("outdated", f"{some(status.outdated, NAMED)}: {told}")
    failed = [record for record in status.not_here if record.state == FileState.FAILED]
    lost = [record for record in status.not_here if record.state == FileState.ROWS_LOST]
    yield from _named("lost", lost, row)
    yield from _named("set aside", status.set_aside, row)
    yield from _named("failed", failed, row)
    for state, (name, why_not) in _NOT_HERE.items():
        days: dict[str, list[date]] = {}
        for record in status.not_here:
            if record.state == state:
                days.setdefault(record.data_type, []).append(record.day)
        for data_type, those in days.items():
            yield from row(name, f"{data_type} {spans(sorted(set(those)))}: {why_not}")
    if status.waiting:
        named = some((label(file) for file in status.waiting), NAMED)
        yield from row("waiting", f"{count(len(status.waiting), 'raw file')} ({named})")
    if status.copied:
        told = f"{count(len(status.copied), 'raw file')} bear another time than was recorded, as"
        yield from row("copied", f"{told} copies do; ingest or update will compare their bytes")
    for place, run in enumerate(status.runs):
        begun = f"{run.started_at:%Y-%m-%d %H:%M} UTC  {run.command:<8}"
        if run.state in ("failed", "interrupted"):
            why_not = f"{run.state} after {duration(run.seconds)}: {run.problem}"
            yield from row("" if place else "runs", f"{begun}  {why_not}")
            continue
        parts = [
            f"{begun}  {count(run.files, 'file')}",
            f"{count(run.rows_published, 'row')} published",
            f"{run.rows_rejected:,} rejected",
            duration(run.seconds),
        ]
        if run.command == "validate":
            parts = [parts[0].rpartition("  ")[0], duration(run.seconds)]
        if run.files_set_aside:
            parts.insert(1, f"{run.files_set_aside:,} set aside")
        if run.errors_count:
            parts.append(count(run.errors_count, "error"))
        if run.problem:
            parts.append(printable(run.problem))
        if run.state == "running":
            parts.append("goes on")
        yield from row("" if place else "runs", ", ".join(parts))
        if place == 0:
            yield from labelled("", _costs(run), width or _WIDTH)
    if status.waiting or not status.generation:
        yield f"{'next':<10} {warehouse} {'ingest' if status.waiting else 'update'}"


def _broken_rules(
    status: Status, warehouse: str, row: Callable[[str, str], list[str]]
) -> Iterator[str]:
    """The rules that find nothing since they cannot be asked, and what to do."""
    for place, (name, problem) in enumerate(status.broken_rules.items()):
        label = "" if place else "rules"
        if place == NAMED:
            more = f"and {len(status.broken_rules) - NAMED:,} more (--json names all)"
            yield from row(label, more)
            break
        told = f"{name} cannot be asked: {problem}; mend it, then: {warehouse} validate"
        yield from row(label, printable(told))
    if status.rules_not_asked and not status.broken_rules:
        told = f"{status.rules_not_asked}; mend it, then: {warehouse} validate"
        yield from row("rules", printable(told))


def left_out_lines(left_out: Mapping[str, str], width: int | None = None) -> Iterator[str]:
    """What keeps features from being asked for; nothing where all are there."""
    for place, (name, problem) in enumerate(left_out.items()):
        if place == NAMED:
            more = f"and {len(left_out) - NAMED:,} more (the table `features` names all)"
            yield from labelled("", more, width)
            break
        label = "" if place else "LEFT OUT"
        yield from labelled(label, f"the feature {name}: {problem}", width)


def _costs(run: RunRecord) -> str:
    parts = [f"peak memory {size(run.peak_memory_bytes)}"]
    if run.processing_time is not None and run.cpu_seconds is not None:
        parts.insert(0, f"processing {duration(run.processing_time)}")
        parts.insert(1, f"CPU {duration(run.cpu_seconds)}")
    if run.files_fetched and run.download_time is not None:
        fetched = f"{count(run.files_fetched, 'file')}, {size(run.bytes_fetched or 0)}"
        parts.insert(0, f"download {duration(run.download_time)} ({fetched})")
    if run.cache_hit_rate:
        parts.append(f"{run.cache_hit_rate:.0%} of files already here")
    return ", ".join(parts)


def _named(
    name: str, records: Sequence[SourceFile], row: Callable[[str, str], list[str]]
) -> Iterator[str]:
    """A line for each of the first few, with its reason."""
    for record in records[:NAMED]:
        file = " ".join(filter(None, (record.data_type, str(record.day), record.symbol)))
        yield from row(name, f"{file}: {why(record.problem, record.source.rpartition('/')[2])}")
    if len(records) > NAMED:
        yield from row("", f"and {len(records) - NAMED:,} more (--json names all)")


def _below(source: str, root: Path) -> str:
    path = Path(source)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else source
