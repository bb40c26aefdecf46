"""What a warehouse says of itself beside its rows is a stranger's word until it is checked."""

from __future__ import annotations

import ast
import json
import os
import tracemalloc
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made, MakeWarehouse, day_key, instant, trade

from warehouse.core import small_files
from warehouse.core.paths import Layout
from warehouse.errors import CorruptPartitionError, DamagedCatalogError
from warehouse.sqlfolder import transform_version
from warehouse.store import manifests
from warehouse.store.catalog import Catalog
from warehouse.store.partitions import DIGEST_KEY, METADATA_KEY, _digest, describe
from warehouse.store.publishing import kept_tables
from warehouse.store.publishing.recover_catalog import _Rejects, take_inventory

PACKAGE = Path(small_files.__file__).parents[1]
DAY = date(2024, 1, 2)
DEEP = b'{"a":' * 100_000


@pytest.fixture(scope="module")
def published(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("trades", DAY): [trade("AAPL", instant(DAY)), "too,few"]})
    made.update("trades")
    return made


def test_a_text_is_nested_too_deeply_by_itself_alone() -> None:
    """Not where its reader was called by many, one within another."""

    def read(depth: int) -> object:
        try:
            return read(depth + 1)
        except RecursionError:
            return small_files.json_value(nested)

    nested = "[" * 100 + "]" * 100
    assert read(0) == json.loads(nested)
    with pytest.raises(ValueError, match="nested too deeply"):
        small_files.json_value(DEEP)


def test_a_small_file_takes_no_more_memory_than_it_has_bytes(published: Made) -> None:
    """Room for all that such a file may have was set aside, 256 MiB and more, before a read."""
    layout = published.layout
    manifest = next(layout.manifests.rglob("*.parquet"))
    path = layout.cache / "read.json"
    path.write_text("{}")
    tracemalloc.start()
    try:
        with open(manifest, "rb") as file:
            assert small_files.up_to(file, 1 << 30) == manifest.read_bytes()
        small_files.read_small(path, 1 << 30)
        small_files.read_sidecar(path, 1 << 30)
        manifests._rows(manifest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        path.unlink()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "text", [DEEP, b"[" * 100_000, b'{"a": 1, "a": 2}', b"\xff", b"", b"1" * 9_999]
)
def test_what_is_no_json_of_ours_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        small_files.parsed_json(text)


def test_a_text_of_more_short_values_than_any_of_ours_is_refused_before_it_is_parsed() -> None:
    """A text of 150 MB in a catalog's findings took 9 GB of memory, and a minute."""
    text = "[" + "[]," * (2 << 20) + "1]"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many, and too short"):
            small_files.parsed_json(text)
        with pytest.raises(ValueError, match="too many, and too short"):
            small_files.parsed_names(b"[" + b"[]," * 99 + b"1]")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert len(small_files.parsed_json("[" + "1," * 100_000 + "1]")) == 100_001


PARSES_JSON = {
    "core/small_files": "the door",
    "sqlfolder/determinism": "a syntax tree that DuckDB made",
    "sqlfolder/feature_select": "a plan that DuckDB made",
    "sqlfolder/shipped_files": "a list that comes with the project",
}


def calls_of(path: Path, module: str, name: str) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in (name, f"{name}s")
        and isinstance(node.value, ast.Name)
        and node.value.id == module
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


@pytest.mark.parametrize(
    ("module", "name", "allowed"),
    [("json", "load", set(PARSES_JSON)), ("pickle", "load", {"executors/work"})],
)
def test_what_a_warehouse_brings_is_parsed_in_one_place_alone(
    module: str, name: str, allowed: set[str]
) -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path in paths
        if calls_of(path, module, name)
    } == allowed


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_large_file(path: Path) -> None:
    path.touch()
    os.truncate(path, small_files.MOST_SIDECAR_BYTES + 1)


def other(record: Any) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(record))


