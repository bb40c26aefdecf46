"""The table of trade conditions: what is read of it, and which line of a malformed one is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from building import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from warehouse.core.datatypes import TRADE_CONDITIONS
from warehouse.errors import ConfigError
from warehouse.sqlfolder.bars import condition_table
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.publishing.catalog_sql import make_reference

HEAD = "id,name,updates_high_low,updates_open_close,updates_volume"
DATED = f"{HEAD},valid_from,valid_to"
SHIPPED = REPOSITORY / "config/trade_conditions.csv"


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "conditions.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def as_the_catalog_has_it(path: Path) -> pa.Table:
    """What sql/catalog/reference.sql makes of a table."""
    with duckdb.connect(config={"threads": 1}) as connection:
        make_reference(connection, SqlFolder(REPOSITORY / "sql"), REPOSITORY / "config", path)
        return connection.sql("from trade_conditions").to_arrow_table()


GOOD = {
    "without dates": (f"{HEAD}\n12,Form T,false,false,true\n", [(12, None, None)]),
    "with dates": (
        f"{DATED}\n17,a,false,false,true,2003-09-10,2012-12-31\n17,b,true,true,true,2013-01-01,\n",
        [(17, date(2003, 9, 10), date(2012, 12, 31)), (17, date(2013, 1, 1), None)],
    ),
    "one day": (
        f"{DATED}\n1,a,true,true,true,2024-02-29,2024-02-29\n",
        [(1, *2 * (date(2024, 2, 29),))],
    ),
    "periods in any order": (
        f"{DATED}\n1,a,true,true,true,2024-01-02,\n2,b,true,true,true,,\n1,c,true,true,true,,2024-01-01\n",
        [(1, date(2024, 1, 2), None), (2, None, None), (1, None, date(2024, 1, 1))],
    ),
    "the outermost ids": (
        f"{HEAD}\n0,a,true,true,true\n32767,b,true,true,true\n",
        [(0, None, None), (32767, None, None)],
    ),
    "as a spreadsheet saves it": (
        f'\ufeff{HEAD}\r\n12,"Form T, late",FALSE,False,TRUE\r\n',
        [(12, None, None)],
    ),
    "empty lines, and no end of the last": (
        f'{DATED}\n\n1,a,true,true,true,,\n\n2,"say ""b""",true,true,true,,',
        [(1, None, None), (2, None, None)],
    ),
    "no rule": (f"{HEAD}\n", []),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_rules_are_read_and_the_catalog_has_the_same(name: str, tmp_path: Path) -> None:
    text, expected = GOOD[name]
    path = table(tmp_path, text)
    found = condition_table.read(path)
    assert found.schema == TRADE_CONDITIONS
    assert [
        (row["id"], row["valid_from"], row["valid_to"]) for row in found.to_pylist()
    ] == expected
    assert as_the_catalog_has_it(path).to_pylist() == found.to_pylist()


def test_each_flag_is_its_own(tmp_path: Path) -> None:
    (row,) = condition_table.read(table(tmp_path, f"{HEAD}\n5,x,true,false,true\n")).to_pylist()
    flags = row["updates_high_low"], row["updates_open_close"], row["updates_volume"]
    assert flags == (True, False, True)


def test_the_shipped_table_states_no_dates() -> None:
    found = condition_table.read(SHIPPED)
    assert found.num_rows == 55
    assert found["valid_from"].null_count == found["valid_to"].null_count == 55
    assert as_the_catalog_has_it(SHIPPED).equals(found)


