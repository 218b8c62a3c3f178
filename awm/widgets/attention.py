"""What an M attends to."""

from functools import lru_cache

import ipywidgets
import numpy as np
import torch

from awm import figures
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.figures.timeline import Weights, bars
from awm.ids import ATTENTIONS, Memory
from awm.models.mdn_rnn import MDNRNN
from awm.training import mdn_rnn, vae
from awm.widgets.panel import Panel, Picture, Timeline, in_a_row, or_notice


class AttentionViewer(Panel):
    """Play a held-out rollout and see what an attentive M looks at before each step.

    Spatial attention lights the frame, feature attention weighs the entries of [z, a] and
    temporal attention the last hidden states; a heat map shows all steps, with a cursor.

    Args:
        profile: a `Workspace`, a profile or its name; attentive Ms that are not trained are named.
        memory: the attentive M to begin with, if it is trained.

    Raises:
        AwmError: if none is trained.
    """

    def __init__(self, profile, memory: Memory | None = None):
        memory = memory or Memory(ATTENTIONS[0])
        if memory.kind not in ATTENTIONS:
            raise AwmError(f"{memory.label} attends to nothing. Choose {', '.join(ATTENTIONS)}.")
        super().__init__(profile)
        self.choose(open_rollouts(self.ws), to_step=True)
        self.v = vae.load(self.ws)
        each = dict.fromkeys([*map(Memory, ATTENTIONS), memory])
        self._ms = {one: m for one in each if (m := self.optional(mdn_rnn.load, one))}
        #: Codes and maps of a rollout's frames before its last, as `encode` has them.
        self.codes = lru_cache(1)(lambda n: self.encode(self._read(n).frames[:-1]))
        if not self._ms:
            raise AwmError(" ".join(self._missing))
        offered = {
            "options": [(memory.label, memory) for memory in self._ms],
            "value": memory if memory in self._ms else next(iter(self._ms)),
        }
        style = {"layout": {}, "style": {"button_width": "auto"}}
        self.memory = self.control(ipywidgets.ToggleButtons, **offered, **style)
        self.picture, self.lit = Picture("frame"), Picture("lit by the weights")
        self.bars, self.map = ipywidgets.HTML(), Timeline()
        pictures = in_a_row(self.picture, self.lit, self.bars)
        self.lay_out(self.memory, self.chooser, pictures, self.map, self.summary)

    @property
    def m(self) -> MDNRNN:
        return self._ms[self.memory.value]

    def _draw(self):
        # The picture goes out before V encodes a whole rollout that was not shown before.
        self.picture.draw(self.seen)
        t, which = self.frame.value, (self.memory.value, self.rollout.value)
        what, names = self._items()
        steps = len(self.episode.actions)
        self.map.draw(which, t, steps, lambda: [Weights(what, self._attend())])
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
        z, maps = (x[None] for x in self.codes(self.rollout.value))
        actions = torch.from_numpy(np.asarray(self.episode.actions))[None]
        weights = self.m(z, actions, maps if self.m.needs_map else None)[1][0].numpy()
        self.weights = weights[:, ::-1] if self.m.looks_at == "past" else weights
        return self.weights

    def _items(self) -> tuple[str, list[str]]:
        """What M weighs, and what each of its items is called."""
        if self.m.looks_at == "map":
            side = round(self.v.map_shape[0] ** 0.5)
            each, of = range(1, side + 1), f"{side} × {side}"
            return f"{of} places", [f"row {y}, column {x} of {of}" for y in each for x in each]
        if self.m.looks_at == "past":
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


attention_viewer = or_notice(AttentionViewer)
