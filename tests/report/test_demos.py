"""The demonstrations of the report: their controls respond in a browser."""

import numpy as np
import pytest
from dreaming import dreaming, random_v

from awm import stages
from awm.ids import Agent, Memory
from awm.report import build, page
from awm.report.page import Body
from awm.store import Workspace
from awm.training import mdn_rnn
from awm.widgets import demos, laps
from awm.worlds.lanes import Recording

PLACES = "".join(f'<div id="{name}">\n\n</div>' for name in demos.DEMOS)


def filled(ws) -> str:
    made, parts = demos.make(ws, [*demos.DEMOS])
    body = Body(f"{PLACES}<p style='height: 200vh'></p>", [])
    return page.page(ws, "index", build.filled(body, made), parts=parts)


def circle(ws, agent, steps=0) -> Recording:
    """A lap along a circle, a longer one for the V alone, with attention over the last states."""
    count = 60 if agent.memory.kind == "V" else 40
    angle = np.arange(count) / 20
    path = 50 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (count, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    actions = np.tile(np.float32([0.1, 0.5, 0]), (count, 1))
    weights = rng.dirichlet(np.ones(32), count).astype(np.float32)
    return Recording(frames, actions, np.ones(count), weights, None, path, path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page with every demonstration, out of random models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laps, "_lap", circle)
        with dreaming(tmp_path_factory.mktemp("demos")) as (ws, *_):
            html = filled(ws)
    path = ws.root / "index.html"
    path.write_text(html, "utf-8")
    return path


@pytest.fixture
def shown(made, opened):
    return opened(made, viewport={"width": 1280, "height": 900})


def test_what_a_dream_lacks_is_said(workspace, monkeypatch):
    ws = Workspace.open("smoke")

    assert "V has not been trained" in filled(ws)
    ws.save(stages.vae(ws.profile), random_v().state_dict(), kl_per_latent=[0.0] * 32)
    assert "no M that can dream here is trained" in filled(ws)
    m = mdn_rnn.build(ws.profile, Memory("temporal"))
    ws.save(stages.mdn_rnn(ws.profile, Memory("temporal")), m.state_dict())
    assert "awm collect --profile smoke" in filled(ws)
    assert "data-demo" not in filled(ws) and '<div id="' not in filled(ws)


def test_without_an_agent_there_is_no_race(tmp_path):
    with dreaming(tmp_path) as (ws, *_):
        for path in ws.own.glob("agents/*"):
            path.unlink()
        html = filled(ws)
    assert 'data-demo="hero"' in html and 'data-demo="latents"' in html
    assert 'data-demo="race"' not in html and 'data-demo="lap"' not in html
    assert '<div id="' not in html


def test_whose_laps_are_shown(tmp_path):
    with dreaming(tmp_path) as (ws, *_):
        assert laps.agents(ws) == [Agent(Memory("V")), Agent().refined()]
        assert laps.watched(ws) == Agent(Memory("temporal"))


# In the browser


def hero(page):
    return page.locator("[data-demo=hero]")


def button(page, name: str):
    return hero(page).locator(f"button[name={name}]")


def reading(page, name: str) -> float:
    return float(page.locator(f"output[name={name}]").text_content().replace("−", "-").rstrip(" %"))


def wait_for(page, condition: str) -> None:
    page.wait_for_function(f"(f => {condition})(document.querySelector('form').elements)")


def status(page) -> str:
    return hero(page).locator(".status").inner_text()


def pixels(page, screen: str) -> list[int]:
    find = "s => document.querySelector(`canvas[data-screen=${s}]`)"
    return page.evaluate(
        f"s => [...({find})(s).getContext('2d').getImageData(0, 0, 64, 64).data]", screen
    )


@pytest.mark.browser
def test_the_dream_runs_beside_what_happened_until_they_part(shown):
    wait_for(shown, "Number(f.step.value) > 20")
    assert pixels(shown, "real") != pixels(shown, "dreamt")
    shown.wait_for_function("document.querySelector('.status').innerText.includes('They parted')")
    assert shown.locator(".strip line").get_attribute("hidden") is None
    assert len(shown.locator(".strip polyline").get_attribute("points").split()) > 5
    button(shown, "play").click()
    at = reading(shown, "step")
    shown.wait_for_timeout(150)
    assert reading(shown, "step") == at and button(shown, "play").inner_text() == "Play"
    button(shown, "again").click()
    wait_for(shown, f"Number(f.step.value) < {at}")


@pytest.mark.browser
def test_nothing_moves_for_those_who_do_not_want_it(made, opened):
    page = opened(made, reduced_motion="reduce")
    page.wait_for_timeout(300)
    assert reading(page, "step") == 0 and button(page, "play").inner_text() == "Play"
    assert any(pixels(page, "real")) and pixels(page, "real") == pixels(page, "dreamt")


@pytest.mark.browser
def test_the_reader_takes_the_wheel(shown):
    button(shown, "wheel").click()
    assert button(shown, "wheel").get_attribute("aria-pressed") == "true"
    shown.keyboard.down("ArrowLeft")
    shown.keyboard.down("ArrowUp")
    wait_for(shown, "f.steer.value === '−1.00' && f.gas.value === '1.00'")
    assert status(shown) == "You drive in M's dream."
    assert (
        hero(shown).locator(".real").is_hidden() and hero(shown).locator(".readings").is_visible()
    )
    shown.keyboard.up("ArrowLeft")
    shown.keyboard.down("ArrowRight")
    wait_for(shown, "f.steer.value === '1.00'")
    before = shown.evaluate("scrollY")
    shown.keyboard.press("ArrowDown")
    shown.wait_for_timeout(150)
    assert shown.evaluate("scrollY") == before
    shown.keyboard.press("Space")
    at = reading(shown, "step")
    shown.wait_for_timeout(150)
    assert reading(shown, "step") == at
    shown.keyboard.press("r")
    assert reading(shown, "step") == 0
    shown.evaluate("document.activeElement.blur()")  # the page has its keys again
    shown.keyboard.press("ArrowDown")
    shown.wait_for_function(f"scrollY > {before}")
    button(shown, "compare").click()
    wait_for(shown, "Number(f.step.value) > 2")
    assert hero(shown).locator(".real").is_visible()


@pytest.mark.browser
def test_buttons_drive_while_they_are_held(shown):
    button(shown, "wheel").click()
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
def test_c_drives_at_once_and_a_key_takes_the_wheel_back(shown):
    driver = button(shown, "driver")
    assert driver.get_attribute("title") == "C: plain M, refined"
    driver.click()
    assert driver.get_attribute("aria-pressed") == "true"
    wait_for(shown, "!['0.00', '1.00'].includes(f.gas.value)")
    assert status(shown) == "C drives in M's dream."
    shown.keyboard.press("ArrowLeft")
    assert driver.get_attribute("aria-pressed") == "false"
    wait_for(shown, "f.gas.value === '0.00'")


@pytest.mark.browser
def test_start_model_and_temperature_can_be_chosen(shown):
    hero(shown).locator("summary").click()
    shown.locator("[name=temperature]").fill("0.5")
    assert shown.locator("[name=heat]").inner_text() == "0.50"
    attention = hero(shown).locator(".attention")
    assert attention.is_hidden()
    shown.locator("[name=model][value=temporal]").check()
    assert "last states" in attention.inner_text()
    first = pixels(shown, "real")
    button(shown, "play").click()
    shown.locator("[name=start]").nth(1).check()
    shown.wait_for_timeout(200)
    assert reading(shown, "step") == 0 and pixels(shown, "real") != first
    shown.locator("[name=model][value=feature]").check()  # which has no driver, and ends at once
    assert button(shown, "driver").is_disabled()
    button(shown, "wheel").click()
    shown.wait_for_function(
        "document.querySelector('.status').textContent.startsWith('M ended the episode at')"
    )
    assert reading(shown, "step") == 1


@pytest.mark.browser
def test_a_code_is_moved_by_hand(shown):
    demo = shown.locator("[data-demo=latents]")
    demo.scroll_into_view_if_needed()
    slider = demo.locator("[type=range]").first
    slider.wait_for()
    assert slider.get_attribute("data-latent") == "0"  # the one that says most
    assert "3.0 nats" in demo.locator("label").first.inner_text()
    before = pixels(shown, "decoded")
    slider.fill("2.5")
    assert demo.locator("output").first.inner_text() == "2.5"
    assert pixels(shown, "decoded") != before
    demo.locator("[name=random]").click()
    assert demo.locator("output").first.inner_text() != "2.5"


@pytest.mark.browser
def test_a_lap_is_scrubbed(shown):
    demo = shown.locator("[data-demo=lap]")
    demo.scroll_into_view_if_needed()
    moment = demo.locator("[name=moment]")
    moment.fill("10")
    assert demo.locator(".status").inner_text() == "Step 20, return so far 21."
    before = pixels(shown, "expected")
    moment.press("ArrowRight")
    assert demo.locator(".status").inner_text() == "Step 22, return so far 23."
    assert pixels(shown, "expected") != before
    demo.locator("[name=play]").click()
    shown.wait_for_function(
        "!document.querySelector('[data-demo=lap] .status').innerText.includes('22')"
    )


@pytest.mark.browser
def test_a_race_is_watched_through_the_eyes_of_one(shown):
    demo = shown.locator("[data-demo=race]")
    demo.scroll_into_view_if_needed()
    demo.locator("[name=play]").click()  # it runs by itself
    demo.locator("[name=moment]").fill("25")
    said = demo.locator("output").all_inner_texts()
    assert said == ["51", "39 after 40 steps"]
    car = demo.locator("circle").first
    place = np.array([float(car.get_attribute(x)) for x in ("cx", "cy")])
    np.testing.assert_allclose(place, [50 * np.cos(2.5), -50 * np.sin(2.5)], atol=0.1)
    demo.locator("[name=lap]").nth(1).check()
    assert "chosen" in demo.locator("circle").nth(1).get_attribute("class")
    choose = "text => dispatchEvent(new CustomEvent('awm-point', {detail: text}))"
    for text, lap in (
        ("V alone, mean: 552", 0),
        ("M of another kind, mean: 9", 0),
        ("plain M, refined, one episode: 932", 1),
    ):
        shown.evaluate(choose, text)  # as a figure does whose point is clicked
        assert demo.locator("[name=lap]").nth(lap).is_checked()


@pytest.mark.browser
def test_one_dream_at_two_temperatures(shown):
    demo = shown.locator("[data-demo=temperature]")
    demo.scroll_into_view_if_needed()
    shown.wait_for_function(
        "document.querySelector('[data-demo=temperature] .status').innerText.startsWith('0.3')"
    )
    demo.locator("[type=range]").first.fill("0.5")
    assert demo.locator("output").first.inner_text() == "τ = 0.50"
