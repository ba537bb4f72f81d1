"""The verb `pass-test`: a row for each set of games, site and labels, and what they add up to."""

import json
from pathlib import Path

import pytest

from othellolens.cli import main
from othellolens.gpt.model import GPT
from othellolens.gpt.runs import save_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.othello.games import random_games
from othellolens.probes.passes import SINCE, disputed
from othellolens.runs import HELD_SEED


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("gpt")
    save_gpt(GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)), folder)
    return str(folder)


def test_both_conventions_at_every_layer(
    gpt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "told.json"
    main(
        ["pass-test", gpt, "--games", "60", "90", "--train", "60", "--rows", "2000"]
        + ["--batch", "500", "--json", str(told)]
    )
    rows = json.loads(told.read_text())
    kinds = {(row["games"], row["site"], row["fitted"]) for row in rows}
    assert len(kinds) == len(rows) == 2 * 2 * 3
    assert {row["fitted"] for row in rows} == {"before any pass", "rules", "parity"}
    for row in rows:
        boards = random_games(int(row["games"]), seed=HELD_SEED).replay()
        boards = boards[boards.at[:, 1] < 59]
        assert row["positions"] == int(disputed(boards).sum())
        low, high = row["interval"]
        assert 0 <= low <= row["since"]["all"] <= high <= 1
        assert list(row["since"]) == list(SINCE)
        assert 0.3 < row["undisputed"] <= 1
    assert "games=0..90: " in capsys.readouterr().out


def test_layers_that_do_not_exist_are_refused(gpt: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["pass-test", gpt, "--games", "20", "--layers", "2"])
    assert stop.value.code == 2
    assert "layers are numbered 0 to 1" in capsys.readouterr().err
