"""The command line: help, what is handed to the stages, and errors in one sentence."""

import os
import shutil
import subprocess
import sys

import pytest

from awm import cli, stages
from awm.config import PRESETS
from awm.errors import AwmError
from awm.ids import PLAIN, Agent, Memory
from awm.store import Workspace

#: Each command with the arguments that it needs.
COMMANDS = [
    ("report",),
    ("collect",),
    ("train", "vae"),
    ("train", "mdn-rnn"),
    ("train", "feature-map"),
    ("evolve", "plain"),
    ("iterate",),
    ("evaluate", "plain"),
    ("publish",),
]


@pytest.fixture
def stage(monkeypatch):
    """Replaces a function of awm by one that records how it was called."""

    def replace(name, result=None):
        calls = []

        def record(*arguments, **keywords):
            calls.append((*arguments, *keywords.values()))
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(f"awm.{name}", record)
        return calls

    return replace


def refused(arguments, capsys) -> str:
    """What a command that must fail says: one line on stderr, and nothing else."""
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and shown.err.count("\n") == 1
    return shown.err


# Help


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    assert "--profile" in capsys.readouterr().out


def test_help_lists_the_commands(capsys):
    assert cli.main(["--help"]) == cli.main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command[0]} " in shown and (command[0] != "train" or command[1] in shown)


@pytest.mark.parametrize("arguments", [[], ["train"]], ids=["awm", "awm train"])
def test_a_command_that_is_left_out_is_answered_with_help(arguments, capsys):
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("Usage: ")


# What is handed on


WOKEN = Agent(Memory(round=3), "dream").on_track()
SEARCH, TRAINED = "evolution.search.evolve", "training.mdn_rnn.train"
ROUND = {"round": 1, "real_steps": 12345, "dreamt": 800.4, "real": -3.2}


@pytest.mark.parametrize(
    ("command", "function", "handed", "result", "said"),
    [
        ("evolve V --workers 2", SEARCH, (Agent(Memory("V")), 2), None, ""),
        ("evolve spatial-1_track-3", SEARCH, (Agent(Memory("spatial", 1), seed=3), None), None, ""),
        ("evolve plain_track_refined", SEARCH, (Agent().refined(), None), None, ""),
        ("evolve plain_dream-tau0.5", SEARCH, (Agent(PLAIN, "dream", 0, 0.5), None), None, ""),
        ("evolve plain-round3_dream_track", SEARCH, (WOKEN, None), None, ""),
        ("evolve plain --cluster tcp://a:8786", SEARCH, (Agent(), "tcp://a:8786"), None, ""),
        ("train mdn-rnn", TRAINED, (PLAIN, "cpu"), None, ""),
        ("train mdn-rnn --kind spatial", TRAINED, (Memory("spatial"), "cpu"), None, ""),
        ("train mdn-rnn --kind wide --seed 2", TRAINED, (Memory("wide", 2), "cpu"), None, ""),
        ("train mdn-rnn --all", f"{TRAINED}_all", (PRESETS["smoke"].memories,), None, ""),
        ("train vae --device auto", "training.vae.train", ("auto",), None, ""),
        ("train feature-map", "training.feature_map.train", (), None, ""),
        ("collect --workers 2", "data.rollouts.collect", (2,), [1, 2, 3], "3 episodes\n"),
        ("store s3://bucket/awm", "data.arrays.keep_at", ("s3://bucket/awm",), None, ""),
        (
            "iterate --kind temporal", "study.rounds.rounds", (Memory("temporal"), None), [ROUND],
            "round 1: 12,345 real steps recorded, 800 dreamt, -3 on the track\n",
        ),
        (
            "report --retrain --only 02,04_attention", "report.notebooks.run",
            (True, ["02", "04_attention"]), "report/index.html", "report/index.html\n",
        ),
        ("publish", "study.publish.publish", (), ["one.json", "two.json"], "one.json\ntwo.json\n"),
    ],
)  # fmt: skip
def test_a_command_hands_its_arguments_on(command, function, handed, result, said, stage, capsys):
    calls = stage(function, result)
    assert cli.main([*command.split(), "--profile", "smoke"]) == 0
    assert calls == [(Workspace.open("smoke"), *handed)]
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("interval", [[700.0, 900.0], None])
def test_evaluate_prints_what_it_found(stage, capsys, interval):
    result = {"agent": "spatial_track", "frames": "reference", "episodes": 2, "mean": 810.0}
    result |= {"std": 10.0, "median": 812.0, "ci95": interval, "finished": 0.5, "over_900": 0.25}
    calls = stage("study.evaluation.evaluate", {**result, "returns": [800.0, 820.0]})
    options = ["--episodes", "2", "--frames", "reference", "--seed", "5"]
    assert cli.main(["evaluate", "spatial", "--profile", "smoke", *options]) == 0
    spatial = Agent(Memory("spatial"))
    assert calls == [(Workspace.open("smoke"), spatial, "reference", 2, 5, None, None)]
    shown = capsys.readouterr().out
    for text in ("810", "812", spatial.label):
        assert text in shown
    assert ("700" in shown) == (interval is not None)


def test_render_only_runs_no_notebook(stage, capsys):
    built = stage("report.build.build", result="report/index.html")
    run = stage("report.notebooks.run")
    assert cli.main(["report", "--profile", "smoke", "--render-only"]) == 0
    assert built == [(Workspace.open("smoke"),)]
    capsys.readouterr()
    for option in (["--retrain"], ["--only", "02"]):
        error = refused(["report", "--profile", "smoke", "--render-only", *option], capsys)
        assert "--render-only" in error
    assert len(built) == 1 and not run


