"""Plots of what was collected, learned and evolved.

Every function takes plain data, as the stages' manifests and logs hold it, and returns a
matplotlib Figure for `figures.save`. Models keep their colour from figure to figure.
"""

from itertools import cycle

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from awm.errors import AwmError
from awm.figures.theme import (
    BLUE,
    COLORS,
    FAINT,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    VERMILION,
    VIOLET,
    WIDTH,
    bare,
    figure,
    model_color,
    model_label,
    panels,
    tint,
)
from awm.names import Name

#: Half the width of CarRacing's road, metres.
ROAD = 40 / 6
#: A return of this many is what "solved" means on CarRacing (mean of 100 trials).
SOLVED = 900


def learning_curves(
    history, keys, ylabel, xlabel="updates", x="update", colors=None, title="", log=False
):
    """Lines of a training run.

    `history` is a list of dicts; `keys` one key, a list, or {key: legend}. Entries without a key
    are left out of its line; a key that starts with "validation" gets marks, since it is
    measured now and then, and a training loss, measured at every update, a thinner line.
    """
    names = {keys: None} if isinstance(keys, str) else dict.fromkeys(keys)
    names.update(keys if isinstance(keys, dict) else {})
    fig = figure(3.0)
    axes = fig.subplots()
    for position, (key, name) in enumerate(names.items()):
        name = name or key.replace("_", " ")
        color = (colors or {}).get(key) or (INK if key.startswith("validation") else None)
        _curve(axes, history, key, name, color or f"C{position}", x)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log:
        axes.set_yscale("log")
    _finish(axes)
    if len(names) > 1:
        fig.legend(loc="outside upper right", ncols=3)
    return fig


def vae_losses(history, split="both", references=None):
    """V's loss, its two terms apart: summed squared error, and KL divergence.

    `history` is V's manifest's; `split` is "train", "validation" or "both"; `references` are
    dashed levels of the squared error, {label: value}. The error is summed over 64 × 64 × 3
    values in [0, 1], a frame; the KL is nats a frame.
    """
    splits = ("train", "validation") if split == "both" else (split,)
    fig, ((left, right),) = panels(1, 2, 2.9)
    for axes, term, title, unit in (
        (left, "reconstruction", "Reconstruction", "summed squared error a frame"),
        (right, "kl", "Information kept", "KL divergence (nats a frame)"),
    ):
        for part in splits:
            color = COLORS["V"] if part == "train" else INK
            _curve(axes, history, f"{part}_{term}", _SPLITS[part], color, "update")
        axes.set(xlabel="updates", ylabel=unit, title=title)
        _finish(axes)
    # The first updates, from hundreds down, would leave the rest a flat line.
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    left.yaxis.set_major_formatter("{x:g}")
    left.minorticks_off()
    right.set_ylim(bottom=0)
    _levels(left, references or {})
    if len(splits) > 1:
        fig.legend(*left.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return fig


def mdn_rnn_learning_curves(histories, baselines=None, key="nll", ylabel=None):
    """M's learning curves, one colour a model, against levels that a reader can interpret.

    `histories` is {model: history} with `train_<key>` and `validation_<key>` in its entries;
    `baselines` is {label: value}, drawn as dashed levels. Training is a thin line, validation,
    on held-out episodes, a thick one with marks.
    """
    fig = figure(3.4)
    axes = fig.subplots()
    for model, history in histories.items():
        color = model_color(model)
        _curve(axes, history, f"train_{key}", None, tint(color, 0.55), "update", thin=True)
        _curve(axes, history, f"validation_{key}", model_label(model), color, "update")
    # The axis shows where the curves settle, and the baselines within reach; not the first drop.
    settled = [
        entry[name]
        for history in histories.values()
        for name in (f"train_{key}", f"validation_{key}")
        for entry in history[len(history) // 6 :]
        if entry.get(name) is not None
    ]
    if settled:
        values = [*settled, *(baselines or {}).values()]
        margin = 0.06 * (max(values) - min(values)) or 1.0
        axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.set(xlabel="updates", ylabel=ylabel or "negative log-likelihood (nats a step)")
    _levels(axes, baselines or {})
    _finish(axes)
    axes.plot([], [], color=tint(MUTED, 0.55), linewidth=1.1, label="thin: training")
    axes.plot([], [], "o-", color=MUTED, markersize=3.4, label="marked: held-out episodes")
    fig.legend(loc="outside upper left", ncols=3)
    return fig


def likelihood_gains(nll, control, gains):
    """What each M gains over a control: one row a model, a dot a training, mean and 95 % interval.

    `nll` is {model: one value a training} in nats a step (`awm.baselines.compare_attentions`);
    `gains` are the `awm.statistics.Estimate`s of those that have one. Negative is better.
    """
    models = [model for model in nll if model != control]
    zero = np.mean(nll[control])
    fig = figure(0.8 + 0.36 * len(models))
    axes = fig.subplots()
    for row, model in enumerate(models):
        each = np.asarray(nll[model]) - zero
        if model in gains:
            ends = [gains[model].low, gains[model].high]
            axes.plot(ends, [row, row], color=INK, linewidth=2.2)
        axes.plot(each, [row] * len(each), "o", color=model_color(model), markersize=6,
                  markeredgecolor="white", zorder=4)  # fmt: skip
        axes.plot(each.mean(), row, "D", color=INK, markersize=5, zorder=5,
                  markeredgecolor="white", markeredgewidth=0.8)  # fmt: skip
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(models)), [model_label(model) for model in models])
    axes.set(
        ylim=(len(models) - 0.5, -0.5),
        xlabel=f"negative log-likelihood on test episodes, less the mean of {model_label(control)} "
        "(nats a step)",
    )
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK)
    return fig


