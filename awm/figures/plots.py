"""Plots of what was collected, what was learned, and what it is worth.

Every function takes plain data, as manifests and records hold it, and returns a matplotlib Figure
for `figures.save`.
"""

import numpy as np
from matplotlib.ticker import PercentFormatter

from awm.errors import AwmError
from awm.figures.curves import SOLVED
from awm.figures.theme import (
    BLUE,
    COLORS,
    FAINT,
    GREY,
    INK,
    LEVEL,
    MUTED,
    PAPER,
    VERMILION,
    bare,
    drawing,
    is_narrow,
    legend,
    model_color,
    model_label,
    note,
    panels,
    tint,
    width,
)
from awm.figures.vector import spoken
from awm.ids import Agent

#: Half the width of CarRacing's road, metres.
ROAD = 40 / 6

_AXES = {
    "speed": "speed (m/s)",
    "steering": "steering\n(left −1, right 1)",
    "off_road": "frames off\nthe road",
    "reward": "reward per step",
    "return": "return per episode",
}
_RANGES = {"steering": (-1, 1), "gas": (0, 1), "brake": (0, 1)}


@drawing
def likelihood_gains(nll, control, gains):
    """What each M gains over a control: a row per model, a dot per training, mean and 95 % CI.

    `nll` is {model: one value per training} in nats per step, `control` one of them; `gains` has an
    interval, with `low` and `high`, for those that have one. Negative is better.
    """
    zero = np.mean(nll[control])
    each = {model: np.asarray(nll[model]) - zero for model in nll if model != control}
    fig, [[axes]] = panels(1, 1, 0.8 + (0.5 if is_narrow() else 0.36) * len(each))
    for row, (model, values) in enumerate(each.items()):
        label, mean, gain = model_label(model), values.mean(), gains.get(model)
        _dots(axes, values, row, model_color(model), f"{label}, one training")
        _interval(axes, mean, gain and (gain.low, gain.high), row, f"{label}, mean")
    axes.axvline(0, **LEVEL)
    _rows(axes, [model_label(model) for model in each])
    axes.set_xlabel(f"difference from {model_label(control)}{_break()}in test NLL (nats per step)")
    return fig


@drawing
def equal_terms(returns, means, differences, control="plain"):
    """What equal searches find: a row per kind, a dot per search, their mean and its 95 % CI.

    `returns` is {kind of M, as a word or `Memory`: the mean return on the test tracks of the agent
    of every search}, `means` {kind: `Estimate` of their mean} and `differences` {kind: `Estimate`
    of the difference from `control`} for those kinds that have one; both stand in words, too.
    """
    if not returns:
        raise AwmError("There is nothing to compare. Evaluate controllers: `awm evaluate`.")
    fig, [[axes]] = panels(1, 1, 0.8 + (0.62 if is_narrow() else 0.36) * len(returns))
    words = {}
    for row, (kind, values) in enumerate(returns.items()):
        label, average, known = model_label(kind), float(np.mean(values)), means.get(kind)
        _dots(axes, values, row, model_color(kind), f"{label}, one search")
        _interval(axes, average, known and (known.low, known.high), row, f"{label}, mean")
        gap = differences.get(kind)
        than = "" if gap is None else f"{gap.value:+.0f} [{gap.low:+.0f}, {gap.high:+.0f}]"
        words[label] = f"{average:.0f}", than.replace("-", "−")
    if is_narrow():
        _rows(axes, [f"{label}: {', '.join(filter(None, said))}" for label, said in words.items()])
        heading = f"mean, difference from {model_label(control)} [95 % CI]"
        note(axes, heading, (0, 1), (0, 3), xycoords="axes fraction")
    else:
        _rows(axes, [*words])
        for row, (average, than) in enumerate(words.values()):
            beside = {"xycoords": ("axes fraction", "data"), "va": "center", "color": INK}
            for text, offset in ((average, 28), (than, 128)):
                place = {"ha": "right", "fontsize": 8, "annotation_clip": False}
                note(axes, text, (1, row), (offset, 0), **beside | place)
        heading = {"xycoords": "axes fraction", "annotation_clip": False, "ha": "right"}
        note(axes, "mean", (1, 1), (28, 2), **heading)
        than = f"difference from\n{model_label(control)} [95 % CI]"
        note(axes, than, (1, 1), (128, 2), **heading)
    axes.set_xlabel("return per episode, mean over the test tracks")
    spoken(axes, x="return per episode")
    return fig


