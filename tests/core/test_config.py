"""Configuration: every key checked on load, every complaint names the key, its value, its range."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from building import REPOSITORY

from warehouse.core.config import CONFIG_VERSION, Config, find_root, load
from warehouse.errors import ConfigError, NotAWarehouseError, WarehouseError
from warehouse.sqlfolder.files import SqlFolder

SHIPPED = REPOSITORY / "config" / "data_config.yaml"
SPECIFIED = {
    "storage.raw_data_dir": "./data/raw",
    "storage.cache_dir": "./data/cache",
    "storage.max_cache_memory_gb": 8,
    "storage.retention_days": 30,
    "processing.chunk_size": 1_000_000,
    "processing.parallel_workers": 4,
    "download.concurrent_downloads": 10,
    "download.retry_attempts": 3,
    "download.timeout_seconds": 300,
    "validation.max_price_deviation_std": 5,
    "validation.max_time_gap_minutes": 5,
    "validation.min_daily_trades": 100,
}
"""The keys and defaults of the user's own document."""

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(settings: Any) -> Path:
        path = tmp_path / "data_config.yaml"
        path.write_text(
            settings if isinstance(settings, str) else yaml.safe_dump(settings), "utf-8"
        )
        return path

    return write


def nested(key: str, value: Any) -> dict[str, Any]:
    section, _, name = key.partition(".")
    return {section: {name: value}}


def variable(key: str) -> str:
    return "WAREHOUSE_" + key.upper().replace(".", "__")


def every_key() -> list[str]:
    return [
        key
        for section, values in Config().model_dump().items()
        if isinstance(values, dict)
        for key in _keys(section, values)
    ]


