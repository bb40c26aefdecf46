"""Paths and names: where everything of a warehouse stands, and a symbol's name in a path."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from warehouse.core.datatypes import (
    DATA_TYPES,
    KEPT,
    DataType,
    data_type,
    is_data_type,
    with_bars,
)
from warehouse.core.permissions import Confines, Modes
from warehouse.errors import StorageError

_PACKAGE = Path(__file__).resolve().parents[1]

BUCKET_PREFIX = "us_stocks_sip"
MAX_SYMBOL_BYTES = 64
"""A longer symbol is rejected by sql/clean: percent-encoded it would not fit a file name (255)."""

STAGED_CATALOG = "staging/warehouse.duckdb"
"""Where a publish makes the next catalog, below the data folder."""
OWN_FOLDERS = frozenset(
    (
        *("rejects", "schema", "ledger", "history", "manifests", "recipes", "reference", "staging"),
        "set_aside",
        "refused",
        *("logs", "metrics"),
    )
)
"""What a warehouse makes beside its cache folder, by name."""
MOST_BARS = 200
"""So many lengths of kept bars a warehouse has at most; there are 86,400."""
_LONGEST_NAME = 255
"""Of a file or a folder, in letters that are ASCII: no disk takes a longer one."""
_NO_SUCH_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
HISTORY_TABLES = ("runs", "restatements", "reconciliations", "findings")
"""Tables of the catalog that say what once was: each has a folder of the history."""
REFERENCE_TABLES = ("splits", "dividends", "securities")
"""What the vendor's exports of corporate actions and names are kept as."""
MARKET = "market"
"""The folder of a data type that holds files of all symbols; no symbol's folder is called so."""
ALL_SYMBOLS = ""
"""In the place of a symbol: the partition of a month that holds all of them."""
SHELF_STAGING = ".staging"
"""A folder of a shelf that is a disk of its own: files that wait there to be renamed."""
SHELF_MARKER = ".warehouse.id"
"""A file of a shelf that is a link, or a disk of its own: whose it is."""

_STAGED = re.compile(r"staging/(?:[\w.%-]+/)*[\w.%-]+", re.ASCII)
_PLAIN = re.compile(
    r"[A-Z0-9]{1,2}|(?!CON|PRN|AUX|NUL|COM|LPT|\._)[A-Z0-9._-]+[A-Z0-9_-]", re.ASCII
)
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
# Windows opens the first as devices whatever their extension, and strips a final dot; macOS keeps
# files of its own as the last.
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?|\._.*", re.DOTALL)


def absolute(path: Path) -> Path:
    """The path from the root on, without `..`.

    DuckDB takes `link/..` for the folder that the link is in, the system for the one that its
    target is in. And a folder that a path only leads out of again may be gone tomorrow.

    Raises:
        StorageError: the path is reckoned from the working directory, and that is gone.
    """
    if path.is_absolute():
        done = Path(path.anchor)
    else:
        try:
            done = Path.cwd()
        except FileNotFoundError as error:
            problem = "the working directory is gone, from which this path is reckoned"
            raise StorageError(path, problem) from error
    for part in path.relative_to(path.anchor).parts:
        if part == "..":
            done = (Path(os.path.realpath(done)) if os.path.islink(done) else done).parent
        else:
            done /= part
    return done


@lru_cache(maxsize=1 << 16)
def encode_symbol(symbol: str) -> str:
    """The symbol as one path component, the same on disks that fold case.

    Every byte (UTF-8) outside `A–Z 0–9 . _ -` is percent-encoded. Of names of dots alone, names
    that Windows reserves and names that macOS gives to files of its own (`._A`) the first
    character is encoded too, of names ending in a dot the last. `decode_symbol` is the inverse.
    `path_name` in sql/catalog is the same rule in SQL.
    """
    if _PLAIN.fullmatch(symbol):
        return symbol
    parts = [chr(b) if b in _SAFE else f"%{b:02X}" for b in symbol.encode("utf-8")]
    if parts and _RESERVED.fullmatch(symbol):
        parts[0] = f"%{ord(symbol[0]):02X}"
    if parts and parts[-1] == ".":
        parts[-1] = "%2E"
    return "".join(parts)


