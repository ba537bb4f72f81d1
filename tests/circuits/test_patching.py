"""Patching and ablation: against edits by hand, and where the answer is known."""

from typing import Any

import pytest
import torch
from reference.othello_by_lists import replay

from othellolens.circuits.pairs import Pairs, find_pairs, pair_of
from othellolens.circuits.patching import (
    Place,
    ablate,
    attribution_patch,
    attribution_patch_features,
    correlation,
    patch,
    patch_features,
    patch_together,
)
from othellolens.encoder import Neurons, RandomDirections
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import PAD, tokens
from othellolens.lens import Lens
from othellolens.othello.games import Games, random_games
from othellolens.othello.records import typed_games

PAIRS = find_pairs(random_games(80, seed=4), 12, seed=1)


def metric(model: GPT, pairs: Pairs, which: str = "corrupted", hooks: Any = ()) -> torch.Tensor:
    with torch.no_grad():
        return pairs.metric(model.run_with_hooks(pairs.ids(model, which), hooks))


def test_pairs_differ_in_one_move_and_in_what_it_allows() -> None:
    for row in range(len(PAIRS)):
        one, two = (
            [m for m in games.moves[row].tolist() if m >= 0]
            for games in (PAIRS.clean, PAIRS.corrupted)
        )
        assert one[:-1] == two[:-1] and one[-1] != two[-1]
        after, other = replay(one)[-1], replay(two)[-1]
        assert after.black == other.black
        answer, against = int(PAIRS.answer[row]), int(PAIRS.against[row])
        assert answer in after.legal - other.legal
        assert against in other.legal - after.legal


def test_a_pair_of_ones_own() -> None:
    found = pair_of(typed_games("f5d6c3"), typed_games("f5d6c5"))
    one, two = (replay([44, 29, last])[-1].legal for last in (18, 20))
    assert int(found.answer) in one - two and int(found.against) in two - one
    asked = pair_of(typed_games("f5d6c3"), typed_games("f5d6c5"), max(one - two), max(two - one))
    assert int(asked.answer) == max(one - two) and int(asked.against) == max(two - one)
    with pytest.raises(InputError, match="not a move that only the clean history allows"):
        pair_of(typed_games("f5d6c3"), typed_games("f5d6c5"), answer=max(two - one))
    with pytest.raises(InputError, match="allows no move that the other does not"):
        pair_of(typed_games("f5d6c3"), typed_games("f5d6c3"))
    with pytest.raises(InputError, match="one clean and one corrupted"):
        pair_of(typed_games("f5", "c4"), typed_games("f5"))
    with pytest.raises(InputError, match="of the same length"):
        pair_of(typed_games("f5d6c3"), typed_games("f5d6"))


def test_pairs_are_made_alike_from_a_seed() -> None:
    again = find_pairs(random_games(80, seed=4), 12, seed=1)
    assert torch.equal(again.corrupted.moves, PAIRS.corrupted.moves)
    other = find_pairs(random_games(80, seed=4), 12, seed=2)
    assert not torch.equal(other.corrupted.moves, PAIRS.corrupted.moves)


@pytest.mark.parametrize("kind", ["resid_pre", "resid_mid", "resid_post"])
def test_patching_everything_restores_the_clean_run(model: GPT, kind: str) -> None:
    found = patch(model, PAIRS, [Place(Site(kind, layer)) for layer in range(2)])
    assert torch.equal(found.metric, found.clean.expand(2, -1))
    torch.testing.assert_close(found.restored(), torch.ones(2))


def test_patching_nothing_changes_nothing(model: GPT) -> None:
    assert torch.equal(patch_together(model, PAIRS, []), metric(model, PAIRS))
    # The histories agree until the last move, and so does all that is before it.
    early = [Place(Site("resid_post", 1), back=1), Place(Site("mlp_post", 0), back=2, index=3)]
    found = patch(model, PAIRS, early)
    assert torch.equal(found.metric, found.corrupted.expand(2, -1))
    assert torch.equal(found.restored(), torch.zeros(2))


