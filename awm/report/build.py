"""The HTML report: the story, and one page for every executed notebook.

Every page is one file that needs no network. The story's numbers are looked up in what the stages
recorded; pictures come from `images/`, code from the executed notebooks.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from awm.config import Profile
from awm.errors import AwmError
from awm.ids import Agent, Memory
from awm.report import facts, live_dream, page
from awm.report.records import Value, duration, record
from awm.report.story import Story
from awm.store import Workspace
from awm.study import results

#: What the table of provenance lists, in its order.
_RECORDS = (
    "rollouts*.json", "vae.json", "mdn_rnn/*.json", "feature_map.json", "agents/*.json",
    "evaluations/*.json", "evaluations/altered/*.json", "study/*.json",
)  # fmt: skip


def build(profile: Profile | str | Workspace | None = None) -> Path:
    """Write the report of a profile from what its stages left; returns its `index.html`.

    The tables of results go beside it, as `results.json` and, lap by lap, `laps.csv`.

    All pages are made before the first is put in place, so a failure leaves the old report.
    Pages of notebooks that have not been executed in this profile are taken away.
    """
    ws = Workspace.open(profile)
    folder = ws.own / "notebooks"
    executed = {p.stem: p for p in sorted(folder.glob("*.ipynb")) if "." not in p.stem}
    ws.report.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=ws.root) as made:
        pages = {f"{name}.html": _notebook(ws, name, executed) for name in executed}
        pages |= {"index.html": _story(ws, executed)}
        found = json.dumps(results.entries(ws), indent=1, allow_nan=False)
        Path(made, "results.json").write_text(found + "\n", "utf-8")
        results.laps(ws).to_csv(Path(made, "laps.csv"), index=False)
        for name, html in pages.items():
            Path(made, name).write_text(html, "utf-8")
        # The index last: whoever opens it finds the pages that it names.
        for name in ("results.json", "laps.csv", *pages):
            Path(made, name).replace(ws.report / name)
    for old in ws.report.glob("[0-9][0-9]_*.html"):
        if old.name not in pages:
            old.unlink()
    return ws.report / "index.html"


def _story(ws: Workspace, executed: dict[str, Path]) -> str:
    source = (page.TEMPLATES / "story.md").read_text("utf-8")
    body = Story(ws, executed).render(source, **facts.values(ws))
    names = [name for pattern in _RECORDS for name in ws.names(pattern)]
    names += [f"notebooks/{name}.json" for name in executed]
    dream = live_dream.html(ws)
    return page.page(ws, "index", body.insert("live-dream", dream), executed, _stages(ws, names))


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
    return page.page(ws, name, body, executed, _stages(ws, [f"notebooks/{name}.json"]))


def _stages(ws: Workspace, names: list[str]) -> list[dict]:
    """A row of the table of provenance for each record that is there."""
    return [_stage(name, found) for name in names if (found := record(ws, name))]


def _stage(name: str, found: Value) -> dict:
    values = found.raw
    seconds = values.get("wall_time_s")
    return {
        "name": label(name),
        "took": "" if seconds is None else duration(seconds),
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
                who, _, how = stem.rpartition(".")
                return f"Evaluation: {Agent.parse(who).label}, altered: {how.partition('-')[0]}"
            case "notebooks":
                return f"Notebook {words}"
    except AwmError:  # whatever else lies there is called by its name
        pass
    return {"vae": "V", "rollouts": "Data collection"}.get(words, words.capitalize())
