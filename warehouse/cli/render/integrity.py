"""What was found damaged or stale, and made anew: lines for a person, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warehouse.cli.render.run import NAMED, label, row, span_of
from warehouse.core.config import Config, layout_key
from warehouse.core.paths import Layout, PartitionKey
from warehouse.core.representation import as_object, plain
from warehouse.core.request import Request
from warehouse.maintenance.convert_layout import LayoutReport
from warehouse.maintenance.rebuild_stale import ChangedReport
from warehouse.maintenance.repair import RepairReport
from warehouse.maintenance.verify import BY_HAND, MEND, READ_WHOLE, VerifyReport
from warehouse.text import count, duration, size, some

_KINDS = {
    "raw": "raw file",
    "partition": "partition",
    "rejects": "rejects file",
    "ledger": "ledger file",
    "history": "history file",
    "reference": "reference table",
    "schema": "file of columns",
}


def verify_as_json(report: VerifyReport) -> dict[str, Any]:
    """What was looked at and what is wrong as one JSON object."""
    return as_object(report, is_clean=not report.faults, seconds=round(report.seconds, 3))


def repair_as_json(report: RepairReport) -> dict[str, Any]:
    """What was wrong and what came of it as one JSON object."""
    return {
        **as_object(report.run.metrics, "run_id", "files_fetched"),
        "found": verify_as_json(report.found),
        "mended": plain(report.mended),
        "left": [as_object(fault, why=why) for fault, why in report.left],
        "restored": [_key_as_json(key) for key in report.restored],
        "remade": [_key_as_json(key) for key in report.remade],
        "moved": [{"from": str(old), "to": str(new)} for old, new in report.moved],
    }


def _key_as_json(key: PartitionKey) -> dict[str, str | None]:
    return {
        "data_type": key.data_type,
        "symbol": key.symbol or None,
        "month": f"{key.month:%Y-%m}",
        "part": key.part or None,
    }


def _named(key: PartitionKey) -> str:
    whose = key.symbol or "of all symbols"
    return f"{key.data_type} {whose} {key.session or format(key.month, '%Y-%m')}"


def verify_lines(report: VerifyReport, layout: Layout, warehouse: str) -> Iterator[str]:
    """What was looked at and what is wrong, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    yield from _looked_at(report)
    if not report.faults:
        if not any(report.files[kind] for kind in ("raw", "partition", "rejects")):
            yield row("", "the warehouse holds no file of what was asked about")
        yield row("sound", f"all is as it was written (generation {report.generation})")
        return
    by_hand = {fault.path for fault in report.faults if fault.remedy == BY_HAND}
    told = [fault for fault in report.faults if by_hand.isdisjoint(fault.path.parents)]
    for fault in told:
        yield row("wrong", f"{_place(fault.path, layout)}: {fault.problem}")
    if below := len(report.faults) - len(told):
        yield row("", f"{count(below, 'file')} below cannot be looked at for it")
    if by_hand:
        # No other advice can be followed before: what is wrong elsewhere may be wrong by it.
        named = some((_place(path, layout) for path in sorted(by_hand)), NAMED)
        yield row("next", f"mend {named} by hand, as it says there, then: {warehouse} verify")
        return
    if any(fault.remedy == READ_WHOLE for fault in report.faults):
        yield row("next", _whole(warehouse))
    if any(fault.kind != "reference" and fault.remedy != READ_WHOLE for fault in report.faults):
        yield row("next", f"{warehouse} verify --repair")
    if any(fault.kind == "reference" for fault in report.faults):
        yield row("next", f"{warehouse} reference load FILE, with the vendor's export")


def _looked_at(report: VerifyReport) -> Iterator[str]:
    read = []
    for kind, number in sorted(report.files.items()):
        weight = f", {size(report.bytes[kind])}" if report.bytes[kind] else ""
        read.append(f"{count(number, _KINDS[kind])}{weight}")
    yield row("read", f"{'; '.join(read) or 'nothing'} in {duration(report.seconds)}")
    if report.waiting:
        yield row("", f"{count(report.waiting, 'raw file')} of them not ingested yet")
    if report.pruned:
        yield row("", f"{count(report.pruned, 'raw file')} were pruned")
    if report.elsewhere:
        yield row("", f"{count(report.elsewhere, 'raw file')} not on this machine")


