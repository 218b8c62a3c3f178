"""Pictures on disk: `<name>.png` or `.gif` in a folder, and what they show in its `captions.json`.

Beside a picture that knows how to be drawn for a phone lie `<name>.svg` and `<name>.narrow.svg`.

The words are in `captions.toml`, where `{fields}` stand for values that a caller passes. In a
notebook each `save` also shows the picture with its caption, so that a page exported from the
notebook carries both, and a text for those who cannot see it.
"""

import base64
import html
import io
import sys
import tomllib
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps

from awm.errors import AwmError
from awm.figures.theme import DPI, enlarge
from awm.figures.vector import svg
from awm.store import atomic, read_json, write_json

#: Screen pixels of the report's column; pictures are stored at up to twice as many.
COLUMN = 700
#: {name: {"caption", "alt"}} of the report's figures.
CAPTIONS = tomllib.loads((Path(__file__).parent / "captions.toml").read_text("utf-8"))


class Picture(type(Path())):
    """The path of a saved picture. A notebook has shown it already, so it displays as nothing."""

    def _ipython_display_(self) -> None:
        pass


def save(folder: Path, fig, name: str, **words) -> Path:
    """Write a figure to `folder/<name>.png`, remember its caption, and show both in a notebook.

    What a function that is a `theme.drawing` has drawn is also kept as SVG, for the report. A name
    that exists is replaced. `words` are the values of the caption's fields; for a figure that
    `captions.toml` does not know, `caption` and, unless the caption will do, `alt`.

    Raises:
        AwmError: if the name is none for a file, or the caption or a value is missing.
    """
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, the same figure is the same bytes.
    fig.savefig(buffer, dpi=DPI, facecolor="white", metadata={"Software": None})
    files = {"png": buffer.getvalue()}
    if narrow := getattr(fig, "narrow", None):
        files["svg"] = svg(fig, name).encode()
        files["narrow.svg"] = svg(narrow(), f"{name}-narrow").encode()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    return _publish(folder, name, files, words)


