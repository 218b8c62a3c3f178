"""What is promised beside the code: versions, files, commands in the README, and the Makefile."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

import awm
from awm import cli
from awm.ids import Agent
from awm.store import Workspace
from tests.test_rooms import ROOMS

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
README = (ROOT / "README.md").read_text()
PACKAGE = Path(awm.__file__).parent
needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


# Versions


def required(*extras: str) -> list[Requirement]:
    """What the package and some extras need, extras of extras too."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            needed = Requirement(line)
            if needed.name == "awm":
                lines += [other for e in needed.extras for other in map(str, required(e))]
            else:
                lines.append(line)
    return [Requirement(line) for line in dict.fromkeys(lines)]


def locked() -> dict[str, str]:
    """{name: version} of requirements.lock."""
    found = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, separator, version = line.partition("==")
            assert separator and re.fullmatch(r"[\w.]+", version), f"no exact version: {line}"
            found[canonicalize_name(name)] = version
    return found


def test_the_ranges_hold_the_locks_versions():
    versions = locked()
    for needed in required("test"):
        version = versions[canonicalize_name(needed.name)]
        assert needed.specifier and needed.specifier.contains(version), (needed, version)
    assert versions["gymnasium"] == "1.4.0", "the rules of a lap are this version's"


def test_the_lock_is_what_the_direct_dependencies_need():
    """All that is installed for them is locked, at the version that is installed."""
    versions, todo, seen = locked(), required("test"), set()
    while todo:
        needed = todo.pop()
        name = canonicalize_name(needed.name)
        # Accelerator libraries come along with some builds of torch and are not ours to pin.
        if name.startswith(("nvidia-", "cuda-", "triton")):
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
        assert versions.get(name) == installed.version.split("+")[0], name
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
    assert "://" not in text and not re.search(r"^-", text, flags=re.M)
    assert not any("+" in version for version in locked().values())


def test_conda_users_get_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (from_pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert from_pip == ["-r requirements.lock", "-e ."]
    assert "python=3.11" in environment["dependencies"]
    assert PROJECT["requires-python"].startswith(">=3.11")


#: Never imported by name: what notebooks and pages run in, and what Gymnasium needs.
RUN_IN = {"box2d", "ipykernel", "jupyterlab"}


def test_what_is_imported_is_required_and_the_other_way_round():
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).split(".")[0])
    # Some libraries are told of by more than one distribution.
    sources = packages_distributions()
    outside = imported - set(sys.stdlib_module_names) - {"awm"}
    needed = {canonicalize_name(r.name) for r in required("cluster")}
    foreign = {n for n in outside if not {*map(canonicalize_name, sources[n])} & needed}
    assert foreign == set(), "imported, and not required"
    used = {canonicalize_name(d) for name in outside for d in sources[name]}
    assert needed - used - RUN_IN == set(), "required, and never imported"


def test_an_extra_that_is_named_somewhere_exists():
    extras = set(PROJECT["optional-dependencies"])
    texts = [README, (ROOT / "Makefile").read_text()]
    texts += [path.read_text() for path in (*PACKAGE.rglob("*.py"), *ROOT.glob("examples/*.py"))]
    named = {e for text in texts for e in re.findall(r"(?:awm|'\.)\[(\w+)\]", text)}
    assert {"cluster", "rl"} <= named <= extras


