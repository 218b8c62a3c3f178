"""`awm`: the study and each of its stages from the command line.

Heavy modules are imported inside of the commands, so that `awm --help` answers at once.
"""

import ast
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from awm.errors import AwmError
from awm.ids import Agent, Memory

app = typer.Typer(
    help="Attentive World Models: the study, and each of its stages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train = typer.Typer(no_args_is_help=True, help="Train V, M or the feature map's head.")
app.add_typer(train, name="train")

Profile = Annotated[
    str | None,
    typer.Option(help="smoke, quick, paper or one of your own; by default paper once it is there."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes of this machine; by default one a core.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Drive on this Dask scheduler's cluster; its workers need this package, and no files.",
    ),
]
Kind = Annotated[
    str, typer.Option(help="plain, untrained, wide, feature, spatial, even or temporal.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, or auto: the fastest there is.")]
Seed = Annotated[int, typer.Option(min=0)]
Who = Annotated[
    str,
    typer.Argument(
        metavar="AGENT",
        help="What C sees and how it was found: V, plain, spatial-1_track-3, plain_track_refined, "
        "plain_dream-tau0.5, plain-round3_dream_track.",
    ),
]


def _open(profile: str | None):
    from awm.store import Workspace

    return Workspace.open(profile)


@app.command()
def report(
    profile: Profile = None,
    retrain: Annotated[bool, typer.Option(help="Train everything anew, from nothing.")] = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="02,04_attention", help="Run these notebooks alone."),
    ] = None,
    render_only: Annotated[bool, typer.Option(help="Run no notebook.")] = False,
) -> None:
    """Run the notebooks in order and build the report."""
    if render_only and (retrain or only):
        raise AwmError(
            "--render-only runs no notebook. Leave it out, or leave --retrain and --only out."
        )
    from awm.report.build import build
    from awm.report.notebooks import run

    ws = _open(profile)
    print(build(ws) if render_only else run(ws, retrain, only.split(",") if only else None))


@app.command("profile")
def profile_(
    name: str,
    values: Annotated[list[str], typer.Argument(metavar="PATH=VALUE...")],
    base: Annotated[str, typer.Option(help="The profile to begin with.")] = "quick",
) -> None:
    """Make a profile of your own: awm profile mine mdn_rnn.hidden_size=128 --base quick.

    It begins with what the other profile has made already and the changes do not concern.
    """
    changes = {}
    for text in values:
        path, equals, value = text.partition("=")
        if not equals:
            raise AwmError(f"{text!r} sets nothing. Write PATH=VALUE.")
        try:
            changes[path.replace(".", "__")] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[path.replace(".", "__")] = value
    from awm.stages import share
    from awm.store import Workspace

    other = _open(base)
    mine = Workspace.open(other.profile.but(name, **changes))
    share(other, mine)
    print(mine.own)


@app.command()
def collect(profile: Profile = None, workers: Workers = None, cluster: Cluster = None) -> None:
    """Let the drivers drive, and record rollouts."""
    from awm.data.rollouts import collect

    print(f"{len(collect(_open(profile), cluster or workers))} episodes")


@app.command("store")
def keep_arrays(
    address: Annotated[str, typer.Argument(help="A folder, or s3://bucket/folder.")],
    profile: Profile = None,
) -> None:
    """Let a profile's rollouts and latents lie elsewhere: in a folder, or in an object store."""
    from awm.data import arrays

    arrays.keep_at(_open(profile), address)


@train.command("vae")
def train_vae(profile: Profile = None, device: Device = "cpu") -> None:
    """Train V on the rollouts."""
    from awm.training import vae

    vae.train(_open(profile), device)


@train.command("mdn-rnn")
def train_mdn_rnn(
    kind: Kind = "plain",
    seed: Seed = 0,
    every: Annotated[
        bool, typer.Option("--all", help="All that the study needs, as many at once as cores.")
    ] = False,
    profile: Profile = None,
    device: Device = "cpu",
) -> None:
    """Train M on V's view of the rollouts."""
    from awm.training import mdn_rnn

    ws = _open(profile)
    if every and (kind, seed, device) != ("plain", 0, "cpu"):
        raise AwmError("--all trains every kind and seed, on the processor: leave the others out.")
    if every:
        mdn_rnn.train_all(ws, ws.profile.memories)
    else:
        mdn_rnn.train(ws, Memory(kind, seed), device)


@train.command("feature-map")
def train_feature_map(profile: Profile = None) -> None:
    """Train the head through which a spatially attentive M sees its dreams."""
    from awm.training import feature_map

    feature_map.train(_open(profile))


@app.command()
def evolve(
    agent: Who, profile: Profile = None, workers: Workers = None, cluster: Cluster = None
) -> None:
    """Search for an agent: from zero, in a dream, or on from another agent, as its name says."""
    from awm.evolution.search import evolve

    evolve(_open(profile), Agent.parse(agent), cluster or workers)


@app.command()
def iterate(
    kind: Kind = "plain",
    seed: Seed = 0,
    profile: Profile = None,
    workers: Workers = None,
    cluster: Cluster = None,
) -> None:
    """Rounds of dreaming, driving and learning, from one training of M on."""
    from awm.study.rounds import rounds

    for entry in rounds(_open(profile), Memory(kind, seed), cluster or workers):
        print(
            f"round {entry['round']}: {entry['real_steps']:,} real steps recorded, "
            f"{entry['dreamt']:.0f} dreamt, {entry['real']:.0f} on the track"
        )


@app.command()
def evaluate(
    agent: Who,
    frames: Annotated[str, typer.Option(help="fast, or reference: Gymnasium's own.")] = "fast",
    episodes: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The first of the test tracks; by default the profile's."),
    ] = None,
    alteration: Annotated[
        str | None,
        typer.Option(help="Let the world look otherwise: colours, bars or patch."),
    ] = None,
    profile: Profile = None,
    workers: Workers = None,
    cluster: Cluster = None,
) -> None:
    """Drive whole episodes on test tracks and record every return."""
    from awm.study.evaluation import evaluate, table

    who = Agent.parse(agent)
    found = evaluate(_open(profile), who, frames, episodes, seed, cluster or workers, alteration)
    print(table([found]).T.to_string())


@app.command()
def publish(profile: Profile = None) -> None:
    """Copy what is finished to data/pretrained, to be committed."""
    from awm.study.publish import publish

    for path in publish(_open(profile)):
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    status, said = 2, ""
    try:
        status = app(arguments, standalone_mode=False) or 0
    except AwmError as error:
        said = f"error: {error}"
    except (KeyboardInterrupt, typer.Abort):
        status = 130  # as newer versions of typer return
    except OSError as error:  # a full disk, a folder that cannot be written to
        if error.filename is None and error.strerror is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        said = (
            f"error: {error.strerror}{where}. What is finished is kept: put that right, and the "
            "same command goes on where this one stopped."
        )
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own, of a wrong option
            raise
        said = error.format_message()
        said = said if said.startswith("Usage: ") else f"error: {said}"
    if status == 130:
        said = (
            "\ninterrupted. What is finished is kept: the same command goes on where this one "
            "stopped."
        )
    if said:
        print(said, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
