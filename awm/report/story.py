"""The story of the report: Markdown whose values are looked up, and what stands between the words.

`templates/story.md` is plain text with named values, and its rule is simple: a paragraph, an item
of a list, a footnote or a row of a table with a value that was not recorded is left out, and its
section says once, in a note, what is missing. What a comparison shows is decided in `awm.study`,
never here.
"""

import re
from pathlib import Path

import jinja2
import nbformat

from awm import figures
from awm.errors import AwmError
from awm.report import page
from awm.report.page import Body, escape, quoted
from awm.report.records import ABSENT, Text, Value, maker, when, within
from awm.store import Workspace

_MARK = re.compile(ABSENT.format("([^\ue001]*)"))
_TABLE = re.compile(r"\{#(tbl-\w+)\}")
#: The mark of a footnote; at the beginning of a block, with a colon, the footnote itself.
_NOTE = re.compile(r"\[\^([\w-]+)\]")


class Story:
    """The functions that the story calls beside its values."""

    def __init__(self, workspace: Workspace, executed: dict[str, Path]):
        """`executed` are the notebooks that were, by name."""
        self.workspace = workspace
        self.executed = executed
        self.captions = figures.captions(workspace.images)
        self.shown: set[str] = set()

    def render(self, source: str, **values) -> Body:
        """The story, from its Markdown and its values by name.

        Raises:
            AwmError: if it names a value or refers to a figure that does not exist.
        """
        environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            comment_start_string="<!--",  # not {#, with which pandoc names things
            comment_end_string="-->",
            finalize=_written,
        )
        functions = {"figure": self.figure, "code": self.code, "when": when}
        functions["link"] = lambda path: Text(page.link(path))
        # An address that is unset takes its paragraph with it.
        site = {key: Value(Text(at) if at else None, "") for key, at in page.site().items()}
        try:
            text = environment.from_string(source).render(functions | values, site=site)
        except jinja2.TemplateError as error:
            raise AwmError(f"The story of the report cannot be told: {error}.") from error
        return page.convert(self._prune(text), page.STORY, [self.workspace.images])

    def figure(self, *names: str) -> Text:
        """One figure, or several side by side, each with its number and caption."""
        shown = "\n\n".join(self._figure(name) for name in names)
        return Text(f"::: row\n{shown}\n:::" if len(names) > 1 else shown)

    def _figure(self, name: str) -> str:
        if name in self.shown:
            raise AwmError(f"The story shows {name!r} twice. Refer to it as @fig-{name} instead.")
        self.shown.add(name)
        by, words = maker(name), self.captions.get(name)
        if words is None:
            return (
                f"::: {{#fig-{name} .absent}}\nThere is no picture `{name}` yet: "
                f"{self._notebook(by)} draws it.\n:::"
            )
        caption = " ".join(words["caption"].split())
        alt = quoted(words.get("alt") or caption)
        # A caption is Markdown; as a paragraph it begins no block of another kind.
        caption = re.sub(r"^(?=[^\w*$`\s])", r"\\", caption)
        if by in self.executed:
            caption += f" [From {self._notebook(by)}.]{{.origin}}"
        return f"::: {{#fig-{name}}}\n![]({words['file']}){{alt={alt}}}\n\n{caption}\n:::"

    def code(self, notebook: str, tag: str) -> Text:
        """The cells of an executed notebook that carry a tag, folded."""
        path = self.executed.get(notebook)
        cells = nbformat.read(path, as_version=4).cells if path else ()
        found = [c.source for c in cells if tag in c.metadata.get("tags", ())]
        if not found:
            why = f"has no cell tagged “{tag}”" if path else "has not been run in this profile"
            lack = escape(f"notebook {notebook} {why}")
            return Text(f"::: note\nThe code would stand here, but {lack}.\n:::")
        name = notebook.replace("_", " ")
        fence = max(re.findall("~+", "".join(found)), key=len, default="") + "~~~"
        blocks = "\n\n".join(f"{fence}python\n{code}\n{fence}" for code in found)
        link = f"From [notebook {name}]({notebook}.html)."
        return Text(f'::: {{.fold from="{name}"}}\n{blocks}\n\n{link}\n:::')

    def _notebook(self, name: str) -> str:
        """A notebook's name, linked to its page when there is one."""
        label = f"notebook {name[:2]}"
        return f"[{label}]({name}.html)" if name in self.executed else label

    def _prune(self, text: str) -> str:
        """Leave out what needs a value that is not there, and say so at the end of the section."""
        parts = re.split(r"(?m)^(?=#{1,6} )", text)
        sections = [[_without_lost_rows(block) for block in _blocks(part)] for part in parts]
        every = [block for section in sections for block in section]
        lost = [name for b in every if _MARK.search(b) for name in _TABLE.findall(b)]
        gone = re.compile("|".join([_MARK.pattern, *(rf"@{name}\b" for name in lost)]))
        kept = [block for block in every if not gone.search(block)]
        # A footnote that none marks any more goes, and the mark of one that is lost.
        marked = {name for b in kept if not _note(b) for name in _NOTE.findall(b)}
        lost_notes = {_note(b) for b in every} - {_note(b) for b in kept}
        told = []
        for part, section in zip(parts, sections, strict=True):
            blocks = [
                _NOTE.sub(lambda mark: "" if mark[1] in lost_notes else mark[0], block)
                for block in section
                if not gone.search(block) and _note(block) in (None, *marked)
            ]
            missing = {origin.partition(":")[0] for origin in _MARK.findall(part)} - {""}
            alone = len(blocks) == 1 < len(section) and blocks[0].startswith("#")
            if missing or not alone:  # no heading of what has all gone
                told += [*blocks, self._missing(missing)]
        return "".join(told)

    def _missing(self, names: set[str]) -> str:
        """The note on records that a section lacks, by the notebooks that make them."""
        made: dict[str, list[str]] = {}
        for name in sorted(map(within, names)):
            made.setdefault(maker(name), []).append(f"`{name}`")
        lacks = ", ".join(
            f"{self._notebook(notebook)} ({', '.join(files[:3])}{', …' * (len(files) > 3)})"
            for notebook, files in sorted(made.items())
        )
        note = f"\n\n::: note\nNot in this profile yet is what these record: {lacks}.\n:::\n\n"
        return note if made else ""


def _blocks(text: str) -> list[str]:
    """Paragraphs, items of lists and tables with their captions, each with the blanks after it."""
    return re.findall(r".+?(?:\n(?=- )|\n\s*\n(?!: )|\Z)", text, re.S)


def _note(block: str) -> str | None:
    """The name of the footnote that a block is, if it is one."""
    found = re.match(rf"{_NOTE.pattern}:", block)
    return found and found[1]


def _without_lost_rows(block: str) -> str:
    """A table without the rows that need what is not there; if none is left it is lost itself."""
    if not block.startswith("|"):
        return block
    lines = block.splitlines(keepends=True)
    lines = [line for line in lines if not (line.startswith("|") and _MARK.search(line))]
    rows = sum(line.startswith("|") for line in lines)
    return "".join(lines) + ABSENT.format("") * (rows < 3)


def _written(value) -> str:
    """A value as Markdown."""
    return str(value) if isinstance(value, Text | Value) else escape(value)
