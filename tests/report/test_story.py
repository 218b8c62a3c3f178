"""The story's rule: values with their origin, and what was not recorded is left out and named."""

import re

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from awm import store
from awm.errors import AwmError
from awm.report import page
from awm.report.records import Value, duration, maker, record
from awm.report.story import Story
from awm.store import Workspace

HOSTILE = "<script>x</script> | [a](javascript:b) `<i>`{=html}\n\n# {{ 7 }} \ue000"


@pytest.fixture
def ws(workspace):
    found = Workspace.open("smoke")
    history = [{"nll": 9.0}, {"nll": None}, {"nll": 7.25}, {"nll": 8.0}]
    store.write_json(
        found.own / "vae.json",
        {"updates": 1200, "test": {"error": 14.66, "kl": None}, "history": history, "who": HOSTILE}
        | {"wall_time_s": 75.4, "steps": 2_340_000, "gain": -0.1, "share": 0.931},
    )
    return found


def told(ws, text: str, executed=None, **values) -> str:
    names = {"vae": record(ws, "vae.json"), "m": record(ws, "mdn_rnn/plain.json")}
    return Story(ws, executed or {}).render(text, **names | values).html


@pytest.mark.parametrize(
    "expression, shown, place",
    [
        ("vae.updates", "1,200", "updates"),
        ("vae.test.error.to(1)", "14.7", "test.error"),
        ("vae.gain.signed(2)", "−0.10", "gain"),
        ("vae.share.percent", "93%", "share"),
        ("vae.wall_time_s.time", "1 min 15 s", "wall_time_s"),
        ("vae.steps.millions()", "2.34", "steps"),
        ("vae.history[2].nll.to(2)", "7.25", "history.2.nll"),
        ("vae.history.pick('lowest', 'nll').to(2)", "7.25", "history, lowest nll"),
        ("vae.history.pick('last', 'nll')", "8", "history, last nll"),
        ("vae.test.error.minus(vae.updates).signed()", "−1,185", "test.error less updates"),
    ],
)
def test_a_number_tells_its_origin(ws, expression, shown, place):
    html = told(ws, f"It is {{{{ {expression} }}}}.")
    assert html == (
        '<p>It is <a href="../data/smoke/vae.json" class="num" '
        f'title="data/smoke/vae.json: {place}">{shown}</a>.</p>\n'
    )


@pytest.mark.parametrize(
    "origin, to",
    [
        ("data/pretrained/paper/vae.json: test.nll", "../data/pretrained/paper/vae.json"),
        ("data/mine/agents/V_dream-tau0.5.jsonl, last", "../data/mine/agents/V_dream-tau0.5.jsonl"),
        ("Welch's interval over 5 searches: data/smoke/a.json, data/smoke/b.json", "#provenance"),
        ("logs of the dreams", "#provenance"),
        (HOSTILE, "#provenance"),
        ("ha2018, table 1", "#ref-ha2018"),
    ],
)
def test_a_number_leads_to_its_origin(ws, origin, to):
    html = told(ws, "It is {{ v }}.", v=Value(5, origin))
    assert f'<a href="{to}" class="num" title="' in html


def test_a_number_makes_no_link_within_a_link(ws):
    text = "# A\n\n## Of {{ v }}\n\n[x {{ v }} y](#a)"
    body = Story(ws, {}).render(text, v=Value(5, "x.json: y"))
    assert '<a href="#a">x <span class="num" title="x.json: y">5</span> y</a>' in body.html
    html = page.page(ws, "index", body, [], [])
    assert '<a href="#of-5">Of 5</a>' in html


@pytest.mark.parametrize("address", ["", "https://example.org/awm"])
def test_links_to_files_are_absolute_where_there_is_a_repository(ws, monkeypatch, address):
    monkeypatch.setattr(page, "site", lambda: {"repository": address})
    text = (
        "[a]({{ link('data/pretrained/a b.json') }}) [b]({{ link('report/laps.csv') }}) {{ v }}\n\n"
        "At <{{ site.repository }}>."
    )
    html = told(ws, text, v=Value(5, "data/smoke/vae.json: y"))
    start = f"{address}/blob/HEAD/" if address else "../"
    assert f'href="{start}data/pretrained/a%20b.json"' in html and 'href="laps.csv"' in html
    # Results of one's own are in no repository.
    assert f'href="{"#provenance" if address else "../data/smoke/vae.json"}"' in html
    assert ("At <a" in html) == bool(address)


