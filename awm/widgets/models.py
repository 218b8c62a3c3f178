"""What the widgets look at, opened from a profile, and V's part in showing it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from awm import dataset, figures, mdn_rnn
from awm import vae as vision
from awm.config import Profile, get_profile
from awm.errors import AwmError
from awm.rollout import one_thread

#: Frames that are encoded in the calling thread.
_FEW = 64


def open_rollouts(rollouts) -> dataset.Rollouts:
    """Rollouts, or those of a profile or its name. AwmError if there are none."""
    if isinstance(rollouts, str | Profile):
        rollouts = dataset.open_rollouts(rollouts)
    if rollouts is None or not len(rollouts):
        raise AwmError("There are no rollouts to look at. Run `awm collect` or notebook 01 first.")
    return rollouts


def open_vae(vae) -> vision.VAE:
    """A V, or that of a profile or its name. AwmError if there is none."""
    if isinstance(vae, str | Profile):
        vae = vision.load(vae)
    if vae is None:
        raise AwmError("There is no V to look at. Run `awm train vae` or notebook 02 first.")
    return vae


def open_ms(profile: Profile | str, kinds) -> tuple[dict[str, mdn_rnn.MDNRNN], str]:
    """The Ms of a profile among `kinds` that are trained, and what to run for the others.

    The text is empty if nothing is missing. AwmError if none is trained.
    """
    profile = get_profile(profile)
    trained = {k: mdn_rnn.load(profile, k) for k in kinds if mdn_rnn.path_of(profile, k).exists()}
    missing = [kind for kind in kinds if kind not in trained]
    if not missing:
        return trained, ""
    names = ", ".join(figures.model_label(kind) for kind in missing)
    commands = ", ".join(
        f"`awm train mdn-rnn --attention {kind} --profile {profile.name}`" for kind in missing
    )
    message = f"Not trained for profile {profile.name!r}: {names}. Run {commands}."
    if not trained:
        raise AwmError(message)
    return trained, message


def held_out(rollouts: dataset.Rollouts) -> list[int]:
    """The rollouts that no model was trained on: the test split, then the validation split."""
    return [int(i) for split in ("test", "validation") for i in rollouts.indices(split)]


@contextmanager
def inference():
    """No gradients and one thread: threads that wait for a busy core make one frame take 150 ms."""
    with one_thread(), torch.inference_mode():
        yield


def decode(vae: vision.VAE, z: np.ndarray) -> np.ndarray:
    """Latents [n, z_size] as frames uint8 [n, 64, 64, 3]."""
    with inference():
        return vision.to_frames(vae.decode(torch.from_numpy(np.asarray(z, np.float32))))


def encode(vae: vision.VAE, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [n, 64, 64, 3] as latents' means [n, z_size] and V's maps [n, 36, 128]."""
    if len(frames) <= _FEW:
        return _encode(vae, frames)
    # Whole rollouts on two cores, but not with torch's own threads (see `inference`).
    with one_thread(), ThreadPoolExecutor(2) as pool:
        halves = pool.map(partial(_encode, vae), np.array_split(frames, 2))
        mu, maps = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    return mu, maps


def _encode(vae: vision.VAE, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with inference():
        mu, _, maps = vae.encode_frames(np.ascontiguousarray(frames), batch=32)
    return mu, maps


def reconstruct(vae: vision.VAE, frames: np.ndarray) -> np.ndarray:
    """What V keeps of frames uint8 [n, 64, 64, 3]: decoded from the posterior's mean."""
    return decode(vae, encode(vae, frames)[0])
