"""The report that is committed: whom it can be read by, and that the README says the same."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import synthetic
from scipy import stats

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "report"
RECORDS = ROOT / "data/pretrained/paper"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", sorted(path.stem for path in REPORT.glob("*.html")))
def test_axe_finds_nothing_to_mend(browser, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(offline=True, color_scheme=scheme)
    page = context.new_page()
    page.goto((REPORT / f"{name}.html").as_uri())
    found = Axe().run(page, options=RULES)
    context.close()
    assert found.response["passes"], "no rule applied"
    assert found.violations_count == 0, found.generate_report()


def test_the_readme_has_the_row_of_every_result_on_reference_frames():
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if " million | " in line]
    results = json.loads((REPORT / "results.json").read_text())
    expected = []
    for found in results:
        if found["frames"] == "reference":
            low, high = found["ci95"]
            steps = found["real_steps"] / 1e6
            expected.append(
                f"{found['mean']:.0f} ± {found['std']:.0f} | {found['median']:.0f} | "
                f"{low:.0f} to {high:.0f} | {steps:.{1 if steps > 1 else 2}f} million | "
                f"{found['core_hours']:.1f} |"
            )
    assert expected
    assert sorted(row.split(" | ", 1)[1] for row in rows) == sorted(expected)


def test_every_result_names_a_record_that_is_committed():
    for found in json.loads((REPORT / "results.json").read_text()):
        assert found["record"].startswith("data/pretrained/")
        record = json.loads((ROOT / found["record"]).read_text())
        assert record["mean"] == found["mean"] and record["seeds"] == found["seeds"]
        assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])


def words(path):
    """A text without its line breaks."""
    return " ".join((ROOT / path).read_text().split())


def returns(name, frames="fast"):
    return json.loads((RECORDS / f"evaluations/{name}-{frames}.json").read_text())["returns"]


def searched(model):
    """The mean return of each of a model's searches."""
    names = [model, *(f"{model}-seed{seed}" for seed in range(1, 5))]
    return [np.mean(returns(name)) for name in names]


def worth(control):
    """What a trained plain M earns beyond a control, Welch's test on the committed evaluations."""
    plain, other = searched("none"), searched(control)
    reach = stats.ttest_ind(plain, other, equal_var=False).confidence_interval(0.95)
    shown = [f"{v:+.0f}".replace("-", "−") for v in (np.mean(plain) - np.mean(other), *reach)]
    return shown, 0 if reach.low <= 0 <= reach.high else np.sign(reach.low)


def test_the_reports_verdicts_stand_on_their_intervals():
    page = (REPORT / "index.html").read_text()
    assert len(synthetic.verdicts_of(page)) >= 15
    assert synthetic.unsupported_verdicts(page) == []


@pytest.mark.parametrize("control, name", [("untrained", "an untrained M"), ("V", "V alone")])
def test_what_a_trained_m_is_worth_is_what_the_evaluations_say(control, name):
    (mean, low, high), sign = worth(control)
    verdict = {1: "it helps", -1: "it hurts", 0: "not proven"}[sign]
    page = re.sub(r"<[^>]+>", "", (REPORT / "index.html").read_text())
    page = html.unescape(page).replace("\xa0", " ")
    assert f"worth {mean} points (95 % interval {low} to {high}): {verdict}" in page
    assert f"{mean} ({low} to {high})" in words("README.md")
    assert ("against V alone: not proven" in words("README.md")) == (worth("V")[1] == 0)


