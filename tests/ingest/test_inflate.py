"""Raw files: whole ones come out to the byte, all others are refused in one line that says why."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from building import HEADERS, REPOSITORY, SESSION, Made, bar, csv_text, day_key, instant
from hypothesis import example, given, settings
from hypothesis import strategies as st

from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import RawFileError
from warehouse.ingest.inflate import MAX_LINE_BYTES, Inflater, Piece, read_ahead
from warehouse.source.etag_check import MAX_RATIO, EtagCheck, check, read_into

HEADER = HEADERS["day_aggs"]
NAMES = DATA_TYPES["day_aggs"].header
T = instant(SESSION, "00:00")
ROWS = [bar(symbol, T) for symbol in ("A", "BRK.B", "NA")]
TEXT = csv_text("day_aggs", ROWS).encode()
NO_LIMIT = 1 << 40
NAMED = b"\x1f\x8b\x08\x08" + bytes(6)
"""How a gzip begins that bears the name of its file, which comes next."""


def compress(text: bytes, level: int = 6) -> bytes:
    return gzip.compress(text, level, mtime=0)


def spoiled(text: bytes, *, crc: int = 0, length: int = 0) -> bytes:
    """A gzip of `text` whose trailer is off by so much."""
    trailer = struct.pack("<II", (zlib.crc32(text) + crc) % 2**32, (len(text) + length) % 2**32)
    return compress(text)[:-8] + trailer


def inflate(
    path: Path, chunk_rows: int = 1_000_000, chunk_bytes: int = NO_LIMIT
) -> tuple[list[bytes], Inflater]:
    """All rows of a file, piece after piece."""
    inflater = Inflater(path, NAMES, chunk_rows, chunk_bytes, path.parent)
    rows: list[bytes] = []
    for piece in inflater.pieces():
        try:
            assert piece.first_line == len(rows) + 2
            lines = all_of(piece)
            assert len(lines) == piece.lines > 0
            rows += lines
        finally:
            piece.close()
    return rows, inflater


def all_of(piece: Piece) -> list[bytes]:
    """Its lines in order, those that are no rows too."""
    found = dict(zip(piece.line_numbers.tolist(), piece.texts(), strict=True))
    assert len(found) == piece.rows
    for row in piece.malformed.to_pylist():
        found[row["line_number"]] = row["line"].encode()
    assert sorted(found) == list(range(piece.first_line, piece.first_line + piece.lines))
    return [found[number] for number in sorted(found)]


def drain(pieces: Iterator[Piece]) -> None:
    for piece in pieces:
        piece.close()


@contextmanager
def raw_file(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "2024-01-31.csv.gz")
        path.write_bytes(content)
        yield path


def check_is_one_line(error: RawFileError, path: Path) -> None:
    message = str(error)
    assert message.startswith(f"{path.name}: ")
    assert "\n" not in message
    assert len(message) < 400
    if error.line is not None:
        assert message.endswith(f"(line {error.line:,})")


# Whole files


WHOLE = {
    "plain": compress(TEXT),
    "not_compressed_at_all": compress(TEXT, 0),
    "several_members": b"".join(compress(line) for line in TEXT.splitlines(keepends=True)),
    "members_that_end_within_a_line": compress(TEXT[:100]) + compress(TEXT[100:]),
    "an_empty_member_among_them": compress(b"") + compress(TEXT) + compress(b""),
    "the_last_line_not_ended": compress(TEXT[:-1]),
    "crlf": compress(TEXT.replace(b"\n", b"\r\n")),
    "crlf_and_the_last_line_not_ended": compress(TEXT.replace(b"\n", b"\r\n")[:-2]),
    "a_byte_order_mark": compress(b"\xef\xbb\xbf" + TEXT),
    "zeros_after_the_end": compress(TEXT) + bytes(512),
    "a_quoted_header": compress(b'"' + TEXT[:6] + b'"' + TEXT[6:]),
    "a_name_and_a_time_in_the_gzip": (
        b"\x1f\x8b\x08\x08\x12\x34\x56\x78\x00\xff2024-01-31.csv\x00" + compress(TEXT)[10:]
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_comes_out_to_the_byte(name: str, tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    path.write_bytes(WHOLE[name])

    rows, inflater = inflate(path)

    assert rows == [row.encode() for row in ROWS]
    assert inflater.facts.lines == 3
    assert inflater.facts.bytes == len(WHOLE[name])


def test_the_facts_are_those_of_the_compressed_file(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "a.csv.gz"
    path.write_bytes(compress(TEXT))

    _, inflater = inflate(path)

    assert inflater.facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_columns_may_be_reordered_and_others_may_stand_among_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    header = "transactions,otc,window_start,low,high,close,open,volume,ticker"
    path.write_bytes(compress(f"{header}\n3,true,{T},1,1,1,1,5,A\n".encode()))

    (piece,) = Inflater(path, NAMES, 1000, NO_LIMIT, tmp_path).pieces()

    # A name that is not ours never reaches the SQL.
    assert piece.header == (*header.replace("otc", "extra_1").split(","),)
    assert list(piece.texts()) == [f"3,true,{T},1,1,1,1,5,A".encode()]
    piece.close()


# Files that are not


def other_header(old: str, new: str) -> bytes:
    return compress(TEXT.replace(old.encode(), new.encode(), 1))


BROKEN: dict[str, tuple[bytes, str, int | None]] = {
    "empty": (b"", "is empty", None),
    "empty_once_inflated": (compress(b""), "is empty once inflated", None),
    "header_only": (compress(HEADER.encode() + b"\n"), "holds a header but no rows", None),
    "header_only_not_ended": (compress(HEADER.encode()), "holds a header but no rows", None),
    "wrong_crc": (spoiled(TEXT, crc=1), "is damaged: CRC", None),
    "wrong_length": (spoiled(TEXT, length=1), "is damaged: .*length", None),
    "without_its_trailer": (compress(TEXT)[:-8], "is cut short", None),
    "the_second_member_cut_short": (compress(TEXT) + compress(TEXT)[:-3], "is cut short", None),
    "the_second_member_damaged": (
        compress(TEXT) + spoiled(b"A,1,1,1,1,1,1,1\n", crc=1),
        "is damaged: CRC",
        None,
    ),
    "a_name_in_the_gzip_of_many_letters": (
        NAMED + b"x" * 600_000 + b"\0" + compress(TEXT)[10:],
        "is damaged: .*header",
        None,
    ),
    "a_name_in_the_gzip_that_does_not_end": (NAMED + b"x" * 600_000, "is damaged: .*header", None),
    "a_second_member_of_such_a_name": (
        compress(TEXT) + NAMED + b"x" * 600_000,
        "is damaged: .*header",
        None,
    ),
    "plain_text": (TEXT, "is no gzip file: it begins with 'ticker,volume", None),
    "xml": (
        b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>\n",
        "is no gzip file: it begins with .<\\?xml",
        None,
    ),
    "html": (b"<!DOCTYPE html><html></html>", "is no gzip file: it begins with '<!DOCTYPE", None),
    "no_text_at_all": (b"\xff\xfe\n\r\x00\x01", "is no gzip file", None),
    "one_byte": (b"\x1f", ".", None),
    "the_magic_alone": (b"\x1f\x8b", ".", None),
    "garbage_after_the_end": (compress(TEXT) + b"garbage" * 9, "no gzip after its end", None),
    "a_little_garbage_after_the_end": (compress(TEXT) + b"x", ".", None),
    "text_after_the_zeros_after_the_end": (compress(TEXT) + bytes(64) + b"more" * 9, ".", None),
    "a_zip": (b"PK\x03\x04" + bytes(40), "is no gzip file but a zip; unpack it, and gzip", None),
    "a_zstd": (b"\x28\xb5\x2f\xfd" + bytes(40), "is no gzip file but a zstd; unpack it", None),
    "zlib_without_gzip": (zlib.compress(TEXT), "is no gzip file", None),
    "gzipped_twice": (
        compress(compress(TEXT)),
        "is a gzip within a gzip; decompress it once",
        None,
    ),
    "much_gzipped_twice": (
        compress(compress(random.Random(1).randbytes(3 << 20))),
        "is a gzip within a gzip; decompress it once",
        None,
    ),
    "crlf_after_an_lf_header": (
        compress(TEXT.replace(b"\n", b"\r\n").replace(b"\r\n", b"\n", 1)),
        "mixes line ends",
        2,
    ),
    "lf_after_a_crlf_header": (compress(TEXT.replace(b"\n", b"\r\n", 1)), "mixes line ends", 2),
    "one_crlf": (compress(TEXT[:-1] + b"\r\n"), "mixes line ends", 4),
    "one_lf_among_crlf": (
        compress(TEXT.replace(b"\n", b"\r\n").replace(b"3\r\nNA", b"3\nNA")),
        "mixes line ends",
        3,
    ),
    "a_lone_carriage_return": (
        compress(TEXT.replace(b"BRK.B", b"BRK\rB")),
        "has a carriage return within a line",
        3,
    ),
    "a_carriage_return_before_crlf": (
        compress(TEXT.replace(b"\n", b"\r\n").replace(b"3\r\nNA", b"3\r\r\nNA")),
        "has a carriage return within a line",
        3,
    ),
    "old_macintosh": (compress(TEXT.replace(b"\n", b"\r")), ".", 1),
    "a_nul_byte": (compress(TEXT.replace(b"NA", b"N\0A")), "holds a NUL byte", 4),
    "a_nul_byte_in_the_header": (compress(TEXT.replace(b"ticker", b"ticker\0")), "ticker", 1),
    "utf16": (compress(TEXT.decode().encode("utf-16")), ".", 1),
    "latin_1": (compress(TEXT.replace(b"NA", b"N\xe9")), "is no UTF-8 text", 4),
    "a_surrogate": (compress(TEXT.replace(b"NA", b"\xed\xa0\x80")), "is no UTF-8 text", 4),
    "a_character_cut_off_by_the_line_end": (
        compress(TEXT.replace(b"BRK.B,100", b"BRK.B,1").replace(b",3\nNA", b",\xf0\x9f\nNA")),
        "is no UTF-8 text",
        3,
    ),
    "latin_1_header": (
        compress(TEXT.replace(b"ticker", b"tick\xe9r")),
        "its header is no UTF-8",
        1,
    ),
    "missing_column": (other_header(",transactions", ""), "its header lacks transactions$", 1),
    "renamed_column": (
        other_header("window_start", "window_begin"),
        "its header lacks window_start; it has 'window_begin' instead",
        1,
    ),
    "a_column_in_capitals": (other_header("ticker", "Ticker"), "lacks ticker; it has 'Ticker'", 1),
    "a_column_with_a_space": (other_header(",open", ", open"), "lacks open; it has ' open'", 1),
    "repeated_column": (other_header("volume", "volume,volume"), "repeats 'volume'", 1),
    "repeated_strange_column": (other_header("volume", "volume,x,x"), "repeats 'x'", 1),
    "no_header": (compress(TEXT.partition(b"\n")[2]), "its header lacks ticker", 1),
    "an_empty_line_first": (compress(b"\n" + TEXT), "its header lacks ticker", 1),
    "of_another_data_type": (
        compress(csv_text("trades", ["x"]).encode()),
        "its header lacks volume, open.*'conditions'",
        1,
    ),
    "a_header_of_one_long_field": (
        compress(b"x" * 200_000 + b"\n" + TEXT),
        "its header lacks ticker",
        1,
    ),
    "a_header_that_does_not_end": (compress(b"x" * 3_000_000), "has a line of more than", 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_whole_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, problem, line = BROKEN[name]
    path = tmp_path / "2024-01-31.csv.gz"
    path.write_bytes(content)

    with pytest.raises(RawFileError, match=problem.removesuffix("$")) as caught:
        inflate(path)

    check_is_one_line(caught.value, path)
    assert caught.value.line == line
    assert caught.value.path == path
    if problem.startswith("is damaged"):
        with open(path, "rb", buffering=0) as file:
            looked_at = check(read_into(file), EtagCheck("", 0))
        assert looked_at.problem is not None
        assert "is damaged" in looked_at.problem


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RawFileError, match="is gone from the raw tier"):
        inflate(tmp_path / "2024-01-31.csv.gz")


@pytest.mark.parametrize("name", ["plain", "not_compressed_at_all", "several_members"])
def test_a_file_cut_short_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    whole = WHOLE[name]
    ends_of_members = {len(whole)}
    if name == "several_members":
        ends_of_members = set()
        for line in TEXT.splitlines(keepends=True):
            ends_of_members.add(max(ends_of_members, default=0) + len(compress(line)))
    for size in range(0, len(whole), 3):
        if size in ends_of_members:
            continue
        path.write_bytes(whole[:size])
        with pytest.raises(RawFileError) as caught:
            inflate(path)
        check_is_one_line(caught.value, path)


@pytest.mark.parametrize(
    "name", ["plain", "not_compressed_at_all", "a_name_and_a_time_in_the_gzip"]
)
def test_any_flipped_bit_is_found_or_changes_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    whole = WHOLE[name]
    expected = [row.encode() for row in ROWS]
    harmless = 0
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            rows, _ = inflate(path)
        except RawFileError as error:
            check_is_one_line(error, path)
        else:
            assert rows == expected, f"bit {bit}"
            # There are bits that nothing depends on: in the header the time, the system and the
            # name, and those that fill the last byte before the trailer.
            header = 10 + len("2024-01-31.csv\0")
            assert bit // 8 < header or bit // 8 == len(whole) - 9, f"bit {bit}"
            harmless += 1
    assert 0 < harmless < 8 * 25


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    row = ROWS[0].encode() + b"\n"
    path.write_bytes(compress(HEADER.encode() + b"\n" + row * 5000))
    pieces = Inflater(path, NAMES, 1000, NO_LIMIT, tmp_path).pieces()
    next(pieces).close()
    with open(path, "ab") as file:
        file.write(compress(row))

    with pytest.raises(RawFileError):
        drain(pieces)


# Pieces


def lines_of(seed: int, lengths: list[int]) -> list[bytes]:
    """Lines of about those lengths, told apart by their contents."""
    dice = random.Random(seed)
    letters = "abcdefghij,\"'é🚀 " * 4
    return [
        "".join(dice.choices(letters, k=length))
        .encode()[:length]
        .decode("utf-8", "ignore")
        .encode()
        for length in lengths
    ]


BLOCK = 1 << 16
LENGTHS = st.one_of(
    st.integers(0, 200),
    st.integers(BLOCK - 40, BLOCK + 40),
    st.integers(0, 40_000),
    st.integers(190_000, 200_000),
)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=60),
    chunk_rows=st.sampled_from([1000, 1001, 1_000_000]),
    chunk_bytes=st.sampled_from([1, 100_000, NO_LIMIT]),
    ended=st.booleans(),
    crlf=st.booleans(),
    members=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@example(
    lengths=[5] * 30_000,
    chunk_rows=1000,
    chunk_bytes=NO_LIMIT,
    ended=True,
    crlf=False,
    members=1,
    seed=0,
)
@example(
    lengths=[0] * 150_000,
    chunk_rows=1001,
    chunk_bytes=NO_LIMIT,
    ended=True,
    crlf=False,
    members=1,
    seed=0,
)
def test_pieces_hold_each_line_once_wherever_they_are_cut(
    lengths: list[int],
    chunk_rows: int,
    chunk_bytes: int,
    ended: bool,
    crlf: bool,
    members: int,
    seed: int,
) -> None:
    lines = lines_of(seed, lengths)
    end = b"\r\n" if crlf else b"\n"
    text = HEADER.encode() + end + end.join(lines)
    # A file of CRLF lines whose last is not ended is a case of its own.
    if ended or crlf or not lines[-1]:
        text += end
    size = -(-len(text) // members)
    content = b"".join(compress(text[n * size : (n + 1) * size], 1) for n in range(members))

    with raw_file(content) as path:
        rows, inflater = inflate(path, chunk_rows, chunk_bytes)

    assert rows == lines
    assert inflater.facts.lines == len(lines)


def test_a_piece_ends_soon_after_its_rows_or_its_bytes_are_full(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    row = ROWS[0].encode() + b"\n"
    path.write_bytes(compress(HEADER.encode() + b"\n" + row * 50_000))
    rows = {}
    for chunk_rows, chunk_bytes in ((1000, NO_LIMIT), (10_000, 1_000), (1_000_000, NO_LIMIT)):
        counts = []
        for piece in Inflater(path, NAMES, chunk_rows, chunk_bytes, tmp_path).pieces():
            counts.append(piece.rows)
            piece.close()
        assert sum(counts) == 50_000
        rows[chunk_rows, chunk_bytes] = counts
    assert max(rows[1000, NO_LIMIT]) < 1000 + BLOCK / len(row) + 1
    assert len(rows[10_000, 1_000]) > 1
    assert rows[1_000_000, NO_LIMIT] == [50_000]


def test_reading_ahead_gives_the_same_pieces_and_the_same_error(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    row = ROWS[0].encode() + b"\n"
    text = HEADER.encode() + b"\n" + row * 20_000
    path.write_bytes(compress(text))
    lines = []
    for piece in read_ahead(Inflater(path, NAMES, 1000, NO_LIMIT, tmp_path).pieces()):
        lines += list(piece.texts())
        piece.close()
    assert lines == [row[:-1]] * 20_000

    path.write_bytes(spoiled(text, crc=1))
    pieces = read_ahead(Inflater(path, NAMES, 1000, NO_LIMIT, tmp_path).pieces())
    next(pieces).close()
    with pytest.raises(RawFileError, match="CRC"):
        drain(pieces)


def test_a_reader_that_stops_early_leaves_no_piece_behind(tmp_path: Path) -> None:
    import psutil

    path = tmp_path / "2024-01-31.csv.gz"
    path.write_bytes(compress(HEADER.encode() + b"\n" + (ROWS[0].encode() + b"\n") * 20_000))
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(3):
        pieces = read_ahead(Inflater(path, NAMES, 1000, NO_LIMIT, tmp_path).pieces())
        next(pieces).close()
        pieces.close()  # type: ignore[attr-defined]

    assert process.num_fds() <= before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


FIELD = st.text(
    st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(['"', '""', ",", ' "', "'", "NULL", "nan", "\ufeff", "#", "\x1a", "\u2028"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(FIELD, min_size=8, max_size=8), min_size=1, max_size=20))
def test_duckdb_reads_in_a_piece_what_pythons_csv_reads(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(NAMES), *rows])
    lines = text.getvalue().split("\n")[1:-1]
    # read_csv just as sql/ingest has it.
    ingest = (REPOSITORY / "sql/ingest/day_aggs.sql").read_text("utf-8")
    read_csv = ingest[ingest.index("read_csv(") :].partition("\n            )")[0] + ")"

    with raw_file(compress(text.getvalue().encode())) as path:
        (piece,) = Inflater(path, NAMES, 1000, NO_LIMIT, path.parent).pieces()
        columns = dict.fromkeys(piece.header, "VARCHAR")
        values = {"file": piece.path, "columns": columns}
        read = duckdb.sql(f"select * from {read_csv}", params=values).fetchall()
        piece.close()

    by_python = list(csv.reader(lines))
    assert [["" if field is None else field for field in row] for row in read] == by_python == rows


# Lines and files without measure


@pytest.mark.parametrize("before", [0, 3, 40_000])
def test_a_line_of_many_mebibytes_is_refused_wherever_it_stands(
    before: int, tmp_path: Path
) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    row = ROWS[0].encode() + b"\n"
    lines = row * before + b"A," + b"x" * 9_000_000 + b"\n" + row * 3
    path.write_bytes(compress(HEADER.encode() + b"\n" + lines, 1))
    for chunk_rows in (1000, 1_000_000):
        with pytest.raises(RawFileError, match="has a line of more than 1,048,576 bytes") as caught:
            inflate(path, chunk_rows)

        assert caught.value.line == before + 2


def test_a_line_of_just_a_mebibyte_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    longest = b"A," + b"x" * (MAX_LINE_BYTES - 3)
    for chunk_rows in (1000, 1_000_000):
        path.write_bytes(compress(HEADER.encode() + b"\n" + longest + b"\n" + longest))
        rows, _ = inflate(path, chunk_rows)
        assert rows == [longest, longest]


MEASURE = """
import resource, sys
from pathlib import Path
from warehouse.errors import RawFileError
from warehouse.ingest.inflate import Inflater
from warehouse.core.datatypes import DATA_TYPES

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

