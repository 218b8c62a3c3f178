"""What all widgets do: a still picture, a note of what is missing; the monitor, the inspector."""

import time

import pytest
import synthetic
from shown import VIEW

from awm import figures, widgets
from awm.config import PRESETS
from awm.errors import AwmError
from awm.evolution import search
from awm.ids import Agent, Memory
from awm.store import Workspace
from awm.widgets import evolution as monitor

SPATIAL = Agent(Memory("spatial"))


@pytest.fixture
def searching(workspace) -> Workspace:
    """A workspace with one search, which goes on."""
    ws = Workspace.open("smoke", workspace)
    synthetic.log_generation(ws)
    return ws


@pytest.fixture
def both(synthetic_ws):
    """The synthetic workspace with a search that is over."""
    if not search.log_of(synthetic_ws, SPATIAL):
        synthetic.log_generation(synthetic_ws, SPATIAL)
        synthetic.log_generation(synthetic_ws, SPATIAL, over=True)
    return synthetic_ws


class TestStill:
    @pytest.mark.parametrize(
        ("make", "arguments"),
        [
            (widgets.rollout_player, ()),
            (widgets.reconstruction_browser, ()),
            (widgets.latent_explorer, ()),
            (widgets.dream_player, ()),
            (widgets.attention_viewer, (Memory("feature"),)),
            (widgets.attention_viewer, (Memory("spatial"),)),
            (widgets.attention_viewer, (Memory("temporal"),)),
            (widgets.evolution_monitor, (SPATIAL,)),
        ],
    )
    def test_each_widget_brings_one(self, both, make, arguments):
        bundle, metadata = make(both, *arguments)._repr_mimebundle_()
        assert VIEW in bundle
        ((kind, about),) = metadata.items()
        assert bundle[kind].startswith({"image/png": b"\x89PNG", "image/svg+xml": "<svg"}[kind])
        assert "JupyterLab" in about["alt"] == bundle["text/plain"]

    def test_a_search_without_a_generation_says_so(self, searching):
        (searching.own / "agents/plain_track.jsonl").write_text("")
        shown = widgets.evolution_monitor(searching)
        assert "No generation" in shown.summary.value
        assert "no evolution to show" in shown._repr_mimebundle_()["text/plain"]
        shown.close()


class TestWhatIsMissing:
    @pytest.mark.parametrize(
        ("make", "remedy"),
        [
            (lambda: widgets.rollout_player("quick"), "awm collect --profile quick"),
            (lambda: widgets.reconstruction_browser("quick"), "awm collect --profile quick"),
            (lambda: widgets.latent_explorer("quick"), "awm train vae --profile quick"),
            (lambda: widgets.dream_player("quick"), "awm train vae --profile quick"),
            (lambda: widgets.attention_viewer("quick"), "awm collect"),
            (lambda: widgets.evolution_monitor("quick"), "awm evolve plain_track --profile quick"),
            (lambda: widgets.evolution_monitor("quick", Agent(Memory("V"))), "awm evolve V_track"),
            (lambda: widgets.dream_player("no such profile"), "no such profile"),
            (lambda: widgets.inspector("no such profile"), "no such profile"),
        ],
    )
    def test_is_said_in_the_widgets_place(self, make, remedy):
        notice = make()
        assert isinstance(notice, widgets.Notice)
        bundle = notice._repr_mimebundle_()
        assert remedy in bundle["text/plain"] and remedy in bundle["text/html"] and VIEW in bundle

    def test_an_m_that_is_not_trained_is_named(self, workspace):
        ws = synthetic.workspace(workspace, kinds=["plain"], agents=())
        notice = widgets.attention_viewer(ws)
        assert isinstance(notice, widgets.Notice) and "--kind temporal" in notice.message


