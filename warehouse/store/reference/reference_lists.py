"""The lists of config/ that the catalog's reference tables are made of, looked at before DuckDB."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from warehouse.core.small_files import check_small, read_small
from warehouse.errors import ConfigError, one_line
from warehouse.sqlfolder.bars import condition_table
from warehouse.sqlfolder.bars.condition_table import MOST_ID, is_id
from warehouse.sqlfolder.files import SqlFolder, come_with_us

LISTS = {
    "quote_conditions": ("id,type,name", False),
    "exchanges": ("id,mic,participant_id,type,name", True),
}
"""List → its header, which sql/catalog/reference.sql passes over, and whether an id stands in it
once: the vendor has two quote conditions of id 30. The list of trade conditions has a module of its
own, `condition_table`."""


def check(sql: SqlFolder, config_dir: Path, conditions: Path) -> pa.Table | None:
    """Look at the lists of config/ before DuckDB reads them.

    Returns:
        The rules that the next catalog will have, as `present_conditions`.

    Raises:
        ConfigError: one is too large, no file, or malformed: with its line.
    """
    present = present_conditions(sql, conditions)
    for path in sorted({*config_dir.glob("*.csv")} - {conditions}):
        try:
            check_small(path)
        except (OSError, ValueError) as error:
            raise ConfigError(
                path, ConfigError.WHOLE, None, f"cannot be read: {one_line(error)}"
            ) from error
    if are_read_as_shipped(sql):
        for name, (header, is_unique) in LISTS.items():
            _check_list(config_dir / f"{name}.csv", header.split(","), is_unique=is_unique)
    return present


def present_conditions(sql: SqlFolder, conditions: Path) -> pa.Table | None:
    """The rules that the next catalog will have, as `condition_table.read`.

    None: sql/catalog/reference.sql is the user's own, and alone knows how to read them.

    Raises:
        ConfigError: the table is malformed.
    """
    return condition_table.read(conditions) if are_read_as_shipped(sql) else None


def are_read_as_shipped(sql: SqlFolder) -> bool:
    """Whether the lists are read as shipped: who has other columns reads them otherwise."""
    return sql["catalog/reference"].body == come_with_us()["catalog/reference"].body


def _check_list(path: Path, names: Sequence[str], *, is_unique: bool) -> None:
    """Refuse a list that is not what the shipped one is, before anything rests on it.

    Args:
        names: its first line: columns are read by their places.
        is_unique: no two lines have one id; rows would be joined to both.
    """
    try:
        reader = csv.reader(io.StringIO(read_small(path), newline=""), strict=True)
        lines = [(reader.line_num, fields) for fields in reader if fields]
    except FileNotFoundError:
        raise ConfigError(
            path,
            ConfigError.WHOLE,
            None,
            "is missing; `warehouse init DIR` adds the one that is shipped",
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(
            path, ConfigError.WHOLE, None, f"cannot be read: {one_line(error)}"
        ) from error
    header = ",".join(names)
    if not lines or lines[0][1] != names:
        found = ",".join(lines[0][1]) if lines else ""
        raise ConfigError(path, "line 1", found, f"it must be {header}")
    seen: dict[int, int] = {}
    for line, fields in lines[1:]:
        told = ",".join(fields)
        if len(fields) != len(names):
            problem = f"it must have {len(names)} fields: {header}"
            raise ConfigError(path, f"line {line}", told, problem)
        row = dict(zip(names, fields, strict=True))
        if not is_id(row["id"]):
            problem = f"it must be a whole number from 0 to {MOST_ID}"
            raise ConfigError(path, f"line {line}, id", row["id"], problem)
        other = seen.setdefault(int(row["id"]), line)
        if is_unique and other != line:
            raise ConfigError(path, f"line {line}, id", row["id"], f"line {other} has it too")
