"""Our bars against the vendor's: shares that are equal, and each difference with its class.

What is given comes in pieces, whole sessions of some symbols each, and of no piece more is kept
than its signatures (what trades alike did in a window), the vendor's bars and the differences.
DuckDB keeps them, and puts on disk what does not fit into its memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.build import READS, build, run, sessions_of
from warehouse.bars.hypotheses import (
    BAR,
    CLASSES,
    FIELDS,
    HOURS,
    Cause,
    Hypothesis,
    Tallies,
    Tally,
    listed,
    search,
)
from warehouse.bars.spec import BarSpec
from warehouse.core.duckdb_connection import watched
from warehouse.sqlfolder.bars.bar_file import BarFolder

TRADES = (*READS, "participant_timestamp")
"""Columns of trades that a comparison rests on."""
REJECTED = tuple(name for name in TRADES if name != "tape")
"""Columns of rejected trades that a comparison rests on."""
AGGS = ("symbol", "timestamp", "open", "high", "low", "close", "volume", "trades", "session")
"""Columns of the vendor's bars that a comparison rests on."""
COVERED = {
    "minute_aggs": BarSpec.of("1m", hours="all"),
    "day_aggs": BarSpec.of("1d", hours="all"),
}
"""Which bars of ours are those of a vendor's data type: of all hours, the minutes of the regular
and the extended ones told apart."""
COMPARED = ("bar", "open", "high", "low", "close", "volume", "trades")
"""What is compared: whether both have the bar, and where both have it, its fields."""
DIFFERENCE_CLASSES = (
    *("condition", "correction", "late print", "size below one share"),
    *("fractional size before 2026-02-23", "fractional size since 2026-02-23"),
    *("off exchange", "hours", "missing trade data", "rounding", "unexplained"),
)
EXAMPLES = 3
_PIECE_ROWS = 50_000
"""So many signatures are judged at once: what is judged is many times as much."""
_ORDER = (
    *("size below one share", "fractional size", "correction", "late print", "hours"),
    "condition",
)
"""Classes in the order in which a difference is tried on them, after the causes found."""


@dataclass(frozen=True)
class Share:
    """How much of one field is equal.

    Attributes:
        hours: of the windows: regular, extended; of days all.
        symbol: "" of all symbols together.
    """

    hours: str
    field: str
    symbol: str
    compared: int
    equal: int


@dataclass(frozen=True)
class Difference:
    """One field of one bar. Of the field `bar` the values are 1 where it is, and 0."""

    symbol: str
    session: date
    start_ns: int
    field: str
    ours: float | None
    theirs: float | None


