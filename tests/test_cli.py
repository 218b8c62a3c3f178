"""The command line: help, examples, errors and what is handed to the stages."""

import sys
from types import SimpleNamespace

import pytest

from awm import cli
from awm.errors import AwmError

COMMANDS = [
    ("report",),
    ("collect",),
    ("train", "vae"),
    ("train", "mdn-rnn"),
    ("evolve",),
    ("refine",),
    ("iterate",),
    ("evaluate",),
    ("publish",),
]


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def stage(monkeypatch):
    """Replaces a module of awm with one that records how it was called."""

    def replace(module, function, result=None):
        calls = []

        def record(*arguments, **keywords):
            calls.append((arguments, keywords))
            return result

        fake = SimpleNamespace(**{function: record})
        monkeypatch.setitem(sys.modules, f"awm.{module}", fake)
        monkeypatch.setattr(sys.modules["awm"], module, fake, raising=False)
        return calls

    return replace


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "--profile" in shown
    assert f"  awm {' '.join(command)}" in shown.split("examples:")[1]


def test_evolve_on_the_track_or_in_a_dream(stage):
    real = stage("evolution", "evolve")
    assert cli.main(["evolve", "--profile", "smoke", "--seed", "2"]) == 0
    assert real[0][1]["seed"] == 2
    dreamt = stage("evolution", "evolve_in_dream")
    arguments = ["evolve", "--profile", "smoke", "--dream", "--temperature", "0.5"]
    assert cli.main(arguments) == 0
    assert dreamt[0][1]["temperature"] == 0.5
    assert dreamt[0][1]["model"] == "none"


def test_rounds_are_told_line_by_line(stage, capsys):
    entry = {"round": 1, "real_steps": 12345, "dreamt": 800.4, "real": -3.2}
    calls = stage("iteration", "iterate", [entry])
    assert cli.main(["iterate", "--profile", "smoke", "--workers", "2"]) == 0
    assert calls[0][0][1] == "none" and calls[0][1]["workers"] == 2
    shown = capsys.readouterr().out
    assert "round 1: 12,345 real steps recorded, 800 in the dream, -3 on the track" in shown


@pytest.mark.parametrize("value", ["0", "-1", "inf", "warm"])
def test_a_temperature_is_a_positive_number(value, capsys):
    with pytest.raises(SystemExit):
        cli.main(["evolve", "--dream", "--temperature", value])
    assert "temperature" in capsys.readouterr().err


def test_only_a_dream_has_a_temperature(stage, capsys):
    calls = stage("evolution", "evolve")
    assert cli.main(["evolve", "--profile", "smoke", "--temperature", "0.5"]) != 0
    assert "--dream" in capsys.readouterr().err
    assert not calls


