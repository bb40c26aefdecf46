"""Rules asked of the tables at hand, and what they answer, by symbol and session.

Who asks brings a connection and shows it the tables: `ingest.incoming_rules` rows on their way in,
`validation.validate` what is published. What a rule finds in them, and what becomes of one that
fails, is decided here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.core.calendar import trading_hours
from warehouse.core.config import ValidationConfig
from warehouse.core.datatypes import earlier_form
from warehouse.core.duckdb_connection import watched
from warehouse.core.representation import Face
from warehouse.core.small_files import parsed_json
from warehouse.errors import SqlFileError, StorageError, one_line
from warehouse.sqlfolder.allow_list import Allowance, reason_for
from warehouse.sqlfolder.rule_file import CHECKED, ERROR, BrokenRule, Rule
from warehouse.store.catalog import Finding
from warehouse.store.catalog_tables import LAST_DAY

EXAMPLES = 3
"""So many offending rows of a symbol and session are kept."""

NAMED_SYMBOLS = 50
"""So many symbols of a session are told one by one, those with the most offending rows."""

_COLUMNS = ("symbol", "session", "timestamp")
_TYPES, _NO_TYPE = {"symbol": "VARCHAR", "session": "DATE"}, '"NULL"'


@dataclass(frozen=True, repr=False)
class ValidationResult(Face):
    """Rows of one symbol and session that offend against a rule.

    Attributes:
        severity: "error" or "warning".
        rule: a file of sql/validate.
        data_type: what the rule was asked about.
        symbol: None where it is of the session as a whole, or of all symbols beyond those of the
            session that have most offending rows (NAMED_SYMBOLS), taken together.
        session: None where the rule is not of sessions.
        count: offending rows.
        examples: the first few of them, column → value; stamps are text, UTC, to the nanosecond.
        allowed: why it counts for nothing; None: it counts.
    """

    severity: str
    rule: str
    data_type: str
    symbol: str | None
    session: date | None
    count: int
    examples: tuple[dict[str, Any], ...]
    allowed: str | None = None

    def _face(self) -> dict[str, Any]:
        return {
            "": self.severity,
            "rule": self.rule,
            "data_type": self.data_type,
            "symbol": self.symbol,
            "session": self.session,
            "count": self.count,
            "allowed": self.allowed,
        }

    @property
    def is_error(self) -> bool:
        return self.severity == ERROR and self.allowed is None

    def as_finding(self, run_id: str, checked_at: datetime) -> Finding:
        """The row of the catalog's table `findings`."""
        return Finding(
            run_id,
            checked_at,
            self.rule,
            self.severity,
            self.data_type,
            self.symbol,
            self.session,
            self.count,
            json.dumps(self.examples, ensure_ascii=False),
            self.allowed,
        )


class Evaluation:
    """Asks rules, and keeps which of them failed: a rule that fails stops no other.

    Attributes:
        broken: rules that failed when they were asked, by name; they are not asked again.
    """

    def __init__(self, config: ValidationConfig) -> None:
        self._config = config
        self.broken: dict[str, BrokenRule] = {}

    def ask(
        self, connection: duckdb.DuckDBPyConnection, rules: Iterable[Rule], data_type: str
    ) -> list[ValidationResult]:
        """What the rules find in the tables that the connection sees.

        Raises:
            StorageError: as `ask`.
        """
        found: list[ValidationResult] = []
        for rule in rules:
            if rule.name in self.broken:
                continue
            try:
                found += ask(connection, rule, data_type, self._config)
            except SqlFileError as error:
                self.broken[rule.name] = BrokenRule(rule.name, error, rule.on_ingest)
        return found


