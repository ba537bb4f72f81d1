"""Weight processing: the same log-probabilities from other weights."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from reference.tiny import tiny_model
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.processing import (
    center_unembed,
    center_writing_weights,
    fold_layer_norm,
    fold_value_biases,
    processed,
)
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games

same = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
same_formula = partial(torch.testing.assert_close, rtol=0, atol=1e-9)
"""In double precision nothing but a wrong formula differs by as much."""
zero = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
STEPS = [fold_layer_norm, center_writing_weights, center_unembed, fold_value_biases, processed]


def log_probs(model: GPT, games: Games) -> Tensor:
    with torch.no_grad():
        return model(tokens(games)[:, :59]).log_softmax(-1)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_step_keeps_the_function_and_the_given_model(
    step: Callable[[GPT], GPT], games: Games
) -> None:
    model = tiny_model("LN")
    model.name = "mine"
    before = {key: value.clone() for key, value in model.state_dict().items()}
    other = step(model)
    same(log_probs(other, games), log_probs(model, games))
    exact = tiny_model("LN").double()
    same_formula(log_probs(step(exact), games), log_probs(exact, games))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    changed = [k for k, v in other.state_dict().items() if not torch.equal(v, before[k])]
    assert changed
    assert not {x.data_ptr() for x in other.parameters()} & {
        x.data_ptr() for x in model.parameters()
    }
    assert other.name.startswith("mine, ")
    assert not other.training
    assert all(x.requires_grad and x.dtype == torch.float32 for x in other.parameters())


def test_folding_takes_the_gains_away(games: Games) -> None:
    model = tiny_model("LN")
    folded = fold_layer_norm(model)
    assert folded.cfg.normalization == "LNPre"
    assert folded.name == "unnamed, fold_layer_norm"
    zero(folded.unembed.W_U.mean(0), torch.zeros(61))
    with pytest.raises(InputError, match="nothing to fold"):
        fold_layer_norm(folded)


def test_a_processed_model_is_centred(games: Games) -> None:
    model = processed(tiny_model("LN"))
    state = model.state_dict()
    for key in ("embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_O", "blocks.1.mlp.b_out"):
        zero(state[key].mean(-1), torch.zeros_like(state[key].mean(-1)))
    zero(state["unembed.W_U"].mean(-1), torch.zeros(32))
    zero(state["unembed.b_U"].mean(), torch.zeros(()))
    assert all(not state[f"blocks.{layer}.attn.b_V"].any() for layer in (0, 1))
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens(games[:2])[:, :9])
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)
    close(cache["resid_post", 1].mean(-1), torch.zeros(2, 9))
    again = processed(model)
    same(log_probs(again, games), log_probs(model, games))
