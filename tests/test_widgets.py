"""awm.widgets: what a slider does, what an exported page shows, and a real browser on top."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest
import synthetic
from PIL import Image

from awm import notebook_page, widgets
from awm.errors import AwmError
from awm.widgets import latents, models

ROOT = Path(__file__).parent.parent
VIEW = "application/vnd.jupyter.widget-view+json"
#: What both the exported and the opened notebook run.
SETUP = f"""
import sys
sys.path[:0] = {[str(ROOT / "tests"), str(ROOT)]!r}
import synthetic
from awm import widgets
rollouts, vae = synthetic.Rollouts(), synthetic.random_vae()
"""
PLAYERS = (
    "widgets.rollout_player('smoke')",
    "widgets.dream_player('smoke')",
    "widgets.attention_viewer('smoke', 'spatial')",
    "widgets.evolution_monitor('smoke')",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def vae():
    return synthetic.random_vae()


@pytest.fixture
def rollouts():
    return synthetic.Rollouts()


def pixels(image) -> np.ndarray:
    """What an image widget shows, [64, 64, 3]."""
    return np.asarray(Image.open(io.BytesIO(image.value)))[2::4, 2::4]


def pictures(page: str) -> int:
    """How many pictures an HTML page holds in itself."""
    return len(re.findall(r'<img[^>]*\bsrc="data:image/png;base64,', page))


class TestReconstructionBrowser:
    def test_shows_the_chosen_frame(self, rollouts, vae):
        browser = widgets.reconstruction_browser(rollouts, vae)
        for rollout, frame in ((0, 3), (2, 25), (1, 0)):
            browser.rollout.value = rollout
            browser.frame.value = frame
            assert np.array_equal(pixels(browser.original), rollouts.episode(rollout).frames[frame])

    def test_a_slider_changes_every_picture_and_the_number(self, rollouts, vae):
        browser = widgets.reconstruction_browser(rollouts, vae)
        shown = (browser.original, browser.reconstruction, browser.error, browser.summary)
        before = [widget.value for widget in shown]
        browser.frame.value += 4
        assert all(a != b.value for a, b in zip(before, shown, strict=True))

    def test_the_number_is_the_summed_squared_error(self, rollouts, vae):
        browser = widgets.reconstruction_browser(rollouts, vae)
        one, other = (pixels(i) / 255 for i in (browser.original, browser.reconstruction))
        assert f"{np.square(one - other).sum():.1f}" in browser.summary.value
        assert "driver-0" in browser.summary.value and "train split" in browser.summary.value

    def test_frames_end_with_the_rollout(self, rollouts, vae):
        browser = widgets.reconstruction_browser(rollouts, vae)
        browser.rollout.value = 2
        browser.frame.value = browser.frame.max
        browser.rollout.value = 0
        assert browser.frame.value == browser.frame.max == rollouts.lengths[0] - 1
        assert np.array_equal(pixels(browser.original), rollouts.episode(0).frames[-1])

    def test_a_damaged_episode_is_named_and_the_others_still_show(self, rollouts, vae):
        browser = widgets.reconstruction_browser(rollouts, vae)
        whole = rollouts.episode

        def episode(index):
            if index == 1:
                raise AwmError("Episode 1 is damaged. Collect it again.")
            return whole(index)

        rollouts.episode = episode
        browser = widgets.reconstruction_browser(rollouts, vae)
        browser.rollout.value = 1
        assert "damaged" in browser.summary.value
        browser.rollout.value = 2
        assert "rollout 2" in browser.summary.value


class TestLatentExplorer:
    def test_every_latent_has_a_slider_that_redraws(self, vae):
        explorer = widgets.latent_explorer(vae)
        assert len(explorer.sliders) == 32
        for slider in explorer.sliders:
            before = explorer.decoded.value
            slider.value = 2.5
            assert explorer.decoded.value != before
        assert explorer.z.tolist() == [2.5] * 32

    def test_the_most_informative_come_first(self, rollouts, vae):
        kl = np.zeros(32)
        kl[[7, 3]] = 2.0, 1.0
        explorer = widgets.latent_explorer(vae, kl=kl)
        assert explorer.order[:2].tolist() == [7, 3]
        grid = explorer.children[-1]
        assert [slider.description for slider in grid.children[:2]] == ["z7", "z3"]
        measured = widgets.latent_explorer(vae, rollouts)
        assert (np.diff(measured.kl[measured.order]) <= 0).all()

    def test_from_this_frame(self, rollouts, vae):
        explorer = widgets.latent_explorer(vae, rollouts)
        explorer.zero.click()
        assert not explorer.z.any()
        flat = explorer.decoded.value
        explorer._chooser.rollout.value = 1
        explorer._chooser.frame.value = 7
        assert np.array_equal(pixels(explorer.original), rollouts.episode(1).frames[7])
        explorer.from_frame.click()
        assert explorer.z.any() and explorer.decoded.value != flat
        expected = models.reconstruct(vae, rollouts.episode(1).frames[7:8])[0].astype(int)
        # The last bit may turn with the size of the batch.
        assert np.abs(pixels(explorer.decoded) - expected).max() <= 1

    def test_sliders_widen_for_a_frame_out_of_the_ordinary(self, vae):
        explorer = widgets.latent_explorer(vae)
        explorer.show(np.full(32, -6.3))
        assert explorer.sliders[0].value == -6.25 and explorer.sliders[0].max == 8
        assert explorer.z[0] == pytest.approx(-6.3)
        explorer.show(np.zeros(32))
        assert explorer.sliders[0].min == -latents.REACH

    def test_a_value_echoed_by_the_browser_changes_nothing(self, vae):
        explorer = widgets.latent_explorer(vae)
        explorer.sliders[9].value = 1.0
        explorer.show(np.full(32, 0.347))
        shown = explorer.decoded.value
        explorer.sliders[4].value = 0.35
        assert explorer.decoded.value == shown
        assert explorer.z[4] == pytest.approx(0.347) and "z9" in explorer._strip_title.value

    def test_random_dreams_differ_and_draw_once(self, vae, monkeypatch):
        explorer = widgets.latent_explorer(vae)
        calls = []
        decode = latents.decode
        monkeypatch.setattr(latents, "decode", lambda *a: calls.append(1) or decode(*a))
        explorer.random_dream.click()
        first = explorer.decoded.value
        explorer.random_dream.click()
        assert explorer.decoded.value != first
        assert len(calls) == 2


class TestWhatIsMissing:
    @pytest.mark.parametrize(
        ("make", "remedy"),
        [
            (lambda vae: widgets.reconstruction_browser("quick", vae), "awm collect"),
            (lambda vae: widgets.reconstruction_browser(None, vae), "awm collect"),
            (lambda _: widgets.reconstruction_browser(synthetic.Rollouts(), None), "awm train vae"),
            (lambda _: widgets.latent_explorer("quick"), "awm train vae"),
            (lambda _: widgets.latent_explorer("no such profile"), "no such profile"),
        ],
    )
    def test_is_said_in_the_widgets_place(self, make, remedy, vae, tmp_path, monkeypatch):
        monkeypatch.setenv("AWM_ROOT", str(tmp_path))
        notice = make(vae)
        assert isinstance(notice, widgets.Notice)
        bundle = notice._repr_mimebundle_()
        assert remedy in bundle["text/plain"] and remedy in bundle["text/html"]
        assert VIEW in bundle


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook with every widget and a figure, run by papermill."""
    import papermill

    folder = tmp_path_factory.mktemp("notebook")
    cells = [
        SETUP,
        "widgets.reconstruction_browser(rollouts, vae)",
        "widgets.latent_explorer(vae, rollouts)",
        "widgets.latent_explorer('quick')",
        "from awm import figures\nfigures.save(figures.mdp(), 'MDP', caption='A loop & more.')",
        *PLAYERS,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "in.ipynb")
    before = os.environ.get("AWM_ROOT")
    os.environ["AWM_ROOT"] = str(folder)
    try:
        synthetic.workspace()
        synthetic.log_generation()  # of a search that goes on: its monitor must not keep the kernel
        papermill.execute_notebook(
            folder / "in.ipynb", folder / "out.ipynb", progress_bar=False, log_output=False
        )
    finally:
        os.environ.pop("AWM_ROOT") if before is None else os.environ.update(AWM_ROOT=before)
    return nbformat.read(folder / "out.ipynb", as_version=4)


