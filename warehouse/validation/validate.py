"""Published rows asked by the rules of sql/validate.

A warehouse is larger than memory: rows are asked about a month and some symbols at a time, whole
symbols always; day_aggs, which are few, over all months together, so that a rule may look at what
a symbol did over years.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.core.calendar import last_day_of_month, today
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import connect, macro_texts, quoted, spill_folder, within
from warehouse.core.metrics import Progress, RunMetrics
from warehouse.core.paths import ALL_SYMBOLS, Layout, PartitionKey, glob_literal
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.core.small_files import plain
from warehouse.errors import (
    CorruptPartitionError,
    DamagedCatalogError,
    NoDataError,
    StorageError,
    WarehouseError,
    one_line,
)
from warehouse.executors.engine import Engine
from warehouse.executors.work import Share, results
from warehouse.objects import disk_cache
from warehouse.objects.disk_cache import Wanted
from warehouse.sqlfolder.allow_list import Allowance
from warehouse.sqlfolder.rule_file import BrokenRule, Rule, not_asked
from warehouse.store import data_folder_id, manifests
from warehouse.store.catalog import Catalog, CatalogChange, Checked, await_generation, of_run
from warehouse.store.catalog_tables import ALONE, check_tables, place, state_of
from warehouse.store.reference import reference_files
from warehouse.text import some
from warehouse.validation.evaluate import (
    NAMED_SYMBOLS,
    Evaluation,
    ValidationResult,
    checked_as,
    settle,
    show_sessions,
)

_NAMED = 5
_UNIT_ROWS = 4_000_000
_UNIT_FILES = 1_000
_WHOLE = "day_aggs"
_REJECTS = "rejects"
_SPLITS = "splits"
_IN_PART = "asked in part"
"""What the record of a validation says that was not of all rules, or not about everything."""


@dataclass(repr=False)
class ValidationReport(Face):
    """What a validation found.

    Attributes:
        rules: names of those that were asked.
        request: data types, sessions and symbols they were asked about.
        results: errors first, by rule, data type and session; what is allowed stands last.
        broken: rules that could not be asked.
        held: first and last session there is of each data type, of the symbols asked about.
        looked_at: data types of which there was a session to look at.
        unread: data types whose rows could not be read to their end, and why: of them nothing is
            told.
    """

    metrics: RunMetrics
    rules: tuple[str, ...]
    request: Request
    results: list[ValidationResult] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)
    held: dict[str, tuple[date, date]] = field(default_factory=dict)
    looked_at: frozenset[str] = frozenset()
    unread: dict[str, WarehouseError] = field(default_factory=dict)

    def _face(self) -> dict[str, Any]:
        return {
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "allowed": len(self.allowed),
            "broken": len(self.broken) or None,
            "unread": ", ".join(self.unread) or None,
            "rules": len(self.rules),
            "types": ", ".join(kind.name for kind in self.request.kinds),
            "start": self.request.start,
            "end": self.request.end,
            "symbols": len(self.request.symbols) or None,
        }

    def check_looked(self) -> None:
        """Whether there was anything to look at: of nothing, nothing amiss can be said.

        Raises:
            NoDataError: there was not.
        """
        if self.looked_at or self.results or self.broken:
            return
        request = self.request
        symbols = f" of {some(sorted(request.symbols), _NAMED)}" if request.symbols else ""
        names = [kind.name for kind in request.kinds]
        start = f" from {request.start}" if request.start else ""
        end = f" to {request.end}" if request.end else ""
        held = [f"{name} of {first} to {last}" for name, (first, last) in self.held.items()]
        bounds = [
            f" --{side} {day}"
            for side, day in (("start", request.start), ("end", request.end))
            if day
        ]
        raise NoDataError(
            f"validate {', '.join(names)}{symbols}{start}{end}",
            f"there is nothing to look at; there {'are' if held else 'is'}"
            f" {', '.join(held) or 'nothing of these at all'}",
            f"get them with: warehouse update{''.join(bounds)}",
        )

    @property
    def errors(self) -> list[ValidationResult]:
        """Errors that nothing allows."""
        return [result for result in self.results if result.is_error]

    @property
    def warnings(self) -> list[ValidationResult]:
        """Warnings that nothing allows."""
        return [one for one in self.results if not one.is_error and one.allowed is None]

    @property
    def allowed(self) -> list[ValidationResult]:
        return [result for result in self.results if result.allowed is not None]


@dataclass(frozen=True)
class _Stored:
    data_type: str
    symbol: str
    month: date
    rows: int
    bytes: int
    is_shared: bool
    part: str
    sha256: str

    @property
    def file(self) -> tuple[PartitionKey, int, str]:
        """The file that it stands in, how large that is, and its SHA-256."""
        whose = ALL_SYMBOLS if self.is_shared else self.symbol
        key = PartitionKey(self.data_type, whose, self.month, self.part)
        return key, self.bytes, self.sha256


@dataclass(frozen=True)
class _Unit:
    """Rules, and partitions that they are asked about together.

    Attributes:
        read: the data types whose rows they read.
        span: the sessions that are asked about, first and last.
        first, last: those of them that the partitions are of, both inclusive.
    """

    data_type: str
    rules: tuple[Rule, ...]
    read: frozenset[str]
    span: tuple[date, date]
    partitions: list[_Stored]
    first: date
    last: date


@dataclass(frozen=True)
class _OnWorker:
    """A unit that is asked in another process, on another machine perhaps.

    Attributes:
        folder_id, generation: of what is asked about; nothing is published meanwhile.
    """

    layout: Layout
    config: Config
    request: Request
    folder_id: str | None
    generation: int
    unit: _Unit

    def __call__(self, share: Share) -> tuple[list[ValidationResult], dict[str, BrokenRule]]:
        layout, unit = self.layout, self.unit
        data_folder_id.check_shared(layout, self.folder_id)
        await_generation(layout, self.generation, partial(_generation_of, layout))
        config = self.config.within(share.threads, share.memory_bytes)
        with spill_folder() as spill:
            asked = _Questions(layout, config, self.request, spill)
            try:
                asked.show_facts(unit.data_type, unit.rules, *unit.span)
                found = asked.answer(unit)
            finally:
                asked.close()
        return found, asked.evaluation.broken


def _generation_of(layout: Layout) -> int:
    with Catalog(layout, ()) as catalog:
        return catalog.generation()


def validate(
    layout: Layout,
    config: Config,
    rules: Sequence[Rule],
    request: Request,
    allowances: Sequence[Allowance],
    progress: Progress,
) -> ValidationReport:
    """Ask the rules about what is published. Hold the writer's lock: files must not change.

    Args:
        request: data types, sessions (both inclusive) and symbols; none mean all.

    A rule that fails stops no other, and a file that cannot be read stops its data type alone; the
    report names them.

    Raises:
        StorageError: the catalog cannot be read, or of no data type can all files be.
        CorruptPartitionError: the table of splits is damaged, and all that is asked rests on it.
    """
    names = {kind.name for kind in request.kinds}
    rules = [rule for rule in rules if names & {*rule.data_types}]
    report = ValidationReport(RunMetrics("validate"), tuple(rule.name for rule in rules), request)
    if not layout.catalog.exists():
        return report
    spill = layout.staging / "validate"
    asked = _Questions(layout, config, request, spill)
    broken: dict[str, BrokenRule] = {}
    found: list[ValidationResult] = []
    try:
        for kind in request.kinds:
            progress.begin(f"{kind.name}: validating", 0)
            of_type = [rule for rule in rules if kind.name in rule.data_types]
            try:
                found += asked.about(kind.name, of_type)
            except (StorageError, CorruptPartitionError) as error:
                if isinstance(error, StorageError) and error.path == layout.catalog:
                    raise
                report.unread[kind.name] = error
                progress.note(f"{kind.name}: not asked about: {error}")
                broken |= asked.evaluation.broken
                # It has been closed, with what it showed the rules.
                asked = _Questions(layout, config, request, spill)
        report.held, report.looked_at = asked.held()
    finally:
        asked.close()
    if report.unread and not report.looked_at - set(report.unread):
        raise next(iter(report.unread.values()))
    broken |= asked.evaluation.broken
    report.broken = list(broken.values())
    report.rules = tuple(name for name in report.rules if name not in broken)
    found = [one for one in found if one.rule not in broken]
    # Of symbols that are named all is told, and nothing of the sessions as a whole.
    report.results = settle(found, allowances, named=0 if request.symbols else NAMED_SYMBOLS)
    return report


def change_of(report: ValidationReport, rules: Iterable[Rule], *, is_whole: bool) -> CatalogChange:
    """What the catalog is to keep of a validation.

    Args:
        is_whole: every rule was asked, about all that is published.
    """
    request = report.request
    unread = [f"{kind} ({error})"[:200] for kind, error in report.unread.items()]
    told = (_IN_PART, *(f"not asked about {one}" for one in unread), not_asked(report.broken))
    in_part = "; ".join(filter(None, told))
    now = datetime.now(UTC).replace(tzinfo=None)
    return CatalogChange(
        checked=[
            Checked(
                rule.name,
                kind.name,
                tuple(sorted(request.symbols)) or None,
                request.start or date.min,
                request.end or date.max,
            )
            for rule in rules
            if rule.name in report.rules
            for kind in request.kinds
            if kind.name in rule.data_types and kind.name not in report.unread
        ],
        findings=[one.as_finding(report.metrics.run_id, now) for one in report.results],
        runs=[of_run(report.metrics, "done", None if is_whole else in_part)],
    )


class _Questions:
    """A DuckDB with the catalog attached, in which each rule sees what it is asked about.

    Where `processing.engine` is a cluster, units of many rows are asked there.
    """

    def __init__(
        self, layout: Layout, config: Config, request: Request, spill: Path | None
    ) -> None:
        self._layout, self._config, self._request = layout, config, request
        self._spill = spill
        self._engine = Engine(config.processing)
        self.evaluation = Evaluation(config.validation)
        state = state_of(layout.catalog)
        self._connection = self._opened()
        try:
            warehouse_id = data_folder_id.id_of(layout)
            check_tables(self._connection, "published", layout.catalog, warehouse_id, state)
        except DamagedCatalogError:
            self.close()
            raise
        except duckdb.Error as error:
            self.close()
            raise self._unreadable(error) from error
        # Where another process writes to it, what is attached is a copy.
        for statement in [*place(layout), ALONE, within("published")]:
            self._run(statement)
        try:
            named = manifests.listed(self._connection, "published")
            manifests.check(layout, named)
        except StorageError:
            self.close()
            raise
        self._run(manifests.as_view(layout, named, "all_partitions"))

    def close(self) -> None:
        self._engine.close()
        self._connection.close()

    def _opened(self) -> duckdb.DuckDBPyConnection:
        layout, processing = self._layout, self._config.processing
        try:
            return connect(
                folders=[*layout.served, layout.staging],
                attached={"published": layout.catalog},
                spill=self._spill,
                threads=processing.parallel_workers,
                memory_bytes=processing.memory_limit_bytes,
            )
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: duckdb.Error) -> StorageError:
        return StorageError(self._layout.catalog, f"cannot be read: {one_line(error)}")

    def _rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """What the catalog's tables answer."""
        try:
            return self._connection.execute(sql, values or None).fetchall()
        except duckdb.Error as error:
            self.close()
            raise self._unreadable(error) from error

    def _run(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except duckdb.Error as error:
            self.close()
            raise StorageError(
                self._layout.data, f"a partition cannot be read: {one_line(error)}"
            ) from error

    @cached_property
    def _stored(self) -> list[_Stored]:
        request = self._request
        rows = self._rows(
            """
            select data_type, symbol, month, rows, bytes, first_row is not null, part, sha256
            from all_partitions
            where
                len($symbols) = 0 or list_contains($symbols, symbol)
            order by data_type, month, symbol, part
            """,
            symbols=sorted(request.symbols),
        )
        stored = [_Stored(*row) for row in rows]
        return [
            one
            for one in stored
            if one.month <= request.last and last_day_of_month(one.month) >= request.first
        ]

    def held(self) -> tuple[dict[str, tuple[date, date]], frozenset[str]]:
        """First and last session of each data type, and those with a session that was asked for."""
        request = self._request
        rows = self._rows(
            """
            select
                data_type,
                min(entry.session),
                max(entry.session),
                bool_or(entry.session between $first and $last)
            from (
                select data_type, unnest(sessions) as entry
                from all_partitions
                where
                    list_contains($data_types, data_type)
                    and (len($symbols) = 0 or list_contains($symbols, symbol))
            )
            group by data_type
            order by data_type
            """,
            data_types=[kind.name for kind in request.kinds],
            symbols=sorted(request.symbols),
            first=request.first,
            last=request.last,
        )
        return (
            {name: (first, last) for name, first, last, _ in rows},
            frozenset(name for name, _, _, is_in in rows if is_in),
        )

    def about(self, data_type: str, rules: Sequence[Rule]) -> list[ValidationResult]:
        """What the rules find of a data type."""
        own = [one for one in self._stored if one.data_type == data_type]
        if not own or not rules:
            return []
        first, last = self._span(data_type)
        self.show_facts(data_type, rules, first, last)
        found: list[ValidationResult] = []
        by_rows: defaultdict[frozenset[str], list[Rule]] = defaultdict(list)
        for rule in rules:
            by_rows[rule.reads_rows(data_type)].append(rule)
        for rule in by_rows.pop(frozenset(), []):
            if _REJECTS in rule.reads:
                self._show_rejects(data_type, None, first, last)
            found += self._ask([rule], data_type)
        units = [
            unit
            for read, members in by_rows.items()
            for unit in self._units(data_type, tuple(members), read, first, last)
        ]
        return found + self._answers(units)

    def _answers(self, units: Sequence[_Unit]) -> list[ValidationResult]:
        """What the units find, in their order."""
        rows = sum(one.rows for unit in units for one in unit.partitions)
        if self._engine.is_here or len(units) < 2 or rows <= _UNIT_ROWS:
            return [one for unit in units for one in self.answer(unit)]
        folder_id = data_folder_id.id_of(self._layout)
        ((generation,),) = self._rows("select max(generation) from published.main.warehouse")
        with self._engine.executor() as executor:
            on_workers = (
                _OnWorker(self._layout, self._config, self._request, folder_id, generation, unit)
                for unit in units
            )
            found = dict(results(executor, on_workers))
        for number in range(len(units)):
            for name, problem in found[number][1].items():
                self.evaluation.broken.setdefault(name, problem)
        return [one for number in range(len(units)) for one in found[number][0]]

    def answer(self, unit: _Unit) -> list[ValidationResult]:
        """What the rules of a unit find in its partitions."""
        self._show(unit)
        if any(_REJECTS in rule.reads for rule in unit.rules):
            symbols = sorted({one.symbol for one in unit.partitions})
            self._show_rejects(unit.data_type, symbols, unit.first, unit.last)
        return self._ask(unit.rules, unit.data_type)

    def _ask(self, rules: Iterable[Rule], data_type: str) -> list[ValidationResult]:
        wanted = self._request.symbols
        return [
            one
            for one in self.evaluation.ask(self._connection, rules, data_type)
            if (not wanted or one.symbol in wanted)
            and (one.session is None or self._request.first <= one.session <= self._request.last)
        ]

    def _span(self, data_type: str) -> tuple[date, date]:
        """The sessions asked about; a side that is left open ends where the data does."""
        ((first, last),) = self._rows(
            """
            select min(entry.session), max(entry.session)
            from (
                select unnest(sessions) as entry
                from all_partitions
                where data_type = $data_type
            )
            """,
            data_type=data_type,
        )
        request = self._request
        return request.start or first, min(request.end, today()) if request.end else last

    def _units(
        self,
        data_type: str,
        rules: tuple[Rule, ...],
        read: frozenset[str],
        first: date,
        last: date,
    ) -> Iterator[_Unit]:
        """Groups of whole symbols, of one month (of day_aggs alone: of all), bounded in size."""
        whole = read == {_WHOLE}
        about = data_type, rules, read, (first, last)
        members: defaultdict[date, defaultdict[str, list[_Stored]]]
        members = defaultdict(lambda: defaultdict(list))
        for one in self._stored:
            if one.data_type in read:
                members[date.min if whole else one.month][one.symbol].append(one)
        for month, by_symbol in members.items():
            start = first if whole else max(first, month)
            stop = last if whole else min(last, last_day_of_month(month))
            unit: list[_Stored] = []
            files: set[tuple[PartitionKey, int, str]] = set()
            rows = 0
            for stored in by_symbol.values():
                if not any(one.data_type == data_type for one in stored):
                    continue
                more = sum(one.rows for one in stored)
                others = files | {one.file for one in stored}
                if unit and (rows + more > _UNIT_ROWS or len(others) > _UNIT_FILES):
                    yield _Unit(*about, unit, start, stop)
                    unit, files, rows = [], set(), 0
                unit += stored
                files |= {one.file for one in stored}
                rows += more
            if unit:
                yield _Unit(*about, unit, start, stop)

    def show_facts(self, data_type: str, rules: Iterable[Rule], first: date, last: date) -> None:
        """Show what rules may read beside rows."""
        show_sessions(self._connection, first, last)
        for table in ("partitions", "source_files"):
            self._run(
                f"create or replace temp view {table} as"
                f" select * from published.{table} where data_type = '{data_type}'"
            )
        if any(_SPLITS in rule.reads for rule in rules):
            self._show_splits()

    def _show_splits(self) -> None:
        """The splits that are loaded; of a catalog of an earlier version none are."""
        try:
            named = reference_files.named(self._connection, "published") or {}
        except duckdb.Error as error:
            self.close()
            raise self._unreadable(error) from error
        rows = reference_files.SCHEMAS[_SPLITS].empty_table()
        if _SPLITS in named:
            rows = reference_files.read(self._layout, named[_SPLITS])
        self._connection.register("loaded", rows)
        self._run(f"create or replace temp table {_SPLITS} as select * from loaded")
        self._connection.unregister("loaded")

    def _show(self, unit: _Unit) -> None:
        within = f"session between date '{unit.first}' and date '{unit.last}'"
        symbols = sorted({one.symbol for one in unit.partitions})
        # Of a file that all symbols share not all need be of the unit.
        self._connection.register("listed", pa.table({"symbol": pa.array(symbols, pa.string())}))
        self._run("create or replace temp table unit_symbols as select * from listed")
        self._connection.unregister("listed")
        for name in unit.read:
            own = [one for one in unit.partitions if one.data_type == name and not one.is_shared]
            shared = [one for one in unit.partitions if one.data_type == name and one.is_shared]
            rows = [
                f"select * from {self._files(some)} where {within}{of_symbols}"
                for some, of_symbols in (
                    (own, ""),
                    (shared, " and symbol in (select symbol from unit_symbols)"),
                )
                if some
            ] or [f"select * from {self._read([self._layout.schema / f'{name}.parquet'])}"]
            self._run(f"create or replace temp view {name} as {' union all '.join(rows)}")
        self._run(checked_as(unit.data_type))

    def _path_of(self, key: PartitionKey, due: int) -> Path:
        """Where a partition lies; DuckDB would read another Parquet file in its place, too."""
        path = self._layout.partition(*key)
        with suppress(FileNotFoundError):  # which DuckDB says itself
            size = path.stat().st_size
            if path.is_file() and size != due:
                self.close()
                raise StorageError(
                    self._layout.data,
                    f"a partition cannot be read: {path} has {size:,} bytes, the catalog says"
                    f" {due:,}; mend it with: warehouse verify --repair",
                )
        return path

    def _files(self, stored: Iterable[_Stored]) -> str:
        files = sorted({one.file for one in stored})
        wanted = [Wanted(self._layout.partition(*key), size, sha) for key, size, sha in files]
        disk_cache.bring(self._layout, wanted)
        return self._read([self._path_of(key, size) for key, size, _ in files])

    def _read(self, paths: Iterable[Path]) -> str:
        return f"read_parquet([{', '.join(self._literals(paths))}], hive_partitioning = false)"

    def _show_rejects(
        self, data_type: str, symbols: list[str] | None, first: date, last: date
    ) -> None:
        """The rejects of a data type and of some symbols; None: of all."""
        of_symbols = ""
        if symbols is not None:
            of_symbols = f" and symbol in ({', '.join(quoted(symbol) for symbol in symbols)})"
        columns = ", ".join(f'"{n}"' for n in DATA_TYPES[data_type].rejects_columns.names)
        self._run(
            f"create or replace temp view rejects as select {columns} from ("
            " select * from read_parquet("
            f" [{', '.join(self._rejects_files(data_type, first, last))}], union_by_name = true,"
            " hive_partitioning = false))"
            f" where session between date '{first}' and date '{last}'{of_symbols}"
        )

    def _rejects_files(self, data_type: str, first: date, last: date) -> list[str]:
        """The files of rejects that the catalog names, of the months asked about."""
        try:
            (names,) = macro_texts(self._connection, "published.main.rejects_names")
        except duckdb.Error as error:
            self.close()
            raise self._unreadable(error) from error
        months = f"{data_type}/{first:%Y_%m}", f"{data_type}/{last:%Y_%m}"
        wanted = [
            self._layout.rejects / name
            for name in names.split()
            if months[0] <= name.rpartition("/")[0] <= months[1]
        ]
        files = wanted or [self._layout.schema / f"{_REJECTS}.parquet"]
        return self._literals(files)

    def _literals(self, paths: Iterable[Path]) -> list[str]:
        """Paths as DuckDB is told them; it would wait for a pipe that stands in one's place."""
        try:
            return [f"'{glob_literal(plain(path))}'" for path in paths]
        except OSError as error:
            self.close()
            raise StorageError(
                Path(error.filename), f"cannot be read: {error.strerror or error}"
            ) from error
