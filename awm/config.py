"""Profiles and seeds: every number that decides a result, nested by stage, in one file."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field, replace

from awm.errors import AwmError
from awm.ids import ATTENTIONS, Agent, Memory

#: Marks a value that came after results had been made: at its default it is not part of what those
#: are a function of, so that they still fit (`settings_of`).
_LATER = {"later": True}


def settings_of(section) -> dict:
    """What a section of a profile says, without values that came later and are at their default."""
    late = [f for f in dataclasses.fields(section) if f.metadata.get("later")]
    unsaid = {f.name for f in late if getattr(section, f.name) == f.default}
    return {k: v for k, v in dataclasses.asdict(section).items() if k not in unsaid}


@dataclass(frozen=True)
class Data:
    """What is recorded (notebook 01)."""

    rollouts: int  #: recorded episodes
    steps: int  #: steps per episode, at most, but for those that run to their end
    #: The share of episodes that each driver drives.
    drivers: tuple[tuple[str, float], ...] = (
        ("random", 0.05), ("walk", 0.1), ("scripted", 0.25), ("noisy", 0.35), ("reckless", 0.25),
    )  # fmt: skip
    validation_share: float = 0.1  #: share of the episodes; as many again are for testing
    #: The share of each driver's episodes that run to their end: a finished lap, the field's edge,
    #: or Gymnasium's time limit.
    ending: float = field(default=0.0, metadata=_LATER)


@dataclass(frozen=True)
class VAEConfig:
    """V (02): one-cycle Adam."""

    updates: int  #: steps of Adam
    batch: int  #: frames per update
    learning_rate: float = 1e-3  #: at its peak
    z_size: int = 32  #: latents
    #: Nats a latent may cost for free, in total over all of them (the paper's `kl_tolerance`).
    free_nats: float = 0.5
    encoder: str = field(default="ha2018", metadata=_LATER)  #: one of `ENCODERS`
    decoder: str = field(default="ha2018", metadata=_LATER)  #: one of `DECODERS`


@dataclass(frozen=True)
class MDNRNNConfig:
    """M (03, 04): one-cycle Adam, gradient clipped."""

    updates: int  #: steps of Adam
    batch: int  #: sequences per update
    learning_rate: float  #: at its peak
    hidden_size: int = 256  #: units of the LSTM
    sequence_length: int = 128  #: steps per sequence
    mixtures: int = 5  #: Gaussians per latent
    memory: int = 32  #: past hidden states that temporal attention remembers
    gradient_norm: float = 1.0  #: at which the gradient is clipped
    #: Leaving the field costs 100 at once and ends the episode: the end is the done head's to
    #: predict, so the reward head learns rewards no smaller than this.
    smallest_reward: float = -1.0
    seeds: int = 1  #: how often M of each kind is trained
    wide: bool = False  #: train the wide M, too: no attention, as many parameters
    #: Train the even M, too: the map that spatial attention looks at, all places alike.
    even: bool = field(default=False, metadata=_LATER)


@dataclass(frozen=True)
class FeatureMapConfig:
    """The head that shows a spatially attentive M its own dream (06)."""

    updates: int  #: steps of Adam
    batch: int = 256  #: frames per update
    learning_rate: float = 3e-3  #: at its peak
    hidden_size: int = 128  #: units of its hidden layer
    episodes: int = 100  #: training episodes that are held in memory: 3.5 MB each


@dataclass(frozen=True)
class Search:
    """How CMA-ES looks for a controller."""

    generations: int  #: of candidates
    population: int  #: candidates per generation
    tracks: int  #: tracks (or dreams) per generation, the same for every candidate
    sigma: float  #: step size of CMA-ES, kept fixed
    patience: int  #: but in tests, an episode ends after so many steps without a new tile
    validation_every: int  #: generations between evaluations of the distribution's mean
    validation_tracks: int  #: tracks (or dreams) of each such evaluation
    hard_tracks: int = 0  #: so many of the tracks are those that went worst before
    steering_noise: float = 0.0  #: SD of noise on the steering, to evolve margin
    temperature: float | None = None  #: drive in M's dream at this temperature, not on the track
    idle_at_mean: bool = False  #: in a dream, latents that carry nothing stay at their mean
    #: Dreams begin at any recorded moment with M's memory of it, last as long as M was trained for,
    #: and pay the field's edge; without it they begin at the start line and can last 1,000 steps.
    moments: bool = field(default=False, metadata=_LATER)
    averaged: int = 1  #: the agent is the average of so many last generations' means


@dataclass(frozen=True)
class Evolution:
    """C (05): from zero on equal terms for every model, then some of them further."""

    search: Search
    refinement: Search
    kinds: tuple[str, ...]  #: what C sees
    searched_on: tuple[int, ...]  #: for each seed of the search, which training of M it drives with
    refined: tuple[str, ...]  #: of which kinds the first agent is refined
    lanes: int = 32  #: batch of the closed loop; every return depends on it, in the last bits
    #: Smallest deviation that an input is divided by: uninformative inputs are not blown up to
    #: noise. All of an untrained M's h lies below it (near 0.05).
    smallest_deviation: float = 0.2
    #: Of these kinds h is divided by its own deviation, however small.
    standardised: tuple[str, ...] = field(default=(), metadata=_LATER)


@dataclass(frozen=True)
class Dreaming:
    """C in M's dream (06)."""

    search: Search
    kinds: tuple[str, ...]  #: Ms whose dreams are used
    seeds: int  #: searches at each temperature
    temperatures: tuple[float, ...]  #: temperatures beside the search's own
    rounds: int  #: rounds of iterative training: drive, record, train M again, dream again
    round_rollouts: int  #: episodes recorded in each round
    round_updates: int  #: updates of M in each round, from where the one before left it
    on_track: tuple[int, ...]  #: rounds whose dreams' agents go on learning on the track
    #: Rounds of so many Ms, each recorded by all its searches; 0: of one M, by its first search.
    chains: int = field(default=0, metadata=_LATER)


