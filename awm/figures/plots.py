"""Plots of what was collected, what was learned, what M attends to, and what it is all worth.

Every function takes plain data, as manifests and records hold it, and returns a matplotlib Figure
for `figures.save`.
"""

import numpy as np
from matplotlib.ticker import PercentFormatter

from awm.errors import AwmError
from awm.figures import theme
from awm.figures.curves import SOLVED
from awm.figures.theme import BLUE, FAINT, INK, LEVEL, MUTED, PAPER, VERMILION
from awm.figures.vector import spoken
from awm.ids import Agent

#: Half the width of CarRacing's road, metres.
ROAD = 40 / 6

#: Places in a figure whose one side is the axes' and whose other the data's.
_BESIDE = {"xycoords": ("axes fraction", "data")}
_ABOVE = {"xycoords": ("data", "axes fraction")}


@theme.drawing
def likelihood_gains(nll, control, gains):
    """What each M gains over a control: a row per model, a dot per training, mean and 95 % CI.

    `nll` is {model: one value per training} in nats per step, `control` one of them; `gains` has an
    interval, with `low` and `high`, for those that have one. Negative is better.
    """
    zero = np.mean(nll[control])
    each = {model: np.asarray(nll[model]) - zero for model in nll if model != control}
    fig, [[axes]] = theme.panels(1, 1, 0.8 + (0.5 if theme.is_narrow() else 0.36) * len(each))
    for row, (model, values) in enumerate(each.items()):
        _trials(axes, row, model, values, gains.get(model), "one training")
    axes.axvline(0, **LEVEL)
    _rows(axes, [theme.model_label(model) for model in each])
    than = f"difference from {theme.model_label(control)}"
    axes.set_xlabel(f"{than}{_break()}in test NLL (nats per step)")
    return fig


@theme.drawing
def equal_terms(returns, means, differences):
    """What equal searches find: a row per kind, a dot per search, their mean and its 95 % CI.

    `returns` is {kind of M, as a word or `Memory`: the mean return on the test tracks of the agent
    of every search}, `means` {kind: `Estimate` of their mean} and `differences` {kind: `Estimate`
    of the difference from plain M} for those kinds that have one; both stand in words, too.
    """
    if not returns:
        raise AwmError("There is nothing to compare. Evaluate controllers: `awm evaluate`.")
    narrow, plain = theme.is_narrow(), theme.model_label("plain")
    fig, [[axes]] = theme.panels(1, 1, 0.8 + (0.62 if narrow else 0.36) * len(returns))
    labels = []
    for row, (kind, values) in enumerate(returns.items()):
        _trials(axes, row, kind, values, means.get(kind), "one search")
        gap, label, average = (
            differences.get(kind),
            theme.model_label(kind),
            f"{np.mean(values):.0f}",
        )
        than = f"{gap.value:+.0f} [{gap.low:+.0f}, {gap.high:+.0f}]" if gap else ""
        than = than.replace("-", "−")
        if narrow:
            label = f"{label}: {average}, {than}".removesuffix(", ")
        else:
            style = _BESIDE | {"va": "center", "ha": "right", "fontsize": 8, "color": INK}
            theme.note(axes, average, (1, row), (28, 0), annotation_clip=False, **style)
            theme.note(axes, than, (1, row), (128, 0), annotation_clip=False, **style)
        labels.append(label)
    _rows(axes, labels)
    above = {"xycoords": "axes fraction", "annotation_clip": False}
    if narrow:
        theme.note(axes, f"mean, difference from {plain} [95 % CI]", (0, 1), (0, 3), **above)
    else:
        above["ha"] = "right"
        theme.note(axes, "mean", (1, 1), (28, 2), **above)
        theme.note(axes, f"difference from\n{plain} [95 % CI]", (1, 1), (128, 2), **above)
    axes.set_xlabel("return per episode, mean over the test tracks")
    spoken(axes, x="return per episode")
    return fig


