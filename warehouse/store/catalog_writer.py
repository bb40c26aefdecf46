"""Writes the catalog: a new DuckDB file of tables, views and macros, beside the present one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.core import datatypes, process
from warehouse.core.calendar import sessions_table
from warehouse.core.datatypes import DATA_TYPES, SESSIONS, completed, is_kept_bars, with_bars
from warehouse.core.duckdb_connection import connect, macro_texts, quoted, within
from warehouse.core.file_state import FileState
from warehouse.core.paths import (
    REFERENCE_TABLES,
    Layout,
    PartitionKey,
    RawFile,
    encode_symbol,
    glob_literal,
    month_of,
    parse_partition,
    partition_name,
    shipped,
    sync_folder,
)
from warehouse.core.small_files import plain
from warehouse.errors import SqlFileError, StorageError, one_line
from warehouse.sqlfolder import feature_macro
from warehouse.sqlfolder.bars import bar_macro
from warehouse.sqlfolder.bars.bar_file import FOLDER as BARS
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.catalog_statements import (
    PROBE,
    WRITERS,
    check_macros,
    check_statements,
    macros_of,
)
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.sqlfolder.files import SqlFile, SqlFolder, as_text, come_with_us
from warehouse.store import data_folder_id, manifests
from warehouse.store.catalog import (
    CUT,
    CatalogChange,
    Checked,
    Finding,
    Reconciliation,
    Run,
    SourceFile,
    cut_in,
    cuts_told,
)
from warehouse.store.catalog_tables import (
    CATALOG_FORMAT,
    MADE_OF,
    WAREHOUSE_ID,
    check_tables,
    state_of,
)
from warehouse.store.manifests import Manifest
from warehouse.store.partitions import Partition
from warehouse.store.reference import reference_files, reference_lists

logger = logging.getLogger("warehouse")

# The shell on the package index is still 1.5: it must be able to open the file.
_COMPATIBLE_WITH = "v1.5.0"

_PROBE_SESSION = date(2000, 1, 3)
_SPAN = r"\d{4}_(?:0[1-9]|1[0-2])(?:-\d{4}_(?:0[1-9]|1[0-2]))?"
_FOLDERS = re.compile(rf"(?:[A-Z0-9%._-]+ {_SPAN}(?:,{_SPAN})*(?:\n|\Z))*", re.ASCII)
_FIRSTS = r"[A-Z0-9%._-]+(?:\|[A-Z0-9%._-]+)*"
_SESSIONS = rf"(?:\d{{4}}_\d\d(?:/\d\d:{_FIRSTS})?(?:,(?=\d)|\Z))*"
_SHARED = re.compile(rf"(?:{CUT}\w+,)?{_SESSIONS}", re.ASCII)
_SYMBOLS = re.compile(r"(?:[A-Z0-9%._-]+(?:\n|\Z))*", re.ASCII)
_PLACES = pa.schema(
    [manifests.SCHEMA.field(name) for name in ("symbol", "month", "first_row", "file")]
)
_MANIFESTS = pa.schema(
    [
        ("data_type", pa.string()),
        ("month", pa.date32()),
        ("name", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("partitions", pa.int64()),
        ("rows", pa.int64()),
        ("cache_bytes", pa.int64()),
        ("sessions", pa.list_(pa.date32())),
        ("follows", pa.string()),
    ]
)
REFERENCE_VIEWS = ("reference_files", "corporate_actions")
"""Files of sql/catalog that show what is loaded of corporate actions, in the order of making."""
_KEPT_BARS, _AS_SHIPPED = "kept_bars", "bars_1m"
"""The file that makes views of kept bars, and the data type that it names."""
_LATER = ("files", "partitions", *REFERENCE_VIEWS, "adjustment", "bars", _KEPT_BARS)
_MAKES = re.compile(
    r"create\s+(?:or\s+replace\s+)?(?:table|view|macro)\s+(?:if\s+not\s+exists\s+)?"
    r'(?:main\.)?"?(\w+)',
    re.IGNORECASE,
)
_MISSING = re.compile(r"with name (\w+) does not exist")
_MADE_ANEW = {"trade_conditions", "quote_conditions", "exchanges", "features", "sessions"}
"""Tables of which nothing is carried over."""
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
# What reference.sql said before rules of trade conditions had dates.
_UNDATED = re.compile(r"('updates_volume':\s*'BOOLEAN')\s*\}")
_DATED = r"\1, 'valid_from': 'DATE', 'valid_to': 'DATE'}, null_padding = true"
_PATTERNS += [(re.compile(r"'data/rejects/\*/\*/\*\.parquet'"), "rejects_files()")]

_ARROW = {
    str: pa.string(),
    FileState: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    date: pa.date32(),
    datetime: pa.timestamp("us"),
    dict: pa.map_(pa.string(), pa.int64()),
    tuple: pa.list_(pa.string()),
}


def schema_of(record: type) -> pa.Schema:
    """The columns of the table that holds records of a dataclass."""
    kinds = {kind.__name__: arrow for kind, arrow in _ARROW.items()}
    return pa.schema(
        [
            (item.name, kinds[re.match(r"\w+", str(item.type))[0]])  # type: ignore[index]
            for item in fields(record)
        ]
    )


@dataclass
class Built:
    """What was built beside the catalog itself.

    Attributes:
        moves: manifests, as (staged, final).
        superseded: manifests and reference files of the present generation that the next has not.
        removals: those that were superseded a day ago.
        others: names of what somebody else made in the present catalog: tables, views, sequences
            and types, and columns of the catalog's own tables (`runs.note`).
        broken_off: months in which runs began that were killed, as is known from now on.
    """

    moves: list[tuple[Path, Path]] = field(default_factory=list)
    superseded: list[Path] = field(default_factory=list)
    removals: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken_off: set[date] = field(default_factory=set)


@contextmanager
def build(
    staged: Path, layout: Layout, sql: SqlFolder, config_dir: Path, change: CatalogChange
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Built]]:
    """Write the catalog that will hold after `change` to `staged`, and the manifests it names.

    It names files that are not in place yet: its views are made before it names any. All of it is
    on disk when the block begins, and it is closed when the block ends.

    Returns:
        The connection to it, whose tables can be asked, and what was built beside it.

    Raises:
        SqlFileError: a file of sql/catalog or config/ fails.
        StorageError: the disk refuses.
    """
    _bind(layout, sql, config_dir)
    previous = layout.catalog if layout.catalog.exists() else None
    state = state_of(layout.catalog)
    _write_schemas(layout)
    contents = _contents(sql, config_dir, layout.trade_conditions)
    frame = None if contents is None else _frames.get(contents)
    if frame is not None:
        try:
            staged.write_bytes(frame)
        except OSError as error:
            raise StorageError(
                staged, f"cannot write the catalog: {error.strerror or error}"
            ) from error
    connection = _connect(staged, layout, config_dir, previous)
    try:
        if frame is None:
            is_whole = _make_frame(connection, sql, layout, config_dir)
            # Else what was made may be of the lists before, or of those after.
            is_same = contents == _contents(sql, config_dir, layout.trade_conditions)
            if contents is not None and is_whole and is_same:
                _keep_frame(connection, staged, contents)
        tables = {
            "changed_files": _table(SourceFile, change.files),
            "changed_runs": _table(Run, change.runs),
            "checked": _table(Checked, change.checked),
            "new_findings": _table(Finding, change.findings),
            "new_reconciliations": _table(Reconciliation, change.reconciliations),
            "no_manifests": _MANIFESTS.empty_table(),
        }
        for name, table in tables.items():
            connection.register(name, table)
        # Where its SQL is of an earlier version.
        connection.execute(
            "create table if not exists reconciliations as from new_reconciliations limit 0"
        )
        for name, added in (
            ("source_files", "changed_files"),
            ("runs", "changed_runs"),
            ("findings", "new_findings"),
            ("reconciliations", "new_reconciliations"),
            ("manifests", "no_manifests"),
        ):
            _add_columns(connection, name, added)
        built = Built()
        generation, rejects = 0, None
        before: set[str] = set()
        types: set[str] = set()
        columns: list[str] = []
        named: list[Manifest] = []
        earlier = manifests.SCHEMA.empty_table()
        names: dict[str, str] = {}
        sessions = SESSIONS.empty_table()
        reference: dict[str, str] | None = None
        if previous is not None:
            check_tables(connection, "replaced", previous, data_folder_id.id_of(layout), state)
            named, earlier = _published(connection, layout, change)
            columns = _show_previous(connection, layout, named, change)
            built.broken_off = _running(connection)
            row = connection.execute("select generation from previous.warehouse").fetchone()
            generation = row[0] if row else 0
            _run(connection, sql, "carry_over", layout, config_dir)
            sessions = _sessions_before(connection)
            # Where it has no such macro DuckDB would take the new catalog's, which has.
            connection.execute(within("replaced"))
            rejects = _rejects_names(connection)
            names = _names_before(connection, named)
            reference = reference_files.named(connection, "replaced")
            connection.execute("reset search_path")
            before = _objects(connection, "replaced")
            types = _types(connection, "replaced")
            connection.execute("detach previous")
            connection.execute("detach replaced")
        elif change.history:
            _show_history(connection, layout, change)
            built.broken_off = _running(connection)
            _run(connection, sql, "carry_over", layout, config_dir)
            connection.execute("detach previous")
        present, fresh = _write_manifests(layout, named, earlier, change, built)
        # By itself each statement would be a transaction, and an fsync.
        connection.begin()
        kinds = with_bars(one.data_type for one in present)
        _write_schemas(layout, kinds[len(DATA_TYPES) :], shared=False)
        connection.register("present_manifests", pa.table(manifests.table(present), _MANIFESTS))
        _run(connection, sql, "add", layout, config_dir)
        connection.execute(
            f"""
            insert into warehouse (
                generation, data_folder, catalog_format, written_by, written_at,
                {WAREHOUSE_ID}, {MADE_OF}
            )
            values (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                generation + 1,
                str(layout.data),
                CATALOG_FORMAT,
                f"flatfile-warehouse {process.version()}",
                datetime.now(UTC).replace(tzinfo=None),
                data_folder_id.id_of(layout),
                made_of(sql),
            ],
        )
        _set_folder(connection, os.path.realpath(layout.data), layout.cache.name)
        for name in kinds[len(DATA_TYPES) :]:
            _run(connection, sql, _KEPT_BARS, layout, config_dir, length=name)
        _note_sessions(connection, present, sessions)
        _name_reference(connection, layout, reference, change, built)
        _name_files(connection, layout, rejects, change)
        cuts = _name_partitions(connection, sql, layout, present, fresh, named, names)
        built.removals += _write_cuts(layout, cuts)
        # Views of bars that are no longer kept are gone.
        gone = before - _objects(connection)
        gone |= types and types - _types(connection, None)
        built.others = sorted([*(name for name in gone if not is_kept_bars(name)), *columns])
        connection.commit()
        # What fails while a connection is closed is not told, and would stay in the log beside.
        connection.execute("force checkpoint")
        yield connection, built
    except duckdb.Error as error:
        raise _refused(staged, error) from error
    finally:
        connection.close()


