"""What a warehouse holds, what waits to be ingested and what was set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path

from warehouse.core.calendar import FIRST_SESSION
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import Layout, RawFile
from warehouse.core.request import Request
from warehouse.errors import NoDataError
from warehouse.pipeline.download_plan import files_to_ingest, gone, may_be_copied
from warehouse.pipeline.watch.holdings import Holdings, published
from warehouse.report.collect import Facts, gather
from warehouse.sqlfolder import shipped_files
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.rule_file import NOT_ASKED, read_rules
from warehouse.store.catalog import Catalog, SourceFile, check_not_lost
from warehouse.text import some

_RUNS = 5
_NAMED = 8
_NOT_HERE = (
    FileState.ROWS_LOST,
    FileState.MISSING,
    FileState.NOT_YET,
    FileState.NOT_IN_PLAN,
    FileState.FAILED,
)


@dataclass(frozen=True)
class RunRecord:
    """One of the runs that changed something, or failed; the columns of the table `runs`.

    What an earlier version did not measure is None.
    """

    run_id: str
    command: str
    started_at: datetime
    state: str
    problem: str | None
    download_time: float | None
    processing_time: float | None
    records_processed: int | None
    errors_count: int | None
    cache_hit_rate: float | None
    memory_usage: int | None
    seconds: float
    cpu_seconds: float | None
    files_fetched: int | None
    bytes_fetched: int | None
    files: int
    files_set_aside: int
    rows_published: int
    rows_rejected: int
    partitions: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Status:
    """The state of a warehouse.

    Attributes:
        source: `source.url`; empty where none is set.
        source_problem: why nothing can come from there; None: nothing is known against it.
        generation: how many times something was published.
        holdings: by data type, in the order of DATA_TYPES; then of kept bars that are published.
        waiting: raw files whose present version is not published.
        copied: raw files of the size of what was published that bear another time, as after a
            copy of the folder; the next command that writes compares their bytes.
        set_aside: files whose present version failed verification.
        not_here: files that could not be had: missing, not_yet, not_in_plan or failed; and
            those of which rows were lost.
        runs: the last few, the latest first.
        facts: what the report draws, over all that there is.
        broken_rules: files of sql/validate that cannot be asked, by name, and why.
        rules_not_asked: what the last run that could not ask a rule says of it; None: all have been
            asked since.
        left_out: features that the catalog could not take in, and why.
        outdated: shipped files that the user changed, and the project has changed since.
    """

    root: Path
    source: str
    source_problem: str | None
    generation: int
    facts: Facts
    holdings: dict[str, Holdings] = field(default_factory=dict)
    waiting: list[RawFile] = field(default_factory=list)
    copied: list[RawFile] = field(default_factory=list)
    set_aside: list[SourceFile] = field(default_factory=list)
    not_here: list[SourceFile] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    broken_rules: dict[str, str] = field(default_factory=dict)
    rules_not_asked: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)


def status(layout: Layout, config: Config) -> Status:
    """The state of the warehouse at `layout`.

    Raises:
        StorageError: the catalog cannot be opened.
    """
    check_not_lost(layout)
    with Catalog(layout, ()) as catalog:
        holdings = published(catalog)
        runs = [
            RunRecord(**row) for row in catalog.rows(_LAST_RUNS, names=_RUN_COLUMNS, limit=_RUNS)
        ]
        known = catalog.source_files()
        generation = catalog.generation()
        left_out = catalog.left_out()
        not_asked = [row["problem"] for row in catalog.rows(_NOT_ASKED, mark=NOT_ASKED)]
    raw_files: Counter[str] = Counter()
    raw_bytes: Counter[str] = Counter()
    for file in layout.raw_files():
        raw_files[file.data_type] += 1
        raw_bytes[file.data_type] += layout.raw_file(file).stat().st_size
    for name, held in holdings.items():
        holdings[name] = replace(held, raw_files=raw_files[name], raw_bytes=raw_bytes[name])
    unsettled = files_to_ingest(
        layout, config, tuple(DATA_TYPES.values()), FIRST_SESSION, date.max, known
    )
    copied = may_be_copied(layout, config, unsettled, known)
    return Status(
        root=layout.root,
        source=config.source.url,
        source_problem=gone(config, layout.root, known),
        generation=generation,
        facts=gather(layout, config),
        holdings=holdings,
        waiting=[file for file in unsettled if file not in copied],
        copied=copied,
        set_aside=_in_states(known.values(), FileState.SET_ASIDE),
        not_here=_in_states(known.values(), *_NOT_HERE),
        runs=runs,
        broken_rules={
            one.name: str(one.error)
            for one in read_rules(SqlFolder(config.sql_dir(layout.root)))[1]
        },
        rules_not_asked=next(iter(not_asked), None),
        left_out=left_out,
        outdated=shipped_files.outdated(layout.root),
    )


def _in_states(records: Iterable[SourceFile], *states: FileState) -> list[SourceFile]:
    return sorted(
        (record for record in records if record.state in states),
        key=lambda record: (record.data_type, record.day, record.symbol or ""),
    )


def check_symbols(layout: Layout, request: Request) -> None:
    """Refuse symbols that no partition of the requested data types has.

    Raises:
        NoDataError: lists them, and those that differ in case alone.
    """
    if not request.symbols:
        return
    names = [kind.name for kind in request.kinds]
    with Catalog(layout, ()) as catalog:
        known = {symbol for name in names for symbol in catalog.symbols(name)}
    missing = sorted(request.symbols - known)
    if not missing:
        return
    folded = {symbol.casefold() for symbol in missing}
    similar = sorted(symbol for symbol in known if symbol.casefold() in folded)
    # Each is compared with every symbol there is.
    likely = missing if len(missing) <= _NAMED else []
    close = [near for name in likely for near in get_close_matches(name.upper(), known, 3)]
    hint = "`warehouse status` says what there is; without --symbols all is taken"
    if similar:
        hint = f"there is {some(similar, _NAMED)} (symbols are case-sensitive)"
    elif close:
        hint = f"did you mean {', '.join(dict.fromkeys(close))}? {hint}"
    raise NoDataError(
        some(missing, _NAMED), f"not among the symbols of {', '.join(names)}", hint, missing
    )


_RUN_COLUMNS = [item.name for item in fields(RunRecord)]
_NOT_ASKED = """
    select problem
    from runs
    where
        contains(problem, $mark)
        and started_at > (
            select coalesce(max(started_at), '-infinity')
            from runs
            where command = 'validate' and state = 'done' and problem is null
        )
    order by started_at desc, run_id desc
    limit 1
"""
_LAST_RUNS = """
    select columns(lambda name: list_contains($names, name))
    from runs
    order by started_at desc, run_id desc
    limit $limit
"""
