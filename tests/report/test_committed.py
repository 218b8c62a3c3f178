"""The report that is committed: whom it can be read by, and that the README says the same."""

import json
import re
from pathlib import Path

import pytest

from tests.report.verdicts import unsupported_verdicts, verdicts_of

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "report"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@pytest.mark.browser
@pytest.mark.parametrize("name", sorted(path.stem for path in REPORT.glob("*.html")))
def test_axe_finds_nothing_to_mend(browser, name):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((REPORT / f"{name}.html").as_uri())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
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
            low, high = found["ci95"]
            steps = found["real_steps"] / 1e6
            expected.append(
                f"{found['mean']:.0f} ± {found['std']:.0f} | {found['median']:.0f} | "
                f"{low:.0f} to {high:.0f} | {steps:.{1 if steps > 1 else 2}f} million | "
                f"{found['core_hours']:.1f} |"
            )
    assert expected
    assert sorted(row.split(" | ", 1)[1] for row in rows) == sorted(expected)


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
