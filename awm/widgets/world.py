"""What `world.js` needs of V, M and C to dream in a browser, with moments to begin at.

`world.js` computes with it what `VAE.decode`, `MDNRNN.step`, `MDNRNN.predict`, `Prediction.pick`
and `controller.act` compute, and nothing else: whatever is the same at every step is folded into
the weights here. A dream begins at a moment of a held-out episode, with M's memory of the real
steps that led to it, so that the car is already driving.
"""

import base64
import io
from collections.abc import Mapping

import numpy as np
import torch
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
from awm.store import Workspace
from awm.training import mdn_rnn, vae

#: The Ms that dream in a browser. Not the spatially attentive one: it looks at V's map of a frame,
#: for which a page would have to carry V's encoder or a head that guesses the map.
KINDS = ("plain", "feature", "temporal")

#: Real steps by which M is led to the moment at which a dream begins. Fifty of them also see the
#: camera come close, with which every episode opens.
WARM_UP = 64

#: Recorded steps after a start, four seconds of driving, that a dream can be held against.
CLIP = 200

# The steps after a moment, half a second of them, say what kind of moment it is. To be one of
# driving, the speed (units/s) must not fall below, and to be one on the road, the distance from the
# road's middle (units) not rise above.
_AHEAD = 25
_PACE = 25.0
_ASIDE = 2.5

#: Frames in a row of a film.
COLUMNS = 20


def lack(ws: Workspace) -> str | None:
    """What a dream in a browser lacks in this profile, as a sentence; None if it lacks nothing."""
    seeing, dreaming = stages.vae(ws.profile), stages.mdn_rnn(ws.profile, Memory())
    if ws.find(seeing.name) is None:
        return (
            f"There is no dream to drive: V has not been trained in this profile. {seeing.remedy}"
        )
    if not _trained(ws):
        return f"There is no dream to drive: no M that can dream here is trained. {dreaming.remedy}"
    try:
        data.open_rollouts(ws)
    except AwmError as error:
        return f"A dream begins with a frame of a recorded episode. {error}"
    return None


def bundle(ws: Workspace) -> tuple[dict, dict[str, Tensor]]:
    """Everything that `world.js` needs, as facts ready for JSON, and named arrays for `pack`.

    `models` (with the label of the agent that drives, or None) and `starts` (with `label`,
    `origin`, the first `frame` and the `film` of the frames from it on, both pictures) are in the
    order in which they are offered. `apart` is the mean squared error between two frames of
    different moments, a value's, to compare others with. AwmError as the loaders of its parts.
    """
    v, rollouts = vae.load(ws), data.open_rollouts(ws)
    ms = {kind: mdn_rnn.load(ws, Memory(kind)) for kind in _trained(ws)}
    arrays, models, starts, films = decoder_arrays(v), [], [], []
    for kind, m in ms.items():
        first = Agent(Memory(kind))
        there = (a for a in (first.refined(), first) if ws.find(stages.agent(ws.profile, a).name))
        driver = next(there, None)
        parts = memory_arrays(m) | (driver_arrays(search.load(ws, driver)) if driver else {})
        arrays |= {f"{kind}.{name}": value for name, value in parts.items()}
        models.append({"name": kind, "controller": driver and driver.label})
    for number, (label, index, step) in enumerate(choose_starts(rollouts)):
        episode, begin = rollouts.episode(index), max(0, step - WARM_UP)
        frames = episode.frames[step : step + CLIP + 1]
        codes, _, _ = v.encode_frames(episode.frames[begin : step + len(frames)])
        before, codes = map(torch.from_numpy, np.split(codes, [step - begin]))
        actions = torch.from_numpy(episode.actions[begin : step + len(frames) - 1])
        led, driven = actions[: len(before)], actions[len(before) :]
        parts = {"codes": codes, "actions": driven}
        for kind, m in ms.items():
            found = remembered(m, before, led)
            parts |= {f"{kind}.{name}": value for name, value in found.items()}
        arrays |= {f"start{number}.{name}": value for name, value in parts.items()}
        origin = f"test episode {index}, step {step}"
        pictures = {"frame": picture(frames[0]), "film": film(frames)}
        starts.append({"label": label, "origin": origin, **pictures})
        films.append(frames)
    shape = ws.profile.mdn_rnn
    return {
        "z": v.z_size,
        "hidden": shape.hidden_size,
        "mixtures": shape.mixtures,
        "memory": shape.memory,
        "apart": _apart(np.concatenate(films)),
        "models": models,
        "starts": starts,
    }, arrays


def _trained(ws: Workspace) -> list[str]:
    """The kinds of M that can dream in a browser."""
    return [k for k in KINDS if ws.find(stages.mdn_rnn(ws.profile, Memory(k)).name)]