@drawing
def probes(found):
    """What linear probes find: `found` is {model: {target: R²}}, a group of bars per target."""
    targets = list(next(iter(found.values())))
    width = 0.8 / len(found)
    fig, [[axes]] = panels(1, 1, 2.9)
    for n, (model, scores) in enumerate(found.items()):
        heights = [max(scores[target], 0) for target in targets]
        places = np.arange(len(targets)) + (n - (len(found) - 1) / 2) * width
        color, label = model_color(model), model_label(model)
        axes.bar(places, heights, 0.9 * width, color=color, label=label)
    axes.set_xticks(range(len(targets)), [_wrapped(target.replace("_", " ")) for target in targets])
    axes.set(ylim=(0, 1), ylabel="R² on test episodes")
    axes.grid(False, axis="x")
    legend(fig, 3)
    return fig


@drawing
def kl_per_dimension(kl, threshold=0.1):
    """How much each latent says, sorted: `kl` [z_size], nats, mean over frames.

    Latents above `threshold` nats are informative; the others are the prior's noise.
    """
    kl = np.asarray(kl, float)
    order = np.argsort(-kl)
    informative = kl[order] > threshold
    fig, [[axes]] = panels(1, 1, 2.6)
    colors = np.where(informative, COLORS["V"], FAINT)
    axes.bar(range(len(kl)), kl[order], width=0.78, color=colors, label="latent")
    axes.axhline(threshold, **LEVEL)
    level = f"informative: more than {threshold:g} nats"
    note(axes, level, (len(kl) - 0.4, threshold), (0, 3), ha="right")
    kept, of = kl[order][informative].sum(), f"{informative.sum()} of {len(kl)} latents"
    said = f"{of} are informative{_break()}and carry {kept:.1f} of {kl.sum():.1f} nats"
    axes.text(0.99, 0.97, said, transform=axes.transAxes, ha="right", va="top")
    shown = slice(None, None, 2 if is_narrow() else 1)
    axes.set_xticks(range(len(kl))[shown], order[shown], fontsize=7.5)
    axes.set(xlabel="latent", ylabel="KL divergence (nats)", xlim=(-0.7, len(kl) - 0.3))
    axes.grid(False, axis="x")
    return fig


@drawing
def data_coverage(drivers):
    """What the rollouts cover, a row per driver, in small multiples.

    `drivers` is {driver: {"speed": [n] m/s, "steering": [n] in [-1, 1], "off_road": share of
    frames in [0, 1], "frames": count, ...}}; other arrays get a histogram, and other shares a
    bar, under their own names.
    """
    if not drivers:
        raise AwmError("There is no driver to show. Collect rollouts first: `awm collect`.")
    keys = dict.fromkeys(key for table in drivers.values() for key in table)
    bins = {}
    for key in keys:
        values = np.concatenate([np.ravel(table.get(key, ())) for table in drivers.values()])
        if any(np.ndim(table.get(key, 0)) for table in drivers.values()) and len(values):
            low, high = min(0, values.min()), np.quantile(values, 0.999)
            low, high = _RANGES.get(key, (low, high if high > low else low + 1))
            bins[key] = np.linspace(low, high, 41)
    shares = [key for key in keys if key not in (*bins, "frames", "episodes")]
    widths = [1.0] * len(bins) + [0.62] * len(shares)
    height = 0.62 + 0.82 * len(drivers)
    options = {"sharex": "col", "gridspec_kw": {"width_ratios": widths}}
    fig, grid = panels(len(drivers), len(widths), height, **options)
    for row, (driver, table) in zip(grid, drivers.items(), strict=True):
        for axes, key in zip(row, (*bins, *shares), strict=True):
            axes.set(yticks=[])
            spoken(
                axes, x=_label(key).replace("\n", " "), y="share of frames" if key in bins else " "
            )
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="x", labelsize=7.5)
            if key in bins:
                values = np.clip(np.ravel(table.get(key, ())), bins[key][0], bins[key][-1])
                even = np.full(len(values), 1 / max(1, len(values)))
                bars = axes.hist(values, bins[key], weights=even, color=tint(BLUE, 0.75))[2]
                bars.set_label(driver)  # pyright: ignore
                axes.set_xlim(bins[key][0], bins[key][-1])
                if len(values):
                    axes.axvline(values.mean(), color=INK, linewidth=1)
                continue
            share = table.get(key, 0.0)
            axes.barh([0], [1], color=tint(GREY, 0.15), height=0.5)
            axes.barh([0], [share], color=tint(VERMILION, 0.85), height=0.5, label=driver)
            said = f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
            axes.text(0, 0.42, said, fontsize=7.5, va="bottom")
            axes.set(xlim=(0, 1), ylim=(-0.7, 1.3), xticks=[0, 1] if is_narrow() else [0, 0.5, 1])
            axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
            axes.grid(False)
        count = f"\n{table['frames']:,} frames" if "frames" in table else ""
        style = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 7.5, "labelpad": 8}
        row[0].set_ylabel(driver + count, **style)
    for axes, key in zip(grid[-1], (*bins, *shares), strict=True):
        axes.set_xlabel(_label(key), fontsize=7.5)
    return fig


