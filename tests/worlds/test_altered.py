"""Worlds that look otherwise are the same to drive in."""

import numpy as np
import pytest
import torch

from awm.errors import AwmError
from awm.ids import Memory
from awm.worlds import altered
from awm.worlds.altered import BAR, CORNER, PATCH
from awm.worlds.crew import track_world

ACTION = torch.tensor([[0.2, 0.6, 0.0]])


def driven(smoke, alteration, seed=5):
    """What was seen and earned in some steps."""
    world, seen, earned = track_world(smoke, Memory("V"), lanes=1, alteration=alteration), [], []
    world.begin(0, seed)
    for _ in range(70):
        world.observe([0])
        seen.append(world.frame(0))
        earned.append(world.step(ACTION, [0])[0][0])
    return np.stack(seen).astype(int), earned, world


@pytest.mark.parametrize("alteration", altered.ALTERATIONS)
def test_only_the_looks_are_altered(alteration, smoke):
    plain, earned, before = driven(smoke, None)
    seen, again, after = driven(smoke, alteration)
    assert again == earned and after.simulator.tracks == before.simulator.tracks
    assert not torch.equal(after.perception.z, before.perception.z), "V sees it"
    differs = (seen != plain).any(axis=-1)
    if alteration == "bars":
        assert (seen[:, :, :BAR] == 0).all() and (seen[:, :, -BAR:] == 0).all()
        assert not differs[:, :, BAR:-BAR].any()
    if alteration == "patch":
        rows, columns = (slice(start, start + PATCH) for start in CORNER)
        assert (seen[:, rows, columns] == (255, 0, 0)).all()
        differs[:, rows, columns] = False
        assert not differs.any()
    if alteration == "colours":
        assert differs.mean() > 0.5
        assert (driven(smoke, alteration)[0] == seen).all(), "the same for the same seed"
        assert (driven(smoke, alteration, 6)[0][-1] != seen[-1]).any()


def test_colours_are_drawn_as_gymnasium_draws_them():
    for seed in range(20):
        road, field, grass = altered.colours(seed)
        assert (road >= 0).all() and (road <= 210).all()
        assert sorted(grass - field) == pytest.approx([0, 0, 20])


def test_what_cannot_be_altered_is_said(smoke):
    with pytest.raises(AwmError, match="no alteration 'fog'.*colours, bars, patch"):
        track_world(smoke, Memory("V"), lanes=1, alteration="fog")
    with pytest.raises(AwmError, match="fast frames only"):
        track_world(smoke, Memory("V"), lanes=1, frames="reference", alteration="colours")
