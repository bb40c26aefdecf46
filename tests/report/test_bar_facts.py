"""The bar that a report shows of a symbol is the one that tells most, and is explained whole."""

from __future__ import annotations

import json
import random
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from building import Made, day_key, instant, make, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.report import bar_facts, html

DAYS = (date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31))
MINUTE = 60_000_000_000
BARRED = ("37", "2")
"""An odd lot and an average price set neither high nor low; no code and 14 may set all."""
HOSTILE = "-<b>A'\" \u202e"


def tape(day: date, symbol: str = "A", seed: int = 1) -> list[str]:
    """Trades of twenty minutes, those of some conditions farther out, of each minute others."""
    rolls = random.Random(f"{day} {seed}")
    lines = []
    for number in range(400):
        stamp = instant(day, "10:00") + number * 3_000_000_000 + rolls.randrange(10**9)
        code = rolls.choice(["", "14", *BARRED])
        far = rolls.choice([-1, 1]) * rolls.randrange(100) if code in BARRED else 0
        price = (10_000 + rolls.randrange(20) + far) / 100
        lines.append(trade(symbol, stamp, number + 1, price=price, conditions=code))
    return lines


def quoted(symbol: str) -> str:
    return '"' + symbol.replace('"', '""') + '"'


def bar_of(made: Made, symbol: str = "A", **asked: Any) -> Any:
    with Warehouse(made.root) as wh:
        return wh.report(symbols=[symbol], **asked).symbols[0]["bar"]


def changes(lines: list[str]) -> dict[int, float]:
    """Minute → how far the rules move its high or low, by a plain loop over the file's lines."""
    minutes: dict[int, list[tuple[float, bool]]] = {}
    for line in lines:
        fields = dict(zip(HEADER, line.split(","), strict=True))
        minute = int(fields["sip_timestamp"]) // MINUTE * MINUTE
        may_set = fields["conditions"] not in BARRED
        minutes.setdefault(minute, []).append((float(fields["price"]), may_set))
    found = {}
    for minute, trades in minutes.items():
        setting = [price for price, may_set in trades if may_set]
        every = [price for price, _ in trades]
        if setting:
            found[minute] = max(max(every) - max(setting), min(setting) - min(every))
    return found