Contents = tuple[str | bytes, ...]

_frames: dict[Contents, bytes] = {}
"""Catalogs without rows of their own, as they stand on disk, by what they were made of."""
_MOST_FRAMES = 4


def _contents(sql: SqlFolder, config_dir: Path, conditions: Path) -> Contents | None:
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
    names = [file.name for file in makers(sql)] + ["catalog/bars"]
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


def _make_frame(
    connection: duckdb.DuckDBPyConnection, sql: SqlFolder, layout: Layout, config_dir: Path
) -> bool:
    """Make the tables, views and macros of a catalog, which knows of nothing published yet.

    Returns:
        Whether each macro of features and bars could be made.
    """
    # By itself each statement would be a transaction, and an fsync.
    connection.begin()
    _run(connection, sql, "tables", layout, config_dir)
    # Where its SQL is of an earlier version.
    for name in (WAREHOUSE_ID, MADE_OF):
        connection.execute(f"alter table warehouse add column if not exists {name} varchar")
    make_reference(connection, sql, config_dir, layout.trade_conditions)
    _run(connection, sql, "path_name", layout, config_dir)
    _run(connection, sql, "files", layout, config_dir)
    # Views are bound when they are made, over the files without rows.
    _set_folder(connection, os.path.realpath(layout.data), layout.cache.name)
    _run(connection, sql, "partitions", layout, config_dir)
    for name in REFERENCE_VIEWS:
        _run(connection, sql, name, layout, config_dir)
        if name == REFERENCE_VIEWS[0]:
            for table in REFERENCE_TABLES:
                _set_names(connection, table, "")
    _run(connection, sql, "adjustment", layout, config_dir)
    for name in (*DATA_TYPES, "rejects"):
        _run(connection, sql, name, layout, config_dir)
    _run(connection, sql, "outliers", layout, config_dir)
    if _has_features(sql):
        _run(connection, sql, "features", layout, config_dir)
    _run(connection, sql, "bars", layout, config_dir)
    connection.commit()
    are_whole = [_together(connection, partial(bar_macro.create, connection, BarFolder(sql)))]
    if _has_features(sql):
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