def ask(
    connection: duckdb.DuckDBPyConnection, rule: Rule, data_type: str, config: ValidationConfig
) -> list[ValidationResult]:
    """What the rule finds in the tables that the connection sees.

    Raises:
        SqlFileError: it fails, or what it returns is no finding.
        StorageError: a file of the warehouse cannot be read, or memory and disk do not suffice.
    """
    values = {name: getattr(config, name) for name in rule.file.parameters}
    try:
        relation = connection.sql(rule.file.body, params=values)
        columns = relation.columns
        _check_columns(rule, dict(zip(columns, map(str, relation.types), strict=True)))
        count = "sum(row_count)::bigint" if "row_count" in columns else "count(*)"
        # The smallest rows: those of the earliest stamps, and always the same.
        by_place = (
            f"select symbol, session, {count} as found,"
            f" to_json(min(offending, {EXAMPLES}))::varchar as examples"
            f" from (\n{rule.file.body}\n) as offending group by symbol, session"
        )
        answer = watched(
            connection, rule.name, lambda: connection.sql(by_place, params=values).fetchall()
        )
    except duckdb.Error as error:
        if (told := earlier_form(error)) is not None:
            raise StorageError(rule.name, told) from error
        if ".parquet" in str(error):
            raise StorageError(
                rule.name, f"a partition cannot be read: {one_line(error)}; see warehouse rebuild"
            ) from error
        if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
            raise StorageError(rule.name, f"DuckDB cannot go on: {one_line(error)}") from error
        raise SqlFileError(rule.file.path, one_line(error)) from error
    for _, session, count, _ in answer:
        if count is None or count < 0:
            raise SqlFileError(rule.file.path, "returns a row_count that is NULL or below 0")
        # DuckDB has days that no calendar has; they come as text.
        if isinstance(session, str) or (session is not None and f"{session}" > LAST_DAY):
            raise SqlFileError(rule.file.path, f"returns session {session}, which is no day")
    try:
        return [
            ValidationResult(
                rule.severity, rule.name, data_type, symbol, session, count, _examples(examples)
            )
            for symbol, session, count, examples in answer
        ]
    except ValueError as error:
        problem = f"returns a row that cannot be told: {one_line(error, 200)}"
        raise SqlFileError(rule.file.path, problem) from error


def _check_columns(rule: Rule, types: dict[str, str]) -> None:
    """Look whether findings can be made of what a rule returns."""
    if missing := [name for name in _COLUMNS if name not in types]:
        raise SqlFileError(
            rule.file.path,
            f"returns no {', '.join(missing)}; a rule returns {', '.join(_COLUMNS)} and more",
        )
    for name, due in _TYPES.items():
        if types[name] not in (due, _NO_TYPE):
            raise SqlFileError(
                rule.file.path,
                f"returns {name} as {types[name]}; a rule returns it as {due}, or NULL",
            )


def _examples(text: str) -> tuple[dict[str, Any], ...]:
    # JSON has no infinity; DuckDB writes one all the same.
    rows = parsed_json(text, constant=lambda name: None)
    # The symbol and the session are told already.
    return tuple(
        {name: value for name, value in row.items() if name not in ("symbol", "session")}
        for row in rows
    )


def settle(
    results: Iterable[ValidationResult],
    allowances: Sequence[Allowance],
    *,
    named: int = NAMED_SYMBOLS,
) -> list[ValidationResult]:
    """Results in order, with what is allowed marked.

    Args:
        named: so many symbols of a rule and session are told one by one, and those beyond them in
            one result of them all; 0: every one is.
    """
    groups: defaultdict[tuple[Any, ...], list[ValidationResult]] = defaultdict(list)
    for found in results:
        reason = reason_for(allowances, found.rule, found.symbol, found.session)
        result = replace(found, allowed=reason)
        groups[found.severity, found.rule, found.data_type, found.session, reason].append(result)
    settled: list[ValidationResult] = []
    for members in groups.values():
        members.sort(key=lambda one: (one.symbol is not None, -one.count, one.symbol or ""))
        of_symbols = [one for one in members if one.symbol is not None]
        most = named or len(of_symbols)
        settled += [one for one in members if one.symbol is None]
        settled += of_symbols[:most]
        if rest := of_symbols[most:]:
            examples = tuple({"symbol": one.symbol, **row} for one in rest for row in one.examples)
            settled.append(
                replace(
                    rest[0],
                    symbol=None,
                    count=sum(one.count for one in rest),
                    examples=examples[:EXAMPLES],
                )
            )
    return sorted(settled, key=_order)


def _order(result: ValidationResult) -> tuple[Any, ...]:
    return (
        result.allowed is not None,
        result.severity != ERROR,
        result.rule,
        result.data_type,
        result.session or date.min,
        -result.count,
        result.symbol or "",
    )


_SESSIONS = pa.schema(
    [
        ("session", pa.date32()),
        ("open_ns", pa.int64()),
        ("close_ns", pa.int64()),
        ("is_half_day", pa.bool_()),
    ]
)


def show_sessions(
    connection: duckdb.DuckDBPyConnection, first: date, last: date, *, to_all: bool = False
) -> None:
    """Make the table `sessions` that rules read: those from first to last.

    Args:
        to_all: to every connection of this DuckDB; else to this one alone.
    """
    hours = [vars(each) for each in trading_hours(first, last)]
    connection.register("calendar", pa.Table.from_pylist(hours, _SESSIONS))
    table = "table" if to_all else "temp table"
    connection.execute(f"create or replace {table} sessions as select * from calendar")
    connection.unregister("calendar")


def checked_as(data_type: str) -> str:
    """SQL that lets rules of several data types read as `checked` the one they are asked about."""
    return f"create or replace temp view {CHECKED} as select * from {data_type}"