def decode_symbol(name: str) -> str:
    """The symbol whose `encode_symbol` is `name`."""
    return unquote(name, encoding="utf-8", errors="strict")


def _is_symbol(name: str) -> bool:
    """Whether a path component is what `encode_symbol` makes of a symbol, and a disk takes it."""
    try:
        return 0 < len(name) <= _LONGEST_NAME and encode_symbol(decode_symbol(name)) == name
    except UnicodeError:
        return False


class PartitionKey(NamedTuple):
    """Which partition.

    Attributes:
        data_type, symbol, month: whose rows of which month; `month` is its first day.
        part: of `ALL_SYMBOLS` and one session the day and the file's number, as `02_00`; empty:
            the file is of the month.
    """

    data_type: str
    symbol: str
    month: date
    part: str = ""

    @property
    def session(self) -> date | None:
        """The only one of a file of a session; None: the file is of a month."""
        return self.month.replace(day=int(self.part[:2])) if self.part else None


def partition_name(data_type_name: str, symbol: str, month: date, part: str = "") -> str:
    """Where a partition stands below the cache folder; that of `ALL_SYMBOLS` in `MARKET`."""
    folder = encode_symbol(symbol) or MARKET
    name = f"{data_type_name}/{folder}/{month.year:04}_{month.month:02}"
    return f"{name}/{part}.parquet" if part else f"{name}.parquet"


def part_name(session: date, number: int) -> str:
    """The part of the `number`th file of a session's rows of all symbols."""
    return f"{session.day:02}_{number:02}"


def parse_partition(name: str) -> PartitionKey | None:
    """The partition that stands at `name` below the cache folder; None: none is called so."""
    match = _PARTITION_NAME.fullmatch(name)
    if match is None or not is_data_type(match["data_type"]) or not int(match["year"]):
        return None
    folder, part = match["folder"], match["part"] or ""
    if folder == MARKET:
        # A month of day_aggs is one file; of the others each session has files of its own.
        if bool(part) != data_type(match["data_type"]).by_session:
            return None
        symbol = ALL_SYMBOLS
    elif part or not _is_symbol(folder):
        return None
    else:
        symbol = decode_symbol(folder)
    month = date(int(match["year"]), int(match["month"]), 1)
    try:
        if part:
            month.replace(day=int(part[:2]))
    except ValueError:
        return None
    return PartitionKey(match["data_type"], symbol, month, part)


def month_of(session: date) -> date:
    """The first day of the session's month, which names a partition."""
    return session.replace(day=1)


def partition_paths(cache: Path) -> Iterator[Path]:
    """Files that stand where partitions do below a cache folder, whatever they are called."""
    bars = (path.name for path in cache.glob(f"{KEPT}*") if is_data_type(path.name))
    for name in (*DATA_TYPES, *sorted(bars)):
        for pattern in ("*/*.parquet", f"{MARKET}/*/*.parquet"):
            yield from (cache / name).glob(pattern)


@dataclass(frozen=True)
class RawFile:
    """Which of the vendor's files: a data type and a day, or a data type, a day and a symbol.

    Attributes:
        data_type: name of the data type.
        day: the session; of a monthly file the first of its month.
        symbol: None where one file holds all symbols.
        monthly: the file holds a month's sessions (day_aggs, one file a symbol).
    """

    data_type: str
    day: date
    symbol: str | None = None
    monthly: bool = False

    @property
    def key(self) -> str:
        """Its key in the source, as the vendor (or the user's per-symbol layout) spells it."""
        kind = data_type(self.data_type)
        if self.symbol is None:
            folder = f"{BUCKET_PREFIX}/{kind.vendor_folder}/{self.day:%Y/%m}"
            return f"{folder}/{self.day:%Y-%m-%d}.csv.gz"
        folder = f"{BUCKET_PREFIX}/{kind.symbol_folder}/{self.day:%Y/%m}"
        day = "" if self.monthly else f"/{self.day:%d}"
        return f"{folder}{day}/{self.symbol}.csv.gz"

    @property
    def raw_path(self) -> PurePosixPath:
        """Where it stands below the raw tier's folder."""
        folder = PurePosixPath(self.data_type, f"{self.day:%Y}", f"{self.day:%m}")
        if self.symbol is None:
            return folder / f"{self.day:%Y-%m-%d}.csv.gz"
        name = f"{encode_symbol(self.symbol)}.csv.gz"
        return folder / name if self.monthly else folder / f"{self.day:%d}" / name

    @property
    def sort_key(self) -> tuple[str, date, str]:
        """Order of work: by data type, then time, then symbol."""
        return (self.data_type, self.day, self.symbol or "")

    def overlaps(self, start: date, end: date) -> bool:
        """Whether the file can hold sessions of [start, end], both inclusive."""
        if self.monthly:
            return month_of(start) <= self.day <= end
        return start <= self.day <= end


