"""awm.figures.vector: drawings in the page's colours whose values can be read again."""

import json
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from test_drawings import DRAWINGS

from awm import figures
from awm.errors import AwmError
from awm.figures import theme
from awm.figures.vector import svg
from awm.ids import Memory
from awm.study.statistics import Estimate

SVG = "{http://www.w3.org/2000/svg}"


def luminance(color: str) -> float:
    channels = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(channels <= 0.04, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(*colors: str) -> float:
    low, high = sorted(map(luminance, colors))
    return (high + 0.05) / (low + 0.05)


def values(text: str) -> dict[str, np.ndarray]:
    """What the report's script reads from a drawing: {name: points [n, 2]}."""
    found: dict[str, list] = {}
    for axes in ElementTree.fromstring(text).iter(f"{SVG}g"):
        if "data-axes" not in axes.attrib:
            continue
        left, top, right, bottom = map(float, axes.attrib["data-axes"].split())
        x, y = (json.loads(axes.attrib[f"data-{side}"]) for side in "xy")
        for mark in (each for each in axes.iter() if "data-label" in each.attrib):
            path = mark.find(f"{SVG}path")
            if path is None:
                places = [(dot.attrib["x"], dot.attrib["y"]) for dot in mark.iter(f"{SVG}use")]
            else:
                numbers = re.findall(r"-?[\d.]+", path.attrib["d"])
                places = list(zip(numbers[::2], numbers[1::2], strict=True))
                if mark.attrib["data-kind"] == "bar":
                    places = [((float(places[0][0]) + float(places[2][0])) / 2, places[2][1])]
            points = found.setdefault(mark.attrib["data-label"], [])
            for px, py in places:
                shares = (float(px) - left) / (right - left), (bottom - float(py)) / (bottom - top)
                points.append([value(*pair) for pair in zip((x, y), shares, strict=True)])
    return {name: np.array(points) for name, points in found.items()}


def both(fig: theme.Canvas) -> tuple[theme.Canvas, theme.Canvas]:
    """A drawing for the page and for a phone."""
    assert fig.narrow
    return fig, fig.narrow()


def value(axis: dict, share: float) -> float:
    if axis.get("log"):
        return axis["from"] * (axis["to"] / axis["from"]) ** share
    return axis["from"] + share * (axis["to"] - axis["from"])


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.filterwarnings("error")
def test_every_drawing_has_the_pages_colours_and_legible_type_at_both_widths(name):
    widths = theme.WIDTH, theme.NARROW
    for fig, width in zip(both(DRAWINGS[name]()), widths, strict=True):
        text = svg(fig, name)
        assert float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1]) == pytest.approx(72 * width)
        styles = re.findall(r'style="([^"]*)"', text)
        assert not re.search(r"#[0-9a-f]{3,8}\b|rgb\(|: ?(black|white)", ";".join(styles))
        assert "<style" not in text and "<metadata" not in text
        ids = re.findall(r' id="([^"]*)"', text)
        assert len(ids) == len(set(ids)) and all(each.startswith(name) for each in ids)
        wanted = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert {a or b for a, b in wanted} <= set(ids)
        for words in fig.findobj(Text):
            if words.get_visible() and words.get_text().strip():
                assert words.get_fontsize() >= 7.5, words.get_text()


def test_the_same_drawing_is_the_same_text_and_ids_differ_between_drawings():
    first, again = (svg(DRAWINGS["mdn_rnn"](), "one") for _ in range(2))
    assert first == again
    other = svg(DRAWINGS["mdn_rnn"](), "two")
    ids = [set(re.findall(r' id="([^"]*)"', text)) for text in (first, other)]
    assert ids[0] and not ids[0] & ids[1]


def test_values_can_be_read_again():
    log = [{"round": n, "real_steps": 90_000 * n, "dreamt": 900.0 - n, "real": 300.0 + 7 * n}
           for n in range(4)]  # fmt: skip
    for fig in both(figures.dream_rounds([log])):
        found = values(svg(fig, "rounds"))
        steps, real = np.array([(e["real_steps"] / 1000, e["real"]) for e in log]).T
        assert found["on the real track"][:, 0] == pytest.approx(steps, abs=0.1)
        assert found["on the real track"][:, 1] == pytest.approx(real, abs=0.2)


def test_values_on_a_logarithmic_axis_and_of_bars():
    losses = ({"train_reconstruction": 300 / n, "train_kl": n, "update": n} for n in (1, 2, 9))
    found = values(svg(figures.vae_losses([*losses], "train"), "v"))["training"]
    assert found[:3, 1] == pytest.approx([300, 150, 33.3], rel=2e-3)
    scores = {"speed": 0.9, "angle": 0.4}
    found = values(svg(figures.probes({Memory("V"): scores}), "probes"))["V alone"]
    assert found[:, 1] == pytest.approx([0.9, 0.4], abs=1e-3)
    driven = {"speed": np.arange(40) + 0.5, "steering": [0.0], "off_road": 0.1, "frames": 40}
    found = values(svg(figures.data_coverage({"walk": driven}), "coverage"))["walk"]
    assert found[:30, 1] == pytest.approx(np.full(30, 1 / 40), abs=1e-3)


def test_equal_terms_shows_every_search_and_says_the_difference():
    returns = {"V": [500.0, 520.0], "plain": [700.0, 760.0], "even": [800.0]}
    means = {"V": Estimate(510, 400, 620), "plain": Estimate(730, 700, 760)}
    gaps = {"V": Estimate(-220.4, -300, -100), "even": None}
    fig = figures.equal_terms(returns, means, gaps)
    found = values(svg(fig, "equal"))
    assert found["V alone, one search"][:, 0] == pytest.approx([500, 520], abs=0.5)
    assert found["plain M, mean"][:, 0] == pytest.approx([730], abs=0.5)
    for each in both(fig):
        said = " ".join(text.get_text() for text in each.findobj(Text))
        assert "−220 [−300, −100]" in said and "730" in said
    with pytest.raises(AwmError, match="awm evaluate"):
        figures.equal_terms({}, {}, {})


def test_every_colour_stands_out_from_the_page():
    light, dark = theme.PALETTE["paper"]
    for name, (on_light, on_dark) in list(theme.PALETTE.items())[5:]:
        if name not in ("grass", "road", "chalk", "car", "tyre"):
            assert contrast(on_light, light) >= 3 and contrast(on_dark, dark) >= 3, name
    assert set(theme.COLORS.values()) <= {light for light, _ in theme.PALETTE.values()}


def test_a_figure_of_ones_own_is_a_picture_alone(tmp_path):
    fig = theme.figure(2)
    fig.subplots().plot([1, 2])
    figures.save(tmp_path, fig, "mine", caption="Mine.")
    assert not list(tmp_path.glob("*.svg"))