def _keep_frame(connection: duckdb.DuckDBPyConnection, staged: Path, contents: Contents) -> None:
    """Keep it for the next publish of this process, which has but to fill it."""
    _set_folder(connection, "", "")
    connection.execute("force checkpoint")
    if len(_frames) >= _MOST_FRAMES:
        _frames.clear()
    _frames[contents] = staged.read_bytes()


def _sessions_before(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The calendar of the replaced catalog, of the columns SESSIONS; one before it has none."""
    names = ", ".join(SESSIONS.names)
    try:
        rows = connection.execute(f"select {names} from replaced.main.sessions").fetchall()
        columns = list(zip(*rows, strict=True)) or [()] * len(SESSIONS)
        return pa.table(
            [pa.array(each, field.type) for each, field in zip(columns, SESSIONS, strict=True)],
            schema=SESSIONS,
        )
    except (duckdb.CatalogException, duckdb.BinderException, pa.ArrowException, TypeError):
        # There is none, or it is somebody's own.
        return SESSIONS.empty_table()


def _note_sessions(
    connection: duckdb.DuckDBPyConnection, present: Sequence[Manifest], before: pa.Table
) -> None:
    """Fill the table `sessions` with those of which there are rows; the calendar is asked of new
    ones alone, for that of days to come has to be computed first."""
    held = {session for manifest in present for session in manifest.sessions}
    known = before.filter(pc.is_in(before["session"], value_set=pa.array(held, pa.date32())))
    new = sessions_table(sorted(held - set(known["session"].to_pylist())))
    connection.register("held_sessions", pa.concat_tables([known, new]))
    connection.execute("insert into sessions select * from held_sessions order by session")
    connection.unregister("held_sessions")


def _write_manifests(
    layout: Layout,
    named: Sequence[Manifest],
    earlier: pa.Table,
    change: CatalogChange,
    built: Built,
) -> tuple[list[Manifest], dict[manifests.Key, pa.Table]]:
    """Write the manifests of the months that a change touches to the staging folder.

    Args:
        named: those of the present generation.
        earlier: rows of a catalog that has none: all of its months are touched.

    Returns:
        All manifests of the next generation, and the rows of those that are touched.
    """
    added: defaultdict[manifests.Key, list[Partition]] = defaultdict(list)
    removed: defaultdict[manifests.Key, list[PartitionKey]] = defaultdict(list)
    for one in change.partitions:
        added[one.data_type, one.month].append(one)
    for gone in change.removed:
        removed[gone.data_type, gone.month].append(gone)
    by_key = {one.key: one for one in named}
    places = earlier.group_by(["data_type", "month"]).aggregate([]).to_pylist()
    touched = {*added, *removed, *((row["data_type"], row["month"]) for row in places)}
    present = [one for one in named if one.key not in touched]
    fresh: dict[manifests.Key, pa.Table] = {}
    for key in sorted(touched):
        before = manifests.SCHEMA.empty_table()
        if key in by_key:
            before = manifests.read(layout, by_key[key])
        elif earlier.num_rows:
            data_type, month = key
            is_of = pc.equal(earlier["data_type"], data_type)
            before = earlier.filter(pc.and_(is_of, pc.equal(earlier["month"], pa.scalar(month))))
        rows = manifests.changed(before, manifests.rows_of(added[key]), removed[key])
        fresh[key] = rows
        if rows.num_rows:
            manifest, staged = manifests.write(layout.staging, key, rows)
            present.append(manifest)
            built.moves.append((staged, manifest.path(layout)))
    present = [
        replace(one, follows=change.follows[one.key]) if one.key in change.follows else one
        for one in present
    ]
    kept = {one.name for one in present}
    built.superseded = [one.path(layout) for one in named if one.name not in kept]
    in_use = kept | {one.name for one in named}
    for data_type in sorted({data_type for data_type, _ in touched}):
        built.removals += manifests.expired(layout, data_type, in_use)
    return present, fresh


def _name_reference(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    before: dict[str, str] | None,
    change: CatalogChange,
    built: Built,
) -> None:
    """Tell the views of corporate actions and names which files they read.

    They, and the macros that read them, are made before: these files are not in place yet.

    Args:
        before: what the replaced catalog names; None: there is none, or it knew of none. Then the
            files themselves say which they are.
    """
    present = {} if before is None else before
    names = (reference_files.newest(layout) if before is None else before) | change.reference
    built.superseded += [
        layout.reference / each for each in {*present.values()} - {*names.values()}
    ]
    in_use = {*present.values(), *names.values()}
    built.removals += reference_files.expired(layout, in_use)
    for table in REFERENCE_TABLES:
        _set_names(connection, table, names.get(table, ""))


def _names_before(
    connection: duckdb.DuckDBPyConnection, named: Sequence[Manifest]
) -> dict[str, str]:
    """What the replaced catalog says of its files, by macro; of one of an earlier format nothing.

    What is not of the form that it must have is left out: it is gathered anew.
    """
    found: dict[str, str] = {}
    try:
        # Bound, and not asked: to list its functions DuckDB would go through all of its own.
        _ = connection.sql("select replaced.main.months_in('')").columns
    except duckdb.CatalogException:
        return found
    except duckdb.BinderException:
        pass  # it is there, in another form
    for kind in with_bars(one.data_type for one in named):
        forms = {
            f"{kind}_names": _FOLDERS,
            f"{kind}_market_names": _SHARED,
            f"{kind}_market_symbols": _SYMBOLS,
        }
        try:
            texts = macro_texts(connection, *(f"replaced.main.{macro}" for macro in forms))
        except (
            duckdb.CatalogException,
            duckdb.InvalidInputException,
            duckdb.InterruptException,
        ):
            continue
        for (macro, form), text in zip(forms.items(), texts, strict=True):
            if form.fullmatch(text):
                found[macro] = text
    return found


def _name_partitions(
    connection: duckdb.DuckDBPyConnection,
    sql: SqlFolder,
    layout: Layout,
    present: Sequence[Manifest],
    fresh: Mapping[manifests.Key, pa.Table],
    replaced: Sequence[Manifest],
    before: Mapping[str, str],
) -> dict[str, str]:
    """Tell the views and macros which partitions there are; see sql/catalog/files.sql.

    Args:
        fresh: rows of the months that have changed.
        replaced: the manifests that those months had.
        before: what was told until now.

    Returns:
        Of data types with sessions in several files, how they are cut.
    """
    cuts: dict[str, str] = {}
    touched = {data_type for data_type, _ in fresh}
    _set_names(connection, "manifest", "\n".join(sorted(one.name for one in present)))
    for kind in with_bars(one.data_type for one in present):
        macros = [f"{kind}_names", f"{kind}_market_names", f"{kind}_market_symbols"]
        told = {name: before[name] for name in macros if name in before}
        if len(told) < len(macros) or (
            kind in touched and not _retold(told, kind, layout, replaced, fresh)
        ):
            told = _told(connection, layout, kind, present, fresh)
        shared = f"{kind}_market_names"
        told[shared] = _with_cut(told[shared], before.get(shared, ""))
        if (cut := cut_in(told[shared])) is not None:
            cuts[kind] = cut
        is_kept = is_kept_bars(kind)
        file = _catalog_file(sql, _KEPT_BARS if is_kept else kind)
        listing = f"{_AS_SHIPPED if is_kept else kind}_market_files"
        lists = _catalog_file(sql, "files")
        if told[f"{kind}_names"] and "months_in" not in lists.body:
            raise SqlFileError(lists.path, "does not take spans of months apart, with months_in")
        if told[shared] and listing not in file.body:
            raise SqlFileError(
                file.path, f"does not read {listing}, where all symbols share a file"
            )
        for name, text in told.items():
            _set_macro(connection, name, text)
    return cuts


def _with_cut(names: str, before: str) -> str:
    """What `…_market_names()` says, with how sessions are cut into files.

    A shell that is open knows the files of a session by their first symbols, as they were. So that
    is called otherwise once a session that was published has others, or is gone: it may come back
    with others.

    Args:
        before: what it said until now.
    """
    files = [name for name in names.split(",") if name and not name.startswith(CUT)]
    sessions = {name for name in files if ":" in name}
    if not sessions:
        return ",".join(files)
    cut, *earlier = before.split(",")
    if cut_in(cut) is None or not sessions.issuperset(name for name in earlier if ":" in name):
        cut = f"{CUT}{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    return ",".join([cut, *files])


def _retold(
    told: dict[str, str],
    kind: str,
    layout: Layout,
    replaced: Sequence[Manifest],
    fresh: Mapping[manifests.Key, pa.Table],
) -> bool:
    """Bring what is told of a data type's partitions up to date, from the months that have changed.

    Returns:
        Whether it could be: not where a symbol is gone from a month that all share, for who knows
        whether another month has it.
    """
    own = dict(line.split(" ") for line in told[f"{kind}_names"].split("\n") if line)
    files = {name for name in told[f"{kind}_market_names"].split(",") if name}
    symbols = set(told[f"{kind}_market_symbols"].split("\n")) - {""}
    for (data_type, month), rows in fresh.items():
        if data_type != kind:
            continue
        name = f"{month:%Y_%m}"
        before: set[str] = set()
        for one in replaced:
            if one.key == (data_type, month):
                before = set(pc.unique(manifests.read(layout, one)["symbol"]).to_pylist())
        is_shared = rows["first_row"].is_valid()
        shared = set(pc.unique(rows.filter(is_shared)["symbol"]).to_pylist())
        present = {one for one in files if one[: len(name)] == name}
        if present and before - shared:
            return False
        alone = rows.filter(pc.invert(is_shared))["symbol"].to_pylist()
        for symbol in before - set(alone):
            folder = encode_symbol(symbol)
            if left := _without(own.pop(folder, ""), name):
                own[folder] = left
        for symbol in alone:
            folder = encode_symbol(symbol)
            own[folder] = _with(own.get(folder, ""), name)
        firsts = rows.filter(pc.equal(rows["first_row"], 0))
        pairs = zip(firsts["file"].to_pylist(), firsts["symbol"].to_pylist(), strict=True)
        files = files - present | set(_shared_names(pairs))
        symbols |= {encode_symbol(symbol) for symbol in shared}
    told[f"{kind}_names"] = "\n".join(f"{name} {own[name]}" for name in sorted(own))
    told[f"{kind}_market_names"] = ",".join(sorted(files))
    told[f"{kind}_market_symbols"] = "\n".join(sorted(symbols))
    return True


def _told(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    kind: str,
    present: Sequence[Manifest],
    fresh: Mapping[manifests.Key, pa.Table],
) -> dict[str, str]:
    """What the macros of a data type say of its partitions, by macro."""
    staged = [
        pa.table({name: rows[name] for name in ("symbol", "month", "first_row", "file")})
        for (name, _), rows in fresh.items()
        if name == kind
    ]
    connection.register("staged", pa.concat_tables([_PLACES.empty_table(), *staged]))
    there = [one for one in present if one.data_type == kind and one.key not in fresh]
    manifests.check(layout, there)
    before = "from staged limit 0"
    if there:
        below = len(str(layout.cache)) + 2
        listed = manifests.as_query(layout, there)
        before = f"select symbol, month, first_row, substring(path, {below}) from ({listed})"
    connection.execute(
        f"""
        create or replace temp table places as
        select symbol, month, file, first_row, first_row is not null as is_shared
        from (from staged union all ({before}))
        """
    )
    connection.unregister("staged")
    own = connection.execute(
        """
        select symbol, list(year(month) * 12 + month(month) - 1 order by month)
        from places
        where not is_shared
        group by symbol
        """
    ).fetchall()
    folders = sorted((encode_symbol(symbol), _spans(tuple(found))) for symbol, found in own)
    files = connection.execute("select file, symbol from places where first_row = 0").fetchall()
    symbols = connection.execute(
        "select distinct symbol from places where is_shared order by symbol"
    ).fetchall()
    connection.execute("drop table places")
    return {
        f"{kind}_names": "\n".join(f"{folder} {spans}" for folder, spans in folders),
        f"{kind}_market_names": ",".join(_shared_names(files)),
        f"{kind}_market_symbols": "\n".join(sorted(encode_symbol(s) for (s,) in symbols)),
    }


@lru_cache(maxsize=1 << 12)
def _with(spans: str, month: str) -> str:
    """The months of a symbol's own files, and one more."""
    return _spans(tuple(sorted({*_months(spans), *_months(month)})))


@lru_cache(maxsize=1 << 12)
def _without(spans: str, month: str) -> str:
    return _spans(tuple(sorted({*_months(spans)} - {*_months(month)})))


def _months(spans: str) -> Iterator[int]:
    """The months that a text of spans says, counted from that of the year 0."""
    for span in spans.split(",") if spans else ():
        first, _, last = span.partition("-")
        yield from range(_number(first), _number(last or first) + 1)


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


@lru_cache(maxsize=1 << 12)
def _spans(months: tuple[int, ...]) -> str:
    """Months, ascending, as `_months` reads them: where they follow each other, first and last."""
    breaks = [at for at in range(1, len(months)) if months[at] != months[at - 1] + 1]
    ends = zip([0, *breaks], [*breaks, len(months)], strict=True) if months else ()
    named = [(_month_name(months[start]), _month_name(months[stop - 1])) for start, stop in ends]
    return ",".join(first if first == last else f"{first}-{last}" for first, last in named)


def _month_name(number: int) -> str:
    return f"{number // 12:04}_{number % 12 + 1:02}"


def _shared_names(files: Iterable[tuple[str, str]]) -> list[str]:
    """How `…_market_names()` names files that all symbols share, in order.

    Args:
        files: below the cache folder, each with its first symbol.

    Returns:
        Months, or days with the first symbol of each of their files, which are numbered from 0. Of
        one that is lost the next one's first symbol stands for it: what asks for all files misses
        it, and what asks for one symbol is not led to it.
    """
    names: list[str] = []
    days: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for file, symbol in files:
        key = parse_partition(file)
        assert key is not None
        if key.part:
            day, _, place = key.part.partition("_")
            days[f"{key.month:%Y_%m}/{day}"][int(place)] = encode_symbol(symbol)
        else:
            names.append(f"{key.month:%Y_%m}")
    for day, firsts in days.items():
        listed: list[str] = []
        for number in range(max(firsts), -1, -1):
            listed.append(firsts[number] if number in firsts else listed[-1])
        names.append(f"{day}:{'|'.join(reversed(listed))}")
    return sorted(names)


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, like: str) -> None:
    """Give a table the columns of another that it lacks: its SQL may be of an earlier version."""
    there = {name.lower() for name in _columns_of(connection, table)}
    for name, kind in _columns_of(connection, like).items():
        if name.lower() not in there:
            connection.execute(f'alter table {table} add column "{name}" {kind}')


