"""What the story can say: every value that it names, from the records and what the study asks.

A value is looked up or computed here and a verdict is decided in `awm.study.verdicts`, so that the
story is left with words. A verdict has the intervals that it stands on as its tooltip. What a
profile does not do is `NOTHING`, which the story leaves out without a note.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import version
from itertools import groupby
from statistics import fmean, median

from awm import stages
from awm.config import TEST_SEEDS
from awm.data.drivers import SIGHTED
from awm.evolution.search import best_validated, log_of
from awm.ids import ATTENTIONS, KINDS, Agent, Memory
from awm.racing import MAX_EPISODE_STEPS
from awm.report import settings
from awm.report.page import escape
from awm.report.records import Text, Value, number, record
from awm.store import Workspace
from awm.study import cost, evaluation, likelihood, statistics, verdicts
from awm.study.statistics import Estimate, Perfect
from awm.widgets.demos import DEMOS
from awm.worlds.altered import ALTERATIONS

NOTHING = Value(None, "")

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

#: What the hours are spent on: records whose wall time is counted.
_STAGES = {
    "recording episodes": ("rollouts*.json",),
    "training V": ("vae.json",),
    "training M": ("mdn_rnn/*.json", "feature_map.json"),
    "searching for C": ("agents/*.json",),
    "testing and measuring": ("evaluations/*.json", "evaluations/altered/*.json", "study/*.json"),
}


def values(ws: Workspace, demos: Mapping[str, str] | None = None) -> dict:
    """All that the story names, by name.

    `demos` are those that the page shows, HTML by place: what only makes sense beside one names it.
    """
    profile, laps = ws.profile, _Laps(ws)
    nll = record(ws, "study/attentions.json")["nll"]
    first, second = [*profile.headline, None][:2]
    predictors = ("untrained", *profile.predictors)
    dream, kinds = profile.dream, profile.evolution.kinds
    return {
        "profile": profile,
        "published": _published(),
        "release": {"date": f"{datetime.now():%-d %B %Y}", "year": Text(f"{datetime.now():%Y}")}
        | {"version": Text(version("awm")), "profile": Text(profile.name)},
        "demo": {place: _when(bool((demos or {}).get(place))) for place in DEMOS},
        "when": {
            "benchmarks": _when((ws.report / "benchmarks.html").exists()),
            "smoke": _when(profile.name == "smoke"),
            "attentive": _when(second is not None),
            "even": _when(profile.mdn_rnn.even),
            "uneven": _when(not profile.mdn_rnn.even),
            "equal_size": _when("wide" in kinds),
            "unequal_size": _when("wide" not in kinds),
            "pair": _when("pair" in kinds),
            "faint": _when("untrained" in set(kinds) - set(profile.evolution.standardised)),
            "loud": _when("untrained" in profile.evolution.standardised),
            "one_chain": _when(bool(dream.on_track) and not dream.chains),
            "chains": _when(bool(dream.on_track and dream.chains)),
            "moments": _when(dream.search.moments),
            "starts": _when(not dream.search.moments),
            "held": _when(dream.search.idle_at_mean),
            "free": _when(not dream.search.idle_at_mean),
            "registered": _when(profile.name == "second"),
            "unregistered": _when(profile.name != "second"),
        },
        "kinds": [(kind, Memory(kind).label) for kind in predictors],
        "seen": kinds,
        "searched": _searched(profile.evolution.searched_on),
        "rollouts": _rollouts(ws),
        "vae": record(ws, "vae.json"),
        "m": {kind: record(ws, f"mdn_rnn/{kind}.json") for kind in KINDS},
        **{
            name: record(ws, f"study/{name}.json")
            for name in ("baselines", "feature_maps", "rewards", "faults", "probes")
        },
        "gains": _gains(nll),
        "ends": _ends(ws),
        "dream_error": _dream_error(record(ws, "study/dream_error.json")),
        "search": _log(ws, profile.agent("plain")),
        "driving": _driving(ws, laps),
        "negative": _negative(ws, laps, nll),
        "agent": laps.agent(first, "reference"),
        "attentive": laps.agent(second, "reference"),
        "solved": _solved(laps, first, second),
        "duels": [_duel(laps, second, first, frames) for frames in ("reference", "fast")],
        "headline": laps.rows(profile.headline),
        "altered": _altered(ws, laps),
        "dreamers": _dreamers(ws, laps),
        "dreams": _dreams(ws),
        "temperatures": _temperatures(ws),
        "rounds": _rounds(ws),
        "idle": _idle(record(ws, "study/transfer.json")),
        "honest": _honest(laps),
        "night": _searches(ws, laps.family(Agent(Memory(round=dream.rounds), "dream"))),
        "from_zero": _searches(ws, laps.family(Agent())),
        "on_track": _on_track(ws, laps),
        "routes": _routes(ws),
        "levels": _LEVELS,
        "settings": settings.tables(profile),
        "seeds": settings.seeds(),
        "hours": _hours(ws),
    }


def _when(holds: bool) -> Value:
    """Nothing to read, to name in a paragraph that only some profiles have."""
    return Value(Text(""), "") if holds else NOTHING


def _shown(found: Estimate | None, origin: str, digits: int = 0) -> Value:
    """An estimate's `value`, `low`, `high`, both as an `interval`, and `p`, ready to be read."""
    if found is None:
        return NOTHING
    facts = {key: Value(n, origin).signed(digits) for key, n in asdict(found).items()}
    facts["said"] = Text(f"{facts['value']}, {facts['low']}\\ to\\ {facts['high']}")
    facts["interval"] = Text(f"{facts['low']}\\ to\\ {facts['high']}")
    return Value(facts | {"p": Value(found.p, origin, _probability)}, origin)


