"""Whether a corporate action counts: the rules of sql/reference, asked about tables in memory.

Tables of the vendor's exports are known to name splits twice, with wrong ratios, or of another
security that bore the ticker before. So each row gets a verdict and the reason for it. It is made
where an export is loaded, and made again where it is asked for, for new data may have come; never
while somebody reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.bars.action_prices import Tape
from warehouse.core.duckdb_connection import connect
from warehouse.errors import SqlFileError, one_line
from warehouse.sqlfolder.files import SqlFile, SqlFolder
from warehouse.sqlfolder.select_check import check_file
from warehouse.store.reference.reference_files import SCHEMAS

SMALL = 0.05
"""A ratio whose logarithm is smaller cannot be told from a day's move of the price."""


def borne(sql: SqlFolder, securities: pa.Table) -> pa.Table:
    """The table of securities, with the last session of each symbol.

    Args:
        securities: as an `Export` has its rows.

    Raises:
        SqlFileError: sql/reference/securities fails, or gives other columns.
    """
    with connect(threads=1) as connection:
        connection.register("borne", securities)
        return _asked(connection, sql.or_shipped("reference/securities"))


def judged(
    sql: SqlFolder, splits: pa.Table, dividends: pa.Table, tape: Tape
) -> dict[str, pa.Table]:
    """The splits and dividends with their verdicts, in an order that follows from their rows.

    Args:
        splits, dividends: as an `Export` has the rows of each table.
        tape: what is held of their days.

    Returns:
        Table → its rows, as `SCHEMAS` has them.

    Raises:
        SqlFileError: a file of sql/reference fails, or gives other columns.
    """
    shown = {
        "splits": splits,
        "dividends": dividends,
        "days": tape.days,
        "subjects": tape.subjects,
        "prices": tape.prices,
        "held": pa.table({"symbol": pa.array(sorted(tape.symbols), pa.string())}),
    }
    with connect(threads=1) as connection:
        for name, table in shown.items():
            connection.register(name, table)
        found = {"splits": _asked(connection, sql.or_shipped("reference/splits"), small=SMALL)}
        connection.register("splits", found["splits"])
        found["dividends"] = _asked(connection, sql.or_shipped("reference/dividends"))
    return found


def _asked(connection: duckdb.DuckDBPyConnection, file: SqlFile, **values: Any) -> pa.Table:
    check_file(connection, file)
    schema = SCHEMAS[file.name.partition("/")[2]]
    try:
        return connection.sql(file.body, params=values).to_arrow_table().cast(schema)
    except (duckdb.Error, ValueError, pa.ArrowException) as error:
        raise SqlFileError(file.path, one_line(error)) from error


def kind_of(problem: str) -> str:
    """What a verdict is called, as `tape` or `never held`."""
    return problem.partition(":")[0]


def facts(table: str, rows: pa.Table) -> pa.Table:
    """The columns of a reference table that an export fills, without the verdicts."""
    return rows.select([name for name in rows.column_names if name not in _VERDICTS[table]])


_VERDICTS: Mapping[str, frozenset[str]] = {
    "splits": frozenset({"price_factor", "size_factor", "counts", "problem"}),
    "dividends": frozenset({"close_before", "price_factor", "counts", "problem"}),
    "securities": frozenset({"last_session"}),
}
