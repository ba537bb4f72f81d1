"""The cache: what a shorthand means, and that the parts of the stream add up."""

from functools import partial
from typing import Any

import pytest
import torch
from reference.tiny import tiny_model
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt.cache import ActivationCache, hook_name, logit_lens
from othellolens.gpt.model import GPT
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games, random_games

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


@pytest.fixture
def ids(games: Games) -> Tensor:
    return tokens(games[:3])[:, :11]


@pytest.fixture
def cache(model: GPT, ids: Tensor) -> ActivationCache:
    with torch.no_grad():
        return model.run_with_cache(ids)[1]


SHORT: list[tuple[tuple[Any, ...], str]] = [
    (("blocks.1.hook_q",), "blocks.1.hook_q"),
    (("hook_embed",), "hook_embed"),
    (("embed",), "hook_embed"),
    (("pos_embed",), "hook_pos_embed"),
    (("resid_post", 6), "blocks.6.hook_resid_post"),
    (("attn_out", 0), "blocks.0.hook_attn_out"),
    (("mlp_out", 2), "blocks.2.hook_mlp_out"),
    (("pattern", 3), "blocks.3.attn.hook_pattern"),
    (("attn", 3), "blocks.3.attn.hook_pattern"),
    (("attn_logits", 3), "blocks.3.attn.hook_attn_scores"),
    (("attn_scores", 3), "blocks.3.attn.hook_attn_scores"),
    (("q", 1), "blocks.1.attn.hook_q"),
    (("query", 1), "blocks.1.attn.hook_q"),
    (("key", 1), "blocks.1.attn.hook_k"),
    (("value", 1), "blocks.1.attn.hook_v"),
    (("result", 1), "blocks.1.attn.hook_result"),
    (("pre", 2), "blocks.2.mlp.hook_pre"),
    (("mlp_pre", 2), "blocks.2.mlp.hook_pre"),
    (("post", 2, "mlp"), "blocks.2.mlp.hook_post"),
    (("post", 2, "m"), "blocks.2.mlp.hook_post"),
    (("k", 6, "a"), "blocks.6.attn.hook_k"),
    (("k6",), "blocks.6.attn.hook_k"),
    (("pre5",), "blocks.5.mlp.hook_pre"),
    (("scale4ln1",), "blocks.4.ln1.hook_scale"),
    (("resid_mid12",), "blocks.12.hook_resid_mid"),
    (("scale", 4, "ln1"), "blocks.4.ln1.hook_scale"),
    (("normalized", 4, "ln2"), "blocks.4.ln2.hook_normalized"),
    (("scale",), "ln_final.hook_scale"),
    (("normalized",), "ln_final.hook_normalized"),
    (("ln2", 4), "blocks.4.ln2.hook_normalized"),
    (("resid_pre", 4, "block"), "blocks.4.hook_resid_pre"),
]


@pytest.mark.parametrize(("short", "full"), SHORT, ids=str)
def test_shorthand_resolves_as_in_transformer_lens(short: tuple[Any, ...], full: str) -> None:
    assert hook_name(*short) == full


def test_a_cache_is_a_mapping_by_both(cache: ActivationCache) -> None:
    full = "blocks.1.attn.hook_pattern"
    for key in (full, ("pattern", 1), ("pattern", -1), "pattern1", ("attn", 1, "attn")):
        assert cache[key] is cache[full]
        assert key in cache
        assert cache.get(key) is cache[full]
    assert set(cache) == set(cache.keys())
    assert len(cache) == len(list(cache.values()))
    assert full in repr(cache)
    cache["pattern", 0] = torch.ones(1)
    assert cache["blocks.0.attn.hook_pattern"].shape == (1,)
    del cache["pattern", 0]
    assert ("pattern", 0) not in cache
    assert cache.get(("pattern", 0)) is None
    assert cache.to("cpu")[full] is cache[full]


