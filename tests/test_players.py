"""The players, the monitor and the inspector of awm.widgets: what a change changes."""

import io
import re
import time

import numpy as np
import pytest
import synthetic
import torch
from PIL import Image

from awm import dataset, figures, mdn_rnn, vae, widgets
from awm.rollout import Recording
from awm.widgets import evolution as monitor

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A workspace with everything that can be looked at, and a search that goes on."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWM_ROOT", str(folder))
        synthetic.workspace()
        synthetic.log_generation("spatial", over=True)
    return folder


@pytest.fixture
def models(root, monkeypatch):
    monkeypatch.setenv("AWM_ROOT", str(root))
    return dataset.open_rollouts("smoke")


def pixels(image) -> np.ndarray:
    """What an image widget shows, [64, 64, 3]."""
    return np.asarray(Image.open(io.BytesIO(image.value)))[2::4, 2::4]


def cursor(timeline) -> float:
    return float(re.search(r"margin-left: ([\d.]+)px", timeline.cursor.value)[1])


class TestRolloutPlayer:
    def test_picture_and_cursor_keep_to_the_frame_and_the_curves_stay(self, models):
        player = widgets.rollout_player("smoke")
        curves, at = player.curves.plot.value, cursor(player.curves)
        player.frame.value += 6
        assert np.array_equal(pixels(player.seen), models.episode(0).frames[player.frame.value])
        assert cursor(player.curves) > at and player.curves.plot.value == curves
        so_far = models.episode(0).rewards[: player.frame.value].sum()
        assert f"return so far <b>{so_far:.1f}</b>" in player.summary.value

    def test_another_rollout_has_other_curves(self, models):
        player = widgets.rollout_player(models, "smoke")
        curves = player.curves.plot.value
        assert len(re.findall("<polyline", curves)) == 5 + 6  # what was done and earned; latents
        player.rollout.value = 2
        assert player.curves.plot.value != curves
        player.frame.value = player.frame.max  # after the last action
        assert "the end" in player.summary.value

    def test_without_v_it_shows_the_rest_and_says_what_to_run(self, models):
        player = widgets.rollout_player(models)
        assert len(re.findall("<polyline", player.curves.plot.value)) == 5
        assert "awm train vae" in player.children[-1].value

    def test_an_agents_drive_plays_too(self, models):
        frames = synthetic.road_frames(9)
        somewhere = np.zeros((9, 2))
        recording = Recording(
            frames, np.zeros((9, 3)), np.ones(9), None, frames[:0], somewhere, somewhere
        )
        player = widgets.rollout_player(recording, "smoke")
        player.frame.value = 8
        assert np.array_equal(pixels(player.seen), frames[8])
        assert "return so far <b>8.0</b>" in player.summary.value


class TestDreamPlayer:
    def test_a_step_dreams_on_beside_what_happened(self, models):
        player = widgets.dream_player("smoke")
        before = player.dreamt.value
        assert player.rollout.options[0] in models.indices("test")
        player.one_step.click()
        assert player.step.value == 1 and player.dreamt.value != before
        frames = models.episode(player.rollout.value).frames
        assert np.array_equal(pixels(player.real), frames[player.frame.value + 1])
        assert "after 1 steps" in player.summary.value
        player.reset.click()
        assert player.step.value == 0 and player.dreamt.value == before

    def test_the_dream_begins_with_what_m_has_seen(self, models):
        for kind in ("none", "spatial", "temporal"):
            player = widgets.dream_player("smoke", kind)
            player.frame.value = 20
            player.one_step.click()
            episode = models.episode(player.rollout.value)
            mu, _, maps = vae.load("smoke").encode_frames(episode.frames[:20])
            m = mdn_rnn.load("smoke", kind)
            with torch.inference_mode():
                hidden, _ = m(
                    *(torch.from_numpy(x)[None] for x in (mu, episode.actions[:20])),
                    torch.from_numpy(maps)[None] if m.needs_map else None,
                )
            begin = player._dream.moments[0]
            assert torch.allclose(begin.state.h, hidden[:, -1], atol=1e-4), kind

    def test_the_same_noise_is_the_same_dream(self, models):
        one, other = widgets.dream_player("smoke"), widgets.dream_player("smoke")
        one.step.value = 9
        for _ in range(9):
            other.one_step.click()
        assert one.dreamt.value == other.dreamt.value
        other.again.click()
        assert other.step.value == 0
        other.step.value = 9
        assert one.dreamt.value != other.dreamt.value

    def test_temperature_turns_the_dream_where_it_stands(self, models):
        player = widgets.dream_player("smoke")
        player.step.value = 5
        dreamt, real = player.dreamt.value, player.real.value
        player.temperature.value = 0.25
        assert player.step.value == 5
        assert player.dreamt.value != dreamt and player.real.value == real
        player.temperature.value = 1.0
        assert player.dreamt.value == dreamt

    def test_another_m_dreams_from_the_start_in_its_colour(self, models):
        player = widgets.dream_player("smoke")
        for kind in ("feature", "spatial", "temporal", "none"):
            player.step.value = 3
            dreamt = player.dreamt.value
            player.kind.value = kind
            assert player.step.value == 0
            player.step.value = 3
            assert player.dreamt.value != dreamt
            assert figures.COLORS[kind] in player.curves.plot.value

    def test_a_dream_ends_with_the_rollout(self, models):
        player = widgets.dream_player("smoke")
        player.frame.value = player.frame.max
        assert player.step.max == 1
        player.one_step.click()
        player.one_step.click()
        assert player.step.value == 1


