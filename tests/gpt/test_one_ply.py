"""A ply that is run alone is that of the whole game with the same edit."""

import pytest
import torch
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.one_ply import OnePly
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import HookPoint, Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import random_games

GAME = torch.tensor([0, 0, 1, 3, 4, 4])
PLY = torch.tensor([0, 58, 7, 31, 2, 2])
SITES = [
    *(Site(kind, 1) for kind in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")),
    *(Site(kind, 1) for kind in ("mlp_pre", "mlp_post", "ln1", "ln2", "z")),
    Site("z", 1, head=2),
    Site("resid_pre", 0),
    Site("resid_post", 2),
]


@pytest.fixture(scope="module", params=["LNPre", "LN"])
def player(request: pytest.FixtureRequest) -> GPT:
    shape = GPTConfig(n_layers=3, d_model=32, n_heads=4, d_mlp=64, normalization=request.param)
    model = GPT(shape, seed=3).eval()
    with torch.no_grad():  # so that attention, too, makes a difference
        for block in model.blocks:
            block.attn.W_Q.mul_(20)  # pyright: ignore
            block.attn.W_K.mul_(20)  # pyright: ignore
            block.attn.W_V.mul_(20)  # pyright: ignore
    return model


@pytest.mark.parametrize("site", SITES, ids=str)
def test_one_ply_equals_whole_runs(player: GPT, site: Site) -> None:
    ids = tokens(random_games(5, seed=1))[:, :59]
    change = torch.randn(len(GAME), player.width(site), generator=torch.Generator().manual_seed(0))
    played = OnePly(player, ids, site)
    found = played.run(GAME, PLY, lambda x: x + change)
    for edit, (game, ply) in enumerate(zip(GAME.tolist(), PLY.tolist(), strict=True)):

        def put(x: Tensor, hook: object, edit: int = edit, ply: int = ply) -> Tensor:  # noqa: ARG001
            vectors = site.vectors(x).clone()
            vectors[0, ply] += change[edit]
            return site.with_vectors(x, vectors)

        with torch.no_grad():
            clean = player(ids[game : game + 1])[0, ply]
            whole = player.run_with_hooks(ids[game : game + 1], [(site.hook_name, put)])[0, ply]
        torch.testing.assert_close(played.logits[game, ply], clean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[edit], whole, atol=1e-5, rtol=1e-5)
        assert float((whole - clean).abs().max()) > 2e-3, "the edit did nothing"


def test_nothing_of_an_edit_stays(player: GPT) -> None:
    ids, site = tokens(random_games(5, seed=1))[:, :59], Site("resid_pre", 1)
    played = OnePly(player, ids, site)
    nothing = played.run(GAME, PLY, lambda x: x)
    played.run(GAME, PLY, lambda x: x + 100)
    assert torch.equal(played.run(GAME, PLY, lambda x: x), nothing)
    torch.testing.assert_close(nothing, played.logits[GAME, PLY], atol=1e-5, rtol=1e-5)
    assert not any(isinstance(point, HookPoint) and point.hooks for point in player.modules())


def test_a_site_that_is_not_there_is_refused(player: GPT) -> None:
    with pytest.raises(InputError, match="3 layers"):
        OnePly(player, tokens(random_games(1, seed=1))[:, :59], Site("resid_post", 3))
