"""What is made from what: the study's results, each a function of its settings and inputs.

rollouts → V → latents → M → agent → evaluation, and round the loop again: an agent that was
evolved in M's dream records the rollouts that M learns from in the next round.
"""

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from awm.config import Profile, Search, settings_of
from awm.errors import AwmError
from awm.ids import Agent, Memory
from awm.store import Stage, Workspace


def rollouts(profile: Profile, memory: Memory | None = None) -> Stage:
    """What the drivers recorded; or, for a memory of a later round, what was recorded for it."""
    data = settings_of(profile.data) | {"seed": profile.seed}
    if memory is None or not memory.round:
        how = f"awm collect --profile {profile.name}"
        return Stage("rollouts.zarr", data, how=how)
    settings = {key: data[key] for key in ("steps", "validation_share", "seed")} | {
        "rollouts": profile.dream.round_rollouts,
        "round": memory.round,
        "deviation": profile.dream.search.sigma,
    }
    how = _iterating(profile, memory)
    drivers = recorders(profile, memory)
    names = ["agent"] if len(drivers) == 1 else map(str, drivers)
    inputs = {name: agent(profile, who) for name, who in zip(names, drivers, strict=True)}
    return Stage(f"rollouts-{memory}.zarr", settings, inputs, how)


def _iterating(profile: Profile, memory: Memory) -> str:
    seed = f" --seed {memory.seed}" if memory.seed else ""
    return f"awm iterate --kind {memory.kind}{seed} --profile {profile.name}"


def recorders(profile: Profile, memory: Memory) -> list[Agent]:
    """The agents that record what a memory of a later round learns from."""
    return profile.dreamers(replace(memory, round=memory.round - 1))


def recorded(profile: Profile, memory: Memory) -> list[Stage]:
    """All rollouts that a memory learns from, round by round."""
    rounds = [replace(memory, round=n) for n in range(1, memory.round + 1)]
    return [rollouts(profile), *(rollouts(profile, each) for each in rounds)]


def vae(profile: Profile) -> Stage:
    """V, one for all rounds."""
    settings = settings_of(profile.vae) | {"seed": profile.seed}
    how = f"awm train vae --profile {profile.name}"
    return Stage("vae.safetensors", settings, {"rollouts": rollouts(profile)}, how)


def latents(profile: Profile, recording: Stage) -> Stage:
    """V's view of some rollouts."""
    name = recording.name.replace("rollouts", "latents")
    return Stage(name, {}, {"rollouts": recording, "vae": vae(profile)})


def mdn_rnn(profile: Profile, memory: Memory) -> Stage:
    """One training of M; in a later round it goes on from where the one before left it."""
    if not memory.has_m:
        raise AwmError(f"{memory.label} has no M. Choose a kind of M.")
    settings = settings_of(profile.mdn_rnn)
    for others in ("seeds", "wide", "even"):  # what else is trained decides nothing about one
        settings.pop(others, None)
    settings |= {"kind": memory.kind, "seed": profile.seed + memory.seed}
    inputs = {"rollouts": recorded(profile, memory)[-1], "vae": vae(profile)}
    seed = f" --seed {memory.seed}" if memory.seed else ""
    how = f"awm train mdn-rnn --kind {memory.kind}{seed} --profile {profile.name}"
    if memory.round:
        settings["updates"] = profile.dream.round_updates
        inputs["before"] = mdn_rnn(profile, replace(memory, round=memory.round - 1))
        how = _iterating(profile, memory)
    return Stage(f"mdn_rnn/{memory}.safetensors", settings, inputs, how)


def feature_map(profile: Profile) -> Stage:
    """The head through which a spatially attentive M sees its dream."""
    settings = settings_of(profile.feature_map) | {"seed": profile.seed}
    inputs = {"rollouts": rollouts(profile), "vae": vae(profile)}
    how = f"awm train feature-map --profile {profile.name}"
    return Stage("feature_map.safetensors", settings, inputs, how)


def search(profile: Profile, who: Agent) -> Search:
    """How the last search for an agent goes."""
    if who.found == "refined":
        return profile.evolution.refinement
    if who.found == "track":
        return profile.evolution.search
    heat = who.temperature
    return profile.dream.search if heat is None else replace(profile.dream.search, temperature=heat)


