"""What there is to say of a warehouse: is it all there, and is it right?

The report draws these facts, `report --json` prints them, `status` tells them in short. They come
from the catalog alone, by the statements of sql/report: what they cost does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from warehouse.core import process
from warehouse.core.calendar import SessionHours, check_order, days_between, trading_hours
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import Layout
from warehouse.core.representation import Face, plain
from warehouse.core.small_files import parsed_json
from warehouse.errors import SqlFileError
from warehouse.read.availability import INGESTED, STATES, states_asked
from warehouse.report.answers import ABSENT, Row, Verdict, is_complete, is_right
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.catalog import Catalog, check_not_lost

_MOST_FILES = 200
_MOST_RUNS = 30
_MOST_RESTATEMENTS = 200
_MOST_EXAMPLES = 25
_MOST_RECONCILIATIONS = 12
_FEW_CLASSES = 8
_SIDES = ("ours", "theirs")
_NO_FILE: Row = {"file_bytes": None, "rejects": None, "unfinished": 0, "problem": None}


@dataclass(frozen=True, repr=False)
class Facts(Face):
    """All that is known of a warehouse over a range of sessions, as plain values.

    Attributes:
        generation: how many times something was published; 0: never.
        start, end: sessions, both inclusive; None where nothing is known of any.
        holdings: what is published of each data type, by its name.
        coverage: each trading day of each data type, and days with data that are none: `state` is
            here, waiting (downloaded), rows_lost, set_aside, failed, missing, not_in_plan,
            not_yet, never (asked for) or outside (of what the data type spans).
        half_days: sessions that closed early.
        rejects: rows by data type and reason.
        files: the vendor's files by data type and state.
        unfinished_files: those that are not published as they should be, the first of
            `of_unfinished_files`.
        checked: which rules were asked about it: all, those of ingest, or never any.
        rules: what each rule found, the worst first, with the first offending rows.
        reconciliations: the last result of holding our bars against the vendor's, of each data type
            and choice of symbols, the latest first: what is equal, what the rest is due to.
        restatements: files that the vendor replaced after they were published.
        runs: the last of them, the latest first.
        symbols: what is drawn of each symbol; see report/symbol_facts.py.
    """

    warehouse: str
    source: str
    built_at: str
    version: str
    generation: int
    start: str | None
    end: str | None
    complete: Verdict
    right: Verdict
    holdings: dict[str, Row] = field(default_factory=dict)
    coverage: list[Row] = field(default_factory=list)
    half_days: list[str] = field(default_factory=list)
    rejects: list[Row] = field(default_factory=list)
    files: list[Row] = field(default_factory=list)
    unfinished_files: list[Row] = field(default_factory=list)
    of_unfinished_files: int = 0
    checked: str = "never"
    rules: list[Row] = field(default_factory=list)
    reconciliations: list[Row] = field(default_factory=list)
    of_reconciliations: int = 0
    restatements: list[Row] = field(default_factory=list)
    of_restatements: int = 0
    runs: list[Row] = field(default_factory=list)
    of_runs: int = 0
    symbols: list[Row] = field(default_factory=list)
    time_zone: str = "America/New_York"

    def _face(self) -> Row:
        return {
            "": self.warehouse,
            "all_there": self.complete.answer,
            "right": self.right.answer,
            "start": self.start,
            "end": self.end,
            "symbols": len(self.symbols) or None,
        }

    def as_json(self) -> Row:
        return asdict(self)


def gather(
    layout: Layout, config: Config, start: date | None = None, end: date | None = None
) -> Facts:
    """The facts of the warehouse at `layout`, but for those of symbols.

    Args:
        start, end: sessions, both inclusive; None: the first or last that it knows anything of.

    Raises:
        RequestError: `end` lies before `start`.
        StorageError: the catalog cannot be read, or another version wrote it.
        SqlFileError: a file of sql/report is missing.
    """
    check_order(start, end)
    check_not_lost(layout)
    with Catalog(layout) as catalog:
        return _Gathering(catalog, layout, config, start, end).facts()


class _Gathering:
    """One catalog's answers to the statements of sql/report."""

    def __init__(
        self,
        catalog: Catalog,
        layout: Layout,
        config: Config,
        start: date | None,
        end: date | None,
    ) -> None:
        self._catalog, self._layout, self._config = catalog, layout, config
        self._sql = SqlFolder(config.sql_dir(layout.root))
        self._whole = start is not None or end is not None
        span = next(iter(self._ask("span")), {"first_session": None, "last_session": None})
        self._start = start or span["first_session"]
        self._end = end or span["last_session"]
        if self._start and self._end and self._end < self._start:
            # Nothing is known of the side that was left open.
            self._end = self._start = start or end

    def facts(self) -> Facts:
        coverage = self._coverage()
        files = self._ask("files")
        unfinished, of_unfinished = self._first("unfinished_files", _MOST_FILES)
        restatements, of_restatements = self._first("restatements", _MOST_RESTATEMENTS)
        runs, of_runs = self._first("runs", _MOST_RUNS)
        reconciliations, of_reconciliations = self._reconciliations()
        rules = [
            {**_rule(row), "sentence": self._sentence(row["rule"])}
            for row in self._ask("rules", most=_MOST_EXAMPLES)
        ]
        checked = next((row["checked"] for row in self._ask("checked")), "never")
        generation = self._catalog.generation()
        return Facts(
            warehouse=str(self._layout.root),
            source=self._config.source.url,
            built_at=_plain(datetime.now(UTC).replace(tzinfo=None, microsecond=0)),
            version=process.version(),
            generation=generation,
            start=_plain(self._start),
            end=_plain(self._end),
            complete=is_complete(generation, coverage, self._start, self._end, runs),
            right=is_right(generation, files, rules, checked),
            holdings=self._holdings(coverage),
            coverage=coverage,
            half_days=[_plain(each.session) for each in self._hours() if each.is_half_day],
            rejects=self._ask("rejects"),
            files=files,
            unfinished_files=unfinished,
            of_unfinished_files=of_unfinished,
            checked=checked,
            rules=rules,
            reconciliations=reconciliations,
            of_reconciliations=of_reconciliations,
            restatements=restatements,
            of_restatements=of_restatements,
            runs=runs,
            of_runs=of_runs,
        )

    def _ask(self, name: str, **given: Any) -> list[Row]:
        """Rows of a statement, as plain values; none where there is no catalog yet."""
        file = self._sql.or_shipped(f"report/{name}")
        values = {"whole": self._whole, **given}
        if name != "span":
            values |= {"start": self._start, "end": self._end}
        rows = self._catalog.rows_of(file, **values)
        return rows if name == "span" else [_plain(row) for row in rows]

    def _first(self, name: str, most: int, **given: Any) -> tuple[list[Row], int]:
        """The first rows of a statement, and how many there are: its column `of_…`."""
        rows = self._ask(name, most=most, **given)
        total = f"of_{name.removeprefix('unfinished_')}"
        of_all = rows[0][total] if rows else 0
        return [{key: row[key] for key in row if key != total} for row in rows], of_all

    def _reconciliations(self) -> tuple[list[Row], int]:
        # A catalog of an earlier version has no such table.
        if not self._catalog.has("reconciliations"):
            return [], 0
        rows, of_all = self._first("reconciliations", _MOST_RECONCILIATIONS, few=_FEW_CLASSES)
        return [{**row, "classes": list(map(_class, row["classes"] or ()))} for row in rows], of_all

    def _sentence(self, rule: str) -> str:
        """What the rule's file says of it; nothing where there is no such file any more."""
        try:
            return self._sql[f"validate/{rule}"].sentence
        except SqlFileError:
            return ""

    def _hours(self) -> tuple[SessionHours, ...]:
        if self._start is None or self._end is None:
            return ()
        return trading_hours(self._start, self._end)

    def _coverage(self) -> list[Row]:
        if self._start is None or self._end is None:
            return []
        trading_days = {each.session for each in self._hours()}
        days = days_between(self._start, self._end)
        files = {(row["data_type"], row["session"]): row for row in self._ask("session_files")}
        statement = self._sql.or_shipped(STATES)
        found = []
        for _, kind in sorted(DATA_TYPES.items()):
            rows = self._catalog.rows_of(statement, **states_asked(kind, None, days))
            for row in named_states(rows, trading_days, whole=self._whole):
                row = _plain({"data_type": kind.name, **row})
                file = files.get((kind.name, row["session"]), _NO_FILE)
                rejects = row["rejects"] if file["rejects"] is None else file["rejects"]
                found.append({**row, **file, "rejects": rejects})
        return found

    def _holdings(self, coverage: Sequence[Row]) -> dict[str, Row]:
        held = {row["data_type"]: row for row in self._ask("held")}
        for row in held.values():
            del row["data_type"]
        expected: dict[str, int] = {}
        for row in coverage:
            if row["state"] == "here" or row["state"] in ABSENT:
                expected[row["data_type"]] = expected.get(row["data_type"], 0) + 1
        nothing: Row = {
            "first_session": None,
            "last_session": None,
            "sessions": 0,
            "symbols": 0,
            "rows": 0,
            "partitions": 0,
            "bytes": 0,
        }
        return {
            name: {**held.get(name, nothing), "expected_sessions": expected.get(name, 0)}
            for name in DATA_TYPES
        }


