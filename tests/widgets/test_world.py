"""The world model in the browser: it computes what PyTorch does."""

import base64
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import wasmtime
from dreaming import KINDS, Drives, Z, dreaming
from PIL import Image
from torch.nn import functional as F

from awm.errors import AwmError
from awm.models.attention import Items
from awm.models.controller import act
from awm.models.mdn_rnn import MDNRNN, State
from awm.models.vae import VAE
from awm.widgets import demos, world

STEPS = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Random models, and what the browser gets of them: V, every M, C, facts and arrays."""
    with dreaming(tmp_path_factory.mktemp("dream")) as (ws, v, ms, drivers):
        return v, ms, drivers["plain"], *world.bundle(ws)


def test_arrays_come_out_as_float16_keeps_them():
    numbers = torch.tensor([[0.0, 1.0, -2.5, 1 / 3], [65504.0, -6e-8, 1e-9, 2**-14]])
    packed = world.pack({"b": torch.zeros(3), "a": numbers})
    assert packed["arrays"] == [["b", [3]], ["a", [2, 4]]]
    values = np.frombuffer(base64.b64decode(packed["data"]), "<f2")
    assert values.tolist() == [0, 0, 0, *numbers.half().flatten().tolist()]


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(AwmError, match="gates of the dream in the browser is not finite"):
        world.pack({"gates": torch.tensor([1e6])})


def test_folding_changes_nothing(made):
    v, ms, *_ = made
    arrays = world.decoder_arrays(v)
    z = torch.randn(3, Z)
    x = F.conv_transpose2d(z[:, :, None, None], arrays["v0.weight"].permute(0, 3, 1, 2))
    x = (x + arrays["v0.bias"].permute(2, 0, 1)).relu()
    for n in (1, 2, 3):
        weight = arrays[f"v{n}.weight"].permute(0, 3, 1, 2)
        x = F.conv_transpose2d(x, weight, arrays[f"v{n}.bias"], stride=2)
        x = x.relu() if n < 3 else x[:, :3].sigmoid()
    torch.testing.assert_close(x, v.decode(z), atol=1e-4, rtol=0)
    entries = torch.randn(Z + 3)
    items = ms["feature"].attention.items(entries)
    arrays = world.memory_arrays(ms["feature"])
    found = entries[:, None] * arrays["items.direction"] + arrays["items.name"]
    torch.testing.assert_close(found, torch.cat([items.keys, items.values], -1), atol=1e-5, rtol=0)


def test_dreams_begin_at_moments_that_differ(made):
    starts = world.choose_starts(Drives())
    found = {label: episode for label, episode, _ in starts}
    assert found["a bend to the left"] == 0
    assert found["a bend to the right"] == 1
    assert found["on the grass"] == 2
    assert starts[-1] == ("the start line", 0, 0)
    assert all(step >= world.WARM_UP for _, _, step in starts[:-1])
    facts = made[3]
    assert [start["label"] for start in facts["starts"]] == [label for label, _, _ in starts]
    assert facts["starts"][0]["frame"].startswith("data:image/png;base64,")
    assert facts["models"][0] == {"name": "plain", "controller": "plain M, refined"}


def test_short_episodes_offer_the_start_line_only():
    rollouts = Drives()
    rollouts.lengths = np.full(3, world.WARM_UP)
    assert world.choose_starts(rollouts) == [("the start line", 0, 0)]


def test_m_remembers_the_steps_before_a_dream(made):
    m, z, actions = made[1]["temporal"], torch.randn(40, Z), torch.rand(40, 3)
    found = world.remembered(m, z, actions)
    hidden = m(z[None], actions[None])[0][0]
    torch.testing.assert_close(found["h"], hidden[-1], atol=1e-5, rtol=0)
    keys = m.attention.items(hidden[-32:]).keys
    torch.testing.assert_close(found["past"][:, :32], keys, atol=1e-5, rtol=0)
    assert world.remembered(m, z[:0], actions[:0])["past"].shape == (0, 64)


def test_a_film_has_its_frames_in_rows():
    shades = 12 * np.arange(world.COLUMNS + 1, dtype=np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (len(shades), 64, 64, 3))
    content = base64.b64decode(world.film(frames).partition(",")[2])
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    assert sheet.shape == (128, 64 * world.COLUMNS, 3)
    assert abs(int(sheet[64 + 32, 32, 0]) - int(shades[-1])) < 4


def test_the_script_holds_what_was_assembled():
    text = Path(world.__file__).with_name("world.wat").read_text("utf-8")
    assembled = base64.b64encode(bytes(wasmtime.wat2wasm(text))).decode()
    literal = re.search(r"ASSEMBLED =(.*?);", demos.SCRIPT, re.S)[1]
    assert "".join(re.findall(r'"(.*?)"', literal)) == assembled


@pytest.fixture(scope="module")
def engine(made, browser):
    """An empty page with two world models to compute with: as packed, and with exact numbers."""
    page, (facts, arrays) = browser.new_page(), made[3:]
    page.add_script_tag(content=demos.SCRIPT)
    numbers = {name: np.asarray(array).ravel().tolist() for name, array in arrays.items()}
    page.evaluate(OPEN, [facts | world.pack(arrays), numbers])
    yield page
    page.close()


OPEN = """
([bundle, numbers]) => {
  window.packed = new awmWorld.World({ ...bundle });
  window.exact = new awmWorld.World({ ...bundle });
  for (const name in numbers) window.exact.arrays[name].set(numbers[name]);
}
"""

DREAM = """
({ opened, model, start, actions, choices, normals, temperature }) => {
  const world = window[opened];
  const dream = new awmWorld.Dream(world, model, start);
  return actions.map((action, t) => {
    const [choice, normal] = [choices[t], normals[t]].map((row) => Float32Array.from(row));
    const now = dream.step(action, temperature, { choice, normal });
    const frame = [...world.decode(dream.z)];
    const [z, h, drive] = [[...dream.z], [...dream.h], dream.drive()];
    return { ...now, z, h, drive, weights: dream.weights, frame: t % 5 ? [0] : frame };
  });
}
"""


def start_of(arrays: dict, kind: str, start: int) -> tuple[torch.Tensor, State]:
    """z `[1, z]` and M's state at which a dream of the page begins."""
    h, c = (arrays[f"start{start}.{kind}.{name}"][None] for name in ("h", "c"))
    memory = None
    if kind == "temporal":
        past = arrays[f"start{start}.{kind}.past"]
        padded = F.pad(past, (0, 0, 32 - len(past), 0))[None]
        memory = Items(padded[..., :32], padded[..., 32:], torch.arange(32)[None] >= 32 - len(past))
    return arrays[f"start{start}.codes"][:1], State(h, c, memory)