@drawing
def tracks(lines, titles=None, columns=5):
    """Race tracks from above, all at one scale: `lines` is a list of centre lines [n, 2], metres.

    The dot is the start; the road is as wide as it is.
    """
    lines = [np.asarray(line, float) for line in lines]
    lines = [line - (line.min(axis=0) + line.max(axis=0)) / 2 for line in lines]
    columns = min(3 if is_narrow() else columns, len(lines))
    rows = -(-len(lines) // columns)
    side = width() / columns
    fig, grid = panels(rows, columns, rows * side * (1.08 if titles else 0.98))
    reach = 1.08 * max(np.abs(line).max() for line in lines)
    points = 0.94 * side * 72 * ROAD / reach  # of line width, for the road's metres
    for axes in grid.flat:
        bare(axes)
    for n, (axes, line) in enumerate(zip(grid.flat, lines, strict=False)):
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.plot(*line[[*range(len(line)), 0]].T, color=tint(INK, 0.55), lw=max(1.2, points))
        axes.plot(*line[0], "o", color=VERMILION, markersize=4)
        if titles:
            axes.set_title(titles[n], fontsize=7.5, weight="normal", loc="center", pad=2)
    scale = 100 if reach > 120 else 50
    right, level = reach * 0.95, -reach * 0.97
    last = grid.flat[len(lines) - 1]
    last.plot([right - scale, right], [level, level], color=INK, linewidth=1.5)
    note(last, f"{scale} m", (right - scale / 2, level), (0, 1), ha="center", color=INK)
    return fig


@drawing
def returns_comparison(evaluations, published=None, solved=SOLVED):
    """Every return of every controller, with its mean and 95 % CI.

    `evaluations` are records of `awm.study.evaluation`; `published` is {label: (mean,
    deviation)}, drawn below as reported by their authors, on CarRacing-v0. Agents that differ only
    in seed share a row, with a mean and an interval each.
    """
    published = published or {}
    if not evaluations:
        raise AwmError("There is nothing to compare. Evaluate a controller: `awm evaluate`.")
    groups: dict[tuple, list] = {}
    for evaluation in evaluations:
        family = Agent.parse(evaluation["agent"]).family
        groups.setdefault((family, evaluation.get("frames")), []).append(evaluation)
    several = len({frames for _, frames in groups}) > 1
    every = 0.82 if is_narrow() else 0.46
    fig, [[axes]] = panels(1, 1, 0.75 + every * (len(groups) + len(published)))
    labels, means = [], []
    for row, ((family, frames), group) in enumerate(groups.items()):
        returns = np.concatenate([np.asarray(e["returns"], float) for e in group])
        color = model_color(family)
        # The same scatter every time, so that an unchanged result is an unchanged picture.
        jitter = np.random.default_rng(row).uniform(-0.22, 0.22, len(returns))
        style = {"color": color, "markersize": 3, "markeredgewidth": 0, "alpha": 0.5}
        axes.plot(returns, row + jitter, "o", gid=f"{family.label}, one episode", **style)
        axes.plot([np.median(returns)] * 2, [row - 0.3, row + 0.3], color=color, linewidth=1.6)
        apart = min(0.2, 0.6 / len(group))
        for n, evaluation in enumerate(group):
            mean = float(np.mean(evaluation["returns"]))
            name = Agent.parse(evaluation["agent"]).label + ", mean"
            place = row + apart * (n - (len(group) - 1) / 2)
            _interval(axes, mean, evaluation.get("ci95"), place, name)
        seeds = f"{len(group)} seeds × " if len(group) > 1 else ""
        of = f", {frames} frames" if several and frames else ""
        labels.append((family.label, f"{seeds}{len(returns) // len(group)} episodes{of}"))
        means.append((returns.mean(), returns.std()))
    for row, (name, (mean, deviation)) in enumerate(published.items(), len(groups)):
        style = FAINT, PAPER, MUTED
        _interval(axes, mean, (mean - deviation, mean + deviation), row, f"{name}, mean", *style)
        labels.append((name, "published"))
        means.append((mean, deviation))
    for row, (mean, deviation) in enumerate(means):
        text = f"{mean:.0f} ± {deviation:.0f}".replace("-", "−")
        if is_narrow():
            labels[row] = f"{labels[row][0]}: {text}", labels[row][1]
            continue
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8}
        note(axes, text, (1, row), (6, 0), color=INK, annotation_clip=False, **beside)
    above = {"xycoords": ("data", "axes fraction")}
    if published:
        between = len(groups) - (0.78 if is_narrow() else 0.5)
        axes.axhline(between, color=FAINT, linewidth=0.8)
    if solved is not None:
        axes.axvline(solved, **LEVEL)
        note(axes, f"solved: {solved}", (solved, 1), (0, 3), ha="center", **above)
    _rows(axes, ["\n".join(label) for label in labels])
    axes.tick_params(axis="y", labelsize=7.5)
    axes.set_xlabel("return per episode")
    if not is_narrow():
        key = "diamond: mean, 95 % CI · bar: median"
        note(axes, key, (0, 1), (0, 3), **above | {"xycoords": "axes fraction"})
    return fig


