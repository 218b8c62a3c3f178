"""`report/benchmarks.html` from what the other scripts have kept.

python benchmarks/page.py
"""

from timing import RESULTS, shown

from awm import figures, store
from awm.figures.theme import FAINT, drawing, model_color
from awm.ids import Memory
from awm.report import page
from awm.report.page import escape, quoted
from awm.store import Workspace

ORDER = ("simulator", "closed_loop", "encoders", "dreaming", "training", "collection", "scaling")

WORDS = {
    "simulator": "The same track and the same actions, one environment on one core. Physics and "
    "rewards of the first two are Gymnasium's, bit for bit, and their frames agree to within a "
    "level of 255. EnvPool's pixels and tracks are others.",
    "closed_loop": "Frames go through V, M and C and back to the simulator, at the paper's sizes. "
    "V's encoder is that of the second edition, but for the row that names the paper's. "
    "The last row is what most re-implementations do: Gymnasium's environment, a resize, the "
    "paper's encoder, and batches of one. Episodes here are short, so that resets and the last, "
    "unfilled batches count.",
    "encoders": "V's encoder was most of a closed-loop step, so cheaper ones were compared: "
    "trained on the same frames in the same order, with the paper's decoder, for a fifth of a full "
    "training; and cheaper decoders, which bound V's training, with the encoder that was chosen, "
    "“patches, slim”. An error is the summed squared error of a frame of the test episodes. Probes "
    "are linear: R² of the car's distance from the road's middle, its heading, and the bend ahead, "
    "from z alone.",
    "dreaming": "M in the simulator's place: an LSTM step, the mixture's sample, reward, end, and "
    "C. An M with spatial attention looks at V's map, which a small head guesses from z; “frames”: "
    "each step decodes and encodes a frame instead.",
    "training": "Forward, backward and Adam on random data of the paper's sizes. The decoder, the "
    "same in all rows, is most of V's cost. Two trainings of M side by side, with one thread each, "
    "are faster than one with two.",
    "scaling": "What the world-models paper's own budget would cost: 1,800 generations of 64 "
    "candidates, 16 rollouts each. Measured are steps per second with few workers (there are two "
    "cores), what a step of so many lanes takes, CMA-ES between generations, and what travels; the "
    "rest follows from these. Episodes last 150 to 1,000 steps, evenly; they are dealt out before "
    "a generation begins, and it ends with its last. That is what stops scaling first: with a "
    "thousand cores there is about one episode for each, so that most wait for the longest, and a "
    "batch of one frame costs more than a third of one of eight. What travels would take a gigabit "
    "network a small part of a generation's time.",
    "collection": "Driving, drawing, compressing and writing. Ten times the episodes need no more "
    "memory; the start of the workers weighs on the shorter run.",
}

INTRODUCTION = (
    "Every contender of a table ran in turn in one process tree, so the ratios hold where the "
    "absolute numbers may not."
)


def rows(name: str, table: dict) -> str:
    """A table of rates as Markdown."""
    baseline = table["rates"].get(table["baseline"])
    lines = [f"| Contender | {escape(table['unit'])} |{' times the peer |' * bool(baseline)}"]
    lines.append("|---|---|" + "---|" * bool(baseline))
    for contender, rate in table["rates"].items():
        ratio = f" {rate / baseline:,.1f}\\ × |" if baseline else ""
        lines.append(f"| {escape(contender)} | {shown(rate)} |{ratio}")
    return "\n".join([*lines, "", f": {escape(table['title'])} {{#tbl-{name}}}"])


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


def trained(found: dict) -> str:
    """What training found of each encoder and decoder, as Markdown."""
    probes = list(next(iter(found["encoders"].values()))["probes"])
    speed = found["tables"][0]["rates"]
    lines = [f"| V | MFLOP | frames/s | error |{''.join(f' {probe} |' for probe in probes)}"]
    lines.append("|---|---|---|---|" + "---|" * len(probes))
    for name, one in found["encoders"].items():
        r2 = "".join(f" {one['probes'][probe]:.2f} |" for probe in probes)
        cost = f"{one['mflop']:.1f} | {shown(speed[name])}"
        lines.append(f"| {escape(name)} | {cost} | {one['error']:.1f} |{r2}")
    updates = next(iter(found["encoders"].values()))["updates"]
    title = f"After {updates:,} updates; one thread, batches of 16"
    return "\n".join([*lines, "", f": {title} {{#tbl-encoders}}"])


def picture(ws: Workspace, fig, name: str) -> str:
    """A figure with its caption as Markdown; the picture is written to `images/`."""
    file = figures.save(ws.images, fig, name).name
    words = figures.captions(ws.images)[name]
    return (
        f"::: {{#fig-{name}}}\n![]({file}){{alt={quoted(words['alt'])}}}\n\n{words['caption']}\n:::"
    )


def text(ws: Workspace) -> str:
    """The page as Markdown."""
    parts = ["# Benchmarks", INTRODUCTION]
    for name in ORDER:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            print(f"no result of {name}.py yet: it is left out")
            continue
        found = store.read_json(path)
        parts += [f"## {name.replace('_', ' ').capitalize()}", WORDS[name]]
        if name == "encoders":
            drawn = [n for n, one in found["encoders"].items() if not one.get("decoder")]
            parts.append(picture(ws, pareto(found["encoders"], drawn), "benchmark_encoders"))
            parts.append(trained(found))
        else:
            parts += [rows(f"{name}-{n}", table) for n, table in enumerate(found["tables"])]
        if name == "closed_loop":
            parts.append(picture(ws, scaling(found["sweep"]), "benchmark_scaling"))
            parts.append(picture(ws, step_costs(found["parts"]), "benchmark_step"))
        script = f"benchmarks/{name}.py"
        parts.append(
            f"::: byline\n[{script}]({page.link(script)}) on {escape(found['machine'])}, "
            f"{found['cpu_count']} cores, {found['date'][:10]}, commit "
            f"`{page.commit(found) or 'unknown'}`, torch {found['torch']}, "
            f"numba {found['numba']}\n:::"
        )
    return "\n\n".join(parts)


def main() -> None:
    ws = Workspace.open()
    body = page.convert(text(ws), page.STORY, [ws.images])
    notebooks = sorted(path.stem for path in ws.report.glob("[0-9][0-9]_*.html"))
    target = ws.report / "benchmarks.html"
    with store.atomic(target) as temporary:
        temporary.write_text(page.page(ws, "benchmarks", body, notebooks, []), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