def makers(sql: SqlFolder) -> list[SqlFile]:
    """The files of sql/catalog that make tables, views and macros, in the order of making."""
    names = ["tables", "reference", "path_name", "files", "partitions"]
    names += [*REFERENCE_VIEWS, "adjustment"]
    names += [*DATA_TYPES, "rejects", "outliers"]
    if _has_features(sql):
        names.append("features")
    return [_catalog_file(sql, name) for name in names]


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


_bound: set[tuple[str, ...]] = set()


def _bind(layout: Layout, sql: SqlFolder, config_dir: Path) -> None:
    """Look whether all that the files of sql/catalog make can be asked.

    What is there yet does not tell: a view of what is not is made after the renames, when it is
    too late to fail, and a macro is looked into when it is asked. The same texts are bound once,
    and those that come with the project by its tests.

    Raises:
        SqlFileError: names the file.
    """
    files = makers(sql)
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
    shared = {"rejects": _all_rejects(), "partitions": manifests.SCHEMA}
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
                make_reference(connection, sql, config_dir, layout.trade_conditions)
                continue
            _run(connection, sql, name, probe, config_dir)
            if name == "path_name":
                # Who calls it would be named in its place.
                check_macros(connection, [file], _macros(sql))
            if name == "files":
                _set_folder(connection, os.path.realpath(probe.data), probe.cache.name)
            if name == "reference_files":
                for table in REFERENCE_TABLES:
                    _set_names(connection, table, "")
        for data_type in DATA_TYPES:
            _set_names(connection, data_type, f"{PROBE} {_PROBE_SESSION:%Y_%m}")
        rejects = f"trades/{_PROBE_SESSION:%Y_%m}/{PROBE}.parquet"
        _set_names(connection, "rejects", rejects)
        check_macros(connection, files, _macros(sql))
    shutil.rmtree(folder)


