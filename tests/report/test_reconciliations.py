"""The report tells the last result of holding our bars against the vendor's, as it is kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from building import Made, bar, day_key, edit_catalog, instant, make, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.report import html
from warehouse.report.collect import Facts, gather
from warehouse.synthetic.files import load_rules, write
from warehouse.synthetic.market import DEMO

MARKET = replace(DEMO, sessions=DEMO.sessions[2:3], trades_per_session=3_000, quotes_per_session=0)
KINDS = ("minute_aggs", "day_aggs")
HIDDEN = {41: (False, False, True), 37: (False, False, False)}
HOSTILE = "<img src=x onerror=alert(1)>"
DAYS = (date(2024, 1, 30), date(2024, 1, 31))


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A warehouse of a vendor whose rules are not those of our table."""
    made = make(tmp_path_factory.mktemp("vendor"))
    write(MARKET, made.source, ("trades", *KINDS), rules={**load_rules(), **HIDDEN})
    made.update("trades", *KINDS)
    return made


def facts_of(made: Made, *span: date) -> Facts:
    return gather(made.layout, made.config, *span)


def test_what_is_told_is_what_reconcile_says(vendor: Made) -> None:
    with Warehouse(vendor.root) as wh:
        report = wh.reconcile(keep=True).to_dict()
    told = {row["data_type"]: row for row in facts_of(vendor).reconciliations}
    assert {*told} == {*KINDS}
    for result in report["results"]:
        row = told[result["data_type"]]
        shares = {(one["hours"], one["field"]): one for one in row["shares"]}
        assert {key: (one["compared"], one["equal"]) for key, one in shares.items()} == {
            (one["hours"], one["field"]): (one["compared"], one["equal"])
            for one in result["shares"]
        }
        assert (row["first_session"], row["last_session"]) == (result["first"], result["last"])
        assert row["checked_at"] == report["checked_at"][:19] + "Z"
        counts = [one["count"] for one in row["classes"]]
        assert row["differences"] == sum(one["count"] for one in result["differences"])
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == row["differences"] or row["of_classes"] > len(counts)


def test_the_change_that_explains_most_is_named_with_what_it_explains(vendor: Made) -> None:
    with Warehouse(vendor.root) as wh:
        (minutes,) = wh.reconcile("minute_aggs", keep=True).to_dict()["results"]
    causes = Counter[str]()
    for one in minutes["differences"]:
        causes[json.dumps(one["cause"])] += one["count"]
    ((hypothesis, number),) = causes.most_common(1)
    (row,) = (one for one in facts_of(vendor).reconciliations if one["data_type"] == KINDS[0])
    assert json.loads(hypothesis) == {"barred": ["37"], "freed": []}
    assert (row["cause"], row["explained"]) == ("without 37 (Odd Lot Trade)", number)
    page = html.html(facts_of(vendor), "warehouse")
    assert (
        f"The change of the rules that explains most, without 37 (Odd Lot Trade), makes {number:,}"
        f" of {row['differences']:,} differences vanish." in page
    )


def test_the_last_result_of_each_data_type_and_choice_of_symbols_is_told(vendor: Made) -> None:
    symbol = MARKET.symbols[0]
    with Warehouse(vendor.root) as wh:
        wh.reconcile("day_aggs", keep=True)
        last = wh.reconcile("day_aggs", keep=True)
        one = wh.reconcile("day_aggs", symbols=symbol, keep=True)
    told = [
        (row["symbols"], row["checked_at"])
        for row in facts_of(vendor).reconciliations
        if row["data_type"] == "day_aggs"
    ]
    assert told == [
        (symbols, f"{report.checked_at:%Y-%m-%dT%H:%M:%S}Z")
        for symbols, report in ((symbol, one), (None, last))
    ]


def test_an_example_of_a_class_is_a_bar_that_differs(vendor: Made) -> None:
    with Warehouse(vendor.root) as wh:
        wh.reconcile(keep=True)
        (row,) = (
            one
            for one in facts_of(vendor).reconciliations
            if (one["data_type"], one["symbols"]) == ("minute_aggs", None)
        )
        assert len(row["classes"]) > 1
        for one in row["classes"]:
            example = one["example"]
            assert example["ours"] != example["theirs"]
            if one["field"] == "bar":
                continue
            ours = wh.bars(example["symbol"], example["session"], every="1m", hours="all")
            (value,) = ours[ours["timestamp"] == example["timestamp"]][one["field"]]
            assert value == example["ours"]


def test_status_says_it_in_a_line_and_both_give_it_to_programs(vendor: Made) -> None:
    with Warehouse(vendor.root) as wh:
        wh.reconcile(keep=True)
    facts = facts_of(vendor)
    run = CliRunner()
    status = run.invoke(cli, ["-C", str(vendor.root), "status"]).stdout
    (row,) = (
        one
        for one in facts.reconciliations
        if (one["data_type"], one["symbols"]) == ("minute_aggs", None)
    )
    compared, equal = (sum(one[key] for one in row["shares"]) for key in ("compared", "equal"))
    share = f"{100 * equal / compared:.2f} % of {compared:,} fields are equal"
    assert f"reconciled minute_aggs 2025-11-28: {share} to the vendor's" in status
    told = json.loads(json.dumps(facts.reconciliations))
    for command in ("status", "report"):
        printed = run.invoke(cli, ["-C", str(vendor.root), command, "--json"]).stdout
        assert json.loads(printed)["reconciliations"] == told


