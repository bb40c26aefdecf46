"""A line of a raw file comes to the same whatever stands beside it, and however large a piece is.

Duplicates and the order of rows apart: those are about more lines than one.
"""

from __future__ import annotations

import csv
import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import HEADERS, REPOSITORY, SESSION, Made, day_key, instant, trade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.ingest.cleaning import Cleaner
from warehouse.ingest.inflate import Inflater
from warehouse.ingest.lines import is_row, no_rows
from warehouse.ingest.rejects import RejectsWriter
from warehouse.sqlfolder.files import SqlFolder

T = instant(SESSION, "09:30")
KIND = DATA_TYPES["trades"]
GOOD = trade("AAPL", T, conditions='"12,37"')
FIELDS = len(KIND.header)

# What may stand in a field, or instead of one: CSV's own marks, and what number readers are lax in.
PARTS = (
    *('"', '""', '"""', '""""', '"12,37"', '"A"', 'A"B', 'A"', '"A', '"A" ', ' "A"', '"A"B'),
    *(
        '"A""B"',
        '"A"""',
        "",
        " ",
        "\t",
        ",",
        ",,",
        "'",
        "\\",
        '\\"',
        "#",
        "\ufeff",
        "\u00a0",
        "\x1a",
    ),
    *(
        "0",
        "1",
        "-1",
        "+1",
        " 1",
        "1 ",
        "01",
        "1_0",
        "0x10",
        "0b1",
        "1e3",
        "1E3",
        "1.",
        ".5",
        "1.0",
    ),
    *("-0", "-0.0", "1e400", "-1e400", "1e-400", "inf", "nan", "NaN", "-inf", "Infinity", "NULL"),
    *("\u0661", "\uff11", "1\u00a0", "1,5", '"1,5"', "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775808", "128", "32768", "1" * 400, "true", "2024-01-31", str(T), f"{T}.0"),
    *("x" * 70, "BRK.B", "NA", "\u2028", "\x0b", "\x7f", "1;2", "1|2"),
)


def spoiled(fields: list[str], place: int, part: str, how: str) -> str:
    """A line of these fields, with a part in place of one, or put before, after or within it."""
    place %= len(fields)
    old = fields[place]
    new = {
        "instead": part,
        "before": part + old,
        "after": old + part,
        "quoted": f'"{part}"',
        "beside": f"{old},{part}",
    }[how]
    return ",".join([*fields[:place], new, *fields[place + 1 :]])


PLAIN = GOOD.replace('"12,37"', "12").split(",")
SPOILED = st.builds(
    spoiled,
    st.sampled_from([PLAIN, [*PLAIN[:1], '"12,37"', *PLAIN[2:]]]),
    st.integers(0, FIELDS - 1),
    st.sampled_from(PARTS),
    st.sampled_from(["instead", "before", "after", "quoted", "beside"]),
)
ANY = st.lists(st.sampled_from(['"', '""', ",", "A", " ", "1"]), max_size=40).map("".join)
CUT = st.builds(lambda count: ",".join(PLAIN[:count]), st.integers(0, FIELDS - 1))
LINES = SPOILED | ANY | CUT | st.sampled_from([GOOD, GOOD + ",", GOOD + ",,,", '"', "", ","])

SQL = SqlFolder(REPOSITORY / "sql")


