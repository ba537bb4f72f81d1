"""The contract that every SAE keeps, and what all of them share.

An architecture is two names: a recipe (a frozen dataclass of hyper-parameters with `build`) and a
final module. W_enc [d_in, feature], W_dec [feature, d_in]; losses are sums over d_in and means over
positions, so that doubling the batch changes nothing.
"""

from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..artifact import new_folder, provenance, write_json, write_tensors
from ..encoder import Autoencoder

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"


class Loss(NamedTuple):
    """The parts of a training loss; what is minimised is their sum."""

    reconstruction: Float[Tensor, ""]
    """Squared error, summed over d_in, mean over positions."""
    sparsity: Float[Tensor, ""]
    revival: Float[Tensor, ""]
    """What keeps features alive."""


@runtime_checkable
class Recipe(Protocol):
    """An architecture with its hyper-parameters: what `train_sae` is given."""

    @property
    def width(self) -> int:
        """Number of features."""
        ...

    def build(self, d_in: int, *, seed: int) -> "SparseAutoencoder":
        """A fresh SAE."""
        ...


class SparseAutoencoder(Autoencoder):
    """W_enc, b_enc, W_dec (rows of unit norm), b_dec; subtracts b_dec before encoding."""

    architecture: ClassVar[str]
    """The name of the recipe in saved files."""
    saved_as: ClassVar[str]
    """The SAELens architecture that encodes as this one does in eval mode."""
    resampled: ClassVar[bool]
    """Whether the training loop gives dead features a new start (see `sae.dead`)."""
    recipe: Any
    """The `Recipe` that built it; every architecture has its own type."""
    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter

    @abstractmethod
    def loss(
        self, x: Float[Tensor, "position d_in"], dead: Bool[Tensor, " feature"]
    ) -> tuple[Loss, Float[Tensor, "position feature"]]:
        """The training loss on a batch and the features it was computed from."""

    @abstractmethod
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        """Called once after training, with rows of its stream: settle what `encode` needs."""

    def decode(self, features: Float[Tensor, "position feature"]) -> Float[Tensor, "position d_in"]:
        return features @ self.W_dec + self.b_dec

    def pre_activations(
        self, x: Float[Tensor, "position d_in"]
    ) -> Float[Tensor, "position feature"]:
        """(x - b_dec) W_enc + b_enc."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def save(self, path: str | Path) -> None:
        """Write the folder that SAELens 6 reads: cfg.json and sae_weights.safetensors.

        Raises:
            InputError: `path` exists.
        """
        with new_folder(Path(path)) as folder:
            write_json(folder / CONFIG, self._config())
            write_tensors(folder / WEIGHTS, self.state_dict())

    def _config(self) -> dict[str, Any]:
        width, d_in = self.W_dec.shape
        return {
            "architecture": self.saved_as,
            "d_in": d_in,
            "d_sae": width,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": {
                "sae_lens_version": "6.0.0",
                "prepend_bos": False,
                "training_architecture": self.architecture,
                "training_architecture_details": asdict(self.recipe),
                "provenance": provenance(),
                **self.metadata,
            },
        }

    @torch.no_grad()
    def remove_parallel_gradient(self) -> None:
        """Drop the part of the decoder's gradient that would change the norm of its rows."""
        if self.W_dec.grad is not None:
            along = (self.W_dec.grad * self.W_dec).sum(1, keepdim=True)
            self.W_dec.grad.sub_(along * self.W_dec)

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Make every row of W_dec a unit vector. Called after each step, so saved rows are."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))

    @torch.no_grad()
    def unscale(self, scale: float) -> None:
        """From an SAE of `scale * x` to the same SAE of x; features are divided by `scale`."""
        for offset in (self.b_enc, self.b_dec, *self.buffers()):
            offset.div_(scale)


def tied_weights(sae: SparseAutoencoder, d_in: int, width: int, seed: int) -> None:
    """Give an SAE its weights: random unit decoder rows, the encoder their transpose, no biases."""
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(width, d_in, generator=generator)
    decoder /= decoder.norm(dim=1, keepdim=True)
    sae.d_in = d_in
    sae.W_dec = nn.Parameter(decoder)
    sae.W_enc = nn.Parameter(decoder.T.clone().contiguous())
    sae.b_enc = nn.Parameter(torch.zeros(width))
    sae.b_dec = nn.Parameter(torch.zeros(d_in))