@dataclass(frozen=True)
class Group:
    """Differences of one class in one field.

    Attributes:
        cause: the rule that makes them vanish; None: no rule does.
        examples: the first by symbol and time.
    """

    hours: str
    field: str
    kind: str
    cause: Hypothesis | None
    count: int
    examples: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        shares: by hours and field, of all symbols and of each.
        groups: all differences, by hours, field, class and cause.
        causes: rules that explain many.
        untold: the vendor's bars that were not compared: sessions without a trade here.
    """

    shares: tuple[Share, ...]
    groups: tuple[Group, ...]
    causes: tuple[Cause, ...]
    untold: int


class Comparer:
    """Takes the pieces of one data type, and compares them all at the end."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, folder: BarFolder, spec: BarSpec
    ) -> None:
        """A comparison of nothing yet.

        Args:
            connection: of `build.engine`; it keeps what comes until the end of this comparison.
        """
        self._connection, self._folder, self._spec = connection, folder, spec
        self._kept: set[str] = set()
        self._pieces = 0
        self._untold = 0
        self._compared = Counter[tuple[str, str, str]]()
        self._equal = Counter[tuple[str, str, str]]()

    def add(self, trades: pa.Table, rejected: pa.Table, aggs: pa.Table) -> None:
        """Whole sessions of some symbols, none of which came before.

        Args:
            trades: of the columns TRADES, in the order that `build.build` wants.
            rejected: of the columns REJECTED: what cleaning rejected as cancelled or corrected.
            aggs: of the columns AGGS.

        Raises:
            SqlFileError: a statement is not what it should be, or fails on these rows.
        """
        ours = build(self._connection, self._folder, self._spec, trades.select(READS)).table
        days = pa.concat_tables([table.select(["session"]) for table in (trades, aggs)])
        given = {
            "trades": trades,
            "rejected": rejected,
            "sessions": sessions_of(days),
            "ours": ours.select(AGGS),
            "aggs": aggs,
        }
        with self._shown(given):
            signatures = self._run("prints", "signatures")
            with self._shown({"signatures": signatures}):
                compared = self._run("compared")
        with self._shown({"compared": compared}):
            shares = self._run("shares")
        for row in shares.to_pylist():
            key = (row["hours"], row["field"], row["symbol"])
            self._compared[key] += row["compared"]
            self._equal[key] += row["equal"]
            self._untold += row["untold"]
        differences = compared.filter(pc.invert(pc.fill_null(compared["is_equal"], True)))
        self._keep("signatures", self._in_pieces(signatures))
        self._keep("aggs", aggs)
        self._keep("differences", differences)

    def compare(self) -> Comparison:
        """Everything that was added; what was kept of it is dropped.

        Raises:
            SqlFileError: a statement is not what it should be, or fails on these rows.
        """
        try:
            causes: list[Cause] = []
            groups: tuple[Group, ...] = ()
            if "signatures" in self._kept and self._number_of("differences"):
                traits, barring = self._traits()
                causes = search(self.judge, traits, barring, self._base())
                groups = self._groups(causes, listed(traits, barring))
            return Comparison(self._shares(), groups, tuple(causes), self._untold)
        finally:
            for name in self._kept:
                self._execute(f"drop table kept_{name}")
            self._kept.clear()

    def _shares(self) -> tuple[Share, ...]:
        pooled, equal = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
        for hours, name, symbol in self._compared:
            for whose in ("", symbol):
                pooled[hours, name, whose] += self._compared[hours, name, symbol]
                equal[hours, name, whose] += self._equal[hours, name, symbol]
        order = sorted(pooled, key=lambda key: (key[2], HOURS.index(key[0]), _place(key[1])))
        return tuple(Share(*key, pooled[key], equal[key]) for key in order)

    def _traits(self) -> tuple[list[str], list[str]]:
        """All traits of the trades, and those by which some may not do something."""
        found = self._fetch(
            "select list(distinct trait) from (select unnest(traits) as trait from kept_signatures)"
            " union all select list(distinct trait) from"
            " (select unnest(range_by || ends_by || volume_by) as trait from kept_signatures)"
        )
        traits, barring = (row[0] or [] for row in found)
        return traits, barring

    def _base(self) -> dict[tuple[str, str], int]:
        """Differences by hours and field, as hypotheses count them."""
        return {
            (hours, name): differences
            for _, hours, name, differences, _ in self._tallied([Hypothesis()])
        }

    def judge(self, asked: Sequence[Hypothesis]) -> Tallies:
        """What each of these hypotheses does, of all that was added."""
        return {
            (asked[number], hours, name): Tally(before, after)
            for number, hours, name, before, after in self._tallied(asked)
        }

    def _tallied(self, asked: Sequence[Hypothesis]) -> list[tuple[int, str, str, int, int]]:
        """(place in what is asked, hours, field, differences before and after) of them all."""
        sums: dict[tuple[int, str, str], list[int]] = {}
        with self._shown({"hypotheses": _as_table(asked)}):
            for piece in range(self._pieces):
                with self._piece(piece):
                    rows = self._run("judged", "hypotheses").to_pylist()
                for row in rows:
                    key = (row["hypothesis"], row["hours"], row["field"])
                    counts = (row["differences"], row["remaining"])
                    had = sums.get(key, [0, 0])
                    sums[key] = [one + other for one, other in zip(had, counts, strict=True)]
        return [(*key, *counts) for key, counts in sums.items()]  # type: ignore[misc]

    def _groups(self, causes: Sequence[Cause], asked: Sequence[Hypothesis]) -> tuple[Group, ...]:
        tried = _candidates(causes, asked)
        hypotheses = list(dict.fromkeys(one.hypothesis for one in tried))
        names = list(dict.fromkeys(one.cause for one in tried))
        candidates = pa.table(
            {
                "place": pa.array(range(len(tried)), pa.int32()),
                "hypothesis": [hypotheses.index(one.hypothesis) for one in tried],
                "class": pa.array([one.kind for one in tried], pa.string()),
                "cause": [names.index(one.cause) for one in tried],
                "hours": pa.array([one.hours for one in tried], pa.string()),
                "fields": pa.array([one.fields for one in tried], pa.list_(pa.string())),
            }
        )
        counts = Counter[tuple[str, str, str, int | None]]()
        examples: dict[tuple[str, str, str, int | None], list[Difference]] = {}
        with self._shown({"hypotheses": _as_table(hypotheses), "candidates": candidates}):
            for piece in range(self._pieces):
                with self._piece(piece, only_differing=True):
                    rows = self._run("judged", "classes", "classed").to_pylist()
                for row in rows:
                    key = (row["hours"], row["field"], row["class"], row["cause"])
                    counts[key] += row["differences"]
                    found = examples.setdefault(key, [])
                    found += [Difference(field=row["field"], **each) for each in row["examples"]]
                    del found[EXAMPLES:]
        groups = [
            Group(hours, name, kind, None if cause is None else names[cause], count, (*found,))
            for (hours, name, kind, cause), count in counts.items()
            for found in [examples[hours, name, kind, cause]]
        ]
        return tuple(
            sorted(
                groups,
                key=lambda one: (
                    HOURS.index(one.hours),
                    _place(one.field),
                    DIFFERENCE_CLASSES.index(one.kind),
                    -one.count,
                    one.cause or Hypothesis(),
                ),
            )
        )

    def _in_pieces(self, signatures: pa.Table) -> pa.Table:
        """The signatures, each with the number of the piece in which it is judged."""
        if not signatures.num_rows:
            return signatures.append_column("piece", pa.array([], pa.int32()))
        days = pc.cast(signatures["session"], pa.int32()).to_numpy()
        symbols = pc.dictionary_encode(signatures["symbol"].combine_chunks()).indices.to_numpy()
        is_new = np.append(True, (days[1:] != days[:-1]) | (symbols[1:] != symbols[:-1]))
        starts = np.flatnonzero(is_new)
        pieces = self._pieces + starts // _PIECE_ROWS
        # Numbers without a gap: a group larger than a piece leaves some out.
        _, numbers = np.unique(pieces, return_inverse=True)
        of_group = (self._pieces + numbers).astype(np.int32)
        self._pieces = int(of_group[-1]) + 1
        column = np.repeat(of_group, np.diff(np.append(starts, len(days))))
        return signatures.append_column("piece", pa.array(column))

    def _keep(self, name: str, rows: pa.Table) -> None:
        with self._shown({"rows_to_keep": rows}):
            if name in self._kept:
                self._execute(f"insert into kept_{name} by name from rows_to_keep")
            else:
                self._execute(f"create temp table kept_{name} as from rows_to_keep")
                self._kept.add(name)

    @contextmanager
    def _piece(self, number: int, only_differing: bool = False) -> Iterator[None]:
        """Show the signatures of one piece, and what belongs to them."""
        same = "{0}.symbol = kept_signatures.symbol and {0}.session = kept_signatures.session"
        differing = (
            " and exists (from kept_differences where "
            + same.format("kept_differences")
            + " and kept_differences.bar = kept_signatures.bar)"
        )
        views = {
            "signatures": "select * exclude (piece) from kept_signatures"
            f" where piece = {number}{differing if only_differing else ''}",
            **{
                name: f"from kept_{name} where exists (from kept_signatures"
                f" where piece = {number} and {same.format(f'kept_{name}')})"
                for name in ("aggs", "differences")
            },
        }
        for name, sql in views.items():
            self._execute(f"create or replace temp view {name} as {sql}")
        try:
            yield
        finally:
            for name in views:
                self._execute(f"drop view {name}")

    @contextmanager
    def _shown(self, tables: Mapping[str, pa.Table]) -> Iterator[None]:
        for name, table in tables.items():
            self._connection.register(name, table)
        try:
            yield
        finally:
            for name in tables:
                self._connection.unregister(name)

    def _run(self, *names: str) -> pa.Table:
        """The rows of the last of these statements, each under its own name."""
        every_ns = self._spec.every_ns
        statements = self._folder.chain([(name, name) for name in names])
        return run(self._connection, statements, {"every_ns": every_ns})

    def _execute(self, sql: str) -> None:
        watched(self._connection, "the comparison", lambda: self._connection.execute(sql))

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return watched(
            self._connection, "the comparison", lambda: self._connection.execute(sql).fetchall()
        )

    def _number_of(self, name: str) -> int:
        ((number,),) = self._fetch(f"select count(*) from kept_{name}")
        return int(number)


