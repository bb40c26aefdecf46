"""What the macros of the catalog say of its files: partitions, and lines that were rejected."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DATA_TYPES, is_kept_bars, with_bars
from warehouse.core.duckdb_connection import macro_texts, quoted
from warehouse.core.paths import Layout, RawFile, encode_symbol, parse_partition
from warehouse.errors import SqlFileError
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import manifests
from warehouse.store.catalog import CUT, CatalogChange, cut_in
from warehouse.store.manifests import Manifest
from warehouse.store.publishing import catalog_sql

_SPAN = r"\d{4}_(?:0[1-9]|1[0-2])(?:-\d{4}_(?:0[1-9]|1[0-2]))?"
_FOLDERS = re.compile(rf"(?:[A-Z0-9%._-]+ {_SPAN}(?:,{_SPAN})*(?:\n|\Z))*", re.ASCII)
_FIRSTS = r"[A-Z0-9%._-]+(?:\|[A-Z0-9%._-]+)*"
_SESSIONS = rf"(?:\d{{4}}_\d\d(?:/\d\d:{_FIRSTS})?(?:,(?=\d)|\Z))*"
_SHARED = re.compile(rf"(?:{CUT}\w+,)?{_SESSIONS}", re.ASCII)
_SYMBOLS = re.compile(r"(?:[A-Z0-9%._-]+(?:\n|\Z))*", re.ASCII)
_PLACES = pa.schema(
    [manifests.SCHEMA.field(name) for name in ("symbol", "month", "first_row", "file")]
)


def names_before(
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


def name_partitions(
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
    set_names(connection, "manifest", "\n".join(sorted(one.name for one in present)))
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
        file = catalog_sql.catalog_file(sql, catalog_sql.KEPT_BARS if is_kept else kind)
        listing = f"{catalog_sql.AS_SHIPPED if is_kept else kind}_market_files"
        lists = catalog_sql.catalog_file(sql, "files")
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


def rejects_names(connection: duckdb.DuckDBPyConnection) -> set[str] | None:
    """The files of rejects that the replaced catalog names; None: it names none, being older."""
    try:
        (names,) = macro_texts(connection, "replaced.main.rejects_names")
    except duckdb.CatalogException:
        return None
    return set(names.split())


def name_rejects(
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
    set_names(connection, "rejects", "\n".join(sorted((rejects - gone) | there)))


def set_folder(connection: duckdb.DuckDBPyConnection, data: str, cache: str) -> None:
    """Tell where the warehouse stands, and of no file yet.

    Args:
        data: the full path of its data folder.
        cache: the name of the folder of its partitions, within.
    """
    set_place(connection, data, cache)
    for name in (*DATA_TYPES, "rejects", "manifest"):
        set_names(connection, name, "")


def set_place(connection: duckdb.DuckDBPyConnection, data: str, cache: str) -> None:
    connection.execute(f"create or replace macro data_folder() as {quoted(data)}")
    connection.execute(f"create or replace macro cache_name() as {quoted(cache)}")
    # By this a shell tells a catalog from a copy of it.
    connection.execute(f"comment on table warehouse is {quoted(data)}")


def set_names(connection: duckdb.DuckDBPyConnection, of: str, names: str) -> None:
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
