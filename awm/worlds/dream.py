"""M's dream: M in the simulator's place (Ha & Schmidhuber 2018, section 4).

`DreamWorld` steps many lanes in one batch: an action each, and M samples z' and tells the reward
and whether the episode ends. `awm.worlds.environments` makes Gymnasium environments of it.
`imagine` follows recorded actions, to compare a dream with what happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from awm.data.latents import Latents, encode_latents
from awm.data.rollouts import Rollouts, open_rollouts
from awm.errors import AwmError
from awm.ids import PLAIN, Memory
from awm.models.feature_map import FeatureMapHead, through_frames
from awm.models.mdn_rnn import ACTION_SIZE, MDNRNN, State
from awm.models.vae import VAE, to_frames
from awm.racing import MAX_EPISODE_STEPS
from awm.store import Workspace
from awm.training import feature_map, mdn_rnn, vae

#: Steps for which a lane draws its noise at once.
_BLOCK = 64

#: Lanes that an evolution dreams together. Always as many, so that a dream does not depend, in
#: the last bits, on what else is dreamt.
LANES = 128


#: Recorded moments that dreams begin at.
MOMENTS = 512
#: What the field's edge costs. An end where M expects to lose is taken for it.
EDGE = -100.0


@dataclass(frozen=True)
class DreamSource:
    """What dreams are made of: V, M, and codes of real frames to begin with, `[n, z]`.

    `states` are M's states at these, `[n, ...]`; without them dreams begin with no memory. A
    spatially attentive M sees its dream through a `head`, or without one through the frames that V
    draws of it, which is much slower. `mean` `[z]` is that of the codes of real frames, which a
    dream with `idle_at_mean` needs.
    """

    v: VAE
    m: MDNRNN
    starts: Tensor
    head: FeatureMapHead | None = None
    mean: Tensor | None = None
    states: State | None = None

    def look(self, z: Tensor) -> Tensor | None:
        """The maps `[lanes, places, channels]` that M attends to at codes `[lanes, z]`, if any."""
        if not self.m.needs_map:
            return None
        return through_frames(self.v, z) if self.head is None else self.head(z)


def load(
    ws: Workspace, memory: Memory = PLAIN, moments: bool = False, split: str = "train"
) -> DreamSource:
    """What a memory dreams of. AwmError if V, M, the rollouts or the feature map are missing.

    Args:
        moments: begin at any recorded moment, rather than at first frames.
        split: whose episodes these are.
    """
    v, m = vae.load(ws), mdn_rnn.load(ws, memory)
    head = feature_map.load(ws) if m.needs_map else None
    rollouts, latents = open_rollouts(ws, memory), encode_latents(ws, v, memory)
    mu, episodes = latents.mu, rollouts.indices("train")
    mean = np.concatenate([mu[i, : rollouts.lengths[i] + 1] for i in episodes]).mean(axis=0)
    source = DreamSource(
        v, m, torch.from_numpy(mu[rollouts.indices(split), 0]), head, torch.from_numpy(mean)
    )
    return remembered(source, rollouts, latents, split) if moments else source


@torch.inference_mode()
def remembered(
    source: DreamSource, rollouts: Rollouts, latents: Latents, split: str, count: int = MOMENTS
) -> DreamSource:
    """The source with recorded moments to begin at, as M remembers them.

    M lives through the episode until then, as it does on the road: it sees the posterior's mean.
    """
    rng, m = np.random.default_rng(0), source.m
    episodes = rng.choice(rollouts.indices(split), size=count)
    at = [int(rng.integers(rollouts.lengths[e])) for e in episodes]
    starts = torch.from_numpy(
        np.stack([latents.mu[e, t] for e, t in zip(episodes, at, strict=True)])
    )
    states = m.initial_state(count)
    group = 64 if m.needs_map else count  # maps of long episodes are large
    for first in range(0, count, group):
        rows = range(first, min(first + group, count))
        longest = max(at[row] for row in rows)
        z = torch.from_numpy(latents.mu[episodes[rows.start : rows.stop], :longest])
        actions = torch.zeros(len(rows), longest, ACTION_SIZE)
        maps = torch.zeros(len(rows), longest, *latents.map_shape) if m.needs_map else None
        for n, row in enumerate(rows):
            e, past = int(episodes[row]), slice(at[row])
            actions[n, past] = torch.from_numpy(rollouts.read("actions", e)[past])
            if maps is not None:
                maps[n, past] = torch.from_numpy(latents.maps(e, past))
        state = m.initial_state(len(rows))
        for t in range(longest + 1):
            for n, row in enumerate(rows):
                if at[row] == t:
                    states.put(row, state, n)
            if t < longest:
                seen = None if maps is None else maps[:, t]
                state, _ = m.step(z[:, t], actions[:, t], state, seen)
    return replace(source, starts=starts, states=states)


class DreamWorld:
    """Dreams as a world of lanes (`awm.worlds.lanes.World`).

    All that is random in a dream, its first frame included, comes from the seed it is begun with:
    dreams of the same seed and actions are the same. A dream has no tiles and no finished lap.

    Args:
        temperature: of the samples of z'; above 1 the dream is less certain than M is.
        steps: how long a dream lasts, at most.
        edge: an end where M expects to lose is the field's edge, and costs 100.
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
        steps: int = MAX_EPISODE_STEPS,
        edge: bool = False,
    ):
        if not temperature > 0:
            raise AwmError(f"A temperature must be positive, not {temperature}.")
        if idle_at_mean and source.mean is None:
            raise AwmError("This source does not know its codes' mean. Load it with `dream.load`.")
        self.source, self.lanes, self.temperature = source, lanes, temperature
        self.steps, self.edge = steps, edge
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
        if self.source.states is None:
            self.state.forget(lane)
        else:
            self.state.put(lane, self.source.states, int(first[0]))

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
        rewards = expected.reward.double()
        if self.edge:
            rewards[ended & (rewards < 0)] = EDGE
        return rewards.numpy(), ended.numpy()

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
        maps: for the spatially attentive M, real maps `[batch, warm_up + 1, places, channels]`
            of the frames before it is left alone; without them it looks through the head, too.

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
