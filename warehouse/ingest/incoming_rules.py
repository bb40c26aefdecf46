"""Rows on their way into partitions, asked by the rules that are asked on every ingest.

Who builds partitions hands over the new rows as they are written. They are pooled until there are
enough to be worth a question, and asked where they are: whole symbols always, so that a rule may
look at all that a session brought. A symbol that is larger than a pool has a table of its own,
which DuckDB may put on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Lock

import duckdb
import pyarrow as pa

from warehouse.core.calendar import last_day_of_month
from warehouse.core.config import ValidationConfig
from warehouse.core.datatypes import DataType
from warehouse.ingest.cleaning import Cleaner
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.rule_file import BrokenRule, Rule
from warehouse.store.publishing.catalog_sql import make_reference
from warehouse.validation.evaluate import (
    Evaluation,
    ValidationResult,
    checked_as,
    show_sessions,
)

_POOL_ROWS = 500_000
_ALWAYS = ("symbol", "timestamp", "session")
_REFERENCE = frozenset(("trade_conditions", "quote_conditions", "exchanges"))


@dataclass
class Taken:
    """The new rows of a symbol that has many, as they come: `add` them, then `done`."""

    incoming_rules: IncomingRules
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    connection: duckdb.DuckDBPyConnection | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch.select(self.incoming_rules.columns))
        self.rows += batch.num_rows
        if self.rows >= _POOL_ROWS:
            self._store()

    def _store(self) -> None:
        """Put what is held into the symbol's own table."""
        if self.connection is None:
            self.connection = self.incoming_rules.connect()
        self.incoming_rules.fill(self.connection, self.batches)
        self.batches, self.rows = [], 0

    def done(self) -> None:
        """All rows have come."""
        if self.connection is None:
            self.incoming_rules.take(pa.Table.from_batches(self.batches))
            return
        self._store()
        with self.connection:
            self.incoming_rules.judge(self.connection)


class IncomingRules:
    """Asks the rules of one batch of incoming rows.

    Args:
        kind: the data type.
        month: the batch's month; `sessions` are those of it.
        rules: those that are asked on ingest of this data type.
        conditions: the table of trade conditions.
        cleaner: its DuckDB is used, within its limits; it may read that and the lists of config/.
    """

    def __init__(
        self,
        kind: DataType,
        month: date,
        rules: Sequence[Rule],
        config: ValidationConfig,
        sql: SqlFolder,
        config_dir: Path,
        conditions: Path,
        cleaner: Cleaner,
    ) -> None:
        self._kind, self._rules, self._cleaner = kind, rules, cleaner
        self.columns = _columns(kind, rules)
        self._evaluation = Evaluation(config)
        self._lock = Lock()
        self._waiting: list[pa.Table] = []
        self._found: list[ValidationResult] = []
        self.asked = 0
        """How often the rules were asked, each time of some of the symbols."""
        reads = frozenset().union(*(rule.reads for rule in rules))
        with cleaner.cursor() as connection:
            if reads & _REFERENCE:
                make_reference(connection, sql, config_dir, conditions)
            if "sessions" in reads:
                show_sessions(connection, month, last_day_of_month(month), to_all=True)

    @property
    def broken(self) -> list[BrokenRule]:
        """Rules that failed when they were asked: the rows are not lost for a rule's fault."""
        return list(self._evaluation.broken.values())

    def begin(self) -> Taken:
        """A symbol's rows begin to come that are too many to be taken at once."""
        return Taken(self)

    def take(self, rows: pa.Table) -> None:
        """Take new rows of whole symbols at once; ask the rules once there are enough."""
        with self._lock:
            self._waiting.append(rows.select(self.columns))
            if sum(table.num_rows for table in self._waiting) < _POOL_ROWS:
                return
            waiting, self._waiting = self._waiting, []
        self._judge_rows(pa.concat_tables(waiting))

    def finish(self) -> list[ValidationResult]:
        """What was found, of all symbols."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if waiting:
            self._judge_rows(pa.concat_tables(waiting))
        return self._found

    def _judge_rows(self, rows: pa.Table) -> None:
        """Ask the rules of rows where they are: to copy them takes half as long as to ask."""
        with self._cleaner.cursor() as connection:
            # DuckDB takes a large batch three times as fast as as many rows in small ones.
            connection.register(self._kind.name, rows.combine_chunks())
            connection.execute(checked_as(self._kind.name))
            self.judge(connection)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with an empty table of the data type, which no other connection sees."""
        connection = self._cleaner.cursor()
        connection.register("incoming", self._kind.fields(self.columns).empty_table())
        connection.execute(f"create temp table {self._kind.name} as select * from incoming")
        connection.execute(checked_as(self._kind.name))
        connection.unregister("incoming")
        return connection

    def fill(self, connection: duckdb.DuckDBPyConnection, batches: list[pa.RecordBatch]) -> None:
        """Append rows to the table, in their order."""
        if batches:
            connection.register("incoming", pa.Table.from_batches(batches).combine_chunks())
            connection.execute(f"insert into {self._kind.name} select * from incoming")
            connection.unregister("incoming")

    def judge(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Ask every rule of the table; keep what it finds."""
        found = list(self._evaluation.ask(connection, self._rules, self._kind.name))
        with self._lock:
            self._found += found
            self.asked += 1


def _columns(kind: DataType, rules: Sequence[Rule]) -> list[str]:
    """The columns that the rules may see: to copy the others would take as long as to ask."""
    return [
        name
        for name in kind.columns.names
        if name in _ALWAYS or any(rule.may_see(name) for rule in rules)
    ]
