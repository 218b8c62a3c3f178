"""What is made from what, and what a profile of one's own takes over from another."""

import pytest

from awm import stages
from awm.config import PRESETS
from awm.data.latents import encode_latents
from awm.errors import AwmError
from awm.ids import PLAIN, Agent, Memory
from awm.store import Workspace
from awm.training import mdn_rnn, vae


def test_a_later_round_learns_from_all_that_was_recorded(smoke):
    names = [stage.name for stage in stages.recorded(smoke.profile, Memory(round=2))]
    assert names == ["rollouts.zarr", "rollouts-plain-round1.zarr", "rollouts-plain-round2.zarr"]
    asked = Memory(seed=1, round=2)
    one = PRESETS["smoke"].but("one", dream__chains=0)
    many = one.but("mine", dream__chains=2, dream__seeds=3)
    before = Memory(seed=1, round=1)
    assert stages.recorders(one, asked) == [Agent(before, "dream", 1)]
    assert stages.recorders(many, asked) == [Agent(before, "dream", seed) for seed in range(3)]
    assert [str(agent) for agent in many.dreams(1)] == [
        f"plain{chain}-round1_dream{seed}" for chain in ("", "-1") for seed in ("", "-1", "-2")
    ]
    stage = stages.mdn_rnn(smoke.profile, Memory(round=2))
    assert stage.inputs["before"].key == stages.mdn_rnn(smoke.profile, Memory(round=1)).key
    assert stage.settings["updates"] == smoke.profile.dream.round_updates


def test_names_of_results_are_their_own(smoke):
    agents = [Agent(), Agent().refined(), Agent(found="dream"), Agent(found="dream").on_track()]
    agents += [Agent(Memory("V")), Agent(seed=1), Agent(Memory("plain", 1))]
    found = [stages.agent(smoke.profile, agent).name for agent in agents]
    memories = [Memory(), Memory("wide"), Memory(seed=1), Memory(round=1)]
    found += [stages.mdn_rnn(smoke.profile, memory).name for memory in memories]
    evaluated = [("fast", 2, 0), ("reference", 2, 0), ("fast", 3, 0), ("fast", 2, 1)]
    found += [stages.evaluation(smoke.profile, Agent(), *each).name for each in evaluated]
    assert len(set(found)) == len(found)
    assert found[-4:-2] == [f"evaluations/plain_track.{f}.json" for f in ("fast", "reference")]
    assert all(name.startswith("evaluations/other/") for name in found[-2:])


@pytest.mark.parametrize(
    ("change", "given", "not_given"),
    [
        ({"dream__rounds": 0}, {"rollouts.zarr", "vae.safetensors", "latents.zarr"}, set()),
        (
            {"mdn_rnn__hidden_size": 32},
            {"rollouts.zarr", "vae.safetensors", "latents.zarr", "feature_map.safetensors"},
            {"mdn_rnn/plain.safetensors"},
        ),
        ({"vae__updates": 3}, {"rollouts.zarr"}, {"vae.safetensors", "mdn_rnn/plain.safetensors"}),
        ({"data__steps": 32}, set(), {"rollouts.zarr", "vae.safetensors"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_profile_of_ones_own_takes_over_what_it_would_make_the_same_way(
    change, given, not_given, smoke_copy
):
    mine = Workspace.open(smoke_copy.profile.but("mine", **change), smoke_copy.root)
    found = set(stages.share(smoke_copy, mine))
    assert found >= given and not found & not_given
    assert all((mine.own / name).exists() for name in found)
    assert stages.share(smoke_copy, mine) == [], "what lies there stays"
    assert not any(name.startswith("agents") for name in found)


def test_what_was_taken_over_is_used_and_never_written_through(smoke_copy, monkeypatch):
    mine = Workspace.open(smoke_copy.profile.but("mine", mdn_rnn__updates=2), smoke_copy.root)
    stages.share(smoke_copy, mine)
    v = vae.train(mine)
    with monkeypatch.context() as patch:
        patch.setattr(v, "encode_frames", None)
        encode_latents(mine, v)
    assert mdn_rnn.train(mine, PLAIN).manifest["history"][-1]["update"] == 2
    before = mdn_rnn.load(smoke_copy).manifest["content"]
    v.posterior.bias.data += 1
    mine.save(stages.vae(mine.profile), v.state_dict())
    encode_latents(mine, vae.load(mine))
    assert vae.load(smoke_copy).manifest["content"] != vae.load(mine).manifest["content"]
    assert mdn_rnn.load(smoke_copy).manifest["content"] == before
    encode_latents(smoke_copy, vae.load(smoke_copy))
    with pytest.raises(AwmError, match="another vae"):
        mdn_rnn.load(mine, PLAIN)