def dreamt(v: VAE, m: MDNRNN, z, state, given: dict) -> list[dict]:
    """The dream as `awm.dream.Dream` dreams it, with given actions and randomness."""
    steps = []
    chances = (torch.tensor(given[name]) for name in ("actions", "choices", "normals"))
    for t, (action, choice, normal) in enumerate(zip(*chances, strict=True)):
        state, found = m.step(z, action[None], state)
        expected = m.predict(state.h)
        z = expected.pick(choice[None, 1:], normal[None], given["temperature"])
        chance = torch.sigmoid(expected.done_logit)
        steps.append(
            {
                "z": z[0],
                "h": state.h[0],
                "reward": expected.reward[0],
                "chance": chance[0],
                "frame": torch.zeros(1) if t % 5 else v.decode(z)[0].permute(1, 2, 0).flatten(),
                "weights": None if found is None else found[0],
            }
        )
    return steps


def randomness(kind: str, start: int, temperature: float, opened: str = "packed") -> dict:
    rng = np.random.default_rng(7)
    return {
        "opened": opened,
        "model": kind,
        "start": start,
        "temperature": temperature,
        "actions": rng.uniform((-1, 0, 0), 1, (STEPS, 3)).astype(np.float32).tolist(),
        "choices": rng.uniform(size=(STEPS, Z + 1)).astype(np.float32).tolist(),
        "normals": rng.normal(size=(STEPS, Z)).astype(np.float32).tolist(),
    }


