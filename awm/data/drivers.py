"""Who drives while data is collected.

A driver is told when an episode begins and then asked for one action a step, given the simulator
and its frame. Those here ignore the frame; the scripted ones read the track from the simulator:
they make data, they are not agents. An agent is `awm.worlds.track.AgentDriver`.
"""

import math

import numpy as np


class RandomDriver:
    """A uniformly random action at every step (Ha & Schmidhuber 2018, section 4.1)."""

    def reset(self, env, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, env, frame=None) -> np.ndarray:
        return self.rng.uniform((-1, 0, 0), (1, 1, 1)).astype(np.float32)


class WalkDriver:
    """Smooth random walks of steering and pedals, an Ornstein-Uhlenbeck process each.

    Brake and gas are one pedal axis, biased towards gas, so that the car does move.
    """

    correlation = 0.95
    bias = np.array([0.0, 0.25])

    def reset(self, env, rng: np.random.Generator) -> None:
        self.rng = rng
        self.state = np.zeros(2)

    def act(self, env, frame=None) -> np.ndarray:
        noise = self.rng.normal(size=2) * math.sqrt(1 - self.correlation**2)
        self.state = self.correlation * self.state + noise
        steer, pedal = np.clip(self.bias + self.state * (0.6, 0.5), -1, 1)
        return np.array([steer, max(pedal, 0), max(-pedal, 0)], np.float32)


class ScriptedDriver:
    """Steers at the point of the road `ahead` tiles away and slows down with the curvature.

    Reads the track and the car's state, and drives about as well as a patient person;
    `speed` (units/s) is what it would drive on a straight.
    """

    ahead = 4
    sight = 16  # tiles over which the bends are added up
    spinning = 3.0  # rad/s

    def __init__(self, speed: float = 70.0, caution: float = 22.0):
        self.speed, self.caution = speed, caution

    def reset(self, env, rng: np.random.Generator) -> None:
        track = np.array(env.unwrapped.track)
        self.centre = track[:, 2:4]
        self.here = 0
        turn = np.diff(track[:, 1], append=track[:1, 1])
        turn = (turn + math.pi) % (2 * math.pi) - math.pi
        # Bends over the next tiles, net of left and right: a wiggle can be cut straight through.
        window = np.concatenate([turn, turn[: self.sight]])
        total = np.concatenate([[0.0], np.cumsum(window)])
        self.bend = np.abs(total[self.sight :] - total[: -self.sight])[: len(turn)]

    def act(self, env, frame=None) -> np.ndarray:
        hull = env.unwrapped.car.hull
        x, y = hull.position
        velocity = math.hypot(*hull.linearVelocity)
        # Search near the last place only: another stretch of road may be closer.
        near = (self.here + np.arange(-15, 25)) % len(self.centre)
        here = int(near[np.argmin(np.square(self.centre[near] - (x, y)).sum(axis=1))])
        self.here = here
        dx, dy = self.centre[(here + self.ahead) % len(self.centre)] - (x, y)
        cosine, sine = math.cos(hull.angle), math.sin(hull.angle)
        right, forward = dx * cosine + dy * sine, dy * cosine - dx * sine
        steer = np.clip(1.5 * math.atan2(right, forward), -1, 1)
        wanted = self.speed - self.caution * self.bend[here]
        excess = velocity - max(wanted, 25.0)
        gas = np.clip(-0.1 * excess, 0, 1)
        brake = np.clip(0.02 * excess, 0, 0.8)
        # Full gas and full lock together spin the car; a car that spins must first be let stop.
        gas *= 1 - 0.6 * abs(steer)
        if abs(hull.angularVelocity) > self.spinning:
            steer, gas = 0.0, 0.0
        return np.array([steer, gas, brake], np.float32)


class NoisyDriver:
    """The scripted driver at a random pace, with a smooth random walk mixed in, more or less.

    Now and then the walk alone drives for a while: the car leaves the road or spins, and the
    scripted driver has to bring it back, which is what the agent must learn to see.
    """

    def reset(self, env, rng: np.random.Generator) -> None:
        self.rng = rng
        self.road = ScriptedDriver(rng.uniform(50, 100), rng.uniform(14, 30))
        self.walk = WalkDriver()
        self.road.reset(env, rng)
        self.walk.reset(env, rng)
        self.noise = rng.uniform(0, 0.35)
        self.lapse = 0  # steps for which the walk still drives alone

    def act(self, env, frame=None) -> np.ndarray:
        wanted, wild = self.road.act(env), self.walk.act(env)
        if self.lapse == 0 and self.rng.random() < 0.004:
            self.lapse = int(self.rng.integers(10, 40))
        self.lapse = max(self.lapse - 1, 0)
        share = 1.0 if self.lapse else self.noise
        return ((1 - share) * wanted + share * wild).astype(np.float32)


class RecklessDriver:
    """The scripted driver at speeds that the bends do not allow, with full gas in full lock.

    It slides and spins where an agent at the limit does: the states that decide its worst laps,
    which careful drivers never show.
    """

    def reset(self, env, rng: np.random.Generator) -> None:
        self.rng = rng
        self.road = ScriptedDriver(rng.uniform(75, 110), rng.uniform(10, 20))
        self.road.reset(env, rng)
        self.push = 0  # steps for which the gas stays down whatever the road does

    def act(self, env, frame=None) -> np.ndarray:
        steer, gas, brake = self.road.act(env)
        if self.push == 0 and self.rng.random() < 0.006:
            self.push = int(self.rng.integers(5, 20))
        self.push = max(self.push - 1, 0)
        if self.push:
            return np.array([np.clip(2 * steer, -1, 1), 1, 0], np.float32)
        return np.array([steer, gas, brake], np.float32)


class LeavingDriver:
    """The scripted driver until some moment; then it keeps its heading, and leaves the field.

    The field's edge costs 100 and ends the episode: M learns it from these.
    """

    def reset(self, env, rng: np.random.Generator) -> None:
        self.road = ScriptedDriver(rng.uniform(50, 90), rng.uniform(14, 30))
        self.road.reset(env, rng)
        self.leaves_at, self.t = int(rng.integers(60, 300)), 0
        self.gas = rng.uniform(0.3, 0.8)

    def act(self, env, frame=None) -> np.ndarray:
        self.t += 1
        if self.t <= self.leaves_at:
            return self.road.act(env)
        # A wheel on grass pulls the car round: what holds the heading is a little counter-steering.
        spin = env.unwrapped.car.hull.angularVelocity
        return np.array([np.clip(0.3 * spin, -1, 1), self.gas, 0], np.float32)


#: Those that read the track from the simulator, which no agent can.
SIGHTED = ("scripted", "noisy", "reckless", "leaving")

DRIVERS = {
    "random": RandomDriver,  # a new random action every step: the paper's data
    "walk": WalkDriver,  # smooth random walks: leave the road, spin, stand still
    "scripted": ScriptedDriver,  # follows the road
    "noisy": NoisyDriver,  # follows the road at many speeds, disturbed: slides, recoveries, grass
    "leaving": LeavingDriver,  # leaves the field: the edge, and its -100
    "reckless": RecklessDriver,  # too fast for the bends: spins, wrong ways, returns at speed
}


def assign(episodes: int, shares: dict[str, float]) -> list[str]:
    """The driver's name for each of `episodes` episodes, in the given shares.

    Interleaved, so that every contiguous part of the data holds the same mixture.
    """
    owed = dict.fromkeys(shares, 0.0)
    names = []
    for _ in range(episodes):
        for name, share in shares.items():
            owed[name] += share
        names.append(max(owed, key=owed.get))
        owed[names[-1]] -= 1
    return names
