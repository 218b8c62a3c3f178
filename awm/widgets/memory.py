"""What an M dreams, and what it attends to."""

from functools import lru_cache

import ipywidgets
import numpy as np
import torch

from awm import figures
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.figures.theme import INK
from awm.figures.timeline import Curves, Line, Weights, bars
from awm.ids import ATTENTIONS, PLAIN, Memory
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import to_frames
from awm.training import feature_map, mdn_rnn, vae
from awm.widgets.panel import Panel, Picture, Timeline, in_a_row, or_notice, play
from awm.worlds.dream import DreamSource, DreamWorld

#: How many real steps M sees before it dreams, and how many it may then dream.
WARM_UP, HORIZON = 32, 128


class MemoryPanel(Panel):
    """A panel over held-out rollouts with an M, one of those that are trained.

    `memory` chooses it, at first `first`; what the others need is said under the panel.

    Raises:
        AwmError: if none is trained.
    """

    def __init__(self, profile, memories: list[Memory], first: Memory):
        super().__init__(profile)
        self.choose(open_rollouts(self.ws), to_step=True)
        self.v = vae.load(self.ws)
        each = dict.fromkeys([*memories, first])
        loaded = {memory: self.optional(mdn_rnn.load, memory) for memory in each}
        self._ms = {memory: m for memory, m in loaded.items() if m is not None}
        #: Codes and maps of some frames of a rollout, as `encode` has them.
        self.codes = lru_cache(1)(lambda n, *span: self.encode(self._read(n).frames[slice(*span)]))
        if not self._ms:
            raise AwmError(" ".join(self._missing))
        self.memory = self.control(
            ipywidgets.ToggleButtons, lambda: self.chosen(), layout={},
            style={"button_width": "auto"},
            options=[(memory.label, memory) for memory in self._ms],
            value=first if first in self._ms else next(iter(self._ms)),
        )  # fmt: skip

    @property
    def m(self) -> MDNRNN:
        return self._ms[self.memory.value]


