"""The dream in the report: it computes what PyTorch does, and its controls respond."""

import base64
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from awm import stages
from awm.data import rollouts as data
from awm.errors import AwmError
from awm.ids import Agent, Memory
from awm.models.attention import FeatureAttention, Items, empty_memory
from awm.models.controller import Controller, Inputs, act
from awm.models.mdn_rnn import MDNRNN, State
from awm.models.vae import VAE
from awm.report import live_dream, page
from awm.store import Workspace
from awm.training import mdn_rnn

STEPS = 12
KINDS = ("plain", "feature", "temporal")
Z, HIDDEN = 32, 64


class Drives:
    """Test episodes along circles: to the left, to the right, and to the left on the grass."""

    lengths = np.array([140, 140, 140])

    def indices(self, split):
        return np.arange(3)

    def column(self, name):
        if name == "actions":
            return [np.tile(np.float32([0.1, 0.3, 0]), (140, 1))] * 3
        columns = []
        for sense, wheels in ((1, 4), (-1, 4), (1, 0)):
            angle = sense * np.arange(141) / 40
            x, y, still = 40 * np.cos(angle), 40 * np.sin(angle), np.ones(141)
            rows = (x, y, 50 * still, 0 * still, still if wheels else 20 * still, wheels * still)
            columns.append(np.stack(rows, axis=1).astype(np.float32))
        return columns

    def episode(self, index):
        frames = np.random.default_rng(index).integers(0, 255, (141, 8, 8, 3), np.uint8)
        frames = frames.repeat(8, axis=1).repeat(8, axis=2)
        return type("Episode", (), {"frames": frames, "actions": self.column("actions")[index]})


@torch.no_grad()
def random_v() -> VAE:
    """A V whose pictures depend on z, and z on the frame."""
    torch.manual_seed(0)
    v = VAE(Z, "patches", "folded")
    for layer in (v.posterior, v.expand, *v.deconvolutions):
        layer.weight *= 4
    v.posterior.weight *= 8
    return v.eval().requires_grad_(False)