def test_the_same_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (latest, date), *_ = re.findall(
        r"^## ([\d.]+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert citation["version"] == latest == awm.__version__
    assert str(citation["date-released"]) == date
    holder = re.search(r"Copyright \(c\) \d{4} (.*)", (ROOT / "LICENSE").read_text())[1]
    assert [author["name"] for author in citation["authors"]] == [holder]
    assert citation["license"] == PROJECT["license"]


def test_commits_are_checked_by_the_locks_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"], "nothing is fetched"
    tools = set()
    for hook in hooks[0]["hooks"]:
        assert hook["language"] == "system"
        tools.add(re.fullmatch(r"\.venv/bin/(\w+)", hook["entry"].split()[0])[1])
    assert tools == {"ruff", "basedpyright"} <= locked().keys()


# Files


def test_every_file_of_the_package_is_installed():
    patterns = SETUPTOOLS["package-data"]["awm"]
    data = {path for pattern in patterns for path in PACKAGE.glob(pattern) if path.is_file()}
    files = {path for path in PACKAGE.rglob("*") if path.is_file()}
    files = {path for path in files if "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} == data
    assert {path.suffix for path in data} >= {".toml", ".json", ".j2", ".md", ".js"}
    found = find_packages(ROOT, include=SETUPTOOLS["packages"]["find"]["include"])
    code = {path.parent for path in files if path.suffix == ".py"}
    assert {PACKAGE.parent / name.replace(".", "/") for name in found} == code


def test_the_site_is_the_committed_report():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())
    steps = workflow["jobs"]["deploy"]["steps"]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", name) for name in uses), uses
    (folder,) = [step["with"]["path"] for step in steps if "path" in step.get("with", {})]
    assert (ROOT / folder / "index.html").exists()


@needs_git
def test_git_ignores_data_but_not_what_is_pretrained():
    def ignored(path):
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0

    assert ignored("data/quick/vae.safetensors")
    assert ignored(".venv/bin/python")
    assert not ignored("data/pretrained/paper/vae.safetensors")
    assert not ignored("report/index.html")
    assert not ignored("images/MDP.png")


@needs_git
def test_no_file_names_a_place_on_somebodys_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    places = ["/home/[a-z]", "/root/", "/Users/[A-Za-z]", re.escape(f"{ROOT}/"), r"index[-_]url\b"]
    place = re.compile(rb"(?<![\w.])(" + "|".join(places).encode() + rb")")
    for name in filter(None, listed):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content[:8000]:
            found = place.search(content)
            assert not found, f"{name}: {content[found.start() - 40 : found.end() + 40]}"


# The README


def commands() -> list[list[str]]:
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words[:1] == ["awm"]]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_the_readmes_commands_exist(arguments, monkeypatch):
    """Every command and option is read as one; what they do is not done."""
    import typer

    command, context = typer.main.get_command(cli.app), None
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    context = command.make_context(name, arguments)
    if "agent" in context.params:
        agent = Agent.parse(context.params["agent"])
        assert str(agent) == context.params["agent"], "in full"


def test_the_readme_shows_every_command():
    import typer

    names = set(typer.main.get_command(cli.app).commands)
    assert {arguments[0] for arguments in commands()} == names


def test_the_readmes_python_runs(synthetic_ws, workspace, monkeypatch):
    from synthetic import log_generation

    from awm.widgets import panel

    def missing(message):
        raise AssertionError(message)

    shutil.copytree(synthetic_ws.root / "data", workspace / "data")
    log_generation(Workspace.open("smoke"))
    monkeypatch.setattr(panel, "Notice", missing)
    space = {}
    for block in blocks(README, "python"):
        exec(re.sub("quick|paper", "smoke", block), space)
    assert {"env", "envs", "widgets", "mine"} <= space.keys()
    space["env"].close()
    space["envs"].close()


def test_the_readme_lists_the_rooms_in_their_order():
    table = README.split("The rooms of `awm`")[1].split("\n\n")[1].splitlines()[2:]
    listed = [name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert listed == [*reversed(ROOMS)]


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text()
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
        targets += re.findall(r"`((?:awm|tests|notebooks|examples|benchmarks)/[\w./]*)`", text)
        for target in targets:
            assert (ROOT / target).exists(), (name, target)


# The Makefile

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments, cwd=ROOT, **options):
    return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True, **options)


@needs_make
def test_make_alone_explains_itself_and_the_readme_agrees():
    for arguments in ((), ("help",)):
        shown = make(*arguments)
        assert shown.returncode == 0
        targets = set(re.findall(r"^make (\w+)", shown.stdout, re.MULTILINE))
    assert {"report", "test", "bench", "lab", "app", "lint", "clean"} <= targets
    texts = README + (ROOT / "CONTRIBUTING.md").read_text()
    assert set(re.findall(r"(?:`|^)make (\w+)", texts, re.MULTILINE)) <= targets


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
def test_make_installs_what_its_target_needs_and_hands_its_options_on(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".core").touch()

    def command(target, *arguments):
        return " ".join(make("-n", target, *arguments, cwd=tmp_path).stdout.split())

    assert ".venv/bin/awm report" in command("report")
    assert "--" not in command("report").split("awm report")[1]
    assert "pip" not in command("report"), "all is there"
    assert "--profile 'quick'" in command("report", "PROFILE=quick")
    assert "--retrain" in command("report", "PROFILE=quick", "RETRAIN=1")
    assert "--retrain" not in command("report", "PROFILE=quick", "RETRAIN=0")
    for target, extra in (("test", "test"), ("lint", "test"), ("app", "app")):
        installs = command(target)
        assert "-c requirements.lock" in installs and f"-e '.[{extra}]'" in installs
    assert "-k report" in command("test", "PYTEST_ARGS=-k report")


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