@dataclass(frozen=True)
class Test:
    """Results (07)."""

    episodes: int  #: test tracks on fast frames
    reference_episodes: int  #: test tracks on Gymnasium's own frames
    recheck_episodes: int = 0  #: how many of these a report drives again to check its claims
    dreams: int = 128  #: dreams of each agent, to see whether dreamt returns tell real ones
    first: int = field(default=0, metadata=_LATER)  #: first track of the test range
    #: Test tracks of an agent that the report claims, in each of the worlds that look otherwise.
    altered_episodes: int = field(default=0, metadata=_LATER)
    #: Fast test tracks of an agent that the report claims; 0: as many as of the others.
    headline_episodes: int = field(default=0, metadata=_LATER)
    steps: int = field(default=1000, metadata=_LATER)  #: of a lap, at most; 1,000 is Gymnasium's


@dataclass(frozen=True)
class Profile:
    """Everything that decides what a run computes."""

    name: str
    data: Data
    vae: VAEConfig
    mdn_rnn: MDNRNNConfig
    feature_map: FeatureMapConfig
    evolution: Evolution
    dream: Dreaming
    test: Test
    seed: int = 0  #: of weights, data order and evolution

    def __post_init__(self):
        for memory in self.chains:
            self.tracks_of(replace(memory, round=self.dream.rounds))

    def but(self, name: str, **changes) -> "Profile":
        """This profile under a name of its own, with some values changed.

        A value is named by its path, `profile.but("mine", mdn_rnn__hidden_size=128)`.

        Raises:
            AwmError: if there is no such value, it has another type, or the name is taken.
        """
        # data/pretrained holds what is committed.
        if name in (*PRESETS, "pretrained") or not name.isidentifier():
            raise AwmError(f"{name!r} cannot name a profile of your own. Take a plain, new word.")
        changed = replace(self, name=name)
        for path, value in changes.items():
            changed = _set(changed, path.split("__"), value, path)
        return changed

    def agent(self, kind: str, seed: int = 0) -> Agent:
        """The agent that is evolved from zero on the track, with the M that its seed drives with.

        Seeds that the profile does not know drive with the first training.
        """
        known = Memory(kind).has_m and seed < len(self.evolution.searched_on)
        return Agent(Memory(kind, self.evolution.searched_on[seed] if known else 0), "track", seed)

    @property
    def agents(self) -> list[Agent]:
        """All agents that are evolved from zero on the track, seed by seed."""
        seeds = range(len(self.evolution.searched_on))
        return [self.agent(kind, seed) for seed in seeds for kind in self.evolution.kinds]

    @property
    def headline(self) -> list[Agent]:
        """The agents that the report claims: the refined ones, or else the first of each kind."""
        refined = [self.agent(kind).refined() for kind in self.evolution.refined]
        return refined or [self.agent(kind) for kind in self.evolution.kinds]

    @property
    def predictors(self) -> tuple[str, ...]:
        """The kinds of M whose predictions are compared (notebook 04)."""
        controls = [kind for kind in ("wide", "even") if getattr(self.mdn_rnn, kind)]
        return ("plain", *ATTENTIONS, *controls)

    @property
    def chains(self) -> list[Memory]:
        """The Ms whose rounds of iterative training the study goes through, before their rounds."""
        return [Memory(k, seed) for k in self.dream.kinds for seed in range(self.dream.chains or 1)]

    def tracks_of(self, memory: Memory) -> int:
        """Where the tracks that are recorded for a memory begin, among those of data.

        Every round of every chain has tracks of its own, none of them the drivers'.

        Raises:
            AwmError: if they would be another stage's.
        """
        number = memory.round + self.dream.rounds * memory.seed
        if (number + 1) * TRACKS_A_ROUND > SEED_RANGE:
            raise AwmError(
                f"There are tracks for {_ROUNDS} rounds, those of all chains together, and round "
                f"{memory.round} of {replace(memory, round=0)} would be number {number}. Take "
                "fewer rounds, fewer chains or a smaller seed."
            )
        return number * TRACKS_A_ROUND

    def dreamers(self, memory: Memory) -> list[Agent]:
        """The agents that a round's M evolves in its dream, all of which record the next round."""
        seeds = range(self.dream.seeds) if self.dream.chains else [memory.seed]
        return [Agent(memory, "dream", seed) for seed in seeds]

    def dreams(self, number: int) -> list[Agent]:
        """The agents of all searches in the dreams of a round, of every chain and seed."""
        each, seeds = self.chains, range(self.dream.seeds)
        return [Agent(replace(m, round=number), "dream", seed) for m in each for seed in seeds]

    @property
    def memories(self) -> list[Memory]:
        """The Ms that the study needs, rounds apart: the first training of each kind first."""
        kinds = dict.fromkeys([*self.predictors, *self.evolution.kinds, *self.dream.kinds])
        seeds = range(self.mdn_rnn.seeds)
        found = [Memory(kind, seed) for seed in seeds for kind in kinds if Memory(kind).has_m]
        return [
            *found,
            *(a.memory for a in self.agents if a.memory not in found and a.memory.has_m),
        ]

    def test_episodes(self, who: Agent, frames: str) -> int:
        """Episodes that an agent is tested on."""
        if frames == "reference":
            return self.test.reference_episodes
        claimed = who.found == "refined" and self.test.headline_episodes
        return claimed or self.test.episodes


