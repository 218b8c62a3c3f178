"""What the story can say: every value that it names, from the records and what the study asks.

A value is looked up or computed here and a verdict is decided in `awm.study.verdicts`, so that the
story is left with words. A verdict has the intervals that it stands on as its tooltip. What a
profile does not do is `NOTHING`, which the story leaves out without a note.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
from itertools import groupby
from statistics import fmean, median

from awm.data.drivers import SIGHTED
from awm.evolution.search import best_validated, log_of
from awm.ids import ATTENTIONS, KINDS, SEEN, Agent, Memory
from awm.racing import MAX_EPISODE_STEPS
from awm.report import settings
from awm.report.page import escape
from awm.report.records import NOTHING, STAGES, Text, Value, number, record, when
from awm.store import Workspace
from awm.study import cost, evaluation, likelihood, statistics, verdicts
from awm.study.statistics import Estimate, Perfect
from awm.widgets.demos import DEMOS

#: Validated returns at which the ways to a driver are compared.
_LEVELS = (300, 500, 700, 800)

#: A lap that earns less than this has gone wrong, and not only missed a tile.
_LOST = 700

#: How the report calls alterations of the world.
_ALTERED = {
    "colours": "Gymnasium’s random colours",
    "bars": "a black bar on each side of the picture",
    "patch": "a red patch that rides along in the picture",
}

#: How prose calls what C sees, or an M.
_NAMED = {"V": "V alone", "pair": "the last two codes", "untrained": "an untrained M"}
_NAMED |= {"plain": "plain M", "wide": "the wide M", "even": "even weights"}
_NAMED |= {kind: f"{kind} attention" for kind in ATTENTIONS}

#: All evaluations of a profile, by frames and agent.
_Laps = Mapping[tuple[str, Agent], Value]


def values(ws: Workspace, demos: Mapping[str, str]) -> dict:
    """All that the story names, by name.

    `demos` are those that the page shows, HTML by place: what only makes sense beside one asks for
    it.
    """
    profile, laps, today = ws.profile, _laps(ws), datetime.now()
    nll = record(ws, "study/attentions.json")["nll"]
    first, second = [*profile.headline, None][:2]
    records = ("baselines", "feature_maps", "rewards", "faults", "probes")
    dreamt = Agent(Memory(round=profile.dream.rounds), "dream")
    return {
        "profile": profile,
        "release": {"date": f"{today:%-d %B %Y}", "year": Text(f"{today:%Y}")}
        | {"version": Text(version("awm")), "profile": Text(profile.name)},
        "published": _published(),
        "demos": {place: demos.get(place) for place in DEMOS},
        "benchmarks": (ws.report / "benchmarks.html").exists(),
        "kinds": [(kind, Memory(kind).label) for kind in ("untrained", *profile.predictors)],
        "searched": _searched(profile.evolution.searched_on),
        "rollouts": _rollouts(record(ws, "rollouts.json")),
        "vae": record(ws, "vae.json"),
        "m": {kind: record(ws, f"mdn_rnn/{kind}.json") for kind in KINDS},
        **{name: record(ws, f"study/{name}.json") for name in records},
        "gains": _gains(nll),
        "ends": _ends(ws),
        "dream_error": _dream_error(record(ws, "study/dream_error.json")),
        "search": _log(ws, profile.agent("plain")),
        **_driving(ws, laps, nll),
        "agent": _evaluation(ws, laps, first),
        "attentive": _evaluation(ws, laps, second) if second else NOTHING,
        "solved": _solved(laps, first, second),
        "duels": [_duel(laps, second, first, frames) for frames in ("reference", "fast")],
        "headline": [
            laps[frames, agent]
            for frames in ("reference", "fast")
            for agent in profile.headline
            if (frames, agent) in laps
        ],
        "altered": _altered(ws, laps),
        "dreamers": _dreamers(laps),
        "dreams": _dreams(ws),
        "temperatures": _temperatures(ws),
        "rounds": _rounds(ws),
        "idle": _idle(record(ws, "study/transfer.json")),
        "honest": _honest(laps.get(("fast", Agent().refined()))),
        "night": _searches(_family(laps, dreamt)),
        "from_zero": _searches(_family(laps, Agent())),
        "on_track": _on_track(ws, laps),
        "routes": _routes(ws),
        "levels": _LEVELS,
        "settings": settings.tables(profile),
        "seeds": settings.seeds(),
        "hours": _hours(ws),
    }


def _effect(
    gap: Estimate | None,
    origin: str,
    verdict: Callable[[Estimate], str],
    digits: int = 0,
    better: str = "more",
) -> Value:
    """An estimate's `value`, its `interval`, both as they are `said`, and its `verdict`."""
    if gap is None:
        return NOTHING
    value, low, high = (Value(n, origin).signed(digits) for n in (gap.value, gap.low, gap.high))
    interval = f"{low}\\ to\\ {high}"
    facts = {"value": value, "interval": Text(interval), "said": Text(f"{value}, {interval}")}
    return Value(facts | {"verdict": _said(verdict(gap), gap, better=better)}, origin)


