"""The HTML report: the story, and one page for every executed notebook.

Every page is one file that needs no network. The story's numbers are looked up in what the stages
recorded; pictures come from `images/`, code from the executed notebooks.
"""

import json
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
    ws.report.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=ws.root) as made:
        pages = {f"{name}.html": _notebook(ws, name, executed) for name in executed}
        story = _story(ws, executed)
        names = [name for kind in STAGES.values() for glob in kind for name in ws.names(glob)]
        names += [f"notebooks/{name}.json" for name in executed]
        pages |= {"index.html": page.page(ws, "index", story, executed, _stages(ws, names))}
        picture = card(story.title, story.summary, ws.images / "CarRacing.gif")
        Path(made, page.CARD).write_bytes(picture)
        found = json.dumps(results.entries(ws), indent=1, allow_nan=False)
        Path(made, "results.json").write_text(found + "\n", "utf-8")
        results.laps(ws).to_csv(Path(made, "laps.csv"), index=False)
        for name, html in pages.items():
            Path(made, name).write_text(html, "utf-8")
        # The index last: whoever opens it finds the pages that it names.
        for name in (page.CARD, "results.json", "laps.csv", *pages):
            Path(made, name).replace(ws.report / name)
    for old in ws.report.glob("[0-9][0-9]_*.html"):
        if old.name not in pages:
            old.unlink()
    return ws.report / "index.html"


def _story(ws: Workspace, executed: dict[str, Path]) -> Body:
    source = (page.TEMPLATES / "story.md").read_text("utf-8")
    made, parts = demos.make(ws, [*demos.DEMOS])
    body = Story(ws, executed).render(source, **facts.values(ws, made))
    return filled(body, made, parts)


def filled(body: Body, made: dict[str, str], parts: dict[str, dict]) -> Body:
    """The body with the demonstrations that `demos.make` made, and their data at its end."""
    for place, html in made.items():  # one that is not there leaves no trace
        body = body.insert(place, html)
    if not parts:
        return body
    data = {name: Markup(json.dumps(part).replace("<", "\\u003c")) for name, part in parts.items()}
    template, script = page.template("demos.html.j2"), Markup(demos.SCRIPT)
    return body.append(template.render(parts=data, script=script))


def _notebook(ws: Workspace, name: str, executed: dict[str, Path]) -> str:
    path = executed[name]
    try:
        source = path.read_text("utf-8")
    except UnicodeDecodeError:
        source = ""
    folders = [path.parent, ws.images, ws.root / "notebooks"]
    try:
        body = page.convert(source, page.NOTEBOOK, folders)
    except AwmError as error:
        raise AwmError(
            f"{path} cannot be read. Run `awm report` to make it anew. {error}"
        ) from None
    stages = _stages(ws, [f"notebooks/{name}.json"])
    return page.page(ws, name, body.begin(_run(stages)), executed, stages)


def _run(stages: list[dict]) -> str:
    """Which run of a notebook a page shows, as HTML."""
    run = (
        "Run with profile <b>{profile}</b> on {date} in {took}, from commit <code>{commit}</code>."
    )
    return "".join(Markup(f'<p class="byline">{run}</p>').format(**stage) for stage in stages)


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
