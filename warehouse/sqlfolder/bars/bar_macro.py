"""Bars in the catalog: table macros, made from the same statements that Python runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from warehouse.core.duckdb_connection import quoted
from warehouse.errors import SqlFileError
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.feature_file import MACRO_ARGUMENTS
from warehouse.sqlfolder.feature_macro import rows_of
from warehouse.sqlfolder.feature_select import complaint

_OF = ", ".join(MACRO_ARGUMENTS)
_SYMBOL, _FIRST, _LAST = MACRO_ARGUMENTS
_TABLES = frozenset({"sessions", "trade_conditions"})
"""Tables of the catalog that a statement may read."""
_HOURS = {"hours": "bar_hours(hours)"}
_ELIGIBLE = f"from eligible_trades_of({_OF}, form_t_sets_extended := {{}})"
_COUNTED = "kind in ('tick', 'volume', 'dollar') and excess <> 'drop'"


@dataclass(frozen=True)
class BarMacro:
    """A macro of bars.

    Attributes:
        description: what it gives, for the reference.
        arguments: beside the symbol and the sessions: name → default, as SQL.
        steps: relation → the statement of sql/bars that makes it, or a SELECT of these macros' own.
        values: what stands in a statement in the place of each of its `$parameters`.
    """

    description: str
    arguments: Mapping[str, str]
    steps: Mapping[str, str]
    values: Mapping[str, str] = field(default_factory=dict)
    rows: str = "select * exclude (is_bar)\nfrom bars\nwhere is_bar"

    def sql(self, name: str, folder: BarFolder) -> str:
        read = {
            one for step in self.steps.values() if " " not in step for one in folder[step].reads
        }
        # By its bare name it would be a relation of the WITH of who asks, where that has one so
        # called.
        tables = {one: f"select * from main.{one}" for one in sorted(read & _TABLES)}
        parts = [
            f"{relation} as (\n{self._select(step, folder)}\n)"
            for relation, step in {**tables, **self.steps}.items()
        ]
        text = ",\n".join(parts)
        return f"{self._head(name)}\nwith\n{text}\n{self.rows}\n)"

    def that_fails(self, name: str, problem: str) -> str:
        """A macro that says why there is none, also to who asks for no column, as count(*)."""
        where = f"error({quoted(problem)})::boolean"
        return f"{self._head(name)}\nselect null as problem\nwhere {where}\n)"

    def _head(self, name: str) -> str:
        given = [*MACRO_ARGUMENTS, *(f"{key} := {sql}" for key, sql in self.arguments.items())]
        return f"create or replace macro {name}({', '.join(given)}) as table ("

    def _select(self, step: str, folder: BarFolder) -> str:
        if " " in step:
            return step
        return re.sub(r"\$([a-z_]+)", lambda found: self.values[found[1]], folder[step].file.body)


MACROS: Mapping[str, BarMacro] = {
    "eligible_trades_of": BarMacro(
        "The trades of the tape, what each may do to a bar, and by which condition it may not.",
        {"form_t_sets_extended": "true"},
        {
            "trades": rows_of(
                f"trades_files_of({_SYMBOL})", f"trades_market_files({_OF})", f"{_FIRST}::date"
            ),
            "tape": "tape",
            "eligible": "eligible",
        },
        {"form_t_sets_extended": "form_t_sets_extended"},
        "from eligible",
    ),
    "bars_of": BarMacro(
        "Time bars.",
        {"every": "'1m'", "hours": "'regular'"},
        {"eligible": _ELIGIBLE.format("true"), "windowed": "time", "bars": "bars"},
        {"every_ns": "bar_length(every)", **_HOURS},
    ),
    "filled_bars_of": BarMacro(
        "Time bars, and where nothing was traded the last close carried forward.",
        {"every": "'1m'", "hours": "'regular'"},
        {
            "eligible": _ELIGIBLE.format("true"),
            "windowed": "time",
            "bars": "bars",
            "filled": "filled",
        },
        {"every_ns": "bar_length(every)", **_HOURS},
        "select * exclude (is_bar)\nfrom filled\nwhere is_bar",
    ),
    "day_bars_of": BarMacro(
        "Day bars with the official prices of the auctions.",
        {"hours": "'all'"},
        {
            "eligible": _ELIGIBLE.format("false"),
            "windowed": "day",
            "bars": "bars",
            "day_bars": "auctions",
        },
        _HOURS,
        "select * exclude (is_bar)\nfrom day_bars\nwhere is_bar",
    ),
    "counted_bars_of": BarMacro(
        "Tick, volume and dollar bars, imbalance and run bars: `kind` is what Python calls `by`.",
        {
            "kind": "'tick'",
            "every": "1000",
            "excess": "'next'",
            "span": "20",
            "hours": "'regular'",
        },
        {
            "eligible": _ELIGIBLE.format("true"),
            "measured": "measured",
            "counted": "counted",
            "ends": "ends",
            "cut": "cut",
            "windowed": (
                f"select * from counted where {_COUNTED}\n"
                f"union all by name\nselect * from cut where not ({_COUNTED})"
            ),
            "bars": "bars",
        },
        {
            "by": "bar_kind(kind)",
            "threshold": "bar_amount(kind, every)",
            "excess": "bar_excess(excess)",
            "span": "bar_span(span)",
            **_HOURS,
        },
    ),
}
"""Name → what it is; each may call those before it."""


def statements(folder: BarFolder) -> list[str] | None:
    """What `create` makes of a folder, as texts; None: one of its macros cannot be made."""
    try:
        return [macro.sql(name, folder) for name, macro in MACROS.items()]
    except SqlFileError:
        return None


def create(connection: duckdb.DuckDBPyConnection, folder: BarFolder) -> bool:
    """Make the macros of bars in a catalog that has what sql/catalog/bars.sql makes.

    One that cannot be made, as where a statement is the user's own and not what it should be, is
    made to say so to who calls it, and keeps nothing else from being published.

    Returns:
        Whether each could be made.
    """
    problem = None
    for name, macro in MACROS.items():
        try:
            if problem is None:
                connection.execute(macro.sql(name, folder))
        except SqlFileError as error:
            problem = str(error)
        except duckdb.Error as error:
            problem = f"{name} cannot be made of the statements of sql/bars: {complaint(error)}"
        if problem is not None:
            connection.execute(macro.that_fails(name, problem))
    return problem is None
