"""Corporate actions: what a load or a check came to, and the actions themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from warehouse.cli.render.answer import table_lines
from warehouse.cli.render.run import row
from warehouse.core.representation import as_object
from warehouse.pipeline.reference_load import ReferenceReport, TableReport
from warehouse.text import count, duration, printable, some

_MOST_ROWS = 1_000
_NAMED = 5


def report_as_json(report: ReferenceReport) -> dict[str, Any]:
    """A load or a check as one JSON object."""
    return {
        **as_object(report.metrics, "command", "run_id", "started_at"),
        "seconds": round(report.metrics.seconds, 3),
        "tables": [as_object(one) for one in report.tables],
        "published": list(report.published),
    }


def report_lines(report: ReferenceReport) -> Iterator[str]:
    """The same, line by line: each table, then what is odd about its rows."""
    for one in report.tables:
        if one.read or one.held:
            yield row(one.table, _figures(one))
    for one in report.tables:
        for problem in one.problems:
            name = "noted" if problem.counts else "not used"
            yield row(name, f"{problem.kind}: {count(problem.rows, one.table[:-1])}")
            yield from (row("", f"e.g. {printable(each)}") for each in problem.examples)
    told = f"{', '.join(report.published)}: published" if report.published else "nothing is new"
    yield row("done", f"{told}, {duration(report.metrics.seconds)}")


def _figures(one: TableReport) -> str:
    loaded = f"{one.read:,} read, {one.new:,} new, {one.changed:,} changed; " if one.read else ""
    counted = f", {one.counted:,} count" if one.table != "securities" else ""
    return f"{loaded}{one.held:,} held{counted}"


def actions_as_json(actions: pd.DataFrame) -> dict[str, Any]:
    """The actions as one JSON object."""
    return {"actions": _table(actions).to_pylist()}


def actions_lines(
    actions: pd.DataFrame, warehouse: str, symbols: Sequence[str] = ()
) -> Iterator[str]:
    """The actions as a table.

    Args:
        symbols: whose they are; none: of all.
    """
    if actions.empty and symbols:
        of_these = f"no split or dividend of {some(symbols, _NAMED)} is held (case counts)"
        yield f"{of_these}; of all: {warehouse} reference show"
        return
    if actions.empty:
        yield f"no split or dividend is held; load the vendor's: {warehouse} reference load FILE"
        return
    yield from table_lines(_table(actions), _MOST_ROWS)


def _table(actions: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(actions, preserve_index=False).replace_schema_metadata(None)
    place = table.schema.get_field_index("session")
    return table.set_column(place, "session", table["session"].cast(pa.date32()).cast(pa.string()))
