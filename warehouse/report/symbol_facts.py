"""What the report draws of one symbol: candles, gaps, spread, depth, marked trades, one bar.

Where there is more than a screen can show, the statements of sql/report draw it together, always
the same way, and say how: `of_…` is how many there were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from warehouse.core.calendar import NEW_YORK, midnight_ns, today, trading_hours
from warehouse.core.config import Config
from warehouse.core.paths import Layout
from warehouse.errors import NoDataError
from warehouse.read.availability import near_symbols
from warehouse.read.bars.answers import BarAnswers
from warehouse.read.query.answers import QueryAnswers
from warehouse.report.answers import Row
from warehouse.report.bar_facts import may_set, telling
from warehouse.report.collect import Facts
from warehouse.sqlfolder.files import SqlFolder, answer_of
from warehouse.text import count, some

MOST_CANDLES = 480
MOST_TRADES = 2_000
"""Points that a chart as wide as a screen can still show apart."""
MOST_GAPS = 150
QUOTE_MINUTES = 5

_MOST_MINUTE_SESSIONS = 23
"""A month. Of a longer time the candles are days."""
_SLICES = 500
_NAMED = 4
_MINUTE_NS = 60 * 1_000_000_000


def added(
    facts: Facts,
    queries: QueryAnswers,
    bars: BarAnswers,
    layout: Layout,
    config: Config,
    symbols: Sequence[str],
) -> Facts:
    """The facts, with what is drawn of each symbol over their range of sessions.

    Raises:
        NoDataError: a symbol is unknown to the whole warehouse.
        CorruptPartitionError, StorageError: its files cannot be read.
    """
    # Where nothing is known of any session, the question itself says that nothing is there.
    start = date.fromisoformat(facts.start) if facts.start else today()
    end = date.fromisoformat(facts.end) if facts.end else start
    held = _held(queries, symbols, start, end)
    sql = SqlFolder(config.sql_dir(layout.root))
    drawn = [
        _Symbol(queries, bars, sql, symbol, start, end, sessions).facts(
            config.validation.max_time_gap_minutes
        )
        for symbol, sessions in held.items()
    ]
    return replace(facts, symbols=drawn)


def _held(
    queries: QueryAnswers, symbols: Sequence[str], start: date, end: date
) -> dict[str, dict[str, int]]:
    """How many sessions of the range there are of each symbol's data types."""
    asked = {"symbols": list(symbols), "start": start, "end": end}
    rows = queries.query(_SESSIONS, "arrow", asked)
    found: dict[str, dict[str, int]] = {symbol: {} for symbol in symbols}
    for row in rows.to_pylist():
        found[row["symbol"]][row["data_type"]] = row["sessions"]
    unknown = [symbol for symbol in found if not found[symbol]]
    if unknown:
        known = queries.query("select distinct symbol from partitions", "arrow", {})
        names = known["symbol"].to_pylist()
        near = dict.fromkeys(
            one for symbol in unknown[:_NAMED] for one in near_symbols(symbol, names)
        )
        hint = "`warehouse status` says what there is"
        hint = f"near it: {some(near, _NAMED)}" if near else hint
        raise NoDataError(
            f"a report on {some(map(repr, unknown), _NAMED)}",
            "no such symbol in the warehouse (case counts)",
            hint,
            unknown,
        )
    return found