_MONTH_NAME = re.compile(r"(\d{4})_(0[1-9]|1[0-2])", re.ASCII)
_PARTITION_NAME = re.compile(
    r"(?P<data_type>\w+)/(?P<folder>[^/]+)/(?P<year>\d{4})_(?P<month>0[1-9]|1[0-2])"
    r"(?:/(?P<part>\d{2}_\d{2}))?\.parquet",
    re.ASCII,
)
_CUT_NAME = re.compile(r"(\w+)\.cut-\d{8}T\d{12}\.parquet", re.ASCII)
_MANIFEST_NAME = re.compile(r"(\d{4}_(?:0[1-9]|1[0-2]))-[0-9a-f]{16}\.parquet", re.ASCII)
_REFERENCE_NAME = re.compile(rf"({'|'.join(REFERENCE_TABLES)})-[0-9a-f]{{64}}\.parquet", re.ASCII)
_RECIPE_NAME = re.compile(r"[0-9a-f]{8,128}\.json")
_REJECTS_NAME = re.compile(r"(\d{4})-(\d{2})(-\d{2})?(?:_(.+))?", re.ASCII)
_DAY_FILE = re.compile(r"(\d{4})/(\d{2})/(\d{4}-\d{2}-\d{2})\.csv\.gz")
# What macOS keeps beside each file of a disk that is not its own begins with `._`.
_SYMBOL_FILE = re.compile(r"(\d{4})/(\d{2})/(\d{2})/((?!\._)[^/]+)\.csv\.gz")
_MONTHLY_FILE = re.compile(r"(\d{4})/(\d{2})/((?!\._)[^/]+)\.csv\.gz")


def parse_raw_path(data_type_name: str, below: str) -> RawFile | None:
    """The file at `below` (a path under its data type's folder), or None where it is no such file.

    Both layouts are told apart by their form. Day: `2024/01/2024-01-02.csv.gz`. Symbol:
    `2024/01/02/AAPL.csv.gz`, of day_aggs `2024/01/AAPL.csv.gz`.
    """
    kind = data_type(data_type_name)
    try:
        if match := _DAY_FILE.fullmatch(below):
            day = date.fromisoformat(match[3])
            if (day.year, day.month) != (int(match[1]), int(match[2])):
                return None
            return RawFile(kind.name, day)
        if kind.monthly_by_symbol:
            if match := _MONTHLY_FILE.fullmatch(below):
                first = date(int(match[1]), int(match[2]), 1)
                return RawFile(kind.name, first, decode_symbol(match[3]), monthly=True)
        elif match := _SYMBOL_FILE.fullmatch(below):
            day = date(int(match[1]), int(match[2]), int(match[3]))
            return RawFile(kind.name, day, decode_symbol(match[4]))
    except (ValueError, UnicodeDecodeError):
        return None
    return None


def parse_key(key: str) -> RawFile | None:
    """The raw file of that key in the source, or None where it is no such key."""
    for kind in DATA_TYPES.values():
        for folder in (kind.vendor_folder, kind.symbol_folder):
            prefix = f"{BUCKET_PREFIX}/{folder}/"
            if key.startswith(prefix):
                return parse_raw_path(kind.name, key.removeprefix(prefix))
    return None


def _is_of_cut(name: str) -> bool:
    match = _CUT_NAME.fullmatch(name)
    return match is not None and is_data_type(match[1])


