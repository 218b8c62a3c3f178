"""Rollouts, reconstructions and latents: what a change of a control changes."""

import re
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from shown import cursor, pixels

from awm import stages, widgets
from awm.data.rollouts import Rollouts, open_rollouts
from awm.errors import AwmError
from awm.models.vae import to_frames, to_input
from awm.store import Workspace
from awm.training import vae
from awm.widgets import latents
from awm.worlds.lanes import Recording


@pytest.fixture
def rollouts(synthetic_ws):
    return open_rollouts(synthetic_ws)


class TestReconstructionBrowser:
    def test_shows_the_chosen_frame(self, synthetic_ws, rollouts):
        browser = widgets.reconstruction_browser(synthetic_ws)
        for rollout, frame in ((0, 3), (2, 25), (1, 0)):
            browser.rollout.value = rollout
            browser.frame.value = frame
            assert np.array_equal(pixels(browser.original), rollouts.episode(rollout).frames[frame])

    def test_a_slider_changes_every_picture_and_the_number(self, synthetic_ws):
        browser = widgets.reconstruction_browser(synthetic_ws)
        before, said = [pixels(picture) for picture in browser.pictures], browser.summary.value
        browser.frame.value += 4
        assert browser.summary.value != said
        for picture, shown in zip(browser.pictures, before, strict=True):
            assert not np.array_equal(pixels(picture), shown)

    def test_the_number_is_the_summed_squared_error(self, synthetic_ws):
        browser = widgets.reconstruction_browser(synthetic_ws)
        one, other = (pixels(i) / 255 for i in (browser.original, browser.reconstruction))
        assert f"{np.square(one - other).sum():.1f}" in browser.summary.value
        assert "synthetic driver" in browser.summary.value
        assert "train split" in browser.summary.value

    def test_frames_end_with_the_rollout(self, synthetic_ws, rollouts, monkeypatch):
        def episode(self, index):
            return replace(whole, frames=whole.frames[: 20 + 5 * index])

        whole = rollouts.episode(0)
        monkeypatch.setattr(Rollouts, "episode", episode)
        browser = widgets.reconstruction_browser(synthetic_ws)
        browser.rollout.value = 2
        browser.frame.value = browser.frame.max
        browser.rollout.value = 0
        assert browser.frame.value == browser.frame.max == browser.play.max == 19
        assert np.array_equal(pixels(browser.original), whole.frames[19])

    @pytest.mark.parametrize("damaged", [0, 1])
    def test_a_damaged_episode_is_named_and_the_others_still_show(
        self, synthetic_ws, monkeypatch, damaged
    ):
        read = Rollouts.episode

        def episode(self, index):
            if index == damaged:
                raise AwmError(f"Episode {index} is damaged. Collect it again.")
            return read(self, index)

        monkeypatch.setattr(Rollouts, "episode", episode)
        browser = widgets.reconstruction_browser(synthetic_ws)
        browser.rollout.value = damaged
        assert "damaged" in browser.summary.value
        browser.rollout.value = 2
        assert "rollout 2" in browser.summary.value
        browser.frame.value = 40
        assert "frame 40 of 48" in browser.summary.value
        explorer = widgets.latent_explorer(synthetic_ws)
        explorer.rollout.value = damaged
        explorer.from_frame.click()
        assert "damaged" in explorer.summary.value