def test_the_committed_record_stands_in(ws):
    store.write_json(ws.committed / "mdn_rnn" / "plain.json", {"test": {"nll": 33.3}})
    html = told(ws, "{{ m.test.nll.to(1) }}")
    assert 'title="data/pretrained/smoke/mdn_rnn/plain.json: test.nll">33.3<' in html


def test_a_paragraph_without_its_value_is_left_out_and_named_once(ws):
    html = told(
        ws,
        """
# One

Kept {{ vae.updates }}.

Lost {{ m.test.nll }} and
{{ m.parameters }}.

- An item.
- Lost {{ vae.test.kl }}.
- Another item.

| a | b |
|---|---|
| Lost | {{ m.test.nll }} |

: Lost. {#tbl-t}

Also lost, with @tbl-t.

The *end* of it.

## Two

Nothing is missing.
""",
    )
    assert "Kept" in html and "end" in html and html.count("<li>") == 2
    assert "lost" not in html.lower() and "tbl-t" not in html
    assert html.count('class="note"') == 1
    note = html[html.index('class="note"') : html.index("Two")]
    assert "notebook 03 (<code>mdn_rnn/plain.json</code>)" in note
    assert "notebook 02 (<code>vae.json</code>)" in note


def test_a_footnote_goes_with_its_paragraph_and_its_mark_with_it(ws):
    html = told(
        ws,
        """
Kept.[^whole] Also kept.[^lost]

[^whole]: Told, `[^code]` {{ vae.updates }}.

[^lost]: Lost {{ m.test.nll }}.

Lost {{ m.test.nll }}.[^gone]

[^gone]: Gone with its paragraph.

- An item.[^item]
- Another.

[^item]: Of an item.
""",
    )
    notes = html[html.index('class="footnotes') :]
    assert html.count('class="footnote-ref"') == 2 == notes.count("<li ")
    assert "Told, <code>[^code]</code>" in notes and "Of an item." in notes
    assert "lost" not in html.lower() and "Gone" not in html
    assert "notebook 03 (<code>mdn_rnn/plain.json</code>)" in html


def test_a_heading_goes_with_all_that_stood_under_it(ws):
    nothing = Value(None, "")
    text = "# One\n\n## Two\n\nOf {{ n }}.\n\n## Three\n\nOf {{ m.test.nll }}.\n\n## Four\n\nKept."
    html = told(ws, text, n=nothing)
    assert re.findall(r'<h\d id="(\w+)"', html) == ["one", "three", "four"]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_not_there(ws, value):
    assert "Lost" not in told(ws, "Lost {{ v }}.", v=Value(value, "x.json: y"))


def test_a_row_without_its_value_is_left_out(ws):
    html = told(
        ws,
        "See @tbl-t.\n\n| a\\|b | c |\n|---|---|\n{% for name, value in rows %}\n"
        "| {{ name }} | {{ value }} |\n{% endfor %}\n\n: Of *all* {{ vae.updates }}. {#tbl-t}\n",
        rows=[
            ["one", Value(2.5, "r.json: x").to(1)],
            ["two", Value(None, "r.json: y")],
            ["three", Value(None, "r.json: z") or "–"],
        ],
    )
    assert "<th>a|b</th>" in html and ">2.5</a></td>" in html and "<td>–</td>" in html
    assert "two" not in html and html.count("<tr>") == 3 and "<code>r.json</code>" in html
    assert "Table\u00a01" in html and "<strong>Table 1.</strong> Of <em>all</em> <a" in html


