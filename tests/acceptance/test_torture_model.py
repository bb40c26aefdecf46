"""Everything that may befall a warehouse, in any order, held against a dictionary.

The short form, of CI, takes a few steps of what `make torture` does 100 × 100 times.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from building import make
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from killing import Killed, killed_at
from vendor import COLUMNS, DAYS, KINDS, Source, lines_of, published, rows_of

from warehouse import Warehouse
from warehouse.core.config import PartitionLayout
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.request import Request
from warehouse.errors import NoDataError
from warehouse.maintenance.convert_layout import convert_layout
from warehouse.maintenance.prune import prune

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))
File = tuple[str, date]
LAYOUTS = st.sampled_from(["market", "symbol"])
FILES = st.sampled_from([(kind, day) for kind in KINDS for day in DAYS])


def _months(days: Sequence[date]) -> list[set[date]]:
    return [{one for one in days if one.month == month} for month in {day.month for day in days}]


class WarehouseAndDictionary(RuleBasedStateMachine):
    """Versions of files: what the vendor has, what lies in the raw tier, what is published."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="warehouse-model-"))
        self.made = make(self.folder)
        self.source = Source(self.made)
        self.raw: dict[File, int] = {}
        self.published: dict[File, int] = {}
        self.reader = Warehouse(self.made.root)

    @rule(file=FILES)
    def the_vendor_publishes_or_restates(self, file: File) -> None:
        self.source.restate(*file)

    def fetched(self) -> None:
        for file, version in self.source.versions.items():
            # A file that was pruned comes back only as a new version.
            if file in self.raw or self.published.get(file) != version:
                self.raw[file] = version

    @precondition(lambda self: self.source.versions)
    @rule()
    def update(self) -> None:
        self.made.update(*KINDS)
        self.fetched()
        self.published |= self.raw

    @precondition(lambda self: self.source.versions)
    @rule()
    def download(self) -> None:
        first, last = self.made._days()
        self.made.pipeline.download(Request.of(KINDS, first, last))
        self.fetched()

    @rule()
    def ingest(self) -> None:
        report = self.made.ingest(*KINDS)
        new = {file for file, version in self.raw.items() if self.published.get(file) != version}
        assert {(item.file.data_type, item.file.day) for item in report.files} == new
        self.published |= self.raw

    @rule(kind=st.sampled_from(KINDS), symbols=st.sampled_from([(), ("A",), ("NA", "V1")]))
    def rebuild(self, kind: str, symbols: tuple[str, ...]) -> None:
        gone = {file for file in self.published if file[0] == kind and file not in self.raw}
        pending = {
            file
            for file, version in self.raw.items()
            if file[0] == kind and self.published.get(file) != version
        }
        if symbols and pending:
            return  # of a new file only those symbols would be published
        if gone:
            with pytest.raises(NoDataError):
                self.made.rebuild(kind, symbols=symbols)
            return
        before = self.made.digests()
        self.made.rebuild(kind, symbols=symbols)
        self.published |= {file: self.raw[file] for file in self.raw if file[0] == kind}
        if not pending:
            assert self.made.digests() == before

    @rule()
    def prune(self) -> None:
        later = datetime.now() + timedelta(days=365)
        report = prune(self.made.layout, self.made.config, now=later)
        done = {file for file in self.raw if self.published.get(file) == self.raw[file]}
        assert {(file.data_type, file.day) for file in report.removed} == done
        for file in done:
            del self.raw[file]

    @precondition(lambda self: self.published)
    @rule()
    def lose_the_catalog(self) -> None:
        self.made.layout.catalog.unlink()
        self.made.ingest("minute_aggs")

    @precondition(lambda self: self.source.versions)
    @rule(number=st.integers(0, 25))
    def kill(self, number: int) -> None:
        old = {kind: rows_of(self.published, kind) for kind in KINDS}
        with killed_at(number), suppress(Killed):
            self.made.update(*KINDS)
        # The next opener finishes or clears what was begun; it has nothing new to bring.
        self.made.ingest("minute_aggs")
        new = self.published | self.raw | self.source.versions
        for kind in KINDS:
            found = published(self.made, kind)
            # Each month of a data type is published at once, or each session.
            is_by_session = (self.made.layout.cache / kind / "market").is_dir()
            is_by_session &= DATA_TYPES[kind].by_session
            for days in [{day} for day in DAYS] if is_by_session else _months(DAYS):
                part = {row for row in found if row[1] in days}
                either = [
                    {row for row in rows if row[1] in days}
                    for rows in (old[kind], rows_of(new, kind))
                ]
                assert part in either
        self.made.update(*KINDS)
        self.fetched()
        self.published |= self.raw

    @rule(layout=LAYOUTS)
    def lay_new_months_out(self, layout: PartitionLayout) -> None:
        self.made.configure(storage__layout=dict.fromkeys(DATA_TYPES, layout))

    @precondition(lambda self: self.published)
    @rule(layout=LAYOUTS, kind=st.sampled_from(KINDS))
    def convert(self, layout: PartitionLayout, kind: str) -> None:
        convert_layout(self.made.pipeline, Request.of([kind]), layout)

    @precondition(lambda self: self.published)
    @rule(layout=LAYOUTS, kind=st.sampled_from(KINDS), number=st.integers(0, 25))
    def kill_a_conversion(self, layout: PartitionLayout, kind: str, number: int) -> None:
        with killed_at(number), suppress(Killed):
            convert_layout(self.made.pipeline, Request.of([kind]), layout)
        self.made.ingest("minute_aggs")

    @invariant()
    def the_rows_are_those_of_the_dictionary(self) -> None:
        if not hasattr(self, "made"):
            return
        for kind in KINDS:
            assert published(self.made, kind) == rows_of(self.published, kind)

    @precondition(lambda self: self.published)
    @rule(file=FILES, symbol=st.sampled_from(["A", "NA", "TpC", "V0", "V1"]))
    def ask(self, file: File, symbol: str) -> None:
        kind, day = file
        frame = self.reader.load(kind, symbol, day, day, missing="ignore")
        version = self.published.get(file)
        rows = lines_of(kind, day, version)[1] if version is not None else {}
        due = sorted(row[2:] for row in rows if row[0] == symbol)
        number, price = COLUMNS[kind]
        found = zip(frame[number], frame[price].round(6), strict=True)
        assert sorted(found) == due

    def teardown(self) -> None:
        if hasattr(self, "made"):
            self.reader.close()
            if self.published:
                self.made.check_catalog()
                assert self.made.verify().faults == []
            shutil.rmtree(self.folder)


TestTheModel = pytest.mark.torture(WarehouseAndDictionary.TestCase)
TestTheModel.settings = settings(
    max_examples=100 if LONG else 4,
    stateful_step_count=100 if LONG else 15,
    deadline=None,
    # To shrink what takes seconds takes hours.
    phases=[Phase.generate],
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
