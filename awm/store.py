"""Where results lie, whether they still fit, and how they are written: one mechanism for all.

A stage is a function of its settings and of the results that it was made from. Its *key* is the
hash of both: of its settings and of its inputs' keys. So what a profile asks for can be compared
with what lies on disk before anything is computed. The manifest beside a result holds the key, what
went into it, where and when it was made, and the SHA-256 of the weights, which is verified when
they are loaded. Content is no part of a key, because floats differ in the last bit between
processors; but a result that was made from other *weights* than those that lie there is refused.

A result is either *there and fitting*, and is returned; or *there and not fitting*, and an error
says what differs and what to do (nothing is destroyed); or *not there*. Results are written to
`data/PROFILE`; those in `data/pretrained/PROFILE`, which are committed, stand in for what is
missing there, as long as they fit.
"""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from awm.config import PRESETS, Profile, profile_from
from awm.errors import AwmError

CHECKOUT = Path(__file__).parent.parent


#: In a profile's folder, where its stores of arrays lie if not there (`awm.data.arrays`).
ARRAYS = "arrays.json"


@dataclass(frozen=True)
class Stage:
    """A result by what it is a function of.

    `name` is its file within a profile's folder, `how` the command that makes it.
    """

    name: str
    settings: dict
    inputs: "dict[str, Stage]" = field(default_factory=dict)
    how: str = "awm report"

    @cached_property
    def key(self) -> str:
        """What tells this result from every other; 16 hexadecimal digits."""
        keys = {name: stage.key for name, stage in self.inputs.items()}
        whole = json.dumps([self.settings, keys], sort_keys=True, default=dataclasses.asdict)
        return sha256(whole.encode()).hexdigest()[:16]

    @property
    def remedy(self) -> str:
        return f"Run `{self.how}`."


