"""Attribution: the parts add up to what is read, whatever reads it."""

import pytest
import torch
from reference.othello_by_lists import replay
from reference.tiny import tiny_model

from othellolens.circuits.attribution import (
    Parts,
    board_lens,
    features_written,
    latent_saliency,
    logit_attribution,
    reading_attribution,
    written,
)
from othellolens.encoder import Neurons, RandomDirections
from othellolens.errors import InputError
from othellolens.evaluation.counterfactuals import Counterfactual
from othellolens.evaluation.edits import Reading, linear
from othellolens.evaluation.interventions import next_logits
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import SQUARE_OF_TOKEN, tokens
from othellolens.lens import Lens
from othellolens.othello.games import Games
from othellolens.sae.topk import TopK

LENGTHS = [5, 59, 23, 12]


@pytest.fixture
def histories(games: Games) -> Games:
    """Four histories of different lengths."""
    moves = games.moves[:4].clone()
    moves[torch.arange(moves.shape[1]) >= torch.tensor(LENGTHS)[:, None]] = -1
    return Games(moves, "cut")


def at_last(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x[row, ply - 1] for row, ply in enumerate(LENGTHS)])


def reading(model: GPT, site: Site) -> Reading:
    drawn = torch.Generator().manual_seed(1)
    width = model.width(site)
    return Reading(
        site,
        torch.randn(3, 64, width, generator=drawn),
        torch.randn(3, 64, generator=drawn),
    )


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
@pytest.mark.parametrize("by", ["layer", "head", "neuron"])
def test_parts_add_up_to_the_stream_and_to_the_logits(
    histories: Games, normalization: str, by: str
) -> None:
    model = tiny_model(normalization)  # pyright: ignore
    logits, cache = model.run_with_cache(tokens(histories)[:, :59])
    for site in (Site("resid_mid", 0), Site("resid_post", 0), Site("resid_mid", 1)):
        parts = written(model, histories, by=by, site=site)  # pyright: ignore
        whole = at_last(cache[site.hook_name])
        torch.testing.assert_close(parts.vectors.sum(0), whole, atol=1e-4, rtol=1e-4)
    parts = written(model, histories, by=by)  # pyright: ignore
    assert len(set(parts.labels)) == len(parts.labels) == len(parts.vectors)
    found = logit_attribution(model, parts)
    torch.testing.assert_close(found.total(), at_last(logits), atol=1e-3, rtol=1e-3)


def test_parts_are_what_the_cache_says_they_are(model: GPT, histories: Games) -> None:
    _, cache = model.run_with_cache(tokens(histories)[:, :59])
    heads, labels = cache.stack_head_results(return_labels=True)
    parts = written(model, histories, by="head")
    by_name = dict(zip(parts.labels, parts.vectors, strict=True))
    for label, head in zip(labels, heads, strict=True):
        torch.testing.assert_close(by_name[label], at_last(head))
    neurons = written(model, histories, by="neuron")
    by_name = dict(zip(neurons.labels, neurons.vectors, strict=True))
    post = at_last(cache["mlp_post", 1])
    torch.testing.assert_close(by_name["L1N5"], post[:, 5, None] * model.blocks[1].mlp.W_out[5])


def test_the_parts_that_count_most_come_first(model: GPT, histories: Games) -> None:
    found = logit_attribution(model, written(model, histories, by="neuron"))
    top = found.top(7, game=2, count=3)
    values = found.values[:, 2, 7]
    assert [abs(value) for _, value in top] == sorted(values.abs().tolist(), reverse=True)[:3]
    label, value = top[0]
    assert float(values[found.labels.index(label)]) == value


def test_a_reading_is_split_over_what_was_written(model: GPT, histories: Games) -> None:
    site = Site("resid_mid", 1)
    one = reading(model, site)
    found = reading_attribution(written(model, histories, site=site), one)
    _, cache = model.run_with_cache(tokens(histories)[:, :59])
    x = at_last(cache[site.hook_name])
    whole = torch.einsum("gd,ksd->gks", x, one.weight) + one.bias
    torch.testing.assert_close(found.total().unflatten(1, (3, 64)), whole, atol=1e-3, rtol=1e-4)
    with pytest.raises(InputError, match="reading is of resid_mid.1, the parts add up to"):
        reading_attribution(written(model, histories), one)