def _macros(sql: SqlFolder) -> frozenset[str]:
    """Names of the macros that the files of sql/catalog make."""
    names = (_names_of(sql.folder) & _names_of(shipped("sql"))) | {*_LATER}
    return macros_of(_catalog_file(sql, name) for name in sorted(names))


def _names_of(folder: Path) -> set[str]:
    return {as_text(path) for path in (folder / "catalog").glob("[!.]*.sql")}


def not_read(sql: SqlFolder) -> list[str]:
    """Names of files of sql/catalog that nobody reads: the catalog is made of those that ship."""
    return sorted(_names_of(sql.folder) - _names_of(shipped("sql")))


def _objects(connection: duckdb.DuckDBPyConnection, database: str | None = None) -> set[str]:
    """Names of the tables and views of a database, of the present one where none is named."""
    rows = connection.execute(
        """
        select table_name as name
        from duckdb_tables()
        where database_name = coalesce($database, current_database()) and not internal
        union all
        select view_name as name
        from duckdb_views()
        where database_name = coalesce($database, current_database()) and not internal
        """,
        {"database": database},
    ).fetchall()
    return {name for (name,) in rows}


def _types(connection: duckdb.DuckDBPyConnection, database: str | None) -> set[str]:
    """Names of the sequences and types that were made in a database, as `_objects` has them.

    To list macros as well DuckDB would go through all functions of its own, at each publish.
    """
    rows = connection.execute(
        """
        select sequence_name as name
        from duckdb_sequences()
        where database_name = coalesce($database, current_database())
        union all
        select type_name as name
        from duckdb_types()
        where database_name = coalesce($database, current_database()) and not internal
        """,
        {"database": database},
    ).fetchall()
    return {name for (name,) in rows}