def _keys(above: str, values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _keys(f"{above}.{name}", value)
        else:
            yield f"{above}.{name}"


def as_shipped() -> Config:
    """The defaults, but for what a new warehouse has otherwise, and an old one keeps."""
    market = Config().storage.layout.model_copy(update={"day_aggs": "market", "bars_1d": "market"})
    storage = Config().storage.model_copy(update={"layout": market})
    return Config().model_copy(update={"storage": storage})


# The file that comes with the project


def test_the_shipped_file_says_each_default_and_nothing_else() -> None:
    assert load(SHIPPED, {}) == as_shipped()
    written = yaml.safe_load(SHIPPED.read_text("utf-8"))
    listed = {key for section in written if section != "version"
              for key in _keys(section, written[section])}  # fmt: skip
    assert listed == set(every_key())


@pytest.mark.parametrize("key", SPECIFIED)
def test_a_specified_key_is_there_with_its_default(key: str) -> None:
    section, _, name = key.partition(".")
    assert yaml.safe_load(SHIPPED.read_text("utf-8"))[section][name] == SPECIFIED[key]


def test_no_secret_has_a_place_in_the_file() -> None:
    words = ("secret", "password", "token", "access_key", "credential")
    assert not [key for key in every_key() if any(word in key for word in words)]


# What may stand in it


def test_what_is_left_out_has_its_default(write: Write) -> None:
    config = load(write("processing:\n  chunk_size: 5000\n"), {})
    assert config.processing.chunk_size == 5000
    assert config.processing.parallel_workers == 4
    assert config.storage == Config().storage


@pytest.mark.parametrize("text", ["", "# nothing\n", "version: 1\n", "source:\nstorage:\n"])
def test_a_file_that_sets_nothing_is_all_defaults(text: str, write: Write) -> None:
    assert load(write(text), {}) == Config()


def test_symbols_that_yaml_takes_for_something_else_are_symbols(write: Write) -> None:
    path = write("source:\n  symbols: [ON, NO, TRUE, NULL, NA, 1E5, 007, BRK.B, ~, .inf, 1_000]\n")
    assert load(path, {}).source.symbols == (
        "ON", "NO", "TRUE", "NULL", "NA", "1E5", "007", "BRK.B", "~", ".inf", "1_000",
    )  # fmt: skip


def test_symbols_are_case_sensitive(write: Write) -> None:
    path = write("source:\n  symbols: [BCpC, BCPC]\n")
    assert load(path, {}).source.symbols == ("BCpC", "BCPC")


def test_a_config_cannot_be_changed_once_it_is_loaded() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().processing.chunk_size = 5  # type: ignore[misc]


# What may not


REFUSED = [
    ("processing.chunk_size", 0),
    ("processing.chunk_size", -1),
    ("processing.chunk_size", 999),
    ("processing.chunk_size", 1.5),
    ("processing.chunk_size", "many"),
    ("processing.chunk_size", [1000]),
    ("processing.chunk_size", {"a": 1}),
    ("processing.parallel_workers", 0),
    ("processing.parallel_workers", 100_000),
    ("processing.memory_limit_gb", 0),
    ("processing.memory_limit_gb", 0.1),
    ("processing.memory_limit_gb", -2),
    ("processing.memory_limit_gb", "nan"),
    ("processing.memory_limit_gb", "inf"),
    ("processing.memory_limit_gb", "2GB"),
    ("storage.max_cache_memory_gb", 0),
    ("storage.max_cache_memory_gb", "nan"),
    ("storage.retention_days", -1),
    ("storage.raw_data_dir", ""),
    ("storage.cache_dir", ""),
    ("storage.cache_dir", "s3:/bucket/prefix"),
    ("storage.cache_dir", "gs://bucket/prefix"),
    ("storage.cache_dir", "s3://"),
    ("storage.raw_data_dir", [1]),
    ("download.concurrent_downloads", 0),
    ("download.retry_attempts", -1),
    ("download.timeout_seconds", 0),
    ("download.timeout_seconds", "nan"),
    ("source.layout", "week"),
    ("source.layout", "Day"),
    ("source.symbols", {"A": 1}),
    ("source.symbols", ["*"]),
    ("source.symbols", ["AAPL", ""]),
    ("source.symbols", "*"),
    ("cleaning.corrections", []),
    ("cleaning.corrections", [-1]),
    ("cleaning.corrections", ["x"]),
    ("validation.max_price_deviation_std", 0),
    ("validation.max_time_gap_minutes", -5),
    ("validation.max_time_gap_minutes", "nan"),
    ("validation.min_daily_trades", -1),
    ("processing.chunksize", 1000),
    ("storage.data_dir", "/x"),
    ("prosessing.chunk_size", 1000),
]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_value_that_makes_no_sense_is_an_error_that_names_the_key(
    key: str, value: Any, write: Write
) -> None:
    path = write(nested(key, value))

    with pytest.raises(ConfigError) as caught:
        load(path, {})

    message = str(caught.value)
    known = key if key.partition(".")[0] in Config.model_fields else key.partition(".")[0]
    assert caught.value.key.startswith(known)
    assert message.startswith(f"{path}: {known}")
    assert "\n" not in message
    assert caught.value.expected


def test_an_unknown_key_is_told_which_ones_there_are(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"unknown key; it may be .*chunk_size") as caught:
        load(write(nested("processing.chunksize", 1000)), {})
    assert caught.value.value == "1000"


def test_an_unknown_section_is_told_which_ones_there_are(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"unknown key; it may be .*processing"):
        load(write(nested("prosessing.chunk_size", 1000)), {})


def test_a_file_of_a_later_version_asks_for_an_upgrade(write: Write) -> None:
    with pytest.raises(
        ConfigError, match=r"later version of flatfile-warehouse.*upgrade"
    ) as caught:
        load(write({"version": CONFIG_VERSION + 1}), {})
    assert caught.value.key == "version"


def test_a_later_version_is_what_is_named_though_other_keys_are_unknown_too(write: Write) -> None:
    with pytest.raises(ConfigError, match="later version"):
        load(write({"version": CONFIG_VERSION + 1, "later": {"key": 1}}), {})


@pytest.mark.parametrize("version", [0, -1, "one", 1.5])
def test_a_version_that_is_none_is_an_error(version: Any, write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write({"version": version}), {})
    assert caught.value.key == "version"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("source: [\n", "is no valid YAML"),
        ("source:\n\turl: x\n", "is no valid YAML"),
        ("- a\n- b\n", "holds no sections"),
        ("just text\n", "holds no sections"),
        ("source:\n  url: a\n  url: b\n", "the key 'url' stands twice (lines 2 and 3)"),
        (
            "source:\n  url: a\nsource:\n  url: b\n",
            "the key 'source' stands twice (lines 1 and 3)",
        ),
        ("source: text\n", "source"),
        ("source: [1]\n", "source"),
        ("? [a, b]\n: 1\n", ""),
        ("a: &x [*x]\n", ""),
        ("\x00\x01", "it holds NUL"),
        ("\x01", "is no valid YAML"),
        ("1: 2\n", "unknown key"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line_of_complaint(
    text: str, problem: str, write: Write
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(text), {})
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml", {})
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path, {})


# The environment


IN_THE_ENVIRONMENT = {
    "source.url": "s3://flatfiles",
    "source.layout": "symbol",
    "source.symbols": "AAPL, NA",
    "storage.raw_data_dir": "/big/disk/raw",
    "processing.chunk_size": "5000",
    "processing.memory_limit_gb": "1.5",
    "download.timeout_seconds": "30",
    "validation.min_daily_trades": "0",
}


@pytest.mark.parametrize("key", IN_THE_ENVIRONMENT)
def test_the_environment_overrides_the_file(key: str) -> None:
    text = IN_THE_ENVIRONMENT[key]
    section, _, name = key.partition(".")

    config = load(SHIPPED, {variable(key): text})

    found = getattr(getattr(config, section), name)
    if key == "source.symbols":
        assert found == ("AAPL", "NA")
    else:
        assert str(found).removesuffix(".0") == text
    default = getattr(getattr(Config(), section), name)
    assert found != default


@pytest.mark.parametrize("key", every_key())
def test_every_key_can_be_set_in_the_environment_to_its_default(key: str) -> None:
    default: Any = as_shipped()
    for name in key.split("."):
        default = getattr(default, name)
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)

    assert load(SHIPPED, {variable(key): text}) == as_shipped()


