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
    """The same of what is added: it helps, it hurts, or that is not shown."""
    return ("not shown", "it helps", "it hurts")[gap.sign]


def lowers(gap: Estimate) -> str:
    """Of a difference in negative log-likelihood, where less is better."""
    return ("not shown", "it hurts", "it helps")[gap.sign]


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
        "an effect of choosing is not shown",
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


def teaches(gain: Estimate | None) -> str:
    """Of the last round's real returns less the first's, over chains: whether dreams teach more."""
    if gain is None:
        return "one chain tells nothing of another"
    return (
        "that rounds improve the driving is not shown",
        "over the rounds the driving gets better than it was",
        "over the rounds the driving gets worse than it was",
    )[gain.sign]


def idle(rank: Mapping[str, float]) -> str:
    """Of the rank correlations of real with dreamt return, latents `held` at their mean or not."""
    return "ranks them better" if rank["held"] > rank["free"] else "does not rank them better"


def dreaming_on(runs: Sequence[Sequence[float]]) -> str:
    """Of real returns along searches in a dream: whether the last controller was the best."""
    past = sum(max(run) > run[-1] for run in runs)
    return f"in {past} of {len(runs)} searches the best driver was not the last one"


def heat(gap: Estimate) -> str:
    """Of real returns after the hottest dreams, less those after the coldest."""
    return (
        "an effect of heat on the driving is not shown",
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