def fates(cleaner: Cleaner, folder: Path, lines: list[str], rows: int) -> list[Any]:
    """What becomes of each line: its values, or why it is refused."""
    path = folder / "2024-01-31.csv.gz"
    path.write_bytes(gzip.compress("\n".join([HEADERS["trades"], *lines, ""]).encode(), 1))
    found: dict[int, Any] = {}
    file = RawFile("trades", SESSION)
    # Pieces end with blocks, and these are larger than the text: it is cut by hand.
    for start in range(0, len(lines), rows):
        part = lines[start : start + rows]
        path.write_bytes(gzip.compress("\n".join([HEADERS["trades"], *part, ""]).encode(), 1))
        for piece in Inflater(path, KIND.header, 1000, 1 << 40, folder).pieces():
            cleaned = cleaner.clean(file, KIND, path, piece)
            piece.close()
            texts = dict(zip(*cleaned.texts.to_pydict().values(), strict=True))
            for row in cleaned.rows.to_pylist():
                number = row.pop("line_number")
                # 0.0 and -0.0 are one value, NaN is none.
                found[start + number - 2] = (repr(row), texts.get(number))
            for row in cleaned.malformed.to_pylist():
                found[start + row["line_number"] - 2] = ("malformed_line", row["line"])
    assert sorted(found) == list(range(len(lines)))
    return [found[number] for number in range(len(lines))]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(LINES, min_size=1, max_size=12),
    st.lists(LINES, max_size=4),
    st.integers(1, 6),
)
def test_what_becomes_of_a_line_does_not_depend_on_other_lines_or_on_pieces(
    lines: list[str], others: list[str], rows: int
) -> None:
    settled = {"corrections": [0, 1]}
    with (
        tempfile.TemporaryDirectory() as folder,
        Cleaner(SQL, Path(folder), 1, 200_000_000, settled) as cleaner,
    ):
        alone = fates(cleaner, Path(folder), lines, 1)

        assert fates(cleaner, Path(folder), lines, rows) == alone
        among = fates(cleaner, Path(folder), [*others, *lines, *others[::-1]], 100)
        assert among[len(others) : len(others) + len(lines)] == alone
        among = fates(cleaner, Path(folder), [GOOD, *lines[::-1], GOOD], 100)
        assert among[1:-1][::-1] == alone


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=30), st.integers(1, 14))
def test_a_block_is_judged_as_each_of_its_lines_by_itself(lines: list[str], fields: int) -> None:
    block = np.frombuffer("".join(f"{line}\n" for line in lines).encode(), np.uint8)
    ends = np.flatnonzero(block == ord("\n"))

    found = no_rows(block, ends, fields).tolist()

    assert found == [n for n, line in enumerate(lines) if not is_row(line.encode(), fields)]


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_what_is_a_row_is_read_by_the_csv_module_to_as_many_fields(line: str) -> None:
    if is_row(line.encode(), FIELDS):
        assert len(next(csv.reader([line], strict=True))) == FIELDS


@pytest.mark.parametrize(
    "line",
    [
        GOOD + ",",
        GOOD + ",,,",
        GOOD.replace('"12,37"', '"12,37" '),
        GOOD.replace('"12,37"', ' "12,37"'),
        GOOD.replace("AAPL", 'A"B'),
        GOOD.replace("AAPL", 'AAPL"'),
        GOOD.replace('"12,37"', '"12"37'),
        GOOD.replace('"12,37"', '"12,37'),
        GOOD.removesuffix(",0"),
        "",
    ],
)
@pytest.mark.parametrize("neighbour", ["", "AAPL,too,few", '"'])
def test_what_is_no_row_is_refused_as_it_stands_with_and_without_a_broken_line_beside_it(
    line: str, neighbour: str, make_warehouse: Callable[..., Made]
) -> None:
    beside = [neighbour] if neighbour else []
    made = make_warehouse(
        {day_key("trades", SESSION): [GOOD, line, *beside, trade("AAPL", T + 1, 2)]}
    )

    made.update("trades")

    refused = [(row["reason"], row["line"]) for row in made.rejects()]
    assert refused == [("malformed_line", text) for text in (line, *beside)]
    assert made.table("trades")["sequence_number"].to_pylist() == [1, 2]


def test_a_file_of_no_rows_at_all_is_read_and_each_line_is_refused(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse({day_key("trades", SESSION): ['"', "", GOOD + ","]})

    (file,) = made.update("trades").files

    assert (file.problem, file.rows_rejected) == (None, 3)
    assert [row["line_number"] for row in made.rejects()] == [2, 3, 4]


def test_lines_that_are_no_rows_are_written_few_at_a_time_however_many_a_piece_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    append = RejectsWriter._append

    def noted(writer: RejectsWriter, table: pa.Table, **options: Any) -> None:
        held.append(table.num_rows)
        append(writer, table, **options)

    monkeypatch.setattr(RejectsWriter, "_append", noted)
    count = 1_000_001
    writer = RejectsWriter(RawFile("trades", SESSION), KIND, tmp_path / "rejects.parquet")
    numbers = pa.array(np.arange(2, count + 2), KIND.rejects_columns.field("line_number").type)
    writer.add_lines(pa.table({"line_number": numbers, "line": pa.repeat("", count)}))
    writer.close()

    assert max(held) <= 200_000
    written = pq.read_table(tmp_path / "rejects.parquet", columns=["line_number"])
    assert written["line_number"].to_pylist() == list(range(2, count + 2))
