"""Which change of the rules makes most differences to the vendor's bars vanish.

A trade has traits: the conditions that it carries, and what else a rule may go by. A hypothesis
forbids all trades that have some, or lifts what some forbid. The rules for high and low, for open
and close, for shares and for the number of trades never touch each other's fields. So each
hypothesis is judged once, for all fields, and what it would do for some fields alone is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

FIELDS = {
    "high_low": ("high", "low"),
    "open_close": ("open", "close"),
    "volume": ("volume",),
    "trades": ("trades",),
}
"""The rules that a bar is made by, and the fields that each decides."""
HOURS = ("regular", "extended", "all")
"""Of the windows: the regular hours' minutes, the other minutes, days."""
BAR = "bar"
"""Whether both sides have the bar, as a field: the rules for prices decide it together. With one
of them changed it is `bar_high_low` or `bar_open_close` that tells."""
SIDES = {"prices": ("high_low", "open_close"), "volume": ("volume", "trades")}
"""What is looked into together: a vendor that drops a trade's prices mostly drops all four."""

TRAITS = {
    "cancelled": "trades that were cancelled",
    "cancel_record": "records of a cancellation",
    "corrected_joined": "trades as they were before a correction",
    "correction": "records of an unusual correction",
    "off_exchange": "off-exchange trades",
    "late": "trades reported more than 10 s late",
    "late_off_exchange": "off-exchange trades reported more than 10 s late",
    "below_one": "trades of less than one share",
    "one_share": "trades of one share (before 2026-02-23 perhaps of less)",
    "fraction": "trades of a fraction above one share",
    "before_open": "trades before the open",
    "after_close": "trades after the close but the closing print",
    "closing_after": "closing prints after the close",
    "minute_joined": "the minute by the participant's clock",
    "closing_joined": "closing prints counted in the minute before the close",
    "size_joined": "sizes in whole shares, as written before 2026-02-23",
}
"""Traits that are no condition, and what they say."""
CLASSES = {
    "cancelled": "correction",
    "cancel_record": "correction",
    "corrected_joined": "correction",
    "correction": "correction",
    "late": "late print",
    "late_off_exchange": "late print",
    "minute_joined": "late print",
    "below_one": "size below one share",
    "one_share": "size below one share",
    "fraction": "fractional size",
    "size_joined": "fractional size",
    "off_exchange": "off exchange",
    "before_open": "hours",
    "after_close": "hours",
    "closing_after": "hours",
    "closing_joined": "hours",
}
"""Traits that are no condition, and the class of a difference that they explain."""
_COUPLES = {name: name.replace("joined", "left") for name in TRAITS if name.endswith("_joined")}
"""Trades are put elsewhere by two traits: freed where they come, barred where they were."""

_ROUNDS = 4
"""So many rules are named for one side at most."""
_LEAST = 2
"""A single difference proves nothing: some condition always makes it vanish."""
_WORTH = 10
"""A rule is named where it explains a tenth of what is left, and a hundredth of all."""
_RIVALS = 4
_PROMISING = 12


@dataclass(frozen=True, order=True)
class Hypothesis:
    """A change of the rules.

    Attributes:
        barred: traits whose trades are forbidden.
        freed: traits that forbid nothing any more.
    """

    barred: tuple[str, ...] = ()
    freed: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Hypothesis, ...]:
        """What it is put together of: one trait each; trades put elsewhere are one part."""
        left = {_COUPLES[name] for name in self.freed if name in _COUPLES}
        return (
            *(Hypothesis((name,)) for name in self.barred if name not in left),
            *(_freed(name) for name in self.freed),
        )

    def __or__(self, other: Hypothesis) -> Hypothesis:
        return Hypothesis(
            tuple(sorted({*self.barred, *other.barred})),
            tuple(sorted({*self.freed, *other.freed})),
        )


@dataclass(frozen=True)
class Tally:
    """Differences of one field in the windows of some hours that a hypothesis touches.

    Attributes:
        before: by the rules as they are.
        after: by the hypothesis.
    """

    before: int
    after: int


Tallies = Mapping[tuple[Hypothesis, str, str], Tally]
"""By hypothesis, hours and field. What is not in it, the hypothesis does not touch."""
Judge = Callable[[Sequence[Hypothesis]], Tallies]


