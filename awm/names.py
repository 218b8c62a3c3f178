"""What controllers are called. A name tells how its controller was found:
`none-dream-round3-woken-seed1` saw [z, h] of the M without attention, began in the dream of the
third round, and then learnt on the track; all of it with seed 1.
"""

import re
from dataclasses import dataclass, replace

from awm.config import Profile

_FORM = re.compile(
    r"(?P<model>[^-]+)(?P<dream>-dream)?(-tau(?P<temperature>[\d.]+))?(-round(?P<round>\d+))?"
    r"(?P<woken>-woken)?(-seed(?P<seed>\d+))?(?P<refined>-refined)?(?P<other>-.*)?"
)


@dataclass(frozen=True)
class Name:
    """The parts of a controller's name; `str` puts them together again."""

    model: str  #: what it sees, one of `awm.config.MODELS`
    dream: bool = False  #: evolved in M's dream
    temperature: float | None = None  #: of that dream; None is the profile's
    round: int = 0  #: of iterative training (see `awm.iteration`)
    woken: bool = False  #: then evolved on the track
    seed: int = 0  #: of its searches
    refined: bool = False  #: and in the end evolved further, as `Profile.refinement` says
    other: str = ""  #: whatever follows in a name that is not ours

    @classmethod
    def parse(cls, name: str) -> "Name":
        """The parts of a name; those that are not ours end up in `model` and `other`."""
        found = _FORM.fullmatch(name)
        if found is None:
            return cls(name)
        part = found.groupdict()
        return cls(
            part["model"],
            dream=part["dream"] is not None,
            temperature=None if part["temperature"] is None else float(part["temperature"]),
            round=int(part["round"] or 0),
            woken=part["woken"] is not None,
            seed=int(part["seed"] or 0),
            refined=part["refined"] is not None,
            other=part["other"] or "",
        )

    def __str__(self) -> str:
        return "".join(
            (
                self.model,
                "-dream" * self.dream,
                "" if self.temperature is None else f"-tau{self.temperature:g}",
                f"-round{self.round}" if self.round else "",
                "-woken" * self.woken,
                f"-seed{self.seed}" if self.seed else "",
                "-refined" * self.refined,
                self.other,
            )
        )

    @property
    def family(self) -> "Name":
        """What it shares with the same search of other seeds."""
        return replace(self, seed=0)

    @property
    def start(self) -> "Name | None":
        """The controller that its last search began at; None if that was zero."""
        if self.refined:
            return replace(self, refined=False)
        return replace(self, woken=False) if self.woken else None


def evolved(model: str, seed: int = 0) -> str:
    """The controller that is evolved for a model with a seed; an M of a seed is called alike."""
    return str(Name(model, seed=seed))


def seen(profile: Profile, model: str, seed: int = 0) -> str:
    """What the search of that seed drives with: `"V"`, or the name of one training of an M.

    Seeds that the profile does not know drive with the first.
    """
    if model == "V" or seed >= profile.evolution_seeds:
        return model
    return evolved(model, profile.searched_on[seed])


def dreamt(model: str, seed: int = 0, temperature: float | None = None, round: int = 0) -> str:
    """The controller that is evolved in a model's dream."""
    return str(Name(model, dream=True, temperature=temperature, round=round, seed=seed))


def woken(name: str) -> str:
    """The controller that is evolved on the track from one of a dream."""
    return str(replace(Name.parse(name), woken=True))


def refined(name: str) -> str:
    """The controller that is evolved further from another."""
    return str(replace(Name.parse(name), refined=True))
