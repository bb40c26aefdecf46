"""Figures for those who scrape: the last run of each command and what the warehouse holds.

They are written as OpenMetrics text to data/metrics/warehouse.prom after every run. All are gauges,
so that the text reads the same in Prometheus' older format, which node_exporter's textfile
collector expects.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, time

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from warehouse.core import process
from warehouse.core.metrics import RunMetrics
from warehouse.core.paths import Layout
from warehouse.core.small_files import read_small
from warehouse.errors import StorageError
from warehouse.pipeline.watch.holdings import published
from warehouse.store.catalog import Catalog
from warehouse.text import printable

_RUN = {
    "end_timestamp_seconds": "When the last run ended.",
    "success_timestamp_seconds": "When the last run that did not fail ended.",
    "success": "1: the last run did what it could; 0: it failed or was interrupted.",
    "download_seconds": "Time the last run spent on bringing files.",
    "processing_seconds": "Time the last run spent on reading and publishing files.",
    "duration_seconds": "Time the last run took.",
    "cpu_seconds": "CPU time of the last run, of all threads.",
    "records_processed": "Lines that the last run read.",
    "errors": "Files that the last run could not fetch or set aside; and itself, if it failed.",
    "cache_hit_ratio": "Share of the files asked of the last run that needed no work.",
    "memory_bytes": "Memory resident at the end of the last run.",
    "peak_memory_bytes": "The most memory the last run's process held resident.",
    "files_here": "Files asked of the last run that were here already.",
    "files_fetched": "Files that the last run fetched.",
    "fetched_bytes": "Bytes of files that the last run fetched.",
    "retries": "Requests to the source that the last run made again.",
    "files": "Raw files that the last run read.",
    "files_set_aside": "Raw files that failed verification in the last run.",
    "read_bytes": "Compressed bytes that the last run read.",
    "written_bytes": "Bytes of partitions that the last run wrote.",
    "rows_published": "Rows that the last run published.",
    "rows_rejected": "Rows that cleaning refused in the last run.",
    "rows_unselected": "Rows of symbols not selected in the last run.",
    "partitions": "Partitions that the last run wrote.",
}
_OTHER_NAMES = {
    "download_seconds": "download_time",
    "processing_seconds": "processing_time",
    "duration_seconds": "seconds",
    "errors": "errors_count",
    "cache_hit_ratio": "cache_hit_rate",
    "memory_bytes": "memory_usage",
    "fetched_bytes": "bytes_fetched",
    "read_bytes": "bytes_read",
    "written_bytes": "bytes_written",
}
"""Of figures of `RunMetrics`, whose names there are the specification's."""

_HELD = {
    "rows": "Rows that are published.",
    "rejects": "Rows that cleaning refused.",
    "partitions": "Partitions.",
    "symbols": "Symbols that have rows.",
    "sessions": "Sessions of which there are rows.",
    "cache_bytes": "Bytes of the partitions.",
}
_STATES = """
    select data_type, state, count(*) as files
    from source_files
    group by data_type, state
    order by data_type, state
"""

Figures = dict[str, float]


def write(layout: Layout, metrics: RunMetrics, *, succeeded: bool) -> None:
    """Write the file anew after a run, whole or not at all.

    Raises:
        OSError: the disk refuses.
    """
    runs = _runs(layout)
    now = datetime.now(UTC).timestamp()
    given = metrics.figures()
    figures = {
        name: given[_OTHER_NAMES.get(name, name)]
        for name in _RUN
        if _OTHER_NAMES.get(name, name) in given
    }
    last_success = runs.get(metrics.command, {}).get("success_timestamp_seconds")
    runs[metrics.command] = {
        **figures,
        **({"success_timestamp_seconds": last_success} if last_success else {}),
        **({"success_timestamp_seconds": now} if succeeded else {}),
        "end_timestamp_seconds": now,
        "success": succeeded,
    }
    path = layout.openmetrics
    if path.parent.is_symlink():
        # A run that was refused for it has figures too.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path.parent))
    layout.modes.make_folders(path.parent)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(draft, "wb", opener=layout.modes.opener) as file:
            file.write(_text(layout, runs))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def text(layout: Layout) -> str:
    """The figures as they are now."""
    return _text(layout, _runs(layout)).decode()


def _runs(layout: Layout) -> dict[str, Figures]:
    """The last run of each command, as the present file has it; none where it is no such file."""
    runs: dict[str, Figures] = {}
    # Of a text that is none of ours the parser raises whatever it runs into.
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        for family in text_string_to_metric_families(read_small(layout.openmetrics)):
            name = family.name.removeprefix("warehouse_run_")
            if name in _RUN:
                for sample in family.samples:
                    runs.setdefault(sample.labels["command"], {})[name] = sample.value
    return runs


def _text(layout: Layout, runs: Mapping[str, Figures]) -> bytes:
    registry = CollectorRegistry()
    info = Gauge("warehouse_info", "Always 1.", ["version"], registry=registry)
    info.labels(process.version()).set(1)
    for name, meaning in _RUN.items():
        gauge = Gauge(f"warehouse_run_{name}", meaning, ["command"], registry=registry)
        for command, figures in sorted(runs.items()):
            if name in figures:
                gauge.labels(printable(command)).set(figures[name])
    # A catalog that cannot be opened is what the run's own figures are there to tell.
    with suppress(StorageError), Catalog(layout, ()) as catalog:
        _held(registry, catalog)
    found: bytes = generate_latest(registry)
    return found


def _held(registry: CollectorRegistry, catalog: Catalog) -> None:
    generation = Gauge("warehouse_generation", "Publishes so far.", registry=registry)
    generation.set(catalog.generation())
    holdings = published(catalog)
    for name, meaning in _HELD.items():
        gauge = Gauge(f"warehouse_{name}", meaning, ["data_type"], registry=registry)
        for data_type, held in holdings.items():
            gauge.labels(data_type).set(getattr(held, name))
    last = Gauge(
        "warehouse_last_session_timestamp_seconds",
        "Midnight, UTC, of the last session of which there are rows.",
        ["data_type"],
        registry=registry,
    )
    for data_type, held in holdings.items():
        if held.last is not None:
            last.labels(data_type).set(datetime.combine(held.last, time(), UTC).timestamp())
    files = Gauge(
        "warehouse_source_files",
        "The vendor's files, by what became of them.",
        ["data_type", "state"],
        registry=registry,
    )
    for row in catalog.rows(_STATES):
        files.labels(printable(row["data_type"]), printable(row["state"])).set(row["files"])
