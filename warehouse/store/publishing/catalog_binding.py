"""Looks whether all that the files of sql/catalog make can be asked, before it is published."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import connect
from warehouse.core.paths import REFERENCE_TABLES, Layout
from warehouse.errors import SqlFileError
from warehouse.sqlfolder.catalog_statements import PROBE, WRITERS, check_macros
from warehouse.sqlfolder.files import SqlFile, SqlFolder, come_with_us
from warehouse.store import manifests
from warehouse.store.publishing import catalog_sql, file_names, schema_files
from warehouse.store.reference import reference_files

_PROBE_SESSION = date(2000, 1, 3)
_MAKES = re.compile(
    r"create\s+(?:or\s+replace\s+)?(?:table|view|macro)\s+(?:if\s+not\s+exists\s+)?"
    r'(?:main\.)?"?(\w+)',
    re.IGNORECASE,
)
_MISSING = re.compile(r"with name (\w+) does not exist")
_bound: set[tuple[str, ...]] = set()


def check(layout: Layout, sql: SqlFolder, config_dir: Path) -> None:
    """Look whether all that the files of sql/catalog make can be asked.

    What is there yet does not tell: a view of what is not is made after the renames, when it is
    too late to fail, and a macro is looked into when it is asked. The same texts are bound once,
    and those that come with the project by its tests.

    Raises:
        SqlFileError: names the file.
    """
    files = catalog_sql.makers(sql)
    texts = tuple(file.body for file in files)
    ours = come_with_us()
    if texts in _bound or all(file.body == ours[file.name].body for file in files):
        return
    for file in files:
        _check_makes(file, ours[file.name])
    try:
        bind(layout, sql, config_dir, files)
    except SqlFileError as error:
        raise _of_its_maker(error, files) from error
    _bound.add(texts)


def _check_makes(file: SqlFile, ours: SqlFile) -> None:
    """Refuse a file that was emptied, or makes a table no more that writers fill."""
    if not file.body:
        problem = "holds no statement; delete it, and `warehouse init DIR` adds the one that ships"
        raise SqlFileError(file.path, problem)
    for name in sorted((_made_by(ours) & WRITERS) - _made_by(file)):
        raise SqlFileError(file.path, f"makes no {name} any more, a table that writers fill")


def _of_its_maker(error: SqlFileError, files: Sequence[SqlFile]) -> SqlFileError:
    """The error of a file, or of the one that makes no more what that asks for."""
    missing = _MISSING.search(error.problem)
    if missing is None:
        return error
    for file in files:
        name, ours = missing[1].lower(), come_with_us()[file.name]
        if name in _made_by(ours) and name not in _made_by(file):
            problem = f"makes no {name} any more, which {error.path.name} asks for"
            return SqlFileError(file.path, problem)
    return error


def _made_by(file: SqlFile) -> set[str]:
    return {match[1].lower() for match in _MAKES.finditer(file.body)}


def bind(layout: Layout, sql: SqlFolder, config_dir: Path, files: Sequence[SqlFile]) -> None:
    """Make what the files make, in their order, over partitions without rows, and bind it.

    Raises:
        SqlFileError: names the file.
    """
    folder = layout.staging / "bind"
    probe = replace(layout, cache=folder / "cache")
    layout.modes.make_folders(probe.schema)
    shared = {"rejects": schema_files.all_rejects(), "partitions": manifests.SCHEMA}
    for name, columns in (*shared.items(), *reference_files.SCHEMAS.items()):
        schema = probe.schema / f"{name}.parquet"
        pq.write_table(columns.empty_table(), schema, store_schema=False)
    for kind in DATA_TYPES.values():
        month = f"{_PROBE_SESSION:%Y_%m}"
        for path, columns in (
            (probe.schema / f"{kind.name}.parquet", kind.columns),
            (probe.cache / f"{kind.name}/{PROBE}/{month}.parquet", kind.columns),
            (probe.rejects / f"{kind.name}/{month}/{PROBE}.parquet", kind.rejects_columns),
        ):
            layout.modes.make_folders(path.parent)
            pq.write_table(columns.empty_table(), path, store_schema=False)
    with connect(
        folders=[*probe.served, config_dir],
        paths=layout.readable,
        threads=1,
    ) as connection:
        for file in files:
            name = file.name.removeprefix("catalog/")
            if name == "reference":
                catalog_sql.make_reference(connection, sql, config_dir, layout.trade_conditions)
                continue
            catalog_sql.run(connection, sql, name, probe, config_dir)
            if name == "path_name":
                # Who calls it would be named in its place.
                check_macros(connection, [file], catalog_sql.macros(sql))
            if name == "files":
                file_names.set_folder(connection, os.path.realpath(probe.data), probe.cache.name)
            if name == "reference_files":
                for table in REFERENCE_TABLES:
                    file_names.set_names(connection, table, "")
        for data_type in DATA_TYPES:
            file_names.set_names(connection, data_type, f"{PROBE} {_PROBE_SESSION:%Y_%m}")
        rejects = f"trades/{_PROBE_SESSION:%Y_%m}/{PROBE}.parquet"
        file_names.set_names(connection, "rejects", rejects)
        check_macros(connection, files, catalog_sql.macros(sql))
    shutil.rmtree(folder)
