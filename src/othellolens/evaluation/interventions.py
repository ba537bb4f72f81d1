"""The intervention benchmark: does an edit inside the model change its moves as the board would?

Of each case the edited model's N most likely moves are taken, N the number of moves that are legal
on the edited board; error = false positives + false negatives (the two are equal), averaged over
cases (Li et al. 2022, section 4.2). Where moves tie at the bar, the expectation over all ways to
break the tie is taken, exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Hook, Site
from ..gpt.tokens import PAD, SQUARE_OF_TOKEN, tokens
from ..lens import Lens
from ..othello.boards import unpack
from .bootstrap import DRAWS, Interval, game_weights, quantiles
from .cases import Cases, Edit

Intervention: TypeAlias = Callable[[Cases, Edit], list[tuple[str, Hook]]]
"""From cases to hooks on the model: (hook name, function) as `run_with_hooks` takes them."""


@dataclass(frozen=True)
class Outcome:
    """What an intervention did, case by case."""

    error: Float[Tensor, " case"]
    """False positives + false negatives."""
    f1: Float[Tensor, " case"]
    """Of the N most likely moves against the N that are legal."""
    kl: Float[Tensor, " case"]
    """KL(uniform over the legal moves of the edited board || model), nats."""
    counted: Bool[Tensor, " case"]
    """Cases whose edited board has a legal move; the others say nothing and are left out."""

    def interval(self, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Interval:
        """Mean error over cases with its bootstrap interval over cases."""
        kept = self.error[self.counted].double()
        if not len(kept):
            raise InputError("no edit leaves a legal move: there is nothing to score")
        drawn = game_weights(len(kept), draws, seed) @ kept / len(kept)
        return Interval(float(kept.mean()), *quantiles(drawn, level))

    def mean(self, name: str) -> float:
        """Mean of "error", "f1" or "kl" over the cases that count."""
        values: Tensor = getattr(self, name)
        return float(values[self.counted].mean())


def outcome(logits: Float[Tensor, "case token"], cases: Cases, edit: Edit) -> Outcome:
    """Score next-move logits, of whatever model or rule, against the edited boards."""
    wanted = unpack(cases.edited(edit).legal())[:, SQUARE_OF_TOKEN].clone()
    wanted[:, PAD] = False
    moves = logits.float().clone()
    moves[:, PAD] = float("-inf")
    number = wanted.sum(1)
    hits = _expected_hits(moves, wanted, number)
    logp = logits.float().log_softmax(-1)
    chosen = logp.where(wanted, 0).sum(-1) / number.clamp(min=1)
    return Outcome(
        2 * (number - hits),
        hits / number.clamp(min=1),
        -chosen - number.clamp(min=1).log(),
        number > 0,
    )


def _expected_hits(
    moves: Float[Tensor, "case token"], wanted: Bool[Tensor, "case token"], number: Tensor
) -> Float[Tensor, " case"]:
    """How many of the N most likely moves are wanted, ties broken in all ways alike."""
    ranked = moves.sort(1, descending=True).values
    bar = ranked.gather(1, (number - 1).clamp(min=0)[:, None])
    sure, tied = moves > bar, moves == bar
    left = number - sure.sum(1)
    share = left / tied.sum(1).clamp(min=1)
    return (sure & wanted).sum(1) + share * (tied & wanted).sum(1)


def oracle_null(cases: Cases, edit: Edit) -> Outcome:
    """The rules themselves, uniform over the legal moves of the board that was not edited.

    The model-free bar: 2.785 for flips on the published cases. An intervention that scores as much
    did nothing.
    """
    legal = unpack(cases.boards().legal())[:, SQUARE_OF_TOKEN].float()
    legal[:, PAD] = 0
    return outcome(torch.where(legal > 0, 0.0, -30.0), cases, edit)


@torch.no_grad()
def intervene(
    model: GPT,
    cases: Cases,
    edit: Edit,
    intervention: Intervention | None = None,
    *,
    batch: int = 256,
) -> Outcome:
    """Run the benchmark; without an intervention the model's own null."""
    found: list[Tensor] = []
    for first in range(0, len(cases), batch):
        part = cases[first : first + batch]
        last = part.last()
        ids = tokens(part.histories)[:, : int(last.max()) + 1].to(model.device)
        hooks = [] if intervention is None else intervention(part, edit)
        logits = model.run_with_hooks(ids, hooks)
        found.append(logits[torch.arange(len(part)), last.to(logits.device)].float().cpu())
    return outcome(torch.cat(found), cases, edit)


def add_directions(
    directions: Float[Tensor, "case d_in"], sites: Sequence[Site], last: Tensor
) -> list[tuple[str, Hook]]:
    """Hooks that add a vector to each case's last position, at every one of the sites."""

    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        out = x.clone()
        rows = torch.arange(len(out), device=out.device)
        out[rows, last.to(out.device)] += directions.to(out)
        return out

    return [(site.hook_name, put) for site in sites]


def along(
    towards: Float[Tensor, "2 64 d_in"],
    erased: Float[Tensor, "64 d_in"],
    sites: Sequence[Site],
    scale: float,
) -> Intervention:
    """Linear intervention: move the last position along a direction of the square.

    Args:
        towards: directions that make a square theirs (0) and mine (1), as a probe has them.
        erased: directions that make it empty.
        sites: where; several layers are usual.
        scale: how far, in multiples of the directions.
    """

    def hooks(cases: Cases, edit: Edit) -> list[tuple[str, Hook]]:
        flip = towards[(~cases.mine()).long(), cases.squares]
        chosen = flip if edit == "flip" else erased[cases.squares]
        return add_directions(scale * chosen, sites, cases.last())

    return hooks


def by_features(
    lens: Lens,
    claims: Mapping[tuple[str, int], Sequence[int]],
    typical: Float[Tensor, " feature"],
) -> Intervention:
    """Turn off the features that claim the old state of the square, turn on those of the new one.

    What the encoder does not rebuild stays as it is: the change of the reconstruction is added.

    Args:
        lens: an autoencoder at its site.
        claims: features by (family, square): "mine", "theirs" and, to erase, "empty".
        typical: the activation to set a feature to: its mean where it is on, say.
    """
    encoder = lens.encoder
    if not isinstance(encoder, Autoencoder):
        raise InputError("this encoder has no decode: features cannot be written back")

    def hooks(cases: Cases, edit: Edit) -> list[tuple[str, Hook]]:
        last, mine = cases.last(), cases.mine().tolist()
        squares = cases.squares.tolist()

        def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
            rows = torch.arange(len(x), device=x.device)
            seen = x[rows, last.to(x.device)]
            features = encoder.encode(seen)
            edited = features.clone()
            for case, (square, own) in enumerate(zip(squares, mine, strict=True)):
                old = "mine" if own else "theirs"
                new = "empty" if edit == "erase" else "theirs" if own else "mine"
                off, on = list(claims.get((old, square), ())), list(claims.get((new, square), ()))
                edited[case, off] = 0
                edited[case, on] = torch.maximum(edited[case, on], typical[on].to(edited))
            out = x.clone()
            change = encoder.rebuilt(seen, edited) - encoder.rebuilt(seen, features)
            out[rows, last.to(x.device)] += change
            return out

        return [(lens.site.hook_name, put)]

    return hooks
