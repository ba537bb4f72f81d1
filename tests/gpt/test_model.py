"""The transformer: its names, its numbers against loops, its hooks."""

import copy
from functools import partial
from typing import Literal

import pytest
import torch
from reference import gpt_by_loops
from reference.tiny import tiny_model
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt import model as module
from othellolens.gpt.model import GPT, flat, untrained
from othellolens.gpt.shape import PRESETS, GPTConfig
from othellolens.gpt.sites import HookPoint
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
"""The same computed in another order, in single precision."""
same_formula = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
"""In double precision nothing but a wrong formula differs by as much."""

GAMES, PLIES, HEADS, D_HEAD, D_MODEL, D_MLP = 5, 17, 4, 8, 32, 64

OUTER = {
    "hook_embed": (GAMES, PLIES, D_MODEL),
    "hook_pos_embed": (GAMES, PLIES, D_MODEL),
    "ln_final.hook_scale": (GAMES, PLIES, 1),
    "ln_final.hook_normalized": (GAMES, PLIES, D_MODEL),
    "unembed.hook_in": (GAMES, PLIES, D_MODEL),
    "unembed.hook_out": (GAMES, PLIES, 61),
}
INNER = {
    "hook_resid_pre": (GAMES, PLIES, D_MODEL),
    "ln1.hook_scale": (GAMES, PLIES, 1),
    "ln1.hook_normalized": (GAMES, PLIES, D_MODEL),
    "attn.hook_q": (GAMES, PLIES, HEADS, D_HEAD),
    "attn.hook_k": (GAMES, PLIES, HEADS, D_HEAD),
    "attn.hook_v": (GAMES, PLIES, HEADS, D_HEAD),
    "attn.hook_attn_scores": (GAMES, HEADS, PLIES, PLIES),
    "attn.hook_pattern": (GAMES, HEADS, PLIES, PLIES),
    "attn.hook_z": (GAMES, PLIES, HEADS, D_HEAD),
    "hook_attn_out": (GAMES, PLIES, D_MODEL),
    "hook_resid_mid": (GAMES, PLIES, D_MODEL),
    "ln2.hook_scale": (GAMES, PLIES, 1),
    "ln2.hook_normalized": (GAMES, PLIES, D_MODEL),
    "mlp.hook_pre": (GAMES, PLIES, D_MLP),
    "mlp.hook_post": (GAMES, PLIES, D_MLP),
    "hook_mlp_out": (GAMES, PLIES, D_MODEL),
    "hook_resid_post": (GAMES, PLIES, D_MODEL),
}
"""As HookedTransformer caches them."""
SHAPES = OUTER | {f"blocks.{layer}.{k}": v for layer in (0, 1) for k, v in INNER.items()}
RESULTS = {f"blocks.{layer}.attn.hook_result": (GAMES, PLIES, HEADS, D_MODEL) for layer in (0, 1)}
"""Kept only when asked for."""

WEIGHTS = {
    "attn.W_Q": (HEADS, D_MODEL, D_HEAD),
    "attn.W_K": (HEADS, D_MODEL, D_HEAD),
    "attn.W_V": (HEADS, D_MODEL, D_HEAD),
    "attn.W_O": (HEADS, D_HEAD, D_MODEL),
    "attn.b_Q": (HEADS, D_HEAD),
    "attn.b_K": (HEADS, D_HEAD),
    "attn.b_V": (HEADS, D_HEAD),
    "attn.b_O": (D_MODEL,),
    "mlp.W_in": (D_MODEL, D_MLP),
    "mlp.b_in": (D_MLP,),
    "mlp.W_out": (D_MLP, D_MODEL),
    "mlp.b_out": (D_MODEL,),
}


@pytest.fixture
def ids(games: Games) -> Tensor:
    return tokens(games[:GAMES])[:, :PLIES]


