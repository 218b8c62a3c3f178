"""Curves of training, evolution and dreams.

Every function takes plain data, as manifests and logs hold it, and returns a matplotlib Figure for
`figures.save`. One run is a thick line; several, of several seeds, are thin ones and their median.
"""

from textwrap import fill

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.ndimage import uniform_filter1d

from awm.errors import AwmError
from awm.figures.theme import (
    BLUE,
    GREEN,
    INK,
    LEVEL,
    MUTED,
    ORANGE,
    VERMILION,
    VIOLET,
    drawing,
    is_narrow,
    legend,
    model_color,
    model_label,
    note,
    panels,
    tint,
)
from awm.figures.vector import spoken

#: A return of this many is what "solved" means on CarRacing (mean of 100 trials).
SOLVED = 900

_SPLITS = {"train": "training", "validation": "validation"}


@drawing
def learning_curves(histories, terms, split="both", levels=None):
    """Training: a panel a term of the loss, a colour a model.

    Args:
        histories: {model: history}, each a list of {"update", "train_<term>", and now and then
            "validation_<term>"}; a model is a kind of M, a `Memory` or any word.
        terms: {term: its name and unit}.
        split: "train", "validation" (marked, on held-out episodes) or "both" (training thin).
        levels: dashed levels in the first panel, {label: value}.
    """
    splits = tuple(_SPLITS) if split == "both" else (split,)
    fig, [row] = panels(1, len(terms), 3.4 if len(terms) == 1 else 2.9)
    for axes, (term, unit) in zip(row, terms.items(), strict=True):
        for model, history in histories.items():
            for part in splits:
                marked, thin = part == "validation", part != splits[-1]
                label = model_label(model)
                name = f"{label}, " * (len(histories) > 1) + _SPLITS[part]
                style = {"marked": marked, "thin": thin, "name": name}
                curve = _points(history, "update", f"{part}_{term}")
                _line(axes, curve, model_color(model), None if thin else label, **style)
        axes.set(ylabel=unit)
    if len(splits) > 1:
        _line(row[0], ([], []), MUTED, "thin: training batches", thin=True)
        _line(row[0], ([], []), MUTED, "dots: validation episodes", marked=True)
    _finish(fig, 3 if len(splits) > 1 or len(histories) > 1 else 0, xlabel="training updates")
    _levels(row[0], levels or {})
    return fig


@drawing
def vae_losses(history, split="both", references=None):
    """V's loss, its two terms apart: summed squared error, and KL divergence.

    `history` is V's manifest's, `split` and `references` (of the squared error) as `split` and
    `levels` of `learning_curves`. The error is summed over 64 × 64 × 3 values in [0, 1], a frame;
    the KL is in nats per frame.
    """
    terms = {"reconstruction": "squared error per frame", "kl": "KL divergence (nats per frame)"}
    fig = learning_curves({"V": history}, terms, split, references)
    left, right = fig.axes
    left.set_title("Reconstruction error")
    # The first updates, from hundreds down, would leave the rest a flat line.
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    left.yaxis.set_major_formatter("{x:g}")
    left.minorticks_off()
    right.set(title="KL divergence", ylim=(0, None))
    return fig