def _set(section, path: list[str], value, whole: str):
    first, *rest = path
    known = {f.name for f in dataclasses.fields(section)} - {"name"}
    if first not in known or (not rest and dataclasses.is_dataclass(getattr(section, first))):
        raise AwmError(
            f"A profile has no value {whole.replace('__', '.')!r}. There is: "
            f"{', '.join(sorted(known))}."
        )
    if rest and not dataclasses.is_dataclass(getattr(section, first)):
        raise AwmError(f"{whole.replace('__', '.')!r} goes deeper than the profile does.")
    if rest:
        return replace(section, **{first: _set(getattr(section, first), rest, value, whole)})
    kind = typing.get_type_hints(type(section))[first]
    return replace(section, **{first: _typed(value, kind, whole.replace("__", "."))})


def _typed(value, kind, path: str):
    """`value`, as it came from JSON or a command line, as a value of that type."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        late = {f.name for f in dataclasses.fields(kind) if f.metadata.get("later")}
        if not isinstance(value, dict) or value.keys() | late != hints.keys():
            raise AwmError(f"{path} must have the values {', '.join(hints)}.")
        return kind(**{k: _typed(v, hints[k], f"{path}.{k}") for k, v in value.items()})
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(option)
            inner = [inner[0]] * len(value) if inner[-1] is ... else inner
            if len(inner) == len(value):
                return tuple(_typed(v, k, path) for v, k in zip(value, inner, strict=True))
        if option is float and type(value) is int:
            return float(value)
        if typing.get_origin(option) is None and type(value) is option:
            return value
    raise AwmError(f"{path} cannot be {value!r}: it is of type {getattr(kind, '__name__', kind)}.")


def profile_from(values: dict) -> Profile:
    """The profile that `dataclasses.asdict` made these values of. AwmError if it cannot be."""
    return _typed(values, Profile, "the profile")


# Track seeds. Every stage draws from a range of its own, so that no controller is ever
# tested on a track that was trained on or selected on.
SEED_RANGE = 10_000_000
DATA_SEEDS = 0 * SEED_RANGE
EVOLUTION_SEEDS = 1 * SEED_RANGE
VALIDATION_SEEDS = 2 * SEED_RANGE
TEST_SEEDS = 3 * SEED_RANGE

#: Of those of data, so many are a round's; the drivers' come first.
TRACKS_A_ROUND = 1_000_000
_ROUNDS = SEED_RANGE // TRACKS_A_ROUND - 1

PRESETS = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            Data(rollouts=6, steps=64, validation_share=0.2),
            VAEConfig(updates=12, batch=32, encoder="patches", decoder="folded"),
            MDNRNNConfig(
                updates=8, batch=8, learning_rate=1e-3, hidden_size=64, sequence_length=16,
                seeds=2, wide=True, even=True,
            ),
            FeatureMapConfig(updates=20),
            Evolution(
                search=Search(2, 4, 1, 0.1, 20, validation_every=1, validation_tracks=2),
                refinement=Search(
                    2, 4, 2, 0.05, 20, validation_every=1, validation_tracks=2,
                    hard_tracks=1, steering_noise=0.1, averaged=2,
                ),
                kinds=("V", "plain"), searched_on=(0,), refined=("plain",), lanes=4,
            ),
            Dreaming(
                Search(
                    2, 4, 1, 0.1, 20, validation_every=1, validation_tracks=2, temperature=1.0,
                    idle_at_mean=True, moments=True,
                ),
                kinds=("plain",), seeds=1, temperatures=(0.5,),
                rounds=1, round_rollouts=3, round_updates=4, on_track=(0, 1), chains=2,
            ),
            Test(
                episodes=2, reference_episodes=2, recheck_episodes=2, dreams=4, altered_episodes=2,
                steps=100,
            ),
        ),
        Profile(
            "quick",
            Data(rollouts=150, steps=384),
            VAEConfig(updates=1800, batch=64),
            MDNRNNConfig(updates=640, batch=16, learning_rate=3e-3),
            FeatureMapConfig(updates=600),
            Evolution(
                search=Search(12, 64, 2, 0.03, 80, validation_every=3, validation_tracks=16),
                refinement=Search(4, 32, 4, 0.02, 100, validation_every=2, validation_tracks=16),
                kinds=("plain",), searched_on=(0,), refined=(),
            ),
            Dreaming(
                Search(
                    12, 64, 2, 0.03, 80, validation_every=4, validation_tracks=8, temperature=1.0,
                ),
                kinds=("plain",), seeds=1, temperatures=(),
                rounds=0, round_rollouts=40, round_updates=160, on_track=(),
            ),
            Test(episodes=16, reference_episodes=4),
        ),
        Profile(
            "paper",
            Data(rollouts=500, steps=384),
            VAEConfig(updates=6000, batch=64),
            MDNRNNConfig(updates=2160, batch=40, learning_rate=2e-3, seeds=3, wide=True),
            FeatureMapConfig(updates=2000),
            Evolution(
                search=Search(12, 64, 2, 0.03, 100, validation_every=3, validation_tracks=32),
                refinement=Search(
                    50, 64, 4, 0.02, 100, validation_every=5, validation_tracks=64,
                    hard_tracks=2, steering_noise=0.1, averaged=20,
                ),
                kinds=("V", "untrained", "plain", "feature", "spatial", "temporal"),
                searched_on=(0, 0, 0, 1, 2), refined=("plain", "spatial"),
            ),
            Dreaming(
                Search(
                    20, 64, 4, 0.03, 100, validation_every=5, validation_tracks=32, temperature=1.0,
                ),
                kinds=("plain",), seeds=3, temperatures=(0.1, 0.5, 1.5),
                rounds=3, round_rollouts=150, round_updates=540, on_track=(3,),
            ),
            Test(episodes=100, reference_episodes=100, recheck_episodes=20),
        ),
        Profile(
            "second",
            Data(
                rollouts=1000, steps=384, ending=0.2,
                drivers=(
                    ("random", 0.05), ("walk", 0.1), ("scripted", 0.25), ("noisy", 0.32),
                    ("reckless", 0.25), ("leaving", 0.03),
                ),
            ),
            VAEConfig(updates=10_000, batch=64, encoder="patches", decoder="folded"),
            MDNRNNConfig(
                updates=2160, batch=40, learning_rate=2e-3, seeds=5, wide=True, even=True,
            ),
            FeatureMapConfig(updates=2000),
            Evolution(
                search=Search(12, 64, 2, 0.03, 100, validation_every=3, validation_tracks=32),
                refinement=Search(
                    60, 64, 6, 0.02, 100, validation_every=5, validation_tracks=256,
                    hard_tracks=3, steering_noise=0.1, averaged=20,
                ),
                kinds=(
                    "V", "pair", "untrained", "plain", "wide", "feature", "spatial", "even",
                    "temporal",
                ),
                searched_on=(0, 1, 2, 3, 4), refined=("plain",),
                standardised=("untrained",),
            ),
            Dreaming(
                Search(
                    20, 64, 4, 0.03, 100, validation_every=5, validation_tracks=32,
                    steering_noise=0.1, temperature=1.0, idle_at_mean=True, moments=True,
                    averaged=5,
                ),
                kinds=("plain",), seeds=3, temperatures=(0.1, 0.5, 1.5),
                rounds=3, round_rollouts=150, round_updates=540, on_track=(3,), chains=3,
            ),
            Test(
                episodes=100, headline_episodes=1000, reference_episodes=300, recheck_episodes=20,
                first=1_000_000, altered_episodes=100,
            ),
        ),
    )
}  # fmt: skip


def track_seeds(first: int, count: int, offset: int = 0) -> list[int]:
    """`count` seeds of the range that begins at `first`; AwmError if they would leave it."""
    if offset < 0 or offset + count > SEED_RANGE:
        raise AwmError(
            f"Seeds {offset} to {offset + count - 1} are outside of 0 to {SEED_RANGE - 1}. "
            "Choose a smaller seed."
        )
    return list(range(first + offset, first + offset + count))
