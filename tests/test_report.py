"""The report: formulas, figures, numbers and their origin; one file that needs no network."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
import synthetic
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from awm import config, evaluation, markup, notebook_page, provenance, report
from awm.errors import AwmError

PROFILE = config.PROFILES["smoke"]


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    return tmp_path


def write_record(name, **values):
    path = config.data_dir(PROFILE) / name
    provenance.write_json(path, provenance.record(PROFILE, **values))
    return path


def write_picture(name, caption="What is to be seen.", alt=None):
    folder = config.images_dir()
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{name}.png")
    path = folder / "captions.json"
    captions = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**captions, name: {"caption": caption, "alt": alt or caption}}))


def write_notebook(name, *cells):
    folder = config.data_dir(PROFILE) / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), folder / f"{name}.ipynb")


@pytest.fixture
def run(workspace):
    """A made-up run of the smoke profile, nearly complete."""
    write_record(
        "rollouts.json",
        frames=390,
        drivers=["random", "walk", "scripted", "noisy", "noisy", "noisy"],
        seeds=list(range(6)),
        wall_time_s=75.4,
    )
    write_record(
        "vae.json",
        wall_time_s=12.0,
        history=[
            {"update": 10, "train_loss": 80.0},
            {"update": 12, "train_loss": 60.0, "validation_reconstruction": 43.21},
        ],
        test={"test_reconstruction": 44.9, "test_kl": 3.0},
    )
    write_record(
        "iteration-none.json",
        rounds=[
            {"dreamt": 950.0, "real": 120.0, "real_steps": 390, "vae_error": 20.0}
            | {"controller": "none-dream"},
            {"dreamt": 800.0, "real": 640.0, "real_steps": 590, "vae_error": 21.0}
            | {"controller": "none-dream-round1"},
        ],
    )
    refined = config.data_dir(PROFILE) / "evolution" / "none-refined.jsonl"
    refined.parent.mkdir(parents=True, exist_ok=True)
    refined.write_text(
        '{"generation": 0, "mean": 5, "validation": 78.0, "steps": 99, "seconds": 5}\n'
    )
    for model, nll in (("none", 33.3), ("spatial", 33.1)):
        write_record(
            f"mdn_rnn-{model}.json",
            parameters=123_456,
            wall_time_s=9.0,
            history=[{"update": 8, "train_nll": 35.0, "validation_nll": nll}],
            test={"nll": nll + 1, "reward_r2": 0.125},
        )
        log = config.data_dir(PROFILE) / "evolution" / f"{model}.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(
            '{"generation": 0, "mean": -20, "validation": null, "steps": 99, "seconds": 5}\n'
            '{"generation": 1, "mean": -10, "validation": 77.0, "steps": 200, "seconds": 9}\n'
            '{"generation": 2, "me'
        )
        for frames in ("fast", "reference"):
            returns = list(range(10)) if model == "none" else list(range(100, 110))
            write_record(
                f"evaluations/{model}-{frames}.json",
                controller=model,
                model=model,
                frames=frames,
                episodes=10,
                returns=returns,
                seeds=list(range(10)),
                mean=float(np.mean(returns)),
                std=2.9,
                median=4.5,
                ci95=[1.0, 8.0],
                finished=0.5,
                over_900=0.25,
                wall_time_s=3.0,
            )
    for name in ("MDP", "vae_training_loss"):
        write_picture(name)
    write_notebook(
        "02_vae",
        new_markdown_cell("# Teaching V to *see*\n\nThe latent $z_t$.\n\n## Training"),
        new_code_cell("model = vae.train(profile)", metadata={"tags": ["train"]}),
    )


def page(name="index"):
    return (config.report_dir() / f"{name}.html").read_text()


def text_of(html):
    html = re.sub(r"<(style|script).*?</\1>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html).replace("&nbsp;", " "))


class Audit(HTMLParser):
    """Collects what a page would fetch, its links, anchors, headings, and images without alt."""

    def __init__(self):
        super().__init__()
        self.fetched, self.links, self.ids, self.headings, self.no_alt = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        for name in ("src", "srcset", "data", "poster", "action", "background"):
            if found.get(name):
                self.fetched.append(found[name])
        if "href" in found:
            (self.links if tag == "a" else self.fetched).append(found["href"])
        if "id" in found:
            self.ids.append(found["id"])
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img" and not found.get("alt"):
            self.no_alt.append(found.get("src", "")[:40])


def audit(html):
    found = Audit()
    found.feed(html)
    return found


# ---------------------------------------------------------------- markup


def test_formulas_become_mathml():
    html = markup.markdown(r"The return $G_t$ is" "\n\n" r"$$G_t = \sum_k \gamma^k r_{t+k}$$")
    assert html.count("<math") == 2
    assert "<msub><mi>G</mi><mi>t</mi></msub>" in html
    assert 'display="block"' in html
    assert "$" not in html
    assert "http" not in html


def test_a_formula_that_cannot_be_converted_stays_readable():
    for latex in (r"\nonsense x", r"\left( x"):
        assert markup.math(latex) == f'<code class="latex">{latex}</code>'


def test_every_formula_of_the_story_converts():
    report.build(PROFILE)
    assert 'class="latex"' not in page()
    assert "<math" in page()


def test_headings_on_one_page_have_different_anchors():
    headings = []
    markup.markdown("# What's next?\n\n## Results", headings=headings)
    markup.markdown("## Results", headings=headings)
    assert [h.id for h in headings] == ["whats-next", "results", "results-2"]


def test_pictures_of_markdown_are_embedded_or_said_to_be_missing(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    assert 'src="data:image/png;base64,' in markup.markdown("![A track](a.png)", (tmp_path,))
    for url in ("b.png", "https://example.org/c.png"):
        html = markup.markdown(f"![B]({url})", (tmp_path,))
        assert "<img" not in html
        assert url in html


# ---------------------------------------------------------------- notebook pages


def render(*cells):
    return notebook_page.render(new_notebook(cells=list(cells)))


def test_a_widget_is_represented_by_its_picture_or_left_out():
    view = {notebook_page.WIDGET: {"model_id": "x"}, "text/plain": "VBox(children=(...))"}
    html = render(
        new_code_cell(
            "explorer()",
            outputs=[
                new_output("display_data", data=view),
                new_output(
                    "display_data",
                    data={**view, "image/png": "iVBORw0KGgo="},
                    metadata={"image/png": {"alt": "Sliders"}},
                ),
            ],
        )
    ).html
    assert "VBox" not in html
    assert html.count("<img") == 1
    assert 'alt="Sliders"' in html


def test_outputs_bring_no_scripts_and_fetch_nothing():
    html = render(
        new_code_cell(
            "df",
            outputs=[
                new_output(
                    "display_data",
                    data={
                        "text/html": "<script src='https://x.org/a.js'></script><b>7</b>"
                        "<iframe src='https://x.org'></iframe><img src='https://x.org/a.png'>"
                    },
                )
            ],
        )
    ).html
    assert "<b>7</b>" in html
    assert "x.org" not in html
    assert "<script" not in html


def test_code_is_folded_coloured_and_escaped():
    html = render(new_code_cell("# Compare\nx < 1")).html
    assert '<details class="code">' in html
    assert "<code># Compare</code>" in html
    assert "&lt;" in html


def test_a_damaged_notebook_is_named(workspace):
    path = workspace / "01_data.ipynb"
    path.write_text("{")
    with pytest.raises(AwmError, match="01_data.ipynb"):
        notebook_page.read(path)


# ---------------------------------------------------------------- the story


def test_without_any_run_the_report_says_what_is_missing():
    index = report.build(PROFILE)
    assert index == config.report_dir() / "index.html"
    text = text_of(page())
    for stage, notebook in (
        ("No rollouts have been recorded", "01"),
        ("V has not been trained", "02"),
        ("M has not been trained", "03"),
        ("No attentive M has been trained", "04"),
        ("No controller has been evolved", "05"),
        ("No controller has been evaluated", "07"),
    ):
        assert f"{stage} in this profile: notebook {notebook} does it" in text
    assert 'title="data/' not in page(), "a number of ours, from nowhere"


def test_a_missing_figure_says_which_notebook_draws_it(run):
    report.build(PROFILE)
    text = text_of(page())
    assert "There is no picture vae_val_loss yet: notebook 02_vae draws it." in text
    assert "There is no picture MDP" not in text


def test_figures_have_numbers_captions_and_alternative_texts(run):
    write_picture("MDP", "The loop of $s_t$ and $a_t$.", "Two boxes and <arrows>")
    report.build(PROFILE)
    html = page()
    figure = re.search(r'<figure id="figure-MDP">.*?</figure>', html, flags=re.S)[0]
    assert "<b>Figure 1.</b> The loop of <math" in figure
    assert 'alt="Two boxes and &lt;arrows&gt;"' in figure
    numbers = [int(n) for n in re.findall(r"<b>Figure (\d+)\.</b>", html)]
    assert numbers == list(range(1, len(report.FIGURES) + 1))
    assert '<a href="#figure-vae_kl_per_dimension">Figure&nbsp;' in html


def test_numbers_are_looked_up_and_tell_their_origin(run):
    report.build(PROFILE)
    html = page()
    assert (
        '<span class="num" title="data/smoke/vae.json: lowest validation_reconstruction in '
        'history">43.2</span>' in html
    )
    text = text_of(html)
    assert "390 frames in 6 episodes" in text
    assert "1 min 15 s" in text
    assert "34.30" in text
    assert "The best validation score of its mean is 77" in text
    assert "population's average ended at −10" in text
    assert "promised 950 points and its controller earned 120" in text
    assert "the last promised 800 and earned 640" in text
    assert "+100" in text  # spatial less plain, on the same ten tracks
    assert "better than plain M" in text


def test_a_dream_as_a_start_is_set_beside_zero(run):
    folder = config.data_dir(PROFILE)
    found = json.loads((folder / "evaluations" / "none-fast.json").read_text())
    found |= {"controller": "none-dream-woken", "returns": [r + 40.0 for r in found["returns"]]}
    path = folder / "evaluations" / "none-dream-woken-fast.json"
    provenance.write_json(path, found | {"mean": 44.5})
    write_record(
        "mdn_rnn-rewards.json",
        none={"r2": {"1": 0.1, "50": 0.9}, "found": 0.3, "chance": 0.2, "tiles": 70, "ends": 0},
    )
    for name, temperature in (("none-dream", 1.0), ("none-dream-woken", None)):
        entry = {"generation": 0, "mean": 1.0, "validation": 520.0, "real": 310.0, "steps": 1000}
        entry |= {"seconds": 3600.0, "record": {"cpu_count": 2}}
        entry |= {"settings": {"temperature": temperature}}
        (folder / "evolution" / f"{name}.jsonl").write_text(json.dumps(entry) + "\n")
    report.build(PROFILE)
    text = text_of(page())
    assert "V and plain M, evolved in the dream, then on the track: 44 on average" in text
    assert "the same search from zero earns 4 on average of 1" in text
    assert "no interval and no verdict here" in text
    row = re.search(r"<tr><td>On the track from the dream of round 0, 1 seed.*?</tr>", page())[0]
    assert text_of(row).count("0.00 M, 2.1 h") == 2 and text_of(row).count("not reached") == 2
    assert "of the 70 steps on which a tile was reached" in text
    assert "no test episode of 64 steps is over before its limit" in text


def evaluate_all(means):
    """Evaluations on the same ten tracks, one a search; `means` is {model: a mean a search}."""
    folder = config.data_dir(PROFILE) / "evaluations"
    found = json.loads((folder / "none-fast.json").read_text())
    for model, each in means.items():
        for seed, mean in enumerate(each):
            name = f"{model}-seed{seed}" if seed else model
            returns = [mean + track - 4.5 for track in range(10)]
            found |= {"controller": name, "model": name, "returns": returns, "mean": mean}
            provenance.write_json(folder / f"{name}-fast.json", found)


@pytest.mark.parametrize(
    "sign, spatial, learnt, places",
    [
        (1, "spatial helps", "it helps", "attention to features and to places hurts"),
        (-1, "spatial hurts", "it hurts", "attention to features and to places helps"),
        (0, "none is proven", "not proven", "of attention to features and to places nothing"),
    ],
)
def test_verdicts_follow_the_signs(run, sign, spatial, learnt, places):
    """The same story on numbers that point up, down, and nowhere."""
    plain = [600.0, 604.0, 596.0]
    evaluate_all(
        {
            "none": plain,
            "spatial": [mean + 100 * sign + 3 for mean in plain],
            "untrained": [mean - 90 * sign - 2 for mean in plain],
            "V": [mean - 80 * sign + 1 for mean in plain],
        }
    )
    wide = [30.40, 30.42, 30.41]
    attentive = {
        kind: [nll + 0.2 * sign + 0.001 for nll in wide] for kind in ("feature", "spatial")
    }
    nll = {"none": [30.5, 30.6, 30.5], **attentive, "wide": wide}
    write_record("mdn_rnn-attentions.json", nll=nll, sources={"seeds": 3})
    log = '{"generation": 0, "mean": 1, "validation": 2.0, "steps": 9, "seconds": 5}\n'
    for model in ("untrained", "V"):
        (config.data_dir(PROFILE) / f"evolution/{model}.jsonl").write_text(log)
    refined = json.loads((config.data_dir(PROFILE) / "evaluations/none-reference.json").read_text())
    path = config.data_dir(PROFILE) / "evaluations/none-refined-reference.json"
    provenance.write_json(path, refined | {"controller": "none-refined"})
    report.build(replace(PROFILE, searched_on=(0, 1, 1)))
    html, text = page(), text_of(page())
    assert f"{spatial} (Table" in text
    assert text.count(f"): {learnt}") == 4, "against either control, in short and at length"
    assert text.count(places) == 3
    row = re.search(r"<tr><td>V and M, spatial attention</td>.*?</tr>", html, flags=re.S)[0]
    assert {1: "better than plain M", -1: "worse than plain M"}.get(sign, "no difference") in row
    assert len(synthetic.verdicts_of(html)) >= 12
    assert synthetic.unsupported_verdicts(html) == []
    assert "The 3 searches for a model drove with 2 trainings of its M" in text
    assert "if all trainings are alike" in text


def test_refined_agents_are_compared_track_by_track(run):
    folder = config.data_dir(PROFILE)
    found = json.loads((folder / "evaluations/none-reference.json").read_text())
    for model, gain in (("none", 0.0), ("spatial", -4.0)):
        name = f"{model}-refined"
        (folder / f"evolution/{name}.jsonl").write_text(
            '{"generation": 0, "mean": 5, "validation": 78.0, "steps": 99, "seconds": 5}\n'
        )
        returns = [902.0 + track + gain * (1 + track / 20) for track in range(10)]
        found |= {"controller": name, "model": model, "returns": returns}
        provenance.write_json(folder / f"evaluations/{name}-reference.json", found)
    report.build(PROFILE)
    text = text_of(page())
    assert "in the median over 10 tracks" in text and "Wilcoxon's p = 0.002" in text
    assert "alone on 0 of them and by the latter alone on 3 (McNemar's p = 0.25)" in text
    assert (
        "it is behind in the median over tracks and in the mean; "
        "no difference in perfect laps can be shown" in text
    )
    assert synthetic.unsupported_verdicts(page()) == []


def test_a_verdict_that_its_numbers_do_not_carry_is_noticed():
    """The check itself: the phrases of a page with their intervals exchanged."""
    for ends, phrase in (
        ("+5 (-3 to +13), more", "it helps"),
        ("-5 (-8 to -2), more", "better than plain M"),
        ("-5 (-8 to -2), less", "attention to places hurts"),
        ("-5 (-8 to -2), less", "not proven"),
        ("alone perfect on 3 against 12, p = 0.035", "it is ahead in perfect laps"),
    ):
        span = f'<span class="num verdict" title="{ends} is better">{phrase}</span>'
        assert len(synthetic.unsupported_verdicts(span)) == 1


def test_heat_and_rounds_are_judged(run):
    folder = config.data_dir(PROFILE)
    for temperature, dreamt, real in ((0.5, 900.0, 100.0), (1.0, 300.0, 200.0)):
        tau = "" if temperature == PROFILE.dream.temperature else f"-tau{temperature}"
        entry = {"generation": 0, "validation": dreamt, "real": real, "steps": 9, "seconds": 1.0}
        entry |= {"settings": {"temperature": temperature}, "record": {}, "mean": 1.0}
        (folder / "evolution" / f"none-dream{tau}.jsonl").write_text(json.dumps(entry) + "\n")
    report.build(PROFILE)
    text = text_of(page())
    assert "Heat shrinks the illusion far more than it improves the driving." in text
    assert "More dreaming was more driving." in text and "every round is a gain" in text


def test_no_space_is_swallowed(run):
    evaluate_all({"none": [600.0, 610.0], "spatial": [620.0, 630.0], "V": [500.0, 520.0]})
    report.build(PROFILE)
    prose = re.sub(r"<(table|pre|code|svg|math|script|style)\b.*?</\1>", "", page(), flags=re.S)
    prose = prose.partition('id="citations"')[0]
    assert not re.findall(r"[a-z)]\.[A-Z][a-z]+ ", text_of(prose)), "a space was swallowed"


def dreamt_error(mean, reach, guess, **less):
    """A record of `awm.dream.horizon` in which all kinds of error are alike."""

    def curves(value):
        return {kind: [value, value] for kind in ("z", "frame", "return")}

    ends = {"mean": mean, "low": mean - reach, "high": mean + reach}
    return {
        "dreams": 12,
        "steps": [10, 50],
        "still": curves(guess),
        "models": {"none": {end: curves(value) for end, value in ends.items()}},
        "control": "wide",
        "less": {
            kind: {k: {"mean": gap, "low": gap - 1, "high": gap + 1} for k in ("frame", "return")}
            for kind, gap in less.items()
        },
    }


@pytest.mark.parametrize(
    "mean, gap, said",
    [
        (5.0, -2.0, "the dream is better than that guess. With attention that error differs from "
         "that of the wider M by −2.0 points for feature attention (−3.0 to −1.0), all three intervals at "
         "once: attention to features helps."),
        (15.0, 2.0, "the dream is worse than that guess.*attention to features hurts."),
        (9.5, 0.5, "no difference from that guess can be shown.*of attention to features nothing"),
    ],
)  # fmt: skip
def test_how_far_a_dream_can_be_trusted_is_said_as_it_was_measured(run, mean, gap, said):
    write_record("dream-horizon.json", **dreamt_error(mean, 1.0, 10.0, feature=gap))
    report.build(PROFILE)
    text = text_of(page())
    assert "at 12 random moments of the test episodes" in text
    assert f"misses by {mean} points ({mean - 1} to {mean + 1}) on average" in text
    pattern = said if ".*" in said else re.escape(said)
    assert re.search(pattern, text)
    assert synthetic.unsupported_verdicts(page()) == []


def test_one_training_of_m_proves_nothing_of_its_dreams(run):
    record = dreamt_error(5.0, 1.0, 10.0)
    del record["models"]["none"]["low"], record["models"]["none"]["high"]
    write_record("dream-horizon.json", **record)
    report.build(PROFILE)
    text = text_of(page())
    assert "by 10.0, in one training." in text and "that guess" not in text.partition("by 10.0")[2]


def test_what_others_reported_tells_where(run):
    report.build(PROFILE)
    html = page()
    for title, shown in (
        ("images/Controller.html, NPOPULATION", "10"),
        ("collecting_state-2019.12.07.ipynb, last line of its progress: 500 episodes in 4:36:30",
         "4 h 36 min"),
        ("ha2018, table 1 and appendix", "906"),
    ):  # fmt: skip
        assert f'<span class="num" title="{title}">{shown}</span>' in html
    assert 'title="commit 0f42622' in html
    # The figure of all returns shows the same.
    assert evaluation.PUBLISHED["World model"] == (906, 21) and len(evaluation.PUBLISHED) == 4
    for key, work in report.Published().value["returns"].items():
        assert work["source"] in json.loads((report.TEMPLATES / "references.json").read_text()), key


def test_a_caption_tells_which_notebook_wrote_its_numbers(run):
    write_picture("vae_val_loss", "It ended at 12.3.")
    report.build(PROFILE)
    html = page()
    assert 'It ended at 12.3. <span class="origin">From <a href="02_vae.html">' in html
    assert "notebook 07_results" not in html.partition('id="figure-MDP"')[2].partition("</fig")[0]


def test_a_number_that_was_not_recorded_is_not_made_up(run):
    write_record("vae.json", wall_time_s=12.0, history=[], test={})
    report.build(PROFILE)
    text = text_of(page())
    assert "After not recorded yet updates" in text
    assert "43.2" not in text


def test_committed_artefacts_stand_in_for_a_run(workspace):
    provenance.write_json(
        config.pretrained_dir() / "smoke" / "vae.json",
        provenance.record(PROFILE, history=[{"validation_reconstruction": 15.5}]),
    )
    report.build(PROFILE)
    assert "data/pretrained/smoke/vae.json" in page()
    assert ">15.5<" in page()


def test_code_comes_from_the_executed_notebook(run):
    report.build(PROFILE)
    html = page()
    assert html.count('<details class="code">') == 1
    assert "notebook 04_attention has not been run in this profile" in text_of(html)
    write_notebook("04_attention", new_code_cell("untagged"))
    report.build(PROFILE)
    assert "notebook 04_attention has no cell tagged “train”" in text_of(page())


def test_the_footer_names_profile_commit_machine_and_wall_times(run):
    report.build(PROFILE)
    footer = text_of(page().split("<footer>")[1])
    assert "Profile smoke" in footer
    assert "Data collection 1 min 15 s" in text_of(
        page().split("<footer>")[1].replace("</td><td>", " ")
    )
    assert "data/smoke/evaluations/spatial-reference.json" in footer
    machine = provenance.machine()
    assert machine["machine"] in footer
    commit = provenance.commit()["commit"]
    assert commit is None or commit[:10] in footer


def test_pages_are_self_contained(run):
    report.build(PROFILE)
    for name in ("index", "02_vae"):
        html = page(name)
        found = audit(html)
        assert [url for url in found.fetched if not url.startswith("data:")] == []
        assert not re.search(r"@import|url\(\s*['\"]?(?!data:)", html)
        assert "import(" not in html
        assert found.no_alt == []


def test_links_lead_somewhere(run):
    report.build(PROFILE)
    pages = {path.name for path in config.report_dir().iterdir()}
    assert pages == {"index.html", "02_vae.html", "results.json"}
    for name in ("index", "02_vae"):
        found = audit(page(name))
        assert len(found.ids) == len(set(found.ids))
        for link in found.links:
            if link.startswith("#"):
                assert link[1:] in found.ids
            elif not re.match(r"https?://", link):
                assert link in pages


def test_headings_are_in_order(run):
    report.build(PROFILE)
    levels = audit(page()).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    for before, after in zip(levels, levels[1:], strict=False):
        assert after <= before + 1
    titles = [
        re.sub(r"#$", "", text_of(title))
        for title in re.findall(r"<h2[^>]*>(.*?)</h2>", page(), flags=re.S)
    ]
    assert titles == [
        "Introduction",
        "Models",
        "Environment",
        "Methodology",
        "Results",
        "Discussion",
        "Citations",
    ]


def test_every_citation_is_listed_and_every_entry_cited(run):
    report.build(PROFILE)
    html = page()
    listed = set(re.findall(r'<li id="(ref-\w+)"', html))
    cited = set(re.findall(r'class="cite" href="#(ref-\w+)"', html))
    assert cited == listed


def test_a_failed_build_leaves_the_old_report(run, monkeypatch):
    report.build(PROFILE)
    before = {path.name: path.read_text() for path in config.report_dir().iterdir()}
    (config.data_dir(PROFILE) / "vae.json").write_text('{"profile": "smo')
    with pytest.raises(AwmError, match="vae.json is damaged"):
        report.build(PROFILE)
    assert {p.name: p.read_text() for p in config.report_dir().iterdir()} == before
    assert not list(config.root().glob(".report-*"))


def test_pages_of_another_run_are_taken_away(run):
    report.build(PROFILE)
    (config.report_dir() / "03_mdn_rnn.html").write_text("of yesterday")
    report.build(PROFILE)
    assert not (config.report_dir() / "03_mdn_rnn.html").exists()


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0.42, "0.4 s"),
        (53.2, "53 s"),
        (59.7, "1 min 0 s"),
        (252, "4 min 12 s"),
        (16560, "4 h 36 min"),
    ],
)
def test_durations_in_words(seconds, words):
    assert report.duration(seconds) == words


@pytest.mark.parametrize(
    "controller, words",
    [
        ("V", "V alone"),
        ("spatial", "V and M, spatial attention"),
        ("none-seed2", "V and plain M, seed 2"),
        ("scripted", "scripted"),
    ],
)
def test_controllers_in_words(controller, words):
    assert report.label(controller) == words


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def opened(run, browser):
    """Opens a page of the report from disk, offline; fails on any message in the console."""
    report.build(PROFILE)
    complaints, contexts = [], []

    def open_page(name="index", **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("requestfailed", lambda request: complaints.append(request.url))
        shown.goto((config.report_dir() / f"{name}.html").as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.browser
def test_code_is_toggled_by_button_and_key(opened):
    shown = opened()
    code = shown.locator("details.code")
    button = shown.locator("#toggle-code")
    assert code.first.get_attribute("open") is None
    shown.keyboard.press("c")
    assert code.first.get_attribute("open") is not None
    assert button.inner_text() == "Hide code"
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert code.first.get_attribute("open") is None
    shown.keyboard.press("Control+c")
    assert code.first.get_attribute("open") is None


@pytest.mark.browser
def test_the_theme_follows_the_system_and_the_button(opened):
    def ground(shown):
        return shown.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    assert ground(light) != ground(dark)
    light.locator("#toggle-theme").click()
    assert ground(light) == ground(dark)
    light.reload()
    assert ground(light) == ground(dark)


@pytest.mark.browser
@pytest.mark.parametrize("name", ["index", "02_vae"])
def test_nothing_is_wider_than_a_phone(opened, name):
    shown = opened(name, viewport={"width": 360, "height": 740})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    assert shown.locator(".contents details").get_attribute("open") is None


@pytest.mark.browser
def test_contents_lead_to_their_sections(opened):
    shown = opened(viewport={"width": 1280, "height": 900})
    link = shown.locator(".contents a", has_text="What's next?")
    link.click()
    shown.wait_for_function(
        "document.getElementById('whats-next').getBoundingClientRect().top < 300"
    )
    assert shown.url.endswith("#whats-next")
