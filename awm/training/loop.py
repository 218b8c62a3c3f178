"""The one training loop: one-cycle Adam, a history, the best weights, and a checkpoint to resume.

What is trained is said by three functions; `awm.training.vae`, `.mdn_rnn` and `.feature_map` are
recipes for it.
"""

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from awm import store
from awm.errors import AwmError
from awm.store import Stage, Workspace

#: The history has an entry for so many updates, with averages over them.
HISTORY_EVERY = 10

#: Bytes of the SHA-256 at a checkpoint's end.
_DIGEST = 32


@dataclass(frozen=True)
class Recipe:
    """How to train a module.

    Args:
        batch: number of an update, from 0 → what `losses` takes. It must depend on nothing else,
            so that a run which is resumed sees the same.
        losses: a batch → averages over it by name, scalars; `loss` is what is minimised.
        validate: held-out values by name; without it the last weights are the result.
        score: which of these decides which weights are kept, less being better.
        clip: the largest norm of the gradient.
        validate_every, checkpoint_every: updates, multiples of `HISTORY_EVERY`.
    """

    updates: int
    learning_rate: float
    batch: Callable[[int], object]
    losses: Callable[[object], dict[str, Tensor]]
    validate: Callable[[], dict[str, float]] | None = None
    score: str = "loss"
    clip: float | None = None
    validate_every: int = 50
    checkpoint_every: int = 250


def device_of(name: str) -> torch.device:
    """The device of that name: `cpu`, `cuda`, `mps`, or `auto`, the fastest that is there.

    Raises:
        AwmError: if it is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((each for each, found in there.items() if found), "cpu"))
    if name != "cpu" and not there.get(name):
        raise AwmError(f"There is no device {name!r} here. Choose auto or cpu.")
    return torch.device(name)


def to_device(batch, device: torch.device):
    """A batch on a device: tensors, in tuples or dataclasses. Generators stay where they are."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, tuple):
        return tuple(to_device(each, device) for each in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        values = {f.name: to_device(getattr(batch, f.name), device) for f in fields(batch)}
        return replace(batch, **values)
    return batch


def fit(
    ws: Workspace,
    stage: Stage,
    module: nn.Module,
    recipe: Recipe,
    name: str,
    device: str = "cpu",
) -> dict:
    """Train a module, going on if it was interrupted; it ends with its best weights.

    Where it is trained is no part of the result: a checkpoint loads on every device, and the module
    comes back to the processor. (Rounding differs between devices, and so do the weights.)

    Returns:
        `history` (an entry every 10 updates: `update`, `seconds`, the averages of `losses` as
        `train_…` and what `validate` found as `validation_…`), `wall_time_s`, `threads` and
        `device` of the last run, for the manifest.
        The checkpoint lies there until `finish`.

    Raises:
        AwmError: if the checkpoint is damaged or of another run, or the training diverges.
    """
    where = device_of(device)
    module.to(where)
    store.commit()  # remembered now: a checkout may change while a run goes on
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=recipe.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.updates + 1
    )
    state = {"history": [], "seconds": 0.0, "best": None, "best_score": math.inf}
    parts = {"module": module, "optimizer": optimizer, "schedule": schedule}
    path = _checkpoint(ws, stage)
    if path.exists():
        state = _resume(ws, path, stage, parts)
    history = state["history"]
    update = history[-1]["update"] if history else 0
    started, before, recent = time.perf_counter(), state["seconds"], []
    bar = tqdm(total=recipe.updates, initial=update, unit="update", desc=name)
    while update < recipe.updates:
        module.train()
        terms = recipe.losses(to_device(recipe.batch(update), where))
        if not math.isfinite(terms["loss"].item()):
            raise AwmError(
                f"The training of {name} has diverged: its loss at update {update + 1} is not a "
                "finite number. What the last checkpoint holds is kept. Choose a smaller learning "
                "rate, in a profile with a name of its own."
            )
        optimizer.zero_grad()
        terms["loss"].backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        schedule.step()
        update += 1
        recent.append({key: value.item() for key, value in terms.items()})
        bar.update()
        last = update == recipe.updates
        if update % HISTORY_EVERY and not last:
            continue
        state["seconds"] = round(before + time.perf_counter() - started, 1)
        entry = {"update": update, "seconds": state["seconds"]}
        entry |= {f"train_{key}": sum(r[key] for r in recent) / len(recent) for key in recent[0]}
        recent = []
        if recipe.validate and (update % recipe.validate_every == 0 or last):
            found = recipe.validate()
            entry |= {f"validation_{key}": value for key, value in found.items()}
            if found[recipe.score] < state["best_score"]:
                state["best_score"] = found[recipe.score]
                state["best"] = {k: v.detach().clone() for k, v in module.state_dict().items()}
        history.append(entry)
        held_out = {"validation": f"{state['best_score']:.2f}"} if recipe.validate else {}
        bar.set_postfix(loss=f"{entry['train_loss']:.2f}", **held_out)
        if update % recipe.checkpoint_every == 0 or last:
            if not all(torch.isfinite(p).all() for p in trained):
                continue  # the next loss will say so; the checkpoint before is still good
            whole = {key: part.state_dict() for key, part in parts.items()}
            buffer = io.BytesIO()
            torch.save({"record": ws.describe(stage), **state, **whole}, buffer)
            with store.atomic(path) as temporary:
                temporary.write_bytes(buffer.getvalue() + sha256(buffer.getvalue()).digest())
    bar.close()
    if state["best"] is not None:
        module.load_state_dict(state["best"])
    module.to("cpu").eval()
    ran = {"threads": torch.get_num_threads(), "device": where.type}
    return {"history": history, "wall_time_s": state["seconds"], **ran}


def finish(ws: Workspace, stage: Stage, module: nn.Module, **facts) -> None:
    """Write what was trained, with the `facts` of its manifest, and take the checkpoint away."""
    module.manifest = ws.save(stage, module.state_dict(), **facts)
    module.requires_grad_(False)
    _checkpoint(ws, stage).unlink(missing_ok=True)


def _checkpoint(ws: Workspace, stage: Stage):
    return (ws.own / stage.name).with_suffix(".checkpoint.pt")


def _resume(ws: Workspace, path, stage: Stage, parts: dict) -> dict:
    remedy = f"Remove {path} to start afresh."
    try:
        whole = path.read_bytes()
        content, digest = whole[:-_DIGEST], whole[-_DIGEST:]
        if sha256(content).digest() != digest:
            raise AwmError(f"{path} is damaged. {remedy}")
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if differs := ws.differences(state.pop("record"), stage):
            raise AwmError(f"{path} is of another run, {differs}. {remedy}")
        for key, part in parts.items():
            part.load_state_dict(state.pop(key))
    except AwmError:
        raise
    except Exception as error:  # whatever it likes; PyTorch's own advice is to run the file's code
        raise AwmError(f"{path} is damaged. {remedy}") from error
    return state
