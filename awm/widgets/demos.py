"""Demonstrations: what the reader of the report, and of a notebook, plays with.

Their HTML is in `demos.html.j2`, and `demos.js` brings it to life with the world model of
`world.js`, on data that is packed here. The report puts them between its words, `Demonstration`
into a notebook.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import jinja2
import numpy as np
import torch
import traitlets

from awm import figures, stages
from awm.errors import AwmError
from awm.ids import Memory
from awm.models.vae import to_frames
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.widgets import laps, world
from awm.widgets.panel import or_notice, with_still
from awm.worlds.dream import imagine

_HERE = Path(__file__).parent
#: The world model and the demonstrations in JavaScript, and their look.
SCRIPT = "\n".join((_HERE / name).read_text("utf-8") for name in ("world.js", "demos.js"))
STYLE = (_HERE / "demos.css").read_text("utf-8")

#: Real steps that M sees before the dream of a still picture.
_SEEN = 20

#: As many latents have a slider, those that say most about a frame.
SLIDERS = 8

#: What there is to play with, each a macro of the template and a function of the script.
DEMOS = ("hero", "latents", "lap", "race", "temperature")

_TEMPLATE: Any = (
    jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), undefined=jinja2.StrictUndefined,
        autoescape=True, trim_blocks=True, lstrip_blocks=True,
    ).get_template("demos.html.j2").module
)  # fmt: skip


def make(ws: Workspace, names: Sequence[str]) -> tuple[dict[str, str], dict[str, dict]]:
    """Some demonstrations: the HTML of each, by name, and the parts of their data, for JSON.

    One that needs an agent or a model which is not there is empty; without a dream all are, and
    `"hero"` says what is missing.
    """
    if lack := world.lack(ws):
        return {name: f'<p class="note">{lack}</p>' * (name == "hero") for name in names}, {}
    facts, arrays = world.bundle(ws)
    parts = {"world": facts | world.pack(arrays)}
    return {name: _made(ws, name, parts) for name in names}, parts


def _made(ws: Workspace, name: str, parts: dict[str, dict]) -> str:
    """The HTML of a demonstration; data of its own becomes the part of its name."""
    given = {"world": parts["world"]}
    if name == "latents":
        kl = np.array(ws.manifest(stages.vae(ws.profile))["kl_per_latent"])
        most = np.argsort(-kl, kind="stable")[:SLIDERS]
        given["latents"] = [(int(n), float(kl[n])) for n in most]
    if name in ("lap", "race"):
        try:
            facts, arrays = (laps.close_look if name == "lap" else laps.race)(ws)
        except AwmError:  # an agent that has not been evolved, an M that has not been trained
            return ""
        parts[name] = given["facts"] = facts | world.pack(arrays)
        if name == "race":
            road = arrays["road"] * (1, -1)  # a screen counts downwards
            low, high = road.min(axis=0) - 12, road.max(axis=0) + 12
            given["road"] = " ".join(f"{x:.1f},{y:.1f}" for x, y in road)
            given["box"] = "{:.0f} {:.0f} {:.0f} {:.0f}".format(*low, *(high - low))
    return getattr(_TEMPLATE, name)(**given)


class Demonstration(anywidget.AnyWidget):
    """M's dream beside what happened, to drive in; or another demonstration of the report.

    It is computed in the browser; the kernel only sends the weights, once.

    Args:
        profile: a `Workspace`, a profile or its name.
        name: of `DEMOS`.

    Raises:
        AwmError: if there is no such demonstration, or no V, M, agent or rollouts for it.
    """

    _esm = (
        SCRIPT
        + """
export default { render({ model, el }) {
  el.innerHTML = model.get("html");
  model.on("msg:custom", (parts) => awmDemos(el, (name) => parts[name]));
  model.send("parts");
} };"""
    )
    _css = STYLE
    html = traitlets.Unicode().tag(sync=True)

    def __init__(self, profile, name: str = "hero"):
        if name not in DEMOS:
            raise AwmError(f"There is no demonstration {name!r}. Choose one of {', '.join(DEMOS)}.")
        self.ws = Workspace.open(profile)
        if lack := world.lack(self.ws):
            raise AwmError(lack)
        made, self._parts = make(self.ws, [name])
        if not made[name]:
            raise AwmError(
                f"What {name!r} shows has not been trained in this profile: `awm report`."
            )
        super().__init__(html=str(made[name]))
        self.on_msg(lambda _, content, buffers: self.send(self._parts))

    @torch.inference_mode()
    def still(self):
        """What happened beside a dream of it, for where nothing moves."""
        facts, arrays = world.bundle(self.ws)
        v, m = vae.load(self.ws), mdn_rnn.load(self.ws, Memory(facts["models"][0]["name"]))
        real, actions = arrays["start0.codes"], arrays["start0.actions"]
        alone = min(_SEEN, len(actions) // 2)
        dreamt = imagine(m, real[None], actions[None], 0.5, alone)[0][0]
        steps = np.unique(np.linspace(alone, len(actions) - 1, 7, dtype=int)).tolist()
        rows = [to_frames(v.decode(each[steps])) for each in (real, dreamt)]
        titles, notes = ["what V keeps", "what M dreams"], [f"+{t - alone}" for t in steps]
        return figures.frame_grid(rows, titles, notes), (
            f"From {facts['starts'][0]['label']}: what happened, and what M dreams at τ = 0.5 once "
            f"it has seen {alone} steps, with the same actions."
        )

    def _repr_mimebundle_(self, **options):
        return with_still(super()._repr_mimebundle_(**options), self.still)


dream_player = or_notice(Demonstration)
