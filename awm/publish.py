"""Finished artefacts from `data/<profile>` to `data/pretrained/<profile>`, which is committed.

Weights with their manifests, logs of evolution and evaluations: all that a report needs to show
what was trained elsewhere, and that a search needs to go on. Rollouts and latents stay where they
are; collecting them again gives the same.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from awm import config, provenance, weights
from awm.config import Profile, get_profile
from awm.errors import AwmError

_KINDS = (
    "*.safetensors",
    "*.json",
    "controllers/*",
    "evolution/*.jsonl",
    "evaluations/*.json",
)


def publish(profile: Profile | str) -> list[Path]:
    """Copy a profile's artefacts; returns the files that are new or have changed.

    Raises:
        AwmError: if there are none, or one is damaged; then nothing is copied.
    """
    profile = get_profile(profile)
    source, target = config.data_dir(profile), config.pretrained_dir() / profile.folder
    rounds = range(profile.dream_rounds + 1)
    found = sorted(
        path
        for n in rounds
        for kind in _KINDS
        for path in config.data_dir(replace(profile, round=n)).glob(kind)
        # Neither a run that goes on nor what a killed one left half written.
        if ".checkpoint." not in path.name
        and not path.name.startswith(".")
        # Of the other rounds of iterative training the records count, not the weights.
        and (path.suffix != ".safetensors" or n in profile.rounds_dreamt)
    )
    if not found:
        raise AwmError(f"There is nothing in {source} to publish. Train something first.")
    for path in found:
        if path.suffix == ".safetensors":
            weights.load(path, "Train it again.")
    changed = []
    for path in found:
        copy = target / path.relative_to(source)
        if not copy.exists() or provenance.file_hash(copy) != provenance.file_hash(path):
            with provenance.atomic(copy) as temporary:
                shutil.copyfile(path, temporary)
            changed.append(copy)
    return changed
