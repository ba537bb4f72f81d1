"""Fixtures for every folder. The library is imported inside them, after its type checks are on."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from reference.hub import Hub, serving
from reference.othello_by_lists import EARLY_PASS, WIPE_OUT, Replayed, random_game, replay

if TYPE_CHECKING:
    from othellolens.gpt.model import GPT
    from othellolens.othello.games import Games


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models as small as these wait for a second thread longer than they compute."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def replayed() -> Replayed:
    """Games and their replays by the slow reference: a wipe-out, a pass, 210 at random."""
    chance = random.Random(1)
    games = [WIPE_OUT, EARLY_PASS, *(random_game(chance) for _ in range(210))]
    return [(game, replay(game)) for game in games]


@pytest.fixture(scope="session")
def games() -> "Games":
    """Thirty-two small random games."""
    from othellolens.othello.games import random_games

    return random_games(32, seed=0)


@pytest.fixture
def model() -> "GPT":
    """Two layers, d_model 32; see `tiny_model`."""
    from reference.tiny import tiny_model

    return tiny_model("LNPre")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """`ol.load_gpt` fetches from here, into a folder of the test."""
    with serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("OTHELLOLENS_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield running
