"""What the story can say: every value that it names, from the records and what the study asks.

A value is looked up or computed here and a verdict is decided in `awm.study.verdicts`, so that the
story is left with words. A verdict has the intervals that it stands on as its tooltip. What a
profile does not do is `NOTHING`, which the story leaves out without a note.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import fmean, median

from awm.data.drivers import SIGHTED
from awm.evolution.search import best_validated, log_of
from awm.ids import ATTENTIONS, KINDS, Agent, Memory
from awm.racing import MAX_EPISODE_STEPS
from awm.report.page import escape
from awm.report.records import Text, Value, number, record
from awm.store import Workspace
from awm.study import cost, evaluation, likelihood, statistics, verdicts
from awm.study.statistics import Estimate, Perfect

NOTHING = Value(None, "")

#: Validated returns at which the ways to a driver are compared.
_LEVELS = (300, 500, 700, 800)


def values(ws: Workspace) -> dict:
    """All that the story names, by name."""
    profile, laps = ws.profile, _Laps(ws)
    first, second = [*profile.headline, None][:2]
    predictors = ("untrained", *profile.predictors)
    return {
        "profile": profile,
        "published": _published(),
        "when": {
            "benchmarks": _when((ws.report / "benchmarks.html").exists()),
            "smoke": _when(profile.name == "smoke"),
            "attentive": _when(second is not None),
        },
        "kinds": [(kind, Memory(kind).label) for kind in predictors],
        "seen": profile.evolution.kinds,
        "attentions": [kind for kind in ATTENTIONS if kind in profile.evolution.kinds],
        "searched": _searched(profile.evolution.searched_on),
        "rollouts": _rollouts(ws),
        "vae": record(ws, "vae.json"),
        "m": {kind: record(ws, f"mdn_rnn/{kind}.json") for kind in KINDS},
        **{
            name: record(ws, f"study/{name}.json")
            for name in ("baselines", "feature_maps", "rewards", "faults")
        },
        "gains": _gains(record(ws, "study/attentions.json")["nll"]),
        "dream_error": _dream_error(record(ws, "study/dream_error.json")),
        "search": _log(ws, profile.agent("plain")),
        "driving": _driving(ws, laps),
        "agent": laps.agent(first, "reference"),
        "attentive": laps.agent(second, "reference"),
        "duels": [_duel(laps, second, first, frames) for frames in ("reference", "fast")],
        "headline": laps.rows(profile.headline),
        "dreamers": laps.rows([a for a in laps.agents if a.found == "dream"]),
        "dreams": _dreams(ws),
        "temperatures": _temperatures(ws),
        "rounds": _rounds(ws),
        "idle": _idle(record(ws, "study/transfer.json")),
        "honest": _honest(laps),
        "night": _searches(ws, laps.family(Agent(Memory(round=profile.dream.rounds), "dream"))),
        "from_zero": _searches(ws, laps.family(Agent())),
        "on_track": _on_track(ws, laps),
        "routes": _routes(ws),
        "levels": _LEVELS,
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
    facts = {"control": Memory(control).label, "trainings": trainings, "larger": NOTHING}
    origin = f"{nll.origin}, Dunnett's intervals over {trainings} trainings, less {control}"
    facts |= {kind: _shown(gain, origin, 3) for kind, gain in found.items()}
    facts["average"] = {
        kind: Value(fmean(each), f"{nll.origin}, mean of {kind}") for kind, each in nll.raw.items()
    }
    if control == "wide":
        size = statistics.difference(nll.raw["wide"], nll.raw["plain"])
        shown = _shown(size, f"{nll.origin}, Welch's interval, wide less plain", 3)
        facts["larger"] = _with(shown, verdict=_said(verdicts.lowers(size), size, better="less"))
    return Value(
        facts | {"verdict": _said(verdicts.predicts(found), *found.values(), better="less")},
        nll.origin,
    )


def _dream_error(found: Value) -> Value:
    """How far dreams are off, beside the guess without a model, and what attention changes."""
    steps, facts = found["steps"].raw or [], {}
    for name, step in (("soon", 10), ("second", 50)):
        at = steps.index(step) if step in steps else len(steps)
        for kind in ("frame", "return"):
            off = {end: found["models"]["plain"][end][kind][at] for end in ("mean", "low", "high")}
            guess, ends = found["persistence"][kind][at], [end.raw for end in off.values()]
            gap = None if None in ends else Estimate(*(end - guess.raw for end in ends))
            verdict = gap and _said(verdicts.foresight(gap), gap, better="less")
            facts.setdefault(name, {})[kind] = off | {"guess": guess, "verdict": verdict}
    less = found["less"].raw or {}
    for kind in ("frame", "return"):
        gaps = {a: Estimate(*less[a][kind].values()) for a in ATTENTIONS if a in less}
        facts[f"{kind}_less"] = (
            gaps and _said(verdicts.predicts(gaps), *gaps.values(), better="less") or None
        )
        for a, gap in gaps.items():
            shown = _shown(gap, f"{found.origin}: less.{a}.{kind}", 1)
            facts.setdefault("beyond", {}).setdefault(a, {})[kind] = shown
    return _with(found, **facts, control=found and Memory(found["control"].raw).label)


# Agents.


class _Laps:
    """All evaluations of a profile, by frames and agent."""

    def __init__(self, ws: Workspace):
        self.ws = ws
        self.found: dict[tuple[str, Agent], Value] = {}
        for name, found in evaluation.evaluations(ws).items():
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
        # A mean of 900, each lap perfect or nearly, has always been called a solution of the task.
        solved = found["mean"].raw >= evaluation.PERFECT
        drives = "drives" if solved else "does not drive well enough"
        return _with(found, **spent, label=agent.label, sees=agent.memory.label, drives=drives)

    def rows(self, agents: Sequence[Agent]) -> list[Value]:
        """Those of some agents, reference frames first."""
        keys = [(agent, frames) for frames in ("reference", "fast") for agent in agents]
        return [
            self.agent(agent, frames) for agent, frames in keys if (frames, agent) in self.found
        ]


def _average(group: Sequence[Value], key: str) -> Value:
    """The average of a number over the seeds of a search."""
    origin = f"mean {key} of " + ", ".join(each.origin for each in group)
    return Value(fmean(each.raw[key] for each in group) if group else None, origin)


def _gap(ones: Sequence[Value], others: Sequence[Value]) -> tuple[Estimate | None, Value]:
    """What one family of searches earns beyond another: the estimate, and it with its origin."""
    found = evaluation.compare([v.raw for v in ones], [v.raw for v in others])
    files = ", ".join(v.origin for v in (*ones, *others))
    origin = f"Welch's interval over {len(ones)} and {len(others)} searches: {files}"
    return found, _shown(found, origin)


def _driving(ws: Workspace, laps: _Laps) -> dict[str, Value]:
    """What the same search earned with each kind of model, on test tracks."""
    kinds = ws.profile.evolution.kinds
    groups = {kind: laps.family(Agent(Memory(kind))) for kind in kinds}
    plain, gaps = groups.get("plain", []), {}
    found = dict.fromkeys(("V", *KINDS), NOTHING)
    for kind, group in groups.items():
        if not group:
            agent = ws.profile.agent(kind)
            found[kind] = Value(None, f"data/{ws.profile.name}/evaluations/{agent}.fast.json")
            continue
        gaps[kind], gap = _gap(group, plain) if kind != "plain" else (None, NOTHING)
        worth, less = _gap(plain, group)
        verdict = gaps[kind] and _said(verdicts.better(gaps[kind], "plain M"), gaps[kind])
        if not gap and kind != "plain" and plain:  # one run each: then only these two agents
            duel = evaluation.compare_agents(group[0].raw, plain[0].raw)
            gap = _shown(duel and duel.median, "median over tracks, one run each")
        costs = [cost.cost(ws, Agent.parse(e.raw["agent"]))["real_steps"] for e in group]
        steps = None if None in costs else fmean(costs)
        facts = {
            "label": Memory(kind).label,
            "runs": len(group),
            "tracks": group[0]["episodes"],
            "each": Text(", ".join(f"{e['mean']}\\ ±\\ {e['std']}" for e in group)),
            "average": _average(group, "mean"),
            "finished": _average(group, "finished"),
            "steps": Value(steps, f"rollouts and logs of the searches of {kind}"),
            "gap": gap,
            "verdict": verdict or (gap and "one run each tells nothing of another search"),
            "less": less,
            "helps": worth and _said(verdicts.helps(worth), worth),
        }
        found[kind] = Value(facts, group[0].origin)
    attentive = {kind: gap for kind, gap in gaps.items() if kind in ATTENTIONS}
    proven = attentive and _said(verdicts.drives(attentive), *attentive.values())
    untrained = _gap(plain, groups.get("untrained", []))[0]
    memory = untrained and _said(verdicts.memory(untrained), untrained)
    return found | {"proven": Value(proven or None, ""), "memory": Value(memory, "")}


def _duel(laps: _Laps, one: Agent | None, other: Agent | None, frames: str) -> Value:
    """Two agents on the same tracks, one less the other."""
    sides = [v for agent in (one, other) if (v := laps.found.get((frames, agent)))]
    found = evaluation.compare_agents(*(s.raw for s in sides)) if len(sides) == 2 else None
    if found is None:
        return NOTHING
    origin = "track by track: " + ", ".join(side.origin for side in sides)
    facts = {
        "frames": frames,
        "one": one.label,
        "other": other.label,
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


# Dreams.


def _dreams(ws: Workspace) -> Value:
    """The searches in plain M's dream: the best real return on the way, and the last."""
    logs = [_log(ws, Agent(Memory(), "dream", seed)) for seed in range(ws.profile.dream.seeds)]
    runs = [[e["real"] for e in log.raw or () if e.get("real") is not None] for log in logs]
    if not all(runs):
        return replace(logs[runs.index([])], raw=None)
    pairs = (f"{log.highest_of('real')} and {log.last_of('real')}" for log in logs)
    facts = {"pairs": Text("; ".join(pairs)), "verdict": verdicts.dreaming_on(runs)}
    return Value(facts, logs[0].origin)


