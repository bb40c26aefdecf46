"""Answers about all symbols: each read whole from one generation, and kept."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pandas as pd

from warehouse.core.calendar import Span
from warehouse.core.datatypes import DataType
from warehouse.read import availability
from warehouse.read.answers import Answers
from warehouse.read.arguments import Question
from warehouse.read.cache import Held
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frame_options import shaped
from warehouse.read.frames import guarded
from warehouse.read.market import rows
from warehouse.read.market.panel import Panel, as_panel
from warehouse.read.snapshot import Snapshot


class MarketAnswers:
    """Answers questions about all symbols of one warehouse; safe to use from many threads."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def load(self, asked: Question, *, by_symbol: bool = False) -> Any:
        """Rows of all symbols, as `Warehouse.load` says.

        Args:
            by_symbol: symbols become the index of a pandas frame.
        """

        def answer(snapshot: Snapshot) -> Any:
            if asked.whole:
                availability.check_market(snapshot, asked.kind, asked.span)
            facts = self._facts(snapshot, asked)

            def read() -> Held:
                columns = tuple(dict.fromkeys([*asked.shape.index, *asked.columns]))
                frame = shaped(self._rows(snapshot, asked.kind, columns, asked.span), asked.shape)
                if isinstance(frame, pd.DataFrame):
                    if by_symbol:
                        frame = guarded(frame.set_index("symbol"))
                    frame.attrs["fingerprint"] = fingerprint("load", *facts)
                return Held(frame)

            return self._answers.cache.get_or_make(
                ("market", by_symbol, repr(facts)),
                lambda: self._answers.snapshots.whole(snapshot, read),
            )

        return self._answers.snapshots.read(answer)

    def panel(self, asked: Panel) -> Any:
        """One column as sessions (or stamps) by symbols, as `Warehouse.panel` says."""

        def answer(snapshot: Snapshot) -> Any:
            if asked.whole and asked.symbols is not None:
                availability.check(snapshot, asked.kind, asked.symbols, asked.span)
            elif asked.whole:
                availability.check_market(snapshot, asked.kind, asked.span)
            content = rows.content(snapshot, asked.kind, asked.span)
            span = (asked.span.start_ns, asked.span.end_ns)
            facts = (asked.kind.name, asked.column, asked.symbols, asked.form, span, content)

            def read() -> Held:
                columns = ("symbol", asked.by, asked.column)
                table = self._rows(snapshot, asked.kind, columns, asked.span)
                frame = as_panel(table, asked)
                if isinstance(frame, pd.DataFrame):
                    frame.attrs["fingerprint"] = fingerprint("panel", *facts)
                return Held(frame)

            return self._answers.cache.get_or_make(
                ("panel", repr(facts)),
                lambda: self._answers.snapshots.whole(snapshot, read),
            )

        return self._answers.snapshots.read(answer)

    def fingerprint(self, asked: Question) -> str:
        """The id that an answer of `load` bears, as `Warehouse.fingerprint` says."""

        def answer(snapshot: Snapshot) -> str:
            if asked.whole:
                availability.check_market(snapshot, asked.kind, asked.span)
            return fingerprint("load", *self._facts(snapshot, asked))

        return self._answers.snapshots.read(answer)

    @staticmethod
    def _facts(snapshot: Snapshot, asked: Question) -> tuple[Any, ...]:
        """All that an answer rests on: equal facts, equal answers."""
        content = rows.content(snapshot, asked.kind, asked.span)
        span = (asked.span.start_ns, asked.span.end_ns)
        return asked.kind.name, astuple(asked.shape), asked.columns, span, "*", content

    def _rows(
        self, snapshot: Snapshot, kind: DataType, columns: tuple[str, ...], span: Span
    ) -> Any:
        answers = self._answers
        return answers.with_room(
            lambda: rows.read(snapshot, kind, columns, span, answers.workers())
        )