class TestDemonstration:
    @pytest.mark.parametrize("name", ["hero", "latents", "temperature"])
    def test_the_browser_is_sent_what_it_asks_for(self, synthetic_ws, name, monkeypatch):
        shown, sent = widgets.Demonstration(synthetic_ws, name), []
        monkeypatch.setattr(shown, "send", sent.append)
        assert f'data-demo="{name}"' in shown.html and len(shown.html) < 1e5
        shown._handle_custom_msg("parts", [])
        (parts,) = sent
        assert parts["world"]["z"] == 32 and parts["world"]["starts"]
        assert "awmDemos" in shown._esm and ".demo" in shown._css

    def test_what_there_is_not_is_refused(self, synthetic_ws):
        with pytest.raises(AwmError, match="no demonstration 'swan'. Choose one of hero"):
            widgets.Demonstration(synthetic_ws, "swan")


class TestEvolutionMonitor:
    @pytest.fixture
    def quick_looks(self, monkeypatch):
        monkeypatch.setattr(monitor, "INTERVAL", 0.02)

    def wait_for(self, condition):
        deadline = time.monotonic() + 10
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert condition()

    def test_follows_a_log_until_the_search_is_over(self, searching, quick_looks):
        shown = widgets.evolution_monitor(searching, Agent())
        assert "generation 0" in shown.summary.value and "going on" in shown.summary.value
        before = shown.plot.value
        synthetic.log_generation(searching)
        self.wait_for(lambda: "generation 1" in shown.summary.value)
        assert shown.plot.value != before and figures.COLORS["plain"] in shown.plot.value
        synthetic.log_generation(searching, over=True)
        self.wait_for(lambda: "finished" in shown.summary.value)
        self.wait_for(lambda: not shown._thread.is_alive())

    def test_closing_it_ends_the_thread(self, searching, quick_looks):
        shown = widgets.evolution_monitor(searching)
        assert shown._thread.is_alive()
        shown.close()
        self.wait_for(lambda: not shown._thread.is_alive())

    def test_a_line_half_written_waits_and_a_damaged_log_is_named(self, searching):
        shown = widgets.evolution_monitor(searching)
        path = searching.own / "agents/plain_track.jsonl"
        whole = path.read_text()
        path.write_text(whole + whole[:20])
        shown.redraw()
        assert "generation 0" in shown.summary.value
        path.write_text(whole[:20] + "\n" + whole)
        shown.redraw()
        assert "damaged" in shown.summary.value
        shown.close()

    def test_another_search_can_be_chosen(self, searching):
        for over in (False, True):
            synthetic.log_generation(searching, SPATIAL, over)
        shown = widgets.evolution_monitor(searching, SPATIAL)
        plot = shown.plot.value
        assert "finished" in shown.summary.value
        shown.search.value = Agent()
        assert shown.plot.value != plot and "going on" in shown.summary.value
        shown.close()


class TestInspector:
    def test_opens_tab_by_tab_on_the_profile_that_has_rollouts(self, both, monkeypatch):
        monkeypatch.setenv("AWM_ROOT", str(both.root))
        page = widgets.inspector()
        assert page.profile.value == "smoke"
        for n, title in enumerate(page.tabs.titles):
            assert bool(page.tabs.children[n].children) == (n == 0), title
        page.tabs.selected_index = 1
        page.shown.frame.value += 1
        for n in range(len(page.tabs.children)):
            page.tabs.selected_index = n
            assert isinstance(page.shown, widgets.Panel | widgets.Demonstration)

    def test_another_profile_says_what_is_missing(self, both):
        page = widgets.inspector(both)
        page.profile.value = "quick"
        assert isinstance(page.shown, widgets.Notice)
        page.profile.value = "smoke"
        assert isinstance(page.shown, widgets.Panel)

    def test_a_profile_of_ones_own_can_be_chosen(self, workspace):
        smoke = Workspace.open("smoke", workspace)
        mine = Workspace.open(smoke.profile.but("mine", mdn_rnn__hidden_size=8), workspace)
        assert widgets.inspector(smoke).profile.options == (*PRESETS, "mine")
        assert "awm collect --profile mine" in widgets.inspector(mine).shown.message
