"""Weights on disk: safetensors beside a JSON manifest, written atomically, never a pickle."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from awm import provenance
from awm.errors import AwmError


def save(path: Path, tensors: dict[str, torch.Tensor], manifest: dict) -> dict:
    """Write `path` and its manifest; returns the manifest with the weights' hash added."""
    with provenance.atomic(path) as temporary:
        save_file(_plain(tensors), temporary)
    manifest = {**manifest, "hash": provenance.file_hash(path)}
    provenance.write_json(path.with_suffix(".json"), manifest)
    return manifest


def load(path: Path, remedy: str) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors and the manifest that `save` wrote.

    Raises:
        AwmError: if either is missing or damaged or they do not belong together; it ends with
            `remedy`.
    """
    if not path.exists():
        raise AwmError(f"{path} does not exist. {remedy}")
    if not path.with_suffix(".json").exists():
        raise AwmError(f"{path} has lost its manifest, {path.stem}.json. Move it away. {remedy}")
    manifest = provenance.read_json(path.with_suffix(".json"))
    if provenance.file_hash(path) != manifest.get("hash"):
        raise AwmError(
            f"{path} is not the file that its manifest describes: it is damaged, or only one of "
            f"the two was replaced. Move both away. {remedy}"
        )
    try:
        return load_file(path), manifest
    except SafetensorError as error:
        raise AwmError(f"{path} is damaged ({error}). Move it away. {remedy}") from None


def load_into(module: torch.nn.Module, path: Path, remedy: str) -> dict:
    """Load a module's weights in place; returns the manifest. AwmError as `load`, or misfit."""
    tensors, manifest = load(path, remedy)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise AwmError(f"{path} holds another architecture ({error}). {remedy}") from None
    return manifest


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An Adam's moments as named tensors, for a checkpoint."""
    return {
        f"optimizer.{index}.{name}": value
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `optimizer_state` took out."""
    state: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class Checkpoint:
    """A training run on disk: where it stands, its history and the best weights so far.

    `path` is where the finished weights will be; the run itself lies beside it as
    `<name>.checkpoint.safetensors` and is removed when the run is done. It is a single file, its
    history in the header, so that a kill leaves the checkpoint before or the new one, whole.

    Args:
        source: what the run depends on (data hash, seed); a checkpoint of another source is not
            resumed.
    """

    def __init__(self, path: Path, source: dict):
        provenance.commit()  # remembered now: a checkout may change while a run goes on
        self.path = path
        self.file = path.with_suffix(".checkpoint.safetensors")
        self.source = source
        self.history: list[dict] = []
        self.seconds = 0.0
        self.best: dict[str, torch.Tensor] = {}
        self.best_score: float | None = None

    def resume(self, module, optimizer, schedule) -> int:
        """Restore all four if there is a checkpoint; returns the updates done."""
        if not self.file.exists():
            return 0
        remedy = f"Remove {self.file.name} to start afresh."
        try:
            with safe_open(self.file, "pt") as file:
                state = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise AwmError(f"{self.file} is damaged ({error}). {remedy}") from None
        if state["source"] != self.source:
            raise AwmError(
                f"{self.file} is of a run on {state['source']}, not {self.source}. {remedy}"
            )
        module.load_state_dict(_part(tensors, "module."))
        self.best = _part(tensors, "best.")
        restore_optimizer(optimizer, tensors)
        schedule.load_state_dict({**schedule.state_dict(), "last_epoch": state["update"]})
        for group, rates in zip(optimizer.param_groups, state["groups"], strict=True):
            group.update(rates)
        self.history, self.seconds = state["history"], state["seconds"]
        self.best_score = state["best_score"]
        return state["update"]

    def keep_if_best(self, module, score: float) -> None:
        """Remember the weights if `score` (lower is better) is the best so far."""
        if self.best_score is None or score < self.best_score:
            self.best_score = score
            self.best = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def save(self, module, optimizer, schedule, update: int, seconds: float) -> None:
        """Write the run as it stands; `seconds` is the time since it was started or resumed."""
        tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= optimizer_state(optimizer)
        groups = [
            {k: v for k, v in group.items() if k in ("lr", "betas")}
            for group in optimizer.param_groups
        ]
        state = {
            "update": update,
            "source": self.source,
            "history": self.history,
            "seconds": self.seconds + seconds,
            "best_score": self.best_score,
            "groups": groups,
        }
        with provenance.atomic(self.file) as temporary:
            save_file(_plain(tensors), temporary, {"state": json.dumps(state)})

    def finish(self, manifest: dict) -> None:
        """Write the best weights as the run's result and remove the checkpoint."""
        save(self.path, self.best, manifest)
        self.file.unlink(missing_ok=True)


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t.detach().contiguous() for name, t in tensors.items()}


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