def _probability(p: float) -> str:
    if p > 0.99:
        return "> 0.99"
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"


def _said(verdict: str, *on: Estimate | Perfect | None, better: str = "more") -> Text:
    """A verdict, with what it stands on as its tooltip: `+288 (+161 to +415), more is better`."""
    found = [
        f"alone perfect on {one.first} against {one.second}, p = {one.p:.2g}"
        if isinstance(one, Perfect)
        else f"{one.value:+.4g} ({one.low:+.4g} to {one.high:+.4g}), {better} is better"
        for one in on
        if one is not None
    ]
    return Text(number(escape(verdict), "; ".join(found), kind=".verdict "))


def _with(found: Value, **facts) -> Value:
    """A record with what follows from it."""
    return Value({**found.raw, **facts}, found.origin) if found else found


def _published() -> dict:
    """What others have reported, each number with its place there."""
    found = evaluation.PUBLISHED
    works = {name: {**work} for name, work in found["returns"].items()}
    for work in works.values():
        for key in ("mean", "deviation"):
            work[key] = Value(work[key], f"{work['source']}, {work['where']}")
        work["source"] = Text(f"@{work['source']}")
    parts = {
        part: {
            key: Value(
                n["value"], f"dharna2019, {n['where']}" if part == "original" else n["where"]
            )
            for key, n in numbers.items()
            if "value" in n
        }
        for part, numbers in found.items()
        if part != "returns"
    }
    return {**works, **parts, "returns": list(works.values())}


def _rollouts(ws: Workspace) -> Value:
    found = record(ws, "rollouts.json")
    names = found["drivers"].raw or []
    by = {name: names.count(name) for name in names}
    seeing = sum(by.get(name, 0) for name in SIGHTED)
    return _with(found, by=by, episodes=len(names), seeing=seeing)


def _searched(trainings: Sequence[int]) -> Value:
    """On which trainings of M the searches for a model drive, and what that does to intervals."""
    if len(trainings) == len(set(trainings)):
        return NOTHING
    origin = "simulated: awm.study.statistics.coverage"
    return Value(
        {
            "runs": len(trainings),
            "trainings": len(set(trainings)),
            "seeds": ", ".join(map(str, trainings)),
            "coverage": [Value(statistics.coverage(d, trainings), origin) for d in (0, 0.5, 1)],
        },
        "the profile",
    )


