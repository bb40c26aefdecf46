"""One rule asked of the rows at hand, and what it answers, by symbol and session."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.core.calendar import SessionHours
from warehouse.core.config import ValidationConfig
from warehouse.core.datatypes import earlier_form
from warehouse.core.duckdb_connection import interruptible
from warehouse.core.representation import Face
from warehouse.errors import SqlFileError, StorageError, one_line
from warehouse.sqlfolder.allow_list import Allowance, reason_for
from warehouse.sqlfolder.rule_file import ERROR, Rule
from warehouse.store.catalog import Finding

EXAMPLES = 3
"""So many offending rows of a symbol and session are kept."""

NAMED_SYMBOLS = 50
"""So many symbols of a session are told one by one, those with the most offending rows."""

_COLUMNS = ("symbol", "session", "timestamp")


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


def ask(
    connection: duckdb.DuckDBPyConnection, rule: Rule, data_type: str, config: ValidationConfig
) -> list[ValidationResult]:
    """What the rule finds in the tables that the connection sees.

    Raises:
        SqlFileError: it fails, or lacks one of the columns it must have.
        StorageError: a file of the warehouse cannot be read, or memory and disk do not suffice.
    """
    values = {name: getattr(config, name) for name in rule.file.parameters}
    try:
        columns = connection.sql(rule.file.body, params=values).columns
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise SqlFileError(
                rule.file.path,
                f"returns no {', '.join(missing)}; a rule returns {', '.join(_COLUMNS)} and more",
            )
        count = "sum(row_count)::bigint" if "row_count" in columns else "count(*)"
        # The smallest rows: those of the earliest stamps, and always the same.
        by_place = (
            f"select symbol, session, {count} as found,"
            f" to_json(min(offending, {EXAMPLES}))::varchar as examples"
            f" from (\n{rule.file.body}\n) as offending group by symbol, session"
        )
        answer = interruptible(
            connection, lambda: connection.sql(by_place, params=values).fetchall()
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
    return [
        ValidationResult(
            rule.severity, rule.name, data_type, symbol, session, count, _examples(examples)
        )
        for symbol, session, count, examples in answer
    ]


def _examples(text: str) -> tuple[dict[str, Any], ...]:
    # JSON has no infinity; DuckDB writes one all the same.
    rows = json.loads(text, parse_constant=lambda name: None)
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


def sessions_table(hours: Iterable[SessionHours]) -> pa.Table:
    """The table `sessions` that rules read."""
    return pa.Table.from_pylist([vars(each) for each in hours], _SESSIONS)
