"""Memories and agents: what can be, its name, and that a name is read again as what it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm.errors import AwmError
from awm.ids import ATTENTIONS, KINDS, PLAIN, SEEN, Agent, Memory

NUMBERS = st.integers(0, 10**9 - 1)
WITH_M = st.builds(Memory, st.sampled_from(KINDS), NUMBERS, NUMBERS)
MEMORIES = WITH_M | st.just(Memory("V"))
HEATS = st.none() | st.floats(0, 100, exclude_min=True, exclude_max=True)
DREAMT = st.builds(Agent, WITH_M, st.just("dream"), NUMBERS, HEATS)
EVOLVED = st.builds(Agent, MEMORIES, st.just("track"), NUMBERS)
AGENTS = st.recursive(DREAMT | EVOLVED | DREAMT.map(Agent.on_track), lambda a: a.map(Agent.refined))


@given(MEMORIES)
def test_every_memory_is_read_as_it_was_written(memory):
    assert Memory.parse(str(memory)) == memory


@given(AGENTS)
@settings(max_examples=300)
def test_every_agent_is_read_as_it_was_written(agent):
    name = str(agent)
    assert Agent.parse(name) == agent
    assert not set(name) & set("/\\ \n") and ".." not in name and not name.startswith(".")


@given(AGENTS, AGENTS)
def test_two_agents_never_share_a_name(one, other):
    assert (str(one) == str(other)) == (one == other)


ALPHABET = st.sampled_from([*SEEN, "track", "dream", "refined", "-tau", "-", "_", "1", "0.5", "."])


@given(st.lists(ALPHABET | st.sampled_from(["/", "\\", "..", "\n", "\0"]), max_size=9).map("".join))
@settings(max_examples=500)
def test_what_is_read_never_leaves_its_folder(text):
    for kind in (Memory, Agent):
        try:
            found = kind.parse(text)
        except AwmError:
            continue
        assert not set(text) & set("/\\\n\0") and ".." not in text
        assert kind.parse(str(found)) == found


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_an_error(text):
    for kind in (Memory, Agent):
        try:
            assert kind.parse(str(kind.parse(text)))
        except AwmError as error:
            assert str(error).endswith(".")


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        ("V_track", Agent(Memory("V"))),
        ("plain", Agent()),
        ("spatial-2_track-12_refined", Agent(Memory("spatial", 2), "track", 12).refined()),
        ("plain_dream-2-tau0.5", Agent(PLAIN, "dream", 2, 0.5)),
        ("plain-round3_dream_track", Agent(Memory(round=3), "dream").on_track()),
    ],
)
def test_a_name_says_what_it_is(name, agent):
    assert Agent.parse(name) == agent
    assert str(agent) == (name if "_" in name else f"{name}_track")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Memory("clairvoyant"),
        lambda: Memory("plain", -1),
        lambda: Memory("plain", 10**9),  # would not be read again
        lambda: Memory("V", 1),
        lambda: Memory("V", round=1),
        lambda: Agent(seed=-1),
        lambda: Agent(seed=10**9),
        lambda: Agent(Memory("V"), "dream"),
        lambda: Agent(temperature=1.0),
        lambda: Agent(found="dream", temperature=0.0),
        lambda: Agent(found="dream", temperature=float("nan")),
        lambda: Agent(found="dream", temperature=float("inf")),
        lambda: Agent(found="refined"),
        lambda: Agent(parent=Agent()),
        lambda: Agent(found="luck"),
        lambda: Agent(Memory("spatial"), "refined", parent=Agent()),
        lambda: Agent(PLAIN, "refined", 1, parent=Agent()),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(AwmError):
        make()


def test_a_search_knows_where_it_began():
    agent = Agent(found="dream", seed=1).on_track().refined()
    names = ["plain_dream-1", "plain_dream-1_track", "plain_dream-1_track_refined"]
    assert [str(each) for each in agent.searches] == names


def test_searches_of_other_seeds_and_trainings_are_a_family():
    agents = [Agent(Memory("spatial", n), "track", 7 * n).refined() for n in range(3)]
    assert {str(agent.family) for agent in agents} == {"spatial_track_refined"}
    assert Agent(found="dream", temperature=0.5, seed=2).family.temperature == 0.5


def test_labels_tell_agents_apart():
    agents = [Agent(Memory(kind)) for kind in SEEN]
    agents += [agent.refined() for agent in agents] + [Agent(Memory(round=1))]
    agents += [Agent(found="dream"), Agent(found="dream", temperature=0.5), Agent(seed=2)]
    agents += [Agent(found="dream").on_track(), Agent(Memory("plain", 1), "dream")]
    assert len({agent.label for agent in agents}) == len(agents)
    assert Agent(Memory("spatial")).refined().label == "M, spatial attention, refined"
    assert len({Memory(kind).label for kind in ATTENTIONS}) == 3
