"""Small portions are staged side by side, and come out as if it were one after the other."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from building import Made, day_key, make, random_trades

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.request import Request
from warehouse.errors import SqlFileError, StorageError
from warehouse.ingest.stage import StagedBatch, Stager

DAYS = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]
FEBRUARY = date(2024, 2, 1)
SYMBOLS = ("AAPL", "BCpC", "MSFT")
PATIENCE = 60


def market(folder: Path, **settings: Any) -> Made:
    files = {
        day_key("trades", day): [*random_trades(SYMBOLS, 200, day), "too,few"]
        for day in (*DAYS, FEBRUARY)
    }
    layout = {"storage__layout": dict.fromkeys(DATA_TYPES, "market")}
    workers = {"processing__parallel_workers": 4, "processing__memory_limit_gb": 4}
    made = make(folder, files, **layout, **(workers | settings))
    # A file that is still on its way is waited for, and its portion staged alone.
    made.pipeline.download(Request.of(["trades"], DAYS[0], FEBRUARY))
    return made


def sessions(made: Made) -> list[date]:
    return [day for (day,) in made.sql("select distinct session from trades order by session")]


def test_what_is_staged_side_by_side_comes_out_as_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: set[int] = set()
    most = 0
    begun = threading.Barrier(4, timeout=PATIENCE)
    stage = Stager.stage

    def counted(self: Stager, files: Any, *rest: Any) -> StagedBatch:
        nonlocal most
        at_work.add(threading.get_ident())
        most = max(most, len(at_work))
        if files[0].day in DAYS[:4]:
            begun.wait()
        try:
            return stage(self, files, *rest)
        finally:
            at_work.discard(threading.get_ident())

    one = market(tmp_path / "one", processing__parallel_workers=1)
    one.update()
    several = market(tmp_path / "several")
    with monkeypatch.context() as patch:
        patch.setattr(Stager, "stage", counted)
        report = several.update()

    assert most == 4
    assert [item.file.day for item in report.files] == [*DAYS, FEBRUARY]
    assert several.everything()[:4] == one.everything()[:4]
    assert several.verify().faults == []


@pytest.mark.parametrize("error", [StorageError("disk", "is full"), KeyboardInterrupt()])
def test_what_comes_before_one_that_fails_is_published_and_nothing_after_it(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = market(tmp_path)
    stage = Stager.stage

    def fails(self: Stager, files: Any, *rest: Any) -> StagedBatch:
        if files[0].day == DAYS[2]:
            raise error
        return stage(self, files, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Stager, "stage", fails)
        with pytest.raises(type(error)):
            made.update()

    before = [] if isinstance(error, KeyboardInterrupt) else DAYS[:2]
    assert (sessions(made) if made.partitions() else []) == before
    made.update()
    assert sessions(made) == [*DAYS, FEBRUARY]
    assert made.verify().faults == []


def test_a_data_type_that_stops_takes_nothing_in_that_was_begun_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = market(tmp_path)
    made.put(day_key("quotes", DAYS[0]), ["too,few"])
    stage = Stager.stage

    def breaks(self: Stager, files: Any, *rest: Any) -> StagedBatch:
        if (files[0].data_type, files[0].day) == ("trades", DAYS[1]):
            raise SqlFileError(made.root / "sql/clean/trades.sql", "is broken")
        return stage(self, files, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Stager, "stage", breaks)
        with pytest.raises(SqlFileError, match="is broken; it stopped trades alone"):
            made.update()

    assert sessions(made) == DAYS[:1]
    assert {row["data_type"] for row in made.rejects()} == {"quotes", "trades"}
