"""C: one linear layer from [z, h] to steering, gas and brake (Ha & Schmidhuber 2018, section 2.3).

Evolution works on the layer over *standardised* inputs, because z and h differ in scale by an
order of magnitude and CMA-ES begins with the same step size for every parameter. Standardising is
affine, so what drives is still one linear layer on [z, h]: `Controller.weights` folds it in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from awm import config, dataset, mdn_rnn, vae, weights
from awm.config import MODELS, Profile, get_profile
from awm.errors import AwmError

ACTION_SIZE = mdn_rnn.ACTION_SIZE

#: Smallest deviation that an input is divided by: uninformative inputs are not blown up to noise.
#: All of an untrained M's h lies below it (near 0.05). Dividing by the median unit's deviation
#: instead, so that C hears it as loudly as a trained M's, made that control drive worse.
SMALLEST_DEVIATION = 0.2


@dataclass(frozen=True)
class Inputs:
    """Mean and deviation of C's inputs over the training rollouts, float64 `[inputs]`."""

    mean: np.ndarray
    deviation: np.ndarray

    @property
    def parameters(self) -> int:
        """How many parameters C has: 867 for [z, h] of the paper's sizes."""
        return ACTION_SIZE * (len(self.mean) + 1)

    def fold(self, parameters: np.ndarray) -> np.ndarray:
        """Evolved parameters `[..., parameters]` as weights on raw inputs, bias last.

        Returns float32 `[..., 3, inputs + 1]`.
        """
        shape = (*np.shape(parameters)[:-1], ACTION_SIZE, len(self.mean) + 1)
        layer = np.asarray(parameters, np.float64).reshape(shape)
        raw = layer[..., :-1] / self.deviation
        bias = layer[..., -1] - raw @ self.mean
        return np.concatenate([raw, bias[..., None]], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Controller:
    """An evolved C: its parameters on standardised inputs and the inputs' statistics."""

    model: str
    parameters: np.ndarray
    inputs: Inputs
    manifest: dict = field(default_factory=dict)

    @property
    def weights(self) -> np.ndarray:
        """Weights on raw [z, h], bias last, float32 `[3, inputs + 1]`."""
        return self.inputs.fold(self.parameters)


def act(layer: Tensor, inputs: Tensor) -> Tensor:
    """Actions `[lanes, 3]` of lanes that each have weights of their own.

    Args:
        layer: `[lanes, 3, inputs + 1]`, bias last.
        inputs: [z, h] `[lanes, inputs]`.

    Steering is tanh, gas a sigmoid; the brake is a tanh whose negative half is no brake, so that
    a controller of zeros does not brake.
    """
    out = torch.baddbmm(layer[:, :, -1:], layer[:, :, :-1], inputs[:, :, None]).squeeze(-1)
    return torch.stack(
        [torch.tanh(out[:, 0]), torch.sigmoid(out[:, 1]), torch.tanh(out[:, 2]).clamp(min=0)], dim=1
    )


@torch.inference_mode()
def inputs_seen(profile: Profile, model: str, split: str) -> Iterator[tuple[int, np.ndarray]]:
    """What C would see at each step of recorded episodes: (episode, float64 `[time, inputs]`).

    Args:
        model: `"V"` for z alone, or the name of an M for [z, h].
        split: `"train"`, `"validation"` or `"test"`.
    """
    rollouts = dataset.open_rollouts(profile)
    latents = dataset.encode_latents(profile, vae.load(profile))
    m = None if model == "V" else mdn_rnn.load(profile, model)
    actions = rollouts.column("actions")
    for episode in rollouts.indices(split):
        n = int(rollouts.lengths[episode])
        seen = z = torch.from_numpy(latents.mu[episode, :n])[None]
        if m is not None:
            maps = None
            if m.needs_map:
                maps = torch.from_numpy(latents.maps[episode, :n]).float()[None]
            hidden, _ = m(z, torch.from_numpy(actions[episode])[None], maps)
            # At step t C sees the state before the step: the first is zero.
            before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1)
            seen = torch.cat([z, before], dim=-1)
        yield int(episode), seen[0].double().numpy()


def input_spread(profile: Profile, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of C's inputs, as M sees the training rollouts go by, `[inputs]` each.

    Args:
        model: `"V"` for z alone, or the name of an M for [z, h].
    """
    count, total, squares = 0, 0.0, 0.0
    for _, seen in inputs_seen(profile, model, "train"):
        count += len(seen)
        total = total + seen.sum(0)
        squares = squares + np.square(seen).sum(0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def input_statistics(profile: Profile, model: str) -> Inputs:
    """What C's inputs are standardised by: `input_spread`, no deviation below the smallest."""
    mean, deviation = input_spread(profile, model)
    return Inputs(mean, np.maximum(deviation, SMALLEST_DEVIATION))


def check_model(model: str) -> None:
    """AwmError unless `model` names something that C can see."""
    if model not in MODELS:
        raise AwmError(f"There is no model {model!r}. Choose one of: {', '.join(MODELS)}.")


def path_of(profile: Profile, name: str) -> Path:
    """Where a profile's controller of that name lies."""
    return config.artefact(profile, f"controllers/{name}.safetensors")


def save(profile: Profile, name: str, controller: Controller) -> None:
    """Write a controller and its manifest."""
    tensors = {
        "parameters": controller.parameters,
        "input_mean": controller.inputs.mean,
        "input_deviation": controller.inputs.deviation,
    }
    weights.save(
        config.data_dir(profile) / "controllers" / f"{name}.safetensors",
        {key: torch.from_numpy(np.array(value, np.float64)) for key, value in tensors.items()},
        {"model": controller.model, **controller.manifest},
    )


def load(profile: Profile | str, name: str) -> Controller:
    """A controller by name. AwmError if there is none or it is damaged."""
    profile = get_profile(profile)
    path = path_of(profile, name)
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("[!.]*.safetensors"))
        raise AwmError(
            f"Profile {profile.name!r} has no controller {name!r}"
            f"{' (there is ' + ', '.join(known) + ')' if known else ''}. "
            f"Run `awm evolve --profile {profile.name}` or notebook 05."
        )
    tensors, manifest = weights.load(path, "Evolve it again.")
    arrays = {key: value.numpy() for key, value in tensors.items()}
    inputs = Inputs(arrays["input_mean"], arrays["input_deviation"])
    return Controller(manifest["model"], arrays["parameters"], inputs, manifest)
