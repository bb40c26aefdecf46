"""What is allowed although a rule finds it: config/validation_allow.csv, and --allow.

A line of the file names a rule and why its findings count for nothing, for a symbol and from a
session to another (both inclusive); an empty field is open:

    rule,symbol,first,last,reason
    missing_sessions,,2019-08-12,2019-08-12,the vendor stamped that day as the next
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from warehouse.core.small_files import read_small
from warehouse.errors import ConfigError, RequestError, one_line
from warehouse.text import one_of

FILE = "validation_allow.csv"
_COLUMNS = ["rule", "symbol", "first", "last", "reason"]


@dataclass(frozen=True)
class Allowance:
    """Findings that count for nothing.

    Attributes:
        symbol: None: of any symbol, and of sessions as a whole.
        first, last: sessions, both inclusive.
    """

    rule: str
    reason: str
    symbol: str | None = None
    first: date = date.min
    last: date = date.max

    def covers(self, rule: str, symbol: str | None, session: date | None) -> bool:
        if self.rule != rule or self.symbol not in (None, symbol):
            return False
        if session is None:
            return self.first == date.min and self.last == date.max
        return self.first <= session <= self.last


def reason_for(
    allowances: Iterable[Allowance], rule: str, symbol: str | None, session: date | None
) -> str | None:
    """Why that finding is allowed, by the first allowance that covers it; None: it is not."""
    return next((a.reason for a in allowances if a.covers(rule, symbol, session)), None)


def load(config_dir: Path, rules: Collection[str]) -> list[Allowance]:
    """The allow-list of a warehouse; no file, no allowances.

    Raises:
        ConfigError: names the line and what is wrong with it.
    """
    path = config_dir / FILE
    try:
        lines = list(csv.reader(io.StringIO(read_small(path), newline="")))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(
            path, ConfigError.WHOLE, None, f"cannot be read: {one_line(error)}"
        ) from error
    if not lines or lines[0] != _COLUMNS:
        found = ",".join(lines[0]) if lines else ""
        raise ConfigError(path, "line 1", found, f"it must be {','.join(_COLUMNS)}")
    return [
        _allowance(path, number, fields, rules)
        for number, fields in enumerate(lines[1:], 2)
        if fields
    ]


def _allowance(path: Path, number: int, fields: list[str], rules: Collection[str]) -> Allowance:
    place = f"line {number}"
    if len(fields) != len(_COLUMNS):
        raise ConfigError(path, place, ",".join(fields), f"it must have {len(_COLUMNS)} fields")
    rule, symbol, first, last, reason = (text.strip() for text in fields)
    if rule not in rules:
        raise ConfigError(path, f"{place}, rule", rule, f"it may be {', '.join(sorted(rules))}")
    if not reason:
        raise ConfigError(path, f"{place}, reason", reason, "say why it is allowed")
    found = {}
    for name, text in (("first", first), ("last", last)):
        try:
            if text:
                found[name] = date.fromisoformat(text)
        except ValueError:
            raise ConfigError(
                path, f"{place}, {name}", text, "it must be a session, YYYY-MM-DD, or empty"
            ) from None
    return Allowance(rule, reason, symbol or None, **found)


def of_option(text: str, rules: Collection[str]) -> Allowance:
    """An allowance for one run, as `RULE=REASON`.

    Raises:
        RequestError: it is none, or there is no such rule.
    """
    rule, _, reason = (part.strip() for part in text.partition("="))
    if rule not in rules or not reason:
        known = one_of(rule, sorted(rules), "rules are")
        raise RequestError("allow", text, f"it must be RULE=REASON; {known}")
    return Allowance(rule, reason)
