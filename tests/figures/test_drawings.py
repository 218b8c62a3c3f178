"""awm.figures: every drawing on synthetic data."""

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from synthetic import road_frames

from awm import figures
from awm.errors import AwmError
from awm.figures import curves, pictures, timeline
from awm.figures.gallery import COLUMN
from awm.ids import SEEN, Agent, Memory

PLAIN, SPATIAL, V = Memory(), Memory("spatial"), Memory("V")


def history(updates=40):
    """A falling loss and a rising one; every fifth update is validated."""
    entries = []
    for n in range(1, updates + 1):
        entry = {"update": 10 * n, "train_nll": 30 + 20 / n, "train_reconstruction": 300 / n + 15}
        entry["train_kl"] = 20.0 + n / 10
        if n % 5 == 0:
            entry |= {key.replace("train", "validation"): 1 + entry[key] for key in entry}
        entries.append(entry)
    return entries


def generations(lost=0.0):
    """A search whose last entry only validates the final mean."""
    entries = [
        {"generation": n, "best": 100.0 * n, "mean": 50.0 * n, "worst": -20.0} for n in range(9)
    ] + [{"generation": 9}]
    for n, entry in enumerate(entries):
        checked = 90.0 * n - lost if n % 3 == 0 else None
        entry |= {"steps": 60_000 * (n + 1), "seconds": 10 * n, "validation": checked}
    return entries


def dreamt_generations():
    return [{**e, "real": e["validation"] and e["validation"] - 200} for e in generations()]


def route(before, pace):
    return [
        {"real": 100.0 * n, "real_steps": int(1e6 * (before + pace * n)), "core_hours": 1 + n / 5}
        for n in range(5)
    ]


def evaluation(agent, frames="fast", episodes=16):
    returns = np.random.default_rng(1).normal(800, 90, episodes).tolist()
    interval = [770.0, 830.0] if episodes > 1 else None
    return {"agent": str(agent), "frames": frames, "returns": returns, "ci95": interval}


def lap(stops):
    """A lap that earns a tile at every step but for the last ones."""
    frames = road_frames(6)
    rewards = np.where(np.arange(len(frames)) <= stops, 3.0, -0.1)
    return SimpleNamespace(frames=frames, rewards=rewards, path=LOOP[:6], road=LOOP)


def a_chain(real=100.0):
    rounds = range(4)
    return [
        {"round": n, "real_steps": 90_000 * (n + 1), "dreamt": 900.0, "real": real + n}
        for n in rounds
    ]


ANGLE = np.linspace(0, 2 * np.pi, 80, endpoint=False)
LOOP = 150 * np.stack([np.cos(ANGLE), 0.7 * np.sin(ANGLE)], axis=1)
RNG = np.random.default_rng(0)
ROAD = road_frames(6)
CURVES = {kind: [1.0, 2.0] for kind in ("z", "frame", "return")}
ERRORS = {
    "steps": [1, 2],
    "persistence": CURVES,
    "models": {
        "plain": {"mean": CURVES},
        "feature": dict.fromkeys(("mean", "low", "high"), CURVES),
    },
}
NLL = {"plain": [30.4, 30.5], "spatial": [30.2, 30.3], "wide": [30.3, 30.4]}
COVERAGE = {
    name: {"speed": RNG.uniform(0, 60, 500), "steering": RNG.uniform(-1, 1, 500),
           "off_road": 0.2, "frames": 500}
    for name in ("random", "scripted")
}  # fmt: skip
SEEDS = {
    Agent(): generations(),
    Agent(Memory(seed=1), seed=1): generations(),
    Agent(V): generations(),
}