path = Path(sys.argv[1])
before = peak()
problem = ""
try:
    header = DATA_TYPES["day_aggs"].header
    for piece in Inflater(path, header, 1_000_000, 50_000_000, path.parent).pieces():
        piece.close()
except RawFileError as error:
    problem = str(error)
print(peak() - before, problem)
"""


def peak_of_inflating(path: Path) -> tuple[int, str]:
    """Bytes of memory that reading a file took in a process of its own, and its complaint."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    peak, _, problem = done.stdout.strip().partition(" ")
    return int(peak), problem


@pytest.mark.torture
def test_a_line_of_a_gibibyte_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    packer = zlib.compressobj(1, wbits=31)
    # One stretch of a stream that stands for itself, many times: the time to make it is saved.
    start = packer.compress(TEXT) + packer.flush(zlib.Z_FULL_FLUSH)
    stretch = packer.compress(b"x" * (1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    with open(path, "wb") as file:
        file.write(start)
        for _ in range(64):
            file.write(stretch)

    peak, problem = peak_of_inflating(path)

    assert problem == ("2024-01-31.csv.gz: has a line of more than 1,048,576 bytes (line 5)")
    assert peak < 50_000_000
    assert path.stat().st_size < 10_000_000


def many_times(path: Path, member: bytes, times: int, text: bytes = TEXT) -> None:
    """A file of many gzip members, all but the first the same."""
    with open(path, "wb") as file:
        file.write(compress(text))
        for _ in range(times):
            file.write(member)


def test_a_file_that_grows_to_many_times_its_size_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    # Alike, but not so much that it could not be a file of the vendor's.
    rows = [f"{ROWS[0][:-1]}{random.Random(n).randrange(10)}\n" for n in range(1 << 15)]
    many_times(path, compress("".join(rows).encode(), 6), 192)

    inflated = 192 * len("".join(rows))
    peak, problem = peak_of_inflating(path)

    assert problem == ""
    assert 20 * path.stat().st_size < inflated < MAX_RATIO * path.stat().st_size
    # A piece holds 50 MB, one block more at most, and the blocks on their way.
    assert peak < 90_000_000 < inflated / 3


BOMBS = {
    "200 times, of good lines": (200, (ROWS[0] + "\n").encode() * (1 << 15), 600),
    "hundreds of times, of good lines": (250, (ROWS[0] + "\n").encode() * (1 << 22), 6),
    "1,000 times, of nothing": (900, bytes(1 << 26), 16),
}


@pytest.mark.torture
@pytest.mark.parametrize("name", BOMBS)
def test_a_gzip_bomb_is_stopped_long_before_its_end(name: str, tmp_path: Path) -> None:
    ratio, text, times = BOMBS[name]
    path = tmp_path / "2024-01-31.csv.gz"
    packed = compress(text, 9)
    many_times(path, packed, times)
    inflated = len(text) * times
    assert inflated > ratio * path.stat().st_size
    assert inflated > 900_000_000

    began = time.process_time()
    peak, problem = peak_of_inflating(path)

    assert peak < 120_000_000
    assert problem.startswith("2024-01-31.csv.gz: ")
    if "good" in name:
        assert problem.endswith(": inflates to more than 100 times its size")
    # Nor is it inflated to its end to see whether it came whole.
    with io.FileIO(path) as file:
        verdict = check(read_into(file), EtagCheck("", 0))
    assert not verdict.good
    assert verdict.problem == "it inflates to more than 100 times its size"
    assert time.process_time() - began < 2


def test_a_small_file_of_lines_alike_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-31.csv.gz"
    text = (ROWS[0] + "\n").encode() * 100_000
    path.write_bytes(compress(HEADER.encode() + b"\n" + text, 9))
    assert len(text) > 2 * MAX_RATIO * path.stat().st_size

    rows, _ = inflate(path, 1_000_000)

    assert len(rows) == 100_000


# Through the pipeline


@pytest.mark.parametrize(
    "name",
    [
        *("empty", "wrong_crc", "xml", "a_header_of_one_long_field"),
        "a_name_in_the_gzip_that_does_not_end",
    ],
)
def test_a_broken_file_is_set_aside_and_the_rest_goes_on(
    name: str, make_warehouse: Callable[..., Made]
) -> None:
    broken = day_key("day_aggs", SESSION)
    yesterday = SESSION.replace(day=30)
    good = [bar("A", instant(yesterday, "00:00"))]
    made = make_warehouse({broken: BROKEN[name][0], day_key("day_aggs", yesterday): good})

    report = made.update("day_aggs")

    assert [item.file.key for item in report.set_aside] == [broken]
    assert made.table("day_aggs")["session"].to_pylist() == [yesterday]
    made.check_catalog()


@pytest.mark.parametrize("field", ["x" * 200_000, '"' * 200_001, "x," * 100_000])
def test_a_line_of_one_monstrous_field_is_a_malformed_line_among_good_ones(
    field: str, make_warehouse: Callable[..., Made]
) -> None:
    lines = [bar("A", T), f"B,{field}", bar("C", T)]
    made = make_warehouse({day_key("day_aggs", SESSION): lines})

    report = made.update("day_aggs")

    assert [str(item.problem) for item in report.set_aside] == []
    assert made.table("day_aggs")["symbol"].to_pylist() == ["A", "C"]
    assert [(row["reason"], row["line"]) for row in made.rejects()] == [
        ("malformed_line", f"B,{field}")
    ]


@pytest.mark.parametrize("long", [MAX_LINE_BYTES, 2 * MAX_LINE_BYTES])
def test_what_becomes_of_a_long_line_does_not_depend_on_the_size_of_pieces(
    long: int, make_warehouse: Callable[..., Made]
) -> None:
    lines = [bar("A", T), "B," + "x" * (long - 2), bar("C", T)]
    outcomes = []
    for chunk_size in (1000, 1_000_000):
        made = make_warehouse(
            {day_key("day_aggs", SESSION): lines}, processing__chunk_size=chunk_size
        )
        (file,) = made.update("day_aggs").files
        reasons = [(row["line_number"], row["reason"]) for row in made.rejects()]
        outcomes.append((file.problem, file.rows_published, reasons))

    assert outcomes[0] == outcomes[1]


UPDATE = """
import resource, sys
from pathlib import Path
from warehouse.core import config
from warehouse.pipeline.pipeline import Pipeline
from warehouse.core.request import Request

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

root = Path(sys.argv[1])
settings = config.load(root / "config/data_config.yaml", {})
for name in sys.argv[2:]:
    before = peak()
    Pipeline(settings.layout(root), settings).ingest(Request.of([name]))
    print(name, peak() - before)
"""


@pytest.mark.torture
def test_bombs_are_set_aside_and_the_rest_goes_on_in_the_memory_of_a_plain_day(
    make_warehouse: Callable[..., Made],
) -> None:
    """The bomb would be 0.9 GB, of rows that clean by themselves; the long line is a gibibyte."""
    made = make_warehouse(processing__memory_limit_gb=0.5, processing__parallel_workers=2)
    row = ROWS[0] + "\n"
    many = [bar(symbol, T + n * 60_000_000_000) for symbol in "ABC" for n in range(300)]
    made.put_raw("minute_aggs", SESSION, many)
    day = SESSION.replace(day=29)
    bomb = made.put_raw("day_aggs", SESSION, "")
    header = (HEADERS["day_aggs"] + "\n").encode()
    many_times(bomb, compress((row * (1 << 15)).encode(), 9), 600, header)
    line = made.put_raw("day_aggs", day, "")
    many_times(line, compress(b"x" * (1 << 24), 9), 64, header)
    made.put_raw(
        "day_aggs", SESSION.replace(day=30), [bar("A", instant(SESSION.replace(day=30), "00:00"))]
    )

    done = subprocess.run(
        [sys.executable, "-c", UPDATE, str(made.root), "minute_aggs", "day_aggs"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    plain, bombs = (int(each.split()[1]) for each in done.stdout.splitlines())
    assert bombs < plain + 300_000_000
    problems = dict(made.sql("select day, problem from source_files where state = 'set_aside'"))
    assert "inflates to more than 100 times its size" in problems[SESSION]
    assert "has a line of more than 1,048,576 bytes" in problems[day]
    assert made.sql("select count(*) from day_aggs") == [(1,)]
    assert made.rejects("day_aggs") == []
