"""The user's settings: config/data_config.yaml, overridden by WAREHOUSE_… environment variables.

A key is written `section.key` in messages and `WAREHOUSE_SECTION__KEY` in the environment.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from warehouse.core.datatypes import (
    DATA_TYPES,
    KEPT,
    DataType,
    data_type,
    is_kept_bars,
    is_length,
)
from warehouse.core.paths import MOST_BARS, OWN_FOLDERS, Layout, Tier, absolute
from warehouse.core.permissions import (
    Confines,
    Modes,
    check_found,
    check_inside,
    check_own,
    confines_of,
    is_own,
)
from warehouse.core.small_files import read_small
from warehouse.errors import ConfigError, NotAWarehouseError, StorageError, one_line
from warehouse.text import expanded, one_of, shell_word

_GIB = 1024**3
CONFIG_FILE = Path("config", "data_config.yaml")
CONFIG_VERSION = 1
MOST_BYTES = 1 << 18
"""A larger file of settings is not read."""
_MOST_NESTED = 16
_PASSWORD = re.compile(r"(\w+:)?//[^@/]*:.*@|(\w+:)?[^@/]+:[^/].*@")
"""How a url begins that has one, or one that lacks its scheme or its slashes."""
ENV_PREFIX = "WAREHOUSE_"


def _names(value: Any) -> Any:
    """A list of names; in the environment it is written with commas, and empty means none."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


def _known_version(version: int) -> int:
    if version > CONFIG_VERSION:
        raise ValueError(
            f"this file was written for a later version of flatfile-warehouse (this one reads up to"
            f" {CONFIG_VERSION}); upgrade with: pip install --upgrade flatfile-warehouse"
        )
    return version


def _some_path(path: Path) -> Path:
    if path == Path():
        raise ValueError("it must be a path; ./data/… starts at the warehouse's folder")
    _check_letters(str(path))
    # As the name of a folder it would be made in the warehouse, on another disk than was meant.
    for part in path.parts:
        if re.match(r"\$[A-Za-z_{]", part):
            raise ValueError(f"{part} is not filled in here; write the path out, or begin with ~")
    return path


def _some_symbols(names: tuple[str, ...]) -> tuple[str, ...]:
    """The symbols as they are; a name that no symbol has would leave out every row there is."""
    for name in ("", "*"):
        if name in names:
            raise ValueError(f"{name!r} is no symbol; an empty list, [], means all of them")
    return names


def _check_letters(text: str) -> None:
    try:
        is_name = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise ValueError("it has a letter that no path or url has (NUL, or half a character)")


def _no_secret(url: str) -> str:
    _check_letters(url)
    if _PASSWORD.match(url):
        raise PydanticCustomError(
            "secret", "it holds a password; credentials come from the environment or ~/.aws"
        )
    return url


def _server(url: str) -> str:
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise ValueError(f"it must be the URL of a server ({error})") from None
    return url


def _mode(text: str) -> str:
    if not re.fullmatch("0?6[0246]{2}", text):
        raise ValueError("it must be octal: 600 (the owner alone), 640, 660 and so on up to 666")
    return text


def _length(text: str) -> str:
    if not is_length(text):
        raise ValueError(
            "it must be the length of bars, as 30s, 5m, 1h or 1d; no longer than a day"
        )
    return text


def _bucket_or_folder(value: Any) -> Any:
    """A path, or the text of a bucket's url: as a path it would lose a slash."""
    # A url that lacks a slash would be a new folder, in which nothing is.
    is_url = "://" in str(value) or str(value).startswith("s3:")
    if isinstance(value, str | Path) and not is_url:
        return _some_path(Path(value))
    if not isinstance(value, str) or not re.fullmatch(r"s3://[^/@]+(/.*)?", _no_secret(value)):
        raise ValueError("it must be a folder or s3://BUCKET/PREFIX")
    return value


Url = Annotated[str, AfterValidator(_no_secret)]
Server = Annotated[Url, AfterValidator(_server)]
Folder = Annotated[Path, AfterValidator(_some_path)]
CacheDir = Annotated[Path | str, BeforeValidator(_bucket_or_folder)]
File = Annotated[Path, AfterValidator(_some_path)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(_Section):
    """Where the vendor's files come from."""

    url: Url = ""
    endpoint: Server = "https://files.massive.com"
    layout: Literal["day", "symbol"] = "day"
    symbols: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_some_symbols)] = ()


PartitionLayout: TypeAlias = Literal["symbol", "market"]
"""Whether each symbol has a file of its own for a month, or all symbols share one."""
PARTITION_LAYOUTS: tuple[str, ...] = get_args(PartitionLayout)


