"""Markdown and executed notebooks to pages that are one file, and need neither network nor script.

pandoc does the work: formulas become MathML, citations are looked up, code is coloured. The filter
`templates/page.lua` adds what it lacks, such as numbered figures.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import quote

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

AUTHOR = "The Attentive World Models authors"
#: What links to a page on other sites show beside its title.
CARD = "card.png"


@cache
def site() -> dict[str, str]:
    """Where the study is published, from `[project.urls]` of pyproject.toml; empty where unset.

    `repository` holds the files that pages link to, `homepage` is the address of `report/`.
    """
    path = store.CHECKOUT / "pyproject.toml"  # not there where the package alone was installed
    project = tomllib.loads(path.read_text("utf-8"))["project"] if path.exists() else {}
    urls = {name.lower(): url.rstrip("/") for name, url in project.get("urls", {}).items()}
    return {"repository": "", "homepage": ""} | urls


def link(path: str) -> str:
    """What a page of `report/` calls a file, whose path is given from the repository's root.

    Files of `report/` lie beside the page. Others are at the `Repository` of pyproject.toml where
    it is set, and one folder up where not. Results that are not committed are nowhere but on the
    machine that made them: published pages call them by nothing, the empty string.
    """
    if path.startswith("report/"):
        return quote(path.removeprefix("report/"))
    repository = site()["repository"]
    if not repository:
        return quote(f"../{path}")
    private = path.startswith("data/") and not path.startswith("data/pretrained/")
    return "" if private else f"{repository}/blob/HEAD/{quote(path)}"


@dataclass(frozen=True)
class Body:
    """The `html` of a page's text, and its `headings` as level, anchor and HTML."""

    html: str
    headings: list[tuple[int, str, str]]

    @property
    def title(self) -> str:
        """The text of the first heading."""
        return _plain(next((text for _, _, text in self.headings), "Notebook"))

    @property
    def summary(self) -> str:
        """The text of the first paragraph, as far as whole sentences go in 250 characters."""
        first = re.search(r"<p>(.*?)</p>", self.html, re.S)
        text = _plain(first[1]) if first else self.title
        return text if len(text) <= 250 else re.split(r"(?<=[.:;?!]) (?!.*[.:;?!] )", text[:250])[0]


def _plain(html: str) -> str:
    """HTML as text on one line."""
    text = re.sub(r"<annotation.*?</annotation>|<[^>]+>", "", html, flags=re.S)
    return " ".join(unescape(text).split())


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def quoted(text: str) -> str:
    """Text as the value of an attribute in Markdown."""
    text = " ".join(str(text).split()).replace("|", "&#124;")  # which would end a table's cell
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


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
    # A line of code or a formula that is too long scrolls, for those without a mouse, too.
    html = re.sub(r'<(pre(?=[ >])|math display="block")', r'<\1 tabindex="0"', html)
    found = re.findall(r'<h(\d) id="([^"]*)"[^>]*>(.*?)<a\s[^>]*class="anchor"', html, re.S)
    return Body(html, [(int(level), anchor, text) for level, anchor, text in found])


def page(
    workspace: Workspace,
    name: str,
    body: Body,
    notebooks: Iterable[str] = (),
    stages: Sequence[dict] = (),
    parts: Mapping[str, dict] | None = None,
) -> str:
    """A whole page around a body.

    Args:
        name: the page's; `"index"` is the story's.
        notebooks: the names of the notebooks that have a page.
        stages: the rows of the table of provenance.
        parts: the data of the demonstrations in the body, as `demos.make` leaves it.
    """
    data = {key: json.dumps(part).replace("<", "\\u003c") for key, part in (parts or {}).items()}
    return template("page.html.j2").render(
        name=name,
        body=Markup(body.html),
        title=body.title,
        summary=body.summary,
        author=AUTHOR,
        card=CARD,
        site=site(),
        link=link,
        headings=[
            (level, anchor, Markup(re.sub(r"</?a\b[^>]*>", "", text)))  # no link within a link
            for level, anchor, text in body.headings
            if level in (2, 3)
        ],
        benchmarks=name == "benchmarks" or (workspace.report / "benchmarks.html").exists(),
        notebooks=[(stem, stem.replace("_", " ")) for stem in notebooks],
        stages=stages,
        parts={name: Markup(part) for name, part in data.items()},
        demos=Markup(demos.SCRIPT),
        run=store.provenance(workspace.profile),
        commit=commit,
        now=datetime.now(),
        style=asset("style.css") + Markup(stylesheet() + demos.STYLE),
        scripts=[asset(f"{name}.js") for name in ("theme", "page", "figures", "pictures")],
    )


def bar() -> str:
    """The pages' bar, style and theme as HTML, for the inspector that Voilà serves."""
    return template("app.html.j2").render(
        style=asset("style.css"), own=asset("app.css"), script=asset("theme.js")
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
