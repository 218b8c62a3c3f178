"""Finished results from `data/PROFILE` to `data/pretrained/PROFILE`, which is committed.

Weights with their manifests, logs of evolution and records: all that a report needs to show what
was trained elsewhere, and that a search needs to go on. Rollouts and latents stay where they are;
collecting them again gives the same.
"""

import shutil
from pathlib import Path

from awm import store
from awm.errors import AwmError
from awm.evolution.search import generations
from awm.ids import Agent, Memory
from awm.store import Workspace

_KINDS = (
    "*.safetensors",
    "*.json",
    "mdn_rnn/*",
    "agents/*",
    "evaluations/*.json",
    "study/*.json",
)


def publish(ws: Workspace) -> list[Path]:
    """Copy a profile's results; returns the files that are new or have changed.

    Raises:
        AwmError: if there are none, or one is damaged; then nothing is copied.
    """
    found = sorted(
        path
        for kind in _KINDS
        for path in ws.own.glob(kind)
        # Neither a run that goes on nor what a killed one left half written.
        if not path.name.startswith(".") and path.name != "retraining.json"
        if path.suffix in (".safetensors", ".json", ".jsonl")
        if path.suffix != ".safetensors" or _kept(ws, path)
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


def _kept(ws: Workspace, path: Path) -> bool:
    """Of rounds of iterative training all records are kept, and the weights where agents of all
    seeds were evolved.
    """
    parse = {"agents": lambda name: Agent.parse(name).memory, "mdn_rnn": Memory.parse}
    memory = parse.get(path.parent.name, lambda _: Memory())(path.stem)
    dream = ws.profile.dream
    return memory.round in (0, dream.rounds, *dream.on_track)
