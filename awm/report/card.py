"""The picture that other sites show beside a link to the report."""

import io
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, ImageSequence

#: Pixels, as Open Graph and Twitter ask for.
SIZE = (1200, 630)
#: Between two moments.
_GAP = 8
#: As the pages are in the dark: ground, title and text.
_GROUND, _TITLE, _TEXT = "#14181c", "#ffffff", "#c3cad1"


def card(title: str, text: str, film: Path) -> bytes:
    """A PNG with a title, a sentence, and four moments of a film where there is one."""
    fig = Figure([side / 100 for side in SIZE], dpi=100, facecolor=_GROUND, layout="none")
    moments = _moments(film) if film.exists() else []
    top = 0.87 if moments else 0.7
    fig.text(0.05, top, title, color=_TITLE, size=40, weight="bold", va="top")
    words = textwrap.fill(text, 74, max_lines=5)
    fig.text(0.05, top - 0.17, words, color=_TEXT, size=20, va="top", linespacing=1.45)
    drawn, png = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, dpi="figure", facecolor=_GROUND)
    picture = Image.open(drawn).convert("RGB")
    for n, moment in enumerate(moments):
        width = (SIZE[0] + _GAP) // len(moments) - _GAP
        height = moment.height * width // moment.width
        picture.paste(moment.resize((width, height)), (n * (width + _GAP), SIZE[1] - height))
    picture.quantize(256, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    return png.getvalue()


def _moments(film: Path, count: int = 4) -> list[Image.Image]:
    """Frames of a film, evenly spread."""
    with Image.open(film) as found:
        frames = ImageSequence.all_frames(found)
    last = len(frames) - 1
    return [frames[last * (n + 1) // (count + 1)].convert("RGB") for n in range(count)]