def test_help_lists_the_commands(capsys):
    for arguments in (["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for name in ("report", "collect", "evolve", "evaluate", "vae", "mdn-rnn"):
        assert name in shown


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unknown_profile_is_named_with_the_known_ones(command, capsys):
    assert cli.main([*command, "--profile", "huge"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "huge" in error
    for name in ("smoke", "quick", "paper"):
        assert name in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["evolve", "--model", "clairvoyant"],
        ["evaluate", "--frames", "blurred"],
        ["evaluate", "--episodes", "0"],
        ["evaluate", "--seed", "-1"],
        ["collect", "--workers", "two"],
    ],
    ids=" ".join,
)
def test_bad_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_errors_of_stages_have_no_traceback(monkeypatch, capsys, stage):
    stage("vae", "train")

    def fail(profile):
        raise AwmError("There are no rollouts. Run `awm collect --profile smoke`.")

    sys.modules["awm.vae"].train = fail
    assert cli.main(["train", "vae", "--profile", "smoke"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: There are no rollouts. Run `awm collect --profile smoke`.\n"
    assert shown.out == ""


def test_an_interrupt_says_that_the_run_resumes(capsys, stage):
    stage("vae", "train")

    def interrupted(profile):
        raise KeyboardInterrupt

    sys.modules["awm.vae"].train = interrupted
    assert cli.main(["train", "vae", "--profile", "smoke"]) == 130
    assert "goes on where this one stopped" in capsys.readouterr().err


def test_collect_takes_workers(stage, capsys):
    calls = stage("dataset", "collect", result=[1, 2, 3])
    assert cli.main(["collect", "--profile", "smoke", "--workers", "2"]) == 0
    ((profile,), keywords) = calls[0]
    assert profile.name == "smoke"
    assert keywords == {"workers": 2}
    assert "3 episodes" in capsys.readouterr().out


def test_attention_is_chosen_by_either_name(stage):
    calls = stage("mdn_rnn", "train")
    assert cli.main(["train", "mdn-rnn", "--profile", "smoke", "--attention", "spatial"]) == 0
    assert cli.main(["train", "mdn-rnn", "--profile", "smoke", "--model", "untrained"]) == 0
    assert cli.main(["train", "mdn-rnn", "--profile", "smoke"]) == 0
    assert [arguments[1] for arguments, _ in calls] == ["spatial", "untrained", "none"]


def test_evolve_takes_model_seed_and_workers(stage):
    calls = stage("evolution", "evolve")
    options = ["--model", "temporal", "--seed", "3", "--workers", "1"]
    assert cli.main(["evolve", "--profile", "smoke", *options]) == 0
    assert calls[0][1] == {"model": "temporal", "seed": 3, "workers": 1, "cluster": None}


def test_refine_takes_a_controller(stage):
    calls = stage("evolution", "refine")
    assert cli.main(["refine", "--profile", "smoke", "--controller", "V"]) == 0
    assert calls[0][0][1] == "V"


@pytest.mark.parametrize("interval", [[700.0, 900.0], None])
def test_evaluate_prints_what_it_found(stage, capsys, interval):
    result = {
        "controller": "spatial",
        "frames": "reference",
        "returns": [800.0, 820.0],
        "mean": 810.0,
        "std": 10.0,
        "median": 810.0,
        "ci95": interval,
    }
    calls = stage("evaluation", "evaluate", result=result)
    options = ["--controller", "spatial", "--episodes", "2", "--frames", "reference"]
    assert cli.main(["evaluate", "--profile", "smoke", *options]) == 0
    (_, name), keywords = calls[0]
    assert name == "spatial"
    assert keywords == {"episodes": 2, "seed": 0, "frames": "reference", "workers": None}
    shown = capsys.readouterr().out
    assert "810 ± 10" in shown
    assert ("700 to 900" in shown) == (interval is not None)


def test_report_hands_its_options_on(stage, capsys):
    calls = stage("pipeline", "run", result="report/index.html")
    options = ["--retrain", "--only", "02,04_attention"]
    assert cli.main(["report", "--profile", "smoke", *options]) == 0
    assert calls[0][1] == {"retrain": True, "only": ["02", "04_attention"]}
    assert capsys.readouterr().out == "report/index.html\n"


def test_render_only_runs_no_notebook(stage, capsys):
    calls = stage("report", "build", result="report/index.html")
    assert cli.main(["report", "--profile", "smoke", "--render-only"]) == 0
    assert calls[0][0][0].name == "smoke"
    assert cli.main(["report", "--profile", "smoke", "--render-only", "--retrain"]) == 2
    assert len(calls) == 1


def test_the_default_profile_depends_on_committed_artefacts(stage, workspace):
    calls = stage("vae", "train")
    cli.main(["train", "vae"])
    committed = workspace / "data" / "pretrained" / "paper"
    committed.mkdir(parents=True)
    (committed / "vae.safetensors").touch()  # the study has begun
    cli.main(["train", "vae"])
    (committed / "evaluations").mkdir()  # and has results
    cli.main(["train", "vae"])
    assert [arguments[0].name for arguments, _ in calls] == ["quick", "quick", "paper"]