def largest_gaps(page: list[dict], torch_: list[dict]) -> dict[str, float]:
    return {
        name: max(
            float((torch.tensor(a[name]) - b[name]).abs().max())
            for a, b in zip(page, torch_, strict=True)
        )
        for name in ("z", "h", "reward", "chance", "frame")
    }


@pytest.mark.browser
@pytest.mark.parametrize(
    "kind, start, temperature",
    [("plain", 0, 1.0), ("feature", -1, 0.4), ("temporal", -1, 1.0), ("temporal", 0, 0.4)],
)
def test_the_page_dreams_what_pytorch_dreams(made, engine, kind, start, temperature):
    v, ms, _, facts, arrays = made
    start %= len(facts["starts"])
    given = randomness(kind, start, temperature, "exact")
    page = engine.evaluate(DREAM, given)
    expected = dreamt(v, ms[kind], *start_of(arrays, kind, start), given)
    gaps = largest_gaps(page, expected)
    # V's weights are what was packed.
    assert gaps.pop("frame") < 2 / 255 and max(gaps.values()) < 1e-4, gaps
    assert np.std([step["z"] for step in page], axis=0).min() > 0.1  # it does move
    assert [step["ended"] for step in page] == [
        row[0] < step["chance"] for row, step in zip(given["choices"], page, strict=True)
    ]
    if kind != "plain":
        for a, b in zip(page, expected, strict=True):
            absent = [0.0] * (len(b["weights"]) - len(a["weights"]))
            np.testing.assert_allclose(absent + a["weights"], b["weights"], atol=1e-4)


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_float16_changes_a_dream_little(made, engine, kind):
    v, ms, _, _, arrays = made
    given = randomness(kind, 0, 1.0)
    # Always the first component: a rounded share may pass a choice, and then dreams part.
    given["choices"] = np.zeros_like(given["choices"]).tolist()
    page = engine.evaluate(DREAM, given)
    gaps = largest_gaps(page, dreamt(v, ms[kind], *start_of(arrays, kind, 0), given))
    assert gaps["z"] < 5e-3 and gaps["reward"] < 5e-3, gaps
    assert gaps["frame"] < 2 / 255, gaps


@pytest.mark.browser
def test_c_drives_as_it_does_elsewhere(made, engine):
    driver = made[2]
    for step in engine.evaluate(DREAM, randomness("plain", 0, 1.0)):
        seen = torch.tensor([step["z"] + step["h"]])
        action = act(torch.from_numpy(driver.weights)[None], seen)
        np.testing.assert_allclose(step["drive"], action[0], atol=5e-3)
    assert engine.evaluate(DREAM, randomness("feature", 0, 1.0))[0]["drive"] is None


@pytest.mark.browser
def test_the_same_seed_gives_the_same_chances(engine):
    draw = "seed => Array.from({length: 500}, awmWorld.chance(seed, 32))"
    as_lists = f"seed => ({draw})(seed).map(d => [...d.choice, ...d.normal])"
    one, again, other = (np.array(engine.evaluate(as_lists, seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    uniform, normal = one[:, :33], one[:, 33:]
    assert uniform.min() >= 0 and uniform.max() <= 1
    assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.var() - 1 / 12) < 0.005
    assert abs(normal.mean()) < 0.03 and abs(normal.var() - 1) < 0.05
    assert math.isclose((np.abs(normal) < 1).mean(), 0.683, abs_tol=0.02)