class TestAttentionViewer:
    def test_the_weights_are_ms(self, models):
        viewer = widgets.attention_viewer("smoke")
        for kind in ("feature", "spatial", "temporal"):
            viewer.kind.value = kind
            expected = mdn_rnn.attention_weights(
                mdn_rnn.load("smoke", kind), vae.load("smoke"), models.episode(viewer.rollout.value)
            )
            assert np.allclose(viewer.weights, expected, atol=1e-4)

    @pytest.mark.parametrize("kind", ["feature", "spatial", "temporal"])
    def test_a_frame_moves_picture_weights_and_cursor(self, models, kind):
        viewer = widgets.attention_viewer("smoke", kind)
        weights = viewer.lit if kind == "spatial" else viewer.bars
        shown = (viewer.seen, weights, viewer.map.cursor, viewer.summary)
        before, heat = [widget.value for widget in shown], viewer.map.plot.value
        viewer.frame.value += 5
        assert all(a != b.value for a, b in zip(before, shown, strict=True))
        assert viewer.map.plot.value == heat
        viewer.rollout.value = viewer.rollout.options[1]
        assert viewer.map.plot.value != heat

    def test_the_first_step_has_no_past(self, models):
        viewer = widgets.attention_viewer("smoke", "temporal")
        viewer.frame.value = 0
        assert "no past" in viewer.summary.value


class TestEvolutionMonitor:
    @pytest.fixture
    def quick_looks(self, monkeypatch):
        monkeypatch.setattr(monitor, "INTERVAL", 0.02)

    def wait_for(self, condition):
        deadline = time.monotonic() + 10
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert condition()

    def test_follows_a_log_until_the_search_is_over(self, quick_looks):
        synthetic.log_generation("none")
        shown = widgets.evolution_monitor("smoke", "none")
        assert "generation 0" in shown.summary.value and "going on" in shown.summary.value
        before = shown.plot.value
        synthetic.log_generation("none")
        self.wait_for(lambda: "generation 1" in shown.summary.value)
        assert shown.plot.value != before and figures.COLORS["none"] in shown.plot.value
        synthetic.log_generation("none", over=True)
        self.wait_for(lambda: "finished" in shown.summary.value)
        self.wait_for(lambda: not shown._thread.is_alive())

    def test_closing_it_ends_the_thread(self, quick_looks):
        synthetic.log_generation("none")
        shown = widgets.evolution_monitor("smoke")
        assert shown._thread.is_alive()
        shown.close()
        self.wait_for(lambda: not shown._thread.is_alive())

    def test_a_line_half_written_waits_and_a_damaged_log_is_named(self):
        synthetic.log_generation("none")
        shown = widgets.evolution_monitor("smoke")
        path = monitor.evolution.log_path(shown._profile, "none")
        whole = path.read_text()
        path.write_text(whole + whole[:20])
        shown.refresh()
        assert "generation 0" in shown.summary.value
        path.write_text(whole[:20] + "\n" + whole)
        shown.refresh()
        assert "damaged" in shown.summary.value
        shown.close()

    def test_another_search_can_be_chosen(self):
        synthetic.log_generation("none")
        synthetic.log_generation("spatial", over=True)
        shown = widgets.evolution_monitor("smoke", "spatial")
        plot = shown.plot.value
        shown.search.value = "none"
        assert shown.plot.value != plot and "going on" in shown.summary.value
        shown.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: widgets.rollout_player("smoke"),
        lambda: widgets.dream_player("smoke"),
        lambda: widgets.attention_viewer("smoke", "feature"),
        lambda: widgets.attention_viewer("smoke", "spatial"),
        lambda: widgets.attention_viewer("smoke", "temporal"),
        lambda: widgets.evolution_monitor("smoke"),
    ],
)
def test_each_brings_a_still_picture(models, make):
    bundle, metadata = make()._repr_mimebundle_()
    assert VIEW in bundle and bundle["image/png"].startswith(b"\x89PNG")
    assert "JupyterLab" in metadata["image/png"]["alt"]


class TestWhatIsMissing:
    @pytest.mark.parametrize(
        ("make", "remedy"),
        [
            (lambda: widgets.rollout_player("quick"), "awm collect"),
            (lambda: widgets.dream_player("quick"), "awm collect"),
            (lambda: widgets.attention_viewer("quick"), "awm collect"),
            (lambda: widgets.evolution_monitor("quick"), "awm evolve"),
            (lambda: widgets.evolution_monitor("smoke", "V"), "'V'"),
            (lambda: widgets.dream_player("no such profile"), "no such profile"),
        ],
    )
    def test_is_said_in_the_widgets_place(self, models, make, remedy):
        notice = make()
        assert isinstance(notice, widgets.Notice) and remedy in notice.message

    def test_an_m_that_is_not_trained_is_named(self):
        synthetic.workspace(kinds=["none"])
        assert "--attention spatial" in widgets.dream_player("smoke").children[-1].value
        notice = widgets.attention_viewer("smoke")
        assert isinstance(notice, widgets.Notice) and "--attention temporal" in notice.message


class TestInspector:
    def test_opens_tab_by_tab_on_the_profile_that_has_rollouts(self, models):
        page = widgets.inspector()
        assert page.profile.value == "smoke"
        for n, title in enumerate(page.tabs.titles):
            assert bool(page.tabs.children[n].children) == (n == 0), title
        page.tabs.selected_index = 3
        page.shown.one_step.click()
        assert page.shown.step.value == 1
        for n in range(len(page.tabs.children)):
            page.tabs.selected_index = n
            assert isinstance(page.shown, widgets.Panel)

    def test_another_profile_says_what_is_missing(self, models):
        page = widgets.inspector()
        page.profile.value = "quick"
        assert isinstance(page.shown, widgets.Notice)
        page.profile.value = "smoke"
        assert isinstance(page.shown, widgets.Panel)
