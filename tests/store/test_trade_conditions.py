"""The table of trade conditions on its way into the catalog: whose, since when, and malformed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest
from building import REPOSITORY, SESSION, Made, day_key, edit_catalog, instant, make, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.errors import ConfigError
from warehouse.sqlfolder.shipped_files import RECORD

BEFORE = date(2024, 1, 30)
HEAD = "id,name,updates_high_low,updates_open_close,updates_volume"
RULES = f"{HEAD},valid_from,valid_to\n12,until Tuesday,false,false,false,,{BEFORE}\n"
RULE = "sql/catalog/reference.sql"
SHIPPED = (REPOSITORY / "config/trade_conditions.csv").read_text("utf-8")
OF_BEFORE = "".join(f"{line.removesuffix(',,')}\n" for line in SHIPPED.splitlines()).replace(
    ",valid_from,valid_to", ""
)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """In each of two sessions a trade at 10 dollars, and one at 13 with the condition 12."""
    files = {
        day_key("trades", day): [
            trade("A", instant(day), 1, price=10, id="1"),
            trade("A", instant(day, "10:00"), 2, price=13, id="2", conditions="12"),
        ]
        for day in (BEFORE, SESSION)
    }
    return make(tmp_path, files)


def run(made: Made, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["-C", str(made.root), *arguments])
    assert result.exit_code == code, result.output
    return result.output


def rules(made: Made) -> list[tuple[object, ...]]:
    return made.sql("select id, valid_from, valid_to from trade_conditions order by all")


def vwaps(made: Made) -> list[tuple[date, float]]:
    with Warehouse(made.root) as wh:
        rows = wh.features("vwap", "A", BEFORE, SESSION, to="arrow")
        asked = (
            f"select session, vwap from vwap_of('A', '{BEFORE}', '{SESSION}') order by timestamp"
        )
        of_macro = made.sql(asked)
    assert list(zip(rows["session"].to_pylist(), rows["vwap"].to_pylist(), strict=True)) == of_macro
    return of_macro  # type: ignore[return-value]


LATER_ALONE = [(BEFORE, 10.0), (SESSION, 10.0), (SESSION, 11.5)]
BOTH = [(BEFORE, 10.0), (BEFORE, 11.5), (SESSION, 10.0), (SESSION, 11.5)]


@pytest.mark.parametrize(
    "place", ["mine.csv", """../my [own] rules?/a* 'table'.csv""", "config/mine.csv"]
)
def test_the_users_own_table_stands_in_the_place_of_the_shipped_one(made: Made, place: str) -> None:
    path = made.root / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(RULES, "utf-8")
    made.configure(bars__trade_conditions=place)
    made.update("trades")
    assert rules(made) == [(12, None, BEFORE)]
    assert vwaps(made) == LATER_ALONE


def test_it_may_be_a_link_and_the_one_in_config_is_not_looked_at(
    made: Made, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.csv").write_text(RULES, "utf-8")
    (made.root / "mine.csv").symlink_to(tmp_path / "elsewhere.csv")
    (made.root / "config/trade_conditions.csv").write_text("malformed", "utf-8")
    made.configure(bars__trade_conditions="mine.csv")
    made.update("trades")
    assert vwaps(made) == LATER_ALONE


def test_rows_on_their_way_in_are_asked_by_it(made: Made) -> None:
    (made.root / "mine.csv").write_text(RULES.replace("12,", "37,"), "utf-8")
    made.configure(bars__trade_conditions="mine.csv")
    made.update("trades")
    asked = (
        "select session, rule from findings where rule = 'unknown_trade_conditions' order by all"
    )
    rule = "unknown_trade_conditions"
    assert made.sql(asked) == [(BEFORE, rule), (SESSION, rule)]


COMMANDS: dict[str, Callable[[Made], str]] = {
    "update": lambda made: run(
        made, "update", "--start", str(BEFORE), "--end", str(SESSION), code=2
    ),
    "ingest": lambda made: run(made, "ingest", code=2),
    "rebuild": lambda made: run(made, "rebuild", "trades", code=2),
    "validate": lambda made: run(made, "validate", code=2),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("is_own", [True, False])
def test_a_malformed_one_is_refused_with_its_line_and_nothing_is_published(
    made: Made, command: str, is_own: bool
) -> None:
    made.update("trades")
    path = made.root / ("mine.csv" if is_own else "config/trade_conditions.csv")
    if is_own:
        made.configure(bars__trade_conditions="mine.csv")
    path.write_text(f"{RULES}37,Odd Lot Trade,false,no,true,,\n", "utf-8")
    with made.unchanged():
        said = COMMANDS[command](made)
    assert f"{path}: line 3, updates_open_close = 'no': it must be true or false" in said


def test_the_first_update_refuses_one_that_is_missing(made: Made) -> None:
    made.configure(bars__trade_conditions="nowhere.csv")
    with pytest.raises(ConfigError, match=r"nowhere\.csv: is missing; .*bars\.trade_conditions"):
        made.update("trades")
    assert made.partitions() == {}


@pytest.mark.parametrize(
    "command", [["validate"], ["ingest"], ["verify", "--repair"]], ids=" ".join
)
def test_one_that_was_changed_holds_from_the_next_command_that_writes(
    made: Made, command: list[str]
) -> None:
    made.update("trades")
    assert vwaps(made) == BOTH
    with Warehouse(made.root) as wh:
        before = wh.features("vwap", "A", SESSION, SESSION).attrs["fingerprint"]
    (made.root / "config/trade_conditions.csv").write_text(RULES, "utf-8")
    run(made, *command)
    assert rules(made) == [(12, None, BEFORE)]
    assert vwaps(made) == LATER_ALONE
    with Warehouse(made.root) as wh:
        after = wh.features("vwap", "A", SESSION, SESSION).attrs["fingerprint"]
    assert before != after


def test_rules_that_have_not_changed_publish_nothing(made: Made) -> None:
    made.update("trades")
    path = made.root / "config/trade_conditions.csv"
    path.write_text(SHIPPED.replace("Odd Lot Trade", "Odd lots"), "utf-8")
    asked = "select generation from warehouse"
    ((before,),) = made.sql(asked)
    run(made, "validate")
    assert made.sql(asked) == [(before + 1,)]


def test_a_catalog_of_an_earlier_version_answers_until_a_command_writes(made: Made) -> None:
    made.update("trades")
    for name in ("valid_from", "valid_to"):
        edit_catalog(made, f"alter table trade_conditions drop {name}")
    with made.unchanged(), Warehouse(made.root) as wh:
        assert wh.features("vwap", "A", BEFORE, SESSION)["vwap"].tolist() == [10.0, 11.5] * 2
        asked = "select id, valid_from, valid_to from trade_conditions where id = 12"
        assert wh.query(asked, "arrow").to_pylist() == [
            {"id": 12, "valid_from": None, "valid_to": None}
        ]
        assert wh.report(symbols="A").symbols[0]["trades"]["of_trades"] == 4
    run(made, "validate")
    assert (12, None, None) in rules(made)


def test_a_feature_may_read_the_dates(made: Made) -> None:
    (made.root / "sql/features/since.sql").write_text(
        "-- features/since: trades with the first session of a rule of theirs.\n"
        "-- grain: symbol, timestamp, id\n-- lookback: none\n-- source: made up\n"
        "select trades.symbol, trades.timestamp, trades.id, valid_to, session from trades"
        " left join trade_conditions on conditions = trade_conditions.id::varchar"
        " and session > valid_to order by symbol, timestamp, trades.id\n",
        "utf-8",
    )
    (made.root / "config/trade_conditions.csv").write_text(RULES, "utf-8")
    made.update("trades")
    with Warehouse(made.root) as wh:
        rows = wh.features("since", "A", BEFORE, SESSION, to="arrow")
    assert rows["valid_to"].to_pylist() == [None, None, None, BEFORE]
    assert made.sql(f"select valid_to from since_of('A', '{SESSION}', '{SESSION}')") == [
        (None,),
        (BEFORE,),
    ]


# What an earlier version shipped, and what a user made of it.


def as_of_before(made: Made, name: str, text: str, *, keeps_record: bool) -> Path:
    """Let a shipped file be that of an earlier version, nobody having changed it."""
    path = made.root / name
    path.write_text(text, "utf-8")
    record = made.root / RECORD
    if keeps_record:
        told = json.loads(record.read_text("utf-8"))
        told["of"] = "an earlier version's"
        told["files"][name] = sha256(text.encode()).hexdigest()
        record.write_text(json.dumps(told), "utf-8")
    else:
        record.unlink()
    return path


@pytest.mark.parametrize("keeps_record", [True, False])
def test_a_table_of_five_columns_gives_way_where_nobody_changed_it(
    made: Made, keeps_record: bool
) -> None:
    path = as_of_before(made, "config/trade_conditions.csv", OF_BEFORE, keeps_record=keeps_record)
    made.update("trades")
    assert path.read_text("utf-8") == SHIPPED


@pytest.mark.parametrize("command", ["init", "update"])
def test_one_that_was_changed_stays_and_its_rules_hold_always(made: Made, command: str) -> None:
    path = as_of_before(made, "config/trade_conditions.csv", OF_BEFORE, keeps_record=True)
    mine = OF_BEFORE.replace(
        "12,Form T/Extended Hours,false,false,true", "12,Mine,false,false,false"
    )
    path.write_text(mine, "utf-8")
    if command == "init":
        run(made, "init", str(made.root))
    made.update("trades")
    assert path.read_text("utf-8") == mine
    assert (12, None, None) in rules(made)
    assert vwaps(made) == [(BEFORE, 10.0), (SESSION, 10.0)]


@pytest.mark.parametrize("table", [RULES, OF_BEFORE])
def test_a_reference_sql_of_the_users_own_from_before_reads_tables_with_dates_too(
    made: Made, table: str
) -> None:
    path = made.root / RULE
    text = path.read_text("utf-8")
    start, end = text.index(",\n            'valid_from'"), text.index("        -- A table of")
    rest = text[text.index("null_padding = true\n") + len("null_padding = true\n") :]
    path.write_text(
        f"{text[:start]}\n        }}\n{rest}create table mine as select 1 as one;\n", "utf-8"
    )
    assert "valid_from" not in path.read_text("utf-8")
    assert end > start
    (made.root / "config/trade_conditions.csv").write_text(table, "utf-8")
    made.update("trades")
    assert (12, None, BEFORE if table == RULES else None) in rules(made)
    assert vwaps(made) == (LATER_ALONE if table == RULES else BOTH)
    assert made.sql("from mine") == [(1,)]