DRAWINGS = {
    "mdp": figures.mdp,
    "world_model": figures.world_model,
    "rollout": figures.rollout,
    "dream_training": figures.dream_training,
    "vae_losses": lambda: figures.vae_losses(history(), "validation"),
    "vae_training": lambda: figures.vae_losses(history(), "train"),
    "mdn_rnn": lambda: figures.mdn_rnn_learning_curves(
        {PLAIN: history(400), SPATIAL: history()}, {"persistence": 41.0}
    ),
    "frame_grid": lambda: figures.frame_grid([ROAD, ROAD[:4]], ["real", "dreamt"]),
    "reconstruction_pairs": lambda: figures.reconstruction_pairs(ROAD, ROAD[::-1]),
    "kl": lambda: figures.kl_per_dimension(RNG.exponential(0.3, 32), threshold=0.1),
    "latent_traversal": lambda: figures.latent_traversal(
        np.stack([ROAD, ROAD]), [3, 9], np.linspace(-3, 3, 6), [2.0, 1.0]
    ),
    "data_coverage": lambda: figures.data_coverage(COVERAGE),
    "tracks": lambda: figures.tracks([LOOP] * 7),
    "one_track": lambda: figures.tracks([LOOP]),
    "laps": lambda: figures.laps([lap(3), lap(0)], ["good", "bad"]),
    "dream_and_reality": lambda: figures.dream_and_reality([dreamt_generations()] * 2),
    "dream_errors": lambda: figures.dream_errors(ERRORS),
    "dream_rounds": lambda: figures.dream_rounds([a_chain()]),
    "chains": lambda: figures.dream_rounds([a_chain(), a_chain(300.0), a_chain(600.0)], 128),
    "short_dreams": lambda: figures.dream_and_reality([dreamt_generations()] * 2, 128),
    "altered_worlds": lambda: figures.altered_worlds(
        {"as it is": ROAD[0], "bars": ROAD[1]},
        {Agent(): {"as it is": [900.0, 910.0], "bars": [100.0, 300.0]}},
    ),
    "routes": lambda: figures.routes(
        {"from zero": [route(0.2, 1.0), route(0.2, 1.1)], "in dreams": [route(0.2, 0)], "": [[]]}
    ),
    "dream_temperatures": lambda: figures.dream_temperatures(
        {1.0: [dreamt_generations()] * 2, 0.5: [dreamt_generations()]}
    ),
    "likelihood_gains": lambda: figures.likelihood_gains(
        NLL, "wide", {"spatial": SimpleNamespace(low=-0.3, high=0.1)}
    ),
    "probes": lambda: figures.probes(
        {V: {"speed": 0.9, "angle": -1}, PLAIN: {"speed": 1, "angle": 0}}
    ),
    "controller_training": lambda: figures.controller_training({Agent(): generations()}),
    "controllers_training": lambda: figures.controller_training(
        {Agent(): generations(), Agent(V): generations()}, x="generation"
    ),
    "controllers_of_seeds": lambda: figures.controller_training(SEEDS),
    "first_generation": lambda: figures.controller_training({Agent(): generations()[:1]}),
    "returns": lambda: figures.returns_comparison(
        [evaluation(Agent()), evaluation(Agent(), "reference")], {"World Models": (906, 21)}
    ),
    "one_return": lambda: figures.returns_comparison([evaluation(Agent(), episodes=1)]),
    "attention_over_frames": lambda: figures.attention_over_frame(ROAD, RNG.random((6, 6, 6))),
    "attention_over_entries": lambda: figures.attention_over_entries(RNG.random((50, 35)) / 35),
    "attention_over_time": lambda: figures.attention_over_time(RNG.random((50, 32)) / 32),
}


def test_a_notebook_shows_a_drawing_as_wide_as_the_column():
    png, shown = DRAWINGS["kl"]()._repr_png_()
    assert png.startswith(b"\x89PNG") and shown["width"] == COLUMN


@pytest.mark.parametrize("name", ["mdp", "world_model", "rollout", "dream_training"])
def test_a_diagrams_words_stay_inside_and_apart(name):
    figure = getattr(figures, name)()
    figure.draw_without_rendering()
    sheet = figure.bbox
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text().strip()]
    for box in boxes:
        assert sheet.x0 <= box.x0 and box.x1 <= sheet.x1, "clipped"
        assert sheet.y0 <= box.y0 and box.y1 <= sheet.y1, "clipped"
    for i, box in enumerate(boxes):
        for other in boxes[i + 1 :]:
            overlap = box.intersection(box, other)
            # Extents include the leading above and below the letters.
            assert overlap is None or min(overlap.width, overlap.height) < 3


def test_models_keep_their_colours():
    assert set(figures.COLORS) == set(SEEN)
    assert len(set(figures.COLORS.values())) == len(SEEN)
    for who in ("spatial", SPATIAL, Agent(SPATIAL, seed=2).refined()):
        assert figures.model_color(who) == figures.COLORS["spatial"]
        assert figures.model_label(who).startswith("M, spatial attention")
    assert figures.model_color("somebody's M").startswith("#")
    assert figures.model_label("somebody's M") == "somebody's M"


def test_agents_that_differ_in_seed_alone_share_a_panel_and_a_row():
    figure = figures.controller_training(SEEDS)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["plain M, 2 seeds", "V alone, 1 seed"]
    figure = figures.returns_comparison([evaluation(agent) for agent in SEEDS])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["plain M\n2 seeds × 16 episodes", "V alone\n16 episodes"]


def test_each_panel_of_dream_errors_names_its_own_baseline():
    figure = figures.dream_errors(ERRORS)
    guesses = [[t.get_text() for t in axes.get_legend().get_texts()] for axes in figure.axes]
    assert guesses == [["no change"], ["no change"], ["same rate"]]
    models = [text.get_text() for text in figure.legends[0].get_texts()]
    assert models == ["plain M", "M, feature attention"]
    # A band only where there are several trainings.
    assert [len(axes.collections) for axes in figure.axes] == [1, 1, 1]


def test_seeds_have_a_median_where_all_of_them_have_been():
    slow, fast = (np.array([0.0, 1, 4]), np.array([0.0, 10, 40])), ([1.0, 2.0], [30.0, 40.0])
    at, median = curves._median([slow, fast, (np.zeros(0), np.zeros(0))])
    assert at.tolist() == [1, 2]
    assert median.tolist() == [20, 30]