class LayoutConfig(_Section):
    """How the partitions of months that are new are laid out, by data type."""

    trades: PartitionLayout = "symbol"
    quotes: PartitionLayout = "symbol"
    minute_aggs: PartitionLayout = "symbol"
    day_aggs: PartitionLayout = "symbol"
    bars: PartitionLayout = "symbol"
    bars_1d: PartitionLayout | None = None

    def of(self, data_type: str) -> PartitionLayout:
        """The layout of a data type's new months; where that of day bars is not said, of bars."""
        found: PartitionLayout | None = getattr(self, layout_key(data_type))
        return found or self.bars


def layout_key(data_type: str) -> str:
    """The key of `storage.layout` that is of a data type; kept bars below a day share one."""
    is_shared = is_kept_bars(data_type) and data_type not in LayoutConfig.model_fields
    return "bars" if is_shared else data_type


class StorageConfig(_Section):
    """Where everything is kept; relative paths start at the warehouse's folder."""

    raw_data_dir: Folder = Path("data/raw")
    cache_dir: CacheDir = Path("data/cache")
    cache_endpoint: Server = ""
    cache_disk_dir: Folder = Path("data/cache")
    max_cache_disk_gb: Annotated[float, Field(gt=0, le=1_048_576)] = 100.0
    keep_replaced_hours: Annotated[float, Field(ge=1, le=87_600)] = 24.0
    sql_dir: Folder = Path("sql")
    max_cache_memory_gb: Annotated[float, Field(gt=0, le=4096)] = 8.0
    retention_days: Annotated[int, Field(ge=0, le=36500)] = 30
    file_mode: Annotated[str, AfterValidator(_mode)] = "600"
    layout: LayoutConfig = LayoutConfig()

    @property
    def max_cache_bytes(self) -> int:
        return int(self.max_cache_memory_gb * _GIB)

    @property
    def cache_folder(self) -> Path:
        """Where partitions lie on this machine's disk."""
        return self.cache_disk_dir if isinstance(self.cache_dir, str) else self.cache_dir

    @property
    def tier(self) -> Tier | None:
        """The bucket that the partitions are published to; None: a folder is all there is."""
        if not isinstance(self.cache_dir, str):
            return None
        return Tier(
            self.cache_dir.rstrip("/"),
            self.cache_endpoint,
            int(self.max_cache_disk_gb * _GIB),
            self.keep_replaced_hours * 3600,
        )


class ProcessingConfig(_Section):
    """How raw files become partitions."""

    chunk_size: Annotated[int, Field(ge=1_000, le=100_000_000)] = 1_000_000
    parallel_workers: Annotated[int, Field(ge=1, le=256)] = 4
    memory_limit_gb: Annotated[float, Field(ge=0.5, le=4096)] = 2.0
    engine: Literal["local", "spark", "ray"] = "local"
    spark_master: str = "local[*, 4]"

    @property
    def memory_limit_bytes(self) -> int:
        return int(self.memory_limit_gb * _GIB)


class DownloadConfig(_Section):
    """How files are fetched from the source."""

    concurrent_downloads: Annotated[int, Field(ge=1, le=256)] = 10
    retry_attempts: Annotated[int, Field(ge=0, le=100)] = 3
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300
    min_bytes_per_second: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000
    restatement_window_days: Annotated[int, Field(ge=0, le=36_500)] = 30


class CleaningConfig(_Section):
    """Which rows are rejected."""

    corrections: Annotated[
        tuple[Annotated[int, Field(ge=0, le=99)], ...],
        Field(min_length=1),
        BeforeValidator(_names),
    ] = (0, 1)


class BarsConfig(_Section):
    """How bars are built from trades."""

    trade_conditions: File = Path("config/trade_conditions.csv")
    keep: Annotated[
        tuple[Annotated[str, AfterValidator(_length)], ...],
        Field(max_length=MOST_BARS),
        BeforeValidator(_names),
    ] = ()

    @property
    def kept(self) -> tuple[DataType, ...]:
        """The data types of bars that are kept, each once."""
        return tuple(data_type(f"{KEPT}{every}") for every in dict.fromkeys(self.keep))


class ValidationConfig(_Section):
    """Thresholds of the quality rules."""

    max_price_deviation_std: Annotated[float, Field(gt=0)] = 5
    max_time_gap_minutes: Annotated[float, Field(gt=0)] = 5
    min_daily_trades: Annotated[int, Field(ge=0)] = 100
    max_spike_std: Annotated[float, Field(gt=0)] = 3
    min_spike_share: Annotated[float, Field(ge=0, le=1)] = 0.005
    max_zero_size_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_crossed_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    max_locked_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_one_sided_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_session_share: Annotated[float, Field(ge=0, le=1)] = 0.5


