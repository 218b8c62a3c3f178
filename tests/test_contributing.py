"""CONTRIBUTING's examples, as they are printed: each patch is applied to a copy of the package, and
what follows it is run there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from awm.ids import ATTENTIONS
from awm.models.attention import BUILT
from awm.study import verdicts

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
EXAMPLES = ("An attention of your own in an hour", "Another kind of M", "Another controller")

#: Runs blocks one after another; commands in this process, with short episodes and no workers.
RUN = """
import json, shlex, sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from awm import cli, processes
from awm.worlds import lanes

processes.pool = lambda workers=None: ThreadPoolExecutor(1)
lanes.MAX_EPISODE_STEPS = 12
for language, block in json.load(sys.stdin):
    if language == "python":
        exec(block, {})
        continue
    for line in block.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        if command == "python":
            status = pytest.main([*arguments[2:], "-q", "-p", "no:cacheprovider"])
        else:
            status = cli.main(arguments)
        assert status == 0, line
print("ran", __import__("awm").__file__)
"""


def blocks(title: str) -> list[tuple[str, str]]:
    """The code blocks of a section, in order: (language, code)."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="patches are applied by git")
@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_works_as_it_is_printed(title, tmp_path, synthetic_ws):
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "racing")
    for name in ("awm", "tests/models"):
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    # What numba has compiled lies beside the simulator's source.
    (checkout / "awm/racing").symlink_to(ROOT / "awm/racing")
    for name in ("tests/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout / name)
    shutil.copytree(synthetic_ws.root / "data", tmp_path / "data")

    (_, patch), *rest = blocks(title)
    command = ["git", "apply", "--directory=checkout", "-"]
    # Not the repository's git, wherever temporary folders lie.
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    applied = subprocess.run(
        command, input=patch, cwd=tmp_path, env=outside, capture_output=True, text=True
    )
    assert applied.returncode == 0, applied.stderr

    told = json.dumps(rest).replace("quick", "smoke")
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        input=told,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "AWM_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert f"ran {checkout}" in ran.stdout, "the copy was run, and all of it"


def test_the_sections_are_examples():
    for title in EXAMPLES:
        (first, _), *rest = blocks(title)
        assert first == "diff" and {language for language, _ in rest} == {"python", "sh"}


def test_every_attention_is_built_and_spoken_of():
    assert set(BUILT) - {"even"} == set(ATTENTIONS) == set(verdicts._LOOKS_AT)
