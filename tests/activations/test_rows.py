"""Streams of rows: the row rule, batch independence, and padding."""

import pytest
import torch

from othellolens.activations.reader import Reader
from othellolens.activations.rows import Rows, SiteRows, read_rows, same_rows, site_rows
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import SITES, Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games, random_games

SHAPE = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)


@pytest.fixture(scope="module")
def player() -> GPT:
    return GPT(SHAPE, seed=3).eval()


def with_short_games() -> Games:
    """Random games of which some end before the 59th move."""
    games = random_games(3000, seed=5)
    short = games.lengths() < 59
    assert int(short.sum()) >= 2
    return Games(torch.cat([games.moves[short][:2], games.moves[:4]]), "short and long")


@pytest.mark.parametrize("kind", SITES)
def test_a_row_is_the_activation_after_its_move(player: GPT, kind: str) -> None:
    games, site = with_short_games(), Site(kind, 1)
    rows = Rows.cat(list(read_rows(player, site, games, batch=4)))
    _, cache = player.run_with_cache(tokens(games)[:, :59])
    assert len(rows) == int(games.lengths().clamp(max=59).sum())
    vectors = site.vectors(cache[site.hook_name])
    for at, x in zip(rows.at.tolist(), rows.x, strict=True):
        torch.testing.assert_close(x, vectors[at[0], at[1]])


def test_rows_do_not_depend_on_the_batch(player: GPT) -> None:
    games, site = with_short_games(), Site("resid_post", 0)
    one = Rows.cat(list(read_rows(player, site, games, batch=1)))
    all_at_once = Rows.cat(list(read_rows(player, site, games, batch=100)))
    assert torch.equal(one.at, all_at_once.at)
    torch.testing.assert_close(one.x, all_at_once.x)


def test_a_layer_that_the_model_lacks_is_refused(player: GPT) -> None:
    with pytest.raises(InputError, match="2 layers, 0 to 1"):
        next(read_rows(player, Site("resid_post", 2), random_games(1, seed=0)))


def test_rows_of_other_positions_may_not_meet() -> None:
    at = torch.tensor([[0, 0], [0, 1]], dtype=torch.int32)
    same_rows(at, at.clone())
    with pytest.raises(InputError, match="same games"):
        same_rows(at, at.flip(0))
    with pytest.raises(InputError, match="same games"):
        same_rows(at, at[:1])


def test_the_rows_of_several_sites_are_those_of_each(player: GPT) -> None:
    games, sites = with_short_games(), (Site("mlp_post", 1), Site("resid_pre", 0))
    rows = site_rows(Reader(player, sites), games, first=10)
    for site in sites:
        one = Rows.cat(list(read_rows(player, site, games)))
        assert torch.equal(rows.of(site).x, one.x)
        assert torch.equal(rows.of(site).at, one.at + torch.tensor([10, 0], dtype=torch.int32))
    assert len(rows) == len(rows.at)
    with pytest.raises(InputError, match=r"ln1\.0 was not read, only mlp_post\.1, resid_pre\.0"):
        rows.of(Site("ln1", 0))


def test_rows_of_several_sites_are_cut_and_joined_together(player: GPT) -> None:
    sites = (Site("mlp_post", 1), Site("resid_pre", 0))
    rows = site_rows(Reader(player, sites), random_games(2, seed=0))
    order = torch.tensor([5, 2, 70])
    for taken, kept in ((rows[order], order), (rows[3:6], torch.arange(3, 6))):
        assert torch.equal(taken.at, rows.at[kept])
        assert all(torch.equal(taken.x[site], rows.x[site][kept]) for site in sites)
    joined = SiteRows.cat([rows[:50], rows[50:51], rows[51:]])
    assert torch.equal(joined.at, rows.at)
    assert all(torch.equal(joined.x[site], rows.x[site]) for site in sites)
