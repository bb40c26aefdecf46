"""The facade: what a backtest imports.

from warehouse import Warehouse

with Warehouse("path/to/warehouse") as wh:
    trades = wh.trades("AAPL", "2024-01-02", "2024-01-31")
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload
from weakref import finalize

import pandas as pd

from warehouse.bars.adjustment import Adjust
from warehouse.core import config as configuration
from warehouse.core.calendar import Moment, parse_span, session_at
from warehouse.core.datatypes import with_bars
from warehouse.core.metrics import PipelineMetrics
from warehouse.core.paths import absolute
from warehouse.core.process import is_ending, resident_bytes
from warehouse.core.representation import Face
from warehouse.errors import NoDataError, RequestError
from warehouse.executors.spark_table import spark_table
from warehouse.objects.disk_cache import Brought
from warehouse.read import availability
from warehouse.read.answers import Answers
from warehouse.read.arguments import (
    BarOptions,
    Form,
    Freq,
    LoadOptions,
    Missing,
    Question,
    StreamOptions,
    choice,
    kind_of,
    kinds_of,
    named,
    question,
    run_request,
    seconds_of,
    symbols_of,
)
from warehouse.read.bars.answers import BarAnswers
from warehouse.read.bars.question import question as bar_question
from warehouse.read.bars.question import window
from warehouse.read.bars.reconcile import ReconcileAnswers
from warehouse.read.bars.reconcile import asked as reconciled
from warehouse.read.bars.reconciliation import ReconcileReport
from warehouse.read.bars.vwap import VwapAnswers, with_vwap
from warehouse.read.cache import FrameCache
from warehouse.read.coverage import coverage as coverage_of
from warehouse.read.features.question import FeatureAnswers
from warehouse.read.frames import check_form
from warehouse.read.map.answers import MapAnswers
from warehouse.read.map.question import By
from warehouse.read.map.question import question as map_question
from warehouse.read.market.answers import MarketAnswers
from warehouse.read.market.panel import cross_section, panel
from warehouse.read.query.answers import QueryAnswers
from warehouse.read.snapshot import Snapshot
from warehouse.read.stream import stream as streaming
from warehouse.sqlfolder.feature import FREQUENCIES
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.text import expanded, shell_word

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from pandas.api.typing import NaTType
    from pyspark.sql import DataFrame as SparkDataFrame
    from pyspark.sql import SparkSession

    from warehouse.core.config import PartitionLayout
    from warehouse.core.paths import Layout
    from warehouse.maintenance.convert_layout import LayoutReport
    from warehouse.maintenance.prune import PruneReport
    from warehouse.maintenance.rebuild_stale import ChangedReport
    from warehouse.maintenance.repair import RepairReport
    from warehouse.maintenance.verify import VerifyReport
    from warehouse.pipeline.pipeline import Pipeline
    from warehouse.pipeline.reference_load import ReferenceReport
    from warehouse.pipeline.report import RunReport
    from warehouse.read.models import Aggregate, Quote, Trade
    from warehouse.read.stream.stream import Stream
    from warehouse.report.collect import Facts
    from warehouse.validation.validate import ValidationReport

T = TypeVar("T")

_TABLES = ("partitions", "source_files", "runs", "findings", "reconciliations", "features")


class Warehouse(Face):
    """One warehouse. Close it, or use `with`; safe to use from many threads, and in processes.

    A child of a fork opens its own files and keeps what the cache holds; a pickle opens the
    warehouse again. A fork waits until no other thread's answer is under way, for five seconds at
    most. Beside what takes longer, such as an update in a thread, spawn rather than fork: a child
    may wait for ever for a lock that was held inside DuckDB.

    Every answer is of one generation: a publish that goes on at the same time is in it whole or
    not at all, and the next question sees it. Answers are kept in memory (`cache`) within
    `storage.max_cache_memory_gb`; what a caller does to its frame never shows in another answer.

    Args:
        path: a folder that holds config/data_config.yaml (or lies in one that does), or such a
            file itself. Of a file that is not in a folder `config`, its own folder is the root.

    Where `storage.cache_dir` is a bucket, what was published there last is brought when it is
    opened, and looked for again by questions that come half a minute later, or more. Without the
    bucket it answers from what is here.

    Raises:
        RequestError: `path` is no path.
        NotAWarehouseError: there is none.
        ConfigError: its configuration cannot be used.
        ObjectStorageError: nothing is here, and the bucket cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
            raise RequestError("path", path, "it must be that of a warehouse: a str or a Path")
        root, self._file = configuration.locate(absolute(expanded(path)))
        self._config = configuration.load(self._file)
        configuration.check_paths(root, self._file, self._config)
        self._layout = self._config.layout(root)
        if self._layout.tier is not None:
            from warehouse.store.tier.pull import refresh  # others need not wait for it

            refresh(self._layout)
        self._answers = Answers(self._layout, self._config)
        self._queries = QueryAnswers(self._answers)
        self._market = MarketAnswers(self._answers)
        self._maps = MapAnswers(self._answers)
        folder = FeatureFolder(self._config.sql_dir(root))
        self._features = FeatureAnswers(self._answers, folder)
        self._bars = BarAnswers(self._answers, self._config.sql_dir(root))
        self._vwaps = VwapAnswers(self._answers, self._bars)
        self._reconcile = ReconcileAnswers(self._answers, self._config.sql_dir(root))
        # Whoever forgets to close it gets no noise from DuckDB at the end of the process.
        self._finalizer = finalize(self, self._answers.close)

    def _face(self) -> dict[str, Any]:
        return {"": self._layout.root, "closed": None if self._finalizer.alive else True}

    def __reduce__(self) -> tuple[type[Warehouse], tuple[str]]:
        """A pickle opens the same warehouse again, wherever it is taken out."""
        return type(self), (str(self._file),)

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog and let go of the cache. Frames handed out live on.

        What another thread is asking is ended, by RequestError there: it is closed. An update, or
        what else writes, goes on.
        """
        self._finalizer()

    @property
    def cache(self) -> FrameCache:
        """The memory cache: `cache.stats`, `cache.clear()`."""
        return self._answers.cache

    @property
    def metrics(self) -> PipelineMetrics:
        """What the last run that wrote has done and cost, and this process's cache and memory."""
        sql = "select * from runs order by started_at desc limit 1"
        last = self._read(lambda snapshot: snapshot.records(sql))
        return PipelineMetrics.of(
            last[0] if last else {}, self.cache.stats.hit_rate, resident_bytes()
        )

    @property
    def exchanges(self) -> dict[int, str]:
        """The exchanges' names by the vendor's id: MIC, or where there is none the plain name."""
        facts = "select id, coalesce(mic, name) from exchanges"
        return dict(
            self._read(lambda snapshot: snapshot.once("exchanges", lambda: snapshot.fetch(facts)))
        )

    @overload
    def trades(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["pandas"] = "pandas",
        **options: Unpack[LoadOptions],
    ) -> pd.DataFrame: ...

    @overload
    def trades(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["polars"],
        **options: Unpack[LoadOptions],
    ) -> pl.DataFrame: ...

    @overload
    def trades(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["arrow"],
        **options: Unpack[LoadOptions],
    ) -> pa.Table: ...

    @named(question)
    def trades(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Form = "pandas",
        **options: Unpack[LoadOptions],
    ) -> Any:
        """Trades; see `load` for the arguments and the answer."""
        return self._load("trades", symbols, start, end, to, options)

    @overload
    def quotes(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["pandas"] = "pandas",
        **options: Unpack[LoadOptions],
    ) -> pd.DataFrame: ...

    @overload
    def quotes(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["polars"],
        **options: Unpack[LoadOptions],
    ) -> pl.DataFrame: ...

    @overload
    def quotes(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["arrow"],
        **options: Unpack[LoadOptions],
    ) -> pa.Table: ...

    @named(question)
    def quotes(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Form = "pandas",
        **options: Unpack[LoadOptions],
    ) -> Any:
        """Changes of the national best bid and offer; see `load`."""
        return self._load("quotes", symbols, start, end, to, options)

    @overload
    def aggs(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        freq: Freq = "minute",
        *,
        vwap: bool = False,
        to: Literal["pandas"] = "pandas",
        **options: Unpack[LoadOptions],
    ) -> pd.DataFrame: ...

    @overload
    def aggs(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        freq: Freq = "minute",
        *,
        vwap: bool = False,
        to: Literal["polars"],
        **options: Unpack[LoadOptions],
    ) -> pl.DataFrame: ...

    @overload
    def aggs(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        freq: Freq = "minute",
        *,
        vwap: bool = False,
        to: Literal["arrow"],
        **options: Unpack[LoadOptions],
    ) -> pa.Table: ...

    @named(question)
    def aggs(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        freq: Freq = "minute",
        *,
        vwap: bool = False,
        to: Form = "pandas",
        **options: Unpack[LoadOptions],
    ) -> Any:
        """The vendor's bars, of a "minute" or a "day"; see `load`.

            wh.aggs("AAPL", "2024-01-02", "2024-01-31", freq="day", vwap=True)

        A bar's stamp is its first instant, that of a day midnight in New York; `vwap` is NaN, for
        the vendor's files have none.

        Args:
            vwap: fill it from the trades that count in each bar's window by the rules of their
                conditions, of all hours: dollars a share, adjusted as prices are. NaN where there
                are no trades of the symbol's session, or none that counts. The column is in the
                answer, last where `columns` does not name it. The pandas frame bears in `attrs` the
                `unknown_conditions`, as that of `bars` does, and in its `fingerprint` the trades.

        Raises:
            SqlFileError: a file of sql/bars is not what it should be, or fails on these trades.
        """
        kind = FREQUENCIES[choice("freq", freq, FREQUENCIES)]
        asked = with_vwap(question(kind, symbols, start, end, to=to, **options), vwap)
        return self._vwaps.load(asked) if vwap else self._loaded(asked)

    @overload
    def bars(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        every: str | float = "1m",
        to: Literal["pandas"] = "pandas",
        **options: Unpack[BarOptions],
    ) -> pd.DataFrame: ...

    @overload
    def bars(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        every: str | float = "1m",
        to: Literal["polars"],
        **options: Unpack[BarOptions],
    ) -> pl.DataFrame: ...

    @overload
    def bars(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        every: str | float = "1m",
        to: Literal["arrow"],
        **options: Unpack[BarOptions],
    ) -> pa.Table: ...

    @named(bar_question)
    def bars(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        every: str | float = "1m",
        to: Form = "pandas",
        **options: Unpack[BarOptions],
    ) -> Any:
        """Bars built from the trades by the rules of their sale conditions.

            wh.bars(["AAPL", "MSFT"], "2024-01-02", "2024-01-31", every="5m")

        A trade sets high and low, sets open and close, and counts in the volume each only where
        all of its conditions allow just that (`trade_conditions`). `aggs` has the vendor's bars.

        Args:
            symbols, start, end, columns, to, tz, index, missing: as for `load`. A bar is in the
                answer where it lies wholly within [start, end); it does not depend on `start`.
            adjust, as_of, follow_renames: as for `load`. Dollars are multiplied by dividends alone.
                What fills a bar of shares or dollars are adjusted ones. `unbarred` is of what bars
                are built from.
            every: the length of a bar, "1s" to "1h" and longer, or "1d". The grid begins at the
                open, at 04:00 before it and at the close after it; where it does not fit, the last
                bar of each is short, and says so in `is_short`.
            hours: "regular" (09:30 to the close, half-days too), "extended" (before and after), or
                "all"; None: all for "1d", as the day's bar has it, else regular. By the time of
                the trade alone: the closing auction is printed after the close.
            fill: windows without a bar get the session's last close, and no volume; `is_filled`
                tells them. Never from a later price, and not before the session's first bar.

        Returns:
            `timestamp` is a bar's first instant (of "1d" midnight in New York), `end_timestamp` the
            first after it: there the bar is known. `volume`, `trades`, `dollar_volume` and `vwap`
            (dollars a share, NaN without volume) are of the trades that count. What each rule kept
            out of the bar is in `high_low_barred_trades` and the like. A day's bar has the official
            prices of the listing exchange's auctions. The pandas frame bears in `attrs` its
            `fingerprint`, in `unbarred` what was traded in windows that have no bar, and in
            `unknown_conditions` codes that the table does not have, with their trades.

        Raises:
            RequestError, NoDataError, TooLargeError, CorruptPartitionError: as for `load`.
            SqlFileError: a file of sql/bars is not what it should be, or fails on these trades.
        """
        return self._bars.load(bar_question(symbols, start, end, every=every, to=to, **options))

    @named()
    def explain_bar(
        self, symbol: str, at: Moment, *, every: str = "1m", to: Form = "pandas", tz: str = "UTC"
    ) -> Any:
        """Why a bar is what it is: every trade of its window, and what each was allowed to do.

            wh.explain_bar("AAPL", "2024-01-02 10:31")

        Args:
            at: an instant anywhere in the window, as `load` reads one; of every="1d" the session.
            every: the length of the bar, as for `bars`.
            to, tz: as for `load`.

        Returns:
            The trades in the order of the tape: what each may do (`sets_high_low`,
            `sets_open_close`, `counts`), the condition that forbids it (`…_barred_by`), and what it
            set (`sets`: open, high, low, close). Then those of the window that are no part of the
            tape, with the reason in `left_out`. The pandas frame bears in `attrs` the `window`
            (first instant, and the first after it), the `bar` by column (None: there is none), and
            `text`, which says it in words.

        Raises:
            RequestError, NoDataError, CorruptPartitionError: as for `load`.
            SqlFileError: a file of sql/bars is not what it should be, or fails on these trades.
        """
        return self._bars.explain(window(symbol, at, every), to, tz)

    @named()
    def reconcile(
        self,
        data_types: str | Sequence[str] = ("minute_aggs", "day_aggs"),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        keep: bool = False,
        wait: float = 0,
    ) -> ReconcileReport:
        """Hold our bars, built from the trades, against the vendor's, and say why they differ.

            print(wh.reconcile("minute_aggs", "2024-01-02", "2024-01-31", ["AAPL"]))

        `minute_aggs` are held against our minutes of all hours, those of the regular hours and the
        others told apart, `day_aggs` against our days, from midnight to midnight. Prices and
        volumes that agree in six decimals are equal. Every difference has a class. Changes of the
        rules are tried, those that people state of the vendor's bars, every condition, every pair:
        which makes most differences vanish is named as the cause, with its rivals.

        Args:
            data_types: of the vendor's bars, one or both.
            start, end: sessions, inclusive; None: the first and the last there are.
            symbols: one or several; None: all that have trades.
            keep: the catalog's table `reconciliations` keeps the result, as it does of the command.
            wait: seconds to wait for another process that writes, to keep it.

        Returns:
            A report that prints as a table with the causes in words; `to_dict` gives all of it.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: there are no trades, or a symbol is unknown.
            TooLargeError, CorruptPartitionError: as for `load`.
            SqlFileError: a file of sql/bars is not what it should be, or fails on these trades.
            LockedError: another process is writing to the warehouse; nothing is kept.
        """
        asked = reconciled(data_types, start, end, symbols)
        report = self._reconcile.reconcile(asked)
        if keep:
            self._pipeline(wait).keep_reconciliation(report.rows(asked.symbols))
        return report

    @overload
    def load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["pandas"] = "pandas",
        **options: Unpack[LoadOptions],
    ) -> pd.DataFrame: ...

    @overload
    def load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["polars"],
        **options: Unpack[LoadOptions],
    ) -> pl.DataFrame: ...

    @overload
    def load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Literal["arrow"],
        **options: Unpack[LoadOptions],
    ) -> pa.Table: ...

    @named(question)
    def load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Form = "pandas",
        **options: Unpack[LoadOptions],
    ) -> Any:
        """Rows of one data type, as a new frame.

        Args:
            data_type: trades, quotes, minute_aggs or day_aggs; or bars that are kept: `bars_1m`.
            symbols: one or several, case-sensitive; one named twice counts once. "*": all that
                have rows, in byte order (a symbol of that very name is asked for as ["*"]).
            start: a session or an instant, inclusive. A day is a session: a date, "YYYY-MM-DD", and
                any midnight without a zone (a Timestamp, a datetime64, a label of an exchange's
                calendar or of our column `session`). Any other time (a datetime, or "YYYY-MM-DD
                HH:MM[:SS]") is an instant: naive it is New York time, aware what it says.
            end: likewise; a session is included whole, an instant is not. So `end` = the day after
                takes two sessions. None: the end of the session of `start`.
            columns: which of the data type's, in this order; None: all in theirs.
            to: "pandas" (DataFrame), "polars" (DataFrame) or "arrow" (Table).
            tz: the time zone that stamps are shown in.
            index: None, "timestamp" or ("timestamp", "symbol"): columns that become the index of a
                pandas frame. By both, rows stand in their order, what shares them in the tape's.
            categories: True, or columns of text or small integers: they become categories (in
                polars text alone). True: symbol, exchanges, conditions, indicators.
            downcast: numbers take the narrowest type that holds each of them exactly: integers stay
                integers, others become float32 where none of them changes by it.
            missing: "raise" where the warehouse does not have all of it, or "ignore" to get what
                is there: a frame without rows has the same columns and types.
            adjust: "none": prices and sizes as they were traded; "splits": those before a split in
                shares of after it; "all": prices before a dividend less its part, too. Prices
                (`price`, `open` to `close`, `vwap`, bid and ask) and sizes (`size`, `volume`, bid
                and ask) are multiplied, nothing else; what is stored stays as it was traded.
            as_of: the last session whose splits and dividends count, as a session or an instant in
                it; it does not lie before the end of what is asked. None: the session of `end`, so
                that nothing after it is looked at.
            follow_renames: the rows of the security that bears the symbol in the session of `end`
                (where none does: of the last that did) under each symbol that it had, as one
                series; a row's `symbol` stays as it was traded. Rows of others that bore the symbol
                are left out. It is not for "*".

        Returns:
            The rows symbol by symbol in the order asked, of each in the order of the tape
            (timestamp, sequence number), numbered from 0. Stamps are `datetime64[ns, tz]`, exact;
            `session` is the trading day's label, a midnight without a zone (`datetime64[s]`);
            text is `str`; prices are dollars and sizes shares, as float64. A pandas frame bears in
            `attrs["fingerprint"]` what stands behind it (see `fingerprint`), and where it was made
            smaller in `attrs["memory"]` the bytes it takes, "now", and "plain".

        Raises:
            TooLargeError: it would not fit into memory.
            RequestError: an argument is not one of the things it may be.
            NoDataError: a symbol is unknown or has no rows of the data type, trading days of the
                span were never ingested, or all rows that a symbol has in it were rejected; the
                error says what there is and which command gets the rest.
            CorruptPartitionError: a file's bytes are not those that were written.
        """
        return self._load(data_type, symbols, start, end, to, options)

    def _load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None,
        to: Form,
        options: LoadOptions,
    ) -> Any:
        return self._loaded(question(data_type, symbols, start, end, to=to, **options))

    def _loaded(self, asked: Question) -> Any:
        return self._answers.load(asked) if asked.symbols else self._market.load(asked)

    @overload
    def cross_section(
        self,
        data_type: str,
        at: Moment,
        *,
        columns: Sequence[str] | None = None,
        to: Literal["pandas"] = "pandas",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
    ) -> pd.DataFrame: ...

    @overload
    def cross_section(
        self,
        data_type: str,
        at: Moment,
        *,
        columns: Sequence[str] | None = None,
        to: Literal["polars"],
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
    ) -> pl.DataFrame: ...

    @overload
    def cross_section(
        self,
        data_type: str,
        at: Moment,
        *,
        columns: Sequence[str] | None = None,
        to: Literal["arrow"],
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
    ) -> pa.Table: ...

    @named()
    def cross_section(
        self,
        data_type: str,
        at: Moment,
        *,
        columns: Sequence[str] | None = None,
        to: Form = "pandas",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
    ) -> Any:
        """One session (or minute) across all symbols: a row for each that has a bar.

        Args:
            data_type: day_aggs, minute_aggs, or kept bars (`bars_5m`).
            at: of day_aggs and bars_1d the session; of minute_aggs an instant in the minute that
                the bar begins at, of other kept bars the instant. As `start` of `load`.
            columns: which of the data type's, in this order; None: all in theirs.
            to, missing, adjust, as_of: as in `load`. As of its own session a session is as traded:
                name a later one.

        Returns:
            Rows in the byte order of the symbols, which are the index of a pandas frame, and the
            first column of others. The types are those of `load`.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: the session was never ingested; or no kept bar begins at that moment.
            CorruptPartitionError: a file's bytes are not those that were written.
        """
        asked = cross_section(
            data_type, at, columns=columns, to=to, missing=missing, adjust=adjust, as_of=as_of
        )
        return self._market.load(asked, by_symbol=to == "pandas")

    @overload
    def panel(
        self,
        data_type: str,
        column: str,
        start: Moment,
        end: Moment | None = None,
        *,
        symbols: str | Sequence[str] = "*",
        to: Literal["pandas"] = "pandas",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
    ) -> pd.DataFrame: ...

    @overload
    def panel(
        self,
        data_type: str,
        column: str,
        start: Moment,
        end: Moment | None = None,
        *,
        symbols: str | Sequence[str] = "*",
        to: Literal["polars"],
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
    ) -> pl.DataFrame: ...

    @overload
    def panel(
        self,
        data_type: str,
        column: str,
        start: Moment,
        end: Moment | None = None,
        *,
        symbols: str | Sequence[str] = "*",
        to: Literal["arrow"],
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
    ) -> pa.Table: ...

    @named()
    def panel(
        self,
        data_type: str,
        column: str,
        start: Moment,
        end: Moment | None = None,
        *,
        symbols: str | Sequence[str] = "*",
        to: Form = "pandas",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
    ) -> Any:
        """One column of bars as a matrix: what a vectorised backtest wants.

        Args:
            data_type: day_aggs, minute_aggs, or kept bars (`bars_5m`).
            column: one of its columns of numbers: close, volume.
            start, end: as in `load`.
            symbols: the columns, in this order; "*": all that have a bar in the span.
            to, missing, adjust, as_of, follow_renames: as in `load`. The column of a symbol that is
                followed bears the name that was asked for.

        Returns:
            A row for each session (of minute_aggs and kept bars: for each stamp) in which one of
            the symbols has a bar, ascending; a column of float64 for each symbol, of "*" in byte
            order; NaN where a symbol has no bar. Sessions, or stamps, are the index of a pandas
            frame, and the first column of others. A session's label is a midnight without a zone.

        Raises:
            TooLargeError: it would not fit into memory.
            RequestError: an argument is not one of the things it may be.
            NoDataError: trading days of the span were never ingested, or a symbol that is
                named is unknown.
            CorruptPartitionError: a file's bytes are not those that were written.
        """
        asked = panel(
            data_type,
            column,
            start,
            end,
            symbols=symbols,
            to=to,
            missing=missing,
            adjust=adjust,
            as_of=as_of,
            follow_renames=follow_renames,
        )
        return self._market.panel(asked)

    @named(question)
    def fingerprint(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        to: Form = "pandas",
        vwap: bool = False,
        **options: Unpack[LoadOptions],
    ) -> str:
        """One short id of everything that stands behind what `load` would answer.

        The arguments are those of `load`, and the id that which its pandas frame bears in
        `attrs["fingerprint"]`: of what is asked, of the content of the partitions that may hold it
        (with the vendor's files and the SQL and tables that made them), and of this library's
        version. Equal ids mean equal frames, in whichever warehouse; a restated row, or any other
        change to one of the partitions, makes another id; so does a split or a dividend that
        changes the answer, and no other. Nothing is read but the catalog.

        Args:
            vwap: of minute_aggs and day_aggs: the id of the answer of `aggs` with it, which rests
                on trades, on the table of their conditions and on sql/bars, too.
        """
        asked = with_vwap(question(data_type, symbols, start, end, to=to, **options), vwap)
        if vwap:
            return self._vwaps.fingerprint(asked)
        answers = self._answers if asked.symbols else self._market
        return answers.fingerprint(asked)

    @named()
    def coverage(
        self,
        data_types: str | Sequence[str],
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
    ) -> pd.DataFrame:
        """What of a question is there, and why the rest is not; `coverage_report` says it.

        Args:
            data_types: one or several.
            symbols, start, end: as for `load`; of instants, their sessions.

        Returns:
            A row for each data type, session of the exchange up to today, and symbol, in this
            order: `data_type`, `session`, `symbol`, `state` (see `read.coverage.STATES`: "present",
            "no_rows", "not_ingested", …), `rows`, and `problem`, which is what went wrong with the
            session's file, how many of the symbol's rows were rejected, and why, or which symbols
            are near one that nobody knows.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: nothing was ever ingested.
        """
        kinds, names, span = kinds_of(data_types), symbols_of(symbols), parse_span(start, end)
        return self._read(
            lambda snapshot: coverage_of(snapshot, kinds, names, span.first, span.last)
        )

    @overload
    def stream(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_types: str | Sequence[str] = ("trades", "quotes"),
        *,
        to: Literal["arrow"] = "arrow",
        **options: Unpack[StreamOptions],
    ) -> Stream: ...

    @overload
    def stream(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_types: str | Sequence[str] = ("trades", "quotes"),
        *,
        to: Literal["rows"],
        **options: Unpack[StreamOptions],
    ) -> Iterator[Trade | Quote | Aggregate]: ...

    @named(streaming.question)
    def stream(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_types: str | Sequence[str] = ("trades", "quotes"),
        *,
        to: Literal["arrow", "rows"] = "arrow",
        **options: Unpack[StreamOptions],
    ) -> Any:
        """Rows of many symbols and data types in the order of time, in memory that is bounded.

        The order is that of `warehouse.stream`: (timestamp, symbol, data type, sequence number).

        Args:
            symbols, start, end, tz, missing, adjust, as_of, follow_renames: as for `load`.
            data_types: one or several.
            columns: as for `load`; of several data types any that one of them has.
            batch_rows: rows of a batch, 1 to 1,000,000; the last has what is left.
            to: "arrow" or "rows".

        Returns:
            A `stream.Stream` of record batches, or an iterator of `Trade`, `Quote` and `Aggregate`
            with the exchanges' names. Batches of several data types begin with a column `type`, and
            have nulls for what a data type does not have.

        Raises:
            RequestError: as for `load`, or so many symbols do not fit into the memory.
            NoDataError: as for `load`.
            CorruptPartitionError, SupersededError: in mid-stream, after all rows before it; a
                publish replaced a partition before its turn came, and `resume` says where to begin
                again.
        """
        asked = streaming.question(symbols, start, end, data_types, to=to, **options)
        names = self.exchanges if asked.form == "rows" else {}
        return streaming.begin(self._answers.snapshots, asked, names)

    @overload
    def map(
        self,
        function: Callable[[pd.DataFrame], Any],
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_type: str = "trades",
        *,
        by: By = "symbol",
        to: Literal["pandas"] = "pandas",
        **options: Unpack[LoadOptions],
    ) -> pd.DataFrame: ...

    @overload
    def map(
        self,
        function: Callable[[pl.DataFrame], Any],
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_type: str = "trades",
        *,
        by: By = "symbol",
        to: Literal["polars"],
        **options: Unpack[LoadOptions],
    ) -> pl.DataFrame: ...

    @overload
    def map(
        self,
        function: Callable[[pa.Table], Any],
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_type: str = "trades",
        *,
        by: By = "symbol",
        to: Literal["arrow"],
        **options: Unpack[LoadOptions],
    ) -> pa.Table: ...

    @named(question)
    def map(
        self,
        function: Callable[[Any], Any],
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        data_type: str = "trades",
        *,
        by: By = "symbol",
        to: Form = "pandas",
        **options: Unpack[LoadOptions],
    ) -> Any:
        """What a function of yours makes of each symbol's rows, or of each session's.

            def vwap(trades):
                return (trades["price"] * trades["size"]).sum() / trades["size"].sum()

            wh.map(vwap, "*", "2024-01-02", "2024-01-31")

        Symbols, or sessions, are read and handed over side by side: on threads of this process,
        or where `processing.engine` names Spark or Ray, on that cluster, lambdas and functions of a
        notebook too. There it may be called twice for the same rows, where a worker dies; it is to
        return what it finds, and to change nothing. On threads functions wait for each other where
        Python holds its lock, as it does in most of pandas: `engine: ray` takes all processors of
        one machine, too.

        Args:
            function: takes a frame of the rows of one symbol, or of one session, as `load` has
                them; never one without rows. It returns a frame, a dict or Series (one row, whose
                labels name the columns), a value (one row, in the column `value`), or None (no
                row). The index of a frame is a column, unless it numbers the rows.
            symbols, start, end: as for `load`; so are `columns`, `adjust` and the other options.
            data_type: as for `load`.
            by: "symbol": it is called for each symbol, with its rows of all of the span; "session":
                for each session, with the rows of all symbols.
            to: as for `load`: of the frames that the function is handed, and of the answer.

        Returns:
            One frame of the results' rows, in the order of the symbols asked, or of time, whichever
            is done first. Its first column is the key, `symbol` or `session`; a column of that name
            that the function returns gives way to it. A column that some results lack is NULL in
            their rows; numbers of several types have the wider one.

        Raises:
            FunctionError: the function raised, or returned something else; the error names the
                symbol or session, and a note has the traceback. Others are not begun any more.
            EngineError: the engine cannot begin, or a worker cannot do what it is asked.
            RequestError, NoDataError, TooLargeError, CorruptPartitionError: as for `load`.
        """
        asked = map_question(function, symbols, start, end, data_type, by=by, to=to, **options)
        return self._maps.load(asked)

    @overload
    def features(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        freq: Freq | None = None,
        to: Literal["pandas"] = "pandas",
        tz: str = "UTC",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
        **parameters: Any,
    ) -> pd.DataFrame: ...

    @overload
    def features(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        freq: Freq | None = None,
        to: Literal["polars"],
        tz: str = "UTC",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
        **parameters: Any,
    ) -> pl.DataFrame: ...

    @overload
    def features(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        freq: Freq | None = None,
        to: Literal["arrow"],
        tz: str = "UTC",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
        **parameters: Any,
    ) -> pa.Table: ...

    def features(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        freq: Freq | None = None,
        to: Form = "pandas",
        tz: str = "UTC",
        missing: Missing = "raise",
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
        **parameters: Any,
    ) -> Any:
        """Rows of a feature: of `<name>.sql` in the folder features of `storage.sql_dir`.

            wh.features("volume_ma", "AAPL", "2024-01-02", "2024-01-31", periods=60)

        Args:
            name: the file's, without `.sql`.
            symbols, start, end, to, tz, missing: as for `load`. A row does not depend on `start`:
                what it rests on before that is read too, from where the warehouse begins, and
                a session that is missing there is told as one of the question is.
            freq: "minute" or "day", of a feature that can read either kind of aggs; None: the one
                that its file names.
            adjust, as_of, follow_renames: as for `load`: the feature is asked of rows that are
                adjusted already, those of its lookback too, and looks over renames.
            parameters: values for the parameters that its file declares.

        Returns:
            The columns that the file says, symbol by symbol in the order asked, each in its order.
            A row at a stamp rests on nothing after it; a bar's stamp is its first instant.

        Raises:
            RequestError: there is no such feature or parameter, or a value cannot be its.
            SqlFileError: the file does not keep the conventions, or fails on these rows.
            NoDataError, CorruptPartitionError: as for `load`, for each data type that it reads.
        """
        asked = self._features.question(
            name,
            symbols,
            start,
            end,
            freq,
            parameters,
            adjust=adjust,
            as_of=as_of,
            follow_renames=follow_renames,
        )
        return self._features.load(asked, to, tz, missing)

    def check_feature(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        freq: Freq | None = None,
        adjust: Adjust = "none",
        as_of: Moment | None = None,
        **parameters: Any,
    ) -> None:
        """Try on real rows whether a feature of one's own keeps its word.

        The question is cut in two at a few instants of each symbol: no row may change where what
        comes after it is taken away, nor where the question begins later. Splits and dividends
        are known as of the same session, `as_of` or else that of `end`, in each part.

        Raises:
            LookAheadError: a row changes; the error says which and how.
            RequestError, SqlFileError, NoDataError, CorruptPartitionError: as for `features`.
        """
        self._features.check(
            self._features.question(
                name, symbols, start, end, freq, parameters, adjust=adjust, as_of=as_of
            )
        )

    @overload
    def query(
        self, sql: str, to: Literal["pandas"] = "pandas", /, **parameters: Any
    ) -> pd.DataFrame: ...

    @overload
    def query(self, sql: str, to: Literal["polars"], /, **parameters: Any) -> pl.DataFrame: ...

    @overload
    def query(self, sql: str, to: Literal["arrow"], /, **parameters: Any) -> pa.Table: ...

    def query(self, sql: str, to: Form = "pandas", /, **parameters: Any) -> Any:
        """The answer to one SELECT over the catalog's views, macros and tables.

            wh.query("select count(*) as n from trades where session = $day", day="2024-01-02")

        Args:
            sql: exactly one SELECT. Values stand in it as `$name`.
            to: as for `load`. It goes by its place, so that a parameter may have any name.
            parameters: the values, each used as a value and never as SQL. A datetime becomes
                TIMESTAMP_NS in UTC, as the columns are: naive it is New York time, aware it is
                what it says. A midnight without a zone is refused, since SQL compares a session
                and an instant otherwise: give a date, or a zone. A text is a text:
                `timestamp > $t` takes it as UTC; one with another zone, which SQL would pass over,
                is refused where it is compared. A duration becomes an INTERVAL, which has no
                nanoseconds: one that needs them is refused.

        Returns:
            A new frame. TIMESTAMP_NS are the warehouse's stamps and come out as `datetime64[ns,
            UTC]`, within lists and structs too (not within a MAP, where they keep no zone); other
            types as `load` has them, or as SQL has them. Without ORDER BY the order
            of the rows is open. Answers are kept until the next publish, but for those that may
            change by themselves (`random()`, `now()`, a file read by name).

        Raises:
            QueryError: it is no single SELECT, a value is missing or one too many, or DuckDB
                cannot run it; DuckDB's hint is in the message.
            NoDataError: nothing was ever ingested.
        """
        return self._queries.query(sql, check_form(to), parameters)

    @named()
    def catalog(self, table: str = "partitions") -> pd.DataFrame:
        """What it knows about itself: its tables and views of that.

        Args:
            table: partitions, source_files, runs, findings, reconciliations or features.

        Raises:
            RequestError: there is no such table.
            NoDataError: nothing was ever ingested.
        """
        name = choice("table", table, _TABLES)
        return self.query(f"select * from {name} order by all")

    @named()
    def spark_table(self, spark: SparkSession, data_type: str) -> SparkDataFrame:
        """All rows of a data type as a DataFrame of Spark, which reads the files itself.

        The files are those of the present generation. A publish replaces some in their place, so a
        question that Spark is answering meanwhile may rest on both: ask it again, or hold the
        publish back.

        Args:
            spark: a session; `spark.sql.legacy.parquet.nanosAsLong` is set in it. Its executors
                must see the warehouse's folder.

        Returns:
            The columns of the data type; stamps are BIGINT, nanoseconds UTC since 1970.

        Raises:
            EngineError: PySpark is not installed.
            NoDataError: nothing of it was ever ingested.
        """
        kind = kind_of(data_type)

        def here(snapshot: Snapshot) -> list[Path]:
            snapshot.bring_all(kind.name)
            return sorted(path for path, *_ in snapshot.files(kind.name))

        files = self._read(here)
        if not files:
            remedy = f"get some with: warehouse update {kind.name}"
            raise NoDataError(kind.name, "no row of it is published", remedy)
        return spark_table(spark, kind.columns, files)

    @named()
    def pull(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
    ) -> Brought:
        """Bring partitions from the bucket to this disk, as `warehouse pull` does.

        For the DuckDB shell, and for when the bucket is out of reach: questions bring what they
        need. Whatever was published last comes first.

        Returns:
            How many are here, and how many of them were brought.

        Raises:
            RequestError: an argument is not one of the things it may be, the cache is a folder, or
                what is asked for is more than `storage.max_cache_disk_gb`.
            ObjectStorageError: the bucket cannot be read.
        """
        if self._layout.tier is None:
            raise RequestError(
                "storage.cache_dir", str(self._layout.cache), "it is a folder: all of it is here"
            )
        from warehouse.store.tier.pull import refresh

        refresh(self._layout)
        request = run_request(data_types, start, end, symbols)

        def bring(snapshot: Snapshot) -> Brought:
            kinds = [kind.name for kind in request.kinds]
            if request.is_of_every_kind:
                kinds = list(with_bars(one.data_type for one in snapshot.manifests or ()))
            brought = (
                snapshot.bring_all(name, request.symbols, request.first, request.last)
                for name in kinds
            )
            return sum(brought, Brought())

        return self._read(bring)

    @named()
    def symbols(self, data_type: str | None = None) -> list[str]:
        """Symbols that have rows, in byte order; of one data type, or of any."""
        name = None if data_type is None else kind_of(data_type).name
        return list(self._read(lambda snapshot: availability.symbols_of(snapshot, name)))

    @named()
    def sessions(self, data_type: str) -> list[date]:
        """Sessions of which there are rows, ascending.

        Each is a `date`, which no value of pandas' `session` column equals: that is a Timestamp,
        so select by `df["session"] == pd.Timestamp(day)`, or by the day as text.
        """
        kind = kind_of(data_type)
        return list(self._read(lambda snapshot: availability.sessions(snapshot, kind)))

    @named()
    def download(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        dry_run: bool = False,
        wait: float = 0,
    ) -> RunReport:
        """Bring new and changed files into the raw tier, as `warehouse download` does.

        Args:
            data_types: one or several; none of them means all.
            start, end: sessions, both inclusive, or as `load` has them; None is open.
            symbols: only their files, where the source has one file a symbol.
            dry_run: say what would be done, and do nothing.
            wait: so many seconds for another writer to end; `math.inf`: as long as it takes.

        Returns:
            What came, and in `download` what did not come and why.

        Raises:
            RequestError: an argument is not one of the things it may be.
            ConfigError, SourceError: there is no source, or it cannot be asked.
            LockedError: another process is writing to the warehouse.
            StorageError: the disk has no room for what would come, or refuses.
        """
        request = run_request(data_types, start, end, symbols)
        return self._pipeline(wait).download(request, dry_run=dry_run)

    @named()
    async def download_async(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        dry_run: bool = False,
        wait: float = 0,
    ) -> RunReport:
        """As `download`, in a thread: the event loop goes on meanwhile.

        Who cancels it no longer waits, but what was begun goes on to its end.
        """
        return await asyncio.to_thread(
            self.download, data_types, start, end, symbols, dry_run=dry_run, wait=wait
        )

    @named()
    def ingest(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        allow: str | Sequence[str] = (),
        dry_run: bool = False,
        wait: float = 0,
    ) -> RunReport:
        """Verify, clean and publish what the raw tier holds, as `warehouse ingest` does.

        Args:
            allow: findings that this once count for nothing, each as "RULE=REASON".
            data_types, start, end, dry_run, wait: as for `download`.

        Returns:
            What came of each file, and in `refused` what validation kept out.

        Raises:
            RequestError, LockedError, StorageError: as for `download`.
            SqlFileError: a file of sql/ breaks the conventions, or fails.
        """
        request = run_request(data_types, start, end, allow=allow)
        return self._pipeline(wait).ingest(request, dry_run=dry_run)

    @named()
    def update(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        allow: str | Sequence[str] = (),
        dry_run: bool = False,
        wait: float = 0,
    ) -> RunReport:
        """Download and ingest what is new, as `warehouse update` does; see both.

        A file is read as soon as it is here, while the next ones come.

        Args:
            symbols: publish only their rows. A file that holds all symbols is fetched whole; the
                others' rows follow with the next update of all.

        Raises:
            SourceError: as for `download`; what had come before is published.
        """
        request = run_request(data_types, start, end, symbols, allow)
        return self._pipeline(wait).update(request, dry_run=dry_run)

    @named()
    async def update_async(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        allow: str | Sequence[str] = (),
        dry_run: bool = False,
        wait: float = 0,
    ) -> RunReport:
        """As `update`, in a thread; see `download_async`."""
        return await asyncio.to_thread(
            self.update, data_types, start, end, symbols, allow=allow, dry_run=dry_run, wait=wait
        )

    @named()
    def rebuild(
        self,
        data_types: str | Sequence[str],
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        fetch: bool = False,
        allow: str | Sequence[str] = (),
        dry_run: bool = False,
        wait: float = 0,
    ) -> RunReport:
        """Make partitions anew from the raw tier, as `warehouse rebuild` does; see `ingest`.

        Args:
            fetch: fetch raw files that were pruned.

        Returns:
            In `why_absent` raw files that the source has no more: what is published of them stands.

        Raises:
            NoDataError: there is no such symbol, or raw files are gone.
        """
        from warehouse.maintenance.refetch import rebuild
        from warehouse.report.status import check_symbols

        request = run_request(data_types, start, end, symbols, allow)
        check_symbols(self._here(), request)
        return rebuild(self._pipeline(wait), request, fetch=fetch, dry_run=dry_run)

    @named()
    def rebuild_changed(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        fetch: bool = False,
        allow: str | Sequence[str] = (),
        dry_run: bool = False,
        wait: float = 0,
    ) -> ChangedReport:
        """Make anew what SQL, settings or files have changed for: `warehouse rebuild --changed`.

        Args:
            fetch: fetch raw files that were pruned.

        Returns:
            Why each partition was made anew, and in `run` what came of it.
        """
        from warehouse.maintenance.rebuild_stale import rebuild_changed
        from warehouse.report.status import check_symbols

        request = run_request(data_types, start, end, symbols, allow)
        check_symbols(self._here(), request)
        return rebuild_changed(self._pipeline(wait), request, fetch=fetch, dry_run=dry_run)

    @named()
    def rebuild_layout(
        self,
        data_types: str | Sequence[str],
        layout: PartitionLayout,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        dry_run: bool = False,
        wait: float = 0,
    ) -> LayoutReport:
        """Convert published months, each whole: `warehouse rebuild TYPE --layout`.

        From the partitions themselves, row for row: raw files may be gone.

        Args:
            layout: "market": all symbols of a month share a file; "symbol": each has its own.

        Raises:
            RequestError: the data type has no such layout.
        """
        from warehouse.maintenance.convert_layout import convert_layout

        request = run_request(data_types, start, end)
        choice("layout", layout, configuration.PARTITION_LAYOUTS)
        return convert_layout(self._pipeline(wait), request, layout, dry_run=dry_run)

    @named()
    def verify(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
    ) -> VerifyReport:
        """Compare every file with what is recorded of it, as `warehouse verify` does.

        Takes no lock, and changes nothing.

        Returns:
            In `faults` what is not as it was written.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: there is no such symbol.
        """
        from warehouse.core.metrics import Silent
        from warehouse.maintenance.verify import verify
        from warehouse.report.status import check_symbols

        request = run_request(data_types, start, end, symbols)
        check_symbols(self._here(), request)
        return verify(self._layout, self._config, request, Silent())

    @named()
    def repair(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        *,
        wait: float = 0,
    ) -> RepairReport:
        """Verify, and mend what is wrong, as `warehouse verify --repair` does.

        Returns:
            What was mended, and in `left` what could not be.
        """
        from warehouse.maintenance.repair import repair

        return repair(self._pipeline(wait), run_request(data_types, start, end, symbols))

    @named()
    def prune(self, *, dry_run: bool = False, wait: float = 0) -> PruneReport:
        """Remove raw files that have done their work, as `warehouse prune` does.

        Those published more than `storage.retention_days` days ago, and unchanged since; their
        rows stay.
        """
        from warehouse.maintenance.prune import prune

        return prune(self._here(), self._config, dry_run=dry_run, wait=seconds_of(wait))

    @named()
    def report(
        self,
        path: str | os.PathLike[str] | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] = (),
    ) -> Facts:
        """Whether it is all there, and whether it is right, as `warehouse report` shows it.

        Args:
            path: of the page, one HTML file; None: no file is written.
            start, end: sessions, both inclusive, or as `load` has them; None is open.
            symbols: what is drawn one by one, too.

        Returns:
            The facts that the page draws.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: there is no such symbol.
            StorageError: the file cannot be written.
        """
        from warehouse.report import symbol_facts
        from warehouse.report.collect import gather
        from warehouse.report.html import save
        from warehouse.report.output_file import check_is_page

        if path is not None:
            check_is_page("path", expanded(path))
        facts = gather(
            self._here(),
            self._config,
            None if start is None else session_at("start", start),
            None if end is None else session_at("end", end, is_end=True),
        )
        if symbols:
            names = symbols_of(symbols)
            facts = symbol_facts.added(
                facts, self._queries, self._bars, self._layout, self._config, names
            )
        if path is not None:
            save(facts, expanded(path), f"warehouse -C {shell_word(str(self._layout.root))}")
        return facts

    @named()
    def validate(
        self,
        data_types: str | Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        symbols: str | Sequence[str] | None = None,
        rules: str | Sequence[str] = (),
        *,
        wait: float = 0,
    ) -> ValidationReport:
        """Ask the rules of sql/validate about what is published, as `warehouse validate` does.

        Args:
            data_types, start, end, wait: as for `download`.
            symbols: only these; None: all.
            rules: only these; none of them means all.

        Returns:
            What was found: `results`, one for each rule, symbol and session, and of them `errors`,
            `warnings` and `allowed`. The catalog's table `findings` keeps them.

        Raises:
            RequestError: an argument is not one of the things it may be.
            SqlFileError: a rule breaks the conventions, or fails.
            NoDataError: there is nothing to look at.
            LockedError: another process is writing to the warehouse.
        """
        request = run_request(data_types, start, end, symbols)
        wanted = [rules] if isinstance(rules, str) else rules
        report = self._pipeline(wait).validate(request, wanted)
        report.check_looked()
        return report

    @named()
    def load_reference(self, *paths: str | os.PathLike[str], wait: float = 0) -> ReferenceReport:
        """Load the vendor's exports of splits, dividends and ticker events.

        As `warehouse reference load` does. A row takes the place of the one with its id; the same
        export again changes nothing. Each action is held against the tape before it counts.

        Args:
            paths: files of JSON, a page or a list of pages, or of CSV with the same field names.
            wait: as for `download`.

        Returns:
            What came of each table: `read`, `new`, `changed`, `counted`, and `problems`.

        Raises:
            RequestError: no file is named, or something else.
            ReferenceFileError: a file is no such export; nothing is loaded.
            CorruptPartitionError: a table that none of the files is of is damaged.
            LockedError: another process is writing to the warehouse.
        """
        from warehouse.pipeline.reference_load import load

        for path in paths:
            if not isinstance(path, str | os.PathLike):
                raise RequestError("paths", path, "it is no path; name each file by itself")
        return load(self._pipeline(wait), [expanded(path) for path in paths])

    @named()
    def check_reference(self, *, wait: float = 0) -> ReferenceReport:
        """Judge the corporate actions again, as `warehouse reference check` does.

        For data may have come since they were loaded. Nothing else makes a verdict anew.

        Raises:
            CorruptPartitionError: a table is damaged.
            LockedError: another process is writing to the warehouse.
        """
        from warehouse.pipeline.reference_load import check

        return check(self._pipeline(wait))

    @named()
    def actions(self, symbols: str | Sequence[str] | None = None) -> pd.DataFrame:
        """The corporate actions that are held, those too that do not count.

        Args:
            symbols: only theirs; None: all. One without actions has no rows.

        Returns:
            A row for each split and dividend, by symbol, session, kind and id: `symbol`, `session`
            (the execution date, or the ex-date), `kind` ("split" or "dividend"), `id`,
            `split_from`, `split_to`, `price_factor` and `size_factor` (prices and sizes of sessions
            before `session` are multiplied by them), `counts`, and `problem`: what is odd about it.

        Raises:
            RequestError: `symbols` are no symbols.
            CorruptPartitionError: a table is damaged.
        """
        return self._queries.actions(None if symbols is None else symbols_of(symbols))

    def _pipeline(self, wait: float) -> Pipeline:
        from warehouse.pipeline.pipeline import Pipeline  # a reader need not wait for it

        if is_ending():
            raise RequestError(
                "warehouse",
                str(self._layout.root),
                "what writes has threads, and Python begins none in a handler of atexit; write"
                " before the program ends, or there in a process of its own",
            )
        return Pipeline(self._here(), self._config, wait=seconds_of(wait))

    def _here(self) -> Layout:
        """Where it stands, for what asks no snapshot: another may have been put there since."""
        self._answers.snapshots.check_same()
        return self._layout

    @named()
    def last_timestamp(self, data_type: str, symbol: str) -> pd.Timestamp | NaTType:
        """The stamp of a symbol's last row, nanoseconds UTC; NaT where it has none."""
        kind = kind_of(data_type)
        (name,) = symbols_of(symbol)
        last = self._read(lambda snapshot: availability.last_ns(snapshot, kind, name))
        return pd.NaT if last is None else pd.Timestamp(last, tz="UTC")

    def _read(self, answer: Callable[[Snapshot], T]) -> T:
        return self._answers.snapshots.read(answer)
