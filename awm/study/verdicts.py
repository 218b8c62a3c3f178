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
    if gap is None:
        return ""
    return ("no difference that can be shown", f"better than {than}", f"worse than {than}")[
        gap.sign
    ]


def helps(gap: Estimate) -> str:
    """The same of what is added: it helps, it hurts, or that is not proven."""
    return ("not proven", "it helps", "it hurts")[gap.sign]


def drives(gaps: Mapping[str, Estimate | None]) -> str:
    """Of returns with each kind of attention, less those with none: what searches prove."""
    known = {kind: gap for kind, gap in gaps.items() if gap is not None}
    if not known:
        return "One run each tells nothing of the luck of the search"
    proven = [
        f"{kind} {('helps', 'hurts')[gap.sign < 0]}" for kind, gap in known.items() if gap.sign
    ]
    if proven:
        return f"Beyond the luck of the search: {', '.join(proven)}"
    return "The luck of the search is larger than these differences: none is proven"


def predicts(gains: Mapping[str, Estimate]) -> str:
    """Of M's negative log-likelihood with each kind of attention, less the control's."""
    said = []
    for sign, form in (
        (-1, "attention to {} helps"),
        (1, "attention to {} hurts"),
        (0, "of attention to {} nothing is proven"),
    ):
        chosen = {kind: gain for kind, gain in gains.items() if kind in _LOOKS_AT}
        kinds = [_LOOKS_AT[kind] for kind, gain in chosen.items() if gain.sign == sign]
        if kinds:
            said.append(form.format(" and to ".join(kinds)))
    if even := gains.get("even"):
        said.append(f"the same map without a choice: {lowers(even)}")
    return "; ".join(said)


def lowers(gap: Estimate) -> str:
    """Of a difference in negative log-likelihood, where less is better."""
    return ("not proven", "it hurts", "it helps")[gap.sign]


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
        (0, "no difference {} can be shown"),
    ):
        where = [name for name, found_sign in shown.items() if found_sign == sign]
        if where:
            said.append(form.format(" and ".join(where)))
    return "; ".join(said)


def memory(gap: Estimate | None) -> str:
    """Of a trained M's returns less an untrained one's: what it tells of the published control."""
    sign = 0 if gap is None else gap.sign
    return (
        "Here the two cannot be told apart",
        "Here the trained one is ahead",
        "Here the trained one is behind",
    )[sign]


def dreams(rounds: Sequence[Mapping]) -> str:
    """Of rounds of iterative training: whether the first dream deceived, and the last did less."""
    first, last = rounds[0], rounds[-1]
    if first["dreamt"] <= first["real"]:
        return "The first dream promised no more than it held"
    if last["real"] <= first["real"]:
        return "Dreams deceive, and rounds of learning did not mend it"
    return "Dreams deceive, and can be corrected"


def rounds(found: Sequence[Mapping]) -> str:
    """Of rounds of iterative training: whether each was a gain."""
    real = [each["real"] for each in found]
    return (
        "every round is a gain"
        if all(after > before for before, after in zip(real, real[1:], strict=False))
        else "not every round is a gain"
    )


def idle(rank: Mapping[str, float]) -> str:
    """Of the rank correlations of real with dreamt return, latents `held` at their mean or not."""
    if rank["held"] > rank["free"]:
        return "Part of what goes wrong has a cause that can be named."
    return "One suspect was not the cause."


def dreaming_on(runs: Sequence[Sequence[float]]) -> str:
    """Of real returns along searches in a dream: whether the last controller was the best."""
    past = sum(max(run) > run[-1] for run in runs)
    if past == 0:
        return "More dreaming was more driving."
    who = "In all of them" if past == len(runs) else f"In {past} of {len(runs)}"
    return f"{who} the best driver was left behind: more dreaming is not always more driving."


def heat(cold: Mapping[str, float], hot: Mapping[str, float]) -> str:
    """Of `dreamt` and `real` returns in the coldest and in the hottest dream."""
    shrinks, improves = cold["dreamt"] - hot["dreamt"], hot["real"] - cold["real"]
    if improves <= 0:
        return "Heat has not improved the driving."
    if shrinks <= 0:
        return "Heat improves the driving, but the illusion does not shrink."
    if shrinks > 2 * improves:
        return "Heat shrinks the illusion far more than it improves the driving."
    return "Heat shrinks the illusion and improves the driving."


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
        "no difference from that guess can be shown",
        "the dream is worse than that guess",
        "the dream is better than that guess",
    )[gap.sign]
