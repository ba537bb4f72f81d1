"""The verb `worldmodel`: tables, JSON, and what it refuses."""

import json
from pathlib import Path

import pytest
from reference.tiny import tiny_model

from othellolens.cli import main
from othellolens.gpt.runs import save_gpt
from othellolens.othello.games import Games, random_games
from othellolens.othello.records import save_games

FEW = ["--judged", "20", "--pairs", "30", "--positions", "2", "--different", "2", "--detoured", "2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on games 0..100 of seed 1, and a file of games."""
    home = tmp_path_factory.mktemp("home")
    save_gpt(tiny_model(), home / "gpt", games="random seed=1 games=0..100")
    save_games(random_games(300, seed=2), home / "games.npy")
    return home


def test_three_players_side_by_side(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, gpt, games = home / "found.json", str(home / "gpt"), str(home / "games.npy")
    main(["worldmodel", gpt, "--games", games, *FEW, "--json", str(out)])
    shown = capsys.readouterr().out
    for word in ("strict", "overlap", "compression", "distinction recall", "adversarial 0.5"):
        assert word in shown
    found = json.loads(out.read_text())
    assert found["epsilon"] == 0.01
    assert set(found) == {"games", "epsilon", gpt, "oracle", "untrained"}
    oracle, model = found["oracle"], found[gpt]
    assert oracle["behaviour"]["all"]["strict"] == oracle["agreement"]["all"]["distance"] == 0
    assert oracle["compression"] == {"positions": 2, "kept": 2}
    assert all(x["finished"] == x["games"] == 2 for x in oracle["detours"].values())
    assert oracle["openings"] == model["openings"] == 2
    assert "openings" in shown
    assert model["behaviour"]["all"]["strict"] > 0.5
    assert sum(model["behaviour_by_ply"]["positions"]) > 1000
    assert model["agreement"]["end"]["distance"] is None, "no pair, no number"


def test_every_run_gives_the_same_numbers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["worldmodel", str(home / "gpt"), "--games", str(home / "games.npy"), *FEW]
    main(args)
    first = capsys.readouterr().out
    main(args)
    assert capsys.readouterr().out == first


def test_games_are_drawn_from_the_whole_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first 280 of 300 are one and the same game: drawn from the front, so would all 20 be."""
    games = random_games(300, seed=2)
    moves = games.moves[[0] * 280 + list(range(20))]
    save_games(Games(moves, "sorted"), tmp_path / "sorted.npy")
    seen: set[int] = set()
    for seed in range(3):
        args = ["--games", str(tmp_path / "sorted.npy"), *FEW, "--detoured", "60"]
        out = tmp_path / f"{seed}.json"
        main(["worldmodel", str(home / "gpt"), *args, "--seed", str(seed), "--json", str(out)])
        seen.add(json.loads(out.read_text())["oracle"]["openings"])
    capsys.readouterr()
    assert all(1 < count <= 20 for count in seen)
    assert len(seen) > 1, "another seed draws others"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--games", "500"], "also trained on"),
        (["--games", "1"], "1 games are too few"),
        (["--games", "nowhere.npy"], "no file nowhere.npy"),
        (["--epsilon", "0.5"], "epsilon must be above 0 and below 1/33: got 0.5"),
        (["--pairs", "0"], "pairs must be at least 1, not 0"),
    ],
)
def test_bad_input_is_one_line(
    args: list[str], line: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["worldmodel", str(home / "gpt"), *args])
    assert caught.value.code == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said
