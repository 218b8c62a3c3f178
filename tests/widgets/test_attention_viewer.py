"""Attention: where M looks along a rollout, as the widget shows it."""

import numpy as np
import pytest
from shown import cursor

from awm import widgets
from awm.data.rollouts import open_rollouts
from awm.ids import ATTENTIONS, PLAIN, Memory
from awm.study.likelihood import attention_weights
from awm.training import mdn_rnn, vae


@pytest.fixture
def rollouts(synthetic_ws):
    return open_rollouts(synthetic_ws)


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
