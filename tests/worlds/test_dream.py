"""Dreams: reproducible, independent of their batch, and what M says they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.ids import ATTENTIONS, Memory
from awm.models.attention import Items
from awm.models.controller import act
from awm.models.feature_map import through_frames
from awm.models.mdn_rnn import State
from awm.training import feature_map, mdn_rnn, vae
from awm.worlds import dream, lanes
from awm.worlds.crew import Dream
from awm.worlds.dream import DreamSource, DreamWorld, imagine
from awm.worlds.lanes import Job, drive, record


def layers(count, inputs=97):
    return np.random.default_rng(0).normal(size=(count, 3, inputs)).astype(np.float32) * 0.2


@pytest.fixture
def long_dreams(monkeypatch):
    """Longer than a block of noise."""
    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 70)


@pytest.mark.parametrize("kind", ["plain", *ATTENTIONS])
def test_a_dream_does_not_depend_on_its_batch(kind, smoke, long_dreams):
    source = dream.load(smoke, Memory(kind))
    world = DreamWorld(source, lanes=4)
    jobs = [Job(c, s) for c in range(3) for s in (5, 6)]

    def key(o):
        return (o.candidate, o.seed)

    together = sorted(drive(world, layers(3), jobs), key=key)
    backwards = sorted(drive(world, layers(3), jobs[::-1]), key=key)
    alone = [o for job in jobs for o in drive(world, layers(3), [job])]
    assert together == backwards == alone
    assert len({o.episode_return for o in together}) == 6
    assert all(1 <= o.length <= 70 and o.tiles == 0 and not o.finished for o in together)


@pytest.mark.parametrize("heat", [0.5, 1.0])
def test_lanes_dream_what_the_plain_loop_dreams(heat, smoke):
    """One lane, with the randomness drawn as `DreamWorld` says."""
    source, (layer,) = dream.load(smoke), layers(1)
    world, rewards = DreamWorld(source, 2, heat), []
    world.begin(0, 9)
    generator = torch.Generator().manual_seed(9)
    first = int(torch.randint(len(source.starts), (1,), generator=generator))
    z, state = source.starts[first : first + 1], source.m.initial_state(1)
    layer = torch.from_numpy(layer)[None]
    with torch.inference_mode():
        for t in range(70):
            if t % dream._BLOCK == 0:
                choice = torch.empty(dream._BLOCK, 33).uniform_(generator=generator)
                noise = torch.empty(dream._BLOCK, 32).normal_(generator=generator)
            seen = world.observe()
            assert torch.allclose(seen[:1], torch.cat([z, state.h], 1), atol=1e-4)
            action = act(layer, seen[:1])
            found, _ = world.step(action.repeat(2, 1))
            state, _ = source.m.step(z, action, state)
            expected = source.m.predict(state.h)
            assert found[0] == pytest.approx(float(expected.reward[0]), abs=1e-4)
            at = t % dream._BLOCK
            z = expected.pick(choice[at : at + 1, 1:], noise[at : at + 1], heat)
            rewards.append(found[0])
    assert len(set(rewards)) > 60


def test_low_temperature_follows_the_likeliest_component(smoke):
    source = dream.load(smoke)
    p = source.m.predict(torch.randn(5, source.m.hidden_size))
    cold = p.pick(torch.rand(5, 32), torch.randn(5, 32), temperature=1e-4)
    likeliest = p.mu.gather(-1, p.log_pi.argmax(-1, keepdim=True)).squeeze(-1)
    assert torch.allclose(cold, likeliest, atol=0.2)
    for temperature in (0, -1.0, float("nan")):
        with pytest.raises(AwmError, match="positive"):
            DreamWorld(source, 1, temperature)


def test_an_episode_ends_as_often_as_the_end_head_says(smoke):
    source = DreamSource(vae.load(smoke), mdn_rnn.load(smoke), torch.zeros(3, 32))
    with torch.no_grad():
        source.m.head.weight[-1] = 0
        source.m.head.bias[-1] = float(np.log(0.1 / 0.9))  # a tenth
    found = drive(DreamWorld(source, 64), layers(1), [Job(0, s) for s in range(256)])
    assert np.mean([o.length for o in found]) == pytest.approx(10, rel=0.25)


def test_latents_that_carry_nothing_can_be_held(smoke):
    source = dream.load(smoke)
    source.v.manifest = {"kl_per_latent": [1.0] * 5 + [0.0] * 27}
    world = DreamWorld(source, 1, idle_at_mean=True)
    world.begin(0, 1)
    for _ in range(3):
        assert torch.allclose(world.z[0, 5:], source.mean[5:])
        assert not torch.allclose(world.z[0, :5], source.mean[:5], atol=1e-3)
        world.step(torch.zeros(1, 3))
    with pytest.raises(AwmError, match="does not know its codes' mean"):
        DreamWorld(DreamSource(source.v, source.m, source.starts), 1, idle_at_mean=True)


def test_dreams_begin_with_real_first_frames(smoke):
    source, latents = dream.load(smoke), encode_latents(smoke, vae.load(smoke))
    train = open_rollouts(smoke).indices("train")
    assert np.array_equal(source.starts.numpy(), latents.mu[train, 0])
    lengths = open_rollouts(smoke).lengths
    codes = np.concatenate([latents.mu[i, : lengths[i] + 1] for i in train])
    assert np.allclose(source.mean.numpy(), codes.mean(0), atol=1e-5)


def test_spatial_attention_looks_through_the_head_or_through_frames(smoke):
    source, z = dream.load(smoke, Memory("spatial")), torch.randn(4, 32)
    slow = DreamSource(source.v, source.m, source.starts)
    with torch.inference_mode():
        assert torch.equal(source.look(z), feature_map.load(smoke)(z))
        assert torch.equal(slow.look(z), through_frames(source.v, z))
        assert dream.load(smoke).look(z) is None
    (layer,) = layers(1)
    one, again, other = (
        record(DreamWorld(each, 1), layer, 3, steps=12) for each in (source, source, slow)
    )
    assert np.array_equal(one.frames, again.frames) and one.attention.shape[1] == 49
    assert not np.array_equal(one.attention, other.attention)


def test_a_recorded_dream_is_the_dream_that_was_counted(smoke, long_dreams):
    world, (layer,) = DreamWorld(dream.load(smoke), 1), layers(1)
    found = record(world, layer, seed=5, steps=70)
    (outcome,) = drive(world, layer[None], [Job(0, 5)])
    assert len(found.frames) == len(found.rewards) == outcome.length
    assert found.rewards.sum() == pytest.approx(outcome.episode_return, abs=1e-6)
    assert found.path is found.road is None


# Dreams along recorded actions.


def sequences(ws, count=2):
    rollouts, latents = open_rollouts(ws), encode_latents(ws, vae.load(ws))
    z = torch.from_numpy(latents.mu[:count])
    maps = torch.stack([torch.from_numpy(latents.maps(i)) for i in range(count)])
    actions = torch.from_numpy(np.stack(rollouts.column("actions")[:count]))
    return z, actions, maps


def test_a_dream_begins_with_reality_and_then_leaves_it(smoke):
    z, actions, _ = sequences(smoke)
    m = mdn_rnn.load(smoke)
    dreamt, rewards = imagine(m, z, actions, warm_up=10, seed=3)
    assert dreamt.shape == (2, actions.shape[1], 32) and rewards.shape == actions.shape[:2]
    assert torch.equal(dreamt[:, :11], z[:, :11])
    assert not torch.equal(dreamt[:, 11], z[:, 11])
    again, _ = imagine(m, z, actions, warm_up=10, seed=3)
    other, _ = imagine(m, z, actions, warm_up=10, seed=4)
    assert torch.equal(dreamt, again) and not torch.equal(dreamt, other)


@pytest.mark.parametrize("kind", ["plain", "spatial", "temporal"])
def test_a_dream_with_real_codes_is_the_sequence(kind, smoke):
    """Shown every real code, the dream's rewards are those that M predicts along the episode."""
    z, actions, maps = sequences(smoke)
    m = mdn_rnn.load(smoke, Memory(kind))
    head = feature_map.load(smoke) if m.needs_map else None
    steps = actions.shape[1]
    _, rewards = imagine(m, z, actions, warm_up=steps, head=head, maps=maps)
    with torch.inference_mode():
        hidden, _ = m(z[:, :steps], actions, maps[:, :steps].float())
        expected = m.predict(hidden).reward
    assert torch.allclose(rewards, expected, atol=1e-5)


