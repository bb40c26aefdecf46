"""What a command was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from warehouse.core.calendar import FIRST_SESSION, check_order
from warehouse.core.datatypes import DATA_TYPES, DataType, data_type, is_kept_bars
from warehouse.errors import RequestError


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
        """What is here counts, whatever the clock says: it may be behind."""
        return self.end or date.max

    @property
    def is_of_all(self) -> bool:
        """Whether nothing is left out of it: no data type, session or symbol."""
        is_bounded = self.start is not None or self.end is not None or self.symbols
        return self.is_of_every_kind and not is_bounded

    @property
    def is_of_every_kind(self) -> bool:
        """Whether it is about all of the vendor's data types, and so about what rests on them."""
        return {*DATA_TYPES} <= {kind.name for kind in self.kinds}

    @property
    def kept_bars(self) -> tuple[DataType, ...]:
        """The data types of kept bars that are named."""
        return tuple(kind for kind in self.kinds if is_kept_bars(kind.name))

    @property
    def of_vendor(self) -> Request:
        """The same about the vendor's data types alone."""
        return replace(
            self, kinds=tuple(kind for kind in self.kinds if not is_kept_bars(kind.name))
        )

    def check_of_vendor(self, what: str) -> None:
        """Refuse bars that are named where only the vendor's files are concerned.

        Raises:
            RequestError: some are.
        """
        for kind in self.kept_bars:
            raise RequestError(
                "data type",
                kind.name,
                f"{what} is of the vendor's files; bars follow the trades, or:"
                f" warehouse rebuild {kind.name}",
            )

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