def repair_lines(report: RepairReport, layout: Layout, warehouse: str) -> Iterator[str]:
    """What was wrong and what came of it, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    yield from _looked_at(report.found)
    if not (report.mended or report.left):
        yield row("sound", "all is as it was written; nothing to mend")
        return
    for fault in report.mended:
        yield row("mended", f"{_place(fault.path, layout)}: {fault.problem}")
    if report.restored:
        yield row("restored", f"{count(len(report.restored), 'partition')}, byte for byte")
    if report.remade:
        named = some(
            map(_named, report.remade),
            NAMED,
        )
        yield row("remade", f"{named}: by the SQL, the settings, the files or the version of now")
    for old, new in report.moved:
        yield row("moved", f"{_place(old, layout)} to {_place(new, layout)}")
    for fault, why in report.left:
        because = "" if why == fault.problem else f"; {why}"
        yield row("left", f"{_place(fault.path, layout)}: {fault.problem}{because}")
    for remedy in dict.fromkeys(fault.remedy for fault, _ in report.left):
        again = (
            f"{warehouse} verify --repair, once the source has what is left, or a backup is back"
        )
        known = {MEND: again, READ_WHOLE: _whole(warehouse)}
        yield row("next", known.get(remedy, remedy))


def _whole(warehouse: str) -> str:
    return f"{warehouse} update, without --symbols: it reads whole what was read for some alone"


def _place(path: Path, layout: Layout) -> str:
    return str(path.relative_to(layout.root)) if path.is_relative_to(layout.root) else str(path)


def changed_as_json(report: ChangedReport, *, dry_run: bool) -> dict[str, Any]:
    """What was stale and what came of it as one JSON object."""
    metrics = report.run.metrics
    return {
        "dry_run": dry_run,
        "reasons": {reason: len(keys) for reason, keys in report.reasons.items()},
        "partitions": [_key_as_json(key) for key in sorted(report.partitions)],
        "to_read" if dry_run else "read": plain(report.files),
        "to_fetch": plain(report.absent),
        "not_fetched": plain(report.why_absent),
        "partitions_written": metrics.partitions,
        **as_object(metrics, "rows_published", "rows_rejected"),
        "set_aside": [item.file.key for item in report.run.set_aside],
        "seconds": round(metrics.seconds, 3),
    }


def changed_lines(report: ChangedReport, warehouse: str, *, dry_run: bool) -> Iterator[str]:
    """What was stale and what came of it, line by line.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
    """
    metrics = report.run.metrics
    if not report.reasons:
        yield "nothing to do: all partitions are what SQL, settings and files make of now"
        return
    for reason, keys in report.reasons.items():
        yield row("stale", f"{reason}: {count(len(keys), 'partition')}")
    if dry_run:
        coming = len(report.run.download.fetch) if report.run.download else 0
        fetched = f", {coming:,} of them fetched again" if coming else ""
        yield row("would read", f"{count(len(report.files), 'raw file')}{fetched}")
        yield from (row("", file.key) for file in report.files)
    elif report.files:
        yield row("read", count(len(report.files), "raw file"))
        written = f"{count(metrics.partitions, 'partition')}, {size(metrics.bytes_written)}"
        yield row("wrote", f"{written} in {duration(metrics.seconds)}")
    for item in report.run.set_aside:
        what = "gone" if item.is_gone else "set aside"
        yield row(what, f"{label(item.file)}: {item.problem}")
    if report.absent:
        yield row("not here", some((label(file) for file in report.absent), NAMED))
        for file, why in list(report.why_absent.items())[:NAMED]:
            yield row("", f"{label(file)}: {why}")
        if not report.why_absent:
            yield row("", f"to fetch them again: {warehouse} rebuild --changed --fetch")


def layout_as_json(report: LayoutReport, *, dry_run: bool) -> dict[str, Any]:
    """What was converted from one layout into the other, or would be, as one JSON object."""
    return {
        "dry_run": dry_run,
        **as_object(
            report,
            "layout",
            "rows",
            "files_before",
            "files_after",
            "bytes_before",
            "bytes_after",
        ),
        "months": [{"data_type": name, "month": f"{month:%Y-%m}"} for name, month in report.months],
        "seconds": round(report.run.metrics.seconds, 3),
    }


def layout_lines(
    report: LayoutReport, config: Config, request: Request, *, dry_run: bool
) -> Iterator[str]:
    """What was converted from one layout into the other, or would be, line by line."""
    if not report.months:
        kinds = f"{some((kind.name for kind in request.kinds), NAMED)}{span_of(request)}"
        yield row("", f"nothing to convert: nothing published of {kinds} is laid out otherwise")
    else:
        names = some((f"{name} {month:%Y-%m}" for name, month in report.months), NAMED)
        yield row("would convert" if dry_run else "converted", names)
        yield row("", count(report.rows, "row"))
        before = f"{count(report.files_before, 'file')}, {size(report.bytes_before)}"
        after = f"{count(report.files_after, 'file')}, {size(report.bytes_after)}"
        yield row("from", before)
        if not dry_run:
            yield row("to", f"{after} in {duration(report.run.metrics.seconds)}")
    for kind in request.kinds:
        if (configured := config.storage.layout.of(kind.name)) != report.layout:
            yield row(
                "next",
                f"storage.layout.{layout_key(kind.name)} is {configured}: new months will be; set"
                f" it to {report.layout} in config/data_config.yaml to have them alike",
            )
