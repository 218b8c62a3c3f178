"""What a measurement is said to show: from an estimate to the phrase, here and nowhere else.

The report's text asks these functions, so that no sentence outlives the numbers it stood on. An
estimate whose interval holds zero shows nothing, whatever its sign.
"""

from collections.abc import Mapping, Sequence

from awm.study.evaluation import Duel
from awm.study.statistics import Estimate

#: What each kind of attention looks at.
_LOOKS_AT = {"feature": "features", "spatial": "places", "temporal": "the past"}


def better(gap: Estimate | None, than: str) -> str:
    """Of a difference of returns: better or worse than what it is measured against, or open."""
    return (
        "" if gap is None else ("not shown", f"better than {than}", f"worse than {than}")[gap.sign]
    )


def helps(gap: Estimate) -> str:
    """The same of what is added: it helps, it hurts, or neither is shown."""
    return ("no effect is shown", "it helps", "it hurts")[gap.sign]


def lowers(gap: Estimate) -> str:
    """Of a difference in negative log-likelihood, where less is better."""
    return ("no effect is shown", "it hurts", "it helps")[gap.sign]


def drives(gaps: Mapping[str, Estimate | None]) -> str:
    """Of returns with each kind of attention, less the control's: what the searches show."""
    known = {kind: gap.sign for kind, gap in gaps.items() if gap is not None}
    if not known:
        return "one search each tells nothing of another search"
    shown = [
        f"{kind} attention {('helps', 'hurts')[sign < 0]}" for kind, sign in known.items() if sign
    ]
    if not shown:
        return "no effect of attention is shown"
    rest = ["no other effect is shown"] * (0 in known.values())
    return "; ".join([*shown, *rest])


def predicts(gains: Mapping[str, Estimate]) -> str:
    """Of M's negative log-likelihood with each kind of attention, less the control's."""
    said = []
    for sign, form in (
        (-1, "attention to {} helps"),
        (1, "attention to {} hurts"),
        (0, "for attention to {} no effect is shown"),
    ):
        kinds = [
            looks for kind, looks in _LOOKS_AT.items() if kind in gains and gains[kind].sign == sign
        ]
        if kinds:
            said.append(form.format(" and to ".join(kinds)))
    return "; ".join(said)


def chooses(gap: Estimate | None, helps: int) -> str:
    """Of attention less the same map seen evenly: whether choosing where to look is what helps.

    `helps` is the sign of what is better: 1 for returns, -1 for a negative log-likelihood.
    """
    if gap is None:
        return ""
    return (
        "no effect of choosing is shown",
        "choosing helps beyond the map",
        "choosing hurts",
    )[gap.sign * helps]


def duel(found: Duel) -> str:
    """Of one agent less another on the same tracks: in what the two differ, and in what not."""
    shown = {
        "in the median over tracks": found.median.sign,
        "in perfect laps": found.perfect.sign,
        "in the mean": found.mean.sign,
    }
    said = []
    for sign, form in (
        (1, "it is ahead {}"),
        (-1, "it is behind {}"),
        (0, "no difference {} is shown"),
    ):
        where = [name for name, found_sign in shown.items() if found_sign == sign]
        if where:
            said.append(form.format(" and ".join(where)))
    return "; ".join(said)


def solves(mean: float, solved: float) -> str:
    """Of an agent's mean return: whether it is what has always been called solving the task."""
    return "solves the task" if mean >= solved else "does not solve the task"


def negative(claims: Mapping[str, Estimate]) -> str:
    """Of effects that were looked for, named `that …`: those that are not shown; none is ""."""
    said = [claim for claim, gap in claims.items() if not gap.sign]
    return f"not shown: {'; '.join(said)}" if said else ""


def solvers(plain: bool, attentive: bool) -> str:
    """Which of the refined agents, without attention and with it, solve the task."""
    if plain == attentive:
        return (
            "neither of the two agents solves the task",
            "agents with and without attention both solve the task",
        )[plain]
    return f"only the agent {('with', 'without')[plain]} attention solves the task"


def memory(gap: Estimate | None) -> str:
    """Of a trained M's returns less an untrained one's: what it tells of the published control."""
    return (
        "Here no difference between the two is shown",
        "Here the trained one is ahead",
        "Here the trained one is behind",
    )[0 if gap is None else gap.sign]


def dreams(rounds: Sequence[Mapping]) -> str:
    """Of rounds whose dreams are as long as laps: whether the first deceived, the last did less."""
    first, last = rounds[0], rounds[-1]
    if first["dreamt"] <= first["real"]:
        return "The first dream promised no more than the road paid"
    if last["real"] <= first["real"]:
        return "The first dream deceived its controller, and further rounds did not repair that"
    return "The first dream deceived its controller, and further rounds repaired part of that"


def rounds(chains: Sequence[Sequence[Mapping]]) -> str:
    """Of chains of rounds of iterative training: whether each round was a gain."""
    gains = [
        after["real"] > before["real"]
        for chain in chains
        for before, after in zip(chain, chain[1:], strict=False)
    ]
    return "every round is a gain" if all(gains) else "not every round is a gain"


def teaches(gain: Estimate) -> str:
    """Of the last round's real returns less the first's, over chains: whether dreams teach more."""
    return (
        "no effect of the rounds is shown",
        "after the rounds the driving is better than before",
        "after the rounds the driving is worse than before",
    )[gain.sign]


def dreaming_on(runs: Sequence[Sequence[float]]) -> str:
    """Of real returns along searches in a dream: whether the last controller was the best."""
    past = sum(max(run) > run[-1] for run in runs)
    return f"in {past} of {len(runs)} searches the best driver was not the last one"


def heat(gap: Estimate) -> str:
    """Of real returns after the hottest dreams, less those after the coldest."""
    return (
        "no effect of heat on the driving is shown",
        "hot dreams teach better than cold ones",
        "hot dreams teach worse than cold ones",
    )[gap.sign]


def transfers(gap: Estimate) -> str:
    """Of returns in an altered world, less those in the usual one on the same tracks."""
    return better(gap, "in the usual world")


def recheck(check: Mapping) -> str:
    """Of `awm.study.evaluation.recheck`: whether the claim holds on the tracks driven again."""
    if check["same"] == 1:
        found = "every lap is the same to the digit"
    else:
        on_the_whole = ("show no difference", "are BETTER than claimed", "are WORSE than claimed")
        found = (
            f"{check['same']:.0%} of the laps are the same to the digit, and all of them together "
            f"{on_the_whole[check['difference'].sign]}"
        )
    return (
        f"{check['agent']} on {check['episodes']} reference tracks, driven again: "
        f"{check['again']:.0f}, where the claim has {check['claimed']:.0f} on the same tracks; "
        f"{found}."
    )


def foresight(gap: Estimate) -> str:
    """Of a dream's error, less that of a guess without a model: which of the two is better."""
    return (
        "no difference from that guess is shown",
        "the dream is worse than that guess",
        "the dream is better than that guess",
    )[gap.sign]
