"""The whole study: every notebook in order with papermill, then the report.

A notebook runs in a kernel of this very interpreter. Its executed copy is kept at
`data/<profile>/notebooks/<name>.ipynb`, with a manifest beside it that holds the wall time;
a notebook that fails leaves `<name>.failed.ipynb` instead and the report as it was.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillException, PapermillExecutionError
from tqdm import tqdm

from awm import provenance, report
from awm.config import Profile, data_dir, get_profile, root
from awm.errors import AwmError

REPOSITORY = Path(__file__).parent.parent


def notebooks_dir() -> Path:
    """The notebooks of the workspace or, when it has none (as in tests), of the checkout."""
    own = root() / "notebooks"
    return own if any(own.glob("[0-9][0-9]_*.ipynb")) else REPOSITORY / "notebooks"


def select(folder: Path, only: Sequence[str] | None = None) -> list[Path]:
    """The numbered notebooks of a folder in order, or those that `only` names.

    A name is a notebook's number or name: `02`, `2`, `02_vae`, `vae`, `02_vae.ipynb`.

    Raises AwmError when the folder holds none, or `only` names one that is not there.
    """
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        raise AwmError(f"There is no numbered notebook in {folder}. Check the checkout out anew.")
    if not only:
        return every
    chosen = set()
    for name in only:
        stem = name.removesuffix(".ipynb")
        number = stem.zfill(2)
        found = [p for p in every if stem in (p.stem, p.stem[3:]) or number == p.stem[:2]]
        if not found:
            names = ", ".join(path.stem for path in every)
            raise AwmError(f"There is no notebook {name!r}. Choose among: {names}.")
        chosen.update(found)
    return [path for path in every if path in chosen]


def run(
    profile: Profile | str,
    retrain: bool = False,
    only: Sequence[str] | None = None,
    *,
    notebooks: Path | None = None,
) -> Path:
    """Run the notebooks in order and build the report; returns the path of its `index.html`.

    Args:
        profile: a profile or its name; injected into every notebook as `profile`.
        retrain: start from nothing. What an earlier run left in `data/<profile>` is moved
            aside, and `AWM_RETRAIN=1` tells the stages to leave `data/pretrained` alone. A
            retraining that was interrupted goes on where it stopped.
        only: run only these notebooks (see `select`); the report shows the others as the last
            run left them.
        notebooks: the folder that holds them, when it is not the usual one.

    Raises AwmError when a notebook fails; the report is then not touched.
    """
    profile = get_profile(profile)
    selected = select(notebooks or notebooks_dir(), only)
    executed = data_dir(profile) / "notebooks"
    with _training_anew(profile) if retrain else _nothing():
        executed.mkdir(parents=True, exist_ok=True)
        with _kernel_of_this_interpreter() as kernel:
            for position, path in enumerate(selected, start=1):
                _run_one(path, executed, profile, kernel, f"{position}/{len(selected)}")
    print("building the report", file=sys.stderr)
    return report.build(profile)


def _run_one(path: Path, executed: Path, profile: Profile, kernel: str, place: str) -> None:
    """Execute one notebook; its copy takes the final name only when all went well."""
    done = executed / path.name
    running = executed / f"{path.stem}.running.ipynb"
    failed = executed / f"{path.stem}.failed.ipynb"
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    try:
        with _NewestLine(path.stem, terminal) as newest:
            papermill.execute_notebook(
                path,
                running,
                parameters={"profile": profile.name},
                kernel_name=kernel,
                language="python",
                cwd=path.parent,
                stderr_file=newest,
                progress_bar={
                    "desc": f"{place} {path.stem}",
                    "file": sys.stderr,
                    "dynamic_ncols": True,
                    "mininterval": 0.1 if terminal else 10,
                },
                log_output=False,
            )
    except PapermillExecutionError as error:
        running.replace(failed)
        _settle_progress_bars(failed)
        raise AwmError(
            f"Notebook {path.name} stopped in cell [{error.exec_count}] with "
            f"{error.ename}: {error.evalue}\n"
            f"The executed copy, with the traceback, is {failed}. Finished stages are kept: "
            "mend the cause and run the same command again."
        ) from error
    except DeadKernelError as error:
        running.replace(failed)
        raise AwmError(
            f"Notebook {path.name} stopped: its kernel died, most often for want of memory.\n"
            f"The executed copy is {failed}. Finished stages are kept: free some memory, or "
            "choose a smaller profile, and run again."
        ) from error
    except (PapermillException, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        running.unlink(missing_ok=True)
        raise AwmError(
            f"Notebook {path.name} cannot be run: {error} Restore it from the repository."
        ) from error
    except BaseException:
        # The cell that was interrupted is nobody's any more; asyncio would print its traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        running.unlink(missing_ok=True)
        raise
    _settle_progress_bars(running)
    running.replace(done)
    failed.unlink(missing_ok=True)
    provenance.write_json(
        done.with_suffix(".json"),
        provenance.record(
            profile, notebook=path.stem, wall_time_s=round(time.monotonic() - started, 1)
        ),
    )


class _NewestLine:
    """A file-like place for a notebook's stderr that shows its newest line below the bar.

    Long loops draw a tqdm bar of their own in the kernel; this is where it is seen. Away from a
    terminal (a log of CI) it prints one line in half a minute instead of a hundred.
    """

    def __init__(self, name: str, terminal: bool):
        self.name = name
        self.terminal = terminal
        self.next_line_at = 0.0

    def __enter__(self) -> "_NewestLine":
        self.bar = (
            tqdm(position=1, bar_format="{desc}", leave=False, dynamic_ncols=True, file=sys.stderr)
            if self.terminal
            else None
        )
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()

    def write(self, text: str) -> int:
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        if lines and self.bar is not None:
            self.bar.set_description_str("    " + lines[-1].strip())
        elif lines and time.monotonic() >= self.next_line_at:
            self.next_line_at = time.monotonic() + 30
            print(f"    {self.name}: {lines[-1].strip()}", file=sys.stderr, flush=True)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def _settle_progress_bars(path: Path) -> None:
    """Keep only what a terminal would show: of each line, what follows its last carriage return.

    Every redraw of a bar is an output of its own at first; they are joined before.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        joined: list[nbformat.NotebookNode] = []
        for output in cell.outputs:
            if joined and _same_stream(joined[-1], output):
                joined[-1].text += output.text
            else:
                joined.append(output)
        for output in joined:
            if output.output_type == "stream" and "\r" in output.text:
                lines = output.text.replace("\r\n", "\n").split("\n")
                output.text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
        cell.outputs = joined
    with provenance.atomic(path) as temporary:
        nbformat.write(notebook, temporary)


