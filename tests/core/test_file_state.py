"""States of the vendor's files: what the catalog stores, and what a person reads."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest
from building import MakeWarehouse, day_key

from warehouse.core.file_state import FileState
from warehouse.errors import DamagedCatalogError
from warehouse.store.catalog import Catalog


def test_the_stored_values_stay() -> None:
    assert [str(state) for state in FileState] == [
        "downloaded", "ingested", "rows_lost", "set_aside", "failed", "missing", "not_yet",
        "not_in_plan",
    ]  # fmt: skip


def test_each_state_has_words_of_its_own() -> None:
    assert len({state.words for state in FileState}) == len(FileState)
    assert {state for state in FileState if state.is_here} == {
        FileState.DOWNLOADED, FileState.INGESTED, FileState.ROWS_LOST,
    }  # fmt: skip


def test_a_state_that_there_is_not_is_damage(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", date(2024, 1, 31)): []})
    made.update()
    with duckdb.connect(str(made.layout.catalog)) as connection:
        connection.execute("update source_files set state = 'lost'")
    with Catalog(made.layout) as catalog, pytest.raises(DamagedCatalogError, match="lost"):
        catalog.source_files()
