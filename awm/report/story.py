"""The story of the report: Markdown whose values are looked up, and what stands between the words.

`templates/story.md` is plain text with named values, and its rule is simple: a paragraph, an item
of a list, a footnote or a row of a table with a value that was not recorded is left out, and its
section says once, in a note, what is missing. What a comparison shows is decided in `awm.study`,
never here.
"""

import re
from dataclasses import asdict
from pathlib import Path

import jinja2
import nbformat

from awm import store
from awm.errors import AwmError
from awm.report import page
from awm.report.page import Body, escape, fenced, quoted
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
        captions = workspace.images / "captions.json"
        self.captions = store.read_json(captions) if captions.exists() else {}
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
        functions = {name: getattr(self, name) for name in ("figure", "code", "notebook", "link")}
        functions |= {"when": when, "site": _site()}
        try:
            text = environment.from_string(source).render(functions | values)
        except jinja2.TemplateError as error:
            raise AwmError(f"The story of the report cannot be told: {error}.") from error
        return page.convert(self.prune(text), page.STORY, [self.workspace.images])

    def figure(self, *names: str) -> Text:
        """One figure, or several side by side, each with its number and caption."""
        figures = "\n\n".join(self._figure(name) for name in names)
        return Text(f"::: row\n{figures}\n:::" if len(names) > 1 else figures)

    def _figure(self, name: str) -> str:
        if name in self.shown:
            raise AwmError(f"The story shows {name!r} twice. Refer to it as @fig-{name} instead.")
        self.shown.add(name)
        found = (name + suffix for suffix in (".gif", ".png", ".svg", ".jpg"))
        file = next((file for file in found if (self.workspace.images / file).exists()), None)
        if file is None:
            return (
                f"::: {{#fig-{name} .absent}}\nThere is no picture `{name}` yet: "
                f"{self.notebook(maker(name))} draws it.\n:::"
            )
        words = self.captions.get(name, {})
        caption = " ".join((words.get("caption") or name.replace("_", " ")).split())
        alt = quoted(words.get("alt") or caption)
        # A caption is Markdown; as a paragraph it begins no block of another kind.
        caption = re.sub(r"^(?=[^\w*$`\s])", r"\\", caption)
        if (by := maker(name)) in self.executed:
            caption += f" [From {self.notebook(by)}.]{{.origin}}"
        return f"::: {{#fig-{name}}}\n![]({file}){{alt={alt}}}\n\n{caption}\n:::"

    def code(self, notebook: str, tag: str) -> Text:
        """The cells of an executed notebook that carry a tag, folded."""
        path = self.executed.get(notebook)
        if path is None:
            why = f"notebook {notebook} has not been run in this profile"
            return Text(f"::: note\nThe code would stand here, but {escape(why)}.\n:::")
        cells = nbformat.read(path, as_version=4).cells
        found = [c.source for c in cells if tag in c.metadata.get("tags", ())]
        if not found:
            why = f"notebook {notebook} has no cell tagged “{tag}”"
            return Text(f"::: note\nThe code would stand here, but {escape(why)}.\n:::")
        name = notebook.replace("_", " ")
        blocks = "\n\n".join(map(fenced, found))
        link = f"From [notebook {name}]({notebook}.html)."
        return Text(f'::: {{.fold from="{name}"}}\n{blocks}\n\n{link}\n:::')

    def notebook(self, name: str) -> Text:
        """A notebook's name, linked to its page when there is one."""
        label = f"notebook {name[:2]}"
        return Text(f"[{label}]({name}.html)" if name in self.executed else label)

    def link(self, path: str) -> Text:
        """What the page calls a file of the repository, as in `[Results]({{ link("a.json") }})`."""
        return Text(page.link(path))

    def prune(self, text: str) -> str:
        """Leave out what needs a value that is not there, and say so at the end of the section."""
        parts = re.split(r"(?m)^(?=#{1,6} )", text)
        sections = [[_without_lost_rows(block) for block in _blocks(part)] for part in parts]
        lost = [n for s in sections for b in s if _MARK.search(b) for n in _TABLE.findall(b)]
        refers = re.compile("|".join(rf"@{name}\b" for name in lost) or r"(?!)")
        kept = [[b for b in s if not _MARK.search(b) and not refers.search(b)] for s in sections]
        kept = _with_whole_notes(kept, {name for s in sections for b in s if (name := _note(b))})
        told = []
        for part, blocks in zip(parts, kept, strict=True):
            missing = {o.partition(":")[0] for o in _MARK.findall(part)} - {""}
            alone = len(blocks) == 1 and blocks[0].startswith("#")
            if missing or not alone or len(_blocks(part)) == 1:  # no heading of what has all gone
                told += [*blocks, self._missing(missing)]
        return "".join(told)

    def _missing(self, names: set[str]) -> str:
        """The note on records that a section lacks, by the notebooks that make them."""
        made: dict[str, list[str]] = {}
        for name in sorted(within(name) for name in names):
            made.setdefault(maker(name), []).append(f"`{name}`")
        parts = (
            f"{self.notebook(notebook)} ({', '.join(files[:3])}{', …' * (len(files) > 3)})"
            for notebook, files in sorted(made.items())
        )
        note = f"Not in this profile yet is what these record: {', '.join(parts)}."
        return f"\n\n::: note\n{note}\n:::\n\n" if made else ""


def _site() -> dict[str, Value]:
    """Where the study is published: an address that is unset takes its paragraph with it."""
    return {name: Value(Text(at) if at else None, "") for name, at in asdict(page.site()).items()}


def _blocks(text: str) -> list[str]:
    """Paragraphs, items of lists and tables with their captions, each with the blanks after it."""
    return re.findall(r".+?(?:\n(?=- )|\n\s*\n(?!: )|\Z)", text, re.S)


def _with_whole_notes(sections: list[list[str]], notes: set[str]) -> list[list[str]]:
    """The blocks without the marks of `notes` that are lost, and without notes that none marks."""
    blocks = [block for section in sections for block in section]
    lost = notes - {_note(block) for block in blocks}
    marked = {name for block in blocks if not _note(block) for name in _NOTE.findall(block)}
    return [
        [
            _NOTE.sub(lambda mark: "" if mark[1] in lost else mark[0], block)
            for block in section
            if _note(block) in (None, *marked)
        ]
        for section in sections
    ]


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
