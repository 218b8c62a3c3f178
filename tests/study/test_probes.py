"""Linear probes: what C could read off its inputs, and nothing else."""

import numpy as np
import pytest

from awm import store
from awm.data.rollouts import TELEMETRY
from awm.ids import Memory
from awm.study import probes as probing
from awm.study.probes import TARGETS, probes

V, PLAIN = Memory("V"), Memory()


def test_probes_find_what_is_linear_and_nothing_else(smoke_copy, monkeypatch):
    """Made-up inputs in the place of what C sees: two targets are linear in them, one is noise.

    They are so at the very step: telemetry of another would be noise to the probe.
    """
    rng = np.random.default_rng(0)
    layer = rng.normal(size=(20, 2))

    class Made:
        telemetry = {}

        def read(self, name, episode):
            return self.telemetry[episode]

    def seen(ws, memory, split):
        for episode in (0, 1):
            x = rng.normal(size=(1000, 20)) * 3 + 1
            columns = rng.normal(size=(1001, len(TELEMETRY)))
            for n, target in enumerate(TARGETS[:2]):
                columns[:1000, TELEMETRY.index(target)] = x @ layer[:, n]
            Made.telemetry[episode] = columns
            yield episode, x

    monkeypatch.setattr(probing, "inputs_seen", seen)
    monkeypatch.setattr(probing, "open_rollouts", lambda *_: Made())
    found = probes(smoke_copy, [V])["r2"]["V"]
    assert found["speed"] > 0.99 and found["steering_angle"] > 0.99
    assert abs(found["centre_distance"]) < 0.1


def test_probes_of_every_memory_are_recorded_once(smoke_copy):
    found = probes(smoke_copy, [V, PLAIN])
    assert {memory: r2.keys() for memory, r2 in found["r2"].items()} == {
        "V": set(TARGETS), "plain": set(TARGETS),
    }  # fmt: skip
    assert all(r2 <= 1 for each in found["r2"].values() for r2 in each.values())
    path = smoke_copy.own / "study/probes.json"
    store.write_json(path, store.read_json(path) | {"r2": "as it was recorded"})
    assert probes(smoke_copy, [V, PLAIN])["r2"] == "as it was recorded"
    assert probes(smoke_copy, [V])["r2"]["V"] == pytest.approx(found["r2"]["V"]), "others: anew"
