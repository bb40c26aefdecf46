"""The vendor's exports are read as they are given out, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from warehouse.bars import exports
from warehouse.bars.exports import FIELDS, read_export
from warehouse.errors import ReferenceFileError

SPLIT = {
    "id": "E1",
    "ticker": "AAPL",
    "execution_date": "2020-08-31",
    "split_from": 1,
    "split_to": 4,
    "adjustment_type": "forward_split",
    "historical_adjustment_factor": 0.25,
}
DIVIDEND = {
    "id": "D1",
    "ticker": "AAPL",
    "ex_dividend_date": "2024-02-09",
    "declaration_date": "2024-02-01",
    "record_date": "2024-02-12",
    "pay_date": "2024-02-15",
    "cash_amount": 0.24,
    "split_adjusted_cash_amount": 0.24,
    "currency": "USD",
    "frequency": 4,
    "distribution_type": "recurring",
    "historical_adjustment_factor": 0.99,
}
EVENTS = {
    "name": "Meta Platforms, Inc.",
    "events": [
        {"type": "ticker_change", "date": "2022-06-09", "ticker_change": {"ticker": "META"}},
        {"type": "ticker_change", "date": "2012-05-18", "ticker_change": {"ticker": "FB"}},
    ],
}

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(content: Any) -> Path:
        path = tmp_path / "export"
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


def csv_of(record: dict[str, Any]) -> str:
    values = ("" if value is None else str(value) for value in record.values())
    return f"{','.join(record)}\n{','.join(values)}\n"


# What is read


FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a page": lambda record: {"status": "OK", "results": [record], "next_url": "x"},
    "a list of pages": lambda record: [{"results": []}, {"results": [record]}],
    "a list of records": lambda record: [record],
    "csv": csv_of,
    "csv of windows": lambda record: "\ufeff" + csv_of(record).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("record", [SPLIT, DIVIDEND], ids=["split", "dividend"])
def test_each_form_says_the_same(form: str, record: dict[str, Any], write: Write) -> None:
    found = read_export(write(FORMS[form]({**record, "unknown": "x"})))
    fields = FIELDS[found.table]
    expected = {each.column: record[each.name] for each in fields if each.column is not None}
    expected |= {
        name: date.fromisoformat(value)
        for name, value in expected.items()
        if name.endswith("_date") and value
    }
    assert found.rows.to_pylist() == [expected]


@pytest.mark.parametrize(
    "content",
    [
        {"results": EVENTS},
        [{"results": EVENTS}],
        "name,type,date,ticker\nMeta,ticker_change,2012-05-18,FB\nMeta,ticker_change,2022-06-09,META",
    ],
    ids=["a page", "a list of pages", "csv"],
)
def test_ticker_events_say_from_when_a_security_bore_a_symbol(content: Any, write: Write) -> None:
    found = read_export(write(content))
    assert found.table == "securities"
    rows = [
        (row["security"], row["symbol"], row["first_session"]) for row in found.rows.to_pylist()
    ]
    assert rows == [
        ("FB 2012-05-18", "FB", date(2012, 5, 18)),
        ("FB 2012-05-18", "META", date(2022, 6, 9)),
    ]


def test_an_export_whose_pages_all_name_another_is_not_the_last(write: Write) -> None:
    first, last = {"results": [SPLIT], "next_url": "x"}, {"results": [SPLIT]}
    for content in (first, [first], [first, {"results": [], "next_url": "y"}]):
        assert not read_export(write(content)).is_last
    for content in (last, [first, last], {**last, "next_url": None}, csv_of(SPLIT), [SPLIT]):
        assert read_export(write(content)).is_last


def test_two_securities_of_one_name_stay_two(write: Write) -> None:
    other = deepcopy(EVENTS)
    other["events"] = [
        {"type": "ticker_change", "date": "2020-01-02", "ticker_change": {"ticker": "X"}}
    ]
    found = read_export(write([{"results": EVENTS}, {"results": other}]))
    assert found.rows["security"].to_pylist() == ["FB 2012-05-18", "FB 2012-05-18", "X 2020-01-02"]


@pytest.mark.parametrize("name", ["declaration_date", "record_date", "pay_date", "frequency"])
def test_what_some_records_leave_out_is_null_there(name: str, write: Write) -> None:
    less = {key: value for key, value in DIVIDEND.items() if key != name}
    found = read_export(write({"results": [DIVIDEND, {**less, "id": "D2"}]}))
    assert found.rows[name].is_null().to_pylist() == [False, True]


# What is refused


def test_a_file_of_another_kind_is_told_so_whatever_its_lines_are(write: Write) -> None:
    with pytest.raises(ReferenceFileError, match="it is no export of splits, dividends or ticker"):
        read_export(write("# A title\n\nSome words, and more, and more.\n"))


NEEDED = [
    *(("split", SPLIT, name) for name in SPLIT),
    *(("dividend", DIVIDEND, name) for name in DIVIDEND),
]


@pytest.mark.parametrize("is_csv", [False, True], ids=["json", "csv"])
@pytest.mark.parametrize(
    ("record", "name"),
    [each[1:] for each in NEEDED],
    ids=[f"{kind} {name}" for kind, _, name in NEEDED],
)
def test_a_missing_field_is_named_with_file_and_place(
    record: dict[str, Any], name: str, is_csv: bool, write: Write
) -> None:
    less = {key: value for key, value in record.items() if key != name}
    path = write(csv_of(less) if is_csv else {"results": [less]})
    with pytest.raises(ReferenceFileError) as caught:
        read_export(path)
    assert caught.value.path == path
    assert caught.value.place == (f"line 2, {name}" if is_csv else f"results[0].{name}")
    assert caught.value.problem == "is missing"
    assert str(path) in str(caught.value)


WRONG: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a number that is a text": (SPLIT, "split_from", "1"),
    "a number that is true": (SPLIT, "split_to", True),
    "a number that is a list": (SPLIT, "split_to", [4]),
    "a number beyond doubles": (SPLIT, "split_to", 10**400),
    "a day that is a number": (SPLIT, "execution_date", 20200831),
    "a day that there is not": (SPLIT, "execution_date", "2020-02-30"),
    "a day with a time": (SPLIT, "execution_date", "2020-08-31T00:00:00Z"),
    "a day of another form": (SPLIT, "execution_date", "20200831"),
    "a day of no time that we know": (SPLIT, "execution_date", "0020-08-31"),
    "an id that is a number": (SPLIT, "id", 1),
    "an id without end": (SPLIT, "id", "x" * 1000),
    "an id of blanks": (SPLIT, "id", " "),
    "a text that is no UTF-8": (SPLIT, "id", "\ud800"),
    "a symbol too long": (SPLIT, "ticker", "A" * 65),
    "a symbol with a line end": (SPLIT, "ticker", "A\nB"),
    "a symbol with a terminal's sign": (SPLIT, "ticker", "A\x1b[2J"),
    "a frequency that is no whole number": (DIVIDEND, "frequency", 4.5),
    "a frequency beyond all": (DIVIDEND, "frequency", 2**40),
    "an object in the place of a text": (DIVIDEND, "currency", {"code": "USD"}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_value_of_another_type_is_named_with_its_place(what: str, write: Write) -> None:
    record, name, value = WRONG[what]
    content = {"results": [record, {**record, name: value}]}
    with pytest.raises(ReferenceFileError) as caught:
        read_export(write(content))
    assert caught.value.place == f"results[1].{name}"
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


DEEP = '{"results":' + "[" * 100_000 + "]" * 100_000 + "}"
NO_EXPORT = {
    "nothing": b"",
    "no JSON and no CSV of ours": b"hello, world\n1, 2\n",
    "a page of trades": {"results": [{"price": 1, "size": 2}]},
    "a page without results": {"status": "ERROR", "error": "not authorized"},
    "a page whose results are a text": {"results": "none"},
    "a page of numbers": {"results": [1, 2]},
    "no record": {"results": []},
    "a number": b"[1]",
    "a truncated file": json.dumps({"results": [SPLIT]})[:-5].encode(),
    "a file that ends within a word": b'{"results": [{"id": "E',
    "two documents": b'{"results": []}{"results": []}',
    "a field twice": b'{"results": [{"id": "a", "id": "b", "split_from": 1}]}',
    "deep nesting": DEEP.encode(),
    "a number of many digits": b'{"results": [' + b"9" * 100_000 + b"]}",
    "no UTF-8": '{"results": [{"id": "é", "split_from": 1}]}'.encode("latin-1"),
    "a binary file": bytes(range(256)),
    "csv with a field twice": b"id,id,split_from\n1,2,3\n",
    "csv with an open quote": b'id,ticker,split_from\n"1,2,3\n',
    "csv with too few values": csv_of(SPLIT).replace(",0.25", "").encode(),
    "csv without rows": csv_of(SPLIT).splitlines()[0].encode(),
    "events that are no list": {"results": {"name": "X", "events": {}}},
    "an event without its ticker": {
        "results": {"name": "X", "events": [{"type": "ticker_change", "date": "2020-01-02"}]}
    },
    "events without a name": {"results": {**EVENTS, "name": None}},
}


@pytest.mark.parametrize("what", NO_EXPORT)
def test_a_file_that_is_no_export_is_one_error_that_names_it(what: str, write: Write) -> None:
    path = write(NO_EXPORT[what])
    with pytest.raises(ReferenceFileError) as caught:
        read_export(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said.isprintable()
    assert len(said) < 500


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_must_have_an_end(word: str, write: Write) -> None:
    text = json.dumps({"results": [SPLIT]}).replace('"split_to": 4', f'"split_to": {word}')
    with pytest.raises(ReferenceFileError, match="is no number"):
        read_export(write(text))


@pytest.mark.parametrize("word", ["nan", "inf", "1_0", "0x10", "1,5", "", "1e999"])
def test_a_number_of_csv_is_written_as_one(word: str, write: Write) -> None:
    text = csv_of(SPLIT).replace(",4,", f',"{word}",')
    with pytest.raises(ReferenceFileError, match=r"is no number|is missing"):
        read_export(write(text))


def test_a_large_file_is_refused_before_it_is_read(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write({"results": [SPLIT]})
    monkeypatch.setattr(exports, "MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(ReferenceFileError, match="larger than"):
        read_export(path)


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ReferenceFileError, match="cannot be read"):
            read_export(path)