def test_a_key_within_a_key_can_be_set_in_the_environment() -> None:
    name = "WAREHOUSE_STORAGE__LAYOUT__DAY_AGGS"
    assert load(SHIPPED, {name: "symbol"}).storage.layout.of("day_aggs") == "symbol"
    with pytest.raises(ConfigError, match=name):
        load(SHIPPED, {name: "heap"})
    with pytest.raises(ConfigError, match="unknown key"):
        load(SHIPPED, {"WAREHOUSE_STORAGE__LAYOUT__NEWS": "market"})


def test_a_list_in_the_environment_may_be_empty() -> None:
    assert load(SHIPPED, {"WAREHOUSE_SOURCE__SYMBOLS": ""}).source.symbols == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WAREHOUSE_PROCESSING__CHUNK_SIZE", "many"),
        ("WAREHOUSE_PROCESSING__CHUNKSIZE", "1000"),
        ("WAREHOUSE_PROSESSING__CHUNK_SIZE", "1000"),
        ("WAREHOUSE_STORAGE__RETENTION_DAYS", "-1"),
    ],
)
def test_a_wrong_override_is_an_error_that_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(SHIPPED, {name: text})
    assert name in str(caught.value)


@pytest.mark.parametrize("key", ["RAW_DATA_DIR", "CACHE_DIR", "CACHE_DISK_DIR", "SQL_DIR"])
@pytest.mark.parametrize("part", ["$HOME", "${BIG_DISK}"])
def test_a_variable_within_a_path_is_refused_for_it_would_be_the_name_of_a_folder(
    key: str, part: str
) -> None:
    name = f"WAREHOUSE_STORAGE__{key}"
    for path in (f"{part}/store", f"/srv/{part}/store"):
        with pytest.raises(ConfigError, match=re.escape(f"{part} is not filled in here")) as caught:
            load(SHIPPED, {name: path})
        assert name in str(caught.value)
    assert load(SHIPPED, {name: "/mnt/c$/5$"})


