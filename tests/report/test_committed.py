"""The report that is committed: whom it can be read by, and that the README says the same."""

import json
import re
from pathlib import Path

import pytest

from awm.study.evaluation import PERFECT, PUBLISHED
from tests.report.reading import unsupported_verdicts, verdicts_of

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "report"
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    "resultTypes": ["violations"],  # of 39,000 elements, those that pass take long to describe
}


@pytest.mark.browser
@pytest.mark.parametrize("name", sorted(path.stem for path in REPORT.glob("*.html")))
def test_axe_finds_nothing_to_mend(browser, name):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((REPORT / f"{name}.html").as_uri())
    # All pages have one template: the report stands for the others by daylight.
    for scheme, width in (("dark", 390), ("light", 1280))[: 1 + (name == "index")]:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found = Axe().run(page, options=RULES)
        assert found.response["passes"], "no rule applied"
        assert found.violations_count == 0, (scheme, found.generate_report())
    context.close()


def test_the_readme_has_the_row_of_every_result_on_reference_frames():
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if " million | " in line]
    results = json.loads((REPORT / "results.json").read_text())
    expected = []
    for found in results:
        if found["frames"] == "reference":
            steps = found["real_steps"] / 1e6
            expected.append(
                f"{found['mean']:.0f} ± {found['std']:.0f} | {100 * found['finished']:.0f} % | "
                f"{steps:.{1 if steps > 1 else 2}f} million"
            )
    assert expected
    assert sorted(" | ".join(row.split(" | ")[1:4]) for row in rows) == sorted(expected)


def test_the_readme_says_what_other_searches_in_the_dream_found():
    found = [r for r in json.loads((REPORT / "results.json").read_text()) if r["dream_steps"]]
    dreamt = max((r for r in found if r["frames"] == "reference"), key=lambda r: r["mean"])
    family = re.compile(re.escape(dreamt["label"]) + r"(, seed \d+)?$")
    means = [r["mean"] for r in found if r["frames"] == "fast" and family.match(r["label"])]
    readme = (ROOT / "README.md").read_text()
    assert f"one of {['', 'one', 'two', 'three'][len(means)]} such searches" in readme
    assert f"which average {sum(means) / len(means):.0f} on fast frames" in readme


def test_the_readme_quotes_the_paper_and_the_level_of_a_solution():
    readme, paper = (ROOT / "README.md").read_text(), PUBLISHED["returns"]["full"]
    assert f"`CarRacing-v0` | {paper['mean']} ± {paper['deviation']} |" in readme
    assert f"counts as solved | {PERFECT} |" in readme


def test_the_readmes_speeds_were_measured():
    table = (ROOT / "README.md").read_text().partition("## How fast")[2].partition("## ")[0]
    told = re.findall(r"([\d,]+) (?:steps|frames)/s", table)
    results = [json.loads(p.read_text()) for p in (ROOT / "benchmarks/results").glob("*.json")]
    rates = [
        rate
        for each in results
        for part in each.get("tables", ())
        for rate in part["rates"].values()
    ]
    assert len(told) > 8 and set(told) <= {f"{rate:,.0f}" for rate in rates}


def test_the_reports_verdicts_stand_on_their_intervals():
    page = (REPORT / "index.html").read_text("utf-8")
    assert len(verdicts_of(page)) >= 15
    assert unsupported_verdicts(page) == []


def test_the_text_can_be_read_in_half_an_hour():
    page = (REPORT / "index.html").read_text("utf-8")
    text = page[page.index("<main") : page.index('id="references"')]
    # Tables, code, pictures with their captions and what runs in the page are no running text.
    for tag in ("table", "pre", "figure", "details", "script", "form", "noscript", "math"):
        text = re.sub(rf"<{tag}\b.*?</{tag}>", " ", text, flags=re.S)
    assert 2000 < len(re.sub(r"<[^>]+>", "", text).split()) <= 6000


def test_the_report_lacks_nothing():
    page = (REPORT / "index.html").read_text("utf-8")
    for gap in ("Not in this profile yet", "There is no picture", "The code would stand here"):
        assert gap not in page


def test_every_result_names_a_record_that_is_committed():
    for found in json.loads((REPORT / "results.json").read_text()):
        assert found["record"].startswith("data/pretrained/")
        record = json.loads((ROOT / found["record"]).read_text())
        assert record["mean"] == found["mean"] and record["seeds"] == found["seeds"]
        assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
