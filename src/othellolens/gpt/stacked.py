"""The weights of all layers in one tensor, by the names that notebooks of TransformerLens use."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class StackedWeights(nn.Module):
    """`model.W_U`, `model.W_out[layer]`, ...: the model's own weights, or copies layer by layer.

    Those of one layer are `model.blocks[layer].mlp.W_out` and the like; to change a weight, change
    that one. Gradients pass through the copies.
    """

    blocks: nn.ModuleList
    embed: Any
    pos_embed: Any
    unembed: Any

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """`embed.W_E`: what a move adds to the stream."""
        return self.embed.W_E

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:
        """`pos_embed.W_pos`: what a ply adds to it."""
        return self.pos_embed.W_pos

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """`unembed.W_U`: from the stream to logits."""
        return self.unembed.W_U

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"]:
        """`unembed.b_U`: the bias of the logits."""
        return self.unembed.b_U

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Queries of each head, layer by layer."""
        return self._stacked("attn", "W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Keys of each head, layer by layer."""
        return self._stacked("attn", "W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Values of each head, layer by layer."""
        return self._stacked("attn", "W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """What each head writes, layer by layer."""
        return self._stacked("attn", "W_O")

    @property
    def b_Q(self) -> Float[Tensor, "layer head d_head"]:
        """Their biases, layer by layer."""
        return self._stacked("attn", "b_Q")

    @property
    def b_K(self) -> Float[Tensor, "layer head d_head"]:
        """Their biases, layer by layer."""
        return self._stacked("attn", "b_K")

    @property
    def b_V(self) -> Float[Tensor, "layer head d_head"]:
        """Their biases, layer by layer."""
        return self._stacked("attn", "b_V")

    @property
    def b_O(self) -> Float[Tensor, "layer d_model"]:
        """What attention adds whatever it reads, layer by layer."""
        return self._stacked("attn", "b_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """What each neuron reads, layer by layer."""
        return self._stacked("mlp", "W_in")

    @property
    def b_in(self) -> Float[Tensor, "layer d_mlp"]:
        """And its bias, layer by layer."""
        return self._stacked("mlp", "b_in")

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """What each neuron writes, layer by layer."""
        return self._stacked("mlp", "W_out")

    @property
    def b_out(self) -> Float[Tensor, "layer d_model"]:
        """What the MLP adds whatever it reads, layer by layer."""
        return self._stacked("mlp", "b_out")

    def _stacked(self, part: str, name: str) -> Tensor:
        return torch.stack([getattr(getattr(block, part), name) for block in self.blocks])
