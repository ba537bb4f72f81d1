"""Activation patching: what of the clean run makes the corrupted run clean again?

Metric: the logit of a move that only the clean history allows, less that of one that only the
corrupted history allows; normalised so that the corrupted run has 0 and the clean run 1 (Wang et
al. 2022; Heimersheim and Nanda 2024). Attribution patching (Nanda 2023) is its first-order
approximation: all places in one backward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.cache import ActivationCache
from ..gpt.model import GPT
from ..gpt.sites import Hook, Site
from ..gpt.tokens import PAD, tokens
from ..lens import Lens
from ..othello.games import Games
from .pairs import Pairs

Ablation: TypeAlias = Literal["zero", "mean", "resample"]
"""What an activation is exchanged for: 0, its mean at that ply, or that of another game there."""
_INPUT = "hook_embed"


@dataclass(frozen=True)
class Place:
    """A part of the model's activations."""

    site: Site
    """With `Site("z", layer, head)` one head."""
    back: int | None = None
    """Plies before the last; None: all plies."""
    index: int | None = None
    """One axis, a neuron of `mlp_post` say; None: all."""

    def __str__(self) -> str:
        ply = "" if self.back is None else f", {self.back} before the last"
        return f"{self.site}{'' if self.index is None else f'[{self.index}]'}{ply}"


@dataclass(frozen=True)
class Patched:
    """What patching places did."""

    places: tuple[Place, ...]
    metric: Float[Tensor, "place pair"]
    clean: Float[Tensor, " pair"]
    corrupted: Float[Tensor, " pair"]

    def restored(self) -> Float[Tensor, " place"]:
        """Mean metric of each place, normalised: 0 as corrupted, 1 as clean."""
        gap = (self.clean - self.corrupted).mean()
        return (self.metric - self.corrupted).mean(1) / gap


@torch.no_grad()
def patch(model: GPT, pairs: Pairs, places: Sequence[Place]) -> Patched:
    """Run the corrupted histories with a place's activations from the clean ones, place by place.

    Cost: one forward pass a place, and two more.

    Raises:
        InputError: a place that the model does not have.
    """
    clean_ids, ids = pairs.ids(model), pairs.ids(model, "corrupted")
    names = list(dict.fromkeys(_checked(model, place).site.hook_name for place in places))
    logits, cache = model.run_with_cache(clean_ids, names_filter=names)
    base = pairs.metric(model(ids)).cpu()
    found = [
        pairs.metric(model.run_with_hooks(ids, [_exchange(place, pairs, cache)])).cpu()
        for place in places
    ]
    return Patched(tuple(places), torch.stack(found), pairs.metric(logits).cpu(), base)


def patch_together(model: GPT, pairs: Pairs, places: Sequence[Place]) -> Float[Tensor, " pair"]:
    """The metric with all places patched in one run."""
    with torch.no_grad():
        names = [_checked(model, place).site.hook_name for place in places]
        _, cache = model.run_with_cache(pairs.ids(model), names_filter=list(dict.fromkeys(names)))
        hooks = [_exchange(place, pairs, cache) for place in places]
        return pairs.metric(model.run_with_hooks(pairs.ids(model, "corrupted"), hooks)).cpu()


def attribution_patch(
    model: GPT, pairs: Pairs, places: Sequence[Place], *, between: int = 0
) -> Patched:
    """The first-order approximation of `patch`: gradient at the corrupted run times the change.

    Cost: two forward passes, and a forward and a backward pass a gradient, however many places.

    Args:
        model: the player.
        pairs: of histories.
        places: to patch.
        between: average the gradients at so many points between the corrupted and the clean
            embeddings (integrated gradients; Hanna et al. 2024, EAP-IG); 0: take that of the
            corrupted run alone.

    Raises:
        InputError: a place that the model does not have, or a negative number of points.
    """
    names = list(dict.fromkeys(_checked(model, place).site.hook_name for place in places))
    slopes = _slopes(model, pairs, names, between)
    with torch.no_grad():
        logits, clean = model.run_with_cache(pairs.ids(model), names_filter=names)
        _, wrong = model.run_with_cache(pairs.ids(model, "corrupted"), names_filter=names)
    rises: list[Tensor] = []
    for place in places:
        name = place.site.hook_name
        change = place.site.vectors(clean[name] - wrong[name])
        products = change * place.site.vectors(slopes[name]) * _mask(place, pairs, change)
        rises.append(products.sum((1, 2)).cpu())
    base = _base(model, pairs)
    return Patched(tuple(places), torch.stack(rises) + base, pairs.metric(logits).cpu(), base)