HEADER = (
    *("ticker", "conditions", "correction", "exchange", "id", "participant_timestamp", "price"),
    *("sequence_number", "sip_timestamp", "size", "tape", "trf_id", "trf_timestamp"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    files = {day_key("trades", day): tape(day) for day in DAYS}
    files[day_key("trades", DAYS[0])] += [trade("plain", instant(DAYS[0], "10:00:07"))]
    files[day_key("trades", DAYS[0])] += [
        trade("plain", instant(DAYS[0], "11:30:01") + n, n + 2) for n in range(3)
    ]
    files[day_key("trades", DAYS[0])] += [
        trade(quoted(HOSTILE), instant(DAYS[0], "12:00:01") + n, n + 9, price=10 + n)
        for n in range(2)
    ]
    made = make(tmp_path_factory.mktemp("bars"), files)
    made.update("trades", start=DAYS[0], end=DAYS[-1])
    return made


def test_the_minute_whose_extreme_the_rules_change_most_is_shown(made: Made) -> None:
    expected = changes([line for day in DAYS for line in tape(day)])
    found = bar_of(made)
    begins = found["explained"]["begins"]
    most = max(expected.values())
    (minute,) = (one for one, change in expected.items() if change == most)
    assert begins == str(made.sql(f"select make_timestamp_ns({minute})")[0][0]).replace(
        " ", "T"
    ) + "Z"  # fmt: skip
    assert found["change"] == pytest.approx(most)
    assert found["of_bars"] == len(expected)
    bar, side = found["explained"]["bar"], found["changed"]
    beyond = found["highest"] - bar["high"], bar["low"] - found["lowest"]
    assert beyond[["high", "low"].index(side)] == pytest.approx(most)
    assert max(beyond) == pytest.approx(most)


def test_where_the_rules_change_nothing_it_is_the_busiest_minute(made: Made) -> None:
    found = bar_of(made, "plain")
    assert (found["changed"], found["change"], found["of_bars"]) == (None, 0, 2)
    assert found["explained"]["begins"] == "2024-01-29T16:30:00Z"
    with Warehouse(made.root) as wh:
        assert "the busiest: in none do the rules" in html.html(wh.report(symbols="plain"), "w")


def test_a_bar_of_more_trades_than_are_drawn_is_not_chosen(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_facts, "MOST_TRADES", 2)
    found = bar_of(made, "plain")
    assert (found["of_bars"], len(found["explained"]["trades"])) == (1, 1)
    none = bar_of(made)
    assert none["explained"] is None
    assert none["problem"] == "no minute has a bar, and at most 2 trades"


def test_of_many_trades_the_last_sessions_are_looked_through(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = {}
    for most in (1, 800, 1_200):
        monkeypatch.setattr(bar_facts, "_MOST_READ", most)
        found = bar_of(made)
        spans[most] = (found["first_session"], found["sessions"])
        assert (found["last_session"], found["of_sessions"]) == ("2024-01-31", 3)
        first = DAYS[3 - found["sessions"]]
        assert found["of_bars"] == len(
            changes([line for day in DAYS if day >= first for line in tape(day)])
        )
    assert spans == {1: ("2024-01-31", 1), 800: ("2024-01-30", 2), 1_200: ("2024-01-29", 3)}
    assert bar_of(made, end=DAYS[0])["last_session"] == "2024-01-29"


def test_a_symbol_without_trades_in_the_range_has_no_bar_and_nothing_is_said_of_one(
    made: Made,
) -> None:
    assert bar_of(made, "plain", start=DAYS[1]) is None
    with Warehouse(made.root) as wh:
        page = html.html(wh.report(symbols="plain", start=DAYS[1]), "warehouse")
    assert "No bar of it is shown" not in page


def test_trades_of_which_none_may_set_a_price_make_no_bar_and_the_page_says_so(
    tmp_path: Path,
) -> None:
    lines = [trade("A", instant(DAYS[0], "10:00"), conditions="37")]
    made = make(tmp_path, {day_key("trades", DAYS[0]): lines})
    made.update("trades", start=DAYS[0], end=DAYS[0])
    with Warehouse(made.root) as wh:
        facts = wh.report(symbols="A")
    assert facts.symbols[0]["bar"]["explained"] is None
    page = html.html(facts, "warehouse")
    assert "No bar of it is shown: no minute has a bar, and at most 2,000 trades." in page
    assert "explain-bar A &#39;2024-01-29 09:30&#39;" in page


def test_outside_of_the_regular_hours_a_bar_is_taken_where_they_have_none(tmp_path: Path) -> None:
    # At midnight, where a time alone would be the session.
    lines = [trade("A", instant(DAYS[0], "00:00:30"), price=7)]
    made = make(tmp_path, {day_key("trades", DAYS[0]): lines})
    made.update("trades", start=DAYS[0], end=DAYS[0])
    with Warehouse(made.root) as wh:
        facts = wh.report(symbols="A")
    found = facts.symbols[0]["bar"]
    assert found["hours"] == "all"
    assert found["explained"]["bar"]["open"] == 7
    assert_explained(made, html.html(facts, "warehouse"), found["explained"])


def assert_explained(made: Made, page: str, told: Any) -> None:
    """Run the command that the page names; it says the same of the same bar."""
    named = page.partition("All of it, trade by trade:")[2].partition("</code>")[0]
    text = named.partition('<code class="command">warehouse ')[2]
    for escaped, letter in (("&#39;", "'"), ("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">"),
                            ("&amp;", "&")):  # fmt: skip
        text = text.replace(escaped, letter)
    # As the shell reads it that it is pasted into.
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True, text=True
    ).stdout
    assert text.isprintable()
    command, *arguments = words.split("\0")[:-1]
    done = CliRunner().invoke(cli, ["-C", str(made.root), command, "--json", *arguments])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(json.dumps(told))


@pytest.mark.parametrize("symbol", ["A", HOSTILE])
def test_the_command_that_the_page_names_explains_that_very_bar(made: Made, symbol: str) -> None:
    with Warehouse(made.root) as wh:
        facts = wh.report(symbols=[symbol])
    assert_explained(made, html.html(facts, "warehouse"), facts.symbols[0]["bar"]["explained"])


def test_every_trade_of_the_bar_is_in_the_picture_and_in_its_table(made: Made) -> None:
    with Warehouse(made.root) as wh:
        facts = wh.report(symbols="A")
    page = html.html(facts, "warehouse")
    drawn = json.loads(page.partition('id="drawn">')[2].partition("</script>")[0])
    trades = facts.symbols[0]["bar"]["explained"]["trades"]
    *marked, _ = drawn["charts"]["bar-1"]["data"]
    assert sum(len(trace["x"]) for trace in marked) == len(trades) > 10
    assert len(drawn["tables"]["bar-1"]["rows"]) == len(trades)
    table = [
        dict(zip(drawn["tables"]["bar-1"]["columns"], row, strict=True))
        for row in drawn["tables"]["bar-1"]["rows"]
    ]
    assert [row["price"] for row in table] == [one["price"] for one in trades]
    kinds = {row["conditions"]: (row["may set"], row["kept out by"]) for row in table}
    assert kinds["14"] == ("everything", None)
    assert kinds["37"] == ("volume only", "37 Odd Lot Trade")


def test_a_statement_of_bars_that_fails_leaves_the_rest_of_the_report(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", DAYS[0]): tape(DAYS[0])})
    broken = made.root / "sql/bars/eligible.sql"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("-- bars/eligible: two.\n-- grain: x\n-- reads: tape\nselect 1; select 2\n")
    made.update("trades", start=DAYS[0], end=DAYS[0])
    with Warehouse(made.root) as wh:
        facts = wh.report(symbols="A")
    assert facts.symbols[0]["trades"]["of_trades"] == 400
    assert facts.symbols[0]["bar"]["explained"] is None
    assert "eligible" in facts.symbols[0]["bar"]["problem"]
    assert "No bar of it is shown: " in html.html(facts, "warehouse")
