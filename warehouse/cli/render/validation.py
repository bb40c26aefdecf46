"""What validation found: as lines for a person, as JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from warehouse.cli.render.run import NAMED, row
from warehouse.core.representation import as_object, plain
from warehouse.pipeline.report import RunReport
from warehouse.pipeline.validation_gate import Refused
from warehouse.sqlfolder.rule_file import BrokenRule
from warehouse.text import count, duration, printable, some
from warehouse.validation.evaluate import ValidationResult
from warehouse.validation.validate import ValidationReport


def validation_as_json(report: ValidationReport) -> dict[str, Any]:
    """A validation as one JSON object."""
    request = report.request
    return {
        **as_object(report.metrics, "command", "run_id", "started_at"),
        "seconds": round(report.metrics.seconds, 3),
        "data_types": [kind.name for kind in request.kinds],
        **as_object(request, "start", "end", "symbols"),
        "rules": list(report.rules),
        "unread": [
            {"data_type": kind, "problem": str(error)} for kind, error in report.unread.items()
        ],
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "allowed": len(report.allowed),
        "results": plain(report.results),
    }


def validation_lines(report: ValidationReport) -> Iterator[str]:
    """A validation, line by line: each rule that found something, the worst first."""
    asked = [kind.name for kind in report.request.kinds]
    # Of what is not there at all nothing was asked.
    held = [name for name in asked if name in report.held and name not in report.unread]
    kinds = ", ".join(held or asked)
    rules = count(len(report.rules), "rule")
    yield row("asked", f"{rules} about {kinds}: {duration(report.metrics.seconds)}")
    yield from _by_rule("error", report.errors)
    yield from _by_rule("warning", report.warnings)
    yield from _by_rule("allowed", report.allowed)
    yield from unasked_lines(report.broken)
    for kind, error in report.unread.items():
        yield row("not asked", printable(f"about {kind}: {error}"))
    if not report.results:
        yield row("found", "nothing")
        return
    found = f"{count(len(report.errors), 'error')}, {count(len(report.warnings), 'warning')}"
    if report.allowed:
        found += f", {len(report.allowed):,} allowed"
    yield row("found", f"{found}; --json tells all, and so does the catalog's table findings")
    if report.errors:
        yield row("next", "what is as it should be: a line with the reason in")
        yield row("", "config/validation_allow.csv; what is not: get the file anew, or reject it")


def unasked_lines(broken: Sequence[BrokenRule]) -> Iterator[str]:
    """The rules that could not be asked, and why."""
    for one in broken:
        yield row("not asked", printable(f"{one.name}: {one.error}"))


def _by_rule(name: str, results: Sequence[ValidationResult]) -> Iterator[str]:
    def key(one: ValidationResult) -> tuple[str, str, str]:
        return one.rule, one.data_type, one.allowed or ""

    for (rule, data_type, reason), group in groupby(sorted(results, key=key), key=key):
        members = list(group)
        rows = count(sum(one.count for one in members), "row")
        why = f" ({printable(reason)})" if reason else ""
        yield row(name, f"{rule}: {data_type}, {rows}{why}")
        members.sort(key=lambda one: -one.count)
        yield row("", some((_place(one) for one in members), 5))
        if name != "allowed" and members[0].examples:
            facts = members[0].examples[0].items()
            shown = ", ".join(f"{k} {v}" for k, v in facts if v is not None)
            yield row("", printable(f"e.g. {shown}"))


def _place(one: ValidationResult) -> str:
    parts = [printable(one.symbol or ""), str(one.session or "")]
    named = " ".join(part for part in parts if part) or "the whole"
    return f"{named} ({one.count:,})"


def found_lines(report: RunReport) -> Iterator[str]:
    """What validation found in the rows that a run brought, and what it kept out."""
    warnings: dict[str, int] = {}
    for one in report.findings:
        if not one.is_error:
            name = one.rule if one.allowed is None else f"{one.rule} (allowed)"
            warnings[name] = warnings.get(name, 0) + one.count
    if warnings:
        listed = some((f"{name} {number:,}" for name, number in sorted(warnings.items())), NAMED)
        yield row("found", f"{listed}; rows in the catalog's table findings")
    yield from unasked_lines(report.broken)
    for refused in report.refused:
        yield from _refused_lines(refused)


def _refused_lines(refused: Refused) -> Iterator[str]:
    yield row(
        "refused",
        f"{refused.data_type} {refused.month:%Y-%m}: nothing of it was published,"
        " for validation found errors in it",
    )
    for one in refused.errors[:NAMED]:
        yield row("", f"{one.rule}: {_place(one)}")
    if len(refused.errors) > NAMED:
        yield row("", f"and {len(refused.errors) - NAMED:,} more (--json names all)")
    yield row("", f"what was staged is in {refused.folder}")
    rule = refused.errors[0].rule
    yield row("", f'to publish it all the same: --allow "{rule}=REASON", or that reason in')
    yield row("", "config/validation_allow.csv")


def found_as_json(report: RunReport) -> dict[str, Any]:
    """The same as JSON: `findings`, and `refused` batches."""
    return {
        "findings": plain(report.findings),
        "refused": [as_object(one, month=f"{one.month:%Y-%m}") for one in report.refused],
    }
