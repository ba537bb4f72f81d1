"""Is a circuit enough for a prediction, and is it all there is to it?

Faithfulness (Wang et al. 2022; Marks et al. 2024, https://arxiv.org/abs/2403.19647, section 4):
(m(circuit) - m(nothing)) / (m(model) - m(nothing)), where m is the logit of the move above the mean
over all moves, and what is not in the circuit is set to 0, or to its mean at that ply. Completeness
is asked the other way round: the same of all that is not in the circuit, which should be 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..gpt.tokens import PAD, token_of, tokens
from .graph import Graph
from .replacement import Kept, Replacement, Usual, observed, run_with_kept, silence


@dataclass(frozen=True)
class Faithfulness:
    """The logit of one move above the mean over all, nats, with only some nodes left alive."""

    model: float
    """Of the model as it is."""
    nothing: float
    """With no feature and no error."""
    circuit: float
    """With the features and errors of the circuit."""
    features: float
    """With the features of the circuit, and no error."""
    without: float
    """With the features that are on, and the errors, that are not in the circuit."""
    random: float
    """With as many features of each layer and ply, drawn from those that are on there, and the same
    errors."""

    def share(self, what: str = "circuit") -> float:
        """Faithfulness of the circuit, of its "features" alone, of what is "without" it (which is
        how incomplete it is), or of a "random" one."""
        return (getattr(self, what) - self.nothing) / (self.model - self.nothing)


def pooled(found: Sequence[Faithfulness], what: str = "circuit") -> float:
    """The share over several predictions: of all that is lost together, what is left.

    A mean of shares would hang on those predictions of which hardly anything is lost.
    """
    kept = sum(getattr(one, what) - one.nothing for one in found)
    return kept / sum(one.model - one.nothing for one in found)


def faithfulness(
    replacement: Replacement, graph: Graph, others: Usual | None = None, *, seed: int = 0
) -> Faithfulness:
    """Run a prediction with the circuit alone, and without it.

    Args:
        replacement: that the graph is of.
        graph: pruned or whole.
        others: what is left out is set to: see `usual`; by default 0.
        seed: of the random circuit.
    """
    model, token = replacement.model, token_of(graph.square)
    plies = int(graph.history.lengths()[0])
    ids = tokens(graph.history)[:, :plies].to(model.device)
    kept, seen = graph.kept(replacement.widths), observed(replacement, ids)
    on, errors = [features[0] for features, _ in seen], [error[0] for _, error in seen]
    no_errors = tuple(torch.zeros_like(x) for x in kept.errors)
    nothing = Kept(tuple(torch.zeros_like(x) for x in kept.features), no_errors)

    def metric(logits: Tensor) -> float:
        return float(logits[-1, token] - logits[-1, PAD + 1 :].mean())

    def run(what: Kept) -> float:
        return metric(run_with_kept(replacement, ids, what, others or silence(replacement), errors))

    with torch.no_grad():
        whole = metric(model(ids)[0])
    return Faithfulness(
        whole,
        run(nothing),
        run(kept),
        run(Kept(kept.features, no_errors)),
        run(kept.others(on)),
        run(_random(on, kept, seed)),
    )


def _random(on: Sequence[Tensor], kept: Kept, seed: int) -> Kept:
    """As many features of each layer and ply, of those that are on there."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Tensor] = []
    for features, wanted in zip(on, kept.features, strict=True):
        chance = torch.rand(wanted.shape, generator=generator)
        rank = chance.where(features.cpu() > 0, 2.0).argsort(1).argsort(1)
        drawn.append(rank < wanted.sum(1, keepdim=True))
    return Kept(tuple(drawn), kept.errors)