def _said(verdict: str, *on: Estimate | Perfect, better: str = "more") -> Text:
    """A verdict, with what it stands on as its tooltip: `+288 (+161 to +415), more is better`."""
    found = [
        f"alone perfect on {one.first} against {one.second}, p = {one.p:.2g}"
        if isinstance(one, Perfect)
        else f"{one.value:+.4g} ({one.low:+.4g} to {one.high:+.4g}), {better} is better"
        for one in on
    ]
    return Text(number(escape(verdict), "; ".join(found), kind=".verdict "))


def _with(found: Value, **facts) -> Value:
    """A record with what follows from it."""
    return Value({**found.raw, **facts}, found.origin) if found else found


def _mean(numbers: Sequence[float | None], origin: str) -> Value:
    """Their average; None if one is not known."""
    return Value(None if None in numbers else fmean(numbers), origin)


def _published() -> dict:
    """What others have reported, each number with its place there."""
    found = evaluation.PUBLISHED
    parts = {
        part: {
            key: Value(n["value"], "dharna2019, " * (part == "original") + n["where"])
            for key, n in found[part].items()
            if "value" in n
        }
        for part in ("original", "loud_echo")
    }
    returns = [
        work
        | {
            key: Value(work[key], "{source}, {where}".format(**work))
            for key in ("mean", "deviation")
        }
        | {"source": Text(f"@{work['source']}")}
        for work in found["returns"].values()
    ]
    return parts | {"returns": returns}


def _rollouts(found: Value) -> Value:
    names = found["drivers"].raw or []
    by = {name: names.count(name) for name in names}
    seeing = sum(by.get(name, 0) for name in SIGHTED)
    return _with(found, by=by, episodes=len(names), seeing=seeing)


def _searched(trainings: Sequence[int]) -> Value:
    """On which trainings of M the searches for a model drive, and what that does to intervals."""
    if len(trainings) == len(set(trainings)):
        return NOTHING
    origin = "simulated: awm.study.statistics.coverage"
    facts = {
        "runs": len(trainings),
        "trainings": len(set(trainings)),
        "seeds": ", ".join(map(str, trainings)),
        "coverage": [Value(statistics.coverage(d, trainings), origin) for d in (0, 0.5, 1)],
    }
    return Value(facts, "the profile")


def _gains(nll: Value) -> Value:
    """What attention adds to M's likelihood beyond its control, and what size alone adds."""
    if not nll:
        return nll
    found, control = likelihood.gains(nll.raw), likelihood.control_of(nll.raw)
    if not found:
        return NOTHING
    trainings = len(nll.raw[control])

    def less(one: str, other: str, verdict: Callable[[Estimate], str]) -> Value:
        if not {one, other} <= nll.raw.keys():
            return NOTHING
        origin = f"{nll.origin}, Welch's interval, {one} less {other}"
        gap = statistics.difference(nll.raw[one], nll.raw[other])
        return _effect(gap, origin, verdict, 3, "less")

    attentive = {kind: gain for kind, gain in found.items() if kind in ATTENTIONS}
    origin = f"{nll.origin}, Dunnett's intervals over {trainings} trainings, less {control}"
    facts = {
        "control": _NAMED[control],
        "trainings": trainings,
        "verdict": _said(verdicts.predicts(attentive), *attentive.values(), better="less"),
        "average": {k: _mean(each, f"{nll.origin}, mean of {k}") for k, each in nll.raw.items()},
        "larger": less("wide", "plain", verdicts.lowers),
        "choice": less("spatial", "even", partial(verdicts.chooses, helps=-1)),
        "even": NOTHING,
    }
    each = {k: _effect(gain, origin, verdicts.lowers, 3, "less") for k, gain in found.items()}
    return Value(facts | each, nll.origin)


