"""A recording gives back what the lens saw; ICA finds what was mixed."""

import pytest
import torch

from othellolens.concepts import standard
from othellolens.encoder import ICA, Neurons
from othellolens.errors import InputError
from othellolens.evaluation.counts import count
from othellolens.evaluation.reconstruction import reconstruct
from othellolens.evaluation.recording import Recording
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.lens import Lens
from othellolens.othello.games import random_games

HELD = random_games(100, seed=1)


@pytest.fixture
def lens(model: GPT) -> Lens:
    return Lens(model, Site("resid_post", layer=0), Neurons())


def test_a_recording_gives_the_same_again(lens: Lens) -> None:
    recorded = Recording(lens, HELD)
    for games in (HELD, HELD[:70], HELD[:64], HELD[:1]):
        for once, again in zip(lens.read(games), recorded.read(games), strict=True):
            assert torch.equal(once.boards.at, again.boards.at)
            assert torch.equal(once.boards.mine, again.boards.mine)
            torch.testing.assert_close(once.features, again.features)
    direct, again = count(lens, HELD, standard()), count(recorded, HELD, standard())
    assert torch.equal(direct.both, again.both)
    assert torch.equal(direct.fires, again.fires)


def test_other_games_are_refused(lens: Lens) -> None:
    recorded = Recording(lens, HELD[:70])
    for other in (random_games(10, seed=2), HELD, HELD[1:]):
        with pytest.raises(InputError, match="not the games that were recorded"):
            list(recorded.read(other))


def test_rebuilt_boards_have_an_interval(lens: Lens) -> None:
    found = reconstruct(Recording(lens, HELD), HELD)
    spread = found.interval()
    assert spread.value == found.f1
    assert spread.low <= found.f1 <= spread.high
    assert len(found.by_game) == 50
    right, said, hold = found.by_game.sum(0).tolist()
    assert found.f1 == pytest.approx(2 * right / (said + hold))


def test_ica_finds_what_was_mixed() -> None:
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(8000, 6, generator=generator) - 0.5
    sources[:, 3:] = torch.randn(8000, 3, generator=generator).pow(3)
    sample = sources @ torch.randn(6, 9, generator=generator) + 2
    ica = ICA(sample)
    features = ica.encode(sample)
    assert bool((features >= 0).all())
    positive, negative = features.chunk(2, dim=1)
    found = positive - negative
    assert found.shape[1] == 6  # nine axes, of which three hold nothing of their own
    correlation = torch.corrcoef(torch.cat([sources, found], 1).T)[:6, 6:].abs()
    assert float(correlation.amax(1).min()) > 0.98
    assert sorted(correlation.argmax(1).tolist()) == list(range(6))
    torch.testing.assert_close(ica.reconstruct(sample), sample, atol=1e-3, rtol=1e-3)
    assert torch.equal(ICA(sample).unmixing, ica.unmixing)
