"""awm.figures: every drawing on synthetic data, and how pictures are saved."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import synthetic
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from awm import config, figures, rollout
from awm.errors import AwmError
from awm.figures import gallery, pictures
from awm.statistics import Estimate


def vae_history(updates=40):
    history = []
    for n in range(1, updates + 1):
        entry = {
            "update": 10 * n,
            "train_reconstruction": 300 / n + 15,
            "train_kl": 20.0 + n / 10,
            "train_loss": 300 / n + 35,
        }
        if n % 5 == 0:
            names = ("reconstruction", "kl", "loss")
            entry |= {f"validation_{name}": entry[f"train_{name}"] + 1 for name in names}
        history.append(entry)
    return history


def mdn_history():
    return [
        {"update": n, "train_nll": 30 + 20 / n} | ({"validation_nll": 31.0} if n % 5 == 0 else {})
        for n in range(1, 30)
    ]


def generations():
    last = {"generation": 9, "sigma": 0.1, "steps": 600_000, "seconds": 95, "validation": 800.0}
    return [
        {
            "generation": n, "best": 100.0 * n, "mean": 50.0 * n, "worst": -20.0, "sigma": 0.1,
            "steps": 60_000 * (n + 1), "seconds": 10 * n,
            "validation": 90.0 * n if n % 3 == 0 else None,
        }
        for n in range(9)
    ] + [last]  # fmt: skip


def route(before, pace):
    return [
        {"real": 100.0 * n, "real_steps": int(1e6 * (before + pace * n)), "core_hours": 1 + n / 5}
        for n in range(5)
    ]


def dreamt_generations():
    return [
        {**entry, "real": entry["validation"] and entry["validation"] - 200}
        for entry in generations()
    ]


def dreamt_errors():
    def curves(*values):
        return {kind: list(values) for kind in ("z", "frame", "return")}

    band = {"mean": curves(1, 2), "low": curves(0, 1), "high": curves(2, 3)}
    models = {"none": band, "feature": {"mean": curves(2, 4)}}
    return {"steps": [1, 5], "still": curves(3, 6), "models": models}


def evaluation(controller, frames="fast", episodes=16):
    returns = np.random.default_rng(1).normal(800, 90, episodes)
    return {
        "controller": controller, "frames": frames, "returns": returns.tolist(),
        "mean": returns.mean(), "std": returns.std(),
        "ci95": [770.0, 830.0] if episodes > 1 else None,
    }  # fmt: skip


def lap(loop, frames, stops):
    """A lap that earns a tile at every step but for the last ones."""
    rewards = np.where(np.arange(len(frames)) <= stops, 3.0, -0.1)
    none = np.zeros((0, 3))
    return rollout.Recording(frames, none, rewards, None, frames[:0], loop[: len(frames)], loop)


def drawings():
    rng = np.random.default_rng(0)
    road = synthetic.road_frames(6)
    coverage = {
        name: {"speed": rng.uniform(0, 60, 500), "steering": rng.uniform(-1, 1, 500),
               "off_road": 0.2, "frames": 500}
        for name in ("random", "scripted")
    }  # fmt: skip
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    loop = 150 * np.stack([np.cos(angle), 0.7 * np.sin(angle)], axis=1)
    return {
        "mdp": figures.mdp,
        "world_model": figures.world_model,
        "rollout": figures.rollout,
        "dream_training": figures.dream_training,
        "learning_curves": lambda: figures.learning_curves(
            vae_history(), {"train_loss": "training", "validation_loss": "held-out"}, "loss"
        ),
        "one_learning_curve": lambda: figures.learning_curves(
            vae_history(400), "train_loss", "loss", log=True
        ),
        "vae_losses": lambda: figures.vae_losses(vae_history(), references={"original": 28}),
        "vae_training": lambda: figures.vae_losses(vae_history(), "train"),
        "mdn_rnn": lambda: figures.mdn_rnn_learning_curves(
            {"none": mdn_history(), "spatial": mdn_history()}, {"same z": 41.0}
        ),
        "frame_grid": lambda: figures.frame_grid([road, road[:4]], ["real", "dreamt"]),
        "reconstruction_pairs": lambda: figures.reconstruction_pairs(road, road[::-1]),
        "kl": lambda: figures.kl_per_dimension(rng.exponential(0.3, 32)),
        "latent_traversal": lambda: figures.latent_traversal(
            np.stack([road, road]), [3, 9], np.linspace(-3, 3, 6), [2.0, 1.0]
        ),
        "data_coverage": lambda: figures.data_coverage(coverage),
        "tracks": lambda: figures.tracks([loop] * 7, [f"seed {i}" for i in range(7)]),
        "laps": lambda: figures.laps(
            [lap(loop, road, stops=3), lap(loop, road, stops=0)], ["good", "bad"], (-2, 0, 2)
        ),
        "one_track": lambda: figures.tracks([loop]),
        "dream_and_reality": lambda: figures.dream_and_reality(
            [dreamt_generations(), dreamt_generations()]
        ),
        "dream_errors": lambda: figures.dream_errors(dreamt_errors()),
        "dream_rounds": lambda: figures.dream_rounds(
            [
                {
                    "round": n,
                    "real_steps": 90_000 * (n + 2),
                    "dreamt": 900.0,
                    "real": 300.0 + 90 * n,
                }
                for n in range(4)
            ]
        ),
        "routes": lambda: figures.routes(
            {
                "from zero": [route(0.2, 1.0), route(0.2, 1.1)],
                "in dreams alone": [route(0.2, 0.0)],
                "from a dream": [route(0.3, 0.5)],
                "missing": [[]],
            }
        ),
        "dream_temperatures": lambda: figures.dream_temperatures(
            {0.5: [dreamt_generations()], 1.0: [dreamt_generations(), dreamt_generations()]}
        ),
        "evolution_over_seeds": lambda: figures.controller_training(
            {"none": generations(), "none-seed1": generations()[:7], "V": generations()}
        ),
        "likelihood_gains": lambda: figures.likelihood_gains(
            {"none": [30.4, 30.5], "feature": [30.2, 30.3], "wide": [30.3, 30.4]},
            "wide",
            {"feature": Estimate(-0.1, -0.3, 0.1)},
        ),
        "controller_training": lambda: figures.controller_training({"none": generations()}),
        "controllers_training": lambda: figures.controller_training(
            {"none": generations(), "V": generations()}, x="generation"
        ),
        "first_generation": lambda: figures.controller_training({"none": generations()[:1]}),
        "returns": lambda: figures.returns_comparison(
            [evaluation("none"), evaluation("none", "reference"), evaluation("random")],
            {"World Models": (906, 21)},
        ),
        "returns_over_seeds": lambda: figures.returns_comparison(
            [evaluation(name) for name in ("V", "none", "none-seed1", "none-seed2")]
        ),
        "one_return": lambda: figures.returns_comparison([evaluation("none", episodes=1)]),
        "attention_over_frame": lambda: figures.attention_over_frame(
            road[0], rng.dirichlet(np.ones(36)).reshape(6, 6)
        ),
        "attention_over_frames": lambda: figures.attention_over_frame(
            road, rng.dirichlet(np.ones(36), 6).reshape(6, 6, 6)
        ),
        "attention_over_entries": lambda: figures.attention_over_entries(
            rng.dirichlet(np.ones(35), 50)
        ),
        "attention_over_time": lambda: figures.attention_over_time(rng.dirichlet(np.ones(32), 50)),
    }


@pytest.mark.parametrize("name", drawings())
@pytest.mark.filterwarnings("error")
def test_every_drawing_is_a_figure_of_the_columns_width(name):
    figure = drawings()[name]()
    assert isinstance(figure, Figure)
    png, shown = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert shown["width"] == gallery.COLUMN


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


def test_each_panel_of_dream_errors_names_its_own_guess():
    fig = figures.dream_errors(dreamt_errors())
    guesses = [[t.get_text() for t in axes.get_legend().get_texts()] for axes in fig.axes]
    assert guesses == [["nothing moves"], ["nothing moves"], ["the pace stays"]]
    models = [text.get_text() for text in fig.legends[0].get_texts()]
    assert models == ["plain M", "M, feature attention"]
    # A band only where there are several trainings.
    assert [len(axes.collections) for axes in fig.axes] == [1, 1, 1]


@pytest.mark.parametrize(
    "name, label",
    [
        ("none-dream-tau0.5-seed1", "plain M, dream, τ = 0.5, seed 1"),
        ("spatial-seed12-refined", "M, spatial attention, seed 12, refined"),
        ("none-dream-round3-woken", "plain M, dream, round 3, woken"),
    ],
)
def test_labels_are_words_and_whole_numbers(name, label):
    assert figures.model_label(name) == label


def test_models_keep_their_colours():
    models = {*config.MODELS, *config.get_profile("paper").predictors}
    assert set(figures.COLORS) == models == set(figures.LABELS)
    assert len(set(figures.COLORS.values())) == len(models)
    assert figures.model_color("spatial-noise") == figures.COLORS["spatial"]
    assert figures.model_color("M-none") == figures.COLORS["none"]
    assert figures.model_color("somebody's agent") == figures.model_color("somebody's agent")


def test_save_writes_picture_and_caption(workspace):
    path = figures.save(figures.mdp(), "MDP", "A loop.", alt="Agent and environment.")
    assert path == workspace / "images" / "MDP.png"
    with Image.open(path) as picture:
        assert picture.width == 2 * gallery.COLUMN
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    entry = {"file": "MDP.png", "caption": "A loop.", "alt": "Agent and environment."}
    assert json.loads((workspace / "images" / "captions.json").read_text()) == {"MDP": entry}


def test_the_same_figure_is_the_same_bytes():
    first = figures.save(figures.rollout(), "rollout", "Unrolled.").read_bytes()
    assert figures.save(figures.rollout(), "rollout", "Unrolled.").read_bytes() == first


def test_captions_merge_also_when_written_at_once(workspace):
    frame = synthetic.road_frames(1)[0]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: figures.save_image(frame, f"frame_{i}", f"{i}"), range(24)))
    figures.save_image(frame, "frame_3", "Another.")
    captions = figures.captions()
    assert len(captions) == 24
    assert captions["frame_3"]["caption"] == captions["frame_3"]["alt"] == "Another."
    assert captions["frame_4"]["caption"] == "4"
    names = {path.name for path in (workspace / "images").iterdir()}
    assert names == {"captions.json", *(f"frame_{i}.png" for i in range(24))}


def test_a_save_that_fails_leaves_the_old_picture(workspace):
    path = figures.save(figures.mdp(), "MDP", "Good.")
    before = path.read_bytes()

    class Broken(Figure):
        def savefig(self, target, **options):
            target.write_bytes(b"half a file")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        figures.save(Broken(), "MDP", "Bad.")
    assert path.read_bytes() == before
    assert figures.captions()["MDP"]["caption"] == "Good."
    assert {p.name for p in path.parent.iterdir()} == {"captions.json", "MDP.png"}


def test_damaged_captions_are_refused_and_kept(workspace):
    (workspace / "images").mkdir()
    captions = workspace / "images" / "captions.json"
    captions.write_text("{")
    with pytest.raises(AwmError, match="captions.json"):
        figures.save_image(synthetic.road_frames(1)[0], "frame", "One.")
    assert captions.read_text() == "{"


@pytest.mark.parametrize("name", ["", "a/b", "../a", "figure.png"])
def test_names_that_are_no_names(name):
    with pytest.raises(AwmError, match="name"):
        figures.save_image(synthetic.road_frames(1)[0], name, "")


def test_save_image_keeps_every_pixel():
    frame = synthetic.road_frames(1)[0]
    with Image.open(figures.save_image(frame, "frame", "One.")) as picture:
        assert picture.size == (384, 384)
        assert np.array_equal(np.asarray(picture)[3::6, 3::6], frame)
    with Image.open(figures.save_image([frame, frame], "two", "Two.")) as picture:
        assert picture.size == (2 * 384 + 16, 384)
    with pytest.raises(AwmError, match="uint8"):
        figures.save_image(frame / 255, "frame", "Floats.")


def test_gif_has_every_frame_at_its_rate():
    frames = synthetic.road_frames(20)
    path = figures.save_gif(frames, "CarRacing", "Driving.", fps=25, scale=3)
    assert path.name == "CarRacing.gif"
    assert figures.captions()["CarRacing"]["file"] == "CarRacing.gif"
    with Image.open(path) as gif:
        assert gif.size == (192, 192)
        assert gif.n_frames == 20
        assert gif.info["loop"] == 0
        pages = [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(gif)]
        assert gif.info["duration"] == 40
    for page, frame in zip(pages, frames, strict=True):
        assert np.abs(page[1::3, 1::3].astype(int) - frame).mean() < 3


def test_gif_stays_small_and_keeps_its_speed():
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    path = figures.save_gif(noise, "noise", "Noise.", fps=25, scale=4, max_bytes=150_000)
    assert path.stat().st_size <= 150_000
    with Image.open(path) as gif:
        seconds = sum(page.info["duration"] for page in ImageSequence.Iterator(gif)) / 1000
    assert seconds == pytest.approx(30 / 25, rel=0.1)


def test_gif_needs_frames():
    with pytest.raises(AwmError, match="at least one"):
        figures.save_gif(np.zeros((0, 64, 64, 3), np.uint8), "none", "")


def test_attention_lights_the_place_that_is_attended_to():
    frame = np.full((64, 64, 3), (100, 200, 100), np.uint8)
    weights = np.zeros((6, 6))
    weights[1, 4] = 1.0  # that cell's field of view is centred at (18.5, 42.5)
    lit = figures.overlay_attention(frame, weights, scale=1)
    bright = lit.sum(axis=-1)
    row, column = np.argwhere(bright == bright.max()).mean(axis=0)
    assert abs(row - 18.5) <= 1 and abs(column - 42.5) <= 1
    assert bright[50, 10] < bright.max() / 2
    even = figures.overlay_attention(frame, np.full((6, 6), 1 / 36), scale=1)
    assert np.abs(even.astype(int) - frame).max() <= 1
    with pytest.raises(AwmError, match="6 × 6"):
        figures.overlay_attention(frame, np.ones((5, 5)))


def test_trouble_begins_at_the_last_tile_before_the_longest_wait():
    begins = pictures._last_tile_before_trouble
    assert begins([3, -0.1, 3, -0.1, -0.1, -0.1, 3, -0.1]) == 2
    assert begins([3, 3, -0.1, -0.1, -0.1]) == 1
    assert begins([-0.1, -0.1]) == 0


def test_nothing_to_compare_is_said():
    for draw in (figures.returns_comparison, figures.controller_training, figures.data_coverage):
        with pytest.raises(AwmError, match="awm"):
            draw([])