def agent(profile: Profile, who: Agent) -> Stage:
    """An agent: C, by the last search that led to it."""
    settings = settings_of(search(profile, who)) | {
        "sees": str(who.memory),
        "seed": who.seed,
        "lanes": profile.evolution.lanes,
        "smallest_deviation": profile.evolution.smallest_deviation,
    }
    if who.memory.kind in profile.evolution.standardised:
        settings["h"] = "divided by its own deviation"
    inputs = {"rollouts": rollouts(profile), "vae": vae(profile)}
    if who.memory.has_m:
        inputs["mdn_rnn"] = mdn_rnn(profile, who.memory)
    if who.parent:
        inputs["parent"] = agent(profile, who.parent)
    if who.found == "dream" and who.memory.needs_map:
        inputs["feature_map"] = feature_map(profile)
    how = f"awm evolve {who} --profile {profile.name}"
    return Stage(f"agents/{who}.safetensors", settings, inputs, how)


def log(profile: Profile, who: Agent) -> Stage:
    """The log of an agent's last search, which can be prolonged."""
    found = agent(profile, who)
    # These two decide when and how a search ends, and nothing before that.
    settings = {k: v for k, v in found.settings.items() if k not in ("generations", "averaged")}
    return Stage(f"agents/{who}.jsonl", settings, found.inputs, found.how)


def evaluation(
    profile: Profile,
    who: Agent,
    frames: str,
    episodes: int,
    seed: int,
    alteration: str | None = None,
) -> Stage:
    """An agent's laps on test tracks.

    On the profile's own tracks it is a result of the study; on others it lies beside it.
    """
    name = f"evaluations/{who}.{frames}.json"
    if (episodes, seed) != (profile.test_episodes(who, frames), profile.test.first):
        name = f"evaluations/other/{who}.{frames}-{episodes}-from-{seed}.json"
    settings: dict = {"frames": frames, "episodes": episodes, "seed": seed}
    if "steps" in (laps := settings_of(profile.test)):  # other than Gymnasium's
        settings["steps"] = laps["steps"]
    if alteration:
        name = f"evaluations/altered/{who}.{alteration}-{episodes}-from-{seed}.json"
        settings["alteration"] = alteration
    return Stage(name, settings, {"agent": agent(profile, who)})


def finding(profile: Profile, name: str, settings: dict, **inputs: Stage) -> Stage:
    """Something that was found out about other results: `study/NAME.json`."""
    return Stage(f"study/{name}.json", settings, inputs, f"awm report --profile {profile.name}")


def share(ws: Workspace, mine: Workspace) -> list[str]:
    """Give one workspace what another has and it would make the same way, as links.

    That is rollouts, latents, V, Ms and the feature map's head, so that in a profile of one's own
    only what a changed number decides is made anew. What lies there already stays; returns the
    names of what was given.
    """
    memories = [Memory.parse(Path(name).stem) for name in ws.names("mdn_rnn/*.safetensors")]
    makers = [rollouts, vae, feature_map, lambda profile: latents(profile, rollouts(profile))]
    makers += [partial(mdn_rnn, memory=memory) for memory in memories if not memory.round]
    given = []
    for make in makers:
        stage = make(ws.profile)
        record = str(Path(stage.name).with_suffix(".json"))
        # Latents have no manifest: they say themselves what they were made from.
        there = ws.find(stage.name) if stage.name.startswith("latents") else ws.fitting(stage)
        if not there or make(mine.profile).key != stage.key or mine.find(stage.name):
            continue
        for name in (stage.name, record):
            if source := ws.find(name):
                _link(source, mine.own / name)
        given.append(stage.name)
    return given


def _link(source: Path, target: Path) -> None:
    """A copy that takes no space, where the disk can do that. Finished results are never edited."""
    target.parent.mkdir(parents=True, exist_ok=True)

    def link(one, other):
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    if source.is_dir():
        shutil.copytree(source, target, copy_function=link)
    else:
        link(source, target)