def _temperatures(ws: Workspace) -> Value:
    """Median dreamt and real return of the searches at each temperature of a dream."""
    ends, said = [], []
    for heat, logs in sorted(cost.dream_logs(ws).items()):
        best = [best_validated(log) for log in logs]
        origin = f"median of {len(logs)} searches in plain M's dream at temperature {heat:g}"
        found = {
            "dreamt": median(e["validation"] for e in best),
            "real": median(e["real"] for e in best),
        }
        dreamt, real = (Value(number, origin) for number in found.values())
        said.append(
            f"at τ\\ =\\ {heat:g} the dream promised {dreamt} points and the track paid {real}"
        )
        ends.append(found)
    if len(ends) < 2:
        return NOTHING
    facts = {"said": Text("; ".join(said)), "searches": ws.profile.dream.seeds}
    return Value(facts | {"verdict": verdicts.heat(ends[0], ends[-1])}, "logs of the dreams")


def _rounds(ws: Workspace) -> Value:
    """The chain of rounds of iterative training."""
    found = record(ws, f"study/rounds-{Memory()}.json")["rounds"]
    if not ws.profile.dream.rounds or not found:
        return found if ws.profile.dream.rounds else NOTHING
    first, *later = found
    facts = {"first": first, "last": later[-1], "count": len(later)}
    facts |= {"earned": Text(" and ".join(str(each["real"]) for each in later))}
    facts |= {"verdict": verdicts.dreams(found.raw), "steady": verdicts.rounds(found.raw)}
    return Value(facts, found.origin)


def _idle(found: Value) -> Value:
    """Dreams in which the latents that carry nothing are held at their mean."""
    rank = (found["rank"]["all"]["last"]).raw
    if not found or not rank:
        return NOTHING if found else found
    return _with(found, controllers=len(found["agents"]), verdict=verdicts.idle(rank))


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
    """Agents that went on on the track from where a dream had left them."""
    agents = [Agent(Memory(round=n), "dream").on_track() for n in ws.profile.dream.on_track]
    found = [(agent, _searches(ws, laps.family(agent))) for agent in agents]
    return [_with(searches, label=agent.label) for agent, searches in found if searches]


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