def test_what_is_not_held_is_named(cache: ActivationCache) -> None:
    with pytest.raises(InputError, match=r"does not hold 'blocks\.7\.hook_resid_post': is that"):
        _ = cache["resid_post", 7]
    with pytest.raises(KeyError):
        _ = cache["nonsense"]
    for key in (("resid_post", "six"), (3,), ()):
        with pytest.raises(InputError, match="names no activation"):
            _ = cache[key]  # pyright: ignore
    empty = ActivationCache(cache.cfg, cache.weights)
    with pytest.raises(InputError, match=r"'hook_embed'.*It holds nothing"):
        empty.decompose_resid()


@pytest.mark.parametrize(("layer", "mlp_input"), [(0, False), (0, True), (1, True), (2, False)])
def test_the_components_add_up_to_the_stream(
    layer: int, mlp_input: bool, cache: ActivationCache
) -> None:
    parts, labels = cache.decompose_resid(layer, mlp_input=mlp_input, return_labels=True)
    assert isinstance(parts, Tensor)
    key = ("resid_mid", layer) if mlp_input else ("resid_pre", layer)
    close(parts.sum(0), cache[key if layer < 2 else ("resid_post", 1)])
    written = ["embed", "pos_embed"]
    written += [f"{block}_{kind}_out" for block in range(layer) for kind in ("attn", "mlp")]
    assert labels == written + [f"{layer}_attn_out"] * mlp_input
    normal = cache.decompose_resid(layer, mlp_input=mlp_input, apply_ln=True)
    assert isinstance(normal, Tensor)
    read = ("normalized", layer, "ln2" if mlp_input else "ln1") if layer < 2 else ("normalized",)
    close(normal.sum(0), cache[read])


def test_one_kind_of_component(cache: ActivationCache) -> None:
    for kind in ("attn", "mlp"):
        parts, labels = cache.decompose_resid(
            mode=kind, incl_embeds=False, return_labels=True, pos_slice=-1
        )
        assert labels == [f"0_{kind}_out", f"1_{kind}_out"]
        assert isinstance(parts, Tensor)
        assert torch.equal(parts[1], cache[f"{kind}_out", 1][:, -1])
    with pytest.raises(InputError, match="nothing was written before layer 0"):
        cache.decompose_resid(0, incl_embeds=False)


def test_the_stream_accumulates(cache: ActivationCache) -> None:
    resid, labels = cache.accumulated_resid(incl_mid=True, return_labels=True)
    assert labels == ["0_pre", "0_mid", "1_pre", "1_mid", "final_post"]
    for x, key in zip(
        resid,
        [("resid_pre", 0), ("resid_mid", 0), ("resid_pre", 1), ("resid_mid", 1), ("resid_post", 1)],
        strict=True,
    ):
        assert torch.equal(x, cache[key])
    _, labels = cache.accumulated_resid(1, mlp_input=True, return_labels=True)
    assert labels == ["0_pre", "1_pre", "1_mid"]
    some = cache.accumulated_resid(-1, apply_ln=True, pos_slice=slice(2, 5))
    assert isinstance(some, Tensor)
    assert some.shape == (3, 3, 3, 32)
    close(some[-1], cache["normalized"][:, 2:5])


@pytest.mark.parametrize("pos_slice", [None, -1, slice(2, 5)])
def test_heads_add_up_to_the_attention(
    pos_slice: int | slice | None, model: GPT, ids: Tensor, cache: ActivationCache
) -> None:
    heads, labels = cache.stack_head_results(
        incl_remainder=True, return_labels=True, pos_slice=pos_slice
    )
    assert isinstance(heads, Tensor)
    assert labels == [f"L{i}H{j}" for i in (0, 1) for j in range(4)] + ["remainder"]

    def at(x: Tensor) -> Tensor:
        return x if pos_slice is None else x[:, pos_slice]

    close(heads.sum(0), at(cache["resid_post", 1]))
    bias = model.blocks[1].attn.b_O.detach()  # pyright: ignore
    close(heads[4:8].sum(0) + bias, at(cache["attn_out", 1]))
    with torch.no_grad():
        _, asked = model.run_with_cache(ids, "blocks.1.attn.hook_result")
    close(heads[4:8], torch.stack([at(asked["result", 1][:, :, head]) for head in range(4)]))
    first = cache.stack_head_results(1, pos_slice=pos_slice)
    assert isinstance(first, Tensor)
    assert torch.equal(first, heads[:4])
    normal = cache.stack_head_results(incl_remainder=True, apply_ln=True, pos_slice=pos_slice)
    assert isinstance(normal, Tensor)
    close(normal.sum(0), at(cache["normalized"]))


