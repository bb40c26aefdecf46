"""The typed read of a piece, and its proof.

DuckDB takes for an integer what is one with a blank, a plus, an underscore, a fraction, an exponent
or another base. A typed read is proved, piece by piece, to have met none of these:

1. Bytes that are none of `0-9 , - . / "` and the newline are as many as the columns of text have.
   So none stands in the field of a number, and what DuckDB takes there for an integer is digits,
   with or without a minus and a fraction. Each such form is longer than what it prints, unless it
   is what it prints.
2. The bytes of all fields, as they are printed, with the commas, newlines and quotes between them,
   are as many as the piece has. So each integer is what it prints.

Numbers with a fraction are read as text and cast by the statement, as sql/ingest does it; one that
cannot be cast is for sql/ingest to name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType
from warehouse.core.paths import shipped
from warehouse.sqlfolder.files import SqlFile, SqlFolder

_INTEGERS = {
    **dict.fromkeys(("correction", "tape"), "TINYINT"),
    **dict.fromkeys(("exchange", "bid_exchange", "ask_exchange", "trf_id"), "SMALLINT"),
    "transactions": "INTEGER",
    **dict.fromkeys(("sequence_number", "sip_timestamp", "window_start"), "BIGINT"),
    **dict.fromkeys(("participant_timestamp", "trf_timestamp"), "BIGINT"),
}
_PRINTED = "printed_bytes"
_BLOCK = 1 << 20
_COMMA, _NINE, _QUOTE, _LF = 44, 57, 34, 10


@dataclass
class Signs:
    """Of some bytes: how many are no part of a number or of the CSV, and how many are quotes."""

    others: int = 0
    quotes: int = 0

    def count(self, octets: npt.NDArray[np.uint8]) -> None:
        """Add those of further bytes."""
        for start in range(0, octets.size, _BLOCK):
            block = octets[start : start + _BLOCK]
            # From the comma to the nine stand those of a number, and a slash, which none can have.
            outside = np.count_nonzero(block - np.uint8(_COMMA) > _NINE - _COMMA)
            quotes = np.count_nonzero(block == _QUOTE)
            self.others += int(outside - quotes - np.count_nonzero(block == _LF))
            self.quotes += int(quotes)


def column_types(header: Sequence[str]) -> dict[str, str]:
    """The type that each column of a raw file is read as, in the file's order."""
    return {name: _INTEGERS.get(name, "VARCHAR") for name in header}


def typed_statement(sql: SqlFolder, kind: DataType, header: Sequence[str]) -> SqlFile | None:
    """What may take the place of sql/ingest; None: nothing.

    It may where sql/ingest and sql/clean are as the project ships them, so that it is known what
    they make of a row, and the file has no column that they do not know.
    """
    if len(header) > len(kind.header):
        return None
    for step in ("ingest", "clean"):
        if sql[f"{step}/{kind.name}"].body != shipped_file(f"{step}/{kind.name}").body:
            return None
    return _typed(kind.name)


@cache
def shipped_file(name: str) -> SqlFile:
    """A file of sql/ as the project ships it."""
    return SqlFolder(shipped("sql"))[name]


@cache
def _typed(name: str) -> SqlFile:
    return SqlFolder(Path(__file__).parent)[name]


def statement_of(typed: SqlFile, clean: SqlFile) -> str:
    """Both in one, for rows in the file's order: `clean` as it is, with one more column in front.

    To add the column up here would need the rows twice, and DuckDB keeps such rows in no order.
    """
    return (
        f"with ingested as (\n{typed.body}\n)\n"
        f"select {_PRINTED}, {clean.body.removeprefix('select')}"
    )


def proved(
    found: pa.Table, kind: DataType, fields: int, size: int, signs: Signs
) -> pa.Table | None:
    """The rows of a piece as sql/ingest and sql/clean return them; None: let these read it.

    Args:
        found: what the typed statement returns of it.
        fields: how many a row has.
        size: bytes of the piece's rows, and `signs` what there is among them.
    """
    rows = found.drop([_PRINTED])
    expected = pa.schema([*kind.columns, ("reason", pa.string())])
    if not rows.num_rows or rows.schema != expected:
        return None
    if pc.any(pc.starts_with(pc.unique(rows["reason"]), "malformed_")).as_py():
        return None
    inside = Signs()
    for field in kind.columns:
        if field.type == pa.string():
            for chunk in rows[field.name].chunks:
                inside.count(_bytes_of(chunk))
    between = rows.num_rows * fields + signs.quotes - inside.quotes
    is_plain = signs.others == inside.others
    return rows if is_plain and pc.sum(found[_PRINTED]).as_py() + between == size else None


def _bytes_of(texts: pa.Array) -> npt.NDArray[np.uint8]:
    """The bytes of all texts of an array."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.empty(0, np.uint8)
    edges = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8)[int(edges[0]) : int(edges[-1])]