# Names and shapes


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_parameters_are_named_and_shaped_as_in_hooked_transformer(
    normalization: Literal["LN", "LNPre"],
) -> None:
    expected = {
        "embed.W_E": (61, D_MODEL),
        "pos_embed.W_pos": (59, D_MODEL),
        "unembed.W_U": (D_MODEL, 61),
        "unembed.b_U": (61,),
    }
    expected |= {f"blocks.{layer}.{k}": v for layer in (0, 1) for k, v in WEIGHTS.items()}
    if normalization == "LN":
        norms = ["ln_final", *(f"blocks.{layer}.ln{i}" for layer in (0, 1) for i in (1, 2))]
        expected |= {f"{norm}.{part}": (D_MODEL,) for norm in norms for part in "wb"}
    found = {key: tuple(x.shape) for key, x in tiny_model(normalization).state_dict().items()}
    assert found == expected


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_activations_are_named_and_shaped_as_in_hooked_transformer(
    normalization: Literal["LN", "LNPre"], ids: Tensor
) -> None:
    model = tiny_model(normalization)
    _, cache = model.run_with_cache(ids)
    assert {name: tuple(x.shape) for name, x in cache.items()} == SHAPES
    assert set(model.hook_names) == set(SHAPES) | set(RESULTS)
    with torch.no_grad():
        _, cache = model.run_with_cache(ids, lambda name: True)
    assert {name: tuple(x.shape) for name, x in cache.items()} == SHAPES | RESULTS


def test_presets_have_the_sizes_that_they_say() -> None:
    published = PRESETS["published"]
    assert (published.n_layers, published.d_model, published.n_heads) == (8, 512, 8)
    assert (published.d_mlp, published.d_head, published.n_ctx, published.d_vocab) == (
        2048,
        64,
        59,
        61,
    )
    mini = GPT(PRESETS["mini"])
    assert 1e6 < sum(x.numel() for x in mini.parameters()) < 4e6


# Numbers


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
@pytest.mark.parametrize("path", ["fused", "explicit", "scale"])
def test_logits_equal_the_reference(
    normalization: Literal["LN", "LNPre"], path: str, ids: Tensor
) -> None:
    model = tiny_model(normalization).double()
    weights = {key: value.detach() for key, value in model.named_parameters()}
    points = {"fused": [], "explicit": ["hook_pattern"], "scale": ["hook_scale"]}[path]
    hooks = [(lambda name: any(p in name for p in points), lambda x, hook: None)]
    with torch.no_grad():
        got = model.run_with_hooks(ids[:2, :9], hooks)
    for game, expected in zip(ids[:2, :9].tolist(), got, strict=True):
        right = gpt_by_loops.logits(game, weights, layers=2)
        same_formula(expected, right)


def test_the_epsilon_is_that_of_the_config() -> None:
    shape = GPTConfig(n_layers=1, d_model=32, n_heads=4, d_mlp=64, eps=0.3)
    model = GPT(shape, seed=1).double()
    weights = {key: value.detach() for key, value in model.named_parameters()}
    right = gpt_by_loops.logits([41, 27, 18], weights, layers=1, eps=0.3)
    other = gpt_by_loops.logits([41, 27, 18], weights, layers=1)
    got = model(torch.tensor([[41, 27, 18]])).detach()[0]
    same_formula(got, right)
    assert not torch.allclose(right, other, rtol=1e-3)


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_a_move_changes_nothing_before_it(path: str, model: GPT, ids: Tensor) -> None:
    names = None if path == "explicit" else []
    for ply in (0, 1, 8, PLIES - 1):
        changed = ids.clone()
        changed[:, ply] = ids[:, ply] % 60 + 1
        with torch.no_grad():
            before, after = (model.run_with_cache(x, names)[0] for x in (ids, changed))
        close(after[:, :ply], before[:, :ply])
        assert (after[:, ply:] - before[:, ply:]).abs().amax(-1).min() > 1e-4


def test_later_moves_may_be_left_away(model: GPT, ids: Tensor) -> None:
    close(model(ids[:, :6]), model(ids)[:, :6])


def test_games_do_not_see_each_other(model: GPT, ids: Tensor) -> None:
    close(model(ids[2:3]), model(ids)[2:3])