def save_image(folder: Path, images, name: str, **words) -> Path:
    """As `save`, for frames, pixel for pixel.

    `images` is uint8 [H, W, 3], or a list of them (or [N, H, W, 3]) that is laid side by side.
    Each pixel becomes a square as large as the column allows, of 6 at most.
    """
    images = [_check(image, 3) for image in ([images] if np.ndim(images) == 3 else images)]
    if len({len(image) for image in images}) != 1:
        raise AwmError("Pictures side by side need one height. Pass one picture, or equal ones.")
    room = 2 * COLUMN - 16 * (len(images) - 1)
    scale = int(np.clip(room // sum(image.shape[1] for image in images), 1, 6))
    strip = [enlarge(image, scale) for image in images]
    if len(strip) > 1:  # the page shows between them
        opaque = [np.pad(each, ((0, 0), (0, 0), (0, 1)), constant_values=255) for each in strip]
        gap = np.zeros((len(strip[0]), 16, 4), np.uint8)
        strip = [part for each in opaque for part in (gap, each)][1:]
    png = encode_png(np.concatenate(strip, axis=1), optimize=True)
    return _publish(folder, name, {"png": png}, words)


def save_gif(
    folder: Path, frames, name: str, fps=25.0, scale=4, max_bytes=2_500_000, **words
) -> Path:
    """As `save`, for an animation, `folder/<name>.gif`, which repeats for ever.

    `frames` is uint8 [T, H, W, 3], shown at `fps` a second and enlarged `scale` times. If the
    file would exceed `max_bytes`, colours are merged first, then every second frame is left out
    (at half the rate: the speed stays), then the picture is made smaller.
    """
    frames = _check(frames, 4)
    if not len(frames):
        raise AwmError("An animation needs at least one frame. Pass frames [T, H, W, 3].")
    steps = ((128, 1, scale), (64, 1, scale), (64, 2, scale), (32, 2, scale), (32, 3, 2))
    for colors, every, most in steps:
        gif = _encode_gif(frames[::every], fps / every, min(scale, most), colors)
        if len(gif) <= max_bytes:
            break
    return _publish(folder, name, {"gif": gif}, words)


def encode_png(picture: np.ndarray, scale: int = 1, **options) -> bytes:
    """A uint8 picture [H, W, 3 or 4] as PNG, quickly rather than small; `options` are Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(enlarge(picture, scale)).save(buffer, "PNG", **options or {"compress_level": 1})
    return buffer.getvalue()


def captions(folder: Path) -> dict[str, dict]:
    """What has been saved in a folder: {name: {"file", "caption", "alt"}}."""
    path = folder / "captions.json"
    return read_json(path) if path.exists() else {}


def _encode_gif(frames: np.ndarray, fps: float, scale: int, colors: int) -> bytes:
    # One palette for the whole film: unchanged pixels then stay unchanged, and a viewer sees no
    # flicker. It is made from a sample of the frames, laid under each other.
    sample = frames[np.linspace(0, len(frames) - 1, min(len(frames), 48)).astype(int)]
    palette = Image.fromarray(np.concatenate(sample)).quantize(colors, Image.Quantize.MEDIANCUT)
    quantized = (Image.fromarray(f).quantize(palette=palette, dither=0) for f in frames)
    pages = [ImageOps.scale(page, scale, Image.Resampling.NEAREST) for page in quantized]
    # GIF counts in hundredths of a second, and pages that are equal would be merged into one.
    timing = {"duration": max(2, round(100 / fps)) * 10, "loop": 0, "disposal": 1}
    buffer = io.BytesIO()
    pages[0].save(buffer, "GIF", save_all=True, append_images=pages[1:], optimize=False, **timing)
    return buffer.getvalue()


def _check(picture, dimensions: int) -> np.ndarray:
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != dimensions or picture.shape[-1] != 3:
        wanted = "[T, H, W, 3]" if dimensions == 4 else "[H, W, 3]"
        raise AwmError(
            f"A picture is uint8 {wanted}, but this is {picture.dtype} {list(picture.shape)}. "
            "Turn V's output into frames with `to_frames` first."
        )
    return picture


def _publish(folder: Path, name: str, files: dict[str, bytes], words: dict) -> Picture:
    """Write a picture and its words, and show both; `files` by suffix, the picture first."""
    if not name or Path(name).name != name or Path(name).suffix:
        raise AwmError(f"{name!r} is no name for a figure. Use a plain one such as 'rollout'.")
    words = {**CAPTIONS.get(name, {}), **words}
    try:
        caption = words["caption"].format(**words)
    except KeyError as missing:
        raise AwmError(
            f"The caption of {name!r} lacks {missing}. Pass it to `save` by that name."
        ) from None
    for suffix in (*files, "svg", "narrow.svg"):
        path = Path(folder) / f"{name}.{suffix}"
        if suffix in files:
            with atomic(path) as temporary:
                temporary.write_bytes(files[suffix])
        else:
            path.unlink(missing_ok=True)  # of a picture that it was before
    picture = Picture(folder) / f"{name}.{next(iter(files))}"
    entry = {"file": picture.name, "caption": caption, "alt": words.get("alt", caption)}
    # Notebooks may run side by side; git ignores names like this one.
    with FileLock(picture.parent / ".captions.tmp"):
        entries = {**captions(picture.parent), name: entry}
        write_json(picture.parent / "captions.json", dict(sorted(entries.items())))
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):  # this is a notebook
        _show(picture, entry)
    return picture


def _show(path: Path, entry: dict) -> None:
    """A picture and its caption, in a notebook."""
    from IPython.display import display

    with Image.open(path) as picture:
        width = min(COLUMN, picture.width // (1 if path.suffix == ".gif" else 2))
    data = base64.b64encode(path.read_bytes()).decode()
    figure = (
        f'<figure class="awm-figure" id="figure-{path.stem}" style="margin: 1em 0">'
        f'<img src="data:image/{path.suffix[1:]};base64,{data}" alt="{html.escape(entry["alt"])}" '
        f'width="{width}" style="max-width: 100%; height: auto; background: white">'
        f"<figcaption>{html.escape(entry['caption'])}</figcaption></figure>"
    )
    display({"text/html": figure, "text/plain": entry["caption"]}, raw=True)