def _slopes(model: GPT, pairs: Pairs, names: Sequence[str], between: int) -> dict[str, Tensor]:
    """The metric's gradient at hook points: of the corrupted run, or the mean over some between."""
    if between < 0:
        raise InputError(f"gradients at {between} points: take 0 or more")
    clean, corrupted = (
        model.embed.W_E[pairs.ids(model, which)].detach() for which in ("clean", "corrupted")
    )
    shares = [(point + 0.5) / between for point in range(between)] or [0.0]
    slopes: dict[str, Tensor] = {}
    for share in shares:
        found = _gradients(model, pairs, names, corrupted + share * (clean - corrupted))
        for name in names:
            slopes[name] = slopes.get(name, 0) + found[name] / len(shares)
    return slopes


def _gradients(
    model: GPT, pairs: Pairs, names: Sequence[str], embedded: Float[Tensor, "pair ply d_model"]
) -> dict[str, Tensor]:
    """The slope of the metric at each hook point, when these are the embeddings of the moves."""
    seen: dict[str, Tensor] = {}

    def keep(x: Tensor, hook: Any) -> Tensor:
        seen[hook.name] = x if x.requires_grad else x.detach().requires_grad_()
        return seen[hook.name]

    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return embedded.detach().requires_grad_()

    with torch.enable_grad():
        hooks = [(_INPUT, put), *((name, keep) for name in names)]
        metric = pairs.metric(model.run_with_hooks(pairs.ids(model, "corrupted"), hooks))
        found = torch.autograd.grad(metric.sum(), [seen[name] for name in names])
    return dict(zip(names, found, strict=True))


@torch.no_grad()
def patch_features(lens: Lens, pairs: Pairs, features: Sequence[int]) -> Patched:
    """Patch single features of an autoencoder, the rest of what passes its site as corrupted.

    Places are named by their index at the lens's site.

    Raises:
        InputError: the encoder cannot rebuild at the site that it reads.
    """
    change, directions, logits = _feature_changes(lens, pairs)
    model, name, ids = lens.model, lens.site.hook_name, pairs.ids(lens.model, "corrupted")
    found: list[Tensor] = []
    for feature in features:

        def put(x: Tensor, hook: Any, f: int = feature) -> Tensor:  # noqa: ARG001
            vectors = lens.site.vectors(x)
            return lens.site.with_vectors(x, vectors + change[..., f, None] * directions[f])

        found.append(pairs.metric(model.run_with_hooks(ids, [(name, put)])).cpu())
    places = tuple(Place(lens.site, index=feature) for feature in features)
    return Patched(places, torch.stack(found), pairs.metric(logits).cpu(), _base(model, pairs))


def attribution_patch_features(
    lens: Lens, pairs: Pairs, features: Sequence[int], *, between: int = 0
) -> Patched:
    """The first-order approximation of `patch_features`; see `attribution_patch`.

    Raises:
        InputError: as in `patch_features`.
    """
    change, directions, logits = _feature_changes(lens, pairs)
    (slope,) = _slopes(lens.model, pairs, [lens.site.hook_name], between).values()
    along = torch.einsum("gpd,fd->gpf", lens.site.vectors(slope), directions[list(features)])
    rises = (along * change[..., list(features)]).sum(1).T.cpu()
    base = _base(lens.model, pairs)
    places = tuple(Place(lens.site, index=feature) for feature in features)
    return Patched(places, rises + base, pairs.metric(logits).cpu(), base)


