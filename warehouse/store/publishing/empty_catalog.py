"""The catalog without rows of its own: made once, and kept for the next publish of a process."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import REFERENCE_TABLES, Layout
from warehouse.core.small_files import plain
from warehouse.sqlfolder import feature_macro
from warehouse.sqlfolder.bars import bar_macro
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.sqlfolder.files import SqlFolder, come_with_us
from warehouse.store.catalog_tables import MADE_OF, WAREHOUSE_ID
from warehouse.store.publishing import catalog_sql, file_names
from warehouse.store.reference import reference_lists

Contents = tuple[str | bytes, ...]
_frames: dict[Contents, bytes] = {}
"""Catalogs without rows of their own, as they stand on disk, by what they were made of."""
_MOST_FRAMES = 4


def contents(sql: SqlFolder, config_dir: Path, conditions: Path) -> Contents | None:
    """All that a catalog rests on, but for the rows of a warehouse and the place it stands in.

    Returns:
        The statements that make the macros of features and bars, what is said of the features, and
        the lists of config/. None: it rests on more, as where a file of sql/catalog is the user's
        own, who may read what he likes, or a feature cannot be made.

    Raises:
        ConfigError: a list in config/ cannot be read, or is malformed.
    """
    reference_lists.check(sql, config_dir, conditions)
    ours = come_with_us()
    names = [file.name for file in catalog_sql.makers(sql)] + ["catalog/bars"]
    if "catalog/features" not in names or any(
        sql.or_shipped(name).body != ours[name].body for name in names
    ):
        return None
    features = feature_macro.statements(FeatureFolder(sql.folder))
    bars = bar_macro.statements(BarFolder(sql))
    if features is None or bars is None:
        return None
    lists = [conditions, *(config_dir / f"{name}.csv" for name in reference_lists.LISTS)]
    try:
        return (*features, *bars, *(plain(path).read_bytes() for path in lists))
    except OSError:
        return None  # who makes it says why


def make(
    connection: duckdb.DuckDBPyConnection, sql: SqlFolder, layout: Layout, config_dir: Path
) -> bool:
    """Make the tables, views and macros of a catalog, which knows of nothing published yet.

    Returns:
        Whether each macro of features and bars could be made.
    """
    # By itself each statement would be a transaction, and an fsync.
    connection.begin()
    catalog_sql.run(connection, sql, "tables", layout, config_dir)
    # Where its SQL is of an earlier version.
    for name in (WAREHOUSE_ID, MADE_OF):
        connection.execute(f"alter table warehouse add column if not exists {name} varchar")
    catalog_sql.make_reference(connection, sql, config_dir, layout.trade_conditions)
    catalog_sql.run(connection, sql, "path_name", layout, config_dir)
    catalog_sql.run(connection, sql, "files", layout, config_dir)
    # Views are bound when they are made, over the files without rows.
    file_names.set_folder(connection, os.path.realpath(layout.data), layout.cache.name)
    catalog_sql.run(connection, sql, "partitions", layout, config_dir)
    for name in catalog_sql.REFERENCE_VIEWS:
        catalog_sql.run(connection, sql, name, layout, config_dir)
        if name == catalog_sql.REFERENCE_VIEWS[0]:
            for table in REFERENCE_TABLES:
                file_names.set_names(connection, table, "")
    catalog_sql.run(connection, sql, "adjustment", layout, config_dir)
    for name in (*DATA_TYPES, "rejects"):
        catalog_sql.run(connection, sql, name, layout, config_dir)
    catalog_sql.run(connection, sql, "outliers", layout, config_dir)
    if catalog_sql.has_features(sql):
        catalog_sql.run(connection, sql, "features", layout, config_dir)
    catalog_sql.run(connection, sql, "bars", layout, config_dir)
    connection.commit()
    are_whole = [_together(connection, partial(bar_macro.create, connection, BarFolder(sql)))]
    if catalog_sql.has_features(sql):
        folder = FeatureFolder(sql.folder)
        are_whole += [_together(connection, partial(feature_macro.create, connection, folder))]
    return all(are_whole)


def _together(connection: duckdb.DuckDBPyConnection, create: Callable[[], bool]) -> bool:
    """Make macros in one transaction; where one of them ends it for all, each in its own."""
    connection.begin()
    try:
        found = create()
    except duckdb.TransactionException:
        connection.rollback()
        return create()
    # A disk that refuses it has its own words; the transaction is over then.
    connection.commit()
    return found


def kept(contents: Contents | None) -> bytes | None:
    """The catalog that is made of these, as it stands on disk, where there is one."""
    return None if contents is None else _frames.get(contents)


def keep(connection: duckdb.DuckDBPyConnection, staged: Path, contents: Contents) -> None:
    """Keep it for the next publish of this process, which has but to fill it."""
    file_names.set_folder(connection, "", "")
    connection.execute("force checkpoint")
    if len(_frames) >= _MOST_FRAMES:
        _frames.clear()
    _frames[contents] = staged.read_bytes()
