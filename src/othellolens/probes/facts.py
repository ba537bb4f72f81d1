"""Fact probes: one logistic regression for each concept, of any families.

p = sigmoid(scale (x - mean) W + b). The probes for flipped discs, legal moves and stable discs of
the literature are this one with other families.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..concepts import Concept, ConceptSet
from ..errors import InputError
from .probe import UNKNOWN, Probe


class FactProbe(Probe):
    """W [d_in, fact], b [fact], mean [d_in], scale []; a feature for each concept."""

    kind = "fact-probe"

    def __init__(self, d_in: int, concepts: ConceptSet) -> None:
        super().__init__(d_in)
        if not len(concepts):
            raise InputError("a probe needs at least one concept to look for")
        self.concepts = concepts
        self.W = nn.Parameter(torch.zeros(d_in, len(concepts)))
        self.b = nn.Parameter(torch.zeros(len(concepts)))

    def logits(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position fact"]:
        """Log odds of every fact."""
        return self.standardised(x) @ self.W + self.b

    def loss(
        self, logits: Float[Tensor, "position fact"], truth: Int64[Tensor, "position fact"]
    ) -> Float[Tensor, ""]:
        known = truth != UNKNOWN
        return F.binary_cross_entropy_with_logits(logits[known], truth[known].to(logits))

    def guess(self, logits: Float[Tensor, "position fact"]) -> Int64[Tensor, "position fact"]:
        return (logits > 0).long()

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        """The probability of every fact."""
        return self.logits(x).sigmoid()

    def feature_names(self) -> tuple[str, ...]:
        return tuple(map(str, self.concepts.concepts))

    def one_hot(self, truth: Int64[Tensor, "position fact"]) -> Float[Tensor, "position fact"]:
        """Labels as numbers: 1 where a fact holds, else 0."""
        return truth.to(self.W)

    def directions(self) -> Float[Tensor, "fact d_in"]:
        """What raises the log odds of each fact, in units of x: the gradient."""
        return (self.W * self.scale).detach().T

    def shape(self) -> dict[str, Any]:
        facts = [[c.family, c.square, c.detail] for c in self.concepts.concepts]
        return {**super().shape(), "concepts": facts}

    @staticmethod
    def of_shape(config: dict[str, Any]) -> "FactProbe":
        """A new one from `shape()`.

        Raises:
            InputError: a concept that there is none of, or no list of concepts.
        """
        try:
            facts = tuple(Concept(str(f), s, str(d)) for f, s, d in config["concepts"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "a fact probe lists its concepts as [family, square, detail]"
            ) from error
        return FactProbe(config["d_in"], ConceptSet(facts))
