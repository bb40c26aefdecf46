"""The user's own DuckDB shell, on the catalog, read-only."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from warehouse.core.paths import Layout
from warehouse.errors import DamagedCatalogError, NoDataError, StorageError
from warehouse.store.catalog import Catalog, check_not_lost
from warehouse.store.catalog_tables import place

HOW_TO_GET = "get the DuckDB shell with: pip install duckdb-cli (or from duckdb.org)"


def find_shell() -> str | None:
    """The `duckdb` on the PATH, or beside the Python that runs this."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("duckdb") or shutil.which("duckdb", path=beside)


def shell_arguments(layout: Layout, arguments: Sequence[str], warehouse: str) -> list[str]:
    """What the shell is called with, its own name left out.

    Args:
        warehouse: how a command names the warehouse: `warehouse -C demo`.

    Raises:
        NoDataError: there is no catalog yet.
        DamagedCatalogError: there is none any more, or it is another warehouse's.
    """
    check_not_lost(layout)
    if not layout.catalog.exists():
        raise NoDataError(
            str(layout.catalog), "nothing has been ingested yet", f"start with: {warehouse} update"
        )
    try:
        Catalog(layout).close()
    except DamagedCatalogError:
        # Or another warehouse's.
        raise
    except StorageError:
        # Of another version, or held: the shell says for itself what it can do with it.
        pass
    # Where the warehouse was moved, its views read what stands here all the same.
    adapted = [part for statement in place(layout) for part in ("-cmd", f"{statement};")]
    return ["-readonly", *adapted, str(layout.catalog), *arguments]
