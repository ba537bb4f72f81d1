"""The encoder's product beside plain autograd, which computes what nobody needs."""

import pytest
import torch
from torch import Tensor

from othellolens.sae.dense import seen


def leaves(*, members: int | None, seed: int) -> dict[str, Tensor]:
    """x and weights of small SAEs, of a stack where members are given."""
    generator = torch.Generator().manual_seed(seed)
    front = () if members is None else (members,)
    shapes = {"x": (7, 5), "W_enc": (*front, 5, 6), "b_dec": (*front, 5), "offset": (*front, 6)}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: value.requires_grad_(name != "x") for name, value in made.items()}


def plainly(x: Tensor, W_enc: Tensor, b_dec: Tensor | None, offset: Tensor | None) -> Tensor:
    """The formula."""
    z = (x if b_dec is None else x - b_dec[..., None, :]) @ W_enc
    return z if offset is None else z + offset[..., None, :]


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("without", [(), ("b_dec",), ("offset",), ("b_dec", "offset")])
@pytest.mark.parametrize(("bf16", "near"), [(False, 1e-5), (True, 0.06)])
def test_product_and_gradients_are_those_of_the_formula(
    members: int | None, without: tuple[str, ...], bf16: bool, near: float
) -> None:
    found: list[list[Tensor]] = []
    for way in (seen, plainly):
        given: dict[str, Tensor | None] = {**leaves(members=members, seed=0)}
        given.update(dict.fromkeys(without))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and way is seen):
            z = way(**given)  # pyright: ignore
        weight = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
        (z.float() * weight).sum().backward()
        grads = [leaf.grad for leaf in given.values() if leaf is not None]
        found.append([z.detach().float(), *(grad for grad in grads if grad is not None)])
    assert len(found[0]) == len(found[1]) == 4 - len(without)
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= near * theirs.abs().max()


def test_what_is_encoded_needs_no_gradient_of_its_own() -> None:
    """The third product is gone: nothing in the graph of z leads to x - b_dec."""
    given = leaves(members=None, seed=0)
    z = seen(given["x"], given["W_enc"], given["b_dec"], given["offset"])
    sizes: set[torch.Size] = set()
    z.register_hook(lambda grad: sizes.add(grad.shape))

    def watch(node: object) -> None:
        for child, _ in getattr(node, "next_functions", ()):
            if child is not None:
                child.register_hook(
                    lambda ins, _: sizes.update(g.shape for g in ins if g is not None)
                )
                watch(child)

    watch(z.grad_fn)
    z.sum().backward()
    assert given["x"].shape not in sizes
    assert z.shape in sizes
