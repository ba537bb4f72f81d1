"""Numbers of features that are asked for and cannot be had."""

from pathlib import Path

import pytest
from reference.tiny import tiny_model

from othellolens.cli import main
from othellolens.gpt.runs import save_gpt
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.sae.grid import ALL, recipe_of
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import train_sae

SITE = Site("resid_post", 1)
PLAN = SAEPlan(rows=8000, batch=500, lr=1e-3)
BOUNDED = [name for name in ALL if name not in ("relu", "relu_tied", "p_anneal")]
"""Those whose features are off wherever they see less than 0, whatever their thresholds."""


@pytest.mark.parametrize("name", BOUNDED)
def test_a_number_out_of_reach_is_told(name: str) -> None:
    """All features on everywhere: nobody but ReLU, whose bias may rise, has that."""
    with pytest.warns(
        UserWarning, match=r"sae: 16 features a position are out of reach, \d"
    ) as told:
        sae = train_sae(
            recipe_of(name, 16, 16), tiny_model(), SITE, random_games(40, seed=0), plan=PLAN
        )
    assert sae.metadata["l0"] < 15.2
    assert "\n" not in str(told[0].message)


@pytest.mark.parametrize("name", ALL)
def test_a_number_within_reach_is_had_without_a_word(name: str) -> None:
    sae = train_sae(recipe_of(name, 16, 4), tiny_model(), SITE, random_games(40, seed=0), plan=PLAN)
    assert sae.metadata["l0"] == pytest.approx(4, rel=0.05)


def test_the_command_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gpt").mkdir()
    save_gpt(tiny_model(), tmp_path / "gpt")
    monkeypatch.setattr("warnings.filters", [])
    command = ["train-sae", "--out", str(tmp_path / "x"), "--model", str(tmp_path / "gpt")]
    command += ["--site", "resid_post.1", "--games", "40", "--rows", "4000", "--batch", "500"]
    main([*command, "jumprelu", "--width", "16", "--l0", "16"])
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if "out of reach" in line]
    assert "othellolens: 16 features a position are out of reach" in line