def test_spatial_attention_needs_something_to_look_through(smoke):
    z, actions, maps = sequences(smoke)
    m, head = mdn_rnn.load(smoke, Memory("spatial")), feature_map.load(smoke)
    with pytest.raises(AwmError, match="another M"):
        imagine(m, z, actions)
    dreamt, _ = imagine(m, z, actions, warm_up=5, head=head)
    # Before it is left alone it may look at real maps, and then remembers something else.
    other, _ = imagine(m, z, actions, warm_up=5, head=head, maps=maps)
    assert torch.equal(other[:, :6], z[:, :6]) and not torch.equal(other[:, 6:], dreamt[:, 6:])


@pytest.mark.parametrize("kind", ["plain", *ATTENTIONS])
def test_dreams_begin_at_recorded_moments_as_m_remembers_them(kind, smoke):
    memory = Memory(kind)
    source = dream.load(smoke, memory, moments=True, split="validation")
    rollouts, latents = open_rollouts(smoke), encode_latents(smoke, source.v)
    rng = np.random.default_rng(0)
    episodes = rng.choice(rollouts.indices("validation"), size=dream.MOMENTS)
    times = [int(rng.integers(64)) for _ in episodes]
    for row in range(0, dream.MOMENTS, 37):
        e, t = int(episodes[row]), times[row]
        assert np.array_equal(source.starts[row], latents.mu[e, t])
        z, actions = torch.from_numpy(latents.mu[e, : t + 1])[None], rollouts.read("actions", e)
        state = source.m.initial_state(1)
        for n in range(t):
            seen = torch.from_numpy(latents.maps(e, slice(n, n + 1))).float()
            action = torch.from_numpy(actions[n : n + 1])
            state, _ = source.m.step(z[:, n], action, state, seen)
        assert torch.allclose(source.states.h[row], state.h[0], atol=1e-5)
        world = DreamWorld(replace(source, starts=source.starts[row : row + 1]), 2)
        world.source = replace(world.source, states=rows(source.states, row))
        world.begin(1, 0)
        assert torch.allclose(world.observe()[1], torch.cat([z[0, t], state.h[0]]), atol=1e-5)
        ours, _ = source.m.step(world.z, torch.zeros(2, 3), world.state, source.look(world.z))
        theirs, _ = source.m.step(z[:, t], torch.zeros(1, 3), state, source.look(z[:, t]))
        assert torch.allclose(ours.h[1], theirs.h[0], atol=1e-5), "its memory, too"


