"""`report/benchmarks.html` from what the other scripts have kept.

python benchmarks/page.py
"""

import ast
from collections.abc import Callable, Iterable

from timing import RESULTS, shown

from awm import figures, store
from awm.figures.theme import FAINT, drawing, model_color
from awm.ids import Memory
from awm.report import page
from awm.report.page import escape
from awm.report.story import Story
from awm.store import Workspace

#: The scripts, in the order of the page.
SCRIPTS = ("simulator", "closed_loop", "encoders", "dreaming", "training", "collection", "scaling")


def markdown(name: str, title: str, head: list[str], rows: Iterable[list[str]]) -> str:
    """A table as Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", f": {escape(title)} {{#tbl-{name}}}"])


def rates(name: str, table: dict) -> str:
    """A table of rates, and of their ratios to the baseline if there is one."""
    baseline = table["rates"].get(table["baseline"])
    head = ["Contender", escape(table["unit"]), *["times the peer"] * bool(baseline)]
    rows = (
        [escape(contender), shown(rate), *([f"{rate / baseline:,.1f}\\ ×"] if baseline else [])]
        for contender, rate in table["rates"].items()
    )
    return markdown(name, table["title"], head, rows)


def trained(found: dict) -> str:
    """What training found of each encoder and decoder."""
    encoders, speed = found["encoders"], found["tables"][0]["rates"]
    first = next(iter(encoders.values()))
    rows = (
        [escape(name), f"{one['mflop']:.1f}", shown(speed[name]), f"{one['error']:.1f}"]
        + [f"{r2:.2f}" for r2 in one["probes"].values()]
        for name, one in encoders.items()
    )
    title = f"After {first['updates']:,} updates; one thread, batches of 16"
    head = ["V", "MFLOP", "frames/s", "error", *first["probes"]]
    return markdown("encoders", title, head, rows)


@drawing
def scaling(points: list) -> figures.theme.Canvas:
    """Steps a second against lanes, a line for each number of workers."""
    fig = figures.figure(2.8)
    axes = fig.subplots()
    for workers in sorted({workers for _, workers, _ in points}):
        own = sorted((lanes, rate) for lanes, count, rate in points if count == workers)
        axes.plot(*zip(*own, strict=True), "o-", label=f"{workers} worker{'s' * (workers > 1)}")
    axes.set_xscale("log", base=2)
    lanes = sorted({point[0] for point in points})
    axes.set_xticks(lanes, [str(n) for n in lanes])
    axes.set(xlabel="lanes a worker", ylabel="steps per second", ylim=(0, None))
    axes.grid(axis="y")
    fig.legend(loc="outside upper left", ncols=4)
    return fig


@drawing
def step_costs(parts: dict) -> figures.theme.Canvas:
    """A stacked bar for each model: microseconds of a core that a step costs."""
    fig = figures.figure(2.6)
    axes = fig.subplots()
    names = list(next(iter(parts.values())))
    hues = {"V: encode": "V", "M: step": "plain", "C: act": "feature", "simulator": "spatial"}
    left = [0.0] * len(parts)
    for name in names:
        widths = [costs[name] for costs in parts.values()]
        color = model_color(hues[name]) if name in hues else FAINT
        labels = [Memory(kind).label for kind in parts]
        axes.barh(labels, widths, left=left, label=name, color=color)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="microseconds of one core per step")
    fig.legend(loc="outside upper left", ncols=3)
    return fig


@drawing
def pareto(encoders: dict, names: list[str]) -> figures.theme.Canvas:
    """Error against cost of the encoders that were trained with the paper's decoder."""
    fig = figures.figure(2.8)
    axes = fig.subplots()
    for name in names:
        found = encoders[name]
        axes.plot(found["mflop"], found["error"], "o", color=model_color("V"), gid=name)
        figures.theme.note(axes, name, (found["mflop"], found["error"]), (6, -3))
    axes.set(xlabel="MFLOP per frame", ylabel="squared error per frame", xlim=(0, None))
    axes.margins(x=0.2, y=0.2)
    return fig


def section(name: str, found: dict, figure: Callable[[str, figures.theme.Canvas], str]) -> str:
    """What a script has found, as Markdown; `figure` keeps a figure and returns its Markdown."""
    if name == "encoders":
        drawn = [n for n, one in found["encoders"].items() if not one.get("decoder")]
        parts = [figure("benchmark_encoders", pareto(found["encoders"], drawn)), trained(found)]
    else:
        parts = [rates(f"{name}-{n}", table) for n, table in enumerate(found["tables"])]
    if name == "closed_loop":
        parts.append(figure("benchmark_scaling", scaling(found["sweep"])))
        parts.append(figure("benchmark_step", step_costs(found["parts"])))
    script = f"benchmarks/{name}.py"
    origin = (
        f"[{script}]({page.link(script)}) on {escape(found['machine'])}, {found['cpu_count']} "
        f"cores, {found['date'][:10]}, commit `{page.commit(found) or 'unknown'}`, "
        f"torch {found['torch']}, numba {found['numba']}"
    )
    title = f"## {name.replace('_', ' ').capitalize()}"
    # The second paragraph of a script's docstring says what its numbers are.
    tree = ast.parse((store.CHECKOUT / script).read_text("utf-8"))
    words = " ".join((ast.get_docstring(tree) or "").split("\n\n")[1].split())
    return "\n\n".join([title, words, *parts, f"::: byline\n{origin}\n:::"])


def main() -> None:
    ws = Workspace.open()

    def figure(name: str, fig: figures.theme.Canvas) -> str:
        figures.save(ws.images, fig, name)
        return Story(ws, {}).figure(name)

    parts = [
        "# Benchmarks",
        "Every contender of a table ran in turn in one process tree, so the ratios hold where the "
        "absolute numbers may not.",
    ]
    for name in SCRIPTS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            parts.append(section(name, store.read_json(path), figure))
        else:
            print(f"no result of {name}.py yet: it is left out")
    body = page.convert("\n\n".join(parts), page.STORY, [ws.images])
    notebooks = sorted(path.stem for path in ws.report.glob("[0-9][0-9]_*.html"))
    target = ws.report / "benchmarks.html"
    with store.atomic(target) as temporary:
        temporary.write_text(page.page(ws, "benchmarks", body, notebooks), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
