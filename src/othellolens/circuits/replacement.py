"""Replacement models: an encoder in every layer stands in for what the layer computes.

Either transcoders, each rebuilding what an MLP writes from what it reads (Dunefsky et al. 2024,
https://arxiv.org/abs/2406.11944), or SAEs of the residual stream behind every block. What an
encoder does not rebuild is its error, which is kept beside the features, so that the replacement
model with all its errors is the model itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Hook, Site
from ..gpt.tokens import PAD, tokens
from ..lens import Lens
from ..othello.games import Games

Kind: TypeAlias = Literal["transcoders", "saes"]
_READ = {"transcoders": ("ln2", "resid_mid"), "saes": ("resid_post",)}
_WRITTEN = {"transcoders": "mlp_out", "saes": "resid_post"}


@dataclass(frozen=True)
class Replacement:
    """One lens a layer, in order: all transcoders of its MLP, or all SAEs of its resid_post."""

    lenses: tuple[Lens, ...]

    def __post_init__(self) -> None:
        if not self.lenses:
            raise InputError("a replacement model needs an encoder for every layer: there is none")
        layers, model = [lens.site.layer for lens in self.lenses], self.lenses[0].model
        if layers != list(range(model.cfg.n_layers)):
            raise InputError(
                f"a replacement model needs one encoder for each layer, 0 to"
                f" {model.cfg.n_layers - 1}, in this order: these are of layers"
                f" {', '.join(map(str, layers))}"
            )
        for lens in self.lenses:
            _check(lens, self.kind, model)

    @property
    def kind(self) -> Kind:
        """Transcoders, or SAEs."""
        return "saes" if self.lenses[0].site.kind == "resid_post" else "transcoders"

    @property
    def model(self) -> GPT:
        """The model that is replaced."""
        return self.lenses[0].model

    def encoder(self, layer: int) -> Autoencoder:
        """The encoder of a layer, in eval mode."""
        encoder = self.lenses[layer].encoder.eval()
        assert isinstance(encoder, Autoencoder)
        return encoder

    def directions(self, layer: int) -> Float[Tensor, "feature d_model"]:
        """What one unit of each feature writes; decoders are linear."""
        encoder, width = self.encoder(layer), self.lenses[layer].width
        with torch.no_grad():
            unit = torch.eye(width).to(self.model.unembed.W_U)
            return encoder.decode(unit) - encoder.decode(torch.zeros_like(unit[:1]))

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of features of each layer."""
        return tuple(lens.width for lens in self.lenses)

    @staticmethod
    def of(lenses: Sequence[Lens]) -> "Replacement":
        """The same from lenses in any order.

        Raises:
            InputError: not one for each layer, of different kinds, or of an encoder that cannot
                rebuild.
        """
        return Replacement(tuple(sorted(lenses, key=lambda lens: lens.site.layer)))


@dataclass(frozen=True)
class Usual:
    """What features and errors are set to when they are left out: see `usual` and `silence`."""

    features: tuple[Float[Tensor, "ply feature"], ...]
    """By layer."""
    errors: tuple[Float[Tensor, "ply d_model"], ...]


@dataclass(frozen=True)
class Kept:
    """Which features and errors of a replacement model stay as they are, layer by layer."""

    features: tuple[Bool[Tensor, "ply feature"], ...]
    errors: tuple[Bool[Tensor, " ply"], ...]

    def others(self, on: Sequence[Float[Tensor, "ply feature"]]) -> "Kept":
        """The features that are on, and the errors, that are not in this."""
        features = zip(on, self.features, strict=True)
        return Kept(
            tuple((x.cpu() > 0) & ~kept for x, kept in features), tuple(~x for x in self.errors)
        )


def silence(replacement: Replacement) -> Usual:
    """Features and errors of 0: what is left out says nothing, and the decoders' biases remain."""
    plies, d_model = replacement.model.cfg.n_ctx, replacement.model.cfg.d_model
    return Usual(
        tuple(torch.zeros(plies, width) for width in replacement.widths),
        tuple(torch.zeros(plies, d_model) for _ in replacement.lenses),
    )