@theme.drawing
def probes(found):
    """What linear probes find: `found` is {model: {target: R²}}, a group of bars per target."""
    targets = list(next(iter(found.values())))
    width = 0.8 / len(found)
    fig, [[axes]] = theme.panels(1, 1, 2.9)
    for n, (model, scores) in enumerate(found.items()):
        heights = [max(scores[target], 0) for target in targets]
        places = np.arange(len(targets)) + (n - (len(found) - 1) / 2) * width
        style = {"color": theme.model_color(model), "label": theme.model_label(model)}
        axes.bar(places, heights, 0.9 * width, **style)
    names = [target.replace("_", " ").replace(" ", _break()) for target in targets]
    axes.set_xticks(range(len(targets)), names)
    axes.set(ylim=(0, 1), ylabel="R² on test episodes")
    axes.grid(False, axis="x")
    theme.legend(fig, 3)
    return fig


@theme.drawing
def kl_per_dimension(kl, threshold):
    """How much each latent says, sorted: `kl` [z_size], nats, mean over frames.

    Latents above `threshold` nats are informative; the others are the prior's noise.
    """
    kl = np.asarray(kl, float)
    order = np.argsort(-kl)
    informative = kl[order] > threshold
    fig, [[axes]] = theme.panels(1, 1, 2.6)
    colors = np.where(informative, theme.COLORS["V"], FAINT)
    axes.bar(range(len(kl)), kl[order], width=0.78, color=colors, label="latent")
    axes.axhline(threshold, **LEVEL)
    level = f"informative: more than {threshold:g} nats"
    theme.note(axes, level, (len(kl) - 0.4, threshold), (0, 3), ha="right")
    kept, of = kl[order][informative].sum(), f"{informative.sum()} of {len(kl)} latents"
    said = f"{of} are informative{_break()}and carry {kept:.1f} of {kl.sum():.1f} nats"
    axes.text(0.99, 0.97, said, transform=axes.transAxes, ha="right", va="top")
    shown = slice(None, None, 2 if theme.is_narrow() else 1)
    axes.set_xticks(range(len(kl))[shown], order[shown], fontsize=7.5)
    axes.set(xlabel="latent", ylabel="KL divergence (nats)", xlim=(-0.7, len(kl) - 0.3))
    axes.grid(False, axis="x")
    return fig