class DreamPlayer(MemoryPanel):
    """Let M dream on alone from a real frame, and compare with what happened.

    M sees up to 32 real steps, then only its own samples and the recorded actions. `rollout`,
    `frame`, `memory` and `temperature` choose the dream; `step` and `playing` move in it, and
    `one_step`, `reset` and `again` (the same dream with other noise) are buttons.

    Args:
        profile: a `Workspace`, a profile or its name; Ms that are not trained are named.
        memory: the M to begin with, if it is trained.
    """

    def __init__(self, profile, memory: Memory = PLAIN):
        super().__init__(profile, [PLAIN, *map(Memory, ATTENTIONS)], memory)
        self.frame.description = "from frame"
        self.play.layout.display = "none"  # it would begin a dream a frame
        # Without the head, a spatially attentive M sees its dream through drawn frames, at 3 ms.
        spatial = any(m.needs_map for m in self._ms.values())
        self._head = self.optional(feature_map.load) if spatial else None
        # A dream follows from these five, however one came to it.
        self._begun, self._seed = lru_cache(1)(self._begin), 0
        # Steps of an eighth: a browser's arithmetic leaves binary fractions alone.
        self.temperature = self.control(
            ipywidgets.FloatSlider, value=1.0, min=0.125, max=2.0, step=0.125,
            description="temperature", readout_format=".3f",
        )  # fmt: skip
        self.step = self.control(ipywidgets.IntSlider, max=1, description="step")
        self.playing = play(self.step)
        self.one_step = self.button(
            "step", "dream one step", lambda: self._move(self.step.value + 1)
        )
        self.reset = self.button("reset", "back to the real frame", lambda: self._move(0))
        self.again = self.button(
            "other noise", "the same beginning, another dream", self._other_noise
        )
        self.real, self.dreamt, self.curves = Picture("reality"), Picture("dream"), Timeline()
        self.chosen()
        moves = in_a_row(self.step, self.playing, self.one_step, self.reset, self.again)
        told = ipywidgets.VBox([self.curves, self.summary])
        pictures = in_a_row(self.real, self.dreamt, told)
        self.lay_out(self.memory, self.chooser, self.temperature, moves, pictures)

    def chosen(self):
        with self.held():
            steps = min(HORIZON, self.frame.max + 1 - self.frame.value)
            self.step.max = self.playing.max = steps
            self.step.value = 0
        self.redraw()

    def _move(self, step: int):
        self.step.value = min(step, self.step.max)  # which draws

    def _other_noise(self):
        self._seed += 1
        self.chosen()

    def _begin(self, rollout: int, start: int, memory: Memory, temperature: float, seed: int):
        """A world in which M has seen what led to a frame, and its moments: this first one."""
        episode, m, first = self._read(rollout), self._ms[memory], max(0, start - WARM_UP)
        z, maps = self.codes(rollout, first, start + 1)
        world = DreamWorld(DreamSource(self.v, m, z[-1:], self._head), 1, temperature)
        world.begin(0, seed)
        for t in range(start - first):
            now, seen = slice(t, t + 1), maps[t : t + 1] if m.needs_map else None
            world.state, _ = m.step(z[now], _action(episode, first + t), world.state, seen)
        return world, [(world.z, world.state.h, 0.0)]

    def dream(self, steps: int) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
        """The chosen dream, for at least so many steps: z `[1, z]`, h `[1, hidden]` and reward."""
        start, heat = self.frame.value, self.temperature.value
        world, moments = self._begun(self.rollout.value, start, self.memory.value, heat, self._seed)
        while len(moments) <= steps:
            reward, _ = world.step(_action(self.episode, start + len(moments) - 1))
            moments.append((world.z, world.state.h, float(reward[0])))
        return moments

    def _draw(self):
        t, start, steps = self.step.value, self.frame.value, self.step.max
        moments = self.dream(t)
        z, h, _ = moments[t]
        self.real.draw(self.episode.frames[start + t])
        self.dreamt.draw(to_frames(self.v.decode(z))[0])
        # Rewards as M learns them.
        least = self.ws.profile.mdn_rnn.smallest_reward
        real = np.maximum(self.episode.rewards[start : start + steps], least)
        expected = np.array([reward for *_, reward in moments[1:]])
        pairs = ("reward", real, expected), ("sum", real.cumsum(), expected.cumsum())
        color = figures.model_color(self.memory.value)
        rows = [
            Curves((Line(f"real {name}", a, INK), Line(f"M's {name}", b, color)), height=72)
            for name, a, b in pairs
        ]
        self.curves.draw(rows, steps)
        self.curves.move(max(0, t - 1))
        end = 100 * float(torch.sigmoid(self.m.predict(h).done_logit)) if t else 0.0
        self.summary.value = (
            f"after {t} steps M expected <b>{expected[:t].sum():.1f}</b>, "
            f"the road gave <b>{real[:t].sum():.1f}</b>"
            f" · M takes this for the end with {end:.1f} %<br>{self.describe()}"
        )

    def still(self):
        steps = np.unique(np.linspace(0, min(self.step.max, 48), 7, dtype=int))
        moments = self.dream(int(steps[-1]))
        dreamt = to_frames(self.v.decode(torch.cat([moments[step][0] for step in steps])))
        rows = [self.episode.frames[self.frame.value + steps], dreamt]
        titles = ["driven", f"dreamt,\nτ = {self.temperature.value:g}"]
        return figures.frame_grid(rows, titles, [f"+{step}" for step in steps]), (
            f"Frames of rollout {self.rollout.value} as it was driven, and as "
            f"{self.memory.value.label} dreams it from the same frame with the same actions."
        )


def _action(episode, t: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(episode.actions[t], np.float32))[None]


