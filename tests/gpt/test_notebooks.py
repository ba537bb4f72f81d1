"""What notebooks do with a model: edits in place, one game alone, stacked weights, odd indices."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt.cache import ActivationCache
from othellolens.gpt.checkpoints import transformerlens
from othellolens.gpt.inputs import check_ids, check_layers, check_stream
from othellolens.gpt.model import GPT
from othellolens.gpt.naming import named
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games


@pytest.fixture
def ids(games: Games) -> Tensor:
    return tokens(games[:3])[:, :11]


def in_place(x: Tensor, hook: Any) -> None:
    x[:, 3] = 0.5


def elsewhere(x: Tensor, hook: Any) -> Tensor:
    x = x.clone()
    x[:, 3] = 0.5
    return x


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_every_activation_can_be_edited_in_place(
    count: int, gradients: bool, model: GPT, ids: Tensor
) -> None:
    """To the same logits and gradients as an edited copy, and no weight changes."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    results = [f"blocks.{layer}.attn.hook_result" for layer in (0, 1)]
    for name in (*model.hook_names, *results):
        found: list[Tensor] = []
        with torch.set_grad_enabled(gradients):
            for hook in (in_place, elsewhere):
                out = model.run_with_hooks(ids[:count], [(name, hook)])
                found.append(out.detach())
                if gradients:
                    model.zero_grad()
                    if out.requires_grad:
                        out.square().sum().backward()
                    found[-1] = torch.cat(
                        [found[-1].flatten()]
                        + [w.grad.flatten() for w in model.parameters() if w.grad is not None]
                    )
        assert torch.equal(*found), name
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    with torch.no_grad():
        _, cache = model.run_with_cache(ids[:1])
    cache["pos_embed"].zero_()
    assert torch.equal(model.pos_embed.W_pos, before["pos_embed.W_pos"])


def test_one_game_alone(model: GPT, ids: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(model(ids[0]), model(ids[:1]))
        assert torch.equal(model(ids.int()), model(ids))
        assert model.run_with_cache(ids[0])[1]["resid_post", 0].shape == (1, 11, 32)


@pytest.mark.parametrize(
    ("odd", "given"),
    [
        ([[1, 2]], "list"),
        (np.array([[1, 2]]), "ndarray"),
        (torch.tensor([[1.0, 2.0]]), r"float32 \[1, 2\]"),
        (torch.tensor([[1, 2]], dtype=torch.int8), r"int8 \[1, 2\]"),
        (torch.tensor([[True]]), r"bool \[1, 1\]"),
        (torch.tensor([[[1, 2]]]), r"int64 \[1, 1, 2\]"),
        (torch.tensor(1), r"int64 \[\]"),
    ],
)
def test_what_are_no_token_ids(odd: Any, given: str) -> None:
    with pytest.raises(InputError, match=f"an int64 tensor .game, ply., not {given}: pass ol.tok"):
        check_ids(GPTConfig(), odd)


def test_ids_and_layers_of_another_model(model: GPT) -> None:
    small = GPTConfig(n_layers=1, d_model=8, n_heads=1, d_mlp=8, d_vocab=30)
    with pytest.raises(InputError, match=r"token 30 is outside the vocabulary \(0\.\.29\)"):
        check_ids(small, torch.tensor([[30]]))
    for layer in (2.0, "1", True):
        with pytest.raises(InputError, match="stop_at_layer is the number of a layer, not"):
            check_layers(small, stop_at_layer=layer)
    with pytest.raises(InputError, match="takes a residual stream"):
        check_stream(small, torch.ones(1, 2, 8, dtype=torch.int64))


def test_sites_name_hook_points(model: GPT) -> None:
    assert named({"blocks.0.hook_resid_post": 0}, Site("resid_post", 0)) == [
        "blocks.0.hook_resid_post"
    ]
    both = [Site("resid_post", 1), "hook_embed", "hook_embed"]
    points = dict.fromkeys(model.hook_names)
    assert named(points, both) == ["blocks.1.hook_resid_post", "hook_embed"]
    odd: Any
    for odd in (6, [None], [Site("z", 0), 3]):
        with pytest.raises(InputError, match="names no hook point: give names such as"):
            inspect.unwrap(named)(points, odd)
    with pytest.raises(InputError, match=r"no hook point 'blocks\.7\.attn\.hook_z'"):
        named(points, Site("z", 7))


def test_a_state_dict_of_transformer_lens_loads_key_for_key(model: GPT) -> None:
    other = GPT(model.cfg, seed=4)
    state = transformerlens.write(model)
    assert "blocks.0.attn.IGNORE" in state
    other.load_state_dict(state)
    assert all(torch.equal(x, other.state_dict()[k]) for k, x in model.state_dict().items())
    assert "blocks.0.attn.IGNORE" in state, "the caller's dict is as it was"
    with pytest.raises(RuntimeError, match="Unexpected key"):
        other.load_state_dict({**state, "blocks.0.attn.other": torch.ones(1)})


def test_weights_of_all_layers(model: GPT) -> None:
    own = dict(model.named_parameters())
    for name in ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "unembed.b_U"):
        assert getattr(model, name.partition(".")[2]) is own[name]
    for part, names in (("attn", "QKVO"), ("mlp", ("in", "out"))):
        for name in (f"{kind}_{which}" for which in names for kind in "Wb"):
            for layer in (0, 1):
                weight = own[f"blocks.{layer}.{part}.{name}"]
                assert torch.equal(getattr(model, name)[layer], weight), name
    model.W_out[1, 3].sum().backward()
    assert model.blocks[1].mlp.W_out.grad[3].eq(1).all()  # pyright: ignore


def test_odd_indices_of_a_cache(model: GPT, ids: Tensor) -> None:
    with torch.no_grad():
        cache = model.run_with_cache(ids)[1]
    whole = cache["resid_post", 1]
    for layer in (np.int64(1), torch.tensor(1), -1):
        assert cache["resid_post", layer] is whole  # pyright: ignore
    for plies, right in (
        ((2, 5), slice(2, 5)),
        ((1, 9, 2), slice(1, 9, 2)),
        ([2, 5], [2, 5]),
        (torch.tensor([2, 5]), [2, 5]),
    ):
        stack = cache.decompose_resid(pos_slice=plies)
        assert isinstance(stack, Tensor)
        assert torch.equal(stack, cache.decompose_resid()[:, :, right])  # pyright: ignore
    with pytest.raises(InputError, match="layer -9: this model has 2 layers"):
        _ = cache["resid_post", -9]
    with pytest.raises(InputError, match="does not hold 'hook_nope'"):
        del cache["nope"]
    del cache["resid_post", 1]
    assert ("resid_post", 1) not in cache
    assert isinstance(cache, ActivationCache)
