"""Three days of real market data come out right to the row.

Skipped where the data is absent: it is not part of the project.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from building import Made, check_accounts, day_key, make
from polars.testing import assert_frame_equal

from warehouse.core.datatypes import DATA_TYPES
from warehouse.pipeline.report import RunReport

FIRST, LAST = date(2013, 10, 7), date(2013, 10, 9)
DAYS = (FIRST, date(2013, 10, 8), LAST)
TEXT = {"ticker", "conditions", "id", "indicators"}
NAMES = {"ticker": "symbol", "sip_timestamp": "timestamp", "window_start": "timestamp",
         "transactions": "trades"}  # fmt: skip


@pytest.fixture(scope="module")
def updated(
    real_flatfiles: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Made, RunReport]:
    made = make(
        tmp_path_factory.mktemp("real"),
        source__url=str(real_flatfiles),
        processing__parallel_workers=4,
    )
    return made, made.update(start=FIRST, end=LAST)


@pytest.fixture(scope="module")
def digests(updated: tuple[Made, RunReport]) -> dict[str, str]:
    """Of the partitions as the update made them, with four workers."""
    return updated[0].digests()


def test_lines_are_rows_published_and_rows_rejected(updated: tuple[Made, RunReport]) -> None:
    made, report = updated

    assert {item.file.key for item in report.files} == {
        day_key(kind, day) for kind in DATA_TYPES for day in DAYS
    }
    check_accounts(made, report)
    made.check_catalog()


def by_polars(folder: Path, kind: str) -> pl.DataFrame:
    """The files as polars reads them, with our names and types, in the order of the tape."""
    columns = DATA_TYPES[kind].columns
    stamps = {field.name for field in columns if pa.types.is_timestamp(field.type)}
    frames = []
    for day in DAYS:
        raw = pl.read_csv(
            folder / day_key(kind, day),
            schema_overrides={
                name: pl.String
                if name in TEXT
                else pl.Int64
                if name not in {"price", "size"} and not name.endswith(("_price", "_size"))
                and name not in {"volume", "open", "high", "low", "close"}
                else pl.Float64
                for name in DATA_TYPES[kind].header
            },
        )  # fmt: skip
        raw = raw.rename({name: NAMES[name] for name in raw.columns if name in NAMES})
        if "vwap" in columns.names:
            raw = raw.with_columns(vwap=pl.lit(None, pl.Float64))
        frames.append(raw.with_columns(session=pl.lit(day)))
    frame = pl.concat(frames)
    for name in stamps:
        value = pl.when(pl.col(name) != 0).then(pl.col(name))
        frame = frame.with_columns(value.cast(pl.Datetime("ns")).alias(name))
    order = ["symbol", "session", *DATA_TYPES[kind].order]
    return frame.sort(order, maintain_order=True).select(columns.names)


@pytest.mark.parametrize("kind", DATA_TYPES)
def test_polars_finds_the_same_rows_in_the_files_as_in_the_partitions(
    kind: str, updated: tuple[Made, RunReport], real_flatfiles: Path
) -> None:
    expected = by_polars(real_flatfiles, kind)
    lines = {
        item.file.day: item.facts.lines for item in updated[1].files if item.file.data_type == kind
    }
    assert lines == dict(expected["session"].value_counts().rows())

    paths = [path for name, path in updated[0].partitions().items() if name.startswith(kind)]
    found = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])

    assert found.height > 30
    # Row for row, and in the same order; our integers are smaller than those polars reads.
    assert_frame_equal(found.cast(dict(expected.schema)), expected)


def test_pandas_finds_the_same_quotes_in_a_file_as_in_the_partitions(
    updated: tuple[Made, RunReport], real_flatfiles: Path
) -> None:
    raw = pd.read_csv(
        real_flatfiles / day_key("quotes", LAST),
        dtype={"ticker": str, "conditions": str, "indicators": str},
        keep_default_na=False,
    )
    raw = raw.sort_values(["ticker", "sip_timestamp", "sequence_number"], kind="stable")

    tables = [
        pd.read_parquet(path)
        for name, path in updated[0].partitions().items()
        if name.startswith("quotes")
    ]
    found = pd.concat(tables)
    found = found[found["session"] == LAST]

    assert found["timestamp"].astype("int64").tolist() == raw["sip_timestamp"].tolist()
    same = {"symbol": "ticker", "sequence_number": "sequence_number", "tape": "tape"}
    same |= {
        f"{side}_{what}": f"{side}_{what}"
        for side in ("bid", "ask")
        for what in ("price", "size", "exchange")
    }
    for ours, theirs in same.items():
        assert found[ours].tolist() == raw[theirs].tolist(), ours
    assert found["conditions"].fillna("").tolist() == raw["conditions"].tolist()


def test_a_second_update_does_nothing(updated: tuple[Made, RunReport]) -> None:
    made, _ = updated
    with made.unchanged():
        assert made.update(start=FIRST, end=LAST).did_nothing


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rebuild_gives_the_same_bytes_with_one_and_two_workers_as_with_four(
    workers: int, updated: tuple[Made, RunReport], digests: dict[str, str]
) -> None:
    made, _ = updated
    made.configure(processing__parallel_workers=workers)

    report = made.rebuild()

    assert len(report.files) == 12
    # Of day bars one for all symbols of the month.
    assert len(digests) == 11
    assert made.digests() == digests
    assert made.rejects() == []