def test_fused_attention_is_used_unless_the_pattern_or_a_gradient_is_wanted(
    model: GPT, ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fused = module.F.scaled_dot_product_attention

    def counted(*args: Tensor, is_causal: bool) -> Tensor:
        calls.append(1)
        return fused(*args, is_causal=is_causal)

    monkeypatch.setattr(module.F, "scaled_dot_product_attention", counted)
    with torch.no_grad():
        plain = model(ids)
        assert len(calls) == 2
        pattern, _ = model.run_with_cache(ids, "blocks.0.attn.hook_pattern")
        assert len(calls) == 3
        scores, _ = model.run_with_cache(ids, "blocks.1.attn.hook_attn_scores")
        assert len(calls) == 4
    trained = model(ids)
    assert len(calls) == 4
    for other in (pattern, scores, trained):
        close(other, plain)


def test_patterns_sum_to_one_and_see_no_future(model: GPT, ids: Tensor) -> None:
    _, cache = model.run_with_cache(ids, lambda name: "hook_pattern" in name)
    future = torch.ones(PLIES, PLIES, dtype=torch.bool).triu(1)
    assert len(cache) == 2
    for pattern in cache.values():
        close(pattern.sum(-1), torch.ones(GAMES, HEADS, PLIES))
        assert (pattern[..., future] == 0).all()
        assert (pattern[..., ~future] > 0).all()


def test_cached_activations_fit_together(model: GPT, ids: Tensor) -> None:
    logits, cache = model.run_with_cache(ids)
    close(cache["resid_pre", 0], cache["hook_embed"] + cache["hook_pos_embed"])
    for layer in (0, 1):
        mid = cache["resid_pre", layer] + cache["attn_out", layer]
        close(cache["resid_mid", layer], mid)
        close(cache["resid_post", layer], mid + cache["mlp_out", layer])
        q, k, v, z, scores, pattern = (
            cache[f"blocks.{layer}.attn.hook_{name}"]
            for name in ("q", "k", "v", "z", "attn_scores", "pattern")
        )
        allowed = torch.ones(PLIES, PLIES).tril().bool()
        raw = torch.einsum("gqhd,gkhd->ghqk", q, k) / D_HEAD**0.5
        close(scores[..., allowed], raw[..., allowed])
        assert (scores[..., ~allowed] == float("-inf")).all()
        close(pattern, scores.softmax(-1))
        close(z, torch.einsum("ghqk,gkhd->gqhd", pattern, v))
    close(cache["resid_post", 0], cache["resid_pre", 1])
    final = cache["ln_final.hook_normalized"]
    close(logits, final @ model.unembed.W_U + model.unembed.b_U)
    centred = cache["resid_post", 1] - cache["resid_post", 1].mean(-1, keepdim=True)
    close(final * cache["ln_final.hook_scale"], centred)


def test_gradients_reach_every_parameter(ids: Tensor) -> None:
    model = tiny_model("LN")
    model(ids).logsumexp(-1).sum().backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None, key
        # Adding one vector to all keys adds one number to all scores of a query: no effect.
        assert key.endswith("b_K") or weight.grad.abs().max() > 1e-6, key


@pytest.mark.parametrize("points", ["hook_scale", "hook_pattern"])
def test_gradients_do_not_depend_on_who_looks(points: str, ids: Tensor) -> None:
    plain, watched = tiny_model("LN"), tiny_model("LN")
    plain(ids).logsumexp(-1).mean().backward()
    looks = [(lambda name: points in name, lambda x, hook: None)]
    watched.run_with_hooks(ids, looks).logsumexp(-1).mean().backward()
    for (key, one), other in zip(plain.named_parameters(), watched.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        close(one.grad, other.grad, msg=key)


# start_at_layer


@pytest.mark.parametrize("start", [0, 1, 2, -1])
def test_the_model_goes_on_from_a_layer(model: GPT, ids: Tensor, start: int) -> None:
    resid, met = model(ids, stop_at_layer=start), list[str]()
    assert torch.equal(model(resid, start_at_layer=start), model(ids))

    def meet(x: Tensor, hook: HookPoint) -> None:  # noqa: ARG001
        met.append(hook.name)

    model.run_with_hooks(resid, [(lambda _: True, meet)], start_at_layer=start)
    first = start % (model.cfg.n_layers + 1) if start >= 0 else model.cfg.n_layers + start
    blocks = {name.split(".")[1] for name in met if name.startswith("blocks.")}
    assert blocks == {str(layer) for layer in range(first, model.cfg.n_layers)}
    assert not any(name.startswith(("hook_embed", "hook_pos")) for name in met)


def test_a_stream_that_does_not_fit_is_refused(model: GPT, ids: Tensor) -> None:
    with pytest.raises(
        InputError, match=r"a residual stream \[game, ply, d_model\], of this model"
    ):
        model(ids, start_at_layer=1)
    with pytest.raises(InputError, match="start_at_layer 3: this model has 2 layers"):
        model(model(ids, stop_at_layer=1), start_at_layer=3)


def test_a_name_given_twice_is_read_once(model: GPT, ids: Tensor) -> None:
    name = "blocks.0.hook_resid_post"
    assert model.run_with_cache(ids, [name, name])[1][name].shape[0] == len(ids)


# stop_at_layer


@pytest.mark.parametrize(("stop", "blocks"), [(0, 0), (1, 1), (2, 2), (-1, 1), (-2, 0)])
def test_stopping_returns_what_the_next_block_would_read(
    stop: int, blocks: int, model: GPT, ids: Tensor
) -> None:
    _, whole = model.run_with_cache(ids)
    resid, cache = model.run_with_cache(ids, stop_at_layer=stop)
    name = "blocks.1.hook_resid_post" if blocks == 2 else f"blocks.{blocks}.hook_resid_pre"
    close(resid, whole[name])
    assert {name.split(".")[1] for name in cache if name.startswith("blocks.")} == {
        str(layer) for layer in range(blocks)
    }
    assert not any(name.startswith("ln_final") for name in cache)
    close(model(ids, stop), resid)
    close(model.run_with_hooks(ids, stop_at_layer=stop), resid)


@pytest.mark.parametrize("stop", [3, -3])
def test_a_layer_that_is_not_there_is_refused(stop: int, model: GPT, ids: Tensor) -> None:
    with pytest.raises(InputError, match=f"stop_at_layer {stop}: this model has 2 layers"):
        model(ids, stop_at_layer=stop)


# Hooks


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("blocks.1.mlp.hook_post", ["blocks.1.mlp.hook_post"]),
        (["hook_embed", "blocks.0.hook_resid_mid"], ["hook_embed", "blocks.0.hook_resid_mid"]),
        (("hook_embed",), ["hook_embed"]),
        (
            lambda name: name.endswith("resid_post"),
            ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"],
        ),
        (None, list(SHAPES)),
        ([], []),
        (lambda name: False, []),
    ],
    ids=["one", "list", "tuple", "predicate", "all", "no names", "none fits"],
)
def test_names_filter(names: module.NamesFilter, kept: list[str], model: GPT, ids: Tensor) -> None:
    logits, cache = model.run_with_cache(ids, names_filter=names)
    assert set(cache) == set(kept)
    close(logits, model(ids))