@torch.no_grad()
def _feature_changes(lens: Lens, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """From corrupted to clean: features [pair, ply, feature]; what one unit of each writes; and the
    clean logits."""
    encoder, model, name = lens.encoder, lens.model, lens.site.hook_name
    if not isinstance(encoder, Autoencoder) or lens.target != lens.site:
        raise InputError("only features of an autoencoder of one site can be patched")
    encoder.eval()
    logits, cache = model.run_with_cache(pairs.ids(model), names_filter=name)
    _, wrong = model.run_with_cache(pairs.ids(model, "corrupted"), names_filter=name)
    clean, corrupted = (
        encoder.encode(lens.site.vectors(c[name]).flatten(0, 1)) for c in (cache, wrong)
    )
    unit = torch.eye(clean.shape[-1]).to(clean)
    directions = encoder.decode(unit) - encoder.decode(torch.zeros_like(unit[:1]))
    return (clean - corrupted).unflatten(0, (len(pairs), -1)), directions, logits


@torch.no_grad()
def _base(model: GPT, pairs: Pairs) -> Tensor:
    return pairs.metric(model(pairs.ids(model, "corrupted"))).cpu()


@dataclass(frozen=True)
class Ablated:
    """What taking places out of a model does to its moves."""

    places: tuple[Place, ...]
    kl: Float[Tensor, " place"]
    """Mean KL(model || ablated model), nats."""


@torch.no_grad()
def ablate(
    model: GPT, games: Games, places: Sequence[Place], *, how: Ablation = "mean", seed: int = 0
) -> Ablated:
    """Exchange a place's activations for what says nothing, place by place.

    Args:
        model: the player.
        games: whole games; every position that can be read counts.
        places: to take out; `back` must be None.
        how: for what.
        seed: of the other games, for "resample".

    Raises:
        InputError: an unknown way, a place at single plies, or one that the model does not have.
    """
    if how not in ("zero", "mean", "resample"):
        raise InputError(f"ablations are zero, mean and resample: not {how!r}")
    if any(place.back is not None for place in places):
        raise InputError("an ablation takes a place out at every ply: leave `back` out")
    ids = tokens(games)[:, : model.cfg.n_ctx].to(model.device)
    names = list(dict.fromkeys(_checked(model, place).site.hook_name for place in places))
    logits, cache = model.run_with_cache(ids, names_filter=names)
    clean, there = logits.log_softmax(-1), ids != PAD
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(games), generator=generator)
    found: list[Tensor] = []
    for place in places:
        x = place.site.vectors(cache[place.site.hook_name])
        counted = there[..., None].to(x)
        mean = (x * counted).sum(0) / counted.sum(0).clamp(min=1)
        other = {"zero": torch.zeros_like(x), "mean": mean.expand_as(x), "resample": x[order]}[how]
        hook = (place.site.hook_name, _put(place, other, torch.ones_like(x, dtype=torch.bool)))
        edited = model.run_with_hooks(ids, [hook]).log_softmax(-1)
        kl = (clean.exp() * (clean - edited)).sum(-1)
        found.append(kl[there].mean().cpu())
    return Ablated(tuple(places), torch.stack(found))


def correlation(exact: Patched, fast: Patched) -> float:
    """Pearson's r between two ways to patch, over places and pairs, of the change of the metric;
    NaN of a single one."""
    one, other = ((p.metric - p.corrupted).flatten().double() for p in (exact, fast))
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1]) if len(one) > 1 else float("nan")


def _checked(model: GPT, place: Place) -> Place:
    width = model.width(place.site)
    if place.index is not None and not 0 <= place.index < width:
        raise InputError(f"{place.site} has {width} axes, 0 to {width - 1}: not {place.index}")
    if place.back is not None and place.back < 0:
        raise InputError("plies are counted back from the last one, which is 0")
    return place


def _mask(place: Place, pairs: Pairs, x: Tensor) -> Tensor:
    """Where in [pair, ply, axis] a place is."""
    mask = torch.ones_like(x, dtype=torch.bool)
    if place.back is not None:
        at = (pairs.last() - place.back)[:, None].to(x.device)
        mask &= (torch.arange(x.shape[1], device=x.device) == at)[..., None]
    if place.index is not None:
        mask &= torch.arange(x.shape[2], device=x.device) == place.index
    return mask


def _exchange(place: Place, pairs: Pairs, cache: ActivationCache) -> tuple[str, Hook]:
    clean = place.site.vectors(cache[place.site.hook_name])
    return place.site.hook_name, _put(place, clean, _mask(place, pairs, clean))


def _put(place: Place, other: Tensor, mask: Tensor) -> Hook:
    if place.index is not None:
        only = torch.arange(other.shape[2], device=other.device) == place.index
        mask = mask & only

    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        vectors = place.site.vectors(x)
        return place.site.with_vectors(x, torch.where(mask, other.to(vectors), vectors))

    return put