def _gains(nll: Value) -> Value:
    """What attention adds to M's likelihood beyond its control, and what size alone adds."""
    if not nll:
        return nll
    found, control = likelihood.gains(nll.raw), likelihood.control_of(nll.raw)
    if not found:
        return NOTHING
    trainings = len(nll.raw[control])
    facts = {"control": _NAMED[control], "trainings": trainings, "larger": NOTHING, "even": NOTHING}
    origin = f"{nll.origin}, Dunnett's intervals over {trainings} trainings, less {control}"
    facts |= {kind: _shown(gain, origin, 3) for kind, gain in found.items()}
    facts["average"] = {
        kind: Value(fmean(each), f"{nll.origin}, mean of {kind}") for kind, each in nll.raw.items()
    }
    choice = None
    if "even" in nll.raw and "spatial" in nll.raw:
        choice = statistics.difference(nll.raw["spatial"], nll.raw["even"])
    chosen = _shown(choice, f"{nll.origin}, Welch's interval, spatial less even", 3)
    said = _said(verdicts.chooses(choice, -1), choice, better="less")
    facts["choice"] = _with(chosen, verdict=said)
    if even := found.get("even"):
        facts["even"] = _with(
            facts["even"], verdict=_said(verdicts.lowers(even), even, better="less")
        )
    if control == "wide":
        size = statistics.difference(nll.raw["wide"], nll.raw["plain"])
        shown = _shown(size, f"{nll.origin}, Welch's interval, wide less plain", 3)
        facts["larger"] = _with(shown, verdict=_said(verdicts.lowers(size), size, better="less"))
    attentive = {kind: gain for kind, gain in found.items() if kind in ATTENTIONS}
    verdict = _said(verdicts.predicts(attentive), *attentive.values(), better="less")
    return Value(facts | {"verdict": verdict}, nll.origin)


def _ends(ws: Workspace) -> Value:
    """How well plain M expects that an episode ends, over all its trainings: spans of steps."""
    memories = [Memory(seed=seed) for seed in range(ws.profile.mdn_rnn.seeds)]
    found = [record(ws, f"mdn_rnn/{memory}.json")["test"]["ends"] for memory in memories]
    if not all(found):
        return NOTHING
    true, expected, right = (
        sum(each[name].raw for each in found) for name in ("true", "expected", "found")
    )
    origin = f"{found[0].origin}, over {len(found)} trainings"
    shares = {
        "precision": right / expected if expected else None,
        "recall": right / true if true else None,
    }
    facts = {name: Value(share, origin) for name, share in shares.items()}
    return Value(facts | {"true": true, "trainings": len(found)}, origin)


def _dream_error(found: Value) -> Value:
    """How far dreams are off, beside the guess without a model, and what attention changes."""
    steps, facts = found["steps"].raw or [], {}
    at = steps.index(50) if 50 in steps else len(steps)
    for kind in ("frame", "return"):
        off = {end: found["models"]["plain"][end][kind][at] for end in ("mean", "low", "high")}
        guess, ends = found["persistence"][kind][at], [end.raw for end in off.values()]
        gap = None if None in ends else Estimate(*(end - guess.raw for end in ends))
        verdict = gap and _said(verdicts.foresight(gap), gap, better="less")
        facts.setdefault("second", {})[kind] = off | {"guess": guess, "verdict": verdict}
    less = found["less"].raw or {}
    for kind in ("frame", "return"):
        gaps = {a: Estimate(*less[a][kind].values()) for a in ATTENTIONS if a in less}
        facts[f"{kind}_less"] = (
            gaps and _said(verdicts.predicts(gaps), *gaps.values(), better="less") or None
        )
    return _with(found, **facts, control=found and _NAMED[found["control"].raw])


# Agents.