def _ends(ws: Workspace) -> Value:
    """How well plain M expects that an episode ends, over all its trainings: spans of steps."""
    memories = [Memory(seed=seed) for seed in range(ws.profile.mdn_rnn.seeds)]
    found = [record(ws, f"mdn_rnn/{memory}.json")["test"]["ends"] for memory in memories]
    if not all(found):
        return NOTHING
    names = ("true", "expected", "found")
    true, expected, right = (sum(each[name].raw for each in found) for name in names)
    facts = {
        "precision": right / expected if expected else None,
        "recall": right / true if true else None,
    }
    origin = f"{found[0].origin}, over {len(found)} trainings"
    facts = {name: Value(share, origin) for name, share in facts.items()}
    return Value(facts | {"true": true, "trainings": len(found)}, origin)


def _dream_error(found: Value) -> Value:
    """How far dreams are off, beside the guess without a model, and what attention changes."""
    steps, less, second, facts = found["steps"].raw or [], found["less"].raw or {}, {}, {}
    at = steps.index(50) if 50 in steps else len(steps)
    for kind in ("frame", "return"):
        off = {end: found["models"]["plain"][end][kind][at] for end in ("mean", "low", "high")}
        guess, ends = found["persistence"][kind][at], [end.raw for end in off.values()]
        gap = None if None in ends else Estimate(*(end - guess.raw for end in ends))
        verdict = gap and _said(verdicts.foresight(gap), gap, better="less")
        second[kind] = off | {"guess": guess, "verdict": verdict}
        gaps = {a: Estimate(*less[a][kind].values()) for a in ATTENTIONS if a in less}
        said = gaps and _said(verdicts.predicts(gaps), *gaps.values(), better="less")
        facts[f"{kind}_less"] = said or None
    control = found and _NAMED[found["control"].raw]
    return _with(found, **facts, second=second, control=control)


# Agents.


def _laps(ws: Workspace) -> dict[tuple[str, Agent], Value]:
    """All evaluations of a profile, by frames and agent, each with what its agent cost."""
    laps = {}
    for name in evaluation.evaluations(ws):
        found = record(ws, name)
        agent, returns = Agent.parse(found["agent"].raw), found["returns"].raw
        origin = f"rollouts, V, M and the logs of the searches that led to {agent.label}"
        spent = {key: Value(n, origin) for key, n in cost.cost(ws, agent).items()}
        middle = statistics.median_of_laps(returns) or (None, None)
        laps[found["frames"].raw, agent] = _with(
            found,
            **spent,
            sees=_NAMED[agent.memory.kind],
            lost=Value(sum(r < _LOST for r in returns), f"{found.origin}: returns below"),
            middle=[Value(end, f"{found.origin}: returns") for end in middle],
            # A mean of 900 has always been called a solution of the task.
            solves=verdicts.solves(found["mean"].raw, evaluation.PERFECT),
        )
    return laps


def _evaluation(ws: Workspace, laps: _Laps, agent: Agent, frames: str = "reference") -> Value:
    missing = Value(None, f"data/{ws.profile.name}/evaluations/{agent}.{frames}.json")
    return laps.get((frames, agent), missing)


def _family(laps: _Laps, agent: Agent) -> list[Value]:
    """The evaluations of all seeds of a search, on fast frames."""
    return [v for (f, a), v in laps.items() if f == "fast" and a.family == agent.family]


