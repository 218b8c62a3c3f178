"""Dreams and attention: what M makes of a rollout, as the widgets show it."""

import numpy as np
import pytest
import torch
from shown import cursor, pixels

from awm import figures, widgets
from awm.data.rollouts import open_rollouts
from awm.ids import ATTENTIONS, PLAIN, Memory
from awm.study.likelihood import attention_weights
from awm.training import mdn_rnn, vae


@pytest.fixture
def rollouts(synthetic_ws):
    return open_rollouts(synthetic_ws)


class TestDreamPlayer:
    def test_a_step_dreams_on_beside_what_happened(self, synthetic_ws, rollouts):
        player = widgets.dream_player(synthetic_ws)
        before = pixels(player.dreamt)
        assert player.rollout.value in rollouts.indices("test")
        assert not set(player.rollout.options) & set(rollouts.indices("train"))
        player.one_step.click()
        assert player.step.value == 1 and not np.array_equal(pixels(player.dreamt), before)
        frames = rollouts.episode(player.rollout.value).frames
        assert np.array_equal(pixels(player.real), frames[player.frame.value + 1])
        assert "after 1 steps" in player.summary.value
        player.reset.click()
        assert player.step.value == 0 and np.array_equal(pixels(player.dreamt), before)

    @pytest.mark.parametrize("kind", ["plain", "spatial", "temporal"])
    def test_the_dream_begins_with_what_m_has_seen(self, synthetic_ws, rollouts, kind):
        player = widgets.dream_player(synthetic_ws, Memory(kind))
        player.frame.value = 20
        episode = rollouts.episode(player.rollout.value)
        mu, _, maps = vae.load(synthetic_ws).encode_frames(episode.frames[:20])
        m = mdn_rnn.load(synthetic_ws, Memory(kind))
        with torch.inference_mode():
            hidden, _ = m(
                *(torch.from_numpy(x)[None] for x in (mu, episode.actions[:20])),
                torch.from_numpy(maps)[None] if m.needs_map else None,
            )
        _, h, _ = player.dream(0)[0]
        assert torch.allclose(h, hidden[:, -1], atol=1e-4)

    def test_the_same_noise_is_the_same_dream(self, synthetic_ws):
        one, other = widgets.dream_player(synthetic_ws), widgets.dream_player(synthetic_ws)
        one.step.value = 9
        for _ in range(9):
            other.one_step.click()
        assert np.array_equal(pixels(one.dreamt), pixels(other.dreamt))
        other.again.click()
        assert other.step.value == 0
        other.step.value = 9
        assert not np.array_equal(pixels(one.dreamt), pixels(other.dreamt))

    def test_temperature_turns_the_dream_where_it_stands(self, synthetic_ws):
        player = widgets.dream_player(synthetic_ws)
        player.step.value = 5
        dreamt, real = pixels(player.dreamt), pixels(player.real)
        player.temperature.value = 0.25
        assert player.step.value == 5
        assert not np.array_equal(pixels(player.dreamt), dreamt)
        assert np.array_equal(pixels(player.real), real)
        player.temperature.value = 1.0
        assert np.array_equal(pixels(player.dreamt), dreamt)

    def test_another_m_dreams_from_the_start_in_its_colour(self, synthetic_ws):
        player = widgets.dream_player(synthetic_ws)
        for memory in (*map(Memory, ATTENTIONS), PLAIN):
            player.step.value = 3
            dreamt = pixels(player.dreamt)
            player.memory.value = memory
            assert player.step.value == 0
            player.step.value = 3
            assert not np.array_equal(pixels(player.dreamt), dreamt)
            assert figures.COLORS[memory.kind] in player.curves.plot.value

    def test_a_dream_ends_with_the_rollout(self, synthetic_ws):
        player = widgets.dream_player(synthetic_ws)
        player.frame.value = player.frame.max
        assert player.step.max == 1
        player.one_step.click()
        player.one_step.click()
        assert player.step.value == 1


class TestAttentionViewer:
    @pytest.mark.parametrize("kind", ATTENTIONS)
    def test_the_weights_are_ms(self, synthetic_ws, rollouts, kind):
        viewer = widgets.attention_viewer(synthetic_ws)
        viewer.memory.value = Memory(kind)
        m, v = mdn_rnn.load(synthetic_ws, Memory(kind)), vae.load(synthetic_ws)
        expected = attention_weights(m, v, rollouts.episode(viewer.rollout.value))
        if kind == "temporal":  # the latest state first
            expected = expected[:, ::-1]
        assert np.allclose(viewer.weights, expected, atol=1e-4)

    @pytest.mark.parametrize("kind", ATTENTIONS)
    def test_a_frame_moves_picture_weights_and_cursor(self, synthetic_ws, kind):
        viewer = widgets.attention_viewer(synthetic_ws, Memory(kind))
        weights = viewer.lit.image if kind == "spatial" else viewer.bars
        shown = (viewer.picture.image, weights, viewer.map.cursor, viewer.summary)
        before, heat = [widget.value for widget in shown], viewer.map.plot.value
        at = cursor(viewer.map)
        viewer.frame.value += 5
        assert all(a != b.value for a, b in zip(before, shown, strict=True))
        assert viewer.map.plot.value == heat and cursor(viewer.map) > at
        viewer.rollout.value = viewer.rollout.options[1]
        assert viewer.map.plot.value != heat

    def test_the_first_step_has_no_past(self, synthetic_ws):
        viewer = widgets.attention_viewer(synthetic_ws, Memory("temporal"))
        viewer.frame.value = 0
        assert "no past" in viewer.summary.value

    def test_an_m_without_attention_is_refused(self, synthetic_ws):
        assert "Choose feature" in widgets.attention_viewer(synthetic_ws, PLAIN).message