class _Laps:
    """All evaluations of a profile, by frames and agent."""

    def __init__(self, ws: Workspace):
        self.ws = ws
        self.found: dict[tuple[str, Agent], Value] = {}
        for name, found in evaluation.evaluations(ws).items():
            if found.get("alteration") or found["settings"].get("alteration"):
                continue  # `_altered`
            self.found[found["frames"], Agent.parse(found["agent"])] = record(ws, name)

    @property
    def agents(self) -> list[Agent]:
        return list(dict.fromkeys(agent for _, agent in self.found))

    def family(self, agent: Agent) -> list[Value]:
        """Those of all seeds of a search, on fast frames."""
        everyone = self.found.items()
        return [v for (f, a), v in everyone if f == "fast" and a.family == agent.family]

    def agent(self, agent: Agent | None, frames: str) -> Value:
        """One evaluation with what its agent cost."""
        if agent is None:
            return NOTHING
        found = self.found.get((frames, agent))
        if found is None:
            return record(self.ws, f"evaluations/{agent}.{frames}.json")
        origin = f"rollouts, V, M and the logs of the searches that led to {agent.label}"
        spent = {key: Value(n, origin) for key, n in cost.cost(self.ws, agent).items()}
        lost = Value(sum(r < _LOST for r in found["returns"].raw), f"{found.origin}: returns below")
        middle = statistics.median_of_laps(found["returns"].raw)
        ends = middle and [Value(end, f"{found.origin}: returns") for end in middle]
        # A mean of 900 has always been called a solution of the task.
        solves = verdicts.solves(found["mean"].raw, evaluation.PERFECT)
        facts = {
            "label": agent.label,
            "sees": _NAMED[agent.memory.kind],
            "lost": lost,
            "middle": ends or [NOTHING, NOTHING],
            "solves": solves,
        }
        return _with(found, **spent, **facts)

    def rows(self, agents: Sequence[Agent]) -> list[Value]:
        """Those of some agents, reference frames first."""
        keys = [(agent, frames) for frames in ("reference", "fast") for agent in agents]
        return [
            self.agent(agent, frames) for agent, frames in keys if (frames, agent) in self.found
        ]


def _average(group: Sequence[Value], key: str) -> Value:
    """The average of a number over the seeds of a search; None if it is not known of all."""
    origin = f"mean {key} of " + ", ".join(each.origin for each in group)
    numbers = [each[key].raw for each in group]
    return Value(fmean(numbers) if numbers and None not in numbers else None, origin)


def _contrasts(ws: Workspace, laps: _Laps) -> tuple[str, dict[tuple[str, str], Estimate]]:
    """What attention is compared with as a driver, and all comparisons of searches."""
    kinds = ws.profile.evolution.kinds
    control = "wide" if "wide" in kinds else "plain"
    groups = {kind: [v.raw for v in laps.family(Agent(Memory(kind)))] for kind in kinds}
    return control, evaluation.contrasts(groups, control)


def _driving(ws: Workspace, laps: _Laps) -> Value:
    """What the same search earned with each kind of model, on test tracks, and how they compare."""
    control, found = _contrasts(ws, laps)
    groups = {kind: laps.family(Agent(Memory(kind))) for kind in ws.profile.evolution.kinds}
    test = "Dunnett's" if control == "wide" else "Welch's"
    facts: dict = dict.fromkeys(("V", "pair", *KINDS), NOTHING)
    for kind, group in groups.items():
        if not group:
            agent = ws.profile.agent(kind)
            facts[kind] = Value(None, f"data/{ws.profile.name}/evaluations/{agent}.fast.json")
            continue
        other = control if kind in (*ATTENTIONS, "even") else "plain"
        gap, than = found.get((kind, other)), _NAMED[other]
        origin = f"{test} interval over searches, {kind} less {other}"
        worth = gap and _less(gap)
        costs = [cost.cost(ws, Agent.parse(e.raw["agent"]))["real_steps"] for e in group]
        steps = None if None in costs else fmean(costs)
        facts[kind] = Value(
            {
                "label": Memory(kind).label,
                "runs": len(group),
                "tracks": group[0]["episodes"],
                "each": Text(", ".join(str(e["mean"]) for e in group)),
                "average": _average(group, "mean"),
                "finished": _average(group, "finished"),
                "steps": Value(steps, f"rollouts and logs of the searches of {kind}"),
                "than": than if gap else None,
                "gap": _shown(gap, origin),
                "verdict": _said(verdicts.better(gap, than), gap) if gap else None,
                "worth": _shown(worth, origin),
                "helps": _said(verdicts.helps(worth), worth) if worth else None,
            },
            group[0].origin,
        )
    attentive = {kind: found.get((kind, control)) for kind in ATTENTIONS if groups.get(kind)}
    shown = attentive and _said(verdicts.drives(attentive), *attentive.values())
    untrained, choice = found.get(("untrained", "plain")), found.get(("spatial", "even"))
    trained = untrained and _less(untrained)
    chosen = _shown(choice, "Welch's interval over searches, spatial less even")
    facts |= {
        "control": _NAMED[control],
        "shown": Value(shown or None, ""),
        "memory": Value(trained and _said(verdicts.memory(trained), trained), ""),
        "choice": _with(chosen, verdict=_said(verdicts.chooses(choice, 1), choice)),
    }
    return Value(facts, "")


