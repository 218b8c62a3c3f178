"""Markdown and executed notebooks to pages that are one file, and need neither network nor script.

pandoc does the work: formulas become MathML, citations are looked up, code is coloured. The filter
`templates/page.lua` adds what it lacks, such as numbered figures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import jinja2
import pypandoc
from markupsafe import Markup

from awm import store
from awm.errors import AwmError
from awm.figures.theme import stylesheet
from awm.store import Workspace
from awm.widgets import demos

TEMPLATES = Path(__file__).parent / "templates"

#: How the story is read. No value that enters it can bring markup of its own: there is no raw HTML.
STORY = "markdown-raw_html"
#: How an executed notebook is read.
NOTEBOOK = "ipynb"


@dataclass(frozen=True)
class Body:
    """The `html` of a page's text, and its `headings` as level, anchor and HTML."""

    html: str
    headings: list[tuple[int, str, str]]

    def insert(self, place: str, html: str) -> "Body":
        """The body with HTML instead of the empty division of that name."""
        return replace(self, html=self.html.replace(f'<div id="{place}">\n\n</div>', html))

    def append(self, html: str) -> "Body":
        """The body with HTML at its end."""
        return replace(self, html=f"{self.html}\n{html}")

    @property
    def title(self) -> str:
        """The text of the first heading, as HTML without tags."""
        first = next((text for _, _, text in self.headings), "Notebook")
        return re.sub(r"<annotation.*?</annotation>|<[^>]+>", "", first)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def quoted(text: str) -> str:
    """Text as the value of an attribute in Markdown."""
    text = " ".join(str(text).split()).replace("|", "&#124;")  # which would end a table's cell
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def fenced(code: str, language: str = "python") -> str:
    """Code as Markdown, whatever it holds."""
    fence = "~~~"
    while fence in code:
        fence += "~"
    return f"{fence}{language}\n{code}\n{fence}"


def convert(source: str, reader: str, folders: Sequence[Path] = ()) -> Body:
    """Markdown (`STORY`) or a notebook's JSON (`NOTEBOOK`) as HTML.

    `folders` are searched for the pictures that the text names, which are embedded.

    Raises:
        AwmError: if pandoc cannot read it, or the story refers or cites what is not there.
    """
    arguments = [
        "--mathml",
        "--wrap=preserve",
        "--columns=10000",  # no column of a table has a width of its own
        f"--resource-path={':'.join(map(str, folders)) or '.'}",
        "--ipynb-output=all",  # the filter chooses
        f"--lua-filter={TEMPLATES / 'page.lua'}",
    ]
    if reader == STORY:
        references = f"--bibliography={TEMPLATES / 'references.json'}"
        arguments += ["--citeproc", references, "-Mlink-citations", "--fail-if-warnings"]
    try:
        html = pypandoc.convert_text(source, "html5", format=reader, extra_args=arguments)
    except (OSError, RuntimeError) as error:
        raise AwmError(f"A page of the report cannot be made: {error}") from error
    # A line of code that is too long scrolls, for those without a mouse, too.
    html = re.sub(r"<pre(?=[ >])", '<pre tabindex="0"', html)
    found = re.findall(r'<h(\d) id="([^"]*)"[^>]*>(.*?)<a\s[^>]*class="anchor"', html, re.S)
    return Body(html, [(int(level), anchor, text) for level, anchor, text in found])


def page(
    workspace: Workspace, name: str, body: Body, notebooks: Sequence[str], stages: Sequence[dict]
) -> str:
    """A whole page around a body.

    Args:
        name: the page's; `"index"` is the story's.
        notebooks: the names of the notebooks that have a page.
        stages: the rows of the table of provenance.
    """
    return template("page.html.j2").render(
        name=name,
        body=Markup(body.html),
        title=Markup(body.title),
        headings=[
            (level, anchor, Markup(text))
            for level, anchor, text in body.headings
            if level in (2, 3)
        ],
        notebooks=[(stem, stem.replace("_", " ")) for stem in notebooks],
        stages=stages,
        run=store.provenance(workspace.profile),
        commit=commit,
        date=datetime.now().strftime("%-d %B %Y"),
        style=asset("style.css") + Markup(stylesheet() + demos.STYLE),
        scripts=[asset(f"{name}.js") for name in ("page", "figures", "pictures")],
    )


def commit(record: dict) -> str:
    """A record's commit, short; a `+` tells of changes that were not committed."""
    found = str(record.get("commit") or "")[:10]
    return found + "+" * bool(found and record.get("dirty"))


@cache
def template(name: str) -> jinja2.Template:
    """A template of a page; what enters it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def asset(name: str) -> Markup:
    """A file of ours that goes into a page as it is."""
    return Markup((TEMPLATES / name).read_text("utf-8"))