def is_manifest(name: str, data_type_name: str, month: date) -> bool:
    """Whether `name`, below the folder of manifests, is one of that data type and month."""
    folder, _, file = name.partition("/")
    match = _MANIFEST_NAME.fullmatch(file)
    return folder == data_type_name and match is not None and match[1] == f"{month:%Y_%m}"


def reference_table(name: str) -> str | None:
    """Whose rows a file of that name in the folder of reference tables has; None: it is none."""
    match = _REFERENCE_NAME.fullmatch(name)
    return None if match is None else match[1]


THE_SOURCES_OWN = (
    "is the source's own folder, by a link or a mount: what is removed here would be gone there;"
    " take that link or mount away"
)
"""Of a folder of the raw tier, in words that follow its name."""


def is_same_folder(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder; False where one of them leads nowhere."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def source_folder(kind: DataType, layout: str) -> str:
    """The data type's folder in the source, for `layout` "day" or "symbol"."""
    return f"{BUCKET_PREFIX}/{kind.vendor_folder if layout == 'day' else kind.symbol_folder}"


def glob_literal(path: Path | str) -> str:
    """A path as part of a glob, within the quotes of an SQL text."""
    return _glob(str(path).replace("'", "''"))


def _glob(path: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", path)


@dataclass(frozen=True)
class Tier:
    """The bucket that partitions are published to; this machine's folder holds some of them.

    Attributes:
        url: s3://BUCKET or s3://BUCKET/PREFIX.
        endpoint: URL of the server; empty: AWS.
        max_bytes: of the partitions that are kept on this machine's disk.
        kept_seconds: so long what was replaced stays in the bucket, for who reads it.
    """

    url: str
    endpoint: str
    max_bytes: int
    kept_seconds: float


@dataclass(frozen=True)
class Layout:
    """The folders of one warehouse. All paths are absolute.

    Whatever is renamed into place lies beside the cache folder, so that one file system holds
    a file's unfinished and its final name.
    """

    root: Path
    raw: Path
    cache: Path
    modes: Modes = field(default_factory=Modes)
    own_conditions: Path | None = None
    tier: Tier | None = None
    source: Path | None = None
    """The folder that the vendor's files come from; None: a server, or nothing yet."""
    confines: Confines | None = None
    """What raw files may be links to; None: anything. Of those of a stranger's warehouse that lead
    to what only the user may read, lines would come to stand in the stranger's rejects."""
    data_confines: Confines | None = None
    """What links in the data folder may lead to where something is written; None: anything."""

    @cached_property
    def trade_conditions(self) -> Path:
        """The table of trade conditions: the shipped one, or the user's own in its place."""
        return self.own_conditions or self.root / "config" / "trade_conditions.csv"

    @property
    def readable(self) -> list[str]:
        """What a connection must be allowed to read that takes that table in, wherever it lies.

        DuckDB asks for the glob, and for the file that it finds.
        """
        path = os.path.realpath(self.trade_conditions)
        return [path, _glob(path)]

    @cached_property
    def data(self) -> Path:
        """What is derived: cache, rejects, staging and catalog stand in it."""
        return self.cache.parent

    @cached_property
    def rejects(self) -> Path:
        return self.data / "rejects"

    @cached_property
    def schema(self) -> Path:
        """A Parquet file without rows for each data type."""
        return self.data / "schema"

    @cached_property
    def ledger(self) -> Path:
        """What the catalog says of the vendor's files, as files."""
        return self.data / "ledger"

    @cached_property
    def history(self) -> Path:
        """What the catalog says of runs, restatements, reconciliations and findings, as files."""
        return self.data / "history"

    @cached_property
    def manifests(self) -> Path:
        """What is published of each data type and month."""
        return self.data / "manifests"

    @cached_property
    def recipes(self) -> Path:
        """What each fingerprint stands for."""
        return self.data / "recipes"

    @cached_property
    def reference(self) -> Path:
        """Corporate actions and names, a file for each table and content."""
        return self.data / "reference"

    @cached_property
    def staging(self) -> Path:
        """Unfinished work; may be deleted whenever no process writes."""
        return self.data / "staging"

    @cached_property
    def set_aside(self) -> Path:
        """Raw files that failed verification, each beside a .json that says why."""
        return self.data / "set_aside"

    @cached_property
    def tiers(self) -> frozenset[str]:
        """The folders that a publish renames files into, by their names in the data folder."""
        own = ("rejects", "ledger", "history", "manifests", "recipes", "reference")
        return frozenset((self.cache.name, *own))

    @staticmethod
    def check_own(folder: Path) -> None:
        """Refuse a folder of the warehouse's own, and no tier, that is a link.

        Where it leads there may be somebody else's log, or whatever they keep.

        Raises:
            StorageError: so it is.
        """
        if os.path.islink(folder):
            raise StorageError(
                folder, "is a link; it must lie beside the cache folder: put a folder in its place"
            )

    def make_aside(self, folder: Path) -> None:
        """Make a folder for what is set aside, and those above it.

        Raises:
            StorageError: one of them is a link.
        """
        for each in (folder, *folder.parents):
            if not each.is_relative_to(self.set_aside):
                break
            self.check_own(each)
        self.modes.make_folders(folder)

    def is_shelf(self, name: str) -> bool:
        """Whether `name`, below the data folder, is a tier, or what it holds of a data type.

        Each may be a link, or a disk of its own.
        """
        tier, slash, below = name.partition("/")
        return tier in self.tiers and (not slash or is_data_type(below))

    def shelves(self) -> list[str]:
        """The names of those that there may be now: kept bars are of any length."""
        kinds = self._kinds()
        return [*self.tiers, *(f"{tier}/{name}" for tier in self.tiers for name in kinds)]

    def _kinds(self) -> tuple[str, ...]:
        """The data types that may have a folder: the vendor's, and of kept bars those that have."""
        names: list[str] = []
        for tier in (self.cache, self.manifests):
            # What cannot be listed cannot be read either: who does is told.
            with suppress(OSError):
                names += os.listdir(tier)
        kinds = with_bars(names)
        if (count := len(kinds) - len(DATA_TYPES)) > MOST_BARS:
            # Each is looked at by everybody who opens the warehouse.
            raise StorageError(
                self.cache,
                f"it and {self.manifests} hold folders of bars of {count:,} lengths, and no"
                f" warehouse keeps more than {MOST_BARS}; remove those that are not its own",
            )
        return kinds

    @cached_property
    def refused(self) -> Path:
        """What the last run staged and validation refused."""
        return self.data / "refused"

    @cached_property
    def catalog(self) -> Path:
        return self.data / "warehouse.duckdb"

    @cached_property
    def log(self) -> Path:
        """What happened, one JSON object a line; older lines in files with a number behind."""
        return self.data / "logs" / "warehouse.jsonl"

    @cached_property
    def openmetrics(self) -> Path:
        """Figures of the last runs, for those who scrape."""
        return self.data / "metrics" / "warehouse.prom"

    @cached_property
    def journal(self) -> Path:
        """Present exactly while a publish is under way."""
        return self.data / "publish.json"

    @cached_property
    def marker(self) -> Path:
        """Says whose data folder it is."""
        return self.data / "warehouse.id"

    @cached_property
    def source_note(self) -> Path:
        """Says where the vendor's files came from last."""
        return self.data / "source.txt"

    @cached_property
    def lock(self) -> Path:
        return self.data / "writer.lock"

    @cached_property
    def served(self) -> tuple[Path, ...]:
        """What SQL may read when it answers: the tiers that the catalog speaks of, no other folder.

        A tier, or what it holds of a data type, may be a link to another disk.
        """
        tiers = (self.cache, self.rejects, self.schema, self.ledger, self.manifests, self.reference)
        by_type = (
            tier / name
            for tier in (self.cache, self.rejects, self.manifests)
            for name in self._kinds()
        )
        return (*tiers, *by_type)

    def keeps(self, path: Path) -> bool:
        """Whether a path leads to what the warehouse keeps itself: nobody else writes there."""
        place = Path(os.path.realpath(path))
        folders = (self.raw, self.cache, *(self.data / name for name in OWN_FOLDERS))
        notes = (self.source_note, self.lock_note)
        files = (self.catalog, self.journal, self.marker, self.lock, *notes)
        kept = [Path(os.path.realpath(one)) for one in (*folders, *self.served)]
        return place in map(Path, map(os.path.realpath, files)) or any(
            place.is_relative_to(folder) for folder in kept
        )

    @cached_property
    def generation(self) -> Path:
        """Of a bucket that is the cache tier: which generation of it is here."""
        return self.data / "generation.json"

    @cached_property
    def reading(self) -> Path:
        """Of a bucket that is the cache tier: a file for each question that reads what is here."""
        return self.data / ".reading"

    @cached_property
    def partial(self) -> Path:
        """Of a bucket that is the cache tier: partitions of which only some ranges are here."""
        return self.data / ".partial"

    def partial_of(self, sha256: str) -> Path:
        """Where such a partition lies once all its ranges are here."""
        return self.partial / sha256[:2] / sha256

    @property
    def lock_note(self) -> Path:
        """Says who holds the lock, and since when."""
        return self.data / "writer.txt"

    def is_staged(self, name: str) -> bool:
        """Whether `name`, below the data folder, is one of a file that waits to be published."""
        shelf, _, rest = name.partition(f"/{SHELF_STAGING}/")
        if rest and self.is_shelf(shelf):
            return self.is_staged_name(rest)
        return bool(_STAGED.fullmatch(name)) and not {".", ".."} & set(name.split("/"))

    @staticmethod
    def is_staged_name(name: str) -> bool:
        """Whether a file that waits in a shelf's own staging folder may be called so."""
        return name.isascii() and name.isdecimal()

    def is_published(self, name: str) -> bool:
        """Whether `name`, below the data folder, is one of a file that a publish puts there."""
        tier, *below = name.split("/")
        if tier == self.schema.name:
            return len(below) == 1 and _is_of_cut(below[0])
        if tier not in self.tiers or not below or len(max(below, key=len)) > _LONGEST_NAME:
            return False
        if tier == "recipes":
            return len(below) == 1 and bool(_RECIPE_NAME.fullmatch(below[0]))
        if tier == "reference":
            return len(below) == 1 and reference_table(below[0]) is not None
        stem, dot, ending = below[-1].rpartition(".")
        if tier == "history":
            whole = [[name] for name in HISTORY_TABLES if name != "findings"]
            folders = [*whole, *(["findings", name] for name in DATA_TYPES)]
            is_page = below[:-1] in folders and dot + ending == ".parquet"
            return is_page and bool(_MONTH_NAME.fullmatch(stem))
        if not is_data_type(below[0]) or dot + ending != ".parquet":
            return False
        if tier == "manifests":
            return len(below) == 2 and bool(_MANIFEST_NAME.fullmatch(below[1]))
        if tier != self.cache.name and below[0] not in DATA_TYPES:
            return False
        if tier == "ledger":
            return len(below) == 2 and bool(_MONTH_NAME.fullmatch(stem))
        if tier == "rejects":
            match = _REJECTS_NAME.fullmatch(stem)
            return (
                len(below) == 3
                and match is not None
                and below[1] == f"{match[1]}_{match[2]}"
                and bool(_MONTH_NAME.fullmatch(below[1]))
                and (match[4] is None or _is_symbol(match[4]))
            )
        return parse_partition("/".join(below)) is not None

    def raw_file(self, file: RawFile) -> Path:
        return self.raw / file.raw_path

    def partition(self, data_type_name: str, symbol: str, month: date, part: str = "") -> Path:
        """The file of a partition; a `PartitionKey` says which."""
        return self.cache / partition_name(data_type_name, symbol, month, part)

    def rejects_of(self, file: RawFile) -> Path:
        """The rejects of one raw file; there is no file where it has none."""
        name = f"{file.day:%Y-%m}" if file.monthly else f"{file.day:%Y-%m-%d}"
        if file.symbol is not None:
            name += f"_{encode_symbol(file.symbol)}"
        return self.rejects / file.data_type / f"{file.day:%Y_%m}" / f"{name}.parquet"

    def schema_of_cut(self, data_type_name: str, cut: str) -> Path:
        """The file without rows that stands for how a data type's sessions are cut into files."""
        return self.schema / f"{data_type_name}.cut-{cut}.parquet"

    def schemas_of_cuts(self) -> list[Path]:
        """Those that are there: of what is published, and of a publish that was killed."""
        found: list[str] = []
        # What cannot be listed cannot be read either: who does is told.
        with suppress(OSError), os.scandir(self.schema) as entries:
            found += [one.name for one in entries if not one.is_dir(follow_symlinks=False)]
        return [self.schema / name for name in sorted(found) if _is_of_cut(name)]

    def ledger_of(self, data_type_name: str, month: date) -> Path:
        return self.ledger / data_type_name / f"{month:%Y_%m}.parquet"

    def history_of(self, table: str, data_type_name: str | None, month: date) -> Path:
        """The page of a table, one of `HISTORY_TABLES`, of a month; of findings by data type."""
        folder = self.history / table
        if data_type_name is not None:
            folder /= data_type_name
        return folder / f"{month.year:04}_{month.month:02}.parquet"

    def raw_files(self) -> list[RawFile]:
        """Every file of the raw tier, in the order of work, but for partial downloads."""
        return self.raw_tier()[0]

    def raw_tier(
        self,
        data_types: Iterable[str] = tuple(DATA_TYPES),
        first: date = date.min,
        last: date = date.max,
    ) -> tuple[list[RawFile], list[tuple[str, Entry]]]:
        """Its files in the order of work, and what cannot be looked at, by data type.

        Args:
            data_types: only theirs.
            first, last: sessions, both inclusive; folders of other months are not looked into.

        A folder that a link, or a mount, makes the source's own is none of the tier's: what is
        removed and set aside here would be gone there.
        """
        found, unread = [], []
        for name in data_types:
            looked_at: dict[str, str | None] = {}
            told = set()
            # A file of a month bears its first day.
            for entry in walk(self.raw / name, first.replace(day=1), last):
                place = self.of_the_source(name, entry.below.rpartition("/")[0], looked_at)
                if place is not None:
                    if place not in told:
                        own = Entry(place, None, THE_SOURCES_OWN, is_folder=True)
                        unread.append((name, own))
                    told.add(place)
                elif entry.stat is None:
                    unread.append((name, entry))
                elif problem := self.leads_out(self.raw / name / entry.below):
                    unread.append((name, replace(entry, problem=problem)))
                elif (file := parse_raw_path(name, entry.below)) is None:
                    continue
                elif str(file.raw_path) == f"{name}/{entry.below}":
                    found.append(file)
                else:
                    problem = f"is not read; the raw tier calls it {file.raw_path.name}"
                    unread.append((name, replace(entry, problem=problem)))
        return sorted(found, key=lambda file: file.sort_key), unread

    def leads_out(self, path: Path) -> str | None:
        """Why a raw file is not to be read, in words that follow its name; None: it may be."""
        return None if self.confines is None else self.confines.problem(path)

    def of_the_source(
        self, name: str, below: str, looked_at: dict[str, str | None] | None = None
    ) -> str | None:
        """Which folder of the raw tier is that of the source: this one, or the first above it.

        Args:
            looked_at: takes what is found of each folder, so that none is looked at twice.
        """
        kind = DATA_TYPES.get(name)
        if self.source is None or kind is None:
            return None
        found = {} if looked_at is None else looked_at
        if below not in found:
            above = below.rpartition("/")[0]
            found[below] = self.of_the_source(name, above, found) if below else None
            if found[below] is None:
                folders = [self.source / source_folder(kind, one) for one in ("day", "symbol")]
                here = self.raw / name / below
                if any(is_same_folder(folder / below, here) for folder in folders):
                    found[below] = below
        return found[below]


def shipped(folder: str) -> Path:
    """A folder that comes with the project (`sql`, `config`): in the wheel or beside it."""
    inside = _PACKAGE / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


_LEVELS = (re.compile(r"\d{4}"), re.compile(r"\d{2}"), re.compile(r"\d{2}"))
_ENDING = ".csv.gz"
_LIKE_A_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.csv(\.\w+)*", re.ASCII | re.IGNORECASE)


def day_meant(below: str) -> date | None:
    """The day of the file that one at `below` would be, were it in its place and named rightly."""
    match = _LIKE_A_DAY.fullmatch(below.rpartition("/")[2])
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


_NO_FILE = {
    stat.S_IFIFO: "is a pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
    stat.S_IFDIR: "is a folder, not a file",
}


@dataclass(frozen=True)
class Entry:
    """A file, or what cannot be looked at.

    Attributes:
        below: its path from the folder that was walked, `/` between names; empty: that folder.
        stat: of the file itself, links followed; None where it cannot be had.
        problem: why it is no file, or cannot be looked at, without its name.
        is_folder: it would hold files.
    """

    below: str
    stat: os.stat_result | None = None
    problem: str | None = None
    is_folder: bool = False

    @property
    def span(self) -> tuple[date, date]:
        """Days of the files that a folder would hold, both inclusive."""
        parts = [int(part) for part in self.below.split("/") if part]
        try:
            if not parts:
                return date.min, date.max
            if len(parts) == 1:
                return date(parts[0], 1, 1), date(parts[0], 12, 31)
            first = date(parts[0], parts[1], 1)
            if len(parts) == 2:
                return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
            return date(*parts[:3]), date(*parts[:3])
        except (ValueError, OverflowError):
            return date.min, date.min


def walk(
    folder: Path, first: date = date.min, last: date = date.max, *, misnamed: bool = False
) -> Iterator[Entry]:
    """The files below a data type's folder that may hold these days, in the order of their paths.

    Args:
        misnamed: with what is like the file of a day, of any day: it has another ending, or lies
            in a folder that is not called as one of a year, month or day is (`2024/1`). Hidden
            folders are left out: a bin and programs that keep versions have them.

    One that cannot be looked at is told as such and stops nothing. A folder that is not there
    holds nothing.
    """
    return _walk(str(folder), "", 0, first, last, misnamed)


def _walk(
    folder: str, below: str, level: int, first: date, last: date, misnamed: bool
) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        if level or error.errno not in (errno.ENOENT, errno.ENOTDIR) or os.path.lexists(folder):
            yield Entry(below, None, explained(folder, error), is_folder=True)
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if level < len(_LEVELS) and _LEVELS[level].fullmatch(entry.name):
            start, end = Entry(path).span
            if start <= last and first <= end:
                yield from _folder(entry, path, level, first, last, misnamed)
        elif entry.name.endswith(_ENDING) or (misnamed and _LIKE_A_DAY.fullmatch(entry.name)):
            yield _file(entry, path)
        elif misnamed and level < len(_LEVELS) and not entry.name.startswith("."):
            yield from _days_within(entry.path, path, level + 1)


def _folder(
    entry: os.DirEntry[str], below: str, level: int, first: date, last: date, misnamed: bool
) -> Iterator[Entry]:
    try:
        # Of a link it says what that leads to.
        is_folder = stat.S_ISDIR(entry.stat().st_mode)
    except OSError as error:
        yield Entry(below, None, explained(entry.path, error), is_folder=True)
        return
    if is_folder:
        yield from _walk(entry.path, below, level + 1, first, last, misnamed)


def _days_within(folder: str, below: str, level: int) -> Iterator[Entry]:
    """What is like the file of a day in a folder of another name; nothing where it is no folder."""
    with suppress(OSError), os.scandir(folder) as listed:
        for entry in sorted(listed, key=lambda entry: entry.name):
            path = f"{below}/{entry.name}"
            if _LIKE_A_DAY.fullmatch(entry.name):
                yield _file(entry, path)
            elif level < len(_LEVELS) and not entry.name.startswith("."):
                yield from _days_within(entry.path, path, level + 1)


def _file(entry: os.DirEntry[str], below: str) -> Entry:
    try:
        found = entry.stat()
    except OSError as error:
        return Entry(below, None, explained(entry.path, error))
    if stat.S_ISREG(found.st_mode):
        return Entry(below, found)
    return Entry(below, None, _NO_FILE.get(stat.S_IFMT(found.st_mode), "is no file"))


def explained(path: str | Path, error: OSError) -> str:
    """Why a path leads to nothing, in words that follow its name."""
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        with suppress(OSError):
            return f"is a link to {os.readlink(path)}, which is not there"
        return "is not there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be read: no permission"
    return f"cannot be read: {error.strerror or error}"


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut, as far as its file system knows how.

    Some that are shared, by a virtual machine or a network, sync files and no folders.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
    finally:
        os.close(descriptor)
