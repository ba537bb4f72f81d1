"""Matryoshka BatchTopK SAE (Bussmann, Nabeshima, Karvonen & Nanda 2025, arXiv 2503.17547).

As BatchTopK, but the first m_1 < m_2 < ... < m_L = width features alone must each rebuild x too:
loss = sum over levels l of mean |x^_l - x|^2 + AuxK, x^_l = f[:m_l] W_dec[:m_l] + b_dec. All levels
share one selection of the k * N largest activations. (The paper's code also has a level without
features, which only moves b_dec; ours has not.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import InputError
from .autoencoder import Loss, Sparse, SparseAutoencoder, Weights, fresh, squared_error
from .aux_k import aux_k
from .selection import cut, keep_largest


@dataclass(frozen=True)
class Matryoshka(Sparse):
    """BatchTopK whose first features must do alone."""

    levels: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    """Shares of the features that must each do alone, rising to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bad = not all(0 < level <= 1 for level in self.levels)
        sizes = () if bad else self.sizes
        rising = all(a < b for a, b in zip(sizes, sizes[1:], strict=False))
        if not sizes or sizes[-1] != self.width or sizes[0] < 1 or not rising:
            raise InputError(
                f"levels are {', '.join(f'{level:g}' for level in self.levels)}: they must rise to"
                f" 1, each with more features than the one before (width {self.width})"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of each level."""
        return tuple(round(level * self.width) for level in self.levels)

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "MatryoshkaSAE":
        return MatryoshkaSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))

    def static(self) -> dict[str, object]:
        return {**super().static(), "levels": self.levels}


class MatryoshkaSAE(SparseAutoencoder):
    """See the head of this file. `threshold` [feature] is theta."""

    architecture: ClassVar[str] = "matryoshka"
    saved_as: ClassVar[str] = "jumprelu"
    compiles: ClassVar[bool] = False
    saved: ClassVar[tuple[str, ...]] = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    offsets: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")
    threshold: Tensor

    def __init__(self, recipes: Sequence[Matryoshka], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.ks, self.sizes = [recipe.k for recipe in recipes], recipes[0].sizes
        self.b_enc = nn.Parameter(weights.b_enc)
        self.register_buffer("threshold", torch.zeros_like(weights.b_enc))

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        z = self.pre_activations(x)
        return z.relu() * (z > self.threshold[..., None, :])

    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        z = self.pre_activations(x)
        features = keep_largest(z.relu(), self.ks)
        *inner, last = self._by_level(x, features)
        error = squared_error(last, y)
        more = sum((squared_error(guess, y) for guess in inner), torch.zeros_like(error))
        revival = self.each("aux") * aux_k(self, x, y - last, dead)
        return Loss(error, torch.zeros_like(error), more + revival), features

    def _by_level(self, x: Tensor, features: Tensor) -> Iterator[Tensor]:
        """What each level rebuilds."""
        first, guess = 0, self.b_dec[..., None, :]
        if self.W_skip is not None:
            guess = guess + x @ self.W_skip.mT
        for size in self.sizes:
            part = slice(first, size)
            guess = guess + features[..., part] @ self.W_dec[..., part, :]
            first = size
            yield guess

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        self.threshold.fill_(cut(self.pre_activations(x).relu(), self.ks[0] * len(x)))
