"""Training V, M and the head: once, resumable, and of what its manifest says."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import stages
from awm.data.latents import encode_latents
from awm.data.rollouts import held_out_frames, open_rollouts
from awm.errors import AwmError
from awm.ids import KINDS, PLAIN, Memory
from awm.models.vae import VAE, losses, to_input
from awm.store import Workspace
from awm.training import feature_map, loop, mdn_rnn, vae


def forgotten(ws, stage):
    for suffix in (".safetensors", ".json"):
        (ws.own / stage.name).with_suffix(suffix).unlink()


PARTS = {
    "V": (vae, lambda ws: vae.train(ws), lambda ws: stages.vae(ws.profile)),
    "head": (
        feature_map,
        lambda ws: feature_map.train(ws),
        lambda ws: stages.feature_map(ws.profile),
    ),
} | {
    f"M {kind}": (
        mdn_rnn,
        lambda ws, kind=kind: mdn_rnn.train(ws, Memory(kind)),
        lambda ws, kind=kind: stages.mdn_rnn(ws.profile, Memory(kind)),
    )
    for kind in ("temporal", "untrained")
}


@pytest.mark.parametrize("part", PARTS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(part, smoke_copy, monkeypatch):
    module, train, stage = PARTS[part]
    whole, manifest = smoke_copy.load(stage(smoke_copy))
    forgotten(smoke_copy, stage(smoke_copy))
    monkeypatch.setattr(loop, "HISTORY_EVERY", 4)
    left = [6]

    def fit(ws, stage, module, recipe, name, *device):
        def brittle(batch):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return recipe.losses(batch)

        return loop.fit(
            ws, stage, module, replace(recipe, losses=brittle, checkpoint_every=4), name
        )

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        train(smoke_copy)
    assert list(smoke_copy.own.rglob("*.checkpoint.pt"))
    left[0] = -1
    train(smoke_copy)
    again, found = smoke_copy.load(stage(smoke_copy))
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name
    assert found["content"] == manifest["content"], "to the byte"
    assert not list(smoke_copy.own.rglob("*.checkpoint.pt"))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_trained_is_not_trained_again(part, smoke, monkeypatch):
    module, train, stage = PARTS[part]
    monkeypatch.setattr(module, "fit", None)
    found = train(smoke)
    assert found.manifest == smoke.manifest(stage(smoke))
    assert not any(p.requires_grad for p in found.parameters()) and not found.training


def test_vs_manifest_tells_what_it_is_worth(smoke):
    v = vae.load(smoke)
    history = v.manifest["history"]
    assert history[-1]["update"] == smoke.profile.vae.updates
    assert set(v.manifest["test"]) == {"loss", "reconstruction", "kl"}
    frames = held_out_frames(open_rollouts(smoke), "test")
    found = vae.validate(v, frames, smoke.profile.vae.free_nats)
    assert found == pytest.approx(v.manifest["test"], rel=1e-5)
    assert len(v.manifest["kl_per_latent"]) == 32


def test_ms_manifest_tells_what_it_is_worth(smoke):
    v = vae.load(smoke)
    for kind in KINDS:
        m = mdn_rnn.load(smoke, Memory(kind))
        assert m.manifest["kind"] == kind
        assert m.manifest["parameters"] == sum(p.numel() for p in m.parameters())
        test = m.manifest["test"]
        assert test["nll"] == pytest.approx(sum(test["nll_per_latent"]))
        informative = sum(test["nll_per_latent"][i] for i in v.informative)
        assert test["nll_informative"] == pytest.approx(informative)


def test_the_loss_of_a_few_batches_is_smaller_after_training(smoke):
    frames = held_out_frames(open_rollouts(smoke), "test", 16)
    torch.manual_seed(smoke.profile.seed)
    with torch.inference_mode():
        before, after = (losses(v, to_input(frames), 0.5) for v in (VAE(), vae.load(smoke)))
    assert after["reconstruction"] < 0.9 * before["reconstruction"]


def test_vs_validation_does_not_train(smoke):
    v = vae.load(smoke)
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    before = {k: t.clone() for k, t in v.state_dict().items()}
    first, second = vae.validate(v, frames, 0.5), vae.validate(v, frames, 0.5)
    assert first == second
    assert all(torch.equal(before[k], t) for k, t in v.state_dict().items())


def test_a_batch_is_a_function_of_seed_and_number(smoke):
    rollouts = open_rollouts(smoke)
    straight = vae.FrameBatches(rollouts, 16, seed=1)
    frames = [straight[n] for n in range(30)]
    later = vae.FrameBatches(rollouts, 16, seed=1)
    assert all(torch.equal(later[n], frames[n]) for n in (27, 28, 29, 3))
    other = vae.FrameBatches(rollouts, 16, seed=2)
    assert not torch.equal(other[0], frames[0])
    train = {
        e for i in rollouts.indices("train") for e in rollouts.episode(int(i)).frames[:, 40, 40, 0]
    }
    assert {int(v) for v in (frames[0][:, 0, 40, 40] * 255).round()} <= {int(v) for v in train}


def test_the_untrained_control_keeps_its_lstm(smoke):
    m, fresh = mdn_rnn.load(smoke, Memory("untrained")), mdn_rnn.build(smoke.profile)
    for name, tensor in fresh.lstm.state_dict().items():
        assert torch.equal(m.lstm.state_dict()[name], tensor)
    assert not torch.equal(m.head.weight, fresh.head.weight)
    plain = mdn_rnn.load(smoke, PLAIN)
    assert not torch.equal(plain.lstm.weight_hh_l0, fresh.lstm.weight_hh_l0)


def test_trainings_of_other_seeds_differ(smoke):
    one, other = (mdn_rnn.load(smoke, Memory("temporal", seed)) for seed in (0, 1))
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_heads_few_updates_come_closer_to_the_maps(smoke):
    head = feature_map.load(smoke)
    latents = encode_latents(smoke, vae.load(smoke))
    mu, sigma, maps = feature_map.codes_and_maps(open_rollouts(smoke), latents, "train", 2)
    z = mu + sigma * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(smoke.profile.seed)
    fresh = feature_map.build(smoke.profile)  # as its training began
    with torch.inference_mode():
        before, after = ((h(z) - maps.float()).square().mean() for h in (fresh, head))
    assert after < 0.9 * before


# What was made from something else.


def other_v(ws):
    v = vae.load(ws)
    v.posterior.bias.data += 1
    ws.save(stages.vae(ws.profile), v.state_dict(), kl_per_latent=v.manifest["kl_per_latent"])


def of(ws, **data) -> Workspace:
    return Workspace(replace(ws.profile, data=replace(ws.profile.data, **data)), ws.root)


EVERY = {
    "V": (vae.train, vae.load),
    "M": (mdn_rnn.train, mdn_rnn.load),
    "head": (feature_map.train, feature_map.load),
}


@pytest.mark.parametrize("part", EVERY)
def test_nothing_fits_rollouts_of_other_settings(part, smoke_copy):
    before = {p: p.stat().st_mtime_ns for p in smoke_copy.own.rglob("*") if p.is_file()}
    for other in (of(smoke_copy, steps=65), of(smoke_copy, drivers=(("random", 1.0),))):
        for use in EVERY[part]:
            with pytest.raises(AwmError, match="from another rollouts.*Move it"):
                use(other)
    after = {p: p.stat().st_mtime_ns for p in smoke_copy.own.rglob("*") if p.is_file()}
    assert before == after, "nothing is destroyed"


@pytest.mark.parametrize("part", ["M", "head"])
def test_m_and_the_head_are_refused_with_another_v(part, smoke_copy):
    other_v(smoke_copy)
    for use in EVERY[part]:
        with pytest.raises(AwmError, match="from another vae.*same settings and other weights"):
            use(smoke_copy)


@pytest.mark.parametrize(
    ("section", "change", "part"),
    [
        ("vae", {"updates": 13}, "V"),
        ("vae", {"free_nats": 0.1}, "V"),
        ("mdn_rnn", {"updates": 9}, "M"),
        ("mdn_rnn", {"memory": 31}, "M"),
        ("mdn_rnn", {"gradient_norm": 2.0}, "M"),
        ("feature_map", {"learning_rate": 0.1}, "head"),
    ],
)
def test_other_settings_are_refused(section, change, part, smoke):
    changed = replace(getattr(smoke.profile, section), **change)
    other = Workspace(replace(smoke.profile, **{section: changed}), smoke.root)
    for use in EVERY[part]:
        with pytest.raises(AwmError, match=f"other settings .{next(iter(change))}"):
            use(other)


def test_the_m_of_a_round_is_of_its_v_and_of_the_m_before(smoke_copy):
    later, stage = Memory(round=1), stages.mdn_rnn(smoke_copy.profile, Memory(round=1))
    assert set(stage.inputs) == {"rollouts", "vae", "before"}
    m = mdn_rnn.load(smoke_copy)
    smoke_copy.save(stage, m.state_dict())
    mdn_rnn.load(smoke_copy, later)
    smoke_copy.save(stages.mdn_rnn(smoke_copy.profile, PLAIN), mdn_rnn.build(
        smoke_copy.profile).state_dict())  # fmt: skip
    with pytest.raises(AwmError, match="from another before"):
        mdn_rnn.load(smoke_copy, later)
    smoke_copy.save(stages.mdn_rnn(smoke_copy.profile, PLAIN), m.state_dict())
    mdn_rnn.load(smoke_copy, later)
    other_v(smoke_copy)
    with pytest.raises(AwmError, match="another vae"):
        mdn_rnn.load(smoke_copy, later)
    # With the round before made anew for that V, the round's own manifest still tells.
    smoke_copy.save(stages.mdn_rnn(smoke_copy.profile, PLAIN), m.state_dict())
    with pytest.raises(AwmError, match="round1.*another vae"):
        mdn_rnn.load(smoke_copy, later)


def test_a_missing_part_names_its_remedy(workspace):
    ws = Workspace.open("quick")
    for use, said in (
        (vae.load, "awm train vae --profile quick"),
        (mdn_rnn.load, "awm train mdn-rnn --kind plain --profile quick"),
        (feature_map.load, "awm train feature-map --profile quick"),
        (vae.train, "awm collect --profile quick"),
    ):
        with pytest.raises(AwmError, match=said):
            use(ws)
    with pytest.raises(AwmError, match="--kind wide --seed 2 --profile quick"):
        mdn_rnn.load(ws, Memory("wide", 2))
    with pytest.raises(AwmError, match="V alone has no M"):
        mdn_rnn.load(ws, Memory("V"))
    assert {path.name for path in ws.own.iterdir()} <= {".locks"}


def test_damaged_weights_are_refused_with_the_remedy_and_kept(smoke_copy):
    path = smoke_copy.own / "vae.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for use in (vae.load, vae.train, mdn_rnn.sequences):
        with pytest.raises(AwmError, match="not the file that its manifest.*awm train vae"):
            use(smoke_copy)
    assert path.read_bytes() == data


def test_trained_once_is_trained_elsewhere(smoke_copy):
    """A folder that is moved keeps its results."""
    moved = smoke_copy.root / "elsewhere"
    shutil.move(smoke_copy.root / "data", moved / "data")
    ws = Workspace.open("smoke", moved)
    assert mdn_rnn.train(ws).manifest["content"] == mdn_rnn.load(ws).manifest["content"]
