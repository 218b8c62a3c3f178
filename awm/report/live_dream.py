"""A dream that the reader of the report drives: what the page needs of V, M and C, in one bundle.

`templates/dream.js` computes with it what `VAE.decode`, `MDNRNN.step`, `MDNRNN.predict`,
`Prediction.pick` and `controller.act` compute, and nothing else: whatever is the same at every step
is folded into the weights here. A dream begins at a moment of a held-out episode, with M's memory
of the real steps that led to it, so that the car is already driving.
"""

import base64
import io
import json
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from awm import stages
from awm.data import rollouts as data
from awm.data.rollouts import Rollouts
from awm.errors import AwmError
from awm.evolution import search
from awm.ids import Agent, Memory
from awm.models.attention import FeatureAttention
from awm.models.controller import Controller
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE
from awm.report import page
from awm.store import Workspace
from awm.training import mdn_rnn, vae

#: The Ms that dream on the page. Not the spatially attentive one: it looks at V's map of a frame,
#: for which the page would have to carry V's encoder or a head that guesses the map.
KINDS = ("plain", "feature", "temporal")

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


def absent(ws: Workspace) -> str | None:
    """What a dream on the page lacks in this profile, as a sentence; None if it lacks nothing."""
    if ws.find(stages.vae(ws.profile).name) is None:
        return "There is no dream to drive: V has not been trained in this profile."
    if not _trained(ws):
        return "There is no dream to drive: no M that can dream here has been trained."
    try:
        data.open_rollouts(ws)
    except AwmError as error:
        return f"A dream begins with a frame of a recorded episode. {error}"
    return None


def html(ws: Workspace) -> str:
    """A dream that the reader drives, or a note on what it lacks."""
    lack = absent(ws)
    found = None if lack else bundle(ws)
    return page.template("dream.html.j2").render(
        lack=lack,
        bundle=found,
        kinds=KINDS,
        trained={} if lack else {m["name"]: m for m in found["models"]},
        data=Markup(json.dumps(found).replace("<", "\\u003c")),
        script=page.asset("dream.js"),
    )


def bundle(ws: Workspace) -> dict:
    """Everything that `dream.js` needs, ready for JSON. AwmError as the loaders of its parts.

    `models` (with the label of the agent that drives, or None) and `starts` (with `label`, `origin`
    and `frame`, a picture) are in the order in which they are offered; `arrays` and `data` are as
    `pack` makes them.
    """
    v, rollouts = vae.load(ws), data.open_rollouts(ws)
    ms = {kind: mdn_rnn.load(ws, Memory(kind)) for kind in _trained(ws)}
    drivers = {kind: _driver(ws, kind) for kind in ms}
    arrays = decoder_arrays(v)
    for kind, m in ms.items():
        parts = memory_arrays(m)
        if drivers[kind]:
            parts |= driver_arrays(search.load(ws, drivers[kind]))
        arrays |= {f"{kind}.{name}": value for name, value in parts.items()}
    offered = []
    for number, start in enumerate(choose_starts(rollouts)):
        episode = rollouts.episode(start.episode)
        begin = max(0, start.step - WARM_UP)
        z = torch.from_numpy(v.encode_frames(episode.frames[begin : start.step + 1])[0])
        actions = torch.from_numpy(episode.actions[begin : start.step])
        arrays[f"start{number}.z"] = z[-1]
        for kind, m in ms.items():
            found = remembered(m, z[:-1], actions)
            arrays |= {f"start{number}.{kind}.{name}": value for name, value in found.items()}
        offered.append(
            {
                "label": start.label,
                "origin": f"test episode {start.episode}, step {start.step}",
                "frame": _picture(episode.frames[start.step]),
            }
        )
    shape = ws.profile.mdn_rnn
    return {
        "z": v.z_size,
        "hidden": shape.hidden_size,
        "mixtures": shape.mixtures,
        "memory": shape.memory,
        "models": [
            {"name": kind, "controller": driver and driver.label}
            for kind, driver in drivers.items()
        ],
        "starts": offered,
        **pack(arrays),
    }


def _trained(ws: Workspace) -> list[str]:
    """The kinds of M that can dream on the page."""
    return [k for k in KINDS if ws.find(stages.mdn_rnn(ws.profile, Memory(k)).name)]


def _driver(ws: Workspace, kind: str) -> Agent | None:
    """The agent that drives a kind's dream: the refined one where there is one."""
    first = Agent(Memory(kind))
    found = (a for a in (first.refined(), first) if ws.find(stages.agent(ws.profile, a).name))
    return next(found, None)


def decoder_arrays(v: VAE) -> dict[str, Tensor]:
    """V's decoder as four transposed convolutions, `[in, kernel, kernel, out]` and biases.

    The first is the linear map of z that a folded V begins with; its bias is a map.
    """
    v = v if v.expanded[1] > 1 else v.folded()
    channels, side, _ = v.expanded
    one_map = v.expand.weight.t().unflatten(1, (side, side, channels))
    arrays = {"v0.weight": one_map, "v0.bias": v.expand.bias.view(side, side, channels)}
    for number, layer in enumerate(v.deconvolutions, start=1):
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


def choose_starts(rollouts: Rollouts) -> list[Start]:
    """A few moments of the test episodes that differ: the start line, bends, speed, the grass.

    Episodes too short to hold any of the others offer the start line only.
    """
    columns = ("speed", "centre_distance", "wheels_on_road")
    speed, distance, wheels = map(data.TELEMETRY.index, columns)
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
    values = b"".join(part.tobytes() for part in parts.values())
    return {
        "arrays": [[name, list(part.shape)] for name, part in parts.items()],
        "data": base64.b64encode(values).decode(),
    }