def _in_the_way(root: Path, raw: Path, cache: Path) -> Iterator[tuple[str, Path, str]]:
    """Folders that would lie where the warehouse keeps, and clears, something else."""
    cache, raw = (Path(os.path.normpath(folder)) for folder in (cache, raw))
    if root.is_relative_to(cache):
        yield "cache_dir", cache, "it holds the warehouse; name a folder below one of its own"
    if cache.name in OWN_FOLDERS:
        yield "cache_dir", cache, f"a folder {cache.name} is kept beside it; name it otherwise"
    own = {cache.parent / name for name in OWN_FOLDERS}
    if {raw, *raw.parents} & {cache, *own}:
        yield "raw_data_dir", raw, "it must not lie within what is derived from it"


@dataclass(frozen=True)
class _Read:
    """Which file settings were read from; the same ones of two files are equal."""

    file: Path | None = dataclasses.field(default=None, compare=False)


class Config(_Section):
    """Everything of data_config.yaml, checked."""

    version: Annotated[int, Field(ge=1), AfterValidator(_known_version)] = CONFIG_VERSION
    source: SourceConfig = SourceConfig()
    storage: StorageConfig = StorageConfig()
    processing: ProcessingConfig = ProcessingConfig()
    download: DownloadConfig = DownloadConfig()
    cleaning: CleaningConfig = CleaningConfig()
    bars: BarsConfig = BarsConfig()
    validation: ValidationConfig = ValidationConfig()
    _read: _Read = PrivateAttr(_Read())

    def layout(self, root: Path) -> Layout:
        """The folders of the warehouse at `root`, absolute.

        Raises:
            ConfigError: DuckDB could not work there.
        """
        root = absolute(root)
        tier = self.storage.tier
        key = "cache_dir" if tier is None else "cache_disk_dir"
        cache = absolute(root / expanded(self.storage.cache_folder))
        # What follows a `?` DuckDB takes for the query of a URL, and writes its log elsewhere; a
        # `\\` it takes for a `/`.
        for letter in "?" if os.sep == "\\" else "?\\":
            if letter in str(cache):
                problem = f"no '{letter}' may be in the path"
                raise ConfigError(root / CONFIG_FILE, f"storage.{key}", str(cache), problem)
        raw = absolute(root / expanded(self.storage.raw_data_dir))
        conditions = absolute(root / expanded(self.bars.trade_conditions))
        for path in (root, cache, raw, conditions):
            try:
                str(path).encode()
            except UnicodeEncodeError:
                raise StorageError(
                    path, "its name is no UTF-8, which DuckDB cannot open; give it another"
                ) from None
        for name, value, problem in _in_the_way(root, raw, cache):
            told = key if name == "cache_dir" else name
            raise ConfigError(root / CONFIG_FILE, f"storage.{told}", str(value), problem)
        return Layout(
            root=root,
            raw=raw,
            cache=cache,
            modes=self.modes,
            own_conditions=conditions,
            tier=tier,
            source=self.source_folder(root),
            confines=_link_confines(root, self, "storage.raw_data_dir"),
            data_confines=_link_confines(root, self, "storage.cache_dir"),
        )

    def source_folder(self, root: Path) -> Path | None:
        """The folder that source.url names, as it is named; None: it names none.

        It is not looked at: a disk in the network that does not answer would hold up every command.
        """
        url = self.source.url
        if not url or ("://" in url and not url.startswith("file://")):
            return None
        return root / expanded(url.removeprefix("file://"))

    def said_by(self, root: Path) -> Path | None:
        """What says whose word the settings are: the file that they were read from, if any.

        It may bear any name, and stand beside the warehouse's own.
        """
        places = [root / CONFIG_FILE, root] if self._read.file is None else [self._read.file]
        return next((path for path in places if path.exists()), None)

    @property
    def modes(self) -> Modes:
        """The modes of what is made below data/."""
        return Modes(int(self.storage.file_mode, 8))

    def within(self, threads: int, memory_bytes: int) -> Config:
        """The same for a process that is one of many: it hands nothing on, and keeps no answers."""
        own = {
            "engine": "local",
            "parallel_workers": threads,
            "memory_limit_gb": memory_bytes / _GIB,
        }
        return self.model_copy(
            update={
                "processing": self.processing.model_copy(update=own),
                "storage": self.storage.model_copy(update={"max_cache_memory_gb": 0}),
            }
        )

    def sql_dir(self, root: Path) -> Path:
        return absolute(root / expanded(self.storage.sql_dir))