class TestExport:
    def test_a_notebook_holds_the_view_and_the_still(self, executed):
        for cell in executed.cells[1:3] + executed.cells[5:]:
            (output,) = cell.outputs
            # JupyterLab prefers a widget's view to whatever else a result brings.
            assert {VIEW, "image/png", "text/plain"} <= set(output.data)
            assert "JupyterLab" in output.metadata["image/png"]["alt"]

    def test_nbconvert_shows_the_still_once_the_state_is_gone(self, executed):
        from nbconvert import HTMLExporter

        notebook = nbformat.from_dict(executed)
        notebook.metadata.pop("widgets")
        page, _ = HTMLExporter().from_notebook_node(notebook)
        assert pictures(page) == 3 + len(PLAYERS)
        assert VIEW not in page

    def test_the_report_shows_the_still(self, executed):
        page = notebook_page.render(executed).html
        assert pictures(page) == 3 + len(PLAYERS)
        assert VIEW not in page and "LatentExplorer(" not in page
        assert "awm train vae" in page

    def test_a_saved_figure_shows_once_with_its_caption(self, executed):
        (output,) = executed.cells[4].outputs
        assert output.data["text/html"].count("<img") == 1
        assert "<figcaption>A loop &amp; more.</figcaption>" in output.data["text/html"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(folder: Path, module: str, *options: str, ready: str):
    """A Jupyter server that keeps to `folder`; its address, once `ready` answers."""
    port = free_port()
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    environment = {**os.environ, **{name: str(folder / at) for name, at in folders.items()}}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", module, "--no-browser", *options]
    command = [option.replace("PORT", str(port)) for option in command]
    log = folder / "server.log"
    with open(log, "w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}/{ready}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(server: subprocess.Popen, address: str, log: Path, seconds: float = 90) -> None:
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


@pytest.fixture
def jupyterlab(tmp_path):
    """JupyterLab on a notebook with the widgets; yields the notebook's address."""
    cells = [
        SETUP,
        "widgets.reconstruction_browser(rollouts, vae)",
        "widgets.latent_explorer(vae, rollouts)",
        "widgets.dream_player('smoke')",
    ]
    synthetic.workspace()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "widgets.ipynb")
    token = "a-token-for-this-test"
    options = (
        "--allow-root",
        "--ServerApp.ip=127.0.0.1", "--ServerApp.port=PORT", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={tmp_path}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    )  # fmt: skip
    with server(tmp_path, "jupyterlab", *options, ready=f"api/status?token={token}") as address:
        yield f"{address}/lab/tree/widgets.ipynb?reset&token={token}"


@pytest.fixture
def voila(tmp_path):
    """The inspector as `make app` serves it; yields its address."""
    synthetic.workspace()
    synthetic.log_generation()
    notebook = str(ROOT / "app" / "inspector.ipynb")
    options = ("--Voila.ip=127.0.0.1", "--port=PORT", notebook)
    with server(tmp_path, "voila", *options, ready="voila/static/none") as address:
        yield address


@contextmanager
def chromium(address: str):
    """A page at an address; everything may take as long as a busy machine makes it take."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 2000})
        page.set_default_timeout(60_000)
        page.goto(address)
        yield page
        browser.close()


def run_cells(page, count: int) -> None:
    """Run the first cells; again if a page that was still starting has swallowed the keys."""
    from playwright.sync_api import expect

    first = page.locator(".jp-CodeCell").first
    for _ in range(4):
        first.click()
        for _ in range(count):
            page.keyboard.press("Shift+Enter")
        try:
            prompt = first.locator(".jp-InputPrompt")
            return expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=20_000)
        except AssertionError:
            continue


def changes(widgets, act) -> None:
    """Every picture, or text, is another once `act` is done."""
    from playwright.sync_api import expect

    before = [w.get_attribute("src") or w.inner_text() for w in widgets]
    act()
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
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_sliders_move_pictures_in_jupyterlab(jupyterlab):
    from playwright.sync_api import expect

    with chromium(jupyterlab) as page:
        run_cells(page, 4)

        def step(handle, key):
            handle.focus()
            page.keyboard.press(key)

        cell = page.locator(".jp-CodeCell").nth(1)
        handles = cell.locator(".noUi-handle")
        pictures = cell.locator("img.widget-image")
        expect(pictures).to_have_count(3)
        summary = cell.locator(".widget-html-content").last
        said = summary.inner_text()
        changes(pictures.all(), lambda: step(handles.nth(1), "ArrowRight"))  # the frame
        expect(summary).not_to_have_text(said)
        changes(pictures.all(), lambda: step(handles.nth(0), "ArrowRight"))  # the rollout

        cell = page.locator(".jp-CodeCell").nth(2)
        handles = cell.locator(".noUi-handle")
        expect(handles).to_have_count(2 + 32)
        decoded = [cell.locator("img.widget-image").nth(1)]
        title = cell.get_by_text("the same with")
        changes([*decoded, title], lambda: step(handles.nth(5), "ArrowLeft"))
        turned = title.inner_text()
        changes(decoded, lambda: cell.get_by_role("button", name="random dream").click())
        changes(decoded, lambda: cell.get_by_role("button", name="from this frame").click())
        page.wait_for_timeout(1000)
        # The sliders that the buttons set were turned by no one.
        assert title.inner_text() == turned

        cell = page.locator(".jp-CodeCell").nth(3)
        handles, pictures = cell.locator(".noUi-handle"), cell.locator("img.widget-image")
        expect(pictures).to_have_count(2)
        both = pictures.all()
        changes(both, lambda: cell.get_by_role("button", name="step", exact=True).click())
        changes(both[1:], lambda: step(handles.nth(2), "ArrowLeft"))  # the temperature
        changes(both, lambda: step(handles.nth(1), "ArrowLeft"))  # where the dream begins
        changes(both, lambda: cell.locator(".widget-play").nth(1).locator("button").first.click())
        screenshot(page, "jupyterlab")


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_the_inspector_answers_in_voila(voila):
    from playwright.sync_api import expect

    with chromium(voila) as page:
        panel = page.locator(".widget-tab-contents > :not(.lm-mod-hidden)")

        def open_tab(title):
            page.locator(".lm-TabBar-tab", has_text=title).click()

        def right(number):
            panel.locator(".noUi-handle").nth(number).focus()
            page.keyboard.press("ArrowRight")

        picture = panel.locator("img.widget-image")
        expect(picture).to_have_count(1)
        changes([picture], lambda: right(1))
        screenshot(page, "voila-rollouts")
        open_tab("attention")
        expect(picture).to_have_count(2)
        page.get_by_role("button", name="M, spatial attention").click()
        changes(picture.all(), lambda: right(1))
        changes([picture.first], lambda: panel.locator(".widget-play button").first.click())
        screenshot(page, "voila-attention")
        open_tab("evolution")
        said = panel.get_by_text("best validation")
        changes([said], synthetic.log_generation)  # a search in another process goes on
        screenshot(page, "voila-evolution")
        page.get_by_role("button", name="quick", exact=True).click()
        expect(panel.get_by_role("note")).to_contain_text("awm evolve --profile quick")