@torch.no_grad()
def usual(replacement: Replacement, games: Games, *, batch: int = 64) -> Usual:
    """Mean features and errors at each ply that games reach (mean ablation).

    Features that are off in a history are set to their mean as well, where they are left out.

    Args:
        replacement: of a model.
        games: whole games; where none reaches a ply the means are 0.
        batch: games at a time.
    """
    model, plies = replacement.model, replacement.model.cfg.n_ctx
    features = [torch.zeros(plies, width).double() for width in replacement.widths]
    errors = [torch.zeros(plies, model.cfg.d_model).double() for _ in replacement.lenses]
    count = torch.zeros(plies).double()
    for first in range(0, len(games), batch):
        ids = tokens(games[first : first + batch])[:, :plies].to(model.device)
        there = (ids != PAD).to(model.unembed.W_U.dtype)
        count[: ids.shape[1]] += there.sum(0).cpu()
        for layer, (active, error) in enumerate(observed(replacement, ids)):
            features[layer] += torch.einsum("gp,gpf->pf", there, active).cpu()
            errors[layer] += torch.einsum("gp,gpd->pd", there, error).cpu()
    share = count.clamp(min=1)[:, None]
    return Usual(
        tuple((x / share).float() for x in features), tuple((x / share).float() for x in errors)
    )


@torch.no_grad()
def observed(replacement: Replacement, ids: Int64[Tensor, "game ply"]) -> list[tuple[Tensor, ...]]:
    """Features [game, ply, feature] and errors [game, ply, d_model] of every layer."""
    model = replacement.model
    names = [site.hook_name for lens in replacement.lenses for site in (lens.site, lens.target)]
    _, cache = model.run_with_cache(ids, names_filter=list(dict.fromkeys(names)))
    found: list[tuple[Tensor, ...]] = []
    for layer, lens in enumerate(replacement.lenses):
        encoder = replacement.encoder(layer)
        x, y = cache[lens.site.hook_name], cache[lens.target.hook_name]
        active = encoder.encode(x.flatten(0, 1))
        rebuilt = encoder.rebuilt(x.flatten(0, 1), active)
        found.append((active.unflatten(0, x.shape[:2]), y - rebuilt.unflatten(0, x.shape[:2])))
    return found


@torch.no_grad()
def run_with_kept(
    replacement: Replacement,
    ids: Int64[Tensor, "1 ply"],
    kept: Kept,
    others: Usual,
    errors: Sequence[Float[Tensor, "ply d_model"]],
) -> Float[Tensor, "ply token"]:
    """The logits of the replacement model with what is not kept set to something else.

    Kept features are computed from what their layer reads in this very run. Attention, embeddings
    and what passes by the features run as ever.

    Args:
        replacement: of a model.
        ids: token ids of one history.
        kept: what stays.
        others: what the rest is set to.
        errors: of the model as it is, by layer; see `observed`.
    """
    model, plies = replacement.model, ids.shape[1]
    hooks: list[tuple[str, Hook]] = []
    for layer, lens in enumerate(replacement.lenses):
        seen: list[Tensor] = []
        encoder = replacement.encoder(layer)
        feature_mean, error_mean = (
            x[layer][:plies].to(model.unembed.W_U) for x in (others.features, others.errors)
        )
        stays, error_stays = (x[layer].to(model.device) for x in (kept.features, kept.errors))
        error = torch.where(error_stays[:, None], errors[layer], error_mean)

        def see(x: Tensor, hook: Any, seen: list[Tensor] = seen) -> None:  # noqa: ARG001
            seen.append(x[0])

        def put(
            y: Tensor,
            hook: Any,  # noqa: ARG001
            seen: list[Tensor] = seen,
            encoder: Autoencoder = encoder,
            stays: Tensor = stays,
            mean: Tensor = feature_mean,
            error: Tensor = error,
        ) -> Tensor:
            active = torch.where(stays, encoder.encode(seen[0]), mean)
            return (encoder.rebuilt(seen[0], active) + error)[None].to(y)

        hooks += [(lens.site.hook_name, see), (lens.target.hook_name, put)]
    return model.run_with_hooks(ids, hooks)[0]


def _check(lens: Lens, kind: Kind, model: GPT) -> None:
    if lens.model is not model:
        raise InputError("the encoders of a replacement model must be of one model")
    if not isinstance(lens.encoder, Autoencoder):
        raise InputError(
            f"the encoder at {lens.site} has no decode: it cannot stand in for a layer"
        )
    wanted = Site(_WRITTEN[kind], lens.site.layer)
    if lens.site.kind not in _READ[kind] or lens.target != wanted:
        raise InputError(
            f"an encoder from {lens.site} to {lens.target} is none of {kind}: take transcoders from"
            " ln2 or resid_mid to mlp_out of their layer, or SAEs of resid_post"
        )