def _searches(group: Sequence[Value]) -> Value:
    """The searches of a family: what each earned, and what all earned and cost on average."""
    if not group:
        return NOTHING
    names = ", ".join(found.origin for found in group)
    told = {"mean": names, "finished": names}
    spent = f"rollouts and logs that led to {names}"
    told |= dict.fromkeys(("real_steps", "dream_steps", "watched_laps"), spent)
    facts = {
        key: _mean([found[key].raw for found in group], f"mean {key} of {origin}")
        for key, origin in told.items()
    }
    facts |= {"runs": len(group), "first": group[0]}
    facts["each"] = Text(", ".join(str(found["mean"]) for found in group))
    return Value(facts, group[0].origin)


def _driving(ws: Workspace, laps: _Laps, nll: Value) -> dict:
    """What the same search earned with each kind of model, how they compare as `driving`, and the
    effects of attention and of M that were looked for and are not shown, as `negative`.
    """
    kinds = ws.profile.evolution.kinds
    control, test = ("wide", "Dunnett's") if "wide" in kinds else ("plain", "Welch's")
    groups = {kind: _family(laps, Agent(Memory(kind))) for kind in kinds}
    gaps = evaluation.contrasts({k: [v.raw for v in each] for k, each in groups.items()}, control)
    facts: dict = dict.fromkeys(SEEN, NOTHING)
    for kind, group in groups.items():
        other = control if kind in (*ATTENTIONS, "even") else "plain"
        gap, than = gaps.get((kind, other)), _NAMED[other]
        origin = f"{test} interval over searches, {kind} less {other}"
        facts[kind] = _with(
            _searches(group) or _evaluation(ws, laps, ws.profile.agent(kind), "fast"),
            label=Memory(kind).label,
            than=than if gap else None,
            gap=_effect(gap, origin, partial(verdicts.better, than=than)),
            worth=_effect(_less(gap), origin, verdicts.helps),
        )
    attentive = {kind: gaps.get((kind, control)) for kind in ATTENTIONS if groups.get(kind)}
    known = [gap for gap in attentive.values() if gap]
    trained = _less(gaps.get(("untrained", "plain")))
    facts |= {
        "control": _NAMED[control],
        "shown": _said(verdicts.drives(attentive), *known) if attentive else NOTHING,
        "memory": _said(verdicts.memory(trained), trained) if trained else NOTHING,
        "choice": _effect(
            gaps.get(("spatial", "even")),
            "Welch's interval over searches, spatial less even",
            partial(verdicts.chooses, helps=1),
        ),
    }
    predicted = likelihood.gains(nll.raw) if nll else {}
    claims = {f"that {k} attention helps M to predict": predicted.get(k) for k in ATTENTIONS}
    claims |= {f"that {k} attention helps C to drive": gaps.get((k, control)) for k in ATTENTIONS}
    claims |= {
        f"that plain M helps C beyond {_NAMED[k]}": gaps.get((k, "plain"))
        for k in ("V", "pair", "untrained")
    }
    claims = {claim: gap for claim, gap in claims.items() if gap and not gap.sign}
    negative = _said(verdicts.negative(claims), *claims.values()) if claims else NOTHING
    return {"driving": facts, "negative": negative}


def _less(gap: Estimate | None) -> Estimate | None:
    """The same difference, seen from the other side."""
    return gap and Estimate(-gap.value, -gap.high, -gap.low, gap.p)


def _solved(laps: _Laps, first: Agent, second: Agent | None) -> Value:
    """Which of the headline agents solve the task, and the best mean of theirs."""
    found = [laps.get(("reference", agent), NOTHING) for agent in (first, second) if agent]
    if len(found) < 2 or not all(found):
        return NOTHING
    solves = [each["mean"].raw >= evaluation.PERFECT for each in found]
    best = max(found, key=lambda each: each["mean"].raw)
    return Value({"verdict": verdicts.solvers(*solves), "best": best["mean"]}, best.origin)


