"""Encoders: anything that turns an activation vector into features, and the plain ones.

SAEs, probes, raw neurons, PCA and random directions all meet the same judge through `encode`.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Turns vectors into features. A feature is on where it is above a threshold of 0 or more."""

    d_in: int | None
    """Length of the vectors that it reads; None where any will do."""
    metadata: dict[str, Any]
    """Where it is from: `model_name`, `hook_name`, the games and the plan; saved beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = {}

    @abstractmethod
    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        """Features of each vector, independent of the other rows of the batch."""

    def feature_names(self) -> tuple[str, ...] | None:
        """A name for each feature, where the features are not just numbered."""
        return None


class Autoencoder(Encoder):
    """An encoder that can go back, so that its reconstruction can be spliced into the model."""

    W_skip: nn.Parameter | None
    """[d_out, d_in]: what passes by the features, in a transcoder that has such a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("W_skip", None)

    @abstractmethod
    def decode(
        self, features: Float[Tensor, "... position feature"]
    ) -> Float[Tensor, "... position d_out"]:
        """The vectors that the features stand for."""

    def rebuilt(
        self,
        x: Float[Tensor, "... position d_in"],
        features: Float[Tensor, "... position feature"],
    ) -> Float[Tensor, "... position d_out"]:
        """What the features of x stand for, and what passes by them."""
        out = self.decode(features)
        return out if self.W_skip is None else out + x @ self.W_skip.mT

    def reconstruct(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position d_out"]:
        """What the autoencoder makes of x."""
        return self.rebuilt(x, self.encode(x))


def _both_signs(z: Float[Tensor, "position axis"]) -> Float[Tensor, "position feature"]:
    """Each axis as two features, its positive and its negative part: no feature is negative."""
    return torch.cat([z.relu(), (-z).relu()], dim=-1)


def _one_sign(features: Float[Tensor, "position feature"]) -> Float[Tensor, "position axis"]:
    positive, negative = features.chunk(2, dim=-1)
    return positive - negative


class Neurons(Autoencoder):
    """The activations themselves, each axis of the site as two features (positive, negative)."""

    def __init__(self) -> None:
        super().__init__()
        self.d_in = None

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        return _both_signs(x)

    def decode(self, features: Float[Tensor, "position feature"]) -> Float[Tensor, "position d_in"]:
        return _one_sign(features)


class PCA(Autoencoder):
    """Principal components of a sample, each as two features (positive, negative)."""

    mean: Tensor
    basis: Tensor

    def __init__(self, sample: Float[Tensor, "position d_in"]) -> None:
        super().__init__()
        self.d_in = sample.shape[1]
        self.register_buffer("mean", sample.mean(0))
        centred = (sample - self.mean).double()
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        self.register_buffer("basis", vectors.flip(1).to(sample.dtype))

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        return _both_signs((x - self.mean) @ self.basis)

    def decode(self, features: Float[Tensor, "position feature"]) -> Float[Tensor, "position d_in"]:
        return _one_sign(features) @ self.basis.T + self.mean


class ICA(Autoencoder):
    """Independent components of a sample, each as two features (positive, negative).

    Symmetric FastICA with g = tanh on the whitened sample (Hyvarinen 1999, IEEE Transactions on
    Neural Networks 10, 626-634). Directions whose variance is below a millionth of the largest are
    left out; what lies in them is not rebuilt.
    """

    mean: Tensor
    unmixing: Tensor
    mixing: Tensor

    def __init__(
        self,
        sample: Float[Tensor, "position d_in"],
        *,
        seed: int = 0,
        most: int = 200,
        tolerance: float = 1e-4,
    ) -> None:
        """Find the components.

        Args:
            sample: activations; some hundred times as many as d_in.
            seed: of the rotation to begin with.
            most: iterations.
            tolerance: stop when no component turns by more (1 - |cosine|).
        """
        super().__init__()
        self.d_in = sample.shape[1]
        self.register_buffer("mean", sample.mean(0))
        centred = (sample - self.mean).double()
        variance, axes = torch.linalg.eigh(centred.T @ centred / len(sample))
        kept = variance > 1e-6 * variance[-1]
        scale, axes = variance[kept].sqrt(), axes[:, kept]
        rotation = _independent(((centred @ axes) / scale).to(sample.dtype), seed, most, tolerance)
        self.register_buffer("unmixing", ((axes / scale) @ rotation.T).to(sample.dtype))
        self.register_buffer("mixing", (rotation * scale @ axes.T).to(sample.dtype))

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        return _both_signs((x - self.mean) @ self.unmixing)

    def decode(self, features: Float[Tensor, "position feature"]) -> Float[Tensor, "position d_in"]:
        return _one_sign(features) @ self.mixing + self.mean


def _independent(white: Tensor, seed: int, most: int, tolerance: float) -> Tensor:
    """The rotation [component, axis] of a whitened sample at FastICA's fixed point."""
    generator = torch.Generator().manual_seed(seed)
    size = white.shape[1]
    rotation = _nearest(torch.randn(size, size, generator=generator, dtype=torch.float64))
    for _ in range(most):
        g = torch.tanh(white @ rotation.T.to(white.dtype))
        slope = (1 - g.pow(2)).mean(0).double()
        turned = _nearest((g.T @ white).double() / len(white) - slope[:, None] * rotation)
        moved = 1 - (turned * rotation).sum(1).abs()
        rotation = turned
        if float(moved.max()) < tolerance:
            break
    return rotation


def _nearest(matrix: Tensor) -> Tensor:
    """The orthogonal matrix that is nearest."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


class RandomDirections(Encoder):
    """Projections of the centred vectors on directions drawn uniformly from the sphere."""

    mean: Tensor
    basis: Tensor

    def __init__(self, sample: Float[Tensor, "position d_in"], *, features: int, seed: int) -> None:
        super().__init__()
        self.d_in = sample.shape[1]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(self.d_in, features, generator=generator)
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("basis", (drawn / drawn.norm(dim=0)).to(sample.device))

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        return ((x - self.mean) @ self.basis).relu()