@drawing
def mdn_rnn_learning_curves(histories, baselines=None, key="nll", ylabel=None):
    """M's learning curves, one colour a model, against levels that a reader can interpret.

    `histories` is {model: history} with `train_<key>` and `validation_<key>` in its entries;
    `baselines` is {label: value}, drawn as dashed levels.
    """
    terms = {key: ylabel or "negative log-likelihood (nats per step)"}
    fig = learning_curves(histories, terms, levels=baselines)
    # The axis shows where the curves settle, and the baselines; not the first drop.
    shown = list((baselines or {}).values())
    for history in histories.values():
        for entry in history[len(history) // 6 :]:
            shown += [
                entry[name] for name in (f"train_{key}", f"validation_{key}") if name in entry
            ]
    if shown:
        margin = 0.06 * (max(shown) - min(shown)) or 1.0
        fig.axes[0].set_ylim(min(shown) - margin, max(shown) + margin)
    return fig


@drawing
def controller_training(logs, x="steps", solved=SOLVED):
    """Evolution: `logs` is {Agent: generations as in its log}, against `x`; a panel a family.

    The curve is the agent, the distribution's mean, on validation tracks: of each seed, and their
    median, which plain M's accompanies. Where nothing was searched with several seeds, a thin line
    is the population's average and a band its best to worst, on the tracks of each generation.
    `x` is "steps" (of the real environment), "generation" or "seconds".
    """
    if not logs or not all(logs.values()):
        raise AwmError("There is no evolution to show. Evolve a controller first: `awm evolve`.")
    families: dict = {}
    for agent, log in logs.items():
        families.setdefault(agent.family, []).append(log)
    alone, single = len(families) == len(logs), len(logs) == 1
    columns = min(len(families), (2 if alone else 3) - is_narrow())
    rows = -(-len(families) // columns)
    height = 3.6 if rows == 1 else 0.9 + 1.9 * rows
    fig, grid = panels(rows, columns, height, sharex=True, sharey=True)
    millions = x == "steps" and max(log[-1][x] for log in logs.values()) >= 5e5
    unit = np.array([[1e6 if millions else 1], [1]])
    found = {
        family: [_points(log, x, "validation") / unit for log in group]
        for family, group in families.items()
    }
    plain = next((runs for family, runs in found.items() if family.memory.kind == "plain"), None)
    dotted = {"color": INK, "linewidth": 1, "linestyle": (0, (1, 1.5))}
    for n, (axes, (family, runs)) in enumerate(zip(grid.flat, found.items(), strict=False)):
        color, log = model_color(family), families[family][0]
        if single:
            at, best = _points(log, x, "best") / unit
            worst = _points(log, x, "worst")[1]
            axes.fill_between(at, worst, best, color=tint(color, 0.13), linewidth=0)
        if alone:
            population = "population average"
            _line(axes, _points(log, x, "mean") / unit, color, thin=True, name=population)
        elif plain and plain is not runs:
            axes.plot(*_median(plain), gid="plain M, median", **dotted)
        name = "mean of the distribution" if alone else family.label
        _runs(axes, runs, color, marked=alone, name=name)
        if solved is not None:
            axes.axhline(solved, label=f"solved: {solved}", **LEVEL)
        seeds = "" if alone else f", {len(runs)} seed" + "s" * (len(runs) > 1)
        axes.set_title(fill(family.label + seeds, 20 if is_narrow() else 40), fontsize=8)
        axes.tick_params(labelbottom=n >= len(found) - columns)
        spoken(axes, y="return per episode")
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    first = grid.flat[0]
    if alone:
        _line(first, ([], []), MUTED, "mean of the distribution (the agent)", marked=True)
        _line(first, ([], []), MUTED, "population average", thin=True)
    else:
        _line(first, ([], []), MUTED, "median over seeds")
        _line(first, ([], []), MUTED, "each seed", thin=True)
    if single:
        first.fill_between([], [], color=tint(MUTED, 0.2), label="population, best to worst")
    elif plain and not alone:
        first.plot([], [], label="plain M, median", **dotted)
    _finish(fig, 4)
    words = "million " * millions + ("environment steps" if x == "steps" else x)
    fig.supxlabel(words, fontsize=8.5)
    fig.supylabel("return per episode, validation tracks", fontsize=8.5)
    return fig


@drawing
def dream_and_reality(logs, steps=None):
    """Evolution in a dream: what a generation's mean earns in the dream, and on the real track.

    `logs` are those of searches in a dream, one for each seed; `steps` is how long a dream lasts
    where that is shorter than a lap, so that the two are not to be compared: then each has a panel.
    """
    runs = [_driven(log) for log in logs]
    if not runs or not all(runs):
        raise AwmError("There is no evolution in a dream to show. Run notebook 06.")
    keys = ("validation", "real")
    curves = ([_points(run, "generation", key) for run in runs] for key in keys)
    return _dream_and_track("generation", *curves, steps)


@drawing
def dream_temperatures(logs, steps=None):
    """Dreamt and real return of the chosen controllers against the dream's temperature.

    `logs` is {temperature: [the log of each seed]}, `steps` as in `dream_and_reality`. A dot each;
    lines join the medians.
    """
    if not logs:
        raise AwmError("There is no evolution in a dream to show. Run notebook 06.")
    best = {
        temperature: [max(_driven(log), key=lambda entry: entry["validation"]) for log in group]
        for temperature, group in sorted(logs.items())
    }
    dots = [
        np.array([(t, entry[key]) for t, chosen in best.items() for entry in chosen]).T
        for key in ("validation", "real")
    ]
    medians = [(list(best), [np.median(y[x == t]) for t in best]) for x, y in dots]
    fig = _dream_and_track("temperature of the dream", *([curve] for curve in medians), steps)
    names = ("one search, dream", "one search, real track")
    for axes, curve, color, name in zip(_two(fig), dots, (VIOLET, INK), names, strict=True):
        axes.plot(*curve, "o", color=color, markersize=4, gid=name)
    return fig


@drawing
def dream_rounds(chains, steps=None):
    """Iterative training: dreamt and real return against the real steps that were recorded.

    `chains` are lists of {"round", "real_steps", "dreamt", "real"}, all with the same rounds: each
    thin, and thick the median of steps and returns round by round. `steps` is as in
    `dream_and_reality`.
    """
    curves = [
        [_points(chain, "real_steps", key) / [[1000], [1]] for chain in chains]
        for key in ("dreamt", "real")
    ]
    middle = [np.median(runs, axis=0) for runs in curves]
    fig = _dream_and_track("thousand recorded environment steps", *curves, steps, middle)
    for entry, place in zip(chains[0], middle[1].T, strict=True):
        note(_two(fig)[1], f"round {entry['round']}", place, (6, -14), ha="left")
    for axes in fig.axes:
        axes.margins(x=0.14, y=0.12)
    return fig


@drawing
def dream_errors(found):
    """Errors of dreams against the steps since the last real code: of z, frames and return.

    `found` is {"steps": [n], "persistence": {kind: [n]}, "models": {model: {"mean":
    {kind: [n]}, and of several trainings "low" and "high" alike}}}: a line for every M's mean, a
    band for its interval; dashed the baseline without a model.
    """
    titles = {
        "z": ("squared error of z", "no change"),
        "frame": ("squared error of the frame", "no change"),
        "return": ("absolute error of the return", "same rate"),
    }
    fig, [row] = panels(1, 3, 2.9)
    at = found["steps"]
    for axes, (kind, (title, guess)) in zip(row, titles.items(), strict=True):
        for model, errors in found["models"].items():
            color, label = model_color(model), model_label(model)
            axes.plot(at, errors["mean"][kind], color=color, label=label, linewidth=1.2)
            if "low" in errors:
                low, high = errors["low"][kind], errors["high"][kind]
                axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
        style = {"color": MUTED, "gid": f"baseline: {guess}"}
        dashed = axes.plot(at, found["persistence"][kind], "--", **style)
        # The baseline is another in each panel; the colours are the same in all.
        axes.legend(dashed, [guess], loc="best")
        axes.set(title=title, ylim=(0, None))
    return _finish(fig, 3, xlabel="steps into the dream")


@drawing
def routes(found, solved=SOLVED):
    """Real return against real steps and against core-hours, for several ways to a controller.

    `found` is {label: [a list of points {"real", "real_steps", "core_hours"} for each seed]}. A
    thin line for each seed, the thick one of the same colour for the seed with the median last
    return.
    """
    found = {label: [run for run in runs if run] for label, runs in found.items()}
    if not any(found.values()):
        raise AwmError("There is no search to compare. Run notebooks 05 and 06.")
    colors = (BLUE, VIOLET, ORANGE, GREEN, VERMILION)
    fig, [row] = panels(1, 2, 3.6, sharey=True)
    for axes, x, unit in zip(row, ("real_steps", "core_hours"), (1e6, 1), strict=True):
        for n, (label, runs) in enumerate(found.items()):
            curves = [_points(run, x, "real") / [[unit], [1]] for run in runs]
            curves.sort(key=lambda curve: curve[1][-1])
            middle = curves[len(curves) // 2 : len(curves) // 2 + 1]
            _runs(axes, curves, colors[n % len(colors)], label, marked=True, median=middle)
        axes.axhline(solved, **LEVEL)
    _finish(fig, 2)
    for axes, xlabel in zip(row, ("million environment steps", "core-hours"), strict=True):
        axes.set_xlabel(xlabel)
        spoken(axes, y="return per episode")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("return per episode, validation tracks")
    return fig


def _dream_and_track(xlabel: str, dreamt, real, steps=None, middle=(None, None)):
    """Returns in the dream and on the real track, each the curves of one or several runs.

    With `steps`, which a dream lasts, each in a panel of its own. `middle` are the thick curves, by
    default the medians.
    """
    fig, _ = panels(1, 2 if steps else 1, 3.2)
    one, other = _two(fig)
    thick = [None if curve is None else [curve] for curve in middle]
    _runs(one, dreamt, VIOLET, "in the dream", marked=True, line="--", median=thick[0])
    _runs(other, real, INK, "on the real track", marked=True, median=thick[1])
    _finish(fig, 0 if steps else 2, xlabel=xlabel, ylabel="return per episode")
    if steps:
        one.set(title="In the dream", ylabel=f"return per dream of {steps} steps")
        other.set(title="On the real track")
    return fig


def _two(fig):
    """The axes of the dream and those of the track, which may be the same."""
    return fig.axes[0], fig.axes[-1]


def _driven(log) -> list[dict]:
    """The generations whose mean was also driven on the real track."""
    return [entry for entry in log if entry.get("real") is not None]


def _points(entries, x: str, y: str) -> np.ndarray:
    """Two recorded quantities where both are there, [2, n]."""
    found = [(entry[x], entry[y]) for entry in entries if entry.get(y) is not None]
    return np.array(found, float).reshape(-1, 2).T


def _line(axes, points, color, label=None, *, marked=False, thin=False, line="-", name=None):
    """One curve: thick, or thin and pale; with marks where it was measured now and then.

    `label` is for the legend, `name`, by default the same, for who reads off a value.
    """
    at, values = points
    if not marked and len(values) > 200:
        # Hundreds of noisy updates: the eye wants their trend, the reader may doubt it.
        axes.plot(at, values, color=tint(color, 0.3), linewidth=0.6)
        values = uniform_filter1d(values, len(values) // 60, mode="nearest")
        name = f"{name or label}, smoothed"
    style = {"marker": "o", "markersize": 3.4, "markevery": max(1, len(at) // 25)} if marked else {}
    style |= {"color": tint(color, 0.5), "linewidth": 1} if thin else {"color": color}
    axes.plot(at, values, label=label, linestyle=line, gid=name, **style)


def _runs(axes, runs, color, label=None, *, marked=False, line="-", median=None, name=None) -> None:
    """Each run thin and the median thick; if there is only one, that one thick."""
    many, name = len(runs) > 1, name or label or ""
    for n, run in enumerate(runs if many else ()):
        own = ", ".join(filter(None, (name, "one search" if median else f"seed {n}")))
        _line(axes, run, color, thin=True, line=line, name=own)
    for run in [_median(runs)] if median is None else median:
        whole = ", ".join(filter(None, (name, "median" * many)))
        _line(axes, run, color, label, marked=marked, line=line, name=whole or "return")


def _median(runs):
    """The median of curves, where all of them have been; read off between their points."""
    runs = [run for run in runs if len(run[0])]
    if not runs:
        return [], []
    start, end = max(at[0] for at, _ in runs), min(at[-1] for at, _ in runs)
    at = np.unique(np.concatenate([at for at, _ in runs]))
    at = at[(start <= at) & (at <= end)]
    return at, np.median([np.interp(at, *run) for run in runs], axis=0)


def _levels(axes, levels) -> None:
    """Dashed levels with their names above them, side by side so that close ones stay legible."""
    columns = 2 if is_narrow() else 3
    for n, (label, value) in enumerate(sorted(levels.items(), key=lambda item: item[1])):
        axes.axhline(value, **LEVEL)
        place = 1 - (0.45 if is_narrow() else 0.18) * (n % columns), value
        note(axes, label, place, (-2, 2), xycoords=("axes fraction", "data"), ha="right")


def _finish(fig, columns=0, **labels):
    """Axes alike, with the same labels; the first one's legend above all, in so many columns."""
    for axes in fig.axes:
        axes.set(**labels)
        axes.margins(x=0.02)
        axes.grid(False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6 if len(fig.axes) < 3 else 4))
    if columns:
        legend(fig, columns, *fig.axes[0].get_legend_handles_labels())
    return fig
