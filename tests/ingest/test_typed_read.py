"""A typed read comes to what sql/ingest comes to, or does not count.

Each case is a piece of its own, after a plain row: read typed, and read with sql/ingest, whose word
is the law.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import duckdb
import pytest
from building import HEADERS, REPOSITORY, SESSION, instant
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse.core.calendar import day_bounds_ns
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.errors import WarehouseError
from warehouse.ingest import cleaning
from warehouse.ingest.cleaning import Cleaner
from warehouse.ingest.inflate import Inflater, Piece
from warehouse.ingest.typed.typed_read import column_types, proved, statement_of, typed_statement
from warehouse.sqlfolder.files import SqlFolder

SQL = SqlFolder(REPOSITORY / "sql")
STAMP = str(instant(SESSION, "09:30"))
INTEGERS = {
    "trades": {
        **{"correction": "0", "exchange": "4", "participant_timestamp": STAMP},
        **{"sequence_number": "1060", "sip_timestamp": STAMP, "tape": "3"},
        **{"trf_id": "202", "trf_timestamp": STAMP},
    },
    "quotes": {
        **{"ask_exchange": "11", "bid_exchange": "12", "participant_timestamp": STAMP},
        **{"sequence_number": "7", "sip_timestamp": STAMP, "tape": "1", "trf_timestamp": "0"},
    },
    "minute_aggs": {"window_start": STAMP, "transactions": "12"},
    "day_aggs": {"window_start": str(instant(SESSION, "00:00")), "transactions": "12"},
}
DOUBLES = {
    "trades": {"price": "343.460000", "size": "11"},
    "quotes": {"ask_price": "1.5", "ask_size": "2", "bid_price": "1.25", "bid_size": "3"},
    "minute_aggs": {"volume": "100", "open": "1", "close": "2.5", "high": "3", "low": "0.5"},
    "day_aggs": {"volume": "100", "open": "1", "close": "2.5", "high": "3", "low": "0.5"},
}
TEXTS = {
    "trades": {"ticker": "BRK.A", "conditions": '"12,37"', "id": "71675222000024"},
    "quotes": {"ticker": "BRK.A", "conditions": "1", "indicators": '"604,1"'},
    "minute_aggs": {"ticker": "BRK.A"},
    "day_aggs": {"ticker": "BRK.A"},
}
INTEGER_FORMS = (
    *("", "0", "-0", "+0", "00", "1", "-1", "+1", "--1", "1-", "-", "01", "007", "-01"),
    *("1.0", "1.", ".5", "-.5", "0.6", "9.9", "99.9", "-0.6", "1.5", "0.", ".", "1..2", "1.2.3"),
    *("1e2", "1E2", "1e+2", "1e-2", "1e", "e1", "1_0", "_1", "1_", "0x1F", "0X1f", "0b101", "0o17"),
    *(" 1", "1 ", "\t1", "1\t", "\u00a01", "1\x0b", "1\x0c", "\ufeff1"),
    *('"1"', '"01"', '""', '" 1"', '"1,2"', '"3""5"', '"1.0"', "'1'", "1'", "1,"),
    *("nan", "inf", "-inf", "null", "NULL", "true", "1/2", "1;2", "#1", "$1", "1f", "0f1"),
    *("127", "128", "-128", "-129", "255", "256", "32767", "32768", "-32768", "-32769"),
    *("2147483647", "2147483648", "-2147483649", "9223372036854775806", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775808", "-9223372036854775809", "0xFFFFFFFFFF"),
    *("9" * 400, "0" * 400, "٣", "३", "1٣", "\uff11", "¹", "½"),
)
DOUBLE_FORMS = (
    *INTEGER_FORMS,
    *("1e308", "1e309", "-1e309", "1e-400", "5e-324", "1.7976931348623157e308", "0.1", "00.1"),
    *("343.460000", "1.", ".5", "+.5", "-1.5", "1e5", "1E5", "infinity", "-nan", "1_0.5", "1,5"),
)
TEXT_FORMS = (
    *("", '""', "A", '"A"', '"A""B"', '""""', '"12,37"', "e", "xyz", "1e5", "/", "_", " ", " A "),
    *("é", "日本", "\u00a0", "A-B.C", "0123", "a'b", "\\", "#", "A" * 65, "null", "NULL", "-", "."),
)


def plain(kind: str) -> dict[str, str]:
    return {**TEXTS[kind], **INTEGERS[kind], **DOUBLES[kind]}


CASES = [
    (kind, column, form)
    for kind in HEADERS
    for columns, forms in (
        (INTEGERS[kind], INTEGER_FORMS),
        (DOUBLES[kind], DOUBLE_FORMS),
        (TEXTS[kind], TEXT_FORMS),
    )
    for column in columns
    for form in forms
]


Rows = dict[int, str]
"""What became of each row, by its line number; to the bit: NaN is NaN, and -0.0 is not 0.0."""


