"""Figures on a page: in its colours, readable by pointer and keyboard, enlarged, and pausable."""

import re
from io import BytesIO

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from awm import figures
from awm.report import page
from awm.report.story import Story
from awm.store import Workspace, read_json, write_json
from tests.report.reading import tags

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
HOSTILE = '"><script>alert(1)</script> & 100 % %1'
ROUNDS = [
    {"round": n, "real_steps": 90_000 * n, "dreamt": 900.0, "real": real}
    for n, real in enumerate((300.0, 1234.0, 650.0))
]
FILM = np.zeros((2, 8, 8, 3), np.uint8)
FILM[0, ..., 0], FILM[1, ..., 1] = 255, 255


def shown(ws: Workspace) -> str:
    text = '# Title\n\n## Part\n\n{{ figure("dream_rounds") }}\n\n{{ figure("agent_view") }}\n'
    body = Story(ws, {}).render(text + '\n{{ figure("MDP") }}\n')
    return page.page(ws, "index", body, [], [])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    ws = Workspace.open("smoke", tmp_path_factory.mktemp("figures"))
    figures.save(ws.images, figures.dream_rounds([ROUNDS]), "dream_rounds", chains=1)
    figures.save(ws.images, figures.mdp(), "MDP")
    figures.save_gif(ws.images, FILM, "agent_view", fps=5)
    path = ws.root / "index.html"
    path.write_text(shown(ws), "utf-8")
    return path


def test_a_figure_is_its_drawing_or_else_its_picture(workspace):
    ws = Workspace.open("smoke")
    figures.save(ws.images, figures.mdp(), "MDP")
    figures.save(ws.images, figures.dream_rounds([ROUNDS]), "dream_rounds", chains=1)
    html = shown(ws)
    assert html.count('<svg class="wide" role="img" aria-label="') == 2
    assert html.count('<svg class="narrow" role="img"') == 2 and "<img" not in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for path in ws.images.glob("MDP.*svg"):
        path.unlink()
    html = shown(ws)
    assert html.count('<svg class="wide"') == 1 and 'src="data:image/png' in html


def test_a_notebooks_figure_is_its_drawing_too(workspace):
    ws = Workspace.open("smoke")
    figures.save(ws.images, figures.mdp(), "MDP")
    html = (
        '<figure class="awm-figure" id="figure-MDP"><img src="data:image/png;base64,iVBORw0KGgo=" '
        'alt="A loop."><figcaption>A caption.</figcaption></figure>'
    )
    output = new_output("display_data", data={"text/html": html, "text/plain": "x"})
    cells = nbformat.writes(new_notebook(cells=[new_code_cell("x", outputs=[output])]))
    made = page.convert(cells, page.NOTEBOOK, [ws.images]).html
    assert made.count('role="img" aria-label="A loop."') == 2 and "<img" not in made
    assert "<figcaption>" in made and "A caption." in made
    made = page.convert(cells.replace("figure-MDP", "figure-other"), page.NOTEBOOK, [ws.images])
    assert "<img" in made.html and "<svg" not in made.html


def test_words_about_a_drawing_bring_no_markup(workspace):
    ws = Workspace.open("smoke")
    figures.save(ws.images, figures.mdp(), "MDP")
    captions = read_json(ws.images / "captions.json")
    captions["MDP"]["alt"] = HOSTILE
    write_json(ws.images / "captions.json", captions)
    html = Story(ws, {}).render('{{ figure("MDP") }}').html
    found = tags(html)
    assert not any(tag == "script" for tag, _ in found)
    assert [a["aria-label"] for tag, a in found if tag == "svg"] == [HOSTILE] * 2


@pytest.mark.browser
def test_a_figure_is_as_dark_as_the_page(made, opened):
    seen = opened(made, color_scheme="dark", viewport={"width": 1280, "height": 900})
    for figure in seen.locator(".drawing").all():
        pixels = np.asarray(Image.open(BytesIO(figure.screenshot())).convert("RGB"))
        colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
        assert tuple(colors[counts.argmax()]) == (0x14, 0x18, 0x1C)
        assert not (pixels == 255).all(axis=-1).any(), "a white card"