@dataclass(frozen=True)
class Workspace:
    """A profile and the folder in which its results lie."""

    profile: Profile
    root: Path

    @classmethod
    def open(
        cls, profile: "Profile | str | Workspace | None" = None, root: Path | str | None = None
    ) -> "Workspace":
        """The workspace of a profile, a preset's or one of your own.

        Args:
            profile: a profile, or the name of one; None is `paper` once its agents are committed,
                else `quick`. One of your own (`Profile.but`) is remembered, so that its name will
                do the next time.
            root: the folder that holds `data/`, `images/` and `report/`: by default `AWM_ROOT`, or
                the checkout of this package, or the current folder.

        Raises:
            AwmError: if there is no such profile, or another one of that name.
        """
        if isinstance(profile, Workspace):
            return profile
        checkout = CHECKOUT if (CHECKOUT / "pyproject.toml").exists() else Path.cwd()
        root = Path(root or os.environ.get("AWM_ROOT") or checkout).absolute()
        if profile is None:
            profile = "paper" if (root / "data/pretrained/paper/agents").exists() else "quick"
        if isinstance(profile, str):
            own = root / "data" / profile / "profile.json"
            if profile in PRESETS:
                profile = PRESETS[profile]
            elif profile.isidentifier() and own.exists():
                name, profile = profile, profile_from(read_json(own))
                if profile.name != name:
                    raise AwmError(f"{own} is the profile {profile.name!r}. Move it where it was.")
            else:
                raise AwmError(
                    f"There is no profile {profile[:80]!r}. Choose one of: {', '.join(PRESETS)}; "
                    "or make one of your own with `awm profile`."
                )
        here = cls(profile, root)
        if profile != PRESETS.get(profile.name):
            here._remember()
        return here

    def _remember(self) -> None:
        path, values = self.own / "profile.json", dataclasses.asdict(self.profile)
        if self.profile.name in PRESETS or (
            path.exists() and profile_from(read_json(path)) != self.profile
        ):
            raise AwmError(
                f"There is another profile {self.profile.name!r}. Take another name, or move "
                f"{self.own} away."
            )
        write_json(path, values)

    @property
    def own(self) -> Path:
        """Where results are written."""
        return self.root / "data" / self.profile.name

    @property
    def committed(self) -> Path:
        """Small results that are committed."""
        return self.root / "data" / "pretrained" / self.profile.name

    @property
    def images(self) -> Path:
        """The report's figures."""
        return self.root / "images"

    @property
    def report(self) -> Path:
        """The report's pages."""
        return self.root / "report"

    @property
    def retraining(self) -> bool:
        """Whether everything is being trained anew, so that nothing committed may stand in."""
        return (self.own / "retraining.json").exists()

    def find(self, name: str) -> Path | None:
        """Where a file lies, here or among what is committed; None if it does not.

        Of two manifests of the same content, of rollouts that were recorded again, the committed
        one counts: it tells of the run that everything else was made from.
        """
        places = [self.own] if self.retraining else [self.own, self.committed]
        found = [place / name for place in places if (place / name).exists()]
        if len(found) == 2 and name.endswith(".json"):
            own, other = (read_json(path).get("content") for path in found)
            return found[own is not None and own == other]
        return found[0] if found else None

    def names(self, pattern: str) -> list[str]:
        """The files that match, relative to the profile's folder, here or committed."""
        places = [self.own] if self.retraining else [self.own, self.committed]
        return sorted(
            {
                str(path.relative_to(place))
                for place in places
                for path in place.glob(pattern)
                if not path.name.startswith(".")
            }
        )

    def manifest(self, stage: Stage) -> dict | None:
        """The manifest of a result that is there and fits; None if there is none.

        Raises:
            AwmError: if another result lies in its place, or its manifest is lost or damaged.
        """
        name = str(Path(stage.name).with_suffix(".json"))
        for place in [self.own] if self.retraining else [self.own, self.committed]:
            path = place / stage.name
            elsewhere = path.suffix == ".zarr" and (place / ARRAYS).exists()
            if not (path.exists() or elsewhere and (place / name).exists()):
                continue
            if not (place / name).exists():
                raise AwmError(
                    f"{path} has lost its manifest, {name}. Move it away. {stage.remedy}"
                )
            found = read_json(place / name)
            differs = self.differences(found, stage)
            if not differs:
                return found
            if place == self.own:
                raise AwmError(
                    f"{path} was made {differs}. Move it and {name} away to make it anew, or work "
                    "in a profile with a name of its own."
                )
            note(f"{path} was made {differs}; it is not used.")
        return None

    def told(self, stage: Stage) -> dict | None:
        """As `manifest`, but also of a result of which the manifest alone is committed.

        Weights of further trainings are not: what is recorded of them is all that the study needs.
        """
        if (found := self.manifest(stage)) is not None or self.retraining:
            return found
        path = (self.committed / stage.name).with_suffix(".json")
        alone = path.exists() and not (self.committed / stage.name).exists()
        found = read_json(path) if alone else None
        return found if found and not self.differences(found, stage) else None

    def differences(self, found: dict, stage: Stage) -> str:
        """What a result was made with that is not what the stage asks for; empty if it fits."""
        before, now = found.get("settings", {}), _plain(stage.settings)
        changed = [
            f"{name} {before.get(name)}, now {now.get(name)}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changed:
            return f"with other settings ({'; '.join(changed)[:400]})"
        used = found.get("inputs", {})
        for name in sorted(used.keys() | stage.inputs.keys()):
            source = stage.inputs.get(name)
            if source is None or name not in used or used[name]["key"] != source.key:
                return f"from another {name}"
            # Recordings are made again from their settings; weights must be the very same.
            there = source.name.endswith(".safetensors") and self.manifest(source)
            if there and used[name].get("content") != there["content"]:
                return f"from another {name}, which had the same settings and other weights"
        return ""

    def fitting(self, stage: Stage) -> dict | None:
        """As `manifest`, but None also for a result that does not fit."""
        try:
            return self.manifest(stage)
        except AwmError:
            return None

    def record(self, stage: Stage, compute: Callable[[], dict]) -> dict:
        """A JSON result: what lies there if it fits, else what `compute` returns, written down.

        Records are cheap to make again: one that does not fit is replaced.
        """
        found = self.fitting(stage)
        if found is not None:
            return found
        with self.lock(stage.name):
            if (found := self.fitting(stage)) is not None:
                return found
            started = time.perf_counter()
            facts = compute()
            seconds = round(time.perf_counter() - started, 1)
            found = self.describe(stage, **{"wall_time_s": seconds, **facts})
            write_json(self.own / stage.name, found)
        return found

    def load(self, stage: Stage) -> tuple[dict[str, torch.Tensor], dict]:
        """The weights of a stage and their manifest.

        Raises:
            AwmError: if they are not there, do not fit, or are damaged.
        """
        found = self.manifest(stage)
        if found is None:
            raise AwmError(f"There is no {stage.name} in {self.own}. {stage.remedy}")
        path = self.find(stage.name)
        if sha256_of(path) != found.get("content"):
            raise AwmError(
                f"{path} is not the file that its manifest describes: it is damaged, or only one "
                f"of the two was replaced. Move both away. {stage.remedy}"
            )
        try:
            return load_file(path), found
        except SafetensorError as error:
            raise AwmError(f"{path} is damaged ({error}). Move it away. {stage.remedy}") from None

    def load_into(self, module: torch.nn.Module, stage: Stage) -> None:
        """Load a module's weights in place, ready to use; its `manifest` tells about them."""
        tensors, module.manifest = self.load(stage)
        module.load_state_dict(tensors)
        module.eval().requires_grad_(False)

    def save(self, stage: Stage, tensors: dict[str, torch.Tensor], **facts) -> dict:
        """Write weights and their manifest; returns the manifest."""
        path = self.own / stage.name
        with atomic(path) as temporary:
            save_file({k: t.detach().contiguous() for k, t in tensors.items()}, temporary)
            manifest = self.describe(stage, content=sha256_of(temporary), **facts)
            # The manifest first: a run that is killed in between goes on, and writes both again.
            write_json(path.with_suffix(".json"), manifest)
        return manifest

    @contextmanager
    def making(self, stage: Stage) -> Iterator[dict | None]:
        """The manifest of a result that is there and fits; else the right to make it, alone.

        Another run that makes the same waits, and then finds it made.

            with ws.making(stage) as made:
                if made is None: ...
        """
        made = self.manifest(stage)
        if made is not None:
            yield made
            return
        with self.lock(stage.name):
            yield self.manifest(stage)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Be the only process that works at an artefact; says for whom it waits.

        A killed process holds no lock: the system takes it back.
        """
        path = self.own / ".locks" / f"{name.replace('/', '.')}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        holder, lock = path.with_suffix(".holder"), FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            who = holder.read_text() if holder.exists() else "another process"
            print(f"note: {self.own / name} is being made by {who}. Waiting.", file=sys.stderr)
            lock.acquire()
        try:
            # What is half-written here was left by a run that was killed.
            place = self.own / name
            for left in place.parent.glob(f".{place.stem}.*"):
                if left.is_file():
                    left.unlink()
            date = datetime.now(UTC).isoformat(timespec="seconds")
            holder.write_text(f"process {os.getpid()} on {platform.node()}, since {date}")
            yield
        finally:
            lock.release()

    def describe(self, stage: Stage, **facts) -> dict:
        """A manifest: what the stage is a function of, who made it when, and the `facts`."""
        inputs = {}
        for name, source in stage.inputs.items():
            content = (self.told(source) or {}).get("content")
            inputs[name] = {"key": source.key, "content": content}
        return {
            "key": stage.key,
            "settings": _plain(stage.settings),
            "inputs": inputs,
            **provenance(self.profile),
            **facts,
        }


def _plain(settings: dict) -> dict:
    """Settings as they will be read back."""
    return json.loads(json.dumps(settings, default=dataclasses.asdict))


@cache
def note(text: str) -> None:
    """Say something that is no error, once."""
    print(f"note: {text}", file=sys.stderr)


# Where a number comes from.


@cache
def commit() -> dict:
    """The commit of the code that runs: `{"commit": hex or None, "dirty": bool or None}`."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            # What the code is, not what it wrote: regenerated figures do not make a run dirty.
            "dirty": bool(git("status", "--porcelain", "--", ".", "../notebooks")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _code() -> str:
    digest = sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


#: The hash of this package's source when it was imported: what runs, committed or not.
CODE = _code()


def check_code(code: str) -> None:
    """AwmError if this process runs another version of the package than the one of that hash."""
    if code != CODE:
        raise AwmError(
            "A worker runs another version of awm than the run it is to help. Install the same "
            "one there."
        )


@cache
def machine() -> dict:
    """Processor, cores and versions of what the numbers depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    packages = ("gymnasium", "torch", "numpy", "numba", "cma")
    return {
        "machine": model,
        "cpu_count": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def provenance(profile: Profile) -> dict:
    """Which profile, code and machine, and when."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"profile": profile.name, **commit(), "date": date, **machine()}


# Files.


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends well.

    A killed run leaves the old file or none, never half a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sealed(value: dict) -> dict:
    """A record with a checksum of its content as its last entry."""
    return {**value, "checksum": _checksum(value)}


def unsealed(value: dict) -> dict:
    """The record that was `sealed`. ValueError if it is none, or no longer what it was."""
    if not isinstance(value, dict) or "checksum" not in value:
        raise ValueError("it has no checksum")
    content = {key: entry for key, entry in value.items() if key != "checksum"}
    if value["checksum"] != _checksum(content):
        raise ValueError("its content does not match its checksum")
    return content


def _checksum(value: dict) -> str:
    return sha256(json.dumps(value, allow_nan=False).encode()).hexdigest()[:16]


def write_json(path: Path, value: dict) -> None:
    """Write a record as JSON, sealed and atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(sealed(value), indent=1) + "\n")


def read_json(path: Path) -> dict:
    """The record that `write_json` wrote; AwmError if the file is missing or damaged."""
    try:
        return unsealed(json.loads(Path(path).read_text()))
    except FileNotFoundError:
        raise AwmError(f"{path} does not exist. Run the stage that makes it first.") from None
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise AwmError(
            f"{path} is damaged ({str(error)[:200]}). Move it away and run its stage again."
        ) from None


@contextmanager
def reading(what: Path | str) -> Iterator[None]:
    """Whatever libraries raise about a damaged file, as AwmError."""
    try:
        yield
    except (AwmError, MemoryError, PermissionError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise AwmError(f"{what} is damaged ({reason}). Move it away; it is made again.") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
