"""The user's own DuckDB shell, on the catalog, read-only."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import duckdb

from warehouse.core.duckdb_connection import AttachedDatabase, is_beside_foreign_log
from warehouse.core.paths import Layout
from warehouse.errors import DamagedCatalogError, MovedCatalogError, NoDataError, StorageError
from warehouse.store import data_folder_id
from warehouse.store.catalog import Catalog, check_not_lost
from warehouse.store.catalog_tables import alone_as_opened, made_elsewhere, place

_SCRIPT_BYTES = 1024
HOW_TO_GET = "get the DuckDB shell with: pip install duckdb-cli (or from duckdb.org)"


def find_shell() -> str | None:
    """The `duckdb` on the PATH, or beside the Python that runs this.

    That of the package duckdb-cli is a script around the program: Ctrl-C, and a reader that goes,
    would end in its traceback. So it is the program itself.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("duckdb") or shutil.which("duckdb", path=beside)
    if found is None or not _is_of_package(found):
        return found
    package = find_spec("duckdb_cli")
    if package is None or package.origin is None:
        return found
    return shutil.which(str(Path(package.origin).with_name("duckdb"))) or found


def _is_of_package(program: str) -> bool:
    with suppress(OSError), open(program, "rb") as file:
        return b"duckdb_cli" in file.read(_SCRIPT_BYTES)
    return False


def shell_arguments(layout: Layout, arguments: Sequence[str]) -> list[str]:
    """What the shell is called with, its own name left out.

    Raises:
        NoDataError: there is no catalog yet.
        DamagedCatalogError: there is none any more, or it is another warehouse's.
        StorageError: the user may not read it, or DuckDB does not open it where it is.
        MovedCatalogError: its views would answer with what stands where it was made.
    """
    check_not_lost(layout)
    refused = data_folder_id.unreadable(layout)
    if refused is not None:
        raise refused
    if not layout.catalog.exists():
        raise NoDataError(
            str(layout.catalog), "nothing has been ingested yet", "start with: warehouse update"
        )
    try:
        Catalog(layout).close()
    except DamagedCatalogError:
        # Or another warehouse's.
        raise
    except StorageError:
        # Of another version, or held: the shell says for itself what it can do with it.
        pass
    _check_log(layout)
    _check_place(layout)
    # Where the warehouse was moved, its views read what stands here all the same.
    statements = [*place(layout), alone_as_opened(layout)]
    adapted = [part for statement in statements for part in ("-cmd", f"{statement};")]
    return ["-readonly", *adapted, str(layout.catalog), *arguments]


def _check_log(layout: Layout) -> None:
    with suppress(duckdb.Error):
        if is_beside_foreign_log(layout.catalog):
            problem = (
                "DuckDB opens none beside the log of another, and the one there,"
                f" {layout.catalog.name}.wal, was written by a duckdb that had a catalog before"
                " this one open without -readonly; set it aside with: warehouse update"
            )
            raise StorageError(layout.catalog, problem)


def _check_place(layout: Layout) -> None:
    # What cannot be opened here the shell cannot open either.
    with suppress(duckdb.Error):
        attached = AttachedDatabase("published", layout.catalog, layout.served)
        try:
            made_in = made_elsewhere(attached.connection, "published", layout)
        finally:
            attached.close()
        if made_in is not None:
            raise MovedCatalogError(layout.catalog, made_in)