def test_attention_lights_the_place_that_is_attended_to():
    frame = np.full((64, 64, 3), (100, 200, 100), np.uint8)
    weights = np.zeros((6, 6))
    weights[1, 4] = 1.0  # the field of view of that place is centred at (18.5, 42.5)
    lit = figures.overlay_attention(frame, weights, scale=1)
    bright = lit.sum(axis=-1)
    row, column = np.argwhere(bright == bright.max()).mean(axis=0)
    assert abs(row - 18.5) <= 1.5 and abs(column - 42.5) <= 1.5
    assert bright[50, 10] < bright.max() / 2
    even = figures.overlay_attention(frame, np.full((6, 6), 1 / 36), scale=1)
    assert np.abs(even.astype(int) - frame).max() <= 1
    patches = np.zeros(49)
    patches[6 * 7 + 3] = 1.0  # of a map of 7 × 7, the middle of the last row
    lit = figures.overlay_attention(frame, patches, scale=1).sum(axis=-1)
    row, column = np.argwhere(lit == lit.max()).mean(axis=0)
    assert row > 52 and abs(column - 31.5) <= 1
    with pytest.raises(AwmError, match="n × n"):
        figures.overlay_attention(frame, np.ones(35))


def test_chains_are_thin_and_their_median_thick():
    fig = figures.dream_rounds([a_chain(), a_chain(300.0), a_chain(900.0)])
    (axes,) = fig.axes
    dreamt, real = axes.lines[:4], axes.lines[4:8]
    assert [line.get_ydata()[0] for line in dreamt] == [900, 900, 900, 900]
    assert [line.get_ydata()[0] for line in real] == [100, 300, 900, 300]
    assert real[3].get_linewidth() > real[0].get_linewidth()
    (alone,) = figures.dream_rounds([a_chain()]).axes
    assert len(alone.lines) == 2


def test_dreams_that_are_shorter_than_laps_have_a_panel_of_their_own():
    dream, track = figures.dream_rounds([a_chain()], 128).axes
    assert "128 steps" in dream.get_ylabel() and track.get_ylabel() == "return per episode"
    assert [text.get_text() for text in track.texts] == [f"round {n}" for n in range(4)]
    dots, other = figures.dream_temperatures({1.0: [dreamt_generations()] * 2}, 128).axes
    assert dots.lines[-1].get_ydata()[0] != other.lines[-1].get_ydata()[0]


def test_worlds_that_look_otherwise_stand_above_what_was_earned_in_them():
    worlds = {"as it is": ROAD[0], "bars": ROAD[1]}
    laps = {Agent(): {"as it is": [900.0, 910.0], "bars": [100.0, 300.0]}}
    fig = figures.altered_worlds(worlds, laps)
    assert [axes.get_title(loc="center") for axes in fig.axes[:2]] == list(worlds)
    assert [axes.get_xticklabels()[0].get_text() for axes in fig.axes[2:]] == ["905", "200"]


def test_trouble_begins_at_the_last_tile_before_the_longest_wait():
    begins = pictures.last_tile_before_trouble
    assert begins([3, -0.1, 3, -0.1, -0.1, -0.1, 3, -0.1]) == 2
    assert begins([3, 3, -0.1, -0.1, -0.1]) == 1
    assert begins([-0.1, -0.1]) == 0


def test_nothing_to_compare_is_said():
    for draw in (figures.returns_comparison, figures.controller_training, figures.data_coverage):
        with pytest.raises(AwmError, match="awm"):
            draw([])
    with pytest.raises(AwmError, match="notebook"):
        figures.dream_and_reality([generations()])
    with pytest.raises(AwmError, match="rows"):
        timeline.timeline([], 10)


def test_a_timeline_is_svg_that_names_its_rows_and_keeps_gaps():
    gaps = np.array([0.0, np.nan, 2.0, 4.0])
    line = timeline.Line("return < 5 & more", gaps, dots=True)
    rows = [timeline.Curves((line,), height=120), timeline.Weights("entries", np.eye(4))]
    svg = ElementTree.fromstring(timeline.timeline(rows, 4, "frame"))
    assert int(svg.get("height")) == timeline.height_of(rows)
    words = [text.text for text in svg.findall(".//{*}text")]
    assert {"return < 5 & more", "entries", "frame", "0", "4"} <= set(words)
    points = svg.find(".//{*}polyline").get("points").split()
    assert len(points) == 3
    assert float(points[1].split(",")[0]) == pytest.approx(timeline.x_of(2, 4), abs=0.06)
    bars = ElementTree.fromstring(timeline.bars([0.5, 0.25, 0.25], ["a", "", "c"], "#123456"))
    assert [round(float(bar.get("height"))) for bar in bars.findall(".//{*}rect")] == [108, 54, 54]