def test_layers_that_are_not_there_are_refused(cache: ActivationCache) -> None:
    for refused in (
        partial(cache.decompose_resid, 3),
        partial(cache.decompose_resid, 2, mlp_input=True),
        partial(cache.accumulated_resid, -2),
        partial(cache.stack_head_results, 5),
    ):
        with pytest.raises(InputError, match="this model has 2 layers"):
            refused()
    with pytest.raises(InputError, match="no head lies before layer 0"):
        cache.stack_head_results(0)
    rest = cache.stack_head_results(0, incl_remainder=True)
    assert isinstance(rest, Tensor)
    assert torch.equal(rest[0], cache["resid_pre", 0])


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_the_logit_lens_ends_in_the_logits(normalization: Any, ids: Tensor) -> None:
    model = tiny_model(normalization)
    with torch.no_grad():
        logits, cache = model.run_with_cache(ids, lambda name: "hook_resid" in name)
        lens = logit_lens(cache)
        assert lens.shape == (3, 3, 11, 61)
        close(lens[-1], logits)
        for step, key in enumerate([("resid_pre", 0), ("resid_post", 0)]):
            normal = model.ln_final(cache[key])
            close(lens[step], normal @ model.unembed.W_U + model.unembed.b_U)
        assert torch.equal(logit_lens(cache, incl_mid=True)[::2], lens)


def test_many_games_pass_through_in_parts_that_are_joined_when_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, ids = tiny_model("LN"), tokens(random_games(11, seed=2))[:, :59]
    with torch.no_grad():
        logits, whole = model.run_with_cache(ids)
        monkeypatch.setattr("othellolens.gpt.model._GAMES_AT_ONCE", 4)
        again, parts = model.run_with_cache(ids)
        seen: list[int] = []
        model.run_with_hooks(ids, [("hook_embed", lambda x, hook: seen.append(len(x)))])
        with model.hooks([("hook_embed", lambda x, hook: seen.append(len(x)))]):
            model.run_with_cache(ids)
    assert seen == [11, 11], "a hook sees the batch that it was promised"
    torch.testing.assert_close(again, logits)
    assert list(parts) == list(whole)
    for name in whole:
        assert parts[name].shape == whole[name].shape
        torch.testing.assert_close(parts[name], whole[name])
    assert torch.equal(parts.to("cpu")["resid_post", 1], parts["resid_post", 1])
    _, kept = model.run_with_cache(ids)
    kept["resid_post", 0].retain_grad()
    assert kept["resid_post", 0].grad_fn is not None, "one tensor of the graph, not a copy"


def test_a_layer_norm_is_read_before_its_gain_and_bias() -> None:
    model, ids = tiny_model("LN"), tokens(random_games(2, seed=2))[:, :59]
    with torch.no_grad():
        for also in ([], ["blocks.1.ln2.hook_scale"]):
            _, cache = model.run_with_cache(ids, ["blocks.1.ln2.hook_normalized", *also])
            read = cache["normalized", 1, "ln2"]
            assert float(read.mean(-1).abs().max()) < 1e-5
            torch.testing.assert_close(read.var(-1, correction=0), torch.ones(2, 59))
        plain = model(ids)
        doubled = [("blocks.1.ln2.hook_normalized", lambda x, hook: 2 * x)]
        assert not torch.allclose(model.run_with_hooks(ids, doubled), plain), "it can be edited"
