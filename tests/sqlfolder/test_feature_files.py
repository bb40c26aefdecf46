"""Feature files: what the conventions ask of them, and what a breach is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from building import REPOSITORY, SESSION, day_key, instant, make, trade
from featuring import FEATURES, FOLDER

from warehouse.errors import RequestError, SqlFileError
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_file import FeatureFolder

GOOD = """-- features/mine: the sum of sizes of late.
-- grain: symbol, timestamp, id
-- params: $trades_back integer (1 or more) = 5, $factor double = 0.5, $signed boolean = true
-- lookback: $trades_back rows
-- columns: recent shares
-- source: of my own
--
-- A word on how.
select
    symbol,
    timestamp,
    id,
    sum(case when $signed then size else -size end) over w * $factor as recent,
    session
from trades
window w as (
    partition by symbol
    order by timestamp, id
    rows between $trades_back - 1 preceding and current row
)
order by symbol, timestamp, id
"""


def feature(text: str, folder: Path, name: str = "mine") -> Feature:
    (folder / "features").mkdir(exist_ok=True)
    (folder / f"features/{name}.sql").write_text(text)
    return FeatureFolder(folder)[name]


def test_a_file_that_keeps_them_says_what_it_is(tmp_path: Path) -> None:
    found = feature(GOOD, tmp_path)
    assert found.description == "the sum of sizes of late."
    assert found.grain == ("symbol", "timestamp", "id")
    assert [str(parameter) for parameter in found.parameters] == [
        "trades_back (integer, 1 or more) = 5",
        "factor (double) = 0.5",
        "signed (boolean) = true",
    ]
    assert (found.lookback.unit, found.lookback.given({"trades_back": 7})) == ("rows", 7)
    assert found.columns == {"recent": "shares"}
    # What is neither named nor handed on is not read.
    assert found.reads == {"trades": ("symbol", "timestamp", "size", "id", "session")}


def deep_in_calls(ask: Callable[[], Any]) -> Iterator[Any]:
    """What `ask` gives at each depth at which Python has just enough left to begin with it."""

    def called(depth: int) -> Any:
        return called(depth - 1) if depth else ask()

    for depth in range(sys.getrecursionlimit(), 0, -1):
        try:
            yield called(depth)
        except RecursionError:
            continue
        if depth % 100 == 0:
            return


def test_a_caller_deep_in_its_own_calls_makes_no_feature_a_broken_one(tmp_path: Path) -> None:
    """It was told that the query is nested too deeply, from then on at any depth."""
    numbers = iter(range(10**6))
    (tmp_path / "features").mkdir()
    before = sys.getrecursionlimit()

    def ask() -> Feature:
        # Another one each time: one that was checked is not checked again.
        return feature(GOOD.replace("0.5", f"0.{next(numbers)}5"), tmp_path)

    sys.setrecursionlimit(400)
    try:
        answers = list(deep_in_calls(ask))
    finally:
        sys.setrecursionlimit(before)
    assert len(answers) > 10
    assert {found.name for found in answers} == {"mine"}


@pytest.mark.parametrize("found", list(FOLDER), ids=lambda found: getattr(found, "name", "broken"))
def test_a_shipped_file_keeps_them_and_says_what_its_columns_are(
    found: Feature | SqlFileError,
) -> None:
    assert isinstance(found, Feature), found
    assert found.columns
    assert all(found.columns.values()), "a column without a unit"
    assert len(found.source) > 20


FACTOR = "* $factor"
BREACHES = {
    "no sentence": ("features/mine: the", "the", "begin it with a sentence"),
    "another's name": ("features/mine", "features/other", "-- features/mine: "),
    "no grain": ("-- grain:", "-- grin:", "no `grain:`"),
    "no source": ("-- source:", "-- sauce:", "no `source:`"),
    "no lookback": ("-- lookback: $trades_back rows\n", "", "no `lookback:`"),
    "no finite lookback": ("$trades_back rows", "all", "may be none, session, N rows or N sess"),
    "a lookback by what is no number": (
        *("lookback: $trades_back", "lookback: $factor"),
        r"\$factor is no integer parameter",
    ),
    "an undeclared parameter": (", $signed boolean = true", "", "make them agree"),
    "an unused parameter": ("= true\n", "= true, $x double = 1\n", "make them agree"),
    "no default": (" = 0.5", "", r"write `\$name type = default`"),
    "an unknown type": ("double = 0.5", "money = 0.5", "integer, double, boolean"),
    "a default of another type": ("= 5,", "= five,", "cannot be the default"),
    "a default below the least": ("= 5,", "= 0,", "cannot be the default"),
    "an argument of wh.features": ("$factor", "$tz", "means something else"),
    "a word of SQL's": ("$factor", "$window", "word of SQL"),
    "a column's name as a parameter's": ("$factor", "$price", "price is both"),
    "an argument of the macro as a column": ("recent", "first_session", "first_session is both"),
    "a column that is not there": ("sum(case", "sum(prize + case", "DuckDB refuses"),
    "no session": (",\n    session\n", "\n", "no column session of type DATE"),
    "a grain that is not there": ("timestamp, id\n-- p", "timestamp, x\n-- p", "no column x"),
    "another column than promised": ("as recent", "as lately", "not in both"),
    "freq without aggs": ("-- source", "-- freq: day\n-- source", "freq: minute"),
    "aggs without freq": ("from trades", "from aggs", "freq: minute"),
    "two statements": ("order by symbol, timestamp, id\n", "; select 1", "exactly one SELECT"),
    "an update": ("select\n", "update trades set id = 1; select\n", "exactly one SELECT"),
    "no SQL": ("select\n", "selekt\n", "cannot be parsed: Parser Error: syntax error"),
    "a hidden write": (
        *("select\n", "with x as (copy (select 1) to 'x') select\n"),
        "exactly one plain SELECT",
    ),
    "a recursion": (
        *("select\n", "with recursive x as (select 1 union all from x) select\n"),
        "exactly one plain SELECT",
    ),
    "a file": ("from trades", "from read_parquet('x.parquet')", "read_parquet"),
    "a file by its name": ("from trades", "from 'x.csv'", "reads x.csv"),
    "a text in a file": (FACTOR, "+ (select 1 from read_text('/etc/x'))", "selects from read_text"),
    "a table of the catalog": ("from trades", "from partitions", "reads partitions"),
    "another catalog's": ("from trades", "from main.trades", "reads main.trades"),
    "no table at all": ("from trades", "from (select 1)", "reads none"),
    "dice": (FACTOR, "* $factor * random()", r"function random\(\)"),
    "the clock": (FACTOR, "* $factor + epoch(now())", r"function now\(\)"),
    "the environment": (FACTOR, "* $factor + getvariable('x')", "getvariable"),
    "a sample": ("from trades", "from (from trades using sample 3)", "a sample"),
    "lead": (FACTOR, "* $factor * lead(size) over (order by id)", "looks ahead"),
    "following": (
        *("and current row", "and unbounded following"),
        "looks ahead: the frame of sum",
    ),
    "a share of the whole": (FACTOR, "* $factor * cume_dist() over (order by id)", "looks ahead"),
    "a whole partition": (FACTOR, "/ sum(size) over (partition by session)", "without ORDER BY"),
    "no frame": (
        *(FACTOR, "/ sum(size) over (order by timestamp, id)"),
        r"frame of sum\(\) is not written out",
    ),
    "an interval of microseconds": (
        "rows between $trades_back - 1 preceding",
        "range between interval 1 second preceding",
        "counts in microseconds",
    ),
    "a row by chance": (
        *(FACTOR, "* $factor + (select first(size) from trades)"),
        "takes rows in any order",
    ),
    "a value by its place": (FACTOR, "* $factor * ?", "by name|cannot be parsed"),
}


@pytest.mark.parametrize("how", BREACHES)
def test_a_breach_names_the_file_and_what_to_do(how: str, tmp_path: Path) -> None:
    old, new, message = BREACHES[how]
    assert old in GOOD
    with pytest.raises(SqlFileError, match=message) as caught:
        feature(GOOD.replace(old, new), tmp_path)
    assert caught.value.path == tmp_path / "features/mine.sql"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Mine", "trades", "aggs", "bars_5m", "1st", "a-b", "bars", "factors", "trades_files"]
)
def test_a_name_that_could_be_no_macros_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SqlFileError, match="rename it"):
        feature(GOOD, tmp_path, name)


def test_no_feature_has_the_name_of_a_macro_of_the_catalogs_own(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    made.update()
    made_by_us = made.sql(
        "select distinct function_name from duckdb_functions() where not internal"
    )
    features = {one.name for one in FOLDER if isinstance(one, Feature)}
    names = {name.removesuffix("_of") for (name,) in made_by_us if name.endswith("_of")}
    assert names - features
    for name in names - features:
        with pytest.raises(SqlFileError, match="rename it"):
            feature(GOOD, tmp_path, name)


def test_what_is_in_order_in_time_may_be_ranked_lagged_and_numbered(tmp_path: Path) -> None:
    for function in ("row_number()", "lag(size, 2)", "rank()"):
        text = GOOD.replace("* $factor", f"* $factor + {function} over (order by timestamp, id)")
        assert feature(text, tmp_path).name == "mine"


def test_a_file_of_nothing_is_told_what_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(SqlFileError, match="begin it with a sentence"):
        feature("", tmp_path)


def test_a_whole_row_or_a_star_reads_every_column_that_it_hands_on(tmp_path: Path) -> None:
    for text in (
        GOOD.replace("-- columns: recent shares\n", "").replace("as recent,", "as recent, trades,"),
        GOOD.replace("-- columns: recent shares\n", "").replace(
            "from trades", "from (select distinct * from trades)"
        ),
    ):
        assert len(feature(text, tmp_path).reads["trades"]) == 14


def test_an_unknown_feature_lists_the_valid_ones_and_suggests(tmp_path: Path) -> None:
    for name, hint in (
        ("spreed", "did you mean spread?"),
        ("volume_ratio", "volume_ratio is a column of volume_ma"),
        ("mid_price", "mid_price is a column of effective_spread and realized_spread and spread"),
    ):
        with pytest.raises(RequestError) as caught:
            FOLDER[name]
        assert hint in str(caught.value)
        assert ", ".join(FEATURES) in str(caught.value)
    with pytest.raises(RequestError, match=r"there are none in .*`warehouse init DIR` adds"):
        FeatureFolder(tmp_path)["spread"]


def test_a_file_that_is_no_text_is_an_error_and_hidden_files_are_none(tmp_path: Path) -> None:
    feature(GOOD, tmp_path)
    (tmp_path / "features/binary.sql").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "features/.mine.sql").write_bytes(b"\xff")
    (tmp_path / "features/notes.txt").write_text("x")
    found = dict(FeatureFolder(tmp_path).items())
    assert list(found) == ["binary", "mine"]
    assert "cannot be read" in str(found["binary"])
    assert FeatureFolder(tmp_path).texts().keys() == found.keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trades_bak": 1}, r"has the parameters trades_back \(integer, 1 or more\) = 5, factor"),
        ({"trades_back": 0}, "must be 1 or more"),
        ({"trades_back": -3}, "must be 1 or more"),
        ({"trades_back": 2.5}, "of type integer"),
        ({"trades_back": True}, "of type integer"),
        ({"trades_back": "5"}, "of type integer"),
        ({"trades_back": None}, "of type integer"),
        ({"trades_back": 2**63}, "of type integer"),
        ({"factor": float("nan")}, "of type double"),
        ({"factor": float("inf")}, "of type double"),
        ({"factor": "x"}, "of type double"),
        ({"signed": 1}, "of type boolean"),
        ({"factor": [1.0]}, "of type double"),
    ],
)
def test_a_value_that_cannot_be_is_refused(
    given: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        feature(GOOD, tmp_path).values(given)


def test_values_of_numpy_and_whole_numbers_for_doubles_are_taken(tmp_path: Path) -> None:
    import numpy as np

    found = feature(GOOD, tmp_path)
    values = found.values({"trades_back": np.int64(3), "factor": 2, "signed": np.bool_(False)})
    assert values == {"trades_back": 3, "factor": 2.0, "signed": False}
    assert [type(value) for value in values.values()] == [int, float, bool]


def test_the_headers_example_in_the_code_is_that_of_a_file() -> None:
    """What the documentation shows is what a user copies."""
    from warehouse.sqlfolder import feature_file

    shown = [
        line.strip()
        for line in (feature_file.__doc__ or "").splitlines()
        if line.startswith("    --")
    ]
    text = (REPOSITORY / "sql/features/volume_ma.sql").read_text("utf-8")
    assert shown
    assert text.startswith("\n".join(shown))
