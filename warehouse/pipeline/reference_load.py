"""Reference tables: the vendor's exports loaded, held against the tape, and published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars import action_checks
from warehouse.bars.action_prices import on_tape
from warehouse.bars.exports import Export, read_export
from warehouse.bars.securities import Securities
from warehouse.core.metrics import RunMetrics
from warehouse.core.paths import REFERENCE_TABLES, Layout
from warehouse.core.representation import Face
from warehouse.errors import CorruptPartitionError, RequestError, UnreadablePartitionError
from warehouse.pipeline.pipeline import Pipeline
from warehouse.store.catalog import Catalog, CatalogChange, of_run
from warehouse.store.reference import reference_files

_EXAMPLES = 3
_DAY_OF = {"splits": "execution_date", "dividends": "ex_date"}


@dataclass(frozen=True)
class Problem:
    """What is odd about some rows of a table.

    Attributes:
        kind: as the column `problem` begins: see sql/reference.
        rows: how many.
        counts: whether they count all the same.
        examples: some of them: symbol, day, id and what was found.
    """

    kind: str
    rows: int
    counts: bool
    examples: tuple[str, ...]


@dataclass(repr=False)
class TableReport(Face):
    """What came of a table.

    Attributes:
        read: rows of the exports.
        new, changed: those of them that were not there, and those that were otherwise.
        held: rows in all.
        counted: those that count; of securities all do.
        problems: what is odd about rows that are held, those first that do not count.
    """

    table: str
    read: int = 0
    new: int = 0
    changed: int = 0
    held: int = 0
    counted: int = 0
    problems: list[Problem] = field(default_factory=list)

    def _face(self) -> dict[str, Any]:
        return {
            "": self.table,
            "read": self.read,
            "new": self.new,
            "changed": self.changed,
            "held": self.held,
            "counted": self.counted,
            "problems": sum(one.rows for one in self.problems),
        }


@dataclass(repr=False)
class ReferenceReport(Face):
    """What a load or a check of the reference tables did.

    Attributes:
        tables: what came of each.
        published: the tables whose rows or verdicts are others than before.
    """

    metrics: RunMetrics
    tables: list[TableReport] = field(default_factory=list)
    published: tuple[str, ...] = ()

    def _face(self) -> dict[str, Any]:
        return {
            "": self.metrics.command,
            **{one.table: one.held for one in self.tables},
            "not_counted": sum(one.held - one.counted for one in self.tables),
            "published": ", ".join(self.published) or None,
        }


def load(pipeline: Pipeline, paths: Sequence[Path]) -> ReferenceReport:
    """Load exports: each row takes the place of the one with its id. Recorded as a run.

    Of an id that comes twice the later file's row, or the later one within it, is taken. What a
    security was called takes the place of what was held of it.

    Raises:
        RequestError: no file is named.
        ReferenceFileError: a file is no export; nothing is loaded.
        CorruptPartitionError: a table that none of the exports is of is damaged.
        UnreadablePartitionError: the system refuses to read a table; nothing is loaded.
        LockedError: another process is writing to the warehouse.
    """
    if not paths:
        raise RequestError("paths", (), "name at least one file")
    return _publish(pipeline, "reference load", [read_export(path) for path in paths])


def check(pipeline: Pipeline) -> ReferenceReport:
    """Judge the rows that are held again, by what is held of the tape now. Recorded as a run.

    Raises:
        CorruptPartitionError: a table is damaged.
        LockedError: another process is writing to the warehouse.
    """
    return _publish(pipeline, "reference check", [])


def _publish(pipeline: Pipeline, command: str, exports: Sequence[Export]) -> ReferenceReport:
    with pipeline.run(command, dry_run=False) as run:
        layout = pipeline.layout
        with Catalog(layout, ()) as catalog:
            told = catalog.reference()
        names = reference_files.newest(layout) if told is None else told
        for table in sorted({one.table for one in exports}):
            if not any(one.is_last for one in exports if one.table == table):
                pipeline.progress.note(
                    f"{table}: each page names one after it (next_url): what the vendor lists there"
                    " is not in these files; load it too"
                )
        held = _held(pipeline, names, {export.table for export in exports})
        report = ReferenceReport(run.metrics)
        facts: dict[str, pa.Table] = {}
        for table in REFERENCE_TABLES:
            loaded = [export.rows for export in exports if export.table == table]
            before = action_checks.facts(table, held[table])
            one = TableReport(table)
            for rows in loaded:
                one.read += rows.num_rows
                before = merged(table, before, rows.select(before.column_names), one)
            facts[table] = before
            report.tables.append(one)
        days = {
            table: set(
                zip(*(facts[table][name].to_pylist() for name in ("symbol", day)), strict=True)
            )
            for table, day in _DAY_OF.items()
        }
        securities = action_checks.borne(pipeline.sql, facts["securities"])
        tape = on_tape(
            layout, pipeline.sql, days["splits"], days["dividends"], _bearers(securities)
        )
        found = action_checks.judged(pipeline.sql, facts["splits"], facts["dividends"], tape)
        found["securities"] = securities
        for one in report.tables:
            _tell(one, found[one.table])
        report.published = tuple(
            table for table in REFERENCE_TABLES if not found[table].equals(held[table])
        )
        moves, change = [], CatalogChange(runs=[of_run(run.metrics, "done")])
        for table in report.published:
            number = _next_number(layout, table)
            staged, name = reference_files.write(layout.staging, table, found[table], number)
            moves.append((str(staged), str(layout.reference / name)))
            change.reference[table] = name
        if report.published:
            pipeline.writer.publish(change, moves)
        return report


def _bearers(securities: pa.Table) -> Securities:
    names = ("security", "symbol", "first_session", "last_session")
    return Securities(zip(*(securities[name].to_pylist() for name in names), strict=True))


def _held(pipeline: Pipeline, names: Mapping[str, str], loaded: set[str]) -> dict[str, pa.Table]:
    """The rows of each table; of one that is damaged none, where it is loaded anew."""
    found = {table: reference_files.SCHEMAS[table].empty_table() for table in REFERENCE_TABLES}
    for table, name in names.items():
        try:
            found[table] = reference_files.read(pipeline.layout, name)
        except CorruptPartitionError as error:
            # What cannot be read now may be sound: to begin anew would lose it.
            if table not in loaded or isinstance(error, UnreadablePartitionError):
                raise
            pipeline.progress.note(
                f"{error.path} is damaged ({error.problem}): {table} begins anew with what is"
                " loaded now"
            )
    return found


def _next_number(layout: Layout, table: str) -> int:
    """One more than that of any file of a table that is there."""
    name = reference_files.newest(layout).get(table)
    return 1 if name is None else reference_files.number_of(layout, name) + 1


def merged(table: str, held: pa.Table, rows: pa.Table, one: TableReport) -> pa.Table:
    """The rows that are held, with those of an export in the place of theirs.

    Args:
        held, rows: without verdicts; see `action_checks.facts`.
        one: is told what is new and what has changed.
    """
    if table == "securities":
        return _merged_names(held, rows, one)
    last = {id_: place for place, id_ in enumerate(rows["id"].to_pylist())}
    rows = rows.take(pa.array(last.values(), pa.int64()))
    is_told = pc.is_in(held["id"], rows["id"])
    known = {row["id"]: row for row in held.filter(is_told).to_pylist()}
    for row in rows.to_pylist():
        one.new += row["id"] not in known
        one.changed += row["id"] in known and known[row["id"]] != row
    return pa.concat_tables([held.filter(pc.invert(is_told)), rows])


def _merged_names(held: pa.Table, rows: pa.Table, one: TableReport) -> pa.Table:
    """The same of securities: one that is told anew is told whole.

    It is the same one that bore a symbol of it from the same day on, whatever else was known of it.
    """
    told = {_borne(row): row for row in rows.to_pylist()}
    before = held.to_pylist()
    gone = {row["security"] for row in before if _borne(row) in told}
    known = {_borne(row): row for row in before if row["security"] in gone}
    one.new += sum(key not in known for key in told)
    one.changed += sum(key in known and known[key] != row for key, row in told.items())
    kept = [row for row in before if row["security"] not in gone]
    return pa.Table.from_pylist([*kept, *told.values()], held.schema)


def _borne(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """A symbol and the day from which it was borne: at most one security's."""
    return row["symbol"], row["first_session"]


def _tell(one: TableReport, rows: pa.Table) -> None:
    """Put into the report what a table is now."""
    one.held = one.counted = rows.num_rows
    if one.table == "securities":
        return
    one.counted = pc.sum(rows["counts"], min_count=0).as_py()
    odd = rows.filter(rows["problem"].is_valid())
    found: dict[tuple[bool, str], list[str]] = {}
    rows_of: Counter[tuple[bool, str]] = Counter()
    names = ("symbol", _DAY_OF[one.table], "id", "problem", "counts")
    for symbol, day, id_, problem, counts in zip(
        *(odd[name].to_pylist() for name in names), strict=True
    ):
        key = counts, action_checks.kind_of(problem)
        rows_of[key] += 1
        if rows_of[key] <= _EXAMPLES:
            found.setdefault(key, []).append(f"{symbol} {day} {id_}: {problem}")
    one.problems = [
        Problem(kind, rows_of[counts, kind], counts, tuple(examples))
        for (counts, kind), examples in sorted(found.items())
    ]
