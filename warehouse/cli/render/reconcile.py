"""How our bars compare with the vendor's, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

from warehouse.cli.render.run import row
from warehouse.read.bars.reconciliation import ReconcileReport


def reconcile_lines(report: ReconcileReport) -> Iterator[str]:
    """The report, and what to do about a cause."""
    yield from report.lines()
    if any(one.comparison.causes for one in report.results):
        yield row("next", "see a bar that differs with explain-bar; to build bars by such a rule,")
        yield row("", "change config/trade_conditions.csv")
    if any(one.comparison.groups for one in report.results):
        yield row("", "--json has every class with examples")
