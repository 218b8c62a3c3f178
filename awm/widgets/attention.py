"""What an attentive M looks at while a rollout plays."""

import html

import ipywidgets
import numpy as np
import torch

from awm import config, figures
from awm.attention import MEMORY
from awm.errors import AwmError
from awm.figures.timeline import Weights, bars_svg
from awm.widgets.chooser import FrameChooser
from awm.widgets.models import encode, held_out, inference, open_ms, open_rollouts, open_vae
from awm.widgets.panel import SCALE, Panel, image, in_a_row, muted, or_notice, titled
from awm.widgets.timeline import Timeline

KINDS = tuple(kind for kind in config.ATTENTIONS if kind != "none")


@or_notice
def attention_viewer(profile, kind: str | None = None):
    """Play a held-out rollout and see what M attends to before each step.

    Spatial attention lights the frame, feature attention weighs the entries of [z, a] and
    temporal attention the last 32 hidden states; a heat map shows all steps, with a cursor.

    Args:
        profile: whose rollouts, V and attentive Ms; those that are not trained are named.
        kind: the attention to begin with; by default the first that is trained.
    """
    rollouts, vae = open_rollouts(profile), open_vae(profile)
    ms, missing = open_ms(profile, KINDS)
    if kind is not None and kind not in ms:
        open_ms(profile, [kind])  # says what to run
    return AttentionViewer(rollouts, vae, ms, kind, missing)


class AttentionViewer(Panel):
    """See `attention_viewer`. `kind`, `rollout`, `frame` and `play` choose."""

    def __init__(self, rollouts, vae, ms: dict, kind: str | None = None, missing: str = ""):
        self._vae, self._ms, self._drawn = vae, ms, None
        self._encoded = None
        self.kind = ipywidgets.ToggleButtons(
            options=[(figures.model_label(name), name) for name in ms],
            value=kind or next(iter(ms)), style={"button_width": "auto"},
        )  # fmt: skip
        # The last frame has no step that M would look before.
        self._chooser = FrameChooser(rollouts, self._draw, held_out(rollouts), leave=1)
        self.rollout, self.frame = self._chooser.rollout, self._chooser.frame
        self.play = self._chooser.play
        self.seen, self.lit = image(), image()
        self.bars, self.map, self.summary = ipywidgets.HTML(), Timeline(), ipywidgets.HTML()
        self._lit = titled("lit by the weights", self.lit)
        self._bars = titled("weights (dashed: even)", self.bars)
        self.kind.observe(self._draw, "value")
        self._draw()
        super().__init__(
            [
                self.kind,
                self._chooser.view,
                in_a_row(titled("frame", self.seen), self._lit, self._bars),
                self.map,
                self.summary,
                *([muted(missing)] if missing else []),
            ]
        )

    @property
    def weights(self) -> np.ndarray:
        """Of the M and the rollout shown, `[time, items]`."""
        return self._weights

    def _draw(self, _=None):
        try:
            episode, t = self._chooser.episode(), self.frame.value
        except AwmError as error:  # a damaged episode; the others can still be seen
            self.summary.value = html.escape(str(error))
            return
        # The picture goes out before V encodes a whole rollout that was not shown before.
        self.seen.value = figures.encode_png(episode.frames[t], SCALE)
        kind = self.kind.value
        if self._drawn != (kind, self.rollout.value):
            self._drawn = (kind, self.rollout.value)
            self._weights = self._attend(episode)
            self.map.draw([Weights(_ITEMS[kind], self._shown())], len(self._weights))
        self.map.move(t)
        now = self._weights[t]
        spatial = kind == "spatial"
        self._lit.layout.display = "" if spatial else "none"
        self._bars.layout.display = "none" if spatial else ""
        if spatial:
            lit = figures.overlay_attention(episode.frames[t], now, SCALE)
            self.lit.value = figures.encode_png(lit)
        else:
            color = figures.model_color(kind)
            self.bars.value = bars_svg(self._shown()[t], self._names(), color)
        self.summary.value = (
            f"step {t}: {self._most(now)}<br>{html.escape(self._chooser.describe())}"
        )

    def _attend(self, episode) -> np.ndarray:
        if self._encoded is None or self._encoded[0] != self.rollout.value:
            self._encoded = (self.rollout.value, *encode(self._vae, episode.frames[:-1]))
        _, z, maps = self._encoded
        m = self._ms[self.kind.value]
        with inference():
            inputs = [torch.from_numpy(np.asarray(x))[None] for x in (z, episode.actions, maps)]
            return m(*inputs[:2], inputs[2] if m.needs_map else None)[1][0].numpy()

    def _shown(self) -> np.ndarray:
        """The weights as the map and the bars have them: of the past, the latest state first."""
        return self._weights[:, ::-1] if self.kind.value == "temporal" else self._weights

    def _names(self) -> list[str]:
        if self.kind.value == "temporal":
            return [str(back) if back == 1 or back % 4 == 0 else "" for back in _BACK]
        return [*(f"z{i}" for i in range(self._vae.z_size)), "steer", "gas", "brake"]

    def _most(self, now: np.ndarray) -> str:
        """In words, what has most of the weights."""
        if not now.any():
            return "there is no past to look at yet"
        item, share = int(now.argmax()), f"{100 * now.max():.0f} %"
        match self.kind.value:
            case "spatial":
                return f"{share} on row {item // 6 + 1}, column {item % 6 + 1} of 6 × 6"
            case "temporal":
                return f"{share} on the state {MEMORY - item} steps back"
        return f"{share} on {self._names()[item]}"

    def still(self):
        episode, weights, kind = self._chooser.episode(), self._weights, self.kind.value
        if kind == "spatial":
            steps = np.unique(
                np.linspace(min(10, len(weights) - 1), len(weights) - 1, 6, dtype=int)
            )
            figure = figures.attention_over_frame(
                episode.frames[steps],
                weights[steps].reshape(-1, 6, 6),
                [f"step {step}" for step in steps],
            )
        elif kind == "feature":
            figure = figures.attention_over_entries(weights, self._vae.z_size)
        else:
            figure = figures.attention_over_time(weights)
        return figure, (
            f"What {figures.model_label(kind)} attends to along rollout {self.rollout.value}. "
            "In JupyterLab, the rollout plays and the attention can be chosen."
        )


_BACK = range(1, MEMORY + 1)
_ITEMS = {"spatial": "6 × 6 places", "feature": "entries of [z, a]", "temporal": "steps back"}