def _less(gap: Estimate) -> Estimate:
    """The same difference, seen from the other side."""
    return Estimate(-gap.value, -gap.high, -gap.low, gap.p)


def _negative(ws: Workspace, laps: _Laps, nll: Value) -> Value:
    """The effects of attention and of M that were looked for and are not shown."""
    control, driven = _contrasts(ws, laps)
    predicted = likelihood.gains(nll.raw) if nll else {}
    claims = {f"that {k} attention helps M to predict": predicted.get(k) for k in ATTENTIONS}
    claims |= {f"that {k} attention helps C to drive": driven.get((k, control)) for k in ATTENTIONS}
    claims |= {
        f"that plain M helps C beyond {_NAMED[k]}": driven.get((k, "plain"))
        for k in ("V", "pair", "untrained")
    }
    known = {claim: gap for claim, gap in claims.items() if gap}
    said = verdicts.negative(known)
    return Value(_said(said, *(g for g in known.values() if not g.sign)) if said else None, "")


def _solved(laps: _Laps, first: Agent, second: Agent | None) -> Value:
    """Which of the headline agents solve the task, and the best mean of theirs."""
    found = {a: v for a in (first, second) if (v := laps.found.get(("reference", a)))}
    if len(found) < 2:
        return NOTHING
    solves = [each.raw["mean"] >= evaluation.PERFECT for each in found.values()]
    best = max(found.values(), key=lambda each: each.raw["mean"])
    return Value({"verdict": verdicts.solvers(*solves), "best": best["mean"]}, best.origin)


def _duel(laps: _Laps, one: Agent | None, other: Agent | None, frames: str) -> Value:
    """Two agents on the same tracks, one less the other."""
    sides = [v for agent in (one, other) if (v := laps.found.get((frames, agent)))]
    found = evaluation.compare_agents(*(s.raw for s in sides)) if len(sides) == 2 else None
    if found is None:
        return NOTHING
    origin = "track by track: " + ", ".join(side.origin for side in sides)
    facts = {
        "frames": frames,
        "one": _NAMED[one.memory.kind],
        "other": _NAMED[other.memory.kind],
        "tracks": found.tracks,
        "mean": _shown(found.mean, origin),
        "median": _shown(found.median, origin, 1),
        "first": found.perfect.first,
        "second": found.perfect.second,
        "p": Value(found.perfect.p, f"McNemar's exact test, {origin}", _probability),
        "verdict": _said(verdicts.duel(found), found.median, found.perfect, found.mean),
    }
    return Value(facts, origin)


def _log(ws: Workspace, agent: Agent) -> Value:
    """The generations of an agent's last search."""
    name = f"agents/{agent}.jsonl"
    path = ws.find(name) or ws.own / name
    return Value(log_of(ws, agent) or None, str(path.relative_to(ws.root)))


