"""Pages from Markdown and notebooks: formulas, figures, and nothing that runs or is fetched."""

import json

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from awm.errors import AwmError
from awm.report import page
from tests.report.reading import tags

#: What must not reach a page as it is.
HOSTILE = (
    '<script>alert(1)</script> "onload=\'x\' [a](javascript:b) `c`{=html} {.d onclick="e"} $f$'
)


def story(text: str, *folders) -> str:
    return page.convert(text, page.STORY, folders).html


def notebook(*cells, folders=()) -> str:
    return page.convert(nbformat.writes(new_notebook(cells=cells)), page.NOTEBOOK, folders).html


def output(data: dict, **metadata) -> str:
    shown = new_output("display_data", data=data, metadata=metadata)
    return notebook(new_code_cell("x", outputs=[shown]))


def harmless(html: str) -> bool:
    """Whether nothing in it runs, and nothing leads or reaches out of the page."""
    for tag, attributes in tags(html):
        assert tag not in ("script", "iframe", "object", "embed", "link", "style", "i")
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            assert name not in ("href", "src") or value.startswith(("#", "data:image/"))
    return True


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path


def test_formulas_become_mathml():
    html = story(r"The return $G_t$ is" "\n\n" r"$$G_t = \sum_k \gamma^k r_{t+k}$$")
    assert html.count("<math") == 2 and "<msub><mi>G</mi><mi>t</mi></msub>" in html
    assert 'display="block"' in html and "$" not in html


def test_figures_and_tables_are_numbered_and_referred_to(picture):
    body = page.convert(
        "# T\n\nSee @fig-b, @tbl-t, @fig-a.\n\n"
        "::: {#fig-a}\n![](a.png){alt='A'}\n\nOne $x$\n:::\n\n::: {#fig-b .absent}\nNone.\n:::\n\n"
        "| a |\n|---|\n| 1 |\n\n: Two {#tbl-t}\n\n## What's next?",
        page.STORY,
        [picture],
    )
    for name, label in (("fig-b", "Figure 2"), ("tbl-t", "Table 1"), ("fig-a", "Figure 1")):
        assert f'<a href="#{name}">{label.replace(" ", chr(160))}</a>' in body.html
    assert "<strong>Figure 1.</strong> One <math" in body.html
    assert "<strong>Figure 2.</strong> None." in body.html
    assert "<caption><strong>Table 1.</strong> Two</caption>" in body.html
    assert 'alt="A"' in body.html and 'src="data:image/png;base64,' in body.html
    assert body.headings == [(1, "t", "T"), (2, "whats-next", "What’s next?")]


@pytest.mark.parametrize("reference", ["@fig-none", "@tbl-none", "@nobody2020"])
def test_a_reference_to_what_is_not_there_is_refused(reference):
    with pytest.raises(AwmError, match=reference[1:]):
        story(f"See {reference}.")


def test_every_work_of_the_bibliography_can_be_cited():
    works = [w["id"] for w in json.loads((page.TEMPLATES / "references.json").read_text("utf-8"))]
    html = story(" ".join(f"@{work}" for work in works) + "\n\n::: {#refs}\n:::")
    assert 'Ha and Schmidhuber (<a href="#ref-ha2018"' in html
    for work in works:
        assert f'<div id="ref-{work}"' in html


def test_pictures_are_embedded_or_said_to_be_missing(picture):
    assert 'src="data:image/png;base64,' in story("![A track](a.png)", picture)
    for url in ("b.png", "https://example.org/c.png", "file:///etc/hostname"):
        html = story(f"x ![B]({url})", picture)
        assert "<img" not in html and url in html


def test_a_value_is_shown_as_it_is():
    html = story(page.escape(HOSTILE))
    assert html.strip() == (
        "<p>&lt;script&gt;alert(1)&lt;/script&gt; \"onload='x' [a](javascript:b) `c`{=html} "
        '{.d onclick="e"} $f$</p>'
    )


def test_markdown_brings_no_markup_of_its_own(picture):
    html = story(
        "[a](javascript:b) `<i>`{=html} [x]{onclick='e' style='f' title='t'} <script>g</script>\n\n"
        "```{=html}\n<iframe src='https://x.org'></iframe><b onload='h'>8</b>\n```\n\n"
        f"![{HOSTILE}](a.png){{onerror='i'}}",
        picture,
    )
    assert "&lt;script&gt;" in html and "<strong>8</strong>" in html and 'title="t"' in html
    assert harmless(html)


