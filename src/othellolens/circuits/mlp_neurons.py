"""The neurons of an MLP as a transcoder that makes no error.

The basis that a model computes in is the baseline of every learned one: neurons need no training,
rebuild everything, and may be as good a basis for circuits (Karvonen et al. 2024: the neurons of
Othello-GPT cover more of the board than its SAEs).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..encoder import Autoencoder
from ..gpt.model import GPT, Block
from ..gpt.sites import Site
from ..lens import Lens
from .replacement import Replacement


class MLPNeurons(Autoencoder):
    """From ln2 to mlp_out: each neuron as two features, what GELU gives above 0 and below."""

    def __init__(self, model: GPT, layer: int) -> None:
        super().__init__()
        model.check_site(Site("mlp_post", layer))
        block = model.blocks[layer]
        assert isinstance(block, Block)
        self.block, self.d_in = [block], model.cfg.d_model
        # In a list, so that the model's weights are no parameters of this one.
        self.metadata = {
            "model_name": model.name,
            "hook_name": Site("ln2", layer).hook_name,
            "hook_name_out": Site("mlp_out", layer).hook_name,
        }

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        (block,) = self.block
        read = x * block.ln2.w + block.ln2.b if block.ln2.affine else x
        post = F.gelu(read @ block.mlp.W_in + block.mlp.b_in)
        return torch.cat([post.relu(), (-post).relu()], -1)

    def decode(
        self, features: Float[Tensor, "... position feature"]
    ) -> Float[Tensor, "... position d_out"]:
        (block,) = self.block
        above, below = features.chunk(2, -1)
        return (above - below) @ block.mlp.W_out + block.mlp.b_out


def of_neurons(model: GPT) -> Replacement:
    """A replacement model that is the model itself, in the basis of its neurons.

    Edges into neurons are first-order, by GELU's slope where they are.
    """
    layers = range(model.cfg.n_layers)
    return Replacement(
        tuple(Lens(model, Site("ln2", layer), MLPNeurons(model, layer)) for layer in layers)
    )
