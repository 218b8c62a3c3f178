"""The whole report of a made-up run: complete, self-contained, linked, and honest about gaps."""

import dataclasses
import json
import re
from html import unescape
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from awm import figures, stages, store
from awm.config import PRESETS
from awm.errors import AwmError
from awm.ids import KINDS, SEEN, Agent
from awm.report import build
from awm.report import page as report
from awm.store import Workspace
from awm.widgets import demos
from tests.report.reading import tags, text_of, unsupported_verdicts, verdicts_of
from tests.study import records

ROOT = Path(__file__).parents[2]


def gap(mean, reach=0.1):
    return {"mean": mean, "low": mean - reach, "high": mean + reach}


def write(ws, name, **facts):
    store.write_json(ws.own / name, store.provenance(ws.profile) | {"wall_time_s": 75.4} | facts)


def log(ws, agent, entries):
    usual = {"steps": 200, "seconds": 3600.0, "validation": None, "mean": -10.0, "real": None}
    lines = [usual | {"generation": n} | entry for n, entry in enumerate(entries)]
    lines[0] |= {"record": {"cpu_count": 2}}
    records.write(ws, f"agents/{agent}.jsonl", lines)


def evaluation(ws, agent, frames, returns):
    found = records.evaluation(ws, agent, returns, frames)
    facts = {"std": 2.9, "median": 4.5, "ci95": [1.0, 8.0], "wall_time_s": 75.4}
    records.write(ws, f"evaluations/{agent}.{frames}.json", found | facts)


def altered(ws, agent, looks, returns):
    """An evaluation in a world that looks otherwise."""
    usual = records.evaluation(ws, agent, returns)
    who, count = Agent.parse(agent), len(returns)
    stage = stages.evaluation(ws.profile, who, "fast", count, 0, looks)
    told = {k: v for k, v in usual.items() if k not in ("settings", "inputs", "key")}
    records.write(ws, stage.name, told | ws.describe(stage, alteration=looks))


def notebook(ws, name, *cells):
    path = ws.own / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)


