"""Profiles: the presets, profiles of one's own, and what is refused."""

import dataclasses
import json
from dataclasses import replace

import pytest

from awm import config, stages
from awm.config import PRESETS, profile_from
from awm.data.rollouts import collect
from awm.errors import AwmError
from awm.ids import Agent, Memory
from awm.store import Workspace, write_json

SMOKE = PRESETS["smoke"]


def test_the_reports_profile_records_as_many_frames_as_the_original():
    data = PRESETS["paper"].data
    assert data.rollouts * data.steps == 192_000


@pytest.mark.parametrize("name", PRESETS)
def test_a_profile_survives_json(name):
    values = json.loads(json.dumps(dataclasses.asdict(PRESETS[name])))
    assert profile_from(values) == PRESETS[name]


def leaves(section, path=""):
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), f"{path}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{name}__")
        else:
            yield name, value


VALUES = {path: value for path, value in leaves(SMOKE) if path != "name"}


@pytest.mark.parametrize("path", VALUES)
def test_but_changes_one_value(path):
    old = VALUES[path]
    new = old + 1 if type(old) in (int, float) else not old if type(old) is bool else old
    mine = SMOKE.but("mine", **{path: new})
    assert dict(leaves(mine)) == VALUES | {"name": "mine", path: new}


def test_but_takes_what_json_and_people_write():
    mine = SMOKE.but("mine", evolution__search__sigma=1, dream__temperatures=[1, 0.5])
    assert mine.evolution.search.sigma == 1.0 and type(mine.evolution.search.sigma) is float
    assert mine.dream.temperatures == (1.0, 0.5)
    mine = mine.but("other", data__drivers=[["random", 1]], dream__search__temperature=None)
    assert mine.data.drivers == (("random", 1.0),) and mine.dream.search.temperature is None


@pytest.mark.parametrize(
    "changes",
    [
        {"mdn_rnn__hidden": 3},
        {"hidden_size": 3},
        {"mdn_rnn": 3},
        {"mdn_rnn__updates__often": 3},
        {"vae____updates": 3},
        {"vae__name": "x"},
        {"vae__updates": 1.5},
        {"vae__updates": "12"},
        {"vae__updates": True},
        {"vae__updates": None},
        {"mdn_rnn__wide": 1},
        {"evolution__kinds": "plain"},
        {"evolution__kinds": (1,)},
        {"data__drivers": (("random",),)},
        {"data__drivers": (("random", 0.5, 0.5),)},
    ],
    ids=str,
)
def test_a_wrong_path_or_type_is_said(changes):
    (path,) = changes
    with pytest.raises(AwmError, match=path.split("__")[0]):
        SMOKE.but("mine", **changes)


def test_rounds_of_all_chains_keep_to_the_tracks_of_data():
    offsets = [
        SMOKE.but("mine", dream__chains=3, dream__rounds=3).tracks_of(Memory("plain", chain, n))
        for chain in range(3)
        for n in (1, 2, 3)
    ]
    assert offsets == [n * 1_000_000 for n in range(1, 10)], "none of them the drivers'"
    with pytest.raises(AwmError, match="for 9 rounds.*fewer chains"):
        SMOKE.but("mine", dream__chains=5, dream__rounds=2)
    with pytest.raises(AwmError, match="round 10 of plain would be number 10"):
        SMOKE.but("mine", dream__chains=0, dream__rounds=10)


@pytest.mark.parametrize("name", [*PRESETS, "pretrained", "", "my own", "../mine", "a.b", "1st"])
def test_a_name_that_is_taken_or_no_word_is_refused(name):
    with pytest.raises(AwmError, match="cannot name a profile"):
        SMOKE.but(name, seed=1)


def test_ones_own_profile_is_remembered(workspace):
    mine = SMOKE.but("mine", mdn_rnn__hidden_size=128)
    with pytest.raises(AwmError, match="no profile 'mine'.*smoke, quick, paper"):
        Workspace.open("mine")
    there = Workspace.open(mine)
    assert there.own == workspace / "data" / "mine"
    assert Workspace.open("mine") == Workspace.open(mine) == Workspace.open(there) == there
    with pytest.raises(AwmError, match="another profile 'mine'"):
        Workspace.open(SMOKE.but("mine", mdn_rnn__hidden_size=129))
    assert Workspace.open("mine").profile == mine, "it was not replaced"


@pytest.mark.parametrize("name", ["huge", "../smoke", "smoke/..", "", "/tmp"])
def test_an_unknown_profile_is_named_with_the_known_ones(name):
    with pytest.raises(AwmError, match="smoke, quick, paper"):
        Workspace.open(name)


def test_a_preset_cannot_be_another(workspace):
    with pytest.raises(AwmError, match="another profile 'smoke'"):
        Workspace.open(replace(SMOKE, seed=1))
    assert not (workspace / "data").exists()