@pytest.mark.browser
@pytest.mark.parametrize("width, kind", [(1280, "wide"), (390, "narrow")])
def test_values_by_pointer_and_keyboard(made, opened, width, kind):
    seen = opened(made, viewport={"width": width, "height": 900})
    drawing = seen.locator("#fig-dream_rounds .drawing")
    assert drawing.locator(f"svg.{kind}").is_visible()
    assert drawing.locator("svg:visible").count() == 1
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    tip, live = drawing.locator(".tip"), drawing.locator("[aria-live]")
    line = drawing.locator(f'svg.{kind} [data-label="on the real track"] use').nth(1)
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    seen.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    x = "thousand recorded environment steps"
    assert tip.inner_text() == f"on the real track: {x} 90, return per episode 1,234"
    seen.mouse.move(5, 5)
    assert tip.is_hidden() and live.inner_text() == ""

    drawing.focus()
    seen.keyboard.press("ArrowRight")
    assert live.text_content() == f"on the real track: {x} 180, return per episode 650"
    seen.keyboard.press("Home")
    assert live.text_content() == f"on the real track: {x} 0, return per episode 300"
    seen.keyboard.press("ArrowUp")
    assert live.text_content() == f"in the dream: {x} 0, return per episode 900"
    assert tip.is_visible()
    seen.keyboard.press("Escape")
    assert tip.is_hidden()
    # A diagram has no values.
    assert seen.locator("#fig-MDP .drawing").get_attribute("tabindex") is None


@pytest.mark.browser
def test_a_tap_shows_a_value(made, opened):
    seen = opened(made, viewport={"width": 390, "height": 800}, has_touch=True)
    dot = seen.locator('svg.narrow [data-label="on the real track"] use').nth(2)
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    seen.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "return per episode 650" in seen.locator("#fig-dream_rounds .tip").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["dream_rounds", "agent_view"])
def test_a_figure_fills_the_window_and_comes_back(made, opened, name):
    seen = opened(made, viewport={"width": 1280, "height": 900})
    figure, dialog = seen.locator(f"#fig-{name}"), seen.locator("dialog.enlarged")
    picture = ".drawing" if name == "dream_rounds" else "img"
    before = figure.locator(picture).bounding_box()
    button = figure.get_by_role("button", name="Enlarge")
    button.click()
    assert dialog.is_visible() and dialog.locator(picture).bounding_box()["width"] > 1200
    assert figure.locator(picture).count() == 0
    seen.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert figure.locator(picture).bounding_box()["width"] == before["width"]
    assert button.evaluate("(button) => document.activeElement === button")


@pytest.mark.browser
def test_a_film_pauses_at_its_first_frame_and_rests_for_those_who_ask(made, opened):
    def color(seen):
        return seen.locator("#fig-agent_view img").evaluate(
            "async (i) => { await i.decode(); const c = document.createElement('canvas');"
            "c.getContext('2d').drawImage(i, 0, 0); return [...c.getContext('2d')"
            ".getImageData(2, 2, 1, 1).data]; }"
        )

    seen = opened(made, reduced_motion="no-preference")
    film = seen.locator("#fig-agent_view")
    assert film.locator("img").get_attribute("src").startswith("data:image/gif")
    film.get_by_role("button", name="Pause").press("Enter")
    assert film.locator("img").get_attribute("src").startswith("data:image/png")
    assert color(seen)[:2] == [255, 0]
    film.get_by_role("button", name="Play").click()
    assert film.locator("img").get_attribute("src").startswith("data:image/gif")
    resting = opened(made, reduced_motion="reduce").locator("#fig-agent_view")
    resting.get_by_role("button", name="Play").wait_for()
    assert resting.locator("img").get_attribute("src").startswith("data:image/png")


@pytest.mark.browser
def test_axe_finds_nothing_to_mend_in_figures(made, opened):
    from axe_playwright_python.sync_playwright import Axe

    for scheme in ("light", "dark"):
        seen = opened(made, color_scheme=scheme)
        found = Axe().run(seen, options=RULES)
        assert found.response["passes"] and found.violations_count == 0, found.generate_report()
        seen.locator("#fig-dream_rounds").get_by_role("button", name="Enlarge").click()
        found = Axe().run(seen, options=RULES)
        assert found.violations_count == 0, found.generate_report()
