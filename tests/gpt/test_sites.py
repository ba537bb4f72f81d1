"""Sites: their two spellings, and what is none."""

import pytest
import torch

from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import SITES, HookPoint, Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games

HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "z": "attn.hook_z",
    "mlp_out": "hook_mlp_out",
    "mlp_pre": "mlp.hook_pre",
    "mlp_post": "mlp.hook_post",
    "ln1": "ln1.hook_normalized",
    "ln2": "ln2.hook_normalized",
}


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize("layer", [0, 3, 11])
def test_both_spellings_round_trip(kind: str, layer: int) -> None:
    site = Site(kind, layer)
    assert str(site) == f"{kind}.{layer}"
    assert site.hook_name == f"blocks.{layer}.{HOOKS[kind]}"
    assert Site.parse(str(site)) == Site.parse(site.hook_name) == site


def test_these_are_all() -> None:
    assert set(SITES) == set(HOOKS)


@pytest.mark.parametrize("kind", SITES)
def test_every_site_is_in_the_model_and_as_wide_as_it_says(
    kind: str, model: GPT, games: Games
) -> None:
    for layer in (0, 1):
        site = Site(kind, layer)
        _, cache = model.run_with_cache(tokens(games[:2])[:, :5], names_filter=site.hook_name)
        assert site.vectors(cache[site.hook_name]).shape == (2, 5, model.width(site))
        assert cache[kind, layer] is cache[site.hook_name]


BAD = [
    "",
    "resid_post",
    "resid_post.",
    ".3",
    "resid_post.-1",
    "resid_post.x",
    "resid_post.3.3",
    "resid_post.²",
    "resid.3",
    "hook_resid_post.3",
    "blocks.3",
    "blocks.x.hook_resid_post",
    "blocks.².hook_resid_post",
    "blocks.3.hook_resid",
    "blocks.3.attn.hook_q",
    "z.3.1.2",
    "z.3.x",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"write kind\.layer, e\.g\. resid_post\.3.*mlp_post"):
        Site.parse(text)


def test_an_unknown_kind_or_layer_is_refused() -> None:
    with pytest.raises(InputError, match="no site 'resid': choose one of resid_pre, .*ln2"):
        Site("resid", 0)
    with pytest.raises(InputError, match="layer -1: layers are counted from 0"):
        Site("resid_post", -1)


def test_a_layer_that_the_model_lacks_is_refused(model: GPT) -> None:
    for check in (model.check_site, model.width):
        with pytest.raises(InputError, match=r"site mlp_pre\.2: .* 2 layers, 0 to 1"):
            check(Site("mlp_pre", 2))
    model.check_site(Site("mlp_pre", 1))


def test_a_hook_point_passes_on_what_its_functions_return() -> None:
    point, x = HookPoint(), torch.ones(2)
    seen: list[torch.Tensor] = []
    assert point(x) is x
    point.hooks += [
        lambda x, hook: x + 1,
        lambda x, hook: seen.append(x),
        lambda x, hook: 3 * x,
    ]
    assert point(x).tolist() == [6, 6]
    assert seen[0].tolist() == [2, 2]


def test_one_head_is_read_and_written_alone(model: GPT, games: Games) -> None:
    """z.1.2 is what head 2 of layer 1 reads, and writing it leaves the other heads alone."""
    whole, one = Site("z", 1), Site("z", 1, head=2)
    assert Site.parse("z.1.2") == one and str(one) == "z.1.2"
    ids = tokens(games[:2])[:, :5]
    z = model.run_with_cache(ids, names_filter=one.hook_name)[1][one.hook_name]
    assert torch.equal(one.vectors(z), z[:, :, 2])
    assert torch.equal(whole.vectors(z), z.flatten(2))
    assert torch.equal(whole.with_vectors(z, whole.vectors(z)), z)
    other = one.with_vectors(z, one.vectors(z) + 1)
    kept = [head for head in range(z.shape[2]) if head != 2]
    assert torch.equal(other[:, :, kept], z[:, :, kept])
    assert torch.equal(other[:, :, 2], z[:, :, 2] + 1)
    assert model.width(one) * model.cfg.n_heads == model.width(whole)


def test_a_head_that_is_none_is_refused(model: GPT) -> None:
    with pytest.raises(InputError, match="heads, counted from 0, are parts of z"):
        Site("resid_post", 0, head=1)
    with pytest.raises(InputError, match="site z.0.9: this model has .* heads"):
        model.check_site(Site("z", 0, head=9))
