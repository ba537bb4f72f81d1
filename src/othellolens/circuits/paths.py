"""Direct paths: what each feature, error and move adds to a logit or to a feature."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..gpt.model import Block
from ..gpt.sites import Hook
from ..gpt.tokens import PAD
from .replacement import Replacement, observed


class Paths:
    """One history in a replacement model, and gradients along its direct paths.

    Sources are numbered: the features that are on, layer by layer; then the errors, layer by layer
    and ply by ply; then the moves, ply by ply.
    """

    def __init__(self, replacement: Replacement, ids: Int64[Tensor, "1 ply"]) -> None:
        self.replacement, self.model, self.ids = replacement, replacement.model, ids
        self.layers, self.plies = self.model.cfg.n_layers, ids.shape[1]
        with torch.no_grad():
            self.logits, self.cache = self.model.run_with_cache(ids, names_filter=_needed)
        seen = observed(replacement, ids)
        self.features = [features[0] for features, _ in seen]
        self.errors = [error[0] for _, error in seen]
        self.directions = [replacement.directions(layer) for layer in range(self.layers)]
        self.active = [x.nonzero().unbind(1) for x in self.features]
        self.linear = replacement.kind == "transcoders"

    def logit(self, token: int) -> float:
        """The logit behind the history, above the mean over all 60 moves."""
        last = self.logits[0, -1]
        return float(last[token] - last[PAD + 1 :].mean())

    @torch.no_grad()
    def from_logit(self, token: int) -> Float[Tensor, "1 source"]:
        """What each source adds to a logit above the mean over all moves."""
        weight = self.model.unembed.W_U
        seed = weight.new_zeros(1, self.plies, self.model.cfg.d_model)
        seed[0, -1] = (weight[:, token] - weight[:, PAD + 1 :].mean(1)).detach()
        last = self.cache["resid_post", self.layers - 1]
        with self.model.hooks(self._held("ln_final")):
            gradient = _back(self.model.ln_final, last, seed)
        return self._row(self.layers - 1, gradient)

    @torch.no_grad()
    def from_features(
        self, layer: int, ply: Int64[Tensor, " target"], feature: Int64[Tensor, " target"]
    ) -> Float[Tensor, "target source"]:
        """What each source adds to features of a layer that are on."""
        lens, encoder = self.replacement.lenses[layer], self.replacement.encoder(layer)
        x = self.cache[lens.site.hook_name][0, ply].detach().requires_grad_()
        with torch.enable_grad():
            on = encoder.encode(x).gather(1, feature[:, None].to(x.device))
            (slope,) = torch.autograd.grad(on.sum(), x)
        seed = slope.new_zeros(len(ply), self.plies, slope.shape[1])
        seed[torch.arange(len(ply)), ply] = slope
        if not self.linear:
            return self._row(layer - 1, self._through(layer, seed))
        if lens.site.kind == "ln2":
            seed = self._norm(layer, seed)
        return self._row(layer - 1, self._attention(layer, seed))

    def _row(
        self, layer: int, gradient: Float[Tensor, "target ply d_model"]
    ) -> Float[Tensor, "target source"]:
        """Collect what is added up to the end of a layer; -1: the embeddings alone."""
        targets = len(gradient)
        features = [torch.zeros(targets, len(ply)) for ply, _ in self.active]
        errors = [torch.zeros(targets, self.plies) for _ in self.active]
        for here in range(layer, -1, -1):
            ply, feature = self.active[here]
            along = (gradient @ self.directions[here].T)[:, ply, feature]
            features[here] = (along * self.features[here][ply, feature]).float().cpu()
            errors[here] = (gradient * self.errors[here]).sum(-1).float().cpu()
            if not self.linear:
                return torch.cat([*features, *errors, torch.zeros(targets, self.plies)], 1)
            gradient = self._attention(here, self._skip(here, gradient))
        embedded = (self.cache["hook_embed"] + self.cache["hook_pos_embed"])[0]
        moves = (gradient * embedded).sum(-1).float().cpu()
        return torch.cat([*features, *errors, moves], 1)

    def _skip(self, layer: int, gradient: Tensor) -> Tensor:
        """Add what passes by the features of a transcoder; from resid_post to resid_mid."""
        weight = self.replacement.encoder(layer).W_skip
        if weight is None:
            return gradient
        through = gradient @ weight.detach()
        if self.replacement.lenses[layer].site.kind == "ln2":
            through = self._norm(layer, through)
        return gradient + through

    def _norm(self, layer: int, gradient: Tensor) -> Tensor:
        """From what ln2 gives, before gain and bias, to resid_mid; its scale held."""
        block = self._block(layer)
        with self.model.hooks(self._held(f"blocks.{layer}.ln2")):
            return _back(block.ln2.normalized, self.cache["resid_mid", layer], gradient)

    def _attention(self, layer: int, gradient: Tensor) -> Tensor:
        """From resid_mid to resid_pre, the pattern and the scale of ln1 held."""
        block = self._block(layer)
        held = self._held(f"blocks.{layer}.ln1") + [
            (
                f"blocks.{layer}.attn.hook_pattern",
                self._constant(f"blocks.{layer}.attn.hook_pattern"),
            )
        ]

        def attend(x: Tensor) -> Tensor:
            return x + block.attn(block.ln1(x))

        with self.model.hooks(held):
            return _back(attend, self.cache["resid_pre", layer], gradient)

    def _through(self, layer: int, gradient: Tensor) -> Tensor:
        """From resid_post to resid_pre by the block as it is: first order."""
        return _back(self._block(layer), self.cache["resid_pre", layer], gradient)

    def _block(self, layer: int) -> Block:
        block = self.model.blocks[layer]
        assert isinstance(block, Block)
        return block

    def _held(self, norm: str) -> list[tuple[str, Hook]]:
        return [(f"{norm}.hook_scale", self._constant(f"{norm}.hook_scale"))]

    def _constant(self, name: str) -> Hook:
        value = self.cache[name]

        def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
            return value.expand_as(x)

        return put


def _needed(name: str) -> bool:
    ends = ("hook_scale", "hook_pattern", "hook_embed", "hook_pos_embed", "ln2.hook_normalized")
    return name.endswith(ends) or "hook_resid" in name


def _back(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "1 ply d_model"],
    gradient: Float[Tensor, "target ply _"],
) -> Float[Tensor, "target ply d_model"]:
    """The gradient with respect to x of what a function makes of it, for many targets at once."""
    many = x.detach().expand(len(gradient), -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(function(many), many, gradient)
    return found
