"""The one training loop: what it minimises and keeps, and that it can be interrupted anywhere."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from awm.errors import AwmError
from awm.store import Stage, Workspace
from awm.training.loop import Recipe, device_of, finish, fit, to_device

SOURCE = Stage("source.safetensors", {})
STAGE = Stage("line.safetensors", {"updates": 60}, {"source": SOURCE})


@pytest.fixture
def ws(workspace):
    found = Workspace.open("smoke")
    found.save(SOURCE, {"a": torch.zeros(1)})
    return found


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def recipe(module, **changes) -> Recipe:
    """A line through points, from batches by their number."""

    def batch(update):
        return torch.randn(16, 3, generator=torch.Generator().manual_seed(update))

    def losses(x):
        error = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": error, "size": module.weight.square().sum()}

    def validate():
        with torch.no_grad():
            return {"loss": losses(batch(10**6))["loss"].item()}

    whole = Recipe(60, 0.1, batch, losses, validate, validate_every=20, checkpoint_every=20)
    return replace(whole, **changes)


def train(ws, dies_after: int | None = None, **changes) -> nn.Module:
    module = line()
    how, left = recipe(module, **changes), [dies_after]

    def losses(x):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] = left[0] and left[0] - 1
        return how.losses(x)

    facts = fit(ws, STAGE, module, replace(how, losses=losses), "the line")
    finish(ws, STAGE, module, **facts)
    return module


def checkpoint(ws):
    return ws.own / "line.checkpoint.pt"


def untimed(module):
    return [{k: v for k, v in e.items() if k != "seconds"} for e in module.manifest["history"]]


def test_it_fits_and_tells_how_it_went(ws):
    module = train(ws)
    assert torch.allclose(module.weight, torch.ones(1, 3), atol=0.2)
    history = module.manifest["history"]
    assert [entry["update"] for entry in history] == [10, 20, 30, 40, 50, 60]
    assert set(history[0]) == {"update", "seconds", "train_loss", "train_size"}
    assert set(history[1]) == set(history[0]) | {"validation_loss"}
    assert history[-1]["train_loss"] < 0.2 * history[0]["train_loss"]
    assert not module.training and not module.weight.requires_grad
    assert module.manifest["wall_time_s"] == history[-1]["seconds"]
    tensors, manifest = ws.load(STAGE)
    assert torch.equal(tensors["weight"], module.weight) and manifest == module.manifest
    assert not checkpoint(ws).exists(), "finished runs leave none behind"


@pytest.mark.parametrize("update", [20, 33, 59])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(ws, update):
    whole = train(ws)
    for suffix in (".safetensors", ".json"):
        (ws.own / STAGE.name).with_suffix(suffix).unlink()
    with pytest.raises(KeyboardInterrupt):
        train(ws, dies_after=update)
    assert checkpoint(ws).exists() and ws.manifest(STAGE) is None
    with pytest.raises(KeyboardInterrupt):
        train(ws, dies_after=0)
    again = train(ws)
    assert torch.equal(again.weight, whole.weight) and torch.equal(again.bias, whole.bias)
    assert untimed(again) == untimed(whole)


def test_a_run_that_is_killed_before_it_is_saved_has_nothing_to_train(ws):
    module = line()
    fit(ws, STAGE, module, recipe(module), "the line")
    again = train(ws, dies_after=0)  # would die if it trained
    assert torch.equal(again.weight, module.weight)


def test_the_best_validated_weights_are_kept(ws):
    module, seen = line(), []

    def validate():
        seen.append(module.weight.detach().clone())
        return {"loss": 0.0, "score": [3.0, 1.0, 2.0][len(seen) - 1]}

    fit(ws, STAGE, module, recipe(module, validate=validate, score="score"), "the line")
    assert torch.equal(module.weight, seen[1])
    module = line()
    checkpoint(ws).unlink()
    fit(ws, STAGE, module, recipe(module, validate=None), "the line")
    assert torch.equal(module.weight, seen[2]), "without validation the last are"


def test_the_gradient_is_clipped(ws):
    norms = []

    def losses(x):
        norms.append(module.weight.grad.norm().item() if module.weight.grad is not None else 0)
        return {"loss": module(x).square().mean() * 1e3}

    module = line()
    fit(ws, STAGE, module, recipe(module, losses=losses, validate=None, clip=0.5), "the line")
    assert 0 < max(norms) <= 0.5 + 1e-5


def test_weights_that_are_not_trained_stay(ws):
    module = line()
    module.bias.requires_grad_(False)
    before = module.bias.clone()
    fit(ws, STAGE, module, recipe(module), "the line")
    assert torch.equal(module.bias, before)


def test_checkpoints_that_are_damaged_or_anothers_are_refused_and_kept(ws):
    with pytest.raises(KeyboardInterrupt):
        train(ws, dies_after=25)
    whole = checkpoint(ws).read_bytes()
    for damaged in (whole[:-100], b"", b"no archive"):
        checkpoint(ws).write_bytes(damaged)
        with pytest.raises(AwmError, match="damaged.*Remove .*to start afresh"):
            train(ws)
        assert checkpoint(ws).read_bytes() == damaged
    checkpoint(ws).write_bytes(whole)
    module = line()
    other = replace(STAGE, settings={"updates": 70})
    with pytest.raises(AwmError, match="another run.*updates 60, now 70"):
        fit(ws, other, module, recipe(module), "the line")
    ws.save(SOURCE, {"a": torch.ones(1)})
    with pytest.raises(AwmError, match="another run.*another source.*other weights"):
        train(ws)
    ws.save(SOURCE, {"a": torch.zeros(1)})
    train(ws)


def test_code_in_a_checkpoint_is_not_run(ws, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path.joinpath("owned").touch, ())

    checkpoint(ws).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"record": Hostile()}, checkpoint(ws))
    with pytest.raises(AwmError, match="damaged"):
        train(ws)
    assert not (tmp_path / "owned").exists()


def test_a_training_that_diverges_is_said(ws):
    module = line()
    module, whole = line(), train(ws)
    forget(ws)
    seen = []

    def losses(x):
        seen.append(1)
        term = recipe(module).losses(x)["loss"]
        return {"loss": term * (float("nan") if len(seen) == 27 else 1)}

    with pytest.raises(AwmError, match="line has diverged: its loss at update 27 .*is kept"):
        fit(ws, STAGE, module, recipe(module, losses=losses), "the line")
    assert len(seen) == 27 and checkpoint(ws).exists() and ws.manifest(STAGE) is None
    assert torch.equal(train(ws).weight, whole.weight), "a run that can goes on from update 20"


def forget(ws):
    for path in (ws.own / STAGE.name, (ws.own / STAGE.name).with_suffix(".json")):
        path.unlink()


def test_weights_that_are_not_finite_are_never_kept(ws):
    module = line()

    def losses(x):
        loss = module(x).square().mean()
        if len(kept) == 19:  # the gradient of the 20th update, just before a checkpoint
            loss = loss + 0 * (module.weight.sum() * 0).sqrt()
        kept.append(1)
        return {"loss": loss}

    kept = []
    with pytest.raises(AwmError, match="at update 21"):
        fit(ws, STAGE, module, recipe(module, losses=losses, validate=None), "the line")
    assert not checkpoint(ws).exists()


def test_a_device_is_named_or_found(ws, monkeypatch):
    assert device_of("auto").type == device_of("cpu").type == "cpu"
    for name in ("cuda", "mps", "abacus"):
        with pytest.raises(AwmError, match=f"no device '{name}'.*auto or cpu"):
            device_of(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto").type == device_of("cuda").type == "cuda"


def test_batches_go_where_the_module_is(ws):
    @dataclass
    class Pair:
        x: torch.Tensor
        none: None = None

    generator = torch.Generator()
    moved = to_device((torch.zeros(2), Pair(torch.ones(1)), generator), torch.device("meta"))
    assert moved[0].device.type == moved[1].x.device.type == "meta"
    assert moved[1].none is None and moved[2] is generator
