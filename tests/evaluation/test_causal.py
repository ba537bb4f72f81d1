"""Edits of features: what they change, against single runs by hand and planted directions."""

import pytest
import torch

from othellolens.encoder import Neurons, RandomDirections
from othellolens.errors import InputError
from othellolens.evaluation import causal
from othellolens.evaluation.causal import CONTROLS, causal_effects
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Hook, Site
from othellolens.gpt.tokens import tokens
from othellolens.lens import Lens
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import parse

SITE = Site("resid_post", 1)
GAMES = random_games(24, seed=3)
C4 = parse("c4")


@pytest.fixture(scope="module")
def player() -> GPT:
    """Axis 5 of the last layer writes c4, and nothing else does."""
    model = GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()
    token = int(tokens(Games(torch.tensor([[C4] + [-1] * 59], dtype=torch.int8), "c4"))[0, 0])
    with torch.no_grad():
        model.unembed.W_U[:, token] = 0
        model.unembed.W_U[5] = 0
        model.unembed.W_U[5, token] = 4
    return model


def test_a_direction_that_writes_a_move_is_found(player: GPT) -> None:
    """Neurons' feature 5 is axis 5 upwards: taking it out must cost c4 and c4 alone."""
    lens = Lens(player, SITE, Neurons())
    found = causal_effects(lens, GAMES, {5: C4}, kind="ablate")
    own, other = found.interval("feature"), found.interval("random feature")
    assert own.high < 0
    assert own.value < 5 * other.value or other.value > 0
    assert found.interval("feature", "specific").high < 0
    added = causal_effects(lens, GAMES, {5: C4}, kind="add")
    assert added.interval("feature").low > 0


def zeroed(ply: int, axis: int) -> Hook:
    """A hook that sets one axis of one position to 0."""

    def put(y: torch.Tensor, hook: object) -> torch.Tensor:  # noqa: ARG001
        y = y.clone()
        y[0, ply, axis] = 0
        return y

    return put


def test_effects_equal_single_runs(player: GPT) -> None:
    lens = Lens(player, SITE, Neurons())
    found = causal_effects(lens, GAMES, {5: C4, 9: parse("f5")}, kind="ablate", seed=2, batch=7)
    boards = GAMES.replay()
    assert {effect.control for effect in found.effects} == set(CONTROLS)
    for effect in [e for e in found.effects if e.control == "feature"]:
        assert len(effect.game) > 3
        for n in range(0, len(effect.game), 3):
            game = int(effect.game[n])
            ids = tokens(GAMES[game : game + 1])[:, :59]
            options = []
            for ply in range(int(GAMES.lengths()[game])):
                row = int((boards.at == torch.tensor([game, ply])).all(1).nonzero()[0, 0])
                if ply >= 59 or not (int(boards.legal()[row]) >> effect.square) & 1:
                    continue
                with torch.no_grad():
                    clean, cache = player.run_with_cache(ids)
                    x = cache[SITE.hook_name][0, ply, effect.feature]
                    if x <= 0:
                        continue

                    edited = player.run_with_hooks(
                        ids, [(SITE.hook_name, zeroed(ply, effect.feature))]
                    )
                    change = edited[0, ply].log_softmax(-1) - clean[0, ply].log_softmax(-1)
                token = int(tokens(Games(torch.tensor([[effect.square] + [-1] * 59],
                                                      dtype=torch.int8), ""))[0, 0])  # fmt: skip
                options.append(float(change[token]))
            assert min(abs(option - float(effect.claimed[n])) for option in options) < 1e-4


def test_swapping_moves_from_one_square_to_the_other(player: GPT) -> None:
    lens = Lens(player, SITE, Neurons())
    found = causal_effects(lens, GAMES, {9: parse("f5"), 5: C4}, kind="swap")
    by_feature = {e.feature: e for e in found.effects if e.control == "feature"}
    assert float(by_feature[5].claimed.mean()) < 0
    assert found.kind == "swap"
    with pytest.raises(InputError, match="two that claim different squares"):
        causal_effects(lens, GAMES, {5: C4}, kind="swap")


@pytest.mark.parametrize("kind", causal.KINDS)
def test_random_controls_have_the_same_length(player: GPT, kind: causal.Kind) -> None:
    lens = Lens(player, SITE, Neurons())
    generator = torch.Generator().manual_seed(0)
    plans = list(causal._plans(lens, GAMES, {5: C4, 9: parse("f5")}, kind, generator))
    assert len(plans) == 2
    for plan in plans:
        lengths = plan.change.norm(dim=2)
        assert float(lengths.min()) > 0
        torch.testing.assert_close(lengths[1], lengths[0])
        torch.testing.assert_close(lengths[2], lengths[0])


def test_what_cannot_be_edited_is_refused(player: GPT) -> None:
    blind = RandomDirections(torch.randn(50, 32), features=6, seed=0)
    with pytest.raises(InputError, match="no decode"):
        causal_effects(Lens(player, SITE, blind), GAMES, {1: C4})
    nothing = causal_effects(Lens(player, SITE, Neurons()), GAMES, {})
    with pytest.raises(InputError, match="no position of these games lets one ablate"):
        nothing.interval("feature")