def _duel(laps: _Laps, one: Agent | None, other: Agent, frames: str) -> Value:
    """Two agents on the same tracks, one less the other."""
    sides = [v for agent in (one, other) if agent and (v := laps.get((frames, agent)))]
    found = evaluation.compare_agents(*(s.raw for s in sides)) if len(sides) == 2 else None
    if found is None:
        return NOTHING
    origin = "track by track: " + ", ".join(side.origin for side in sides)
    facts = {
        "frames": frames,
        "one": sides[0]["sees"],
        "other": sides[1]["sees"],
        "tracks": found.tracks,
        "mean": _effect(found.mean, origin, verdicts.helps),
        "median": _effect(found.median, origin, verdicts.helps, 1),
        "first": found.perfect.first,
        "second": found.perfect.second,
        "p": Value(found.perfect.p, f"McNemar's exact test, {origin}", _probability),
        "verdict": _said(verdicts.duel(found), found.median, found.perfect, found.mean),
    }
    return Value(facts, origin)


def _probability(p: float) -> str:
    if p > 0.99:
        return "> 0.99"
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"


def _altered(ws: Workspace, laps: _Laps) -> Value:
    """The headline agents in worlds that look otherwise, beside the usual world's same tracks."""
    found = {
        (each["agent"], each["alteration"]): record(ws, name)
        for name, each in evaluation.evaluations(ws, altered=True).items()
    }
    rows = []
    for agent in ws.profile.headline:
        for looks, called in _ALTERED.items():
            if each := found.get((str(agent), looks)):
                usual = laps.get((each["frames"].raw, agent))
                duel = usual and evaluation.compare_agents(each.raw, usual.raw)
                origin = f"track by track, {each.origin}, {usual and usual.origin}"
                gap = _effect(duel and duel.mean, origin, verdicts.transfers)
                sees, looks = _NAMED[agent.memory.kind], Text(called)
                rows.append(_with(each, sees=sees, looks=looks, gap=gap))
    if not rows:
        return NOTHING
    return Value({"rows": rows, "tracks": rows[0]["episodes"]}, "evaluations in altered worlds")


# Dreams.


def _log(ws: Workspace, agent: Agent) -> Value:
    """The generations of an agent's last search."""
    name = f"agents/{agent}.jsonl"
    path = ws.find(name) or ws.own / name
    return Value(log_of(ws, agent) or None, str(path.relative_to(ws.root)))


def _dreams(ws: Workspace) -> Value:
    """The searches in plain M's dream: whether the last controller was the best on the road."""
    logs = [_log(ws, Agent(Memory(), "dream", seed)) for seed in range(ws.profile.dream.seeds)]
    runs = [[e["real"] for e in log.raw or () if e.get("real") is not None] for log in logs]
    if not all(runs):
        return Value(None, logs[runs.index([])].origin)
    past = any(max(run) > run[-1] for run in runs)
    return Value({"verdict": verdicts.dreaming_on(runs), "negative": when(past)}, logs[0].origin)


def _temperatures(ws: Workspace) -> Value:
    """Dreamt and real return of the searches at each temperature of a dream."""
    rows, reals = [], []
    for heat, logs in sorted(cost.dream_logs(ws).items()):
        best = [best_validated(log) for log in logs]
        origin = f"median of {len(logs)} searches in plain M's dream at temperature {heat:g}"
        reals.append([e["real"] for e in best])
        dreamt, real = median(e["validation"] for e in best), median(reals[-1])
        rows.append({"heat": heat, "dreamt": Value(dreamt, origin), "real": Value(real, origin)})
    if len(rows) < 2:
        return NOTHING
    known = min(len(reals[0]), len(reals[-1])) > 1
    gap = statistics.difference(reals[-1], reals[0]) if known else None
    origin = "Welch's interval over searches, hottest less coldest"
    facts = {"rows": rows, "searches": ws.profile.dream.seeds}
    return Value(facts | {"gap": _effect(gap, origin, verdicts.heat)}, "logs of the dreams")