def probes(found):
    """What linear probes find: `found` is {model: {target: R²}}, a group of bars a target."""
    targets = list(next(iter(found.values())))
    width = 0.8 / len(found)
    fig = figure(2.9)
    axes = fig.subplots()
    for n, (model, scores) in enumerate(found.items()):
        heights = [max(scores[target], 0) for target in targets]
        places = np.arange(len(targets)) + (n - (len(found) - 1) / 2) * width
        axes.bar(places, heights, width=0.9 * width, color=model_color(model),
                 label=model_label(model))  # fmt: skip
    axes.set_xticks(range(len(targets)), [target.replace("_", " ") for target in targets])
    axes.set(ylim=(0, 1), ylabel="R² on test episodes")
    axes.grid(False, axis="x")
    fig.legend(loc="outside upper left", ncols=3)
    return fig


def kl_per_dimension(kl, threshold=0.1):
    """How much each latent says, sorted: `kl` [z_size], nats, mean over frames.

    Latents above `threshold` nats are informative; the others are the prior's noise.
    """
    kl = np.asarray(kl, float)
    order = np.argsort(-kl)
    informative = kl[order] > threshold
    fig = figure(2.6)
    axes = fig.subplots()
    axes.bar(
        range(len(kl)), kl[order], width=0.78,
        color=np.where(informative, COLORS["V"], FAINT),
    )  # fmt: skip
    axes.axhline(threshold, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"informative: more than {threshold:g} nats", (len(kl) - 0.4, threshold), (0, 3),
        textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=MUTED,
    )  # fmt: skip
    axes.text(0.99, 0.97, f"{informative.sum()} of {len(kl)} latents carry {kl.sum():.1f} nats"
              if informative.all() else
              f"{informative.sum()} of {len(kl)} latents are informative and carry "
              f"{kl[order][informative].sum():.1f} of {kl.sum():.1f} nats",
              transform=axes.transAxes, ha="right", va="top")  # fmt: skip
    axes.set_xticks(range(len(kl)), order, fontsize=6.5)
    axes.set(xlabel="latent", ylabel="KL divergence (nats)", xlim=(-0.7, len(kl) - 0.3))
    axes.grid(False, axis="x")
    return fig


