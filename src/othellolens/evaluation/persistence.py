"""Persistence: does an edit outlast the moment, when the game goes on from the wanted board?

After the edit, moves that are legal on the wanted board are played on it, and the model reads them
too. Nothing more is edited: what it makes of the later positions rests on what it keeps of the
edit (cf. Hravan 2026: edits that look perfect for one move do not persist).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.tokens import PAD, SQUARE_OF_TOKEN, tokens
from ..othello.boards import Boards, unpack
from ..othello.games import Games
from .bootstrap import DRAWS, Interval, game_weights, quantiles
from .counterfactuals import Counterfactual
from .interventions import Intervention, chances


@dataclass(frozen=True)
class Persistence:
    """What a model made of the positions of a roll-out; column k: k moves after the edit."""

    error: Float[Tensor, "case move"]
    """False positives + false negatives of the N likeliest moves."""
    illegal: Bool[Tensor, "case move"]
    """Whether the likeliest move breaks the rules on the roll-out's board."""
    alive: Bool[Tensor, "case move"]
    """Where the roll-out has not ended."""

    def mean(self, name: str, moves: int) -> float:
        """Mean of "error" or "illegal" `moves` moves after the edit."""
        values: Tensor = getattr(self, name)
        return float(values[self.alive[:, moves], moves].float().mean())

    def interval(self, name: str, moves: int, *, draws: int = DRAWS, seed: int = 0) -> Interval:
        """The same with its 95 % interval by bootstrap over cases."""
        values: Tensor = getattr(self, name)
        kept = values[self.alive[:, moves], moves].double()
        if not len(kept):
            raise InputError(f"no roll-out goes on for {moves} moves")
        drawn = game_weights(len(kept), draws, seed) @ kept / len(kept)
        return Interval(float(kept.mean()), *quantiles(drawn, 0.95))


@dataclass(frozen=True)
class Rollout:
    """Games that go on from boards that their histories did not lead to."""

    games: Games
    """The histories, and the moves that were played on."""
    boards: tuple[Boards, ...]
    """Behind the history, and behind each move that was played on."""
    alive: Bool[Tensor, "case move"]
    """Where there is a legal move, and the model can still read."""


def roll_out(histories: Games, boards: Boards, *, moves: int, longest: int, seed: int) -> Rollout:
    """Play on with random legal moves.

    Args:
        histories: what was played.
        boards: the boards from which to go on.
        moves: how many to play, at most.
        longest: plies that the model reads.
        seed: of the moves.
    """
    generator = torch.Generator().manual_seed(seed)
    played, lengths = histories.moves.clone(), histories.lengths()
    seen, alive = [boards], [boards.legal() != 0]
    for move in range(moves):
        going = alive[-1] & (lengths + move < min(longest, played.shape[1]))
        weights = unpack(boards.legal()).float()
        weights[~going] = 1.0
        square = torch.multinomial(weights, 1, generator=generator)[:, 0]
        rows = going.nonzero()[:, 0]
        played[rows, (lengths + move)[rows]] = square[rows].to(played.dtype)
        boards = _after(boards, square, going)
        seen.append(boards)
        alive.append(going & (boards.legal() != 0))
    return Rollout(Games(played, histories.origin), tuple(seen), torch.stack(alive, 1))


def _after(boards: Boards, square: Int64[Tensor, " case"], going: Tensor) -> Boards:
    """The boards behind a move of each; as they are where no move is made."""
    rows = going.nonzero()[:, 0]
    moved = boards[rows].after(square[rows])

    def put(old: Tensor, new: Tensor) -> Tensor:
        out = old.clone()
        out[rows] = new
        return out

    return Boards(
        put(boards.mine, moved.mine),
        put(boards.theirs, moved.theirs),
        put(boards.at, moved.at),
        put(boards.black, moved.black),
    )


@torch.no_grad()
def persistence(
    model: GPT,
    wanted: Counterfactual,
    intervention: Intervention | None = None,
    *,
    moves: int = 8,
    seed: int = 0,
    batch: int = 256,
) -> Persistence:
    """Play on from the wanted boards, and see what the model, edited once, makes of it.

    Args:
        model: the player.
        wanted: histories and the boards that should be there. To see how well the model does
            without any edit or need of one, let wanted and present boards be the same.
        intervention: the edit, at the last move of each history; None: nothing is edited.
        moves: how many to play on.
        seed: of the moves; the same for each intervention, so that they can be compared.
        batch: cases at a time.
    """
    parts: list[Persistence] = []
    for first in range(0, len(wanted), batch):
        part = wanted[first : first + batch]
        line = roll_out(
            part.histories, part.after, moves=moves, longest=model.cfg.n_ctx, seed=seed + first
        )
        ids = tokens(line.games)[:, : int(part.last().max()) + moves + 1]
        hooks = [] if intervention is None else intervention(part)
        logits = model.run_with_hooks(ids[:, : model.cfg.n_ctx].to(model.device), hooks).cpu()
        parts.append(_scored(logits.float(), part.last(), line))
    return Persistence(
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("error", "illegal", "alive"))
    )


def _scored(logits: Float[Tensor, "case ply token"], last: Tensor, line: Rollout) -> Persistence:
    rows = torch.arange(len(last))
    errors: list[Tensor] = []
    illegal: list[Tensor] = []
    for move, boards in enumerate(line.boards):
        there = logits[rows, (last + move).clamp(max=logits.shape[1] - 1)].clone()
        there[:, PAD] = float("-inf")
        legal = unpack(boards.legal())[:, SQUARE_OF_TOKEN].clone()
        legal[:, PAD] = False
        number = legal.sum(1)
        errors.append(2 * (number - (chances(there, number) * legal).sum(1)))
        illegal.append(~legal[rows, there.argmax(1)])
    return Persistence(torch.stack(errors, 1), torch.stack(illegal, 1), line.alive)
