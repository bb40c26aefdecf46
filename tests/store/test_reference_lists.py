"""A list of config/ that is not what the shipped one is, is refused by its line before anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import SESSION, Made, bar, day_key, instant, make

from warehouse.errors import ConfigError


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, {day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))]})


CHANGES = {
    "empty": (lambda text: "", "line 1 = '': it must be id,type,name"),
    "no header": (lambda text: text.partition("\n")[2], "line 1 = '1,quote_condition,"),
    "others": (lambda text: text.replace("type,name", "name,type", 1), "line 1 = 'id,name,type'"),
    "semicolons": (lambda text: text.replace(",", ";"), "line 1 = 'id;type;name'"),
    "UTF-16": (
        lambda text: text.encode("utf-16"),
        "cannot be read: it is UTF-16, not UTF-8; save it as UTF-8",
    ),
    "letters": (lambda text: text + "x,quote_condition,Other\n", "line 41, id = 'x': it must be a"),
    "large": (lambda text: text + "32768,quote_condition,Other\n", "line 41, id = '32768'"),
    "few": (lambda text: text + "99,Other\n", "line 41 = '99,Other': it must have 3 fields"),
    "quote": (lambda text: text + '99,quote_condition,"Other\n', "cannot be read: unexpected end"),
    "gone": (None, "is missing; `warehouse init DIR`"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_list_that_is_not_its_own_is_named_and_nothing_is_fetched(name: str, made: Made) -> None:
    path = made.root / "config/quote_conditions.csv"
    change, told = CHANGES[name]
    if change is None:
        path.unlink()
    else:
        text = change(path.read_text("utf-8"))
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError) as caught:
        made.update("day_aggs")

    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert not list(made.layout.raw.rglob("*.gz"))


def test_an_exchange_that_stands_twice_is_named_for_rows_would_be_joined_to_both(
    made: Made,
) -> None:
    path = made.root / "config/exchanges.csv"
    path.write_text(path.read_text("utf-8") + "\n1,XASE,A,exchange,Again\n", "utf-8")
    with pytest.raises(ConfigError, match=r"line \d+, id = '1': line 2 has it too"):
        made.update("day_aggs")


def test_a_list_that_a_spreadsheet_has_saved_is_read_as_it_is(made: Made) -> None:
    path = made.root / "config/quote_conditions.csv"
    path.write_text("\ufeff" + path.read_text("utf-8").replace("\n", "\r\n"), "utf-8")
    made.update("day_aggs")
    answers = made.sql("select count(*), min(id), max(type) from quote_conditions")
    assert answers == [(39, 1, "sip_generated_flag")]
