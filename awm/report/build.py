"""The HTML report: the story, and one page for every executed notebook.

Every page is one file that needs no network. The story's numbers are looked up in what the stages
recorded; pictures come from `images/`, code from the executed notebooks.
"""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from markupsafe import Markup

from awm.config import Profile
from awm.errors import AwmError
from awm.ids import Agent, Memory
from awm.report import facts, page
from awm.report.card import card
from awm.report.page import Body
from awm.report.records import STAGES, Value, duration, record
from awm.report.story import Story
from awm.store import Workspace
from awm.study import results
from awm.widgets import demos


def build(profile: Profile | str | Workspace | None = None) -> Path:
    """Write the report of a profile from what its stages left; returns its `index.html`.

    The tables of results go beside it, as `results.json` and, lap by lap, `laps.csv`, and the
    picture that other sites show with a link to it, `card.png`.

    All pages are made before the first is put in place, so a failure leaves the old report.
    Pages of notebooks that have not been executed in this profile are taken away.
    """
    ws = Workspace.open(profile)
    folder = ws.own / "notebooks"
    executed = {p.stem: p for p in sorted(folder.glob("*.ipynb")) if "." not in p.stem}
    made, parts = demos.make(ws, [*demos.DEMOS])
    source = (page.TEMPLATES / "story.md").read_text("utf-8")
    story = filled(Story(ws, executed).render(source, **facts.values(ws, made)), made)
    names = [name for kind in STAGES.values() for glob in kind for name in ws.names(glob)]
    names += [f"notebooks/{name}.json" for name in executed]
    found = json.dumps(results.entries(ws), indent=1, allow_nan=False)
    files: dict[str, str | bytes] = {
        page.CARD: card(story.title, story.summary, ws.images / "CarRacing.gif"),
        "results.json": found + "\n",
        "laps.csv": results.laps(ws).to_csv(index=False),
        **{f"{name}.html": _notebook(ws, name, executed) for name in executed},
        # The index last: whoever opens it finds the pages that it names.
        "index.html": page.page(ws, "index", story, executed, _stages(ws, names), parts),
    }
    ws.report.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=ws.root) as beside:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            Path(beside, name).write_bytes(data)
        for name in files:
            Path(beside, name).replace(ws.report / name)
    for old in ws.report.glob("[0-9][0-9]_*.html"):
        if old.name not in files:
            old.unlink()
    return ws.report / "index.html"


def filled(body: Body, made: dict[str, str]) -> Body:
    """The body with the demonstrations that `demos.make` made; an empty one leaves no trace."""
    html = body.html
    for place, demonstration in made.items():
        html = html.replace(f'<div id="{place}">\n\n</div>', demonstration)
    return replace(body, html=html)


def _notebook(ws: Workspace, name: str, executed: dict[str, Path]) -> str:
    path, stages = executed[name], _stages(ws, [f"notebooks/{name}.json"])
    folders = [path.parent, ws.images, ws.root / "notebooks"]
    try:
        body = page.convert(path.read_text("utf-8", "replace"), page.NOTEBOOK, folders)
    except AwmError as error:
        raise AwmError(
            f"{path} cannot be read. Run `awm report` to make it anew. {error}"
        ) from None
    run = Markup(
        '<p class="byline">Run with profile <b>{profile}</b> on {date} in {took}, from commit '
        "<code>{commit}</code>.</p>"
    )
    title = "</h1>\n" + "".join(run.format(**stage) for stage in stages)
    body = replace(body, html=body.html.replace("</h1>", title, 1))
    return page.page(ws, name, body, executed, stages)


def _stages(ws: Workspace, names: list[str]) -> list[dict]:
    """A row of the table of provenance for each record that is there."""
    return [_stage(name, found) for name in names if (found := record(ws, name))]


def _stage(name: str, found: Value) -> dict:
    values = found.raw
    seconds = values.get("wall_time_s")
    return {
        "name": label(name),
        "took": "" if seconds is None else duration(seconds),
        "profile": values.get("profile"),
        "date": str(values.get("date") or "")[:10],
        "commit": page.commit(values),
        "machine": f"{values.get('machine')}, {values.get('cpu_count')} cores",
        "file": found.origin,
    }


def label(name: str) -> str:
    """How the table of provenance calls a record, `evaluations/plain_track.fast.json`."""
    folder, _, stem = name.removesuffix(".json").rpartition("/")
    words = stem.replace("_", " ")
    try:
        match folder:
            case "mdn_rnn":
                return f"M: {Memory.parse(stem).label}"
            case "agents":
                return f"C: {Agent.parse(stem).label}"
            case "evaluations":
                who, _, frames = stem.rpartition(".")
                return f"Evaluation: {Agent.parse(who).label}, {frames} frames"
            case "evaluations/altered":
                who, _, looks = stem.rpartition(".")
                return f"Altered world: {Agent.parse(who).label}, {looks.partition('-')[0]}"
            case "notebooks":
                return f"Notebook {words}"
    except AwmError:  # whatever else lies there is called by its name
        pass
    return {"vae": "V", "rollouts": "Data collection"}.get(words, words.capitalize())
