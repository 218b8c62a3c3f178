"""Encoders and decoders for V, cheap and dear: their cost, their error, what z tells a probe.

V's encoder was most of a closed-loop step, so cheaper ones were compared: trained on the same
frames in the same order, with the paper's decoder, for a fifth of a full training; and cheaper
decoders, which bound V's training, with the encoder that was chosen, “patches, slim”. An error is
the summed squared error of a frame of the test episodes. Probes are linear: R² of the car's
distance from the road's middle, its heading, and the bend ahead, from z alone.

What is finished is kept, so that an interrupted run goes on.

    python benchmarks/encoders.py [updates] [name ...]
"""

import sys
import time

import numpy as np
import torch
from timing import RESULTS, keep, rates, table
from tqdm import tqdm

from awm.data.rollouts import (
    TELEMETRY,
    Rollouts,
    centre_line,
    held_out_frames,
    moments,
    open_rollouts,
)
from awm.models.vae import VAE, losses, to_input
from awm.store import Workspace, read_json
from awm.training.vae import FrameBatches, validate
from awm.worlds.lanes import one_thread

#: Of each encoder its convolutions, from 64×64×3 on: (channels, kernel, stride).
ENCODERS = {
    "ha2018": ((32, 4, 2), (64, 4, 2), (128, 4, 2), (256, 4, 2)),
    "ha2018, half": ((16, 4, 2), (32, 4, 2), (64, 4, 2), (128, 4, 2)),
    "ha2018, quarter": ((8, 4, 2), (16, 4, 2), (32, 4, 2), (64, 4, 2)),
    "8×8 first": ((32, 8, 4), (64, 4, 2), (128, 4, 2)),
    "mnih2015": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "patches": ((48, 4, 4), (96, 4, 2), (192, 3, 2)),
    "patches, slim": ((32, 4, 4), (64, 4, 2), (128, 3, 2)),
    "patches, thin": ((24, 4, 4), (48, 4, 2), (96, 3, 2)),
    "patches, deep": ((32, 4, 4), (48, 3, 1), (96, 4, 2), (128, 3, 2)),
    "8×8 patches": ((96, 8, 8), (128, 3, 1), (192, 3, 2)),
}
#: Decoders as in `awm.models.vae.DECODERS`, each with the chosen encoder.
CHOSEN = "patches, slim"
DECODERS = {
    "half decoder": (1, 512, ((64, 5), (32, 5), (16, 6), (3, 6))),
    "half decoder, wide end": (1, 512, ((96, 5), (48, 5), (24, 6), (3, 6))),
    "from 5×5": (5, 128, ((64, 5), (32, 6), (3, 6))),
    "from 5×5, slim": (5, 96, ((64, 5), (24, 6), (3, 6))),
    "from 8×8": (8, 64, ((32, 6), (16, 6), (3, 6))),
    "from 8×8, wide end": (8, 48, ((32, 6), (24, 6), (3, 6))),
    "from 16×16": (16, 24, ((24, 6), (3, 6))),
}
BATCH, RATE, FREE_NATS = 64, 1e-3, 0.5
PROBES = ("offset", "heading", "bend ahead")
RIDGE = 1.0
#: Frames of each episode that the probes look at.
_FRAMES = 48
#: Tiles over which the bend ahead is added up, and the slowest car that has a heading (units/s).
_AHEAD, _SLOWEST = 8, 10.0
_WHEELS = TELEMETRY.index("wheels_on_road")


def flops(v: VAE) -> int:
    """Multiplications and additions of a frame's encoding."""
    convolutions = (
        2 * layer.weight.numel() * side**2
        for layer, side in zip(v.convolutions, v.sides, strict=True)
    )
    return sum(convolutions) + 2 * v.posterior.weight.numel()


def build(name: str) -> VAE:
    if name in DECODERS:
        return VAE(encoder=ENCODERS[CHOSEN], decoder=DECODERS[name])
    return VAE(encoder=ENCODERS[name])


def train(name: str, rollouts: Rollouts, updates: int) -> VAE:
    torch.manual_seed(0)
    v, batches = build(name), FrameBatches(rollouts, BATCH, 0)
    optimizer = torch.optim.Adam(v.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, updates + 1)
    for update in tqdm(range(updates), desc=name, mininterval=10):
        generator = torch.Generator().manual_seed(update)
        optimizer.zero_grad()
        losses(v, batches[update], FREE_NATS, generator)["loss"].backward()
        optimizer.step()
        schedule.step()
    return v.eval()


