"""Markdown, LaTeX, code and pictures to HTML that needs neither a network nor a script.

The story of the report and the Markdown cells of the notebooks pass through here: formulas
become MathML, code is coloured with classes that the style sheet knows, and pictures are
embedded in the page.
"""

import base64
import html
import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mistune
from latex2mathml.converter import convert as latex_to_mathml
from mistune.plugins.math import math_in_list
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound


@dataclass(frozen=True)
class Heading:
    """An entry of a contents list."""

    level: int
    id: str
    text: str


@cache
def math(latex: str, display: bool = False) -> str:
    """LaTeX to a MathML element. What cannot be converted stays readable, as source."""
    latex = latex.strip()
    try:
        # `\arg` is the one macro of ours that the converter does not know.
        element = latex_to_mathml(
            re.sub(r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}", latex),
            display="block" if display else "inline",
        )
    except Exception:  # the converter raises many kinds; none is worth losing a report for
        element = "\\"
    if "\\" in element:  # a macro that it passed through as it was
        return f'<code class="latex">{html.escape(latex)}</code>'
    return element.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")  # HTML implies it


def code(source: str, language: str = "python") -> str:
    """Source to `<pre>` with Pygments' classes; an unknown language is shown without colours."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    return highlight(source, lexer, HtmlFormatter(cssclass="highlight")).strip()


def data_uri(path: Path) -> str:
    """A file as a `data:` URI."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def note(text: str) -> str:
    """A visible remark that something is missing."""
    return f'<p class="note">{html.escape(text)}</p>'


def slug(text: str) -> str:
    """The anchor of a heading, as GitHub makes it: `What's next?` -> `whats-next`."""
    text = html.unescape(re.sub(r"<[^>]+>", "", text)).lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text)).strip("-") or "section"


class _Renderer(mistune.HTMLRenderer):
    """mistune's HTML with MathML, Pygments, anchors and embedded pictures."""

    def __init__(self, folders: Iterable[Path], headings: list[Heading]):
        super().__init__(escape=False)
        self.folders = tuple(folders)
        self.headings = headings

    def heading(self, text: str, level: int, **attributes) -> str:
        base = anchor = slug(text)
        taken = {heading.id for heading in self.headings}
        count = 2
        while anchor in taken:
            anchor, count = f"{base}-{count}", count + 1
        self.headings.append(Heading(level, anchor, text))
        return (
            f'<h{level} id="{anchor}">{text}'
            f'<a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a>'
            f"</h{level}>\n"
        )

    def block_code(self, code_: str, info: str | None = None) -> str:
        return code(code_, (info or "text").split()[0]) + "\n"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if url.startswith("data:"):
            source = url
        else:
            found = [folder / url for folder in self.folders if (folder / url).is_file()]
            if not found:  # also when the picture is on the web: pages load nothing from there
                return f'<em class="missing">[picture {html.escape(url)} is not here]</em>'
            source = data_uri(found[0])
        return f'<img src="{source}" alt="{html.escape(mistune.util.striptags(text))}">'

    def inline_math(self, text: str) -> str:
        return math(text)

    def block_math(self, text: str) -> str:
        return f'<span class="math">{math(text, display=True)}</span>\n'

    def table(self, text: str) -> str:
        # A region of its own that scrolls, and can be reached by keyboard, on a narrow screen.
        return (
            '<div class="table" tabindex="0" role="region" aria-label="Table">'
            f"<table>\n{text}</table></div>\n"
        )


def markdown(text: str, folders: Iterable[Path] = (), headings: list[Heading] | None = None) -> str:
    """Render Markdown with `$…$` and `$$…$$`, tables and fenced code to HTML.

    `folders` are searched for the pictures that the text names; HTML passes through. The
    headings are appended to `headings`, whose anchors are not given a second time: a page that
    is put together from several texts passes one list to all of them.
    """
    renderer = _Renderer(folders, [] if headings is None else headings)
    render = mistune.create_markdown(
        renderer=renderer, plugins=["math", math_in_list, "table", "strikethrough", "url"]
    )
    return render(text)