def rows(states, row):
    """One row of a state."""
    memory = states.memory and Items(*(x[row : row + 1] for x in states.memory.all()))
    return State(states.h[row : row + 1], states.c[row : row + 1], memory)


def test_the_fields_edge_costs_a_hundred_and_a_lap_nothing(smoke):
    source = DreamSource(vae.load(smoke), mdn_rnn.load(smoke), torch.zeros(3, 32))
    with torch.no_grad():
        source.m.head.weight[-2:] = 0
        source.m.head.bias[-1] = 20.0  # it ends at once
    for expected, edge, paid in ((-0.5, True, -100.0), (-0.5, False, -0.5), (3.0, True, 3.0)):
        source.m.head.bias.data[-2] = expected
        found = drive(DreamWorld(source, 2, edge=edge), layers(1), [Job(0, 1)])
        assert (found[0].length, found[0].episode_return) == (1, pytest.approx(paid))


def test_a_dream_lasts_as_long_as_it_is_told(smoke):
    source = dream.load(smoke)
    source.m.head.bias.data[-1] = -50.0
    assert drive(DreamWorld(source, 2, steps=17), layers(1), [Job(0, 1)])[0].length == 17
    place = Dream.of(smoke, Memory(), moments=True)
    assert place.open().steps == smoke.profile.mdn_rnn.sequence_length
    assert Dream.of(smoke, Memory()).open().steps == 1000
    held_out = replace(place, split="validation").open().source
    assert not torch.equal(held_out.starts, place.open().source.starts)
