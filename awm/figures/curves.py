"""Curves of training, evolution and dreams.

Every function takes plain data, as manifests and logs hold it, and returns a matplotlib Figure for
`figures.save`. One run is a thick line; several, of several seeds, are thin ones and their median.
"""

from textwrap import fill

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.ndimage import uniform_filter1d

from awm.errors import AwmError
from awm.figures import theme
from awm.figures.theme import (
    INK,
    LEVEL,
    MUTED,
    VIOLET,
    drawing,
    is_narrow,
    model_color,
    panels,
    tint,
)
from awm.figures.vector import spoken

#: A return of this many is what "solved" means on CarRacing (mean of 100 trials).
SOLVED = 900


@drawing
def vae_losses(history, split):
    """V's loss, its two terms apart: summed squared error, and KL divergence.

    `history` is V's manifest's, `split` "train" or "validation". The error is summed over
    64 × 64 × 3 values in [0, 1], a frame; the KL is in nats per frame.
    """
    terms = {"reconstruction": "squared error per frame", "kl": "KL divergence (nats per frame)"}
    fig, [row] = panels(1, 2, 2.9)
    for axes, (term, unit) in zip(row, terms.items(), strict=True):
        curve, held_out = _points(history, "update", f"{split}_{term}"), split == "validation"
        name = "validation" if held_out else "training"
        _line(axes, curve, model_color("V"), marked=held_out, name=name)
        axes.set(ylabel=unit)
    _finish(fig, xlabel="training updates")
    left, right = row
    left.set_title("Reconstruction error")
    # The first updates, from hundreds down, would leave the rest a flat line.
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    left.yaxis.set_major_formatter("{x:g}")
    left.minorticks_off()
    right.set(title="KL divergence", ylim=(0, None))
    return fig