def test_damaged_profiles_are_refused(workspace):
    here = Workspace.open(SMOKE.but("mine", seed=1))
    values = dataclasses.asdict(here.profile)
    for wrong in ({**values, "extra": 1}, {"name": "mine"}, {}, {**values, "seed": "one"}):
        write_json(here.own / "profile.json", wrong)
        with pytest.raises(AwmError):
            Workspace.open("mine")
    (here.own / "profile.json").write_text("[]")
    with pytest.raises(AwmError, match="damaged"):
        Workspace.open("mine")
    write_json(here.own / "profile.json", {**values, "name": "yours"})  # a folder was renamed
    with pytest.raises(AwmError, match="profile 'yours'"):
        Workspace.open("mine")


def test_without_a_name_the_committed_study_is_opened_or_the_quick_one(workspace):
    assert Workspace.open().profile.name == "quick"
    (workspace / "data/pretrained/paper").mkdir(parents=True)
    assert Workspace.open().profile.name == "quick", "it has no agents"
    (workspace / "data/pretrained/paper/agents").mkdir()
    assert Workspace.open().profile.name == "paper"


def test_an_unknown_driver_is_said(workspace):
    mine = SMOKE.but("mine", data__drivers=(("chauffeur", 1.0),))
    with pytest.raises(AwmError, match="chauffeur.*scripted"):
        collect(Workspace.open(mine))


def test_seed_ranges_are_disjoint():
    starts = [
        config.DATA_SEEDS, config.EVOLUTION_SEEDS, config.VALIDATION_SEEDS, config.TEST_SEEDS
    ]  # fmt: skip
    ranges = [config.track_seeds(s, 3, config.SEED_RANGE - 3) for s in starts]
    assert all(r[-1] < s for r, s in zip(ranges, starts[1:], strict=False))
    with pytest.raises(AwmError, match="smaller seed"):
        config.track_seeds(config.TEST_SEEDS, 10, config.SEED_RANGE - 5)


def test_an_agents_seed_drives_with_the_training_that_the_profile_names():
    profile = SMOKE.but("mine", evolution__searched_on=(0, 0, 1))
    assert profile.agent("plain", 2) == Agent(Memory("plain", 1), "track", 2)
    assert profile.agent("V", 2).memory == Memory("V")
    assert profile.agent("plain", 7).memory == Memory("plain", 0)
    assert profile.agents == [profile.agent(k, s) for s in range(3) for k in ("V", "plain")]


# Which values decide a stage's result: those, and no others, are in its key.
PLAIN, DREAM = Agent(), Agent(found="dream")
STAGES = {
    "rollouts": stages.rollouts,
    "V": stages.vae,
    "M": lambda profile: stages.mdn_rnn(profile, Memory()),
    "M of a round": lambda profile: stages.mdn_rnn(profile, Memory(round=1)),
    "head": stages.feature_map,
    "agent": lambda profile: stages.agent(profile, PLAIN),
    "V's agent": lambda profile: stages.agent(profile, Agent(Memory("V"))),
    "refined": lambda profile: stages.agent(profile, PLAIN.refined()),
    "dream": lambda profile: stages.agent(profile, DREAM),
    "spatial dream": lambda profile: stages.agent(profile, Agent(Memory("spatial"), "dream")),
    "evaluation": lambda profile: stages.evaluation(profile, PLAIN, "fast", 3, 0),
}
EVERYTHING = set(STAGES)
WITH_V, WITH_M = EVERYTHING - {"rollouts"}, EVERYTHING - {"rollouts", "V", "head", "V's agent"}
AGENTS = WITH_M - {"M", "M of a round"} | {"V's agent"}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"seed": 1}, EVERYTHING),
        ({"data__drivers": (("random", 1.0),)}, EVERYTHING),
        ({"data__validation_share": 0.3}, EVERYTHING),
        ({"vae__free_nats": 0.4}, WITH_V),
        ({"vae__learning_rate": 0.1}, WITH_V),
        ({"mdn_rnn__memory": 31}, WITH_M),
        ({"mdn_rnn__gradient_norm": 2.0}, WITH_M),
        ({"mdn_rnn__smallest_reward": -2.0}, WITH_M),
        ({"mdn_rnn__seeds": 9}, set()),
        ({"mdn_rnn__wide": False}, set()),
        ({"feature_map__learning_rate": 1e-4}, {"head", "spatial dream"}),
        ({"feature_map__hidden_size": 64}, {"head", "spatial dream"}),
        ({"evolution__smallest_deviation": 0.1}, AGENTS | {"M of a round"}),
        ({"evolution__lanes": 32}, AGENTS | {"M of a round"}),
        ({"evolution__search__generations": 3}, {"agent", "V's agent", "refined", "evaluation"}),
        ({"evolution__refinement__hard_tracks": 0}, {"refined"}),
        ({"dream__search__idle_at_mean": False}, {"dream", "spatial dream", "M of a round"}),
        ({"dream__round_updates": 5}, {"M of a round"}),
        ({"evolution__kinds": ("V",)}, set()),
        ({"test__episodes": 9}, set()),
        ({}, set()),  # a name decides nothing
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_value_is_in_the_keys_of_what_it_decides(change, changed):
    mine = SMOKE.but("mine", **change)
    found = {name for name, stage in STAGES.items() if stage(mine).key != stage(SMOKE).key}
    assert found == changed


def test_keys_tell_stages_apart():
    keys = [stage(SMOKE).key for stage in STAGES.values()]
    assert len(set(keys)) == len(keys)
