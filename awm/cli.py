"""`awm`: the study and each of its stages from the command line.

Heavy modules are imported inside of the commands, so that `awm --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from awm.config import ATTENTIONS, MODELS, PROFILES, default_profile, get_profile
from awm.errors import AwmError

FRAMES = ("fast", "reference")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        if "profile" in options:
            options.profile = get_profile(options.profile or default_profile())
        options.command(options)
    except AwmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\ninterrupted. What is finished is kept: the same command goes on where this one "
            "stopped.",
            file=sys.stderr,
        )
        return 130
    return 0


def _report(options: argparse.Namespace) -> None:
    if options.render_only:
        if options.retrain or options.only:
            raise AwmError(
                "--render-only runs no notebook. Leave it out, or leave --retrain and --only out."
            )
        from awm import report

        index = report.build(options.profile)
    else:
        from awm import pipeline

        index = pipeline.run(options.profile, retrain=options.retrain, only=options.only)
    print(index)


def _collect(options: argparse.Namespace) -> None:
    from awm import dataset

    rollouts = dataset.collect(options.profile, workers=options.workers)
    print(f"{len(rollouts)} episodes")


def _train_vae(options: argparse.Namespace) -> None:
    from awm import vae

    vae.train(options.profile)


def _train_mdn_rnn(options: argparse.Namespace) -> None:
    from awm import mdn_rnn

    mdn_rnn.train(options.profile, options.model, options.seed)


def _train_map_head(options: argparse.Namespace) -> None:
    from awm import map_head

    map_head.train(options.profile)


def _evolve(options: argparse.Namespace) -> None:
    from awm import evolution

    where = {"model": options.model, "seed": options.seed}
    how = {"workers": options.workers, "cluster": options.cluster}
    if options.dream:
        profile = replace(options.profile, round=options.round or 0)
        evolution.evolve_in_dream(profile, **where, temperature=options.temperature, **how)
    elif options.temperature is not None or options.round is not None:
        raise AwmError(
            "Only a dream has a temperature and a round. Add --dream, or leave them out."
        )
    else:
        evolution.evolve(options.profile, **where, **how)


def _refine(options: argparse.Namespace) -> None:
    from awm import evolution

    evolution.refine(
        options.profile, options.controller, workers=options.workers, cluster=options.cluster
    )


def _wake(options: argparse.Namespace) -> None:
    from awm import evolution

    evolution.wake(
        options.profile, options.controller, workers=options.workers, cluster=options.cluster
    )


def _iterate(options: argparse.Namespace) -> None:
    from awm import iteration

    for entry in iteration.iterate(options.profile, options.model, workers=options.workers):
        print(
            f"round {entry['round']}: {entry['real_steps']:,} real steps recorded, "
            f"{entry['dreamt']:.0f} in the dream, {entry['real']:.0f} on the track"
        )


def _evaluate(options: argparse.Namespace) -> None:
    from awm import evaluation

    result = evaluation.evaluate(
        options.profile,
        options.controller,
        episodes=options.episodes,
        seed=options.seed,
        frames=options.frames,
        workers=options.workers,
    )
    text = (
        f"{result['controller']} on {len(result['returns'])} tracks, {result['frames']} frames: "
        f"{result['mean']:.0f} ± {result['std']:.0f} (mean ± deviation), "
        f"median {result['median']:.0f}"
    )
    if result["ci95"]:  # a single track has none
        low, high = result["ci95"]
        text += f", 95 % interval of the mean {low:.0f} to {high:.0f}"
    print(text)


def _publish(options: argparse.Namespace) -> None:
    from awm import publish

    for path in publish.publish(options.profile):
        print(path)


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative; give 0 or more")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too few; give 1 or more")
    return value


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no temperature; give a positive number")
    return value


_temperature.__name__ = "number"
_natural.__name__ = _positive.__name__ = "whole number"  # as argparse names it in its errors


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="awm",
        description="Attentive World Models: V, M and C on CarRacing-v3, stage by stage.",
        epilog="`awm report` does everything. Every stage returns at once when its artefact is "
        "complete, and resumes when it is half done. `awm COMMAND --help` shows examples.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    report = _command(
        commands,
        "report",
        _report,
        "run the notebooks and build the HTML report",
        "Run the notebooks in order and write images/ and report/index.html.",
        """\
  awm report
  awm report --profile quick
  awm report --profile paper --retrain
  awm report --profile quick --only 02,04_attention
  awm report --profile quick --render-only""",
    )
    report.add_argument(
        "--retrain",
        action="store_true",
        help="train everything from scratch: move data/PROFILE aside and leave data/pretrained "
        "alone",
    )
    report.add_argument(
        "--only",
        type=_names,
        metavar="NOTEBOOKS",
        help="run only these, by number or name, separated by commas",
    )
    report.add_argument(
        "--render-only",
        action="store_true",
        help="build the HTML from what the last run left; run no notebook",
    )

    collect = _command(
        commands,
        "collect",
        _collect,
        "record rollouts of scripted and random drivers",
        "Record the rollouts that V and M learn from: data/PROFILE/rollouts.zarr.",
        """\
  awm collect --profile quick
  awm collect --profile paper --workers 8""",
    )
    _workers(collect)

    train = commands.add_parser(
        "train",
        help="train V, M or the head that lets a spatial M dream",
        description="Train V (`awm train vae`), M (`awm train mdn-rnn`), or the head that lets an "
        "M with spatial attention dream fast (`awm train map-head`).",
        epilog="examples:\n  awm train vae --profile quick\n"
        "  awm train mdn-rnn --attention spatial --profile quick",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models = train.add_subparsers(title="models", metavar="MODEL", required=True)
    _command(
        models,
        "vae",
        _train_vae,
        "V: the variational autoencoder",
        "Train V on the recorded frames: data/PROFILE/vae.safetensors.",
        """\
  awm train vae --profile quick""",
    )
    mdn_rnn = _command(
        models,
        "mdn-rnn",
        _train_mdn_rnn,
        "M: the recurrent mixture density network",
        "Train M on the latents of the rollouts: data/PROFILE/mdn_rnn-ATTENTION.safetensors.",
        """\
  awm train mdn-rnn --profile quick
  awm train mdn-rnn --attention spatial --profile quick""",
    )
    mdn_rnn.add_argument(
        "--attention",
        "--model",
        dest="model",
        choices=(*ATTENTIONS, "untrained", "wide"),
        default="none",
        help="what M attends to: nothing, the entries of [z, a], the map of V's third "
        "convolution, or its own last hidden states; or a control: an LSTM that stays "
        "untrained, or a wider one with as many parameters as attention has (default: none)",
    )
    mdn_rnn.add_argument(
        "--seed", type=_natural, default=0, help="of its weights and batches (default: 0)"
    )

    _command(
        models,
        "map-head",
        _train_map_head,
        "V's map straight from z, for dreams of the spatial M",
        "Train the head that guesses V's map from z: data/PROFILE/map_head.safetensors.",
        """\
  awm train map-head --profile quick""",
    )

    evolve = _command(
        commands,
        "evolve",
        _evolve,
        "evolve the controller C",
        "Evolve C with CMA-ES, on the track or in M's dream: "
        "data/PROFILE/controllers/MODEL.safetensors or MODEL-dream.safetensors. A checkpoint is "
        "written after every generation.",
        """\
  awm evolve --profile quick
  awm evolve --dream --temperature 1.25 --profile quick
  awm evolve --model spatial --seed 1 --workers 2 --profile paper
  awm evolve --model spatial --cluster tcp://10.0.0.1:8786 --profile paper""",
    )
    evolve.add_argument(
        "--model",
        choices=MODELS,
        default="none",
        help="what C sees: z alone (V), or z and the hidden state of an untrained M or of a "
        "trained one with that attention (default: none)",
    )
    evolve.add_argument(
        "--seed",
        type=_natural,
        default=0,
        help="of the search and its tracks; the profile says which training of M it drives with "
        "(default: 0)",
    )
    evolve.add_argument("--dream", action="store_true", help="drive in M's dream, not on the track")
    evolve.add_argument(
        "--temperature",
        type=_temperature,
        default=None,
        help="of the dream (default: as the profile says)",
    )
    evolve.add_argument(
        "--round",
        type=_natural,
        default=None,
        help="of iterative training, whose M dreams (default: 0, before any)",
    )
    _workers(evolve)
    _cluster(evolve)

    refine = _command(
        commands,
        "refine",
        _refine,
        "evolve a controller further",
        "Evolve a controller further, with smaller steps, more tracks (some of them the hardest so "
        "far) and noise on the steering: data/PROFILE/controllers/NAME-refined.safetensors.",
        """\
  awm refine --controller none --profile paper""",
    )
    refine.add_argument(
        "--controller",
        default="none",
        metavar="NAME",
        help="the evolved controller to begin with (default: none)",
    )
    _workers(refine)
    _cluster(refine)

    wake = _command(
        commands,
        "wake",
        _wake,
        "evolve a dream's controller on the track",
        "Evolve on the track, by the search that others begin at zero, a controller that a dream "
        "has left: data/PROFILE/controllers/NAME-woken.safetensors.",
        """\
  awm wake --controller none-dream --profile paper
  awm wake --controller none-dream-round3-seed1 --profile paper""",
    )
    wake.add_argument(
        "--controller",
        default="none-dream",
        metavar="NAME",
        help="the dream's controller to begin with (default: none-dream)",
    )
    _workers(wake)
    _cluster(wake)

    iterate = _command(
        commands,
        "iterate",
        _iterate,
        "rounds of dreaming, driving and learning",
        "Iterative training: evolve C in M's dream, record it on the track, train M further, and "
        "again: data/PROFILE/iteration-MODEL.json.",
        """\
  awm iterate --profile smoke
  awm iterate --model temporal --profile paper""",
    )
    iterate.add_argument(
        "--model",
        choices=[attention for attention in ATTENTIONS if attention != "spatial"],
        default="none",
        help="the M that dreams (default: none)",
    )
    _workers(iterate)

    evaluate = _command(
        commands,
        "evaluate",
        _evaluate,
        "drive whole episodes and record every return",
        "Drive whole episodes on test tracks: data/PROFILE/evaluations/CONTROLLER-FRAMES.json.",
        """\
  awm evaluate --controller none --profile quick
  awm evaluate --controller spatial --episodes 100 --frames reference --profile paper""",
    )
    evaluate.add_argument(
        "--controller",
        default="none",
        metavar="NAME",
        help="an evolved controller, named by its model, and by its seed if that was not 0: "
        "V, spatial, spatial-seed1, none-refined (default: none)",
    )
    evaluate.add_argument(
        "--episodes",
        type=_positive,
        default=None,
        help="how many tracks (default: as many as the profile says)",
    )
    evaluate.add_argument(
        "--seed",
        type=_natural,
        default=0,
        help="offset among the test tracks (default: 0)",
    )
    evaluate.add_argument(
        "--frames",
        choices=FRAMES,
        default="fast",
        help="the fast raster, or Gymnasium's own drawing (default: fast)",
    )
    _workers(evaluate)

    _command(
        commands,
        "publish",
        _publish,
        "copy trained artefacts to where they are committed",
        "Copy weights, manifests, logs and evaluations of data/PROFILE to data/pretrained/PROFILE.",
        """\
  awm publish --profile paper""",
    )
    return parser


def _command(commands, name, function, summary, description, examples) -> argparse.ArgumentParser:
    """A subcommand with `--profile`, a description and examples."""
    command = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=function)
    command.add_argument(
        "--profile",
        metavar="PROFILE",
        help=f"one of {', '.join(PROFILES)} (default: paper once its artefacts are committed, "
        "quick before that)",
    )
    return command


def _workers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers", type=_positive, default=None, help="processes (default: one for each core)"
    )


def _cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="drive on the Dask cluster of this scheduler; its workers need the workspace at the "
        "same path",
    )


if __name__ == "__main__":
    sys.exit(main())