def test_an_unknown_hook_lists_what_there_is(model: GPT, ids: Tensor) -> None:
    for names in ("blocks.2.hook_resid_post", ["hook_embed", "hook_resid"]):
        with pytest.raises(InputError) as caught:
            model.run_with_cache(ids, names_filter=names)
        text = str(caught.value)
        assert text.startswith(f"no hook point {names if isinstance(names, str) else names[1]!r}")
        assert "layers 0 to 1" in text
        for name in (*OUTER, *INNER):
            assert name in text
        near = "blocks.1.hook_resid_post" if isinstance(names, str) else "hook_embed"
        assert f"did you mean '{near}'?" in text


@pytest.mark.parametrize("name", SHAPES | RESULTS)
def test_writing_back_what_was_read_changes_nothing(name: str, model: GPT, ids: Tensor) -> None:
    with torch.no_grad():
        plain, cache = model.run_with_cache(ids, lambda name: True)
        again = model.run_with_hooks(ids, [(name, lambda x, hook: cache[hook.name].clone())])
    close(again, plain)


@pytest.mark.parametrize("name", SHAPES | RESULTS)
def test_every_point_is_on_the_way_to_the_logits(name: str, model: GPT, ids: Tensor) -> None:
    """What is written there counts. (Times one number would not do: a layer norm undoes it.)"""

    def edit(x: Tensor) -> Tensor:
        return x * torch.linspace(1.2, 2.0, x.shape[-1])

    with torch.no_grad():
        plain, cache = model.run_with_cache(ids, lambda name: True)
        with model.hooks([(name, lambda x, hook: edit(x))]):
            edited, seen = model.run_with_cache(ids, lambda name: True)
    assert (edited - plain).abs().max() > 1e-3
    close(seen[name], edit(cache[name]))


