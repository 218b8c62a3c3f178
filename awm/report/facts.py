"""What the story can say: every value that it names, from the records and what the study asks.

A value is looked up or computed here and a verdict is decided in `awm.study.verdicts`, so that the
story is left with words. What a profile does not do is `NOTHING`, which the story leaves out
without a note.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import fmean, median

from awm import store
from awm.evolution.search import best_validated, log_of
from awm.ids import ATTENTIONS, KINDS, Agent, Memory
from awm.report.page import TEMPLATES
from awm.report.records import Text, Value, record
from awm.store import Workspace
from awm.study import cost, evaluation, likelihood, verdicts
from awm.study.statistics import Estimate

NOTHING = Value(None, "")

#: Drivers of the rollouts that are shown the track (`awm.data.drivers`).
_SEEING = ("scripted", "noisy", "reckless")

#: A mean return over 100 tracks that has always been called a solution of the task.
SOLVED = 900

#: Validated returns at which the ways to a driver are compared.
_LEVELS = (300, 500, 700, 800)


def values(ws: Workspace) -> dict:
    """All that the story names, by name."""
    profile, laps = ws.profile, _Laps(ws)
    first, second = [*profile.headline, None][:2]
    predictors = ("untrained", *profile.predictors)
    searched = profile.evolution.searched_on
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
        "searched": {
            "runs": len(searched),
            "trainings": len(set(searched)) if len(set(searched)) > 1 else NOTHING,
            "seeds": ", ".join(map(str, searched)),
        },
        "rollouts": _rollouts(ws),
        "vae": record(ws, "vae.json"),
        "m": {kind: record(ws, f"mdn_rnn/{kind}.json") for kind in KINDS},
        **{
            name: record(ws, f"study/{name}.json")
            for name in ("baselines", "feature_maps", "rewards", "transfer", "faults")
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
        "on_track": _on_track(ws, laps),
        "routes": _routes(ws),
        "levels": _LEVELS,
    }


def _when(holds: bool) -> Value:
    """Nothing to read, to name in a paragraph that only some profiles have."""
    return Value(Text(""), "") if holds else NOTHING


def _with(found: Value, **facts) -> Value:
    """A record with what follows from it."""
    return Value({**found.raw, **facts}, found.origin) if found else found


def _published() -> dict:
    """What others have reported, each number with its place there."""
    found = store.read_json(TEMPLATES / "published.json")
    works = {name: {**work} for name, work in found.pop("returns").items()}
    for work in works.values():
        for key in ("mean", "deviation"):
            work[key] = Value(work[key], f"{work['source']}, {work['where']}")
        work["source"] = Text(f"@{work['source']}")
    parts = {
        part: {key: Value(n["value"], n["where"]) for key, n in numbers.items() if "where" in n}
        for part, numbers in found.items()
    }
    return {**works, **parts, "returns": list(works.values())}


def _rollouts(ws: Workspace) -> Value:
    found = record(ws, "rollouts.json")
    names = found["drivers"].raw or []
    by = {name: names.count(name) for name in names}
    seeing = sum(by.get(name, 0) for name in _SEEING)
    return _with(found, by=by, episodes=len(names), seeing=seeing)


def _gains(nll: Value) -> Value:
    """What attention adds to M's likelihood beyond its control, over trainings."""
    if not nll:
        return nll
    found = likelihood.gains(nll.raw)
    if not found:
        return NOTHING
    control = likelihood.control_of(nll.raw)
    facts = {"control": Memory(control).label, "trainings": len(nll.raw[control])}
    facts |= {kind: asdict(gain) for kind, gain in found.items()}
    return Value(facts | {"verdict": verdicts.predicts(found)}, nll.origin)


def _dream_error(found: Value) -> Value:
    """How far dreams are off, beside the guess without a model, and what attention changes."""
    steps, facts = found["steps"].raw or [], {}
    for name, step in (("soon", 10), ("second", 50)):
        at = steps.index(step) if step in steps else len(steps)
        for kind in ("frame", "return"):
            off = {end: found["models"]["plain"][end][kind][at] for end in ("mean", "low", "high")}
            guess, ends = found["persistence"][kind][at], [end.raw for end in off.values()]
            verdict = None if None in ends else verdicts.foresight(Estimate(*ends), guess.raw)
            facts.setdefault(name, {})[kind] = off | {"guess": guess, "verdict": verdict}
    less = found["less"].raw or {}
    for kind in ("frame", "return"):
        gaps = {a: Estimate(*less[a][kind].values()) for a in ATTENTIONS if a in less}
        facts[f"{kind}_less"] = verdicts.predicts(gaps) if gaps else None
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
        drives = "drives" if found["mean"].raw >= SOLVED else "does not drive well enough"
        return _with(found, **spent, label=agent.label, drives=drives)

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
    origin = "Welch's test over " + ", ".join(v.origin for v in (*ones, *others))
    shown = Value(found and asdict(found), origin)
    if found:
        ends = (shown[end].signed() for end in ("value", "low", "high"))
        shown.raw["said"] = Text("{}, {}\\ to\\ {}".format(*ends))
    return found, shown


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
            "verdict": verdicts.better(gaps[kind], "plain M") or None,
            "less": less,
            "helps": worth and verdicts.helps(worth),
        }
        found[kind] = Value(facts, group[0].origin)
    attentive = {kind: gap for kind, gap in gaps.items() if kind in ATTENTIONS}
    memory = verdicts.memory(_gap(plain, groups.get("untrained", []))[0]) if plain else None
    proven = verdicts.drives(attentive) if attentive else None
    return found | {"proven": Value(proven, ""), "memory": Value(memory, "")}


def _duel(laps: _Laps, one: Agent | None, other: Agent | None, frames: str) -> Value:
    """Two agents on the same tracks, one less the other."""
    sides = [v for agent in (one, other) if (v := laps.found.get((frames, agent)))]
    found = evaluation.compare_agents(*(s.raw for s in sides)) if len(sides) == 2 else None
    if found is None:
        return NOTHING
    facts = asdict(found) | {"frames": frames, "one": one.label, "other": other.label}
    origin = "track by track: " + ", ".join(side.origin for side in sides)
    return Value(facts | {"verdict": verdicts.duel(found)}, origin)


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


def _on_track(ws: Workspace, laps: _Laps) -> list[Value]:
    """Agents that went on on the track from where a dream had left them."""
    rows = []
    for n in ws.profile.dream.on_track:
        agent = Agent(Memory(round=n), "dream").on_track()
        group = laps.family(agent)
        found, gap = _gap(group, laps.family(Agent()))
        facts = {"label": agent.label, "average": _average(group, "mean"), "runs": len(group)}
        facts |= {"gap": gap, "verdict": verdicts.better(found, "from zero")}
        rows += [Value(facts, "")] * bool(group)
    return rows


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
