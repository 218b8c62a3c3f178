"""M's dream: M in the simulator's place (Ha & Schmidhuber 2018, section 4).

`DreamWorld` steps many lanes in one batch: an action each, and M samples z' and tells the reward
and whether the episode ends. `awm.worlds.environments` makes Gymnasium environments of it.
`imagine` follows recorded actions, to compare a dream with what happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.ids import PLAIN, Memory
from awm.models.feature_map import FeatureMapHead, through_frames
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE, to_frames
from awm.store import Workspace
from awm.training import feature_map, mdn_rnn, vae

#: Steps for which a lane draws its noise at once.
_BLOCK = 64

#: Lanes that an evolution dreams together. Always as many, so that a dream does not depend, in
#: the last bits, on what else is dreamt.
LANES = 128


@dataclass(frozen=True)
class DreamSource:
    """What dreams are made of: V, M, and codes of real first frames to begin with, `[n, z]`.

    A spatially attentive M sees its dream through a `head`, or without one through the frames that
    V draws of it, which is much slower. `mean` `[z]` is that of the codes of real frames, which a
    dream with `idle_at_mean` needs.
    """

    v: VAE
    m: MDNRNN
    starts: Tensor
    head: FeatureMapHead | None = None
    mean: Tensor | None = None

    def look(self, z: Tensor) -> Tensor | None:
        """The maps `[lanes, 36, 128]` that M attends to at codes `[lanes, z]`, if it does."""
        if not self.m.needs_map:
            return None
        return through_frames(self.v, z) if self.head is None else self.head(z)


def load(ws: Workspace, memory: Memory = PLAIN) -> DreamSource:
    """What a memory dreams of. AwmError if V, M, the rollouts or the feature map are missing."""
    v, m = vae.load(ws), mdn_rnn.load(ws, memory)
    head = feature_map.load(ws) if m.needs_map else None
    rollouts, mu = open_rollouts(ws, memory), encode_latents(ws, v, memory).mu
    episodes = rollouts.indices("train")
    mean = np.concatenate([mu[i, : rollouts.lengths[i] + 1] for i in episodes]).mean(axis=0)
    return DreamSource(v, m, torch.from_numpy(mu[episodes, 0]), head, torch.from_numpy(mean))


class DreamWorld:
    """Dreams as a world of lanes (`awm.worlds.lanes.World`).

    All that is random in a dream, its first frame included, comes from the seed it is begun with:
    dreams of the same seed and actions are the same. A dream has no tiles and no finished lap.

    Args:
        temperature: of the samples of z'; above 1 the dream is less certain than M is.
        idle_at_mean: hold the latents that carry no information at the mean of real codes. On the
            road C and M see the posterior's mean, which of these latents hardly moves, where M's
            samples have a deviation of 1. C and M therefore both see them held.

    Raises:
        AwmError: for a temperature that is not positive, or if the source has no mean to hold at.
    """

    def __init__(
        self,
        source: DreamSource,
        lanes: int = LANES,
        temperature: float = 1.0,
        idle_at_mean: bool = False,
    ):
        if not temperature > 0:
            raise AwmError(f"A temperature must be positive, not {temperature}.")
        if idle_at_mean and source.mean is None:
            raise AwmError("This source does not know its codes' mean. Load it with `dream.load`.")
        self.source, self.lanes, self.temperature = source, lanes, temperature
        self.tiles = np.zeros(lanes, np.int64)
        self.attention: Tensor | None = None
        size = source.v.z_size
        self._idle: Tensor | None = None
        if idle_at_mean:
            self._idle = torch.ones(size, dtype=torch.bool)
            self._idle[source.v.informative] = False
        self.z = torch.zeros(lanes, size)
        self.state = source.m.initial_state(lanes)
        self._lanes = torch.arange(lanes)
        self._t = torch.zeros(lanes, dtype=torch.long)
        self._generators: list[torch.Generator | None] = [None] * lanes
        self._choice = torch.zeros(lanes, _BLOCK, size + 1)
        self._noise = torch.zeros(lanes, _BLOCK, size)

    @torch.inference_mode()
    def begin(self, lane: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(len(self.source.starts), (1,), generator=generator)
        self._generators[lane] = generator
        self.z[lane] = self._held(self.source.starts[first[0]])
        self._t[lane] = 0
        self.state.forget(lane)

    @torch.inference_mode()
    def observe(self, active: Sequence[int] = ()) -> Tensor:
        return torch.cat([self.z, self.state.h], dim=1)

    @torch.inference_mode()
    def step(self, action: Tensor, active: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        at = self._t % _BLOCK
        for lane in torch.nonzero(at == 0).flatten().tolist():
            generator = self._generators[lane]
            if generator is not None:
                self._choice[lane].uniform_(generator=generator)
                self._noise[lane].normal_(generator=generator)
        choice, noise = self._choice[self._lanes, at], self._noise[self._lanes, at]
        seen = self.source.look(self.z)
        self.state, self.attention = self.source.m.step(self.z, action, self.state, seen)
        expected = self.source.m.predict(self.state.h)
        self.z = self._held(expected.pick(choice[:, 1:], noise, self.temperature))
        self._t += 1
        ended = choice[:, 0] < torch.sigmoid(expected.done_logit)
        return expected.reward.double().numpy(), ended.numpy()

    def _held(self, z: Tensor) -> Tensor:
        return z if self._idle is None else torch.where(self._idle, self.source.mean, z)

    @torch.inference_mode()
    def frame(self, lane: int) -> np.ndarray:
        return to_frames(self.source.v.decode(self.z[lane : lane + 1]))[0]

    def result(self, lane: int) -> tuple[float, bool]:
        return 0.0, False


@torch.inference_mode()
def imagine(
    m: MDNRNN,
    z: Tensor,
    actions: Tensor,
    temperature: float = 1.0,
    warm_up: int = 0,
    seed: int = 0,
    head: FeatureMapHead | None = None,
    maps: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Dream sequences: after `warm_up` real steps M is fed its own samples.

    Args:
        m: any M; the spatially attentive needs a `head` to look through.
        z: real latents `[batch, time, z]`; the first `warm_up + 1` are used.
        actions: `[batch, time, 3]`, the actions of the whole sequence.
        temperature: of the samples (Ha & Schmidhuber 2018, section 4).
        maps: for the spatially attentive M, real maps `[batch, warm_up + 1, 36, 128]` of the
            frames before it is left alone; without them it looks through the head there, too.

    Returns:
        z `[batch, time, z]`, real up to `warm_up` and dreamt after it, and the rewards that M
        expects `[batch, time]`.

    Raises:
        AwmError: if a spatially attentive M has no head.
    """
    if m.needs_map and head is None:
        raise AwmError(
            "A spatially attentive M looks at frames: give it a head, or choose another M."
        )
    generator = torch.Generator().manual_seed(seed)
    state, now = m.initial_state(len(z)), z[:, 0]
    latents, rewards = [], []
    for t in range(actions.shape[1]):
        latents.append(now)
        real = maps is not None and t <= warm_up
        seen = None
        if m.needs_map and head is not None:
            seen = maps[:, t].float() if real else head(now)
        state, _ = m.step(now, actions[:, t], state, seen)
        expected = m.predict(state.h)
        rewards.append(expected.reward)
        now = expected.sample(temperature, generator) if t >= warm_up else z[:, t + 1]
    return torch.stack(latents, 1), torch.stack(rewards, 1)