ENTRY = {"fingerprint": "x", "text": "y"}


@pytest.mark.parametrize(
    "plant",
    [
        a_pipe,
        a_link,
        a_large_file,
        Path.mkdir,
        lambda path: path.write_bytes(DEEP),
        other([]),
        other({"statements": {"a": ENTRY}, "settings": ["a"]}),
        other({"statements": {"a": {**ENTRY, "text": 1}}, "settings": {}}),
        other({"statements": [], "settings": {}}),
    ],
)
def test_a_recipe_that_is_none_is_not_kept(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    layout = Layout(tmp_path, tmp_path / "raw", tmp_path / "data/cache")
    layout.recipes.mkdir(parents=True)
    plant(transform_version.path_of(layout, "ab"))
    assert transform_version.load(layout, "ab") is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("data_type", "../../.."),
        ("data_type", "quotes"),
        ("source", "x"),
        ("day", date(2024, 2, 1)),
    ],
)
def test_a_ledger_that_speaks_of_other_files_enters_no_catalog(
    published: Made, column: str, value: Any
) -> None:
    path = published.layout.ledger_of("trades", DAY)
    whole = path.read_bytes()
    page = kept_tables.read_ledger(path)
    place = page.schema.get_field_index(column)
    forged = pa.array([value] * page.num_rows, page.schema.field(column).type)
    pq.write_table(page.set_column(place, page.schema.field(column), forged), path)
    try:
        found, damaged = take_inventory(published.layout, 1)
        assert damaged == [path]
        # What partitions and rejects say stands.
        assert [record.source for record in found.files] == [day_key("trades", DAY)]
    finally:
        path.write_bytes(whole)


def test_rejects_that_repeat_are_counted_and_take_no_memory(published: Made) -> None:
    (path,) = published.layout.rejects.glob("trades/*/*.parquet")
    whole = path.read_bytes()
    rows = pq.read_table(path)
    many = rows.take(pa.array(np.zeros(1 << 20, np.int64)))
    pq.write_table(many, path)
    del many
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        found = _Rejects.read(published.layout, damaged := [])
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        assert pa.total_allocated_bytes() - before < 20 << 20
    finally:
        tracemalloc.stop()
        path.write_bytes(whole)
    assert damaged == []
    assert found.by_source[day_key("trades", DAY)].total() == 1 << 20
    assert found.by_symbol.total() == 1 << 20


def test_a_catalog_that_speaks_of_no_data_type_is_damaged(published: Made) -> None:
    whole = published.layout.catalog.read_bytes()
    with duckdb.connect(str(published.layout.catalog)) as catalog:
        catalog.execute("update source_files set data_type = '../../..'")
    try:
        with Catalog(published.layout) as read, pytest.raises(DamagedCatalogError):
            read.source_files()
    finally:
        published.layout.catalog.write_bytes(whole)


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", "1"), ("rows", 1.0), ("rows", True), ("rejects", None), ("etag", 5), ("source", None),
     ("session", 20240102), ("fingerprint", {}), ("more", 1)],
)  # fmt: skip
def test_a_partition_that_says_of_itself_what_none_would_is_damaged(
    published: Made, tmp_path: Path, key: str, value: Any
) -> None:
    path = published.layout.partition("trades", "AAPL", DAY.replace(day=1))
    copy = tmp_path / "trades/AAPL/2024_01.parquet"
    copy.parent.mkdir(parents=True)
    with pq.ParquetFile(path) as file:
        rows, told = file.read(), dict(file.metadata.metadata)
    record = json.loads(told[METADATA_KEY])
    record["sessions"][0][key] = value
    text = json.dumps(record).encode()
    with pq.ParquetWriter(copy, rows.schema, store_schema=False) as writer:
        writer.add_key_value_metadata({**told, METADATA_KEY: text, DIGEST_KEY: _digest(text)})
        writer.write_table(rows)
    with pytest.raises(CorruptPartitionError):
        describe(copy)
