"""One set of versions in three files, and a Makefile that says what is wrong."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import awm

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lines) -> dict[str, str]:
    """`name[extra]==version` lines as {normalised name: version}."""
    found = {}
    for line in lines:
        name, separator, version = line.partition("==")
        assert separator and re.fullmatch(r"[\w.]+", version), f"not an exact version: {line}"
        found[re.sub(r"[-_.]+", "-", name.split("[")[0]).lower()] = version
    return found


def direct() -> list[str]:
    return PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_every_direct_dependency_is_pinned_exactly():
    assert pins(direct())["gymnasium"] == "1.4.0"


def test_the_lock_holds_the_direct_versions():
    locked = pins(lock_lines())
    assert {name: locked.get(name) for name in pins(direct())} == pins(direct())


def test_the_lock_is_what_the_direct_dependencies_need():
    """All that is installed for the direct ones is locked, at the version that is installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    locked, todo, seen = pins(lock_lines()), [Requirement(line) for line in direct()], set()
    while todo:
        needed = todo.pop()
        name = re.sub(r"[-_.]+", "-", needed.name).lower()
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
        # Accelerator libraries come along with some builds of torch and are not ours to pin.
        if name.startswith(("nvidia-", "cuda-", "triton")):
            continue
        assert locked.get(name) == installed.version.split("+")[0], name
        for extra in ("", *needed.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in installed.requires or ():
                requirement = Requirement(line)
                marker = requirement.marker
                if marker is None or marker.evaluate({"extra": extra}):
                    todo.append(requirement)


def test_the_lock_names_no_index_and_no_local_build():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, flags=re.M)
    assert "+" not in "".join(lock_lines())


def test_conda_users_get_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (from_pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert from_pip[-1] == "-e ."
    assert sorted(from_pip[:-1]) == sorted(direct())
    assert "python=3.11" in environment["dependencies"]
    assert PROJECT["requires-python"].startswith(">=3.11")


def test_the_templates_are_packaged():
    template = Path(awm.__file__).parent / "report_template"
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = Path(awm.__file__).parent
    packaged = {p for pattern in tools["package-data"]["awm"] for p in package.glob(pattern)}
    files = {p for p in template.rglob("*") if p.is_file()}
    assert files and files <= packaged


def test_git_ignores_data_but_not_what_is_pretrained():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")

    def ignored(path):
        return subprocess.run([git, "check-ignore", "-q", path], cwd=ROOT).returncode == 0

    assert ignored("data/quick/vae.safetensors")
    assert ignored(".venv/bin/python")
    assert not ignored("data/pretrained/paper/vae.safetensors")
    assert not ignored("report/index.html")
    assert not ignored("images/MDP.png")


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments, cwd=ROOT, **options):
    return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True, **options)


@needs_make
def test_make_alone_explains_itself():
    for arguments in ((), ("help",)):
        shown = make(*arguments)
        assert shown.returncode == 0
        for target in ("report", "test", "lab", "app", "clean"):
            assert f"make {target}" in shown.stdout


@needs_make
def test_make_names_the_pythons_it_can_use(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    failed = make("test", f"PYTHON={old}", cwd=tmp_path)
    assert failed.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed" in failed.stderr
    assert "3.9.2" in failed.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_make_report_hands_its_options_on(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()

    def command(*arguments):
        return " ".join(make("-n", "report", *arguments, cwd=tmp_path).stdout.split())

    assert ".venv/bin/awm report" in command()
    assert "--" not in command()
    assert "--profile 'quick'" in command("PROFILE=quick")
    assert "--retrain" in command("PROFILE=quick", "RETRAIN=1")
    assert "--retrain" not in command("PROFILE=quick", "RETRAIN=0")


@needs_make
def test_make_clean_keeps_what_took_hours(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("data/quick/a", "data/paper/a", "data/pretrained/a", "report/a", "images/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "awm" / "__pycache__").mkdir(parents=True)
    assert make("clean", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "awm" / "__pycache__").exists()
    assert (tmp_path / "data/quick/a").exists()
    assert make("clean", "PROFILE=quick", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "data/quick").exists()
    refused = make("clean", "PROFILE=pretrained", cwd=tmp_path)
    assert refused.returncode != 0
    assert "smoke, quick, paper" in refused.stderr
    for name in ("data/paper/a", "data/pretrained/a", "report/a", "images/a"):
        assert (tmp_path / name).exists()
