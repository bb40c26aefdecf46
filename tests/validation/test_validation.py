"""Rules asked of what is published and of what comes in; what is refused, allowed, remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from building import (
    REPOSITORY,
    SESSION,
    Made,
    MakeWarehouse,
    bar,
    day_key,
    instant,
    quote,
    random_trades,
    trade,
)
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli import demo
from warehouse.cli.main import cli
from warehouse.core.metrics import Silent
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import ConfigError, NoDataError, RequestError, StorageError
from warehouse.ingest import incoming_rules
from warehouse.sqlfolder import allow_list
from warehouse.sqlfolder.allow_list import Allowance
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.rule_file import rules
from warehouse.validation import evaluate
from warehouse.validation.evaluate import ValidationResult, settle

MIDNIGHT = instant(SESSION, "00:00")
GOOD = bar("AAPL", MIDNIGHT)
BAD = f"BAD,100,12,10.2,10.4,10.0,{MIDNIGHT},3"
"""A bar that opens above its high."""
KEY = day_key("day_aggs", SESSION)
MINE = """-- validate/mine: trades of one share.
-- severity: {severity}
-- data_types: trades
-- grain: one row per trade
-- on_ingest: {on_ingest}
select symbol, session, timestamp, size from trades where size = 1 order by all
"""


def command(made: Made, *arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["-C", str(made.root), *arguments], prog_name="warehouse")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result.stdout


def findings(made: Made, columns: str = "rule, data_type, symbol, session, count") -> list[Any]:
    return made.sql(f"select {columns} from findings order by all")


def test_no_rule_fires_on_the_demo_but_that_it_holds_a_test_symbol(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    report = demo.make(root, Silent())
    assert not report.refused
    assert {(one.rule, one.symbol) for one in report.findings} == {("test_symbols", "ZVZZT")}
    with Warehouse(root) as wh:
        found = wh.validate()
        assert {(one.rule, one.symbol) for one in found.results} == {("test_symbols", "ZVZZT")}
        assert found.errors == []
        assert len(found.rules) == len(list((root / "sql/validate").glob("*.sql")))


def test_the_vendors_real_files_come_in_and_offend_as_written_down(
    real_flatfiles: Path, make_warehouse: Callable[..., Made]
) -> None:
    made = make_warehouse(source__url=str(real_flatfiles))
    days = {"start": date(2013, 10, 7), "end": date(2013, 10, 9)}
    report = made.pipeline.update(Request.of((), **days))
    assert report.refused == []
    assert report.findings == []
    found = made.pipeline.validate(Request.of())
    written = REPOSITORY.joinpath("docs/explanation/real-data-findings.md").read_text("utf-8")
    assert found.errors == []
    # Those of day_aggs beyond the three days are not read here.
    assert {one.rule for one in found.results} == {"day_extremes", "day_volumes", "price_spikes"}
    for one in found.results:
        assert f"`{one.rule}`" in written


def test_a_batch_with_an_error_is_kept_out_whole_and_can_be_looked_at(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse({KEY: [GOOD, BAD]})
    report = made.update("day_aggs")
    (refused,) = report.refused
    assert [(one.rule, one.symbol) for one in refused.errors] == [("ohlc_contradictions", "BAD")]
    assert made.partitions() == {}
    assert made.rejects() == []
    assert made.sql("select state from runs") == [("failed",)]
    assert findings(made) == [("ohlc_contradictions", "day_aggs", "BAD", SESSION, 1)]
    record = json.loads((refused.folder / "refused.json").read_text("utf-8"))
    assert set(record["partitions"]) == {"market"}
    assert all((refused.folder / path).exists() for path in record["partitions"].values())
    assert record["findings"][0]["examples"][0]["open"] == 12

    # The next run tries again, and what it leaves takes the place of what this one left. A link
    # was put there by somebody else.
    mine = made.root.parent / "mine"
    mine.mkdir()
    (mine / "refused.json").write_text("{}")
    link = made.layout.refused / "link"
    link.symlink_to(mine)
    (again,) = made.ingest("day_aggs").refused
    assert again.folder != refused.folder
    assert {*made.layout.refused.iterdir()} == {again.folder, link}
    assert (mine / "refused.json").exists()
    # What is staged anew is not what was kept.
    assert again.folder.exists()
    assert list(made.layout.staging.iterdir()) == []


def test_what_was_published_before_stays_when_a_new_version_is_refused(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse({KEY: [GOOD]})
    made.update("day_aggs")
    digests = made.digests()
    made.put(KEY, [GOOD, BAD])
    assert len(made.update("day_aggs").refused) == 1
    assert made.digests() == digests
    made.check_catalog()
    # The vendor mends the file: it comes in, and nothing is left of what was found.
    made.put(KEY, [GOOD, bar("BAD", MIDNIGHT)])
    assert made.update("day_aggs").refused == []
    assert findings(made) == []
    assert set(made.table("day_aggs")["symbol"].to_pylist()) == {"AAPL", "BAD"}


def test_other_months_and_data_types_of_the_run_are_published(
    make_warehouse: Callable[..., Made],
) -> None:
    later = SESSION + timedelta(days=1)
    files = {
        KEY: [BAD],
        day_key("day_aggs", later): [bar("AAPL", instant(later, "00:00"))],
        day_key("trades", SESSION): [trade("AAPL", instant(SESSION))],
    }
    made = make_warehouse(files)
    report = made.update()
    assert [(one.data_type, one.month) for one in report.refused] == [
        ("day_aggs", SESSION.replace(day=1))
    ]
    assert set(made.partitions()) == {
        "day_aggs/market/2024_02.parquet",
        "trades/AAPL/2024_01.parquet",
    }
    assert made.sql("select distinct state from runs") == [("failed",)]


def test_an_allowance_of_the_run_lets_it_in_and_is_remembered(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse({KEY: [GOOD, BAD]}, source__url="")
    made.put_raw("day_aggs", SESSION, [GOOD, BAD])
    said = command(made, "ingest", "day_aggs", exit_code=1)
    assert "refused    day_aggs 2024-01: nothing of it was published" in said
    assert "ohlc_contradictions: BAD 2024-01-31 (1)" in said
    assert '--allow "ohlc_contradictions=REASON"' in said
    assert made.partitions() == {}
    said = command(made, "ingest", "day_aggs", "--allow", "ohlc_contradictions=seen at the vendor")
    assert "ohlc_contradictions (allowed) 1" in said
    assert made.table("day_aggs").num_rows == 2
    assert findings(made, "symbol, severity, allowed") == [("BAD", "error", "seen at the vendor")]


@pytest.mark.parametrize(
    "words",
    ["ingest", "update --start 2024-01-31", "rebuild all --fetch", "rebuild --changed --fetch"],
)
def test_an_allowance_of_a_rule_that_is_none_is_refused_before_a_run_begins(
    make_warehouse: Callable[..., Made], words: str
) -> None:
    made = make_warehouse({KEY: [GOOD]})
    made.update("day_aggs")
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION))])
    raw = made.layout.raw_file(RawFile("day_aggs", SESSION))
    raw.unlink()
    result = CliRunner().invoke(cli, ["-C", str(made.root), *words.split(), "--allow", "few=x"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "few_trades" in result.output
    assert made.sql("select command, state from runs") == [("update", "done")]
    assert not raw.exists()


def test_the_allow_list_goes_by_symbol_and_session(make_warehouse: Callable[..., Made]) -> None:
    made = make_warehouse({KEY: [GOOD, BAD]})
    path = made.root / "config/validation_allow.csv"
    head = "rule,symbol,first,last,reason\n"
    line = "ohlc_contradictions,{},2024-01-31,2024-01-31,seen\n"
    path.write_text(head + line.format("GOOD"))
    assert len(made.update("day_aggs").refused) == 1
    path.write_text(head + line.format("BAD"))
    report = made.ingest("day_aggs")
    assert report.refused == []
    assert [(one.symbol, one.allowed) for one in report.findings] == [("BAD", "seen")]
    # Validation says so too, and does not fail.
    said = command(made, "validate", "day_aggs")
    assert "allowed    ohlc_contradictions: day_aggs, 1 row (seen)" in said
    path.write_text(head)
    said = command(made, "validate", "day_aggs", exit_code=1)
    assert "error      ohlc_contradictions: day_aggs, 1 row" in said


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["rule,reason"], "it must be rule,symbol,first,last,reason"),
        (["rule,symbol,first,last,reason", "time_gap,,,,x"], "line 2, rule = 'time_gap'"),
        (["rule,symbol,first,last,reason", "time_gaps,,,,"], "say why it is allowed"),
        (["rule,symbol,first,last,reason", "time_gaps,,1/2/2024,,x"], "line 2, first"),
        (["rule,symbol,first,last,reason", "time_gaps,x"], "it must have 5 fields"),
        ([], "it must be rule,symbol,first,last,reason"),
    ],
)
def test_an_allow_list_that_cannot_be_used_is_named_by_its_line(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    (tmp_path / "validation_allow.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        allow_list.load(tmp_path, ["time_gaps"])
    assert problem in str(caught.value)


def test_an_allow_list_that_a_spreadsheet_has_saved_is_read_as_it_is(tmp_path: Path) -> None:
    text = "\ufeffrule,symbol,first,last,reason\r\ntime_gaps,,2024-01-02,,halted\r\n"
    (tmp_path / "validation_allow.csv").write_bytes(text.encode())
    (one,) = allow_list.load(tmp_path, ["time_gaps"])
    assert one == Allowance("time_gaps", "halted", None, date(2024, 1, 2), date.max)


def test_no_allow_list_allows_nothing_and_an_open_field_everything(tmp_path: Path) -> None:
    assert allow_list.load(tmp_path, []) == []
    text = "rule,symbol,first,last,reason\n\ntime_gaps,,2024-01-02,,halted\n"
    path = tmp_path / "validation_allow.csv"
    path.write_text(text)
    allowed = allow_list.load(tmp_path, ["time_gaps"])
    # As Excel saves it.
    path.write_text("\ufeff" + text.replace("\n", "\r\n"), "utf-8")
    assert allow_list.load(tmp_path, ["time_gaps"]) == allowed
    (one,) = allowed
    assert one == Allowance("time_gaps", "halted", None, date(2024, 1, 2), date.max)
    assert one.covers("time_gaps", "A", date(2024, 1, 2))
    assert one.covers("time_gaps", None, date(2030, 1, 1))
    assert not one.covers("time_gaps", "A", date(2024, 1, 1))
    assert not one.covers("time_gaps", "A", None)
    assert not one.covers("few_trades", "A", date(2024, 1, 2))


@pytest.mark.parametrize("text", ["time_gaps", "time_gaps=", "time_gap=x", "=x"])
def test_an_allowance_of_a_run_names_a_rule_and_a_reason(text: str) -> None:
    with pytest.raises(RequestError, match="it must be RULE=REASON; rules are time_gaps"):
        allow_list.of_option(text, ["time_gaps"])
    assert allow_list.of_option("time_gaps=a=b", ["time_gaps"]).reason == "a=b"


@pytest.mark.parametrize("pool", [1, 1_000, 500_000])
def test_what_comes_in_is_found_just_as_it_is_when_it_is_published(
    make_warehouse: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, pool: int
) -> None:
    """Symbols that come back, pieces, a pool that overflows, a symbol larger than a pool."""
    monkeypatch.setattr(incoming_rules, "_POOL_ROWS", pool)
    symbols = ["A", "B", "C", "ZVZZT"]
    lines = random_trades(symbols, 4_000, by_time=True)
    made = make_warehouse(
        {day_key("trades", SESSION): lines},
        processing__chunk_size=1_000,
        validation__min_daily_trades=990,
        validation__max_price_deviation_std=1.7,
        validation__max_zero_size_share=0.2,
    )
    came_in = made.update("trades").findings
    on_ingest = [rule.name for rule in rules(SqlFolder(made.root / "sql")) if rule.on_ingest]
    published = made.pipeline.validate(Request.of(["trades"]), on_ingest).results
    assert came_in == published
    assert {one.rule for one in came_in} >= {"few_trades", "test_symbols", "zero_sizes"}


def test_sessions_that_were_there_before_are_not_asked_about_again(
    make_warehouse: Callable[..., Made],
) -> None:
    first, second = SESSION - timedelta(days=1), SESSION
    made = make_warehouse({day_key("trades", first): [trade("AAPL", instant(first))]})
    assert [one.session for one in made.update("trades").findings] == [first]
    made.put(day_key("trades", second), [trade("AAPL", instant(second))])
    assert [one.session for one in made.update("trades").findings] == [second]
    assert findings(made) == [
        ("few_trades", "trades", "AAPL", first, 1),
        ("few_trades", "trades", "AAPL", second, 1),
    ]


def test_a_rule_of_the_users_own_needs_no_python(make_warehouse: Callable[..., Made]) -> None:
    lines = [trade("AAPL", instant(SESSION), n, size=n) for n in (1, 2)]
    made = make_warehouse({day_key("trades", SESSION): lines})
    made.update("trades")
    path = made.root / "sql/validate/mine.sql"
    path.write_text(MINE.format(severity="warning", on_ingest="no"))
    said = command(made, "validate", "--rule", "mine", "--json")
    (found,) = json.loads(said)["results"]
    assert found == {
        "severity": "warning",
        "rule": "mine",
        "data_type": "trades",
        "symbol": "AAPL",
        "session": "2024-01-31",
        "count": 1,
        "examples": [{"timestamp": "2024-01-31 14:30:00", "size": 1.0}],
        "allowed": None,
    }
    # As an error of incoming rows it keeps them out.
    path.write_text(MINE.format(severity="error", on_ingest="yes"))
    made.put(day_key("trades", SESSION), [*lines, trade("AAPL", instant(SESSION), 3, size=1)])
    (refused,) = made.update("trades").refused
    assert [(one.rule, one.count) for one in refused.errors] == [("mine", 2)]
    # One that cannot be read is named, and stops nothing.
    path.write_text("select 1")
    (unasked,) = made.update("trades").broken
    assert unasked.name == "mine"
    assert "error or warning" in str(unasked.error)


GROUPS = """\
-- validate/groups: equal rows.
-- severity: error
-- data_types: trades
-- grain: one row per row that repeats
-- params:
-- on_ingest: yes
select *, count(*) as row_count from trades group by all having count(*) > 1
"""


@pytest.mark.parametrize("alone", [True, False])
def test_a_rule_of_incoming_rows_sees_them_whole_whatever_other_rules_there_are(
    alone: bool, make_warehouse: Callable[..., Made]
) -> None:
    """Alike in all that the other rules name, and no two the same."""
    lines = [trade("AAPL", instant(SESSION), n, id=str(n)) for n in (1, 2, 3)]
    made = make_warehouse({day_key("trades", SESSION): lines})
    if alone:
        for path in (made.root / "sql/validate").glob("*.sql"):
            path.unlink()
    (made.root / "sql/validate/groups.sql").write_text(GROUPS)

    report = made.update("trades")

    assert report.refused == []
    assert made.table("trades").num_rows == 3


def test_what_is_asked_anew_replaces_what_was_found_and_no_more(
    make_warehouse: Callable[..., Made],
) -> None:
    lines = [trade(symbol, instant(SESSION)) for symbol in ("AAPL", "MSFT")]
    made = make_warehouse(
        {day_key("trades", SESSION): lines, day_key("quotes", SESSION): [quote("A", 1)]}
    )
    made.update("trades")
    few = [("few_trades", "trades", symbol, SESSION, 1) for symbol in ("AAPL", "MSFT")]
    assert findings(made) == few
    made.configure(validation__min_daily_trades=1)
    made.pipeline.validate(Request.of(["trades"], symbols=["AAPL"]))
    assert findings(made) == few[1:]
    made.pipeline.validate(Request.of(["trades"], end=SESSION - timedelta(days=1)))
    made.pipeline.validate(Request.of(["trades"]), ["time_gaps"])
    made.pipeline.validate(Request.of(["quotes"]))
    assert findings(made) == few[1:]
    made.pipeline.validate(Request.of(["trades"]), ["few_trades"])
    assert findings(made) == []


def test_validation_asks_about_the_symbols_and_sessions_that_are_named(
    make_warehouse: Callable[..., Made],
) -> None:
    days = [SESSION - timedelta(days=1), SESSION]
    files = {
        day_key("trades", day): [trade(symbol, instant(day)) for symbol in ("AAPL", "MSFT")]
        for day in days
    }
    made = make_warehouse(files)
    made.update("trades")
    with Warehouse(made.root) as wh:
        found = wh.validate("trades", days[1], days[1], "MSFT", "few_trades")
        assert [(one.symbol, one.session) for one in found.results] == [("MSFT", days[1])]
        assert (found.rules, found.warnings) == (("few_trades",), found.results)
        assert len(wh.validate(["trades"], rules=["few_trades"]).results) == 4
        assert len(wh.catalog("findings")) == 4
        with pytest.raises(RequestError, match="rule = 'few'"):
            wh.validate(rules="few")


def test_sessions_that_no_file_brought_are_told_with_their_state(
    make_warehouse: Callable[..., Made],
) -> None:
    days = [date(2024, 1, 29), date(2024, 1, 31)]
    made = make_warehouse({day_key("trades", day): [trade("AAPL", instant(day))] for day in days})
    made.update("trades")
    found = made.pipeline.validate(Request.of(["trades"]), ["missing_sessions"]).results
    assert [(one.symbol, one.session, one.examples[0]["state"]) for one in found] == [
        (None, date(2024, 1, 30), "missing")
    ]
    # Who asks about more than there is hears of all that is not there.
    asked = Request.of(["trades"], date(2024, 1, 26), date(2024, 1, 31))
    found = made.pipeline.validate(asked, ["missing_sessions"]).results
    assert [one.session for one in found] == [date(2024, 1, 26), date(2024, 1, 30)]


def test_corrections_that_do_not_pair_are_found_among_the_rejects(
    make_warehouse: Callable[..., Made],
) -> None:
    lines = [
        trade("AAPL", instant(SESSION), n, correction=code) for n, code in enumerate((0, 8, 10, 10))
    ]
    made = make_warehouse({day_key("trades", SESSION): lines})
    made.update("trades")
    (found,) = made.pipeline.validate(Request.of(["trades"]), ["unpaired_corrections"]).results
    assert (found.symbol, found.count, found.examples[0]["records"]) == ("AAPL", 1, 2)


def test_of_many_symbols_the_first_are_named_and_the_rest_counted() -> None:
    one = ValidationResult("warning", "few_trades", "trades", "", SESSION, 1, ({"trades": 1},))
    many = [replace(one, symbol=f"S{n:03}", count=n) for n in range(1, 61)]
    allowed = Allowance("few_trades", "known", "S060")
    settled = settle(many, [allowed])
    assert [(each.symbol, each.count) for each in settled[-1:]] == [("S060", 60)]
    named = [each for each in settled if each.symbol is not None and each.allowed is None]
    assert [each.symbol for each in named] == [f"S{n:03}" for n in range(59, 9, -1)]
    assert len(named) == evaluate.NAMED_SYMBOLS
    (rest,) = [each for each in settled if each.symbol is None]
    assert rest.count == sum(range(1, 10))
    assert rest.examples[0]["symbol"] == "S009"
    assert sum(each.count for each in settled) == sum(each.count for each in many)


def test_of_symbols_that_are_named_all_is_told_and_nothing_else(
    make_warehouse: Callable[..., Made],
) -> None:
    symbols = [f"S{n:02}" for n in range(evaluate.NAMED_SYMBOLS + 5)]
    days = [date(2024, 1, 29), date(2024, 1, 31)]
    made = make_warehouse(
        {
            day_key("trades", day): [trade(symbol, instant(day)) for symbol in symbols]
            for day in days
        }
    )
    made.update("trades")
    together = findings(made)
    assert len([row for row in together if row[2] is None]) == len(days)
    for _ in range(2):
        found = made.pipeline.validate(Request.of(["trades"], symbols=symbols)).results
        assert {one.symbol for one in found} == set(symbols)
    assert len([row for row in findings(made) if row[0] == "few_trades" and row[2]]) == 110
    made.rebuild("trades", symbols=symbols)
    assert len([row for row in findings(made) if row[0] == "few_trades" and row[2]]) == 110
    made.rebuild("trades")
    assert findings(made) == together


def test_a_partition_that_cannot_be_read_is_named(make_warehouse: Callable[..., Made]) -> None:
    made = make_warehouse({day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    made.update("trades")
    (path,) = made.partitions().values()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"a partition cannot be read: .*2024_01\.parquet"):
        made.pipeline.validate(Request.of())


def test_another_parquet_file_is_not_asked_in_a_partitions_place(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse({day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    made.update("trades")
    path = made.partitions()["trades/AAPL/2024_01.parquet"]
    path.write_bytes((made.layout.schema / "trades.parquet").read_bytes())
    with pytest.raises(StorageError, match=r"AAPL/2024_01\.parquet has .* the catalog says"):
        made.pipeline.validate(Request.of())


def test_examples_are_json_whatever_a_rule_gives_out(make_warehouse: Callable[..., Made]) -> None:
    made = make_warehouse({day_key("trades", SESSION): [trade('"A""<script>"', instant(SESSION))]})
    made.update("trades")
    text = MINE.format(severity="warning", on_ingest="no").replace(
        "size from trades where size = 1", "price / 0 as ratio, '\u202e\"' as name from trades"
    )
    (made.root / "sql/validate/mine.sql").write_text(text, "utf-8")
    (found,) = json.loads(
        command(made, "validate", "--rule", "mine", "--json"), parse_constant=pytest.fail
    )["results"]
    assert found["symbol"] == 'A"<script>'
    assert found["examples"][0]["ratio"] is None
    assert found["examples"][0]["name"] == '\u202e"'
    ((stored,),) = made.sql("select examples from findings where rule = 'mine'")
    assert json.loads(stored, parse_constant=pytest.fail) == found["examples"]


def test_errors_stand_first_and_what_is_allowed_last() -> None:
    one = ValidationResult("warning", "a_rule", "trades", "A", SESSION, 1, ())
    error = replace(one, severity="error", rule="z_rule")
    other = replace(one, severity="error", rule="b_rule")
    settled = settle([one, error, other], [Allowance("b_rule", "known")])
    assert [each.rule for each in settled] == ["z_rule", "a_rule", "b_rule"]
    assert [each.is_error for each in settled] == [True, False, False]


def test_validate_of_an_empty_warehouse_has_nothing_to_look_at_and_leaves_nothing(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse()
    done = CliRunner().invoke(cli, ["-C", str(made.root), "validate"])
    assert (done.exit_code, "there is nothing to look at" in done.output) == (2, True)
    assert not made.layout.catalog.exists()


def test_a_warehouse_without_rules_does_not_pass_for_validated(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse({KEY: [GOOD]})
    # A rule that is new to a warehouse comes once; what was there and is gone stays gone.
    made.update("day_aggs")
    for path in (made.root / "sql/validate").iterdir():
        path.unlink()
    with pytest.raises(RequestError, match="sql/validate is empty"):
        made.pipeline.validate(Request.of())


@pytest.mark.parametrize("command", ["validate", "verify"])
def test_a_symbol_that_is_not_there_is_no_clean_answer(
    command: str, make_warehouse: MakeWarehouse
) -> None:
    made = make_warehouse({day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))]})
    made.update("day_aggs")
    result = CliRunner().invoke(cli, ["-C", str(made.root), command, "--symbols", "aapl"])
    assert result.exit_code == 2
    assert "there is AAPL (symbols are case-sensitive)" in result.output


def test_day_bars_in_the_place_of_minutes_are_kept_out_when_they_come(
    make_warehouse: Callable[..., Made],
) -> None:
    bars = [bar(symbol, MIDNIGHT) for symbol in ("AAPL", "MSFT")]
    made = make_warehouse({day_key("minute_aggs", SESSION): bars, KEY: bars})
    (refused,) = made.update().refused
    assert refused.data_type == "minute_aggs"
    assert [(one.rule, one.session, one.count) for one in refused.errors] == [
        ("midnight_bars", SESSION, 2)
    ]
    counts = "select (select count(*) from minute_aggs), (select count(*) from day_aggs)"
    assert made.sql(counts) == [(0, 2)]


def test_bars_of_five_minutes_in_the_place_of_minutes_are_kept_out_when_they_come(
    make_warehouse: Callable[..., Made],
) -> None:
    bars = [bar("AAPL", instant(SESSION, f"10:{minute:02}")) for minute in range(0, 60, 5)]
    made = make_warehouse({day_key("minute_aggs", SESSION): bars})
    (refused,) = made.update("minute_aggs").refused
    assert [(one.rule, one.session, one.count) for one in refused.errors] == [
        ("coarse_bars", SESSION, 12)
    ]
    # Of one minute more, of another symbol, they are what a minute's bars may be.
    made.put(day_key("minute_aggs", SESSION), [*bars, bar("MSFT", instant(SESSION, "10:01"))])
    assert made.update("minute_aggs").refused == []
    assert made.sql("select count(*) from minute_aggs") == [(13,)]


def test_bars_of_seconds_in_the_place_of_minutes_are_found(
    make_warehouse: Callable[..., Made],
) -> None:
    start = instant(SESSION, "10:00")
    bars = [bar("AAPL", start + second * 10**9) for second in range(600)]
    made = make_warehouse({day_key("minute_aggs", SESSION): bars})
    made.update("minute_aggs")
    # Ten of them begin with a minute, and are what a minute's bars may be.
    assert made.sql("select count(*) from minute_aggs") == [(10,)]
    (found,) = made.pipeline.validate(Request.of(["minute_aggs"]), ["fine_bars"]).results
    assert (found.severity, found.session, found.count) == ("error", SESSION, 590)


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (
            ("--start", "2020-01-02", "--end", "2020-01-31"),
            "are trades of 2024-01-31",
        ),
        (
            ("--start", "2024-01-27", "--end", "2024-01-28"),
            "are trades of 2024-01-31",
        ),
        (("quotes",), "is nothing of these at all"),
    ],
)
def test_a_validation_of_nothing_says_that_there_was_nothing_to_look_at(
    asked: tuple[str, ...], there: str, make_warehouse: Callable[..., Made]
) -> None:
    made = make_warehouse({day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    arguments = ["-C", str(made.root), "validate", *asked]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert "there is nothing to look at; there is nothing of these at all" in done.output
    made.update("trades")
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert f"there is nothing to look at; there {there}" in done.output
    assert f"get them with: warehouse -C {made.root} update" in done.output
    with Warehouse(made.root) as wh, pytest.raises(NoDataError, match="nothing to look at"):
        wh.validate("quotes")


def test_a_session_that_is_missing_is_found_though_nothing_of_it_is_there(
    make_warehouse: Callable[..., Made],
) -> None:
    days = [date(2024, 1, 29), date(2024, 1, 31)]
    made = make_warehouse({day_key("trades", day): [trade("AAPL", instant(day))] for day in days})
    made.update("trades")
    with Warehouse(made.root) as wh:
        found = wh.validate("trades", "2024-01-30", "2024-01-30").results
    assert [(one.rule, one.session) for one in found] == [("missing_sessions", date(2024, 1, 30))]


def test_a_partition_that_cannot_be_read_keeps_no_other_data_type_from_being_asked(
    make_warehouse: Callable[..., Made],
) -> None:
    made = make_warehouse(
        {
            KEY: [GOOD],
            day_key("trades", SESSION): [trade("GOOD", instant(SESSION))],
            day_key("quotes", SESSION): [quote("GOOD", instant(SESSION))],
        }
    )
    made.update()
    path = made.root / "data/cache/quotes/GOOD/2024_01.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])

    said = command(made, "validate", exit_code=1)
    (told,) = [line for line in said.splitlines() if line.startswith("not asked")]
    assert told.startswith("not asked  about quotes: ")
    assert f"{path} has {len(whole) - 9:,} bytes, the catalog says {len(whole):,}" in told
    assert "warning    few_trades: trades, 1 row" in said
    assert "about trades, day_aggs: " in said
    (problem,) = made.sql("select problem from runs where command = 'validate'")[0]
    assert problem.startswith("asked in part; not asked about quotes (")

    # Where there is nothing else to ask about, it is the error.
    command(made, "validate", "quotes", exit_code=2)
    path.write_bytes(whole)
    assert "not asked" not in command(made, "validate", exit_code=0)
