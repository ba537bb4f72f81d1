"""Sources that play: windows that hold every row once, in order, to the same bits each time."""

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.activations.rows import Rows, SiteRows, read_rows
from othellolens.activations.sources import Played, Source
from othellolens.errors import InputError
from othellolens.gpt.sites import Site
from othellolens.othello.games import Games, random_games

SITES = (Site("resid_post", 1), Site("mlp_post", 0))


def short_games(count: int) -> Games:
    """Games of different lengths: game i stops after 60 - i moves."""
    moves = random_games(count, seed=2).moves.clone()
    for game in range(count):
        moves[game, 60 - game :] = -1
    return Games(moves, "short games")


def test_the_windows_hold_every_row_once_in_order() -> None:
    model, games = tiny_model(), short_games(7)
    source = Played(model, SITES, games, window=3, batch=2)
    assert isinstance(source, Source)
    windows = [source.window(number) for number in range(source.windows)]
    assert [len(window) for window in windows] == [source.rows_in(i) for i in range(3)]
    whole = SiteRows.cat(windows)
    for site in SITES:
        rows = Rows.cat(list(read_rows(model, site, games)))
        assert torch.equal(whole.at, rows.at)
        torch.testing.assert_close(whole.x[site], rows.x)


def test_a_source_says_what_it_holds() -> None:
    model, games = tiny_model(), short_games(7)
    source = Played(model, SITES, games, window=3)
    assert source.sites == SITES
    assert source.widths == {SITES[0]: 32, SITES[1]: 64}
    assert (source.model_name, source.origin) == (model.name, "short games")
    # Of 60 moves the model reads 59.
    assert [source.rows_in(i) for i in range(3)] == [59 + 59, 58 + 57, 56 + 55 + 54]


@pytest.mark.parametrize(
    ("count", "window", "games"),
    [(7, 3, [2, 2, 3]), (8, 4, [4, 4]), (9, 8, [4, 5]), (3, 9, [3]), (0, 4, [])],
)
def test_no_window_is_a_small_rest(count: int, window: int, games: list[int]) -> None:
    source = Played(tiny_model(), SITES, random_games(count, seed=0), window=window)
    assert [source.games_in(number) for number in range(source.windows)] == games


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_window_has_the_same_bits_whenever_it_is_read(precision: str) -> None:
    source = Played(
        tiny_model(), SITES, random_games(5, seed=3), window=3, batch=2, precision=precision
    )  # pyright: ignore
    last, first = source.window(1), source.window(0)
    for window, number in ((first, 0), (last, 1)):
        again = source.window(number)
        assert torch.equal(window.at, again.at)
        assert all(torch.equal(window.x[site], again.x[site]) for site in SITES)


def test_an_activation_that_is_no_number_is_refused_with_its_place() -> None:
    model = tiny_model()
    games = short_games(5)
    with torch.no_grad():
        model.pos_embed.W_pos[57] = float("inf")
    source = Played(model, Site("resid_pre", 0), games, window=3)
    # Games 0, 1 and 2 have a 58th move; window 0 holds games 0 and 1, window 1 games 2 to 4.
    match = r"^resid_pre\.0: 1 of 171 rows are NaN or infinite: game 2 ply 57; look"
    with pytest.raises(InputError, match=match):
        source.window(1)


def test_what_cannot_be_played_is_refused() -> None:
    model, games = tiny_model(), random_games(4, seed=0)
    with pytest.raises(InputError, match="at least 1 game, not 0"):
        Played(model, SITES, games, window=0)
    with pytest.raises(InputError, match="2 layers, 0 to 1"):
        Played(model, Site("resid_post", 2), games)
    source = Played(model, SITES, games, window=2)
    for ask in (source.window, source.rows_in, source.games_in):
        with pytest.raises(InputError, match="window 2: there are 2"):
            ask(2)
        with pytest.raises(InputError, match="window -1: there are 2"):
            ask(-1)