def targets(rollouts: Rollouts, episode: int) -> np.ndarray:
    """Where the car is on its road at each frame, `[T + 1, 3]` as in `PROBES`.

    NaN off the road, where it may be out of sight; headings also of a car that hardly moves.
    """
    telemetry = rollouts.read("telemetry", episode).astype(np.float64)
    place = telemetry[:, :2] @ (1, 1j)
    centre = centre_line(int(rollouts.seeds[episode])) @ (1, 1j)
    along = np.roll(centre, -1) - np.roll(centre, 1)
    along /= np.abs(along)
    turns = np.angle(np.roll(along, -1) / along)
    bend = np.convolve(np.concatenate([turns, turns[: _AHEAD - 1]]), np.ones(_AHEAD), "valid")
    here = np.abs(place[:, None] - centre).argmin(1)
    offset = ((place - centre[here]) / along[here]).imag
    heading = np.angle(np.gradient(place) / along[here])
    # The car's own angle is not recorded; its course is, if it moves, and drives the right way.
    heading[(telemetry[:, 2] < _SLOWEST) | (np.abs(heading) > 1)] = np.nan
    found = np.stack([offset, heading, bend[here]], 1)
    found[telemetry[:, _WHEELS] == 0] = np.nan
    return found


@torch.inference_mode()
def seen(v: VAE, rollouts: Rollouts, split: str) -> tuple[np.ndarray, np.ndarray]:
    """z `[n, z]` of some frames of a split, with what the probes look for `[n, 3]`."""
    z, found = [], []
    for i in rollouts.indices(split).tolist():
        frames = moments(rollouts.read("frames", i), _FRAMES)
        z.append(v.encode(to_input(frames))[0].numpy())
        found.append(moments(targets(rollouts, i), _FRAMES))
    return np.concatenate(z).astype(np.float64), np.concatenate(found)


def probe(v: VAE, rollouts: Rollouts) -> dict[str, float]:
    """R² on test episodes of a ridge regression from z, by target."""
    (x, y), (test_x, test_y) = (seen(v, rollouts, split) for split in ("train", "test"))
    x, test_x = (np.concatenate([part, np.ones((len(part), 1))], 1) for part in (x, test_x))
    r2 = {}
    for n, name in enumerate(PROBES):
        known, test_known = ~np.isnan(y[:, n]), ~np.isnan(test_y[:, n])
        a, b = x[known], y[known, n]
        layer = np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ b)
        truth = test_y[test_known, n]
        error = np.square(truth - test_x[test_known] @ layer).mean()
        r2[name] = float(1 - error / truth.var())
    return r2


def speeds(names) -> dict[str, float]:
    """Frames a second of each encoder, batches of 16 on one thread, in turn."""
    x = torch.rand(16, 3, 64, 64).to(memory_format=torch.channels_last)

    def encoding(v: VAE):
        @torch.inference_mode()
        def run() -> int:
            for _ in range(20):
                v.encode(x)
            return 20 * len(x)

        return run

    contenders = {name: encoding(build(name).eval()) for name in names}
    with one_thread():
        return rates(contenders)


def main() -> None:
    updates = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    names = sys.argv[2:] or [*ENCODERS, *DECODERS]
    rollouts = open_rollouts(Workspace.open("paper"))
    path = RESULTS / "encoders.json"
    found = read_json(path)["encoders"] if path.exists() else {}
    held_out = held_out_frames(rollouts, "test")
    for name in names:
        if found.get(name, {}).get("updates") != updates:
            started = time.perf_counter()
            v = train(name, rollouts, updates)
            found[name] = {
                "updates": updates,
                "encoder": ENCODERS.get(name, ENCODERS[CHOSEN]),
                "decoder": DECODERS.get(name),
                "mflop": flops(v) / 1e6,
                "error": validate(v, held_out, FREE_NATS)["reconstruction"],
                "probes": probe(v, rollouts),
                "seconds": round(time.perf_counter() - started, 1),
            }
        print(name, {k: found[name][k] for k in ("mflop", "error", "probes")}, flush=True)
        speed = table("Encoding, batches of 16, one thread", "frames/s", speeds(found), "ha2018")
        keep("encoders", speed, encoders=found, batch=BATCH, rate=RATE)


if __name__ == "__main__":
    main()