def make(ws):
    """A run, nearly complete."""
    drivers = ["random", "walk", "scripted", "noisy", "noisy", "reckless"]
    write(ws, "rollouts.json", frames=390, drivers=drivers, seeds=list(range(6)))
    history = [{"update": 10}, {"update": 12, "validation_reconstruction": 43.21}]
    write(
        ws, "vae.json", history=history, test={"reconstruction": 44.9, "kl": 3.0},
    )  # fmt: skip
    for n, kind in enumerate(KINDS):
        write(
            ws, f"mdn_rnn/{kind}.json", parameters=123_456,
            history=[{"update": 8, "validation_nll": 33.3 - n / 10}],
            test={"nll": 34.3 - n / 10, "nll_informative": 7.5, "reward_r2": 0.125}
            | {"ends": {"true": 4, "expected": 5, "found": 3}},
        )  # fmt: skip
    nll = {"plain": [33.0, 33.1], "wide": [32.0, 32.1]}
    nll |= {"feature": [30.0, 30.1], "spatial": [32.0, 32.2], "temporal": [34.0, 34.1]}
    nll["even"] = [33.0, 33.1]
    write(ws, "study/attentions.json", nll=nll, episodes=2)
    ends = {"mean": 5.0, "low": 4.0, "high": 6.0}
    curves = {end: {"frame": [x] * 2, "return": [x] * 2} for end, x in ends.items()}
    less = {a: {"return": gap(-1.0), "frame": gap(0.0)} for a in ("feature", "spatial", "temporal")}
    write(
        ws, "study/dream_error.json", steps=[10, 50], dreams=8, models={"plain": curves}, less=less,
        persistence={"frame": [9.0] * 2, "return": [3.0] * 2}, control="wide",
    )  # fmt: skip
    rounds = [
        {"dreamt": 950.0, "real": 120.0, "real_steps": 390, "vae_error": 20.0}
        | {"agent": "plain_dream"},
        {"dreamt": 800.0, "real": 640.0, "real_steps": 590, "vae_error": 21.0}
        | {"agent": "plain-round1_dream"},
    ]
    write(ws, "study/rounds-plain.json", rounds=rounds)
    second = [{**each, "real": each["real"] + 10.0 * n} for n, each in enumerate(rounds)]
    write(ws, "study/rounds-plain-1.json", rounds=second)
    log(ws, "plain_track", [{}, {"validation": 77.0}])
    for agent in ("plain_track_refined", "spatial_track", "spatial_track_refined"):
        log(ws, agent, [{"validation": 78.0}])
    log(ws, "plain_dream", [{"validation": 300.0, "real": 200.0}])
    log(ws, "plain_dream-tau0.5", [{"validation": 900.0, "real": 100.0}])
    returns = {"V": 500.0, "untrained": 450.0, "plain": 501.0, "spatial": 600.0, "feature": 400.0}
    returns |= {"temporal": 502.0, "wide": 501.0, "even": 550.0, "pair": 500.0}
    for kind, earned in returns.items():
        for seed in ("", "-1"):
            evaluation(
                ws, f"{kind}_track{seed}", "fast", [earned + n + len(seed) for n in range(10)]
            )
    altered(ws, "plain_track_refined", "patch", [500.0 + n for n in range(10)])
    for kind, gain in (("plain", 0.0), ("spatial", 3.0)):
        for frames in ("fast", "reference"):
            returns = [905.0 + n + gain * (n % 3) for n in range(10)]
            evaluation(ws, f"{kind}_track_refined", frames, returns)
    evaluation(ws, "plain-round1_dream", "fast", [640.0] * 10)
    ws.images.mkdir(exist_ok=True)
    figures.save(ws.images, figures.mdp(), "MDP")
    notebook(
        ws, "02_vae",
        new_markdown_cell("# Teaching V to *see*\n\nThe latent $z_t$.\n\n## Training"),
        new_code_cell("model = vae.train(ws)", metadata={"tags": ["train"]}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The report of such a run."""
    profile = PRESETS["smoke"].but(
        "mine", evolution__searched_on=(0, 0), evolution__kinds=SEEN, mdn_rnn__seeds=1,
        evolution__refined=("plain", "spatial"), dream__chains=2, test__episodes=10,
        test__reference_episodes=10, test__altered_episodes=10,
    )  # fmt: skip
    ws = Workspace.open(profile, tmp_path_factory.mktemp("report"))
    make(ws)
    assert build.build(ws) == ws.report / "index.html"
    return ws


@pytest.fixture
def run(workspace):
    ws = Workspace.open("smoke")
    make(ws)
    return ws


def page(ws, name="index"):
    return (ws.report / f"{name}.html").read_text("utf-8")


def test_numbers_are_looked_up_and_verdicts_follow_them(built):
    html = page(built)
    assert 'title="data/mine/vae.json: history, lowest validation_reconstruction">43.2<' in html
    text = text_of(html)
    for words in (
        "390 frames in 6 episodes",
        "1 min 15 s",
        "In prediction, attention to features helps; attention to the past hurts; for attention to",
        "In driving, feature attention hurts; spatial attention helps; no other effect is shown",
        "agents with and without attention both solve the task",
        "4 of our 6 recorded episodes were driven by scripts that read the track",
        "60% of the ends that plain M expected came (precision), and it expected 75%",
        "in 2 chains, the return on the road went from 120 to 645",
        "On average over the chains the gain is +525 points",
        "after the rounds the driving is better than before",
        "choosing helps beyond the map",
        "The agent with spatial attention averages",
        "not shown: that spatial attention helps M to predict",
        "a red patch that rides along",
        "worse than in the usual world",
    ):
        assert words in text, words


def test_a_verdict_is_carried_by_what_it_stands_on(built):
    html = page(built)
    assert len(verdicts_of(html)) >= 12
    assert unsupported_verdicts(html) == []
    flipped = html.replace(">choosing helps beyond the map<", ">choosing hurts<")
    assert flipped != html and unsupported_verdicts(flipped)


def test_what_the_profile_lacks_is_said_once_a_section(built):
    html = page(built)
    assert "Not in this profile yet" in html
    for section in re.split(r"(?=<h[23])", html):
        assert section.count("Not in this profile yet") <= 1
    text = text_of(html)
    assert "There is no picture vae_val_loss yet: notebook 02 draws it." in text
    assert "There is no picture MDP" not in text
    assert "notebook 04_attention has not been run in this profile" in text
    assert "There is no dream to drive" in text


def test_a_space_is_never_swallowed(built):
    prose = re.sub(
        r"<(table|pre|code|svg|math|script|style)\b.*?</\1>", "", page(built), flags=re.S
    )
    assert not re.findall(r"[a-z)]\.[A-Z][a-z]+ ", text_of(prose.partition('id="references"')[0]))
    assert not re.findall(r"\{\{|\{%|\\[a-z]|\[\d[^]]*\]\{", text_of(prose))


def test_a_demo_that_is_not_there_leaves_no_trace(built):
    html = page(built)
    for place in demos.DEMOS:
        assert f'<div id="{place}">' not in html
    assert "Move a slider below" not in html and "The dream at the top of this page" in html


def test_every_setting_is_told_with_its_meaning(built):
    html = page(built)
    _, _, appendix = html.partition('id="appendix-every-setting"')
    fold = appendix[: appendix.index("</details>")]
    rows = re.findall(r"<tr>\s*<td><code>(\w+)</code></td>(.*?)</tr>", fold, re.S)
    names = [name for name, _ in rows]
    for section in dataclasses.asdict(built.profile).values():
        if isinstance(section, dict):
            for name, value in section.items():
                assert isinstance(value, dict) or name in names, name
    assert all(re.search(r"<td>[A-Z].+</td>\s*$", row, re.S) for _, row in rows)


def test_every_formula_converts_and_figures_are_in_order(built):
    html = page(built)
    assert "$$" not in html and html.count("<math") > 30
    numbers = [int(n) for n in re.findall(r"<strong>Figure (\d+)\.</strong>", html)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 25
    numbers = [int(n) for n in re.findall(r"<strong>Table (\d+)\.</strong>", html)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 5


def metas(html):
    named = re.findall(r'<meta (?:name|property)="([^"]*)" content="([^"]*)">', html)
    return {name: unescape(content) for name, content in named}


@pytest.mark.parametrize("homepage", ["", "https://example.org/awm"])
def test_a_page_says_what_it_is_to_those_who_link_to_it(run, monkeypatch, homepage):
    site = {"repository": "", "homepage": homepage}
    monkeypatch.setattr(report, "site", lambda: site)
    build.build(run)
    for name, at in (("index", "/"), ("02_vae", "/02_vae.html")):
        html = page(run, name)
        found = metas(html)
        assert found["og:title"] in html.partition("<title>")[2].partition("</title>")[0]
        assert 0 < len(found["description"]) <= 250
        assert found["description"] == found["og:description"]
        assert found["author"] == report.AUTHOR
        assert found["og:image"] == (f"{homepage}/card.png" if homepage else "card.png")
        assert (f'<link rel="canonical" href="{homepage}{at}">' in html) == bool(homepage)
        assert ("citation_author" in found) == (name == "index")
    assert metas(page(run, "02_vae"))["og:title"] == "Teaching V to see"


def test_the_card_is_as_large_as_those_who_show_it_ask(run):
    film = [Image.new("RGB", (30, 20), (200, n, 0)) for n in range(9)]
    film[0].save(run.images / "CarRacing.gif", save_all=True, append_images=film[1:])
    build.build(run)
    with Image.open(run.report / "card.png") as card:
        assert card.size == (1200, 630) and card.format == "PNG"
        assert card.convert("RGB").getpixel((20, 620))[0] > 150, "a moment of the film"
    assert (run.report / "card.png").stat().st_size < 300_000


def test_a_notebooks_page_begins_with_the_run_that_it_shows(run):
    write(run, "notebooks/02_vae.json", wall_time_s=75.4)
    build.build(run)
    main = page(run, "02_vae").partition("<main")[2].partition("<h2")[0]
    assert "Run with profile smoke on" in text_of(main) and "in 1 min 15 s, from" in text_of(main)


def test_the_footer_names_profile_commit_machine_and_wall_times(built):
    footer = text_of(page(built).split("<footer>")[1].replace("</td>", " "))
    for words in (
        "Profile mine",
        "Data collection 1 min 15 s",
        "M: M, spatial attention",
        "Evaluation: plain M, refined, fast frames",
        "data/mine/evaluations/plain_track_refined.fast.json",
        store.machine()["machine"],
    ):
        assert words in footer, words


@pytest.mark.parametrize("name", ["index", "02_vae"])
def test_pages_are_self_contained_and_linked(built, name):
    html = page(built, name)
    found = tags(html)
    # A page fetches nothing, and its links lead somewhere.
    named = ("src", "srcset", "data", "poster", "action", "background")
    fetched = [a[name] for _, a in found for name in named if a.get(name)]
    fetched += [
        a["href"] for tag, a in found if tag != "a" and "href" in a and a.get("rel") != "canonical"
    ]
    assert all(url.startswith("data:") for url in fetched)
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", html)
    assert all(a.get("alt") for tag, a in found if tag == "img")
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    pages = {path.name for path in built.report.iterdir()}
    assert pages == {"index.html", "02_vae.html", "results.json", "laps.csv", "card.png"}
    for link in (a["href"] for tag, a in found if tag == "a"):
        if link.startswith("#"):
            assert link[1:] in ids, link
        elif link.startswith("../"):
            there = (built.root / link[3:], ROOT / "report" / link)
            assert any(path.exists() for path in there), link
        elif not re.match(r"https?://", link):
            assert link in pages, link
    levels = [int(tag[1]) for tag, _ in found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_without_any_run_the_report_says_what_is_missing(workspace):
    ws = Workspace.open("smoke")
    build.build(ws)
    text = text_of(page(ws))
    for words in (
        "notebook 01 (rollouts.json)",
        "notebook 02 (vae.json)",
        "notebook 03 (mdn_rnn/plain.json",
        "notebook 04 (mdn_rnn/even.json, mdn_rnn/feature.json",
        "notebook 05 (agents/plain_track.jsonl)",
        "notebook 07 (evaluations/",
    ):
        assert words in text, words
    assert "This is the smoke profile." in text
    # Only what others published is a number then.
    assert not re.findall(r'class="num" title="(data/[^"]*)"', page(ws))
    assert 'id="provenance"' in page(ws), "which some numbers lead to"


def test_what_was_recorded_is_escaped(workspace):
    ws = Workspace.open("smoke")
    bad = "<script>alert(1)</script>"
    write(ws, "vae.json", machine=bad, commit=bad, date=bad, history=[], test={})
    write(ws, f"agents/{bad.replace('/', '')}.json", machine=bad)
    build.build(ws)
    assert bad not in page(ws) and page(ws).count("&lt;script&gt;") >= 3


def test_a_failed_build_leaves_the_old_report_and_old_pages_go(run):
    (run.report).mkdir()
    (run.report / "03_mdn_rnn.html").write_text("of yesterday")
    build.build(run)
    assert not (run.report / "03_mdn_rnn.html").exists()
    before = {path.name: path.read_bytes() for path in run.report.iterdir()}
    (run.own / "vae.json").write_text('{"profile": "smo')
    with pytest.raises(AwmError, match="vae.json is damaged"):
        build.build(run)
    assert {p.name: p.read_bytes() for p in run.report.iterdir()} == before
    assert not list(run.root.glob(".report-*"))


# In a browser.


@pytest.fixture
def shown(built, opened):
    return lambda name="index", **options: opened(built.report / f"{name}.html", **options)


@pytest.mark.browser
def test_code_is_toggled_by_button_and_key(shown):
    seen = shown()
    code = seen.locator("details.code")
    button = seen.locator("#toggle-code")
    assert code.first.get_attribute("open") is None
    seen.keyboard.press("c")
    assert code.first.get_attribute("open") is not None
    assert button.inner_text() == "Hide code"
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert code.first.get_attribute("open") is None
    seen.keyboard.press("Control+c")
    assert code.first.get_attribute("open") is None


@pytest.mark.browser
def test_the_theme_follows_the_system_and_the_button(shown):
    def ground(seen):
        return seen.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = shown(color_scheme="light"), shown(color_scheme="dark")
    assert ground(light) != ground(dark)
    light.locator("#toggle-theme").click()
    assert ground(light) == ground(dark)
    light.reload()
    assert ground(light) == ground(dark)


@pytest.mark.browser
def test_a_number_leads_by_keyboard_to_the_table_that_is_folded_away(shown):
    seen = shown()
    table = seen.locator("#provenance")
    assert table.get_attribute("open") is None
    number = seen.locator("main a.num[href='#provenance']").first
    number.focus()
    seen.keyboard.press("Enter")
    assert table.get_attribute("open") is not None
    seen.wait_for_function(
        "document.getElementById('provenance').getBoundingClientRect().top < innerHeight"
    )
    table.locator("summary").click()
    number.click()  # the address does not change
    assert table.get_attribute("open") is not None


@pytest.mark.browser
@pytest.mark.parametrize("name", ["index", "02_vae"])
def test_nothing_is_wider_than_a_phone(shown, name):
    seen = shown(name, viewport={"width": 360, "height": 740})
    assert seen.evaluate("document.documentElement.scrollWidth") <= 360
    assert seen.locator(".contents details").get_attribute("open") is None


@pytest.mark.browser
def test_contents_lead_to_their_sections(shown):
    seen = shown(viewport={"width": 1280, "height": 900})
    link = seen.locator(".contents a", has_text="What’s next?")
    link.click()
    seen.wait_for_function(
        "document.getElementById('whats-next').getBoundingClientRect().top < 300"
    )
    assert seen.url.endswith("#whats-next")


def test_every_lap_is_told(built):
    laps = pd.read_csv(built.report / "laps.csv", keep_default_na=False)
    found = json.loads((built.report / "results.json").read_text())
    assert len(laps) == sum(each["episodes"] for each in found)
    for each in found:
        family = str(Agent.parse(each["name"]).family)
        run = laps[(laps.agent == family) & (laps.run == each["evolution_seed"])]
        looks = each["alteration"] or ""
        own = run[(run.frames == each["frames"]) & (run.alteration == looks)]
        assert own["return"].mean() == pytest.approx(each["mean"])
        assert own.seed.tolist() == each["seeds"]
