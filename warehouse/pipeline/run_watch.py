"""A run under watch: its beginning, its end and its cost, in the log and for those who scrape."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from warehouse.core import process
from warehouse.core.duckdb_connection import is_interrupt
from warehouse.core.paths import Layout
from warehouse.errors import LockedError, WarehouseError, one_line
from warehouse.pipeline.report import RunReport
from warehouse.pipeline.watch.logs import LOGGER, RunLog

BY_A_SIGNAL = "by Ctrl-C, or by what ended its process"
"""Which of them it was is not known where DuckDB or Arrow has made its own error of it."""


def outcome(error: BaseException) -> tuple[str, str]:
    """What an error makes of a run: its state, failed or interrupted, and the problem in a line."""
    cause: BaseException | None = error
    seen: list[BaseException] = []
    # An error that was raised twice may be the cause of its own cause.
    while cause is not None and not any(cause is one for one in seen):
        if _is_interrupt(cause):
            return "interrupted", BY_A_SIGNAL
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    problem = one_line(error)
    is_ours = isinstance(error, WarehouseError)
    return "failed", problem if is_ours else f"{type(error).__name__}: {problem}"


def _is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C or the like, or what a library makes of it."""
    return isinstance(error, (KeyboardInterrupt, pa.ArrowCancelled)) or is_interrupt(error)


@contextmanager
def watched(layout: Layout, log: RunLog, report: RunReport) -> Iterator[None]:
    """Log how a run begins and ends, and write its figures for those who scrape.

    A disk that has no room for that stops no run.
    """
    metrics = report.metrics
    state, problem = "done", None
    with log.opened(metrics.run_id):
        log.say(
            logging.INFO,
            "run began",
            command=metrics.command,
            process=os.getpid(),
            version=process.version(),
        )
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            state, problem = outcome(error)
            if isinstance(error, LockedError):
                # It never began: the figures are those of the run that did.
                log.say(logging.ERROR, "run refused", command=metrics.command, problem=problem)
                raise
            metrics.failed = state == "failed"
            _end(layout, log, report, state, problem)
            raise
        _end(layout, log, report, state, problem)


def _end(layout: Layout, log: RunLog, report: RunReport, state: str, problem: str | None) -> None:
    from warehouse.pipeline.watch import openmetrics  # a dry run need not wait for it

    metrics = report.metrics
    metrics.end("download")
    metrics.end("processing")
    for each in report.not_fetched:
        log.say(logging.WARNING, "not fetched", file=each.item.key, problem=str(each.problem))
    for item in report.files:
        if item.problem is None:
            log.say(
                logging.INFO,
                "read",
                file=item.file.key,
                lines=item.facts.lines,
                rows_published=item.rows_published,
                rows_rejected=item.rows_rejected,
                rows_unselected=item.rows_unselected,
                sha256=item.facts.sha256,
            )
    level = logging.INFO if state == "done" else logging.ERROR
    found = {"command": metrics.command, "state": state, "problem": problem}
    log.say(level, "run ended", **found, nothing_new=report.did_nothing, **metrics.figures())
    try:
        openmetrics.write(layout, metrics, succeeded=state == "done")
    except (OSError, WarehouseError, duckdb.Error) as error:
        # Whatever it is, the run has ended as it has.
        LOGGER.warning("the figures for those who scrape cannot be written: %s", one_line(error))
