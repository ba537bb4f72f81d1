"""Grids: every architecture at every width, sparsity, seed and site."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from ..errors import InputError
from ..gpt.sites import Site
from .architectures import OURS, architecture, is_known
from .autoencoder import Recipe
from .jump_relu import JumpRelu
from .prolu import ProLU
from .relu import Relu
from .training import Member

FORMS: dict[str, Recipe] = {
    "relu_tied": Relu(tied=True),
    "prolu_ste": ProLU(slope="ste"),
    "jumprelu_tanh": JumpRelu(form="tanh"),
    "jumprelu_target": JumpRelu(form="target", l0=32),
}
"""Forms of an architecture that go by a name of their own."""
ALL = (*OURS, *FORMS)
"""Every architecture of ours in every form."""


def recipe_of(name: str, width: int, l0: int | float) -> Recipe:
    """The recipe of a form or architecture, with a number of features that are to be on.

    Raises:
        InputError: no such architecture, or a number that it cannot reach.
    """
    if name not in FORMS and not is_known(name):
        architecture(name)
    recipe = FORMS[name] if name in FORMS else architecture(name)()
    # Width and number at once: each alone may not fit the other as it was.
    number = "k" if hasattr(recipe, "k") else "l0"
    if hasattr(recipe, number):
        return replace(recipe, width=width, **{number: l0})
    return replace(recipe, width=width).with_target(l0)


def grid(
    architectures: Sequence[str],
    widths: Sequence[int],
    l0s: Sequence[int | float],
    seeds: Sequence[int],
    sites: Sequence[Site],
    *,
    target: str | None = None,
    skip: bool = False,
) -> list[Member]:
    """One member for each combination, named after it.

    Args:
        architectures: names.
        widths: numbers of features.
        l0s: mean numbers of active features.
        seeds: of the weights.
        sites: where to read.
        target: the kind of site that transcoders rebuild, in the layer of the site that they read.
        skip: give the transcoders a linear path beside their features.

    Raises:
        InputError: an empty list, no such architecture or kind of site, a number of features that
            it cannot have, or a skip without a target.
    """
    if skip and target is None:
        raise InputError("a skip belongs to transcoders: give them a target")
    lists = {
        "architectures": architectures, "widths": widths, "l0": l0s, "seeds": seeds, "sites": sites
    }  # fmt: skip
    for what, values in lists.items():
        if not values:
            raise InputError(f"a sweep needs at least one of {what}")
    combined = product(sites, dict.fromkeys(architectures), widths, l0s, seeds)
    return [
        Member(
            _name(site if len(sites) > 1 else None, name, width, l0, seed),
            recipe_of(name, width, l0),
            site,
            seed,
            None if target is None else Site(target, site.layer),
            skip,
            form=name,
        )
        for site, name, width, l0, seed in combined
    ]


def _name(site: Site | None, name: str, width: int, l0: int | float, seed: int) -> str:
    head = "" if site is None else f"{site}-"
    return f"{head}{name}-w{width}-l{l0:g}-s{seed}"
