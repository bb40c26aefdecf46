"""The search: which change of the rules is named, where several explain about the same."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.bars.hypotheses import Cause, Hypothesis, Tallies, Tally, listed, search


def found(
    left: dict[tuple[str, ...], int], before: int = 1_000, codes: Sequence[str] = ("10", "14", "41")
) -> list[Cause]:
    """The causes, where conditions that are barred leave so many of the differences of the highs.

    A set that is not told leaves as many as the best of its parts.
    """

    def remaining(one: Hypothesis) -> int:
        if one.freed:
            return before
        names = {*one.barred}
        return min((number for told, number in left.items() if {*told} <= names), default=before)

    def judge(asked: Sequence[Hypothesis]) -> Tallies:
        return {(one, "regular", "high"): Tally(before, remaining(one)) for one in asked}

    return search(judge, codes, [], {("regular", "high"): before})


def barred(*names: str) -> Hypothesis:
    return Hypothesis(names)


def test_of_rules_that_leave_about_the_same_the_one_wins_whose_parts_explain_most_alone() -> None:
    told = {("14",): 120, ("41",): 240, ("10",): 980, ("14", "41"): 100, ("10", "14"): 95}
    (cause,) = found(told)
    assert cause.hypothesis == barred("14", "41")
    assert (cause.before, cause.after) == (1_000, 100)
    assert [one.left for one in cause.alone] == [120, 240]
    assert cause.rivals[0].hypothesis == barred("10", "14")


def test_one_condition_wins_over_a_pair_that_explains_hardly_more() -> None:
    (cause,) = found({("14",): 100, ("10", "14"): 95})
    assert cause.hypothesis == barred("14")


def test_a_rule_that_leaves_nothing_wins_outright() -> None:
    (cause,) = found({("14",): 4, ("10", "14"): 0})
    assert cause.hypothesis == barred("10", "14")


def test_what_explains_less_than_a_tenth_is_not_named() -> None:
    assert found({("14",): 901}) == []
    assert found({("14",): 0}, before=1) == []


def test_a_second_cause_is_named_for_what_the_first_leaves() -> None:
    # Three conditions, each for a third of the differences: no pair leaves none.
    told = {
        ("10",): 700, ("14",): 600, ("41",): 700,
        ("10", "14"): 300, ("14", "41"): 310, ("10", "41"): 400,
        ("10", "14", "41"): 0,
    }  # fmt: skip
    first, second = found(told)
    assert first.hypothesis == barred("10", "14")
    assert second.hypothesis == barred("41")
    assert (first.after, second.before, second.after) == (300, 300, 0)


def test_trades_put_elsewhere_are_one_part_and_never_half() -> None:
    asked = listed(["14", "minute_left", "minute_joined"], ["minute_joined", "12"])
    moved = Hypothesis(("minute_left",), ("minute_joined",))
    assert moved in asked
    assert len(moved.parts) == 1
    assert Hypothesis(("minute_left",)) not in asked
    assert not any("minute_left" in one.barred and one != moved for one in asked)