def _published(
    connection: duckdb.DuckDBPyConnection, layout: Layout, change: CatalogChange
) -> tuple[list[Manifest], pa.Table]:
    """What the catalog attached as `replaced` says is published.

    Manifests that are read for the change are looked at; the others are there, and are not read.

    Returns:
        Its manifests; or, of one of an earlier format, which has none, the rows of all of them.
    """
    if "manifests" in _objects(connection, "replaced"):
        named = manifests.listed(connection, "replaced")
        manifests.check_there(layout, named)
        read = {(one.data_type, one.month) for one in change.partitions}
        read |= {(gone.data_type, gone.month) for gone in change.removed}
        read |= {(file.data_type, month_of(file.day)) for file in change.files}
        manifests.check(layout, (one for one in named if one.key in read))
        return named, manifests.SCHEMA.empty_table()
    rows = connection.sql("select * exclude (path) from replaced.main.partitions")
    found = rows.to_arrow_table()
    keys = zip(*(found[name].to_pylist() for name in ("data_type", "symbol", "month")), strict=True)
    files = pa.array([partition_name(*key) for key in keys], pa.string())
    found = found.append_column("file", files)
    return [], completed(found, manifests.SCHEMA)


def _show_previous(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    named: Sequence[Manifest],
    change: CatalogChange,
) -> list[str]:
    """Show the catalog attached as `replaced` as `previous`, with each table that there is now.

    One that it has not, being of an earlier format, is empty in `previous`; so is a column NULL.
    Its partitions are those of the months of the vendor's files that the change speaks of.

    Returns:
        Columns of these tables that they no longer have, as `table.column`: somebody else's.
    """
    connection.execute("attach ':memory:' as previous")
    rows = "from replaced.main.partitions"
    if "manifests" in _objects(connection, "replaced"):
        months = {(file.data_type, month_of(file.day)) for file in change.files}
        rows = manifests.as_query(layout, [one for one in named if one.key in months])
    connection.execute(f"create view previous.main.partitions as {rows}")
    tables = connection.execute(
        """
        select database_name, schema_name, table_name
        from duckdb_tables()
        where database_name in (current_database(), 'replaced')
        """
    ).fetchall()
    there = {name for database, _, name in tables if database == "replaced"}
    others: list[str] = []
    for database, schema, name in tables:
        if database == "replaced" or name in _MADE_ANEW:
            continue
        new = _columns_of(connection, f'"{database}".{schema}.{name}')
        before: dict[str, str] = {}
        source = f'(from "{database}".{schema}.{name} limit 0)'
        if name in there:
            source = f"replaced.main.{name}"
            before = _columns_of(connection, source)
            known = {column.lower() for column in new}
            others += [f"{name}.{column}" for column in before if column.lower() not in known]
        kept = {column.lower() for column in before}
        shown = ", ".join(
            f'"{column}"'
            if name not in there or column.lower() in kept
            else f'null::{kind} as "{column}"'
            for column, kind in new.items()
        )
        connection.execute(f"create view previous.main.{name} as select {shown} from {source}")
    return others