class AttentionViewer(MemoryPanel):
    """Play a held-out rollout and see what an attentive M looks at before each step.

    Spatial attention lights the frame, feature attention weighs the entries of [z, a] and
    temporal attention the last hidden states; a heat map shows all steps, with a cursor.

    Args:
        profile: a `Workspace`, a profile or its name; attentive Ms that are not trained are named.
        memory: the attentive M to begin with, if it is trained.
    """

    def __init__(self, profile, memory: Memory | None = None):
        memory = memory or Memory(ATTENTIONS[0])
        if memory.kind not in ATTENTIONS:
            raise AwmError(f"{memory.label} attends to nothing. Choose {', '.join(ATTENTIONS)}.")
        super().__init__(profile, [*map(Memory, ATTENTIONS)], memory)
        self._drawn = None
        self.picture, self.lit = Picture("frame"), Picture("lit by the weights")
        self.bars, self.map = ipywidgets.HTML(), Timeline()
        pictures = in_a_row(self.picture, self.lit, self.bars)
        self.lay_out(self.memory, self.chooser, pictures, self.map, self.summary)

    def _draw(self):
        # The picture goes out before V encodes a whole rollout that was not shown before.
        self.picture.draw(self.seen)
        t, which = self.frame.value, (self.memory.value, self.rollout.value)
        what, names = self._items()
        if self._drawn != which:
            self.weights = self._attend()
            self.map.draw([Weights(what, self.weights)], len(self.weights))
            self._drawn = which
        self.map.move(t)
        spatial, now = self.m.needs_map, self.weights[t]
        self.lit.layout.display = "" if spatial else "none"
        self.bars.layout.display = "none" if spatial else ""
        if spatial:
            self.lit.draw(figures.overlay_attention(self.seen, now), 1)
        else:
            plot = bars(now, names, figures.model_color(self.memory.value))
            self.bars.value = f"<b>weights (dashed: even)</b>{plot}"
        most = f"{100 * now.max():.0f} % on {names[now.argmax()]}"
        said = most if now.any() else "there is no past to look at yet"
        self.summary.value = f"step {t}: {said}<br>{self.describe()}"

    def _attend(self) -> np.ndarray:
        """M's weights along the rollout, `[time, items]`; of the past, the latest state first."""
        z, maps = (x[None] for x in self.codes(self.rollout.value, -1))
        actions = torch.from_numpy(np.asarray(self.episode.actions))[None]
        weights = self.m(z, actions, maps if self.m.needs_map else None)[1][0].numpy()
        return weights[:, ::-1] if self.m.looks_at == "past" else weights

    def _items(self) -> tuple[str, list[str]]:
        """What M weighs, and what each of its items is called."""
        match self.m.looks_at:
            case "map":
                side = round(self.v.map_shape[0] ** 0.5)
                steps, of = range(1, side + 1), f"{side} × {side}"
                return f"{of} places", [
                    f"row {y}, column {x} of {of}" for y in steps for x in steps
                ]
            case "past":
                return "steps back", [f"h(t−{back})" for back in range(1, self.m.memory + 1)]
        names = [*(f"z{i}" for i in range(self.v.z_size)), "steer", "gas", "brake"]
        return "entries of [z, a]", names

    def still(self):
        weights, last = self.weights, len(self.weights) - 1
        if self.m.needs_map:
            steps = np.unique(np.linspace(min(10, last), last, 6, dtype=int))
            frames, titles = self.episode.frames[steps], [f"step {step}" for step in steps]
            figure = figures.attention_over_frame(frames, weights[steps], titles)
        elif self.m.looks_at == "entries":
            figure = figures.attention_over_entries(weights, self.v.z_size)
        else:
            figure = figures.attention_over_time(weights[:, ::-1])
        return figure, (
            f"What {self.memory.value.label} attends to along rollout {self.rollout.value}."
        )


dream_player = or_notice(DreamPlayer)
attention_viewer = or_notice(AttentionViewer)