class _TextLoader(yaml.BaseLoader):
    """Reads every scalar as the text it is, and refuses a key that stands twice.

    YAML 1.1 would make a boolean of the symbols ON, NO and TRUE, and nothing of NULL; the types
    are Config's to give. A few lines of aliases stand for any number of values, and deep nesting
    for a stack that overflows: neither has a use here.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(
                "anchors and aliases (& and *) are not read; write the value out, or quote it"
                f" (line {event.start_mark.line + 1})"
            )
        if self._depth >= _MOST_NESTED:
            raise yaml.YAMLError(f"it is nested too deeply (line {event.start_mark.line + 1})")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            twice = next(key for key, count in Counter(keys).items() if count > 1)
            first = keys.index(twice)
            places = (first, keys.index(twice, first + 1))
            lines = " and ".join(f"{node.value[at][0].start_mark.line + 1}" for at in places)
            raise yaml.YAMLError(f"the key {twice!r} stands twice (lines {lines})")
        return mapping


def find_root(start: Path) -> Path:
    """The warehouse that `start` is, or is inside of: the first folder upwards with a config file.

    Raises:
        NotAWarehouseError: there is none.
        ForeignWarehouseError: it is somebody else's.
    """
    start = absolute(start)
    for folder in (start, *start.parents):
        file = folder / CONFIG_FILE
        if file.is_file():
            check_found(folder, (file.parent, file), f"warehouse -C {shell_word(str(folder))}")
            return folder
    raise NotAWarehouseError(start)


def locate(path: Path) -> tuple[Path, Path]:
    """The root of the warehouse that `path` names, and its configuration file.

    `path` may be such a file itself: of one that is not in a folder `config`, its own folder is
    the root.

    Raises:
        NotAWarehouseError: there is none.
        ForeignWarehouseError: it is above the folder that is named, and somebody else's.
    """
    if path.is_file():
        return (path.parent.parent if path.parent.name == "config" else path.parent), path
    if not path.is_dir():
        raise NotAWarehouseError(path)
    root = path if (path / CONFIG_FILE).is_file() else find_root(path)
    return root, root / CONFIG_FILE


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check a configuration file, with the environment's overrides.

    Raises:
        ConfigError: names the key, its value and what it may be.
    """
    try:
        settings = deepcopy(_parsed(read_small(path, MOST_BYTES))) or {}
    except (OSError, ValueError) as error:
        raise ConfigError(path, ConfigError.WHOLE, None, f"cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            path, ConfigError.WHOLE, None, f"is no valid YAML: {_told(error)}"
        ) from error
    if not isinstance(settings, dict):
        raise ConfigError(path, ConfigError.WHOLE, settings, "holds no sections such as `source:`")
    for section, value in settings.items():
        if section != "version" and value == "":
            settings[section] = {}
    names = _override(settings, os.environ if environ is None else environ)
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        key = ".".join(place)
        where: Path | str = names.get(key) or names.get(".".join(place[:2])) or path
        if first["type"] == "secret" or _PASSWORD.match(str(first["input"])):
            # Not even as the cause, which a traceback would show; nor of a key that takes no url.
            raise ConfigError(where, key, "(not shown)", _expectation(first, place)) from None
        raise ConfigError(where, key, first["input"], _expectation(first, place)) from error
    config._read = _Read(absolute(path))
    return config


@lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """What a file says; a command reads the same one several times."""
    return yaml.load(text, Loader=_TextLoader)