def data_coverage(drivers):
    """What the rollouts cover, a row a driver, in small multiples.

    `drivers` is {driver: {"speed": [n] m/s, "steering": [n] in [-1, 1], "off_road": share of
    frames in [0, 1], "frames": count, ...}}; other arrays get a histogram, and other shares a
    bar, under their own names.
    """
    if not drivers:
        raise AwmError("There is no driver to show. Collect rollouts first: `awm collect`.")
    keys = list(dict.fromkeys(key for table in drivers.values() for key in table))
    arrays = [key for key in keys if any(np.ndim(table.get(key, 0)) for table in drivers.values())]
    shares = [key for key in keys if key not in arrays and key not in ("frames", "episodes")]
    widths = [*(1.0 for _ in arrays), *(0.62 for _ in shares)]
    fig, grid = panels(
        len(drivers), len(widths), 0.62 + 0.82 * len(drivers), gridspec_kw={"width_ratios": widths}
    )
    edges = {}
    for key in arrays:
        values = np.concatenate([np.ravel(table.get(key, ())) for table in drivers.values()])
        low, high = (values.min(), values.max()) if len(values) else (0, 1)
        if key in _RANGES:
            low, high = _RANGES[key]
        elif low >= 0:
            low, high = 0, np.quantile(values, 0.999)
        edges[key] = np.linspace(low, high if high > low else low + 1, 41)
    for i, (driver, table) in enumerate(drivers.items()):
        last = i == len(drivers) - 1
        for axes, key in zip(grid[i], arrays, strict=False):
            values = np.clip(np.ravel(table.get(key, ())), edges[key][0], edges[key][-1])
            weights = np.full(len(values), 1 / max(1, len(values)))
            axes.hist(values, edges[key], weights=weights, color=tint(BLUE, 0.75))
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_xlim(edges[key][0], edges[key][-1])
            if len(values):
                axes.axvline(values.mean(), color=INK, linewidth=1)
            _small(axes, last, _AXES.get(key, key.replace("_", " ")))
        for axes, key in zip(grid[i, len(arrays) :], shares, strict=True):
            share = table.get(key, 0.0)
            axes.barh([0], [1], color=tint(GREY, 0.15), height=0.5)
            axes.barh([0], [share], color=tint(VERMILION, 0.85), height=0.5)
            axes.text(0, 0.42, f"{share:.1%}" if share < 0.1 else f"{share:.0%}", fontsize=7.5,
                      va="bottom", color=INK)  # fmt: skip
            axes.set(xlim=(0, 1), ylim=(-0.7, 1.3), yticks=[])
            axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
            axes.set_xticks([0, 0.5, 1])
            axes.grid(False)
            axes.spines["left"].set_visible(False)
            _small(axes, last, _AXES.get(key, key.replace("_", " ")))
        count = f"\n{table['frames']:,} frames" if "frames" in table else ""
        grid[i, 0].set_ylabel(
            f"{driver}{count}", rotation=0, ha="right", va="center", fontsize=7.5, labelpad=8
        )
    return fig


