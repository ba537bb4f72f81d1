"""The intervention benchmark: does an edit inside the model change its moves as the board would?

Of each case the edited model's N most likely moves are taken, N the number of moves that are legal
on the wanted board; error = false positives + false negatives (the two are equal), averaged over
cases (Li et al. 2022, section 4.2). Where moves tie at the bar, the expectation over all ways to
break the tie is taken, exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Hook
from ..gpt.tokens import PAD, SQUARE_OF_TOKEN, tokens
from ..othello.boards import Boards, unpack
from .bootstrap import DRAWS, Interval, game_weights, quantiles
from .counterfactuals import Counterfactual

Hooks: TypeAlias = list[tuple[str, Hook]]
Intervention: TypeAlias = Callable[[Counterfactual], Hooks]
"""From what is wanted to hooks on the model: (hook name, function) as `run_with_hooks` takes them.
What a hook gets has the cases in its rows, and as many plies as the longest or more."""


@dataclass(frozen=True)
class Outcome:
    """What an intervention did, case by case."""

    error: Float[Tensor, " case"]
    """False positives + false negatives."""
    f1: Float[Tensor, " case"]
    """Of the N most likely moves against the N that are legal."""
    kl: Float[Tensor, " case"]
    """KL(uniform over the legal moves of the wanted board || model), nats."""
    followed: Float[Tensor, " case"]
    """Of the moves that are legal on one of the two boards only: the share that is among the N most
    likely just if the wanted board has it. It leaves out what both boards share, 92 % of the moves
    of the published cases; NaN where the boards have the same moves."""
    counted: Bool[Tensor, " case"]
    """Cases whose wanted board has a legal move; the others say nothing and are left out."""

    def interval(
        self, name: str = "error", *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
    ) -> Interval:
        """A mean over cases with its bootstrap interval over cases."""
        kept = self._kept(name)
        drawn = game_weights(len(kept), draws, seed) @ kept / len(kept)
        return Interval(float(kept.mean()), *quantiles(drawn, level))

    def mean(self, name: str) -> float:
        """Mean of "error", "f1", "kl" or "followed" over the cases that count."""
        return float(self._kept(name).mean())

    @property
    def left_out(self) -> int:
        """Cases whose wanted board has no legal move."""
        return int((~self.counted).sum())

    def _kept(self, name: str) -> Float[Tensor, " kept"]:
        values: Tensor = getattr(self, name)
        kept = values[self.counted & ~values.isnan()].double()
        if not len(kept):
            raise InputError("no edit leaves a legal move: there is nothing to score")
        return kept


def outcome(logits: Float[Tensor, "case token"], before: Boards, after: Boards) -> Outcome:
    """Score next-move logits, of whatever model or rule, against the boards that are wanted.

    Args:
        logits: for the next move, padding first.
        before: the boards that the moves led to.
        after: the boards that are wanted.
    """
    old, wanted = (unpack(b.legal())[:, SQUARE_OF_TOKEN].clone() for b in (before, after))
    old[:, PAD] = wanted[:, PAD] = False
    moves = logits.float().clone()
    moves[:, PAD] = float("-inf")
    number = wanted.sum(1)
    chosen = chances(moves, number)
    hits = (chosen * wanted).sum(1)
    new, gone = wanted & ~old, old & ~wanted
    right = (chosen * new).sum(1) + ((1 - chosen) * gone).sum(1)
    logp = logits.float().log_softmax(-1)
    likely = logp.where(wanted, 0).sum(-1) / number.clamp(min=1)
    return Outcome(
        2 * (number - hits),
        hits / number.clamp(min=1),
        -likely - number.clamp(min=1).log(),
        right / (new | gone).sum(1),
        number > 0,
    )


def chances(
    moves: Float[Tensor, "case token"], number: Int64[Tensor, " case"]
) -> Float[Tensor, "case token"]:
    """How likely each move is among the N likeliest, ties at the bar broken in all ways alike."""
    ranked = moves.sort(1, descending=True).values
    bar = ranked.gather(1, (number - 1).clamp(min=0)[:, None])
    sure, tied = moves > bar, moves == bar
    share = (number - sure.sum(1)) / tied.sum(1).clamp(min=1)
    found = torch.where(tied, share[:, None], sure.float())
    return found.where((number > 0)[:, None], 0)


def oracle_null(wanted: Counterfactual) -> Outcome:
    """The rules themselves, uniform over the legal moves of the board that was not edited.

    The model-free bar: 2.785 for flips on the published cases. An intervention that scores as much
    did nothing.
    """
    return outcome(uniform(wanted.before), wanted.before, wanted.after)


def uniform(boards: Boards) -> Float[Tensor, "case token"]:
    """Logits of a player who plays the legal moves alike and no other."""
    legal = unpack(boards.legal())[:, SQUARE_OF_TOKEN].clone()
    legal[:, PAD] = False
    return torch.where(legal, 0.0, -30.0)


def intervene(
    model: GPT,
    wanted: Counterfactual,
    intervention: Intervention | None = None,
    *,
    batch: int = 256,
) -> Outcome:
    """Run the benchmark; without an intervention the model's own null."""
    return outcome(
        next_logits(model, wanted, intervention, batch=batch), wanted.before, wanted.after
    )


@torch.no_grad()
def next_logits(
    model: GPT,
    wanted: Counterfactual,
    intervention: Intervention | None = None,
    *,
    batch: int = 256,
) -> Float[Tensor, "case token"]:
    """What the model, edited or not, makes of the next move behind each history."""
    found: list[Tensor] = []
    for first in range(0, len(wanted), batch):
        part = wanted[first : first + batch]
        last = part.last()
        ids = histories_of(model, part)
        hooks = [] if intervention is None else intervention(part)
        logits = model.run_with_hooks(ids, hooks)
        found.append(logits[torch.arange(len(part)), last.to(logits.device)].float().cpu())
    return torch.cat(found)


def histories_of(model: GPT, wanted: Counterfactual) -> Int64[Tensor, "case ply"]:
    """Token ids of the histories, as long as the longest."""
    return tokens(wanted.histories)[:, : int(wanted.last().max()) + 1].to(model.device)