@torch.no_grad()
def random_m(profile, kind: str) -> MDNRNN:
    """An M whose dreams depend on everything: on z, action, memory and attention."""
    m = mdn_rnn.build(profile, Memory(kind)).eval().requires_grad_(False)
    logits, mu, _ = m.head.weight[:-2].chunk(3)
    logits *= 8
    mu *= 4
    m.head.bias[:-2].chunk(3)[2].fill_(-1)
    if m.attention is not None:
        m.attention.score.weight *= 8
    if kind == "feature":  # this one ends its dreams at once
        m.head.bias[-1] = 20
    return m


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Random models and a page with their dream: V, every M, C, the bundle and the page's path."""
    ws = Workspace.open("smoke", tmp_path_factory.mktemp("dream"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "open_rollouts", lambda ws: Drives())
        v = random_v()
        ws.save(stages.vae(ws.profile), v.state_dict())
        ms = {kind: random_m(ws.profile, kind) for kind in KINDS}
        for kind, m in ms.items():
            ws.save(stages.mdn_rnn(ws.profile, Memory(kind)), m.state_dict())
        rng = np.random.default_rng(0)
        inputs = Inputs(rng.normal(size=Z + HIDDEN), rng.uniform(0.2, 1, size=Z + HIDDEN))
        driver = Controller(rng.normal(size=inputs.parameters) / 5, inputs)
        layer = {"parameters": driver.parameters}
        layer |= {"input_mean": inputs.mean, "input_deviation": inputs.deviation}
        for agent in (Agent(), Agent().refined()):
            tensors = {name: torch.from_numpy(value) for name, value in layer.items()}
            ws.save(stages.agent(ws.profile, agent), tensors)
        bundle = live_dream.bundle(ws)
        # Something to scroll below it.
        body = page.Body(live_dream.html(ws) + "<p style='height: 200vh'></p>", [])
        html = page.page(ws, "index", body, [], [])
    path = ws.root / "index.html"
    path.write_text(html, "utf-8")
    return v, ms, driver, bundle, path


def unpack(packed: dict) -> dict[str, torch.Tensor]:
    """The arrays that `pack` packed, float32: what the page computes with."""
    values = np.frombuffer(base64.b64decode(packed["data"]), "<f2").astype(np.float32)
    names, shapes = zip(*packed["arrays"], strict=True)
    parts = np.split(values, np.cumsum([np.prod(shape) for shape in shapes], dtype=int)[:-1])
    return {
        name: torch.from_numpy(part.reshape(shape))
        for name, part, shape in zip(names, parts, shapes, strict=True)
    }


def test_arrays_come_out_as_float16_keeps_them():
    numbers = torch.tensor([[0.0, 1.0, -2.5, 1 / 3], [65504.0, -6e-8, 1e-9, 2**-14]])
    found = unpack(live_dream.pack({"b": torch.zeros(3), "a": numbers}))
    assert list(found) == ["b", "a"]
    assert torch.equal(found["a"], numbers.half().float())


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(AwmError, match="gates of the dream on the page is not finite"):
        live_dream.pack({"gates": torch.tensor([1e6])})


def test_folding_changes_nothing(made):
    v, ms, *_ = made
    arrays = live_dream.decoder_arrays(v)
    z = torch.randn(3, Z)
    x = F.conv_transpose2d(z[:, :, None, None], arrays["v0.weight"].permute(0, 3, 1, 2))
    x = (x + arrays["v0.bias"].permute(2, 0, 1)).relu()
    for n in (1, 2, 3):
        weight = arrays[f"v{n}.weight"].permute(0, 3, 1, 2)
        x = F.conv_transpose2d(x, weight, arrays[f"v{n}.bias"], stride=2)
        x = x.relu() if n < 3 else x.sigmoid()
    torch.testing.assert_close(x, v.decode(z), atol=1e-4, rtol=0)
    entries = torch.randn(Z + 3)
    items = ms["feature"].attention.items(entries)
    arrays = live_dream.memory_arrays(ms["feature"])
    found = entries[:, None] * arrays["items.direction"] + arrays["items.name"]
    torch.testing.assert_close(found, torch.cat([items.keys, items.values], -1), atol=1e-5, rtol=0)


def test_dreams_begin_at_moments_that_differ(made):
    starts = live_dream.choose_starts(Drives())
    found = {start.label: start.episode for start in starts}
    assert found["a bend to the left"] == 0
    assert found["a bend to the right"] == 1
    assert found["on the grass"] == 2
    assert starts[-1] == live_dream.Start("the start line", 0, 0)
    assert all(start.step >= live_dream.WARM_UP for start in starts[:-1])
    bundle = made[3]
    assert [start["label"] for start in bundle["starts"]] == [start.label for start in starts]
    assert bundle["starts"][0]["frame"].startswith("data:image/png;base64,")
    assert bundle["models"][0] == {"name": "plain", "controller": "plain M, refined"}


def test_short_episodes_offer_the_start_line_only():
    rollouts = Drives()
    rollouts.lengths = np.full(3, live_dream.WARM_UP)
    assert live_dream.choose_starts(rollouts) == [live_dream.Start("the start line", 0, 0)]


def test_m_remembers_the_steps_before_a_dream(made):
    m, z, actions = made[1]["temporal"], torch.randn(40, Z), torch.rand(40, 3)
    found = live_dream.remembered(m, z, actions)
    hidden = m(z[None], actions[None])[0][0]
    torch.testing.assert_close(found["h"], hidden[-1], atol=1e-5, rtol=0)
    keys = m.attention.items(hidden[-32:]).keys
    torch.testing.assert_close(found["past"][:, :32], keys, atol=1e-5, rtol=0)
    assert live_dream.remembered(m, z[:0], actions[:0])["past"].shape == (0, 64)


def test_what_a_dream_lacks_is_said(workspace, monkeypatch):
    ws = Workspace.open("smoke")
    assert "V has not been trained in this profile" in live_dream.html(ws)
    ws.save(stages.vae(ws.profile), random_v().state_dict())
    assert "no M that can dream here has been trained" in live_dream.html(ws)
    m = mdn_rnn.build(ws.profile, Memory("temporal"))
    ws.save(stages.mdn_rnn(ws.profile, Memory("temporal")), m.state_dict())
    assert "awm collect --profile smoke" in live_dream.html(ws)
    assert 'id="dream"' not in live_dream.html(ws)
    monkeypatch.setattr(data, "open_rollouts", lambda ws: Drives())
    assert live_dream.absent(ws) is None
    assert live_dream.html(ws).count("Not trained in this profile") == 2


@contextmanager
def opened(browser, path):
    """A page from disk, offline; fails on any message in the console and on any failed request."""
    complaints = []
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def shown(made, browser):
    """The report, freshly opened: to use its controls."""
    with opened(browser, made[4]) as page:
        yield page


@pytest.fixture(scope="module")
def engine(made, browser):
    """The report, opened once: to compute with it."""
    with opened(browser, made[4]) as page:
        yield page


DREAM = """
({ model, start, actions, choices, normals, temperature }) => {
  const world = awmDream.load(JSON.parse(document.querySelector(".dream-data").textContent));
  const dream = new awmDream.Dream(world, model, start);
  return actions.map((action, t) => {
    const [choice, normal] = [choices[t], normals[t]].map((row) => Float32Array.from(row));
    const now = dream.step(action, temperature, { choice, normal });
    const frame = [...awmDream.decode(world, dream.z)];
    const [z, h, drive] = [[...dream.z], [...dream.h], dream.drive()];
    return { ...now, z, h, drive, weights: dream.weights, frame: t % 5 ? [0] : frame };
  });
}
"""


def restored(bundle: dict, kind: str) -> tuple[VAE, MDNRNN]:
    """V and M in PyTorch with exactly the weights that the page has."""
    arrays = unpack(bundle)
    v, size = VAE(Z).requires_grad_(False), Z
    # The folded first map: z passes `expand` unchanged, beside a one that carries the bias.
    v.expand.weight.zero_()[:size] = torch.eye(size)
    v.expand.bias.zero_()[size] = 1
    first = v.deconvolutions[0]
    first.weight.zero_()[:size] = arrays["v0.weight"].permute(0, 3, 1, 2)
    first.weight[size] = arrays["v0.bias"].permute(2, 0, 1)
    first.bias.zero_()
    for n, layer in enumerate(v.deconvolutions[1:], start=1):
        layer.weight.copy_(arrays[f"v{n}.weight"].permute(0, 3, 1, 2))
        layer.bias.copy_(arrays[f"v{n}.bias"])
    m = mdn_rnn.build(Workspace.open("smoke").profile, Memory(kind)).requires_grad_(False)
    if kind == "feature":  # directions and names hold keys and values side by side
        m.attention = FeatureAttention(size + 3, HIDDEN, size=64)
        m.attention.requires_grad_(False)
        m.attention.direction.copy_(arrays["feature.items.direction"])
        m.attention.name.copy_(arrays["feature.items.name"])
        items, bias = torch.eye(64), torch.zeros(64)
    elif kind == "temporal":
        items, bias = arrays["temporal.items.weight"], arrays["temporal.items.bias"]
    if m.attention is not None:
        for layer, half in ((m.attention.key, slice(32)), (m.attention.value, slice(32, 64))):
            layer.weight.copy_(items[half])
            layer.bias.copy_(bias[half])
        m.attention.query.weight.copy_(arrays[f"{kind}.query.weight"])
        m.attention.score.weight.copy_(arrays[f"{kind}.score"][None])
    known = m.lstm.weight_ih_l0.shape[1]
    m.lstm.weight_ih_l0.copy_(arrays[f"{kind}.gates.weight"][:, :known])
    m.lstm.weight_hh_l0.copy_(arrays[f"{kind}.gates.weight"][:, known:])
    m.lstm.bias_ih_l0.copy_(arrays[f"{kind}.gates.bias"])
    m.lstm.bias_hh_l0.zero_()
    m.head.weight.copy_(arrays[f"{kind}.head.weight"])
    m.head.bias.copy_(arrays[f"{kind}.head.bias"])
    return v, m


def start_of(bundle: dict, kind: str, start: int) -> tuple[torch.Tensor, State]:
    """z `[1, z]` and M's state at which a dream of the page begins."""
    arrays = unpack(bundle)
    h, c = (arrays[f"start{start}.{kind}.{name}"][None] for name in ("h", "c"))
    memory = empty_memory(1, 32) if kind == "temporal" else None
    if memory is not None:
        past = arrays[f"start{start}.{kind}.past"]
        padded = F.pad(past, (0, 0, 32 - len(past), 0))[None]
        memory = Items(padded[..., :32], padded[..., 32:], torch.arange(32)[None] >= 32 - len(past))
    return arrays[f"start{start}.z"][None], State(h, c, memory)


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


def randomness(kind: str, start: int, temperature: float) -> dict:
    rng = np.random.default_rng(7)
    return {
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
    bundle = made[3]
    start %= len(bundle["starts"])
    given = randomness(kind, start, temperature)
    page = engine.evaluate(DREAM, given)
    expected = dreamt(*restored(bundle, kind), *start_of(bundle, kind, start), given)
    gaps = largest_gaps(page, expected)
    assert max(gaps.values()) < 1e-4, gaps
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
    v, ms, _, bundle, _ = made
    given = randomness(kind, 0, 1.0)
    # Always the first component: a rounded share may pass a choice, and then dreams part.
    given["choices"] = np.zeros_like(given["choices"]).tolist()
    page = engine.evaluate(DREAM, given)
    gaps = largest_gaps(page, dreamt(v, ms[kind], *start_of(bundle, kind, 0), given))
    assert gaps["z"] < 5e-3 and gaps["reward"] < 5e-3, gaps
    assert gaps["frame"] < 2 / 255, gaps


@pytest.mark.browser
def test_c_drives_as_it_does_elsewhere(made, engine):
    driver, bundle = made[2:4]
    for step in engine.evaluate(DREAM, randomness("plain", 0, 1.0)):
        seen = torch.tensor([step["z"] + step["h"]])
        action = act(torch.from_numpy(driver.weights)[None], seen)
        np.testing.assert_allclose(step["drive"], action[0], atol=5e-3)
    assert engine.evaluate(DREAM, randomness("temporal", 0, 1.0))[0]["drive"] is None


@pytest.mark.browser
def test_the_same_seed_gives_the_same_chances(engine):
    draw = "seed => Array.from({length: 500}, awmDream.chance(seed, 32))"
    as_lists = f"seed => ({draw})(seed).map(d => [...d.choice, ...d.normal])"
    one, again, other = (np.array(engine.evaluate(as_lists, seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    uniform, normal = one[:, :33], one[:, 33:]
    assert uniform.min() >= 0 and uniform.max() <= 1
    assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.var() - 1 / 12) < 0.005
    assert abs(normal.mean()) < 0.03 and abs(normal.var() - 1) < 0.05
    assert math.isclose((np.abs(normal) < 1).mean(), 0.683, abs_tol=0.02)


def reading(page, name: str) -> float:
    return float(page.locator(f"output[name={name}]").inner_text().replace("−", "-").rstrip(" %"))


def wait_for(page, condition: str) -> None:
    page.wait_for_function(f"(f => {condition})(document.querySelector('#dream form').elements)")


@pytest.mark.browser
def test_a_dream_begins_when_asked_to_and_pauses(shown):
    begin, status = shown.locator("[name=begin]"), shown.locator(".dream-status")
    assert status.inner_text() == "A real frame: a bend to the left."
    assert reading(shown, "step") == 0
    begin.click()
    wait_for(shown, "Number(f.step.value) > 5")
    assert status.inner_text() == "Dreaming; you drive."
    shown.wait_for_function("!document.activeElement.matches('button')")
    shown.keyboard.press("Space")  # the focus is on the screen after a click
    assert begin.inner_text() == "Go on"
    at = reading(shown, "step")
    shown.wait_for_timeout(150)
    assert reading(shown, "step") == at
    begin.click()
    wait_for(shown, f"Number(f.step.value) > {at}")
    shown.wait_for_function("!document.activeElement.matches('button')")  # it follows the click
    shown.keyboard.press("Space")
    assert begin.inner_text() == "Go on"
    shown.keyboard.press("r")
    assert reading(shown, "step") == 0
    assert status.inner_text() == "A real frame: a bend to the left."


@pytest.mark.browser
def test_keys_drive_while_the_dream_has_the_focus(shown):
    shown.locator("[name=begin]").click()
    shown.wait_for_function("!document.activeElement.matches('button')")
    shown.keyboard.down("ArrowLeft")
    shown.keyboard.down("ArrowUp")
    wait_for(shown, "f.steer.value === '−1.00' && f.gas.value === '1.00'")
    shown.keyboard.up("ArrowLeft")
    shown.keyboard.down("ArrowRight")
    wait_for(shown, "f.steer.value === '1.00'")
    before = shown.evaluate("scrollY")
    shown.keyboard.press("ArrowDown")
    shown.wait_for_timeout(150)
    assert shown.evaluate("scrollY") == before
    shown.evaluate("document.activeElement.blur()")  # lets go of all keys
    wait_for(shown, "f.steer.value === '0.00' && f.gas.value === '0.00'")
    shown.keyboard.press("ArrowDown")
    shown.wait_for_function(f"scrollY > {before}")


@pytest.mark.browser
def test_buttons_drive_while_they_are_held(shown):
    shown.locator("[name=begin]").click()
    brake = shown.locator("[data-hold=brake]")
    brake.hover()
    shown.mouse.down()
    wait_for(shown, "f.brake.value === '0.80'")
    shown.mouse.up()
    wait_for(shown, "f.brake.value === '0.00'")
    brake.focus()
    shown.keyboard.down("Space")
    wait_for(shown, "f.brake.value === '0.80'")
    shown.keyboard.up("Space")
    wait_for(shown, "f.brake.value === '0.00'")


@pytest.mark.browser
def test_c_takes_the_wheel_and_a_key_takes_it_back(shown):
    driver = shown.locator("[name=driver]")
    assert driver.get_attribute("title") == "C: plain M, refined"
    shown.locator("[name=begin]").click()
    driver.click()
    assert driver.get_attribute("aria-pressed") == "true"
    wait_for(shown, "!['0.00', '1.00'].includes(f.gas.value)")
    shown.keyboard.press("ArrowLeft")
    assert driver.get_attribute("aria-pressed") == "false"
    wait_for(shown, "f.gas.value === '0.00'")
    shown.locator("[name=model][value=temporal]").check()
    assert driver.is_disabled()


@pytest.mark.browser
def test_start_model_and_temperature_can_be_chosen(shown):
    shown.locator("[name=temperature]").fill("0.5")
    assert shown.locator("[name=heat]").inner_text() == "0.50"
    shown.locator("[name=start]").nth(1).check()
    assert shown.locator(".dream-status").inner_text() == "A real frame: a bend to the right."
    attention = shown.locator(".dream-attention")
    assert attention.is_hidden()
    shown.locator("[name=model][value=temporal]").check()
    assert "last 32 states" in attention.inner_text()
    shown.locator("[name=begin]").click()
    wait_for(shown, "Number(f.step.value) > 3")
    shown.locator("[name=smooth]").check()
    canvas = shown.locator(".dream-screen canvas")
    assert canvas.evaluate("c => getComputedStyle(c).imageRendering") == "auto"
    shown.locator("[name=model][value=feature]").check()
    shown.wait_for_function(
        "document.querySelector('.dream-status').textContent.startsWith('M ended the episode at')"
    )
    assert shown.locator("[name=begin]").inner_text() == "Dream again"
    assert reading(shown, "step") == 1
