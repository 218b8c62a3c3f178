"""Widgets outside of the kernel that made them: exported pages, and a real browser."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
import synthetic
from shown import VIEW

from awm.report import page as report
from awm.store import Workspace

ROOT = Path(__file__).parent.parent.parent
CELLS = (
    "import sys\nsys.path.insert(0, {root!r})\nfrom awm import widgets\nfrom awm.ids import Memory",
    "widgets.rollout_player('smoke')",
    "widgets.reconstruction_browser('smoke')",
    "widgets.latent_explorer('smoke')",
    "widgets.dream_player('smoke')",
    "widgets.attention_viewer('smoke', Memory('spatial'))",
    "widgets.evolution_monitor('smoke')",  # of a search that goes on: the kernel must end anyway
    "widgets.latent_explorer('quick')",
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook with every widget, run by papermill."""
    import papermill

    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(cell.format(root=str(ROOT))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "in.ipynb")
    synthetic.log_generation(synthetic.workspace(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWM_ROOT", str(folder))
        papermill.execute_notebook(
            folder / "in.ipynb", folder / "out.ipynb", progress_bar=False, log_output=False
        )
    return nbformat.read(folder / "out.ipynb", as_version=4)


def pictures(page: str) -> int:
    """How many pictures an HTML page holds in itself."""
    return len(re.findall(r'<img[^>]*\bsrc="data:image/|<svg[^>]*width="660', page))


class TestExport:
    def test_a_notebook_holds_the_view_and_the_still(self, executed):
        for cell in executed.cells[1:-1]:
            (output,) = cell.outputs
            # JupyterLab prefers a widget's view to whatever else a result brings.
            assert {VIEW, "text/plain"} <= set(output.data)
            ((kind, about),) = output.metadata.items()
            assert kind in output.data and "JupyterLab" in about["alt"]

    def test_nbconvert_shows_the_still_once_the_state_is_gone(self, executed):
        from nbconvert import HTMLExporter

        notebook = nbformat.from_dict(executed)
        notebook.metadata.pop("widgets")
        page, _ = HTMLExporter().from_notebook_node(notebook)
        assert pictures(page) == len(CELLS) - 2 and VIEW not in page

    def test_the_report_shows_the_still(self, executed):
        page = report.convert(nbformat.writes(executed), report.NOTEBOOK).html
        assert pictures(page) == len(CELLS) - 2
        assert "LatentExplorer" not in page and "model_id" not in page
        assert "awm train vae" in page


@pytest.fixture
def voila(tmp_path):
    """The inspector as `make app` serves it; yields its address."""
    pytest.importorskip("voila")
    synthetic.log_generation(synthetic.workspace(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (sys.executable, "-m", "voila", "--no-browser", "--Voila.ip=127.0.0.1")
    notebook = str(ROOT / "app" / "inspector.ipynb")
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = {**os.environ, **{name: str(tmp_path / at) for name, at in folders.items()}}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    address, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, f"--port={port}", notebook],
            cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until_up(server, f"{address}/voila/static/none", log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_up(server, address: str, log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, if only that there is no such page
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"The server did not start: {log.read_text()[-2000:]}")


@contextmanager
def changes(*widgets):
    """Every picture, or text, is another once the block is done."""
    from playwright.sync_api import expect

    before = [w.get_attribute("src") or w.inner_text() for w in widgets]
    yield
    for widget, shown in zip(widgets, before, strict=True):
        if shown.startswith("blob:"):
            expect(widget).not_to_have_attribute("src", shown)
        else:
            expect(widget).not_to_have_text(shown)


def screenshot(page, name: str) -> None:
    """For a look at it: `AWM_SCREENSHOT=/tmp/shots pytest -m browser`."""
    if "AWM_SCREENSHOT" in os.environ:
        page.screenshot(path=Path(os.environ["AWM_SCREENSHOT"]) / f"{name}.png")


@pytest.mark.browser
@pytest.mark.slow
def test_the_inspector_answers_in_voila(browser, voila, tmp_path):
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)  # as long as a busy machine makes it take
    page = browser.new_page(viewport={"width": 1400, "height": 2000})
    page.set_default_timeout(60_000)
    page.goto(voila)
    panel = page.locator(".widget-tab-contents > :not(.lm-mod-hidden)")
    picture = panel.locator("img.widget-image")

    def open_tab(title):
        page.locator(".lm-TabBar-tab", has_text=title).click()

    def step(number, key="ArrowRight"):
        panel.locator(".noUi-handle").nth(number).focus()
        page.keyboard.press(key)

    def click(name):
        panel.get_by_role("button", name=name, exact=True).click()

    expect(picture).to_have_count(1)
    expect(panel.get_by_text("frame 24 of 48")).to_be_visible()
    with changes(picture):
        step(1)  # the frame
    with changes(panel.get_by_text("return so far")):
        step(0)  # the rollout
    expect(panel.get_by_text("frame 25 of 48")).to_be_visible()
    screenshot(page, "rollouts")

    open_tab("reconstructions")
    expect(picture).to_have_count(3)
    with changes(*picture.all(), panel.get_by_text("squared error").last):
        step(1)
    screenshot(page, "reconstructions")

    open_tab("latents")
    expect(panel.locator(".noUi-handle")).to_have_count(2 + 32)
    decoded, title = picture.nth(1), panel.get_by_text("the same with")
    with changes(decoded, title):
        step(5, "ArrowLeft")
    turned = title.inner_text()
    with changes(decoded):
        click("random dream")
    with changes(decoded):
        click("from this frame")
    page.wait_for_timeout(1000)
    assert title.inner_text() == turned  # the sliders that the buttons set were turned by no one
    screenshot(page, "latents")

    open_tab("dreams")
    expect(panel.locator(".status")).to_contain_text("on its own")
    click("Take the wheel")
    page.keyboard.down("ArrowUp")
    expect(panel.locator("output[name=gas]")).to_have_text("1.00")
    expect(panel.locator("output[name=step]")).not_to_have_text("0")
    page.keyboard.up("ArrowUp")
    screenshot(page, "dreams")

    open_tab("attention")
    page.get_by_role("button", name="M, spatial attention").last.click()
    expect(picture).to_have_count(2)
    with changes(*picture.all()):
        step(1)
    with changes(picture.first):
        panel.locator(".widget-play button").first.click()
    screenshot(page, "attention")

    open_tab("evolution")
    with changes(panel.get_by_text("best validation")):  # a search in another process goes on
        synthetic.log_generation(Workspace.open("smoke", tmp_path))
    screenshot(page, "evolution")
    page.get_by_role("button", name="quick", exact=True).click()
    expect(panel.get_by_role("note")).to_contain_text("awm evolve plain_track --profile quick")

    # It looks as the pages do: by the system's choice or the button's, and on a phone.
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#toggle-theme").click()
    assert page.evaluate(ground) != light
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
