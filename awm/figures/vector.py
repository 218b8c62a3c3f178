"""A figure as SVG for the report's page: in the page's colours, and its values can be read again.

Colours are CSS properties of the palette, so that a drawing follows the page into the dark. A group
of axes carries its box and its two scales, and what is drawn to scale and has a name, a line, dots
or a bar, carries that name: the report's script (`figures.js`) turns places into values with these.
The name is an artist's gid or else its label.
"""

import io
import json
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import BarContainer
from matplotlib.ticker import FixedFormatter

from awm.figures.theme import PALETTE, TINTS, Canvas

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_NAMES = {light: name for name, (light, _) in PALETTE.items()}
#: A PostScript point is the unit of SVG that matplotlib writes.
_POINTS = 72

ElementTree.register_namespace("", _SVG[1:-1])
ElementTree.register_namespace("xlink", _HREF[1:-5])


def spoken(axes: Axes, **names: str) -> None:
    """What the values along `x` or `y` are called where no label says it; a space: nothing."""
    axes.spoken = {**getattr(axes, "spoken", {}), **names}  # pyright: ignore


def svg(fig: Canvas, name: str) -> str:
    """The figure as an SVG element; ids begin with `name`, and the same figure is the same text."""
    marks: dict[str, dict[str, str]] = {}
    before: list[tuple[Artist, str | None]] = []

    def mark(artist: Artist, **facts: str) -> None:
        before.append((artist, artist.get_gid()))
        artist.set_gid(f"mark-{len(before)}")
        marks[f"mark-{len(before)}"] = {f"data-{key}": value for key, value in facts.items()}

    for axes in fig.axes:
        named = list(_named(axes))
        for artist, label, kind in named:
            mark(artist, label=label, kind=kind)
        if named:
            mark(axes, axes="")
    style = {"svg.fonttype": "path", "svg.hashsalt": name, "image.composite_image": False}
    buffer = io.BytesIO()
    try:
        with matplotlib.rc_context(style):  # pyright: ignore
            fig.savefig(buffer, format="svg", facecolor="none")
        for axes in fig.axes:  # where the layout has put them
            if marks.get(axes.get_gid() or ""):
                marks[axes.get_gid()] = _scales(fig, axes)
    finally:
        for artist, gid in before:
            artist.set_gid(gid)
    return _of_the_page(ElementTree.fromstring(buffer.getvalue()), name, marks)


def _named(axes: Axes) -> Iterator[tuple[Artist, str, str]]:
    """What is drawn to scale and has a name: the artist, its name and kind."""

    def name(artist, label: str) -> str:
        return artist.get_gid() or ("" if label.startswith("_") else label)

    for line in axes.lines:
        found = name(line, str(line.get_label()))
        # A level that spans the axes is drawn to their scale in one direction alone.
        if found and line.get_transform() == axes.transData and len(line.get_xdata()):
            yield line, found, "line"
    for bars in axes.containers:
        if isinstance(bars, BarContainer):
            kind = "bar" if bars.orientation == "vertical" else "barh"
            for bar in bars.patches:
                if found := name(bar, str(bars.get_label())):
                    yield bar, found, kind


def _scales(fig: Canvas, axes: Axes) -> dict[str, str]:
    """The box of axes in the SVG's units, and what lies along its sides."""
    width, height = fig.get_size_inches() * _POINTS
    box = axes.get_position()
    ends = box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height
    names = getattr(axes, "spoken", {})
    x = names.get("x") or _label(axes, "x") or fig.get_supxlabel()
    y = names.get("y") or _label(axes, "y") or fig.get_supylabel() or axes.get_title(loc="left")
    return {
        "data-axes": " ".join(f"{end:.3f}" for end in ends),
        "data-x": _scale(axes.xaxis, x),
        "data-y": _scale(axes.yaxis, y),
    }


def _label(axes: Axes, direction: str) -> str:
    """The label of an axis, which shared axes have only at the border."""
    sharing = getattr(axes, f"get_shared_{direction}_axes")().get_siblings(axes)
    labels = (getattr(each, f"get_{direction}label")() for each in (axes, *sharing))
    return next(filter(None, labels), "")


def _scale(axis: Axis, label: str) -> str:
    low, high = (float(end) for end in axis.get_view_interval())
    if axis.get_inverted():
        low, high = high, low
    facts: dict = {"label": " ".join(label.split()), "from": low, "to": high}
    if label.isspace():
        return json.dumps(facts)
    if axis.get_scale() == "log":
        facts["log"] = True
    formatter = axis.get_major_formatter()
    if isinstance(formatter, FixedFormatter) and any(formatter.seq):
        words = [" ".join(str(word).split()) for word in formatter.seq]
        facts["names"] = list(zip(map(float, axis.get_majorticklocs()), words, strict=False))
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def _of_the_page(root: ElementTree.Element, name: str, marks: dict[str, dict[str, str]]) -> str:
    """What matplotlib wrote, as an element that leaves the rest of its page alone."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
                parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    wanted = dict.fromkeys(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    ids = {a or b: f"{name}-{n}" for n, (a, b) in enumerate(wanted)}
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in ids:
            element.set("id", ids[own])
        element.attrib.update(marks.get(own or "", {}))
        for key in (_HREF, "clip-path"):
            if "#" in (link := element.get(key, "")) and not link.startswith("data:"):
                element.set(key, re.sub(r"#([^)]+)", lambda found: "#" + ids[found[1]], link))
        for key in ("d", "x", "y"):
            if key in element.attrib:
                element.set(key, _rounded(element.attrib[key]))
        if style := element.get("style"):  # with the palette's properties in place of colours
            themed = re.sub(r"#[0-9a-f]{6}", lambda found: _property(found[0]), style)
            element.set("style", themed.replace("; ", ";"))
        for whitespace in ("text", "tail"):
            if not (getattr(element, whitespace) or "").strip():
                setattr(element, whitespace, None)
    for group in root.iter(f"{_SVG}g"):
        _share_style(group)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    # What matplotlib's own style sheet would say of every element of the page.
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    return ElementTree.tostring(root, encoding="unicode")


def _rounded(numbers: str) -> str:
    """Places to a hundredth of a point."""

    short = re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 2):g}", numbers)
    return " ".join(short.split())


def _property(color: str) -> str:
    if color in _NAMES:
        return f"var(--{_NAMES[color]})"
    if color in TINTS:
        whole, share = TINTS[color]
        return f"color-mix(in srgb,{_property(whole)} {100 * share:g}%,var(--paper))"
    return color


def _share_style(group: ElementTree.Element) -> None:
    """The style that all of a group's dots have, once."""
    dots = group.findall(f"{_SVG}use")
    styles = {dot.get("style") for dot in dots}
    if len(dots) > 1 and len(styles) == 1 and (style := styles.pop()):
        for dot in dots:
            del dot.attrib["style"]
        group.set("style", ";".join(filter(None, (group.get("style"), style))))