@theme.drawing
def data_coverage(drivers):
    """What the rollouts cover, a row per driver, in small multiples.

    `drivers` is {driver: {"speed": [n] m/s, "steering": [n] in [-1, 1], "off_road": share of
    frames in [0, 1], "frames": count}}.
    """
    if not drivers:
        raise AwmError("There is no driver to show. Collect rollouts first: `awm collect`.")
    speeds = np.concatenate([table["speed"] for table in drivers.values()])
    speed = np.linspace(min(0, speeds.min()), np.quantile(speeds, 0.999), 41)
    bins = {"speed": speed, "steering": np.linspace(-1, 1, 41)}
    labels = ("speed (m/s)", "steering\n(left −1, right 1)", "frames off\nthe road")
    widths = {"sharex": "col", "gridspec_kw": {"width_ratios": [1.0, 1.0, 0.62]}}
    fig, grid = theme.panels(len(drivers), 3, 0.62 + 0.82 * len(drivers), **widths)
    for row, (driver, table) in zip(grid, drivers.items(), strict=True):
        for axes, key, label in zip(row, (*bins, "off_road"), labels, strict=True):
            axes.set(yticks=[])
            y = "share of frames" if key in bins else " "
            spoken(axes, x=label.replace("\n", " "), y=y)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="x", labelsize=7.5)
        for axes, (key, edges) in zip(row, bins.items(), strict=False):
            values = np.clip(table[key], edges[0], edges[-1])
            even = np.full(len(values), 1 / len(values))
            bars = axes.hist(values, edges, weights=even, color=theme.tint(BLUE, 0.75))[2]
            bars.set_label(driver)  # pyright: ignore
            axes.set_xlim(edges[0], edges[-1])
            axes.axvline(values.mean(), color=INK, linewidth=1)
        axes, share = row[-1], table["off_road"]
        axes.barh([0], [1], color=theme.tint(theme.GREY, 0.15), height=0.5)
        axes.barh([0], [share], color=theme.tint(VERMILION, 0.85), height=0.5, label=driver)
        said = f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
        axes.text(0, 0.42, said, fontsize=7.5, va="bottom")
        axes.set(xlim=(0, 1), ylim=(-0.7, 1.3), xticks=[0, 1] if theme.is_narrow() else [0, 0.5, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(False)
        style = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 7.5, "labelpad": 8}
        row[0].set_ylabel(f"{driver}\n{table['frames']:,} frames", **style)
    for axes, label in zip(grid[-1], labels, strict=True):
        axes.set_xlabel(label, fontsize=7.5)
    return fig


@theme.drawing
def tracks(lines):
    """Race tracks from above, all at one scale: `lines` is a list of centre lines [n, 2], metres.

    The dot is the start; the road is as wide as it is.
    """
    lines = [line - (line.min(axis=0) + line.max(axis=0)) / 2 for line in lines]
    columns = min(3 if theme.is_narrow() else 5, len(lines))
    rows = -(-len(lines) // columns)
    side = theme.width() / columns
    fig, grid = theme.panels(rows, columns, rows * side * 0.98)
    reach = 1.08 * max(np.abs(line).max() for line in lines)
    points = 0.94 * side * 72 * ROAD / reach  # of line width, for the road's metres
    for axes in grid.flat:
        theme.bare(axes)
    for axes, line in zip(grid.flat, lines, strict=False):
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        road = {"color": theme.tint(INK, 0.55), "lw": max(1.2, points)}
        axes.plot(*np.concatenate([line, line[:1]]).T, **road)
        axes.plot(*line[0], "o", color=VERMILION, markersize=4)
    scale = 100 if reach > 120 else 50
    right, level = reach * 0.95, -reach * 0.97
    last = grid.flat[len(lines) - 1]
    last.plot([right - scale, right], [level, level], color=INK, linewidth=1.5)
    theme.note(last, f"{scale} m", (right - scale / 2, level), (0, 1), ha="center", color=INK)
    return fig


@theme.drawing
def returns_comparison(evaluations, published=None):
    """Every return of every controller, with its mean and 95 % CI.

    `evaluations` are records of `awm.study.evaluation`; `published` is {label: (mean,
    deviation)}, drawn below as reported by their authors, on CarRacing-v0. Agents that differ only
    in seed share a row, with a mean and an interval each.
    """
    published, narrow = published or {}, theme.is_narrow()
    if not evaluations:
        raise AwmError("There is nothing to compare. Evaluate a controller: `awm evaluate`.")
    groups: dict[tuple, list] = {}
    for evaluation in evaluations:
        family = Agent.parse(evaluation["agent"]).family
        groups.setdefault((family, evaluation["frames"]), []).append(evaluation)
    several = len({frames for _, frames in groups}) > 1
    every = 0.82 if narrow else 0.46
    fig, [[axes]] = theme.panels(1, 1, 0.75 + every * (len(groups) + len(published)))
    rows = []  # of each: its name, mean and deviation, and what it counts
    for row, ((family, frames), group) in enumerate(groups.items()):
        returns = np.concatenate([np.asarray(e["returns"], float) for e in group])
        style = {"color": theme.model_color(family), "gid": f"{family.label}, one episode"}
        style |= {"markersize": 3, "markeredgewidth": 0, "alpha": 0.5}
        axes.plot(returns, row + _jitter(row, returns, 0.22), "o", **style)
        middle = {"color": style["color"], "linewidth": 1.6}
        axes.plot([np.median(returns)] * 2, [row - 0.3, row + 0.3], **middle)
        apart = min(0.2, 0.6 / len(group))
        for n, each in enumerate(group):
            name = Agent.parse(each["agent"]).label + ", mean"
            place = row + apart * (n - (len(group) - 1) / 2)
            _mean(axes, place, np.mean(each["returns"]), each["ci95"], name)
        seeds = f"{len(group)} seeds × " if len(group) > 1 else ""
        of = f", {frames} frames" if several else ""
        count = f"{seeds}{len(returns) // len(group)} episodes{of}"
        rows.append((family.label, returns.mean(), returns.std(), count))
    for name, (mean, deviation) in published.items():
        ends, pale = (mean - deviation, mean + deviation), (FAINT, PAPER, MUTED)
        _mean(axes, len(rows), mean, ends, f"{name}, mean", *pale)
        rows.append((name, mean, deviation, "published"))
    labels = []
    for row, (name, mean, deviation, count) in enumerate(rows):
        text = f"{mean:.0f} ± {deviation:.0f}".replace("-", "−")
        labels.append(f"{name}: {text}\n{count}" if narrow else f"{name}\n{count}")
        if not narrow:
            style = _BESIDE | {"va": "center", "fontsize": 8, "color": INK}
            theme.note(axes, text, (1, row), (6, 0), annotation_clip=False, **style)
    if published:
        axes.axhline(len(groups) - (0.78 if narrow else 0.5), color=FAINT, linewidth=0.8)
    axes.axvline(SOLVED, **LEVEL)
    theme.note(axes, f"solved: {SOLVED}", (SOLVED, 1), (0, 3), ha="center", **_ABOVE)
    _rows(axes, labels)
    axes.tick_params(axis="y", labelsize=7.5)
    axes.set_xlabel("return per episode")
    if not narrow:
        key = "diamond: mean, 95 % CI · bar: median"
        theme.note(axes, key, (0, 1), (0, 3), xycoords="axes fraction")
    return fig


@theme.drawing
def altered_worlds(frames, returns):
    """What agents earn where the world looks otherwise, below what they see there.

    `frames` is {world: uint8 [64, 64, 3]}, a column each; `returns` is {Agent: {world: its laps}},
    a strip of dots each, with the mean.
    """
    ratios = {"gridspec_kw": {"height_ratios": (1, 1.35)}}
    fig, grid = theme.panels(2, len(frames), 4.2, sharey="row", **ratios)
    for (above, axes), (world, frame) in zip(grid.T, frames.items(), strict=True):
        above.imshow(frame)
        above.set_title(world, loc="center")
        theme.bare(above)
        means = []
        for n, (agent, laps) in enumerate(returns.items()):
            earned, color = np.asarray(laps[world], float), theme.model_color(agent)
            dots = {"s": 9, "color": theme.tint(color, 0.6), "linewidth": 0, "alpha": 0.75}
            axes.scatter(n + _jitter(n, earned, 0.2), earned, **dots)
            mean = [earned.mean()] * 2
            axes.plot([n - 0.32, n + 0.32], mean, color=INK, linewidth=1.6, zorder=5)
            axes.plot([], [], "o", color=color, markersize=4, label=agent.label)
            means.append(f"{mean[0]:.0f}")
        axes.set_xticks(range(len(means)), means)
        axes.set_xlim(-0.6, len(means) - 0.4)
        axes.grid(False, axis="x")
    first = grid[1, 0]
    first.set_ylabel("return per episode")
    fig.supxlabel("mean return", fontsize=8.5)
    fig.legend(*first.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return fig


@theme.drawing
def attention_over_entries(weights, z_size: int = 32):
    """Attention over [z, a] in time: `weights` [T, 35], entries 0–31 of z, then the action.

    The weights step by step; on the right, their mean. Returns a Figure.
    """
    ticks = {n: f"z{n}" for n in range(0, z_size, 4)}
    ticks |= {z_size + n: name for n, name in enumerate(("steer", "gas", "brake"))}
    fig = _heat_map(weights, "entry of [z, a]", 4.6, ticks)
    for axes in fig.axes[:2]:
        axes.axhline(z_size - 0.5, color=MUTED, linewidth=0.8)
    return fig


@theme.drawing
def attention_over_time(weights):
    """Attention over M's own past: `weights` [T, 32], the most recent hidden state last.

    The vertical axis counts steps back from now. Returns a Figure.
    """
    weights = np.asarray(weights)[:, ::-1]
    ticks = {n: str(n + 1) for n in (0, *range(7, weights.shape[1], 8))}
    return _heat_map(weights, "steps back", 3.2, ticks)


def _heat_map(weights, ylabel: str, height: float, ticks: dict[int, str]):
    """Weights [T, entries] with time to the right, and the mean of each entry beside it.

    Colours are relative to even attention, so that figures of different width compare.
    """
    fig = theme.figure(height)
    axes, side = fig.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": (5, 1)})
    relative = np.asarray(weights, float) * np.shape(weights)[1]
    most = max(2.0, float(np.quantile(relative, 0.998)))
    image = axes.imshow(relative.T, aspect="auto", cmap=theme.WEIGHT, vmin=0, vmax=most)
    axes.set(xlabel="step", ylabel=ylabel)
    axes.set_yticks([*ticks], [*ticks.values()], fontsize=7.5)
    axes.grid(False)
    above = {"location": "top", "aspect": 50, "shrink": 0.5, "pad": 0.02, "anchor": (0, 0)}
    bar = fig.colorbar(image, ax=axes, **above)
    bar.set_label("attention, relative to even", fontsize=7.5)
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
    style = {"color": theme.tint(BLUE, 0.75), "label": "mean"}
    side.barh(range(relative.shape[1]), relative.mean(axis=0), 0.75, **style)
    side.axvline(1, **LEVEL)
    side.set(xlabel="mean" if theme.is_narrow() else "mean (1: even)", xlim=(0, None))
    side.tick_params(axis="y", labelleft=False)
    side.grid(False, axis="y")
    return fig


def _trials(axes, row, model, values, estimate, one) -> None:
    """A dot for every value of a model, and their mean with its interval if there is one."""
    label, ends = theme.model_label(model), estimate and (estimate.low, estimate.high)
    style = {"color": theme.model_color(model), "markeredgecolor": PAPER, "zorder": 5}
    axes.plot(values, [row] * len(values), "o", gid=f"{label}, {one}", **style)
    _mean(axes, row, np.mean(values), ends, f"{label}, mean")


def _mean(axes, row, mean, ends, name, color=INK, face=INK, edge=PAPER) -> None:
    """A diamond at the mean, on the line of its interval if there is one."""
    if ends:
        axes.plot(ends, [row, row], color=color, linewidth=2.2, zorder=4)
    axes.plot(mean, row, "D", color=face, markersize=5, markeredgecolor=edge, zorder=6, gid=name)


def _jitter(seed: int, values, most: float) -> np.ndarray:
    """The same scatter every time, so that an unchanged result is an unchanged picture."""
    return np.random.default_rng(seed).uniform(-most, most, len(values))


def _rows(axes, labels) -> None:
    """A labelled row for each, the first on top; for a phone the label stands above its row."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK)
    spoken(axes, y=" ")
    if theme.is_narrow():
        axes.set_ylim(len(labels) - 0.5, -0.9)
        axes.tick_params(axis="y", labelleft=False)
        axes.spines["left"].set_visible(False)
        style = _BESIDE | {"fontsize": 8, "color": INK, "in_layout": False}
        for row, label in enumerate(labels):
            theme.note(axes, label, (0, row - 0.25), (0, 0), **style)


def _break() -> str:
    """Where a line is broken for a phone."""
    return "\n" if theme.is_narrow() else " "