@torch.inference_mode()
def decoder_arrays(v: VAE) -> dict[str, Tensor]:
    """V's decoder as four transposed convolutions, `[in, kernel, kernel, out]` and biases.

    The first is the linear map of z that a folded V begins with; its bias is a map. The last has a
    fourth channel of zeros beside the colours, for vectors of four.
    """
    v = v if v.expanded[1] > 1 else v.folded()
    channels, side, _ = v.expanded
    one_map = v.expand.weight.t().unflatten(1, (side, side, channels))
    arrays = {"v0.weight": one_map, "v0.bias": v.expand.bias.view(side, side, channels)}
    for number, layer in enumerate(v.deconvolutions, start=1):
        fours = (0, -layer.weight.shape[1] % 4)
        arrays[f"v{number}.weight"] = F.pad(layer.weight.permute(0, 2, 3, 1), fours)
        arrays[f"v{number}.bias"] = F.pad(layer.bias, fours)
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


def choose_starts(rollouts: Rollouts) -> list[tuple[str, int, int]]:
    """A few moments of the test episodes that differ: bends, speed, the grass, the start line.

    Each is a label, an episode and a step of it. Of episodes that go on for `CLIP` steps after
    them, and stay on the road if they begin there. Episodes too short for that offer the start line
    only.
    """
    columns = ("speed", "centre_distance", "wheels_on_road")
    speed, distance, wheels = map(data.TELEMETRY.index, columns)
    telemetry, test = rollouts.column("telemetry"), rollouts.indices("test").tolist()
    moments, kinds = [], []
    for episode in test:
        for step in range(WARM_UP, int(rollouts.lengths[episode]) - CLIP + 1):
            clip = telemetry[episode][step : step + CLIP + 1]
            ahead = clip[: _AHEAD + 1]
            # Where the car goes now, and where it goes in the end, as complex numbers.
            now, then = (complex(*(ahead[i + 5, :2] - ahead[i, :2])) for i in (0, _AHEAD - 5))
            on_road = ahead[:, distance].max() < _ASIDE and clip[:, wheels].min() > 0
            on_grass, pace = ahead[:, wheels].max() == 0, ahead[:, speed].min()
            moments.append((episode, step))
            kinds.append((np.angle(then * now.conjugate()), pace, on_road, on_grass))
    turn, pace, on_road, on_grass = np.array(kinds).reshape(-1, 4).T
    starts = []
    for label, score, possible in (
        ("a bend to the left", turn, on_road),
        ("a bend to the right", -turn, on_road),
        ("at speed", pace, on_road),
        ("on the grass", pace, on_grass),
    ):
        scores = np.where((possible > 0) & (pace > _PACE), score, -np.inf)
        if np.isfinite(scores).any():
            starts.append((label, *moments[scores.argmax()]))
    return [*starts, ("the start line", test[0], 0)]


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


def _apart(frames: np.ndarray) -> float:
    """The mean squared error between frames `[N, 64, 64, 3]` of different moments, in [0, 1]²."""
    rng = np.random.default_rng(0)
    one, other = rng.choice(len(frames), (2, 256))
    return float(np.mean((frames[one] / 255 - frames[other] / 255) ** 2))


def picture(image: np.ndarray, kind: str = "png", **options) -> str:
    """A picture uint8 `[H, W, 3]` as the address of a PNG, or of another kind."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, optimize=True, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def film(frames: np.ndarray) -> str:
    """Frames uint8 `[T, 64, 64, 3]` as the address of one picture, in rows of `COLUMNS`.

    A JPEG whose colours are as fine as its light: the car is a few pixels of red.
    """
    rows = -(-len(frames) // COLUMNS)
    sheet = np.zeros((rows * COLUMNS, 64, 64, 3), np.uint8)
    sheet[: len(frames)] = frames
    sheet = sheet.reshape(rows, COLUMNS, 64, 64, 3).swapaxes(1, 2).reshape(rows * 64, -1, 3)
    return picture(sheet, "jpeg", quality=92, subsampling=0)


def pack(arrays: Mapping[str, Tensor | np.ndarray]) -> dict:
    """Named arrays as `arrays`, pairs of name and shape, and `data`: their values in that order.

    The values are float16, little-endian, in base64. AwmError if one is no finite float16.
    """
    with np.errstate(over="ignore"):  # it is told below, by name
        parts = {name: np.asarray(value).astype("<f2") for name, value in arrays.items()}
    for name, part in parts.items():
        if not np.isfinite(part).all():
            raise AwmError(
                f"{name} of the dream in the browser is not finite in float16: the training of "
                "its model has diverged. Train it again."
            )
    values = b"".join(part.tobytes() for part in parts.values())
    return {
        "arrays": [[name, list(part.shape)] for name, part in parts.items()],
        "data": base64.b64encode(values).decode(),
    }
