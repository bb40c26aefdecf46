"""Files without rows, of which the views of the catalog take their columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core import datatypes
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import REFERENCE_TABLES, Layout, sync_folder
from warehouse.core.small_files import plain
from warehouse.errors import one_line
from warehouse.store import manifests
from warehouse.store.publishing.set_aside import make_way
from warehouse.store.reference import reference_files


def write(layout: Layout, kinds: Iterable[str] = DATA_TYPES, *, shared: bool = True) -> None:
    """A file without rows for each view, which takes its columns from it.

    Args:
        kinds: data types that there are views of.
        shared: those of the other views as well.
    """
    layout.check_own(layout.schema)
    layout.modes.make_folder(layout.schema)
    for name, columns in _schemas(kinds, shared=shared).items():
        _write_schema(layout, layout.schema / f"{name}.parquet", columns)


def _write_schema(layout: Layout, path: Path, columns: pa.Schema) -> bool:
    """Write a file without rows, unless it is there.

    Returns:
        Whether it was not.
    """
    if problem_of(path) is None and _has_columns(path, columns):
        return False
    make_way(layout, [path])
    # Beside it: the folder may stand on another disk.
    draft = path.with_name(f".{path.name}.new")
    # A link that a stranger has put there would lead the rows elsewhere.
    draft.unlink(missing_ok=True)
    pq.write_table(columns.empty_table(), draft, store_schema=False)
    layout.modes.settle(draft)
    os.replace(draft, path)
    return True


def write_cuts(layout: Layout, cuts: Mapping[str, str]) -> list[Path]:
    """A file without rows for each data type that has sessions in several files.

    Returns:
        Those of how they were cut before, which go with the catalog that names them.
    """
    due = {layout.schema_of_cut(kind, cut): kind for kind, cut in cuts.items()}
    for path, kind in due.items():
        if _write_schema(layout, path, datatypes.data_type(kind).columns):
            # The catalog that names it will survive a power cut.
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            sync_folder(path.parent)
    return [path for path in layout.schemas_of_cuts() if path not in due]


def listed(
    layout: Layout, kinds: Iterable[str] = DATA_TYPES, *, with_reference: bool
) -> list[Path]:
    """The files without rows that the views take their columns from.

    Args:
        kinds: data types that there are views of.
        with_reference: those of the reference tables, which an earlier version had not, as well.
    """
    names = [name for name in _schemas(kinds) if with_reference or name not in REFERENCE_TABLES]
    return [layout.schema / f"{name}.parquet" for name in names]


def problem_of(path: Path) -> str | None:
    """What is wrong with such a file; that of an earlier version has fewer columns."""
    if path.is_symlink():
        return "it is a link"
    try:
        with pq.ParquetFile(plain(path)) as file:
            rows = file.metadata.num_rows
    except FileNotFoundError:
        return "missing"
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read: {one_line(error, 200)}"
    return "it has rows, and gives views their columns alone" if rows else None


def _has_columns(path: Path, columns: pa.Schema) -> bool:
    return bool(pq.read_schema(path).remove_metadata().equals(columns))


def _schemas(kinds: Iterable[str], *, shared: bool = True) -> dict[str, pa.Schema]:
    columns = {name: datatypes.data_type(name).columns for name in kinds}
    if not shared:
        return columns
    others = {"rejects": all_rejects(), "partitions": manifests.SCHEMA}
    return {**columns, **others, **reference_files.SCHEMAS}


def all_rejects() -> pa.Schema:
    """The columns of the rejects of all data types."""
    return pa.unify_schemas([kind.rejects_columns for kind in DATA_TYPES.values()])