def test_nothing_that_was_recorded_becomes_markup(ws):
    (ws.images).mkdir(parents=True)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(ws.images / "a.png")
    captions = {"a": {"file": "a.png", "caption": HOSTILE, "alt": f'{HOSTILE}" onload="x'}}
    store.write_json(ws.images / "captions.json", captions)
    html = told(
        ws,
        'Says {{ vae.who }}. {{ v }} {{ s }}\n\n{{ figure("a") }}\n\n'
        "| {{ s }} | {{ s }} |\n|---|---|\n| {{ v }} | {{ s }} |\n\n: {{ s }} {#tbl-t}",
        v=Value(5, HOSTILE), s=HOSTILE,
    )  # fmt: skip
    for bad in ("<script", "<i>", 'javascript:b"', "<h1", " onload=", ">7<"):
        assert bad not in html.replace("&quot; onload=", ""), bad
    assert html.count("&lt;script&gt;") >= 6


def test_figures_have_captions_and_alternative_texts_or_say_who_draws_them(ws):
    ws.images.mkdir(parents=True)
    for name in ("MDP", "routes"):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(ws.images / f"{name}.png")
    words = {"MDP": {"caption": "The loop of $s_t$.", "alt": 'Two "boxes" and <arrows>'}}
    words["routes"] = {"caption": "Routes."}
    words = {name: each | {"file": f"{name}.png"} for name, each in words.items()}
    store.write_json(ws.images / "captions.json", words)
    html = told(ws, 'See @fig-vae_kl.\n\n{{ figure("MDP", "routes") }}\n\n{{ figure("vae_kl") }}\n')
    assert "<strong>Figure 1.</strong> The loop of <math" in html
    assert 'alt="Two &quot;boxes&quot; and &lt;arrows&gt;"' in html
    assert html.index('class="row"') < html.index("Figure 2") < html.index("Figure 3")
    assert "There is no picture <code>vae_kl</code> yet: notebook 02 draws it." in html


def test_a_story_that_errs_is_refused(ws):
    for text, words in (
        ("{{ nobody }}", "nobody"),
        ('{{ figure("a") }}\n\n{{ figure("a") }}', "twice"),
        ("See @fig-nothing.", "fig-nothing"),
        ("See @tbl-nothing.", "tbl-nothing"),
    ):
        with pytest.raises(AwmError, match=words):
            told(ws, text)


def test_code_comes_from_the_executed_notebook(ws):
    import nbformat

    path = ws.own / "02_vae.ipynb"
    path.parent.mkdir(exist_ok=True)
    cell = new_code_cell("train()\n~~~~\n# - done", metadata={"tags": ["train"]})
    nbformat.write(new_notebook(cells=[cell]), path)
    text = '{{ code("02_vae", "train") }}\n\n{{ code("02_vae", "no") }}\n\n{{ code("03", "no") }}'
    html = told(ws, text, {"02_vae": path})
    assert html.count('<details class="code">') == 1 and "# - done" in html
    assert '<a href="02_vae.html">notebook 02 vae</a>' in html
    assert "notebook 02_vae has no cell tagged “no”" in html
    assert "notebook 03 has not been run in this profile" in html


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
    assert duration(seconds) == words


@pytest.mark.parametrize(
    "name, notebook",
    [
        ("data/paper/rollouts.json", "01"),
        ("data/pretrained/paper/vae.json", "02"),
        ("mdn_rnn/wide-1.json", "03"),
        ("mdn_rnn/spatial.json", "04"),
        ("study/attention.json", "04"),
        ("agents/plain_track_refined.jsonl", "05"),
        ("agents/plain-round3_dream_track.json", "06"),
        ("study/dream_error.json", "06"),
        ("study/rounds-plain.json", "06"),
        ("study/feature_maps.json", "06"),
        ("study/transfer.json", "06"),
        ("evaluations/plain_track.fast.json", "07"),
        ("dream_error", "06"),
        ("dream_training", "07"),
        ("rollout", "07"),
        ("controller_training", "05"),
    ],
)
def test_who_makes_what(name, notebook):
    assert maker(name)[:2] == notebook


def test_a_damaged_record_is_named(ws):
    (ws.own / "vae.json").write_text("[]")
    with pytest.raises(AwmError, match="vae.json is damaged"):
        record(ws, "vae.json")