@dataclass(frozen=True)
class Rival:
    """Another change for the same fields, and how many of the same differences it leaves."""

    hypothesis: Hypothesis
    left: int


@dataclass(frozen=True)
class Cause:
    """A change of the rules that explains differences.

    Attributes:
        hours: of the windows: regular, extended, or all.
        rules: of FIELDS, those that it changes.
        before: differences in the fields of these rules (of prices also bars that only one side
            has) before it, and after the causes before it.
        after: those that are left with it.
        alone: what each part leaves when it is the only change.
        rivals: the nearest other changes, the best first.
    """

    hours: str
    side: str
    rules: tuple[str, ...]
    hypothesis: Hypothesis
    before: int
    after: int
    alone: tuple[Rival, ...]
    rivals: tuple[Rival, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(field for rule in self.rules for field in FIELDS[rule])


@dataclass(frozen=True)
class _Candidate:
    """A hypothesis for some rules of a side.

    Attributes:
        left: differences that it leaves in the fields of these rules.
    """

    hypothesis: Hypothesis
    rules: tuple[str, ...]
    left: int


def _freed(trait: str) -> Hypothesis:
    return Hypothesis((_COUPLES[trait],) if trait in _COUPLES else (), (trait,))


def listed(traits: Iterable[str], barring: Iterable[str]) -> tuple[Hypothesis, ...]:
    """Every hypothesis of one part, every pair, and those that people state of the vendor's bars.

    Args:
        traits: all that some trade has.
        barring: those by which some trade may not do something.
    """
    own, by = sorted({*traits}), sorted({*barring})
    barred = [name for name in own if name not in _COUPLES and name not in _COUPLES.values()]
    codes = [name for name in by if name not in TRAITS]
    singles = [*(Hypothesis((name,)) for name in barred), *(_freed(name) for name in by)]
    pairs = [
        *(Hypothesis(pair) for pair in combinations(barred, 2)),
        *(Hypothesis((), pair) for pair in combinations(codes, 2)),
    ]
    stated = [
        Hypothesis(tuple(name for name in names if name in barred))
        for names in (("35", "37", "41"), ("before_open", "after_close", "closing_after"))
    ]
    found = dict.fromkeys([Hypothesis(), *singles, *pairs, *stated])
    return tuple(found)


def search(
    judge: Judge,
    traits: Iterable[str],
    barring: Iterable[str],
    differences: Mapping[tuple[str, str], int],
) -> list[Cause]:
    """The causes of the differences, those of one side in the order in which they were found.

    First every part alone, every pair and what the reference states are judged, then parts are
    added to the best as long as they are worth it. The fewest differences count. But a rule that
    leaves none wins outright; else among those within a hundredth of the differences the one of the
    fewest parts, then the one whose parts explain most alone. So of two rules that explain
    about the same the one wins whose parts say something each, not the one that has a rare
    condition added by chance.

    Args:
        judge: tells what hypotheses do.
        traits, barring: as for `listed`.
        differences: by hours and field, by the rules as they are.
    """
    asked = listed(traits, barring)
    tallies = dict(judge(asked))
    mixed = _mixed(asked, tallies, differences)
    tallies |= judge(mixed)
    searches = [
        _Search(hours, side, differences)
        for hours in sorted({hours for hours, _ in differences}, key=HOURS.index)
        for side in SIDES
    ]
    for each in searches:
        each.choose((*asked, *mixed), tallies)
    singles = [one for one in asked if len(one.parts) == 1]
    for _ in range(_ROUNDS - 1):
        going = [each for each in searches if each.is_open]
        wanted = dict.fromkeys(one for each in going for one in each.next(singles))
        new = [one for one in wanted if one not in tallies_of(tallies)]
        if new:
            tallies |= judge(new)
        for each in going:
            each.choose(tuple(wanted), tallies)
    return [cause for each in searches for cause in each.causes]


def tallies_of(tallies: Tallies) -> set[Hypothesis]:
    """The hypotheses that tallies are of."""
    return {hypothesis for hypothesis, _, _ in tallies}


def _mixed(
    asked: Sequence[Hypothesis],
    tallies: Tallies,
    differences: Mapping[tuple[str, str], int],
) -> tuple[Hypothesis, ...]:
    """Pairs of which one forbids and one lifts, where each does some good alone."""
    gains = {
        one: max(
            (
                tally.before - tally.after
                for key in differences
                if (tally := tallies.get((one, *key))) is not None
            ),
            default=0,
        )
        for one in asked
        if len(one.parts) == 1
    }
    good = sorted((one for one in gains if gains[one] > 0), key=lambda one: (-gains[one], one))
    pairs = combinations(good[:_PROMISING], 2)
    known = {*asked}
    return tuple(one | other for one, other in pairs if one | other not in known)


class _Search:
    """The search for the causes of one side, in windows of some hours."""

    def __init__(self, hours: str, side: str, differences: Mapping[tuple[str, str], int]) -> None:
        self._hours, self._side = hours, side
        self._rules = SIDES[side]
        self._base = {
            rule: sum(differences.get((hours, name), 0) for name in FIELDS[rule])
            for rule in self._rules
        }
        self._base_bars = differences.get((hours, BAR), 0) if side == "prices" else 0
        self._left, self._bars = dict(self._base), self._base_bars
        self._standing = dict.fromkeys(self._rules, Hypothesis())
        self._tallies: Tallies = {}
        self.causes: list[Cause] = []
        self.is_open = self._now(self._rules) >= _LEAST

    def next(self, singles: Sequence[Hypothesis]) -> list[Hypothesis]:
        """What is to be judged for another cause beside those found."""
        return [standing | one for standing in {*self._standing.values()} for one in singles]

    def choose(self, asked: Sequence[Hypothesis], tallies: Tallies) -> None:
        """Name the best of what was judged, if it is worth it; else the search is at its end."""
        if not self.is_open:
            return
        self._tallies = tallies
        ways = [(rule,) for rule in self._rules]
        whole = [one for rules in (*ways, self._rules) for one in self._candidates(asked, rules)]
        best = self._best(whole, self._rules)
        apart = [
            found
            for rules in ways
            if (found := self._best([one for one in whole if one.rules == rules], rules))
        ]
        # Another change for each rule has to do better than one change for both.
        slack = 0 if best is None or not self._total(best) else self._now(self._rules) // 100
        if best and len(apart) > 1 and self._apart(apart) < self._total(best) - slack:
            chosen = apart
        else:
            chosen = [best] if best else []
        for one in chosen:
            self._take(one, [each for each in whole if each.rules == one.rules])
        self.is_open = (
            bool(chosen) and self._now(self._rules) >= _LEAST and len(self.causes) < _ROUNDS
        )

    def _now(self, rules: Sequence[str]) -> int:
        """Differences in the fields of these rules, with the causes found."""
        return sum(self._left[rule] for rule in rules) + self._bars

    def _total(self, one: _Candidate) -> int:
        """Differences that it leaves in the fields of the whole side."""
        return one.left + sum(self._left[rule] for rule in self._rules if rule not in one.rules)

    def _apart(self, found: Sequence[_Candidate]) -> int:
        """Differences that changes for one rule each leave together, at the best."""
        fields = sum(self._fields_with(one.rules[0], one.hypothesis) for one in found)
        return fields + min(self._bars_with(one.rules, one.hypothesis) for one in found)

    def _candidates(
        self, asked: Sequence[Hypothesis], rules: tuple[str, ...]
    ) -> Iterator[_Candidate]:
        """Those that add something to the causes found for these rules."""
        for one in asked:
            standing = [self._standing[rule] for rule in rules]
            if all(one | each == one and one != each for each in standing):
                yield _Candidate(one, rules, self._with(rules, one))

    def _with(self, rules: tuple[str, ...], one: Hypothesis) -> int:
        """Differences in the fields of these rules with the hypothesis in their place."""
        fields = sum(self._fields_with(rule, one) for rule in rules)
        return fields + self._bars_with(rules, one)

    def _fields_with(self, rule: str, one: Hypothesis) -> int:
        return self._base[rule] + sum(self._change(one, name) for name in FIELDS[rule])

    def _bars_with(self, rules: tuple[str, ...], one: Hypothesis) -> int:
        """Bars that only one side has. Where other rules were changed before, at a guess."""
        if self._side != "prices":
            return 0
        if len(rules) > 1:
            return self._base_bars + self._change(one, BAR)
        name = f"{BAR}_{rules[0]}"
        had = self._change(self._standing[rules[0]], name)
        return max(0, self._bars - had + self._change(one, name))

    def _change(self, one: Hypothesis, name: str) -> int:
        found = self._tallies.get((one, self._hours, name))
        return found.after - found.before if found else 0

    def _best(self, candidates: Sequence[_Candidate], rules: tuple[str, ...]) -> _Candidate | None:
        """The best for these rules, or for some of them; None: none is worth it."""
        if not candidates:
            return None
        before = self._now(rules)
        base = sum(self._base[rule] for rule in rules) + self._base_bars

        def left(one: _Candidate) -> int:
            return one.left + sum(self._left[rule] for rule in rules if rule not in one.rules)

        def order(one: _Candidate) -> tuple[object, ...]:
            parts = [whole for _, whole in self._new_parts(one)]
            own = self._now(one.rules)
            explained = sum(max(0, own - self._with(one.rules, part)) for part in parts)
            return (
                len(parts),
                -explained,
                left(one),
                len(one.rules),
                one.rules,
                _key(one.hypothesis),
            )

        least = min(map(left, candidates))
        slack = 0 if least == 0 else before // 100
        best = min((one for one in candidates if left(one) <= least + slack), key=order)
        gain = before - left(best)
        is_worth = gain >= _LEAST and gain * _WORTH >= before and gain * 100 >= base
        return best if is_worth else None

    def _new_parts(self, one: _Candidate) -> list[tuple[Hypothesis, Hypothesis]]:
        """Its parts beside the causes found: each by itself, and as it is judged beside those."""
        standing = self._standing[one.rules[0]]
        old = {*standing.parts}
        return [(part, standing | part) for part in one.hypothesis.parts if part not in old]

    def _take(self, chosen: _Candidate, same: Sequence[_Candidate]) -> None:
        rules, before = chosen.rules, self._now(chosen.rules)
        left = {one.hypothesis: one.left for one in same}
        new = self._new_parts(chosen)
        alone = tuple(Rival(part, self._with(rules, whole)) for part, whole in new)
        rivals = self._rivals(chosen, left, before)
        added = Hypothesis()
        for part, _ in new:
            added |= part
        # The bars first: what they are now rests on the rules as they stood.
        self._bars = self._bars_with(rules, chosen.hypothesis)
        for rule in rules:
            self._left[rule] = self._fields_with(rule, chosen.hypothesis)
            self._standing[rule] = chosen.hypothesis
        after = self._now(rules)
        told = alone if len(alone) > 1 else ()
        self.causes.append(
            Cause(self._hours, self._side, rules, added, before, after, told, rivals)
        )

    def _rivals(
        self, chosen: _Candidate, left: Mapping[Hypothesis, int], before: int
    ) -> tuple[Rival, ...]:
        """The nearest others: none that only adds to the chosen or to a better one."""
        standing = self._standing[chosen.rules[0]]
        found: list[Rival] = []
        ranked = sorted(left, key=lambda one: (left[one], len(one.parts), _key(one)))
        for one in ranked:
            if len(found) == _RIVALS or (before - left[one]) * _WORTH < before:
                break
            if one == chosen.hypothesis or one | chosen.hypothesis == one:
                continue
            wholes = [standing | part for part in one.parts if standing | part != standing]
            is_idle = len(wholes) > 1 and any(
                left.get(whole, before) <= left[one] for whole in wholes
            )
            if not is_idle:
                old = {*standing.parts}
                new = Hypothesis()
                for part in one.parts:
                    new |= part if part not in old else Hypothesis()
                found.append(Rival(new, left[one]))
        return tuple(found)


def _key(one: Hypothesis) -> tuple[object, ...]:
    """An order of hypotheses that explain the same: trades put elsewhere first, since that says
    more than to leave them out; then forbidding, conditions by number before other traits."""

    def place(name: str) -> tuple[int, int, str]:
        return (0, int(name), "") if name.isdigit() else (1, 0, name)

    return (
        not _COUPLES.keys() & {*one.freed},
        len(one.freed),
        tuple(place(name) for name in one.barred),
        tuple(place(name) for name in one.freed),
    )