def _running(connection: duckdb.DuckDBPyConnection) -> set[date]:
    """Months of runs that `previous` says are under way: see sql/catalog/carry_over.sql."""
    rows = connection.execute(
        """
        select distinct date_trunc('month', started_at)::date as month
        from previous.runs
        where state = 'running'
        """
    ).fetchall()
    return {month for (month,) in rows}


def _show_history(
    connection: duckdb.DuckDBPyConnection, layout: Layout, change: CatalogChange
) -> None:
    """Show what the files of the history say as `previous`, in which all else is empty."""
    tables = connection.execute(
        """
        select database_name, schema_name, table_name
        from duckdb_tables()
        where database_name = current_database()
        """
    ).fetchall()
    connection.execute("attach ':memory:' as previous")
    connection.execute(f"create view previous.main.partitions as {manifests.as_query(layout, [])}")
    for database, schema, name in tables:
        like = f'(from "{database}".{schema}.{name} limit 0)'
        connection.execute(f"create table previous.main.{name} as {like}")
        if name in change.history:
            there = _columns_of(connection, like)
            told = change.history[name]
            told = told.select([column for column in told.column_names if column in there])
            connection.register("told", told)
            connection.execute(f"insert into previous.main.{name} by name select * from told")
            connection.unregister("told")


def _columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    relation = connection.sql(f"from {table}")
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


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
    _run(connection, sql, "reference", None, config_dir, conditions)
    if reference_lists.are_read_as_shipped(sql):
        return
    tables = "select table_name from duckdb_tables() where database_name = current_database()"
    if ("trade_conditions",) in connection.execute(tables).fetchall():
        # Where its SQL is of an earlier version, and somebody's own.
        for name in ("valid_from", "valid_to"):
            connection.execute(f"alter table trade_conditions add column if not exists {name} date")


def _refused(staged: Path, error: duckdb.Error) -> StorageError:
    """What DuckDB raises where a disk is full depends on what it was about to do."""
    return StorageError(staged, f"cannot write the catalog: {one_line(error)}")


def features(sql: SqlFolder) -> dict[str, str]:
    """The text of each feature's file, by name, as the catalog would have it now."""
    return FeatureFolder(sql.folder).texts() if _has_features(sql) else {}


def broken_features(sql: SqlFolder) -> list[SqlFileError]:
    """What keeps a feature out of the catalog, for each that does not keep the conventions."""
    if not _has_features(sql):
        return []
    return [found for found in FeatureFolder(sql.folder) if isinstance(found, SqlFileError)]


def _has_features(sql: SqlFolder) -> bool:
    """Whether it says how features come into the catalog, as one of an earlier version does not."""
    return (sql.folder / "catalog/features.sql").exists()


def _rejects_names(connection: duckdb.DuckDBPyConnection) -> set[str] | None:
    """The files of rejects that the replaced catalog names; None: it names none, being older."""
    try:
        (names,) = macro_texts(connection, "replaced.main.rejects_names")
    except duckdb.CatalogException:
        return None
    return set(names.split())


def _name_files(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    rejects: set[str] | None,
    change: CatalogChange,
) -> None:
    """Tell the view of the rejects which files there are; see sql/catalog/files.sql.

    Args:
        rejects: the files before the change; None: those of the vendor's files that the catalog
            knows, as far as they are there.
    """
    if rejects is None:
        rejects = _rejects_there(connection, layout)
    gone = {name for name, is_there in change.rejects.items() if not is_there}
    there = {name for name, is_there in change.rejects.items() if is_there}
    _set_names(connection, "rejects", "\n".join(sorted((rejects - gone) | there)))