def _rounds(ws: Workspace) -> Value:
    """The chains of rounds of iterative training."""
    if not ws.profile.dream.rounds:
        return NOTHING
    chains = [record(ws, f"study/rounds-{memory}.json")["rounds"] for memory in ws.profile.chains]
    known = [chain for chain in chains if chain]
    if not known:
        return chains[0]
    many, names = len(known) > 1, ", ".join(chain.origin for chain in known)
    gains = [chain.raw[-1]["real"] - chain.raw[0]["real"] for chain in known]
    origin = f"{known[0].origin}, over {len(known)} chains"

    def over(at: int) -> dict[str, Value]:
        return {
            key: _mean(
                [chain.raw[at][key] for chain in known], f"mean over {names}, round {at}: {key}"
            )
            for key in ("dreamt", "real")
        }

    facts = {
        "chains": len(known),
        "where": f"{len(known)} chains" if many else "one chain",
        "rows": [list(chain) for chain in known],
        "first": over(0),
        "last": over(-1),
        "count": len(known[0]) - 1,
        "steady": verdicts.rounds([chain.raw for chain in known]),
        "gain": _effect(
            statistics.mean_of_runs(gains) if many else None,
            f"{origin}: real, last less first, Student's interval",
            verdicts.teaches,
        ),
        "deceit": NOTHING if ws.profile.dream.search.moments else verdicts.dreams(known[0].raw),
    }
    return Value(facts, origin)


def _dreamers(laps: _Laps) -> list[Value]:
    """Controllers that were evolved in dreams alone, a row for each kind of dream and of frames."""

    def kind(key: tuple[str, Agent]):
        return key[0] != "reference", str(key[1].family)

    found = sorted((key for key in laps if key[1].found == "dream"), key=kind)
    groups = (list(keys) for _, keys in groupby(found, kind))
    return [
        _with(_searches([laps[key] for key in keys]), label=keys[0][1].family.label)
        for keys in groups
    ]


def _idle(found: Value) -> Value:
    """Dreams in which the latents that carry nothing are held at their mean."""
    if found and not found["rank"]["all"]["last"]:
        return NOTHING
    return _with(found, controllers=len(found["agents"]))


def _honest(found: Value | None) -> Value:
    """What a dream, which has no finish, pays for the pace of the refined agent's perfect laps."""
    lengths = zip(found["returns"].raw, found["lengths"].raw or (), strict=False) if found else ()
    perfect = [length for earned, length in lengths if earned >= evaluation.PERFECT]
    if not found or not perfect:
        return NOTHING
    steps = fmean(perfect)
    earns = MAX_EPISODE_STEPS * (1000 / steps - 0.1)
    return Value({"steps": steps, "earns": earns}, f"{found.origin}: mean of the perfect laps")


def _on_track(ws: Workspace, laps: _Laps) -> list[Value]:
    """Agents that went on on the track from where a dream had left them, by the dream's round."""
    agents = {n: Agent(Memory(round=n), "dream").on_track() for n in ws.profile.dream.on_track}
    groups = {n: _searches(_family(laps, agent)) for n, agent in agents.items()}
    return [_with(group, round=n) for n, group in groups.items() if group]


def _routes(ws: Workspace) -> list[dict]:
    """For each way to a driver what it had spent when it first reached a level."""
    rows = []
    for way, runs in cost.routes(ws).items():
        runs, cells = [run for run in runs if run], []
        for level in _LEVELS:
            origin = f"first validation of at least {level}, {way}"
            if spent := cost.spent(runs, level):
                steps, hours = (Value(spent[k], origin) for k in ("real_steps", "core_hours"))
                cells.append(Text(f"{steps.millions()}\\ M, {hours.to(1)}\\ h"))
            else:
                cells.append("not reached")
        if runs:
            seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
            rows.append({"way": f"{way.capitalize()}, {seeds}", "cells": cells})
    return rows


def _hours(ws: Workspace) -> list[tuple[str, Value, Value]]:
    """What took how long: what was done, how many results, and their wall times together."""
    rows = []
    for what, patterns in STAGES.items():
        names = [name for pattern in patterns for name in ws.names(pattern)]
        spent = [t for name in names if (t := record(ws, name).raw.get("wall_time_s")) is not None]
        origin = f"wall times of {', '.join(patterns)}"
        if spent:
            rows.append((what, Value(len(spent), origin), Value(sum(spent), origin)))
    return rows
