"""What a command was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from warehouse.core.calendar import FIRST_SESSION, check_order, today
from warehouse.core.datatypes import DATA_TYPES, DataType, data_type


@dataclass(frozen=True)
class Request:
    """What a command was asked for.

    Attributes:
        kinds: data types.
        start, end: sessions, both inclusive; None is open.
        symbols: only these; empty: all that the configuration selects.
        allow: findings that this once count for nothing, each as "RULE=REASON".
    """

    kinds: tuple[DataType, ...]
    start: date | None = None
    end: date | None = None
    symbols: frozenset[str] = frozenset()
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_order(self.start, self.end)

    @property
    def first(self) -> date:
        return self.start or FIRST_SESSION

    @property
    def last(self) -> date:
        return self.end or today()

    @property
    def is_of_all(self) -> bool:
        """Whether nothing is left out of it: no data type, session or symbol."""
        is_bounded = self.start is not None or self.end is not None or self.symbols
        return len(self.kinds) == len(DATA_TYPES) and not is_bounded

    @classmethod
    def of(
        cls,
        data_types: Sequence[str] = (),
        start: date | None = None,
        end: date | None = None,
        symbols: Iterable[str] = (),
        allow: Sequence[str] = (),
    ) -> Request:
        """A request; no data types mean all.

        Raises:
            RequestError: a data type is unknown, or `end` lies before `start`.
        """
        kinds = tuple(data_type(name) for name in (data_types or DATA_TYPES))
        return cls(kinds, start, end, frozenset(symbols), tuple(allow))
