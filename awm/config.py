"""Profiles, seeds and places: every number that a user may want to turn, in one file."""

import os
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from awm.errors import AwmError

#: What M may attend to (see `awm.attention`).
ATTENTIONS = ("none", "feature", "spatial", "temporal")

#: What a controller may see: V alone, an untrained M (the control), or a trained M per attention.
#: A further training of one of these Ms is called after its seed, `spatial-seed1`.
MODELS = ("V", "untrained", *ATTENTIONS)


@dataclass(frozen=True)
class Search:
    """How CMA-ES looks for a controller."""

    generations: int
    population: int
    tracks: int  #: a generation, the same for every candidate
    sigma: float  #: step size
    patience: int  #: but for tests, an episode ends after so many steps without a new tile
    validation_every: int  #: generations between evaluations of the distribution's mean
    validation_tracks: int
    hard_tracks: int = 0  #: of the tracks, so many come again: those that went worst
    steering_noise: float = 0.0  #: deviation of noise on the steering, to evolve margin
    temperature: float | None = None  #: drive in M's dream at this temperature, not on the track
    averaged: int = 1  #: at the end, the agent is the average of so many last generations' means
    idle_at_mean: bool = False  #: in dreams, hold latents that carry no information at their mean

    @classmethod
    def completed(cls, recorded: dict) -> dict:
        """Settings as an old record holds them; those that it lacks had their defaults."""
        defaults = {each.name: each.default for each in fields(cls)}
        return {name: value for name, value in defaults.items() if value is not MISSING} | recorded


@dataclass(frozen=True)
class Profile:
    """Everything that decides what a run computes. Stored whole in every manifest."""

    name: str
    # Data collection (notebook 01)
    rollouts: int  #: episodes
    steps: int  #: steps an episode, at most
    # V (02): one-cycle Adam
    vae_updates: int
    vae_batch: int  #: frames an update
    vae_learning_rate: float
    # M (03, 04): Adam, gradient clipped
    hidden_size: int
    mdn_updates: int
    mdn_batch: int  #: sequences an update
    sequence_length: int  #: steps a sequence
    mdn_learning_rate: float
    mdn_seeds: int  #: how often M of each attention is trained
    mdn_wide: bool  #: compare them with `"wide"`, too: no attention, as many parameters
    map_updates: int  #: of the head that shows a spatially attentive M its own dream (06)
    # C (05): CMA-ES
    evolved: tuple[str, ...]  #: the models that notebook 05 evolves a controller for
    searched_on: tuple[int, ...]  #: for each seed of the search, which training of M it drives with
    search: Search  #: from zero, on equal terms for every model
    refined: tuple[str, ...]  #: the controllers that are then evolved further
    refinement: Search
    dreamt: tuple[str, ...]  #: the models in whose dreams a controller is evolved (06)
    dream_seeds: int  #: how often at each temperature
    dream_temperatures: tuple[float, ...]  #: beside that of `dream`
    dream: Search  #: `tracks` are dreams, `patience` is for the real track only
    dream_rounds: int  #: of iterative training: drive, record, train M again, dream again
    round_rollouts: int  #: episodes recorded in each
    round_updates: int  #: of M in each, from where the round before left it
    woken: tuple[int, ...]  #: the rounds whose dreams' controllers go on learning on the track
    lanes: int  #: batch of the closed loop; every return depends on it, in the last bits
    # Results (07)
    test_episodes: int
    reference_episodes: int  #: test episodes on Gymnasium's own frames
    recheck_episodes: int = 0  #: of these, how many a report drives again to check its claims
    # The same in every profile, as in the paper
    z_size: int = 32
    mixtures: int = 5
    validation_share: float = 0.1  #: of the episodes; the same share again is kept for testing
    seed: int = 0  #: of weights, data order and evolution
    round: int = 0  #: which round of iterative training this is (see `awm.iteration`)

    @property
    def folder(self) -> Path:
        """Where its artefacts lie, within `data/` or `data/pretrained/`."""
        return Path(self.name, *([f"round-{self.round}"] if self.round else []))

    @property
    def evolution_seeds(self) -> int:
        """How often C is evolved for each model."""
        return len(self.searched_on)

    @property
    def rounds_dreamt(self) -> tuple[int, ...]:
        """The rounds in whose dreams controllers are evolved with every seed (notebook 06)."""
        return tuple(sorted({0, self.dream_rounds, *self.woken}))

    @property
    def predictors(self) -> tuple[str, ...]:
        """The Ms whose predictions are compared (notebook 04)."""
        return (*ATTENTIONS, "wide") if self.mdn_wide else ATTENTIONS


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            rollouts=6, steps=64,
            vae_updates=12, vae_batch=32, vae_learning_rate=1e-3,
            hidden_size=64, mdn_updates=8, mdn_batch=8, sequence_length=16,
            mdn_learning_rate=1e-3, mdn_seeds=2, mdn_wide=True, map_updates=20,
            evolved=("V", "none"), searched_on=(0,), lanes=16,
            search=Search(2, 4, 1, 0.1, 20, validation_every=1, validation_tracks=2),
            refined=("none",),
            refinement=Search(
                2, 4, 2, 0.05, 20, validation_every=1, validation_tracks=2,
                hard_tracks=1, steering_noise=0.1, averaged=2,
            ),
            dreamt=("none",), dream_seeds=1, dream_temperatures=(0.5,),
            dream=Search(
                2, 4, 1, 0.1, 20, validation_every=1, validation_tracks=2, temperature=1.0,
            ),
            dream_rounds=1, round_rollouts=3, round_updates=4, woken=(0, 1),
            test_episodes=2, reference_episodes=2, recheck_episodes=2,
            validation_share=0.2,
        ),
        Profile(
            "quick",
            rollouts=150, steps=384,
            vae_updates=1800, vae_batch=64, vae_learning_rate=1e-3,
            hidden_size=256, mdn_updates=640, mdn_batch=16, sequence_length=128,
            mdn_learning_rate=3e-3, mdn_seeds=1, mdn_wide=False, map_updates=600,
            evolved=("none",), searched_on=(0,), lanes=32,
            search=Search(12, 64, 2, 0.03, 80, validation_every=3, validation_tracks=16),
            refined=(),
            refinement=Search(4, 32, 4, 0.02, 100, validation_every=2, validation_tracks=16),
            dreamt=("none",), dream_seeds=1, dream_temperatures=(),
            dream=Search(
                12, 64, 2, 0.03, 80, validation_every=4, validation_tracks=8, temperature=1.0,
            ),
            dream_rounds=0, round_rollouts=40, round_updates=160, woken=(),
            test_episodes=16, reference_episodes=4,
        ),
        Profile(
            "paper",
            rollouts=500, steps=384,
            vae_updates=6000, vae_batch=64, vae_learning_rate=1e-3,
            hidden_size=256, mdn_updates=2160, mdn_batch=40, sequence_length=128,
            mdn_learning_rate=2e-3, mdn_seeds=3, mdn_wide=True, map_updates=2000,
            evolved=MODELS, searched_on=(0, 0, 0, 1, 2), lanes=32,
            search=Search(12, 64, 2, 0.03, 100, validation_every=3, validation_tracks=32),
            refined=("none", "spatial"),
            refinement=Search(
                50, 64, 4, 0.02, 100, validation_every=5, validation_tracks=64,
                hard_tracks=2, steering_noise=0.1, averaged=20,
            ),
            dreamt=("none",), dream_seeds=3, dream_temperatures=(0.1, 0.5, 1.5),
            dream=Search(
                20, 64, 4, 0.03, 100, validation_every=5, validation_tracks=32, temperature=1.0,
            ),
            dream_rounds=3, round_rollouts=150, round_updates=540, woken=(3,),
            test_episodes=100, reference_episodes=100, recheck_episodes=20,
        ),
    )
}  # fmt: skip