class TestRolloutPlayer:
    def test_picture_and_cursor_keep_to_the_frame_and_the_curves_stay(self, synthetic_ws, rollouts):
        player, episode = widgets.rollout_player(synthetic_ws), rollouts.episode(0)
        curves, at = player.curves.plot.value, cursor(player.curves)
        assert player.play.value == player.frame.value == 24  # else a browser would go to the first
        player.frame.value += 6
        assert np.array_equal(pixels(player.picture), episode.frames[player.frame.value])
        assert cursor(player.curves) > at and player.curves.plot.value == curves
        so_far = episode.rewards[: player.frame.value].sum()
        assert f"return so far <b>{so_far:.1f}</b>" in player.summary.value

    def test_another_rollout_has_other_curves(self, synthetic_ws):
        player = widgets.rollout_player(synthetic_ws)
        curves = player.curves.plot.value
        assert len(re.findall("<polyline", curves)) == 5 + 6  # what was done and earned; latents
        player.rollout.value = 2
        assert player.curves.plot.value != curves
        player.frame.value = player.frame.max  # after the last action
        assert "the end" in player.summary.value

    def test_without_v_it_shows_the_rest_and_says_what_to_run(self, workspace):
        ws = Workspace.open("smoke", workspace)
        synthetic.record(ws)
        player = widgets.rollout_player(ws)
        assert len(re.findall("<polyline", player.curves.plot.value)) == 5
        assert "awm train vae" in player.children[-1].value

    def test_an_agents_drive_plays_too(self, synthetic_ws):
        frames = synthetic.road_frames(9)
        drive = Recording(frames, np.zeros((9, 3)), np.ones(9), None)
        player = widgets.rollout_player(synthetic_ws, drive)
        player.frame.value = 8
        assert np.array_equal(pixels(player.picture), frames[8])
        assert "return so far <b>8.0</b>" in player.summary.value


class TestLatentExplorer:
    @pytest.fixture
    def explorer(self, synthetic_ws):
        return widgets.latent_explorer(synthetic_ws)

    def test_every_latent_has_a_slider_that_redraws(self, explorer):
        assert len(explorer.sliders) == 32
        explorer.zero.click()
        for slider in explorer.sliders:
            before = pixels(explorer.decoded)
            slider.value = 2.5
            assert not np.array_equal(pixels(explorer.decoded), before)
        assert explorer.z.tolist() == [2.5] * 32

    def test_the_most_informative_come_first(self, workspace):
        ws, kl = Workspace.open("smoke", workspace), np.zeros(32)
        kl[[7, 3]] = 2.0, 1.0
        tensors = synthetic.random_vae(32, "patches", "folded").state_dict()
        ws.save(stages.vae(ws.profile), tensors, kl_per_latent=kl.tolist())
        explorer = widgets.latent_explorer(ws)  # there are no rollouts: z begins at zero
        assert explorer.order[:2] == [7, 3] and not explorer.z.any()
        grid, note = explorer.children[-2:]
        assert [slider.description for slider in grid.children[:2]] == ["z7", "z3"]
        assert explorer.sliders[7].style.handle_color != explorer.sliders[8].style.handle_color
        assert "awm collect" in note.value

    def test_from_this_frame(self, explorer, synthetic_ws, rollouts):
        explorer.zero.click()
        assert not explorer.z.any()
        flat = pixels(explorer.decoded)
        explorer.rollout.value = 1
        explorer.frame.value = 7
        frame = rollouts.episode(1).frames[7]
        assert np.array_equal(pixels(explorer.original), frame)
        explorer.from_frame.click()
        assert explorer.z.any() and not np.array_equal(pixels(explorer.decoded), flat)
        v = vae.load(synthetic_ws)
        expected = to_frames(v.decode(v.encode(to_input(frame[None]))[0]))
        # The last bit may turn with the size of the batch.
        assert np.abs(pixels(explorer.decoded) - expected[0].astype(int)).max() <= 1

    def test_sliders_widen_for_a_frame_out_of_the_ordinary(self, explorer):
        explorer.show(np.full(32, -6.3))
        assert explorer.sliders[0].value == -6.25 and explorer.sliders[0].max == 8
        assert explorer.z[0] == pytest.approx(-6.3)
        explorer.show(np.zeros(32))
        assert explorer.sliders[0].min == -latents.REACH

    def test_a_value_echoed_by_the_browser_changes_nothing(self, explorer):
        explorer.sliders[9].value = -3.5
        explorer.show(np.full(32, 0.347))
        shown = pixels(explorer.decoded)
        explorer.sliders[4].value = 0.35
        assert np.array_equal(pixels(explorer.decoded), shown)
        assert explorer.z[4] == pytest.approx(0.347) and "z9" in explorer.strip.title.value

    def test_random_dreams_differ_and_draw_once(self, explorer, monkeypatch):
        draw, drawn = explorer.decoded.draw, []
        monkeypatch.setattr(explorer.decoded, "draw", lambda p: drawn.append(p) or draw(p))
        explorer.random_dream.click()
        explorer.random_dream.click()
        assert len(drawn) == 2 and not np.array_equal(*drawn)
