"""Which change of the rules makes most differences to the vendor's bars vanish.

A trade has traits: the conditions that it carries, and what else a rule may go by. A hypothesis
forbids all trades that have some, or lifts what some forbid. The rules for high and low, for open
and close, for shares and for the number of trades never touch each other's fields. So each
hypothesis is judged once, for all fields, and what it would do for some fields alone is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """What a hypothesis does to one field, all windows of some hours together."""

    vanished: int
    arisen: int


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
        before: differences in the fields of its side, before it (and after the causes before it).
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
    """A hypothesis for some rules of a side, and how many differences of the side it leaves."""

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
                tally.vanished - tally.arisen
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
        self._base = {
            rule: sum(differences.get((hours, field), 0) for field in FIELDS[rule])
            for rule in SIDES[side]
        }
        self._left = dict(self._base)
        self._standing = {rule: Hypothesis() for rule in SIDES[side]}
        self.causes: list[Cause] = []
        self.is_open = sum(self._base.values()) >= _LEAST

    def next(self, singles: Sequence[Hypothesis]) -> list[Hypothesis]:
        """What is to be judged for another cause beside those found."""
        return [standing | one for standing in {*self._standing.values()} for one in singles]

    def choose(self, asked: Sequence[Hypothesis], tallies: Tallies) -> None:
        """Name the best of what was judged, if it is worth it; else the search is at its end."""
        if not self.is_open:
            return
        self.is_open = False
        candidates = list(self._candidates(asked, tallies))
        before = sum(self._left.values())
        alone = {(one.hypothesis, one.rules): one.left for one in candidates}
        best = self._best(candidates, alone, before)
        if best is None or not self._is_worth(best.left, before, sum(self._base.values())):
            return
        apart = self._apart(candidates, alone)
        slack = 0 if best.left == 0 else before // 100
        if len(apart) > 1 and before - sum(before - one.left for one in apart) < best.left - slack:
            for one in apart:
                self._take(one, candidates, tallies)
        else:
            self._take(best, candidates, tallies)
        left = sum(self._left.values())
        self.is_open = left >= _LEAST and len(self.causes) < _ROUNDS

    @staticmethod
    def _is_worth(left: int, before: int, base: int) -> bool:
        gain = before - left
        return gain >= _LEAST and gain * _WORTH >= before and gain * 100 >= base

    def _candidates(self, asked: Sequence[Hypothesis], tallies: Tallies) -> Iterable[_Candidate]:
        rules = SIDES[self._side]
        others = sum(self._left.values())
        for one in asked:
            if one == Hypothesis():
                continue
            # Judged beside the causes found, or alone where there are none.
            left = {
                rule: self._with(rule, one, tallies)
                for rule in rules
                if one | self._standing[rule] == one
            }
            added = [rule for rule in left if one != self._standing[rule]]
            for rule in added:
                yield _Candidate(one, (rule,), others - self._left[rule] + left[rule])
            if len(added) > 1:
                yield _Candidate(one, tuple(added), sum(left.values()))

    def _with(self, rule: str, one: Hypothesis, tallies: Tallies) -> int:
        """Differences of a rule's fields with the hypothesis in the place of the rules."""
        found = [tallies.get((one, self._hours, field)) for field in FIELDS[rule]]
        return self._base[rule] + sum(each.arisen - each.vanished for each in found if each)

    def _best(
        self,
        candidates: Sequence[_Candidate],
        alone: Mapping[tuple[Hypothesis, tuple[str, ...]], int],
        before: int,
    ) -> _Candidate | None:
        if not candidates:
            return None
        least = min(one.left for one in candidates)
        slack = 0 if least == 0 else before // 100

        def order(one: _Candidate) -> tuple[object, ...]:
            parts = self._new_parts(one)
            explained = sum(max(0, before - alone.get((part, one.rules), before)) for part in parts)
            return len(parts), -explained, one.left, len(one.rules), one.rules, _key(one.hypothesis)

        return min((one for one in candidates if one.left <= least + slack), key=order)

    def _new_parts(self, one: _Candidate) -> list[Hypothesis]:
        """Its parts beside the causes found, each as it is judged beside those."""
        standing = self._standing[one.rules[0]]
        old = {*standing.parts}
        return [standing | part for part in one.hypothesis.parts if part not in old]

    def _apart(
        self,
        candidates: Sequence[_Candidate],
        alone: Mapping[tuple[Hypothesis, tuple[str, ...]], int],
    ) -> list[_Candidate]:
        """The best for each of the side's rules by itself, those that are worth it."""
        found = []
        for rule in SIDES[self._side]:
            of_rule = [one for one in candidates if one.rules == (rule,)]
            others = sum(self._left.values()) - self._left[rule]
            own = [_Candidate(one.hypothesis, one.rules, one.left - others) for one in of_rule]
            own_alone = {key: left - others for key, left in alone.items() if key[1] == (rule,)}
            best = self._best(own, own_alone, self._left[rule])
            if best is not None and self._is_worth(best.left, self._left[rule], self._base[rule]):
                found.append(_Candidate(best.hypothesis, best.rules, best.left + others))
        return found

    def _take(self, chosen: _Candidate, candidates: Sequence[_Candidate], tallies: Tallies) -> None:
        # Told are the differences in the fields of the rules that it changes.
        before = sum(self._left[rule] for rule in chosen.rules)
        left = {
            one.hypothesis: sum(self._with(rule, one.hypothesis, tallies) for rule in chosen.rules)
            for one in candidates
            if one.rules == chosen.rules
        }
        standing = self._standing[chosen.rules[0]]
        parts = [(part, standing | part) for part in chosen.hypothesis.parts]
        new = [(part, whole) for part, whole in parts if whole != standing]
        alone = tuple(Rival(part, left.get(whole, before)) for part, whole in new)
        rivals = self._rivals(chosen, left, before)
        added = Hypothesis()
        for part, _ in new:
            added |= part
        for rule in chosen.rules:
            self._left[rule] = self._with(rule, chosen.hypothesis, tallies)
            self._standing[rule] = chosen.hypothesis
        self.causes.append(
            Cause(
                self._hours,
                self._side,
                chosen.rules,
                added,
                before,
                left[chosen.hypothesis],
                alone if len(alone) > 1 else (),
                rivals,
            )
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
    """An order of hypotheses: conditions by number before other traits, forbidding first."""

    def place(name: str) -> tuple[int, int, str]:
        return (0, int(name), "") if name.isdigit() else (1, 0, name)

    return (
        len(one.freed),
        tuple(place(name) for name in one.barred),
        tuple(place(name) for name in one.freed),
    )