def get_profile(name: "str | Profile") -> Profile:
    """The profile of that name; a profile itself passes through. AwmError on an unknown name."""
    if isinstance(name, Profile):
        return name
    if name not in PROFILES:
        raise AwmError(f"There is no profile {name!r}. Choose one of: {', '.join(PROFILES)}.")
    return PROFILES[name]


# Track seeds. Every stage draws from a range of its own, so that no controller is ever
# tested on a track that was trained on or selected on.
SEED_RANGE = 10_000_000
DATA_SEEDS = 0 * SEED_RANGE
EVOLUTION_SEEDS = 1 * SEED_RANGE
VALIDATION_SEEDS = 2 * SEED_RANGE
TEST_SEEDS = 3 * SEED_RANGE


def track_seeds(first: int, count: int, offset: int = 0) -> list[int]:
    """`count` seeds of the range that begins at `first`; AwmError if they would leave it."""
    if offset < 0 or offset + count > SEED_RANGE:
        raise AwmError(
            f"Seeds {offset} to {offset + count - 1} are outside of 0 to {SEED_RANGE - 1}. "
            "Choose a smaller seed."
        )
    return list(range(first + offset, first + offset + count))


# Places. AWM_ROOT moves the whole workspace, which is how tests leave the repository alone.


def root() -> Path:
    """The workspace: `AWM_ROOT`, or the checkout that holds this package, or the current folder."""
    if "AWM_ROOT" in os.environ:
        return Path(os.environ["AWM_ROOT"]).absolute()
    checkout = Path(__file__).parent.parent
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def data_dir(profile: "Profile | str") -> Path:
    """Where a profile's rollouts, latents, models and logs live."""
    return root() / "data" / get_profile(profile).folder


def images_dir() -> Path:
    """Where notebooks write the report's figures."""
    return root() / "images"


def report_dir() -> Path:
    """Where the HTML report is written."""
    return root() / "report"


def pretrained_dir() -> Path:
    """Small trained artefacts that are committed, one folder a profile."""
    return root() / "data" / "pretrained"


def artefact(profile: "Profile | str", name: str) -> Path:
    """Where to read a stage's result: in `data/`, or else, where there is one, what is committed.

    Committed results stand in only for a profile whose V is committed (of `quick` there are but
    records, and it is trained from scratch), and not while everything is trained anew
    (`AWM_RETRAIN`). Stages write to `data_dir` only.
    """
    profile = get_profile(profile)
    own, committed = data_dir(profile) / name, pretrained_dir() / profile.folder / name
    weights = pretrained_dir() / profile.name / "vae.safetensors"
    if own.exists() or "AWM_RETRAIN" in os.environ or not weights.exists():
        return own
    return committed if committed.exists() else own


def default_profile() -> str:
    """`paper` once its results are committed, `quick` before that."""
    return "paper" if (pretrained_dir() / "paper" / "evaluations").exists() else "quick"
