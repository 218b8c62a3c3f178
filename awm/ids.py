"""Which memory, which agent: small frozen types, and the one place that turns them into text.

`str` gives the name of a file and `parse` reads it again; `label` is how legends and prose say it.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from awm.errors import AwmError

#: What an M looks at beside its inputs: the entries of [z, a], V's map of the frame, or its own
#: past. How it does is in `awm.models.attention`.
LOOKS_AT = {"feature": "entries", "spatial": "map", "even": "map", "temporal": "past"}
#: The kinds of M that attend to something: that choose where to look.
ATTENTIONS = ("feature", "spatial", "temporal")
#: All kinds of M. Plain attends to nothing; controls are an untrained one, a wider plain one, and
#: one that is shown the same map as a spatial M and sees all of it evenly.
KINDS = ("untrained", "plain", "wide", *ATTENTIONS, "even")
#: What C sees without an M: z, or the last two.
WITHOUT_M = ("V", "pair")
#: What C may see: these, or z and the hidden state of an M.
SEEN = (*WITHOUT_M, *KINDS)

#: Seeds have at most nine digits.
_MOST = 10**9

_LABELS = {
    "V": "V alone",
    "pair": "V, last two z",
    "untrained": "untrained M",
    "plain": "plain M",
    "wide": "wider plain M",
    "even": "M, spatial, even weights",
    **{kind: f"M, {kind} attention" for kind in ATTENTIONS},
}


@dataclass(frozen=True)
class Memory:
    """One training of an M; of a kind of `WITHOUT_M` there is none.

    Raises:
        AwmError: for a kind that is none of `SEEN`, and a seed or round that is below zero or has
            more than nine digits.
    """

    kind: str = "plain"
    seed: int = 0  #: of its weights and batches
    round: int = 0  #: of iterative training (`awm.study.rounds`)

    def __post_init__(self):
        if self.kind not in SEEN:
            raise AwmError(f"There is no model {self.kind!r}. Choose one of: {', '.join(SEEN)}.")
        numbers = (self.seed, self.round)
        if not all(0 <= n < _MOST for n in numbers) or (not self.has_m and any(numbers)):
            raise AwmError(f"There is no {self.kind} of seed {self.seed} and round {self.round}.")

    def __str__(self) -> str:
        seed = f"-{self.seed}" if self.seed else ""
        return self.kind + seed + (f"-round{self.round}" if self.round else "")

    @classmethod
    def parse(cls, text: str) -> "Memory":
        """The memory of that name. AwmError if it is none."""
        found = re.fullmatch(r"([A-Za-z]+)(?:-(\d{1,9}))?(?:-round(\d{1,9}))?", text)
        if not found:
            raise AwmError(f"{text[:80]!r} names no M. Write, for example, plain or spatial-1.")
        return cls(found[1], int(found[2] or 0), int(found[3] or 0))

    @property
    def has_m(self) -> bool:
        """Whether there is an M at all."""
        return self.kind not in WITHOUT_M

    @property
    def needs_map(self) -> bool:
        """Whether its M looks at V's map of the frame, beside z."""
        return LOOKS_AT.get(self.kind) == "map"

    @property
    def label(self) -> str:
        seed = f", training {self.seed}" if self.seed else ""
        return _LABELS[self.kind] + seed + (f", round {self.round}" if self.round else "")


#: The first training of the plain M.
PLAIN = Memory()

Found = Literal["track", "dream", "refined"]


@dataclass(frozen=True)
class Agent:
    """A controller, by how it was found: the last search, and the agent that search began at.

    Raises:
        AwmError: for what no search leads to, such as a refinement of nothing.
    """

    memory: Memory = PLAIN
    found: Found = "track"
    seed: int = 0  #: of its searches
    temperature: float | None = None  #: of the dream; None is the profile's
    parent: "Agent | None" = None  #: None if the search began at zero

    def __post_init__(self):
        parent, dreams = self.parent, self.found == "dream"
        if self.found not in ("track", "dream", "refined"):
            raise AwmError(f"No search is called {self.found!r}. Choose track, dream or refined.")
        if parent and (parent.memory, parent.seed) != (self.memory, self.seed):
            raise AwmError("A search goes on with the memory and the seed of what it began at.")
        if dreams and (not self.memory.has_m or parent):
            raise AwmError("A dream needs an M, and begins at zero.")
        if self.temperature is not None and not (dreams and 0 < self.temperature < 100):
            raise AwmError("Only a dream has a temperature, and it lies between 0 and 100.")
        if (
            self.found == "refined"
            and not parent
            or self.found == "track"
            and parent
            and (parent.found != "dream")
        ):
            raise AwmError("Refine an agent, or go on on the track from one of a dream.")
        if not 0 <= self.seed < _MOST:
            raise AwmError(f"A seed has one to nine digits and no sign, unlike {self.seed}.")

    def __str__(self) -> str:
        step = self.found
        if self.parent is None:
            step += f"-{self.seed}" * bool(self.seed)
            step += "" if self.temperature is None else f"-tau{self.temperature!r}"
        return f"{self.parent or self.memory}_{step}"

    @classmethod
    def parse(cls, text: str) -> "Agent":
        """The agent of that name; of a memory alone, the one evolved from zero on the track.

        Raises:
            AwmError: if it is no name of an agent.
        """
        memory, *steps = text.split("_")
        agent = None
        for step in steps or ["track"]:
            found = re.fullmatch(r"([a-z]+)(?:-(\d{1,9}))?(?:-tau([\d.e-]{1,24}))?", step)
            try:
                if not found or (agent and (found[2] or found[3])):
                    raise ValueError
                seed = agent.seed if agent else int(found[2] or 0)
                heat = float(found[3]) if found[3] else None
            except ValueError:
                raise AwmError(
                    f"{text[:80]!r} names no agent. Write, for example, plain_track, "
                    "spatial_track-1_refined or plain_dream-tau0.5."
                ) from None
            agent = cls(Memory.parse(memory), found[1], seed, heat, agent)
        return agent

    @property
    def family(self) -> "Agent":
        """What it shares with searches of other seeds and on other trainings of its M."""
        memory = replace(self.memory, seed=0)
        return replace(self, memory=memory, seed=0, parent=self.parent and self.parent.family)

    @property
    def searches(self) -> "list[Agent]":
        """The agents of all searches that led to it, the first first."""
        return [*(self.parent.searches if self.parent else ()), self]

    def refined(self) -> "Agent":
        """The agent that is evolved further from this one."""
        return replace(self, found="refined", temperature=None, parent=self)

    def on_track(self) -> "Agent":
        """The agent that goes on on the track from this one of a dream."""
        return replace(self, found="track", temperature=None, parent=self)

    @property
    def label(self) -> str:
        first, *later = self.searches
        parts = [_LABELS[self.memory.kind]]
        if first.found == "dream":
            heat = "" if first.temperature is None else f", τ = {first.temperature:g}"
            parts.append(f"evolved in the dream{heat}")
            parts += [f"training {self.memory.seed}"] * bool(self.memory.seed)
        if self.memory.round:
            parts.append(f"round {self.memory.round}")
        parts += [{"track": "then on the track", "refined": "refined"}[a.found] for a in later]
        if self.seed:
            parts.append(f"seed {self.seed}")
        return ", ".join(parts)
