"""Names of controllers say how they were found, and can be read again."""

import pytest

from awm.names import Name, dreamt, evolved, refined, woken


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("V", Name("V")),
        ("spatial-seed12-refined", Name("spatial", seed=12, refined=True)),
        ("none-dream-tau0.5-seed2", Name("none", dream=True, temperature=0.5, seed=2)),
        (
            "none-dream-round3-woken-seed1-refined",
            Name("none", dream=True, round=3, woken=True, seed=1, refined=True),
        ),
        ("none-noise", Name("none", other="-noise")),
        ("-", Name("-")),
    ],
)
def test_a_name_is_read_and_written_again(name, parts):
    assert Name.parse(name) == parts
    assert str(parts) == name


def test_each_search_names_its_result():
    assert evolved("spatial") == "spatial"
    assert evolved("spatial", 2) == "spatial-seed2"
    assert dreamt("none", 1, 0.5, 3) == "none-dream-tau0.5-round3-seed1"
    assert woken("none-dream-seed1") == "none-dream-woken-seed1"
    assert refined("spatial-seed1") == "spatial-seed1-refined"


def test_a_search_knows_where_it_began():
    name = Name.parse("none-dream-woken-seed1-refined")
    starts = []
    while name := name.start:
        starts.append(str(name))
    assert starts == ["none-dream-woken-seed1", "none-dream-seed1"]


def test_seeds_of_a_search_are_a_family():
    assert str(Name.parse("none-dream-tau0.5-seed2").family) == "none-dream-tau0.5"
    assert str(Name.parse("spatial-seed12-refined").family) == "spatial-refined"
