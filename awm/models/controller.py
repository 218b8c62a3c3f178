"""C: one linear layer from [z, h] to steering, gas and brake (Ha & Schmidhuber 2018, section 2.3).

Evolution works on the layer over *standardised* inputs, because z and h differ in scale by an
order of magnitude and CMA-ES begins with the same step size for every parameter. Standardising is
affine, so what drives is still one linear layer on [z, h]: `Controller.weights` folds it in.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from awm.models.mdn_rnn import ACTION_SIZE


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