class Reader:
    """Reads lines as a file of their own, typed or with sql/ingest."""

    def __init__(self, folder: Path, cleaner: Cleaner) -> None:
        self._path, self._folder, self._cleaner = folder / "x.csv.gz", folder, cleaner
        self._connection = cleaner.cursor()

    def pieces(
        self, kind: str, header: Sequence[str], lines: Sequence[str], end: str = "\n"
    ) -> Iterator[Piece]:
        text = end.join([",".join(header), *lines, ""])
        self._path.write_bytes(gzip.compress(text.encode(), 1))
        columns = DATA_TYPES[kind].header
        yield from Inflater(self._path, columns, 1 << 23, 1 << 33, self._folder).pieces()

    def strictly(
        self, kind: str, header: Sequence[str], lines: Sequence[str], end: str = "\n"
    ) -> Rows:
        found: Rows = {}
        for piece in self.pieces(kind, header, lines, end):
            file = RawFile(kind, SESSION)
            rows = self._cleaner.clean(file, DATA_TYPES[kind], self._path, piece).rows
            piece.close()
            rows = rows.drop(["line_number"])
            found |= zip(piece.line_numbers.tolist(), map(repr, rows.to_pylist()), strict=True)
        return found

    def typed(
        self, kind: str, header: Sequence[str], lines: Sequence[str], end: str = "\n"
    ) -> Rows | None:
        """None: the lines are for sql/ingest to read."""
        (piece,) = self.pieces(kind, header, lines, end)
        statement = typed_statement(SQL, DATA_TYPES[kind], piece.header)
        assert statement is not None
        start, stop = day_bounds_ns(SESSION, SESSION)
        values = {
            "file": piece.path,
            "columns": column_types(piece.header),
            "day": SESSION,
            **{"start": start, "end": stop, "symbol": None},
            **({"corrections": [0, 1]} if kind == "trades" else {}),
        }
        try:
            whole = statement_of(statement, SQL[f"clean/{kind}"])
            found = self._connection.sql(whole, params=values).to_arrow_table()
        except duckdb.Error:
            return None
        finally:
            piece.close()
        if found.num_rows != piece.rows:
            return None
        rows = proved(found, DATA_TYPES[kind], len(header), piece.row_bytes, piece.signs)
        if rows is None:
            return None
        return dict(zip(piece.line_numbers.tolist(), map(repr, rows.to_pylist()), strict=True))


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Its `strictly` is told to read nothing typed."""
    monkeypatch.setattr(cleaning, "typed_statement", lambda *_: None)
    with Cleaner(SQL, tmp_path, 1, 500_000_000, {"corrections": [0, 1]}) as cleaner:
        yield Reader(tmp_path, cleaner)


def line_of(kind: str, header: Sequence[str], **odd: str) -> str:
    row = {**plain(kind), **odd}
    return ",".join(row[name] for name in header)


@pytest.mark.parametrize("kind", HEADERS)
def test_a_field_of_any_form_comes_to_what_sql_ingest_makes_of_it(
    kind: str, reader: Reader
) -> None:
    header = HEADERS[kind].split(",")
    usual = line_of(kind, header)
    cases = [(column, form) for name, column, form in CASES if name == kind]
    odd = [line_of(kind, header, **{column: form}) for column, form in cases]
    expected = reader.strictly(kind, header, [usual, *odd])
    typed = 0
    for place, (case, line) in enumerate(zip(cases, odd, strict=True)):
        found = reader.typed(kind, header, [usual, line])
        if found is not None:
            typed += 1
            due = {2: expected[2]}
            if 3 + place in expected:
                due[3] = expected[3 + place]
            assert found == due, case
    assert len(cases) // 5 < typed < len(cases)


PLAIN_FORMS = {
    "integers": ("0", "1", "-1", "127", '"5"', '""', ""),
    "doubles": ("0", "1.50", "-2.5", "100", '"7.25"', ""),
    "texts": ("A", '"1,2"', '"A""B"', "x/y", "1e5", "é", ""),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_piece_of_plain_fields_is_read_typed(kind: str, reader: Reader) -> None:
    header = HEADERS[kind].split(",")
    for columns, forms in zip((INTEGERS, DOUBLES, TEXTS), PLAIN_FORMS.values(), strict=True):
        for column in columns[kind]:
            for form in forms:
                # A stamp before 1970 is malformed there, and so for sql/ingest to name.
                is_named = form == "-1" and column in ("participant_timestamp", "trf_timestamp")
                found = reader.typed(kind, header, [line_of(kind, header, **{column: form})])
                assert (found is None) == is_named, (column, form)


ANY = st.sampled_from(sorted({*INTEGER_FORMS, *DOUBLE_FORMS, *TEXT_FORMS}))
USUAL = st.sampled_from(("0", "1", "12", "-3", "35.0", "0123", "1.0", ""))


@pytest.mark.parametrize("kind", ["trades", "day_aggs"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_mixtures_of_forms_come_to_what_sql_ingest_makes_of_them(
    data: st.DataObject, kind: str, reader: Reader
) -> None:
    header = data.draw(st.permutations(HEADERS[kind].split(",")))
    odd = st.dictionaries(st.sampled_from(header), st.one_of(USUAL, USUAL, ANY), max_size=4)
    lines = [
        line_of(kind, header, **one) for one in data.draw(st.lists(odd, min_size=1, max_size=4))
    ]
    end = data.draw(st.sampled_from(("\n", "\r\n")))

    found = reader.typed(kind, header, lines, end)

    if found is not None:
        assert found == reader.strictly(kind, header, lines, end)


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [
        # What stands longer than it prints, beside what prints longer than it stands.
        ({"exchange": "04"}, {"sequence_number": "0xFFFFFFFFFF"}),
        ({"exchange": "4.0"}, {"sequence_number": "0xFFFFFFFFFF"}),
        ({"tape": "003"}, {"sequence_number": "1e5"}),
        ({"tape": "3.000"}, {"sequence_number": "9e9"}),
        ({"correction": "-0"}, {"sequence_number": "1e1"}),
        ({"exchange": "4."}, {"price": "35"}),
        ({"exchange": "04"}, {"price": '"35"'}),
        ({"exchange": "04"}, {"conditions": '"a""b"'}),
        ({"trf_id": "0202"}, {"id": "e"}),
    ],
)
def test_one_field_does_not_pay_for_another(
    longer: dict[str, str], shorter: dict[str, str], reader: Reader
) -> None:
    header = HEADERS["trades"].split(",")
    lines = [line_of("trades", header, **row) for row in (longer, shorter)]

    assert reader.typed("trades", header, lines) is None


def test_lines_end_as_they_like_and_columns_stand_as_they_like(reader: Reader) -> None:
    header = HEADERS["trades"].split(",")
    found = [
        reader.typed("trades", columns, [line_of("trades", columns)] * 2, end)
        for columns in (header, header[::-1])
        for end in ("\n", "\r\n")
    ]
    assert found[0] is not None
    assert found == [found[0]] * 4


def test_typed_rows_stand_in_the_files_order_whatever_the_threads(tmp_path: Path) -> None:
    header, rows = HEADERS["trades"].split(","), 600_000
    lines = [line_of("trades", header, sequence_number=str(n)) for n in range(rows)]
    with Cleaner(SQL, tmp_path, 4, 2_000_000_000, {"corrections": [0, 1]}) as cleaner:
        read = Reader(tmp_path, cleaner)
        for _ in range(3):
            (piece,) = read.pieces("trades", header, lines)
            cleaned = cleaner.clean(
                RawFile("trades", SESSION), DATA_TYPES["trades"], tmp_path, piece
            )
            piece.close()
            assert cleaned.rows["sequence_number"].to_pylist() == list(range(rows))


def test_an_interrupt_is_not_taken_for_a_field_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = HEADERS["trades"].split(",")
    made, read_as_text = SimpleQueue[duckdb.DuckDBPyConnection](), []
    cursor = Cleaner.cursor

    def kept(cleaner: Cleaner) -> duckdb.DuckDBPyConnection:
        connection = cursor(cleaner)
        made.put(connection)
        return connection

    with Cleaner(SQL, tmp_path, 1, 500_000_000, {"corrections": [0, 1]}) as cleaner:
        # The statements are looked at once; then they are only read with.
        Reader(tmp_path, cleaner).strictly("trades", header, [line_of("trades", header)])
        monkeypatch.setattr(Cleaner, "_run", lambda *asked: read_as_text.append(asked))
        (piece,) = Reader(tmp_path, cleaner).pieces(
            "trades", header, [line_of("trades", header)] * 200_000
        )
        monkeypatch.setattr(Cleaner, "cursor", kept)
        is_over = Event()

        def interrupt() -> None:
            connection = made.get()
            with suppress(duckdb.ConnectionException):  # it is closed: the read is over
                while not is_over.wait(0.001):
                    connection.interrupt()

        thread = Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(WarehouseError, match="Interrupt"):
                cleaner.clean(RawFile("trades", SESSION), DATA_TYPES["trades"], tmp_path, piece)
        finally:
            is_over.set()
            thread.join()
            piece.close()
    assert not read_as_text


@pytest.mark.parametrize("step", ["ingest", "clean"])
def test_a_users_own_statement_is_the_one_that_reads(step: str, tmp_path: Path) -> None:
    own = tmp_path / "sql"
    for folder in ("ingest", "clean"):
        (own / folder).mkdir(parents=True)
        text = (REPOSITORY / f"sql/{folder}/trades.sql").read_text()
        (own / folder / "trades.sql").write_text(text)
    header = HEADERS["trades"].split(",")
    kind = DATA_TYPES["trades"]
    assert typed_statement(SqlFolder(own), kind, header) is not None

    path = own / step / "trades.sql"
    path.write_text(path.read_text().replace("sequence_number", "sequence_number + 0", 1))

    assert typed_statement(SqlFolder(own), kind, header) is None


def test_a_column_that_we_do_not_know_is_left_to_sql_ingest() -> None:
    sql, kind = SqlFolder(REPOSITORY / "sql"), DATA_TYPES["trades"]
    header = HEADERS["trades"].split(",")
    assert typed_statement(sql, kind, [*header, "extra_13"]) is None
