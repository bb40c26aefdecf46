"""The facade: what a backtest imports.

from warehouse import Warehouse

with Warehouse("path/to/warehouse") as wh:
    trades = wh.trades("AAPL", "2024-01-02", "2024-01-31")
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import finalize

import pandas as pd

from warehouse import config as configuration
from warehouse import coverage
from warehouse.answers import Answers
from warehouse.arguments import choice, kind_of, question, run_request
from warehouse.cache import FrameCache
from warehouse.frames import check_form
from warehouse.sessions import Moment
from warehouse.snapshot import Snapshot

if TYPE_CHECKING:
    from warehouse.pipeline import Pipeline
    from warehouse.run import RunReport

T = TypeVar("T")

_TABLES = ("partitions", "source_files", "runs")
_FREQUENCIES = {"minute": "minute_aggs", "day": "day_aggs"}


class Warehouse:
    """One warehouse. Close it, or use `with`; safe to use from many threads.

    Every answer is of one generation: a publish that goes on at the same time is in it whole or
    not at all, and the next question sees it. Answers are kept in memory (`cache`) within
    `storage.max_cache_memory_gb`; what a caller does to its frame never shows in another answer.

    Args:
        path: a folder that holds config/data_config.yaml (or lies in one that does), or such a
            file itself. Of a file that is not in a folder `config`, its own folder is the root.

    Raises:
        NotAWarehouseError: there is none.
        ConfigError: its configuration cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        root, file = configuration.locate(Path(path).expanduser().absolute())
        self._config = configuration.load(file)
        self._layout = self._config.layout(root)
        self._answers = Answers(self._layout, self._config)
        # Whoever forgets to close it gets no noise from DuckDB at the end of the process.
        self._finalizer = finalize(self, self._answers.close)

    def __repr__(self) -> str:
        return f"Warehouse({str(self._layout.root)!r})"

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog and let go of the cache. Frames handed out live on."""
        self._finalizer()

    @property
    def cache(self) -> FrameCache:
        """The memory cache: `cache.stats`, `cache.clear()`."""
        return self._answers.cache

    @property
    def exchanges(self) -> dict[int, str]:
        """The exchanges' names by the vendor's id: MIC, or where there is none the plain name."""
        facts = "select id, coalesce(mic, name) from exchanges"
        return dict(
            self._read(lambda snapshot: snapshot.once("exchanges", lambda: snapshot.fetch(facts)))
        )

    def trades(
        self, symbols: str | Sequence[str], start: Moment, end: Moment, **options: Any
    ) -> Any:
        """Trades; see `load` for the arguments and the answer."""
        return self.load("trades", symbols, start, end, **options)

    def quotes(
        self, symbols: str | Sequence[str], start: Moment, end: Moment, **options: Any
    ) -> Any:
        """Changes of the national best bid and offer; see `load`."""
        return self.load("quotes", symbols, start, end, **options)

    def aggs(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment,
        freq: str = "minute",
        **options: Any,
    ) -> Any:
        """The vendor's bars, of a "minute" or a "day"; see `load`.

        A bar's stamp is its first instant, that of a day midnight in New York; `vwap` is NaN, for
        the vendor's files have none.
        """
        kind = _FREQUENCIES[choice("freq", freq, _FREQUENCIES)]
        return self.load(kind, symbols, start, end, **options)

    def load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment,
        columns: Sequence[str] | None = None,
        to: str = "pandas",
        tz: str = "UTC",
        missing: str = "raise",
    ) -> Any:
        """Rows of one data type, as a new frame.

        Args:
            data_type: trades, quotes, minute_aggs or day_aggs.
            symbols: one or several, case-sensitive; one named twice counts once.
            start: a session (a date or "YYYY-MM-DD") or an instant (a datetime, or "YYYY-MM-DD
                HH:MM[:SS]": naive it is New York time, aware what it says); inclusive.
            end: likewise; a session is included whole, an instant is not.
            columns: which of the data type's, in this order; None: all in theirs.
            to: "pandas" (DataFrame), "polars" (DataFrame) or "arrow" (Table).
            tz: the time zone that stamps are shown in.
            missing: "raise" where the warehouse does not have all of it, or "ignore" to get what
                is there: a frame without rows has the same columns and types.

        Returns:
            The rows symbol by symbol in the order asked, of each in the order of the tape
            (timestamp, sequence number), numbered from 0. Stamps are `datetime64[ns, tz]`, exact;
            `session` is the trading day's label, a midnight without a zone (`datetime64[s]`);
            text is `str`; prices are dollars and sizes shares, as float64.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: a symbol is unknown, or trading days of the span were never ingested; the
                error says what there is and which command gets the rest.
            CorruptPartitionError: a file's bytes are not those that were written.
        """
        return self._answers.load(
            question(data_type, symbols, start, end, columns, to, tz, missing)
        )

    def query(self, sql: str, to: str = "pandas", /, **parameters: Any) -> Any:
        """The answer to one SELECT over the catalog's views, macros and tables.

            wh.query("select count(*) as n from trades where session = $day", day="2024-01-02")

        Args:
            sql: exactly one SELECT. Values stand in it as `$name`.
            to: as for `load`. It goes by its place, so that a parameter may have any name.
            parameters: the values, each used as a value and never as SQL. A datetime becomes
                TIMESTAMP_NS in UTC, as the columns are: naive it is New York time, aware it is
                what it says. A text is a text: `timestamp > $t` takes it as UTC.

        Returns:
            A new frame. TIMESTAMP_NS are the warehouse's stamps and come out as `datetime64[ns,
            UTC]`; other types as `load` has them, or as SQL has them. Without ORDER BY the order
            of the rows is open. Answers are kept until the next publish, but for those that may
            change by themselves (`random()`, `now()`, a file read by name).

        Raises:
            QueryError: it is no single SELECT, a value is missing or one too many, or DuckDB
                cannot run it; DuckDB's hint is in the message.
            NoDataError: nothing was ever ingested.
        """
        return self._answers.query(sql, check_form(to), parameters)

    def catalog(self, table: str = "partitions") -> pd.DataFrame:
        """What the warehouse knows about itself: `partitions`, `source_files` or `runs`.

        Raises:
            RequestError: there is no such table.
            NoDataError: nothing was ever ingested.
        """
        name = choice("table", table, _TABLES)
        frame: pd.DataFrame = self.query(f"select * from {name} order by all")
        return frame

    def symbols(self, data_type: str | None = None) -> list[str]:
        """Symbols that have rows, in byte order; of one data type, or of any."""
        name = None if data_type is None else kind_of(data_type).name
        return list(self._read(lambda snapshot: coverage.symbols_of(snapshot, name)))

    def sessions(self, data_type: str) -> list[date]:
        """Sessions of which there are rows, ascending."""
        kind = kind_of(data_type)
        return list(self._read(lambda snapshot: coverage.sessions(snapshot, kind)))

    async def download(
        self,
        data_types: str | Sequence[str],
        start: str | date | None = None,
        end: str | date | None = None,
        symbols: str | Sequence[str] | None = None,
    ) -> RunReport:
        """Bring new and changed files into the raw tier, as `warehouse download` does.

        Runs in a thread: the event loop goes on meanwhile. Who cancels it no longer waits, but
        what was begun goes on to its end.

        Args:
            data_types: one or several; none of them means all.
            start, end: sessions, both inclusive; None is open.
            symbols: only their files, where the source has one file a symbol.

        Returns:
            What came, and in `download` what did not come and why.

        Raises:
            RequestError: an argument is not one of the things it may be.
            ConfigError, SourceError: there is no source, or it cannot be asked.
            LockedError: another process is writing to the warehouse.
            StorageError: the disk has no room for what would come, or refuses.
        """
        request = run_request(data_types, start, end, symbols)
        return await asyncio.to_thread(self._pipeline().download, request)

    def update(
        self,
        data_types: str | Sequence[str] = (),
        start: str | date | None = None,
        end: str | date | None = None,
    ) -> RunReport:
        """Download, then ingest, what is new, as `warehouse update` does; see `download`."""
        return self._pipeline().update(run_request(data_types, start, end))

    def _pipeline(self) -> Pipeline:
        from warehouse.pipeline import Pipeline  # a reader need not wait for it

        return Pipeline(self._layout, self._config)

    def _read(self, answer: Callable[[Snapshot], T]) -> T:
        return self._answers.snapshots.read(answer)
