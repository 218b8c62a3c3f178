"""From an estimate to the phrase: both sides of zero, and neither."""

import pytest

from awm import verdicts
from awm.results import Duel
from awm.statistics import Estimate, Perfect

UP, DOWN, OPEN = Estimate(5, 2, 8), Estimate(-5, -8, -2), Estimate(5, -2, 12)


def test_a_difference_is_what_its_interval_shows():
    assert [verdicts.better(gap, "x") for gap in (UP, DOWN, OPEN)] == [
        "better than x", "worse than x", "no difference that can be shown",
    ]  # fmt: skip
    assert [verdicts.helps(gap) for gap in (UP, DOWN, OPEN)] == [
        "it helps", "it hurts", "not proven",
    ]  # fmt: skip
    assert [verdicts.lowers(gap) for gap in (UP, DOWN, OPEN)] == [
        "it hurts", "it helps", "not proven",
    ]  # fmt: skip
    said = [verdicts.memory(gap) for gap in (UP, DOWN, OPEN, None)]
    assert "ahead" in said[0] and "behind" in said[1] and said[2] == said[3]


def test_kinds_of_attention_are_told_apart():
    gaps = {"feature": UP, "spatial": DOWN, "temporal": OPEN}
    assert verdicts.drives(gaps) == "Beyond the luck of the search: feature helps, spatial hurts"
    assert verdicts.drives({"feature": OPEN}).endswith("none is proven")
    assert verdicts.drives({"feature": None}).startswith("One run each")
    assert verdicts.predicts(gaps) == (
        "attention to places helps; attention to features hurts; "
        "of attention to the past nothing is proven"
    ), "less is better"


def test_agents_differ_in_what_they_differ_in():
    assert verdicts.duel(Duel(9, OPEN, DOWN, Perfect(3, 12, 0.035))) == (
        "it is behind in the median over tracks and in perfect laps; "
        "no difference in the mean can be shown"
    )
    assert verdicts.duel(Duel(9, UP, UP, Perfect(12, 3, 0.2))) == (
        "it is ahead in the median over tracks and in the mean; "
        "no difference in perfect laps can be shown"
    )


def test_rounds_of_dreams():
    def rounds(*pairs):
        return [{"dreamt": dreamt, "real": real} for dreamt, real in pairs]

    deceived = rounds((1100, 300), (900, 600), (950, 400))
    assert verdicts.dreams(deceived) == "Dreams deceive, and can be corrected"
    assert verdicts.rounds(deceived) == "not every round is a gain"
    assert "did not mend" in verdicts.dreams(rounds((1100, 300), (900, 200)))
    assert "no more than it held" in verdicts.dreams(rounds((200, 300), (900, 600)))
    assert verdicts.rounds(rounds((1, 1), (1, 2))) == "every round is a gain"
    assert verdicts.dreaming_on([[1, 2], [1, 3]]) == "More dreaming was more driving."
    assert verdicts.dreaming_on([[1, 2], [4, 3]]).startswith("In 1 of 2")
    assert verdicts.idle({"held": 0.9, "free": 0.4}).startswith("Part of")
    assert verdicts.idle({"held": 0.3, "free": 0.4}).startswith("One suspect")


@pytest.mark.parametrize(
    "dreamt, real, said",
    [
        ((900, 300), (100, 200), "far more than it improves"),
        ((900, 300), (100, 500), "shrinks the illusion and improves"),
        ((300, 900), (100, 200), "does not shrink"),
        ((900, 300), (200, 100), "has not improved"),
    ],
)
def test_heat(dreamt, real, said):
    cold, hot = ({"dreamt": d, "real": r} for d, r in zip(dreamt, real, strict=True))
    assert said in verdicts.heat(cold, hot)


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
    check = {"controller": "none", "episodes": 20, "claimed": 905.0, "again": 905.0}
    assert verdicts.recheck(check | {"same": same, "difference": gap}).endswith(said + ".")
