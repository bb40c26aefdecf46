"""What came of a reconciliation, in terms of JSON and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from warehouse.bars.compare import COMPARED, Comparison, Group, Share
from warehouse.bars.hypotheses import TRAITS, Cause, Hypothesis, Rival
from warehouse.core.representation import Face, as_object, plain
from warehouse.store.catalog import Reconciliation
from warehouse.text import as_json, count, percent, printable, some

_RULES = {
    "high_low": "high/low",
    "open_close": "open/close",
    "volume": "volume",
    "trades": "number of trades",
}
_WHERE = {
    "regular": "minutes of the regular hours",
    "extended": "minutes before the open and after the close",
    "all": "days",
}
_WORST = 10
"""So many symbols with the smallest shares are told."""


@dataclass(frozen=True, repr=False)
class TypeReconciliation(Face):
    """Our bars against one data type of the vendor's.

    Attributes:
        first, last: of the sessions with trades; None: there are none of what was asked.
        symbols: how many of these have trades.
        untold: the vendor's bars that were not compared, as no trade of their session is here.
        unheld: symbols that have the vendor's bars, and no trade at all.
    """

    data_type: str
    first: date | None
    last: date | None
    symbols: int
    untold: int
    unheld: tuple[str, ...]
    comparison: Comparison

    def _face(self) -> dict[str, Any]:
        compared, equal = (sum(getattr(one, name) for one in self.shares) for name in _COUNTS)
        return {
            "": self.data_type,
            "first": self.first,
            "last": self.last,
            "symbols": self.symbols,
            "equal": _equal(equal, compared),
            "causes": len(self.comparison.causes) or None,
        }

    @property
    def shares(self) -> list[Share]:
        """How much of each field is equal, by hours, all symbols together."""
        return [one for one in self.comparison.shares if not one.symbol and one.compared]

    @property
    def worst(self) -> list[Share]:
        """Fields of single symbols that have the smallest shares, below one."""
        found = [one for one in self.comparison.shares if one.symbol and one.equal < one.compared]
        found.sort(key=lambda one: (one.equal / one.compared, one.symbol, one.hours, one.field))
        return found[:_WORST]

    @property
    def classes(self) -> dict[str, int]:
        """Differences by class, the most frequent first."""
        counts = Counter[str]()
        for one in self.comparison.groups:
            counts[one.kind] += one.count
        return dict(counts.most_common())


@dataclass(frozen=True, repr=False)
class ReconcileReport(Face):
    """Our bars, built from trades, against the vendor's.

    Attributes:
        checked_at: UTC.
        results: by data type, in the order asked.
        names: of trade conditions, by id.
    """

    checked_at: datetime
    results: tuple[TypeReconciliation, ...]
    names: Mapping[str, str] = field(repr=False, default_factory=dict)

    def _face(self) -> dict[str, Any]:
        shares = [share for one in self.results for share in one.shares]
        compared, equal = (sum(getattr(one, name) for one in shares) for name in _COUNTS)
        return {
            "": ", ".join(one.data_type for one in self.results),
            "equal": _equal(equal, compared),
            "causes": sum(len(one.comparison.causes) for one in self.results) or None,
        }

    def __str__(self) -> str:
        """The whole of it: a table of shares, the classes, the causes in words."""
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """All of it in terms of JSON."""
        return {
            "checked_at": plain(self.checked_at),
            "results": [self._as_object(one) for one in self.results],
        }

    def rows(self, symbols: Sequence[str]) -> list[Reconciliation]:
        """What the catalog keeps of it: the run is not known yet.

        Args:
            symbols: those asked about; none: all.
        """
        found = []
        for one in self.results:
            for share in one.shares:
                groups: list[Group | None] = [
                    group
                    for group in one.comparison.groups
                    if (group.hours, group.field) == (share.hours, share.field)
                ]
                for group in groups or [None]:
                    told = _group(group) if group else None
                    found.append(
                        Reconciliation(
                            "",
                            self.checked_at.replace(tzinfo=None),
                            one.data_type,
                            ",".join(symbols) or None,
                            one.first,
                            one.last,
                            share.hours,
                            share.field,
                            share.compared,
                            share.equal,
                            group.kind if group else None,
                            self.words(group.cause) if group and group.cause else None,
                            group.count if group else 0,
                            as_json(told["examples"] if told else [], compact=True),
                        )
                    )
        return found

    def lines(self) -> Iterator[str]:
        """What `str` gives, line by line."""
        for one in self.results:
            if one.first is None:
                yield f"{one.data_type}: nothing to compare: no session asked has both"
                continue
            days = f"{one.first}" if one.first == one.last else f"{one.first} to {one.last}"
            yield f"{one.data_type} {days}, {count(one.symbols, 'symbol')}"
            yield from _table(one.shares)
            for kind, number in one.classes.items():
                yield f"  {number:>9,}  {kind}{self._by_cause(one, kind)}"
            for cause in one.comparison.causes:
                said, *rivals = self.sentence(cause).split("; ")
                yield f"  {said}"
                yield from (f"    {rival}" for rival in rivals)
            if one.untold:
                yield f"  {count(one.untold, 'bar')} not compared: no trade of that session is here"
            if one.unheld:
                named = some(map(printable, one.unheld), 5)
                yield f"  without any trade here, not compared: {named}"

    def sentence(self, cause: Cause) -> str:
        """A cause in words: what, where, how much it explains, what else would."""
        gone = cause.before - cause.after
        text = (
            f"{_WHERE[cause.hours]}: {self.change(cause.hypothesis, cause.rules)}"
            f" {gone:,} of {count(cause.before, 'difference')} vanish"
        )
        if cause.alone:
            told = [
                f"{self.short(one.hypothesis)} {cause.before - one.left:,}" for one in cause.alone
            ]
            text += f" (alone {', '.join(told)})"
        if cause.rivals:
            told = [
                f"{self.short(one.hypothesis)} {cause.before - one.left:,}" for one in cause.rivals
            ]
            text += f"; rivals: {', '.join(told)}"
        return text

    def change(self, hypothesis: Hypothesis, rules: Sequence[str]) -> str:
        """A change of the rules in words: `without 14 (Intermarket Sweep) in high/low`."""
        return f"{self.words(hypothesis)} in {_and([_RULES[rule] for rule in rules])}"

    def words(self, hypothesis: Hypothesis) -> str:
        """What a change forbids and allows, by name: `without 14 (Intermarket Sweep)`."""
        barred = [self._named(one.barred[0]) for one in hypothesis.parts if not one.freed]
        freed = [
            one.freed[0] for one in hypothesis.parts if one.freed and one.freed[0] not in TRAITS
        ]
        other = [one.freed[0] for one in hypothesis.parts if one.freed and one.freed[0] in TRAITS]
        said = []
        if barred:
            said.append(f"without {_and(barred)}")
        if freed:
            said.append(f"with {_and([self._named(one) for one in freed])} allowed")
        if other:
            said.append(f"with {_and([TRAITS[one] for one in other])}")
        return _and(said)

    def short(self, hypothesis: Hypothesis) -> str:
        """A change in as few words as can be: `without 10 and 14`."""
        barred = [one.barred[0] for one in hypothesis.parts if not one.freed]
        freed = [one.freed[0] for one in hypothesis.parts if one.freed]
        said = [
            *([f"without {_and([TRAITS.get(one, one) for one in barred])}"] if barred else []),
            *([f"with {_and([TRAITS.get(one, one) for one in freed])}"] if freed else []),
        ]
        return _and(said)

    def _named(self, trait: str) -> str:
        name = self.names.get(trait)
        return TRAITS.get(trait) or (f"{trait} ({printable(name)})" if name else printable(trait))

    def _by_cause(self, one: TypeReconciliation, kind: str) -> str:
        """What the differences of a class are due to, the most frequent first."""
        counts = Counter[str]()
        for group in one.comparison.groups:
            if group.kind == kind and group.cause is not None:
                counts[self.short(group.cause)] += group.count
        told = [f"{text} {number:,}" for text, number in counts.most_common()]
        return f": {some(told, 3)}" if told else ""

    def _as_object(self, one: TypeReconciliation) -> dict[str, Any]:
        return {
            **as_object(one, "data_type", "first", "last", "symbols", "untold", "unheld"),
            "shares": [_share(each) for each in one.shares],
            "worst": [_share(each) for each in one.worst],
            "differences": [_group(each) for each in one.comparison.groups],
            "causes": [self._cause(each) for each in one.comparison.causes],
        }

    def _cause(self, cause: Cause) -> dict[str, Any]:
        return {
            "hours": cause.hours,
            "rules": list(cause.rules),
            "fields": list(cause.fields),
            **_hypothesis(cause.hypothesis),
            "before": cause.before,
            "after": cause.after,
            "text": self.sentence(cause),
            "alone": [_rival(one) for one in cause.alone],
            "rivals": [_rival(one) for one in cause.rivals],
        }


_COUNTS = ("compared", "equal")


def _equal(equal: int, compared: int) -> str | None:
    return f"{percent(equal, compared)} of {compared:,} fields" if compared else None


def _table(shares: Sequence[Share]) -> Iterator[str]:
    """The shares as a table of hours by fields, in percent."""
    if not shares:
        return
    rows = [["", "bars", *("both have it" if name == "bar" else name for name in COMPARED)]]
    for hours in dict.fromkeys(one.hours for one in shares):
        own = {one.field: one for one in shares if one.hours == hours}
        number = f"{own['bar'].compared:,}" if "bar" in own else ""
        cells = [
            percent(own[name].equal, own[name].compared) if name in own else "not told"
            for name in COMPARED
        ]
        rows.append([hours, number, *cells])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {first.strip():<{widths[0]}}  {'  '.join(others)}".rstrip()


def _share(one: Share) -> dict[str, Any]:
    share = one.equal / one.compared
    own = as_object(one, "hours", "field", "compared", "equal", share=share)
    return {"symbol": one.symbol, **own} if one.symbol else own


def _group(one: Group) -> dict[str, Any]:
    return {
        **as_object(one, "hours", "field"),
        "class": one.kind,
        "count": one.count,
        "cause": None if one.cause is None else _hypothesis(one.cause),
        "examples": [
            {
                **as_object(each, "symbol", "session", "ours", "theirs"),
                "timestamp": _instant(each.start_ns),
            }
            for each in one.examples
        ],
    }


def _instant(nanoseconds: int) -> str:
    return str(plain(datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)))


def _hypothesis(one: Hypothesis) -> dict[str, Any]:
    return {"barred": list(one.barred), "freed": list(one.freed)}


def _rival(one: Rival) -> dict[str, Any]:
    return {**_hypothesis(one.hypothesis), "after": one.left}


def _and(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