def _altered(ws: Workspace, laps: _Laps) -> Value:
    """The headline agents in worlds that look otherwise, beside the usual world's same tracks."""
    found = {}
    for pattern in ("evaluations/*.json", "evaluations/altered/*.json"):
        for name in ws.names(pattern):
            each = record(ws, name)
            looks = each.raw.get("alteration") or each.raw["settings"].get("alteration")
            if looks:
                agent, first = Agent.parse(each.raw["agent"]), each.raw["seeds"][0] - TEST_SEEDS
                how = (each.raw["frames"], each.raw["episodes"], first, looks)
                if not ws.differences(each.raw, stages.evaluation(ws.profile, agent, *how)):
                    found[agent, looks] = each
    rows = []
    for agent in ws.profile.headline:
        for looks in ALTERATIONS:
            each = found.get((agent, looks))
            if each is None:
                continue
            usual = laps.found.get((each.raw["frames"], agent))
            duel = usual and evaluation.compare_agents(each.raw, usual.raw)
            gap = duel and duel.mean
            facts = {"sees": _NAMED[agent.memory.kind], "looks": Text(_ALTERED[looks])}
            facts["gap"] = _shown(gap, f"track by track, {each.origin}, {usual and usual.origin}")
            facts["verdict"] = _said(verdicts.transfers(gap), gap) if gap else None
            rows.append(_with(each, **facts))
    if not rows:
        return NOTHING
    facts = {"rows": rows, "tracks": rows[0]["episodes"], "shown": Text("")}
    return Value(facts, "evaluations in altered worlds")


# Dreams.


def _dreams(ws: Workspace) -> Value:
    """The searches in plain M's dream: whether the last controller was the best on the road."""
    logs = [_log(ws, Agent(Memory(), "dream", seed)) for seed in range(ws.profile.dream.seeds)]
    runs = [[e["real"] for e in log.raw or () if e.get("real") is not None] for log in logs]
    if not all(runs):
        return replace(logs[runs.index([])], raw=None)
    past = any(max(run) > run[-1] for run in runs)
    facts = {"verdict": verdicts.dreaming_on(runs), "negative": _when(past)}
    return Value(facts, logs[0].origin)


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
    facts = {"rows": rows, "searches": ws.profile.dream.seeds, "gap": NOTHING}
    if min(len(reals[0]), len(reals[-1])) > 1:
        gap = statistics.difference(reals[-1], reals[0])
        shown = _shown(gap, "Welch's interval over searches, hottest less coldest")
        facts["gap"] = _with(shown, verdict=_said(verdicts.heat(gap), gap))
    return Value(facts, "logs of the dreams")


def _rounds(ws: Workspace) -> Value:
    """The chains of rounds of iterative training."""
    if not ws.profile.dream.rounds:
        return NOTHING
    chains = [record(ws, f"study/rounds-{memory}.json")["rounds"] for memory in ws.profile.chains]
    known = [chain for chain in chains if chain]
    if not known:
        return chains[0]
    gains = [chain.raw[-1]["real"] - chain.raw[0]["real"] for chain in known]
    gain = statistics.mean_of_runs(gains) if len(gains) > 1 else None
    origin = f"{known[0].origin}, over {len(known)} chains"
    facts = {
        "chains": len(known),
        "where": "one chain" if len(known) == 1 else f"{len(known)} chains",
        "rows": [list(chain) for chain in known],
        "first": _over(known, 0),
        "last": _over(known, -1),
        "count": len(known[0]) - 1,
        "steady": verdicts.rounds([chain.raw for chain in known]),
        "gain": NOTHING,
        "alone": _when(gain is None),
        "teaches": NOTHING,
        "deceit": NOTHING if ws.profile.dream.search.moments else verdicts.dreams(known[0].raw),
    }
    if gain:
        facts["gain"] = _shown(gain, f"{origin}: real, last less first, Student's interval")
        facts["teaches"] = _said(verdicts.teaches(gain), gain)
    return Value(facts, origin)


def _over(chains: Sequence[Value], at: int) -> dict[str, Value]:
    """What a round found, on average over the chains."""
    numbers = ("dreamt", "real", "real_steps", "vae_error")
    origin = f"mean over {', '.join(chain.origin for chain in chains)}, round {at}"
    return {
        n: Value(fmean(chain.raw[at][n] for chain in chains), f"{origin}: {n}") for n in numbers
    }