class _Symbol:
    """One symbol's answers to the statements of sql/report."""

    def __init__(
        self,
        queries: QueryAnswers,
        bars: BarAnswers,
        sql: SqlFolder,
        symbol: str,
        start: date,
        end: date,
        held: Mapping[str, int],
    ) -> None:
        self._queries, self._bar_answers = queries, bars
        self._sql, self._held = sql, held
        hours = trading_hours(start, end)
        self._days = len(hours)
        self._values: Row = {
            "symbol": symbol,
            "start": start,
            "end": end,
            "sessions": [each.session for each in hours],
            "opens": [each.open_ns for each in hours],
            "closes": [each.close_ns for each in hours],
        }

    def facts(self, gap_minutes: float) -> Row:
        return {
            "symbol": self._values["symbol"],
            "sessions": dict(self._held),
            **self._bars(gap_minutes),
            "quoted": self._quoted(),
            "trades": self._trades(),
            "bar": telling(self._ask, self._bar_answers, self._values["symbol"]),
        }

    def _ask(self, name: str, **given: Any) -> list[Row]:
        file = self._sql.or_shipped(f"report/{name}")
        answer = answer_of(
            file,
            {**self._values, **given},
            lambda sql, values: self._queries.query(sql, "arrow", values),
        )
        return [] if answer is None else answer.to_pylist()

    def _bars(self, gap_minutes: float) -> Row:
        """Candles of minutes, or of days where minutes are too many or tell too little."""
        minutes: list[Row] = []
        days: list[Row] = []
        of_minutes, of_days = self._held.get("minute_aggs", 0), self._held.get("day_aggs", 0)
        if of_minutes and self._days <= _MOST_MINUTE_SESSIONS and 2 * of_minutes >= of_days:
            minutes = self._ask("minute_candles", most=MOST_CANDLES)
        if minutes:
            return {
                "candles": _minute_candles(minutes),
                "gaps": _minute_gaps(
                    self._ask("minute_gaps", minutes=gap_minutes, most=MOST_GAPS), gap_minutes
                ),
            }
        if of_days:
            days = self._ask("day_candles", most=MOST_CANDLES)
        if not days:
            return {"candles": None, "gaps": None}
        gaps = self._ask("day_gaps", most=MOST_GAPS)
        return {
            "candles": {
                "data_type": "day_aggs",
                "width": days[0]["unit"],
                "of_bars": sum(row["bars"] for row in days),
                "rows": [
                    {
                        "start": row["session"].isoformat(),
                        **{key: row[key] for key in (*_PRICES, "volume", "bars")},
                    }
                    for row in days
                ],
            },
            "gaps": {
                "longer_than_minutes": None,
                "of_gaps": gaps[0]["of_gaps"] if gaps else 0,
                "rows": [
                    {
                        "session": row["session"].isoformat(),
                        "start": None,
                        "end": None,
                        "minutes": None,
                        "is_session": True,
                    }
                    for row in gaps
                ],
            },
        }

    def _quoted(self) -> Row | None:
        if not self._held.get("quotes"):
            return None
        rows = self._ask("quoted", minutes=QUOTE_MINUTES)
        if not rows:
            return None
        # Sessions are taken together; the clock is that of a whole day from its open on.
        opens = midnight_ns(self._values["start"]) + int(9.5 * 3_600) * 1_000_000_000
        return {
            "minutes": QUOTE_MINUTES,
            "rows": [
                {
                    "time": _clock(opens + row["slice"] * QUOTE_MINUTES * _MINUTE_NS)[11:16],
                    **{name: value for name, value in row.items() if name != "slice"},
                }
                for row in rows
            ],
        }

    def _trades(self) -> Row | None:
        if not self._held.get("trades"):
            return None
        rows = self._ask("marked_trades", most=MOST_TRADES, slices=_SLICES)
        if not rows:
            return None
        kinds: dict[str, Row] = {}
        for row in rows:
            kind = kinds.setdefault(
                _may_set(row),
                {"trades": row["of_trades"], "shares": row["of_shares"], "drawn": 0},
            )
            kind["drawn"] += 1
        return {
            "of_trades": sum(kind["trades"] for kind in kinds.values()),
            "slice_seconds": rows[0]["slice_ns"] / 1_000_000_000,
            "kinds": [
                {"may_set": name, **kind}
                for name, kind in sorted(kinds.items(), key=lambda item: -item[1]["trades"])
            ],
            "rows": [
                {
                    "time": _clock(row["trade_ns"]),
                    "price": row["price"],
                    "size": row["size"],
                    "conditions": row["conditions"],
                    "may_set": _may_set(row),
                }
                for row in rows
            ],
        }


_PRICES = ("open", "high", "low", "close")


def _may_set(row: Row) -> str:
    return may_set(row["sets_high_low"], row["sets_open_close"], row["sets_volume"])


def _minute_candles(rows: Sequence[Row]) -> Row:
    minutes = rows[0]["minutes"]
    return {
        "data_type": "minute_aggs",
        "width": count(minutes, "minute"),
        "of_bars": sum(row["bars"] for row in rows),
        "rows": [
            {
                "start": _clock(row["start_ns"]),
                **{key: row[key] for key in (*_PRICES, "volume", "bars")},
            }
            for row in rows
        ],
    }


def _minute_gaps(rows: Sequence[Row], longer_than: float) -> Row:
    return {
        "longer_than_minutes": longer_than,
        "of_gaps": rows[0]["of_gaps"] if rows else 0,
        "rows": [
            {
                "session": row["session"].isoformat(),
                "start": _clock(row["start_ns"]),
                "end": _clock(row["end_ns"]),
                "minutes": row["minutes"],
                "is_session": row["is_session"],
            }
            for row in sorted(rows, key=lambda row: row["start_ns"])
        ],
    }


def _clock(instant_ns: int) -> str:
    """An instant as New York's clock shows it, with its offset and as many digits as it needs."""
    seconds, nanoseconds = divmod(instant_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, NEW_YORK)
    offset = moment.isoformat()[19:]
    digits = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}{offset}"


_SESSIONS = """
    with entries as (
        select symbol, data_type, unnest(sessions) as entry
        from partitions
        where list_contains($symbols, symbol)
    )
    select
        symbol,
        data_type,
        count(*) filter (entry.session between $start::date and $end::date) as sessions
    from entries
    group by symbol, data_type
    order by symbol, data_type
"""