# Profiles


def test_the_default_profile_is_the_committed_study_or_quick(stage, workspace):
    calls = stage("training.vae.train")
    cli.main(["train", "vae"])
    (workspace / "data/pretrained/paper/agents").mkdir(parents=True)
    cli.main(["train", "vae"])
    assert [ws.profile.name for ws, _ in calls] == ["quick", "paper"]


def test_a_profile_of_ones_own(stage, workspace, capsys):
    made = ["profile", "mine", "mdn_rnn.hidden_size=32", "evolution.kinds=('V',)"]
    assert cli.main([*made, "--base", "smoke"]) == 0
    assert capsys.readouterr().out == f"{workspace / 'data/mine'}\n"
    calls = stage("training.vae.train")
    assert cli.main(["train", "vae", "--profile", "mine"]) == 0
    ((ws, _),) = calls
    expected = PRESETS["smoke"].but("mine", mdn_rnn__hidden_size=32, evolution__kinds=("V",))
    assert ws.profile == expected


def test_a_profile_of_ones_own_begins_with_what_it_does_not_change(synthetic_ws, workspace):
    shutil.copytree(synthetic_ws.root / "data", workspace / "data")
    assert cli.main(["profile", "mine", "mdn_rnn.hidden_size=32", "--base", "smoke"]) == 0
    mine = Workspace.open("mine")
    assert mine.manifest(stages.vae(mine.profile)), "V is there and fits"
    assert not mine.find("mdn_rnn/plain.safetensors"), "M is to be trained anew"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine", "mdn_rnn.hidden_size"], "PATH=VALUE"),
        (["mine", "mdn_rnn.hidden_size=many"], "of type int"),
        (["mine", "mdn_rnn.width=3"], "mdn_rnn.width"),
        (["mine", "seed=1", "--base", "huge"], "smoke, quick, paper"),
        (["smoke", "seed=1"], "cannot name"),
        (["pretrained", "seed=1"], "cannot name"),
        (["../mine", "seed=1"], "cannot name"),
        (["mine"], "PATH=VALUE"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(arguments, said, workspace, capsys):
    assert said in refused(["profile", *arguments], capsys)
    assert not list(workspace.iterdir()), "nothing was written"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("profile", ["huge", "", "../smoke", "/tmp"])
def test_an_unknown_profile_is_named_with_the_known_ones(command, profile, workspace, capsys):
    error = refused([*command, "--profile", profile], capsys)
    assert repr(profile) in error and "smoke, quick, paper" in error
    assert not list(workspace.iterdir())


# Mistakes

EVIL = ("../../../evil", "plain/../../evil", "/tmp/evil", "..", "plain_track/../evil", "a\0b", "")


@pytest.mark.parametrize("command", ["evolve", "evaluate"])
@pytest.mark.parametrize("agent", EVIL)
def test_an_agent_cannot_leave_its_folder(command, agent, workspace, stage, capsys):
    called = stage("evolution.search.evolve") or stage("study.evaluation.evaluate")
    assert "Write, for example," in refused([command, agent, "--profile", "smoke"], capsys)
    assert not called and not list(workspace.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "mdn-rnn", "--kind", "clairvoyant"], "untrained, plain, wide, feature"),
        (["train", "mdn-rnn", "--kind", "V"], "Choose a kind of M"),
        (["train", "mdn-rnn", "--kind", "../plain"], "no model"),
        (["train", "mdn-rnn", "--seed", "-1"], "--seed"),
        (["iterate", "--kind", "V"], "needs an M"),
        (["iterate", "--kind", "none"], "no model"),
        (["evolve", "none_track"], "no model"),
        (["evolve", "plain_refined"], "Refine an agent"),
        (["evolve", "V_dream"], "dream needs an M"),
        (["evolve", "plain_dream-tau0"], "temperature"),
        (["evolve", "plain_track-tau0.5"], "temperature"),
        (["evolve", "plain_walk"], "track, dream or refined"),
        (["evolve"], "AGENT"),
        (["evaluate", "plain", "--frames", "blurred"], "fast, reference"),
        (["evaluate", "plain", "--episodes", "0"], "--episodes"),
        (["evaluate", "plain", "--seed", "-1"], "--seed"),
        (["collect", "--workers", "two"], "--workers"),
        (["collect", "--workers", "0"], "--workers"),
        (["collect", "--speed", "9"], "--speed"),
        (["fly"], "fly"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_said_in_one_sentence(arguments, said, capsys):
    assert said in refused(arguments, capsys)


@pytest.mark.parametrize("command", COMMANDS[2:-1], ids=" ".join)
def test_what_is_missing_is_said_with_the_command_that_makes_it(command, capsys):
    error = refused([*command, "--profile", "smoke"], capsys)
    assert "Run `awm " in error and "--profile smoke`" in error


def test_errors_of_stages_have_no_traceback(stage, capsys):
    stage("training.vae.train", AwmError("There are no rollouts. Run `awm collect`."))
    error = refused(["train", "vae", "--profile", "smoke"], capsys)
    assert error == "error: There are no rollouts. Run `awm collect`.\n"


def test_an_interrupt_says_that_the_run_goes_on(stage, capsys):
    stage("training.vae.train", KeyboardInterrupt())
    assert cli.main(["train", "vae", "--profile", "smoke"]) == 130
    assert "goes on where this one stopped" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_hidden(stage):
    stage("training.vae.train", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "vae", "--profile", "smoke"])


def test_the_shell_sees_the_exit_status(workspace):
    command = [sys.executable, "-m", "awm.cli", "evolve", "../../../evil"]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
