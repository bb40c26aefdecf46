"""Answers about features: what is asked, checked, and answered from the cache or from the rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from typing import Any

import pandas as pd
import pyarrow as pa

from warehouse.core.calendar import Moment, Span, parse_span, span_between
from warehouse.core.datatypes import DATA_TYPES, DataType
from warehouse.errors import NoDataError, RequestError
from warehouse.read import availability, partition_reader
from warehouse.read.answers import Answers, check_same
from warehouse.read.arguments import Comparison, choice, comparison_of, symbols_of
from warehouse.read.cache import Held
from warehouse.read.features import evaluate, lookahead_check
from warehouse.read.features.evaluate import Plan
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frames import as_form, check_form, check_zone, in_zone
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.text import some

_NAMED = 4

_MANY_ROWS = 2_000_000
"""Rows to be read. Fewer are measured here in a few seconds."""
_PART_ROWS = 500_000


@dataclass(frozen=True)
class FeatureQuestion:
    """What is asked of a feature, checked.

    Attributes:
        values: of each of its parameters.
        freq: of the aggs that are read, where the feature can read either.
        symbols: in the order asked, none twice.
    """

    feature: Feature
    values: Mapping[str, Any]
    freq: str | None
    symbols: tuple[str, ...]
    span: Span
    comparison: Comparison

    def plan(self, snapshot: Snapshot) -> Plan:
        return evaluate.plan(
            snapshot,
            self.feature,
            self.symbols,
            self.span,
            self.values,
            self.freq,
            self.comparison,
        )


@dataclass(frozen=True)
class FeaturePart:
    """A question for some of its symbols.

    Attributes:
        rests_on: the key of its plan.
    """

    asked: FeatureQuestion
    rests_on: str

    @property
    def key(self) -> Hashable:
        return self.asked.symbols, self.rests_on

    def __call__(self, answers: Answers) -> pa.Table:
        """The rows.

        Raises:
            EngineError: something else was published.
        """

        def answer(snapshot: Snapshot) -> pa.Table:
            plan = self.asked.plan(snapshot)
            check_same(self.rests_on, repr(plan.key))
            return rows_of(answers, snapshot, plan)

        return answers.snapshots.read(answer)


class FeatureAnswers:
    """Answers questions about the features of one warehouse."""

    def __init__(self, answers: Answers, folder: FeatureFolder) -> None:
        self._answers, self._folder = answers, folder

    def question(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment | None,
        freq: str | None,
        parameters: Mapping[str, Any],
        *,
        adjust: str = "none",
        as_of: Moment | None = None,
        follow_renames: bool = False,
    ) -> FeatureQuestion:
        """What is asked of `Warehouse.features`, whose arguments these are.

        Raises:
            RequestError: an argument is not one of the things it may be.
            SqlFileError: the feature's file does not keep the conventions.
            StorageError: the warehouse is gone from where it was opened.
        """
        try:
            feature = self._folder[name]
        except RequestError:
            self._answers.check_stands()
            raise
        values, aggs = feature.values(parameters), feature.frequency(freq)
        named, span = symbols_of(symbols), parse_span(start, end)
        comparison = comparison_of(span, adjust, as_of, follow_renames)
        return FeatureQuestion(feature, values, aggs, named, span, comparison)

    def load(self, asked: FeatureQuestion, to: str, tz: str, missing: str) -> Any:
        """The feature's rows, as `Warehouse.features` says."""
        form, zone = check_form(to), check_zone(tz)
        whole = choice("missing", missing, ("raise", "ignore")) == "raise"
        done: dict[Hashable, pa.Table] = {}

        def answer(snapshot: Snapshot) -> Any:
            plan = _plan_of_what_is_there(snapshot, asked) if whole else asked.plan(snapshot)
            key = (plan.key, asked.symbols, form, zone)

            def read() -> Held:
                table = self._table(snapshot, asked, plan, done)
                frame = as_form(in_zone(table, zone), form)
                if isinstance(frame, pd.DataFrame):
                    facts = (repr(plan.facts), asked.symbols, zone)
                    frame.attrs["fingerprint"] = fingerprint("features", *facts)
                return Held(frame)

            return self._answers.cache.get_or_make(
                key, lambda: self._answers.snapshots.whole(snapshot, read)
            )

        return self._answers.snapshots.read(answer)

    def _table(
        self,
        snapshot: Snapshot,
        asked: FeatureQuestion,
        plan: Plan,
        done: dict[Hashable, pa.Table],
    ) -> pa.Table:
        """The rows; of many they are asked for on a cluster, if there is one.

        Args:
            done: parts that were asked before a publish.
        """
        if self._answers.engine.is_here or plan.rows < _MANY_ROWS:
            return self._answers.with_room(
                lambda: evaluate.answer(snapshot, plan, self._answers.workers())
            )
        parts, place = [], 0
        for group in plan.groups(_PART_ROWS):
            symbols = asked.symbols[place : place + len(group.sources)]
            parts.append(FeaturePart(replace(asked, symbols=symbols), repr(group.key)))
            place += len(group.sources)
        return pa.concat_tables(self._answers.side_by_side(snapshot, parts, done))

    def check(self, asked: FeatureQuestion) -> None:
        """Try whether the feature keeps its word, as `Warehouse.check_feature` says."""
        try:
            self._answers.snapshots.read(lambda snapshot: _plan_of_what_is_there(snapshot, asked))
        except NoDataError as error:
            # A check passes nothing over.
            remedy = "ask for symbols and sessions that are there"
            raise NoDataError(error.asked, error.found, remedy, error.missing) from None
        rows = 0
        for symbol in asked.symbols:

            def ask(start: int, end: int, symbol: str = symbol) -> pa.Table:
                span = span_between(start, end)
                # As of the same session whatever is taken away: what was known stays known.
                part = replace(asked, symbols=(symbol,), span=span)
                return self._answers.snapshots.read(lambda snapshot: self._rows(snapshot, part))

            rows += lookahead_check.check(asked.feature, ask, asked.span)
        if not rows:
            raise NoDataError(
                f"a check of {asked.feature.name}",
                f"it has no row of {some(map(repr, asked.symbols), _NAMED)} to be tried on from"
                f" {asked.span.first} to {asked.span.last}",
                "ask for sessions in which they traded",
                asked.symbols,
            )

    def _rows(self, snapshot: Snapshot, asked: FeatureQuestion) -> pa.Table:
        return rows_of(self._answers, snapshot, asked.plan(snapshot))


