"""What the tables of a catalog must be, for one that is found may be damaged, or a stranger's.

Where a table is expected a view would be asked in its place, and could say anything, of any file
that may be read. A column of another kind, or none, would end in the middle of an answer.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from warehouse.errors import DamagedCatalogError

CATALOG_FORMAT = 4

_SESSIONS = (
    'STRUCT("session" DATE, "rows" BIGINT, rejects BIGINT, "source" VARCHAR, etag VARCHAR,'
    " sha256 VARCHAR, fingerprint VARCHAR)[]"
)
REQUIRED = {
    "warehouse": {
        "VARCHAR": "data_folder written_by",
        "BIGINT": "generation",
        "INTEGER": "catalog_format",
        "TIMESTAMP": "written_at",
    },
    "partitions": {
        "VARCHAR": "data_type symbol path sha256 fingerprint",
        "BIGINT": "rows bytes",
        "DATE": "month",
        "TIMESTAMP_NS": "first_timestamp last_timestamp",
        _SESSIONS: "sessions",
    },
    "source_files": {
        "VARCHAR": "data_type symbol source state problem etag sha256 vouched_by"
        " fingerprint run_id",
        "BIGINT": "bytes lines rows_published rows_rejected rows_unselected raw_modified_ns"
        " raw_inode",
        "DATE": "day",
        "TIMESTAMP": "recorded_at",
        "MAP(VARCHAR, BIGINT)": "rejects_by_reason",
        "VARCHAR[]": "symbols",
    },
    "runs": {
        "VARCHAR": "run_id command state problem version",
        "DOUBLE": "download_time processing_time cache_hit_rate seconds cpu_seconds",
        "BIGINT": "records_processed errors_count memory_usage files_here files_fetched"
        " bytes_fetched retries files files_set_aside lines rows_published rows_rejected"
        " rows_unselected partitions bytes_read bytes_written peak_memory_bytes",
        "TIMESTAMP": "started_at",
    },
    "restatements": {
        "VARCHAR": "data_type symbol source earlier_etag earlier_sha256 etag sha256 run_id",
        "BIGINT": "earlier_rows rows_published",
        "DATE": "day",
        "TIMESTAMP": "restated_at",
    },
    "findings": {
        "VARCHAR": "run_id rule severity data_type symbol examples allowed",
        "BIGINT": "count",
        "DATE": "session",
        "TIMESTAMP": "checked_at",
    },
    "features": {
        "VARCHAR": "name description parameters lookback grain columns source problem sql",
    },
}
"""Table → type → columns. A later column may be lacking: it is NULL once the catalog is carried
over. What is here was there in every catalog of this format."""

_OPTIONAL = {"features"}


def check_tables(connection: duckdb.DuckDBPyConnection, database: str, path: Path) -> None:
    """Refuse an attached catalog whose tables are none, or not those that this version writes.

    Of a catalog of another format only this is said: that what has a table's name is one.

    Raises:
        DamagedCatalogError: names what is wrong.
        duckdb.Error: it cannot be read.
    """
    found = connection.execute(
        "select table_name from duckdb_tables() where database_name = ? and schema_name = 'main'",
        [database],
    ).fetchall()
    tables = {name for (name,) in found}
    if "warehouse" in tables:
        columns = _columns(connection, database, "warehouse")
        if columns.get("catalog_format") == "INTEGER":
            asked = f"select max(catalog_format) from {database}.main.warehouse"
            ((form,),) = connection.execute(asked).fetchall()
            if form != CATALOG_FORMAT:
                _check_no_views(connection, database, path, tables)
                return
    for name, types in REQUIRED.items():
        if name not in tables:
            _check_no_views(connection, database, path, tables)
            if name in _OPTIONAL:
                continue
            raise DamagedCatalogError(path, f"it has no table {name}")
        columns = _columns(connection, database, name)
        for kind, names in types.items():
            for column in names.split():
                if columns.get(column) != kind:
                    is_what = columns.get(column, "missing")
                    raise DamagedCatalogError(
                        path, f"{column} of its table {name} is {is_what}, not {kind}"
                    )


def _columns(connection: duckdb.DuckDBPyConnection, database: str, table: str) -> dict[str, str]:
    relation = connection.sql(f"from {database}.main.{table}")
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _check_no_views(
    connection: duckdb.DuckDBPyConnection, database: str, path: Path, tables: set[str]
) -> None:
    views = connection.execute(
        "select view_name from duckdb_views() where database_name = ?", [database]
    ).fetchall()
    for (name,) in views:
        if name in REQUIRED and name not in tables:
            raise DamagedCatalogError(path, f"its {name} is a view and no table")
