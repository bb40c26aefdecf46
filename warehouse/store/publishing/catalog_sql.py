"""The files of sql/catalog: which of them make the catalog, and how one is run."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import duckdb

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import quoted
from warehouse.core.paths import Layout, glob_literal, shipped
from warehouse.errors import SqlFileError, StorageError, one_line
from warehouse.sqlfolder.bars.bar_file import FOLDER as BARS
from warehouse.sqlfolder.catalog_statements import check_statements, macros_of
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.sqlfolder.files import SqlFile, SqlFolder, as_text, come_with_us
from warehouse.store.reference import reference_lists

REFERENCE_VIEWS = ("reference_files", "corporate_actions")
"""Files of sql/catalog that show what is loaded of corporate actions, in the order of making."""
KEPT_BARS, AS_SHIPPED = "kept_bars", "bars_1m"
"""The file that makes views of kept bars, and the data type that it names."""
_LATER = ("files", "partitions", *REFERENCE_VIEWS, "adjustment", "bars", KEPT_BARS)
# What the files of sql/catalog said before there was files.sql: a user may have edited one.
_PATTERNS = [
    (
        re.compile(rf"'data/cache/{kind}/' \|\| path_name\(symbol\) \|\| '/\*\.parquet'"),
        f"{kind}_files_of(symbol)",
    )
    for kind in DATA_TYPES
]
_PATTERNS += [
    (
        re.compile(
            rf"\[\s*'data/schema/{kind}\.parquet',\s*'data/cache/{kind}/\*/\*\.parquet'\s*\]"
        ),
        f"{kind}_files()",
    )
    for kind in DATA_TYPES
]
_PATTERNS += [(re.compile(r"'data/rejects/\*/\*/\*\.parquet'"), "rejects_files()")]
# What reference.sql said before rules of trade conditions had dates.
_UNDATED = re.compile(r"('updates_volume':\s*'BOOLEAN')\s*\}")
_DATED = r"\1, 'valid_from': 'DATE', 'valid_to': 'DATE'}, null_padding = true"


def makers(sql: SqlFolder) -> list[SqlFile]:
    """The files of sql/catalog that make tables, views and macros, in the order of making."""
    names = ["tables", "reference", "path_name", "files", "partitions"]
    names += [*REFERENCE_VIEWS, "adjustment"]
    names += [*DATA_TYPES, "rejects", "outliers"]
    if has_features(sql):
        names.append("features")
    return [catalog_file(sql, name) for name in names]


def made_of(sql: SqlFolder) -> str:
    """SHA-256 of the files that views and macros are made of now, but for those of features."""
    bars = sorted(path.stem for path in (come_with_us().folder / BARS).glob("*.sql"))
    texts = [*(file.text for file in makers(sql)), sql.or_shipped("catalog/bars").text]
    for bar in bars:
        try:
            texts.append(sql.or_shipped(f"{BARS}/{bar}").text)
        except SqlFileError:
            # Its macros are left out, and that is told.
            texts.append("")
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def macros(sql: SqlFolder) -> frozenset[str]:
    """Names of the macros that the files of sql/catalog make."""
    names = (_names_of(sql.folder) & _names_of(shipped("sql"))) | {*_LATER}
    return macros_of(catalog_file(sql, name) for name in sorted(names))


def _names_of(folder: Path) -> set[str]:
    return {as_text(path) for path in (folder / "catalog").glob("[!.]*.sql")}


def not_read(sql: SqlFolder) -> list[str]:
    """Names of files of sql/catalog that nobody reads: the catalog is made of those that ship."""
    return sorted(_names_of(sql.folder) - _names_of(shipped("sql")))


def make_reference(
    connection: duckdb.DuckDBPyConnection, sql: SqlFolder, config_dir: Path, conditions: Path
) -> None:
    """Make the tables trade_conditions, quote_conditions and exchanges in any database.

    Args:
        conditions: the table of trade conditions, which need not lie in config/.

    Raises:
        SqlFileError: sql/catalog/reference.sql or a file of config/ fails.
        ConfigError: a list in config/ is too large, no file, or malformed: with its line.
    """
    reference_lists.check(sql, config_dir, conditions)
    run(connection, sql, "reference", None, config_dir, conditions)
    if reference_lists.are_read_as_shipped(sql):
        return
    tables = "select table_name from duckdb_tables() where database_name = current_database()"
    if ("trade_conditions",) in connection.execute(tables).fetchall():
        # Where its SQL is of an earlier version, and somebody's own.
        for name in ("valid_from", "valid_to"):
            connection.execute(f"alter table trade_conditions add column if not exists {name} date")


def features(sql: SqlFolder) -> dict[str, str]:
    """The text of each feature's file, by name, as the catalog would have it now."""
    return FeatureFolder(sql.folder).texts() if has_features(sql) else {}


def broken_features(sql: SqlFolder) -> list[SqlFileError]:
    """What keeps a feature out of the catalog, for each that does not keep the conventions."""
    if not has_features(sql):
        return []
    return [found for found in FeatureFolder(sql.folder) if isinstance(found, SqlFileError)]


def has_features(sql: SqlFolder) -> bool:
    """Whether it says how features come into the catalog, as one of an earlier version does not."""
    return (sql.folder / "catalog/features.sql").exists()


def run(
    connection: duckdb.DuckDBPyConnection,
    sql: SqlFolder,
    name: str,
    layout: Layout | None,
    config_dir: Path,
    conditions: Path | None = None,
    length: str | None = None,
) -> None:
    """Run sql/catalog/<name>.sql, its paths made absolute.

    In the file they start at the warehouse's folder, where the shell can run it as it stands; in
    the catalog they must not depend on the reader's working directory.
    """
    file = catalog_file(sql, name)
    check_statements(connection, file, macros(sql))
    text = file.body
    if length is not None:
        text = text.replace(AS_SHIPPED, length)
    if conditions is not None:
        text = text.replace(
            "'config/trade_conditions.csv'", f"'{glob_literal(Path(os.path.realpath(conditions)))}'"
        )
        text = _UNDATED.sub(_DATED, text)
    text = text.replace("'config/", f"'{glob_literal(config_dir)}/")
    for pattern, files in _PATTERNS:
        text = pattern.sub(files, text)
    if layout is not None:
        text = (
            text.replace("'data/cache/", f"'{glob_literal(layout.cache)}/")
            .replace("'data/schema/", f"{quoted(layout.schema)[:-1]}/")
            .replace("'data/rejects/", f"'{glob_literal(layout.rejects)}/")
        )
    try:
        connection.execute(text)
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise StorageError(
                layout.data if layout else config_dir, f"cannot hold the catalog: {one_line(error)}"
            ) from error
        raise SqlFileError(file.path, one_line(error)) from error


def catalog_file(sql: SqlFolder, name: str) -> SqlFile:
    """A file of sql/catalog. A folder made by an earlier version has not all that there are now."""
    return sql.or_shipped(f"catalog/{name}") if name in _LATER else sql[f"catalog/{name}"]