@drawing
def mdn_rnn_learning_curves(histories, baselines=None):
    """M's learning curves, one colour a model, against levels that a reader can interpret.

    `histories` is {model: history}, lists of {"update", "train_nll", and now and then
    "validation_nll"}; a model is a kind of M, a `Memory` or any word. `baselines` is {label:
    value}, drawn as dashed levels.
    """
    baselines = baselines or {}
    fig, [[axes]] = panels(1, 1, 3.4)
    for model, history in histories.items():
        color, label = model_color(model), theme.model_label(model)
        train, validation = (
            _points(history, "update", f"{s}_nll") for s in ("train", "validation")
        )
        of = f"{label}, " * (len(histories) > 1)
        _line(axes, train, color, thin=True, name=of + "training")
        _line(axes, validation, color, label, marked=True, name=of + "validation")
    _line(axes, ([], []), MUTED, "thin: training batches", thin=True)
    _line(axes, ([], []), MUTED, "dots: validation episodes", marked=True)
    unit = "negative log-likelihood (nats per step)"
    _finish(fig, 3, xlabel="training updates", ylabel=unit)
    # Side by side, so that the names of close levels stay legible.
    columns, apart = (2, 0.45) if is_narrow() else (3, 0.18)
    for n, (label, value) in enumerate(sorted(baselines.items(), key=lambda item: item[1])):
        axes.axhline(value, **LEVEL)
        place = 1 - apart * (n % columns), value
        theme.note(axes, label, place, (-2, 2), xycoords=("axes fraction", "data"), ha="right")
    # The axis shows where the curves settle, and the baselines; not the first drop.
    late = [entry for history in histories.values() for entry in history[len(history) // 6 :]]
    shown = [
        entry[key] for entry in late for key in ("train_nll", "validation_nll") if key in entry
    ]
    shown += baselines.values()
    margin = 0.06 * (max(shown) - min(shown)) or 1.0
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    return fig


@drawing
def controller_training(logs, x="steps"):
    """Evolution: `logs` is {Agent: generations as in its log}, against `x`; a panel a family.

    The curve is the agent, the distribution's mean, on validation tracks: of each seed, and their
    median, which plain M's accompanies. Where nothing was searched with several seeds, a thin line
    is the population's average and a band its best to worst, on the tracks of each generation.
    `x` is "steps" (of the real environment) or "generation".
    """
    if not logs or not all(logs.values()):
        raise AwmError("There is no evolution to show. Evolve a controller first: `awm evolve`.")
    millions = x == "steps" and max(log[-1][x] for log in logs.values()) >= 5e5
    unit = [[1e6 if millions else 1], [1]]
    found: dict = {}
    for agent, log in logs.items():
        found.setdefault(agent.family, []).append(_points(log, x, "validation") / unit)
    alone, single = len(found) == len(logs), len(logs) == 1
    columns = min(len(found), (2 if alone else 3) - is_narrow())
    rows = -(-len(found) // columns)
    height = 3.6 if rows == 1 else 0.9 + 1.9 * rows
    fig, grid = panels(rows, columns, height, sharex=True, sharey=True)
    plain = next((runs for family, runs in found.items() if family.memory.kind == "plain"), None)
    dotted = {"color": INK, "linewidth": 1, "linestyle": (0, (1, 1.5))}
    each = zip(grid.flat, found.items(), logs.values(), strict=False)
    for n, (axes, (family, runs), log) in enumerate(each):
        color = model_color(family)
        if single:
            (at, best), (_, worst) = (_points(log, x, key) / unit for key in ("best", "worst"))
            axes.fill_between(at, worst, best, color=tint(color, 0.13), linewidth=0)
        if alone:
            average = _points(log, x, "mean") / unit
            _line(axes, average, color, thin=True, name="population average")
        elif plain and plain is not runs:
            axes.plot(*_median(plain), gid="plain M, median", **dotted)
        name = "mean of the distribution" if alone else family.label
        _runs(axes, runs, color, marked=alone, name=name)
        axes.axhline(SOLVED, label=f"solved: {SOLVED}", **LEVEL)
        seeds = "" if alone else f", {len(runs)} seed" + "s" * (len(runs) > 1)
        axes.set_title(fill(family.label + seeds, 20 if is_narrow() else 40), fontsize=8)
        axes.tick_params(labelbottom=n >= len(found) - columns)
        spoken(axes, y="return per episode")
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    first, thick = grid.flat[0], "mean of the distribution (the agent)"
    _line(first, ([], []), MUTED, thick if alone else "median over seeds", marked=alone)
    _line(first, ([], []), MUTED, "population average" if alone else "each seed", thin=True)
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
    return _dream_and_track("generation", *curves, steps)[0]


@drawing
def dream_temperatures(logs, steps=None):
    """Dreamt and real return of the chosen controllers against the dream's temperature.

    `logs` is {temperature: [the log of each seed]}, `steps` as in `dream_and_reality`. A dot each;
    lines join the medians.
    """
    if not logs:
        raise AwmError("There is no evolution in a dream to show. Run notebook 06.")
    chosen = [
        (temperature, max(_driven(log), key=lambda entry: entry["validation"]))
        for temperature, group in sorted(logs.items())
        for log in group
    ]
    keys = ("validation", "real")
    dots = [np.array([(heat, entry[key]) for heat, entry in chosen]).T for key in keys]
    medians = ([np.array([(t, np.median(y[x == t])) for t in np.unique(x)]).T] for x, y in dots)
    names = ("dream", "real track")
    fig, *both = _dream_and_track("temperature of the dream", *medians, steps)
    for axes, curve, color, name in zip(both, dots, (VIOLET, INK), names, strict=True):
        axes.plot(*curve, "o", color=color, markersize=4, gid=f"one search, {name}")
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
    xlabel = "thousand recorded environment steps"
    fig, _, track = _dream_and_track(xlabel, *curves, steps, middle)
    for entry, place in zip(chains[0], middle[1].T, strict=True):
        theme.note(track, f"round {entry['round']}", place, (6, -14), ha="left")
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
            color, label = model_color(model), theme.model_label(model)
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
def routes(found):
    """Real return against real steps and against core-hours, for several ways to a controller.

    `found` is {label: [a list of points {"real", "real_steps", "core_hours"} for each seed]}. A
    thin line for each seed, the thick one of the same colour for the seed with the median last
    return.
    """
    found = {label: [run for run in runs if run] for label, runs in found.items()}
    if not any(found.values()):
        raise AwmError("There is no search to compare. Run notebooks 05 and 06.")
    colors = (theme.BLUE, VIOLET, theme.ORANGE, theme.GREEN, theme.VERMILION)
    scales = ("real_steps", 1e6, "million environment steps"), ("core_hours", 1, "core-hours")
    fig, [row] = panels(1, 2, 3.6, sharey=True)
    for axes, (x, unit, _) in zip(row, scales, strict=True):
        for n, (label, runs) in enumerate(found.items()):
            curves = [_points(run, x, "real") / [[unit], [1]] for run in runs]
            curves.sort(key=lambda curve: curve[1][-1])
            if curves:
                middle, color = curves[len(curves) // 2], colors[n % len(colors)]
                _runs(axes, curves, color, label, marked=True, thick=middle)
        axes.axhline(SOLVED, **LEVEL)
    _finish(fig, 2)
    for axes, (_, _, xlabel) in zip(row, scales, strict=True):
        axes.set_xlabel(xlabel)
        spoken(axes, y="return per episode")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("return per episode, validation tracks")
    return fig


def _dream_and_track(xlabel: str, dreamt, real, steps=None, thick=(None, None)):
    """Returns in the dream and on the real track, each the curves of one or several runs.

    With `steps`, which a dream lasts, each in a panel of its own. `thick` are the thick curves, by
    default the medians. Returns the figure, the axes of the dream and those of the track.
    """
    fig, _ = panels(1, 2 if steps else 1, 3.2)
    one, other = fig.axes[0], fig.axes[-1]
    _runs(one, dreamt, VIOLET, "in the dream", marked=True, line="--", thick=thick[0])
    _runs(other, real, INK, "on the real track", marked=True, thick=thick[1])
    _finish(fig, 0 if steps else 2, xlabel=xlabel, ylabel="return per episode")
    if steps:
        one.set(title="In the dream", ylabel=f"return per dream of {steps} steps")
        other.set(title="On the real track")
    return fig, one, other


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


def _runs(axes, runs, color, label=None, *, marked=False, line="-", thick=None, name=None) -> None:
    """Each run thin and `thick` thick, by default their median; if there is only one, it alone."""
    many, name = len(runs) > 1, name or label or ""
    for n, run in enumerate(runs if many else ()):
        own = f"seed {n}" if thick is None else "one search"
        _line(axes, run, color, thin=True, line=line, name=f"{name}, {own}")
    middle, name = _median(runs) if thick is None else thick, name + ", median" * many
    _line(axes, middle, color, label, marked=marked, line=line, name=name)


def _median(runs):
    """The median of curves, where all of them have been; read off between their points."""
    runs = [run for run in runs if len(run[0])]
    if not runs:
        return [], []
    start, end = max(at[0] for at, _ in runs), min(at[-1] for at, _ in runs)
    at = np.unique(np.concatenate([at for at, _ in runs]))
    at = at[(start <= at) & (at <= end)]
    return at, np.median([np.interp(at, *run) for run in runs], axis=0)


def _finish(fig, columns=0, **labels):
    """Axes alike, with the same labels; the first one's legend above all, in so many columns."""
    for axes in fig.axes:
        axes.set(**labels)
        axes.margins(x=0.02)
        axes.grid(False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6 if len(fig.axes) < 3 else 4))
    if columns:
        theme.legend(fig, columns, *fig.axes[0].get_legend_handles_labels())
    return fig
