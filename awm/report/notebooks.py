"""The whole study: every notebook in order with papermill, then the report.

A notebook runs in a kernel of this very interpreter. Its executed copy is kept at
`data/<profile>/notebooks/<name>.ipynb`, with a manifest beside it that holds the wall time;
a notebook that fails leaves `<name>.failed.ipynb` instead and the report as it was.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillException, PapermillExecutionError

from awm import store
from awm.config import Profile
from awm.errors import AwmError
from awm.report import build
from awm.store import Workspace

_DAMAGED = (PapermillException, nbformat.reader.NotJSONError, nbformat.ValidationError)


def source(workspace: Workspace) -> Path:
    """The notebooks of the workspace or, when it has none (as in tests), of the checkout."""
    own = workspace.root / "notebooks"
    return own if any(own.glob("[0-9][0-9]_*.ipynb")) else store.CHECKOUT / "notebooks"


def select(folder: Path, only: Sequence[str] | None = None) -> list[Path]:
    """The numbered notebooks of a folder in order, or those that `only` names.

    A name is a notebook's number or name: `02`, `2`, `02_vae`, `vae`, `02_vae.ipynb`.

    Raises:
        AwmError: when the folder holds none, or `only` names one that is not there.
    """
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        raise AwmError(f"There is no numbered notebook in {folder}. Check the checkout out anew.")
    chosen = set()
    for name in only or [path.stem for path in every]:
        stem = name.removesuffix(".ipynb")
        found = {p for p in every if stem in (p.stem, p.stem[3:]) or stem.zfill(2) == p.stem[:2]}
        if not found:
            names = ", ".join(path.stem for path in every)
            raise AwmError(f"There is no notebook {name!r}. Choose among: {names}.")
        chosen |= found
    return sorted(chosen)


def run(
    profile: Profile | str | Workspace, retrain: bool = False, only: Sequence[str] | None = None
) -> Path:
    """Run the notebooks in order and build the report; returns the path of its `index.html`.

    Args:
        profile: its name is injected into every notebook as `profile`.
        retrain: start from nothing. What an earlier run left in `data/<profile>` is moved
            aside, and what is committed does not stand in. A retraining that was interrupted goes
            on where it stopped.
        only: run only these notebooks (see `select`); the report shows the others as the last
            run left them.

    Raises:
        AwmError: when a notebook fails; the report is then not touched.
    """
    workspace = Workspace.open(profile)
    selected = select(source(workspace), only)
    # Papermill warns about cells that it cannot know of, such as a missing `parameters` tag.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with _training_anew(workspace) if retrain else nullcontext():
        for position, path in enumerate(selected, start=1):
            _run_one(workspace, path, f"{position}/{len(selected)} {path.stem}")
    print("building the report", file=sys.stderr)
    return build.build(workspace)


def _run_one(workspace: Workspace, path: Path, title: str) -> None:
    """Execute one notebook; its copy takes the final name only when all went well."""
    done = workspace.own / "notebooks" / path.name
    running, failed = (done.with_suffix(f".{state}.ipynb") for state in ("running", "failed"))
    done.parent.mkdir(parents=True, exist_ok=True)
    started, terminal = time.monotonic(), sys.stderr.isatty()
    try:
        papermill.execute_notebook(
            path,
            running,
            parameters={"profile": workspace.profile.name},
            kernel_name="python3",
            kernel_manager_class=_ThisInterpreter,
            language="python",
            cwd=path.parent,
            # What long cells say, such as their progress bars, is shown as it comes, and kept
            # as a terminal would show it in the end.
            stderr_file=sys.stderr,
            coalesce_streams=True,
            progress_bar={
                "desc": title,
                "file": sys.stderr,
                "dynamic_ncols": True,
                "mininterval": 0.1 if terminal else 10,
            },
        )
    except PapermillExecutionError as error:
        running.replace(failed)
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
    except _DAMAGED as error:
        raise AwmError(
            f"Notebook {path.name} cannot be run: {error} Restore it from the repository."
        ) from error
    except BaseException:
        # The cell that was interrupted is nobody's any more; asyncio would print its traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise
    else:
        running.replace(done)
        failed.unlink(missing_ok=True)
    finally:
        running.unlink(missing_ok=True)
    facts = {"notebook": path.stem, "wall_time_s": round(time.monotonic() - started, 1)}
    store.write_json(done.with_suffix(".json"), store.provenance(workspace.profile) | facts)


class _ThisInterpreter(AsyncKernelManager):
    """The kernel of this interpreter, whatever kernels a user or the system registered."""

    @property
    def kernel_spec(self) -> KernelSpec:
        path = os.pathsep.join(filter(None, [str(store.CHECKOUT), os.environ.get("PYTHONPATH")]))
        return KernelSpec(
            argv=[
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
            display_name="Python 3 (awm)",
            language="python",
            env={
                "PYTHONPATH": path,
                # Bars of one width, and in a log of CI a few of them instead of hundreds.
                "TQDM_NCOLS": "88",
                "TQDM_MININTERVAL": "0.5" if sys.stderr.isatty() else "30",
            },
        )


@contextmanager
def _training_anew(workspace: Workspace) -> Iterator[None]:
    """Start from an empty `data/<profile>`, or go on with a retraining that was interrupted."""
    here, marker = workspace.own, workspace.own / "retraining.json"
    if not workspace.retraining:
        if here.exists() and any(here.iterdir()):
            aside = here.with_name(f"{here.name}.before-{datetime.now():%Y%m%d-%H%M%S}")
            here.rename(aside)
            print(f"what {here} held is kept in {aside}", file=sys.stderr)
            Workspace.open(workspace.profile, workspace.root)  # one of your own is kept in there
        store.write_json(marker, store.provenance(workspace.profile))
    yield
    marker.unlink(missing_ok=True)