@pytest.mark.parametrize(
    "place",
    [
        Place(Site("attn_out", 1)),
        Place(Site("z", 0, head=2)),
        Place(Site("mlp_post", 1), index=5),
        Place(Site("mlp_out", 0), back=0),
    ],
    ids=str,
)
def test_a_patch_is_an_edit_by_hand(model: GPT, place: Place) -> None:
    _, cache = model.run_with_cache(PAIRS.ids(model))
    expected = []
    for row in range(len(PAIRS)):

        def put(x: torch.Tensor, hook: Any, row: int = row) -> torch.Tensor:
            out, clean = x.clone(), cache[place.site.hook_name]
            plies = [int(PAIRS.last()[row])] if place.back == 0 else range(x.shape[1])
            for ply in plies:
                if place.site.head is not None:
                    out[row, ply, place.site.head] = clean[row, ply, place.site.head]
                elif place.index is not None:
                    out[row, ply, place.index] = clean[row, ply, place.index]
                else:
                    out[row, ply] = clean[row, ply]
            return out

        expected.append(metric(model, PAIRS, hooks=[(place.site.hook_name, put)])[row])
    found = patch(model, PAIRS, [place])
    torch.testing.assert_close(found.metric[0], torch.stack(expected))
    assert not torch.equal(found.metric[0], found.corrupted)
    torch.testing.assert_close(patch_together(model, PAIRS, [place]), found.metric[0])


def test_heads_patched_together_are_all_heads_patched(model: GPT) -> None:
    heads = [Place(Site("z", 1, head=head)) for head in range(4)]
    whole = patch(model, PAIRS, [Place(Site("z", 1))])
    torch.testing.assert_close(patch_together(model, PAIRS, heads), whole.metric[0])


def test_attribution_patching_is_the_slope_towards_the_clean_run(model: GPT) -> None:
    model = model.double()
    places = [
        Place(Site("mlp_out", 0)),
        Place(Site("z", 1, head=1)),
        Place(Site("mlp_post", 1), back=0, index=7),
        Place(Site("resid_post", 0), back=0),
    ]
    fast = attribution_patch(model, PAIRS, places)
    _, clean = model.run_with_cache(PAIRS.ids(model))
    tiny = 1e-5
    for index, place in enumerate(places):

        def put(x: torch.Tensor, hook: Any, place: Place = place) -> torch.Tensor:
            site = place.site
            old, new = site.vectors(x).clone(), site.vectors(clean[site.hook_name])
            some = slice(None) if place.index is None else [place.index]
            rows = torch.arange(len(x))
            plies = PAIRS.last()[:, None] if place.back == 0 else torch.arange(x.shape[1])
            there = torch.zeros(x.shape[:2], dtype=torch.bool)
            there[rows[:, None], plies] = True
            change = torch.zeros_like(old)
            change[..., some] = (new - old)[..., some]
            return site.with_vectors(x, old + tiny * change * there[..., None])

        moved = metric(model, PAIRS, hooks=[(place.site.hook_name, put)])
        slope = (moved - fast.corrupted) / tiny
        torch.testing.assert_close(fast.metric[index] - fast.corrupted, slope, atol=1e-4, rtol=1e-3)


def test_gradients_in_between_add_up_to_the_whole_way(model: GPT) -> None:
    """Integrated gradients are complete: at the place where they are taken they make up the gap."""
    model = model.double()
    place = [Place(Site("resid_pre", 0))]
    exact = patch(model, PAIRS, place)
    many = attribution_patch(model, PAIRS, place, between=64)
    torch.testing.assert_close(many.metric, exact.metric, atol=1e-2, rtol=1e-2)
    plain = attribution_patch(model, PAIRS, place)
    assert (plain.metric - exact.metric).abs().max() > 10 * (many.metric - exact.metric).abs().max()


def test_correlation_is_of_changes(model: GPT) -> None:
    places = [Place(Site("mlp_post", 1), index=i) for i in range(8)]
    exact = patch(model, PAIRS, places)
    assert correlation(exact, exact) == pytest.approx(1.0)
    # The last MLP's neurons reach the logits through ln_final alone, which is nearly linear.
    assert correlation(exact, attribution_patch(model, PAIRS, places)) > 0.95