@drawing
def altered_worlds(frames, returns):
    """What agents earn where the world looks otherwise, below what they see there.

    `frames` is {world: uint8 [64, 64, 3]}, a column each; `returns` is {Agent: {world: its laps}},
    a strip of dots each, with the mean.
    """
    ratios = {"gridspec_kw": {"height_ratios": (1, 1.35)}}
    fig, (above, below) = panels(2, len(frames), 4.2, sharey="row", **ratios)
    for column, (world, frame) in enumerate(frames.items()):
        above[column].imshow(frame)
        above[column].set_title(world, loc="center")
        bare(above[column])
        axes = below[column]
        for n, (agent, laps) in enumerate(returns.items()):
            earned, color = np.asarray(laps[world], float), model_color(agent)
            jitter = np.random.default_rng(n).uniform(-0.2, 0.2, len(earned))
            axes.scatter(n + jitter, earned, s=9, color=tint(color, 0.6), linewidth=0, alpha=0.75)
            mean = earned.mean()
            axes.plot([n - 0.32, n + 0.32], [mean, mean], color=INK, linewidth=1.6, zorder=5)
            label = agent.label if column == 0 else None
            axes.plot([], [], "o", color=color, markersize=4, label=label)
        names = [f"{np.mean(laps[world]):.0f}" for laps in returns.values()]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(False, axis="x")
    below[0].set_ylabel("return per episode")
    fig.supxlabel("mean return", fontsize=8.5)
    handles = below[0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside upper left", ncols=2)
    return fig


def _dots(axes, values, row, color, name) -> None:
    """A dot for every value, in a row."""
    style = {"color": color, "markeredgecolor": PAPER, "zorder": 5}
    axes.plot(values, [row] * len(values), "o", gid=name, **style)


def _interval(axes, mean, ends, row, name, color=INK, face=INK, edge=PAPER) -> None:
    """A diamond at the mean, on the line of its interval if there is one."""
    if ends:
        axes.plot(ends, [row, row], color=color, linewidth=2.2, zorder=4)
    axes.plot(mean, row, "D", color=face, markersize=5, markeredgecolor=edge, zorder=6, gid=name)


def _rows(axes, labels) -> None:
    """A labelled row for each, the first on top; for a phone the label stands above its row."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK)
    spoken(axes, y=" ")
    if is_narrow():
        axes.set_ylim(len(labels) - 0.5, -0.9)
        axes.tick_params(axis="y", labelleft=False)
        axes.spines["left"].set_visible(False)
        for row, label in enumerate(labels):
            style = {"xycoords": ("axes fraction", "data"), "fontsize": 8, "color": INK}
            note(axes, label, (0, row - 0.25), (0, 0), in_layout=False, **style)


def _label(key: str) -> str:
    """How an axis of the rollouts' coverage is called."""
    return _AXES.get(key, key.replace("_", " "))


def _break() -> str:
    """Where a line is broken for a phone."""
    return "\n" if is_narrow() else " "


def _wrapped(text: str) -> str:
    return text.replace(" ", _break())
