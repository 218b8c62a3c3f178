"""awm.figures.gallery: how pictures and their words are saved."""

from concurrent.futures import ThreadPoolExecutor
from string import Formatter

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from synthetic import road_frames

from awm import figures
from awm.errors import AwmError
from awm.figures import gallery
from awm.store import read_json

FRAME = road_frames(1)[0]


@pytest.fixture
def images(tmp_path):
    return tmp_path / "images"


def files(folder):
    return {path.name for path in folder.iterdir() if path.suffix != ".tmp"}


def test_save_writes_picture_and_caption(images):
    path = figures.save(images, figures.mdp(), "loop", caption="A loop of {n}.", alt="Two.", n=2)
    assert path == images / "loop.png"
    with Image.open(path) as picture:
        assert picture.width == 2 * gallery.COLUMN
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    entry = {"file": "loop.png", "caption": "A loop of 2.", "alt": "Two."}
    assert read_json(images / "captions.json") == {"loop": entry}
    figures.save_image(images, FRAME, "frame", caption="One.")
    assert figures.captions(images)["frame"]["alt"] == "One."


def test_words_of_a_known_figure_are_its_own(images):
    figures.save(images, figures.mdp(), "MDP")
    assert figures.captions(images)["MDP"] == {"file": "MDP.png", **gallery.CAPTIONS["MDP"]}
    figures.save(images, figures.mdp(), "dreamt_frames", steps=48)
    assert "same 48 steps" in figures.captions(images)["dreamt_frames"]["caption"]


def test_every_known_figure_has_both_words_and_no_nameless_field():
    for words in gallery.CAPTIONS.values():
        assert words.keys() == {"caption", "alt"}
        assert all(words["caption"].endswith(".") and words["alt"].endswith(".") for _ in words)
        for text in words.values():
            assert all(name != "" for _, name, _, _ in Formatter().parse(text))


def test_missing_words_are_said_and_nothing_is_written(images):
    with pytest.raises(AwmError, match="'dreamt_frames' lacks 'steps'"):
        figures.save(images, figures.mdp(), "dreamt_frames")
    with pytest.raises(AwmError, match="'mine' lacks 'caption'"):
        figures.save(images, figures.mdp(), "mine")
    assert not images.exists()


def test_the_same_figure_is_the_same_bytes(images):
    first = figures.save(images, figures.rollout(), "rollout").read_bytes()
    assert figures.save(images, figures.rollout(), "rollout").read_bytes() == first


def test_captions_merge_also_when_written_at_once(images):
    def write(i):
        figures.save_image(images, FRAME, f"frame_{i}", caption=f"{i}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    figures.save_image(images, FRAME, "frame_3", caption="Another.")
    captions = figures.captions(images)
    assert len(captions) == 24
    assert captions["frame_3"]["caption"] == "Another."
    assert captions["frame_4"]["caption"] == "4"
    assert files(images) == {"captions.json", *(f"frame_{i}.png" for i in range(24))}


def test_a_save_that_fails_leaves_the_old_picture(images, monkeypatch):
    path = figures.save(images, figures.mdp(), "MDP", caption="Good.")
    before = path.read_bytes()

    class Broken(Figure):
        def savefig(self, target, **options):
            target.write(b"half a file")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        figures.save(images, Broken(), "MDP", caption="Bad.")
    assert path.read_bytes() == before
    assert figures.captions(images)["MDP"]["caption"] == "Good."
    assert files(images) == {"captions.json", "MDP.png", "MDP.svg", "MDP.narrow.svg"}


def test_drawings_go_with_the_picture_that_they_were_of(images):
    figures.save(images, figures.mdp(), "MDP")
    figures.save_image(images, FRAME, "MDP")
    assert files(images) == {"captions.json", "MDP.png"}


def test_damaged_captions_are_refused_and_kept(images):
    images.mkdir()
    captions = images / "captions.json"
    captions.write_text("{")
    with pytest.raises(AwmError, match="captions.json"):
        figures.save_image(images, FRAME, "frame", caption="One.")
    assert captions.read_text() == "{"


@pytest.mark.parametrize("name", ["", "a/b", "../a", "figure.png"])
def test_names_that_are_no_names(name, images):
    with pytest.raises(AwmError, match="name"):
        figures.save_image(images, FRAME, name, caption="")


def test_save_image_keeps_every_pixel(images):
    with Image.open(figures.save_image(images, FRAME, "frame", caption="One.")) as picture:
        assert picture.size == (384, 384)
        assert np.array_equal(np.asarray(picture)[3::6, 3::6], FRAME)
    with Image.open(figures.save_image(images, [FRAME] * 2, "two", caption="Two.")) as picture:
        assert picture.size == (2 * 384 + 16, 384)
        assert picture.getpixel((390, 9))[3] == 0 and picture.getpixel((383, 9))[3] == 255
    with pytest.raises(AwmError, match="uint8"):
        figures.save_image(images, FRAME / 255, "frame", caption="Floats.")


def test_gif_has_every_frame_at_its_rate(images):
    frames = road_frames(20)
    path = figures.save_gif(images, frames, "lap", fps=25, scale=3, caption="Driving.")
    assert figures.captions(images)["lap"]["file"] == path.name == "lap.gif"
    with Image.open(path) as gif:
        assert gif.size == (192, 192)
        assert gif.n_frames == 20
        assert gif.info["loop"] == 0
        pages = [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(gif)]
        assert gif.info["duration"] == 40
    for page, frame in zip(pages, frames, strict=True):
        assert np.abs(page[1::3, 1::3].astype(int) - frame).mean() < 3


def test_gif_stays_small_and_keeps_its_speed(images):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    path = figures.save_gif(images, noise, "noise", max_bytes=150_000, caption="Noise.")
    assert path.stat().st_size <= 150_000
    with Image.open(path) as gif:
        seconds = sum(page.info["duration"] for page in ImageSequence.Iterator(gif)) / 1000
    assert seconds == pytest.approx(30 / 25, rel=0.1)


def test_gif_needs_frames(images):
    with pytest.raises(AwmError, match="at least one"):
        figures.save_gif(images, np.zeros((0, 64, 64, 3), np.uint8), "empty", caption="")