def tracks(lines, titles=None, columns=5):
    """Race tracks from above, all at one scale: `lines` is a list of centre lines [n, 2], metres.

    The dot is the start; the road is as wide as it is.
    """
    lines = [np.asarray(line, float) for line in lines]
    columns = min(columns, len(lines))
    rows = -(-len(lines) // columns)
    side = WIDTH / columns
    fig, grid = panels(rows, columns, rows * side * (0.98 if titles is None else 1.08))
    centres = [(line.min(axis=0) + line.max(axis=0)) / 2 for line in lines]
    reach = 1.08 * max(np.abs(line - c).max() for line, c in zip(lines, centres, strict=True))
    for i, axes in enumerate(grid.flat):
        bare(axes)
        if i >= len(lines):
            continue
        loop = np.concatenate([lines[i], lines[i][:1]]) - centres[i]
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        # Points of line width for the road's metres.
        points = 2 * ROAD / (2 * reach) * side * 72 * 0.94
        axes.plot(*loop.T, color=tint(INK, 0.55), linewidth=max(1.2, points))
        axes.plot(*loop[0], "o", color=VERMILION, markersize=4)
        if titles:
            axes.set_title(titles[i], fontsize=7.5, weight="normal", loc="center", pad=2)
    scale = 100 if reach > 120 else 50
    corner = grid.flat[min(len(lines), rows * columns) - 1]
    start, level = reach * 0.95 - scale, -reach * 0.97
    corner.plot([start, start + scale], [level, level], color=INK, linewidth=1.5)
    corner.text(start + scale / 2, level + 0.03 * reach, f"{scale} m", ha="center", va="bottom",
                fontsize=7)  # fmt: skip
    return fig


def controller_training(logs, x="steps", solved=SOLVED):
    """Evolution: `logs` is {model: generations as in log.jsonl}, against real steps.

    The thick line with marks is the agent, the distribution's mean, on validation tracks; the
    thin line is the population's average and the band its best and worst, on the generation's.
    Where a model was evolved with several seeds ("none", "none-seed1", ...), every model gets a
    panel with the agents of its seeds and their median.
    """
    if not logs or not all(logs.values()):
        raise AwmError("There is no evolution to show. Evolve a controller first: `awm evolve`.")
    seeds = _by_seed(logs)
    if any(len(group) > 1 for group in seeds.values()):
        return _evolution_over_seeds(seeds, x, solved)
    single = len(logs) == 1
    fig = figure(3.6)
    axes = fig.subplots()
    largest = max(log[-1][x] for log in logs.values())
    unit, word = (1e6, "million ") if x == "steps" and largest >= 5e5 else (1, "")
    for model, log in logs.items():
        color = model_color(model)
        # The last entry may only validate the final mean: no population was drawn for it.
        drawn = [entry for entry in log if "mean" in entry]
        at = _numbers(drawn, x) / unit
        if single:
            axes.fill_between(
                at, _numbers(drawn, "worst"), _numbers(drawn, "best"), linewidth=0,
                color=tint(color, 0.13), label="population, best to worst",
            )  # fmt: skip
        axes.plot(at, _numbers(drawn, "mean"), color=tint(color, 0.6), linewidth=1,
                  label="population's average" if single else None)  # fmt: skip
        checked = [entry for entry in log if entry.get("validation") is not None]
        name = "the agent (distribution's mean), validation tracks" if single else None
        axes.plot(_numbers(checked, x) / unit, _numbers(checked, "validation"), "o-", color=color,
                  markersize=4, markeredgecolor="white", markeredgewidth=0.7,
                  label=name or model_label(model))  # fmt: skip
    if solved is not None:
        _levels(axes, {f"solved: {solved}": solved})
    names = {"steps": f"{word}steps on the track", "generation": "generation", "seconds": "seconds"}
    axes.set(xlabel=names.get(x, x), ylabel="return an episode")
    _finish(axes)
    if not single:
        axes.plot([], [], color=tint(MUTED, 0.55), linewidth=1, label="thin: population's average")
    fig.legend(loc="outside upper left", ncols=1 if single else 3)
    return fig


def dream_and_reality(logs):
    """Evolution in a dream: what a generation's mean earns in the dream, and on the real track.

    `logs` are those of `awm.evolution.evolve_in_dream`, one for each seed: a thin line each, and a
    thick one for their median.
    """
    runs = [[entry for entry in log if entry.get("real") is not None] for log in logs]
    if not runs or not all(runs):
        raise AwmError("There is no evolution in a dream to show. Run notebook 06.")
    fig = figure(3.2)
    axes = fig.subplots()
    common = min(len(run) for run in runs)
    styles = {
        "validation": ("in the dream", VIOLET, "o--"),
        "real": ("on the real track", INK, "o-"),
    }
    for key, (label, color, line) in styles.items():
        for run in runs if len(runs) > 1 else ():
            axes.plot(_numbers(run, "generation"), _numbers(run, key), line[1:], linewidth=0.9,
                      color=tint(color, 0.4))  # fmt: skip
        middle = np.median([_numbers(run[:common], key) for run in runs], axis=0)
        axes.plot(_numbers(runs[0][:common], "generation"), middle, line, color=color, label=label)
    axes.set(xlabel="generation", ylabel="return an episode")
    _finish(axes)
    fig.legend(loc="outside upper left", ncols=2)
    return fig


def dream_errors(found):
    """Errors of dreams against the steps since M was left alone: of z, frames and return.

    `found` is what `awm.dream.error_by_horizon` returns: a line for every M's mean and, of
    several trainings, a band for its interval; dashed the guess without a model.
    """
    titles = {
        "z": ("squared error of z", "nothing moves"),
        "frame": ("squared error of the frame", "nothing moves"),
        "return": ("error of the return (points)", "the pace stays"),
    }
    fig, (row,) = panels(1, 3, 2.9)
    at = found["steps"]
    for axes, (kind, (title, guess)) in zip(row, titles.items(), strict=True):
        dashed = axes.plot(at, found["still"][kind], "--", color=MUTED, label=guess)
        for model, curves in found["models"].items():
            color = model_color(model)
            axes.plot(
                at, curves["mean"][kind], color=color, label=model_label(model), linewidth=1.2
            )
            if "low" in curves:
                axes.fill_between(at, curves["low"][kind], curves["high"][kind], color=color,
                                  alpha=0.15, linewidth=0)  # fmt: skip
        axes.set(title=title, xlabel="steps alone", ylim=(0, None))
        _finish(axes)
        # The guess is another in each panel; the colours are the same in all.
        axes.legend(handles=dashed, loc="best")
    handles, labels = row[0].get_legend_handles_labels()
    fig.legend(handles[1:], labels[1:], loc="outside upper left", ncols=3)
    return fig


def dream_rounds(rounds):
    """Iterative training: dreamt and real return against the real steps that were recorded.

    `rounds` is what `awm.iteration.iterate` returns.
    """
    fig = figure(3.2)
    axes = fig.subplots()
    at = _numbers(rounds, "real_steps") / 1000
    axes.plot(at, _numbers(rounds, "dreamt"), "o--", color=VIOLET, label="in the dream")
    axes.plot(at, _numbers(rounds, "real"), "o-", color=INK, label="on the real track")
    for entry, place in zip(rounds, at, strict=True):
        axes.annotate(f"round {entry['round']}", (place, entry["real"]), (0, -11), ha="center",
                      textcoords="offset points", fontsize=7, color=MUTED)  # fmt: skip
    axes.margins(y=0.12)
    axes.set(xlabel="real steps recorded, thousands", ylabel="return an episode")
    _finish(axes)
    axes.margins(x=0.08)
    fig.legend(loc="outside upper left", ncols=2)
    return fig


def routes(found, solved=SOLVED):
    """Real return against real steps and against core-hours, for several ways to a controller.

    `found` is {label: [points of `awm.results.progress`, a list for each seed]}. A thin line for
    each seed, the thick one of the same colour for the seed with the median last return.
    """
    found = {label: [run for run in runs if run] for label, runs in found.items()}
    if not any(found.values()):
        raise AwmError("There is no search to compare. Run notebooks 05 and 06.")
    fig = figure(3.6)
    left, right = fig.subplots(1, 2, sharey=True)
    colors = dict(zip(found, cycle((BLUE, VIOLET, ORANGE, GREEN, VERMILION)), strict=False))
    for label, runs in found.items():
        order = sorted(runs, key=lambda run: run[-1]["real"])
        for n, run in enumerate(order):
            thick = n == len(order) // 2
            style = {"color": colors[label] if thick else tint(colors[label], 0.4),
                     "linewidth": 1.8 if thick else 0.9, "markersize": 4 if thick else 2,
                     "zorder": 3 if thick else 2, "label": label if thick else None}  # fmt: skip
            left.plot(_numbers(run, "real_steps") / 1e6, _numbers(run, "real"), "o-", **style)
            style["label"] = None
            right.plot(_numbers(run, "core_hours"), _numbers(run, "real"), "o-", **style)
    for axes, unit in ((left, "real steps, millions"), (right, "core-hours")):
        _finish(axes)
        axes.set(xlabel=unit)
        axes.margins(x=0.04)
        axes.axhline(solved, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    left.set(ylabel="return an episode, validation tracks")
    fig.legend(loc="outside upper left", ncols=2)
    return fig


def dream_temperatures(logs):
    """Dreamt and real return of the chosen controllers against the dream's temperature.

    `logs` is {temperature: [the log of each seed]}. A dot each; lines join the medians.
    """
    if not logs:
        raise AwmError("There is no evolution in a dream to show. Run notebook 06.")
    fig = figure(3.2)
    axes = fig.subplots()
    found = {"validation": {}, "real": {}}
    for temperature, log in ((t, log) for t in logs for log in logs[t]):
        checked = [entry for entry in log if entry.get("real") is not None]
        chosen = max(checked, key=lambda entry: entry["validation"])
        for key, values in found.items():
            values.setdefault(temperature, []).append(chosen[key])
    styles = {
        "validation": ("in the dream", VIOLET, "--"),
        "real": ("on the real track", INK, "-"),
    }
    for key, values in found.items():
        label, color, line = styles[key]
        order = sorted(values)
        axes.plot(order, [np.median(values[t]) for t in order], line, color=color, label=label)
        for temperature in order:
            count = len(values[temperature])
            axes.plot([temperature] * count, values[temperature], "o", color=color, markersize=4)
    axes.set(xlabel="temperature of the dream", ylabel="return an episode")
    _finish(axes)
    fig.legend(loc="outside upper left", ncols=2)
    return fig


def _by_seed(logs) -> dict[str, list]:
    """Logs of the same search with other seeds together, under the name without the seed."""
    groups = {}
    for name, log in logs.items():
        groups.setdefault(str(Name.parse(name).family), []).append(log)
    return groups


def _evolution_over_seeds(groups, x, solved):
    """A panel a model: a thin line for each seed, the median, and plain M's median to compare."""
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    fig = figure(0.9 + 1.9 * rows)
    axes = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    largest = max(log[-1][x] for group in groups.values() for log in group)
    unit, word = (1e6, "million ") if x == "steps" and largest >= 5e5 else (1, "")
    names = {"steps": f"{word}steps on the track", "generation": "generation", "seconds": "seconds"}
    dotted, dashed = (0, (1, 1.5)), (0, (4, 3))
    medians, runs = {}, {}
    for name, group in groups.items():
        curves = runs[name] = []
        for log in group:
            checked = [entry for entry in log if entry.get("validation") is not None]
            curves.append((_numbers(checked, x) / unit, _numbers(checked, "validation")))
        # Episodes differ in length, so seeds are checked at other steps: read off between them,
        # only where all have been.
        start, end = max(at[0] for at, _ in curves), min(at[-1] for at, _ in curves)
        grid = np.linspace(start, end, 60)
        values = [np.interp(grid, at, score) for at, score in curves]
        medians[name] = grid, np.median(values, axis=0)
    for n, (name, place) in enumerate(zip(groups, axes.flat, strict=False)):
        color = model_color(name)
        if "none" in medians and name != "none":
            place.plot(*medians["none"], color=INK, linewidth=1, linestyle=dotted)
        for at, scores in runs[name]:
            place.plot(at, scores, color=tint(color, 0.45), linewidth=0.9)
        place.plot(*medians[name], color=color)
        if solved is not None:
            place.axhline(solved, color=MUTED, linewidth=1, linestyle=dashed, zorder=1)
        place.set_title(f"{model_label(name)}, {len(runs[name])} seeds", fontsize=8)
        if n >= len(groups) - columns:
            place.set_xlabel(names.get(x, x))
        if n % columns == 0:
            place.set_ylabel("return, validation")
        _finish(place)
        place.xaxis.set_major_locator(MaxNLocator(4))
    for place in list(axes.flat)[len(groups) :]:
        place.set_axis_off()
    keys = [("median of the seeds", {"color": MUTED})]
    keys.append(("each seed", {"color": tint(MUTED, 0.45), "linewidth": 0.9}))
    if "none" in medians:
        keys.append(("plain M's median", {"color": INK, "linewidth": 1, "linestyle": dotted}))
    if solved is not None:
        keys.append((f"solved: {solved}", {"color": MUTED, "linewidth": 1, "linestyle": dashed}))
    for label, style in keys:
        axes.flat[0].plot([], [], label=label, **style)
    fig.legend(loc="outside upper left", ncols=4)
    return fig


def returns_comparison(evaluations, published=None, solved=SOLVED):
    """Every return of every controller, with its mean and 95 % confidence interval.

    `evaluations` are what `awm.evaluation.evaluate` writes; `published` is {label: (mean,
    deviation)}, drawn below as reported by their authors, on CarRacing-v0. Controllers of several
    seeds ("none", "none-seed1", ...) share a row, with a mean and an interval each.
    """
    published = published or {}
    if not evaluations:
        raise AwmError("There is nothing to compare. Evaluate a controller: `awm evaluate`.")
    several = len({evaluation.get("frames", "fast") for evaluation in evaluations}) > 1
    groups: dict[tuple, list] = {}
    for evaluation in evaluations:
        name = str(Name.parse(evaluation["controller"]).family)
        groups.setdefault((name, evaluation.get("frames")), []).append(evaluation)
    rows = len(groups) + len(published)
    fig = figure(0.75 + 0.46 * rows)
    axes = fig.subplots()
    labels = []
    for row, ((name, frames), group) in enumerate(groups.items()):
        returns = np.concatenate([np.asarray(e["returns"], float) for e in group])
        color = model_color(name)
        # The same scatter every time, so that an unchanged result is an unchanged picture.
        jitter = np.random.default_rng(row).uniform(-0.22, 0.22, len(returns))
        axes.scatter(returns, row + jitter, s=9, color=tint(color, 0.6), linewidth=0, alpha=0.75)
        median = np.median(returns)
        axes.plot([median, median], [row - 0.3, row + 0.3], color=color, linewidth=1.6)
        apart = min(0.2, 0.6 / len(group))
        places = row + apart * (np.arange(len(group)) - (len(group) - 1) / 2)
        for place, evaluation in zip(places, group, strict=True):
            mean = float(np.mean(evaluation["returns"]))
            low, high = evaluation.get("ci95") or (mean, mean)
            axes.plot([low, high], [place, place], color=INK, linewidth=2.2, zorder=4)
            axes.plot(mean, place, "D", color=INK, markersize=5, zorder=5,
                      markeredgecolor="white", markeredgewidth=0.8)  # fmt: skip
        seeds = f"{len(group)} seeds × " if len(group) > 1 else ""
        of = f", {frames} frames" if several and frames else ""
        labels.append(f"{model_label(name)}\n{seeds}{len(returns) // len(group)} episodes{of}")
        _beside(axes, row, returns.mean(), returns.std())
    for row, (name, (mean, deviation)) in enumerate(published.items(), len(groups)):
        axes.plot([mean - deviation, mean + deviation], [row, row], color=FAINT, linewidth=2.2)
        axes.plot(mean, row, "D", color="white", markeredgecolor=MUTED, markersize=5)
        labels.append(f"{name}\npublished")
        _beside(axes, row, mean, deviation)
    if published:
        axes.axhline(len(groups) - 0.5, color=FAINT, linewidth=0.8)
    if solved is not None:
        axes.axvline(solved, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(f"solved: {solved}", (solved, 1), (0, 3), fontsize=7, ha="center",
                      va="bottom", xycoords=("data", "axes fraction"),
                      textcoords="offset points", color=MUTED)  # fmt: skip
    axes.set_yticks(range(rows), labels, fontsize=7.5)
    axes.set(ylim=(-0.6, rows - 0.4), xlabel="return an episode")
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.annotate("diamond: mean, 95 % interval · bar: median · dots: episodes", (0, 1), (0, 3),
                  xycoords="axes fraction", textcoords="offset points", fontsize=7,
                  va="bottom", color=MUTED)  # fmt: skip
    return fig


_SPLITS = {"train": "training", "validation": "held-out episodes"}
_AXES = {
    "speed": "speed (m/s)",
    "steering": "steering (left −1, right 1)",
    "gas": "gas",
    "brake": "brake",
    "off_road": "frames off the road",
    "reward": "reward a step",
    "return": "return an episode",
}
_RANGES = {"steering": (-1, 1), "gas": (0, 1), "brake": (0, 1)}


def _numbers(history, key) -> np.ndarray:
    return np.array([entry[key] for entry in history], float)


def _curve(axes, history, key, name, color, x, thin=None) -> None:
    """One line of a history: what is measured now and then gets marks."""
    entries = [entry for entry in history if entry.get(key) is not None]
    at, values = _numbers(entries, x), _numbers(entries, key)
    validation = key.startswith("validation") or "_validation" in key
    thin = not validation if thin is None else thin
    if not validation and len(values) > 200:
        # Hundreds of noisy updates: the eye wants their trend, the reader may doubt it.
        axes.plot(at, values, color=tint(color, 0.3), linewidth=0.6)
        window = len(values) // 60
        kernel = np.ones(window) / window
        padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
        values = np.convolve(padded, kernel, mode="valid")
    marks = {"marker": "o", "markersize": 3.4, "markevery": max(1, len(values) // 25)}
    axes.plot(at, values, color=color, label=name, linewidth=1.1 if thin else 1.8,
              **(marks if validation else {}))  # fmt: skip


def _levels(axes, levels) -> None:
    """Dashed levels with their names above them, side by side so that close ones stay legible."""
    for n, (label, value) in enumerate(sorted(levels.items(), key=lambda item: item[1])):
        axes.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            label, (1 - 0.18 * (n % 3), value), (-2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=7.2, ha="right", va="bottom", color=MUTED,
        )  # fmt: skip


def _finish(axes) -> None:
    axes.margins(x=0.02)
    axes.grid(False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _small(axes, last: bool, label: str) -> None:
    """Ticks and label of a small multiple: only the last row has them."""
    axes.tick_params(axis="x", labelsize=7, labelbottom=last)
    if last:
        axes.set_xlabel(label, fontsize=7.5)


def _beside(axes, row: float, mean: float, deviation: float) -> None:
    """Mean and standard deviation, to the right of a row."""
    text = f"{mean:.0f} ± {deviation:.0f}".replace("-", "−")
    axes.annotate(text, (1, row), (6, 0), xycoords=("axes fraction", "data"), va="center",
                  textcoords="offset points", fontsize=8, annotation_clip=False)  # fmt: skip
