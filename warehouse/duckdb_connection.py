"""The one place where DuckDB is opened: a connection reaches what it was opened for and no more.

What a warehouse brings along (SQL files, views and macros of its catalog) is run, and may be a
stranger's. So every connection, a writer's too, is confined before any of it runs: it reads and
writes below the folders that it was given, fetches no extension, sees no variable of the caller's,
and nothing of this can be changed any more. DuckDB resolves links itself: one that leads out of
the folders is refused, wherever in a path it stands; a folder that is given may be a link.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

_SETTINGS = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}


def connect(
    file: Path | None = None,
    *,
    read_only: bool = False,
    compatible_with: str | None = None,
    folders: Iterable[Path] = (),
    paths: Iterable[str] = (),
    attached: Mapping[str, Path] | None = None,
    spill: Path | None = None,
    threads: int | None = None,
    memory_bytes: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB, confined and locked; its time zone is UTC. Close it, or use `with`.

    Args:
        file: the database; None: one in memory.
        compatible_with: the earliest DuckDB that is to open a file that is made.
        folders: what may be read, and written by a statement that writes; they need not exist.
        paths: single files that may be, too.
        attached: databases by the name that they get, read-only. They are opened before the
            connection is confined: their own files need not be in `folders`.
        spill: where it puts what does not fit into memory; None: nowhere.
        threads: how many it may use; None: all cores.
        memory_bytes: its memory limit; None: DuckDB's own.

    Raises:
        duckdb.Error: the file, or one that is attached, cannot be opened.
    """
    settings: dict[str, Any] = {**_SETTINGS, "temp_directory": "" if spill is None else str(spill)}
    if threads is not None:
        settings["threads"] = threads
    if memory_bytes is not None:
        settings["memory_limit"] = f"{memory_bytes}B"
    if compatible_with is not None:
        settings["storage_compatibility_version"] = compatible_with
    connection = duckdb.connect(
        ":memory:" if file is None else str(file), read_only=read_only, config=settings
    )
    try:
        connection.execute("set global TimeZone = 'UTC'")
        # In an interactive Python, and with `python -c`, DuckDB would print one to standard output.
        connection.execute("set enable_progress_bar = false")
        for name, path in (attached or {}).items():
            connection.execute(f"attach {quoted(path)} as {name} (read_only)")
        # The order matters: once external access is off nothing more can be allowed, and once the
        # configuration is locked, nothing be set.
        connection.execute(f"set allowed_directories = {_list(_resolved(folders))}")
        connection.execute(f"set allowed_paths = {_list(paths)}")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def quoted(path: Path | str) -> str:
    """A path (or any text) as a literal of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _resolved(folders: Iterable[Path]) -> list[str]:
    """Each folder as it is named, without links above it, and without any.

    DuckDB resolves what is there alone. A list of files is one of patterns, which it looks at
    before it expands them.
    """
    found: dict[str, None] = {}
    for folder in folders:
        above = os.path.join(os.path.realpath(folder.parent), folder.name)
        for name in (os.fspath(folder), above, os.path.realpath(folder)):
            found |= dict.fromkeys((name, re.sub(r"([*?\[])", r"[\1]", name)))
    return list(found)


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(quoted(text) for text in texts)}]"