def test_outputs_bring_no_scripts_and_fetch_nothing():
    html = output(
        {
            "text/html": "<script src='https://x.org/a.js'></script><b onclick='a()'>7</b>"
            "<img src='https://x.org/a.png'><a href='javascript:x()'>k</a>"
            "<table onclick='b()'><tr onclick='c()'><td onclick='d()'>1</td></tr></table>"
            "<iframe src='https://x.org'></iframe><style scoped>td { color: red }</style>"
            "<div><style>td { color: red }</style></div>"
        }
    )
    assert "<strong>7</strong>" in html and "<td>1</td>" in html and harmless(html)


def test_a_widget_is_represented_by_its_picture_or_left_out():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "VBox()"}
    html = output(view)
    assert "VBox" not in html and "model_id" not in html
    html = output({**view, "image/png": "iVBORw0KGgo="}, **{"image/png": {"alt": "Sliders"}})
    assert "VBox" not in html and html.count("<img") == 1 and 'alt="Sliders"' in html


def test_code_is_folded_coloured_and_escaped():
    html = notebook(
        new_code_cell("\n# Compare\nx < 1"), new_code_cell("y", metadata={"tags": ["hide"]})
    )
    assert html.count('<details class="code">') == 1
    assert "</span> Compare\n</summary>" in html and 'class="op">&lt;' in html


@pytest.mark.parametrize(
    "code, called",
    [
        ("# Two *things*\nx", "Two *things*"),
        ("import numpy\n\nx = 1", "Imports"),
        ('@cache\ndef f(x):\n    """Half of x."""', "<code>f</code>: Half of x"),
        ("class A:\n    pass", "<code>A</code>"),
        ("x = 1\ny", "<code>x = 1</code>"),
    ],
)
def test_folded_code_is_called_by_what_it_does(code, called):
    assert f"</span> {called}\n</summary>" in notebook(new_code_cell(code))


def test_parameters_and_progress_bars_are_left_out():
    bar = "training: 100%|████| 20/20 [01:10<00:00,  3.52s/it]\r\n7it [00:01, 5.00it/s]\n"
    logs = [new_output("stream", name="stderr", text=text) for text in (bar, bar + "It is late.\n")]
    html = notebook(
        new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]}),
        new_code_cell('profile = "paper"', metadata={"tags": ["injected-parameters"]}),
        new_code_cell("x", outputs=logs),
    )
    assert "profile" not in html and "%|" not in html and "it/s" not in html
    assert html.count("<pre") == 2 and "It is late." in html


def test_a_notebook_has_prose_streams_and_tables():
    table = (
        "<table class='dataframe'><thead><tr><th>a</th></tr></thead>"
        "<tr><td>1</td></tr><tr><td>NaN</td></tr></table>"
    )
    html = notebook(
        new_markdown_cell("# See *V*\n\n$z$"),
        new_code_cell(
            "x",
            outputs=[
                new_output("stream", name="stderr", text="\x1b[31mred\x1b[0m <b>"),
                new_output("display_data", data={"text/html": table, "text/plain": "plain"}),
            ],
        ),
    )
    assert "red &lt;b&gt;" in html and "\x1b" not in html
    assert '<div class="table"' in html and "<th>a</th>" in html and "plain" not in html
    assert "<td>–</td>" in html, "no value"
    assert "<math" in html


def test_the_repository_is_what_pyproject_names(tmp_path, monkeypatch):
    monkeypatch.setattr(page.store, "CHECKOUT", tmp_path)
    for urls, expected in (
        (None, ("", "")),  # installed without its checkout
        ("", ("", "")),
        ("[project.urls]\nRepository = 'https://x.org/a/'", ("https://x.org/a", "")),
        ("[project.urls]\nHomepage = 'https://a.org'", ("", "https://a.org")),
    ):
        if urls is not None:
            (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'a'\n{urls}")
        page.site.cache_clear()
        assert tuple(page.site()[name] for name in ("repository", "homepage")) == expected
    page.site.cache_clear()


def test_what_is_no_notebook_is_refused():
    with pytest.raises(AwmError, match="cannot be made"):
        page.convert("{", page.NOTEBOOK)
