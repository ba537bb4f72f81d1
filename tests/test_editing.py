"""The verb `intervene`, and the readings that it goes by."""

import json
from pathlib import Path

import pytest
import torch

from othellolens.cli import main
from othellolens.errors import InputError
from othellolens.evaluation.cases import Cases, natural_cases
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.probes.fit import ProbePlan
from othellolens.readings import Probes, board_reading, fact_reading, fit_all

PLAN = ProbePlan(rows=3000, batch=500)
SITES = [Site("resid_mid", 1), Site("resid_post", 0)]


def player() -> GPT:
    return GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()


def test_readings_are_the_probes_logits() -> None:
    model = player()
    probes = fit_all(model, SITES, random_games(20, seed=1), plan=PLAN)
    x = torch.randn(5, 32)
    one = board_reading(SITES[0], probes.linear[SITES[0]])
    found = torch.einsum("nd,ksd->nks", x, one.weight) + one.bias
    torch.testing.assert_close(found, probes.linear[SITES[0]].logits(x), atol=1e-4, rtol=1e-4)
    flipped = probes.flipped[SITES[1]]
    fact = fact_reading(SITES[1], flipped)
    logits = x @ fact.weight[0].T + fact.bias[0]
    squares = [concept.square for concept in flipped.concepts.concepts]
    torch.testing.assert_close(logits[:, squares], flipped.logits(x), atol=1e-4, rtol=1e-4)
    corner = logits[:, 0]
    assert torch.equal(corner, torch.zeros(5))  # a corner is never turned over


def test_probes_are_kept_and_found_again(tmp_path: Path) -> None:
    model = player()
    probes = fit_all(model, SITES, random_games(20, seed=1), plan=PLAN)
    probes.save(tmp_path / "probes")
    back = Probes.load(tmp_path / "probes", model)
    assert set(back.linear) == set(back.mlp) == set(back.flipped) == set(SITES)
    x = torch.randn(3, 32)
    for site in SITES:
        assert torch.equal(back.mlp[site].logits(x), probes.mlp[site].logits(x))
    with pytest.raises(InputError, match="no linear probe for resid_post.1"):
        back.readings([Site("resid_post", 1)])
    with pytest.raises(InputError, match="holds no folders of probes"):
        Probes.load(tmp_path, model)
    wide = GPT(GPTConfig(n_layers=2, d_model=64, n_heads=4, d_mlp=64), seed=3)
    with pytest.raises(InputError, match="reads vectors of 32, but this model has 64 there"):
        Probes.load(tmp_path / "probes", wide)


def test_the_whole_benchmark_in_small(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every method and control has its line, cases can be kept and used again, numbers agree."""
    small = ["--count", "12", "--tuned-on", "6", "--seed", "3", "--edits", "flip"]
    main(
        ["intervene", "mini", *small, "--games", "120", "--rows", "2000", "--batch", "500"]
        + ["--keep", str(tmp_path / "probes"), "--write", str(tmp_path / "cases.json")]
        + ["--sweep", "--json", str(tmp_path / "out.json")]
    )
    said = capsys.readouterr().out
    for what in (
        "oracle null",
        "nothing (null)",
        "linear, set",
        "linear, add",
        "linear, reflect",
        "at all moves",
        "MLP gradient",
        "another square",
        "random direction",
        "another layer",
        "flipped set to",
        "nothing wanted",
    ):
        assert what in said, what
    result = json.loads((tmp_path / "out.json").read_text())
    scores = {row["edited"]: row for row in result["flip"]["scores"]}
    assert scores["nothing (null)"]["of null"] == 1
    assert result["cases"] == "natural cases seed=1000006 count=12"
    kept = Cases.load(tmp_path / "cases.json")
    assert torch.equal(kept.histories.moves, natural_cases(12, seed=1000006).histories.moves)
    main(
        ["intervene", "mini", *small, "--probes", str(tmp_path / "probes")]
        + ["--cases", str(tmp_path / "cases.json"), "--json", str(tmp_path / "again.json")]
    )
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["flip"]["scores"] == result["flip"]["scores"]
