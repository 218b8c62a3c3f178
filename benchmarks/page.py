"""`report/benchmarks.html` from what the other scripts have kept.

python benchmarks/page.py
"""

import base64
import html

from timing import RESULTS, shown

from awm import figures, store
from awm.figures.theme import FAINT, model_color
from awm.ids import Memory
from awm.store import Workspace

ORDER = ("simulator", "closed_loop", "dreaming", "training", "collection", "scaling")

WORDS = {
    "simulator": "The same track and the same actions, one environment on one core. Physics and "
    "rewards of the first two are Gymnasium's, bit for bit, and their frames agree to within a "
    "level of 255. EnvPool's pixels and tracks are others.",
    "closed_loop": "Frames go through V, M and C and back to the simulator, at the paper's sizes. "
    "V's encoder is that of the second edition, but for the row that names the paper's. "
    "The last row is what most re-implementations do: Gymnasium's environment, a resize, the "
    "paper's encoder, and batches of one. Episodes here are short, so that resets and the last, "
    "unfilled batches count.",
    "dreaming": "M in the simulator's place: an LSTM step, the mixture's sample, reward, end, and "
    "C. An M with spatial attention looks at V's map, which a small head guesses from z; “frames”: "
    "each step decodes and encodes a frame instead.",
    "training": "Forward, backward and Adam on random data of the paper's sizes. The decoder, the "
    "same in all rows, is most of V's cost. Two trainings of M side by side, with one thread each, "
    "are faster than one with two.",
    "scaling": "What the world-models paper's own budget would cost: 1,800 generations of 64 "
    "candidates, 16 rollouts each. Measured are steps a second with few workers (there are two "
    "cores), what a step of so many lanes takes, CMA-ES between generations, and what travels; the "
    "rest follows from these. Episodes last 150 to 1,000 steps, evenly; they are dealt out before "
    "a generation begins, and it ends with its last. What stops scaling first is neither network "
    "nor CMA-ES: with a thousand cores there is about one episode for each, so that most wait for "
    "the longest, and a batch of one frame costs nearly as much as one of eight.",
    "collection": "Driving, drawing, compressing and writing. Ten times the episodes need no more "
    "memory; the start of the workers weighs on the shorter run.",
}

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: #22272e; background: #fff; }
table { border-collapse: collapse; margin: 0 0 1rem; }
caption { text-align: left; font-weight: 600; }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; border-bottom: 1px solid #e8ebee; }
td { font-variant-numeric: tabular-nums; text-align: right; } img { max-width: 100%; }
figure { margin: 1rem 0; } figcaption, .from { color: #5a646d; font-size: .9rem; }
@media (prefers-color-scheme: dark) { body { color: #dde3e9; background: #15191e; }
  th, td { border-color: #333b44; } figcaption, .from { color: #a3adb7; } a { color: #7fb8e6; } }
"""


def rows(table: dict) -> str:
    baseline = table["rates"].get(table["baseline"])
    lines = []
    for name, rate in table["rates"].items():
        ratio = f"<td>{rate / baseline:,.1f} ×</td>" if baseline else ""
        lines.append(
            f"<tr><th scope='row'>{html.escape(name)}</th>"
            f"<td>{shown(rate)} {html.escape(table['unit'])}</td>{ratio}</tr>"
        )
    return f"<table><caption>{html.escape(table['title'])}</caption>{''.join(lines)}</table>"


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
    axes.set(xlabel="lanes a worker", ylabel="steps a second", ylim=(0, None))
    axes.grid(axis="y")
    fig.legend(loc="outside upper left", ncols=4)
    return fig


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
    axes.set(xlabel="microseconds of one core a step")
    fig.legend(loc="outside upper left", ncols=3)
    return fig


def picture(ws: Workspace, fig, name: str) -> str:
    data = base64.b64encode(figures.save(ws.images, fig, name).read_bytes()).decode()
    words = figures.captions(ws.images)[name]
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(words["alt"])}">'
        f"<figcaption>{html.escape(words['caption'])}</figcaption></figure>"
    )


def main() -> None:
    ws, body = Workspace.open(), []
    for name in ORDER:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            print(f"no result of {name}.py yet: it is left out")
            continue
        found = store.read_json(path)
        body.append(f"<h2>{name.replace('_', ' ').capitalize()}</h2><p>{WORDS[name]}</p>")
        body += [rows(table) for table in found["tables"]]
        if name == "closed_loop":
            body.append(picture(ws, scaling(found["sweep"]), "benchmark_scaling"))
            body.append(picture(ws, step_costs(found["parts"]), "benchmark_step"))
        body.append(
            f"<p class='from'>benchmarks/{name}.py on {html.escape(found['machine'])}, "
            f"{found['cpu_count']} cores, {found['date'][:10]}, commit "
            f"{(found['commit'] or 'unknown')[:10]}, torch {found['torch']}, "
            f"numba {found['numba']}.</p>"
        )
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>Benchmarks</title>"
        f"<style>{STYLE}</style></head><body><main>"
        "<p><a href='index.html'>Attentive World Models</a></p>"
        "<h1>Benchmarks</h1><p>Every contender of a table ran in turn in one process tree, so the "
        f"ratios hold where the absolute numbers may not.</p>{''.join(body)}</main></body></html>\n"
    )
    target = ws.report / "benchmarks.html"
    with store.atomic(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
