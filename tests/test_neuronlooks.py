"""The verb `neurons`."""

import json
from pathlib import Path

import pytest

from othellolens import neuronlooks
from othellolens.errors import InputError
from othellolens.gpt.runs import load_gpt
from othellolens.gpt.sites import Site
from othellolens.neuronlooks import neurons
from othellolens.othello.games import random_games
from othellolens.probes.fit import ProbePlan
from othellolens.readings import fit_all

PLAN = ProbePlan(rows=3000, batch=500)


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hasty probes of the stream around the MLP of layer 3 of mini."""
    folder = tmp_path_factory.mktemp("neurons") / "probes"
    sites = [Site("resid_mid", 3), Site("resid_post", 3)]
    games = random_games(80, seed=0)
    fit_all(load_gpt("mini"), sites, games, mlp=False, flipped=False, plan=PLAN).save(folder)
    return folder


def test_neurons_that_were_asked_for_are_shown_with_boards(
    probes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    neurons(
        layer=3,
        neurons=(918, 784),
        games="30",
        probes=probes,
        condition="!a5 empty",
        top=4,
        json=out,
    )
    said = capsys.readouterr().out
    for what in ("chance 0.48", "L3N918", "N918    !a5 empty", "w_in . mine-theirs", "to move"):
        assert what in said, what
    assert said.count("in game") == 8 and said.count("share of elsewhere") == 2
    result = json.loads(out.read_text())
    one, other = result["neurons"]
    assert (one["neuron"], other["neuron"], result["layer"]) == (918, 784, 3)
    # Neuron 918 of mini is on where a5 is taken, and takes the move there away.
    assert one["rule"]["condition"] == "!a5 empty" and one["rule"]["f1"] > 0.99
    assert one["shuffled"]["f1"] < 0.9 and one["spectrum"]["auroc"] > 0.99
    values = [value for value in one["logits"] if value is not None]
    assert len(values) == 60 and min(values) == one["logits"][4] < -20
    assert [place["value"] for place in one["top"]] == sorted(
        (place["value"] for place in one["top"]), reverse=True
    )
    assert sum(one["spectrum"]["holds"] + one["spectrum"]["others"]) == 30 * 59


def test_the_neurons_with_the_best_rules_are_found(
    probes: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    neurons(layer=3, games="30", probes=probes, count=3, by="lift", json=out)
    said = capsys.readouterr().out
    assert "shuffled" in said and "w_in . mine-theirs" not in said
    found = [one["rule"]["chosen"] for one in json.loads(out.read_text())["neurons"]]
    assert found == sorted(found, reverse=True) and len(found) == 3 and found[-1] > 0.9


def test_without_rules_the_neurons_are_those_that_read_what_probes_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    neurons(layer=0, rules=False, games="20", fit_on="80", plan=PLAN, count=4, json=out)
    assert "shuffled" not in capsys.readouterr().out
    rows = json.loads(out.read_text())["neurons"]
    shares = [one["in_share"]["share"] for one in rows]
    assert shares == sorted(shares, reverse=True) and "rule" not in rows[0]


def test_rules_may_be_of_more_families(probes: Path, tmp_path: Path) -> None:
    facts = neuronlooks.facts_for(("played", "mine"))
    assert len(facts) == 248 + 60 and facts.families[-1] == "played"
    out = tmp_path / "out.json"
    neurons(
        layer=3, neurons=(176,), top=0, games="30", probes=probes, families_of=("played",), json=out
    )
    one = json.loads(out.read_text())["neurons"][0]
    assert "top" not in one and one["rule"]["f1"] > one["shuffled"]["f1"]


def test_bad_input(probes: Path) -> None:
    with pytest.raises(InputError, match="this model has 5 layers"):
        neurons(layer=5)
    with pytest.raises(InputError, match="no neuron 1024: this layer has 1024"):
        neurons(layer=3, neurons=(3, 1024))
    with pytest.raises(InputError, match="did you mean 'c3 mine'"):
        neurons(layer=3, condition="c3 mien")
    with pytest.raises(InputError, match="0 neurons to show"):
        neurons(layer=3, count=0)
    with pytest.raises(InputError, match="no linear probe for resid_mid.2"):
        neurons(layer=2, probes=probes)
    with pytest.raises(InputError, match="no concept family 'mien'"):
        neurons(layer=3, neurons=(0,), probes=probes, games="4", families_of=("mien",))
    with pytest.raises(InputError, match="also trained on"):
        neurons(layer=3, games="4", seed=1)
    with pytest.raises(InputError, match="never holds"):
        neurons(
            layer=3,
            neurons=(0,),
            rules=False,
            probes=probes,
            games="4",
            condition="d4 mine & d4 theirs",
        )