def _told(error: yaml.YAMLError) -> str:
    """What a parser found, and in which line; without the picture of it."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return one_line(error)
    return f"{error.problem} (line {error.problem_mark.line + 1})"


def check_paths(root: Path, file: Path, config: Config) -> None:
    """Refuse somebody else's configuration that leads out of the warehouse and what is theirs.

    Nor is work sent to the machines that it names, or the user's credentials to its bucket. What
    the environment says is the user's own word.

    Raises:
        ForeignWarehouseError: names the key, or the folder of the warehouse, and where it leads.
    """
    layout = config.layout(root)
    cache = "storage.cache_dir" if layout.tier is None else "storage.cache_disk_dir"
    paths = {
        cache: layout.cache,
        "storage.raw_data_dir": layout.raw,
        "storage.sql_dir": config.sql_dir(root),
        "bars.trade_conditions": layout.trade_conditions,
    }
    if (source := config.source_folder(absolute(root))) is not None:
        paths["source.url"] = source
    variables = {key: _variable(key) for key in paths}
    for key, variable in variables.items():
        if variable in os.environ:
            del paths[key]
    own = [root / "config"]
    if cache in paths:
        own += [layout.data, *layout.served, layout.catalog]
        own += [layout.data / name for name in sorted({*OWN_FOLDERS, *layout.shelves()})]
    if "storage.raw_data_dir" in paths:
        own += [layout.raw / name for name in DATA_TYPES]
    paths |= {str(path): path for path in own}
    paths |= {str(path): path for path in sorted((root / "config").glob("*.csv"))}
    if "storage.sql_dir" in paths and not is_own(file):
        # What stands in one is told where it cannot be parsed, and is noted beside the data.
        for below in ("*", "*/*.sql"):
            paths |= {str(path): path for path in sorted(paths["storage.sql_dir"].glob(below))}
    check_inside(root, file, paths, variables)
    elsewhere: dict[str, str] = {"processing.engine": config.processing.engine}
    if config.processing.engine == "spark":
        elsewhere["processing.spark_master"] = config.processing.spark_master
    if layout.tier is not None:
        elsewhere["storage.cache_dir"] = layout.tier.url
        if layout.tier.endpoint:
            elsewhere["storage.cache_endpoint"] = layout.tier.endpoint
    for key, value in elsewhere.items():
        if value != "local" and _variable(key) not in os.environ:
            check_own(file, f"{key} = {value}", _variable(key))


def check_server(root: Path, config: Config) -> None:
    """Refuse a server that somebody else's configuration names: the user's credentials go to it.

    The vendor's own is what they are for.

    Raises:
        ForeignWarehouseError: it names another, or a bucket there, that the environment does not.
    """
    file = config.said_by(root)
    if config.source.endpoint == SourceConfig().endpoint or file is None:
        return
    named = {"source.endpoint": config.source.endpoint or "AWS", "source.url": config.source.url}
    asked = {key: value for key, value in named.items() if _variable(key) not in os.environ}
    if asked:
        what = " and ".join(f"{key} = {value}" for key, value in asked.items())
        check_own(file, what, " and ".join(map(_variable, asked)))


def source_confines(root: Path, config: Config) -> Confines | None:
    """What the files of a source may be links to; None: anything.

    The source that the environment names is the user's own word.
    """
    return _link_confines(root, config, "source.url")


def _link_confines(root: Path, config: Config, key: str) -> Confines | None:
    """What links in the folder that a key names may lead to; None: anything."""
    owned_by = config.said_by(root)
    if owned_by is None or _variable(key) in os.environ:
        return None
    return confines_of(root, owned_by)


def _variable(key: str) -> str:
    return ENV_PREFIX + key.upper().replace(".", "__")


def _override(settings: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put `WAREHOUSE_SECTION__KEY` variables into the settings; returns key → variable.

    A key that holds others has theirs behind two underscores more.

    pydantic-settings would do this too, but it passes over a variable whose section it does not
    know, and a mistyped override that does nothing is the worst kind.
    """
    names = {}
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        section, between, key = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        if not between:
            _check_is_no_key(variable, section)
            continue
        target: Any = settings.setdefault(section, {})
        *groups, last = key.split("__")
        for group in groups:
            target = target.setdefault(group, {}) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target[last] = value
        names[".".join([section, *groups, last])] = variable
        if section not in Config.model_fields:
            names[section] = variable
    return names


def _check_is_no_key(variable: str, name: str) -> None:
    """Refuse a variable that begins with a section's name, and lacks what divides it from the key.

    Others that begin with WAREHOUSE_ are somebody else's.
    """
    for section, field in Config.model_fields.items():
        if name != section and not name.startswith(f"{section}_"):
            continue
        keys = getattr(field.annotation, "model_fields", None)
        if keys is None:
            continue
        meant = name.removeprefix(section).removeprefix("_")
        near = get_close_matches(meant, keys, 1) or ["KEY"]
        hint = f"{ENV_PREFIX}{section}__{near[0]}".upper()
        told = f"is no key of the configuration; two underscores divide section and key: {hint}"
        raise ConfigError(variable, ConfigError.WHOLE, None, told)


def _expectation(error: Any, place: list[str]) -> str:
    if error["type"] == "extra_forbidden":
        section: type[BaseModel] = Config
        for part in place[:-1]:
            annotation = section.model_fields[part].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                section = annotation
        return f"unknown key; {one_of(place[-1], section.model_fields)}"
    if error["type"] == "model_type":
        name = place[-1] if place else "source"
        return f"it must be a section: `{name}:`, and below it a line `  KEY: VALUE` for each key"
    if error["type"] == "tuple_type":
        return "it must be a list, as [A, B]"
    message: str = error["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]