def _dreamers(ws: Workspace, laps: _Laps) -> list[dict]:
    """Controllers that were evolved in dreams alone, a row for each kind of dream and of frames."""
    found = [(f, a) for f, a in laps.found if a.found == "dream"]
    rows = []

    def kind(key):
        return key[0] != "reference", str(key[1].family)

    for _, keys in groupby(sorted(found, key=kind), kind):
        group = [(agent, laps.agent(agent, frames)) for frames, agent in keys]
        agents, evaluations = zip(*group, strict=True)
        rows.append(
            {
                "label": agents[0].family.label,
                "frames": evaluations[0]["frames"],
                "each": Text(", ".join(str(e["mean"]) for e in evaluations)),
                "average": _average(evaluations, "mean"),
                **{
                    key: _average(evaluations, key)
                    for key in ("dream_steps", "real_steps", "watched_laps")
                },
            }
        )
    return rows


def _idle(found: Value) -> Value:
    """Dreams in which the latents that carry nothing are held at their mean."""
    if found and not found["rank"]["all"]["last"]:
        return NOTHING
    return _with(found, controllers=len(found["agents"]))


def _honest(laps: _Laps) -> Value:
    """What a dream, which has no finish, pays for the pace of the refined agent's perfect laps."""
    found = laps.found.get(("fast", Agent().refined()))
    lengths = zip(found["returns"].raw, found["lengths"].raw or (), strict=False) if found else ()
    perfect = [length for earned, length in lengths if earned >= evaluation.PERFECT]
    if not perfect:
        return NOTHING
    steps = fmean(perfect)
    earns = MAX_EPISODE_STEPS * (1000 / steps - 0.1)
    return Value({"steps": steps, "earns": earns}, f"{found.origin}: mean of the perfect laps")


def _searches(ws: Workspace, group: Sequence[Value]) -> Value:
    """What the seeds of a search earn on fast frames, on average and each, and what one costs."""
    if not group:
        return NOTHING
    each = Text(" and ".join(str(found["mean"]) for found in group))
    spent = cost.cost(ws, Agent.parse(group[0]["agent"].raw))
    facts = {"runs": len(group), "average": _average(group, "mean"), "each": each}
    facts |= {"steps": spent["real_steps"], "laps": spent["watched_laps"]}
    return Value(facts, f"{group[0].origin} and the logs that led to it")


def _on_track(ws: Workspace, laps: _Laps) -> list[Value]:
    """Agents that went on on the track from where a dream had left them, by the dream's round."""
    found = []
    for n in ws.profile.dream.on_track:
        agent = Agent(Memory(round=n), "dream").on_track()
        if searches := _searches(ws, laps.family(agent)):
            found.append(_with(searches, round=n))
    return found


def _routes(ws: Workspace) -> list[dict]:
    """For each way to a driver what it had spent when it first reached a level."""
    rows = []
    for way, runs in cost.routes(ws).items():
        runs, cells = [run for run in runs if run], []
        for level in _LEVELS:
            origin = f"first validation of at least {level}, {way}"
            spent = {k: Value(n, origin) for k, n in (cost.spent(runs, level) or {}).items()}
            form = "{real_steps}\\ M, {core_hours}\\ h"
            if spent:
                spent = {
                    "real_steps": spent["real_steps"].millions(),
                    "core_hours": spent["core_hours"].to(1),
                }
            cells.append(Text(form.format(**spent)) if spent else "not reached")
        if runs:
            seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
            rows.append({"way": f"{way.capitalize()}, {seeds}", "cells": cells})
    return rows


def _hours(ws: Workspace) -> list[tuple[str, Value, Value]]:
    """What took how long: what was done, how many results, and their wall times together."""
    rows = []
    for what, patterns in _STAGES.items():
        names = [name for pattern in patterns for name in ws.names(pattern)]
        spent = [t for name in names if (t := record(ws, name).raw.get("wall_time_s")) is not None]
        origin = f"wall times of {', '.join(patterns)}"
        if spent:
            rows.append((what, Value(len(spent), origin), Value(sum(spent), origin)))
    return rows
