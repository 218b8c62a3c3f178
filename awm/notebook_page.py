"""An executed notebook as HTML: prose, folded code, and outputs that stand still.

nbconvert walks the notebook with the template in `report_template/notebook`. Nothing in the
result needs a script or the network: formulas are MathML, pictures are embedded, and a widget is
represented by the picture that `awm.widgets` shows beside it.
"""

from dataclasses import dataclass
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert.exporters import TemplateExporter
from nbformat import NotebookNode
from traitlets.config import Config

from awm import markup
from awm.errors import AwmError

TEMPLATES = Path(__file__).parent / "report_template"

#: Of an output that can be shown in several ways, the first of these that it has.
SHOWN = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/gif",
    "image/png",
    "image/jpeg",
    "text/latex",
    "text/plain",
)
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class NotebookPage:
    """A notebook's `title` (its first heading), the `html` of its cells, and its `headings`."""

    title: str
    html: str
    headings: list[markup.Heading]


def read(path: Path) -> NotebookNode:
    """An executed notebook; AwmError if the file is damaged."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise AwmError(
            f"{path} is not a notebook that can be read ({error}). "
            "Run `awm report` to make it anew."
        ) from error


def tagged_source(notebook: NotebookNode, tag: str) -> list[str]:
    """The sources of the code cells that carry a tag, in order."""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", ())
    ]


def render(notebook: NotebookNode, folders: tuple[Path, ...] = ()) -> NotebookPage:
    """Render a notebook; `folders` are searched for the pictures its Markdown cells name."""
    headings: list[markup.Heading] = []
    exporter = _Exporter()
    exporter.register_filter("prose", lambda text: markup.markdown(text, folders, headings))
    exporter.register_filter("formula", lambda text: markup.math(text.strip().strip("$"), True))
    exporter.register_filter("python", markup.code)
    exporter.register_filter("first_line", _first_line)
    exporter.register_filter("harmless", _harmless)
    body, _ = exporter.from_notebook_node(_without_live_widgets(notebook))
    title = next((heading.text for heading in headings if heading.level == 1), "Notebook")
    return NotebookPage(title, body, headings)


class _Exporter(TemplateExporter):
    """nbconvert with the template of this project."""

    file_extension = ".html"
    export_from_notebook = None

    def __init__(self):
        super().__init__(
            config=Config({"NbConvertBase": {"display_data_priority": list(SHOWN)}}),
            template_name="notebook",
            extra_template_basedirs=[str(TEMPLATES)],
        )

    def _file_extension_default(self):
        return ".html"

    def _template_extension_default(self):
        return ".html.j2"


def _without_live_widgets(notebook: NotebookNode) -> NotebookNode:
    """A widget needs a kernel: keep its picture if it brought one, drop `VBox(children=…)`."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            data = output.get("data", {})
            if WIDGET in data:
                data.pop(WIDGET)
                data.pop("text/plain", None)
                if not data:
                    continue
            kept.append(output)
        cell.outputs = kept
    return notebook


def _first_line(source: str) -> str:
    """What a folded cell is about: its first line that is not blank."""
    return next((line.strip() for line in source.splitlines() if line.strip()), "")


def _harmless(html: str) -> str:
    """An output's HTML without scripts, frames and whatever it would fetch."""
    soup = BeautifulSoup(html, "html.parser")
    for element in soup(["script", "link", "iframe", "object", "embed"]):
        element.decompose()
    for element in soup(src=True):
        if not element["src"].startswith("data:"):
            del element["src"]
    for image in soup("img"):
        image["alt"] = image.get("alt", "Output of the cell above")
    return str(soup)