@pytest.mark.parametrize("layer", [0, 1])
def test_an_edit_leaves_earlier_layers_and_earlier_plies_alone(
    layer: int, model: GPT, ids: Tensor
) -> None:
    def edit(x: Tensor, hook: HookPoint) -> Tensor:
        x = x.clone()
        x[:, 7] += 1 + torch.arange(D_MODEL) % 3
        return x

    with torch.no_grad():
        plain, cache = model.run_with_cache(ids)
        with model.hooks([(f"blocks.{layer}.hook_resid_post", edit)]):
            edited, seen = model.run_with_cache(ids)
    for name, x in cache.items():
        if name.startswith("hook_") or (
            name.startswith("blocks.")
            and int(name[7]) <= layer
            and name != f"blocks.{layer}.hook_resid_post"
        ):
            assert torch.equal(seen[name], x), name
    close(edited[:, :7], plain[:, :7])
    assert (edited[:, 7] - plain[:, 7]).abs().max() > 1e-3
    # What reads the stream after the edit carries it to the plies that follow.
    moved = (edited[:, 8:] - plain[:, 8:]).abs().max() > 1e-4
    assert bool(moved) is (layer == 0)


def test_hooks_run_in_the_order_in_which_they_are_given(model: GPT, ids: Tensor) -> None:
    name = "hook_embed"
    _, cache = model.run_with_cache(ids, name)
    seen: list[Tensor] = []
    hooks = [
        (name, lambda x, hook: x + 1),
        ([name], lambda x, hook: 2 * x),
        (name, lambda x, hook: seen.append(x)),
    ]
    model.run_with_hooks(ids, hooks)
    close(seen[0], 2 * (cache[name] + 1))


def placed(model: GPT) -> int:
    return sum(len(m.hooks) for m in model.modules() if isinstance(m, HookPoint))


def test_hooks_are_taken_away_afterwards(model: GPT, ids: Tensor) -> None:
    def nothing(x: Tensor, hook: HookPoint) -> None:
        pass

    def fails(x: Tensor, hook: HookPoint) -> None:
        raise RuntimeError("inside")

    with model.hooks([(None, nothing), ("hook_embed", nothing)]) as same:
        assert same is model
        assert placed(model) == len(SHAPES) + 1
        with model.hooks([("hook_embed", fails)]), pytest.raises(RuntimeError, match="inside"):
            model(ids)
        assert placed(model) == len(SHAPES) + 1
    assert placed(model) == 0
    with pytest.raises(RuntimeError, match="inside"):
        model.run_with_hooks(ids, [(None, nothing), ("blocks.1.hook_mlp_out", fails)])
    assert placed(model) == 0
    with pytest.raises(InputError):
        model.run_with_hooks(ids, [(None, nothing), ("nowhere", nothing)])
    assert placed(model) == 0
    with pytest.raises(InputError):
        model.run_with_cache(ids + 60)
    assert placed(model) == 0
    model.run_with_cache(ids)
    assert placed(model) == 0


def test_hooks_that_meddle_with_hooks_do_not_leak(model: GPT, ids: Tensor) -> None:
    class Same:
        """Equal to all others; were it found by equality, the wrong one would go."""

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # pyright: ignore

        def __call__(self, x: Tensor, hook: HookPoint) -> None:
            hook.hooks.clear()

    def outer(x: Tensor, hook: HookPoint) -> None:
        pass

    point = model.hook_embed
    with model.hooks([("hook_embed", outer)]):
        with model.hooks([("hook_embed", Same())]):
            pass
        assert point.hooks == [outer]
        assert point.hooks[0] is outer
        model.run_with_hooks(ids, [("hook_embed", Same()), ("hook_pos_embed", outer)])
    assert placed(model) == 0


def test_a_copy_has_hooks_of_its_own(model: GPT, ids: Tensor) -> None:
    other = copy.deepcopy(model)
    with other.hooks([("hook_embed", lambda x, hook: 0 * x)]):
        assert (placed(other), placed(model)) == (1, 0)
        assert not torch.equal(other(ids), model(ids))
    assert torch.equal(other(ids), model(ids))
    assert flat(other.blocks[0].attn.W_Q).data_ptr() == other.blocks[0].attn.W_Q.data_ptr()


