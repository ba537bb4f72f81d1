"""The linear probe on planted truth, its accuracy against loops, and its files."""

from pathlib import Path

import pytest
import torch

from othellolens.activations.rows import Rows, SiteRows
from othellolens.activations.sources import Played
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.othello.boards import Boards
from othellolens.othello.games import Games, random_games
from othellolens.probes import fit
from othellolens.probes.accuracy import marginal_accuracy, probe_accuracy
from othellolens.probes.board import classes
from othellolens.probes.files import load_probe
from othellolens.probes.fit import ProbePlan, fit_probe
from othellolens.probes.linear import LinearProbe

SITE = Site("resid_post", 1)


@pytest.fixture(scope="module")
def player() -> GPT:
    return GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()


def readable(games: Games) -> Boards:
    boards = games.replay()
    return boards[boards.at[:, 1] < 59]


def test_a_linear_board_is_read_exactly(player: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the activations hold the board linearly, the probe finds all of it."""
    mix = torch.linalg.qr(torch.randn(192, 192, generator=torch.Generator().manual_seed(0)))[0]

    class Planted(Played):
        def window(self, number: int) -> SiteRows:
            boards = readable(self.games)
            return SiteRows(boards.at, {SITE: boards.squares().flatten(1).float() @ mix + 3})

    monkeypatch.setattr(fit, "Played", Planted)
    monkeypatch.setattr(GPT, "width", lambda self, site: 192)
    games = random_games(200, seed=0)
    probe = fit_probe(player, SITE, games, plan=ProbePlan(rows=400_000, batch=1000))
    boards = readable(random_games(20, seed=1))
    guess = probe.logits(boards.squares().flatten(1).float() @ mix + 3).argmax(1)
    assert float((guess == classes(boards)).float().mean()) > 0.999


def test_accuracy_equals_loops(player: GPT) -> None:
    games = random_games(6, seed=1)
    probe = fit_probe(player, SITE, games, plan=ProbePlan(rows=20_000, batch=500))
    found = probe_accuracy(probe, player, SITE, games)
    cells, boards = [], []
    truth = classes(readable(games))
    from othellolens.activations.rows import read_rows

    rows = Rows.cat(list(read_rows(player, SITE, games)))
    for x, board in zip(rows.x, truth, strict=True):
        guess = probe.logits(x[None]).argmax(1)[0]
        right = [a == b for a, b in zip(guess.tolist(), board.tolist(), strict=True)]
        cells += right
        boards.append(all(right))
    assert found.cell == pytest.approx(sum(cells) / len(cells))
    assert found.board == pytest.approx(sum(boards) / len(boards))


def test_classes_are_mine_theirs_empty() -> None:
    boards = readable(random_games(3, seed=0))
    squares, labels = boards.squares(), classes(boards)
    for label in range(3):
        assert torch.equal(labels == label, squares[:, label])


def test_the_marginals_equal_loops(player: GPT) -> None:
    train, held = random_games(30, seed=0), random_games(5, seed=1)
    seen, truth = readable(train), readable(held)
    votes: dict[tuple[int, int], list[int]] = {}
    for (_, ply), board in zip(seen.at.tolist(), classes(seen).tolist(), strict=True):
        for square, label in enumerate(board):
            votes.setdefault((ply, square), [0, 0, 0])[label] += 1
    right = [
        votes[ply, square].index(max(votes[ply, square])) == label
        for (_, ply), board in zip(truth.at.tolist(), classes(truth).tolist(), strict=True)
        for square, label in enumerate(board)
    ]
    found = marginal_accuracy(player, train, held)
    assert found.cell == pytest.approx(sum(right) / len(right))


def test_features_are_the_named_probabilities() -> None:
    probe = LinearProbe(32)
    with torch.no_grad():
        probe.b[2, 44] = 50.0
    features = probe.encode(torch.randn(5, 32)).detach()
    names = probe.feature_names()
    assert len(names) == 192 == features.shape[1]
    assert float(features[0, names.index("f5 empty")]) == pytest.approx(1)
    assert float(features[0, names.index("f5 mine")]) == pytest.approx(0)
    assert float(features[0, names.index("a1 mine")]) == pytest.approx(1 / 3)


def test_saved_and_loaded_to_the_same_bits(player: GPT, tmp_path: Path) -> None:
    games = random_games(6, seed=1)
    probe = fit_probe(player, SITE, games, plan=ProbePlan(rows=3000, batch=500))
    probe.save(tmp_path / "probe")
    back = load_probe(tmp_path / "probe")
    x = torch.randn(7, 32)
    assert torch.equal(back.encode(x), probe.encode(x))
    assert back.metadata["hook_name"] == "blocks.1.hook_resid_post"
    assert back.metadata["games"] == "random seed=1 games=0..6"
    with pytest.raises(InputError, match="exists"):
        probe.save(tmp_path / "probe")
    (tmp_path / "probe" / "probe.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="truncated"):
        load_probe(tmp_path / "probe")


def test_nothing_to_fit_on_is_refused(player: GPT) -> None:
    with pytest.raises(InputError, match="no games"):
        fit_probe(player, SITE, random_games(0, seed=0))
