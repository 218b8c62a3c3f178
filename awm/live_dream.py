"""A dream that the reader of the report drives: what the page needs of V, M and C, in one bundle.

`report_template/dream.js` computes with it what `VAE.decode`, `MDNRNN.step`, `MDNRNN.predict`,
`Prediction.pick` and `controller.act` compute, and nothing else: whatever is the same at every step
is folded into the weights here. A dream begins at a moment of a held-out episode, with M's memory
of the real steps that led to it, so that the car is already driving.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from awm import controller, dataset, mdn_rnn, names, vae
from awm.attention import MEMORY, FeatureAttention
from awm.config import Profile, get_profile
from awm.controller import Controller
from awm.errors import AwmError
from awm.mdn_rnn import MDNRNN
from awm.vae import VAE

#: The Ms that dream on the page. Not the spatially attentive one: it looks at V's map of a frame,
#: for which the page would have to carry V's encoder or a head that guesses the map.
MODELS = ("none", "feature", "temporal")

#: Real steps by which M is led to the moment at which a dream begins. Fifty of them also see the
#: camera come close, with which every episode opens.
WARM_UP = 64

# The steps after a moment, half a second of them, say what kind of moment it is. To be one of
# driving, the speed (units/s) must not fall below, and to be one on the road, the distance from the
# road's middle (units) not rise above.
_AHEAD = 25
_PACE = 25.0
_ASIDE = 2.5


@dataclass(frozen=True)
class Start:
    """A moment of a recorded episode."""

    label: str
    episode: int
    step: int


def absent(profile: Profile | str) -> str | None:
    """What a dream on the page lacks in this profile, as a sentence; None if it lacks nothing."""
    profile = get_profile(profile)
    if not vae.path_of(profile).exists():
        return "There is no dream to drive: V has not been trained in this profile."
    if not any(mdn_rnn.path_of(profile, model).exists() for model in MODELS):
        return "There is no dream to drive: no M that can dream here has been trained."
    try:
        dataset.open_rollouts(profile)
    except AwmError as error:
        return f"A dream begins with a frame of a recorded episode. {error}"
    return None


def bundle(profile: Profile | str) -> dict:
    """Everything that `dream.js` needs, ready for JSON. AwmError as the loaders of its parts.

    `models` (with the name of their `controller`, or None) and `starts` (with `label`, `origin` and
    `frame`, a picture) are in the order in which they are offered; `arrays` and `data` are as
    `pack` makes them.
    """
    profile = get_profile(profile)
    v, rollouts = vae.load(profile), dataset.open_rollouts(profile)
    worlds = {
        model: mdn_rnn.load(profile, model)
        for model in MODELS
        if mdn_rnn.path_of(profile, model).exists()
    }
    drivers = {model: _driver(profile, model) for model in worlds}
    starts = choose_starts(rollouts)
    arrays = decoder_arrays(v)
    for model, m in worlds.items():
        arrays |= {f"{model}.{name}": value for name, value in memory_arrays(m).items()}
        if drivers[model]:
            c = controller.load(profile, drivers[model])
            arrays |= {f"{model}.{name}": value for name, value in driver_arrays(c).items()}
    offered = []
    for number, start in enumerate(starts):
        episode = rollouts.episode(start.episode)
        begin = max(0, start.step - WARM_UP)
        z = torch.from_numpy(v.encode_frames(episode.frames[begin : start.step + 1])[0])
        actions = torch.from_numpy(episode.actions[begin : start.step])
        arrays[f"start{number}.z"] = z[-1]
        for model, m in worlds.items():
            found = remembered(m, z[:-1], actions)
            arrays |= {f"start{number}.{model}.{name}": value for name, value in found.items()}
        offered.append(
            {
                "label": start.label,
                "origin": f"test episode {start.episode}, step {start.step}",
                "frame": _picture(episode.frames[start.step]),
            }
        )
    return {
        "z": profile.z_size,
        "hidden": profile.hidden_size,
        "mixtures": profile.mixtures,
        "memory": MEMORY,
        "models": [{"name": model, "controller": drivers[model]} for model in worlds],
        "starts": offered,
        **pack(arrays),
    }


def _driver(profile: Profile, model: str) -> str | None:
    """The controller that drives a model's dream: the refined one where there is one.

    One that was evolved on another training of M does not understand this one's h.
    """
    for name in (names.refined(model), model):
        if controller.path_of(profile, name).exists():
            return name if controller.load(profile, name).model == model else None
    return None


# ---------------------------------------------------------------- weights


def decoder_arrays(v: VAE) -> dict[str, Tensor]:
    """V's decoder as four transposed convolutions, `[in, kernel, kernel, out]` and biases.

    Nothing bends between `expand` and the first convolution, which sees a single place: the two
    are one linear map of z, with a tenth of the weights of the whole decoder. Its bias is a map.
    """
    first, *others = v.deconvolutions
    weight = first.weight.permute(0, 2, 3, 1)
    one_map = torch.einsum("cz,cyxo->zyxo", v.expand.weight, weight)
    bias = torch.einsum("c,cyxo->yxo", v.expand.bias, weight) + first.bias
    arrays = {"v0.weight": one_map, "v0.bias": bias}
    for number, layer in enumerate(others, start=1):
        arrays[f"v{number}.weight"] = layer.weight.permute(0, 2, 3, 1)
        arrays[f"v{number}.bias"] = layer.bias
    return arrays


def memory_arrays(m: MDNRNN) -> dict[str, Tensor]:
    """M: `gates` on [z, a, (context,) h], `head`, and its attention's `query`, `score`, `items`.

    `items` makes keys and values in one: linear in a hidden state (`weight`, `bias`), or for each
    entry of [z, a] its value times a `direction` plus a `name`.
    """
    lstm, attention = m.lstm, m.attention
    arrays = {
        "gates.weight": torch.cat([lstm.weight_ih_l0, lstm.weight_hh_l0], dim=1),
        "gates.bias": lstm.bias_ih_l0 + lstm.bias_hh_l0,
        "head.weight": m.head.weight,
        "head.bias": m.head.bias,
    }
    if attention is None:
        return arrays
    weight = torch.cat([attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.key.bias, attention.value.bias])
    arrays |= {"query.weight": attention.query.weight, "score": attention.score.weight[0]}
    if isinstance(attention, FeatureAttention):
        arrays["items.direction"] = F.linear(attention.direction, weight)
        arrays["items.name"] = F.linear(attention.name, weight, bias)
    else:
        arrays |= {"items.weight": weight, "items.bias": bias}
    return arrays


def driver_arrays(c: Controller) -> dict[str, Tensor]:
    """C on raw [z, h]: the normalisation of its inputs is folded in."""
    layer = torch.from_numpy(c.weights)
    return {"c.weight": layer[:, :-1], "c.bias": layer[:, -1]}


# ---------------------------------------------------------------- where dreams begin


def choose_starts(rollouts: dataset.Rollouts) -> list[Start]:
    """A few moments of the test episodes that differ: the start line, bends, speed, the grass.

    Episodes too short to hold any of the others offer the start line only.
    """
    columns = ("speed", "centre_distance", "wheels_on_road")
    speed, distance, wheels = map(dataset.TELEMETRY.index, columns)
    telemetry = rollouts.column("telemetry")
    moments, kinds = [], []
    for episode in rollouts.indices("test"):
        for step in range(WARM_UP, int(rollouts.lengths[episode]) - _AHEAD):
            ahead = telemetry[episode][step : step + _AHEAD + 1]
            # Where the car goes now, and where it goes in the end, as complex numbers.
            now, then = (complex(*(ahead[i + 5, :2] - ahead[i, :2])) for i in (0, _AHEAD - 5))
            turn = np.angle(then * now.conjugate())
            on_road, on_grass = ahead[:, distance].max() < _ASIDE, ahead[:, wheels].max() == 0
            moments.append((int(episode), step))
            kinds.append((turn, ahead[:, speed].min(), on_road, on_grass))
    starts = []
    turn, pace, on_road, on_grass = np.array(kinds).reshape(-1, 4).T
    driving = pace > _PACE
    for label, score, possible in (
        ("a bend to the left", turn, on_road * driving),
        ("a bend to the right", -turn, on_road * driving),
        ("at speed", pace, on_road * driving),
        ("on the grass", pace, on_grass * driving),
    ):
        if possible.any():
            best = np.where(possible > 0, score, -np.inf).argmax()
            starts.append(Start(label, *moments[best]))
    return [*starts, Start("the start line", int(rollouts.indices("test")[0]), 0)]


@torch.inference_mode()
def remembered(m: MDNRNN, z: Tensor, actions: Tensor) -> dict[str, Tensor]:
    """M's state after the real steps z `[time, z]`, actions `[time, 3]`: `h`, `c` `[hidden]`.

    Temporal attention adds `past`, keys and values `[states, 64]`, the oldest first.
    """
    state = m.initial_state(1)
    for t in range(len(z)):
        state, _ = m.step(z[t : t + 1], actions[t : t + 1], state)
    arrays = {"h": state.h[0], "c": state.c[0]}
    if state.memory is not None:
        past = torch.cat([state.memory.keys[0], state.memory.values[0]], dim=1)
        arrays["past"] = past[state.memory.present[0]]
    return arrays


def _picture(frame: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


# ---------------------------------------------------------------- packing


def pack(arrays: dict[str, Tensor]) -> dict:
    """Named arrays as `arrays`, pairs of name and shape, and `data`: their values in that order.

    The values are float16, little-endian, in base64. AwmError if one is no finite float16.
    """
    with np.errstate(over="ignore"):  # it is told below, by name
        parts = {name: value.detach().numpy().astype("<f2") for name, value in arrays.items()}
    for name, part in parts.items():
        if not np.isfinite(part).all():
            raise AwmError(
                f"{name} of the dream on the page is not finite in float16: the training of its "
                "model has diverged. Train it again."
            )
    data = b"".join(part.tobytes() for part in parts.values())
    return {
        "arrays": [[name, list(part.shape)] for name, part in parts.items()],
        "data": base64.b64encode(data).decode(),
    }


def unpack(packed: dict) -> dict[str, Tensor]:
    """The arrays that `pack` packed, float32: what the page computes with."""
    data, at, arrays = np.frombuffer(base64.b64decode(packed["data"]), "<f2"), 0, {}
    for name, shape in packed["arrays"]:
        size = int(np.prod(shape))
        arrays[name] = torch.from_numpy(data[at : at + size].astype(np.float32).reshape(shape))
        at += size
    return arrays