GOOD_LINE = "1,a,true,true,true"
BAD = {
    "nothing": ("", "line 1 = '': it must be id,name"),
    "no header": (f"{GOOD_LINE}\n", "line 1 = '1,a,true,true,true': it must be"),
    "other columns": (f"{HEAD},valid_from\n", "line 1 = "),
    "semicolons": (DATED.replace(",", ";") + "\n", "line 1 = "),
    "a field too few": (
        f"{HEAD}\n{GOOD_LINE}\n2,b,true,true\n",
        "line 3 = '2,b,true,true': it must have 5",
    ),
    "a field too many": (f"{HEAD}\n2,b,true,true,true,,\n", "line 2 = "),
    "a line of before in a table with dates": (f"{DATED}\n{GOOD_LINE}\n", "it must have 7 fields"),
    "no id": (f"{HEAD}\n,a,true,true,true\n", "line 2, id = '': it must be a whole number from 0"),
    "an id with a fraction": (f"{HEAD}\n1.5,a,true,true,true\n", "line 2, id = '1.5'"),
    "an id below zero": (f"{HEAD}\n-1,a,true,true,true\n", "line 2, id = '-1'"),
    "an id too large": (f"{HEAD}\n32768,a,true,true,true\n", "line 2, id = '32768'"),
    "digits of another script": (f"{HEAD}\n٣,a,true,true,true\n", "line 2, id = '٣'"),
    "a space": (f"{HEAD}\n{GOOD_LINE}\n 2,a,true,true,true\n", "line 3, id = ' 2'"),
    "no name": (f"{HEAD}\n1,,true,true,true\n", "line 2, name = ''"),
    "a name of two lines": (f'{HEAD}\n1,"a\nb",true,true,true\n', "line 2, name = 'a\\nb'"),
    "yes": (
        f"{HEAD}\n1,a,true,yes,true\n",
        "line 2, updates_open_close = 'yes': it must be true or",
    ),
    "no flag": (f"{HEAD}\n\n1,a,,true,true\n", "line 3, updates_high_low = ''"),
    "a number for a flag": (
        f"{HEAD}\n{GOOD_LINE}\n2,a,true,true,1\n",
        "line 3, updates_volume = '1'",
    ),
    "a day that is none": (
        f"{DATED}\n{GOOD_LINE},2023-02-29,\n",
        "line 2, valid_from = '2023-02-29'",
    ),
    "a day of a spreadsheet": (
        f"{DATED}\n{GOOD_LINE},,1/31/2024\n",
        "line 2, valid_to = '1/31/2024': it must be a day",
    ),
    "a day without dashes": (f"{DATED}\n{GOOD_LINE},20240131,\n", "line 2, valid_from"),
    "an end before its begin": (
        f"{DATED}\n{GOOD_LINE},2024-01-02,2024-01-01\n",
        "line 2, valid_to = '2024-01-01': it lies before valid_from, which is 2024-01-02",
    ),
    "an id twice": (
        f"{HEAD}\n{GOOD_LINE}\n2,b,true,true,true\n{GOOD_LINE}\n",
        "line 4, id = '1': line 2 has a rule",
    ),
    "an id twice without dates": (
        f"{DATED}\n{GOOD_LINE},,\n{GOOD_LINE},2024-01-01,\n",
        "line 3, id = '1': line 2",
    ),
    "periods that share a day": (
        f"{DATED}\n{GOOD_LINE},2024-01-02,\n2,b,true,true,true,,\n{GOOD_LINE},,2024-01-02\n",
        "line 4, id = '1': line 2 has a rule for it too",
    ),
    "a quote that does not end": (f'{HEAD}\n1,"a,true,true,true\n', "line 2 = '': it is no CSV"),
    "more behind a quote": (f'{HEAD}\n1,"a"b,true,true,true\n', "line 2 = '': it is no CSV"),
    "two ends of line": (f"{HEAD}\r\n{GOOD_LINE}\n2,b,true,true,true\r\n", "more than one way"),
    "UTF-16": (
        f"{HEAD}\n{GOOD_LINE}\n".encode("utf-16"),
        "cannot be read: it is UTF-16, not UTF-8; save it as UTF-8",
    ),
    "too much": (
        f"{HEAD}\n" + "\n" * (1 << 20),
        "cannot be read: it is larger than 1,048,576 bytes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_table_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text, told = BAD[name]
    path = table(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        condition_table.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_that_is_missing_or_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.csv: is missing; .* bars.trade_conditions"):
        condition_table.read(tmp_path / "nowhere.csv")
    with pytest.raises(ConfigError, match="no regular file"):
        condition_table.read(tmp_path)


DAYS = st.dates(date(2024, 1, 1), date(2024, 1, 12))
PERIODS = st.lists(
    st.tuples(st.integers(1, 2), st.none() | DAYS, st.none() | DAYS), min_size=1, max_size=5
)


@given(PERIODS)
def test_it_is_refused_just_where_two_rules_hold_in_one_session(
    tmp_path_factory: pytest.TempPathFactory, periods: list[tuple[int, date | None, date | None]]
) -> None:
    """Against the plain question of every session, and of a day before and after all."""
    lines = [
        f"{number},a,true,true,true,{first or ''},{last or ''}" for number, first, last in periods
    ]
    held = [
        {
            day
            for day in (date(2023, 12, 31), *(date(2024, 1, n) for n in range(1, 14)))
            if (first or date.min) <= day <= (last or date.max)
        }
        for _, first, last in periods
    ]
    is_wrong = any(first and last and last < first for _, first, last in periods) or any(
        held[one] & held[other] and periods[one][0] == periods[other][0]
        for one in range(len(periods))
        for other in range(one)
    )
    path = table(tmp_path_factory.getbasetemp(), "\n".join([DATED, *lines]))
    if is_wrong:
        with pytest.raises(ConfigError):
            condition_table.read(path)
    else:
        assert condition_table.read(path).num_rows == len(periods)


def test_what_is_written_is_read_again_by_id_and_first_session(tmp_path: Path) -> None:
    text = (
        f'{DATED}\n7,"Cash, ""now""",false,true,true,2024-01-02,\n3,b,true,false,true,,\n'
        "7,c,true,true,false,,2024-01-01\n"
    )
    path = tmp_path / "written.csv"
    path.write_bytes(condition_table.as_csv(path, condition_table.read(table(tmp_path, text))))
    head, third, *sevenths = text.splitlines()[0], *sorted(text.splitlines()[1:])
    assert path.read_text("utf-8").splitlines() == [head, third, sevenths[1], sevenths[0]]


def test_the_shipped_table_is_as_it_would_be_written(tmp_path: Path) -> None:
    path = tmp_path / "written.csv"
    path.write_bytes(condition_table.as_csv(path, condition_table.read(SHIPPED)))
    assert path.read_bytes() == SHIPPED.read_bytes()


def test_what_could_not_be_read_again_is_not_made(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEAD}\n{GOOD_LINE}\n")
    rules = condition_table.read(path)
    with pytest.raises(ConfigError, match="line 3, id = '1'"):
        condition_table.as_csv(path, pa.concat_tables([rules, rules]))
