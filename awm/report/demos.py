"""What the reader of the report plays with, in the divisions that the story leaves empty for it.

`templates/demos.js` brings them to life with the world model of `awm/widgets/world.js`, on data
that is packed here. A demonstration whose data is not there yet is left out.
"""

import json
from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from awm import stages
from awm.errors import AwmError
from awm.report import page
from awm.report.page import Body
from awm.store import Workspace
from awm.widgets import laps, world

#: As many latents have a slider, those that say most about a frame.
SLIDERS = 8


def insert(ws: Workspace, body: Body) -> Body:
    """The body with all demonstrations that this profile has data for."""
    there = [name for name in DEMOS if body.has(name)]
    lack = world.lack(ws)
    if lack or not there:
        for name in there:
            note = f'<p class="note">{lack}</p>' if name == "hero" else ""
            body = body.insert(name, note)
        return body
    facts, arrays = world.bundle(ws)
    parts = {"world": facts | world.pack(arrays)}
    for name in there:
        try:
            body = body.insert(name, DEMOS[name](ws, parts))
        except AwmError:  # an agent that has not been evolved, an M that has not been trained
            body = body.insert(name, "")
    data = (
        f'<script type="application/json" id="demo-{name}">{_json(part)}</script>'
        for name, part in parts.items()
    )
    scripts = (world.SCRIPT.read_text("utf-8"), page.asset("demos.js"))
    return body.append("\n".join([*data, *(f"<script>\n{script}</script>" for script in scripts)]))


def _json(part: dict) -> str:
    return json.dumps(part).replace("<", "\\u003c")


def _hero(ws: Workspace, parts: dict) -> str:
    return _macro("hero", parts["world"])


def _latents(ws: Workspace, parts: dict) -> str:
    kl = np.array(ws.manifest(stages.vae(ws.profile))["kl_per_latent"])
    most = np.argsort(kl)[::-1][:SLIDERS]
    return _macro("latents", parts["world"], [(int(n), float(kl[n])) for n in most])


def _lap(ws: Workspace, parts: dict) -> str:
    agent = laps.watched(ws)
    if agent is None:
        return ""
    facts, arrays = laps.close_look(ws, agent)
    parts["look"] = facts | world.pack(arrays)
    return _macro("lap", facts)


def _race(ws: Workspace, parts: dict) -> str:
    facts, arrays = laps.race(ws)
    if not facts["laps"]:
        return ""
    parts["race"] = facts | world.pack(arrays)
    road = arrays["road"].numpy() * (1, -1)  # a screen counts downwards
    low, high = road.min(axis=0) - 12, road.max(axis=0) + 12
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in road)
    return _macro("race", facts, points, "{:.0f} {:.0f} {:.0f} {:.0f}".format(*low, *(high - low)))


def _temperature(ws: Workspace, parts: dict) -> str:
    return _macro("temperature")


def _macro(name: str, *arguments) -> Markup:
    return getattr(page.template("demos.html.j2").module, name)(*arguments)


#: What fills the division of each name.
DEMOS: dict[str, Callable[[Workspace, dict], str]] = {
    "hero": _hero,
    "latents": _latents,
    "lap": _lap,
    "race": _race,
    "temperature": _temperature,
}