# What is refused


@pytest.mark.parametrize("bad", [-1, 61, 63])
def test_a_bad_token_is_refused(bad: int, model: GPT) -> None:
    with pytest.raises(InputError, match=f"token {bad} is outside the vocabulary"):
        model(torch.tensor([[1, 2, bad]]))


def test_a_game_that_is_too_long_is_refused(model: GPT, games: Games) -> None:
    with pytest.raises(InputError, match=r"60 plies, .* at most 59: pass .*\[:, :-1\]"):
        model(tokens(games))
    assert model(tokens(games)[:, :-1]).shape == (32, 59, 61)


@pytest.mark.parametrize("shape", [(0, 59), (3, 0)])
def test_nothing_read_is_nothing_said(shape: tuple[int, int], model: GPT) -> None:
    with torch.no_grad():
        assert model(torch.zeros(shape, dtype=torch.int64)).shape == (*shape, 61)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InputError, match="d_model 30 is not a multiple of n_heads 4"):
        GPT(GPTConfig(n_layers=1, d_model=30, n_heads=4, d_mlp=64))


# Weights


def test_weights_are_drawn_as_in_gpt_2_and_by_the_seed() -> None:
    shape = GPTConfig(n_layers=3, d_model=96, n_heads=4, d_mlp=256, normalization="LN")
    one, again, other = (GPT(shape, seed=seed).state_dict() for seed in (1, 1, 2))
    for key, weight in one.items():
        assert torch.equal(weight, again[key])
        name = key.rpartition(".")[2]
        if not name.startswith("W_"):
            assert (weight == (1 if name == "w" else 0)).all()
            continue
        assert not torch.equal(weight, other[key])
        spread = 0.02 / 6**0.5 if name in ("W_O", "W_out") else 0.02
        assert float(weight.std()) == pytest.approx(spread, rel=0.05)
        assert float(weight.mean()) == pytest.approx(0, abs=spread / 20)


def test_untrained_has_the_shape_but_not_the_weights(model: GPT) -> None:
    model.name = "mini"
    fresh = untrained(model, seed=4)
    assert fresh.cfg == model.cfg
    assert fresh.name == "mini, untrained with seed 4"
    assert not fresh.training
    assert torch.equal(fresh.embed.W_E, GPT(model.cfg, seed=4).embed.W_E)


def layout_is_kept(model: GPT) -> bool:
    """All heads side by side are a view, so that no forward pass copies them."""
    weights = [
        w
        for b in model.blocks
        for w in (b.attn.W_Q, b.attn.W_K, b.attn.W_V)  # pyright: ignore
    ]
    return all(flat(w).data_ptr() == w.data_ptr() and flat(w).is_contiguous() for w in weights)


def test_flat_puts_the_heads_side_by_side(model: GPT) -> None:
    weight = model.blocks[0].attn.W_K  # pyright: ignore
    assert torch.equal(flat(weight), torch.cat(list(weight), dim=1))
    assert layout_is_kept(model)


@pytest.mark.parametrize("contiguous", [False, True])
def test_a_state_dict_comes_back(contiguous: bool, model: GPT, ids: Tensor) -> None:
    state = {
        key: value.contiguous() if contiguous else value
        for key, value in model.state_dict().items()
    }
    other = GPT(model.cfg, seed=9)
    other.load_state_dict(state)
    for key, value in other.state_dict().items():
        assert torch.equal(value, state[key]), key
        assert value.data_ptr() != state[key].data_ptr()
    assert layout_is_kept(other)
    with torch.no_grad():
        assert torch.equal(other(ids), model(ids))
        assert layout_is_kept(other.double())


def test_padding_inside_a_game_is_refused(model: GPT, ids: Tensor) -> None:
    holed = ids.clone()
    holed[2, 5] = 0
    with pytest.raises(InputError, match=r"game 2, ply 5: padding \(0\) before a move"):
        model(holed)
    holed[2, 5:] = 0
    assert model(holed).shape == (GAMES, PLIES, 61)
