"""A file whose rows do not add up is refused with a record; the rest of the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import SESSION, Made, day_key, instant, quote, trade
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.core.paths import RawFile
from warehouse.errors import SqlFileError
from warehouse.ingest.row_sorter import RowSorter

MakeWarehouse = Callable[..., Made]
DAYS = (date(2024, 1, 30), SESSION)
LEAST = -(1 << 63)


def test_a_file_whose_rows_do_not_add_up_is_set_aside_and_all_others_are_published(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        day_key("trades", day): [trade(s, instant(day) + n, n) for s in "AB" for n in range(3)]
        for day in DAYS
    }
    files[day_key("quotes", SESSION)] = [quote("A", instant(SESSION))]
    made = make_warehouse(files)
    add = RowSorter.add

    def loses_a_row(self: RowSorter, file: RawFile, rows: pa.Table) -> None:
        is_bad = (file.data_type, file.day) == ("trades", DAYS[0])
        add(self, file, rows.slice(1) if is_bad else rows)

    monkeypatch.setattr(RowSorter, "add", loses_a_row)

    report = made.update("trades", "quotes")

    (bad,) = report.set_aside
    assert bad.file.day == DAYS[0]
    assert "6 lines, but 5 rows kept + 0 rejected + 0 left out = 5" in str(bad.problem)
    assert set(made.table("trades")["session"].to_pylist()) == {SESSION}
    assert made.table("quotes").num_rows == 1
    state = "select state, problem from source_files where data_type = 'trades' order by day"
    (first, second) = made.sql(state)
    assert (first[0], second[0]) == ("set_aside", "ingested")
    assert first[1] == bad.problem
    made.check_catalog()
    assert [fault.problem for fault in made.verify().faults if fault.kind == "rows"] == []


def test_the_command_ends_with_1_where_a_file_does_not_add_up(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_warehouse({day_key("trades", SESSION): [trade("A", instant(SESSION))]})
    add = RowSorter.add
    monkeypatch.setattr(RowSorter, "add", lambda self, file, rows: add(self, file, rows.slice(1)))

    done = CliRunner().invoke(
        cli, ["-C", str(made.root), "update", "--start", str(SESSION), "--end", str(SESSION)]
    )

    assert done.exit_code == 1, done.output
    assert "0 rows kept + 0 rejected" in " ".join(done.output.split())


@pytest.mark.parametrize("step", ["sort", "dedupe"])
def test_sql_that_loses_a_row_is_named_and_no_file_is_blamed(
    step: str, make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What fits into memory needs no sql/sort.
    monkeypatch.setattr(RowSorter, "is_full", property(lambda self: True))
    told = [*(("A", n) for n in range(9, 40)), *(("B", n) for n in range(30)), ("A", 1), ("A", 1)]
    late = [trade(symbol, instant(SESSION) + n, n) for symbol, n in told]
    made = make_warehouse()
    path = made.put_raw("trades", SESSION, late)
    statement = made.root / "sql" / step / "trades.sql"
    text = statement.read_text()
    at = text.rindex("order by")
    statement.write_text(f"{text[:at]}where sequence_number is distinct from 1\n{text[at:]}")

    with pytest.raises(SqlFileError, match=f"{step}/trades.sql: returns .* rows of"):
        made.ingest("trades")

    assert path.exists()
    assert made.partitions() == {}


@pytest.mark.parametrize("chunk_size", [1000, 1_000_000])
def test_no_sequence_number_stands_for_an_absent_one(
    chunk_size: int, make_warehouse: MakeWarehouse
) -> None:
    """Each that a file may hold, and none, on one stamp, in any order, in and across pieces."""
    numbers = [LEAST, "", -1, 0, LEAST + 1, "", (1 << 63) - 1, LEAST, -1, 0]
    at = instant(SESSION)
    rows = [trade("A", at, number, id="x") for number in numbers]
    rows += [trade("B", at, n, id=str(n)) for n in range(60_000)]
    rows += [trade("A", at, number, id="y") for number in reversed(numbers)]
    made = make_warehouse({day_key("trades", SESSION): rows}, processing__chunk_size=chunk_size)

    (file,) = made.update("trades").files

    assert file.problem is None
    path = made.partitions()["trades/A/2024_01.parquet"]
    of_a = pq.read_table(path, partitioning=None)["sequence_number"].to_pylist()
    order = [None, LEAST, LEAST + 1, -1, 0, (1 << 63) - 1]
    assert of_a == [number for number in order for _ in "xy"]
    assert file.reasons == {"duplicate": 8}
    assert [fault.problem for fault in made.verify("trades").faults] == []


@pytest.mark.parametrize("chunk_size", [1000, 1_000_000])
def test_rows_are_one_event_by_the_columns_that_the_users_own_dedupe_partitions_by(
    chunk_size: int, make_warehouse: MakeWarehouse
) -> None:
    """Of several numbers too: the file alone says which rows come to it."""
    at = instant(SESSION)
    # B's repeats stand next to each other, A's in other pieces and out of order.
    rows = [trade("A", at + n, n, id=str(n)) for n in range(4)]
    rows += [trade("B", at + n, 2 * n + k, id=str(n)) for n in range(20_000) for k in (1, 0)]
    rows += [trade("A", at + n, 100 - n, id=str(n)) for n in range(4)]
    rows += [trade("A", at, 50, id="x")]
    made = make_warehouse({day_key("trades", SESSION): rows}, processing__chunk_size=chunk_size)
    path = made.root / "sql/dedupe/trades.sql"
    text = path.read_text("utf-8")
    by = "partition by symbol, timestamp, sequence_number, exchange, id"
    assert by in text
    path.write_text(text.replace(by, by.replace("sequence_number, ", "")), "utf-8")

    (file,) = made.update("trades").files

    assert file.problem is None
    # The number is one of the values by now.
    assert file.reasons == {"duplicate": 20_004}
    stored = {
        name: pq.read_table(path, partitioning=None) for name, path in made.partitions().items()
    }
    of_a = stored["trades/A/2024_01.parquet"]
    assert of_a["id"].to_pylist() == ["0", "x", "1", "2", "3"]
    assert of_a["sequence_number"].to_pylist() == [0, 50, 1, 2, 3]
    of_b = stored["trades/B/2024_01.parquet"]["sequence_number"].to_pylist()
    assert of_b == [2 * n + 1 for n in range(20_000)]
    assert [fault.problem for fault in made.verify("trades").faults] == []


def test_a_sort_of_another_order_is_an_error_whether_rows_come_to_it_or_not(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    made.put_raw("trades", SESSION, [trade("A", instant(SESSION))])
    path = made.root / "sql/sort/trades.sql"
    text = path.read_text("utf-8")
    for other in ("symbol, session, participant_timestamp", "symbol, session, timestamp desc"):
        path.write_text(text.replace("symbol, session, timestamp", other), "utf-8")

        with pytest.raises(SqlFileError, match="let it end with order by symbol, session, time"):
            made.ingest("trades")

    assert made.partitions() == {}
    path.write_text(f"{text.rstrip()}\n-- As it ships.\n", "utf-8")
    made.ingest("trades")
    assert len(made.partitions()) == 1


@pytest.mark.parametrize("left", ["symbol, id", "timestamp, id"])
def test_a_dedupe_that_wants_rows_together_that_never_come_so_is_an_error(
    left: str, make_warehouse: MakeWarehouse
) -> None:
    made = make_warehouse()
    made.put_raw("trades", SESSION, [trade("A", instant(SESSION))])
    path = made.root / "sql/dedupe/trades.sql"
    text = path.read_text("utf-8")
    by = "partition by symbol, timestamp, sequence_number, exchange, id"
    path.write_text(text.replace(by, f"partition by {left}"), "utf-8")

    with pytest.raises(SqlFileError, match="symbol and timestamp must be among those") as caught:
        made.ingest("trades")

    assert caught.value.path == path
    assert made.partitions() == {}


def test_a_rejects_stamp_that_is_no_instant_is_kept_in_its_line(
    make_warehouse: MakeWarehouse,
) -> None:
    stamps = (-5, 2**63 - 1, 0, 1, instant(SESSION))
    lines = [trade("AAPL", stamp, n) for n, stamp in enumerate(stamps)]
    made = make_warehouse({day_key("trades", SESSION): lines})
    made.update()
    assert [(row["reason"], row["timestamp"], row["line"]) for row in made.rejects()][:3] == [
        ("outside_session", None, lines[0]),
        ("outside_session", None, lines[1]),
        ("no_timestamp", None, None),
    ]
    # What has a value of its own needs no other.
    assert made.rejects()[3]["timestamp"].value == 1
    assert made.rejects()[3]["line"] is None
