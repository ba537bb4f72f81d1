"""Gated SAE with p-annealing (Karvonen et al. 2024, https://arxiv.org/abs/2408.00113, appendix).

The loss of `sae.gated` with the sum of relu(pi)^p in place of the sum of relu(pi); p falls as in
`sae.p_anneal`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from .autoencoder import Penalised, Weights, fresh
from .gated import Gate
from .p_anneal import Power, check_anneal


@dataclass(frozen=True)
class GatedPAnneal(Penalised):
    """A gate with an Lp penalty, p falling from 1."""

    penalty: float = 2.0
    p_end: float = 0.2
    """p at the end."""
    anneal_from: float = 0.05
    """Share of the training after which p begins to fall."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_anneal(self.p_end, self.anneal_from)

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "GatedPAnnealSAE":
        return GatedPAnnealSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))

    def static(self) -> dict[str, object]:
        return {**super().static(), "p_end": self.p_end, "anneal_from": self.anneal_from}


class GatedPAnnealSAE(Gate):
    """See the head of this file."""

    architecture: ClassVar[str] = "gated_p_anneal"
    uncompiled: ClassVar[tuple[str, ...]] = ("power",)

    def __init__(self, recipes: Sequence[GatedPAnneal], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.power = Power(recipes[0].p_end, recipes[0].anneal_from, self.strength)

    def activity(self, pi: Float[Tensor, "... position feature"]) -> Float[Tensor, "..."]:
        return self.power(pi, self.progress, pi.shape[-2])
