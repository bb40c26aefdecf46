"""Golden cases: what becomes of each line of a small file, written down by hand.

A case is a folder `cases/<data type>/<case>` with

    input.csv       a file's text, to the byte
    expected.csv    the rows that are published, by symbol, in the order of the tape; stamps are
                    nanoseconds since the epoch, an empty field is NULL
    rejects.csv     line_number, reason, symbol and (where it is kept) text of every other line
    settings.json   where the case wants them: `session`, `symbol` (the file is the symbol's own),
                    `config`
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from building import SESSION, Made, day_key, symbol_key

from warehouse.core.datatypes import DATA_TYPES

CASES = Path(__file__).parent / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/*/input.csv"))

NAN = "NaN"
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    data_type: str
    session: date
    symbol: str | None
    config: dict[str, Any]
    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Case:
        path = folder / "settings.json"
        settings = json.loads(path.read_text("utf-8")) if path.exists() else {}
        session = settings.get("session")
        return cls(
            folder.parent.name,
            date.fromisoformat(session) if session else SESSION,
            settings.get("symbol"),
            settings.get("config", {}),
            folder,
        )

    @property
    def key(self) -> str:
        if self.symbol is None:
            return day_key(self.data_type, self.session)
        return symbol_key(self.data_type, self.session, self.symbol)

    @property
    def columns(self) -> pa.Schema:
        return DATA_TYPES[self.data_type].columns

    def read(self, name: str) -> list[list[str]]:
        with open(self.folder / name, encoding="utf-8", newline="") as lines:
            return list(csv.reader(lines))[1:]

    def expected(self) -> list[Row]:
        return [
            tuple(value(field.type, text) for field, text in zip(self.columns, row, strict=True))
            for row in self.read("expected.csv")
        ]

    def typed(self, line_number: int) -> Row:
        """A line of the input as a row, by Python's csv module, float() and int()."""
        with open(self.folder / "input.csv", encoding="utf-8", newline="") as file:
            lines = file.read().split("\n")
        (header,), (fields,) = csv.reader(lines[:1]), csv.reader([lines[line_number - 1]])
        named = dict(zip(header, fields, strict=True))
        stamp = "window_start" if "window_start" in named else "sip_timestamp"
        theirs = {"symbol": "ticker", "timestamp": stamp, "trades": "transactions"}
        row = []
        for field in self.columns:
            text = named.get(theirs.get(field.name, field.name), "")
            if field.name == "session":
                text = self.session.isoformat()
            if pa.types.is_timestamp(field.type) and text and not 0 < int(text) < 2**63 - 1:
                # None, or no instant that DuckDB has.
                text = ""
            row.append(value(field.type, text))
        return tuple(row)


def value(kind: pa.DataType, text: str) -> Any:
    """What a field of that type holds; stamps as nanoseconds."""
    if text == "":
        return None
    if pa.types.is_floating(kind):
        return float(text)
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return int(text)
    return date.fromisoformat(text) if pa.types.is_date(kind) else text


def plainly(paths: list[Path], columns: pa.Schema, *, more: str = "") -> list[Row]:
    """Rows of Parquet files as a plain DuckDB reads them, file after file."""
    listed = ", ".join(
        f'epoch_ns("{field.name}")' if pa.types.is_timestamp(field.type) else f'"{field.name}"'
        for field in columns
    )
    rows: list[Row] = []
    for path in paths:
        query = f"select {more}{listed} from read_parquet($path, hive_partitioning = false)"
        rows += duckdb.execute(query, {"path": str(path)}).fetchall()
    return rows


def published(made: Made, case: Case) -> list[Row]:
    rows = plainly(list(made.partitions().values()), case.columns)
    # Folders are in the order of their encoded names; within each the order is the file's.
    return sorted(rows, key=lambda row: row[0])


def rejected(made: Made, case: Case) -> list[Row]:
    found = sorted((made.root / "data/rejects").glob("*/*/*.parquet"))
    rows = plainly(found, case.columns, more="line_number, reason, line, ")
    # As no NaN equals itself, and a rejected row may hold one.
    return sorted(tuple(NAN if item != item else item for item in row) for row in rows)


def test_there_are_cases_of_every_data_type() -> None:
    assert {folder.parent.name for folder in FOLDERS} == set(DATA_TYPES)
    assert set(CASES.glob("*/*")) == set(FOLDERS)


@pytest.mark.parametrize(
    ("folder", "layout"),
    [
        pytest.param(folder, layout, id=f"{folder.parent.name}-{folder.name}-{layout}")
        for folder in FOLDERS
        for layout in ("symbol", "market")
    ],
)
def test_each_line_is_published_or_rejected_as_the_case_says(
    folder: Path, layout: str, make_warehouse: Callable[..., Made]
) -> None:
    case = Case.of(folder)
    text = (folder / "input.csv").read_bytes()
    config = {**case.config, "storage__layout": dict.fromkeys(DATA_TYPES, layout)}
    made = make_warehouse({case.key: gzip.compress(text, mtime=0)}, **config)
    outside = sorted(path for path in made.root.parent.rglob("*") if made.root not in path.parents)

    (file,) = made.update(case.data_type).files

    assert file.problem is None
    expected = sorted(case.expected(), key=lambda row: row[0])
    assert published(made, case) == expected
    rejects = rejected(made, case)
    assert [(str(row[0]), row[1], row[3] or "", row[2] or "") for row in rejects] == [
        tuple(row) for row in case.read("rejects.csv")
    ]
    for number, _, line, *fields in rejects:
        if line is None and case.symbol is None:
            assert tuple(fields) == case.typed(number)
    lines = text.count(b"\n") - 1
    assert lines == file.facts.lines == len(expected) + len(rejects)
    assert {row["source"] for row in made.rejects()} <= {case.key}
    assert {row["data_type"] for row in made.rejects()} <= {case.data_type}

    # Nothing was written beside the warehouse, and each partition stands at depth two.
    assert outside == sorted(
        path for path in made.root.parent.rglob("*") if made.root not in path.parents
    )
    files = len({row[0] for row in expected}) if layout == "symbol" else min(len(expected), 1)
    assert len(made.partitions()) == files

    # To do it again changes no byte.
    digests = made.digests()
    made.rebuild(case.data_type)
    assert made.digests() == digests
    assert published(made, case) == expected
    assert rejected(made, case) == rejects