def test_the_readme_says_of_attention_what_the_trainings_say():
    nll = json.loads((RECORDS / "mdn_rnn-attentions.json").read_text())["nll"]
    arms = [nll[kind] for kind in ("feature", "spatial", "temporal")]
    p = stats.dunnett(*arms, control=nll["wide"], rng=np.random.default_rng(0)).pvalue
    feature, spatial = (np.mean(nll["wide"]) - np.mean(arm) for arm in arms[:2])
    assert max(p[:2]) < 0.05 < p[2] and min(feature, spatial) > 0
    readme = words("README.md")
    assert f"by {feature:.3f} and {spatial:.3f} nats a step" in readme
    assert f"p = {p[0]:.2g} and {p[1]:.2g}" in readme
    assert "of attention to the past nothing is proven" in readme
    assert "The spatial M is shown a map of the frame that no other M sees" in readme
    for kind in ("feature", "spatial", "temporal"):
        found = stats.ttest_ind(searched(kind), searched("none"), equal_var=False)
        assert found.pvalue > 0.05, "no attention is shown to drive better than none"


def test_the_readme_says_of_the_agents_what_their_laps_say():
    plain, spatial = (np.array(returns(f"{m}-refined", "reference")) for m in ("none", "spatial"))
    gaps, readme = spatial - plain, words("README.md")
    assert stats.wilcoxon(gaps).pvalue < 0.05 and abs(gaps.mean()) < 2 * stats.sem(gaps)
    assert f"in the median over tracks (by {-np.median(gaps):.1f} points)" in readme
    perfect = [int((laps >= 900).sum()) for laps in (spatial, plain)]
    assert f"perfect laps ({perfect[0]} against {perfect[1]})" in readme
    only = [int(((gaps > 0) & (plain < 900) & (spatial >= 900)).sum())]
    only.append(int(((plain >= 900) & (spatial < 900)).sum()))
    assert stats.binomtest(only[0], sum(only)).pvalue < 0.05


def test_the_readme_says_of_dreams_and_data_what_the_records_say():
    names = [f"round-3/evaluations/none-dream-round3{seed}" for seed in ("", "-seed1", "-seed2")]
    means = [json.loads((RECORDS / f"{name}-fast.json").read_text())["mean"] for name in names]
    readme, drivers = words("README.md"), json.loads((RECORDS / "rollouts.json").read_text())
    first, second, third = (f"{mean:.0f}" for mean in means)
    assert f"{np.mean(means):.0f} points on fast frames ({first}, {second} and {third})" in readme
    sighted = sum(name in ("scripted", "noisy", "reckless") for name in drivers["drivers"])
    assert f"{sighted} of our {len(drivers['drivers'])} recorded episodes" in readme
    logs = [RECORDS / "evolution/none-dream.jsonl"]
    logs += [RECORDS / f"round-{n}/evolution/none-dream-round{n}.jsonl" for n in (1, 2, 3)]
    entries = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    watched = sum(len(e["validation_returns"]) for e in entries if e.get("real") is not None)
    assert f"the {watched} laps that were driven to look" in readme


@pytest.mark.parametrize(
    "page, ours, peer, unit, ratio",
    [
        ("simulator", "awm/CarRacing-v3", "CarRacing-v3", "steps/s", ".0f"),
        ("simulator", "awm/CarRacing-v3", "EnvPool CarRacing-v3 (other pixels)", "steps/s", ".0f"),
        ("closed_loop", "attention none", "one environment, batches of one", "steps/s", ".0f"),
        ("closed_loop", "attention spatial", "one environment, batches of one", "steps/s", ".1f"),
        ("dreaming", "attention none", "one lane, plain M", "steps/s", ".0f"),
        ("training", "V, as here", "V, PyTorch's layers", "frames/s", ".1f"),
    ],
)
def test_the_readme_has_the_ratios_of_the_benchmarks(page, ours, peer, unit, ratio):
    tables = json.loads((ROOT / f"benchmarks/results/{page}.json").read_text())["tables"]
    rates = {name: rate for table in tables for name, rate in table["rates"].items()}
    shown = f"{rates[ours] / rates[peer]:{ratio}} ×"
    readme = (ROOT / "README.md").read_text()
    rows = [line for line in readme.splitlines() if line.endswith(f"| {shown} |")]
    assert len(rows) == 1 and f"{rates[peer]:,.0f} {unit}" in readme
    assert f"{rates[ours]:,.0f} {unit}" in readme