def _same_stream(one: nbformat.NotebookNode, other: nbformat.NotebookNode) -> bool:
    return one.output_type == other.output_type == "stream" and one.name == other.name


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _kernel_of_this_interpreter() -> Iterator[str]:
    """For a while, the kernel named `python3` is this interpreter, whatever is installed.

    A kernel that a user or the system registered under that name may belong to another
    environment, and a bare machine has none. JUPYTER_PATH is looked at before all other places.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    specification = {
        "argv": [
            sys.executable,
            "-Xfrozen_modules=off",  # otherwise the debugger warns on stderr
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--IPKernelApp.log_level=ERROR",
            # Progress bars as text on stderr, where this process can show them, not as widgets.
            "--IPKernelApp.exec_lines=import tqdm, tqdm.auto; tqdm.auto.tqdm = tqdm.tqdm",
        ],
        "display_name": "Python 3 (awm)",
        "language": "python",
        # Bars of one width, whatever terminal the notebooks were run from.
        "env": {"PYTHONPATH": path, "TQDM_NCOLS": "88", "TQDM_MININTERVAL": "0.5"},
    }
    # Papermill warns about cells that it cannot know of, such as a missing `parameters` tag.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    before = os.environ.get("JUPYTER_PATH")
    with TemporaryDirectory(prefix="awm-kernel-") as folder:
        kernel = Path(folder) / "kernels" / "python3"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(specification))
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before]))
        try:
            yield "python3"
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


@contextmanager
def _training_anew(profile: Profile) -> Iterator[None]:
    """Start from an empty `data/<profile>`, or go on with a retraining that was interrupted."""
    here = data_dir(profile)
    marker = here / "retraining.json"
    if not marker.exists():
        if here.exists() and any(here.iterdir()):
            aside = here.with_name(f"{here.name}.before-{datetime.now():%Y%m%d-%H%M%S}")
            here.rename(aside)
            print(f"what {here} held is kept in {aside}", file=sys.stderr)
        provenance.write_json(marker, provenance.record(profile))
    before = os.environ.get("AWM_RETRAIN")
    os.environ["AWM_RETRAIN"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AWM_RETRAIN"]
        else:
            os.environ["AWM_RETRAIN"] = before
    marker.unlink(missing_ok=True)