@dataclass(frozen=True)
class _Candidate:
    """A rule that a difference is tried on.

    Attributes:
        hypothesis: what is judged: the causes found before it for the same fields are in it.
        cause: what is named.
        hours: None: all.
    """

    hypothesis: Hypothesis
    kind: str
    cause: Hypothesis
    hours: str | None
    fields: tuple[str, ...]


def _candidates(causes: Sequence[Cause], asked: Sequence[Hypothesis]) -> list[_Candidate]:
    """The rules that each difference is tried on, in turn: the causes found, then single traits.

    Of two that free a trade each, both are tried together too: such a trade carries both.
    """
    found = []
    standing: dict[tuple[str, str], Hypothesis] = {}
    for cause in causes:
        kind = _kind(cause.hypothesis)
        for rule in cause.rules:
            whole = standing.get((cause.hours, rule), Hypothesis()) | cause.hypothesis
            standing[cause.hours, rule] = whole
            way = BAR if len(cause.rules) > 1 else f"{BAR}_{rule}"
            fields = (*FIELDS[rule], *((way,) if cause.side == "prices" else ()))
            found.append(_Candidate(whole, kind, cause.hypothesis, cause.hours, fields))
    rest = [one for one in asked if len(one.parts) == 1 or (len(one.parts) == 2 and not one.barred)]
    order = {kind: place for place, kind in enumerate(_ORDER)}
    rest.sort(key=lambda one: (order.get(_kind(one), len(order)), len(one.parts)))
    found += [_Candidate(one, _kind(one), one, None, COMPARED) for one in rest]
    return found


def _kind(hypothesis: Hypothesis) -> str:
    """The class of a difference that this makes vanish."""
    (first, *_) = hypothesis.parts
    (trait,) = first.freed or first.barred
    return CLASSES.get(trait, "condition")


def _as_table(asked: Sequence[Hypothesis]) -> pa.Table:
    texts = pa.list_(pa.string())
    return pa.table(
        {
            "hypothesis": pa.array(range(len(asked)), pa.int32()),
            "barred": pa.array([one.barred for one in asked], texts),
            "freed": pa.array([one.freed for one in asked], texts),
        }
    )


def _place(name: str) -> int:
    return COMPARED.index(name)
