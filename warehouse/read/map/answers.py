"""A function of the caller's, asked of each symbol or session, side by side.

All of it rests on one generation: what a part rests on is told by its fingerprint. Where a publish
came in between, parts that rest on something else now are asked again, and no others.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from warehouse.errors import FunctionError, one_line
from warehouse.read.answers import Answers, check_same
from warehouse.read.arguments import Question
from warehouse.read.frames import as_form
from warehouse.read.map.question import MapQuestion
from warehouse.read.map.results import as_table, combined
from warehouse.read.market.answers import MarketAnswers
from warehouse.read.snapshot import Snapshot

_TOGETHER = 20
"""Most symbols have few rows, and a worker takes a tenth of a second to open the warehouse."""


@dataclass(frozen=True)
class Application:
    """A function, and the rows that it is handed at once.

    Attributes:
        whose: their symbol, or their session.
        fingerprint: of what they are.
    """

    function: Callable[[Any], Any]
    whose: str | date
    asked: Question
    fingerprint: str

    @property
    def key(self) -> Hashable:
        return self.whose, self.fingerprint

    def __call__(self, answers: Answers) -> pa.Table | None:
        """What the function makes of them; None: no rows.

        Raises:
            FunctionError: it raised, or returned what makes no rows.
            EngineError: something else was published.
        """
        frame = rows_of(answers, self.asked).load(self.asked)
        check_same(self.fingerprint, rows_of(answers, self.asked).fingerprint(self.asked))
        if not len(frame):
            return None
        name = name_of(self.function)
        try:
            result = self.function(frame)
        except Exception as error:
            said = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
            told = FunctionError(name, self.whose, said)
            told.add_note(traceback.format_exc().rstrip())
            raise told from error
        try:
            return as_table(result)
        except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
            raise FunctionError(name, self.whose, f"it returned {one_line(error)}") from error


class MapAnswers:
    """Answers questions with functions of the caller's; safe to use from many threads."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def load(self, question: MapQuestion) -> Any:
        """The results, as `Warehouse.map` says."""
        done: dict[Hashable, pa.Table | None] = {}

        def answer(snapshot: Snapshot) -> list[tuple[str | date, pa.Table | None]]:
            if question.asked.whole:
                question.check(snapshot)
            parts = [
                Application(
                    question.function,
                    whose,
                    asked,
                    rows_of(self._answers, asked).fingerprint_in(snapshot, asked),
                )
                for whose, asked in question.parts(snapshot)
            ]
            tables = self._answers.snapshots.whole(
                snapshot, lambda: self._answers.side_by_side(snapshot, parts, done, _TOGETHER)
            )
            return [(part.whose, table) for part, table in zip(parts, tables, strict=True)]

        keyed = self._answers.snapshots.read(answer)
        table = combined(name_of(question.function), question.by, keyed)
        return as_form(table, question.asked.shape.form)


def rows_of(answers: Answers, asked: Question) -> Answers | MarketAnswers:
    """Who answers a question: about named symbols, or about all."""
    return answers if asked.symbols else MarketAnswers(answers)


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called; of an object that is called its class."""
    named: str = getattr(function, "__name__", "") or type(function).__name__
    return named