def test_other_variables_are_left_alone() -> None:
    others = {"WAREHOUSE": "x", "WAREHOUSE_HOME": "x", "PROCESSING__CHUNK_SIZE": "x", "PATH": "/"}
    assert load(SHIPPED, others) == as_shipped()


def test_the_processes_own_environment_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_STORAGE__RAW_DATA_DIR", "/big/disk/raw")
    assert load(SHIPPED).storage.raw_data_dir == Path("/big/disk/raw")


# Where everything stands


def test_relative_paths_start_at_the_warehouse(write: Write, tmp_path: Path) -> None:
    config = load(write({"storage": {"raw_data_dir": "r", "cache_dir": "/elsewhere/cache"}}), {})
    layout = config.layout(tmp_path)

    assert layout.raw == tmp_path / "r"
    assert layout.cache == Path("/elsewhere/cache")
    # What is renamed into place lies beside the cache, on one file system.
    assert layout.catalog == Path("/elsewhere/warehouse.duckdb")
    assert layout.staging.parent == layout.rejects.parent == layout.cache.parent


def test_a_path_may_start_at_home(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/quant")
    config = load(write({"storage": {"raw_data_dir": "~/raw"}}), {})
    assert config.layout(tmp_path).raw == Path("/home/quant/raw")


def test_a_warehouse_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    root = tmp_path / "w"
    below = root / "data" / "raw"
    below.mkdir(parents=True)
    (root / "config").mkdir()
    (root / "config" / "data_config.yaml").write_text("version: 1\n")

    assert find_root(root) == find_root(below) == root


def test_a_folder_that_is_no_warehouse_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotAWarehouseError, match="warehouse init") as caught:
        find_root(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WAREHOUSE_STORAGE", "WAREHOUSE_STORAGE__KEY"),
        ("WAREHOUSE_STORAGE_RETENTION_DAYS", "WAREHOUSE_STORAGE__RETENTION_DAYS"),
        ("WAREHOUSE_source_urll", "WAREHOUSE_SOURCE__URL"),
    ],
)
def test_an_override_without_its_two_underscores_is_not_passed_over(
    name: str, meant: str, write: Write
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(""), {name: "AKIA-not-to-be-shown"})
    assert str(refused.value).startswith(f"{name}: is no key")
    assert str(refused.value).endswith(f": {meant}")
    assert "AKIA" not in str(refused.value)
    for other in ("WAREHOUSE_HOME", "WAREHOUSE_VERSION", "WAREHOUSE_STORAGES", "WAREHOUSE_"):
        assert load(write(""), {other: "1"}) == Config()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("source: [", r"expected the node content, but found '<stream end>' \(line 1\)"),
        ("source:\n\turl: x", r"found character '\\t' that cannot start any token \(line 2\)"),
        ("source: {url: *x}", r"anchors and aliases .* \(line 1\)"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line_alone(text: str, told: str, write: Write) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: is no valid YAML: {told}$"):
        load(path, {})


def test_day_bars_lie_as_other_bars_do_where_nothing_is_said_of_them(write: Write) -> None:
    def layouts(**said: str) -> list[str]:
        layout = load(write({"storage": {"layout": said}}), {}).storage.layout
        return [layout.of(name) for name in ("bars_1d", "bars_1m", "bars_24h")]

    assert layouts() == ["symbol"] * 3
    assert layouts(day_aggs="market") == ["symbol"] * 3
    assert layouts(bars="market") == ["market"] * 3
    assert layouts(bars_1d="market") == ["market", "symbol", "symbol"]
    assert layouts(bars="market", bars_1d="symbol") == ["symbol", "market", "market"]
    shipped = load(SHIPPED, {}).storage.layout
    assert shipped.of("bars_1d") == shipped.of("day_aggs") == "market"


@pytest.mark.parametrize("key", ["source", "storage.layout", "cleaning"])
@pytest.mark.parametrize("value", [["a", "b"], [{"url": "x"}], "s3://x"])
def test_a_section_that_is_none_is_told_how_one_is_written(
    write: Write, key: str, value: Any
) -> None:
    section, _, name = key.partition(".")
    path = write({section: {name: value} if name else value})
    with pytest.raises(
        ConfigError, match=f"{key} = .*: it must be a section: `{name or section}:`"
    ):
        load(path, {})


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-16", "it is UTF-16, not UTF-8; save it as UTF-8"),
        ("utf-16-le", "it holds NUL, as UTF-16 does; save it as UTF-8"),
        ("latin-1", "it is not UTF-8 (line 3); save it as UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["config/data_config.yaml", "sql/validate/zero_sizes.sql"])
def test_what_is_no_utf8_is_told_to_be_saved_as_utf8(
    tmp_path: Path, name: str, encoding: str, told: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    letter = "é" if encoding == "latin-1" else "e"
    path.write_bytes(f"a:\n\n{letter}\n".encode(encoding))
    sql = SqlFolder(tmp_path / "sql")
    with pytest.raises(WarehouseError) as caught:
        _ = load(path, {}) if name.endswith(".yaml") else sql["validate/zero_sizes"]
    assert told in str(caught.value)
    assert "init" not in str(caught.value)


PASSWORDS = [
    *("https://me:hunter2@host", "//me:hunter2@host", "me:hunter2@host", "http:me:hunter2@host"),
    *("s3://me:hunter2@bucket/x", "s3:me:hunter2@bucket", "https://me:hun/ter2@host"),
]


@pytest.mark.parametrize(
    "key",
    [
        *("source.url", "source.endpoint", "storage.cache_endpoint"),
        *("source", "source.layout", "source.urls", "storage.file_mode", "processing.chunk_size"),
    ],
)
@pytest.mark.parametrize("url", PASSWORDS)
def test_a_password_in_a_url_is_told_and_not_shown_whatever_key_it_was_given_to(
    key: str, url: str, write: Write
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(nested(key, url)), {})
    assert "ter2" not in "".join(traceback.format_exception(caught.value))
    assert "(not shown)" in str(caught.value)


@pytest.mark.parametrize("url", ["https://host:80/x", "s3://bucket/a@b", "/data/a:b@c", "./a@b"])
def test_a_url_or_path_without_a_password_is_none(url: str, write: Write) -> None:
    assert load(write(nested("source.url", url)), {}).source.url == url


ANYTHING = [
    *("", "~", "null", "true", "-7", "0", "1e308", "1e999", "nan", "-.inf", "0x10", "0o17", "1:30"),
    *("1" + "0" * 5_000, "'\u0661\u0662'", "'\u00b2'", '"\\e[31m"', '"a\\u202eb"', '"a\\0b"'),
    *(
        '"\\ud800"',
        '"a\\nb"',
        '"5m\\n"',
        '"\\ufeffa"',
        "../../x",
        "/",
        "~nobody/x",
        "$HOME",
        "a" * 300,
    ),
    *(
        '"a*b[c]?"',
        "[a, [b]]",
        "[{a: b}]",
        "{a: {b: c}}",
        '["a\\0"]',
        "[null]",
        "&x y",
        "*x",
        "!!int x",
    ),
    *("!!python/object/apply:os.system [x]", "!!binary aGk=", "2020-13-45", "{<<: {a: b}}"),
    *("[" * 30 + "]" * 30, "s3://b/../x", '"s3://b/\\e[0m"', "http://h:-1", '"http://h\\r\\nX: y"'),
    *("file:///etc/passwd", "http://", "x" * 50_000),
]
"""As they stand in the file."""


@pytest.mark.parametrize("key", every_key())
def test_whatever_stands_at_a_key_is_taken_or_refused_in_one_line(key: str, tmp_path: Path) -> None:
    path = tmp_path / "data_config.yaml"
    *sections, last = key.split(".")
    above = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(sections))
    for value in ANYTHING:
        path.write_text(f"{above}{'  ' * len(sections)}{last}: {value}\n", "utf-8")
        told = ""
        try:
            config = load(path, {})
            config.layout(tmp_path)
            config.sql_dir(tmp_path)
            config.source_folder(tmp_path)
        except WarehouseError as error:
            told = str(error)
        assert told == "" or told.isprintable(), value
        assert len(told) < 1_000, value