@pytest.mark.parametrize("encoder", ["sae", "neurons"])
def test_features_bias_and_error_add_up(model: GPT, histories: Games, encoder: str) -> None:
    made = TopK(width=48, k=5).build(32, seed=2).eval() if encoder == "sae" else Neurons()
    parts = features_written(Lens(model, Site("resid_post", 1), made), histories)
    _, cache = model.run_with_cache(tokens(histories)[:, :59])
    logits = model(tokens(histories)[:, :59])
    torch.testing.assert_close(
        parts.vectors.sum(0), at_last(cache["resid_post", 1]), atol=1e-4, rtol=1e-4
    )
    total = logit_attribution(model, parts).total()
    torch.testing.assert_close(total, at_last(logits), atol=1e-3, rtol=1e-3)
    error = parts.vectors[parts.labels.index("error")]
    assert (float(error.abs().max()) < 1e-4) == (encoder == "neurons")


def test_some_parts_of_a_stream_are_read_by_its_scale(model: GPT, histories: Games) -> None:
    parts = written(model, histories)
    whole = parts.vectors.sum(0)
    some = Parts(parts.labels[:2], parts.vectors[:2], parts.site)
    all_of_them = logit_attribution(model, parts)
    found = logit_attribution(model, some, whole)
    torch.testing.assert_close(found.values, all_of_them.values[:2])


def test_the_logit_lens_as_boards(model: GPT, games: Games) -> None:
    logits, cache = model.run_with_cache(tokens(games)[:, :59])
    boards = board_lens(cache, 10, game=3)
    likely = logits[3, 10].softmax(-1).detach()
    for square in range(64):
        token = (SQUARE_OF_TOKEN[1:] == square).nonzero()
        if len(token):
            assert float(boards[-1, square]) == pytest.approx(
                float(likely[1 + int(token)]), rel=1e-4
            )
        else:
            assert bool(boards[:, square].isnan().all())


def test_saliency_is_one_flip_at_a_time(model: GPT, games: Games) -> None:
    moves = games.moves[:1].clone()
    moves[:, 12:] = -1
    history = Games(moves, "one")
    readings = [reading(model, Site("resid_post", 0))]
    after = replay(moves[0, :12].tolist())[-1]
    square = min(after.legal)
    found = latent_saliency(model, history, square, readings, scale=5.0)
    token = 1 + int((SQUARE_OF_TOKEN[1:] == square).nonzero()[0])
    clean = float(model(tokens(history)[:, :12])[0, 11, token].detach())
    for other in range(64):
        if other not in after.mine | after.theirs:
            assert bool(found[other].isnan())
            continue
        wanted = Counterfactual.with_squares(history, {other: int(other in after.mine)})
        edited = float(next_logits(model, wanted, linear(readings, scale=5.0))[0, token])
        assert float(found[other]) == pytest.approx(clean - edited, abs=1e-4)
    assert float(found.nan_to_num().abs().max()) > 0.01


def test_bad_input(model: GPT, histories: Games) -> None:
    with pytest.raises(InputError, match="mlp_out.0 is no residual stream"):
        written(model, histories, site=Site("mlp_out", 0))
    with pytest.raises(InputError, match="no games to look at"):
        written(model, histories[:0])
    with pytest.raises(InputError, match="4 histories: a saliency map is of one"):
        latent_saliency(model, histories, 0, [reading(model, Site("resid_post", 0))])
    with pytest.raises(InputError, match="of the centre: no move is made there"):
        latent_saliency(model, histories[:1], 27, [reading(model, Site("resid_post", 0))])
    deaf = RandomDirections(torch.randn(50, 32), features=4, seed=0)
    with pytest.raises(InputError, match="only an autoencoder"):
        features_written(Lens(model, Site("resid_post", 0), deaf), histories)
    with pytest.raises(InputError, match="mlp_out.0 is no residual stream"):
        features_written(Lens(model, Site("mlp_out", 0), Neurons()), histories)
