"""From an estimate to the phrase: both sides of zero, and neither."""

import pytest

from awm.study import verdicts
from awm.study.evaluation import Duel
from awm.study.statistics import Estimate, Perfect

UP, DOWN, OPEN = Estimate(5, 2, 8), Estimate(-5, -8, -2), Estimate(5, -2, 12)


def test_a_difference_is_what_its_interval_shows():
    assert [verdicts.better(gap, "x") for gap in (UP, DOWN, OPEN, None)] == [
        "better than x", "worse than x", "not shown", "",
    ]  # fmt: skip
    assert [verdicts.helps(gap) for gap in (UP, DOWN, OPEN)] == [
        "it helps", "it hurts", "no effect is shown",
    ]  # fmt: skip
    assert [verdicts.lowers(gap) for gap in (UP, DOWN, OPEN)] == [
        "it hurts", "it helps", "no effect is shown",
    ]  # fmt: skip
    assert verdicts.transfers(DOWN) == "worse than in the usual world"
    said = [verdicts.memory(gap) for gap in (UP, DOWN, OPEN, None)]
    assert "ahead" in said[0] and "behind" in said[1] and said[2] == said[3]


def test_kinds_of_attention_are_told_apart():
    gaps = {"feature": UP, "spatial": DOWN, "temporal": OPEN}
    assert verdicts.drives(gaps) == (
        "feature attention helps; spatial attention hurts; no other effect is shown"
    )
    assert verdicts.drives({"feature": OPEN}) == "no effect of attention is shown"
    assert verdicts.drives({"feature": None}).startswith("one search each")
    assert verdicts.predicts(gaps) == (
        "attention to places helps; attention to features hurts; "
        "for attention to the past no effect is shown"
    ), "less is better"


def test_choosing_is_told_from_the_map():
    assert [verdicts.chooses(gap, 1) for gap in (UP, DOWN, OPEN, None)] == [
        "choosing helps beyond the map", "choosing hurts", "no effect of choosing is shown", "",
    ]  # fmt: skip
    assert verdicts.chooses(DOWN, -1) == "choosing helps beyond the map", "less is better"


def test_what_is_not_shown_is_named():
    claims = {"that a helps": OPEN, "that b helps": UP, "that c helps": OPEN}
    assert verdicts.negative(claims) == "not shown: that a helps; that c helps"
    assert verdicts.negative({"that b helps": UP}) == ""


def test_agents_differ_in_what_they_differ_in():
    assert verdicts.duel(Duel(9, OPEN, DOWN, Perfect(3, 12, 0.035))) == (
        "it is behind in the median over tracks and in perfect laps; "
        "no difference in the mean is shown"
    )
    assert verdicts.duel(Duel(9, UP, UP, Perfect(12, 3, 0.2))) == (
        "it is ahead in the median over tracks and in the mean; "
        "no difference in perfect laps is shown"
    )
    assert verdicts.solves(900, 900) == "solves the task"
    assert verdicts.solves(899, 900) == "does not solve the task"
    assert verdicts.solvers(True, True).endswith("both solve the task")
    assert verdicts.solvers(False, False).startswith("neither")
    assert "only the agent without" in verdicts.solvers(True, False)
    assert "only the agent with " in verdicts.solvers(False, True)


def test_rounds_of_dreams():
    def rounds(*pairs):
        return [{"dreamt": dreamt, "real": real} for dreamt, real in pairs]

    deceived = rounds((1100, 300), (900, 600), (950, 400))
    assert "repaired part" in verdicts.dreams(deceived)
    assert verdicts.rounds([deceived]) == "not every round is a gain"
    assert "did not repair" in verdicts.dreams(rounds((1100, 300), (900, 200)))
    assert "no more than the road paid" in verdicts.dreams(rounds((200, 300), (900, 600)))
    rising = rounds((1, 1), (1, 2))
    assert verdicts.rounds([rising, rising]) == "every round is a gain"
    assert verdicts.rounds([rising, deceived]) == "not every round is a gain"
    assert "better than" in verdicts.teaches(UP) and "worse than" in verdicts.teaches(DOWN)
    assert "no effect" in verdicts.teaches(OPEN)
    assert verdicts.dreaming_on([[1, 2], [4, 3]]).startswith("in 1 of 2")
    assert "better than" in verdicts.heat(UP) and "worse than" in verdicts.heat(DOWN)
    assert "no effect of heat" in verdicts.heat(OPEN)


@pytest.mark.parametrize(
    "same, gap, said",
    [
        (1.0, Estimate(0, 0, 0, 1), "every lap is the same to the digit"),
        (0.5, OPEN, "all of them together show no difference"),
        (0.0, UP, "are BETTER than claimed"),
        (0.0, DOWN, "are WORSE than claimed"),
    ],
)
def test_a_claim_that_was_driven_again(same, gap, said):
    check = {"agent": "plain M", "episodes": 20, "claimed": 905.0, "again": 905.0}
    assert verdicts.recheck(check | {"same": same, "difference": gap}).endswith(said + ".")


def test_a_dreams_error_is_judged_beside_a_guess():
    assert [verdicts.foresight(gap) for gap in (UP, DOWN, OPEN)] == [
        "the dream is worse than that guess",
        "the dream is better than that guess",
        "no difference from that guess is shown",
    ], "less is better"
