"""C: one linear layer on [z, h], with weights of its own for every lane."""

import numpy as np
import torch

from awm.models.controller import Controller, Inputs, act


def test_c_has_the_papers_parameters_and_squashes():
    inputs = Inputs(np.zeros(288), np.ones(288))
    assert inputs.parameters == 867
    layer = torch.zeros(2, 3, 289)
    assert act(layer, torch.randn(2, 288))[0].tolist() == [0.0, 0.5, 0.0]
    layer[:, :, -1] = torch.tensor([-100.0, 100.0, 100.0])
    assert act(layer, torch.randn(2, 288))[1].tolist() == [-1.0, 1.0, 1.0]


def test_each_lane_has_its_own_layer():
    rng = np.random.default_rng(0)
    layers = torch.from_numpy(rng.normal(size=(5, 3, 97)).astype(np.float32))
    inputs = torch.randn(5, 96)
    together = act(layers, inputs)
    for i in range(5):
        raw = layers[i, :, :-1] @ inputs[i] + layers[i, :, -1]
        expected = [raw[0].tanh(), raw[1].sigmoid(), raw[2].tanh().clamp(min=0)]
        assert torch.allclose(together[i], torch.stack(expected), atol=1e-5)


def test_folding_is_the_layer_on_standardised_inputs():
    rng = np.random.default_rng(0)
    inputs = Inputs(rng.normal(size=6), rng.uniform(0.2, 3, 6))
    parameters, x = rng.normal(size=(4, 21)), rng.normal(size=6)
    folded = inputs.fold(parameters)
    assert folded.shape == (4, 3, 7) and folded.dtype == np.float32
    layer = parameters.reshape(4, 3, 7)
    expected = layer[..., :6] @ ((x - inputs.mean) / inputs.deviation) + layer[..., 6]
    assert np.allclose(folded[..., :6] @ x + folded[..., 6], expected, atol=1e-5)
    assert np.array_equal(Controller(parameters[0], inputs).weights, folded[0])
