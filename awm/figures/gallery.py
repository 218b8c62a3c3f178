"""Pictures on disk: `images/<name>.png` or `.gif`, and what they show in `images/captions.json`.

In a notebook each `save` also shows the picture with its caption, so that a page exported from
the notebook carries both, and a text for those who cannot see it.
"""

import base64
import html
import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from awm.config import images_dir
from awm.errors import AwmError
from awm.figures.theme import DPI
from awm.provenance import atomic, read_json, write_json

try:
    import fcntl
except ImportError:  # Windows: a notebook at a time is still safe
    fcntl = None

#: Screen pixels of the report's column; pictures are stored at up to twice as many.
COLUMN = 700


class Picture(type(Path())):
    """The path of a saved picture. A notebook has shown it already, so it displays as nothing."""

    def _ipython_display_(self) -> None:
        pass


def save(fig, name: str, caption: str, alt: str | None = None) -> Path:
    """Write a figure to `images/<name>.png`, remember its caption, and show both in a notebook.

    `caption` is one or more sentences for the reader; `alt` describes the picture to someone
    who cannot see it (the caption if None). A name that exists is replaced.
    """
    path = _place(name, "png")
    with atomic(path) as temporary:
        # Without the version of matplotlib in it, the same figure is the same bytes.
        fig.savefig(temporary, dpi=DPI, facecolor="white", metadata={"Software": None})
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    return _publish(path, caption, alt)


def save_image(images, name: str, caption: str, alt: str | None = None, scale=None) -> Path:
    """Write frames, pixel for pixel, to `images/<name>.png`.

    `images` is uint8 [H, W, 3], or a list of them (or [N, H, W, 3]) that is laid side by side.
    Each pixel becomes a square of `scale`; by default as large as the column allows, at most 6.
    """
    pictures = [images] if np.ndim(images) == 3 else list(images)
    pictures = [_check(picture, 3) for picture in pictures]
    if len({picture.shape[0] for picture in pictures}) != 1:
        raise AwmError("Pictures side by side need one height. Pass one picture, or equal ones.")
    width = sum(picture.shape[1] for picture in pictures)
    gaps = 16 * (len(pictures) - 1)
    scale = scale or int(np.clip((2 * COLUMN - gaps) // width, 1, 6))
    height = pictures[0].shape[0] * scale
    strip = np.full((height, width * scale + gaps, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        large = enlarge(picture, scale)
        strip[:, left : left + large.shape[1]] = large
        left += large.shape[1] + 16
    path = _place(name, "png")
    with atomic(path) as temporary:
        Image.fromarray(strip).save(temporary, optimize=True)
    return _publish(path, caption, alt)


def save_gif(
    frames,
    name: str,
    caption: str,
    fps: float = 25,
    scale: int = 4,
    alt: str | None = None,
    max_bytes: int = 2_500_000,
) -> Path:
    """Write an animation to `images/<name>.gif`, repeating for ever.

    `frames` is uint8 [T, H, W, 3], shown at `fps` a second and enlarged `scale` times. If the
    file would exceed `max_bytes`, colours are merged first, then every second frame is left out
    (at half the rate: the speed stays), then the picture is made smaller.
    """
    frames = _check(frames, 4)
    if not len(frames):
        raise AwmError("An animation needs at least one frame. Pass frames [T, H, W, 3].")
    data = _encode_gif(frames, fps, scale, 128)
    for colors, every, size in ((64, 1, scale), (64, 2, scale), (32, 2, scale), (32, 3, 2)):
        if len(data) <= max_bytes:
            break
        data = _encode_gif(frames[::every], fps / every, min(size, scale), colors)
    path = _place(name, "gif")
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    return _publish(path, caption, alt)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of [..., H, W, 3] as a square of `scale` pixels."""
    return picture.repeat(scale, axis=-3).repeat(scale, axis=-2)


def encode_png(picture: np.ndarray, scale: int = 1) -> bytes:
    """A uint8 picture [H, W, 3] as PNG, quickly rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(enlarge(picture, scale)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def captions() -> dict[str, dict]:
    """What has been saved: {name: {"file", "caption", "alt"}}."""
    path = images_dir() / "captions.json"
    return read_json(path) if path.exists() else {}


def _encode_gif(frames: np.ndarray, fps: float, scale: int, colors: int) -> bytes:
    # One palette for the whole film: unchanged pixels then stay unchanged, and a viewer sees no
    # flicker. It is made from a sample of the frames, laid under each other.
    sample = frames[np.linspace(0, len(frames) - 1, min(len(frames), 48)).astype(int)]
    palette = Image.fromarray(sample.reshape(-1, frames.shape[2], 3)).quantize(
        colors, method=Image.Quantize.MEDIANCUT
    )
    pages = [
        Image.fromarray(frame)
        .quantize(palette=palette, dither=Image.Dither.NONE)
        .resize((frame.shape[1] * scale, frame.shape[0] * scale), Image.Resampling.NEAREST)
        for frame in frames
    ]
    buffer = io.BytesIO()
    # GIF counts in hundredths of a second, and pages that are equal would be merged into one.
    duration = max(2, round(100 / fps)) * 10
    pages[0].save(
        buffer, "GIF", save_all=True, append_images=pages[1:], duration=duration, loop=0,
        optimize=False, disposal=1,
    )  # fmt: skip
    return buffer.getvalue()


def _check(picture, dimensions: int) -> np.ndarray:
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != dimensions or picture.shape[-1] != 3:
        wanted = "[T, H, W, 3]" if dimensions == 4 else "[H, W, 3]"
        raise AwmError(
            f"A picture is uint8 {wanted}, but this is {picture.dtype} {list(picture.shape)}. "
            "Turn V's output into frames with awm.vae.to_frames first."
        )
    return picture


def _place(name: str, suffix: str) -> Path:
    if not name or Path(name).name != name or Path(name).suffix:
        raise AwmError(f"{name!r} is no name for a figure. Use a plain one such as 'rollout'.")
    return images_dir() / f"{name}.{suffix}"


def _publish(path: Path, caption: str, alt: str | None) -> Picture:
    entry = {"file": path.name, "caption": caption, "alt": alt or caption}
    with _exclusive(path.parent):
        entries = {**captions(), path.stem: entry}
        write_json(path.parent / "captions.json", dict(sorted(entries.items())))
    _show(path, entry)
    return Picture(path)


@contextmanager
def _exclusive(folder: Path):
    """One process at a time between reading captions.json and replacing it."""
    if fcntl is None:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _show(path: Path, entry: dict) -> None:
    """Show a picture and its caption, if this is a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    from IPython.display import display

    with Image.open(path) as picture:
        width = min(COLUMN, picture.width // (1 if path.suffix == ".gif" else 2))
    data = base64.b64encode(path.read_bytes()).decode()
    kind = path.suffix.removeprefix(".")
    figure = (
        f'<figure class="awm-figure" id="figure-{path.stem}" style="margin: 1em 0">'
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(entry["alt"])}" '
        f'width="{width}" style="max-width: 100%; height: auto; background: white">'
        f"<figcaption>{html.escape(entry['caption'])}</figcaption></figure>"
    )
    display({"text/html": figure, "text/plain": entry["caption"]}, raw=True)