def named_states(
    rows: Sequence[Row], trading_days: AbstractSet[date], *, whole: bool
) -> Iterator[Row]:
    """Of rows of sql/coverage/states, those that the report shows, by its names of the states.

    Args:
        whole: a trading day before the first or after the last session that the source had is
            `never` asked for, or `not_yet` there; else it is `outside`.
    """
    known = [row for row in rows if row["rows"] or row["file_state"]]
    if not known:
        return
    # What the source was asked for in vain says nothing of the sessions in between.
    had = [row["session"] for row in known if row["state"] not in ("missing", "not_yet")]
    for row in rows:
        session, state = row["session"], row["state"]
        if state in INGESTED:
            state = "here"
        elif row["file_state"] == FileState.DOWNLOADED:
            state = "waiting"
        elif row["file_state"] is None:
            if session not in trading_days:
                continue
            if not (whole or (had and had[0] <= session <= had[-1])):
                state = "outside"
            elif state == "not_ingested":
                state = "never"
        told = {name: row[name] for name in ("session", "rows", "rejects", "symbols")}
        yield {**told, "state": state, "is_trading_day": session in trading_days}


def _rule(row: Row) -> Row:
    """A rule's findings with the offending rows as objects; what is no JSON stays a text."""
    examples = []
    for finding in row["examples"] or ():
        try:
            rows = parsed_json(finding["examples"])
        except ValueError:
            rows = [{"example": finding["examples"]}]
        listed = rows if isinstance(rows, list) else [rows]
        shown = [each if isinstance(each, dict) else {"example": each} for each in listed]
        examples.append({**finding, "examples": shown})
    by_type = dict(row["findings_by_data_type"])
    return {**row, "findings_by_data_type": by_type, "examples": examples}


def _class(row: Row) -> Row:
    """Differences of one class, with the first of them; None where what is told is none."""
    told = {key: row[key] for key in row if key != "examples"}
    try:
        first = parsed_json(row["examples"])[0]
        begins = datetime.strptime(first["timestamp"], "%Y-%m-%dT%H:%M:%S%z")
        example = {
            "symbol": str(first["symbol"]),
            "session": date.fromisoformat(first["session"]).isoformat(),
            "timestamp": _plain(begins.astimezone(UTC)),
            **{side: None if first[side] is None else float(first[side]) for side in _SIDES},
        }
    except (ValueError, TypeError, LookupError, OverflowError):
        example = None
    return {**told, "example": example}


def _plain(value: Any) -> Any:
    return plain(value, "seconds")