def test_features_of_the_axes_are_the_axes(model: GPT) -> None:
    lens = Lens(model, Site("resid_post", 0), Neurons())
    both = patch_features(lens, PAIRS, [3, 3 + 32])
    axis = patch(model, PAIRS, [Place(Site("resid_post", 0), index=3)])
    # An axis is on as one of two features; where its sign changes, both of them move.
    with torch.no_grad():
        _, clean = model.run_with_cache(PAIRS.ids(model))
        _, wrong = model.run_with_cache(PAIRS.ids(model, "corrupted"))
    last = PAIRS.last()
    rows = torch.arange(len(PAIRS))
    old, new = (c["resid_post", 0][rows, last, 3] for c in (wrong, clean))
    positive, negative = (old >= 0) & (new >= 0), (old <= 0) & (new <= 0)
    assert bool(positive.any()) and bool(negative.any())
    torch.testing.assert_close(both.metric[0][positive], axis.metric[0][positive])
    torch.testing.assert_close(both.metric[1][negative], axis.metric[0][negative])
    assert torch.equal(both.metric[0][negative], both.corrupted[negative])


def test_attribution_of_features_is_the_slope_along_what_they_write(model: GPT) -> None:
    """Against attribution patching of the axes, of which these features are the two signs."""
    lens, site = Lens(model, Site("resid_post", 0), Neurons()), Site("resid_post", 0)
    axes = attribution_patch(model, PAIRS, [Place(site, index=i) for i in range(5)], between=3)
    signs = attribution_patch_features(lens, PAIRS, [*range(5), *range(32, 37)], between=3)
    rises = signs.metric - signs.corrupted
    both = rises[:5] + rises[5:]
    torch.testing.assert_close(both, axes.metric - axes.corrupted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_an_ablation_is_an_edit_by_hand(model: GPT, games: Games, how: str) -> None:
    place = Place(Site("mlp_out", 0))
    ids = tokens(games)[:, :59]
    with torch.no_grad():
        logits, cache = model.run_with_cache(ids)
    there = ids != PAD
    order = torch.randperm(len(games), generator=torch.Generator().manual_seed(3))

    def put(x: torch.Tensor, hook: Any) -> torch.Tensor:
        if how == "zero":
            return torch.zeros_like(x)
        if how == "resample":
            return cache["mlp_out", 0][order]
        plies = range(x.shape[1])
        mean = torch.stack([cache["mlp_out", 0][there[:, p], p].mean(0) for p in plies])
        return mean.expand_as(x)

    with torch.no_grad():
        edited = model.run_with_hooks(ids, [("blocks.0.hook_mlp_out", put)])
    total, count = 0.0, 0
    for game, ply in there.nonzero().tolist():
        p, q = (x[game, ply].log_softmax(-1) for x in (logits, edited))
        total, count = total + float((p.exp() * (p - q)).sum()), count + 1
    found = ablate(model, games, [place], how=how, seed=3)  # pyright: ignore
    assert float(found.kl[0]) == pytest.approx(total / count, rel=1e-4)
    assert float(found.kl[0]) > 0


def test_bad_input(model: GPT, games: Games) -> None:
    with pytest.raises(InputError, match="make only [0-9]+ such pairs: take more games"):
        find_pairs(random_games(3, seed=1), 50)
    with pytest.raises(InputError, match="has 64 axes, 0 to 63: not 64"):
        patch(model, PAIRS, [Place(Site("mlp_post", 0), index=64)])
    with pytest.raises(InputError, match="this model has 2 layers"):
        patch(model, PAIRS, [Place(Site("mlp_post", 2))])
    with pytest.raises(InputError, match="counted back from the last"):
        attribution_patch(model, PAIRS, [Place(Site("mlp_out", 0), back=-1)])
    with pytest.raises(InputError, match="at -1 points"):
        attribution_patch(model, PAIRS, [Place(Site("mlp_out", 0))], between=-1)
    with pytest.raises(InputError, match="leave `back` out"):
        ablate(model, games, [Place(Site("mlp_out", 0), back=0)])
    deaf = RandomDirections(torch.randn(50, 32), features=4, seed=0)
    with pytest.raises(InputError, match="only features of an autoencoder"):
        patch_features(Lens(model, Site("resid_post", 0), deaf), PAIRS, [0])
    with pytest.raises(InputError, match="d4 is of the centre"):
        Pairs(PAIRS.clean, PAIRS.corrupted, torch.full((12,), 27), PAIRS.against)
    with pytest.raises(InputError, match="of the same length"):
        Pairs(
            PAIRS.clean, Games(PAIRS.corrupted.moves.flip(0), "turned"), PAIRS.answer, PAIRS.against
        )
    with pytest.raises(InputError, match="needs an answer"):
        Pairs(PAIRS.clean, PAIRS.corrupted, PAIRS.answer[:3], PAIRS.against[:3])
