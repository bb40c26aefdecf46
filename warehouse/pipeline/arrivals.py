"""The files of a download as they come: what is entered of each, and who waits for one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from warehouse.core.file_state import FileState
from warehouse.core.metrics import Progress, RunMetrics
from warehouse.core.paths import Layout, RawFile
from warehouse.errors import RawFileError, SourceError, StorageError
from warehouse.pipeline.download_plan import DownloadPlan, did_not_come, fetched, put_aside
from warehouse.pipeline.report import RunReport
from warehouse.source.partfile import part_of, superseded
from warehouse.source.transfer import Fetched, Transfer
from warehouse.store.catalog import SourceFile

_REPLACED = "its bytes were not those that came from the source, which were fetched again"
_BEFORE = "the version before; what had taken the place of the one after it was fetched again"


class Arrivals:
    """Enters into the plan, the records and the metrics of a run what came of each file.

    Bytes come in on other threads; everything here is done on the run's own. However it ends,
    `plan.fetch` holds what had come by then, and what came damaged is set aside. Use it with
    `with`: at its end the download is over.

    Args:
        begin: begins the transfer.
        plan: `fetch` is what the transfer brings.
        known: what is known of each file; takes the records of those that came.

    Attributes:
        error: what ended the download, or kept a part of it: what had come is as good as ever.
    """

    def __init__(
        self,
        begin: Callable[[], Transfer],
        plan: DownloadPlan,
        layout: Layout,
        known: dict[RawFile, SourceFile],
        metrics: RunMetrics,
    ) -> None:
        self.error: SourceError | StorageError | None = None
        self._begin, self._plan, self._layout = begin, plan, layout
        self._known, self._metrics = known, metrics
        self._coming = {item.file for item in plan.fetch}
        self._changed = {item.file: item for item in plan.changed}
        self._replaced = {item.file for item in plan.replaced}
        self._came: set[RawFile] = set()
        plan.fetch = []
        metrics.files_here = len(plan.have)
        metrics.errors += len(plan.problems) + len(plan.unread)
        for file, record in plan.restamped:
            self._record(file, record)
        for outcome in plan.problems:
            self._record_news(*did_not_come(outcome))
        for state, sessions in (
            (FileState.MISSING, plan.absent),
            (FileState.NOT_YET, plan.not_yet),
        ):
            for name, day in sessions:
                file = RawFile(name, day)
                self._record_news(file, SourceFile(name, day, None, file.key, state))

    def __enter__(self) -> Arrivals:
        for file in self._replaced:
            old = superseded(self._layout.raw_file(file))
            if os.path.lexists(old):
                # It is in the way of what is to be superseded now.
                self._keep(file, old.name, _BEFORE)
            else:
                # Whether it can be kept is found out before anything takes its place.
                self._layout.make_aside(self._shelf(file).parent)
        self._transfer = self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._transfer.close()
        finally:
            self._enter_all(self._transfer.news())
            self._metrics.end("download")
            self._plan.changed = list(self._changed.values())
            self._plan.fetch.sort(key=lambda item: item.file.sort_key)
            # Nor do they fail in the order of work.
            self._plan.problems.sort(key=lambda outcome: outcome.item.file.sort_key)

    def is_settled(self, file: RawFile) -> bool:
        """Whether it is known what came of a file, or that nothing is to come; does not wait."""
        self._enter_all(self._transfer.news())
        self._look()
        return file not in self._coming

    def wait(self, file: RawFile) -> bool:
        """Wait until it is known what comes of a file; whether it came."""
        if not self.is_settled(file):
            self._enter_until(file)
        return file in self._came

    def wait_for_all(self) -> None:
        """Wait until it is known what came of each file."""
        self._enter_until(None)

    def _enter_until(self, file: RawFile | None) -> None:
        try:
            for outcome in self._transfer:
                self._enter(outcome)
                if outcome.item.file == file:
                    return
        except (SourceError, StorageError) as error:
            self.error = error
        # What was stopped does not come any more.
        self._coming.clear()

    def _look(self) -> None:
        error = self._transfer.error
        if error is not None and not isinstance(error, SourceError):
            raise error

    def _enter_all(self, outcomes: Iterable[Fetched]) -> None:
        for outcome in outcomes:
            self._enter(outcome)

    def _enter(self, outcome: Fetched) -> None:
        plan, file = self._plan, outcome.item.file
        self._coming.discard(file)
        if outcome.problem is None:
            self._came.add(file)
            plan.fetch.append(outcome.item)
            plan.seconds[file] = outcome.seconds
            plan.vouched_by[file] = outcome.vouched_by
            if file in self._changed:
                self._changed[file] = outcome.item
            if file in self._replaced:
                # Nobody else may have what stood there.
                self._keep(file, file.raw_path.name, _REPLACED)
            self._record(file, fetched(outcome.item, outcome.vouched_by))
            self._metrics.files_fetched += 1
            self._metrics.bytes_fetched += outcome.item.size
            return
        plan.problems.append(outcome)
        self._changed.pop(file, None)
        if isinstance(outcome.problem, RawFileError):
            part = part_of(self._layout.raw_file(file))
            put_aside(self._layout, file, part, str(outcome.problem), outcome.item.etag)
        self._record_news(*did_not_come(outcome))
        self._metrics.errors += 1

    def _keep(self, file: RawFile, name: str, why: str) -> None:
        """Set aside the superseded version of a file, where nothing else will take its place."""
        old, place = superseded(self._layout.raw_file(file)), self._shelf(file).with_name(name)
        put_aside(self._layout, file, old, why, place=place)

    def _shelf(self, file: RawFile) -> Path:
        return self._layout.set_aside / f"replaced-{self._metrics.run_id}" / file.raw_path

    def _record_news(self, file: RawFile, record: SourceFile) -> None:
        """Record a file that did not come, where the catalog does not say so already.

        One of which an earlier version is published keeps the record of that: its rows still stand.
        """
        before = self._known.get(file)
        if before is None or not (
            before.state.is_here or (before.state, before.etag) == (record.state, record.etag)
        ):
            self._record(file, record)

    def _record(self, file: RawFile, record: SourceFile) -> None:
        self._plan.records[file] = self._known[file] = record


class Incoming:
    """The planned files of an ingest, each of which is waited for when its turn comes.

    Args:
        report: `broken_off` takes what ended the download.
        sizes: bytes of the planned files.
        arrivals: of those that are still to come; None: all are here.
        here: files that are read whether a newer version comes or not.
    """

    def __init__(
        self,
        report: RunReport,
        sizes: Mapping[RawFile, int],
        progress: Progress,
        arrivals: Arrivals | None = None,
        here: AbstractSet[RawFile] = frozenset(),
    ) -> None:
        self._report, self._sizes, self._progress = report, sizes, progress
        self._arrivals, self._here = arrivals, here
        self._left_out: set[RawFile] = set()

    def is_here(self, file: RawFile) -> bool:
        """Whether a file need not be waited for."""
        return self._arrivals is None or self._arrivals.is_settled(file)

    def is_to_be_read(self, file: RawFile) -> bool:
        """Wait until a file is here, or is known not to come."""
        arrivals = self._arrivals
        if arrivals is None:
            return True
        if arrivals.is_settled(file):
            came = arrivals.wait(file)
        else:
            self._progress.wait()
            with self._waiting():
                came = arrivals.wait(file)
        if not came and file not in self._here and file not in self._left_out:
            self._left_out.add(file)
            self._progress.leave_out(self._sizes[file])
        return file not in self._left_out

    def finish(self) -> None:
        """Wait for what nobody waited for, and leave of the plan what was, or could be, read."""
        if self._arrivals is not None:
            with self._waiting():
                self._arrivals.wait_for_all()
            report = self._report
            report.planned = [file for file in report.planned if file not in self._left_out]

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Time in which nothing is read, for a file is awaited."""
        assert self._arrivals is not None
        self._report.metrics.end("processing")
        try:
            yield
        finally:
            self._report.metrics.begin("processing")
            self._report.broken_off = self._arrivals.error
