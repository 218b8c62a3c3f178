"""Where a number comes from: configuration, seeds, commit, machine and wall time, beside it.

Every artefact `x.safetensors` or `x.zarr` has a manifest `x.json` written by this module.
"""

import json
import os
import platform
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from awm.errors import AwmError


@cache
def commit() -> dict:
    """The commit of the code that runs: `{"commit": hex or None, "dirty": bool or None}`."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            # What the code is, not what it wrote: regenerated figures do not make a run dirty.
            "dirty": bool(git("status", "--porcelain", "--", ".", "../notebooks")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


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


def record(profile, **extra) -> dict:
    """What a manifest starts with; `extra` is what the stage adds (seeds, wall time, history)."""
    return {
        "profile": profile.name,
        "config": json.loads(json.dumps(asdict(profile))),  # as it will be read back
        **commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(),
        **extra,
    }


@contextmanager
def atomic(path: Path):
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


def write_json(path: Path, value) -> None:
    """Write `value` as JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path):
    """The value that `write_json` wrote; AwmError if the file is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise AwmError(f"{path} does not exist. Run the stage that makes it first.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AwmError(
            f"{path} is damaged ({error}). Move it away and run its stage again."
        ) from None


def check_config(manifest: dict, profile, keys: tuple[str, ...], path: Path) -> None:
    """AwmError if what lies at `path` was made with other settings than the profile's `keys`."""
    before = manifest.get("config", {})
    changed = [
        f"{key} {before[key]}, now {getattr(profile, key)}"
        for key in keys
        if key in before and before[key] != getattr(profile, key)
    ]
    if changed:
        raise AwmError(
            f"{path} was made with other settings ({'; '.join(changed)}). Move it and its manifest "
            "away to make it anew, or put the settings back."
        )


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
