"""rebuild --changed makes what SQL, settings or files have changed for, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from building import (
    Made,
    MakeWarehouse,
    day_key,
    edit_catalog,
    instant,
    keep,
    put_back,
    quote,
    random_trades,
    trade,
)

from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import LockedError
from warehouse.maintenance.prune import prune
from warehouse.maintenance.rebuild_stale import ChangedReport, rebuild_changed
from warehouse.store.publishing.publish import writer_lock

MONDAY, TUESDAY, FEBRUARY = date(2024, 1, 29), date(2024, 1, 30), date(2024, 2, 1)
DAYS = (MONDAY, TUESDAY, FEBRUARY)
SYMBOLS = ("AAPL", "BCpC", "MSFT")
ODD_CORRECTION = trade("XYZ", instant(MONDAY), correction=12)
"""The only line of its symbol, and rejected."""


@pytest.fixture(scope="module")
def template(make_warehouse: MakeWarehouse) -> Made:
    files = {day_key("trades", day): random_trades(SYMBOLS, 80, day) for day in DAYS}
    files[day_key("trades", MONDAY)].append(ODD_CORRECTION)
    files |= {day_key("quotes", day): [quote("AAPL", instant(day))] for day in DAYS}
    made = make_warehouse(files)
    made.update()
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    """A warehouse without anything stale: the same for every test, put back to what it was."""
    put_back(template)
    return template


def changed(made: Made, *data_types: str, **how: bool) -> ChangedReport:
    return rebuild_changed(made.pipeline, Request.of(data_types), **how)


def edit(made: Made, name: str, old: str, new: str) -> None:
    path = made.root / "sql" / f"{name}.sql"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def rewritten(made: Made, work: Callable[[], object]) -> set[str]:
    """Partitions that have become other files in the meantime."""
    before = {name: path.stat().st_ino for name, path in made.partitions().items()}
    work()
    now = {name: path.stat().st_ino for name, path in made.partitions().items()}
    return {name for name in {*before, *now} if before.get(name) != now.get(name)}


def of_type(made: Made, data_type: str) -> set[str]:
    return {name for name in made.partitions() if name.startswith(data_type)}


def counts(report: ChangedReport) -> dict[str, int]:
    return {reason: len(keys) for reason, keys in report.reasons.items()}


def test_where_nothing_changed_nothing_is_done(made: Made) -> None:
    assert rewritten(made, lambda: changed(made)) == set()
    with made.unchanged():
        report = changed(made)
    assert (report.reasons, report.files, report.absent) == ({}, [], [])


def test_a_comment_or_a_line_break_changes_nothing(made: Made) -> None:
    edit(made, "clean/trades", "from ingested", "-- a remark\nfrom\n    ingested /* and another */")
    assert changed(made).reasons == {}


def test_a_reference_table_matters_for_no_partition(made: Made) -> None:
    path = made.root / "config/exchanges.csv"
    path.write_text(path.read_text("utf-8") + "77,XTST,,exchange,Test\n", "utf-8")
    assert changed(made).reasons == {}


def test_a_condition_in_the_sql_of_a_type_makes_just_that_type_anew_and_says_so(
    made: Made,
) -> None:
    edit(made, "clean/trades", "price <= 0", "price <= 0.01")
    report = changed(made, dry_run=True)
    assert counts(report) == {"sql/clean/trades changed": len(of_type(made, "trades"))}
    assert report.files == [RawFile("trades", day) for day in DAYS]
    trades = of_type(made, "trades")
    assert rewritten(made, lambda: changed(made)) == trades
    assert changed(made).reasons == {}
    assert made.verify().faults == []


def test_it_makes_what_a_new_warehouse_would_make(
    made: Made, make_warehouse: MakeWarehouse
) -> None:
    made.configure(cleaning__corrections=[0, 1, 12])
    report = changed(made)
    reason = "cleaning.corrections changed from [0, 1] to [0, 1, 12]"
    assert list(report.reasons) == [reason]
    other = make_warehouse(cleaning__corrections=[0, 1, 12], source__url=str(made.source))
    other.source = made.source
    other.update()
    assert made.digests() == other.digests()
    assert made.rejects() == other.rejects()
    # A symbol that had no partition before is among them.
    assert "trades/XYZ/2024_01.parquet" in made.partitions()


def test_a_setting_that_a_types_sql_does_not_ask_for_does_not_concern_it(made: Made) -> None:
    made.configure(cleaning__corrections=[0])
    trades = of_type(made, "trades")
    assert rewritten(made, lambda: changed(made)) <= trades


def test_a_session_added_under_new_rules_does_not_hide_the_old_ones(made: Made) -> None:
    made.configure(cleaning__corrections=[0])
    wednesday = date(2024, 1, 31)
    made.put(day_key("trades", wednesday), random_trades(["AAPL"], 20, wednesday))
    made.update("trades")
    sessions = made.sql(
        """
        select unnest(sessions).session, unnest(sessions).fingerprint
        from partitions
        where data_type = 'trades' and symbol = 'AAPL' and month = '2024-01-01'
        """
    )
    old = sessions[0][1]
    assert old is not None
    assert sessions == [(MONDAY, old), (TUESDAY, old), (wednesday, None)]
    report = changed(made)
    assert report.files == [RawFile("trades", day) for day in DAYS]
    assert changed(made).reasons == {}


def test_rules_that_come_back_give_the_old_bytes_and_touch_no_more_than_they_must(
    made: Made,
) -> None:
    before = made.digests()
    made.configure(cleaning__corrections=[0])
    wednesday = date(2024, 1, 31)
    made.put(day_key("trades", wednesday), random_trades(["AAPL"], 20, wednesday))
    made.update("trades")
    made.configure(cleaning__corrections=[0, 1])
    # Only that session was made by the other rules.
    assert changed(made).files == [RawFile("trades", wednesday)]
    (made.source / day_key("trades", wednesday)).unlink()
    aapl = "trades/AAPL/2024_01.parquet"
    after = made.digests()
    assert {name for name in before if before[name] != after[name]} == {aapl}
    made.put_raw("trades", wednesday, [trade("ZZZ", instant(wednesday))])
    made.ingest("trades")
    assert made.digests()[aapl] == before[aapl]


def test_what_was_rebuilt_already_is_left_alone(made: Made) -> None:
    made.configure(cleaning__corrections=[0, 1, 12])
    made.rebuild("trades", symbols=["AAPL"])
    done = {name for name in of_type(made, "trades") if "AAPL" in name}
    again = rewritten(made, lambda: changed(made))
    assert not again & done
    # A row that the old rules refused is not lost for that.
    assert again == of_type(made, "trades") - done
    assert "trades/XYZ/2024_01.parquet" in again
    assert made.verify().faults == []


def test_a_new_version_of_a_file_that_is_there_counts_as_changed(made: Made) -> None:
    made.put_raw("trades", TUESDAY, random_trades(SYMBOLS, 70, TUESDAY, seed=5))
    new = date(2024, 2, 2)
    made.put_raw("trades", new, random_trades(SYMBOLS, 70, new))
    report = changed(made, dry_run=True)
    # The session that is new is the business of ingest.
    assert report.files == [RawFile("trades", TUESDAY)]
    assert counts(report) == {f"trades {TUESDAY} has a new version": len(SYMBOLS)}
    january = {f"trades/{name}/2024_01.parquet" for name in ("AAPL", "BC%70C", "MSFT")}
    assert rewritten(made, lambda: changed(made)) == january
    assert made.verify().faults == []


def test_a_file_none_of_whose_rows_was_published_is_read_again_too(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", MONDAY): [ODD_CORRECTION]})
    made.update()
    assert made.partitions() == {}
    made.configure(cleaning__corrections=[0, 1, 12])
    changed(made)
    assert list(made.partitions()) == ["trades/XYZ/2024_01.parquet"]


def pruned(made: Made, *keep: RawFile) -> None:
    """Prune all raw files but those."""
    made.configure(storage__retention_days=0)
    held = {made.layout.raw_file(file): made.layout.raw_file(file).read_bytes() for file in keep}
    stamps = {path: path.stat().st_mtime_ns for path in held}
    for path in held:
        path.unlink()
    prune(made.layout, made.config)
    for path, content in held.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(stamps[path], stamps[path]))


def test_what_was_pruned_is_named_and_the_rest_made_anew(made: Made) -> None:
    pruned(made, RawFile("trades", FEBRUARY))
    made.configure(cleaning__corrections=[0])
    report = changed(made)
    assert report.absent == [RawFile("trades", MONDAY), RawFile("trades", TUESDAY)]
    assert report.files == [RawFile("trades", FEBRUARY)]
    assert counts(changed(made)) == {
        "cleaning.corrections changed from [0, 1] to [0]": len(SYMBOLS)
    }
    assert made.verify().faults == []


def test_what_was_pruned_is_fetched_again_on_request(
    made: Made, make_warehouse: MakeWarehouse
) -> None:
    pruned(made)
    made.configure(cleaning__corrections=[0, 1, 12])
    report = changed(made, fetch=True)
    assert report.absent == []
    assert report.run.metrics.files_fetched == len(DAYS)
    other = make_warehouse(cleaning__corrections=[0, 1, 12], source__url=str(made.source))
    other.source = made.source
    other.update()
    assert made.digests() == other.digests()
    assert made.verify().faults == []
    assert changed(made).reasons == {}


def test_a_version_restated_since_is_fetched_and_published(made: Made) -> None:
    pruned(made)
    made.put(day_key("trades", TUESDAY), [trade("NEW", instant(TUESDAY), price=3)])
    made.configure(cleaning__corrections=[0])
    changed(made, fetch=True)
    assert made.sql(f"select symbol from trades where session = '{TUESDAY}'") == [("NEW",)]
    assert made.verify().faults == []
    assert changed(made).reasons == {}


def test_what_the_source_has_no_more_is_named(made: Made) -> None:
    pruned(made)
    (made.source / day_key("trades", MONDAY)).unlink()
    made.configure(cleaning__corrections=[0])
    digests = made.digests()
    report = changed(made, fetch=True)
    assert report.why_absent == {
        RawFile("trades", MONDAY): "the source has no such file (any more)"
    }
    assert made.sql(f"select count(*) > 0 from trades where session = '{MONDAY}'") == [(True,)]
    assert set(made.digests()) == set(digests)
    assert made.verify().faults == []


def test_a_dry_run_changes_nothing_and_takes_no_lock(made: Made) -> None:
    pruned(made)
    edit(made, "dedupe/quotes", "occurrence = 1", "occurrence <= 1")
    with (
        writer_lock(made.layout),
        made.unchanged(),
    ):
        report = changed(made, dry_run=True, fetch=True)
        with pytest.raises(LockedError):
            changed(made)
    assert counts(report) == {"sql/dedupe/quotes changed": 2}
    assert report.files == [RawFile("quotes", day) for day in DAYS]
    assert report.absent == []
    assert not (made.root / "data/raw/quotes").exists()


def test_the_recipe_of_every_partition_is_kept_in_full(made: Made) -> None:
    found = {row[0] for row in made.sql("select distinct fingerprint from partitions")}
    assert len(found) == 2
    for fingerprint in found:
        recipe = json.loads((made.layout.recipes / f"{fingerprint}.json").read_text("utf-8"))
        for name, entry in recipe["statements"].items():
            text = Path(made.root / "sql" / f"{name}.sql").read_text("utf-8")
            assert entry["text"] in text


def test_what_has_another_fingerprint_by_the_same_sql_is_not_stale(made: Made) -> None:
    """As that of an earlier version is, which wrote the syntax tree down another way."""
    for path in made.layout.recipes.iterdir():
        recipe = json.loads(path.read_text("utf-8"))
        if "clean/trades" in recipe["statements"]:
            break
    earlier = "0123456789abcdef"
    for entry in recipe["statements"].values():
        entry["fingerprint"] = "of an earlier form"
        entry["text"] = f"-- as it was\n{entry['text']}".replace("<>", "!=").replace("when", "WHEN")
    (made.layout.recipes / f"{earlier}.json").write_text(json.dumps(recipe), "utf-8")
    edit_catalog(
        made,
        f"update partitions set fingerprint = '{earlier}' where data_type = 'trades'",
        f"update source_files set fingerprint = '{earlier}' where data_type = 'trades'",
    )

    assert changed(made).reasons == {}
    edit(made, "clean/trades", "price <= 0", "price <= 0.01")
    assert {*changed(made).reasons} == {"sql/clean/trades changed"}
    assert changed(made).reasons == {}


def test_without_its_recipe_a_partition_is_stale_all_the_same(made: Made) -> None:
    for path in made.layout.recipes.iterdir():
        path.unlink()
    edit(made, "clean/trades", "price <= 0", "price <= 0.01")
    (reason,) = changed(made).reasons
    assert "not kept" in reason
    assert changed(made).reasons == {}