def _set_folder(connection: duckdb.DuckDBPyConnection, data: str, cache: str) -> None:
    """Tell where the warehouse stands, and of no file yet.

    Args:
        data: the full path of its data folder.
        cache: the name of the folder of its partitions, within.
    """
    _set_place(connection, data, cache)
    for name in (*DATA_TYPES, "rejects", "manifest"):
        _set_names(connection, name, "")


def _set_place(connection: duckdb.DuckDBPyConnection, data: str, cache: str) -> None:
    connection.execute(f"create or replace macro data_folder() as {quoted(data)}")
    connection.execute(f"create or replace macro cache_name() as {quoted(cache)}")
    # By this a shell tells a catalog from a copy of it.
    connection.execute(f"comment on table warehouse is {quoted(data)}")


def _set_names(connection: duckdb.DuckDBPyConnection, of: str, names: str) -> None:
    _set_macro(connection, f"{of}_names", names)


def _set_macro(connection: duckdb.DuckDBPyConnection, name: str, text: str) -> None:
    connection.execute(f"create or replace macro {name}() as {quoted(text)}")


def _rejects_there(connection: duckdb.DuckDBPyConnection, layout: Layout) -> set[str]:
    rows = connection.execute("select data_type, day, symbol from source_files").fetchall()
    found = set()
    for data_type, day, symbol in rows:
        monthly = DATA_TYPES[data_type].monthly_by_symbol and symbol is not None
        path = layout.rejects_of(RawFile(data_type, day, symbol, monthly))
        if path.is_file():
            found.add(path.relative_to(layout.rejects).as_posix())
    return found


def _write_schemas(
    layout: Layout, kinds: Iterable[str] = DATA_TYPES, *, shared: bool = True
) -> None:
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
    if schema_problem(path) is None and _has_columns(path, columns):
        return False
    # Beside it: the folder may stand on another disk.
    draft = path.with_name(f".{path.name}.new")
    # A link that a stranger has put there would lead the rows elsewhere.
    draft.unlink(missing_ok=True)
    pq.write_table(columns.empty_table(), draft, store_schema=False)
    layout.modes.settle(draft)
    os.replace(draft, path)
    return True


def _write_cuts(layout: Layout, cuts: Mapping[str, str]) -> list[Path]:
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


def adapt(staged: Path, layout: Layout, config_dir: Path) -> list[Path]:
    """Make a catalog that was written on another machine one of this warehouse's folder.

    Returns:
        Files without rows that go with the catalog which is here.

    Raises:
        StorageError: the disk refuses.
    """
    kinds: set[str] = set()
    cuts: dict[str, str] = {}
    connection = _connect(staged, layout, config_dir)
    try:
        connection.begin()
        _set_place(connection, os.path.realpath(layout.data), layout.cache.name)
        connection.execute("update warehouse set data_folder = ?", [str(layout.data)])
        kinds = {
            name
            for (name,) in connection.execute("select distinct data_type from manifests").fetchall()
        }
        cuts = cuts_told(connection, with_bars(kinds))
        connection.commit()
        connection.execute("force checkpoint")
    except duckdb.Error as error:
        raise _refused(staged, error) from error
    finally:
        connection.close()
    _write_schemas(layout, with_bars(kinds))
    return _write_cuts(layout, cuts)


def schema_files(
    layout: Layout, kinds: Iterable[str] = DATA_TYPES, *, with_reference: bool
) -> list[Path]:
    """The files without rows that the views take their columns from.

    Args:
        kinds: data types that there are views of.
        with_reference: those of the reference tables, which an earlier version had not, as well.
    """
    names = [name for name in _schemas(kinds) if with_reference or name not in REFERENCE_TABLES]
    return [layout.schema / f"{name}.parquet" for name in names]


def schema_problem(path: Path) -> str | None:
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
    others = {"rejects": _all_rejects(), "partitions": manifests.SCHEMA}
    return {**columns, **others, **reference_files.SCHEMAS}


def _all_rejects() -> pa.Schema:
    """The columns of the rejects of all data types."""
    return pa.unify_schemas([kind.rejects_columns for kind in DATA_TYPES.values()])


def _connect(
    path: Path, layout: Layout, config_dir: Path, previous: Path | None = None
) -> duckdb.DuckDBPyConnection:
    try:
        return connect(
            path,
            compatible_with=_COMPATIBLE_WITH,
            folders=[*layout.served, config_dir],
            paths=layout.readable,
            attached={} if previous is None else {"replaced": previous},
            on_copy=_warn,
            spill=layout.staging / "catalog",
        )
    except duckdb.Error as error:
        raise StorageError(path, f"cannot write the catalog: {one_line(error)}") from error


def _run(
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
    file = _catalog_file(sql, name)
    check_statements(connection, file, _macros(sql))
    text = file.body
    if length is not None:
        text = text.replace(_AS_SHIPPED, length)
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


def _warn(holder: str) -> None:
    logger.warning(
        "the catalog is open for writing in %s: what it writes there is lost with this publish,"
        " which takes no notice of it; open it with: duckdb -readonly",
        holder,
    )


def _catalog_file(sql: SqlFolder, name: str) -> SqlFile:
    """A file of sql/catalog. A folder made by an earlier version has not all that there are now."""
    return sql.or_shipped(f"catalog/{name}") if name in _LATER else sql[f"catalog/{name}"]


def _table(record: type, items: Iterable[Any]) -> pa.Table:
    schema = schema_of(record)
    rows = []
    for item in items:
        row = asdict(item)
        for name, value in row.items():
            if isinstance(value, dict):
                row[name] = list(value.items())
            elif isinstance(value, tuple):
                row[name] = list(value)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema)
