"""Finished results from `data/PROFILE` to `data/pretrained/PROFILE`, which is committed.

All that a report needs to show what was trained elsewhere: of everything the manifests, the logs of
evolution and the records, and of every agent that is evaluated its controller. Rollouts and latents
stay where they are; collecting them again gives the same. Of M the weights are kept of the first
training of each kind, and of those with which the agents drive that the report claims and that the
chains of rounds end with (`_kept`). Of other trainings and rounds the manifest alone is kept: their
results are shown and not measured again, unless they are trained anew. A card that says so lies
beside it all (`awm.study.card`).
"""

import shutil
from dataclasses import replace
from pathlib import Path

from awm import store
from awm.config import Profile
from awm.errors import AwmError
from awm.evolution.search import generations
from awm.ids import Agent, Memory
from awm.store import Workspace
from awm.study.card import card
from awm.study.evaluation import evaluations

_KINDS = (
    "*.safetensors",
    "*.json",
    "mdn_rnn/*",
    "agents/*",
    "evaluations/*.json",
    "evaluations/altered/*.json",
    "study/*.json",
    "study/dream_error/*.json",
)


def publish(ws: Workspace) -> list[Path]:
    """Copy a profile's results, and write their card; returns what is new or has changed.

    Raises:
        AwmError: if there are none, or one is damaged; then nothing is copied.
    """
    altered = evaluations(ws, altered=True)
    found = sorted(
        path
        for kind in _KINDS
        for path in ws.own.glob(kind)
        # Neither a run that goes on nor what a killed one left half written.
        if not path.name.startswith(".") and path.name != "retraining.json"
        if path.suffix in (".safetensors", ".json", ".jsonl")
        if path.suffix != ".safetensors" or _kept(ws.profile, path)
        if path.parent.name != "altered" or str(path.relative_to(ws.own)) in altered
    )
    if not found:
        raise AwmError(f"There is nothing in {ws.own} to publish. Train something first.")
    for path in found:
        _check(path)
    changed = []
    for path in found:
        copy = ws.committed / path.relative_to(ws.own)
        if not copy.exists() or store.sha256_of(copy) != store.sha256_of(path):
            with store.atomic(copy) as temporary:
                shutil.copyfile(path, temporary)
            changed.append(copy)
    text, place = card(ws), ws.committed / "README.md"
    if not place.exists() or place.read_text("utf-8") != text:
        with store.atomic(place) as temporary:
            temporary.write_text(text, "utf-8")
        changed.append(place)
    return changed


def _check(path: Path) -> None:
    if path.suffix == ".json":
        store.read_json(path)
    elif path.suffix == ".jsonl":
        generations(path)
    elif store.sha256_of(path) != store.read_json(path.with_suffix(".json")).get("content"):
        raise AwmError(
            f"{path} is not the file that its manifest describes: it is damaged. Move both away "
            "and run its stage again."
        )


def _kept(profile: Profile, path: Path) -> bool:
    """Whether weights are kept, of those that lie there: few megabytes of many."""
    dream, stem = profile.dream, path.stem
    shown = (0, dream.rounds, *dream.on_track)
    if path.parent.name == "agents":
        return Agent.parse(stem).memory.round in shown
    if path.parent.name != "mdn_rnn":
        return True
    memory = Memory.parse(stem)
    last = [replace(m, round=n) for m in profile.chains for n in shown if n]
    claimed = [agent.memory for agent in profile.headline]
    return memory in (*claimed, *last) or (memory.seed == 0 and memory.round == 0)
