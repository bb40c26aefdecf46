"""A feature: what its file promises, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from warehouse.errors import RequestError
from warehouse.sqlfolder.feature_select import AGGS, Statement
from warehouse.sqlfolder.files import SqlFile
from warehouse.text import meant, one_of

FREQUENCIES = {"minute": "minute_aggs", "day": "day_aggs"}
KINDS: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "double": (float, int),
    "boolean": (bool,),
}
"""Types of parameters, and what may be given for them."""
MOST = 2.0**63
"""What no number that is given for a parameter may reach."""


@dataclass(frozen=True)
class Parameter:
    """A value that a feature takes.

    Attributes:
        kind: integer, double or boolean.
        least: what it must not be below; None: anything goes.
    """

    name: str
    kind: str
    default: Any
    least: float | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.wanted}) = {str(self.default).lower()}"

    @property
    def wanted(self) -> str:
        return self.kind if self.least is None else f"{self.kind}, {self.least:g} or more"

    def check(self, value: Any) -> Any:
        """The value, as DuckDB takes it.

        Raises:
            RequestError: it is of another type, or too small.
        """
        if hasattr(value, "item"):
            # One of numpy's.
            value = value.item()
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        good = isinstance(value, KINDS[self.kind]) and is_number == (self.kind != "boolean")
        if not good or (is_number and not abs(value) < MOST):
            raise RequestError(self.name, value, f"it must be of type {self.wanted}")
        if self.least is not None and value < self.least:
            raise RequestError(self.name, value, f"it must be {self.least:g} or more")
        return float(value) if self.kind == "double" else value


@dataclass(frozen=True)
class Lookback:
    """How far before a row what it rests on begins.

    Attributes:
        unit: none, session, rows or sessions.
        count: of the last two: how many, or the name of the parameter that says it.
    """

    unit: str
    count: int | str = 0

    def given(self, values: Mapping[str, Any]) -> int:
        """How many rows or sessions, with these values of the parameters."""
        return int(values[self.count] if isinstance(self.count, str) else self.count)


@dataclass(frozen=True)
class Feature:
    """A feature file that keeps the conventions; sqlfolder/feature_file.py says what they mean.

    Attributes:
        columns: what its rows have beside their key, each with its unit.
        reads: the columns that it may need of each of the data types' tables.
    """

    name: str
    description: str
    file: SqlFile
    grain: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    lookback: Lookback
    source: str
    columns: Mapping[str, str]
    freq: str | None
    statement: Statement = field(repr=False)
    reads: Mapping[str, tuple[str, ...]] = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Of what the SELECT says: comments and line breaks change nothing."""
        return self.file.fingerprint()

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for each parameter: the given one, or else its default.

        Raises:
            RequestError: there is no such parameter, or a value cannot be its.
        """
        valid = {parameter.name: parameter for parameter in self.parameters}
        for name, value in given.items():
            if name not in valid:
                if not self.parameters:
                    raise RequestError(name, value, f"{self.name} has no parameters")
                has = ", ".join(map(str, self.parameters))
                hint = meant(name, valid)
                raise RequestError(name, value, f"{self.name} has the parameters {has}{hint}")
        return {
            name: parameter.check(given.get(name, parameter.default))
            for name, parameter in valid.items()
        }

    def frequency(self, freq: str | None) -> str | None:
        """The frequency of the aggs that are read; None where it does not read `aggs`.

        Raises:
            RequestError: there is no such, or the feature has no choice.
        """
        if freq is None:
            return self.freq
        if freq not in FREQUENCIES:
            raise RequestError("freq", freq, one_of(freq, FREQUENCIES))
        if self.freq is None:
            raise RequestError(
                "freq", freq, f"{self.name} reads {', '.join(self.statement.tables)} alone"
            )
        return freq

    def tables(self, freq: str | None) -> dict[str, str]:
        """The data type behind each table that is read."""
        return {
            table: FREQUENCIES[freq] if table == AGGS and freq else table for table in self.reads
        }