@pytest.fixture
def kept(tmp_path: Path) -> Made:
    """A small warehouse with a result of one session."""
    made = make(
        tmp_path,
        {
            day_key("trades", DAYS[0]): [trade("A", instant(DAYS[0]), price=10.1)],
            day_key("trades", DAYS[1]): [trade("A", instant(DAYS[1]))],
            day_key("day_aggs", DAYS[0]): [bar("A", instant(DAYS[0], "00:00"))],
        },
    )
    made.update("trades", "day_aggs", start=DAYS[0], end=DAYS[1])
    with Warehouse(made.root) as wh:
        wh.reconcile("day_aggs", end=DAYS[0], keep=True)
    return made


def test_a_result_of_other_sessions_is_not_told(kept: Made) -> None:
    assert len(facts_of(kept).reconciliations) == 1
    assert len(facts_of(kept, *DAYS).reconciliations) == 1
    other = facts_of(kept, DAYS[1], DAYS[1])
    assert other.reconciliations == []
    assert "Do it with: <code" in html.html(other, "warehouse")


@pytest.mark.parametrize("statement", ["delete from reconciliations", "drop table reconciliations"])
def test_where_there_is_none_the_page_names_the_command(kept: Made, statement: str) -> None:
    edit_catalog(kept, statement)
    facts = facts_of(kept)
    assert (facts.reconciliations, facts.of_reconciliations) == ([], 0)
    section = html.html(facts, "warehouse -C w").partition('<h2 id="reconciliations">')[2]
    assert '<code class="command">warehouse -C w reconcile</code>' in section[:400]
    assert "reconciled" not in CliRunner().invoke(cli, ["-C", str(kept.root), "status"]).stdout


def test_of_many_results_the_latest_are_told_and_how_many_there_are(kept: Made) -> None:
    edit_catalog(
        kept,
        "insert into reconciliations by name select was.* replace ('S' || n as symbols,"
        " checked_at - n * interval 1 hour as checked_at)"
        " from reconciliations as was, range(1, 501) as numbers(n)",
    )
    facts = facts_of(kept)
    assert facts.of_reconciliations == 501
    assert [row["symbols"] for row in facts.reconciliations][:3] == [None, "S1", "S2"]
    assert len(facts.reconciliations) < 20
    assert f"The latest {len(facts.reconciliations)} of 501." in html.html(facts, "warehouse")


class Elements(HTMLParser):
    """Names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


STRANGE: Mapping[str, Any] = {
    "no JSON": "{",
    "no list": '{"symbol": "A"}',
    "an empty list": "[]",
    "no objects": "[1]",
    "another object": '[{"symbol": "A"}]',
    "no time": '[{"symbol":"A","session":"2024-01-30","ours":1,"theirs":2,"timestamp":"x"}]',
    "nested values": '[{"symbol":"A","session":"2024-01-30","ours":[1],"theirs":2,'
    '"timestamp":"2024-01-30T05:00:00Z"}]',
    "deeply nested": "[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGE)
def test_examples_that_are_none_are_left_out(kept: Made, what: str) -> None:
    edit_catalog(kept, f"update reconciliations set examples = '{STRANGE[what]}'")
    facts = facts_of(kept)
    (row,) = facts.reconciliations
    assert row["classes"]
    assert [one["example"] for one in row["classes"]] == [None] * len(row["classes"])
    html.html(facts, "warehouse")


def test_examples_of_a_finding_that_are_nested_too_deeply_are_shown_as_they_are(kept: Made) -> None:
    deep = STRANGE["deeply nested"]
    edit_catalog(
        kept,
        "insert into findings (run_id, checked_at, rule, severity, data_type, count, examples)"
        f" values ('r', now()::timestamp, 'odd', 'warning', 'trades', 1, '{deep}')",
    )
    (examples,) = [one["examples"] for one in facts_of(kept).rules if one["rule"] == "odd"]
    assert [one["examples"] for one in examples] == [[{"example": deep}]]


def test_texts_of_a_strangers_catalog_are_text_on_the_page(kept: Made) -> None:
    plain = Elements(html.html(facts_of(kept), "warehouse")).found
    example = json.dumps(
        [{"symbol": HOSTILE, "session": "2024-01-30", "ours": 1, "theirs": None,
          "timestamp": "2024-01-30T05:00:00Z"}]
    )  # fmt: skip
    edit_catalog(
        kept,
        f"update reconciliations set data_type = '{HOSTILE}', symbols = '{HOSTILE}',"
        f" hours = '{HOSTILE}', cause = '{HOSTILE}', difference_class = '{HOSTILE}',"
        f" examples = '{example}', compared = 1, equal = 7",
    )
    page = html.html(facts_of(kept), "warehouse")
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert HOSTILE not in page
    assert Elements(page).found == plain


def test_where_there_are_no_trades_no_reconcile_is_advised(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("day_aggs", DAYS[0]): [bar("A", instant(DAYS[0], "00:00"))]})
    made.update("day_aggs")
    page = html.html(facts_of(made), "warehouse")
    assert "There are no trades in this range, of which bars could be built" in page
    assert "warehouse reconcile" not in page