def rows_of(answers: Answers, snapshot: Snapshot, plan: Plan) -> pa.Table:
    """A feature's rows, all of one generation."""
    return answers.with_room(
        lambda: answers.snapshots.whole(
            snapshot, lambda: evaluate.answer(snapshot, plan, answers.workers())
        )
    )


def _plan_of_what_is_there(snapshot: Snapshot, asked: FeatureQuestion) -> Plan:
    """The plan, if what it reads is there; raises NoDataError where it is not."""
    _check_there(snapshot, asked)
    plan = asked.plan(snapshot)
    _check_lookback(snapshot, asked, plan)
    return plan


def _check_lookback(snapshot: Snapshot, asked: FeatureQuestion, plan: Plan) -> None:
    """Make sure that no session is left out between what rows rest on and the question's first.

    The row before would be that of an earlier one: a return of the night would be one of weeks.
    """
    day_before = asked.span.first - timedelta(days=1)
    before: dict[tuple[DataType, Span], set[str]] = {}
    for source in chain.from_iterable(plan.sources):
        for symbol, own in source.series:
            if own.first <= day_before:
                own = partition_reader.narrowed_span(own, own.first, min(own.last, day_before))
                before.setdefault((source.kind, own), set()).add(symbol)
    for (kind, stretch), symbols in before.items():
        try:
            availability.check(snapshot, kind, sorted(symbols), stretch)
        except NoDataError as error:
            rest = f"{error.asked}, on which {asked.feature.name} from {asked.span.first} rests"
            raise NoDataError(rest, error.found, error.remedy, error.missing) from None


def _check_there(snapshot: Snapshot, asked: FeatureQuestion) -> None:
    """Make sure that what the feature reads is there; raises NoDataError where it is not."""
    series = None
    if asked.comparison.follow_renames:
        series = partition_reader.series_of(snapshot, asked.symbols, asked.span)
    for data_type in asked.feature.tables(asked.freq).values():
        kind = DATA_TYPES[data_type]
        if series is None:
            availability.check(snapshot, kind, asked.symbols, asked.span)
        else:
            availability.check_series(snapshot, kind, series)
